"""What has arrived becomes an original, and its row goes: at no moment a kill finds a promise without its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moonfs import disowned, errors
from moonfs import journal as states
from moonfs.adoption import Adoption
from moonfs.originals import Originals
from moonfs.spool import Spool
from tests.harness.drive import wait_until
from tests.harness.house import Drive, House, in_thread, record
from tests.harness.rest import at_rest

#: More than the journal carries itself.
OLD, NEW = b"old" * 30_000, b"new" * 30_000


Kills = Callable[[Drive], Callable[[], Drive]]


@pytest.fixture
def kills(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kills]:
    """Kills a drive while what has arrived is on its way to the journal; returns what starts the next."""
    over = threading.Event()

    def kill(drive: Drive) -> Callable[[], Drive]:
        real, left = drive.journal.stored, []

        def stored(*what: Any, **more: Any) -> Any:
            change = real(*what, **more)

            class Dying:
                def wait(self) -> None:
                    if not left:
                        left.append(house.next_run(start=False))
                    over.wait(60)

            assert not change.done
            return Dying()

        monkeypatch.setattr(drive.journal, "stored", stored)

        def begin() -> Drive:
            wait_until(lambda: left, "it arrives", 10)
            return left[0].start()

        return begin

    yield kill
    over.set()


@pytest.fixture(params=["linked", "on another file system"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache are on one file system, or on two."""
    if request.param == "linked":
        return

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_bytes_that_the_service_has_already(house: House, kills: Kills) -> None:
    """W9, W4, W2: `mv b.txt a.txt` over what was renamed away, and that renamed back: `b.txt` is gone for good."""
    drive = house.start(write_back=True)
    drive.write("a.txt", OLD)
    drive.write("b.txt", NEW)
    wait_until(lambda: not drive.fs.busy() and len(house.account.files) == 2, "both are stored", 10)
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.uploader.promised = lambda: 3600.0  # type: ignore[method-assign]
    drive.fs.rename("/b.txt", "/a.txt")
    del drive.uploader.promised
    begin = kills(drive)
    drive.fs.rename("/a.txt~", "/a.txt")
    again = begin()
    assert again.ls() == ["a.txt"] and again.read("a.txt") == OLD
    assert again.fs.drain(10)
    wait_until(lambda: house.account.shown() == {"a.txt": OLD}, "b.txt goes", 10)


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_a_version_that_is_new(house: House, kills: Kills, write_back: bool) -> None:
    """W2, R5: it is there after the kill, and can be read."""
    drive = house.start(write_back=write_back)
    drive.write("a.txt", OLD)
    assert drive.fs.drain(10)
    begin = kills(drive)
    in_thread(lambda: drive.write("a.txt", NEW))
    again = begin()
    assert again.ls() == ["a.txt"] and again.read("a.txt") == NEW
    assert again.fs.drain(10)
    wait_until(lambda: house.account.shown() == {"a.txt": NEW}, "the old one goes", 10)


