"""The listing: every file of the account, believed for a TTL, one request per refresh however many callers (L4).

Own changes are laid over an answer that was on its way when they happened, so they show at once and stay. When
the service cannot be reached the last listing is served and marked stale (R6). It is given the function that
fetches the list; it knows no names on the drive and no HTTP.

**Threading:** any thread may call anything. One caller fetches, the others wait for its answer; the lock is never
held during a fetch. A `Snapshot` is immutable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from moonfs.errors import RateLimited, ServiceError, TimedOut, Unreachable
from moonfs.wire import FileObject

#: Seconds in which a failed refresh is not tried again while an old listing can be served.
HOLD_OFF: Final = 5.0
#: How many ids of deleted files are remembered; ids never come back.
_TOMBSTONES: Final = 20_000


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


class Listing:
    """The listing of one account."""

    def __init__(
        self,
        fetch: Callable[[], list[FileObject]],
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch()` returns the whole account; `ttl` and `clock` are in seconds."""
        self._fetch = fetch
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, FileObject] = {}
        self._snapshot: Snapshot | None = None
        self._version = 0
        self._expires = float("-inf")
        self._sequence = 0
        self._added: dict[str, tuple[int, float, FileObject]] = {}
        self._removed: dict[str, None] = {}
        self._flight: Future[None] | None = None
        self.requests = 0

    def current(self) -> Snapshot:
        """Return the listing, refreshed when its time is up.

        Raises:
            MoonfsError: there is none yet and the service does not answer, or it refuses the key.
        """
        snapshot = self._snapshot
        if snapshot is not None and self._clock() < self._expires:
            return snapshot
        try:
            self._join_or_fetch()
        except (Unreachable, TimedOut, ServiceError, RateLimited) as error:
            with self._lock:
                if self._version == 0:
                    raise
                self._expires = self._clock() + HOLD_OFF
                return self._publish(error)
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
            flight = self._flight
        if flight is not None:
            try:
                flight.result()
            except Exception:  # noqa: BLE001, S110 - that request was not ours; ours follows
                pass
        self._join_or_fetch()
        assert self._snapshot is not None
        return self._snapshot

    def prime(self, answer: list[FileObject]) -> None:
        """Take `answer`, which was fetched just now, as the listing."""
        with self._lock:
            self._install(answer, self._sequence)

    def expire(self) -> None:
        """Make the next `current` ask the service."""
        self._expires = float("-inf")

    def add(self, file: FileObject) -> None:
        """Lay an own upload over the listing."""
        with self._lock:
            self._sequence += 1
            self._added[file.id] = (self._sequence, self._clock() + self._ttl, file)
            self._files[file.id] = file
            self._version += 1
            self._snapshot = None if self._snapshot is None else self._publish(self._snapshot.stale_because)

    def remove(self, file_id: str) -> None:
        """Take a deleted file out of the listing, for good."""
        with self._lock:
            self._removed[file_id] = None
            while len(self._removed) > _TOMBSTONES:
                del self._removed[next(iter(self._removed))]
            self._added.pop(file_id, None)
            if self._files.pop(file_id, None) is not None:
                self._version += 1
                self._snapshot = None if self._snapshot is None else self._publish(self._snapshot.stale_because)

    def _join_or_fetch(self) -> None:
        with self._lock:
            flight = self._flight
            if flight is None:
                mine: Future[None] = Future()
                self._flight = mine
                started = self._sequence
        if flight is not None:
            flight.result()
            return
        try:
            self.requests += 1
            answer = self._fetch()
        except BaseException as error:
            with self._lock:
                self._flight = None
            mine.set_exception(error)
            raise
        with self._lock:
            self._flight = None
            self._install(answer, started)
        mine.set_result(None)

    def _install(self, answer: list[FileObject], started: int) -> None:
        now = self._clock()
        files = {file.id: file for file in answer if file.id not in self._removed}
        for file_id, (sequence, until, file) in list(self._added.items()):
            # An answer sent for before the upload ended cannot have it; a service that is eventually
            # consistent may lack it a little longer.
            if file_id in files or (sequence <= started and now >= until):
                del self._added[file_id]
            else:
                files[file_id] = file
        self._expires = now + self._ttl
        if self._version == 0 or files != self._files:
            self._files = files
            self._version += 1
        self._publish(None)

    def _publish(self, stale_because: Exception | None) -> Snapshot:
        old = self._snapshot
        if old is None or old.version != self._version or old.stale_because is not stale_because:
            self._snapshot = Snapshot(
                files=MappingProxyType(dict(self._files)),
                version=self._version,
                total_bytes=sum(file.bytes for file in self._files.values()),
                stale_because=stale_because,
            )
        assert self._snapshot is not None
        return self._snapshot
