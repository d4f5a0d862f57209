"""Look-ups and the renames over what they found: who waits, for how long, and who is sent to look again."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moonfs import lookups
from moonfs.lookups import STEP_SECONDS, Lookups, has_open, rename_of
from tests.harness.expect import fails
from tests.harness.programs import needs


class Desk:
    """Look-ups by threads 1, 2, …, of which those in `renaming` are in a rename(2); a clock that sleeping moves.

    Those in `running` have no processor to go on with.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.thread = 0
        self.renaming: set[int] = set()
        self.running: set[int] = set()
        self.call = b"82 0x1"
        self.holding: set[int] = set()
        self.slept: list[float] = []
        self.lookups = Lookups(
            lambda: self.thread,
            renames=self._renames,
            holds=self.holding.__contains__,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    def arrive(self, thread: int, path: str = "/a.txt") -> None:
        self.thread = thread
        self.lookups.arrive(path)

    def _renames(self, thread: int) -> bytes | None:
        return None if thread in self.running else self.call if thread in self.renaming else b""

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


def test_nobody_is_told_more_often_than_the_kernel_looks(desk: Desk) -> None:
    """W9: or the program would be told, of a rename that was refused before the same thread began another."""
    desk.arrive(1)
    desk.renaming.add(2)
    desk.arrive(2)
    for _ in range(2):
        with fails(errno.ESTALE):
            desk.arrive(1)
    desk.arrive(1)
    desk.arrive(2)
    desk.call = b"82 0x2"
    desk.arrive(3)


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


def test_a_rename_that_has_no_processor_yet_is_waited_for(desk: Desk) -> None:
    """W9: between its look-up and its call /proc does not say where it is; whoever looks is sent to look again, once,
    since it may have been refused as well."""
    desk.arrive(1)
    desk.now += 10 * STEP_SECONDS
    desk.renaming.add(2)
    desk.arrive(2)
    desk.running.add(2)
    for thread in (1, 3):
        with fails(errno.ESTALE):
            desk.arrive(thread)
    desk.arrive(1)
    desk.arrive(3)
    assert not desk.lookups._coming and desk.slept == []


def test_a_rename_that_does_not_wait_for_its_answer_yet_is_seen(desk: Desk) -> None:
    """W9: the thread that asks may not have come to sleep when its question is read."""
    desk.arrive(1)
    desk.renaming.add(2)
    desk.running.add(2)

    def sleep(seconds: float) -> None:
        desk.running.discard(2)
        desk._sleep(seconds)

    desk.lookups._sleep = sleep
    desk.arrive(2)
    assert sum(desk.slept) == pytest.approx(STEP_SECONDS)
    with fails(errno.ESTALE):
        desk.arrive(1)


def test_who_has_it_open_is_not_sent_away(desk: Desk) -> None:
    """W9: the kernel would not look again for fstat(2), and the program would see ESTALE."""
    desk.arrive(1)
    desk.renaming.add(2)
    desk.arrive(2)
    desk.holding.add(1)
    desk.arrive(1)
    with fails(errno.ESTALE):
        desk.arrive(3)


def test_a_rename_that_was_refused_long_ago_holds_nobody_up(desk: Desk) -> None:
    """W9: though its thread renames something else now."""
    desk.arrive(1)
    desk.renaming.add(2)
    desk.arrive(2)
    desk.now += 60
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
    assert reader.native_id is not None and not rename_of(reader.native_id)
    os.write(writing, b"x")
    reader.join()
    os.close(reading)
    os.close(writing)
    assert not rename_of(reader.native_id) and not rename_of(0)


@pytest.mark.parametrize(
    ("call", "open_already"),
    [
        ("os.fstat(0)", True),
        ("os.stat(0)", True),
        ("os.pread(0, 1, 0)", True),
        ("os.lseek(0, 0, os.SEEK_END)", True),
        ("os.utime(0)", True),
        ("os.stat('/proc/self/fd/0')", False),
        ("os.utime('a')", False),
        ("os.open('a', os.O_RDONLY)", False),
    ],
)
def test_a_call_for_an_open_file_is_told_from_a_look_up(tmp_path: Path, call: str, open_already: bool) -> None:
    """syscalls(2): by what strace(1) calls the same call of the same program."""
    needs("strace")
    (tmp_path / "a").write_text("x")
    script = f"import os; os.getsid(0); {call}; os.getsid(0)"
    command = ["strace", "-n", sys.executable, "-c", script]
    with (tmp_path / "a").open() as file:
        done = subprocess.run(command, cwd=tmp_path, stdin=file, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    first, last = (number for number, line in enumerate(lines) if "] getsid(" in line)
    (line,) = [line for line in lines[first + 1 : last] if re.search(r"stat|open|pread|lseek|utime", line)]
    number = re.search(r"\d+", line)
    assert number is not None
    flags = "0x1000" if "AT_EMPTY_PATH" in line else "0x0"
    path = "0x0" if re.search(r"\(\d+, NULL,", line) else "0x7f0"
    words = [number[0].encode(), b"0x0", path.encode(), b"0x0", flags.encode()]
    assert lookups.has_open(0) is False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookups, "_call", lambda _thread: words)
        assert has_open(1) is open_already, line
