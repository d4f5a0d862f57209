"""One walk: what may be done on a drive, who does it, and what must come of it. `model` draws and repeats walks.

Processes of their own (`hand`) make the system calls on a real mount. After each call comes what the reference wants;
when the drive has nothing pending, the service's own list must agree, too.

**Threading:** a walk has one thread; the service has its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import random
import select
import subprocess
import sys
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from moonfs import wire
from tests.faults.reference import NAMES, STORED, TEMPORARY, File, Reference
from tests.faults.server import FaultServer
from tests.harness.drive import ROOT, Drive, wait_until

#: The two ways to write (W1, W2), with the options that choose them.
MODES: dict[str, tuple[str, ...]] = {"write-through": (), "write-back": ("write_back",)}
PROCESSES = 3
#: Seconds after which a call counts as hanging.
PATIENCE = 60.0
#: Bytes that are written at once; many versions have one size, so that one may be taken for the other.
SIZES = (20, 20, 20, 20, 3000, 70_000)
#: What is done, how often by comparison, and with what of an `Operation`.
KINDS = {
    "put": (8, "name number size"),
    "new": (1, "name number size"),
    "append": (8, "name number size"),
    "patch": (3, "name number size"),
    "truncate": (3, "name number"),
    "rename": (6, "name other"),
    "save": (4, "name number size"),
    "unlink": (4, "name"),
    "times": (2, "name number"),
    "give": (2, "name other"),
    "offer": (1, "name other number size"),
    "get": (6, "name"),
    "text": (3, "name"),
    "list": (1, ""),
    "open": (10, "name slot mode"),
    "close": (7, "slot"),
    "dup": (1, "slot to"),
    "write": (10, "slot number size"),
    "pwrite": (4, "slot number size"),
    "map": (4, "slot number size"),
    "read": (8, "slot"),
    "cut": (2, "slot number"),
    "sync": (2, "slot"),
    "die": (0.3, ""),
    "settle": (1, "number"),
    "remount": (0.15, "number"),
}
#: Those that only look.
LOOKS = ("get", "text", "list", "read", "settle")
#: Operations of which half have one name.
SPELL = 30
#: What the last lines of a failure show.
LAST = 25


class Wrong(AssertionError):
    """The drive did something else than the reference."""


@dataclass(frozen=True)
class Operation:
    """One thing to do, which makes sense, or is left out, whatever was done before.

    Attributes:
        process: who does it.
        kind: one of `KINDS`.
        name, other: of files; or a purpose.
        slot, to: of open files.
        mode: how to open, as in `reference.Open`.
        number: tells all that is ever written apart, and is the seed of an offset.
        size: bytes.
    """

    process: int
    kind: str
    name: str = ""
    other: str = ""
    slot: int = 0
    to: int = 0
    mode: str = ""
    number: int = 0
    size: int = 0

    @property
    def data(self) -> bytes:
        """What is to be written: a text."""
        token = f"{self.number:06d} is {self.process}.\n".encode()
        return (token * (self.size // len(token) + 1))[: self.size]

    def within(self, length: int) -> int:
        """Return an offset up to `length`."""
        return random.Random(self.number).randrange(length + 1)

    def __str__(self) -> str:
        return f"{self.process} {self.kind} " + " ".join(f"{each}={getattr(self, each)}" for each in _needs(self.kind))


def _needs(kind: str) -> list[str]:
    return KINDS[kind][1].split()


def draw(chance: random.Random, reference: Reference, number: int) -> Operation:
    """Return something to do that makes sense now, as a rule."""
    process = chance.randrange(PROCESSES)
    (kind,) = chance.choices([*KINDS], [often for often, _ in KINDS.values()])
    if kind == "open" and not reference.free(process):
        kind = "close"
    there = sorted(reference.names)
    name = chance.choice(there if there and chance.random() < 0.8 else NAMES)
    if chance.random() < 0.5:  # so that writers and readers meet
        name = random.Random(number // SPELL).choice(there or NAMES)
    if kind in ("text", "save", "offer") and name in TEMPORARY:
        name = chance.choice(STORED)
    other = chance.choice(wire.PURPOSES if kind in ("give", "offer") else NAMES)
    size = 0 if chance.random() < 0.05 else chance.choice(SIZES)
    if kind == "map":
        size = min(SIZES)
    mode = chance.choice("rraaw")
    wanted = {"write": "a", "pwrite": "w", "map": "w", "cut": "aw", "sync": "aw"}.get(kind, "raw")
    held, free = reference.held(process, wanted), reference.free(process)
    if wanted != "raw" and not held and free:
        kind, mode = "open", chance.choice(wanted)
    if named := [slot for slot in held if reference.slots[process, slot].file in reference.names.values()]:
        held = named if chance.random() < 0.8 else held
    slot = chance.choice(held or [0])
    if kind == "open" and free:
        slot = chance.choice(free)
    to = chance.choice(free or [0])
    drawn = {"name": name, "other": other, "slot": slot, "to": to, "mode": mode, "number": number, "size": size}
    return Operation(process, kind, **{each: drawn[each] for each in _needs(kind)})


class Hand:
    """A process that makes calls."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(ROOT / "tests/faults/hand.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, *call: Any) -> Any:
        """Return what a call returns. Raises OSError as it did, and TimeoutError if it did not."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(call).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"{call[0]} hangs")
        line = self._process.stdout.readline()
        assert line, f"the process that did {call[0]} has died"
        said, value = json.loads(line)
        if said == "errno":
            raise OSError(value, os.strerror(value))
        return value

    def kill(self) -> None:
        """Kill the process, and wait until the kernel has closed what it held."""
        self._process.kill()
        self._process.wait(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Walk:
    """A drive, its service, the processes on it, and what should be there.

    Attributes:
        done: how often it has done what.
        trace: the last that it did.
        server: the service.
    """

    def __init__(self, drive: Drive, server: FaultServer, mode: str) -> None:
        self.reference = Reference()
        self.done: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=LAST)
        self._drive = drive
        self.server = server
        self._options = ("listing_ttl=1", *MODES[mode])
        self._hands = [Hand() for _ in range(PROCESSES)]
        drive.mount(*self._options)

    def end(self) -> None:
        """End the processes and the drive."""
        for hand in self._hands:
            hand.kill()
        self._drive.end()

    def sweep(self) -> None:
        """Make everything as new."""
        for process in range(PROCESSES):
            self._die(Operation(process, "die"))
        for name in [*self.reference.names]:
            self._unlink(Operation(0, "unlink", name))
        self._settle(Operation(0, "settle"))

    def do(self, operation: Operation) -> None:
        """Do it, if it can be done now, and compare. Raises Wrong."""
        self.trace.append(str(operation))
        try:
            if getattr(self, f"_{operation.kind}")(operation) is False:
                self.trace[-1] += " (left out)"
                return
            self.done[operation.kind] += 1
            if operation.kind not in LOOKS:
                self._check_size(operation)
        except TimeoutError as error:
            raise Wrong(str(error)) from error

    # What is done. False: it cannot be done now.

    def _put(self, operation: Operation) -> None:
        """As `cp` does: over what is there."""
        self._ask(
            operation, "put", self._path(operation.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, *self._in(operation)
        )
        self._write_closed(self.reference.written(operation.name), operation, operation.data)

    def _new(self, operation: Operation) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        expected = errno.EEXIST if operation.name in self.reference.names else 0
        call = ("put", self._path(operation.name), flags, *self._in(operation))
        if self._ask(operation, *call, expected=expected) is not errno.EEXIST:
            self._write_closed(self.reference.written(operation.name), operation, operation.data)

    def _append(self, operation: Operation) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._ask(operation, "put", self._path(operation.name), flags, *self._in(operation))
        file = self.reference.written(operation.name)
        self._write_closed(file, operation, file.data + operation.data)

    def _patch(self, operation: Operation) -> bool:
        """Write somewhere, behind the end too."""
        file = self.reference.names.get(operation.name)
        if file is None or not operation.size:
            return False
        offset = operation.within(len(file.data) + 30)
        call = ("put", self._path(operation.name), os.O_WRONLY, operation.data.decode(), offset, operation.number % 2)
        self._ask(operation, *call)
        self._write_closed(file, operation, _patched(file.data, operation.data, offset))
        return True

    def _truncate(self, operation: Operation) -> None:
        file = self.reference.names.get(operation.name)
        length = 0 if file is None else operation.within(len(file.data) + 30)
        expected = errno.ENOENT if file is None else 0
        self._ask(operation, "truncate", self._path(operation.name), length, expected=expected)
        if file is not None:
            file.change(_cut(file.data, length), "")
            file.close()

    def _rename(self, operation: Operation) -> None:
        there = operation.name in self.reference.names
        call = ("rename", self._path(operation.name), self._path(operation.other))
        self._ask(operation, *call, expected=0 if there else errno.ENOENT)
        if there:
            self.reference.rename(operation.name, operation.other)

    def _save(self, operation: Operation) -> None:
        """As editors do: a temporary name, which then takes the place of the other."""
        temporary = f"{operation.name}.tmp"
        self._ask(operation, "put", self._path(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, *self._in(operation),
                  expected=errno.EEXIST if temporary in self.reference.names else 0)  # fmt: skip
        if temporary not in self.reference.names:
            self._ask(operation, "rename", self._path(temporary), self._path(operation.name))
            file = self.reference.written(operation.name, anew=True)
            self._write_closed(file, operation, operation.data)

    def _unlink(self, operation: Operation) -> None:
        there = self.reference.names.pop(operation.name, None) is not None
        self._ask(operation, "unlink", self._path(operation.name), expected=0 if there else errno.ENOENT)

    def _times(self, operation: Operation) -> bool:
        file = self.reference.names.get(operation.name)
        if file is None:
            return False
        file.mtime = 1_000_000_000 + operation.number
        self._ask(operation, "times", self._path(operation.name), file.mtime)
        return True

    def _give(self, operation: Operation) -> bool:
        """Move a file to a purpose."""
        file = self.reference.names.get(operation.name)
        if file is None or file.writers:
            return False
        self._ask(operation, "rename", self._path(operation.name), self._path(operation.name, operation.other))
        self.reference.give(operation.name, operation.other)
        return True

    def _offer(self, operation: Operation) -> bool:
        """Write to a purpose's directory: a file of another purpose is replaced, also for its readers (W12).

        Its writers keep it, with the size of the new one by fstat, so that it is left out while there are any.
        """
        file = self.reference.names.get(operation.name)
        if (file is not None and (not file.purpose or file.writers)) or not operation.size:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._ask(operation, "put", self._path(operation.name, operation.other), flags, *self._in(operation))
        file = self.reference.written(operation.name, purpose=operation.other)
        file.change(operation.data, operation.other)
        file.close()
        return True

    def _get(self, operation: Operation) -> None:
        file = self.reference.names.get(operation.name)
        expected = errno.ENOENT if file is None else 0
        found = self._ask(operation, "get", self._path(operation.name), expected=expected)
        if file is not None:
            self._compare(operation.name, found, file.readable)

    def _text(self, operation: Operation) -> bool:
        file = self.reference.names.get(operation.name)
        if file is None or file.writers or not file.data or file.purpose != wire.FILE_EXTRACT:
            return False
        _, body = self._ask(operation, "get", self._path(f"{operation.name}.content"))
        text = json.loads(body.encode("latin-1"))["content"].encode()
        if text != file.data:
            raise Wrong(f"the text of {operation.name} is {short(text)} and not {short(file.data)}")
        return True

    def _list(self, operation: Operation) -> None:
        found = {name for name in self._ask(operation, "list", self._path("")) if not name.endswith(".content")}
        if found != set(self.reference.names):
            raise Wrong(f"listed are {sorted(found)} and not {sorted(self.reference.names)}")

    def _open(self, operation: Operation) -> bool:
        if operation.name not in self.reference.names or operation.slot not in self.reference.free(operation.process):
            return False
        flags = {"r": os.O_RDONLY, "a": os.O_RDWR | os.O_APPEND, "w": os.O_RDWR}[operation.mode]
        self._ask(operation, "open", operation.slot, self._path(operation.name), flags)
        self.reference.open(operation.process, operation.slot, operation.name, operation.mode)
        return True

    def _close(self, operation: Operation) -> bool:
        if (operation.process, operation.slot) not in self.reference.slots:
            return False
        self._ask(operation, "close", operation.slot)
        self.reference.close(operation.process, operation.slot)
        return True

    def _dup(self, operation: Operation) -> bool:
        if self._held(operation) is None or operation.to not in self.reference.free(operation.process):
            return False
        self._ask(operation, "dup", operation.slot, operation.to)
        self.reference.dup(operation.process, operation.slot, operation.to)
        return True

    def _write(self, operation: Operation) -> bool:
        """Append through an open file."""
        file = self._held(operation, "a")
        if file is None:
            return False
        self._ask(operation, "write", operation.slot, operation.data.decode())
        self._write_to(file, operation, file.data + operation.data)
        return True

    def _pwrite(self, operation: Operation) -> bool:
        file = self._held(operation, "w")
        if file is None or not operation.size:
            return False
        offset = operation.within(len(file.data) + 30)
        self._ask(operation, "pwrite", operation.slot, operation.data.decode(), offset)
        self._write_to(file, operation, _patched(file.data, operation.data, offset))
        return True

    def _map(self, operation: Operation) -> bool:
        """Write through a shared mapping of a file that is long enough."""
        file = self._held(operation, "w")
        if (
            file is None
            or file not in self.reference.names.values()
            or not operation.size
            or len(file.data) < operation.size
        ):
            return False  # a file without a name has no size by fstat yet, which Python's mmap asks for
        offset = operation.within(len(file.data) - operation.size)
        if self._ask(operation, "map", operation.slot, operation.data.decode(), offset) is False:
            return False
        self._write_to(file, operation, _patched(file.data, operation.data, offset))
        return True

    def _read(self, operation: Operation) -> bool:
        opened = self.reference.slots.get((operation.process, operation.slot))
        if opened is None or self.reference.is_aside(opened):
            return False
        size, text = self._ask(operation, "read", operation.slot)
        found = (len(text) if size is None else size, text)
        self._compare(f"slot {operation.slot} of {operation.process}", found, opened.readable)
        return True

    def _cut(self, operation: Operation) -> bool:
        file = self._held(operation, "aw")
        if file is None:
            return False
        length = operation.within(len(file.data) + 30)
        self._ask(operation, "cut", operation.slot, length)
        self._write_to(file, operation, _cut(file.data, length))
        return True

    def _sync(self, operation: Operation) -> bool:
        file = self._held(operation, "aw")
        if file is None:
            return False
        self._ask(operation, "sync", operation.slot)
        file.close()
        return True

    def _die(self, operation: Operation) -> None:
        """Kill a process: the kernel closes what it has open."""
        self._hands[operation.process].kill()
        self._hands[operation.process] = Hand()
        for slot in self.reference.held(operation.process):
            self.reference.close(operation.process, slot)

    def _remount(self, operation: Operation) -> None:
        for process, slot in [*self.reference.slots]:
            self._hands[process].ask("close", slot)
            self.reference.close(process, slot)
        self._drive.remount(*self._options)
        self._settle(operation)

    def _settle(self, operation: Operation) -> None:
        """Wait until nothing is pending, and compare everything with drive and service."""
        reference = self.reference
        if operation.number % 2:
            for process, slot in [*reference.slots]:
                self._hands[process].ask("close", slot)
                reference.close(process, slot)
        being_written = {name for name, file in reference.names.items() if file.writers}
        uploads: dict[str, Any] = {}

        def at_rest() -> bool:
            nonlocal uploads
            uploads = json.loads(self._ask(operation, "get", self._path(".moonfs/status.json"))[1])["uploads"]
            return set(uploads["pending"]) <= being_written and not uploads["deletions"] and not uploads["active"]

        try:
            wait_until(at_rest, "nothing is pending", PATIENCE)
        except AssertionError:
            raise Wrong(f"something stays pending: {uploads}") from None
        if uploads["failed"]:
            raise Wrong(f"failed: {uploads['failed']}")
        self._check_service()
        reference.settle()
        self._list(operation)
        for name, file in sorted(reference.names.items()):
            self._compare(name, self._ask(operation, "get", self._path(name)), file.readable)

    def _check_service(self) -> None:
        """Compare what the service has, and what is shown of it by id."""
        with self.server.lock:
            files = [*self.server.files.values()]
        must, may = self.reference.stored(), self.reference.may_be_stored()
        often = Counter(file.filename for file in files)
        if twice := [name for name in must if often[name] > 1]:
            raise Wrong(f"the service has more than one of {twice}")
        stored = {file.filename: file.data for file in files}
        for name in sorted({*stored, *must} - (may - must.keys())):
            if stored.get(name) != must.get(name):
                raise Wrong(f"{name} is {short(stored.get(name))} on the service and not {short(must.get(name))}")
        for file in files:
            if file.filename not in must:
                continue
            purpose = self.reference.names[file.filename].purpose
            if purpose and file.purpose != purpose:
                raise Wrong(f"{file.filename} is of the purpose {file.purpose} and not {purpose}")
            _, data = self._hands[0].ask("get", self._path(f".moonfs/by-id/{file.id}"))
            if data.encode("latin-1") != file.data:
                raise Wrong(f"{file.filename} by its id is {short(data.encode('latin-1'))} and not {short(file.data)}")

    # How it is done.

    def _path(self, name: str, purpose: str = "") -> str:
        return f"{self._drive.point}/.moonfs/purpose/{purpose}/{name}" if purpose else f"{self._drive.point}/{name}"

    @staticmethod
    def _in(operation: Operation) -> tuple[str, int, int]:
        return operation.data.decode(), 0, operation.number % 3 == 0

    def _held(self, operation: Operation, modes: str = "raw") -> File | None:
        opened = self.reference.slots.get((operation.process, operation.slot))
        return None if opened is None or opened.mode not in modes else opened.file

    def _ask(self, operation: Operation, *call: Any, expected: int = 0) -> Any:
        """Have a call made; return its value, or the errno that was expected. Raises Wrong for another outcome."""
        try:
            value = self._hands[operation.process].ask(*call)
        except TimeoutError:
            raise
        except OSError as error:
            if error.errno != expected:
                said = f"{call[0]} says {errno.errorcode[error.errno or 0]}"
                raise Wrong(f"{said} and not {errno.errorcode[expected]}" if expected else said) from error
            return expected
        if expected:
            raise Wrong(f"{call[0]} works and does not say {errno.errorcode[expected]}")
        return value

    def _write_to(self, file: File, operation: Operation, data: bytes) -> None:
        named = next((name for name, other in self.reference.names.items() if other is file), "a.txt")
        file.change(data, self.reference.purpose_of(named))

    def _write_closed(self, file: File, operation: Operation, data: bytes) -> None:
        self._write_to(file, operation, data)
        file.close()

    def _check_size(self, operation: Operation) -> None:
        """Have another process look at what was changed."""
        other = dataclasses.replace(operation, process=(operation.process + 1) % PROCESSES)
        held = self._held(operation)
        names = {operation.name, operation.other} & {*NAMES}
        names |= {name for name, file in self.reference.names.items() if file is held}
        for name in sorted(names):
            file = self.reference.names.get(name)
            found = self._ask(other, "stat", self._path(name), expected=errno.ENOENT if file is None else 0)
            if file is None:
                continue
            size, mtime = found
            if size != len(file.data):
                raise Wrong(f"{name} has {size} bytes by stat and not {len(file.data)}")
            if file.mtime is not None and mtime != file.mtime:
                raise Wrong(f"{name} has the time {mtime} and not {file.mtime}")

    @staticmethod
    def _compare(what: str, found: tuple[int, str], readable: set[bytes]) -> None:
        size, text = found
        data = text.encode("latin-1")
        if data not in readable:
            raise Wrong(f"{what} reads as {short(data)} and not {' or '.join(sorted(map(short, readable)))}")
        if size != len(data):
            raise Wrong(f"{what} has {size} bytes by fstat and reads as {len(data)}")


def short(data: bytes | None) -> str:
    """Return bytes as they are best told apart."""
    if data is None:
        return "gone"
    return f"{data[:24]!r}…{data[-24:]!r} ({len(data)} bytes)" if len(data) > 48 else f"{data!r}"


def _patched(data: bytes, new: bytes, offset: int) -> bytes:
    return data[:offset].ljust(offset, b"\0") + new + data[offset + len(new) :]


def _cut(data: bytes, length: int) -> bytes:
    return data[:length].ljust(length, b"\0")
