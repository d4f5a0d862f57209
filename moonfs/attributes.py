"""What this machine knows about remote files beyond their file objects, by id: kept across mounts.

A time set with `utimens`, the inode number that an upload inherited, the hash of bytes that were written here
(A1, R5), the length of a text once it was fetched (A2), and whether this machine has stored the file (N8). Losing it
costs accuracy, never a file's bytes: a damaged table is made anew, and where the disk refuses, memory has to do.
Nothing here fails for that.

**Threading:** reads are dict look-ups on immutable values, safe from any thread; writes take one lock.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from moonfs import disk

log = logging.getLogger(__name__)

#: Ids that are remembered without a look at whether they still exist; five times what is documented.
MANY: Final = 5000
#: Lengths of texts that are written together.
_MANY_UNSAVED: Final = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    id TEXT PRIMARY KEY,
    mtime_ns INTEGER,
    inode INTEGER,
    sha256 TEXT,
    text_bytes INTEGER,
    plain_bytes INTEGER,
    stored INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS apart (id TEXT PRIMARY KEY) STRICT;
"""
#: The columns of texts' lengths: of the body of `/content`, or of the text in it (R1).
_LENGTHS: Final = ("text_bytes", "plain_bytes")
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: other columns
#: What SQLite's integers hold: nanoseconds up to the year 2262.
_FIRST, _LAST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one id; None for what is not.

    Attributes:
        mtime_ns: modification time to show, nanoseconds since 1970.
        inode: inode number to show.
        sha256: hash of the original, hex.
        text_bytes: length of its text as the drive shows it, bytes.
        stored: whether an answer to an upload of this machine has given it its id.
    """

    mtime_ns: int | None = None
    inode: int | None = None
    sha256: str | None = None
    text_bytes: int | None = None
    stored: bool = False


_NOTHING = Known()
_MAY_LACK: Final = ("mtime_ns", "inode", "sha256", "text_bytes")


class Attributes:
    """The table of one account on one machine.

    Attributes:
        apart: what the two ids of twins have in common that were two files, when this was opened (`spellings`).
    """

    def __init__(self, path: Path, *, plain: bool = False) -> None:
        """Open or create the table at `path` (0600); one that cannot be used is made anew, if need be in memory.

        `plain`: the drive shows the text alone, whose lengths are others than those of the whole answer (R1).
        """
        self._lock = threading.Lock()
        self._unsaved: set[str] = set()
        self._length = _LENGTHS[plain]
        self._db, self._known, self.apart = _open(path, self._length)

    def get(self, file_id: str) -> Known:
        """Return what is known of `file_id`; all None when nothing is."""
        return self._known.get(file_id, _NOTHING)

    def holders(self, sha256: str) -> frozenset[str]:
        """Return the ids whose originals have this hash."""
        with self._lock:
            return frozenset(file_id for file_id, known in self._known.items() if known.sha256 == sha256 and sha256)

    def set(
        self,
        file_id: str,
        *,
        mtime_ns: int | None = None,
        inode: int | None = None,
        sha256: str | None = None,
        text_bytes: int | None = None,
    ) -> None:
        """Remember what is not None; what was known stays.

        A time outside of the years 1677 to 2262 becomes the nearest one inside.
        """
        if mtime_ns is not None:
            mtime_ns = min(max(mtime_ns, _FIRST), _LAST)
        given = {"mtime_ns": mtime_ns, "inode": inode, "sha256": sha256, "text_bytes": text_bytes}
        changes = {name: value for name, value in given.items() if value is not None}
        with self._lock:
            old = self._known.get(file_id, _NOTHING)
            new = replace(old, **changes)  # type: ignore[arg-type]
            if new == old:
                return
            self._known[file_id] = new
            self._unsaved.add(file_id)
            self._save()

    def note_text(self, file_id: str, size: int) -> None:
        """Remember the length of a text in bytes (A2); it is written with the next ones, or at the end.

        So a kill may cost lengths, though not those of texts that are on this disk: these are told anew at a start.
        """
        with self._lock:
            old = self._known.get(file_id, _NOTHING)
            if old.text_bytes == size:
                return
            self._known[file_id] = replace(old, text_bytes=size)
            self._unsaved.add(file_id)
            if len(self._unsaved) >= _MANY_UNSAVED:
                self._save()

    def note_stored(self, file_id: str) -> None:
        """Remember that this machine has stored a file; it is written with what is set next."""
        with self._lock:
            self._known[file_id] = replace(self._known.get(file_id, _NOTHING), stored=True)
            self._unsaved.add(file_id)

    def respell(self, key: Callable[[str], str]) -> None:
        """Know each file by `key(id)`, whatever spelling of its id it was known by (`spellings`).

        Where both were known, what was known by the right one counts, and of the other what that lacks.
        """
        with self._lock:
            wrong = {old: new for old in self._known if (new := key(old)) != old}
            for old, new in wrong.items():
                one, other = self._known.get(new, _NOTHING), self._known.pop(old)
                lacks = {name: getattr(other, name) for name in _MAY_LACK if getattr(one, name) is None}
                self._known[new] = replace(one, **lacks, stored=one.stored or other.stored)
            if wrong:
                self._unsaved.difference_update(wrong)
                self._unsaved.update(wrong.values())
                self._save()
            if not self._unsaved:
                self._write("DELETE FROM attributes WHERE id = ?", [(old,) for old in wrong])

    def note_apart(self, apart: Collection[str]) -> None:
        """Remember what the two ids of twins have in common that are two files."""
        with self._lock:
            self._write("INSERT OR IGNORE INTO apart VALUES (?)", [(each,) for each in apart])

    def forget(self, file_id: str, drop: Callable[[str], None]) -> None:
        """Forget a file that was deleted; have `drop` take the hash of its original if no other file has the same.

        Who stores the same bytes meanwhile waits for that, and then keeps them anew (R5): `set` comes first there.
        """
        with self._lock:
            known = self._known.pop(file_id, _NOTHING)
            self._unsaved.discard(file_id)
            self._write("DELETE FROM attributes WHERE id = ?", [(file_id,)])
            sha256 = known.sha256
            if sha256 is not None and all(other.sha256 != sha256 for other in self._known.values()):
                drop(sha256)

    def forget_texts(self, ids: Collection[str]) -> None:
        """Forget files of which no more is known than the length of a text that is dropped."""
        with self._lock:
            known = ((file_id, self._known.get(file_id)) for file_id in ids)
            gone = [
                file_id for file_id, each in known if each is not None and each == Known(text_bytes=each.text_bytes)
            ]
            for file_id in gone:
                del self._known[file_id]
            self._unsaved.difference_update(gone)
            self._write("DELETE FROM attributes WHERE id = ?", [(file_id,) for file_id in gone])

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
            self._unsaved.difference_update(gone)
            self._write("DELETE FROM attributes WHERE id = ?", [(file_id,) for file_id in gone])

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._unsaved:
                self._save()
            try:
                self._db.close()
            except sqlite3.Error as error:
                log.warning("Cannot close the table of attributes: %s", error)

    def _save(self) -> None:
        """Write what is not on disk yet; what a full disk refuses is tried again with the next."""
        rows = [
            (file_id, known.mtime_ns, known.inode, known.sha256, known.text_bytes, known.stored)
            for file_id in self._unsaved
            if (known := self._known.get(file_id)) is not None
        ]
        columns = ("mtime_ns", "inode", "sha256", self._length, "stored")
        statement = (
            f"INSERT INTO attributes (id, {', '.join(columns)}) VALUES (?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET "  # noqa: S608
            + ", ".join(f"{column} = excluded.{column}" for column in columns)
        )
        if self._write(statement, rows):
            self._unsaved.clear()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> bool:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            log.warning("Cannot write the table of attributes, so the next mount may not know them: %s", error)
            return False
        return True


_Loaded = tuple[sqlite3.Connection, dict[str, Known], frozenset[str]]


def _open(path: Path, length: str) -> _Loaded:
    try:
        try:
            return _load(path, length)
        except sqlite3.Error as error:
            # The primary code, without what SQLite adds above it; text that is no UTF-8 has none.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _DAMAGED:
                raise
            log.warning("%s is damaged (%s): made anew; some times and sizes are lost, no bytes", path, error)
            for part in ("", "-wal", "-shm"):
                Path(f"{path}{part}").unlink(missing_ok=True)
            return _load(path, length)
    except (OSError, sqlite3.Error) as error:
        log.warning("Times and sizes are remembered until the drive is unmounted: %s", disk.reason(error, path))
        return _load(None, length)


def _load(path: Path | None, length: str) -> _Loaded:
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA cache_size=-256")  # KiB; it is read once
        db.executescript(_SCHEMA)
        columns = {row[1] for row in db.execute("PRAGMA table_info(attributes)")}
        if "plain_bytes" not in columns and "text_bytes" in columns:  # made by an earlier version
            db.execute("ALTER TABLE attributes ADD COLUMN plain_bytes INTEGER")
        if "stored" not in columns and "text_bytes" in columns:
            db.execute("ALTER TABLE attributes ADD COLUMN stored INTEGER")
        rows = db.execute(f"SELECT id, mtime_ns, inode, sha256, {length}, stored FROM attributes")  # noqa: S608
        known = {row[0]: Known(row[1], row[2], row[3], row[4], bool(row[5])) for row in rows}
        return db, known, frozenset(row[0] for row in db.execute("SELECT id FROM apart"))
    except BaseException:
        db.close()
        raise
