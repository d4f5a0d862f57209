"""When the service is away, and when it takes little: what is known answers at once, and nothing is lost (E2, R6)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from moonfs.server.address import read_address
from tests.conftest import Faulty, Pair
from tests.faults.server import FaultServer
from tests.harness.drive import SECONDS, Drive, wait_for_end, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

#: Seconds within which something is answered that waits for nobody; what waits for the service takes longer.
AT_ONCE = 2.0
#: How the service goes away → the errno of what would need it.
AWAY = {"refused": errno.EHOSTUNREACH, "black hole": errno.ETIMEDOUT}


@contextmanager
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


def leave(service: FaultServer, how: str) -> None:
    service.suspend() if how == "refused" else service.swallow()


def come_back(service: FaultServer, how: str) -> None:
    service.resume() if how == "refused" else service.answer()


def notice(drive: Drive) -> None:
    """Have the drive find out that nobody answers."""
    while drive.status()["traffic"]["outage"] is None:
        with suppress(OSError):
            (drive / "unread.txt.content").read_bytes()


@pytest.mark.parametrize("how", list(AWAY))
def test_an_outage_is_answered_at_once_and_its_end_is_found(
    faulty: Callable[..., Faulty], service: FaultServer, how: str
) -> None:
    """E2, R6: once it is known nothing waits; what is cached can be read, the rest fails; the end shows by itself."""
    service.add("read.txt", b"theirs")
    service.add("unread.txt", b"theirs")
    drive = faulty("timeout=4", "listing_ttl=0").drive
    known = os.listdir(drive.point)
    text = (drive / "read.txt.content").read_bytes()
    leave(service, how)
    notice(drive)
    for _ in range(3):
        with at_once():
            assert os.listdir(drive.point) == known
        with at_once():
            assert (drive / "read.txt.content").read_bytes() == text
        with at_once(), fails(AWAY[how]):
            (drive / "unread.txt.content").read_bytes()
        for name in known:
            with at_once():
                (drive / name).stat()
        with at_once(), fails(AWAY[how]):
            (drive / "new.txt").write_text("hello")
        with at_once(), fails(AWAY[how]):
            (drive / "read.txt").unlink()
    assert drive.status()["listing"]["stale_because"]
    line = drive.errors()[-1]
    assert line["errno"] == errno.errorcode[AWAY[how]] and "no answer since" in line["message"]
    assert "has not answered since" in drive.command("status", str(drive.point)).stdout
    service.add("later.txt", b"theirs")
    come_back(service, how)
    wait_until(lambda: "later.txt" in os.listdir(drive.point), "the listing is fresh again")
    assert b"theirs" in (drive / "unread.txt.content").read_bytes()
    status = drive.status()
    assert status["traffic"]["outage"] is None and status["listing"]["stale_because"] is None
    assert os.listdir(drive.point) == sorted([*known, "later.txt", "later.txt.content"])


@pytest.mark.alone  # `sync` also waits for what all others have written to this disk
@pytest.mark.parametrize("how", list(AWAY))
def test_pending_uploads_outlast_an_outage(faulty: Callable[..., Faulty], service: FaultServer, how: str) -> None:
    """W2, E2, E1: they wait without attempts and without noise, and go on by themselves when it is over."""
    service.add("unread.txt", b"theirs")
    faulted = faulty("write_back", "timeout=4", "listing_ttl=600")
    drive = faulted.drive
    leave(service, how)
    notice(drive)
    noted = len(drive.errors())
    uploads = service.count("upload")
    bodies = {f"{number}.txt": f"{number}\n".encode() for number in range(12)}
    for name, body in bodies.items():
        with at_once():
            (drive / name).write_bytes(body)
    with at_once():
        os.sync()
    time.sleep(2)
    assert len(drive.status()["uploads"]["pending"]) == 12
    assert len(drive.errors()) == noted and service.count("upload") == uploads
    come_back(service, how)
    wait_until(lambda: not drive.status()["uploads"]["pending"], "all are uploaded")
    assert faulted.arrived() == {**bodies, "unread.txt": b"theirs"}
    assert service.count("upload") == uploads + 12


def test_an_idle_mount_sends_nothing_in_an_outage(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L4: the end of an outage is looked for by those who want something."""
    service.add("unread.txt", b"theirs")
    drive = faulty("timeout=3", "listing_ttl=0").drive
    service.swallow()
    notice(drive)
    wait_until(lambda: drive.status()["traffic"]["under_way"] == 0, "the first probe has ended")
    before = service.count()
    time.sleep(3)
    assert drive.status()["traffic"]["outage"] and service.count() == before


def test_a_close_whose_service_vanishes(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W1, W3, E2: long before `upload_timeout` it is known that nobody answers: the close fails, and in the end there
    is one copy."""
    drive = faulty().drive
    gate = Gate()
    service.script("upload", gate.after)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((drive / "a.txt").write_text, "hello")
        gate.wait()
        service.suspend()
        with fails(errno.EHOSTUNREACH):
            writer.result(SECONDS)
    assert service.names() == ["a.txt"], "it had arrived, and nobody could say so"
    service.resume()
    wait_until(lambda: os.listdir(drive.point) == ["a.txt", "a.txt.content"], "the listing is fresh again")
    (drive / "a.txt").write_text("hello")
    assert service.names() == ["a.txt"]


def test_a_local_files_api_that_is_killed_comes_back(fresh: Callable[..., Pair]) -> None:
    """R6, W1: the next uses of the drive start it again; nothing that was stored is lost."""
    drive = fresh("listing_ttl=0").drive
    (drive / "a.txt").write_text("one")
    data = drive.home / "files"
    address = read_address(data)
    assert address is not None
    wait_for_end(address.pid, kill=True)

    def works() -> bool:
        try:
            (drive / "b.txt").write_text("two")
        except OSError:
            return False
        return True

    wait_until(works, "it is back")
    assert b"one" in (drive / "a.txt.content").read_bytes()
    assert sorted(os.listdir(drive.point)) == ["a.txt", "a.txt.content", "b.txt", "b.txt.content"]
    again = read_address(data)
    assert again is not None and again.pid != address.pid
    drive.umount()
    wait_for_end(again.pid)
