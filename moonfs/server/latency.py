"""Makes every request wait first, as on a network far away: for benchmarks, and to see how a drive feels there.

**Threading:** runs in the event loop; requests wait side by side.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send


class Latency:
    """An ASGI application around another.

    Args:
        app: what answers after the wait.
        seconds: how long each request waits.
        upload_seconds: how much longer an upload waits.
    """

    def __init__(self, app: ASGIApp, seconds: float, upload_seconds: float = 0.0) -> None:
        self._app = app
        self._seconds, self._upload_seconds = seconds, upload_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await asyncio.sleep(self._seconds + self._upload_seconds * (scope.get("method") == "POST"))
        await self._app(scope, receive, send)
