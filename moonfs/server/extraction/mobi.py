"""Kindle books (.mobi): the title, then the visible text; and the PalmDOC texts that they descend from.

A Palm database of records: the first describes the book, the next ones hold its text, packed. In a book of two
halves (MOBI 6, then KF8) both say the same, and the first is read. A KF8 book is a chain of chapters, each a frame and
what belongs into it, in reading order, followed by style sheets, which are left out. Written from the descriptions at
MobileRead.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.markup import visible_text
from moonfs.server.extraction.palm import MAX_RECORD_BYTES, Huffman, unpack_palmdoc
from moonfs.server.extraction.text import decode

#: Bytes of a whole book, unpacked: the longest novels have 5 MB.
MAX_TEXT_BYTES: Final = 64 * 1024**2

_PLAIN, _PALMDOC, _HUFFMAN = 1, 2, 17480
_ENCODINGS: Final = {1252: "cp1252", 65001: "utf-8", 65002: "utf-16-be", 936: "gb18030"}
_KF8: Final = 8
#: Records between two looks at the clock.
_RECORDS_AT_ONCE: Final = 64
_HEADS: Final = re.compile(r"<head\b.*?</head\s*>", re.IGNORECASE | re.DOTALL)
#: The mark that says UTF-8, whatever a page says of its encoding.
_MARK: Final = b"\xef\xbb\xbf"


def read(document: Document, output: Output) -> None:
    """Read a book. Raises NoText for one under DRM, and for one whose records are not where it says."""
    with open(document.path, "rb") as stream:
        book = _Book(stream.read())
    text = book.text(document)
    if not book.is_mobi:
        output.add(decode(text))
        return
    page = text.decode(book.encoding, "replace").replace("\0", "")
    output.line(book.title)
    output.add(visible_text(_MARK + _HEADS.sub("", page).encode()) + "\n")
    if document.is_late():
        output.cut("reading it took too long")


class _Book:
    """The database, and what its first record says."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        (count,) = struct.unpack_from(">H", raw, 76) if len(raw) >= 78 else (0,)
        table = raw[78 : 78 + count * 8]
        self._bounds = [*(start for start, _ in struct.iter_unpack(">II", table[: len(table) & ~7])), len(raw)]
        head = self._record(0)
        if len(head) < 16:
            raise NoText
        self._compression, _, _, self._records, _, encryption = struct.unpack_from(">HHIHHH", head)
        if encryption:
            raise NoText(Why.DRM)
        self.is_mobi = head[16:20] == b"MOBI" and len(head) >= 132
        self.encoding, self.title = "cp1252", ""
        self._flags = self._flows = 0
        self._huffman: Huffman | None = None
        if self.is_mobi:
            self._read_header(head)

    def text(self, document: Document) -> bytes:
        """Return the text as it is written, without what follows it in the last records."""
        pieces, size = [], 0
        for number, piece in enumerate(self._pieces(), 1):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_TEXT_BYTES:
                raise NoText(Why.TOO_LARGE)
            if number % _RECORDS_AT_ONCE == 0 and document.is_late():
                break
            document.report(number, self._records)
        return b"".join(pieces)[: self._flows or None]

    def _pieces(self) -> Iterator[bytes]:
        for number in range(1, min(self._records, len(self._bounds) - 2) + 1):
            record = _without_trailers(self._record(number), self._flags)
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
        length, _, encoding = struct.unpack_from(">III", head, 20)
        (version,) = struct.unpack_from(">I", head, 36)
        self.encoding = _ENCODINGS.get(encoding, "utf-8")
        start, size = struct.unpack_from(">II", head, 84)
        self.title = head[start : start + size].decode(self.encoding, "replace")
        if length >= 0xE4 and len(head) >= 0xF4:
            (self._flags,) = struct.unpack_from(">H", head, 0xF2)
        if self._compression == _HUFFMAN:
            first, count = struct.unpack_from(">II", head, 0x70)
            records = range(first + 1, min(first + count, len(self._bounds) - 1))
            self._huffman = Huffman(self._record(first), [self._record(number) for number in records])
        if version == _KF8 and len(head) >= 0xC8:
            (flows,) = struct.unpack_from(">I", head, 0xC0)
            record = self._record(flows)
            if record[:4] == b"FDST" and len(record) >= 20:  # the first flow is the text, the others are styles
                (self._flows,) = struct.unpack_from(">I", record, 16)

    def _record(self, number: int) -> bytes:
        if not 0 <= number < len(self._bounds) - 1:
            return b""
        return self._raw[self._bounds[number] : self._bounds[number + 1]]


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
