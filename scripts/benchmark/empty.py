"""A FUSE driver in Python that keeps nothing, to be run as a process: what every such driver costs at the least.

    python -m scripts.benchmark.empty DIR

It takes writes and forgets them, and knows only names and sizes, without which the kernel would not go on. The
options of the mount are those of moonfs. A line on standard output says that the kernel has started.

**Threading:** libfuse calls from many threads; a dict's own operations are atomic.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Any

import fuse


class Empty:
    """What fusepy calls."""

    use_ns = True

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def __call__(self, operation: str, *args: Any) -> Any:
        """Run one operation."""
        try:
            call = getattr(self, operation)
        except AttributeError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        return call(*args)

    def init(self, _path: str) -> None:
        """The kernel has started."""
        print("ready", flush=True)

    def destroy(self, _path: str) -> None:
        """The mount is gone."""

    def getattr(self, path: str, _fi: Any = None) -> dict[str, int]:
        """stat(2)."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2, "st_ino": 1, "st_uid": os.getuid()}
        if path not in self._sizes:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        size = self._sizes[path]
        inode = hash(path) & 0xFFFFFFFF | 2
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_ino": inode, "st_size": size, "st_uid": os.getuid()}

    def getxattr(self, _path: str, _name: str, _position: int = 0) -> bytes:
        """getxattr(2): the kernel asks before every write."""
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def create(self, path: str, _mode: int, fi: Any) -> int:
        """open(2) with O_CREAT."""
        self._sizes[path] = 0
        fi.fh = 1
        return 0

    def write(self, path: str, data: bytes, offset: int, _fi: Any) -> int:
        """pwrite(2)."""
        self._sizes[path] = max(self._sizes[path], offset + len(data))
        return len(data)

    def flush(self, _path: str, _fi: Any) -> int:
        """close(2)."""
        return 0

    def release(self, _path: str, _fi: Any) -> int:
        """The last reference is gone."""
        return 0


def main() -> None:
    """Serve until unmounted."""
    fuse.FUSE(
        Empty(), sys.argv[1], raw_fi=True, foreground=True, fsname="empty", subtype="moonfs-empty",
        big_writes=True, hard_remove=True, atomic_o_trunc=True, use_ino=True,
        attr_timeout=0, entry_timeout=1, negative_timeout=0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
