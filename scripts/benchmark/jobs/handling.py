"""Small calls and large reads of what is here already: what the drive itself costs, without the network.

Every name and every byte has been asked for before the clock runs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benchmark import drives
from scripts.benchmark.library import Library
from scripts.benchmark.measure import MOONFS, RCLONE, Contestant, Job, Ratio, Sample
from scripts.benchmark.shell import settle
from scripts.benchmark.stage import Stage

_CALLS: Final = 5000
_FILES: Final = 200
_SMALL: Final = 1000
_LARGE: Final = 100_000_000
_BLOCK: Final = 1024**2

DISK: Final = "this disk"
TMPFS: Final = "tmpfs"

CALL: Final = "a call"
PAGES: Final = "from the page cache"
DAEMON: Final = "through the daemon"


def stat_at_random(directory: Path, names: list[str], calls: int) -> Sample:
    """Ask for the attributes of names in no order."""
    paths = [os.fspath(directory / name) for name in random.choices(names, k=calls)]
    for path in set(paths):
        os.stat(path)
    begin = time.monotonic()
    for path in paths:
        os.stat(path)
    return {CALL: (time.monotonic() - begin) / calls}


def open_at_random(directory: Path, names: list[str], calls: int) -> Sample:
    """Open, read and close small files in no order."""
    paths = [os.fspath(directory / name) for name in random.choices(names, k=calls)]
    for path in set(paths):
        _read_whole(path)
    begin = time.monotonic()
    for path in paths:
        _read_whole(path)
    return {CALL: (time.monotonic() - begin) / calls}


def read_in_order(path: Path) -> Sample:
    """Read a large file from front to back: when the kernel has its pages, and when it has let them go."""
    _read_in_blocks(path)
    settle()
    from_pages = _read_in_blocks(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return {PAGES: from_pages, DAEMON: _read_in_blocks(path)}


def _read_whole(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    while os.read(descriptor, _BLOCK):
        pass
    os.close(descriptor)


def _read_in_blocks(path: Path) -> float:
    block = bytearray(_BLOCK)
    begin = time.monotonic()
    descriptor = os.open(path, os.O_RDONLY)
    while os.readv(descriptor, [block]):
        pass
    os.close(descriptor)
    return time.monotonic() - begin


def _stat(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, stage.scaled(_FILES), _SMALL)
    calls = stage.scaled(_CALLS)
    drive = stack.enter_context(drives.moonfs(stage, "listing_ttl=600"))
    contestants: dict[str, Contestant] = {
        MOONFS: partial(stat_at_random, drive.point, library.names, calls),
        DISK: partial(stat_at_random, library.on_disk, library.names, calls),
    }
    if drives.has_rclone():
        # The same attribute time-out as ours: the kernel asks each time.
        point = stack.enter_context(drives.rclone(stage, library.on_disk, "--attr-timeout", "0s"))
        contestants[RCLONE] = partial(stat_at_random, point, library.names, calls)
    return contestants


def _open_read(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, stage.scaled(_FILES), _SMALL)
    calls = stage.scaled(_CALLS)
    drive = stack.enter_context(drives.moonfs(stage, "listing_ttl=600"))
    sidecars = [f"{name}.content" for name in library.names]
    contestants: dict[str, Contestant] = {
        MOONFS: partial(open_at_random, drive.point, sidecars, calls),
        TMPFS: partial(open_at_random, library.in_memory, library.names, calls),
    }
    if drives.has_rclone():
        point = stack.enter_context(drives.rclone(stage, library.on_disk))
        contestants[RCLONE] = partial(open_at_random, point, library.names, calls)
    return contestants


def _read_large(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, 1, 2)
    name, text = next(iter(stage.texts(1, stage.scaled(_LARGE)).items()))
    drive = stack.enter_context(drives.moonfs(stage))
    for directory in (drive.point, library.on_disk, library.in_memory):
        (directory / name).write_bytes(text)
    contestants: dict[str, Contestant] = {
        MOONFS: partial(read_in_order, drive / name),
        DISK: partial(read_in_order, library.on_disk / name),
        TMPFS: partial(read_in_order, library.in_memory / name),
    }
    if drives.has_rclone():
        point = stack.enter_context(drives.rclone(stage, library.on_disk))
        contestants[RCLONE] = partial(read_in_order, point / name)
    return contestants


STAT: Final = Job(
    name="stat",
    title="stat of names in no order",
    contestants=_stat,
    ratios=(Ratio(CALL, RCLONE, at_most=1.0), Ratio(CALL, DISK)),
    far=False,
)
OPEN_READ: Final = Job(
    name="open-read",
    title="open, read, close of small cached texts",
    contestants=_open_read,
    ratios=(Ratio(CALL, RCLONE, at_most=1 / 8), Ratio(CALL, TMPFS)),
    far=False,
)
READ_LARGE: Final = Job(
    name="read-large",
    title="sequential read of 100 MB, cached",
    contestants=_read_large,
    ratios=(
        Ratio(PAGES, TMPFS, at_most=1 / 0.9),
        Ratio(PAGES, RCLONE),
        Ratio(DAEMON, RCLONE, at_most=0.5),
        Ratio(DAEMON, DISK),
    ),
    far=False,
)
