"""Versions on their way: what a slow, refused or cut-off upload leaves here and on the service."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from moonfs import disowned, errors, flights, writeback
from moonfs import journal as states
from moonfs.errors import MoonfsError
from moonfs.journal import Intent
from tests.harness.house import SELF, Drive, House, in_thread, let_go, put_off, record
from tests.harness.rest import at_rest


def test_what_it_was_renamed_over_on_the_way_is_gone(house: House) -> None:
    """W9: away from its name, over others, and back while the service holds the answer: the others stay gone."""
    drive = house.start(write_back=True)
    house.account.add("b.txt", b"theirs")
    drive.remote.listing.refresh()
    put_off(house, drive, "a.txt")
    drive.fs.rename("/a.txt", "/b.txt")
    drive.fs.rename("/b.txt", "/a.txt")
    let_go(house, drive)
    assert house.account.shown() == {"a.txt": b"one"} and drive.ls() == ["a.txt"] and drive.journal.deletions() == []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "RENAME_SECONDS", 0.05)


def slow_rename(house: House, drive: Drive, over: bytes = b"") -> None:
    """Rename `.new` to `a.txt`, over a file of ours with the bytes `over`, and return before the service answers."""
    if over:
        drive.write("a.txt", over)
        house.account.arrived.acquire()
    drive.write(".new", b"one")
    house.account.gate = threading.Event()
    drive.fs.rename("/.new", "/a.txt")
    assert house.account.arrived.acquire(timeout=60) and drive.ls() == ["a.txt"] and drive.read("a.txt") == b"one"


def land(house: House, drive: Drive) -> None:
    """Let the service answer, and return when nothing is under way any more."""
    house.account.gate.set()  # type: ignore[union-attr]
    assert drive.fs.drain(10)
    drive.fs._versions.flights.close()
    at_rest(drive.uploader.workers)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("over", [b"", b"old"])
def test_a_slow_rename_is_promised_and_goes_on(house: House, over: bytes) -> None:
    """E2, W9: the directory is not locked for as long as an upload takes; in the end there is one copy."""
    drive = house.start()
    slow_rename(house, drive, over)
    assert [row.state for row in drive.journal.intents() if row.name == "a.txt"] == [states.PENDING] and drive.fs.busy()
    land(house, drive)
    assert house.account.shown() == {"a.txt": b"one"} and drive.journal.intents() == [] and drive.spooled() == 0
    assert drive.read("a.txt") == b"one"


@pytest.mark.usefixtures("hurried")
def test_a_slow_rename_survives_the_process(house: House) -> None:
    """W2, W9: what rename has answered is finished by the next mount, if need be from the journal's own bytes."""
    drive = house.start()
    slow_rename(house, drive, b"old")
    again = house.next_run(start=False)
    for file in (again.home / "spool").iterdir():
        file.write_bytes(b"")  # a power cut: nothing was synced but the journal
    land(house, drive)
    house.account.files.clear()
    house.account.gate = None
    again.remote.listing.refresh()
    again.start()
    assert again.read("a.txt") == b"one"
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"} and again.spooled() == 0


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("error", "tried_again"), [(errors.ServiceError("503"), True), (errors.NoText("no", status=400), False)]
)
def test_a_slow_rename_that_fails_later(house: House, error: MoonfsError, tried_again: bool) -> None:
    """W2, W9: tried again like any promise, or kept and marked when the file itself is refused."""
    drive = house.start()
    drive.write(".new", b"one")
    house.account.gate, house.account.script = threading.Event(), [error]
    drive.fs.rename("/.new", "/a.txt")
    land(house, drive)
    assert house.account.shown() == ({"a.txt": b"one"} if tried_again else {})
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"one"
    state = drive.fs.xattrs("/a.txt")["user.moonfs.state"]
    assert state == (b"stored" if tried_again else b"failed")


