"""The journal: the durable record of intent, in SQLite (WAL, `synchronous=FULL`).

A row says: these spooled bytes are to be stored under this name, then these ids are to be deleted. Every step
can be repeated after a crash at any point, and which of two promises is the newer is a matter of their numbers, not of
a clock:

1. `put` (state `local`, `pending` or `uploading`); a `pending` row acknowledges (W2). Before it the spool file is
   synced, and its directory; or, where it is small, the row carries its bytes: one fsync makes both durable
2. upload, matched against the listing where its outcome is open (W3)
3. `stored`: in one transaction the row goes, the ids it replaces are queued for deletion (W4), and a newer row of the
   same file learns the id that it will replace
4. each id is deleted on the service, then forgotten here (`deleted`)

It does no network and knows no policy. A disk that refuses raises OSError with its errno. Spool files without a
row are orphans (`Spool.clean`).

**Threading:** any thread may call; changes happen in the order of the calls, and threads that wait share an fsync.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType
from typing import Any, Final

from moonfs import names
from moonfs.errors import MoonfsError, revive
from moonfs.groupcommit import Change, GroupCommit
from moonfs.wire import FileObject

LOCAL: Final = "local"
"""Stays on this machine: empty, or under a temporary name, perhaps for some minutes only (W6, N6)."""
UPLOADING: Final = "uploading"
"""An upload may have been sent; not acknowledged to the writer yet."""
PENDING: Final = "pending"
"""Acknowledged or irreplaceable: must reach the service, however long it takes (W2, W7)."""
CANCELLED: Final = "cancelled"
"""Its name is gone while the outcome of an upload was open: a copy that turns up is to be deleted (W3, W8)."""
FAILED: Final = "failed"
"""Refused by the service; kept readable until it is removed or fixed."""
RESERVED: Final = "reserved"
"""The stored version that had to go before the next one could have its name: kept until that is stored (W4)."""
DOUBTFUL: Final = "doubtful"
"""Its close failed while the outcome of the upload was open: the bytes are kept until that is told (W3)."""

#: Seconds that a file's `created_at` may lie before the start of the attempt that made it (clock granularity).
CLOCK_SLACK: Final = 5.0
#: Seconds after the end of an attempt without an answer in which its copy may still be made.
DOUBT_SECONDS: Final = 900.0
#: `started` where the service does not tell the time: nothing is older.
NO_DATE: Final = 1.0
#: Counts the layouts of the file; a journal of another one is never guessed at.
_LAYOUT: Final = 7
_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    spool TEXT PRIMARY KEY,
    name BLOB NOT NULL,
    state TEXT NOT NULL,
    purpose TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    replaces TEXT NOT NULL,
    started REAL NOT NULL,
    known TEXT NOT NULL,
    error TEXT NOT NULL,
    local_name BLOB NOT NULL,
    acknowledged INTEGER NOT NULL,
    private INTEGER NOT NULL,
    held TEXT NOT NULL DEFAULT '{}',
    closed INTEGER NOT NULL DEFAULT 0,
    ended REAL NOT NULL DEFAULT 0,
    unanswered INTEGER NOT NULL DEFAULT 0,
    replaced INTEGER NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0,
    numbered TEXT NOT NULL DEFAULT '[]',
    data BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS holders ON intents (spool) WHERE held != '{}';
CREATE INDEX IF NOT EXISTS doubts ON intents (name) WHERE state = 'doubtful';
CREATE TABLE IF NOT EXISTS deletions (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS copies (id TEXT PRIMARY KEY, name BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS misnamed (id TEXT PRIMARY KEY, name BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (fact TEXT PRIMARY KEY) STRICT;
"""

#: What makes each layout that is brought up the next one.
_STEPS: Final = {
    3: ("ALTER TABLE intents ADD COLUMN data BLOB",),
    4: (
        "ALTER TABLE intents ADD COLUMN held TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE intents ADD COLUMN closed INTEGER NOT NULL DEFAULT 0",
    ),
    5: (
        "ALTER TABLE intents ADD COLUMN ended REAL NOT NULL DEFAULT 0",
        "ALTER TABLE intents ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE intents ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0",
        # What was started was not answered yet; when, this machine's clock said, which may have been wrong.
        f"UPDATE intents SET unanswered = 1, started = {NO_DATE} WHERE started > 0",  # noqa: S608
    ),
    6: (
        "ALTER TABLE intents ADD COLUMN taken INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE intents ADD COLUMN numbered TEXT NOT NULL DEFAULT '[]'",
    ),
}

