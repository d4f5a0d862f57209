"""A Files API that goes wrong on request: real HTTP over a real socket, for tests of client and drive.

What it is: the five calls over files held in memory, good enough to list, upload, retrieve, delete and fetch
text, by a service of any kind (`kinds`), plus faults that a test scripts one request at a time. What it is not: the
local Files API; it extracts nothing, has no limits, and trusts its caller. Standard library only.

    with FaultServer() as server:           # FaultServer(socket=path) for a UNIX socket, kind=Kind(numbers=True) …
        client = Client(server.base_url, server.key, socket=server.socket)
        server.script("upload", rate_limited(), answer_lost())  # the next two uploads; later ones succeed
        ...
        assert server.count("upload") == 3 and server.names() == ["a.txt"]

A fault is a function of a `Turn`, so a test may write its own. Those here, by what the service has done:

    nothing stored   rate_limited, refused, page, redirect, empty, reset_mid_body, early, stalled
    stored first     failed_after, answer_lost, answer_reset, stalled_after
    odd answers      answered (any bytes), truncated, gzipped, giant, broken_off, dripping, endless

The whole service may fail too: `suspend` refuses connections until `resume`, `swallow` takes every request and
answers none until `answer`, and `allow` bounds the requests of any stretch of time, as the tiers of the real one do.
A name may be taken though no file of it is listed (`taken`, or a file of the scope `formats.NOBODY`), and a document
that begins with `kinds.UNREADABLE` has no text.

**Threading:** one thread for each connection; `script` and the counters may be used from any thread. Faults
of one operation are taken in the order of arrival.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket as sockets
import socketserver
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.faults import formats, kinds
from tests.faults.formats import Stored
from tests.faults.kinds import BETA, Kind, numbered

OPERATIONS = ("list", "upload", "retrieve", "delete", "content")


@dataclass
class Seen:
    """A request that arrived: what it was, its headers in lower case, and how much of its body was read."""

    operation: str
    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int = 0
    file_id: str = ""
    query: dict[str, str] = field(default_factory=dict)
    refused: bool = False
    at: float = field(default_factory=time.monotonic)


@dataclass
class Reply:
    """An answer; `headers` win over those made from the rest, and a value of None leaves a header out."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str | None] = field(default_factory=dict)


Fault = Callable[["Turn"], None]


