"""Kindle books in every packing, by Calibre and by our own writer; and what goes wrong with them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from tests.documents.mobi import HUFFMAN, PALMDOC, PLAIN, book, database, palmdoc

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
LINES = [f"line {number} of a longer book 第{number}行" for number in range(600)]
HTML = f"<html><head><title>not shown</title></head><body><h1>{ENGLISH}</h1><p>{CHINESE}</p><mbp:pagebreak/>"
HTML += "".join(f"<p>{line}</p>" for line in LINES) + "</body></html>"


@pytest.mark.parametrize("name", ["novel.mobi", "novel-kf8.mobi"])
def test_books_that_calibre_wrote(server, name):
    answer = server.upload(name, (SAMPLES / name).read_bytes())
    assert answer.status_code == 200, answer.text
    body = server.client.get(f"/files/{answer.json()['id']}/content").json()
    expected = ["The Novel 小说"]
    for chapter in range(3):
        expected += [f"Chapter {chapter} 第{chapter}章", ENGLISH, CHINESE]
        expected += [f"Line {line} of chapter {chapter}, 第{line}行" for line in range(40)] + ["left\t右边"]
    assert body["content"].strip().split("\n") == expected
    assert body["file_type"] == "application/x-mobipocket-ebook"


BOOKS = {
    "plain": {"compression": PLAIN},
    "palmdoc": {"compression": PALMDOC},
    "huffman": {"compression": HUFFMAN},
    "entries behind the text": {"compression": PLAIN, "flags": 0b111},
    "kf8 with style sheets": {"version": 8, "styles": "p { color: red }"},
}


@pytest.mark.parametrize("packing", BOOKS)
def test_every_packing(server, packing):
    text = server.text("a.mobi", book(HTML, **BOOKS[packing]))
    assert text.strip().split("\n") == ["The Book 书", ENGLISH, CHINESE, *LINES]


def test_western_books(server):
    text = server.text("a.mobi", book("<p>Les élèves “français”</p>", encoding="cp1252", title="Été"))
    assert text.strip().split("\n") == ["Été", "Les élèves “français”"]


def test_texts_of_palm_pilots(server):
    text = f"{ENGLISH}\n{CHINESE}\n" * 300
    assert server.text("a.mobi", palmdoc(text.encode("gbk"))) == text


@pytest.mark.parametrize("encryption", [1, 2])
def test_drm_is_respected(launch, encryption):
    server = launch()
    answer = server.upload("a.mobi", book(HTML, encryption=encryption))
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, NO_TEXT)
    assert "(DRM)" in server.log()


def bomb() -> bytes:
    """Return 100 MB of matches that unpack to five times as much."""
    record = b"\x01a" + struct.pack(">H", 0x8000 | 1 << 3 | 7) * 400_000
    head = bytearray(book("x")[78 + 8 * 2 + 2 :][:268])
    struct.pack_into(">HHIHHH", head, 0, PALMDOC, 0, 2**31, 100, 4096, 0)
    return database([bytes(head), *[record] * 100])


BROKEN = {
    "only a head": lambda: book(HTML)[:70],
    "no records": lambda: database([]),
    "half": lambda: book(HTML)[:200],
    "a phrase that is packed of itself": lambda: book(HTML, compression=HUFFMAN, circle=True),
    "a bomb": bomb,
    "unknown packing": lambda: book(HTML, compression=3),
    "no codes": lambda: book(HTML, compression=HUFFMAN).replace(b"HUFF", b"HAFF"),
    "topaz": lambda: b"TPZ0" + bytes(200),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_book_has_no_text(server, what):
    answer = server.upload("a.mobi", BROKEN[what]())
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, NO_TEXT)


@pytest.mark.parametrize("compression", [PALMDOC, HUFFMAN])
def test_flipped_bytes_are_read_or_refused(server, compression):
    chance = random.Random(compression)
    content = book(HTML, compression=compression)
    for _ in range(20):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        answer = server.upload("a.mobi", bytes(damaged))
        assert answer.status_code in (200, 400), answer.text
