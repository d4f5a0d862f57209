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
    properties: dict[int, bytes] | None = None,
) -> bytes:
    """Return a book; `flags` are those of entries behind each text record, `styles` what follows the text of a KF8."""
    return database(
        records(
            html,
            title=title,
            compression=compression,
            encoding=encoding,
            version=version,
            flags=flags,
            encryption=encryption,
            flows=[styles] if styles else [],
            circle=circle,
            properties=properties or {},
        )
    )


def combined(old: list[bytes], new: list[bytes], boundary: int | None = None) -> bytes:
    """Return a book of two halves; the records of the old one say where the new one begins (or `boundary`)."""
    start = len(old) + 1
    wanted = struct.pack(">I", start if boundary is None else boundary)
    head = old[0].replace(struct.pack(">III", 121, 12, 0), struct.pack(">II", 121, 12) + wanted)
    return database([head, *old[1:], b"BOUNDARY", *new])


def index(entries: list[tuple[bytes, bytes]], layout: bytes) -> list[bytes]:
    """Return the records of an index of (name, control byte and values); `layout` is that of its tags."""
    tags = b"TAGX" + struct.pack(">II", 12 + len(layout), 1) + layout
    head = (b"INDX" + struct.pack(">I", 192)).ljust(24, b"\0") + struct.pack(">I", 1)
    body, bounds = b"", b""
    for name, values in entries:
        bounds += struct.pack(">H", 192 + len(body))
        body += bytes((len(name),)) + name + values
    data = (b"INDX" + struct.pack(">I", 192)).ljust(20, b"\0") + struct.pack(">II", 192 + len(body), len(entries))
    return [head.ljust(192, b"\0") + tags, data.ljust(192, b"\0") + body + b"IDXT" + bounds]


def number(value: int) -> bytes:
    """Return a number in groups of 7 bits, the last one marked."""
    groups = [value & 0x7F | 0x80]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes(reversed(groups))


Page = tuple[str, list[tuple[int, str]]]


def kf8(pages: list[Page], flows: list[str], title: str = "The Book 书", skip: int = 0) -> list[bytes]:
    """Return the records of a KF8 book of (skeleton, [(where, what)]): `where` counts from the start of the page.

    `skip` puts the fragments where they are not, as in a book that lies.
    """
    text, skeletons, fragments = b"", [], []
    for number_of_page, (skeleton, parts) in enumerate(pages):
        raw = skeleton.encode()
        place = number(len(text)) + number(len(raw))
        name = b"SKEL%010d" % number_of_page
        skeletons.append((name, b"\x0a" + number(len(parts)) * 2 + place * 2))
        start = len(text)
        text += raw
        for where, what in parts:
            piece = what.encode()
            values = number(0) + number(number_of_page) + number(len(fragments)) + number(0) + number(len(piece))
            fragments.append((b"%010d" % (start + where + skip), b"\x0f" + values))
            text += piece
    of_skeletons = index(skeletons, bytes((1, 1, 3, 0, 6, 2, 12, 0, 0, 0, 0, 1)))
    of_fragments = index(fragments, bytes((2, 1, 1, 0, 3, 1, 2, 0, 4, 1, 4, 0, 6, 2, 8, 0, 0, 0, 0, 1)))
    return records(text.decode(), title=title, version=8, flows=flows, indices=(of_fragments, of_skeletons))


def records(
    html: str,
    *,
    title: str = "The Book 书",
    compression: int = PALMDOC,
    encoding: str = "utf-8",
    version: int = 6,
    flags: int = 0,
    encryption: int = 0,
    flows: list[str] | None = None,
    circle: bool = False,
    properties: dict[int, bytes] | None = None,
    indices: tuple[list[bytes], list[bytes]] | None = None,
) -> list[bytes]:
    """Return the records of a book, or of half of one."""
    raw = html.encode(encoding)
    parts = [raw, *(flow.encode() for flow in flows or [])]
    flow = b"".join(parts)
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
    exth = b""
    for kind, value in (properties or {}).items():
        exth += struct.pack(">II", kind, 8 + len(value)) + value
    exth = b"EXTH" + struct.pack(">II", 12 + len(exth), len(properties or {})) + exth if properties else b""
    header = bytearray(264 + 4)
    struct.pack_into(">HHIHHH", header, 0, compression, 0, len(flow), len(packed), RECORD, encryption)
    header[16:20] = b"MOBI"
    codes = {"utf-8": 65001, "cp1252": 1252}
    struct.pack_into(">III", header, 20, len(header) - 16, 2, codes[encoding])
    struct.pack_into(">I", header, 36, version)
    struct.pack_into(">II", header, 84, len(header) + len(exth), len(name))
    struct.pack_into(">II", header, 0x70, first_extra, len(extra))
    header[0x83] = 0x40 if exth else 0
    struct.pack_into(">H", header, 0xF2, flags)
    struct.pack_into(">II", header, 0xF8, 0xFFFFFFFF, 0xFFFFFFFF)
    if version == 8:
        struct.pack_into(">II", header, 0xC0, first_extra + len(extra), len(parts))
        bounds, at = b"", 0
        for part in parts:
            bounds += struct.pack(">II", at, at + len(part))
            at += len(part)
        extra.append(b"FDST" + struct.pack(">II", 12, len(parts)) + bounds)
    for place, index_records in zip((0xF8, 0xFC), indices or (), strict=False):
        struct.pack_into(">I", header, place, first_extra + len(extra))
        extra += index_records
    return [bytes(header) + exth + name, *packed, *extra]


def palmdoc(text: bytes, position: int = 0) -> bytes:
    """Return a text as Palm pilots had them, of which books descend, read as far as `position`."""
    texts = [text[at : at + RECORD] for at in range(0, len(text), RECORD)]
    head = struct.pack(">HHIHHI", PALMDOC, 0, len(text), len(texts), RECORD, position)
    return database([head, *map(pack_palmdoc, texts)], b"TEXtREAd")
