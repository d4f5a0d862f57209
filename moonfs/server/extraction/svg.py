"""SVG, plain or compressed: its words as they stand, and OCR for letters that are outlines or in embedded pictures.

Entities stay as they are, unread, so that neither a file nor a billion laughs comes in with them; a DOCTYPE alone
does no harm and is what Adobe's programs write.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import gzip
import importlib
import io
import re
import zlib
from collections.abc import Iterator
from typing import Final

from lxml import etree

from moonfs.server.extraction.document import Document, NeedsOcr, NoText, Output, Why
from moonfs.server.extraction.text import decode

#: Bytes of an SVG, of an svgz inflated.
MAX_BYTES: Final = 64 * 1024**2

_SPOKEN: Final = frozenset(("text", "foreignObject", "title", "desc"))
_UNSEEN: Final = frozenset(("style", "script", "metadata"))
_SHAPES: Final = ("path", "polygon", "polyline", "glyph")
_BLOCKS: Final = frozenset(
    "address article br div dl dt dd h1 h2 h3 h4 h5 h6 hr li ol p pre section table tr ul".split()
)
_HIDDEN: Final = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b")
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
#: The names under which a reference stands; the first that is there counts, as it does for who draws. The last one is
#: what a parser makes of a prefix that is not declared.
_HREFS: Final = ("href", "{http://www.w3.org/1999/xlink}href", "xlink:href")
_UNDEFINED_PREFIX: Final = 201  # libxml2's XML_NS_ERR_UNDEFINED_NAMESPACE


def read(document: Document, output: Output) -> None:
    """Read the words of an SVG, and what it shows as a picture."""
    with open(document.path, "rb") as stream:
        root = parse(unpacked(stream.read(MAX_BYTES + 1)))
    if name_of(root) != "svg":
        raise NoText(Why.CORRUPT)
    lines = list(_lines(root))
    shows_more = _shows_more(root, any(is_shown for is_shown, _ in lines))
    if shows_more and document.recognise is None:
        raise NeedsOcr
    for _, line in lines:
        output.line(line)
    if shows_more:
        assert document.recognise is not None
        output.flush()  # what is drawn may end this process
        drawing = importlib.import_module("moonfs.server.extraction.drawing")  # it takes libraries of OCR workers
        try:
            output.line(document.recognise(drawing.draw(root, document.budget)))
        except NoText as error:
            if not output.has_text:
                raise
            output.note_cut(f"what it shows beside its words is left out, as {error.why}")


def unpacked(raw: bytes) -> bytes:
    """Return the bytes of a drawing, which may be compressed. Raises NoText for too many, or for damaged ones."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(raw)) as packed:
                raw = packed.read(MAX_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise NoText(Why.CORRUPT) from error
    if len(raw) > MAX_BYTES:
        raise NoText(Why.TOO_LARGE)
    return raw


def parse(raw: bytes) -> etree._Element:
    """Return the root of a drawing. Raises etree.XMLSyntaxError."""
    options = {"resolve_entities": False, "no_network": True, "load_dtd": False, "remove_pis": True}
    try:
        return etree.fromstring(raw, etree.XMLParser(**options))
    except etree.XMLSyntaxError as error:
        if error.code == _UNDEFINED_PREFIX:  # no reader of pictures minds
            return etree.fromstring(raw, etree.XMLParser(recover=True, **options))
        # An encoding that is declared wrongly, or not at all.
        text = _DECLARATION.sub("", decode(raw).lstrip("\ufeff"))
        return etree.fromstring(text.encode(), etree.XMLParser(encoding="utf-8", **options))


def name_of(element: etree._Element) -> str:
    """Return the name without namespace; empty for comments and entities."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


# ---- words ----------------------------------------------------------------------------------------------------


def _lines(root: etree._Element) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is drawn, line) in the order of the document; texts at one height in a group are one row."""
    row: list[str] = []
    place: tuple[int, str] | None = None
    for element in _spoken(root):
        text = "\n".join(" ".join(line.split(" ")).strip() for line in _tidy("".join(_words(element))).split("\n"))
        if not text.strip():
            continue
        is_drawn = name_of(element) in {"text", "foreignObject"}
        y = element.get("y") if name_of(element) == "text" and "\n" not in text else None
        here = None if y is None else (id(element.getparent()), y)
        if row and here != place:
            yield True, "\t".join(row)
            row = []
        place = here
        if here is None:
            yield is_drawn, text
        else:
            row.append(text)
    if row:
        yield True, "\t".join(row)


def _spoken(element: etree._Element) -> Iterator[etree._Element]:
    """Yield what holds words and is not hidden, without what is inside of such."""
    name = name_of(element)
    if not name or name in _UNSEEN or _is_hidden(element):
        return
    if name in _SPOKEN:
        yield element
        return
    children = list(element)
    if name == "switch":
        # Of a foreign object and what stands in for it where such are not drawn, one is enough.
        children = [child for child in children if name_of(child) == "foreignObject"][:1] or children
    for child in children:
        yield from _spoken(child)


def _is_hidden(element: etree._Element) -> bool:
    return bool(
        element.get("display") == "none"
        or element.get("visibility") == "hidden"
        or _HIDDEN.search(element.get("style", ""))
    )


def _words(element: etree._Element) -> Iterator[str]:
    r"""Yield the pieces of an element; a piece that is placed anew begins a line ("\n") or a word."""
    name = name_of(element)
    if not name or name in _UNSEEN or _is_hidden(element):
        return
    mark = ""
    if name in _BLOCKS:
        mark = "\n"
    elif name in {"td", "th"}:
        mark = "\t"
    elif name == "tspan" and (element.get("x") or "").strip():
        mark = "\n" if element.get("y") or element.get("dy") else " "
    yield mark
    yield (element.text or "").replace("\n", " ")
    for child in element:
        yield from _words(child)
        yield (child.tail or "").replace("\n", " ")
    if mark == "\n":
        yield mark


def _tidy(text: str) -> str:
    text = re.sub("[ \r\f\v\xa0]+", " ", text)
    return re.sub(" ?\n[ \n\t]*", "\n", re.sub(" ?\t ?", "\t", text)).strip()


# ---- what is shown --------------------------------------------------------------------------------------------


def _shows_more(root: etree._Element, has_words: bool) -> bool:
    """Say whether there may be text that is no text: in a picture, or as outlines where there are no words."""
    if any(is_embedded(image) for image in root.iter("{*}image")):
        return True
    shapes = (f"{{*}}{shape}" for shape in _SHAPES)
    return not has_words and next(root.iter(*shapes), None) is not None


def is_embedded(image: etree._Element) -> bool:
    """Say whether a picture is part of the drawing."""
    return reference(image).lstrip()[:5].lower() == "data:"


def reference(element: etree._Element) -> str:
    """Return what an element refers to, as who draws it understands it; empty for nothing."""
    return next((value for href in _HREFS if (value := element.get(href)) is not None), "")
