"""How a content goes out: as a stream in constant memory; on demand with a validator, in a part, or not at all.

The text of a file never changes under its id, so the id is its ETag (RFC 9110).

**Threading:** runs in the event loop; files are read in threads.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import IO, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from moonfs.server import refusal

_CHUNK: Final = 64 * 1024
_COUNTED: Final = 1024 * 1024
#: What Go's encoder writes so that JSON can stand in HTML.
_ESCAPES: Final = ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e"))
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Content:
    """What is delivered: a file, or bytes, between a beginning and an end.

    Attributes:
        file_id: of the file it belongs to.
        media_type: for the header.
        middle: the bytes, or the path of a file of them.
        prefix, suffix: what is before and after them.
        escapes: whether `&`, `<` and `>` in the middle, a JSON string, go out as the escapes that the service writes.
    """

    file_id: str
    media_type: str
    middle: bytes | str
    prefix: bytes = b""
    suffix: bytes = b""
    escapes: bool = False


async def deliver(request: Request, content: Content, *, extras: bool) -> Response:
    """Return the answer; with `extras`, as the headers `If-None-Match` and `Range` ask. Raises Refusal (404, 416)."""
    if content.escapes and isinstance(content.middle, bytes):
        content = replace(content, middle=escaped(content.middle), escapes=False)
    if isinstance(content.middle, bytes) and not extras:
        return Response(content.prefix + content.middle + content.suffix, media_type=content.media_type)
    etag = f'"{content.file_id}"'
    headers = {"etag": etag, "accept-ranges": "bytes"} if extras else {}
    if extras and etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    source, size = await _open(content)
    total = len(content.prefix) + size + len(content.suffix)
    start, end, status = 0, total, 200
    found = _RANGE.fullmatch(request.headers.get("range", "")) if extras else None
    if found is not None and any(found.groups()):
        start, end = _span(found[1], found[2], total)
        if start >= end:
            if source is not None:
                source.close()
            raise refusal.no_such_range()
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{total}"
    headers["content-length"] = str(end - start)
    body = _pieces(content, source, size, start, end)
    return StreamingResponse(body, status, headers, media_type=content.media_type)


def escaped(literal: bytes) -> bytes:
    """Return a JSON string, or a piece of one, with `&`, `<` and `>` as the service writes them (LIVE).

    Done as it goes out, since texts of versions before have none, and a text is found again by its bytes.
    """
    for plain, escape in _ESCAPES:
        literal = literal.replace(plain, escape)
    return literal


async def _open(content: Content) -> tuple[IO[bytes] | None, int]:
    """Return what to read from, None for bytes, and how many bytes go out of it."""
    if isinstance(content.middle, bytes):
        return None, len(content.middle)
    try:
        source = await asyncio.to_thread(open, content.middle, "rb")
    except FileNotFoundError as error:  # deleted this moment
        raise refusal.not_found() from error
    size = os.fstat(source.fileno()).st_size
    return source, size + (await asyncio.to_thread(_more, source) if content.escapes else 0)


def _more(source: IO[bytes]) -> int:
    """Return by how many bytes a file grows when it is escaped."""
    more = 0
    while chunk := source.read(_COUNTED):
        more += sum(chunk.count(plain) * (len(escape) - 1) for plain, escape in _ESCAPES)
    return more


def _span(first: str, last: str, total: int) -> tuple[int, int]:
    if not first:
        return max(0, total - int(last)), total
    return int(first), min(total, int(last) + 1) if last else total


async def _pieces(content: Content, source: IO[bytes] | None, size: int, start: int, end: int) -> AsyncIterator[bytes]:
    """Yield the bytes `start` to `end` of what `prefix`, file and `suffix` are together."""
    try:
        before = len(content.prefix)
        if start < before:
            yield content.prefix[start:end]
        if source is None:
            assert isinstance(content.middle, bytes)
            yield content.middle[max(0, start - before) : max(0, end - before)]
        else:
            at, stop = max(0, start - before), min(size, end - before)
            here = 0 if content.escapes else at  # where in what goes out the next bytes read are
            source.seek(here)
            while here < stop and (chunk := await asyncio.to_thread(source.read, min(_CHUNK, stop - here))):
                piece = escaped(chunk) if content.escapes else chunk
                if here + len(piece) > at:
                    yield piece[max(0, at - here) : stop - here]
                here += len(piece)
        after = before + size
        if end > after:
            yield content.suffix[max(0, start - after) : end - after]
    finally:
        if source is not None:
            source.close()
