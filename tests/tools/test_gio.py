"""GIO, which is below the file managers of GNOME, Xfce and others: what its command does on a drive."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Faulty
from tests.harness.programs import needs

pytestmark = pytest.mark.fuse


@pytest.fixture(autouse=True)
def gio() -> None:
    needs("gio")


def test_info(both: Faulty) -> None:
    """Tenet 4, A1, A3: all that GIO knows of a file and of the drive, for no text that was fetched."""
    both.server.add("a.txt", b"12345")
    told = both.drive.run('gio info "$DIR/a.txt"; gio info "$DIR/a.txt.content"; gio list -l "$DIR"')
    assert "standard::size: 5\n" in told
    assert "standard::content-type: text/plain\n" in told
    assert "standard::size: 1\n" in told
    assert {seen.operation for seen in both.server.seen} == {"list"}
    stat = os.statvfs(both.drive.point)
    told = both.drive.run('gio info -f "$DIR"')
    assert f"filesystem::size: {stat.f_blocks * stat.f_frsize}\n" in told
    assert f"filesystem::free: {stat.f_bavail * stat.f_frsize}\n" in told


@pytest.mark.parametrize("name", ["a.txt", "a.txt.content"])
def test_trash(either: Faulty, name: str) -> None:
    """N6: there is no trash on the drive: one sentence, exit 1, and nothing is other than before."""
    either.drive.run('echo one > "$DIR/a.txt"')
    either.arrived()
    done = either.drive.shell(f'gio trash "$DIR/{name}"')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gio: ")
    assert done.stderr.endswith(f"/.Trash-{os.getuid()} to trash {either.drive / name}\n")
    assert either.drive.errors() == []
    either.holds({"a.txt": b"one\n"}, uploads=1)
    assert either.server.count("delete") == 0


#: Each works on a.txt (`one`) and b.txt (`two`); what is there then; how many uploads it takes at most.
WAYS: dict[str, tuple[str, dict[str, str], int]] = {
    "copy over": ('gio copy "$DIR/a.txt" "$DIR/b.txt"', {"a.txt": "one", "b.txt": "one"}, 1),
    "copy with a backup": (
        'echo three > c.txt; gio copy -b c.txt "$DIR/b.txt"; rm "$DIR/b.txt~"',
        {"a.txt": "one", "b.txt": "three"},
        1,
    ),
    "rename": ('gio rename "$DIR/a.txt" d.txt', {"b.txt": "two", "d.txt": "one"}, 1),
    "move in": (
        'echo three > c.txt; gio move c.txt "$DIR/c.txt"',
        {"a.txt": "one", "b.txt": "two", "c.txt": "three"},
        1,
    ),
    "move out": ('gio move "$DIR/a.txt" a.txt; cat a.txt', {"b.txt": "two"}, 0),
    "save": ('echo three | gio save "$DIR/a.txt"', {"a.txt": "three", "b.txt": "two"}, 1),
    "save a new one": ('echo three | gio save -c "$DIR/c.txt"', {"a.txt": "one", "b.txt": "two", "c.txt": "three"}, 1),
    "remove": ('gio remove "$DIR/a.txt"', {"b.txt": "two"}, 0),
    "remove a text": ('gio remove "$DIR/a.txt.content"', {"a.txt": "one", "b.txt": "two"}, 0),
    "remove all": ('gio remove "$DIR"/*', {}, 0),
}


@pytest.mark.parametrize("way", WAYS)
def test_changing_files(either: Faulty, way: str) -> None:
    """W1, W4, W8, W9, W10: without a complaint, and the service has what the drive shows."""
    script, after, uploads = WAYS[way]
    either.drive.run('echo one > "$DIR/a.txt"; echo two > "$DIR/b.txt"')
    either.arrived()
    either.drive.run(script)
    either.holds({name: f"{text}\n".encode() for name, text in after.items()})
    assert either.server.count("upload") <= 2 + uploads


def test_cat_of_a_text(both: Faulty) -> None:
    """A2: its size is 1 until it is opened; all of it is shown and copied."""
    both.server.add("a.txt", b"text " * 50_000)
    both.drive.run(
        'gio info "$DIR/a.txt.content"; gio copy "$DIR/a.txt.content" copy; gio cat "$DIR/a.txt.content" > shown'
    )
    text = (both.drive / "a.txt.content").read_bytes()
    assert len(text) > 250_000
    for name in ("copy", "shown"):
        assert (both.drive.work() / name).read_bytes() == text
    assert both.server.count("content") == 1


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ('gio rename "$DIR/a.txt" b.txt', "already exists"),
        ('gio mkdir "$DIR/folder"', "Operation not permitted"),
        ('gio copy plain "$DIR/a.txt.content"', "Permission denied"),
    ],
)
def test_refusals(either: Faulty, command: str, complaint: str) -> None:
    """N1, N4: what the drive cannot do is said, and changes nothing."""
    either.drive.run('echo one > "$DIR/a.txt"; echo two > "$DIR/b.txt"; echo plain > plain')
    either.arrived()
    done = either.drive.shell(command)
    assert done.returncode != 0
    assert complaint in done.stderr, done
    either.holds({"a.txt": b"one\n", "b.txt": b"two\n"}, uploads=2)
