"""`moonfs mount` and `moonfs umount`, and what mount(8) calls for a line of fstab.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Final

import click

from moonfs import config, ending, keys, mountpoints
from moonfs.cli import offers
from moonfs.cli.desktop import offer
from moonfs.cli.kept import states
from moonfs.cli.numbers import Number
from moonfs.cli.options import Asked, drive_options
from moonfs.cli.progress import Waiting, passing_names, show_drain
from moonfs.cli.words import WHOSE_FILES, count, say
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.settings import ORGANISATION

#: What is no name of a profile in the first field of fstab.
_NO_PROFILE = ("", "none", "moonfs")
#: Files that are named.
_FEW: Final = 5


@click.command(short_help="Mount an account on a directory.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.directories)
@drive_options(listed=True)
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
    with _leaves_no_directory(directory):
        with _told_apart(asked, data, directory):
            mounting.check(directory, data, allow_other=settings.allow_other)  # before a command asks for a passphrase
        hosted = None
        if data is None:
            if configuration.overridden:
                say(
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
        whose = WHOSE_FILES if hosted is not None and settings.scope == ORGANISATION else ""
        if foreground:
            mounting.run(request, whose)
        else:
            with Waiting() as waiting:
                mounting.start(request, waiting)
            if whose:
                say(whose, err=True)
            offer(directories, os.environ)


@contextlib.contextmanager
def _leaves_no_directory(directory: str) -> Iterator[None]:
    """Take away again what was made for a drive that could not be mounted: the directory, and those it lies in."""
    path = Path(mountpoints.absolute(directory))
    made = [each for each in (path, *path.parents) if not os.path.lexists(each)]
    try:
        yield
    except UsageError:
        with contextlib.suppress(OSError):  # it is used by now, or was never made
            for each in made:
                each.rmdir()
        raise


@contextlib.contextmanager
def _told_apart(asked: Asked, data: Path | None, directory: str) -> Iterator[None]:
    """Say which directory is which in `--local DATA DIR`: where DIR cannot be used, and where DATA is new."""
    given = asked.flags.get("local")
    if data is None or given is None or given.text in ("yes", "no"):
        yield
        return
    try:
        yield
    except UsageError as error:
        if directory not in str(error):
            raise
        raise UsageError(
            f"{error} In --local {quote(given.text)} {quote(directory)} the first directory is where the local Files "
            "API keeps its files, and the second where the drive is mounted."
        ) from error
    if not os.path.exists(data / "files.sqlite") and sys.stderr.isatty():
        say(
            f"{given.text} is where the local Files API keeps its files from now on; the drive is {directory}.",
            err=True,
        )


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
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Number(min=0),
    default=600.0,
    help="Wait no longer than this for pending uploads; what is left then is uploaded after the next mount. [600]",
)
@click.option(
    "--lazy",
    is_flag=True,
    help="Wait for nothing, and end the drive whoever holds it; what is pending or being written is kept for the next "
    "mount.",
)
@click.option("--stale", is_flag=True, help="Only clear a stale mount; a drive that works stays.")
@click.option("--all", "every", is_flag=True, help="Unmount all drives that you have mounted.")
def umount(directory: str | None, timeout: float, lazy: bool, stale: bool, every: bool) -> None:  # fmt: skip
    """Wait for what is still to be uploaded or deleted, unmount the drive on DIR (or the only one that you have
    mounted), and wait until its daemon has ended.

    A drive that a program has open stays mounted; one that another mount namespace holds (a container, a service) is
    unmounted here, and lives on there. The command says who it is, and fails. --lazy ends such a drive.

    Also clears a stale mount, left by a daemon that died.
    """
    state = state_of_accounts()
    if directory is not None and every:
        raise click.UsageError("Give a directory or --all, not both.")
    if directory is not None:
        _umount(directory, state, timeout=timeout, lazy=lazy, stale=stale)
        return
    points = _points(state, every=every)
    failed = False
    for point in points:
        try:
            _umount(point, state, timeout=timeout, lazy=lazy, stale=stale)
        except UsageError as error:
            if not every:
                raise
            say(f"moonfs: {error}", err=True)
            failed = True
    if failed:
        sys.exit(1)


def state_of_accounts() -> Path:
    """Return where this user's accounts have their state; a drive can be unmounted by whoever has no home too."""
    try:
        return Directories.from_environment(os.environ).state
    except UsageError:
        return Path(os.devnull)


