"""The jobs, in the order in which they are done."""

from __future__ import annotations

from typing import Final

from scripts.benchmark.jobs.copying import COPY_IN, COPY_LARGE, WRITE_THROUGH
from scripts.benchmark.jobs.handling import OPEN_READ, READ_LARGE, STAT
from scripts.benchmark.jobs.keeping import IDLE, MEMORY, RM
from scripts.benchmark.jobs.reading import CAT, GREP, LS
from scripts.benchmark.jobs.serving import SERVE_BESIDE, SERVE_LIST, SERVE_STREAM, SERVE_UPLOADS
from scripts.benchmark.measure import Job

JOBS: Final[tuple[Job, ...]] = (
    *(COPY_IN, WRITE_THROUGH, COPY_LARGE),
    *(LS, CAT, GREP),
    *(STAT, OPEN_READ, READ_LARGE),
    *(RM, IDLE, MEMORY),
    *(SERVE_UPLOADS, SERVE_LIST, SERVE_STREAM, SERVE_BESIDE),
)
