"""Limits are met early: size at the write, count at the creation, room at both (W7)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moonfs import wire
from moonfs.errors import QuotaExceeded
from tests.conftest import Faulty
from tests.faults.server import FaultServer, Stored, refused
from tests.harness.direct import filesystem, write
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

LIMIT = wire.MAX_FILE_BYTES


class Huge(bytes):
    """Bytes that only their length is asked of."""

    def __len__(self) -> int:
        return 1 << 30


@pytest.fixture
def full(faulty: Callable[..., Faulty], service: FaultServer) -> Iterator[Faulty]:
    """A drive on an account of 1,000 files that refuses one more, as the service does."""
    for index in range(999):
        service.add(f"{index:03}.txt", b"theirs")
    drive = faulty("listing_ttl=1000")
    (drive.drive / "mine.txt").write_text("mine")
    message = wire.MSG_TOO_MANY.format(n=1000)
    add = service.add

    def strict(filename: str, data: bytes, **other: object) -> Stored:
        if len(service.files) >= 1000:
            refusals.append(filename)
            raise OverflowError
        return add(filename, data, **other)  # type: ignore[arg-type]

    refusals: list[str] = []
    service.add = strict  # type: ignore[method-assign]

    def answer(turn):  # type: ignore[no-untyped-def]
        try:
            turn.send(turn.serve())
        except OverflowError:
            refused(400, message)(turn)

    service.script("upload", *[answer] * 20)
    yield drive
    service.__dict__.pop("add")


def test_one_byte_too_many_is_refused_at_that_write(both: Faulty) -> None:
    """W7: over 100 MB EFBIG at that `write`; nothing is uploaded; 100 MB to the byte are fine until then."""
    descriptor = os.open(both.drive / "big.bin", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        assert os.pwrite(descriptor, b"x", LIMIT - 1) == 1
        with fails(errno.EFBIG):
            os.pwrite(descriptor, b"x", LIMIT)
        with fails(errno.EFBIG):
            os.pwrite(descriptor, b"x" * 1000, LIMIT + 4096)
        assert os.fstat(descriptor).st_size == LIMIT
    finally:
        with suppress(OSError):
            os.close(descriptor)
    assert both.server.count("upload") == 0
    assert not (both.drive / "big.bin").exists()


def test_a_whole_100_mb_arrive(both: Faulty) -> None:
    """W7: 100 MB to the byte are stored."""
    with open(both.drive / "exact.bin", "wb", buffering=0) as file:
        file.truncate(LIMIT)
        file.write(b"start")
    (stored,) = both.server.files.values()
    assert len(stored.data) == LIMIT
    assert stored.data.startswith(b"start\0")


@pytest.mark.parametrize("way", ["ftruncate", "truncate"])
def test_truncate_over_the_limit(both: Faulty, way: str) -> None:
    """W7: extending a file over 100 MB is EFBIG, and the file stays as it was."""
    path = both.drive / "a.bin"
    path.write_bytes(b"hello")
    with fails(errno.EFBIG):
        if way == "truncate":
            os.truncate(path, LIMIT + 1)
        else:
            with open(path, "r+b") as file:
                os.ftruncate(file.fileno(), LIMIT + 1)
    assert os.stat(path).st_size == 5
    assert path.read_bytes() == b"hello"
    assert both.server.count("upload") == 1


def test_a_too_large_overwrite_leaves_the_old_version(both: Faulty) -> None:
    """W7, W4: the file that it would have replaced is there as it was."""
    (both.drive / "a.bin").write_bytes(b"old")
    done = both.drive.shell('truncate -s 101M big; cp --sparse=never big "$DIR/a.bin"; echo $?; rm big')
    assert done.stdout == "1\n"
    assert "File too large" in done.stderr
    assert (both.drive / "a.bin").read_bytes() == b"old"
    assert [stored.data for stored in both.server.files.values()] == [b"old"]


def test_the_1001st_file_is_refused_at_its_creation(full: Faulty) -> None:
    """W7: EDQUOT at `create`, before a byte is written or sent; the message of the shell is the right one."""
    uploads = full.server.count("upload")
    with fails(errno.EDQUOT):
        os.close(os.open(full.drive / "one more.txt", os.O_WRONLY | os.O_CREAT, 0o644))
    done = full.drive.shell('echo hello > plain; cp plain "$DIR/one more.txt"')
    assert done.returncode == 1
    assert done.stderr.endswith("Disk quota exceeded\n")
    assert not (full.drive / "one more.txt").exists()
    assert full.server.count("upload") == uploads
    assert os.statvfs(full.drive.point).f_favail == 0


def test_an_overwrite_of_ones_own_at_1000_files(full: Faulty) -> None:
    """W7: at 1,000 files an overwrite still works: the old version makes room for the new one."""
    (full.drive / "mine.txt").write_text("newer")
    assert [stored.data for stored in full.server.files.values() if stored.filename == "mine.txt"] == [b"newer"]
    assert len(full.server.files) == 1000
    assert (full.drive / "mine.txt").read_text() == "newer"


def test_an_overwrite_of_anothers_at_1000_files(full: Faulty) -> None:
    """W7: and of a file whose old bytes are not here."""
    full.drive.run('echo newer > plain; cp plain "$DIR/007.txt"')
    assert [stored.data for stored in full.server.files.values() if stored.filename == "007.txt"] == [b"newer\n"]
    assert len(full.server.files) == 1000


def test_editors_at_1000_files(full: Faulty) -> None:
    """W7, W9: rsync and mv over an existing name work at 1,000 files too; their temporary names take no room."""
    full.drive.run('echo newer > mine.txt; rsync mine.txt "$DIR/mine.txt"')
    full.drive.run('echo newest > .new; cp .new "$DIR/.new"; mv "$DIR/.new" "$DIR/mine.txt"')
    assert [stored.data for stored in full.server.files.values() if stored.filename == "mine.txt"] == [b"newest\n"]
    assert len(full.server.files) == 1000


def test_room_is_there_again_after_a_deletion(full: Faulty) -> None:
    """W7, L4: one file less, and one more can be made at once."""
    (full.drive / "000.txt").unlink()
    (full.drive / "one more.txt").write_text("hello")
    assert "one more.txt" in full.server.names()
    assert os.statvfs(full.drive.point).f_favail == 0


def test_files_that_are_being_written_count(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W7: of two files begun at 999 the second is refused, though neither is uploaded yet."""
    for index in range(999):
        service.add(f"{index:03}.txt", b"theirs")
    drive = faulty().drive
    with open(drive / "one.txt", "w") as file:
        file.write("one")
        file.flush()
        with fails(errno.EDQUOT):
            (drive / "two.txt").write_text("two")
    assert len(service.files) == 1000


