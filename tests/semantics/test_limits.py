"""Limits are met early: size at the write, count at the creation, room at both (W7)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from moonfs import wire
from moonfs.errors import TooManyBytes
from tests.conftest import Faulty
from tests.faults.server import Fault, FaultServer, Seen, Turn, error, parse_form
from tests.harness.direct import filesystem, write
from tests.harness.drive import wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

LIMIT = wire.MAX_FILE_BYTES


class Huge(bytes):
    """Bytes that only their length is asked of."""

    def __len__(self) -> int:
        return 1 << 30


@contextmanager
def holding(service: FaultServer, most: Callable[[], bool], message: str) -> Iterator[list[str]]:
    """Have `service` refuse uploads with `message` once it is full by `most()`; yields the names that it refuses."""
    refusals: list[str] = []

    def weather(seen: Seen) -> Fault | None:
        return answer if seen.operation == "upload" and most() else None

    def answer(turn: Turn) -> None:
        body = parse_form(turn.seen.headers["content-type"], turn.read())
        refusals.append(body["file"][0])
        turn.send(error(400, message))

    service.weather = weather
    yield refusals
    service.__dict__.pop("weather", None)


@pytest.fixture(params=["long", "short"])
def full(
    faulty: Callable[..., Faulty], service: FaultServer, request: pytest.FixtureRequest
) -> Iterator[tuple[Faulty, list[str]]]:
    """A drive on an account of 1,000 files that refuses one more, in either of the service's wordings."""
    for index in range(999):
        service.add(f"{index:03}.txt", b"theirs")
    drive = faulty("listing_ttl=1000")
    (drive.drive / "mine.txt").write_text("mine")
    message = wire.MSG_TOO_MANY.format(n=1000) if request.param == "long" else wire.MSG_TOO_MANY_SHORT
    with holding(service, lambda: len(service.files) >= 1000, message) as refusals:
        yield drive, refusals


def quota(faulty: Faulty) -> dict[str, Any]:
    return dict(faulty.drive.status()["quota"])


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


def test_the_1001st_file_is_refused_at_its_creation(full: tuple[Faulty, list[str]]) -> None:
    """W7, A3: once the service has refused it, EDQUOT at `create`, before a byte is written or sent."""
    drive, refusals = full
    assert (quota(drive)["files_by"], quota(drive)["max_files"]) == ("documented", 1000)
    with fails(errno.EDQUOT):
        (drive.drive / "asked.txt").write_text("the service is asked")
    assert refusals == ["asked.txt"] and quota(drive)["files_by"] == "refused"
    with fails(errno.EDQUOT):
        os.close(os.open(drive.drive / "one more.txt", os.O_WRONLY | os.O_CREAT, 0o644))
    done = drive.drive.shell('echo hello > plain; cp plain "$DIR/one more.txt"')
    assert done.returncode == 1
    assert done.stderr.endswith("Disk quota exceeded\n")
    assert not (drive.drive / "one more.txt").exists()
    assert refusals == ["asked.txt"] and os.statvfs(drive.drive.point).f_favail == 0
    shown = drive.drive.command("status", str(drive.drive.point)).stdout
    assert "1,000 of 1,000 (100%): the service takes no more" in shown


def test_an_overwrite_of_ones_own_at_1000_files(full: tuple[Faulty, list[str]]) -> None:
    """W7: at 1,000 files an overwrite still works: the old version makes room for the new one."""
    drive, _ = full
    (drive.drive / "mine.txt").write_text("newer")
    assert [stored.data for stored in drive.server.files.values() if stored.filename == "mine.txt"] == [b"newer"]
    assert len(drive.server.files) == 1000
    assert (drive.drive / "mine.txt").read_text() == "newer"


def test_an_overwrite_of_anothers_at_1000_files(full: tuple[Faulty, list[str]]) -> None:
    """W7: and of a file whose old bytes are not here."""
    drive, _ = full
    drive.drive.run('echo newer > plain; cp plain "$DIR/007.txt"')
    assert [stored.data for stored in drive.server.files.values() if stored.filename == "007.txt"] == [b"newer\n"]
    assert len(drive.server.files) == 1000


