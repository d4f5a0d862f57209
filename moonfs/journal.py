"""The journal: the durable record of intent, in SQLite (WAL, `synchronous=FULL`).

A row says: these spooled bytes are to be stored under this name, then these ids are to be deleted. Every step
can be repeated after a crash at any point:

1. spool file complete and synced → `put` (state `local`, `pending` or `uploading`); a `pending` row acknowledges (W2)
2. upload, matched against the listing where its outcome is open (W3)
3. `stored`: in one transaction the row goes, the ids it replaces are queued for deletion (W4), and a newer row of the
   same file learns the id that it will replace
4. each id is deleted on the service, then forgotten here (`deleted`)

It does no network and knows no policy. A disk that refuses raises OSError with its errno. Spool files without a
row are orphans (`Spool.clean`).

**Threading:** one connection behind one lock; any thread may call.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moonfs import names
from moonfs.wire import FileObject

LOCAL: Final = "local"
"""Stays on this machine: empty, or under a temporary name (W6, N6)."""
UPLOADING: Final = "uploading"
"""An upload may have been sent; not acknowledged to the writer yet."""
PENDING: Final = "pending"
"""Acknowledged or irreplaceable: must reach the service, however long it takes (W2, W7)."""
CANCELLED: Final = "cancelled"
"""Its name is gone while the outcome of an upload was open: a copy that turns up is to be deleted (W3, W8)."""
FAILED: Final = "failed"
"""Refused by the service; kept readable until it is removed or fixed."""

#: Seconds that a file's `created_at` may lie before the start of the attempt that made it (clock granularity).
CLOCK_SLACK: Final = 5.0
#: Counts the layouts of the file; a journal of another one is never guessed at.
_LAYOUT: Final = 3
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
    private INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS deletions (id TEXT PRIMARY KEY) STRICT;
"""

_COLUMNS: Final = [line.split()[0] for line in _SCHEMA.partition(" STRICT")[0].splitlines()[2:-1]]
#: A row keeps its place when it is replaced, so that the oldest intent stays the first.
_PUT: Final = (
    f"INSERT INTO intents VALUES ({','.join('?' * len(_COLUMNS))}) ON CONFLICT (spool) DO UPDATE SET "  # noqa: S608
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[1:])
)


