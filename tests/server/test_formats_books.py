"""Books, .epub and Kindle's, as Calibre, other people and our own writers make them; and what goes wrong with them."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest

from tests.documents import epub
from tests.documents.mobi import HUFFMAN, PALMDOC, PLAIN, book, combined, database, kf8, palmdoc, records
from tests.server.refused import refused

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
NOTE = ("A note to the reader", "recognition reads it:", "这张图片里有文字", "光学识别可以读出中文和英文")
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
LINES = [f"line {number} of a longer book 第{number}行" for number in range(600)]
HTML = f"<html><head><title>not shown</title></head><body><h1>{ENGLISH}</h1><p>{CHINESE}</p><mbp:pagebreak/>"
HTML += "".join(f"<p>{line}</p>" for line in LINES) + "</body></html>"


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


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


def test_books_that_are_wrongly_called_western(server):
    content = bytearray(book(f"<p>{ENGLISH}</p><p>{CHINESE}</p>", title="Title"))
    at = content.index(struct.pack(">I", 65001), 78)
    content[at : at + 4] = struct.pack(">I", 1252)
    assert lines(server.text("a.mobi", bytes(content))) == ["Title", ENGLISH, CHINESE]


@pytest.mark.parametrize("position", [0, 70_000])
def test_texts_of_palm_pilots(server, position):
    text = f"{ENGLISH}\n{CHINESE}\n" * 300
    assert server.text("a.mobi", palmdoc(text.encode("gbk"), position)) == text


@pytest.mark.parametrize("encryption", [1, 2])
def test_drm_is_respected(server, encryption):
    refused(server, "a.mobi", book(HTML, encryption=encryption), r"\(DRM\)")


def bomb() -> bytes:
    """Return records of matches that unpack to far more than any book has."""
    record = b"\x01a" + struct.pack(">H", 0x8000 | 1 << 3 | 7) * 400_000
    head = bytearray(book("x")[78 + 8 * 2 + 2 :][:268])
    struct.pack_into(">HHIHHH", head, 0, PALMDOC, 0, 2**31, 12, 4096, 0)
    return database([bytes(head), *[record] * 12])


BROKEN = {
    "only a head": lambda: book(HTML)[:70],
    "no records": lambda: database([]),
    "half": lambda: book(HTML)[:200],
    "a phrase that is packed of itself": lambda: book(HTML, compression=HUFFMAN, circle=True),
    "a bomb": bomb,
    "unknown packing": lambda: book(HTML, compression=3),
    "no codes": lambda: book(HTML, compression=HUFFMAN).replace(b"HUFF", b"HAFF"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_book_has_no_text(server, what):
    answer = server.upload("a.mobi", BROKEN[what]())
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, NO_TEXT)


OTHERS = {
    "topaz": (b"TPZ0" + bytes(200), "it is of a kind that is not read"),
    "kfx": (b"CONT\2\0" + bytes(200), "it is of a kind that is not read"),
    "kfx under drm": (b"\xeaDRMION\xee" + bytes(200), "(DRM)"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_books_of_the_kindle_are_told_apart(server, what):
    content, why = OTHERS[what]
    refused(server, "a.mobi", content, re.escape(why))
    assert server.text("a.txt", b"CONTENTS, and TPZ") == "CONTENTS, and TPZ"


ROWS = (f"<tr><td>{ENGLISH}</td><td>{CHINESE}</td></tr>", "<tr><td>second row</td></tr>")
TABLE = "<html><head><title>no</title></head><body><table></table><p>after the table</p></body></html>"
PAGES = [
    (TABLE, [(TABLE.index("</table>"), ROWS[0]), (TABLE.index("</table>") + len(ROWS[0].encode()), ROWS[1])]),
    ("<html><body></body></html>", [(12, '<p>page two</p><img src="kindle:flow:0001?mime=image/svg+xml"/>')]),
]
FLOWS = ["<svg><text>drawn 画出来的</text></svg>", "p { color: red }"]
KF8 = ["The Book 书", f"{ENGLISH}\t{CHINESE}", "second row", "after the table", "page two", "drawn 画出来的"]


def test_the_pages_of_kf8_are_put_together(server):
    assert lines(server.text("a.mobi", database(kf8(PAGES, FLOWS)))) == KF8


def old_half(text: str) -> list[bytes]:
    return records(f"<p>{text}</p>", properties={100: "某人".encode(), 121: bytes(4), 503: b"Another &amp; title"})


def test_of_two_halves_the_better_one_is_read(server):
    assert lines(server.text("a.mobi", combined(old_half("the old half"), kf8(PAGES, FLOWS)))) == [
        "Another & title",
        *KF8[1:],
    ]


@pytest.mark.parametrize("boundary", [1, 2, 0x7FFFFFFF, 0xFFFFFFFF])
def test_where_there_is_no_second_half_the_first_one_is_read(server, boundary):
    content = combined(old_half("the old half"), kf8(PAGES, FLOWS), boundary)
    assert lines(server.text("a.mobi", content)) == ["Another & title", "the old half"]


def test_fragments_that_are_not_where_they_should_be_are_read_in_order(server):
    text = server.text("a.mobi", database(kf8(PAGES, FLOWS, skip=1_000_000)))
    found = [text.index(words) for words in (ENGLISH, CHINESE, "second row", "page two", "drawn 画出来的")]
    assert found == sorted(found)
    assert text.count(ENGLISH) == 1


def overlapping() -> bytes:
    """Return a book of 60,000 records, of which every second one is the same half a megabyte, as long as none."""
    parts = records("x" * 500, compression=HUFFMAN)
    head = bytearray(parts[0])
    struct.pack_into(">H", head, 8, 60_000)
    struct.pack_into(">I", head, 0x70, 60_001)  # where the codes are
    start = 78 + 8 * 60_003 + 2
    first, codes = start + len(head), start + len(head) + 500_000
    phrases = codes + len(parts[2])
    table = [start, *[first, codes] * 30_000, codes, phrases]
    content = database([])[:76] + struct.pack(">H", len(table))
    content += b"".join(struct.pack(">II", at, 0) for at in table) + b"\0\0"
    return content.ljust(start, b"\0") + bytes(head) + b"\xff" * 500_000 + parts[2] + parts[3]


def test_records_that_lie_on_one_another_are_not_read_again_and_again(server):
    refused(server, "a.mobi", overlapping(), "it is damaged")


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


# ---- epub ------------------------------------------------------------------------------------------------------

ONE, TWO = f"<p>{ENGLISH}</p>", f"<p>{CHINESE}</p>"
OPF = "OEBPS/book.opf"
#: Books whose chapters are found, and in order, however they are referred to.
EPUBS = {
    "as it should be": lambda: epub.book({"a.xhtml": epub.page(ONE), "text/b.xhtml": epub.page(TWO)}),
    "escaped names": lambda: odd(epub.item("a", "one%20%E4%B8%80.xhtml") + epub.item("b", "b.xhtml#start"), "a b"),
    "names of another case": lambda: odd(epub.item("a", "ONE 一.XHTML") + epub.item("b", "B.xhtml"), "a b"),
    "dots and absolute": lambda: odd(
        epub.item("a", "../OEBPS/./one 一.xhtml") + epub.item("b", "/OEBPS/b.xhtml"), "a b"
    ),
    "wrong folder": lambda: odd(epub.item("a", "Text/one 一.xhtml") + epub.item("b", "Text/b.xhtml"), "a b"),
    "twice in the spine": lambda: odd(epub.item("a", "one 一.xhtml") + epub.item("b", "b.xhtml"), "a b a"),
    "no spine": lambda: odd(epub.item("a", "one 一.xhtml") + epub.item("b", "b.xhtml"), ""),
    "a spine of what is not there": lambda: odd(epub.item("a", "one 一.xhtml") + epub.item("b", "b.xhtml"), "x y"),
    "no manifest": lambda: epub.zipped(
        {
            epub.CONTAINER: epub.container(OPF),
            OPF: epub.package("", ""),
            "OEBPS/10.html": epub.page(TWO),
            "OEBPS/9.html": epub.page(ONE),
        }
    ),
    "several renditions": lambda: epub.zipped(
        {
            epub.CONTAINER: epub.container("gone.opf", OPF, "other/book.opf"),
            OPF: epub.package(epub.item("a", "a.xhtml"), epub.references("a")),
            "other/book.opf": epub.package(epub.item("a", "a.xhtml"), epub.references("a")),
            "OEBPS/a.xhtml": epub.page(ONE + TWO),
            "other/a.xhtml": epub.page("<p>another rendition</p>"),
        }
    ),
    "no container": lambda: epub.zipped(
        {
            "mimetype": "application/epub+zip\n",
            OPF: epub.package(epub.item("a", "a.xhtml"), epub.references("a")),
            "OEBPS/a.xhtml": epub.page(ONE + TWO),
        }
    ),
    "its folder packed with it": lambda: epub.zipped(
        {
            "__MACOSX/book/._a.xhtml": b"\0\5\x16\7",
            "book/" + epub.CONTAINER: epub.container(OPF),
            "book/" + OPF: epub.package(epub.item("a", "a.xhtml"), epub.references("a")),
            "book/OEBPS/a.xhtml": epub.page(ONE + TWO),
        }
    ),
    "other prefixes, a document type, no good XML": lambda: epub.zipped(
        {
            epub.CONTAINER: '<c:container xmlns:c="urn:x"><c:rootfile full-path="book.opf"/></c:container>',
            "book.opf": '<!DOCTYPE package PUBLIC "+//ISBN 0-9673008-1-9//DTD OEB 1.2 Package//EN" "oebpkg12.dtd">'
            '<opf:package xmlns:opf="http://openebook.org/namespaces/oeb-package/1.0/"><opf:metadata>'
            "<DC:Title>The Book 书</DC:Title><x>Tom & Jerry</x></opf:metadata>"
            '<opf:manifest><!-- <opf:item id="c" href="c.html"/> --><opf:item href="a.html" id="a" '
            'media-type="text/x-oeb1-document"></opf:item></opf:manifest><opf:spine><opf:itemref idref="a"/>',
            "a.html": f"<HTML><BODY>{ONE}{TWO}",
        }
    ),
    "a page that stands in for a picture": lambda: odd(
        epub.item("p", "p.png", "image/png", 'fallback="a"')
        + epub.item("a", "one 一.xhtml")
        + epub.item("b", "b.xhtml"),
        "p b",
    ),
    "fallbacks in a circle": lambda: odd(
        epub.item("p", "p.png", "image/png", 'fallback="q"')
        + epub.item("q", "q.png", "image/png", 'fallback="p"')
        + epub.item("a", "one 一.xhtml")
        + epub.item("b", "b.xhtml"),
        "p a b",
    ),
    "drawings as pages": lambda: epub.book(
        {
            "a.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><text>{ENGLISH}</text><text>{CHINESE}</text></svg>',
        }
    ),
    "entities, broken and in another encoding": lambda: epub.book(
        {
            "a.xhtml": f'<?xml version="1.0" encoding="gb2312"?><html><head><title>x</head><body><p>{ENGLISH}<br><p>'
            f"{CHINESE}".encode("gbk")
        }
    ),
    "fonts spoilt for other books": lambda: epub.book(
        {"a.xhtml": epub.page(ONE + TWO)},
        {
            "OEBPS/f.otf": b"font",
            "OEBPS/g.otf": b"font",
            epub.ENCRYPTION: epub.encrypted("http://www.idpf.org/2008/embedding", "OEBPS/f.otf", "OEBPS/a.xhtml")
            + epub.encrypted("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "OEBPS/g.otf"),
            "META-INF/rights.xml": "<rights>all reserved</rights>",
        },
    ),
}


def odd(items: str, spine: str) -> bytes:
    """Return a book of two chapters under names that are hard to refer to."""
    return epub.zipped(
        {
            epub.CONTAINER: epub.container(OPF),
            OPF: epub.package(items, epub.references(*spine.split())),
            "OEBPS/one 一.xhtml": epub.page(ONE),
            "OEBPS/b.xhtml": epub.page(TWO),
        }
    )


@pytest.mark.parametrize("what", EPUBS)
def test_the_chapters_of_a_book_are_found(server, what):
    assert lines(server.text("a.epub", EPUBS[what]())) == ["The Book 书", ENGLISH, CHINESE]


def test_what_is_aside_comes_after(server):
    items = epub.item("a", "a.xhtml") + epub.item("b", "b.xhtml") + epub.item("n", "n.xhtml")
    items += epub.item("t", "t.xhtml") + epub.item("u", "unused.xhtml")
    items += epub.item("ncx", "toc.ncx", "application/x-dtbncx+xml")
    spine = f'<itemref idref="n" linear="no"/>{epub.references("b", "a")}'
    content = {
        epub.CONTAINER: epub.container(OPF),
        OPF: epub.package(items, spine),
        "OEBPS/toc.ncx": '<ncx><navMap><navPoint><navLabel><text>x</text></navLabel><content src="b.xhtml#x"/>'
        '<content src="t.xhtml"/></navPoint></navMap></ncx>',
    }
    for name in ("a", "b", "n", "t", "unused"):
        content[f"OEBPS/{name}.xhtml"] = epub.page(f"<p>page {name}</p>")
    text = server.text("a.epub", epub.zipped(content))
    assert lines(text) == ["The Book 书", "page b", "page a", "page n", "page t"]


def test_a_chapter_that_is_damaged_takes_no_other_with_it(server):
    content = bytearray(epub.book({"a.xhtml": epub.page(ONE), "b.xhtml": b"stored", "c.xhtml": epub.page(TWO)}))
    at = content.find(b"OEBPS/b.xhtml") + len("OEBPS/b.xhtml")
    content[at] ^= 0xFF
    text = server.text("a.epub", bytes(content))
    assert lines(text)[:3] == ["The Book 书", ENGLISH, CHINESE]
    assert text.endswith("[The text is cut here: 1 of its chapters are damaged.]")


def test_a_package_that_is_damaged_leaves_the_chapters(server):
    content = bytearray(epub.book({"1.xhtml": epub.page(ONE), "2.xhtml": epub.page(TWO)}))
    at = content.find(b"OEBPS/book.opf") + len("OEBPS/book.opf")
    content[at] ^= 0xFF
    assert lines(server.text("a.epub", bytes(content))) == [ENGLISH, CHINESE]


@pytest.mark.parametrize("alternative", ["", "page 1"])
def test_a_book_of_pictures_of_pages(server, alternative):
    page = epub.page(f'<div><img src="../img/n%20ote.png" alt="{alternative}"/></div>')
    cover = '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="../img/n%20ote.png"/></svg>'
    content = epub.book(
        {"text/a.xhtml": epub.page(cover), "text/b.xhtml": page},
        {"OEBPS/img/n ote.png": (SAMPLES / "note.png").read_bytes()},
    )
    text = server.text("a.epub", content)
    assert [line for line in NOTE if line.lower() not in text.lower()] == []
    assert text.count(NOTE[2]) == 1


AES = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
LOCKED = {
    "Adobe": {
        epub.ENCRYPTION: epub.encrypted("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/a%20b.xhtml"),
        "META-INF/rights.xml": '<adept:rights xmlns:adept="http://ns.adobe.com/adept"/>',
    },
    "Adobe, its rights only": {"META-INF/rights.xml": '<a:rights xmlns:a="http://ns.adobe.com/adept"/>'},
    "LCP": {epub.ENCRYPTION: epub.encrypted(AES, "OEBPS/a%20b.xhtml"), "META-INF/license.lcpl": "{}"},
    "Apple": {"META-INF/sinf.xml": '<fairplay:sinf xmlns:fairplay="http://itunes.apple.com/dataenc"/>'},
    "unknown": {epub.ENCRYPTION: epub.encrypted("urn:unknown", "/OEBPS/A b.xhtml")},
}


@pytest.mark.parametrize("whose", LOCKED)
def test_the_drm_of_an_epub_is_respected(server, whose):
    locked = epub.book({"a b.xhtml": epub.page("<p>looks like text</p>")}, LOCKED[whose])
    refused(server, "a.epub", locked, r"\(DRM\)")


def test_a_book_without_a_word_is_empty(server):
    refused(server, "a.epub", epub.book({"a.xhtml": epub.page("<p> </p>")}), "it holds no text")


def laughing() -> str:
    entities = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10))
    return f'<!DOCTYPE html [<!ENTITY a "ha">{entities}]>'


def test_entities_of_a_book_stay_where_they_are(server):
    content = epub.page(f"{ONE}<p>&k;</p>").replace("<!DOCTYPE html>", laughing())
    outside = epub.page(f"{TWO}<p>&x;</p>").replace(
        "<!DOCTYPE html>", '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    )
    text = server.text("a.epub", epub.book({"a.xhtml": content, "b.xhtml": outside}))
    assert lines(text) == ["The Book 书", ENGLISH, "&k;", CHINESE, "&x;"]


def test_a_spine_of_100_000_chapters(server):
    """It is one chapter, over and over: to read it each time would take longer than there is."""
    members = {
        epub.CONTAINER: epub.container(OPF),
        OPF: epub.package(epub.item("a", "a.xhtml"), epub.references("a") * 100_000),
        "OEBPS/a.xhtml": epub.page(ONE),
    }
    assert lines(server.text("a.epub", epub.zipped(members))) == ["The Book 书", ENGLISH]
