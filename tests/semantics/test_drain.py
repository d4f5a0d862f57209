"""The end of a mount with uploads pending, and the next start: what is waited for, said, kept and taken up."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused, stalled
from tests.harness.drive import SECONDS, Drive, wait_for_end, wait_until
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

KEY = ("Invalid Authentication", "invalid_authentication_error")
TEXTS = {f"{number}.txt": b"%d" % number * 100_000 for number in range(4)}


def copy_in(drive: Drive) -> None:
    for name, text in TEXTS.items():
        (drive / name).write_bytes(text)


def stored(service: FaultServer) -> dict[str, bytes]:
    with service.lock:
        assert len({each.filename for each in service.files.values()}) == len(service.files)
        return {each.filename: each.data for each in service.files.values()}


def test_umount_waits_for_what_is_pending(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2: when `moonfs umount` has returned, everything is on the service and the daemon has ended."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.before)
    copy_in(drive)
    gate.wait()
    ending = subprocess.Popen(
        [sys.executable, "-m", "moonfs", "umount", str(drive.point)],
        env=drive.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(service.files) == 3, "the others are uploaded")
    assert ending.poll() is None and (drive / "0.txt").exists()
    gate.opened.set()
    said = ending.communicate(timeout=2 * SECONDS)[1]
    assert ending.returncode == 0 or "unmounted here" in said, said  # a namespace of a test beside took a copy along
    assert stored(service) == TEXTS
    wait_for_end(drive.pid)


def test_the_progress_of_an_umount(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2: on a terminal: how many files, how many bytes of how many, at which rate, and the time that is left."""
    drive = faulty("write_back", "requests=1").drive
    gates = [Gate(), Gate()]
    service.script("upload", gates[0].before, gates[1].before)
    copy_in(drive)
    gates[0].wait()
    terminal, end = pty.openpty()
    ending = subprocess.Popen(
        [sys.executable, "-m", "moonfs", "umount", str(drive.point)],
        env={**drive.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    shown = b""
    # The bytes that were sent count, though the service has not answered, and their file is named.
    while not all(part in shown for part in (b"4 of 4 files to go", b"100.0/400.0", b"its text is being read")):
        shown += os.read(terminal, 65536)
    gates[0].opened.set()
    gates[1].wait()
    while b"3 of 4 files to go" not in shown or b"200.0/400.0" not in shown:
        shown += os.read(terminal, 65536)
    gates[1].opened.set()
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # EIO: the program has ended
            break
    os.close(terminal)
    assert ending.wait(SECONDS) == 0 and stored(service) == TEXTS
    for part in (b"kB", b"/s", b"0:00:", b"400.0/400.0"):
        assert part in shown, shown


def test_an_umount_into_a_log(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2: where no terminal shows a bar, a line says what is waited for, and the last one that it is done."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.before)
    copy_in(drive)
    gate.wait()
    with (drive.home / "log").open("wb") as log:
        command = [sys.executable, "-m", "moonfs", "umount", str(drive.point)]
        ending = subprocess.Popen(command, env=drive.environ, stdout=log, stderr=log)
    said = drive.home / "log"
    wait_until(lambda: b"Waiting for" in said.read_bytes(), "it says what it waits for")
    gate.opened.set()
    assert ending.wait(SECONDS) == 0 and stored(service) == TEXTS
    lines = [line for line in said.read_text().splitlines() if "daemon" not in line and "is unmounted" not in line]
    assert len(lines) == 2 and lines[0].startswith("Waiting for ") and lines[1] == "Nothing is left to upload.", lines


def test_an_umount_that_had_a_file_refused(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2, E1: what the service does not take is not passed over in silence."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.refusing(refused(400, "没有解析出内容")))
    (drive / "blank.pdf").write_bytes(b"%PDF-")
    gate.wait()
    command = [sys.executable, "-m", "moonfs", "umount", str(drive.point)]
    with subprocess.Popen(command, env=drive.environ, stderr=subprocess.PIPE, text=True) as ending:
        assert ending.stderr is not None
        assert ending.stderr.readline().startswith("Waiting for ")
        gate.opened.set()
        rest = ending.stderr.read()
    assert f"Nothing is left to upload; 1 file was refused: moonfs logs --errors {drive.point}" in rest
    assert "blank.pdf" in drive.command("logs", "--errors", str(drive.point)).stdout


def test_an_umount_after_a_file_was_refused(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2, E1: in write-back nobody may have been told of it, whenever it was refused."""
    drive = faulty("write_back").drive
    service.script("upload", refused(400, "没有解析出内容"))
    (drive / "blank.pdf").write_bytes(b"%PDF-")
    wait_until(lambda: drive.status()["uploads"]["failed"], "it is refused")
    done = drive.command("umount", str(drive.point))
    said = f"Nothing is left to upload; 1 file was refused: moonfs logs --errors {drive.point}\n"
    assert (done.returncode, done.stderr) == (0, said)


@pytest.mark.parametrize("timeout", ["0", "1"])
def test_umount_with_a_timeout_leaves_the_rest_to_the_next_mount(
    faulty: Callable[..., Faulty], service: FaultServer, timeout: str
) -> None:
    """L2, W2: it says how many and why, and ends; they are listed and readable with the next mount and go up."""
    drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 200)
    copy_in(drive)
    wait_until(lambda: len(drive.status()["uploads"]["waiting"]) == 4, "all were tried")
    started = time.monotonic()
    done = drive.command("umount", "--timeout", timeout, str(drive.point))
    assert done.returncode == 0, done.stderr  # who holds the drive
    assert time.monotonic() - started < SECONDS / 4
    assert "4 files are not uploaded yet" in done.stderr and ("key" in done.stderr or timeout == "0")
    wait_for_end(drive.pid)
    gate = Gate()
    service.unscript("upload")
    service.script("upload", *[gate.before] * 4)
    drive.mount("write_back")
    assert sorted(name for name in os.listdir(drive.point) if not name.endswith(".content")) == sorted(TEXTS)
    assert {name: (drive / name).read_bytes() for name in TEXTS} == TEXTS
    gate.opened.set()
    wait_until(lambda: stored(service) == TEXTS, "they are uploaded")
    drive.umount()
    assert stored(service) == TEXTS


@pytest.mark.parametrize("way", ["umount", "SIGTERM"])
def test_another_end_waits_for_a_bounded_time(faulty: Callable[..., Faulty], service: FaultServer, way: str) -> None:
    """L2: SIGTERM and a plain `umount` give pending uploads `drain` seconds; what they do not bring up stays."""
    drive = faulty("write_back", "drain=2").drive
    gate = Gate()
    service.script("upload", gate.before, stalled())
    copy_in(drive)
    gate.wait()
    if way == "umount":
        drive.run('umount "$DIR"' if os.geteuid() == 0 else 'fusermount -u "$DIR"')
    else:
        os.kill(drive.pid, signal.SIGTERM)
    gate.opened.set()
    wait_for_end(drive.pid, seconds=30)
    assert len(service.files) == 3
    service.ending.set()  # lets the stalled one go
    service.ending.clear()
    drive.mount("write_back")
    assert {name: (drive / name).read_bytes() for name in TEXTS} == TEXTS
    wait_until(lambda: stored(service) == TEXTS, "the last one is uploaded")


def test_a_killed_daemon_loses_nothing(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2, W8, W9: after `kill -9` what was acknowledged shows at once, without the service's help, and is finished."""
    service.add("theirs.txt", b"theirs")
    drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 200)
    service.script("delete", *[refused(401, *KEY)] * 200)
    copy_in(drive)
    drive.run('cd "$DIR"; mv 3.txt three.txt; rm 2.txt theirs.txt; echo more >> 1.txt')
    drive.kill()
    service.unscript("upload")
    service.unscript("delete")
    gate = Gate()
    service.script("upload", *[gate.before] * 3)
    drive.mount("write_back")
    expected = {"0.txt": TEXTS["0.txt"], "1.txt": TEXTS["1.txt"] + b"more\n", "three.txt": TEXTS["3.txt"]}
    assert sorted(name for name in os.listdir(drive.point) if not name.endswith(".content")) == sorted(expected)
    assert {name: (drive / name).read_bytes() for name in expected} == expected
    gate.opened.set()
    wait_until(lambda: stored(service) == expected, "it is finished")


def test_status_says_what_waits_and_why(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1, W2: an upload that is tried again is named with its reason, and stands in the record of errors once."""
    drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 200)
    (drive / "a.txt").write_text("hello")
    wait_until(lambda: drive.status()["uploads"]["waiting"], "a try has failed")
    (waiting,) = drive.status()["uploads"]["waiting"]
    assert waiting["name"] == "a.txt" and "key" in waiting["error"]
    assert "a.txt: " in drive.command("status", str(drive.point)).stdout
    (line,) = [line for line in drive.errors() if line["name"] == "a.txt"]
    assert (line["operation"], line["errno"], line["http_status"]) == ("upload", "EACCES", 401)
    service.unscript("upload")
    wait_until(lambda: stored(service) == {"a.txt": b"hello"}, "it is uploaded")
    wait_until(lambda: not drive.status()["uploads"]["waiting"], "the drive has heard of it")
