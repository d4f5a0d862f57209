"""Who is next: places that several accounts wait for, given in turn, so that one with many documents delays no other.

A free place goes to the account that holds the fewest, of equals to the one that was served longest ago, and within an
account to whoever came first. It knows nothing of what is done there.

**Threading:** everything runs in one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Hashable


class Turns:
    """Places that are taken and given back.

    Args:
        places: how many.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        #: When each account got its last place, by a count of all that were given.
        self._served: dict[Hashable, int] = {}
        self._given = 0

    def is_busy(self) -> bool:
        """Say whether who comes now has to wait."""
        return self._free == 0 or bool(self._waiting)

    async def take(self, account: Hashable) -> None:
        """Return when `account` has a place."""
        if not self.is_busy():
            self._give(account)
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given at the same moment
                self.give_back(account)
            elif place in self._waiting.get(account, ()):
                self._leave(account, place)
            raise

    def give_back(self, account: Hashable) -> None:
        """Free a place of `account`, for whoever is next."""
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._free += 1
        while self._waiting:
            following = min(self._waiting, key=lambda who: (self._held[who], self._served.get(who, 0)))
            place = self._waiting[following][0]
            self._leave(following, place)
            if not place.done():  # who waited may have gone a moment ago
                self._give(following)
                place.set_result(None)
                return
        if not self._held:
            self._served.clear()  # nobody is there to be compared with

    def _give(self, account: Hashable) -> None:
        self._free -= 1
        self._given += 1
        self._held[account] += 1
        self._served[account] = self._given

    def _leave(self, account: Hashable, place: asyncio.Future[None]) -> None:
        self._waiting[account].remove(place)
        if not self._waiting[account]:
            del self._waiting[account]
