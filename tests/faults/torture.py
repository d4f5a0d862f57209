"""The command line of `scripts/torture`: everything that may lose a byte, for as long as one likes.

Each part is another module of this directory, and runs in processes of its own, for both modes at once where it has
them. This one shares out the time, counts, and says how what was found can be repeated. What it is not: a part of the
tests, which have a short run of each.

**Threading:** the main thread; parts in other processes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import logging
import multiprocessing
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import kills, machines, matrix, model, walk
from tests.faults.crash import Fate
from tests.faults.kills import longest_life
from tests.faults.kinds import EVERY, Kind
from tests.faults.lives import Mortal, Trial, local_server
from tests.harness.drive import ROOT

MODES = ("write-through", "write-back")
#: How kills are told on services that number names.
NUMBERING = "of them where names are numbered"
#: What may be wrong, as messages begin with it.
WRONG = ("lost", "doubled", "misnamed", "resurrected")
#: Failures of one part after which it is left alone.
ENOUGH = 5
#: What is run on two kinds a test, the others in the next rounds (`kinds`).
TESTS = (
    "faults/test_crash.py", "faults/test_exactly_one_copy.py", "semantics/test_overwrite.py",
    "semantics/test_rename.py", "semantics/test_purpose.py", "semantics/test_machines.py",
    "semantics/test_temporary.py",
)  # fmt: skip
#: Operations of a walk, or lives of a drive, after which a new one begins with another seed.
LONG = 25_000
MANY = 400

_DESCRIPTION = """\
Does to drives what may lose a byte, on real mounts and services of their own, with seeds that are printed.
The services are of all sixteen kinds in turn, of which each has its share of the time: names numbered or not, failures
stored or not, lists in pages or not, in either format.
Prints a line with figures for each part, and what was found; exits 1 when anything was."""
_EPILOG = """\
parts:
  model     three processes walk over twelve names, beside a reference (both modes)
  kills     kill -9 of daemons and writers while three requests in ten fail (both modes)
  machines  two machines overwrite the same names (both modes)
  power     daemons die, and of their files stays what was synced (both modes)
  matrix    6 uses of the service x 40 faults x once or lasting x both modes, as a table; a kind each, by chance
  tests     the tests that run on several kinds, each on two or more a round; in eight rounds on all of them
  fuzz      damaged documents of every format
  audit     pip-audit of what is installed, where it reaches its advisories

The power cut is made by hand: bytes and names that were not synced are taken away or put back. It trusts SQLite
with the journal, tears no block, and changes no order within a file."""


@dataclass
class Report:
    """What a part has to say.

    Attributes:
        figures: what was done, in the order of telling.
        found: what is wrong, each with the line that repeats it.
        skipped: why nothing was done.
        shown: what is printed besides, as a table.
    """

    figures: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    skipped: str = ""
    shown: str = ""

    def line(self) -> str:
        """Return the figures in a line."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        wrong = Counter({word: sum(found.count(f"{word}:") for found in self.found) for word in WRONG})
        other = sum(not any(f"{word}:" in found for word in WRONG) for found in self.found)
        done = ", ".join(f"{often:,} {what}" for what, often in self.figures.items())
        return (
            f"{done}; " + ", ".join(f"{wrong[word]} {word}" for word in WRONG) + (f", {other} other" if other else "")
        )


@dataclass(frozen=True)
class Task:
    """A part in one mode, with what it needs to run in another process."""

    part: str
    mode: str
    seed: str
    seconds: float
    kinds: tuple[Kind, ...] = EVERY

    def turns(self, report: Report) -> Iterator[Turn]:
        """Give turns, the first of which has one's own seed, until the time is over or enough is wrong."""
        order = random.Random(self.seed).sample(self.kinds, len(self.kinds))
        ends, number = time.monotonic() + self.seconds, 0
        while (not number or time.monotonic() < ends) and len(report.found) < ENOUGH:
            seed = self.seed if not number else f"{self.seed}.{number}"
            yield Turn(self, number, seed, order[number % len(order)], self.seconds / len(order))
            number += 1
        report.figures["kinds"] = min(number, len(order))


@dataclass(frozen=True)
class Turn:
    """What one drive goes through, on a service of one kind, for so many seconds."""

    task: Task
    number: int
    seed: str
    kind: Kind
    seconds: float

    def until(self) -> Callable[[], bool]:
        """Return what says that its time is over."""
        ends = time.monotonic() + self.seconds
        return lambda: time.monotonic() > ends

    @property
    def repeat(self) -> str:
        """The line that does it again."""
        return f"scripts/torture --only {self.task.part} --kind {self.kind} --seed {self.seed}"


