"""The Files API of the benchmark, to be run as a process: far away, without extraction, counting what it is asked.

    python -m scripts.benchmark.counted DATA LATENCY UPLOAD_LATENCY      (in seconds)

It is the local server as people get it, with a counter around it. What carries the header `x-benchmark` is the
benchmark's own business: neither delayed nor counted. `GET /counts` tells what was counted.

**Threading:** runs in the server's event loop.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moonfs.server.address import Address
from moonfs.server.behaviour import Behaviour
from moonfs.server.dialect import EMBEDDED
from moonfs.server.extraction.extractor import NoExtraction
from moonfs.server.latency import Latency
from moonfs.server.serve import run

HEADER: Final = "x-benchmark"
#: More files than the service allows, for what is measured beyond its limit.
BEHAVIOUR: Final = Behaviour.of({**EMBEDDED, "max_files": 10_000})


def kind_of(method: str, path: str) -> str:
    """Return what a request is about: upload, list, content, delete, or other."""
    if path == "/v1/files":
        return {"POST": "upload", "GET": "list"}.get(method, "other")
    if path.endswith("/content"):
        return "content"
    return "delete" if method == "DELETE" else "other"


class Counted:
    """An ASGI application around another, for `serve.run`."""

    def __init__(self, app: ASGIApp, latency: float, upload_latency: float) -> None:
        """`latency` is seconds for each request, `upload_latency` seconds more for an upload."""
        self._app = app
        self._far = Latency(app, latency) if latency else app
        self._uploads = Latency(app, latency + upload_latency) if latency + upload_latency else app
        self._asked: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if HEADER.encode() not in dict(scope.get("headers", ())):
            await self._count(scope, receive, send)
        elif scope["path"] == "/counts":
            counts = {"asked": self._asked, "done": self._done, "last": self._last}
            await JSONResponse(counts)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = kind_of(scope["method"], scope["path"])
        self._asked[kind] += 1
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            await send(message)
            status = message.get("status", status)
            if status == 200 and message["type"] == "http.response.body" and not message.get("more_body", False):
                self._done[kind] += 1
                self._last[kind] = time.monotonic()

        await (self._uploads if kind == "upload" else self._far)(scope, receive, watch)


def main() -> None:
    """Serve until SIGTERM; print the base URL once it listens."""
    data, latency, upload_latency = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])

    def on_ready(address: Address) -> None:
        print(address.base_url, flush=True)

    run(
        data,
        host="127.0.0.1",
        port=0,
        on_ready=on_ready,
        make_extractor=NoExtraction,
        behaviour=BEHAVIOUR,
        around=lambda app: Counted(app, latency, upload_latency),
    )


if __name__ == "__main__":
    main()
