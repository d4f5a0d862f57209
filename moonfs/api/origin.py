"""Where the key may go: the checks of base URL and key, and the pool of connections to that one origin (X1).

It sends nothing. A key leaves the machine over TLS only; over a loopback address or a UNIX socket it may be
plain, and then no proxy of the environment comes between. Hosted origins use `HTTPS_PROXY`, `NO_PROXY` and
`SSL_CERT_FILE` as other programs do: the proxy sees a TLS tunnel.

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

from moonfs.api.body import ACCEPT_ENCODING
from moonfs.api.connection import bound
from moonfs.errors import UsageError

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


def connect(base_url: str, key: str, *, socket: str | os.PathLike[str] | None, max_connections: int) -> httpx.Client:
    """Return a pool of connections that sends `key` with each request; nothing is connected yet.

    Args:
        base_url: as `check_base_url` returned it.
        key: as `check_key` returned it.
        socket: path of a UNIX socket to connect to, or None.
        max_connections: connections at a time; further requests wait for one.

    Raises:
        UsageError: a socket path that is too long; proxy or certificate settings that do not work.
    """
    url = httpx.URL(base_url)
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
    direct = path is not None or is_loopback(url.host)
    try:
        transport = None
        if direct:
            # Plain HTTP needs no trust store, which costs 60 ms to load; an empty one trusts nobody.
            verify = True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            transport = httpx.HTTPTransport(uds=path, limits=limits, verify=verify, trust_env=False)
        client = httpx.Client(
            transport=transport,
            limits=limits,
            trust_env=not direct,
            follow_redirects=False,
            headers={
                "Authorization": f"Bearer {key}",
                "Accept-Encoding": ACCEPT_ENCODING,
                "User-Agent": "moonfs",
            },
            # No call depends on another: an answer's cookies are not kept.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        return bound(client)
    except (ImportError, ValueError, OSError, httpx.InvalidURL):
        # Not chained: the text of a bad proxy setting may hold a password.
        raise UsageError(
            "the connection cannot be set up: check HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        ) from None


def _shown(url: httpx.URL) -> str:
    return str(url)[:200]