def run_model(task: Task, home: Path) -> Report:
    """Walk until the time is over."""
    report = Report(Counter(operations=0))
    for turn in task.turns(report):
        log: list[walk.Operation] = []
        try:
            path, ends = home / turn.seed, turn.until()
            model.walk_on(task.mode, turn.seed, LONG, path, kind=turn.kind, log=log, ends=ends)
        except walk.Wrong as wrong:
            report.found.append(str(wrong))
        report.figures["operations"] += len(log)
    return report


def run_kills(task: Task, home: Path) -> Report:
    """Kill until the time is over; a drive that is whole goes on where its last life ended."""
    report = Report(Counter({"kills": 0, NUMBERING: 0, "operations": 0, "faults": 0}))
    for turn in task.turns(report):
        with kills.trial_in_storm(task.mode, turn.seed, home / turn.seed, turn.kind) as trial:
            _kill(report, turn, trial, trial.die)
            report.figures["faults"] += trial.faults()
    return report


def run_power(task: Task, home: Path) -> Report:
    """Cut the power until the time is over."""
    report = Report(Counter({"kills": 0, NUMBERING: 0, "operations": 0}))
    for turn in task.turns(report):
        path, write_back = home / turn.seed, task.mode == "write-back"
        with (
            local_server(home / f"{turn.seed} server", turn.kind) as account,
            Mortal(path, account, write_back=write_back, cuts=True) as drive,
        ):
            trial = Trial(drive, account, random.Random(f"{task.mode} {turn.seed}"))

            def cut(_longest: float, trial: Trial = trial) -> None:
                trial.live(Fate(last=trial.chance.randrange(1, 200)))
                trial.drive.cut_power(trial.chance)

            _kill(report, turn, trial, cut)
    return report


def _kill(report: Report, turn: Turn, trial: Trial, die: Callable[[float], None]) -> None:
    longest, is_over = 0.2, turn.until()
    try:
        while not trial.life or (trial.life < MANY and not is_over()):
            die(longest)
            longest = longest_life(trial, longest)
        trial.drain()
    except (AssertionError, OSError) as failure:
        report.found.append(f"{failure}\nRepeat: {turn.repeat}")
    report.figures["kills"] += trial.life
    report.figures[NUMBERING] += trial.life * turn.kind.numbers
    report.figures["operations"] += trial.often()


def run_machines(task: Task, home: Path) -> Report:
    """Have two machines write, on a service that serves or in a storm, until the time is over."""
    report = Report(Counter(versions=0))
    for turn in task.turns(report):
        stormy, path = random.Random(turn.seed).random() < 0.5, home / turn.seed
        seconds = max(2.0, min(45.0, turn.seconds))
        outcome = machines.overwrite(task.mode, turn.seed, seconds, path, stormy=stormy, kind=turn.kind)
        report.figures["versions"] += outcome.versions
        wrong = {
            "lost": outcome.lost, "lost: here": outcome.unlike, "doubled": outcome.doubled,
            "misnamed": outcome.misnamed,
        }  # fmt: skip
        report.found += [
            f"{what}: " + "; ".join(each) + f"\nRepeat: {turn.repeat}"
            for what, each in wrong.items() if each
        ]  # fmt: skip
    return report


def run_matrix(task: Task, _home: Path) -> Report:
    """Fill the whole matrix, however long that takes."""
    filled = matrix.fill_all(kinds=task.kinds, seed=task.seed)
    report = Report(Counter(cells=len(filled)), shown=matrix.table(filled))
    words = {"L": "lost", "D": "doubled", "M": "misnamed", "R": "resurrected"}
    for cell, letter in matrix.holes(filled).items():
        report.found.append(f"{words.get(letter, letter)}: {cell}")
    report.figures["holes"] = len(report.found)
    return report


def run_tests(task: Task, home: Path) -> Report:
    """Run the tests that know kinds: one round at least, however long that takes, then until the time is over."""
    report = Report(Counter(rounds=0, passed=0))
    first = random.Random(task.seed).randrange(8)
    for turn in task.turns(report):
        kinds = str(*task.kinds) if len(task.kinds) == 1 else f"every:{(first + turn.number) % 8}"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses=6", "--dist=loadfile"),
            *("--kinds", kinds, "--basetemp", str(home / turn.seed), *(f"tests/{name}" for name in TESTS)),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        passed = re.search(r"(\d+) passed", done.stdout)
        report.figures["rounds"] += 1
        report.figures["passed"] += int(passed[1]) if passed else 0
        if done.returncode:
            end = done.stdout.partition("short test summary info")[2] or done.stdout[-3000:] + done.stderr[-3000:]
            report.found.append(f"tests fail with --kinds {kinds}: {end.strip(' =')}\nRepeat: {' '.join(command[1:])}")
    report.figures.pop("kinds")
    return report


