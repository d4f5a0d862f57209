"""The body of an answer: decoded, bounded, complete or an error. It does not know what a body means.

httpx would decode too, but takes a gzip stream that breaks off for a whole one; text is cached for ever by
its id (R2), so half a text must not pass for the text. The bound holds for the decoded bytes: a small answer
may not grow into all of memory. A long one goes to a file without a name, where there is a place for it, and is seen
through the page cache: many readers of long texts take no memory of their own. It never fills that disk.

**Threading:** pure functions over an iterator that belongs to one thread.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from moonfs import disk
from moonfs.wire import Body

#: What requests ask for, and all that is understood.
ACCEPT_ENCODING: Final = "gzip"

_STEP: Final = 1024 * 1024  # bytes decoded at a time
#: Bytes of a body up to which it is held in memory: of any, and where the disk has no room.
_HELD: Final = 1024 * 1024
_MOST_HELD: Final = 32 * 1024 * 1024


class BadBodyError(ValueError):
    """An encoding that was not asked for, or a stream that does not decode."""


class TooLongError(BadBodyError):
    """The decoded body passes its bound."""


def read_bounded(chunks: Iterable[bytes], *, encoding: str, limit: int, spill: Path | None = None) -> Body:
    """Return the decoded body.

    Args:
        chunks: the body as it came over the wire.
        encoding: the Content-Encoding header, "" for none.
        limit: the most decoded bytes to accept.
        spill: the directory for a long one; without it every body is held in memory.

    Raises:
        TooLongError: there are more; `chunks` is not read further.
        BadBodyError: it does not decode or breaks off.
        OSError: there is no room for a long one.
    """
    return gathered(_bounded(_decoded(chunks, encoding.strip().lower()), limit), spill)


def gathered(parts: Iterable[bytes], spill: Path | None) -> Body:
    """Return all `parts` as one body: in memory, or, of a long one, in a file without a name in `spill`.

    Raises:
        OSError: there is no room for it.
    """
    held, file = bytearray(), None
    try:
        for part in parts:
            held += part
            if spill is None or len(held) <= _HELD:
                continue
            if not _has_room(spill, len(held)):
                if file is None and len(held) <= _MOST_HELD:
                    continue
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(spill))
            file = file or tempfile.TemporaryFile(dir=spill, buffering=0)  # noqa: SIM115 - closed below
            _write(file, held)
            held = bytearray()
        if file is None:
            return bytes(held)
        _write(file, held)
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    finally:
        if file is not None:
            file.close()


def _write(file: IO[bytes], data: bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _has_room(directory: Path, size: int) -> bool:
    try:
        return disk.spare(directory) >= size
    except OSError:
        return False


def _bounded(parts: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise TooLongError(f"the body is longer than {limit} bytes")
        yield part


def read_start(chunks: Iterable[bytes], *, encoding: str, limit: int) -> bytes:
    """Return the first `limit` decoded bytes, or as many as decode: enough to read an error by."""
    parts = bytearray()
    try:
        for part in _decoded(chunks, encoding.strip().lower()):
            parts += part
            if len(parts) >= limit:
                break
    except BadBodyError:
        pass
    return bytes(parts[:limit])


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from chunks
    elif encoding in ("gzip", "x-gzip"):
        yield from _gunzipped(chunks)
    else:
        raise BadBodyError(f"the body is encoded as {encoding[:40]!r}, which was not asked for")


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decode one or more gzip members, at most `_STEP` bytes at a time."""
    member, fresh = _member(), True
    for chunk in chunks:
        pending = chunk
        while pending or not (fresh or member.eof):
            fresh = False
            try:
                part = member.decompress(pending, _STEP)
            except zlib.error as exc:
                raise BadBodyError(f"the body is no gzip stream: {exc}") from exc
            if part:
                yield part
            pending = member.unconsumed_tail
            if member.eof:
                pending = member.unused_data
                member, fresh = _member(), True
            elif not part and not pending:
                break
    if not fresh:
        raise BadBodyError("the gzip stream of the body breaks off")


def _member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
