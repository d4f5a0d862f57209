"""GNOME Files on a display that shows nowhere, driven by keys: it works on the service, and its looks fetch nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from moonfs.announcer import find_watches
from tests.conftest import Faulty
from tests.harness.desktop import Desktop
from tests.harness.drive import wait_until
from tests.harness.programs import needs
from tests.harness.windows import Windows, needs_version, new_home, opens_in, tell_types, works

# In one mode only, since what it sees of a drive is the same in either: names, sizes and events. Write-back is the
# harder one here: what it overwrites, renames and deletes may still be on its way. Dolphin is driven in write-through,
# Thunar in both.
pytestmark = [pytest.mark.fuse, pytest.mark.parametrize("moded", ["write-back"], indirect=True)]

#: Files of somebody else.
NAMES = ("a.txt", "b.pdf", "c.docx", "d.png")


class Nautilus(Windows):
    """Windows of GNOME Files; its questions have no title."""

    _looks_again = True  # it once missed a file that it had itself copied in, of which the kernel tells

    def open(self, folder: Path) -> None:
        # On a busy machine, version 43 sometimes never lists the folder of a new window: it asks for statfs(2), is
        # answered, and says "Loading…" for good. Once it has listed a folder, it watches it.
        for _ in range(5):
            super().open(folder)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: find_watches(str(folder)), f"{folder} is listed", 20, 0.05)
                return
            self.desktop.answers(self.title(folder), "ctrl+w")
        raise AssertionError(f"GNOME Files never lists {folder}")

    def select_all(self) -> None:
        self.select_by("*")  # which gives the files the keys, as nothing else does before one is selected

    def select_by(self, pattern: str) -> None:
        window = self.desktop.focused(self._title.format(".*"))
        self._asks_what(window)
        self.desktop.types(pattern)
        self.desktop.answers("Select Items Matching", "Return")
        self.desktop.until(lambda: self.desktop.focused(".*") == window, "the folder has the focus again")

    def _asks_what(self, window: str) -> None:
        """Have it ask which files to select; on a busy machine it lets a key pass that comes as it is drawn anew."""
        asking = "Select Items Matching"
        for _ in range(5):
            self.desktop.presses("ctrl+s")
            with contextlib.suppress(AssertionError):
                self.desktop.until(lambda: asking in self.desktop.windows().values(), asking, 10)
                break
            assert self.desktop.focused(".*") == window
        self.desktop.focused(asking)

    def replaces(self) -> None:
        self.desktop.answers("File conflict", "alt+p")

    def renames(self, file: Path, name: str) -> None:
        self.desktop.presses("F2")
        self.desktop.until(self._asks_name, "it asks for the new name")
        self.desktop.presses("ctrl+a")
        self.desktop.types(name)
        self.desktop.presses("Return")
        self.desktop.until(lambda: not self._asks_name(), "it has the new name")

    def _asks_name(self) -> bool:
        return "org.gnome.Nautilus" in self.desktop.windows().values()  # a bubble, below the file

    def deletes(self, *, sure: bool = True) -> None:
        window = self.desktop.focused(self._title.format(".+"))
        # In the trash it cannot be put, and it is asked whether to delete it instead.
        self.desktop.presses("shift+Delete" if sure else "Delete")
        self.desktop.focused("")
        self.desktop.presses("alt+d" if sure else "Escape")
        self.desktop.until(lambda: self.desktop.focused(".*") == window, "the folder has the focus again")


@pytest.fixture
def nautilus(either: Faulty) -> Iterator[Nautilus]:
    """GNOME Files, without a window."""
    needs("nautilus", "update-mime-database")
    new_home(either.drive)
    tell_types(either.drive)
    with Desktop(either.drive, services=False) as desktop:
        needs_version(desktop, "nautilus", 43)
        yield Nautilus(either.drive, desktop, "{}", "nautilus", "--new-window")


def test_nautilus(nautilus: Nautilus, either: Faulty) -> None:
    """W1, W4, W8, W9, W10, L4: copy in, overwrite, rename, delete one, none, a text, all; texts show without F5."""
    works(nautilus, either)


def test_looking_with_nautilus(nautilus: Nautilus, either: Faulty) -> None:
    """Tenet 4: neither a window on texts, nor their properties, nor thumbnails fetch one; a text opens in an editor."""
    point, desktop = nautilus.point, nautilus.desktop
    opened = opens_in(either.drive)
    for name in NAMES:
        either.server.add(name, name.encode() * 10_000)
    Image.new("RGB", (64, 64), "red").save(either.drive / "ours.png")
    either.arrived()
    nautilus.open(point)
    nautilus.copy_all(point)
    nautilus.select(point / "b.pdf.content")
    desktop.presses("alt+Return")
    desktop.answers("Properties", "Escape")
    desktop.focused(nautilus.title(point))
    thumbnails = either.drive.work() / ".cache" / "thumbnails"
    wait_until(lambda: any(thumbnails.rglob("*.png")), "our picture has a thumbnail")
    assert {seen.operation for seen in either.server.seen} == {"list", "upload"}

    nautilus.select(point / "b.pdf.content")
    desktop.presses("Return")
    wait_until(opened.exists, "it is opened")
    assert opened.read_bytes() == (point / "b.pdf.content").read_bytes()
    assert either.server.count("content") == 1
