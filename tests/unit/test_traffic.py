"""The gate: who goes next, who is told that it is in vain, and that no place in it is ever lost.

Waits in one thread turn a clock instead of taking time; where threads wait for each other they are real.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from moonfs import errors
from moonfs.errors import MoonfsError
from moonfs.traffic import Ticket, Traffic, Urgency

READER, WRITER, AHEAD = Urgency.READER, Urgency.WRITER, Urgency.AHEAD


class Clock:
    """Time that passes only while the one thread of a test waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> None:
        if not event.is_set():
            self.now += seconds


class Alone:
    """A gate for one thread."""

    def __init__(self, most: int = 32, first: int = 8) -> None:
        self.clock = Clock()
        self.traffic = Traffic(most, first, self.clock, wait=self.clock.wait)

    def send(
        self, outcome: MoonfsError | None = None, *, urgency: Urgency = READER, within: float = 600, took: float = 0
    ) -> float:
        """Send one request that ends as given; return the seconds it waited for its turn."""
        began = self.clock.now
        try:
            with self.traffic.permit(Ticket(urgency), ends=began + within, operation="list"):
                waited = self.clock.now - began
                self.clock.now += took
                if outcome is not None:
                    raise outcome
        except MoonfsError as error:
            if error is not outcome:
                raise
        return waited

    def learn_three(self) -> None:
        for _ in range(3):
            self.send()
        for _ in range(2):
            self.send(refusal())


def refusal(retry_after: float = 0.0) -> MoonfsError:
    return errors.RateLimited("slow down", status=429, retry_after=retry_after)


