"""What `moonfs sync` waits for, by what a drive says of its uploads (W2)."""

from __future__ import annotations

from typing import Any

import pytest

from moonfs.cli import words
from moonfs.cli.syncing import Sync
from moonfs.errors import UsageError


def said(
    *,
    failed: dict[str, int] | None = None,
    deleting: tuple[str, ...] = (),
    settling: dict[str, str] | None = None,
    **open_: tuple[int, int],
) -> Any:
    return {
        "settling": settling or {},
        "unsettled": {name: {"first": first, "last": last, "bytes": 10} for name, (first, last) in open_.items()},
        "failed": [{"name": n, "number": k, "error": "no", "next": "do"} for n, k in (failed or {}).items()],
        "deleting": list(deleting),
        "waiting": [{"name": name, "error": "later", "next": "wait"} for name in open_],
        "under_way": [{"name": name, "sent": 1} for name in open_],
    }


def test_what_was_there_at_the_beginning() -> None:
    """W2: files and deletions; later ones are none of its business, nor are their failures."""
    sync = Sync("/m", said(a=(1, 1), b=(2, 4), deleting=("x",)))
    assert (sync.files, sync.bytes, sync.deletions, sync.left) == (2, 20, 1, ["a", "b"])
    assert not sync.look(said(b=(2, 7), c=(5, 5), deleting=("x", "y"), failed={"d": 6}))
    assert (sync.left, sync.left_bytes, sync.left_deletions, sync.failed) == (["b"], 10, 1, [])
    assert [each["name"] for each in (*sync.trouble, *sync.under_way)] == ["b", "b"]
    assert not sync.look(said(b=(4, 7)))
    assert sync.look(said(b=(7, 7), c=(5, 5), deleting=("y",), failed={"a": 1}))
    assert [each["name"] for each in sync.failed] == ["a"]


def test_what_failed_before() -> None:
    """W2: a script is told the same, whether the refusal came before the command or after it."""
    sync = Sync("/m", said(failed={"a": 3}))
    assert (sync.files, [each["name"] for each in sync.failed]) == (0, ["a"])


def test_what_an_earlier_run_has_left() -> None:
    """W2: it has no numbers, and is waited for."""
    sync = Sync("/m", said(a=(0, 0)))
    assert not sync.look(said(a=(0, 0))) and sync.look(said(a=(1, 1)))


def test_uploads_that_were_given_up() -> None:
    """W3, W8: until it is told what has become of them, and until what comes of that is done; not later ones."""
    sync = Sync("/m", said(settling={"k": "a", "l": "b"}))
    assert (sync.files, sync.deletions, sync.left_doubts) == (0, 2, ["a", "b"])
    assert not sync.look(said(settling={"l": "b"}, a=(7, 7), deleting=("x",), c=(8, 8)))
    assert (sync.left, sync.left_deletions, sync.left_doubts) == (["a"], 1, ["b"])
    assert not sync.look(said(settling={"m": "c"}, a=(7, 8), deleting=("x", "y")))
    assert (sync.left, sync.left_deletions, sync.left_doubts) == (["a"], 2, [])
    assert not sync.look(said(settling={"m": "c"}, deleting=("y", "z")))
    assert sync.look(said(settling={"m": "c"}, a=(9, 9), deleting=("z",)))


def test_a_drive_of_an_older_moonfs() -> None:
    """L1: which says less, is no traceback."""
    with pytest.raises(UsageError, match="older moonfs"):
        Sync("/m", {"pending": [], "failed": []})


def test_failures_in_words() -> None:
    """E1: those of one kind together, with what to do once; twenty are named."""
    failed = [{"name": f"{number}", "error": "no", "next": "do"} for number in range(25)]
    lines = words.failures([*failed, {"name": "x\x1b", "error": "else", "next": "other"}], {"do": 30})
    assert lines[:2] == ["0: no", "1: no"] and lines[20:] == [
        "… and 10 more", "    → do", "x\\x1b: else", "    → other",
    ]  # fmt: skip
    assert words.failures([]) == []
