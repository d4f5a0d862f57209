"""Presentations (.pptx): slide by slide, every shape and table in its order, charts, diagrams, comments, then notes.

A walk over the XML of its own, part by part, so that a damaged slide takes no other with it. `write_slide` is shared
with `slides97`.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from lxml import etree

from moonfs.server.extraction.archive import DAMAGED, Archive, name_of
from moonfs.server.extraction.document import Document, NoText, Output
from moonfs.server.extraction.illustrations import related_lines

MAX_SLIDES: Final = 5000

#: Where the list of slides is where nothing says where it is.
_MAIN: Final = "ppt/presentation.xml"
_SLIDE_NAME: Final = re.compile(r"ppt/slides/slide(\d{1,9})\.xml")
#: Of a shape and of its text: how it looks, not what it says.
_UNSEEN: Final = frozenset(("nvSpPr", "spPr", "style", "bodyPr", "lstStyle", "pPr", "rPr", "endParaRPr", "extLst"))


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a presentation. Raises NoText for one without a slide that can be read."""
    readable = 0
    for number, part in enumerate(_slides(archive), 1):
        try:
            lines = list(_shapes(archive.xml(part)))
            readable += 1
        except DAMAGED:
            archive.is_damaged = True
            lines = []
        lines += related_lines(archive, part, document, output)
        for notes in archive.parts(part, "notesSlide")[:1]:
            lines += _notes(archive, notes)
        write_slide(number, lines, document, output)
    if not readable:
        raise NoText


def write_slide(number: int, lines: Sequence[str], document: Document, output: Output) -> None:
    """Write one slide, with its number before it unless it is empty. Raises Full when it is too much or too late."""
    if any(line.strip() for line in lines):
        output.line(f"## Slide {number}")
        for line in lines:
            output.line(line)
        output.add("\n")
    if number >= MAX_SLIDES:
        output.cut(f"only the first {MAX_SLIDES:,} slides are kept")
    if document.is_late():
        output.cut("reading it took too long")


def _slides(archive: Archive) -> list[str]:
    """Return the slides in the order of the presentation; where that is damaged, in the order of their numbers."""
    try:
        main = next(iter(archive.parts("", "officeDocument")), _MAIN)
        targets = archive.targets(main)
        wanted = [targets.get(_relation(entry), "") for entry in archive.xml(main).iter("{*}sldId")]
        found = [part for part in dict.fromkeys(wanted) if archive.has(part)]
        if len(found) == len(wanted):
            return found
    except DAMAGED:
        found = []
    archive.is_damaged = True
    numbers = [(int(name[1]), name[0]) for part in archive.namelist() if (name := _SLIDE_NAME.fullmatch(part))]
    return list(dict.fromkeys((*found, *(part for _, part in sorted(numbers)))))


def _relation(element: etree._Element) -> str:
    return next((str(value) for name, value in element.attrib.items() if str(name).endswith("relationships}id")), "")


def _notes(archive: Archive, part: str) -> Iterator[str]:
    try:
        for shape in archive.xml(part).iter("{*}sp"):
            if any(place.get("type") == "body" for place in shape.iter("{*}ph")):
                text = "\n".join(_shapes(shape))
                if text.strip():
                    yield f"Notes: {text}"
    except DAMAGED:
        archive.is_damaged = True


def _shapes(container: etree._Element) -> Iterator[str]:
    """Yield the texts of shapes, and tables row by row, whatever they are grouped in."""
    for element in container:
        name = name_of(element)
        if name == "txBody":
            yield "\n".join("".join(_runs(part)) for part in element if name_of(part) == "p")
        elif name == "tr":
            cells = (" ".join(_shapes(cell)).replace("\n", " ") for cell in element if name_of(cell) == "tc")
            yield "\t".join(cells)
        elif name == "AlternateContent":
            yield from _shapes(_choice(element))
        elif name not in _UNSEEN:
            yield from _shapes(element)


def _runs(paragraph: etree._Element) -> Iterator[str]:
    """Yield the text of a paragraph, its fields and its formulas."""
    for element in paragraph:
        name = name_of(element)
        if name == "t":
            yield (element.text or "").replace("\v", "\n")
        elif name == "br":
            yield "\n"
        elif name == "AlternateContent":
            yield from _runs(_choice(element))
        elif name not in _UNSEEN:
            yield from _runs(element)


def _choice(alternatives: etree._Element) -> etree._Element:
    """Return the first of several renderings of one thing: reading all would repeat it."""
    return next(iter(alternatives), alternatives)
