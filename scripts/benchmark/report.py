"""The table for a person, and the JSON for whatever compares two versions.

**Threading:** plain functions.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import moonfs
from scripts.benchmark.measure import Line, Outcome, median
from scripts.benchmark.stage import Options


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured at one latency.

    Attributes:
        options: how.
        filesystem: the type of that of the benchmark's directory.
        outcomes: of the jobs.
    """

    options: Options
    filesystem: str
    outcomes: Sequence[Outcome]


def show(parts: Sequence[Part]) -> None:
    """Print the table, and in one sentence what was missed."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "moonfs", "against", "theirs", "ratio", "target", ""):
        is_number = heading in ("moonfs", "theirs", "ratio", "target")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    console.print(Text("\n".join(map(conditions, parts))), soft_wrap=True)
    for options, outcome in [(part.options, outcome) for part in parts for outcome in part.outcomes]:
        near = "" if options is parts[0].options else f", {options.latency:g} ms a request"
        table.add_row(Text(f"{outcome.job.title}{near}", "bold"))
        shown = ""
        for line in outcome.lines:
            what, value = (
                (f"  {line.measure}", shown_value(line.value, line.unit)) if line.measure != shown else ("", "")
            )
            table.add_row(what, value, *_compared(line))
            shown = line.measure
    console.print(table)
    targets = [line for part in parts for outcome in part.outcomes for line in outcome.lines if line.met is not None]
    missed = sum(not line.met for line in targets)
    console.print(Text(f"{len(targets) - missed} of {len(targets)} targets are met, {missed} are missed."))


def conditions(part: Part) -> str:
    """Say how it was measured."""
    options = part.options
    runs = "one run" if options.runs == 1 else f"medians of {options.runs} runs"
    scale = "" if options.scale == 1 else f", everything × {options.scale:g}"
    return (
        f"moonfs {moonfs.__version__}, {os.cpu_count()} cores, Linux {platform.release()}, {part.filesystem}; "
        f"{options.latency:g} ms a request, {options.upload_latency:g} ms more an upload; "
        f"{runs}{scale}"
    )


def as_json(parts: Sequence[Part]) -> dict[str, Any]:
    """Return all that was measured, every run of it."""
    return {
        "moonfs": moonfs.__version__,
        "machine": {"cores": os.cpu_count(), "kernel": platform.release()},
        "parts": [_part_as_json(part) for part in parts],
    }


def _part_as_json(part: Part) -> dict[str, Any]:
    return {
        "filesystem": part.filesystem,
        "options": {key: value for key, value in asdict(part.options).items() if key != "directory"},
        "jobs": [
            {
                "name": outcome.job.name,
                "title": outcome.job.title,
                "contestants": {
                    name: {
                        measure: {"median": median(samples, measure), "runs": [sample[measure] for sample in samples]}
                        for measure in samples[0]
                    }
                    for name, samples in outcome.samples.items()
                },
                "lines": [{**asdict(line), "ratio": line.ratio} for line in outcome.lines],
            }
            for outcome in part.outcomes
        ],
    }


def _compared(line: Line) -> tuple[str, str, str, str, Text]:
    verdict = Text("")
    if line.met is not None:
        verdict = Text("met", "green") if line.met else Text("MISSED", "bold red")
    target = ""
    if line.limit is not None:
        limit = f"{line.limit:.3g} ×" if line.against else shown_value(line.limit, line.unit)
        target = f"{'=' if line.exactly else '≤'} {limit}"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
    other = "" if line.other is None else shown_value(line.other, line.unit)
    return line.against or "", other, ratio, target, verdict


def shown_value(value: float, unit: str) -> str:
    """Return a value with its unit, for a person."""
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}".rstrip()
