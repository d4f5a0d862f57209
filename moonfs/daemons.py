"""The daemons of drives: how one is found and asked where its directory does not lead to it any more.

A daemon holds the lock of its account and answers at a socket beside it. A drive that is detached here, while a
program or another mount namespace holds it, has no other way in: orders go through its files otherwise. It knows no
mount table, and nothing of files.

**Threading:** a `Door` answers in a thread of its own, one caller at a time; everything else is called by the command
line, or by the main thread of a daemon.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

LOCK: Final = "lock"
SOCKET: Final = "socket"
#: What it is asked: how it is, to end, and to do so where the asker does not have the drive mounted.
_STATUS: Final = b"status"
_END: Final = b"end"
_END_AND_DETACH: Final = b"end and detach"
#: Seconds for an answer about itself, and for one after all that is being written went to the disk.
_ANSWER_SECONDS: Final = 5.0
_END_SECONDS: Final = 60.0
#: Seconds that a caller has for its question.
_QUESTION_SECONDS: Final = 2.0
#: `struct ucred` of socket(7).
_CREDENTIALS: Final = struct.Struct("3i")

#: The stages of a daemon's life.
STARTING, SERVING, ENDING = "starting", "serving", "ending"


class Door:
    """What answers at the socket beside an account's lock; without one where that disk has no sockets."""

    def __init__(
        self,
        folder: Path,
        *,
        status: Callable[[], dict[str, Any]],
        keep: Callable[[], dict[str, Any]],
        leave: Callable[..., None],
    ) -> None:
        """Answer in `folder`, whose lock is held.

        `status()` returns what is told of the drive. Before the end `keep()` makes safe what is to last and returns
        what is told of that; once that is told, `leave(detach=…)` ends the process, or lets it go on with its end.
        With `detach` it takes its drive from its directory.
        """
        self._answers = {_STATUS: status, _END: keep, _END_AND_DETACH: keep}
        self._leave = leave
        self._path = folder / SOCKET
        self._socket: socket.socket | None = None
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()  # of a daemon that was killed: the lock is ours
            with _reach(folder) as short:
                listening.bind(short)
            self._path.chmod(0o600)
            listening.listen()
        except OSError as error:
            listening.close()
            log.warning("No socket in %s, so that a detached drive cannot be asked: %s", folder, error)
            return
        self._socket = listening
        threading.Thread(target=self._serve, args=(listening,), name="moonfs-door", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for callers
            self._socket.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:  # closed
                return
            try:
                question = self._answer(caller)
            except Exception:
                log.exception("A caller could not be answered")
                continue
            if question in (_END, _END_AND_DETACH):
                self._leave(detach=question == _END_AND_DETACH)

    def _answer(self, caller: socket.socket) -> bytes:
        with caller:
            caller.settimeout(_QUESTION_SECONDS)
            try:
                question = caller.recv(64).strip()
            except OSError:  # it asked nothing in time
                return b""
            if (answer := self._answers.get(question)) is not None:
                told = json.dumps(answer()).encode("ascii")  # names that are no UTF-8 too
                with contextlib.suppress(OSError):  # it has not waited
                    caller.sendall(told)
            return question


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that lives.

    Attributes:
        pid: its process; 0 where that is in another process namespace.
        point: where it mounted its drive.
        folder: the state of its account.
    """

    pid: int
    point: str
    folder: Path

    def status(self) -> dict[str, Any] | None:
        """Return its `status.json` with `stage`, `connected` and `device`; None where it does not answer.

        `connected`: the kernel still has its drive, mounted somewhere or held by somebody.
        """
        return _ask(self.folder, _STATUS, _ANSWER_SECONDS)[1]

    def end(self, *, detach: bool) -> dict[str, Any] | None:
        """Have it keep what is being written, and end; return what it kept, None where it does not answer.

        `detach`: where this mount namespace does not have its drive, but its own may.
        """
        return _ask(self.folder, _END_AND_DETACH if detach else _END, _END_SECONDS)[1]

    def lives(self) -> bool:
        """Say whether it has not ended yet."""
        return is_alive(self.pid) if self.pid else _ask(self.folder, b"", _ANSWER_SECONDS)[0] is not None


def of(folder: Path) -> Daemon | None:
    """Return the daemon that has the account whose state is in `folder`, or None."""
    try:
        written = (folder / LOCK).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
    number, _, point = written.removesuffix("\n").partition(" ")
    if not point:
        return None
    peer, _ = _ask(folder, b"", _ANSWER_SECONDS)
    if peer is not None:
        return Daemon(peer, point, folder)
    if number.isdecimal() and has_lock(int(number), folder):  # it has no socket, as those of earlier versions
        return Daemon(int(number), point, folder)
    return None


def living(state: Path) -> list[Daemon]:
    """Return the daemons of this user, whose state is below `state`."""
    folders = [lock.parent for lock in sorted(state.glob(f"accounts/*/{LOCK}"))]
    return [daemon for folder in folders if (daemon := of(folder)) is not None]


def others() -> list[Daemon]:
    """Return the daemons of anybody in this mount namespace, as far as this user may see: root may.

    Those of other namespaces have directories of the same name that are others.
    """
    own = os.readlink("/proc/self/ns/mnt")
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") == own:
                found += [daemon for folder in _locks(pid) if (daemon := of(folder)) is not None and daemon.pid == pid]
    return found


def has_lock(pid: int, folder: Path) -> bool:
    """Say whether a process has the lock in `folder` open, as only its daemon does for long."""
    return folder in _locks(pid)


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def is_connected() -> bool:
    """Say whether the kernel still has the drive of this process: later `/dev/fuse` polls as an error (fuse(4))."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                poll = select.poll()
                poll.register(int(name), 0)
                return not poll.poll(0)
    return False


def _locks(pid: int) -> set[Path]:
    """Return the folders whose account's lock a process has open, as far as this user may see."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/{pid}/fd/{name}")
                if path.endswith(f"/{LOCK}") and "/moonfs/accounts/" in path:
                    found.add(Path(path).parent)
    return found


def _ask(folder: Path, question: bytes, seconds: float) -> tuple[int | None, dict[str, Any] | None]:
    """Return the process that listens in `folder`, None for none, and what it answers to a question, if any."""
    peer = None
    try:
        with _reach(folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(seconds)
            line.connect(short)
            peer = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
            if not question:
                return peer, None
            line.sendall(question + b"\n")
            answer = json.loads(b"".join(iter(lambda: line.recv(65536), b"")))
            return peer, answer if isinstance(answer, dict) else None
    except (OSError, ValueError):
        return peer, None


@contextlib.contextmanager
def _reach(folder: Path) -> Iterator[str]:
    """Yield a short path of the socket in `folder`: one of a socket holds 107 bytes (unix(7))."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)
