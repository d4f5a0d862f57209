"""Kindle books (.mobi, with what else goes by that name): the title, then the visible text.

A Palm database of records: the first describes the book, the next ones hold its text, packed. In a book of two halves,
MOBI 6 and KF8, both say the same, and the second is read, which has lost nothing on its way; the first one is if the
second is no good. The texts of Palm pilots that Kindle books descend from are text, not pages. Written from the
descriptions at MobileRead.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.kf8 import pages, with_drawings
from moonfs.server.extraction.markup import visible_text
from moonfs.server.extraction.palm import MAX_RECORD_BYTES, Huffman, unpack_palmdoc
from moonfs.server.extraction.tags import characters
from moonfs.server.extraction.text import decode

#: Bytes of a whole book, unpacked: the longest novels have 5 MB.
MAX_TEXT_BYTES: Final = 64 * 1024**2
#: Of a title, which may be anywhere; properties of a book; parts of a KF8 text.
_MAX_TITLE: Final = 2_000
_MAX_PROPERTIES: Final = 1_000
_MAX_FLOWS: Final = 4_000

_PLAIN, _PALMDOC, _HUFFMAN = 1, 2, 17480
_ENCODINGS: Final = {1252: "cp1252", 65001: "utf-8", 65002: "utf-16-be", 936: "gb18030", 950: "big5hkscs", 932: "cp932"}
_KF8: Final = 8
#: Properties: the record with which the half of KF8 begins; the title, if it is another than that of the header.
_BOUNDARY, _TITLE = 121, 503
_NONE: Final = 0xFFFFFFFF
#: What other Kindle books begin with: Topaz and KFX, which are no databases, and KFX under DRM.
_OTHERS: Final = {b"TPZ": Why.UNSUPPORTED, b"CONT": Why.UNSUPPORTED, b"\xeaDRMION": Why.DRM}


def read(document: Document, output: Output) -> None:
    """Read a book. Raises NoText for one under DRM, and for one whose records are not where it says."""
    with open(document.path, "rb") as stream:
        raw = stream.read()
    for magic, why in _OTHERS.items():
        if raw.startswith(magic):
            raise NoText(why)
    database = _Database(raw)
    book = _Book(database, 0)
    text = _better_half(database, book, document) or book.text(document)
    if not book.is_mobi:
        output.add(decode(text.replace(b"\0", b"")))
    else:
        words = visible_text(_decoded(text, book.encoding), title=False, is_late=document.is_late)
        if not words:  # of a book that is cut off the title is no text
            raise NoText(Why.EMPTY)
        output.line(book.title)
        output.add(words + "\n")
    if document.is_late():
        output.cut("reading it took too long")


def _decoded(text: bytes, encoding: str) -> str:
    """Return a text decoded; what is UTF-8 by no accident is, though many programs call it Western."""
    if encoding == "cp1252":
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return text.decode(encoding, "replace")


def _better_half(database: _Database, book: _Book, document: Document) -> bytes:
    """Return the text of the half that is KF8, or none; DRM is the same for both."""
    start = book.numbers.get(_BOUNDARY, _NONE)
    if database.record(start)[16:20] != b"MOBI":  # also of the many books that have one half only
        return b""
    try:
        half = _Book(database, start)
        text = half.text(document) if half.version == _KF8 else b""
    except NoText as error:
        if error.why == Why.DRM:
            raise
        return b""
    is_readable = bool(text.strip()) and half.encoding == book.encoding
    return text if is_readable else b""


class _Database:
    """Records by number; empty ones where there are none."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.size = len(raw)
        self.name = raw[:32].partition(b"\0")[0]
        (count,) = struct.unpack_from(">H", raw, 76) if len(raw) >= 78 else (0,)
        table = raw[78 : 78 + count * 8]
        self._bounds = [*(start for start, _ in struct.iter_unpack(">II", table[: len(table) & ~7])), len(raw)]

    def record(self, number: int) -> bytes:
        if not 0 <= number < len(self._bounds) - 1:
            return b""
        return self._raw[self._bounds[number] : self._bounds[number + 1]]


