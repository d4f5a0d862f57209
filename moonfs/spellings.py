"""Ids as the drive has them, and as the service spells them: an id and its `file_` twin are one file (DOC).

An answer may spell an id with the prefix, and the next one without it. Inside of the drive a file has one id for as
long as it runs: the spelling that came first. What an earlier run has kept under the other spelling is renamed when the
first list has come (`key`). Requests, and people, get the spelling of the latest list (`spelt`).

Where one list has both, they are two files, then and for ever after: each is meant by its own spelling alone.

It knows ids. What is kept of a file, and where, it does not know.

**Threading:** any thread may call anything.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from moonfs.wire import FileObject, Listed, bare

#: Ids that are remembered, before those go that a list has no longer.
_MANY: Final = 50_000


class Spellings:
    """The ids of one account."""

    def __init__(
        self,
        apart: Collection[str] = (),
        note: Callable[[Collection[str]], None] = lambda _apart: None,
        mixed: Callable[[str], None] = lambda _file_id: None,
    ) -> None:
        """Begin with what is known to be `apart`: what both of two ids have in common.

        `note(apart)` is told of more. `mixed(id)` is told of each id under which something may be kept of its twin.
        """
        self._lock = threading.Lock()
        self._apart = set(apart)
        self._note = note
        self._mixed = mixed
        # By what twins have in common: the id of the file, and how the latest list that had it has spelt that.
        self._keys: dict[str, str] = {}
        self._listed: dict[str, str] = {}
        # Of what an answer has told and no list yet.
        self._answered: set[str] = set()

    def key(self, file_id: str) -> str:
        """Return the id, inside of the drive, of the file that `file_id` is a spelling of; it is remembered."""
        common = bare(file_id)
        with self._lock:
            return file_id if common in self._apart else self._keys.setdefault(common, file_id)

    def find(self, file_id: str) -> str:
        """Return the same; an id that nobody knows is itself."""
        common = bare(file_id)
        with self._lock:
            return file_id if common in self._apart else self._keys.get(common, file_id)

    def spelt(self, key: str) -> str:
        """Return how requests spell an id: as the latest list that had it."""
        common = bare(key)
        with self._lock:
            return key if common in self._apart else self._listed.get(common, key)

    def is_listed(self, key: str) -> bool:
        """Say whether a list has had this id."""
        common = bare(key)
        with self._lock:
            return (key if common in self._apart else common) in self._listed

    def is_unsure(self, key: str) -> bool:
        """Say whether only an answer that is no list has told this id: a list may spell it otherwise."""
        with self._lock:
            return bare(key) in self._answered

    def listed(self, files: Listed) -> Listed:
        """Return the files of a list with the ids that they have inside of the drive."""
        commons = [bare(file.id) for file in files]
        mixed: list[str] = []
        new: set[str] = set()
        with self._lock:
            if len(set(commons)) != len(commons):
                new = {common for common, count in Counter(commons).items() if count > 1} - self._apart
                before = {common: self._keys.get(common) for common in new}
                mixed = [common for common in new if self._listed.get(common, before[common]) != before[common]]
                self._apart |= new
            self._answered.difference_update(commons)
            if len(self._keys) > _MANY:
                self._forget_others(commons)
            told = [self._told(file, common) for file, common in zip(files, commons, strict=True)]
        if new:
            self._note(new)
        for file in told:
            if file.apart and bare(file.id) in mixed:
                self._mixed(file.id)
        return Listed(told, horizon=files.horizon, pages=files.pages)

    def answered(self, file: FileObject) -> FileObject:
        """Return a file that an answer describes which is no list, with the id that it has inside of the drive."""
        common = bare(file.id)
        with self._lock:
            if common in self._apart:
                return replace(file, apart=True)
            key = self._keys.setdefault(common, file.id)
            if common not in self._listed:
                self._answered.add(common)
            return self._as(file, key, self._listed.get(common, file.id))

    def _told(self, file: FileObject, common: str) -> FileObject:
        """Return a file of a list, and note how that spells its id; the lock must be held."""
        if common in self._apart:
            self._listed[file.id] = file.id
            return replace(file, apart=True)
        self._listed[common] = file.id
        return self._as(file, self._keys.setdefault(common, file.id), file.id)

    @staticmethod
    def _as(file: FileObject, key: str, spelt: str) -> FileObject:
        if file.id == key == spelt:
            return file
        return replace(file, id=key, listed_as="" if spelt == key else spelt)

    def _forget_others(self, commons: Collection[str]) -> None:
        """Forget the ids that a list has no longer; the lock must be held."""
        self._keys = {common: self._keys[common] for common in commons if common in self._keys}
        self._listed = {common: self._listed[common] for common in commons if common in self._listed}
