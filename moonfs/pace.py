"""How much the service takes: requests at once, requests a minute, and pauses, all learned from its 429s.

*At once* is a window much as TCP has it: it grows with each answer that found it in use until the first 429, halves
at a 429 and grows by one a round from there. *A minute* has no bound until the service refuses a request that was
alone under way, twice in a row: then the rate was too high, and what it answered in the past minute is what it takes
in a minute. A bucket that refills would let twice that through after a rest, where the service looks back over the
whole minute; so the budget is what is left of it in the minute that ends now.

It measures and judges; it waits for nothing and wakes nobody: that is `traffic`.

**Threading:** none of its own; its owner's lock is held for every call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

#: Requests a minute of the service's lowest tier: whoever is refused after fewer is not too fast.
LOWEST_TIER: Final = 3
#: Seconds without a 429 after which what was learned is forgotten.
MEMORY: Final = 300.0
#: Seconds of the first pause after a 429, and of the longest; each further 429 doubles it. `retry-after: 1` is too
#: short for the lowest tier.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
#: By how much an answer widens the window before the first 429: fourfold in a round, from 8 to 32 in one.
_FAST: Final = 3
#: Answers of the past minute that are counted; nobody is that fast over a network.
_COUNTED: Final = 20_000


class Urgency(IntEnum):
    """Who is served first."""

    #: Somebody waits for it: a list, a text for an `open`, a deletion in write-through.
    READER = 0
    #: Uploads, and deletions in the background.
    WRITER = 1
    #: Nobody waits for it yet: read-ahead, prefetch.
    AHEAD = 2


@dataclass(eq=False, slots=True)
class Run:
    """One request under way.

    Attributes:
        number: grows with every request.
        alone: no other was under way at any time while it was.
    """

    number: int
    alone: bool


class Pace:
    """The pace of one account.

    Attributes:
        most: requests at once, at most.
        limit: requests at once, now.
        per_minute: requests a minute, or None while no bound is known.
        refusals: 429s seen.
        minute: seconds over which the service counts.
    """

    def __init__(self, most: int, first: int, minute: float) -> None:
        """Start with `first` at once; `minute` is in seconds."""
        self.most = max(1, most)
        self.limit = max(1, min(first, most))
        self.per_minute: int | None = None
        self.refusals = 0
        self.minute = minute
        self._runs: set[Run] = set()
        self._number = 0
        self._answers: deque[float] = deque(maxlen=_COUNTED)
        self._last_before_cut = 0
        self._cuts = 0
        self._refused_at: float | None = None
        self._pause_ends = float("-inf")
        self._growth = 0

    @property
    def under_way(self) -> int:
        """Requests under way."""
        return len(self._runs)

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing is sent after a 429."""
        return max(0.0, self._pause_ends - now)

    def has_room(self, urgency: Urgency) -> bool:
        """Say whether one more may be under way. A reader never waits behind others while the window is wide."""
        beyond = self.limit // 4 if urgency == Urgency.READER else 0
        return len(self._runs) < self.limit + beyond

    def wait(self, urgency: Urgency, ahead: int, now: float) -> float:
        """Return the seconds until the rate allows one more request after `ahead` others; 0 for now.

        Read-ahead leaves half of what a minute may have to others, writers a quarter, and one at least, to readers.
        """
        self.forget(now)
        pause = self.pause(now)
        if self.per_minute is None:
            return pause
        left_alone = 0
        if urgency == Urgency.AHEAD:
            left_alone = self.per_minute // 2
        elif urgency == Urgency.WRITER and self.per_minute > 1:
            left_alone = max(1, self.per_minute // 4)
        answered = len(self._answers)
        too_many = answered + len(self._runs) + ahead + 1 + left_alone - self.per_minute
        if too_many <= 0:
            return pause
        if too_many <= answered:
            return max(pause, self._answers[too_many - 1] + self.minute - now)
        return max(pause, self.minute * (1 + (too_many - answered - 1) // self.per_minute))

    def start(self) -> Run:
        """Note that a request starts."""
        self._number += 1
        run = Run(self._number, alone=not self._runs)
        for other in self._runs:
            other.alone = False
        self._runs.add(run)
        return run

    def answered(self, run: Run, now: float, *, others_wait: bool) -> None:
        """Note that the service did what `run` asked, or refused it for what it is; it ends."""
        self.forget(now)
        self._answers.append(now)
        in_use = others_wait or len(self._runs) >= self.limit
        self._runs.discard(run)
        if run.number > self._last_before_cut:
            self._cuts = 0
        if in_use and self.limit < self.most:
            self._growth += 1
            if self._refused_at is None:
                self.limit = min(self.limit + _FAST, self.most)
            elif self._growth >= self.limit:
                self.limit += 1
                self._growth = 0

    def refused(self, run: Run, now: float, retry_after: float) -> None:
        """Note a 429; `run` ends. Requests that were under way at the last one say nothing new."""
        self.forget(now)
        self.refusals += 1
        self._runs.discard(run)
        self._refused_at = now
        asked = min(retry_after, MEMORY)
        if run.number > self._last_before_cut:
            if run.alone and self._cuts:
                self._learn()
            asked = max(asked, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._cuts))
            self.limit = max(1, self.limit // 2)
            self._growth = 0
            self._cuts = min(self._cuts + 1, 16)
            self._last_before_cut = self._number
        self._pause_ends = max(self._pause_ends, now + asked)

    def ended(self, run: Run) -> None:
        """Note that `run` is over without a word of the service; nothing after one of the other endings."""
        self._runs.discard(run)

    def _learn(self) -> None:
        rate = len(self._answers)
        if rate >= LOWEST_TIER:
            self.per_minute = rate if self.per_minute is None else min(rate, self.per_minute)

    def forget(self, now: float) -> None:
        """Drop what is too old to count."""
        while self._answers and self._answers[0] <= now - self.minute:
            self._answers.popleft()
        if self._refused_at is not None and now - self._refused_at > MEMORY:
            self._refused_at = self.per_minute = None
            self._cuts = 0
