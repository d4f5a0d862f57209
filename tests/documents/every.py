"""One document for each extension of the official page, with an English and a Chinese sentence that must come out."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import openpyxl
import pypdf
from PIL import Image
from pptx import Presentation

from tests.documents.mobi import book
from tests.documents.office import saved

SAMPLES = Path(__file__).parent.parent / "samples"
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
#: What is drawn in `note.png`, and written in `welcome.pdf`.
DRAWN = ("A note to the reader", "这张图片里有文字")
WRITTEN = ("Copy a document in, and read its text beside it:", "欢迎使用月球文件盘")

_CODE = ".go .h .c .cpp .cxx .cc .cs .java .js .css .jsp .php .asp .ts .tsx"
_SCRIPTS = ".py .py3 .yaml .yml .ini .conf"
_PICTURES = {
    "PNG": ".png", "JPEG": ".jpeg .jpg .jfif .pjp .pjpeg", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "DIB": ".dib",
    "XBM": ".xbm", "TIFF": ".tif .tiff", "AVIF": ".avif",
}  # fmt: skip


def _word() -> bytes:
    document = docx.Document()
    document.add_paragraph(ENGLISH)
    document.add_table(1, 1).cell(0, 0).text = CHINESE
    return saved(document)


def _sheet() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active.append([ENGLISH, 1, CHINESE])
    return saved(workbook)


def _slides() -> bytes:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = ENGLISH
    slide.notes_slide.notes_text_frame.text = CHINESE
    return saved(deck)


def _epub() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("META-INF/container.xml", '<container><rootfile full-path="b.opf"/></container>')
        target.writestr(
            "b.opf",
            '<package><manifest><item id="a" href="a.xhtml"/></manifest><spine><itemref idref="a"/></spine></package>',
        )
        target.writestr("a.xhtml", _html())
    return stream.getvalue()


def _html() -> str:
    return f"<html><body><p>{ENGLISH}</p><p>{CHINESE}</p></body></html>"


def _svg() -> bytes:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><text>{ENGLISH}</text><text>{CHINESE}</text></svg>'
    return svg.encode()


def short_note() -> Image.Image:
    """Return two lines of `note.png`, `DRAWN`, which are read in a sixth of the time: for where any text will do."""
    short = Image.new("L", (520, 150), "white")
    with Image.open(SAMPLES / "note.png") as note:
        short.paste(note.convert("L").crop((24, 10, 544, 90)), (0, 0))
        short.paste(note.convert("L").crop((24, 235, 544, 305)), (0, 80))
    return short


def _picture(kind: str) -> bytes:
    stream = io.BytesIO()
    short_note().convert("1" if kind == "XBM" else "L" if kind == "GIF" else "RGB").save(stream, kind)
    return stream.getvalue()


def _apng() -> bytes:
    stream = io.BytesIO()
    frame = short_note()
    frame.save(stream, "PNG", save_all=True, append_images=[Image.new("L", frame.size, 255)])
    return stream.getvalue()


def _icon() -> bytes:
    """Return an icon, the largest that there are, with the first line and the last but one."""
    with Image.open(SAMPLES / "note.png") as note:
        lines = note.convert("RGB").crop((30, 10, 526, 90)), note.convert("RGB").crop((30, 235, 526, 305))
    icon = Image.new("RGB", (496, 150), "white")
    icon.paste(lines[0], (0, 0))
    icon.paste(lines[1], (0, 80))
    stream = io.BytesIO()
    icon.resize((256, 77)).save(stream, "ICO", sizes=[(256, 77)])
    return stream.getvalue()


def _scan() -> bytes:
    """Return a PDF of a page with text, and one that is a picture."""
    scan, mixed = io.BytesIO(), io.BytesIO()
    short_note().save(scan, "PDF", resolution=150)
    writer = pypdf.PdfWriter()
    writer.append(SAMPLES / "welcome.pdf")
    writer.append(scan)
    writer.write(mixed)
    return mixed.getvalue()


Made = tuple[Callable[[], bytes], tuple[str, ...]]
_BOTH = (ENGLISH, CHINESE)

#: By extension: what makes the document, and what must be in its text.
EVERY: dict[str, Made] = {
    ".txt": (lambda: f"{ENGLISH}\n{CHINESE}\n".encode("gb18030"), _BOTH),
    ".log": (f"12:00 {ENGLISH}\n12:01 {CHINESE}\n".encode, _BOTH),
    ".md": (f"# {ENGLISH}\n\n{CHINESE}\n".encode, _BOTH),
    ".csv": (lambda: f"a,b\n{ENGLISH},{CHINESE}\n".encode("utf-8-sig"), _BOTH),
    ".json": (lambda: json.dumps({"en": ENGLISH, "zh": CHINESE}).encode(), _BOTH),
    ".html": (lambda: _html().encode(), _BOTH),
    **dict.fromkeys(_CODE.split(), (f"/* {ENGLISH} */\n// {CHINESE}\n".encode, _BOTH)),
    **dict.fromkeys(_SCRIPTS.split(), (f"# {ENGLISH}\n# {CHINESE}\n".encode, _BOTH)),
    ".pdf": (_scan, (*WRITTEN, *DRAWN)),
    ".doc": ((SAMPLES / "letter.doc").read_bytes, _BOTH),
    ".dot": ((SAMPLES / "letter.dot").read_bytes, _BOTH),
    ".docx": (_word, _BOTH),
    ".xls": ((SAMPLES / "prices.xls").read_bytes, _BOTH),
    ".xlsx": (_sheet, _BOTH),
    ".ppt": (lambda: gzip.decompress((SAMPLES / "talk.ppt.gz").read_bytes()), _BOTH),
    ".pptx": (_slides, _BOTH),
    ".epub": (_epub, _BOTH),
    ".mobi": (lambda: book(_html()), _BOTH),
    ".svg": (_svg, _BOTH),
    ".svgz": (lambda: gzip.compress(_svg()), _BOTH),
    **{
        extension: (lambda kind=kind: _picture(kind), DRAWN)
        for kind, extensions in _PICTURES.items()
        for extension in extensions.split()
    },
    ".apng": (_apng, DRAWN),
    ".ico": (_icon, DRAWN),
}

#: Those that are text themselves.
PLAIN = frozenset(".txt .log .md .csv .json .html .svg .xbm".split()) | frozenset(f"{_CODE} {_SCRIPTS}".split())
