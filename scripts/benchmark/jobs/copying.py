"""Copying files in: what a person waits for, and when the service has them.

Files are new in every run, and in the page cache: nobody's disk is read. What a run leaves is with the disk before
the next one begins (`settle`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benchmark import drives
from scripts.benchmark.clients import Client, Ideal, Sdk, each
from scripts.benchmark.measure import MOONFS, RCLONE, Bound, Contestant, Job, Ratio, Sample
from scripts.benchmark.shell import Failed, memory, peak_from_now, settle, timed
from scripts.benchmark.stage import Stage

_COPY: Final = 'cp -- "$1"/* "$2"/'
_FILES: Final = 200
_BYTES: Final = 20_000
_LARGE: Final = 100_000_000
#: As many as moonfs has under way at the most.
_AT_ONCE: Final = 32

IDEAL: Final = "httpx, 32 at once"
SDK: Final = "openai SDK"
SDK_THREADS: Final = "openai SDK, 8 threads"
#: As it comes it waits for 5 s before it uploads anything.
RCLONE_AT_ONCE: Final = "rclone, uploads at once"
DISK: Final = "this disk, cp + sync"
DISK_EACH: Final = "this disk, cp + sync FILE…"
FLOOR: Final = "fusepy that keeps nothing"

RETURNED: Final = "until cp returns"
STORED: Final = "until all are stored"
UPLOADS: Final = "uploads"
GROWTH: Final = "growth of the daemon"


def into_moonfs(stage: Stage, mode: str, source: Path) -> Sample:
    """Copy a directory's files onto a drive of its own, and wait until the service has them all."""
    service = stage.service
    service.clear()
    wanted = sorted((path.name, path.stat().st_size) for path in source.iterdir())
    with drives.moonfs(stage, *filter(None, [mode])) as drive:
        done, asked = service.done("upload"), service.asked("upload")
        settle()
        peak_from_now(drive.pid)
        before = memory(drive.pid)
        copied = timed(_COPY, source, drive.point)
        stored = service.wait_until_done("upload", done + len(wanted)) - copied.begin
        grown = memory(drive.pid, "VmHWM") - before
    # Counted after the drive has ended, so that nothing is still to come.
    uploads = service.asked("upload") - asked
    if sorted((file["filename"], file["bytes"]) for file in service.files()) != wanted:
        raise Failed("The service does not have the files that were copied.")
    return {RETURNED: copied.seconds, STORED: stored, UPLOADS: uploads, GROWTH: grown}


def by_client(stage: Stage, client: Client, at_once: int, source: Path) -> Sample:
    """Upload a directory's files without a drive."""
    stage.service.clear()
    files = sorted(source.iterdir())
    settle()
    begin = time.monotonic()
    each(client.upload, files, at_once)
    return {STORED: time.monotonic() - begin}


def onto_disk(stage: Stage, sync: str, source: Path) -> Sample:
    """Copy a directory's files onto the disk, durably."""
    with stage.lent() as target:
        settle()
        return {RETURNED: timed(f"{_COPY} && {sync}", source, target).seconds}


def into_nothing(stage: Stage, source: Path) -> Sample:
    """Copy a directory's files into the driver that keeps nothing."""
    with drives.empty(stage) as point:
        settle()
        return {RETURNED: timed(_COPY, source, point).seconds}


def into_rclone(stage: Stage, source: Path, flags: tuple[str, ...] = ()) -> Sample:
    """Copy a directory's files onto a drive of rclone's, and wait until its server has them all."""
    wanted = sorted((path.name, path.stat().st_size) for path in source.iterdir())
    with stage.lent() as target, drives.rclone(stage, target, *flags) as point:
        settle()
        copied = timed(_COPY, source, point)
        while sorted((path.name, path.stat().st_size) for path in target.iterdir()) != wanted:
            if time.monotonic() > copied.end + 300:
                raise Failed("rclone does not upload what was copied.")
            time.sleep(0.02)
        return {RETURNED: copied.seconds, STORED: time.monotonic() - copied.begin}


