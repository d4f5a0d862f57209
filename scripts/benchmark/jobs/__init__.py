"""The jobs, in the order in which they are done."""

from __future__ import annotations

from typing import Final

from scripts.benchmark.jobs.copying import COPY_IN
from scripts.benchmark.measure import Job

JOBS: Final[tuple[Job, ...]] = (COPY_IN,)
