"""When a failed call is tried again, and after how long: a schedule and the loop that follows it.

It decides by the kind of error alone and knows nothing of HTTP but the syntax of `Retry-After`. It is not a
circuit breaker: each call begins anew; a long outage is the gate's to notice (`traffic`, E2).

**Threading:** immutable values and pure functions; each call of `run` belongs to one thread.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from moonfs.errors import MoonfsError, PassingFault, RateLimited

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds. More than this in a `Retry-After` is taken for this; no deadline of ours reaches so far anyway.
LONGEST_RETRY_AFTER: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter.

    A refused connection or a 5xx waits anything between nothing and a bound that doubles, a few times only: a
    person waits behind the call. A 429 waits at least a floor that doubles too, as often as the deadline
    allows: the service asks for `retry-after: 1`, while its lowest tier takes three requests a minute. A refusal that
    passes by itself, of one call in six (LIVE), is tried more often and sooner: it costs a copy of a thousand files
    nothing, and where it does not pass, that is told within seconds.

    Attributes:
        first: the first bound, in seconds.
        first_limited: the first floor after a 429, in seconds.
        longest: where both stop doubling, in seconds.
        attempts: how often a call is tried in all when its failures are not 429s.
        longest_passing: where the bound for a refusal that passes stops doubling, in seconds.
        attempts_passing: how often a call is tried in all when its failures are such refusals.
    """

    first: float = 0.5
    first_limited: float = 1.0
    longest: float = 30.0
    attempts: int = 5
    longest_passing: float = 2.0
    attempts_passing: int = 10

    def most(self, error: MoonfsError) -> float:
        """Return how often a call that failed with `error` is tried in all, if the deadline allows."""
        if isinstance(error, RateLimited):
            return math.inf
        return self.attempts_passing if isinstance(error, PassingFault) else self.attempts

    def wait(self, failures: int, error: MoonfsError, jitter: float) -> float:
        """Return the seconds to wait after `error`.

        Args:
            failures: how many attempts failed before this one.
            error: what went wrong; its `retry_after` is a floor.
            jitter: a random number, 0 <= jitter < 1.
        """
        doubled = 2.0 ** min(failures, 32)
        asked = error.retry_after or 0.0
        if isinstance(error, RateLimited):
            step = min(self.longest, self.first_limited * doubled)
            return max(asked, step) + jitter * step
        longest = self.longest_passing if isinstance(error, PassingFault) else self.longest
        return asked + jitter * min(longest, self.first * doubled)


@dataclass(frozen=True, slots=True)
class Retry:
    """The schedule together with the time and chance it runs on, which tests replace.

    Attributes:
        backoff: how long to wait.
        clock: seconds, monotonic.
        sleep: waits the given seconds; None lets the client wait so that `Client.close` ends it.
        jitter: a random number, 0 <= jitter < 1.
    """

    backoff: Backoff = Backoff()
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None
    jitter: Callable[[], float] = random.random


def run(
    attempt: Callable[[int], T],
    *,
    ends: float,
    retryable: Callable[[MoonfsError], bool],
    retry: Retry,
    sleep: Callable[[float], object],
    gated: bool = False,
) -> T:
    """Call `attempt` until it succeeds and return what it returns.

    Args:
        attempt: gets the number of failures so far, from 0.
        ends: when to give up, on the clock of `retry`: no wait is begun that would end later.
        retryable: whether this error may be tried again at all.
        retry: schedule, clock and chance.
        sleep: waits the given seconds.
        gated: whether `attempt` itself waits after a 429, in its place among all calls.

    Raises:
        MoonfsError: that of the last attempt; of a 429 whose repeat was not sent, the service's own (E1).
    """
    failures = 0
    said: RateLimited | None = None
    while True:
        try:
            return attempt(failures)
        except MoonfsError as error:
            limited = isinstance(error, RateLimited)
            if limited and error.unsent and said is not None:
                raise said from None
            said = error if isinstance(error, RateLimited) else None
            wait = 0.0 if gated and limited else retry.backoff.wait(failures, error, retry.jitter())
            failures += 1
            if failures >= retry.backoff.most(error) or not retryable(error) or retry.clock() + wait >= ends:
                raise
            log.debug("attempt %d failed, next in %.1f s: %s", failures, wait, error)
        sleep(wait)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, between 0 and `LONGEST_RETRY_AFTER`.

    Args:
        value: seconds or an HTTP date (RFC 9110, 10.2.3); untrusted.
        now: unix time, in seconds, by the clock that the date is compared with.

    Returns:
        None for no header and for one that makes no sense.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
