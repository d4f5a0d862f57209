"""What is mounted: moonfs, and a driver that keeps nothing. Each is a context manager that leaves no mount.

**Threading:** for the main thread.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmark.shell import ROOT, Failed, end
from scripts.benchmark.stage import Stage
from tests.harness.drive import Drive, hosted


@contextmanager
def moonfs(stage: Stage, *options: str, home: Path | None = None) -> Iterator[Drive]:
    """Mount the service, as a hosted account is, in a daemon of its own; `options` are those of `-o`.

    Its state is on the disk of the benchmark: in `home`, or with nothing left of an earlier mount.
    """
    service = stage.service
    with Drive(home or stage.fresh(), *hosted(service.base_url, service.key)) as drive:
        try:
            yield drive.mount(*options)
        except BaseException:
            drive.abort()  # nobody waits for uploads that nobody wants
            raise


@contextmanager
def empty(stage: Stage) -> Iterator[Path]:
    """Mount the driver that keeps nothing."""
    point = stage.fresh()
    command = [sys.executable, "-m", "scripts.benchmark.empty", str(point)]
    process = subprocess.Popen(
        command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed("The empty driver could not mount.")
        yield point
    finally:
        unmount(point)
        end(process)


def unmount(point: Path) -> None:
    """Take a mount of ours away, if it is there."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        if not any(line.split()[4] == str(point) for line in table):
            return
    subprocess.run(["fusermount", "-u", "-z", str(point)], capture_output=True, check=False)
