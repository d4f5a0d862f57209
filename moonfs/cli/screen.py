"""What `moonfs status` shows of one drive: account, quota, what is uploaded, what failed and why, caches.

It draws what `status.json` says and asks nobody. File names come from anywhere: they are text, never markup.

**Threading:** pure; one command runs in the main thread.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from shlex import quote
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import moonfs
from moonfs import wire, wording
from moonfs.cli.words import WHOSE_FILES, by_advice, count, doing, duration, printable, size
from moonfs.settings import ORGANISATION

#: Lines of one kind that are shown; the rest is counted.
_FEW: Final = 5
_BAR: Final = 24
#: The shares of a quota from which its bar is yellow, and red.
_HIGH, _FULL = 0.8, 0.95
#: What is said of a limit, by where it is known from.
_ORIGINS: Final = {
    "documented": ", as documented",
    "set": ", as the settings say",
    "learned": ", as learned from the service",
    "refused": ": the service takes no more",
}

Drive = Mapping[str, Any]


def screen(drive: Drive, server: Drive | None = None, *, now: float | None = None) -> RenderableType:
    """Return what is shown of one drive.

    Args:
        drive: its `status.json`, or `mountpoint` and `problem` where it does not answer.
        server: what its local Files API says of itself, or None.
        now: Unix time; None for the clock's.
    """
    now = time.time() if now is None else now
    drive, server = _plain(drive), _plain(server)
    if "problem" in drive:
        return Text(str(drive["problem"]), style="red")
    parts: list[RenderableType] = [_head(drive, now)]
    if "detached" in drive:
        parts.append(Text(str(drive["detached"]), style="yellow"))
    if drive.get("version") != moonfs.__version__:
        text = f"This drive is served by moonfs {drive.get('version')}, and this is {moonfs.__version__}: "
        parts.append(
            Text(text + f"moonfs umount {quote(str(drive.get('mountpoint')))}, then mount it again.", style="yellow")
        )
    for part in (_quota, _uploads, _trouble, functools.partial(_rest, server=server)):
        try:
            parts.append(part(drive))
        except (KeyError, TypeError, ValueError, AttributeError):  # of another version
            parts.append(Text("(this part was written by another version of moonfs)", style="dim"))
    return Group(*parts)


def _plain(value: Any) -> Any:
    """Return what a drive says without what would do something to a terminal; of a profile, a path, a reason too."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _head(drive: Drive, now: float) -> RenderableType:
    profile = f" (profile {drive['profile']})" if drive.get("profile") else ""
    head = Text(str(drive.get("mountpoint")), style="bold")
    head.append(f"  {_home(str(drive.get('account')))}{profile}", style="not bold")
    lived = duration(now - float(drive.get("started") or now))
    text = f"{drive.get('mode')}, purpose {drive.get('purpose')}; mounted for {lived} by process {drive.get('pid')}"
    lines = [head, Text(text, style="dim")]
    if drive.get("scope") == ORGANISATION:
        lines.append(Text(WHOSE_FILES, style="yellow"))
    return Group(*lines)


def _quota(drive: Drive) -> RenderableType:
    quota = drive["quota"]
    table = _table()
    for label, used, most, shown, origin in (
        ("Files", quota["files"], quota["max_files"], f"{quota['files']:,} of {quota['max_files']:,}", "files_by"),
        (
            "Space",
            quota["bytes"],
            quota["max_bytes"],
            f"{size(quota['bytes'])} of {size(quota['max_bytes'])}",
            "bytes_by",
        ),
    ):
        share = used / most if most else 1.0
        refused = quota.get(origin) == "refused"
        colour = "red" if share >= _FULL or refused else "yellow" if share >= _HIGH else "green"
        known = _ORIGINS.get(str(quota.get(origin)), "")
        table.add_row(label, _bar(used, most, colour), Text(f"{shown} ({share:.0%}){known}"))
    return table


