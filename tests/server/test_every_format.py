"""A row for each extension of the official page; each also cut short, and under every other name."""

from __future__ import annotations

import gzip
import random

import pytest

from moonfs import wire
from moonfs.server.extraction.registry import choose
from moonfs.server.media import media_type
from tests.documents.every import EVERY, PLAIN

NO_TEXT = "text extract error: 没有解析出内容"
UNSUPPORTED = "text extract error: 不支持的文件类型"
#: What begins with a mark of its own; all else is text, as far as its bytes tell.
MARKED = sorted(set(EVERY) - PLAIN)
#: What can be told without a name: a gzip file may hold anything.
KNOWN = sorted({*MARKED, ".html", ".svg"} - {".svgz"})
DAMAGED = (".pdf", ".docx", ".xlsx", ".pptx", ".epub", ".svgz", ".png", ".gif", ".tiff", ".webp")


def is_clean(answer) -> bool:
    """Say whether an answer is a text, the observed 400, or the observed 500."""
    if answer.status_code == 200:
        return True
    message = answer.json()["error"]["message"]
    return (answer.status_code == 400 and message == NO_TEXT) or (
        answer.status_code == 500 and message.startswith("Failed to extract file: ")
    )


def test_every_extension_of_the_official_page_has_its_row():
    assert set(EVERY) == wire.EXTRACTABLE


@pytest.mark.parametrize("extension", sorted(EVERY))
def test_every_format(server, extension):
    make, expected = EVERY[extension]
    text = server.text(f"document{extension}", make())
    assert [words for words in expected if words.lower() not in text.lower()] == []


@pytest.mark.parametrize("extension", MARKED)
def test_bytes_go_before_names(server, extension):
    """Under every other name, the same reader is chosen for it; under one of them, it is read as what it is."""
    make, expected = EVERY[extension]
    content = make()
    kind = media_type(content)
    others = sorted(set(EVERY) - {extension})
    assert {choose(name, kind) for name in others} == {choose(extension, kind)}
    name = random.Random(extension).choice(others)
    text = server.text(f"wrong{name}", content)
    assert [words for words in expected if words.lower() not in text.lower()] == [], name


@pytest.mark.parametrize("extension", KNOWN)
def test_without_an_extension_bytes_are_the_name(server, extension):
    """LIVE: a PDF called `upload` was read."""
    make, expected = EVERY[extension]
    content = make()
    text = server.text("upload", content)
    assert [words for words in expected if words.lower() not in text.lower()] == []
    assert server.upload(f"{extension[1:]}.unknown", content).json()["error"]["message"] == UNSUPPORTED


@pytest.mark.parametrize("name", ["upload", ".env", "Makefile", "a."])
@pytest.mark.parametrize(
    "content", [b"text", b"all: <html>", gzip.compress(b"text", mtime=0), b"\x7fELF" + bytes(60), b"{\\rtf1 text}"]
)
def test_other_bytes_without_an_extension_are_of_no_type(server, name, content):
    """LIVE: text needs an extension; so does what could be anything, or is no format of the page."""
    assert server.upload(name, content).json()["error"]["message"] == UNSUPPORTED


@pytest.mark.parametrize("extension", MARKED)
def test_what_is_cut_short_is_read_or_refused(server, extension):
    content = EVERY[extension][0]()
    for eighth in range(1, 8):
        answer = server.upload(f"cut{extension}", content[: len(content) * eighth // 8])
        assert is_clean(answer), answer.text


@pytest.mark.parametrize("extension", sorted(EVERY))
def test_noise_is_read_or_refused(server, extension):
    chance = random.Random(extension)
    magic = EVERY[extension][0]()[:16]
    for size in (1, 7, 600, 5000):
        for content in (chance.randbytes(size), magic + chance.randbytes(size)):
            answer = server.upload(f"noise{extension}", content)
            assert is_clean(answer), answer.text


@pytest.mark.parametrize("extension", DAMAGED)
def test_flipped_bytes_are_read_or_refused(server, extension):
    chance = random.Random(extension)
    content = EVERY[extension][0]()
    for _ in range(6):
        damaged = bytearray(content)
        for _ in range(10):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        answer = server.upload(f"damaged{extension}", bytes(damaged))
        assert is_clean(answer), answer.text
