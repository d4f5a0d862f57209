"""The names of the files that the service has, kept up to date by what has changed: a thousand files change one by one.

`names.assign` says what every name is. Here its answer is kept, and of a new state only those groups of equal filenames
are assigned anew that differ. Where names of different groups could meet, which takes a `~` in a filename or a name
that is too long, all are.

**Threading:** needs the lock of whoever has it.
"""

from __future__ import annotations

import itertools
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType
from typing import Final

from moonfs import names, wire
from moonfs.journal import Intent
from moonfs.wire import FileObject

#: What is in every name that is not a file's own: an alias (N3).
_MARK: Final = "~"


class Table:
    """What is shown of a listing; read it, and change nothing.

    Attributes:
        files: name → file.
        sidecars: name of a text → its file; without those whose name a file has (N4).
    """

    def __init__(self) -> None:
        self.files: dict[str, FileObject] = {}
        self.sidecars: dict[str, FileObject] = {}
        self._listed: Mapping[str, FileObject] = MappingProxyType({})
        self._hidden: Set[str] = frozenset()
        self._taken: Set[str] = frozenset()
        self._attempts: Mapping[str, list[Intent]] = {}
        # By safe filename: what is listed, by id; and what is shown of it, by name.
        self._groups: dict[str, dict[str, FileObject]] = {}
        self._shown: dict[str, dict[str, FileObject]] = {}
        self._apart = True

    def update(
        self, listed: Mapping[str, FileObject], hidden: Set[str], attempts: Iterable[Intent], taken: Set[str]
    ) -> None:
        """Show the files of `listed` (by id), less the ids `hidden` and what one of `attempts` may have made.

        Names in `taken` belong to newer files. The arguments must not change afterwards.
        """
        by_name: defaultdict[str, list[Intent]] = defaultdict(list)
        for attempt in attempts:
            by_name[attempt.name].append(attempt)
        # What an attempt may have made changes with all that is learned of it.
        groups = {*self._attempts, *by_name, *(taken ^ self._taken), *self._regroup(listed)}
        groups |= {names.safe(listed[file_id].filename) for file_id in hidden ^ self._hidden if file_id in listed}
        self._hidden, self._attempts, self._taken = hidden, by_name, taken
        if not self._apart or any(_MARK in group for group in groups) or not self._assign(groups):
            self._assign_all()

    def _regroup(self, listed: Mapping[str, FileObject]) -> set[str]:
        """Take `listed` over, and return the groups that differ."""
        old, self._listed = self._listed, listed
        if listed is old:
            return set()
        gone = [old[file_id] for file_id in old.keys() - listed.keys()]
        others = itertools.compress(listed.values(), map(operator.is_not, listed.values(), map(old.get, listed)))
        come = [file for file in others if old.get(file.id) != file]
        gone += [old[file.id] for file in come if file.id in old]
        groups = set()
        for file in gone:
            group = names.safe(file.filename)
            groups.add(group)
            del self._groups[group][file.id]
            if not self._groups[group]:
                del self._groups[group]
        for file in come:
            group = names.safe(file.filename)
            groups.add(group)
            self._groups.setdefault(group, {})[file.id] = file
        return groups

    def _visible(self, group: str) -> list[FileObject]:
        attempts = self._attempts.get(group, ())
        return [
            file
            for file in self._groups.get(group, {}).values()
            if file.id not in self._hidden and not any(attempt.may_have_made(file) for attempt in attempts)
        ]

    def _assign(self, groups: set[str]) -> bool:
        """Assign `groups` anew; return False, with that half done, where names of several groups meet."""
        gone: dict[str, FileObject] = {}
        for group in groups:
            gone |= self._shown.pop(group, {})
        come = self._give(groups)
        if not self._apart:
            return False
        for name, file in gone.items():
            del self.files[name]
            self.sidecars.pop(names.sidecar(name, file.spelt), None)
        if not self.files.keys().isdisjoint(come):
            return False
        self.files |= come
        for name, file in come.items():
            self.sidecars.pop(name, None)
            self._show_text(name, file)
        for name in gone:
            owner = name.removesuffix(names.SIDECAR)
            if owner != name and owner in self.files:
                self._show_text(owner, self.files[owner])
        return True

    def _assign_all(self) -> None:
        self._apart, self._shown, self.sidecars = True, {}, {}
        self.files = self._give(self._groups)
        for name, file in self.files.items():
            self._show_text(name, file)

    def _give(self, groups: Iterable[str]) -> dict[str, FileObject]:
        """Return the names of what is visible of `groups`, as if there were no others."""
        given = names.assign([file for group in groups for file in self._visible(group)], self._taken)
        for name, file in given.items():
            group = names.safe(file.filename)
            self._shown.setdefault(group, {})[name] = file
            sidecar = names.sidecar(name, file.spelt)
            if name not in (group, names.alias(group, file.spelt)) or sidecar != name + names.SIDECAR:
                self._apart = False  # from now on another group's names count
        return given

    def _show_text(self, name: str, file: FileObject) -> None:
        if has_text(file) and (sidecar := names.sidecar(name, file.spelt)) not in self.files:
            self.sidecars[sidecar] = file


def has_text(file: FileObject) -> bool:
    """Say whether `file` has a sidecar (N1, R4): everything but images and videos."""
    return file.purpose not in (wire.IMAGE, wire.VIDEO)
