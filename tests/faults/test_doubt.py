"""Uploads in doubt: an acknowledged byte is never lost, and nobody else's file is ever deleted or hidden (W3).

An upload ends without an answer, and before the list has told what became of it, its name holds something else: a
newer version of the same size, another machine's file, nothing. What is on the service then has this name and this
size, and came in this time. The drive is that of `test_exactly_one_copy`: the real one, over real HTTP.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import pytest

from moonfs import disowned, errors, proofs, wire
from moonfs.errors import MoonfsError
from moonfs.flights import Flights
from moonfs.journal import CANCELLED, PENDING, Intent
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    answered,
    error,
    failed_after,
    page,
    rate_limited,
    refused,
    reset_mid_body,
    truncated,
)
from tests.faults.test_exactly_one_copy import Bench, Drive, Held
from tests.harness.drive import wait_until
from tests.harness.house import in_thread

ONE, TWO, SIX = b"version one of it", b"version two of it", b"version six of it"
assert len(ONE) == len(TWO) == len(SIX)

#: How an upload ends without an answer: with its copy on the service, and without.
ENDS: dict[str, Callable[[], Fault]] = {
    "500 after the body": failed_after,
    "reset in mid-body": lambda: reset_mid_body(100),
    "reset after it": answer_reset,
    "502 page": lambda: failed_after(Reply(502, b"<html><title>502</title></html>", {"Content-Type": "text/html"})),
}
#: What has no text, so that nothing proves whose it is.
SILENT = "a.mp4"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(disowned, "LOOKS", (0.1, 0.4, 0.8), raising=False)
    monkeypatch.setattr(disowned, "AGAIN", 0.05, raising=False)
    with FaultServer() as server:
        bench = Bench(server, tmp_path)
        yield bench
        server.ending.set()
        for drive in bench.drives:
            drive.close()


def away(bench: Bench) -> None:
    """Let no list be had until `back`."""
    bench.server.script("list", *(page(503) for _ in range(5000)))


def back(bench: Bench) -> None:
    bench.server.unscript()


def held_lists(bench: Bench) -> tuple[threading.Event, threading.Event]:
    """Hold the next lists back: return what is set when one is asked for, and what lets them go."""
    reached, go = threading.Event(), threading.Event()

    def later(turn: Turn) -> None:
        reached.set()
        go.wait(60)
        turn.send(turn.serve())

    bench.server.unscript("list")
    bench.server.script("list", *[later] * 20)
    return reached, go


def settled(drive: Drive) -> None:
    """Wait until nothing is pending, in doubt or to be deleted, and every search is over."""

    def is_over() -> bool:
        rows = drive.journal.intents()
        return not rows and not drive.journal.deletions() and not drive.uploader.active

    wait_until(is_over, "nothing is in doubt")
    drive.idle()


def status(drive: Drive) -> dict[str, Any]:
    return cast(dict[str, Any], drive.fs.summary()["uploads"])


def rename_over(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    drive.write(f".{name}.new", data)
    drive.fs.rename(f"/.{name}.new", f"/{name}")


def remove(drive: Drive, name: str = "a.txt") -> None:
    drive.fs.unlink(f"/{name}", os.getpid)


def remove_and_write(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    with suppress(errors.NotFound):
        remove(drive, name)
    drive.write(name, data)


def overwrite(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    drive.write(name, data)


WAYS = {"rename over it": rename_over, "rm and a new file": remove_and_write, "an overwrite": overwrite}


def in_doubt(bench: Bench, fault: Fault, *, write_back: bool, name: str = "a.txt", data: bytes = ONE) -> Drive:
    """Return a drive whose upload of `data` has ended without an answer, and that has no list yet."""
    drive = bench.start(upload_timeout=0.3 if not write_back else 1.0, write_back=write_back)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("upload", fault)
    away(bench)
    if write_back:
        drive.write(name, data)
    else:
        with suppress(MoonfsError):
            drive.write(name, data)
    wait_until(lambda: bench.server.count("upload") and not drive.uploader.active, "the upload has failed")
    return drive


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


@pytest.mark.parametrize("then", ["it is wanted", "rm"])
def test_what_the_service_reads_still_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """W3, R4: a copy whose text is being made has none yet: it is not asked for, and counts when it is there."""
    monkeypatch.setattr(proofs, "SENSELESS", 0.1)

    def fault(turn: Turn) -> None:
        turn.serve()
        for stored in bench.server.files.values():
            stored.status = "processing"
        turn.hang_up()

    drive = in_doubt(bench, fault, write_back=True)
    if then == "rm":
        remove(drive)
    bench.server.script("content", *[refused(400, "not extracted yet")] * 5000)
    bench.server.unscript("list")
    asked = bench.server.count("list")
    wait_until(lambda: bench.server.count("list") > asked + 3, "it is looked for")
    drive.uploader._stopping.wait(0.3)
    assert bench.server.count("content") == 0 and drive.fs.busy()
    bench.server.unscript("content")
    for stored in bench.server.files.values():
        stored.status = "ok"
    settled(drive)
    assert bench.copies() == ([] if then == "rm" else [ONE]) and bench.server.count("upload") == 1
    assert status(drive)["copies"] == []


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_what_has_no_text_is_sent_again_and_the_other_is_left(bench: Bench, write_back: bool) -> None:
    """W3: a video proves nothing: it is uploaded again, and the other copy stays, visible, with a line in status."""
    drive = bench.start(write_back=write_back)
    bench.server.script("upload", answer_lost())
    drive.write(SILENT, ONE)
    settled(drive)
    assert bench.copies(SILENT) == [ONE, ONE]
    with bench.server.lock:
        first, second = bench.server.files
    assert sorted(drive.ls()) == sorted([SILENT, f"a~{first}.mp4"])
    assert drive.fs.xattrs(f"/{SILENT}")["user.moonfs.id"].decode() == second
    (line,) = status(drive)["copies"]
    assert line["name"] == f"a~{first}.mp4" and line["next"]
    remove(drive, f"a~{first}.mp4")
    wait_until(lambda: bench.copies(SILENT) == [ONE], "it is deleted")
    assert status(drive)["copies"] == []


@pytest.mark.parametrize("answer", [page(502), refused(500, "failed", "server_error"), rate_limited("0")])
def test_a_text_that_cannot_be_had_now_is_waited_for(bench: Bench, answer: Fault) -> None:
    """W3: a proxy's page, or a busy service, says nothing of whose the copy is: it is asked again, and adopted."""
    drive = bench.start(upload_timeout=60.0)
    bench.server.script("upload", answer_lost())
    bench.server.script("content", *[answer] * 7)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1 and status(drive)["copies"] == []


