"""How an open waits for a text whose file is still on its way to the service (R4), and for how long it is worth it.

A wait ends with what it waits for: the upload has ended, well or not, or the name means something else by now. It is
not begun where nothing can come of it: in an outage, or after an earlier wait has run out and nothing has come through
since, so that a thousand pending files cost one wait and not a thousand. It knows no paths and no handles, and sends
nothing.

**Threading:** any thread may call `wait`, without the filesystem's lock, which is not held while it waits. The lock
of its own is the last that anybody takes.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moonfs.errors import MoonfsError, OnItsWay
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Entry, Namespace

#: Seconds after which a wait looks whether an outage, or the end of the drive, has made it vain.
_LOOK: Final = 0.5
#: Why there is no upload to wait for.
_OPEN: Final = "a program still has it open"


@dataclass(slots=True)
class _Wait:
    """One wait; `over` when it is to end."""

    over: bool = False


class Awaiting:
    """The waits of one mount.

    Attributes:
        waiting: how many there are now.
    """

    def __init__(
        self,
        lock: threading.RLock,
        space: Namespace,
        *,
        settled: Callable[[], int],
        outage: Callable[[], MoonfsError | None],
    ) -> None:
        """Wire the parts.

        `lock` is the filesystem's, which guards `space`; `settled()` is how many uploads have come to an end so far;
        `outage()` is why the service is known not to answer, or None.
        """
        self._lock = lock
        self._space = space
        self._settled = settled
        self._outage = outage
        self._news = threading.Condition(threading.Lock())
        self._changes = 0
        space.on_change = self._changed
        self._closed = False
        # Whether its writer is awaited, or its upload → when a wait for such ran out, and what was promised by then.
        self._ran_out: dict[bool, tuple[int, int]] = {}
        # By path: each wait, and whether it was let go.
        self._waits: dict[str, list[_Wait]] = {}
        self.waiting = 0

    def wait(
        self, path: str, find: Callable[[], Entry], *, ends: float, ended: Callable[[], bool] = lambda: False
    ) -> Entry:
        """Return what `find()` returns once that is no text which is to come.

        Args:
            path: the name that is opened.
            find: what the name means now; called with the lock.
            ends: when the patience ends, on the clock of `time.monotonic`; a time that is over waits for nothing.
            ended: whether the drive is about to end.

        Raises:
            NotFound: what `find` raises; the file has gone, has another name, or turns out to have no text.
            OnItsWay: it takes longer, or would; it says why.
            MoonfsError: the service has refused the file: that refusal.
        """
        this = _Wait()
        with self._news:
            self._waits.setdefault(path, []).append(this)
        try:
            return self._wait(this, find, ends, ended)
        finally:
            with self._news:
                self._waits[path].remove(this)
                if not self._waits[path]:
                    del self._waits[path]

    def let_go(self, path: str) -> None:
        """End the waits for `path`: the kernel would have who deletes that name wait for them, and `ls` too (E2)."""
        with self._news:
            for wait in self._waits.get(path, ()):
                wait.over = True
        self._changed()

    def is_awaited(self, path: str) -> bool:
        """Say whether somebody waits for `path`."""
        return path in self._waits

    def _wait(self, this: _Wait, find: Callable[[], Entry], ends: float, ended: Callable[[], bool]) -> Entry:
        waited = False
        while True:
            seen, away = self._changes, self._outage()  # which may wait for a moment itself
            with self._lock:
                entry = find()
                if not isinstance(entry, Awaited):
                    return entry
                local = entry.local
                if (refused := refusal(local)) is not None:
                    raise refused
                if self._closed or ended():
                    raise _not_ready(local, "the drive is being unmounted")
                if away is not None:
                    raise _not_ready(local, str(away))
                if this.over:
                    raise _not_ready(local, "somebody deletes its name")
                left = ends - time.monotonic()
                if left <= 0 and waited:
                    promised = max(other.newest for other in self._space.local.values())
                    self._ran_out[_is_written(local)] = (self._settled(), promised)
                if left <= 0 or (not waited and self._is_stuck(local)):
                    raise _not_ready(local)
            with self._news:
                self.waiting += 1
                self._news.wait_for(lambda: self._changes != seen, min(left, _LOOK))  # noqa: B023 - used at once
                self.waiting -= 1
            waited = True

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        self._changed()

    def _changed(self) -> None:
        with self._news:
            self._changes += 1
            self._news.notify_all()

    def _is_stuck(self, local: LocalFile) -> bool:
        """Say whether a wait for such a file has run out, which was there already, and nothing has moved since."""
        settled, promised = self._ran_out.get(_is_written(local), (-1, -1))
        return settled == self._settled() and (_is_written(local) or local.newest <= promised)


def refusal(local: LocalFile) -> MoonfsError | None:
    """Return what the service has refused the newest bytes with, unless it is being tried once more just now."""
    with local.lock:
        if local.failure is None or local.failure[0] != local.generation or local.lent is not None:
            return None
        told = copy.copy(local.failure[1])
    told.unsent = True  # this time
    return told


def writer(local: LocalFile) -> OnItsWay | None:
    """Return what to tell who would wait for an upload of bytes that a program has yet to close; None if it has."""
    return _not_ready(local, _OPEN) if _is_written(local) else None


def _is_written(local: LocalFile) -> bool:
    """Say whether there is no upload to wait for yet: somebody has still to close it."""
    return local.lent is None and (local.committed is None or local.acknowledged != local.generation)


def _not_ready(local: LocalFile, why: str = "") -> OnItsWay:
    if not why and local.trouble is not None:
        why = f"the last try to upload it came to nothing: {local.trouble}"
    if not why:
        why = _OPEN if _is_written(local) else "its upload takes long"
    told = OnItsWay(f"The text of {local.name} is not there yet: {why.rstrip('.')}.")
    if why == _OPEN:  # no upload has begun, so there is none to wait for
        told.step = "Close the file in that program, then open the text again."
    return told
