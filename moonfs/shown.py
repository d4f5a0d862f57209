"""What `stat` and `getxattr` show of a file, from what is known here: nothing is fetched for it (A1, A2, A4).

**Threading:** any thread may call anything, without a lock.
"""

from __future__ import annotations

from typing import Final

from moonfs import wire
from moonfs.attributes import Attributes
from moonfs.errors import next_step
from moonfs.handles import Attr
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Entry, Sidecar, inode_of, sidecar_inode
from moonfs.originals import Originals
from moonfs.wire import FileObject

#: The size that a text of unknown length shows: below any true one, so that every reader looks again (A2).
UNKNOWN_TEXT_SIZE: Final = 1


class Shown:
    """What is shown of one account's files."""

    def __init__(self, attributes: Attributes, originals: Originals) -> None:
        self._attributes = attributes
        self._originals = originals

    def attr(self, entry: Entry) -> Attr:
        """Return what `stat` shows of a file or a text."""
        if isinstance(entry, LocalFile):
            return Attr(entry.size, entry.mtime_ns, 0o200 if entry.hollow else 0o600, entry.inode)
        if isinstance(entry, Awaited):
            return Attr(UNKNOWN_TEXT_SIZE, entry.local.mtime_ns, 0o400, sidecar_inode(entry.local.inode))
        file, known = entry.file, self._attributes.get(entry.file.id)
        mtime_ns = file.created_at * 10**9 if known.mtime_ns is None else known.mtime_ns
        if isinstance(entry, Sidecar):
            size = UNKNOWN_TEXT_SIZE if known.text_bytes is None else known.text_bytes
            return Attr(size, mtime_ns, 0o400, sidecar_inode(known.inode or _inode_of(file)))
        mode = 0o600 if known.sha256 in self._originals else 0o200
        return Attr(file.bytes, mtime_ns, mode, known.inode or _inode_of(file))

    def text(self, file: FileObject, size: int) -> Attr:
        """Return what `stat` shows of a text of `size` bytes."""
        return Attr(size, self.mtime_ns(file), 0o400, sidecar_inode(self.inode(file)))

    def original(self, file: FileObject) -> Attr:
        """Return what `stat` shows of a stored file whose bytes are here."""
        return Attr(file.bytes, self.mtime_ns(file), 0o600, self.inode(file))

    def mtime_ns(self, file: FileObject) -> int:
        """Return a stored file's modification time, in nanoseconds since 1970: what was set here, or its upload's."""
        known = self._attributes.get(file.id)
        return file.created_at * 10**9 if known.mtime_ns is None else known.mtime_ns

    def inode(self, file: FileObject) -> int:
        """Return a stored file's inode number: what an upload from here inherited, or one that its id gives (A1)."""
        return self._attributes.get(file.id).inode or _inode_of(file)

    def xattrs(self, entry: Entry, purpose: str) -> dict[str, bytes]:
        """Return the extended attributes by name, without the empty ones; `purpose` is the file's (A4)."""
        entry = entry.local if isinstance(entry, Awaited) else entry
        if isinstance(entry, LocalFile):
            file = entry.current if entry.clean else None
            state = "open" if entry.writers else "local" if entry.stays_local else "pending"
            error, step = ("", "") if entry.refusal is None else (str(entry.refusal), next_step(entry.refusal))
            sha256 = entry.sha256 if entry.clean else ""
            state = "failed" if error else state
        else:
            file, state, error, step = entry.file, "stored", "", ""
            sha256 = self._attributes.get(file.id).sha256 or ""
        shown = {"state": state, "error": error, "next": step, "sha256": sha256, "purpose": purpose}
        if file is not None:
            shown |= {
                "id": file.spelt,
                "url": f"ms://{file.spelt}",
                "status": file.status,
                "status_details": file.status_details,
            }
        return {f"user.moonfs.{key}": value.encode("utf-8", "replace") for key, value in shown.items() if value}


def _inode_of(file: FileObject) -> int:
    """Return the inode number that the id of a file gives, however that is spelt (A1)."""
    return inode_of(file.id if file.apart else wire.bare(file.id))
