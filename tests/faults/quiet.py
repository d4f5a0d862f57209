"""The real local server, which also says when it has nothing under way any more.

Arguments: the data directory, and, as JSON, what it is told besides what the server of `--local` is (`behaviour`).

A client that is killed leaves requests behind, which the server still carries out. `GET /quiet` is answered as soon
as that is over: what the account holds then, it holds for good. After `GET /errors/30` thirty requests in a hundred
fail, half of them when they have been carried out.

**Threading:** everything in the event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moonfs.server import serve
from moonfs.server.behaviour import Behaviour
from moonfs.server.dialect import EMBEDDED

#: Rounds of the event loop in which bytes that have come in become a request.
ROUNDS = 10
#: What is answered where a request fails: of the service, and of a proxy before it.
ERRORS = (
    (500, b"application/json", b'{"error":{"message":"extract task failed: failed","type":"server_error"}}'),
    (503, b"application/json", b'{"error":{"message":"busy","type":"server_unavailable"}}'),
    (502, b"text/html", b"<html><title>502 Bad Gateway</title></html>"),
)


class Quiet:
    """An application that counts the requests under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._errors = 0.0
        self._chance = random.Random(0)
        self._active = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/quiet":
            await self._wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        if scope["path"].startswith("/errors/"):
            self._errors = int(scope["path"].rpartition("/")[2]) / 100
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        self._active += 1
        self._idle.clear()
        try:
            await self._serve(scope, receive, send)
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._chance.random() >= self._errors:
            await self._app(scope, receive, send)
            return

        async def swallow(_message: Message) -> None:
            pass

        if self._chance.random() < 0.5:
            await self._app(scope, receive, swallow)
        status, kind, body = self._chance.choice(ERRORS)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _wait(self) -> None:
        rounds = 0
        while rounds < ROUNDS:
            if self._active:
                await self._idle.wait()
                rounds = 0
            rounds += 1
            await asyncio.sleep(0)


if __name__ == "__main__":
    told = Behaviour.of(EMBEDDED | json.loads(sys.argv[2]))
    serve.run(sys.argv[1], host="127.0.0.1", port=0, behaviour=told, around=Quiet)
