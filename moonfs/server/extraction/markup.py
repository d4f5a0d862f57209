r"""HTML: what a reader sees of it.

Blocks are lines, the cells of a row are apart by tabs. Of a table that lays out a page, cells are blocks. Preformatted
text stays as it is. A picture is its alternative text. The base of ruby stays whole, and what is read above it follows
its line in brackets. Soft hyphens are not seen, and neither is the end of a line between two Chinese characters.

The page is a stream, without a tree, so that no depth of nesting hurts.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Final

from moonfs.server.extraction.document import MAX_CHARACTERS, Document, Output
from moonfs.server.extraction.tags import Tag, Tags
from moonfs.server.extraction.text import decode

_UNSEEN: Final = frozenset(
    "script style template noscript iframe noembed video audio canvas datalist rp annotation annotation-xml"
    " metadata case".split()
)
_BLOCKS: Final = frozenset(
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset figcaption figure"
    " footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li listing main menu mtr nav noframes ol"
    " optgroup option p pagebreak plaintext pre search section select summary table tbody text textarea tfoot"
    " thead title tr ul xmp".split()
)
_PREFORMATTED: Final = frozenset(("pre", "textarea", "listing", "xmp", "plaintext"))
#: Stand in a line as a word does.
_WORDS: Final = frozenset(("button", "input", "img", "mtd"))
_VOID: Final = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_HEADINGS: Final = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
#: Elements that end where one of these begins, since people leave out their end.
_ENDED_BY: Final = {
    "p": _BLOCKS - {"br", "text", "option"},
    "li": frozenset(("li",)),
    **dict.fromkeys(("dt", "dd"), frozenset(("dt", "dd"))),
    **dict.fromkeys(("td", "th"), frozenset(("td", "th", "tr", "tbody", "tfoot"))),
    "tr": frozenset(("tr", "tbody", "tfoot")),
    "option": frozenset(("option", "optgroup")),
    "rp": frozenset(("rt", "rp", "rb")),
    "title": _BLOCKS,
}
_WRITTEN_INPUTS: Final = frozenset(("", "text", "search", "email", "url", "tel", "number", "submit", "button", "reset"))
_HIDING_STYLE: Final = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.I)
_FILE_NAME: Final = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp)", re.IGNORECASE)

#: Tables within tables beyond which they are blocks; columns and rows that one cell may span.
_MAX_TABLES: Final = 10
_MAX_SPAN: Final = 200
#: Columns of a row beyond which spans count no more.
_MAX_COLUMNS: Final = 1000
#: Characters of a cell of several lines beyond which it is no datum but a part of the page.
_MAX_CELL: Final = 600
#: Tags and texts between two looks at the clock.
_AT_ONCE: Final = 20_000

# Marks in what is being made, none of which a page may hold:
_KEPT: Final = "\0"  # a space of preformatted text
_BREAK: Final = "\1"  # white space with the end of a line in it
_BLANK: Final = "\2"  # a blank line of preformatted text
_SHOWN: Final = "\3"  # before what stands in the place of a picture
_MARKS: Final = str.maketrans(dict.fromkeys((_KEPT, _BREAK, _BLANK, _SHOWN)))
#: White space that is not one space already.
_SPACES: Final = re.compile(r"[\t\n\r\f\v][ \t\n\r\f\v]*| [ \t\n\r\f\v]+")
_INVISIBLE: Final = str.maketrans(dict.fromkeys("\u00ad\u200b\u2060\ufeff"))
_RUNS: Final = re.compile(f"[ {_BREAK}]{{2,}}")
_WIDE: Final = r"\u2e80-\u312f\u3190-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\U00020000-\U0003ffff"
#: Marks that Chinese and Western text share, and so are wide beside what is.
_SHARED: Final = "\u2014\u2018-\u201d\u2026"
_WITHIN_CHINESE: Final = re.compile(
    f"(?<=[{_WIDE}]){_BREAK}(?=[{_WIDE}{_SHARED}])|(?<=[{_SHARED}]){_BREAK}(?=[{_WIDE}])"
)
_BLANK_LINES: Final = re.compile(rf"(?<=\n)[{_KEPT}\t]*(?=\n)")
_EDGES: Final = " \u3000"

_CHARSET: Final = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
#: What pages say, and the whole of what they mean by it (WHATWG, Encoding).
_ENCODINGS: Final = {
    **dict.fromkeys(("utf-8", "utf8", "unicode-1-1-utf-8"), "utf-8"),
    # What declares them in bytes of 8 bits is none.
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "unicode", "ucs-2", "utf-32"), "utf-8"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "x-gbk", "gb_2312-80", "cp936", "ms936", "chinese"), "gb18030"),
    "hz-gb-2312": "hz",
    **dict.fromkeys(("big5", "big5-hkscs", "cn-big5", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "windows-31j", "cp932"), "cp932"),
    **dict.fromkeys(("euc-jp", "x-euc-jp"), "euc-jp"),
    "iso-2022-jp": "iso-2022-jp",
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "ksc5601", "korean", "windows-949", "cp949"), "cp949"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii", "cp1252"), "cp1252"),
    **dict.fromkeys(("iso-8859-9", "latin5"), "cp1254"),
    **dict.fromkeys(("tis-620", "iso-8859-11", "windows-874"), "cp874"),
    **{f"windows-{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"iso-8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    "iso-8859-8-i": "iso8859-8",
    **dict.fromkeys(("koi8-r", "koi8"), "koi8-r"),
    "koi8-u": "koi8-u",
    **dict.fromkeys(("macintosh", "x-mac-roman"), "mac-roman"),
    "ibm866": "cp866",
}
#: Of the characters that are not ASCII, how many may be broken in an encoding that is the right one.
_BROKEN: Final = 0.02
#: Of the bytes, how many may be zero without a reason; browsers leave them out.
_STRAY: Final = 0.01
#: So many characters that are not ASCII are UTF-8 by no accident; one is enough if else each byte were a character.
_SURELY: Final = 8
_MULTIBYTE: Final = frozenset(("gb18030", "big5hkscs", "cp932", "euc-jp", "cp949", "hz", "iso-2022-jp"))


def read_html(document: Document, output: Output) -> None:
    """Read the visible text of a page."""
    with open(document.path, "rb") as stream:
        output.add(visible_text(stream.read(), is_late=document.is_late))
    if document.is_late():
        output.cut("reading it took too long")


def visible_text(raw: bytes | str, *, title: bool = True, is_late: Callable[[], bool] = lambda: False) -> str:
    """Return what a reader sees of an HTML page.

    Args:
        raw: the page, decoded or not; it may be one of several of a book.
        title: whether its title is shown, as by browsers.
        is_late: asked now and then; says that what there is by now is enough.
    """
    page = _Page(title)
    whole = raw if isinstance(raw, str) else decode_page(raw)
    for number, piece in enumerate(Tags(whole.translate(_MARKS)), 1):
        if isinstance(piece, Tag):
            page.tag(piece)
        else:
            page.text(piece)
        if number % _AT_ONCE == 0 and (page.characters > MAX_CHARACTERS or is_late()):
            break
    return "\n".join(page.lines()).replace(_KEPT, " ").replace(_BLANK, "")


def decode_page(raw: bytes) -> str:
    """Return a page as text: by its mark, by what it declares if that can be, else by its bytes."""
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return decode(raw)
    declared = _CHARSET.search(_COMMENT.sub(b"", raw[:8192]))
    name = _ENCODINGS.get(declared[1].decode("ascii", "replace").lower()) if declared else None
    if name is None and raw.count(b"\0") > _STRAY * len(raw):  # UTF-16 without a mark, if anything
        return decode(raw)
    if b"\x1b$" in raw and raw.isascii():  # how ISO 2022 goes over to its characters, which pages of old do not declare
        name = name or "iso-2022-jp"
    text = raw.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    others = _above_ascii(text)
    surely = _SURELY if name in _MULTIBYTE else 1
    if name not in (None, "utf-8") and (broken or others < surely):  # else it is UTF-8, whatever it says
        other = raw.decode(name, "replace")
        if other.count("\ufffd") <= _BROKEN * _above_ascii(other):
            return other
    return text if broken <= _BROKEN * others else decode(raw.replace(b"\0", b""))


def _above_ascii(text: str) -> int:
    return 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))


class _Table:
    """A table whose rows are being read.

    Args:
        outside: the pieces of the text around it.
    """

    def __init__(self, outside: list[str]) -> None:
        self.outside = outside
        #: Of the row that is open: the lines of each cell.
        self.row: list[list[str]] | None = None
        self.is_layout = False
        #: Rows that cells above still reach into, by column.
        self.reach: dict[int, int] = {}
        #: The cell that is open: its columns and rows.
        self.span: tuple[int, int] | None = None


class _Page:
    """What is seen, as it comes together."""

    def __init__(self, has_title: bool) -> None:
        self.characters = 0
        self._pieces: list[str] = []
        self._tables: list[_Table] = []
        self._more_tables = 0
        self._preformatted = 0
        self._open: Counter[str] = Counter()
        #: Within an element that is not seen: what is open there, and how often.
        self._hidden: list[str] = []
        self._hidden_names: Counter[str] = Counter()
        self._has_title = has_title
        #: Within a formula: the elements that are open, each with how many it holds so far.
        self._formula: list[tuple[str, int]] = []
        #: What stands above a base that is being read; above one ruby, so far; above all of those in the line.
        self._above: list[str] | None = None
        self._reading = ""
        self._readings: list[str] = []

    def lines(self) -> list[str]:
        """Return the lines; nothing comes after."""
        while self._tables:
            self._end_table()
        return self._take(self._pieces)

    def text(self, text: str) -> None:
        """Take a text."""
        if self._hidden:
            return
        text = text[: MAX_CHARACTERS + 1].translate(_INVISIBLE)
        self.characters += len(text)
        if self._above is not None:
            self._above.append(_SPACES.sub(" ", text))
        elif self._preformatted:
            text = text.replace("\r\n", "\n").replace("\r", "\n").replace(" ", _KEPT)
            self._pieces.append(_BLANK_LINES.sub(_BLANK, text))
        else:
            self._pieces.append(_SPACES.sub(_collapsed, text))

    def tag(self, tag: Tag) -> None:
        """Take a tag."""
        if self._hidden and not self._leave(tag):
            return
        name = tag.name
        if tag.is_end:
            self._open[name] = max(0, self._open[name] - 1)
            if self._formula and self._formula[-1][0] == name:
                self._formula.pop()
            if name == "math":
                self._formula = []
            self._end(name)
            return
        if self._is_hidden(tag):
            if not tag.is_empty and name not in _VOID:
                self._hidden = [name]
                self._hidden_names = Counter(self._hidden)
            if name in _BLOCKS:
                self._break()
            return
        if self._open["math"]:
            self._begin_in_formula(tag)
        if not tag.is_empty and name not in _VOID:
            self._open[name] += 1
        self._begin(tag)

    # ---- what is hidden

    def _is_hidden(self, tag: Tag) -> bool:
        name = tag.name
        if name in _UNSEEN or (name == "title" and not self._has_title and not self._open["svg"]):
            return True
        if name in ("html", "body"):  # hidden until their script shows them
            return False
        if name == "dialog":
            return "open" not in tag.attributes()
        rest = tag.rest.lower()
        if "hidden" not in rest and "none" not in rest and "collapse" not in rest:
            return False
        attributes = tag.attributes()
        return "hidden" in attributes or _HIDING_STYLE.search(attributes.get("style", "")) is not None

    def _leave(self, tag: Tag) -> bool:
        """Follow a tag within what is hidden; say whether that is over and the tag is to be taken."""
        name, inside = tag.name, self._hidden
        if not tag.is_end:
            while inside and name in _ENDED_BY.get(inside[-1], ()):
                self._hidden_names[inside.pop()] -= 1
            if inside and not tag.is_empty and name not in _VOID:
                inside.append(name)
                self._hidden_names[name] += 1
            return not inside
        if self._hidden_names[name]:
            while (left := inside.pop()) != name:
                self._hidden_names[left] -= 1
            self._hidden_names[name] -= 1
            return False
        if self._open[name] and name in _BLOCKS:  # the end of what is around it
            inside.clear()
        return not inside

    # ---- what tags mean

    def _begin(self, tag: Tag) -> None:
        name = tag.name
        if name in ("td", "th"):
            self._begin_cell(tag)
        elif name == "rt" and self._open["ruby"]:
            self._above = [] if self._above is None else self._above
        elif name in ("rb", "ruby"):
            self._end_reading(name == "ruby")
        elif name == "tspan":
            attributes = tag.attributes()
            if attributes.get("x", "").strip():  # placed anew
                self._pieces.append("\n" if attributes.get("y") or attributes.get("dy") else " ")
        elif name in _BLOCKS:
            self._break()
            if name == "table" and not tag.is_empty:
                self._begin_table()
            elif name == "tr":
                self._begin_row()
            elif self._tables and (name in _HEADINGS or name == "hr"):
                self._tables[-1].is_layout = self._tables[-1].is_layout or self._tables[-1].span is not None
            if name in _PREFORMATTED and not tag.is_empty:
                self._preformatted += 1
        elif name in _WORDS:
            self._pieces.append(f" {_words_of(tag)} ")

    def _end(self, name: str) -> None:
        if name in ("td", "th"):
            if self._tables:
                self._end_cell(self._tables[-1])
        elif name in ("rt", "rtc", "ruby"):
            self._end_reading(name == "ruby")
        elif name == "table":
            self._break()
            if self._more_tables:
                self._more_tables -= 1
            elif self._tables:
                self._end_table()
        elif name == "tr":
            self._break()
            if self._tables:
                self._end_row(self._tables[-1])
        elif name in _BLOCKS:
            self._break()
            if name in _PREFORMATTED:
                self._preformatted = max(0, self._preformatted - 1)
        elif name in _WORDS:
            self._pieces.append(" ")

    def _break(self) -> None:
        """End the line."""
        self._end_reading(is_whole=True)
        if self._readings:
            self._pieces.append(f" ({' '.join(self._readings)})")
            self._readings = []
        self._pieces.append("\n")

    def _end_reading(self, is_whole: bool) -> None:
        """End what stands above a base; `is_whole`: above a whole ruby, which has a base for each character or so."""
        if self._above is not None:
            self._reading += "".join(self._above).strip()
            self._above = None
        if is_whole and self._reading:
            self._readings.append(self._reading)
            self._reading = ""

    def _begin_in_formula(self, tag: Tag) -> None:
        """Part what stands below from what stands above: a half is 1/2, not 12."""
        if self._formula:
            name, held = self._formula[-1]
            self._formula[-1] = (name, held + 1)
            if name == "mfrac" and held == 1:
                self._pieces.append("/")
        if not tag.is_empty:
            self._formula.append((tag.name, 0))

    # ---- tables

    def _begin_table(self) -> None:
        if len(self._tables) >= _MAX_TABLES:
            self._more_tables += 1
            return
        if self._tables and self._tables[-1].span:
            self._tables[-1].is_layout = True
        self._tables.append(_Table(self._pieces))

    def _begin_row(self) -> None:
        if not self._tables:  # a row without its table, as in a book that is cut into pieces
            self._tables.append(_Table(self._pieces))
        self._end_row(self._tables[-1])
        self._tables[-1].row = []

    def _begin_cell(self, tag: Tag) -> None:
        if not self._tables or self._tables[-1].row is None:
            self._begin_row()
        table = self._tables[-1]
        self._end_cell(table)
        assert table.row is not None
        attributes = tag.attributes() if "span" in tag.rest.lower() else {}
        self._pass_cells_from_above(table, table.row)
        table.span = (_span(attributes.get("colspan")), _span(attributes.get("rowspan")))
        self._pieces = []

    def _end_cell(self, table: _Table) -> None:
        if table.span is None or table.row is None:
            return
        self._break()
        columns, rows = table.span if len(table.row) < _MAX_COLUMNS else (1, 1)
        if rows > 1:
            table.reach.update((column, rows - 1) for column in range(len(table.row), len(table.row) + columns))
        table.row.append(self._take(self._pieces))
        table.row += [[] for _ in range(columns - 1)]
        table.span = None
        self._pieces = table.outside

    @staticmethod
    def _pass_cells_from_above(table: _Table, row: list[list[str]]) -> None:
        while left := table.reach.get(len(row), 0):
            table.reach[len(row)] = left - 1
            row.append([])

    def _end_row(self, table: _Table) -> None:
        self._end_cell(table)
        row, table.row = table.row, None
        if row is None:
            return
        self._pass_cells_from_above(table, row)
        is_layout, table.is_layout = table.is_layout, False
        several = [cell for cell in row if len(cell) > 1]
        is_layout = is_layout or any(sum(map(len, cell)) > _MAX_CELL for cell in several)
        if several and (is_layout or sum(map(bool, row)) == 1):
            lines = [line for cell in row for line in cell]
        else:
            lines = ["\t".join(" ".join(line.strip(_KEPT) for line in cell) for cell in row).rstrip("\t")]
        self.characters += sum(line.count("\t") for line in lines)
        self._pieces.append("\n" + "\n".join(lines) + "\n")

    def _end_table(self) -> None:
        self._end_row(self._tables[-1])
        self._pieces = self._tables.pop().outside

    def _take(self, pieces: list[str]) -> list[str]:
        """Return the lines of pieces that are complete."""
        text = _RUNS.sub(_collapsed, "".join(pieces))
        text = _WITHIN_CHINESE.sub("", text).replace(_BREAK, " ")
        lines = [line.strip(_EDGES) for line in text.split("\n")]
        lines = [line for line in lines if line.strip(_KEPT + _EDGES + "\t\xa0")]
        # A caption below a picture often says what the picture says in its place: once is enough.
        following = [*lines[1:], ""]
        return [one.replace(_SHOWN, "") for one, next_ in zip(lines, following, strict=False) if one != _SHOWN + next_]


def _collapsed(spaces: re.Match[str]) -> str:
    return _BREAK if any(end in spaces[0] for end in f"\n\r{_BREAK}") else " "


def _words_of(tag: Tag) -> str:
    """Return what stands in the place of a picture, or in a field."""
    if tag.name not in ("img", "input"):
        return ""
    attributes = tag.attributes()
    kind = attributes.get("type", "").lower()
    is_picture = tag.name == "img" or kind == "image"
    words = attributes.get("alt" if is_picture else "value", "") if is_picture or kind in _WRITTEN_INPUTS else ""
    words = _SPACES.sub(" ", words.translate(_INVISIBLE)).strip()
    if not is_picture:
        return words
    return "" if not words or _FILE_NAME.fullmatch(words) else _SHOWN + words


def _span(written: str | None) -> int:
    digits = (written or "").strip()[:6]
    return min(max(int(digits), 1), _MAX_SPAN) if digits.isdecimal() else 1
