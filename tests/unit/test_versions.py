"""The life of a written file: in flight, stored, failed, kept, recovered; on a service made of one dictionary."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from moonfs import disowned, errors
from moonfs import journal as states
from moonfs import spool as spools
from moonfs.errors import MoonfsError
from moonfs.spool import SpoolFile
from moonfs.wire import FileObject
from tests.harness import direct
from tests.harness.house import SELF, Drive, House, in_thread, let_go, put_off, record, text_of
from tests.harness.rest import at_rest


def held(house: House, drive: Drive, handle: int) -> Future[Any]:
    """Flush `handle` in another thread, and return once its upload is at the service."""
    house.account.gate = threading.Event()
    flushing = in_thread(lambda: drive.fs.flush(handle))
    assert house.account.arrived.acquire(timeout=60)
    return flushing


def test_each_generation_is_uploaded_once(house: House) -> None:
    """W1: flush, dup, fork, fsync and a second close upload nothing again; a change does."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    for _ in range(3):
        drive.fs.flush(handle)
        drive.fs.fsync(handle)
    assert house.account.uploads == 1
    drive.fs.write(handle, b"!", 3)
    drive.end(handle)
    assert house.account.uploads == 2 and house.account.shown() == {"a.txt": b"one!"}
    assert drive.read("a.txt") == b"one!" and drive.spooled() == 0 and drive.journal.intents() == []


def test_the_same_bytes_upload_nothing(house: House) -> None:
    """W4: writing what is there already."""
    drive = house.start()
    drive.write("a.txt", b"same")
    drive.write("a.txt", b"same")
    assert house.account.uploads == 1 and house.account.shown() == {"a.txt": b"same"}


def test_a_stuck_upload_blocks_no_stat(house: House) -> None:
    """E2: no lock is held during a request: names, sizes, other files and the summary go on."""
    drive = house.start()
    drive.write("other.txt", b"other")
    handle = drive.create("a.txt", b"stuck")
    flushing = held(house, drive, handle)

    def look() -> None:
        assert drive.fs.getattr("/a.txt").size == 5 and drive.ls() == ["a.txt", "other.txt"]
        assert drive.read("other.txt") == b"other" and direct.read(drive.fs, handle) == b"stuck"
        drive.fs.summary()
        drive.fs.quota()
        drive.end(drive.create("empty.txt"))

    in_thread(look).result(60)
    house.account.gate.set()  # type: ignore[union-attr]
    flushing.result(60)
    drive.fs.release(handle)


def test_a_writer_goes_on_during_its_upload(house: House) -> None:
    """W1, tenet 3: what is sent is one generation; what is written meanwhile is the next, and is sent too."""
    drive = house.start()
    handle = drive.create("a.txt", b"generation one")
    flushing = held(house, drive, handle)
    drive.fs.write(handle, b"two", 11)
    house.account.gate.set()  # type: ignore[union-attr]
    flushing.result(60)
    assert house.account.shown() == {"a.txt": b"generation one"}
    drive.end(handle)
    assert house.account.shown() == {"a.txt": b"generation two"} and drive.read("a.txt") == b"generation two"
    assert drive.spooled() == 0


def test_two_closes_at_once_upload_once(house: House) -> None:
    """W1: the second waits for the first and has nothing left to do."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    flushing = held(house, drive, handle)
    second = in_thread(lambda: drive.fs.flush(handle))
    house.account.gate.set()  # type: ignore[union-attr]
    flushing.result(60)
    second.result(60)
    drive.fs.release(handle)
    assert house.account.uploads == 1


def test_unlinking_during_the_upload_leaves_nothing(house: House) -> None:
    """W8: the name is gone at once; what the upload still makes is deleted."""
    drive = house.start()
    handle = drive.create("a.txt", b"one")
    flushing = held(house, drive, handle)
    drive.fs.unlink("/a.txt", SELF)
    assert drive.ls() == []
    house.account.gate.set()  # type: ignore[union-attr]
    flushing.result(60)
    drive.fs.release(handle)
    for _ in range(1000):
        if not house.account.files:
            break
        threading.Event().wait(0.005)
    assert house.account.files == {} and drive.ls() == [] and drive.spooled() == 0


def test_a_refused_overwrite_is_gone_and_said_once(house: House) -> None:
    """W1, N7: the error is close's; a second close repeats it without a request; the old version is back."""
    drive = house.start()
    house.account.add("a.txt", b"old")
    house.account.script = [errors.UnsupportedType("no", status=400)]
    handle = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    drive.fs.write(handle, b"new", 0)
    for _ in range(3):
        with pytest.raises(errors.UnsupportedType):
            drive.fs.flush(handle)
    assert house.account.uploads == 1 and drive.fs.getattr("/a.txt").size == 3
    drive.fs.release(handle)
    assert house.account.shown() == {"a.txt": b"old"} and drive.spooled() == 0 and drive.journal.intents() == []


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "full"), ValueError("x"), MemoryError()], ids=repr)
def test_a_local_problem_leaves_nobody_waiting(house: House, problem: BaseException) -> None:
    """E2, W7: whatever fails between the spool and the service, the next flush tries again at once."""
    drive = house.start()
    drive.write("a.txt", b"old")
    handle = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    drive.fs.write(handle, b"new", 0)

    def fail(*_args: Any) -> None:
        raise problem

    drive.journal.attempt = fail  # type: ignore[method-assign]
    with pytest.raises(type(problem)):
        drive.fs.flush(handle)
    del drive.journal.attempt
    in_thread(lambda: drive.end(handle)).result(60)
    assert house.account.shown() == {"a.txt": b"new"}


