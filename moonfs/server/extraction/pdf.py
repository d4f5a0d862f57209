"""PDF: the text layer page by page, and OCR for each page whose layer is missing or no real text.

The decision is made for each page by itself: a report may hold scanned pages, and a scanned page a stamp in real
text. What is filled into forms and written into comments comes after the text of its page. PDFium may abort on a
hostile file; it takes a worker with it and nothing else.

**Threading:** PDFium is not thread-safe; a worker has one thread.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from moonfs.server.extraction import textlayer
from moonfs.server.extraction.document import Document, NeedsOcr, NoText, Output, Why

MAX_PAGES: Final = 5000
#: A layer of fewer visible characters than this may be a stamp over a scan, if a picture covers so much of the page.
_STAMP: Final = 200
_COVERED: Final = 0.3
#: A gap that parts cells, in heights of a line; in justified text they are narrower.
_WIDE: Final = 0.95
#: Dots per inch of a page turned into a picture, and its most pixels.
_DPI: Final = 170
_MAX_PIXELS: Final = 12_000_000
_MAX_SIDE: Final = 20_000.0
#: Those of a page of A4, about.
_PAGE_PIXELS: Final = 2_800_000
#: Pixels of a picture on a page, which is unpacked whole to be drawn: A4 at 600 dpi has 35 million.
_MAX_IMAGE_PIXELS: Final = 200_000_000
#: CPU seconds that drawing one page may take.
_CPU_SECONDS: Final = 60
#: What is looked at, at most, to find out what is drawn on a page.
_MAX_OBJECTS: Final = 20_000
_MAX_COMMENTS: Final = 2000

#: Letters of a page that are asked which way they stand.
_ANGLES: Final = 60
_SPACE_CODE: Final = 32
_SPACE: Final = re.compile(r"(?<=\S) +(?=\S)")
_DRAWN: Final = (
    pdfium.FPDF_PAGEOBJ_IMAGE,
    pdfium.FPDF_PAGEOBJ_PATH,
    pdfium.FPDF_PAGEOBJ_SHADING,
)
_COMMENTS: Final = frozenset(
    (
        pdfium.FPDF_ANNOT_TEXT,
        pdfium.FPDF_ANNOT_FREETEXT,
        pdfium.FPDF_ANNOT_HIGHLIGHT,
        pdfium.FPDF_ANNOT_UNDERLINE,
        pdfium.FPDF_ANNOT_STRIKEOUT,
        pdfium.FPDF_ANNOT_SQUIGGLY,
        pdfium.FPDF_ANNOT_CARET,
    )
)
_BUTTONS: Final = frozenset((pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON))
_TYPED: Final = frozenset(
    (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX)
)


def read(document: Document, output: Output) -> None:
    """Read a PDF. Raises NeedsOcr in a light worker; NoText for one that is encrypted, broken or without pages."""
    pdf = _open(document.path)
    pages = len(pdf)
    reader = _Reader(document, output, pages)
    if pdf.get_formtype() != pdfium.FORMTYPE_NONE:
        pdf.init_forms()
    broken = 0
    for index in range(pages):
        if index >= MAX_PAGES:
            output.cut(f"only the first {MAX_PAGES:,} pages are kept")
        if document.recognise is None and document.is_late():
            output.cut("reading it took too long")
        try:
            page = _with_level_lines(pdf, index)
            text = reader.text(page)
        except pypdfium2.PdfiumError:
            broken += 1
            output.note_cut("some of its pages are damaged")
            continue
        output.line(text)
        for line in _filled_in(page, pdf.formenv):
            output.line(textlayer.clean(line))
        output.add("\n" if text.strip() else "")
        page.close()
        document.report(index + 1, pages)
    if broken == pages:
        raise NoText(Why.CORRUPT)


def _open(path: str) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        why = {pdfium.FPDF_ERR_PASSWORD: Why.PASSWORD, pdfium.FPDF_ERR_SECURITY: Why.DRM}
        raise NoText(why.get(error.err_code, Why.CORRUPT)) from error


def _with_level_lines(pdf: pypdfium2.PdfDocument, index: int) -> pypdfium2.PdfPage:
    """Return a page, turned if most of its letters lie: PDFium gives such lines in a wrong order or without ends.

    Letters are looked at as they stand on the paper; that it is to be shown turned does not matter.
    """
    page = pdf[index]
    turns = _turns(page)
    if turns is None or (turns == 0 and page.get_rotation() == 0):
        return page
    if turns:
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
        left, bottom, right, top = page.get_bbox()
        corners = [(x * cosine - y * sine, x * sine + y * cosine) for x in (left, right) for y in (bottom, top)]
        box = (*map(min, zip(*corners, strict=True)), *map(max, zip(*corners, strict=True)))
        pdfium.FPDFPage_TransFormWithClip(page.raw, pdfium.FS_MATRIX(cosine, sine, -sine, cosine, 0, 0), None)
        page.set_mediabox(*box)
        page.set_cropbox(*box)
    page.set_rotation(0)
    page.close()
    return pdf[index]


def _turns(page: pypdfium2.PdfPage) -> int | None:
    """Return by how many quarters, against the clock, most letters are to be turned to stand; None for no letters."""
    layer = page.get_textpage()
    try:
        count = layer.count_chars()
        votes = Counter(
            round(pdfium.FPDFText_GetCharAngle(layer.raw, at) * 2 / math.pi) % 4
            for at in range(0, count, max(1, count // _ANGLES))
            if pdfium.FPDFText_GetUnicode(layer.raw, at) > _SPACE_CODE
        )
        return max(votes, key=votes.__getitem__) if votes else None
    finally:
        layer.close()


class _Reader:
    """Reads pages one by one; what it learns of a font's letters on one page helps it on the next."""

    def __init__(self, document: Document, output: Output, pages: int) -> None:
        self._document = document
        self._pages = pages
        self._output = output
        self._shift = 0

    def text(self, page: pypdfium2.PdfPage) -> str:
        raw = self._mended(_layer(page))
        layer = textlayer.clean(raw)
        garbage, odd = textlayer.is_garbage(raw), textlayer.is_odd(layer)
        if garbage or textlayer.visible(layer) == 0:
            layer = ""
        if odd or textlayer.visible(layer) < textlayer.FEW_CHARACTERS:
            # Of a few real characters all is known; it is what is drawn beside them that may be read.
            kinds = _DRAWN if layer and not odd else (*_DRAWN, pdfium.FPDF_PAGEOBJ_TEXT)
            return self._from_picture(page, layer, odd) if _is_on(page, kinds) else layer
        if textlayer.visible(layer) < _STAMP and _is_scan(page):
            return self._from_picture(page, layer, odd=False)
        return layer

    def _mended(self, raw: str) -> str:
        self._shift = textlayer.find_shift(raw) or self._shift
        return textlayer.unshift(raw, self._shift) if self._shift else raw

    def _from_picture(self, page: pypdfium2.PdfPage, layer: str, odd: bool) -> str:
        if self._document.recognise is None:
            raise NeedsOcr
        if self._document.is_late():
            self._output.note_cut("recognising all its pages took too long")
            return layer
        budget = self._document.budget
        if _image_pixels(page) > _MAX_IMAGE_PIXELS:
            self._output.note_cut("pictures of too many pixels are left out")
            return layer
        budget.foresee(self._pages * _PAGE_PIXELS)
        self._output.flush()  # what is drawn may end this process
        with budget.cpu(_CPU_SECONDS):
            picture = _picture(page)
        budget.unpack(picture.width * picture.height)
        shown = self._document.recognise(picture)
        if odd and textlayer.visible(shown) >= textlayer.FEW_CHARACTERS and not textlayer.is_like(shown, layer):
            return shown
        return textlayer.add_unsaid(layer, shown)


