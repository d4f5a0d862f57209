"""The journal: what was recorded is there after a crash, in one piece, in order."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from moonfs import disk
from moonfs import journal as states
from moonfs.journal import Intent, Journal, unfinished
from moonfs.wire import FileObject
from tests.harness import former


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
        intent(name="a.txt", state=states.CANCELLED, started=0.5, inode=0, acknowledged=2**62, private=True),
        intent(name="b.txt", state=states.LOCAL, local_name="latin-\udce9.part", acknowledged=1),
        intent(name="d.txt", state=states.DOUBTFUL, started=1.0, ended=7.5, unanswered=3, replaced=True),
        intent(name="c.txt~", state=states.LOCAL, held={"x": "latin-\udce9.txt", "y": "福.txt"}, closed=2**62),
    ],
    ids=lambda entry: f"{entry.state} {entry.name!a}",
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
    assert journal._group._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._group._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
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
    entry = intent(replaces=frozenset({"old"}))
    journal.put(entry)
    journal._group._db.execute(
        "CREATE TRIGGER cut BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'power loss'); END"
    )
    with pytest.raises(sqlite3.Error):
        journal.stored(entry, "new", frozenset({"old"})).wait()
    assert journal.deletions() == [] and len(journal.intents()) == 1
    journal._group._db.execute("DROP TRIGGER cut")
    journal.stored(entry, "new", frozenset({"old", "older"})).wait()
    again = crashed(path, tmp_path / "after")
    assert sorted(again.deletions()) == ["old", "older"] and again.intents() == []
    again.close()
    journal.close()


def test_deletions_repeat_harmlessly(path: Path) -> None:
    """W4: every step can be repeated after a crash at any point."""
    journal = Journal(path)
    for _ in range(2):
        journal.delete_later("x")
        journal.stored(intent("gone"), "new", frozenset({"x", "y"})).wait()
    assert sorted(journal.deletions()) == ["x", "y"]
    for _ in range(2):
        journal.deleted("x")
    assert journal.deletions() == ["y"]
    journal.close()


def test_a_statement_that_fails_blocks_nobody(path: Path) -> None:
    """E2: an error inside of `stored` leaves neither an open transaction nor a held lock."""
    journal = Journal(path)
    with pytest.raises(sqlite3.Error):
        journal.stored(intent(), "new", frozenset({object()})).wait()  # type: ignore[arg-type]
    journal.put(intent())
    journal.stored(intent(), "new", frozenset()).wait()
    journal.close()


def test_any_thread_may_call(path: Path) -> None:
    """The kernel's requests come from many threads."""
    journal = Journal(path)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                entry = intent(f"{number}-{turn}", inode=100 * number + turn)
                journal.put(entry)
                assert journal.attempt(entry)
                journal.stored(entry, "new", frozenset({f"{number}-{turn}"})).wait()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(journal.deletions()) == 60 and journal.intents() == []
    journal.close()


def test_threads_that_wait_share_a_commit(path: Path) -> None:
    """W2: changes that gather while the disk is busy are durable with its next fsync, in the order of the calls."""
    journal = Journal(path)
    commits: list[str] = []
    journal._group._db.set_trace_callback(
        lambda statement: commits.append(statement) if statement == "COMMIT" else None
    )
    threads = [threading.Thread(target=journal.put, args=(intent(f"s{number}", inode=number),)) for number in range(8)]
    with journal._group._turn:  # as during an fsync
        for number, thread in enumerate(threads):
            thread.start()
            while len(journal._group._queue) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert commits == ["COMMIT"]
    assert [entry.spool for entry in journal.intents()] == [f"s{number}" for number in range(8)]
    journal.close()


def test_a_change_that_fails_takes_no_other_along(path: Path) -> None:
    """E2: of changes that share a commit the wrong one fails alone, and is told to whoever made it."""
    journal = Journal(path)
    bad = journal.stored(intent("bad"), "new", frozenset({object()}))  # type: ignore[arg-type]
    good = journal.stored(intent("good"), "new", frozenset({"old"}))
    good.wait()
    with pytest.raises(sqlite3.Error):
        bad.wait()
    assert journal.deletions() == ["old"]

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO deletions VALUES ('half')")
        raise ValueError("ours")

    changes = [journal._group.queue(half), journal.stored(intent("good"), "new", frozenset({"older"}))]
    changes[1].wait()
    with pytest.raises(ValueError, match="ours"):
        changes[0].wait()
    assert sorted(journal.deletions()) == ["old", "older"]
    journal.close()


