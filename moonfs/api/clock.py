"""The service's clock, by the `Date` of its own answers, carried on by a clock that nobody sets (W3).

Each answer bounds by how much the two clocks differ: its Date was made between the request and the answer. Where two
answers contradict each other, because the service's clock was set or its machines disagree, it tells no time any more.

**Threading:** any thread may call anything; the state is one attribute, written at once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

log = logging.getLogger(__name__)

#: Seconds by which two answers may contradict each other; an attempt's time has as much to spare.
SLACK: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer: its Date, when it came, and the bounds of the difference; all in seconds."""

    date: float
    at: float
    least: float
    most: float


class ServiceClock:
    """The clock of one service.

    Attributes:
        is_sure: whether no two answers have contradicted each other.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None
        self.is_sure = True

    def see(self, date: str | None, sent: float) -> None:
        """Take in the Date of an answer of the service's own to a request that began at `sent`, by `since_boot`."""
        if date is None:
            return
        try:
            told = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            log.debug("an unusable Date header: %.60r", date)
            return
        now, before = since_boot(), self._seen
        seen = self._seen = _Seen(told, now, told - now, told + 1 - sent)
        if before is None or not self.is_sure:
            return
        self.is_sure = seen.least <= before.most + SLACK and before.least <= seen.most + SLACK
        if not self.is_sure:
            log.warning("The service's answers disagree about the time, so nothing is told by it from now on.")

    @property
    def time(self) -> float | None:
        """Unix time by the latest Date; None before the first."""
        seen = self._seen
        return None if seen is None else seen.date + since_boot() - seen.at


def since_boot() -> float:
    """Return seconds on the clock that goes on while the machine sleeps, as the service's does (W3)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
