"""The client behind the gate: what it learns from real answers, who goes first, and how it fails in an outage."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from moonfs import errors
from moonfs.api import Client, Timeouts
from moonfs.errors import MoonfsError
from moonfs.traffic import Ticket, Traffic, Urgency
from tests.faults.server import FaultServer, failed_after, rate_limited, refused
from tests.harness.gate import Gate


class Bench:
    """A service, and clients of it that share nothing."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.clients: list[Client] = []

    def connect(self, traffic: Traffic, **other: Any) -> Client:
        client = Client(self.server.base_url, self.server.key, traffic=traffic, **other)
        self.clients.append(client)
        return client


@pytest.fixture
def bench() -> Iterator[Bench]:
    with FaultServer() as server:
        bench = Bench(server)
        try:
            yield bench
        finally:
            for client in bench.clients:
                client.close()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it does not come"
        time.sleep(0.002)


def upload(client: Client, name: str, **other: Any) -> object:
    return client.upload(io.BytesIO(b"hello"), filename=name, size=5, purpose="file-extract", **other)


def test_no_more_at_once_than_allowed(bench: Bench) -> None:
    """E2: the window bounds what is on the wire, whichever call it is."""
    traffic = Traffic(most=2)
    client = bench.connect(traffic)
    gates = [Gate() for _ in range(6)]
    bench.server.script("upload", *[gate.before for gate in gates])
    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(upload, client, f"{number}.txt") for number in range(6)]
        gates[0].wait()
        gates[1].wait()
        until(lambda: traffic.summary()["waiting"] == 4)
        assert bench.server.count("upload") == 2
        for gate in gates:
            gate.opened.set()
        for each in work:
            each.result(60)
    assert len(bench.server.files) == 6


def test_a_reader_overtakes_uploads(bench: Bench) -> None:
    """E2: four uploads hang in a window of four, and a text is read."""
    client = bench.connect(Traffic(most=4))
    file = bench.server.add("a.txt", b"hello")
    gates = [Gate() for _ in range(4)]
    bench.server.script("upload", *[gate.before for gate in gates])
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(upload, client, f"{number}.txt") for number in range(4)]
        for gate in gates:
            gate.wait()
        assert b"hello" in client.content(file.id, deadline=10)
        with pytest.raises(errors.TimedOut, match="at once"):
            upload(client, "more.txt", deadline=0.1)
        for gate in gates:
            gate.opened.set()
        for each in work:
            each.result(60)


def test_after_a_429_it_goes_on_by_itself(bench: Bench) -> None:
    """Errors: reader and writer are tried again after the pause; the client does not wait besides."""
    client = bench.connect(Traffic())
    bench.server.script("list", rate_limited("1"))
    assert client.list() == []
    first, second = bench.server.seen
    assert 1 <= second.at - first.at < 5
    bench.server.script("upload", rate_limited("0"))
    upload(client, "a.txt")
    assert bench.server.names() == ["a.txt"]


def test_read_ahead_stops_at_a_429(bench: Bench) -> None:
    """R3: what nobody waits for is not tried again; it is as soon as somebody does."""
    traffic = Traffic()
    client = bench.connect(traffic)
    file = bench.server.add("a.txt", b"hello")
    bench.server.script("content", rate_limited("0"))
    with pytest.raises(errors.RateLimited):
        client.content(file.id, ticket=Ticket(Urgency.AHEAD))
    assert bench.server.count() == 1
    gate = Gate()

    def late(turn: Any) -> None:
        gate._pass(turn)
        rate_limited("0")(turn)

    bench.server.script("content", late)
    ticket = Ticket(Urgency.AHEAD)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(client.content, file.id, ticket=ticket)
        gate.wait()
        traffic.hurry(ticket)
        gate.opened.set()
        assert b"hello" in ahead.result(60)


def test_a_pause_that_is_too_long_is_an_answer(bench: Bench) -> None:
    """Errors: EAGAIN at once, without another request."""
    client = bench.connect(Traffic())
    bench.server.script("list", rate_limited("100"))
    for _ in range(3):
        with pytest.raises(errors.RateLimited):
            client.list(deadline=20)
    assert bench.server.count() == 1


