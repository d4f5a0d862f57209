"""Optical character recognition, Chinese and English, by rapidocr: one warm engine for the life of a worker.

Its models come in the wheel; nothing is downloaded. Pages that lie on a side or upside down are turned. A picture
that would have to be shrunk until its letters are lost, such as a screenshot of a whole web page, is read in tiles.

**Threading:** one picture at a time; the engine has threads of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import numpy
from PIL.Image import Image, Resampling, Transpose
from rapidocr import RapidOCR

from moonfs.server.extraction.layout import Line, arrange

#: Under this mean score a page is tried the other way up as well.
GOOD_SCORE: Final = 0.85
#: The longest side that letters are looked for in; longer pictures are shrunk to it.
_SIDE: Final = 1280
#: Letters higher than this are taken apart at times; they are read at half of it.
_HIGH: Final = 96.0
#: Pixels below which there are no letters.
_LEAST: Final = 6
#: How many times as long as wide a picture is before it is taken for a strip rather than for a page.
_LONG: Final = 2.2
#: Blank rows between two lines of text, and blank columns between two columns: more than between two letters.
_ROW_GAP: Final = 2
_GUTTER: Final = 20
#: How much neighbouring pixels differ in a blank row, of 255.
_BLANK: Final = 1.0
#: How much the pixels of a blank tile differ at most, of 255: the faintest print that is read has 20. And how far
#: apart those are that are looked at first.
_FAINT: Final = 8
_STEP: Final = 16
#: The sides of a tile, and how many there may be.
_TILE: Final = 1400
_MAX_TILES: Final = 48
#: Pictures smaller than this are enlarged: the engine finds no letters at their edges.
_SMALL: Final = 160
_SETTINGS: Final[dict[str, Any]] = {
    "Global.use_cls": False,  # it turned long lines upside down
    "Global.log_level": "error",
    "Global.max_side_len": 20_000,  # letters are read from the picture as it is, not from one shrunk to 2,000
    "Det.limit_type": "max",  # 2.4 s instead of 5.9 s for a scan at 200 dpi, and the same text
    "Det.limit_side_len": _SIDE,
    # One core is left to the rest; on two cores a second thread gains nothing (7 to 8 s either way).
    "EngineConfig.onnxruntime.intra_op_num_threads": max(1, min(4, (os.cpu_count() or 1) - 1)),
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


class Recogniser:
    """The engine; made once, which costs about a second."""

    def __init__(self) -> None:
        self._engine = RapidOCR(params=_SETTINGS)

    def text(self, picture: Image, pay: Callable[[int], None] = lambda _pixels: None) -> str:
        """Return the text of an RGB picture as it is read; parts of one row are apart by tabs.

        Args:
            picture: what is looked at.
            pay: told how many pixels there are to recognise, before they are; what it raises ends it.
        """
        if min(picture.size) < _LEAST:
            return ""
        if max(picture.size) < _SMALL:
            factor = math.ceil(2 * _SMALL / max(picture.size))
            picture = picture.resize((picture.width * factor, picture.height * factor), Resampling.BICUBIC)
        lines = self._lines(picture, pay)
        if not lines:
            return ""
        height = median(min(line.width, line.height) for line in lines)
        if height > _HIGH:
            size = (max(_LEAST, int(side * _HIGH / 2 / height)) for side in picture.size)
            smaller = picture.resize((next(size), next(size)), Resampling.LANCZOS)
            again = self._lines(smaller)
            if _worth(again) > 0.9 * _worth(lines):
                picture, lines = smaller, again
        if _lies_on_its_side(lines):
            # Vertical Chinese is read best this way too: its columns are rows from right to left, and the engine
            # knows the characters lying down.
            turned = self._lines(picture.transpose(Transpose.ROTATE_90))
            if _mean_score(turned) < GOOD_SCORE:
                turned = max(turned, self._lines(picture.transpose(Transpose.ROTATE_270)), key=_worth)
            lines = turned if _worth(turned) > 0.9 * _worth(lines) else lines
        elif _mean_score(lines) < GOOD_SCORE:
            lines = max(lines, self._lines(picture.transpose(Transpose.ROTATE_180)), key=_worth)
        return arrange(lines)

    def _lines(self, picture: Image, pay: Callable[[int], None] | None = None) -> list[Line]:
        pixels = numpy.asarray(picture)[:, :, ::-1]  # it takes BGR
        tiles = [tile for tile in _tiles(pixels) if not _is_blank(tile[2])]
        if pay is not None:
            pay(sum(tile.shape[0] * tile.shape[1] for _, _, tile in tiles))
        return [line for left, top, tile in tiles for line in self._read(tile, left, top)]

    def _read(self, pixels: Any, left: int, top: int) -> list[Line]:
        result: Any = self._engine(pixels, use_rec=True)
        if result.txts is None:
            return []
        return [
            _line(box + numpy.array((left, top)), text, float(score))
            for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True)
            if text.strip()
        ]


def _line(box: Any, text: str, score: float) -> Line:
    left, top = (float(value) for value in box.min(axis=0))
    right, bottom = (float(value) for value in box.max(axis=0))
    across, down = (float(value) for value in box[1] - box[0])  # the corners go round from the upper left one
    return Line(text, score, left, top, right - left, bottom - top, math.atan2(down, across))


def _tiles(pixels: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (left, top, tile) of a picture, which is cut if its letters would be lost by shrinking it.

    It is cut where it is blank, so that no line of text is. Where nothing is blank, as on a page that stands askew, it
    is left whole unless it is so long that nothing could be read.
    """
    height, width = pixels.shape[:2]
    short, long = sorted((height, width))
    if long <= 2 * _SIDE and (long <= 1.5 * _SIDE or long <= _LONG * short):
        yield 0, 0, pixels
        return
    side = max(_TILE, math.sqrt(height * width / (_MAX_TILES / 2)))
    is_forced = long > 3 * _SIDE and long > _LONG * short
    grey = pixels[:, :, 1]
    for top, bottom in _cuts(grey, side, _ROW_GAP, is_forced and height == long):
        for left, right in _cuts(grey[top:bottom].T, side, _GUTTER, is_forced and width == long):
            yield left, top, pixels[top:bottom, left:right]


