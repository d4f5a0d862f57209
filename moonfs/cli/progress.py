"""Bars of what takes long: texts that are fetched, the uploads that an unmount waits for.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from moonfs import mountpoints
from moonfs.cli import words
from moonfs.cli.words import say

if TYPE_CHECKING:
    from rich.progress import Progress

#: Names that are told; the rest is counted.
_FEW: Final = 5


def bar_of_texts() -> Progress:
    """Return a bar of texts; what a task's description says is a line below it, however long it is."""
    from rich.console import Console, RenderableType  # noqa: PLC0415 - rich is large, and other commands do without
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Texts(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.description:
                    yield Text(task.description, style="yellow", no_wrap=True, overflow="ellipsis")

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("texts"), TimeRemainingColumn())
    console = Console(stderr=True, markup=False, emoji=False)
    return Texts(*columns, console=console, disable=not console.is_terminal)


def follow_prefetch(point: str, bar: Progress) -> dict[str, Any]:
    """Show how a prefetch goes on, and return how it has ended."""
    with bar as progress:
        task = progress.add_task("", total=None)
        while True:
            found = mountpoints.read_prefetch(point)
            done = found["done"] + found["failures"]
            uploads = f"{words.count(found['uploads'], 'upload')} to go" if found["uploads"] else ""
            trouble = words.printable(found["trouble"])
            progress.update(task, total=found["total"], completed=done, description=trouble or uploads)
            if not found["running"]:
                return found
            time.sleep(0.2)


def show_drain(directory: str, status: Callable[[], dict[str, Any] | None], ends: float) -> int:
    """Show how the pending uploads of a drive go on until there are none or the time is up (L2); return what is left.

    Args:
        directory: the drive's, as it was named.
        status: returns what the drive says of itself, None where it does not answer.
        ends: when the time is up, on the clock of `time.monotonic`.
    """
    uploads = _uploads(status)
    files, size = (0, 0) if uploads is None else (_left(uploads), uploads["pending_bytes"])
    if uploads is None:
        return 0
    refused, on_terminal = _refused(uploads), True
    if not files:
        if refused:
            say(_refusal(directory, refused), err=True)
        return 0
    if time.monotonic() < ends:  # --lazy waits for nothing: it says what is left, and no more
        with Uploading(size, files) as bar:
            while _left(uploads) and time.monotonic() < ends:
                bar.show(files=_left(uploads), size=uploads["pending_bytes"], under_way=uploads.get("under_way", []))
                time.sleep(0.2)
                found = _uploads(status)
                if found is None:
                    return _left(uploads)
                uploads = found
            if not _left(uploads):
                bar.show(files=0, size=0)
            on_terminal = bar.on_terminal
    if left := _left(uploads):
        why = "".join(
            f" The last try with {each['name']}: {each['error']}. {each['next']}" for each in uploads["waiting"][:1]
        )
        say(
            f"{words.count(left, 'file')} {'is' if left == 1 else 'are'} not uploaded yet; what is left stays here and "
            f"goes on after the next mount.{why}",
            err=True,
        )
    elif more := _refused(uploads) - refused:
        say(_refusal(directory, more), err=True)
    elif not on_terminal:
        say("Nothing is left to upload.", err=True)
    return left


def _refusal(directory: str, files: int) -> str:
    which = f"{words.count(files, 'file')} {'was' if files == 1 else 'were'} refused"
    return f"Nothing is left to upload; {which}: moonfs logs --errors {quote(directory)}"


def passing_names(status: Callable[[], dict[str, Any] | None]) -> str:
    """Return what to say of the files that an unmount leaves here under their temporary names; empty without any (N6).

    Args:
        status: returns what the drive says of itself, None where it does not answer.
    """
    uploads = _uploads(status)
    found = [] if uploads is None else [str(name) for name in uploads.get("temporary", [])]
    if not found:
        return ""
    few = ", ".join(found[:_FEW]) + (f" and {len(found) - _FEW:,} more" if len(found) > _FEW else "")
    one = len(found) == 1
    return (
        f"Only on this machine, under {'a temporary name' if one else 'temporary names'}: {few}. After the next mount "
        f"{'it is' if one else 'they are'} uploaded once renamed, or ten minutes after the last close."
    )


def _uploads(status: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return what the drive says of its uploads, or None where it does not answer."""
    try:
        uploads = (status() or {})["uploads"]
        _left(uploads)
        return dict(uploads)
    except (KeyError, TypeError):
        return None


def _refused(uploads: dict[str, Any]) -> int:
    return len(uploads.get("failed", []))


def _to_go(left: int, files: int) -> str:
    return f"{left:,} of {words.count(files, 'file')} to go"


def _left(uploads: dict[str, Any]) -> int:
    return len(uploads["pending"]) + int(uploads["deletions"])


class Uploading:
    """A bar of uploads that are waited for, with a line for each that is under way; a context manager.

    Where there is no terminal it says once how many there are: a bar would stand still in a log.

    Attributes:
        on_terminal: whether there is one.
    """

    def __init__(self, size: int, files: int) -> None:
        """`size` is in bytes, `files` counts deletions too."""
        from rich.console import Console  # noqa: PLC0415 - rich is large, and other commands do without
        from rich.live import Live  # noqa: PLC0415
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import TransferSpeedColumn as SpeedColumn  # noqa: PLC0415

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), SpeedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task(_to_go(files, files), total=size)
        self._live = Live(self._bar, console=console, auto_refresh=False) if console.is_terminal else None
        self._size, self._files = size, files
        self.on_terminal = self._live is not None
        if self._live is None:
            say(f"Waiting for {words.count(files, 'upload')} ({words.size(size)}) …", err=True)

    def __enter__(self) -> Uploading:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, *, files: int, size: int, under_way: Sequence[Mapping[str, Any]] = (), trouble: str = "") -> None:
        """Show what is left to go, what is under way, and what keeps an upload from being done."""
        if self._live is None:
            return
        from rich.console import Group, RenderableType  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        from moonfs.cli.screen import uploads_table  # noqa: PLC0415

        sent = sum(each["sent"] for each in under_way)
        done = max(0, min(self._size, self._size - size + sent))
        self._bar.update(self._task, description=_to_go(files, self._files), completed=done)
        parts: list[RenderableType] = [self._bar]
        if under_way:
            parts.append(uploads_table(under_way))
        if trouble:
            parts.append(Text(words.printable(trouble), style="yellow", no_wrap=True, overflow="ellipsis"))
        self._live.update(Group(*parts), refresh=True)


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
            sys.stderr.write(f"\r\x1b[K{words.printable(text)} … {seconds:.0f} s")
            sys.stderr.flush()
            self._shown = True
