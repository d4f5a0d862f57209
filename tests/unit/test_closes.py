"""What a close means, by who closes, while uploads are under way; the opener is thread 1, its child thread 2."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from moonfs import errors, flights
from moonfs import journal as states
from moonfs.openers import Opener
from tests.harness.house import Drive, House, in_thread
from tests.harness.rest import at_rest

OPENER, CHILD = 1, 2


class Shared(Opener):
    """An opener that has everything open."""

    def is_process_of(self, thread: int) -> bool:
        return thread != CHILD

    def has_open(self, inode: int) -> bool:
        return True


def shared(drive: Drive, name: str = "a.txt", data: bytes = b"one") -> int:
    """Return a handle on a new file, in which a child has written `data` and which it has closed."""
    handle = drive.create(name)
    drive.fs._handles[handle].opener = Shared()
    write(drive, handle, data)
    return handle


def write(drive: Drive, handle: int, data: bytes, offset: int = 0) -> None:
    drive.fs.write(handle, data, offset, CHILD)
    drive.fs.flush(handle, CHILD)


def rows(drive: Drive) -> list[tuple[str, str]]:
    return [(intent.name, intent.state) for intent in drive.journal.intents()]


@pytest.mark.parametrize("write_back", [False, True])
def test_a_promise_grows_in_place(house: House, write_back: bool) -> None:
    """W1, E2: a hundred children that add to a large file copy none of it, and leave one row."""
    drive = house.start(write_back=write_back)
    handle = shared(drive, data=bytes(70_000))
    (local,) = drive.fs._space.local.values()
    spool = local.spool
    for number in range(100):
        write(drive, handle, b"x", 70_000 + number)
    assert local.spool is spool and rows(drive) == [("a.txt", states.PENDING)] and house.account.uploads == 0
    assert not drive.fs.busy()
    drive.end(handle)
    assert drive.fs.drain(10)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": bytes(70_000) + b"x" * 100} and house.account.uploads == 1
    assert rows(drive) == [] and drive.spooled() == 0


@pytest.mark.parametrize("size", [3, 70_000])
def test_a_kill_while_it_grows(house: House, size: int) -> None:
    """Tenet 1: what a close was told is safe is there, with what came after it or without, and is uploaded whole."""
    drive = house.start()
    handle = shared(drive, data=b"x" * size)
    drive.fs.write(handle, b"more", size, OPENER)
    again = house.next_run()
    assert again.fs.drain(10)
    (data,) = house.account.shown().values()
    assert data in (b"x" * size, b"x" * size + b"more") and house.account.uploads == 1


def test_a_child_closes_during_an_upload(house: House) -> None:
    """W1, W4: what a child closes while its opener's version is on the way is the next version, and replaces it."""
    drive = house.start()
    handle = shared(drive)
    house.account.gate = threading.Event()
    closing = in_thread(lambda: drive.fs.flush(handle, OPENER))
    assert house.account.arrived.acquire(timeout=10)
    write(drive, handle, b"two", 3)
    house.account.gate.set()
    closing.result(10)
    assert house.account.shown() == {"a.txt": b"one"} and rows(drive) == [("a.txt", states.PENDING)]
    again = house.next_run()
    assert again.fs.drain(10) and house.account.shown() == {"a.txt": b"onetwo"}


def test_a_child_closes_during_an_upload_that_fails(house: House) -> None:
    """Tenet 1: it is the newest version that is safe; the one before it is not tried again."""
    drive = house.start()
    handle = shared(drive)
    house.account.gate = threading.Event()
    house.account.script = [errors.Rejected("no", status=400)]
    closing = in_thread(lambda: drive.fs.flush(handle, OPENER))
    assert house.account.arrived.acquire(timeout=10)
    write(drive, handle, b"two", 3)
    house.account.gate.set()
    with pytest.raises(errors.Rejected):
        closing.result(10)
    assert rows(drive) == [("a.txt", states.PENDING)]
    drive.end(handle)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"onetwo"} and house.account.uploads == 2


@pytest.mark.parametrize("seconds", [0.05, 30.0])
def test_a_child_closes_during_a_rename(house: House, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """W9: the promise goes with the name, however long the rename takes."""
    monkeypatch.setattr(flights, "RENAME_SECONDS", seconds)
    drive = house.start()
    handle = shared(drive)
    house.account.gate = threading.Event()
    renaming = in_thread(lambda: drive.fs.rename("/a.txt", "/b.txt"))
    assert house.account.arrived.acquire(timeout=10)
    if seconds < 1:
        renaming.result(10)
    write(drive, handle, b"two", 3)
    house.account.gate.set()
    renaming.result(10)
    drive.fs._versions.flights.close()
    at_rest(drive.uploader.workers)
    # The upload is disowned where the name was not its own yet; what it left is the file's by now.
    assert [row for row in rows(drive) if row[1] != states.CANCELLED] == [("b.txt", states.PENDING)]
    again = house.next_run()
    assert again.fs.drain(10) and house.account.shown() == {"b.txt": b"onetwo"}


def test_a_disk_that_is_full_at_the_release(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1, tenet 1: what a close was told is safe goes to the service; the record has what is lost."""
    told: list[tuple[str, errors.MoonfsError]] = []
    drive = house.start()
    monkeypatch.setattr(drive.fs._versions, "_report", lambda name, error: told.append((name, error)))
    handle = shared(drive)
    upload: Any = drive.fs._versions._promises.upload

    def full(_local: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drive.fs._versions._promises, "upload", full)
    drive.fs.release(handle)
    monkeypatch.setattr(drive.fs._versions._promises, "upload", upload)
    at_rest(drive.uploader.workers)
    assert house.account.shown() == {"a.txt": b"one"}
    ((name, error),) = told
    assert name == "a.txt" and "No space left on device" in str(error)
