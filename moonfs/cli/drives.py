"""`moonfs refresh` and `moonfs prefetch`: what a mounted drive is asked to do.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from moonfs import mountpoints
from moonfs.cli import offers, words
from moonfs.cli.progress import bar_of_texts, follow_prefetch
from moonfs.errors import UsageError


@click.command(short_help="Ask the service for its files now.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
def refresh(directory: str | None) -> None:
    """Have the drive on DIR, or the only one that you have mounted, ask the service for its files now, and say how many
    there are.

    A drive believes a listing for some seconds (-o listing_ttl). The same without a count: touch DIR/.moonfs/refresh
    """
    files = mountpoints.refresh(mountpoints.only("refresh") if directory is None else directory)
    click.echo(words.count(files, "file"))


@click.command(short_help="Fetch texts before they are read.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives_and_files)
@click.argument("files", metavar="[NAME]…", nargs=-1, shell_complete=offers.files_of("directory"))
def prefetch(directory: str | None, files: tuple[str, ...]) -> None:
    """Fetch the texts of all files of the drive on DIR (or of the only one that you have mounted), or of those named,
    so that they are here and their sizes exact.
    A NAME may be that of the text, NAME.content, and have its DIR before it: moonfs prefetch ~/moon/a.pdf

    What is here is not fetched again: after a Ctrl-C the same command goes on. It gives way to whoever reads, waits
    out rate limits and outages, and for the uploads of files that are on their way. When texts cannot be had it says
    how many and why, and the exit status is 1.
    """
    point, wanted = _named(mountpoints.only("fetch") if directory is None else directory, files)
    bar = bar_of_texts()  # first: Python takes a Ctrl-C that comes in an import for one that nobody has handled
    stops = mountpoints.read_prefetch(point)["stops"]
    try:
        mountpoints.prefetch(point, *(wanted or ["/all"]))
        last = follow_prefetch(point, bar)
    except KeyboardInterrupt:
        mountpoints.prefetch(point, "/stop")
        click.echo("Stopped; what was fetched stays here, and the same command goes on.", err=True)
        sys.exit(130)
    done, total = last["done"], last["total"]
    missing = f", {last['failures']:,} cannot be had" if last["failures"] else ""
    here = f"{words.count(done, 'text')} here" if total == 1 else f"{done:,} of {total:,} texts here"
    click.echo(f"{here}{missing}")
    if last["stops"] != stops:
        raise UsageError("The prefetch was stopped by somebody else; the same command goes on with it.")
    for line in words.failures(last["failed"], {each["next"]: each["count"] for each in last["reasons"]}):
        click.echo(line, err=True)
    if last["failures"]:
        sys.exit(1)


def _named(directory: str, files: Sequence[str]) -> tuple[str, list[str]]:
    """Return the mount point that is meant, and the names of files on it.

    Args:
        directory: a mount point, or a path on a drive.
        files: names, or paths on the same drive.

    Raises:
        UsageError: a path is on another drive.
    """
    found = mountpoints.holding(directory)
    point, inside = found or (mountpoints.absolute(directory), "")
    for path in files:
        if "/" in path.rstrip("/") and (mountpoints.holding(path) or ("", ""))[0] != point:
            raise UsageError(f"{path} is not on the drive on {point}; name the files of one drive at a time.")
    return point, [os.path.basename(file.rstrip("/")) for file in ([inside] if inside else []) + list(files)]
