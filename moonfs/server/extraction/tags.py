"""HTML and XHTML as a stream of tags and text, in time that grows with the length of the page and no faster.

It follows the tokenizer of the HTML standard where pages differ in what is seen: quotes within tags, comments, scripts
that are commented out, what is never closed. It builds no tree, knows no meaning of tags, and a `<` that begins
nothing is text. The parser of the standard library takes the square of the length for a run of unclosed tags.

**Threading:** pure functions; a `Tags` is read by one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Final, NamedTuple

#: Elements whose content is no markup, and whether references in it count.
_RAW: Final = {
    **dict.fromkeys(("script", "style", "xmp", "iframe", "noembed", "noscript"), False),
    **dict.fromkeys(("title", "textarea"), True),
}
#: What hides everything after it when it is never closed, as browsers have it; of others the content is shown.
_HIDES_THE_REST: Final = frozenset(("script", "style", "iframe", "noembed", "noscript"))

_TAG: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*)|<[!?/]")
_END_OF_TAG: Final = re.compile(r">|=\s*([\"'])")
_ATTRIBUTE: Final = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>][^\s>]*)))?""")
_END_OF_COMMENT: Final = re.compile(r"--!?>")
_END_OF_SUBSET: Final = re.compile(r"\]\s*>")
_IN_SCRIPT: Final = re.compile(r"<!--|-->|<script(?=[\s/>])|</script(?=[\s/>])", re.IGNORECASE)
#: A reference to a character by a number of so many digits that it is none.
_HUGE: Final = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_MAX_SUBSET: Final = 64 * 1024


class Tag(NamedTuple):
    """One tag.

    Attributes:
        name: lower case, without the prefix of a namespace.
        is_end: it is `</name>`.
        is_empty: it is `<name/>`.
        rest: its attributes as they are written.
    """

    name: str
    is_end: bool
    is_empty: bool
    rest: str

    def attributes(self) -> dict[str, str]:
        """Return the attributes: names in lower case, without prefix, each as it is given first."""
        found: dict[str, str] = {}
        for match in _ATTRIBUTE.finditer(self.rest):
            name = match[1].lower().rpartition(":")[2]
            if name not in found:
                found[name] = characters(match[2] or match[3] or match[4] or "")
        return found


def characters(text: str) -> str:
    """Return text with its references, such as `&nbsp;`, as the characters that they stand for."""
    return unescape(_HUGE.sub("\ufffd", text)) if "&" in text else text


class Tags:
    """The tags and texts of a page, in order.

    Args:
        page: the page, decoded.
    """

    def __init__(self, page: str) -> None:
        self._page = page
        self._at = 0
        #: What is not found from here on is not looked for again.
        self._gone: set[str] = set()
        self._foreign = 0
        self._is_xml = page.lstrip("\ufeff \t\r\n")[:5] == "<?xml" or "http://www.w3.org/1999/xhtml" in page[:4096]

    def __iter__(self) -> Iterator[Tag | str]:
        page = self._page
        text_from = 0
        while (match := _TAG.search(page, self._at)) is not None:
            start = match.start()
            piece: Tag | str | None
            if match[2] is not None:
                self._at = match.end()
                piece = self._tag(match[2], bool(match[1]))
            elif page.startswith("</", start) and not page.startswith("</>", start):
                following = page[start + 2 : start + 3]
                if not following or following.isspace():  # "1 </ 2" is a comment to browsers, and nobody means it
                    self._at = start + 2
                    continue
                self._at, piece = self._after(">", start), None
            else:
                piece = self._declaration(start)
            if text_from < start:
                yield characters(page[text_from:start])
            if piece is not None:
                yield piece
            if isinstance(piece, Tag) and not piece.is_end:
                yield from self._content(piece)
            text_from = self._at
        if text_from < len(page):
            yield characters(page[text_from:])

    def _tag(self, name: str, is_end: bool) -> Tag | None:
        """Read the rest of a tag; None for one that the end of the page cuts off."""
        start = self._at
        while (end := _END_OF_TAG.search(self._page, self._at)) is not None and end[1]:
            self._at = end.end()
            closing = self._page.find(end[1], self._at)
            if closing >= 0:  # else, as happens once in a page at most, the value ends with its tag
                self._at = closing + 1
        if end is None:
            self._at = len(self._page)
            return None
        self._at = end.end()
        rest = self._page[start : end.start()]
        name = name.lower()
        prefix, colon, local = name.rpartition(":")
        name = local if colon and prefix != "o" else name  # Word's `o:p` stands within paragraphs
        is_empty = rest.endswith("/") and not is_end
        if name in ("svg", "math") and not is_empty:
            self._foreign = max(0, self._foreign + (-1 if is_end else 1))
        return Tag(name, is_end, is_empty, rest)

    def _declaration(self, start: int) -> str | None:
        """Pass over a comment or declaration; return what stands in a CDATA section."""
        page = self._page
        if page.startswith("<!--", start):
            if page.startswith(("<!-->", "<!--->"), start):
                self._at = self._after(">", start)
            else:
                end = _END_OF_COMMENT.search(page, start + 4)
                self._at = end.end() if end else len(page)
        elif page.startswith("<![CDATA[", start) and (self._is_xml or self._foreign):
            self._at = self._after("]]>", start)
            return page[start + 9 : self._at].removesuffix("]]>")
        elif page.startswith(("<?php", "<?="), start):
            self._at = self._after("?>", start)
        else:
            self._at = self._after(">", start)
            is_first = "<!DOCTYPE" not in self._gone
            if is_first and page[start : start + 9].upper() == "<!DOCTYPE" and "[" in page[start : self._at]:
                self._gone.add("<!DOCTYPE")
                subset = _END_OF_SUBSET.search(page, start, start + _MAX_SUBSET)
                self._at = max(self._at, subset.end()) if subset else self._at
        return None

    def _content(self, tag: Tag) -> Iterator[Tag | str]:
        """Yield the content of an element in which there are no tags, and its end."""
        if tag.name not in _RAW or tag.is_empty or self._foreign or tag.name in self._gone:
            return
        start = self._at
        end = self._end_of_script() if tag.name == "script" else self._end_of(tag.name)
        if end < 0:
            self._gone.add(tag.name)
            if tag.name not in _HIDES_THE_REST:
                return
            end = len(self._page)
        self._at = end
        if end > start:
            text = self._page[start:end]
            yield characters(text) if _RAW[tag.name] else text

    def _end_of(self, name: str) -> int:
        found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(self._page, self._at)
        return found.start() if found else -1

    def _end_of_script(self) -> int:
        """Return where a script ends: not within a script that it has commented out."""
        first = -1
        is_comment = is_inner = False
        for mark in _IN_SCRIPT.finditer(self._page, self._at):
            text = mark[0].lower()
            if text == "</script":
                first = mark.start() if first < 0 else first
                if not is_inner:
                    return mark.start()
                is_inner = False
            elif text == "<!--":
                is_comment = True
            elif text == "-->":
                is_comment = is_inner = False
            else:
                is_inner = is_comment
        return first

    def _after(self, mark: str, start: int) -> int:
        """Return where `mark` ends next, or the page does."""
        at = -1 if mark in self._gone else self._page.find(mark, start)
        if at < 0:
            self._gone.add(mark)
            return len(self._page)
        return at + len(mark)
