"""Exact names on a service that numbers those that are taken (W4, N3), and on one that does not any more.

The drive is that of `test_exactly_one_copy`: the real one, over real HTTP. Whatever happens between the deletion of the
version before and the upload of the next: in the end one file, of its exact name, and no number is left.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moonfs import errors, wire
from moonfs.cli.syncing import Sync
from moonfs.errors import MoonfsError
from moonfs.spool import Spool
from tests.faults.kinds import Kind
from tests.faults.server import (
    Fault,
    Stored,
    Turn,
    answer_lost,
    answer_reset,
    failed_after,
    page,
    refused,
    reset_mid_body,
)
from tests.faults.test_exactly_one_copy import Bench, Drive, made_bench
from tests.harness.doubt import away, back, settled, status
from tests.harness.drive import wait_until
from tests.harness.house import in_thread

V0, V1, V2, V3 = b"version nought", b"version one", b"version two, longer", b"version three!!"
NUMBERS = Kind(numbers=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with made_bench(tmp_path, NUMBERS) as bench:
        yield bench


def names_of(bench: Bench) -> list[str]:
    with bench.server.lock:
        return sorted(file.filename for file in bench.server.files.values())


def stored(bench: Bench) -> dict[str, bytes]:
    with bench.server.lock:
        return {file.filename: file.data for file in bench.server.files.values()}


def operations(bench: Bench, since: int = 0) -> list[str]:
    return [seen.operation for seen in bench.server.seen[since:] if seen.operation in ("upload", "delete")]


def learned(bench: Bench, **settings: Any) -> Drive:
    """Return a drive that knows that the service numbers, with `a.txt` of V1 on it, written here."""
    drive = bench.start(learned=False, **settings)
    for version in (V0, V1):
        drive.write("l.txt", version)
        drive.idle()  # in write-back the second one would overtake the first
    assert drive.journal.knows("numbers")
    drive.fs.unlink("/l.txt", os.getpid)
    drive.write("a.txt", V1)
    drive.idle()
    assert stored(bench) == {"a.txt": V1}
    return drive


MODES = pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])


@MODES
def test_saves_of_one_name(bench: Bench, write_back: bool) -> None:
    """W4: ten saves of one note leave one file, its exact name and bytes; each costs two requests."""
    drive = bench.start(learned=False, write_back=write_back)
    for number in range(10):
        before = len(bench.server.seen)
        drive.write("a.txt", b"save %d" % number)
        drive.idle()
        assert stored(bench) == {"a.txt": b"save %d" % number} and drive.ls() == ["a.txt"]
        assert drive.read("a.txt") == b"save %d" % number
        sent = operations(bench, before)
        assert sent == (["upload"] if not number else ["upload", "delete", "upload", "delete"] if number == 1 else sent)
        if number > 1:
            assert sent == ["delete", "upload"]
    assert list((drive.home / "spool").iterdir()) == [] and drive.journal.intents() == []
    assert status(drive)["misnamed"] == [] and status(drive)["back"] == []


def test_a_free_name_costs_one_request(bench: Bench) -> None:
    """W4: what takes nobody's place costs what it did; what was learned outlasts a mount."""
    learned(bench)
    drive = bench.after_crash(learned=False)
    before = len(bench.server.seen)
    drive.write("b.txt", V1)
    drive.write("a.txt", V2)
    drive.idle()
    assert operations(bench, before) == ["upload", "delete", "upload"]
    assert stored(bench) == {"a.txt": V2, "b.txt": V1}


