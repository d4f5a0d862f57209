"""The client's side of an embedded server: attach to the server of a data directory, or start it.

A server lives as long as one process holds a shared lock on `clients.lock`; the kernel drops the lock of a
client that is killed, so a server never outlives its mounts. Standard library only: no HTTP library, no
extra.

**Threading:** `attach` blocks its caller and may be called by any process or thread at once; `spawn.lock`
orders them. An `Embedded` is closed once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from moonfs import disk, wire
from moonfs.server.address import (
    CLIENTS,
    SPAWN,
    Address,
    make_private,
    make_runtime,
    read_address,
    read_key,
    socket_path,
)
from moonfs.server.dialect import EMBEDDED, flags
from moonfs.server.marker import NotOurs, claim

_PAUSE: Final = 0.02
_PROBE_SECONDS: Final = 5.0
#: Longest path of a UNIX socket on Linux, in bytes.
_SUN_PATH: Final = 107

#: Where `moonfs` is imported from; the working directory, where anything may lie, is not searched.
_ROOT: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

Path = str | os.PathLike[str]


#: Variables of the drive that hold keys of the hosted service (X1).
_KEYS: Final = ("MOONSHOT_API_KEY", "KIMI_API_KEY")


class EmbedError(RuntimeError):
    """No server could be had; the message is one sentence for a person."""


@dataclass(slots=True)
class Embedded:
    """A server in use; a context manager. It ends after its last user has closed or died.

    Attributes:
        socket: path of its UNIX socket.
        key: its API key.
        pid: its process id.
    """

    socket: str
    key: str
    pid: int
    _lock: int

    def media(self, reference: str) -> tuple[bytes, str]:
        """Return (bytes, media type) of the image or video that a chat refers to as `ms://ID`; blocks.

        For whoever puts a model of their own beside the server: the hosted service resolves such references itself.

        Raises:
            EmbedError: it is no such reference, or what it refers to is not there (any more).
            OSError: the server does not answer.
        """
        file_id = reference.removeprefix("ms://")
        if file_id == reference or not wire.is_valid_id(file_id):
            raise EmbedError(f"{reference!r:.200} is no reference to a file, such as ms://ID")
        try:
            status, kind, body = _get(self.socket, self.key, f"/ms/{file_id}")
        except http.client.HTTPException as error:
            raise OSError(f"the local Files API broke off: {error}") from error
        if status != 200:
            raise EmbedError(f"{reference} refers to no image or video of this account (HTTP {status})")
        return body, kind

    def close(self) -> None:
        """Use the server no more; harmless twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach(data: Path, runtime_dir: Path, log_path: Path, timeout: float = 30.0) -> Embedded:
    """Return the live server of `data`, started now if there is none.

    Args:
        data: the data directory; made 0700 when it is not there.
        runtime_dir: where the socket goes; made 0700. Short, as a socket's path holds 107 bytes only.
        log_path: where the output of a started server goes; appended to, made 0600.
        timeout: seconds until it must answer.

    Raises:
        EmbedError: it does not come up: the extra is missing, the disk full, the data held by another; or `data` is a
            directory with files of somebody's own.
    """
    deadline = time.monotonic() + timeout
    try:
        claim(data)
        make_private(os.path.dirname(os.path.abspath(log_path)))
        make_runtime(runtime_dir)
        lock = _locked(os.path.join(data, CLIENTS), fcntl.LOCK_SH, deadline)
    except NotOurs as error:
        raise EmbedError(str(error)) from error
    except OSError as error:
        place = disk.where(error, (data, runtime_dir)) or data
        raise EmbedError(f"the local Files API cannot be started: {disk.reason(error, place)}") from error
    try:
        with _turn(data, deadline):
            address = _live(data) or _spawned(data, runtime_dir, log_path, deadline)
        assert address.socket is not None
        return Embedded(address.socket, read_key(data), address.pid, lock)
    except BaseException:
        os.close(lock)
        raise


