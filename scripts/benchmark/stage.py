"""What all contestants share: a directory on the disk, files to copy, and the service.

**Threading:** for the main thread.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from scripts.benchmark.service import Service
from scripts.benchmark.shell import is_mounted

_LINE: Final = 32


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        runs: how often each contestant does each job.
        latency: milliseconds that each request takes at the least.
        upload_latency: milliseconds more for an upload.
        scale: what the numbers of files, their sizes and the times are multiplied by.
        directory: where on the disk, or None for the usual place.
    """

    runs: int = 5
    latency: float = 50.0
    upload_latency: float = 0.0
    scale: float = 1.0
    directory: str | None = None


class Stage:
    """The stage; a context manager that leaves nothing.

    Attributes:
        options: how to measure.
        work: the directory that all files of the benchmark are in.
        service: the Files API.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._stack = ExitStack()
        # Not in /tmp, which is in memory on many machines.
        directory = options.directory or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)  # noqa: S108
        self.work = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="moonfs-bench-", dir=directory)))
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        latency, more = self.options.latency / 1000, self.options.upload_latency / 1000
        try:
            self.service = self._stack.enter_context(Service(self.work / "service", latency, more))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scaled(self, number: float) -> int:
        """Return `number`, or less of it in a quick benchmark."""
        return max(1, round(number * self.options.scale))

    def fresh(self) -> Path:
        """Return a new directory."""
        path = self.work / f"{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return path

    @contextmanager
    def lent(self) -> Iterator[Path]:
        """Give a new directory, and take it away with all that is in it."""
        path = self.fresh()
        try:
            yield path
        finally:
            if not is_mounted(path, below=True):  # the files of a mount are not ours to delete
                shutil.rmtree(path, ignore_errors=True)

    def texts(self, count: int, size: int) -> dict[str, bytes]:
        """Return texts that no earlier run has seen, under new names."""
        number = next(self._numbers)
        return {f"text-{number}-{i:04}.txt": _text(size) for i in range(count)}

    @contextmanager
    def sources(self, count: int, size: int) -> Iterator[Path]:
        """Give a directory of such texts, and take it away."""
        with self.lent() as directory:
            for name, text in self.texts(count, size).items():
                (directory / name).write_bytes(text)
            yield directory

    def filesystem(self) -> str:
        """Return the type of the filesystem that the directory is on."""
        command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(self.work)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "disk"


def _text(size: int) -> bytes:
    lines = -(-size // (2 * _LINE + 1))
    return b"\n".join(os.urandom(_LINE).hex().encode() for _ in range(lines))[: size - 1] + b"\n"
