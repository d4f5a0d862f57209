"""Word documents before 2007 (.doc, .dot): headers, text with tables, boxes, notes, comments, footers.

The text of a document lies in pieces anywhere in the stream; the piece table puts them in order. All parts
follow one another in one numbering of characters: main text, footnotes, headers, comments, endnotes, boxes.
Row ends and deletions are no characters but properties of runs, kept in pages of 512 bytes. Fields give their
result. The layout of the file is that of [MS-DOC]; names in capitals are its.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from moonfs.server.extraction.compound import Compound
from moonfs.server.extraction.document import Document, NoText, Output, Why

#: Pieces of one document, and pages of properties.
MAX_PIECES: Final = 1_000_000

_WORD_97: Final = 0xA5EC
_WORD_6: Final = 0xA5DC
_ENCRYPTED: Final = 0x0100
_TABLE_1: Final = 0x0200
_COMPLEX: Final = 0x0004
#: Where the lengths of the parts are in the FIB, in the order in which they follow one another.
_LENGTHS: Final = {
    "main": 0x4C, "footnotes": 0x50, "headers": 0x54, "macros": 0x58, "comments": 0x5C, "endnotes": 0x60,
    "boxes": 0x64, "header boxes": 0x68,
}  # fmt: skip
#: Where (position, length) of a table is in the FIB.
_HEADERS_AT: Final = 0xF2
_CHARACTER_PAGES_AT: Final = 0xFA
_PARAGRAPH_PAGES_AT: Final = 0x102
_PIECES_AT: Final = 0x1A2
_PIECES_AT_WORD_6: Final = 0x160
_PAGE: Final = 512
#: Properties: the paragraph is in a table, or ends a row; the run was deleted while changes were tracked.
_IN_TABLE: Final = 0x2416
_ROW_END: Final = 0x2417
_DELETED: Final = 0x0800
#: Bytes of a property's operand, by the upper three bits of its code; 6 begins with its length.
_OPERANDS: Final = (1, 1, 2, 4, 2, 2, -1, 3)
_LONG_OPERAND: Final = 0xD608  # a table's definition has a length of two bytes
_TABS: Final = 0xC615

_FIELD_BEGIN, _FIELD_MIDDLE, _FIELD_END = "\x13", "\x14", "\x15"
_CELL_END: Final = "\x07"
#: Marks of notes and pictures are no text; page and column breaks end a line.
_MARKS: Final = str.maketrans(
    {**dict.fromkeys("\x00\x01\x02\x03\x04\x05\x06\x08\x1f", None), "\x0b": "\n", "\x0c": "\n", "\x0e": "\n",
     "\x0d": "\n", "\x1e": "-"}
)  # fmt: skip
#: Code pages of the East by the language of a Word 6 document; all others are written as the West does.
_CODE_PAGES: Final = {0x0804: "gbk", 0x1004: "gbk", 0x0404: "big5", 0x0C04: "big5", 0x0411: "cp932", 0x0412: "cp949"}
_CODE_PAGES_BY_PRIMARY: Final = {0x19: "cp1251", 0x22: "cp1251", 0x02: "cp1251", 0x05: "cp1250", 0x15: "cp1250",
                                 0x0E: "cp1250", 0x08: "cp1253", 0x1F: "cp1254"}  # fmt: skip


def read(compound: Compound, document: Document, output: Output) -> None:
    """Read a document. Raises NoText for one under a password, or of a Word before 6."""
    file = _File(compound)
    headers, footers = file.headers()
    parts = {name: list(_lines(file.characters(start, end))) for name, start, end in file.parts()}
    for lines in (
        *(headers, parts["main"], parts["boxes"], parts["header boxes"]),
        *(parts["footnotes"], parts["endnotes"], parts["comments"], footers),
    ):
        for line in lines:
            output.line(line if "\t" in line.strip() else line.strip())  # a tab stands between a note's mark and it
        if document.is_late():
            output.cut("reading it took too long")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters `start` to `end` of the document, at byte `offset` of the stream."""

    start: int
    end: int
    offset: int
    encoding: str
    width: int


