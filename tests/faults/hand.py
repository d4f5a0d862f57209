"""A process that makes system calls on a mounted drive for somebody else: one call of a walk, one line of JSON.

It is started by its path, imports nothing of ours, and knows nothing of what should come: `model` compares. Descriptors
stay open in numbered slots, so that several of these processes hold the same files at once. Bytes are Latin-1.

**Threading:** one thread, one request at a time; it ends with its standard input.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
from typing import Any

#: What is open, by slot.
SLOTS: dict[int, int] = {}


def read_all(fd: int) -> str:
    """Return all bytes of a descriptor, from its beginning."""
    data = b""
    while part := os.pread(fd, 1 << 17, len(data)):
        data += part
    return data.decode("latin-1")


def write_all(fd: int, text: str) -> None:
    """Write with as many calls as it takes."""
    data = text.encode("latin-1")
    while data:
        data = data[os.write(fd, data) :]


def opens(slot: int, path: str, flags: int) -> None:
    SLOTS[slot] = os.open(path, flags | os.O_CLOEXEC, 0o644)


def closes(slot: int) -> None:
    os.close(SLOTS.pop(slot))


def dups(slot: int, other: int) -> None:
    SLOTS[other] = os.dup(SLOTS[slot])


def writes(slot: int, text: str) -> None:
    write_all(SLOTS[slot], text)


def pwrites(slot: int, text: str, offset: int) -> None:
    os.pwrite(SLOTS[slot], text.encode("latin-1"), offset)


def maps(slot: int, text: str, offset: int) -> bool:
    """Write through a shared mapping, which ends before its descriptor is closed.

    Say whether there was one: a file that took the place of one which is still open cannot be mapped.
    """
    data = text.encode("latin-1")
    try:
        memory = mmap.mmap(SLOTS[slot], 0)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    with memory:
        memory[offset : offset + len(data)] = data
        memory.flush()
    return True


def reads(slot: int) -> tuple[int | None, str]:
    """Return the size by fstat and the bytes; a file that has lost its name has no size, since libfuse asks by name."""
    try:
        size = os.fstat(SLOTS[slot]).st_size
    except FileNotFoundError:
        size = None
    return size, read_all(SLOTS[slot])


def cuts(slot: int, length: int) -> None:
    os.ftruncate(SLOTS[slot], length)


def syncs(slot: int) -> None:
    os.fsync(SLOTS[slot])


def puts(path: str, flags: int, text: str, offset: int, sync: int) -> None:
    """Open, write and close."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
        write_all(fd, text)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def gets(path: str) -> tuple[int, str]:
    """Return the size that an open file has, and its bytes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(fd).st_size, read_all(fd)
    finally:
        os.close(fd)


def stats(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, int(found.st_mtime)


def times(path: str, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def attribute(path: str, name: str) -> str:
    return os.getxattr(path, name).decode()


CALLS: dict[str, Any] = {
    "open": opens,
    "close": closes,
    "dup": dups,
    "write": writes,
    "pwrite": pwrites,
    "map": maps,
    "read": reads,
    "cut": cuts,
    "sync": syncs,
    "put": puts,
    "get": gets,
    "stat": stats,
    "times": times,
    "attribute": attribute,
    "list": os.listdir,
    "truncate": os.truncate,
    "rename": os.rename,
    "unlink": os.unlink,
}

if __name__ == "__main__":
    for line in sys.stdin:
        call, *arguments = json.loads(line)
        try:
            answer: list[Any] = ["ok", CALLS[call](*arguments)]
        except OSError as error:
            answer = ["errno", error.errno]
        print(json.dumps(answer), flush=True)