class FaultServer:
    """The server; a context manager that listens from `__enter__` to `__exit__`.

    Args:
        socket: path of a UNIX socket; without it a loopback port of the kernel's choice is used.
        clock: unix time in seconds, for `created_at` and the Date header.
        kind: of which kind it is, for good or until somebody changes it: services do.
        suffix: what a number looks like in a name.

    Attributes:
        base_url, key, socket: what a client needs.
        files: what is stored, by id, in the order of arrival; tests may add and remove.
        seen: every request, in the order of arrival.
        dated: whether its answers have a Date.
        read: makes a text of bytes.
        taken: names that are numbered though no file has them.
        id_prefix: what new ids begin with.
        weather: gives a request its fault, or None, where none is scripted.
        busy: how many requests are being answered.
    """

    def __init__(
        self,
        *,
        socket: Path | None = None,
        clock: Callable[[], float] = time.time,
        kind: Kind = kinds.YESTERDAY,
        suffix: str = "({n})",
    ) -> None:
        self.key = "sk-fault-0123456789abcdefghijklmnop"
        self.socket = socket
        self.clock = clock
        self.kind = kind
        self.suffix = suffix
        self.id_prefix = "file_" if kind.stores_failures else ""
        self.taken: set[str] = set()
        self.files: dict[str, Stored] = {}
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.weather: Callable[[Seen], Fault | None] = lambda _seen: None
        self.busy = 0
        self.dated = True
        self.read: Callable[[bytes], str] = lambda data: data.decode("utf-8", "replace")
        self._scripts: dict[str, deque[Fault]] = defaultdict(deque)
        self._number = 0
        self._places: dict[str, int] = {}
        self._answers = threading.Event()
        self._answers.set()
        self._allowed: tuple[int, float] | None = None
        self._port = 0
        self._listen()
        self.base_url = "http://localhost/v1" if socket else f"http://127.0.0.1:{self._port}/v1"

    def _listen(self) -> None:
        self._listener: Any = (
            _TcpListener(("127.0.0.1", self._port), _Handler)
            if self.socket is None
            else _UnixListener(str(self.socket), _Handler)
        )
        self._listener.owner = self
        self._port = 80 if self.socket else self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, name="fault-server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._thread.is_alive():
            self.suspend()
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)

    def line(self) -> FaultServer:
        """Return another server of the same files, with faults of its own: one machine's own way to them."""
        other = FaultServer(clock=self.clock, kind=self.kind, suffix=self.suffix)
        other.files, other.lock, other._number = self.files, self.lock, 2**32
        other.taken, other._places = self.taken, self._places
        return other

    def suspend(self) -> None:
        """Hang up on everybody and refuse connections, until `resume`."""
        self.ending.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.hang_up()
        self._listener.server_close()

    def resume(self) -> None:
        """Listen again where it has listened before."""
        self.ending.clear()
        self._listen()
        self._thread.start()

    def swallow(self) -> None:
        """Take every request and answer none, until `answer`: a black hole."""
        self._answers.clear()

    def answer(self) -> None:
        """Answer again; what was swallowed meanwhile is hung up on."""
        self._answers.set()

    def allow(self, requests: int, seconds: float) -> None:
        """Refuse what is more than `requests` in any `seconds`, with 429 and `retry-after: 1`; a refusal counts not."""
        self._allowed = (requests, seconds)

    def script(self, operation: str, *faults: Fault | None) -> None:
        """Queue one fault for each of the next requests of `operation`; None lets one request pass."""
        assert operation in OPERATIONS, operation
        with self.lock:
            self._scripts[operation].extend(fault or (lambda turn: turn.send(turn.serve())) for fault in faults)

    def unscript(self, *operations: str) -> None:
        """Let the next requests of `operations` (of all of them) succeed again."""
        with self.lock:
            for operation in operations or tuple(self._scripts):
                self._scripts.pop(operation, None)

    def count(self, operation: str | None = None) -> int:
        """Return how many requests arrived: all, or those of one operation."""
        with self.lock:
            return sum(operation in (None, seen.operation) for seen in self.seen)

    def names(self) -> list[str]:
        """Return the stored filenames, sorted."""
        with self.lock:
            return sorted(stored.filename for stored in self.files.values())

    def add(self, filename: str, data: bytes, *, purpose: str = "file-extract", **other: Any) -> Stored:
        """Store a file under exactly this name: somebody else's, or one from before names were numbered."""
        with self.lock:
            return self._add(filename, data, purpose, **other)

    def receive(self, filename: str, data: bytes, purpose: str) -> Stored | None:
        """Store what is uploaded, as a service of this kind does; None where it is refused, since it has no text."""
        with self.lock:
            failed = purpose == "file-extract" and data.startswith(kinds.UNREADABLE)
            if failed and not self.kind.stores_failures:
                return None
            if self.kind.numbers:
                names = {stored.filename for stored in self.files.values()} | self.taken
                filename = numbered(filename, names, self.suffix)
            well = "ready" if self.kind.stores_failures else "ok"
            status = {"status": "error", "status_details": kinds.NO_TEXT} if failed else {"status": well}
            return self._add(filename, data, purpose, **status)

    def _add(self, filename: str, data: bytes, purpose: str, **other: Any) -> Stored:
        self._number += 1
        now = int(self.clock())
        stored = Stored(f"{self.id_prefix}{now:08x}{self._number:012x}", now, filename, purpose, data)
        for name, value in other.items():
            setattr(stored, name, value)
        self.files[stored.id] = stored
        return stored

    def page(self, query: dict[str, str], *, beta: bool) -> tuple[list[Stored], str]:
        """Return the files of a list, in the order of arrival, or those of a page and the token of the next one."""
        with self.lock:
            for file_id in self.files:
                self._places.setdefault(file_id, len(self._places))
            seen = [stored for stored in self.files.values() if stored.is_seen(beta=beta)]
            if not self.kind.pages:
                return seen, ""
            return formats.page_of(seen, lambda stored: self._places[stored.id], query, kinds.PAGE)

    def begin(self, seen: Seen) -> Fault | None:
        """Note a request and return its fault."""
        with self.lock:
            if self._allowed is not None:
                most, seconds = self._allowed
                recent = [other for other in self.seen if not other.refused and seen.at - other.at < seconds]
                seen.refused = len(recent) >= most
            self.seen.append(seen)
            if seen.refused:
                return rate_limited()
            if not self._answers.is_set():
                return self._swallowed
            script = self._scripts[seen.operation]
            return script.popleft() if script else self.weather(seen)

    def _swallowed(self, turn: Turn) -> None:
        turn.read()
        while not self._answers.wait(0.05) and not self.ending.is_set():
            pass
        turn.hang_up()


