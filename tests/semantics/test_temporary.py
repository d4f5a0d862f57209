"""Saving by a temporary name: what programs write first and then rename, and what becomes of the rest (N6, W9)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moonfs import wire
from tests.conftest import Faulty
from tests.faults.server import refused
from tests.harness import former
from tests.harness.drive import Drive, wait_until
from tests.harness.expect import fails
from tests.harness.programs import needs

pytestmark = [pytest.mark.fuse, pytest.mark.kinds]

#: How programs save `a.txt` with the bytes `new`: what they write to, and what they rename the version before to.
WAYS = {
    "GLib": ("a.txt.AB12CD", ""),
    "GLib, private": ("a.txt.AB12CD 0600", ""),
    "QSaveFile": ("a.txt.kXyZab", ""),
    "JetBrains": ("a.txt___jb_tmp___", "a.txt___jb_old___"),
    "git": ("a.txt.lock", ""),
    "write-file-atomic": ("a.txt.3456789012", ""),
    "exiftool": ("a.txt_exiftool_tmp", "a.txt_original"),
    "qpdf": ("a.txt.~qpdf-temp#", "a.txt.~qpdf-orig"),
    "Excel": ("5F3A1B20", "6C2B1A30.tmp"),
    "dpkg": ("a.txt.dpkg-new", "a.txt.dpkg-tmp"),
    ".new": ("a.txt.new", ""),
    ".new and .old": ("a.txt.new", "a.txt.old"),
    "a UUID": ("a.txt.3f2504e0-4f89-41d3-9a0c-0305e82c3301", ""),
    "macOS": ("a.txt.sb-1a2b3c4d-AbCdEf", ""),
    "yt-dlp": ("a.txt.part-Frag1", ""),
    "aria2": ("a.txt.aria2", ""),
    "qBittorrent": ("a.txt.!qB", ""),
    "KDE": ("a.txt.part", "a.txt~"),
    "sed -i": ("sedAb12Cd", ""),
    "sed -i.bak": ("sedAb12Cd", "a.txt.bak"),
    "patch -b": ("a.txt.oAb12Cd", "a.txt.orig"),
    "logrotate": ("a.txt", "a.txt.1"),
    "logrotate dateext": ("a.txt", "a.txt-20240101"),
}


@pytest.mark.parametrize("way", WAYS)
def test_saving_a_file_that_is_there(either: Faulty, way: str) -> None:
    """N6, W9: the account has one version at every moment, the old or the new one, and in the end the new one; the
    backup, where one is kept, is here."""
    (written, mode), kept = WAYS[way][0].partition(" ")[::2], WAYS[way][1]
    (either.drive / "a.txt").write_text("old")
    assert either.arrived() == {"a.txt": b"old"}
    if kept and written == "a.txt":
        os.rename(either.drive / "a.txt", either.drive / kept)
        assert either.arrived() == {"a.txt": b"old"}
        assert os.listdir(either.drive.point) == [kept]
    flags = (os.O_RDWR if mode else os.O_WRONLY) | os.O_CREAT | os.O_EXCL
    descriptor = os.open(either.drive / written, flags, int(mode or "644", 8))
    os.write(descriptor, b"new")
    os.fsync(descriptor)
    os.close(descriptor)
    if written != "a.txt":
        assert either.arrived() == {"a.txt": b"old"}
        assert (either.drive / written).read_bytes() == b"new"
        if kept:
            os.rename(either.drive / "a.txt", either.drive / kept)
            assert either.arrived() == {"a.txt": b"old"}
            assert os.listdir(either.drive.point) == sorted([kept, written])
        os.replace(either.drive / written, either.drive / "a.txt")
    assert either.arrived() == {"a.txt": b"new"}
    assert os.listdir(either.drive.point) == sorted(["a.txt", "a.txt.content", *filter(None, [kept])])
    if kept:
        assert (either.drive / kept).read_bytes() == b"old"
        os.unlink(either.drive / kept)
    either.holds({"a.txt": b"new"}, uploads=2)
    assert either.drive.errors() == [] or either.drive.errors()[-1]["name"] != written


@pytest.mark.parametrize("way", WAYS)
def test_saving_a_new_file(either: Faulty, way: str) -> None:
    """N6: one upload, of the file under its name."""
    written, _, mode = WAYS[way][0].partition(" ")
    flags = (os.O_RDWR if mode else os.O_WRONLY) | os.O_CREAT | os.O_EXCL
    descriptor = os.open(either.drive / written, flags, int(mode or "644", 8))
    os.write(descriptor, b"new")
    os.close(descriptor)
    os.rename(either.drive / written, either.drive / "a.txt")
    either.holds({"a.txt": b"new"}, uploads=1)


PROGRAMS = {
    "git config": ("git", "printf '[a]\\n\\tb = old\\n' > $DIR/a.ini", "git config -f $DIR/a.ini a.b new", "a.ini"),
    "perl -i": ("perl", "echo old > $DIR/a.txt", "perl -i -pe 's/old/new/' $DIR/a.txt", "a.txt"),
    "perl -i.bak": ("perl", "echo old > $DIR/a.txt", "perl -i.bak -pe 's/old/new/' $DIR/a.txt", "a.txt"),
    "sed -i": ("sed", "echo old > $DIR/a.txt", "sed -i s/old/new/ $DIR/a.txt", "a.txt"),
    "sed -i.bak": ("sed", "echo old > $DIR/a.txt", "sed -i.bak s/old/new/ $DIR/a.txt", "a.txt"),
    "sed -i.old": ("sed", "echo old > $DIR/a.txt", "sed -i.old s/old/new/ $DIR/a.txt", "a.txt"),
    "cp --backup": ("cp", "echo old > $DIR/a.txt; echo new > new", "cp --backup=numbered new $DIR/a.txt", "a.txt"),
    "cp -S": ("cp", "echo old > $DIR/a.txt; echo new > new", "cp -b -S .bak new $DIR/a.txt", "a.txt"),
    "install -b": ("install", "echo old > $DIR/a.txt; echo new > new", "install -b new $DIR/a.txt", "a.txt"),
    "mv -b": ("mv", "echo old > $DIR/a.txt; echo new > new", "mv -b -S .orig new $DIR/a.txt", "a.txt"),
    "patch -b": (
        "patch", "echo old > $DIR/a.txt; printf -- '--- a.txt\\n+++ a.txt\\n@@ -1 +1 @@\\n-old\\n+new\\n' > p",
        "patch -s -b -d $DIR < p", "a.txt",
    ),
    "g_file_set_contents": (
        "gio", "echo old > $DIR/a.txt",
        "python3 -c \"import ctypes, os; assert ctypes.CDLL('libglib-2.0.so.0')"
        ".g_file_set_contents(os.environb[b'DIR'] + b'/a.txt', b'new', 3, None)\"", "a.txt",
    ),
    "write-file-atomic": (
        "node", "echo old > $DIR/a.json",
        "NODE_PATH=/usr/share/nodejs node -e \"require('write-file-atomic').sync(process.env.DIR + '/a.json', 'new')\"",
        "a.json",
    ),
    "qpdf": (
        "qpdf", "cp $SAMPLES/welcome.pdf $DIR/a.pdf", "qpdf --replace-input --linearize $DIR/a.pdf; echo new", "a.pdf",
    ),
    "exiftool": (
        "exiftool", "cp $SAMPLES/note.png $DIR/a.png", "exiftool -q -Comment=new $DIR/a.png", "a.png",
    ),
    "logrotate": (
        "/usr/sbin/logrotate",
        "echo old > $DIR/a.log; printf '%s/a.log {\\n rotate 3\\n create\\n}\\n' $DIR > conf; chmod 644 conf",
        "/usr/sbin/logrotate -s state -f conf && echo new > $DIR/a.log", "a.log",
    ),
}  # fmt: skip


#: What no test but this needs, and what is on no ordinary user's PATH.
RARE = {"write-file-atomic": "/usr/share/nodejs/write-file-atomic", "logrotate": "/usr/sbin/logrotate"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_real_programs(either: Faulty, program: str) -> None:
    """N6, W9: they save without complaint; the account has the new version alone, and its backup is here alone."""
    runs, prepare, save, name = PROGRAMS[program]
    if program in RARE and not Path(RARE[program]).exists():
        pytest.skip(f"{RARE[program]} is not installed")
    needs("qpdf", "exiftool", "git", "perl", "patch", "gio")
    assert shutil.which(runs)
    samples = f"SAMPLES={Path(__file__).parents[1] / 'samples'}\n"
    either.drive.run(samples + prepare)
    before = either.arrived()
    either.drive.run(samples + save)
    after = either.arrived()
    assert list(after) == list(before) == [name]
    assert after[name] != before[name]
    assert b"new" in after[name] or name == "a.pdf"
    for backup in [each for each in os.listdir(either.drive.point) if each not in (name, f"{name}.content")]:
        assert (either.drive / backup).read_bytes() == before[name]


def test_nothing_is_sent_for_a_lock(either: Faulty) -> None:
    """N6: a lock file is exclusive, and gone without a trace."""
    descriptor = os.open(either.drive / "a.ini.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    with fails(errno.EEXIST):
        os.open(either.drive / "a.ini.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    os.close(descriptor)
    os.unlink(either.drive / "a.ini.lock")
    either.holds({}, uploads=0)


@pytest.mark.parametrize("name", ["a.txt.bak", "data.tsv", "a.txt (1)", "a.log.1", "20240101", "a.pdf.tar.gz"])
def test_what_a_person_may_have_meant(both: Faulty, name: str) -> None:
    """N6, N7: a copy under such a name is refused at its close, as every other type that the service refuses."""
    (both.drive.work() / "a").write_text("text")
    both.server.script("upload", refused(400, wire.MSG_UNSUPPORTED))
    done = both.drive.shell(f'cp a "$DIR/{name}"')
    assert done.returncode == 1
    assert "not supported" in done.stderr
    assert [each["name"] for each in both.drive.status()["uploads"]["failed"]] == [name]


@pytest.mark.parametrize("name", ["a.txt.bak", "a.txt.1"])
def test_a_backup_is_one_only_of_the_file_itself(both: Faulty, name: str) -> None:
    """W9, N7: `mv b.txt a.txt.bak` is refused: nothing says that the new version of b.txt comes."""
    (both.drive / "b.txt").write_text("text")
    both.server.script("upload", refused(400, wire.MSG_UNSUPPORTED))
    with fails(errno.ENOTSUP):
        os.rename(both.drive / "b.txt", both.drive / name)
    assert both.arrived() == {"b.txt": b"text"}


def past(drive: Drive) -> None:
    """Let ten minutes be over since everything was closed; the drive must not be mounted."""
    (journal,) = drive.home.glob("state/moonfs/accounts/*/journal.db")
    with contextlib.closing(sqlite3.connect(journal)) as db, db:
        db.execute("UPDATE intents SET closed = closed - 600000000000 WHERE closed > 0")


@pytest.mark.parametrize("options", [(), ("write_back",)], ids=["write-through", "write-back"])
def test_what_nobody_renames(faulty: Callable[..., Faulty], options: tuple[str, ...]) -> None:
    """N6, N7, L2: umount does not wait for it, but names it; ten minutes after its last close it is uploaded where the
    service takes it, else it has failed, with a next step; a rename mends that."""
    each = faulty(*options)
    (each.drive / "a.txt.lock").write_text("one")
    (each.drive / "b.md.new").write_text("two")
    (each.drive / "begun.tmp").write_text("three")
    assert each.drive.status()["uploads"]["temporary"] == ["a.txt.lock", "b.md.new"]
    done = each.drive.command("umount", str(each.drive.point))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith(
        "Only on this machine, under temporary names: a.txt.lock, b.md.new. After the next mount they are uploaded "
        "once renamed, or ten minutes after the last close.\n"
    )
    each.drive.mount(*options)
    assert each.server.count("upload") == 0
    assert sorted(os.listdir(each.drive.point)) == ["a.txt.lock", "b.md.new", "begun.tmp"]
    done = each.drive.command("umount", str(each.drive.point))
    past(each.drive)
    each.server.script("upload", refused(400, wire.MSG_UNSUPPORTED), refused(400, wire.MSG_UNSUPPORTED))
    each.drive.mount(*options)
    failed = wait_until(lambda: _two(each.drive.status()["uploads"]["failed"]), "both are refused")
    assert [one["name"] for one in failed] == ["a.txt.lock", "b.md.new"]
    assert all(one["next"].startswith("Rename it") for one in failed)
    os.rename(each.drive / "a.txt.lock", each.drive / "a.txt")
    each.drive.run(failed[1]["next"].partition(": ")[2])
    wait_until(lambda: each.server.names() == ["a.txt", "b.md.new.txt"], "both are uploaded")
    assert (each.drive / "begun.tmp").read_text() == "three"


def _two(failed: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(failed, key=lambda one: one["name"]) if len(failed) == 2 else []


def test_what_nobody_renames_and_the_service_takes(faulty: Callable[..., Faulty]) -> None:
    """N6: it was meant; from then on it is a file like any other."""
    each = faulty()
    (each.drive / "a.txt.lock").write_text("one")
    each.drive.kill()
    past(each.drive)
    each.drive.mount()
    wait_until(lambda: each.server.names() == ["a.txt.lock"], "it is uploaded")
    wait_until(lambda: each.drive.status()["uploads"]["temporary"] == [], "it is no temporary file any more")
    (each.drive / "a.txt.lock").write_text("two")
    assert each.arrived() == {"a.txt.lock": b"two"}


@pytest.mark.parametrize("name", ["a.txt~", "a.txt.bak"])
def test_what_is_renamed_away_for_good(faulty: Callable[..., Faulty], name: str) -> None:
    """W9: the account has the copy for ten minutes, and no longer; here are its bytes."""
    each = faulty()
    (each.drive / "a.txt").write_text("old")
    os.rename(each.drive / "a.txt", each.drive / name)
    each.drive.remount()
    assert os.listdir(each.drive.point) == [name]
    assert each.server.names() == ["a.txt"]
    each.drive.umount()
    past(each.drive)
    each.server.script("upload", refused(400, wire.MSG_UNSUPPORTED))
    each.drive.mount()
    wait_until(lambda: each.server.names() == [], "the copy is deleted")
    assert (each.drive / name).read_text() == "old"
    wanted = [] if name == "a.txt~" else [name]  # whose upload is refused a moment later
    wait_until(lambda: [one["name"] for one in each.drive.status()["uploads"]["failed"]] == wanted, "it is refused")


def test_another_machine_sees_the_old_version_meanwhile(faulty: Callable[..., Faulty]) -> None:
    """W9, L4: a version is not shown here under its old name; for all others it is there until the new one is."""
    each = faulty("listing_ttl=0")
    (each.drive / "a.txt").write_text("old")
    os.rename(each.drive / "a.txt", each.drive / "a.txt~")
    (file,) = each.server.files.values()
    assert (file.filename, file.data) == ("a.txt", b"old")
    assert os.listdir(each.drive.point) == ["a.txt~"]
    assert not (each.drive / "a.txt").exists()
    assert not (each.drive / "a.txt.content").exists()
    (each.drive / "a.txt").write_text("new")
    assert each.arrived() == {"a.txt": b"new"}


@pytest.mark.parametrize("layout", [3, 4, 5, 6])
def test_a_drive_of_the_version_before(faulty: Callable[..., Faulty], layout: int) -> None:
    """Tenet 1, W2, W6, W8: what it left pending arrives, in order; what stays here stays; what is to go goes."""
    each = faulty()
    (each.drive / "z.txt").write_text("to learn the place")
    gone = each.server.add("gone.txt", b"deleted while nobody was there")
    old = each.server.add("d.txt", b"old")
    each.drive.umount()
    (state,) = each.drive.home.glob("state/moonfs/accounts/*")
    assert not list((state / "spool").iterdir())
    for path in state.glob("journal.db*"):
        path.unlink()
    rows = []

    def left(number: int, name: str, status: str, data: bytes, **other: object) -> None:
        spool = f"{number:024x}"
        if layout == 3 or len(data) > 65_536:
            (state / "spool" / spool).write_bytes(data)
            os.chmod(state / "spool" / spool, 0o600)
            carried, other = None, {"size": len(data), **other}
        else:
            carried = data
        kept = {"inode": 2**40 + number, "acknowledged": number, **other}
        rows.append(former.row(spool, name, status, carried, **kept))  # type: ignore[arg-type]

    left(1, "a.txt", "pending", b"first")
    left(2, "b.txt", "pending", b"second" * 20_000)
    left(3, "c.txt", "pending", b"third")
    left(4, "d.txt", "pending", b"newer", replaces=[old.id])
    left(5, ".begun.swp", "local", b"begun")
    left(6, "empty.txt", "local", b"")
    left(7, "tmpab12cd", "local", b"private", private=1)
    left(8, "Makefile", "failed", b"all:\n", error="UnsupportedType: the service takes no files without an extension")
    former.journal(state / "journal.db", layout, rows, [gone.id])
    each.drive.mount("requests=1")
    wait_until(
        # The old `d.txt` has its name until the newer one is there.
        lambda: (
            old.id not in each.server.files and each.server.names() == ["a.txt", "b.txt", "c.txt", "d.txt", "z.txt"]
        ),
        "all has arrived",
    )
    with each.server.lock:
        bodies = {file.filename: file.data for file in each.server.files.values()}
        order = [file.filename for file in each.server.files.values()]
    assert bodies["a.txt"] == b"first"
    assert bodies["b.txt"] == b"second" * 20_000
    assert bodies["d.txt"] == b"newer"
    assert order == ["z.txt", "a.txt", "b.txt", "c.txt", "d.txt"]
    shown = [name for name in os.listdir(each.drive.point) if not name.endswith(".content")]
    assert shown == sorted([*bodies, ".begun.swp", "empty.txt", "tmpab12cd", "Makefile"])
    assert (each.drive / ".begun.swp").read_text() == "begun"
    assert (each.drive / "tmpab12cd").read_text() == "private"
    (failed,) = each.drive.status()["uploads"]["failed"]
    assert failed["name"] == "Makefile"
    assert failed["next"].endswith("Makefile.txt")
    each.drive.remount()
    assert [name for name in os.listdir(each.drive.point) if not name.endswith(".content")] == shown


@pytest.mark.parametrize("layout", [3, 4, 5, 6])
def test_a_drive_of_the_version_before_in_doubt(faulty: Callable[..., Faulty], layout: int) -> None:
    """Tenet 1, W2, W3: of its uploads without an answer each ends as one copy, and what is somebody else's stays."""
    each = faulty()
    (each.drive / "z.txt").write_text("to learn the place")
    each.drive.umount()
    (state,) = each.drive.home.glob("state/moonfs/accounts/*")
    for path in state.glob("journal.db*"):
        path.unlink()
    began = time.time() - 1
    rows = []

    def left(number: int, name: str, status: str, data: bytes, *, stored: bool, fast: int = 0) -> None:
        if stored:
            each.server.add(name, data)
        spool = f"{number:024x}"
        if layout == 3:
            (state / "spool" / spool).write_bytes(data)
            os.chmod(state / "spool" / spool, 0o600)
        rows.append(
            former.row(
                *(spool, name, status, None if layout == 3 else data),
                size=len(data),
                inode=2**40 + number,
                acknowledged=0 if status == "uploading" else number,
                started=began + fast * (layout < 6),  # since then it is by the clock of the service
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )

    left(1, "arrived.txt", "pending", b"it has arrived", stored=True)
    left(2, "not.txt", "pending", b"it has not", stored=False)
    left(3, "theirs.txt", "pending", b"our bytes", stored=False)
    theirs = each.server.add("theirs.txt", b"not ours,")
    left(4, "removed.txt", "cancelled", b"removed by us", stored=True)
    left(5, "failed.txt", "uploading", b"its close had not ended", stored=True)
    left(6, "fast.txt", "pending", b"by a clock that was fast", stored=True, fast=86_400)
    former.journal(state / "journal.db", layout, rows)
    each.drive.mount("requests=1")
    second = "theirs(1).txt" if each.server.kind.numbers else "theirs.txt"  # nobody saw that the name is taken
    ours = {
        "arrived.txt": b"it has arrived",
        "not.txt": b"it has not",
        "failed.txt": b"its close had not ended",
        "fast.txt": b"by a clock that was fast",
    }
    wait_until(
        lambda: (
            each.server.names() == sorted([*ours, "theirs.txt", second, "z.txt"])
            and not each.drive.status()["uploads"]["pending"]
        ),
        "nothing is in doubt",
    )
    with each.server.lock:
        assert sorted(file.data for file in each.server.files.values() if file.filename in ("theirs.txt", second)) == [
            b"not ours,",
            b"our bytes",
        ]
    assert theirs.id in each.server.files
    assert {name: (each.drive / name).read_bytes() for name in ours} == ours
    assert (each.drive / second).read_bytes() == b"our bytes"
