"""Bars of what takes long: texts that are fetched, the uploads that an unmount waits for.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from moonfs import mountpoints
from moonfs.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress


def bar_of_texts() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("texts"), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))


def follow_prefetch(point: str, bar: Progress) -> dict[str, Any]:
    """Show how a prefetch goes on, and return how it has ended."""
    with bar as progress:
        task = progress.add_task("", total=None)
        while True:
            found = mountpoints.read_prefetch(point)
            done = found["done"] + found["failures"]
            progress.update(task, total=found["total"], completed=done, description=found["trouble"])
            if not found["running"]:
                return found
            time.sleep(0.2)


def show_drain(directory: str, ends: float) -> None:
    """Show how the pending uploads of a drive go on until there are none or the time is up (L2)."""
    mounted = mountpoints.at(directory)
    if mounted is None or mounted.fstype != mountpoints.FSTYPE:
        return
    try:
        uploads = mountpoints.read_status(mounted.point)["uploads"]
        files, size = len(uploads["pending"]) + uploads["deletions"], uploads["pending_bytes"]
    except (UsageError, KeyError, TypeError):
        return
    if not files:
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import TransferSpeedColumn as SpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=size)
        left = files
        while left and time.monotonic() < ends:
            progress.update(task, description=f"{left} of {files} files to go")
            time.sleep(0.2)
            try:
                uploads = mountpoints.read_status(mounted.point)["uploads"]
            except (UsageError, KeyError, TypeError):
                return
            left = len(uploads["pending"]) + uploads["deletions"]
            progress.update(task, description=f"{left} of {files} files to go")
            progress.update(task, completed=max(0, size - uploads["pending_bytes"]))
    if left:
        why = "".join(f" The last try with {each['name']}: {each['error']}." for each in uploads["waiting"][:1])
        click.echo(
            f"{left} file{'s are' if left > 1 else ' is'} not uploaded yet; what is left stays here and goes on "
            f"after the next mount.{why}",
            err=True,
        )
