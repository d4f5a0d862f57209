"""Open handles and what `stat` shows: plain values, and the table of what is open.

It opens nothing and decides nothing about files, but how the kernel may cache behind a handle.

**Threading:** a look-up by number is safe from any thread; everything else needs the filesystem's lock.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from moonfs.errors import AccessDenied
from moonfs.localfile import LocalFile
from moonfs.openers import Opener
from moonfs.places import BY_ID, locate
from moonfs.wire import Body

ROOT_INODE: Final = 1


def original_of(file_id: str) -> str:
    """Return what a `Handle` holds that has the bytes of a stored file."""
    return f"original of {file_id}"


def _is_by_id(path: str) -> bool:
    return bool(path) and locate(path).directory == BY_ID


@dataclass(frozen=True, slots=True)
class Attr:
    """What `stat` shows (A1, A2).

    Attributes:
        size: bytes.
        mtime_ns: nanoseconds since 1970.
        mode: permission bits, before the mount's umask.
        inode: stable while the file exists.
        directory: whether it is one.
        subdirectories: how many directories are in it.
        private: its owner's alone, whatever the mount's umask leaves to others.
        ctime_ns: nanoseconds since 1970; None where it is the mtime.
    """

    size: int
    mtime_ns: int
    mode: int
    inode: int
    directory: bool = False
    subdirectories: int = 0
    private: bool = False
    ctime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An open handle and how the kernel may cache behind it.

    Attributes:
        handle: number for the other calls.
        keep_cache: the page cache of this path still holds these bytes (R2).
        direct_io: the bytes are made up at `open`; bypass the page cache.
    """

    handle: int
    keep_cache: bool = False
    direct_io: bool = False


@dataclass(slots=True)
class Handle:
    """One open file: made-up bytes, an original's descriptor, or a local file.

    Attributes:
        name: under which it was opened, for messages.
        body: all its bytes.
        fd: descriptor of an original.
        local: the file that is read and written.
        writes: it may be written to; `flushed`: it has been closed, once at least.
        attr: what `stat` shows of it, where that does not change.
        path, holds: the path it was opened by, and whose bytes it has. With `local` these are there, whatever `fd` is.
        file_id: the file of the service that is behind `attr`; empty where there is none.
        purpose: what is written through it gets this purpose; empty where the mount says (N5, W11).
        opener: who opened it to write.
        shared: another process than its opener has written since the last close.
        wrote: the generation that the last write through it made.
        on_close: given all that was written, at each close: the drive's own file does something.
        written: what was written since the last one.
    """

    name: str
    body: Body | None = None
    fd: int = -1
    local: LocalFile | None = None
    writes: bool = False
    flushed: bool = False
    attr: Attr | None = None
    path: str = ""
    holds: str = ""
    file_id: str = ""
    purpose: str = ""
    opener: Opener | None = None
    shared: bool = False
    wrote: int = 0
    on_close: Callable[[bytes], None] | None = None
    written: bytes = b""

    def used_by(self, writer: int) -> None:
        """Note that the thread `writer` writes through it, 0 where nobody knows."""
        if not self.shared and self.opener is not None and not self.opener.is_process_of(writer):
            self.shared = True


