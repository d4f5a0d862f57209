"""What this machine knows of remote files beyond their file objects: remembered, merged, forgotten with the file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moonfs import attributes
from moonfs.attributes import Attributes, Known


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attributes.db"


def test_what_is_set_is_kept_across_mounts(path: Path) -> None:
    """A1, A2: times, inodes, hashes and lengths survive a remount."""
    table = Attributes(path)
    table.set("a", mtime_ns=1, inode=2**52, sha256="ff", text_bytes=0)
    table.set("b", mtime_ns=-5)
    table.close()
    again = Attributes(path)
    assert again.get("a") == Known(1, 2**52, "ff", 0)
    assert again.get("b") == Known(mtime_ns=-5)
    assert again.get("never") == Known()
    again.close()


def test_what_is_not_given_stays() -> None:
    """A2: learning a text's length does not forget the time somebody set."""
    table = Attributes(Path("/dev/shm") / f"moonfs-{os.getpid()}.db")
    try:
        table.set("a", mtime_ns=1)
        table.set("a", text_bytes=9)
        table.set("a")
        table.set("a", mtime_ns=2, text_bytes=None)
        assert table.get("a") == Known(mtime_ns=2, text_bytes=9)
    finally:
        table.close()
        for part in Path("/dev/shm").glob(f"moonfs-{os.getpid()}.db*"):
            part.unlink()


def test_files_that_are_gone_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table does not grow with every file there ever was; a listing that lacks a few costs nothing."""
    table = Attributes(path)
    table.set("a", text_bytes=1)
    table.keep_only(())
    assert table.get("a").text_bytes == 1
    monkeypatch.setattr(attributes, "MANY", 2)
    for name in "abc":
        table.set(name, text_bytes=1)
    table.keep_only({"b", "never"})
    assert [table.get(name).text_bytes for name in "abc"] == [None, 1, None]
    table.close()
    again = Attributes(path)
    assert again.get("a") == Known() and again.get("b").text_bytes == 1
    again.close()


def test_the_table_is_private(path: Path) -> None:
    """X2: 0600 whatever the umask."""
    old = os.umask(0)
    try:
        table = Attributes(path)
        table.set("a", inode=1)
    finally:
        os.umask(old)
    for part in path.parent.iterdir():
        assert stat.S_IMODE(part.stat().st_mode) == 0o600, part.name
    table.close()


def test_a_deleted_file_leaves_nothing_and_names_its_bytes_when_they_are_the_last(path: Path) -> None:
    """R5: an original that two files share stays until the last of them is deleted."""
    table = Attributes(path)
    table.set("a", sha256="ff")
    table.set("b", sha256="ff")
    table.set("c", text_bytes=1)
    dropped: list[str] = []
    table.forget("a", dropped.append)
    assert dropped == []
    for name in ("b", "c", "never"):
        table.forget(name, dropped.append)
    assert dropped == ["ff"]
    table.close()
    again = Attributes(path)
    assert [again.get(name) for name in "abc"] == [Known()] * 3
    again.close()


def test_an_original_that_goes_is_not_taken_for_one_that_stays(path: Path) -> None:
    """R5: the same bytes are stored as the last file that had them is forgotten; they are kept anew, not counted on."""
    table, kept = Attributes(path), {"ff"}
    table.set("old", sha256="ff")

    def store() -> None:
        table.set("new", sha256="ff")
        kept.add("ff")

    storing = threading.Thread(target=store)

    def drop(sha256: str) -> None:
        storing.start()
        storing.join(0.5)  # it must not come in between
        kept.discard(sha256)

    table.forget("old", drop)
    storing.join()
    assert kept == {"ff"} and table.holders("ff") == {"new"}
    table.close()


def test_a_full_disk_costs_accuracy_only(path: Path) -> None:
    """Losing it costs accuracy, never a file's bytes: R6, what can be read stays readable on a full disk."""
    table = Attributes(path)
    table._db.execute("PRAGMA query_only = ON")  # every write fails, as on a full disk
    table.set("a", text_bytes=7)
    assert table.get("a").text_bytes == 7
    dropped: list[str] = []
    table.forget("never", dropped.append)
    table.set("gone", sha256="ff")
    table.forget("gone", dropped.append)
    assert dropped == ["ff"]
    table.close()
    table.close()


@pytest.mark.parametrize("by", ["set", "close"])
def test_what_a_full_disk_refused_is_written_when_there_is_room(path: Path, by: str) -> None:
    """A2: once known, a length is remembered across mounts."""
    table = Attributes(path)
    table._db.execute("PRAGMA query_only = ON")
    table.set("a", text_bytes=7)
    table.set("gone", text_bytes=8)
    table.forget("gone", str)
    table._db.execute("PRAGMA query_only = OFF")
    if by == "set":
        table.set("b", text_bytes=9)
    table.close()
    again = Attributes(path)
    assert again.get("a").text_bytes == 7 and again.get("gone") == Known()
    again.close()


