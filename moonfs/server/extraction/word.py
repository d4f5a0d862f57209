"""Word documents (.docx): headers, body with tables, boxes and formulas, charts, notes, comments, footers.

A walk over the XML of its own, as the libraries leave out headers, footers or boxes. Tables keep their rows
as lines and their cells apart by tabs.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from moonfs.server.extraction.archive import DAMAGED, Archive, name_of
from moonfs.server.extraction.document import Document, NoText, Output
from moonfs.server.extraction.illustrations import related_lines
from moonfs.server.extraction.markup import visible_text

#: The kinds of parts that hold text, in the order they are written; `None` is the body.
_PARTS: Final = ("header", None, "footnotes", "endnotes", "comments", "footer")
#: Where the body is where nothing says where it is.
_MAIN: Final = "word/document.xml"
_BREAKS: Final = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a Word document. One whose body is damaged has no text; what is damaged beside it is left out."""
    main = next(iter(archive.parts("", "officeDocument")), _MAIN)
    if not archive.has(main):
        raise NoText
    seen: set[str] = set()
    for wanted in _PARTS:
        for part in [main] if wanted is None else archive.parts(main, wanted):
            try:
                root = archive.xml(part)
            except DAMAGED:
                if wanted is None:
                    raise
                archive.is_damaged = True
                continue
            for line in _blocks(root):
                if wanted not in {"header", "footer"} or line not in seen:  # one a section, mostly the same
                    output.line(line)
                if wanted in {"header", "footer"}:
                    seen.add(line)
                if document.is_late():
                    output.cut("reading it took too long")
        if wanted is None:
            for line in (*related_lines(archive, main, document, output), *_inserted(archive, main)):
                output.line(line)


def _inserted(archive: Archive, main: str) -> Iterator[str]:
    """Yield the pages of HTML that a document takes in."""
    for part in archive.parts(main, "aFChunk"):
        if part.lower().endswith((".html", ".htm", ".xhtml")):
            try:
                yield visible_text(archive.read(part))
            except DAMAGED:
                archive.is_damaged = True


def _blocks(container: etree._Element) -> Iterator[str]:
    """Yield the lines of what holds paragraphs and tables: a body, a cell, a box, a note."""
    for element in container:
        name = name_of(element)
        if name == "p":
            boxes: list[etree._Element] = []
            yield "".join(_runs(element, boxes))
            for box in boxes:
                yield from _blocks(box)
        elif name == "tbl":
            yield from _rows(element)
        elif name == "AlternateContent":
            yield from _blocks(_choice(element))
        elif name not in {
            "sectPr",
            "tblPr",
            "Fallback",
            "del",
            "moveFrom",
        }:  # sdt, ins, customXml, footnote, comment, ...
            yield from _blocks(element)


def _rows(table: etree._Element) -> Iterator[str]:
    for element in table:
        if name_of(element) == "tr":
            cells = (" ".join(line for line in _blocks(cell) if line) for cell in _cells(element))
            yield "\t".join(cell.replace("\n", " ") for cell in cells)
        elif name_of(element) not in {"tblPr", "tblGrid"}:
            yield from _rows(element)


def _cells(row: etree._Element) -> Iterator[etree._Element]:
    for element in row:
        if name_of(element) == "tc":
            yield element
        elif name_of(element) in {"sdt", "sdtContent", "customXml", "ins"}:
            yield from _cells(element)


def _runs(container: etree._Element, boxes: list[etree._Element]) -> Iterator[str]:
    """Yield the text of a paragraph; boxes that hang on it are collected, to be read after it."""
    for element in container:
        name = name_of(element)
        if name == "t":  # of Word and of its formulas
            yield element.text or ""
        elif name in _BREAKS:
            yield _BREAKS[name]
        elif name == "txbxContent":
            boxes.append(element)
        elif name == "AlternateContent":
            yield from _runs(_choice(element), boxes)
        elif name not in {"pPr", "rPr", "Fallback", "del", "moveFrom", "rt"}:  # rt: how the word under it is read
            yield from _runs(element, boxes)


def _choice(alternatives: etree._Element) -> etree._Element:
    """Return the first of several renderings of one thing: reading all would repeat it."""
    return next(iter(alternatives), alternatives)
