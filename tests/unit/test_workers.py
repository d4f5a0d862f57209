"""Background work: in order of time, a bounded number at once, and nothing at all while there is nothing to do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from moonfs import workers
from moonfs.workers import Workers


class Crew:
    """Workers, and tasks that wait at a gate and tell how many run at once."""

    def __init__(self, limit: int) -> None:
        self.workers = Workers(limit)
        self.gate = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.running = self.most = self.done = 0

    def task(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.acquire(timeout=60)
        with self.lock:
            self.running -= 1
            self.done += 1

    def submit(self, count: int) -> None:
        for _ in range(count):
            self.workers.submit(self.task)

    def let(self, count: int) -> None:
        self.gate.release(count)

    def end(self) -> None:
        self.gate.release(1000)
        self.workers.close()


@pytest.fixture
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    crew = Crew(request.param)
    yield crew
    crew.end()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it does not come"
        time.sleep(0.001)


def never(condition: Callable[[], bool], seconds: float = 0.05) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        assert not condition()
        time.sleep(0.001)


@pytest.mark.parametrize("crew", [1], indirect=True)
def test_what_is_due_first_runs_first(crew: Crew) -> None:
    """W2: by due time, and of those that are due at once in the order in which they came."""
    order: list[str] = []
    crew.submit(1)
    until(lambda: crew.running == 1)
    for name, delay in (("c", 0.02), ("a", -2.0), ("d", 0.04), ("b", -1.0), ("b2", -1.0)):
        crew.workers.submit(lambda name=name: order.append(name), delay)  # type: ignore[misc]
    crew.let(1)
    until(lambda: len(order) == 5)
    assert order == ["a", "b", "b2", "c", "d"]


@pytest.mark.parametrize("crew", [1], indirect=True)
def test_a_later_task_does_not_hold_up_an_earlier_one(crew: Crew) -> None:
    """W2: a worker that waits an hour for a repeat takes what is due now."""
    crew.workers.submit(lambda: None, 3600.0)
    until(lambda: crew.workers._idle == 1)
    done = threading.Event()
    crew.workers.submit(done.set)
    assert done.wait(60)


@pytest.mark.parametrize("crew", [3], indirect=True)
def test_no_more_at_once_than_allowed(crew: Crew) -> None:
    """W2: in parallel, and bounded; all of them run in the end."""
    crew.submit(10)
    until(lambda: crew.running == 3)
    assert crew.workers.waiting == 10
    never(lambda: crew.running > 3)
    crew.let(10)
    until(lambda: crew.done == 10)
    until(lambda: crew.workers.waiting == 0)
    assert crew.most == 3 and len(crew.workers._threads) <= 3


def test_nothing_starts_while_the_work_is_on_hold() -> None:
    """E2: in an outage tasks that are due wait instead of failing; afterwards they run in their order."""
    asked, free = threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def hold() -> float:
        asked.release()
        return 0.0 if free.is_set() else 0.01

    crew = Workers(1, hold)
    for number in range(3):
        crew.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    for _ in range(5):
        assert asked.acquire(timeout=5)
    assert done == [] and crew.waiting == 3
    free.set()
    until(lambda: crew.waiting == 0)
    assert done == [0, 1, 2]
    crew.close()


@pytest.mark.parametrize("crew", [2], indirect=True)
def test_a_task_that_raises_ends_nothing(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """W2: whatever one task does, the next one runs, as many at once as before; the log says what it was."""

    def broken() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "moonfs"):
        for _ in range(5):
            crew.workers.submit(broken)
        until(lambda: crew.workers.waiting == 0)
    assert sum(record.exc_info is not None for record in caplog.records) == 5
    crew.submit(1)
    until(lambda: crew.running == 1)
    crew.submit(1)
    until(lambda: crew.running == 2)


@pytest.mark.parametrize("crew", [2], indirect=True)
def test_a_task_may_ask_for_another_turn(crew: Crew) -> None:
    """W2: retried for ever: a task submits itself again, from the thread that runs it."""
    turns: list[int] = []
    done = threading.Event()

    def again() -> None:
        turns.append(len(turns))
        if len(turns) < 50:
            crew.workers.submit(again)
        else:
            done.set()

    crew.workers.submit(again)
    assert done.wait(60) and turns == list(range(50))


def test_no_thread_before_the_first_task() -> None:
    """L4: a drive that uploads nothing in the background has no thread for it."""
    before = threading.active_count()
    idle = Workers(4)
    assert idle._threads == [] and threading.active_count() == before and idle.waiting == 0
    idle.close()


@pytest.mark.parametrize("crew", [2], indirect=True)
def test_an_idle_worker_sleeps_until_it_is_needed(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """L4: without tasks nothing wakes up; with one for later it is one sleep and no polling."""
    looks: list[float] = []
    monotonic = time.monotonic
    crew.submit(1)
    crew.let(1)
    until(lambda: crew.workers._idle == 1 and crew.workers.waiting == 0)
    monkeypatch.setattr(workers.time, "monotonic", lambda: (looks.append(0.0), monotonic())[1])
    threading.Event().wait(0.05)
    assert looks == []
    crew.workers.submit(lambda: None, 3600.0)
    threading.Event().wait(0.05)
    assert len(looks) <= 4
    monkeypatch.undo()


@pytest.mark.parametrize("crew", [2], indirect=True)
def test_close_waits_for_what_is_running_and_starts_nothing(crew: Crew) -> None:
    """L2: an upload that is under way may end; what waits stays undone, and so does what comes after."""
    crew.submit(3)
    until(lambda: crew.running == 2)
    closer = threading.Thread(target=crew.workers.close)
    closer.start()
    never(lambda: not closer.is_alive(), 0.02)
    crew.let(3)
    closer.join(60)
    assert not closer.is_alive() and crew.done == 2
    crew.submit(1)
    never(lambda: crew.done > 2 or crew.running > 0, 0.02)
    crew.workers.close()


@pytest.mark.parametrize("crew", [1], indirect=True)
def test_close_gives_up_in_time(crew: Crew) -> None:
    """E2: a task that hangs does not keep the drive from ending."""
    crew.submit(1)
    until(lambda: crew.running == 1)
    started = time.monotonic()
    crew.workers.close(timeout=0.05)
    assert time.monotonic() - started < 30 and crew.running == 1


@pytest.mark.parametrize("delay", [0.0, 3600.0], ids=["idle", "with a task for later"])
@pytest.mark.parametrize("crew", [3], indirect=True)
def test_close_is_never_slept_through(crew: Crew, delay: float) -> None:
    """L2: sleeping workers end at once, whenever `close` comes, and no thread is left."""
    crew.submit(3)
    crew.let(3)
    until(lambda: crew.workers.waiting == 0)
    if delay:
        crew.workers.submit(lambda: None, delay)
    started = time.monotonic()
    crew.workers.close(timeout=60)
    assert time.monotonic() - started < 30 and not any(thread.is_alive() for thread in crew.workers._threads)


@pytest.mark.parametrize("crew", [1], indirect=True)
def test_a_close_between_the_look_and_the_sleep(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """L2: `close` comes right after a worker has looked whether it came: it is not slept through."""
    looked = threading.Event()
    closers: list[threading.Thread] = []
    monotonic = time.monotonic

    def look() -> float:
        if threading.current_thread().name == "moonfs-worker" and not closers:
            closers.append(threading.Thread(target=crew.workers.close, args=(60.0,)))
            closers[0].start()
            looked.set()
            time.sleep(0.05)
        return monotonic()

    monkeypatch.setattr(workers.time, "monotonic", look)
    started = monotonic()
    crew.workers.submit(lambda: None, 3600.0)
    assert looked.wait(60)
    monkeypatch.undo()
    closers[0].join(60)
    assert monotonic() - started < 30


@pytest.mark.parametrize("crew", [4], indirect=True)
def test_a_burst_beside_an_idle_worker_runs_in_parallel(crew: Crew) -> None:
    """W2, W8: `rm *` after a pause: the one thread that sleeps does not have to do all of it alone."""
    crew.submit(1)
    crew.let(1)
    until(lambda: crew.workers._idle == 1 and crew.workers.waiting == 0)
    with crew.workers._cond:  # the sleeper wakes after the whole burst, as it may
        crew.submit(4)
    until(lambda: crew.running == 4)


@pytest.mark.parametrize("crew", [3], indirect=True)
def test_idle_workers_wake_each_other(crew: Crew) -> None:
    """W2: of several that sleep the first one wakes the next while there is something to do."""
    crew.submit(3)
    until(lambda: crew.running == 3)
    crew.let(3)
    until(lambda: crew.workers._idle == 3 and crew.workers.waiting == 0)
    crew.submit(3)
    until(lambda: crew.running == 3)


@pytest.mark.parametrize("crew", [3], indirect=True)
def test_what_gets_due_beside_long_tasks_runs(crew: Crew) -> None:
    """W2: a repeat that gets due while every thread so far has something long to do gets one of its own."""
    crew.workers.submit(lambda: None)
    until(lambda: crew.workers._idle == 1 and crew.workers.waiting == 0)
    done = threading.Event()
    crew.workers.submit(done.set, 0.2)
    crew.submit(1)  # takes the only thread that waited for the other one
    until(lambda: crew.running == 1)
    assert done.wait(2)
