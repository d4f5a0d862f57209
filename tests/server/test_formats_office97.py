"""Office before 2007: documents written by LibreOffice, and what goes wrong with compound files."""

from __future__ import annotations

import gzip
import io
import random
import struct
from pathlib import Path

import docx
import msoffcrypto.format.ooxml
import openpyxl
import pytest
from pptx import Presentation

from tests.server.refused import refused

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
LETTER = (SAMPLES / "letter.doc").read_bytes()
TEMPLATE = (SAMPLES / "letter.dot").read_bytes()
PRICES = (SAMPLES / "prices.xls").read_bytes()
TALK = gzip.decompress((SAMPLES / "talk.ppt.gz").read_bytes())


@pytest.mark.parametrize(("name", "content"), [("a.doc", LETTER), ("a.dot", TEMPLATE)])
def test_doc_is_read_whole_and_in_order(server, name, content):
    assert server.text(name, content).split("\n") == [
        "the header 页眉", ENGLISH, CHINESE, "A note here, gone.", "See the link.", "A word more.", "Beside the box.",
        "cell one second line\t价格\t", "\tfive\tsix", "After the table “é”.", "in the box 文本框",
        "the footnote 脚注", "the endnote 尾注", "the comment 批注", "the footer 页脚", "",
    ]  # fmt: skip


def test_xls_names_its_sheets_and_keeps_its_columns(server):
    assert server.text("a.xls", PRICES).strip().split("\n") == [
        "## Prices 价格", "name\tprice\twhen\t\tTRUE", f"{CHINESE}\t1\t2026-11-22\t2.5\t#DIV/0!", "",
        "## Second", f"\t{ENGLISH}",
    ]  # fmt: skip


def test_ppt_keeps_tables_and_notes(server):
    slide = [
        "## Slide {0}",
        "Title {0} 标题",
        ENGLISH,
        CHINESE,
        "left\t右边",
        "\tbelow",
        "in a group",
        "Notes: remember {0} 记住",
    ]
    expected = [line.format(number) for number in (1, 2) for line in (*slide, "")]
    assert server.text("a.ppt", TALK).strip().split("\n") == expected[:-1]


def test_bytes_go_before_names(server):
    assert server.text("really-a.doc", PRICES).startswith("## Prices")
    assert server.text("really-a.pptx", LETTER).startswith("the header")
    assert server.text("really-a.txt", TALK).startswith("## Slide 1")
    assert server.text("page.xls", f"<html><table><tr><td>a</td><td>{CHINESE}</td></tr></table>".encode()) == (
        f"a\t{CHINESE}"
    )
    assert server.text("table.xls", f"a\t{CHINESE}\n".encode("gbk")) == f"a\t{CHINESE}\n"
    rich = (
        b"{\\rtf1\\ansi\\ansicpg936\\f0 "
        + b"".join(b"\\'%02x" % byte for byte in CHINESE.encode("gbk"))
        + b" fox\\par}"
    )
    assert server.text("rich.doc", rich) == f"{CHINESE} fox\n"
    assert server.text("rich.txt", rich) == rich.decode()


def changed(content: bytes, position: int, new: bytes) -> bytes:
    assert position >= 0
    return content[:position] + new + content[position + len(new) :]


def encrypted_doc() -> bytes:
    """Return the letter with its FIB's flag for encryption set."""
    at = LETTER.find(b"\xec\xa5") + 0x0A
    return changed(LETTER, at, bytes([LETTER[at], LETTER[at + 1] | 1]))


def encrypted_xls() -> bytes:
    """Return the sheet with the record after its beginning turned into the one that tells of a password."""
    at = PRICES.find(b"\x09\x08\x10\0")
    return changed(PRICES, at + 20, b"\x2f\0")


def encrypted_ppt() -> bytes:
    return TALK.replace(struct.pack("<I", 0xE391C05F), struct.pack("<I", 0xF3D1C4DF), 1)


def with_password(save) -> bytes:
    """Return an Office file of today under a real password."""
    plain, protected = io.BytesIO(), io.BytesIO()
    save(plain)
    plain.seek(0)
    msoffcrypto.format.ooxml.OOXMLFile(plain).encrypt("secret", protected)
    return protected.getvalue()


def empty_deck(stream) -> None:
    Presentation().save(stream)


PROTECTED = {
    "a.doc": encrypted_doc,
    "a.xls": encrypted_xls,
    "a.ppt": encrypted_ppt,
    "a.docx": lambda: with_password(docx.Document().save),
    "a.xlsx": lambda: with_password(openpyxl.Workbook().save),
    "a.pptx": lambda: with_password(empty_deck),
}


@pytest.mark.parametrize("name", PROTECTED)
def test_a_password_is_told_in_the_log_only(server, name):
    refused(server, name, PROTECTED[name](), "protected by a password")


BROKEN = {
    "only a head": lambda: LETTER[:512],
    "half a doc": lambda: LETTER[: len(LETTER) // 2],
    "half a sheet": lambda: PRICES[: len(PRICES) // 2],
    "half a talk": lambda: TALK[:4096],
    "no such container": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\xff" * 4096,
    "nothing but a magic number": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("extension", ["doc", "xls", "ppt"])
def test_a_broken_container_has_no_text(server, what, extension):
    answer = server.upload(f"a.{extension}", BROKEN[what]())
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, NO_TEXT)


@pytest.mark.parametrize(("name", "content"), [("a.doc", LETTER), ("a.xls", PRICES), ("a.ppt", TALK)])
def test_flipped_bytes_are_read_or_refused(server, name, content):
    """Whatever a damaged file gives, it is a clean answer, and soon."""
    chance = random.Random(name)
    for _ in range(5):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        answer = server.upload(name, bytes(damaged))
        assert answer.status_code in (200, 400, 500), answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]["message"].startswith((NO_TEXT, "Failed to extract file: "))


def test_a_talk_whose_saves_go_round_in_a_circle(server):
    """The newest save names itself as the one before it."""
    at = TALK.find(struct.pack("<HI", 0x0FF5, 28)) - 2
    user = TALK.find(struct.pack("<II", 0x14, 0xE391C05F))
    (offset,) = struct.unpack_from("<I", TALK, user + 8)
    text = server.text("a.ppt", changed(TALK, at + 16, struct.pack("<I", offset)))
    assert text.startswith("## Slide 1\nTitle 1")
