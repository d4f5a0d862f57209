"""Deleting: on the service, at once, and in bulk without an error (W8, W10)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.direct import filesystem
from tests.harness.drive import wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse


def test_unlink_is_delete(both: Faulty) -> None:
    """W8: an own file and one of others are deleted on the service; they and their texts show no more."""
    both.server.add("theirs.txt", b"theirs")
    (both.drive / "mine.txt").write_text("mine")
    (both.drive / "theirs.txt").unlink()
    assert both.server.names() == ["mine.txt"]
    (both.drive / "mine.txt").unlink()
    assert both.server.names() == []
    assert os.listdir(both.drive.point) == []
    with fails(errno.ENOENT):
        (both.drive / "theirs.txt.content").read_bytes()


def test_a_404_counts_as_done(both: Faulty) -> None:
    """W8: what is gone already is deleted."""
    both.server.add("a.txt", b"theirs")
    both.server.script("delete", refused(404, "The requested resource was not found", "resource_not_found_error"))
    (both.drive / "a.txt").unlink()
    assert both.server.count("delete") == 1


def test_unlink_of_nothing(both: Faulty) -> None:
    """Table: no such file: ENOENT, and nothing is sent for it."""
    with fails(errno.ENOENT):
        (both.drive / "nobody.txt").unlink()
    assert both.server.count("delete") == 0


def test_a_deletion_that_fails(both: Faulty) -> None:
    """W8, tenet 1: when the service refuses, `rm` says so and the file still shows."""
    both.server.add("a.txt", b"theirs")
    both.server.script("delete", refused(403, "no", "permission_denied_error"))
    done = both.drive.shell('rm "$DIR/a.txt"')
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "a.txt" in os.listdir(both.drive.point)


def test_a_sidecar_never_takes_its_file_along(both: Faulty) -> None:
    """W10: `unlink` of a sidecar succeeds and deletes nothing."""
    both.server.add("a.txt", b"theirs")
    (both.drive / "a.txt.content").unlink()
    assert both.server.names() == ["a.txt"]
    assert both.server.count("delete") == 0
    assert b"theirs" in (both.drive / "a.txt.content").read_bytes()


def test_tar_over_texts_ends(both: Faulty) -> None:
    """W10: a tar that holds texts is unpacked over them: each is refused, and the files around them arrive.

    tar deletes what is in its way and makes it anew until that works, which it never does for a text.
    """
    for name in ("a.txt", "b.txt"):
        (both.drive / name).write_text(name)
    both.arrived()
    done = both.drive.shell(
        'tar cf all.tar -C "$DIR" . && echo changed >> "$DIR/a.txt" && timeout 30 tar xf all.tar -C "$DIR"'
    )
    assert done.returncode == 2, done
    assert "a.txt.content: Cannot open: Permission denied" in done.stderr
    assert (both.drive / "a.txt").read_text() == "a.txt"
    assert (both.drive / "a.txt.content").read_bytes()
    assert sorted(os.listdir(both.drive.point)) == ["a.txt", "a.txt.content", "b.txt", "b.txt.content"]


BULK = {
    "rm *": 'rm "$DIR"/*',
    "rm -f *": 'rm -f "$DIR"/*',
    "rm reversed": 'ls -r "$DIR" | while read -r n; do rm "$DIR/$n"; done',
    "rm -r": 'cd "$DIR"; rm -r ./* ',
    "find -delete": 'find "$DIR" -type f -delete',
    "find -exec +": 'find "$DIR" -type f -exec rm {} +',
    "find | xargs": 'find "$DIR" -type f -print0 | xargs -0 rm',
    "gio remove": 'gio remove "$DIR"/*',
    "python": "python3 -c 'import os, sys; [os.unlink(e.path) for e in list(os.scandir(sys.argv[1]))]' \"$DIR\"",
    "python while listing": "cd \"$DIR\"; python3 -c 'import os, sys; [os.unlink(e.path) for e in os.scandir()]'",
}


@pytest.mark.parametrize("way", BULK)
def test_delete_all(both: Faulty, way: str) -> None:
    """W10: every way to delete all ends without an error, with duplicates of a name too, and all is deleted."""
    for index in range(3):
        both.server.add("twice.txt", b"theirs", created_at=1_700_000_000 + index)
        both.server.add(f"{index}.pdf", b"theirs")
    both.server.add("real.txt.content", b"a real file with a sidecar's name")
    both.server.add("real.txt", b"and its namesake")
    both.server.add("picture.png", b"theirs", purpose="image")
    (both.drive / "mine.txt").write_text("mine")
    (both.drive / "empty.txt").touch()
    (both.drive / "begun.tmp").write_text("begun")
    both.drive.run(BULK[way])
    assert both.server.names() == []
    assert os.listdir(both.drive.point) == []


@pytest.mark.parametrize("way", ["rm -rf", "find -delete"])
def test_delete_all_and_the_drive(both: Faulty, way: str) -> None:
    """W10: what would remove the mount point too has emptied the drive, and only complains about the mount point."""
    both.server.add("a.txt", b"theirs")
    done = both.drive.shell({"rm -rf": 'rm -rf "$DIR"', "find -delete": 'find "$DIR" -delete'}[way])
    assert both.server.names() == []
    assert done.stderr.count("\n") <= 1
    assert os.path.ismount(both.drive.point)


def test_only_the_texts(both: Faulty) -> None:
    """W10: `rm *.content` deletes nothing."""
    both.server.add("a.txt", b"theirs")
    both.drive.run('rm "$DIR"/*.content')
    assert both.server.names() == ["a.txt"]


def test_unlinking_an_open_file_discards_its_bytes(both: Faulty) -> None:
    """W8: its bytes end with the last handle and nothing is uploaded; until then they can be read and written."""
    with open(both.drive / "a.txt", "w+b", buffering=0) as file:
        file.write(b"hello")
        (both.drive / "a.txt").unlink()
        file.write(b" again")
        file.seek(0)
        assert file.read() == b"hello again"
        assert os.listdir(both.drive.point) == []
    assert both.server.count("upload") == 0
    assert os.listdir(both.drive.point) == []
    assert both.drive.status()["uploads"]["local"] == []


def test_unlinking_a_stored_file_that_is_open(both: Faulty) -> None:
    """W8: it is deleted on the service at once; its reader goes on."""
    (both.drive / "a.txt").write_text("hello")
    with open(both.drive / "a.txt", "rb") as file:
        (both.drive / "a.txt").unlink()
        assert both.server.names() == []
        assert file.read() == b"hello"
    assert both.server.names() == []


def test_unlinking_what_is_being_overwritten(both: Faulty) -> None:
    """W8: the old version goes too, and the new one never comes."""
    (both.drive / "a.txt").write_text("old")
    with open(both.drive / "a.txt", "wb", buffering=0) as file:
        file.write(b"newer")
        (both.drive / "a.txt").unlink()
    assert both.server.names() == []
    assert os.listdir(both.drive.point) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_unlinking_while_the_upload_is_under_way(
    faulty: Callable[..., Faulty], service: FaultServer, moment: str
) -> None:
    """W8, E2: a pending upload is cancelled and `rm` does not wait for it; what arrives all the same is deleted."""
    drive = faulty("listing_ttl=0", "upload_timeout=6").drive
    gate = Gate()
    service.script("upload", getattr(gate, moment))
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((drive / "a.txt").write_text, "hello")
        gate.wait()
        (drive / "a.txt").unlink()
        in_time = not writer.done()
        gate.opened.set()
        with suppress(OSError):
            writer.result()
    assert in_time
    wait_until(lambda: service.names() == [], "what arrived is deleted", 10)
    assert os.listdir(drive.point) == []


def test_a_name_that_was_unlinked_can_be_made_anew(both: Faulty) -> None:
    """W8: at once, with other bytes, while the old file is still open."""
    (both.drive / "a.txt").write_text("old")
    with open(both.drive / "a.txt", "rb") as file:
        (both.drive / "a.txt").unlink()
        (both.drive / "a.txt").write_text("newer")
        assert file.read() == b"old"
    assert [stored.data for stored in both.server.files.values()] == [b"newer"]
    assert (both.drive / "a.txt").read_text() == "newer"


def test_a_duplicate_by_its_own_name(both: Faulty) -> None:
    """N3, W8: deleting `a~<id>.txt` deletes that one; deleting `a.txt` brings the older one to the bare name."""
    oldest = both.server.add("a.txt", b"1", created_at=1_700_000_000)
    older = both.server.add("a.txt", b"22", created_at=1_700_000_001)
    newest = both.server.add("a.txt", b"333", created_at=1_700_000_002)
    (both.drive / f"a~{older.id}.txt").unlink()
    assert set(both.server.files) == {oldest.id, newest.id}
    (both.drive / "a.txt").unlink()
    assert set(both.server.files) == {oldest.id}
    assert os.stat(both.drive / "a.txt").st_size == 1


def test_the_control_files_stay(both: Faulty) -> None:
    """N5: `.moonfs/` and what is in it cannot be deleted."""
    for path in (both.drive / ".moonfs" / "status.json", both.drive / ".moonfs" / "errors.ndjson"):
        with fails(errno.EPERM):
            path.unlink()
    with fails(errno.EPERM):
        os.rmdir(both.drive / ".moonfs")


def test_rmdir_of_a_file(both: Faulty) -> None:
    """N1: there are no directories to remove."""
    both.server.add("a.txt", b"theirs")
    with fails(errno.ENOTDIR):
        os.rmdir(both.drive / "a.txt")
    with fails(errno.ENOENT):
        os.rmdir(both.drive / "nobody")
    assert both.server.names() == ["a.txt"]


def test_a_deleted_file_stays_deleted(tmp_path: Path, service: FaultServer) -> None:
    """W8, L4: though a listing that was on its way when it was deleted still has it."""
    service.add("a.txt", b"theirs")
    with filesystem(service, tmp_path, listing_ttl=0.0) as drive, ThreadPoolExecutor(1) as pool:
        gate = Gate()
        service.script("list", gate.after)
        looker = pool.submit(drive.readdir, "/")
        gate.wait()
        deletion = ThreadPoolExecutor(1)
        deletion.submit(drive._versions.uploader.delete, next(iter(service.files))).result()
        deletion.shutdown()
        gate.opened.set()
        assert looker.result() == []
        assert drive.readdir("/") == []
