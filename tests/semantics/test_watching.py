"""Whoever watches a drive is told of what comes and goes there, also of what no process on this machine has done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moonfs.announcer import _VOICE, find_watches
from tests.conftest import Faulty, Pair
from tests.harness.drive import wait_until
from tests.harness.watching import Watching

pytestmark = pytest.mark.fuse


def lists(faulty: Faulty) -> None:
    """List the drive as who opens a folder does, upon which the drive looks whether it is watched."""
    os.listdir(faulty.drive.point)


def test_a_text_that_appears_is_told(either: Faulty) -> None:
    """L4: a text comes when its file is stored, and goes with it; each is told once, and nothing is fetched for it."""
    drive, server = either.drive, either.server
    with Watching(drive.point) as watching:
        lists(either)
        (drive / "a.txt").write_bytes(b"one")
        watching.until(("come", "a.txt"), ("come", "a.txt.content"))
        assert sorted(watching.told) == [("come", "a.txt"), ("come", "a.txt.content")]
        either.holds({"a.txt": b"one"}, uploads=1)
        os.unlink(drive / "a.txt")
        watching.until(("gone", "a.txt"), ("gone", "a.txt.content"))
        assert sorted(watching.told[2:]) == [("gone", "a.txt"), ("gone", "a.txt.content")]
    either.holds({})
    assert server.count("delete") == 1


def test_a_rename_takes_the_text_along(either: Faulty) -> None:
    """W9: under both names; what the kernel has told of is not told again."""
    drive = either.drive
    with Watching(drive.point) as watching:
        lists(either)
        (drive / "a.txt").write_bytes(b"one")
        watching.until(("come", "a.txt.content"))
        os.rename(drive / "a.txt", drive / "b.txt")
        watching.until(("gone", "a.txt"), ("come", "b.txt"), ("gone", "a.txt.content"), ("come", "b.txt.content"))
        either.holds({"b.txt": b"one"})
        os.unlink(drive / "b.txt")
        watching.until(("gone", "b.txt.content"))
        assert len(watching.told) == len(set(watching.told)) == 8


def test_a_text_that_was_deleted_by_itself_comes_back(both: Faulty) -> None:
    """W10: it is there still, so the window that has taken it out shows it again."""
    both.server.add("a.txt", b"one")
    with Watching(both.drive.point) as watching:
        lists(both)
        os.unlink(both.drive / "a.txt.content")
        watching.until(("gone", "a.txt.content"), ("come", "a.txt.content"))
        assert both.server.count("delete") == both.server.count("content") == 0
        assert "one" in (both.drive / "a.txt.content").read_text()


def test_what_others_do_is_told_when_it_is_known(both: Faulty) -> None:
    """L4: when somebody looks at the drive, as an idle one asks for nothing."""
    file = both.server.add("a.txt", b"one")
    with Watching(both.drive.point) as watching:
        lists(both)
        both.server.add("计划.pdf", b"two")
        with both.server.lock:
            del both.server.files[file.id]
        wait_until(lambda: lists(both) or len(watching.look()) >= 4, "all is told")
        watching.until(("come", "计划.pdf"), ("come", "计划.pdf.content"), ("gone", "a.txt"), ("gone", "a.txt.content"))
        asked = len(both.server.seen)
        os.unlink(both.drive / "计划.pdf.content")  # no listing is needed for it
        watching.until(("gone", "计划.pdf.content"), ("come", "计划.pdf.content"))
        assert {seen.operation for seen in both.server.seen[asked:]} <= {"list"}


#: Opens a folder as a file manager does, makes a file, and prints what it is told until it is told of that one's text.
WINDOW = """
import os, sys
from pathlib import Path
from tests.harness.watching import Watching
point, name = Path(sys.argv[1]), sys.argv[2]
with Watching(point) as watching:
    assert "old.txt.content" in os.listdir(point), os.listdir(point)
    (point / name).write_bytes(b"new")
    watching.until(("come", name + ".content"))
    print(*sorted({told for _, told in watching.told}))
"""


#: Maps what it opens, says so, and looks at it until its input ends.
_MAPS = """
import mmap, os, select, sys
while True:
    try:
        file = os.open(sys.argv[1], os.O_RDONLY)
        break
    except FileNotFoundError:
        select.select([], [], [], 0.01)
