"""`moonfs mount` and `moonfs umount`.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from moonfs import config, mountpoints
from moonfs.cli.progress import show_drain
from moonfs.config import Directories
from moonfs.errors import UsageError

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


@click.command(epilog=_MOUNT_OPTIONS, short_help="Mount an account on a directory.")
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


@click.command(short_help="Unmount a drive, after its pending uploads.")
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
    show_drain(directory, ends)
    stale = mountpoints.unmount(
        directory,
        timeout=max(60.0, ends - time.monotonic()),
        hurry=time.monotonic() >= ends,
        waiting=lambda text: click.echo(f"{text} …", err=True),
    )
    if stale:
        click.echo(f"{directory} was stale (its daemon had died) and is cleared.", err=True)


def _split_options(options: tuple[str, ...]) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for option in ",".join(options).split(","):
        if option:
            name, equals, value = option.partition("=")
            pairs[name] = value if equals else None
    return pairs