class Crowd:
    """Callers in threads of their own. Each holds its permit until `end(name)`."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.order: list[str] = []
        self.failed: dict[str, MoonfsError] = {}
        self.gates: dict[str, threading.Event] = {}
        self.outcomes: dict[str, MoonfsError | None] = {}
        self.threads: list[threading.Thread] = []

    def call(self, name: str, urgency: Urgency = READER, *, within: float = 30, ticket: Ticket | None = None) -> None:
        """Start a caller; returns when it holds its permit or stands in the queue."""
        self.gates[name] = threading.Event()
        ticket = ticket or Ticket(urgency)
        waiting = self.shown("waiting")
        thread = threading.Thread(target=self._run, args=(name, ticket, within), daemon=True)
        self.threads.append(thread)
        thread.start()
        until(lambda: name in self.order or name in self.failed or self.shown("waiting") > waiting)

    def _run(self, name: str, ticket: Ticket, within: float) -> None:
        try:
            with self.traffic.permit(ticket, ends=time.monotonic() + within, operation="content"):
                self.order.append(name)
                assert self.gates[name].wait(30)
                if (outcome := self.outcomes.get(name)) is not None:
                    raise outcome
        except MoonfsError as error:
            self.failed[name] = error

    def end(self, *names: str, outcome: MoonfsError | None = None) -> None:
        for name in names:
            self.outcomes[name] = outcome
            self.gates[name].set()

    def shown(self, what: str) -> int:
        return int(str(self.traffic.summary()[what]))

    def close(self) -> None:
        self.traffic.close()
        for gate in self.gates.values():
            gate.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it does not come"
        time.sleep(0.001)


@contextmanager
def crowd(most: int, **other: float) -> Iterator[Crowd]:
    made = Crowd(Traffic(most, most, **other))
    yield made
    made.close()


def test_the_more_urgent_go_first_and_then_the_earlier() -> None:
    """E2, R3: readers, then writers, then read-ahead, each in the order of arrival."""
    with crowd(1) as here:
        here.call("first", AHEAD)
        for name in ("a1", "w1", "r1", "w2", "r2", "a2"):
            here.call(name, {"a": AHEAD, "w": WRITER, "r": READER}[name[0]])
        for count, name in enumerate(("first", "r1", "r2", "w1", "w2", "a1", "a2"), 1):
            until(lambda count=count: len(here.order) == count)  # type: ignore[misc]
            here.end(name)
        until(lambda: here.shown("under_way") == 0)
        assert here.order == ["first", "r1", "r2", "w1", "w2", "a1", "a2"] and not here.failed


def test_a_reader_passes_a_full_window() -> None:
    """E2: eight uploads hang, and nobody who reads waits for them; writers beyond the window do."""
    with crowd(8) as here:
        for number in range(8):
            here.call(f"w{number}", WRITER)
        here.call("more", WRITER)
        here.call("r1")
        here.call("r2")
        here.call("r3")
        assert here.order[8:] == ["r1", "r2"] and here.shown("waiting") == 2
        here.end("w0")
        time.sleep(0.02)
        assert here.shown("waiting") == 1 and here.order[-1] == "r3"


def test_hurry_in_the_queue() -> None:
    """R3: a reader who comes for what is being read ahead does not wait as read-ahead does."""
    with crowd(1) as here:
        here.call("first")
        here.call("writer", WRITER)
        ticket = Ticket(AHEAD)
        here.call("ahead", ticket=ticket)
        here.traffic.hurry(ticket)
        assert ticket.urgency == READER
        here.end("first")
        until(lambda: len(here.order) == 2)
        assert here.order == ["first", "ahead"]


def test_hurry_starts_what_only_its_urgency_held_back() -> None:
    """R3: read-ahead may not exceed the window; the reader it has become may."""
    with crowd(4) as here:
        for number in range(4):
            here.call(f"w{number}", WRITER)
        ticket = Ticket(AHEAD)
        here.call("ahead", ticket=ticket)
        assert "ahead" not in here.order
        here.traffic.hurry(ticket)
        until(lambda: "ahead" in here.order)


def test_a_wait_for_others_ends_with_the_deadline() -> None:
    """E2: every wait is bounded; whoever gives up leaves no gap and takes no place."""
    with crowd(1) as here:
        here.call("first")
        here.call("hasty", within=0.05)
        here.call("patient")
        until(lambda: "hasty" in here.failed)
        assert isinstance(here.failed["hasty"], errors.TimedOut) and here.failed["hasty"].unsent
        here.end("first")
        until(lambda: "patient" in here.order)


def test_patience_ends_before_the_deadline() -> None:
    """R6: who has a listing to fall back on does not wait as long as the request could take."""
    with crowd(1) as here:
        here.call("first")
        here.call("look", ticket=Ticket(patience=0.05))
        until(lambda: "look" in here.failed)
        assert isinstance(here.failed["look"], errors.TimedOut)


def test_a_pause_holds_everybody_up() -> None:
    """Errors, 429: as long as the service asks for, at least a second, and longer each time."""
    alone = Alone()
    alone.send(refusal(5))
    assert alone.traffic.limited
    assert alone.send(refusal(1)) == pytest.approx(5)
    assert alone.send(refusal(1), urgency=WRITER) == pytest.approx(2)
    assert alone.send(urgency=AHEAD) == pytest.approx(4)
    assert alone.send() == 0
    assert not alone.traffic.limited


def test_whoever_cannot_get_a_turn_is_told_at_once() -> None:
    """Errors, R6: EAGAIN now rather than after a wait in vain, with the time at which it may go on."""
    alone = Alone()
    alone.send(refusal(50))
    with pytest.raises(errors.RateLimited, match="next turn is in 50 s") as raised:
        alone.send(within=20)
    assert raised.value.retry_after == 50 and raised.value.unsent and raised.value.status is None
    assert alone.clock.now == 1000.0
    assert alone.send(within=51) == pytest.approx(50)


def test_three_a_minute() -> None:
    """Errors: the lowest tier, learned from two refusals in a row; the fourth of a minute waits for the first."""
    alone = Alone()
    alone.learn_three()
    assert alone.traffic.summary()["per_minute"] == 3 and alone.traffic.limited
    alone.send()
    assert alone.clock.now == 1060.0
    assert [alone.send() for _ in range(4)] == pytest.approx([0, 0, 60, 0], abs=1)
    with pytest.raises(errors.RateLimited):
        for _ in range(3):
            alone.send(within=30)


def test_readers_have_a_turn_while_writers_queue() -> None:
    """E2: uploads that wait for their minute leave one of three turns to whoever reads."""
    alone = Alone()
    alone.learn_three()
    alone.clock.now += 60
    assert [alone.send(urgency=WRITER) for _ in range(2)] == [0, 0]
    with pytest.raises(errors.RateLimited):
        alone.send(urgency=WRITER, within=10)
    with pytest.raises(errors.RateLimited):
        alone.send(urgency=AHEAD, within=10)
    assert alone.send(within=1) == 0


def test_a_refusal_tells_those_who_wait() -> None:
    """Errors: they stand in the queue when the service asks for a pause that is longer than they can wait."""
    with crowd(1) as here:
        here.call("first")
        here.call("hasty", within=20)
        here.call("patient", within=200)
        here.end("first", outcome=refusal(100))
        until(lambda: "hasty" in here.failed)
        assert isinstance(here.failed["hasty"], errors.RateLimited)
        assert here.shown("waiting") == 1


def test_the_end_of_a_pause_wakes_the_first_and_it_the_next() -> None:
    """Each sleeps on an event of its own: who is woken lets the others in."""
    with crowd(2) as here:
        here.call("first")
        here.end("first", outcome=refusal(0))
        until(lambda: "first" in here.failed)
        for number in range(5):
            here.call(f"r{number}")
        assert here.shown("waiting") == 5 and here.order == ["first"]
        for number in range(5):
            until(lambda number=number: f"r{number}" in here.order)  # type: ignore[misc]
            here.end(f"r{number}")


def test_an_outage_turns_everybody_away() -> None:
    """E2: those in the queue too, at once, and new ones, until a probe finds the service."""
    with crowd(1) as here:
        back = threading.Event()

        def look() -> None:
            with here.traffic.permit(Ticket(probe=True), ends=time.monotonic() + 5, operation="list"):
                if not back.is_set():
                    raise errors.Unreachable("nobody there")

        here.traffic.probe = look
        here.traffic._breaker.failed(time.monotonic() - 10, errors.Unreachable("nobody there"))
        here.call("hangs")
        here.call("reader", within=100)
        here.call("writer", WRITER, within=100)
        here.end("hangs", outcome=errors.TimedOut("no answer"))
        until(lambda: len(here.failed) == 3)
        assert {type(here.failed[name]) for name in ("reader", "writer")} <= {errors.TimedOut, errors.Unreachable}
        assert here.failed["reader"].unsent and here.traffic.hold() > 0
        assert here.traffic.summary()["outage"] is not None
        back.set()
        until(lambda: here.traffic.outage() is None)
        here.call("later")
        assert here.order == ["hangs", "later"]


def test_a_probe_passes_a_full_window() -> None:
    """E2: what hangs in a black hole fills the window; the probe must not wait for it."""
    with crowd(1) as here:
        here.call("hangs")
        with here.traffic.permit(Ticket(probe=True), ends=time.monotonic(), operation="list"):
            assert here.shown("under_way") == 2


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), errors.ProtocolError("x")], ids=repr)
def test_whatever_a_request_ends_with_gives_its_place_back(problem: BaseException) -> None:
    """E2: nothing that goes wrong in a request uses the window up, nor is it taken for an answer."""
    alone = Alone(most=1)
    for _ in range(5):
        with (
            pytest.raises(type(problem)),
            alone.traffic.permit(Ticket(), ends=alone.clock.now + 1, operation="list"),
        ):
            raise problem
    assert alone.send() == 0
    assert alone.traffic.summary()["under_way"] == 0


def test_an_interrupted_wait_leaves_the_queue() -> None:
    """E2: nor does an interrupted wait."""
    clock = Clock()

    def interrupt(_event: threading.Event, _seconds: float) -> None:
        raise KeyboardInterrupt

    traffic = Traffic(1, 1, clock, wait=interrupt)
    with traffic.permit(Ticket(), ends=2000, operation="list"):
        with pytest.raises(KeyboardInterrupt), traffic.permit(Ticket(), ends=2000, operation="list"):
            pass
        assert traffic.summary()["waiting"] == 0
    with traffic.permit(Ticket(), ends=2000, operation="list"):
        pass


def test_a_wait_that_is_interrupted_when_its_turn_has_come() -> None:
    """E2: the turn is given back."""
    holder = contextlib.ExitStack()

    def interrupt(_event: threading.Event, _seconds: float) -> None:
        holder.close()
        raise KeyboardInterrupt

    traffic = Traffic(1, 1, Clock(), wait=interrupt)
    holder.enter_context(traffic.permit(Ticket(), ends=2000, operation="list"))
    with pytest.raises(KeyboardInterrupt), traffic.permit(Ticket(), ends=2000, operation="list"):
        pass
    assert (traffic.summary()["under_way"], traffic.summary()["waiting"]) == (0, 0)


def test_each_turn_of_a_minute_wakes_the_next() -> None:
    """Nobody makes room for them but the clock, which the first in the queue watches."""
    with crowd(4, minute=0.2) as here:
        here.traffic._pace.per_minute = 1
        for number in range(5):
            here.call(f"r{number}", within=1000)
            here.end(f"r{number}")
        until(lambda: len(here.order) == 5)
        assert here.order == [f"r{number}" for number in range(5)]


def test_close_ends_every_wait() -> None:
    """L2: the end of a mount waits for nobody's turn."""
    with crowd(1) as here:
        here.call("first")
        here.call("second", within=100)
        here.traffic.close()
        until(lambda: "second" in here.failed)
        assert isinstance(here.failed["second"], errors.Unreachable) and here.failed["second"].unsent
        with pytest.raises(errors.Unreachable), here.traffic.permit(Ticket(), ends=time.monotonic() + 9, operation="x"):
            pass


