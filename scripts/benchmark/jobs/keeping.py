"""Deleting, doing nothing, and what the daemon needs after a day's work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benchmark import drives
from scripts.benchmark.clients import Client, Ideal, Sdk, each
from scripts.benchmark.measure import MOONFS, Bound, Contestant, Job, Ratio, Sample
from scripts.benchmark.shell import memory, processor_seconds, settle, timed
from scripts.benchmark.stage import Stage

_FILES: Final = 200
#: As many as moonfs has under way at the most.
_AT_ONCE: Final = 32
_BYTES: Final = 20_000
_TEXTS: Final = 1000
_MANY_TEXTS: Final = 5000
_TEXT_BYTES: Final = 50_000
_IDLE_SECONDS: Final = 60.0
#: Seconds after a mount and a look at it until nobody can say that it still has to do.
_CALM_SECONDS: Final = 2.0

IDEAL: Final = "httpx, 32 at once"
SDK: Final = "openai SDK"
SDK_THREADS: Final = "openai SDK, 8 threads"

RETURNED: Final = "until rm returns"
GONE: Final = "until all are gone"
DELETIONS: Final = "delete requests"
REQUESTS: Final = "requests"
PROCESSOR: Final = "processor time"
RESIDENT: Final = "RSS after all of it"
MORE: Final = "more after 5,000 texts"
#: For information: the service takes a thousand files.
AT_ONCE: Final = "more with 5,000 files at once"


def remove_on_moonfs(stage: Stage) -> Sample:
    """Delete files on a write-back drive, and wait until the service has none."""
    service = stage.service
    service.clear()
    service.fill(stage.texts(stage.scaled(_FILES), _BYTES))
    count = len(service.files())
    with drives.moonfs(stage, "write_back") as drive:
        done, asked = service.done("delete"), service.asked("delete")
        settle()
        removed = timed('rm -- "$1"/*.txt', drive.point)
        gone = service.wait_until_done("delete", done + count) - removed.begin
    return {RETURNED: removed.seconds, GONE: gone, DELETIONS: service.asked("delete") - asked}


def remove_by_client(stage: Stage, client: Client, at_once: int) -> Sample:
    """Delete files without a drive."""
    stage.service.clear()
    stage.service.fill(stage.texts(stage.scaled(_FILES), _BYTES))
    ids = [str(file["id"]) for file in stage.service.files()]
    settle()
    begin = time.monotonic()
    each(client.delete, ids, at_once)
    return {GONE: time.monotonic() - begin}


def do_nothing(stage: Stage) -> Sample:
    """Leave a drive alone that has been looked at."""
    with drives.moonfs(stage) as drive:
        timed('ls -l -- "$1"', drive.point)
        time.sleep(_CALM_SECONDS)
        asked, spent = stage.service.requests(), processor_seconds(drive.pid)
        time.sleep(_IDLE_SECONDS * stage.options.scale)
        return {
            REQUESTS: stage.service.requests() - asked,
            PROCESSOR: processor_seconds(drive.pid) - spent,
        }


def work_and_weigh(stage: Stage) -> Sample:
    """Copy files in, list and read a thousand texts, weigh the daemon; then read many more, and weigh it again.

    The account holds a thousand files, as the service allows, five times others. Last it holds five thousand.
    """
    service, copied = stage.service, stage.scaled(_FILES)
    texts, many_texts = stage.scaled(_TEXTS), stage.scaled(_MANY_TEXTS)
    service.clear()
    service.fill(stage.texts(texts - copied, _TEXT_BYTES))
    with drives.moonfs(stage, "write_back", "listing_ttl=1") as drive, stage.sources(copied, _BYTES) as source:
        done = service.done("upload")
        timed('cp -- "$1"/* "$2"/', source, drive.point)
        service.wait_until_done("upload", done + copied)
        _look_and_read(drive.point)
        resident = memory(drive.pid)
        for _ in range(many_texts // texts - 1):  # as many at a time as the service takes
            service.clear()
            service.fill(stage.texts(texts, _TEXT_BYTES))
            time.sleep(_CALM_SECONDS)
            _look_and_read(drive.point)
        more = memory(drive.pid) - resident
        service.fill(stage.texts(many_texts - texts, _TEXT_BYTES))
        time.sleep(_CALM_SECONDS)
        _look_and_read(drive.point)
        return {RESIDENT: resident, MORE: more, AT_ONCE: memory(drive.pid) - resident}


def _look_and_read(directory: Path) -> None:
    for script in ('ls -l -- "$1"', 'cat -- "$1"/*.content', 'cat -- "$1"/*.content'):
        timed(script, directory)
    timed('grep -r --include="*.content" moonlight -- "$1"', directory, may_return=(1,))


def _rm(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    ideal, sdk = stack.enter_context(Ideal(stage.service, _AT_ONCE)), stack.enter_context(Sdk(stage.service))
    return {
        MOONFS: partial(remove_on_moonfs, stage),
        IDEAL: partial(remove_by_client, stage, ideal, _AT_ONCE),
        SDK_THREADS: partial(remove_by_client, stage, sdk, 8),
        SDK: partial(remove_by_client, stage, sdk, 1),
    }


def _idle(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    stage.service.clear()
    stage.service.fill(stage.texts(stage.scaled(_TEXTS), _TEXT_BYTES))
    return {MOONFS: partial(do_nothing, stage)}


def _memory(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    return {MOONFS: partial(work_and_weigh, stage)}


RM: Final = Job(
    name="rm",
    title=f"rm of {_FILES}, write-back",
    contestants=_rm,
    ratios=(Ratio(GONE, SDK_THREADS, at_most=0.3), Ratio(GONE, IDEAL), Ratio(GONE, SDK)),
    bounds=(Bound(DELETIONS, lambda stage: stage.scaled(_FILES), exactly=True),),
    units={DELETIONS: ""},
    drawn=(GONE,),
)
IDLE: Final = Job(
    name="idle",
    title="idle for a minute",
    contestants=_idle,
    bounds=(
        Bound(REQUESTS, lambda _: 0, exactly=True),
        Bound(PROCESSOR, lambda _: 0.02),
    ),
    units={REQUESTS: ""},
    once=True,
    far=False,
)
MEMORY: Final = Job(
    name="memory",
    title="memory after 200 uploads, 1,000 texts",
    contestants=_memory,
    bounds=(Bound(RESIDENT, lambda _: 60e6), Bound(MORE, lambda _: 5e6), Bound(AT_ONCE, lambda _: None)),
    units={RESIDENT: "B", MORE: "B", AT_ONCE: "B"},
    once=True,
    far=False,
)
