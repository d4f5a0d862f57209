"""Uploads in doubt: an acknowledged byte is never lost, and nobody else's file is ever deleted or hidden (W3).

An upload ends without an answer, and before the list has told what became of it, its name holds something else: a
newer version of the same size, another machine's file, nothing. What is on the service then has this name and this
size, and came in this time. The drive is that of `test_exactly_one_copy`: the real one, over real HTTP.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from moonfs import wire
from moonfs.errors import MoonfsError
from moonfs.journal import Intent
from tests.faults.server import (
    Fault,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    failed_after,
    refused,
    reset_mid_body,
)
from tests.faults.test_exactly_one_copy import Bench, Held
from tests.harness.doubt import (
    ONE,
    SIX,
    TWO,
    away,
    back,
    failed_close,
    held_lists,
    in_doubt,
    overwrite,
    remove,
    remove_and_write,
    rename_over,
    settled,
    status,
)
from tests.harness.drive import wait_until
from tests.harness.house import in_thread

#: How an upload ends without an answer: with its copy on the service, and without.
ENDS: dict[str, Callable[[], Fault]] = {
    "500 after the body": failed_after,
    "reset in mid-body": lambda: reset_mid_body(100),
    "reset after it": answer_reset,
    "502 page": lambda: failed_after(Reply(502, b"<html><title>502</title></html>", {"Content-Type": "text/html"})),
}


WAYS = {"rename over it": rename_over, "rm and a new file": remove_and_write, "an overwrite": overwrite}


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_the_next_version_of_the_same_size_stays(bench: Bench, end: str, way: str, write_back: bool) -> None:
    """W3, tenet 1: the search for an older version's copy never takes the newer one for it, which was confirmed."""
    drive = in_doubt(bench, ENDS[end](), write_back=write_back)
    if write_back:
        WAYS[way](drive, TWO)
        back(bench)
    else:
        back(bench)
        WAYS[way](drive, TWO)
    wait_until(lambda: TWO in bench.copies(), "the new version arrives")
    settled(drive)
    assert bench.copies() == [TWO] and drive.ls() == ["a.txt"] and drive.read("a.txt") == TWO


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_the_next_version_is_in_doubt_too(bench: Bench, write_back: bool) -> None:
    """W3, tenet 1: both answers are lost; each copy is told by its bytes, and the newer one is adopted, not sent again.

    The older version's copy goes.
    """
    drive = in_doubt(bench, answer_lost(), write_back=write_back)
    back(bench)
    bench.server.script("upload", answer_lost())
    rename_over(drive, TWO)
    settled(drive)
    assert bench.copies() == [TWO] and drive.ls() == ["a.txt"] and drive.read("a.txt") == TWO
    assert bench.server.count("upload") <= 3


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("store", [True, False], ids=["ours was stored", "ours was not"])
@pytest.mark.parametrize("end", ["their bytes first", "their bytes last"])
def test_another_machines_file_stays(bench: Bench, end: str, store: bool, write_back: bool) -> None:
    """W3: theirs, of this name and size and of this moment, is neither deleted nor taken for ours, which is there."""
    drive = bench.start(write_back=write_back, upload_timeout=20.0)

    def fault(turn: Turn) -> None:
        turn.read()
        if end == "their bytes first":
            bench.server.add("a.txt", SIX)
        if store:
            turn.serve()
        if end == "their bytes last":
            bench.server.add("a.txt", SIX)
        turn.hang_up()

    bench.server.script("upload", fault)
    drive.write("a.txt", ONE)
    settled(drive)
    assert sorted(bench.copies()) == [ONE, SIX]
    assert bench.server.count("upload") == (1 if store else 2)
    assert len(drive.ls()) == 2
    assert ONE in (drive.read(name) for name in drive.ls() if drive.fs.xattrs(f"/{name}").get("user.moonfs.sha256"))


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("answer", [True, False], ids=["answered", "without an answer"])
def test_what_others_store_after_rm_is_shown(bench: Bench, answer: bool, write_back: bool) -> None:
    """W3, W8: `rm` during an upload hides what that upload leaves, and nothing that comes later."""
    drive = bench.start(write_back=write_back)
    held = Held(store=False)

    def fault(turn: Turn) -> None:
        if answer:
            held.reached.set()
            held.go.wait(60)
            turn.send(turn.serve())
        else:
            held(turn)

    bench.server.script("upload", fault)
    writing = in_thread(lambda: drive.write("a.txt", ONE))
    assert held.reached.wait(60)
    remove(drive)
    held.go.set()
    with suppress(MoonfsError):
        writing.result(60)
    wait_until(lambda: not drive.uploader.active and ONE not in bench.copies(), "the upload is over and deleted")
    bench.server.add("a.txt", SIX)
    wait_until(lambda: drive.ls() == ["a.txt"], "theirs is shown")
    settled(drive)
    assert bench.copies() == [SIX] and drive.ls() == ["a.txt"]


