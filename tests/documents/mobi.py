"""Writes Kindle books in every way they are packed, for tests: plain, PalmDOC, HUFF/CDIC; MOBI 6 and KF8."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Final

RECORD: Final = 4096
PLAIN, PALMDOC, HUFFMAN = 1, 2, 17480


def database(records: list[bytes], kind: bytes = b"BOOKMOBI") -> bytes:
    """Return a Palm database of these records."""
    head = b"a book".ljust(32, b"\0") + bytes(28) + kind + bytes(8) + struct.pack(">H", len(records))
    at = len(head) + 8 * len(records) + 2
    table = b""
    for number, record in enumerate(records):
        table += struct.pack(">II", at, number)
        at += len(record)
    return head + table + b"\0\0" + b"".join(records)


def pack_palmdoc(text: bytes) -> bytes:
    """Return text packed as PalmDOC does: with matches, pairs of a space and a letter, and bytes as they are."""
    packed, at = bytearray(), 0
    while at < len(text):
        length = next(
            (
                n
                for n in range(min(10, len(text) - at), 2, -1)
                if 0 <= text.find(text[at : at + n], max(0, at - 2047)) < at
            ),
            0,
        )
        if length:
            distance = at - text.rfind(text[at : at + length], max(0, at - 2047), at + length - 1)
            packed += struct.pack(">H", 0x8000 | distance << 3 | length - 3)
            at += length
        elif text[at] == 0x20 and at + 1 < len(text) and 0x40 <= text[at + 1] < 0x80:
            packed.append(text[at + 1] ^ 0x80)
            at += 2
        elif text[at] == 0 or 9 <= text[at] < 0x80:
            packed.append(text[at])
            at += 1
        else:
            run = text[at : at + 8]
            packed += bytes((len(run),)) + run
            at += len(run)
    return bytes(packed)


def pack_huffman(texts: list[bytes], circle: bool = False) -> tuple[list[bytes], list[bytes]]:
    """Return (HUFF and CDIC records, packed texts): one phrase a byte, and one packed of two others, or of itself."""
    counts = Counter(b"".join(texts))
    phrases = [bytes((byte,)) for byte, _ in counts.most_common()]
    width = 9  # all codes are of one length, which the first byte alone does not tell
    largest = (1 << width) - 1

    def pack(numbers: list[int]) -> bytes:
        bits = "".join(f"{largest - number:0{width}b}" for number in numbers)
        return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big") if bits else b""

    number = {phrase: index for index, phrase in enumerate(phrases)}
    pair = texts[0][:2]
    packed_pair = pack([len(phrases)] * 2 if circle else [number[pair[:1]], number[pair[1:]]])
    entries = [(len(phrase) | 0x8000, phrase) for phrase in phrases] + [(len(packed_pair), packed_pair)]
    offsets, body, at = [], b"", 2 * len(entries)
    for length, content in entries:
        offsets.append(at)
        body += struct.pack(">H", length) + content
        at += 2 + len(content)
    dictionary = b"CDIC" + struct.pack(">III", 16, len(entries), 15) + struct.pack(f">{len(entries)}H", *offsets) + body
    short = struct.pack(">256I", *([width] * 256))
    limits = [value for length in range(1, 33) for value in ((0, largest) if length == width else (1 << length, 0))]
    limits = [value & 0xFFFFFFFF for value in limits]
    tables = short + struct.pack(">64I", *limits)
    again = struct.pack("<256I", *([width] * 256)) + struct.pack("<64I", *limits)  # for machines of the other order
    starts = struct.pack(">IIIII", 24, 24, 24 + 1024, 24 + 1280, 24 + 2304)
    codes = b"HUFF" + starts + tables + again

    def numbers(text: bytes) -> list[int]:
        head = [len(phrases)] if text.startswith(pair) else []
        return head + [number[text[i : i + 1]] for i in range(2 * len(head), len(text))]

    return [codes, dictionary], [pack(numbers(text)) for text in texts]


def book(
    html: str,
    *,
    title: str = "The Book 书",
    compression: int = PALMDOC,
    encoding: str = "utf-8",
    version: int = 6,
    flags: int = 0,
    encryption: int = 0,
    styles: str = "",
    circle: bool = False,
) -> bytes:
    """Return a book; `flags` are those of entries behind each text record, `styles` what follows the text of a KF8."""
    raw = html.encode(encoding)
    flow = raw + styles.encode()
    texts = [flow[at : at + RECORD] for at in range(0, len(flow), RECORD)]
    extra: list[bytes] = []
    if compression == HUFFMAN:
        extra, packed = pack_huffman(texts, circle)
    else:
        pack: Callable[[bytes], bytes] = pack_palmdoc if compression == PALMDOC else bytes
        packed = [pack(text) for text in texts]
    trailer = b""
    if flags & 1:
        trailer += b"\xe4\xb8\x02"  # two bytes of a character that the next record has whole, and their number less one
        trailer = trailer[-3:]
    for bit in range(1, 16):
        if flags >> bit & 1:
            trailer += b"junk\x85"
    packed = [record + trailer for record in packed]
    first_extra = 1 + len(packed)
    name = title.encode(encoding, "replace")
    header = bytearray(264 + 4)
    struct.pack_into(">HHIHHH", header, 0, compression, 0, len(flow), len(packed), RECORD, encryption)
    header[16:20] = b"MOBI"
    codes = {"utf-8": 65001, "cp1252": 1252}
    struct.pack_into(">III", header, 20, 248, 2, codes[encoding])
    struct.pack_into(">I", header, 36, version)
    struct.pack_into(">II", header, 84, len(header), len(name))
    struct.pack_into(">II", header, 0x70, first_extra, len(extra))
    struct.pack_into(">H", header, 0xF2, flags)
    if styles:
        struct.pack_into(">II", header, 0xC0, first_extra + len(extra), 2)
        bounds = struct.pack(">IIII", 0, len(raw), len(raw), len(flow))
        extra.append(b"FDST" + struct.pack(">II", 12, 2) + bounds)
    return database([bytes(header) + name, *packed, *extra])


def palmdoc(text: bytes) -> bytes:
    """Return a text as Palm pilots had them, of which books descend."""
    texts = [text[at : at + RECORD] for at in range(0, len(text), RECORD)]
    head = struct.pack(">HHIHHHH", PALMDOC, 0, len(text), len(texts), RECORD, 0, 0)
    return database([head, *map(pack_palmdoc, texts)], b"TEXtREAd")
