"""A service that means harm: what it says does nothing to a terminal, to memory, or to a disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.server import FaultServer, answered, error
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
