"""The life of one server: lock the data, listen, say so, serve until told to stop or the last client is gone.

It answers no request itself (`app`) and parses no arguments (`command`). Idle, it waits on the kernel only.

**Threading:** `run` belongs to the main thread, which runs the event loop. One more thread may sit in a
blocking flock on `clients.lock`: each client holds a shared lock there, so getting the exclusive one means
that none is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from moonfs import disk
from moonfs.server.accounts import open_accounts
from moonfs.server.address import CLIENTS, Address, is_loopback, publish, withdraw
from moonfs.server.app import make_app
from moonfs.server.behaviour import Behaviour
from moonfs.server.cors import Cors
from moonfs.server.directory import DataDirectory
from moonfs.server.extraction.extractor import Extraction, NoExtraction
from moonfs.server.extraction.processes import adopt_orphans
from moonfs.server.protocol import Protocol

#: How long requests under way may take to end when the server stops, in seconds.
STOP_SECONDS: Final = 2
#: Longer than the 5 s that clients keep a connection, so that it is theirs to drop.
KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 512
#: Descriptors that are asked for, where the system allows them; many start with 1,024, which silent clients use up.
_DESCRIPTORS: Final = 16_384

_log = logging.getLogger(__name__)


class ServeError(Exception):
    """The server cannot listen; the message is one sentence for a person."""


def run(
    data: str | os.PathLike[str],
    *,
    host: str | None = None,
    port: int | None = None,
    socket_path: str | os.PathLike[str] | None = None,
    on_ready: Callable[[Address], None] | None = None,
    exit_with_clients: bool = False,
    make_extractor: Callable[[str], Extraction | NoExtraction] = Extraction,
    behaviour: Behaviour | None = None,
    accounts: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> None:
    """Serve `data` until SIGTERM, SIGINT or, with `exit_with_clients`, until its last client is gone.

    Args:
        data: the data directory; made when it is not there.
        host, port: where to serve TCP; port 0 takes a free one. None for no TCP.
        socket_path: where to serve a UNIX socket, 0600; a stale one is replaced. None for none.
        on_ready: called once it listens and `server.json` says so.
        exit_with_clients: end when nobody holds `clients.lock` any more.
        make_extractor: makes what gets text out of uploads, given a directory; `NoExtraction` for benchmarks.
        behaviour: how it answers.
        accounts: names of further accounts, made when they are not there.
        allowed_hosts: names that a proxy or a container reaches a server on loopback by, besides `localhost`.
        origins: whose pages may read the answers, as `cors.check` returns them.
        around: returns what the requests meet before the application, such as a benchmark's counter.

    Raises:
        ServeError: the address is taken or not ours.
        DirectoryError: the data directory is held by another server, or unusable.
    """
    _allow_many_connections()
    adopt_orphans()
    directory = DataDirectory(data)
    try:
        withdraw(directory.path)
        behaviour = behaviour or Behaviour()
        sockets: list[socket.socket] = []
        base_url = None
        if host is not None:
            sockets.append(_listen_tcp(host, port or 0))
            base_url = _base_url(sockets[-1])
        if socket_path is not None:
            sockets.append(_listen_unix(os.fspath(socket_path)))
        path = None if socket_path is None else os.path.abspath(socket_path)
        with ExitStack() as stack:
            opened = open_accounts(directory, accounts, behaviour, stack)
            stack.callback(withdraw, directory.path)
            if path is not None:
                stack.callback(_unlink, path)
            ready = _Ready(directory.path, Address(os.getpid(), base_url, path), on_ready)
            clients = directory.join(CLIENTS) if exit_with_clients else None
            is_private = host is not None and is_loopback(host)
            hosts = frozenset({"localhost", *(name.lower() for name in allowed_hosts)}) if is_private else None

            def make(extractor: Extraction | NoExtraction) -> ASGIApp:
                return around(make_app(opened, extractor, behaviour, hosts, Cors(frozenset(origins))))

            asyncio.run(_serve(make, partial(make_extractor, directory.workers), sockets, ready, clients))
    finally:
        directory.close()


class _Ready:
    """Says that the server listens: to other processes, then to the caller."""

    def __init__(self, data: str, address: Address, on_ready: Callable[[Address], None] | None) -> None:
        self._data, self._address, self._on_ready = data, address, on_ready

    def __call__(self) -> None:
        publish(self._data, self._address)
        if self._on_ready is not None:
            self._on_ready(self._address)


class _Server(uvicorn.Server):
    """uvicorn, told to stop by an event instead of looking ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def main_loop(self) -> None:
        await self._stop.wait()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `_serve` does it, without ending the process before `run` has cleaned up


async def _serve(
    make: Callable[[Extraction | NoExtraction], ASGIApp],
    make_extractor: Callable[[], Extraction | NoExtraction],
    sockets: list[socket.socket],
    ready: Callable[[], None],
    clients: str | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    extractor = make_extractor()
    endings: list[asyncio.Future[Any]] = []

    def end(why: str) -> None:
        if not stop.is_set():
            _log.info("stopping: %s", why)
            endings.append(asyncio.ensure_future(extractor.close()))  # requests under way get their answer at once
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number.name)
    if clients is not None:
        _watch_clients(clients, partial(loop.call_soon_threadsafe, end, "no client is left"))
    config = uvicorn.Config(
        make(extractor),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,  # uvicorn's needs a clock that ticks; `edge` sets it
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    try:
        await _Server(config, stop, ready).serve(sockets)
    finally:
        await extractor.close()
        await asyncio.gather(*endings, return_exceptions=True)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has one more limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _watch_clients(path: str, gone: Callable[[], object]) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def wait() -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)  # kept to the end: who comes now waits for us to be gone
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            gone()

    threading.Thread(target=wait, name="clients", daemon=True).start()


def _listen_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else each kept-alive request waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise ServeError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --host and --port"
        ) from error
    return listener


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _unlink(path)  # stale: the data's lock says that no other server has it
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = f"{error.strerror or error}".lower()
        if disk.is_refusal(error):
            reason = disk.reason(error, os.path.dirname(path))
        raise ServeError(
            f"cannot listen on the socket {path}: {reason}; or set XDG_RUNTIME_DIR to another directory"
        ) from error
    finally:
        os.umask(mask)
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