@pytest.mark.usefixtures("hurried")
def test_a_slow_rename_of_a_stored_file_that_fails_once(house: House) -> None:
    """W2, W9: what the service has under the old name is promised under the new one; its bytes stay here for that."""
    drive = house.start()
    drive.write("a.txt", b"one")
    house.account.arrived.acquire()
    house.account.gate, house.account.script = threading.Event(), [errors.ServiceError("503")]
    drive.fs.rename("/a.txt", "/b.txt")
    land(house, drive)
    assert house.account.shown() == {"b.txt": b"one"} and drive.ls() == ["b.txt"] and drive.read("b.txt") == b"one"
    assert drive.journal.intents() == [] and drive.spooled() == 0


@pytest.mark.usefixtures("hurried")
def test_a_rename_behind_a_stuck_upload_of_the_same_file(house: House) -> None:
    """E2: it does not wait for what it replaces; one copy, under the new name."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    house.account.gate = threading.Event()
    closing = in_thread(lambda: drive.end(handle))
    assert house.account.arrived.acquire(timeout=60)
    drive.fs.rename("/a.txt", "/b.txt")
    assert drive.ls() == ["b.txt"] and drive.read("b.txt") == b"one"
    let_go(house, drive)
    closing.result()
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"b.txt": b"one"}


def test_a_refused_rename_leaves_both_as_they_were(house: House) -> None:
    """W9: an acknowledged file that was refused under a new name is what it was, here and after a crash."""
    drive = house.build()
    record(drive, "a.txt", b"bytes", states.PENDING)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no"), errors.UnsupportedType("no"), errors.Unreachable("no")]
    drive.start()
    at_rest(drive.uploader.workers)
    with pytest.raises(errors.UnsupportedType):
        drive.fs.rename("/a.txt", "/b.odd")
    at_rest(drive.uploader.workers)
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"bytes"
    assert [(row.name, row.state) for row in drive.journal.intents()] == [("a.txt", states.PENDING)]
    again = house.next_run()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"bytes"}


@pytest.mark.parametrize("write_back", [True, False])
def test_a_refused_file_is_put_right_by_another_name(house: House, write_back: bool) -> None:
    """N7, W9: refused at close, kept and marked with its reason over a remount; a rename uploads it."""
    drive = house.start(write_back=write_back)
    if not write_back:
        house.account.script = [errors.UnsupportedType("no such type", status=400)]
    with pytest.raises(errors.UnsupportedType):
        drive.write("Makefile", b"all:")
    again = house.next_run(write_back=write_back)
    assert again.read("Makefile") == b"all:" and again.fs.xattrs("/Makefile")["user.moonfs.state"] == b"failed"
    (failed,) = again.fs.summary()["uploads"]["failed"]  # type: ignore[index]
    assert (failed["name"], failed["errno"]) == ("Makefile", "UnsupportedType") and not again.fs.busy()
    again.fs.rename("/Makefile", "/Makefile.txt")
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"Makefile.txt": b"all:"} and again.spooled() == 0


def test_a_full_account_is_tried_again_and_said(house: House) -> None:
    """W2, W7: marked as failed while there is no room, not waited for at the end; uploaded when there is."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 0.3  # type: ignore[method-assign]
    house.account.script = [errors.QuotaExceeded("10 GB are full", status=400)]
    drive.write("a.txt", b"one")
    while not drive.fs.summary()["uploads"]["failed"]:  # type: ignore[index]
        time.sleep(0.01)
    assert drive.read("a.txt") == b"one" and not drive.fs.summary()["uploads"]["pending"]  # type: ignore[index]
    at_rest(drive.uploader.workers)
    while drive.fs.xattrs("/a.txt")["user.moonfs.state"] != b"stored":
        time.sleep(0.01)
    assert house.account.shown() == {"a.txt": b"one"}


