"""`moonfs status`.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import json

import click

from moonfs import mountpoints
from moonfs.errors import UsageError


@click.command(short_help="Show a drive, or all of them.")
@click.argument("directory", metavar="[DIR]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what the drive says of itself, for scripts.")
def status(directory: str | None, as_json: bool) -> None:
    """Show the drive on DIR, or all drives: account, quota, uploads, caches, last errors."""
    from moonfs.cli.screen import show  # noqa: PLC0415 - rich is large, and other commands do without

    if directory is not None:
        mounted = mountpoints.at(directory)
        if mounted is None or mounted.fstype != mountpoints.FSTYPE:
            raise UsageError(f"No moonfs drive is mounted on {directory}; mount one with: moonfs mount {directory}")
        found = mountpoints.read_status(mounted.point)
        click.echo(json.dumps(found, ensure_ascii=False, indent=2)) if as_json else show(found)
        return
    drives = []
    for point in mountpoints.ours():
        try:
            drives.append(mountpoints.read_status(point))
        except UsageError as error:
            drives.append({"mountpoint": point, "problem": str(error)})
    if as_json:
        click.echo(json.dumps(drives, ensure_ascii=False, indent=2))
    elif not drives:
        click.echo("No drive is mounted; mount one with: moonfs mount --local ~/moon")
    else:
        for drive in drives:
            show(drive)
