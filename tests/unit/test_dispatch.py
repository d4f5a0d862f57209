"""The way from libfuse into Python: every answer is one that C understands, and a `stat` is filled in whole."""

from __future__ import annotations

import ctypes
import errno
import stat
import threading
import weakref
from typing import Any

import pytest

fuse = pytest.importorskip("fuse", reason="libfuse 2 is missing", exc_type=OSError)
from moonfs.dispatch import Dispatch, pack  # noqa: E402


def answer(problem: BaseException | None, value: Any = None) -> int:
    def call() -> Any:
        if problem is not None:
            raise problem
        return value

    return Dispatch._wrapper(call)


@pytest.mark.parametrize(
    ("problem", "value", "expected"),
    [
        (None, None, 0),
        (None, 4096, 4096),
        (OSError(errno.ENOSPC, "full"), None, -errno.ENOSPC),
        (OSError("no errno"), None, -errno.EIO),
        (TimeoutError("no errno either"), None, -errno.EIO),
        (ValueError("ours"), None, -errno.EIO),
        (KeyboardInterrupt(), None, -errno.EIO),
    ],
    ids=repr,
)
def test_c_gets_an_answer_whatever_happens(problem: BaseException | None, value: Any, expected: int) -> None:
    """Errors: a result or a negative errno, never garbage."""
    assert answer(problem, value) == expected


def dispatch_to(result: Any) -> tuple[Dispatch, list[tuple[Any, ...]]]:
    """Return a dispatch whose operations answer with `result`, and what they are asked."""
    asked: list[tuple[Any, ...]] = []

    def operations(*call: Any) -> Any:
        asked.append(call)
        return result(*call) if callable(result) else result

    dispatch = Dispatch.__new__(Dispatch)
    dispatch.operations = operations
    return dispatch, asked


PACKED = {"mode": stat.S_IFREG | 0o640, "inode": 2**53 - 1, "links": 1, "uid": 2**32 - 2, "gid": 1001, "block": 4096}


@pytest.mark.parametrize("path", [b"/a\xff.txt", None])
@pytest.mark.parametrize("time_ns", [1_700_000_000_123_456_789, -1, 2**62])
@pytest.mark.parametrize("size", [0, 1, 512, 5_000_000_001])
def test_a_stat_is_what_fusepy_makes_of_it(path: bytes | None, time_ns: int, size: int) -> None:
    """A1: every field as in fusepy's own way, over whatever the buffer held; a name that is no UTF-8 arrives."""
    dispatch, asked = dispatch_to(pack(size=size, mtime_ns=time_ns, ctime_ns=5_000_000_007, **PACKED))
    shown, expected = fuse.c_stat(), fuse.c_stat()
    ctypes.memset(ctypes.pointer(shown), 0xFF, ctypes.sizeof(shown))
    assert dispatch.fgetattr(path, ctypes.pointer(shown), None) == 0
    attrs = {
        "st_mode": PACKED["mode"],
        "st_ino": PACKED["inode"],
        "st_nlink": 1,
        "st_uid": PACKED["uid"],
        "st_gid": PACKED["gid"],
        "st_size": size,
        "st_blocks": -(-size // 512),
        "st_blksize": 4096,
        **dict.fromkeys(("st_atime", "st_mtime"), time_ns),
        "st_ctime": 5_000_000_007,
    }
    fuse.set_st_attrs(expected, attrs, use_ns=True)
    assert bytes(shown) == bytes(expected)
    assert asked == [("getattr", None if path is None else "/a\udcff.txt", None)]


@pytest.mark.parametrize(
    ("value", "size", "expected", "left"),
    [
        (None, 9, -errno.ENODATA, b"........."),
        (b"abc", 0, 3, None),
        (b"abc", 2, -errno.ERANGE, b".."),
        (b"abc", 3, 3, b"abc"),
        (b"\0b", 5, 2, b"\0b..."),
        (b"", 5, 0, b"....."),
    ],
    ids=repr,
)
def test_an_xattr_is_copied_as_it_is(value: bytes | None, size: int, expected: int, left: bytes | None) -> None:
    """getxattr(2): the length alone for no buffer, ERANGE where it is too short, ENODATA where there is none."""
    dispatch, asked = dispatch_to(value)
    memory = None if left is None else (ctypes.c_byte * size)(*b"." * size)
    assert dispatch.getxattr(b"/a", b"user.moonfs.id", memory, size) == expected
    assert asked == [("getxattr", "/a", "user.moonfs.id")]
    assert memory is None or bytes(memory) == left


@pytest.mark.parametrize("room", [1, 2, 9])
def test_a_listing_has_kinds_and_numbers(room: int) -> None:
    """A1, readdir(3): each name with its own mode and inode number, until libfuse has no room."""
    info = ctypes.pointer(fuse.fuse_file_info(fh=3))
    entries = [
        (name, pack(size=0, mtime_ns=0, ctime_ns=0, **{**PACKED, "inode": len(name)})) for name in (b"a", b"\xff\xff")
    ]
    dispatch, asked = dispatch_to(entries)
    filled: list[tuple[Any, ...]] = []

    def filler(buffer: Any, name: bytes, where: Any, offset: int) -> int:
        shown = where._obj
        filled.append((buffer, name, shown.st_mode, shown.st_ino, offset))
        return int(len(filled) == room)

    assert dispatch.readdir(None, "buffer", filler, 0, info) == 0
    expected = [("buffer", name, PACKED["mode"], len(name), 0) for name, _ in entries]
    assert filled == expected[:room] and asked == [("readdir", None, 3)]


def test_a_read_fills_the_buffer_of_libfuse() -> None:
    """R1: the bytes go to where they are wanted, no further than the room there is, and their number to C."""
    memory = (ctypes.c_byte * 8)(*b"........")
    info = ctypes.pointer(fuse.fuse_file_info(fh=3))

    def read(_operation: str, _path: None, buffer: memoryview, offset: int, opened: Any) -> int:
        assert (len(buffer), buffer.format, buffer.readonly, offset, opened.fh) == (6, "B", False, 70_000, 3)
        buffer[:3] = b"\xffbc"
        return 3

    dispatch, _ = dispatch_to(read)
    assert dispatch.read(None, ctypes.cast(memory, ctypes.POINTER(ctypes.c_byte)), 6, 70_000, info) == 3
    assert bytes(memory) == b"\xffbc....."


class Kept:
    """Something that lives as long as the thread state it is kept in."""


def test_a_foreign_thread_keeps_its_state() -> None:
    """FUSE-NOTES: a thread of libfuse builds its Python state once; it outlasts the callback."""
    place = threading.local()
    alive: list[weakref.ref[Kept]] = []

    def operation() -> int:
        place.kept = Kept()
        alive.append(weakref.ref(place.kept))
        return 0

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def callback(_argument: int | None) -> None:
        Dispatch._wrapper(operation)

    libc, thread = ctypes.CDLL(None), ctypes.c_ulong()  # a thread that Python has not made
    assert libc.pthread_create(ctypes.byref(thread), None, callback, None) == 0
    libc.pthread_join(thread, None)
    assert alive[0]() is not None