@pytest.mark.parametrize("purpose", ["file-extract", "batch"])
@pytest.mark.parametrize(
    "answer",
    [refused(500, "extract task failed: failed", "server_error"), truncated(len(ONE)), truncated(12)],
    ids=["failed", "cut to the length of the file", "cut"],
)
def test_a_text_that_makes_no_sense_now_is_asked_for_again(bench: Bench, answer: Fault, purpose: str) -> None:
    """W3, W8: a bad answer does not make our copy somebody else's, or nobody's: what was removed does not come back."""
    drive = bench.start(write_back=True, purpose=purpose)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("upload", answer_lost())
    away(bench)
    drive.write("a.txt", ONE)
    wait_until(lambda: ONE in bench.copies(), "it has arrived")
    bench.server.script("content", *[answer] * 8)
    remove(drive)
    bench.server.unscript("list")
    settled(drive)
    assert bench.copies() == [] and drive.ls() == [] and status(drive)["copies"] == []


#: Why the text of a file cannot be had, though the service lists its files.
NO_TEXT: dict[str, Callable[[], Fault]] = {
    "extraction failed": lambda: refused(500, "extract task failed: failed", "server_error"),
    "500": lambda: refused(500, "failed", "server_error"),
    "502 page": lambda: page(502),
    "403 page": lambda: page(403),
    "429": lambda: rate_limited("0"),
    "401": lambda: refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION),
    "hang-up": lambda: Turn.hang_up,
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a text that cannot be had count as none soon."""
    monkeypatch.setattr(proofs, "SENSELESS", 0.2)
    monkeypatch.setattr(proofs, "UNREADY", 0.4)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("why", NO_TEXT)
def test_a_text_that_never_makes_sense_proves_nothing(bench: Bench, why: str) -> None:
    """W3: after some seconds it counts as none: the copy stays, and has its line; every doubt has an end."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    bench.server.script("content", *[NO_TEXT[why]() for _ in range(5000)])
    remove(drive)
    bench.server.unscript("list")
    settled(drive)
    assert bench.copies() == [ONE] and drive.ls() == ["a.txt"] and len(status(drive)["copies"]) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("why", ["500", "502 page", "429"])