def test_rm_of_a_version_in_doubt_deletes_its_copy(bench: Bench) -> None:
    """W3, W8: proven by its bytes, and no more of them than there were attempts without an answer."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    remove(drive)
    assert bench.copies() == [ONE]
    back(bench)
    settled(drive)
    assert bench.copies() == [] and drive.ls() == []


def test_rm_where_two_have_the_same_bytes(bench: Bench) -> None:
    """W3: one attempt, two candidates of these bytes: nothing says which of them is ours, so both stay, with a line."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    remove(drive)
    bench.server.add("a.txt", ONE)
    back(bench)
    settled(drive)
    assert bench.copies() == [ONE, ONE] and len(drive.ls()) == 2
    assert len(status(drive)["copies"]) == 2


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_one_attempt_and_two_of_its_bytes(bench: Bench, write_back: bool) -> None:
    """W3: another machine copies the same tree at once: one of the two is adopted, the other stays, with its line."""
    drive = bench.start(write_back=write_back)

    def fault(turn: Turn) -> None:
        turn.read()
        bench.server.add("a.txt", ONE)
        turn.serve()
        turn.hang_up()

    bench.server.script("upload", fault)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE, ONE] and bench.server.count("upload") == 1 and len(drive.ls()) == 2
    (line,) = status(drive)["copies"]
    assert line["name"] in drive.ls() and line["name"] != "a.txt"


@pytest.mark.parametrize("newer", [True, False], ids=["a newer version is pending", "it is pending itself"])
def test_somebody_elses_file_shows_though_ours_is_pending(bench: Bench, newer: bool) -> None:
    """W3: however long our upload has to wait, theirs is not hidden once it is told apart; and nothing is asked for."""
    drive = in_doubt(bench, reset_mid_body(50), write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    bench.server.script("upload", *(refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA) for _ in range(50)))
    if newer:
        drive.write("a.txt", TWO)
    theirs = bench.server.add("a.txt", SIX)
    bench.server.unscript("list")
    wait_until(lambda: f"a~{theirs.id}.txt" in drive.ls(), "theirs is shown")
    assert drive.read("a.txt") == (TWO if newer else ONE)
    asked = bench.server.count("list")
    drive.uploader._stopping.wait(1.0)
    assert bench.server.count("list") <= asked + 2


def test_somebody_elses_file_shows_after_a_refusal(bench: Bench) -> None:
    """W3: an attempt that was answered has left nothing, so what others store while it is to be repeated is theirs."""
    drive = bench.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    bench.server.script("upload", refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA))
    drive.write("a.txt", ONE)
    wait_until(lambda: status(drive)["failed"], "it was refused")
    theirs = bench.server.add("a.txt", SIX)
    wait_until(lambda: f"a~{theirs.id}.txt" in drive.ls(), "theirs is shown")
    assert drive.read("a.txt") == ONE


