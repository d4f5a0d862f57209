"""The listing: every file of the account, believed for a TTL, one request per refresh however many callers (L4).

Own changes are laid over an answer that was on its way when they happened, so they show at once and stay. When
the service gives no list the last one is served and marked stale (R6); a refused key is never hidden by it. It is
given the function that fetches the list; it knows no names on the drive and no HTTP.

**Threading:** any thread may call anything. One caller fetches, the others wait for its answer; the lock is never
held during a fetch. What happens is numbered, so that an answer is believed in what it can know: what happened
before its request was sent. A `Snapshot` is immutable.
"""

from __future__ import annotations

import copy
import heapq
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from moonfs.errors import (
    AuthenticationFailed,
    MoonfsError,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    ServiceError,
    TimedOut,
    Unreachable,
)
from moonfs.wire import EVERYTHING, MAX_LISTED, FileObject, Listed

#: Seconds in which a failed refresh is not tried again, once there has been a listing.
HOLD_OFF: Final = 5.0
#: The same for one that was kept back here and so cost next to nothing: the end of an outage shows soon.
KEPT_BACK_HOLD_OFF: Final = 0.5
#: Seconds for which it is known what an answer has brought or taken away.
RECENT: Final = 10.0
#: Seconds for which a deletion may come late that was sent without an answer.
LATE: Final = 2.0
#: How many ids of deleted files are remembered; ids never come back.
_TOMBSTONES: Final = 20_000
#: What a failed list request may mean. A 404 or 400 would say something of a file, and there is none in it.
_MEANT: Final = (AuthenticationFailed, QuotaExceeded, RateLimited, ServiceError, TimedOut, Unreachable)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The account at one moment.

    Attributes:
        files: id → file object; read-only.
        version: grows with every change.
        total_bytes: sum of all sizes.
        stale_because: the error that keeps it from being refreshed, if any.
    """

    files: Mapping[str, FileObject]
    version: int
    total_bytes: int
    stale_because: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Flight:
    """One request under way, sent after the event of number `started`."""

    started: int
    done: Future[None]


class Listing:
    """The listing of one account."""

    def __init__(
        self,
        fetch: Callable[[], list[FileObject]],
        ttl: float,
        gone: Callable[[frozenset[str]], None] = lambda _ids: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        longer: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Wire the parts.

        `fetch()` returns the whole account; `ttl` and `clock` are in seconds; `gone(ids)` is told, without the lock,
        what two answers in a row have no longer; `longer()` is for how many seconds a listing has to do at the least:
        requests may be scarce.
        """
        self._fetch = fetch
        self._ttl = ttl
        self._gone = gone
        self._longer = longer
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, FileObject] = {}
        self._bytes = 0
        self._snapshot: Snapshot | None = None
        self._version = 0
        self._expires = float("-inf")
        self._refused: AuthenticationFailed | None = None
        self._sequence = 0
        self._expired = 0
        self._added: dict[str, tuple[int, float, FileObject]] = {}
        self._removed: dict[str, None] = {}
        self._elsewhere: dict[str, float] = {}
        self._missing: dict[str, float] = {}
        self._doubted: dict[str, float] = {}
        self._flight: _Flight | None = None
        self._newest = 0
        self.requests = 0

    def current(self) -> Snapshot:
        """Return the listing, refreshed when its time is up.

        Raises:
            MoonfsError: there is none yet and the service does not answer, or it refuses the key.
        """
        with self._lock:
            began = self._clock()
            wanted = self._expired
            if self._snapshot is not None and began < self._expires:
                if self._refused is not None:
                    raise copy.copy(self._refused)
                return self._snapshot
        try:
            self._join_or_fetch(wanted)
        except MoonfsError as error:
            with self._lock:
                if self._snapshot is None:
                    raise
                if self._expired == wanted:
                    now = self._clock()
                    self._expires = now + _hold_off(error, now - began)
                self._refused = error if isinstance(error, AuthenticationFailed) else None
                snapshot = self._publish(error)
                if self._refused is not None:
                    raise
                return snapshot
        assert self._snapshot is not None
        return self._snapshot

    def peek(self) -> Snapshot:
        """Return the listing as it was last believed, without a request; empty before the first."""
        return self._snapshot or Snapshot(files=MappingProxyType({}), version=0, total_bytes=0)

    def refresh(self) -> Snapshot:
        """Return a listing whose request was sent after this call.

        Raises:
            MoonfsError: the service does not answer.
        """
        with self._lock:
            self._sequence += 1
            wanted = self._sequence
        self._join_or_fetch(wanted)
        assert self._snapshot is not None
        return self._snapshot

    def take(self, fetch: Callable[[], list[FileObject]]) -> None:
        """Take what `fetch()` returns as the listing, whatever request is under way besides.

        Raises:
            MoonfsError: what `fetch` raises; the listing stays as it is.
        """
        with self._lock:
            started, number, asked = self._sequence, self._next_number(), self._clock()
        answer = fetch()
        with self._lock:
            gone = self._install(answer, started, number, asked)
        self._tell(gone)

    def miss(self, ids: Collection[str]) -> None:
        """Take `ids`, of which something is kept, for missing unless the listing has them: the next answer decides."""
        with self._lock:
            self._missing |= dict.fromkeys(frozenset(ids) - self._files.keys(), EVERYTHING)

    def expire(self) -> None:
        """Make the next `current` ask the service: an answer that is on its way does not do."""
        with self._lock:
            self._sequence += 1
            self._expired = self._sequence
            self._expires = float("-inf")

    def add(self, file: FileObject) -> None:
        """Lay an own upload over the listing."""
        with self._lock:
            self._sequence += 1
            self._added[file.id] = (self._sequence, self._clock() + self._ttl, file)
            self._elsewhere.pop(file.id, None)
            old = self._files.get(file.id)
            self._bytes += file.bytes - (0 if old is None else old.bytes)
            self._files[file.id] = file
            self._version += 1
            self._snapshot = None if self._snapshot is None else self._publish(self._snapshot.stale_because)

    def remove(self, file_id: str) -> None:
        """Take a deleted file out of the listing, for good."""
        with self._lock:
            self._removed[file_id] = None
            self._doubted.pop(file_id, None)
            while len(self._removed) > _TOMBSTONES:
                del self._removed[next(iter(self._removed))]
            self._added.pop(file_id, None)
            gone = self._files.pop(file_id, None)
            if gone is not None:
                self._bytes -= gone.bytes
                self._version += 1
                self._snapshot = None if self._snapshot is None else self._publish(self._snapshot.stale_because)

    def doubt(self, file_id: str) -> None:
        """Take in that a file may be deleted, by now or in a moment, as its deletion was sent and not answered.

        The next answer decides whether it is there, though it was stored from here just now; and one that is asked for
        `LATE` seconds later whether it stays.
        """
        with self._lock:
            if file_id in self._added:
                sequence, _, file = self._added[file_id]
                self._added[file_id] = (sequence, float("-inf"), file)
            self._doubted[file_id] = self._clock()

    def is_in_doubt(self, file_id: str) -> bool:
        """Say whether nothing has told since `doubt` that a file stays, or is gone."""
        with self._lock:
            return file_id in self._doubted

    def is_removed(self, file_id: str) -> bool:
        """Say whether a file was deleted from here."""
        with self._lock:
            return file_id in self._removed

    def replaced_since(self, old: str, new: str) -> float:
        """Return for how many seconds it has been known that `old` is gone, or that `new` is there.

        Infinite where that was done here, or has been known for more than `RECENT` seconds.
        """
        with self._lock:
            if old in self._removed:
                return float("inf")
            changed = self._elsewhere.get(new, float("-inf"))
            if old not in self._files:
                changed = max(changed, self._elsewhere.get(old, changed))
            return self._clock() - changed

    def _join_or_fetch(self, wanted: int) -> None:
        """Wait for an answer whose request was sent after the event of number `wanted`."""
        while True:
            with self._lock:
                flight = self._flight
                if flight is None:
                    mine = self._flight = _Flight(self._sequence, Future())
            if flight is None:
                self._fly(mine)
                return
            if flight.started >= wanted:
                flight.done.result()
                return
            flight.done.exception()  # too old for us, whatever comes of it

    def _fly(self, flight: _Flight) -> None:
        try:
            with self._lock:
                number, asked = self._next_number(), self._clock()
            answer = self._ask()
        except BaseException as error:
            with self._lock:
                self._flight = None
            flight.done.set_exception(error)
            raise
        with self._lock:
            self._flight = None
            gone = self._install(answer, flight.started, number, asked)
        flight.done.set_result(None)
        self._tell(gone)

    def _tell(self, gone: frozenset[str]) -> None:
        if gone:
            self._gone(gone)

    def _ask(self) -> list[FileObject]:
        try:
            return self._fetch()
        except _MEANT:
            raise
        except MoonfsError as error:
            raise ProtocolError(
                f"The service does not list the account's files: {error}",
                status=error.status,
                request_id=error.request_id,
                service_message=error.service_message,
            ) from error

    def _next_number(self) -> int:
        self.requests += 1
        return self.requests

    def _install(self, answer: list[FileObject], started: int, number: int, asked: float) -> frozenset[str]:
        """Take over the answer to request `number`, sent after the event `started`, when the clock said `asked`.

        Return what is gone for good.

        That is what two answers in a row lack: one that lacks files by mistake costs nothing that is kept of them. What
        an answer says nothing of, as it is not whole (`Listed.horizon`), stays as it was.
        """
        if number < self._newest:
            return frozenset()  # one that was asked for later is here already
        self._newest = number
        now = self._clock()
        files = {file.id: file for file in answer if file.id not in self._removed}
        for file_id, (sequence, until, file) in list(self._added.items()):
            # An answer sent for before the upload ended cannot have it, or has an older state of it; a service
            # that is eventually consistent may lack it a little longer.
            if sequence <= started and (file_id in files or now >= until):
                del self._added[file_id]
            else:
                files[file_id] = file
        horizon = answer.horizon if isinstance(answer, Listed) else EVERYTHING
        unseen = self._unseen(files, horizon)
        files |= {file.id: file for file in heapq.nlargest(max(0, MAX_LISTED - len(files)), unseen.values(), _age)}
        self._doubted = {each: since for each, since in self._doubted.items() if each in files and asked < since + LATE}
        believed = max(self._ttl, self._longer())
        self._expires = now + believed if started >= self._expired else float("-inf")
        self._refused = None
        gone = self._files.keys() - files.keys() - unseen.keys()
        gone_for_good = frozenset(
            file_id
            for file_id, when in self._missing.items()
            if file_id not in files and (horizon == EVERYTHING or when > horizon)
        )
        self._missing = {file_id: self._files[file_id].created_at for file_id in gone}
        if self._snapshot is not None:
            recent = {file_id: when for file_id, when in self._elsewhere.items() if when > now - RECENT}
            self._elsewhere = recent | dict.fromkeys(gone | (files.keys() - self._files.keys()), now)
        if self._snapshot is None or files != self._files:
            self._files = files
            self._bytes = sum(file.bytes for file in files.values())
            self._version += 1
        self._publish(None)
        return gone_for_good

    def _unseen(self, files: Mapping[str, FileObject], horizon: float) -> dict[str, FileObject]:
        """Return, by id, what is believed to be there and is not in `files`, an answer that says nothing of it."""
        if horizon == EVERYTHING:
            return {}
        return {
            file_id: file
            for file_id, file in self._files.items()
            if file_id not in files and file.created_at <= horizon
        }

    def _publish(self, stale_because: Exception | None) -> Snapshot:
        old = self._snapshot
        if old is None or old.version != self._version or old.stale_because is not stale_because:
            self._snapshot = Snapshot(
                files=MappingProxyType(dict(self._files)),
                version=self._version,
                total_bytes=self._bytes,
                stale_because=stale_because,
            )
        assert self._snapshot is not None
        return self._snapshot


def _age(file: FileObject) -> tuple[int, str, str]:
    return file.age


def _hold_off(error: MoonfsError, waited: float) -> float:
    """Return how long a refresh that failed after `waited` seconds is not tried again, in seconds."""
    return min(HOLD_OFF, max(KEPT_BACK_HOLD_OFF, 5 * waited)) if error.unsent else HOLD_OFF
