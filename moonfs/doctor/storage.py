"""The directories that a drive works in: whose they are, who else may look, how much is free.

**Threading:** called by one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Final

from moonfs.config import Directories
from moonfs.doctor.findings import ME, Finding, State
from moonfs.wording import count

#: Bytes below which uploads and texts soon fail: a file is spooled whole, of up to 100 MB.
_FEW: Final = 256 * 1024**2
_ENOUGH: Final = 2 * 1024**3
_INODES: Final = 1000
#: What a `sockaddr_un` holds on Linux, in bytes, and the longest name that a server gives its socket.
_SOCKET_BYTES: Final = 107
_SOCKET_NAME: Final = 32


def look(directories: Directories, local: Path | None = None) -> Iterator[Finding]:
    """Look at the directories that are there, or at where they would be made.

    Args:
        directories: those of this user.
        local: where the local Files API that is used keeps its files; None where none is used, so that what is wrong
            with its directories keeps nothing from working.
    """
    for about in ("state", "cache", "data", "config", "runtime"):
        finding = _directory(about, getattr(directories, about))
        if finding.state == State.FAILED and (about == "config" or (local is None and about in ("data", "runtime"))):
            whom = "moonfs key set and config.toml" if about == "config" else "the local Files API"
            finding = Finding(finding.about, State.NOTE, f"{finding.found}; only {whom} would need it", finding.fix)
        yield finding
    places = [("state", directories.state), ("cache", directories.cache)]
    if local is not None:
        places.append(("files of the local Files API", local))
        if directories.data not in local.parents or os.path.lexists(local):
            yield _directory("files", local)
    seen = set()
    for about, path in places:
        place = _nearest(path)
        device = place.stat().st_dev if place.exists() else -1
        if device not in seen:
            seen.add(device)
            yield _free(about, place)
    if local is not None:
        yield from _socket(directories.runtime)


def usable(about: str, path: Path, place: Path) -> Finding | None:
    """Return what keeps `path` from being made below `place`, the first that is there, or None.

    Args:
        about: what the finding is about.
        path: a directory that is to be.
        place: the last part of its path that is there, be it a link to nothing.
    """
    if not place.exists():
        target = os.path.realpath(place)
        found = f"{place} is a link to {target}, which is not there"
        return Finding(about, State.FAILED, found, f"mkdir -p -m 700 {quote(target)}")
    quoted = quote(str(place))
    if not place.is_dir():
        found = f"{place} is no directory" if place == path else f"{path} cannot be made: {place} is no directory"
        return Finding(about, State.FAILED, found, f"mv {quoted} {quoted}.old")
    if os.access(place, os.W_OK | os.X_OK):
        return None
    status = place.stat()
    cannot = f"{place} is not writable for you" if place == path else f"{path} cannot be made: {place} is"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return Finding(about, State.FAILED, f"{path} is on a read-only filesystem")
    if status.st_uid == os.geteuid():
        found = cannot if place == path else f"{cannot} not writable for you"
        return Finding(about, State.FAILED, found, f"chmod u+rwx {quoted}")
    if not os.access(place, os.X_OK):
        found = f"{place} is closed to you" if place == path else f"{cannot} closed to you"
        return Finding(about, State.FAILED, found)
    fix = f"sudo install -d -m 700 -o {ME} {quote(str(path))}"
    return Finding(about, State.FAILED, cannot if place == path else f"{cannot} not writable for you", fix)


def _nearest(path: Path) -> Path:
    """Return the first of the path and its parents that is there, be it a link to nothing."""
    # Not `Path.exists`, which raises where one may not look.
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _directory(about: str, path: Path) -> Finding:
    name = f"{about} directory"
    place = _nearest(path)
    quoted = quote(str(path))
    if place == path:
        theirs = {path.lstat().st_uid, path.stat().st_uid if path.exists() else os.geteuid()} - {os.geteuid()}
        if about == "config" and theirs == {0} and os.access(path, os.R_OK | os.X_OK):
            return Finding(name, State.OK, f"{path} is root's, and can be read")
        if theirs and path.is_symlink() and path.lstat().st_uid != os.geteuid():
            found = f"{path} is a link of user {path.lstat().st_uid}"
            return Finding(name, State.FAILED, found, f"sudo chown -h {ME} {quoted}")
        if theirs and path.is_dir():
            # What somebody else has put where sockets are made is not to be trusted.
            fix = f"sudo rm -r {quoted}" if about == "runtime" else f"sudo chown -RH {ME} {quoted}"
            return Finding(name, State.FAILED, f"{path} belongs to user {path.stat().st_uid}", fix)
    obstacle = usable(name, path, place)
    if obstacle is not None:
        return obstacle if obstacle.fix else Finding(name, State.FAILED, obstacle.found, _elsewhere(about))
    if place != path:
        return Finding(name, State.OK, f"{path} will be made")
    if path.stat().st_mode & 0o077:
        found = f"{path} is open to others; the next mount closes it"
        return Finding(name, State.WARNING, found, f"chmod 700 {quoted}")
    return Finding(name, State.OK, f"{path} is yours alone")


def _elsewhere(about: str) -> str:
    """Return the line that has a directory made in another place, for one that nobody can make where it would be."""
    if about == "files":
        return 'moonfs mount --local "$(mktemp -d /var/tmp/moonfs-XXXXXX)" DIR  # better: on a disk that stays'
    variable = "XDG_RUNTIME_DIR" if about == "runtime" else f"XDG_{about.upper()}_HOME"
    where = "/tmp" if about == "runtime" else "/var/tmp"  # noqa: S108 - mktemp makes one of its own in it
    remark = "" if about == "runtime" else "  # better: a directory of yours on a disk that stays"
    return f'export {variable}="$(mktemp -d {where}/moonfs-XXXXXX)"{remark}'


def _free(about: str, place: Path) -> Finding:
    try:
        status = os.statvfs(place)
    except OSError as error:
        return Finding("disk", State.NOTE, f"of {place} nothing is known: {error.strerror}")
    free = status.f_bavail * status.f_frsize
    found = f"{free / 1024**3:.1f} GB free for {about} in {place}"
    disk = quote(str(_root(place)))
    remark = "# the largest last: delete what you need no more"
    if status.f_files and status.f_favail < _INODES:
        left = f"{count(status.f_favail, 'inode')} left for {about} in {place}"
        return Finding("disk", State.FAILED, left, f"du -x --inodes {disk} 2>/dev/null | sort -n | tail  {remark}")
    if free < _ENOUGH:
        fix = f"du -xah {disk} 2>/dev/null | sort -h | tail -n 30  {remark}"
        return Finding("disk", State.FAILED if free < _FEW else State.WARNING, found, fix)
    return Finding("disk", State.OK, found)


def _root(place: Path) -> Path:
    """Return the directory on which the filesystem of `place` is mounted."""
    place = place.resolve()
    return next(each for each in (place, *place.parents) if os.path.ismount(each))


def _socket(runtime: Path) -> Iterator[Finding]:
    if len(os.fsencode(runtime)) + 1 + _SOCKET_NAME > _SOCKET_BYTES:
        # `Directories` goes by the one, and where it is not set by the other.
        chosen = runtime.parent == Path(os.environ.get("XDG_RUNTIME_DIR", ""))
        yield Finding(
            "sockets",
            State.FAILED,
            f"{runtime} is too long a path for the socket of the local Files API",
            "unset XDG_RUNTIME_DIR  # then they are in /tmp" if chosen else "export TMPDIR=/tmp",
        )
