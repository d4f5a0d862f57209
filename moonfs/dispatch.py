"""The way from libfuse into Python: fusepy's dispatch with the costs taken out that every request pays.

libfuse's threads are foreign to Python, so that each callback builds and drops a thread state; here a thread keeps
its own (49 → 30 µs of processor time a request). A `stat` comes packed, as C has it in memory, and is copied at once;
a listing says of each name what it is, so that nobody need ask (grep, find, `ls -i`); what is read goes straight to
where libfuse wants it. It makes no decision; whatever the operations raise, C gets a negative errno.

**Threading:** called by libfuse from its threads. What is pinned is never given back: libfuse keeps ten idle threads,
and new ones mostly take over the identity of one that has ended, so that a bounded few are enough.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import operator
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:

    class _Base:
        operations: Any

        def __init__(self, operations: Any, mountpoint: str, **options: Any) -> None: ...

    class _Stat(ctypes.Structure): ...

    MISSING: str | None

else:
    try:
        import fuse

        if fuse._libfuse.fuse_version() >= 30:  # by FUSE_LIBRARY_PATH: the two share no structure
            raise OSError("it is libfuse 3")
        _Base, _Stat = fuse.FUSE, fuse.c_stat
    except OSError as problem:
        # It is importable all the same: every command runs without libfuse, and what mounts says what is missing.
        MISSING, _Base = str(problem), object

        class _Stat(ctypes.Structure):  # the abstract class itself has no size
            _fields_ = ()
    else:
        MISSING = None

log = logging.getLogger(__name__)

#: Threads that keep their state, at most; later ones pay the full price.
_PINNED: Final = 64
_BILLION: Final = 10**9


class Dispatch(_Base):
    """fusepy's `FUSE`; see there for the arguments."""

    _pinned: Final[set[int]] = set()

    @classmethod
    def _wrapper(cls, func: Any, *args: Any) -> int:
        """Run one callback and return its answer to C."""
        ident = threading.get_ident()
        if ident not in cls._pinned and len(cls._pinned) < _PINNED:
            cls._pinned.add(ident)
            ctypes.pythonapi.PyGILState_Ensure()  # without its Release: the state stays with the thread
        try:
            return func(*args) or 0
        except OSError as error:
            return -error.errno if error.errno else -errno.EIO
        except BaseException:
            log.exception("A request failed outside of the errno boundary")
            return -errno.EIO

    def getattr(self, path: bytes, buffer: Any) -> int:
        """stat(2) by name."""
        return self.fgetattr(path, buffer, None)

    def fgetattr(self, path: bytes | None, buffer: Any, info: Any) -> int:
        """fstat(2); `path` is None where only the handle is known."""
        name = None if path is None else path.decode("utf-8", "surrogateescape")
        stat = self.operations("getattr", name, info.contents if info else None)
        ctypes.memmove(buffer, stat, len(stat))
        return 0

    def getxattr(self, path: bytes, name: bytes, buffer: Any, size: int, *rest: int) -> int:
        """getxattr(2); the answer to most is that there is none, and the kernel asks before every write(2)."""
        value = self.operations("getxattr", path.decode("utf-8", "surrogateescape"), name.decode(errors="replace"))
        if value is None:
            return -errno.ENODATA
        if not buffer:  # only asked for its length
            return len(value)
        if len(value) > size:
            return -errno.ERANGE
        ctypes.memmove(buffer, value, len(value))
        return len(value)

    def readdir(self, _path: bytes | None, buffer: Any, filler: Callable[..., int], _offset: int, info: Any) -> int:
        """readdir(3), with the kind and the inode number of each name; all at once."""
        stat = _Stat()
        where = ctypes.byref(stat)
        for name, packed in self.operations("readdir", None, info.contents.fh):
            ctypes.memmove(where, packed, len(packed))
            if filler(buffer, name, where, 0):
                break
        return 0

    def read(self, _path: bytes | None, buffer: Any, size: int, offset: int, info: Any) -> int:
        """pread(2), into libfuse's own memory."""
        into = (ctypes.c_ubyte * size).from_address(ctypes.addressof(buffer.contents))
        return int(self.operations("read", None, memoryview(into).cast("B"), offset, info.contents))


#: What `pack` is given, in its order, as parts of `struct stat`; who reads a file changes no time of it.
_GIVEN: Final = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize")
_TIMES: Final = {"st_atimespec": 0, "st_mtimespec": 0, "st_ctimespec": 1}
_CODES: Final = {2: "H", 4: "I", 8: "Q"}


def _layout() -> tuple[struct.Struct, Callable[[tuple[int, ...]], tuple[int, ...]]]:
    """Return how `struct stat` lies in memory here, and what puts `_GIVEN` and two times in its order."""
    shape, order, end = "=", [], 0
    fields = [(field[0], getattr(_Stat, field[0])) for field in getattr(_Stat, "_fields_", ())]
    for name, field in sorted(fields, key=lambda item: item[1].offset):
        if name not in (*_GIVEN, *_TIMES):
            continue
        shape += f"{field.offset - end}x"
        end = field.offset + field.size
        if name in _TIMES:
            shape += 2 * {8: "i", 16: "q"}[field.size]
            first = len(_GIVEN) + 2 * _TIMES[name]
            order += [first, first + 1]
        else:
            shape += _CODES[field.size]
            order.append(_GIVEN.index(name))
    shape += f"{ctypes.sizeof(_Stat) - end}x"
    return struct.Struct(shape), operator.itemgetter(*order) if order else tuple


_SHAPE, _IN_ORDER = _layout()


def pack(
    *, mode: int, inode: int, links: int, uid: int, gid: int, size: int, block: int, mtime_ns: int, ctime_ns: int
) -> bytes:
    """Return a `struct stat` as C has it: sizes in bytes, times in nanoseconds since 1970; atime is mtime."""
    blocks = (size + 511) // 512
    times = (*divmod(mtime_ns, _BILLION), *divmod(ctime_ns, _BILLION))
    return _SHAPE.pack(*_IN_ORDER((mode, inode, links, uid, gid, size, blocks, block, *times)))
