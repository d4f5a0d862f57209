"""Contestants take turns at a job; what they needed becomes medians, ratios and targets that are met or not.

In each round every contestant does the job once, so that a machine that is slower for a while is so for all.

**Threading:** for the main thread.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from scripts.benchmark.stage import Stage

#: The contestant that all others are compared with.
MOONFS: Final = "moonfs"
RCLONE: Final = "rclone mount"

#: What one run has measured: seconds, bytes or requests, by name.
Sample = dict[str, float]
#: One run; it times itself, as only it knows where its preparations end.
Contestant = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The time of moonfs divided by that of another contestant.

    Attributes:
        measure: name in the sample of moonfs.
        against: the other contestant.
        theirs: name in its sample, where it differs.
        at_most: the target, or None when the ratio is for information.
        upload_latency: the target stands for this extra latency of uploads, in ms; None for any. None stands for a
            request without latency.
    """

    measure: str
    against: str
    theirs: str = ""
    at_most: float | None = None
    upload_latency: float | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """A measure of moonfs that has a target of its own: at most so much, or exactly, in every run.

    Attributes:
        measure: name in the sample of moonfs.
        limit: the target, given the stage; None when the measure is for information.
        exactly: less would be wrong too.
    """

    measure: str
    limit: Callable[[Stage], float | None]
    exactly: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Work that several contestants do.

    Attributes:
        name: for the command line.
        title: for the table.
        contestants: makes them ready; what it puts on the stack is closed after the job. One that is not
            installed is left out.
        units: of the measures; seconds where nothing is said.
        drawn: the measures that the picture shows.
        once: it takes so long, or varies so little, that one run has to do.
        far: the latency matters.
    """

    name: str
    title: str
    contestants: Callable[[Stage, ExitStack], Mapping[str, Contestant]]
    ratios: tuple[Ratio, ...] = ()
    bounds: tuple[Bound, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    once: bool = False
    far: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison, or one bound: what the table shows in a line.

    Attributes:
        value: of moonfs: the median, or for a bound the worst run.
        against, other: the contestant and its median, for a ratio.
        limit: the target; None where there is none.
        met: whether it is reached; None without a target.
    """

    measure: str
    unit: str
    value: float
    against: str | None = None
    other: float | None = None
    limit: float | None = None
    exactly: bool = False
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """The value over the other's."""
        return None if self.other is None else self.value / self.other


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of a job: every run's samples, and the lines of the table."""

    job: Job
    samples: Mapping[str, list[Sample]]
    lines: list[Line]


def run(job: Job, stage: Stage, say: Callable[[str], None]) -> Outcome:
    """Let all contestants of `job` do it, in turn; `say` is told who is at work."""
    with ExitStack() as stack:
        contestants = job.contestants(stage, stack)
        samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        runs = 1 if job.once else stage.options.runs
        for number in range(1, runs + 1):
            for name, contestant in contestants.items():
                say(f"{job.name}, run {number} of {runs}: {name}")
                samples[name].append(contestant())
    return Outcome(job, samples, judge(job, samples, stage))


def judge(job: Job, samples: Mapping[str, list[Sample]], stage: Stage) -> list[Line]:
    """Return the lines of the table: ratios of medians with their targets, then the bounds."""
    lines = []
    for ratio in job.ratios:
        if ratio.against not in samples:
            continue
        value = median(samples[MOONFS], ratio.measure)
        other = median(samples[ratio.against], ratio.theirs or ratio.measure)
        judged = (stage.options.latency > 0 or not job.far) and ratio.upload_latency in (
            None,
            stage.options.upload_latency,
        )
        limit = ratio.at_most if judged else None
        met = None if limit is None else value <= limit * other
        lines.append(Line(ratio.measure, _unit(job, ratio.measure), value, ratio.against, other, limit, met=met))
    for bound in job.bounds:
        values = [sample[bound.measure] for sample in samples[MOONFS]]
        limit = bound.limit(stage)
        worst = max(values, key=lambda value: abs(value - limit) if bound.exactly and limit is not None else value)
        met = None if limit is None else worst == limit if bound.exactly else worst <= limit
        unit = _unit(job, bound.measure)
        lines.append(Line(bound.measure, unit, worst, limit=limit, exactly=bound.exactly, met=met))
    return lines


def median(samples: list[Sample], measure: str) -> float:
    """Return the median of a measure over all runs."""
    return statistics.median(sample[measure] for sample in samples)


def _unit(job: Job, measure: str) -> str:
    return job.units.get(measure, "s")
