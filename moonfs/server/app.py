"""The five endpoints of the Files API under `/v1`, answering byte for byte as the hosted service does.

It wires the request to the store and to the extraction; what a limit, an id or a document is, they know.
Sources of every status, message and key order: captures of live traffic and the vendor's page, kept in
`moonfs.wire`.

**Threading:** handlers run in the event loop and hand blocking work to threads; they share the store only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from moonfs import wire
from moonfs.server import refusal
from moonfs.server.directory import is_full
from moonfs.server.edge import Edge, answer, refused
from moonfs.server.media import is_image, is_video, media_type
from moonfs.server.staged import Extracted, Staged, remove
from moonfs.server.store import Store
from moonfs.server.upload import read_form

#: DOC: the OpenAPI's type of the content; no capture.
CONTENT_TYPE: Final = "text/plain; charset=utf-8"
#: Seconds without a byte of the body before an upload is given up.
RECEIVE_SECONDS: Final = 120.0
#: What a form needs besides its file, at most, in bytes.
_FORM_SLACK: Final = 1024**2
_CHUNK: Final = 256 * 1024

Handler = Callable[[Request], Awaitable[Response]]


class Extractor(Protocol):
    """Gets the text out of an upload."""

    async def extract(self, staged: Staged, filename: str) -> Extracted:
        """Return the text; long text as a file in the store's `incoming/`. Raises Refusal."""


def make_app(store: Store, extractor: Extractor, key: str) -> ASGIApp:
    """Return the ASGI application.

    Args:
        store: the account.
        extractor: gets the text out of `file-extract` uploads.
        key: the one API key.
    """
    files = _Files(store, extractor)
    routes = [
        Route("/v1/files", files.upload, methods=["POST"]),
        Route("/v1/files", files.listing, methods=["GET"]),
        Route("/v1/files/{file_id}", files.retrieve, methods=["GET"]),
        Route("/v1/files/{file_id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{file_id}/content", files.content, methods=["GET"]),
    ]
    handlers = {
        refusal.Refusal: _on_refusal,
        HTTPException: _on_route,
        ClientDisconnect: _on_leaving,
        OSError: _on_disk,
        Exception: _on_fault,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Edge(app, key)


class _Files:
    def __init__(self, store: Store, extractor: Extractor) -> None:
        self._store = store
        self._extractor = extractor

    async def upload(self, request: Request) -> Response:
        self._store.admit(0)
        if _declared_length(request) > self._store.limits.file_bytes + _FORM_SLACK:
            raise refusal.too_large(self._store.limits.file_bytes)
        with self._store.stage() as staged:
            content_type = request.headers.get("content-type", "")
            form = await read_form(content_type, _chunks(request), staged, self._store.admit)
            if staged.size == 0:
                raise refusal.empty()
            purpose = form.purpose or wire.FILE_EXTRACT
            text = await self._text(staged, form.filename, purpose)
            try:
                stored = await asyncio.to_thread(self._store.commit, staged, form.filename, purpose, text)
            finally:
                if isinstance(text.literal, str):  # not taken over by the store
                    remove(text.literal)
        return answer(wire.dump(stored.to_wire()))

    async def listing(self, request: Request) -> Response:
        # `after` is not the service's, but the openai SDK asks for what comes after until nothing does.
        return answer(self._store.list_body(request.query_params.get("after", "")))

    async def retrieve(self, request: Request) -> Response:
        return answer(wire.dump(self._store.get(request.path_params["file_id"]).to_wire()))

    async def delete(self, request: Request) -> Response:
        file_id = request.path_params["file_id"]
        await asyncio.to_thread(self._store.delete, file_id)
        return answer(wire.dump({"deleted": True, "id": file_id, "object": "file"}))

    async def content(self, request: Request) -> Response:
        stored = self._store.get(request.path_params["file_id"])
        if stored.purpose == wire.BATCH:
            return await _stream(b"", self._store.original(stored.id), b"")
        if stored.purpose != wire.FILE_EXTRACT:  # undocumented; no text was ever asked for
            raise refusal.no_text()
        text = await asyncio.to_thread(self._store.text, stored.id)
        prefix = b'{"content":'
        suffix = b"," + wire.dump(
            {"file_type": text.file_type, "filename": stored.filename, "title": text.title, "type": "file"}
        ).removeprefix(b"{")
        if isinstance(text.literal, bytes):
            return Response(prefix + text.literal + suffix, media_type=CONTENT_TYPE)
        return await _stream(prefix, text.literal, suffix)

    async def _text(self, staged: Staged, filename: str, purpose: str) -> Extracted:
        if purpose == wire.FILE_EXTRACT:
            return await self._extractor.extract(staged, filename)
        if purpose not in wire.PURPOSES:
            raise refusal.purpose()
        wanted = {wire.IMAGE: is_image, wire.VIDEO: is_video}.get(purpose)
        if wanted is not None and not wanted(staged.head):
            raise refusal.unsupported()
        return Extracted(media_type(staged.head), b'""')


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(RECEIVE_SECONDS):
                yield await anext(stream)
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise refusal.Refusal(408, "The upload has stalled", wire.INVALID_REQUEST) from error


async def _stream(prefix: bytes, path: str, suffix: bytes) -> Response:
    try:
        source = await asyncio.to_thread(open, path, "rb")
    except FileNotFoundError as error:  # deleted this moment
        raise refusal.not_found() from error
    size = os.fstat(source.fileno()).st_size

    async def body() -> AsyncIterator[bytes]:
        with source:
            yield prefix
            while chunk := await asyncio.to_thread(source.read, _CHUNK):
                yield chunk
            yield suffix

    length = {"content-length": str(len(prefix) + size + len(suffix))}
    return StreamingResponse(body(), headers=length, media_type=CONTENT_TYPE)


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, refusal.Refusal)
    return refused(error)


async def _on_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return refused(refusal.Refusal(405, "The method is not allowed for this resource"))
    return refused(refusal.not_found())


async def _on_leaving(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _on_disk(_request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and is_full(error):
        return refused(refusal.disk_full())
    raise error


async def _on_fault(_request: Request, _error: Exception) -> Response:
    return refused(refusal.internal())
