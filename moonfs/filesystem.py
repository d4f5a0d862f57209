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
import functools
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from moonfs import names
from moonfs.attributes import Attributes
from moonfs.config import Settings
from moonfs.control import Control
from moonfs.errors import (
    AlreadyExists,
    MoonfsError,
    NotFound,
    NotPermitted,
    NotSupported,
    QuotaExceeded,
    ReadOnly,
)
from moonfs.handles import ROOT_INODE, Attr, Handle, Handles, Opened
from moonfs.journal import Journal
from moonfs.localfile import LocalFile, not_here
from moonfs.namespace import Namespace, Remote, Sidecar, inode_of, sidecar_inode
from moonfs.originals import Originals
from moonfs.overview import overview
from moonfs.readahead import Orders, ReadAhead
from moonfs.remote import Remote as Account
from moonfs.room import Quota, Room
from moonfs.spool import Spool
from moonfs.table import has_text
from moonfs.versions import Versions
from moonfs.wire import FileObject

log = logging.getLogger(__name__)

#: The size that a text of unknown length shows: below any true one, so that every reader looks again (A2).
UNKNOWN_TEXT_SIZE: Final = 1


class Filesystem:
    """One account as a flat directory."""

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
        report: Callable[[str, MoonfsError], None] = lambda _name, _error: None,
        errno_name: Callable[[MoonfsError], str] = lambda error: type(error).__name__,
    ) -> None:
        """Wire the parts.

        `control` names the files of `.moonfs/` and what makes their bytes (N5); `report(name, error)` is told of
        uploads that fail in the background (E1); `errno_name(error)` is what status calls it.
        """
        self._account = account
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._originals = originals
        self._attributes = attributes
        self._control = Control(control or {})
        self._errno_name = errno_name
        self._lock = threading.RLock()
        self._space = Namespace()
        self._handles = Handles()
        self._room = Room(account.listing, self._space, self._lock)
        self._ahead = ReadAhead(
            account.contents,
            self._texts_in_order,
            most=settings.requests,
            at_once=lambda: min(account.traffic.limit, account.contents.fit),
            limited=lambda: account.traffic.limited,
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
        )

    # Life cycle

    def recover(self) -> None:
        """Take up what an earlier run left; call once, before the first request."""
        self._versions.recover()

    def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing is pending (L2); say whether that came."""
        deadline = time.monotonic() + timeout
        while self.busy():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def busy(self) -> bool:
        """Say whether uploads or deletions are waiting or under way."""
        with self._lock:
            return bool(self._versions.pending()) or bool(self._journal.deletions())

    def close(self) -> None:
        """Stop the uploader and close every descriptor; what is unfinished stays in the journal."""
        self._ahead.close()
        self._versions.close()
        with self._lock:
            self._handles.clear()
            for local in self._space.local.values():
                local.rest()

    # Names and attributes

    def getattr(self, path: str | None, handle: int | None = None, group: Callable[[], int] | None = None) -> Attr:
        """Return what `stat` shows of `path`; nothing is fetched for it but an expired listing (A2).

        `handle` names an open file whose name may be gone; `group()` returns the asking process (W10).

        Raises:
            NotFound: no such name.
        """
        if handle is not None and (opened := self._handles.get(handle)) is not None:
            if opened.local is not None:
                return self._local_attr(opened.local)
            if opened.attr is not None:
                return opened.attr
        if path is None:
            raise NotFound("An open file that is not known any more.")
        directory, name = split(path)
        if names.CONTROL in (directory, name):
            return self._control.attr(directory, name)
        if not name:
            return Attr(0, self._space.changed_ns, 0o700, ROOT_INODE, directory=True)
        self._account.listing.current()
        with self._lock:
            try:
                entry = self._space.resolve(self._account.listing.peek(), name)
            except NotFound:
                if group is not None and self._space.has_ghosts and self._space.is_ghost(name, group()):
                    return Attr(0, self._space.changed_ns, 0o400, sidecar_inode(name))
                raise
            if isinstance(entry, LocalFile):
                return self._local_attr(entry)
        return self._remote_attr(entry)

    def readdir(self, path: str) -> list[str]:
        """Return the names in `path`, without `.` and `..`.

        Raises:
            NotFound: no such directory.
        """
        directory, name = split(path)
        if not directory and name == names.CONTROL:
            return self._control.names()
        if name:
            raise NotFound(f"No such directory: {path}")
        self._account.listing.current()
        with self._lock:
            return self._space.entries(self._account.listing.peek(), sidecars=self._settings.sidecars == "show")

    def scan(self, path: str) -> list[tuple[str, Attr]]:
        """Return the names in `path`, each with what `stat` shows of it; at most one listing is fetched for all.

        Raises:
            NotFound: no such directory.
        """
        shown = self.readdir(path)
        if path != "/":
            return [(name, self.getattr(f"{path}/{name}")) for name in shown]
        attrs = []
        with self._lock:
            snapshot = self._account.listing.peek()
            for name in shown:
                with contextlib.suppress(NotFound):  # gone since
                    entry = self._space.resolve(snapshot, name)
                    attr = self._local_attr(entry) if isinstance(entry, LocalFile) else self._remote_attr(entry)
                    attrs.append((name, attr))
        return attrs

    def xattrs(self, path: str) -> dict[str, bytes]:
        """Return the extended attributes of `path` by name (A4)."""
        directory, name = split(path)
        if not name or names.CONTROL in (directory, name):
            return {}
        entry = self._resolve(name)
        if isinstance(entry, LocalFile):
            file = entry.current if entry.clean else None
            state = "open" if entry.handles else "local" if entry.stays_local else "pending"
            error = str(entry.failure[1]) if entry.failure and entry.failed else ""
            sha256 = entry.sha256 if entry.clean else ""
            state = "failed" if error else state
        else:
            file, state, error = entry.file, "stored", ""
            sha256 = self._attributes.get(file.id).sha256 or ""
        shown = {"state": state, "error": error, "sha256": sha256}
        if file is not None:
            shown |= {
                "id": file.id,
                "url": f"ms://{file.id}",
                "purpose": file.purpose,
                "status": file.status,
                "status_details": file.status_details,
            }
        return {f"user.moonfs.{key}": value.encode("utf-8", "replace") for key, value in shown.items() if value}

    def utimens(self, path: str, mtime_ns: int | None) -> None:
        """Set the modification time, kept across mounts (A1); None leaves it alone."""
        directory, name = split(path)
        if not name or names.CONTROL in (directory, name):
            return
        entry = self._resolve(name)
        if mtime_ns is None or isinstance(entry, Sidecar):
            return
        mtime_ns = min(max(mtime_ns, -(2**63)), 2**63 - 1)
        if isinstance(entry, Remote):
            self._attributes.set(entry.file.id, mtime_ns=mtime_ns)
            return
        with entry.lock:
            entry.mtime_ns = mtime_ns
            file = entry.current if entry.clean else None
        if file is not None:
            self._attributes.set(file.id, mtime_ns=mtime_ns)
        with self._lock:
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
        self, path: str, *, read: bool, write: bool, truncate: bool = False, append: bool = False, reader: int = 0
    ) -> Opened:
        """Open an existing file; a sidecar's text is fetched here, so that its size is exact from now on (A2).

        `reader` is the asking thread: who reads one text after another finds the next ones here (R3).

        Raises:
            NotFound: no such name.
            ReadOnly: written to a sidecar or a control file.
            BytesNotHere: only the service has the bytes that this needs (R5, W5).
            MoonfsError: the text could not be had.
        """
        directory, name = split(path)
        if directory == names.CONTROL:
            return Opened(self._handles.add(self._control.open(name, write=write or truncate)), direct_io=True)
        if not name or name == names.CONTROL:
            raise NotPermitted(f"{path} is a directory.")
        entry = self._resolve(name)
        if isinstance(entry, Sidecar):
            if write or truncate:
                raise ReadOnly(f"{name} shows the text of a file and cannot be written.")
            self._ahead.opened(reader, entry.file.id)
            text = self._account.text(entry.file)
            attr = Attr(text.size, self._mtime_ns(entry.file), 0o400, sidecar_inode(entry.file.id))
            handle = Handle(name, body=text.body, fd=text.fd, attr=attr)
            # The kernel may think that there is one byte still, which it would make up of nothing.
            return self._opened(path, entry.file.id, handle, immutable=text.size > 0)
        if isinstance(entry, Remote) and not write:
            fd = self._open_original(entry.file)
            if fd is None:
                raise not_here(name)
            attr = Attr(entry.file.bytes, self._mtime_ns(entry.file), 0o600, self._inode(entry.file))
            # Its text has the same id, and may have had the same path (N4).
            return self._opened(path, f"original of {entry.file.id}", Handle(name, fd=fd, attr=attr), immutable=True)
        if isinstance(entry, Remote) and not truncate:
            self._verify_original(entry.file)
        with self._lock:
            # Somebody may have opened, stored or removed it meanwhile.
            entry = self._space.resolve(self._account.listing.peek(), name)
            local = entry if isinstance(entry, LocalFile) else self._take_over(entry)
            if local.hollow and not truncate and (read or append):
                self._versions.end_use(local)
                raise not_here(name)
            local.handles += 1
            opened = self._opened(path, str(id(local)), Handle(name, local=local, writes=write))
            number = opened.handle
        if truncate:
            try:
                self._cut(local, 0)
            except BaseException:
                self.release(number)
                raise
        return opened

    def create(self, path: str, mode: int) -> Opened:
        """Make a new file and open it for reading and writing.

        Raises:
            NameTooLong, InvalidName, ReadOnly: a name that the drive does not keep (N4, N6, N7).
            QuotaExceeded: the account has no room for one more file (W7).
            OSError: the local disk refuses.
        """
        directory, name = split(path)
        self._check_new_name(directory, name)
        with self._lock:
            snapshot = self._account.listing.peek()
            with contextlib.suppress(NotFound):
                self._space.resolve(snapshot, name)
                raise AlreadyExists(f"{name} exists.")
            private = mode & 0o777 == 0o600 and not names.is_temporary(name)
            if not (names.is_temporary(name) or (private and names.is_known_refused(name))):
                self._room.check_one_more()
            local = LocalFile(
                self._spool,
                name,
                secrets.randbits(52) | 2**32,
                time.time_ns(),
                file=self._spool.create(),
                private=private,
            )
            local.handles = 1
            self._space.put(local)
            self._handles.renewed(path)
            return Opened(self._handles.add(Handle(name, local=local, writes=True)))

    def read(self, handle: int, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` of an open file, as far as it goes, and return how many bytes that were.

        Raises:
            BytesNotHere: only the service has them.
        """
        opened = self._handles[handle]
        if opened.fd >= 0:
            return os.preadv(opened.fd, [buffer], offset)
        if opened.body is not None:
            found = memoryview(opened.body)[offset : offset + len(buffer)]
        elif opened.local is not None:
            found = memoryview(opened.local.read(len(buffer), offset))
        else:
            return 0
        buffer[: len(found)] = found
        return len(found)

    def write(self, handle: int, data: bytes, offset: int) -> int:
        """Write to an open file and return the length.

        Raises:
            FileTooLarge, QuotaExceeded: the service would refuse it (W7).
            BytesNotHere: the bytes around it are on the service only (W5).
            OSError: the local disk refuses.
        """
        local = self._handles.written(handle)
        growth = offset + len(data) - local.size
        if growth > 0:
            try:
                self._room.check_growth(growth)
            except QuotaExceeded as error:
                local.refused = error
                raise
        return local.write(data, offset)

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

    def truncate(self, path: str | None, length: int, handle: int | None = None) -> None:
        """Cut or extend a file; without an open handle the change is stored at once.

        Raises:
            ReadOnly, BytesNotHere, FileTooLarge, MoonfsError: as `open`, `write` and `flush`.
        """
        if handle is not None or path is None:
            self._cut(self._handles.written(handle or 0), length)
            return
        directory, name = split(path)
        if names.CONTROL in (directory, name):
            raise ReadOnly(f"{path} shows the drive's state and cannot be written.")
        number = self.open(path, read=False, write=True).handle
        try:
            local = self._handles.written(number)
            self._cut(local, length)
            with self._lock:
                # A writer that has it open stores the change with its own (vim: truncate, then write).
                shared = self._handles.has_writers_beside(number, local)
            if not shared:
                self.flush(number)
        finally:
            self.release(number)

    def flush(self, handle: int) -> None:
        """Store what was written, once per generation (W1), or keep it here (W6); the error reaches whoever closes.

        Raises:
            MoonfsError: the service did not take it.
            OSError: the local disk refuses, or refused an earlier write, so nothing is stored.
        """
        opened = self._handles.get(handle)
        if opened is not None and opened.local is not None and opened.writes:
            opened.flushed = True
            self._versions.settle(opened.local)
            if opened.local.size:  # what is empty yet may be the beginning of something: a shell's redirection
                self._keep(opened.local)

    def fsync(self, handle: int) -> None:
        """Make durable what was written: on the service, or on this disk when it stays local (W1, W6).

        Raises:
            MoonfsError, OSError: as `flush`.
        """
        opened = self._handles.get(handle)
        if opened is None or opened.local is None:
            return
        self._versions.settle(opened.local)
        self._keep(opened.local)

    def _keep(self, local: LocalFile) -> None:
        """Make durable what stays on this machine (W6)."""
        if local.stays_local and not local.clean:
            self._versions.prepare(local)
            with self._lock:
                if not local.unlinked and not local.hollow and local.refused is None:
                    self._versions.keep_local(local)

    def release(self, handle: int) -> None:
        """End an open handle; with the last one the bytes go to where they are kept."""
        with self._lock:
            opened = self._handles.pop(handle)
            if opened is not None and opened.local is not None:
                opened.local.handles -= 1
                self._versions.end_use(opened.local)

    # Changing names

    def unlink(self, path: str, group: Callable[[], int]) -> None:
        """Delete a file on the service and here (W8); a sidecar is left alone without an error (W10).

        `group()` returns the asking process.

        Raises:
            NotFound: no such name.
            MoonfsError: the service did not delete it.
        """
        directory, name = split(path)
        if names.CONTROL in (directory, name):
            raise NotPermitted(f"{path} shows the drive's state and cannot be deleted.")
        try:
            entry = self._resolve(name)
        except NotFound:
            with self._lock:
                if self._space.is_ghost(name, group()):
                    self._space.bury_ghost(name)
                    return
            raise
        if isinstance(entry, Sidecar):
            return
        if isinstance(entry, Remote):
            process = group()
            if not self._settings.write_back:
                self._versions.uploader.delete(entry.file.id)
            with self._lock:
                if self._settings.write_back:
                    self._versions.delete_later(frozenset({entry.file.id}))
                self._ghost(entry, process)
            return
        self._unlink_local(entry, group())

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, over an existing one if need be (W9).

        Local files move for free; bytes that are here are uploaded under the new name, then the old ids go.

        Raises:
            NotSupported: only the service has the bytes; both files stay as they were.
            ReadOnly, NameTooLong, InvalidName, QuotaExceeded: as `create`.
            MoonfsError: the service did not take it; both files stay as they were.
        """
        source, target = split(old), split(new)
        if names.CONTROL in (*source, target[0]):
            raise NotPermitted(f"{names.CONTROL} shows the drive's state; nothing can be moved from or to it.")
        entry = self._resolve(source[1])
        if isinstance(entry, Sidecar):
            raise ReadOnly(f"{source[1]} shows the text of a file and cannot be renamed.")
        self._check_new_name(*target)
        if source == target:
            return
        if isinstance(entry, Remote):
            self._verify_original(entry.file)
        with self._lock:
            entry = self._space.resolve(self._account.listing.peek(), source[1])
            local = entry if isinstance(entry, LocalFile) else self._take_over(entry)
            if local.hollow:
                self._versions.end_use(local)
                raise NotSupported(
                    f"Cannot rename {source[1]}: the API has no rename, and its original bytes are not on this machine."
                )
            local.handles += 1
            over = self._space.local.get(target[1])
            replaced = self._replaced_by_rename(target[1])
        try:
            if not names.is_temporary(target[1]) and not replaced | local.replaces and over is None:
                self._room.check_one_more(beside=local)
            self._versions.rename(local, target[1], over, lambda: self._replaced_by_rename(target[1]))
        finally:
            with self._lock:
                for path in (old, new):
                    self._handles.renewed(path)
                local.handles -= 1
                self._versions.end_use(local)

    def make_directory(self, path: str) -> None:
        """Refuse: the remote list is flat (N1).

        Raises:
            ReadOnly: litter of a desktop (N6).
            NotPermitted: everything else.
        """
        name = split(path)[1]
        if names.is_litter(name):
            raise ReadOnly(f"The drive keeps no {name}.")
        raise NotPermitted("The drive is one flat directory: the service has no folders and no links.")

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
            errno_name=self._errno_name,
        )

    # Below: the parts of the above. Those that say so need the lock.

    def _texts_in_order(self) -> Orders:
        with self._lock:
            return self._space.orders(self._account.listing.peek())

    def _resolve(self, name: str) -> Remote | Sidecar | LocalFile:
        # Refreshed without the lock, looked at with it: an upload that ends moves its file from one to the other.
        self._account.listing.current()
        with self._lock:
            return self._space.resolve(self._account.listing.peek(), name)

    def _opened(self, path: str, holds: str, handle: Handle, *, immutable: bool = False) -> Opened:
        with self._lock:
            return self._handles.open(path, holds, handle, immutable=immutable)

    def _remote_attr(self, entry: Remote | Sidecar) -> Attr:
        file, known = entry.file, self._attributes.get(entry.file.id)
        mtime_ns = file.created_at * 10**9 if known.mtime_ns is None else known.mtime_ns
        if isinstance(entry, Sidecar):
            size = UNKNOWN_TEXT_SIZE if known.text_bytes is None else known.text_bytes
            return Attr(size, mtime_ns, 0o400, sidecar_inode(file.id))
        mode = 0o600 if known.sha256 in self._originals else 0o200
        return Attr(file.bytes, mtime_ns, mode, known.inode or inode_of(file.id))

    def _mtime_ns(self, file: FileObject) -> int:
        known = self._attributes.get(file.id)
        return file.created_at * 10**9 if known.mtime_ns is None else known.mtime_ns

    def _inode(self, file: FileObject) -> int:
        return self._attributes.get(file.id).inode or inode_of(file.id)

    @staticmethod
    def _local_attr(local: LocalFile) -> Attr:
        return Attr(local.size, local.mtime_ns, 0o200 if local.hollow else 0o600, local.inode)

    def _check_new_name(self, directory: str, name: str) -> None:
        if directory:
            if directory == names.CONTROL:
                raise ReadOnly(f"{names.CONTROL} shows the drive's state; nothing can be made in it.")
            raise NotFound(f"No such directory: {directory}")
        if name == names.CONTROL:
            raise ReadOnly(f"{names.CONTROL} is the drive's own.")
        names.check(name)
        if names.is_litter(name):
            raise ReadOnly(f"The drive keeps no {name}.")
        self._account.listing.current()
        with self._lock:
            if self._space.is_sidecar(self._account.listing.peek(), name):
                raise ReadOnly(f"{name} shows the text of a file and cannot be written.")

    def _verify_original(self, file: FileObject) -> None:
        """Have the bytes hashed before the lock is taken, which they would keep for as long (E2)."""
        fd = self._open_original(file)
        if fd is not None:
            os.close(fd)

    def _open_original(self, file: FileObject) -> int | None:
        sha256 = self._attributes.get(file.id).sha256
        return None if sha256 is None else self._originals.open(sha256)

    def _take_over(self, entry: Remote | Sidecar) -> LocalFile:
        """Lay a local file over a remote one; the lock must be held."""
        if isinstance(entry, Sidecar):
            raise ReadOnly(f"{entry.name} shows the text of a file and cannot be written.")
        known = self._attributes.get(entry.file.id)
        local = LocalFile(
            self._spool,
            entry.name,
            self._inode(entry.file),
            self._mtime_ns(entry.file),
            base=entry.file,
            source=self._open_original(entry.file),
        )
        local.sha256 = known.sha256 or ""
        self._space.put(local)
        return local

    def _cut(self, local: LocalFile, length: int) -> None:
        growth = length - local.size
        if growth > 0:
            self._room.check_growth(growth)
        local.truncate(length)

    def _replaced_by_rename(self, name: str) -> frozenset[str]:
        try:
            target = self._space.resolve(self._account.listing.peek(), name)
        except NotFound:
            return frozenset()
        return target.replaces if isinstance(target, LocalFile) else frozenset({target.file.id})

    def _unlink_local(self, local: LocalFile, group: int) -> None:
        if self._settings.write_back:
            with self._lock:
                remote = local.current
                self._versions.unlink_later(local)
                if remote is not None:
                    self._ghost(Remote(local.name, remote), group)
            return
        deleted: set[str] = set()
        while True:
            with self._lock:
                ids = local.replaces - deleted
                if not ids:
                    remote = local.current
                    self._space.doom(frozenset(deleted))
                    self._versions.cancel(local)
                    self._space.drop(local)
                    if remote is not None:
                        self._ghost(Remote(local.name, remote), group)
                    self._versions.end_use(local)
                    return
            for file_id in ids:
                self._versions.uploader.delete(file_id)
                deleted.add(file_id)

    def _ghost(self, remote: Remote, group: int) -> None:
        if not has_text(remote.file):
            return
        sidecar = names.sidecar(remote.name, remote.file.id)
        try:
            self._space.resolve(self._account.listing.peek(), sidecar)
        except NotFound:
            self._space.leave_ghost(sidecar, group)


@functools.lru_cache(maxsize=4096)
def split(path: str) -> tuple[str, str]:
    """Split an absolute path of the drive into directory and name; the root is ("", "").

    >>> split("/a.pdf"), split("/.moonfs/status.json"), split("/")
    (('', 'a.pdf'), ('.moonfs', 'status.json'), ('', ''))
    """
    directory, _, name = path[1:].rpartition("/")
    return directory, name