def test_a_new_file_of_a_waiting_writer_is_in_the_journal_while_it_is_sent(house: House) -> None:
    """W3: after a kill in mid-upload its copy may come late; the next upload of the name takes its place."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    house.account.gate = threading.Event()
    closing = in_thread(lambda: drive.fs.flush(handle))
    assert house.account.arrived.acquire(timeout=60)
    again = house.next_run()  # the service is not done yet
    assert again.ls() == [] and again.spooled() == 0
    let_go(house, drive)
    closing.result()
    again.remote.listing.expire()
    again.account.gate = None
    again.write("a.txt", b"two")
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"two"}


def test_a_power_cut_takes_no_acknowledged_byte(house: House) -> None:
    """W2: small bytes are in the journal, large ones were synced before it; no other spool file counts."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no")] * 2
    synced: list[str] = []
    sync = type(drive.spool.create()).sync
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moonfs.spool.SpoolFile.sync", lambda file: synced.append(file.name) or sync(file))
        drive.write("small.txt", b"s" * 60_000)
        drive.write("large.txt", b"l" * 70_000)
        drive.write(".kept", b"local")
    at_rest(drive.uploader.workers)
    assert len(synced) == 1
    again = house.next_run(start=False)
    for file in (again.home / "spool").iterdir():
        if file.name not in synced:
            file.unlink()
    again.start()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"small.txt": b"s" * 60_000, "large.txt": b"l" * 70_000}
    assert again.read(".kept") == b"local" and again.fs.getattr("/small.txt").mode == 0o600


def test_a_damaged_spool_file_is_no_original(house: House) -> None:
    """Tenet 3, W3: after a power cut nobody was told of an upload that had arrived: without its bytes it goes."""
    drive = house.build()
    house.account.add("a.txt", b"bytes")
    drive.remote.listing.refresh()
    file = record(drive, "a.txt", b"bytes", states.UPLOADING, started=999.0)
    file.file().write_bytes(b"")
    drive.start()
    at_rest(drive.uploader.workers)
    assert drive.ls() == [] and drive.spooled() == 0 and house.account.shown() == {}


def test_unlinking_during_a_slow_rename(house: House, hurried: None) -> None:
    """W8, W9: the name is gone at once, and what the upload makes is deleted."""
    drive = house.start()
    slow_rename(house, drive)
    removing = in_thread(lambda: drive.fs.unlink("/a.txt", SELF))
    removing.result()
    assert drive.ls() == []
    land(house, drive)
    assert house.account.files == {} and drive.ls() == [] and drive.spooled() == 0


@pytest.mark.parametrize("rename", [False, True], ids=["overwrite", "rename"])
def test_a_copy_that_comes_after_a_kill_takes_nobodys_place(
    house: House, monkeypatch: pytest.MonkeyPatch, rename: bool
) -> None:
    """W3, W4: what was cut short had no answer: the old version is the one that stays, however late the copy comes."""
    monkeypatch.setattr(disowned, "LOOKS", (0.1, 0.2, 0.4))
    drive = house.start()
    drive.write("a.txt", b"one")
    house.account.arrived.acquire()
    house.account.gate = gate = threading.Event()
    cut_off = in_thread(
        (lambda: drive.fs.rename("/a.txt", "/b.txt")) if rename else (lambda: drive.write("a.txt", b"two, longer"))
    )
    assert house.account.arrived.acquire(timeout=60)
    drive.uploader.delete_queued = lambda *_: None  # type: ignore[method-assign] # a killed process deletes nothing
    again = house.next_run(start=False)
    house.account.gate = None
    again.start()
    assert again.ls() == ["a.txt"] and again.read("a.txt") == b"one"
    gate.set()
    cut_off.result()
    assert len(house.account.files) == 2
    again.remote.listing.expire()
    assert again.ls() == ["a.txt"]
    while again.journal.intents():
        time.sleep(0.01)
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"}


