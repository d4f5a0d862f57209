"""What a close means, by who closes: whoever opened stores, a child makes safe, the last one leaves nothing behind.

A descriptor that is shared with children is closed at the exit of each. While its opener has it open, such a close
stores nothing: what the child has written is made durable here (tenet 1), and the opener's own close brings it to the
service, once (W1), or has it brought (W2). What no close has stored, such as a page that was mapped and written after
it, is brought to the service when the last reference goes, and nobody hears of a failure but status and record (E1).

**Threading:** any thread may call anything, without the filesystem's lock; it is not held during a request.
"""

from __future__ import annotations

import threading

from moonfs.handles import Handle, Handles
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.renames import Renames
from moonfs.versions import Versions


class Closes:
    """The closes of one account's files."""

    def __init__(
        self, space: Namespace, handles: Handles, versions: Versions, renames: Renames, lock: threading.RLock
    ) -> None:
        self._space = space
        self._handles = handles
        self._versions = versions
        self._renames = renames
        self._lock = lock

    def flush(self, opened: Handle, local: LocalFile, closer: int) -> None:
        """Store what was written, once per generation (W1), or keep it here (W6); `closer` is the closing thread.

        Raises:
            MoonfsError: the service did not take it.
            OSError: the local disk refuses, or refused an earlier write, so nothing is stored.
        """
        opened.flushed = True
        if self._is_shared(opened, local, closer):
            if opened.shared:
                self._versions.hold(local)
                opened.shared = False
            return
        self._store(local)
        opened.shared = False
        if local.size:  # what is empty yet may be the beginning of something: a shell's redirection
            self.keep(local)

    def fsync(self, local: LocalFile) -> None:
        """Make durable what was written: on the service, or on this disk when it stays local (W1, W6).

        Raises:
            MoonfsError, OSError: as `flush`.
        """
        self._store(local)
        self.keep(local)

    def release(self, handle: int) -> None:
        """End an open handle; with the last one the bytes go to where they are kept."""
        opened = self._handles.get(handle)
        local = None if opened is None else opened.local
        if opened is not None and local is not None and opened.writes and self._has_untold(opened, local):
            self._versions.settle_later(local)
        with self._lock:
            opened = self._handles.pop(handle)
            if local is not None and opened is not None:
                local.handles -= 1
                local.writers -= opened.writes
                if opened.writes:
                    self._versions.closed(local)
                self._renames.end_use(local)

    def release_all(self) -> None:
        """Let what closes have promised go to the service, since nothing more is written: the mount has ended (L2)."""
        with self._lock:
            growing = [local for local in self._space.local.values() if local.growing is not None]
        for local in growing:
            self._versions.settle_later(local)

    @staticmethod
    def _has_untold(opened: Handle, local: LocalFile) -> bool:
        """Say whether what was written through it, or promised by a close, has met no close that stored it."""
        return local.growing is not None or opened.wrote > local.told

    @staticmethod
    def _is_shared(opened: Handle, local: LocalFile, closer: int) -> bool:
        """Say whether its opener has it open still, and will close it after this close by another process."""
        if local.clean or local.unlinked or local.stays_local or opened.opener is None:
            return False
        return not opened.opener.is_process_of(closer) and opened.opener.has_open(local.inode)

    def _store(self, local: LocalFile) -> None:
        """Make the newest generation as safe as the mount promises."""
        generation = local.generation
        try:
            if not self._renames.arrive(local):
                self._versions.settle(local)
        finally:
            local.told = max(local.told, generation)

    def keep(self, local: LocalFile) -> None:
        """Make durable what stays on this machine (W6).

        Raises:
            OSError: the local disk refuses.
        """
        if local.stays_local and not local.clean:
            self._versions.prepare(local)
            with self._lock:
                staged = self._space.staged_name(local) is not None
                if not (local.unlinked or local.hollow or staged) and local.refused is None:
                    self._versions.keep_local(local)
