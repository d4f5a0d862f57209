"""Originals: whole or not at all, bounded, least recently used out first."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from moonfs.originals import Originals


class Shelf:
    """A store, and a way to put bytes into it as the spool does."""

    def __init__(self, root: Path, capacity: int = 100) -> None:
        self.root, self.directory, self.capacity = root, root / "originals", capacity
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.store = self.reopen()

    def reopen(self) -> Originals:
        return Originals(self.directory, self.capacity)

    def put(self, data: bytes, store: Originals | None = None) -> str:
        path = self.root / "spooled"
        path.write_bytes(data)
        path.chmod(0o600)
        sha256 = hashlib.sha256(data).hexdigest()
        (store or self.store).adopt(path, sha256, len(data))
        assert not path.exists(), "the spool file is taken over or deleted"
        return sha256


def read(store: Originals, sha256: str) -> bytes | None:
    fd = store.open(sha256)
    if fd is None:
        return None
    try:
        return os.pread(fd, 1000, 0)
    finally:
        os.close(fd)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_own_bytes_come_back(shelf: Shelf) -> None:
    """R5: bytes written here are read back here, in this mount and the next."""
    sha256 = shelf.put(b"mine")
    assert read(shelf.store, sha256) == b"mine"
    again = shelf.reopen()
    assert sha256 in again and again.used == 4 and read(again, sha256) == b"mine"
    assert stat.S_IMODE((shelf.directory / sha256).stat().st_mode) == 0o600


def test_what_is_not_here_is_none(shelf: Shelf) -> None:
    """R5: never other bytes in its place."""
    assert shelf.store.open("0" * 64) is None
    assert None not in shelf.store and "0" * 64 not in shelf.store


@pytest.mark.parametrize("damage", [b"mime", b"min", b"mine!", b""])
def test_damaged_bytes_are_never_returned(shelf: Shelf, damage: bytes) -> None:
    """R5, tenet 3: verified by hash once per run; a flipped bit, a cut and a zero-length file are deleted."""
    sha256 = shelf.put(b"mine")
    (shelf.directory / sha256).write_bytes(damage)
    again = shelf.reopen()
    assert again.open(sha256) is None
    assert sha256 not in again and again.used == 0 and not (shelf.directory / sha256).exists()
    assert again.open(sha256) is None


def test_the_least_recently_read_goes_first(shelf: Shelf) -> None:
    """R5: bounded in bytes; reading keeps a file in."""
    one, two = shelf.put(b"1" * 40), shelf.put(b"2" * 40)
    assert read(shelf.store, one)
    three = shelf.put(b"3" * 40)
    assert [sha in shelf.store for sha in (one, two, three)] == [True, False, True]
    assert shelf.store.used == 80 and len(list(shelf.directory.iterdir())) == 2


def test_the_order_is_kept_across_mounts(shelf: Shelf) -> None:
    """R5: what was read last is evicted last, after a remount too."""
    one, two = shelf.put(b"1" * 40), shelf.put(b"2" * 40)
    os.utime(shelf.directory / two, ns=(1, 1))
    os.utime(shelf.directory / one, ns=(2, 2))
    assert read(shelf.store, two)
    again = shelf.reopen()
    three = shelf.put(b"3" * 40, again)
    assert [sha in again for sha in (one, two, three)] == [False, True, True]


def test_a_smaller_bound_is_kept_at_the_start(shelf: Shelf) -> None:
    """R5: originals_cache made smaller takes effect at the next mount."""
    one, two = shelf.put(b"1" * 40), shelf.put(b"2" * 40)
    os.utime(shelf.directory / one, ns=(1, 1))
    again = Originals(shelf.directory, 50)
    assert (one in again, two in again, again.used) == (False, True, 40)


@pytest.mark.parametrize(("size", "kept"), [(100, True), (101, False)])
def test_a_file_larger_than_the_store(shelf: Shelf, size: int, kept: bool) -> None:
    """R5: it is not kept, and throws nothing out."""
    small = shelf.put(b"s")
    big = shelf.put(b"b" * size)
    assert (big in shelf.store) is kept
    assert (small in shelf.store) is not kept
    assert shelf.store.used <= 100


def test_the_same_bytes_count_once(shelf: Shelf) -> None:
    """Content-addressed: two uploads of the same bytes take the room of one."""
    assert shelf.put(b"same") == shelf.put(b"same")
    assert shelf.store.used == 4


def test_an_open_original_outlives_its_eviction(shelf: Shelf) -> None:
    """R5: a reader goes on reading what it has open."""
    one = shelf.put(b"1" * 60)
    fd = shelf.store.open(one)
    assert fd is not None
    shelf.put(b"2" * 60)
    assert one not in shelf.store
    assert os.pread(fd, 100, 0) == b"1" * 60
    os.close(fd)


def test_strangers_in_the_directory_are_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    """Only files named by a hash are indexed; a symbolic link is not followed."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (shelf.directory / ("a" * 64)).symlink_to(secret)
    (shelf.directory / ("b" * 64)).mkdir()
    (shelf.directory / "README").write_text("x" * 1000)
    again = Originals(shelf.directory, 10)
    assert again.used == 0 and again.open("a" * 64) is None
    assert (shelf.directory / "README").exists() and secret.exists()


