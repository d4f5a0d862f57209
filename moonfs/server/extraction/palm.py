"""How Palm and Kindle pack text: PalmDOC, an LZ77 of two bytes a match, and HUFF/CDIC, phrases by Huffman codes.

Both unpack a record of some 4,096 bytes at a time. Written from the descriptions of the formats at MobileRead;
it knows nothing of books.

**Threading:** pure functions; a `Huffman` is filled by one thread.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from moonfs.server.extraction.document import NoText, Why

#: Bytes that one record, or one phrase, may unpack to; real ones are of 4,096.
MAX_RECORD_BYTES: Final = 1024**2
#: Phrases that refer to one another, and phrases in all.
MAX_DEPTH: Final = 64
MAX_PHRASES: Final = 1 << 20

_MASK: Final = 0xFFFFFFFF


def unpack_palmdoc(packed: bytes) -> bytes:
    """Return one record unpacked; what refers to before its beginning is left out. Raises NoText for a bomb."""
    text = bytearray()
    at, end = 0, len(packed)
    while at < end:
        byte = packed[at]
        at += 1
        if 1 <= byte <= 8:  # so many bytes as they are
            text += packed[at : at + byte]
            at += byte
        elif byte < 0x80:
            text.append(byte)
        elif byte >= 0xC0:  # a space and a letter
            text += bytes((0x20, byte ^ 0x80))
        elif at < end:  # a match: 11 bits of distance, 3 bits of length
            pair = (byte << 8 | packed[at]) & 0x3FFF
            at += 1
            distance, length = pair >> 3, (pair & 7) + 3
            start = len(text) - distance
            if distance and start >= 0:
                if distance >= length:
                    text += text[start : start + length]
                else:  # it reaches into what it makes
                    text += (text[start:] * length)[:length]
                if len(text) > MAX_RECORD_BYTES:
                    raise NoText(Why.TOO_LARGE)
    return bytes(text)


class Huffman:
    """The codes and phrases of one book.

    Args:
        codes: the HUFF record.
        phrases: the CDIC records.

    Raises:
        NoText: they are none.
    """

    def __init__(self, codes: bytes, phrases: Sequence[bytes]) -> None:
        if codes[:4] != b"HUFF" or len(codes) < 24:
            raise NoText
        short, long = struct.unpack_from(">II", codes, 8)
        try:
            self._short = struct.unpack_from(">256I", codes, short)
            limits = struct.unpack_from(">64I", codes, long)
        except struct.error as error:
            raise NoText from error
        #: For each length of a code: the smallest code, and the largest, both in the upper bits of 32.
        self._least = [0, *((limits[2 * n] << (31 - n)) & _MASK for n in range(32))]
        self._most = [0, *(((limits[2 * n + 1] + 1 << (31 - n)) - 1) & _MASK for n in range(32))]
        self._phrases: list[bytes] = []
        self._is_plain = bytearray()
        for record in phrases:
            self._add(record)

    def unpack(self, packed: bytes) -> bytes:
        """Return one record unpacked. Raises NoText for what cannot be."""
        return self._unpack(packed, 0)

    def _add(self, record: bytes) -> None:
        if record[:4] != b"CDIC" or len(record) < 16:
            raise NoText
        total, bits = struct.unpack_from(">II", record, 8)
        if total > MAX_PHRASES:
            raise NoText(Why.TOO_LARGE)
        count = min(1 << min(bits, 20), total - len(self._phrases), (len(record) - 16) // 2)
        for (offset,) in struct.iter_unpack(">H", record[16 : 16 + 2 * max(0, count)]):
            (length,) = struct.unpack_from(">H", record, 16 + offset) if 18 + offset <= len(record) else (0,)
            start = 18 + offset
            self._phrases.append(record[start : start + (length & 0x7FFF)])
            self._is_plain.append(length >> 15)

    def _unpack(self, packed: bytes, depth: int) -> bytes:
        if depth > MAX_DEPTH:
            raise NoText
        text = bytearray()
        padded, at, end = packed + bytes(8), 0, len(packed) * 8
        while at < end:
            code = int.from_bytes(padded[at >> 3 : (at >> 3) + 5], "big") >> (8 - (at & 7)) & _MASK
            entry = self._short[code >> 24]
            length = entry & 0x1F
            if not length:
                raise NoText
            if entry & 0x80:  # the code ends within its first byte
                most = (((entry >> 8) + 1 << (32 - length)) - 1) & _MASK
            else:
                while length < 32 and code < self._least[length]:
                    length += 1
                most = self._most[length]
            at += length
            if at > end:
                break
            text += self._phrase((most - code) >> (32 - length), depth)
            if len(text) > MAX_RECORD_BYTES:
                raise NoText(Why.TOO_LARGE)
        return bytes(text)

    def _phrase(self, number: int, depth: int) -> bytes:
        if not 0 <= number < len(self._phrases):
            raise NoText
        if not self._is_plain[number]:  # it is packed itself; unpacked once
            self._phrases[number] = self._unpack(self._phrases[number], depth + 1)
            self._is_plain[number] = 1
        return self._phrases[number]
