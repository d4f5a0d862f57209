"""Midnight Commander and its editor, driven by keys in a terminal."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Faulty
from tests.harness.programs import needs
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.fuse


def goes_to(mc: Terminal, name: str) -> None:
    """Put the cursor on a file, by mc's quick search."""
    mc.presses("C-s")
    mc.types(name)
    mc.shows(f"/{name}")


def asks(mc: Terminal, key: str, *texts: str) -> None:
    """Press a key, and return when mc asks what it should."""
    mc.presses(key)
    mc.shows(*texts)


def shows_sizes(mc: Terminal, **times: int) -> None:
    """Return when the panels show files of these sizes so often, which they do when an operation has ended."""
    mc.until(lambda shown: all(shown.count(f" {size[1:]}│") == count for size, count in times.items()), f"{times}")


def shows_names(mc: Terminal, *, left: str = "", right: str = "") -> None:
    """Return when the one name is in its panel, and not in the other."""
    name = left or right
    mc.until(lambda shown: (f"\n│ {name} " in shown, f"││ {name} " in shown) == (bool(left), bool(right)), name)


def test_mc(either: Faulty) -> None:
    """W1, W4, W8, W9, W10, A1: what is done in mc is done on the service when mc shows it (or soon, in write-back)."""
    needs("mc", "tmux")
    work = either.drive.work()
    either.drive.run("rm -rf src .cache .config .local; mkdir src")
    bodies = {"a.txt": os.urandom(12_345), "b.txt": os.urandom(345_678)}
    for name, body in bodies.items():
        (work / "src" / name).write_bytes(body)
        os.utime(work / "src" / name, (1, 1_600_000_000))
    with Terminal('mc --nosubshell --nocolor src "$DIR"', either.drive) as mc:
        shows_sizes(mc, _12345=1, _345678=1)
        mc.presses("*")
        mc.shows("358,023 B in 2 files")
        asks(mc, "F5", "Copy 2 files", "< OK >")
        mc.presses("Enter")
        shows_sizes(mc, _12345=2, _345678=2)
        either.holds(bodies, uploads=2)
        assert {os.stat(either.drive / name).st_mtime for name in bodies} == {1_600_000_000}

        bodies["a.txt"] = os.urandom(23_456)
        (work / "src" / "a.txt").write_bytes(bodies["a.txt"])
        goes_to(mc, "a.txt")
        asks(mc, "F5", 'Copy file "a.txt"', "< OK >")
        asks(mc, "Enter", "Overwrite this file?")
        mc.presses("y")
        shows_sizes(mc, _23456=2, _12345=0)
        either.holds(bodies, uploads=3)

        mc.presses("Tab")
        goes_to(mc, "a.txt")
        asks(mc, "F6", 'Move file "a.txt"', "< OK >")
        mc.types("c.txt")
        mc.presses("Enter")
        shows_names(mc, right="c.txt")
        bodies["c.txt"] = bodies.pop("a.txt")
        either.holds(bodies, uploads=4)

        goes_to(mc, "c.txt")
        asks(mc, "F6", 'Move file "c.txt"', "< OK >")
        mc.presses("Enter")
        shows_names(mc, left="c.txt")
        assert (work / "src" / "c.txt").read_bytes() == bodies["c.txt"]
        either.holds({"b.txt": bodies["b.txt"]}, uploads=4)

        mc.presses("Tab")
        goes_to(mc, "c.txt")
        asks(mc, "F6", 'Move file "c.txt"', "< OK >")
        mc.presses("Enter")
        shows_names(mc, right="c.txt")
        assert sorted(os.listdir(work / "src")) == ["a.txt", "b.txt"]
        either.holds(bodies, uploads=5)

        mc.presses("Tab", "C-r", "*")
        mc.shows("in 4 files")
        asks(mc, "F8", "Delete 4 files?", "[ Yes ]")
        mc.presses("y")
        mc.until(lambda shown: "││ b.txt" not in shown and "││ c.txt" not in shown, "the panel is empty")
        either.holds({})
        mc.presses("F10")
        assert mc.status() == 0
    assert either.server.count("upload") == 5


def test_mcedit(either: Faulty) -> None:
    """W1, W4: its editor saves in place: one upload."""
    needs("mc", "tmux")
    either.drive.run('echo one > "$DIR/a.txt"')
    with Terminal('mcedit --nocolor "$DIR/a.txt"', either.drive) as terminal:
        terminal.shows("one", "10Quit")
        terminal.types("two ")
        terminal.shows("two one")
        asks(terminal, "F2", "Confirm save file")
        terminal.presses("Enter")
        terminal.until(lambda shown: "Confirm save" not in shown and "[-M--]" not in shown, "it is saved")
        either.holds({"a.txt": b"two one\n"}, uploads=2)
        terminal.presses("F10")
        assert terminal.status() == 0
