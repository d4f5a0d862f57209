"""The table of what is open: whose bytes the kernel may keep in a path's page cache, and when it passes that by."""

from __future__ import annotations

import pytest

from moonfs.handles import Handle, Handles, Opened


class Path:
    """One path; `read` opens what never changes, `write` what may."""

    def __init__(self) -> None:
        self.handles = Handles()

    def read(self, holds: str) -> Opened:
        return self.handles.open("/a", holds, Handle("a"), immutable=True)

    def write(self, holds: str = "local") -> Opened:
        return self.handles.open("/a", holds, Handle("a"))

    def close(self, *opened: Opened) -> None:
        for one in opened:
            self.handles.pop(one.handle)


@pytest.fixture
def path() -> Path:
    return Path()


def test_the_same_bytes_are_kept(path: Path) -> None:
    """R2: from the second time on; those of another path are another matter."""
    first = path.read("one")
    path.close(first)
    assert not first.keep_cache
    for _ in range(2):
        again = path.read("one")
        assert again.keep_cache and not again.direct_io
        path.close(again)
    assert not path.handles.open("/b", "one", Handle("b"), immutable=True).keep_cache


def test_nothing_is_kept_before_the_kernel_has_emptied_its_cache(path: Path) -> None:
    """Tenet 3: of two opens at once the second may be answered first, and would read what was there before."""
    path.close(path.read("old"))
    one, other = path.read("new"), path.read("new")
    path.close(one)
    third = path.read("new")
    assert not (one.keep_cache or other.keep_cache or third.keep_cache)
    path.close(other, third)
    assert path.read("new").keep_cache


@pytest.mark.parametrize("what", ["other bytes", "a writer", "made or moved"])
def test_what_was_changed_in_between_is_not_kept(path: Path, what: str) -> None:
    """Tenet 3: the way back to the same bytes is no way back to the same pages."""
    path.close(path.read("one"))
    if what == "other bytes":
        path.close(path.read("two"))
    elif what == "a writer":
        path.close(path.write())
    else:
        path.handles.renewed("/a")
    again = path.read("one")
    assert not again.keep_cache
    path.close(again)
    assert path.read("one").keep_cache


@pytest.mark.parametrize("writer", [False, True])
def test_a_path_with_two_contents_has_no_cache(path: Path, writer: bool) -> None:
    """Tenet 3: while an older handle fills the pages, a newer one with other bytes passes them by, and keeps none."""
    older = path.write() if writer else path.read("one")
    newer = path.read("two")
    assert newer.direct_io and not newer.keep_cache
    path.close(newer)
    path.close(older)
    again = path.read("two")
    assert not again.direct_io and not again.keep_cache


def test_a_handle_that_is_closed_late_records_nothing(path: Path) -> None:
    """Tenet 3: its bytes were there before the writer came."""
    reader = path.read("one")
    path.close(path.write())
    path.close(reader)
    assert not path.read("one").keep_cache


def test_what_is_open_is_found_by_its_path(path: Path) -> None:
    """Oldest first, and nothing is left of a path when all that was open on it is closed."""
    one, other = path.read("one"), path.read("two")
    assert [handle.holds for handle in path.handles.by_path["/a"].values()] == ["one", "two"]
    path.close(one)
    assert [handle.holds for handle in path.handles.by_path["/a"].values()] == ["two"]
    path.close(other)
    assert not path.handles.by_path