def _layer(page: pypdfium2.PdfPage) -> str:
    """Return the text layer as PDFium gives it, but wide gaps in a row, as between the cells of a table, are tabs."""
    layer = page.get_textpage()
    try:
        text: str = layer.get_text_bounded()
        if len(text) != layer.count_chars():  # what stands where cannot be told then
            return text
        pieces, done = [], 0
        for space in _SPACE.finditer(text):
            if _is_wide(layer, space.start() - 1, space.end()):
                pieces += [text[done : space.start()], textlayer.GAP]
                done = space.end()
        return "".join((*pieces, text[done:]))
    finally:
        layer.close()


def _is_wide(layer: pypdfium2.PdfTextPage, before: int, after: int) -> bool:
    """Say whether between two characters of a row there is more than a space."""
    one, other = pdfium.FS_RECTF(), pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(layer.raw, before, one)
    pdfium.FPDFText_GetLooseCharBox(layer.raw, after, other)
    height: float = max(one.top - one.bottom, other.top - other.bottom)
    gap: float = other.left - one.right
    return gap > _WIDE * height > 0


def _is_on(page: pypdfium2.PdfPage, kinds: tuple[int, ...]) -> bool:
    """Say whether something of these kinds is on the page: a scan, letters as outlines, odd fonts."""
    return next(iter(page.get_objects(filter=kinds, max_depth=4)), None) is not None