class _Book:
    """A book, or half of one.

    Args:
        database: where its records are.
        start: the number of its first one, from which all others are counted.

    Raises:
        NoText: none, or under DRM.
    """

    def __init__(self, database: _Database, start: int) -> None:
        self._database = database
        self._start = start
        head = self._record(0)
        if len(head) < 16:
            raise NoText
        self._compression, _, _, self._records, _, encryption = struct.unpack_from(">HHIHHH", head)
        self.is_mobi = head[16:20] == b"MOBI"
        if encryption and self.is_mobi:  # of a text, it is half of the number of the character that was read last
            raise NoText(Why.DRM)
        self.encoding, self.title, self.version = "cp1252", "", 0
        #: Properties that are numbers.
        self.numbers: dict[int, int] = {}
        self._flags = 0
        self._flows: list[tuple[int, int]] = []
        self._indices: tuple[int, int] | None = None
        self._huffman: Huffman | None = None
        if self.is_mobi:
            self._read_header(head)

    def text(self, document: Document) -> bytes:
        """Return the text as it is written: of a KF8 book its pages."""
        pieces, size = [], 0
        for number, piece in enumerate(self._pieces(), 1):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_TEXT_BYTES:
                raise NoText(Why.TOO_LARGE)
            document.report(number, self._records)
            if document.is_late():
                break
        text = b"".join(pieces)
        if not self._flows:
            return text
        flows = [text[start:end] for start, end in self._flows]
        if self._indices is not None:
            flows[0] = pages(flows[0], self._record, *self._indices)
        return with_drawings(flows[0], flows[1:])

    def _pieces(self) -> Iterator[bytes]:
        left = self._database.size
        for number in range(1, self._records + 1):
            record = self._record(number)
            left -= len(record)
            if left < 0:  # records that lie on one another
                raise NoText
            record = _without_trailers(record, self._flags)
            if len(record) > MAX_RECORD_BYTES:
                raise NoText(Why.TOO_LARGE)
            if self._compression == _PALMDOC:
                yield unpack_palmdoc(record)
            elif self._compression == _HUFFMAN and self._huffman is not None:
                yield self._huffman.unpack(record)
            elif self._compression == _PLAIN:
                yield record
            else:
                raise NoText(Why.UNSUPPORTED)

    def _read_header(self, head: bytes) -> None:
        head_length, _, encoding = struct.unpack_from(">III", head.ljust(32, b"\0"), 20)
        self.encoding = _ENCODINGS.get(encoding, "utf-8")
        # Books of old have short headers, and what is not in them is no part of what follows.
        fields = head[: max(32, 16 + head_length)].ljust(0x110, b"\0")
        (self.version,) = struct.unpack_from(">I", fields, 36)
        start, size = struct.unpack_from(">II", fields, 84)
        self._name(head[start : start + min(size, _MAX_TITLE)] or self._database.name)
        if fields[0x83] & 0x40:
            self._read_properties(head[16 + head_length :])
        if head_length >= 0xE4:
            (self._flags,) = struct.unpack_from(">H", fields, 0xF2)
        if self._compression == _HUFFMAN:
            first, count = struct.unpack_from(">II", fields, 0x70)
            records = [self._record(number) for number in range(first + 1, first + min(count, 1 << 16))]
            self._huffman = Huffman(self._record(first), [record for record in records if record])
        if self.version == _KF8:
            self._read_flows(struct.unpack_from(">I", fields, 0xC0)[0])
            fragments, skeletons = struct.unpack_from(">II", fields, 0xF8)
            self._indices = None if _NONE in (fragments, skeletons) else (skeletons, fragments)

    def _name(self, title: bytes) -> None:
        words = characters(title.decode(self.encoding, "replace").replace("\0", " ")).split()
        self.title = " ".join(words) or self.title

    def _read_properties(self, properties: bytes) -> None:
        if properties[:4] != b"EXTH" or len(properties) < 12:
            return
        (count,) = struct.unpack_from(">I", properties, 8)
        at = 12
        for _ in range(min(count, _MAX_PROPERTIES)):
            if len(properties) < at + 8:
                return
            kind, length = struct.unpack_from(">II", properties, at)
            value = properties[at + 8 : at + max(length, 8)]
            at += max(length, 8)
            if kind == _TITLE:
                self._name(value[:_MAX_TITLE])
            elif len(value) == 4:
                self.numbers[kind] = int.from_bytes(value, "big")

    def _read_flows(self, number: int) -> None:
        """Read where the flows of the text are: pages first, then drawings and styles."""
        record = self._record(number)
        if record[:4] == b"FDST" and len(record) >= 20:
            (start, count) = struct.unpack_from(">II", record, 4)
            bounds = record[start : start + 8 * min(count, _MAX_FLOWS)]
            for start, end in struct.iter_unpack(">II", bounds[: len(bounds) & ~7]):
                if start != (self._flows[-1][1] if self._flows else 0) or end < start:
                    return
                self._flows.append((start, end))

    def _record(self, number: int) -> bytes:
        return self._database.record(self._start + number)


def _without_trailers(record: bytes, flags: int) -> bytes:
    """Return a text record without the entries after its text: one for each flag, each ending with its own size."""
    for bit in range(1, 16):
        if flags >> bit & 1:
            size = _size_at_end(record)
            record = record[: max(0, len(record) - size)] if size else record
    if flags & 1 and record:  # the rest of a character that the next record has whole
        record = record[: -((record[-1] & 3) + 1)]
    return record


def _size_at_end(record: bytes) -> int:
    """Return the number at the end of a record, written backwards in groups of 7 bits, the first one marked."""
    size = 0
    for place, byte in enumerate(reversed(record[-4:])):
        size |= (byte & 0x7F) << 7 * place
        if byte & 0x80:
            break
    return size
