"""Uploads whose answer is lost: how they come about, and what is done with their names meanwhile (W3).

The drive is that of `tests.faults.test_exactly_one_copy`.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any, cast

import pytest

from moonfs import errors
from moonfs.errors import MoonfsError
from tests.faults.server import Fault, Turn, answer_lost, page
from tests.faults.test_exactly_one_copy import Bench, Drive
from tests.harness.drive import wait_until

ONE, TWO, SIX = b"version one of it", b"version two of it", b"version six of it"
assert len(ONE) == len(TWO) == len(SIX)
#: What has no text, so that nothing proves whose it is.
SILENT = "a.mp4"


def away(bench: Bench) -> None:
    """Let no list be had until `back`."""
    bench.server.script("list", *(page(503) for _ in range(5000)))


def back(bench: Bench) -> None:
    bench.server.unscript()


def held_lists(bench: Bench) -> tuple[threading.Event, threading.Event]:
    """Hold the next lists back: return what is set when one is asked for, and what lets them go."""
    reached, go = threading.Event(), threading.Event()

    def later(turn: Turn) -> None:
        reached.set()
        go.wait(60)
        turn.send(turn.serve())

    bench.server.unscript("list")
    bench.server.script("list", *[later] * 20)
    return reached, go


def settled(drive: Drive) -> None:
    """Wait until nothing is pending, in doubt or to be deleted, and every search is over."""

    def is_over() -> bool:
        rows = drive.journal.intents()
        return not rows and not drive.journal.deletions() and not drive.uploader.active

    wait_until(is_over, "nothing is in doubt")
    drive.idle()


def status(drive: Drive) -> dict[str, Any]:
    return cast(dict[str, Any], drive.fs.summary()["uploads"])


def rename_over(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    drive.write(f".{name}.new", data)
    drive.fs.rename(f"/.{name}.new", f"/{name}")


def remove(drive: Drive, name: str = "a.txt") -> None:
    drive.fs.unlink(f"/{name}", os.getpid)


def remove_and_write(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    with suppress(errors.NotFound):
        remove(drive, name)
    drive.write(name, data)


def overwrite(drive: Drive, data: bytes, name: str = "a.txt") -> None:
    drive.write(name, data)


def in_doubt(bench: Bench, fault: Fault, *, write_back: bool, name: str = "a.txt", data: bytes = ONE) -> Drive:
    """Return a drive whose upload of `data` has ended without an answer, and that has no list yet."""
    drive = bench.start(upload_timeout=0.3 if not write_back else 1.0, write_back=write_back)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("upload", fault)
    away(bench)
    if write_back:
        drive.write(name, data)
    else:
        with suppress(MoonfsError):
            drive.write(name, data)
    wait_until(lambda: bench.server.count("upload") and not drive.uploader.active, "the upload has failed")
    return drive


def failed_close(bench: Bench) -> Drive:
    """Return a drive whose `a.txt` is SIX; its close of ONE over that has failed, though ONE arrived; no list yet."""
    drive = bench.start(upload_timeout=0.3)
    drive.write("a.txt", SIX)
    bench.server.script("upload", answer_lost())
    away(bench)
    with pytest.raises(MoonfsError):
        drive.write("a.txt", ONE)
    return drive