@pytest.mark.parametrize("pending", [False, True], ids=["stored", "pending"])
def test_a_rename_that_this_disk_refuses_leaves_both_as_they_were(house: House, pending: bool) -> None:
    """W9, W7: ENOSPC at a rename over another file: the target is shown, and is not deleted with the next upload."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 1.0  # type: ignore[method-assign]
    house.account.add("b.txt", b"theirs")
    drive.remote.listing.refresh()
    house.account.script = [errors.Unreachable("no")] if pending else []
    drive.write("a.txt", b"mine")
    house.account.arrived.acquire()
    if not pending:
        at_rest(drive.uploader.workers)
    drive.journal._group._db.execute("PRAGMA query_only = ON")
    with pytest.raises(OSError):
        drive.fs.rename("/a.txt", "/b.txt")
    drive.journal._group._db.execute("PRAGMA query_only = OFF")
    assert drive.ls() == ["a.txt", "b.txt"] and drive.read("a.txt") == b"mine"
    drive.write("a.txt", b"mine, again")
    assert drive.fs.drain(10)
    assert house.account.shown() == {"a.txt": b"mine, again", "b.txt": b"theirs"}


def test_a_promise_outlives_a_newer_version_that_fails(house: House) -> None:
    """W2: its turn comes while a newer version is on its way, which then fails: the older one is still promised."""
    drive = house.build()
    record(drive, "a.txt", b"promised", states.PENDING)
    house.account.script = [errors.Unreachable("no")]
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    drive.start()
    assert house.account.arrived.acquire(timeout=60)
    house.account.gate, house.account.script = threading.Event(), [errors.TimedOut("no answer")]
    newer = in_thread(lambda: drive.write("a.txt", b"newer"))
    assert house.account.arrived.acquire(timeout=60)
    time.sleep(0.2)  # the turn of the promised one comes and goes
    house.account.gate.set()
    try:
        newer.result()
    except MoonfsError:
        pass
    at_rest(drive.uploader.workers)
    assert drive.fs.drain(5) and house.account.shown() in ({"a.txt": b"promised"}, {"a.txt": b"newer"})


@pytest.mark.parametrize("change", ["write", "truncate", "start over"])
def test_an_original_is_kept_before_its_row_goes(house: House, change: str) -> None:
    """R5, tenet 3: killed with the file still open, it can be read back; what is written then does not reach it."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    drive.fs.flush(handle)
    again = house.next_run()
    assert again.read("a.txt") == b"one"
    if change == "write":
        drive.fs.write(handle, b"ONE", 0)
    else:
        drive.fs.truncate(None, 1 if change == "truncate" else 0, handle)
    other = drive.fs.create("/b.txt", 0o644).handle
    drive.fs.write(other, b"one", 0)
    drive.end(other)
    assert drive.read("b.txt") == b"one"  # the same original
    drive.fs.write(handle, b"two", 0)
    drive.end(handle)
    assert drive.read("a.txt") == b"two" and drive.read("b.txt") == b"one" and drive.spooled() == 0


