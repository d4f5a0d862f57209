"""Graphical file managers on a display that shows nowhere, driven by keys: what they do is done on the service."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Faulty, local_account
from tests.harness.desktop import Desktop
from tests.harness.drive import ROOT, Drive, end_server, local, wait_until
from tests.harness.programs import needs
from tests.harness.watching import Watching
from tests.harness.windows import Thunar, Windows, new_home, tell_types, works

pytestmark = pytest.mark.fuse

#: Files of somebody else.
NAMES = ("a.txt", "b.pdf", "c.docx", "d.png")
#: Who writes nothing finds the same drive in either mode.
LOOKS = pytest.mark.parametrize("moded", ["write-through"], indirect=True)


@pytest.fixture
def home(either: Faulty) -> Path:
    """The directory of somebody who has never used a desktop."""
    return new_home(either.drive)


@pytest.fixture
def thunar(either: Faulty, home: Path) -> Iterator[Thunar]:
    """Thunar, without a window."""
    needs("thunar")
    with Desktop(either.drive) as desktop:
        yield Thunar(either.drive, desktop)


@pytest.fixture
def pcmanfm(either: Faulty, home: Path) -> Iterator[Windows]:
    """PCManFM, without a window, where the type of texts is known: it reads whatever has a name it does not know."""
    needs("pcmanfm", "update-mime-database")
    tell_types(either.drive)
    with Desktop(either.drive) as desktop:
        yield Windows(either.drive, desktop, "{}", "pcmanfm", "--new-win")


def test_thunar(thunar: Thunar, either: Faulty) -> None:
    """W1, W4, W8, W9, W10, L4: copy in, overwrite, rename, delete one, none, a text, all; texts show without F5.

    What Thunar may have twice after a rename, the drive has told once. Thunar may list a text before the drive has told
    of it; what goes before that was nobody's to be told.
    """
    names = [f"{letter}.txt.content" for letter in "abcd"] + ["d.txt"]

    def told(name: str) -> list[str]:
        return [kind for kind, of in watching.look() if of == name]

    with Watching(either.drive.point) as watching:
        assert os.listdir(either.drive.point) == []  # who watches lists, and is told of all that comes later
        works(
            thunar,
            either,
            lambda texts: wait_until(lambda: all(told(text)[-1:] == ["come"] for text in texts), f"told of {texts}"),
        )
        wait_until(lambda: all(told(name)[-1:] == ["gone"] for name in names), "all is told of as gone")
        for name in names:
            assert told(name) == ["come", "gone"] * (2 if name == "d.txt.content" else 1), watching.told


@LOOKS
def test_looking_with_thunar(thunar: Thunar, either: Faulty) -> None:
    """Tenet 4, A2: a window on texts that were never read fetches none of them; the one that is copied out is whole."""
    source, point, desktop = thunar.source, thunar.point, thunar.desktop
    for name in NAMES:
        either.server.add(name, name.encode() * 10_000)
    thunar.open(source)
    thunar.open(point)
    thunar.select(point / "b.pdf.content")
    # What it tells of the file has its type, which comes of its first bytes wherever they can be had.
    desktop.presses("alt+Return")
    desktop.answers(r"b\.pdf\.content - Properties", "Escape")
    desktop.focused(thunar.title(point))
    assert {seen.operation for seen in either.server.seen} == {"list"}

    thunar.copies()
    thunar.turn_to(source)
    desktop.presses("ctrl+v")
    copy = source / "b.pdf.content"
    wait_until(copy.exists, "it is copied")
    desktop.shows_only(thunar.title(source), thunar.title(point))
    text = (point / copy.name).read_bytes()
    wait_until(lambda: copy.read_bytes() == text, "the copy is whole")
    assert either.server.count("content") == 1


def test_pcmanfm(pcmanfm: Windows, either: Faulty) -> None:
    """W1, N6, W10: copy in; the trash is refused, and the question that follows is answered: all, with their texts."""
    source, point, desktop = pcmanfm.source, pcmanfm.point, pcmanfm.desktop
    bodies = {name: os.urandom(size) for name, size in (("a.txt", 12_345), ("b.txt", 345_678), ("c.txt", 1))}
    for name, body in bodies.items():
        ((point if name == "a.txt" else source) / name).write_bytes(body)
    pcmanfm.open(point)
    pcmanfm.copy_all(point)
    pcmanfm.open(source)
    pcmanfm.copy_all(source)
    pcmanfm.turn_to(point)
    desktop.presses("ctrl+v")
    pcmanfm.end_at(either, bodies, uploads=3)

    pcmanfm.copy_all(point)
    desktop.presses("Delete")
    desktop.answers("Confirm", "Return")  # to move them to the trash
    desktop.answers("Confirm", "Return")  # "… cannot be moved … Do you want to delete them instead?"
    pcmanfm.end_at(either, {})


@LOOKS
def test_looking_with_pcmanfm(pcmanfm: Windows, either: Faulty) -> None:
    """Tenet 4: nor does it read what somebody has told it the type of."""
    for name in NAMES:
        either.server.add(name, name.encode() * 10_000)
    pcmanfm.open(pcmanfm.point)
    pcmanfm.copy_all(pcmanfm.point)  # it shows a file when it knows its type
    assert {seen.operation for seen in either.server.seen} == {"list"}


#: Thunar's settings for the picture: columns, and a short path.
SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<channel name="thunar" version="1.0">
  <property name="last-view" type="string" value="ThunarDetailsView"/>
  <property name="last-location-bar" type="string" value="ThunarLocationButtons"/>
  <property name="last-details-view-zoom-level" type="string" value="THUNAR_ZOOM_LEVEL_50_PERCENT"/>
  <property name="last-window-width" type="int" value="840"/>
  <property name="last-window-height" type="int" value="500"/>
  <property name="misc-thumbnail-mode" type="string" value="THUNAR_THUMBNAIL_MODE_NEVER"/>
  <property name="misc-date-style" type="string" value="THUNAR_DATE_STYLE_YYYYMMDD"/>
</channel>
"""
#: What is on the drive of the picture, by the name of the sample.
SHOWN = {
    "welcome.pdf": "Welcome.pdf",
    "note.png": "Invoice 20417.png",
    "letter.doc": "Letter to the landlord.doc",
    "prices.xls": "Prices 2026.xls",
    "novel.mobi": "Novel.mobi",
}


