"""Waiting for background work without guessing how long it takes."""

from __future__ import annotations

import threading
import time

from moonfs.workers import Workers


def at_rest(workers: Workers, limit: float = 60.0) -> None:
    """Wait until nothing runs and nothing is due but what comes much later."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with workers._cond:
            if not workers._running and all(task.due > time.monotonic() + 1 for task in workers._tasks):
                return
        threading.Event().wait(0.002)
    raise AssertionError("the background work does not come to rest")