def test_what_a_full_disk_refuses_reaches_the_writer_or_is_recorded_later(path: Path) -> None:
    """W7, W4: a promise that cannot be recorded is an error; what is known is recorded later."""
    journal = Journal(path)
    entry = intent(state=states.PENDING)
    journal.put(entry)
    journal._group._db.execute("PRAGMA query_only = ON")
    with pytest.raises(OSError, match=r"Input/output error .*readonly"):
        journal.put(intent("s2"))
    journal.stored(entry, "new", frozenset({"old"})).wait()
    assert [left.spool for left in journal.intents()] == ["s1"]
    journal._group._db.execute("PRAGMA query_only = OFF")
    assert (journal.intents(), journal.deletions()) == ([], ["old"])
    journal.close()


def test_an_unneeded_row_goes_with_the_next_change(path: Path, tmp_path: Path) -> None:
    """L4: what nothing depends on costs no fsync of its own; it is done at the end at the latest."""
    journal = Journal(path)
    journal.put(intent())
    journal.forget("s1")
    again = crashed(path, tmp_path / "after")
    assert len(again.intents()) == 1
    again.close()
    journal.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (0,)
    db.close()


def test_bytes_that_the_journal_carries(path: Path, tmp_path: Path) -> None:
    """W2: durable with their row; kept when only the row changes, and dropped when the file has them."""
    journal = Journal(path)
    journal.put(intent(state=states.PENDING), intent("s2"), data=b"bytes")
    journal.put(intent(state=states.PENDING, mtime_ns=1))
    assert journal.attempt(intent(state=states.PENDING, started=1.0))
    again = crashed(path, tmp_path / "after")
    assert list(again.carried()) == [("s1", b"bytes")]
    again.put(intent(state=states.CANCELLED))
    assert list(again.carried()) == []  # nobody wants them any more
    again.close()
    journal.put(intent(), data=None)
    assert list(journal.carried()) == [] and len(journal.intents()) == 2
    journal.close()


@pytest.mark.parametrize("layout", [3, 4, 5, 6])
def test_a_journal_of_a_layout_before_is_brought_up(path: Path, layout: int) -> None:
    """Tenet 1: what an earlier moonfs left pending is taken over, and all that this one records has its place."""
    carried = b"bytes" if layout > 3 else None
    row = former.row("s1", "a.txt", states.PENDING, carried, replaces=["old"], private=1, started=5.0)
    former.journal(path, layout, [row], ["gone"])
    for _ in range(2):
        journal = Journal(path)
        (found,) = journal.intents()
        assert (found.spool, found.name, found.state, found.private) == ("s1", "a.txt", states.PENDING, True)
        assert (found.replaces, found.held, found.closed) == (frozenset({"old"}), {}, 0)
        started = 5.0 if layout > 5 else states.NO_DATE  # until then by this machine's clock
        assert (found.started, found.unanswered, found.ended, found.replaced) == (started, 1, 0.0, False)
        assert (found.taken, found.numbered) == (False, frozenset())
        assert list(journal.carried()) == ([("s1", b"bytes")] if layout > 3 else [])
        assert journal.deletions() == ["gone"]
        journal.close()
    journal = Journal(path)
    newer = intent("s2", replaces=frozenset({"x"}), held={"x": "b.txt"}, closed=7)
    journal.put(newer, data=b"more")
    assert journal.intents()[1] == newer and ("s2", b"more") in list(journal.carried())
    journal.close()