_COLUMNS: Final = [line.split()[0] for line in _SCHEMA.partition(" STRICT")[0].splitlines()[2:-1]]
#: A row keeps its place when it is replaced, so that the oldest intent stays the first; and the bytes it carries.
_PUT: Final = (
    f"INSERT INTO intents ({', '.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (spool) DO UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[1:-1])
)
_PUT_WITH_DATA: Final = f"{_PUT}, data = excluded.data"


@dataclass(slots=True)
class Intent:
    """What is to happen to one spool file.

    Attributes:
        spool: name in the spool directory.
        name: name on the drive, which is the filename for the service.
        state: `LOCAL`, `UPLOADING`, `PENDING`, `DOUBTFUL`, `CANCELLED`, `RESERVED` or `FAILED`.
        purpose: `auto` or one of `wire.PURPOSES`.
        size, sha256: of the bytes.
        mtime_ns, inode: to be kept when the upload is done (A1).
        replaces: ids to delete once the upload is confirmed (W4).
        started: unix time of the first attempt by the service's clock, 0 before it, `NO_DATE` where that is not told.
        ended: the same of when the last attempt ended without an answer; 0 where that is not known.
        known: ids that bore this name and size before the body of the first attempt was complete, so are not ours, and
            those that an answer gave to others (W3).
        error: why it failed.
        local_name: the name under which the bytes were kept on this machine before this rename to `name`.
        acknowledged: the number of the promise that these bytes last (`Journal.number`); of two rows of one file
            (equal inodes) the higher one counts, whatever the clock said. 0 when there is none.
        private: created as mkstemp(3) does (N6).
        held: those of `replaces` that had another name when this file got its own, with that name: they go once there
            is a new version under it, or their time is up (W9).
        closed: when a file that stays here for some minutes was closed last, in nanoseconds since 1970; 0 for one that
            stays, or goes at once (N6).
        borrowed: ids that other files hold under this name: they go with this upload, or before it where it needs
            their room. Not recorded: the rows of those files have them.
        unanswered: how many attempts ended without an answer, so that the service may have the bytes (W3). The journal
            counts the one that is under way too: after a crash it is one of them.
        replaced: of a `CANCELLED` one: a newer version has taken its name, and the last copy of that stays (W3).
        taken: the service had a file of this name when an attempt began, or got one by another upload before that had
            its outcome, so that it may have numbered the copy (W4).
        numbered: ids under which an answer has stored these bytes with a number in their name: they go with the end of
            this upload, whichever it is. Among `replaces`, too.
        left: the row by which its copy is looked for, where it was given up while it is under way. Not recorded.
        adopted: it took a proven candidate for its own: one attempt less without an answer. Not recorded.
        cancelled: its name is gone; not to be tried again (W8). Not recorded: the row goes with the name.
        under_way: `attempt` has recorded one that has no outcome yet, beside those in `unanswered`. Not recorded.
    """

    spool: str
    name: str
    state: str
    purpose: str
    size: int
    sha256: str
    mtime_ns: int
    inode: int
    replaces: frozenset[str] = frozenset()
    started: float = 0.0
    known: frozenset[str] = field(default=frozenset())
    error: str = ""
    local_name: str = ""
    acknowledged: int = 0
    private: bool = False
    held: Mapping[str, str] = field(default_factory=dict)
    closed: int = 0
    borrowed: frozenset[str] = frozenset()
    cancelled: bool = False
    unanswered: int = 0
    ended: float = 0.0
    replaced: bool = False
    taken: bool = False
    numbered: frozenset[str] = frozenset()
    adopted: bool = False
    left: str = ""
    under_way: bool = field(default=False, compare=False)

    @property
    def is_open(self) -> bool:
        """Whether an attempt has no outcome: it is under way, or was not answered. What was answered left no copy."""
        return self.under_way or self.unanswered > 0

    def may_have_made(self, file: FileObject, *, numbers: bool = False) -> bool:
        """Say whether an attempt of this intent, whose answer never came, may have made `file` (W3).

        By name, size and time: the list shows nothing else, and proves nothing (`doubts`). `numbers`: the service is
        known to number names that are taken.
        """
        return (
            self.started > 0
            and file.bytes == self.size
            and file.id not in self.known
            and file.created_at >= self.started - CLOCK_SLACK
            and (not self.ended or self.ended <= NO_DATE or file.created_at <= self.ended + DOUBT_SECONDS)
            and (
                names.safe(file.filename) == self.name
                or (numbers and self.taken and names.is_numbered(self.name, file.filename))
            )
        )

    def forget_time(self) -> None:
        """Take in that the service's clock is not to be relied on: time excludes nothing any more."""
        self.started, self.ended = min(self.started, NO_DATE), min(self.ended, NO_DATE)


