"""What holds for every connection, below the HTTP parser: when its waits end, and whom it may lead to.

No wait on a socket outlasts the deadline of the call (E2). The time-outs of httpx hold for each wait, so a service that
sends a header, a trailer or a chunk's extension byte by byte could keep a call for as long as it drips; here each wait
is cut down to what is left. A UNIX socket has to be served by this user or by root: another one would get the key and
every document. That it is the proxy which cannot be reached is told here, since nobody above can see it. It decides
neither how long a call may take nor where it goes. It is put into httpx by the network backend of its pools, which
httpcore has in public and httpx hands on to nobody; tests see that it is still reached.

**Threading:** a call belongs to one thread, which makes all its waits; its deadline is a context variable.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import httpcore
import httpx

#: What a connection to a server of another user's is refused with: the key and every document would be his.
SOMEBODY_ELSES: Final = "the socket is another user's"
#: What there is no connection to where the proxy itself cannot be reached.
NO_PROXY_THERE: Final = "the proxy cannot be reached"

_Left = Callable[[], float]
_left: ContextVar[_Left | None] = ContextVar("left", default=None)
#: The connections that were made for this request.
_opened: ContextVar[list[httpcore.NetworkStream] | None] = ContextVar("opened", default=None)


@contextlib.contextmanager
def until(ends: float, clock: Callable[[], float]) -> Iterator[None]:
    """End all waits of this thread on sockets at `ends`, in seconds by `clock`."""
    token = _left.set(lambda: ends - clock())
    try:
        yield
    finally:
        _left.reset(token)


def bound(client: httpx.Client, *, proxied: bool = False) -> httpx.Client:
    """Return `client` with every connection that it will make held to the deadline of the call that uses it.

    `proxied`: what is connected to is a proxy.
    """
    transport: Any = client._transport
    pool = transport._pool
    pool._network_backend = _Backend(pool._network_backend, proxied=proxied)
    return client


class Transport(httpx.HTTPTransport):
    """A transport whose SOCKS proxy may answer what it likes.

    httpcore lets the errors of its library out, and leaves the connection open on which there was one.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        opened: list[httpcore.NetworkStream] = []
        token = _opened.set(opened)
        try:
            return super().handle_request(request)
        except BaseException as exc:
            for stream in opened:
                stream.close()
            if isinstance(exc, AssertionError) or type(exc).__module__.startswith("socksio"):
                raise httpx.ProxyError("it answers in another language than SOCKS 5", request=request) from exc
            raise
        finally:
            _opened.reset(token)


def _cut(timeout: float | None, over: type[Exception]) -> float | None:
    """Return `timeout` or what is left of the call, whichever is less; raise `over` where nothing is left."""
    left = _left.get()
    if left is None:
        return timeout
    seconds = left()
    if seconds <= 0:
        raise over("the time for this call is over")
    return seconds if timeout is None else min(timeout, seconds)


def _peer(connected: socket.socket) -> int:
    """Return the user id of the process that listens on the other end of a UNIX socket (unix(7), SO_PEERCRED)."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user: int = struct.unpack("3i", credentials)[1]
    return user


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, usual: float | None = None) -> None:
        """`usual` is the time-out of a wait that has none of its own: httpcore gives none while it talks SOCKS."""
        self._stream = stream
        self._usual = usual

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _cut(timeout or self._usual, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _cut(timeout or self._usual, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _cut(timeout, httpcore.ConnectTimeout))
        return _Stream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, *, proxied: bool) -> None:
        self._backend = backend
        self._proxied = proxied

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _cut(timeout, httpcore.ConnectTimeout)
        try:
            stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            if not self._proxied:
                raise
            raise type(exc)(NO_PROXY_THERE) from exc
        made = _Stream(stream, timeout)
        if (opened := _opened.get()) is not None:
            opened.append(made)
        return made

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        stream = self._backend.connect_unix_socket(path, _cut(timeout, httpcore.ConnectTimeout), socket_options)
        if _peer(stream.get_extra_info("socket")) not in (os.geteuid(), 0):
            stream.close()
            raise httpcore.ConnectError(SOMEBODY_ELSES)
        return _Stream(stream)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