def test_what_stays_here_survives_a_remount(house: House) -> None:
    """W6, N6, A1: empty files and temporary names, with bytes, time and inode; and they go when renamed."""
    drive = house.start()
    drive.end(drive.create("empty.txt"))
    drive.write("a.txt.part", b"part")
    drive.fs.utimens("/a.txt.part", 5)
    before = drive.fs.getattr("/a.txt.part")
    again = house.next_run()
    assert again.ls() == ["a.txt.part", "empty.txt"] and house.account.uploads == 0
    assert again.read("a.txt.part") == b"part" and again.fs.getattr("/a.txt.part").inode == before.inode
    again.fs.rename("/a.txt.part", "/a.txt")
    assert house.account.shown() == {"a.txt": b"part"} and again.journal.intents() == [
        entry for entry in again.journal.intents() if entry.name == "empty.txt"
    ]


def test_the_time_of_a_file_that_stays_here_survives(house: House) -> None:
    """A1, W6: `touch -d` of a closed temporary file is kept across mounts, as that of any other."""
    drive = house.start()
    drive.write("a.txt.part", b"part")
    drive.fs.utimens("/a.txt.part", 5)
    assert house.next_run().fs.getattr("/a.txt.part").mtime_ns == 5


@pytest.mark.parametrize(
    ("state", "shown", "uploaded"),
    [
        (states.LOCAL, ["a.txt"], False),
        (states.FAILED, ["a.txt"], False),
        (states.PENDING, ["a.txt"], True),
        (states.UPLOADING, [], False),
    ],
)
def test_recovery_from_each_state(house: House, state: str, shown: list[str], uploaded: bool) -> None:
    """W2, W4, W6: kept, kept and failed, taken up again, or never acknowledged and gone."""
    drive = house.build()
    record(drive, "a.txt", b"bytes", state, error="why" if state == states.FAILED else "")
    drive.spool.create().rest()  # an orphan
    drive.start()
    for _ in range(1000):
        if house.account.uploads or not uploaded:
            break
        threading.Event().wait(0.005)
    drive.uploader.close()
    assert drive.ls() == shown and house.account.shown() == ({"a.txt": b"bytes"} if uploaded else {})
    if shown:
        assert drive.read("a.txt") == b"bytes" and drive.fs.getattr("/a.txt").mtime_ns == 7
    assert drive.spooled() == (1 if state in (states.LOCAL, states.FAILED) else 0), "the orphan goes"


def test_recovery_finishes_an_overwrite_that_had_arrived(house: House) -> None:
    """W4: the new version is there, so what it replaces goes."""
    drive = house.build()
    old, new = house.account.add("a.txt", b"old"), house.account.add("a.txt", b"bytes")
    drive.remote.listing.refresh()
    record(drive, "a.txt", b"bytes", states.UPLOADING, replaces=frozenset({old.id}), started=999.0)
    drive.start()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"bytes"
    at_rest(drive.uploader.workers)
    assert drive.ls() == ["a.txt"] and list(house.account.files) == [new.id] and house.account.uploads == 0


def test_recovery_keeps_what_was_there_before_the_attempt(house: House) -> None:
    """W3, W4: a namesake that is in `known`, or older than the attempt, did not come from it: nothing is deleted."""
    drive = house.build()
    old, twin = house.account.add("a.txt", b"old"), house.account.add("a.txt", b"EQUAL")
    drive.remote.listing.refresh()
    record(
        drive,
        "a.txt",
        b"equal",
        states.UPLOADING,
        replaces=frozenset({old.id}),
        started=999.0,
        known=frozenset({twin.id}),
    )
    drive.start()
    drive.uploader.close()
    assert set(house.account.files) == {old.id, twin.id} and drive.journal.deletions() == []


