"""Renaming: local names for free, bytes that are here by a new upload, the rest not at all (W9)."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from moonfs import wire
from moonfs.lookups import STEP_SECONDS
from tests.conftest import MODES, Faulty
from tests.faults.server import FaultServer, answer_lost, refused
from tests.harness import direct
from tests.harness.direct import filesystem, write
from tests.harness.drive import wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = [pytest.mark.fuse, pytest.mark.kinds]


def stored(drive: Faulty) -> list[tuple[str, bytes]]:
    with drive.server.lock:
        return sorted((file.filename, file.data) for file in drive.server.files.values())


@pytest.mark.parametrize("remount", [False, True], ids=["same mount", "next mount"])
def test_bytes_that_are_here(faulty: Callable[..., Faulty], both: Faulty, remount: bool) -> None:
    """W9: they are uploaded under the new name and the old id goes; time and inode stay."""
    drive = faulty() if remount else both
    (drive.drive / "a.txt").write_text("hello")
    os.utime(drive.drive / "a.txt", (1, 1_234_567_890))
    if remount:
        drive.drive.remount()
    before = os.stat(drive.drive / "a.txt")
    os.rename(drive.drive / "a.txt", drive.drive / "b.md")
    assert stored(drive) == [("b.md", b"hello")]
    assert os.listdir(drive.drive.point) == ["b.md", "b.md.content"]
    after = os.stat(drive.drive / "b.md")
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (before.st_mtime_ns, before.st_ino, 5)
    assert (drive.drive / "b.md").read_text() == "hello"


def test_over_an_existing_name(both: Faulty) -> None:
    """W9: the target's old id goes too; there is one file in the end."""
    (both.drive / "a.txt").write_text("newer")
    (both.drive / "b.txt").write_text("older")
    both.server.add("c.txt", b"theirs")
    os.rename(both.drive / "a.txt", both.drive / "b.txt")
    assert stored(both) == [("b.txt", b"newer"), ("c.txt", b"theirs")]
    os.rename(both.drive / "b.txt", both.drive / "c.txt")
    assert stored(both) == [("c.txt", b"newer")]
    assert (both.drive / "c.txt").read_text() == "newer"


@pytest.mark.parametrize("way", ['mv "$DIR/a.txt" "$DIR/b.txt"', 'mv -f "$DIR/a.txt" "$DIR/b.txt"'])
@pytest.mark.parametrize("target", ["mine", "theirs", None])
def test_bytes_that_are_not_here(either: Faulty, way: str, target: str | None) -> None:
    """W9: ENOTSUP, never EXDEV: `mv -f` onto an existing file leaves both as they were, here and on the service."""
    either.server.add("a.txt", b"source")
    if target == "mine":
        (either.drive / "b.txt").write_text("target")
    elif target == "theirs":
        either.server.add("b.txt", b"target")
    before = either.arrived()
    done = either.drive.shell(way)
    assert done.returncode == 1
    assert "not supported" in done.stderr
    with fails(errno.ENOTSUP):
        os.rename(either.drive / "a.txt", either.drive / "b.txt")
    assert either.arrived() == before == {"a.txt": b"source"} | ({"b.txt": b"target"} if target else {})
    assert either.server.count("delete") == 0
    assert os.stat(either.drive / "a.txt").st_size == 6
    if target == "mine":
        assert (either.drive / "b.txt").read_text() == "target"
    assert "rename" in either.drive.errors()[-1]["operation"]


def test_bytes_that_are_not_here_over_what_is_on_its_way(faulty: Callable[..., Faulty]) -> None:
    """W9, W2: the same over a file whose upload has not ended; it goes on, under its name."""
    each = faulty("write_back", "listing_ttl=0")
    each.server.add("a.txt", b"source")
    gate = Gate()
    each.server.script("upload", gate.before)
    (each.drive / "b.txt").write_text("target")
    gate.wait()
    done = each.drive.shell('mv -f "$DIR/a.txt" "$DIR/b.txt"')
    assert done.returncode == 1
    assert "not supported" in done.stderr
    gate.opened.set()
    assert each.arrived() == {"a.txt": b"source", "b.txt": b"target"}
    assert (each.drive / "b.txt").read_text() == "target"
    assert each.server.count("delete") == 0


def test_out_of_the_drive(both: Faulty) -> None:
    """W9: `mv` out of the drive copies, then deletes; where the bytes cannot be had nothing is deleted."""
    (both.drive / "mine.txt").write_text("mine")
    both.server.add("theirs.txt", b"theirs")
    both.drive.run('mv "$DIR/mine.txt" out.txt')
    assert (both.drive.home / "work" / "out.txt").read_text() == "mine"
    assert stored(both) == [("theirs.txt", b"theirs")]
    done = both.drive.shell('mv "$DIR/theirs.txt" theirs.txt')
    assert done.returncode == 1
    assert stored(both) == [("theirs.txt", b"theirs")]


