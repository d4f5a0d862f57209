"""Who looks names up, so that nobody who has found a name loses it to a rename over it: the old file or the new (W9).

libfuse 2 forgets a file's node with its name. A program that looks a name up just before it is replaced, and opens it
just after, is told ENOENT, as if there were neither file (libfuse issue 637). Two things keep that from happening: the
look-up that the kernel makes for the rename itself, when it has locked the directory already, waits until whoever has
looked the name up before has had time to open it; and whoever looks it up from then on is told ESTALE, upon which the
kernel waits for the directory and looks again.

Which look-up is a rename's is told by the caller's system call, in /proc. Where that may not be read (another user's
process, or ptrace restricted by the administrator) the first of the two is missing, and the moment remains.

**Threading:** any thread may call anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

#: Seconds that a program has between its look-up and what it does with it.
STEP_SECONDS: Final = 0.02
#: Names of which the last look-up is remembered.
_NAMES: Final = 2304
#: The numbers of rename, renameat and renameat2 (syscalls(2)).
_RENAMES: Final = {"x86_64": {b"82", b"264", b"316"}, "aarch64": {b"38", b"276"}}.get(os.uname().machine, set())
#: Those of unlink and unlinkat.
_UNLINKS: Final = {"x86_64": {b"87", b"263"}, "aarch64": {b"35"}}.get(os.uname().machine, set())


@dataclass(slots=True)
class _Looked:
    """When a name was looked up last, by which thread, and when by another one than that."""

    when: float
    thread: int
    by_others: float = float("-inf")


@dataclass(slots=True)
class _Rename:
    """A rename that is coming, seen by its look-ups (of both names), or under way, by the thread that calls it."""

    thread: int
    under_way: bool = False


class Lookups:
    """The look-ups of one mount."""

    def __init__(
        self,
        thread: Callable[[], int],
        *,
        renames: Callable[[int], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`thread()` is the asking thread's id; `renames(id)` says whether it is in a rename(2) now."""
        self._thread = thread
        self._renames = renames or in_rename
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._looked: dict[str, _Looked] = {}
        self._coming: dict[str, _Rename] = {}

    def arrive(self, path: str) -> None:
        """Note a look-up of `path`; return when it may be answered.

        Raises:
            OSError: ESTALE, while somebody else renames something to it.
        """
        thread = self._thread()
        with self._lock:
            now = self._clock()
            if (rename := self._coming.get(path)) is not None and rename.thread != thread:
                if rename.under_way or self._renames(rename.thread):
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
                del self._coming[path]  # the kernel has refused it: `mv -n`, say
            since = now - self._note(path, thread, now)
            if since >= STEP_SECONDS or not self._renames(thread):
                return
            self._coming[path] = _Rename(thread)
        self._sleep(STEP_SECONDS - since)

    @contextlib.contextmanager
    def replacing(self, path: str) -> Iterator[None]:
        """Hold look-ups of `path` by others off meanwhile."""
        thread = self._thread()
        with self._lock:
            self._coming[path] = _Rename(thread, under_way=True)
        try:
            yield
        finally:
            with self._lock:
                for name in [name for name, rename in self._coming.items() if rename.thread == thread]:
                    del self._coming[name]

    def _note(self, path: str, thread: int, now: float) -> float:
        """Remember a look-up and return when another thread looked `path` up last."""
        looked = self._looked.pop(path, None)
        if looked is None:
            looked = _Looked(now, thread)
        elif looked.thread != thread:
            looked.by_others = looked.when
        looked.when, looked.thread = now, thread
        self._looked[path] = looked
        if len(self._looked) > _NAMES:
            del self._looked[next(iter(self._looked))]
        return looked.by_others


def in_rename(thread: int) -> bool:
    """Say whether the thread is in rename(2) or its kin; False where that cannot be known (proc_pid_syscall(5))."""
    return _call(thread) in _RENAMES


def in_unlink(thread: int) -> bool:
    """Say whether the thread is in unlink(2) or its kin; False where that cannot be known."""
    return _call(thread) in _UNLINKS


def _call(thread: int) -> bytes:
    try:
        with open(f"/proc/{thread}/syscall", "rb") as file:
            return file.read(8).split(b" ")[0]
    except OSError:
        return b""
