"""`moonfs tidy`: old conflict copies of this machine, printed, and deleted where a person says so (N8)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer
from tests.harness.drive import Drive

pytestmark = pytest.mark.fuse

HOUR = 3600


def stored(drive: Drive, service: FaultServer, name: str, age: int) -> str:
    """Store a file by this machine, so many seconds ago, and return its id."""
    before = set(service.files)
    (drive / name).write_text(f"mine {name}")
    (file_id,) = set(service.files) - before
    service.files[file_id].created_at -= age
    return file_id


@pytest.fixture
def drive(faulty: Callable[..., Faulty], service: FaultServer) -> Drive:
    return faulty().drive


@pytest.mark.parametrize("dated", [True, False], ids=["with a Date", "without one"])
def test_old_conflict_copies(drive: Drive, service: FaultServer, dated: bool) -> None:
    """N8: those of this machine are printed and deleted; those of others, and what somebody has touched, are not."""
    service.dated = dated
    now = int(time.time())
    mine = [stored(drive, service, name, 3 * HOUR) for name in ("a.txt", "fresh.txt", "read.txt", "alone.txt")]
    theirs = service.add("a.txt", b"theirs, older still", created_at=now - 4 * HOUR).id
    newest = service.add("a.txt", b"theirs", created_at=now - 2 * HOUR).id
    service.add("fresh.txt", b"theirs", created_at=now - HOUR // 2)
    service.add("read.txt", b"theirs", created_at=now - 2 * HOUR)
    point = str(drive.point)
    drive.remount()  # whose they are is remembered
    (drive / f"read~{mine[2]}.txt").read_bytes()
    assert drive.status()["conflicts"] == {"copies": 2, "ours": 1}
    shown = drive.command("status", point).stdout
    assert "2 older files of names that newer ones have, untouched for an hour; 1 of them this machine's" in shown
    before = set(service.files)
    done = drive.command("tidy", point)
    assert (done.returncode, done.stdout.split("  ")[0], done.stdout.count("\n")) == (0, f"a~{mine[0]}.txt", 1)
    assert f"moonfs tidy --delete {point}" in done.stderr and set(service.files) == before
    done = drive.command("tidy", "--delete", point)
    assert (done.returncode, done.stdout.split("  ")[0]) == (0, f"a~{mine[0]}.txt"), done
    assert "1 file deleted" in done.stderr
    assert set(service.files) == before - {mine[0]}
    assert {theirs, newest} < set(service.files)
    assert drive.status()["conflicts"] == {"copies": 1, "ours": 0}
    assert "nothing to tidy" in drive.command("tidy", "--delete", point).stderr
    assert set(service.files) == before - {mine[0]}


def test_what_has_changed_since_is_kept(drive: Drive, service: FaultServer) -> None:
    """N8: what the drive is told to delete it looks at once more, by a list of this moment."""
    now = int(time.time())
    alone, read, gone = (stored(drive, service, name, 3 * HOUR) for name in ("alone.txt", "read.txt", "gone.txt"))
    newer = {
        name: service.add(name, b"theirs", created_at=now - 2 * HOUR).id
        for name in ("alone.txt", "read.txt", "gone.txt")
    }
    theirs = service.add("gone.txt", b"theirs", created_at=now - 4 * HOUR).id
    drive.command("refresh", str(drive.point))
    assert drive.status()["conflicts"] == {"copies": 4, "ours": 3}
    del service.files[newer["alone.txt"]]  # by another machine: the older one is the last of its name now
    with open(drive / f"read~{read}.txt", "rb"):
        asked = [alone, read, gone, theirs, newer["read.txt"], "none", "../../x"]
        (drive / ".moonfs" / "tidy").write_text("\n".join(asked))
    assert set(service.files) == {alone, read, theirs, newer["read.txt"], newer["gone.txt"]}
    assert (drive / "alone.txt").read_text() == "mine alone.txt"
