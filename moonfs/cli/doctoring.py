"""`moonfs doctor`.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from moonfs import keys, mountpoints, packages
from moonfs.cli import offers
from moonfs.cli.options import Asked, drive_options, settings_shown
from moonfs.cli.words import printable, say, to_json
from moonfs.config import Directories, hosted_account
from moonfs.errors import UsageError
from moonfs.profiles import ACCOUNT_OPTIONS, Configuration, variables

if TYPE_CHECKING:
    from moonfs.doctor import Finding

_COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "failed": "red"}


@click.command(short_help="Look for what keeps a drive from working.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.drives)
@drive_options(listed=False)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, for scripts.")
@click.option(
    "--bundle",
    metavar="[FILE]",
    type=click.Path(),
    is_flag=False,
    flag_value="",
    default=None,
    help="Write a report for others to FILE (default: a new file here; - prints it): findings, versions, settings and "
    "logs. No keys; names of files are in it.",
)
def doctor(directory: str | None, asked: Asked, as_json: bool, bundle: str | None) -> None:
    """Look at everything that your drives need: FUSE, the drives that are mounted, directories, disk, the key and its
    region (both of the vendor's addresses are tried), clock and quota. With DIR, look at the drive there, or at what
    keeps one from being mounted there. Each finding comes with the line that mends it.

    It changes nothing. Exit status 1 says that something you use does not work.
    """
    directories = Directories.from_environment(os.environ)
    directory = asked.directory(directory)
    quiet = as_json or bundle == "-"
    found = []
    secrets: list[str] = []
    visit = _Visit(directory, asked, directories, secrets)
    for each in visit.findings():
        finding = replace(each, fix=_as_called(each.fix))
        found.append(finding)
        if not quiet:
            _show(finding)
    if as_json:
        click.echo(to_json([asdict(each) for each in found], indent=2))
    failed = [each for each in found if each.state == "failed"]
    if not quiet:
        lines = "see above"
        if all(each.fix for each in failed):
            lines = "the line below it mends it" if len(failed) == 1 else "the lines below them mend them"
        say("", f"{len(failed)} of {len(found)} failed; {lines}." if failed else "Nothing is in the way.")
    if bundle is not None:
        _write(bundle, found, visit.configuration, directories, secrets)
    sys.exit(1 if failed else 0)


def _as_called(line: str) -> str:
    """Return a line with `moonfs` as this was called, where the shell does not find it by its name alone."""
    called = sys.argv[0]
    if os.path.basename(called) != "moonfs" or not os.access(called, os.X_OK):
        return line
    found = shutil.which("moonfs")
    if found is not None and os.path.samefile(found, called):
        return line
    commands = "|".join(click.get_current_context().find_root().command.commands)  # type: ignore[attr-defined]
    return re.sub(rf"(?<!\S)moonfs(?= ({commands})\b)", lambda _: quote(called), line)


class _Visit:
    """One run of the doctor.

    Attributes:
        configuration: what holds for the drive in question; None where that cannot be found out.
    """

    def __init__(self, directory: str | None, asked: Asked, directories: Directories, secrets: list[str]) -> None:
        """`secrets` gets the key that was used."""
        self._point = None if directory is None else mountpoints.absolute(directory)
        self._asked = asked
        self._directories = directories
        self._secrets = secrets
        self.configuration: Configuration | None = None

    def findings(self) -> Iterator[Finding]:
        """Yield what is found."""
        # FUSE and HTTP load only for the commands that need them.
        from moonfs import dispatch  # noqa: PLC0415
        from moonfs.doctor import Finding, State, account, drives, machine, mending, storage  # noqa: PLC0415
        from moonfs.server.extraction import examination  # noqa: PLC0415

        asked, directories, problem = self._asked, self._directories, ""
        try:
            self.configuration = asked.resolve(directories)
            allow_other = self.configuration.settings().allow_other
        except UsageError as error:
            self.configuration, problem, allow_other = None, str(error), False
        yield from machine.look(allow_other=allow_other, missing_library=dispatch.MISSING)
        mounted, last = mountpoints.ours(), drives.remembered(directories)
        here = self._point in mounted
        points = mounted if self._point is None else [self._point] if here else []
        # Of drives with a state elsewhere only what they say of themselves is known: they are not asked for files.
        own = set(mounted) & {self._point, *(each.point for each in last)}
        statuses = []
        for finding, status in drives.look(points, last, own):
            yield finding
            statuses += [status] if status is not None and status.get("mountpoint") in own else []
        if self._point is not None and not here:
            yield drives.place(self._point)
            if self.configuration is not None and not self._names_an_account():
                identity = next((each.identity for each in last if each.point == self._point), "")
                self.configuration = account.usual_at(
                    self._point,
                    self.configuration,
                    directories,
                    identity,
                    lambda name: asked.resolve(directories, name),
                )
        elif not mounted:
            yield Finding("drives", State.OK, "none is mounted, and none is stale")
        local = self._local(statuses)
        yield from storage.look(directories, local[0] if local else None)
        if self.configuration is None:
            fix = mending.settings(problem, os.environ, directories, asked.file)
            yield Finding("configuration", State.FAILED, problem, fix)
        elif not here or self._is_of(statuses):
            needed = self._names_an_account() or self._point is not None or not (own or local)
            yield from account.look(self.configuration, directories, secret=self._secrets.append, needed=needed)
        if self.configuration is None or self.configuration.hosted or here:
            yield from map(account.local, local)
        if local and not packages.missing("local"):
            lacking = examination.examine()
            yield account.readers(examination.describe(lacking), bool(lacking))

    def _names_an_account(self) -> bool:
        """Say whether a flag, the environment or config.toml says which account is meant."""
        assert self.configuration is not None
        names = {option.name for option in ACCOUNT_OPTIONS} | {"api_key"}
        return bool(self.configuration.profile or names & set(self.configuration.values))

    def _local(self, statuses: Sequence[dict[str, Any]]) -> list[Path]:
        """Return where the local Files API keeps the files of what is looked at."""
        found = {Path(status["data"]) for status in statuses if status.get("data")}
        if self._point is None or not statuses:
            if self.configuration is not None and not self.configuration.hosted:
                found.add(self.configuration.local(self._directories) or Path())
            usual = self._directories.data / "local"
            if self._point is None and os.path.exists(usual / "files.sqlite"):
                found.add(usual)
        return sorted(found)

    def _is_of(self, statuses: Sequence[dict[str, Any]]) -> bool:
        """Say whether the drive that was named is of the account that would be mounted now; then the key is known."""
        if self.configuration is None or not statuses or statuses[0].get("backend") != "hosted":
            return False
        try:
            account = hosted_account(self.configuration.base_url(), keys.find(self.configuration, self._directories))
        except UsageError:
            return False
        return Path(str(statuses[0].get("log"))).parent.name == account.identity


def _show(finding: Finding) -> None:
    state = f"{finding.state:8}"
    if not os.environ.get("NO_COLOR"):  # no-color.org
        state = click.style(state, fg=_COLOURS[finding.state])
    click.echo(f"{state} {printable(f'{finding.about}: {finding.found}')}")
    if finding.fix:
        say(f"         → {finding.fix}")


def _write(
    target: str,
    found: Sequence[Finding],
    configuration: Configuration | None,
    directories: Directories,
    used: Sequence[str],
) -> None:
    from moonfs.doctor import bundle  # noqa: PLC0415

    shown, secrets = {}, [*used, *(os.environ.get(name, "").strip() for name in variables("api_key"))]
    if configuration is not None:
        shown = settings_shown(configuration, directories)
        secrets.append(configuration.text("api_key"))
    for kept in bundle.inside(directories.config / "keys", "*"):
        with contextlib.suppress(UsageError):
            secrets.append(keys.read_file(kept))
    report = bundle.report(found, shown, directories, os.environ, secrets)
    text = "\n".join(map(printable, report.split("\n")))  # it has lines of logs, of earlier versions too
    if target == "-":
        click.echo(text, nl=False)
        return
    path = target or time.strftime("moonfs-report-%Y%m%d-%H%M%S.txt")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
        except OSError:  # or it would be in the way of the next one
            os.unlink(path)
            raise
    except FileExistsError:
        raise UsageError(f"{path} is there already; choose another name for the report.") from None
    except OSError as error:
        raise UsageError(f"Cannot write the report to {path}: {error.strerror}; choose another file.") from error
    say(f"Wrote {path}; it holds no keys, but names of files: look through it before you send it.", err=True)
