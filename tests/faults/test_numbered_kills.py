"""Kills and answers that are lost where names are numbered: what a journal and a service may have in between (W3, W4).

Each test is one moment of a replacement, made on purpose: what the torture finds by chance once in some hundred kills.
A kill is a copy of the state directories at that moment, as in `test_exactly_one_copy`.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moonfs.errors import MoonfsError
from tests.faults.server import Reply, Turn, answer_lost, failed_after, page, reset_mid_body, truncated
from tests.faults.test_exactly_one_copy import Bench, Drive, made_bench
from tests.faults.test_numbered import MODES, NUMBERS, V0, V1, V2, V3, learned, stored
from tests.harness.doubt import away, back, remove, rename_over, settled, status
from tests.harness.drive import wait_until
from tests.harness.house import in_thread


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with made_bench(tmp_path, NUMBERS) as bench:
        yield bench


class _Killed(BaseException):
    """What ends a call of a drive that is dead."""


def copy_of(bench: Bench) -> None:
    """Keep what the last drive has on disk at this moment, once, for the next one."""
    copy = bench.root / f"home{len(bench.drives)}"
    if not copy.exists():  # names of one file stay so: a spool file may be an original already
        subprocess.run(["cp", "-a", bench.drives[-1].home, copy], check=True)


def dies_at(bench: Bench, owner: object, method: str, *, after: bool = False) -> None:
    """Kill the last drive when `method` of one of its parts is called, or `after` its first call."""
    drive, real = bench.drives[-1], getattr(owner, method)

    def die(*arguments: Any, **options: Any) -> Any:
        if after:
            real(*arguments, **options)
        drive.journal.leave({})  # what waits for the next change is on the disk
        copy_of(bench)
        drive.kill()
        raise _Killed

    setattr(owner, method, die)


def next_life(bench: Bench, **settings: Any) -> Drive:
    """Start over what the drive that has died had on disk."""
    wait_until((bench.root / f"home{len(bench.drives)}").exists, "it is dead")
    return bench.start(learned=False, **settings)


def nothing_left(drive: Drive) -> bool:
    """Say whether the journal and the spool are empty once all is over."""
    settled(drive)
    return drive.journal.intents() == [] and list((drive.home / "spool").iterdir()) == []


def write_over_empty(drive: Drive, name: str, data: bytes) -> None:
    """Make a file, or cut one, have it synced while it is empty, and write to it: its row carries no byte."""
    if name in drive.ls():
        handle = drive.fs.open(f"/{name}", read=False, write=True, truncate=True).handle
    else:
        handle = drive.fs.create(f"/{name}", 0o644).handle
    drive.fs.fsync(handle)
    drive.fs.write(handle, data, 0)
    try:
        drive.fs.flush(handle)
    finally:
        drive.fs.release(handle)


def test_an_answer_for_what_was_empty(bench: Bench) -> None:
    """W4, R5: killed before the journal has the answer: what was synced empty, then written, is readable."""
    drive = learned(bench)
    dies_at(bench, drive.journal, "stored")
    with pytest.raises(_Killed):
        write_over_empty(drive, "b.txt", V2)
    after = next_life(bench)
    assert after.read("b.txt") == V2
    after.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt": V2} and nothing_left(after)


def test_what_was_empty_goes_back_to_that(bench: Bench) -> None:
    """W6: killed before it arrived: what was synced empty, then written, is empty again, and stays so."""
    drive = learned(bench)
    dies_at(bench, drive.account._client, "upload")
    with pytest.raises(_Killed):
        write_over_empty(drive, "b.txt", V2)
    for _ in range(2):
        after = next_life(bench)
        assert after.read("b.txt") == b""
        dies_at(bench, after.fs, "recover")
        with pytest.raises(_Killed):
            after.fs.recover()


def test_the_only_bytes_that_are_left(bench: Bench) -> None:
    """W4: a colleague's file has gone for a new version, whose row carried other bytes: a kill loses nothing."""
    drive = learned(bench)
    bench.server.add("b.txt", V0)
    drive.ls()
    dies_at(bench, drive.uploader, "_send_again")
    with pytest.raises(_Killed):
        write_over_empty(drive, "b.txt", V2)
    after = next_life(bench)
    assert after.read("b.txt") == V2
    assert nothing_left(after) and stored(bench) == {"a.txt": V1, "b.txt": V2}


