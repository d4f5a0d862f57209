"""`moonfs config` and `moonfs key`: what holds and where it was said; keys that are kept.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys

import click

from moonfs import config, keys, profiles
from moonfs.cli.groups import InOrder
from moonfs.cli.options import Asked, drive_options, profile_names, settings_shown
from moonfs.cli.words import say, to_json
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.profiles import TABLE
from moonfs.settings import OPTIONS


@click.command("config", short_help="Show every setting and where it comes from.")
@drive_options(listed=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for scripts.")
@click.option("--example", is_flag=True, help="Print a config.toml with every setting, to begin with.")
def configure(asked: Asked, as_json: bool, example: bool) -> None:
    """Show every setting of a drive, its value and where it comes from; with the same flags as `moonfs mount`.

    Flags go before the environment, that before the profile in config.toml, that before the lines above its profiles.
    Keys are never shown. To begin a config.toml:

    \b
      moonfs config --example > ~/.config/moonfs/config.toml
    """
    directories = Directories.from_environment(os.environ)
    if example:
        click.echo(_example())
        return
    configuration = asked.resolve(directories)
    configuration.settings()
    shown = settings_shown(configuration, directories)
    for name, meant in profiles.misspelt(os.environ).items():
        say(f"The variable {name} says nothing to moonfs; did you mean {meant}?", err=True)
    if as_json:
        about = {"file": str(configuration.file), "profile": configuration.profile, "settings": shown}
        click.echo(to_json(about, indent=2))
        return
    absent = "" if configuration.found else " (not there)"
    say(f"config.toml  {configuration.file}{absent}")
    say(f"profiles     {', '.join(configuration.profiles) or 'none'}")
    say(f"profile      {configuration.profile or 'none'}", "")
    rows = [(name, *entry.values()) for name, entry in shown.items()]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, text, origin in rows:
        say(f"{name:{wide[0]}}  {text:{min(wide[1], 40)}}  {origin}".rstrip())


def _example() -> str:
    """Return a config.toml that changes nothing: every line is a comment."""
    lines = [
        "# Settings of moonfs. Lines above the first [table] hold for every drive, those below it for a profile:",
        "# moonfs mount --profile work DIR. Flags and variables (MOONFS_LISTING_TTL=30) go before this file.",
        "# A path that begins with neither / nor ~ begins at this file's directory.",
        "",
    ]
    for option in OPTIONS:
        value = option.shown if option.shown not in ("none", "yours") else "…"
        shown = "false" if option.switch else value if value.isdigit() and option.name != "umask" else f'"{value}"'
        unit = f"  # {option.metavar}" if option.metavar else ""
        lines += [f"# {option.help}", f"# {option.name} = {shown}{unit}"]
    lines += [
        "",
        f"# [{TABLE}.work]",
        f'# base_url = "{config.DEFAULT_BASE_URL}"',
        '# directory = "~/work"                        # where `moonfs mount --profile work` mounts it',
        "# One of these says where the key is; without any it is in the file that `moonfs key set` writes.",
        '# api_key_file = "~/.config/moonfs/work.key"  # mode 0600',
        '# api_key_command = "pass show moonshot"',
        "# api_key_keyring = true                      # needs the extra `keyring`",
        "",
        f"# [{TABLE}.papers]",
        "# local = true                                # the local Files API; or the directory of its files",
    ]
    return "\n".join(lines)


_of_profile = click.option(
    "-p",
    "--profile",
    metavar="NAME",
    default="",
    shell_complete=profile_names,
    help="The key of this profile of config.toml.",
)


@click.group("key", cls=InOrder, short_help="Keep an API key, for mounts to come.")
def key() -> None:
    """Keep the API key of the hosted service in a file of mode 0600, or in the desktop's keyring."""


@key.command("set", short_help="Ask for a key and keep it.")
@_of_profile
@click.option("--keyring", is_flag=True, help="Keep it in the desktop's keyring, not in a file.")
def set_key(profile: str, keyring: bool) -> None:
    """Ask for a key (or read one line of standard input) and keep it, in place of an earlier one.

    It is never an argument: those can be read by everybody on this machine.

    \b
      moonfs key set                            # asks; nothing is shown
      pass show moonshot | moonfs key set -p work
    """
    directories = Directories.from_environment(os.environ)
    configuration = profiles.resolve({}, os.environ, directories, profile=profile)
    text = click.prompt("API key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline(8192)
    if keyring:
        keys.store_in_keyring(keys.name_of(configuration), text)
        say(f"Kept in the keyring under {keys.name_of(configuration)}; config.toml has to say: api_key_keyring = true")
    else:
        path = keys.usual_file(configuration, directories)
        keys.write_file(path, text)
        say(f"Kept in {path}")
    source = configuration.key_source()
    if source is not None and not (keyring and source[0] == "api_key_keyring"):
        say(f"It is not used while there is {keys.origin(configuration, directories)}.", err=True)


@key.command("remove", short_help="Delete a key that is kept in a file.")
@_of_profile
def remove_key(profile: str) -> None:
    """Delete the file that `moonfs key set` has written. A drive that is mounted goes on with the key it has."""
    directories = Directories.from_environment(os.environ)
    path = keys.usual_file(profiles.resolve({}, os.environ, directories, profile=profile), directories)
    try:
        os.unlink(path)
    except FileNotFoundError:
        raise UsageError(f"There is no key in {path}.") from None
    except OSError as error:
        raise UsageError(f"Cannot delete {path}: {error.strerror}; mend that, then remove the key again.") from error
    say(f"Deleted {path}")
