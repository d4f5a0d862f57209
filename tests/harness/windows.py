"""Windows of file managers on a drive and on a directory beside it: what a person does with them, by keys.

`Windows` is the base of those for each file manager. `works` is what each of them is tried with.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Faulty
from tests.harness.desktop import Desktop
from tests.harness.drive import SECONDS, Drive, wait_until

#: Seconds between two looks at what is selected, for which a process asks the file manager.
_EVERY = 0.1
#: Seconds for a window to notice by itself what the kernel tells it.
_PATIENCE = 15.0
#: Seconds after which something counts as hanging, where a file manager has much to do.
_BUSY = 2 * SECONDS


class Windows:
    """Windows of one file manager, on the drive and on the directory `src` beside it.

    Attributes:
        _looks_again: whether F5 is pressed where a file does not show for long, which then is no fault of the drive.
    """

    _looks_again = False

    def __init__(self, drive: Drive, desktop: Desktop, title: str, *command: str) -> None:
        """`command` opens one more window, which is called `title`, in braces the folder's name."""
        self.desktop, self.source, self.point = desktop, drive.work() / "src", drive.point
        self._title, self._command = title, command
        self._select, self._selection = self.select_all, list[Path]()

    def open(self, folder: Path) -> None:
        """Open one."""
        self.desktop.start(*self._command, str(folder))
        self.desktop.focused(self.title(folder))

    def title(self, folder: Path) -> str:
        """Return the title of the window of a folder."""
        return self._title.format(folder.name)

    def turn_to(self, folder: Path) -> None:
        """Go on in the other one."""
        self.desktop.focuses(self.title(folder))

    def copy_all(self, folder: Path) -> None:
        """Select all of a folder and copy it."""
        self._selects(self.select_all, [folder / name for name in os.listdir(folder)])
        self.copies()

    def show(self, folder: Path, names: Iterable[str]) -> None:
        """Return when the window of a folder shows these names, each once, and has selected them all.

        Nobody asks it to look again (F5).
        """
        self.turn_to(folder)
        self._selects(self.select_all, [folder / name for name in names])

    def select_all(self) -> None:
        """Select all that the window shows."""
        self.desktop.presses("ctrl+a")

    def select(self, file: Path) -> None:
        """Select a file by its name, and see that it is selected."""
        self._selects(lambda: self.select_by(file.name[:-1] + "?"), [file])

    def select_by(self, pattern: str) -> None:
        """Select what fits a pattern, as Thunar can; without a wildcard, it would be looked for within the names."""
        window = self.desktop.focused(self._title.format(".*"))
        self.desktop.presses("ctrl+s")
        self.desktop.focused("Select by Pattern")
        self.desktop.types(pattern)
        self.desktop.answers("Select by Pattern", "Return")
        self.desktop.until(lambda: self.desktop.focused(".*") == window, "the folder has the focus again")

    def copies(self) -> None:
        """Copy what is selected; it has been, since that shows what is."""

    def pastes(self) -> None:
        """Paste what is in the clipboard."""
        self.desktop.presses("ctrl+v")

    def replaces(self) -> None:
        """Answer the question whether what is there is to be replaced."""
        self.desktop.answers("Confirm to replace files", "alt+r")

    def renames(self, file: Path, name: str) -> None:
        """Give the file that is selected another name."""
        self.desktop.presses("F2")
        self.desktop.focused(f'Rename "{re.escape(file.name)}"')
        self.desktop.presses("ctrl+a")
        self.desktop.types(name)
        self.desktop.answers(f'Rename "{re.escape(file.name)}"', "Return")

    def deletes(self, *, sure: bool = True) -> None:
        """Delete what is selected, or answer that it is not to be."""
        self.desktop.presses("shift+Delete" if sure else "Delete")
        self.desktop.answers("Attention", "Return" if sure else "Escape")

    def _selects(self, select: Callable[[], None], files: list[Path]) -> None:
        """Select until these files are, each once: a window need not have noticed yet what is there."""
        selected: list[Path] = []
        began = time.monotonic()

        def there() -> bool:
            nonlocal selected
            missing = set(files) - set(selected)
            # What a window has twice stays so. Texts, of which the drive tells, have to show without F5.
            patient = not self._looks_again or any(file.name.endswith(".content") for file in missing)
            if missing and not patient and time.monotonic() - began > _PATIENCE:
                self.desktop.presses("F5")
            select()
            selected = self._selected(files)
            return self._are(selected, files)

        try:
            wait_until(there, f"selected: {files}", _BUSY, _EVERY)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {selected}; {self.desktop.windows()} show") from None
        self._select, self._selection = select, files

    def _are(self, selected: list[Path], files: list[Path]) -> bool:
        """Say whether what is selected is these files, each once."""
        return sorted(selected) == sorted(files)

    def _selected(self, files: list[Path]) -> list[Path]:
        """Return what is selected, as copying it tells; who expects these `files` gives it a second."""
        copied: list[Path] = []
        self.desktop.forgets()
        self.desktop.presses("ctrl+c")

        def told() -> bool:
            nonlocal copied
            copied = self.desktop.copied()
            return sorted(copied) == sorted(files)

        # Keys wait for who is busy; more of them would make it no quicker.
        with contextlib.suppress(AssertionError):
            wait_until(told, "copied", 1, _EVERY)
        return copied

    def end_at(self, each: Faulty, bodies: dict[str, bytes], **counted: int) -> None:
        """Return when service and drive hold these files and nothing else, and the file manager says no more."""
        server = each.server

        def there() -> bool:
            with server.lock:
                return sorted((file.filename, file.data) for file in server.files.values()) == sorted(bodies.items())

        try:
            wait_until(there, f"the service has {sorted(bodies)}", _BUSY, _EVERY)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {server.names()}; {self.desktop.windows()} show") from None
        # What takes a second shows in a window of its own, which is gone when that is done.
        self.desktop.shows_only(self.title(self.source), self.title(self.point))
        each.holds(bodies, **counted)


