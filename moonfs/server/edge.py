"""Around every request: its id, the host, the key, leave for pages, its line in the log, refusals a client can read.

Of a server on loopback a page in a browser may ask what its own origin can: a name of the page's that has been rebound
to 127.0.0.1. Such a request bears that name in its Host header, and is refused.

Which account a key opens, `accounts` knows; what comes further in finds it in the scope as `account`.

A client that still sends 100 MB does not see an answer that closes the connection on it; so the rest of a
body is read, within bounds, before an early answer goes out. No endpoint is known here, but for those that need no key.

**Threading:** runs in the event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import uuid
from email.utils import formatdate
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moonfs import wire
from moonfs.server import refusal
from moonfs.server.accounts import Accounts
from moonfs.server.cors import Cors, Headers

#: What anybody may ask for: nothing in it is private.
OPEN: Final = frozenset(("/healthz", "/openapi.json"))
#: How much of a refused body is read, in bytes, and how long, in seconds; then the connection is closed.
DRAIN_BYTES: Final = 512 * 1024**2
DRAIN_SECONDS: Final = 60.0
#: Bytes of all headers: as much as most servers take.
MAX_HEAD_BYTES: Final = 64 * 1024
#: Bytes of an answer that are handed on at a time, so that no more than a few wait for a client that does not read.
_PIECE: Final = 64 * 1024

_log = logging.getLogger(__name__)
#: One line a request: method, route (no id), status, milliseconds, bytes of the answer, request id.
_access = logging.getLogger("moonfs.server.access")


def answer(body: bytes, status: int = 200) -> Response:
    """Return a JSON answer of ready bytes."""
    return Response(body, status, media_type="application/json; charset=utf-8")


class Refused(Response):
    """A refusal as an answer; it tells the request's id where `Edge` has put it into the scope."""

    def __init__(self, error: refusal.Refusal) -> None:
        super().__init__(wire.dump(error.body()), error.status, media_type="application/json; charset=utf-8")
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        if "request_id" in scope:
            self.body = wire.dump(self._error.body(scope["request_id"]))
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def refused(error: refusal.Refusal) -> Response:
    """Return a refusal as an answer; one of too many requests says when to come again (LIVE)."""
    response = Refused(error)
    if error.status == 429 and error.error_type in (wire.RATE_LIMIT_REACHED, wire.ENGINE_OVERLOADED):
        response.headers["retry-after"] = response.headers["x-retry-after"] = "1"
    return response


class Edge:
    """The outermost ASGI application.

    Args:
        app: what answers authorised requests.
        accounts: whose keys are let in.
        hosts: names that a request over TCP may be for, besides addresses; None for any.
        cors: origins whose pages may read the answers.
        tells_request: whether an error tells the id of its request.
    """

    def __init__(
        self,
        app: ASGIApp,
        accounts: Accounts,
        hosts: frozenset[str] | None = None,
        *,
        cors: Cors | None = None,
        tells_request: bool = False,
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._hosts = hosts
        self._cors = cors or Cors()
        self._tells_request = tells_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send, self._cors.headers(scope))
        if self._tells_request:
            scope["request_id"] = exchange.request_id
        try:
            if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
                await refused(refusal.bad_request(431))(scope, exchange.receive, exchange.send)
                return
            if not self._is_for_us(scope):
                await refused(refusal.misdirected())(scope, exchange.receive, exchange.send)
                return
            leave = self._cors.preflight(scope)
            if leave is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in leave}
                await Response(status_code=204, headers=headers)(scope, exchange.receive, exchange.send)
                return
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            scope["account"] = self._accounts.find(given[0].strip()) if len(given) == 1 else None
            if scope["account"] is None and scope["path"] not in OPEN:
                await refused(refusal.unauthenticated())(scope, exchange.receive, exchange.send)
                return
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # The server stops and has waited long enough: nothing awaits this task, so it may end by itself.
            if not exchange.status:
                exchange.hurry()
                await refused(refusal.stopping())(scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - the last resort of every request
            # Starlette has answered 500 with the error body already; the traceback is for our log only.
            _log.exception("request %s failed", exchange.request_id)
            if not exchange.status:
                await refused(refusal.internal())(scope, exchange.receive, exchange.send)
        finally:
            exchange.log()

    def _is_for_us(self, scope: Scope) -> bool:
        if self._hosts is None or scope["server"][1] is None:  # a UNIX socket: no browser gets there
            return True
        given = [value for name, value in scope["headers"] if name == b"host"]
        return len(given) == 1 and _is_allowed(given[0].decode("latin-1"), self._hosts)


def _is_allowed(host: str, names: frozenset[str]) -> bool:
    """Say whether a Host header has one of `names` or an address, with or without a port (RFC 9110, 7.2)."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0].rstrip(".")
    return name in names or _is_address(name)  # an address cannot be rebound


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


class _Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send, more: Headers) -> None:
        headers = dict(scope["headers"])
        self._more = more
        self.request_id = uuid.uuid4().hex
        self.status = 0
        self._scope, self._receive, self._send = scope, receive, send
        self._began, self._sent = time.monotonic(), 0
        self._hurries = False
        self._unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._untouched = headers.get(b"expect", b"").lower() == b"100-continue"

    def hurry(self) -> None:
        """Read no more of the body."""
        self._hurries = True

    async def receive(self) -> Message:
        self._untouched = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"date", formatdate(usegmt=True).encode())]
            headers += [(wire.REQUEST_ID_HEADER.encode(), self.request_id.encode()), *self._more]
            # A client that waits for "100 Continue" has sent nothing yet, and one that has stalled sends no more: they
            # read the answer as it is.
            silent = self._untouched or self._hurries or message["status"] == 408
            if self._unread and (silent or not await self._drain()):
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
            self.status = message["status"]
        else:
            body = message.get("body", b"")
            self._sent += len(body)
            while len(body) > _PIECE:
                await self._send({"type": message["type"], "body": body[:_PIECE], "more_body": True})
                body = body[_PIECE:]
            message = {**message, "body": body}
        await self._send(message)

    def log(self) -> None:
        if not _access.isEnabledFor(logging.INFO):
            return
        route = self._scope.get("route")  # which the router has put there
        _access.info(
            "%s %s %s %.1f ms %d bytes %s", self._scope["method"], getattr(route, "path", "-"), self.status or "-",
            (time.monotonic() - self._began) * 1000, self._sent, self.request_id,
        )  # fmt: skip

    async def _drain(self) -> bool:
        drained = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._unread and drained < DRAIN_BYTES:
                    drained += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        return not self._unread
