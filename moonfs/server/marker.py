"""Whether a directory is a data directory of ours: only such a one is swept, locked or made private.

A marker file with the version of the layout is the first thing that is written into a new data directory, so whatever
else lies beside it was made by a server or put there afterwards. It opens no database for long and holds no lock.
Standard library only: the client of an embedded server asks it too.

    DATA/moonfs-data        the marker: one line

**Threading:** `claim` may be called by any process and thread at once; the marker appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import tempfile
from typing import Final

from moonfs.server.address import CLIENTS, LOCK, SPAWN, make_private

#: The name of the marker.
MARKER: Final = "moonfs-data"
#: Counts the layouts of the directory.
LAYOUT: Final = 1
_LINE: Final = re.compile(rb"moonfs local Files API, layout ([0-9]{1,9})\n")
#: What an earlier version, or a client that was killed early, has left in a directory that holds no file yet.
_LOCKS: Final = frozenset({CLIENTS, LOCK, SPAWN})
#: Ends up in the root of every ext4 filesystem (mke2fs(8)).
_LOST: Final = "lost+found"
#: The columns that `files` has had since the first version.
_COLUMNS: Final = frozenset({"id", "bytes", "filename", "purpose", "sha256", "reader", "literal"})
#: The names of what `write_private` writes on its way (`address`), with mkstemp's eight characters.
NEW: Final = re.compile(r"\.new-[a-z0-9_]{8}")


class NotOurs(Exception):
    """The directory is somebody's own, or of a newer moonfs; the message is one sentence for a person."""


def claim(path: str | os.PathLike[str]) -> None:
    """Make `path` a data directory, 0700, unless it is one; touch nothing in a directory that is something else.

    Taken is a directory that is not there yet (its missing parents are made too), that is empty but for `lost+found`,
    that has the marker, or that an earlier moonfs has made: it has a `files.sqlite` with our table, and is marked.

    Raises:
        NotOurs: it has files of somebody's own, or the layout of a newer moonfs.
        OSError: it cannot be made, read or written.
    """
    path = os.path.abspath(os.fspath(path))
    make_private(path)
    marker = os.path.join(path, MARKER)
    if not _is_marked(marker):
        if not _is_empty(path) and not _has_our_table(os.path.join(path, "files.sqlite")):
            raise NotOurs(
                f"{path} has files that the local Files API did not make, so it does not keep its own there: name an "
                "empty directory, or one that is not there yet (in --local DATA DIR, DATA is that one, DIR the drive)"
            )
        _mark(path, marker)
    if stat.S_IMODE(os.stat(path).st_mode) != 0o700:
        os.chmod(path, 0o700)


def _is_marked(marker: str) -> bool:
    try:
        with open(marker, "rb") as stream:
            found = _LINE.fullmatch(stream.read(100))
    except FileNotFoundError:
        return False
    if found is None:
        raise NotOurs(f"{marker} is no marker of the local Files API; name another data directory")
    if int(found[1]) > LAYOUT:
        raise NotOurs(f"the data directory {os.path.dirname(marker)} was written by a newer moonfs; update this one")
    return True


def _is_empty(path: str) -> bool:
    """Say whether nothing of anybody's is in `path`."""
    with os.scandir(path) as entries:
        return all(
            (entry.name == _LOST and entry.is_dir(follow_symlinks=False))
            or (entry.name in _LOCKS and entry.is_file(follow_symlinks=False) and entry.stat().st_size < 32)
            or (NEW.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False))
            for entry in entries
        )


def _has_our_table(database: str) -> bool:
    """Say whether `database` has the table of every earlier version; it is opened to be read only."""
    if not os.path.isfile(database):
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{_quoted(database)}?mode=ro", uri=True)) as connection:
            return {row[1] for row in connection.execute("PRAGMA table_info(files)")} >= _COLUMNS
    except sqlite3.Error:
        return False


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _mark(path: str, marker: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path, prefix=".new-")  # made 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(b"moonfs local Files API, layout %d\n" % LAYOUT)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, marker)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
