"""Documents of which a part is damaged or makes no sense: the rest is read, and the end of the text says so."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import docx
import openpyxl
import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests.documents import epub
from tests.documents.every import EVERY
from tests.documents.office import changed, saved
from tests.server.test_every_format import is_clean

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
DAMAGED = "[The text is cut here: some of its parts are damaged.]"
HOLE = 200


def relations(*kinds: tuple[str, str]) -> str:
    """Return the end of a list of relations to (kind, target), as many as there are."""
    lines = (
        f'<Relationship Id="more{n}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(kinds)
    )
    return "".join(lines) + "</Relationships>"


def related(*kinds: tuple[str, str]) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(b"</Relationships>", relations(*kinds).encode())


def holed(package: bytes, member: str) -> bytes:
    """Return the package with a hole in the middle of what is packed of a member."""
    with zipfile.ZipFile(io.BytesIO(package)) as source:
        info = source.getinfo(member)
    start = info.header_offset + 30 + len(member) + info.compress_size // 2
    size = min(HOLE, info.compress_size // 4)
    return package[:start] + bytes(size) + package[start + size :]


def word() -> bytes:
    document = docx.Document()
    document.add_paragraph("words of the body")
    document.sections[0].header.paragraphs[0].text = "words of the header"
    return saved(document)


def deck(slides: int = 3) -> bytes:
    """Return a deck of slides that each has a title, and notes."""
    made = Presentation()
    for number in range(1, slides + 1):
        slide = made.slides.add_slide(made.slide_layouts[5])
        slide.shapes.title.text = f"title {number}"
        slide.notes_slide.notes_text_frame.text = f"notes {number}"
    return saved(made)


def sheets() -> bytes:
    book = openpyxl.Workbook()
    for number in range(1, 4):
        sheet = book.active if number == 1 else book.create_sheet()
        sheet.title = f"sheet {number}"
        for row in range(200):
            sheet.append([f"cell {number} {row}", number, row])
    return saved(book)


# ---- holes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".docx", ".xlsx", ".pptx", ".epub"])
def test_a_hole_anywhere_is_no_fault_of_the_server(server, extension):
    """Some holes make who unpacks it seek to before its beginning, which the kernel calls an invalid argument."""
    content = EVERY[extension][0]()
    ends = range(max(0, len(content) - 20 * HOLE), len(content), HOLE // 2)  # where the list of its members is
    for start in sorted({*range(0, len(content), max(HOLE, len(content) // 20)), *ends}):
        for filling in (b"\0", b"\xff"):
            size = min(HOLE, len(content) - start)
            answer = server.upload(f"a{extension}", content[:start] + filling * size + content[start + size :])
            assert answer.status_code != 500, (start, answer.text)
            assert is_clean(answer), answer.text


def test_a_slide_that_is_damaged_takes_no_other_with_it(server):
    text = server.text("a.pptx", holed(deck(), "ppt/slides/slide2.xml"))
    assert [line for line in text.split("\n") if line] == [
        "## Slide 1", "title 1", "Notes: notes 1", "## Slide 2", "Notes: notes 2", "## Slide 3", "title 3",
        "Notes: notes 3", DAMAGED,
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["ppt/presentation.xml", "ppt/_rels/presentation.xml.rels", "_rels/.rels"])
def test_slides_whose_list_is_damaged_are_read_by_number(server, part):
    text = server.text("a.pptx", changed(deck(11), {part: b"<no xml"}))
    assert [line for line in text.split("\n") if line.startswith("title")] == [f"title {n}" for n in range(1, 12)]
    assert text.endswith(DAMAGED)


def test_a_deck_of_damaged_slides_only(server):
    content = deck(1)
    assert server.upload("a.pptx", changed(content, {"ppt/slides/slide1.xml": b"<no xml"})).status_code == 400


def test_a_sheet_that_is_damaged_takes_no_other_with_it(server):
    text = server.text("a.xlsx", holed(sheets(), "xl/worksheets/sheet2.xml"))
    assert [f"cell {n} 199" in text for n in (1, 2, 3)] == [True, False, True]
    assert text.endswith(DAMAGED)


@pytest.mark.parametrize("part", ["word/header1.xml", "word/_rels/document.xml.rels", "_rels/.rels"])
def test_a_body_is_read_whatever_is_damaged_beside_it(server, part):
    text = server.text("a.docx", changed(word(), {part: b"<no xml"}))
    assert "words of the body\n" in text
    assert text.endswith(DAMAGED)


def test_a_stream_of_an_old_sheet_that_is_a_ring(server):
    """Of sectors, each of which says which one follows: some readers go round for ever."""
    content = bytearray(EVERY[".xls"][0]())
    (table,), (directory,) = (struct.unpack_from("<I", content, at) for at in (76, 48))
    entries = range(512 * (directory + 1), 512 * (directory + 2), 128)
    (entry,) = (at for at in entries if content[at : at + 64].startswith("Workbook".encode("utf-16-le")))
    (start,) = struct.unpack_from("<I", content, entry + 116)
    struct.pack_into("<I", content, 512 * (table + 1) + 4 * start, start)
    seen = len(server.log())
    assert is_clean(server.upload("ring.xls", bytes(content)))
    assert "too long" not in server.log()[seen:]


# ---- parts that make no sense ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["header", "comments", "chart", "aFChunk"])
def test_many_references_to_one_part(server, kind):
    part = {"header": "header1.xml", "aFChunk": "chunk.html"}.get(kind, "other.xml")
    w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    more = f'<w:x xmlns:w="{w}"><w:p><w:r><w:t>words of the part</w:t></w:r></w:p></w:x>'.encode()
    package = changed(
        word(),
        {
            "word/_rels/document.xml.rels": related(*[(kind, part)] * 60_000),
            "word/other.xml": more,
            "word/chunk.html": b"<p>words of the part</p>",
        },
    )
    lines = server.text("a.docx", package).split("\n")
    assert lines.count("words of the body") == 1
    assert lines.count("words of the header") == 1
    assert lines.count("words of the part") == (kind in {"comments", "aFChunk"})


def test_a_ring_of_pages_that_stand_in_for_one_another(server):
    count = 20_000
    ring = "".join(
        f'<item id="r{n}" href="r{n}.bin" media-type="a/b" fallback="r{(n + 1) % count}"/>' for n in range(count)
    )
    spine = epub.references("page", *(f"r{n}" for n in range(count)))
    book = epub.zipped(
        {
            "META-INF/container.xml": epub.container("b.opf"),
            "b.opf": epub.package(epub.item("page", "page.xhtml") + ring, spine),
            "page.xhtml": epub.page("<p>words of the page</p>"),
        }
    )
    assert "words of the page" in server.text("a.epub", book)


def test_a_page_that_another_stands_in_for(server):
    items = epub.item("pdf", "a.pdf", "application/pdf", 'fallback="png"')
    items += epub.item("png", "a.png", "image/png", 'fallback="page"') + epub.item("page", "page.xhtml")
    book = epub.zipped(
        {
            "META-INF/container.xml": epub.container("b.opf"),
            "b.opf": epub.package(items, epub.references("pdf")),
            "page.xhtml": epub.page("<p>words of the page</p>"),
            "a.pdf": b"%PDF",
        }
    )
    assert "words of the page" in server.text("a.epub", book)


def test_a_drawing_that_names_itself(server):
    text = "".join(
        f'<a:p xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:r><a:t>{words}</a:t></a:r></a:p>'
        for words in ("words of the box",)
    )
    package = changed(
        sheets(),
        {
            "xl/worksheets/_rels/sheet1.xml.rels": (
                '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
                + relations(("drawing", "../drawings/d.xml"))
            ).encode(),
            "xl/drawings/d.xml": f"<x>{text}</x>".encode(),
            "xl/drawings/_rels/d.xml.rels": (
                '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
                + relations(("drawing", "d.xml"), ("drawing", "../drawings/../drawings/d.xml"))
            ).encode(),
        },
    )
    lines = server.text("a.xlsx", package).split("\n")
    assert lines.count("words of the box") == 1
    assert "cell 3 199\t3\t199" in lines


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<v>" + "9" * 1_000_000 + "</v>", "9" * 32_767),
        ("<v>twelve</v>", "twelve"),
        ('<v t="s">1</v>', "1"),
        ("<is><t>x</t></is>", ""),
    ],
)
def test_a_cell_that_makes_no_sense(server, cell, shown):
    def change(raw: bytes) -> bytes:
        return raw.replace(b'<c r="B2" t="n"><v>2</v></c>', b'<c r="B2" t="n">' + cell.encode() + b"</c>")

    package = changed(sheets(), {"xl/worksheets/sheet2.xml": change})
    text = server.text("a.xlsx", package)
    assert f"cell 2 1\t{shown}\t1\n" in text
    assert text.count("cell 2 ") == text.count("cell 3 ") == 200
    assert not text.endswith(DAMAGED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b't="inlineStr"', b't="s"'),
        (b'<c r="A2"', b'<c r="A99999999999999999999999"'),
        (b'<c r="A2"', b'<c r="!"'),
        (b'<row r="2"', b'<row r="' + b"9" * 5000 + b'"'),
        (b"</sheetData>", b'</sheetData><conditionalFormatting><cfRule type="x" operator="isBlank"/>'
         b"</conditionalFormatting>"),
    ],
)  # fmt: skip
def test_a_sheet_that_makes_no_sense_in_places(server, old, new):
    package = changed(sheets(), {"xl/worksheets/sheet2.xml": lambda raw: raw.replace(old, new)})
    text = server.text("a.xlsx", package)
    assert text.count("cell 3 ") == 200
    assert text.count("\t2\t") >= 199


def test_a_point_of_a_chart_with_an_endless_number(server):
    made = Presentation()
    data = CategoryChartData()
    data.categories = ["north", "south"]
    data.add_series("sales", (12, 34))
    slide = made.slides.add_slide(made.slide_layouts[5])
    slide.shapes.title.text = "words of the slide"
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, Inches(1), Inches(1), Inches(4), Inches(3), data)
    package = saved(made)
    with zipfile.ZipFile(io.BytesIO(package)) as source:
        (chart,) = (name for name in source.namelist() if name.startswith("ppt/charts/chart"))
    for endless in (b"9" * 1_000_000, "²".encode()):
        text = server.text(
            "a.pptx", changed(package, {chart: lambda raw, n=endless: raw.replace(b'idx="1"', b'idx="%b"' % n)})
        )
        assert "words of the slide" in text
        assert "north\t12" in text


def test_shapes_with_formulas_are_read_once(server):
    """Programs keep a picture of a formula beside it, for those that know no formulas."""

    def alternatives(raw: bytes) -> bytes:
        start, end = raw.index(b"<p:sp>"), raw.index(b"</p:sp>") + 7
        shape = raw[start:end]
        return (
            raw[:start]
            + b'<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
            + b'<mc:Choice Requires="a14">' + shape + b"</mc:Choice><mc:Fallback>" + shape + b"</mc:Fallback>"
            + b"</mc:AlternateContent>" + raw[end:]
        )  # fmt: skip

    text = server.text("a.pptx", changed(deck(1), {"ppt/slides/slide1.xml": alternatives}))
    assert text.count("title 1") == 1


def test_a_presentation_of_the_strict_kind(server):
    def strict(raw: bytes) -> bytes:
        for old, new in (
            ("presentationml/2006/main", "presentationml/main"),
            ("drawingml/2006/main", "drawingml/main"),
        ):
            raw = raw.replace(
                f"http://schemas.openxmlformats.org/{old}".encode(), f"http://purl.oclc.org/ooxml/{new}".encode()
            )
        old = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        return raw.replace(old, b"http://purl.oclc.org/ooxml/officeDocument/relationships")

    content = deck(2)
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        parts = dict.fromkeys(source.namelist(), strict)
    text = server.text("a.pptx", changed(content, parts))
    assert [words for words in ("title 1", "notes 1", "title 2", "notes 2") if words not in text] == []
