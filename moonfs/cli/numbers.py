"""Numbers on the command line, refused in words: click itself speaks of "float ranges" and of "x>=0".

**Threading:** pure functions.
"""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number within bounds; not `nan`, which click finds within any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; refuse what is none, or is out of bounds."""
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if math.isnan(number):
            self.fail(f"'{value}' is not {_within('a number', self.min, self.max)}.", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; refuse what is none, or is out of bounds."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is not {_within('a whole number', self.min, self.max)}.", param, ctx)


def _within(what: str, low: float | None, high: float | None) -> str:
    """Return what is taken, in words.

    >>> _within("a number", 0, None), _within("a whole number", 0, 65535)
    ('a number from 0 on', 'a whole number from 0 to 65535')
    """
    begins = "" if low is None else f" from {low:g}"
    if high is None or math.isinf(high):
        return f"{what}{begins} on" if begins else what
    return f"{what}{begins} to {high:.15g}" if begins else f"{what} up to {high:.15g}"