def _uploads(drive: Drive) -> RenderableType:
    uploads = drive["uploads"]
    pending, under_way = uploads["pending"], uploads.get("under_way", [])
    counts = [f"{uploads['done']:,} done"]
    if pending:
        counts.append(f"{len(pending):,} to go ({size(uploads['pending_bytes'])})")
    if doubts := uploads.get("doubts"):
        counts.append(f"{len(doubts):,} in doubt")
    if uploads["deletions"]:
        counts.append(f"{uploads['deletions']:,} to delete")
    if uploads["local"]:
        counts.append(f"{len(uploads['local']):,} only on this machine")
    parts: list[RenderableType] = [_row("Uploads", Text(", ".join(counts)))]
    if under_way:
        parts.append(uploads_table(under_way))
    return Group(*parts)


def uploads_table(under_way: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Return one line an upload under way: its name, a bar, and how far it is."""
    all_of_them = list(under_way)
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(width=2)
    table.add_column(max_width=32, no_wrap=True, overflow="ellipsis")
    table.add_column(width=_BAR)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for each in all_of_them[:_FEW]:
        name = Text(printable(str(each["name"])))
        table.add_row("", name, _bar(each["sent"], each["size"], "blue"), Text(_state(each)))
    if len(all_of_them) > _FEW:
        table.add_row("", Text(f"… and {len(all_of_them) - _FEW:,} more", style="dim"), "", "")
    return table


def _state(upload: Mapping[str, Any]) -> str:
    seconds = float(upload["seconds"])
    if upload["state"] == "waiting":
        return "waits for its turn"
    if upload["state"] == "being read":
        return f"sent; its text is being read, {duration(seconds)}"
    rate = f", {size(upload['sent'] / seconds)}/s" if seconds >= 1 else ""
    return f"{size(upload['sent'])} of {size(upload['size'])}{rate}"


def _trouble(drive: Drive) -> RenderableType:
    """Return what failed, what is tried again, and what may be a copy, each with the reason and the next step."""
    uploads = drive["uploads"]
    parts: list[RenderableType] = []
    for title, style, entries in (
        ("Not uploaded", "red", uploads["failed"]),
        ("Tried again", "yellow", uploads["waiting"]),
        ("Perhaps copies", "yellow", uploads.get("copies", [])),
        ("With a number", "yellow", uploads.get("misnamed", [])),
    ):
        if entries:
            parts.append(Text(title, style=f"bold {style}"))
        parts += _advised((f"{each['name']}: {each['error']}", each.get("next", "")) for each in entries[:_FEW])
        if len(entries) > _FEW:
            parts.append(_indented(Text(f"… and {len(entries) - _FEW:,} more", style="dim")))
    if back := uploads.get("back"):
        few = ", ".join(map(str, back[:_FEW])) + (", …" if len(back) > _FEW else "")
        shown = "the version before is shown, and goes to the service again, as the newer one was not stored"
        parts.append(_row("Back", Text(f"{few} ({shown})")))
    if uploads["local"]:
        few = ", ".join(map(str, uploads["local"][:_FEW])) + (", …" if len(uploads["local"]) > _FEW else "")
        parts.append(_row("Only here", Text(f"{few} (empty, or a temporary name)")))
    if outage := drive.get("traffic", {}).get("outage"):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(outage["since"]))
        text = f"The service has not answered since {since}: {outage['reason']}"
        parts.append(Text(text + ". What is known is shown; uploads go on by themselves when it is back.", style="red"))
    elif drive["listing"]["stale_because"]:
        parts.append(Text(f"The listing is old: {drive['listing']['stale_because']}", style="yellow"))
    if drive.get("conflicts", {}).get("copies"):
        parts.append(_row("Conflicts", Text(_conflicts(drive["conflicts"], str(drive.get("mountpoint"))))))
    if unread := drive["listing"].get("unread"):
        text = f"The service has more files than are shown: its list was not read to its end, for {unread}."
        parts.append(Text(text, style="yellow"))
    elif left_out := drive["listing"].get("left_out"):
        text = (
            f"The service lists {left_out:,} more that are not shown: a drive has the newest {wire.MAX_LISTED:,} files."
        )
        parts.append(Text(text, style="yellow"))
    named = {each["name"] for each in (*uploads["failed"], *uploads["waiting"])}
    # The last of those that say the same of the same file: what cannot be written is not closed in order either.
    last = {(e.get("name"), e.get("message")): e for e in drive.get("errors", [])}
    errors = [each for each in last.values() if each.get("name") not in named][-_FEW:]
    if errors:
        parts.append(Text("Last errors", style="bold"))
    parts += _advised(
        (
            f"{wording.shown(each['time'])} {doing(each['operation'])} {each['name']}: {each['message']}",
            each.get("next", ""),
        )
        for each in errors
    )
    return Group(*parts)


def _advised(entries: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    """Yield a line for each entry, and the advice for those that have the same once, after the last of them."""
    for texts, advice in by_advice(entries):
        yield from (_indented(Text(text)) for text in texts)
        if advice:
            yield _indented(Text(f"→ {advice}", style="dim"), 4)


def _conflicts(found: Mapping[str, Any], point: str) -> str:
    """Return what to say of older files of names that newer ones have."""
    shown = f"{count(found['copies'], 'older file')} of names that newer ones have, untouched for an hour"
    if not found["ours"]:
        return f"{shown}; other machines stored them"
    return f"{shown}; {found['ours']:,} of them this machine's: moonfs tidy {quote(point)}"


def _rest(drive: Drive, *, server: Drive | None) -> RenderableType:
    """Return what is well as long as nobody wonders: caches, requests, the local Files API, the log."""
    content, originals = drive["caches"]["content"], drive["caches"]["originals"]
    reads = content["hits"] + content["disk_hits"] + content["misses"]
    here = f", {(content['hits'] + content['disk_hits']) / reads:.0%} of {reads:,} reads were here" if reads else ""
    parts = [
        _row("Texts", Text(f"{size(content['disk_bytes'])} on disk, {size(content['bytes'])} in memory{here}")),
        _row(
            "Originals",
            Text(f"{count(originals['files'], 'file')}, {size(originals['bytes'])} of {size(originals['max_bytes'])}"),
        ),
    ]
    if "traffic" in drive:
        parts.append(_row("Requests", Text(_traffic(drive["traffic"]))))
    if server is not None:
        parts.append(_row("Reading", Text(_reading(server))))
    parts.append(_row("Log", Text(_home(str(drive["log"])))))
    return Group(*parts)


def _traffic(traffic: Mapping[str, Any]) -> str:
    shown = f"{traffic['under_way']} under way, {traffic['waiting']} waiting, up to {traffic['at_once']} at once"
    if traffic["per_minute"] is not None:
        shown += f", {traffic['per_minute']} a minute"
    if traffic["pause"]:
        shown += f", paused for {traffic['pause']:.0f} s"
    if traffic["refusals"]:
        shown += f" ({traffic['refusals']} refused as too many)"
    return shown


_LANES: Final = {
    "ocr": "pictures (OCR)", "small ocr": "small pictures (OCR)", "light": "documents", "text": "plain text"
}  # fmt: skip


def _reading(server: Drive) -> str:
    """Return what the local Files API is doing: documents that it reads, and what waits."""
    words = []
    for lane, state in server.get("extraction", {}).items():
        name = _LANES.get(lane, lane)
        for job in state["running"]:
            far = f", part {job['done']} of {job['total']}" if job["total"] else ""
            how = "starting" if job.get("state") == "starting" else "reading"
            words.append(f"{name}: {how} for {duration(job['seconds'])}{far}")
        if state["queued"]:
            words.append(f"{name}: {state['queued']} waiting")
    return "; ".join(words) or "the local Files API has nothing to read"


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(style="bold", width=11)
    table.add_column(width=_BAR)
    table.add_column(overflow="fold")
    return table


def _row(label: str, text: Text) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(style="bold", width=11)
    table.add_column(overflow="fold")
    table.add_row(label, text)
    return table


def _bar(done: float, total: float, colour: str) -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=min(done, total) or 0, width=_BAR, complete_style=colour, finished_style=colour
    )


def _indented(text: Text, by: int = 2) -> RenderableType:
    return Padding(text, (0, 0, 0, by), expand=False)


def _home(path: str) -> str:
    """Return a text with `~` for this user's home directory."""
    home = os.path.expanduser("~")
    return path.replace(f"{home}/", "~/") if len(home) > 1 else path
