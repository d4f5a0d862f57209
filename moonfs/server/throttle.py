"""A service that is asked too much, on demand: so many requests a minute and at once for each account.

Off unless `Behaviour` says so: the local server has no reason of its own to refuse anybody.

**Threading:** runs in the event loop.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from moonfs.server import refusal
from moonfs.server.accounts import Account
from moonfs.server.behaviour import Behaviour
from moonfs.server.edge import refused

_MINUTE: Final = 60.0


class Throttle:
    """An ASGI application around another, within `Edge`, which tells the account.

    Args:
        app: what answers the requests that are let through.
        behaviour: how many there may be.
    """

    def __init__(self, app: ASGIApp, behaviour: Behaviour) -> None:
        self._app = app
        self._behaviour = behaviour
        self._asked: dict[str, deque[float]] = {}
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 429."""
        account: Account | None = scope.get("account")
        if account is None or not scope["path"].startswith("/v1/"):  # what is ours alone costs nothing
            await self._app(scope, receive, send)
            return
        reason = self._reason(account.name, is_upload=scope["method"] == "POST")
        if reason is not None:
            await refused(reason)(scope, receive, send)
            return
        self._under_way[account.name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[account.name] -= 1

    def _reason(self, name: str, *, is_upload: bool) -> refusal.Refusal | None:
        most = self._behaviour.max_concurrency
        if most and self._under_way[name] >= most:
            return refusal.overloaded()
        if not self._behaviour.rate_limit or (self._behaviour.rate_limit_counts == "uploads" and not is_upload):
            return None
        asked = self._asked.setdefault(name, deque(maxlen=self._behaviour.rate_limit))
        now = time.monotonic()
        if len(asked) == self._behaviour.rate_limit and asked[0] > now - _MINUTE:
            return refusal.rate_limited(self._behaviour.rate_limit)
        asked.append(now)
        return None