def health(path: str) -> dict[str, Any]:
    """Return what the server at a UNIX socket says of itself (`GET /healthz`, which needs no key).

    Raises:
        OSError: it does not answer.
    """
    try:
        status, _, body = _get(path, "", "/healthz")
        found = json.loads(body)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"the local Files API broke off: {error}") from error
    if status != 200 or not isinstance(found, dict):
        raise OSError(f"the local Files API answers {status}")
    return found


def _spawned(data: Path, runtime_dir: Path, log_path: Path, deadline: float) -> Address:
    path = socket_path(os.path.abspath(data), os.path.abspath(runtime_dir))
    if len(os.fsencode(path)) > _SUN_PATH:
        raise EmbedError(f"the path of the server's socket is too long: {path}; set XDG_RUNTIME_DIR to a shorter one")
    command = [
        sys.executable,
        "-P",
        "-X",
        "utf8",
        "-m",
        "moonfs.server",
        "--data",
        os.path.abspath(data),
        "--socket",
        path,
        *flags(EMBEDDED),
    ]
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        start = os.fstat(log).st_size
        child = subprocess.Popen(
            [*command, "--exit-with-clients"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(log)
    while time.monotonic() < deadline:
        address = _live(data)
        if address is not None:
            _let_go(child)
            return address
        if child.poll() is not None:
            address = _live(data)  # a `moonfs serve` was quicker
            if address is not None:
                return address
            raise EmbedError(
                f"the local Files API did not start (its log: {os.fspath(log_path)}): {_last_line(log_path, start)}"
            )
        time.sleep(_PAUSE)
    child.kill()
    child.wait()
    raise EmbedError(
        f"the local Files API did not answer in time (its log: {os.fspath(log_path)}): {_last_line(log_path, start)}"
    )


def _environment() -> dict[str, str]:
    """Return the server's environment: it outlives whoever starts it, and keys of the hosted service are not its."""
    path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    return {name: value for name, value in os.environ.items() if name not in _KEYS} | {"PYTHONPATH": path}


def _let_go(child: subprocess.Popen[bytes]) -> None:
    # The server is nobody's to wait for; without this, Popen would warn of a child still running.
    child.returncode = 0


def _live(data: Path) -> Address | None:
    """Return the address of the server that answers for `data`, or None."""
    address = read_address(data)
    if address is None or address.socket is None:
        return None
    try:
        key = read_key(data)
        status, _, _ = _get(address.socket, key, "/v1/files/-")
    except (OSError, ValueError, http.client.HTTPException):
        return None
    # 404 shows that it knows the key; so does 429, of a server that was told to be busy.
    return address if status in (404, 429) else None


def _get(path: str, key: str, target: str) -> tuple[int, str, bytes]:
    """Return (status, media type, body) of a GET over the UNIX socket. Raises OSError and HTTPException."""
    with contextlib.closing(_UnixConnection(path)) as connection:
        connection.request("GET", target, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PROBE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PROBE_SECONDS)
        self.sock.connect(self._path)
        credentials = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in (os.geteuid(), 0):  # unix(7): the user who listens
            self.sock.close()
            raise PermissionError(errno.EPERM, "another user serves this socket", self._path)


@contextlib.contextmanager
def _turn(data: Path, deadline: float) -> Iterator[None]:
    """Hold `spawn.lock`: of several that attach at once, one starts the server and the others find it."""
    handle = _locked(os.path.join(data, SPAWN), fcntl.LOCK_EX, deadline)
    try:
        yield
    finally:
        os.close(handle)


def _locked(path: str, kind: int, deadline: float) -> int:
    """Return a descriptor that holds the lock; it is not inherited. A server that ends holds it shortly."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise EmbedError(
                    f"another process holds {path}, so the local Files API cannot be reached; fuser -v {path} shows it"
                ) from None
            time.sleep(_PAUSE)
        except BaseException:
            os.close(handle)
            raise


def _last_line(log_path: Path, start: int) -> str:
    with open(log_path, "rb") as stream:
        stream.seek(start)
        lines = stream.read()[-10_000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("moonfs: ") if lines else "it said nothing, as when the disk is full"
