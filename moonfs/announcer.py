"""Names that come and go without a system call, told to who watches the root by inotify(7), as file managers do.

The kernel tells watchers what processes on this machine do. A text that appears once its file is stored, or a file that
somebody else has deleted, are no doing of any process here, and FUSE has no message for them: those that invalidate
what the kernel knows raise no event. So a small process makes the system calls that raise them, mknod(2) of a name that
has come and unlink(2) of one that has gone. The adapter knows that process and answers it out of what is kept here: to
it a name exists when watchers have been told of it, and nothing that it asks for reaches a file.

It does so only while somebody watches, which /proc tells of this user's processes, and to root of everybody's. It
cannot on a drive that is mounted read-only, nor where its user may not write to the root.

**Threading:** any thread may call anything. One thread of its own looks for watchers when names are listed or change,
and compares and tells once a second while there are some; no handler waits for it, since it touches the mount.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from moonfs import mounts

log = logging.getLogger(__name__)

#: Seconds from a listing or a change to the search for watchers: who opens a folder lists it, and begins to watch it.
_SETTLE: Final = 1.0
#: Seconds between two comparisons. Each is made when a full second has just begun: KDE compares the times of a folder
#: in whole seconds, and would take what is told in the second of another change for nothing new.
_TICK: Final = 1.0
_BEGUN: Final = 0.05
#: For how many comparisons new watchers may take to list the root: what they show by that is no news to them.
_OPENING: Final = 3
#: Seconds between two searches, while nobody watches.
_PAUSE: Final = 5.0
#: Seconds for all that is to be told at once; a rename that takes long holds it up.
_SECONDS: Final = 60.0
#: Of how many processes it is kept what they listed first.
_LISTINGS: Final = 16
#: How often in a row the process that tells is not recognized, before nothing is told any more.
_FAILURES: Final = 3
#: Reads what to tell, each ended by NUL: a name that only this drive shows, and only to it; then the names.
_VOICE: Final = """
import os, sys
sign, *names = sys.stdin.buffer.read().split(b"\\0")
root = os.open(sys.argv[1], os.O_PATH | os.O_DIRECTORY)
os.stat(sign, dir_fd=root)
for name in names:
    try:
        if name[:1] == b"+":
            os.mknod(name[1:], 0o100600, dir_fd=root)
        elif name:
            os.unlink(name[1:], dir_fd=root)
    except OSError:
        pass
