"""Warm workers by kind: spawned on demand, watched by the wall clock, killed as a group, ended when idle.

A lane hands one job to one worker and never two; a crash, a hang or a kill ends that job alone. It knows
nothing of formats. What a worker says is judged as what a stranger says: its reader may have been taken over. It gets
its document as `document` in its own home, and writes into one file that is open; the text is copied out of that.

**Threading:** everything runs in one event loop; the only waiting is on pipes, processes and timers, and on threads
that copy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

from moonfs.server.extraction.processes import Child
from moonfs.server.extraction.turns import Turns
from moonfs.server.staged import remove

#: What runs in a worker.
WORKER = "moonfs.server.extraction.worker"

_log = logging.getLogger(__name__)

#: Seconds between two lines in the log about how far one document is.
_LOG_SECONDS: Final = 10.0
#: Seconds that a worker may take to load what it needs.
_START_SECONDS: Final = 60.0
#: What a job says of itself to its worker; the paths are not the worker's to know.
_TOLD: Final = ("extension", "reader", "seconds", "cpu", "small")
_VERDICTS: Final = ("text", "no text", "needs ocr", "failed")
#: Characters of a reason.
_REASON: Final = 200
_BLOCK: Final = 1024**2


class WorkerFailed(Exception):
    """A job without a verdict: a crash; the message goes to the client, so it names no path."""


class TookTooLong(WorkerFailed):
    """A job that was ended since it took too long; what it wrote so far is left.

    Args:
        by_cpu: of processor time, so that it will take too long wherever it is read.
    """

    def __init__(self, *, by_cpu: bool = False) -> None:
        super().__init__("it takes too long")
        self.by_cpu = by_cpu


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the workers of one kind may use.

    Attributes:
        workers: how many at once.
        memory_bytes: address space of one.
        seconds: wall clock of one job, once it is taken; a reader is asked to stop at 80 % of it.
        cpu_seconds: CPU of one job, all threads together.
        idle_seconds: after which an idle worker ends, so that its memory returns.
        resident_bytes: a worker that holds more after a job is ended at once.
        nice: how much it yields to others.
        with_ocr: whether it loads the OCR models at its start.
        is_small: whether its readers leave what is large to others.
        python_path: more places to import readers from.
    """

    workers: int
    memory_bytes: int
    seconds: float
    cpu_seconds: int
    idle_seconds: float
    resident_bytes: int
    nice: int = 0
    with_ocr: bool = False
    is_small: bool = False
    python_path: Sequence[str] = field(default=())


