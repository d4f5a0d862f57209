"""Texts by id: bounded in bytes, one fetch for everybody who waits, failures not kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from moonfs import errors
from moonfs.contents import Contents


class Fetch:
    """Texts that a test holds back: `gate` opens each fetch."""

    def __init__(self, **texts: bytes) -> None:
        self.texts = texts
        self.calls: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.gate: threading.Semaphore | None = None
        self.error: BaseException | None = None

    def __call__(self, file_id: str) -> bytes:
        self.calls.append(file_id)
        self.arrived.release()
        error = self.error
        if self.gate is not None:
            assert self.gate.acquire(timeout=10)
        if error is not None:
            raise error
        return self.texts[file_id]


def test_a_text_is_fetched_once() -> None:
    """R2: text is immutable per id."""
    fetch = Fetch(a=b"text")
    contents = Contents(fetch, 100)
    assert [contents.get("a") for _ in range(5)] == [b"text"] * 5
    assert fetch.calls == ["a"] and (contents.hits, contents.misses) == (4, 1)


def test_memory_is_bounded_in_bytes_and_the_oldest_goes() -> None:
    """R2: a bound on bytes, not entries; the least recently read text makes room."""
    fetch = Fetch(a=b"x" * 40, b=b"x" * 40, c=b"x" * 40)
    contents = Contents(fetch, 100)
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
def test_a_text_larger_than_the_cache_is_returned_and_not_kept(size: int, kept: bool) -> None:
    """R2: one large text neither fails nor throws everything else out."""
    fetch = Fetch(big=b"x" * size)
    contents = Contents(fetch, 100)
    assert len(contents.get("big")) == size
    assert (contents.used == size) is kept and contents.used <= 100


def test_a_cache_of_no_bytes_still_reads() -> None:
    """R2: content_cache=0 is a choice, not an error."""
    fetch = Fetch(a=b"text")
    contents = Contents(fetch, 0)
    assert contents.get("a") == contents.get("a") == b"text"
    assert contents.used == 0


def test_concurrent_readers_share_one_request() -> None:
    """R2: twenty readers of one text cost one request, and all get it."""
    fetch = Fetch(a=b"text")
    fetch.gate = threading.Semaphore(0)
    contents = Contents(fetch, 100)
    barrier = threading.Barrier(20)

    def read() -> bytes:
        barrier.wait(10)
        return contents.get("a")

    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(read) for _ in range(20)]
        assert fetch.arrived.acquire(timeout=10)
        fetch.gate.release()
        assert [result.result(10) for result in results] == [b"text"] * 20
    assert fetch.calls == ["a"]


def test_other_texts_do_not_wait_for_a_slow_one() -> None:
    """E2: the lock is not held during a fetch."""
    fetch = Fetch(slow=b"slow", fast=b"fast")
    contents = Contents(fetch, 100)
    contents.get("fast")
    fetch.gate = threading.Semaphore(0)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(contents.get, "slow")
        assert fetch.arrived.acquire(timeout=10)
        assert fetch.arrived.acquire(timeout=10)
        assert contents.get("fast") == b"fast"
        contents.forget("fast")
        fetch.gate.release()
        assert slow.result(10) == b"slow"


@pytest.mark.parametrize("error", [errors.Unreachable("down"), ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_a_failure_reaches_everybody_and_is_not_kept(error: BaseException) -> None:
    """R2: waiting readers get the error of the one that asked; the next reader asks anew."""
    fetch = Fetch(a=b"text")
    fetch.gate, fetch.error = threading.Semaphore(0), error
    contents = Contents(fetch, 100)
    outcomes: list[BaseException | bytes] = []

    def read() -> None:
        try:
            outcomes.append(contents.get("a"))
        except BaseException as problem:
            outcomes.append(problem)

    leader = threading.Thread(target=read)
    leader.start()
    assert fetch.arrived.acquire(timeout=10)
    flight = contents._flights["a"]
    follower = threading.Thread(target=read)
    follower.start()
    while not flight._condition._waiters:  # type: ignore[attr-defined]
        pass
    fetch.gate.release()
    leader.join(10)
    follower.join(10)
    assert outcomes == [error, error] and fetch.calls == ["a"]
    fetch.error = None
    fetch.gate.release()
    assert contents.get("a") == b"text" and contents._flights == {}


def test_forget_drops_one_text() -> None:
    """W8: the text of a deleted file is not kept."""
    fetch = Fetch(a=b"text", b=b"other")
    contents = Contents(fetch, 100)
    contents.get("a")
    contents.get("b")
    contents.forget("a")
    contents.forget("never there")
    assert contents.used == 5
    contents.get("a")
    assert fetch.calls == ["a", "b", "a"]
