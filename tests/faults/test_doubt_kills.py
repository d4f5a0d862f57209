"""Uploads in doubt, and a kill: the journal knows what is over, and nothing comes back (W3, W2, W8).

A crash is a copy of the state directories at that moment, as in `test_exactly_one_copy`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

import pytest

from moonfs import disowned, wire
from moonfs.errors import MoonfsError
from moonfs.flights import Flights
from moonfs.journal import CANCELLED, PENDING, Intent
from tests.faults.server import Fault, Turn, answer_lost, page, refused, reset_mid_body
from tests.faults.test_exactly_one_copy import Bench, Drive, Held
from tests.harness.doubt import ONE, SIX, TWO, away, back, failed_close, in_doubt, remove, rename_over, settled
from tests.harness.drive import wait_until
from tests.harness.house import in_thread


@pytest.mark.parametrize("store", [True, False], ids=["arrived", "not arrived"])
def test_a_kill_after_a_close_that_failed_in_doubt(bench: Bench, store: bool) -> None:
    """W3: the journal knows of it: after `kill -9` it ends as without."""
    drive = bench.start(upload_timeout=0.3)
    drive.write("a.txt", SIX)
    bench.server.script("upload", answer_lost() if store else reset_mid_body(50))
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", ONE)
    back(bench)
    after = bench.after_crash()
    settled(after)
    expected = [ONE] if store else [SIX]
    assert bench.copies() == expected and after.ls() == ["a.txt"] and after.read("a.txt") == expected[0]


def _gone_and_killed(bench: Bench, drive: Drive, then: str, *, write_back: bool) -> None:
    """Have `a.txt` removed or renamed, and the drive killed at the end of that; look at what the next one shows."""
    disowned_by = drive.fs._versions._disowned
    steps = [] if write_back or then != "rm" else [disowned_by.removed]  # before it is deleted

    def removed(name: str) -> None:
        if steps:
            steps.pop()(name)
        else:
            drive.kill()

    disowned_by.removed = removed  # type: ignore[method-assign]
    expected = {"rm": [], "mv": ["b.txt"], "mv to a temporary name": ["b.txt.tmp"]}[then]
    if expected:
        drive.fs.rename("/a.txt", f"/{expected[0]}")
    else:
        remove(drive)
    drive.kill()
    back(bench)
    after = bench.after_crash(write_back=write_back)
    wait_until(lambda: ONE not in bench.copies() and after.ls() == expected, "nothing is left of it")
    wait_until(lambda: not after.fs.busy(), "nothing is in doubt")
    assert after.ls() == expected and ONE not in bench.copies()


GOES = pytest.mark.parametrize("then", ["rm", "mv", "mv to a temporary name"])


@GOES
def test_a_kill_when_the_name_of_two_in_doubt_has_gone(bench: Bench, then: str) -> None:
    """W3, W8, W9: a name goes in one step with what is in doubt under it: nothing of it comes back after a kill."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    bench.server.script("upload", *[reset_mid_body(50)] * 5000)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    rename_over(drive, TWO)
    under_way = drive.fs._versions._disowned._flying
    wait_until(lambda: not (drive.uploader.active or under_way), "no upload is under way")
    _gone_and_killed(bench, drive, then, write_back=True)


@GOES
def test_a_kill_when_the_name_of_a_failed_close_has_gone(bench: Bench, then: str) -> None:
    """W3, W8, W9: the same in write-through, where the version before has the name."""
    drive = failed_close(bench)
    _gone_and_killed(bench, drive, then, write_back=False)


def answered_and_killed(bench: Bench, data: bytes, *, replaced: bool) -> Drive:
    """Return a drive that has `a.txt` by an answer, of which a kill has left no more than that: its row is in doubt."""
    drive = bench.drives[-1]
    (stored,) = (file for file in bench.server.files.values() if file.data == data)
    drive.journal.put(
        Intent(
            spool="answered",
            name="a.txt",
            state=CANCELLED,
            purpose="auto",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            mtime_ns=0,
            inode=0,
            started=stored.created_at - 1,
            unanswered=1,
            replaced=replaced,
        )
    )
    return bench.after_crash(write_back=True)


def test_an_answer_that_a_kill_came_before(bench: Bench) -> None:
    """W3, W8: of a version that was removed while it was under way, what an answer gave goes at the next start."""
    bench.start(write_back=True).write("a.txt", ONE)
    settled(bench.drives[-1])
    after = answered_and_killed(bench, ONE, replaced=False)
    settled(after)
    assert bench.copies() == [] and after.ls() == []


