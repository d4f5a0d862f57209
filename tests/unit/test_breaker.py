"""Whether the service is there: when the breaker opens, what it says, and how it finds the end (E2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from moonfs import errors
from moonfs.breaker import Breaker, is_absence
from moonfs.errors import MoonfsError

REFUSED = errors.Unreachable("no connection")
SLOW = errors.TimedOut("no answer in time")


class Bench:
    """A breaker with a clock to turn; `probe` counts and does what `outcome` says."""

    def __init__(self, *, probing: bool = True) -> None:
        self.now = 100.0
        self.breaker = Breaker(lambda: self.now)
        self.probes = 0
        self.outcome: Callable[[], None] = self.nobody
        if probing:
            self.breaker.probe = self.probe

    def nobody(self) -> None:
        self.breaker.failed(self.now, REFUSED)
        raise REFUSED

    def probe(self) -> None:
        self.probes += 1
        self.outcome()

    def fail(self, error: MoonfsError = REFUSED, took: float = 0.0) -> bool:
        began = self.now
        self.now += took
        return self.breaker.failed(began, error)

    def open(self) -> None:
        self.fail()
        self.now += 1
        self.fail()
        self.now += 1
        assert self.fail()
        self.quiet()

    def quiet(self) -> None:
        """Wait until no probe is under way."""
        limit = time.monotonic() + 60
        while self.breaker._probing is not None:
            assert time.monotonic() < limit
            time.sleep(0.001)


def test_three_failures_in_two_seconds_open_it() -> None:
    """E2: neither three at once nor two in a long time."""
    bench = Bench(probing=False)
    assert [bench.fail() for _ in range(5)] == [False] * 5
    bench.now += 1.9
    assert not bench.fail()
    bench.now += 0.1
    assert bench.fail() and bench.breaker.is_open
    slow = Bench(probing=False)
    slow.fail()
    slow.now += 100
    assert not slow.fail()


def test_one_time_out_opens_it() -> None:
    """E2: whoever has waited long has waited for all; a wait that was cut short proves nothing."""
    bench = Bench(probing=False)
    assert not bench.fail(SLOW, took=1.9)
    other = Bench(probing=False)
    assert other.fail(SLOW, took=2.0)


def test_an_answer_to_others_meanwhile_keeps_it_closed() -> None:
    """E2: one request that hangs for a minute while others are answered is that request's trouble."""
    bench = Bench(probing=False)
    began = bench.now
    bench.now += 59
    bench.breaker.answered()
    bench.now += 1
    assert not bench.breaker.failed(began, SLOW)


def test_an_answer_begins_the_series_anew() -> None:
    """E2: failures on both sides of an answer do not add up."""
    bench = Bench(probing=False)
    bench.fail()
    bench.fail()
    bench.now += 2
    bench.breaker.answered()
    assert not bench.fail()


def test_it_answers_at_once_with_the_last_error() -> None:
    """Table, E2: the kind, so the errno, of what was last seen; since when; nothing was sent."""
    bench = Bench()
    bench.open()
    bench.breaker.failed(bench.now, errors.ServiceError("busy", status=503))
    with pytest.raises(errors.ServiceError, match=r"busy \(no answer since \d\d:\d\d:\d\d, .* not sent") as raised:
        bench.breaker.check()
    assert raised.value.unsent and raised.value.status is None
    summary = bench.breaker.summary()
    assert summary is not None and summary["reason"] == "busy"
    assert abs(time.time() - 2 - float(str(summary["since"]))) < 2


def test_a_probe_starts_when_it_opens() -> None:
    """E2: a time-out may be one file's trouble: the first look is taken at once, and closes it."""
    bench = Bench()
    bench.outcome = bench.breaker.answered
    bench.fail(SLOW, took=60)
    bench.breaker.check()
    assert bench.probes == 1 and not bench.breaker.is_open and bench.breaker.summary() is None


def test_later_probes_are_for_those_who_ask() -> None:
    """L4, E2: an idle mount sends nothing; askers cause one probe each time it is due, at growing distances."""
    bench = Bench()
    bench.open()
    assert bench.probes == 1
    bench.now += 1000
    time.sleep(0.02)
    assert bench.probes == 1
    expected = 1
    for pause in (1, 2, 4, 8, 10, 10):
        for _ in range(3):
            assert bench.breaker.outage() is not None
            bench.quiet()
        expected += 1
        assert bench.probes == expected
        bench.now += pause - 0.01
        assert bench.breaker.outage() is not None
        bench.quiet()
        assert bench.probes == expected
        bench.now += 0.01


