"""`moonfs logs`: what a drive has written of itself, also when it is mounted no more or its daemon has died.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click

from moonfs import mountpoints
from moonfs.cli import offers
from moonfs.cli.words import printable
from moonfs.config import Directories, matching
from moonfs.errors import UsageError

#: Seconds between two looks of `--follow`.
_PAUSE: Final = 0.2
#: Bytes from a file's end that are looked at; all of these files but the server's are smaller.
_LOOKED_AT: Final = 5 * 1024**2
#: Each file, and where it goes when it is full.
_FILES: Final = {
    "log": ("moonfs.log", "moonfs.log.1"),
    "errors": ("errors.ndjson", "errors.old.ndjson"),
    "server": ("server.log", ""),
}


@dataclass(frozen=True, slots=True)
class _Kept:
    """The state that an account has here, whether it is mounted or not.

    Attributes:
        folder: where it is.
        point: where it was mounted last.
        since: when that was, in seconds of unix time.
    """

    folder: Path
    point: str
    since: float


@click.command(short_help="Show the log of a drive.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written, until Ctrl-C.")
@click.option(
    "-n", "--lines", metavar="LINES", type=click.IntRange(min=0), default=50, show_default=True,
    help="How many of the last lines (of --errors: failures).",
)  # fmt: skip
@click.option("--errors", "what", flag_value="errors", help="The failures: what, which file, why, and what to do.")
@click.option("--server", "what", flag_value="server", help="The log of the local Files API that the drive started.")
@click.option("--path", "only_path", is_flag=True, help="Print where the file is, and nothing else.")
def logs(directory: str | None, follow: bool, lines: int, what: str | None, only_path: bool) -> None:
    """Show the log of the drive on DIR, or of the one that was mounted last; it need not be mounted any more.

    \b
      moonfs logs --errors             what has failed, and what to do
      moonfs logs -f ~/moon            watch a drive at work
      less $(moonfs logs --path)
    """
    kept, others = _find(directory)
    name, older = _FILES[what or "log"]
    path = kept.folder / name
    if not only_path and others:
        click.echo(printable(f"This is the drive of {kept.point}; there are also: {', '.join(others)}"), err=True)
    if what == "server" and not path.exists():
        raise UsageError(
            f"The drive of {kept.point} has started no local Files API: it is one of the hosted service, or somebody "
            "else's server was running (moonfs serve logs to its own terminal)."
        )
    if what == "errors" and not path.exists() and not (only_path or follow):
        click.echo(printable(f"Nothing of the drive of {kept.point} has failed."), err=True)
        return
    if what is None and not path.exists():
        raise UsageError(f"There is no log {path}; it was removed. The next mount begins one anew.")
    if only_path:
        click.echo(path)
        return
    show = _show_failure if what == "errors" else _show_line
    tail = _Tail(path)
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        _show(([*_Tail(kept.folder / older).read()] if older else []) + tail.read(), lines, show)
        while follow:
            time.sleep(_PAUSE)
            _show(tail.read(), None, show)


def _find(directory: str | None) -> tuple[_Kept, list[str]]:
    """Return the state that is meant, and the mount points of the others where none was named.

    Raises:
        UsageError: there is none.
    """
    found = sorted(_all(Directories.from_environment(os.environ)), key=lambda kept: kept.since, reverse=True)
    if directory is None:
        if not found:
            raise UsageError("No drive has been mounted yet, so there is no log; mount one with: moonfs mount ~/moon")
        return found[0], [kept.point for kept in found[1:]]
    point = mountpoints.absolute(directory)
    mounted = mountpoints.at(point)
    if mounted is not None and mounted.fstype == mountpoints.FSTYPE:
        with contextlib.suppress(UsageError, KeyError, TypeError):  # it hangs, or its daemon has died
            return _Kept(Path(mountpoints.read_status(point)["log"]).parent, point, time.time()), []
    for kept in found:
        if kept.point == point:
            return kept, []
    known = f"; there are logs of: {', '.join(kept.point for kept in found)}" if found else ""
    raise UsageError(f"No drive was mounted on {directory}, so there is no log of it{known}.")


def _all(directories: Directories) -> list[_Kept]:
    """Return the state of every account; its lock says where it was mounted last, and when."""
    found = []
    for lock in matching(directories.state / "accounts", "*/lock"):
        with contextlib.suppress(OSError):
            _, _, point = lock.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").partition(" ")
            found.append(_Kept(lock.parent, point or "an unknown directory", lock.stat().st_mtime))
    return found


class _Tail:
    """A file that others write to and put aside when it is full; each `read` returns what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self._begun = b""

    def read(self) -> list[str]:
        """Return the whole lines that were written since the last call, over to a new file of the same name."""
        if self._stream is None and not self._open():
            return []
        assert self._stream is not None
        new = self._stream.read()
        try:
            now = os.stat(self._path)
        except FileNotFoundError:  # between the old file and the new one
            return self._lines(new)
        if now.st_ino != os.fstat(self._stream.fileno()).st_ino:
            new += self._stream.read()  # its last words
            self._stream.close()
            new += self._stream.read() if self._open() else b""
        elif now.st_size < self._stream.tell():  # emptied
            self._stream.seek(0)
            new += self._stream.read()
        return self._lines(new)

    def _open(self) -> bool:
        try:
            self._stream = open(self._path, "rb")  # noqa: SIM115 - kept open, to end with the process
        except FileNotFoundError:
            self._stream = None
            return False
        except OSError as error:
            raise UsageError(f"Cannot read {self._path}: {error.strerror}; look at its owner and mode.") from error
        behind = os.fstat(self._stream.fileno()).st_size - _LOOKED_AT
        if behind > 0:
            self._stream.seek(behind)
            self._stream.readline()
        return True

    def _lines(self, new: bytes) -> list[str]:
        *whole, self._begun = (self._begun + new).split(b"\n")
        return [line.decode("utf-8", "backslashreplace") for line in whole]


def _show(lines: list[str], count: int | None, show: Callable[[str], None]) -> None:
    for line in lines if count is None else lines[max(0, len(lines) - count) :]:
        show(line)


def _show_line(line: str) -> None:
    click.echo(printable(line))


def _show_failure(line: str) -> None:
    """Show one line of errors.ndjson; what is none, since a crash cut it off, is passed over."""
    try:
        failure = json.loads(line)
        when, name = str(failure["time"]), str(failure["name"])
        about = f"{failure['operation']} {name or '(the whole account)'}: {failure['message']} ({failure['errno']})"
        next_ = str(failure.get("next", ""))  # lines of an earlier version have none
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    with contextlib.suppress(ValueError):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))))
    click.echo(printable(f"{when} {about}"))
    if next_:
        click.echo(printable(f"    → {next_}"))
