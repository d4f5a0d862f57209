"""What is on its way into the store: the bytes of an upload, and the text got out of them. No file yet.

**Threading:** a `Staged` belongs to one request; its disk work blocks and is for a thread.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import IO, Self


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a document.

    Attributes:
        file_type: media type by the bytes.
        literal: the text as a JSON string in UTF-8, quotes included; or the path of a file of that.
        reader: what read it; with the hash of the original, the key under which the text is found again.
        title: title of the document; the service leaves it empty (LIVE).
    """

    file_type: str
    literal: bytes | str
    reader: str = ""
    title: str = ""


class Staged:
    """An upload on its way in: counted and hashed, not yet a file. Use as a context manager.

    Args:
        path: where in `incoming/` it is written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self.head = b""
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        remove(self.path)

    @property
    def pending(self) -> int:
        """Bytes that wait in memory for `flush`."""
        return len(self._buffer)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if len(self.head) < 4096:
            self.head += chunk[: 4096 - len(self.head)]
        self.size += len(chunk)
        self._hash.update(chunk)
        self._buffer += chunk

    def flush(self) -> None:
        """Write what waits. Raises OSError; blocks on the disk."""
        if self._file is None:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=0)
        view = memoryview(self._buffer)
        while view:
            view = view[self._file.write(view) :]
        self._buffer = bytearray()

    def sync(self) -> None:
        """Make the bytes durable, under whatever name they have now."""
        assert self._file is not None
        os.fsync(self._file.fileno())

    def whole(self) -> bytes | None:
        """Return all the bytes when they never left memory, else None."""
        return bytes(self._buffer) if self._file is None else None

    @property
    def sha256(self) -> bytes:
        """Hash of the bytes so far."""
        return self._hash.digest()


def remove(*paths: str) -> None:
    """Remove files, those that are there."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
