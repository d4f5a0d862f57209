"""Background work: tasks with a due time, a bounded number at once, asleep while there is nothing to do (L4).

It knows nothing of files; a task is a function that reports its own failures and asks to be run again if need be.
While the whole work is on hold, as in an outage, no task starts, so that none fails for nothing.

**Threading:** any thread may submit; tasks run in threads of their own, which start when they are needed.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(order=True, slots=True)
class _Task:
    due: float
    number: int
    run: Callable[[], None]


class Workers:
    """A queue of tasks and the threads that run them."""

    def __init__(self, limit: int, hold: Callable[[], float] = lambda: 0.0) -> None:
        """Run at most `limit` tasks at once; `hold()` returns for how many seconds none had better start, at once."""
        self._limit = limit
        self._hold = hold
        lock = threading.RLock()
        self._cond = threading.Condition(lock)
        self._watch = threading.Condition(lock)
        self._watched = False
        self._tasks: list[_Task] = []
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._running = 0
        self._closing = False

    def submit(self, run: Callable[[], None], delay: float = 0.0) -> None:
        """Run `run` after `delay` seconds; nothing happens once the workers are closed."""
        with self._cond:
            if self._closing:
                return
            task = _Task(time.monotonic() + delay, next(self._numbers), run)
            heapq.heappush(self._tasks, task)
            if self._tasks[0] is task:
                self._wake_one()
            self._staff()

    @property
    def running(self) -> int:
        """How many tasks are running."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many tasks are waiting or running."""
        return len(self._tasks) + self._running

    def close(self, timeout: float = 5.0) -> None:
        """Start nothing more and wait up to `timeout` seconds for what is running."""
        with self._cond:
            self._closing = True
            self._cond.notify_all()
            self._watch.notify_all()
            threads = list(self._threads)
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _staff(self, busy: int = 0) -> None:
        """Start threads while more tasks than idle threads are there; `busy` of the idle ones are taken already."""
        while self._idle - busy < len(self._tasks) and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name="moonfs-worker", daemon=True)
            self._threads.append(thread)
            self._idle += 1
            thread.start()

    def _work(self) -> None:
        while True:
            with self._cond:
                task = self._next()
                self._idle -= 1
                if task is None:
                    return
            try:
                task.run()
            except Exception:
                log.exception("A background task failed")
            finally:
                with self._cond:
                    self._running -= 1
                    self._idle += 1

    def _next(self) -> _Task | None:
        """Wait for a task that is due and may run; None at the end.

        One idle thread at a time keeps watch for the first task to be due; it wakes the next one when it takes it.
        """
        while not self._closing:
            if not self._tasks or self._watched:
                self._cond.wait()
                continue
            delay = self._tasks[0].due - time.monotonic()
            if delay <= 0:
                delay = self._hold()
            if delay <= 0:
                self._running += 1
                task = heapq.heappop(self._tasks)
                self._staff(busy=1)
                self._wake_one()
                return task
            self._watched = True
            self._watch.wait(delay)
            self._watched = False
        return None

    def _wake_one(self) -> None:
        (self._watch if self._watched else self._cond).notify()