def test_recovery_without_the_bytes_forgets_the_intent(house: House) -> None:
    """A spool file that is gone cannot come back; the rest is recovered."""
    drive = house.build()
    record(drive, "gone.tmp", b"x", states.LOCAL).file().unlink()
    record(drive, "there.tmp", b"y", states.LOCAL)
    drive.start()
    assert drive.ls() == ["there.tmp"] and [entry.name for entry in drive.journal.intents()] == ["there.tmp"]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_recovery_never_deletes_bytes_it_could_not_open(
    house: House, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Tenet 1: with too many open files, say, the mount may fail; the bytes must be there the next time."""
    drive = house.build()
    file = record(drive, "a.tmp", b"acknowledged", states.LOCAL)

    def refuse(*_args: Any) -> SpoolFile:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(drive.spool, "reopen", refuse)
    try:
        drive.start()
    except (OSError, MoonfsError):
        pass
    assert file.file().exists() and len(drive.journal.intents()) == 1


def test_files_that_stay_here_need_no_descriptor(house: House) -> None:
    """W6: the usual limit is 1,024 descriptors; unpacking a tree of dotfiles must not reach it."""
    drive = house.start()
    drive.end(drive.create("first.tmp"))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        drive.end(drive.create(f"{number}.tmp"))
    assert len(os.listdir("/proc/self/fd")) - before < 10


def test_a_truncate_beside_a_reader_is_stored(house: House) -> None:
    """W1, W5: `truncate(2)` while `tail -f` has the file open: the change is neither lost nor left unsent."""
    drive = house.start()
    handle = drive.create("a.txt", b"long")
    drive.fs.flush(handle)
    reader = drive.fs.open("/a.txt", read=True, write=False).handle
    drive.fs.release(handle)
    drive.fs.truncate("/a.txt", 2)
    drive.end(reader)
    assert drive.fs.getattr("/a.txt").size == 2 and house.account.shown() == {"a.txt": b"lo"}


@pytest.mark.parametrize("write_back", [False, True])
def test_a_truncate_right_after_a_close_is_stored(house: House, write_back: bool) -> None:
    """W1, W2, tenet 1: the kernel sends the release of a closed file later, and `truncate(2)` may come before it."""
    drive = house.start(write_back=write_back)
    handle = drive.create("a.txt", b"long")
    drive.fs.flush(handle)
    drive.fs.truncate("/a.txt", 2)
    drive.fs.release(handle)
    at_rest(drive.uploader.workers)
    assert drive.read("a.txt") == b"lo" and house.account.shown() == {"a.txt": b"lo"}


def test_a_rename_during_the_upload_stands(house: House) -> None:
    """Tenet 1, W9: `mv a.txt a.txt~` and a new a.txt while the old one is sent: neither name nor bytes are lost."""
    drive = house.start()
    handle = drive.create("a.txt", b"first")
    flushing = held(house, drive, handle)
    renaming = in_thread(lambda: drive.fs.rename("/a.txt", "/a.txt~"))
    try:
        renaming.result(0.5)
    except TimeoutError:  # waiting for the upload is an answer too
        house.account.gate.set()  # type: ignore[union-attr]
        renaming.result(60)
    second = drive.create("a.txt", b"second")
    house.account.gate.set()  # type: ignore[union-attr]
    flushing.result(60)
    drive.fs.release(handle)
    drive.end(second)
    assert drive.ls() == ["a.txt", "a.txt~"]
    assert (drive.read("a.txt"), drive.read("a.txt~")) == (b"second", b"first")
    assert house.account.shown() == {"a.txt": b"second"}


def test_a_failed_upload_leaves_no_second_copy_in_the_spool(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """X2, W7: 100 MB and a descriptor for each failure would fill disk and daemon."""
    monkeypatch.setattr(spools, "MEMORY_BYTES", 0)
    drive = house.start()
    house.account.script = [errors.RateLimited("429")]
    handle = drive.create("a.txt", b"generation one")
    flushing = held(house, drive, handle)
    drive.fs.write(handle, b"two", 11)
    house.account.gate.set()  # type: ignore[union-attr]
    with pytest.raises(errors.RateLimited):
        flushing.result(60)
    assert drive.spooled() == 1
    drive.end(handle)


def test_backups_do_not_fill_the_account(house: House) -> None:
    """W4, N6: an editor that keeps `a.txt~` leaves one version on the service, not one for each save."""
    drive = house.start()
    for number in range(4):
        if number:
            drive.fs.rename("/a.txt", "/a.txt~")
        drive.write("a.txt", f"save {number}".encode())
    assert drive.ls() == ["a.txt", "a.txt~"]
    assert len(house.account.files) <= 2


def test_a_failed_rename_of_an_open_private_file_loses_nothing(house: House) -> None:
    """W9, tenet 1: `os.rename(mkstemp file, a.pdf)` fails, both files stay as they were."""
    drive = house.start()
    handle = drive.create("tmpab12cd", b"bytes", mode=0o600)
    drive.fs.flush(handle)
    house.account.script = [errors.QuotaExceeded("full", status=429), errors.UnsupportedType("no", status=400)]
    with pytest.raises(errors.QuotaExceeded):
        drive.fs.rename("/tmpab12cd", "/a.pdf")
    drive.end(handle)
    assert drive.ls() == ["tmpab12cd"] and drive.read("tmpab12cd") == b"bytes" and house.account.uploads == 1


def test_a_private_file_stays_private_after_a_remount(house: House) -> None:
    """N6, W6: what mkstemp made stays on this machine until it is renamed."""
    drive = house.start()
    drive.write("tmpab12cd", b"bytes", mode=0o600)
    again = house.next_run()
    handle = again.fs.open("/tmpab12cd", read=True, write=True).handle
    again.fs.write(handle, b"more", 5)
    again.end(handle)
    assert house.account.uploads == 0 and again.ls() == ["tmpab12cd"]


def test_a_full_disk_is_over_one_day(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W6, W7: a log under a temporary name met ENOSPC; days later, with room, another program appends."""
    monkeypatch.setattr(spools, "MEMORY_BYTES", 0)
    drive = house.start()
    drive.write("log.tmp", b"one")
    handle = drive.fs.open("/log.tmp", read=False, write=True).handle

    def full(*_args: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError):
        drive.fs.write(handle, b"two", 3)
    monkeypatch.undo()
    with pytest.raises(OSError):
        drive.fs.flush(handle)
    drive.fs.release(handle)
    later = drive.fs.open("/log.tmp", read=True, write=True).handle
    drive.fs.write(later, b"two", 3)
    drive.end(later)


def test_a_404_of_a_text_is_no_deletion(house: House) -> None:
    """R5, tenet 1: the service has no text for a listed file; its original here is the only one and stays."""
    drive = house.start()
    drive.write("a.txt", b"mine")
    house.account.content_error = errors.NotFound("no such file", status=404)
    with pytest.raises(MoonfsError):
        drive.fs.open("/a.txt.content", read=True, write=False)
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"mine"


def test_an_open_text_keeps_its_size_when_its_name_goes(house: House) -> None:
    """A2: after `open` every stat and read is exact, whoever deletes the file meanwhile."""
    drive = house.start()
    file = house.account.add("a.txt", b"x")
    handle = drive.fs.open("/a.txt.content", read=True, write=False).handle
    del house.account.files[file.id]
    assert direct.read(drive.fs, handle) == text_of(b"x")
    assert drive.fs.getattr("/a.txt.content", handle).size == len(text_of(b"x"))
    drive.fs.release(handle)


# Write-back: a close is a promise, and workers keep it.


def test_close_promises_and_a_worker_keeps_it(house: House) -> None:
    """W2: close returns while the service holds the answer back; bytes and intent are on disk by then."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    (row,) = drive.journal.intents()
    assert (row.state, row.name, drive.spool.reopen(row.spool).read(9, 0)) == (states.PENDING, "a.txt", b"one")
    assert row.started > 0 and row.sha256 and drive.fs.busy() and drive.ls() == ["a.txt"]
    let_go(house, drive)
    assert house.account.shown() == {"a.txt": b"one"} and not drive.fs.busy() and drive.read("a.txt") == b"one"
    assert drive.journal.intents() == [] and drive.spooled() == 0


def test_a_promise_is_made_once_for_each_generation(house: House) -> None:
    """W2, W1: flush, dup, fsync and a second close neither sync nor upload again."""
    drive = house.start(write_back=True)
    handle = drive.create("a.txt", b"one")
    drive.fs.fsync(handle)
    put, rows = drive.journal.put, []
    drive.journal.put = lambda *a, **b: (rows.append(a), put(*a, **b))[1]  # type: ignore[method-assign]
    for _ in range(3):
        drive.fs.flush(handle)
    drive.end(handle)
    at_rest(drive.uploader.workers)
    assert rows == [] and house.account.uploads == 1


def test_what_was_promised_survives_the_process(house: House) -> None:
    """W2, W3: killed when the service had it already: one copy, and nothing left in the journal."""
    drive = house.start(write_back=True)
    house.account.script = [errors.Unreachable("dead")]
    put_off(house, drive)
    again = house.next_run(start=False)
    drive.uploader.workers.close(timeout=0)
    house.account.gate.set()  # type: ignore[union-attr]
    house.account.add("a.txt", b"one", created_at=int(time.time()))
    again.remote.listing.refresh()
    again.start()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"} and again.read("a.txt") == b"one"
    assert again.journal.intents() == [] and house.account.uploads == 1


def test_the_background_finishes_what_an_earlier_run_left(house: House) -> None:
    """W2, W4: intents and deletions of the journal are taken up, and retried through an outage."""
    drive = house.build(write_back=True)
    old = house.account.add("old.txt", b"old")
    drive.remote.listing.refresh()
    drive.journal.delete_later(old.id)
    house.account.script = [errors.Unreachable("down"), errors.TimedOut("slow"), errors.RateLimited("429")]
    record(drive, "b.txt", b"bytes", states.PENDING)
    drive.start()
    assert drive.ls() == ["b.txt"], "hidden from the start"
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"b.txt": b"bytes"}
    assert drive.journal.intents() == [] and drive.journal.deletions() == [] and not drive.fs.busy()


@pytest.mark.parametrize("write_back", [True, False])
def test_an_upload_that_is_refused_for_good_is_kept_and_said(house: House, write_back: bool) -> None:
    """Tenet 1: marked in the journal with the reason, kept readable over a remount, and not tried again."""
    drive = house.build(write_back=write_back)
    house.account.script = [errors.UnsupportedType("no such type", status=400)]
    record(drive, "a.txt", b"bytes", states.PENDING)
    drive.start()
    at_rest(drive.uploader.workers)
    (row,) = drive.journal.intents()
    assert (row.state, row.error) == (states.FAILED, "UnsupportedType: no such type") and house.account.uploads == 1
    again = house.next_run()
    at_rest(again.uploader.workers)
    assert again.ls() == ["a.txt"] and again.read("a.txt") == b"bytes" and house.account.uploads == 1
    assert again.fs.xattrs("/a.txt")["user.moonfs.error"] == b"no such type"
    again.fs.unlink("/a.txt", SELF)
    assert again.journal.intents() == [] and again.spooled() == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationFailed("no", status=401),
        errors.QuotaExceeded("no", status=400),
        errors.QuotaExceeded("no", status=429),
        errors.ServiceError("the request failed"),
        errors.ProtocolError("HTTP 302", status=302),
        errors.RateLimited("429", status=429),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EMFILE, "too many"),
    ],
    ids=repr,
)
def test_what_somebody_can_put_right_is_tried_again(house: House, error: Exception) -> None:
    """W2: retried for ever and never dropped; only its own bytes can be refused for good."""
    drive = house.start(write_back=True)
    house.account.script = [error] * 3  # type: ignore[list-item]
    drive.write("a.txt", b"one")
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"} and house.account.uploads == 4 and not drive.fs.busy()


def test_a_journal_that_fails_does_not_end_a_background_upload(house: House) -> None:
    """W2, W7: a full disk is over in a while: one copy in the end, and nothing waits for the next mount."""
    drive = house.start(write_back=True)
    whole, left = drive.journal.attempt, [OSError(errno.ENOSPC, "full")] * 2
    drive.journal.attempt = lambda *a: (_ for _ in ()).throw(left.pop()) if left else whole(*a)  # type: ignore[method-assign]
    drive.write("a.txt", b"one")
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"} and not drive.fs.busy() and drive.journal.intents() == []


def test_a_disk_that_is_full_when_the_answer_comes_makes_no_second_copy(house: House) -> None:
    """W3, W7: the upload is done and over; its row goes when the disk takes that again."""
    drive = house.start(write_back=True)
    upload = house.account.upload

    def fill(*args: Any, **kwargs: Any) -> FileObject:
        drive.journal._group._db.execute("PRAGMA query_only = ON")
        return upload(*args, **kwargs)

    house.account.upload = fill  # type: ignore[method-assign]
    drive.write("a.txt", b"one")
    at_rest(drive.uploader.workers)
    assert len(drive.journal.intents()) == 1 and drive.fs.xattrs("/a.txt")["user.moonfs.state"] == b"stored"
    drive.journal._group._db.execute("PRAGMA query_only = OFF")
    assert house.account.shown() == {"a.txt": b"one"} and not drive.fs.busy() and drive.journal.intents() == []


def test_newer_bytes_follow_older_ones_that_are_on_their_way(house: House) -> None:
    """W2, W4: two promises of one file: both are kept, in order, and one version is left."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.write("a.txt", b"two, longer")
    assert [row.size for row in drive.journal.intents()] == [3, 11]
    again = house.next_run(start=False)
    let_go(house, drive)
    assert house.account.shown() == {"a.txt": b"two, longer"} and drive.read("a.txt") == b"two, longer"
    assert drive.journal.intents() == [] and drive.spooled() == 0 and house.account.uploads == 2
    house.account.files.clear()
    again.remote.listing.refresh()
    again.start()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"two, longer"} and again.spooled() == 0