def test_a_doubt_is_pending_until_it_is_settled(bench: Bench) -> None:
    """W3, N5: `moonfs status` shows it, and `moonfs umount` waits for it."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    remove(drive)
    assert status(drive)["pending"] == ["a.txt"]
    assert drive.fs.busy()
    back(bench)
    wait_until(lambda: not drive.fs.busy(), "it is settled")
    assert status(drive)["pending"] == [] and bench.copies() == []


@pytest.mark.parametrize("old", [True, False], ids=["over an older version", "a new file"])
@pytest.mark.parametrize("store", [True, False], ids=["arrived", "not arrived"])
def test_a_close_that_failed_in_doubt(bench: Bench, store: bool, old: bool) -> None:
    """W3, R5: its writer has its error; when the service is back one version is there, whole: readable, and alone."""
    drive = bench.start(upload_timeout=0.3)
    if old:
        drive.write("a.txt", SIX)
    bench.server.script("upload", answer_lost() if store else reset_mid_body(50))
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", ONE)
    back(bench)
    expected = [ONE] if store else [SIX] if old else []
    wait_until(lambda: bench.copies() == expected, "one version is left")
    settled(drive)
    assert bench.copies() == expected and drive.ls() == ["a.txt"] * len(expected)
    assert [drive.read(name) for name in drive.ls()] == expected


@pytest.mark.parametrize("then", ["rm", "mv", "a newer version", "a newer version, and rm"])
def test_after_a_close_that_failed_in_doubt(bench: Bench, then: str) -> None:
    """W3, W8, W9: what is done with the name meanwhile stands: no version that was in doubt comes back over it."""
    drive = failed_close(bench)
    back(bench)
    if then == "rm":
        remove(drive)
        expected = {}
    elif then == "mv":
        drive.fs.rename("/a.txt", "/b.txt")
        expected = {"b.txt": SIX}
    else:
        drive.write("a.txt", TWO)
        expected = {"a.txt": TWO}
        if then.endswith("rm"):
            remove(drive)
            expected = {}
    settled(drive)
    assert drive.ls() == sorted(expected)
    assert {name: drive.read(name) for name in drive.ls()} == expected
    assert sorted(bench.server.names()) == sorted(expected)


def test_a_removal_that_waits_for_the_service(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3, W8: while it deletes, what was in doubt is not taken up, though this disk cannot record that it is over."""
    drive = failed_close(bench)
    held = Held(store=True)
    bench.server.script("delete", held)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(drive.journal, "put", full)
        removing = in_thread(lambda: remove(drive))
        assert held.reached.wait(60)
    looks: list[str] = []
    in_question = drive.fs._versions._disowned
    look = in_question._look

    def counted(spool: str, number: int) -> None:
        look(spool, number)
        looks.append(spool)

    in_question._look = counted  # type: ignore[method-assign]
    back(bench)
    in_question.hurry("a.txt")
    wait_until(lambda: len(looks) > 3 or drive.fs._space.local, "it is looked for, and that again")
    held.go.set()
    removing.result(60)
    settled(drive)
    assert bench.copies() == [] and drive.ls() == []


def test_an_edit_of_what_is_in_doubt_fails(bench: Bench) -> None:
    """W3: v1 was acknowledged and is in doubt; an fsync of v2 fails; v1 is sent again and ends as one copy."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    bench.server.script("upload", *(refused(400, wire.MSG_UNSUPPORTED) for _ in range(3)))
    back_to = drive.fs._settings
    drive.fs._versions._settings = replace(back_to, write_back=False)
    with pytest.raises(MoonfsError):
        overwrite(drive, TWO)
    drive.fs._versions._settings = back_to
    back(bench)
    settled(drive)
    assert bench.copies() == [ONE] and drive.ls() == ["a.txt"] and drive.read("a.txt") == ONE


def test_a_promise_that_the_disk_refuses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3, W7: v2 cannot be kept, so v1 stands, which is in doubt still: it is taken up as what has arrived."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.uploader.backoff = lambda _attempt: 1.0  # type: ignore[method-assign]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(drive.journal, "put", full)
        with pytest.raises(OSError, match="No space"):
            drive.write("a.txt", TWO)
    back(bench)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == ONE


@pytest.mark.parametrize("then", ["mv", "rm", "mv and rm"])
def test_a_name_that_goes_while_its_list_is_awaited(bench: Bench, then: str) -> None:
    """W3, W8, W9: the same bytes have the name again, and are looked for, when it goes: their first copy goes too."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.fs.rename("/a.txt", "/b.txt.tmp")
    wait_until(lambda: not drive.uploader.active, "no upload is under way")
    reached, go = held_lists(bench)
    drive.fs.rename("/b.txt.tmp", "/a.txt")
    assert reached.wait(60)
    if then != "rm":
        drive.fs.rename("/a.txt", "/b.txt.tmp")
    if then != "mv":
        remove(drive, "a.txt" if then == "rm" else "b.txt.tmp")
    go.set()
    wait_until(lambda: not drive.fs.busy() and not bench.copies(), "its copy is gone")
    assert drive.ls() == (["b.txt.tmp"] if then == "mv" else [])


