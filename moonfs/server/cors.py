"""Pages and desktop clients of other origins, let in one by one: `moonfs serve --cors ORIGIN`.

A browser keeps a page from reading the answers of another origin unless that says so (Fetch, "CORS protocol"). The
service echoes any origin (LIVE, since September 2026); a server on somebody's own machine names those it means. A key
is needed all the same: none of this lets anybody in without one. Standard library only.

**Threading:** frozen values and pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

#: RFC 6454, 6.2: a scheme, a host and perhaps a port. Apps have schemes of their own, such as app:// and tauri://.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_METHODS: Final = b"GET, POST, DELETE, HEAD"
#: What a page may read besides the few headers that it always may.
_EXPOSED: Final = b"msh-request-id, retry-after, x-retry-after, content-range, etag"
#: Seconds for which a browser need not ask again.
_MAX_AGE: Final = b"600"
#: Bytes of the header names that a page asks for.
_LONGEST_ASKED: Final = 4096

Headers = list[tuple[bytes, bytes]]


def check(origin: str) -> str:
    """Return an origin as browsers send it. Raises ValueError, with a sentence for a person."""
    if origin == "*":
        raise ValueError("--cors '*' would let every page that you look at try keys here: name the origins one by one")
    lower = origin.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(lower):
        raise ValueError(f"--cors {origin!r} is no origin: scheme, host and port, such as http://localhost:3000")
    return lower


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that are let in.

    Attributes:
        origins: as `check` returns them; none for no answer to any.
    """

    origins: frozenset[str] = frozenset()

    def headers(self, scope: Any) -> Headers:
        """Return what an answer to the request of an ASGI scope says to its browser."""
        if not self.origins:
            return []
        origin = _only(scope, b"origin")
        vary = (b"vary", b"Origin")
        if origin.decode("latin-1") not in self.origins:
            return [vary]
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED), vary]

    def preflight(self, scope: Any) -> Headers | None:
        """Return what to answer a browser that asks whether it may ask; None for any other request.

        It comes without a key. A page on the web needs a leave of its own for a server in a private network.
        """
        asked = _only(scope, b"access-control-request-method")
        if scope["method"] != "OPTIONS" or not asked or _only(scope, b"origin").decode("latin-1") not in self.origins:
            return None
        found = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _MAX_AGE)]
        names = _only(scope, b"access-control-request-headers")
        if names and len(names) <= _LONGEST_ASKED:
            found.append((b"access-control-allow-headers", names))
        if _only(scope, b"access-control-request-private-network") == b"true":
            found.append((b"access-control-allow-private-network", b"true"))
        return found


def _only(scope: Any, wanted: bytes) -> bytes:
    """Return the one header of that name; empty where there is none, or several."""
    found = [value for name, value in scope["headers"] if name == wanted]
    return bytes(found[0]) if len(found) == 1 else b""
