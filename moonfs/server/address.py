"""Where the server of a data directory is found: its key, its `server.json`, the name of its socket; all of it private.

The one place that knows these names, for the server and for its clients. It opens no connection.
Standard library only.

**Threading:** pure functions on files; `create_key` and `publish` are for the holder of the data's lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass

KEY = "key"
ACCOUNTS = "accounts"
SERVER = "server.json"
LOCK = "lock"
CLIENTS = "clients.lock"
SPAWN = "spawn.lock"


@dataclass(frozen=True, slots=True)
class Address:
    """What a listening server says of itself in `server.json`.

    Attributes:
        pid: its process id.
        base_url: where it serves TCP, such as `http://127.0.0.1:8787/v1`; None where it does not.
        socket: path of its UNIX socket; None where it has none.
    """

    pid: int
    base_url: str | None
    socket: str | None


def read_key(data: str | os.PathLike[str]) -> str:
    """Return the API key of the data directory.

    Raises:
        OSError: no server was ever started on it, or the file is not readable.
        ValueError: the file is empty.
    """
    with open(os.path.join(data, KEY), encoding="ascii") as stream:
        key = stream.read().strip()
    if not key:
        raise ValueError(f"{os.path.join(data, KEY)} is empty; remove it, and the next start makes a new one")
    return key


def create_key(data: str | os.PathLike[str]) -> str:
    """Return the API key of the data directory, made at random and stored 0600 at the first call."""
    try:
        return read_key(data)
    except (FileNotFoundError, ValueError):
        key = "sk-local-" + secrets.token_urlsafe(32)
        _write_private(os.path.join(data, KEY), key + "\n")
        return key


def publish(data: str | os.PathLike[str], address: Address) -> None:
    """Write `server.json`, 0600, at once or not at all."""
    _write_private(os.path.join(data, SERVER), json.dumps(asdict(address)) + "\n")


def withdraw(data: str | os.PathLike[str]) -> None:
    """Remove `server.json`, if it is there."""
    try:
        os.unlink(os.path.join(data, SERVER))
    except FileNotFoundError:
        pass


def read_address(data: str | os.PathLike[str]) -> Address | None:
    """Return what the last server wrote, or None; whether that server still answers is another matter."""
    try:
        with open(os.path.join(data, SERVER), encoding="utf-8") as stream:
            value = json.load(stream)
        pid, base_url, path = value["pid"], value["base_url"], value["socket"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(pid, int) or not isinstance(base_url, str | None) or not isinstance(path, str | None):
        return None
    return Address(pid, base_url, path)


def socket_path(data: str | os.PathLike[str], runtime_dir: str | os.PathLike[str]) -> str:
    """Return the path of the UNIX socket for `data`: a short hashed name, as 107 bytes are the limit."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(data))).hexdigest()
    return os.path.join(runtime_dir, f"files-{digest[:12]}.sock")


def make_private(path: str | os.PathLike[str]) -> None:
    """Make a directory and the parents that are missing, each of them 0700; what is there stays as it is.

    `os.makedirs` gives its mode to the last of them alone.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode=0o700)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def is_loopback(host: str) -> bool:
    """Say whether `host`, an address or a name, is this machine alone; nothing is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _write_private(path: str, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")  # made 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
