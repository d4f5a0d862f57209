"""Make the samples of Office before 2007: `letter.doc`, `letter.dot`, `prices.xls`, `talk.ppt.gz`, English and Chinese.

LibreOffice writes them (`apt-get install libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui`),
which is why the results are shipped: `python tests/samples/make_office97.py`.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import olefile
import openpyxl
from pptx import Presentation
from pptx.util import Inches

HERE: Final = Path(__file__).resolve().parent
_SPACES: Final = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{urn}:1.0"'
    for name, urn in {
        "office": "office", "style": "style", "text": "text", "table": "table", "draw": "drawing",
        "svg": "svg-compatible",
    }.items()
)  # fmt: skip
_LINKS: Final = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?><office:document {_SPACES} {_LINKS} office:version="1.3"'

LETTER: Final = f"""{_HEAD} office:mimetype="application/vnd.oasis.opendocument.text">
<office:automatic-styles><style:page-layout style:name="p"><style:header-style/><style:footer-style/>
</style:page-layout></office:automatic-styles>
<office:master-styles><style:master-page style:name="Standard" style:page-layout-name="p">
<style:header><text:p>the header 页眉</text:p></style:header>
<style:footer><text:p>the footer 页脚</text:p></style:footer></style:master-page></office:master-styles>
<office:body><office:text>
<text:tracked-changes><text:changed-region text:id="c1"><text:deletion><office:change-info>
<dc:creator>a</dc:creator><dc:date>2026-01-01T00:00:00</dc:date></office:change-info><text:p>DELETED</text:p>
</text:deletion></text:changed-region></text:tracked-changes>
<text:h text:outline-level="1">The quick brown fox jumps.</text:h>
<text:p>敏捷的棕色狐狸跳了起来。</text:p>
<text:p>A note<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body>
<text:p>the footnote 脚注</text:p></text:note-body></text:note> here<text:note text:note-class="endnote">
<text:note-citation>i</text:note-citation><text:note-body><text:p>the endnote 尾注</text:p></text:note-body>
</text:note>, gone<text:change text:change-id="c1"/>.</text:p>
<text:p>See <text:a xlink:href="http://localhost/">the link</text:a>.</text:p>
<text:p>A word<office:annotation><dc:creator>a</dc:creator><text:p>the comment 批注</text:p></office:annotation>
 more.</text:p>
<text:p><draw:frame text:anchor-type="paragraph" svg:width="5cm" svg:height="2cm"><draw:text-box>
<text:p>in the box 文本框</text:p></draw:text-box></draw:frame>Beside the box.</text:p>
<table:table><table:table-column table:number-columns-repeated="3"/>
<table:table-row><table:table-cell><text:p>cell one</text:p><text:p>second line</text:p></table:table-cell>
<table:table-cell><text:p>价格</text:p></table:table-cell><table:table-cell><text:p/></table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p/></table:table-cell>
<table:table-cell><text:p>five</text:p></table:table-cell>
<table:table-cell><text:p>six</text:p></table:table-cell></table:table-row></table:table>
<text:p>After the table “é”.</text:p>
</office:text></office:body></office:document>"""


def prices(path: Path) -> None:
    """Write a spreadsheet of two sheets, and an empty one."""
    book = openpyxl.Workbook()
    book.active.title = "Prices 价格"
    book.active.append(["name", "price", "when", None, True])
    book.active.append(["敏捷的棕色狐狸跳了起来。", 1, datetime.date(2026, 11, 22), 2.5, "=1/0"])
    book.create_sheet("Second").append([None, "The quick brown fox jumps."])
    book.create_sheet("Empty")
    book.save(path)


def talk(path: Path) -> None:
    """Write a presentation of two slides, each with a table, a group and notes."""
    deck = Presentation()
    for number in (1, 2):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Title {number} 标题"
        slide.placeholders[1].text = "The quick brown fox jumps.\n敏捷的棕色狐狸跳了起来。"
        slide.notes_slide.notes_text_frame.text = f"remember {number} 记住"
        table = slide.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(4), Inches(1)).table
        table.cell(0, 0).text, table.cell(0, 1).text, table.cell(1, 1).text = "left", "右边", "below"
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    deck.save(path)


def convert(source: Path, kind: str, directory: Path) -> None:
    """Have LibreOffice write `source` as `kind` in `directory`."""
    with tempfile.TemporaryDirectory() as home:
        command = ["soffice", f"-env:UserInstallation=file://{home}", "--headless", "--convert-to", kind]
        subprocess.run([*command, "--outdir", str(directory), str(source)], check=True, capture_output=True)


def without_thumbnail(path: Path) -> bytes:
    """Return a compound file with zeros for the picture of itself, which is nine tenths of a small one."""
    with olefile.OleFileIO(path, write_mode=True) as file:
        name = "\x05SummaryInformation"
        file.write_stream(name, bytes(file.get_size(name)))
    return path.read_bytes()


def main() -> None:
    """Make all, by default beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=HERE)
    directory = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as work:
        letter, sheet, deck = (Path(work) / name for name in ("letter.fodt", "prices.xlsx", "talk.pptx"))
        letter.write_text(LETTER, encoding="utf-8")
        prices(sheet)
        talk(deck)
        for source, kind in ((letter, "doc"), (letter, "dot:MS Word 97 Vorlage"), (sheet, "xls")):
            convert(source, kind, directory)
        convert(deck, "ppt", Path(work))
        small = without_thumbnail(Path(work) / "talk.ppt")
    (directory / "talk.ppt.gz").write_bytes(gzip.compress(small, mtime=0))


if __name__ == "__main__":
    main()
