"""What every name on the drive means: the remote listing with what is local laid over it (N1), by purpose too (N5).

It answers look-ups and lists names. It changes nothing on the service, opens nothing and knows no handles.

Layers, first match wins: local files; remote files (N2, N3), less those that a local file hides or that are being
deleted; sidecars (N1), which a real file of that name hides (N4), those of files on their way to the service too.

There is one set of names. A purpose's directory shows those of its files, and what is `staged`: a file that is being
written there under the name of one with another purpose, and takes that one's place when its bytes are safe.

**Threading:** every method needs the filesystem's lock, except `purpose_of` and `changed_at`; the functions are pure,
some with a memo.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from moonfs import names, wire
from moonfs.errors import NotFound, ReadOnly
from moonfs.journal import Intent
from moonfs.listing import Snapshot
from moonfs.localfile import LocalFile
from moonfs.readahead import Listed, Orders
from moonfs.table import Table, has_text
from moonfs.wire import FileObject

#: Seconds for which a process that deleted a file may still delete its sidecar (W10).
GHOST_SECONDS: Final = 120.0
_GHOSTS: Final = 4096
#: In place of a process: every one may delete the ghost.
ANYBODY: Final = -1


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that the service has."""

    name: str
    file: FileObject


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The text of a file that the service has."""

    name: str
    file: FileObject


@dataclass(frozen=True, slots=True)
class Awaited:
    """The text of a local file that is on its way to the service: there is a name, and no text yet."""

    name: str
    local: LocalFile


Entry = Remote | Sidecar | Awaited | LocalFile


class Namespace:
    """The names of one account's drive.

    Attributes:
        local: the local files by name.
        staged: local files that are to take a name's place, by purpose and name.
        kept: the versions before of names whose next ones are on their way, where they had to make way (W4).
        disowned: uploads that nobody wants any more, by spool file; what they leave is not shown.
        numbers: says whether the service is known to number names that are taken (W4).
        on_change: called when a name means something else than before; it takes no lock that others hold for long.
    """

    def __init__(self, purpose: str = names.AUTO) -> None:
        """`purpose` is what the mount says (W11)."""
        self._purpose = purpose
        self.local: dict[str, LocalFile] = {}
        self.staged: dict[tuple[str, str], LocalFile] = {}
        self.kept: dict[str, LocalFile] = {}
        self.disowned: dict[str, Intent] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.numbers: Callable[[], bool] = lambda: False
        self._doomed: set[str] = set()
        self._changes = 0
        self.changed_ns = time.time_ns()
        self._version = 0
        self._key: tuple[int, int] | None = None
        self._table = Table()
        self._ghosts: dict[str, tuple[int, float]] = {}
        self._ordered: tuple[int, int] | None = None
        self._orders = Orders(())

    def resolve(self, snapshot: Snapshot, name: str, purpose: str = "", /) -> Entry:
        """Return what `name` is; with `purpose`, in the directory of that purpose.

        Raises:
            NotFound: nothing.
        """
        if purpose:
            staged = self.staged.get((purpose, name))
            entry = staged or self.resolve(snapshot, name)
            if staged is None and self.purpose_of(entry) != purpose:
                raise NotFound(f"No such file: {name} has another purpose than {purpose}.")
            return entry
        local = self.local.get(name)
        if local is not None:
            return local
        table = self._current(snapshot)
        if (file := table.files.get(name)) is not None:
            return Remote(name, file)
        if (file := table.sidecars.get(name)) is not None:
            return Sidecar(name, file)
        if (file := self._stored_sidecar(name)) is not None:
            return Sidecar(name, file)
        if (local := self._awaited(name)) is not None:
            return Awaited(name, local)
        if "~" in name:
            return self._resolve_alias(table, name)
        raise NotFound(f"No such file: {name}")

    def by_id(self, snapshot: Snapshot, name: str, _purpose: str = "", /) -> Entry:
        """Return the file or the text whose id `name` is, as `resolve` does for names (N5).

        Also one that a local file hides, or an equal name; whatever its purpose is, and however its id is spelt.

        Raises:
            NotFound: no such file, or it is deleted, or will be.
        """
        file = _of_id(snapshot, name)
        if file is not None and file.id not in self._doomed:
            return Remote(name, file)
        file = _of_id(snapshot, name.removesuffix(names.SIDECAR))
        if file is not None and name.endswith(names.SIDECAR) and has_text(file) and file.id not in self._doomed:
            return Sidecar(name, file)
        raise NotFound(f"No such file: {name}")

    def holder(self, file_id: str) -> LocalFile | None:
        """Return the local file, open now, whose bytes the service has as `file_id`, if there is one."""
        for local in self.local.values():
            if local.clean and local.current is not None and local.current.id == file_id:
                return local
        return None

    def ids(self, snapshot: Snapshot, *, sidecars: bool) -> list[str]:
        """Return every name of `by_id`, in order, as the list spells it."""
        shown = [file for file in snapshot.files.values() if file.id not in self._doomed]
        found = {file.spelt for file in shown}
        if sidecars:
            found |= {file.spelt + names.SIDECAR for file in shown if has_text(file)}
        return sorted(found)

    def entries(self, snapshot: Snapshot, *, sidecars: bool, purpose: str = "") -> list[str]:
        """Return every name, in order; with `purpose`, those in the directory of that purpose."""
        table = self._current(snapshot)
        shown: dict[str, FileObject | LocalFile] = {}
        if sidecars:
            shown |= table.sidecars
            shown |= self._stored_sidecars(self.local.values())
            shown |= self.awaited(snapshot)
        shown |= table.files
        shown |= self.local
        if not purpose:
            return sorted(shown)
        found = {name for name, file in shown.items() if self._purpose_of(file) == purpose}
        return sorted(found | {name for each, name in self.staged if each == purpose})

    def purpose_of(self, entry: Entry) -> str:
        """Return the purpose that a file has, or will have; empty where that cannot be told (W6, N6)."""
        if isinstance(entry, Awaited):
            return self._purpose_of(entry.local)
        return self._purpose_of(entry if isinstance(entry, LocalFile) else entry.file)

    def chosen_purpose(self, file: FileObject) -> str:
        """Return a stored file's purpose where it was chosen, or found by trying: the name leads to another (W11)."""
        usual = names.purposes(names.safe(file.filename), self._purpose)[0]
        return "" if file.purpose == usual or file.purpose not in wire.PURPOSES else file.purpose

    def _purpose_of(self, file: FileObject | LocalFile) -> str:
        if isinstance(file, FileObject):
            return file.purpose
        if file.clean and file.current is not None:
            return file.current.purpose
        if file.purpose or file.stays_local:
            return file.purpose
        return names.purposes(file.name, self._purpose)[0]

    def orders(self, snapshot: Snapshot) -> Orders:
        """Return the texts that can be read, in the orders in which a reader may come by (R3)."""
        table = self._current(snapshot)
        if self._ordered != self._key:
            self._ordered = self._key
            self._orders = Orders(
                [
                    Listed(name, names.extension(name.removesuffix(names.SIDECAR)), file.id, file.bytes)
                    for name, file in table.sidecars.items()
                    if file.status != wire.STATUS_ERROR and file.status not in wire.STATUS_WAITING
                ]
            )
        return self._orders

    def stored(self, snapshot: Snapshot) -> dict[str, FileObject]:
        """Return the files that the service has and the root shows, by name; without those that a local file hides."""
        return dict(self._current(snapshot).files)

    def shown_names(self, snapshot: Snapshot, ids: Iterable[str]) -> dict[str, str]:
        """Return the names under which the files of these ids are shown, by id; those that are hidden left out."""
        wanted = set(ids)
        named = self._current(snapshot).named if wanted else {}
        return {file_id: named[file_id] for file_id in wanted if file_id in named}

    def texts(self, snapshot: Snapshot) -> dict[str, FileObject]:
        """Return the file behind each sidecar, by the sidecar's name."""
        return {**self._current(snapshot).sidecars, **self._stored_sidecars(self.local.values())}

    def awaited(self, snapshot: Snapshot) -> dict[str, LocalFile]:
        """Return the file behind each sidecar whose text is to come, by the sidecar's name."""
        self._current(snapshot)
        found = {awaited_name(local): local for local in self.local.values() if self.awaits_text(local)}
        return {name: local for name, local in found.items() if name and not self._is_file(name)}

    def awaits_text(self, local: LocalFile) -> bool:
        """Say whether the newest bytes of a local file are to have a text, which is not there yet (N1).

        Not what is stored, or stays here; not what is for another purpose, nor a new file that nobody has closed yet.
        """
        if (
            local.unlinked
            or local.clean
            or local.stays_local
            or not (local.committed or local.growing or local.replaces)
        ):
            return False
        return self._purpose_of(local) == wire.FILE_EXTRACT

    def is_sidecar(self, snapshot: Snapshot, name: str) -> bool:
        """Say whether `name` is a sidecar now (N4)."""
        if name in self.local:
            return False
        stored = name in self._current(snapshot).sidecars or self._stored_sidecar(name) is not None
        return stored or self._awaited(name) is not None

    def check_new(self, snapshot: Snapshot, name: str) -> None:
        """Refuse to make a file of the name of a sidecar (N4).

        Raises:
            ReadOnly: it is one.
        """
        if self.is_sidecar(snapshot, name):
            raise ReadOnly(f"{name} shows the text of a file and cannot be written; choose another name.")

    def put(self, local: LocalFile) -> None:
        """Show `local` under its name and hide what it replaces."""
        self.changed_ns = time.time_ns()
        self.local[local.name] = local
        if local.replaces:
            self._changes += 1
        self.on_change()

    def stage(self, purpose: str, name: str, local: LocalFile) -> None:
        """Show `local` as `name` in the directory of `purpose` only, until it is moved or dropped."""
        self.staged[purpose, name] = local
        self.changed_ns = time.time_ns()

    def staged_name(self, local: LocalFile) -> str | None:
        """Return the name whose place `local` is to take, or None where it is not staged."""
        return next((name for (_, name), other in self.staged.items() if other is local), None)

    def move(self, local: LocalFile, name: str) -> LocalFile | None:
        """Show `local` under `name` instead; return the local file that had it, if any."""
        self._unstage(local)
        if self.local.get(local.name) is local:
            del self.local[local.name]
        superseded = self.local.get(name)
        local.name = name
        self.local[name] = local
        self.changed()
        return None if superseded is local else superseded

    def drop(self, local: LocalFile) -> None:
        """Show `local` no longer; what it hid comes back unless it is doomed."""
        self._unstage(local)
        if self.local.get(local.name) is local:
            del self.local[local.name]
            self.changed()

    def doom(self, ids: frozenset[str]) -> None:
        """Hide `ids` for good: they are deleted, or will be."""
        if not ids <= self._doomed:
            self._doomed |= ids
            self.changed()

    def held_under(self, name: str, beside: LocalFile | None) -> frozenset[str]:
        """Return the stored files that others than `beside` hold, and that had `name` before (W9)."""
        others = (other for other in self.local.values() if other.held and other is not beside)
        return frozenset(file_id for other in others for file_id, had in other.held.items() if had == name)

    def is_wanted(self, name: str) -> bool:
        """Say whether a file here, or an upload that was given up, has this name; any thread may ask."""
        return name in self.local or any(left.name == name for left in tuple(self.disowned.values()))

    def renamed_away(self, beside: LocalFile) -> frozenset[str]:
        """Return the stored files that go once others than `beside` are stored, whose bytes are promised (W2, W9)."""
        others = (*self.local.values(), *self.staged.values())
        promised = (other for other in others if other is not beside and other.committed and not other.failed)
        return frozenset().union(*(other.replaces for other in promised))

    def let_go(self, ids: frozenset[str], beside: LocalFile | None = None) -> None:
        """Let no file but `beside` hold `ids` any more (W9)."""
        for other in self.local.values():
            if other is not beside and not ids.isdisjoint(other.held):
                other.held = {file_id: name for file_id, name in other.held.items() if file_id not in ids}
                other.replaces -= ids
                self.changed()

    def own(self, name: str, file_id: str) -> None:
        """Say that `file_id` was stored under `name` on purpose: no other upload has made it, so it shows again."""
        self._doomed.discard(file_id)
        locals_ = (*self.local.values(), *self.kept.values(), *self.staged.values())
        attempts = [local.attempt for local in locals_ if local.attempt is not None]
        for other in (*self.disowned.values(), *attempts):
            if other.name == name or names.is_numbered(other.name, name):
                other.known |= {file_id}
        self.changed()

    def is_doomed(self, file_id: str) -> bool:
        """Say whether `file_id` is deleted, or will be."""
        return file_id in self._doomed

    def changed(self) -> None:
        """Say that some `replaces` has changed."""
        self._changes += 1
        self.changed_ns = time.time_ns()
        self.on_change()

    def changed_at(self, snapshot: Snapshot) -> int:
        """Return when names changed last, in nanoseconds since 1970; what others did, when it was first seen (A1)."""
        if snapshot.version != self._version:
            self._version = snapshot.version
            self.changed_ns = time.time_ns()
        return self.changed_ns

    def leave_ghost(self, name: str, group: int) -> None:
        """Let the process `group`, which has deleted the file, delete its sidecar `name` too (W10); or `ANYBODY`."""
        now = time.monotonic()
        self._ghosts = {key: ghost for key, ghost in self._ghosts.items() if ghost[1] > now}
        while len(self._ghosts) >= _GHOSTS:
            del self._ghosts[next(iter(self._ghosts))]
        self._ghosts[name] = (group, now + GHOST_SECONDS)

    def is_ghost(self, name: str, group: int) -> bool:
        """Say whether `name` is a sidecar that has gone with its file, and `group` may delete all the same."""
        ghost = self._ghosts.get(name)
        return ghost is not None and ghost[0] in (group, ANYBODY) and ghost[1] > time.monotonic()

    @property
    def has_ghosts(self) -> bool:
        """Whether there are any: spares the common look-up the question who asks."""
        return bool(self._ghosts)

    def bury_ghost(self, name: str) -> None:
        """Forget the ghost `name`."""
        self._ghosts.pop(name, None)

    def _unstage(self, local: LocalFile) -> None:
        self.staged = {key: other for key, other in self.staged.items() if other is not local}

    def _stored_sidecar(self, name: str) -> FileObject | None:
        """Return the file whose text `name` is, where it is one of `_stored_sidecars`."""
        if not name.endswith(names.SIDECAR):
            return None
        if "~" in name:  # it may have been cut
            return self._stored_sidecars(self.local.values()).get(name)
        local = self.local.get(name.removesuffix(names.SIDECAR))
        return None if local is None else self._stored_sidecars([local]).get(name)

    def _stored_sidecars(self, among: Iterable[LocalFile]) -> dict[str, FileObject]:
        """Return the sidecars of local files that the service has by now and that are still open here."""
        found = {}
        for local in among:
            file = local.current
            if file is not None and local.clean and not local.unlinked and has_text(file):
                sidecar = names.sidecar(local.name, file.spelt)
                if sidecar not in self.local and sidecar not in self._table.files:
                    found[sidecar] = file
        return found

    def _awaited(self, name: str) -> LocalFile | None:
        """Return the local file whose text `name` is to show, if there is one."""
        if not name.endswith(names.SIDECAR) or self._is_file(name):
            return None
        local = self.local.get(name.removesuffix(names.SIDECAR))
        return local if local is not None and self.awaits_text(local) else None

    def _is_file(self, name: str) -> bool:
        return name in self.local or name in self._table.files

    def _current(self, snapshot: Snapshot) -> Table:
        key = (snapshot.version, self._changes)
        if key != self._key:
            hidden = self._doomed.union(*(local.replaces for local in self.local.values()))
            locals_ = (*self.local.values(), *self.kept.values())
            attempts = [each for local in locals_ if (each := local.attempt) is not None and each.is_open]
            attempts += self.disowned.values()
            self._table.update(snapshot.files, hidden, attempts, set(self.local), numbers=self.numbers())
            self._key = key
        return self._table

    def _resolve_alias(self, table: Table, name: str) -> Entry:
        """Find a file by `stem~<id>.ext` even when it has the bare name by now (W10: `rm *` over duplicates)."""
        for found in names.ids_in(name):
            for file_id in (found, wire.twin(found)):
                if file_id in table.named and (entry := self._aliased(table.files[table.named[file_id]], name)):
                    return entry
        raise NotFound(f"No such file: {name}")

    @staticmethod
    def _aliased(file: FileObject, name: str) -> Entry | None:
        """Return what `name` is of `file`: an alias of it, or that of its text, by either spelling of its id."""
        for spelt in (file.spelt,) if file.apart else (file.spelt, wire.twin(file.spelt)):
            alias = names.alias(names.safe(file.filename), spelt)
            if name == alias:
                return Remote(name, file)
            if name == names.sidecar(alias, spelt) and has_text(file):
                return Sidecar(name, file)
        return None