def test_a_pending_file_moves_for_free(house: House) -> None:
    """W9, W2: renamed while it is on its way: one copy, under the new name, in this run and in the next."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.rename("/a.txt", "/b.txt")
    assert drive.ls() == ["b.txt"]
    again = house.next_run(start=False)
    let_go(house, drive)
    assert house.account.shown() == {"b.txt": b"one"} and drive.ls() == ["b.txt"] and drive.read("b.txt") == b"one"
    assert [row for row in drive.journal.intents() if row.state != states.CANCELLED] == [] and drive.spooled() == 0
    house.account.files.clear()
    again.remote.listing.refresh()
    again.start()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"b.txt": b"one"}


def test_a_pending_upload_is_cancelled(house: House) -> None:
    """W8: unlinked while it waits: nothing is sent, and nothing is left to take up."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0
    house.account.script = [errors.RateLimited("429")]
    drive.write("a.txt", b"one")
    at_rest(drive.uploader.workers)
    drive.fs.unlink("/a.txt", SELF)
    assert drive.ls() == [] and drive.journal.intents() == [] and drive.spooled() == 0 and not drive.fs.busy()


def test_unlinking_on_the_way_leaves_nothing(house: House) -> None:
    """W8: in write-back the name is gone at once, and what the upload still makes is deleted."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.unlink("/a.txt", SELF)
    assert drive.ls() == [] and [row.state for row in drive.journal.intents()] == [states.CANCELLED]
    let_go(house, drive)
    assert house.account.files == {} and drive.ls() == [] and drive.spooled() == 0
    assert drive.journal.deletions() == []


def test_a_failed_write_falls_back_to_what_was_promised(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2, tenet 1: ENOSPC over acknowledged bytes: close says so, and those bytes reach the service."""
    monkeypatch.setattr(spools, "MEMORY_BYTES", 0)
    drive = house.start(write_back=True)
    put_off(house, drive)
    handle = drive.fs.open("/a.txt", read=True, write=True).handle

    def full(*_args: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError):
        drive.fs.write(handle, b"two", 0)
    monkeypatch.undo()
    with pytest.raises(OSError):
        drive.fs.flush(handle)
    drive.fs.release(handle)
    assert drive.read("a.txt") == b"one"
    let_go(house, drive)
    assert house.account.shown() == {"a.txt": b"one"} and drive.read("a.txt") == b"one" and drive.spooled() == 0