@pytest.mark.parametrize("layout", [2, 8])
def test_a_journal_of_another_layout_is_never_guessed_at(path: Path, layout: int) -> None:
    """Tenet 1: one that is older, or of a later moonfs, is left as it is."""
    former.journal(path, 4, [], ["x"])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {layout}")
    with pytest.raises(sqlite3.ProgrammingError, match=f"layout {layout}"):
        Journal(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (layout,)


def test_what_is_given_up_is_held_by_nobody(path: Path, tmp_path: Path) -> None:
    """W9: with the deletion, in one step; what else it holds stays."""
    journal = Journal(path)
    held = {"x": "a.txt", "y": "b.txt"}
    journal.put(intent("s1", replaces=frozenset({"x", "y", "z"}), held=held))
    journal.put(intent("s2", replaces=frozenset({"x"})))
    cut(journal, "UPDATE ON intents")
    with pytest.raises(sqlite3.Error):
        journal.let_go(frozenset({"x"}))
    assert journal.deletions() == []
    journal._group._db.execute("DROP TRIGGER cut")
    journal.let_go(frozenset({"x"}))
    one, other = journal.intents()
    assert (one.held, one.replaces) == ({"y": "b.txt"}, frozenset({"y", "z"})) and journal.deletions() == ["x"]
    assert other.replaces == frozenset({"x"}), "a version that is to replace it still does"
    journal.close()


def test_what_is_stored_is_held_by_nobody(path: Path) -> None:
    """W9: neither the new version nor those that it replaces; but the file itself may, since it was renamed."""
    journal = Journal(path)
    journal.put(intent("other", inode=5, replaces=frozenset({"x"}), held={"x": "a.txt"}))
    journal.put(intent("new", state=states.PENDING))
    journal.stored(intent("new", state=states.PENDING), "id", frozenset({"x"})).wait()
    (other,) = journal.intents()
    assert (other.held, other.replaces) == ({}, frozenset()) and journal.deletions() == ["x"]
    journal.put(intent("moved", name="a.txt~"))
    journal.stored(intent("sent"), "late", frozenset(), "", 77).wait()
    moved = journal.intents()[1]
    assert (moved.held, moved.replaces, moved.closed) == ({"late": "a.txt"}, frozenset({"late"}), 77)
    journal.close()


def cut(journal: Journal, event: str) -> None:
    journal._group._db.execute(f"CREATE TRIGGER cut BEFORE {event} BEGIN SELECT RAISE(ABORT, 'power loss'); END")


def test_a_newer_version_takes_the_place_of_an_older_one_in_one_step(path: Path) -> None:
    """W2: whenever the machine stops, one of the two rows is there: acknowledged bytes never lack theirs."""
    journal = Journal(path)
    journal.put(intent("old", state=states.PENDING))
    cut(journal, "DELETE ON intents")
    with pytest.raises(sqlite3.Error):
        journal.put(intent("new", state=states.PENDING), intent("new.left", inode=0), instead_of="old")
    assert [entry.spool for entry in journal.intents()] == ["old"]
    journal._group._db.execute("DROP TRIGGER cut")
    journal.put(intent("new", state=states.PENDING), intent("new.left", inode=0), instead_of="old")
    assert [entry.spool for entry in journal.intents()] == ["new", "new.left"]
    journal.put(intent("new", state=states.PENDING, name="b.txt"), instead_of="new")
    assert [entry.name for entry in journal.intents()] == ["b.txt", "a.txt"], "nothing takes its own place"
    journal.close()


def test_giving_up_is_one_step(path: Path) -> None:
    """W8: the rows go, what may turn up is recorded, and the deletions are queued: all of it or nothing."""
    journal = Journal(path)
    for spool in ("s1", "s2", "other"):
        journal.put(intent(spool))
    left = intent("s1", state=states.CANCELLED, inode=0)
    cut(journal, "INSERT ON deletions")
    with pytest.raises(sqlite3.Error):
        journal.give_up({"s1", "s2"}, [left], ["x"])
    assert [entry.state for entry in journal.intents()] == [states.LOCAL] * 3 and journal.deletions() == []
    journal._group._db.execute("DROP TRIGGER cut")
    for _ in range(2):
        journal.give_up({"s1", "s2", "never there"}, [left], ["x"])
    assert {(entry.spool, entry.state) for entry in journal.intents()} == {
        ("other", states.LOCAL),
        ("s1", states.CANCELLED),
    }
    assert journal.deletions() == ["x"]
    journal.close()


def test_an_attempt_is_recorded_where_its_row_is(path: Path, tmp_path: Path) -> None:
    """W3: durable before the first byte is sent; what else the row says (acknowledged, private, time) stays."""
    journal = Journal(path)
    journal.put(intent(state=states.PENDING, acknowledged=5, private=True, sha256="", mtime_ns=9))
    trying = intent(state=states.PENDING, started=7.5, known=frozenset({"k"}), replaces=frozenset({"r"}), mtime_ns=1)
    assert journal.attempt(trying)
    again = crashed(path, tmp_path / "after")
    expected = replace(trying, acknowledged=5, private=True, mtime_ns=9, unanswered=1)
    assert again.intents() == [expected]
    again.close()
    journal.close()


@pytest.mark.parametrize("state", [states.PENDING, states.UPLOADING, states.LOCAL])
def test_an_attempt_under_another_name_is_overtaken(path: Path, state: str) -> None:
    """W9: the file has another name by now: the row of that is left as it is."""
    journal = Journal(path)
    journal.put(moved := intent(name="b.txt", state=state))
    assert not journal.attempt(intent(name="a.txt", state=states.PENDING, started=7.5))
    assert journal.intents() == [moved]
    journal.close()


@pytest.mark.parametrize("state", [None, states.CANCELLED], ids=["gone", "cancelled"])
def test_an_attempt_that_was_given_up_is_overtaken(path: Path, state: str | None) -> None:
    """W8: unlinked or overwritten before it was sent: it makes no row anew, and a cancelled one stays cancelled."""
    journal = Journal(path)
    rows = [] if state is None else [intent(state=state)]
    if rows:
        journal.put(*rows)
    assert not journal.attempt(intent(state=states.PENDING, started=7.5))
    assert not journal.attempt(intent(state=states.UPLOADING, started=7.5, cancelled=True))
    assert journal.intents() == rows
    journal.close()


def test_an_unacknowledged_attempt_makes_its_row(path: Path) -> None:
    """W4: what a writer waits for has no row before; a second attempt of it keeps the one."""
    journal = Journal(path)
    for started in (7.5, 8.5):
        entry = intent(state=states.UPLOADING, started=started)
        assert journal.attempt(entry)
        assert journal.intents() == [replace(entry, unanswered=1)]
    journal.close()


def test_a_rename_turns_the_row_of_what_stays_here_into_its_own(path: Path) -> None:
    """W6, W9: one row says both: what is tried, and under which name the bytes are safe."""
    journal = Journal(path)
    journal.put(intent(name="a.txt.part", acknowledged=5))
    assert journal.attempt(entry := intent(state=states.UPLOADING, started=7.5, local_name="a.txt.part"))
    assert journal.intents() == [replace(entry, unanswered=1)]
    journal.close()


def test_an_unacknowledged_attempt_revives_no_cancelled_row(path: Path) -> None:
    """W8: unlinked in the moment before the attempt is recorded: it stays cancelled."""
    journal = Journal(path)
    journal.put(row := intent(state=states.CANCELLED))
    assert not journal.attempt(intent(state=states.UPLOADING, started=7.5))
    assert journal.intents() == [row]
    journal.close()


def test_a_newer_version_replaces_what_was_stored_meanwhile(path: Path) -> None:
    """W4, W9: new bytes or a new name came during the upload: in one step its id is theirs to delete later."""
    journal = Journal(path)
    sent = intent("old", state=states.PENDING, replaces=frozenset({"v0"}))
    journal.put(sent, intent("new", state=states.PENDING, replaces=frozenset({"v0", "v1"})))
    journal.put(intent("stranger", inode=5, replaces=frozenset({"z"})))
    journal.stored(sent, "v2", frozenset({"v0"})).wait()
    assert {entry.spool: entry.replaces for entry in journal.intents()} == {"new": {"v1", "v2"}, "stranger": {"z"}}
    assert journal.deletions() == ["v0"]
    journal.close()


def test_what_was_renamed_during_its_upload_keeps_its_row(path: Path) -> None:
    """W9: the same bytes are to get another name: what was stored under the old one is replaced by that."""
    journal = Journal(path)
    journal.put(intent(name="b.txt", state=states.PENDING))
    journal.stored(intent(name="a.txt", state=states.PENDING), "v1", frozenset()).wait()
    (row,) = journal.intents()
    assert (row.name, row.replaces) == ("b.txt", {"v1"})
    journal.close()


def test_a_cancelled_upload_owns_nothing_that_another_stored(path: Path) -> None:
    """W3, W8: deleted in doubt, then made anew and stored: the new copy is not what the old upload left."""
    journal = Journal(path)
    cancelled = intent("old", state=states.CANCELLED, started=5.0, known=frozenset({"k"}))
    journal.put(cancelled, replace(cancelled, spool="elsewhere", name="b.txt"), intent("new"))
    journal.stored(intent("new"), "v2", frozenset()).wait()
    rows = {entry.spool: entry for entry in journal.intents()}
    assert rows["old"].known == {"k", "v2"} and rows["elsewhere"].known == {"k"}
    assert all(entry.replaces == frozenset() for entry in rows.values()), "a cancelled row replaces nothing"
    journal.close()


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({}, True),
        ({"created_at": 995}, True),
        ({"created_at": 994}, False),
        ({"bytes": 4}, False),
        ({"filename": "b.txt"}, False),
        ({"id": "known"}, False),
    ],
    ids=str,
)
def test_what_an_attempt_may_have_made(change: dict[str, object], made: bool) -> None:
    """W3: name, size and time decide; what was there before is not ours; without an attempt nothing is."""
    file = FileObject(**{"id": "i", "bytes": 3, "created_at": 1000, "filename": "a.txt", **change})  # type: ignore[arg-type]
    known = frozenset({"known"})
    assert intent(started=1000.0, known=known).may_have_made(file) is made
    assert not intent(known=known).may_have_made(file)


