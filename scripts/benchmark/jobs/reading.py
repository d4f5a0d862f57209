"""Looking and reading: listings, and a thousand texts of 50 KB, cold, warm and after a remount.

moonfs shows each text as the sidecar of its file; rclone and the local directories hold the same texts as files.

Cold means that the drive has been mounted with nothing left of an earlier mount, and nobody has looked at it yet.
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
from scripts.benchmark.library import Library
from scripts.benchmark.measure import MOONFS, RCLONE, Bound, Contestant, Job, Ratio, Sample
from scripts.benchmark.shell import Span, settle, timed
from scripts.benchmark.stage import Stage

_FILES: Final = 1000
_BYTES: Final = 50_000
#: As many as moonfs has under way at the most.
_AT_ONCE: Final = 32
#: Seconds for which a listing is believed: little, so that it is out of date soon, and more than `ls -l` takes.
_LISTING_TTL: Final = 3.0

_LIST: Final = 'ls -l -- "$1"'
_CAT: Final = 'cat -- "$1"/*'
_CAT_SIDECARS: Final = 'cat -- "$1"/*.content'
#: No text has the word, so all of each is read.
_GREP: Final = 'grep -r moonlight -- "$1"'
_GREP_SIDECARS: Final = 'grep -r --include="*.content" moonlight -- "$1"'
_NOT_FOUND: Final = 1

IDEAL: Final = "httpx, 32 at once"
SDK: Final = "openai SDK"
SDK_THREADS: Final = "openai SDK, 8 threads"
DISK: Final = "this disk"
TMPFS: Final = "tmpfs"

COLD: Final = "cold"
WARM: Final = "warm"
REMOUNTED: Final = "after a remount"
LISTS: Final = "list requests, cold"
CONTENTS: Final = "content requests, cold"
CONTENTS_LATER: Final = "content requests, later"

#: A command that reads all that is in a directory.
Read = Callable[[Path], Span]


def list_moonfs(stage: Stage) -> Sample:
    """List a drive whose listing is out of date, and once more."""
    with drives.moonfs(stage, f"listing_ttl={_LISTING_TTL:g}") as drive:
        time.sleep(_LISTING_TTL + 0.2)
        asked = stage.service.asked("list")
        cold = timed(_LIST, drive.point).seconds
        lists = stage.service.asked("list") - asked
        return {COLD: cold, WARM: timed(_LIST, drive.point).seconds, LISTS: lists}


def list_rclone(stage: Stage, files: Path) -> Sample:
    """List a drive of rclone's, twice."""
    with drives.rclone(stage, files) as point:
        return {COLD: timed(_LIST, point).seconds, WARM: timed(_LIST, point).seconds}


def read_moonfs(stage: Stage, read: Read, *, remount: bool) -> Sample:
    """Read all sidecars twice, and once more after a remount."""
    asked = partial(stage.service.asked, "content")
    with drives.moonfs(stage) as drive:
        settle()
        before = asked()
        sample = {COLD: read(drive.point).seconds}
        between = asked()
        sample |= {WARM: read(drive.point).seconds, CONTENTS: between - before}
        if remount:
            drive.remount()
            sample[REMOUNTED] = read(drive.point).seconds
        return sample | {CONTENTS_LATER: asked() - between}


def read_rclone(stage: Stage, files: Path, read: Read, *, remount: bool) -> Sample:
    """Read all files twice, and once more after a remount with the same cache."""
    with stage.lent() as cache:
        settle()
        with drives.rclone(stage, files, cache=cache) as point:
            sample = {COLD: read(point).seconds, WARM: read(point).seconds}
        if remount:
            with drives.rclone(stage, files, cache=cache) as point:
                sample[REMOUNTED] = read(point).seconds
        return sample


def read_by_client(client: Client, at_once: int, ids: list[str]) -> Sample:
    """Read all texts without a drive."""
    begin = time.monotonic()
    each(client.content, ids, at_once)
    return {COLD: time.monotonic() - begin}


