"""The real local server, which also says when it has nothing under way any more. Argument: the data directory.

A client that is killed leaves requests behind, which the server still carries out. `GET /quiet` is answered as soon
as that is over: what the account holds then, it holds for good.

**Threading:** everything in the event loop.
"""

from __future__ import annotations

import asyncio
import sys

from starlette.types import ASGIApp, Receive, Scope, Send

from moonfs.server import serve

#: Rounds of the event loop in which bytes that have come in become a request.
ROUNDS = 10


class Quiet:
    """An application that counts the requests under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._active = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/quiet":
            await self._wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        self._active += 1
        self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def _wait(self) -> None:
        rounds = 0
        while rounds < ROUNDS:
            if self._active:
                await self._idle.wait()
                rounds = 0
            rounds += 1
            await asyncio.sleep(0)


if __name__ == "__main__":
    serve.run(sys.argv[1], host="127.0.0.1", port=0, around=Quiet)
