"""Two machines that overwrite the same names of one account, as fast as they can.

What it is: two drives, each with writers of its own on a real mount, on one service of some kind whose answers take
their time, or fail as in `storms`. All versions have one size. What was acknowledged and that nobody can have seen
when he opened its name to write must be there in the end; of what one machine has stored under a name only its newest
version may be left (W3, W4, N3), and it can be read there (R5). Where the service numbers names, one of two that two
machines made has a number, and the status of a machine names it. What it is not: a test of kills.

**Threading:** a thread for each writer; a name is written by one of them on each machine.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults.kinds import YESTERDAY, Kind, unnumbered
from tests.faults.lives import named_in
from tests.faults.model import slow
from tests.faults.server import OPERATIONS, FaultServer, Stored
from tests.faults.storms import PASSING, Storm
from tests.faults.walk import MODES
from tests.harness.drive import Drive, hosted, wait_until

NAMES = tuple(f"{letter}.txt" for letter in "abcdef")
#: Names of each writer.
EACH = 3
PATIENCE = 120.0


@dataclass(frozen=True)
class Version:
    """What a machine has written under a name.

    Attributes:
        opened: when the file was open, on the monotonic clock; it takes the place of nothing that came later.
        ended: when it was closed.
        acknowledged: whether that succeeded.
    """

    machine: int
    name: str
    data: bytes
    opened: float
    ended: float
    acknowledged: bool


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        versions: how many were acknowledged.
        lost: those that had to be there and are not.
        doubled: names of which more than one version of one machine is left.
        unlike: names that do not show what the service has.
        misnamed: names with a number that no status names.
    """

    versions: int
    lost: list[str]
    doubled: list[str]
    unlike: list[str]
    misnamed: list[str]


def overwrite(
    mode: str, seed: str, seconds: float, home: Path, *, stormy: bool = False, kind: Kind = YESTERDAY
) -> Outcome:
    """Have two machines write for so many seconds, and wait until both are done."""
    chance = random.Random(f"{mode} {seed}")
    with FaultServer(kind=kind) as server, contextlib.ExitStack() as stack:
        storm = Storm(random.Random(chance.random()))
        drives = [
            stack.enter_context(Drive(home / str(number), *hosted(server.base_url, server.key, kind)))
            for number in (0, 1)
        ]
        for drive in drives:
            drive.mount("listing_ttl=1", "upload_timeout=5", *MODES[mode])
        server.weather = storm if stormy else slow(random.Random(chance.random()))
        written: list[Version] = []
        arrived: dict[bytes, float] = {}
        lock = threading.Lock()
        receive = server.receive

        def note(filename: str, data: bytes, purpose: str) -> Stored | None:
            stored = receive(filename, data, purpose)
            arrived.setdefault(data, time.monotonic())
            return stored

        server.receive = note  # type: ignore[method-assign]
        ends = time.monotonic() + seconds

        def write(machine: int, names: tuple[str, ...], own: random.Random) -> None:
            number = 0
            while time.monotonic() < ends:
                number += 1
                name, opened = own.choice(names), 0.0
                data = f"{machine} has written {number:06d} to {name}.\n".encode()
                acknowledged = True
                try:
                    with (drives[machine] / name).open("wb", buffering=0) as file:
                        opened = time.monotonic()
                        file.write(data)
                except OSError as failure:
                    if not stormy or failure.errno not in PASSING:
                        raise
                    acknowledged = False
                with lock:
                    written.append(Version(machine, name, data, opened, time.monotonic(), acknowledged))

        shares = [NAMES[start : start + EACH] for start in range(0, len(NAMES), EACH)]
        with ThreadPoolExecutor(4) as pool:
            for future in [
                pool.submit(write, machine, share, random.Random(chance.random()))
                for machine in (0, 1) for share in shares
            ]:  # fmt: skip
                future.result(seconds + PATIENCE)
        storm.calm = {*OPERATIONS}
        for drive in drives:
            wait_until(lambda drive=drive: _is_at_rest(drive), "nothing is pending", PATIENCE)
        return _judge(written, arrived, server, drives)


def _is_at_rest(drive: Drive) -> bool:
    uploads = drive.status()["uploads"]
    return not (uploads["pending"] or uploads["deletions"] or uploads["active"])


def _judge(written: list[Version], arrived: Mapping[bytes, float], server: FaultServer, drives: list[Drive]) -> Outcome:
    with server.lock:
        files = sorted(server.files.values(), key=lambda file: (file.created_at, file.id))
    stored = [(unnumbered(file.filename), file.data) for file in files]
    newest: dict[str, float] = defaultdict(float)
    for version in written:
        # What failed may have happened, and counts where it is there.
        if version.acknowledged or (version.name, version.data) in stored:
            newest[version.name] = max(newest[version.name], version.opened)
    # What the service had before somebody opened the name may have been seen, and replaced.
    lost = [
        v for v in written
        if v.acknowledged and min(v.ended, arrived.get(v.data, v.ended)) >= newest[v.name]
        and (v.name, v.data) not in stored
    ]  # fmt: skip
    left = Counter((name, data[:1].decode()) for name, data in stored)
    doubled = [f"{often} copies of {name} by machine {machine}" for (name, machine), often in left.items() if often > 1]
    for drive in drives:
        drive.command("refresh", str(drive.point))
    named = {file_id for drive in drives for file_id in named_in(drive.status())}
    misnamed = [file.filename for file in files if file.filename not in NAMES and file.id not in named]
    unlike = []
    for name, data in {file.filename: file.data for file in files}.items():  # the newest of each
        shown = _read(drives[int(data[:1])] / name)
        if shown != data:
            unlike.append(f"{name} is {shown!r} where {data!r} was written, which the service has")
    return Outcome(len(written), [f"{v.name}: {v.data!r}" for v in lost], doubled, unlike, misnamed)


def _read(path: Path) -> bytes | None:
    """Return what a file holds, None where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None