def _each_on_new_files(
    stage: Stage, count: int, size: int, runs: Mapping[str, Callable[[Path], Sample]]
) -> dict[str, Contestant]:
    def on_new_files(run: Callable[[Path], Sample]) -> Sample:
        with stage.sources(count, size) as source:
            return run(source)

    return {name: partial(on_new_files, run) for name, run in runs.items()}


def _copy_in(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    ideal, sdk = stack.enter_context(Ideal(stage.service, _AT_ONCE)), stack.enter_context(Sdk(stage.service))
    runs: dict[str, Callable[[Path], Sample]] = {
        MOONFS: partial(into_moonfs, stage, "write_back"),
        DISK: partial(onto_disk, stage, "sync"),
        DISK_EACH: partial(onto_disk, stage, 'sync -- "$2"/*'),
        FLOOR: partial(into_nothing, stage),
        IDEAL: partial(by_client, stage, ideal, _AT_ONCE),
        SDK_THREADS: partial(by_client, stage, sdk, 8),
    }
    if drives.has_rclone():
        runs[RCLONE] = partial(into_rclone, stage)
        runs[RCLONE_AT_ONCE] = partial(into_rclone, stage, flags=("--vfs-write-back", "1ms"))
    return _each_on_new_files(stage, stage.scaled(_FILES), _BYTES, runs)


def _write_through(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    sdk = stack.enter_context(Sdk(stage.service))
    runs: dict[str, Callable[[Path], Sample]] = {
        MOONFS: partial(into_moonfs, stage, ""),
        SDK: partial(by_client, stage, sdk, 1),
    }
    return _each_on_new_files(stage, stage.scaled(_FILES), _BYTES, runs)


def _copy_large(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    sdk = stack.enter_context(Sdk(stage.service))
    runs: dict[str, Callable[[Path], Sample]] = {
        MOONFS: partial(into_moonfs, stage, ""),
        SDK: partial(by_client, stage, sdk, 1),
    }
    if drives.has_rclone():
        runs[RCLONE_AT_ONCE] = partial(into_rclone, stage, flags=("--vfs-write-back", "1ms"))
    return _each_on_new_files(stage, 1, stage.scaled(_LARGE), runs)


def _all_files(stage: Stage) -> float:
    return stage.scaled(_FILES)


COPY_IN: Final = Job(
    name="copy-in",
    title=f"copy in {_FILES} × 20 KB, write-back",
    contestants=_copy_in,
    ratios=(
        Ratio(RETURNED, DISK, at_most=3.0),
        Ratio(RETURNED, DISK_EACH),
        Ratio(RETURNED, FLOOR),
        Ratio(RETURNED, RCLONE, at_most=0.5),
        Ratio(STORED, IDEAL),
        Ratio(STORED, SDK_THREADS, at_most=0.35, upload_latency=200),
        Ratio(STORED, RCLONE, at_most=0.1, upload_latency=200),
        Ratio(STORED, RCLONE_AT_ONCE),
    ),
    bounds=(Bound(UPLOADS, _all_files, exactly=True),),
    units={UPLOADS: ""},
    drawn=(RETURNED, STORED),
)
WRITE_THROUGH: Final = Job(
    name="write-through",
    title=f"copy in {_FILES} × 20 KB, write-through",
    contestants=_write_through,
    ratios=(Ratio(RETURNED, SDK, STORED, at_most=1.05),),
    bounds=(Bound(UPLOADS, _all_files, exactly=True),),
    units={UPLOADS: ""},
)
COPY_LARGE: Final = Job(
    name="copy-large",
    title="copy in 100 MB, write-through",
    contestants=_copy_large,
    ratios=(Ratio(STORED, SDK, at_most=2.0), Ratio(STORED, RCLONE_AT_ONCE)),
    bounds=(Bound(GROWTH, lambda _: 20 * 2**20),),
    units={GROWTH: "B"},
)