def test_editors_at_1000_files(full: tuple[Faulty, list[str]]) -> None:
    """W7, W9: rsync and mv over an existing name work at 1,000 files too; their temporary names take no room."""
    drive, _ = full
    drive.drive.run('echo newer > mine.txt; rsync mine.txt "$DIR/mine.txt"')
    drive.drive.run('echo newest > .new; cp .new "$DIR/.new"; mv "$DIR/.new" "$DIR/mine.txt"')
    assert [stored.data for stored in drive.server.files.values() if stored.filename == "mine.txt"] == [b"newest\n"]
    assert len(drive.server.files) == 1000


def test_room_is_there_again_after_a_deletion(full: tuple[Faulty, list[str]]) -> None:
    """W7, L4: one file less, and what was refused goes on by itself; then nothing fits any more."""
    drive, refusals = full
    with fails(errno.EDQUOT):
        (drive.drive / "asked.txt").write_text("hello")
    (drive.drive / "000.txt").unlink()
    wait_until(lambda: drive.drive.status()["uploads"]["failed"] == [], "what was kept is uploaded")
    assert "asked.txt" in drive.server.names() and refusals == ["asked.txt"]
    assert len(drive.server.files) == 1000 and os.statvfs(drive.drive.point).f_favail == 0
    os.unlink(drive.drive / "001.txt")
    (drive.drive / "one more.txt").write_text("hello")
    assert "one more.txt" in drive.server.names()


