"""One clock for a whole call: no wait on a socket outlasts the deadline, whatever the HTTP parser is at (E2).

The time-outs of httpx hold for each wait, so a service that sends a header, a trailer or a chunk's extension byte by
byte could keep a call for as long as it drips. Here each wait is cut down to what is left of the call, below the
parser. It does not decide how long a call may take. It is put into httpx by the network backend of its pools, which
httpcore has in public and httpx passes on to nobody; a test sees that it is still reached.

**Threading:** a call belongs to one thread, which makes all its waits; its deadline is a context variable.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_Left = Callable[[], float]
_left: ContextVar[_Left | None] = ContextVar("left", default=None)


@contextlib.contextmanager
def until(ends: float, clock: Callable[[], float]) -> Iterator[None]:
    """End all waits of this thread on sockets at `ends`, in seconds by `clock`."""
    token = _left.set(lambda: ends - clock())
    try:
        yield
    finally:
        _left.reset(token)


def bound(client: httpx.Client) -> httpx.Client:
    """Return `client` with every connection that it will make held to the deadline of the call that uses it."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = _Backend(pool._network_backend)
    return client


def _cut(timeout: float | None, over: type[Exception]) -> float | None:
    """Return `timeout` or what is left of the call, whichever is less; raise `over` where nothing is left."""
    left = _left.get()
    if left is None:
        return timeout
    seconds = left()
    if seconds <= 0:
        raise over("the time for this call is over")
    return seconds if timeout is None else min(timeout, seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _cut(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _cut(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _cut(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _cut(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, _cut(timeout, httpcore.ConnectTimeout), socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