def said(error: MoonfsError) -> str:
    """Return what an intent's `error` says of a refusal, for `failure_of`."""
    return f"{type(error).__name__}: {error}"


def failure_of(intent: Intent) -> MoonfsError:
    """Return the refusal that `intent` has met, as it was."""
    kind, colon, message = intent.error.partition(": ")
    return revive(kind, message) if colon else revive("", intent.error)


def unfinished(path: Path) -> set[str]:
    """Return the names of what is yet to be uploaded or was refused, without a change to the journal at `path`.

    Raises:
        sqlite3.Error: it is damaged, or cannot be read.
    """
    return _names(path, FAILED, PENDING, UPLOADING, RESERVED)


def pending(path: Path) -> set[str]:
    """Return the names of what is yet to be uploaded, as `unfinished`.

    Raises:
        sqlite3.Error: it is damaged, or cannot be read.
    """
    return _names(path, PENDING, UPLOADING, RESERVED)


def _names(path: Path, *states: str) -> set[str]:
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT name, state FROM intents").fetchall()
    return {names.of_bytes(name) for name, state in rows if state in states}


class Journal:
    """The journal of one account on one machine; its file is owned by one mount (L3)."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal at `path` (0600); one of a layout before is brought up to this one.

        Raises:
            OSError: it is damaged, or cannot be written.
            sqlite3.Error: it has the layout of another version.
        """
        self._group = GroupCommit(path)
        try:
            self._prepare(path)
            ((last,),) = self._group.read("SELECT ifnull(max(acknowledged), 0) FROM intents")
            self._numbers: Iterator[int] = itertools.count(last + 1)
        except BaseException:
            self._group.close()
            raise
        self._group.set_aside()

    def number(self) -> int:
        """Return the next number of a promise: higher than all that are recorded, by this run or one before."""
        return next(self._numbers)

    def put(
        self,
        intent: Intent,
        *others: Intent,
        instead_of: str = "",
        freed: str = "",
        data: bytes | EllipsisType | None = ...,
    ) -> None:
        """Record or replace intents, and drop that of the spool file `instead_of`; one step, durable on return.

        A version that is promised, or stays here, has taken its name: one that was in doubt under it is `CANCELLED`.
        The name `freed` is gone: nothing that was in doubt under it comes back.

        `data` are the bytes of the spool file of `intent`, which then need not be durable there; None where they are.
        Left out, it stays with what was recorded of that spool file before.
        """
        row = _row(intent)
        statement = _PUT
        if not isinstance(data, EllipsisType):
            statement, row = _PUT_WITH_DATA, (*row[:-1], data)
        rows = [_row(other) for other in others]
        taken = [(each.name, each.spool) for each in (intent, *others) if each.state in (PENDING, LOCAL)]
        dropped = instead_of and instead_of not in {each.spool for each in (intent, *others)}

        def change(db: sqlite3.Connection) -> None:
            db.execute(statement, row)
            db.executemany(_PUT, rows)
            for newer in taken:
                _overtake(db, *newer)
            _free(db, freed)
            if dropped:
                db.execute("DELETE FROM intents WHERE spool = ?", (instead_of,))

        self._group.queue(change, vital=intent.state in (CANCELLED, FAILED)).wait()

    def give_up(
        self, spools: Iterable[str], left: Iterable[Intent] = (), delete: Iterable[str] = (), freed: str = ""
    ) -> None:
        """Drop the intents for `spools`, record what is `left` of them and queue `delete`, in one step (W8).

        `freed` is as for `put`.
        """
        dropped = [(spool,) for spool in spools]
        rows = [_row(intent) for intent in left]
        deleted = [(file_id,) for file_id in delete]

        def change(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM intents WHERE spool = ?", dropped)
            db.executemany(_PUT, rows)
            db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", deleted)
            _free(db, freed)

        self._group.queue(change, vital=True).wait()

    def let_go(self, ids: Collection[str]) -> None:
        """Queue the deletion of `ids`, which files hold, in one step; from then on none holds them (W9)."""

        def change(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(file_id,) for file_id in ids])
            _let_go(db, ids)

        self._group.queue(change, vital=True).wait()

    def attempt(self, intent: Intent, *, flying: bool = True, synced: bool = False) -> bool:
        """Record how far the upload of `intent` is; False when its name or its bytes have changed meanwhile.

        `flying`: one more attempt is about to be sent, and is `under_way` from now on; where the name is `taken`, it
        is for what other attempts at it make by now, too. An unacknowledged intent gets its row here, the others must
        have theirs still. `synced`: its bytes are durable in the spool file, and what the row carries may be others,
        of before.
        """
        intent.under_way = flying
        values = (
            intent.state,
            intent.size,
            intent.sha256,
            names.as_bytes(intent.local_name),
            intent.started,
            json.dumps(sorted(intent.known)),
            json.dumps(sorted(intent.replaces)),
            intent.ended,
            intent.unanswered + flying,
            intent.purpose,
            int(intent.taken),
            json.dumps(sorted(intent.numbered)),
        )
        key = (intent.spool, names.as_bytes(intent.name), CANCELLED)
        row = (
            _row(replace(intent, unanswered=intent.unanswered + flying))
            if intent.state == UPLOADING and not intent.cancelled
            else None
        )

        def change(db: sqlite3.Connection) -> bool:
            changed = db.execute(
                # What was acknowledged meanwhile stays so.
                "UPDATE intents SET state = CASE state WHEN ? THEN state ELSE ? END, size = ?, sha256 = ?, "  # noqa: S608
                "local_name = ?, started = ?, known = ?, replaces = ?, ended = ?, unanswered = ?, purpose = ?, "
                f"taken = ?, numbered = ?{', data = NULL' if synced else ''} "
                "WHERE spool = ? AND name = ? AND state != ?",
                (PENDING, *values, *key),
            ).rowcount
            if not changed and row is not None:
                changed = db.execute(f"{_PUT} WHERE state != '{CANCELLED}'", row).rowcount
            if changed and flying and intent.taken:
                db.execute(
                    "UPDATE intents SET taken = 1 WHERE name = ? AND spool != ? AND unanswered > 0 AND NOT taken",
                    key[1::-1],
                )
            return bool(changed)

        return self._group.queue(change, vital=True).wait()

    def stored(
        self,
        intent: Intent,
        file_id: str,
        delete: frozenset[str],
        older: str = "",
        held_since: int = 0,
        *,
        left: Iterable[Intent] = (),
        freed: str = "",
    ) -> Change[None]:
        """Record that `intent` is on the service as `file_id`, in one transaction (W4); durable once it is waited for.

        Its row goes, with that of the spool file `older`, and `delete` is queued. Where the file has moved on meanwhile
        (another name, newer bytes), the row of that replaces `file_id` from now on, or holds it since `held_since`; no
        other upload of this name has made it, and nobody else holds it or what is deleted. What is `left` of its
        attempts is recorded; `freed` is as for `put`. A disk that refuses loses nothing of it: the row stays until it
        goes.
        """
        stored, name = intent.name, names.as_bytes(intent.name)
        rows = [_row(each) for each in left]

        def change(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(item,) for item in delete])
            db.execute("DELETE FROM intents WHERE spool = ? AND name = ?", (intent.spool, name))
            if older:
                db.execute("DELETE FROM intents WHERE spool = ?", (older,))
            _drop_reserve(db, stored)
            # A version that came back stands behind what has its name, whichever file that is (W4).
            column, value = ("name", name) if intent.state == RESERVED else ("inode", intent.inode)
            newer = db.execute(
                f"SELECT spool, replaces FROM intents WHERE {column} = ? AND state NOT IN (?, ?, ?)",  # noqa: S608
                (value, CANCELLED, DOUBTFUL, RESERVED),
            ).fetchall()
            # Whether their names are taken may be found out later.
            others = db.execute(
                "SELECT spool, known, name FROM intents WHERE started > 0 AND spool != ?", (intent.spool,)
            ).fetchall()
            for spool, known, other in others:
                if other != name and not names.is_numbered(names.of_bytes(other), stored):
                    continue
                ids = json.dumps(sorted({*json.loads(known), file_id}))
                db.execute("UPDATE intents SET known = ? WHERE spool = ?", (ids, spool))
            _overtake(db, stored, intent.spool)
            db.executemany(_PUT, rows)
            _free(db, freed)
            _let_go(db, {*delete, file_id})
            for spool, replaces in newer:
                ids = json.dumps(sorted({*json.loads(replaces), file_id} - delete))
                db.execute("UPDATE intents SET replaces = ? WHERE spool = ?", (ids, spool))
                if held_since:
                    (held,) = db.execute("SELECT held FROM intents WHERE spool = ?", (spool,)).fetchone()
                    held = json.dumps({**json.loads(held), file_id: intent.name})
                    db.execute("UPDATE intents SET held = ?, closed = ? WHERE spool = ?", (held, held_since, spool))

        return self._group.queue(change, keep=True)

    def cover(self, inode: int, ids: Collection[str], left: Intent) -> bool:
        """Have the file of that `inode` replace `ids` too, which `left` knows of; False where it has no row."""
        row = _row(left)

        def change(db: sqlite3.Connection) -> bool:
            rows = db.execute(
                "SELECT spool, replaces FROM intents WHERE inode = ? AND state NOT IN (?, ?, ?)",
                (inode, CANCELLED, DOUBTFUL, RESERVED),
            ).fetchall()
            for spool, replaces in rows:
                both = json.dumps(sorted({*json.loads(replaces), *ids}))
                db.execute("UPDATE intents SET replaces = ? WHERE spool = ?", (both, spool))
            if rows:
                db.execute(_PUT, row)
            return bool(rows)

        return self._group.queue(change, vital=True).wait()

    def reserve(self, reserved: Intent, intent: Intent, data: bytes | None) -> bool:
        """Record that the stored version of a name is kept as `reserved` before it goes in favour of `intent` (W4).

        False when that has got another name or other bytes meanwhile. `data` is as for `put`.
        """
        row = (*_row(reserved)[:-1], data)
        key = (intent.spool, names.as_bytes(intent.name), CANCELLED)

        def change(db: sqlite3.Connection) -> bool:
            found = db.execute("SELECT 1 FROM intents WHERE spool = ? AND name = ? AND state != ?", key).fetchone()
            if found is not None:
                db.execute(_PUT_WITH_DATA, row)
            return found is not None

        return self._group.queue(change, vital=True).wait()

    def knows(self, fact: str) -> bool:
        """Say whether `fact` was learned of this account's service."""
        return bool(self._group.read("SELECT 1 FROM facts WHERE fact = ?", (fact,)))

    def learn(self, fact: str, *, holds: bool) -> None:
        """Remember whether `fact` holds of this account's service: for sure, or, where the disk refuses, in the end."""
        statement = "INSERT OR IGNORE INTO facts VALUES (?)" if holds else "DELETE FROM facts WHERE fact = ?"
        with contextlib.suppress(OSError):
            self._group.queue(_statement(statement, fact), keep=True).wait()

    def misname(self, file_id: str, name: str) -> None:
        """Record that the service has stored what was to be `name` as another one: with the next change (W4)."""
        row = (file_id, names.as_bytes(name))
        self._group.queue(lambda db: db.execute("INSERT OR REPLACE INTO misnamed VALUES (?, ?)", row), keep=True)

    def misnamed(self) -> dict[str, str]:
        """Return the names that files were to have, by id, of those that `misname` recorded."""
        return {file_id: names.of_bytes(name) for file_id, name in self._group.read("SELECT id, name FROM misnamed")}

    def forget_misnamed(self, ids: Iterable[str]) -> None:
        """Forget files of another name that are gone: with the next change."""
        rows = [(file_id,) for file_id in ids]
        self._group.queue(lambda db: db.executemany("DELETE FROM misnamed WHERE id = ?", rows), keep=True)

    def forget(self, spool: str) -> None:
        """Drop the intent for `spool`, if there is one: with the next change, since nothing depends on when."""
        self._group.queue(_statement("DELETE FROM intents WHERE spool = ?", spool), keep=True)

    def leave(self, copies: Mapping[str, str]) -> None:
        """Record copies, names by id, of which nothing says whose they are: they stay, with a line in status (W3)."""
        rows = [(file_id, names.as_bytes(name)) for file_id, name in copies.items()]
        self._group.queue(
            lambda db: db.executemany("INSERT OR REPLACE INTO copies VALUES (?, ?)", rows), keep=True
        ).wait()

    def forget_copies(self, ids: Iterable[str]) -> None:
        """Forget copies that are gone, or told apart: with the next change."""
        rows = [(file_id,) for file_id in ids]
        self._group.queue(lambda db: db.executemany("DELETE FROM copies WHERE id = ?", rows), keep=True)

    def copies(self) -> dict[str, str]:
        """Return the names of the copies that `leave` recorded, by id."""
        return {file_id: names.of_bytes(name) for file_id, name in self._group.read("SELECT id, name FROM copies")}

    def delete_later(self, file_id: str) -> None:
        """Queue the deletion of `file_id` on the service."""
        self._group.queue(_statement("INSERT OR IGNORE INTO deletions VALUES (?)", file_id), keep=True).wait()

    def deleted(self, file_id: str) -> None:
        """Record that `file_id` is gone from the service: with the next change, since a deletion can be repeated."""
        self._group.queue(_statement("DELETE FROM deletions WHERE id = ?", file_id), keep=True)

    def respell(self, key: Callable[[str], str]) -> None:
        """Name each file by `key(id)`, whatever spelling of its id was recorded (`spellings`)."""

        def change(db: sqlite3.Connection) -> None:
            rows = db.execute("SELECT spool, replaces, known, numbered, held FROM intents").fetchall()
            for spool, *texts, held in rows:
                ids = [json.dumps(sorted({key(each) for each in json.loads(text)})) for text in texts]
                names_of = json.dumps({key(each): name for each, name in json.loads(held).items()}, sort_keys=True)
                db.execute(
                    "UPDATE intents SET replaces = ?, known = ?, numbered = ?, held = ? WHERE spool = ?",
                    (*ids, names_of, spool),
                )
            for table in ("deletions", "copies", "misnamed"):
                for (file_id,) in db.execute(f"SELECT id FROM {table}").fetchall():  # noqa: S608
                    db.execute(f"UPDATE OR REPLACE {table} SET id = ? WHERE id = ?", (key(file_id), file_id))  # noqa: S608

        recorded = [*self.deletions(), *self.copies(), *self.misnamed()]
        for intent in self.intents():
            recorded += [*intent.replaces, *intent.known, *intent.numbered, *intent.held]
        if any(key(file_id) != file_id for file_id in recorded):
            self._group.queue(change).wait()

    def intents(self) -> list[Intent]:
        """Return every intent, oldest first."""
        rows = self._group.read(f"SELECT {', '.join(_COLUMNS[:-1])} FROM intents ORDER BY rowid")  # noqa: S608
        return [_intent(row) for row in rows]

    def carried(self) -> Iterator[tuple[str, bytes]]:
        """Yield the spool files whose bytes are in the journal itself, by name, with those bytes."""
        carriers = "SELECT spool FROM intents WHERE data IS NOT NULL AND state != ?"
        for (spool,) in self._group.read(carriers, (CANCELLED,)):
            for (data,) in self._group.read("SELECT data FROM intents WHERE spool = ?", (spool,)):
                yield spool, data

    def deletions(self) -> list[str]:
        """Return the ids that are still to be deleted on the service."""
        return [file_id for (file_id,) in self._group.read("SELECT id FROM deletions")]

    def close(self) -> None:
        """Close the database."""
        self._group.close()

    def _prepare(self, path: Path) -> None:
        def change(db: sqlite3.Connection) -> None:
            (layout,) = db.execute("PRAGMA user_version").fetchone()
            if layout not in (0, *_STEPS, _LAYOUT):
                raise sqlite3.ProgrammingError(
                    f"{path} was written by another version of moonfs (layout {layout}); mount with that one"
                )
            for step in range(layout or _LAYOUT, _LAYOUT):
                for statement in _STEPS[step]:
                    db.execute(statement)
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_LAYOUT}")

        self._group.queue(change).wait()


