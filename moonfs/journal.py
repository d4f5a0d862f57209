"""The journal: the durable record of intent, in SQLite (WAL, `synchronous=FULL`).

A row says: these spooled bytes are to be stored under this name, then these ids are to be deleted. Every step
can be repeated after a crash at any point:

1. spool file complete → `put` (state `local`, `pending` or `uploading`)
2. upload, matched against the listing where its outcome is open (W3)
3. `stored`: in one transaction the row goes and the ids it replaces are queued for deletion (W4)
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOCAL: Final = "local"
"""Stays on this machine: empty, or under a temporary name (W6, N6)."""
UPLOADING: Final = "uploading"
"""An upload may have been sent; not acknowledged to the writer yet."""
PENDING: Final = "pending"
"""Acknowledged or irreplaceable: must reach the service, however long it takes (W2, W7)."""
FAILED: Final = "failed"
"""Refused by the service; kept readable until it is removed or fixed."""

#: Counts the layouts of the file; a journal of another one is never guessed at.
_LAYOUT: Final = 1
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
    local_name BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS deletions (id TEXT PRIMARY KEY) STRICT;
"""


@dataclass(slots=True)
class Intent:
    """What is to happen to one spool file.

    Attributes:
        spool: name in the spool directory.
        name: name on the drive, which is the filename for the service.
        state: `LOCAL`, `UPLOADING`, `PENDING` or `FAILED`.
        purpose: `auto` or one of `wire.PURPOSES`.
        size, sha256: of the bytes.
        mtime_ns, inode: to be kept when the upload is done (A1).
        replaces: ids to delete once the upload is confirmed (W4).
        started: unix time of the first attempt by the service's clock, 0 before it (W3).
        known: ids that bore this name and size before the first attempt, so are not ours (W3).
        error: why it failed.
        local_name: the name under which the bytes were kept on this machine before this rename to `name`.
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
    cancelled: bool = False


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

    def put(self, intent: Intent) -> None:
        """Record or replace the intent for `intent.spool`; durable on return."""
        row = (
            intent.spool,
            os.fsencode(intent.name),
            intent.state,
            intent.purpose,
            intent.size,
            intent.sha256,
            intent.mtime_ns,
            intent.inode,
            json.dumps(sorted(intent.replaces)),
            intent.started,
            json.dumps(sorted(intent.known)),
            intent.error,
            os.fsencode(intent.local_name),
        )
        with self._using():
            self._db.execute("INSERT OR REPLACE INTO intents VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", row)

    def stored(self, spool: str, delete: frozenset[str]) -> None:
        """Record that `spool` is on the service: its row goes, `delete` is queued, in one transaction (W4)."""
        with self._using(), self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR IGNORE INTO deletions VALUES (?)", [(file_id,) for file_id in delete])
            self._db.execute("DELETE FROM intents WHERE spool = ?", (spool,))

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
        except sqlite3.OperationalError as error:
            code = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(code, f"The journal cannot be written: {error}") from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()
