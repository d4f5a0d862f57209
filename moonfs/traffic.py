"""The gate through which every request of a mount passes: who goes next, and whether anybody goes at all.

Whoever wants to send something asks for a permit and holds it until the answer is there. `pace` says how many may be
under way and how many a minute may have, `breaker` whether the service is there; both learn from how each request
ends. Who must wait stands in one queue: readers first, then writers, then what nobody waits for yet; within each in
the order of arrival. Whoever cannot get its turn in time is told so at once.

It knows no HTTP and no files.

**Threading:** any thread may call anything. Each waiter sleeps on an event of its own and is woken by whoever makes
room for it; only the first in the queue watches the clock. The lock is never held while something is waited for.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moonfs.breaker import Breaker, is_absence
from moonfs.errors import MoonfsError, RateLimited, TimedOut, Unreachable
from moonfs.pace import Pace, Run, Urgency

__all__ = ["Ticket", "Traffic", "Urgency"]


class Ticket:
    """One call's place in the queue, for all of its attempts.

    Attributes:
        urgency: who is served before it; changed with `Traffic.hurry` while the call runs.
        patience: seconds for which an attempt waits for its turn, at most; its caller has something to fall back on.
        probe: passes the gate whatever is known of the service: it is sent to find the end of an outage.
    """

    __slots__ = ("patience", "probe", "urgency")

    def __init__(
        self, urgency: Urgency = Urgency.READER, *, patience: float = float("inf"), probe: bool = False
    ) -> None:
        self.urgency = urgency
        self.patience = patience
        self.probe = probe


class _Waiter:
    """An attempt in the queue; `run` is set when its turn has come."""

    __slots__ = ("event", "number", "run", "ticket")

    def __init__(self, ticket: Ticket, number: int) -> None:
        self.ticket = ticket
        self.number = number
        self.event = threading.Event()
        self.run: Run | None = None

    def rank(self) -> tuple[int, int]:
        return self.ticket.urgency, self.number


class Traffic:
    """The traffic of one mount."""

    def __init__(
        self,
        most: int = 32,
        first: int = 8,
        clock: Callable[[], float] = time.monotonic,
        *,
        minute: float = 60.0,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Let pass `first` requests at once to begin with and `most` at most; a reader may exceed that by a quarter.

        Args:
            most: at once.
            first: at once, before anything is known of the service.
            clock: seconds, monotonic.
            minute: seconds over which the service counts.
            wait: waits for an event for so many seconds of `clock`.
        """
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._pace = Pace(most, first, minute)
        self._breaker = Breaker(clock)
        self._queue: list[_Waiter] = []
        self._watch: _Waiter | None = None
        self._number = 0
        self._closed = False

    @contextmanager
    def permit(self, ticket: Ticket, *, ends: float, operation: str) -> Iterator[None]:
        """Wait for the turn of one attempt, let the body send it, and learn from how it ends.

        Args:
            ticket: of the call.
            ends: when the call gives up, on the clock of this gate, in seconds.
            operation: list, upload, retrieve, delete or content.

        Raises:
            RateLimited: its turn cannot come before `ends`; `retry_after` says when it may. Nothing was sent.
            TimedOut: other requests kept it waiting until `ends`; nothing was sent.
            Unreachable: the gate is closed; nothing was sent.
            MoonfsError: the service is not there (E2), of the kind of the last failure, with `unsent`; or what the
                body raises.
        """
        run = self._enter(ticket, min(ends, self._clock() + ticket.patience))
        began = self._clock()
        try:
            yield
        except MoonfsError as error:
            self._leave(run, operation, began, error)
            raise
        except BaseException:
            self._leave(run, operation, began, Unreachable("unknown", unsent=True))
            raise
        self._leave(run, operation, began, None)

    def hurry(self, ticket: Ticket) -> None:
        """Serve `ticket` as a reader from now on, even while it waits in the queue."""
        with self._lock:
            ticket.urgency = Urgency.READER
            self._queue.sort(key=_Waiter.rank)
            self._let_pass()

    @property
    def limit(self) -> int:
        """Requests at once, now."""
        return self._pace.limit

    @property
    def limited(self) -> bool:
        """Whether the service has asked for less: a rate is learned, or a pause after a 429 lasts."""
        with self._lock:
            now = self._clock()
            self._pace.forget(now)
            return self._pace.per_minute is not None or self._pace.pause(now) > 0

    @property
    def spacing(self) -> float:
        """Seconds between two requests at the rate that was learned; 0 while none is known."""
        with self._lock:
            self._pace.forget(self._clock())
            return self._pace.minute / self._pace.per_minute if self._pace.per_minute else 0.0

    @property
    def probe(self) -> Callable[[], None] | None:
        """What looks for the end of an outage: a cheap request with a `probe` ticket; it raises what comes of it."""
        return self._breaker.probe

    @probe.setter
    def probe(self, look: Callable[[], None] | None) -> None:
        self._breaker.probe = look

    def outage(self) -> MoonfsError | None:
        """Return what an attempt is refused with while the service is not there, or None; may wait for a moment."""
        return self._breaker.outage() if self._breaker.is_open else None

    def hold(self) -> float:
        """Return the seconds for which background work had better not start; asking looks for the end of an outage."""
        return self._breaker.hold() if self._breaker.is_open else 0.0

    def summary(self) -> dict[str, object]:
        """Return what `status.json` shows, ready for JSON."""
        with self._lock:
            now = self._clock()
            self._pace.forget(now)
            shown: dict[str, object] = {
                "at_once": self._pace.limit,
                "most": self._pace.most,
                "under_way": self._pace.under_way,
                "waiting": len(self._queue),
                "per_minute": self._pace.per_minute,
                "pause": round(self._pace.pause(now), 1),
                "refusals": self._pace.refusals,
            }
        shown["outage"] = self._breaker.summary()
        return shown

    def close(self) -> None:
        """Refuse whoever waits, and everybody from now on; what is under way goes on."""
        self._breaker.close()
        with self._lock:
            self._closed = True
            self._wake_all()

    # In and out

    def _enter(self, ticket: Ticket, ends: float) -> Run:
        if not ticket.probe:
            self._breaker.check()
        with self._lock:
            if self._closed:
                raise _closed()
            if ticket.probe:
                return self._pace.start()
            self._number += 1
            waiter = _Waiter(ticket, self._number)
            bisect.insort(self._queue, waiter, key=_Waiter.rank)
            seconds = self._seconds_to_wait(waiter, ends)
        try:
            while seconds is not None:
                self._wait(waiter.event, seconds)
                with self._lock:
                    seconds = self._seconds_to_wait(waiter, ends)
        except BaseException:
            with self._lock:
                self._give_up(waiter)
            raise
        assert waiter.run is not None
        return waiter.run

    def _seconds_to_wait(self, waiter: _Waiter, ends: float) -> float | None:
        """Return None when its turn has come, else how long to wait for news; the lock is held.

        Raises:
            MoonfsError: it does not come; the waiter has left the queue.
        """
        self._let_pass()
        if waiter.run is not None:
            return None
        try:
            return self._patience(waiter, ends)
        except MoonfsError:
            self._give_up(waiter)
            raise

    def _patience(self, waiter: _Waiter, ends: float) -> float:
        if self._closed:
            raise _closed()
        if self._breaker.is_open:
            raise self._breaker.refusal()
        now = self._clock()
        place = self._queue.index(waiter)
        turn = self._pace.wait(waiter.ticket.urgency, place, now)
        if 0 < turn > ends - now:
            raise RateLimited(
                f"the service takes no more requests for now: the next turn is in {turn:.0f} s",
                retry_after=turn,
                unsent=True,
            )
        if now >= ends:
            raise TimedOut("too many requests at once: none of those under way ended in time", unsent=True)
        waiter.event.clear()
        return min(turn, ends - now) if place == 0 and turn > 0 else ends - now

    def _leave(self, run: Run, operation: str, began: float, error: MoonfsError | None) -> None:
        absent = error is not None and is_absence(operation, error)
        opened = error is not None and absent and self._breaker.failed(began, error)
        answered = error is None or (error.status is not None and not absent)
        if answered:
            self._breaker.answered()
        with self._lock:
            now = self._clock()
            if isinstance(error, RateLimited) and answered:
                self._pace.refused(run, now, error.retry_after or 0.0)
                self._wake_all()  # some may hear that their turn does not come any more
            elif answered:
                self._pace.answered(run, now, others_wait=bool(self._queue))
            self._pace.ended(run)
            if opened:
                self._wake_all()
            self._let_pass()

    # The queue; the lock is held

    def _let_pass(self) -> None:
        """Give the first ones their turn while there is room; whoever is first then watches the clock."""
        while self._queue and not self._closed and not self._breaker.is_open:
            first = self._queue[0]
            urgency = first.ticket.urgency
            if not self._pace.has_room(urgency) or self._pace.wait(urgency, 0, self._clock()) > 0:
                break
            del self._queue[0]
            first.run = self._pace.start()
            first.event.set()
        watch = self._queue[0] if self._queue else None
        if watch is not self._watch:
            self._watch = watch
            if watch is not None:
                watch.event.set()

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
        if waiter.run is not None:
            self._pace.ended(waiter.run)
        self._let_pass()

    def _wake_all(self) -> None:
        for waiter in self._queue:
            waiter.event.set()


def _closed() -> Unreachable:
    return Unreachable("the connection to the service was closed by this program", unsent=True)
