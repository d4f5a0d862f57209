"""`moonfs mount` and `moonfs umount`, and what mount(8) calls for a line of fstab.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from shlex import quote

import click

from moonfs import config, keys, mountpoints
from moonfs.cli import offers
from moonfs.cli.options import Asked, drive_options
from moonfs.cli.progress import Waiting, passing_names, show_drain
from moonfs.config import Directories
from moonfs.errors import UsageError

#: What is no name of a profile in the first field of fstab.
_NO_PROFILE = ("", "none", "moonfs")


@click.command(short_help="Mount an account on a directory.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.directories)
@drive_options
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground and log to the terminal.")
def mount(directory: str | None, asked: Asked, foreground: bool) -> None:
    """Mount an account on DIR, an empty directory (made if it is missing).

    Without --local this is the hosted service, with the key in MOONSHOT_API_KEY (or KIMI_API_KEY), or where `moonfs
    key set` or config.toml has put it, and the service in MOONSHOT_BASE_URL (or KIMI_BASE_URL; default
    https://api.moonshot.ai/v1). Returns when the drive is usable.

    Every setting below is a flag, an option of -o (listing_ttl=30), a variable (MOONFS_LISTING_TTL=30) and a line of
    config.toml (listing_ttl = 30): the first of these counts, and `moonfs config` shows which one it was.

    \b
      moonfs mount --local ~/moon        offline, no account
      moonfs mount --profile work ~/work
      moonfs mount ~/moon --write-back --listing-ttl 60
    """
    directory = asked.directory(directory)
    directories = Directories.from_environment(os.environ)
    configuration = asked.resolve(directories)
    directory = directory or os.path.expanduser(configuration.text("directory"))
    if not directory:
        raise UsageError("Which directory? For example: moonfs mount --local ~/moon")
    settings = configuration.settings()
    data = None if configuration.hosted else configuration.local(directories)
    # The drive's modules (HTTP, FUSE) load only for the commands that need them.
    from moonfs import mount as mounting  # noqa: PLC0415

    if data is None and not keys.origin(configuration, directories):
        keys.find(configuration, directories)  # says what is missing, before anything is made
    mounting.check(directory, data, allow_other=settings.allow_other)  # before a command asks for a passphrase
    hosted = None
    if data is None:
        if configuration.overridden:
            click.echo(
                f"The key is that of {keys.origin(configuration, directories)}, which goes before the one of "
                f"{configuration.overridden}; unset the variable to use that one.",
                err=True,
            )
        hosted = config.hosted_account(configuration.base_url(), keys.find(configuration, directories))
    request = mounting.Request(
        point=directory,
        local=data,
        settings=settings,
        directories=directories,
        hosted=hosted,
        profile=configuration.profile,
        flags=asked.kernel,
    )
    if foreground:
        mounting.run(request)
    else:
        with Waiting() as waiting:
            mounting.start(request, waiting)


def for_fstab(name: str, arguments: Sequence[str], commands: Collection[str]) -> list[str] | None:
    """Return the arguments of `moonfs mount` for a call by mount(8), or None for any other call.

    For a line `moonfs#PROFILE DIR fuse.moonfs OPTIONS` it runs mount.fuse(8), and that `moonfs SOURCE DIR -o OPTIONS`;
    where there is a link /sbin/mount.fuse.moonfs to moonfs, it runs that: `SOURCE DIR [-sfnv] [-N NS] [-o …] [-t …]`.

    Args:
        name: the last part of the path that was called.
        arguments: what came with it.
        commands: names that are no profile's; `moonfs#NAME` is, whatever it is called.
    """
    helper = name.startswith("mount.")
    if not helper and (
        len(arguments) < 4 or arguments[0] in commands or arguments[0][:1] == "-" or arguments[2] != "-o"
    ):
        return None
    if len(arguments) < 2:
        raise UsageError(f"{name} is called by mount(8): {name} [moonfs#PROFILE] DIR [-o OPTIONS]")
    if os.geteuid() != 0 and os.environ.get("HOME") == "/root":
        del os.environ["HOME"]  # mount(8) drops it, and mount.fuse(8) sets that one, also for other users
    profile = arguments[0].removeprefix("moonfs#")
    chosen = [] if arguments[0] in _NO_PROFILE or not profile else ["--profile", profile]
    rest: list[str] = []
    words = iter(arguments[2:])
    for word in words:
        if word == "-o":
            rest += ["-o", next(words, "")]
        elif word in ("-t", "-N"):
            next(words, "")
        elif word.startswith("-o"):
            rest += ["-o", word[2:]]
        elif not word.startswith("-"):
            raise UsageError(f"{name} does not know what {word!r} is: {name} [moonfs#PROFILE] DIR [-o OPTIONS]")
    return ["mount", *chosen, *rest, "--", arguments[1]]


@click.command(short_help="Unmount a drive, after its pending uploads.")
@click.argument("directory", metavar="DIR", shell_complete=offers.drives)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for pending uploads; what is left then is uploaded after the next mount.",
)
@click.option("--stale", is_flag=True, help="Only clear a stale mount; a drive that works stays.")
def umount(directory: str, timeout: float, stale: bool) -> None:
    """Wait for what is still to be uploaded or deleted, unmount the drive on DIR, and wait until its daemon has ended.

    Also clears a stale mount, left by a daemon that died.
    """
    if stale and not mountpoints.is_stale(directory):
        raise UsageError(
            f"{directory} is no stale mount; moonfs umount {quote(directory)} unmounts a drive that works."
        )
    ends = time.monotonic() + timeout
    show_drain(directory, ends)
    left = passing_names(directory)
    cleared = mountpoints.unmount(
        directory,
        timeout=max(60.0, ends - time.monotonic()),
        hurry=time.monotonic() >= ends,
        waiting=lambda text: click.echo(f"{text} …", err=True),
    )
    if left:
        click.echo(left, err=True)
    if cleared:
        click.echo(f"{directory} was stale (its daemon had died) and is cleared.", err=True)
