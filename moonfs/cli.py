"""The command line: wiring and exit codes. No policy; every error is one sentence on standard error and exit 1.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import moonfs
from moonfs import config, mountpoints
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.server.behaviour import SWITCHES, Behaviour

if TYPE_CHECKING:
    from rich.progress import Progress

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

#: Files of one kind that `status` names.
_FEW = 5
#: Files that `prefetch` names.
_MANY = 20

_MOUNT_OPTIONS = """
Options of -o (comma-separated, or -o several times):

\b
  write_back               as --write-back
  drain=SECONDS            how long the end of the mount waits for uploads (30)
  listing_ttl=SECONDS      believe a listing this long (10)
  purpose=NAME             auto, file-extract, image, video or batch (auto)
  sidecars=hide            keep NAME.content out of listings; they still open
  content=text             the text alone in NAME.content, not the JSON around it (body)
  content_cache=SIZE       text kept in memory (64M)
  text_cache=SIZE          text kept on disk (1G)
  originals_cache=SIZE     own originals kept on disk (10G)
  timeout=SECONDS          longest wait for a read request (60)
  upload_timeout=SECONDS   longest wait for one upload (600)
  requests=N               requests at once, at most (32)
  uid=N,gid=N,umask=OCTAL  shown owner and permissions
  allow_other              let other users in
  debug                    log more