class Turn:
    """One request while it is answered: what a fault plays with.

    Attributes:
        server: the `FaultServer`.
        seen: the request.
        connection: the socket.
    """

    def __init__(self, server: FaultServer, seen: Seen, handler: _Handler) -> None:
        self.server = server
        self.seen = seen
        self.connection: sockets.socket = handler.connection
        self._handler = handler
        self._left = int(seen.headers.get("content-length", "0"))
        self._body = bytearray()

    def read(self, count: int | None = None) -> bytes:
        """Read `count` more bytes of the body, or all the rest, and return all of it so far."""
        wanted = self._left if count is None else min(count, self._left)
        while wanted > 0:
            chunk = self._handler.rfile.read1(min(wanted, 1 << 18))
            if not chunk:
                raise ConnectionResetError("the client hung up")
            self._body += chunk
            wanted -= len(chunk)
            self._left -= len(chunk)
            self.seen.body_bytes += len(chunk)
        return bytes(self._body)

    def serve(self) -> Reply:
        """Do what was asked, as the real service does, and return the answer without sending it."""
        body, server, seen = self.read(), self.server, self.seen
        kind, version = server.kind, seen.headers.get("kimi-api-version")
        if seen.headers.get("authorization") != f"Bearer {server.key}":
            return error(401, "Invalid Authentication", "invalid_authentication_error")
        if version not in (None, BETA) or (version is None and kind.beta):
            return error(400, f"This service is asked with kimi-api-version: {BETA}")
        beta = version is not None
        if seen.operation == "list":
            try:
                files, token = server.page(seen.query, beta=beta)
            except ValueError:
                return error(400, "Invalid page_size or page_token")
            return _json(formats.listed(files, token, kind, beta=beta))
        if seen.operation == "upload":
            return self._upload(parse_form(seen.headers.get("content-type", ""), body), beta)
        stored = server.files.get(seen.file_id)
        if stored is None or not stored.is_seen(beta=beta):
            return error(404, "The requested resource was not found", "resource_not_found_error")
        if seen.operation == "retrieve":
            return _json(formats.described(stored, kind, beta=beta))
        if seen.operation == "delete":
            with server.lock:
                server.files.pop(stored.id, None)
            return Reply(204) if beta else _json({"deleted": True, "id": stored.id, "object": "file"})
        return self._content(stored)

    def _upload(self, fields: dict[str, tuple[str, bytes]], beta: bool) -> Reply:
        filename, data = fields["file"]
        if not data:
            return error(400, "File size is zero, please confirm and re-upload the file")
        stored = self.server.receive(filename, data, fields["purpose"][1].decode())
        if stored is None:
            return error(400, kinds.NO_TEXT)
        return _json(formats.described(stored, self.server.kind, beta=beta), 201 if beta else 200)

    def _content(self, stored: Stored) -> Reply:
        kind = self.server.kind
        if kind.stores_failures and (stored.status == "error" or stored.purpose in ("image", "video")):
            return error(400, "The file has no content", "failed_precondition_error")
        if stored.purpose == "file-extract" and stored.data.startswith(kinds.UNREADABLE):
            return error(400, kinds.NO_TEXT)
        wire = {
            "content": self.server.read(stored.data),
            "file_type": "text/plain",
            "filename": stored.filename,
            "title": "",
            "type": "file",
        }
        return _json(wire)

    def head(self, reply: Reply) -> bytes:
        """Return the head of an answer as it goes over the wire."""
        headers: dict[str, str | None] = {
            # RFC 9110, 8.6: a 204 has none.
            "Content-Length": str(len(reply.body)) if reply.status != 204 else None,
            "Content-Type": "application/json",
            "Date": formatdate(self.server.clock(), usegmt=True) if self.server.dated else None,
            "msh-request-id": f"request-{id(self.seen):x}",
        }
        headers.update(reply.headers)
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in headers.items() if v is not None)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, reply: Reply) -> None:
        """Send a whole answer; the connection stays open where the request was read to its end."""
        self.connection.sendall(self.head(reply) + reply.body)
        if self._left:
            self._handler.close_connection = True

    def hang_up(self) -> None:
        """Close the connection in an orderly way (FIN)."""
        self._handler.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(sockets.SHUT_RDWR)

    def reset(self) -> None:
        """Reset the connection (RST on TCP)."""
        self._handler.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.reset = True

    def stall(self, seconds: float = 30.0) -> None:
        """Wait, until the server ends at most."""
        self.server.ending.wait(seconds)


