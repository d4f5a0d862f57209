"""Sizes and times in words; words that do nothing to a terminal, and that any terminal can show.

**Threading:** pure functions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from moonfs import wording
from moonfs.wording import count, printable

__all__ = [
    "SHOWN",
    "WHOSE_FILES",
    "by_advice",
    "count",
    "doing",
    "duration",
    "failures",
    "plain",
    "printable",
    "say",
    "shown_otherwise",
    "size",
    "to_json",
]

#: The handler of errors (codecs.register_error) for output that is not in UTF-8.
SHOWN: Final = "moonfs-shown"
#: Our own typography in plain letters; of names, which may be in any script, there is a question mark for each letter.
_PLAIN: Final = {"…": "...", "→": "->", "–": "-", "—": "-", "’": "'"}

#: What is said of a drive whose list is the organisation's.
WHOSE_FILES: Final = (
    "These are the files of the whole organisation: who deletes one deletes it for everybody; "
    "scope=project shows those of the key's project alone."
)
#: Failures that are named, of one kind.
_MANY: Final = 20


def failures(failed: Sequence[Mapping[str, Any]], counts: Mapping[str, int] | None = None) -> list[str]:
    """Return the lines that name what failed and why, those of one kind together, with what to do about them.

    Args:
        failed: each with `name`, `error` and `next`.
        counts: how many there are by `next`, where not all of them are given.
    """
    kinds: dict[str, list[str]] = {}
    for each in failed:
        kinds.setdefault(str(each["next"]), []).append(printable(f"{each['name']}: {each['error']}"))
    lines = []
    for step, named in kinds.items():
        lines += named[:_MANY]
        more = (counts or {}).get(step, len(named)) - len(named[:_MANY])
        lines += [f"… and {more:,} more"] if more else []
        lines.append(f"    → {printable(step)}")
    return lines


def size(count: float) -> str:
    """Return bytes as people read them, in powers of 1024.

    >>> size(512), size(5_300_000)
    ('512 B', '5.1 MB')
    """
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Return seconds as people read them.

    >>> duration(7.4), duration(95), duration(7300)
    ('7 s', '1 min', '2 h 1 min')
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"


def by_advice(entries: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Return what has the same advice together, in the order of the first of each, so that it is said once.

    >>> by_advice([("a", "Wait."), ("b", "Look."), ("c", "Wait.")])
    [(['a', 'c'], 'Wait.'), (['b'], 'Look.')]
    """
    found: dict[str, list[str]] = {}
    for text, advice in entries:
        found.setdefault(advice, []).append(text)
    return [(texts, advice) for advice, texts in found.items()]


def doing(operation: str) -> str:
    """Return what a person calls an operation of FUSE.

    >>> doing("flush"), doing("rename")
    ('close', 'rename')
    """
    return "close" if operation in ("flush", "release") else operation


def say(*lines: object, err: bool = False) -> None:
    """Print lines for a person, whatever others' names and words are in them; for programs there is `click.echo`."""
    for line in lines:
        click.echo(printable(str(line)), err=err)


def shown_otherwise(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is printed instead of characters that the output's encoding lacks; see codecs.register_error."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    if all("\udca0" <= char <= "\udcff" for char in lacking):  # bytes of a path, and no control characters
        return lacking.encode("utf-8", "surrogateescape"), error.end
    return "".join(_PLAIN.get(char, "?") for char in lacking), error.end


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON for standard output: with its names as they are where the output is in UTF-8, else escaped."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return wording.to_json(value, indent=indent, plain=not is_utf8)


def plain(text: str) -> str:
    r"""Return a text in ASCII: its signs by those of a typewriter, anything else by its number.

    >>> plain("[NAME]… → mount — or not")
    '[NAME]... -> mount -- or not'
    """
    for sign, instead in (("…", "..."), ("→", "->"), ("—", "--"), ("×", "x"), ("·", "*")):
        text = text.replace(sign, instead)
    return text.encode("ascii", "backslashreplace").decode()
