"""Office files of today beyond plain text: charts, diagrams, comments, changes, formulas, pictures of text."""

from __future__ import annotations

import re
from pathlib import Path

import docx
import openpyxl
import pytest
from docx.oxml import parse_xml
from openpyxl.comments import Comment
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests.documents.office import changed, saved

SAMPLES = Path(__file__).parent.parent / "samples"
CHINESE = "敏捷的棕色狐狸跳了起来。"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def in_word(*paragraphs: str) -> bytes:
    """Return a document of paragraphs given in XML."""
    document = docx.Document()
    for inner in paragraphs:
        document.element.body.insert(-1, parse_xml(f'<w:p xmlns:w="{WORD}">{inner}</w:p>'))
    return saved(document)


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def test_changes_in_word_are_taken_as_accepted(server):
    text = server.text(
        "a.docx",
        in_word(
            run("kept ") + f'<w:ins w:id="1" w:author="a">{run("inserted")}</w:ins>'
            '<w:del w:id="2" w:author="a"><w:r><w:delText>deleted</w:delText></w:r></w:del>'
            f'<w:moveFrom w:id="3" w:author="a">{run("moved away")}</w:moveFrom>',
            f"<w:ruby><w:rt>{run('hàn')}</w:rt><w:rubyBase>{run('汉')}</w:rubyBase></w:ruby>{run('字')}",
            f'<w:fldSimple w:instr="PAGE">{run("7")}</w:fldSimple>'
            f"<w:r><w:instrText>DATE</w:instrText></w:r>{run(' of 9')}",
            f"<w:sdt><w:sdtContent>{run('in a control')}</w:sdtContent></w:sdt>",
        ),
    )
    assert text.strip().split("\n") == ["kept inserted", "汉字", "7 of 9", "in a control"]


def test_pages_that_word_takes_in_are_read(server):
    relation = f'<Relationship Id="rIdX" Type="{RELATIONS}/aFChunk" Target="/word/chunk.html"/></Relationships>'
    package = changed(
        in_word(run("before")),
        {
            "word/_rels/document.xml.rels": lambda raw: raw.replace(b"</Relationships>", relation.encode()),
            "word/chunk.html": f"<html><body><p>{CHINESE}</p></body></html>".encode(),
        },
    )
    assert server.text("a.docx", package).strip().split("\n") == ["before", CHINESE]


def test_strict_documents_are_read(server):
    """ISO 29500 strict has other namespaces, and relations of other types."""

    def strict(raw: bytes) -> bytes:
        raw = raw.replace(WORD.encode(), b"http://purl.oclc.org/ooxml/wordprocessingml/main")
        return raw.replace(RELATIONS.encode(), b"http://purl.oclc.org/ooxml/officeDocument/relationships")

    package = changed(in_word(run(CHINESE)), dict.fromkeys(("_rels/.rels", "word/document.xml"), strict))
    assert server.text("a.docx", package) == f"{CHINESE}\n"


def test_charts_are_tables(server):
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "title"
    data = CategoryChartData()
    data.categories = ["East 东", "West"]
    data.add_series("Sales 销售", (1.5, 2))
    data.add_series("Costs", (1, None))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, 0, 0, Inches(3), Inches(3), data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "By region 地区"
    assert server.text("a.pptx", saved(deck)).strip().split("\n") == [
        "## Slide 1", "title", "By region 地区", "\tSales 销售\tCosts", "East 东\t1.5\t1", "West\t2",
    ]  # fmt: skip


def test_comments_of_a_sheet_stand_after_it(server):
    book = openpyxl.Workbook()
    book.active.append(["value"])
    book.active["A1"].comment = Comment("look here 看", "somebody")
    book.create_sheet("Next").append(["next"])
    assert server.text("a.xlsx", saved(book)).strip().split("\n") == [
        "## Sheet", "value", "Comment: A1: look here 看", "", "## Next", "next",
    ]  # fmt: skip


def test_a_formula_that_was_never_calculated_shows_itself(server):
    book = openpyxl.Workbook()
    book.active.append([2, "=A1*3", None, "end"])
    assert server.text("a.xlsx", saved(book)).strip().split("\n")[1] == "2\t=A1*3\t\tend"


def test_a_formula_that_was_calculated_shows_its_value(server):
    book = openpyxl.Workbook()
    book.active.append([2, "=A1*3", "end"])
    calculated = changed(
        saved(book),
        {"xl/worksheets/sheet1.xml": lambda raw: re.sub(rb"</f>\s*<v\s*/>|</f>\s*<v></v>", b"</f><v>6</v>", raw)},
    )
    assert server.text("a.xlsx", calculated).strip().split("\n")[1] == "2\t6\tend"


def test_styles_that_are_wrong_cost_no_text(server):
    book = openpyxl.Workbook()
    book.active.title = "Prices 价格"
    book.active.append([CHINESE, 1, 2.5, True])
    broken = changed(saved(book), {"xl/styles.xml": lambda raw: raw.replace(b"<fill>", b"<fill><nonsense/>")})
    assert server.text("a.xlsx", broken).strip().split("\n") == ["## Prices 价格", f"{CHINESE}\t1\t2.5\tTRUE"]


@pytest.mark.parametrize("extension", ["docx", "pptx"])
def test_pictures_are_recognised_where_there_is_nothing_else(server, extension):
    picture = str(SAMPLES / "note.png")
    if extension == "docx":
        made = docx.Document()
        made.add_picture(picture)
    else:
        made = Presentation()
        made.slides.add_slide(made.slide_layouts[6]).shapes.add_picture(picture, 0, 0)
    text = server.text(f"a.{extension}", saved(made))
    assert "这张图片里有文字" in text
    assert "A note to the reader" in text


def test_pictures_are_left_alone_where_there_is_text(server):
    made = docx.Document()
    made.add_paragraph("words")
    made.add_picture(str(SAMPLES / "note.png"))
    assert server.text("a.docx", saved(made)) == "words\n"