def test_what_has_no_text_for_good_is_sent_again(bench: Bench, why: str, write_back: bool) -> None:
    """W3: a text that cannot be had proves nothing: uploaded again, and the other copy stays, with its line."""
    drive = bench.start(write_back=write_back, upload_timeout=60.0)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("content", *[NO_TEXT[why]() for _ in range(5000)])
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE, ONE] and len(drive.ls()) == 2 and len(status(drive)["copies"]) == 1


def in_order(data: bytes) -> str:
    """Return a text with line ends of one kind."""
    return data.decode().replace("\r", "\n")


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_what_the_service_puts_in_order_is_sent_again(bench: Bench, write_back: bool) -> None:
    """W3: a text that differs by its line ends only is no proof, until one of the same bytes is confirmed: one copy."""
    bench.server.read = in_order
    drive = bench.start(write_back=write_back)
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", b"one\rtwo\r")
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and bench.server.count("upload") == 2
    assert drive.ls() == ["a.txt"] and status(drive)["copies"] == []


def test_rm_of_what_the_service_puts_in_order(bench: Bench) -> None:
    """W3, W8: it stays, and status says so: it may be another machine's, with other line ends."""
    bench.server.read = in_order
    drive = in_doubt(bench, answer_lost(), write_back=True, data=b"one\rtwo\r")
    remove(drive)
    back(bench)
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and len(status(drive)["copies"]) == 1


def test_what_the_service_puts_in_order_is_adopted(bench: Bench) -> None:
    """W3: its text is that of an upload of the same bytes that an answer has confirmed."""
    bench.server.read = in_order
    drive = bench.start()
    drive.write("b.txt", b"one\rtwo\r")
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", b"one\rtwo\r")
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and bench.server.count("upload") == 2


def test_whoever_is_refused_asks_less_and_less(bench: Bench) -> None:
    """W3: a list that is refused for good is asked for at growing distances, not in a loop."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    remove(drive)
    bench.server.unscript("list")
    refusal = refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION)
    bench.server.script("list", *[refusal] * 5000)
    asked = bench.server.count("list")
    drive.uploader._stopping.wait(3.0)  # sixty times the first pause
    assert bench.server.count("list") <= asked + 15
    back(bench)
    settled(drive)
    assert bench.copies() == []


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


def test_a_video_of_somebody_else_outlives_rm(bench: Bench) -> None:
    """W3, W8: nothing proves that what has this name and size is ours: it stays, and is shown."""
    drive = in_doubt(bench, reset_mid_body(50), write_back=True, name=SILENT)
    remove(drive, SILENT)
    bench.server.add(SILENT, SIX)
    back(bench)
    settled(drive)
    assert bench.copies(SILENT) == [SIX] and drive.ls() == [SILENT]


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


def failed_close(bench: Bench) -> Drive:
    """Return a drive whose `a.txt` is SIX; its close of ONE over that has failed, though ONE arrived; no list yet."""
    drive = bench.start(upload_timeout=0.3)
    drive.write("a.txt", SIX)
    bench.server.script("upload", answer_lost())
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", ONE)
    return drive


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


@pytest.mark.parametrize("step", [60, -60, 3600, -3600, 86400, -86400])
@pytest.mark.parametrize("when", ["before the upload", "while it is under way", "after it"])
def test_a_step_of_the_clock_leaves_one_copy(
    bench: Bench, when: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3: an attempt's time is the service's, carried on by a clock that nobody sets."""
    clock = Stepping(monkeypatch)
    drive = bench.start()

    def fault(turn: Turn) -> None:
        turn.read()
        if when == "while it is under way":
            clock.step(step)
        turn.serve()
        if when == "after it":
            clock.step(step)
        turn.hang_up()

    bench.server.script("upload", fault)
    if when == "before the upload":
        clock.step(step)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [60, 3600, -3600])
