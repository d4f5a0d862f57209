"""`moonfs status` on real drives: once, live, for scripts; uploads with their progress; what a start waits for."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Faulty, Pair
from tests.faults.server import FaultServer, refused
from tests.harness.drive import SECONDS, Drive, hosted, wait_until, without_scope
from tests.harness.gate import Gate
from tests.harness.programs import needs
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.fuse


def test_an_upload_with_its_progress(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """An upload that is sent, or whose answer is waited for, is there with its bytes, and gone when it is over."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.before)
    (drive / "big.txt").write_bytes(b"x" * 3_000_000)
    gate.wait()
    wait_until(lambda: drive.status()["uploads"]["under_way"], "it is under way")
    (upload,) = drive.status()["uploads"]["under_way"]
    assert (upload["name"], upload["size"]) == ("big.txt", 3_000_000) and 0 <= upload["sent"] <= 3_000_000
    assert upload["state"] in ("sending", "being read") and upload["seconds"] >= 0
    text = drive.command("status", str(drive.point)).stdout
    assert "big.txt" in text and "1 to go (2.9 MB)" in text
    gate.opened.set()
    wait_until(lambda: drive.status()["uploads"]["done"] == 1, "it is over")
    assert not drive.status()["uploads"]["under_way"]


def test_what_failed_and_why(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1: the file, the reason in English; the account and its quota."""
    drive = faulty().drive
    service.script("upload", refused(400, "没有解析出内容"))
    with pytest.raises(OSError):
        (drive / "blank.pdf").write_bytes(b"%PDF-1.4")
    done = drive.command("status", str(drive.point))
    assert done.returncode == 0 and "\x1b" not in done.stdout
    for part in (
        "Not uploaded",
        "blank.pdf: the service found no text",
        service.base_url,
        "of 1,000",
        str(drive.point),
    ):
        assert part in done.stdout, part
    assert "没有" not in done.stdout


@pytest.mark.parametrize(
    "mend", ['mv "$DIR/main.rs" "$DIR/main.txt"', 'rm "$DIR/main.rs"', 'cp /etc/hostname "$DIR/main.rs"']
)
@pytest.mark.parametrize("mode", ["", "write_back"])
def test_a_refusal_that_is_mended(faulty: Callable[..., Faulty], service: FaultServer, mode: str, mend: str) -> None:
    """E1: once the file is renamed, deleted, or written anew and taken, nothing advises to do so, at the next mount
    neither; the record keeps it, and what else failed.
    """
    drive = faulty(mode).drive
    service.script("upload", refused(400, "不支持的文件类型"))
    drive.shell('cp /etc/passwd "$DIR/main.rs"; mkdir "$DIR/sub"')
    wait_until(lambda: drive.status()["uploads"]["failed"], "it is refused")
    assert "main.rs: the service does not take" in drive.command("status").stdout
    drive.shell(mend)
    drive.command("sync", str(drive.point))
    for _ in range(2):
        shown = drive.command("status", str(drive.point)).stdout
        assert "main.rs" not in shown and "mkdir sub: Cannot make sub" in shown
        assert "main.rs" in drive.command("logs", "--errors", str(drive.point)).stdout
        failed = drive.errors()
        assert [each["name"] for each in failed if each["operation"] != "mkdir"] == ["main.rs"], failed
        drive.remount()


def test_live_on_a_terminal(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """--watch follows what happens, ends well at Ctrl-C, and sends nothing (L4)."""
    needs("tmux")
    drive = faulty("write_back", "listing_ttl=0").drive
    with Terminal(f"trap : INT; {drive.moonfs()} status --watch {drive.point}", drive) as terminal:
        terminal.shows(str(drive.point), "0 of 1,000", "0 done")
        before = service.count()
        gate = Gate()
        service.script("upload", gate.before)
        (drive / "big.txt").write_bytes(b"x" * 3_000_000)
        terminal.shows("big.txt", "1 to go", "being read")
        gate.opened.set()
        terminal.until(lambda shown: "1 done" in shown and "to go" not in shown, "it is over")
        assert {seen.operation for seen in service.seen[before:]} <= {"list", "upload"}
        quiet = service.count()
        terminal.shows("1 of 1,000")
        assert service.count() == quiet
        terminal.presses("C-c")
        assert terminal.status() == 0


def test_live_until_the_end(faulty: Callable[..., Faulty]) -> None:
    """--watch DIR ends when the drive does; --json gives a line each time, for scripts."""
    drive = faulty().drive
    command = [sys.executable, "-m", "moonfs", "status", "--watch", "--json", "-n", "0.1", str(drive.point)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=drive.environ, stdout=pipe, stderr=pipe, text=True) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        for _ in range(3):
            assert json.loads(watching.stdout.readline())["mountpoint"] == str(drive.point)
        drive.umount()
        watching.stdout.read()
        assert "no longer mounted" in watching.stderr.read()
        assert watching.wait(SECONDS) == 0


def test_all_drives(faulty: Callable[..., Faulty], tmp_path: Path) -> None:
    """Without a directory: every drive of this user, also one that has died."""
    drive = faulty().drive
    with FaultServer() as other, Drive(tmp_path / "other", *hosted(other.base_url, other.key)) as second:
        second.mount()
        text = drive.command("status").stdout
        assert str(drive.point) in text and str(second.point) in text and other.base_url in text
        points = [each["mountpoint"] for each in json.loads(drive.command("status", "--json").stdout)]
        assert {str(drive.point), str(second.point)} <= set(points)
        os.kill(second.pid, 9)
        wait_until(lambda: "does not answer" in drive.command("status").stdout, "the dead one is told")
        assert str(drive.point) in drive.command("status").stdout


def test_the_local_server_is_asked_what_it_reads(pair: Pair) -> None:
    """The first OCR: that it is starting, then that it reads; with the local Files API status tells."""
    drive = pair.drive
    assert "nothing to read" in drive.command("status", str(drive.point)).stdout
    picture = Path(__file__).parents[1] / "samples" / "note.png"
    seen: set[str] = set()
    copying = threading.Thread(target=lambda: (drive / "first.png").write_bytes(picture.read_bytes()))
    copying.start()
    while copying.is_alive():
        text = drive.command("status", str(drive.point)).stdout
        seen |= {word for word in ("starting", "reading", "its text is being read") if f"{word}" in text}
    copying.join()
    assert "its text is being read" in seen and seen & {"starting", "reading"}
    os.unlink(drive / "first.png")


def test_a_slow_start_says_what_it_waits_for(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """L1: on a terminal, after a second; the line is gone in the end. Elsewhere nothing is printed."""
    gate = Gate()
    service.script("list", gate.before)
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        terminal, end = pty.openpty()
        command = [sys.executable, "-m", "moonfs", "mount", str(drive.point)]
        mounting = subprocess.Popen(command, env={**drive.environ, "TERM": "xterm"}, stdin=end, stdout=end, stderr=end)
        os.close(end)
        shown = b""
        while b"for its files" not in shown:
            shown += os.read(terminal, 65536)
        gate.opened.set()
        try:
            while chunk := os.read(terminal, 65536):
                shown += chunk
        except OSError:  # EIO: the program has ended
            pass
        os.close(terminal)
        assert mounting.wait(SECONDS) == 0
        drive.pid = int(drive.status()["pid"])
        asked, _, after = shown.rpartition(b"\r\x1b[K")
        assert f"Asking {service.base_url}".encode() in asked
        assert without_scope(after.decode().replace("\r\n", "\n")) == ""


@pytest.mark.parametrize("interval", ["nan", "inf", "1e300"])
def test_no_such_interval(fuse: None, tmp_path: Path, interval: str) -> None:
    """What is a number to Python and no time to wait is one sentence."""
    done = Drive(tmp_path).command("status", "--watch", "-n", interval)
    said = f"'{interval}' is not a number from 0.1 to 86400."
    assert (done.returncode, done.stderr.endswith(f"'--interval': {said}\n")) == (2, True), done
