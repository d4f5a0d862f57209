"""The body of an answer: decoded, bounded, complete or an error. It does not know what a body means.

httpx would decode too, but takes a gzip stream that breaks off for a whole one; text is cached for ever by
its id (R2), so half a text must not pass for the text. The bound holds for the decoded bytes: a small answer
may not grow into all of memory.

**Threading:** pure functions over an iterator that belongs to one thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

#: What requests ask for, and all that is understood.
ACCEPT_ENCODING: Final = "gzip"

_STEP: Final = 1024 * 1024  # bytes decoded at a time


class BadBodyError(ValueError):
    """An encoding that was not asked for, or a stream that does not decode."""


class TooLongError(BadBodyError):
    """The decoded body passes its bound."""


def read_bounded(chunks: Iterable[bytes], *, encoding: str, limit: int) -> bytes:
    """Return the decoded body.

    Args:
        chunks: the body as it came over the wire.
        encoding: the Content-Encoding header, "" for none.
        limit: the most decoded bytes to accept.

    Raises:
        TooLongError: there are more; `chunks` is not read further.
        BadBodyError: it does not decode or breaks off.
    """
    parts = bytearray()
    for part in _decoded(chunks, encoding.strip().lower()):
        parts += part
        if len(parts) > limit:
            raise TooLongError(f"the body is longer than {limit} bytes")
    return bytes(parts)


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