"""


class Announcer:
    """What watchers of one mount's root have been told.

    Attributes:
        voice: the process whose calls are for `finds`, `came` and `went` alone; 0 while there is none.
    """

    def __init__(self, point: str, names: Callable[[], Iterable[str]], *, able: bool = True) -> None:
        """`names()` returns the names in the root without a request; `able` says whether anything can be told."""
        self.voice = 0
        self._point = point
        self._names = names
        self._able = able
        self._lock = threading.Lock()
        self._told: set[str] | None = None
        self._listed: set[str] = set()
        #: By process, what each listed first: who opens a folder begins to watch it, and then lists it.
        self._first: dict[int, set[str]] = {}
        #: Whether a process has listed for the first time since watches were searched last.
        self._newcomer = False
        #: What the kernel has told of since the names were looked at last, or compared.
        self._touched: set[str] = set()
        self._gone: set[str] = set()
        self._sign = ""
        self._failures = 0
        self._poked = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def listed(self, names: Iterable[str], process: int) -> None:
        """Note that a process has listed the root: if it begins to watch it now, it knows these names or newer ones."""
        if not self._able:
            return
        with self._lock:
            shown = set(names)
            if len(self._first) >= _LISTINGS:
                self._first = {each: first for each, first in self._first.items() if os.path.exists(f"/proc/{each}")}
            if len(self._first) < _LISTINGS and process not in self._first:
                self._first[process] = set(shown)
                self._newcomer = True
            if self._told is None:
                self._told = shown
            else:
                self._listed |= shown
        self._poke()

    def came(self, name: str) -> None:
        """Note that the kernel tells watchers of a new name."""
        with self._lock:
            self._touched.add(name)
            if self._told is not None:
                self._told.add(name)
        self._poke()

    def went(self, name: str) -> None:
        """Note that the kernel tells watchers that a name is gone."""
        with self._lock:
            self._touched.add(name)
            self._listed.discard(name)
            for first in self._first.values():
                first.discard(name)
            if self._told is not None:
                self._told.discard(name)
        self._poke()

    def finds(self, name: str) -> bool:
        """Say whether the voice is to find a name.

        It asks while the kernel has locked the directory, so that what anybody else does there is done and noted: a
        name that has been told of meanwhile is neither made nor removed.
        """
        with self._lock:
            if name in self._gone:
                return name not in self._touched
            return name == self._sign or name in self._touched or (self._told is not None and name in self._told)

    def close(self) -> None:
        """Tell nothing more."""
        self._closing.set()
        self._poked.set()
        if self._thread is not None:
            self._thread.join(_TICK)

    def _poke(self) -> None:
        if not self._able or self._poked.is_set():
            return
        self._poked.set()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="moonfs-announcer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._poked.wait()
                self._closing.wait(_SETTLE)
                self._poked.clear()
                self._attend()
                self._closing.wait(_PAUSE)
        except Exception:
            log.exception("File managers are not told any more of names that come and go")
            self._able = False

    def _attend(self) -> None:
        """Tell watchers of what comes and goes, while there are some."""
        self._newcomer = False
        watches, opening = find_watches(self._point), _OPENING
        while watches and self._able and not self._closing.wait(_TICK + _BEGUN - time.time() % _TICK):
            lasting = [watch for watch in watches if watch.lasts()]
            if not lasting or self._is_met_by_none(lasting):
                self._newcomer = False
                found = find_watches(self._point)
                opening = opening if set(found) <= set(lasting) else _OPENING
                lasting = found
            watches = lasting
            if watches:
                # Some are never met: Dolphin lists in another process, and gvfsd-trash, which watches the root of every
                # mount, lists nothing.
                opening = 0 if opening and self._meet(watches, all_of_them=opening > 1) else max(0, opening - 1)
                if not opening:
                    self._compare()
        with self._lock:
            self._told = None  # nobody knows anything
            self._listed.clear()
            self._first.clear()
            self._touched.clear()

    def _is_met_by_none(self, watches: list[Watch]) -> bool:
        """Say whether somebody has listed who may watch by now, and none of those who do has listed anything."""
        with self._lock:
            return self._newcomer and not any(watch.process in self._first for watch in watches)

    def _meet(self, watches: list[Watch], *, all_of_them: bool) -> bool:
        """Take what new watchers have listed for known to them, once `all_of_them` have listed the root, or some have.

        Who was told before them has gone, or never watched: what came since is no news to them. PCManFM shows a name
        twice that it is told of while it lists it (libfm/src/base/fm-folder.c, on_dirlist_job_finished).
        """
        with self._lock:
            listings = [self._first.get(watch.process) for watch in watches]
            first = [listing for listing in listings if listing is not None]
            if self._told is None or not first or (all_of_them and len(first) < len(listings)):
                return False
            self._told |= set.intersection(*first)
            return True

    def _compare(self) -> None:
        """Tell of what has come and gone since watchers were told last, or listed the root."""
        names = self._looked_at()
        with self._lock:
            told = self._told = set(names) if self._told is None else self._told
            come = names - told - self._touched
            gone = (told | self._listed) - names - self._touched
            told |= gone  # who began to watch meanwhile has listed it
            self._listed.clear()
            self._touched.clear()
            self._gone = gone
        if not come and not gone:
            return
        recognized = self._tell([*_lines(b"-", gone), *_lines(b"+", come)])
        self._failures = 0 if recognized else self._failures + 1
        if self._failures == _FAILURES and not self._closing.is_set():
            log.warning(
                "File managers cannot be told of names that come and go: the drive does not know who tells them"
            )
            self._able = False
        names = self._looked_at()
        with self._lock:  # what could not be told is not tried again each second
            told -= gone - names - self._touched
            told |= (come & names) - self._touched

    def _looked_at(self) -> set[str]:
        """Return the names in the root; what the kernel tells of while they are looked at is `_touched` afterwards."""
        with self._lock:
            self._touched.clear()
        return set(self._names())

    def _tell(self, lines: list[bytes]) -> bool:
        """Have a process tell these; return whether the drive has recognized it."""
        self._sign = f".moonfs-{secrets.token_hex(16)}"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _VOICE, self._point],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
        )
        ended = os.pidfd_open(process.pid)
        self.voice = process.pid
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as told:  # it waits for the end of them
                told.write(b"\0".join([self._sign.encode(), *lines]))
            if not select.select([ended], [], [], _SECONDS)[0]:
                process.kill()
                select.select([ended], [], [])
        finally:
            self.voice, self._sign = 0, ""  # before the number can be another's
            os.close(ended)
        return process.wait() <= 0


def _lines(sign: bytes, names: Iterable[str]) -> list[bytes]:
    """Return what the voice is told of names, in order, but those that no listing shows either."""
    lines = []
    for name in sorted(names):
        with contextlib.suppress(UnicodeError):
            line = sign + name.encode("utf-8", "surrogateescape")
            if not {0, ord("/")} & set(line):
                lines.append(line)
    return lines


#: The inode number of a drive's root (fuse.h).
_ROOT: Final = 1


@dataclass(frozen=True, slots=True)
class Watch:
    """A watch of some process: its file in /proc that tells of it, and by what (inotify(7), proc_pid_fdinfo(5))."""

    process: int
    file: str
    mark: str

    def lasts(self) -> bool:
        """Say whether it is still there."""
        try:
            with open(self.file, encoding="ascii", errors="replace") as lines:
                return any(self.mark in line for line in lines)
        except OSError:
            return False


def find_watches(point: str) -> list[Watch]:
    """Return the watches on the directory `point`, itself and not what is in it, that are to be seen."""
    try:
        major, minor, inode = _identity(point)
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    mark = f" ino:{inode:x} sdev:{major << 20 | minor:x} "  # as the kernel has it (linux/kdev_t.h)
    found = []
    for process in processes:
        with contextlib.suppress(OSError):  # somebody else's, or gone
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                if _is_inotify(f"/proc/{process}/fd/{descriptor}"):
                    watch = Watch(int(process), f"/proc/{process}/fdinfo/{descriptor}", mark)
                    if watch.lasts():
                        found.append(watch)
    return found


def _identity(point: str) -> tuple[int, int, int]:
    """Return the device, major and minor, and the inode number of the directory `point`.

    A drive is not asked: who is killed while it waits for itself never ends, and its drive hangs for all others.

    Raises:
        OSError: there is none.
    """
    devices = [mount.device for mount in mounts.table() if mount.point == point]
    if devices:
        return *mounts.numbers(devices[-1]), _ROOT
    status = os.stat(point)
    return os.major(status.st_dev), os.minor(status.st_dev), status.st_ino


def _is_inotify(descriptor: str) -> bool:
    try:
        return os.readlink(descriptor) == "anon_inode:inotify"
    except OSError:
        return False
