"""A service that stores what it cannot read: that is a refusal, and nothing of it is left (W1, W3, W11, R4)."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moonfs import wire
from tests.conftest import MODES, Faulty
from tests.faults.kinds import UNREADABLE, Kind
from tests.faults.server import FaultServer, Turn, answer_lost, failed_after, refused, stalled, stalled_after
from tests.harness.drive import Drive, hosted, wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

KIND = Kind(stores_failures=True)
MISSING = "The file has no extracted content"


@pytest.fixture(scope="module", params=MODES)
def storing(fuse: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """A drive on a service that stores failures: in write-through, and again in write-back."""
    mode = MODES[request.param]
    with (
        FaultServer(kind=KIND) as server,
        Drive(tmp_path_factory.mktemp(request.param), *hosted(server.base_url, server.key)) as drive,
    ):
        yield Faulty(drive.mount("listing_ttl=0", *mode), server, bool(mode))


@pytest.fixture
def drive(storing: Faulty) -> Faulty:
    """The module's drive, without files and with nothing counted."""
    storing.clear()
    return storing


@pytest.fixture
def one(fuse: None, tmp_path: Path) -> Iterator[Callable[..., Faulty]]:
    """Make a drive of one's own on a service that stores failures."""
    with (
        FaultServer(kind=KIND) as server,
        Drive(tmp_path / "home", *hosted(server.base_url, server.key)) as drive,
    ):
        yield lambda *options: Faulty(drive.mount("listing_ttl=0", *options), server, "write_back" in options)


def refuses(faulty: Faulty, name: str) -> None:
    """Copy in what cannot be read: `close` says so, in write-back the status."""
    path = faulty.drive / name
    if faulty.write_back:
        path.write_bytes(UNREADABLE)
    else:
        with fails(errno.EINVAL):
            path.write_bytes(UNREADABLE)


def failed(faulty: Faulty) -> list[str]:
    return [each["name"] for each in faulty.drive.status()["uploads"]["failed"]]


def test_a_stored_failure_is_a_refusal(drive: Faulty) -> None:
    """W1, E1: EINVAL at close, with the reason in English; it is kept as failed with a next step; nothing is left."""
    refuses(drive, "scan.pdf")
    wait_until(lambda: failed(drive) == ["scan.pdf"], "it is refused")
    (entry,) = drive.drive.status()["uploads"]["failed"]
    assert entry["errno"] == "EINVAL" and "picture" in entry["next"]
    assert "no text could be extracted from this file" in entry["error"]
    assert drive.server.files == {} and drive.server.count("upload") == drive.server.count("delete") == 1
    line = drive.drive.errors()[-1]
    assert (line["name"], line["errno"], line["service_message"]) == ("scan.pdf", "EINVAL", wire.MSG_NO_TEXT)
    assert line["request_id"] and (drive.drive / "scan.pdf").read_bytes() == UNREADABLE
    os.unlink(drive.drive / "scan.pdf")


def test_an_overwrite_leaves_the_old_version(drive: Faulty) -> None:
    """W1, W4: what is stored as a failure takes nobody's place: the version before it is the only one there is."""
    (drive.drive / "a.pdf").write_bytes(b"readable")
    if drive.write_back:
        drive.arrived()
    (before,) = drive.server.files
    refuses(drive, "a.pdf")
    wait_until(lambda: not drive.write_back or failed(drive) == ["a.pdf"], "it is refused")
    assert list(drive.server.files) == [before] and drive.drive.status()["uploads"]["deletions"] == 0
    if not drive.write_back:
        assert (drive.drive / "a.pdf").read_bytes() == b"readable"


def test_a_photo_without_text_becomes_an_image(drive: Faulty) -> None:
    """W11: the failure is gone before the next purpose is sent, since a service may number what is there twice."""
    seen: list[list[str]] = []
    receive = drive.server.receive
    drive.server.receive = lambda *what: (seen.append(drive.server.names()), receive(*what))[1]  # type: ignore[method-assign]
    try:
        (drive.drive / "photo.png").write_bytes(UNREADABLE)
        wait_until(lambda: [each.purpose for each in drive.server.files.values()] == ["image"], "it is an image")
    finally:
        drive.server.__dict__.pop("receive")
    assert seen == [[], []] and drive.server.count("delete") == 1
    drive.arrived()
    assert os.listdir(drive.drive.point) == ["photo.png"]


def test_a_deletion_that_fails_is_tried_again_before_the_next_purpose(drive: Faulty) -> None:
    """W11: the name of a photo is free when it is sent as an image."""
    drive.server.script("delete", refused(500, "no", "server_error"), refused(503, "no", "server_unavailable"))
    (drive.drive / "photo.png").write_bytes(UNREADABLE)
    wait_until(lambda: [each.purpose for each in drive.server.files.values()] == ["image"], "it is an image")
    assert drive.server.count("delete") == 3


def test_nobody_sees_a_stored_failure(drive: Faulty) -> None:
    """W1: who looks while it is there sees the file that is being written, and nothing else."""
    looked, deleting, go = threading.Event(), threading.Event(), threading.Event()

    def held(turn: Turn) -> None:
        deleting.set()
        assert go.wait(60)
        turn.send(turn.serve())

    drive.server.script("delete", held)
    writer = threading.Thread(target=refuses, args=(drive, "scan.pdf"))
    writer.start()
    try:
        assert deleting.wait(60)
        drive.drive.command("refresh", str(drive.drive.point))
        shown = [name for name in os.listdir(drive.drive.point) if not name.endswith(".content")]
        by_id = os.listdir(drive.drive / ".moonfs" / "by-id")
        looked.set()
    finally:
        go.set()
        writer.join()
    assert looked.is_set() and (shown, by_id) == (["scan.pdf"], [])
    wait_until(lambda: failed(drive) == ["scan.pdf"], "it is refused")
    assert drive.server.files == {}
    os.unlink(drive.drive / "scan.pdf")


