"""The directories that a drive works in: whose they are, who else may look, how much is free.

**Threading:** called by one thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Final

from moonfs.config import Directories
from moonfs.doctor.findings import Finding, State

#: Bytes below which uploads and texts soon fail: a file is spooled whole, of up to 100 MB.
_FEW: Final = 256 * 1024**2
_ENOUGH: Final = 2 * 1024**3
_INODES: Final = 1000
#: What a `sockaddr_un` holds on Linux, in bytes, and the longest name that a server gives its socket.
_SOCKET_BYTES: Final = 107
_SOCKET_NAME: Final = 32


def look(directories: Directories) -> Iterator[Finding]:
    """Look at the directories that are there, or at where they would be made."""
    wanted = {
        "state": directories.state,
        "cache": directories.cache,
        "data": directories.data,
        "config": directories.config,
        "runtime": directories.runtime,
    }
    for about, path in wanted.items():
        yield _permissions(about, path)
    seen = set()
    for about in ("state", "cache", "data"):
        place = _nearest(wanted[about])
        if place.stat().st_dev not in seen:
            seen.add(place.stat().st_dev)
            yield _free(about, place)
    length = len(os.fsencode(directories.runtime)) + 1 + _SOCKET_NAME
    if length > _SOCKET_BYTES:
        yield Finding(
            "sockets",
            State.FAILED,
            f"{directories.runtime} is too long a path for the socket of the local Files API",
            "export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        )


def _nearest(path: Path) -> Path:
    """Return the first of the path and its parents that is there."""
    # Not `Path.exists`, which raises where one may not look.
    return next(place for place in (path, *path.parents) if os.path.exists(place))


def _permissions(about: str, path: Path) -> Finding:
    place = _nearest(path)
    name = f"{about} directory"
    if place != path:
        if os.access(place, os.W_OK | os.X_OK):
            return Finding(name, State.OK, f"{path} will be made")
        return Finding(
            name, State.FAILED, f"{path} cannot be made: {place} is not writable for you", f"ls -ld {quote(str(place))}"
        )
    quoted = quote(str(path))
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return Finding(name, State.FAILED, f"{path} is no directory", f"mv {quoted} {quoted}.old")
    if status.st_uid != os.geteuid():
        return Finding(name, State.FAILED, f"{path} belongs to user {status.st_uid}", f"sudo chown -R $USER {quoted}")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding(name, State.FAILED, f"{path} is not writable for you", f"chmod u+rwx {quoted}")
    if status.st_mode & 0o077 and about != "config":
        return Finding(
            name, State.WARNING, f"{path} is open to others (the next mount closes it)", f"chmod 700 {quoted}"
        )
    return Finding(name, State.OK, f"{path} is yours alone" if about != "config" else f"{path} is yours")


def _free(about: str, place: Path) -> Finding:
    quoted = quote(str(place))
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    found = f"{free / 1024**3:.1f} GB free for {about} in {place}"
    fix = f"df -h {quoted}; du -xh {quoted} | sort -h | tail"
    if status.f_flag & os.ST_RDONLY:
        return Finding("disk", State.FAILED, f"{place} is on a read-only filesystem", f"findmnt -T {quoted}")
    if status.f_files and status.f_favail < _INODES:
        return Finding("disk", State.FAILED, f"{status.f_favail} inodes are left in {place}", f"df -i {quoted}")
    if free < _FEW:
        return Finding("disk", State.FAILED, found, fix)
    if free < _ENOUGH:
        return Finding("disk", State.WARNING, found, fix)
    return Finding("disk", State.OK, found)