def test_an_original_deleted_by_hand_is_forgotten(shelf: Shelf) -> None:
    """R5: somebody cleans ~/.cache while the drive runs."""
    sha256 = shelf.put(b"mine")
    (shelf.directory / sha256).unlink()
    assert shelf.store.open(sha256) is None and shelf.store.used == 0


def test_no_descriptor_leaks(shelf: Shelf) -> None:
    """Neither success nor damage leaves a descriptor open."""
    sha256 = shelf.put(b"mine")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert read(shelf.store, sha256) == b"mine"
    (shelf.directory / sha256).write_bytes(b"hurt")
    assert shelf.reopen().open(sha256) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_an_original_already_is_taken_over(shelf: Shelf) -> None:
    """After a kill the spool may have another name of what is here: rename(2) would leave both."""
    sha256 = shelf.put(b"bytes")
    path = shelf.root / "linked"
    os.link(shelf.directory / sha256, path)
    again = shelf.reopen()
    again.adopt(path, sha256, 5)
    assert not path.exists() and read(again, sha256) == b"bytes"


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spool and originals on different filesystems."""
    replace = os.replace

    def another_filesystem(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", another_filesystem)


@pytest.mark.usefixtures("apart")
def test_the_cache_may_be_on_another_filesystem(shelf: Shelf) -> None:
    """R5: a cache on tmpfs or its own partition keeps own originals too, and the spool does not fill up."""
    sha256 = shelf.put(b"mine")
    assert read(shelf.store, sha256) == b"mine"
    assert [entry.name for entry in shelf.directory.iterdir()] == [sha256]


@pytest.mark.usefixtures("apart")
def test_a_copy_across_filesystems_is_private(shelf: Shelf) -> None:
    """X2: 0600, as every original."""
    assert stat.S_IMODE((shelf.directory / shelf.put(b"mine")).stat().st_mode) == 0o600


@pytest.mark.usefixtures("apart")
def test_a_copy_that_fails_leaves_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: bounded: what a full cache disk cut off does not stay there for ever."""

    def full(_source: Path, target: Path) -> None:
        Path(target).write_bytes(b"mi")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError):
        shelf.put(b"mine")
    shelf.reopen()
    assert list(shelf.directory.iterdir()) == []


@pytest.mark.parametrize("size", [4, 101])
def test_a_copy_beside_the_spool(shelf: Shelf, size: int) -> None:
    """R5: bytes that have to stay in the spool for now are here at once, and count once; those too large are not."""
    path, data = shelf.root / "spooled", b"x" * size
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    for _ in range(2):
        shelf.store.copy(path, sha256, size)
        assert path.read_bytes() == data and read(shelf.store, sha256) == (data if size < 100 else None)
    assert shelf.put(data) == sha256 and shelf.store.used == (size if size < 100 else 0)
    assert len(list(shelf.directory.iterdir())) == (size < 100)


def test_fresh_bytes_replace_damaged_ones(shelf: Shelf) -> None:
    """R5: writing a file again mends the copy that a failing disk has spoilt."""
    sha256 = shelf.put(b"mine")
    (shelf.directory / sha256).write_bytes(b"hurt")
    again = shelf.reopen()
    shelf.put(b"mine", again)
    assert read(again, sha256) == b"mine"


def test_fresh_bytes_of_another_length_are_counted_rightly(shelf: Shelf) -> None:
    """R5: the bound counts what is there after a damaged copy was replaced."""
    sha256 = shelf.put(b"mine")
    (shelf.directory / sha256).write_bytes(b"cut" * 20)
    again = shelf.reopen()
    assert again.used == 60
    shelf.put(b"mine", again)
    assert again.used == 4 and read(again, sha256) == b"mine"


def test_fresh_bytes_that_come_while_damaged_ones_are_verified(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: the verdict is about the bytes that were read, not about those which took their place."""
    sha256 = shelf.put(b"mine")
    (shelf.directory / sha256).write_bytes(b"hurt")
    again = shelf.reopen()
    pread = os.pread

    def slow(fd: int, size: int, offset: int) -> bytes:
        monkeypatch.undo()
        shelf.put(b"mine", again)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", slow)
    assert read(again, sha256) == b"mine"
    assert sha256 in again and again.used == 4


def test_a_copy_that_a_crash_cut_off_goes_at_the_start(shelf: Shelf) -> None:
    """R5: bounded: nobody else would ever look at it."""
    (shelf.directory / ("a" * 64 + ".part")).write_bytes(b"x" * 1000)
    (shelf.directory / "notes.part").touch()
    again = shelf.reopen()
    assert [entry.name for entry in shelf.directory.iterdir()] == ["notes.part"] and again.used == 0


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EIO])
def test_an_open_that_fails_loses_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """R5: a daemon without a free descriptor does not throw away the only copy there is."""
    sha256 = shelf.put(b"mine")

    def refuse(*_args: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert shelf.store.open(sha256) is None
    assert read(shelf.store, sha256) == b"mine"


def test_bytes_that_cannot_be_read_now_are_not_here_now(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: a disk that does not answer is no proof of damage; no descriptor leaks."""
    sha256 = shelf.put(b"mine")
    again = shelf.reopen()
    before = len(os.listdir("/proc/self/fd"))

    def broken(*_args: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        assert again.open(sha256) is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert read(again, sha256) == b"mine"