size = len(os.pread(file, 1 << 20, 0))
memory = mmap.mmap(file, size, prot=mmap.PROT_READ)
print(size, flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    assert memory[size - 1] != 0
"""


def test_who_has_a_name_open_is_not_disturbed(both: Faulty) -> None:
    """L4, tenet 3: a text that is read while watchers are told that it comes, and that it goes, keeps its bytes."""
    with Watching(both.drive.point) as watching:
        both.server.add("old.txt", b"old")
        lists(both)
        wait_until(lambda: find_watches(str(both.drive.point)), "it is seen to watch")
        file = both.server.add("a.txt", b"one " * 2000)
        command = [sys.executable, "-c", _MAPS, str(both.drive / "a.txt.content")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None and int(reader.stdout.readline()) > 8000
            watching.until(("come", "a.txt.content"))
            with both.server.lock:
                del both.server.files[file.id]
            wait_until(lambda: "a.txt" not in os.listdir(both.drive.point), "it is known to have gone")
            watching.until(("gone", "a.txt.content"))
            reader.communicate(b"x", timeout=60)
        assert reader.returncode == 0


def test_who_has_listed_a_name_is_not_told_that_it_comes(both: Faulty) -> None:
    """L4: a window that opens shows what is there, which others may have listed, or watched, before it was."""
    drive, server = both.drive, both.server

    def old() -> None:
        server.add("old.txt", b"old")
        (drive / ".moonfs" / "refresh").write_text("1")

    drive.run('ls "$DIR"')
    old()
    assert drive.python(WINDOW, str(drive.point), "a.txt").split() == ["a.txt", "a.txt.content"]
    for path in drive.point.glob("*.txt"):
        path.unlink()
    with Watching(drive.point) as watching:
        lists(both)
        (drive / "b.txt").write_bytes(b"one")
        watching.until(("come", "b.txt.content"))
    old()
    assert drive.python(WINDOW, str(drive.point), "c.txt").split() == ["c.txt", "c.txt.content"]


#: Watches a directory until its standard input ends, and lists nothing.
WATCHES = """
import sys
from pathlib import Path
from tests.harness.watching import Watching
with Watching(Path(sys.argv[1])):
    print("watches", flush=True)
    sys.stdin.read()
"""


def test_windows_open_beside_one_who_never_lists(both: Faulty) -> None:
    """L4: GNOME's gvfsd-trash watches the root of every mount, and lists none."""
    drive, server = both.drive, both.server
    command = [sys.executable, "-c", WATCHES, str(drive.point)]
    with subprocess.Popen(command, cwd=drive.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == "watches\n"
        drive.run('ls "$DIR"')
        for old, new in (("old.txt", "a.txt"), ("older.txt", "b.txt")):
            server.add(old, b"old")
            (drive / ".moonfs" / "refresh").write_text("1")
            window = WINDOW.replace("old.txt", old)
            assert drive.python(window, str(drive.point), new).split() == [new, f"{new}.content"]
        other.stdin.close()


def test_a_watched_drive_ends(fresh: Callable[..., Pair]) -> None:
    """L2: a watch keeps nobody from unmounting, and no process is left."""
    drive = fresh().drive
    with Watching(drive.point) as watching:
        os.listdir(drive.point)
        (drive / "a.txt").write_bytes(b"one")
        watching.until(("come", "a.txt.content"))
        drive.umount()
        assert not os.path.ismount(drive.point)


def test_an_unwatched_name_is_nobodys_business(tmp_path: Path) -> None:
    """A watch on the directory itself counts, not one on what is around it or in it."""
    (tmp_path / "inner").mkdir()
    inner = str(tmp_path / "inner")
    with Watching(tmp_path):
        assert find_watches(inner) == []
        with Watching(tmp_path / "inner"):
            (watch,) = find_watches(inner)
            assert watch.process == os.getpid() and watch.lasts()
        assert not watch.lasts()
    assert find_watches(inner) == find_watches(str(tmp_path / "missing")) == []


def test_who_tells_does_nothing_where_it_is_not_known(tmp_path: Path) -> None:
    """W8: its calls are real ones anywhere but on the drive that has sent it; there it must do none of them."""
    (tmp_path / "a.txt").write_text("one")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _VOICE, str(tmp_path)],
        input=b".moonfs-0123\0-a.txt\0+b.txt", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert os.listdir(tmp_path) == ["a.txt"]
