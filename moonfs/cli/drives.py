"""`moonfs refresh`, `moonfs prefetch` and `moonfs tidy`: what a mounted drive is asked to do.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from shlex import quote
from typing import Final

import click

from moonfs import mountpoints, wording
from moonfs.cli import offers, words
from moonfs.cli.progress import bar_of_texts, follow_prefetch
from moonfs.cli.words import say
from moonfs.errors import UsageError

#: Files whose deletion is asked for at once: the drive answers when all of them are gone.
_AT_ONCE: Final = 8


@click.command(short_help="Ask the service for its files now.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
def refresh(directory: str | None) -> None:
    """Have the drive on DIR, or the only one that you have mounted, ask the service for its files now, and say how many
    there are.

    A drive believes a listing for some seconds (-o listing_ttl). The same without a count: touch DIR/.moonfs/refresh
    """
    files = mountpoints.refresh(mountpoints.only("refresh") if directory is None else directory)
    say(words.count(files, "file"))


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
        say("Stopped; what was fetched stays here, and the same command goes on.", err=True)
        sys.exit(130)
    done, total = last["done"], last["total"]
    missing = f", {last['failures']:,} cannot be had" if last["failures"] else ""
    here = f"{words.count(done, 'text')} here" if total == 1 else f"{done:,} of {total:,} texts here"
    say(f"{here}{missing}")
    if last["stops"] != stops:
        raise UsageError("The prefetch was stopped by somebody else; the same command goes on with it.")
    counts = {each["next"]: each["count"] for each in last["reasons"]}
    say(*words.failures(last["failed"], counts), err=True)
    if last["failures"]:
        sys.exit(1)


@click.command(short_help="Show or delete old conflict copies.")
@click.argument("directory", metavar="DIR", shell_complete=offers.drives)
@click.option("--delete", is_flag=True, help="Delete what is printed, where it is still unchanged.")
def tidy(directory: str, delete: bool) -> None:
    """Print the conflict copies on DIR that this machine has stored: NAME~ID, older files of a NAME that a newer file
    has, which nobody has touched for an hour. They come from several machines that write the same names.

    Those of other machines, and equal names that others have stored, are neither printed nor deleted: rm does that.
    """
    point = mountpoints.absolute(directory)
    copies = mountpoints.read_tidy(point)["copies"]
    for each in copies:
        say(f"{each['name']}  {words.size(each['bytes'])}, stored {wording.shown(wording.stamp(each['stored']))}")
    if not copies or not delete:
        say(
            f"Delete them with: moonfs tidy --delete {quote(directory)}" if copies else "There is nothing to tidy.",
            err=True,
        )
        return
    deleted: list[str] = []
    for start in range(0, len(copies), _AT_ONCE):
        deleted += mountpoints.tidy(point, [each["id"] for each in copies[start : start + _AT_ONCE]])
    say(f"{words.count(len(deleted), 'file')} deleted.", err=True)
    if kept := [each["name"] for each in copies if each["id"] not in deleted]:
        say("Not deleted, as it is no conflict copy any more, or in use:", *kept, err=True)


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