def test_a_journal_of_another_layout_is_left_alone(path: Path) -> None:
    """L1, tenet 1: rows of another version are never guessed at, nor lost."""
    journal = Journal(path)
    journal.put(intent())
    journal._group._db.execute("PRAGMA user_version = 1")
    journal.close()
    with pytest.raises(sqlite3.DatabaseError, match="another version"):
        Journal(path)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (1,)
    db.close()


def test_a_damaged_journal_is_an_error_at_the_start(path: Path) -> None:
    """L1: a journal that cannot be read is said at the mount, and its file is left as it is."""
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(disk.Damaged, match="not a database"):
        Journal(path)
    assert path.read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize("layout", [3, 4, 5, 6])
def test_promises_are_numbered_after_all_that_were_recorded(path: Path, layout: int) -> None:
    """W2, tenet 1: of two versions the later promise counts, and an earlier moonfs numbered them by the clock."""
    rows = [former.row(f"s{n}", "a.txt", states.PENDING, b"x", acknowledged=n * 10**18) for n in (2, 1)]
    former.journal(path, layout, rows)
    journal = Journal(path)
    first, second = journal.number(), journal.number()
    assert 2 * 10**18 < first < second
    journal.put(intent("s3", state=states.PENDING, acknowledged=second))
    journal.close()
    journal = Journal(path)
    assert journal.number() > second and [row.spool for row in journal.intents()] == ["s2", "s1", "s3"]
    journal.close()