@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
def test_a_deletion_whose_answer_is_cut_off(bench: Bench, kill: bool) -> None:
    """W4: the old id went, though its deletion failed by all that is known: the version before is uploaded again."""
    drive = learned(bench)
    bench.server.script("delete", truncated())
    if kill:
        dies_at(bench, drive.fs._versions._reserves, "settle")
    with pytest.raises(_Killed if kill else MoonfsError):
        drive.write("a.txt", V2)
    after = next_life(bench) if kill else drive
    assert after.read("a.txt") == V1
    settled(after)
    assert stored(bench) == {"a.txt": V1} and after.ls() == ["a.txt"] and nothing_left(after)


#: What becomes of `b.txt` while a new version of it has a numbered copy, and what the service then has of it.
OVERTAKEN: dict[str, tuple[Callable[[Drive], None], dict[str, bytes]]] = {
    "renamed over": (lambda drive: rename_over(drive, V3, "b.txt"), {"b.txt": V3}),
    "written over": (lambda drive: drive.write("b.txt", V3), {"b.txt": V3}),
    "renamed": (lambda drive: drive.fs.rename("/b.txt", "/c.txt"), {"c.txt": V2}),
    "removed": (lambda drive: remove(drive, "b.txt"), {}),
}


@pytest.mark.parametrize("then", OVERTAKEN)
def test_a_numbered_copy_of_what_is_overtaken(bench: Bench, then: str) -> None:
    """W3, W4: its name has moved on when the answer comes, and the drive is killed: the numbered copy goes."""
    drive = learned(bench, write_back=True)
    bench.server.add("b.txt", V0)
    drive.ls()
    moves, expected = OVERTAKEN[then]
    attempt, moved = drive.journal.attempt, list[str]()

    def overtaken(intent: Any, **options: Any) -> bool:
        if intent.numbered and not moved:
            moved.append(then)
            in_thread(lambda: moves(drive)).result(60)
            dies_at(bench, drive.journal, "attempt")
            return drive.journal.attempt(intent, **options)
        return attempt(intent, **options)

    drive.journal.attempt = overtaken  # type: ignore[method-assign]
    drive.write("b.txt", V2)
    after = next_life(bench, write_back=True)
    wait_until(lambda: stored(bench) == {"a.txt": V1, **expected}, "no number is left")
    after.idle()
    assert stored(bench) == {"a.txt": V1, **expected} and after.ls() == sorted(stored(bench))


def test_a_held_copy_does_not_come_back(bench: Bench) -> None:
    """W9, W4: renamed to a temporary name, written anew there, and renamed back in vain: the old name is free."""
    drive = learned(bench)
    drive.fs.rename("/a.txt", "/a.txt.tmp")
    drive.write("a.txt.tmp", V2)
    bench.server.script("upload", *(page(503) for _ in range(5)))
    with pytest.raises(MoonfsError):
        drive.fs.rename("/a.txt.tmp", "/a.txt")
    drive.idle()
    assert drive.ls() == ["a.txt.tmp"] and drive.read("a.txt.tmp") == V2
    drive.fs.rename("/a.txt.tmp", "/a.txt")
    drive.idle()
    assert stored(bench) == {"a.txt": V2} and drive.ls() == ["a.txt"]


def carried_out_late() -> tuple[Callable[[Turn], None], threading.Event, threading.Event]:
    """Return what does as it is asked, unanswered; what is set once it was asked; and what lets it begin."""
    begun, go = threading.Event(), threading.Event()

    def late(turn: Turn) -> None:
        turn.read()
        begun.set()
        go.wait(60)
        turn.serve()

    return late, begun, go


@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
def test_two_uploads_of_one_name_at_once(bench: Bench, kill: bool) -> None:
    """W3, W4: a name that was free when an upload began was taken by the next one meanwhile: its copy is found."""
    drive = learned(bench, write_back=True)
    late, begun, go = carried_out_late()
    bench.server.script("upload", lambda turn: (late(turn), turn.hang_up())[1])
    drive.write("b.txt", V2)
    assert begun.wait(60)
    rename_over(drive, V3, "b.txt")
    wait_until(lambda: stored(bench).get("b.txt") == V3, "the next one arrives")
    if kill:
        copy_of(bench)
        drive.kill()
    go.set()
    wait_until(lambda: not bench.server.busy, "the first one arrives")
    after = next_life(bench, write_back=True) if kill else drive
    wait_until(lambda: stored(bench) == {"a.txt": V1, "b.txt": V3}, "no number is left")
    after.idle()
    assert after.ls() == ["a.txt", "b.txt"]