def _overtake(db: sqlite3.Connection, name: str, spool: str) -> None:
    """Let a version in doubt go whose `name` that of `spool` has taken; what it may have left is looked for."""
    db.execute(
        "UPDATE intents SET state = ?, replaced = 1, data = NULL WHERE name = ? AND state = 'doubtful' AND spool != ?",
        (CANCELLED, names.as_bytes(name), spool),
    )


def _drop_reserve(db: sqlite3.Connection, name: str) -> None:
    """Give up the version of `name` that was kept: a newer one is stored, or its name is gone."""
    db.execute("DELETE FROM intents WHERE state = ? AND name = ?", (RESERVED, names.as_bytes(name)))


def _free(db: sqlite3.Connection, name: str) -> None:
    """Let nothing that is in doubt under `name`, or kept, come back: whatever had it is gone; empty for none."""
    if name:
        _drop_reserve(db, name)
        db.execute(
            "UPDATE intents SET state = ?, replaced = 0, replaces = '[]', data = NULL WHERE name = ? AND "
            "(state = 'doubtful' OR (state = ? AND replaced))",
            (CANCELLED, names.as_bytes(name), CANCELLED),
        )


def _let_go(db: sqlite3.Connection, ids: Collection[str]) -> None:
    """Let no file hold `ids` any more."""
    holders = "SELECT spool, replaces, held FROM intents WHERE held != '{}' AND state != 'reserved'"
    for spool, replaces, held in db.execute(holders).fetchall():
        before: dict[str, str] = json.loads(held)
        if gone := before.keys() & ids:
            after = json.dumps({file_id: name for file_id, name in before.items() if file_id not in gone})
            left = json.dumps(sorted(set(json.loads(replaces)) - gone))
            db.execute("UPDATE intents SET replaces = ?, held = ? WHERE spool = ?", (left, after, spool))


