"""Where paths lead: the root, `.moonfs`, and the two views of the root's files (N5)."""

from __future__ import annotations

import doctest

import pytest

from moonfs import places, wire
from moonfs.errors import InvalidName, NameTooLong, NotFound, ReadOnly
from moonfs.places import DIRECTORIES, Place, check_new, locate, subdirectories


@pytest.mark.parametrize(
    ("path", "directory", "name"),
    [
        ("/", "", ""),
        ("/a.pdf", "", "a.pdf"),
        ("/purpose", "", "purpose"),
        ("/.moonfs", ".moonfs", ""),
        ("/.moonfs/status.json", ".moonfs", "status.json"),
        ("/.moonfs/by-id", ".moonfs/by-id", ""),
        ("/.moonfs/by-id/c1.content", ".moonfs/by-id", "c1.content"),
        ("/.moonfs/purpose", ".moonfs/purpose", ""),
        ("/.moonfs/purpose/images", ".moonfs/purpose", "images"),
        ("/.moonfs/purpose/image", ".moonfs/purpose/image", ""),
        ("/.moonfs/purpose/image/a.png", ".moonfs/purpose/image", "a.png"),
        ("/.moonfs/purpose/image/.moonfs", ".moonfs/purpose/image", ".moonfs"),
    ],
)
def test_a_path_leads_to_one_place(path: str, directory: str, name: str) -> None:
    """N5: a directory of the drive, or a name in one."""
    assert locate(path) == Place(directory, name)


@pytest.mark.parametrize(
    "path",
    ["/a/b", "/.moonfs/x/y", "/.moonfs/by-id/c1/x", "/.moonfs/purpose/other/a.png", "/.moonfs/purpose/image/a/b"],
)
def test_below_what_is_no_directory_is_nothing(path: str) -> None:
    """N1, N5: there are no other directories."""
    with pytest.raises(NotFound):
        locate(path)


def test_what_is_a_file_and_what_has_a_purpose() -> None:
    """N5, W11: the root leaves the purpose to the mount; what is the drive's own is no file of the account."""
    shown = {
        path: (locate(path).is_file, locate(path).is_named, locate(path).purpose)
        for path in (
            "/",
            "/a",
            "/.moonfs/refresh",
            "/.moonfs/by-id/a",
            "/.moonfs/purpose/a",
            "/.moonfs/purpose/batch/a",
        )
    }
    assert shown == {
        "/": (False, False, ""),
        "/a": (True, True, ""),
        "/.moonfs/refresh": (False, False, ""),
        "/.moonfs/by-id/a": (True, False, ""),
        "/.moonfs/purpose/a": (False, False, ""),
        "/.moonfs/purpose/batch/a": (True, True, "batch"),
    }


def test_subdirectories() -> None:
    """N5: each directory but the root is in the listing of its parent; `.moonfs` is in none."""
    assert [subdirectories(directory) for directory in DIRECTORIES[:5]] == [
        [],
        ["by-id", "purpose"],
        [],
        list(wire.PURPOSES),
        [],
    ]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/.moonfs", ReadOnly),
        ("/.moonfs/x.txt", ReadOnly),
        ("/.moonfs/by-id/x.txt", ReadOnly),
        ("/.moonfs/purpose/x.txt", ReadOnly),
        ("/.moonfs/purpose/image", ReadOnly),
        ("/.moonfs/purpose/image/.moonfs", ReadOnly),
        ("/.moonfs/purpose/image/Thumbs.db", ReadOnly),
        ("/.moonfs/purpose/image/" + "x" * 256, NameTooLong),
        ("/.moonfs/purpose/image/a\nb", InvalidName),
    ],
)
def test_what_cannot_be_made(path: str, error: type[Exception]) -> None:
    """N5, N6, N7: a purpose's directory keeps what the root keeps, everything else nothing."""
    with pytest.raises(error):
        check_new(locate(path))


def test_what_can_be_made() -> None:
    """N5: files in the root and below a purpose."""
    for path in ("/a.txt", "/.moonfs/purpose/video/a.txt", "/.moonfs/purpose/video/.a.swp"):
        check_new(locate(path))


def test_the_examples_hold() -> None:
    """STYLE: what a docstring shows is so."""
    assert doctest.testmod(places).attempted == 2
    assert doctest.testmod(places).failed == 0
