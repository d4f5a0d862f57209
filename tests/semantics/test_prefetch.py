"""`moonfs prefetch`: every text here and every size exact, politely, with names for what cannot be had (A2, R3, N5)."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, rate_limited, refused
from tests.harness.drive import SECONDS, Drive, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

NAMES = [f"{number:02}.txt" for number in range(40)]


@pytest.fixture
def drive(faulty: Callable[..., Faulty], service: FaultServer) -> Drive:
    for name in NAMES:
        service.add(name, name.encode() * 100)
    return faulty("write_back").drive


def progress(drive: Drive) -> dict[str, Any]:
    return dict(json.loads((drive / ".moonfs" / "prefetch").read_bytes()))


def sizes(drive: Drive) -> set[int]:
    return {os.stat(drive / f"{name}.content").st_size for name in NAMES}


def test_all_texts_are_fetched_once(drive: Drive, service: FaultServer) -> None:
    """A2: every size is exact then, though nothing was opened; a second run asks for nothing."""
    assert sizes(drive) == {1}
    for _ in range(2):
        done = drive.command("prefetch", str(drive.point))
        assert (done.returncode, done.stdout) == (0, "40 of 40 texts here\n"), done
        assert service.count("content") == len(NAMES)
    (size,) = sizes(drive)
    assert size == len((drive / f"{NAMES[0]}.content").read_bytes())
    assert service.count("content") == len(NAMES)


def test_only_those_named_are_fetched(drive: Drive, service: FaultServer) -> None:
    """A2: by name, by path, or by the name of the sidecar."""
    done = drive.command("prefetch", str(drive.point), "00.txt", str(drive / "01.txt"), "02.txt.content", "00.txt")
    assert (done.returncode, done.stdout) == (0, "3 of 3 texts here\n"), done
    assert service.count("content") == 3


def test_what_cannot_be_had_is_named(drive: Drive, service: FaultServer) -> None:
    """A2, E1: all others come; the reason is in plain English, and the exit says it."""
    service.add("bad.pdf", b"x", status="error", status_details="text extract error: 没有解析出内容")
    service.add("cat.png", b"x", purpose="image")
    drive.command("refresh", str(drive.point))
    done = drive.command("prefetch", str(drive.point), "00.txt", "bad.pdf", "cat.png", "none.txt")
    assert (done.returncode, done.stdout) == (1, "1 of 4 texts here, 3 cannot be had\n"), done
    said = dict(line.split(": ", 1) for line in done.stderr.splitlines() if line.startswith(("bad", "cat", "none")))
    assert "no text could be extracted" in said["bad.pdf.content"]
    assert set(said) == {"bad.pdf.content", "cat.png", "none.txt"}


def test_pending_uploads_are_waited_for(drive: Drive, service: FaultServer) -> None:
    """A2, R4: their texts count; when it has ended every text is here, and every size exact."""
    gates = [Gate(), Gate(), Gate()]  # uploads overtake one another: whichever goes first, none of the three gets by
    service.script("upload", *[gate.before for gate in gates])
    drive.run('cd "$DIR"; echo one > new.txt; echo two > newer.txt; echo x > film.mp4; echo x > a.tmp')
    command = [sys.executable, "-m", "moonfs", "prefetch", str(drive.point)]
    with subprocess.Popen(command, env=drive.environ, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: progress(drive)["done"] == 40, "what is there is fetched meanwhile")
        assert progress(drive)["total"] == 42 and progress(drive)["running"] and progress(drive)["uploads"] > 0
        for gate in gates:
            gate.opened.set()
        said, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, said) == (0, "42 of 42 texts here\n")
    asked = service.count("content")
    assert os.stat(drive / "new.txt.content").st_size == len((drive / "new.txt.content").read_bytes())
    assert service.count("content") == asked


def test_a_refused_upload_has_no_text(drive: Drive, service: FaultServer) -> None:
    """A2, E1: it counts among those that cannot be had, with its reason; one kind of failure has one advice."""
    service.script("upload", *[refused(400, "text extract error: 没有解析出内容")] * 2)
    drive.run('cd "$DIR"; echo one > a.pdf; echo two > b.pdf')
    done = drive.command("prefetch", str(drive.point))
    assert (done.returncode, done.stdout) == (1, "40 of 42 texts here, 2 cannot be had\n"), done
    first, second, advice = done.stderr.splitlines()
    assert first.startswith("a.pdf.content: ") and second.startswith("b.pdf.content: ") and "→" in advice


def test_a_file_that_a_program_keeps_open_holds_up_nothing(drive: Drive) -> None:
    """A2, W1: a child has closed it, and its opener may have it open for days; what a wait was for is said."""
    with (drive / "run.txt").open("wb", buffering=0) as log:
        subprocess.run(["/bin/echo", "one"], stdout=log, check=True)
        done = drive.command("prefetch", str(drive.point))
    assert (done.returncode, done.stdout) == (1, "40 of 41 texts here, 1 cannot be had\n"), done
    assert done.stderr.startswith("run.txt.content: ") and "a program still has it open" in done.stderr
    assert done.stderr.endswith("→ Close the file in that program, then open the text again.\n")
    done = drive.command("prefetch", str(drive.point))
    assert (done.returncode, done.stdout) == (0, "41 of 41 texts here\n"), done


def test_what_goes_meanwhile_is_not_missed(drive: Drive, service: FaultServer) -> None:
    """A2: a picture without words is no failure unless it was asked for, nor is what was deleted."""
    gates = [Gate(), Gate(), Gate()]
    service.script("upload", refused(400, "text extract error: 没有解析出内容"), *[gate.before for gate in gates])
    drive.run('cd "$DIR"; echo x > p.png')
    gates[0].wait()
    drive.run('cd "$DIR"; echo x > gone.txt')
    (drive / ".moonfs" / "prefetch").write_text("/all\n")
    assert progress(drive)["uploads"] == 2
    (drive / "gone.txt").unlink()
    for gate in gates:
        gate.opened.set()
    wait_until(lambda: not progress(drive)["running"], "it ends")
    assert (progress(drive)["total"], progress(drive)["done"], progress(drive)["failures"]) == (40, 40, 0)


def test_rate_limits_are_waited_out(drive: Drive, service: FaultServer) -> None:
    """A2, R3: a 429 costs no text."""
    service.script("content", *[rate_limited()] * 3)
    done = drive.command("prefetch", str(drive.point))
    assert (done.returncode, done.stdout) == (0, "40 of 40 texts here\n"), done


def test_a_refused_key_ends_it(drive: Drive, service: FaultServer) -> None:
    """A2: not a thousand times the same refusal."""
    service.script("content", *[refused(401, "Invalid Authentication", "invalid_authentication_error")] * 100)
    done = drive.command("prefetch", str(drive.point))
    assert (done.returncode, done.stdout) == (1, "0 of 40 texts here, 40 cannot be had\n"), done
    assert service.count("content") <= 40 and "and 20 more" in done.stderr


def test_it_stops_at_ctrl_c_and_goes_on(drive: Drive, service: FaultServer) -> None:
    """A2: resumable; what is here is not fetched again."""
    gate = Gate()
    service.script("content", *[None] * 5, *[gate.before] * 35)
    # Whoever runs the tests in the background has its children ignore a Ctrl-C.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "moonfs", "prefetch", str(drive.point)]
    with subprocess.Popen(command, env=drive.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            gate.wait()
            wait_until(lambda: progress(drive)["done"] == 5, "five are here")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130 and "the same command goes on" in said, said
    assert progress(drive)["total"] < 40
    service.unscript("content")
    gate.opened.set()
    wait_until(lambda: not progress(drive)["running"], "what was under way ends")
    asked = service.count("content")
    assert asked < 40
    done = drive.command("prefetch", str(drive.point))
    assert done.returncode == 0 and service.count("content") == 40


def test_an_end_by_somebody_else_is_told(drive: Drive, service: FaultServer) -> None:
    """A2: who still waits is not told that all is here."""
    gate = Gate()
    service.script("content", *[gate.before] * 60)
    command = [sys.executable, "-m", "moonfs", "prefetch", str(drive.point)]
    with subprocess.Popen(command, env=drive.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            gate.wait()
            (drive / ".moonfs" / "prefetch").write_text("/stop\n")
            gate.opened.set()
            _, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 1 and "stopped by somebody else" in said


def test_a_reader_goes_first(drive: Drive, service: FaultServer) -> None:
    """R3: with all of the prefetch stuck, a reader's text comes."""
    last = max(service.files)
    gate = Gate()
    service.script("content", *[lambda t: t.send(t.serve()) if last in t.seen.path else gate.before(t)] * 60)
    (drive / ".moonfs" / "prefetch").write_text("".join(f"{name}\n" for name in NAMES[:-1]))
    gate.wait()
    assert (drive / f"{service.files[last].filename}.content").read_bytes()
    gate.opened.set()
    wait_until(lambda: progress(drive)["done"] == 39, "the others come")