#: A custom action of Thunar, for whatever is selected, and its key; in braces the program that it runs.
_ACTION: Final = """<?xml version="1.0" encoding="UTF-8"?>
<actions><action>
  <name>Tell</name><unique-id>1-1</unique-id><command>{} %F</command><patterns>*</patterns>
  <directories/><audio-files/><image-files/><other-files/><text-files/><video-files/>
</action></actions>
"""
_ACTION_KEY: Final = '(gtk_accel_path "<Actions>/ThunarActions/uca-action-1-1" "<Primary>F12")\n'


class Thunar(Windows):
    """Windows of Thunar; a custom action tells what is selected, and copies nothing.

    Two faults of Thunar 4.18, on any directory, would be taken for the drive's:

    Before 4.18.7, each copy makes it list the folder of every window anew (thunar/thunar-window.c,
    thunar_window_clipboard_manager_changed), in a thread, which makes a second object for a file whose first is being
    loaded (thunar/thunar-file.c, thunar_file_load and thunar_file_get_with_info). The second one takes the place of the
    first, which was selected. So who copies to see what is selected changes it: of eight files on a tmpfs that were
    touched all the time, some had dropped out half a second later in 8 of 40 trials, and in none where a copy of Thunar
    lacks that call. Such a look would also show texts that nobody has told the window of.

    Before 4.20, a rename can leave the file in its window twice, for good: while the thread that renames looks at the
    file under its new name (thunar_file_monitor_moved), Thunar still finds it by the old one, and where the kernel's
    event comes just then, adds it to the window that has it (thunar/thunar-folder.c, thunar_folder_monitor). On a tmpfs
    where stat(2) took 20 ms, and the thread that reads events lost the processor for 5 ms, the first rename did it.
    """

    def __init__(self, drive: Drive, desktop: Desktop) -> None:
        super().__init__(drive, desktop, "{} - Thunar", "thunar")
        self._renamed: Path | None = None
        self._told = drive.work() / "told"
        program = drive.work() / "tell"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {self._told}.new && mv {self._told}.new {self._told}\n')
        program.chmod(0o755)
        settings = drive.work() / ".config" / "Thunar"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "uca.xml").write_text(_ACTION.format(program))
        (settings / "accels.scm").write_text(_ACTION_KEY)

    def renames(self, file: Path, name: str) -> None:
        super().renames(file, name)
        self._renamed = file.with_name(name)

    def show(self, folder: Path, names: Iterable[str]) -> None:
        names = list(names)
        super().show(folder, names)
        if self._renamed is not None:
            # What a window has twice by that fault, it has for good; a new one has to show each name once.
            self._renamed = None
            self.desktop.answers(re.escape(self.title(folder)), "ctrl+w")
            self.open(folder)
            super().show(folder, names)

    def copies(self) -> None:
        wanted = sorted(self._selection)

        def there() -> bool:
            self.desktop.forgets()
            self.desktop.presses("ctrl+c")
            with contextlib.suppress(AssertionError):
                wait_until(lambda: sorted(self.desktop.copied()) == wanted, "copied", 5, _EVERY)
                return True
            self._selects(self._select, self._selection)  # something has dropped out before the key came
            return False

        wait_until(there, f"copied: {wanted}", _BUSY)

    def _are(self, selected: list[Path], files: list[Path]) -> bool:
        twice = self._renamed is not None and selected.count(self._renamed) == 2
        return super()._are(selected, [*files, self._renamed] if twice and self._renamed else files)

    def _selected(self, files: list[Path]) -> list[Path]:
        self._told.unlink(missing_ok=True)
        self.desktop.presses("ctrl+F12")
        with contextlib.suppress(AssertionError):
            wait_until(self._told.exists, "told", 5)
            return [Path(line) for line in self._told.read_text().splitlines()]
        return []


