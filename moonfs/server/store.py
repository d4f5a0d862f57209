"""The account: which files there are, their originals and their text. Durable before listed, or not there.

A short original travels in its row; a longer one is written to `incoming/`, made durable under its id, and only then
gets its row. The row is the moment a file exists. What a kill leaves in between has no row and is removed at the next
start. It extracts nothing and knows no HTTP but for the words of its refusals.

**Threading:** any thread. `_writing` orders the writes to SQLite and is held over their fsync, and uploads that come
together share one; `_lock` guards the files in memory and is never held over I/O, so that a list does not wait for a
disk. A `Staged` belongs to one request.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from moonfs import disk, wire
from moonfs.server import refusal
from moonfs.server.behaviour import Behaviour
from moonfs.server.directory import DataDirectory, DirectoryError, is_full, sync
from moonfs.server.records import Record, described, listed
from moonfs.server.staged import Extracted, Staged, remove
from moonfs.server.xid import XidSource, created_at, is_id, order

#: Text, and originals, up to this many bytes are kept in their row: three fsyncs less an upload.
INLINE_BYTES: Final = 64 * 1024
_SCHEMA: Final = 2
_TABLES: Final = """
CREATE TABLE files (
    id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL,
    status TEXT NOT NULL, status_details TEXT NOT NULL, sha256 BLOB NOT NULL, reader TEXT NOT NULL,
    file_type TEXT NOT NULL, title TEXT NOT NULL, literal BLOB, original BLOB
) WITHOUT ROWID;
CREATE INDEX by_bytes ON files (sha256, reader);
"""
#: What brings the tables of an earlier moonfs up to date, by the version they have.
_MIGRATIONS: Final = {1: "ALTER TABLE files ADD COLUMN original BLOB;"}


@dataclass(slots=True)
class _Batch:
    """Rows that are made durable together, and what has come of them: errors by id."""

    rows: list[tuple[object, ...]] = field(default_factory=list)
    is_done: bool = False
    errors: dict[object, Exception] = field(default_factory=dict)


class Store:
    """The files of one account in one data directory.

    Args:
        directory: the locked data directory.
        behaviour: what it may hold, and how names, lists, ids and statuses are.

    Raises:
        DirectoryError: the database is of a newer moonfs, or damaged.
    """

    def __init__(self, directory: DataDirectory, behaviour: Behaviour | None = None) -> None:
        self.directory = directory
        self._behaviour = behaviour or Behaviour()
        self.limits = self._behaviour.limits
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._dialect = self._behaviour.dialect
        self._files: dict[str, Record] = {}
        self._names: Counter[str] = Counter()
        self._total = 0
        self._under_way: dict[Staged, int] = {}
        self._staged_bytes = self._reserved_files = 0
        self._listings: dict[bool, bytes] = {}
        self._batch = _Batch()
        with contextlib.ExitStack() as unusable:
            try:
                self._writer = unusable.enter_context(contextlib.closing(self._connect()))
                self._prepare()
                self._reader = unusable.enter_context(contextlib.closing(self._connect()))
                self._load()
            except sqlite3.Error as error:
                path = directory.join("files.sqlite")
                raise DirectoryError(f"cannot use {path}: {disk.reason(error, path)}") from error
            unusable.pop_all()
        self._ids = XidSource(max(self._files, key=order, default=""), self._dialect.id_prefix)

    def close(self) -> None:
        """Close the database; the directory stays locked."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    # -- reading

    def list_body(self, after: str = "", size: int = 0, *, is_beta: bool = False) -> bytes:
        """Return the body of `GET /files`: the files in order, or a page of them.

        Args:
            after: an id, or the token of a page: those that come after it, also where it has been deleted since.
            size: files at most; 0 for all.
            is_beta: in the second format.
        """
        with self._lock:
            is_whole = not after and not size and self._behaviour.list_order != "random"
            if is_whole and is_beta in self._listings:
                return self._listings[is_beta]
            seed, place, is_reverse = self._order(after)
            ids = sorted(self._files, key=place, reverse=is_reverse)
            if after:
                last = place(after)
                ids = [i for i in ids if (place(i) < last if is_reverse else place(i) > last)]
            page = ids[:size] if size else ids
            token = f"{seed}{page[-1]}" if len(page) < len(ids) else ""
            records = [self._files[i] for i in page]
            body = wire.dump(listed(records, token, self._dialect, is_beta=is_beta))
            if is_whole:
                self._listings[is_beta] = body
            return body

    def _order(self, after: str) -> tuple[str, Callable[[str], str], bool]:
        """Return what the token of a page begins with, what files are in order by, and whether the largest is first."""
        if self._behaviour.list_order != "random":
            return "", order, self._behaviour.list_order == "newest"
        seed = after.partition(".")[0] or secrets.token_hex(4)  # the pages of one list are of one order
        return f"{seed}.", lambda file_id: hashlib.sha256(f"{seed}{order(file_id)}".encode()).hexdigest(), False

    def told(self, file_id: str, *, is_beta: bool) -> bytes:
        """Return the body of `GET /files/ID`, in one of the formats. Raises Refusal (404)."""
        return wire.dump(described(self._record(file_id), self._dialect, is_beta=is_beta))

    def get(self, file_id: str) -> wire.FileObject:
        """Return one file. Raises Refusal (404)."""
        return self._record(file_id).file

    def _record(self, file_id: str) -> Record:
        with self._lock:
            found = self._files.get(file_id)
        if found is None:
            raise refusal.not_found()
        return found

    def original(self, file_id: str) -> bytes | str:
        """Return an original, or the path of a long one. Raises Refusal (404); blocks on the disk."""
        self.get(file_id)
        with self._reading:
            row = self._reader.execute("SELECT original FROM files WHERE id = ?", (file_id,)).fetchone()
        if row is None:
            raise refusal.not_found()
        return os.path.join(self.directory.originals, file_id) if row[0] is None else bytes(row[0])

    def media(self, reference: str) -> tuple[bytes | str, str]:
        """Return (bytes or path, media type) of what `ms://ID` refers to: an image or a video. Raises Refusal (404)."""
        file_id = reference.removeprefix("ms://")
        if self.get(file_id).purpose not in (wire.IMAGE, wire.VIDEO):  # originals of texts can not be had (LIVE)
            raise refusal.not_found()
        return self.original(file_id), self.text(file_id).file_type

    def text(self, file_id: str) -> Extracted:
        """Return the text of one file. Raises Refusal (404); blocks on the disk."""
        with self._reading:
            row = self._reader.execute(
                "SELECT file_type, literal, reader, title FROM files WHERE id = ?", (file_id,)
            ).fetchone()
        if row is None:
            raise refusal.not_found()
        literal = row[1] if row[1] is not None else os.path.join(self.directory.contents, file_id)
        return Extracted(row[0], literal, row[2], row[3])

    def known_text(self, sha256: bytes, reader: str) -> Extracted | None:
        """Return the text of an earlier upload of the same bytes by the same reader, if it is still there.

        Long text is linked into `incoming/`, so that deleting the earlier file does not take it away.
        """
        with self._reading:
            row = self._reader.execute(
                "SELECT id, file_type, literal, title FROM files WHERE sha256 = ? AND reader = ? LIMIT 1",
                (sha256, reader),
            ).fetchone()
        if row is None:
            return None
        if row[2] is not None:
            return Extracted(row[1], row[2], reader, row[3])
        link = self.incoming()
        try:
            os.link(os.path.join(self.directory.contents, row[0]), link)
        except OSError:
            return None
        return Extracted(row[1], link, reader, row[3])

    # -- writing

    def admit(self, staged: Staged) -> None:
        """Refuse early what could not be stored, beside all that is on its way as well. Raises Refusal."""
        with self._lock:
            self._check(staged)

    def incoming(self) -> str:
        """Return a fresh path in `incoming/`."""
        return self.directory.fresh()

    @contextlib.contextmanager
    def stage(self) -> Iterator[Staged]:
        """Begin an upload, whose bytes count as stored until the block ends. Raises Refusal.

        It has no place among the files before its end: most uploads are of new versions, whose old ones go then.
        """
        with Staged(self.incoming()) as staged:
            with self._lock:
                self._check(staged)
            try:
                yield staged
            finally:
                with self._lock:
                    self._staged_bytes -= self._under_way.pop(staged, 0)

    def commit(
        self, staged: Staged, filename: str, purpose: str, text: Extracted, details: str = ""
    ) -> wire.FileObject:
        """Make a staged upload a file of the account: durable when this returns. Blocks on the disk.

        Args:
            filename: its name; where equal names are numbered, the file returned may have another.
            details: why it has no text; its status is `error` then.

        Raises:
            Refusal: a limit, or no space left; nothing is left behind then.
        """
        with self._lock:
            self._check(staged)
            filename = self._free_name(filename)
            self._reserved_files += 1
            self._names[filename] += 1
        made: list[str] = []
        try:
            return self._commit(staged, filename, purpose, text, details=details, made=made)
        except BaseException as error:
            remove(*made)
            with self._lock:
                self._forget_name(filename)
            if isinstance(error, sqlite3.OperationalError):
                error = disk.translated(error, self.directory.join("files.sqlite"))
            if isinstance(error, OSError) and is_full(error):
                raise refusal.disk_full() from error
            raise
        finally:
            with self._lock:
                self._reserved_files -= 1

    def _commit(
        self, staged: Staged, filename: str, purpose: str, text: Extracted, *, details: str, made: list[str]
    ) -> wire.FileObject:
        whole = staged.whole()
        original = whole if whole is not None and len(whole) <= INLINE_BYTES else None
        if original is None:
            staged.flush()
        file_id = self._ids.next()
        literal = _inline(text.literal)
        # Named first, synced then: without a row it is no file yet, and the disk's journal is written once only.
        if isinstance(literal, str):
            made.append(_move(literal, os.path.join(self.directory.contents, file_id)))
            sync(made[-1])
            sync(self.directory.contents)
        if original is None:
            made.append(_move(staged.path, os.path.join(self.directory.originals, file_id)))
            staged.sync()
            sync(self.directory.originals)
        status = wire.STATUS_ERROR if details else self._dialect.status
        stored = wire.FileObject(file_id, staged.size, created_at(file_id), filename, purpose, status, details)
        row = (
            *(file_id, stored.bytes, filename, purpose, stored.status, stored.status_details),
            *(staged.sha256, text.reader, text.file_type, text.title),
            *(None if isinstance(literal, str) else literal, original),
        )
        self._insert(row)
        with self._lock:
            self._files[file_id] = Record(stored, text.file_type)
            self._total += stored.bytes
            self._staged_bytes -= self._under_way.pop(staged, 0)
            self._listings.clear()
        return stored

    def delete(self, file_id: str) -> None:
        """Delete one file for good. Raises Refusal (404); blocks on the disk."""
        self.get(file_id)
        with self._writing:
            gone = self._writer.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount == 1
        if not gone:
            raise refusal.not_found()
        with self._lock:
            file = self._files.pop(file_id).file
            self._total -= file.bytes
            self._forget_name(file.filename)
            self._listings.clear()
        remove(os.path.join(self.directory.originals, file_id), os.path.join(self.directory.contents, file_id))

    # -- inside

    def _free_name(self, filename: str) -> str:
        """Return the name, or where equal names are numbered the first that is free; the lock is held."""
        if self._dialect.duplicate_names == "keep" or filename not in self._names:
            return filename
        stem, extension = os.path.splitext(filename)
        suffixes = (self._dialect.number_suffix.replace("{n}", str(n)) for n in itertools.count(1))
        names = (f"{stem}{suffix}{extension}" for suffix in suffixes)
        return next(name for name in names if name not in self._names)

    def _forget_name(self, filename: str) -> None:
        self._names[filename] -= 1
        if not self._names[filename]:
            del self._names[filename]

    def _insert(self, row: tuple[object, ...]) -> None:
        """Make a row durable; whoever writes first does it for all that wait. Raises what went wrong with this one."""
        with self._lock:
            batch = self._batch
            batch.rows.append(row)
        with self._writing:
            if not batch.is_done:
                with self._lock:
                    self._batch = _Batch()
                self._write(batch)
                batch.is_done = True
        error = batch.errors.get(row[0])
        if error is not None:
            raise error

    def _write(self, batch: _Batch) -> None:
        try:
            self._transact(batch.rows)
        except Exception:  # noqa: BLE001 - each finds out for itself whether it was the one
            for row in batch.rows:
                try:
                    self._transact([row])
                except Exception as error:  # noqa: BLE001 - which its own upload raises
                    batch.errors[row[0]] = error

    def _transact(self, rows: list[tuple[object, ...]]) -> None:
        self._writer.execute("BEGIN")
        try:
            self._writer.executemany("INSERT INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _check(self, staged: Staged) -> None:
        """Count what has come of an upload as stored, or refuse it; the lock is held."""
        counted, size = self._under_way.get(staged, 0), staged.size
        if size > self.limits.file_bytes:
            raise refusal.too_large(self.limits.file_bytes)
        if len(self._files) + self._reserved_files >= self.limits.files:
            raise refusal.too_many(self.limits.files, self._dialect.quota_text)
        if self._total + self._staged_bytes - counted + size > self.limits.total_bytes:
            raise refusal.total_too_large(self._behaviour.quota_status)
        self._under_way[staged] = size
        self._staged_bytes += size - counted

    def _connect(self) -> sqlite3.Connection:
        path = self.directory.join("files.sqlite")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA:
            raise DirectoryError(
                f"the data directory {self.directory.path} was written by a newer moonfs; update this one"
            )
        if version < _SCHEMA:
            steps = _MIGRATIONS[version] if version else _TABLES
            self._writer.executescript(f"BEGIN; {steps} PRAGMA user_version = {_SCHEMA}; COMMIT;")

    def _load(self) -> None:
        rows = self._reader.execute(
            "SELECT id, bytes, filename, purpose, status, status_details, file_type, original IS NULL FROM files"
        ).fetchall()
        originals = set(os.listdir(self.directory.originals))
        for file_id, size, filename, purpose, stored_as, details, file_type, is_apart in rows:
            if is_apart and file_id not in originals:  # taken away by hand
                self._writer.execute("DELETE FROM files WHERE id = ?", (file_id,))
                continue
            # The word for the rest is that of the server as it is now, not of the one that stored it.
            status = stored_as if stored_as == wire.STATUS_ERROR else self._dialect.status
            file = wire.FileObject(file_id, size, created_at(file_id), filename, purpose, status, details)
            self._files[file_id] = Record(file, file_type)
            self._names[filename] += 1
        self._total = sum(record.file.bytes for record in self._files.values())
        for folder in (self.directory.originals, self.directory.contents):
            orphans = (name for name in os.listdir(folder) if is_id(name) and name not in self._files)
            remove(*(os.path.join(folder, name) for name in orphans))


def _inline(literal: bytes | str) -> bytes | str:
    if isinstance(literal, bytes) or os.path.getsize(literal) > INLINE_BYTES:
        return literal
    with open(literal, "rb") as stream:
        short = stream.read()
    remove(literal)
    return short


def _move(source: str, target: str) -> str:
    os.rename(source, target)
    return target