def test_it_is_a_file_of_the_drive(drive: Drive) -> None:
    """N5: it can be read and written, and nothing else; what is no list of names is refused."""
    path = drive / ".moonfs" / "prefetch"
    assert os.stat(path).st_mode & 0o777 == 0o600
    path.touch()
    assert progress(drive) == {
        "running": False, "total": 0, "done": 0, "failures": 0, "failed": [], "reasons": [], "uploads": 0,
        "trouble": "", "stops": 0,
    }  # fmt: skip
    with fails(errno.EFBIG):
        path.write_bytes(b"x" * (2 << 20))
    with fails(errno.EPERM):
        path.unlink()


@pytest.mark.parametrize("arguments", [["/"], ["."]], ids=["root", "home"])
def test_what_is_no_drive_is_said(drive: Drive, arguments: list[str]) -> None:
    """L1: one sentence, exit 1."""
    done = drive.command("prefetch", *arguments)
    assert done.returncode == 1 and "No moonfs drive is mounted" in done.stderr and done.stdout == ""


def test_an_outage_is_waited_out(drive: Drive, service: FaultServer) -> None:
    """A2, E2: it goes on by itself when the service is back."""
    service.suspend()
    (drive / ".moonfs" / "prefetch").write_text("/all\n")
    wait_until(lambda: progress(drive)["trouble"], "it says what it waits for")
    service.resume()
    wait_until(lambda: progress(drive)["done"] == 40, "all are here")
    assert progress(drive)["failures"] == 0