def test_a_time_in_the_far_future(path: Path) -> None:
    """A4: `utimens` succeeds."""
    table = Attributes(path)
    table.set("a", mtime_ns=10_413_792_000 * 10**9)
    table.set("b", mtime_ns=-(10**30))
    known = [table.get(name).mtime_ns for name in "ab"]
    assert known == [2**63 - 1, -(2**63)]
    table.close()
    again = Attributes(path)
    assert [again.get(name).mtime_ns for name in "ab"] == known
    again.close()


def test_a_damaged_table_is_made_anew(path: Path) -> None:
    """Losing it costs accuracy: a damaged one must not keep an account from being mounted."""
    path.write_bytes(b"no database at all" * 500)
    table = Attributes(path)
    table.set("a", text_bytes=7)
    table.close()
    again = Attributes(path)
    assert again.get("a").text_bytes == 7
    again.close()


def damage_pages(path: Path) -> None:
    table = Attributes(path)
    for number in range(2000):
        table.set(f"id{number}", sha256="f" * 64)
    table.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def other_columns(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE attributes (id TEXT PRIMARY KEY, what TEXT); INSERT INTO attributes VALUES (1, 2)"
        )


def no_utf8(path: Path) -> None:
    Attributes(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO attributes (id) VALUES (CAST(x'ff' AS TEXT))")


@pytest.mark.parametrize("damage", [damage_pages, other_columns, no_utf8])
def test_whatever_is_damaged_is_made_anew(path: Path, damage: Callable[[Path], None]) -> None:
    """L1: pages overwritten, another version's columns, text that is none: the account can be mounted, twice."""
    damage(path)
    table = Attributes(path)
    assert table.get("id1") == Known()
    table.set("a", text_bytes=7)
    table.close()
    again = Attributes(path)
    assert again.get("a").text_bytes == 7
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()


def test_without_a_place_on_disk_memory_does(tmp_path: Path) -> None:
    """L1: neither a directory in its place nor one that is missing keeps an account from being mounted."""
    for path in (tmp_path, tmp_path / "missing" / "attributes.db"):
        table = Attributes(path)
        table.set("a", text_bytes=7)
        assert table.get("a").text_bytes == 7
        table.close()


def test_a_table_in_use_is_not_taken_for_a_damaged_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not damaged is never deleted."""
    table = Attributes(path)
    table.set("a", text_bytes=7)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, timeout=0))
    table._db.execute("PRAGMA locking_mode = EXCLUSIVE")
    table.set("a", text_bytes=8)
    Attributes(path).close()
    table.close()
    again = Attributes(path)
    assert again.get("a").text_bytes == 8
    again.close()


def test_the_length_of_a_dropped_text_is_forgotten_and_nothing_else(path: Path) -> None:
    """A2: a file that was deleted elsewhere leaves nothing; what was set or written here stays known."""
    table = Attributes(path)
    for file_id in ("a", "b", "c"):
        table.note_text(file_id, 7)
    table.set("b", mtime_ns=5)
    table.set("d", inode=9)
    table.forget_texts({"a", "b", "d", "unknown"})
    assert [table.get(each) for each in "abcd"] == [
        Known(), Known(mtime_ns=5, text_bytes=7), Known(text_bytes=7), Known(inode=9),
    ]  # fmt: skip
    table.close()
    again = Attributes(path)
    assert (again.get("a"), again.get("c")) == (Known(), Known(text_bytes=7))
    again.close()


def test_a_kill_costs_few_lengths(path: Path) -> None:
    """A2: lengths are written sixty-four at a time, so a thousand texts that were read are known after a kill."""
    table = Attributes(path)
    for number in range(200):
        table.note_text(f"i{number}", 7)
    again = Attributes(path)
    assert sum(again.get(f"i{number}") == Known(text_bytes=7) for number in range(200)) == 192
    again.close()
    table.close()


def test_either_spelling_of_an_id(tmp_path: Path) -> None:
    """A1, R5: rows under the other spelling become those of the file, and a row of its own goes before them."""
    table = Attributes(tmp_path / "a.db")
    table.set("file_a", mtime_ns=1, inode=2, sha256="x", text_bytes=3)
    table.note_stored("file_a")
    table.set("a", mtime_ns=9)
    table.set("file_b", inode=5)
    table.set("c", inode=6)
    table.respell(lambda file_id: file_id.removeprefix("file_"))
    merged = Known(mtime_ns=9, inode=2, sha256="x", text_bytes=3, stored=True)
    assert (table.get("a"), table.get("b").inode, table.get("c").inode) == (merged, 5, 6)
    assert (table.get("file_a"), table.get("file_b")) == (Known(), Known())
    assert table.holders("x") == {"a"}
    table.close()
    table = Attributes(tmp_path / "a.db")
    assert (table.get("a"), table.get("b").inode, table.get("file_a")) == (merged, 5, Known())
    table.close()


def test_twins_that_are_apart_stay_so(tmp_path: Path) -> None:
    """N5: across mounts, and in a table of the version before."""
    table = Attributes(tmp_path / "a.db")
    assert table.apart == frozenset()
    table.note_apart({"a"})
    table.note_apart({"a", "b"})
    table.close()
    table = Attributes(tmp_path / "a.db")
    assert table.apart == {"a", "b"}
    table.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("DROP TABLE apart")
    table = Attributes(tmp_path / "a.db")
    assert table.apart == frozenset()
    table.close()
