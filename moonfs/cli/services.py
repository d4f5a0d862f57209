"""`moonfs service`: a drive that systemd mounts at login.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from moonfs import keys, mountpoints, service
from moonfs.cli import offers
from moonfs.cli.groups import InOrder
from moonfs.cli.options import Asked, drive_options
from moonfs.cli.words import say
from moonfs.config import Directories, exists, matching
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, variables

_XDG = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
_SECONDS = 180.0


@click.group("service", cls=InOrder, short_help="Mount a drive at login, by systemd.")
def services() -> None:
    """Have systemd mount a drive whenever you log in, and unmount it, uploads first, when you log out.

    \b
      moonfs key set                        the key, for a service sees no variables of this shell
      moonfs service install ~/moon
      moonfs service install --profile work ~/work
      moonfs service list
      moonfs service remove ~/moon

    The log is that of any user service: journalctl --user -u 'moonfs-*'
    """


@services.command("install", short_help="Install and start a unit for a drive.")
@click.argument("directory", metavar="[DIR]", required=False, shell_complete=offers.directories)
@drive_options(listed=False)
@click.option("--no-start", is_flag=True, help="Only write the unit.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit, and do nothing.")
def install(directory: str | None, asked: Asked, no_start: bool, only_print: bool) -> None:
    """Write a unit of systemd that mounts DIR as `moonfs mount` would now with these flags, and start it."""
    directories = Directories.from_environment(os.environ)
    directory = asked.directory(directory)
    configuration = asked.resolve(directories)
    configuration.settings()
    directory = directory or os.path.expanduser(configuration.text("directory"))
    if not directory:
        raise UsageError("Which directory? For example: moonfs service install ~/moon")
    _check_key(configuration, directories)
    point = mountpoints.absolute(directory)
    text = service.unit(point, _moonfs(), _options(configuration, asked), _environment())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{directory} or another value is not UTF-8, which systemd cannot read; choose another name."
        ) from None
    if only_print:
        click.echo(text, nl=False)
        return
    if not no_start:
        from moonfs import dispatch, prerequisites  # noqa: PLC0415 - FUSE loads only for the commands that need it

        prerequisites.check(dispatch.MISSING, allow_other=configuration.settings().allow_other)
    name = service.unit_name(point)
    path = _folder() / name
    _write(path, text)
    say(f"Wrote {path}")
    if no_start:
        say(f"Start it with: systemctl --user daemon-reload; systemctl --user enable --now {shlex.quote(name)}")
        return
    if (already := mountpoints.at(point)) is not None and already.fstype == mountpoints.FSTYPE and not _active(name):
        raise UsageError(
            f"{directory} is mounted already, not by the service; unmount it and start the service with: "
            f"moonfs umount {shlex.quote(directory)}; systemctl --user enable --now {shlex.quote(name)}"
        )
    _systemctl("daemon-reload")
    _systemctl("enable", name)
    _systemctl("restart", name)
    say(f"{directory} is mounted, and will be at each login. Before any login, from boot on: loginctl enable-linger")


@services.command("remove", short_help="Stop and remove the unit of a drive.")
@click.argument("directory", metavar="DIR", shell_complete=offers.directories)
def remove(directory: str) -> None:
    """Unmount the drive on DIR, uploads first, and have it mounted at login no more."""
    name = service.unit_name(mountpoints.absolute(directory))
    path = _folder() / name
    if not exists(path):
        raise UsageError(f"There is no service for {directory}: moonfs service list shows the ones there are.")
    _systemctl("disable", "--now", name)
    path.unlink()
    _systemctl("daemon-reload")
    say(f"Removed {path}")


@services.command("list", short_help="List the drives that are mounted at login.")
def listing() -> None:
    """List the units that are installed, and whether they run."""
    names = [path.name for path in matching(_folder(), f"{service.PREFIX}*.service")]
    for name in names:
        text = (_folder() / name).read_text(encoding="utf-8", errors="replace")
        about = next((line for line in text.splitlines() if line.startswith("Description=")), name)
        say(f"{about.partition('=')[2].replace('%%', '%')}: {_state(name)} ({name})")
    if not names:
        say("None; add one with: moonfs service install DIR")


def _check_key(configuration: Configuration, directories: Directories) -> None:
    """Refuse a key that only this shell knows."""
    if not configuration.hosted:
        return
    source = configuration.key_source()
    if source is not None and source[1].origin in variables("api_key"):
        profile = f" --profile {configuration.profile}" if configuration.profile else ""
        if not exists(keys.usual_file(configuration, directories)) and not configuration.overridden:
            raise UsageError(
                f"A service does not see the {source[1].origin} of this shell; keep the key for it with: "
                f"moonfs key set{profile}"
            )
    elif not keys.origin(configuration, directories):
        keys.find(configuration, directories)  # says what is missing


def _options(configuration: Configuration, asked: Asked) -> list[str]:
    """Return the flags that say what config.toml does not: this command's, and the environment's."""
    options = []
    if configuration.profile:
        options += ["--profile", configuration.profile]
    if asked.file or os.environ.get("MOONFS_CONFIG", "").strip():
        options += ["--config-file", str(configuration.file)]
    for name, value in configuration.values.items():
        of_file = value.origin.startswith((str(configuration.file), "profile "))
        if name == "directory" or of_file or value.origin in variables("api_key"):
            continue
        text = value.text
        if name == "api_key_file" or (name == "local" and text not in ("yes", "no")):
            text = os.path.abspath(os.path.expanduser(text))
        # A comma would end it in -o.
        options += ["-o", f"{name}={text}".replace("\\", "\\\\").replace(",", "\\,")]
    return options + [word for flag in asked.kernel for word in ("-o", flag)]


def _moonfs() -> list[str]:
    """Return the command that this is, by an absolute path."""
    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) == "moonfs" and os.access(called, os.X_OK):
        return [called]
    return [sys.executable, "-m", "moonfs"]


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _XDG if os.path.isabs(os.environ.get(name, ""))}


def _folder() -> Path:
    return Directories.from_environment(os.environ).config.parent / "systemd" / "user"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
            new = stream.name
            try:
                stream.write(text)
                stream.flush()
                os.chmod(new, 0o644)
                os.replace(new, path)
            except OSError:
                os.unlink(new)
                raise
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}; mend that, then install it again.") from error


def _active(name: str) -> bool:
    return _state(name) in ("active", "activating", "reloading")


def _state(name: str) -> str:
    if shutil.which("systemctl") is None:
        return "unknown, as there is no systemctl"
    done = subprocess.run(
        ["systemctl", "--user", "is-active", name],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _systemctl(*arguments: str) -> None:
    """Run systemctl(1) for this user. Raises UsageError where it fails, with what to do."""
    if shutil.which("systemctl") is None:
        raise UsageError(
            "There is no systemctl: this machine has no systemd. fstab(5) can mount drives too: see README."
        )
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"systemctl --user {shlex.join(arguments)} did not end within {_SECONDS:.0f} s; run it by hand to see why."
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        log = f"  (journalctl --user -u {shlex.quote(arguments[-1])} may say why)" if len(arguments) > 1 else ""
        raise UsageError(
            f"systemctl --user {shlex.join(arguments)} failed: {said}{log}; once it works, run this command again."
        )
