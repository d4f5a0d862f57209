"""Commands as a person types them, timed; and what a process needs, as the kernel tells.

**Threading:** plain functions.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
#: Seconds after which a command counts as hanging.
SECONDS: Final = 900.0


class Failed(Exception):
    """A contestant could not do its work; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Span:
    """When something began and ended, by `time.monotonic`, which all processes share."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


def timed(script: str, *arguments: str | os.PathLike[str], may_return: tuple[int, ...] = (0,)) -> Span:
    """Run a POSIX shell script with `$1`, `$2`, … and return how long it took.

    Raises:
        Failed: it returned something else than `may_return`.
    """
    command = ["sh", "-c", script, "sh", *(os.fspath(argument) for argument in arguments)]
    begin = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        timeout=SECONDS, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )  # fmt: skip
    span = Span(begin, time.monotonic())
    if done.returncode not in may_return:
        raise Failed(f"'{script}' returned {done.returncode}: {done.stderr.strip()[-300:]}")
    return span


def is_mounted(point: Path, *, below: bool = False) -> bool:
    """Say whether something is mounted at `point`, or `below` it."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [Path(line.split()[4]) for line in table]
    return any(point == other or (below and point in other.parents) for other in points)


def settle() -> None:
    """Let the disk take what earlier runs left, so that no one pays for another."""
    os.sync()


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that we have started, if need be by force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def memory(pid: int, what: str = "VmRSS") -> int:
    """Return `VmRSS` or `VmHWM` of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise Failed(f"Process {pid} has no {what}.")


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has had, in seconds, to the nanosecond."""
    clock = (~pid << 3) | 2  # clock_getcpuclockid(3), which Python does not have
    return time.clock_gettime(clock)


def peak_from_now(pid: int) -> None:
    """Let the kernel forget the highest memory (`VmHWM`) that a process of ours has had."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