@dataclass(slots=True)
class _Job:
    """One job under way: since when (`time.monotonic`), whether its worker has taken it, and how far."""

    lane: str
    since: float
    taken: bool = False
    done: int = 0
    total: int = 0
    logged: float = 0.0

    def report(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        now = time.monotonic()
        if now - max(self.since, self.logged) >= _LOG_SECONDS:
            self.logged = now
            _log.info("%s: %d of %d parts read in %.0f s", self.lane, done, total, now - self.since)


class Lane:
    """The workers of one kind.

    Args:
        name: for the log.
        homes: directory under which each worker gets its own home.
        settings: what they may use.
    """

    def __init__(self, name: str, homes: str, settings: LaneSettings) -> None:
        self._name = name
        self._homes = homes
        self._settings = settings
        self._turns = Turns(settings.workers)
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._jobs: list[_Job] = []
        self._queued = self._done = self._failed = 0
        self._closed = False

    def state(self) -> dict[str, Any]:
        """Return what goes on, for people: counts, and of each job under way its seconds and its progress."""
        now = time.monotonic()
        return {
            "workers": self._settings.workers,
            "alive": len(self._alive),
            "queued": self._queued,
            "done": self._done,
            "failed": self._failed,
            "running": [
                {
                    "state": "reading" if job.taken else "starting",
                    "seconds": round(now - job.since, 1),
                    "done": job.done,
                    "total": job.total,
                }
                for job in self._jobs
            ],
        }

    def is_busy(self) -> bool:
        """Say whether a job that comes now has to wait."""
        return self._turns.is_busy()

    async def run(self, job: dict[str, Any], account: Hashable = None) -> dict[str, Any]:
        """Have a worker read `job["path"]` and return its verdict; text is written to `job["target"]`.

        Args:
            job: what the worker is told.
            account: whose job it is; those of several accounts are taken in turn.

        Raises:
            TookTooLong: there is no verdict; what was read by then is in `job["target"]`.
            WorkerFailed: there is no verdict.
            OSError: the disk refuses.
        """
        job = {**job, "seconds": self._settings.seconds * 0.8, "cpu": self._settings.cpu_seconds}
        job["small"] = self._settings.is_small
        self._queued += 1
        if self._turns.is_busy():
            _log.info("%s: all workers are busy, %d wait", self._name, self._queued)
        try:
            await self._turns.take(account)
        finally:
            self._queued -= 1
        running = _Job(self._name, time.monotonic())
        self._jobs.append(running)
        try:
            verdict = await self._ask(job, running)
            self._done += 1
            return verdict
        except WorkerFailed:
            self._failed += 1
            raise
        finally:
            self._jobs.remove(running)
            self._turns.give_back(account)

    async def _ask(self, asked: dict[str, Any], job: _Job) -> dict[str, Any]:
        while True:
            worker = self._idle.pop() if self._idle else None
            fresh = worker is None
            worker = worker or await self._spawn()
            verdict: dict[str, Any] | None = None
            try:
                # The clock starts anew when the job is taken: what a worker loads is not the document's to pay.
                async with asyncio.timeout(_START_SECONDS + self._settings.seconds) as clock:
                    verdict = await worker.ask(asked, job, lambda: self._start(clock))
            except TimeoutError:
                if not job.taken:
                    raise WorkerFailed("the reader did not start") from None
                await self._rescue(worker, asked["target"])
                raise TookTooLong from None
            except TookTooLong:
                await self._rescue(worker, asked["target"])
                raise
            except _Gone:
                if fresh or self._closed:
                    raise WorkerFailed("the reader did not start") from None
                continue  # an idle worker had died: not this job's fault
            finally:
                await self._put_back(worker, verdict)
            return verdict

    async def _rescue(self, worker: _Worker, target: str) -> None:
        """End a worker, and leave at `target` what it has written so far. Raises OSError."""
        output = worker.written()
        await self._end(worker)
        await asyncio.to_thread(_copy, output, target)

    def _start(self, clock: asyncio.Timeout) -> None:
        clock.reschedule(asyncio.get_running_loop().time() + self._settings.seconds)

    async def close(self) -> None:
        """Kill all workers, whatever they do."""
        self._closed = True
        for worker in tuple(self._alive):
            await self._end(worker)

    async def _spawn(self) -> _Worker:
        if self._closed:
            raise WorkerFailed("the server is shutting down")
        worker = await _Worker.spawn(self._homes, self._settings)
        self._alive.add(worker)
        if self._closed:
            await self._end(worker)
        return worker

    async def _put_back(self, worker: _Worker, verdict: dict[str, Any] | None) -> None:
        is_worn = verdict is None or verdict["worn"] or verdict["resident"] > self._settings.resident_bytes
        if is_worn or self._closed:
            await self._end(worker)
            return
        self._idle.append(worker)
        worker.idle_timer = asyncio.get_running_loop().call_later(self._settings.idle_seconds, self._retire, worker)

    def _retire(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            worker.ending = asyncio.ensure_future(self._end(worker))

    async def _end(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        await asyncio.shield(worker.kill())
        self._alive.discard(worker)


class _Gone(Exception):
    """The worker ended before it took the job."""


class _Worker:
    def __init__(self, child: Child, home: str, output: IO[bytes]) -> None:
        self._child = child
        self._home = home
        self._output = output
        self._document = os.path.join(home, "document")
        self.idle_timer: asyncio.TimerHandle | None = None
        self.ending: asyncio.Future[None] | None = None

    @classmethod
    async def spawn(cls, homes: str, settings: LaneSettings) -> _Worker:
        home = tempfile.mkdtemp(prefix="worker-", dir=homes)
        output = tempfile.TemporaryFile(dir=home, buffering=0)  # noqa: SIM115 - it lives as long as the worker
        try:
            child = await Child.spawn(
                _command(settings, output.fileno()),
                home=home,
                environment=_environment(home, settings),
                keep=(output.fileno(),),
            )
        except BaseException:
            output.close()
            shutil.rmtree(home, ignore_errors=True)
            raise
        return cls(child, home, output)

    async def ask(self, asked: dict[str, Any], job: _Job, start: Callable[[], None]) -> dict[str, Any]:
        """Return the verdict on a job; `start` is called when the worker has taken it."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        try:
            await asyncio.to_thread(_lay, asked["path"], self._document)
        except FileNotFoundError:
            if os.path.exists(self._home):
                raise
            raise _Gone from None  # killed meanwhile, since the server stops
        told = {"path": self._document, **{name: asked[name] for name in _TOLD}}
        if not self._child.tell(json.dumps(told).encode() + b"\n"):
            raise _Gone
        if await self._line() != b"taken\n":
            await asyncio.wait((self._child.exited,), timeout=1.0)  # which tells why
            _log.info("a worker has ended before its job: %s", self._child.words() or "it said nothing")
            raise _Gone
        job.taken = True  # what it loads at its start is loaded
        start()
        while (answer := await self._line()).endswith(b"\n"):
            said = _understood(answer)
            if "verdict" in said:
                remove(self._document)
                if said["verdict"] == "text":
                    await asyncio.to_thread(_copy, self.written(), asked["target"])
                return said
            job.report(said["done"], said["total"])
        code = await self._child.exited
        words = self._child.words()
        _log.warning("a worker ended in mid-job (%s)%s", code, f": {words}" if words else "")
        if code == -signal.SIGXCPU:
            raise TookTooLong(by_cpu=True)
        raise WorkerFailed("the reader broke down")

    def written(self) -> int:
        """Return a descriptor of what it has written, to be closed. Raises _Gone: it was ended."""
        if self._output.closed:
            raise _Gone
        return os.dup(self._output.fileno())

    async def kill(self) -> None:
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        await self._child.end()
        self._output.close()
        shutil.rmtree(self._home, ignore_errors=True)

    async def _line(self) -> bytes:
        try:
            return await self._child.answers.readline()
        except ValueError:  # too long for anything that a worker has to say
            raise WorkerFailed("the reader broke down") from None


def _command(settings: LaneSettings, output: int) -> list[str]:
    command = [sys.executable, "-P", "-m", WORKER]
    command += [f"--memory={settings.memory_bytes}", f"--parent={os.getpid()}", f"--nice={settings.nice}"]
    command += [f"--output={output}", f"--spared={os.path.expanduser('~')}"]
    return [*command, "--ocr"] if settings.with_ocr else command


def _environment(home: str, settings: LaneSettings) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        # A worker's home is not ours, and a library may be installed there.
        "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), *settings.python_path]),
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime from 1.29 on would report to its vendor
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _understood(answer: bytes) -> dict[str, Any]:
    """Return what a worker has said, if it is of the form that they speak in. Raises WorkerFailed."""
    try:
        said = json.loads(answer)
        if "verdict" not in said:
            return {name: max(0, min(int(said[name]), 10**9)) for name in ("done", "total")}
        if said["verdict"] in _VERDICTS:
            reasons = {name: _plain(said[name]) for name in ("why", "detail") if name in said}
            worn = said.get("worn", False) is True
            return {"verdict": str(said["verdict"]), "resident": int(said["resident"]), "worn": worn, **reasons}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    _log.warning("a worker answers what none does")
    raise WorkerFailed("the reader broke down")


def _plain(reason: object) -> str:
    return "".join(each if each.isprintable() else "?" for each in str(reason)[:_REASON])


def _lay(path: str, document: str) -> None:
    """Put a document where its worker may read it: the same file, under a name more. Raises OSError."""
    remove(document)
    try:
        os.link(path, document)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, document)


def _copy(source: int, target: str) -> None:
    """Copy an open file, from its start, to a path where there is none yet, and close it. Raises OSError."""
    with os.fdopen(source, "rb", buffering=0), open(target, "xb", buffering=0, opener=_private) as stream:
        done = 0
        while block := os.pread(source, _BLOCK, done):
            view = memoryview(block)
            while view:
                written = stream.write(view)
                view, done = view[written:], done + written


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
