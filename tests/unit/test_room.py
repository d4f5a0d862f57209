"""The account's room: what the service holds, what is on its way, and where a writer is told that it is full."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from moonfs import wire
from moonfs.errors import QuotaExceeded, RateLimited, TooManyBytes, TooManyFiles
from moonfs.journal import Intent
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.room import AGAIN, BELIEVED, DOCUMENTED, LEARNED, PATIENCE, REFUSED, SET, Room
from moonfs.spool import Spool
from moonfs.wire import FileObject
from tests.harness.drive import wait_until

MIB = 1024**2


class Full:
    """An account with `files` files of `size` bytes, and local files that a test adds.

    Attributes:
        now: what the clock shows, in seconds.
    """

    def __init__(self, root: Path, files: int = 0, size: int = 1, **other: Any) -> None:
        self.size, self.now, self.lock = size, 1000.0, threading.RLock()
        self.files = [self.file(number) for number in range(files)]
        self.spool, self.space, self.requests = Spool(root), Namespace(), 0
        self.listing = Listing(self.list, 1000)
        self.listing.current()
        self.room = Room(self.listing, self.space, self.lock, clock=lambda: self.now, **other)

    def file(self, number: int) -> FileObject:
        return FileObject(id=f"i{number}", bytes=self.size, created_at=1, filename=f"{number}.txt")

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

    def intent(self, name: str, size: int, **other: Any) -> Intent:
        chosen = {"state": "pending", "purpose": "auto", "sha256": "", "mtime_ns": 1, "inode": 1, **other}
        return Intent(spool=name, name=name, size=size, **chosen)

    def store(self, name: str) -> None:
        """Have the service store one more."""
        file = FileObject(id=f"j{name}", bytes=self.size, created_at=2, filename=name)
        self.files.append(file)
        self.listing.add(file)

    def remove(self, file: FileObject) -> None:
        """Have the service delete one."""
        self.files.remove(file)
        self.listing.remove(file.id)

    def refuse_a_file(self) -> None:
        """Have the service refuse one more file."""
        self._refuse(TooManyFiles("no", status=400), self.intent("refused.txt", 1, replaces=frozenset({"none"})))

    def refuse_bytes(self, size: int) -> None:
        """Have the service refuse a file of `size` bytes."""
        self._refuse(TooManyBytes("no", status=400), self.intent("refused.txt", size, replaces=frozenset({"none"})))

    def _refuse(self, error: QuotaExceeded, intent: Intent) -> None:
        with pytest.raises(QuotaExceeded), self.room.passage(intent, waits=True):
            raise error


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
    full = Full(tmp_path, files=1000)
    full.refuse_a_file()
    full.room.files.most = 1001
    local = full.local("new.txt", 7)
    full.room.check_one_more(beside=local)
    with pytest.raises(TooManyFiles):
        full.room.check_one_more()


def test_an_account_without_files_is_not_full(tmp_path: Path) -> None:
    """W7: what its refusals are about is not in the list, so nothing that is seen could end them: each upload asks."""
    full = Full(tmp_path)
    full.refuse_a_file()
    full.refuse_bytes(10)
    full.room.check_one_more()
    full.room.check_growth(wire.MAX_TOTAL_BYTES)


@pytest.mark.parametrize("files", [1, 999, 1000, 1200])
def test_nothing_but_a_refusal_of_the_service_is_one(tmp_path: Path, files: int) -> None:
    """W7: 1,000 files are what is documented: one more is refused once the service has refused it."""
    full = Full(tmp_path, files=files)
    full.room.check_one_more()
    full.room.check_growth(wire.MAX_TOTAL_BYTES)
    full.refuse_a_file()
    with pytest.raises(TooManyFiles) as raised:
        full.room.check_one_more()
    assert raised.value.unsent and f"{files:,} files" in str(raised.value)
    assert (full.room.quota().total_files, full.room.files.origin) == (files, REFUSED)


@pytest.mark.parametrize(
    ("files", "most", "origin"),
    [(999, 1000, DOCUMENTED), (1000, 1000, DOCUMENTED), (1001, 2000, LEARNED), (2200, 3000, LEARNED)],
)
def test_an_account_that_holds_more_lifts_the_limit(tmp_path: Path, files: int, most: int, origin: str) -> None:
    """A3, W7: what is seen to fit fits; `df` shows the next multiple of what was believed."""
    full = Full(tmp_path, files=files)
    quota = full.room.quota()
    assert (quota.total_files, quota.free_files, full.room.files.origin) == (most, most - files, origin)


def test_files_that_the_listing_lacks_count(tmp_path: Path) -> None:
    """N1, A3: of an account of more than 5,000 files some are not listed, and are there all the same."""
    full = Full(tmp_path, files=10, left_out=lambda: 5990)
    assert full.room.used() == (10, 6000) and full.room.quota().total_files == 6000


def test_settings_say_what_is_believed(tmp_path: Path) -> None:
    """A3: instead of what is documented; in multiples of that it is lifted."""
    full = Full(tmp_path, files=70, size=10, max_files=50, max_bytes=1000)
    assert (full.room.quota().total_files, full.room.quota().free_bytes) == (100, 300)
    assert (full.room.files.origin, full.room.bytes.origin) == (LEARNED, SET)


def test_an_upload_beyond_the_limit_lifts_it(tmp_path: Path) -> None:
    """W7: at the limit one upload asks; where it is taken, the limit is lifted, and the next ones ask nobody."""
    full = Full(tmp_path, files=1000)
    assert full.room.passes_limit(1)
    with full.room.passage(full.intent("a.txt", 1), waits=True):
        full.store("a.txt")
    assert (full.room.quota().total_files, full.room.files.origin) == (2000, LEARNED)
    assert not full.room.passes_limit(1)


def test_a_refusal_holds_until_the_account_shrinks(tmp_path: Path) -> None:
    """W7: then one more is let through; what was refused stays the limit."""
    full = Full(tmp_path, files=300)
    full.refuse_a_file()
    for number in range(3):  # another machine has stored some meanwhile
        full.store(f"theirs{number}.txt")
        with pytest.raises(TooManyFiles):
            full.room.check_one_more()
    full.remove(full.files[0])
    full.room.check_one_more()
    assert (full.room.quota().total_files, full.room.quota().free_files, full.room.files.origin) == (303, 1, LEARNED)


def test_a_refusal_is_believed_for_some_minutes(tmp_path: Path) -> None:
    """W7: what others have in the account need not be in its list, so the service is asked again in the end."""
    full = Full(tmp_path, files=1000)
    full.refuse_a_file()
    full.now += BELIEVED - 1
    with pytest.raises(TooManyFiles):
        full.room.check_one_more()
    full.now += 1
    full.room.check_one_more()


def test_of_batches_there_may_be_fewer(tmp_path: Path) -> None:
    """W7: DOC: 1,000 files of this purpose; a refusal of one says nothing of other files."""
    full = Full(tmp_path, files=300)
    with pytest.raises(TooManyFiles), full.room.passage(full.intent("a.jsonl", 1, purpose=wire.BATCH), waits=True):
        raise TooManyFiles("no", status=400)
    full.room.check_one_more()


def test_what_takes_the_place_of_something_asks_for_itself(tmp_path: Path) -> None:
    """W7: an overwrite can make room for itself, also where a new file is refused without a question."""
    full = Full(tmp_path, files=1000)
    full.refuse_a_file()
    with full.room.passage(full.intent("0.txt", 1, replaces=frozenset({"i0"})), waits=True):
        pass
    with pytest.raises(TooManyFiles) as raised, full.room.passage(full.intent("b.txt", 1), waits=True):
        raise AssertionError
    assert raised.value.unsent


def test_what_is_in_doubt_is_looked_for(tmp_path: Path) -> None:
    """W3, W7: a full account may hold the very file that the refusal would keep from being looked for."""
    full = Full(tmp_path, files=1000)
    full.refuse_a_file()
    mine = full.local("mine.txt", 5)
    mine.refusal = TooManyFiles("no", unsent=True)
    assert full.room.hold(mine) > 0
    mine.attempt = full.intent("mine.txt", 5, unanswered=1)
    assert full.room.hold(mine) == 0
    with full.room.passage(mine.attempt, waits=False):
        pass


def test_a_suspended_account_has_no_limit(tmp_path: Path) -> None:
    """W7: its refusal says nothing of the room; nor does what was kept back here."""
    full = Full(tmp_path, files=1000)
    for error in (QuotaExceeded("plan", status=429), TooManyFiles("full", unsent=True)):
        with pytest.raises(QuotaExceeded), full.room.passage(full.intent("a.txt", 1), waits=True):
            raise error
    full.room.check_one_more()


def test_of_many_uploads_at_the_limit_one_asks(tmp_path: Path) -> None:
    """W7: the others wait for the outcome: all of them are refused by it, or one after the other is let through."""
    full = Full(tmp_path, files=998)
    asked: list[str] = []
    outcomes: list[BaseException | None] = []
    go = threading.Event()

    def upload(name: str) -> None:
        try:
            with full.room.passage(full.intent(name, 1), waits=True):
                asked.append(name)
                assert go.wait(60)
                with full.lock:
                    if len(full.files) >= 1000:
                        raise TooManyFiles("no", status=400)
                    full.store(name)
            outcomes.append(None)
        except TooManyFiles as error:
            outcomes.append(error)

    threads = [threading.Thread(target=upload, args=(f"{number}.txt",)) for number in range(12)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(asked) == 3, "two that fit and one that asks are under way")
    go.set()
    for thread in threads:
        thread.join()
    assert len(asked) <= 4, "one that comes when the two have just arrived may ask once more"
    assert outcomes.count(None) == 2 and len(full.files) == 1000


def test_in_the_background_nobody_waits_for_the_one_that_asks(tmp_path: Path) -> None:
    """W7, W2: a worker has others to carry: it comes again; what was told of the refusal comes again later."""
    full = Full(tmp_path, files=1000)
    mine = full.local("mine.txt", 5)
    assert full.room.hold(mine) == 0
    with full.room.passage(full.intent("a.txt", 1), waits=False):
        assert 0 < full.room.hold(mine) < 1
        with pytest.raises(RateLimited) as raised, full.room.passage(full.intent("b.txt", 1), waits=False):
            raise AssertionError
        assert raised.value.unsent
        full.now += PATIENCE  # a long one: whoever comes now asks too
        assert full.room.hold(mine) == 0
    full.refuse_a_file()
    assert full.room.hold(mine) == 0, "it is told so first"
    mine.refusal = TooManyFiles("no", unsent=True)
    assert full.room.hold(mine) > 1
    full.now += AGAIN
    assert full.room.hold(mine) == 0, "one asks again, so that a larger plan is noticed"
    with full.room.passage(full.intent("mine.txt", 5), waits=False):
        pass
    full.refuse_a_file()
    assert full.room.hold(mine) > 1
    full.remove(full.files[0])
    assert full.room.hold(mine) == 0, "there is room"


@pytest.mark.parametrize(
    ("free", "growth", "fits"),
    [(100, 100, True), (100, 101, False), (0, 1, False), (0, 0, True), (200 * MIB, 100 * MIB, True)],
)
def test_the_limit_of_the_bytes(tmp_path: Path, free: int, growth: int, fits: bool) -> None:
    """W7: once the service has refused, over 10 GB is refused at the write, to the byte."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES - free)
    full.room.check_growth(growth)
    full.refuse_bytes(free + 1)
    if fits:
        full.room.check_growth(growth)
    else:
        with pytest.raises(TooManyBytes):
            full.room.check_growth(growth)