@dataclass(slots=True)
class Intent:
    """What is to happen to one spool file.

    Attributes:
        spool: name in the spool directory.
        name: name on the drive, which is the filename for the service.
        state: `LOCAL`, `UPLOADING`, `PENDING`, `CANCELLED` or `FAILED`.
        purpose: `auto` or one of `wire.PURPOSES`.
        size, sha256: of the bytes.
        mtime_ns, inode: to be kept when the upload is done (A1).
        replaces: ids to delete once the upload is confirmed (W4).
        started: unix time of the first attempt by the service's clock, 0 before it (W3).
        known: ids that bore this name and size before the first attempt, so are not ours (W3).
        error: why it failed.
        local_name: the name under which the bytes were kept on this machine before this rename to `name`.
        acknowledged: when these bytes were promised to last, in nanoseconds since 1970; of two rows of one file
            (equal inodes) the later one counts. 0 when they were not.
        private: created with mode 0600 (N6).
        unanswered: how many attempts ended without an answer, so that the service may have the bytes (W3). Not
            recorded: after a crash every attempt that was started is one.
        cancelled: its name is gone; not to be tried again (W8). Not recorded: the row goes with the name.
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
    cancelled: bool = False
    unanswered: int = 0

    def may_have_made(self, file: FileObject) -> bool:
        """Say whether an attempt of this intent, whose answer never came, may have made `file` (W3).

        By name, size and time: the list shows nothing else. What was there before the first attempt is `known`.
        """
        return (
            self.started > 0
            and file.bytes == self.size
            and file.id not in self.known
            and file.created_at >= self.started - CLOCK_SLACK
            and names.safe(file.filename) == self.name
        )


class Journal:
    """The journal of one account on one machine; its file is owned by one mount (L3)."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal at `path` (0600).

        Raises:
            sqlite3.Error: it is damaged, cannot be written, or has the layout of another version.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        (layout,) = self._db.execute("PRAGMA user_version").fetchone()
        if layout not in (0, _LAYOUT):
            self._db.close()
            raise sqlite3.DatabaseError(f"{path} was written by another version of moonfs (layout {layout})")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(f"{_SCHEMA} PRAGMA user_version = {_LAYOUT};")

    def put(self, *intents: Intent, instead_of: str = "") -> None:
        """Record or replace `intents`, and drop that of the spool file `instead_of`; one step, durable on return."""
        with self._using(), self._db:
            self._db.execute("BEGIN")
            self._db.executemany(_PUT, [_row(intent) for intent in intents])
            if instead_of and instead_of not in {intent.spool for intent in intents}:
                self._db.execute("DELETE FROM intents WHERE spool = ?", (instead_of,))

    def give_up(self, spools: Iterable[str], left: Iterable[Intent] = (), delete: Iterable[str] = ()) -> None:
        """Drop the intents for `spools`, record what is `left` of them and queue `delete`, in one step (W8)."""
        with self._using(), self._db:
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM intents WHERE spool = ?", [(spool,) for spool in spools])
            self._db.executemany(_PUT, [_row(intent) for intent in left])
            self._db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(file_id,) for file_id in delete])

    def attempt(self, intent: Intent) -> bool:
        """Record how far the upload of `intent` is; False when its name or its bytes have changed meanwhile.

        An unacknowledged intent gets its row here, the others must still have theirs.
        """
        values = (
            intent.state,
            intent.sha256,
            intent.started,
            json.dumps(sorted(intent.known)),
            json.dumps(sorted(intent.replaces)),
        )
        key = (intent.spool, os.fsencode(intent.name), CANCELLED)
        with self._using(), self._db:
            self._db.execute("BEGIN")
            changed = self._db.execute(
                "UPDATE intents SET state = ?, sha256 = ?, started = ?, known = ?, replaces = ? "
                "WHERE spool = ? AND name = ? AND state != ?",
                values + key,
            ).rowcount
            if not changed and intent.state == UPLOADING and not intent.cancelled:
                changed = self._db.execute(f"{_PUT} WHERE state != '{CANCELLED}'", _row(intent)).rowcount
        return bool(changed)

    def stored(self, intent: Intent, file_id: str, delete: frozenset[str]) -> None:
        """Record that `intent` is on the service as `file_id`, in one transaction (W4).

        Its row goes and `delete` is queued. Where the file has moved on meanwhile (another name, newer bytes), the
        row of that replaces `file_id` from now on; a cancelled upload of this name does not own it.
        """
        with self._using(), self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(item,) for item in delete])
            self._db.execute(
                "DELETE FROM intents WHERE spool = ? AND name = ?", (intent.spool, os.fsencode(intent.name))
            )
            newer = self._db.execute(
                "SELECT spool, replaces FROM intents WHERE inode = ? AND state != ?", (intent.inode, CANCELLED)
            ).fetchall()
            cancelled = self._db.execute(
                "SELECT spool, known FROM intents WHERE state = ? AND name = ?", (CANCELLED, os.fsencode(intent.name))
            ).fetchall()
            for spool, known in cancelled:
                ids = json.dumps(sorted({*json.loads(known), file_id}))
                self._db.execute("UPDATE intents SET known = ? WHERE spool = ?", (ids, spool))
            for spool, replaces in newer:
                ids = json.dumps(sorted({*json.loads(replaces), file_id} - delete))
                self._db.execute("UPDATE intents SET replaces = ? WHERE spool = ?", (ids, spool))

    def forget(self, spool: str) -> None:
        """Drop the intent for `spool`, if there is one."""
        with self._using():
            self._db.execute("DELETE FROM intents WHERE spool = ?", (spool,))

    def delete_later(self, file_id: str) -> None:
        """Queue the deletion of `file_id` on the service."""
        with self._using():
            self._db.execute("INSERT OR IGNORE INTO deletions VALUES (?)", (file_id,))

    def deleted(self, file_id: str) -> None:
        """Record that `file_id` is gone from the service."""
        with self._using():
            self._db.execute("DELETE FROM deletions WHERE id = ?", (file_id,))

    def intents(self) -> list[Intent]:
        """Return every intent, oldest first."""
        with self._using():
            rows = self._db.execute("SELECT * FROM intents ORDER BY rowid").fetchall()
        return [
            Intent(
                spool=spool,
                name=os.fsdecode(name),
                state=state,
                purpose=purpose,
                size=size,
                sha256=sha256,
                mtime_ns=mtime_ns,
                inode=inode,
                replaces=frozenset(json.loads(replaces)),
                started=started,
                known=frozenset(json.loads(known)),
                error=error,
                local_name=os.fsdecode(local_name),
                acknowledged=acknowledged,
                private=bool(private),
                unanswered=int(started > 0),
            )
            for (
                spool,
                name,
                state,
                purpose,
                size,
                sha256,
                mtime_ns,
                inode,
                replaces,
                started,
                known,
                error,
                local_name,
                acknowledged,
                private,
            ) in rows
        ]

    def deletions(self) -> list[str]:
        """Return the ids that are still to be deleted on the service."""
        with self._using():
            return [file_id for (file_id,) in self._db.execute("SELECT id FROM deletions")]

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Hold the lock, and let a full or failing disk reach the writer as an errno (W7)."""
        try:
            with self._lock:
                yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a fault of ours, not of the disk
        except sqlite3.Error as error:
            code = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(code, f"The journal cannot be written: {error}") from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()


def _row(intent: Intent) -> tuple[object, ...]:
    return (
        intent.spool,
        os.fsencode(intent.name),
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
        os.fsencode(intent.local_name),
        intent.acknowledged,
        int(intent.private),
    )