"""


@click.group(context_settings=_CONTEXT)
@click.version_option(moonfs.__version__, prog_name="moonfs", message="%(prog)s %(version)s")
def cli() -> None:
    """Mount a Moonshot (Kimi) Files account as a drive.

    \b
      moonfs mount ~/moon --local      a drive on this machine, offline, no account
      moonfs mount ~/moon              the hosted service; needs MOONSHOT_API_KEY
      cp paper.pdf ~/moon/             upload
      cat ~/moon/paper.pdf.content     read the text the service extracted
      moonfs prefetch ~/moon           fetch all texts at once
      rm ~/moon/paper.pdf              delete
      df -h ~/moon                     the quota
      moonfs umount ~/moon             unmount
    """


@cli.command(epilog=_MOUNT_OPTIONS, short_help="Mount an account on a directory.")
@click.argument("directory", metavar="DIR", required=False)
@click.option(
    "--local",
    metavar="[DATA]",
    is_flag=False,
    flag_value="",
    default=None,
    help="Mount the local Files API that keeps its files in DATA (default: moonfs/local in the XDG data directory), "
    "started when it is not running. No account, no network.",
)
@click.option(
    "--write-back",
    is_flag=True,
    help="Let close return when the bytes are safe on this disk; upload in the background, for ever if need be.",
)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground and log to the terminal.")
@click.option("-o", "options", metavar="OPTION[,…]", multiple=True, help="Settings of the drive, see below.")
def mount(
    directory: str | None, local: str | None, write_back: bool, foreground: bool, options: tuple[str, ...]
) -> None:
    """Mount an account on DIR, an empty directory (made if it is missing).

    Without --local this is the hosted service, with the key in MOONSHOT_API_KEY (or KIMI_API_KEY) and the service
    in MOONSHOT_BASE_URL (or KIMI_BASE_URL; default https://api.moonshot.ai/v1). Returns when the drive is usable.
    """
    if directory is None and local:
        directory, local = local, ""  # `mount --local DIR`
    if directory is None:
        raise UsageError("Which directory? For example: moonfs mount --local ~/moon")
    # The drive's modules (HTTP, FUSE) load only for the commands that need them.
    from moonfs import mount as mounting  # noqa: PLC0415

    directories = Directories.from_environment(os.environ)
    data = None
    if local is not None:
        data = Path(os.path.abspath(os.path.expanduser(local))) if local else directories.data / "local"
    request = mounting.Request(
        point=directory,
        local=data,
        settings=config.parse_settings(_split_options((*options, "write_back") if write_back else options)),
        directories=directories,
        environ=os.environ,
    )
    if foreground:
        mounting.run(request)
    else:
        mounting.start(request)


@cli.command(short_help="Unmount a drive, after its pending uploads.")
@click.argument("directory", metavar="DIR")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for pending uploads; what is left then is uploaded after the next mount.",
)
def umount(directory: str, timeout: float) -> None:
    """Wait for what is still to be uploaded or deleted, unmount the drive on DIR, and wait until its daemon has ended.

    Also clears a stale mount, left by a daemon that died.
    """
    ends = time.monotonic() + timeout
    _drain(directory, ends)
    stale = mountpoints.unmount(
        directory,
        timeout=max(60.0, ends - time.monotonic()),
        hurry=time.monotonic() >= ends,
        waiting=lambda text: click.echo(f"{text} …", err=True),
    )
    if stale:
        click.echo(f"{directory} was stale (its daemon had died) and is cleared.", err=True)


@cli.command(short_help="Ask the service for its files now.")
@click.argument("directory", metavar="DIR")
def refresh(directory: str) -> None:
    """Have the drive on DIR ask the service for its files now, and say how many there are.

    A drive believes a listing for some seconds (-o listing_ttl). The same without a count: touch DIR/.moonfs/refresh
    """
    files = mountpoints.refresh(directory)
    click.echo(f"{files:,} file{'' if files == 1 else 's'}")


@cli.command(short_help="Fetch texts before they are read.")
@click.argument("directory", metavar="DIR")
@click.argument("files", metavar="[NAME]…", nargs=-1)
def prefetch(directory: str, files: tuple[str, ...]) -> None:
    """Fetch the texts of all files of the drive on DIR, or of those named, so that they are here and their sizes exact.

    What is here is not fetched again: after a Ctrl-C the same command goes on. It gives way to whoever reads, and
    waits out rate limits and outages.
    """
    point = mountpoints.absolute(directory)
    wanted = [os.path.basename(file.rstrip("/")) for file in files]
    bar = _bar_of_texts()  # first: Python takes a Ctrl-C that comes in an import for one that nobody has handled
    stops = mountpoints.read_prefetch(point)["stops"]
    try:
        mountpoints.prefetch(point, *(wanted or ["/all"]))
        last = _follow_prefetch(point, bar)
    except KeyboardInterrupt:
        mountpoints.prefetch(point, "/stop")
        click.echo("Stopped; what was fetched stays here, and the same command goes on.", err=True)
        sys.exit(130)
    click.echo(f"{last['done']:,} of {last['total']:,} text{'' if last['total'] == 1 else 's'} here")
    if last["stops"] != stops:
        raise UsageError("It was stopped by somebody else; the same command goes on.")
    for failed in last["failed"][:_MANY]:
        click.echo(f"{failed['name']}: {failed['error']}", err=True)
    if last["failures"] > _MANY:
        click.echo(f"… and {last['failures'] - _MANY:,} more", err=True)
    if last["failures"]:
        sys.exit(1)


@cli.command(short_help="Show a drive, or all of them.")
@click.argument("directory", metavar="[DIR]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what the drive says of itself, for scripts.")
def status(directory: str | None, as_json: bool) -> None:
    """Show the drive on DIR, or all drives: account, quota, uploads, caches, last errors."""
    if directory is not None:
        mounted = mountpoints.at(directory)
        if mounted is None or mounted.fstype != mountpoints.FSTYPE:
            raise UsageError(f"No moonfs drive is mounted on {directory}; mount one with: moonfs mount {directory}")
        found = mountpoints.read_status(mounted.point)
        click.echo(json.dumps(found, ensure_ascii=False, indent=2)) if as_json else _show(found)
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
            _show(drive)


def _switches(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of the local server's behaviour."""
    for switch in reversed(SWITCHES):
        kinds: dict[Any, Any] = {
            int: click.IntRange(int(switch.low), int(switch.high)),
            float: click.FloatRange(switch.low, switch.high),
            str: str,
        }
        if switch.kind is bool:
            option = click.option(switch.flag, is_flag=True, help=switch.help)
        else:
            kind = click.Choice(switch.kind) if isinstance(switch.kind, tuple) else kinds[switch.kind]
            shown = switch.default not in ("", 0)
            option = click.option(
                switch.flag, type=kind, default=switch.default, show_default=shown, metavar=switch.metavar or None,
                help=switch.help,
            )  # fmt: skip
        command = option(command)
    return command


@cli.command(short_help="Run the local Files API.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="Port; 0 picks one.")
@click.option(
    "--data",
    metavar="DIR",
    default=None,
    help="Where the files are kept (default: moonfs/local in the XDG data directory).",
)
@click.option(
    "--account",
    "accounts",
    metavar="NAME",
    multiple=True,
    help="Serve one more account, with a key and files of its own; it stays.",
)
@_switches
def serve(host: str, port: int, data: str | None, accounts: tuple[str, ...], **switches: Any) -> None:
    """Run the local Files API: the service's endpoints, text extraction and OCR on this machine.

    Any client of the hosted service works against it with its base URL and key; so does moonfs mount --local DIR.
    GET /healthz tells what it does, GET /openapi.json what it can be asked; GET /ms/ID gives the image or video that a
    chat refers to as ms://ID. A new key is made when its file was removed.

    What nobody outside knows of the hosted service can be switched, so that a program can be tried against either
    answer: --list-order and the options after it.
    """
    try:
        from moonfs.server.command import serve_command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The local Files API needs the extra `local` ({error.name} is missing): pip install 'moonfs[local]'"
        ) from error
    directories = Directories.from_environment(os.environ)
    data = data or str(directories.data / "local")
    try:
        behaviour = Behaviour.of(switches)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(serve_command(host, port, data, str(directories.runtime), behaviour=behaviour, accounts=accounts))


def _bar_of_texts() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("texts"), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))


