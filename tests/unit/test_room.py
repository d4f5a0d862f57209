"""The account's room: what the service holds, what is on its way, and where a writer is told that it is full."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from moonfs import wire
from moonfs.errors import QuotaExceeded
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.room import Room
from moonfs.spool import Spool
from moonfs.wire import FileObject

MIB = 1024**2


class Full:
    """An account with `files` files of `size` bytes, and local files that a test adds."""

    def __init__(self, root: Path, files: int = 0, size: int = 1) -> None:
        self.files = [
            FileObject(id=f"i{number}", bytes=size, created_at=1, filename=f"{number}.txt") for number in range(files)
        ]
        self.spool, self.space, self.requests = Spool(root), Namespace(), 0
        listing = Listing(self.list, 1000)
        listing.current()
        self.room = Room(listing, self.space, threading.RLock())

    def list(self) -> list[FileObject]:
        self.requests += 1
        return self.files

    def local(self, name: str, size: int, base: FileObject | None = None) -> LocalFile:
        local = LocalFile(self.spool, name, 1, 1, base=base)
        if size or base is not None:
            local.truncate(0)
            local.truncate(size)
        self.space.put(local)
        return local


def test_an_account_that_was_listed(tmp_path: Path) -> None:
    """A3: 10 GB and 1,000 files, and what is left; counting sends no request."""
    full = Full(tmp_path, files=3, size=5)
    quota = full.room.quota()
    assert (quota.total_bytes, quota.total_files) == (10 * 1024**3, 1000)
    assert (quota.free_bytes, quota.free_files) == (10 * 1024**3 - 15, 997)
    assert full.room.used() == (15, 3) and full.requests == 1


def test_what_is_on_its_way_counts(tmp_path: Path) -> None:
    """W7: a new file takes a place and its bytes, an overwrite the difference; what stays here takes nothing."""
    full = Full(tmp_path, files=2, size=10)
    full.local("new.txt", 7)
    full.local("0.txt", 4, base=full.files[0])
    full.local("x.tmp", 1000)
    full.local("empty.txt", 0)
    assert full.room.used() == (10 + 4 + 7, 3)


def test_a_file_is_not_counted_beside_itself(tmp_path: Path) -> None:
    """W7: whether there is room for one more is asked without that one."""
    full = Full(tmp_path, files=999)
    local = full.local("new.txt", 7)
    full.room.check_one_more(beside=local)
    with pytest.raises(QuotaExceeded):
        full.room.check_one_more()


@pytest.mark.parametrize(("files", "room"), [(0, True), (999, True), (1000, False), (1200, False)])
def test_the_limit_of_the_count(tmp_path: Path, files: int, room: bool) -> None:
    """W7: the 1,001st file is refused; an account that is over the limit already shows no negative room."""
    full = Full(tmp_path, files=files)
    assert full.room.quota().free_files == max(0, 1000 - files)
    if room:
        full.room.check_one_more()
    else:
        with pytest.raises(QuotaExceeded):
            full.room.check_one_more()


@pytest.mark.parametrize(
    ("free", "growth", "fits"),
    [(100, 100, True), (100, 101, False), (0, 1, False), (0, 0, True), (200 * MIB, 100 * MIB, True)],
)
def test_the_limit_of_the_bytes(tmp_path: Path, free: int, growth: int, fits: bool) -> None:
    """W7: over 10 GB is refused at the write, to the byte."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES - free)
    if fits:
        full.room.check_growth(growth)
    else:
        with pytest.raises(QuotaExceeded):
            full.room.check_growth(growth)


def test_a_full_account_takes_no_new_file(tmp_path: Path) -> None:
    """W7: 10 GB are used: `create` says so already."""
    with pytest.raises(QuotaExceeded):
        Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES).room.check_one_more()


def test_an_overwrite_uses_the_room_of_the_old_version(tmp_path: Path) -> None:
    """W7: at the limit a file can be written again at its old size."""
    full = Full(tmp_path, files=100, size=wire.MAX_TOTAL_BYTES // 100)
    full.local("0.txt", 1, base=full.files[0])
    full.room.check_growth(full.files[0].bytes - 1)
    with pytest.raises(QuotaExceeded):
        full.room.check_growth(full.files[0].bytes + wire.MAX_TOTAL_BYTES % 100)


def test_the_room_of_a_version_that_is_being_overwritten(tmp_path: Path) -> None:
    """W7: between O_TRUNC and the first write the old version's bytes are free for the new one."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES)
    full.local("0.txt", 0, base=full.files[0])
    full.room.check_growth(wire.MAX_FILE_BYTES)


def test_many_pending_files_count_too(tmp_path: Path) -> None:
    """W7: over 10 GB is refused at the write, also when the last gigabytes are still on their way."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES - 17 * wire.MAX_FILE_BYTES)
    for number in range(17):
        full.local(f"new{number}.txt", wire.MAX_FILE_BYTES)
    with pytest.raises(QuotaExceeded):
        full.room.check_growth(1)


def test_what_was_asked_for_since_the_last_count_counts(tmp_path: Path) -> None:
    """W7: near the limit no sequence of creates and writes gets past it, and what is given up makes room again."""
    full = Full(tmp_path, files=997)
    locals_ = []
    for number in range(3):
        full.room.check_one_more()
        locals_.append(full.local(f"new{number}.txt", 1))
    with pytest.raises(QuotaExceeded):
        full.room.check_one_more()
    full.space.drop(locals_.pop())
    full.room.check_one_more()


def test_counting_exactly_is_for_accounts_that_are_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: a copy of many small files does not look at all of them at each write."""
    full, counts = Full(tmp_path), []
    used = Room.used
    monkeypatch.setattr(Room, "used", lambda room, **beside: counts.append(1) or used(room, **beside))
    for number in range(300):
        full.room.check_one_more()
        full.local(f"{number}.txt", 1)
        full.room.check_growth(20_000)
    assert len(counts) <= 4
