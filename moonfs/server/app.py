"""The five endpoints of the Files API under `/v1`, answering byte for byte as the hosted service does in a `dialect`.

It wires the request to the store and to the extraction; what a limit, an id or a document is, they know.
Sources of every status, message and key order: captures of live traffic and the vendor's page, kept in
`moonfs.wire`.

**Threading:** handlers run in the event loop and hand blocking work to threads; they share the store only.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

import moonfs
from moonfs import wire
from moonfs.server import openapi, refusal
from moonfs.server.accounts import Account, Accounts
from moonfs.server.behaviour import Behaviour
from moonfs.server.cors import Cors
from moonfs.server.delivery import Content, deliver
from moonfs.server.dialect import BETA
from moonfs.server.directory import is_full
from moonfs.server.edge import Edge, answer, refused
from moonfs.server.latency import Latency
from moonfs.server.media import is_image, is_video, media_type
from moonfs.server.records import listed
from moonfs.server.staged import Extracted, Staged, remove
from moonfs.server.store import Store
from moonfs.server.throttle import Throttle
from moonfs.server.upload import read_form
from moonfs.server.xid import is_id

#: Seconds in which so many more bytes of the body must come, or its end, before an upload is given up.
RECEIVE_SECONDS: Final = 120.0
_LEAST_RECEIVED: Final = 16 * 1024
#: What a form needs besides its file, at most, in bytes.
_FORM_SLACK: Final = 1024**2
#: DOC: files on a page, at most.
LARGEST_PAGE: Final = 1000
_UNFIT_NAME: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_LONGEST_NAME: Final = 255

Handler = Callable[[Request], Awaitable[Response]]


class Extractor(Protocol):
    """Gets the text out of an upload."""

    async def extract(self, store: Store, staged: Staged, filename: str) -> Extracted:
        """Return the text; long text as a file in the store's `incoming/`. Raises Refusal."""

    def state(self) -> dict[str, Any]:
        """Return what is being read, and what waits."""


