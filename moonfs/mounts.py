"""The kernel's mount table, as a process sees it (proc_pid_mountinfo(5)); its only reader. No filesystem is asked.

**Threading:** pure functions, but for the table, which changes at any time.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table.

    Attributes:
        point: absolute path.
        fstype: such as `fuse.moonfs`.
        owner: who has mounted it, of a FUSE filesystem; -1 for others.
        read_only: whether the kernel refuses changes.
        device: what tells filesystems apart, as `major:minor`; a bind mount has that of its origin.
    """

    point: str
    fstype: str
    owner: int = -1
    read_only: bool = False
    device: str = ""


def table(process: int | str = "self") -> list[Mount]:
    """Return the mounts of the mount namespace of a process, the topmost last.

    Raises:
        OSError: this user may not see them, or the process has ended.
    """
    mounts = []
    with open(f"/proc/{process}/mountinfo", "rb") as lines:  # bytes: only " " and "\n" part, which the kernel escapes
        for line in lines:
            fields, _, rest = line.partition(b" - ")
            kind, _, options = rest.split(b" ")[:3]
            owner = re.search(rb"\buser_id=([0-9]+)", options)
            words = fields.split(b" ")
            point, flags = words[4:6]
            mounts.append(
                Mount(
                    _unescape(point),
                    _unescape(kind),
                    owner=int(owner[1]) if owner is not None else -1,
                    read_only=b"ro" in flags.split(b","),
                    device=words[2].decode("ascii"),
                )
            )
    return mounts


def numbers(device: str) -> tuple[int, int]:
    """Return the major and the minor number of a `Mount.device`."""
    major, _, minor = device.partition(":")
    return int(major), int(minor)


def _unescape(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match[1], 8)]), field))