@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
def test_a_deletion_that_comes_late(bench: Bench, kill: bool) -> None:
    """W4: the old id goes after it was listed once more, by a deletion nobody waits for: it comes back."""
    drive = learned(bench)
    late, begun, go = carried_out_late()

    def hang_up(turn: Turn) -> None:
        in_thread(lambda: late(turn))
        begun.wait(60)
        turn.send(Reply(502, b"<html></html>"))

    bench.server.script("delete", *([late] if kill else [hang_up] * 9))
    if kill:
        in_thread(lambda: drive.write("a.txt", V2))
        assert begun.wait(60)
        copy_of(bench)
        drive.kill()
    else:
        with pytest.raises(MoonfsError):
            drive.write("a.txt", V2)
        bench.server.unscript()
    lists = bench.server.count("list")
    after = next_life(bench) if kill else drive
    assert after.read("a.txt") == V1
    wait_until(lambda: bench.server.count("list") > lists, "it is listed")
    go.set()
    wait_until(lambda: not bench.server.busy and V2 not in stored(bench).values(), "it is deleted")
    settled(after)
    assert stored(bench) == {"a.txt": V1} and after.ls() == ["a.txt"] and after.read("a.txt") == V1


def test_what_is_written_over_a_version_that_is_back(bench: Bench) -> None:
    """W4: once a newer version is promised, nothing is back."""
    drive = learned(bench, upload_timeout=0.3)
    bench.server.script("upload", *(page(503) for _ in range(5000)))
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V2)
    assert status(drive)["back"] == ["a.txt"]
    handle = drive.fs.open("/a.txt", read=False, write=True, truncate=True).handle
    drive.fs.write(handle, V3, 0)
    drive.fs.release(handle)  # its writer is gone, so it is promised
    assert status(drive)["back"] == [] and drive.read("a.txt") == V3
    bench.server.unscript()
    wait_until(lambda: stored(bench) == {"a.txt": V3}, "it arrives")


def test_the_same_bytes_again_after_a_deletion_in_doubt(bench: Bench) -> None:
    """W4: what an answer that is lost may have deleted is not taken for stored: it is deleted for sure, and sent."""
    drive = learned(bench)
    bench.server.script("delete", *[failed_after(Reply(502, b"<html></html>"))] * 9)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V2)
    bench.server.unscript()
    drive.write("a.txt", V1)
    settled(drive)
    assert stored(bench) == {"a.txt": V1} and drive.ls() == ["a.txt"]


def test_a_numbered_copy_when_the_name_moves_on(bench: Bench) -> None:
    """W3, W4: renamed when the journal, and not the file, knew of its numbered copy, and killed: that goes."""
    drive = learned(bench, write_back=True)
    bench.server.add("b.txt", V0)
    drive.ls()
    flights, disowned = drive.fs._versions.flights, drive.fs._versions._disowned
    numbered = flights.numbered

    def renamed(intent: Any, file: Any) -> None:
        in_thread(lambda: drive.fs.rename("/b.txt", "/c.txt")).result(60)
        numbered(intent, file)
        bench.server.script("list", *(page(503) for _ in range(5000)))
        dies_at(bench, disowned, "ended", after=True)

    flights.numbered = renamed  # type: ignore[method-assign]
    drive.write("b.txt", V2)
    wait_until((bench.root / f"home{len(bench.drives)}").exists, "it is dead")
    bench.server.unscript()
    after = next_life(bench, write_back=True)
    expected = {"a.txt": V1, "b.txt": V0, "c.txt": V2}
    wait_until(lambda: stored(bench) == expected, "no number is left")
    after.idle()


