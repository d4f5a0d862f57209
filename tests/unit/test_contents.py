"""Texts by id: bounded in bytes, one fetch for everybody who waits, failures not kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moonfs import errors
from moonfs.contents import SMALL, Contents, Fetched
from moonfs.texts import Texts
from moonfs.traffic import Ticket, Urgency

Make = Callable[..., Contents]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return what builds the cache; `disk` bytes are kept on disk, none unless a test says so."""

    def build(fetch: Fetch, capacity: int, disk: int = 0) -> Contents:
        return Contents(fetch, capacity, Texts(tmp_path, disk), fetch.hurried.append)

    return build


class Fetch:
    """Texts that a test holds back: `gate` opens each fetch."""

    def __init__(self, **texts: bytes) -> None:
        self.texts = texts
        self.calls: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.gate: threading.Semaphore | None = None
        self.error: BaseException | None = None
        self.tickets: list[Ticket] = []
        self.hurried: list[Ticket] = []
        self.doubtful: set[str] = set()

    def __call__(self, file_id: str, ticket: Ticket) -> Fetched:
        self.calls.append(file_id)
        self.tickets.append(ticket)
        self.arrived.release()
        error = self.error
        if self.gate is not None:
            assert self.gate.acquire(timeout=60)
        if error is not None:
            raise error
        return Fetched(self.texts[file_id], file_id not in self.doubtful)


def test_a_text_that_may_be_none_is_not_kept(make: Make) -> None:
    """R2: whoever waits for it gets it; nothing of it is in memory or on disk afterwards."""
    fetch = Fetch(a=b"odd")
    fetch.doubtful.add("a")
    contents = make(fetch, 100, disk=1000)
    assert [contents.get("a") for _ in range(2)] == [b"odd"] * 2
    assert fetch.calls == ["a", "a"]
    assert "a" not in contents and contents.used == 0 and contents.on_disk() == []


def test_a_text_is_fetched_once(make: Make) -> None:
    """R2: text is immutable per id."""
    fetch = Fetch(a=b"text")
    contents = make(fetch, 100)
    assert [contents.get("a") for _ in range(5)] == [b"text"] * 5
    assert fetch.calls == ["a"] and (contents.hits, contents.misses) == (4, 1)


def test_memory_is_bounded_in_bytes_and_the_oldest_goes(make: Make) -> None:
    """R2: a bound on bytes, not entries; the least recently read text makes room."""
    fetch = Fetch(a=b"x" * 40, b=b"x" * 40, c=b"x" * 40)
    contents = make(fetch, 100)
    for name in ("a", "b", "a", "c"):
        contents.get(name)
        assert contents.used <= 100
    fetch.calls.clear()
    contents.get("a")
    contents.get("c")
    assert fetch.calls == []
    contents.get("b")
    assert fetch.calls == ["b"]


@pytest.mark.parametrize(("size", "kept"), [(99, True), (100, True), (101, False), (1000, False)])
def test_a_text_larger_than_the_cache_is_returned_and_not_kept(make: Make, size: int, kept: bool) -> None:
    """R2: one large text neither fails nor throws everything else out."""
    fetch = Fetch(big=b"x" * size)
    contents = make(fetch, 100)
    assert len(contents.get("big")) == size
    assert (contents.used == size) is kept and contents.used <= 100


def test_a_cache_of_no_bytes_still_reads(make: Make) -> None:
    """R2: content_cache=0 is a choice, not an error."""
    fetch = Fetch(a=b"text")
    contents = make(fetch, 0)
    assert contents.get("a") == contents.get("a") == b"text"
    assert contents.used == 0


def test_concurrent_readers_share_one_request(make: Make) -> None:
    """R2: twenty readers of one text cost one request, and all get it."""
    fetch = Fetch(a=b"text")
    fetch.gate = threading.Semaphore(0)
    contents = make(fetch, 100)
    barrier = threading.Barrier(20)

    def read() -> bytes:
        barrier.wait(60)
        return contents.get("a")

    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(read) for _ in range(20)]
        assert fetch.arrived.acquire(timeout=60)
        fetch.gate.release()
        assert [result.result(60) for result in results] == [b"text"] * 20
    assert fetch.calls == ["a"]


def test_other_texts_do_not_wait_for_a_slow_one(make: Make) -> None:
    """E2: the lock is not held during a fetch."""
    fetch = Fetch(slow=b"slow", fast=b"fast")
    contents = make(fetch, 100)
    contents.get("fast")
    fetch.gate = threading.Semaphore(0)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(contents.get, "slow")
        assert fetch.arrived.acquire(timeout=60)
        assert fetch.arrived.acquire(timeout=60)
        assert contents.get("fast") == b"fast"
        contents.forget("fast")
        fetch.gate.release()
        assert slow.result(60) == b"slow"


