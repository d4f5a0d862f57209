"""What was asked for, and where: flags over environment over config.toml, with its profiles.

    [profile.work]                                  # moonfs mount --profile work ~/work
    base_url = "https://api.moonshot.cn/v1"
    api_key_file = "~/.config/moonfs/work.key"
    write_back = true

Lines above the first table hold for every drive. It reads one file and keeps the origin of every value; it does not
fetch keys (`keys` does) and knows no defaults but those of `settings`. Standard library only.

**Threading:** read once at start.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Final

from moonfs.config import DEFAULT_BASE_URL, Directories
from moonfs.errors import UsageError
from moonfs.settings import NO, OPTIONS, YES, Option, Settings, did_you_mean, parse_settings, yes_or_no

#: The table of config.toml that holds the profiles.
TABLE: Final = "profile"
#: The profile that is there without a line of config.toml: the local Files API.
LOCAL: Final = "local"
#: Bytes of a config.toml, at most: a larger one is something else.
_MAX_BYTES: Final = 1024**2
#: Bytes of a profile's name: it becomes that of a file.
_MAX_NAME: Final = 100
#: Settings that say where the key is: of these, one may be given in one place (X1).
KEY_SOURCES: Final = ("api_key", "api_key_file", "api_key_command", "api_key_keyring")

#: What says which account is mounted, and where; the rest of a profile is in `settings.OPTIONS`.
ACCOUNT_OPTIONS: Final = (
    Option("local", str, "DATA", "no", "The local Files API; its files in DATA, or in the usual directory for `yes`."),
    Option("base_url", str, "URL", DEFAULT_BASE_URL, "Address of the hosted service."),
    Option("api_key_file", str, "FILE", "none", "A file of mode 0600 with the key in its first line."),
    Option("api_key_command", str, "COMMAND", "none", "A command of the shell that prints the key."),
    Option("api_key_keyring", str, "NAME", "none", "The desktop's keyring has the key under NAME (extra `keyring`)."),
)
#: In config.toml alone: a key has no place on a command line (X1).
_FILE_OPTIONS: Final = (
    Option("api_key", str, "KEY", "none", "The key itself, where config.toml has the mode 0600."),
    Option("directory", str, "DIR", "none", "Where the profile is mounted when no DIR is given."),
)
_KNOWN: Final = {option.name: option for option in (*ACCOUNT_OPTIONS, *_FILE_OPTIONS, *OPTIONS)}

#: The variables of a setting, where they are not MOONFS_ and its name; the first that is not blank counts.
_VARIABLES: Final = {
    "api_key": ("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    "base_url": ("MOONSHOT_BASE_URL", "KIMI_BASE_URL"),
    "directory": (),
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value as it was written.

    Attributes:
        text: what was written; a list has colons between its entries.
        origin: where, for people: a flag, a variable, a file with its table.
    """

    text: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What holds for one mount.

    Attributes:
        file: config.toml, whether it is there or not.
        found: whether it is.
        profile: the one that was chosen; empty for none.
        profiles: all that the file has.
        values: name → value, of what was written anywhere.
        overridden: where the key of the chosen profile is, when the environment's goes before it; empty otherwise.
    """

    file: Path
    found: bool
    profile: str
    profiles: tuple[str, ...]
    values: Mapping[str, Value]
    overridden: str = ""

    def settings(self) -> Settings:
        """Return how the drive behaves.

        Raises:
            UsageError: an unusable value; names its origin.
        """
        names = [option.name for option in OPTIONS if option.name in self.values]
        return parse_settings(
            {name: self.values[name].text for name in names}, {name: self.values[name].origin for name in names}
        )

    def text(self, name: str) -> str:
        """Return what was written for `name`, or nothing."""
        value = self.values.get(name)
        return "" if value is None else value.text

    def local(self, directories: Directories) -> Path | None:
        """Return the data directory of the local Files API, or None for the hosted service."""
        text = self.text("local")
        try:
            return directories.data / "local" if not text or yes_or_no(text) else None
        except ValueError:
            return Path(os.path.abspath(os.path.expanduser(text)))

    @property
    def hosted(self) -> bool:
        """Say whether it is the hosted service that is mounted."""
        text = self.text("local")
        try:
            return not text or not yes_or_no(text)
        except ValueError:
            return False

    def base_url(self) -> str:
        """Return the address of the hosted service."""
        return self.text("base_url") or DEFAULT_BASE_URL

    def key_source(self) -> tuple[str, Value] | None:
        """Return which of `KEY_SOURCES` was given, with its value, or None."""
        return next(((name, self.values[name]) for name in _sources(self.values)), None)


def resolve(
    flags: Mapping[str, Value],
    environ: Mapping[str, str],
    directories: Directories,
    *,
    profile: str = "",
    file: str = "",
) -> Configuration:
    """Put the layers together: flags, environment, the profile's table, the lines above all tables.

    Args:
        flags: what the command line says.
        environ: `MOONFS_PROFILE` and `MOONFS_CONFIG` stand for the next two.
        directories: where config.toml is by default.
        profile: the one that is asked for; empty for none.
        file: another config.toml; it must be there.

    Raises:
        UsageError: the file or the profile is not there, or says what nobody understands.
    """
    named = file or environ.get("MOONFS_CONFIG", "").strip()
    path = Path(os.path.abspath(os.path.expanduser(named))) if named else directories.config / "config.toml"
    chosen = profile or environ.get("MOONFS_PROFILE", "").strip()
    table, mode = _read(path, must=bool(named))
    tables = table.pop(TABLE, {}) if table is not None else {}
    if not isinstance(tables, dict) or not all(isinstance(entry, dict) for entry in tables.values()):
        raise UsageError(f"{path}: profiles are tables such as [{TABLE}.work].")
    for name in (*tables, *filter(None, (chosen,))):
        _check_name(name, path)
    general = _layer(table or {}, path, f"{path}", mode)
    if chosen and chosen not in tables and chosen != LOCAL:
        known = f"it has {', '.join(sorted(tables))}" if tables else f"add a table [{TABLE}.{chosen}] to it"
        where = path if table is not None else f"{path}, which is not there"
        raise UsageError(f"There is no profile {chosen!r} in {where}; {known}.")
    for name in tables:
        _layer(tables[name], path, f"{path} [{TABLE}.{name}]", mode)  # so that a mistake shows at once
    own = _layer(tables.get(chosen, {}), path, f"{path} [{TABLE}.{chosen}]", mode) if chosen else {}
    if chosen == LOCAL and LOCAL not in tables:
        own = {"local": Value("yes", f"profile {LOCAL}")}
    layers = [dict(flags), _environment(environ), own, general]
    keyed = [index for index, layer in enumerate(layers) if _sources(layer)]
    for index in keyed[1:]:
        for name in _sources(layers[index]):
            del layers[index][name]
    values: dict[str, Value] = {}
    for layer in reversed(layers):
        values |= layer
    return Configuration(
        file=path,
        found=table is not None,
        profile=chosen,
        profiles=tuple(sorted(tables)),
        values=values,
        overridden=f"{path} [{TABLE}.{chosen}]" if keyed[:1] == [1] and 2 in keyed else "",
    )


def _sources(layer: Mapping[str, Value]) -> list[str]:
    """Return where a layer says the key is. Raises UsageError for more than one."""
    given = [name for name in KEY_SOURCES if name in layer]
    found = [name for name in given if name != "api_key_keyring" or not _is_off(layer[name])]
    if len(found) > 1:
        where = " and ".join(f"{name} ({layer[name].origin})" for name in found)
        raise UsageError(f"The key is said to be in two places: {where}; keep one of them.")
    return found


def _is_off(value: Value) -> bool:
    """Say whether it is a switch that says no, and no name."""
    try:
        return not yes_or_no(value.text)
    except ValueError:
        return False


def _check_name(name: str, path: Path) -> None:
    """Refuse a profile whose name cannot be that of the file with its key."""
    if not name or "/" in name or name[0] in ".-" or not name.isprintable() or len(name.encode()) > _MAX_NAME:
        raise UsageError(
            f"{path}: {name!r:.150} cannot be the name of a profile; choose one of {_MAX_NAME} bytes at "
            "most that has no / in it and does not begin with a dot or a dash."
        )


def _environment(environ: Mapping[str, str]) -> dict[str, Value]:
    found = {}
    for name in _KNOWN:
        for variable in variables(name):
            text = environ.get(variable, "").strip()
            if text:
                found[name] = Value(text, variable)
                break
    if "api_key" in found:  # the usual variable goes before where else a key may be
        for name in KEY_SOURCES[1:]:
            found.pop(name, None)
    return found


def variables(name: str) -> tuple[str, ...]:
    """Return the environment's names of a setting, the first that counts first."""
    return _VARIABLES.get(name, (f"MOONFS_{name.upper()}",))


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that nobody reads and that look like one of ours, each with what was meant."""
    ours = {variable for name in _KNOWN for variable in variables(name)} | {"MOONFS_PROFILE", "MOONFS_CONFIG"}
    strange = [name for name in environ if name.startswith("MOONFS_") and name not in ours]
    close = {name: difflib.get_close_matches(name, sorted(ours), n=1, cutoff=0.88) for name in strange}
    return {name: meant[0] for name, meant in close.items() if meant}


def _read(path: Path, *, must: bool) -> tuple[dict[str, object] | None, int]:
    """Return config.toml and its mode; None where it is not there and need not be."""
    try:
        with open(path, "rb", opener=open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is no file; config.toml is text, see moonfs config --example.")
            if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o002:
                raise UsageError(
                    f"{path} can be written by others, who could choose what is run and where keys go: "
                    f"make it yours (chown) and closed to them (chmod go-w {quote(str(path))})."
                )
            if status.st_size > _MAX_BYTES:
                raise UsageError(
                    f"{path} is too large for a config.toml; moonfs config --example shows what it may say."
                )
            return tomllib.load(stream), status.st_mode
    except FileNotFoundError:
        if must:
            raise UsageError(
                f"There is no configuration {path}; moonfs config --example shows what goes into one."
            ) from None
        return None, 0
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; save it as such.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
        raise UsageError(f"{path} cannot be read as TOML: a value in it is beyond all bounds; correct it.") from None
    except OSError as error:
        raise UsageError(
            f"Cannot read {path}: {error.strerror}; mend that, or name another file with --config-file."
        ) from error


def open_at_once(path: str, flags: int) -> int:
    """Open a file, for `open`: a FIFO without a writer would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _layer(table: Mapping[str, object], path: Path, origin: str, mode: int) -> dict[str, Value]:
    """Return the values of one table; what is wrong is said with its name."""
    layer = {}
    for name, entry in table.items():
        if name not in _KNOWN:
            hint = f"; profiles are tables such as [{TABLE}.{name}]" if isinstance(entry, dict) else ""
            raise UsageError(f"Unknown setting {name!r} in {origin}; {did_you_mean(name, _KNOWN)}{hint}.")
        layer[name] = Value(_beside(path, name, _text(name, entry, origin)), origin)
    if "api_key" in layer and mode & 0o077:
        raise UsageError(f"{path} holds a key and others may read it; close it with: chmod 600 {quote(str(path))}")
    if "api_key_command" in layer and mode & 0o022:
        raise UsageError(
            f"{path} names a command and others may write it; close it with: chmod go-w {quote(str(path))}"
        )
    _sources(layer)
    parse_settings(
        {name: layer[name].text for name in layer if name in _BEHAVIOUR}, dict.fromkeys(layer, origin)
    )  # so that a mistake shows at once
    return layer


