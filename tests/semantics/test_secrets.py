"""The key stays where it belongs (X1), and what is written is for the owner only (X2)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from moonfs.server.address import read_address, read_key
from tests.conftest import Faulty
from tests.faults.server import FaultServer, Turn, error, redirect, refused
from tests.harness.drive import Drive, end_server, local

pytestmark = [pytest.mark.fuse, pytest.mark.started]


def busy(drive: Drive, server: FaultServer) -> None:
    """Do a little of everything, failures that repeat the key included."""

    def parrot(turn: Turn) -> None:
        turn.read()
        turn.send(error(400, f"the key {server.key} may not do that, says Bearer {server.key}"))

    server.add("theirs.txt", b"theirs")
    (drive / "mine.txt").write_text("mine")
    (drive / "mine.txt.content").read_bytes()
    (drive / "empty.txt").touch()
    (drive / ".begun.swp").write_text("begun")
    server.script("upload", parrot, refused(401, f"Incorrect API key provided: {server.key}"))
    server.script("content", redirect(f"https://elsewhere.example/?key={server.key}"))
    for name in ("one.txt", "two.txt"):
        with suppress(OSError):
            (drive / name).write_text("hello")
    with suppress(OSError):
        (drive / "theirs.txt.content").read_bytes()


def test_the_key_is_nowhere(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """X1: not in a command line, the mount table, a log, the errors, the status or any file of the drive."""
    drive = faulty("debug").drive
    busy(drive, service)
    shown = {
        "mount table": Path("/proc/self/mountinfo").read_bytes(),
        "status": (drive / ".moonfs" / "status.json").read_bytes(),
        "errors": (drive / ".moonfs" / "errors.ndjson").read_bytes(),
        "status command": drive.command("status").stdout.encode(),
    }
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            shown[str(process)] = process.read_bytes()
    for path in drive.home.rglob("*"):
        if drive.point not in path.parents and path.is_file():
            shown[str(path)] = path.read_bytes()
    drive.umount()
    for path in drive.home.rglob("*"):
        if path.is_file():
            shown[f"{path} after the unmount"] = path.read_bytes()
    assert [where for where, what in shown.items() if service.key.encode() in what] == []
    assert len(drive.log()) > 100
    assert any(b"[key]" in what for what in shown.values())


def test_the_local_key_is_in_its_file_only(fuse: None, tmp_path: Path) -> None:
    """X1: the embedded server's key is in its 0600 file, and in no command line or log."""
    with Drive(tmp_path, *local(tmp_path / "files")) as drive:
        drive.mount("debug")
        (drive / "a.txt").write_text("hello")
        key = read_key(tmp_path / "files").encode()
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                assert key not in process.read_bytes()
        files = [path for path in tmp_path.rglob("*") if drive.point not in path.parents and path.is_file()]
        assert [path.name for path in files if key in path.read_bytes()] == ["key"]
        assert stat.S_IMODE((tmp_path / "files" / "key").stat().st_mode) == 0o600
    end_server(tmp_path / "files")


def too_open(*tops: Path) -> list[str]:
    """Return what below `tops` anybody else could look into."""
    return [
        f"{path}: {stat.filemode(path.lstat().st_mode)}"
        for top in tops
        for path in (top, *top.rglob("*"))
        if path.lstat().st_mode & 0o077
    ]