def test_a_kill_forgets_no_stored_failure(one: Callable[..., Faulty]) -> None:
    """W1: its deletion is in the journal before it is sent: the next mount sends it, and shows nothing of it."""
    drive = one("write_back")
    drive.server.script("delete", stalled(60))
    (drive.drive / "scan.pdf").write_bytes(UNREADABLE)
    wait_until(lambda: drive.server.count("delete") == 1, "the failure is being deleted")
    drive.drive.kill()
    drive.drive.mount("listing_ttl=0", "write_back")
    wait_until(lambda: failed(drive) == ["scan.pdf"], "it is refused")
    wait_until(lambda: drive.server.files == {}, "nothing of it is left")
    assert drive.drive.status()["uploads"]["copies"] == []


def test_a_stored_failure_without_an_answer_stays(one: Callable[..., Faulty]) -> None:
    """W3: it may be another machine's, and no text proves it: it is shown, with a line; the outcome is the refusal."""
    drive = one()
    drive.server.script("upload", answer_lost())
    refuses(drive, "scan.pdf")
    (left,) = drive.server.files.values()
    wait_until(lambda: f"scan~{left.id}.pdf" in os.listdir(drive.drive.point), "it is shown")
    (line,) = drive.drive.status()["uploads"]["copies"]
    assert (line["id"], line["name"]) == (left.id, f"scan~{left.id}.pdf")
    assert drive.server.count("upload") == 2 and failed(drive) == ["scan.pdf"]
    assert drive.drive.status()["uploads"]["doubts"] == []


def test_a_close_that_failed_in_doubt_over_a_stored_failure(one: Callable[..., Faulty]) -> None:
    """W3, W4, N3: of an overwrite too: it is no version that may have arrived, so the old one stays, and is shown."""
    drive = one()
    (drive.drive / "a.pdf").write_bytes(b"readable")
    (old,) = drive.server.files
    drive.server.script("upload", failed_after())
    refuses(drive, "a.pdf")
    wait_until(lambda: drive.drive.status()["uploads"]["doubts"] == [], "the doubt is settled")
    assert (drive.drive / "a.pdf").read_bytes() == b"readable"
    assert drive.server.count("upload") == 3 and old in drive.server.files
    (line,) = drive.drive.status()["uploads"]["copies"]
    assert line["id"] in drive.server.files and line["id"] != old


def test_a_kill_before_the_answer(one: Callable[..., Faulty]) -> None:
    """W3, W4: after it the old version is there, nothing is sent again, and what was stored has its line at once."""
    drive = one()
    (drive.drive / "a.pdf").write_bytes(b"readable")
    (old,) = drive.server.files
    drive.server.script("upload", stalled_after(60))

    def write() -> None:
        with suppress(OSError):
            (drive.drive / "a.pdf").write_bytes(UNREADABLE)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(drive.server.files) == 2, "it is stored as a failure")
    drive.drive.kill()
    writer.join()
    drive.drive.mount("listing_ttl=0")
    (left,) = drive.server.files.keys() - {old}
    wait_until(lambda: [each["id"] for each in drive.drive.status()["uploads"]["copies"]] == [left], "it has its line")
    assert (drive.drive / "a.pdf").read_bytes() == b"readable"
    assert f"a~{left}.pdf" in os.listdir(drive.drive.point)
    assert drive.server.count("upload") == 2 and list(drive.server.files) == [old, left]


@pytest.mark.parametrize("how", ["as listed", "as the content says"])
def test_stored_failures_of_others(drive: Faulty, how: str) -> None:
    """R4: they are listed; their texts are EIO with the reason, by the list or by the answer to who asks for one."""
    listed = how == "as listed"
    other = {"status": "error", "status_details": wire.MSG_NO_TEXT} if listed else {}
    drive.server.add("theirs.pdf", b"text", **other)
    if not listed:
        drive.server.script("content", refused(400, f"{MISSING}: {wire.MSG_NO_TEXT}", wire.FAILED_PRECONDITION))
    assert os.listdir(drive.drive.point) == ["theirs.pdf", "theirs.pdf.content"]
    with fails(errno.EIO):
        (drive.drive / "theirs.pdf.content").read_bytes()
    assert drive.server.count("content") == (not listed), "asked once, or never"
    line = drive.drive.errors()[-1]
    assert line["name"] == "theirs.pdf.content" and "no text could be extracted" in line["message"]
    if listed:
        details = os.getxattr(drive.drive / "theirs.pdf", "user.moonfs.status_details")
        assert details.decode() == wire.MSG_NO_TEXT
    os.unlink(drive.drive / "theirs.pdf")


def test_the_same_bytes_once_more(drive: Faulty) -> None:
    """W4: what is there as a failure, since its text was made later, is uploaded anew: a second copy mends it."""
    (drive.drive / "a.pdf").write_bytes(b"readable")
    if drive.write_back:
        drive.arrived()
    (stored,) = drive.server.files.values()
    stored.status = "error"
    os.listdir(drive.drive.point)
    (drive.drive / "a.pdf").write_bytes(b"readable")
    assert drive.arrived() == {"a.pdf": b"readable"} and stored.id not in drive.server.files
