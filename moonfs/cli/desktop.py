"""`moonfs desktop`: what desktop programs have to be told of texts, so that none is read to see what it is.

It hands one file to the shared MIME database, and offers to; it looks at no drive.
https://specifications.freedesktop.org/shared-mime-info-spec/latest/

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Final

import click

from moonfs import packages
from moonfs.cli.words import say
from moonfs.config import Directories, make_private
from moonfs.errors import UsageError

#: The file, here and in `packages/` of a database; and what a database has when it knows the type.
_FILE: Final = "moonfs.xml"
_KNOWN: Final = Path("application", "x-moonfs-text.xml")
#: Where every desktop looks beside /usr/share, which belongs to the package manager (XDG Base Directory Specification).
_SYSTEM: Final = Path("/usr/local/share/mime")
_PROGRAM: Final = "update-mime-database"
_SECONDS: Final = 120.0
#: What a session of a desktop has in its environment; the two displays, also one that was begun by hand.
_SESSION: Final = ("XDG_CURRENT_DESKTOP", "WAYLAND_DISPLAY", "DISPLAY")
_OFFERED: Final = "desktop-offered"

_for_system = click.option("--system", is_flag=True, help=f"For every user of this machine, in {_SYSTEM}.")


@click.group(short_help="Tell file managers what NAME.content is.")
def desktop() -> None:
    """Tell file managers what NAME.content is: a text, with an icon, that opens in a text editor.

    Without this, GNOME Files and Dolphin do not open a text that was not read before, and PCManFM fetches every text
    that it shows.

    \b
      moonfs desktop install
      moonfs desktop remove
    """


@desktop.command(short_help="Install the type.")
@_for_system
def install(system: bool) -> None:
    """Install the type of NAME.content in the MIME database of this user, or of the system."""
    database = _database(system)
    _check_program()
    target = database / "packages" / _FILE
    old = os.umask(0o022) if system else None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{_FILE}.{os.getpid()}")
        try:
            new.write_bytes(resources.files("moonfs").joinpath(_FILE).read_bytes())
            new.chmod(0o644)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
        _update(database)
    except OSError as error:
        raise _unwritable(database, error, "install", system) from error
    finally:
        if old is not None:
            os.umask(old)
    say(f"Installed {target}; a file manager that is open may have to be started anew.")


@desktop.command(short_help="Remove the type.")
@_for_system
def remove(system: bool) -> None:
    """Remove the type of NAME.content from the MIME database of this user, or of the system."""
    database = _database(system)
    target = database / "packages" / _FILE
    if not target.exists():
        other = _database(not system) / "packages" / _FILE
        hint = f"it is in {other}: moonfs desktop remove{'' if system else ' --system'}"
        raise UsageError(f"{target} is not installed; {hint if other.exists() else 'there is nothing to remove.'}")
    _check_program()
    try:
        target.unlink()
        _update(database)
    except OSError as error:
        raise _unwritable(database, error, "remove", system) from error
    say(f"Removed {target}")


def offer(directories: Directories, environ: Mapping[str, str]) -> None:
    """Offer `moonfs desktop install` once, in a line: on a terminal, where a desktop does not know the type yet."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()) or not any(environ.get(name) for name in _SESSION):
        return
    if any((database / _KNOWN).exists() for database in _databases(directories, environ)):
        return
    try:
        (make_private(directories.state) / _OFFERED).touch(mode=0o600, exist_ok=False)
    except (FileExistsError, UsageError, OSError):
        return  # offered already; or it cannot be remembered, and would be said each time
    say(f"For file managers to know what NAME.content is, run: {_this_command()} desktop install", err=True)


def _databases(directories: Directories, environ: Mapping[str, str]) -> list[Path]:
    """Return where desktop programs look, by the XDG Base Directory Specification."""
    others = (environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    return [directories.data.parent / "mime", *(Path(folder) / "mime" for folder in others if os.path.isabs(folder))]


def _database(system: bool) -> Path:
    return _SYSTEM if system else Directories.from_environment(os.environ).data.parent / "mime"


def _check_program() -> None:
    if shutil.which(_PROGRAM) is None:
        raise UsageError(f"{_PROGRAM} is missing; install it with: {packages.mime_database()}")


def _update(database: Path) -> None:
    """Have the database read its `packages/` again. Raises UsageError where that fails, with what it said."""
    try:
        done = subprocess.run(
            [_PROGRAM, str(database)], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{_PROGRAM} did not end within {_SECONDS:.0f} s; run it again: {_again(database)}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise UsageError(f"{_PROGRAM} failed: {said}; when that is mended, run it again: {_again(database)}")


def _again(database: Path) -> str:
    return f"{_PROGRAM} {quote(str(database))}"


def _unwritable(database: Path, error: OSError, verb: str, system: bool) -> UsageError:
    if system and isinstance(error, PermissionError):
        return UsageError(
            f"Only root may change {database}; run: sudo {quote(_path())} desktop {verb} --system, or leave out "
            "--system, which is for you alone."
        )
    return UsageError(
        f"Cannot change {error.filename or database}: {error.strerror}; mend that, then run this command again."
    )


def _path() -> str:
    """Return the path of the command that runs."""
    return os.path.abspath(sys.argv[0])


def _this_command() -> str:
    """Return what runs this command again in the shell that has called it, as short as can be."""
    path = _path()
    if os.path.basename(path) != "moonfs" or shutil.which("moonfs") == path:
        return "moonfs"
    return quote(min(path, os.path.relpath(path), key=len))
