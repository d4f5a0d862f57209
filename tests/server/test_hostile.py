"""Broken, encrypted, mislabelled and malicious documents: each its exact answer, and a server none the worse."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import docx
import pypdf
import pytest
from PIL import Image

from moonfs.server.extraction.extractor import LIGHT
from tests.documents.packed import repeated
from tests.server.test_formats_pictures import png_bomb

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
MIB = 1024**2
CONTAINER = "META-INF/container.xml"


@pytest.fixture(scope="module", autouse=True)
def _none_the_worse(server):
    """After the whole set, the server's memory is where it was and its directories are clean."""
    server.upload("warm.txt", b"w" * 200_000)
    before = server.memory("VmRSS")
    yield
    assert server.memory("VmRSS") - before < 16 * MIB
    assert os.listdir(server.data / "incoming") == []
    assert server.text("after.txt", b"still here") == "still here"
    assert "Welcome" in server.text("after.pdf", (SAMPLES / "welcome.pdf").read_bytes() + b"\n%again\n")


def zipped(members: dict[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return stream.getvalue()


def word(body: str, head: str = "") -> bytes:
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    return zipped(
        {
            "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="a" Type="{relation}" Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'<?xml version="1.0"?>{head}<w:document xmlns:w="http://schemas.openxmlformats.org/'
            f'wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>{body}</w:t></w:r></w:p></w:body></w:document>',
        }
    )


def encrypted_pdf() -> bytes:
    writer = pypdf.PdfWriter(clone_from=str(SAMPLES / "welcome.pdf"))
    writer.encrypt("secret", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def blank_pdf() -> bytes:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(595, 842)
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def real_docx() -> bytes:
    stream = io.BytesIO()
    document = docx.Document()
    document.add_paragraph("text")
    document.save(stream)
    return stream.getvalue()


def encrypted_zip() -> bytes:
    """Return a zip whose members are flagged as encrypted, in both places that say so."""
    raw = bytearray(real_docx())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(magic)
        while at >= 0:
            raw[at + flags] |= 1
            at = raw.find(magic, at + 4)
    return bytes(raw)


def lying_zip() -> bytes:
    """Return a zip whose member inflates to far more than it declares."""
    raw = bytearray(zipped({"word/document.xml": b"<a>" + b"x" * 50 * MIB + b"</a>", CONTAINER: "<a/>"}))
    for magic, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = raw.find(magic)
        raw[at + size : at + size + 4] = struct.pack("<I", 100)
    return bytes(raw)


def blank_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (400, 300), "white").save(stream, "PNG")
    return stream.getvalue()


LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10))
    + "]>"
)
PASSWD = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'

