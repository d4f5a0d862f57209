"""Conflict copies: older files of a name that a newer one has, stored by several machines or left by an open outcome.

Each is visible as `stem~ID.ext` (N3). Those that nobody has touched for an hour are counted, and of these the ones that
this machine stored itself may be deleted, when a person asks for it; equal names of others are never touched (N8). An
answer to an upload of ours is what says that a file is ours; equal bytes say nothing.

**Threading:** any thread may call anything; the filesystem's lock is held while names are looked at, never during a
request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moonfs import names, wording
from moonfs.attributes import Attributes
from moonfs.errors import NotFound
from moonfs.handles import Handles
from moonfs.journal import NO_DATE
from moonfs.namespace import Namespace
from moonfs.remote import Remote as Account
from moonfs.wire import FileObject

#: Seconds for which nobody has touched a name before its older files count.
QUIET_SECONDS: Final = 3600.0
#: Files that are known to have been used lately, before those are forgotten that were not.
_MANY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict copy.

    Attributes:
        name: under which it is shown.
        file: the older file.
        ours: whether this machine has stored it.
    """

    name: str
    file: FileObject
    ours: bool


class Conflicts:
    """The conflict copies of one account."""

    def __init__(
        self,
        account: Account,
        space: Namespace,
        attributes: Attributes,
        handles: Handles,
        lock: threading.RLock,
        *,
        delete: Callable[[str], None],
    ) -> None:
        """`delete(id)` deletes a file of the account, whatever it is called."""
        self._account = account
        self._space = space
        self._attributes = attributes
        self._handles = handles
        self._lock = lock
        self._delete = delete
        self._used: dict[str, float] = {}
        self._deleted: list[str] = []

    def touch(self, file_id: str) -> None:
        """Note that somebody uses a file, or its text."""
        now = time.monotonic()
        self._used[file_id] = now
        if len(self._used) > _MANY:
            self._used = {each: when for each, when in list(self._used.items()) if now - when < QUIET_SECONDS}

    def summary(self) -> dict[str, int]:
        """Return how many there are, and how many of these are this machine's, for `status.json`; no request."""
        found = list(self._found())
        return {"copies": len(found), "ours": sum(each.ours for each in found)}

    def report(self) -> bytes:
        """Return those of this machine as JSON, and which the last `tidy` has deleted, for who reads `.moonfs/tidy`."""
        copies = [
            {
                "name": each.name,
                "id": each.file.spelt,
                "bytes": each.file.bytes,
                "stored": each.file.created_at,
                "newest": names.safe(each.file.filename),
            }
            for each in self._found()
            if each.ours
        ]
        return wording.to_json({"copies": copies, "deleted": self._deleted}, indent=2).encode() + b"\n"

    def tidy(self, written: bytes) -> None:
        """Delete the files whose ids are the lines of `written`, those that still are this machine's conflict copies.

        Raises:
            MoonfsError: the service does not list its files now, or did not delete one; what was deleted is.
        """
        asked = written.decode("ascii", "replace").split()
        self._account.relist()
        self._deleted = []
        for file_id in asked:
            if any(each.ours and each.file.id == self._account.find(file_id) for each in self._found()):
                try:
                    self._delete(file_id)
                except NotFound:  # by somebody else, this moment
                    continue
                self._deleted.append(file_id)

    def _found(self) -> Iterator[Conflict]:
        """Yield what is a conflict copy by what is known now, the oldest of each name first."""
        with self._lock:
            shown = list(self._space.stored(self._account.listing.peek()).items())
            pending = set(self._space.local)
            used = {each.file_id or each.holds for each in self._handles}
        newest: dict[str, FileObject] = {}
        for _, file in shown:
            other = newest.get(file.filename)
            if other is None or names.rank(file) > names.rank(other):
                newest[file.filename] = file
        told, now = self._account.now(), time.monotonic()
        before = (told if told > NO_DATE else time.time()) - QUIET_SECONDS
        for name, file in sorted(shown, key=lambda entry: (entry[1].filename, names.rank(entry[1]))):
            is_older = newest[file.filename] is not file and newest[file.filename].created_at <= before
            if not is_older or names.safe(file.filename) in pending or file.id in used:
                continue
            if now - self._used.get(file.id, float("-inf")) >= QUIET_SECONDS:
                yield Conflict(name, file, self._attributes.get(file.id).stored)