def test_many_threads_and_every_outcome() -> None:
    """E2: after two thousand requests of all kinds at once nobody is left waiting and the window was never exceeded."""
    traffic = Traffic(8, 4, minute=0.05)
    lock, busy, most, done = threading.Lock(), 0, 0, 0

    def work(seed: int) -> None:
        nonlocal busy, most, done
        chance = random.Random(seed)
        for _ in range(100):
            ticket = Ticket(chance.choice(list(Urgency)))
            if chance.random() < 0.1:
                threading.Timer(0.001, traffic.hurry, (ticket,)).start()
            try:
                within = chance.choice((0.001, 5, 5))
                with traffic.permit(ticket, ends=time.monotonic() + within, operation="content"):
                    with lock:
                        busy += 1
                        most = max(most, busy)
                    time.sleep(chance.random() / 1000)
                    with lock:
                        busy -= 1
                    if chance.random() < 0.02:
                        raise errors.NotFound("x", status=404)
                    if chance.random() < 0.01:
                        raise ValueError
            except (MoonfsError, ValueError):
                pass
            with lock:
                done += 1

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == 2000 and most <= 10
    summary = traffic.summary()
    assert (summary["waiting"], summary["under_way"], summary["at_once"]) == (0, 0, 8)


def test_what_the_status_shows() -> None:
    """N5: ready for JSON, one word a fact."""
    alone = Alone()
    alone.send(refusal(7))
    assert alone.traffic.summary() == {
        "at_once": 4,
        "most": 32,
        "under_way": 0,
        "waiting": 0,
        "per_minute": None,
        "pause": 7.0,
        "refusals": 1,
        "outage": None,
    }
    assert alone.traffic.limit == 4


def test_the_rate_that_was_learned_spaces_requests() -> None:
    """Errors: three a minute are one in twenty seconds; nothing is known before, nor after it is forgotten."""
    alone = Alone()
    assert alone.traffic.spacing == 0
    alone.learn_three()
    assert alone.traffic.spacing == 20
    alone.clock.now += 301
    assert alone.traffic.spacing == 0
