"""A service in bad weather, and a writer that goes on in it: what is promised where calls fail for remote reasons.

Three requests in ten fail, in each way that leaves it open, or not, whether the service has done what was asked; now
and then it is away for a while. In write-through a writer then hears of it: of a change that failed, the old version or
the new one may be there, whole, until it tries again and succeeds; nothing else may be, and what is there can be read.
Some writers are killed in mid-write. What it is not: the real local server, or a service that lies.

**Threading:** a weather is asked in the threads of its service; a writer belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moonfs import names
from tests.faults.kinds import unnumbered
from tests.faults.load import KINDS, Promises, World, Writer, is_dead, short
from tests.faults.server import (
    Fault,
    Seen,
    answer_lost,
    answer_reset,
    broken_off,
    error,
    failed_after,
    page,
    refused,
    reset_mid_body,
    truncated,
)

#: What a request meets, where it meets something.
FAULTS: tuple[Fault, ...] = (
    answer_lost(),
    answer_lost(),
    answer_reset(),
    answer_reset(),
    failed_after(),
    failed_after(error(503, "busy", "server_unavailable")),
    reset_mid_body(10),
    reset_mid_body(400),
    page(502),
    page(404),
    refused(500, "extract task failed: failed", "server_error"),
    truncated(),
    broken_off(),
)
#: How many requests fail in a storm, and how many of them begin a spell in which all do, for so many seconds.
OFTEN = 0.3
SPELLS = 0.03
SPELL = 0.6
#: What a call may say in a storm. What is known of an outage is EHOSTUNREACH, too.
PASSING = (errno.EIO, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EAGAIN)

#: What the older of two files with one name is called by (N3): its id.
_SECOND = re.compile("~(file_)?[0-9a-f]{20}")


class Storm:
    """The weather of a `FaultServer`.

    Attributes:
        calm: operations that always succeed at present.
        faults: how often something failed, by operation.
    """

    def __init__(self, chance: random.Random) -> None:
        self.calm: set[str] = set()
        self.faults: Counter[str] = Counter()
        self._chance = chance
        self._lock = threading.Lock()
        self._until = 0.0

    def __call__(self, seen: Seen) -> Fault | None:
        with self._lock:
            now = time.monotonic()
            if seen.operation in self.calm or (now > self._until and self._chance.random() > OFTEN):
                return None
            if now > self._until and self._chance.random() < SPELLS:
                self._until = now + SPELL
            self.faults[seen.operation] += 1
            return self._chance.choice(FAULTS)


class Doubts(Promises):
    """Promises of which some are in doubt: calls that failed, and may have been carried out.

    Attributes:
        doubtful: what these names may hold, until something succeeds under them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.doubtful: dict[str, set[bytes | None]] = {}
        self._somewhere: list[tuple[set[str], bytes]] = []

    def doubt(self, *others: bytes) -> None:
        """Say that what was begun has failed: it has happened or not, or one of `others` has."""
        self._leave_open()
        moved = {data for data in self._under_way.values() if data}
        for name, data in self._under_way.items():
            self.doubtful[name] = self._may_hold(name) | {data, *others}
            self.purposes.pop(name, None)
        certain = [self._values.get(name) for name, data in self._under_way.items() if data is None]
        if len(self._under_way) > 1 and len(moved) == 1 and {*moved} in certain:
            self._somewhere.append(({*self._under_way}, *moved))
        self._values |= {name: self.doubtful[name] for name in self._under_way}
        self.cancel()

    def end(self, *, durable: bool = True, purpose: str = "") -> None:
        for name in self._under_way:
            self.doubtful.pop(name, None)
        self._leave_open()
        super().end(durable=durable, purpose=purpose)

    def check(self, shown: World) -> str:
        wrong = super().check(shown)
        for among, data in self._somewhere:
            if not among & self._under_way.keys() and data not in map(shown.get, among):
                wrong += f"; lost: {short(data)} is neither of {sorted(among)}"
        return wrong

    def settle(self, shown: World, elsewhere: set[str]) -> None:
        """Go on from what a drive shows: what was under way at a kill is in doubt from now on."""
        under_way = {name: self._may_hold(name) | {data} for name, data in self._under_way.items()}
        self._leave_open()
        super().settle(shown, elsewhere)
        self.doubtful |= under_way
        for name, values in self.doubtful.items():
            self._values[name] = values | {shown.get(name)}

    def is_over(self, shown: World) -> None:
        """Take in that nothing is in doubt any more."""
        self.doubtful.clear()
        self._somewhere.clear()
        self.settle(shown, set())

    def _leave_open(self) -> None:
        """Ask no more for the bytes of a failed rename, one of whose names is changed again.

        A removal, say, that fails may have been carried out (W8), under the name that had the bytes.
        """
        self._somewhere = [each for each in self._somewhere if not each[0] & self._under_way.keys()]

    def _may_hold(self, name: str) -> set[bytes | None]:
        return self._values.get(name, {None}) | {self.now.get(name)} | self.doubtful.get(name, set())