def test_the_last_copy_of_a_name_outlasts_a_kill(bench: Bench) -> None:
    """W3, W4: of a version that a newer one has replaced, the last copy goes when that one is stored, not before."""
    drive = bench.start(write_back=True)
    drive.write("a.txt", ONE)
    settled(drive)
    bench.server.script("upload", *[page(503)] * 5000)
    drive.journal.put(promised(drive, TWO), data=TWO)
    after = answered_and_killed(bench, ONE, replaced=True)
    wait_until(lambda: bench.server.count("upload") > 2, "the newer one is tried")
    assert bench.copies() == [ONE] and after.read("a.txt") == TWO
    back(bench)
    settled(after)
    assert bench.copies() == [TWO] and after.ls() == ["a.txt"]


def promised(drive: Drive, data: bytes) -> Intent:
    """Return a promise of `a.txt`, which knows nothing of what was stored before."""
    return Intent(
        spool="promised",
        name="a.txt",
        state=PENDING,
        purpose="auto",
        size=len(data),
        sha256="",
        mtime_ns=0,
        inode=77,
        acknowledged=drive.journal.number(),
    )


def deletion_held(bench: Bench) -> tuple[threading.Event, threading.Event]:
    """Let the service delete the next file and hold its answer: return what is set when it has, and what lets it go."""
    reached, go = threading.Event(), threading.Event()

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        reached.set()
        go.wait(60)
        turn.send(reply)

    bench.server.script("delete", fault)
    return reached, go


