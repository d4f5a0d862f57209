"""What a program that watches a directory is told of it, by inotify(7), as file managers do.

with Watching(drive.point) as watching:
    (drive / "a.txt").write_text("hello")
    watching.until(("come", "a.txt.content"))
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from pathlib import Path
from typing import Final, Self

from tests.harness.drive import SECONDS, wait_until

#: Of sys/inotify.h: what is told of names, and what we call it.
_KINDS: Final = {0x100: "come", 0x200: "gone", 0x40: "gone", 0x80: "come"}
_HEAD: Final = struct.Struct("iIII")


class Watching:
    """A watch on one directory; a context manager.

    Attributes:
        told: what has come and gone so far, by name, in order; a rename is both.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1
        self.told: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        added = libc.inotify_add_watch(self._fd, os.fsencode(self._directory), sum(_KINDS))
        assert self._fd >= 0 and added >= 0, os.strerror(ctypes.get_errno())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def look(self) -> list[tuple[str, str]]:
        """Read what is there to be read, and return all of `told`."""
        while select.select([self._fd], [], [], 0)[0]:
            events = os.read(self._fd, 65536)
            while events:
                _, mask, _, length = _HEAD.unpack_from(events)
                name = os.fsdecode(events[_HEAD.size : _HEAD.size + length].rstrip(b"\0"))
                events = events[_HEAD.size + length :]
                self.told += [(kind, name) for bit, kind in _KINDS.items() if mask & bit]
        return self.told

    def until(self, *wanted: tuple[str, str]) -> None:
        """Return when all of `wanted` has been told of."""
        try:
            wait_until(lambda: set(wanted) <= set(self.look()), f"told: {wanted}", SECONDS / 2)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.told}") from None
