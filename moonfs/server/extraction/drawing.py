"""An SVG drawn for OCR: what `harmless` leaves of it, of a size that is chosen here, within bounds of its own.

Who draws has no file system: while it works, this process can open no file whatever, and it ends when that takes too
much CPU, since nothing else stops it.

**Threading:** one document at a time, in a worker with OCR.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import resource
from collections.abc import Iterator
from typing import Final

import resvg_py
from lxml import etree
from PIL import Image

from moonfs.server.extraction.document import Budget, NoText, Why
from moonfs.server.extraction.harmless import harmless
from moonfs.server.extraction.pictures import prepare
from moonfs.server.extraction.svg import name_of, reference

#: Elements that are drawn, counted once for each time that another repeats them: `use`, a pattern, a mask.
MAX_DRAWN: Final = 200_000
#: Pixels that are drawn; small drawings are enlarged, as outlines lose nothing by it.
_MAX_PIXELS: Final = 12_000_000
_MAX_SIDE: Final = 30_000.0
_ENLARGED: Final = 1900.0
_SHORT: Final = 600.0
_MAX_FACTOR: Final = 4.0
#: CPU seconds of drawing: large maps take two.
_CPU_SECONDS: Final = 20

_REFERENCES: Final = re.compile(r"url\(\s*['\"]?#([^)'\"]+)")
_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([a-z%]*)")
#: CSS pixels of the units of length.
_UNITS: Final = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}


def draw(root: etree._Element, budget: Budget) -> Image.Image:
    """Return a drawing as a picture for OCR. Raises NoText for a bomb and for one that is broken."""
    root = harmless(root, budget)
    _set_size(root)
    try:
        drawn = _drawn(root, {name: element for element in root.iter() if (name := element.get("id"))}, {})
    except RecursionError as error:
        raise NoText(Why.TOO_LARGE) from error
    if drawn > MAX_DRAWN:
        raise NoText(Why.TOO_LARGE)
    text = etree.tostring(root, encoding="unicode")
    try:
        with _nothing_to_open(), budget.cpu(_CPU_SECONDS):
            drawing = resvg_py.svg_to_bytes(svg_string=text, skip_system_fonts=True)
    except ValueError as error:
        raise NoText(Why.CORRUPT) from error
    with Image.open(io.BytesIO(drawing), formats=("PNG",)) as picture:
        return prepare(picture, budget)


@contextlib.contextmanager
def _nothing_to_open() -> Iterator[None]:
    """Have the kernel refuse every new descriptor to this process: what is open already stays so."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _set_size(root: etree._Element) -> None:
    box = [float(number) for number, _ in _NUMBER.findall(root.get("viewBox", "").replace(",", " "))]
    has_box = len(box) == 4 and 0 < box[2] < math.inf and 0 < box[3] < math.inf
    width, height = _length(root.get("width")), _length(root.get("height"))
    is_scalable = not (width and height)  # its units say nothing of its size
    if is_scalable:
        width, height = (box[2], box[3]) if has_box else (width or height or 1000.0, height or width or 1000.0)
    if not has_box:
        root.set("viewBox", f"0 0 {width} {height}")
    if is_scalable:
        factor = max(_ENLARGED / max(width, height), _SHORT / min(width, height))
    else:
        factor = max(1.0, min(_MAX_FACTOR, _ENLARGED / max(width, height)))
    factor = min(factor, math.sqrt(_MAX_PIXELS / width / height))
    factor = min(factor, _MAX_SIDE / max(width, height))  # one 1,000,000 wide and 1 high is within the pixels
    root.set("width", str(max(1, round(width * factor))))
    root.set("height", str(max(1, round(height * factor))))


def _length(value: str | None) -> float:
    """Return a length in pixels; 0 for none and for a share of an unknown whole."""
    found = _NUMBER.match(value or "")
    if not found:
        return 0.0
    length = float(found[1]) * _UNITS.get(found[2], 0.0)
    return length if 0 < length < math.inf else 0.0


def _drawn(element: etree._Element, by_id: dict[str, etree._Element], known: dict[etree._Element, int]) -> int:
    """Return how many elements are drawn for this one; a circle of references is drawn once."""
    if element in known:
        return known[element]
    known[element] = 1
    total = 1 + sum(_drawn(child, by_id, known) for child in element)
    names = _REFERENCES.findall(" ".join(element.attrib.values())) if name_of(element) != "image" else []
    names += [reference(element)[1:]] if name_of(element) == "use" else []
    total += sum(_drawn(by_id[name], by_id, known) for name in names if name in by_id)
    known[element] = min(total, MAX_DRAWN + 1)
    return known[element]
