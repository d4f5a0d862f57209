"""Uploads in doubt, and clocks that are set: this machine's, the service's, and that of a proxy (W3, W2)."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate

import pytest

from moonfs.errors import MoonfsError
from tests.faults.server import Fault, Reply, Turn, answer_lost, answered, error
from tests.faults.test_exactly_one_copy import Bench, Held
from tests.harness.doubt import ONE, TWO, back, in_doubt, remove, settled


@pytest.mark.parametrize("step", [60, -60, 3600, -3600, 86400, -86400])
@pytest.mark.parametrize("when", ["before the upload", "while it is under way", "after it"])
def test_a_step_of_the_clock_leaves_one_copy(
    bench: Bench, when: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3: an attempt's time is the service's, carried on by a clock that nobody sets."""
    clock = Stepping(monkeypatch)
    drive = bench.start()

    def fault(turn: Turn) -> None:
        turn.read()
        if when == "while it is under way":
            clock.step(step)
        turn.serve()
        if when == "after it":
            clock.step(step)
        turn.hang_up()

    bench.server.script("upload", fault)
    if when == "before the upload":
        clock.step(step)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [60, 3600, -3600])
def test_a_service_without_a_date(bench: Bench, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3: where it sends none, time excludes nothing: lists and proof decide."""
    bench.server.dated = False
    clock = Stepping(monkeypatch)
    drive = bench.start()
    bench.server.script("upload", answer_lost())
    clock.step(step)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("step", [20, -20, 86400, -86400])
@pytest.mark.parametrize("when", ["before it is stored", "after it is stored"])
def test_a_step_of_the_services_clock_leaves_one_copy(bench: Bench, when: str, step: int, write_back: bool) -> None:
    """W3: where the service's answers contradict each other, time excludes nothing."""
    ahead = 0
    bench.server.clock = lambda: time.time() + ahead
    drive = bench.start(write_back=write_back)

    def fault(turn: Turn) -> None:
        nonlocal ahead
        turn.read()
        ahead = step if when.startswith("before") else 0
        turn.serve()
        ahead = step
        turn.hang_up()

    bench.server.script("upload", fault)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [86400, -86400])
def test_a_step_of_the_services_clock_and_rm(bench: Bench, step: int) -> None:
    """W3, W8: what was removed in doubt goes, though its time seems to be another one."""
    ahead = 0
    bench.server.clock = lambda: time.time() + ahead

    def fault(turn: Turn) -> None:
        nonlocal ahead
        turn.read()
        ahead = step
        turn.serve()
        turn.hang_up()

    drive = in_doubt(bench, fault, write_back=True)
    remove(drive)
    back(bench)
    settled(drive)
    assert bench.copies() == [] and drive.ls() == []


def dated(reply: Reply, ahead: float) -> Fault:
    """Answer `reply` with a Date of its own."""
    return answered(Reply(reply.status, reply.body, {**reply.headers, "Date": formatdate(time.time() + ahead)}))


PAGE = Reply(502, b"<html><title>502</title></html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("ahead", [86400, -86400, 3600])
@pytest.mark.parametrize(
    "reply",
    [
        PAGE,
        replace(PAGE, status=200),
        replace(PAGE, status=404),
        Reply(200, b'{"data":[]}', {"Age": "86400"}),
        error(503, "busy", "server_unavailable"),
    ],
    ids=["502 page", "200 page", "404 page", "a cache", "the API's"],
)
def test_a_foreign_date_leaves_one_copy(bench: Bench, reply: Reply, ahead: float) -> None:
    """W3: only the API's own answers tell the time, and where those contradict each other, nothing is told by it."""
    drive = bench.start()
    bench.server.script("list", dated(reply, ahead))
    with suppress(MoonfsError):
        drive.account.listing.refresh()
    bench.server.unscript()
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1


@pytest.mark.parametrize("step", [60, -60, 3600, -3600, 86400, -86400])
@pytest.mark.parametrize("stored", [True, False], ids=["v1 arrives", "v1 does not"])
def test_a_step_of_the_clock_between_two_versions(
    bench: Bench, stored: bool, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2, tenet 1: which of two acknowledged versions is the newer is a matter of the journal, not of the clock."""
    clock = Stepping(monkeypatch)
    drive = bench.start(write_back=True)
    held = Held(store=stored)
    bench.server.script("upload", held)
    drive.write("a.txt", ONE)
    assert held.reached.wait(60)
    clock.step(step)
    drive.write("a.txt", TWO)
    after = bench.after_crash(write_back=True)
    held.go.set()
    assert after.ls() == ["a.txt"] and after.read("a.txt") == TWO
    settled(after)
    assert bench.copies() == [TWO] and after.read("a.txt") == TWO


class Stepping:
    """This machine's wall clock, which can be set; the service's goes on, and so does the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        self._offset = 0
        real, real_ns = time.time, time.time_ns
        service = real
        monkeypatch.setattr("tests.faults.server.time.time", lambda: real() + self._offset)
        monkeypatch.setattr("time.time_ns", lambda: real_ns() + self._offset * 10**9)
        self.service = service

    def step(self, seconds: int) -> None:
        self._offset += seconds