def test_a_late_copy_goes_though_a_local_file_bears_its_name(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3, W8: an empty file is never uploaded, so nobody can mistake the copy for one of it."""
    monkeypatch.setattr(disowned, "LOOKS", (0.0, 0.05, 0.1))
    monkeypatch.setattr(disowned, "AGAIN", 0.02)
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.unlink("/a.txt", SELF)
    drive.end(drive.create("a.txt"))
    let_go(house, drive)
    while (
        drive.journal.deletions()
        or house.account.files
        or any(row.state == states.CANCELLED for row in drive.journal.intents())
    ):
        time.sleep(0.01)
    assert drive.ls() == ["a.txt"] and drive.fs.getattr("/a.txt").size == 0


def refuse(drive: Drive, *, refuse: bool = True) -> None:
    """Let the journal's disk refuse every change, or take them again."""
    drive.journal._group._db.execute(f"PRAGMA query_only = {'ON' if refuse else 'OFF'}")


def test_a_removal_that_this_disk_refuses_leaves_the_file(house: House) -> None:
    """W8, tenet 1: `rm` of a pending file says so, and the file is what it was: readable, and uploaded."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 0.5  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no")]
    drive.write("a.txt", b"precious")
    house.account.arrived.acquire()
    refuse(drive)
    with pytest.raises(OSError):
        drive.fs.unlink("/a.txt", SELF)
    refuse(drive, refuse=False)
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"precious"
    assert drive.fs.drain(10) and house.account.shown() == {"a.txt": b"precious"}


def test_what_stays_here_is_safe_when_its_close_returns(house: House) -> None:
    """W6, W7: a temporary file is kept before its close says so; where this disk refuses, close does too."""
    drive = house.start()
    handle = drive.create("draft.tmp", b"text")
    drive.fs.flush(handle)
    assert house.next_run(start=False).start().read("draft.tmp") == b"text"
    other = drive.create("other.tmp", b"text")
    refuse(drive)
    with pytest.raises(OSError):
        drive.fs.flush(other)
    drive.fs.release(other)
    refuse(drive, refuse=False)
    assert drive.ls() == ["draft.tmp"]


def test_a_time_that_is_set_leaves_an_open_outcome_known(house: House) -> None:
    """A1, W3: `touch -d` between two tries, then a kill: the copy that the first one made is found."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.TimedOut("no answer", maybe_stored=True)]
    drive.write("a.txt", b"one")
    house.account.arrived.acquire()
    while not any(row.started for row in drive.journal.intents()):
        time.sleep(0.01)
    drive.uploader._stopping.set()
    while drive.fs._space.local["a.txt"].lent is not None:
        time.sleep(0.01)
    drive.fs.utimens("/a.txt", 5)
    (row,) = drive.journal.intents()
    assert row.started > 0 and row.mtime_ns == 5


def test_what_was_kept_back_is_no_attempt(house: House) -> None:
    """E1, E2: what an outage or a full minute keeps back is told nobody and burns nothing; a failure is told."""
    drive = house.build(write_back=True)
    kept_back = [errors.Unreachable("away", unsent=True), errors.RateLimited("later", unsent=True, retry_after=0.01)]
    house.account.script = [*kept_back, errors.Unreachable("no connection"), *kept_back]
    told: list[str] = []
    tries: list[int] = []
    drive.fs._versions.flights._report = lambda name, error: told.append(f"{name}: {error}")
    drive.uploader.backoff = lambda attempt: tries.append(attempt) or 0.0  # type: ignore[method-assign,func-returns-value]
    record(drive, "a.txt", b"bytes", states.PENDING)
    drive.start()
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"bytes"} and house.account.uploads == 6
    assert told == ["a.txt: no connection"] and tries == [0, 0, 0, 1, 1]


def unfinished(drive: Drive) -> list[Intent]:
    """Return what is in the journal but for the copies that are looked for (W3)."""
    return [row for row in drive.journal.intents() if row.state != states.CANCELLED]


def purposes(house: House) -> dict[str, str]:
    """Return the purposes of what the service has, by name; one of each."""
    assert len(house.account.shown()) == len(house.account.files)
    return {file.filename: file.purpose for file in house.account.files.values()}


def give(drive: Drive, name: str, purpose: str) -> None:
    """Move a file to a purpose's directory."""
    drive.fs.rename(f"/{name}", f"/.moonfs/purpose/{purpose}/{name}")


def test_a_purpose_that_is_given_while_the_upload_is_under_way(house: House) -> None:
    """N5, W2: the bytes go once more, under the new purpose, in place of the copy that was on its way; after a kill
    too."""
    drive = house.start(write_back=True)
    put_off(house, drive, "a.txt")
    give(drive, "a.txt", "batch")
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no")] * 20
    let_go(house, drive)
    assert purposes(house) == {"a.txt": "file-extract"}
    again = house.next_run(start=False)
    house.account.script.clear()
    again.remote.listing.refresh()
    again.start()
    at_rest(again.uploader.workers)
    assert purposes(house) == {"a.txt": "batch"} and again.read("a.txt") == b"one"
    assert unfinished(again) == [] and again.spooled() == 0


def test_a_purpose_that_is_given_to_what_waits(house: House) -> None:
    """N5, W9: free in write-back, and only the last one is uploaded; a newer version in the root takes it back."""
    drive = house.build(write_back=True)
    record(drive, "a.txt", b"one", states.PENDING)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no")] * 4
    drive.start()
    at_rest(drive.uploader.workers)
    give(drive, "a.txt", "image")
    give(drive, "a.txt", "batch")
    assert [(row.name, row.purpose) for row in drive.journal.intents()] == [("a.txt", "batch")]
    house.account.script.clear()
    at_rest(drive.uploader.workers)
    assert purposes(house) == {"a.txt": "batch"}
    drive.write("a.txt", b"two")
    at_rest(drive.uploader.workers)
    assert purposes(house) == {"a.txt": "file-extract"}


