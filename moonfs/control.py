"""The directory `.moonfs`, which shows the drive's own state and is in no listing (N5). It touches no network.

**Threading:** any thread may call anything; the functions that make the bytes bring their own locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from moonfs import names
from moonfs.errors import NotFound, ReadOnly
from moonfs.handles import ROOT_INODE, Attr, Handle


class Control:
    """The control directory of one mount."""

    def __init__(self, files: Mapping[str, Callable[[], bytes]]) -> None:
        """`files` names its files and what makes their bytes."""
        self._files = files
        self._started_ns = time.time_ns()

    def names(self) -> list[str]:
        """Return the names in it."""
        return sorted(self._files)

    def attr(self, directory: str, name: str) -> Attr:
        """Return what `stat` shows of it or of a file in it.

        Raises:
            NotFound: no such file.
        """
        if not directory and name == names.CONTROL:
            return Attr(0, self._started_ns, 0o500, ROOT_INODE + 1, directory=True)
        if directory == names.CONTROL and name in self._files:
            inode = ROOT_INODE + 2 + self.names().index(name)
            return Attr(len(self._files[name]()), time.time_ns(), 0o400, inode)
        raise NotFound(f"No such file: {directory}/{name}")

    def open(self, name: str, *, write: bool) -> Handle:
        """Return a handle on the bytes of `name` as they are now.

        Raises:
            NotFound: no such file.
            ReadOnly: to be written.
        """
        attr = self.attr(names.CONTROL, name)
        if write:
            raise ReadOnly(f"{name} shows the drive's state and cannot be written.")
        body = self._files[name]()
        return Handle(name, body=body, attr=replace(attr, size=len(body)))
