"""What a path goes on showing while it is read, and somebody else has put another version there (tenet 3, L4)."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import pytest

from moonfs import errors, lingering, listing
from moonfs.lingering import DRAIN, LINGER
from tests.harness import direct
from tests.harness.drive import wait_until
from tests.harness.house import Drive, House, in_thread, text_of
from tests.harness.rest import at_rest

TEXT = "/a.txt.content"
OLD, NEW = text_of(b"old"), text_of(b"a new one")


class Reading:
    """A drive on which a path is being read, by a clock that stands still."""

    def __init__(self, house: House, path: str = TEXT) -> None:
        self.house, self.path, self.now = house, path, time.monotonic() + 1000
        self.drive: Drive = house.start(write_back=True)
        self.drive.remote.listing._clock = lambda: self.now  # type: ignore[method-assign]
        if path == TEXT:
            house.account.add("a.txt", b"old")
        else:
            self.drive.write("a.txt", b"old")
            at_rest(self.drive.uploader.workers)
        self.first = self.open()

    def open(self) -> int:
        return self.drive.fs.open(self.path, read=True, write=False).handle

    def close(self, handle: int) -> None:
        self.drive.fs.release(handle)

    def read(self, handle: int) -> bytes:
        return direct.read(self.drive.fs, handle)

    def size(self) -> int:
        return self.drive.fs.getattr(self.path).size

    def replace(self, data: bytes = b"a new one") -> None:
        """Let somebody else put another version there."""
        self.house.account.files.clear()
        self.house.account.add("a.txt", data, created_at=int(time.time()) + 100)

    def shown(self) -> bytes:
        """Open, read and close."""
        handle = self.open()
        try:
            return self.read(handle)
        finally:
            self.close(handle)


def test_a_path_that_is_read_shows_what_it_was_until_its_readers_are_done(house: House) -> None:
    """Tenet 3, L4: by `stat`, by an open, and after that open; then the new version, from the start."""
    reading = Reading(house)
    reading.replace()
    assert reading.size() == len(OLD)
    second = reading.open()
    reading.close(reading.first)
    assert reading.read(second) == reading.shown() == OLD
    assert reading.size() == len(OLD)
    reading.close(second)
    assert reading.size() == 1, "of the new one nothing is known yet (A2)"
    assert reading.shown() == NEW and reading.size() == len(NEW)


def test_those_who_share_the_old_version_share_its_pages(house: House) -> None:
    """R2: the kernel keeps what it has of it, and passes nothing by."""
    reading = Reading(house)
    reading.close(reading.open())
    reading.close(reading.first)
    again = reading.open()
    reading.replace()
    opened = reading.drive.fs.open(TEXT, read=True, write=False)
    assert opened.keep_cache and not opened.direct_io
    reading.close(opened.handle)
    reading.close(again)


def test_a_large_text_is_shared_too(house: House) -> None:
    """R2: one that is not in memory; the descriptor of each handle is its own."""
    reading = Reading(house)
    reading.close(reading.first)
    reading.replace(b"old" * 20_000)
    first = reading.open()
    reading.replace()
    second = reading.open()
    reading.close(first)
    assert reading.read(second) == text_of(b"old" * 20_000)
    reading.close(second)
    assert reading.shown() == NEW


def test_it_lingers_for_a_bounded_time(house: House) -> None:
    """L4: after that the new version shows, past the cache of whoever still reads the old one."""
    reading = Reading(house)
    reading.replace()
    assert reading.size() == len(OLD)
    reading.now += LINGER - DRAIN - 0.1
    assert reading.shown() == OLD
    reading.now += DRAIN + 0.2
    assert reading.size() == 1
    opened = reading.drive.fs.open(TEXT, read=True, write=False)
    assert opened.direct_io and reading.read(opened.handle) == NEW and reading.read(reading.first) == OLD
    reading.close(opened.handle)


def test_the_time_runs_from_when_the_listing_learned_of_it(house: House) -> None:
    """L4: and not from when somebody looked at the path."""
    reading = Reading(house)
    reading.replace()
    reading.drive.ls()
    reading.now += LINGER
    assert reading.size() == 1


@pytest.mark.parametrize("ends", [True, False], ids=["they end", "they do not"])
def test_in_the_end_it_gets_no_new_readers(house: House, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Tenet 3, E2: or there would always be one in the middle; who opens waits for those that are there, for a time."""
    monkeypatch.setattr(listing, "RECENT", 2000.0)
    monkeypatch.setattr(lingering, "LINGER", 1000.0)
    monkeypatch.setattr(lingering, "DRAIN", 900.0 if ends else 0.1)
    reading = Reading(house)
    reading.replace()
    assert reading.shown() == OLD
    reading.now += 200.0 if ends else 999.95
    newer: Future[Any] = in_thread(lambda: reading.drive.fs.open(TEXT, read=True, write=False))
    if ends:
        wait_until(lambda: reading.drive.fs._lingering._released._waiters, "it waits")  # type: ignore[attr-defined]
        assert reading.size() == len(OLD) and not newer.done()
        reading.close(reading.first)
    opened = newer.result(60)
    assert reading.read(opened.handle) == NEW and opened.direct_io is not ends