def test_a_file_by_its_path(drive: Drive, service: FaultServer) -> None:
    """A2: DIR/NAME, as the shell completes it; also several, the name of the text, from within, and through a link."""

    def fetched(*arguments: str, **options: Any) -> str:
        before = service.count("content")
        done = drive.command("prefetch", *arguments, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return f"{done.stdout.strip()}, {service.count('content') - before} fetched"

    assert fetched(str(drive / "00.txt")) == "1 text here, 1 fetched"
    assert fetched(str(drive / "01.txt.content"), str(drive / "02.txt")) == "2 of 2 texts here, 2 fetched"
    assert fetched("03.txt", "04.txt", cwd=drive.point) == "2 of 2 texts here, 2 fetched"
    (drive.home / "link").symlink_to(drive.point)
    assert fetched(f"{drive.home}/link/05.txt", "06.txt") == "2 of 2 texts here, 2 fetched"
    assert fetched(str(drive / ".moonfs" / "purpose" / "file-extract" / "07.txt")) == "1 text here, 1 fetched"
    assert fetched(f"{drive.home}/link") == "40 of 40 texts here, 32 fetched"
    done = drive.command("prefetch", str(drive / "none.txt"))
    assert (done.returncode, done.stdout) == (
        1,
        "0 texts here, 1 cannot be had\n",
    ) and "none.txt: There is no such file" in done.stderr
    done = drive.command("prefetch", str(drive / "00.txt"), "/etc/passwd")
    assert done.returncode == 1 and f"/etc/passwd is not on the drive on {drive.point}" in done.stderr
    done = drive.command("prefetch", str(drive.home / "work" / "00.txt"))
    assert done.returncode == 1 and "No moonfs drive is mounted on" in done.stderr


def test_the_same_advice_is_said_once(drive: Drive) -> None:
    """E1: three names that there are not are three lines with one advice after them."""
    done = drive.command("prefetch", str(drive.point), "x", "y", "z")
    assert (done.returncode, done.stdout) == (1, "0 of 3 texts here, 3 cannot be had\n")
    lines = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["x", "y", "z"] and lines[3].startswith("    → ")
    assert len(lines) == 4
