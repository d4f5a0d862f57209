"""Overwriting: the new version first, then the old id goes, whatever happens in between (W3, W4)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Faulty
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    broken_off,
    failed_after,
    rate_limited,
    refused,
    reset_mid_body,
    truncated,
)
from tests.harness.drive import Drive, wait_until
from tests.harness.gate import Gate

pytestmark = [pytest.mark.fuse, pytest.mark.kinds]


def stored(server: FaultServer) -> list[tuple[str, bytes]]:
    with server.lock:
        return sorted((file.filename, file.data) for file in server.files.values())


def changes(server: FaultServer) -> list[str]:
    with server.lock:
        return [seen.operation for seen in server.seen if seen.operation in ("upload", "delete")]


def learn(drive: Drive, server: FaultServer) -> None:
    """Have the drive meet what the service does with names that are taken."""
    (drive / "learn.txt").write_text("once")
    (drive / "learn.txt").write_text("again")
    (drive / "learn.txt").unlink()
    wait_until(lambda: not server.files, "it is gone")


def test_the_new_version_comes_first(both: Faulty) -> None:
    """W4: the new version is uploaded and confirmed, then the old id is deleted; where names are numbered, at first."""
    (both.drive / "a.txt").write_text("old")
    (both.drive / "a.txt").write_text("newer")
    assert stored(both.server) == [("a.txt", b"newer")]
    numbered = ["upload", "delete"] if both.server.kind.numbers else []
    assert changes(both.server) == ["upload", "upload", "delete", *numbered]
    assert (both.drive / "a.txt").read_text() == "newer"
    assert b"newer" in (both.drive / "a.txt.content").read_bytes()


def test_a_copy_that_nothing_proves_has_its_line(both: Faulty) -> None:
    """W3: a video's upload was stored though it did not say so: it is sent again, and status names the other copy."""
    both.server.script("upload", answer_lost())
    (both.drive / "a.mp4").write_bytes(b"video")
    copies = wait_until(lambda: both.drive.status()["uploads"]["copies"], "the copy is named", 120)
    wait_until(lambda: both.server.count("upload") == 2 and not both.drive.status()["uploads"]["pending"], "it is over")
    (first, _) = both.server.files
    own, other = ("a(1).mp4", "a.mp4") if both.server.kind.numbers else ("a.mp4", f"a~{first}.mp4")
    assert [copy["name"] for copy in copies] == [other]
    assert sorted(os.listdir(both.drive.point)) == sorted([own, other])
    assert (both.drive / own).read_bytes() == b"video"
    said = both.drive.command("status", str(both.drive.point)).stdout
    assert "Perhaps copies" in said and other in said
    both.drive.remount("listing_ttl=0", "upload_timeout=20")
    again = wait_until(lambda: both.drive.status()["uploads"]["copies"], "it is named again", 120)
    assert [copy["name"] for copy in again] == [other]
    (both.drive / other).unlink()
    wait_until(lambda: not both.drive.status()["uploads"]["copies"], "it is deleted, and not named any more", 120)
    assert stored(both.server) == [(own, b"video")]


