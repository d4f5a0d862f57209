"""How a name goes: on the service at once, or in the background, and here; its text's name with it (W8, W10).

**Threading:** any thread may call `remove`; the filesystem's lock is taken here and not held during a request.
"""

from __future__ import annotations

import threading

from moonfs import names
from moonfs.errors import NotFound
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace, Remote, awaited_name
from moonfs.table import has_text
from moonfs.versions import Versions
from moonfs.wire import FileObject


class Removals:
    """The removals of one account."""

    def __init__(
        self, listing: Listing, space: Namespace, versions: Versions, lock: threading.RLock, *, write_back: bool
    ) -> None:
        self._listing = listing
        self._space = space
        self._versions = versions
        self._lock = lock
        self._write_back = write_back

    def remove(self, entry: Remote | LocalFile, name: str, group: int) -> None:
        """Delete a file, seen as `name`, for the process `group`, which may then delete its text's name too (W10).

        Raises:
            MoonfsError: the service did not delete it.
        """
        if isinstance(entry, LocalFile):
            self._remove_local(entry, name, group)
            return
        if not self._write_back:
            self._versions.uploader.delete(entry.file.id)
        with self._lock:
            if self._write_back:
                self._versions.delete_later(frozenset({entry.file.id}))
            self._versions.removed(name)
            self._leave_ghost(_text_name(entry.file, name), group)

    def _remove_local(self, local: LocalFile, name: str, group: int) -> None:
        if self._write_back:
            with self._lock:
                text = self._text_of(local, name)
                self._versions.unlink_later(local)
                self._leave_ghost(text, group)
            return
        deleted: set[str] = set()
        while True:
            with self._lock:
                ids = local.replaces - deleted
                if not ids:
                    text = self._text_of(local, name)
                    self._space.doom(frozenset(deleted))
                    self._versions.cancel(local)
                    self._space.drop(local)
                    self._leave_ghost(text, group)
                    self._versions.end_use(local)
                    return
            for file_id in ids:
                self._versions.uploader.delete(file_id)
                deleted.add(file_id)

    def _text_of(self, local: LocalFile, name: str) -> str:
        """Return the name of a local file's text, there or awaited; empty for none; the lock is held."""
        if self._space.awaits_text(local):
            return awaited_name(local)
        return "" if local.current is None else _text_name(local.current, name)

    def _leave_ghost(self, text: str, group: int) -> None:
        """Let `group` delete the name of a text that has gone with its file; the lock is held."""
        if not text:
            return
        try:
            self._space.resolve(self._listing.peek(), text)
        except NotFound:
            self._space.leave_ghost(text, group)


def _text_name(file: FileObject, name: str) -> str:
    """Return the name of the text of `file`, which is seen as `name`; empty for none."""
    return names.sidecar(name, file.id) if has_text(file) else ""
