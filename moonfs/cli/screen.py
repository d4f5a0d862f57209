"""What `moonfs status` shows of one drive.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import moonfs

#: Files of one kind that `status` names.
_FEW = 5


def show(drive: dict[str, Any]) -> None:

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if "problem" in drive or drive.get("version") != moonfs.__version__:
        text = drive.get("problem") or f"{drive.get('mountpoint')} is served by moonfs {drive.get('version')}."
        console.print(Text(str(text)))
        return
    quota, uploads, caches = drive["quota"], drive["uploads"], drive["caches"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")

    def row(label: str, text: str) -> None:
        table.add_row(label, Text(text))

    row(
        "drive",
        f"{drive['mountpoint']}  (process {drive['pid']}, for {_duration(time.time() - drive['started'])})",
    )
    row("account", str(drive["account"]))
    row(
        "quota",
        f"{quota['files']:,} of {quota['max_files']:,} files, {_size(quota['bytes'])} of {_size(quota['max_bytes'])}",
    )
    row("writes", f"{drive['mode']}, purpose {drive['purpose']}")
    row(
        "uploads",
        f"{len(uploads['pending'])} pending ({_size(uploads['pending_bytes'])}), {uploads['active']} under way, "
        f"{uploads['deletions']} deletions, {uploads['done']} done",
    )
    if uploads["local"]:
        row("local only", ", ".join(uploads["local"]))
    for waiting in uploads["waiting"][:_FEW]:
        row("tried again", f"{waiting['name']}: {waiting['error']}")
    for failed in uploads["failed"]:
        row("not uploaded", f"{failed['name']}: {failed['error']} ({failed['errno']})")
    content, originals = caches["content"], caches["originals"]
    row(
        "caches",
        f"texts {_size(content['disk_bytes'])} on disk, {_size(content['bytes'])} in memory "
        f"({content['hits'] + content['disk_hits']} hits, {content['misses']} misses, "
        f"{content['read_ahead']} read ahead), "
        f"{originals['files']:,} originals {_size(originals['bytes'])} of {_size(originals['max_bytes'])}",
    )
    if "traffic" in drive:  # a daemon that was mounted before an update has none
        row("traffic", _traffic(drive["traffic"]))
    if drive["listing"]["stale_because"]:
        row("listing", f"stale: {drive['listing']['stale_because']}")
    for problem in drive["errors"]:
        row("error", f"{problem['time']} {problem['operation']} {problem['name']}: {problem['message']}")
    row("log", str(drive["log"]))
    console.print(table)


def _traffic(traffic: dict[str, Any]) -> str:
    if outage := traffic["outage"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(outage["since"]))
        return f"the service has not answered since {since}: {outage['reason']}"
    shown = f"{traffic['under_way']} under way, {traffic['waiting']} waiting, up to {traffic['at_once']} at once"
    if traffic["per_minute"] is not None:
        shown += f", {traffic['per_minute']} a minute"
    if traffic["pause"]:
        shown += f", paused for {traffic['pause']:.0f} s"
    if traffic["refusals"]:
        shown += f" ({traffic['refusals']} refused as too many)"
    return shown


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"
