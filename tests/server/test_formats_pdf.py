"""PDFs whose text is known: layers that are real, that can be mended, that lie, that are missing; and hostile ones."""

from __future__ import annotations

import io
import json
import re
import time

import pypdf
import pytest
from PIL import Image
from pypdf.annotations import FreeText, Text

from moonfs.server.extraction import pdf
from moonfs.server.extraction.document import Document, Full, NeedsOcr, Output
from tests.documents.every import DRAWN, short_note
from tests.server.refused import refused
from tests.server.samples import SAMPLES
from tests.server.test_formats_pictures import drawn, missing, stored

WELCOME = (SAMPLES / "welcome.pdf").read_bytes()
WELCOME_LINES = [
    "Welcome to moonfs",
    "Every file of your account is a file in this folder.",
    "Copy a document in, and read its text beside it:",
    "cat welcome.pdf.content",
    "欢迎使用月球文件盘",
    "把文档拷贝进来，旁边就是它的文字内容。",
    "删除文件就是从账户里删除。",
]
MINUTES = "The committee met on Tuesday, 14 May, to discuss the budget of 3,482,000 francs."


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def saved(writer: pypdf.PdfWriter) -> bytes:
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def made(objects: list[bytes]) -> bytes:
    """Return a PDF of numbered objects, the first being its catalog."""
    document, table = b"%PDF-1.7\n", b""
    for number, content in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(document)
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    end = b"trailer << /Root 1 0 R /Size %d >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(document))
    return document + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table) + end


def text_page(rows: list[list[bytes]], mode: int = 0, size: tuple[int, int] = (595, 842)) -> bytes:
    """Return a PDF of one page in Helvetica, 150 points between two cells of a row."""
    content = f"BT /F 11 Tf {mode} Tr\n".encode()
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            codes = b"".join(b"\\%03o" % code for code in cell)
            content += b"1 0 0 1 %d %d Tm (%s) Tj\n" % (40 + column * 150, size[1] - 60 - row * 16, codes)
    return made(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R /Resources << /Font << /F"
            b" << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % size,
            b"<< /Length %d >>\nstream\n%s ET\nendstream" % (len(content), content),
        ]
    )


#: Of a scan, in points.
SCAN = (250, 149)


def scan(turn: int = 0) -> bytes:
    """Return a picture of `DRAWN`, below a margin that is wide enough for a stamp."""
    page = Image.new("L", (520, 310), "white")
    page.paste(short_note(), (0, 160))
    return stored(page.rotate(turn, expand=True), "PDF", resolution=150)


