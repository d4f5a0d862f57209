"""Who looks names up, so that nobody who has found a name loses it to a rename over it: the old file or the new (W9).

libfuse 2 forgets a file's node with its name. A program that looks a name up just before it is replaced, and opens it
just after, is told ENOENT, as if there were neither file (libfuse issue 637). Two things keep that from happening: the
look-up that the kernel makes for the rename itself, when it has locked the directory already, waits until whoever has
looked the name up before has had time to open it; and whoever looks it up from then on is told ESTALE, upon which the
kernel waits for the directory and looks again. It does so for calls with a path alone: fstat(2) would fail.

Which look-up is a rename's, and what is none, is told by the caller's system call, in /proc. Where that may not be read
(another user's process, or ptrace restricted by the administrator) the first of the two is missing, and the moment
remains.

**Threading:** any thread may call anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

#: Seconds that a program has between its look-up and what it does with it.
STEP_SECONDS: Final = 0.02
#: Seconds for which a look-up by somebody else makes a rename worth looking for, and for which one that is coming is
#: waited for: on a busy machine it may be long before either of them runs again.
_RECENT_SECONDS: Final = 2.0
#: How often a program may be told to look again for a rename that is coming, and for one that may be. The kernel looks
#: under the lock of the directory where it had the name, which ends with the rename, and in any case once more from the
#: start (LOOKUP_REVAL): told twice before that, a program that finds no rename is told ESTALE itself.
_TOLD_COMING: Final = 2
_TOLD_MAYBE: Final = 1
#: How often, a millisecond apart, a thread that has asked is looked for until it waits for its answer.
_LOOKS: Final = 1000
#: Names of which the last look-up is remembered.
_NAMES: Final = 2304
_MACHINE: Final = os.uname().machine
#: The numbers of rename, renameat and renameat2 (syscalls(2)).
_RENAMES: Final = {"x86_64": {b"82", b"264", b"316"}, "aarch64": {b"38", b"276"}}.get(_MACHINE, set())
#: Those of unlink and unlinkat.
_UNLINKS: Final = {"x86_64": {b"87", b"263"}, "aarch64": {b"35"}}.get(_MACHINE, set())
#: Those of calls for an open file that ask for its size or mode: read, write, fstat, mmap, lseek, ioctl, pread64,
#: pwrite64, readv, writev, sendfile, fsync, fdatasync, ftruncate, fchmod, fchown, fgetxattr, flistxattr, fadvise64,
#: splice, fallocate, preadv, pwritev, copy_file_range, preadv2, pwritev2, io_uring_enter.
_OPEN: Final = {
    "x86_64": b"0 1 5 9 8 16 17 18 19 20 40 74 75 77 91 93 193 196 221 275 285 295 296 326 327 328 426".split(),
    "aarch64": b"63 64 80 222 62 29 67 68 65 66 71 82 83 46 52 55 10 13 223 76 47 69 70 285 286 287 426".split(),
}.get(_MACHINE, [])
#: Those of newfstatat and statx, and which of their arguments says that they are for an open file.
_STATS: Final = {"x86_64": {b"262": 4, b"332": 3}, "aarch64": {b"79": 4, b"291": 3}}.get(_MACHINE, {})
_AT_EMPTY_PATH: Final = 0x1000
#: Those of futimesat and utimensat, whose second argument is no path where they are for an open file (futimens(3)).
_TIMES: Final = {"x86_64": {b"261", b"280"}, "aarch64": {b"88"}}.get(_MACHINE, set())


@dataclass(slots=True)
class _Looked:
    """When a name was looked up last, by which thread, and when by another one than that."""

    when: float
    thread: int
    by_others: float = float("-inf")


@dataclass(slots=True)
class _Rename:
    """A rename that is coming, seen by its look-ups (of both names), or under way, by the thread that calls it.

    Attributes:
        when: of that look-up; `call`: the system call that it was made for.
        told: how often each thread was told to look again.
    """

    thread: int
    when: float
    call: bytes = b""
    under_way: bool = False
    told: Counter[int] = field(default_factory=Counter)


class Lookups:
    """The look-ups of one mount."""

    def __init__(
        self,
        thread: Callable[[], int],
        *,
        renames: Callable[[int], bytes | None] | None = None,
        holds: Callable[[int], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`thread()` is the asking thread's id; the others say what a thread does, as `rename_of` and `has_open`."""
        self._thread = thread
        self._renames = renames or rename_of
        self._holds = holds or has_open
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._looked: dict[str, _Looked] = {}
        self._coming: dict[str, _Rename] = {}

    def arrive(self, path: str) -> None:
        """Note a look-up of `path`, or that the size of an open file is asked for; return when it may be answered.

        Raises:
            OSError: ESTALE, while somebody else renames something to it.
        """
        thread = self._thread()
        with self._lock:
            now = self._clock()
            if (rename := self._coming.get(path)) is not None and rename.thread != thread:
                if self._comes(rename, thread, now):
                    if self._holds(thread):
                        return
                    rename.told[thread] += 1
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
                del self._coming[path]  # the kernel has refused it: `mv -n`, say
            looked = self._note(path, thread, now)
            if now - looked.by_others >= _RECENT_SECONDS:
                return
        if not (call := self._rename(thread)):
            return
        with self._lock:
            now = self._clock()
            self._coming[path] = _Rename(thread, now, call)
            # Others may have come meanwhile.
            left = STEP_SECONDS - (now - (looked.by_others if looked.thread == thread else looked.when))
        if left > 0:
            self._sleep(left)

    @contextlib.contextmanager
    def replacing(self, path: str) -> Iterator[None]:
        """Hold look-ups of `path` by others off meanwhile."""
        thread = self._thread()
        with self._lock:
            self._coming[path] = _Rename(thread, self._clock(), under_way=True)
        try:
            yield
        finally:
            with self._lock:
                for name in [name for name, rename in self._coming.items() if rename.thread == thread]:
                    del self._coming[name]

    def _comes(self, rename: _Rename, thread: int, now: float) -> bool:
        """Say whether a rename is under way, or may yet come as far as `thread` is concerned."""
        if rename.under_way:
            return True
        if now - rename.when >= _RECENT_SECONDS:
            return False
        call = self._renames(rename.thread)
        if call is None:  # on its way from the one to the other, or away: no system call is to be seen
            return rename.told[thread] < _TOLD_MAYBE
        return call == rename.call and rename.told[thread] < _TOLD_COMING

    def _rename(self, thread: int) -> bytes:
        """Return the rename(2) that the thread has asked for, if any; it may not wait for its answer yet."""
        for _ in range(_LOOKS):
            if (call := self._renames(thread)) is not None:
                return call
            self._sleep(0.001)
        return b""

    def _note(self, path: str, thread: int, now: float) -> _Looked:
        """Remember a look-up and return what is known of those of `path`."""
        looked = self._looked.pop(path, None)
        if looked is None:
            looked = _Looked(now, thread)
        elif looked.thread != thread:
            looked.by_others = looked.when
        looked.when, looked.thread = now, thread
        self._looked[path] = looked
        if len(self._looked) > _NAMES:
            del self._looked[next(iter(self._looked))]
        return looked