@pytest.mark.parametrize("state", [states.PENDING, states.LOCAL])
def test_a_version_in_doubt_is_overtaken_in_one_step(path: Path, tmp_path: Path, state: str) -> None:
    """W3: whatever takes its name is recorded with that; another name's promise leaves it alone."""
    journal = Journal(path)
    journal.put(intent("old", state=states.DOUBTFUL, started=1.0, unanswered=1), data=b"old")
    journal.put(intent("other", name="b.txt", state=state))
    assert journal.intents()[0].state == states.DOUBTFUL
    journal.put(intent("new", state=state))
    again = crashed(path, tmp_path / "after")
    (row, *_) = again.intents()
    assert (row.spool, row.state, row.replaced) == ("old", states.CANCELLED, True)
    assert "old" not in dict(again.carried())
    again.close()
    journal.close()


def test_a_version_in_doubt_is_overtaken_by_what_is_stored(path: Path) -> None:
    """W3, W1: a waiting writer's version has no promise; with its id the one in doubt is over, and has not made it."""
    journal = Journal(path)
    journal.put(intent("old", state=states.DOUBTFUL, started=1.0, unanswered=1))
    journal.stored(intent("new"), "v2", frozenset()).wait()
    (row,) = journal.intents()
    assert (row.state, row.replaced, row.known) == (states.CANCELLED, True, {"v2"})
    journal.close()