def test_a_sidecar(both: Faulty) -> None:
    """N4: a sidecar cannot be renamed: EACCES."""
    both.server.add("a.txt", b"theirs")
    with fails(errno.EACCES):
        os.rename(both.drive / "a.txt.content", both.drive / "b.txt")
    assert stored(both) == [("a.txt", b"theirs")]


def test_what_is_not_there(both: Faulty) -> None:
    """Table: ENOENT."""
    with fails(errno.ENOENT):
        os.rename(both.drive / "nobody.txt", both.drive / "b.txt")


def test_onto_itself(both: Faulty) -> None:
    """W9: a rename onto itself does nothing, also of a file whose bytes are not here."""
    (both.drive / "a.txt").write_text("mine")
    os.rename(both.drive / "a.txt", both.drive / "a.txt")
    assert (both.server.count("upload"), both.server.count("delete")) == (1, 0)


def test_a_temporary_name_becomes_real(both: Faulty) -> None:
    """W9, N6: a temporary file moves for free until it gets a real name, which is one upload."""
    (both.drive / "a.txt.tmp").write_text("hello")
    os.rename(both.drive / "a.txt.tmp", both.drive / "a.txt.part")
    assert both.server.count("upload") == 0
    os.rename(both.drive / "a.txt.part", both.drive / "a.txt")
    assert stored(both) == [("a.txt", b"hello")]
    assert (both.server.count("upload"), both.server.count("delete")) == (1, 0)


