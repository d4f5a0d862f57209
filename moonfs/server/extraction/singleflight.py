"""The same bytes on their way in several times at once are read once: the first reads, the others get a link.

It knows files and nothing of formats; text that is already in the store is the store's to find.

**Threading:** everything runs in one event loop; links are made there, as they cost no I/O to speak of.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from moonfs.server.refusal import Refusal
from moonfs.server.staged import remove

Verdict = TypeVar("Verdict")


@dataclass(slots=True)
class _Flight(Generic[Verdict]):
    landed: asyncio.Future[Verdict | Refusal | None]
    links: list[str] = field(default_factory=list)


class SingleFlight(Generic[Verdict]):
    """Readings under way, by what they read."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Verdict]] = {}

    async def run(self, key: Hashable, target: str, read: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """Return what `read` returns, and have its text at `target`, whoever reads it.

        Args:
            key: what is read, and how.
            target: a path that is not there yet; `read` writes it.
            read: called unless somebody reads the same already.

        Raises:
            Refusal: what `read` raises. A 4xx is shared, as the document deserves it; after a crash or a time-out
                the next one tries for itself.
        """
        while (flight := self._flights.get(key)) is not None:
            flight.links.append(target)
            try:
                verdict = await asyncio.shield(flight.landed)
            except BaseException:
                flight.links.remove(target)
                remove(target)
                raise
            if isinstance(verdict, Refusal):
                raise verdict
            if verdict is not None:
                return verdict
        flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_future())
        landed: Verdict | Refusal | None = None
        try:
            landed = await read()
            for link in flight.links:
                os.link(target, link)
            return landed
        except Refusal as refusal:
            landed = refusal if refusal.status < 500 else None
            raise
        finally:
            del self._flights[key]
            flight.landed.set_result(landed)
