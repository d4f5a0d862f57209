"""How a name goes: on the service at once, or in the background, and here; its text's name with it (W8, W10).

**Threading:** any thread may call anything; the filesystem's lock is taken here and not held during a request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from moonfs import names
from moonfs.errors import MoonfsError, NotFound
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace, Remote, awaited_name
from moonfs.table import has_text
from moonfs.versions import Versions
from moonfs.wire import FileObject

#: Seconds in which a program that deletes a text a second time wants to make a file of its name.
_INSISTS_SECONDS: Final = 1.0


class Insisting:
    """Which program deletes a text again and again, since it wants to make a file of that name (W10).

    tar(1) deletes what it is to unpack to, until the name is free. A text never goes by that, and tar would never end.
    So the name is free for it, once, after its second try: then it makes the file, which is refused for what it is.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The last deletion of a text: which one, by which process, when, and whether it was one more of the same. One
        # is enough: who deletes texts one after the other never comes back to the one before.
        self._last = ("", 0, float("-inf"), False)

    def delete(self, path: str, group: int) -> None:
        """Note that the process `group` deletes a text."""
        before, by, when, _ = self._last
        now = self._clock()
        self._last = (path, group, now, (before, by) == (path, group) and now - when < _INSISTS_SECONDS)

    def finds_none(self, path: str, group: Callable[[], int] | None) -> bool:
        """Say whether a look-up of a text, by the process `group()`, is to find nothing; true once."""
        wanted, by, when, again = self._last
        if not again or wanted != path or group is None or self._clock() - when > _INSISTS_SECONDS or group() != by:
            return False
        self._last = ("", 0, float("-inf"), False)
        return True


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

        In write-back what cannot be recorded here is deleted on the service at once (W7).

        Raises:
            MoonfsError: the service did not delete it.
            OSError: in write-back, the local disk refuses, and the service did not delete it either.
        """
        refusal: OSError | None = None
        if self._write_back:
            try:
                with self._lock:
                    self._remove_later(entry, name, group)
                return
            except OSError as error:
                refusal = error
        try:
            self._remove_now(entry, name, group)
        except MoonfsError:
            if refusal is None:
                raise
            raise refusal from None

    def _remove_later(self, entry: Remote | LocalFile, name: str, group: int) -> None:
        """Have a file deleted in the background; the lock is held."""
        if isinstance(entry, LocalFile):
            text = self._text_of(entry, name)
            self._versions.unlink_later(entry)
        else:
            text = _text_name(entry.file, name)
            self._versions.delete_later(name, frozenset({entry.file.id}))
        self._leave_ghost(text, group)

    def _remove_now(self, entry: Remote | LocalFile, name: str, group: int) -> None:
        with self._versions.removing(name):
            if isinstance(entry, Remote):
                with self._lock:
                    newer = self._space.local.get(name)
                if newer is None or entry.file.id not in newer.replaces:
                    self._versions.uploader.delete(entry.file.id)
                    with self._lock:
                        self._versions.removed(name)
                        self._leave_ghost(_text_name(entry.file, name), group)
                    return
                entry = newer  # a version that was in doubt has taken the name meanwhile
            self._remove_local(entry, name, group)

    def _remove_local(self, local: LocalFile, name: str, group: int) -> None:
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
    return names.sidecar(name, file.spelt) if has_text(file) else ""
