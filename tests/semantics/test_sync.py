"""`moonfs sync`: what was pending when it began has arrived when it ends, or it says what has not and why (W2, W8)."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, Turn, refused
from tests.harness.drive import SECONDS, Drive, hosted, wait_until
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

NO_TEXT = "text extract error: 没有解析出内容"
KEY = ("Invalid Authentication", "invalid_authentication_error")


class Running:
    """`moonfs sync` in a process of its own."""

    def __init__(self, drive: Drive, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moonfs", "sync", *arguments],
            env=drive.environ,
            cwd=drive.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stderr = self._process.stderr
        assert stderr is not None
        self.began = stderr.readline()  # it has looked what is pending

    def waits(self) -> bool:
        time.sleep(0.5)  # an end that comes too early comes by then, mostly
        return self._process.poll() is None

    def ends(self) -> tuple[int, str]:
        out, error = self._process.communicate(timeout=SECONDS)
        assert out == ""
        return self._process.returncode, error


def held(service: FaultServer, count: int) -> list[Gate]:
    gates = [Gate() for _ in range(count)]
    service.script("upload", *[gate.before for gate in gates])
    return gates


def test_it_waits_for_what_is_pending(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: it ends when the last of the uploads has, in silence; then every text is there."""
    drive = faulty("write_back").drive
    gates = held(service, 2)
    drive.run('cd "$DIR"; echo one > a.txt; echo two > b.txt')
    running = Running(drive, str(drive.point))
    assert running.began == "Waiting for 2 uploads (8 B) …\n"
    gates[0].opened.set()
    assert running.waits()
    gates[1].opened.set()
    assert running.ends() == (0, "")
    assert service.names() == ["a.txt", "b.txt"]
    done = drive.command("sync", str(drive.point))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "nothing is pending"


