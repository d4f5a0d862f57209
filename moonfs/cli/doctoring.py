"""`moonfs doctor`.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from moonfs import keys
from moonfs.cli.options import Asked, drive_options, settings_shown
from moonfs.cli.words import printable, to_json
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, variables

if TYPE_CHECKING:
    from moonfs.doctor import Finding

_COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "failed": "red"}


@click.command(short_help="Look for what keeps a drive from working.")
@drive_options
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
def doctor(asked: Asked, as_json: bool, bundle: str | None) -> None:
    """Look at everything that a drive needs: FUSE, mounts that are stale, directories, disk, the key and its region
    (both of the vendor's addresses are tried), clock and quota. Each finding comes with the line that mends it.

    It takes the flags of `moonfs mount` and changes nothing. Exit status 1 says that something failed.
    """
    directories = Directories.from_environment(os.environ)
    configuration, problem = None, ""
    try:
        configuration = asked.resolve(directories)
        configuration.settings()
    except UsageError as error:
        configuration, problem = None, str(error)
    quiet = as_json or bundle == "-"
    found = []
    secrets: list[str] = []
    for finding in _look(configuration, problem, directories, secrets):
        found.append(finding)
        if not quiet:
            _show(finding)
    if as_json:
        click.echo(to_json([asdict(each) for each in found], indent=2))
    failed = [each for each in found if each.state == "failed"]
    if not quiet:
        lines = "the lines with → mend them" if any(each.fix for each in failed) else "see above"
        click.echo(f"\n{len(failed)} of {len(found)} failed; {lines}." if failed else "\nNothing is in the way.")
    if bundle is not None:
        _write(bundle, found, configuration, directories, secrets)
    sys.exit(1 if failed else 0)


def _look(
    configuration: Configuration | None, problem: str, directories: Directories, secrets: list[str]
) -> Iterator[Finding]:
    """Yield what is found; the key that was used goes to `secrets`."""
    # FUSE and HTTP load only for the commands that need them.
    from moonfs import dispatch  # noqa: PLC0415
    from moonfs.doctor import Finding, State, account, machine, storage  # noqa: PLC0415

    allow_other = configuration is not None and configuration.settings().allow_other
    yield from machine.look(allow_other=allow_other, missing_library=dispatch.MISSING)
    yield from storage.look(directories)
    if configuration is None:
        yield Finding("configuration", State.FAILED, problem, "moonfs config --example")
    else:
        yield from account.look(configuration, directories, secret=secrets.append)


def _show(finding: Finding) -> None:
    state = click.style(f"{finding.state:8}", fg=_COLOURS[finding.state])
    click.echo(f"{state} {printable(f'{finding.about}: {finding.found}')}")
    if finding.fix:
        click.echo(f"         → {printable(finding.fix)}")


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
    text = bundle.report(found, shown, directories, os.environ, secrets)
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
    click.echo(f"Wrote {path}; it holds no keys, but names of files: look through it before you send it.", err=True)
