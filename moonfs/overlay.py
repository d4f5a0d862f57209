"""Local files laid over remote ones: what an open for writing and a rename begin with (W5, W9), and originals (R5).

Whoever reads the stored version goes on with the local file, which is the same one, written in place; and with what
is stored then, once nobody writes to it any more; and with what takes its name without the kernel's knowledge (W12).

**Threading:** any thread may call `open_original` and `verify`; the rest needs the filesystem's lock.
"""

from __future__ import annotations

import logging
import os

from moonfs.attributes import Attributes
from moonfs.errors import BytesNotHere, ReadOnly
from moonfs.handles import Handles
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Entry, Namespace, Remote, Sidecar
from moonfs.originals import Originals
from moonfs.places import PURPOSES
from moonfs.shown import Shown
from moonfs.spool import Spool
from moonfs.wire import FileObject

log = logging.getLogger(__name__)


class Overlay:
    """The overlay of one account."""

    def __init__(
        self,
        space: Namespace,
        shown: Shown,
        handles: Handles,
        *,
        spool: Spool,
        attributes: Attributes,
        originals: Originals,
    ) -> None:
        self._space = space
        self._handles = handles
        self._shown = shown
        self._spool = spool
        self._attributes = attributes
        self._originals = originals

    def open_original(self, file: FileObject) -> int | None:
        """Return a descriptor of a stored file's bytes, or None where they are not here (R5)."""
        sha256 = self._attributes.get(file.id).sha256
        return None if sha256 is None else self._originals.open(sha256)

    def verify(self, entry: Entry) -> None:
        """Have a stored file's bytes hashed before the lock is taken, which they would keep for as long (E2)."""
        fd = self.open_original(entry.file) if isinstance(entry, Remote) else None
        if fd is not None:
            os.close(fd)

    def take_over(self, entry: Entry) -> LocalFile:
        """Return a file's newest version, laid over the stored one if it is none yet; hollow where nothing is here.

        Raises:
            ReadOnly: a sidecar.
        """
        if isinstance(entry, LocalFile):
            return entry
        if isinstance(entry, Sidecar | Awaited):
            raise ReadOnly(f"{entry.name} shows the text of a file and cannot be written; write the file itself.")
        local = LocalFile(
            self._spool,
            entry.name,
            self._shown.inode(entry.file),
            self._shown.mtime_ns(entry.file),
            base=entry.file,
            source=self.open_original(entry.file),
        )
        local.sha256 = self._attributes.get(entry.file.id).sha256 or ""
        self._space.put(local)
        self._handles.follow(local, entry.file.id)
        return local

    def succeed(self, local: LocalFile, over: LocalFile | None, stored: frozenset[str]) -> None:
        """Have who reads what had the name of `local` read that, where their path shows it now (W12).

        That is the local file `over`, or those that are `stored`.
        """
        paths = [f"/{local.name}", f"/{PURPOSES}/{self._space.purpose_of(local)}/{local.name}"]
        self._handles.succeed(local, paths, over, stored)

    def give_back(self, local: LocalFile) -> None:
        """Have who reads a file that nobody writes to read what is stored in its place: the same bytes, or, where
        these are to go, those before them. Who cannot keeps it open, as a version that was replaced."""
        file, fd = (local.current if local.clean else local.base), None
        if file is None:
            return
        try:
            fd = local.descriptor() if local.clean else self.open_original(file)
            self._handles.leave(local, file.id, self._shown.original(file), fd)
        except (OSError, BytesNotHere) as error:
            log.debug("Readers of %s stay with it: %s", local.name, error)
        finally:
            if fd is not None:
                os.close(fd)