class _File:
    """The stream of the document and what its tables say of it."""

    def __init__(self, compound: Compound) -> None:
        self._stream = compound.stream("WordDocument")
        identity, flags = self._u16(0), self._u16(0x0A)
        if identity not in (_WORD_97, _WORD_6):
            raise NoText(Why.CORRUPT)
        if flags & _ENCRYPTED:
            raise NoText(Why.PASSWORD)
        if identity == _WORD_97:
            self._table = compound.stream("1Table" if flags & _TABLE_1 else "0Table")
            self._lengths = [(name, self._u32(at)) for name, at in _LENGTHS.items()]
            self._pieces = list(_pieces(self._entry(_PIECES_AT), "cp1252", wide=True))
            paragraphs = list(self._pages(_PARAGRAPH_PAGES_AT, 13))
            self._row_ends, self._in_table = _Runs(paragraphs, _ROW_END, 2), _Runs(paragraphs, _IN_TABLE, 2)
            self._deleted = _Runs(self._pages(_CHARACTER_PAGES_AT, 1), _DELETED)
        else:
            self._table = self._stream
            self._lengths = [("main", self._u32(0x34)), *((name, 0) for name in list(_LENGTHS)[1:])]
            self._pieces = self._word_6_pieces(flags)
            self._row_ends = self._in_table = self._deleted = _Runs((), 0)

    def parts(self) -> Iterator[tuple[str, int, int]]:
        """Yield (name, first character, end) of each part but the headers."""
        at = 0
        for name, length in self._lengths:
            if name != "headers":
                yield name, at, at + length
            at += length

    def headers(self) -> tuple[list[str], list[str]]:
        """Return the lines of all headers, and of all footers; those that repeat once."""
        begin = sum(length for _, length in self._lengths[:2])
        length = dict(self._lengths)["headers"]
        entry = self._entry(_HEADERS_AT) if length and self._table is not self._stream else b""
        ends = struct.unpack_from(f"<{len(entry) // 4}I", entry)
        lines: tuple[dict[str, None], dict[str, None]] = ({}, {})
        # Six stories separate notes from text; then come, for each section, even and odd header, even and odd footer,
        # header and footer of the first page.
        for number, (start, end) in enumerate(pairwise(ends[6:])):
            if start < end <= length:
                is_footer = number % 6 in (2, 3, 5)
                lines[is_footer].update(dict.fromkeys(_lines(self.characters(begin + start, begin + end))))
        return list(lines[0]), list(lines[1])

    def characters(self, start: int, end: int) -> Iterator[tuple[str, bool]]:
        """Yield the characters of a part without those deleted, as runs; and whether a run is the end of a row."""
        for piece in self._pieces:
            first, last = max(start, piece.start), min(end, piece.end)
            if first < last:
                offset = piece.offset + (first - piece.start) * piece.width
                yield from self._run(piece, offset, (last - first) * piece.width)

    def _run(self, piece: _Piece, offset: int, size: int) -> Iterator[tuple[str, bool]]:
        for begin, end in self._deleted.gaps(offset, offset + size):
            # A row ends with a cell mark; whether one is such an end, the properties of its paragraph tell.
            for at, stop, ends_row in self._row_ends.split(begin, end):
                for start, last, in_table in self._in_table.split(at, stop):
                    text = _decode(self._stream[start:last], piece.encoding)
                    yield text.replace("\r", "\v") if in_table else text, ends_row

    def _word_6_pieces(self, flags: int) -> list[_Piece]:
        language = self._u16(6)
        encoding = _CODE_PAGES.get(language) or _CODE_PAGES_BY_PRIMARY.get(language & 0xFF, "cp1252")
        if flags & _COMPLEX:
            return list(_pieces(self._entry(_PIECES_AT_WORD_6), encoding, wide=False))
        start, end = self._u32(0x18), self._u32(0x1C)
        return [_Piece(0, max(0, end - start), start, encoding, 1)]

    def _pages(self, at: int, width: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (first byte, end, properties) of every run, from the pages that a table at `at` of the FIB names."""
        entry = self._entry(at)
        count = max(0, (len(entry) - 4) // 8)
        for number in struct.unpack_from(f"<{count}I", entry, (count + 1) * 4) if count else ():
            page = self._stream[(number & 0x3FFFFF) * _PAGE :][:_PAGE]
            runs = page[-1] if len(page) == _PAGE else 0
            if runs and (runs + 1) * 4 + runs * width < _PAGE:
                bounds = struct.unpack_from(f"<{runs + 1}I", page)
                for run in range(runs):
                    word = page[(runs + 1) * 4 + run * width] * 2
                    if word:
                        yield bounds[run], bounds[run + 1], _properties(page, word, is_paragraph=width > 1)

    def _entry(self, at: int) -> bytes:
        position, length = self._u32(at), self._u32(at + 4)
        if position + length > len(self._table):
            raise NoText
        return self._table[position : position + length]

    def _u16(self, at: int) -> int:
        return int.from_bytes(self._stream[at : at + 2], "little")

    def _u32(self, at: int) -> int:
        return int.from_bytes(self._stream[at : at + 4], "little")


class _Runs:
    """The stretches of the stream that have a property, in order."""

    def __init__(self, runs: Iterable[tuple[int, int, bytes]], wanted: int, skip: int = 0) -> None:
        found = sorted({(start, end) for start, end, raw in runs if start < end and _has(raw[skip:], wanted)})
        self._starts = [start for start, _ in found]
        self._ends = [end for _, end in found]

    def split(self, at: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield `at` to `end` in parts (first byte, end, whether it has the property)."""
        index = bisect.bisect_right(self._ends, at)
        while at < end and index < len(self._starts) and self._starts[index] < end:
            start, stop = max(at, self._starts[index]), min(end, self._ends[index])
            if at < start:
                yield at, start, False
            if start < stop:
                yield start, stop, True
            at = max(at, stop)
            index += 1
        if at < end:
            yield at, end, False

    def gaps(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is left of `at` to `end` without the stretches."""
        return ((start, stop) for start, stop, has_it in self.split(at, end) if not has_it)


def _pieces(table: bytes, narrow: str, *, wide: bool) -> Iterator[_Piece]:
    """Yield the pieces that a CLX tells of; `narrow` is the encoding of one byte a character."""
    at = 0
    while table[at : at + 1] == b"\x01":  # properties that pieces share
        at += 3 + int.from_bytes(table[at + 1 : at + 3], "little")
    if table[at : at + 1] != b"\x02":
        raise NoText
    length = int.from_bytes(table[at + 1 : at + 5], "little")
    table = table[at + 5 : at + 5 + length]
    count = (len(table) - 4) // 12
    if count > MAX_PIECES:
        raise NoText(Why.TOO_LARGE)
    bounds = struct.unpack_from(f"<{count + 1}I", table)
    for number, (start, end) in enumerate(pairwise(bounds)):
        offset = int.from_bytes(table[(count + 1) * 4 + number * 8 + 2 :][:4], "little")
        if not start < end:
            continue
        if not wide:
            yield _Piece(start, end, offset, narrow, 1)
        elif offset & 0x40000000:
            yield _Piece(start, end, (offset & 0x3FFFFFFF) // 2, narrow, 1)
        else:
            yield _Piece(start, end, offset, "utf-16-le", 2)


def _properties(page: bytes, at: int, *, is_paragraph: bool) -> bytes:
    size = page[at]
    if not is_paragraph:
        return page[at + 1 : at + 1 + size]
    if size:
        return page[at + 1 : at + 2 * size]
    return page[at + 2 : at + 2 + 2 * page[at + 1]] if at + 1 < _PAGE else b""


def _has(properties: bytes, wanted: int) -> bool:
    """Say whether a property is there, and set."""
    at = 0
    while at + 3 <= len(properties):
        code = int.from_bytes(properties[at : at + 2], "little")
        at += 2
        if code == wanted:
            return properties[at] == 1
        size = _OPERANDS[code >> 13]
        if code == _LONG_OPERAND:
            size = int.from_bytes(properties[at : at + 2], "little") + 1
        elif code == _TABS and properties[at] == 255:
            return False
        elif size < 0:
            size = properties[at] + 1
        at += size
    return False


def _decode(raw: bytes, encoding: str) -> str:
    return raw.decode(encoding, "surrogatepass" if encoding == "utf-16-le" and not len(raw) % 2 else "replace")


def _lines(runs: Iterator[tuple[str, bool]]) -> Iterator[str]:
    """Yield the lines of a part: paragraphs, and rows with their cells apart by tabs."""
    line: list[str] = []
    cells: list[str] = []
    shown = _Fields()
    for run, ends_row in runs:
        text = shown.visible(run)
        if ends_row:
            yield "\t".join(cells)
            cells, line = [], []
            continue
        *closed, rest = text.split(_CELL_END)
        for cell in closed:
            line.append(cell)
            cells.append(" ".join("".join(line).translate(_MARKS).split("\n")).strip())
            line = []
        line.append(rest)
        if not cells and ("\r" in rest or "\x0c" in rest):
            *whole, last = "".join(line).translate(_MARKS).split("\n")
            yield from whole
            line = [last]
    if cells:
        yield "\t".join(cells)
    yield from "".join(line).translate(_MARKS).split("\n")


class _Fields:
    """Leaves out what fields are told to do, and keeps what they say: `{ PAGE | 3 }` is 3."""

    def __init__(self) -> None:
        self._hidden: list[bool] = []

    def visible(self, text: str) -> str:
        """Return what is seen of the next run."""
        if not self._hidden and _FIELD_BEGIN not in text:
            return text.replace(_FIELD_MIDDLE, "").replace(_FIELD_END, "")
        seen = []
        for character in text:
            if character == _FIELD_BEGIN:
                self._hidden.append(True)
            elif character == _FIELD_MIDDLE:
                if self._hidden:
                    self._hidden[-1] = False
            elif character == _FIELD_END:
                if self._hidden:
                    self._hidden.pop()
            elif character in _CELL_END + "\r" or not any(self._hidden):
                seen.append(character)
        return "".join(seen)
