"""Numbers, moments and untrusted words as people read them: nothing that is printed does anything to a terminal.

Times are local for people, and local with their offset from UTC in files (RFC 3339). Names of files and what a service
says come from anywhere: all that prints or logs such, or writes JSON that somebody may look at, does it by `printable`
or `to_json`. Standard library only.

**Threading:** pure functions.
"""

from __future__ import annotations

import json
import locale
import re
from datetime import datetime


def count(number: int, noun: str) -> str:
    """Return how many there are of what.

    >>> count(1, "file"), count(1200, "file"), count(0, "text")
    ('1 file', '1,200 files', '0 texts')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def stamp(moment: float | None = None, *, fine: bool = False) -> str:
    """Return a moment for a file, such as `2026-03-01T09:30:00+08:00`.

    Args:
        moment: unix time; None for now.
        fine: whether milliseconds are in it.
    """
    when = datetime.now() if moment is None else datetime.fromtimestamp(moment)
    return when.astimezone().isoformat(timespec="milliseconds" if fine else "seconds")


def shown(stamped: str) -> str:
    """Return what a file calls a moment as people here read it; what is no moment stays as it is.

    Earlier versions wrote `2026-03-01T01:30:00Z`.
    """
    try:
        when = datetime.fromisoformat(stamped)
    except ValueError:
        return stamped
    if when.tzinfo is None:
        return stamped
    fine = "milliseconds" if when.microsecond else "seconds"  # as `stamp` writes it
    return when.astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec=fine)


def printable(text: str) -> str:
    r"""Return a line that does nothing to a terminal: what would, or breaks the line, is shown by its number.

    >>> printable("a\x1b[31m b")
    'a\\x1b[31m b'
    """
    if text.isprintable():
        return text
    text = re.sub("[\udc80-\udcff]+", lambda found: _in_locale(found[0]), text)
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


def _in_locale(escaped: str) -> str:
    """Return bytes of a path that are no UTF-8 as the locale has them, where it has another encoding."""
    encoding = locale.getencoding()
    if encoding.lower() in ("utf-8", "utf8"):
        return escaped
    try:
        return escaped.encode("utf-8", "surrogateescape").decode(encoding, "surrogateescape")
    except LookupError:
        return escaped


def to_json(value: object, *, indent: int | None = None, plain: bool = False) -> str:
    r"""Return JSON that a terminal can be shown; `plain`: in ASCII. JSON itself escapes no DEL and no U+009B.

    >>> to_json("a\x9b31m 福")
    '"a\\u009b31m 福"'
    """
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]