def _follow_prefetch(point: str, bar: Progress) -> dict[str, Any]:
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


def _drain(directory: str, ends: float) -> None:
    """Show how the pending uploads of a drive go on until there are none or the time is up (L2)."""
    mounted = mountpoints.at(directory)
    if mounted is None or mounted.fstype != mountpoints.FSTYPE:
        return
    try:
        uploads = mountpoints.read_status(mounted.point)["uploads"]
        files, size = len(uploads["pending"]) + uploads["deletions"], uploads["pending_bytes"]
    except (UsageError, KeyError, TypeError):
        return
    if not files:
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import TransferSpeedColumn as SpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=size)
        left = files
        while left and time.monotonic() < ends:
            progress.update(task, description=f"{left} of {files} files to go")
            time.sleep(0.2)
            try:
                uploads = mountpoints.read_status(mounted.point)["uploads"]
            except (UsageError, KeyError, TypeError):
                return
            left = len(uploads["pending"]) + uploads["deletions"]
            progress.update(task, description=f"{left} of {files} files to go")
            progress.update(task, completed=max(0, size - uploads["pending_bytes"]))
    if left:
        why = "".join(f" The last try with {each['name']}: {each['error']}." for each in uploads["waiting"][:1])
        click.echo(
            f"{left} file{'s are' if left > 1 else ' is'} not uploaded yet; what is left stays here and goes on "
            f"after the next mount.{why}",
            err=True,
        )


def main() -> NoReturn:
    """Run a command and exit: 0 when it did its work, 1 when it could not, 2 when it was called wrongly."""
    try:
        cli(standalone_mode=False)
    except UsageError as error:
        click.echo(f"moonfs: {error}", err=True)
        sys.exit(1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    sys.exit(0)


def _split_options(options: tuple[str, ...]) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for option in ",".join(options).split(","):
        if option:
            name, equals, value = option.partition("=")
            pairs[name] = value if equals else None
    return pairs


def _show(drive: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

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