def test_a_kill_during_a_removal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3, W8: the service has deleted what had the name, and nobody has heard of it: what was in doubt is gone too."""
    monkeypatch.setattr(disowned, "AGAIN", 3600.0)
    drive = bench.start(upload_timeout=0.3)

    def fault(turn: Turn) -> None:
        turn.serve()
        bench.server.add("a.txt", b"somebody else's")
        turn.hang_up()

    bench.server.script("upload", fault)
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", ONE)
    wait_until(lambda: drive.fs._versions._disowned._failures, "there is no list for the first look")
    back(bench)
    assert drive.ls() == ["a.txt"]
    reached, go = deletion_held(bench)
    removing = in_thread(lambda: remove(drive))
    assert reached.wait(60)
    after = bench.after_crash()
    go.set()
    with suppress(MoonfsError, OSError):
        removing.result(60)
    settled(after)
    assert bench.copies() == [] and after.ls() == []


@pytest.mark.parametrize("fault", [refused(400, wire.MSG_UNSUPPORTED), reset_mid_body(50)], ids=["refused", "in doubt"])
def test_an_upload_fails_while_a_writer_has_truncated(bench: Bench, fault: Fault) -> None:
    """Tenet 1, W2, W4: v1 fails when v2 is acknowledged and a third writer has cut the file: a kill then leaves v2."""
    drive = bench.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    reached, go = threading.Event(), threading.Event()

    def later(turn: Turn) -> None:
        reached.set()
        go.wait(60)
        fault(turn)

    bench.server.script("upload", later)
    drive.write("a.txt", ONE)
    assert reached.wait(60)
    drive.write("a.txt", TWO)
    bench.server.script("upload", *[reset_mid_body(50)] * 5000)
    handle = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    go.set()
    wait_until(lambda: drive.fs._space.local["a.txt"].lent is None, "the upload of v1 has failed")
    with drive.fs._lock:  # and is over
        drive.kill()
    bench.server.unscript()
    after = bench.after_crash(write_back=True)
    assert after.read("a.txt") == TWO
    settled(after)
    assert bench.copies() == [TWO] and after.ls() == ["a.txt"]
    drive.fs.release(handle)


def test_what_is_taken_over_at_a_start_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2, W3: a record of an earlier run that an upload takes over at once hides nothing any more."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.fs.rename("/a.txt", "/b.txt.tmp")
    drive.fs.rename("/b.txt.tmp", "/a.txt")
    drive.kill()
    back(bench)
    monkeypatch.setattr(disowned, "LOOKS", (3600.0, 3600.0, 3600.0))
    monkeypatch.setattr(
        Flights, "schedule", lambda flights, local, attempt=0, _delay=0.0: flights._carry(local, attempt)
    )
    after = bench.after_crash(write_back=True)
    assert bench.copies() == [ONE] and after.ls() == ["a.txt"] and after.read("a.txt") == ONE


@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_a_save_that_failed_in_doubt(bench: Bench, end: str) -> None:
    """W3, W9: a rename over a stored file has failed, and arrived: both files are what they were."""
    drive = bench.start(upload_timeout=0.3)
    drive.write("a.txt", SIX)
    drive.write("a.txt.tmp", ONE)
    bench.server.script("upload", answer_lost())
    away(bench)
    with pytest.raises(MoonfsError):
        drive.fs.rename("/a.txt.tmp", "/a.txt")
    assert sorted(bench.copies()) == [ONE, SIX]
    if end == "is killed":
        drive.kill()
    back(bench)
    after = drive if end == "goes on" else bench.after_crash()
    wait_until(lambda: bench.copies() == [SIX] and not after.fs.busy(), "its copy is gone")
    assert after.ls() == ["a.txt", "a.txt.tmp"] and after.read("a.txt.tmp") == ONE and after.read("a.txt") == SIX


def test_a_kill_in_doubt_and_somebody_elses_file(bench: Bench) -> None:
    """W3, tenet 1: the next run does not take theirs for the upload that it finds in its journal."""
    drive = bench.start(write_back=True)
    held = Held(store=False)
    bench.server.script("upload", held)
    drive.write("a.txt", ONE)
    assert held.reached.wait(60)
    bench.server.add("a.txt", SIX)
    after = bench.after_crash(write_back=True)
    held.go.set()
    settled(after)
    assert sorted(bench.copies()) == [ONE, SIX]
    assert len(after.ls()) == 2


def test_a_kill_during_a_write_through_and_somebody_elses_file(bench: Bench) -> None:
    """W3: nobody was told that ours is safe; theirs stays whatever becomes of ours."""
    bench.server.add("a.txt", b"before")
    drive = bench.start()
    held = Held(store=False)
    bench.server.script("upload", held)
    threading.Timer(0.0, lambda: (held.reached.wait(60), bench.server.add("a.txt", SIX))).start()
    wait_for_theirs = lambda: SIX in bench.copies()  # noqa: E731
    writing = in_thread(lambda: drive.write("a.txt", ONE))
    wait_until(wait_for_theirs, "theirs is stored")
    after = bench.after_crash()
    held.go.set()
    with suppress(MoonfsError):
        writing.result(60)
    settled(after)
    assert SIX in bench.copies()


def test_a_kill_during_an_attempt_long_after_the_first(bench: Bench) -> None:
    """W3: the first ended without an answer, the next one is sent after an outage: a kill then leaves one copy."""
    ahead = 0.0
    bench.server.clock = lambda: time.time() + ahead
    in_doubt(bench, reset_mid_body(100), write_back=True)
    ahead = 1200.0
    held = Held(store=True)
    bench.server.script("upload", held)
    bench.server.unscript("list")
    assert held.reached.wait(60)
    wait_until(lambda: bench.copies() == [ONE], "it is stored")
    after = bench.after_crash(write_back=True)
    held.go.set()
    settled(after)
    assert bench.copies() == [ONE] and after.ls() == ["a.txt"]


def test_a_kill_when_an_earlier_doubt_is_taken_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3: the same bytes have the name again, and their upload answers for the attempt before, over a kill too."""
    taken, go = threading.Event(), threading.Event()
    take_over = disowned.Disowned.take_over

    def late(self: disowned.Disowned, earlier: Iterable[Intent]) -> None:
        earlier = list(earlier)
        take_over(self, earlier)
        if earlier:
            taken.set()
            go.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(disowned.Disowned, "take_over", late)
        drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.fs.rename("/a.txt", "/b.txt.tmp")
    drive.fs.rename("/b.txt.tmp", "/a.txt")
    back(bench)
    assert taken.wait(60)
    wait_until(lambda: len(drive.journal.intents()) == 1, "the earlier one has no row any more")
    after = bench.after_crash(write_back=True)
    go.set()
    settled(after)
    assert bench.copies() == [ONE] and after.ls() == ["a.txt"]


def test_a_crash_while_two_versions_are_in_doubt(bench: Bench) -> None:
    """W3, W2: both had arrived; the next run keeps the newer one and deletes the older one's copy."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    held = Held(store=True)
    bench.server.script("upload", held)
    drive.write("a.txt", TWO)
    bench.server.unscript("list")
    assert held.reached.wait(60)
    after = bench.after_crash(write_back=True)
    held.go.set()
    settled(after)
    assert bench.copies() == [TWO] and after.ls() == ["a.txt"] and after.read("a.txt") == TWO
