"""A service that means harm: what it says does nothing to a terminal, to memory, or to a disk."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, Reply, Turn, answered, error
from tests.harness.drive import SECONDS, Drive, hosted, wait_until

pytestmark = pytest.mark.fuse

#: What a terminal obeys: a new title, a colour by one character, a line that writes over another, text turned round.
COMMANDS = "\x1b]0;owned\x07\x9b31m\x7f\r\u202e"


def said_plainly(output: bytes) -> bool:
    """Say whether nothing of it is a command; our own bars, which move the cursor, are no part of it."""
    text = output.decode()
    return all(char.isprintable() or char in "\n\t" for char in text)


def test_nothing_that_it_says_reaches_a_terminal(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """E1: names, reasons and messages, by each command that shows them, in the log of `mount -f`, and in `.moonfs`."""
    service.add(f"pic{COMMANDS}ture.txt", b"x", status="error", status_details=f"no {COMMANDS} text")
    service.add(f"waiting{COMMANDS}.txt", b"x", status="processing")
    service.add(f"refused{COMMANDS}.txt", b"x", purpose=f"file-extract{COMMANDS}")
    bad = answered(error(400, f"no {COMMANDS} way", f"type{COMMANDS}"))
    service.script("content", *[bad] * 3)
    outputs: dict[str, bytes] = {}
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        log = tmp_path / "terminal"
        with (
            open(log, "wb") as terminal,
            subprocess.Popen(
                [sys.executable, "-m", "moonfs", "mount", "-f", "-o", "debug", str(drive.point)],
                env=drive.environ, stdout=terminal, stderr=terminal,
            ) as process,
        ):  # fmt: skip
            try:
                wait_until(lambda: b"Mounted on" in log.read_bytes(), "it is mounted")
                drive.pid = process.pid
                for name in os.listdir(drive.point):
                    assert not re.search("[\x00-\x1f\x7f-\x9f]", name)
                service.script("upload", answered(error(400, f"no {COMMANDS} way")))
                drive.shell('cd "$DIR"; for f in *.content; do cat "$f"; done; echo x > mine.txt; rm other.txt')
                point = str(drive.point)
                for command in (
                    ("prefetch", point), ("status", point), ("status", "--json", point), ("sync", point),
                    ("logs", point), ("logs", "--errors", point), ("doctor", point), ("doctor", "--bundle=-", point),
                    ("prefetch", point, f"none{COMMANDS}"), ("refresh", f"none{COMMANDS}"), (f"none{COMMANDS}",),
                ):  # fmt: skip
                    done = subprocess.run(
                        [sys.executable, "-m", "moonfs", *command], env=drive.environ, capture_output=True,
                        timeout=SECONDS, check=False,
                    )  # fmt: skip
                    outputs[" ".join(command)] = done.stdout + done.stderr
                for name in ("status.json", "errors.ndjson", "prefetch"):
                    outputs[name] = (drive / ".moonfs" / name).read_bytes()
                outputs["umount"] = drive.command("umount", point).stderr.encode()
                process.wait(SECONDS)
            finally:
                process.kill()
        outputs["mount -f"] = log.read_bytes()
        outputs["the log"] = drive.log().encode()
    assert [what for what, output in outputs.items() if not said_plainly(output)] == []
    assert all(b"x1b]0;owned" in outputs[what] for what in (f"prefetch {point}", "mount -f", "the log"))
    assert b"u001b]0;owned" in outputs["errors.ndjson"]


def peak(drive: Drive) -> int:
    """Return how much memory the daemon has had at most, in MiB."""
    status = Path(f"/proc/{drive.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_list_of_nothing_costs_no_memory(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L4, R6: 65 KB of gzip hold 22 million empty objects; what is known stays listed, and status says why."""
    service.add("a.txt", b"text")
    drive = faulty("listing_ttl=0").drive
    assert (drive / "a.txt.content").read_bytes() and os.listdir(drive.point)
    before = peak(drive)
    for body in (b'{"data":[' + b"{}," * 22_000_000 + b"{}]}", b'{"data":[' + b"[]," * 4_000_000 + b"[]]}"):
        service.script("list", *[answered(Reply(200, gzip.compress(body), {"Content-Encoding": "gzip"}))] * 2)
        drive.command("refresh", str(drive.point))
        assert sorted(os.listdir(drive.point)) == ["a.txt", "a.txt.content"]
    assert peak(drive) - before < 150
    assert "The listing is old" in drive.command("status", str(drive.point)).stdout
    service.unscript()


def test_of_a_list_without_end_the_newest_are_shown(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: 99,000 entries keep nobody waiting for minutes; what is left out is told, and is no more than that."""
    service.add("mine.txt", b"text")
    files = [{"id": f"x{i}", "bytes": 1, "created_at": i, "filename": f"{i}.txt"} for i in range(99_000)]
    body = json.dumps({"data": files + [stored.to_wire() for stored in service.files.values()]}).encode()
    drive = faulty("listing_ttl=3600").drive
    service.script("list", answered(Reply(200, body)))
    drive.command("refresh", str(drive.point))
    shown = {name for name in os.listdir(drive.point) if not name.endswith(".content")}
    assert shown == {f"{i}.txt" for i in range(94_001, 99_000)} | {"mine.txt"}
    assert drive.status()["listing"]["left_out"] == 94_001
    assert "94,001 more that are not shown" in drive.command("status", str(drive.point)).stdout
    listed = subprocess.run(["ls", "-l", drive.point], capture_output=True, timeout=SECONDS * 2, check=True)
    assert listed.stdout.count(b"\n") == 10_001
    assert peak(drive) < 400


def test_long_texts_are_not_held_in_memory(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R2, E2: seven at once, whole and kept, or of another form and not kept; each is read to its end."""
    size = 48 << 20
    text = json.dumps({"content": "long 福 text \n" * (size // 18)}).encode()
    junk = b"no JSON" * (size // 7)
    drive = faulty("content_cache=1M").drive
    for number in range(7):
        service.add(f"{number}.txt", b"x")
    drive.command("refresh", str(drive.point))
    os.listdir(drive.point)
    found: dict[str, int] = {}

    def content(turn: Turn) -> None:
        turn.read()
        number = int(service.files[turn.seen.file_id].filename[0])
        turn.send(Reply(200, text if number < 4 else junk))

    service.script("content", *[content] * 10)

    def read(name: str) -> None:
        with open(drive / f"{name}.txt.content", "rb") as file:
            found[name] = sum(map(len, iter(lambda: file.read(1 << 20), b"")))

    threads = [threading.Thread(target=read, args=(f"{number}",)) for number in range(7)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        status = Path(f"/proc/{drive.pid}/status").read_text()
        most = max(most, *(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("RssAnon")))
        time.sleep(0.02)
    assert found == {f"{number}": len(text if number < 4 else junk) for number in range(7)}
    assert most < 200
    assert [path for path in drive.home.rglob("texts/*") if path.name.partition("~")[0] not in service.files] == []
