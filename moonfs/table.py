"""The names of the files that the service has, kept up to date by what has changed: a thousand files change one by one.

`names.assign` says what every name is. Here its answer is kept, and of a new state only those files are named anew that
have changed, and with each the one that becomes, or was, the newest of its name: so a thousand files of one name change
one by one too. Where names of different files meet, which takes a filename that is made like an alias, all are.

**Threading:** needs the lock of whoever has it.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from moonfs import names, wire
from moonfs.journal import Intent
from moonfs.wire import FileObject


@dataclass(slots=True)
class _Group:
    """The files of one filename, as it is on the drive.

    Attributes:
        listed: what the service has of it, by id.
        ages: the rank of those of it that are shown, by id (`names.rank`).
        order: the same as (rank, id), sorted: the first of them is the last.
        bare: the id that has the bare name (N3); empty where none has it.
    """

    listed: dict[str, FileObject] = field(default_factory=dict)
    ages: dict[str, tuple[bool, int, str, str]] = field(default_factory=dict)
    order: list[tuple[tuple[bool, int, str, str], str]] = field(default_factory=list)
    bare: str = ""

    def show(self, file: FileObject) -> None:
        self.ages[file.id] = names.rank(file)
        bisect.insort(self.order, (self.ages[file.id], file.id))

    def hide(self, file_id: str) -> None:
        del self.order[bisect.bisect_left(self.order, (self.ages.pop(file_id), file_id))]


class _MetError(Exception):
    """Names of different files meet."""


class Table:
    """What is shown of a listing; read it, and change nothing.

    Attributes:
        files: name → file.
        sidecars: name of a text → its file; without those whose name a file has (N4).
        named: id → name of the same files.
    """

    def __init__(self) -> None:
        self.files: dict[str, FileObject] = {}
        self.sidecars: dict[str, FileObject] = {}
        self.named: dict[str, str] = {}
        self._texts: dict[str, FileObject] = {}  # as `sidecars`, and those whose name a file has
        self._listed: Mapping[str, FileObject] = MappingProxyType({})
        self._hidden: Set[str] = frozenset()
        self._taken: Set[str] = frozenset()
        self._attempts: Mapping[str, list[Intent]] = {}
        self._groups: dict[str, _Group] = {}  # by safe filename
        self._apart = True

    def update(
        self,
        listed: Mapping[str, FileObject],
        hidden: Set[str],
        attempts: Iterable[Intent],
        taken: Set[str],
        *,
        numbers: bool = False,
    ) -> None:
        """Show the files of `listed` (by id), less the ids `hidden` and what one of `attempts` may have made.

        Names in `taken` belong to newer files. `numbers`: what was made may have got a number in its name (W4). The
        arguments must not change afterwards.
        """
        by_name: defaultdict[str, list[Intent]] = defaultdict(list)
        takers: list[Intent] = []
        for attempt in attempts:
            by_name[attempt.name].append(attempt)
            if numbers and attempt.taken:
                takers.append(attempt)
        changed = self._regroup(listed)
        if takers:
            for group in self._groups:
                if found := [attempt for attempt in takers if names.is_numbered(attempt.name, group)]:
                    by_name[group] += found
        for file_id in hidden ^ self._hidden:
            if file_id in listed:
                changed[names.safe(listed[file_id].filename)].add(file_id)
        # What an attempt may have made changes with all that is learned of it.
        for name in {*self._attempts, *by_name} & self._groups.keys():
            changed[name] |= self._groups[name].listed.keys()
        for name in taken ^ self._taken:
            changed[name] |= set()  # the bare name comes or goes
        newly_taken = taken - self._taken
        self._hidden, self._attempts, self._taken = hidden, by_name, taken
        try:
            if not self._apart:
                raise _MetError
            self._rename(changed)
            if not self.files.keys().isdisjoint(newly_taken):
                raise _MetError
        except _MetError:
            self._assign_all()

    def _regroup(self, listed: Mapping[str, FileObject]) -> defaultdict[str, set[str]]:
        """Take `listed` over, and return the ids that differ, by group."""
        changed: defaultdict[str, set[str]] = defaultdict(set)
        old, self._listed = self._listed, listed
        if listed is old:
            return changed
        gone = [old[file_id] for file_id in old.keys() - listed.keys()]
        others = itertools.compress(listed.values(), map(operator.is_not, listed.values(), map(old.get, listed)))
        come = [file for file in others if old.get(file.id) != file]
        gone += [old[file.id] for file in come if file.id in old]
        for file in gone:
            group = names.safe(file.filename)
            changed[group].add(file.id)
            del self._groups[group].listed[file.id]
        for file in come:
            group = names.safe(file.filename)
            changed[group].add(file.id)
            self._groups.setdefault(group, _Group()).listed[file.id] = file
        return changed

    def _is_shown(self, group: str, file: FileObject | None) -> bool:
        if file is None or file.id in self._hidden:
            return False
        return not any(attempt.may_have_made(file, numbers=True) for attempt in self._attempts.get(group, ()))

    def _rename(self, changed: Mapping[str, Set[str]]) -> None:
        """Name the files anew that have changed, by group and id; with that half done where names meet.

        Raises:
            _MetError: they do.
        """
        come: list[tuple[str, FileObject]] = []
        groups = [(name, self._groups[name], ids) for name, ids in changed.items() if name in self._groups]
        for name, group, ids in groups:
            for file_id in ids:
                file = group.listed.get(file_id)
                was, shown = file_id in group.ages, self._is_shown(name, file)
                if was == shown and not (shown and self.files[self.named[file_id]] != file):
                    continue
                if was:
                    group.hide(file_id)
                    self._drop(file_id)
                if shown and file is not None:
                    come.append((name, file))
        for name, file in come:
            self._groups[name].show(file)
        for name, group, _ in groups:
            bare = group.order[-1][1] if group.order and name not in self._taken else ""
            if bare != group.bare:
                for file_id in (group.bare, bare):  # the one that was the newest, and the one that is
                    if file_id in group.ages and file_id in self.named:
                        come.append((name, group.listed[file_id]))
                        self._drop(file_id)
                group.bare = bare
            if not group.listed:
                del self._groups[name]
        for name, file in come:
            self._give(name if file.id == self._groups[name].bare else names.alias(name, file.spelt), file)

    def _give(self, name: str, file: FileObject) -> None:
        if name in self.files or name in self._taken:
            raise _MetError
        self.files[name] = file
        self.named[file.id] = name
        self.sidecars.pop(name, None)
        if has_text(file):
            text = names.sidecar(name, file.spelt)
            if text in self._texts:
                raise _MetError
            self._texts[text] = file
            if text not in self.files:
                self.sidecars[text] = file

    def _drop(self, file_id: str) -> None:
        name = self.named.pop(file_id)
        file = self.files.pop(name)
        if has_text(file):
            text = names.sidecar(name, file.spelt)
            del self._texts[text]
            self.sidecars.pop(text, None)
        if name in self._texts:
            self.sidecars[name] = self._texts[name]

    def _assign_all(self) -> None:
        self._groups = {name: group for name, group in self._groups.items() if group.listed}
        shown = []
        for name, group in self._groups.items():
            group.ages, group.order = {}, []
            for file in group.listed.values():
                if self._is_shown(name, file):
                    shown.append(file)
                    group.show(file)
            group.bare = group.order[-1][1] if group.order and name not in self._taken else ""
        self.files = names.assign(shown, self._taken)
        self.named = {file.id: name for name, file in self.files.items()}
        texts = [(names.sidecar(name, file.spelt), file) for name, file in self.files.items() if has_text(file)]
        self._texts = dict(texts)
        self.sidecars = {name: file for name, file in texts if name not in self.files}
        usual = all(
            name in (bare := names.safe(file.filename), names.alias(bare, file.spelt))
            for name, file in self.files.items()
        )
        self._apart = usual and len(texts) == len(self._texts)


def has_text(file: FileObject) -> bool:
    """Say whether `file` has a sidecar (N1, R4): everything but images and videos."""
    return file.purpose not in (wire.IMAGE, wire.VIDEO)
