"""What is in `.moonfs` besides the account's files: its directories, the drive's state, and its switches (N5).

It is in no listing of the root, and its owner's alone unless the mount says otherwise (X2). Nothing here touches the
network; what looks at the account's files through `by-id` and `purpose` does so in `filesystem`.

**Threading:** any thread may call anything; the functions that make the bytes bring their own locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from moonfs import places
from moonfs.errors import FileTooLarge, NotFound, ReadOnly
from moonfs.handles import ROOT_INODE, Attr, Handle
from moonfs.places import DIRECTORIES, Place

#: Writing to it drops the listing; it reads as empty.
REFRESH: Final = "refresh"
#: Writing names to it has their texts fetched; it reads as how far that is.
PREFETCH: Final = "prefetch"
#: Writing ids to it deletes those of them that are conflict copies of this machine; it reads as which there are.
TIDY: Final = "tidy"
#: Writing to it clears the record of failures; it reads as empty.
CLEAR: Final = "clear"
#: Bytes that may be written to a switch until it is closed: a thousand names of the longest kind, four times.
_MOST_WRITTEN: Final = 1024 * 1024
#: Nanoseconds from a change of names until the mtime of their directory moves once more (A1). KDE Frameworks 6 take a
#: FUSE drive for one on a network: they look at its time, in whole seconds, right after a change of their own, and then
#: every five seconds. What came along with that change, such as a text, they would never see. It is long enough for
#: that first look, and short for who waits.
_ONCE_MORE_NS: Final = 2_000_000_000
#: The first inode number of its files; below are those of the directories.
_FILES: Final = ROOT_INODE + 15


class Control:
    """The control directory of one mount."""

    def __init__(
        self,
        files: Mapping[str, Callable[[], bytes]],
        switches: Mapping[str, Callable[[bytes], None]],
        *,
        private: bool = True,
    ) -> None:
        """`files` names the drive's own files and what makes their bytes.

        `switches` are those among them that can be written to, and what that does, given all that was written until
        a close, or nothing for a mere touch. `private`: whatever the umask leaves to others, this is the owner's.
        """
        self._private = private
        self._files = files
        self._switches = switches
        self._started_ns = time.time_ns()

    def names(self) -> list[str]:
        """Return the names in `.moonfs`."""
        return sorted([*self._files, *places.subdirectories(places.CONTROL)])

    def directory(self, place: Place, changed_ns: int) -> Attr:
        """Return what `stat` shows of a directory; `changed_ns` is when the account's files changed last."""
        directory = place.directory
        fixed = directory in (places.CONTROL, places.PURPOSES)
        if fixed:
            changed_ns = self._started_ns
        moved = not fixed and time.time_ns() >= changed_ns + _ONCE_MORE_NS
        return Attr(
            0,
            changed_ns + _ONCE_MORE_NS if moved else changed_ns,
            0o500 if fixed else 0o700,
            ROOT_INODE + DIRECTORIES.index(directory),
            directory=True,
            subdirectories=len(places.subdirectories(directory)),
            private=self._private and directory != places.ROOT,
            ctime_ns=changed_ns,  # by which tar says "file changed as we read it", so it stays
        )

    def file(self, place: Place) -> Attr:
        """Return what `stat` shows of a file of the drive's own.

        Raises:
            NotFound: no such file.
        """
        return self._attr(place.name, self._body(place))

    def open(self, place: Place, *, write: bool) -> Handle:
        """Return a handle on the bytes of a file as they are now.

        Raises:
            NotFound: no such file.
            ReadOnly: to be written, and no switch.
        """
        body = self._body(place)
        if write:
            self.touch(place)
        return Handle(
            place.name,
            body=body,
            attr=self._attr(place.name, body),
            on_close=self._switches[place.name] if write else None,
        )

    def touch(self, place: Place) -> None:
        """Take a file as written to, without bytes.

        Raises:
            NotFound: no such file.
            ReadOnly: no switch.
        """
        self._body(place)
        if place.name not in self._switches:
            raise ReadOnly(f"{place.name} shows the drive's state and cannot be written.")
        self._switches[place.name](b"")

    @staticmethod
    def write(handle: Handle, data: bytes) -> None:
        """Take what is written to a switch, one piece after another.

        Raises:
            FileTooLarge: it is no longer a list of names.
        """
        if len(handle.written) + len(data) > _MOST_WRITTEN:
            raise FileTooLarge(f"No more than {_MOST_WRITTEN:,} bytes can be written to {handle.name} at once.")
        handle.written += data

    @staticmethod
    def close(handle: Handle) -> None:
        """Do what a switch is for, if anything was written to it since it was closed last."""
        written, handle.written = handle.written, b""
        if written and handle.on_close is not None:
            handle.on_close(written)

    def _body(self, place: Place) -> bytes:
        if place.directory != places.CONTROL or place.name not in self._files:
            raise NotFound(f"No such file: {place.directory}/{place.name}")
        return self._files[place.name]()

    def _attr(self, name: str, body: bytes) -> Attr:
        inode = _FILES + sorted(self._files).index(name)
        mode = 0o600 if name in self._switches else 0o400
        return Attr(len(body), time.time_ns(), mode, inode, private=self._private)
