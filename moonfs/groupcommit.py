"""A SQLite database whose writers share their commits: one fsync makes durable what many threads have queued.

Changes are carried out in the order in which they were queued, so that a caller may fix that order under a lock of
its own and wait for the disk without it. It knows nothing of what the changes say.

**Threading:** any thread may call anything. The first one that waits commits for all that are queued by then, and
the others find their change done; a change that fails takes none of the others along.
"""

from __future__ import annotations

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
#: What is a fault of ours rather than of the disk.
_OURS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError)


class Change(Generic[T]):
    """One queued change; `wait` makes it durable."""

    __slots__ = ("_apply", "_group", "done", "error", "keep", "result")

    def __init__(self, group: GroupCommit, apply: Apply[T], *, keep: bool) -> None:
        self._group = group
        self._apply = apply
        self.keep = keep
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

    def queue(self, apply: Apply[T], *, keep: bool = False) -> Change[T]:
        """Queue `apply(db)` behind what is queued already; it runs when somebody waits, reads or closes.

        With `keep` a change that the disk refuses is not given up: it is tried again with the next ones, before
        them, and nobody is told.
        """
        change = Change(self, apply, keep=keep)
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

    def _commit_queued(self) -> None:
        with self._lock:
            batch, self._queue = self._queue, []
        if not batch:
            return
        self._commit(batch)
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
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for change in batch:
                self._carry_out(change, alone=len(batch) == 1)
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and nobody else is held up
            self._roll_back()
            if len(batch) == 1:
                batch[0].error = self._translated(error)
                return
            for change in batch:
                change.error = None
                self._commit([change])

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
