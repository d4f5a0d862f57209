"""Who opened a file, and whether they have it still; by real processes."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs import openers
from moonfs.openers import Opener, group_of
from tests.harness.drive import wait_until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        yield process
        process.kill()


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_a_process_is_its_threads(child: subprocess.Popen[bytes]) -> None:
    """W1: by thread group; FUSE tells the thread that asks."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend([it := threading.get_native_id(), group_of(it)]))
    thread.start()
    thread.join()
    assert found[0] != os.getpid() and found[1] == os.getpid()
    wait_until(lambda: not Path(f"/proc/{found[0]}").exists(), "the end of the thread")
    opener = Opener(found[0])  # it has ended, and is taken for nobody
    assert opener.is_process_of(child.pid) and not opener.has_open(1)
    opener = Opener(os.getpid())
    assert opener.is_process_of(os.getpid()) and not opener.is_process_of(child.pid)


@pytest.mark.parametrize("thread", [0, 2**22 + 1])
def test_who_is_not_known_is_the_opener(thread: int) -> None:
    """W1: 0 is another process namespace, or the kernel; the other number is nobody's here."""
    assert group_of(thread) == 0
    assert Opener(os.getpid()).is_process_of(thread) and Opener(thread).is_process_of(os.getpid())


def test_proc_of_another_namespace_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """W1: where /proc counts by other numbers than FUSE does, everybody counts as the opener."""
    monkeypatch.setattr(openers.os, "readlink", lambda _path: "1")
    assert group_of(os.getpid()) == 0


def test_it_has_it_open_for_writing(tmp_path: Path) -> None:
    """W1: a descriptor for reading is none that will store."""
    path = tmp_path / "a"
    opener = Opener(os.getpid())
    with path.open("w"):
        assert opener.has_open(inode(path)) and not opener.has_open(inode(path) + 1)
    with path.open("r"):
        assert not opener.has_open(inode(path))
    with path.open("r+"):
        assert opener.has_open(inode(path))


def test_it_is_gone(tmp_path: Path) -> None:
    """W1: also while it is a zombie."""
    path = tmp_path / "a"
    with path.open("w") as file:
        other = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    opener = Opener(other.pid)
    assert opener.has_open(inode(path))
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert not opener.has_open(inode(path))
    other.communicate()
    assert not opener.has_open(inode(path))


def test_its_number_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W1: a process that began after the open is another one."""
    monkeypatch.setattr(openers.time, "clock_gettime_ns", lambda _clock: 0)
    path = tmp_path / "a"
    with path.open("w"):
        assert not Opener(os.getpid()).has_open(inode(path))
