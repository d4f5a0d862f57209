"""What the drive is: every promise of its contract, in domain types. No errno, no FUSE.

`operations` translates the kernel's requests into these calls; tests may call them directly. One lock guards the
names and the table of handles; it is never held during a request to the service, so a stuck upload never blocks a
`stat` (E2).

The way of a written file: `create` or `open` makes a `LocalFile` over a spool file; `flush` and `fsync` store its
newest generation through the journal and the uploader (W1) and end when the service has it; the last `release`
moves the bytes to the store of originals (R5), and the remote file takes the name over. What stays local (W6, N6)
is journaled instead.

**Threading:** any thread may call anything. Lock order: `_lock`, then `LocalFile.lock`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable

from moonfs import names, places, wire
from moonfs.ahead import Ahead
from moonfs.attributes import Attributes
from moonfs.awaiting import Awaiting
from moonfs.closes import Closes
from moonfs.conflicts import Conflicts
from moonfs.control import PREFETCH, REFRESH, TIDY, Control
from moonfs.errors import (
    AlreadyExists,
    BytesNotHere,
    Litter,
    MoonfsError,
    NotFound,
    NotPermitted,
    OnlyLooked,
    QuotaExceeded,
    ReadOnly,
)
from moonfs.handles import Attr, Handle, Handles, Opened
from moonfs.journal import Journal
from moonfs.lingering import Lingering, holds
from moonfs.localfile import LocalFile, not_here
from moonfs.namespace import Awaited, Entry, Namespace, Remote, Sidecar, sidecar_inode
from moonfs.openers import Opener
from moonfs.originals import Originals
from moonfs.overlay import Overlay
from moonfs.overview import overview
from moonfs.places import Place, locate
from moonfs.remote import EXTRACTION_WAIT
from moonfs.remote import Remote as Account
from moonfs.removals import Insisting, Removals
from moonfs.renames import Renames
from moonfs.room import Quota, Room
from moonfs.settings import Settings
from moonfs.shown import Shown
from moonfs.spool import Spool
from moonfs.versions import Versions

log = logging.getLogger(__name__)


class Filesystem:
    """One account as a flat directory, and `.moonfs` in it."""

    def __init__(
        self,
        account: Account,
        *,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        originals: Originals,
        attributes: Attributes,
        control: dict[str, Callable[[], bytes]] | None = None,
        switches: dict[str, Callable[[bytes], None]] | None = None,
        report: Callable[[str, MoonfsError], None] = lambda _name, _error: None,
        arrived: Callable[[str], None] = lambda _name: None,
        errno_name: Callable[[MoonfsError], str] = lambda error: type(error).__name__,
    ) -> None:
        """Wire the parts.

        `control` names the files of `.moonfs/` and what makes their bytes, `switches` those that can be written to and
        what that does (N5); `report(name, error)` is told of uploads that fail in the background (E1), `arrived(name)`
        of all that do not fail; `errno_name(error)` is what status calls an error.
        """
        self._account = account
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._originals = originals
        self._attributes = attributes
        self._errno_name = errno_name
        self._lock = threading.RLock()
        self._space = Namespace(settings.purpose)
        self._handles = Handles()
        self._lingering = Lingering(self._handles, account.listing, self._space, attributes, self._lock)
        self._room = Room(
            account.listing,
            self._space,
            self._lock,
            max_files=settings.max_files,
            max_bytes=settings.max_total_bytes,
            left_out=lambda: account.left_out,
        )
        self._ahead = Ahead(account, self._space, self._lock, most=settings.requests)
        self._conflicts = Conflicts(
            account,
            self._space,
            attributes,
            self._handles,
            self._lock,
            delete=lambda file_id: self.unlink(f"/{places.BY_ID}/{file_id}", lambda: 0),
        )
        self._control = Control(
            {
                **(control or {}),
                REFRESH: lambda: b"",
                PREFETCH: self._ahead.report,
                TIDY: self._conflicts.report,
            },
            {
                **(switches or {}),
                REFRESH: lambda _written: account.listing.expire(),
                PREFETCH: self._ahead.ask,
                TIDY: self._conflicts.tidy,
            },
            private=settings.control != "all",
        )
        self._shown = Shown(attributes, originals)
        self._overlay = Overlay(
            self._space, self._shown, self._handles, spool=spool, attributes=attributes, originals=originals
        )
        self._versions = Versions(
            account,
            self._space,
            self._room,
            self._lock,
            settings=settings,
            spool=spool,
            journal=journal,
            originals=originals,
            attributes=attributes,
            report=report,
            give_back=self._overlay.give_back,
            succeed=self._overlay.succeed,
        )
        self._versions.uploader.on_arrival = arrived
        self._awaiting = Awaiting(
            self._lock, self._space, settled=lambda: self._versions.settled, outage=account.traffic.outage
        )
        self._renames = Renames(
            account.listing,
            self._space,
            self._versions,
            self._lock,
            handles=self._handles,
            overlay=self._overlay,
            room=self._room,
        )
        self._closes = Closes(self._space, self._handles, self._versions, self._renames, self._lock)
        self._insisting = Insisting()
        self._removals = Removals(
            account.listing, self._space, self._versions, self._lock, write_back=settings.write_back
        )

    # Life cycle

    def recover(self) -> None:
        """Take up what an earlier run left; call once, before the first request."""
        self._versions.recover()

    def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing is pending (L2); say whether that came."""
        deadline = time.monotonic() + timeout
        self._closes.release_all()
        while self.busy():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def promise(self) -> tuple[list[str], list[str]]:
        """Keep on this disk what is being written, as a close in write-back would, for the next mount (L2).

        Nobody waits for the service. Return the names of what is kept for it, and of what could not be kept.
        """
        kept, lost = [], []
        with self._lock:
            written = self._handles.being_written()
        for local in written:
            try:
                if self._versions.promise(local):
                    kept.append(local.name)
                elif local.size:  # as in `flush`
                    self._closes.keep(local)
            except (MoonfsError, OSError) as error:
                log.warning("%s cannot be kept: %s", local.name, error)
                lost.append(local.name)
        return kept, lost

    def busy(self) -> bool:
        """Say whether uploads or deletions are waiting or under way."""
        with self._lock:
            # An upload under way of what was deleted meanwhile has a deletion yet to come (W8).
            under_way = bool(self._versions.pending() or self._versions.doubts) or self._versions.uploader.active > 0
            return under_way or bool(self._journal.deletions())

    def close(self) -> None:
        """Stop the uploader and close every descriptor; what is unfinished stays in the journal."""
        self._awaiting.close()
        self._ahead.close()
        self._versions.close()
        with self._lock:
            self._handles.clear()
            for local in [*self._space.local.values(), *self._space.staged.values()]:
                local.rest()

    # Names and attributes

    def getattr(self, path: str | None, handle: int | None = None, group: Callable[[], int] | None = None) -> Attr:
        """Return what `stat` shows of `path`; nothing is fetched for it but an expired listing (A2).

        `handle` names an open file whose name may be gone; `group()` returns the asking process (W10).

        Raises:
            NotFound: no such name.
        """
        if handle is not None and (opened := self._handles.get(handle)) is not None:
            if (local := opened.local) is not None:
                return self._shown.attr(local)
            if opened.attr is not None:
                return opened.attr
        if path is None:
            raise NotFound("An open file that is not known any more.")
        place = locate(path)
        if not place.name:
            return self._control.directory(place, self._space.changed_at(self._account.listing.peek()))
        if not place.is_file:
            return self._control.file(place)
        self._account.listing.current()
        with self._lock:
            try:
                entry = self._find(place)
            except NotFound:
                if group is not None and self._space.has_ghosts and self._space.is_ghost(place.name, group()):
                    return Attr(0, self._space.changed_ns, 0o400, sidecar_inode(place.name))
                raise
            if isinstance(entry, LocalFile):
                return self._shown.attr(entry)
            if isinstance(entry, Sidecar | Awaited) and self._insisting.finds_none(path, group):
                raise NotFound(f"{place.name} shows the text of a file, and is free for a moment.")
            if path in self._handles.by_path and (older := self._lingering.behind(path, entry)) is not None:
                return older.attr or self._shown.attr(entry)
        return self._shown.attr(entry)

    def looked_up(self, path: str, deletes: Callable[[], bool]) -> None:
        """Note a look-up; whoever waits for a text of this name is told that it takes longer if it `deletes()` it."""
        if self._awaiting.is_awaited(path) and deletes():
            self._awaiting.let_go(path)

    def readdir(self, path: str) -> list[str]:
        """Return the names in `path`, without `.` and `..`.

        Raises:
            NotFound: no such directory.
        """
        place = locate(path)
        if place.name:
            raise NotFound(f"No such directory: {path}")
        if place.directory == places.CONTROL:
            return self._control.names()
        if place.directory == places.PURPOSES:
            return list(wire.PURPOSES)
        self._account.listing.current()
        sidecars = self._settings.sidecars == "show"
        with self._lock:
            snapshot = self._account.listing.peek()
            if place.directory == places.BY_ID:
                return self._space.ids(snapshot, sidecars=sidecars)
            return self._space.entries(snapshot, sidecars=sidecars, purpose=place.purpose)

    def known(self) -> list[str]:
        """Return the names in the root as they are known, without a request (L4)."""
        with self._lock:
            return self._space.entries(self._account.listing.peek(), sidecars=self._settings.sidecars == "show")

    def seen(self, path: str) -> Attr | None:
        """Return what the kernel is to know of a name in the root, without a request; None where there is nothing.

        That is what is open by it, though its name may have gone: the kernel has one size for all.
        """
        with self._lock:
            for opened in reversed(self._handles.by_path.get(path, {}).values()):
                return opened.attr if opened.local is None else self._shown.attr(opened.local)
            try:
                return self._shown.attr(self._find(locate(path)))
            except NotFound:
                return None

    def announced(self) -> None:
        """Note that a program has been told of a change in the root: its time shows it too (A1)."""
        self._space.changed_ns = time.time_ns()

    def scan(self, path: str) -> list[tuple[str, Attr]]:
        """Return the names in `path`, each with what `stat` shows of it; at most one listing is fetched for all.

        Raises:
            NotFound: no such directory.
        """
        shown, place = self.readdir(path), locate(path)
        if place.directory in (places.CONTROL, places.PURPOSES):
            return [(name, self.getattr(f"{path}/{name}")) for name in shown]
        attrs = []
        with self._lock:
            snapshot, find, attr = self._account.listing.peek(), self._space.resolve, self._shown.attr
            if place.directory == places.BY_ID:
                find = self._space.by_id
            for name in shown:
                with contextlib.suppress(NotFound):  # gone since
                    attrs.append((name, attr(find(snapshot, name, place.purpose))))
        return attrs

    def xattrs(self, path: str) -> dict[str, bytes]:
        """Return the extended attributes of `path` by name (A4)."""
        place = locate(path)
        if not place.is_file:
            return {}
        entry = self._resolve(place)
        return self._shown.xattrs(entry, self._space.purpose_of(entry))

    def set_purpose(self, path: str, purpose: str) -> None:
        """Give a file another purpose (A4): it is uploaded anew for it, as by a move to that purpose's directory (N5).

        A file that is being written is uploaded for it when it is closed.

        Args:
            path: a name in the root, or below a purpose.
            purpose: one of `wire.PURPOSES`.

        Raises:
            NotPermitted: not a name of a file there.
            ReadOnly: a sidecar.
            MoonfsError, OSError: as `rename`; the file stays as it was.
        """
        place = locate(path)
        if not place.is_named:
            raise NotPermitted(f"{place.name or path} has no purpose that could be set; set it under the file's name.")
        entry = self._resolve(place)
        if isinstance(entry, Sidecar | Awaited):
            raise ReadOnly(f"{place.name} shows the text of a file and has no purpose of its own.")
        if isinstance(entry, LocalFile):
            with self._lock, entry.lock:
                # What is promised already, or refused, is not sent again by a close.
                settled = entry.clean or entry.generation == entry.acknowledged or entry.failed
                if not settled and self._handles.has_writers_beside(-1, entry):
                    entry.purpose = purpose
                    self._handles.assign(entry, purpose)
                    return
        if self._space.purpose_of(entry) != purpose:
            self.rename(path, f"/{places.PURPOSES}/{purpose}/{place.name}")

    def utimens(self, path: str, mtime_ns: int | None) -> None:
        """Set the modification time, kept across mounts (A1); None leaves it alone."""
        place = locate(path)
        if not place.is_file:
            if place.name:
                self._control.touch(place)
            return
        entry = self._resolve(place)
        if mtime_ns is None or isinstance(entry, Sidecar | Awaited):
            return
        mtime_ns = min(max(mtime_ns, -(2**63)), 2**63 - 1)
        if isinstance(entry, Remote):
            self._conflicts.touch(entry.file.id)
            self._attributes.set(entry.file.id, mtime_ns=mtime_ns)
            return
        with entry.lock:
            entry.mtime_ns = mtime_ns
            file = entry.current if entry.clean else None
        if file is not None:
            self._attributes.set(file.id, mtime_ns=mtime_ns)
        with self._lock:
            if self._space.staged_name(entry) is None:
                self._versions.remember_time(entry)

    def touch_attributes(self, path: str) -> None:
        """Accept a chmod or chown of an existing name and do nothing (A4).

        Raises:
            NotFound: no such name.
        """
        self.getattr(path)

    def quota(self) -> Quota:
        """Return the account's room (A3)."""
        self._account.listing.current()
        return self._room.quota()

    # Open files

    def open(
        self,
        path: str,
        *,
        read: bool,
        write: bool,
        truncate: bool = False,
        append: bool = False,
        looks: bool = False,
        waits: bool = True,
        reader: int = 0,
        ended: Callable[[], bool] = lambda: False,
    ) -> Opened:
        """Open an existing file; a sidecar's text is fetched here, so that its size is exact from now on (A2).

        Nothing is fetched for who `looks` rather than reads (tenet 4). Who `waits` waits a bounded time for a text that
        is not there yet (R4), and not once the drive has `ended()`. `reader` is the asking thread, 0 where nobody
        knows: who reads one text
        after another finds the next ones here (R3).

        Raises:
            NotFound: no such name.
            ReadOnly: written to a sidecar or a control file.
            BytesNotHere: only the service has the bytes that this needs (R5, W5).
            OnlyLooked: a text that is not here.
            NotReady: a text that is not there yet.
            MoonfsError: the text could not be had.
        """
        ends = time.monotonic() + (EXTRACTION_WAIT if waits else 0.0)
        place = locate(path)
        name = place.name
        if not name:
            raise NotPermitted(f"{path} is a directory.")
        if not place.is_file:
            return Opened(self._handles.add(self._control.open(place, write=write or truncate)), direct_io=True)
        entry = self._resolve(place)
        if (write or truncate) and place.directory == places.BY_ID and not isinstance(entry, Sidecar):
            raise ReadOnly(f"{name} can be written under its name only, not by its id.")
        if isinstance(entry, Sidecar | Awaited) and (write or truncate):
            raise ReadOnly(f"{name} shows the text of a file and cannot be written; write the file itself.")
        if isinstance(entry, Awaited):
            if looks:
                raise not_read(name)
            entry = self._awaiting.wait(path, lambda: self._find(place), ends=ends, ended=ended)
        if isinstance(entry, Remote | Sidecar):
            self._conflicts.touch(entry.file.id)
        if not (write or truncate) and (shared := self._lingering.open(path, entry)) is not None:
            return shared
        if isinstance(entry, Sidecar):
            opened = self._open_text(path, entry, looks=looks, reader=reader, ends=ends)
            if opened is None:
                return self.open(path, read=read, write=False, looks=looks, waits=waits, reader=reader, ended=ended)
            return opened
        if isinstance(entry, Remote) and not write:
            fd = self._overlay.open_original(entry.file)
            if fd is None and self._resolve(place) != entry:  # replaced since, and its bytes went with it
                return self.open(path, read=read, write=write, append=append, looks=looks, reader=reader)
            if fd is None:
                raise not_here(name)
            handle = Handle(name, fd=fd, attr=self._shown.original(entry.file), file_id=entry.file.id)
            with self._lock, contextlib.suppress(NotFound):
                if self._find(place) == entry:
                    return self._handles.open(path, holds(entry), handle, immutable=True)
            os.close(fd)  # somebody writes to it since, or has replaced it
            return self.open(path, read=read, write=write, append=append, looks=looks, reader=reader)
        if not truncate:
            self._overlay.verify(entry)
        with self._lock:
            # Somebody may have opened, stored or removed it meanwhile.
            entry = self._find(place)
            local = self._overlay.take_over(entry)
            if local.hollow and not truncate and (read or append):
                self._versions.end_use(local)
                raise not_here(name)
            local.handles, local.writers = local.handles + 1, local.writers + write
            opener = Opener(reader) if write else None
            handle = Handle(name, local=local, writes=write, purpose=place.purpose, opener=opener)
            opened = self._opened(path, holds(local), handle)
            number = opened.handle
        if truncate:
            try:
                self._cut(local, 0, place.purpose)
            except BaseException:
                self.release(number)
                raise
        return opened

    def create(self, path: str, mode: int, flags: int = os.O_RDWR | os.O_EXCL, *, creator: int = 0) -> Opened:
        """Make a new file and open it for reading and writing; `mode` and `flags` are those of open(2).

        `creator` is the asking thread, 0 where nobody knows.

        Raises:
            NameTooLong, InvalidName, ReadOnly: a name that the drive does not keep (N4, N6, N7).
            QuotaExceeded: the account has no room for one more file (W7).
            OSError: the local disk refuses.
        """
        place = locate(path)
        name = place.name
        places.check_new(place)
        self._account.listing.current()
        opener = Opener(creator)
        with self._lock:
            self._space.check_new(self._account.listing.peek(), name)
            with contextlib.suppress(NotFound):
                self._find(place)
                raise AlreadyExists(f"{name} exists.")
            elsewhere = place.purpose and self._is_taken(name)
            private = _as_mkstemp(mode, flags) and not names.is_temporary(name)
            passing = names.is_passing(name) and not elsewhere
            stays = names.is_temporary(name) or passing or (private and names.is_known_refused(name))
            if not stays and not elsewhere:
                self._room.check_one_more()
            local = LocalFile(
                self._spool,
                f".{secrets.token_hex(8)}" if elsewhere else name,
                secrets.randbits(52) | 2**32,
                time.time_ns(),
                file=self._spool.create(),
                private=private and not elsewhere,
                purpose=place.purpose,
            )
            local.handles = local.writers = 1
            local.passing = passing
            if self._spool.scarce and not elsewhere:
                self._versions.keep_local(local)  # or it would be gone when it is closed, and nobody told (W7)
                local.kept = False  # should a write fail, it is gone all the same
            if elsewhere:
                self._space.stage(place.purpose, name, local)
            else:
                self._space.put(local)
            self._handles.renewed(path)
            handle = Handle(name, local=local, writes=True, purpose=place.purpose, opener=opener)
            return Opened(self._handles.add(handle))

    def read(self, handle: int, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` of an open file, as far as it goes, and return how many bytes that were.

        Raises:
            BytesNotHere: only the service has them.
        """
        opened = self._handles[handle]
        while (local := opened.local) is not None and not (local.hollow and opened.fd >= 0):
            try:
                found = memoryview(local.read(len(buffer), offset))
            except (OSError, BytesNotHere):
                if opened.local is local:
                    raise
            if opened.local is local:  # else it has been given what is stored meanwhile
                buffer[: len(found)] = found
                return len(found)
        if opened.fd >= 0:
            return os.preadv(opened.fd, [buffer], offset)
        found = memoryview(opened.body or b"")[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def write(self, handle: int, data: bytes, offset: int, writer: int = 0, *, append: bool = False) -> int:
        """Write to an open file and return the length; `writer` is the asking thread, 0 where nobody knows.

        To `append` is to write at the end, wherever that is by now: the kernel has a size for each name of a file, and
        an `offset` by the one that it knows (W12).

        Raises:
            FileTooLarge, QuotaExceeded: the service would refuse it (W7).
            BytesNotHere: the bytes around it are on the service only (W5).
            OSError: the local disk refuses.
        """
        opened = self._handles[handle]
        if opened.on_close is not None:
            self._control.write(opened, data)
            return len(data)
        local = self._handles.written(handle)
        opened.used_by(writer)
        growth = len(data) if append else offset + len(data) - local.size
        if growth > 0:
            try:
                self._room.check_growth(growth)
            except QuotaExceeded as error:
                local.refuse(error, offset)
                raise
        done = local.write(data, offset, opened.purpose, append=append)
        opened.wrote = local.generation
        return done

    def exists(self, path: str, group: Callable[[], int]) -> bool:
        """Say whether `stat` shows `path` to the asking process; a ghost of W10 counts."""
        try:
            self.getattr(path, None, group)
        except MoonfsError:
            return False
        return True

    def name_of(self, handle: int) -> str:
        """Return the name under which a file was opened, for messages."""
        opened = self._handles.get(handle)
        return "" if opened is None else opened.name

    def truncate(self, path: str | None, length: int, handle: int | None = None, writer: int = 0) -> None:
        """Cut or extend a file; without an open handle the change is stored at once. `writer` is as in `write`.

        Raises:
            ReadOnly, BytesNotHere, FileTooLarge, MoonfsError: as `open`, `write` and `flush`.
        """
        if handle is not None or path is None:
            opened = self._handles.get(handle or 0)
            if opened is None or opened.on_close is None:
                local = self._handles.written(handle or 0)
                self._cut(local, length, "" if opened is None else opened.purpose)
                if opened is not None:
                    opened.used_by(writer)
                    opened.wrote = local.generation
            return
        place = locate(path)
        if place.name and not place.is_file:
            self._control.touch(place)
            return
        number = self.open(path, read=False, write=True).handle
        try:
            local = self._handles.written(number)
            self._cut(local, length, place.purpose)
            with self._lock:
                # A writer that has it open stores the change with its own (vim: truncate, then write).
                shared = self._handles.has_writers_beside(number, local)
            if not shared:
                self.flush(number)
        finally:
            self.release(number)

    def flush(self, handle: int, closer: int = 0) -> None:
        """Store what was written, once per generation (W1), or keep it here (W6); the error reaches whoever closes.

        A close by a process that shares the handle with its opener only makes it safe here: see `Closes`. `closer` is
        the closing thread, 0 where nobody knows.

        Raises:
            MoonfsError: the service did not take it.
            OSError: the local disk refuses, or refused an earlier write, so nothing is stored.
        """
        opened = self._handles.get(handle)
        if opened is not None and opened.on_close is not None:
            self._control.close(opened)
        elif opened is not None and opened.local is not None and opened.writes:
            self._closes.flush(opened, opened.local, closer)

    def fsync(self, handle: int) -> None:
        """Make durable what was written: on the service, or on this disk when it stays local (W1, W6).

        Raises:
            MoonfsError, OSError: as `flush`.
        """
        opened = self._handles.get(handle)
        if opened is not None and opened.local is not None:
            self._closes.fsync(opened.local)

    def release(self, handle: int) -> None:
        """End an open handle; with the last one the bytes go to where they are kept."""
        self._closes.release(handle)
        with self._lock:
            self._lingering.closed()

    # Changing names

    def unlink(self, path: str, group: Callable[[], int]) -> None:
        """Delete a file on the service and here (W8); a sidecar is left alone without an error (W10).

        `group()` returns the asking process.

        Raises:
            NotFound: no such name.
            MoonfsError: the service did not delete it.
        """
        place = locate(path)
        if not place.is_file:
            raise NotPermitted(f"{path} belongs to the drive and cannot be deleted.")
        try:
            entry = self._resolve(place)
        except NotFound:
            with self._lock:
                if self._space.is_ghost(place.name, group()):
                    self._space.bury_ghost(place.name)
                    return
            raise
        if isinstance(entry, Sidecar | Awaited):
            self._insisting.delete(path, group())
            self.announced()
            return
        if place.directory == places.BY_ID and isinstance(entry, Remote):
            with self._lock:
                entry = self._space.holder(entry.file.id) or entry
        stored = not isinstance(entry, LocalFile) or entry.current is not None
        self._removals.remove(entry, place.name, group())
        if stored:  # as uploads are logged; not the temporary files of every program
            log.info("Deleted %s.", path.lstrip("/"))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name or purpose, over an existing one if need be (W9, N5): see `Renames.rename`.

        Raises:
            NotPermitted: out of or into `.moonfs`, but for the directories below `purpose`.
            MoonfsError, OSError: both files stay as they were.
        """
        source, target = locate(old), locate(new)
        if not (source.is_named and target.directory in places.NAMED):
            raise NotPermitted(
                f"Cannot move {old.lstrip('/')} to {new.lstrip('/')}: {names.CONTROL} shows the drive's state; "
                f"only the directories in {places.PURPOSES} take files."
            )
        with self._lock:
            self._handles.moving(new)
        try:
            self._renames.rename(source, target)
        except BaseException:
            with self._lock:
                self._handles.stays(old, new)
            raise
        with self._lock:
            self._handles.moved(old, new)

    def make_directory(self, path: str) -> None:
        """Refuse: the remote list is flat (N1).

        Raises:
            Litter: what a desktop keeps for itself (N6).
            NotPermitted: everything else.
        """
        name = locate(path).name
        if names.is_litter(name):
            raise Litter(f"The drive keeps no {name}: it is what a desktop keeps for itself.")
        raise NotPermitted(f"Cannot make {name}: the service has no folders; put the files into the drive itself.")

    # What status shows

    def summary(self) -> dict[str, object]:
        """Return the state of the drive for `status.json`: counts, queue, caches, problems; no request."""
        return overview(
            self._lock,
            account=self._account,
            space=self._space,
            room=self._room,
            versions=self._versions,
            journal=self._journal,
            originals=self._originals,
            conflicts=self._conflicts,
            errno_name=self._errno_name,
        )

    def has(self, name: str) -> bool:
        """Say whether the root shows a file of this name, as far as is known here; no request."""
        with self._lock:
            try:
                self._space.resolve(self._account.listing.peek(), name)
            except NotFound:
                return False
            return True

    # Below: the parts of the above. Those that say so need the lock.

    def _resolve(self, place: Place) -> Entry:
        # Refreshed without the lock, looked at with it: an upload that ends moves its file from one to the other.
        self._account.listing.current()
        with self._lock:
            return self._find(place)

    def _find(self, place: Place) -> Entry:
        find = self._space.by_id if place.directory == places.BY_ID else self._space.resolve
        return find(self._account.listing.peek(), place.name, place.purpose)

    def _is_taken(self, name: str) -> bool:
        try:
            self._space.resolve(self._account.listing.peek(), name)
        except NotFound:
            return False
        return True

    def _open_text(self, path: str, entry: Sidecar, *, looks: bool, reader: int, ends: float) -> Opened | None:
        """Open a stored file's text, or return None where another version has taken its place meanwhile."""
        if looks and entry.file.id not in self._account.contents:
            raise not_read(entry.name)
        self._ahead.opened(reader, entry.file.id)
        try:
            text = self._account.text(entry.file, ends)
        except NotFound:
            if self._resolve(locate(path)) == entry:
                raise
            return None
        attr = self._shown.text(entry.file, text.size)
        handle = Handle(entry.name, body=text.body, fd=text.fd, attr=attr, file_id=entry.file.id)
        # The kernel may think that there is one byte still, which it would make up of nothing.
        return self._opened(path, holds(entry), handle, immutable=text.sure and text.size > 0)

    def _opened(self, path: str, holds: str, handle: Handle, *, immutable: bool = False) -> Opened:
        with self._lock:
            return self._handles.open(path, holds, handle, immutable=immutable)

    def _cut(self, local: LocalFile, length: int, purpose: str) -> None:
        growth = length - local.size
        if growth > 0:
            self._room.check_growth(growth)
        local.truncate(length, purpose)


def _as_mkstemp(mode: int, flags: int) -> bool:
    """Say whether a file is made as mkstemp(3) makes one (N6).

    The mode alone is no sign: `cp` gives a copy the mode of its source, less the umask, and opens it to write only.
    """
    return mode & 0o777 == 0o600 and flags & os.O_ACCMODE == os.O_RDWR and bool(flags & os.O_EXCL)


def not_read(name: str) -> OnlyLooked:
    """Return the error for a text that is not here, and is not fetched for who only looks."""
    return OnlyLooked(f"{name} has not been read here yet; open it without O_NOATIME to fetch it.")
