"""`moonfs logs`: the log of a drive that is mounted, was mounted, or whose daemon was killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import SECONDS, Drive, hosted, local, wait_for_end, wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

REFUSED = refused(400, "text extract error: 没有解析出内容")


def logs(drive: Drive, *arguments: str) -> str:
    """Return what `moonfs logs` prints where all is well."""
    done = drive.command("logs", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refuses(drive: Drive, *arguments: str) -> str:
    """Return the one sentence with which `moonfs logs` ends."""
    done = drive.command("logs", *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done
    return done.stderr


@contextmanager
def following(drive: Drive, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `moonfs logs -f`; it ends by Ctrl-C, in good order, and says nothing about that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moonfs", "logs", "-f", *arguments],
        env=drive.environ,
        cwd=drive.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hangs = threading.Timer(SECONDS, process.kill)
    hangs.start()
    try:
        yield process
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, said) == (0, "")
    finally:
        hangs.cancel()
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], part: str) -> list[str]:
    """Return the lines that come, up to the first one with `part` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError(f"ended before {part!r}: {lines}")


def test_one_line_a_failure(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1: the log says what was mounted and how, and each remote failure in one line with name and reason; no key."""
    drive = faulty().drive
    service.script("upload", REFUSED)
    with suppress(OSError):
        (drive / "scan.txt").write_text("x")
    (drive / "fine.txt").write_text("fine")
    lines = logs(drive, str(drive.point)).splitlines()
    assert f"serves {service.base_url} on {drive.point}: write-through, process {drive.pid}" in lines[0]
    assert [line for line in lines if "scan.txt" in line] == [lines[1]]
    assert "no text could be extracted" in lines[1] and "WARNING" in lines[1] and "EINVAL" in lines[1]
    assert "Uploaded fine.txt: 4 bytes" in lines[2]
    assert not any("Traceback" in line or service.key in line for line in lines)


def test_any_name_is_one_line(faulty: Callable[..., Faulty]) -> None:
    """E1: a name of somebody's choosing neither writes lines of its own nor reaches a terminal's controls."""
    drive = faulty().drive
    with fails(22):
        (drive / "evil\n2026 INFO\x1b[2Jname.txt").write_text("x")
    lines = logs(drive).splitlines()
    assert "evil\\n2026 INFO\\x1b[2Jname.txt" in lines[-1] and "create" in lines[-1]
    assert "evil\\n2026" in logs(drive, "--errors")


def test_the_failures_with_what_to_do(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1: time, operation, name, message, next step; a refusal of the drive's own among them, desktops' litter not."""
    service.add("theirs.pdf", b"theirs")
    drive = faulty().drive
    assert drive.command("logs", "--errors").stderr == f"Nothing of the drive of {drive.point} has failed.\n"
    service.script("upload", REFUSED)
    with suppress(OSError):
        (drive / "scan.txt").write_text("x")
    for _ in range(3):
        drive.shell(
            'cat "$DIR/theirs.pdf"; touch "$DIR/.DS_Store"; mkdir "$DIR/.Trash-1000"; test -x "$DIR/theirs.pdf"'
        )
    shown = logs(drive, "--errors").splitlines()
    assert [line.split(":")[2].partition(" ")[2] for line in shown[::2]] == ["close scan.txt", "open theirs.pdf"]
    assert shown[1] == (
        "    → If it is a picture, put it into .moonfs/purpose/image/; otherwise copy a version with text in it."
    )
    assert shown[3].startswith("    → Read NAME.content for the text")
    assert logs(drive, "--errors", "-n", "1").splitlines() == shown[2:]


def test_the_next_step_stands_in_the_status(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Errors: what is not uploaded, and what waits, say what to do; and that helps."""
    drive = faulty("write_back").drive
    service.script("upload", REFUSED)
    (drive / "scan.txt").write_text("x")
    (failed,) = wait_until(lambda: drive.status()["uploads"]["failed"], "it is refused")
    assert failed["next"].startswith("If it is a picture, put it into .moonfs/purpose/image/")
    assert drive.status()["errors"][-1]["next"] == failed["next"]
    os.rename(drive / "scan.txt", drive / ".moonfs" / "purpose" / "image" / "scan.txt")
    wait_until(lambda: [file.purpose for file in service.files.values()] == ["image"], "it is uploaded")
    wait_until(lambda: drive.status()["uploads"]["pending"] == [], "the drive knows")
    service.script("upload", *[refused(401, "Invalid Authentication", "invalid_authentication_error")] * 2)
    (drive / "b.txt").write_text("b")
    (waiting,) = wait_until(lambda: drive.status()["uploads"]["waiting"], "it is refused")
    assert waiting["name"] == "b.txt" and "moonfs doctor" in waiting["next"]
    wait_until(lambda: len(service.files) == 2, "it goes on by itself")


def test_after_the_daemon_was_killed(faulty: Callable[..., Faulty]) -> None:
    """The log of a drive whose daemon has died, named or as the last one, before and after its mount is cleared."""
    drive = faulty().drive
    (drive / "a.txt").write_text("a")
    pid, drive.pid = drive.pid, 0
    wait_for_end(pid, kill=True)
    assert "Uploaded a.txt" in logs(drive, str(drive.point)) and "Uploaded a.txt" in logs(drive)
    assert drive.command("umount", str(drive.point)).returncode == 0
    assert "Uploaded a.txt" in logs(drive, str(drive.point)) and "Uploaded a.txt" in logs(drive)


def test_follow(faulty: Callable[..., Faulty]) -> None:
    """-f: the last lines, then each new one; over the log's rotation and the daemon's death."""
    drive = faulty().drive
    (drive / "old.txt").write_text("old")
    log = Path(logs(drive, "--path").strip())
    assert log.parent.parent.name == "accounts" and log.stat().st_mode & 0o077 == 0
    with following(drive, "-n", "1", str(drive.point)) as process:
        assert len(until(process, "Uploaded old.txt")) == 1
        (drive / "new.txt").write_text("new")
        assert len(until(process, "Uploaded new.txt")) == 1
        with open(log, "ab") as stream:  # the daemon's next line is one too many for the file
            stream.write(b"x" * (1024**2 - stream.tell() - 10) + b"\n")
        (drive / "rotated.txt").write_text("rotated")
        assert len(until(process, "Uploaded rotated.txt")) == 2
        assert log.with_name("moonfs.log.1").stat().st_size > 1024**2 - 20 and log.stat().st_size < 1024
        (drive / "after.txt").write_text("after")
        assert len(until(process, "Uploaded after.txt")) == 1
        drive.kill()
        drive.mount()
        assert f"process {drive.pid}" in until(process, "serves")[-1]
    assert "Uploaded rotated.txt" in logs(drive, "-n", "5") and "xxxx" in logs(drive, "-n", "5"), (
        "both files are one log"
    )


def test_follow_failures(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """-f --errors: from the first failure on, also where there was none yet."""
    drive = faulty().drive
    with following(drive, "--errors") as process:
        service.script("upload", REFUSED)
        with suppress(OSError):
            (drive / "scan.txt").write_text("x")
        assert "close scan.txt" in until(process, "→")[0]


def test_where_there_is_no_log(fuse: None, tmp_path: Path) -> None:
    """One sentence: nothing was mounted yet, not there, or no server was started."""
    with FaultServer() as server, Drive(tmp_path / "home", *hosted(server.base_url, server.key)) as drive:
        assert "No drive has been mounted yet" in refuses(drive)
        assert f"No drive was mounted on {drive.point}" in refuses(drive, str(drive.point))
        drive.mount()
        said = refuses(drive, str(drive.home))
        assert f"No drive was mounted on {drive.home}" in said and f"there are logs of: {drive.point}" in said
        assert "has started no local Files API" in refuses(drive, "--server")
        Path(logs(drive, "--path").strip()).unlink()
        assert "There is no log" in refuses(drive)


def test_several_accounts(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """Without DIR it is the drive that was mounted last, and the others are named; --server shows the local one's."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        drive.mount()
        drive.umount()
        first = drive.point
        drive.point = drive.home / "second"
        drive._arguments, _ = local(tmp_path / "data")
        drive.mount()
        done = drive.command("logs")
        assert done.returncode == 0 and f"on {drive.point}" in done.stdout
        assert done.stderr == f"This is the drive of {drive.point}; there are also: {first}\n"
        assert f"on {first}" in logs(drive, str(first)) and f"on {drive.point}" not in logs(drive, str(first))
        server = Path(drive.command("logs", "--server", "--path").stdout.strip())
        server.write_text("a line of the server\n")
        assert logs(drive, "--server", str(drive.point)) == "a line of the server\n"


def test_in_the_foreground_too(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """A drive that was mounted with -f, as systemd does, logs to the terminal and keeps the same log."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        with subprocess.Popen(
            [sys.executable, "-m", "moonfs", "mount", "-f", str(drive.point)],
            env=drive.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None and "Mounted on" in process.stdout.readline()
                assert service.key.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()  # X1
                drive.pid = process.pid
                (drive / "a.txt").write_text("a")
                assert "Uploaded a.txt" in logs(drive, str(drive.point))
                drive.umount()
                _, said = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
        assert "Uploaded a.txt" in said and process.returncode == 0


@pytest.mark.parametrize("mode", ["", "write_back"])
def test_what_is_deleted_is_logged(faulty: Callable[..., Faulty], service: FaultServer, mode: str) -> None:
    """W8: what is gone for good can be looked up: own files and those of others, but no temporary ones."""
    service.add("theirs.txt", b"theirs")
    drive = faulty(mode).drive
    drive.shell('cd "$DIR"; echo a > own.txt; echo b > .own.txt.swp')
    wait_until(lambda: drive.status()["uploads"]["done"] == 1, "it is stored")
    drive.shell('cd "$DIR"; rm own.txt theirs.txt .own.txt.swp own.txt.content')
    lines = [line for line in logs(drive, str(drive.point)).splitlines() if "Deleted" in line]
    assert [line.rpartition("Deleted ")[2] for line in lines] == ["own.txt.", "theirs.txt."]


def test_what_is_over_is_forgotten(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1, N5: --clear empties errors.ndjson and the last errors of the status, but for files that still fail."""
    service.add("theirs.pdf", b"theirs")
    drive = faulty("write_back").drive
    drive.shell('cat "$DIR/theirs.pdf"')
    service.script("upload", REFUSED)
    (drive / "scan.txt").write_text("x")
    wait_until(lambda: drive.status()["uploads"]["failed"], "it is refused")
    assert {line["name"] for line in drive.errors()} == {"theirs.pdf", "scan.txt"}
    done = drive.command("logs", "--clear")
    said = f"The failures of the drive of {drive.point} are cleared; 1 file still fails: moonfs status says why.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert [line["name"] for line in drive.errors()] == ["scan.txt"] == [e["name"] for e in drive.status()["errors"]]
    assert "scan.txt" in drive.command("status", str(drive.point)).stdout
    drive.shell('cat "$DIR/theirs.pdf"')
    assert [line["name"] for line in drive.errors()] == ["scan.txt", "theirs.pdf"], "it goes on being recorded"
    drive.umount()
    assert logs(drive, "--clear", str(drive.point)) == said
    drive.mount("write_back")
    assert [line["name"] for line in drive.errors()] == ["scan.txt"]
    (drive / "scan.txt").unlink()
    assert logs(drive, "--clear") == f"The failures of the drive of {drive.point} are cleared.\n"
    assert drive.errors() == [] == drive.status()["errors"]
    drive.umount()
    assert drive.command("logs", "--errors").stdout == ""


def test_clearing_all_drives(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """Without DIR it is every drive of this user, mounted or not; flags that show something have no place beside it."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        assert "No drive has been mounted yet" in refuses(drive, "--clear")
        drive.mount()
        drive.shell('mkdir "$DIR/folder"')
        drive.umount()
        first = drive.point
        drive.point = drive.home / "second"
        drive._arguments, _ = local(tmp_path / "data")
        drive.mount()
        drive.shell('mkdir "$DIR/folder"')
        assert len(drive.errors()) == 1
        assert set(logs(drive, "--clear").splitlines()) == {
            f"The failures of the drive of {point} are cleared." for point in (first, drive.point)
        }
        assert drive.errors() == []
        assert {path.read_bytes() for path in drive.home.glob("state/moonfs/accounts/*/errors.ndjson")} == {b""}
        for flag in ("--follow", "--path", "--server"):
            assert "leave the other flags out" in refuses(drive, "--clear", flag)
        drive.umount()
        drive.mount("ro")
        said = refuses(drive, "--clear", str(drive.point))
        assert "read-only" in said and "unmount it, then clear them" in said


def test_whose_clock_it_is(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1: files have the offset of their times from UTC, people are shown the time of where they are."""
    drive = faulty().drive
    drive.umount()
    drive.environ["TZ"] = "CST-8"
    drive.mount()
    drive.shell('mkdir "$DIR/folder"')
    (line,) = drive.errors()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", line["time"])
    last = drive.log().splitlines()[-1]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00 WARNING ", last)
    for zone, hours in (("CST-8", 0), ("UTC0", -8), ("NST3:30", -11.5)):
        drive.environ["TZ"] = zone
        when = datetime.fromisoformat(line["time"]).replace(tzinfo=None) + timedelta(hours=hours)
        for shown in (logs(drive, "--errors"), drive.command("status", str(drive.point)).stdout):
            assert f"{when:%Y-%m-%d %H:%M:%S} mkdir folder" in shown, (zone, shown)
        logged = datetime.fromisoformat(last.split(" ")[0]).replace(tzinfo=None) + timedelta(hours=hours)
        assert f"{logged:%Y-%m-%d %H:%M:%S}.{logged.microsecond // 1000:03}" in logs(drive, "-n", "1")


def test_the_same_advice_is_said_once(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Five files that fail alike are five lines with one advice after them."""
    for number in range(5):
        service.add(f"{number}.pdf", b"theirs")
    drive = faulty().drive
    drive.shell('for n in 0 1 2 3 4; do cat "$DIR/$n.pdf"; done; mkdir "$DIR/folder"')
    shown = logs(drive, "--errors").splitlines()
    assert [line.startswith("    →") for line in shown] == [False] * 5 + [True, False, True], shown
    status = drive.command("status", str(drive.point)).stdout
    assert status.count("→ Read NAME.content") == 1 and status.count("→ Put files into the drive itself") == 1
