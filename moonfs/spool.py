"""The spool: writers' local bytes, one file each, random access, 0600 in a 0700 directory (X2).

A spool file knows its size and its hash and nothing of names, uploads or the journal, which refers to it by
its file name.

**Threading:** a `SpoolFile` has no lock; whoever owns it serialises writes (`localfile.LocalFile`). Reads use
pread and may run beside a write. `Spool.create` may be called from any thread.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

_CHUNK = 1024 * 1024
#: The most bytes that the journal carries in place of a sync of the spool file and its directory.
CARRIED_BYTES: Final = 64 * 1024


class SpoolFile:
    """One writer's bytes. Its descriptor is opened when it is needed and given back by `rest`.

    Attributes:
        path: where the bytes are.
        size: length in bytes.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._listed = False
        self.size = os.fstat(fd).st_size

    @property
    def name(self) -> str:
        """The name inside the spool directory, by which the journal refers to it."""
        return self.path.name

    def read(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes from `offset`; empty at the end."""
        return os.pread(self._open(), length, offset)

    def write(self, data: bytes, offset: int) -> int:
        """Write all of `data` at `offset` and return its length.

        Raises:
            OSError: ENOSPC and the like reach the writer (W7).
        """
        fd = self._open()
        view = memoryview(data)
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(fd, view[done:], offset + done)
        finally:
            if done:
                self.size = max(self.size, offset + done)
        return done

    def truncate(self, length: int) -> None:
        """Cut, or extend with zeros, to `length` bytes."""
        os.ftruncate(self._open(), length)
        self.size = length

    def small(self) -> bytes | None:
        """Return all the bytes where they are few enough for the journal to carry, else None."""
        return self.read(self.size, 0) if self.size <= CARRIED_BYTES else None

    def sync(self) -> None:
        """Make the bytes durable, and the first time the name of the file too (fsync of file and directory)."""
        os.fsync(self._open())
        if not self._listed:
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._listed = True

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes as hex, in constant memory; may run beside anything else."""
        digest = hashlib.sha256()
        with self.path.open("rb", buffering=0) as file:
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
        other.copy_from(self._open())

    def rest(self) -> None:
        """Give the descriptor back until it is needed again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and delete the bytes."""
        self.rest()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self._fd


class Spool:
    """The directory of spool files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self) -> SpoolFile:
        """Return a new, empty spool file.

        Raises:
            OSError: the local disk is full or not writable.
        """
        path = self._directory / secrets.token_hex(12)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return SpoolFile(path, fd)

    def reopen(self, name: str) -> SpoolFile:
        """Return the spool file `name` of an earlier run.

        Raises:
            OSError: it is gone.
        """
        path = self._directory / name
        return SpoolFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def restore(self, name: str, data: bytes) -> None:
        """Make the spool file `name` hold `data`, which the journal carries: its own bytes may not have become durable.

        Raises:
            OSError: the local disk refuses.
        """
        path = self._directory / name
        try:
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return
        except FileNotFoundError:
            pass
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        file = SpoolFile(path, fd)
        try:
            file.write(data, 0)
        finally:
            file.rest()

    def clean(self, keep: Collection[str]) -> int:
        """Delete every spool file that the journal does not refer to; return how many."""
        orphans = [entry for entry in self._directory.iterdir() if entry.name not in keep]
        for entry in orphans:
            entry.unlink(missing_ok=True)
        return len(orphans)
