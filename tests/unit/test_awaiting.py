"""Waiting for a text whose file is on its way: what ends it, and when it is not begun (R4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moonfs import awaiting, errors, filesystem
from moonfs.namespace import Awaited, Sidecar
from tests.harness import direct
from tests.harness.drive import wait_until
from tests.harness.house import Drive, House, in_thread, let_go, put_off, text_of
from tests.harness.rest import at_rest

TEXT = "/a.txt.content"
#: Whoever is answered within has not waited for as long as a wait lasts.
AT_ONCE = 5.0


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    yield made  # type: ignore[misc]
    if made.account.gate is not None:
        made.account.gate.set()
    for drive in made.drives:
        drive.close()


def hold(house: House, drive: Drive, name: str) -> None:
    """Do as `put_off` after other uploads."""
    house.account.arrived = threading.Semaphore(0)
    put_off(house, drive, name)


def read(drive: Drive, path: str = TEXT, **how: Any) -> bytes:
    handle = drive.fs.open(path, read=True, write=False, **how).handle
    try:
        return direct.read(drive.fs, handle)
    finally:
        drive.fs.release(handle)


def waits(drive: Drive, count: int = 1) -> None:
    wait_until(lambda: drive.fs._awaiting.waiting == count, f"{count} wait", 20)


def quick(call: Callable[[], object], kind: type[Exception], match: str | None = None) -> None:
    began = time.monotonic()
    with pytest.raises(kind, match=match):
        call()
    assert time.monotonic() - began < AT_ONCE


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a wait run out soon."""
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 0.2)


def test_the_end_of_the_upload_ends_the_wait(house: House) -> None:
    """R4: many wait for it, and nobody holds a lock meanwhile."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    readers = [in_thread(lambda: read(drive)) for _ in range(5)]
    waits(drive, 5)
    assert drive.fs.getattr(TEXT).size == 1 and drive.fs.readdir("/") == ["a.txt", "a.txt.content"]
    let_go(house, drive)
    assert [reader.result(10) for reader in readers] == [text_of(b"one")] * 5


def test_newer_bytes_are_waited_for(house: House) -> None:
    """R4: written while the older ones were on their way: the text of these is never given."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    drive.write("a.txt", b"two")
    let_go(house, drive)
    assert reader.result(10) == text_of(b"two")


def test_a_wait_that_runs_out(house: House, impatient: None) -> None:
    """R4: EAGAIN with the reason; the last error, where there is one."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    with pytest.raises(errors.NotReady, match="is not there yet: its upload takes long"):
        read(drive)
    let_go(house, drive)
    drive.uploader.backoff = lambda _attempt: 60.0  # type: ignore[method-assign]
    house.account.script = [errors.ServiceError("500 from the service")]
    drive.write("b.txt", b"x")
    wait_until(lambda: drive.fs._space.local["b.txt"].trouble, "it has failed")
    with pytest.raises(errors.NotReady, match="came to nothing: 500 from the service"):
        read(drive, "/b.txt.content")


def test_after_one_wait_the_next_do_not_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: as long as nothing has come through."""
    drive = house.start(write_back=True, requests=1)
    put_off(house, drive)
    for number in range(20):
        drive.write(f"{number}.txt", b"x")
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 0.2)
    with pytest.raises(errors.NotReady):
        read(drive)
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 60.0)
    for number in range(20):
        quick(lambda number=number: read(drive, f"/{number}.txt.content"), errors.NotReady)  # type: ignore[misc]
    first, house.account.gate = house.account.gate, threading.Event()
    first.set()  # type: ignore[union-attr]
    wait_until(lambda: drive.fs._versions.settled == 1, "one has come through")
    moved = in_thread(lambda: read(drive, "/19.txt.content"))
    waits(drive)
    let_go(house, drive)
    assert moved.result(10) == text_of(b"x")


