"""Known documents and their text: one row a format, English and Chinese."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import docx
import openpyxl
import pytest
from docx.oxml import parse_xml
from pptx import Presentation
from pptx.util import Inches

from moonfs import wire
from moonfs.server.extraction.registry import FORMATS, extension_of

SAMPLES = Path(__file__).parent.parent / "samples"
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
TEXT_EXTENSIONS = sorted(next(entry.extensions for entry in FORMATS if entry.name == "text"))
NOTE = ["A note to the reader", "recognition reads it:", "这张图片里有文字", "光学识别可以读出中文和英文"]


def test_every_extension_of_the_official_page_has_a_reader():
    ours = frozenset().union(*(entry.extensions for entry in FORMATS))
    assert ours == wire.EXTRACTABLE


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.TXT", ".txt"), ("x/y.tar.gz", ".gz"), (".env", ""), ("a.b/c", ""), ("a.", ""), ("c:\\d.e\\f.py", ".py")],
)
def test_extensions(name, extension):
    assert extension_of(name) == extension


@pytest.mark.parametrize("extension", TEXT_EXTENSIONS)
def test_text_and_code_round_trip_exactly(server, extension):
    text = f'\tif (a < b && c) {{ // {CHINESE}\r\n  "{ENGLISH}" \x1b[1m \u2028\U0001f600\n\n\n'
    assert server.text(f"a{extension}", text.encode()) == text


def test_long_text_takes_the_other_way_and_round_trips_exactly(server):
    text = f"{CHINESE}\x00"[:-1] + f'{ENGLISH}\r\n\U0001f600\\"\x7f' * 60_000
    assert server.text("long.txt", text.encode()) == text


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk", "big5", "shift_jis"]
)
def test_encodings(server, encoding):
    text = {
        "big5": "這是一份繁體中文的文件,用來測試編碼的偵測。\n" * 20,
        "shift_jis": "これは文字コードを調べるための日本語の文書です。\n" * 20,
    }.get(encoding, f"{ENGLISH}\n{CHINESE}{CHINESE}\n" * 20)
    assert server.text("a.txt", text.encode(encoding)) == text


def test_latin(server):
    text = "Les élèves français étudient à l'école; où êtes-vous, garçon? Voilà une forêt.\n" * 20
    assert server.text("a.txt", text.encode("cp1252")) == text


def test_json_shows_its_characters(server):
    value = {"name": f"{CHINESE}\U0001f600", "path": "C:\\u4e2d", "quote": '"\n\x7f\u200b', "n": [1, None]}
    text = server.text("a.json", json.dumps(value, indent=1).encode())
    assert json.loads(text) == value
    assert CHINESE in text
    assert "\U0001f600" in text
    plain = '{"a": 1,\r\n "b": "é"}'
    assert server.text("b.json", plain.encode()) == plain


def test_csv_keeps_rows_and_columns(server):
    assert server.text("a.csv", f"a,b\n{ENGLISH},{CHINESE}\n".encode("gbk")) == f"a,b\n{ENGLISH},{CHINESE}\n"


HTML = f"""<!DOCTYPE html><html><head><meta charset="%s"><title>Title 标题</title><style>p {{ color: red }}</style>
<script>if (a < b) document.write("<p>hidden</p>")</script></head><body><h1>{ENGLISH}</h1>
<p>one&nbsp;&amp;<b>two</b>
three</p><!-- hidden --><noscript>hidden</noscript><table><tr><td>left</td><td>{CHINESE}</td></tr></table>
<pre>  keep
   this</pre></body></html>"""


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "gb2312", "utf-16"])
def test_html_is_what_a_reader_sees(server, encoding):
    text = server.text("a.html", (HTML % encoding).encode(encoding))
    assert text.split("\n") == [
        "Title 标题", ENGLISH, "one\xa0&two three", f"left\t{CHINESE}", "  keep", "   this",
    ]  # fmt: skip


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
BOX = f"""<w:r xmlns:w="{WORD}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"><mc:AlternateContent>
 <mc:Choice Requires="wps"><w:drawing><wps:txbx><w:txbxContent><w:p><w:r><w:t>in the box</w:t></w:r></w:p>
 </w:txbxContent></wps:txbx></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent><w:p><w:r>
 <w:t>in the box</w:t></w:r></w:p></w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r>"""
MATHS = """<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math">
 <m:r><m:t>E=mc</m:t></m:r></m:oMath>"""


def word_document() -> bytes:
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "the header 页眉"
    document.sections[0].footer.paragraphs[0].text = "the footer 页脚"
    document.add_heading(ENGLISH)
    paragraph = document.add_paragraph("before\tthe ")
    paragraph._p.append(parse_xml(BOX))
    paragraph._p.append(parse_xml(MATHS))
    table = document.add_table(2, 2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {number}"
    table.cell(1, 1).text = CHINESE
    table.cell(0, 0).add_paragraph("second line")
    document.add_paragraph("after the table")
    stream = io.BytesIO()
    document.save(stream)
    return with_footnote(stream.getvalue())


def with_footnote(document: bytes) -> bytes:
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    note = (
        f'<w:footnotes xmlns:w="{WORD}">'
        + '<w:footnote w:id="1"><w:p><w:r><w:t>the footnote 脚注</w:t></w:r></w:p></w:footnote>'
        + "</w:footnotes>"
    )
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(document)) as source, zipfile.ZipFile(result, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "word/_rels/document.xml.rels":
                entry = f'<Relationship Id="rIdNote" Type="{relation}" Target="footnotes.xml"/></Relationships>'
                content = content.replace(b"</Relationships>", entry.encode())
            target.writestr(name, content)
        target.writestr("word/footnotes.xml", note)
    return result.getvalue()


def test_docx_is_read_whole_and_in_order(server):
    text = server.text("a.docx", word_document())
    assert text.split("\n") == [
        "the header 页眉", ENGLISH, "before\tthe E=mc", "in the box", "cell 0 second line\tcell 1",
        f"cell 2\t{CHINESE}", "after the table", "the footnote 脚注", "the footer 页脚", "",
    ]  # fmt: skip


def spreadsheet() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices 价格"
    book.active.append(["name", "price", "when", None, True])
    book.active.append([CHINESE, 1.0, __import__("datetime").date(2026, 11, 22), 2.5, "a\tb"])
    book.create_sheet("Second").append([None, ENGLISH])
    book.create_sheet("Empty")
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_xlsx_names_its_sheets_and_keeps_its_columns(server):
    text = server.text("a.xlsx", spreadsheet())
    assert text.strip().split("\n") == [
        "## Prices 价格", "name\tprice\twhen\t\tTRUE", f"{CHINESE}\t1\t2026-11-22\t2.5\ta b", "",
        "## Second", f"\t{ENGLISH}",
    ]  # fmt: skip


def presentation() -> bytes:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = ENGLISH
    slide.notes_slide.notes_text_frame.text = "remember 记住"
    table = slide.shapes.add_table(1, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "left", CHINESE
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    stream = io.BytesIO()
    deck.save(stream)
    return stream.getvalue()


def test_pptx_keeps_tables_and_notes(server):
    answer = server.upload("a.pptx", presentation())
    body = server.client.get(f"/files/{answer.json()['id']}/content").json()
    assert body["content"].strip().split("\n") == [
        "## Slide 1", ENGLISH, f"left\t{CHINESE}", "in a group", "Notes: remember 记住",
    ]  # fmt: skip
    assert body["file_type"] == "application/zip"


def test_bytes_go_before_names(server):
    assert "Welcome" in server.text("really-a.docx", (SAMPLES / "welcome.pdf").read_bytes())
    assert ENGLISH in server.text("really-a.pdf", word_document())
    assert NOTE[2] in server.text("really-a.txt", (SAMPLES / "note.png").read_bytes())
    assert server.text("really-code.py", f"<html>{CHINESE}</html>".encode()) == f"<html>{CHINESE}</html>"
