"""Presentations (.pptx): slide by slide the text of all shapes, tables row by row, charts, diagrams, then the notes.

`write_slide` is shared with `slides97`.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pptx import Presentation
from pptx.shapes.group import GroupShape

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, Output
from moonfs.server.extraction.illustrations import related_lines

MAX_SLIDES: Final = 5000


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a presentation."""
    slides = Presentation(archive.path).slides
    for number, slide in enumerate(slides, 1):
        lines = [*_lines(slide.shapes), *related_lines(archive, slide.part.partname.lstrip("/"))]
        if slide.has_notes_slide:
            notes = slide.notes_slide.notes_text_frame
            if notes is not None and notes.text.strip():
                lines.append(f"Notes: {_clean(notes.text)}")
        write_slide(number, lines, document, output)


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


def _lines(shapes: Iterable[Any]) -> Iterator[str]:
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _lines(shape.shapes)
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:
                yield "\t".join(_clean(cell.text).replace("\n", " ") for cell in row.cells)
        elif shape.has_text_frame:
            yield _clean(shape.text_frame.text)


def _clean(text: str) -> str:
    return text.replace("\v", "\n")