@MODES
def test_bytes_that_are_not_here(bench: Bench, write_back: bool) -> None:
    """W4, R5: what a colleague stored goes once the new version has proven to be taken, under its numbered name."""
    drive = learned(bench, write_back=write_back)
    bench.server.add("b.txt", V0)
    drive.ls()
    before = len(bench.server.seen)
    drive.write("b.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V2} and drive.read("b.txt") == V2
    assert operations(bench, before) == ["upload", "delete", "upload", "delete"]


@MODES
def test_a_refusal_where_the_bytes_are_not_here(bench: Bench, write_back: bool) -> None:
    """W4: a refusal of the first step leaves a colleague's file untouched."""
    drive = learned(bench, write_back=write_back)
    bench.server.add("b.txt", V0)
    drive.ls()
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT))
    with suppress(errors.NoText):
        drive.write("b.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V0}


def test_no_room_for_a_second_copy(bench: Bench) -> None:
    """W4, W7: where there is no room for it, EDQUOT, and a colleague's file is untouched."""
    drive = learned(bench)
    bench.server.add("b.txt", V0)
    drive.ls()
    bench.server.script("upload", refused(400, wire.MSG_TOO_MANY.format(n=1000)))
    with pytest.raises(errors.QuotaExceeded):
        drive.write("b.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V0} and drive.ls() == ["a.txt", "b.txt"]


REFUSALS: dict[str, Callable[[], Fault]] = {
    "no text": lambda: refused(400, wire.MSG_NO_TEXT),
    "too large": lambda: refused(400, wire.MSG_TOO_LARGE),
    "suspended": lambda: refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA),
    "503": lambda: page(503),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_close_that_fails_brings_the_version_before_back(bench: Bench, refusal: str) -> None:
    """W4: the old id went; the new version is refused at close; the old one shows, with its time, and is uploaded."""
    drive = learned(bench)
    drive.fs.utimens("/a.txt", 10**18)
    before = drive.fs.getattr("/a.txt")
    bench.server.script("upload", *(REFUSALS[refusal]() for _ in range(5 if refusal == "503" else 1)))
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V2)
    assert drive.read("a.txt") == V1
    wait_until(lambda: stored(bench) == {"a.txt": V1}, "the version before is there again")
    drive.idle()
    after = drive.fs.getattr("/a.txt")
    assert (after.mtime_ns, after.inode, after.size) == (before.mtime_ns, before.inode, before.size)
    assert drive.read("a.txt") == V1 and drive.ls() == ["a.txt"]
    assert drive.journal.intents() == [] and list((drive.home / "spool").iterdir()) == []


def test_a_refusal_in_write_back_brings_the_version_before_back(bench: Bench) -> None:
    """W4, N7: the refused version is kept and shown; the old one is on the service again, for others."""
    drive = learned(bench, write_back=True)
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT))
    drive.write("a.txt", V2)
    wait_until(lambda: status(drive)["failed"], "it is refused")
    wait_until(lambda: stored(bench) == {"a.txt": V1}, "the version before is there again")
    drive.idle()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == V2
    again = bench.after_crash(write_back=True)
    again.idle()
    assert stored(bench) == {"a.txt": V1} and again.ls() == ["a.txt"] and again.read("a.txt") == V2
    again.write("a.txt", V3)
    again.idle()
    assert stored(bench) == {"a.txt": V3} and again.ls() == ["a.txt"] and again.read("a.txt") == V3
    assert again.journal.intents() == [] and list((again.home / "spool").iterdir()) == []


def held(fault: Fault) -> tuple[Fault, threading.Event, threading.Event]:
    """Return what reads an upload and waits before `fault`; what is set when it is there, and what lets it go."""
    reached, go = threading.Event(), threading.Event()

    def later(turn: Turn) -> None:
        turn.read()
        reached.set()
        go.wait(60)
        fault(turn)

    return later, reached, go


def test_the_version_before_comes_back_with_patience(bench: Bench) -> None:
    """W4, W2: what is on its way back behind a refused version is tried again after a pause, as anything pending is."""
    drive = learned(bench, write_back=True)
    drive.uploader.backoff = lambda _attempt: 60.0
    suspended = refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA)
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT), *[suspended] * 10_000)
    before = bench.server.count("upload")
    drive.write("a.txt", V2)
    wait_until(lambda: bench.server.count("upload") == before + 2, "the version before was sent once")
    drive.idle()
    assert bench.server.count("upload") == before + 2


def test_what_comes_back_behind_a_refused_version_is_waited_for(bench: Bench) -> None:
    """W2, L2, W4: who waits for the new version waits for the old one to be there again, since the new one is not."""
    drive = learned(bench, write_back=True, upload_read=60.0)
    new, new_is_sent, refuse = held(refused(400, wire.MSG_NO_TEXT))
    old, old_is_sent, store = held(lambda turn: turn.send(turn.serve()))
    bench.server.script("upload", new, old)
    drive.write("a.txt", V2)
    assert new_is_sent.wait(60)
    sync = Sync("drive", status(drive))
    assert sync.left == ["a.txt"]
    refuse.set()
    assert old_is_sent.wait(60) and stored(bench) == {}
    assert (
        not sync.look(status(drive)) and sync.left == ["a.txt"] and [each["name"] for each in sync.failed] == ["a.txt"]
    )
    assert status(drive)["pending"] == ["a.txt"] and drive.fs.busy()
    store.set()
    wait_until(lambda: sync.look(status(drive)), "it is over")
    assert stored(bench) == {"a.txt": V1} and drive.read("a.txt") == V2
    drive.idle()
    assert status(drive)["pending"] == [] and not drive.fs.busy()