def test_what_was_promised_keeps_its_purpose(house: House) -> None:
    """N5, W2: bytes that are written over in another directory, and not closed yet, do not change what was promised."""
    drive = house.start(write_back=True)
    house.account.script = [errors.Unreachable("no")]
    drive.write(".moonfs/purpose/batch/a.txt", b"one")
    handle = drive.fs.open("/a.txt", read=False, write=True).handle
    drive.fs.write(handle, b"two", 0)
    at_rest(drive.uploader.workers)
    assert (house.account.shown(), purposes(house)) == ({"a.txt": b"one"}, {"a.txt": "batch"})
    drive.end(handle)
    at_rest(drive.uploader.workers)
    assert (house.account.shown(), purposes(house)) == ({"a.txt": b"two"}, {"a.txt": "file-extract"})


def test_a_refused_purpose_leaves_the_old_one(house: House) -> None:
    """N5, W9: in write-through a move that fails leaves name, purpose, bytes and id as they were."""
    drive = house.start()
    drive.write("a.txt", b"one")
    before = dict(house.account.files)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    with pytest.raises(errors.UnsupportedType):
        give(drive, "a.txt", "image")
    assert house.account.files == before and drive.read("a.txt") == b"one"
    assert drive.fs.readdir("/.moonfs/purpose/image") == [] and drive.spooled() == 0
    give(drive, "a.txt", "image")
    assert purposes(house) == {"a.txt": "image"}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("error", [errors.ServiceError("503"), None])
def test_a_slow_move_of_a_stored_file(house: House, error: MoonfsError | None) -> None:
    """N5, W9, E2: to another name, or another purpose: what was answered is done, though it fails once; bytes stay."""
    drive = house.start()
    for name in ("a.txt", "b.txt"):
        drive.write(name, name.encode())
        house.account.arrived.acquire()
    house.account.gate, house.account.script = threading.Event(), [error, error]
    give(drive, "a.txt", "batch")
    drive.fs.rename("/b.txt", "/c.txt")
    assert drive.fs.readdir("/.moonfs/purpose/batch") == ["a.txt"] and drive.ls() == ["a.txt", "c.txt"]
    land(house, drive)
    assert purposes(house) == {"a.txt": "batch", "c.txt": "file-extract"}
    assert house.account.shown() == {"a.txt": b"a.txt", "c.txt": b"b.txt"}
    assert drive.read("a.txt") == b"a.txt" and drive.read("c.txt") == b"b.txt"
    assert drive.journal.intents() == [] and drive.spooled() == 0


@pytest.mark.parametrize("write_back", [True, False])
def test_a_staged_file_is_renamed_and_replaced(house: House, write_back: bool) -> None:
    """N5, W8: one that is open under a name that is free there is moved, deleted, or lost to a rename, like any."""
    drive = house.start(write_back=write_back)
    house.account.add("a.txt", b"theirs")
    drive.remote.listing.refresh()
    there = ".moonfs/purpose/batch"
    handle = drive.create(f"{there}/a.txt", b"one")
    drive.fs.rename(f"/{there}/a.txt", f"/{there}/b.txt")
    drive.end(handle)
    handle = drive.create(f"{there}/a.txt", b"two")
    drive.write(f"{there}/c.txt", b"three")
    drive.fs.rename(f"/{there}/c.txt", f"/{there}/a.txt")
    drive.end(handle)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"three", "b.txt": b"one"}
    house.account.files = {i: f for i, f in house.account.files.items() if f.filename == "b.txt"}
    house.account.add("a.txt", b"theirs")
    drive.remote.listing.refresh()
    handle = drive.create(f"{there}/a.txt", b"four")
    drive.fs.unlink(f"/{there}/a.txt", SELF)
    drive.end(handle)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"theirs", "b.txt": b"one"} and drive.spooled() == 0


