"""Who holds a filesystem, as `/proc` says it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from moonfs import holders
from moonfs.holders import Holder, Holders
from tests.harness.drive import wait_until


@contextlib.contextmanager
def sleeping(*arguments: str, cwd: Path | None = None) -> Iterator[int]:
    """Run sleep(1), and yield its number once it has its command line."""
    with subprocess.Popen(["sleep", "1000", *arguments], cwd=cwd) as process:
        try:
            wait_until(lambda: holders._command(process.pid).startswith("sleep"), "it has begun")
            yield process.pid
        finally:
            process.kill()


def device(path: Path) -> str:
    number = os.stat(path).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def test_how_it_is_said() -> None:
    """L2: the first few, how many more, and what could not be seen where that matters."""
    few = tuple(Holder(pid, "sleep 9", "working directory") for pid in range(1, 7))
    assert str(Holders(few[:1])) == "1 sleep 9 (working directory)"
    assert str(Holders(few)).endswith("4 sleep 9 (working directory), 2 more")
    assert str(Holders(few[:4])).endswith("4 sleep 9 (working directory)")
    assert str(Holders(points=("/srv/moon",))) == "its mount on /srv/moon"
    assert "/proc does not show" in str(Holders())
    assert "perhaps one of 7 processes" in str(Holders(closed=7)) and "7" not in str(Holders(few[:1], closed=7))
    assert str(Holders(few[:1], hidden=1)).endswith("perhaps one of 1 process that you may not look at")


def test_a_process_is_found_by_what_it_uses(tmp_path: Path) -> None:
    """L2: by the device, whatever the path; not those that are said to be known, nor this one."""
    with sleeping(cwd=tmp_path) as pid:
        found = holders.find(device(tmp_path))
        assert Holder(pid, "sleep 1000", "working directory") in found.processes
        assert os.getpid() not in [holder.pid for holder in found.processes]
        assert pid not in [holder.pid for holder in holders.find(device(tmp_path), besides={pid}).processes]


def test_what_nobody_uses() -> None:
    """L2: a device that is not there has no holder."""
    assert holders.find("0:999999").processes == () and holders.find("0:999999").points == ()


def test_a_long_command_is_cut() -> None:
    """L2: a sentence stays one."""
    with sleeping(*["0"] * 100) as pid:
        shown = holders._command(pid)
        assert shown.startswith("sleep 1000 0 0") and shown.endswith("…") and len(shown) == 40
    assert holders._command(2**22 + 1) == "?"


def test_the_kernels_own_threads_hold_nothing() -> None:
    """L2: they are in the first namespace, whatever is mounted there."""
    assert not holders._is_kernels(os.getpid()) and holders._is_kernels(2**22 + 1)
    assert os.getpid() in holders._processes() and 2 not in holders._processes()
