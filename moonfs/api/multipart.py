"""The body of an upload: `multipart/form-data`, streamed from disk in constant memory.

It is written here rather than by httpx, which copies names differently (percent signs for quotes) and rewinds
a source it shares with others. It is not a general encoder: one purpose, one file.

**Threading:** a `FormBody` belongs to one upload; the source may be read by others meanwhile where it is a
file (it is read with `pread`, its position stays).
"""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from moonfs.errors import InvalidName, MoonfsError, UsageError

#: Bytes read and sent at a time.
CHUNK_BYTES: Final = 128 * 1024

_PURPOSE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FormBody:
    """One upload's body; iterate `chunks` once per attempt.

    Attributes:
        headers: Content-Type and the exact Content-Length.
        started: True once any byte of the latest attempt was handed over for sending (W3).
        finished: True once the last byte of the latest attempt was handed over.
    """

    def __init__(
        self,
        source: BinaryIO,
        *,
        filename: str,
        size: int,
        purpose: str,
        progress: Callable[[int], None] = lambda _sent: None,
    ) -> None:
        """Check the names and lay out the body.

        Args:
            source: a plain file or an `io.BytesIO`, read from its start in each attempt.
            filename: sent as it is, raw UTF-8.
            size: bytes in `source`.
            purpose: one of `wire.PURPOSES`, or what a newer service knows.
            progress: told how many bytes of the file the latest attempt has handed over, from 0 on.

        Raises:
            InvalidName: an empty filename, one with control characters, or one that is no valid Unicode.
            UsageError: a purpose that cannot be one.
            MoonfsError: `source` does not hold `size` bytes, or cannot be read.
        """
        if not _PURPOSE.fullmatch(purpose):
            raise UsageError(f"{purpose[:80]!r} is no purpose of an upload")
        boundary = f"moonfs-{secrets.token_hex(16)}"
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="'
        ).encode() + (quote_filename(filename) + b'"\r\nContent-Type: application/octet-stream\r\n\r\n')
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._size = size
        self._progress = progress
        self._read, held = _reader(source)
        if held != size:
            raise _changed(size)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }
        self.started = self.finished = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole body, from its first byte.

        Raises:
            MoonfsError: the source changed its size or cannot be read; the end of the body is then never
                sent, so that the service cannot take a part for the whole.
        """
        self.started = self.finished = False
        self.started = True
        self._progress(0)
        yield self._head
        offset = 0
        while offset < self._size:
            chunk = self._read(min(CHUNK_BYTES, self._size - offset), offset)
            if not chunk:
                raise _changed(self._size)
            offset += len(chunk)
            yield chunk
            self._progress(offset)
        if self._read(1, self._size):
            raise _changed(self._size)
        self.finished = True
        yield self._tail


def quote_filename(filename: str) -> bytes:
    r"""Return `filename` for a quoted `filename="…"` parameter: UTF-8, with `\` and `"` backslash-quoted.

    Raises:
        InvalidName: it is empty, holds control characters or lone surrogates.
    """
    if not filename or any(unicodedata.category(char) == "Cc" for char in filename):
        raise InvalidName("the service cannot keep an empty name or one with control characters")
    try:
        return filename.replace("\\", "\\\\").replace('"', '\\"').encode()
    except UnicodeEncodeError as exc:
        raise InvalidName("the service cannot keep a name that is no valid Unicode") from exc


def _reader(source: BinaryIO) -> tuple[Callable[[int, int], bytes], int]:
    """Return (read(count, offset), size) of `source`; files are read without moving their position."""
    try:
        try:
            fd = source.fileno()
        except (AttributeError, OSError):  # io.UnsupportedOperation: a BytesIO
            fd = None
        if fd is not None:
            if source.writable():
                source.flush()
            size = os.fstat(fd).st_size
        else:
            size = source.seek(0, os.SEEK_END)
    except (OSError, ValueError) as exc:
        raise MoonfsError(f"the local bytes cannot be read: {exc}") from exc

    def read(count: int, offset: int) -> bytes:
        try:
            if fd is not None:
                return os.pread(fd, count, offset)
            source.seek(offset)
            return source.read(count)
        except (OSError, ValueError) as exc:
            raise MoonfsError(f"the local bytes cannot be read: {exc}") from exc

    return read, size


def _changed(size: int) -> MoonfsError:
    return MoonfsError(f"the local bytes are not the {size} that were to be uploaded: the file changed meanwhile")
