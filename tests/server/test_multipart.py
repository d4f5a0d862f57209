"""The parser of forms by itself: every body in pieces of every size, as clients of many kinds write it."""

from __future__ import annotations

import random

import pytest

from moonfs.server.multipart import MAX_HEADERS, MAX_PREAMBLE, MalformedForm, Multipart

Parts = list[tuple[list[tuple[str, bytes]], bytes]]


def parsed(body: bytes, boundary: str = "b", size: int = 0) -> Parts | None:
    """Return the parts of a body that comes in pieces of `size`; None where it has no end."""
    parts: Parts = []

    def data(piece: bytes) -> None:
        assert piece
        parts[-1] = (parts[-1][0], parts[-1][1] + piece)

    parser = Multipart(boundary, lambda headers: parts.append((headers, b"")), data)
    for at in range(0, len(body), size or len(body) or 1):
        parser.write(body[at : at + (size or len(body))])
    parser.finish()
    return parts if parser.is_finished else None


def in_all_pieces(body: bytes, boundary: str = "b") -> Parts | None:
    whole = parsed(body, boundary)
    assert all(parsed(body, boundary, size) == whole for size in range(1, len(body)))
    return whole


HEAD = b"X: 1\r\n\r\n"
ONE = [("x", b"1")]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--b\r\n" + HEAD + b"data\r\n--b--\r\n", [(ONE, b"data")]),
        (b"--b\r\n" + HEAD + b"data\r\n--b--", [(ONE, b"data")]),
        (b"--b\r\n" + HEAD + b"\r\n--b--", [(ONE, b"")]),
        (b"--b\r\n" + HEAD + b"--b--", [(ONE, b"")]),
        (b"--b\r\n\r\n\r\n--b--", [([], b"")]),
        (b"--b \t\r\n" + HEAD + b"1\r\n--b\t\r\n" + HEAD + b"2\r\n--b-- \r\nepilogue\r\n--b\r\n",
         [(ONE, b"1"), (ONE, b"2")]),
        (b"This is a message of several parts.\r\n--bc\r\n--b\r\n" + HEAD + b"data\r\n--b--", [(ONE, b"data")]),
        (b"\r\n--b\r\n" + HEAD + b"data\r\n--b--", [(ONE, b"data")]),
        (b"--b\nX: 1\n\nda\r\nta\r\n\n--b--\n", [(ONE, b"da\r\nta\r\n")]),
        (b"preamble\n--b\nX:1\r\n\nda\nta\n--b\nX: 1 \n\n\n--b--", [(ONE, b"da\nta"), (ONE, b"")]),
        (b"--b\r\n" + HEAD + b"\n--b\r\n--b--", [(ONE, b"\n--b")]),
        (b"--b\r\n" + HEAD + b"\r\n--bc\r\n--b-\r\n--b x\r\n--b--y\r\n--b--\r\n",
         [(ONE, b"\r\n--bc\r\n--b-\r\n--b x\r\n--b--y")]),
        (b"--b\r\n" + HEAD + b"--bc\r\n--b--\r\n", [(ONE, b"--bc")]),
        (b"--b\r\n" + HEAD + b"\r\r\n\r\n-\r\n--\r\n--b--\r\n", [(ONE, b"\r\r\n\r\n-\r\n--")]),
        (b"--b--\r\n", []),
        (b"--b--", []),
        (b"", None),
        (b"no form", None),
        (b"x--b\r\n" + HEAD + b"\r\n--b--", None),
        (b"--b\r\n" + HEAD + b"data", None),
        (b"--b\r\n" + HEAD + b"data\r\n--b", None),
        (b"--b\r\n" + HEAD + b"data\r\n--b-", None),
        (b"--b\r\nX: 1", None),
    ],
)  # fmt: skip
def test_what_a_body_holds(body, parts):
    """RFC 2046, 5.1.1, and what Go's mime/multipart makes of bare line feeds; in pieces of every size."""
    assert in_all_pieces(body) == parts


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_any_bytes_come_through(end):
    """Bytes that are made of pieces of boundaries are data for as long as they are no boundary."""
    chance = random.Random(7)
    for _ in range(300):
        data = b"".join(chance.choices((b"\r", b"\n", b"-", b"--", b"--b", b"--bo", b"x", b" ", b"\0"), k=30))
        if end + b"--bo" in end + data or data.endswith(b"--bo"):
            continue
        body = b"--bo" + end + b"X: 1" + end * 2 + data + end + b"--bo--" + end
        assert parsed(body, "bo", chance.randrange(1, 9)) == [(ONE, data)], data


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MAX_PREAMBLE + 5000),
        b"x" * (MAX_PREAMBLE + 5) + b"\r\n--b\r\n" + HEAD + b"x\r\n--b--",
        b"--b\r\nX: " + b"x" * MAX_HEADERS + b"\r\n\r\n\r\n--b--",
        b"--b\r\nno header\r\n\r\n\r\n--b--",
        b"--b\r\nX Y: 1\r\n\r\n\r\n--b--",
        b"--b\r\n: 1\r\n\r\n\r\n--b--",
        b"--b" + b" " * 5000,
        b"--b\r\n" + HEAD + b"x\r\n--b" + b" " * 5000,
    ],
)  # fmt: skip
def test_what_is_none(body):
    for size in (0, 1000):
        with pytest.raises(MalformedForm):
            parsed(body, size=size)


def test_a_preamble_may_be_long():
    assert parsed(b"x" * 60_000 + b"\r\n--b\r\n" + HEAD + b"data\r\n--b--", size=777) == [(ONE, b"data")]