def test_the_picture(tmp_path: Path, fuse: None) -> None:
    """A1, A2, A3: files, texts and free space as Thunar shows them; the local Files API reads them off its window."""
    needs("thunar", "update-mime-database")
    wanted = os.environ.get("MOONFS_PICTURE")
    data = tmp_path / "files"
    with contextlib.ExitStack() as stack:
        stack.callback(end_server, data)
        drive = stack.enter_context(Drive(tmp_path, *local(data)))
        drive.point = drive.work() / "moon"
        drive.mount()
        for number, (sample, name) in enumerate(SHOWN.items()):
            shutil.copyfile(ROOT / "tests" / "samples" / sample, drive / name)
            os.utime(drive / name, (1, 1_774_000_000 + number * 123_456))
        done = drive.command("prefetch", str(drive.point))
        assert done.returncode == 0, done
        settings = drive.work() / ".config" / "xfce4" / "xfconf" / "xfce-perchannel-xml"
        settings.mkdir(parents=True)
        (settings / "thunar.xml").write_text(SETTINGS)
        tell_types(drive)
        # Thunar warns whoever runs it as root, as a container does; in a picture nobody has to know.
        prefix = ("unshare", "--user", "--map-user=1000", "--map-group=1000") if wanted and os.getuid() == 0 else ()
        desktop = stack.enter_context(Desktop(drive, prefix=prefix, size="1000x700"))
        thunar = Thunar(drive, desktop)
        thunar.open(drive.point)
        thunar.show(drive.point, os.listdir(drive.point))
        thunar.select_by("nothing?")
        account = stack.enter_context(local_account(data))
        window, text = tmp_path / "window.png", ""

        def shown() -> bool:
            nonlocal text
            desktop.picture().quantize(128).save(window, optimize=True)
            file = account.upload(window.name, window.read_bytes())
            text = json.loads(account.content(file["id"]))["content"]
            account.delete(file["id"])
            # Each name twice: it, and its text.
            return "Free space" in text and all(text.count(name) == 2 for name in SHOWN.values())

        try:
            wait_until(shown, "the window shows all", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}, but:\n{text}") from None
    if wanted:
        shutil.copyfile(window, wanted)
