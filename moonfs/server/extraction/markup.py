"""HTML: what a reader sees of it.

It is read as a stream of events, without a tree, so that no depth of nesting hurts.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from moonfs.server.extraction.document import Document, Output
from moonfs.server.extraction.text import decode

_UNSEEN: Final = frozenset(("script", "style", "template", "noscript"))
_BLOCK_NAMES: Final = (
    "address article aside blockquote body br caption dd div dl dt fieldset figcaption figure footer form"
    " h1 h2 h3 h4 h5 h6 head header hr html legend li main nav ol option p pre section table title tr ul"
)
_BLOCKS: Final = frozenset(_BLOCK_NAMES.split())
_CHARSET: Final = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_SPACE: Final = re.compile(r"[ \n\r\f\v\u3000]+|\t[ \t\n\r\f]*")
#: Stands for a space in preformatted text until lines are stripped.
_KEPT: Final = "\0"


def read_html(document: Document, output: Output) -> None:
    """Read the visible text of a page."""
    with open(document.path, "rb") as stream:
        output.add(visible_text(stream.read()))


def visible_text(raw: bytes) -> str:
    """Return what a reader sees of an HTML page; blocks are lines, cells are apart by tabs."""
    page = _Page()
    page.feed(_decode(raw).replace(_KEPT, ""))
    page.close()
    lines = (line.strip(" ") for line in "".join(page.pieces).split("\n"))
    return "\n".join(line for line in lines if line.strip(_KEPT + " \t\r")).replace(_KEPT, " ")


def _decode(raw: bytes) -> str:
    declared = _CHARSET.search(raw[:4096])
    if declared and not raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        name = declared[1].decode("ascii", "replace").lower()
        name = "gb18030" if name in {"gb2312", "gbk"} else name  # the whole of what pages mean by them
        try:
            return raw.decode(name)
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(raw)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = ""
        self._preformatted = 0
        self._begins_row = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            return
        if tag in _UNSEEN:
            self._unseen = tag
        elif tag in _BLOCKS:
            self.pieces.append("\n")
            self._preformatted += tag == "pre"
            self._begins_row = self._begins_row or tag == "tr"
        elif tag in {"td", "th"}:
            self.pieces.append("" if self._begins_row else "\t")
            self._begins_row = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag == self._unseen:
                self._unseen = ""
        elif tag in _BLOCKS:
            self.pieces.append("\n")
            self._preformatted = max(0, self._preformatted - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data.replace(" ", _KEPT) if self._preformatted else _SPACE.sub(" ", data))