class _LaterError(Exception):
    """What was to be changed is in doubt since a moment ago."""


class StormyWriter(Writer):
    """A writer whose calls may fail, and that tries again."""

    promises: Doubts

    def __init__(self, point: Path, letter: str, chance: random.Random) -> None:
        super().__init__(point, letter, chance)
        self.promises = Doubts()
        self._killer = subprocess.Popen(
            [sys.executable, "-S", Path(__file__).with_name("victims.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def close(self) -> None:
        """End the process that kills others."""
        self._killer.communicate(timeout=60)

    def work(self, most: int) -> bool:
        kinds = {**KINDS, "killed": 1}
        try:
            for _ in range(most):
                (kind,) = self._chance.choices([*kinds], [*kinds.values()])
                if self.promises.doubtful:
                    kind = self._chance.choice(("look", "mend"))
                self.trace.append(kind)
                with contextlib.suppress(_LaterError):
                    getattr(self, f"_{kind}")()
                self.done[kind] += 1
        except OSError as failure:
            if is_dead(failure, self._point):
                return True
            raise
        return False

    def tidy(self) -> None:
        self._mend()
        super().tidy()

    def _mend(self) -> None:
        """Do again what failed, until it succeeds."""
        for _ in range(500):
            for name in [*self.promises.doubtful]:
                if self._chance.random() < 0.5:
                    self._replace(name, self._fresh())
                else:
                    self._unlink(name)
            if not self.promises.doubtful:
                return
            time.sleep(0.02)
        raise AssertionError(f"{[*self.promises.doubtful]} can neither be written nor removed")

    def _killed(self) -> None:
        """Have another process write, and kill it; the kernel closes what it has open."""
        name, data = self._chance.choice(self._files), self._fresh()[:4000]
        self.promises.begin({name: data})
        self.promises.doubt(b"")
        assert self._killer.stdin and self._killer.stdout
        order = [str(self._point / name), data.decode(), self._chance.choice((0, 0.0005, 0.005))]
        print(json.dumps(order), file=self._killer.stdin, flush=True)
        assert self._killer.stdout.readline(), "nobody is there to kill"
        os.stat(self._point)  # the drive may be dead

    def _look(self) -> None:
        wrong = self.promises.check(shown_in_storm(self._point, self.letter))
        assert not wrong, wrong

    @contextlib.contextmanager
    def _changing(self, change: Mapping[str, bytes | None], *arguments: Any, **options: Any) -> Iterator[None]:
        in_doubt = next(iter(change)) in self.promises.doubtful
        try:
            if in_doubt and list(change.values()) == [None]:
                yield from self._unlinking(*change)
                return
            if in_doubt and not options.get("makes"):
                raise _LaterError
            with super()._changing(change, *arguments, **options):
                yield
        except OSError as failure:
            if failure.errno not in PASSING or is_dead(failure, self._point):
                raise
            self.promises.doubt()

    def _unlinking(self, name: str) -> Iterator[None]:
        """Take notes of the removal of what may be gone already."""
        self.promises.begin({name: None})
        try:
            yield
        except FileNotFoundError:  # what failed may arrive until its name is used (W3)
            self.promises.cancel()
        else:
            self.promises.end()


def shown_in_storm(point: Path, letter: str = "") -> World:
    """Return what every file holds whose name begins with `letter`, but for second copies, with an id or a number.

    Raises:
        AssertionError: one cannot be read.
    """
    shown: World = {}
    for name in os.listdir(point):
        if not name.startswith(letter) or name.endswith(names.SIDECAR) or _SECOND.search(name):
            continue
        if unnumbered(name) != name:
            continue
        with contextlib.suppress(FileNotFoundError):  # what is in doubt may go meanwhile
            shown[name] = _read(point / name)
    return shown


def _read(path: Path) -> bytes:
    ends = time.monotonic() + 5
    while True:
        try:
            return path.read_bytes()
        except PermissionError:
            if time.monotonic() > ends:
                state = {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}
                raise AssertionError(f"lost: {path.name} is there and cannot be read: {state}") from None
            time.sleep(0.05)
