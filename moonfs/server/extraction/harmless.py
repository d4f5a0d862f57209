"""An SVG built anew of what may be drawn: shapes, pictures within, and references to what is within; nothing else.

What is judged is what is drawn, as the drawing is written by us: of each element only attributes without a namespace,
one reference of one spelling, values and styles that name nothing outside. No document type, entity, comment,
instruction or foreign element comes along, and no words, which are read as they stand. Filters are left out, as they
blur and shade and make no letter, and take any amount of time. Pictures are decoded here, within bounds, and handed on
as PNG.

**Threading:** one document at a time, in a worker with OCR.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from lxml import etree

from moonfs.server.extraction.document import Budget, NoText
from moonfs.server.extraction.pictures import DAMAGED, open_picture, prepare
from moonfs.server.extraction.svg import name_of, parse, reference, unpacked

NAMESPACE: Final = "http://www.w3.org/2000/svg"
#: Drawings within drawings.
_MAX_DEPTH: Final = 3
#: All that resvg draws or draws with, but for words and filters.
_DRAWN: Final = frozenset(
    "svg g a defs symbol use switch path rect circle ellipse line polyline polygon image marker mask clipPath pattern"
    " linearGradient radialGradient stop style".split()
)
#: Attributes that name a picture or a filter, or divide a line into any number of dashes.
_LEFT_OUT: Final = frozenset(("href", "src", "filter", "enable-background", "stroke-dasharray", "stroke-dashoffset"))
_URL: Final = re.compile(r"url\s*\((?!\s*['\"]?\s*#)[^)]*\)?", re.IGNORECASE)
_SETS: Final = re.compile(r"(?:image-set|image|src|cross-fade|element)\s*\([^)]*\)?", re.IGNORECASE)
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_RULE: Final = re.compile(r"@[^;{}]*(?:;|\{[^{}]*\}|$)")
_DECLARATION: Final = re.compile(
    r"(?<![\w-])(?:filter|stroke-dasharray|stroke-dashoffset|href|src)\s*:[^;}]*", re.IGNORECASE
)
_DATA: Final = re.compile(r"\s*data:([^,]*),(.*)", re.DOTALL | re.IGNORECASE)


def harmless(root: etree._Element, budget: Budget, depth: int = 0) -> etree._Element:
    """Return the drawing anew, without anything that is not drawn and without any name of something outside.

    Args:
        root: the drawing.
        budget: pays for the pictures in it. Raises NoText when there are too many pixels.
        depth: how many drawings this one is in.
    """
    made = etree.Element(f"{{{NAMESPACE}}}svg", nsmap={None: NAMESPACE})
    _copy(root, made, budget, depth)
    return made


def _copy(old: etree._Element, new: etree._Element, budget: Budget, depth: int) -> None:
    for name, value in old.attrib.items():
        plain = str(name)
        if plain[0] != "{" and ":" not in plain and plain not in _LEFT_OUT and not plain.startswith("on"):
            new.set(plain, css(str(value)) if plain == "style" else _within(str(value)))
    target = reference(old).strip()
    if name_of(old) == "image":
        new.set("href", _picture(target, budget, depth))
    elif target.startswith("#"):
        new.set("href", target)
    if name_of(old) == "style":
        new.text = css("".join(old.itertext()))
        return
    for child in old:
        name = name_of(child)
        if name not in _DRAWN or etree.QName(child).namespace not in (None, NAMESPACE):
            continue
        if name == "image" and not _DATA.match(reference(child)):
            continue
        _copy(child, etree.SubElement(new, f"{{{NAMESPACE}}}{name}"), budget, depth)


def css(text: str) -> str:
    r"""Return a style without what it takes in from elsewhere; a `\` could spell such words in another way."""
    text = _COMMENT.sub(" ", text).replace("\\", "")
    return _DECLARATION.sub("", _within(_RULE.sub("", text)))


def _within(value: str) -> str:
    """Return a value in which every reference is to a part of the drawing."""
    return _SETS.sub("none", _URL.sub("none", value))


def _picture(target: str, budget: Budget, depth: int) -> str:
    """Return a picture as a PNG, and a drawing as a harmless one; of what is damaged or too large, an empty address."""
    found = _DATA.match(target)
    if found is None:
        return ""
    raw = unquote_to_bytes(found[2])
    if found[1].rstrip().lower().endswith("base64"):
        try:
            raw = base64.b64decode(raw + b"=" * (-len(raw.strip()) % 4))
        except binascii.Error:
            return ""
    if raw.lstrip()[:1] == b"<" or raw[:2] == b"\x1f\x8b":
        return _drawing(raw, budget, depth + 1)
    stream = io.BytesIO()
    try:
        with open_picture(io.BytesIO(raw)) as picture:
            prepare(picture, budget).save(stream, "PNG", compress_level=1)
    except (*DAMAGED, NoText):
        return ""
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _drawing(raw: bytes, budget: Budget, depth: int) -> str:
    if depth >= _MAX_DEPTH:
        return ""
    try:
        root = parse(unpacked(raw))
    except (NoText, etree.XMLSyntaxError):
        return ""
    inner = etree.tostring(harmless(root, budget, depth), encoding="utf-8")
    return "data:image/svg+xml;base64," + base64.b64encode(inner).decode()