def test_bytes_written_after_a_failed_close_are_stored(house: House) -> None:
    """W1, tenet 1: the writer after the one that failed is not taken for it: its bytes are sent."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    handle = drive.fs.open("/a.txt", read=True, write=True).handle
    drive.fs.write(handle, b"two", 0)
    local = drive.fs._space.local["a.txt"]
    failed = OSError(errno.ENOSPC, "full")
    local.refused = failed
    with pytest.raises(OSError):
        drive.fs.flush(handle)
    drive.fs.release(handle)
    handle = drive.fs.open("/a.txt", read=True, write=True).handle
    drive.fs.write(handle, b"six", 0)
    drive.end(handle)
    let_go(house, drive)
    assert house.account.shown() == {"a.txt": b"six"} and drive.read("a.txt") == b"six"


@pytest.mark.parametrize(
    "state",
    [
        states.PENDING,
        states.LOCAL,
    ],
)
def test_a_promise_is_kept_through_a_rename_that_is_cut_short(house: House, state: str) -> None:
    """W2, W9: `mv` of a pending file in a write-through run, killed half-way: it still reaches the service."""
    drive = house.build()
    drive.uploader.backoff = lambda _attempt: 3600.0
    house.account.script = [errors.Unreachable("down")] if state == states.PENDING else []
    name = "a.txt" if state == states.PENDING else "a.txt.part"
    record(drive, name, b"bytes", state, acknowledged=5)
    drive.start()
    at_rest(drive.uploader.workers)
    while house.account.arrived.acquire(blocking=False):
        pass
    house.account.gate = threading.Event()
    renaming = in_thread(lambda: drive.fs.rename(f"/{name}", "/b.txt"))
    assert house.account.arrived.acquire(timeout=60)
    again = house.next_run()
    house.account.script = []
    house.account.gate.set()
    renaming.result(60)
    # As if the first process had died before the service had it.
    for file_id in [file.id for file in list(house.account.files.values()) if file.filename == "b.txt"]:
        del house.account.files[file_id]
    again.remote.listing.refresh()
    at_rest(again.uploader.workers)
    assert again.ls() == [name] and again.read(name) == b"bytes"
    assert house.account.shown() == ({name: b"bytes"} if state == states.PENDING else {})


def made_room(house: House) -> Drive:
    """Return a drive whose overwrite made room in a full account and was not stored yet: it is promised (W7)."""
    drive = house.start()
    drive.uploader.backoff = lambda attempt: 3600.0
    house.account.add("a.txt", b"old")
    house.account.script = [errors.TooManyFiles("full", status=400), errors.Unreachable("down")]
    with pytest.raises(errors.Unreachable):
        drive.write("a.txt", b"one")
    at_rest(drive.uploader.workers)
    assert house.account.files == {} and drive.read("a.txt") == b"one"
    return drive


def test_bytes_that_made_room_are_replaced_by_the_next_ones(house: House) -> None:
    """W7, W4: the next close stores its own bytes; the promise of the earlier ones ends with that."""
    drive = made_room(house)
    drive.write("a.txt", b"two")
    assert house.account.shown() == {"a.txt": b"two"} and drive.journal.intents() == [] and drive.spooled() == 0
    assert drive.read("a.txt") == b"two" and not drive.fs.busy()


def test_a_refusal_is_not_held_against_other_bytes(house: House) -> None:
    """W1, tenet 1: refused bytes are given up for the promised ones; what is written then is tried again."""
    drive = made_room(house)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    with pytest.raises(errors.UnsupportedType):
        drive.write("a.txt", b"bad")
    assert drive.read("a.txt") == b"one"
    drive.write("a.txt", b"good")
    assert house.account.shown() == {"a.txt": b"good"}


def test_a_refusal_is_not_held_against_promised_bytes(house: House) -> None:
    """W2, W7: newer bytes were refused; the promised ones are still on their way, and drained for."""
    drive = made_room(house)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    with pytest.raises(errors.UnsupportedType):
        drive.write("a.txt", b"bad")
    assert drive.read("a.txt") == b"one"
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"}


def test_a_file_of_the_far_future_can_be_copied(house: House) -> None:
    """A4, W1: `cp -p` of a file dated 2300."""
    drive = house.start()
    handle = drive.create("a.txt", b"x")
    drive.fs.utimens("/a.txt", 10_413_792_000 * 10**9)
    drive.end(handle)
    assert house.account.shown() == {"a.txt": b"x"}


def test_no_descriptor_is_left_after_work(house: House) -> None:
    """Create, overwrite, read, rename, fail, unlink: the daemon has as many descriptors as before."""
    drive = house.start()
    drive.write("warm.txt", b"up")
    drive.read("warm.txt")
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(5):
        drive.write("a.txt", b"x%d" % number)
        drive.fs.rename("/a.txt", "/b.txt")
        assert drive.read("b.txt") == b"x%d" % number
        house.account.script = [errors.UnsupportedType("no")]
        with pytest.raises(errors.UnsupportedType):
            drive.write("c.txt", b"refused")
        drive.fs.unlink("/c.txt", SELF)
        drive.fs.unlink("/b.txt", SELF)
        with pytest.raises(errors.BytesNotHere):
            house.account.add("far.txt", b"far")
            drive.read("far.txt")
        house.account.files.clear()
    assert sorted(os.listdir("/proc/self/fd")) == before and drive.spooled() == 0


@pytest.mark.parametrize("deleted", [False, True])
def test_a_file_on_its_way_that_becomes_temporary(house: House, monkeypatch: pytest.MonkeyPatch, deleted: bool) -> None:
    """W6, W8, W9: `mv a.txt a.txt~` during its upload, then a write: the rename outlasts a kill, and so does `rm`."""
    monkeypatch.setattr("moonfs.spool.CARRIED_BYTES", 100 if deleted else 0)  # either way one of the two was lost
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.rename("/a.txt", "/a.txt~")
    handle = drive.fs.open("/a.txt~", read=True, write=True).handle
    drive.fs.write(handle, b", and more", 3)
    let_go(house, drive)
    if deleted:
        drive.end(handle)
        drive.fs.unlink("/a.txt~", SELF)
    again = house.next_run()
    assert again.ls() == ([] if deleted else ["a.txt~"])
    assert house.account.shown() == ({} if deleted else {"a.txt": b"one"})
    assert deleted or again.read("a.txt~").startswith(b"one")


@pytest.mark.parametrize("arrived", [False, True])
@pytest.mark.parametrize("renamed", [False, True])
def test_an_upload_over_an_empty_file_is_cut_short(house: House, renamed: bool, arrived: bool) -> None:
    """W3, W4, W6, W9: it is there whole, with what it replaces gone; or all is as it was.

    So it is where the journal has other bytes than were sent: those of the empty file.
    """
    drive = house.start()
    drive.write("a.txt", b"old")
    assert house.account.arrived.acquire(timeout=60)
    drive.write("a.txt", b"")
    drive.write("a.txt.tmp", b"bytes")
    house.account.delete_error = errors.Unreachable("down")
    house.account.gate = threading.Event()
    if renamed:
        upload = in_thread(lambda: drive.fs.rename("/a.txt.tmp", "/a.txt"))
    else:
        upload = in_thread(lambda: drive.write("a.txt", b"bytes"))
    assert house.account.arrived.acquire(timeout=60)
    again = house.next_run(start=False)
    house.account.gate.set()
    upload.result(60)
    drive.uploader.close()
    house.account.delete_error = None
    if not arrived:
        del house.account.files["id1"]
    again.remote.listing.refresh()
    again.start()
    at_rest(again.uploader.workers)
    assert again.ls() == (["a.txt"] if renamed and arrived else ["a.txt", "a.txt.tmp"])
    assert again.fs.getattr("/a.txt").size == (5 if renamed and arrived else 0)
    assert house.account.shown() == {"a.txt": b"bytes" if renamed and arrived else b"old"}
    assert again.ls() == ["a.txt"] or again.read("a.txt.tmp") == b"bytes"


def test_a_promised_file_is_shown_though_an_equal_one_was_disowned(house: House) -> None:
    """W3, W9: `mv a.txt b.txt`, `mv b.txt a.txt`, killed during both uploads: the copy that counts is not hidden."""
    drive = house.build()
    record(drive, "a.txt", b"bytes", states.CANCELLED, started=999.0)
    record(drive, "a.txt", b"bytes", states.PENDING, started=999.0, acknowledged=5)
    house.account.add("a.txt", b"bytes")
    drive.remote.listing.refresh()
    drive.start()
    at_rest(drive.uploader.workers)
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"bytes"
    assert house.account.shown() == {"a.txt": b"bytes"} and house.account.uploads == 0


def test_a_file_that_was_renamed_over_another_and_back_leaves_it_deleted(house: House) -> None:
    """W4, W9: `mv a.txt b.txt`, `mv b.txt a.txt` while a.txt is on its way: b.txt is gone for good."""
    house.account.add("b.txt", b"old")
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.rename("/a.txt", "/b.txt")
    drive.fs.rename("/b.txt", "/a.txt")
    let_go(house, drive)
    assert drive.ls() == ["a.txt"] and house.account.shown() == {"a.txt": b"one"}
    assert drive.journal.deletions() == [] and drive.spooled() == 0


@pytest.mark.parametrize("write_back", [False, True])
def test_a_file_that_gets_back_the_name_it_has_on_the_service_keeps_it(house: House, write_back: bool) -> None:
    """W4, W9: killed between the steps of `mv a.txt a.txt.tmp`, renamed back, killed: nothing was to be sent."""
    drive = house.start()
    drive.write("a.txt", b"bytes")
    drive.fs._versions.delete_later = lambda _ids: None  # type: ignore[method-assign]  # it is killed before
    drive.fs.rename("/a.txt", "/a.txt.tmp")
    drive = house.next_run(write_back=write_back)
    assert drive.ls() == ["a.txt.tmp"]
    drive.fs.rename("/a.txt.tmp", "/a.txt")
    if write_back:
        at_rest(drive.uploader.workers)
    again = house.next_run(write_back=write_back)  # of the journal as it is on the disk: what is only queued is lost
    at_rest(again.uploader.workers)
    assert again.ls() == ["a.txt"] and again.read("a.txt") == b"bytes"
    assert house.account.shown() == {"a.txt": b"bytes"} and again.spooled() == 0


@pytest.mark.parametrize("how", ["write", "empty"])
def test_bytes_that_stay_here_outlast_the_next_write(house: House, how: str) -> None:
    """W6: stored while somebody has it open, renamed so that it stays here, written to, killed: not a byte is lost."""
    drive = house.start(write_back=True)
    drive.write("a.txt", b"x" * 100_000)
    reader = drive.fs.open("/a.txt", read=True, write=False).handle
    at_rest(drive.uploader.workers)
    drive.fs.rename("/a.txt", "/a.txt.tmp")
    at_rest(drive.uploader.workers)
    writer = drive.fs.open("/a.txt.tmp", read=False, write=True, truncate=how == "empty").handle
    drive.fs.write(writer, b"y" * 10, 100_000 if how == "write" else 0)
    again = house.next_run(write_back=True)
    shown = again.read("a.txt.tmp")
    assert shown == b"x" * 100_000 + b"y" * 10 if how == "write" else shown.strip(b"y") in (b"", b"x" * 100_000)
    drive.fs.release(reader)


def test_recovery_adopts_no_bytes_that_a_power_cut_has_damaged(house: House) -> None:
    """R5, tenet 3: an overwrite had arrived, its spool file was never synced: the version before it is whole, so it
    stays."""
    drive = house.build()
    old, new = house.account.add("a.txt", b"old"), house.account.add("a.txt", b"bytes")
    drive.remote.listing.refresh()
    spool = record(drive, "a.txt", b"bytes", states.UPLOADING, replaces=frozenset({old.id}), started=999.0)
    spool.file().write_bytes(b"")
    drive.start()
    at_rest(drive.uploader.workers)
    assert drive.ls() == ["a.txt"] and drive.fs.getattr("/a.txt").size == old.bytes and drive.spooled() == 0
    assert list(house.account.files) == [old.id] != [new.id]


@pytest.mark.parametrize("how", ["rename", "write"])
def test_a_file_that_arrives_is_not_taken_for_what_a_disowned_upload_left(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """W3, tenet 1: the service has it and its answer is not here yet; it has the name and the size of the other."""
    monkeypatch.setattr(disowned, "LOOKS", (1000.0, 2000.0, 3000.0))
    monkeypatch.setattr(disowned, "AGAIN", 1000.0)
    drive = house.build()
    left = record(drive, "a.txt", b"old", states.CANCELLED, started=999.0)
    drive.start()
    stored, answer = threading.Event(), threading.Event()
    upload = house.account.upload

    def slow(*args: Any, **kwargs: Any) -> FileObject:
        file = upload(*args, **kwargs)
        stored.set()
        assert answer.wait(60)
        return file

    monkeypatch.setattr(house.account, "upload", slow)
    if how == "rename":
        drive.end(drive.create("a.txt.tmp", b"new"))
        done = in_thread(lambda: drive.fs.rename("/a.txt.tmp", "/a.txt"))
    else:
        done = in_thread(lambda: drive.write("a.txt", b"new"))
    assert stored.wait(60)
    drive.fs._versions._disowned._look(left.name, 0)
    answer.set()
    done.result(60)
    drive.fs._versions._disowned._look(left.name, 2)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"new"} and drive.read("a.txt") == b"new"


def test_a_version_that_is_replaced_while_it_is_opened(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """W9, R5: with the old version its bytes go; whoever is in the middle of opening it gets the new one."""
    drive = house.start()
    drive.write("a.txt", b"old")
    real = drive.fs._overlay.open_original

    def late(file: FileObject) -> int | None:
        monkeypatch.setattr(drive.fs._overlay, "open_original", real)
        drive.write("a.txt", b"newer")
        return real(file)

    monkeypatch.setattr(drive.fs._overlay, "open_original", late)
    assert drive.read("a.txt") == b"newer"


def test_it_is_refused_while_what_was_to_replace_it_fails(house: House) -> None:
    """W7: the version under way shows again under a number of its own; refused then, it is failed, not pending."""
    drive = house.start(write_back=True)
    house.account.script = [errors.Rejected("no", status=400)]
    put_off(house, drive)
    handle = drive.fs.open("/a.txt", read=True, write=True).handle
    drive.fs.write(handle, b"two", 0)
    with pytest.raises(errors.FileTooLarge):
        drive.fs.write(handle, b"x", 100 * 1024 * 1024)
    with pytest.raises(errors.FileTooLarge):
        drive.end(handle)
    assert drive.read("a.txt") == b"one"
    let_go(house, drive)
    summary: Any = drive.fs.summary()
    assert (summary["uploads"]["pending"], len(summary["uploads"]["failed"])) == ([], 1) and not drive.fs.busy()
    assert house.next_run().fs.xattrs("/a.txt")["user.moonfs.state"] == b"failed" and house.account.uploads == 1
