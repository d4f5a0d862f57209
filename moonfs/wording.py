"""Numbers and moments in words: local time for people, local time with its offset from UTC in files (RFC 3339).

Standard library only.

**Threading:** pure functions.
"""

from __future__ import annotations

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
