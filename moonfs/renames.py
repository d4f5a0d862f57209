"""How names change hands: rename(2), and a file that was written under the name of one with another purpose (W9, N5).

What decides is the directory: in the root a file has the purpose that the mount says, below `purpose` that of the
directory. So a move between them is an upload under the same name, and a name that is not in a purpose's directory is
free there though the root has it: what is written to it is staged, and takes the name over when its bytes are safe.
Until then, and if they never are, the file that has the name keeps it; so a copy from one side to the other reads what
it is about to replace.

**Threading:** any thread may call anything, without the filesystem's lock; it is not held during a request.
"""

from __future__ import annotations

import contextlib
import threading

from moonfs import places
from moonfs.errors import MoonfsError, NotFound, NotSupported, ReadOnly, is_final
from moonfs.handles import Handles
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Namespace, Sidecar
from moonfs.overlay import Overlay
from moonfs.places import Place
from moonfs.room import Room
from moonfs.versions import Versions


class Renames:
    """The renames of one account."""

    def __init__(
        self,
        listing: Listing,
        space: Namespace,
        versions: Versions,
        lock: threading.RLock,
        *,
        handles: Handles,
        overlay: Overlay,
        room: Room,
    ) -> None:
        self._listing = listing
        self._space = space
        self._handles = handles
        self._overlay = overlay
        self._room = room
        self._versions = versions
        self._lock = lock

    def rename(self, source: Place, target: Place) -> None:
        """Give a file another name or purpose, over an existing one if need be.

        Local files move for free; bytes that are here are uploaded under the new name, then the old ids go.

        Raises:
            NotSupported: only the service has the bytes; both files stay as they were.
            ReadOnly, NameTooLong, InvalidName, QuotaExceeded: as for a new file.
            MoonfsError: the service did not take it; both files stay as they were.
        """
        self._listing.current()
        with self._lock:
            entry = self._space.resolve(self._listing.peek(), source.name, source.purpose)
        if isinstance(entry, Sidecar | Awaited):
            raise ReadOnly(f"{source.name} shows the text of a file and cannot be renamed; rename the file itself.")
        places.check_new(target)
        self._overlay.verify(entry)
        with self._lock:
            snapshot = self._listing.peek()
            self._space.check_new(snapshot, target.name)
            entry = self._space.resolve(snapshot, source.name, source.purpose)
            with contextlib.suppress(NotFound):
                if source.name == target.name and self._space.resolve(snapshot, target.name, target.purpose) == entry:
                    return  # one file seen from two sides: as with two links, rename(2) leaves it alone
            local = self._overlay.take_over(entry)
            if local.hollow:
                self._versions.end_use(local)
                raise NotSupported(
                    f"Cannot move {source.name}: the API has no rename, and its original bytes are not on this "
                    f"machine; copy it to {target.name} from where you have it."
                )
            local.handles, local.writers = local.handles + 1, local.writers + 1
            over = self._space.local.get(target.name)
            over = None if over is local else over
            replaced = self._replaced(target.name)
            purpose = target.purpose
            in_root = source.directory == target.directory == places.ROOT
            if in_root:
                stored = local.current if local.clean else None
                purpose = local.purpose or ("" if stored is None else self._space.chosen_purpose(stored))
        try:
            if not local.stays_as(target.name) and not replaced | local.replaces and over is None:
                self._room.check_one_more(beside=local)
            self._versions.rename(local, target.name, purpose, over, lambda: self._replaced(target.name))
            with self._lock:
                if not in_root:  # else the bytes keep a purpose that was chosen, and what is written next has its own
                    self._handles.assign(local, purpose)
                staged = self._space.staged.get((target.purpose, target.name))
                if staged is not None:
                    self._drop_staged(staged)
        finally:
            with self._lock:
                local.handles, local.writers = local.handles - 1, local.writers - 1
                self._versions.end_use(local)

    def arrive(self, local: LocalFile) -> bool:
        """Let a staged file that has bytes take its name's place, as safe as a close is; False if it is not staged.

        Raises:
            MoonfsError: the service did not take it; the file that has the name keeps it.
            OSError: the local disk refuses, or refused an earlier write.
        """
        with self._lock:
            name = self._space.staged_name(local)
            if name is None:
                return False
            over = self._space.local.get(name)
            purpose, failure = local.purpose, local.failure
            if failure is not None and failure[0] == local.generation:
                raise failure[1]
        if not local.size:
            return True
        taken: str = name
        try:
            self._versions.rename(local, name, purpose, over, lambda: self._replaced(taken), patient=True)
        except (MoonfsError, OSError) as error:
            with self._lock:
                if self._space.local.get(name) is not local:
                    self._space.drop(local)
                    self._space.stage(purpose, name, local)
                    if isinstance(error, MoonfsError) and is_final(error):
                        local.failure = (local.generation, error)
            raise
        return True

    def end_use(self, local: LocalFile) -> None:
        """Put a file's bytes where they belong once nobody has it open; the filesystem's lock is held."""
        if not local.writers and self._space.staged_name(local) is not None:
            # Nothing was written, or its writer was told that it failed.
            self._drop_staged(local)
        self._versions.end_use(local)

    def _drop_staged(self, local: LocalFile) -> None:
        self._space.drop(local)
        local.unlinked = True
        self._versions.end_use(local)

    def _replaced(self, name: str) -> frozenset[str]:
        """Return the remote files that go when `name` is taken; the lock is taken, or held already."""
        with self._lock:
            try:
                target = self._space.resolve(self._listing.peek(), name)
            except NotFound:
                return frozenset()
            if isinstance(target, Awaited):
                return frozenset()
            return target.replaces if isinstance(target, LocalFile) else frozenset({target.file.id})
