"""The schedule of retries, without a network and without waiting."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from moonfs.api.retry import LONGEST_RETRY_AFTER, Backoff, Retry, parse_retry_after, run
from moonfs.errors import MoonfsError, RateLimited, ServiceError, Unreachable


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def failing(time: FakeTime, error: MoonfsError, *, seconds: float = 120.0, jitter: float = 0.5) -> FakeTime:
    """Run an attempt that always fails, to the end, and return the clock with its sleeps."""

    def attempt(_failures: int) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run(
            attempt,
            ends=time.now + seconds,
            retryable=lambda _: True,
            retry=Retry(clock=time.clock, jitter=lambda: jitter),
            sleep=time.sleep,
        )
    assert raised.value is error
    return time


def test_jitter_is_full_and_its_bound_doubles() -> None:
    backoff = Backoff()
    error = Unreachable("x")
    assert [backoff.wait(n, error, 0.0) for n in range(4)] == [0, 0, 0, 0]
    assert [backoff.wait(n, error, 1.0) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.wait(10_000, error, 1.0) == 30


def test_a_429_waits_longer_at_each_repeat_whatever_the_chance() -> None:
    backoff = Backoff()
    error = RateLimited("x", retry_after=1.0)
    for n in range(4):
        assert backoff.wait(n, error, 0.999) < backoff.wait(n + 1, error, 0.0)
    assert sum(backoff.wait(n, error, 0.0) for n in range(5)) == 31  # enough for three requests a minute


@pytest.mark.parametrize("error", [RateLimited("x", retry_after=20.0), ServiceError("x", retry_after=20.0)])
def test_retry_after_is_a_floor(error: MoonfsError) -> None:
    assert Backoff().wait(0, error, 0.0) == 20
    assert 20 < Backoff().wait(0, error, 0.5) < 21


def test_no_wait_begins_that_would_pass_the_deadline() -> None:
    time = failing(FakeTime(), RateLimited("x", retry_after=1.0), seconds=10, jitter=0.0)
    assert time.slept == [1, 2, 4]  # the next would be 8


def test_a_retry_after_beyond_the_deadline_is_not_slept_at_all() -> None:
    assert failing(FakeTime(), RateLimited("x", retry_after=600.0)).slept == []


def test_other_failures_end_after_a_few_attempts_though_time_is_left() -> None:
    time = failing(FakeTime(), Unreachable("x"), seconds=10_000)
    assert len(time.slept) == Backoff().attempts - 1


def test_what_is_not_retryable_is_raised_at_once() -> None:
    calls = []

    def attempt(failures: int) -> None:
        calls.append(failures)
        raise Unreachable("x")

    with pytest.raises(Unreachable):
        run(attempt, ends=1e12, retryable=lambda _: False, retry=Retry(), sleep=pytest.fail)
    assert calls == [0]


def test_success_ends_it_and_the_attempt_learns_the_failures_before() -> None:
    time = FakeTime()

    def attempt(failures: int) -> int:
        if failures < 2:
            raise Unreachable("x")
        return failures

    retry = Retry(clock=time.clock)
    assert run(attempt, ends=1e12, retryable=lambda _: True, retry=retry, sleep=time.sleep) == 2
    assert len(time.slept) == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("1", 1.0),
        (" 2.5 ", 2.5),
        ("-3", 0.0),
        ("inf", LONGEST_RETRY_AFTER),
        ("1e300", LONGEST_RETRY_AFTER),
        (formatdate(1_700_000_030, usegmt=True), 30.0),
        (formatdate(1_600_000_000, usegmt=True), 0.0),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
        ("9" * 5000, LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1_700_000_000.0) == seconds
