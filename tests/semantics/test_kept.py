"""What the service has refused is kept, whatever comes: a write that fails, a removal, a rename, the next mount.

A refused file that is kept is neither pending nor lost: `moonfs status` calls it failed, and `umount` does not wait.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moonfs import wire
from tests.conftest import MODES, Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

LIMIT = wire.MAX_FILE_BYTES
NOTHING = "text extract error: 没有解析出内容"
NAME = "bad.txt"


class Huge(bytes):
    """Bytes that only their length is asked of."""

    def __len__(self) -> int:
        return 1 << 30


def keep(drive: Faulty) -> Path:
    """Have the service refuse a new file, which is kept."""
    drive.server.script("upload", *[refused(400, NOTHING)] * 3)
    path = drive.drive / NAME
    with suppress(OSError):  # in write-through; in write-back a moment later
        path.write_bytes(b"kept")
    wait_until(lambda: failed(drive) == [NAME], "the refusal")
    drive.server.unscript()
    return path


def failed(drive: Faulty) -> list[str]:
    return [file["name"] for file in drive.drive.status()["uploads"]["failed"]]


def is_kept(drive: Faulty) -> None:
    """Check that the file is what it was when the service refused it."""
    path = drive.drive / NAME
    wait_until(lambda: path.read_bytes() == b"kept", "what was refused shows again")  # a release comes after its close
    uploads = drive.drive.status()["uploads"]
    assert (uploads["pending"], failed(drive), uploads["local"]) == ([], [NAME], [])
    assert os.getxattr(path, "user.moonfs.state") == b"failed"
    assert "found no text" in os.getxattr(path, "user.moonfs.error").decode()


def overwrite(path: Path) -> None:
    """Write a new version that grows over 100 MB."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"new")
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", LIMIT)
    with fails(errno.EFBIG):
        os.close(descriptor)


def change(path: Path) -> None:
    """Change the version that is there, then let it grow over 100 MB."""
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, b"K", 0)
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", LIMIT)
    with fails(errno.EFBIG):
        os.close(descriptor)


def only_grow(path: Path) -> None:
    """Write nothing but what is over 100 MB."""
    descriptor = os.open(path, os.O_RDWR)
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", LIMIT)
    with fails(errno.EFBIG):
        os.close(descriptor)


WAYS = {way.__name__: way for way in (overwrite, change, only_grow)}


@pytest.fixture
def kept(either: Faulty) -> Iterator[Path]:
    """A refused file on the module's drive."""
    yield keep(either)


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_file_that_a_write_over_100_mb_fails_on(either: Faulty, kept: Path, way: str) -> None:
    """W7: what was refused before shows again, and is failed, not pending; then it can be removed, or renamed."""
    WAYS[way](kept)
    is_kept(either)
    if way == "overwrite":
        kept.unlink()
        assert os.listdir(either.drive.point) == [] and failed(either) == []
        return
    os.rename(kept, either.drive / "good.txt")
    assert either.arrived() == {"good.txt": b"kept"}


def test_it_can_be_written_again(either: Faulty, kept: Path) -> None:
    """W7: neither the refusal nor the write that failed is in the way of a new version."""
    overwrite(kept)
    kept.write_bytes(b"good")
    assert either.arrived() == {NAME: b"good"}


def test_it_is_cut_back_after_a_write_that_failed(either: Faulty, kept: Path) -> None:
    """W7: cut back to what its writer wrote, it is whole: the close stores it."""
    descriptor = os.open(kept, os.O_RDWR)
    os.pwrite(descriptor, b"new bytes", 0)
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", LIMIT)
    os.ftruncate(descriptor, 3)
    os.close(descriptor)
    assert either.arrived() == {NAME: b"new"}


def test_it_is_emptied(either: Faulty, kept: Path) -> None:
    """W6: an empty file is local; what was refused is gone with its bytes."""
    os.truncate(kept, 0)
    wait_until(lambda: either.drive.status()["uploads"]["local"] == [NAME], "it is local")
    assert (either.drive.status()["uploads"]["pending"], failed(either)) == ([], [])


def test_a_new_version_that_is_refused_too_and_then_fails(either: Faulty, kept: Path) -> None:
    """The refusal that shows is that of the bytes that show."""
    either.server.script("upload", refused(400, "teapot"))
    with suppress(OSError):
        kept.write_bytes(b"newer")
    wait_until(lambda: "teapot" in str(either.drive.status()["uploads"]["failed"]), "the second refusal")
    overwrite(kept)
    wait_until(lambda: kept.read_bytes() == b"newer", "what was refused last shows again")
    assert b"teapot" in os.getxattr(kept, "user.moonfs.error")
    assert (either.drive.status()["uploads"]["pending"], failed(either)) == ([], [NAME])


@pytest.mark.parametrize("mode", MODES)
def test_umount_does_not_wait_for_it_and_the_next_mount_keeps_it(
    faulty: Callable[..., Faulty], service: FaultServer, mode: str
) -> None:
    """L2: what the service refuses for good is nothing to wait for; it is there again, and can be put right."""
    drive = faulty(*MODES[mode])
    for name in ("one", "other"):
        overwrite(keep(drive))
        is_kept(drive)
        drive.drive.remount(*MODES[mode])
        is_kept(drive)
        os.rename(drive.drive / NAME, drive.drive / f"{name}.txt")
        wait_until(lambda name=name: f"{name}.txt" in service.names(), "the rename")  # type: ignore[misc]
    drive.drive.umount()


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk(faulty: Callable[..., Faulty], mode: str) -> None:
    """W7: with ENOSPC it is the same, whether it comes at once or after some bytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    drive = faulty(*MODES[mode])
    drive.drive.umount()
    (spool,) = drive.drive.home.glob("state/moonfs/accounts/*/spool")
    drive.drive.run(f'mount -t tmpfs -o size=400k,mode=0700 tmpfs "{spool}"')
    try:
        drive.drive.mount(*MODES[mode])
        keep(drive)
        for count, fill in ((500_000, ""), (300_000, "head -c 200000 /dev/zero > filler; ")):
            done = drive.drive.shell(f'cd "{spool}"; {fill} head -c {count} /dev/zero > "$DIR/{NAME}"')
            assert "No space left on device" in done.stderr, done
            is_kept(drive)
        drive.drive.run(f'rm "{spool}/filler"')
        drive.drive.umount()
    finally:
        drive.drive.end()
        drive.drive.run(f'umount -l "{spool}"')


@pytest.mark.parametrize("mode", MODES)
def test_a_full_account(faulty: Callable[..., Faulty], service: FaultServer, mode: str) -> None:
    """W7: with EDQUOT it is the same."""
    drive = faulty("listing_ttl=0", *MODES[mode])
    path = keep(drive)
    for index in range(10):
        service.add(f"{index}.bin", b"").data = Huge()
    service.script("upload", refused(400, wire.MSG_TOTAL_TOO_LARGE))
    with suppress(OSError):  # in write-through its close says so
        (drive.drive / "asked.txt").write_text("asked")
    wait_until(lambda: drive.drive.status()["quota"]["bytes_by"] == "refused", "the service has refused more")
    os.unlink(drive.drive / "asked.txt")
    descriptor = os.open(path, os.O_RDWR)
    with fails(errno.EDQUOT):
        os.pwrite(descriptor, b"x", 4)
    with fails(errno.EDQUOT):
        os.close(descriptor)
    is_kept(drive)
    os.unlink(path)
    drive.drive.umount()
