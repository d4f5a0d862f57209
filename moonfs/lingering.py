"""What a path goes on showing while it is read, after somebody else has put another version there (tenet 3, L4).

libfuse's node is the path, so that the kernel has one size for all that is open on it. A `stat` that shows the size of
the new version cuts off whoever is in the middle of a read(2) of the old one, or puts zeros at the end of what they
read. So a path on which the old version is open shows that to all, for `LINGER` seconds after the listing has learned
of the new one; most readers need no more to come to the end. In the last `DRAIN` of them who opens it waits, or the old
version would have readers without end. It is about what others have changed. Changes made here show at once: a text has
no name then for as long as the upload takes, and its readers have that time.

**Threading:** any thread may call `open`; `behind` and `closed` need the filesystem's lock.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from moonfs.attributes import Attributes
from moonfs.handles import Handle, Handles, Opened, original_of
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Entry, Namespace, Remote

#: Seconds for which an old version goes on showing.
LINGER: Final = 2.0
#: The last of them, in which it gets no new readers.
DRAIN: Final = 0.5


class Lingering:
    """The old versions that linger on one mount."""

    def __init__(
        self, handles: Handles, listing: Listing, space: Namespace, attributes: Attributes, lock: threading.RLock
    ) -> None:
        """`lock` is the filesystem's, which guards `handles` and `space`."""
        self._handles = handles
        self._listing = listing
        self._space = space
        self._attributes = attributes
        self._released = threading.Condition(lock)

    def behind(self, path: str, entry: Entry) -> Handle | None:
        """Return the open handle whose version `path` shows instead of `entry`, if there is one."""
        there = self._handles.by_path.get(path)
        if there is None or isinstance(entry, LocalFile):
            return None
        if isinstance(entry, Awaited):
            return next(reversed(there.values()))
        new = holds(entry)
        if any(handle.holds == new for handle in there.values()):
            return None
        newest = next(reversed(there.values()))
        return newest if self._left(newest, entry) > 0 else None

    def open(self, path: str, entry: Entry) -> Opened | None:
        """Open for reading what `path` shows instead of `entry`, or return None, at once or when it lingers no more.

        Raises:
            OSError: no descriptor is left.
        """
        if path not in self._handles.by_path:  # as nearly always
            return None
        with self._released:
            older = self.behind(path, entry)
            if older is None or older.attr is None or older.local is not None:
                return None
            left = self._left(older, entry)
            if left <= DRAIN:
                self._released.wait_for(lambda: self.behind(path, entry) is None, left)
                return None
            fd = os.dup(older.fd) if older.fd >= 0 else -1
            shared = Handle(older.name, body=older.body, fd=fd, attr=older.attr, file_id=older.file_id)
            return self._handles.open(path, older.holds, shared, immutable=older.attr.size > 0)

    def closed(self) -> None:
        """Say that a handle was released."""
        self._released.notify_all()

    def _left(self, older: Handle, entry: Entry) -> float:
        """Return for how many seconds what `older` holds goes on showing instead of `entry`; 0 or less: no more."""
        if not older.file_id or isinstance(entry, LocalFile | Awaited) or self._space.is_doomed(older.file_id):
            return 0.0
        if self._attributes.get(entry.file.id).sha256 is not None:  # uploaded from here
            return 0.0
        return LINGER - self._listing.replaced_since(older.file_id, entry.file.id)


def holds(entry: Entry) -> str:
    """Return what tells the bytes of an entry from all others that may be under its path (N4)."""
    if isinstance(entry, LocalFile | Awaited):
        return str(id(entry))
    return original_of(entry.file.id) if isinstance(entry, Remote) else entry.file.id