def test_empty_files_and_temporary_names_take_no_room(full: Faulty) -> None:
    """W6, N6, W7: what stays on this machine can be made on a full account, under a temporary name at least."""
    (full.drive / ".one more.swp").write_text("temporary")
    assert (full.drive / ".one more.swp").read_text() == "temporary"
    assert len(full.server.files) == 1000


def test_ten_gigabytes_are_the_end(service: FaultServer, tmp_path: Path) -> None:
    """W7: over 10 GB in all EDQUOT at the write that would pass it."""
    for index in range(10):
        service.add(f"{index}.bin", Huge())
    with filesystem(service, tmp_path) as drive:
        assert drive.quota().free_bytes == 0
        with pytest.raises(QuotaExceeded):
            drive.create("/more.txt", 0o644)
        del service.files[next(iter(service.files))]
    with filesystem(service, tmp_path) as drive:
        service.files.popitem()
        handle = drive.create("/more.txt", 0o644).handle
        drive.write(handle, b"x" * 1000, 0)
        drive.flush(handle)
        drive.release(handle)
        assert "more.txt" in service.names()


def test_growing_past_ten_gigabytes(service: FaultServer, tmp_path: Path) -> None:
    """W7: what is written counts as it grows; nothing of a refused file is uploaded."""
    for index in range(9):
        service.add(f"{index}.bin", Huge())
    service.add("rest.bin", type("Rest", (bytes,), {"__len__": lambda _: (1 << 30) - 1000})())
    with filesystem(service, tmp_path) as drive:
        handle = drive.create("/more.txt", 0o644).handle
        drive.write(handle, b"x" * 1000, 0)
        with pytest.raises(QuotaExceeded):
            drive.write(handle, b"x", 1000)
        with pytest.raises(QuotaExceeded):
            drive.flush(handle)
        drive.release(handle)
        assert service.count("upload") == 0
        write(drive, "/fits.txt", b"x" * 1000)
        assert "fits.txt" in service.names()


def test_the_local_disk_is_full(faulty: Callable[..., Faulty], tmp_path: Path) -> None:
    """W7: ENOSPC of the local disk reaches the writer, nothing is uploaded, and the drive goes on."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    drive = faulty()
    drive.drive.umount()
    (spool,) = drive.drive.home.glob("state/moonfs/accounts/*/spool")
    drive.drive.run(f'mount -t tmpfs -o size=200k,mode=0700 tmpfs "{spool}"')
    try:
        drive.drive.mount()
        done = drive.drive.shell('head -c 300000 /dev/zero > plain; cp plain "$DIR/a.bin"')
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert drive.server.names() == []
        assert os.listdir(drive.drive.point) == []
        drive.drive.run('head -c 100000 /dev/zero > plain; cp plain "$DIR/a.bin"')
        assert drive.server.names() == ["a.bin"]
        drive.drive.umount()
    finally:
        drive.drive.end()
        drive.drive.run(f'umount -l "{spool}"')
