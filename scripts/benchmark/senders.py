"""The leanest client there is: requests made beforehand go over kept connections, so that the server is what is timed.

**Threading:** a `Sender` belongs to one thread; `send_all` uses one for each connection.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self
from urllib.parse import urlsplit

from scripts.benchmark.shell import Failed

_BOUNDARY: Final = "bench-0123456789abcdef"
_SECONDS: Final = 120.0


def upload_request(name: str, content: bytes, key: str) -> bytes:
    """Return a whole `POST /v1/files`, as any client sends it."""
    part = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfile-extract\r\n'
    part += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = part.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return (
        "POST /v1/files HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def list_request(key: str) -> bytes:
    """Return a whole `GET /v1/files`."""
    return f"GET /v1/files HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


class Sender:
    """One kept connection; a context manager."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *pieces: bytes) -> float:
        """Send one request and return the seconds until its answer was read whole. Raises Failed."""
        began = time.perf_counter()
        for piece in pieces:
            self._socket.sendall(piece)
        answer = self._socket.recv(1 << 20)
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"A server answered: {answer[:300].decode(errors='replace')}")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        left = int(length) - len(body)
        while left > 0:
            left -= len(self._more())
        return time.perf_counter() - began

    def _more(self) -> bytes:
        piece = self._socket.recv(1 << 20)
        if not piece:
            raise Failed("A server has hung up.")
        return piece


def send_all(base_url: str, requests: Sequence[bytes], connections: int) -> float:
    """Send all requests over so many connections, each as soon as it is free, and return the seconds it took."""
    queue = iter(requests)  # next() on a list's iterator is one step of the interpreter, so threads may share it

    def work(sender: Sender) -> None:
        with sender:
            for request in queue:
                sender.ask(request)

    senders = [Sender(base_url) for _ in range(connections)]
    with ThreadPoolExecutor(connections) as threads:
        began = time.perf_counter()
        list(threads.map(work, senders))
        return time.perf_counter() - began


def ask_each(base_url: str, requests: Iterable[bytes]) -> list[float]:
    """Send requests one after the other over one connection, and return the seconds of each."""
    with Sender(base_url) as sender:
        return [sender.ask(request) for request in requests]