BROKEN = {
    "encrypted.pdf": encrypted_pdf,
    "truncated.pdf": lambda: (SAMPLES / "welcome.pdf").read_bytes()[:600],
    "blank.pdf": blank_pdf,
    "text.pdf": lambda: b"this is no pdf",
    "header-only.pdf": lambda: b"%PDF-1.7\n",
    "truncated.docx": lambda: real_docx()[:-200],
    "half.docx": lambda: real_docx()[: len(real_docx()) // 2],
    "encrypted-as-office-does.docx": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 4096,
    "encrypted-as-zip-does.docx": encrypted_zip,
    "text.docx": lambda: b"this is no docx",
    "no-document.docx": lambda: zipped({"readme": "hello"}),
    "no-main-part.docx": lambda: zipped({"word/other.xml": "<a/>"}),
    "bomb.docx": lambda: zipped({"word/document.xml": b"\0" * 300 * MIB}),
    "many.docx": lambda: zipped({f"word/{n}": b"" for n in range(20_001)}),
    "lying.docx": lying_zip,
    "laughs.docx": lambda: word("&k;", LAUGHS),
    "outside.docx": lambda: word("&x;", PASSWD),
    "not-xml.xlsx": lambda: zipped({"xl/workbook.xml": "no xml", "[Content_Types].xml": "no xml"}),
    "not-xml.pptx": lambda: zipped({"ppt/presentation.xml": "no xml", "[Content_Types].xml": "no xml"}),
    "no-spine.epub": lambda: zipped({CONTAINER: "<container/>"}),
    "escape.epub": lambda: zipped({CONTAINER: '<c><rootfile full-path="../../../../etc/passwd"/></c>'}),
    "laughs.svg": f"{LAUGHS}<svg><text>&k;</text></svg>".encode,
    "outside.svg": f"{PASSWD}<svg><text>&x;</text></svg>".encode,
    "not-gzip.svgz": lambda: b"\x1f\x8b\x08 no gzip",
    "text.png": lambda: b"this is no png",
    "truncated.png": lambda: (SAMPLES / "note.png").read_bytes()[:200],
    "blank.png": blank_picture,
    "bomb.png": lambda: png_bomb(50_000),
    "heif.png": lambda: b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "video.txt": lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 20,
    "binary.py": lambda: bytes(range(256)) * 100,
    "empty.html": lambda: b"<html><script>alert(1)</script></html>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_document_that_cannot_be_read_has_no_text(server, name):
    before = server.ids()
    answer = server.upload(name, BROKEN[name]())
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == {"message": NO_TEXT, "type": "invalid_request_error"}
    assert server.ids() == before


def test_the_drm_of_a_book_is_respected(server):
    book = zipped(
        {
            CONTAINER: '<c><rootfile full-path="b.opf"/></c>',
            "META-INF/encryption.xml": '<e><CipherReference URI="a.xhtml"/></e>',
            "b.opf": '<p><manifest><item id="a" href="a.xhtml"/></manifest><spine><itemref idref="a"/></spine></p>',
            "a.xhtml": "<p>looks like text, and is not</p>",
        }
    )
    assert server.upload("drm.epub", book).json()["error"]["message"] == NO_TEXT


def test_two_hundred_thousand_nested_divs(server):
    page = b"<div>" * 200_000 + "深处 deep down".encode() + b"</div>" * 200_000
    assert server.text("deep.html", page) == "深处 deep down"


def test_a_sheet_of_too_many_cells_says_that_it_is_cut(server):
    """At the real limit; of most of its cells nothing is written, which counts as they do and is read sooner."""
    rows = "".join(
        f'<row r="{n}">' + "<c><v>1</v></c>" * 3 + f'<c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 301)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    book = zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Override PartName="/xl/workbook.xml"'
            f' ContentType="{sheet}.sheet.main+xml"/><Override PartName="/xl/s.xml"'
            f' ContentType="{sheet}.worksheet+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="a"'
            f' Target="xl/workbook.xml" Type="{office}/officeDocument"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="S" sheetId="1"'
            ' r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
            f' Target="s.xml" Type="{office}/worksheet"/></Relationships>',
            "xl/s.xml": f'<worksheet xmlns="{main}"><dimension ref="A1:XFD1048576"/><sheetData>{rows}'
            "</sheetData></worksheet>",
        }
    )
    text = server.text("cells.xlsx", book)
    assert text.startswith("## S\n1\t1\t1")
    assert text.endswith("\n\n[The text is cut here: only the first 2,000,000 cells are kept.]")
    assert 1_900_000 < text.count("\t") < 2_100_000


def test_a_sparse_sheet_that_claims_to_be_huge(server):
    import openpyxl

    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "first", "last"
    stream = io.BytesIO()
    book.save(stream)
    text = server.text("sparse.xlsx", stream.getvalue())
    assert text.split() == ["##", "Sheet", "first", "last"]


def test_a_pdf_bomb_ends_one_request_only(launch):
    """A page content that inflates to 3 GB of operators, where a reader has a quarter of the memory that it has."""
    server = launch(light={"workers": 1, "memory_bytes": LIGHT.memory_bytes // 4})
    packed = zlib.compress(repeated(b"0 0 m " * (MIB // 6), 100), 9)
    stream = f"<< /Length {len(packed)} /Filter [/FlateDecode /FlateDecode] >>\nstream\n".encode() + packed
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [" + b"3 0 R " * 30 + b"] /Count 30 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents [" + b"4 0 R " * 30 + b"] >>",
        stream + b"\nendstream",
    ]
    body = b"%PDF-1.7\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, text) for n, text in enumerate(objects, 1))
    answer = server.upload("bomb.pdf", body + b"trailer << /Root 1 0 R /Size 5 >>\n")
    error = answer.json()["error"]
    if answer.status_code == 400:
        assert error["message"] == NO_TEXT
    else:
        assert (answer.status_code, error["type"]) == (500, "server_error")
        assert error["message"].startswith("Failed to extract file: ")
    assert "Welcome" in server.text("after.pdf", (SAMPLES / "welcome.pdf").read_bytes())