def _points(state: Path, *, every: bool) -> list[str]:
    """Return the drives of this user that are meant where none is named.

    Raises:
        UsageError: there is none, or more than one without `every`.
    """
    points = mountpoints.own()
    if every or not points:
        points += [daemon.point for daemon, _ in ending.detached(state) if daemon.point not in points]
    if every and points:
        return points
    return [mountpoints.only("unmount", ", or unmount all of them with: moonfs umount --all", among=points)]


def _umount(directory: str, state: Path, *, timeout: float, lazy: bool, stale: bool) -> None:
    """Unmount one drive, and say what is left.

    Raises:
        UsageError: there is none, or it does not end.
    """
    if stale and not mountpoints.is_stale(directory):
        raise UsageError(
            f"{directory} is no stale mount; moonfs umount {quote(directory)} unmounts a drive that works."
        )
    drive = ending.find(directory, state)
    os.chdir("/")  # this command, started in the drive, would hold it itself
    ends = time.monotonic() + (0.0 if lazy else timeout)
    told = []

    def waiting(text: str) -> None:
        told.append(text)
        say(f"{text} …", err=True)

    try:
        left = show_drain(drive.asked, drive.status, ends)
        passing = passing_names(drive.status)
        kept = ending.unmount(
            drive,
            # With nothing left to wait for, a daemon that lives on has another reason.
            timeout=max(60.0, ends - time.monotonic()) if left else 60.0,
            hurry=time.monotonic() >= ends,
            lazy=lazy,
            waiting=waiting,
        )
    except KeyboardInterrupt:
        say("", _interrupted(drive), err=True)
        raise
    if passing:
        say(passing, err=True)
    if told:
        say(f"{directory} is unmounted.", err=True)
    if drive.stale:
        after = _goes_on(state, drive.point)
        say(f"{directory} was stale (its daemon had died) and is cleared.{after}", err=True)
    _say_kept(kept)


def _goes_on(state: Path, point: str) -> str:
    """Return the sentence that says what a daemon that died has left to the next mount; empty for nothing."""
    import sqlite3  # noqa: PLC0415 - only where it is needed

    from moonfs.journal import pending  # noqa: PLC0415

    before = next((kept for kept in states(state) if kept.point == point), None)
    try:
        left = len(pending(before.folder / "journal.db")) if before is not None else 0
    except sqlite3.Error:  # the next mount says so
        return ""
    if not left:
        return ""
    were = "was" if left == 1 else "were"
    return f" {count(left, 'file')} {were} not uploaded yet; the next mount goes on with that."


def _interrupted(drive: ending.Drive) -> str:
    """Return what a Ctrl-C leaves."""
    if mountpoints.at(drive.point) is not None:
        return f"{drive.asked} is still mounted, and its uploads go on."
    return f"{drive.asked} is unmounted; its daemon goes on with its uploads, and ends by itself."


def _say_kept(kept: dict[str, Any] | None) -> None:
    """Say what a daemon that was told to end has kept of files that were being written."""
    if kept and (names := kept.get("kept")):
        say(
            f"{_count(names)} being written: the bytes that came are kept here and go up after the next mount: "
            f"{_few(names)}",
            err=True,
        )
    if kept and (names := kept.get("lost")):
        say(
            f"{_count(names)} being written and cannot be kept; write them once more: {_few(names)}",
            err=True,
        )


def _count(names: Sequence[str]) -> str:
    return f"{count(len(names), 'file')} {'was' if len(names) == 1 else 'were'}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")