@pytest.mark.usefixtures("links")
def test_a_promise_before_the_one_that_arrives(house: House, kills: Kills, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenet 1, W1: its bytes are there until nothing promises them any more."""
    monkeypatch.setattr(disowned, "LOOKS", (0.0, 0.05, 0.15))
    monkeypatch.setattr(disowned, "AGAIN", 0.05)
    drive = house.build()
    record(drive, "a.txt", OLD, states.PENDING, acknowledged=1)
    house.account.script = [errors.ServiceError("busy", status=503)]
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    drive.start()
    wait_until(lambda: house.account.uploads == 1, "it is tried", 10)
    at_rest(drive.uploader.workers)
    begin = kills(drive)
    in_thread(lambda: drive.write("a.txt", NEW))
    again = begin()
    assert again.ls() == ["a.txt"] and again.read("a.txt") in (OLD, NEW)
    assert again.fs.drain(10)
    wait_until(lambda: len(house.account.files) == 1, "one is left", 10)
    assert again.read("a.txt") in (OLD, NEW) and house.account.shown() == {"a.txt": again.read("a.txt")}


def test_a_rename_that_fails_while_somebody_writes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenet 1, W9: what was kept under the old name is there until the next row has what it is now."""
    drive = house.start(write_back=False)
    drive.write("a.txt~", OLD)
    handle = drive.fs.open("/a.txt~", read=True, write=True, append=True).handle
    house.account.gate = threading.Event()
    house.account.script = [errors.UnsupportedType("no", status=400)]
    renamed = in_thread(lambda: drive.fs.rename("/a.txt~", "/a.txt"))
    assert house.account.arrived.acquire(timeout=60)
    drive.fs.write(handle, b"more", 0, append=True)
    real, left = drive.journal.put, []

    def put(*what: Any, **more: Any) -> None:
        left.append(house.next_run(start=False))
        real(*what, **more)

    monkeypatch.setattr(drive.journal, "put", put)
    house.account.gate.set()
    assert isinstance(renamed.exception(60), errors.UnsupportedType)
    monkeypatch.undo()
    assert left
    for each in left:
        each.start()
        assert each.ls() == ["a.txt~"] and each.read("a.txt~") in (OLD, OLD + b"more")
    drive.end(handle)
    assert drive.read("a.txt~") == OLD + b"more" and house.account.files == {}


def test_a_link_stays_one(tmp_path: Path) -> None:
    """R5, tenet 3: bytes that are an original already are never written to, though they are shared again."""
    (tmp_path / "originals").mkdir()
    originals, spool = Originals(tmp_path / "originals", 10**6), Spool(tmp_path)
    sha256 = hashlib.sha256(OLD).hexdigest()
    originals.keep(OLD, sha256)
    fd = originals.open(sha256)
    assert fd is not None
    file = spool.take_hold(fd)
    os.close(fd)
    Adoption(originals).share(file, sha256)
    assert file.shared
    file.discard()


@pytest.mark.parametrize("state", ["pending", "refused"])
def test_a_link_stays_one_in_the_next_run(house: House, state: str) -> None:
    """R5, tenet 3: who writes to what an earlier run has promised by a link writes into no original."""
    drive = house.start(write_back=True)
    for name in ("a.txt", "same.txt"):
        drive.write(name, OLD)
    assert drive.fs.drain(10)
    if state == "pending":
        drive.uploader.promised = lambda: 3600.0  # type: ignore[method-assign]
        drive.fs.rename("/a.txt", "/b.txt")
    else:
        house.account.script = [errors.UnsupportedType("no", status=400)]
        drive.fs.rename("/a.txt", "/b.txt")
        at_rest(drive.uploader.workers)
    drive.close()
    again = house.build_again(drive, write_back=True)
    house.account.script = [errors.ServiceError("busy", status=503)]
    again.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    again.start()
    if state == "pending":
        wait_until(lambda: not house.account.script, "it is tried", 10)
        at_rest(again.uploader.workers)
    assert again.read("same.txt") == OLD
    again.fs.rename("/b.txt", "/b.txt~")
    handle = again.fs.open("/b.txt~", read=True, write=True).handle
    again.fs.write(handle, b"new", 0)
    again.end(handle)
    assert again.read("b.txt~") == b"new" + OLD[3:]
    assert again.read("same.txt") == OLD
    again.close()


def test_what_stays_here_shares_no_bytes(house: House) -> None:
    """W6, tenet 3: a row that an interrupted rename has left may be of a link; whoever writes goes on in a copy."""
    drive = house.build()
    file = record(drive, "a.txt~", OLD, states.LOCAL)
    original = house.root / "original"
    os.link(file.file(), original)
    drive.start()
    handle = drive.fs.open("/a.txt~", read=True, write=True).handle
    drive.fs.write(handle, b"new", 0)
    assert original.read_bytes() == OLD
    assert house.next_run().read("a.txt~") in (OLD, b"new" + OLD[3:])
    drive.end(handle)