def _is_scan(page: pypdfium2.PdfPage) -> bool:
    """Say whether a picture covers much of the page, and no invisible text as OCR programs lay over it."""
    left, bottom, right, top = page.get_bbox()
    size = max((right - left) * (top - bottom), 1.0)
    covered = False
    for number, item in enumerate(page.get_objects(max_depth=1)):
        if number >= _MAX_OBJECTS:
            return False
        kind = item.type
        if kind == pdfium.FPDF_PAGEOBJ_TEXT:
            if pdfium.FPDFTextObj_GetTextRenderMode(item.raw) == pdfium.FPDF_TEXTRENDERMODE_INVISIBLE:
                return False
        elif kind == pdfium.FPDF_PAGEOBJ_IMAGE or (kind == pdfium.FPDF_PAGEOBJ_FORM and _holds_picture(item)):
            low_x, low_y, high_x, high_y = item.get_bounds()
            width, height = min(high_x, right) - max(low_x, left), min(high_y, top) - max(low_y, bottom)
            covered = covered or max(width, 0.0) * max(height, 0.0) > _COVERED * size
    return covered


def _holds_picture(form: pypdfium2.PdfObject) -> bool:
    for number in range(min(pdfium.FPDFFormObj_CountObjects(form.raw), 50)):
        item = pdfium.FPDFFormObj_GetObject(form.raw, number)
        if pdfium.FPDFPageObj_GetType(item) == pdfium.FPDF_PAGEOBJ_IMAGE:
            return True
    return False


def _image_pixels(page: pypdfium2.PdfPage) -> int:
    """Return the pixels of the largest picture on a page: one is drawn after the other."""
    most = 0
    width, height = ctypes.c_uint(), ctypes.c_uint()
    for number, item in enumerate(page.get_objects(filter=(pdfium.FPDF_PAGEOBJ_IMAGE,), max_depth=4)):
        if number >= _MAX_OBJECTS:
            break
        if pdfium.FPDFImageObj_GetImagePixelSize(item.raw, width, height):
            most = max(most, width.value * height.value)
    return most


def _picture(page: pypdfium2.PdfPage) -> Any:
    """Draw a page, forms and comments included; a PIL image, which OCR workers alone import."""
    width, height = page.get_size()
    scale = min(_DPI / 72, math.sqrt(_MAX_PIXELS / max(width * height, 1.0)), _MAX_SIDE / max(width, height, 1.0))
    return page.render(scale=scale).to_pil().convert("RGB")


def _filled_in(page: pypdfium2.PdfPage, form: Any) -> Iterator[str]:
    """Yield what people have filled into a form and written beside the text."""
    for number in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MAX_COMMENTS)):
        note = pdfium.FPDFPage_GetAnnot(page.raw, number)
        if not note:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(note)
        if kind in _COMMENTS:
            yield _string(lambda *at, note=note: pdfium.FPDFAnnot_GetStringValue(note, b"Contents", *at))
        elif kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
            yield _field(form.raw, note)
        pdfium.FPDFPage_CloseAnnot(note)


def _field(form: Any, note: Any) -> str:
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, note)
    if kind in _BUTTONS and pdfium.FPDFAnnot_IsChecked(form, note):
        value = _string(lambda *at: pdfium.FPDFAnnot_GetFormFieldExportValue(form, note, *at)) or "Yes"
    elif kind in _TYPED:
        value = _string(lambda *at: pdfium.FPDFAnnot_GetFormFieldValue(form, note, *at))
    else:
        return ""
    name = _string(lambda *at: pdfium.FPDFAnnot_GetFormFieldAlternateName(form, note, *at)) or _string(
        lambda *at: pdfium.FPDFAnnot_GetFormFieldName(form, note, *at)
    )
    return f"{name}: {value}" if value.strip() else ""


def _string(get: Callable[..., int]) -> str:
    """Return a string that PDFium hands out in UTF-16, as long as the bytes it says it needs."""
    size = get(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    get(ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").replace("\r\n", "\n").replace("\r", "\n")
