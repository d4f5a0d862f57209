"""A SQLite database whose writers share their commits: one fsync makes durable what many threads have queued.

Changes are carried out in the order in which they were queued, so that a caller may fix that order under a lock of
its own and wait for the disk without it. It knows nothing of what the changes say.

**Threading:** any thread may call anything. The first one that waits commits for all that are queued by then, and
the others find their change done; a change that fails takes none of the others along.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from moonfs import disk

log = logging.getLogger(__name__)

T = TypeVar("T")
Apply = Callable[[sqlite3.Connection], T]

#: Pages that gather in the write-ahead log before they are moved into the database, 16 MiB: seldom, and not while a
#: folder of small files is being copied.
_CHECKPOINT_PAGES: Final = 4096
#: Bytes that are set aside, in the database and its log, and on the disk beside them, for changes that make room there.
_SPARE: Final = 256 * 1024
_RESERVE: Final = 512 * 1024
#: What a disk without room says.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
#: What is a fault of ours rather than of the disk.
_OURS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError)


class Change(Generic[T]):
    """One queued change; `wait` makes it durable."""

    __slots__ = ("_apply", "_group", "done", "error", "keep", "result", "vital")

    def __init__(self, group: GroupCommit, apply: Apply[T], *, keep: bool, vital: bool) -> None:
        self._group = group
        self._apply = apply
        self.keep = keep
        self.vital = vital
        self.done = False
        self.result: T | None = None
        self.error: Exception | None = None

    def wait(self) -> T:
        """Return what the change returned, once it is durable.

        Raises:
            OSError: the disk refuses (W7), with its errno; nothing of the change was done.
            sqlite3.Error: the change is wrong.
        """
        if not self.done:
            self._group.commit(self)
        if self.error is not None:
            raise self.error
        return cast(T, self.result)

    def run(self, db: sqlite3.Connection) -> None:
        """Carry it out inside of the transaction that is open; for the group only."""
        self.result = self._apply(db)


class GroupCommit:
    """A database in WAL mode with `synchronous=FULL`: what is committed survives a power cut."""

    def __init__(self, path: Path) -> None:
        """Open or create the database at `path` (0600).

        Raises:
            OSError: it cannot be opened or written, or is damaged.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path = path
        self._reserve = _Reserve(path.with_name(f"{path.name}.reserve"))
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._queue: list[Change[Any]] = []
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        except sqlite3.Error as error:
            self._db.close()
            raise self._translated(error) from error

    def set_aside(self) -> None:
        """Have pages to spare in the log and in the database, which a disk that is full cannot take away."""
        with self._turn, contextlib.suppress(sqlite3.Error):
            self._db.execute("CREATE TABLE spare (data BLOB)")
            self._db.execute("INSERT INTO spare VALUES (zeroblob(?))", (_SPARE,))
            self._db.execute("DROP TABLE spare")
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def queue(self, apply: Apply[T], *, keep: bool = False, vital: bool = False) -> Change[T]:
        """Queue `apply(db)` behind what is queued already; it runs when somebody waits, reads or closes.

        With `keep` a change that the disk refuses is not given up: it is tried again with the next ones, before
        them, and nobody is told. On a full disk it may use what is set aside there; so may one that is `vital`: few
        bytes, without which nothing that is here can become less.
        """
        change = Change(self, apply, keep=keep, vital=vital or keep)
        with self._lock:
            self._queue.append(change)
        return change

    def read(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, which sees all that was queued before.

        Raises:
            OSError: the disk refuses.
        """
        with self._turn:
            self._commit_queued()
            try:
                return self._db.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                raise self._translated(error) from error

    def commit(self, change: Change[Any]) -> None:
        """Return when `change` is durable or has failed, with all that was queued before it."""
        with self._turn:
            if not change.done:  # else it was done along with another one
                self._commit_queued()

    def close(self) -> None:
        """Commit what is queued and close the database."""
        with self._turn:
            self._commit_queued()
            self._db.close()
            self._reserve.use()

    def _commit_queued(self) -> None:
        with self._lock:
            batch, self._queue = self._queue, []
        if not batch:
            return
        self._commit(batch)
        self._reserve.make()
        kept = [change for change in batch if change.keep and isinstance(change.error, OSError)]
        for change in kept:
            log.warning("A change is recorded later: %s", change.error)
            change.error = None
        with self._lock:
            self._queue[:0] = kept
        for change in batch:
            change.done = True

    def _commit(self, batch: list[Change[Any]]) -> None:
        """Carry out and commit `batch` in one transaction, or one by one where that fails, on a full disk, say."""
        error = self._try(batch)
        if error is not None and len(batch) > 1:
            for change in batch:
                change.error = None
                self._commit([change])
        elif error is not None:
            batch[0].error = self._make_room_for(batch[0], self._translated(error))

    def _try(self, batch: list[Change[Any]]) -> Exception | None:
        """Carry out and commit `batch` in one transaction; return why it could not be."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for change in batch:
                self._carry_out(change, alone=len(batch) == 1)
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and nobody else is held up
            self._roll_back()
            return error
        return None

    def _make_room_for(self, change: Change[Any], error: Exception) -> Exception | None:
        """Try a vital change once more where the disk is full; return why it cannot be done."""
        for reserved in (False, True):
            if not (change.vital and isinstance(error, OSError) and error.errno in _FULL):
                break
            if reserved and not self._reserve.use():
                break
            # What is in the log goes into the database, and the log begins anew in the room that it has.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            again = self._try([change])
            if again is None:
                return None
            error = self._translated(again)
        return error

    def _carry_out(self, change: Change[Any], *, alone: bool) -> None:
        if alone:
            change.run(self._db)
            return
        self._db.execute("SAVEPOINT change")
        try:
            change.run(self._db)
        except Exception as error:
            # It is the one change's own.
            if not self._db.in_transaction:
                raise  # SQLite has undone all of them
            change.error = self._translated(error)
            self._db.execute("ROLLBACK TO change")
        self._db.execute("RELEASE change")

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.warning("A transaction cannot be undone: %s", error)

    def _translated(self, error: Exception) -> Exception:
        """Return the error of a full or failing disk as an errno that reaches the writer (W7), about the database."""
        if isinstance(error, _OURS) or not isinstance(error, sqlite3.Error):
            return error
        translated = disk.translated(error, self._path)
        translated.__cause__ = error
        return translated


class _Reserve:
    """Room that is set aside on a disk for when it is full: a file of nothing, which is removed then."""

    def __init__(self, path: Path) -> None:
        """Set it aside at `path`, if there is room."""
        self._path = path
        self._there = False
        self.make()

    def make(self) -> None:
        """Set it aside unless it is, where the disk has several times as much."""
        if self._there:
            return
        with contextlib.suppress(OSError):
            found = os.statvfs(self._path.parent)
            if found.f_bavail * found.f_frsize < 4 * _RESERVE:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
                self._there = True
            finally:
                os.close(fd)

    def use(self) -> bool:
        """Give the room back; False where there is none."""
        there, self._there = self._there, False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return there
