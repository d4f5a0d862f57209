"""The way from libfuse into Python: fusepy's dispatch with the costs taken out that every request pays.

libfuse's threads are foreign to Python, so that each callback builds and drops a thread state; here a thread keeps
its own (49 → 30 µs of processor time a request). A `stat` is filled in field by field instead of through fusepy's
generic loop. It knows no operation and makes no decision; whatever the operations raise, C gets a negative errno.

**Threading:** called by libfuse from its threads. What is pinned is never given back: libfuse keeps ten idle threads,
and new ones mostly take over the identity of one that has ended, so that a bounded few are enough.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:

    class _Base:
        operations: Any

        def __init__(self, operations: Any, mountpoint: str, **options: Any) -> None: ...

else:
    try:
        from fuse import FUSE as _Base  # noqa: N811 - a class, whatever its name
    except OSError:  # libfuse is missing: `operations.MISSING` has the reason
        _Base = object

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
        attrs = self.operations("getattr", name, info.contents if info else None)
        stat = buffer.contents
        ctypes.memset(buffer, 0, ctypes.sizeof(stat))
        stat.st_mode = attrs["st_mode"]
        stat.st_ino = attrs["st_ino"]
        stat.st_nlink = attrs["st_nlink"]
        stat.st_uid = attrs["st_uid"]
        stat.st_gid = attrs["st_gid"]
        stat.st_size = attrs["st_size"]
        stat.st_blocks = attrs["st_blocks"]
        stat.st_blksize = attrs["st_blksize"]
        for field, key in (("st_mtimespec", "st_mtime"), ("st_ctimespec", "st_ctime"), ("st_atimespec", "st_atime")):
            time = getattr(stat, field)
            time.tv_sec, time.tv_nsec = divmod(attrs[key], _BILLION)
        return 0