def run_fuzz(task: Task, _home: Path) -> Report:
    """Feed damaged documents to the readers."""
    try:
        fuzz = importlib.import_module("tests.server.fuzz")
    except ModuleNotFoundError:
        return Report(skipped="tests/server/fuzz.py is not there")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        failed = fuzz.main(task.seconds / 60, random.Random(task.seed).randrange(2**32))
    report = Report(Counter(minutes=round(task.seconds / 60)), shown=said.getvalue().rstrip())
    if failed:
        report.found.append(
            f"a document is not answered as it should be\nRepeat: scripts/torture --only fuzz --seed {task.seed}"
        )
    return report


def run_audit(_task: Task, _home: Path) -> Report:
    """Ask for advisories of what is installed."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return Report(skipped="pip-audit does not reach its advisories in five minutes")
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return Report(skipped=f"pip-audit gives no answer, but says {said[:100]!r}")
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return Report(skipped=f"pip-audit reaches the advisories of none of {len(packages)} packages")
    return Report(
        Counter(packages=len(asked)),
        [
            f"{package['name']} {package['version']}: {', '.join(each['id'] for each in package['vulns'])}"
            for package in asked if package["vulns"]
        ],
    )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What may be tortured, for how much of the time, and whether in both modes."""

    run: Callable[[Task, Path], Report]
    share: float
    modes: Sequence[str] = MODES


PARTS = {
    "model": Part(run_model, 12),
    "kills": Part(run_kills, 20),
    "machines": Part(run_machines, 3),
    "power": Part(run_power, 5),
    "matrix": Part(run_matrix, 6, ("",)),
    "tests": Part(run_tests, 5, ("",)),
    "fuzz": Part(run_fuzz, 9, ("",)),
    "audit": Part(run_audit, 0, ("",)),
}


def run(task: Task) -> Report:
    """Run a task, in whatever process this is."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        stack.callback(logging.disable, disabled)
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="moonfs-torture-", ignore_cleanup_errors=True))
        try:
            return PARTS[task.part].run(task, Path(home))
        except Exception:  # a part that cannot go on must not end the others
            return Report(found=[f"{task.part} broke:\n{traceback.format_exc()}"])


def main() -> int:
    """Torture; 0 when nothing was found, 1 when something was, 2 for a misuse."""
    parser = argparse.ArgumentParser(
        prog="scripts/torture", usage="scripts/torture [--minutes N] [--only PART] [--kind KIND] [--seed S]",
        description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="in all (default: 60)")
    parser.add_argument("--only", choices=PARTS, metavar="PART", help="one of those below, for all of the time")
    kinds = {str(kind): kind for kind in EVERY}
    parser.add_argument(
        "--kind", choices=kinds, metavar="KIND", help="of service, such as numbers+pages (default: all in turn)"
    )
    parser.add_argument("--seed", metavar="S", help="what chance begins with (default: a new one)")
    chosen = parser.parse_args()
    if chosen.minutes <= 0:
        parser.error("--minutes is above 0")
    seed = chosen.seed or str(random.SystemRandom().randrange(10**6))
    wanted = {chosen.only: PARTS[chosen.only]} if chosen.only else PARTS
    shares = sum(part.share for part in wanted.values()) or 1
    print(f"Seed {seed}, {chosen.minutes:g} minutes.", flush=True)
    found = 0
    context = multiprocessing.get_context("spawn")
    for name, part in wanted.items():
        met = (kinds[chosen.kind],) if chosen.kind else EVERY
        tasks = [Task(name, mode, seed, chosen.minutes * 60 * part.share / shares, met) for mode in part.modes]
        with ProcessPoolExecutor(len(tasks), mp_context=context) as pool:
            for task, report in zip(tasks, pool.map(run, tasks), strict=True):
                print(f"{name:9} {task.mode:14} {report.line()}", flush=True)
                for text in filter(None, [report.shown, *report.found]):
                    print("  " + text.replace("\n", "\n  "), flush=True)
                found += len(report.found)
    return 1 if found else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