def test_three_a_minute(bench: Bench) -> None:
    """Errors, R3: a minute is 3 s here. Ten requests are done in order of urgency, and few are refused."""
    traffic = Traffic(minute=3.0)
    client = bench.connect(traffic)
    files = [bench.server.add(f"{number}.txt", b"hello") for number in range(8)]
    bench.server.allow(3, 3.0)
    for file in files[:4]:
        client.content(file.id)
    assert traffic.summary()["per_minute"] == 3
    learned = int(str(traffic.summary()["refusals"]))
    done: list[str] = []

    def fetch(name: str, urgency: Urgency, file_id: str) -> None:
        client.content(file_id, ticket=Ticket(urgency), deadline=60)
        done.append(name)

    with ThreadPoolExecutor(6) as pool:
        work = []
        plan = [("ahead", Urgency.AHEAD)] * 2 + [("writer", Urgency.WRITER)] * 2 + [("reader", Urgency.READER)] * 2
        # Whoever comes last is the most urgent; nobody has a turn before all of them stand in the queue.
        while traffic._pace.wait(Urgency.READER, 0, time.monotonic()) < 1:
            client.list()
        for number, (name, urgency) in enumerate(plan, 1):
            work.append(pool.submit(fetch, name, urgency, files[number].id))
            until(lambda number=number: traffic.summary()["waiting"] == number)  # type: ignore[misc]
        for each in work:
            each.result(60)
    assert done == ["reader", "reader", "writer", "writer", "ahead", "ahead"]
    assert traffic.summary()["refusals"] == learned


def in_outage(client: Client, call: Callable[[], object]) -> list[MoonfsError]:
    """Call until a refusal comes that was not sent; return the errors."""
    raised: list[MoonfsError] = []
    while not raised or not raised[-1].unsent:
        assert len(raised) < 20
        with pytest.raises(MoonfsError) as caught:
            call()
        raised.append(caught.value)
    return raised


def test_an_outage_answers_at_once(bench: Bench) -> None:
    """E2: once it is known; the errno's kind is the same, and a probe finds the end."""
    traffic = Traffic()
    client = bench.connect(traffic)
    traffic.probe = lambda: client.list(ticket=Ticket(probe=True)) and None
    bench.server.suspend()
    assert {type(error) for error in in_outage(client, client.list)} == {errors.Unreachable}
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(errors.Unreachable, match="no answer since"):
            client.list(deadline=100)
        with pytest.raises(errors.Unreachable, match="not sent"):
            upload(client, "a.txt", deadline=100)
    assert time.monotonic() - began < 10
    bench.server.resume()
    until(lambda: traffic.outage() is None)
    assert client.list() == []


def test_a_black_hole_is_an_outage(bench: Bench) -> None:
    """E2: the first call waits its time, the others do not; not one request is sent for them but the probes."""
    traffic = Traffic()
    client = bench.connect(traffic, timeouts=Timeouts(read=2.1))
    traffic.probe = lambda: client.list(deadline=5, ticket=Ticket(probe=True)) and None
    bench.server.swallow()
    raised = in_outage(client, lambda: client.list(deadline=10))
    assert {type(error) for error in raised} == {errors.TimedOut} and raised[0].unsent is False and len(raised) == 2
    with pytest.raises(errors.TimedOut):
        client.content("x", deadline=100)
    assert bench.server.count("content") == 0 and bench.server.count("list") <= 3
    bench.server.answer()
    until(lambda: traffic.outage() is None)


def test_one_file_that_times_out_is_no_outage(bench: Bench) -> None:
    """E2: the probe that goes out with the first time-out is answered, so the call goes on."""
    traffic = Traffic()
    client = bench.connect(traffic, timeouts=Timeouts(read=2.1))
    traffic.probe = lambda: client.list(ticket=Ticket(probe=True)) and None
    file = bench.server.add("a.txt", b"hello")
    bench.server.script("content", lambda turn: turn.stall(5))
    assert b"hello" in client.content(file.id)
    assert bench.server.count("list") == 1 and bench.server.count("content") == 2


def test_what_is_no_outage(bench: Bench) -> None:
    """E2: answers of any kind, a file that cannot be extracted, and our own end."""
    traffic = Traffic()
    client = bench.connect(traffic)
    file = bench.server.add("a.txt", b"hello")
    traffic._breaker.failed(time.monotonic() - 100, errors.Unreachable("x"))
    traffic._breaker.failed(time.monotonic(), errors.Unreachable("x"))
    bench.server.script("content", refused(404, "no"))
    with pytest.raises(errors.NotFound):
        client.content(file.id)
    for fault in (failed_after(), refused(401, "no"), refused(500, "extract task failed: failed", "server_error")):
        bench.server.script("content", fault)
        with pytest.raises(MoonfsError):
            client.content(file.id, deadline=0.1)
    assert traffic._breaker._failures == 0
    client.close()
    for _ in range(3):
        with pytest.raises(errors.Unreachable, match="closed") as raised:
            client.list()
        assert raised.value.unsent
    assert traffic._breaker._failures == 0


def test_close_ends_the_waits_for_a_turn(bench: Bench) -> None:
    """L2: nobody waits for a pause or a place once the client is closed."""
    client = bench.connect(Traffic())
    bench.server.script("list", rate_limited("200"))
    entered = threading.Event()

    def look() -> object:
        entered.set()
        return client.list(deadline=1000)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(look)
        entered.wait(10)
        until(lambda: client._traffic.summary()["waiting"])  # type: ignore[union-attr]
        client.close()
        with pytest.raises(errors.Unreachable, match="closed"):
            waiting.result(60)
