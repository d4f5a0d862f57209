"""The settings of a drive as flags and as `-o`, the same for every command that takes them.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from moonfs import keys, profiles
from moonfs.cli import offers
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.profiles import ACCOUNT_OPTIONS, Configuration, Value
from moonfs.settings import OPTIONS, Option

#: Options of mount(8) that say how a line of fstab is used, and nothing of the drive.
_NOT_OURS: Final = re.compile(
    "rw|defaults|(no)?auto|(no)?users?|owner|group|_netdev|nofail|async|suid|dev|exec|diratime|nodiratime"
    "|(no|strict)?(rel)?atime|(no)?lazytime|(no)?iversion|(no)?mand|loud|silent|[xX]-.*|comment=.*"
)
#: Those that the kernel is told.
_KERNEL: Final = ("noexec", "nosuid", "nodev", "sync", "dirsync")
_KEY_NAMES: Final = ("key", "api_key", "apikey", "token", "password", "secret")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a drive.

    Attributes:
        flags: name → value, of settings.
        profile: the profile it names; empty for none.
        file: the config.toml it names; empty for the usual one.
        kernel: options of mount(8) for the kernel.
    """

    flags: dict[str, Value] = field(default_factory=dict)
    profile: str = ""
    file: str = ""
    kernel: tuple[str, ...] = ()

    def directory(self, given: str | None) -> str | None:
        """Return DIR; in `--local DIR` the word after the flag is where to mount, not where files are kept."""
        local = self.flags.get("local")
        if given is None and local is not None and local.origin == "--local" and local.text not in ("yes", "no"):
            self.flags["local"] = Value("yes", local.origin)
            return local.text
        return given

    def resolve(self, directories: Directories, profile: str = "") -> Configuration:
        """Return what holds: this, then the environment, then config.toml; `profile` goes before the one of `-p`.

        Raises:
            UsageError: something of it is wrong.
        """
        return profiles.resolve(self.flags, os.environ, directories, profile=profile or self.profile, file=self.file)


class _Unlisted(click.Option):
    """A flag that works, and that the Tab key offers, and that another command's help describes."""

    def get_help_record(self, ctx: click.Context) -> None:
        """Return nothing for --help to show."""


