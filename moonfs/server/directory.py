"""The data directory: made private, held by one server at a time, swept of what a killed server left.

    DATA/moonfs-data        says that the directory is ours, see `marker`
    DATA/lock               flock held for the life of the server; holds its pid
    DATA/key, server.json   see `address`
    DATA/files.sqlite       one row a file
    DATA/originals/ID       the bytes as uploaded
    DATA/contents/ID        long extracted text, as a JSON string (short text is in the row)
    DATA/incoming/          uploads and extractions on their way; swept at every start
    DATA/workers/           homes of the extraction workers; swept at every start

A sweep removes what has a name of our own form, and nothing else: what somebody put there stays.

**Threading:** opened and closed by the main thread; the paths are read by all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from typing import Final

from moonfs.server.address import LOCK, make_private
from moonfs.server.marker import NEW, NotOurs, claim

_PARTS: Final = ("originals", "contents", "incoming", "workers")
_INCOMING: Final = re.compile(r"[0-9a-f]{24}")
_HOME: Final = re.compile(r"worker-[a-z0-9_]{8}|tmp[a-z0-9_]{8}")  # the latter of versions before


class DirectoryError(Exception):
    """The data directory cannot be used; the message is one sentence for a person."""


class DataDirectory:
    """One data directory, locked.

    Args:
        data: its path; made 0700 when it is not there.

    Raises:
        DirectoryError: it is somebody's own, another server holds it, or it cannot be made, read or written.
    """

    def __init__(self, data: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(data))
        try:
            claim(self.path)
            self._lock = _take_lock(self.path)
        except NotOurs as error:
            raise DirectoryError(str(error)) from error
        except OSError as error:
            raise DirectoryError(
                f"cannot use the data directory {self.path}: {error.strerror}; mend that or choose another one"
            ) from error
        self.originals, self.contents, self.incoming, self.workers = (self.join(part) for part in _PARTS)
        try:
            self._sweep()
        except OSError as error:
            self.close()
            raise DirectoryError(
                f"cannot write to the data directory {self.path}: {error.strerror}; mend that or choose another one"
            ) from error

    def join(self, name: str) -> str:
        """Return the path of `name` in the directory."""
        return os.path.join(self.path, name)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def fresh(self) -> str:
        """Return a path in `incoming/` that nobody has, of the form that a sweep removes."""
        return os.path.join(self.incoming, secrets.token_hex(12))

    def _sweep(self) -> None:
        for path in (self.originals, self.contents, self.incoming, self.workers):
            make_private(path)
        for found in _of_form(self.path, NEW):
            os.unlink(found.path)
        for found in _of_form(self.incoming, _INCOMING):
            os.unlink(found.path)
        for found in _of_form(self.workers, _HOME):
            if found.is_dir(follow_symlinks=False):
                shutil.rmtree(found.path, ignore_errors=True)


def _of_form(path: str, form: re.Pattern[str]) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        yield from [entry for entry in entries if form.fullmatch(entry.name)]


def sync(path: str) -> None:
    """Make the names in directory `path`, or the bytes of file `path`, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(error: OSError) -> bool:
    """Say whether `error` means that the disk has no room."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def _take_lock(data: str) -> int:
    handle = os.open(os.path.join(data, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise DirectoryError(
            f"another Files API server (pid {holder}) already serves the data directory {data}; "
            "stop it first or choose another directory"
        ) from None
    except BaseException:
        os.close(handle)
        raise
    return handle