def test_an_own_change_shows_at_once(house: House) -> None:
    """L4: whoever reads, and whatever that means for them."""
    reading = Reading(house)
    reading.drive.write("a.txt", b"mine")
    at_rest(reading.drive.uploader.workers)
    assert reading.shown() == text_of(b"mine") and reading.size() == len(text_of(b"mine"))


def test_an_own_file_in_place_of_one_that_is_gone_elsewhere_shows_at_once(house: House) -> None:
    """L4: the path is free, and what is made there is our own."""
    reading = Reading(house)
    house.account.files.clear()
    assert reading.drive.ls() == []
    reading.drive.write("a.txt", b"mine")
    at_rest(reading.drive.uploader.workers)
    assert reading.shown() == text_of(b"mine")


def test_an_own_deletion_shows_at_once(house: House) -> None:
    """L4, N3: though what comes to light under the name has been put there by somebody else, just now."""
    reading = Reading(house)
    house.account.add("a.txt", b"an older one", created_at=1)
    assert reading.shown() == OLD
    reading.drive.fs.unlink("/a.txt", lambda: 1)
    assert reading.shown() == text_of(b"an older one")


def test_a_newer_file_of_the_same_name(house: House) -> None:
    """N3, L4: the older one is there still, under another name; those who read it keep it there a little."""
    reading = Reading(house)
    house.account.add("a.txt", b"a new one", created_at=2000)
    assert reading.shown() == OLD
    reading.close(reading.first)
    assert reading.shown() == NEW


def test_what_is_deleted_elsewhere_is_gone(house: House) -> None:
    """L4: the kernel learns of no size then."""
    reading = Reading(house)
    house.account.files.clear()
    with pytest.raises(errors.NotFound):
        reading.size()
    with pytest.raises(errors.NotFound):
        reading.open()
    assert reading.read(reading.first) == OLD


def test_nobody_goes_back_to_an_old_version(house: House) -> None:
    """Tenet 3: where the new one is open already, an open that was slow does not bring the old one back."""
    reading = Reading(house)
    handles = reading.drive.fs._handles
    late = handles[reading.first]
    reading.replace()
    handles.pop(reading.first)
    newer = reading.open()
    number = handles.open(TEXT, late.holds, late).handle
    assert reading.shown() == NEW and reading.size() == len(NEW)
    reading.close(newer)
    reading.close(number)


def test_of_three_versions_the_second_lingers(house: House) -> None:
    """Tenet 3: it was shown last, whoever has the first one open still."""
    reading = Reading(house)
    reading.replace()
    assert reading.size() == len(OLD)
    reading.now += LINGER
    newer = reading.open()
    reading.replace(b"the last one")
    assert reading.shown() == NEW
    reading.close(newer)
    reading.now += LINGER
    assert reading.shown() == text_of(b"the last one")


def test_an_original_lingers_too(house: House) -> None:
    """R5, W5: for those who read; who writes meets the new version."""
    reading = Reading(house, "/a.txt")
    reading.replace()
    attr = reading.drive.fs.getattr("/a.txt")
    assert (attr.size, attr.mode) == (3, 0o600) and reading.shown() == b"old"
    with pytest.raises(errors.BytesNotHere):
        reading.drive.fs.open("/a.txt", read=False, write=True, append=True)
    reading.close(reading.first)
    attr = reading.drive.fs.getattr("/a.txt")
    assert (attr.size, attr.mode) == (9, 0o200)
    with pytest.raises(errors.BytesNotHere):
        reading.open()
