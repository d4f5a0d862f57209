"""A daemon that is killed: the process that `test_crash` starts, over and over, each time for one life.

It is the real mount in the foreground, on a real mount point, against a real server. Two things are added from
outside: it can be told at which step to kill itself (before or after each call of the journal, each commit, each sync
of a spool file, each move of an original, each request), and it notes which bytes it has made durable, so that
`power_cut` can take away the others. It does nothing to the drive by itself: the load comes through the kernel.

**Threading:** steps are counted under a lock, in whatever thread of the daemon they come; `power_cut` belongs to the
test, while no daemon runs.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from moonfs import mount
from moonfs.api import Client
from moonfs.api.retry import Backoff, Retry
from moonfs.attributes import Attributes
from moonfs.journal import Journal
from moonfs.mount import Request
from moonfs.originals import Originals
from moonfs.spool import SpoolFile
from moonfs.writeback import Uploader

#: Seconds, instead of those that the product waits for: a copy that comes late is looked for soon, so that a drain need
#: not wait longer, and an upload begins at once, so that most of them are under way when their files change again,
#: and ten minutes are over while the next calls come.
SOONER = {"LOOKS": (0.0, 0.05, 0.15), "AGAIN": 0.05, "LINGER": 0.005, "PASSING_SECONDS": 0.05}
#: What else than the whole journal may die before and after its calls.
OTHERS: tuple[tuple[type, str], ...] = (
    (SpoolFile, "sync"),
    (SpoolFile, "discard"),
    (Originals, "adopt"),
    (Attributes, "set"),
    (Client, "list"),
    (Client, "upload"),
    (Client, "delete"),
)
COMMIT = "COMMIT"
#: Seconds after which a clock that is wrong is wrong in another way.
STEP = 0.15


@dataclass(frozen=True)
class Fate:
    """How a life ends: when it passes `step` for the `turn`th time, at the latest at its `last`th step of any kind."""

    step: str = ""
    turn: int = 1
    last: int = 10**9


@dataclass(frozen=True)
class Notes:
    """What a daemon leaves for the test in a directory of its own.

    Attributes:
        passed: the steps that were passed, by name, and at the end the one at which it died.
        log: what the daemon says.
        listed: the names that the spool directory has for sure.
        synced: hashes of all bytes that were ever synced.
    """

    home: Path

    @property
    def passed(self) -> Path:
        return self.home / "passed"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def listed(self) -> Path:
        return self.home / "listed"

    @property
    def synced(self) -> Path:
        return self.home / "synced"

    def bytes_of(self, name: str) -> Path:
        """Return where the bytes are that the spool file `name` has for sure."""
        return self.home / "bytes" / name


def steps() -> list[str]:
    """Return the name of every step at which a daemon may die."""
    calls = [f"{owner.__name__}.{name}" for owner, name in _calls()]
    return [f"{when} {what}" for what in [*calls, COMMIT] for when in ("before", "after")]


def live(
    request: Request,
    ready: Connection,
    notes: Notes,
    fate: Fate | None,
    *,
    cuts: bool,
    hasty: bool = False,
    clock: Sequence[float] = (),
) -> None:
    """Mount and serve until the mount ends, or `fate` comes. What `-f` prints when it is usable goes to `ready`.

    With `cuts`, what is synced is noted for `power_cut`. Who is `hasty` tries again at once where the product waits
    seconds. `clock` is by how many seconds the clock is wrong, one after the other, each for a while.
    """
    log = os.open(notes.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 2)
    os.dup2(ready.fileno(), 1)
    ready.close()
    for name, module in list(sys.modules.items()):
        for wait, seconds in SOONER.items():
            if name.startswith("moonfs.") and hasattr(module, wait):
                setattr(module, wait, seconds)
    if hasty:
        _hurry()
    if clock:
        _step_clock(clock)
    if cuts:
        _note_syncs(notes)
    if fate is not None:
        _meet(fate, notes)
    mount.run(request)


def _calls() -> Iterator[tuple[type, str]]:
    for name, function in vars(Journal).items():
        if inspect.isfunction(function) and not name.startswith("_") and name != "close":
            yield Journal, name
    yield from OTHERS


def _hurry() -> None:
    """Have what fails tried again soon."""
    assert Uploader.__init__.__kwdefaults__ and Client.__init__.__kwdefaults__
    Uploader.__init__.__kwdefaults__["backoff"] = lambda attempt: min(0.3, 0.01 * 2**attempt)
    Client.__init__.__kwdefaults__["retry"] = Retry(Backoff(first=0.01, first_limited=0.01, longest=0.1))


def _step_clock(steps: Sequence[float]) -> None:
    """Have the clock go wrong by each of these seconds, for so long at a time."""
    seconds, nanoseconds, began = time.time, time.time_ns, time.monotonic()

    def wrong() -> float:
        return steps[int((time.monotonic() - began) / STEP) % len(steps)]

    time.time = lambda: seconds() + wrong()
    time.time_ns = lambda: nanoseconds() + int(wrong() * 10**9)


def _meet(fate: Fate, notes: Notes) -> None:
    """Have the process kill itself."""
    passed = os.open(notes.passed, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def step(what: str) -> None:
        with lock:
            counts[what] = counts.get(what, 0) + 1
            if counts[what] == 1:
                os.write(passed, f"{what}\n".encode())
            if (what == fate.step and counts[what] == fate.turn) or sum(counts.values()) == fate.last:
                os.write(passed, f"died {what}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def guard(function: Callable[..., Any], what: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            step(f"before {what}")
            result = function(*args, **kwargs)
            step(f"after {what}")
            return result

        return guarded

    for owner, name in _calls():
        setattr(owner, name, guard(getattr(owner, name), f"{owner.__name__}.{name}"))

    class Guarded(sqlite3.Connection):
        """A connection that may die at a commit, whether it is a statement or the end of a `with`."""

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql != COMMIT:
                return super().execute(sql, *args)
            step(f"before {COMMIT}")
            cursor = super().execute(sql, *args)
            step(f"after {COMMIT}")
            return cursor

        def __exit__(self, *args: Any) -> Any:
            step(f"before {COMMIT}")
            result = super().__exit__(*args)
            step(f"after {COMMIT}")
            return result

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Guarded)  # type: ignore[assignment]


def _note_syncs(notes: Notes) -> None:
    """Note what each fsync makes durable: what a spool file held, or what its directory listed, when it began."""
    notes.bytes_of("").mkdir(exist_ok=True)
    synced = os.open(notes.synced, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    lock = threading.Lock()
    numbers = itertools.count(1)
    newest: dict[Path, int] = {}

    def note(path: Path, what: bytes) -> None:
        if path.name == "spool":
            _replace(notes.listed, what)
        else:
            _replace(notes.bytes_of(path.name), what)
            os.write(synced, f"{hashlib.sha256(what).hexdigest()}\n".encode())

    def noting(sync: Callable[[int], None]) -> Callable[[int], None]:
        def noted(fd: int) -> None:
            number = next(numbers)
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            what = None
            if path.name == "spool":
                what = json.dumps(sorted(os.listdir(path))).encode()
            elif path.parent.name == "spool" and path.exists():
                what = path.read_bytes()
            sync(fd)
            with lock:
                # Of two at once the one that has seen more counts, whichever ends first.
                if what is not None and number > newest.get(path, 0):
                    newest[path] = number
                    note(path, what)

        return noted

    os.fsync, os.fdatasync = noting(os.fsync), noting(os.fdatasync)


def power_cut(state: Path, originals: Path, notes: Notes, chance: random.Random) -> None:
    """Leave of a killed daemon's files what a power cut may leave: what was never synced is gone.

    A file that was not synced since it was written has no bytes, or none of the later ones; a name that its directory
    was not synced for is gone, or not; one that was deleted is back, or not. The table of attributes, which nothing
    waits for, is as at its last checkpoint. The journal waits for each commit (`synchronous=FULL`), so it stays.
    """
    spool = state / "spool"
    if not originals.exists():
        return  # it died before there was anything
    listed = set(json.loads(notes.listed.read_bytes())) if notes.listed.exists() else set()
    synced = set(notes.synced.read_text().splitlines()) if notes.synced.exists() else set()
    present = {entry.name for entry in spool.iterdir()}
    for name in sorted(present | listed):
        held = notes.bytes_of(name)
        if name in listed & present or chance.random() < 0.5:
            (spool / name).write_bytes(held.read_bytes() if held.exists() else b"")
        else:
            (spool / name).unlink(missing_ok=True)
    for entry in originals.iterdir():
        if entry.name not in synced:
            entry.write_bytes(b"")
    for entry in state.glob("attributes.db-*"):
        entry.unlink()
    for entry in notes.bytes_of("").iterdir():
        if not (spool / entry.name).exists():
            entry.unlink()
    _replace(notes.listed, json.dumps(sorted(entry.name for entry in spool.iterdir())).encode())


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
