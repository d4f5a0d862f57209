"""Who opened a file, and whether they have it open still: what proc(5) tells of processes.

FUSE names the asking thread of a request. Where it names none (0: another process namespace, a mapped page, a loop
device), or proc(5) tells nothing, nobody is taken for somebody else. It knows no files and no handles.

**Threading:** any thread may call anything.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

#: What proc(5) counts the start of a process in, by the second.
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Which part of `/proc/PID/stat`, after the name, is the start, in ticks since boot.
_STARTED: Final = 19


class Opener:
    """The process that opened a file, from that moment on."""

    __slots__ = ("_group", "_opened", "_threads")

    def __init__(self, thread: int = 0) -> None:
        """Remember the process of `thread`, which opens a file now; 0 where nobody knows."""
        self._group = group_of(thread)
        self._opened = time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS // 10**9
        self._threads = {thread}

    def is_process_of(self, thread: int) -> bool:
        """Say whether `thread` is one of the opener's, or it cannot be told."""
        if not (thread and self._group) or thread in self._threads:
            return True
        if group_of(thread) not in (self._group, 0):
            return False
        self._threads.add(thread)
        return True

    def has_open(self, inode: int) -> bool:
        """Say whether the opener lives and has the file of that number open for writing, for all that can be told."""
        try:
            with open(f"/proc/{self._group}/stat", encoding="ascii", errors="replace") as stat:
                started = int(stat.read().rpartition(")")[2].split()[_STARTED])
            if started > self._opened:  # it has only got its number
                return False
            # A process that has ended has none any more, also while its parent has not asked for it.
            directory = f"/proc/{self._group}/fdinfo"
            return any(_writes_to(f"{directory}/{entry}", inode) for entry in os.listdir(directory))
        except (OSError, ValueError, IndexError):  # it is gone, or another user's
            return False


def group_of(thread: int) -> int:
    """Return the thread-group id of a thread, which is what a process is known by; 0 where that cannot be told."""
    if not thread or not _is_ours():
        return 0
    try:
        with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Tgid:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _is_ours() -> bool:
    """Say whether /proc counts processes as FUSE does for us: not where only one of the two has been unshared."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _writes_to(descriptor: str, inode: int) -> bool:
    """Say whether a descriptor, by its file in `fdinfo`, is open for writing on the file with that number."""
    found = {}
    with contextlib.suppress(OSError), open(descriptor, encoding="ascii", errors="replace") as lines:
        found = dict(line.split(None, 1) for line in lines if line.startswith(("flags:", "ino:")))
    access = int(found.get("flags:", "0"), 8) & os.O_ACCMODE
    return access != os.O_RDONLY and int(found.get("ino:", "0")) == inode