def test_everything_is_for_the_owner_only(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """X2: cache, spool, journal and log are 0700 and 0600, whatever the umask."""
    with Drive(tmp_path) as drive:
        drive.environ |= {"MOONSHOT_BASE_URL": service.base_url, "MOONSHOT_API_KEY": service.key}
        assert drive.try_mount("debug", umask=0).returncode == 0
        busy(drive, service)
        with open(drive / "open.txt", "wb", buffering=0) as file:
            file.write(b"being written")
            assert too_open(*tmp_path.glob("*/moonfs")) == []
        assert stat.S_IMODE(drive.point.stat().st_mode) == 0o700
        drive.umount()
        assert len(list(tmp_path.glob("*/moonfs/accounts/*"))) == 2
        assert too_open(*tmp_path.glob("*/moonfs")) == []


def test_the_local_servers_files_too(fuse: None, tmp_path: Path) -> None:
    """X2: the local Files API keeps documents and texts for the owner only."""
    with Drive(tmp_path, *local(tmp_path / "files")) as drive:
        assert drive.try_mount(umask=0).returncode == 0
        (drive / "a.txt").write_text("hello")
        (drive / "a.txt.content").read_bytes()
        assert too_open(tmp_path / "files") == []
    end_server(tmp_path / "files")


def test_each_directory_is_closed_by_the_next_mount(fuse: None, tmp_path: Path) -> None:
    """X2: all that are made are 0700, parents too; what was open is closed, a link of one's own stays one."""
    with Drive(tmp_path / "home", ("--local",)) as drive:
        runtime = Path(drive.environ["XDG_RUNTIME_DIR"]) / "moonfs"
        assert drive.try_mount(umask=0).returncode == 0
        ours = [*drive.home.glob("*/moonfs"), runtime]
        assert too_open(*ours) == [] and {path.parent.name for path in ours} >= {"data", "state", "cache"}
        drive.umount()
        elsewhere = tmp_path / "large"
        (drive.home / "cache" / "moonfs").rename(elsewhere)
        (drive.home / "cache" / "moonfs").symlink_to(elsewhere)
        (drive.home / "config" / "moonfs").mkdir(parents=True)
        ours = [*drive.home.glob("*/moonfs"), runtime]
        for path in ours:
            path.chmod(0o755)
        drive.mount()
        assert {stat.S_IMODE(path.stat().st_mode) for path in ours} == {0o700}
        assert (drive.home / "cache" / "moonfs").is_symlink()
        drive.umount()
    end_server(tmp_path / "home" / "data" / "moonfs" / "local")


def test_others_are_not_let_in(both: Faulty) -> None:
    """X2: `allow_other` is off by default; another user sees nothing, root's own processes included in the test."""
    options = next(
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {both.drive.point} " in line
    )
    assert "allow_other" not in options
    if os.geteuid() == 0:
        (both.drive / "mine.txt").write_text("mine")
        for parent in both.drive.point.parents:
            if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        done = both.drive.shell('ls "$DIR"', user="nobody", group="nogroup")
        assert done.returncode != 0
        assert "ermission denied" in done.stderr


def test_the_local_server_has_no_key_of_the_hosted_service(fuse: None, tmp_path: Path) -> None:
    """X1: it outlives the drive that started it, and its environment can be read as long."""
    with Drive(tmp_path, *local(tmp_path / "files")) as drive:
        drive.environ |= {"MOONSHOT_API_KEY": "sk-hosted-0123456789", "KIMI_API_KEY": "sk-hosted-0123456789"}
        drive.mount()
        server = read_address(tmp_path / "files")
        assert server is not None
        assert keyed(server.pid, drive.pid) == []
    end_server(tmp_path / "files")


def keyed(*pids: int) -> list[int]:
    """Return which processes have a key of the hosted service in their environment."""
    found = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in pids}
    assert all(b"HOME=" in environ for environ in found.values())
    return [pid for pid, environ in found.items() if b"sk-hosted" in environ or b"API_KEY" in environ]


def test_a_local_server_that_was_started_by_hand_neither(fuse: None, tmp_path: Path) -> None:
    """X1: `moonfs serve` needs no key of the hosted service."""
    drive = Drive(tmp_path)
    environ = {**drive.environ, "MOONSHOT_API_KEY": "sk-hosted-0123456789", "KIMI_API_KEY": "sk-hosted-0123456789"}
    command = [sys.executable, "-m", "moonfs", "serve", "--port", "0", "--data", str(tmp_path / "files")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "Serving" in process.stdout.readline()
        assert keyed(process.pid) == []
        process.terminate()


def test_a_drive_of_the_hosted_service_neither(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """X1: once the daemon has its key, nobody can read it in `/proc/PID/environ`; what else is there stays."""
    drive = faulty().drive
    environ = Path(f"/proc/{drive.pid}/environ").read_bytes()
    assert service.key.encode() not in environ
    assert b"MOONSHOT_BASE_URL=" + service.base_url.encode() in environ.split(b"\0")


def test_each_log_is_for_the_owner_only(faulty: Callable[..., Faulty]) -> None:
    """X2: also the one that begins when the first is full, and one that an earlier version has left open."""
    drive = faulty().drive
    drive.umount()
    (log,) = drive.home.rglob("moonfs.log")
    old = log.with_name("moonfs.log.1")
    for path in (log, old):
        path.write_text("an earlier line\n" * 65_536)
        path.chmod(0o644)
    assert drive.try_mount(umask=0o022).returncode == 0
    (drive / "a.txt").write_text("a line of the log comes")
    (drive / "a.txt").unlink()
    assert log.stat().st_size < old.stat().st_size
    assert [stat.S_IMODE(path.stat().st_mode) for path in (log, old)] == [0o600, 0o600]
