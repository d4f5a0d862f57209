"""Where lines of text stand on a page, and in which order they are read: rows, tables and columns.

Parts of one row are apart by tabs, as in a table. Columns of running text, which fill their width line after line,
are read one after the other instead. It knows nothing of OCR.

**Threading:** pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final

#: Rows that stand side by side before they are taken for columns of running text.
_COLUMN_ROWS: Final = 4
#: How much of its column a line of running text fills, and what share of the lines does.
_FULL: Final = 0.75
_FULL_LINES: Final = 0.6
_MAX_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text in a straight line, and the box it stands in.

    Attributes:
        text: what it says.
        score: how sure that is, 0 to 1.
        left, top, width, height: of the box, upright, in pixels.
        angle: how much the line falls, in radians; 0 for a level one.
    """

    text: str
    score: float
    left: float
    top: float
    width: float
    height: float
    angle: float = 0.0

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """The height at which it stands."""
        return self.top + self.height / 2


def arrange(lines: Sequence[Line]) -> str:
    """Return the text of a page as it is read."""
    return "\n".join(_read(_rows(_levelled(lines)), 0))


def _levelled(lines: Sequence[Line]) -> list[Line]:
    """Turn a page that stands askew until its lines are level."""
    long = [line.angle for line in lines if line.width > 4 * line.height and line.width > 60] or [
        line.angle for line in lines if line.width > 8 * line.height
    ]
    angle = median(long) if long else 0.0
    if not 0.003 < abs(angle) < 0.5:
        return list(lines)
    cosine, sine = math.cos(-angle), math.sin(-angle)
    levelled = []
    for line in lines:
        x, y = line.left + line.width / 2, line.middle
        # The upright box round a slanting line is taller than the line is.
        height = max(line.height - line.width * math.tan(abs(angle)), line.height * 0.2)
        center, middle = x * cosine - y * sine, x * sine + y * cosine
        levelled.append(replace(line, left=center - line.width / 2, top=middle - height / 2, height=height))
    return levelled


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.middle):
        row = rows[-1] if rows else None
        if row and abs(line.middle - row[-1].middle) < 0.5 * min(line.height, row[-1].height):
            row.append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _read(rows: list[list[Line]], depth: int) -> Iterator[str]:
    gutter = _gutter(rows) if depth < _MAX_DEPTH else None
    if gutter is None:
        yield from map(_join, rows)
        return
    for zone, is_open in _zones(rows, gutter):
        left, right = _sides(zone, gutter)
        if is_open and _is_running(left, depth) and _is_running(right, depth):
            yield from _read(_rows(left), depth + 1)
            yield from _read(_rows(right), depth + 1)
        else:
            yield from map(_join, zone)


def _gutter(rows: list[list[Line]]) -> float | None:
    """Return where most rows have a gap, if enough have one."""
    gaps = [
        (one.right, other.left) for row in rows for one, other in pairwise(row)
        if other.left > one.right
    ]  # fmt: skip
    if len(gaps) < _COLUMN_ROWS:
        return None
    best, best_votes = 0.0, 0
    for start, end in gaps:
        middle = (start + end) / 2
        votes = sum(low < middle < high for low, high in gaps)
        if votes > best_votes:
            best, best_votes = middle, votes
    return best if best_votes >= _COLUMN_ROWS else None


def _zones(rows: list[list[Line]], gutter: float) -> Iterator[tuple[list[list[Line]], bool]]:
    """Yield runs of rows, and whether nothing in them crosses the gutter."""
    zone: list[list[Line]] = []
    was_open = True
    for row in rows:
        is_open = all(line.right <= gutter or line.left >= gutter for line in row)
        if zone and is_open != was_open:
            yield zone, was_open
            zone = []
        zone.append(row)
        was_open = is_open
    if zone:
        yield zone, was_open


def _sides(rows: list[list[Line]], gutter: float) -> tuple[list[Line], list[Line]]:
    lines = [line for row in rows for line in row]
    return [line for line in lines if line.right <= gutter], [line for line in lines if line.left >= gutter]


def _is_running(lines: list[Line], depth: int) -> bool:
    """Say whether these are the lines of a column of text, or of several, and not the cells of a table."""
    if len(lines) < _COLUMN_ROWS or depth >= _MAX_DEPTH:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    full = sum(line.width >= _FULL * width for line in lines)
    if full >= _FULL_LINES * len(lines):
        return width > 8 * median(line.height for line in lines)
    rows = _rows(lines)
    gutter = _gutter(rows)
    if gutter is None:
        return False
    left, right = _sides(rows, gutter)
    return len(left) + len(right) == len(lines) and _is_running(left, depth + 1) and _is_running(right, depth + 1)


def _join(row: list[Line]) -> str:
    text = row[0].text
    for one, other in pairwise(row):
        gap = other.left - one.right
        if gap >= 0.8 * min(one.height, other.height):
            text += "\t"
        elif not (_is_han(one.text[-1]) and _is_han(other.text[0])):
            text += " "
        text += other.text
    return text


def _is_han(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
