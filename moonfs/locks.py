"""Who may have what on this machine: one mount an account (L3), and one a directory.

The kernel drops the locks of a daemon that dies (flock(2)), so that none is left to be cleared.

**Threading:** called by the main thread of a daemon, at its start.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from shlex import quote

from moonfs import daemons, ending, mountpoints
from moonfs.errors import UsageError

log = logging.getLogger(__name__)


def lock_account(path: Path, point: str) -> int:
    """Take the account's lock on this machine and return its descriptor (L3).

    Raises:
        UsageError: another mount has it; says which.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.fsdecode(os.read(fd, 8192)).removesuffix("\n")
        os.close(fd)
        raise UsageError(_taken(path.parent, *holder.partition(" ")[::2])) from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()} {point}\n".encode(errors="surrogateescape"))
    return fd


def _taken(folder: Path, pid: str, point: str) -> str:
    """Return in one sentence who has an account, and what to do."""
    daemon = daemons.of(folder)
    said = None if daemon is None else daemon.status()
    if daemon is not None and said is not None:
        mounted = mountpoints.at(daemon.point)
        there = mounted is not None and mounted.device == said.get("device")
        if said.get("stage") == daemons.STARTING:
            return f"This account is being mounted on {daemon.point} at this moment; use that drive, or try again."
        if not there:
            return ending.why(daemon, said)
    return (
        f"This account is mounted already, on {point or 'another directory'} by process {pid or 'unknown'}; "
        f"use that drive, or unmount it first with: moonfs umount {quote(point) if point else 'DIR'}"
    )


def claim(point: str, state: Path) -> contextlib.ExitStack:
    """Have the directory to ourselves until something is mounted there: of two drives the later would hide the other.

    Nor may an earlier one live on elsewhere, though it is not mounted there any more: when that ends by a signal,
    libfuse takes away whatever is mounted there. `state` is where this user's accounts have theirs.

    Raises:
        UsageError: something is mounted or being mounted there since it was looked at, or an earlier drive lives on.
    """
    for daemon, said in ending.detached(state, point):
        raise UsageError(ending.why(daemon, said))
    held = contextlib.ExitStack()
    if mountpoints.at(point) is None:
        fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, fd)
        ours = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ours = False
        except OSError as error:  # NFS locks no directories; then it is only looked at
            log.info("%s cannot be locked: %s", point, error.strerror)
        if ours and mountpoints.at(point) is None:
            return held
    held.close()
    raise UsageError(f"Another drive is mounted on {point} at the same time; choose another directory.")
