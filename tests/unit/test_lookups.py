"""Look-ups and the renames over what they found: who waits, for how long, and who is sent to look again."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from moonfs.lookups import STEP_SECONDS, Lookups, in_rename
from tests.harness.expect import fails


class Desk:
    """Look-ups by threads 1, 2, …, of which those in `renaming` are in a rename(2); a clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.thread = 0
        self.renaming: set[int] = set()
        self.slept: list[float] = []
        self.lookups = Lookups(
            lambda: self.thread, renames=self.renaming.__contains__, clock=lambda: self.now, sleep=self._sleep
        )

    def arrive(self, thread: int, path: str = "/a.txt") -> None:
        self.thread = thread
        self.lookups.arrive(path)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_looking_costs_nothing(desk: Desk) -> None:
    """E2: readers never wait for each other."""
    for thread in (1, 2, 1, 3, 3, 2):
        desk.arrive(thread)
    assert desk.slept == []


def test_a_rename_waits_for_those_who_have_just_looked(desk: Desk) -> None:
    """W9: between a look-up and the open that follows it the old file stays; nobody new finds it meanwhile."""
    desk.arrive(1)
    desk.now += STEP_SECONDS / 4
    desk.renaming.add(2)
    desk.arrive(2)
    assert desk.slept == [pytest.approx(STEP_SECONDS * 3 / 4)]
    with fails(errno.ESTALE):
        desk.arrive(1)
    desk.arrive(1, "/b.txt")
    desk.thread = 2
    with desk.lookups.replacing("/a.txt"):
        desk.now += 1000
        with fails(errno.ESTALE):
            desk.arrive(3)
    desk.arrive(1)


@pytest.mark.parametrize("case", ["nobody else", "long ago", "itself"])
def test_a_rename_that_nobody_could_notice_does_not_wait(desk: Desk, case: str) -> None:
    """W9: `mv`, an editor and rsync alone pay nothing."""
    desk.renaming.add(2)
    if case == "long ago":
        desk.arrive(1)
        desk.now += 2 * STEP_SECONDS
    if case == "itself":
        desk.renaming.clear()
        desk.arrive(2)
        desk.renaming.add(2)
    desk.arrive(2)
    assert desk.slept == []


def test_a_rename_that_does_not_come_is_forgotten(desk: Desk) -> None:
    """W9: the kernel may refuse it after the look-up (`mv -n`): nobody is sent away for a rename that is not there."""
    desk.arrive(1)
    desk.renaming.add(2)
    desk.arrive(2)
    desk.renaming.clear()
    desk.arrive(1)
    assert not desk.lookups._coming


def test_the_name_that_goes_is_free_afterwards(desk: Desk) -> None:
    """W9: a rename looks both names up; when it has ended, both may be looked up by anybody."""
    desk.arrive(1, "/new.txt")
    desk.arrive(1)
    desk.renaming.add(2)
    desk.arrive(2, "/new.txt")
    desk.arrive(2)
    desk.thread = 2
    with desk.lookups.replacing("/a.txt"):
        pass
    desk.arrive(1, "/new.txt")
    desk.arrive(1)


def test_only_so_many_names_are_remembered(desk: Desk) -> None:
    """RSS: the newest; one that was forgotten is as if nobody had looked."""
    for number in range(10_000):
        desk.arrive(1, f"/{number}")
    assert len(desk.lookups._looked) < 5000 and "/9999" in desk.lookups._looked


def test_a_thread_in_rename_is_known_by_its_system_call(tmp_path: Path) -> None:
    """proc_pid_syscall(5): a rename that waits is seen, a read that waits is not; nor is a thread that is gone."""
    if not os.access("/proc/self/syscall", os.R_OK) or os.geteuid() != 0:
        pytest.skip("only root may look at every thread's system call")
    reading, writing = os.pipe()
    reader = threading.Thread(target=os.read, args=(reading, 1))
    reader.start()
    assert reader.native_id is not None and not in_rename(reader.native_id)
    os.write(writing, b"x")
    reader.join()
    os.close(reading)
    os.close(writing)
    assert not in_rename(reader.native_id) and not in_rename(0)