def error(status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> Reply:
    """Return an error as the service words it; underscores in header names become hyphens."""
    body = json.dumps({"error": {"message": message, "type": kind}}, ensure_ascii=False).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def answered(reply: Reply) -> Fault:
    """Read the request, do nothing, answer `reply`."""

    def fault(turn: Turn) -> None:
        turn.read()
        turn.send(reply)

    return fault


def rate_limited(retry_after: str | None = "1", kind: str = "rate_limit_reached_error") -> Fault:
    """429."""
    headers = {} if retry_after is None else {"retry_after": retry_after, "x_retry_after": retry_after}
    return answered(error(429, "Your account reached max request", kind, **headers))


def refused(status: int, message: str, kind: str = "invalid_request_error") -> Fault:
    """An error that the service words; nothing is stored."""
    return answered(error(status, message, kind))


def page(status: int) -> Fault:
    """The HTML page of a proxy."""
    html = f"<html>\r\n<head><title>{status} Proxy Page</title></head>\r\n<body>{status}</body></html>"
    return answered(Reply(status, html.encode(), {"Content-Type": "text/html"}))


def redirect(location: str, status: int = 307) -> Fault:
    """A redirect."""
    return answered(Reply(status, b"", {"Location": location}))


def empty(status: int = 200) -> Fault:
    """No body; nothing is stored."""
    return answered(Reply(status, b""))


def reset_mid_body(after: int = 1000) -> Fault:
    """Reset the connection once `after` bytes of the body were read; nothing is stored."""

    def fault(turn: Turn) -> None:
        turn.read(after)
        turn.reset()

    return fault


def early(reply: Reply, *, after: int = 0) -> Fault:
    """Answer while the body is still coming, then close without reading on; nothing is stored."""

    def fault(turn: Turn) -> None:
        turn.read(after)
        turn.send(Reply(reply.status, reply.body, {"Connection": "close", **reply.headers}))
        turn.hang_up()

    return fault


def stalled(seconds: float = 30.0) -> Fault:
    """Read the request and answer nothing; nothing is stored."""

    def fault(turn: Turn) -> None:
        turn.read()
        turn.stall(seconds)
        turn.hang_up()

    return fault


def failed_after(reply: Reply | None = None) -> Fault:
    """Do what was asked, then answer 500 (or `reply`)."""

    def fault(turn: Turn) -> None:
        turn.serve()
        turn.send(reply or error(500, "extract task failed: failed", "server_error"))

    return fault


def answer_lost() -> Fault:
    """Do what was asked, then close without an answer."""

    def fault(turn: Turn) -> None:
        turn.serve()
        turn.hang_up()

    return fault


def answer_reset() -> Fault:
    """Do what was asked, then reset the connection without an answer."""

    def fault(turn: Turn) -> None:
        turn.serve()
        turn.reset()

    return fault


def stalled_after(seconds: float = 30.0, *, headers: bool = False) -> Fault:
    """Do what was asked, then stall: before the answer, or between its headers and its body."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        if headers:
            turn.connection.sendall(turn.head(reply))
        turn.stall(seconds)
        turn.hang_up()

    return fault


def truncated(keep: int = 20) -> Fault:
    """Do what was asked; answer with the first `keep` bytes, and a Content-Length that fits them."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        turn.send(Reply(reply.status, reply.body[:keep], reply.headers))

    return fault


def broken_off(keep: int = 20) -> Fault:
    """Do what was asked; announce the whole answer, send `keep` bytes of its body, close."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        turn.connection.sendall(turn.head(reply) + reply.body[:keep])
        turn.hang_up()

    return fault


def gzipped(*, cut: int = 0) -> Fault:
    """Do what was asked; answer gzipped, without the last `cut` bytes."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        packed = gzip.compress(reply.body)
        turn.send(Reply(reply.status, packed[: len(packed) - cut], {"Content-Encoding": "gzip"}))

    return fault


def giant(size: int, *, packed: bool = False, status: int = 200) -> Fault:
    """Answer with `size` blanks, gzipped or not, until the client hangs up; nothing is stored."""

    def fault(turn: Turn) -> None:
        turn.read()
        if packed:
            turn.send(Reply(status, gzip.compress(b" " * size, 1), {"Content-Encoding": "gzip"}))
            return
        turn.connection.sendall(turn.head(Reply(status, b"", {"Content-Length": str(size)})))
        for _ in range(0, size, 1 << 16):
            turn.connection.sendall(b" " * (1 << 16))
        turn.hang_up()

    return fault


def dripping(pause: float = 0.05, *, head: bool = False) -> Fault:
    """Do what was asked; send the answer's body (or its head too) a byte at a time."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        message = turn.head(reply) + reply.body
        start = 0 if head else len(message) - len(reply.body)
        turn.connection.sendall(message[:start])
        for index in range(start, len(message)):
            turn.stall(pause)
            turn.connection.sendall(message[index : index + 1])
            if turn.server.ending.is_set():
                break

    return fault


def endless(start: bytes, again: bytes, pause: float = 0.02) -> Fault:
    """Read the request, send `start`, then `again` for ever: an answer that goes on and never comes."""

    def fault(turn: Turn) -> None:
        turn.read()
        turn.connection.sendall(start)
        while not turn.server.ending.is_set():
            turn.connection.sendall(again)
            turn.stall(pause)

    return fault


def parse_form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return (filename, bytes) by field name of a multipart body."""
    found = re.fullmatch(r"multipart/form-data; boundary=([\w-]+)", content_type)
    assert found, content_type
    boundary = f"--{found.group(1)}".encode()
    assert body.startswith(boundary + b"\r\n"), body[:100]
    assert body.endswith(b"\r\n" + boundary + b"--\r\n"), body[-100:]
    fields = {}
    for start, end in _parts(body, boundary):
        head_end = body.index(b"\r\n\r\n", start, start + 10_000)
        head = body[start:head_end].decode()
        pattern = r'form-data; name="(\w+)"(?:; filename="((?:[^"\\]|\\.)*)")?(?:\r\n|$)'
        disposition = re.search(pattern, head)
        assert disposition, head
        name, filename = disposition.groups(default="")
        fields[name] = (re.sub(r"\\(.)", r"\1", filename), body[head_end + 4 : end])
    return fields


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex, to compare large files by."""
    return hashlib.sha256(data).hexdigest()


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    start = len(boundary) + 2
    while (end := body.find(b"\r\n" + boundary, start)) >= 0:
        yield start, end
        start = end + len(boundary) + 4


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reset = False

    def _turn(self) -> None:
        owner: FaultServer = self.server.owner  # type: ignore[attr-defined]
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = urlsplit(self.path)
        path = asked.path.removeprefix("/v1").split("/")[1:]
        match (self.command, *path):
            case ("GET", "files"):
                operation = "list"
            case ("POST", "files"):
                operation = "upload"
            case ("GET", "files", _):
                operation = "retrieve"
            case ("DELETE", "files", _):
                operation = "delete"
            case ("GET", "files", _, "content"):
                operation = "content"
            case _:
                operation = "unknown"
        seen = Seen(operation, self.command, self.path, headers, file_id=path[1] if len(path) > 1 else "")
        seen.query = dict(parse_qsl(asked.query, keep_blank_values=True))
        with owner.lock:
            owner.busy += 1
        fault = owner.begin(seen)
        turn = Turn(owner, seen, self)
        try:
            if operation == "unknown":
                turn.read()
                turn.send(error(404, "The requested resource was not found", "resource_not_found_error"))
            elif fault is None:
                turn.send(turn.serve())
            else:
                fault(turn)
        except OSError:  # the client hung up
            self.close_connection = True
        finally:
            with owner.lock:
                owner.busy -= 1

    do_GET = do_POST = do_DELETE = _turn  # noqa: N815

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def log_message(self, *_args: object) -> None:
        pass


class _Listener(socketserver.ThreadingMixIn):
    request_queue_size = 128
    owner: FaultServer
    socket: sockets.socket
    get_request: Callable[[], tuple[Any, Any]]

    def serve_forever(self, poll_interval: float = 0) -> None:
        """Take connections until `shutdown`: by waiting for them, where the library looks many times a second."""
        with suppress(OSError):  # EINVAL: it listens no more
            while True:
                self.process_request(*self.get_request())

    def shutdown(self) -> None:
        """Listen no more; what waits to be taken is reset (Linux: unlike POSIX, this wakes who waits in accept)."""
        self.socket.shutdown(sockets.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.__dict__.setdefault("live", set()).add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close; without a FIN before it, so that SO_LINGER can make it a reset."""
        self.__dict__["live"].discard(request)
        linger = request.getsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, 8)
        if not struct.unpack("ii", linger)[0]:
            with suppress(OSError):
                request.shutdown(sockets.SHUT_WR)
        request.close()

    def hang_up(self) -> None:
        for request in list(self.__dict__.get("live", ())):
            with suppress(OSError):
                request.shutdown(sockets.SHUT_RDWR)


class _TcpListener(_Listener, socketserver.TCPServer):
    allow_reuse_address = True


class _UnixListener(_Listener, socketserver.UnixStreamServer):
    pass
