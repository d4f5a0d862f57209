"""`moonfs logs`: what a drive has written of itself, also when it is mounted no more or its daemon has died.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import click

from moonfs import mountpoints, wording
from moonfs.cli import offers
from moonfs.cli.kept import Kept, states
from moonfs.cli.numbers import Whole
from moonfs.cli.words import count, doing, say
from moonfs.config import Directories
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


@click.command(short_help="Show the log of a drive.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written, until Ctrl-C.")
@click.option(
    "-n", "--lines", metavar="LINES", type=Whole(min=0), default=50, show_default=True,
    help="How many of the last lines (of --errors: failures).",
)  # fmt: skip
@click.option("--errors", "what", flag_value="errors", help="The failures: what, which file, why, and what to do.")
@click.option("--server", "what", flag_value="server", help="The log of the local Files API that the drive started.")
@click.option("--path", "only_path", is_flag=True, help="Print where the file is, and nothing else.")
@click.option(
    "--clear",
    is_flag=True,
    help="Forget the failures: of the drive on DIR, or of all drives. Those of files that still fail stay.",
)
def logs(directory: str | None, follow: bool, lines: int, what: str | None, *, only_path: bool, clear: bool) -> None:
    """Show the log of the drive on DIR, which need not be mounted any more; without DIR of the only one that you have
    mounted, or of the one that was mounted last.

    \b
      moonfs logs --errors             what has failed, and what to do
      moonfs logs --clear              forget it; moonfs status shows it no more
      moonfs logs -f ~/moon            watch a drive at work
      less $(moonfs logs --path)
    """
    if clear:
        if follow or only_path or what == "server":
            raise UsageError("--clear forgets failures and shows nothing; leave the other flags out.")
        _clear(directory)
        return
    kept, others = _find(directory)
    name, older = _FILES[what or "log"]
    path = kept.folder / name
    if not only_path and others:
        say(f"This is the drive of {kept.point}; there are also: {', '.join(others)}", err=True)
    if what == "server" and not path.exists():
        raise UsageError(
            f"The drive of {kept.point} has started no local Files API: it is one of the hosted service, or somebody "
            "else's server was running (moonfs serve logs to its own terminal)."
        )
    if what == "errors" and not path.exists() and not (only_path or follow):
        say(f"Nothing of the drive of {kept.point} has failed.", err=True)
        return
    if what is None and not path.exists():
        raise UsageError(f"There is no log {path}; it was removed. The next mount begins one anew.")
    if only_path:
        click.echo(path)
        return
    show = _show_failures if what == "errors" else _show_lines
    tail = _Tail(path)
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        first = ([*_Tail(kept.folder / older).read()] if older else []) + tail.read()
        # What is counted is what is shown: a file of failures also says which of them are over.
        _show([line for line in first if what != "errors" or _failure(line) is not None], lines, show)
        while follow:
            time.sleep(_PAUSE)
            _show(tail.read(), None, show)


def _find(directory: str | None) -> tuple[Kept, list[str]]:
    """Return the state that is meant, and the mount points of the others where none was named.

    Raises:
        UsageError: there is none.
    """
    found = states(Directories.from_environment(os.environ).state)
    if directory is None:
        if not found:
            raise UsageError("No drive has been mounted yet, so there is no log; mount one with: moonfs mount ~/moon")
        there = [kept for kept in found if kept.point in mountpoints.own()]
        meant = there[0] if len(there) == 1 else found[0]
        return meant, [kept.point for kept in found if kept is not meant]
    point = mountpoints.absolute(directory)
    mounted = mountpoints.at(point)
    if mounted is not None and mounted.fstype == mountpoints.FSTYPE:
        with contextlib.suppress(UsageError, KeyError, TypeError):  # it hangs, or its daemon has died
            return Kept(Path(mountpoints.read_status(point)["log"]).parent, point, time.time()), []
    for kept in found:
        if kept.point == point:
            return kept, []
    known = f"; there are logs of: {', '.join(kept.point for kept in found)}" if found else ""
    raise UsageError(f"No drive was mounted on {directory}, so there is no log of it{known}.")


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


def _clear(directory: str | None) -> None:
    """Have what has failed forgotten, by the daemons that run and where none does; says what was done."""
    if directory is None:
        found = states(Directories.from_environment(os.environ).state)
        if not found:
            raise UsageError("No drive has been mounted yet, so nothing has failed.")
    else:
        found = [_find(directory)[0]]
    wrong = ""
    for kept in found:
        try:
            left = _cleared(kept)
        except UsageError as error:  # of one drive, which keeps no other from being done
            say(f"moonfs: {wrong}", err=True) if wrong else None
            wrong = str(error)
            continue
        still = f"; {count(left, 'file')} still {'fails' if left == 1 else 'fail'}: moonfs status says why" * (left > 0)
        say(f"The failures of the drive of {kept.point} are cleared{still}.")
    if wrong:
        raise UsageError(wrong)


def _cleared(kept: Kept) -> int:
    """Forget the failures of one account, and return of how many files they stay."""
    import sqlite3  # noqa: PLC0415 - only where it is needed

    from moonfs.errorlog import ErrorLog  # noqa: PLC0415
    from moonfs.journal import unfinished  # noqa: PLC0415

    path = kept.folder / "errors.ndjson"
    with open(kept.folder / "lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a daemon has it
            mountpoints.clear_errors(kept.point)
            return len(ErrorLog(path).text().splitlines())
        try:
            return ErrorLog(path).clear(unfinished(kept.folder / "journal.db"))
        except sqlite3.Error as error:
            raise UsageError(
                f"The state of the drive of {kept.point} cannot be read: {error}; moonfs doctor looks at its disk."
            ) from error


def _show(lines: list[str], most: int | None, show: Callable[[list[str]], None]) -> None:
    show(lines if most is None else lines[max(0, len(lines) - most) :])


def _show_lines(lines: list[str]) -> None:
    """Show lines of a log, whose moments have their offset from UTC, in the time of whoever reads them."""
    for line in lines:
        moment, space, rest = line.partition(" ")
        say(f"{wording.shown(moment)}{space}{rest}")


def _show_failures(lines: list[str]) -> None:
    """Show lines of errors.ndjson; what several in a row have for advice is said once, after the last of them."""
    told = [each for line in lines if (each := _failure(line)) is not None]
    for (shown, advice), (_, following) in zip(told, [*told[1:], ("", "")], strict=True):
        say(shown)
        if advice and advice != following:
            say(f"    → {advice}")


def _failure(line: str) -> tuple[str, str] | None:
    """Return what a line of errors.ndjson says, and its advice; None for one that a crash has cut off."""
    try:
        failure = json.loads(line)
        when, name = str(failure["time"]), str(failure["name"])
        about = (
            f"{doing(failure['operation'])} {name or '(the whole account)'}: {failure['message']} ({failure['errno']})"
        )
        next_ = str(failure.get("next", ""))  # lines of an earlier version have none
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return f"{wording.shown(when)} {about}", next_
