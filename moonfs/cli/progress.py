"""Bars of what takes long: texts that are fetched, the uploads that an unmount waits for.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from moonfs import mountpoints
from moonfs.cli import words
from moonfs.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

#: Names that are told; the rest is counted.
_FEW: Final = 5


def bar_of_texts() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("texts"), TimeRemainingColumn())
    console = Console(stderr=True, markup=False, emoji=False)
    return Progress(
        *columns, TextColumn("{task.description}", markup=False), console=console, disable=not console.is_terminal
    )


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
    """Show how the pending uploads of a drive go on until there are none or the time is up (L2).

    Args:
        directory: any spelling of the mount point.
        ends: when the time is up, on the clock of `time.monotonic`.
    """
    mounted = mountpoints.at(directory)
    if mounted is None or mounted.fstype != mountpoints.FSTYPE:
        return
    uploads = _uploads(mounted.point)
    files, size = (0, 0) if uploads is None else (_left(uploads), uploads["pending_bytes"])
    if uploads is None or not files:
        return
    from rich.console import Console, Group  # noqa: PLC0415 - rich is large, and other commands do without
    from rich.live import Live  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import TransferSpeedColumn as SpeedColumn  # noqa: PLC0415

    from moonfs.cli.screen import uploads_table  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = bar.add_task(f"{files} of {files} files to go", total=size)
    if not console.is_terminal:
        click.echo(f"Waiting for {files:,} upload{'' if files == 1 else 's'} ({words.size(size)}) …", err=True)
    with Live(bar, console=console, auto_refresh=False) as live:
        while _left(uploads) and time.monotonic() < ends:
            under_way = uploads.get("under_way", [])
            sent = sum(each["sent"] for each in under_way)
            bar.update(task, description=f"{_left(uploads)} of {files} files to go")
            bar.update(task, completed=max(0, min(size, size - uploads["pending_bytes"] + sent)))
            if console.is_terminal:
                live.update(Group(bar, uploads_table(under_way)) if under_way else bar, refresh=True)
            time.sleep(0.2)
            found = _uploads(mounted.point)
            if found is None:
                return
            uploads = found
        if console.is_terminal and not _left(uploads):
            bar.update(task, description=f"0 of {files} files to go", completed=size)
            live.update(bar, refresh=True)
    if left := _left(uploads):
        why = "".join(
            f" The last try with {each['name']}: {each['error']}. {each['next']}" for each in uploads["waiting"][:1]
        )
        click.echo(
            f"{left} file{'s are' if left > 1 else ' is'} not uploaded yet; what is left stays here and goes on "
            f"after the next mount.{why}",
            err=True,
        )


def passing_names(directory: str) -> str:
    """Return what to say of the files that an unmount leaves here under their temporary names; empty without any (N6).

    Args:
        directory: any spelling of the mount point.
    """
    mounted = mountpoints.at(directory)
    uploads = None if mounted is None or mounted.fstype != mountpoints.FSTYPE else _uploads(mounted.point)
    found = [] if uploads is None else [words.printable(str(name)) for name in uploads.get("temporary", [])]
    if not found:
        return ""
    few = ", ".join(found[:_FEW]) + (f" and {len(found) - _FEW:,} more" if len(found) > _FEW else "")
    one = len(found) == 1
    return (
        f"Only on this machine, under {'a temporary name' if one else 'temporary names'}: {few}. After the next mount "
        f"{'it is' if one else 'they are'} uploaded once renamed, or ten minutes after the last close."
    )


def _uploads(point: str) -> dict[str, Any] | None:
    """Return what the drive says of its uploads, or None where it does not answer."""
    try:
        uploads = mountpoints.read_status(point)["uploads"]
        _left(uploads)
        return dict(uploads)
    except (UsageError, KeyError, TypeError):
        return None


def _left(uploads: dict[str, Any]) -> int:
    return len(uploads["pending"]) + int(uploads["deletions"])


class Waiting:
    """A line on a terminal's standard error that says what is waited for, once that takes long; a context manager."""

    def __init__(self, patience: float = 1.0) -> None:
        """`patience` is in seconds; before that, and where there is no terminal, nothing is shown."""
        self._since = time.monotonic()
        self._patience = patience
        self._shown = False

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, text: str) -> None:
        """Say that `text` is being waited for."""
        seconds = time.monotonic() - self._since
        if seconds >= self._patience and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text} … {seconds:.0f} s")
            sys.stderr.flush()
            self._shown = True
