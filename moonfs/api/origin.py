"""Where the key may go: the checks of base URL and key, and the pool of connections to that one origin (X1).

It sends nothing. A key leaves the machine over TLS only; to a loopback address or a UNIX socket it may go plain, and
no proxy of the environment comes between. To other origins it goes through the proxy that the environment names
(`proxies`), which sees a TLS tunnel; TLS believes whom the environment says (`trust`), on this machine too.

**Threading:** pure functions; the `httpx.Client` that `connect` returns is shared by all threads.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from moonfs.api import proxies, trust
from moonfs.api.body import ACCEPT_ENCODING
from moonfs.api.connection import Transport, bound
from moonfs.api.proxies import Way
from moonfs.errors import UsageError
from moonfs.keys import QUOTES

log = logging.getLogger(__name__)

#: Seconds a connection stays open unused. uvicorn hangs up after 5 and others later: an upload that meets a
#: connection just closed by the other side is in doubt (W3), so ours closes first.
KEEPALIVE_SECONDS: Final = 4.0

#: What a `sockaddr_un` holds on Linux, in bytes, without its final NUL.
_LONGEST_SOCKET_PATH: Final = 107


def check_key(key: str) -> str:
    """Return `key` without the line end or blanks that pasting leaves round it.

    Raises:
        UsageError: it is empty or cannot be a key; the message does not hold it.
    """
    key = key.strip()
    if not key:
        raise UsageError("there is no API key: set MOONSHOT_API_KEY")
    if key[0] in QUOTES or key[-1] in QUOTES:
        raise UsageError("the API key stands in quotation marks: write it without them")
    if not all("!" <= char <= "~" for char in key):
        raise UsageError("the API key holds blanks, control characters or letters that no key has: copy it once more")
    return key


def check_base_url(base_url: str, *, socket: bool) -> str:
    """Return `base_url` without a slash at its end.

    Args:
        base_url: such as `https://api.moonshot.ai/v1`.
        socket: True when the connection goes through a UNIX socket, whatever the host is called.

    Raises:
        UsageError: the key could not or must not be sent there.
    """
    base_url = base_url.strip()
    try:
        if not all("!" <= char <= "~" or char > "\x9f" for char in base_url):  # httpx would escape them
            raise UnicodeError
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise UsageError("the base URL is no URL: it looks like https://api.moonshot.ai/v1") from exc
    if url.userinfo:
        raise UsageError("the base URL holds a user name or password: the API takes a key only")
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"the base URL {_shown(url)!r} must begin with https:// and a host")
    if url.query or url.fragment or "?" in base_url or "#" in base_url:
        raise UsageError("the base URL must end with its path, without '?' and '#'")
    if url.scheme == "http" and not socket and not is_loopback(url.host):
        raise UsageError(f"the key is sent over TLS only: write https://{url.netloc.decode()} as the base URL")
    return str(url).rstrip("/")


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine by its name or address alone; nothing is looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def way_to(base_url: str, *, socket: bool) -> Way:
    """Return how requests get to an origin; what stands in the environment and is not needed has its line in the log.

    Args:
        base_url: as `check_base_url` returned it.
        socket: True when the connection goes through a UNIX socket.

    Raises:
        UsageError: the proxy that the environment names for it cannot be used; names the variable.
    """
    if socket or is_loopback(httpx.URL(base_url).host):
        return Way()
    way = proxies.find(base_url)
    if way.problem:
        raise UsageError(way.problem)
    for note in way.notes:
        log.info("%s.", note)
    if way.proxy is not None:
        log.info("Requests go through the proxy %s, which %s names.", way.shown, way.variable)
    return way


def connect(
    base_url: str,
    key: str,
    *,
    socket: str | os.PathLike[str] | None,
    max_connections: int,
    way: Way = Way(),  # noqa: B008 - frozen
) -> httpx.Client:
    """Return a pool of connections that sends `key` with each request; nothing is connected yet.

    Args:
        base_url: as `check_base_url` returned it.
        key: as `check_key` returned it.
        socket: path of a UNIX socket to connect to, or None.
        max_connections: connections at a time; further requests wait for one.
        way: as `way_to` returned it.

    Raises:
        UsageError: a socket path that is too long; certificate settings that do not work.
    """
    limits = httpx.Limits(
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    path = None if socket is None else os.fspath(socket)
    if path is not None and not 0 < len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        raise UsageError(f"the socket path {path!r:.200} must have 1 to {_LONGEST_SOCKET_PATH} bytes")
    # At DEBUG httpcore logs the headers of answers word for word, whatever a service repeats in them.
    logging.getLogger("httpcore").setLevel(logging.INFO)
    # Plain HTTP needs no trust store, which costs 60 ms to load; an empty one trusts nobody.
    tls = httpx.URL(base_url).scheme == "https"
    verify = trust.context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = None
    if way.proxy is not None:
        proxy = httpx.Proxy(way.proxy, ssl_context=verify if way.proxy.scheme == "https" else None)
    return bound(
        httpx.Client(
            transport=Transport(uds=path, limits=limits, verify=verify, proxy=proxy, trust_env=False),
            trust_env=False,
            follow_redirects=False,
            headers={
                "Authorization": f"Bearer {key}",
                "Accept-Encoding": ACCEPT_ENCODING,
                "User-Agent": "moonfs",
            },
            # No call depends on another: an answer's cookies are not kept.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        ),
        proxied=proxy is not None,
    )


def _shown(url: httpx.URL) -> str:
    return str(url)[:200]
