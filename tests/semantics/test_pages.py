"""Lists that come in pages: all files are shown, and a part of a list is never taken for all (N1, R6)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import serving
from tests.faults.formats import Stored
from tests.faults.kinds import Kind
from tests.faults.server import FaultServer, Reply, Turn, refused
from tests.harness import direct
from tests.harness.drive import Drive, hosted

pytestmark = pytest.mark.fuse


@pytest.fixture(scope="module", params=[False, True], ids=["known", "second"])
def paged(fuse: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paged]:
    """A drive on a service that gives three files a page, in either format."""
    kind = Kind(pages=True, beta=request.param)
    home = tmp_path_factory.mktemp("paged")
    with FaultServer(kind=kind) as server, Drive(home, *hosted(server.base_url, server.key, kind)) as drive:
        yield Paged(drive.mount("listing_ttl=0"), server)


class Paged:
    """A drive and its service, which can be made as new."""

    def __init__(self, drive: Drive, server: FaultServer) -> None:
        self.drive = drive
        self.server = server

    def fill(self, count: int) -> list[str]:
        """Have the service store so many files, and nothing else; return their names."""
        with self.server.lock:
            self.server.files.clear()
            self.server.seen.clear()
        self.server.unscript()
        self.server.weather = lambda _seen: None
        return sorted(self.server.add(f"{number:02}.txt", b"x").filename for number in range(count))

    def names(self) -> list[str]:
        return [name for name in sorted(os.listdir(self.drive.point)) if not name.endswith(".content")]


def test_all_pages_are_shown(paged: Paged) -> None:
    """N1: a file on the last page is as good as one on the first: its text, its deletion, its place in the quota."""
    names = paged.fill(11)
    assert paged.names() == names
    assert b"x" in (paged.drive / "00.txt.content").read_bytes()
    room = os.statvfs(paged.drive.point)
    assert room.f_files - room.f_ffree == 11
    os.unlink(paged.drive / "00.txt")
    assert paged.server.names() == names[1:] == paged.names()
    listing = paged.drive.status()["listing"]
    assert (listing["files"], listing["left_out"], listing["unread"]) == (10, 0, "")


def test_a_list_that_changes_between_its_pages(paged: Paged) -> None:
    """N1: an upload and a deletion by others between two pages lose and double nothing, though places shift."""
    names = paged.fill(12)
    assert paged.names() == names
    seen = 0

    def shifting(turn: Turn) -> None:
        """Give pages by the place of a file in the list, and change the list after the first of them."""
        nonlocal seen
        server, kind = paged.server, "items" if paged.server.kind.beta else "data"
        with server.lock:
            newest = sorted(server.files.values(), key=lambda stored: stored.id, reverse=True)
        turn.read()
        start = int(turn.seen.query.get("page_token", "0"))
        page = newest[start : start + 3]
        more = start + 3 < len(newest)
        told = [each.to_metadata() if server.kind.beta else each.to_wire() for each in page]
        turn.send(Reply(200, json.dumps({kind: told, "next_page_token": str(start + 3) if more else ""}).encode()))
        seen += 1
        if seen == 1:
            with server.lock:
                del server.files[newest[0].id]

    paged.server.weather = lambda one: shifting if one.operation == "list" else None
    assert {*names[:-1]} <= {*paged.names()}, "what was pushed onto the page before is there"
    assert paged.names() == names[:-1], "and what was deleted is not, a moment later"
    paged.server.add("new.txt", b"x")
    assert paged.names() == [*names[:-1], "new.txt"]


def test_a_list_without_an_end_forgets_nothing(paged: Paged) -> None:
    """N1, R6: where pages repeat, what was known stays, new files show, and log and status say why."""
    names = paged.fill(5)
    assert paged.names() == names
    newest: Stored = paged.server.add("new.txt", b"x")
    entry = newest.to_metadata() if paged.server.kind.beta else newest.to_wire()
    body = {"items": [entry], "data": [entry], "has_more": True, "next_page_token": "again"}
    paged.server.weather = lambda seen: (
        (lambda turn: turn.send(Reply(200, json.dumps(body).encode()))) if seen.operation == "list" else None
    )
    for _ in range(3):
        assert paged.names() == [*names, "new.txt"]
    assert "its pages repeat" in paged.drive.status()["listing"]["unread"]
    said = paged.drive.command("status", str(paged.drive.point)).stdout
    assert "more files than are shown" in said and "its pages repeat" in said
    assert paged.drive.log().count("not read to its end") == 1, "once, not with every look"
    paged.server.weather = lambda _seen: None
    assert paged.names() == [*names, "new.txt"]
    assert paged.drive.status()["listing"]["unread"] == ""


def test_a_page_that_cannot_be_had(paged: Paged) -> None:
    """R6: a list of which a page is refused is none: the last one is shown, and status says that it is old."""
    names = paged.fill(7)
    assert paged.names() == names
    with paged.server.lock:
        paged.server.files.clear()
    paged.fill(7)
    paged.server.weather = lambda seen: refused(500, "failed", "server_error") if seen.query.get("page_token") else None
    for _ in range(2):
        assert paged.names() == names
    assert "failed" in str(paged.drive.status()["listing"]["stale_because"])


def test_the_local_files_api_in_pages(fuse: None, tmp_path: Path) -> None:
    """N1: `moonfs serve --page-size` gives pages that nobody asked for, and the drive shows all files."""
    with serving(tmp_path, "--page-size", "2") as pair:
        for number in range(5):
            pair.account.upload(f"{number}.txt", b"x")
        pair.drive.mount("listing_ttl=0")
        assert len(os.listdir(pair.drive.point)) == 10
        pair.drive.umount()
        pair.drive.environ["MOONFS_SCOPE"] = "project"
        pair.drive.mount("listing_ttl=0")
        assert len(os.listdir(pair.drive.point)) == 10


def test_a_long_list_takes_no_more_of_the_rate(tmp_path: Path) -> None:
    """R3, N1: where requests are scarce, a list of many pages is asked for as many times more seldom."""
    with FaultServer(kind=Kind(pages=True)) as server:
        for number in range(12):
            server.add(f"{number}.txt", b"x")
        with direct.filesystem(server, tmp_path, listing_ttl=0) as drive:
            assert len(drive.readdir("/")) == 24
            account = drive._account
            assert account._pages == 4
            assert account._list_seconds == 8.0


def test_a_list_that_is_wrong_at_the_start(fuse: None, tmp_path: Path) -> None:
    """L1: where the second page of the first list cannot be had, there is no drive, and one sentence."""
    with FaultServer(kind=Kind(pages=True)) as server, Drive(tmp_path, *hosted(server.base_url, server.key)) as drive:
        for number in range(5):
            server.add(f"{number}.txt", b"x")
        server.weather = lambda seen: (
            refused(401, "no", "incorrect_api_key_error") if "page_token" in seen.query else None
        )
        done = drive.try_mount()
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