def test_a_version_before_that_is_refused_too(bench: Bench) -> None:
    """W4, N7: status names both, and once the name is written again neither is left."""
    drive = learned(bench, write_back=True)
    bench.server.script("upload", *[refused(400, wire.MSG_NO_TEXT)] * 2)
    drive.write("a.txt", V2)
    wait_until(lambda: len(status(drive)["failed"]) == 2, "both are refused")
    new, old = (each["error"] for each in status(drive)["failed"])
    assert new in old and old.startswith("the version before cannot come back: ")
    drive.idle()
    drive.write("a.txt", V3)
    drive.idle()
    assert stored(bench) == {"a.txt": V3} and drive.read("a.txt") == V3
    assert status(drive)["failed"] == [] and drive.journal.intents() == []


def test_emptied_before_the_new_version_arrives(bench: Bench) -> None:
    """W4, W6: the old version made way for one that nobody wants any more: it is there again, behind the empty file."""
    drive = learned(bench, write_back=True)
    drive.uploader.backoff = lambda attempt: 60.0 if attempt else 0.0
    bench.server.script("upload", refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA))
    drive.write("a.txt", V2)
    wait_until(lambda: status(drive)["failed"], "the new version waits")
    assert stored(bench) == {}
    drive.fs.truncate("/a.txt", 0)
    wait_until(lambda: stored(bench) == {"a.txt": V1}, "the version before is there again")
    drive.idle()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b""


def test_a_removal_that_fails_leaves_the_version_before(bench: Bench) -> None:
    """W8, W4: the new version is on its way when somebody removes the name, in vain; then that is refused, too."""
    large = V1 * 10_000  # more than the journal carries
    drive = learned(bench, upload_read=60.0)
    drive.write("a.txt", large)
    drive.idle()
    fault, reached, go = held(refused(400, wire.MSG_NO_TEXT))
    bench.server.script("upload", fault)
    bench.server.script("delete", None, *[page(503)] * 50)
    writer = in_thread(partial(drive.write, "a.txt", V2))
    assert reached.wait(60) and stored(bench) == {}
    with pytest.raises(errors.ServiceError):
        drive.fs.unlink("/a.txt", os.getpid)
    bench.server.unscript("delete")
    go.set()
    with pytest.raises(errors.NoText):
        writer.result(60)
    assert drive.read("a.txt") == large
    wait_until(lambda: stored(bench) == {"a.txt": large}, "the version before is there again")
    drive.idle()
    assert drive.ls() == ["a.txt"] and drive.journal.intents() == []
    assert list((drive.home / "spool").iterdir()) == []


def test_a_deletion_whose_answer_is_lost(bench: Bench) -> None:
    """W4, W8: the old version, stored just now, went without an answer, and the close failed: it is stored again."""
    drive = learned(bench)
    bench.server.script("delete", *[answer_lost()] * 50)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V2)
    bench.server.unscript("delete")
    wait_until(lambda: stored(bench) == {"a.txt": V1}, "the version before is there again")
    drive.idle()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == V1 and drive.journal.intents() == []


def test_what_came_back_stays_behind_the_refused_version(bench: Bench) -> None:
    """W4, N7: a save by renaming is refused: the refused version is shown alone, after a mount, too."""
    drive = learned(bench, write_back=True)
    drive.write(".a.txt.new", V2)
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT))
    drive.fs.rename("/.a.txt.new", "/a.txt")
    wait_until(lambda: stored(bench) == {"a.txt": V1} and not drive.journal.deletions(), "the old one is there again")
    drive.idle()
    assert drive.ls() == ["a.txt"]
    again = bench.after_crash(write_back=True)
    assert again.ls() == ["a.txt"] and again.read("a.txt") == V2


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_a_file_that_is_written_while_another_takes_its_name(bench: Bench, closed: bool) -> None:
    """W9, W4: somebody writes to what a rename is about to replace: the renamed file gets its exact name."""
    drive = learned(bench, upload_read=60.0)
    drive.write("b.txt", V3)
    drive.idle()
    fault, reached, go = held(lambda turn: turn.send(turn.serve()))
    bench.server.script("upload", fault)
    rename = in_thread(partial(drive.fs.rename, "/b.txt", "/a.txt"))
    assert reached.wait(60)
    writer = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    drive.fs.write(writer, V2, 0)
    drive.fs.fsync(writer)
    if closed:
        drive.fs.release(writer)
    assert stored(bench) == {"a.txt": V2, "b.txt": V3}
    go.set()
    rename.result(60)
    wait_until(lambda: stored(bench) == {"a.txt": V3}, "the rename is done")
    if not closed:
        drive.fs.release(writer)
    drive.idle()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == V3 and status(drive)["misnamed"] == []


