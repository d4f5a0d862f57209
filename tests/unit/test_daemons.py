"""The door of a daemon: who answers there, what is asked, and who counts as alive."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from moonfs import daemons
from moonfs.daemons import Daemon, Door


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the state of an account, at a path that is longer than a socket's may be (unix(7))."""
    found = tmp_path / ("long" * 30) / "moonfs" / "accounts" / "0123456789abcdef"
    found.mkdir(parents=True)
    (found / daemons.LOCK).write_text(f"{os.getpid()} /mnt/my moon\n")
    return found


def door(folder: Path, left: Callable[..., None] = lambda **_: None, **told: Any) -> Door:
    return Door(folder, status=lambda: told, keep=lambda: {"kept": ["a.txt"]}, leave=left)


def test_what_a_daemon_says(folder: Path) -> None:
    """L2: it is found by its account's lock, tells how it is, and when it is told to end, what it keeps, first."""
    left: SimpleQueue[bool] = SimpleQueue()
    opened = door(folder, lambda *, detach: left.put(detach), stage="serving", mountpoint="/mnt/\udce9")
    found = daemons.of(folder)
    assert found == Daemon(os.getpid(), "/mnt/my moon", folder) and found.lives()
    assert found.status() == {"stage": "serving", "mountpoint": "/mnt/\udce9"} and left.empty()
    for detach in (True, False):
        assert found.end(detach=detach) == {"kept": ["a.txt"]} and left.get(timeout=60) is detach
    assert daemons.living(folder.parents[1]) == [found]
    opened.close()
    assert daemons.of(folder) is None and found.status() is None and not (folder / daemons.SOCKET).exists()


def test_what_a_daemon_that_was_killed_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L2: its lock and its socket are no daemon, and the next one takes their place."""
    with socket.socket(socket.AF_UNIX) as dead:
        monkeypatch.chdir(folder)
        dead.bind(daemons.SOCKET)
    assert daemons.of(folder) is None
    opened = door(folder)
    assert daemons.of(folder) is not None and os.stat(folder / daemons.SOCKET).st_mode & 0o777 == 0o600
    opened.close()


def test_a_caller_who_asks_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: the next one is answered all the same; so it is after an answer that failed."""
    monkeypatch.setattr(daemons, "_QUESTION_SECONDS", 0.05)
    answers = iter([RuntimeError(), {"pid": 1}])

    def status() -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    opened = Door(folder, status=status, keep=dict, leave=lambda **_: None)
    found = daemons.of(folder)
    assert found is not None
    with daemons._reach(folder) as short, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(short)
        assert found.status() is None and found.status() == {"pid": 1}
    opened.close()


def test_a_daemon_without_a_door(folder: Path) -> None:
    """L2: whoever has the lock open is the daemon whose number is in it; a number that is used anew is not."""
    assert daemons.of(folder) is None
    with open(folder / daemons.LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert daemons.of(folder) == Daemon(os.getpid(), "/mnt/my moon", folder)
        assert folder in [other.folder for other in daemons.others()]
        (folder / daemons.LOCK).write_text("")  # it is being written
        assert daemons.of(folder) is None


def test_a_disk_without_sockets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: a drive mounts there too."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)
    door(folder).close()
    assert daemons.of(folder) is None


def test_whether_the_kernel_has_a_drive() -> None:
    """L2: `/dev/fuse` that is not, or no longer, mounted polls as an error."""
    assert not daemons.is_connected()
    if os.access("/dev/fuse", os.R_OK | os.W_OK):
        code = "import os\nfrom moonfs import daemons\nos.open('/dev/fuse', os.O_RDWR)\nprint(daemons.is_connected())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "False\n"


def test_processes_that_live_and_those_that_do_not() -> None:
    """L2: waiting for the daemon ends when it is gone, or a zombie that nobody has waited for."""
    assert daemons.is_alive(os.getpid()) and not daemons.is_alive(2**22 + 1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    while daemons.is_alive(child):
        pass
    os.waitpid(child, 0)