@pytest.mark.parametrize("data", [V2, V2[::-1]], ids=["the same bytes", "other bytes"])
def test_a_name_that_looks_like_a_number(bench: Bench, data: bytes) -> None:
    """W3, W4: what was stored as `b.txt.1` on purpose is no copy of a `b.txt` that was given up before, nor hidden."""
    drive = learned(bench, write_back=True)
    bench.server.script("upload", reset_mid_body(5))
    drive.write("b.txt", V2)
    watched, hidden = drive.fs._versions._disowned._watched, drive.fs._space.disowned
    wait_until(lambda: stored(bench).get("b.txt") == V2 and watched, "it is sent again, and the first attempt in doubt")
    drive.write("b.txt", V3)
    wait_until(lambda: stored(bench).get("b.txt") == V3 and not hidden, "what the first one may have left is shown")
    drive.write("b.txt.1", data)
    wait_until(lambda: stored(bench).get("b.txt.1") == data, "it is stored")
    drive.idle()
    remove(drive, "b.txt")
    drive.idle()
    assert watched, "the first attempt is in doubt still"
    after = bench.after_crash(write_back=True, learned=False)
    assert after.ls() == ["a.txt", "b.txt.1"] and after.read("b.txt.1") == data
    after.idle()
    assert stored(bench) == {"a.txt": V1, "b.txt.1": data}


def test_a_name_that_turns_out_to_be_taken(bench: Bench) -> None:
    """W3, W4: nor is it, or hidden, where that `b.txt` had a free name, and the next one was sent after it."""
    drive = learned(bench, upload_timeout=0.3)
    bench.server.script("upload", reset_mid_body(5))
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("b.txt", V2)
    back(bench)
    data = V2[::-1]
    drive.write("b.txt.1", data)
    drive.write("b.txt", V3)
    assert drive.fs._versions._disowned._watched, "the first attempt is in doubt still"
    after = bench.after_crash(learned=False)
    assert after.ls() == ["a.txt", "b.txt", "b.txt.1"] and after.read("b.txt.1") == data


@MODES
def test_a_name_that_is_in_doubt_for_long(bench: Bench, write_back: bool) -> None:
    """W3, W4: while nothing tells what has the name, nothing keeps a number, and nothing is sent twice under one."""
    drive = learned(bench, write_back=write_back, upload_timeout=0.5)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("upload", answer_lost())
    bench.server.script("content", *(page(503) for _ in range(5000)))
    with suppress(MoonfsError):
        drive.write("b.txt", V2)
    wait_until(lambda: V2 in stored(bench).values() and not drive.uploader.active, "it arrives")
    for _ in range(1 if write_back else 3):
        with suppress(MoonfsError):
            drive.write("b.txt", V3)
    if write_back:
        wait_until(lambda: V3 in stored(bench).values(), "it gets a number")
        before = bench.server.count("upload")
        looks = bench.server.count("content") + 20
        wait_until(lambda: bench.server.count("content") > looks, "it is looked at again and again")
        assert bench.server.count("upload") - before <= 1
    assert status(drive)["misnamed"] == []
    bench.server.unscript()
    with suppress(MoonfsError):
        drive.write("b.txt", V0)
    wait_until(lambda: stored(bench) == {"a.txt": V1, "b.txt": V0}, "no number is left")
    drive.idle()
    assert status(drive)["misnamed"] == [] and drive.ls() == ["a.txt", "b.txt"]


def test_a_copy_that_is_claimed_when_the_name_moves_on(bench: Bench) -> None:
    """W3, W4: what the next version has just taken over of one in doubt goes with the version after that."""
    drive = learned(bench, write_back=True)
    bench.server.script("upload", answer_lost())
    bench.server.script("content", *(page(503) for _ in range(5000)))
    drive.write("b.txt", V2)
    wait_until(lambda: V2 in stored(bench).values(), "it arrives")
    attempt, moved = drive.journal.attempt, list[str]()
    (copy,) = (each.id for each in bench.server.files.values() if each.data == V2)

    def claimed(intent: Any, **options: Any) -> bool:
        done = attempt(intent, **options)
        if copy in intent.replaces and not moved:
            moved.append(copy)
            in_thread(lambda: rename_over(drive, V0, "b.txt")).result(60)
            dies_at(bench, drive.uploader, "delete")
        return done

    drive.journal.attempt = claimed  # type: ignore[method-assign]
    rename_over(drive, V3, "b.txt")
    wait_until(lambda: V3 in stored(bench).values(), "it gets a number")
    bench.server.unscript()
    after = next_life(bench, write_back=True)
    wait_until(lambda: stored(bench) == {"a.txt": V1, "b.txt": V0}, "only the last one is there")
    after.idle()
    assert status(after)["misnamed"] == []