def test_a_refusal_below_what_is_documented(tmp_path: Path) -> None:
    """W7: an account of 3 GB: what the service has refused is refused early, and what is less may still fit."""
    full = Full(tmp_path, files=3, size=1024**3)
    full.refuse_bytes(50 * MIB)
    full.room.check_growth(50 * MIB - 1)
    with pytest.raises(TooManyBytes):
        full.room.check_growth(50 * MIB)


def test_a_full_account_takes_no_new_file(tmp_path: Path) -> None:
    """W7: 10 GB are used, and the service says so: `create` does too."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES)
    full.refuse_bytes(1)
    with pytest.raises(TooManyBytes):
        full.room.check_one_more()


def test_an_overwrite_uses_the_room_of_the_old_version(tmp_path: Path) -> None:
    """W7: at the limit a file can be written again at its old size."""
    full = Full(tmp_path, files=100, size=wire.MAX_TOTAL_BYTES // 100)
    full.refuse_bytes(MIB)
    full.local("0.txt", 1, base=full.files[0])
    full.room.check_growth(full.files[0].bytes - 1)
    with pytest.raises(TooManyBytes):
        full.room.check_growth(full.files[0].bytes + wire.MAX_TOTAL_BYTES % 100)


def test_the_room_of_a_version_that_is_being_overwritten(tmp_path: Path) -> None:
    """W7: between O_TRUNC and the first write the old version's bytes are free for the new one."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES)
    full.refuse_bytes(1)
    full.local("0.txt", 0, base=full.files[0])
    full.room.check_growth(wire.MAX_FILE_BYTES)


