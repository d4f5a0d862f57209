"""Lives of one drive: daemons that are started, loaded and killed, over and over, and what must hold between them.

A `Trial` is one drive and its writers through many lives. Each next daemon must show at once what was acknowledged, and
every few lives the drive is drained and the account compared. What was under way at a kill may have happened or not;
nothing else may differ. On the service each file is there once, under its exact name; what else has that name, or it
with a number, is a copy that nothing proves, and status names it. What it is not: the daemon's side (`crash`), or the
load (`load`, `storms`).

**Threading:** a trial runs one life at a time. The writers, and whatever else touches the mount, run in threads of a
pool, so that a drive that hangs is killed, and the trial fails.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import httpx

from moonfs import config, daemons, ending
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.journal import CANCELLED, Journal
from moonfs.mount import Request
from moonfs.server.address import read_address, read_key
from moonfs.settings import Settings
from tests.faults import crash
from tests.faults.crash import Fate, Notes
from tests.faults.kinds import YESTERDAY, Kind, unnumbered
from tests.faults.load import IN_VAIN, KINDS, Writer, is_dead, look, original
from tests.faults.server import FaultServer
from tests.harness.account import Account
from tests.harness.drive import ROOT, Drive, hosted, wait_until

T = TypeVar("T")

#: Lives between two looks at the account.
LIVES = 8
#: In so many lives everything is done at least once.
MANY = 40
#: Seconds after which a life counts as hanging.
PATIENCE = 30.0
#: A clean process without threads, from which each daemon is forked in a moment.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.crash"])


@contextlib.contextmanager
def local_server(data: Path, kind: Kind = YESTERDAY) -> Iterator[Account]:
    """A real local server on `data`, of some kind, by its account."""
    command = [sys.executable, "-m", "tests.faults.quiet", str(data), json.dumps(kind.switches)]
    process = subprocess.Popen(command, cwd=ROOT)

    def base_url() -> str | None:
        assert process.poll() is None, "the server did not start"
        address = read_address(data)
        return None if address is None else address.base_url

    try:
        with Account(wait_until(base_url, "the server is up"), read_key(data), kind=kind) as found:
            yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


class Mortal(Drive):
    """A drive that lives in daemons forked from a process that has everything loaded."""

    def __init__(
        self,
        home: Path,
        account: Account,
        *,
        write_back: bool,
        cuts: bool = False,
        patience: float = 20,
        storm: FaultServer | None = None,
    ) -> None:
        """`patience` is in seconds, for a request; `storm` is the service, where it is one that fails and not the local
        server of `account`."""
        super().__init__(home, *hosted(account.base_url, account.key, account.kind))
        self._account = account
        self._storm = storm
        self._cuts = cuts
        seconds = patience if storm is None else 4
        directories = Directories.from_environment(self.environ)
        self._request = Request(
            point=str(self.point),
            local=None,
            settings=Settings(
                write_back=write_back, timeout=seconds, upload_timeout=seconds, drain=20, **account.kind.settings
            ),
            directories=directories,
            hosted=config.hosted_account(account.base_url, account.key),
        )
        assert self._request.hosted is not None
        identity = self._request.hosted.identity
        self._state = directories.state / "accounts" / identity
        self._originals = directories.cache / "accounts" / identity / "originals"
        if account.kind.numbers:
            # They have met: what a kill before the first numbered name is heard leaves, nobody can tell (W4).
            self._state.mkdir(parents=True)
            with contextlib.closing(Journal(self._state / "journal.db")) as journal:
                journal.learn("numbers", holds=True)
        self.notes = Notes(self.home / "notes")
        self.notes.home.mkdir()
        self._pool = ThreadPoolExecutor(8)
        self._ready: Connection | None = None
        self._process = FORKS.Process()
        self._pidfd = -1

    def start(self, fate: Fate | None = None, clock: Sequence[float] = ()) -> bool:
        """Start a daemon, with a `clock` as in `crash.live`; say whether it lived until it was ready."""
        self._ready, writing = FORKS.Pipe(duplex=False)
        with writing:
            self._process = FORKS.Process(
                target=crash.live,
                args=(self._request, writing, self.notes, fate),
                kwargs={"cuts": self._cuts, "hasty": self._storm is not None, "clock": clock},
            )
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it is dead already, and whoever forked it has taken note
            self._pidfd = os.open(os.devnull, os.O_RDONLY)  # can be read at once, as that of a dead process
        assert select.select([self._ready], [], [], PATIENCE)[0], f"not ready: {self.said()}"
        return b"Mounted on" in os.read(self._ready.fileno(), 4096)

    def strike(self) -> None:
        """Kill the daemon, if it has not done so itself."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def leave(self) -> None:
        """Have the daemon end whoever uses the drive."""
        daemon = daemons.of(self._state)
        assert daemon is not None and daemon.end(detach=False) is not None, self.said()

    def dies(self, seconds: float = PATIENCE) -> bool:
        """Say whether it is dead within so many seconds."""
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def apart(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Have something done that touches the mount."""
        return self._pool.submit(work, *args)

    def outcome(self, future: Future[T]) -> T:
        """Return what came of it; if nothing comes, kill the daemon."""
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            self.strike()
            raise AssertionError(f"the drive hangs: {self.said()}") from None

    def bury(self, killed: bool = True) -> None:
        """Take in that the daemon is dead, clear its mount, and wait for the requests that it leaves."""
        assert self._ready is not None
        self._process.join(PATIENCE)
        assert self._process.exitcode == (-signal.SIGKILL if killed else 0), self.said()
        self._process.close()
        self._ready.close()
        os.close(self._pidfd)
        self.pid, self._pidfd = 0, -1
        wait_until(lambda: not self._is_being_mounted(), "the fusermount that it has started ends")
        self._clear()
        if self._storm is None:
            # By a new connection, which is taken after those that the daemon has left; without a trust store, 20 ms.
            quiet = self._account.base_url.removesuffix("/v1") + "/quiet"
            httpx.get(quiet, timeout=PATIENCE, verify=False).raise_for_status()
        else:
            wait_until(lambda: not self._storm.busy, "the service has nothing under way", PATIENCE)

    def _is_being_mounted(self) -> bool:
        """Say whether a fusermount, through which all but root mount, is at work; it outlives the daemon."""
        for path in Path("/proc").glob("[0-9]*/cmdline") if os.geteuid() != 0 else ():
            with contextlib.suppress(OSError):
                program, *words = path.read_bytes().split(b"\0")
                if b"fusermount" in program and os.fsencode(self.point) in words:
                    return True
        return False

    def cut_power(self, chance: random.Random) -> None:
        """Take away from the dead daemon's disk what it had not synced."""
        crash.power_cut(self._state, self._originals, self.notes, chance)

    def umount(self) -> None:
        """Drain and unmount as `moonfs umount` does."""
        self.outcome(self.apart(self._unmount))
        self.bury(killed=False)

    def _unmount(self) -> None:
        try:
            ending.unmount(ending.find(str(self.point), self._request.directories.state), timeout=PATIENCE)
        except UsageError as error:
            assert "unmounted here" in str(error)  # a mount namespace of a test beside this one took a copy along

    def passed(self) -> list[str]:
        """Return the steps that the daemon went through; once."""
        lines = self.notes.passed.read_text().splitlines() if self.notes.passed.exists() else []
        self.notes.passed.unlink(missing_ok=True)
        return lines

    def rows(self) -> int:
        """Return how many rows the journal has on disk of what is left to do while a daemon runs."""
        with contextlib.closing(sqlite3.connect(f"file:{self._state}/journal.db?mode=ro", uri=True)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            stay = ("facts", "copies", "misnamed")  # what was learned of the service, and what status names
            return sum(
                db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables if table not in stay
            )

    def leftovers(self) -> tuple[list[str], list[str], list[str]]:
        """Return what is left without a daemon: the journal's states and deletions, and the files of the spool."""
        with contextlib.closing(Journal(self._state / "journal.db")) as journal:
            states = [intent.state for intent in journal.intents()]
            return states, journal.deletions(), os.listdir(self._state / "spool")

    def said(self) -> str:
        """Return the last that the daemons have said."""
        return self.notes.log.read_text()[-40000:]

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self._pidfd >= 0:
            self.strike()
            self.dies()
            os.close(self._pidfd)
        self.pid = 0
        super().end()
        self._pool.shutdown()


class Steps:
    """The steps at which daemons die: each in its turn, those that the load does not come by only now and then."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._all = crash.steps()
        self._tried: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.died: Counter[str] = Counter()

    def next(self) -> Fate:
        """Return how the next daemon dies."""
        known = [step for step in self._all if self.passed[step] or self._tried[step] < 2]
        step = min(known, key=lambda step: 2 * self.died[step] + self._tried[step])
        self._tried[step] += 1
        if not self.died[step]:
            return Fate(step, last=2000 if self.passed[step] else 200)
        return Fate(step, self._chance.choice((1, 2, 4, 8, 16)), self._chance.randrange(100, 300))

    def take(self, lines: list[str]) -> None:
        """Take in what a daemon went through."""
        for line in lines:
            if line.startswith("died "):
                self.died[line.removeprefix("died ")] += 1
            else:
                self.passed[line] += 1


def check_worth(trials: Sequence[Trial]) -> None:
    """Check that the drives were worth killing: everything was done by all of them, and little of it in vain."""
    life = sum(trial.life for trial in trials)
    certain = sum(trial.certain for trial in trials)
    assert certain > life / LIVES, "of too few files is the purpose certain"
    done = sum((writer.done for trial in trials for writer in trial.writers), Counter())
    never = [kind for kind in KINDS if not done[kind]]
    assert len(never) <= (0 if life >= MANY else 2), f"never done: {never}, but {done}"
    often = sum(trial.often() for trial in trials)
    assert often > 5 * life and done[IN_VAIN] < often / 2, f"little was done in {life} lives: {done}"


class Trial:
    """A drive and its writers through many lives."""

    def __init__(self, drive: Mortal, account: Account, chance: random.Random, writer: type[Writer] = Writer) -> None:
        self.drive = drive
        self.account = account
        self.chance = chance
        self.writers = [writer(drive.point, letter, random.Random(chance.random())) for letter in "ab"]
        self.life = 0
        self.certain = 0
        self.errors = 0

    def trouble(self, percent: int) -> None:
        """Let so many of a hundred requests fail from now on, half of them when they have been carried out."""
        self.errors = percent
        for writer in self.writers:
            writer.troubled = bool(percent)

    def _fail(self, percent: int) -> None:
        if self.errors:
            url = f"{self.account.base_url.removesuffix('/v1')}/errors/{percent}"
            httpx.get(url, timeout=PATIENCE, verify=False).raise_for_status()

    def live(
        self, fate: Fate, moment: float | None = None, *, lazily: bool = False, clock: Sequence[float] = ()
    ) -> None:
        """Have a daemon started, loaded and killed: by itself, or `moment` seconds after it was ready.

        `lazily`: it is told to end, as by `moonfs umount --lazy`. `clock`: as in `crash.live`.
        """
        self.life += 1
        drive = self.drive
        if drive.start(fate, clock) and self.look():
            self._fail(self.errors)
            work = [drive.apart(writer.work, 10_000) for writer in self.writers]
            if moment is not None:
                drive.dies(moment)
                drive.leave() if lazily else drive.strike()
            died = drive.dies()
            drive.strike()
            self._fail(0)
            ends = [self.outcome(future) for future in work]
            assert died and all(ends), self.tell("the drive hangs")
        drive.bury(killed=not lazily)
        if self.life % LIVES == 0:
            self.drain()

    def look(self) -> bool:
        """Compare what the drive shows right after its start with what was promised, unless it dies meanwhile."""
        try:
            shown, elsewhere = self.drive.outcome(self.drive.apart(look, self.drive.point))
        except OSError as error:
            if is_dead(error, self.drive.point):
                return False
            raise AssertionError(self.tell(repr(error))) from error
        for writer in self.writers:
            wrong = writer.check(shown, elsewhere)
            assert not wrong, self.tell(wrong)
        return True

    def drain(self) -> None:
        """Let a daemon live and end in good order, and compare the account with what was promised."""
        drive = self.drive
        assert drive.start() and self.look(), self.tell("the drive died")
        died = [self.outcome(future) for future in [drive.apart(writer.work, 10) for writer in self.writers]]
        assert not any(died), self.tell("the drive died")
        for future in [drive.apart(writer.tidy) for writer in self.writers]:
            self.outcome(future)
        drive.umount()
        states, deletions, _ = drive.leftovers()
        assert set(states) <= {CANCELLED} and not deletions, self.tell(f"not drained: {states}, {deletions}")
        if states:
            # A copy that comes late is looked for until it must have come.
            assert drive.start(), self.tell("the drive died")
            wait_until(lambda: drive.outcome(drive.apart(drive.status)) and not drive.rows(), "nothing is left to do")
            drive.umount()
        left = drive.leftovers()
        assert left == ([], [], []), self.tell(f"left behind: {left}")
        files = self._spared(self.account.files())
        stored = {file["filename"]: self._text(file["id"]) for file in files}
        assert len(stored) == len(files), self.tell(f"doubled: {[file['filename'] for file in files]}")
        for writer in self.writers:
            wrong = writer.promises.check({name: data for name, data in stored.items() if name[0] == writer.letter})
            assert not wrong, self.tell(f"on the service {wrong}")
            wrong_purposes = writer.wrong_purposes({file["filename"]: file["purpose"] for file in files})
            assert not wrong_purposes, self.tell(f"of another purpose: {wrong_purposes}")
            self.certain += len(writer.promises.purposes)

    def _spared(self, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the files without the copies that nothing proves: what status names, and nothing else may be left."""
        often = Counter(file["filename"] for file in files)
        spare = [file for file in files if _is_numbered(file) or often[file["filename"]] > 1]
        if not spare:
            return files
        drive = self.drive
        assert drive.start(), self.tell("the drive died")
        ends, named = time.monotonic() + PATIENCE / 3, set[str]()
        while time.monotonic() < ends and not {file["id"] for file in spare if _is_numbered(file)} <= named:
            named = named_in(drive.outcome(drive.apart(drive.status)))
        drive.umount()
        misnamed = [
            f"{file['filename']} ({file['id']})" for file in spare if _is_numbered(file) and file["id"] not in named
        ]
        assert not misnamed, self.tell(f"misnamed: {misnamed}, and status names none of them")
        return [file for file in files if file["id"] not in named]

    def often(self) -> int:
        """Return how much both writers have done."""
        return sum(writer.done[kind] for writer in self.writers for kind in KINDS)

    def outcome(self, future: Future[T]) -> T:
        """Return what came of a writer's work; what goes wrong there is told with all there is to know."""
        try:
            return self.drive.outcome(future)
        except (AssertionError, OSError) as error:
            raise AssertionError(self.tell(repr(error))) from error

    def tell(self, what: str) -> str:
        """Return what is wrong, and how it came to that."""
        traces = [line for writer in self.writers for line in (f"writer {writer.letter}:", *writer.trace)]
        where = f"life {self.life} on {self.account.kind}: {what}"
        return "\n".join([where, *traces, "the daemons:", self.drive.said()])

    def _text(self, file_id: str) -> bytes:
        return original(self.account.content(file_id))


def named_in(status: dict[str, Any]) -> set[str]:
    """Return the ids of the files that a status names: copies, perhaps, and names that should be others."""
    uploads = status["uploads"]
    return {each["id"] for each in (*uploads["copies"], *uploads.get("misnamed", ()))}


def _is_numbered(file: dict[str, Any]) -> bool:
    return unnumbered(file["filename"]) != file["filename"]
