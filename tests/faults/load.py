"""A writer that works on a mounted drive through the kernel, and remembers what it was told.

Everything is plain system calls. What has succeeded, `close` included, is acknowledged: after a kill it must be there.
What was under way may have happened or not, as a whole. An empty file is acknowledged by `fsync`; its `close` promises
nothing. Writers have names of their own, so that any number of
them may work on one drive, each with its own account of it.

**Threading:** a writer belongs to one thread at a time. Its calls give the interpreter's lock away while they wait.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from moonfs import names
from tests.faults.kinds import unnumbered

World = dict[str, bytes]
#: What a system call says on a drive whose daemon is dead, or dies: the last one when it is just taking the request.
DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
#: Bytes; versions of one size are those that are easily taken for one another (W3).
SIZES = (20, 20, 20, 4000, 80_000)
#: What a call says that has failed for the service's sake, on a drive that lives.
TROUBLE = (errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EHOSTUNREACH)
#: What a writer does, and how often by comparison.
KINDS = {
    "write": 6,
    "save": 3,
    "save_by_lock": 2,
    "back_up": 3,
    "restore": 2,
    "append": 2,
    "edit": 2,
    "cut": 1,
    "rename": 4,
    "give": 2,
    "offer": 2,
    "unlink": 3,
    "look": 1,
}
#: The purpose of what is written in the root (W11).
FILE_EXTRACT = "file-extract"
#: What is behind a file's name while a new version of it is written, and behind that of a version before (N6).
LOCK = ".lock"
BACKUPS = ("~", ".bak", ".1", "_original")
#: Where files are given purposes (N5); both of these have texts.
PURPOSES = (".moonfs/purpose/batch", ".moonfs/purpose/file-extract")
#: How what was refused is counted besides, as it had to be: of files that are not there, or only elsewhere.
IN_VAIN = "in vain"
#: How what the service has kept from being done is counted.
IN_TROUBLE = "in trouble"
#: Bytes of one write(2).
PIECE = 32_768


class Promises:
    """What the names of one writer hold: now, and after a kill.

    Attributes:
        now: what a drive that lives must show.
        purposes: what files are to be on the service, where that is certain (N5, W11).
        open: names of which a call has failed with the outcome open: old bytes or new ones (W3), now or later.
        elsewhere: names whose bytes only the service has: they cannot be read, appended to or renamed (R5, W5, W9).
    """

    def __init__(self) -> None:
        self.now: World = {}
        self.purposes: dict[str, str] = {}
        self.elsewhere: set[str] = set()
        self.open: set[str] = set()
        self._values: dict[str, set[bytes | None]] = {}
        self._under_way: dict[str, bytes | None] = {}
        self._over: bytes | None = None

    def begin(self, change: Mapping[str, bytes | None], over: bytes | None = None) -> None:
        """Allow `change` to happen from now on, as a whole; None stands for no file.

        With `over` it is one file, written piece by piece over these bytes, and any piece may last.
        """
        self._under_way, self._over = dict(change), over

    def end(self, *, durable: bool = True, purpose: str = "") -> None:
        """Say that what was begun has happened, whether that was promised to last, and for what if that is known."""
        for name, data in self._under_way.items():
            self.purposes.pop(name, None)
            if data and durable and purpose:
                self.purposes[name] = purpose
            old = {self.now.get(name)}
            self._values[name] = {data} if durable else self._values.get(name, old) | {data}
            if data is None:
                self.now.pop(name, None)
            else:
                self.now[name] = data
            self.elsewhere.discard(name)
            self.open.discard(name)
        self.cancel()

    def doubt(self) -> None:
        """Say that what was begun has failed, and may have happened all the same, or yet happen."""
        for name, data in self._under_way.items():
            self._values[name] = self._values.get(name, {self.now.get(name)}) | {data}
        self.open |= self._under_way.keys()
        self.cancel()

    def keep(self) -> None:
        """Say that what was begun, and goes on, lasts by now."""
        self._values |= {name: {data} for name, data in self._under_way.items()}
        self._over = None

    def cancel(self) -> None:
        """Say that what was begun has been refused."""
        self._under_way, self._over = {}, None

    def check(self, shown: World) -> str:
        """Return what is wrong with what a drive shows after a kill; empty when it keeps the promises."""
        values: dict[str, set[bytes | None]] = {name: {data} for name, data in self._under_way.items()}
        for name, data in self._under_way.items():
            if data is not None and self._over is not None and _is_mixed(found := shown.get(name), data, self._over):
                values[name].add(found)
        return self._wrong(shown, self._values) and self._wrong(shown, self._values | values)

    def settle(self, shown: World, elsewhere: set[str]) -> None:
        """Go on from what a drive shows: from here on nothing else is possible."""
        self.purposes = {name: each for name, each in self.purposes.items() if name not in self._under_way}
        self.cancel()
        self.now, self.elsewhere = dict(shown), set(elsewhere)
        still_open = {name: self._values[name] | {shown.get(name)} for name in self.open}
        self._values = {name: {data} for name, data in shown.items()} | still_open

    @staticmethod
    def _wrong(shown: World, values: Mapping[str, set[bytes | None]]) -> str:
        return "; ".join(
            f"{'lost' if None not in values.get(name, {None}) else 'resurrected'}: {name} is {short(shown.get(name))} "
            f"and not {' or '.join(sorted(map(short, values.get(name, {None}))))}"
            for name in sorted({*shown, *values})
            if shown.get(name) not in values.get(name, {None})
        )


class Writer:
    """One writer on the drive at `point`, with names that begin with `letter`.

    Attributes:
        done: how often it has done what.
        trace: the last things that it did, and what became of them.
        troubled: calls may fail for the service's sake.
        cut_off: a drive that ends keeps what has come by then of an edit, as when its writer is killed (L2).
    """

    troubled = False
    cut_off = False

    def __init__(self, point: Path, letter: str, chance: random.Random) -> None:
        self.letter = letter
        self.promises = Promises()
        self.done: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=40)
        self._point = point
        self._chance = chance
        self._files = [f"{letter}{number}.txt" for number in range(4)]
        self._names = [*self._files, *map(_temporary, self._files)]
        self._versions = 0

    def work(self, most: int) -> bool:
        """Do up to `most` random things; say whether the drive has died meanwhile."""
        try:
            for kind in self._chance.choices([*KINDS], [*KINDS.values()], k=most):
                self._clear()
                self.trace.append(kind)
                if self._does(kind):
                    self.done[kind] += 1
        except OSError as error:
            if is_dead(error, self._point):
                return True
            raise
        return False

    def _does(self, kind: str, *names: str) -> bool:
        """Do one thing; False where the service has kept it from being done."""
        try:
            getattr(self, f"_{kind}")(*names)
        except OSError as error:
            if not self.troubled or error.errno not in TROUBLE or is_dead(error, self._point):
                raise
            self.trace.append(f"in trouble: {error}")
            self.promises.doubt()
            self.done[IN_TROUBLE] += 1
            return False
        return True

    def _clear(self) -> None:
        """Delete what is open, as whoever has met an error does: nothing of it may come back.

        A name that is not there is used anew: what failed may arrive until then (W3).
        """
        while self.promises.open:
            name = min(self.promises.open)
            self.trace.append(f"clear {name}")
            self.promises.begin({name: None})
            try:
                os.unlink(self._point / name)
            except FileNotFoundError:
                self._does("use", name)
            except OSError as error:
                if error.errno not in TROUBLE or is_dead(error, self._point):
                    raise
                self.promises.doubt()
                time.sleep(0.01)
            else:
                self.promises.end()

    def wrong_purposes(self, stored: Mapping[str, str]) -> list[str]:
        """Return the names that the service has for something else than is certain."""
        certain = self.promises.purposes
        return [name for name in certain if not _is_temporary(name) and stored.get(name) != certain[name]]

    def tidy(self) -> None:
        """Delete what stays on this machine."""
        self._clear()
        for name in [name for name, data in self.promises.now.items() if _stays_here(name, data)]:
            self._unlink(name)

    def check(self, shown: World, elsewhere: set[str]) -> str:
        """Take in what the drive shows after a remount; return what is wrong with it."""
        mine = {name: data for name, data in shown.items() if name.startswith(self.letter)}
        wrong = self.promises.check(mine)
        self.promises.settle(mine, {name for name in elsewhere if name.startswith(self.letter)})
        return wrong

    # What it does. Each call that succeeds is a promise of the drive.

    def _write(self) -> None:
        name = self._chance.choice([*self._files, *self._names])
        kind = self._chance.random()
        now = self.promises.now.get(name, b"")
        self._replace(name, b"" if kind < 0.1 else now if kind < 0.2 else self._fresh())

    def _save(self) -> None:
        """As editors do: a temporary file, then its name."""
        name = self._chance.choice(self._files)
        self._replace(_temporary(name), self._fresh())
        self._move(_temporary(name), name)

    def _save_by_lock(self) -> None:
        """As `git config` does: a name that was never there before, which passes."""
        name = self._chance.choice(self._files)
        if f"{name}{LOCK}" in self.promises.now:
            self._unlink(f"{name}{LOCK}")
        self._replace(f"{name}{LOCK}", self._fresh())
        self._move(f"{name}{LOCK}", name)

    def _back_up(self) -> None:
        """As `sed -i.bak` and others do: the version before gets another name, then there is a new one, or not yet."""
        name = self._chance.choice(self._files)
        kept = f"{name}{self._chance.choice(BACKUPS)}"
        way = self._chance.randrange(4)
        if way == 1:
            self._replace(_temporary(name), self._fresh())
        if name in self.promises.now:
            self._move(name, kept)
        if way == 0:
            self._replace(name, self._fresh())
        elif way == 1:
            self._move(_temporary(name), name)
        if way < 2 and self._chance.random() < 0.5 and kept in self.promises.now:
            self._unlink(kept)

    def _restore(self) -> None:
        """Give a version before its name back."""
        kept = [name for name in sorted(self.promises.now) if name.endswith(BACKUPS)]
        if kept:
            name = self._chance.choice(kept)
            self._move(name, name[: -len(next(end for end in BACKUPS if name.endswith(end)))])

    def _append(self) -> None:
        name = self._any()
        data = self.promises.now.get(name, b"")
        tail = self._fresh()
        with (
            self._changing({name: data + tail}, data, purpose=FILE_EXTRACT),
            self._opened(name, os.O_WRONLY | os.O_APPEND) as fd,
        ):
            self._put(fd, tail)
            self._sync(fd)

    def _edit(self) -> None:
        """Write over what is there, in place, and have it synced before it is closed."""
        name = self._any()
        now, data = self.promises.now.get(name, b""), self._fresh()
        with self._changing({name: data}, now, purpose=FILE_EXTRACT), self._opened(name, os.O_RDWR) as fd:
            old = b""
            while part := os.pread(fd, 10**6, len(old)):
                old += part
            assert old == now, f"{name} reads as {short(old)} and not {short(now)}"
            self._put(fd, data)
            os.ftruncate(fd, len(data))
            self._sync(fd, always=True)

    def _cut(self) -> None:
        name = self._any()
        now = self.promises.now.get(name, b"")
        if len(now) > 1:
            data = now[: self._chance.randrange(1, min(len(now), 30))]
            with self._changing({name: data}):
                os.truncate(self._point / name, len(data))

    def _rename(self) -> None:
        old = self._any()
        self._move(old, self._chance.choice([name for name in self._names if name != old]))

    def _give(self) -> None:
        """Move a file to a purpose's directory, where it may be already."""
        name = self._any()
        if name not in self.promises.elsewhere:
            directory = self._chance.choice(PURPOSES)
            with self._changing({name: self.promises.now.get(name)}, purpose=os.path.basename(directory)):
                os.replace(self._point / name, self._point / directory / name)

    def _offer(self) -> None:
        """Write to a purpose's directory, where the name may be free though the root has it."""
        self._replace(self._chance.choice(self._names), self._fresh(), self._chance.choice(PURPOSES))

    def _use(self, name: str) -> None:
        self._replace(name, self._fresh())

    def _unlink(self, name: str = "") -> None:
        name = name or self._any()
        with self._changing({name: None}, needs_bytes=False):
            os.unlink(self._point / name)

    def _look(self) -> None:
        shown, _ = look(self._point, self.letter)
        assert shown == self.promises.now, f"shown {short_of(shown)}, done {short_of(self.promises.now)}"

    # How it does it.

    def _replace(self, name: str, data: bytes, directory: str = "") -> None:
        # The same bytes upload nothing in the root, so that they may have any purpose (W4).
        purpose = os.path.basename(directory) or ("" if data == self.promises.now.get(name) else FILE_EXTRACT)
        changing = self._changing({name: data}, b"", needs_bytes=False, makes=True, purpose=purpose)
        with changing, self._opened(f"{directory or '.'}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            self._put(fd, data)
            self._sync(fd)

    def _move(self, old: str, new: str) -> None:
        purpose = self.promises.purposes.get(old, "")
        with self._changing({old: None, new: self.promises.now.get(old)}, purpose=purpose):
            os.replace(self._point / old, self._point / new)

    @contextlib.contextmanager
    def _changing(
        self,
        change: Mapping[str, bytes | None],
        over: bytes | None = None,
        *,
        needs_bytes: bool = True,
        makes: bool = False,
        purpose: str = "",
    ) -> Iterator[None]:
        """Take notes of a change of a file, and of files that are not there or cannot be read."""
        promises = self.promises
        name = next(iter(change))
        expected = 0
        if name not in promises.now and not makes:
            expected = errno.ENOENT
        elif name in promises.elsewhere and needs_bytes:
            expected = errno.ENOTSUP if len(change) > 1 else errno.EACCES
        # A file that stays here is written in place, as on any disk; every other one changes as a whole.
        in_place = name in promises.now and _stays_here(name, promises.now[name])
        promises.begin(change, over if in_place or (self.cut_off and over) else None)
        self.trace.append(str(short_of(change)))
        try:
            yield
        except OSError as error:
            self.trace.append(str(error))
            if error.errno in DEAD or error.errno != expected:
                raise
            promises.cancel()
            self.done[IN_VAIN] += 1
            return
        assert not expected, f"{name} should have said {errno.errorcode[expected]}"
        # An empty file is promised by fsync (`_sync`), by its new name, or by nothing.
        data = list(change.values())[-1]
        self.trace.append("done")
        promises.end(durable=len(change) > 1 or data is None or bool(data), purpose=purpose)

    @contextlib.contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        fd = os.open(self._point / name, flags | os.O_CLOEXEC, 0o644)
        try:
            yield fd
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(fd)
            raise
        os.close(fd)

    def _put(self, fd: int, data: bytes) -> None:
        """Write in pieces, as most programs do. The one in which the drive dies may be cut short."""
        done = 0
        while done < len(data):
            done += os.write(fd, data[done : done + PIECE])

    def _sync(self, fd: int, *, always: bool = False) -> None:
        if always or self._chance.random() < 0.4:
            os.fsync(fd)
            self.promises.keep()
            self.trace.append("synced")

    def _any(self) -> str:
        """Return the name of a file; seldom one that is not there."""
        there = sorted(self.promises.now.keys() & {*self._names})
        return self._chance.choice(there if there and self._chance.random() < 0.95 else self._names)

    def _fresh(self) -> bytes:
        """Return bytes that were never written before."""
        self._versions += 1
        token = f"{self.letter} {self._versions:06d} {self._chance.randrange(10**10):010d}.".encode()
        return token * (self._chance.choice(SIZES) // len(token))


def is_dead(error: OSError, point: Path) -> bool:
    """Say whether a system call failed because the drive's daemon is dead."""
    if error.errno not in DEAD:
        return False
    try:
        os.stat(point)
    except OSError as again:
        return again.errno in DEAD
    return False


def look(point: Path, letter: str = "") -> tuple[World, set[str]]:
    """Return what every file holds whose name begins with `letter`, and of which only the service has the bytes.

    Of those the text is taken, which is the same. Copies with a number after their name are left out: they go, or stay
    with a line in status, which the account is asked about.
    """
    shown, elsewhere = {}, set()
    for name in os.listdir(point):
        if name.endswith(names.SIDECAR) or not name.startswith(letter) or unnumbered(name) != name:
            continue
        try:
            try:
                shown[name] = (point / name).read_bytes()
            except PermissionError:
                elsewhere.add(name)
                shown[name] = original((point / f"{name}{names.SIDECAR}").read_bytes())
            size = (point / name).stat().st_size
        except FileNotFoundError:
            if name in os.listdir(point):
                raise
            # A second copy, say, that was found out meanwhile.
            shown.pop(name, None)
            elsewhere.discard(name)
            continue
        assert size == len(shown[name]), f"{name} has {size} bytes and reads as {short(shown[name])}"
    return shown, elsewhere


def original(content: bytes) -> bytes:
    """Return the bytes of a plain text by the body of its `/content`: of a file for `batch` they are that body."""
    return str(json.loads(content)["content"]).encode() if content.startswith(b"{") else content


def short(data: bytes | None) -> str:
    """Return bytes as they are best told apart."""
    return "gone" if data is None else f"{data[:20].decode()!r} ({len(data)} bytes)"


def short_of(world: Mapping[str, bytes | None]) -> dict[str, str]:
    """Return a world for a message."""
    return {name: short(data) for name, data in sorted(world.items())}


def _temporary(name: str) -> str:
    return f"{name}.tmp"


def _is_mixed(found: bytes | None, new: bytes, old: bytes) -> bool:
    """Say whether `found` is `old` with the beginning of `new` written over it."""
    if found is None:
        return False
    same = next((place for place, (one, other) in enumerate(zip(found, new, strict=False)) if one != other), None)
    same = min(len(found), len(new)) if same is None else same
    return found[same:] == old[same:]


def _stays_here(name: str, data: bytes) -> bool:
    """Say whether a file stays on this machine (W6, N6)."""
    return not data or _is_temporary(name)


def _is_temporary(name: str) -> bool:
    """Say whether a name is one that stays on this machine, for some minutes at least (N6)."""
    return names.is_temporary(name) or names.may_pass(name)
