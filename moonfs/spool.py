"""The spool: writers' local bytes, random access, each file 0600 in a 0700 directory (X2).

Few bytes stay in memory until they are needed on disk: most files are small, are made durable by the journal's row
and are over in a moment. A spool file knows its size and its hash and nothing of names, uploads or the journal,
which refers to it by its file name.

**Threading:** a `SpoolFile` has no lock for its bytes; whoever owns it serialises writes (`localfile.LocalFile`).
Reads may run beside a write, and any thread may bring it to disk while nobody writes. `Spool.create` may be called
from any thread.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import threading
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Final

_CHUNK = 1024 * 1024
#: The most bytes that the journal carries in place of a sync of the spool file and its directory; as many may stay
#: in memory.
CARRIED_BYTES: Final = 64 * 1024
#: The most bytes of all spool files in memory; what is beyond goes to disk at once.
MEMORY_BYTES: Final = 8 * 1024 * 1024
#: With less than this the disk is scarce: others use it too.
_FEW_BYTES: Final = 16 * 1024 * 1024
_FEW_INODES: Final = 64


class _Memory:
    """How many bytes may still stay in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = MEMORY_BYTES

    def take(self, count: int) -> bool:
        """Claim `count` more bytes, or give back -`count`; False when there are not so many."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True


class SpoolFile:
    """One writer's bytes. Its descriptor is opened when it is needed and given back by `rest`.

    Attributes:
        size: length in bytes.
        shared: the bytes are an original too, or another spool file's, and may not be written to any more.
    """

    def __init__(self, path: Path, memory: _Memory, fd: int = -1) -> None:
        """Start with the open file `fd`, or empty and in memory."""
        self._path = path
        self._fd = fd
        self._memory = memory
        self._held = bytearray() if fd < 0 else None
        self._moving = threading.Lock()
        self._listed = False
        self.shared = False
        self.size = 0 if fd < 0 else os.fstat(fd).st_size

    @property
    def name(self) -> str:
        """The name inside the spool directory, by which the journal refers to it."""
        return self._path.name

    @property
    def held(self) -> bytes | None:
        """All the bytes where they are in memory, else None."""
        held = self._held
        return None if held is None else bytes(held)

    def file(self) -> Path:
        """Bring the bytes to disk, if they are not there yet, and return the file.

        Raises:
            OSError: the local disk refuses; they stay in memory.
        """
        with self._moving:
            held = self._held
            if held is not None:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    _write(fd, held, 0)
                except OSError:
                    self._path.unlink(missing_ok=True)
                    raise
                finally:
                    os.close(fd)
                # A reader beside us has taken hold of the one or of the other.
                self._held = None
                self._memory.take(-len(held))
        return self._path

    def source(self) -> BinaryIO:
        """Return the bytes to be read from the first one, from memory if a full disk has them there; to be closed.

        Raises:
            OSError: the local disk refuses.
        """
        held = self._held
        try:
            return self.file().open("rb")
        except OSError:
            if held is None:
                raise
            return io.BytesIO(held)

    def read(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes from `offset`; empty at the end."""
        held = self._held
        if held is not None:
            return bytes(held[offset : offset + length])
        return os.pread(self._open(), length, offset)

    def head(self, length: int) -> bytes:
        """Return up to `length` bytes of the beginning, or nothing where the disk refuses; no descriptor is kept."""
        held = self._held
        if held is not None:
            return bytes(held[:length])
        try:
            with self._path.open("rb", buffering=0) as file:
                return file.read(length)
        except OSError:
            return b""

    def write(self, data: bytes, offset: int) -> int:
        """Write all of `data` at `offset` and return its length.

        Raises:
            OSError: ENOSPC and the like reach the writer (W7).
        """
        end = offset + len(data)
        if self._held is not None and self._fits(end):
            self._held[offset:end] = data
            return len(data)
        fd = self._open()
        done = 0
        try:
            done = _write(fd, data, offset)
        finally:
            self.size = max(self.size, end if done else os.fstat(fd).st_size)
        return done

    def truncate(self, length: int) -> None:
        """Cut, or extend with zeros, to `length` bytes."""
        if self._held is not None and self._fits(length):
            self._memory.take(length - len(self._held))
            del self._held[length:]
        else:
            os.ftruncate(self._open(), length)
        self.size = length

    def small(self) -> bytes | None:
        """Return all the bytes where they are few enough for the journal to carry, else None."""
        return self.read(self.size, 0) if self.size <= CARRIED_BYTES else None

    def sync(self, *, name: bool = True) -> None:
        """Make the bytes durable, and the first time the `name` of the file too (fsync of file and directory).

        Any thread may call: the descriptor of whoever writes is left alone.
        """
        _fsync(self.file())
        if name and not self._listed:
            _fsync(self._path.parent)
            self._listed = True

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes as hex, in constant memory; may run beside anything else."""
        held = self._held
        if held is not None:
            return hashlib.sha256(held).hexdigest()
        digest = hashlib.sha256()
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def copy_from(self, fd: int) -> None:
        """Replace the bytes by those of the open file `fd`."""
        self.truncate(0)
        offset = 0
        while chunk := os.pread(fd, _CHUNK, offset):
            offset += self.write(chunk, offset)

    def copy_to(self, other: SpoolFile) -> None:
        """Replace the bytes of `other` by these."""
        held = self._held
        if held is None:
            other.copy_from(self._open())
        else:
            other.truncate(0)
            other.write(bytes(held), 0)

    def part(self) -> None:
        """Have bytes of its own under its name, if they are shared.

        Raises:
            OSError: the local disk refuses; they stay shared.
        """
        if not self.shared:
            return
        own = self._path.with_name(f"{self._path.name}.part")
        try:
            os.close(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
            shutil.copyfile(self._path, own)
            _fsync(own)
            os.replace(own, self._path)
        except OSError:
            own.unlink(missing_ok=True)
            raise
        self.rest()
        self.shared = False

    def rest(self) -> None:
        """Give the descriptor back until it is needed again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and delete the bytes."""
        self.rest()
        with self._moving:
            if self._held is not None:
                self._memory.take(-len(self._held))
                self._held = bytearray()
        self._path.unlink(missing_ok=True)

    def _fits(self, end: int) -> bool:
        """Make room in memory up to `end`, with zeros; False when that is too much."""
        held = self._held
        assert held is not None
        growth = end - len(held)
        if growth <= 0:
            return True
        if end > CARRIED_BYTES or not self._memory.take(growth):
            return False
        held.extend(bytes(growth))
        self.size = end
        return True

    def _open(self) -> int:
        if self._held is not None:
            self.file()
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self._fd


def _write(fd: int, data: bytes | bytearray, offset: int) -> int:
    """Write all of `data` at `offset` and return its length; where the disk refuses, part of it may be there."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(fd, view[done:], offset + done)
        return done


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Spool:
    """The directory of spool files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._memory = _Memory()

    @property
    def scarce(self) -> bool:
        """Whether the disk may soon refuse what it takes now."""
        found = os.statvfs(self._directory)
        few = found.f_files > 0 and found.f_favail < _FEW_INODES
        return few or found.f_bavail * found.f_frsize < _FEW_BYTES

    def create(self) -> SpoolFile:
        """Return a new, empty spool file."""
        return SpoolFile(self._directory / secrets.token_hex(12), self._memory)

    def share(self, file: SpoolFile) -> SpoolFile:
        """Return another spool file with the bytes of `file`, which may not be written to any more.

        Raises:
            OSError: the local disk refuses.
        """
        path = self._directory / secrets.token_hex(12)
        try:
            os.link(file.file(), path)
            file.shared = True
        except PermissionError:  # a file system without hard links
            other = self.create()
            file.copy_to(other)
            return other
        made = self.reopen(path.name)
        made.rest()
        return made

    def take_hold(self, fd: int) -> SpoolFile:
        """Return a spool file with the bytes of an open file that is never written to, by a link where one can be had.

        Raises:
            OSError: the local disk refuses.
        """
        path = self._directory / secrets.token_hex(12)
        try:
            # So an open file is linked (open(2), O_TMPFILE). With a descriptor of a directory, though an absolute path
            # needs none, Python calls linkat(2); link(2) would not follow.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
        except OSError:  # on another file system, or it has no name any more
            made = self.create()
            try:
                made.copy_from(fd)
            except OSError:
                made.discard()
                raise
            return made
        made = self.reopen(path.name)
        made.rest()
        made.shared = True
        return made

    def reopen(self, name: str) -> SpoolFile:
        """Return the spool file `name` of an earlier run.

        Raises:
            OSError: it is gone.
        """
        path = self._directory / name
        made = SpoolFile(path, self._memory, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        made.shared = os.stat(path).st_nlink > 1
        return made

    def restore(self, name: str, data: bytes) -> None:
        """Make the spool file `name` hold `data`, which the journal carries: its own bytes may not have become durable.

        What else has a name of the same file, an original, keeps its bytes.

        Raises:
            OSError: the local disk refuses.
        """
        path = self._directory / name
        try:
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return
            path.unlink()
        except FileNotFoundError:
            pass
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, data, 0)
        finally:
            os.close(fd)

    def clean(self, keep: Collection[str]) -> int:
        """Delete every spool file that the journal does not refer to; return how many."""
        orphans = [entry for entry in self._directory.iterdir() if entry.name not in keep]
        for entry in orphans:
            entry.unlink(missing_ok=True)
        return len(orphans)