@MODES
def test_a_key_that_is_refused_for_a_moment(bench: Bench, write_back: bool) -> None:
    """W4: the key is refused when the old version is to go: that says nothing of it, so it goes later."""
    drive = learned(bench, write_back=write_back)
    bench.server.add("b.txt", V0)
    drive.ls()
    bench.server.script("delete", refused(401, "Invalid Authentication", "invalid_authentication_error"))
    with suppress(errors.AuthenticationFailed):
        drive.write("b.txt", V2)
    wait_until(lambda: stored(bench) == {"a.txt": V1, "b.txt": V2}, "it has its exact name")
    drive.idle()
    assert drive.ls() == ["a.txt", "b.txt"] and status(drive)["misnamed"] == []


def test_what_only_its_maker_may_delete(bench: Bench) -> None:
    """W4: a colleague's file that the service lets nobody else delete keeps its name; the new one keeps its number."""
    drive = learned(bench)
    bench.server.add("b.txt", V0)
    drive.ls()
    bench.server.script("delete", refused(403, "Not yours", "permission_denied_error"))
    drive.write("b.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V0, "b(1).txt": V2}


@MODES
def test_no_room_to_keep_the_version_before(bench: Bench, write_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4, W7: where this disk has no room for it, the new version goes first, as where the bytes are not here."""
    drive = learned(bench, write_back=write_back)

    def full(_spool: Spool, _fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Spool, "take_hold", full)
    before = len(bench.server.seen)
    drive.write("a.txt", V2)
    wait_until(lambda: stored(bench) == {"a.txt": V2}, "it is stored")
    drive.idle()
    assert operations(bench, before) == ["upload", "delete", "upload", "delete"]


DOUBTS: dict[str, Callable[[], Fault]] = {
    "reset in mid-body": lambda: reset_mid_body(5),
    "reset after storing": answer_reset,
    "answer lost": answer_lost,
    "500 after storing": failed_after,
}


@pytest.mark.parametrize("fault", DOUBTS)
@MODES
@pytest.mark.parametrize("here", [True, False], ids=["bytes here", "bytes not here"])
def test_an_answer_that_is_lost(bench: Bench, fault: str, write_back: bool, here: bool) -> None:
    """W3, W4: whatever becomes of the answer, one copy of the exact name is left, in either step of a replacement."""
    for step in range(1 if here else 2):
        drive = learned(bench, write_back=write_back) if not step else bench.drives[-1]
        name = "a.txt" if here else f"b{step}.txt"
        if not here:
            bench.server.add(name, V0)
            drive.ls()
        bench.server.script("upload", *([None] * step), DOUBTS[fault]())
        drive.write(name, V2)
        wait_until(lambda name=name: stored(bench).get(name) == V2, "it arrives")  # type: ignore[misc]
        drive.idle()
        assert [each for each in names_of(bench) if "(" in each] == []
        assert drive.read(name) == V2 and bench.copies(name) == [V2]


@pytest.mark.parametrize("fault", DOUBTS)
def test_a_close_that_failed_in_doubt(bench: Bench, fault: str) -> None:
    """W3, W4: once it is told whether the new version arrived, that is gone, and the old one is there again."""
    drive = learned(bench, upload_timeout=0.3)
    bench.server.script("upload", DOUBTS[fault]())
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V2)
    assert drive.read("a.txt") == V1
    back(bench)
    settled(drive)
    assert stored(bench) == {"a.txt": V1} and drive.ls() == ["a.txt"] and drive.read("a.txt") == V1


class Blind:
    """A file of a colleague that no list shows."""

    def __init__(self, bench: Bench, name: str, data: bytes) -> None:
        self.id = bench.server.add(name, data).id
        bench.server.hidden = {self.id}  # type: ignore[attr-defined]


def without(file: Stored) -> Fault:
    """Give a list that `file` is not in."""

    def blind(turn: Turn) -> None:
        files = turn.server.files
        held = files.pop(file.id)
        reply = turn.serve()
        files[file.id] = held
        turn.send(reply)

    return blind


@MODES
@pytest.mark.parametrize("old", [True, False], ids=["an overwrite", "a new file"])
def test_a_name_that_is_numbered_for_no_reason(bench: Bench, write_back: bool, old: bool) -> None:
    """W4: three tries, then the number stays, with a line in status; and nobody else's file is deleted."""
    drive = learned(bench, write_back=write_back)
    if not old:
        drive.fs.unlink("/a.txt", os.getpid)
        drive.idle()
    theirs = bench.server.add("a.txt", V3)
    bench.server.script("list", *(without(theirs) for _ in range(50)))
    before = len(bench.server.seen)
    drive.write("a.txt", V2)
    wait_until(lambda: V2 in stored(bench).values(), "it arrives")
    drive.idle()
    bench.server.unscript("list")
    found = stored(bench)
    (name,) = found.keys() - {"a.txt"}
    assert found == {"a.txt": V3, name: V2} and operations(bench, before).count("upload") in (3, 4), (
        "one more where ours went"
    )
    assert drive.ls() == sorted(["a.txt", name]) and drive.read(name) == V2
    (line,) = status(drive)["misnamed"]
    assert line["name"] == name and "a.txt" in line["error"]
    drive.write("a.txt", V1)
    drive.idle()
    assert stored(bench) == {"a.txt": V1} and drive.ls() == ["a.txt"] and status(drive)["misnamed"] == []


@MODES
def test_what_has_kept_a_number_is_a_file(bench: Bench, write_back: bool) -> None:
    """W4: renamed, it is a file of its own, and the next version of its first name leaves it alone."""
    drive = learned(bench, write_back=write_back)
    theirs = bench.server.add("a.txt", V3)
    bench.server.script("list", *(without(theirs) for _ in range(50)))
    drive.write("a.txt", V2)
    wait_until(lambda: V2 in stored(bench).values(), "it arrives")
    drive.idle()
    bench.server.unscript("list")
    (name,) = stored(bench).keys() - {"a.txt"}
    assert drive.ls() == sorted(["a.txt", name])
    drive.fs.rename(f"/{name}", "/mine.txt")
    drive.write("a.txt", V1)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "mine.txt": V2} and status(drive)["misnamed"] == []


@MODES
def test_a_deletion_of_ones_own_comes_first(bench: Bench, write_back: bool) -> None:
    """W4, W8: `rm a; cp a` and `mv -f`: the deletion is sent before the upload that takes the name."""
    drive = learned(bench, write_back=write_back)
    drive.fs.unlink("/a.txt", os.getpid)
    drive.write("a.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V2}
    drive.write("b.txt", V3)
    drive.idle()
    drive.fs.rename("/b.txt", "/a.txt")
    drive.idle()
    assert stored(bench) == {"a.txt": V3} and drive.ls() == ["a.txt"] and drive.read("a.txt") == V3


@MODES
def test_renamed_to_a_temporary_name(bench: Bench, write_back: bool) -> None:
    """W9, W4: `sed -i.bak`: what was renamed away is in the way of the new version, and goes for it."""
    drive = learned(bench, write_back=write_back)
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.write("a.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V2} and drive.read("a.txt~") == V1


def test_the_version_before_does_not_come_back_over_an_empty_file(bench: Bench) -> None:
    """W4, W6: emptied, made durable, and written to in vain: it is empty, and for others the old one is there again."""
    drive = learned(bench)
    handle = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    drive.fs.fsync(handle)
    drive.fs.write(handle, V2, 0)
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT))
    with pytest.raises(MoonfsError):
        drive.fs.flush(handle)
    drive.fs.release(handle)
    assert drive.read("a.txt") == b""
    wait_until(lambda: stored(bench) == {"a.txt": V1}, "the version before is there again")
    drive.idle()
    again = bench.after_crash()
    assert again.ls() == ["a.txt"] and again.read("a.txt") == b""
    again.write("a.txt", V3)
    again.idle()
    assert stored(bench) == {"a.txt": V3} and again.journal.intents() == []


@pytest.mark.parametrize("over", [True, False], ids=["over a stored file", "to a free name"])
def test_a_rename_that_is_refused(bench: Bench, over: bool) -> None:
    """W9, W4: both files are as they were, on the service too."""
    drive = learned(bench)
    if over:
        drive.write("b.txt", V2)
    before = stored(bench)
    bench.server.script("upload", refused(400, wire.MSG_NO_TEXT))
    with pytest.raises(MoonfsError):
        drive.fs.rename("/a.txt", "/b.txt")
    wait_until(lambda: stored(bench) == before, "all is as it was")
    drive.idle()
    assert drive.ls() == sorted(before) and {name: drive.read(name) for name in before} == before


def test_a_service_that_keeps_equal_names_again(bench: Bench) -> None:
    """W4: one equal name that is kept unlearns it: then an overwrite is confirmed before the old version goes."""
    drive = learned(bench)
    bench.server.kind = Kind()
    bench.server.add("b.txt", V0)
    drive.ls()
    drive.write("b.txt", V2)
    drive.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V2}
    before = len(bench.server.seen)
    drive.write("a.txt", V2)
    drive.idle()
    assert operations(bench, before) == ["upload", "delete"]