def make_app(
    accounts: Accounts,
    extractor: Extractor,
    behaviour: Behaviour,
    hosts: frozenset[str] | None = None,
    cors: Cors | None = None,
) -> ASGIApp:
    """Return the ASGI application.

    Args:
        accounts: whose files are served.
        extractor: gets the text out of `file-extract` uploads.
        behaviour: how it answers.
        hosts: the host names that requests over TCP may be for; None for any.
        cors: origins whose pages may read the answers.
    """
    files = _Files(extractor, behaviour)
    health = _Health(accounts, extractor)
    routes = [
        Route("/v1/files", files.upload, methods=["POST"]),
        Route("/v1/files", files.listing, methods=["GET"]),
        Route("/v1/files/{file_id}", files.retrieve, methods=["GET"]),
        Route("/v1/files/{file_id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{file_id}/content", files.content, methods=["GET"]),
        Route("/v1/models", files.models, methods=["GET"]),
        Route("/ms/{file_id}", files.media, methods=["GET"]),
        Route("/healthz", health.report, methods=["GET"]),
        Route("/openapi.json", _Description(behaviour).give, methods=["GET"]),
    ]
    for route in routes:
        if route.methods and route.path.startswith("/v1/") and not behaviour.http_extras:
            route.methods.discard("HEAD")  # which Starlette adds

    allowed: dict[str, set[str]] = {}
    for route in routes:
        allowed.setdefault(route.path, set()).update(route.methods or ())

    async def on_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code != 405:
            return await on_refusal(request, refusal.not_found())
        response = refused(refusal.method())
        response.headers["allow"] = ", ".join(sorted(allowed[request.scope["route"].path]))
        return response

    async def on_refusal(_request: Request, error: Exception) -> Response:
        assert isinstance(error, refusal.Refusal)
        if error.message == wire.MSG_NOT_FOUND:
            error = refusal.Refusal(404, behaviour.not_found_text, error.error_type)
        return refused(error)

    handlers = {
        refusal.Refusal: on_refusal,
        HTTPException: on_route,
        ClientDisconnect: _on_leaving,
        OSError: _on_disk,
        Exception: _on_fault,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    inner: ASGIApp = app
    if behaviour.rate_limit or behaviour.max_concurrency:
        inner = Throttle(inner, behaviour)
    if behaviour.latency or behaviour.upload_latency:
        inner = Latency(inner, behaviour.latency / 1000, behaviour.upload_latency / 1000)
    return Edge(inner, accounts, hosts, cors=cors, tells_request=behaviour.dialect.request_id == "show")


class _Health:
    """`GET /healthz` (ours): that the server is there, and what it does; nothing of what anybody has stored."""

    def __init__(self, accounts: Accounts, extractor: Extractor) -> None:
        self._accounts, self._extractor = len(accounts), extractor
        self._started = time.monotonic()

    async def report(self, request: Request) -> Response:
        uptime = round(time.monotonic() - self._started, 1)
        state = {"status": "ok", "version": moonfs.__version__, "uptime": uptime, "accounts": self._accounts}
        return answer(wire.dump({**state, "extraction": self._extractor.state()}))


class _Description:
    """`GET /openapi.json` (ours)."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def give(self, request: Request) -> Response:
        return answer(openapi.document(self._behaviour.dialect))


class _Files:
    def __init__(self, extractor: Extractor, behaviour: Behaviour) -> None:
        self._extractor = extractor
        self._behaviour = behaviour
        self._dialect = behaviour.dialect

    async def upload(self, request: Request) -> Response:
        store, is_beta = _store(request), self._is_beta(request)
        longest = store.limits.file_bytes + _FORM_SLACK
        if _declared_length(request) > longest:
            raise refusal.too_large(store.limits.file_bytes)
        with store.stage() as staged:
            content_type = request.headers.get("content-type", "")
            form = await read_form(content_type, _chunks(request, longest), staged, store.admit)
            if staged.size == 0:
                raise refusal.empty()
            if form.purpose is None and self._behaviour.strict_purpose:
                raise refusal.purpose()
            sent = form.field if form.field and self._dialect.filename_field == "take" else form.filename
            filename = self._filename(sent)
            purpose = wire.FILE_EXTRACT if form.purpose is None else form.purpose
            text, details = await self._text(store, staged, filename, purpose)
            try:
                stored = await asyncio.to_thread(store.commit, staged, filename, purpose, text, details)
            finally:
                if isinstance(text.literal, str):  # not taken over by the store
                    remove(text.literal)
        return answer(store.told(stored.id, is_beta=is_beta), 201 if is_beta else 200)

    async def listing(self, request: Request) -> Response:
        is_beta, asked = self._is_beta(request), request.query_params
        # `after` is not the service's, but the openai SDK asks for what comes after until nothing does.
        after, size = asked.get("after", ""), self._behaviour.page_size
        if after and (not is_id(after) or self._behaviour.list_order == "random"):  # nothing comes after it
            return answer(wire.dump(listed([], "", self._dialect, is_beta=is_beta)))
        if self._dialect.pages == "answer":
            after, size = _page(asked, after, size)
        return answer(_store(request).list_body(after, size, is_beta=is_beta))

    async def models(self, request: Request) -> Response:
        """Answer `GET /v1/models`, which clients ask first: there are none here."""
        self._is_beta(request)
        return answer(wire.dump({"object": "list", "data": []}))

    async def retrieve(self, request: Request) -> Response:
        is_beta = self._is_beta(request)
        return answer(_store(request).told(request.path_params["file_id"], is_beta=is_beta))

    async def delete(self, request: Request) -> Response:
        file_id, is_beta = request.path_params["file_id"], self._is_beta(request)
        try:
            await asyncio.to_thread(_store(request).delete, file_id)
        except refusal.Refusal:
            if self._behaviour.delete_again == "refuse" or not wire.is_valid_id(file_id):
                raise
        if is_beta:
            return Response(status_code=204)
        return answer(wire.dump({"deleted": True, "id": file_id, "object": "file"}))

    async def content(self, request: Request) -> Response:
        self._is_beta(request)
        store, extras = _store(request), self._behaviour.http_extras
        stored = store.get(request.path_params["file_id"])
        if stored.status == wire.STATUS_ERROR:
            raise self._no_content("its extraction has failed", refusal.no_content())
        if stored.purpose == wire.BATCH:
            content = Content(stored.id, self._behaviour.content_type, store.original(stored.id))
            return await deliver(request, content, extras=extras)
        if stored.purpose != wire.FILE_EXTRACT and self._behaviour.media_content == "refuse":
            raise self._no_content(f"its purpose is {stored.purpose}", refusal.no_text())
        text = await asyncio.to_thread(store.text, stored.id)
        if stored.purpose != wire.FILE_EXTRACT and self._behaviour.media_content == "original":
            content = Content(stored.id, text.file_type, store.original(stored.id))
            return await deliver(request, content, extras=extras)
        more = {"file_type": text.file_type, "filename": stored.filename, "title": text.title, "type": "file"}
        suffix = b"," + wire.dump(more).removeprefix(b"{")
        content = Content(stored.id, self._behaviour.content_type, text.literal, b'{"content":', suffix, escapes=True)
        return await deliver(request, content, extras=extras)

    async def media(self, request: Request) -> Response:
        """Answer `GET /ms/ID` (ours): what a chat model is given for `ms://ID`, the image or video as it was."""
        store = _store(request)
        path, kind = await asyncio.to_thread(store.media, f"ms://{request.path_params['file_id']}")
        response = await deliver(request, Content(request.path_params["file_id"], kind, path), extras=True)
        response.headers["cache-control"] = "no-store"  # it is private, and gone when it is deleted
        return response

    async def _text(self, store: Store, staged: Staged, filename: str, purpose: str) -> tuple[Extracted, str]:
        """Return the text, and why there is none where such a file is stored all the same."""
        if purpose == wire.FILE_EXTRACT:
            try:
                return await self._extractor.extract(store, staged, filename), ""
            except refusal.Refusal as error:
                if self._dialect.on_extract_error == "refuse" or not refusal.is_of_document(error):
                    raise
                details = f"{error.message} ({error.why})" if error.why else error.message
                return Extracted(media_type(staged.head), b'""'), details
        if purpose not in wire.PURPOSES:
            raise refusal.purpose()
        wanted = {wire.IMAGE: is_image, wire.VIDEO: is_video}.get(purpose)
        if wanted is not None and not wanted(staged.head):
            raise refusal.unsupported()
        return Extracted(media_type(staged.head), b'""'), ""

    def _is_beta(self, request: Request) -> bool:
        """Say whether a request asks for the second format. Raises Refusal, where it asks for one that is none."""
        asked = request.headers.getlist("kimi-api-version") if self._dialect.version_header == "answer" else []
        if any(value.strip() != BETA for value in asked):
            raise refusal.api_version(BETA)
        return bool(asked)

    def _no_content(self, why: str, before: refusal.Refusal) -> refusal.Refusal:
        """Return the refusal of a content that there is none of; undocumented `before` 2026-09."""
        return refusal.no_such_content(why) if self._dialect.content_refusal == "failed-precondition" else before

    def _filename(self, sent: str) -> str:
        rules = self._behaviour.filename_rules
        if rules == "refuse" and (_UNFIT_NAME.search(sent) or len(sent.encode()) > _LONGEST_NAME):
            raise refusal.filename()
        return re.split(r"[/\\]", sent)[-1] or sent if rules == "base" else sent


def _page(asked: QueryParams, after: str, size: int) -> tuple[str, int]:
    """Return what the next page comes after, and how many files are on it. Raises Refusal."""
    if "page_size" in asked:
        wanted = asked["page_size"]
        if not re.fullmatch("[0-9]{1,4}", wanted) or not 1 <= int(wanted) <= LARGEST_PAGE:
            raise refusal.page(f"page_size: it is a number from 1 to {LARGEST_PAGE}")
        size = int(wanted)
    token = asked.get("page_token", "")
    if token and not is_id(token):
        raise refusal.page("page_token: it is none of a page")
    return token or after, size


def _store(request: Request) -> Store:
    account: Account = request.scope["account"]
    return account.store


async def _chunks(request: Request, longest: int) -> AsyncIterator[bytes]:
    stream = request.stream()
    received = enough = 0
    now = asyncio.get_running_loop().time
    ends = now() + RECEIVE_SECONDS
    try:
        while True:
            async with asyncio.timeout_at(ends):
                chunk = await anext(stream)
            received += len(chunk)
            if received >= enough:
                ends, enough = now() + RECEIVE_SECONDS, received + _LEAST_RECEIVED
            if received > longest:  # in parts that are not the file, else it had been refused by now
                raise refusal.bad_form("it is too long")
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise refusal.Refusal(408, "The upload has stalled", wire.INVALID_REQUEST) from error


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


async def _on_leaving(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _on_disk(_request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and is_full(error):
        return refused(refusal.disk_full())
    raise error


async def _on_fault(_request: Request, _error: Exception) -> Response:
    return refused(refusal.internal())
