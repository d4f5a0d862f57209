"""Why a disk refuses: it is full, without inodes, over a quota, read-only, failing; or what is on it is damaged.

SQLite says "disk I/O error" or "unable to open database file" for most of these, and an errno says neither which
directory nor whether bytes or inodes are missing. Here is found out which it is, and said in one sentence with a line
that mends it. Standard library only; the local Files API uses it too.

**Threading:** asks the disk, and keeps nothing; any thread may call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from shlex import quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # every command loads this module, and few of them a database
    import sqlite3

#: What a disk refuses with, whoever asks.
_REFUSALS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
#: What else is refused, whoever asks; each with a line that mends it or shows the one thing to change.
_OTHERS: Final = {
    errno.EMFILE: "cannot be opened, for this process has too many files open; allow it more with: ulimit -n 65536",
    errno.ENFILE: "cannot be opened, for this machine has too many files open; allow more with: "
    "sudo sysctl fs.file-max=1000000",
    errno.ENOMEM: "cannot be used, for the memory is full; see what takes it with: top -o %MEM",
    errno.ENAMETOOLONG: "is too long a path; move it nearer to the root with: mv {path} ~/",
    errno.ELOOP: "leads through links that lead in a circle; find them, to remove one, with: namei {path}",
    errno.ENOTDIR: "has a file where there has to be a directory; find it, to move it away, with: namei {path}",
    errno.EISDIR: "is a directory where there has to be a file; move it away with: mv {path} {path}.old",
    errno.ENOLCK: "is on a disk that gives no locks; mount it with them: sudo mount -o remount,local_lock=all {disk}",
    errno.ESTALE: "is on a disk that has gone; mount it anew with: sudo umount -l {disk} && sudo mount {disk}",
    errno.ENOTCONN: "is on a disk that has gone; mount it anew with: sudo umount -l {disk} && sudo mount {disk}",
    errno.EHOSTDOWN: "is on a disk that does not answer; mount it anew: sudo umount -l {disk} && sudo mount {disk}",
}
#: SQLite's primary codes of sqlite3.h: SQLITE_FULL, SQLITE_CORRUPT and SQLITE_NOTADB.
_FULL: Final = 13
_CORRUPT: Final = 11
_NOT_A_DATABASE: Final = 26
#: Bytes that are written to find out why a database could not be: more than SQLite's own index of its log needs.
_TRIED: Final = 64 * 1024

#: What caches leave free for everybody else: a share of a disk, and no more than so many bytes.
_LEFT_SHARE: Final = 0.05
_LEFT_BYTES: Final = 1024**3

Path = str | os.PathLike[str]


class Damaged(OSError):
    """A database that is not what it was; an EIO for whoever knows errnos only."""


def translated(error: sqlite3.Error, path: Path) -> OSError:
    """Return what SQLite has said of the database `path` as an errno."""
    code = errno_of(error, path)
    if code == 0:
        return Damaged(errno.EIO, str(error), os.fspath(path))
    said = f" ({error})" if code == errno.EIO else ""  # all that is known then
    return OSError(code, f"{os.strerror(code)}{said}", os.fspath(path))


def errno_of(error: OSError | sqlite3.Error, path: Path) -> int:
    """Return the errno of an error about `path`: its own, or the one that SQLite has kept to itself.

    EIO where the disk takes a file at once; 0 for a database that is damaged.
    """
    if isinstance(error, Damaged):
        return 0
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    code = getattr(error, "sqlite_errorcode", _CORRUPT) & 0xFF  # without what SQLite adds above it
    if code in (_CORRUPT, _NOT_A_DATABASE):
        return 0
    return _tried(path) or (errno.ENOSPC if code == _FULL else errno.EIO)


def reason(error: OSError | sqlite3.Error, path: Path) -> str:
    """Return what is wrong with the disk of `path`, and a line that mends it: a sentence without its full stop.

    >>> reason(OSError(40, "Too many levels of symbolic links"), "/srv/files")
    '/srv/files leads through links that lead in a circle; find them, to remove one, with: namei /srv/files'
    """
    code = errno_of(error, path)
    place = _nearest(path)
    where, quoted = f"the disk of {os.fspath(path)}", quote(place)
    if code == 0:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return f"{os.fspath(path)} is damaged ({said}); put back a copy of it, or move it away"
    if code == errno.ENOSPC and _has_no_inodes(place):
        return f"{where} has no inodes left; delete files there, which are counted by: df -i {quoted}"
    if code == errno.ENOSPC:
        return f"{where} is full; make room there, which is shown by: df -h {quoted}"
    if code == errno.EDQUOT:
        return f"{where} has no room left in your quota; delete files there, which are counted by: quota -s"
    if code == errno.EROFS:
        return f"{where} is read-only; have it written to with: sudo mount -o remount,rw {quote(_mounted(place))}"
    if code == errno.EIO:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return f"{where} fails ({said}); look for the cause with: sudo dmesg | tail"
    if code in (errno.EACCES, errno.EPERM):
        return f"{os.fspath(path)} cannot be used ({os.strerror(code)}); {_allowed(os.path.abspath(path))}"
    if code in _OTHERS:
        mends = _OTHERS[code].format(path=quote(os.path.abspath(path)), disk=quote(_mounted(place)))
        return f"{os.fspath(path)} {mends}"
    return f"{where} fails ({os.strerror(code)}); look for the cause with: sudo dmesg | tail"


def _allowed(path: str) -> str:
    """Return what lets this user use a path, with its line: of the first part of it that keeps them out."""
    user = os.geteuid()
    part = "/"
    for name in ["", *filter(None, path.split("/"))]:
        part = os.path.join(part, name)
        try:
            found = os.stat(part)
        except FileNotFoundError:
            break
        except OSError:  # a disk with rules of its own
            break
        directory = stat.S_ISDIR(found.st_mode)
        inner = part != path
        wanted = os.X_OK if inner else os.R_OK | os.W_OK | os.X_OK * directory
        if os.access(part, wanted):
            continue
        if found.st_uid == user:
            return f"allow it to yourself with: chmod u+rw{'x' * directory} {quote(part)}"
        if inner:
            return f"be let in with: sudo chmod a+x {quote(part)}"
        return f"make it yours with: sudo chown -R {user} {quote(part)}"
    if not os.path.lexists(path):
        return f"make it with: sudo install -d -m 700 -o {user} {quote(path)}"
    return f"it may be protected from changes, which ends with: sudo chattr -R -i {quote(path)}"


def spare(directory: Path) -> int:
    """Return how many bytes a cache may still take of the disk of `directory`; below 0 where it had better give back.

    A twentieth of a disk, 1 GiB at most, is left to everybody else. Raises OSError.
    """
    status = os.statvfs(directory)
    left = min(status.f_blocks * status.f_frsize * _LEFT_SHARE, _LEFT_BYTES)
    return status.f_bavail * status.f_frsize - int(left)


def is_refusal(error: BaseException) -> bool:
    """Say whether it is a disk that has refused."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


def where(error: OSError, among: Iterable[Path]) -> Path | None:
    """Return the path that an error is about, or the first of `among` whose disk refuses in the same way."""
    if error.filename is not None:
        return os.fsdecode(error.filename)
    return next((path for path in among if _tried(path) == error.errno), None)


def _tried(path: Path) -> int:
    """Return the errno of a new file beside `path`, or in it; 0 where it can be written."""
    place = _nearest(path)
    folder = place if os.path.isdir(place) else os.path.dirname(place)
    name = os.path.join(folder, f".moonfs-{secrets.token_hex(8)}")
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        left = memoryview(bytes(_TRIED))
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(name)
    return 0


def _nearest(path: Path) -> str:
    """Return the path, or the first of its parents that is there."""
    place = os.path.abspath(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return place


def _has_no_inodes(place: str) -> bool:
    with contextlib.suppress(OSError):
        status = os.statvfs(place)
        return status.f_files > 0 and status.f_favail == 0
    return False


def _mounted(place: str) -> str:
    """Return where the filesystem of a path is mounted."""
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return place