def scan_under(text: bytes) -> bytes:
    """Return a scan with a page of text laid over it."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(scan()))
    writer.pages[0].merge_page(pypdf.PdfReader(io.BytesIO(text)).pages[0])
    return saved(writer)


def joined(*documents: bytes) -> bytes:
    writer = pypdf.PdfWriter()
    for document in documents:
        writer.append(io.BytesIO(document))
    return saved(writer)


def with_other_unicode(other) -> bytes:
    """Return the sample with a font that says of each character that it is another one."""
    map_entry = re.compile(rb"(<[0-9A-F]{4}> )<([0-9A-F]{4})>(?=\n)")
    return map_entry.sub(lambda found: found[1] + b"<%04X>" % other(int(found[2], 16)), WELCOME)


# ---- layers that are real -------------------------------------------------------------------------------------


def test_a_text_layer(server):
    answer = server.upload("welcome.pdf", WELCOME)
    body = server.client.get(f"/files/{answer.json()['id']}/content").json()
    assert lines(body["content"]) == WELCOME_LINES
    assert "\r" not in body["content"]
    assert body["file_type"] == "application/pdf"


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_pages_that_are_to_be_shown_turned(server, turn):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(WELCOME))
    writer.pages[0].rotate(turn)
    assert lines(server.text("turned.pdf", saved(writer))) == WELCOME_LINES


@pytest.mark.parametrize("matrix", [b"0 1 -1 0 500 100", b"0 -1 1 0 100 700", b"-1 0 0 -1 500 700"])
@pytest.mark.parametrize("turn", [0, 90])
def test_lines_that_lie_on_the_page(server, matrix, turn):
    """A wide table, say, that was set sideways; whether the page is to be shown turned or not."""
    content = b"BT /F 12 Tf %s Tm 16 TL (The first of all lines) Tj T* (the second one) Tj T* (last) Tj ET" % matrix
    page = text_page([]).replace(b"BT /F 11 Tf 0 Tr\n ET", content).replace(b"/Length 17", b"/Length %d" % len(content))
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(page))
    writer.pages[0].rotate(turn)
    assert lines(server.text("lying.pdf", saved(writer))) == ["The first of all lines", "the second one", "last"]


def test_wide_gaps_in_a_row_are_tabs(server):
    rows = [[b"Item", b"Unit price", b"Sum"], [b"Blue pens", b"1.50", b"18.00"], [b"after the table, in one piece"]]
    assert lines(server.text("table.pdf", text_page(rows))) == [
        "Item\tUnit price\tSum", "Blue pens\t1.50\t18.00", "after the table, in one piece",
    ]  # fmt: skip


PECULIAR = {
    "code": ["int main(int argc, char **argv) {", "for (i = 0; i < n; i++) printf(xs[i]);", "return EXIT_SUCCESS; }"],
    "numbers": ["1.2 3.4 5.6 7.8 9.0 11.2 13.4", "4711 0815 2041 7734 9935 1024"],
    "parts": ["RTX-4090 BKHXQ-11 PN:77-XKCD", "SKU QWRT-5521-ZZ LM317T NE555P", "HX711 WVXJ-20 KLMQ-7"],
    "capitals": ["ALL RIGHTS RESERVED. NO PART OF THIS BOOK", "MAY BE REPRODUCED IN ANY FORM"],
    "base64": ["SGVsbG8gd29ybGQsIHRoaXMgaXMgYmFzZTY0IHRl", "eHQgb2YgYW55IGtpbmQgYW5kIGxlbmd0aCB0aGF0"],
    "alphabet": ["ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"],
    "polish": ["W dniu 5 maja odbyło się zebranie w sprawie"],
}


@pytest.mark.parametrize("kind", PECULIAR)
def test_peculiar_text_stays_as_it_is(server, kind):
    rows = [[line.replace("ł", "l").replace("ę", "e").encode()] for line in PECULIAR[kind]]
    assert lines(server.text("a.pdf", text_page(rows))) == [row[0].decode() for row in rows]


def test_ligatures_radicals_and_hyphens_become_letters(server):
    """Some fonts say so; nobody finds `file` or 文 in such a text."""
    swaps = {ord("文"): 0x2F42, ord("里"): 0x2FA5, ord("长"): 0x2ED3}
    text = server.text("radicals.pdf", with_other_unicode(lambda code: swaps.get(code, code)))
    assert lines(text) == WELCOME_LINES
    text = server.text("ligatures.pdf", with_other_unicode(lambda code: 0xFB01 if code == ord("v") else code))
    assert "Efiery file of your account" in text


def test_a_page_of_a_word_needs_no_ocr(tmp_path):
    path = tmp_path / "document"
    path.write_bytes(text_page([[b"Thanks"]]))
    stream = io.BytesIO()
    output = Output(stream)
    pdf.read(Document(str(path), ".pdf", None, time.monotonic() + 60), output)
    output.close()
    assert json.loads(stream.getvalue()) == "Thanks\n\n"


# ---- layers that are shifted, or no text at all ---------------------------------------------------------------


@pytest.mark.parametrize("shift", [29, 31])
def test_shifted_letters_are_shifted_back(server, shift):
    """Beside a line in a font that needs no mending."""
    shifted = [bytes(ord(letter) - shift for letter in line) for line in (MINUTES, "Herausgeber und Verlag")]
    text = server.text("shifted.pdf", text_page([[b"A plain heading"], *([line] for line in shifted)]))
    assert lines(text) == ["A plain heading", MINUTES, "Herausgeber und Verlag"]


def test_a_page_of_shifted_digits_is_read_as_the_page_before_it(server):
    pages = [text_page([[bytes(ord(letter) - 29 for letter in line)]]) for line in (MINUTES, "20417 9935")]
    assert lines(server.text("shifted.pdf", joined(*pages))) == [MINUTES, "20417 9935"]


def test_a_font_that_was_renumbered_is_recognised(server):
    """Its codes stand for the glyphs of this document alone; what the page shows is the only truth."""
    assert lines(server.text("no-map.pdf", WELCOME.replace(b"/ToUnicode 8 0 R", b""))) == WELCOME_LINES


@pytest.mark.parametrize(
    "other",
    [
        lambda code: 0xE000 + code % 0x1000,
        lambda code: 0x0001 + code % 25,
        lambda code: 0x4E00 + code * 7919 % 0x5000,
        lambda code: 0x0180 + code * 7919 % 0x3000,
    ],
    ids=["private", "controls", "rare Chinese", "all scripts"],
)
def test_a_layer_of_nonsense_is_left_to_ocr(tmp_path, other):
    """What OCR then makes of the page is shown of the font that was renumbered; here, it is told."""
    path = tmp_path / "document"
    path.write_bytes(with_other_unicode(other))
    stream = io.BytesIO()
    output = Output(stream)
    with pytest.raises(NeedsOcr):
        pdf.read(Document(str(path), ".pdf", None, time.monotonic() + 60), output)
    seen = "\n".join(WELCOME_LINES)
    pdf.read(Document(str(path), ".pdf", lambda _: seen, time.monotonic() + 60), output)
    output.close()
    assert lines(json.loads(stream.getvalue())) == WELCOME_LINES


# ---- pictures of pages ----------------------------------------------------------------------------------------


def test_each_page_is_read_its_own_way(server):
    text = server.text("mixed.pdf", joined(WELCOME, scan(), text_page([[b"and the last page"]])))
    assert lines(text)[:7] == WELCOME_LINES
    assert missing(text, DRAWN) == []
    assert lines(text)[-1] == "and the last page"


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_scans_that_lie(server, turn):
    text = server.text(f"lying-{turn}.pdf", scan(turn))
    assert missing(text, DRAWN) == []
    assert text.index(DRAWN[0]) < text.index(DRAWN[1])


def test_a_scan_that_is_to_be_shown_turned(server):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(scan(90)))
    writer.pages[0].rotate(90)
    assert DRAWN[1] in server.text("upright-again.pdf", saved(writer))


def test_a_stamp_over_a_scan_hides_nothing(server):
    text = server.text("stamped.pdf", scan_under(text_page([[b"scanned by SomeScanner 7"]], size=SCAN)))
    assert missing(text, DRAWN) == []
    assert text.count("scanned by SomeScanner 7") == 1


def test_a_layer_of_blanks_is_none(server):
    text = server.text("blanks.pdf", scan_under(text_page([[b"  "], [b" "]], size=SCAN)))
    assert missing(text, DRAWN) == []


def test_the_invisible_layer_of_another_ocr_is_taken(server):
    layer = text_page([[b"what another program recognised"]], mode=3, size=SCAN)
    assert lines(server.text("searchable.pdf", scan_under(layer))) == ["what another program recognised"]


def test_pages_under_ocr_are_counted(tmp_path):
    path = tmp_path / "document"
    path.write_bytes(joined(scan(), WELCOME, scan()))
    told: list[tuple[int, int]] = []
    stream = io.BytesIO()
    output = Output(stream)
    with pytest.raises(NeedsOcr):
        pdf.read(Document(str(path), ".pdf", None, time.monotonic() + 60), output)
    pdf.read(Document(str(path), ".pdf", lambda _: "seen", time.monotonic() + 60, lambda *at: told.append(at)), output)
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("with_ocr", [True, False])
def test_a_late_document_says_that_it_is_cut(tmp_path, with_ocr):
    path = tmp_path / "document"
    path.write_bytes(joined(WELCOME, scan()) if with_ocr else WELCOME)
    stream = io.BytesIO()
    output = Output(stream)
    now = time.monotonic()
    output.add("before\n")
    try:
        pdf.read(Document(str(path), ".pdf", (lambda _: "seen") if with_ocr else None, now - 1), output)
    except Full:
        pass
    output.close()
    text = json.loads(stream.getvalue())
    why = "recognising all its pages took too long" if with_ocr else "reading it took too long"
    assert text.endswith(f"[The text is cut here: {why}.]")
    assert ("Welcome" in text) == with_ocr, "layers cost nothing, so they are read to the end"
    assert "seen" not in text


# ---- forms and comments ---------------------------------------------------------------------------------------


def form() -> bytes:
    def field(number: int, more: bytes) -> bytes:
        return (
            b"<< /Type /Annot /Subtype /Widget /Parent %d 0 R /P 3 0 R /Rect [40 %d 200 %d] /F 4 %s >>"
            % (number, 700 - number * 30, 720 - number * 30, more)
        )  # fmt: skip

    name = "姓名".encode("utf-16-be").hex().encode()
    value = "爱达 Ada".encode("utf-16-be").hex().encode()
    content = b"BT /F 11 Tf 40 750 Td (An application form, to be filled in) Tj ET"
    return made(
        [
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R 8 0 R 10 0 R] >> >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Annots [7 0 R 9 0 R 11 0 R]"
            b" /Resources << /Font << /F 5 0 R >> >> >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            b"<< /FT /Tx /T <FEFF%s> /V <FEFF%s> /Kids [7 0 R] >>" % (name, value),
            field(6, b""),
            b"<< /FT /Btn /T (agree) /TU (I agree) /V /Yes /Kids [9 0 R] >>",
            field(8, b"/AS /Yes /AP << /N << /Yes 5 0 R /Off 5 0 R >> >>"),
            b"<< /FT /Btn /T (refuse) /V /Off /Kids [11 0 R] >>",
            field(10, b"/AS /Off /AP << /N << /Yes 5 0 R /Off 5 0 R >> >>"),
        ]
    )


def test_what_is_filled_into_a_form(server):
    assert lines(server.text("form.pdf", form())) == [
        "An application form, to be filled in", "姓名: 爱达 Ada", "I agree: Yes",
    ]  # fmt: skip


def test_comments(server):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(WELCOME))
    writer.add_annotation(0, FreeText(text="written on the page", rect=(50, 100, 200, 150)))
    writer.add_annotation(0, Text(text="a note 便签", rect=(50, 200, 70, 220)))
    assert lines(server.text("notes.pdf", saved(writer))) == [*WELCOME_LINES, "written on the page", "a note 便签"]


# ---- encrypted, damaged, large --------------------------------------------------------------------------------


def encrypted(user: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(WELCOME))
    writer.encrypt(user, "the owner's", algorithm="AES-256")
    return saved(writer)


def test_a_password_of_the_owner_alone_keeps_nobody_from_reading(server):
    assert lines(server.text("owner.pdf", encrypted(""))) == WELCOME_LINES


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (encrypted("secret"), "it is protected by a password"),
        (WELCOME[:600], "it is damaged or not what its name says"),
        (b"%PDF-1.7\n", "it is damaged or not what its name says"),
        (made([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"]), "it is damaged"),
        (made([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]), "it is damaged"),
        (text_page([]), "it holds no text"),
    ],
    ids=["password", "truncated", "header only", "no pages", "its own parent", "blank"],
)
def test_why_there_is_no_text(server, document, why):
    refused(server, "a.pdf", document, f"no text: pdf .*{why}")


def test_a_damaged_page_leaves_the_others(server):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(joined(WELCOME, text_page([[b"the second page"]]))))
    kids = writer.root_object["/Pages"]["/Kids"]
    kids.insert(1, pypdf.generic.NumberObject(7))
    writer.root_object["/Pages"][pypdf.generic.NameObject("/Count")] = pypdf.generic.NumberObject(3)
    text = server.text("damaged.pdf", saved(writer))
    assert lines(text)[:8] == [*WELCOME_LINES, "the second page"]
    assert text.endswith("[The text is cut here: some of its pages are damaged.]")


def test_too_many_pages(server):
    page = text_page([[b"a page of this long document"]]).replace(
        b"/Kids [3 0 R]", b"/Kids [" + b"3 0 R " * 5001 + b"]"
    )
    text = server.text("long.pdf", page.replace(b"/Count 1", b"/Count 5001"))
    assert text.count("a page of this long document") == 5000
    assert text.endswith("[The text is cut here: only the first 5,000 pages are kept.]")


def test_a_page_as_large_as_a_field_is_drawn_small(server):
    """200 inches a side at 170 dots an inch would be 1.2 gigapixels."""
    field = stored(drawn([(100, 100, "a very large page")], (2000, 2000), height=40), "PDF", resolution=10)
    assert "a very large page" in server.text("field.pdf", field)