@pytest.mark.parametrize("write_back", [True, False])
def test_two_staged_files_of_one_name(house: House, write_back: bool) -> None:
    """N5: the last one that is closed has it; there is one copy."""
    drive = house.start(write_back=write_back)
    drive.write("a.txt", b"old")
    handles = [drive.create(f".moonfs/purpose/{each}/a.txt", each.encode()) for each in ("image", "batch")]
    for handle in handles:
        drive.fs.fsync(handle)
    for handle in handles:
        drive.end(handle)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"batch"} and purposes(house) == {"a.txt": "batch"}
    assert drive.read("a.txt") == b"batch" and drive.spooled() == 0 and drive.journal.intents() == []


def test_a_staged_file_leaves_nothing_when_the_disk_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """N5, W7: write-back: the close fails, what has the name keeps it, and no trace of the other is shown or kept."""
    drive = house.start(write_back=True)
    drive.write("a.txt", b"old")
    at_rest(drive.uploader.workers)
    handle = drive.create(".moonfs/purpose/batch/a.txt", b"new")

    def full(*_args: object, **_other: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(drive.journal, "put", full)
        with pytest.raises(OSError, match="No space"):
            drive.fs.flush(handle)
        assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"old"
        assert drive.fs.readdir("/.moonfs/purpose/batch") == ["a.txt"]
        drive.fs.release(handle)
    assert drive.ls() == ["a.txt"] and drive.fs.readdir("/.moonfs/purpose/batch") == []
    assert drive.spooled() == 0 and drive.journal.intents() == []
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"old"}


def test_a_purpose_of_what_stays_here(house: House) -> None:
    """N5, W6: moved between directories it is recorded anew, so that the next run knows where it is."""
    drive = house.start(purpose="image")
    drive.write("a.tmp", b"one")
    drive.write("b.tmp", b"one")
    give(drive, "a.tmp", "batch")
    assert {row.name: row.purpose for row in drive.journal.intents()} == {"a.tmp": "batch", "b.tmp": ""}
    again = house.next_run()
    assert again.fs.readdir("/.moonfs/purpose/batch") == ["a.tmp"]
    for name in ("a", "b"):
        again.fs.rename(f"/{name}.tmp", f"/{name}.txt")
    assert purposes(house) == {"a.txt": "batch", "b.txt": "file-extract"}


def test_what_is_taken_back_keeps_its_purpose(house: House) -> None:
    """N5, W7: a write that fails gives the place back to the bytes that were promised, for their purpose."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    house.account.script = [errors.Unreachable("no")]
    drive.write(".moonfs/purpose/batch/a.txt", b"one")
    at_rest(drive.uploader.workers)
    handle = drive.fs.open("/a.txt", read=False, write=True).handle
    drive.fs.write(handle, b"two", 0)
    with pytest.raises(errors.FileTooLarge):
        drive.fs.write(handle, b"x", 100 * 1024**2)
    with pytest.raises(errors.FileTooLarge):
        drive.end(handle)
    assert drive.read("a.txt") == b"one" and drive.fs.readdir("/.moonfs/purpose/batch") == ["a.txt"]


def test_a_move_that_the_disk_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """N5, W7, W9: in write-back it is done on the service at once."""
    drive = house.start(write_back=True)
    drive.write(".part", b"one")

    def full(*_args: object, **_other: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(drive.journal, "put", full)
        drive.fs.rename("/.part", "/.moonfs/purpose/batch/a.txt")
    assert purposes(house) == {"a.txt": "batch"}
    assert drive.ls() == ["a.txt"] and "a.txt" in drive.fs.readdir("/.moonfs/purpose/batch")
    assert drive.read("a.txt") == b"one" and drive.spooled() == 0 and drive.journal.intents() == []


def test_what_is_moved_while_it_is_open_has_the_last_purpose(house: House) -> None:
    """N5, W9: a move to the root is for the mount to say, and so is a rename there after it; then a move gives one."""
    drive = house.start()
    handle = drive.create(".moonfs/purpose/batch/a.txt", b"one")
    drive.fs.flush(handle)
    assert purposes(house) == {"a.txt": "batch"}
    drive.fs.rename("/.moonfs/purpose/batch/a.txt", "/b.txt")
    drive.fs.rename("/b.txt", "/c.txt")
    assert purposes(house) == {"c.txt": "file-extract"}
    give(drive, "c.txt", "image")
    drive.fs.rename("/c.txt", "/d.txt")
    drive.end(handle)
    assert purposes(house) == {"d.txt": "image"} and drive.read("d.txt") == b"one" and drive.spooled() == 0


def test_new_bytes_do_not_inherit_a_purpose(house: House) -> None:
    """N5, W11: what was written in the root since it was stored has the mount's purpose under its next name too."""
    drive = house.start()
    drive.write(".moonfs/purpose/batch/a.txt", b"one")
    drive.fs.rename("/a.txt", "/a.tmp")
    assert drive.fs.readdir("/.moonfs/purpose/batch") == ["a.tmp"]
    drive.write("a.tmp", b"two")
    drive.fs.rename("/a.tmp", "/b.txt")
    assert purposes(house) == {"b.txt": "file-extract"}