def _statement(statement: str, value: str) -> Callable[[sqlite3.Connection], None]:
    def change(db: sqlite3.Connection) -> None:
        db.execute(statement, (value,))

    return change


def _intent(row: tuple[Any, ...]) -> Intent:
    fields = dict(zip(_COLUMNS, row, strict=False))
    return Intent(
        **fields
        | {
            "name": names.of_bytes(fields["name"]),
            "local_name": names.of_bytes(fields["local_name"]),
            "replaces": frozenset(json.loads(fields["replaces"])),
            "known": frozenset(json.loads(fields["known"])),
            "private": bool(fields["private"]),
            "held": json.loads(fields["held"]),
            "replaced": bool(fields["replaced"]),
            "taken": bool(fields["taken"]),
            "numbered": frozenset(json.loads(fields["numbered"])),
        }
    )


def _row(intent: Intent) -> tuple[object, ...]:
    return (
        intent.spool,
        names.as_bytes(intent.name),
        intent.state,
        intent.purpose,
        intent.size,
        intent.sha256,
        min(max(intent.mtime_ns, -(2**63)), 2**63 - 1),
        intent.inode,
        json.dumps(sorted(intent.replaces)),
        intent.started,
        json.dumps(sorted(intent.known)),
        intent.error,
        names.as_bytes(intent.local_name),
        intent.acknowledged,
        int(intent.private),
        json.dumps(dict(intent.held), sort_keys=True),
        intent.closed,
        intent.ended,
        intent.unanswered,
        int(intent.replaced),
        int(intent.taken),
        json.dumps(sorted(intent.numbered)),
        None,
    )
