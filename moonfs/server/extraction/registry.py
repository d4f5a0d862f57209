"""The table of formats: which extensions are taken, which bytes mean which format, and who reads it.

Bytes go before names: a `.docx` that is a PDF is read as a PDF. Only the extension decides whether the
service takes a file at all, as `.env` and `Dockerfile.x` show (LIVE); without an extension, bytes do that are surely a
format (LIVE: a PDF called `upload`), and text is none.

**Threading:** constants and pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from moonfs.server import media

Lane = Literal["text", "light", "ocr"]

#: Part of the key under which extracted text is found again: raise it when a reader gives other text.
VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Format:
    """One line of the table.

    Attributes:
        name: for logs and for the key of known text.
        reader: `module:function`; the function is `read(document, output)`.
        extensions: lower case, with the dot.
        media_types: bytes of these types are of this format, whatever the name says.
        lane: which workers read it first; a light reader may ask for OCR.
        is_text: any bytes that are text will do, so the extension alone decides between such formats.
    """

    name: str
    reader: str
    extensions: frozenset[str]
    media_types: frozenset[str] = field(default_factory=frozenset)
    lane: Lane = "light"
    is_text: bool = False


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_HERE: Final = "moonfs.server.extraction"
_PLAIN: Final = _words(
    ".txt .csv .md .log .go .h .c .cpp .cxx .cc .cs .java .js .css .jsp .php .py .py3 .asp .yaml"
    " .yml .ini .conf .ts .tsx"
)
_PICTURES: Final = _words(".jpeg .jpg .jfif .pjp .pjpeg .png .apng .bmp .dib .gif .webp .ico .xbm .tif .tiff .avif")
_PICTURE_TYPES: Final = _words("image/png image/jpeg image/gif image/webp image/bmp image/tiff image/x-icon image/avif")

FORMATS: Final = (
    Format("text", f"{_HERE}.text:read", _PLAIN, lane="text", is_text=True),
    Format("json", f"{_HERE}.text:read_json", _words(".json"), lane="text", is_text=True),
    Format("html", f"{_HERE}.markup:read_html", _words(".html"), is_text=True),
    Format("svg", f"{_HERE}.svg:read", _words(".svg .svgz"), _words(media.GZIP), is_text=True),
    Format("pdf", f"{_HERE}.pdf:read", _words(".pdf"), _words(media.PDF)),
    Format("archive", f"{_HERE}.archive:read", _words(".docx .xlsx .pptx .epub"), _words(media.ZIP)),
    Format("compound", f"{_HERE}.compound:read", _words(".doc .dot .xls .ppt"), _words(media.OLE)),
    Format("mobi", f"{_HERE}.mobi:read", _words(".mobi"), _words(media.MOBI)),
    Format("old sheet", f"{_HERE}.sheets97:read_file", frozenset(), _words(media.BIFF)),
    Format("rtf", f"{_HERE}.rtf:read", frozenset()),
    Format("picture", f"{_HERE}.pictures:read", _PICTURES, _PICTURE_TYPES, lane="ocr"),
)

#: Names under which programs save rich text, pages and tables in plain text, since Office opens them all the same.
_OFTEN_TEXT: Final = frozenset((".doc", ".dot", ".xls"))
_TEXT_FORMATS: Final = {media.RTF: "rtf", media.HTML: "html", media.TEXT: "text"}

#: Texts that begin as no other text does.
_KNOWN_TEXTS: Final = {media.HTML: "html", media.SVG: "svg"}


def extension_of(filename: str) -> str:
    """Return the extension, lower case with the dot; empty for `Makefile`, `.env` and `a.`."""
    base = re.split(r"[/\\]", filename)[-1].strip()
    stem, dot, extension = base.rpartition(".")
    return f".{extension.lower()}" if dot and stem and extension else ""


def is_taken(extension: str, formats: Iterable[Format] = FORMATS) -> bool:
    """Say whether files with this extension are taken at all."""
    return any(extension in entry.extensions for entry in formats)


def by_bytes(media_type: str, formats: Iterable[Format] = FORMATS) -> Format | None:
    """Return the format that bytes are without a doubt, or None."""
    if media_type in _KNOWN_TEXTS:
        return next((entry for entry in formats if entry.name == _KNOWN_TEXTS[media_type]), None)
    return next((entry for entry in formats if media_type in entry.media_types and not entry.is_text), None)


def choose(extension: str, media_type: str, formats: Iterable[Format] = FORMATS) -> Format | None:
    """Return the format to read such bytes under such a name as, or None for a broken document."""
    formats = tuple(formats)
    for entry in formats:
        if media_type in entry.media_types:
            return entry
    if extension in _OFTEN_TEXT and media_type in _TEXT_FORMATS:
        return next((entry for entry in formats if entry.name == _TEXT_FORMATS[media_type]), None)
    named = next((entry for entry in formats if extension in entry.extensions), None)
    if named is None or named.is_text or not named.media_types or extension == ".xbm":
        return named
    return None  # a .pdf, .docx or .png whose bytes are nothing of the kind