def drive_options(*, listed: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of a drive; it gets them as `asked`.

    Args:
        listed: whether its help describes all of them, or only those that say which drive is meant.
    """
    return functools.partial(_drive_options, listed=listed)


def _drive_options(command: Callable[..., None], *, listed: bool) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*args: Any, options: Sequence[str], profile: str | None, config_file: str | None, **kwargs: Any) -> None:
        flags: dict[str, Value] = {}
        hosted = kwargs.pop("hosted")
        for option in (*ACCOUNT_OPTIONS, *OPTIONS):
            given = kwargs.pop(option.name)
            if given is not None:
                text = given if isinstance(given, str) else "yes" if given else "no"
                flags[option.name] = Value(_not_empty(text, option.flag), option.flag)
        if hosted:
            flags["local"] = Value("no", "--hosted")
        for flag, named in (("--profile", profile), ("--config-file", config_file)):
            if named is not None:
                _not_empty(named, flag)
        asked = _with_options(split_options(options), flags, profile or "", config_file or "")
        command(*args, asked=asked, **kwargs)

    made: Callable[..., None] = run
    for option in reversed((*ACCOUNT_OPTIONS, *OPTIONS)):
        made = _flag(option, click.Option if listed or option.name == "local" else _Unlisted)(made)
    made = click.option("--hosted", is_flag=True, help="Mount the hosted service, whatever the profile says.")(made)
    made = click.option(
        "--config-file", metavar="FILE", type=click.Path(), help="Another config.toml (see moonfs config --example)."
    )(made)
    made = click.option(
        "-p", "--profile", metavar="NAME", shell_complete=profile_names, help="Use this profile of config.toml."
    )(made)
    made = click.option(
        "-o", "options", metavar="NAME=VALUE[,…]", multiple=True, shell_complete=_names,
        help=f"Any setting{' below' * listed} by its name, as in fstab: -o listing_ttl=30,write_back"
        + " (moonfs mount --help lists them, each of them a flag here too)" * (not listed),
    )(made)  # fmt: skip
    for name in ("--key", "--api-key", "--token"):
        made = click.option(
            name, hidden=True, is_flag=False, flag_value="", expose_value=False, callback=_refuse_key
        )(made)  # fmt: skip
    return made


def _not_empty(given: str, flag: str) -> str:
    """Return what a flag was given; nothing is a variable of the shell that is not set, and no default."""
    if not given.strip():
        raise UsageError(f"{flag} was given an empty value; write one, or leave the flag out.")
    return given


def _flag(option: Option, kind: type[click.Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    shown = option.help if option.shown in ("no", "none") else f"{option.help} [{option.shown}]"
    if option.switch:
        return click.option(f"{option.flag}/--no-{option.flag[2:]}", option.name, cls=kind, default=None, help=shown)
    if option.name == "local":
        return click.option(
            "--local",
            metavar="[DATA]",
            shell_complete=offers.directories,
            is_flag=False,
            flag_value="yes",
            default=None,
            help="Mount the local Files API, started when it is not running. No account, no network. In "
            "--local DATA DIR its files are kept in DATA (default: moonfs/local in the XDG data directory), and DIR "
            "shows them.",
        )
    return click.option(
        option.flag,
        option.name,
        cls=kind,
        metavar=option.metavar,
        default=None,
        help=shown,
        shell_complete=lambda _context, _param, begun: _values(option, begun),
    )


def _values(option: Option, begun: str) -> list[CompletionItem]:
    if option.metavar == "FILE":
        return [CompletionItem(begun, type="file")]
    return [CompletionItem(choice) for choice in option.choices if choice.startswith(begun)]


def _refuse_key(_context: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        _no_key()


def _no_key() -> NoReturn:
    raise UsageError(
        "A key on the command line can be read by everybody on this machine and stays in the shell's history (make a "
        "new one if it was real): set MOONSHOT_API_KEY, or keep it with: moonfs key set"
    )


def split_options(options: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return the `name=value` pairs of `-o`; a comma within a value has a backslash before it."""
    pairs: list[tuple[str, str | None]] = []
    for part in re.findall(r"(?:\\.|[^,\\])+", ",".join(options)):
        name, equals, value = re.sub(r"\\(.)", r"\1", part).partition("=")
        pairs.append((name.strip(), value if equals else None))
    return pairs


def _with_options(pairs: Sequence[tuple[str, str | None]], flags: dict[str, Value], profile: str, file: str) -> Asked:
    """Add what `-o` says; a flag of its own goes before it."""
    known = {option.name: option for option in (*ACCOUNT_OPTIONS, *OPTIONS)}
    kernel = []
    given: dict[str, Value] = {}
    for written, value in pairs:
        name = written.replace("-", "_")
        if name in _KEY_NAMES:
            _no_key()
        if written in _KERNEL and value is None:
            kernel.append(written)
        elif written == "ro" and value is None:
            given["read_only"] = Value("yes", "-o ro")
        elif name == "profile" and value:
            profile = profile or value
        elif name == "config" and value:
            file = file or value
        elif name in known and (value or (value is None and (known[name].switch or name == "local"))):
            given[name] = Value(value or "yes", f"-o {written}")
        elif name in known:
            raise UsageError(f"-o {written} needs a value: -o {written}={known[name].metavar or 'yes'}")
        elif not _NOT_OURS.fullmatch(written if value is None else f"{written}={value}"):
            names = ", ".join(sorted([*known, "ro", "profile", "config"]))
            raise UsageError(f"Unknown option -o {written}; known are {names}.")
    return Asked({**given, **flags}, profile, file, tuple(kernel))


def profile_names(_context: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """Offer the profiles of config.toml."""
    try:
        found = profiles.resolve({}, {}, Directories.from_environment(os.environ)).profiles
    except UsageError:
        return []
    return [name for name in (*found, profiles.LOCAL) if name.startswith(begun)]


def _names(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the names of settings after the last comma, and after `NAME=` its values."""
    done, comma, last = begun.rpartition(",")
    name, equals, value = last.partition("=")
    name = name.replace("-", "_")
    options = (*ACCOUNT_OPTIONS, *OPTIONS)
    if equals:
        known = [option for option in options if option.name == name]
        found = [item for option in known for item in _values(option, value)]
        return [CompletionItem(f"{begun.removesuffix(value)}{item.value}", type=item.type) for item in found]
    return [
        CompletionItem(f"{done}{comma}{option.name}" + ("" if option.switch else "="), help=option.help)
        for option in options
        if option.name.startswith(name)
    ]


def settings_shown(configuration: Configuration, directories: Directories) -> dict[str, dict[str, str]]:
    """Return name → {value, origin} of every setting, as a person would write it; of the key only where it is (X1)."""
    local = "no" if configuration.hosted else str(configuration.local(directories))
    where = keys.origin(configuration, directories) if configuration.hosted else ""
    found = {}
    for option in (*ACCOUNT_OPTIONS, *OPTIONS):
        if option.name not in profiles.KEY_SOURCES:
            value = configuration.values.get(option.name)
            text = local if option.name == "local" else option.shown if value is None else value.text
            if option.name == "base_url":  # one with a password is refused, and not shown either
                text = re.sub(r"//[^/]*@", "//[password]@", text)
            found[option.name] = {"value": text, "origin": "default" if value is None else value.origin}
    found["api_key"] = {"value": "set (not shown)" if where else "none", "origin": where}
    return found