def test_a_service_without_a_date(bench: Bench, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3: where it sends none, time excludes nothing: lists and proof decide."""
    bench.server.dated = False
    clock = Stepping(monkeypatch)
    drive = bench.start()
    bench.server.script("upload", answer_lost())
    clock.step(step)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("step", [20, -20, 86400, -86400])
@pytest.mark.parametrize("when", ["before it is stored", "after it is stored"])
def test_a_step_of_the_services_clock_leaves_one_copy(bench: Bench, when: str, step: int, write_back: bool) -> None:
    """W3: where the service's answers contradict each other, time excludes nothing."""
    ahead = 0
    bench.server.clock = lambda: time.time() + ahead
    drive = bench.start(write_back=write_back)

    def fault(turn: Turn) -> None:
        nonlocal ahead
        turn.read()
        ahead = step if when.startswith("before") else 0
        turn.serve()
        ahead = step
        turn.hang_up()

    bench.server.script("upload", fault)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [86400, -86400])
def test_a_step_of_the_services_clock_and_rm(bench: Bench, step: int) -> None:
    """W3, W8: what was removed in doubt goes, though its time seems to be another one."""
    ahead = 0
    bench.server.clock = lambda: time.time() + ahead

    def fault(turn: Turn) -> None:
        nonlocal ahead
        turn.read()
        ahead = step
        turn.serve()
        turn.hang_up()

    drive = in_doubt(bench, fault, write_back=True)
    remove(drive)
    back(bench)
    settled(drive)
    assert bench.copies() == [] and drive.ls() == []


def dated(reply: Reply, ahead: float) -> Fault:
    """Answer `reply` with a Date of its own."""
    return answered(Reply(reply.status, reply.body, {**reply.headers, "Date": formatdate(time.time() + ahead)}))


PAGE = Reply(502, b"<html><title>502</title></html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("ahead", [86400, -86400, 3600])
@pytest.mark.parametrize(
    "reply",
    [
        PAGE,
        replace(PAGE, status=200),
        replace(PAGE, status=404),
        Reply(200, b'{"data":[]}', {"Age": "86400"}),
        error(503, "busy", "server_unavailable"),
    ],
    ids=["502 page", "200 page", "404 page", "a cache", "the API's"],
)
def test_a_foreign_date_leaves_one_copy(bench: Bench, reply: Reply, ahead: float) -> None:
    """W3: only the API's own answers tell the time, and where those contradict each other, nothing is told by it."""
    drive = bench.start()
    bench.server.script("list", dated(reply, ahead))
    with suppress(MoonfsError):
        drive.account.listing.refresh()
    bench.server.unscript()
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [60, -60, 3600, -3600, 86400, -86400])
@pytest.mark.parametrize("stored", [True, False], ids=["v1 arrives", "v1 does not"])
def test_a_step_of_the_clock_between_two_versions(
    bench: Bench, stored: bool, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2, tenet 1: which of two acknowledged versions is the newer is a matter of the journal, not of the clock."""
    clock = Stepping(monkeypatch)
    drive = bench.start(write_back=True)
    held = Held(store=stored)
    bench.server.script("upload", held)
    drive.write("a.txt", ONE)
    assert held.reached.wait(60)
    clock.step(step)
    drive.write("a.txt", TWO)
    after = bench.after_crash(write_back=True)
    held.go.set()
    assert after.ls() == ["a.txt"] and after.read("a.txt") == TWO
    settled(after)
    assert bench.copies() == [TWO] and after.read("a.txt") == TWO


class Stepping:
    """This machine's wall clock, which can be set; the service's goes on, and so does the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        self._offset = 0
        real, real_ns = time.time, time.time_ns
        service = real
        monkeypatch.setattr("tests.faults.server.time.time", lambda: real() + self._offset)
        monkeypatch.setattr("time.time_ns", lambda: real_ns() + self._offset * 10**9)
        self.service = service

    def step(self, seconds: int) -> None:
        self._offset += seconds


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
