"""A bare uvicorn handler, to be run as a process: it stores what comes with one fsync, and does nothing else.

    python -m scripts.benchmark.bare DIRECTORY

It parses no form, checks no key, keeps no list: what a server in Python costs before it is one of files. The
body of each POST becomes a file of its own, durable when it answers. Prints its base URL once it listens.

**Threading:** an event loop; files are written and synced in threads, so that connections do not wait for another's.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

_ANSWER: Final = b'{"id":"bare"}'
_numbers = itertools.count()


def _store(path: str, body: bytes) -> None:
    with open(path, "xb", buffering=0) as stream:
        stream.write(body)
        os.fsync(stream.fileno())


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await asyncio.to_thread(_store, os.path.join(sys.argv[1], f"{next(_numbers)}"), b"".join(pieces))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


def main() -> None:
    """Serve until SIGTERM."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(_app, ws="none", lifespan="off", log_config=None, access_log=False)
    asyncio.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
