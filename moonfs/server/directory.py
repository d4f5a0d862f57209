"""The data directory: made private, held by one server at a time, swept of what a killed server left.

    DATA/lock               flock held for the life of the server; holds its pid
    DATA/key, server.json   see `address`
    DATA/files.sqlite       one row a file
    DATA/originals/ID       the bytes as uploaded
    DATA/contents/ID        long extracted text, as a JSON string (short text is in the row)
    DATA/incoming/          uploads and extractions on their way; emptied at every start
    DATA/workers/           homes of the extraction workers; emptied at every start

**Threading:** opened and closed by the main thread; the paths are read by all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil

from moonfs.server.address import LOCK, make_private

_PARTS = ("originals", "contents", "incoming", "workers")


class DirectoryError(Exception):
    """The data directory cannot be used; the message is one sentence for a person."""


class DataDirectory:
    """One data directory, locked.

    Args:
        data: its path; made 0700 when it is not there.

    Raises:
        DirectoryError: another server holds it, or it cannot be made, read or written.
    """

    def __init__(self, data: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(data))
        try:
            make_private(self.path)
            os.chmod(self.path, 0o700)
            self._lock = _take_lock(self.path)
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

    def _sweep(self) -> None:
        for path in (self.incoming, self.workers):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.originals, self.contents, self.incoming, self.workers):
            make_private(path)
        for name in os.listdir(self.path):
            if name.startswith(".new-"):
                os.unlink(self.join(name))


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