def test_an_account_of_more_files_than_documented(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W7, A3: 1,000 files are no law: an account of 1,200 takes more, `df` shows it, and nobody is asked for leave."""
    for index in range(1200):
        service.add(f"{index:04}.txt", b"theirs")
    drive = faulty()
    for index in range(3):
        (drive.drive / f"mine {index}.txt").write_text("mine")
    assert len(service.files) == 1203 and service.count("upload") == 3
    shown = os.statvfs(drive.drive.point)
    assert (shown.f_files, shown.f_favail) == (2000, 797)
    assert (quota(drive)["files_by"], quota(drive)["bytes_by"]) == ("learned", "documented")
    text = drive.drive.command("status", str(drive.drive.point)).stdout
    assert "1,203 of 2,000 (60%), as learned from the service" in text and "as documented" in text


def test_an_upload_beyond_what_is_believed(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W7, A3: the settings say what is believed; one upload beyond it is taken, and lifts it."""
    drive = faulty("max_files=2,max_total_bytes=10")
    for index in range(3):
        assert quota(drive)["files_by"] == "set"
        (drive.drive / f"{index}.txt").write_text("four")
    told = quota(drive)
    assert (told["max_files"], told["max_bytes"]) == (4, 20)
    assert (told["files_by"], told["bytes_by"]) == ("learned", "learned")


@pytest.mark.parametrize("mode", ["write-through", "write-back"])
def test_many_at_the_limit_ask_once(faulty: Callable[..., Faulty], service: FaultServer, mode: str) -> None:
    """W7: of many files that pass what is believed to fit one is sent, and the others have its answer."""
    for index in range(5):
        service.add(f"{index}.txt", b"theirs")
    drive = faulty("max_files=5", *(["write_back"] if mode == "write-back" else []))
    with holding(service, lambda: len(service.files) >= 5, wire.MSG_TOO_MANY_SHORT) as refusals:
        names = [f"new {index}.txt" for index in range(20)]

        def copy(name: str) -> int:
            try:
                (drive.drive / name).write_text(name)
            except OSError as problem:
                return problem.errno or 0
            return 0

        with ThreadPoolExecutor(20) as pool:
            said = list(pool.map(copy, names))
        assert set(said) <= ({0, errno.EDQUOT} if drive.write_back else {errno.EDQUOT})
        kept = [name for name, code in zip(names, said, strict=True) if not code or (drive.drive / name).exists()]
        wait_until(lambda: len(drive.drive.status()["uploads"]["failed"]) == len(kept), "all are told")
        assert len(refusals) == 1
        assert {each["errno"] for each in drive.drive.status()["uploads"]["failed"]} == {"EDQUOT"}
        if drive.write_back:
            assert drive.drive.command("sync", str(drive.drive.point)).returncode == 1
        with service.lock:
            service.files.clear()
        service.weather = lambda _seen: None
        drive.drive.command("refresh", str(drive.drive.point))
        wait_until(lambda: len(service.files) == len(kept), "there is room, so all of them arrive")
    assert sorted(service.names()) == sorted(kept) and service.count("upload") == len(kept) + 1


def test_files_that_are_being_written_count(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W7: where 1,000 were refused, of two files begun at 999 the second is refused, though neither is uploaded yet."""
    for index in range(1000):
        service.add(f"{index:03}.txt", b"theirs")
    drive = faulty()
    with holding(service, lambda: len(service.files) >= 1000, wire.MSG_TOO_MANY_SHORT):
        with fails(errno.EDQUOT):
            (drive.drive / "asked.txt").write_text("asked")
        os.unlink(drive.drive / "asked.txt")
        with fails(errno.EDQUOT):
            os.close(os.open(drive.drive / "two.txt", os.O_WRONLY | os.O_CREAT, 0o644))
    assert len(service.files) == 1000


def test_empty_files_and_temporary_names_take_no_room(full: tuple[Faulty, list[str]]) -> None:
    """W6, N6, W7: what stays on this machine can be made on a full account, under a temporary name at least."""
    drive, _ = full
    with fails(errno.EDQUOT):
        (drive.drive / "asked.txt").write_text("asked")
    (drive.drive / ".one more.swp").write_text("temporary")
    assert (drive.drive / ".one more.swp").read_text() == "temporary"
    assert len(drive.server.files) == 1000


def test_ten_gigabytes_are_the_end(service: FaultServer, tmp_path: Path) -> None:
    """W7: once the service has refused more than 10 GB in all, EDQUOT at `create` and at the write that passes it."""
    for index in range(10):
        service.add(f"{index}.bin", Huge())
    with (
        holding(service, lambda: len(service.files) >= 10, wire.MSG_TOTAL_TOO_LARGE) as refusals,
        filesystem(service, tmp_path) as drive,
    ):
        assert drive.quota().free_bytes == 0
        with pytest.raises(TooManyBytes) as raised:
            write(drive, "/asked.txt", b"x")
        assert not raised.value.unsent and refusals == ["asked.txt"]
        with pytest.raises(TooManyBytes):
            drive.create("/more.txt", 0o644)
        handle = drive.open("/9.bin", read=False, write=True, truncate=True).handle
        drive.write(handle, b"x" * 1000, 0)  # in the room of the version before it
        drive.release(handle)
        assert refusals == ["asked.txt"]


def test_growing_past_ten_gigabytes(service: FaultServer, tmp_path: Path) -> None:
    """W7: where that was refused, what is written counts as it grows; nothing of a refused file is uploaded."""
    for index in range(9):
        service.add(f"{index}.bin", Huge())
    service.add("rest.bin", type("Rest", (bytes,), {"__len__": lambda _: (1 << 30) - 1000})())
    with holding(service, lambda: True, wire.MSG_TOTAL_TOO_LARGE) as refusals, filesystem(service, tmp_path) as drive:
        with pytest.raises(TooManyBytes):
            write(drive, "/asked.txt", b"x" * 2000)
        drive.unlink("/asked.txt", os.getpid)
        handle = drive.create("/more.txt", 0o644).handle
        drive.write(handle, b"x" * 1000, 0)
        with pytest.raises(TooManyBytes):
            drive.write(handle, b"x", 1000)
        with pytest.raises(TooManyBytes):
            drive.flush(handle)
        drive.release(handle)
        assert refusals == ["asked.txt"]
        service.weather = lambda _seen: None
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