def test_what_is_new_in_the_queue_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: nothing is known of it yet, though a wait for another has run out."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 0.2)
    with pytest.raises(errors.NotReady):
        read(drive)
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 60.0)
    drive.write("later.txt", b"x")
    late = in_thread(lambda: read(drive, "/later.txt.content"))
    waits(drive)
    let_go(house, drive)
    assert late.result(10) == text_of(b"x")


def test_a_writer_that_does_not_close(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: it is waited for once; that says nothing of uploads."""
    drive = house.start(write_back=True)
    drive.write("a.txt", b"old")
    at_rest(drive.uploader.workers)
    writer = drive.fs.open("/a.txt", read=False, write=True).handle
    drive.fs.write(writer, b"new", 0)
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 0.2)
    with pytest.raises(errors.NotReady, match="a program still has it open"):
        read(drive)
    monkeypatch.setattr(filesystem, "EXTRACTION_WAIT", 60.0)
    quick(lambda: read(drive), errors.NotReady)
    hold(house, drive, "b.txt")
    reader = in_thread(lambda: read(drive, "/b.txt.content"))
    waits(drive)
    let_go(house, drive)
    assert reader.result(10) == text_of(b"one")
    drive.end(writer)
    assert read(drive) == text_of(b"new")


def test_who_does_not_wait(house: House) -> None:
    """R4: O_NONBLOCK and O_NOATIME; and it does not count as a wait that ran out."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    quick(lambda: read(drive, waits=False), errors.NotReady)
    quick(lambda: read(drive, looks=True), errors.OnlyLooked)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    let_go(house, drive)
    assert reader.result(10) == text_of(b"one")


def test_an_extraction_is_not_waited_for_either(house: House) -> None:
    """R4: O_NONBLOCK, where the file is stored and its text is not extracted yet."""
    drive = house.start()
    stored = house.account.add("a.txt", b"x")
    object.__setattr__(stored, "status", "processing")
    object.__setattr__(stored, "created_at", 2**31)  # not long ago: the status is believed
    quick(lambda: read(drive, waits=False), errors.NotReady)


def test_the_end_ends_every_wait(house: House) -> None:
    """R4, L2: closed here, or told by libfuse that it is to end."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    end = threading.Event()
    told = in_thread(lambda: read(drive, ended=end.is_set))
    waits(drive)
    end.set()
    with pytest.raises(errors.NotReady, match="is being unmounted"):
        told.result(AT_ONCE)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    drive.fs._awaiting.close()
    with pytest.raises(errors.NotReady, match="is being unmounted"):
        reader.result(AT_ONCE)


def test_who_deletes_the_name_ends_its_waits(house: House) -> None:
    """E2: those for that name, and only who deletes it; the next one waits again."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    drive.fs.looked_up(TEXT, lambda: False)
    drive.fs.looked_up("/a.txt", lambda: True)
    assert not reader.done()
    drive.fs.looked_up(TEXT, lambda: True)
    with pytest.raises(errors.OnItsWay, match="somebody deletes its name"):
        reader.result(AT_ONCE)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    let_go(house, drive)
    assert reader.result(10) == text_of(b"one")


def test_an_outage_ends_every_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4, E2: whether it was known before or begins meanwhile."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    monkeypatch.setattr(drive.fs._awaiting, "_outage", lambda: errors.Unreachable("there is no network"))
    with pytest.raises(errors.NotReady, match="there is no network"):
        reader.result(AT_ONCE)
    quick(lambda: read(drive), errors.NotReady, "there is no network")


def test_a_refusal_is_told_as_it_is(house: House) -> None:
    """R4: to who waits; while it is tried once more, that is waited for."""
    drive = house.start(write_back=True)
    drive.uploader.backoff = lambda _attempt: 0.5  # type: ignore[method-assign]
    house.account.script = [errors.QuotaExceeded("full", status=400)]
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    first, house.account.gate = house.account.gate, threading.Event()
    first.set()  # type: ignore[union-attr]
    with pytest.raises(errors.QuotaExceeded):
        reader.result(10)
    assert house.account.arrived.acquire(timeout=10), "it is tried once more"
    reader = in_thread(lambda: read(drive))
    waits(drive)
    let_go(house, drive)
    assert reader.result(10) == text_of(b"one")


def test_a_real_file_that_takes_the_name(house: House) -> None:
    """N4: who waits gets that."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    house.account.add("a.txt.content", b"a real one")
    drive.fs._account.listing.expire()
    drive.fs.readdir("/")
    drive.fs._space.changed()
    with pytest.raises(errors.BytesNotHere):
        reader.result(10)


def test_numbers_of_what_is_pending(house: House) -> None:
    """W2: newer bytes keep the first number open until an upload ends; what `moonfs sync` goes by."""
    drive = house.start(write_back=True)

    def unsettled() -> dict[str, Any]:
        return drive.fs.summary()["uploads"]["unsettled"]  # type: ignore[index,no-any-return]

    put_off(house, drive)
    first = unsettled()["a.txt"]
    assert first["first"] == first["last"] and first["bytes"] == 3
    drive.write("a.txt", b"more")
    second = unsettled()["a.txt"]
    assert second["first"] == first["first"] and second["last"] > first["last"]
    gate, house.account.gate = house.account.gate, threading.Event()
    gate.set()  # type: ignore[union-attr]
    wait_until(lambda: unsettled()["a.txt"]["first"] == second["last"], "the first bytes have arrived")
    let_go(house, drive)
    assert unsettled() == {}


def test_what_is_no_text_to_come(house: House) -> None:
    """N1: a name that would be cut has the id in it, which is not known yet; it shows with the upload."""
    drive = house.start(write_back=True)
    long = "x" * 246 + ".txt"
    put_off(house, drive, long)
    assert drive.fs.readdir("/") == [long]
    let_go(house, drive)
    hold(house, drive, "x" * 243 + ".txt")
    assert len(drive.fs.readdir("/")) == 4


def test_ghosts_of_texts_that_were_awaited(house: House) -> None:
    """W10: who has deleted the file deletes its text's name too; nobody else is told that it was there."""
    drive = house.start(write_back=True)
    put_off(house, drive)
    drive.fs.unlink(TEXT, lambda: 7)
    assert isinstance(drive.fs._space.resolve(drive.fs._account.listing.peek(), "a.txt.content"), Awaited)
    drive.fs.unlink("/a.txt", lambda: 7)
    with pytest.raises(errors.NotFound):
        drive.fs.unlink(TEXT, lambda: 8)
    drive.fs.unlink(TEXT, lambda: 7)


def test_a_picture_without_words_leaves_a_ghost_for_all(house: House) -> None:
    """W10, W11: its text was listed; who deletes all that was listed meets no error."""
    drive = house.start(write_back=True)
    house.account.script = [errors.NoText("no words", status=400)]
    drive.write("p.png", b"x")
    at_rest(drive.uploader.workers)
    assert drive.fs.readdir("/") == ["p.png"]
    drive.fs.unlink("/p.png.content", lambda: 9)


def test_the_inode_of_a_text_stays(house: House) -> None:
    """A1: through upload, overwrite and remount, and for a file of somebody else too."""
    drive = house.start(write_back=True)
    house.account.add("a.txt", b"theirs")
    first = drive.fs.getattr(TEXT).inode
    put_off(house, drive, data=b"mine")
    assert drive.fs.getattr(TEXT).inode == first
    let_go(house, drive)
    assert isinstance(drive.fs._space.resolve(drive.fs._account.listing.peek(), "a.txt.content"), Sidecar)
    assert drive.fs.getattr(TEXT).inode == first != drive.fs.getattr("/a.txt").inode
    assert house.next_run(write_back=True).fs.getattr(TEXT).inode == first


def test_it_looks_now_and_then(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: a change that nobody has told of is found all the same."""
    monkeypatch.setattr(awaiting, "_LOOK", 0.01)
    drive = house.start(write_back=True)
    drive.fs._space.on_change = lambda: None
    put_off(house, drive)
    reader = in_thread(lambda: read(drive))
    waits(drive)
    let_go(house, drive)
    assert reader.result(10) == text_of(b"one")
