"""Journals as earlier versions of moonfs wrote them: their tables word for word, which nothing here may change.

former.journal(path, 4, [former.row("s1", "a.txt", "pending", b"bytes")], deletions=["id"])
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

#: Layout 3; layout 4 has one more column, the last, layout 5 two more before that, and layout 6 three more.
_INTENTS: Final = """
CREATE TABLE intents (
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
    private INTEGER NOT NULL{}
) STRICT
"""
_HELD: Final = ",\n    held TEXT NOT NULL DEFAULT '{}',\n    closed INTEGER NOT NULL DEFAULT 0"
_DOUBT: Final = (
    ",\n    ended REAL NOT NULL DEFAULT 0,\n    unanswered INTEGER NOT NULL DEFAULT 0,"
    "\n    replaced INTEGER NOT NULL DEFAULT 0"
)
_COPIES: Final = "CREATE TABLE copies (id TEXT PRIMARY KEY, name BLOB NOT NULL) STRICT"
_DELETIONS: Final = "CREATE TABLE deletions (id TEXT PRIMARY KEY) STRICT"


def row(
    spool: str,
    name: str,
    state: str,
    data: bytes | None = None,
    *,
    size: int | None = None,
    inode: int = 9,
    replaces: Iterable[str] = (),
    error: str = "",
    local_name: str = "",
    started: float = 0.0,
    acknowledged: int = 1,
    private: int = 0,
    sha256: str = "",
) -> tuple[Any, ...]:
    """Return a row; `data` are the bytes in it, without which `size` is needed and a spool file has them."""
    size = len(data or b"") if size is None else size
    return (
        *(spool, os.fsencode(name), state, "auto", size, sha256, 1_234_567_890_123_456_789, inode),
        *(json.dumps(sorted(replaces)), started, "[]", error, os.fsencode(local_name), acknowledged, private, data),
    )


def journal(path: Path, layout: int, rows: Sequence[tuple[Any, ...]], deletions: Iterable[str] = ()) -> None:
    """Write a journal of layout 3 to 6; in the first no row has bytes. What was started is without an answer."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    columns = {3: 15, 4: 16, 5: 18, 6: 21}[layout]
    data = ",\n    data BLOB"
    more = {3: "", 4: data, 5: f"{_HELD}{data}", 6: f"{_HELD}{_DOUBT}{data}"}[layout]
    if layout == 5:
        rows = [(*each[:15], "{}", 0, each[15]) for each in rows]
    if layout == 6:
        rows = [(*each[:15], "{}", 0, 0.0, int(each[9] > 0), 0, each[15]) for each in rows]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(_INTENTS.format(more))
        db.execute(_DELETIONS)
        if layout == 6:
            db.execute(_COPIES)
        marks = ",".join("?" * columns)
        db.executemany(f"INSERT INTO intents VALUES ({marks})", [each[:columns] for each in rows])
        db.executemany("INSERT INTO deletions VALUES (?)", [(each,) for each in deletions])
        db.execute(f"PRAGMA user_version = {layout}")
