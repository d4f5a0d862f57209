"""Copying trees of files in and out, with what people copy with."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer

pytestmark = pytest.mark.fuse

#: Each copies the files of `src` to $DIR.
WAYS = {
    "cp": 'cp src/* "$DIR/"',
    "cp -a": 'cp -a src/. "$DIR/"',
    "cp -r": 'cp -r src/. "$DIR/"',
    "mv": 'cp -r src copy; mv copy/* "$DIR/"; rmdir copy',
    "install": 'install -m 644 src/* "$DIR/"',
    "rsync -a": 'rsync -a src/ "$DIR/"',
    "rsync --inplace": 'rsync -a --inplace src/ "$DIR/"',
    "rsync --delay-updates": 'rsync -rt src/ "$DIR/"',
    "tar": 'tar c -C src . | tar x -C "$DIR"',
    "unzip": '(cd src; zip -q -r ../x.zip .); unzip -q x.zip -d "$DIR"; rm x.zip',
    "copytree": 'python3 -c \'import shutil, sys; shutil.copytree("src", sys.argv[1], dirs_exist_ok=True)\' "$DIR"',
    "gio copy": 'gio copy src/* "$DIR/"',
    "parallel": 'ls src | xargs -P 6 -I{} cp "src/{}" "$DIR/"',
}


def fill(each: Faulty) -> dict[str, bytes]:
    """Make the directory `src` with eight files of different sizes; return their bytes by name."""
    work = each.drive.home / "work"
    each.drive.run("rm -rf src; mkdir src")
    bodies = {f"{index} 文件.txt": os.urandom(7 + index * 30_000) for index in range(8)}
    for index, (name, body) in enumerate(bodies.items()):
        (work / "src" / name).write_bytes(body)
        os.utime(work / "src" / name, (1, 1_600_000_000 + index))
    return bodies


def arrived(server: FaultServer) -> dict[str, bytes]:
    with server.lock:
        assert len({stored.filename for stored in server.files.values()}) == len(server.files)
        return {stored.filename: stored.data for stored in server.files.values()}


@pytest.mark.parametrize("way", WAYS)
def test_into_the_drive(both: Faulty, way: str) -> None:
    """W1: every file arrives once, with its bytes and nothing else, and reads back."""
    bodies = fill(both)
    both.drive.run(WAYS[way])
    assert arrived(both.server) == bodies
    assert both.server.count("upload") == len(bodies)
    assert {name: (both.drive / name).read_bytes() for name in bodies} == bodies
    assert len(os.listdir(both.drive.point)) == 2 * len(bodies)


@pytest.mark.parametrize("way", ["rsync -a", "cp -a", "tar"])
def test_times_are_kept(both: Faulty, way: str) -> None:
    """A1: what keeps times keeps them here too, after the upload."""
    bodies = fill(both)
    both.drive.run(WAYS[way])
    for index, name in enumerate(bodies):
        assert os.stat(both.drive / name).st_mtime == 1_600_000_000 + index


@pytest.mark.parametrize("remount", [False, True], ids=["same mount", "next mount"])
def test_a_second_rsync_into_the_drive_sends_nothing(faulty: Callable[..., Faulty], remount: bool) -> None:
    """A1: mtime is kept across mounts, so a second `rsync -a` copies nothing."""
    each = faulty("listing_ttl=0")
    fill(each)
    each.drive.run('rsync -a src/ "$DIR/"')
    if remount:
        each.drive.remount("listing_ttl=0")
    uploads = each.server.count("upload")
    assert each.drive.run('rsync -ai src/ "$DIR/" | grep "^[<>c]f" | grep -v "^.f\\.\\.\\." || true') == ""
    assert each.server.count("upload") == uploads


def test_a_second_cp_u_copies_nothing(both: Faulty) -> None:
    """A1: `cp -u` sees that the drive is as new as the source."""
    fill(both)
    both.drive.run('cp -pu src/* "$DIR/"; cp -pu src/* "$DIR/"')
    assert both.server.count("upload") == 8


def test_a_changed_file_is_sent_again(both: Faulty) -> None:
    """W4: rsync sends the one file that has changed; its old version goes."""
    bodies = fill(both)
    both.drive.run('rsync -a src/ "$DIR/"')
    name = "3 文件.txt"
    (both.drive.home / "work" / "src" / name).write_bytes(b"changed")
    both.drive.run('rsync -a src/ "$DIR/"')
    assert arrived(both.server) == {**bodies, name: b"changed"}
    assert both.server.count("upload") == 9


def test_rsync_delete(both: Faulty) -> None:
    """W8, W10: `rsync --delete` makes the drive like the source; texts neither stand in its way nor come back."""
    bodies = fill(both)
    both.server.add("old.txt", b"theirs")
    both.drive.run('rsync -a --delete --exclude "*.content" src/ "$DIR/"')
    assert arrived(both.server) == bodies


def test_a_tree_with_directories(both: Faulty) -> None:
    """N1: a directory cannot be copied: the tool says so, and the files beside it arrive."""
    both.drive.run("rm -rf src; mkdir -p src/sub; echo one > src/a.txt; echo two > src/sub/b.txt")
    done = both.drive.shell('cp -r src/. "$DIR/"')
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert arrived(both.server) == {"a.txt": b"one\n"}


def test_the_whole_drive_out_and_in_again(both: Faulty) -> None:
    """A2, W4: own files copied out and in again are the same bytes: nothing is uploaded."""
    bodies = fill(both)
    both.drive.run('cp src/* "$DIR/"; mkdir out; cp "$DIR"/*.txt out/; cp out/* "$DIR/"; rm -r out')
    assert both.server.count("upload") == len(bodies)
    assert arrived(both.server) == bodies


def test_mc(both: Faulty) -> None:
    """W1: a file manager's copy-by-chunks with preserved attributes (as mc does it: open, write, chmod, utime)."""
    both.drive.python(
        "import os, sys\n"
        "f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)\n"
        "for _ in range(5): os.write(f, b'x' * 8192)\n"
        "os.close(f)\n"
        "os.chown(sys.argv[1], os.getuid(), os.getgid()); os.chmod(sys.argv[1], 0o644); os.utime(sys.argv[1], (1, 2))",
        str(both.drive / "a.txt"),
    )
    assert arrived(both.server) == {"a.txt": b"x" * 40_960}
    assert both.server.count("upload") == 1
    assert os.stat(both.drive / "a.txt").st_mtime == 2