def awaited_name(local: LocalFile) -> str:
    """Return the sidecar's name of a file on its way; empty where it is cut, since then the id is to be in it (N1)."""
    name = local.name + names.SIDECAR
    return name if len(name.encode("utf-8", "surrogateescape")) <= names.MAX_BYTES else ""


def _of_id(snapshot: Snapshot, spelt: str) -> FileObject | None:
    """Return the file that an id means, or its twin where that is the same file."""
    file = snapshot.files.get(spelt)
    if file is None and (other := snapshot.files.get(wire.twin(spelt))) is not None and not other.apart:
        return other
    return file


@functools.lru_cache(maxsize=1024)
def inode_of(file_id: str) -> int:
    """Return the inode number of a remote file: the same on every machine and mount (A1)."""
    return _number(b"file:" + file_id.encode())


@functools.lru_cache(maxsize=1024)
def sidecar_inode(inode: int | str) -> int:
    """Return the inode number of the sidecar of a file with this one, which both keep through overwrite and upload."""
    return _number(f"text:{inode}".encode("utf-8", "surrogateescape"))


def _number(seed: bytes) -> int:
    # 53 bits, which every tool and every JSON reader can hold; the low numbers are the root's and the control files'.
    return (int.from_bytes(hashlib.blake2b(seed, digest_size=7).digest(), "big") & (2**53 - 1)) | 2**32
