"""Copying files in, over and out, with what people copy with; writers that wait, and that do not."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import MODES, Faulty

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

#: Each overwrites the files on $DIR by those of `src`, whatever their times.
AGAIN = {
    **{way: WAYS[way] for way in ("cp", "cp -a", "mv", "install", "tar", "copytree", "parallel")},
    "rsync -aI": 'rsync -aI src/ "$DIR/"',
    "unzip -o": '(cd src; zip -q -r ../x.zip .); unzip -qo x.zip -d "$DIR"; rm x.zip',
    "gio copy": 'for f in src/*; do gio copy "$f" "$DIR/${f#src/}"; done',
}


#: Those that keep times.
KEEP_TIMES = ("rsync -a", "cp -a", "tar")


def fill(each: Faulty) -> dict[str, bytes]:
    """Make the directory `src` with four files, from a few bytes to more than the kernel writes at once; return them.

    Each more costs some twenty lists, since this drive believes none, and shows nothing else.
    """
    work = each.drive.home / "work"
    each.drive.run("rm -rf src; mkdir src")
    bodies = {f"{index} 文件.txt": os.urandom(7 + index * 70_000) for index in range(4)}
    for index, (name, body) in enumerate(bodies.items()):
        (work / "src" / name).write_bytes(body)
        os.utime(work / "src" / name, (1, 1_600_000_000 + index))
    return bodies


@pytest.mark.parametrize("way", [way for way in WAYS if way not in KEEP_TIMES])
def test_into_the_drive(either: Faulty, way: str) -> None:
    """W1, W2: every file arrives once, with its bytes and nothing else, and reads back."""
    bodies = fill(either)
    either.drive.run(WAYS[way])
    assert {name: (either.drive / name).read_bytes() for name in bodies} == bodies
    either.holds(bodies, uploads=len(bodies))


@pytest.mark.parametrize("way", AGAIN)
def test_over_what_is_there(either: Faulty, way: str) -> None:
    """W4: each file is replaced by one new version, and the old ones go, those of others and those on their way too."""
    old = dict.fromkeys(fill(either), b"old")
    for name, body in old.items():
        if name < "2":
            either.server.add(name, body)
        else:
            (either.drive / name).write_bytes(body)
    bodies = fill(either)
    either.drive.run(AGAIN[way])
    assert {name: (either.drive / name).read_bytes() for name in bodies} == bodies
    either.holds(bodies, uploads=2 + len(bodies))


@pytest.mark.parametrize("way", KEEP_TIMES)
def test_times_are_kept(either: Faulty, way: str) -> None:
    """A1, W1, W2: what keeps times keeps them here too, before and after the upload; every file arrives once."""
    bodies = fill(either)
    either.drive.run(WAYS[way])
    for _ in range(2):
        for index, name in enumerate(bodies):
            assert os.stat(either.drive / name).st_mtime == 1_600_000_000 + index
        either.holds(bodies, uploads=len(bodies))


@pytest.mark.parametrize("mode", MODES)
def test_a_second_rsync_into_the_drive_sends_nothing(faulty: Callable[..., Faulty], mode: str) -> None:
    """A1: mtime is kept across uploads and mounts: a second `rsync -a` copies nothing, nor do those of the next."""
    each = faulty("listing_ttl=0", *MODES[mode])
    bodies = fill(each)
    each.drive.run('rsync -a src/ "$DIR/"')

    def sends_nothing() -> None:
        sent = each.drive.run('rsync -ai src/ "$DIR/"').splitlines()
        assert [line for line in sent if line[0] != "."] == []

    sends_nothing()  # write-back has not even uploaded all
    each.holds(bodies, uploads=len(bodies))
    sends_nothing()
    each.drive.remount("listing_ttl=0", *MODES[mode])
    for _ in range(2):
        sends_nothing()
        each.holds(bodies, uploads=len(bodies))


def test_a_second_cp_u_copies_nothing(either: Faulty) -> None:
    """A1: `cp -u` sees that the drive is as new as the source."""
    bodies = fill(either)
    either.drive.run('cp -pu src/* "$DIR/"; cp -pu src/* "$DIR/"')
    either.holds(bodies, uploads=len(bodies))


def test_a_changed_file_is_sent_again(either: Faulty) -> None:
    """W4: rsync sends the one file that has changed; its old version goes."""
    bodies = fill(either)
    either.drive.run('rsync -a src/ "$DIR/"')
    name = "3 文件.txt"
    (either.drive.home / "work" / "src" / name).write_bytes(b"changed")
    either.drive.run('rsync -a src/ "$DIR/"')
    either.holds({**bodies, name: b"changed"}, uploads=len(bodies) + 1)


def test_rsync_delete(either: Faulty) -> None:
    """W8, W10: `rsync --delete` makes the drive like the source; texts neither stand in its way nor come back."""
    bodies = fill(either)
    either.server.add("old.txt", b"theirs")
    either.drive.run('rsync -a --delete --exclude "*.content" src/ "$DIR/"')
    either.holds(bodies, uploads=len(bodies))


def test_a_tree_with_directories(either: Faulty) -> None:
    """N1: a directory cannot be copied: the tool says so, and the files beside it arrive."""
    either.drive.run("rm -rf src; mkdir -p src/sub; echo one > src/a.txt; echo two > src/sub/b.txt")
    done = either.drive.shell('cp -r src/. "$DIR/"')
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    either.holds({"a.txt": b"one\n"}, uploads=1)


def test_the_whole_drive_out_and_in_again(either: Faulty) -> None:
    """A2, W4: own files copied out and in again are the same bytes: nothing is uploaded."""
    bodies = fill(either)
    either.drive.run('cp src/* "$DIR/"; mkdir out; cp "$DIR"/*.txt out/; cp out/* "$DIR/"; rm -r out')
    either.holds(bodies, uploads=len(bodies))


#: Each writes `one` to $F, which is there with other bytes.
UNKNOWN = {
    "cp": 'cp plain "$F"',
    "gio copy": 'gio copy plain "$F"',
    "rsync": 'rsync -a plain "$F"',
    "sed -i": 'cp plain "$F"; sed -i s/x/x/ "$F"',
    "mv": '(umask 077; cp plain "$F.tmp"); mv "$F.tmp" "$F"',
    "mkstemp": 'T=$(mktemp "$DIR/XXXXXXXX"); cat plain > "$T"; mv "$T" "$F"',
}


@pytest.mark.parametrize("way", UNKNOWN)
def test_a_type_that_may_be_refused(either: Faulty, way: str) -> None:
    """N6, N7: a temporary file that gets a real name is sent, whatever its mode was and whatever its type: the service
    says whether it takes it. It is never kept here silently, least of all after the old version was deleted."""
    either.server.add("a.odt", b"old")
    either.drive.run(f'echo one > plain; F="$DIR/a.odt"; {UNKNOWN[way]}')
    either.holds({"a.odt": b"one\n"})
