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
from moonfs.dispatch import Dispatch  # noqa: E402

ATTRS = {
    "st_mode": stat.S_IFREG | 0o640,
    "st_ino": 2**53 - 1,
    "st_nlink": 1,
    "st_uid": 1000,
    "st_gid": 1001,
    "st_size": 5_000_000_000,
    "st_blocks": 9_765_626,
    "st_blksize": 4096,
    "st_atime": 1_700_000_000_123_456_789,
    "st_mtime": -1,
    "st_ctime": 2**62,
}


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


@pytest.mark.parametrize("path", [b"/a\xff.txt", None])
def test_a_stat_is_what_fusepy_makes_of_it(path: bytes | None) -> None:
    """A1: every field as in fusepy's own way, over whatever the buffer held; a name that is no UTF-8 arrives."""
    asked: list[Any] = []

    def operations(operation: str, name: str | None, info: Any) -> dict[str, int]:
        asked.append((operation, name, info))
        return ATTRS

    dispatch = Dispatch.__new__(Dispatch)
    dispatch.operations = operations
    shown, expected = fuse.c_stat(), fuse.c_stat()
    ctypes.memset(ctypes.pointer(shown), 0xFF, ctypes.sizeof(shown))
    assert dispatch.fgetattr(path, ctypes.pointer(shown), None) == 0
    fuse.set_st_attrs(expected, ATTRS, use_ns=True)
    assert bytes(shown) == bytes(expected)
    assert asked == [("getattr", None if path is None else "/a\udcff.txt", None)]


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
