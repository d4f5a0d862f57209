"""`moonfs status`: of one drive or of all, once or live.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from moonfs import ending, mountpoints
from moonfs.cli import offers
from moonfs.cli.kept import mounts_again
from moonfs.cli.mounting import state_of_accounts
from moonfs.cli.numbers import Number
from moonfs.cli.words import say, to_json
from moonfs.config import Directories
from moonfs.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_NONE = "No drive is mounted; mount one with: moonfs mount --local ~/moon"
#: Columns where there is no terminal: no line is broken for whoever searches it.
_WIDE = 1000
_LONGEST_INTERVAL = 86_400


@click.command(short_help="Show a drive, or all of them.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@click.option("-w", "--watch", is_flag=True, help="Go on showing it, until Ctrl-C or until it is unmounted.")
@click.option(
    "-n",
    "--interval",
    type=Number(0.1, _LONGEST_INTERVAL),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the drive says of itself, for scripts.")
def status(directory: str | None, watch: bool, interval: float, as_json: bool) -> None:  # fmt: skip
    """Show the drive on DIR, or all of your drives: account, quota, uploads under way, what failed and what to do about
    it, caches, and with the local Files API what it is reading. It sends no request to the service.

    With --json it prints one object for DIR, or a list without; with --watch --json a line each time.
    """
    if directory is not None:
        mounted = mountpoints.at(directory)
        if (mounted is None or mounted.fstype != mountpoints.FSTYPE) and not _all(directory):
            raise UsageError(f"No moonfs drive is mounted on {directory}; mount one with: {_mounts(directory)}")
    if watch:
        _watch(directory, interval, as_json)
        return
    if as_json:
        # A drive that was asked for and does not answer is a failure, not an object.
        found: Any = _one(directory) if directory is not None else _all(None)
        click.echo(to_json(found, indent=2))
        return
    drives = [_one(directory)] if directory is not None else _all(None)
    console = _console()
    console.print(_page(drives) if drives else _NONE)


def _mounts(directory: str) -> str:
    """Return the command that mounts on a directory; also for whoever has no home, and no states in it."""
    try:
        return mounts_again(Directories.from_environment(os.environ), directory)
    except UsageError:
        return f"moonfs mount {quote(directory)}"


def _one(directory: str) -> dict[str, Any]:
    """Return what the drive on a directory says of itself.

    Raises:
        UsageError: it does not answer, or has ended by now.
    """
    (drive,) = _all(directory) or [{"problem": f"{directory} is no longer mounted."}]
    if "problem" in drive:
        raise UsageError(drive["problem"])
    return drive


def _all(directory: str | None) -> list[dict[str, Any]]:
    """Return what the drives say of themselves; of one that does not answer, the reason. Empty for none.

    Of one that is not mounted any more and has not ended, `detached` says why.
    """
    points = mountpoints.ours()
    if directory is not None:
        points = [mountpoints.absolute(directory)] if mountpoints.absolute(directory) in points else []
    drives = []
    for point in points:
        try:
            drives.append(mountpoints.read_status(point))
        except UsageError as error:
            drives.append({"mountpoint": point, "problem": str(error)})
    if directory is None or not points:
        wanted = "" if directory is None else mountpoints.absolute(directory)
        for daemon, said in ending.detached(state_of_accounts(), wanted):
            drives.append(said | {"detached": ending.why(daemon, said)})
    return drives


def _page(drives: list[dict[str, Any]]) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - rich is large, and other commands do without

    from moonfs.cli.screen import screen  # noqa: PLC0415

    parts: list[RenderableType] = []
    for drive in drives:
        parts += ["", screen(drive, _server(drive))]
    return Group(*parts[1:])


def _server(drive: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the local Files API of a drive says of itself, or None."""
    from moonfs.server import embed  # noqa: PLC0415 - http.client brings TLS along, and other commands do without

    socket = drive.get("server_socket")
    if not isinstance(socket, str):
        return None
    try:
        return embed.health(socket)
    except OSError:
        return None


def _watch(directory: str | None, interval: float, as_json: bool) -> None:
    """Show the drives again and again; Ctrl-C ends it well, and so does the end of the one that was asked for."""
    try:
        if as_json:
            for drives in _looks(directory, interval):
                click.echo(to_json(drives[0] if directory is not None else drives))
                sys.stdout.flush()
        else:
            _live(directory, interval)
    except KeyboardInterrupt:
        return
    say(f"{directory} is no longer mounted.", err=True)


def _live(directory: str | None, interval: float) -> None:
    console = _console()
    if not console.is_terminal:
        for drives in _looks(directory, interval):
            console.print(time.strftime("%Y-%m-%d %H:%M:%S"), _page(drives) if drives else _NONE, "", sep="\n")
            sys.stdout.flush()
        return
    from rich.live import Live  # noqa: PLC0415

    last: RenderableType = ""
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for drives in _looks(directory, interval):
                last = _page(drives) if drives else _NONE
                live.update(last, refresh=True)
    finally:
        console.print(last)  # the other screen is gone, and what was seen last stays


def _looks(directory: str | None, interval: float) -> Iterator[list[dict[str, Any]]]:
    """Yield what there is, each `interval` seconds; ends when the drive that was asked for is unmounted."""
    while True:
        drives = _all(directory)
        if directory is not None and not drives:
            return
        yield drives
        time.sleep(interval)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE)