def test_an_empty_file_over_a_version_in_doubt(bench: Bench) -> None:
    """W3, W4, W6: what stays here hides the last copy of its name, over a remount too; that goes with the next one."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.write(".a.new", b"")
    drive.fs.rename("/.a.new", "/a.txt")
    back(bench)
    wait_until(lambda: not drive.fs._versions.doubts, "the doubt is settled")
    drive.idle()
    assert bench.copies() == [ONE] and drive.ls() == ["a.txt"] and drive.read("a.txt") == b""
    assert status(drive)["copies"] == []
    after = bench.after_crash(write_back=True)
    assert after.ls() == ["a.txt"] and after.read("a.txt") == b""
    after.write("a.txt", TWO)
    settled(after)
    assert bench.copies() == [TWO] and after.ls() == ["a.txt"]


def test_rm_while_the_outcome_of_an_upload_is_looked_for(bench: Bench) -> None:
    """W3: one attempt, counted once, and two files of these bytes: nobody else's goes."""
    drive = bench.start(write_back=True)
    bench.server.script("upload", answer_lost())
    reached, go = held_lists(bench)
    drive.write("a.txt", ONE)
    assert reached.wait(60)
    remove(drive)
    bench.server.add("a.txt", ONE)
    go.set()
    settled(drive)
    assert bench.copies() == [ONE, ONE] and len(status(drive)["copies"]) == 2


def test_a_newer_version_whose_promise_takes_its_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3: what v1 has left is looked for once the journal knows of it, however long its disk takes."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    put = drive.journal.put

    def slow(*intents: Intent, **options: Any) -> None:
        time.sleep(0.5)  # looks come by meanwhile
        put(*intents, **options)

    with monkeypatch.context() as patch:
        patch.setattr(drive.journal, "put", slow)
        drive.write("a.txt", TWO)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    back(bench)
    settled(drive)
    assert bench.copies() == [TWO] and drive.ls() == ["a.txt"]


def test_a_file_that_is_renamed_twice_and_deleted_during_its_upload(bench: Bench) -> None:
    """W3, W8, W9: one attempt, however often it was given up: when it ends, nothing is left, here and there."""
    drive = bench.start(write_back=True)
    held = Held(store=True)
    bench.server.script("upload", held)
    drive.write("a.txt", ONE)
    assert held.reached.wait(60)
    drive.fs.rename("/a.txt", "/b.txt")
    drive.fs.rename("/b.txt", "/c.txt")
    remove(drive, "c.txt")
    held.go.set()
    settled(drive)
    assert bench.server.names() == [] and drive.ls() == [] and not drive.fs.busy()


@pytest.mark.parametrize("store", [True, False], ids=["stored", "not stored"])
def test_rm_of_what_has_replaced_an_upload_under_way(bench: Bench, store: bool) -> None:
    """W3, W8: v1 is under way, v2 takes its name, and is deleted: nothing of the name comes back."""
    drive = bench.start(write_back=True)
    held = Held(store=store)
    bench.server.script("upload", held)
    drive.write("a.txt", ONE)
    assert held.reached.wait(60)
    rename_over(drive, TWO)
    wait_until(lambda: TWO in bench.copies(), "v2 is stored")
    remove(drive)
    held.go.set()
    settled(drive)
    assert bench.copies() == [] and drive.ls() == []


def test_status_looks_for_a_deletion_last(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """W8: an upload that nobody wants ends with a deletion; one of the two is told when that happens meanwhile."""
    drive = bench.start(write_back=True)
    reached, go = threading.Event(), threading.Event()

    def held(turn: Turn) -> None:
        turn.read()
        reached.set()
        go.wait(60)
        turn.send(turn.serve())

    bench.server.script("upload", held)
    bench.server.script("delete", *[refused(503, "busy", "server_unavailable")] * 100)
    drive.write("a.txt", ONE)
    assert reached.wait(60)
    remove(drive)
    look = drive.journal.deletions

    def late() -> list[str]:
        before = look()
        go.set()
        wait_until(lambda: not drive.uploader.active, "the upload has ended")
        return before

    monkeypatch.setattr(drive.journal, "deletions", late)
    told = status(drive)
    monkeypatch.undo()
    assert told["active"] or told["deletions"]
    assert status(drive)["deletions"]


def test_a_rejected_version_leaves_the_doubt_before_it(bench: Bench) -> None:
    """W3: v2 is refused for good: of v1, in doubt, which it has replaced, the last copy of the name stays."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    bench.server.script("upload", *(refused(400, wire.MSG_UNSUPPORTED) for _ in range(3)))
    with suppress(MoonfsError):
        overwrite(drive, TWO)
    bench.server.unscript("list")
    wait_until(lambda: not drive.fs.busy(), "nothing is pending")
    wait_until(lambda: drive.ls() == ["a.txt"], "it is hidden behind the newer one")
    assert ONE in bench.copies() and drive.read("a.txt") == TWO