def test_what_comes_later_is_not_waited_for(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: neither new files, nor newer bytes of the same file, make it last longer."""
    drive = faulty("write_back").drive
    gates = held(service, 3)
    (drive / "a.txt").write_text("first")
    gates[0].wait()
    running = Running(drive, str(drive.point))
    (drive / "a.txt").write_text("second")
    (drive / "b.txt").write_text("later")
    gates[0].opened.set()
    assert running.ends() == (0, "")
    assert sorted(drive.status()["uploads"]["unsettled"]) == ["a.txt", "b.txt"]
    for gate in gates:
        gate.opened.set()


def test_newer_bytes_that_take_their_place_are_waited_for(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: of a file that is written anew before its turn, the bytes that the service gets are later ones."""
    drive = faulty("write_back", "requests=1").drive
    gates = held(service, 3)
    (drive / "first.txt").write_text("in front")
    gates[0].wait()
    (drive / "a.txt").write_text("one")
    running = Running(drive, str(drive.point))
    (drive / "a.txt").write_text("two")
    gates[0].opened.set()
    assert running.waits()
    gates[1].opened.set()
    assert running.ends() == (0, "")
    gates[2].opened.set()
    assert [stored.data for stored in service.files.values() if stored.filename == "a.txt"] == [b"two"]


def test_what_fails_is_named_with_the_reason(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2, E1: exit 1, whether it failed before or meanwhile; what to do stands once for all of a kind."""
    drive = faulty("write_back").drive
    gate = Gate()

    def refuse(turn: Turn) -> None:
        gate.opened.wait(SECONDS)
        refused(400, NO_TEXT)(turn)

    service.script("upload", refused(400, NO_TEXT))
    (drive / "before.txt").write_text("x")
    wait_until(lambda: drive.status()["uploads"]["failed"], "the first is refused")
    service.script("upload", refuse)
    (drive / "meanwhile.txt").write_text("x")
    running = Running(drive, str(drive.point))
    gate.opened.set()
    code, said = running.ends()
    lines = said.splitlines()
    assert code == 1 and [line.partition(":")[0] for line in lines[:2]] == ["before.txt", "meanwhile.txt"], said
    assert "no text could be extracted" in lines[1] and lines[2].startswith("    → ") and len(lines) == 3, said
    again = drive.command("sync", str(drive.point))
    assert (again.returncode, again.stderr) == (1, said), "it says so until it is put right"


def test_a_time_limit(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: what is left is named with what was the matter, and goes on."""
    drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 50)
    (drive / "a.txt").write_text("hello")
    wait_until(lambda: drive.status()["uploads"]["waiting"], "a try has failed")
    done = drive.command("sync", "--timeout", "1", str(drive.point))
    assert done.returncode == 1 and "a.txt: " in done.stderr and "key" in done.stderr, done
    service.unscript("upload")
    assert drive.command("sync", str(drive.point)).returncode == 0
    assert service.names() == ["a.txt"]


def test_deletions_count(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W8: in write-back a deletion is pending too."""
    service.add("theirs.txt", b"theirs")
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("delete", gate.before)
    (drive / "theirs.txt").unlink()
    running = Running(drive, str(drive.point))
    assert running.waits()
    gate.opened.set()
    assert running.ends() == (0, "")
    assert service.names() == []


@pytest.mark.parametrize("options", [(), ("write_back",)], ids=["write-through", "write-back"])
@pytest.mark.parametrize("doubt", ["in doubt", "under way"])
def test_what_was_removed_in_doubt_counts(
    faulty: Callable[..., Faulty], service: FaultServer, doubt: str, options: tuple[str, ...]
) -> None:
    """W2, W3, W8: after `rm` of a file whose upload may have arrived, it ends when no copy of that is left."""
    drive = faulty(*options).drive
    stored, gate, listing = threading.Event(), Gate(), Gate()

    def fault(turn: Turn) -> None:
        turn.serve()
        stored.set()
        if doubt == "under way":
            gate.opened.wait(SECONDS)
        else:
            service.script("list", *[listing.before] * 50)
        turn.hang_up()

    service.script("upload", fault)
    with subprocess.Popen(["sh", "-c", 'echo x > "$1"', "sh", str(drive / "a.txt")]) as writer:
        assert stored.wait(SECONDS)
        if doubt == "in doubt":
            listing.wait()
        else:
            service.script("list", *[listing.before] * 50)
        drive.run('rm "$DIR/a.txt"')
        running = Running(drive, str(drive.point))
        gate.opened.set()
        assert running.waits()
        service.unscript("list")
        listing.opened.set()
        assert running.ends() == (0, "")
        assert service.names() == []
        writer.wait(SECONDS)


def test_write_through(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W9: a rename that goes on in the background is waited for, and so is a file that somebody closes just now."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    (gate,) = held(service, 1)
    os.rename(drive / "a.txt", drive / "b.txt")
    running = Running(drive, str(drive.point))
    assert running.waits()
    gate.opened.set()
    assert running.ends() == (0, "")
    (gate,) = held(service, 1)
    with subprocess.Popen(["sh", "-c", 'echo x > "$1"', "sh", str(drive / "c.txt")]) as writer:
        gate.wait()
        running = Running(drive, str(drive.point))
        assert running.waits()
        gate.opened.set()
        assert running.ends() == (0, "")
        assert writer.wait(SECONDS) == 0
    assert service.names() == ["b.txt", "c.txt"]


def test_a_drive_that_is_read_only(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: it takes no orders, and brings up what an earlier mount has left; that is waited for."""
    drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 50)
    (drive / "a.txt").write_text("hello")
    drive.kill()
    service.unscript("upload")
    (gate,) = held(service, 1)
    drive.mount("ro")
    running = Running(drive, str(drive.point))
    assert running.waits()
    gate.opened.set()
    assert running.ends() == (0, "")
    assert service.names() == ["a.txt"]


@pytest.fixture
def other(fuse: None, tmp_path: Path) -> Iterator[Drive]:
    """A second drive, of another account."""
    with FaultServer() as server, Drive(tmp_path / "other", *hosted(server.base_url, server.key)) as drive:
        yield drive.mount("write_back")


@pytest.mark.alone
def test_all_drives(faulty: Callable[..., Faulty], service: FaultServer, other: Drive) -> None:
    """W2: without DIR every drive of this user is waited for; the names say which drive it is about."""
    drive = faulty("write_back").drive
    (gate,) = held(service, 1)
    (drive / "a.txt").write_text("hello")
    (other / "b.txt").write_text("hello")
    running = Running(drive)
    assert running.waits()
    gate.opened.set()
    code, said = running.ends()
    # Other drives of whoever runs the tests may have troubles of their own.
    assert str(drive.point) not in said and str(other.point) not in said and code in (0, 1)
    assert service.names() == ["a.txt"]


def test_what_is_no_drive(faulty: Callable[..., Faulty]) -> None:
    """L1: one sentence, exit 1."""
    done = faulty().drive.command("sync", "/")
    assert done.returncode == 1 and "No moonfs drive is mounted" in done.stderr and done.stdout == ""


def test_a_drive_that_is_unmounted_meanwhile(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: who cannot know any more how it ended says that, and does not claim that all is there."""
    drive = faulty("write_back", "drain=0").drive
    service.script("upload", *[refused(401, *KEY)] * 50)
    (drive / "a.txt").write_text("hello")
    running = Running(drive, str(drive.point))
    drive.kill()
    code, said = running.ends()
    assert code == 1 and ("was unmounted meanwhile" in said or "does not answer" in said), said


def test_its_progress(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W2: on a terminal: how many files are left, how many bytes of how many, what is under way."""
    drive = faulty("write_back", "requests=1").drive
    gates = held(service, 2)
    (drive / "a.txt").write_bytes(b"x" * 100_000)
    (drive / "b.txt").write_bytes(b"y" * 100_000)
    gates[0].wait()
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "moonfs", "sync", str(drive.point)]
    environ = {**drive.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, env=environ, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        shown = b""
        while not all(part in shown for part in (b"2 of 2 files to go", b"100.0/200.0", b"its text is being read")):
            shown += os.read(terminal, 65536)
        gates[0].opened.set()
        while b"1 of 2 files to go" not in shown:
            shown += os.read(terminal, 65536)
        gates[1].opened.set()
        while True:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # EIO: the program has ended
                break
        os.close(terminal)
        assert process.wait(SECONDS) == 0
    assert b"0 of 2 files to go" in shown


def test_the_help_tells_it_from_sync_1(faulty: Callable[..., Faulty]) -> None:
    """W2: syncfs(2) never reaches a drive; who would try it is told."""
    said = faulty().drive.command("sync", "--help").stdout
    assert "syncfs(2)" in said and "sync -f" in said