def test_the_old_version_is_there_until_the_new_one_is(both: Faulty) -> None:
    """W4: while the new version is under way the service still has the old one."""
    (both.drive / "a.txt").write_text("old")
    gate = Gate()
    both.server.script("upload", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((both.drive / "a.txt").write_text, "newer")
        gate.wait()
        assert stored(both.server) == [("a.txt", b"old")]
        gate.opened.set()
        writer.result()
    assert stored(both.server) == [("a.txt", b"newer")]


@pytest.mark.parametrize("remount", [False, True], ids=["same mount", "next mount"])
@pytest.mark.parametrize("way", ['cp plain "$DIR/a.txt"', 'cat plain > "$DIR/a.txt"', 'rsync -I plain "$DIR/a.txt"'])
def test_identical_bytes_upload_nothing(faulty: Callable[..., Faulty], both: Faulty, remount: bool, way: str) -> None:
    """W4: writing the bytes that are there already uploads nothing and deletes nothing; the id stays."""
    drive = faulty() if remount else both
    drive.drive.run(f"printf hello > plain; {way}")
    before = list(drive.server.files)
    if remount:
        drive.drive.remount()
    sent = changes(drive.server)
    drive.drive.run(way)
    assert changes(drive.server) == sent
    assert list(drive.server.files) == before
    assert (drive.drive / "a.txt").read_text() == "hello"


@pytest.mark.parametrize("body", ["hello", "other"], ids=["the same bytes", "other bytes"])
def test_a_file_that_was_deleted_elsewhere_can_be_written_again(both: Faulty, body: str) -> None:
    """W1, W4: when somebody else has deleted a file, writing its name makes it anew; nobody hears ENOENT."""
    (both.drive / "gone.txt").write_text("hello")
    both.server.files.clear()
    (both.drive / "gone.txt").write_text(body)
    assert stored(both.server) == [("gone.txt", body.encode())]


def test_the_old_id_is_gone_already(both: Faulty) -> None:
    """W4, W8: a 404 for the old id counts as deleted."""
    learn(both.drive, both.server)
    (both.drive / "a.txt").write_text("old")

    def gone(turn: Turn) -> None:
        turn.server.files.pop(turn.seen.file_id)
        turn.send(turn.serve())

    deletions = both.server.count("delete")
    both.server.script("delete", gone)
    (both.drive / "a.txt").write_text("newer")
    assert (both.drive / "a.txt").read_text() == "newer"
    assert stored(both.server) == [("a.txt", b"newer")]
    assert both.server.count("delete") == deletions + 1


def test_a_deletion_that_fails_is_done_later(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W4: the overwrite has succeeded; the old id shows no more, and goes when the service lets it."""
    drive = faulty("timeout=2").drive
    (drive / "a.txt").write_text("old")
    (old,) = service.files
    service.script("delete", *[refused(503, "busy", "server_unavailable")] * 3)
    (drive / "a.txt").write_text("newer")
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    wait_until(lambda: old not in service.files, "the old version is deleted")
    assert stored(service) == [("a.txt", b"newer")]


def one_is_left(drive: Drive, server: FaultServer, data: bytes) -> None:
    """Wait until the drive has one version left, which is `data`; where names are numbered it may be the old one."""
    expected = (drive / "a.txt").read_bytes() if server.kind.numbers else data
    assert expected in (b"old", data)
    assert os.stat(drive / "a.txt").st_size == len(expected)
    wait_until(lambda: stored(server) == [("a.txt", expected)], "the other version is deleted")
    assert (drive / "a.txt").read_bytes() == expected


@pytest.mark.parametrize("remove", [False, True], ids=["once", "again after that"])
def test_killed_before_the_old_version_is_deleted(
    faulty: Callable[..., Faulty], service: FaultServer, remove: bool
) -> None:
    """W4: the daemon dies when the new version is confirmed and the old one is not deleted: the next mount does it.

    Where names are numbered, no writer was told so yet, and either version may be the one that is left.
    """
    drive = faulty().drive
    (drive / "a.txt").write_text("old")
    gate = Gate()
    service.script("delete", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(_quietly, lambda: (drive / "a.txt").write_text("newer"))
        gate.wait()
        drive.kill()
        writer.result()
    # The request that was under way must not do the work of the next mount.
    with service.lock:
        assert [file.data for file in service.files.values()] == [b"old", b"newer"]
    drive.mount()
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    one_is_left(drive, service, b"newer")
    gate.opened.set()
    if remove:
        (drive / "a.txt").unlink()
        assert stored(service) == []
        drive.remount()
        assert os.listdir(drive.point) == []


def test_killed_when_the_answer_was_on_its_way(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W3, W4: the service has the new version, the daemon never learnt it: the next mount ends with one copy."""
    drive = faulty().drive
    learn(drive, service)
    (drive / "a.txt").write_text("old")
    gate = Gate()
    service.script("upload", gate.after)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(_quietly, lambda: (drive / "a.txt").write_text("newer"))
        gate.wait()
        drive.kill()
        writer.result()
    gate.opened.set()
    drive.mount()
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    one_is_left(drive, service, b"newer")


def test_killed_before_the_service_had_it(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W4: the new version never arrived and its writer was never told it had: the old one stays as it was."""
    drive = faulty().drive
    (drive / "a.txt").write_text("old")
    gate = Gate()
    service.script("upload", gate.before, refused(500, "not this one either"))
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(_quietly, lambda: (drive / "a.txt").write_text("newer"))
        gate.wait()
        drive.kill()
        writer.result()
    drive.mount()
    assert (drive / "a.txt").read_text() == "old"
    assert stored(service) == [("a.txt", b"old")]
    assert not list(drive.home.glob("state/moonfs/accounts/*/spool/*"))


AMBIGUOUS: dict[str, Callable[[], Fault]] = {
    "500 after storing": failed_after,
    "connection closed after storing": answer_lost,
    "connection reset after storing": answer_reset,
    "answer cut off": broken_off,
    "answer that is no JSON": truncated,
    "504 page after storing": lambda: failed_after(_page()),
}


def _page() -> Reply:
    return Reply(504, b"<html><head><title>504 Gateway Time-out</title></head></html>", {"Content-Type": "text/html"})


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError:
        pass


@pytest.mark.parametrize("fault", AMBIGUOUS)
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
def test_stored_though_it_did_not_say_so(both: Faulty, fault: str, overwrite: bool) -> None:
    """W3: after a failure that leaves it open the list is matched before any retry: exactly one copy, and success."""
    if overwrite:
        learn(both.drive, both.server)
        (both.drive / "a.txt").write_text("old")
    both.server.script("upload", AMBIGUOUS[fault]())
    uploads = both.server.count("upload")
    (both.drive / "a.txt").write_text("hello")
    assert stored(both.server) == [("a.txt", b"hello")]
    assert both.server.count("upload") == uploads + 1
    assert (both.drive / "a.txt").read_text() == "hello"


def test_not_stored_and_not_said(both: Faulty) -> None:
    """W3: when the connection broke in mid-body and the list has no such file, it is uploaded again: one copy."""
    body = os.urandom(500_000)
    both.server.script("upload", reset_mid_body(100_000))
    (both.drive / "a.bin").write_bytes(body)
    assert stored(both.server) == [("a.bin", body)]
    assert both.server.count("upload") == 2


def test_a_twin_that_was_there_before_is_not_taken_for_ours(both: Faulty) -> None:
    """W3: an older file of the same name and size is not mistaken for the upload that failed."""
    both.server.add("a.txt", b"12345", created_at=int(time.time()) - 1000)
    both.server.script("upload", refused(500, "extract task failed: failed", "server_error"))
    (both.drive / "a.txt").write_text("hello")
    assert stored(both.server) == [("a.txt", b"hello")]


def test_the_list_fails_too(both: Faulty) -> None:
    """W3: while nobody can say whether it arrived, nothing is uploaded a second time."""
    both.server.script("upload", answer_lost())
    with open(both.drive / "a.txt", "w") as file:
        file.write("hello")
        file.flush()
        both.server.script("list", *[refused(503, "busy", "server_unavailable")] * 2)
    assert stored(both.server) == [("a.txt", b"hello")]
    assert both.server.count("upload") == 1


def test_a_refusal_for_haste(both: Faulty) -> None:
    """W1: a 429 is waited out; in the end there is one copy."""
    both.server.script("upload", rate_limited("0"))
    (both.drive / "a.txt").write_text("hello")
    assert stored(both.server) == [("a.txt", b"hello")]


def test_cp_again_after_an_open_outcome(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W3: a person who repeats the `cp` that failed has one copy in the end, also when the first had arrived."""
    drive = faulty("upload_timeout=2", "timeout=2", "listing_ttl=0").drive

    def lost_for_a_while(turn: Turn) -> None:
        service.script("list", *[refused(503, "busy", "server_unavailable")] * 5000)  # first, or one may tell of it
        turn.serve()
        turn.hang_up()

    service.script("upload", lost_for_a_while)
    with pytest.raises(OSError, match=r"Input/output error|No route to host"):
        (drive / "a.txt").write_text("hello")
    service.unscript("list")
    drive.run("printf hello > plain")
    # The drive has found that nobody answers (E2), and takes a moment to find that somebody does.
    wait_until(lambda: drive.shell('cp plain "$DIR/a.txt"').returncode == 0, "the end of the outage is found")
    assert stored(service) == [("a.txt", b"hello")]
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]


def test_two_overwrites_at_once_of_one_name(both: Faulty) -> None:
    """W4: of writers that race for one name one wins; no version of the losers stays behind."""
    (both.drive / "a.txt").write_text("start")
    bodies = [bytes([65 + index]) * 5000 for index in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map((both.drive / "a.txt").write_bytes, bodies))
    ((name, _),) = stored(both.server)
    assert name == "a.txt"
    assert os.listdir(both.drive.point) == ["a.txt", "a.txt.content"]
    assert (both.drive / "a.txt").read_bytes() == stored(both.server)[0][1]
