"""The command line of the benchmark; `scripts/bench` sets up what is missing and comes here.

**Threading:** the main thread.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmark import measure, plot, report
from scripts.benchmark.jobs import JOBS
from scripts.benchmark.measure import Job, Outcome
from scripts.benchmark.report import Part
from scripts.benchmark.shell import Failed
from scripts.benchmark.stage import Options, Stage

_DESCRIPTION = """\
Measures moonfs against what else there is, on this machine: the local Files API in a process of its own,
with latency injected and extraction off, and its files on the disk. Contestants take turns, so that a
machine that is slower for a while is so for all. Prints a table of medians with the targets beside them.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="jobs:\n" + "\n".join(f"  {job.name:<14} {job.title}" for job in JOBS),
    )  # fmt: skip
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="what to measure (default: everything)")
    parser.add_argument("--list", action="store_true", help="print the names of the jobs")
    parser.add_argument("--runs", type=_count, metavar="N", help="runs of each contestant (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one run: to see that it works")
    parser.add_argument("--scale", type=_factor, metavar="X", help="that part of everything (default: 1)")
    parser.add_argument(
        "--latency",
        type=_latencies,
        default=[50.0, 0.0],
        metavar="MS[,MS]",
        help="of a request; what is near is measured at the first only (default: 50,0)",
    )
    parser.add_argument(
        "--upload-latency", type=_milliseconds, default=200.0, metavar="MS",
        help="more of an upload, where a request has any (default: 200)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw some of it there, as an SVG")
    parser.add_argument("--directory", metavar="DIR", help="on the disk to measure (default: /var/tmp)")
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.jobs) - {job.name for job in JOBS}
    if unknown:
        parser.error(f"unknown job {sorted(unknown)[0]!r}; scripts/bench --list names them")
    for path in filter(None, (parsed.json, parsed.plot)):
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            parser.error(f"{path} cannot be written")
    return parsed


def main() -> int:
    """Measure; 0 when every target is met, 1 when one is missed, 2 for a misuse, 3 when it could not be measured."""
    parsed = parse(sys.argv[1:])
    if parsed.list:
        print("\n".join(job.name for job in JOBS))
        return 0
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()  # what is raised here may be lost, in a destructor, say
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    os.umask(0o077)
    options = [
        Options(
            runs=parsed.runs or (1 if parsed.quick else 5),
            latency=latency,
            upload_latency=parsed.upload_latency if latency else 0.0,
            scale=parsed.scale or (0.1 if parsed.quick else 1.0),
            directory=parsed.directory,
        )
        for latency in parsed.latency
    ]
    chosen = [job for job in JOBS if not parsed.jobs or job.name in parsed.jobs]
    parts = []
    try:
        for each in options:
            jobs = [job for job in chosen if job.far or each is options[0]]
            if jobs:
                with Stage(each) as stage:
                    parts.append(Part(each, stage.filesystem(), _measure(jobs, stage, interrupted)))
    except Failed as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nInterrupted; everything is unmounted and ended.", file=sys.stderr)
        return 130
    report.show(parts)
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(report.as_json(parts), indent=2) + "\n")
    if parsed.plot is not None and parts:
        parsed.plot.write_text(plot.draw(parts[0].outcomes, report.conditions(parts[0])))
    return int(any(line.met is False for part in parts for outcome in part.outcomes for line in outcome.lines))


def _measure(jobs: Sequence[Job], stage: Stage, interrupted: threading.Event) -> list[Outcome]:
    if sys.stderr.isatty():

        def say(text: str) -> None:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:

        def say(text: str) -> None:
            print(text, file=sys.stderr, flush=True)

    def tell(text: str) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        say(text)

    outcomes = [measure.run(job, stage, tell) for job in jobs]
    if sys.stderr.isatty():
        say("")
    return outcomes


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("it is at least 1")
    return int(text)


def _factor(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError("it is above 0 and at most 1")
    return float(text)


def _latencies(text: str) -> list[float]:
    return [_milliseconds(each) for each in text.split(",")]


def _milliseconds(text: str) -> float:
    if not 0 <= float(text) <= 60_000:
        raise argparse.ArgumentTypeError("it is between 0 and 60000")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
