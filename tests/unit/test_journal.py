"""The journal: what was recorded is there after a crash, in one piece, in order."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from moonfs import journal as states
from moonfs.journal import Intent, Journal


def intent(spool: str = "s1", **other: object) -> Intent:
    base = Intent(
        spool=spool,
        name="a.txt",
        state=states.LOCAL,
        purpose="auto",
        size=3,
        sha256="ab" * 32,
        mtime_ns=1_700_000_000_123_456_789,
        inode=2**52 + 1,
    )
    return replace(base, **other)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def crashed(path: Path, target: Path) -> Journal:
    """Return the journal as a new run finds it after `kill -9`: the files as they are, nothing closed."""
    target.mkdir()
    for part in path.parent.glob(path.name + "*"):
        shutil.copy(part, target / part.name)
    return Journal(target / path.name)


def test_the_journal_is_private(path: Path) -> None:
    """X2: names of people's files are in it; its WAL has the same mode."""
    old = os.umask(0)
    try:
        journal = Journal(path)
        journal.put(intent())
    finally:
        os.umask(old)
    for part in path.parent.iterdir():
        assert stat.S_IMODE(part.stat().st_mode) == 0o600, part.name
    journal.close()


@pytest.mark.parametrize(
    "entry",
    [
        intent(),
        intent(name="福州 商场.pdf", state=states.PENDING, replaces=frozenset({"b", "a"})),
        intent(name="latin-\udce9.txt", state=states.UPLOADING, started=1.5, known=frozenset({"x"})),
        intent(name="quote'\";--", state=states.FAILED, error="不支持的文件类型", size=0, mtime_ns=-1),
    ],
    ids=lambda entry: entry.state,
)
def test_every_field_survives_a_crash(path: Path, tmp_path: Path, entry: Intent) -> None:
    """W2: durable on return of `put`."""
    journal = Journal(path)
    journal.put(entry)
    again = crashed(path, tmp_path / "after")
    assert again.intents() == [entry]
    again.close()
    journal.close()


def test_synchronous_is_full(path: Path) -> None:
    """W2: power loss after `put` does not undo it."""
    journal = Journal(path)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_put_replaces_and_forget_drops(path: Path) -> None:
    """One row for each spool file."""
    journal = Journal(path)
    journal.put(intent())
    journal.put(intent(state=states.PENDING, name="b.txt"))
    assert [(entry.state, entry.name) for entry in journal.intents()] == [(states.PENDING, "b.txt")]
    journal.forget("s1")
    journal.forget("never there")
    assert journal.intents() == []
    journal.close()


def test_stored_is_one_transaction(path: Path, tmp_path: Path) -> None:
    """W4: the row goes and the old ids are queued, both or neither, whenever the machine stops."""
    journal = Journal(path)
    journal.put(intent(replaces=frozenset({"old"})))
    journal._db.execute("CREATE TRIGGER cut BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'power loss'); END")
    with pytest.raises(sqlite3.Error):
        journal.stored("s1", frozenset({"old"}))
    assert journal.deletions() == [] and len(journal.intents()) == 1
    journal._db.execute("DROP TRIGGER cut")
    journal.stored("s1", frozenset({"old", "older"}))
    again = crashed(path, tmp_path / "after")
    assert sorted(again.deletions()) == ["old", "older"] and again.intents() == []
    again.close()
    journal.close()


def test_deletions_repeat_harmlessly(path: Path) -> None:
    """W4: every step can be repeated after a crash at any point."""
    journal = Journal(path)
    for _ in range(2):
        journal.delete_later("x")
        journal.stored("gone", frozenset({"x", "y"}))
    assert sorted(journal.deletions()) == ["x", "y"]
    for _ in range(2):
        journal.deleted("x")
    assert journal.deletions() == ["y"]
    journal.close()


def test_a_statement_that_fails_blocks_nobody(path: Path) -> None:
    """E2: an error inside of `stored` leaves neither an open transaction nor a held lock."""
    journal = Journal(path)
    with pytest.raises(sqlite3.Error):
        journal.stored("s1", frozenset({object()}))  # type: ignore[arg-type]
    journal.put(intent())
    journal.stored("s1", frozenset())
    journal.close()


def test_any_thread_may_call(path: Path) -> None:
    """The kernel's requests come from many threads."""
    journal = Journal(path)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                journal.put(intent(f"{number}-{turn}"))
                journal.stored(f"{number}-{turn}", frozenset({f"{number}-{turn}"}))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(journal.deletions()) == 60 and journal.intents() == []
    journal.close()


def test_a_damaged_journal_is_an_error_at_the_start(path: Path) -> None:
    """L1: a journal that cannot be read is said at the mount, and its file is left as it is."""
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(sqlite3.Error):
        Journal(path)
    assert path.read_bytes().startswith(b"this is no database")


@pytest.mark.xfail(strict=True, reason="INSERT OR REPLACE gives the row a new place: the oldest becomes the newest")
def test_intents_stay_in_order(path: Path) -> None:
    """`intents` says: oldest first; recovery lets the later one of two with one name win."""
    journal = Journal(path)
    journal.put(intent("first"))
    journal.put(intent("second"))
    journal.put(intent("first", state=states.PENDING))
    assert [entry.spool for entry in journal.intents()] == ["first", "second"]
    journal.close()


@pytest.mark.xfail(strict=True, reason="a time after the year 2262 is an OverflowError, which no caller expects")
def test_a_time_in_the_far_future_can_be_recorded(path: Path) -> None:
    """A1: `touch -d 2300-01-01` is a time like any other."""
    journal = Journal(path)
    journal.put(intent(mtime_ns=10_413_792_000 * 10**9))
    journal.close()
