"""KF8: the pages of newer Kindle books, put together from what they are stored as.

A page is stored as a skeleton and the fragments that go into it, each at its place; two indices say where in the text
they are, and which place that is. Drawings are flows of their own, put where the pages refer to them. Written from the
descriptions at MobileRead. What an index says is believed only where it fits; a text without any that does is in order
all the same, but for tags.

**Threading:** pure functions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

Record = Callable[[int], bytes]

#: Entries of one index, and its records; a book of 5 MB has 600 fragments.
MAX_ENTRIES: Final = 200_000
_MAX_RECORDS: Final = 2_000
#: Bytes moved to make room for fragments, at most.
_MAX_MOVED: Final = 8 * 1024**3
#: The tags of an entry: of a skeleton, how many fragments; of both, where in the text.
_COUNT, _PLACE = 1, 6
_DRAWING: Final = re.compile(rb"<[^<>]{0,300}kindle:flow:([0-9A-Va-v]{4})\?mime=image/svg\+xml[^<>]{0,300}>")


def pages(text: bytes, record: Record, skeletons: int, fragments: int) -> bytes:
    """Return the first flow of a book, put together.

    Args:
        text: as it is stored.
        record: gives a record of the book by its number.
        skeletons: the number of the first record of their index.
        fragments: the same of theirs.
    """
    made: list[bytes] = []
    rest = _entries(record, fragments)
    end = moved = 0
    for _, tags in _entries(record, skeletons):
        place, count = tags.get(_PLACE, ()), tags.get(_COUNT, ())
        if len(place) < 2 or not count or place[0] != end:
            break
        start = place[0]
        page = bytearray(text[start : start + place[1]])
        end = start + place[1]
        for _, (name, of_fragment) in zip(range(count[0]), rest, strict=False):
            length = [0, *of_fragment.get(_PLACE, ())][-1]
            at = int(name) - start if name.isdigit() and len(name) <= 10 else -1
            moved += len(page)
            if not 0 <= at <= len(page) or end + length > len(text) or moved > _MAX_MOVED:
                return text
            page[at:at] = text[end : end + length]
            end += length
        made.append(bytes(page))
    return b"".join(made) + text[end:]


def with_drawings(text: bytes, flows: Sequence[bytes]) -> bytes:
    """Return pages with the drawings that they refer to, each once."""
    left = dict(enumerate(flows, 1))

    def drawing(found: re.Match[bytes]) -> bytes:
        return left.pop(int(found[1], 32), b"")

    return _DRAWING.sub(drawing, text) if left else text


def _entries(record: Record, first: int) -> Iterator[tuple[bytes, dict[int, tuple[int, ...]]]]:
    """Yield (name, values by tag) of an index; fewer where it is no good."""
    head = record(first)
    if head[:4] != b"INDX" or len(head) < 28:
        return
    (start,) = struct.unpack_from(">I", head, 4)
    (records,) = struct.unpack_from(">I", head, 24)
    if head[start : start + 4] != b"TAGX" or len(head) < start + 12:
        return
    length, controls = struct.unpack_from(">II", head, start + 4)
    written = head[start + 12 : start + length][:400]
    layout = list(struct.iter_unpack("4B", written[: len(written) & ~3]))
    left = MAX_ENTRIES
    for number in range(first + 1, first + 1 + min(records, _MAX_RECORDS)):
        body = record(number)
        if body[:4] != b"INDX" or len(body) < 28:
            return
        table, count = struct.unpack_from(">II", body, 20)
        bounds = body[table + 4 : table + 4 + 2 * min(count, left)] if body[table : table + 4] == b"IDXT" else b""
        left -= len(bounds) // 2
        for (at,) in struct.iter_unpack(">H", bounds[: len(bounds) & ~1]):
            size = body[at] if at < len(body) else 0
            yield body[at + 1 : at + 1 + size], _values(body, at + 1 + size, layout, min(controls, 16))


def _values(body: bytes, at: int, layout: list[tuple[int, ...]], controls: int) -> dict[int, tuple[int, ...]]:
    """Return the values of one entry by their tags."""
    control, at = at, at + controls
    counted: list[tuple[int, int, int]] = []  # (tag, how many values, or the bytes that they take)
    for tag, each, mask, is_last in layout:
        if is_last:
            control += 1
            continue
        bits = (body[control] if control < len(body) else 0) & mask
        if not bits or not mask:
            continue
        if bits == mask and mask & (mask - 1):  # the number did not fit: it is the bytes that follow
            size, at = _number(body, at)
            counted.append((tag, 0, size))
        else:
            counted.append((tag, each * (bits // (mask & -mask)), 0))
    values: dict[int, tuple[int, ...]] = {}
    for tag, count, size in counted:
        found: list[int] = []
        end = at + size
        while at < len(body) and (len(found) < count or at < end):
            value, at = _number(body, at)
            found.append(value)
        values[tag] = tuple(found)
    return values


def _number(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, in groups of 7 bits of which the last is marked, and where it ends."""
    value = 0
    for byte in body[at : at + 5]:
        at += 1
        value = value << 7 | byte & 0x7F
        if byte & 0x80:
            break
    return value, at