def _is_blank(pixels: Any) -> bool:
    """Say whether no pixel of a tile stands out from another."""
    for seen in (pixels[::_STEP, ::_STEP], pixels):  # a few tell soon that there is something
        if (seen.max(axis=(0, 1)).astype(int) - seen.min(axis=(0, 1))).max() > _FAINT:
            return False
    return True


def _cuts(grey: Any, side: float, gap: int, is_forced: bool) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of strips of about `side` rows each; cut is where `gap` rows are blank."""
    start, length = 0, grey.shape[0]
    while length - start > 1.4 * side:
        low, high = start + int(0.6 * side), start + int(1.2 * side)
        noise = numpy.abs(numpy.diff(grey[low:high].astype(numpy.int16), axis=1)).mean(axis=1)
        quiet = numpy.flatnonzero(noise <= max(noise.min() * 1.2, _BLANK if noise.min() < _BLANK else 0.0))
        runs = numpy.split(quiet, numpy.flatnonzero(numpy.diff(quiet) > 1) + 1)
        longest = max(reversed(runs), key=len)
        if not is_forced and (noise.min() > max(_BLANK, 0.1 * float(numpy.median(noise))) or len(longest) < gap):
            break
        end = low + int(longest[len(longest) // 2])
        yield start, end
        start = end
    yield start, length


def _lies_on_its_side(lines: list[Line]) -> bool:
    long = [line for line in lines if len(line.text) > 1]
    return sum(line.height > 1.5 * line.width for line in long) * 2 > len(long)


def _mean_score(lines: list[Line]) -> float:
    return sum(line.score for line in lines) / max(len(lines), 1)


def _worth(lines: list[Line]) -> float:
    """Say how much good text there is: wrong letters come with scores not far above a half."""
    return sum((line.score - 0.6) * len(line.text) for line in lines)