def test_many_pending_files_count_too(tmp_path: Path) -> None:
    """W7: over what was refused is refused at the write, also when the last gigabytes are still on their way."""
    full = Full(tmp_path, files=1, size=wire.MAX_TOTAL_BYTES - 17 * wire.MAX_FILE_BYTES)
    full.refuse_bytes(18 * wire.MAX_FILE_BYTES)
    for number in range(17):
        full.local(f"new{number}.txt", wire.MAX_FILE_BYTES)
    with pytest.raises(TooManyBytes):
        full.room.check_growth(1)


def test_what_was_asked_for_since_the_last_count_counts(tmp_path: Path) -> None:
    """W7: near what was refused no sequence of creates and writes gets past it, and what is given up makes room."""
    full = Full(tmp_path, files=997)
    full.refuse_a_file()
    full.room.files.most = 1000
    locals_ = []
    for number in range(3):
        full.room.check_one_more()
        locals_.append(full.local(f"new{number}.txt", 1))
    with pytest.raises(TooManyFiles):
        full.room.check_one_more()
    full.space.drop(locals_.pop())
    full.room.check_one_more()


@pytest.mark.parametrize("refused", [False, True])
def test_counting_exactly_is_for_accounts_that_are_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """W2: a copy of many small files does not look at all of them at each write."""
    full, counts = Full(tmp_path), []
    if refused:
        full.refuse_bytes(wire.MAX_TOTAL_BYTES)
    used = Room.used
    monkeypatch.setattr(Room, "used", lambda room, **beside: counts.append(1) or used(room, **beside))
    for number in range(300):
        full.room.check_one_more()
        full.local(f"{number}.txt", 1)
        full.room.check_growth(20_000)
    assert len(counts) <= 4
