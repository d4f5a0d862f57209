"""An id and its `file_` twin are one file, unless one list has both; requests spell it as the list does (N5, A4)."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODES, Faulty
from tests.faults.server import FaultServer, Seen, Turn, error
from tests.harness.drive import Drive, hosted

pytestmark = pytest.mark.fuse


class Speller:
    """A service that spells ids as `listed` says in its lists, as `told` says in other answers, and takes the first.

    Attributes:
        refused: the paths that did not spell an id as the list does.
    """

    def __init__(self, server: FaultServer, *, listed: str, told: str) -> None:
        self.listed, self.told = listed, told
        self.refused: list[str] = []
        server.weather = lambda _seen: self._answer

    def _answer(self, turn: Turn) -> None:
        seen: Seen = turn.seen
        if seen.file_id and not (seen.file_id.startswith("file_") if self.listed else seen.file_id[0] != "f"):
            self.refused.append(seen.path)
            turn.read()
            turn.send(error(404, "The requested resource was not found", "resource_not_found_error"))
            return
        seen.file_id = seen.file_id.removeprefix("file_")
        reply = turn.serve()
        if reply.status == 200 and seen.operation != "content":
            body: dict[str, Any] = json.loads(reply.body)
            for file in body["data"] if seen.operation == "list" else [body]:
                file["id"] = (self.listed if seen.operation == "list" else self.told) + file["id"]
            reply.body = json.dumps(body).encode()
        turn.send(reply)


@pytest.fixture(params=["file_", ""], ids=["prefix listed", "prefix told"])
def prefix(request: pytest.FixtureRequest) -> str:
    """What lists have before an id; other answers have it where lists do not."""
    return str(request.param)


@pytest.fixture(params=MODES)
def spelt(fuse: None, tmp_path: Path, prefix: str, request: pytest.FixtureRequest) -> Iterator[tuple[Faulty, Speller]]:
    """A drive, in both modes, on a service that spells an id in two ways."""
    with FaultServer() as server, Drive(tmp_path, *hosted(server.base_url, server.key)) as drive:
        speller = Speller(server, listed=prefix, told="" if prefix else "file_")
        options = MODES[request.param]
        drive.mount("listing_ttl=0", *options)
        yield Faulty(drive, server, write_back=bool(options)), speller


def test_either_spelling_is_the_same_file(spelt: tuple[Faulty, Speller], prefix: str) -> None:
    """N5, A4, R5, A1, W4, W8: an upload whose answer spells its id otherwise than lists do is one file of ours."""
    faulty, speller = spelt
    drive, server = faulty.drive, faulty.server
    drive.run('printf one > "$DIR/a.txt"; touch -d @1000000 "$DIR/a.txt"')
    assert faulty.arrived() == {"a.txt": b"one"}
    before = os.stat(drive / "a.txt")
    assert (drive / "a.txt").read_bytes() == b"one"
    assert b"one" in (drive / "a.txt.content").read_bytes()
    (stored,) = server.files
    assert os.getxattr(drive / "a.txt", "user.moonfs.url") == f"ms://{prefix}{stored}".encode()
    drive.run('printf other > "$DIR/a.txt"')
    assert faulty.arrived() == {"a.txt": b"other"}
    assert os.stat(drive / "a.txt").st_ino == before.st_ino
    assert sorted(os.listdir(drive.point)) == ["a.txt", "a.txt.content"]
    os.unlink(drive / "a.txt")
    assert faulty.arrived() == {}
    assert len(speller.refused) <= 2, "once where no list has told the spelling yet"


def test_what_was_kept_is_found_by_either_spelling(spelt: tuple[Faulty, Speller], prefix: str) -> None:
    """N5, R5, A1, R2: bytes, time, inode number and text are there after a remount, and when lists change."""
    faulty, speller = spelt
    drive, server = faulty.drive, faulty.server
    server.add("theirs.txt", b"theirs")
    drive.run('printf one > "$DIR/a.txt"; touch -d @1000000 "$DIR/a.txt"')
    assert faulty.arrived() == {"a.txt": b"one", "theirs.txt": b"theirs"}
    texts = {name: (drive / name).read_bytes() for name in ("a.txt.content", "theirs.txt.content")}
    before = {name: os.stat(drive / name) for name in ("a.txt", "theirs.txt", *texts)}
    for listed in (prefix, "" if prefix else "file_", prefix):
        drive.umount()
        speller.listed = listed
        drive.mount("listing_ttl=0")
        server.seen.clear()
        assert {name: (drive / name).read_bytes() for name in texts} == texts
        assert (drive / "a.txt").read_bytes() == b"one"
        after = {name: os.stat(drive / name) for name in before}
        assert {name: (s.st_ino, s.st_mtime, s.st_size, s.st_mode) for name, s in after.items()} == {
            name: (s.st_ino, s.st_mtime, s.st_size, s.st_mode) for name, s in before.items()
        }
        assert server.count("content") == 0
        # While it is mounted the list may change its way too.
        speller.listed = "" if speller.listed else "file_"
        assert (drive / "a.txt").read_bytes() == b"one"
        assert os.getxattr(drive / "a.txt", "user.moonfs.id").startswith(b"file_") is (speller.listed != "")
        assert sorted(os.listdir(drive.point)) == ["a.txt", "a.txt.content", "theirs.txt", "theirs.txt.content"]
        assert os.stat(drive / "theirs.txt").st_ino == before["theirs.txt"].st_ino


def test_by_id_takes_either_spelling(spelt: tuple[Faulty, Speller], prefix: str) -> None:
    """N5, N3: `by-id` lists ids as the service does, and opens and deletes by either spelling, as aliases do."""
    faulty, _speller = spelt
    drive, server = faulty.drive, faulty.server
    older = server.add("a.txt", b"older", created_at=1000)
    newer = server.add("a.txt", b"newer")
    by_id = drive / ".moonfs" / "by-id"
    ids = [f"{prefix}{stored.id}" for stored in (older, newer)]
    assert sorted(os.listdir(by_id)) == sorted(name + end for name in ids for end in ("", ".content"))
    assert f"a~{prefix}{older.id}.txt" in os.listdir(drive.point)
    for spelling in (older.id, f"file_{older.id}"):
        assert b"older" in (by_id / f"{spelling}.content").read_bytes()
        assert os.stat(by_id / spelling).st_size == 5
        assert os.stat(drive / f"a~{spelling}.txt").st_size == 5
    os.unlink(by_id / (older.id if prefix else f"file_{older.id}"))
    assert faulty.arrived() == {"a.txt": b"newer"}


@contextlib.contextmanager
def of(home: Path) -> Iterator[tuple[Drive, FaultServer]]:
    """A drive, not mounted, on a service that spells ids in one way."""
    with FaultServer() as server, Drive(home, *hosted(server.base_url, server.key)) as drive:
        yield drive, server


def test_twins_in_one_list_are_two_files(fuse: None, tmp_path: Path) -> None:
    """N5, R5, W8: where a list has both, each is read, read by its text and deleted by itself, after a remount too."""
    with of(tmp_path) as (drive, server):
        for file_id, name in (("d5aaaaaaaaaaaaaaaaaa", "one.txt"), ("file_d5aaaaaaaaaaaaaaaaaa", "other.txt")):
            server.add(name, name.encode(), id=file_id)
        for _ in range(2):
            drive.mount("listing_ttl=0")
            assert sorted(os.listdir(drive.point)) == [
                "one.txt", "one.txt.content", "other.txt", "other.txt.content"
            ]  # fmt: skip
            for name in ("one.txt", "other.txt"):
                assert name.encode() in (drive / f"{name}.content").read_bytes()
            inodes = {os.stat(drive / name).st_ino for name in os.listdir(drive.point)}
            assert len(inodes) == 4
            drive.umount()
        drive.mount("listing_ttl=0")
        os.unlink(drive / "one.txt")
        assert server.names() == ["other.txt"]
        assert b"other" in (drive / "other.txt.content").read_bytes()
        drive.remount("listing_ttl=0")
        assert sorted(os.listdir(drive.point)) == ["other.txt", "other.txt.content"]


def test_a_deletion_never_reaches_the_twin(fuse: None, tmp_path: Path) -> None:
    """W8, N5: of twins that one list had, a deletion that a crash left reaches its own file alone, which is gone."""
    with of(tmp_path) as (drive, server):
        for file_id, name in (("d5aaaaaaaaaaaaaaaaaa", "one.txt"), ("file_d5aaaaaaaaaaaaaaaaaa", "other.txt")):
            server.add(name, name.encode(), id=file_id)
        drive.mount("write_back")
        assert {"one.txt", "other.txt"} <= set(os.listdir(drive.point))
        server.suspend()
        os.unlink(drive / "one.txt")
        drive.kill()
        with server.lock:
            del server.files["d5aaaaaaaaaaaaaaaaaa"]
        server.resume()
        drive.mount("write_back")
        assert Faulty(drive, server, write_back=True).arrived() == {"other.txt": b"other.txt"}


def journal_of(drive: Drive) -> Path:
    (path,) = drive.home.glob("state/moonfs/accounts/*/journal.db")
    return path


@pytest.mark.parametrize("spell", [lambda i: f"file_{i}", lambda i: i], ids=["longer now", "as it was"])
def test_what_the_journal_has_is_found_by_either_spelling(
    fuse: None, tmp_path: Path, spell: Callable[[str], str]
) -> None:
    """N5, W2, W4, W8: pending deletions and overwrites of an earlier run reach their files, however these are spelt."""
    with of(tmp_path) as (drive, server):
        gone, over = server.add("gone.txt", b"gone"), server.add("over.txt", b"over")
        drive.mount("write_back")
        assert {"gone.txt", "over.txt"} <= set(os.listdir(drive.point))
        server.suspend()
        os.unlink(drive / "gone.txt")
        drive.run('printf newer > "$DIR/over.txt"')
        drive.kill()
        with contextlib.closing(sqlite3.connect(journal_of(drive))) as db:
            assert db.execute("SELECT id FROM deletions").fetchall() == [(gone.id,)]
            assert db.execute("SELECT replaces FROM intents").fetchall() == [(json.dumps([over.id]),)]
        with server.lock:
            for stored in (gone, over):
                del server.files[stored.id]
                stored.id = spell(stored.id)
                server.files[stored.id] = stored
        server.resume()
        drive.mount("write_back")
        assert Faulty(drive, server, write_back=True).arrived() == {"over.txt": b"newer"}
        assert sorted(os.listdir(drive.point)) == ["over.txt", "over.txt.content"]