@pytest.mark.parametrize("error", [errors.Unreachable("down"), ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_a_failure_reaches_everybody_and_is_not_kept(make: Make, error: BaseException) -> None:
    """R2: waiting readers get the error of the one that asked; the next reader asks anew."""
    fetch = Fetch(a=b"text")
    fetch.gate, fetch.error = threading.Semaphore(0), error
    contents = make(fetch, 100)
    outcomes: list[BaseException | bytes] = []

    def read() -> None:
        try:
            outcomes.append(contents.get("a"))
        except BaseException as problem:
            outcomes.append(problem)

    leader = threading.Thread(target=read)
    leader.start()
    assert fetch.arrived.acquire(timeout=60)
    flight = contents._flights["a"]
    follower = threading.Thread(target=read)
    follower.start()
    while not flight.done._condition._waiters:  # type: ignore[attr-defined]
        pass
    fetch.gate.release()
    leader.join(60)
    follower.join(60)
    assert outcomes == [error, error] and fetch.calls == ["a"]
    fetch.error = None
    fetch.gate.release()
    assert contents.get("a") == b"text" and contents._flights == {}


def test_forget_drops_one_text(make: Make) -> None:
    """W8: the text of a deleted file is not kept."""
    fetch = Fetch(a=b"text", b=b"other")
    contents = make(fetch, 100)
    contents.get("a")
    contents.get("b")
    contents.forget("a")
    contents.forget("never there")
    assert contents.used == 5
    contents.get("a")
    assert fetch.calls == ["a", "b", "a"]


def test_a_text_survives_on_disk(make: Make) -> None:
    """R2: the disk's copies outlive the process; small and large ones alike."""
    fetch = Fetch(small=b"text", large=b"x" * (SMALL + 1))
    contents = make(fetch, 10**6, disk=10**6)
    for name in fetch.texts:
        contents.get(name)
    fetch.calls.clear()
    again = make(fetch, 10**6, disk=10**6)
    assert {name: again.get(name) for name in fetch.texts} == fetch.texts
    assert fetch.calls == [] and (again.disk_hits, again.misses) == (2, 0)


def test_only_small_texts_are_in_memory_where_the_disk_has_them(make: Make) -> None:
    """R2: what the disk has and the kernel caches is not kept twice."""
    fetch = Fetch(small=b"x" * SMALL, large=b"x" * (SMALL + 1))
    contents = make(fetch, 10**6, disk=10**6)
    for name in fetch.texts:
        contents.get(name)
    assert contents.used == SMALL and contents.used_on_disk == 2 * SMALL + 1
    text = contents.open("large")
    assert text.body is None and os.fstat(text.fd).st_size == text.size == SMALL + 1
    os.close(text.fd)
    assert make(fetch, 10**6, disk=0).get("large") == fetch.texts["large"]


def test_a_large_text_is_in_memory_where_the_disk_refuses_it(make: Make) -> None:
    """R2: without a disk the memory has to do, within its bound."""
    fetch = Fetch(large=b"x" * (SMALL + 1))
    contents = make(fetch, 10**6, disk=SMALL)
    assert contents.get("large") == contents.get("large") == fetch.texts["large"]
    assert fetch.calls == ["large"] and contents.used == SMALL + 1


def test_an_open_text_outlives_its_file(make: Make) -> None:
    """R2: what was opened stays whole when the file is deleted elsewhere."""
    fetch = Fetch(large=b"x" * (SMALL + 1))
    contents = make(fetch, 10**6, disk=10**6)
    text = contents.open("large")
    contents.forget("large")
    assert "large" not in contents and contents.used_on_disk == 0
    assert os.pread(text.fd, 10**6, 0) == fetch.texts["large"]
    os.close(text.fd)


def test_a_text_whose_file_is_deleted_meanwhile_is_not_kept(make: Make) -> None:
    """R2: the text of a deleted file leaves no copy, though it was on its way."""
    fetch = Fetch(a=b"text")
    fetch.gate = threading.Semaphore(0)
    contents = make(fetch, 10**6, disk=10**6)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(contents.get, "a")
        assert fetch.arrived.acquire(timeout=60)
        contents.forget("a")
        fetch.gate.release()
        assert reader.result(60) == b"text"
    assert "a" not in contents and (contents.used, contents.used_on_disk) == (0, 0)


def test_what_is_read_ahead_is_here(make: Make) -> None:
    """R3: never fetched again, neither ahead nor by a reader, and asked for with the least urgency."""
    fetch = Fetch(a=b"text")
    contents = make(fetch, 100)
    contents.ahead("a")
    contents.ahead("a")
    assert contents.get("a") == b"text" and fetch.calls == ["a"]
    assert fetch.tickets[0].urgency is Urgency.AHEAD
    assert (contents.hits, contents.misses, contents.fetched_ahead) == (1, 0, 1)


def test_a_reader_hurries_what_is_read_ahead(make: Make) -> None:
    """R3: a reader shares the request of the read-ahead, which somebody waits for from then on."""
    fetch = Fetch(a=b"text")
    fetch.gate = threading.Semaphore(0)
    contents = make(fetch, 100)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(contents.ahead, "a")
        assert fetch.arrived.acquire(timeout=60)
        reader = pool.submit(contents.get, "a")
        while not fetch.hurried:
            pass
        fetch.gate.release()
        assert reader.result(60) == b"text" and ahead.result(60) is None
    assert fetch.calls == ["a"] and fetch.hurried == fetch.tickets


def test_a_reader_does_not_fail_with_the_read_ahead(make: Make) -> None:
    """R3: read-ahead gives up at a 429 where a reader waits: the reader asks for itself."""
    fetch = Fetch(a=b"text")
    fetch.gate, fetch.error = threading.Semaphore(0), errors.RateLimited("slow down")
    contents = make(fetch, 100)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(contents.ahead, "a")
        assert fetch.arrived.acquire(timeout=60)
        fetch.error = None
        reader = pool.submit(contents.get, "a")
        while not fetch.hurried:
            pass
        fetch.gate.release(2)
        assert reader.result(60) == b"text"
        assert isinstance(ahead.exception(10), errors.RateLimited)
    assert [ticket.urgency for ticket in fetch.tickets] == [Urgency.AHEAD, Urgency.READER]