def rename_of(thread: int) -> bytes | None:
    """Return the call of a thread in rename(2) or its kin, which differs from its others (proc_pid_syscall(5)).

    Empty where it is in none, or that may not be known; None for a thread that runs, or would if a processor were free:
    it may be anywhere.
    """
    call = _call(thread)
    return None if call[0] == b"running" else b" ".join(call) if call[0] in _RENAMES else b""


def has_open(thread: int) -> bool:
    """Say whether the thread asks for a file that it has open; False where that cannot be known."""
    call, *arguments = _call(thread)
    if call in _TIMES:
        return len(arguments) >= 2 and not int(arguments[1], 16)
    if call not in _STATS:
        return call in _OPEN
    which = _STATS[call]
    return len(arguments) >= which and bool(int(arguments[which - 1], 16) & _AT_EMPTY_PATH)


def in_unlink(thread: int) -> bool:
    """Say whether the thread is in unlink(2) or its kin; False where that cannot be known."""
    return _call(thread)[0] in _UNLINKS


def _call(thread: int) -> list[bytes]:
    """Return the number of a thread's system call and its arguments, `running`, or an empty word."""
    try:
        with open(f"/proc/{thread}/syscall", "rb") as file:
            return file.read(200).split() or [b""]
    except OSError:
        return [b""]