def _beside(path: Path, name: str, text: str) -> str:
    """Return a path of config.toml as one that is the same from everywhere: a service and fstab have directories of
    their own to work in, so a relative one begins at the file that says it.
    """
    if name not in _PATHS or text.lower() in (*YES, *NO):
        return text
    return os.path.join(path.parent, os.path.expanduser(text))


_PATHS: Final = ("local", "api_key_file", "directory")
_BEHAVIOUR: Final = frozenset(option.name for option in OPTIONS)


def _text(name: str, entry: object, origin: str) -> str:
    """Return a value of TOML as it would be written in a flag."""
    if isinstance(entry, bool):
        if not _KNOWN[name].switch and name not in ("local", "api_key_keyring"):
            raise UsageError(f"{name} in {origin} needs a value, not true or false.")
        return "yes" if entry else "no"
    if name == "umask" and isinstance(entry, int):
        raise UsageError(f'umask in {origin} is octal and has to be text, such as umask = "077".')
    if isinstance(entry, int) and abs(entry) >= 2**63:
        raise UsageError(f"{name} in {origin} is too large a number; moonfs mount --help says what it may be.")
    if isinstance(entry, int | float):
        return str(entry)
    if isinstance(entry, str) and entry:
        return entry
    if isinstance(entry, list) and entry and all(isinstance(part, str) for part in entry):
        if _KNOWN[name].metavar != "GLOBS":
            raise UsageError(f"{name} in {origin} is one value, not a list; write the one that is meant.")
        if any(":" in part for part in entry):
            raise UsageError(f"{name} in {origin} has a colon in a glob, which parts globs; write ? in its place.")
        return ":".join(entry)
    raise UsageError(f"{name} in {origin} has to be text, a number, true or false, or a list of texts; not empty.")
