"""What this machine knows about remote files beyond their file objects, by id: kept across mounts.

A time set with `utimens`, the inode number that an upload inherited, the hash of bytes that were written here
(A1, R5), and the length of a text once it was fetched (A2). Losing it costs accuracy, never a file's bytes.

**Threading:** reads are dict look-ups on immutable values, safe from any thread; writes take one lock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

#: Ids that are remembered without a look at whether they still exist; five times what an account holds.
MANY: Final = 5000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    id TEXT PRIMARY KEY,
    mtime_ns INTEGER,
    inode INTEGER,
    sha256 TEXT,
    text_bytes INTEGER
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one id; None for what is not.

    Attributes:
        mtime_ns: modification time to show, nanoseconds since 1970.
        inode: inode number to show.
        sha256: hash of the original, hex.
        text_bytes: length of its text, bytes.
    """

    mtime_ns: int | None = None
    inode: int | None = None
    sha256: str | None = None
    text_bytes: int | None = None


_NOTHING = Known()


class Attributes:
    """The table of one account on one machine."""

    def __init__(self, path: Path) -> None:
        """Open or create the table at `path` (0600).

        Raises:
            sqlite3.Error: it is damaged or cannot be written.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._known = {row[0]: Known(*row[1:]) for row in self._db.execute("SELECT * FROM attributes")}

    def get(self, file_id: str) -> Known:
        """Return what is known of `file_id`; all None when nothing is."""
        return self._known.get(file_id, _NOTHING)

    def set(
        self,
        file_id: str,
        *,
        mtime_ns: int | None = None,
        inode: int | None = None,
        sha256: str | None = None,
        text_bytes: int | None = None,
    ) -> None:
        """Remember what is not None; what was known stays."""
        given = {"mtime_ns": mtime_ns, "inode": inode, "sha256": sha256, "text_bytes": text_bytes}
        changes = {name: value for name, value in given.items() if value is not None}
        with self._lock:
            old = self._known.get(file_id, _NOTHING)
            new = replace(old, **changes)  # type: ignore[arg-type]
            if new == old:
                return
            self._known[file_id] = new
            self._db.execute(
                "INSERT OR REPLACE INTO attributes VALUES (?,?,?,?,?)",
                (file_id, new.mtime_ns, new.inode, new.sha256, new.text_bytes),
            )

    def forget(self, file_id: str) -> str | None:
        """Forget a file that was deleted; return the hash of its original if no other file has the same."""
        with self._lock:
            known = self._known.pop(file_id, _NOTHING)
            self._db.execute("DELETE FROM attributes WHERE id = ?", (file_id,))
            if any(other.sha256 == known.sha256 for other in self._known.values()):
                return None
            return known.sha256

    def keep_only(self, ids: Collection[str]) -> None:
        """Forget every id that the account no longer has, once there are more than `MANY`.

        Not before: a listing that lacks files by the service's mistake should not cost what is known of them.
        """
        with self._lock:
            if len(self._known) <= MANY:
                return
            gone = [file_id for file_id in self._known if file_id not in ids]
            for file_id in gone:
                del self._known[file_id]
            self._db.executemany("DELETE FROM attributes WHERE id = ?", [(file_id,) for file_id in gone])

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()
