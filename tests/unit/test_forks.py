"""What is forked is what would be started: `tests/harness/forks.py` against subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import forks
from tests.harness.drive import Drive

COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "success": (("--version",), ""),
    "misuse": (("mount", "--nonsense"), ""),
    "refusal": (("status", "/nowhere/at all/名"), ""),
    "input": (("key", "set", "--profile", "work"), "sk-a\n"),
    "no input": (("key", "set"), ""),
    "the working directory": (("umount", "."), ""),
    "a name that is no UTF-8": (("umount", os.fsdecode(b"\xff.txt")), ""),
    "the environment": (("config",), ""),
}


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    """A home, and commands for it; nothing is mounted."""
    with Drive(tmp_path / "home") as drive:
        yield drive


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Return the processes that were forked so far."""
    found: list[int] = []
    fork = forks._Server.fork

    def noted(*arguments: Any) -> tuple[int, Any]:
        made = fork(*arguments)
        found.append(made[0])
        return made

    monkeypatch.setattr(forks._Server, "fork", noted)
    forks.may_fork(True)
    return lambda: found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_comes_of_it(name: str, drive: Drive, forked: Callable[[], list[int]]) -> None:
    """Status, output and errors of a command are those that it has when it is started."""
    command, told = COMMANDS[name]
    environ = {**drive.environ, "MOONFS_REQUESTS": "7"}
    first = drive.command(*command, told=told, env=environ)
    assert len(forked()) == (not os.environ.get("MOONFS_TEST_EXEC"))
    forks.may_fork(False)
    for path in (drive.home / "config").rglob("*"):
        path.is_file() and path.unlink()
    second = drive.command(*command, told=told, env=environ)
    assert len(forked()) <= 1
    assert (first.args, first.returncode, first.stdout, first.stderr) == (
        second.args, second.returncode, second.stdout, second.stderr,
    )  # fmt: skip


def test_it_is_a_process_of_its_own(drive: Drive, forked: Callable[[], list[int]], tmp_path: Path) -> None:
    """Signals reach it alone, it is found by its command line, and it holds no descriptor but its own."""
    command = ["-m", "moonfs", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    held, status = [], []
    for may in (True, False):
        forks.may_fork(may)
        with forks.Popen(command, env=drive.environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline()
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            assert words == [os.fsencode(word) for word in (sys.executable, *command)]
            held.append(len(os.listdir(f"/proc/{process.pid}/fd")))
            assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
            process.kill()
            status.append(process.wait(60))
    assert held[0] == held[1] and status == [-signal.SIGKILL, -signal.SIGKILL]


@pytest.mark.parametrize(
    "options",
    [{"umask": 0}, {"start_new_session": True}, {"env": {"LANG": "C", "HOME": "/"}}, {"pass_fds": (2,)}],
    ids=str,
)
def test_what_a_fork_cannot_have_is_started(
    options: dict[str, Any], drive: Drive, forked: Callable[[], list[int]]
) -> None:
    """Options and variables that count at the start of a process."""
    if "env" in options:
        options = {"env": {**drive.environ, **options["env"], "PYTHONUTF8": "0"}}
    assert drive.command("--version", **options).stdout.startswith("moonfs ")
    assert forked() == []


def test_who_waits_too_long_ends_it(drive: Drive, forked: Callable[[], list[int]], tmp_path: Path) -> None:
    """A time-out kills the command."""
    with pytest.raises(subprocess.TimeoutExpired):
        drive.command("serve", "--port", "0", "--data", str(tmp_path / "data"), timeout=1)
    for pid in forked():
        assert not Path(f"/proc/{pid}").exists()
