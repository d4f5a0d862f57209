"""Optical character recognition, Chinese and English, by rapidocr: one warm engine for the life of a worker.

Its models come in the wheel; nothing is downloaded. Pages that lie on a side or upside down are turned.

**Threading:** one picture at a time; the engine has threads of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy
from PIL.Image import Image, Transpose
from rapidocr import RapidOCR

#: Under this mean score a page is tried upside down as well.
GOOD_SCORE: Final = 0.85
_SETTINGS: Final[dict[str, Any]] = {
    "Global.use_cls": False,  # it turned long lines upside down
    "Global.log_level": "error",
    "Det.limit_type": "max",  # 2.4 s instead of 5.9 s for a scan at 200 dpi, and the same text
    "Det.limit_side_len": 1280,
    # One core is left to the rest; on two cores a second thread gains nothing (7 to 8 s either way).
    "EngineConfig.onnxruntime.intra_op_num_threads": max(1, min(4, (os.cpu_count() or 1) - 1)),
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    score: float
    left: float
    top: float
    width: float
    height: float


class Recogniser:
    """The engine; made once, which costs about a second."""

    def __init__(self) -> None:
        self._engine = RapidOCR(params=_SETTINGS)

    def text(self, picture: Image) -> str:
        """Return the text of an RGB picture, line by line; parts of one line are apart by tabs."""
        lines = self._lines(picture)
        if not lines:
            return ""
        if _lies_on_its_side(lines):
            turned = [self._lines(picture.transpose(turn)) for turn in (Transpose.ROTATE_90, Transpose.ROTATE_270)]
            # Vertical Chinese stands as it is: its letters are good only the way they were found.
            lines = max(*turned, lines, key=_worth)
        elif _mean_score(lines) < GOOD_SCORE:
            lines = max(lines, self._lines(picture.transpose(Transpose.ROTATE_180)), key=_worth)
        return _in_rows(lines)

    def _lines(self, picture: Image) -> list[_Line]:
        result: Any = self._engine(numpy.asarray(picture)[:, :, ::-1])  # it takes BGR
        if result.txts is None:
            return []
        lines = []
        for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
            left, top = (float(value) for value in box.min(axis=0))
            right, bottom = (float(value) for value in box.max(axis=0))
            if text.strip():
                lines.append(_Line(text, float(score), left, top, right - left, bottom - top))
        return lines


def _lies_on_its_side(lines: list[_Line]) -> bool:
    long = [line for line in lines if len(line.text) > 1]
    return sum(line.height > 1.5 * line.width for line in long) * 2 > len(long)


def _mean_score(lines: list[_Line]) -> float:
    return sum(line.score for line in lines) / max(len(lines), 1)


def _worth(lines: list[_Line]) -> float:
    """Say how much good text there is: wrong letters come with scores not far above a half."""
    return sum((line.score - 0.6) * len(line.text) for line in lines)


def _in_rows(lines: list[_Line]) -> str:
    rows: list[list[_Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.height / 2):
        row = rows[-1] if rows else None
        if row and abs(_middle(line) - _middle(row[-1])) < 0.5 * min(line.height, row[-1].height):
            row.append(line)
        else:
            rows.append([line])
    return "\n".join("\t".join(line.text for line in sorted(row, key=lambda line: line.left)) for row in rows)


def _middle(line: _Line) -> float:
    return line.top + line.height / 2
