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
from scripts.benchmark.measure import MOONFS, Bound, Contestant, Job, Ratio, Sample
from scripts.benchmark.shell import Failed, settle, timed
from scripts.benchmark.stage import Stage

_COPY: Final = 'cp -- "$1"/* "$2"/'
_FILES: Final = 200
_BYTES: Final = 20_000

IDEAL: Final = "httpx, 8 at once"
SDK: Final = "openai SDK, 8 threads"
EXT4: Final = "this disk, cp + sync"
EXT4_EACH: Final = "this disk, cp + sync FILE…"
FLOOR: Final = "fusepy that keeps nothing"

RETURNED: Final = "until cp returns"
STORED: Final = "until all are stored"
UPLOADS: Final = "uploads"


def into_moonfs(stage: Stage, mode: str, source: Path) -> Sample:
    """Copy a directory's files onto a drive of its own, and wait until the service has them all."""
    service = stage.service
    service.clear()
    wanted = sorted((path.name, path.stat().st_size) for path in source.iterdir())
    with drives.moonfs(stage, *filter(None, [mode])) as drive:
        done, asked = service.done("upload"), service.asked("upload")
        settle()
        copied = timed(_COPY, source, drive.point)
        stored = service.wait_until_done("upload", done + len(wanted)) - copied.begin
    # Counted after the drive has ended, so that nothing is still to come.
    uploads = service.asked("upload") - asked
    if sorted((file["filename"], file["bytes"]) for file in service.files()) != wanted:
        raise Failed("The service does not have the files that were copied.")
    return {RETURNED: copied.seconds, STORED: stored, UPLOADS: uploads}


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
    target = stage.fresh()
    settle()
    return {RETURNED: timed(f"{_COPY} && {sync}", source, target).seconds}


def into_nothing(stage: Stage, source: Path) -> Sample:
    """Copy a directory's files into the driver that keeps nothing."""
    with drives.empty(stage) as point:
        settle()
        return {RETURNED: timed(_COPY, source, point).seconds}


def _copy_in(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    ideal, sdk = stack.enter_context(Ideal(stage.service, 8)), stack.enter_context(Sdk(stage.service))
    count = stage.scaled(_FILES)

    def on_new_files(run: Callable[[Path], Sample]) -> Contestant:
        return lambda: run(stage.sources(count, _BYTES))

    contestants: dict[str, Callable[[Path], Sample]] = {
        MOONFS: partial(into_moonfs, stage, "write_back"),
        EXT4: partial(onto_disk, stage, "sync"),
        EXT4_EACH: partial(onto_disk, stage, 'sync -- "$2"/*'),
        FLOOR: partial(into_nothing, stage),
        IDEAL: partial(by_client, stage, ideal, 8),
        SDK: partial(by_client, stage, sdk, 8),
    }
    return {name: on_new_files(run) for name, run in contestants.items()}


COPY_IN: Final = Job(
    name="copy-in",
    title=f"copy in {_FILES} × 20 KB, write-back",
    contestants=_copy_in,
    ratios=(
        Ratio(RETURNED, EXT4, at_most=3.0),
        Ratio(RETURNED, EXT4_EACH),
        Ratio(RETURNED, FLOOR),
        Ratio(STORED, IDEAL, at_most=1.3),
        Ratio(STORED, SDK, at_most=0.35, upload_latency=200),
    ),
    bounds=(Bound(UPLOADS, lambda stage: stage.scaled(_FILES), exactly=True),),
    units={UPLOADS: ""},
)