class Handles:
    """What is open on one mount.

    Attributes:
        by_path: what `open` has registered, by path and number, oldest first; read it, and change nothing.
    """

    def __init__(self) -> None:
        self._open: dict[int, Handle] = {}
        self.by_path: dict[str, dict[int, Handle]] = {}
        self._numbers = itertools.count(1)
        # By path: whose bytes the kernel's page cache has, and the handle that is the first to fill it anew.
        self._cached: dict[str, str] = {}
        self._filling: dict[str, int] = {}
        # Paths over which the kernel is renaming.
        self._targets: set[str] = set()

    def __iter__(self) -> Iterator[Handle]:
        return iter(list(self._open.values()))

    def __getitem__(self, number: int) -> Handle:
        return self._open[number]

    def get(self, number: int) -> Handle | None:
        """Return an open handle, or None."""
        return self._open.get(number)

    def add(self, handle: Handle) -> int:
        """Register a handle and return its number."""
        number = next(self._numbers)
        self._open[number] = handle
        return number

    def open(self, path: str, holds: str, handle: Handle, *, immutable: bool = False) -> Opened:
        """Register a handle on `path` whose bytes are those of `holds`, and say how the kernel may cache them.

        libfuse's node is the path: a handle that still reads what was there before fills the page cache of the one
        that reads what is there now. While there is such a handle, a new one passes the cache by (tenet 3). What is
        in the cache is kept from the moment when a handle that had it emptied is released: before that, the kernel
        need not have heard of its opening.
        """
        handle.path, handle.holds = path, holds
        there = self.by_path.setdefault(path, {})
        mixed = any(other.holds != holds for other in there.values())
        keep = immutable and not mixed and self._cached.get(path) == holds
        number = self.add(handle)
        there[number] = handle
        if not keep:
            self.renewed(path)
            if immutable and not mixed:
                self._filling[path] = number
        return Opened(number, keep_cache=keep, direct_io=mixed)

    def renewed(self, path: str) -> None:
        """Say that `path` was made, written to or moved: what its page cache has is not what was read there before."""
        self._cached.pop(path, None)
        self._filling.pop(path, None)

    def follow(self, local: LocalFile, file_id: str) -> None:
        """Have who reads the stored file `file_id` read `local`, which is laid over it: it is the same file (W12).

        Not who reads it by its id, since that is of one version.
        """
        for opened in list(self._open.values()):
            if opened.holds == original_of(file_id) and not _is_by_id(opened.path):
                self.renewed(opened.path)
                opened.local, opened.holds = local, str(id(local))
                local.handles += 1

    def leave(self, local: LocalFile, file_id: str, attr: Attr, fd: int | None) -> None:
        """Have who reads `local` read the stored file `file_id`, since nobody writes to it any more (W12).

        `attr` is what `stat` shows of that; `fd` has its bytes, or is None where only who had them before has them.

        Raises:
            OSError: no descriptor is left.
        """
        for opened in list(self._open.values()):
            if opened.local is not local or (fd is None and opened.file_id != file_id):
                continue
            if fd is not None and opened.fd >= 0:
                os.dup2(fd, opened.fd, inheritable=False)  # a read that is under way ends with the bytes it began with
            elif fd is not None:
                opened.fd = os.dup(fd)
            opened.attr, opened.file_id, opened.holds, opened.local = attr, file_id, original_of(file_id), None
            local.handles -= 1

    def succeed(self, local: LocalFile, paths: Iterable[str], over: LocalFile | None, stored: Collection[str]) -> None:
        """Have who reads, by one of `paths`, the file `over` or the stored files `stored` read `local` (W12).

        These have lost their name to it, and libfuse's node stays with the path: it is of one size. Only where the
        kernel itself renames over the path it gives up the node, and its readers keep what they have.
        """
        held = {original_of(file_id) for file_id in stored}
        for path in paths:
            there = {} if path in self._targets else self.by_path.get(path, {})
            for opened in there.values():
                older = opened.local
                if opened.writes or older is local or not (opened.holds in held or (older and older is over)):
                    continue
                self.renewed(path)
                if older is not None:
                    older.handles -= 1
                opened.local, opened.holds = local, str(id(local))
                local.handles += 1

    def moving(self, new: str) -> None:
        """Say that the kernel is about to rename over `new`; `moved` or `stays` is called next."""
        self._targets.add(new)

    def stays(self, old: str, new: str) -> None:
        """Say that a rename has failed."""
        self._targets.discard(new)
        for path in (old, new):
            self.renewed(path)

    def moved(self, old: str, new: str) -> None:
        """Say that what was at `old` is at `new`: libfuse's node goes along, with all that is open on it."""
        self._targets.discard(new)
        if old == new:
            return
        for handle in self.by_path.pop(new, {}).values():
            handle.path = ""  # its node has no path any more
        if there := self.by_path.pop(old, {}):
            self.by_path[new] = there
            for handle in there.values():
                handle.path = new
        for path in (old, new):
            self.renewed(path)

    def written(self, number: int) -> LocalFile:
        """Return the local file behind a handle that may be written to.

        Raises:
            AccessDenied: it may not.
        """
        opened = self._open.get(number)
        if opened is None or opened.local is None or not opened.writes:
            name = "The file" if opened is None else opened.name
            raise AccessDenied(f"{name} is not open for writing; open it anew.")
        return opened.local

    def being_written(self) -> list[LocalFile]:
        """Return the local files that may be written to through an open handle."""
        return list({id(h.local): h.local for h in self._open.values() if h.local is not None and h.writes}.values())

    def has_writers_beside(self, number: int, local: LocalFile) -> bool:
        """Say whether others may still write to `local` and will close it: a release comes after its close(2)."""
        others = [opened for key, opened in self._open.items() if key != number and opened.local is local]
        return any(opened.writes and not opened.flushed for opened in others)

    def assign(self, local: LocalFile, purpose: str) -> None:
        """Let what is written through open handles on `local` get `purpose`, since it has moved (N5)."""
        for opened in self._open.values():
            if opened.local is local:
                opened.purpose = purpose

    def pop(self, number: int) -> Handle | None:
        """Forget a handle and close its descriptor; return it, or None."""
        opened = self._open.pop(number, None)
        if opened is not None and (there := self.by_path.get(opened.path)) is not None:
            there.pop(number, None)
            if not there:
                del self.by_path[opened.path]
        if opened is not None and self._filling.get(opened.path) == number:
            del self._filling[opened.path]
            self._cached[opened.path] = opened.holds
        if opened is not None and opened.fd >= 0:
            os.close(opened.fd)
        return opened

    def clear(self) -> None:
        """Forget all handles and close their descriptors."""
        for number in list(self._open):
            self.pop(number)