def needs_version(desktop: Desktop, program: str, *versions: int) -> int:
    """Return of which version a file manager is; skip where the test does not know its keys and questions."""
    said = "".join(desktop.tells(program, "--version").splitlines()[-1:])
    found = next((version for version in versions if re.search(rf"\b{version}\.", said)), None)
    if found is None:
        known = " or ".join(map(str, versions))
        pytest.skip(f"{program} is driven as its version {known} wants it, and this says {said!r}")
    return found


def new_home(drive: Drive) -> Path:
    """Make the directory of somebody who has never used a desktop, but turned animations off; with an empty `src`."""
    work = drive.work()
    shutil.rmtree(work)
    (work / "src").mkdir(parents=True)
    (work / ".config" / "gtk-3.0").mkdir(parents=True)
    (work / ".config" / "gtk-3.0" / "settings.ini").write_text("[Settings]\ngtk-enable-animations=0\n")
    return work


def tell_types(drive: Drive) -> None:
    """Tell the desktop programs of whoever has this drive of what type texts are, as the README says."""
    done = drive.command(
        "desktop", "install", env={**drive.environ, "XDG_DATA_HOME": str(drive.work() / ".local/share")}
    )
    assert done.returncode == 0, done


def opens_in(drive: Drive) -> Path:
    """Make an editor for plain text, and return the file that it copies to what it is given."""
    applications = drive.work() / ".local" / "share" / "applications"
    applications.mkdir(parents=True, exist_ok=True)
    opened = drive.work() / "opened"
    program = drive.work() / "editor"
    program.write_text(f'#!/bin/sh\ncat "$1" > {opened}.new && mv {opened}.new {opened}\n')
    program.chmod(0o755)
    (applications / "editor.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Editor\nExec={program} %f\nMimeType=text/plain;\n"
    )
    (drive.work() / ".config" / "mimeapps.list").write_text("[Default Applications]\ntext/plain=editor.desktop\n")
    return opened


def works(windows: Windows, each: Faulty, told: Callable[[list[str]], object] = len) -> None:
    """Copy in, overwrite, rename, delete one, none, a text, all; see that texts come and go without F5.

    `told` returns when other watchers know that these texts are there.
    """
    source, point = windows.source, windows.point
    bodies = {name: os.urandom(size) for name, size in (("a.txt", 12_345), ("b.txt", 345_678), ("c.txt", 1))}
    for name, body in bodies.items():
        (source / name).write_bytes(body)

    def shown() -> None:
        texts = [f"{name}.content" for name in bodies]
        windows.show(point, [*bodies, *texts])
        told(texts)

    windows.open(source)
    windows.copy_all(source)
    windows.open(point)
    windows.pastes()
    windows.end_at(each, bodies, uploads=3)
    shown()

    bodies["a.txt"] = os.urandom(23_456)
    (source / "a.txt").write_bytes(bodies["a.txt"])
    windows.turn_to(source)
    windows.select(source / "a.txt")
    windows.copies()
    windows.turn_to(point)
    windows.pastes()
    windows.replaces()
    windows.end_at(each, bodies, uploads=4)

    windows.select(point / "a.txt")
    windows.renames(point / "a.txt", "d.txt")
    bodies["d.txt"] = bodies.pop("a.txt")
    windows.end_at(each, bodies, uploads=5)
    shown()

    windows.select(point / "b.txt")
    windows.deletes()
    del bodies["b.txt"]
    windows.end_at(each, bodies)
    shown()

    windows.select(point / "c.txt")
    windows.deletes(sure=False)
    windows.end_at(each, bodies)

    windows.select(point / "d.txt.content")
    windows.deletes()
    windows.end_at(each, bodies)
    shown()

    windows.deletes()  # all that is shown, since it is selected
    windows.end_at(each, {})
    assert each.server.count("upload") <= 5
