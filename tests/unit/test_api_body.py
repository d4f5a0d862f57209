"""Bounded and decoded bodies, without a network."""

from __future__ import annotations

import gzip
import mmap
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs import disk
from moonfs.api import body as body_module
from moonfs.api.body import BadBodyError, TooLongError, read_bounded, read_start

DATA = random.Random(7).randbytes(300_000) + b"\0" * 3_000_000


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1000, 65536, 10**9])
@pytest.mark.parametrize("encoding", ["gzip", " GZIP ", "x-gzip"])
def test_gzip_is_decoded_however_it_is_cut(size: int, encoding: str) -> None:
    assert read_bounded(pieces(gzip.compress(DATA), size), encoding=encoding, limit=len(DATA)) == DATA


def test_one_byte_at_a_time_and_two_members() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    assert read_bounded(pieces(packed, 1), encoding="gzip", limit=100) == b"one two"
    assert read_bounded([packed], encoding="gzip", limit=100) == b"one two"


@pytest.mark.parametrize("cut", [1, 8, 100_000])
def test_a_gzip_stream_that_breaks_off_is_no_body(cut: int) -> None:
    packed = gzip.compress(DATA)
    with pytest.raises(BadBodyError):
        read_bounded(pieces(packed[:-cut], 4096), encoding="gzip", limit=len(DATA))


def test_a_damaged_gzip_stream_is_no_body() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[1000] ^= 1
    with pytest.raises(BadBodyError):
        read_bounded([bytes(packed)], encoding="gzip", limit=len(DATA))


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate"])
def test_what_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(BadBodyError):
        read_bounded([zlib.compress(b"x")], encoding=encoding, limit=100)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_the_bound_holds_and_the_rest_is_not_read(encoding: str) -> None:
    source = iter([b"x" * 60, b"y" * 40, b"z", b"unread"])
    with pytest.raises(TooLongError):
        read_bounded(source, encoding=encoding, limit=100)
    assert next(source) == b"unread"
    assert read_bounded([b"x" * 100], encoding=encoding, limit=100) == b"x" * 100


def test_a_small_answer_cannot_grow_into_all_of_memory() -> None:
    packed = gzip.compress(b"\0" * 200_000_000, 9)
    tracemalloc.start()
    try:
        with pytest.raises(TooLongError):
            read_bounded([packed], encoding="gzip", limit=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_start_of_an_error_is_read_even_if_the_rest_is_broken() -> None:
    assert read_start([b"abc", b"def"], encoding="", limit=4) == b"abcd"
    assert read_start([gzip.compress(b"hello world")[:-8]], encoding="gzip", limit=100) == b"hello world"
    assert read_start([b"no gzip"], encoding="gzip", limit=100) == b""


def test_a_long_body_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2, R2: byte for byte, without a name that could stay; in memory where the disk is full, up to a bound."""
    data = random.Random(1).randbytes(5 << 20)
    body = read_bounded(pieces(data, 70_000), encoding="", limit=len(data), spill=tmp_path)
    assert isinstance(body, mmap.mmap) and body[:] == data and list(tmp_path.iterdir()) == []
    assert read_bounded([b"short"], encoding="", limit=100, spill=tmp_path) == b"short"
    with pytest.raises(TooLongError):
        read_bounded(pieces(data, 70_000), encoding="", limit=len(data) - 1, spill=tmp_path)
    monkeypatch.setattr(disk, "spare", lambda _directory: -1)
    assert read_bounded(pieces(data, 70_000), encoding="", limit=len(data), spill=tmp_path) == data
    monkeypatch.setattr(body_module, "_MOST_HELD", 4 << 20)
    with pytest.raises(OSError, match="No space"):
        read_bounded(pieces(data, 70_000), encoding="", limit=len(data), spill=tmp_path)
    assert list(tmp_path.iterdir()) == []
