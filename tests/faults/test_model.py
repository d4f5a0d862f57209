"""Tenets 1 and 3, by a model: whatever three processes do with twelve names, it is what a file system would show.

Two thousand operations, half of them in each mode; `scripts/torture` does a hundred thousand. What fails prints the
line that repeats it and leaves out what it does not need.

**Threading:** the walk's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import model
from tests.faults.model import walk_on, walking
from tests.faults.walk import KINDS, MODES, Operation, Walk, Wrong

OPERATIONS = 1000


@pytest.mark.parametrize("mode", MODES)
def test_a_walk(mode: str, fuse: None, tmp_path: Path) -> None:
    """W1, W2, W4, W5, W6, W8, W9, A1, N5, R1, R5: every call does what the reference does, and the service has it."""
    done = walk_on(mode, "2026", OPERATIONS, tmp_path / "home")
    assert [kind for kind in KINDS if not done[kind]] == []


@pytest.fixture
def walk(fuse: None, tmp_path: Path):
    """A walk in write-through that has written `a.txt`."""
    with walking("write-through", "test", tmp_path / "home") as walk:
        walk.do(Operation(0, "put", "a.txt", number=1, size=20))
        yield walk


def test_what_the_walk_would_find(walk: Walk) -> None:
    """The instrument itself: bytes, sizes, names and copies that are not what they should be are found."""
    walk.do(Operation(0, "settle"))
    stored = next(iter(walk.server.files.values()))
    walk.server.add("a.txt", b"another one")
    with pytest.raises(Wrong, match="more than one"):
        walk.do(Operation(0, "settle"))
    walk.server.files.clear()
    with pytest.raises(Wrong, match="gone on the service"):
        walk.do(Operation(0, "settle"))
    walk.server.files[stored.id] = stored
    walk.reference.names["a.txt"].change(b"something else", "")
    with pytest.raises(Wrong, match="reads as"):
        walk.do(Operation(1, "get", "a.txt"))
    with pytest.raises(Wrong, match="bytes by stat"):
        walk.do(Operation(1, "times", "a.txt", number=1))
    walk.reference.names["b.txt"] = walk.reference.names["a.txt"]
    with pytest.raises(Wrong, match="listed"):
        walk.do(Operation(2, "list"))
    with pytest.raises(Wrong, match="ENOENT"):
        walk.do(Operation(2, "get", "b.txt"))


def test_appends_while_somebody_reads(walk: Walk) -> None:
    """W5, tenet 1: who looks at an open file moves nobody's end of it; each append is behind the last."""
    walk.do(Operation(1, "open", "a.txt", slot=0, mode="r"))
    walk.do(Operation(2, "open", "a.txt", slot=0, mode="a"))
    for number in range(2, 5):
        walk.do(Operation(2, "write", slot=0, number=number, size=20))
        walk.do(Operation(1, "read", slot=0))
    walk.do(Operation(2, "close", slot=0))
    walk.do(Operation(0, "settle"))


def test_what_is_not_needed_is_left_out(fuse: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure shrinks to the operations that it takes."""
    monkeypatch.setattr(Walk, "_times", lambda *_: (_ for _ in ()).throw(Wrong("times")))
    operations = [Operation(0, "put", name, number=1, size=20) for name in ("a.txt", "b.txt", "c.md")]
    shrinking = model.Shrinking("write-through", tmp_path)
    assert shrinking.shrink([*operations, Operation(1, "times", "b.txt", number=1), *operations]) == [
        Operation(1, "times", "b.txt", number=1)
    ]
    assert shrinking.failure == "times"


def test_a_reader_of_a_file_that_is_renamed_and_then_replaced(walk: Walk) -> None:
    """Tenet 3, W12: it reads on in that, since the kernel has one size for the name; never some bytes of each."""
    walk.do(Operation(0, "settle"))
    walk.do(Operation(0, "open", "a.txt", slot=0, mode="r"))
    walk.do(Operation(2, "rename", "a.txt", other="b.txt"))
    walk.do(Operation(1, "offer", "b.txt", other="batch", number=2, size=3000))
    walk.do(Operation(0, "get", "b.txt"))
    walk.do(Operation(0, "read", slot=0))
    walk.do(Operation(1, "put", "b.txt", number=3, size=0))
    walk.do(Operation(0, "read", slot=0))
