"""Who holds a filesystem: programs that have something of it open, and mount namespaces in which it is mounted.

It reads `/proc` as far as this user may (proc(5)) and asks no filesystem anything, so that a drive that hangs costs no
time. Not seen are a mount namespace without a process, a loop device, and what another process namespace hides.

**Threading:** none of its own; called by the command line and by the main thread of a daemon.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from moonfs import mounts

#: Processes that are named.
_FEW: Final = 4
#: Characters of a command that are shown.
_LONGEST: Final = 40
#: What no drive's file is called by a link of `/proc/PID/fd`.
_ELSEWHERE: Final = ("/dev/", "/proc/", "/sys/", "/memfd:")
#: What the flags of a thread of the kernel have (proc_pid_stat(5), linux/sched.h).
_PF_KTHREAD: Final = 0x00200000
#: How a process holds what it need not use.
_NAMESPACE: Final = "another mount namespace"
#: What is not known of a process: its mounts, its open files.
_HIDDEN, _CLOSED = "hidden", "closed"
#: Of statx(2): where a relative path begins, ask nobody for attributes, the size of the answer, where the device is.
_AT_FDCWD: Final = -100
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_BYTES: Final = 256
_STATX_DEVICE: Final = 136


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a filesystem.

    Attributes:
        pid: its number.
        command: its command line, cut off where it is long.
        how: by what.
    """

    pid: int
    command: str
    how: str

    def __str__(self) -> str:
        return f"{self.pid} {self.command} ({self.how})"


@dataclass(frozen=True, slots=True)
class Holders:
    """What holds a filesystem.

    Attributes:
        processes: those that were seen, by their numbers; those that use it go first.
        points: where it is mounted in this mount namespace.
        hidden: how many processes have mounts that this user may not see.
        closed: how many have open files that this user may not see.
    """

    processes: tuple[Holder, ...] = ()
    points: tuple[str, ...] = ()
    hidden: int = 0
    closed: int = 0

    def __str__(self) -> str:
        """Say it as the end of a sentence that begins "held by"."""
        said = [f"its mount on {point}" for point in self.points]
        said += [str(holder) for holder in self.processes[:_FEW]]
        if more := len(self.processes) - _FEW:
            said += [f"{more:,} more"] * (more > 0)
        unseen = self.hidden or (0 if said else self.closed)
        if unseen:
            said.append(f"perhaps one of {unseen:,} process{'' if unseen == 1 else 'es'} that you may not look at")
        return ", ".join(said) or "something that /proc does not show here: a container, or a loop device"


def find(device: str, *, besides: Collection[int] = ()) -> Holders:
    """Return what holds the filesystem `device`, such as `0:40` (proc_pid_mountinfo(5)), but for some processes."""
    wanted, own = mounts.numbers(device), _namespace("self")
    here = _points("self", wanted)
    found, unseen = [], {_HIDDEN: 0, _CLOSED: 0}
    for pid in _processes():
        if pid != os.getpid() and pid not in besides:
            how = _how(pid, wanted, own, mounted_here=bool(here))
            if how in unseen:
                unseen[how] += 1
            elif how:
                found.append(Holder(pid, _command(pid), how))
    found.sort(key=lambda holder: holder.how == _NAMESPACE)  # a container may have many
    return Holders(tuple(found), tuple(here), unseen[_HIDDEN], unseen[_CLOSED])


def _processes() -> list[int]:
    """Return the processes that are seen here, but for the kernel's own threads."""
    return [
        pid for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()) if not _is_kernels(pid)
    ]


def _is_kernels(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return bool(int(stream.read().rpartition(b") ")[2].split()[6]) & _PF_KTHREAD)
    except (OSError, ValueError, IndexError):  # it has ended
        return True


def _how(pid: int, device: tuple[int, int], own: str, *, mounted_here: bool) -> str:
    """Return how a process holds the device: empty for not at all, `_HIDDEN` or `_CLOSED` where that cannot be seen."""
    try:
        namespace = _namespace(pid)
        # Whose namespace this user may not know is in another one at least where the device is in that one only.
        elsewhere = namespace != own if namespace else not mounted_here
        if elsewhere and _points(pid, device):
            return _NAMESPACE
    except PermissionError:
        return _HIDDEN
    except OSError:  # it has ended
        return ""
    try:
        return _uses(pid, device)
    except PermissionError:
        return _CLOSED
    except OSError:
        return ""


def _namespace(pid: int | str) -> str:
    """Return what names the mount namespace of a process; empty where this user may not know."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except PermissionError:
        return ""


def _points(pid: int | str, device: tuple[int, int]) -> list[str]:
    """Return where the device is mounted, as a process sees it."""
    return list(dict.fromkeys(mount.point for mount in mounts.table(pid) if mounts.numbers(mount.device) == device))


def _uses(pid: int, device: tuple[int, int]) -> str:
    """Return what of the device a process uses, or an empty string.

    Raises:
        OSError: this user may not look at it, or it has ended.
    """
    home = f"/proc/{pid}"
    for name, what in (("cwd", "working directory"), ("root", "root directory")):
        os.readlink(f"{home}/{name}")
        if _device(f"{home}/{name}") == device:
            return what
    for name in os.listdir(f"{home}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            path = os.readlink(f"{home}/fd/{name}")
            if path.startswith("/") and not path.startswith(_ELSEWHERE) and _device(f"{home}/fd/{name}") == device:
                return f"open: {os.path.basename(path) or 'the directory'}"
    number = b" %02x:%02x " % device
    with open(f"{home}/maps", "rb") as lines:
        for line in lines:
            if number in line[:100]:
                return f"mapped: {os.fsdecode(os.path.basename(line.rstrip()))}"
    return ""


def _device(path: str) -> tuple[int, int] | None:
    """Return the device of what a path leads to; its filesystem is not asked, even where it may not be used."""
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), _AT_STATX_DONT_SYNC, 0, answer) != 0:
        return None
    major, minor = struct.unpack_from("=II", answer, _STATX_DEVICE)
    return major, minor


def _command(pid: int) -> str:
    """Return the command line of a process, or its name where it has none."""
    for name in ("cmdline", "comm"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as stream:
            if words := os.fsdecode(stream.read(4096)).replace("\0", " ").split():
                text = " ".join([os.path.basename(words[0]) or words[0], *words[1:]])
                return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return "?"