def test_copies_that_are_left_are_remembered(path: Path) -> None:
    """W3: status tells of them after a remount too, until they are gone."""
    journal = Journal(path)
    journal.leave({"x": "a.txt", "y": "latin-\udce9.txt"})
    journal.close()
    journal = Journal(path)
    assert journal.copies() == {"x": "a.txt", "y": "latin-\udce9.txt"}
    journal.forget_copies(["x"])
    assert journal.copies() == {"y": "latin-\udce9.txt"}
    journal.close()


def test_intents_stay_in_order(path: Path) -> None:
    """`intents` says: oldest first; recovery lets the later one of two with one name win."""
    journal = Journal(path)
    journal.put(intent("first"))
    journal.put(intent("second"))
    journal.put(intent("first", state=states.PENDING))
    assert [entry.spool for entry in journal.intents()] == ["first", "second"]
    journal.close()


def test_a_time_in_the_far_future_can_be_recorded(path: Path) -> None:
    """A1: `touch -d 2300-01-01` is a time like any other."""
    journal = Journal(path)
    journal.put(intent(mtime_ns=10_413_792_000 * 10**9))
    journal.close()


def test_a_full_disk_takes_no_small_change_along(path: Path) -> None:
    """W7: of changes that share a commit those that fit are done; the others are told ENOSPC, not another's trouble."""
    journal = Journal(path)
    db = journal._group._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 40}")
    db.execute("PRAGMA cache_size = 5")  # so that SQLite undoes the whole transaction when the disk is full
    changes = [
        journal._group.queue(
            lambda db, number=number: db.execute(
                "INSERT INTO deletions VALUES (?)", (f"{number}" + "x" * (100_000 if number % 2 else 10),)
            )
        )
        for number in range(6)
    ]
    said = []
    for change in changes:
        try:
            change.wait()
            said.append(0)
        except OSError as error:
            said.append(error.errno or -1)
    assert said[::2] == [0, 0, 0] and set(said[1::2]) <= {0, errno.ENOSPC} and errno.ENOSPC in said
    journal.close()


def test_what_is_unfinished_is_read_without_a_change(path: Path) -> None:
    """E1: `moonfs logs --clear` asks where no daemon runs; the next mount finds the journal as the last one left it."""
    assert unfinished(path) == set() and not path.exists()
    journal = Journal(path)
    for number, state in enumerate((states.LOCAL, states.PENDING, states.UPLOADING, states.CANCELLED, states.FAILED)):
        journal.put(intent(f"s{number}", name=f"{state}-\udce9", state=state, inode=number))
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 3")
    before = path.read_bytes()
    assert unfinished(path) == {"pending-\udce9", "uploading-\udce9", "failed-\udce9"}
    assert path.read_bytes() == before
    path.write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.Error):
        unfinished(path)


def test_either_spelling_of_an_id(path: Path, tmp_path: Path) -> None:
    """W4, W8, W3: every id that is recorded is named as it is spelt now, and nothing is written where all are."""
    journal = Journal(path)
    journal.put(
        intent(replaces=frozenset({"file_a", "b"}), known=frozenset({"file_c", "c"}), held={"file_a": "was.txt"}),
        data=b"abc",
    )
    journal.put(intent("s2", name="b.txt", replaces=frozenset({"x"})))
    for file_id in ("file_d", "d", "e"):
        journal.delete_later(file_id)
    journal.leave({"file_f": "f.txt"})

    def bare(file_id: str) -> str:
        return file_id.removeprefix("file_")

    journal.respell(bare)
    after = crashed(path, tmp_path / "later")
    first, second = after.intents()
    assert (first.replaces, first.known, first.held) == ({"a", "b"}, {"c"}, {"a": "was.txt"})
    assert (second.replaces, list(after.carried())) == ({"x"}, [("s1", b"abc")])
    assert (sorted(after.deletions()), after.copies()) == (["d", "e"], {"f": "f.txt"})
    size = os.stat(f"{path}-wal").st_size
    journal.respell(bare)
    assert os.stat(f"{path}-wal").st_size == size
    journal.close()
    after.close()