def test_who_asks_at_the_end_of_an_outage_goes_on() -> None:
    """E2: everybody who asks while the probe is young is let through by what it finds."""
    bench = Bench()
    bench.open()
    bench.now += 1
    asked = threading.Barrier(4)

    def back() -> None:
        asked.wait(60)
        time.sleep(0.02)
        bench.breaker.answered()

    bench.outcome = back
    passed = []

    def ask() -> None:
        asked.wait(60)
        bench.breaker.check()
        passed.append(True)

    first = threading.Thread(target=lambda: passed.append(bench.breaker.outage() is None))
    first.start()
    while bench.probes < 2:
        time.sleep(0.001)
    others = [threading.Thread(target=ask) for _ in range(3)]
    for thread in others:
        thread.start()
    for thread in [first, *others]:
        thread.join(60)
    assert passed == [True] * 4 and bench.probes == 2


def test_a_probe_that_hangs_holds_up_nobody() -> None:
    """E2: a black hole answers nothing for long; callers hear of the outage after a moment, then at once."""
    bench = Bench()
    bench.open()
    bench.now += 1
    hanging = threading.Event()
    bench.outcome = lambda: hanging.wait(60) and None  # type: ignore[func-returns-value]
    began = time.monotonic()
    assert bench.breaker.outage() is not None
    bench.now += 0.3
    for _ in range(100):
        assert bench.breaker.outage() is not None
    assert time.monotonic() - began < 30 and bench.probes == 2
    hanging.set()


def test_a_probe_that_goes_wrong_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """E2: whatever is wrong with it, the breaker is not stuck."""
    bench = Bench()
    bench.open()
    bench.now += 1

    def broken() -> None:
        raise ZeroDivisionError

    bench.outcome = broken
    bench.breaker.outage()
    bench.quiet()
    assert "A probe failed" in caplog.text
    bench.outcome = bench.breaker.answered
    bench.now += 10
    assert bench.breaker.outage() is None


def test_no_thread_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: a machine without a thread to spare gets the outage's answer, and a probe later."""
    bench = Bench()
    bench.open()
    bench.now += 1

    class NoThread:
        def __init__(self, **_other: object) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", NoThread)
        assert bench.breaker.outage() is not None
    bench.outcome = bench.breaker.answered
    bench.now += 10
    assert bench.breaker.outage() is None


def test_background_work_is_held_and_looks_for_the_end() -> None:
    """E2: pending uploads are what asks where nobody else does; they never wait in the question."""
    bench = Bench()
    assert bench.breaker.hold() == 0
    bench.open()
    assert 0 < bench.breaker.hold() <= 1 and bench.probes == 1
    bench.now += 1
    bench.outcome = bench.breaker.answered
    while bench.breaker.hold():
        time.sleep(0.001)
    assert bench.probes == 2 and not bench.breaker.is_open


def test_without_a_probe_callers_try() -> None:
    """E2: one failure opens it again; an answer closes it."""
    bench = Bench(probing=False)
    bench.open()
    assert bench.breaker.outage() is not None and bench.breaker.hold() > 0
    bench.now += 1
    assert bench.breaker.hold() == 0 and bench.breaker.outage() is None
    assert bench.fail() and bench.breaker.outage() is not None
    bench.now += 1
    bench.breaker.check()
    bench.breaker.answered()
    bench.breaker.check()


def test_a_closed_one_starts_nothing() -> None:
    """L2: the end of a mount looks like an outage, and is none."""
    bench = Bench()
    bench.breaker.close()
    for _ in range(5):
        assert not bench.fail(SLOW, took=5)
    assert bench.probes == 0 and bench.breaker.hold() == 0


@pytest.mark.parametrize(
    ("operation", "error", "expected"),
    [
        ("list", errors.Unreachable("x"), True),
        ("upload", errors.Unreachable("x", maybe_stored=True), True),
        ("content", errors.TimedOut("x"), True),
        ("content", errors.TimedOut("x", status=408), False),
        *[(operation, errors.ServiceError("x", status=503), True) for operation in ("list", "content", "upload")],
        ("content", errors.ServiceError("x", status=502), True),
        ("content", errors.ServiceError("x", status=504), True),
        ("list", errors.ServiceError("x", status=500), True),
        ("content", errors.ServiceError("x", status=500), False),
        ("upload", errors.ServiceError("x", status=500), False),
        ("list", errors.ServiceError("x"), False),
        ("list", errors.ProtocolError("x", status=200), False),
        ("content", errors.ExtractionFailed("x", status=500), False),
        ("list", errors.RateLimited("x", status=429), False),
        ("list", errors.AuthenticationFailed("x", status=401), False),
        ("delete", errors.NotFound("x", status=404), False),
        ("list", errors.Unreachable("x", unsent=True), False),
        ("list", errors.TimedOut("x", unsent=True), False),
    ],
)
def test_what_counts_as_an_absence(operation: str, error: MoonfsError, expected: bool) -> None:
    """E2: no connection, no answer, a gateway with nothing behind it; not what speaks of one file or of us."""
    assert is_absence(operation, error) is expected
