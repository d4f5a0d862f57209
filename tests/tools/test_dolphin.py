"""Dolphin on a display that shows nowhere, driven by keys: what it does is done on the service, looks fetch nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.harness.desktop import Desktop
from tests.harness.drive import wait_until
from tests.harness.programs import needs
from tests.harness.windows import Windows, needs_version, new_home, opens_in, tell_types, works

# In one mode only, since what Dolphin sees of a drive is the same in either: names, sizes and events. GNOME Files is
# driven in write-back, Thunar in both.
pytestmark = [pytest.mark.fuse, pytest.mark.parametrize("moded", ["write-through"], indirect=True)]

#: Files of somebody else: more than a window of Dolphin shows at once.
NAMES = ("a.txt", "b.pdf", "c.docx", "d.png", *(f"{number}.md" for number in range(12)))


class Dolphin(Windows):
    """Windows of Dolphin, each a process.

    Attributes:
        sure: the key of "Delete Permanently".
    """

    sure = ""

    def select(self, file: Path) -> None:
        def by_name() -> None:
            self.desktop.presses("Escape")  # what was typed before
            self.desktop.types(file.name)

        self._selects(by_name, [file])

    def pastes(self) -> None:
        self.presses("edit_paste", "ctrl+v")

    def replaces(self) -> None:
        self._answers("File Already Exists", "alt+o")

    def renames(self, file: Path, name: str) -> None:
        self.presses("renamefile", "F2")
        self.desktop.focused("Rename Item — Dolphin")
        self.desktop.presses("ctrl+a")
        self.desktop.types(name)
        self.desktop.answers("Rename Item — Dolphin", "Return")

    def deletes(self, *, sure: bool = True) -> None:
        self.presses("deletefile", "shift+Delete")
        self._answers("Delete Permanently", self.sure if sure else "Escape")

    def presses(self, action: str, key: str) -> None:
        """Press the key of an action when the window says on the session bus that it is ready."""
        process = self.desktop.tells("xdotool", "getactivewindow", "getwindowpid")
        asks = ("--session", "--dest", f"org.kde.dolphin-{process}", "--object-path", "/dolphin/Dolphin_1")
        method = ("--method", "org.kde.KMainWindow.actionIsEnabled", action)
        self.desktop.until(
            lambda: self.desktop.tells("gdbus", "call", *asks, *method) == "(true,)", f"{action} is ready"
        )
        self.desktop.presses(key)

    def _answers(self, question: str, key: str) -> None:
        """Answer a question; the window of a job that takes a second opens over it."""
        title = f"{question} — Dolphin"
        self.desktop.until(lambda: title in self.desktop.windows().values(), f"{title} is asked")
        self.desktop.focuses(title)
        self.desktop.answers(title, key)


@pytest.fixture
def dolphin(either: Faulty) -> Iterator[Dolphin]:
    """Dolphin, without a window; it asks for a new name in a window, not within the folder."""
    needs("dolphin", "gdbus", "update-mime-database")
    work = new_home(either.drive)
    (work / ".config" / "dolphinrc").write_text("[General]\nRenameInline=false\n")
    # KDE knows the programs that are in its menu; without Plasma there is none.
    (work / ".config" / "menus").mkdir()
    (work / ".config" / "menus" / "applications.menu").write_text(
        "<Menu><Name>Applications</Name><DefaultAppDirs/><DefaultDirectoryDirs/><Include><All/></Include></Menu>\n"
    )
    tell_types(either.drive)
    with Desktop(either.drive, services=False) as desktop:
        version = needs_version(desktop, "dolphin", 22, 25)
        dolphin = Dolphin(either.drive, desktop, "{} — Dolphin", "dolphin", "--new-window")
        dolphin.sure = "alt+d" if version == 22 else "alt+p"
        yield dolphin


def test_dolphin(dolphin: Dolphin, either: Faulty) -> None:
    """W1, W4, W8, W9, W10, L4: copy in, overwrite, rename, delete one, none, a text, all; texts show without F5."""
    works(dolphin, either)


def test_looking_with_dolphin(dolphin: Dolphin, either: Faulty) -> None:
    """Tenet 4: neither a window on texts nor their properties fetch one; a text opens in an editor."""
    point, desktop = dolphin.point, dolphin.desktop
    opened = opens_in(either.drive)
    for name in NAMES:
        either.server.add(name, name.encode() * 10_000)
    dolphin.open(point)
    dolphin.copy_all(point)
    dolphin.select(point / "b.pdf.content")
    dolphin.presses("properties", "alt+Return")
    desktop.answers(r"Properties for b\.pdf\.content — Dolphin", "Escape")
    desktop.focused(dolphin.title(point))
    assert {seen.operation for seen in either.server.seen} == {"list"}

    dolphin.select(point / "b.pdf.content")
    desktop.presses("Return")
    wait_until(opened.exists, "it is opened")
    assert opened.read_bytes() == (point / "b.pdf.content").read_bytes()
    assert either.server.count("content") == 1


def test_the_trash_of_dolphin_takes_files_out(dolphin: Dolphin, either: Faulty) -> None:
    """W8: the trash is one of this machine: the file is copied there, then deleted from the account."""
    (dolphin.source / "a.txt").write_bytes(b"one")
    dolphin.open(dolphin.source)
    dolphin.copy_all(dolphin.source)
    dolphin.open(dolphin.point)
    dolphin.pastes()
    dolphin.end_at(either, {"a.txt": b"one"}, uploads=1)
    dolphin.select(dolphin.point / "a.txt")
    dolphin.presses("movetotrash", "Delete")
    dolphin.end_at(either, {})
    assert (either.drive.work() / ".local/share/Trash/files/a.txt").read_bytes() == b"one"
