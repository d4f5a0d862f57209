"""PDF: the text layer page by page, and OCR for each page whose layer is missing or no real text.

The decision is made for each page by itself: a report may hold scanned pages. PDFium may abort on a hostile
file; it takes a worker with it and nothing else.

**Threading:** PDFium is not thread-safe; a worker has one thread.
"""

from __future__ import annotations

import re
from typing import Final

import pypdfium2
import pypdfium2.raw as pdfium

from moonfs.server.extraction.document import Document, NeedsOcr, Output

MAX_PAGES: Final = 5000
#: Fewer visible characters than this are no page of text: a stamp, a page number.
FEW_CHARACTERS: Final = 8
#: Dots per inch of a page turned into a picture, and its longest side in pixels.
_DPI: Final = 150
_MAX_SIDE: Final = 3000
#: PDFium's mark of a hyphen at the end of a line.
_HYPHEN: Final = re.compile("[\ufffe\x02]\n?")
_GIBBERISH: Final = re.compile("[\x00-\x08\x0e-\x1f\ufffd\ue000-\uf8ff]")


def read(document: Document, output: Output) -> None:
    """Read a PDF. Raises NeedsOcr in a light worker; PdfiumError for a broken or encrypted file."""
    pdf = pypdfium2.PdfDocument(document.path)
    for index in range(len(pdf)):
        if index >= MAX_PAGES:
            output.cut(f"only the first {MAX_PAGES:,} pages are kept")
        page = pdf[index]
        text = _layer(page)
        if not _is_real(text) and _has_pictures(page):
            if document.recognise is None:
                raise NeedsOcr
            if document.is_late():
                output.note_cut("recognising all its pages took too long")
            else:
                text = max(document.recognise(_picture(page)), text, key=_visible)
        if text.strip():
            output.line(text)
            output.add("\n")
        page.close()


def _layer(page: pypdfium2.PdfPage) -> str:
    layer = page.get_textpage()
    try:
        return _HYPHEN.sub("", layer.get_text_bounded().replace("\r", ""))
    finally:
        layer.close()


def _visible(text: str) -> int:
    return sum(not character.isspace() for character in text)


def _is_real(text: str) -> bool:
    visible = _visible(text)
    return visible >= FEW_CHARACTERS and len(_GIBBERISH.findall(text)) <= visible * 0.2


def _has_pictures(page: pypdfium2.PdfPage) -> bool:
    """Say whether something is drawn that could be text: a scan, or letters as outlines."""
    drawn = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING)
    return next(iter(page.get_objects(filter=drawn, max_depth=4)), None) is not None


def _picture(page: pypdfium2.PdfPage):  # type: ignore[no-untyped-def]  # a PIL image, imported by OCR workers only
    scale = min(_DPI / 72, _MAX_SIDE / max(*page.get_size(), 1))
    return page.render(scale=scale).to_pil().convert("RGB")