def test_who_goes_on_writing_uploads_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: the turn of a version that newer ones have followed is put off to theirs, though not for ever."""
    drive = house.start(write_back=True)
    turns: list[Callable[[], None]] = []
    monkeypatch.setattr(drive.uploader.workers, "submit", lambda run, _delay=0.0: turns.append(run))
    monkeypatch.setattr(writeback, "LONGEST_LINGER", 60.0)
    drive.write("a.txt", b"one")
    drive.write("a.txt", b"two")
    turns.pop(0)()
    assert house.account.uploads == 0 and len(turns) == 2
    drive.write("a.txt", b"three")
    monkeypatch.setattr(writeback, "LONGEST_LINGER", 0.0)
    turns.pop(0)()
    assert house.account.shown() == {"a.txt": b"three"}
    for turn in turns:
        turn()
    assert house.account.uploads == 1


def test_the_end_waits_for_an_upload_that_nobody_wants_any_more(house: House) -> None:
    """L2, W8: deleted while it is on its way, it leaves a copy when it arrives, and that is deleted before the end."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.unlink("/a.txt", SELF)
    assert not drive.fs.drain(0.1)
    house.account.gate.set()  # type: ignore[union-attr]
    assert drive.fs.drain(10)
    assert house.account.shown() == {} and drive.journal.deletions() == []


@pytest.mark.parametrize("write_back", [True, False])
@pytest.mark.parametrize("size", [3, 80_000])
def test_bytes_stay_until_their_row_is_gone(
    house: House, monkeypatch: pytest.MonkeyPatch, write_back: bool, size: int
) -> None:
    """W2, R5: a crash between the end of an upload and the journal's commit finds the bytes that are promised there."""
    drive = house.start(write_back=write_back)
    seen: list[list[str]] = []
    stored, intents = drive.journal.stored, []

    def recorded(intent: Intent, *args: Any, **more: Any) -> Any:
        change = stored(intent, *args, **more)
        wait = change.wait
        intents.append(intent.spool)

        def waits() -> None:
            seen.append(os.listdir(drive.home / "spool"))
            wait()

        return SimpleNamespace(wait=waits)

    monkeypatch.setattr(drive.journal, "stored", recorded)
    drive.write("a.txt", b"x" * size)
    assert drive.fs.drain(10)
    at_rest(drive.uploader.workers)
    assert seen == [intents] and os.listdir(drive.home / "spool") == []
    assert drive.read("a.txt") == b"x" * size and drive.journal.intents() == []


def test_what_was_stored_is_known_to_the_next_flight(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3, N5: the upload for another purpose does not take the copy that was stored before it for its own, after a
    kill, however soon it begins."""
    drive = house.start(write_back=True)
    put_off(house, drive, "a.txt")
    give(drive, "a.txt", "batch")
    house.account.script = [errors.Unreachable("no")] * 20
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    (local,) = drive.fs._space.local.values()
    known: list[bool] = []
    stored = drive.journal.stored

    def recorded(intent: Intent, file_id: str, *args: Any, **more: Any) -> Any:
        assert local.lent is None  # from now on the next flight may begin
        known.append(file_id in drive.remote.known())
        return stored(intent, file_id, *args, **more)

    monkeypatch.setattr(drive.journal, "stored", recorded)
    let_go(house, drive)
    assert known == [True]
