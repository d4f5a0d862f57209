"""What is mounted: moonfs, rclone over WebDAV, a driver that keeps nothing. Context managers that leave no mount.

**Threading:** for the main thread.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from scripts.benchmark.shell import ROOT, Failed, end, is_mounted
from scripts.benchmark.stage import Stage
from tests.harness.drive import Drive, hosted

_SECONDS: Final = 30.0
_PYTHON: Final = {"PYTHONPATH": str(ROOT)}


@contextmanager
def moonfs(stage: Stage, *options: str) -> Iterator[Drive]:
    """Mount the service, as a hosted account is, in a daemon of its own; `options` are those of `-o`.

    Its state is on the disk of the benchmark, with nothing left of an earlier mount.
    """
    service = stage.service
    with stage.lent() as home, Drive(home, *hosted(service.base_url, service.key)) as drive:
        try:
            yield drive.mount(*options)
        except BaseException:
            drive.abort()  # nobody waits for uploads that nobody wants
            raise


@contextmanager
def empty(stage: Stage) -> Iterator[Path]:
    """Mount the driver that keeps nothing."""
    command = [sys.executable, "-m", "scripts.benchmark.empty"]
    with stage.lent() as point, _process([*command, str(point)], _PYTHON) as printed:
        try:
            if not printed.readline():
                raise Failed("The empty driver could not mount.")
            yield point
        finally:
            unmount(point)


def has_rclone() -> bool:
    """Say whether rclone is installed."""
    return shutil.which("rclone") is not None


@contextmanager
def rclone(stage: Stage, files: Path, *flags: str, cache: Path | None = None) -> Iterator[Path]:
    """Mount the directory `files` with rclone over WebDAV, as far away as the service is.

    It caches whole files on the disk, in `cache` or with nothing left of an earlier mount. All else is as it comes,
    where `flags` say nothing else.
    """
    environ = {"PATH": os.environ["PATH"], "HOME": str(stage.work), "RCLONE_CONFIG": str(stage.work / "rclone.conf")}
    with ExitStack() as stack:
        point, cache = stack.enter_context(stage.lent()), cache or stack.enter_context(stage.lent())
        command = ["rclone", "serve", "webdav", str(files), "--addr", "127.0.0.1:0", "--vfs-cache-mode", "off"]
        near = _port_of(stack.enter_context(_process(command, environ)), r"http://127\.0\.0\.1:(\d+)")
        latency = str(stage.options.latency / 1000), str(stage.options.upload_latency / 1000)
        command = [sys.executable, "-m", "scripts.benchmark.far", near, *latency]
        far = _port_of(stack.enter_context(_process(command, _PYTHON)), r"^(\d+)")
        command = ["rclone", "mount", ":webdav:", str(point), "--webdav-url", f"http://127.0.0.1:{far}"]
        command += ["--cache-dir", str(cache), "--vfs-cache-mode", "full", *flags]
        stack.enter_context(_process(command, environ))
        stack.callback(unmount, point)
        deadline = time.monotonic() + _SECONDS
        while not is_mounted(point):
            if time.monotonic() > deadline:
                raise Failed("rclone could not mount.")
            time.sleep(0.02)
        yield point


def unmount(point: Path) -> None:
    """Take a mount of ours away, if it is there; in use, it goes when it no longer is."""
    for how in ("-u", "-uz"):
        if is_mounted(point):
            subprocess.run(["fusermount", how, str(point)], capture_output=True, check=False)


@contextmanager
def _process(command: list[str], environ: dict[str, str]) -> Iterator[IO[str]]:
    """Run a process that a Ctrl-C does not reach, and end it; gives what it prints."""
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout
    finally:
        end(process)


def _port_of(printed: IO[str], pattern: str) -> str:
    lines = ""
    for line in printed:
        lines += line
        found = re.search(pattern, line)
        if found is not None:
            return found[1]
    raise Failed(f"A server did not start: {lines.strip()[-300:]}")
