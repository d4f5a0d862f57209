"""Presentations before 2007 (.ppt): slide by slide the text of all shapes, tables row by row, then the notes.

A stream of records, many of them containers of others. Each save appends what has changed and a directory of
where everything is now; old versions stay behind, so the stream is not read from front to back but through the
newest directory, in the order of the list of slides. The layout is that of [MS-PPT] and [MS-ODRAW].

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moonfs.server.extraction.compound import Compound
from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.slides import write_slide

#: Saves of one file, and containers within one another: more is no real presentation.
MAX_EDITS: Final = 10_000
MAX_DEPTH: Final = 64

_ENCRYPTED: Final = 0xF3D1C4DF
#: Record types of [MS-PPT] 2.13.24.
_DOCUMENT, _SLIDE, _NOTES = 0x03E8, 0x03EE, 0x03F0
_SLIDE_ATOM, _SLIDE_PERSIST = 0x03EF, 0x03F3
_USER_EDIT, _DIRECTORY = 0x0FF5, 0x1772
_SLIDE_LIST, _OUTLINE_REFERENCE = 0x0FF0, 0x0F9E
_TEXT_HEADER, _TEXT_WIDE, _TEXT_NARROW, _STRING = 0x0F9F, 0x0FA0, 0x0FA8, 0x0FBA
_HEADERS_FOOTERS, _HEADERS_FOOTERS_ATOM = 0x0FD9, 0x0FDA
#: Record types of [MS-ODRAW].
_GROUP, _SHAPE, _ANCHOR, _TEXT_BOX, _MORE_PROPERTIES = 0xF003, 0xF004, 0xF00F, 0xF00D, 0xF122
_IS_TABLE: Final = 0x039F
#: The lists of slides and of notes, among the lists of the document.
_OF_SLIDES, _OF_NOTES = 0, 2
#: The text of a notes page that is the notes, not its number or date.
_NOTES_TEXT: Final = 2
_HAS_FOOTER: Final = 0x20
_FOOTER: Final = 2


def read(compound: Compound, document: Document, output: Output) -> None:
    """Read a presentation. Raises NoText for one under a password."""
    file = _File(compound)
    for number, slide in enumerate(file.slides(), 1):
        write_slide(number, list(file.lines(slide)), document, output)


@dataclass(frozen=True, slots=True)
class _Record:
    """One record: its type, its instance, and where in the stream its content is."""

    kind: int
    instance: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Slide:
    """A slide in the list: where its container is, what the outline has of it, and its number in other lists."""

    persist: int
    number: int
    outline: list[str]


class _File:
    """The stream, and the newest directory of what is in it."""

    def __init__(self, compound: Compound) -> None:
        user = compound.stream("Current User")
        if len(user) < 20:
            raise NoText
        token, edit = struct.unpack_from("<II", user, 12)
        if token == _ENCRYPTED:
            raise NoText(Why.PASSWORD)
        self._stream = compound.stream("PowerPoint Document")
        self._offsets: dict[int, int] = {}
        root = self._follow_edits(edit)
        document = self._persisted(root, _DOCUMENT)
        if document is None:
            raise NoText
        lists = {r.instance: list(self._listed(r)) for r in self._children(document) if r.kind == _SLIDE_LIST}
        self._slides = lists.get(_OF_SLIDES, [])
        self._notes = {notes.number: notes for notes in lists.get(_OF_NOTES, [])}
        # Footers stand in the document for all slides (instance 3), unless a slide has its own.
        self._footer = next(
            (self._footer_of(r) for r in self._children(document) if r.kind == _HEADERS_FOOTERS and r.instance == 3), ""
        )

    def slides(self) -> list[_Slide]:
        """Return the slides in their order."""
        return self._slides

    def lines(self, slide: _Slide) -> Iterator[str]:
        """Yield the lines of a slide, its footer, and its notes."""
        container = self._persisted(slide.persist, _SLIDE)
        seen: set[int] = set()
        notes = 0
        footer = self._footer
        if container is not None:
            yield from self._shapes(container, slide.outline, seen, 0)
            for record in self._children(container):
                if record.kind == _SLIDE_ATOM and record.end - record.start >= 20:
                    (notes,) = struct.unpack_from("<I", self._stream, record.start + 16)
                elif record.kind == _HEADERS_FOOTERS:
                    footer = self._footer_of(record)
        for number, text in enumerate(slide.outline):  # what no shape refers to
            if number not in seen:
                yield from _split(text)
        yield from _split(footer)
        if notes in self._notes:
            text = self._notes_text(self._notes[notes])
            if text.strip():
                yield f"Notes: {text}"

    def _notes_text(self, notes: _Slide) -> str:
        container = self._persisted(notes.persist, _NOTES)
        if container is None:
            return ""
        texts = [
            text
            for box in self._find(container, _TEXT_BOX, 0)
            for kind, text in self._texts(box)
            if kind == _NOTES_TEXT
        ]
        return "\n".join(_split("\r".join(texts or notes.outline)))

    def _shapes(self, container: _Record, outline: list[str], seen: set[int], depth: int) -> Iterator[str]:
        """Yield the lines of all shapes in a container, in their order; of a table row by row."""
        if depth > MAX_DEPTH:
            return
        for record in self._children(container):
            if record.kind == _GROUP and self._is_table(record):
                yield from self._rows(record, outline, seen)
            elif record.kind == _TEXT_BOX:
                yield from _split("\r".join(self._box(record, outline, seen)))
            elif _is_container(record, self._stream):
                yield from self._shapes(record, outline, seen, depth + 1)

    def _rows(self, table: _Record, outline: list[str], seen: set[int]) -> Iterator[str]:
        rows: dict[int, list[tuple[int, str]]] = {}
        for shape in self._children(table):
            anchor = next((r for r in self._children(shape) if r.kind == _ANCHOR), None)
            if shape.kind == _SHAPE and anchor is not None and anchor.end - anchor.start >= 8:
                left, top = struct.unpack_from("<ii", self._stream, anchor.start)
                boxes = [self._box(r, outline, seen) for r in self._children(shape) if r.kind == _TEXT_BOX]
                if boxes:  # the lines between cells are shapes as well
                    text = " ".join(" ".join(_split("\r".join(box))) for box in boxes)
                    rows.setdefault(top, []).append((left, text))
        for _, cells in sorted(rows.items()):
            yield "\t".join(text for _, text in sorted(cells, key=lambda cell: cell[0])).rstrip("\t")

    def _is_table(self, group: _Record) -> bool:
        shape = next((r for r in self._children(group) if r.kind == _SHAPE), None)
        if shape is None:
            return False
        for record in self._children(shape):
            if record.kind == _MORE_PROPERTIES:
                for at in range(record.start, min(record.end, record.start + record.instance * 6) - 5, 6):
                    if struct.unpack_from("<H", self._stream, at)[0] & 0x3FFF == _IS_TABLE:
                        return True
        return False

    def _box(self, box: _Record, outline: list[str], seen: set[int]) -> Iterator[str]:
        """Yield the texts of a text box: its own, or those of the outline that it refers to."""
        for record in self._children(box):
            if record.kind == _OUTLINE_REFERENCE and record.end - record.start >= 4:
                (number,) = struct.unpack_from("<I", self._stream, record.start)
                if number < len(outline) and number not in seen:
                    seen.add(number)
                    yield outline[number]
        yield from (text for _, text in self._texts(box))

    def _texts(self, container: _Record) -> Iterator[tuple[int, str]]:
        """Yield (type, text) of the text atoms right in a container."""
        kind = -1
        for record in self._children(container):
            if record.kind == _TEXT_HEADER and record.end - record.start >= 4:
                (kind,) = struct.unpack_from("<I", self._stream, record.start)
            elif record.kind in (_TEXT_WIDE, _TEXT_NARROW):
                yield kind, self._text(record)

    def _text(self, record: _Record) -> str:
        raw = self._stream[record.start : record.end]
        # A narrow text is the lower bytes of UTF-16, so Latin-1.
        return raw.decode("latin-1") if record.kind == _TEXT_NARROW else raw.decode("utf-16-le", "replace")

    def _footer_of(self, container: _Record) -> str:
        records = list(self._children(container))
        flags = next((r for r in records if r.kind == _HEADERS_FOOTERS_ATOM and r.end - r.start >= 4), None)
        if flags is None or not struct.unpack_from("<H", self._stream, flags.start + 2)[0] & _HAS_FOOTER:
            return ""
        return next((self._text(r) for r in records if r.kind == _STRING and r.instance == _FOOTER), "")

    def _listed(self, container: _Record) -> Iterator[_Slide]:
        slide: _Slide | None = None
        for record in self._children(container):
            if record.kind == _SLIDE_PERSIST and record.end - record.start >= 16:
                if slide is not None:
                    yield slide
                persist, _, _, number = struct.unpack_from("<IIII", self._stream, record.start)
                slide = _Slide(persist, number, [])
            elif slide is not None and record.kind in (_TEXT_WIDE, _TEXT_NARROW):
                slide.outline.append(self._text(record))
            elif slide is not None and record.kind == _TEXT_HEADER:
                following = self._record(record.end)
                if following is None or following.kind not in (_TEXT_WIDE, _TEXT_NARROW):
                    slide.outline.append("")  # an empty placeholder counts as well
        if slide is not None:
            yield slide

    def _follow_edits(self, offset: int) -> int:
        """Fill the directory, newest first, and return the number of the document in it."""
        root = 0
        seen: set[int] = set()
        while offset not in seen and len(seen) < MAX_EDITS:
            seen.add(offset)
            edit = self._record(offset)
            if edit is None or edit.kind != _USER_EDIT or edit.end - edit.start < 28:
                break
            if edit.end - edit.start >= 32:  # it names a key
                raise NoText(Why.PASSWORD)
            offset, directory, document = struct.unpack_from("<III", self._stream, edit.start + 8)
            root = root or document
            self._read_directory(directory)
            if not offset:
                break
        return root

    def _read_directory(self, offset: int) -> None:
        directory = self._record(offset)
        if directory is None or directory.kind != _DIRECTORY:
            return
        count = (directory.end - directory.start) // 4
        words = struct.unpack_from(f"<{count}I", self._stream, directory.start)
        at = 0
        while at < count:
            first, length = words[at] & 0xFFFFF, words[at] >> 20
            for number, where in enumerate(words[at + 1 : at + 1 + length], first):
                self._offsets.setdefault(number, where)
            at += 1 + length

    def _persisted(self, number: int, kind: int) -> _Record | None:
        record = self._record(self._offsets.get(number, len(self._stream)))
        return record if record is not None and record.kind == kind else None

    def _find(self, container: _Record, kind: int, depth: int) -> Iterator[_Record]:
        for record in self._children(container):
            if record.kind == kind:
                yield record
            elif depth < MAX_DEPTH and _is_container(record, self._stream):
                yield from self._find(record, kind, depth + 1)

    def _children(self, container: _Record) -> Iterator[_Record]:
        at = container.start
        while (record := self._record(at)) is not None and record.end <= container.end:
            yield record
            at = record.end

    def _record(self, offset: int) -> _Record | None:
        if offset + 8 > len(self._stream):
            return None
        version, kind, length = struct.unpack_from("<HHI", self._stream, offset)
        end = offset + 8 + length
        return None if end > len(self._stream) else _Record(kind, version >> 4, offset + 8, end)


def _is_container(record: _Record, stream: bytes) -> bool:
    return stream[record.start - 8] & 0x0F == 0x0F


def _split(text: str) -> Iterator[str]:
    """Yield the lines of a text: paragraphs end with a return, lines within one with a vertical tab."""
    yield from text.replace("\v", "\r").replace("\n", "\r").replace("\0", "").split("\r")