def _ls(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, stage.scaled(_FILES), _BYTES)
    # As many names as the drive shows.
    names = stage.fresh()
    for name in library.names:
        (names / name).write_bytes(b"x")
        (names / f"{name}.content").write_bytes(b"x")
    contestants: dict[str, Contestant] = {
        MOONFS: partial(list_moonfs, stage),
        DISK: lambda: {WARM: timed(_LIST, names).seconds},
    }
    if drives.has_rclone():
        contestants[RCLONE] = partial(list_rclone, stage, library.on_disk)
    return contestants


def _cat(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, stage.scaled(_FILES), _BYTES)
    ideal, sdk = stack.enter_context(Ideal(stage.service, _AT_ONCE)), stack.enter_context(Sdk(stage.service))
    contestants: dict[str, Contestant] = {
        MOONFS: partial(read_moonfs, stage, partial(timed, _CAT_SIDECARS), remount=True),
        IDEAL: partial(read_by_client, ideal, _AT_ONCE, library.ids),
        SDK_THREADS: partial(read_by_client, sdk, 8, library.ids),
        SDK: partial(read_by_client, sdk, 1, library.ids),
        TMPFS: _warm(partial(timed, _CAT), library.in_memory),
    }
    if drives.has_rclone():
        contestants[RCLONE] = partial(read_rclone, stage, library.on_disk, partial(timed, _CAT), remount=True)
    return contestants


def _grep(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    library = Library(stage, stack, stage.scaled(_FILES), _BYTES)
    grep = partial(timed, _GREP, may_return=(_NOT_FOUND,))
    grep_sidecars = partial(timed, _GREP_SIDECARS, may_return=(_NOT_FOUND,))
    contestants: dict[str, Contestant] = {
        MOONFS: partial(read_moonfs, stage, grep_sidecars, remount=False),
        DISK: _warm(grep, library.on_disk),
        TMPFS: _warm(grep, library.in_memory),
    }
    if drives.has_rclone():
        contestants[RCLONE] = partial(read_rclone, stage, library.on_disk, grep, remount=False)
    return contestants


def _warm(read: Read, directory: Path) -> Contestant:
    return lambda: {WARM: read(directory).seconds}


LS: Final = Job(
    name="ls",
    title="ls -l of 1,000 files",
    contestants=_ls,
    ratios=(Ratio(COLD, RCLONE, at_most=2.0), Ratio(WARM, DISK, at_most=2.0), Ratio(WARM, RCLONE)),
    bounds=(Bound(LISTS, lambda _: 1, exactly=True),),
    units={LISTS: ""},
)
CAT: Final = Job(
    name="cat",
    title="cat of 1,000 texts of 50 KB",
    contestants=_cat,
    ratios=(
        Ratio(COLD, IDEAL),
        Ratio(COLD, SDK_THREADS, at_most=0.4),
        Ratio(COLD, SDK),
        Ratio(COLD, RCLONE, at_most=0.05),
        Ratio(WARM, RCLONE, at_most=0.25),
        Ratio(WARM, TMPFS),
        Ratio(REMOUNTED, RCLONE, at_most=0.5),
    ),
    bounds=(
        Bound(CONTENTS, lambda stage: stage.scaled(_FILES), exactly=True),
        Bound(CONTENTS_LATER, lambda _: 0, exactly=True),
    ),
    units={CONTENTS: "", CONTENTS_LATER: ""},
    drawn=(COLD, WARM, REMOUNTED),
)
GREP: Final = Job(
    name="grep",
    title="grep -r of 1,000 texts of 50 KB",
    contestants=_grep,
    ratios=(
        Ratio(COLD, RCLONE, at_most=0.06),
        Ratio(WARM, TMPFS, at_most=8.0),
        Ratio(WARM, DISK),
        Ratio(WARM, RCLONE),
    ),
    bounds=(Bound(CONTENTS, lambda stage: stage.scaled(_FILES), exactly=True),),
    units={CONTENTS: ""},
    drawn=(WARM,),
)