def test_a_real_name_becomes_temporary(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W9, N6: a backup (`a.txt~`) costs no upload and shows under its name only, until it is deleted everywhere."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    os.rename(drive / "a.txt", drive / "a.txt~")
    for _ in range(2):
        assert os.listdir(drive.point) == ["a.txt~"]
        assert (drive / "a.txt~").read_text() == "hello"
        drive.remount()
    assert service.count("upload") == 1
    os.unlink(drive / "a.txt~")
    assert service.names() == []
    assert os.listdir(drive.point) == []


def test_the_dance_of_a_backup(both: Faulty) -> None:
    """W9: keep a backup under another name, put the new version in place: what many editors do."""
    (both.drive / "a.txt").write_text("old")
    os.rename(both.drive / "a.txt", both.drive / "a.txt~")
    (both.drive / "a.txt").write_text("newer")
    os.unlink(both.drive / "a.txt~")
    wait_until(lambda: stored(both) == [("a.txt", b"newer")], "only the new version is left", 10)
    assert (both.drive / "a.txt").read_text() == "newer"
    assert os.listdir(both.drive.point) == ["a.txt", "a.txt.content"]


def test_a_rename_that_is_refused(both: Faulty) -> None:
    """W9: when the service does not take it both files stay as they were, and the bytes can be read."""
    (both.drive / "a.txt").write_text("newer")
    (both.drive / "b.txt").write_text("older")
    both.server.script("upload", refused(400, "text extract error: 不支持的文件类型"))
    with fails(errno.ENOTSUP):
        os.rename(both.drive / "a.txt", both.drive / "b.txt")
    assert stored(both) == [("a.txt", b"newer"), ("b.txt", b"older")]
    assert (both.drive / "a.txt").read_text() == "newer"
    assert (both.drive / "b.txt").read_text() == "older"


def test_a_rename_to_a_type_that_only_the_service_knows(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N7: in write-back it is refused later, nothing is lost, and a rename back mends it; without extension at once."""
    each = faulty("write_back", "listing_ttl=0")
    (each.drive / "a.txt").write_bytes(b"mine")
    each.arrived()
    with fails(errno.ENOTSUP):
        (each.drive / "a.txt").rename(each.drive / "LICENCE")
    service.script("upload", refused(400, "不支持的文件类型"))
    (each.drive / "a.txt").rename(each.drive / "a.tgz")
    (failed,) = wait_until(lambda: each.drive.status()["uploads"]["failed"], "it is refused")
    assert failed["name"] == "a.tgz" and "does not take files of this type" in failed["error"]
    assert service.names() == ["a.txt"] and (each.drive / "a.tgz").read_bytes() == b"mine"
    before = service.count("upload")
    (each.drive / "a.tgz").rename(each.drive / "a.txt")
    assert each.arrived() == {"a.txt": b"mine"}
    assert service.count("upload") - before <= 1


def test_a_rename_of_a_temporary_name_that_is_refused(both: Faulty) -> None:
    """W9, tenet 1: the bytes under the temporary name are kept for a second try."""
    (both.drive / "a.tmp").write_text("hello")
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    with fails(errno.ENOTSUP):
        os.rename(both.drive / "a.tmp", both.drive / "a.txt")
    assert (both.drive / "a.tmp").read_text() == "hello"
    os.rename(both.drive / "a.tmp", both.drive / "a.txt")
    assert stored(both) == [("a.txt", b"hello")]


def test_a_rename_whose_answer_is_lost(both: Faulty) -> None:
    """W9, W3: exactly one copy, under the new name."""
    (both.drive / "a.txt").write_text("hello")
    both.server.script("upload", answer_lost())
    os.rename(both.drive / "a.txt", both.drive / "b.txt")
    assert stored(both) == [("b.txt", b"hello")]


def test_renaming_what_is_being_written(both: Faulty) -> None:
    """W9: a file that is open for writing has its new name at once; its bytes arrive under it, once."""
    with open(both.drive / "a.txt", "wb", buffering=0) as file:
        file.write(b"hello")
        os.rename(both.drive / "a.txt", both.drive / "b.txt")
        assert os.listdir(both.drive.point)[0] == "b.txt"
        file.write(b" again")
    assert stored(both) == [("b.txt", b"hello again")]
    assert (both.drive / "b.txt").read_text() == "hello again"


def test_a_reader_of_the_old_file_goes_on(both: Faulty) -> None:
    """W9: a rename over a file is atomic for its readers: who has the old one open reads the old one to its end."""
    (both.drive / "a.txt").write_text("old " * 100_000)
    with open(both.drive / "a.txt", "rb", buffering=0) as file:
        start = file.read(1000)
        (both.drive / ".new").write_text("newer")
        os.rename(both.drive / ".new", both.drive / "a.txt")
        assert (both.drive / "a.txt").read_text() == "newer"
        rest = b"".join(iter(lambda: file.read(100_000), b""))
        assert start + rest == b"old " * 100_000


VERSIONS = [bytes([index]) * (200_000 + 7 * index) for index in range(1, 31)]


def watch_saves(each: Faulty, temporary: str) -> int:
    """Save again and again by a new file and `os.replace` while two readers and a looker loop; check what they see.

    Returns:
        how often the name was not there for one of them, though it took no longer over it than anybody is waited for.
    """
    target = each.drive / "a.txt"
    target.write_bytes(VERSIONS[0])
    sizes = {len(body) for body in VERSIONS}
    started, ended = threading.Barrier(4), threading.Event()

    def read() -> int:
        seen, missing = [], 0
        started.wait()
        while not ended.is_set():
            began = time.monotonic()
            try:
                body = target.read_bytes()
            except FileNotFoundError:
                missing += time.monotonic() - began < STEP_SECONDS
                continue
            assert body in VERSIONS, f"{len(body)} bytes that were never written as one"
            seen.append(body[0])
        assert seen == sorted(seen), "an older version after a newer one"
        assert len(set(seen)) > 5, "the reader has hardly run"
        return missing

    def look() -> int:
        missing = 0
        started.wait()
        while not ended.is_set():
            assert "a.txt" in os.listdir(each.drive.point)
            began = time.monotonic()
            try:
                assert target.stat().st_size in sizes
            except FileNotFoundError:
                missing += time.monotonic() - began < STEP_SECONDS
        return missing

    with ThreadPoolExecutor(3) as pool:
        watchers = [pool.submit(read), pool.submit(read), pool.submit(look)]
        started.wait()
        try:
            for body in VERSIONS[1:]:
                (each.drive / temporary).write_bytes(body)
                os.replace(each.drive / temporary, target)
        finally:
            ended.set()
        missing = sum(watcher.result() for watcher in watchers)
    each.holds({"a.txt": VERSIONS[-1]})
    return missing


@pytest.mark.parametrize("temporary", [".new", "new.md"])
def test_readers_see_whole_versions(either: Faulty, temporary: str) -> None:
    """W9: whoever opens a name that is replaced meanwhile reads the old or the new bytes to their end, never a mixture,
    nor an older version after a newer one; the name is listed at every moment, with the size of one of them."""
    watch_saves(either, temporary)


def test_readers_see_the_old_or_the_new_bytes(either: Faulty) -> None:
    """W9: a rename over an existing name is atomic for readers: never is there neither the old nor the new file."""
    assert watch_saves(either, ".new") == 0


def test_who_comes_while_a_rename_waits_for_its_upload(both: Faulty) -> None:
    """W9: in write-through a rename takes as long as its upload; who opens or looks at the name meanwhile waits."""
    (both.drive / "a.txt").write_text("old")
    (both.drive / ".new").write_text("newer")
    gate = Gate()
    both.server.script("upload", gate.before)
    with ThreadPoolExecutor(3) as pool:
        rename = pool.submit(os.replace, both.drive / ".new", both.drive / "a.txt")
        gate.wait()
        readers = [pool.submit((both.drive / "a.txt").read_text), pool.submit((both.drive / "a.txt").stat)]
        assert not wait([*readers, rename], 0.2).done
        gate.opened.set()
        rename.result()
        assert readers[0].result() == "newer"
        readers[1].result()


@pytest.mark.parametrize("write_back", [False, True], ids=MODES)
def test_the_drive_itself_never_lacks_the_name(service: FaultServer, tmp_path: Path, write_back: bool) -> None:
    """W9: the same below the kernel, where nothing else can lose the name: it is there at every moment, and opens."""
    ended = threading.Event()
    with filesystem(service, tmp_path, write_back=write_back, listing_ttl=0) as drive, ThreadPoolExecutor(2) as pool:
        write(drive, "/a.txt", VERSIONS[0])

        def read() -> set[bytes]:
            seen = set()
            while not ended.is_set():
                handle = drive.open("/a.txt", read=True, write=False).handle
                try:
                    seen.add(direct.read(drive, handle))
                finally:
                    drive.release(handle)
            return seen

        def look() -> set[int]:
            sizes = set()
            while not ended.is_set():
                assert "a.txt" in drive.readdir("/")
                sizes.add(drive.getattr("/a.txt").size)
            return sizes

        reader, looker = pool.submit(read), pool.submit(look)
        try:
            for body in VERSIONS[1:]:
                write(drive, "/.new", body)
                drive.rename("/.new", "/a.txt")
        finally:
            ended.set()
        assert reader.result() <= set(VERSIONS)
        assert looker.result() <= {len(body) for body in VERSIONS}
        assert drive.drain(20)
    assert [(file.filename, file.data) for file in service.files.values()] == [("a.txt", VERSIONS[-1])]


def test_names_that_are_refused(both: Faulty) -> None:
    """N2, N6, N7: what may not be created may not be renamed to either; the source stays."""
    (both.drive / "a.txt").write_text("hello")
    for name, code in ((b".DS_Store", errno.EACCES), (b"a\nb.txt", errno.ENOTSUP), (b"bad\xff.txt", errno.ENOTSUP)):
        with fails(code):
            os.rename(os.fsencode(both.drive / "a.txt"), os.path.join(os.fsencode(both.drive.point), name))
    assert stored(both) == [("a.txt", b"hello")]
    assert (both.drive / "a.txt").read_text() == "hello"


@pytest.mark.parametrize("said", [wire.MSG_NO_TEXT, wire.MSG_UNSUPPORTED, "Invalid purpose"])
def test_a_refusal_is_not_what_mv_takes_for_a_directory(both: Faulty, said: str) -> None:
    """W9, errors: `mv` words EINVAL as "cannot move to a subdirectory of itself"; no refusal says that."""
    (both.drive / "a.tmp").write_text("text")
    both.server.script("upload", refused(400, said))
    done = both.drive.shell('mv "$DIR/a.tmp" "$DIR/a.txt"')
    assert done.returncode == 1 and "Operation not supported" in done.stderr, done
    assert both.drive.errors()[-1]["errno"] == "ENOTSUP"


def test_an_exchange_of_names(both: Faulty) -> None:
    """W9: RENAME_EXCHANGE stays EINVAL, as rename(2) says of a filesystem that has none."""
    (both.drive / "a.txt").write_text("one")
    (both.drive / "b.txt").write_text("two")
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(both.drive / name) for name in ("a.txt", "b.txt")]
    assert libc.renameat2(-100, names[0], -100, names[1], 2) == -1  # AT_FDCWD; RENAME_EXCHANGE (linux/fs.h)
    assert ctypes.get_errno() == errno.EINVAL
    assert stored(both) == [("a.txt", b"one"), ("b.txt", b"two")]


def test_renames_survive_a_remount(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W9: what was renamed is there under its new name in the next mount, and the old name is not."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    os.rename(drive / "a.txt", drive / "b.txt")
    (drive / "c.tmp").write_text("temporary")
    os.rename(drive / "c.tmp", drive / "d.tmp")
    drive.remount()
    assert os.listdir(drive.point) == ["b.txt", "b.txt.content", "d.tmp"]
    assert (drive / "b.txt").read_text() == "hello"
    assert (drive / "d.tmp").read_text() == "temporary"
    assert service.names() == ["b.txt"]
