"""How a content goes out: as a stream in constant memory; on demand with a validator, in a part, or not at all.

The text of a file never changes under its id, so the id is its ETag (RFC 9110).

**Threading:** runs in the event loop; files are read in threads.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from moonfs.server import refusal

_CHUNK: Final = 64 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Content:
    """What is delivered: a file, or bytes, between a beginning and an end.

    Attributes:
        file_id: of the file it belongs to.
        media_type: for the header.
        middle: the bytes, or the path of a file of them.
    """

    file_id: str
    media_type: str
    middle: bytes | str
    prefix: bytes = b""
    suffix: bytes = b""


async def deliver(request: Request, content: Content, *, extras: bool) -> Response:
    """Return the answer; with `extras`, as the headers `If-None-Match` and `Range` ask. Raises Refusal (404, 416)."""
    if isinstance(content.middle, bytes) and not extras:
        return Response(content.prefix + content.middle + content.suffix, media_type=content.media_type)
    etag = f'"{content.file_id}"'
    headers = {"etag": etag, "accept-ranges": "bytes"} if extras else {}
    if extras and etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    source, size = await _open(content.middle)
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


async def _open(middle: bytes | str) -> tuple[IO[bytes] | None, int]:
    if isinstance(middle, bytes):
        return None, len(middle)
    try:
        source = await asyncio.to_thread(open, middle, "rb")
    except FileNotFoundError as error:  # deleted this moment
        raise refusal.not_found() from error
    return source, os.fstat(source.fileno()).st_size


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
            source.seek(at)
            while at < stop and (chunk := await asyncio.to_thread(source.read, min(_CHUNK, stop - at))):
                at += len(chunk)
                yield chunk
        after = before + size
        if end > after:
            yield content.suffix[max(0, start - after) : end - after]
    finally:
        if source is not None:
            source.close()
