"""How one mount behaves: the settings, and the one table of their names, values and help.

Each line of `OPTIONS` is a flag (`--listing-ttl 30`), an option (`-o listing_ttl=30`), a variable
(`MOONFS_LISTING_TTL=30`) and a line of config.toml (`listing_ttl = 30`); which of them counts is `profiles`' business.
Standard library only.

**Threading:** read once at start; `Settings` is immutable.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from moonfs.errors import UsageError

MIB: Final = 1024**2

#: The scopes: what a list without further ado is of, and what it can be asked for (DOC).
ORGANISATION: Final = "organisation"
PROJECT: Final = "project"

#: What stands between the entries of a list, as in PATH.
_BETWEEN: Final = ":"
YES: Final = ("yes", "true", "on", "1")
NO: Final = ("no", "false", "off", "0")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one mount behaves; every field has a line in `OPTIONS`.

    Attributes:
        write_back: `close` returns when bytes and intent are on this disk, uploads follow in the background (W2).
        drain: seconds for which the end of a mount waits for uploads (L2); the rest stays in the journal.
        listing_ttl: seconds a listing is believed (L4).
        scope: whose files the service is asked for: the `organisation`'s, or the `project`'s of the key (N1).
        purpose: `auto` (W11) or one of `wire.PURPOSES`.
        sidecars: `show`, or `hide` to keep them out of listings (N1).
        content: `body` of `/content` in sidecars, or the `text` in it alone (R1).
        temporary: globs of further names that stay on this machine; `!GLOB` takes one of `names.TEMPORARY` off (N6).
        junk: globs of further names that are refused; `!GLOB` takes one of `names.LITTER` off (N6).
        content_cache: bytes of text kept in memory (R2).
        text_cache: bytes of text kept on disk (R2).
        originals_cache: bytes of own originals kept on disk (R5).
        timeout: seconds a read request may take in all (E2).
        upload_timeout: seconds one upload may take in all, retries included (E2).
        requests: requests under way at once, at most; a reader may exceed it by a quarter.
        max_files, max_total_bytes: what is believed to fit into the account, until the service shows (W7).
        uid, gid: shown owner; -1 is whoever mounts (A1).
        umask: permission bits that are not shown; without those the owner's hold for everybody (A1).
        allow_other: let other users in (off by default, X2).
        control: whose `.moonfs` is: `owner`, or `all` whom the umask leaves something (X2).
        read_only: the kernel refuses every change (mount(8), `ro`).
        debug: log every operation.
    """

    write_back: bool = False
    drain: float = 30.0
    listing_ttl: float = 10.0
    scope: str = ORGANISATION
    purpose: str = "auto"
    sidecars: str = "show"
    content: str = "body"
    temporary: tuple[str, ...] = ()
    junk: tuple[str, ...] = ()
    content_cache: int = 64 * MIB
    text_cache: int = 1024 * MIB
    originals_cache: int = 10 * 1024 * MIB
    timeout: float = 60.0
    upload_timeout: float = 600.0
    requests: int = 32
    max_files: int = 1000
    max_total_bytes: int = 10 * 1024 * MIB
    uid: int = -1
    gid: int = -1
    umask: int = 0o077
    allow_other: bool = False
    control: str = "owner"
    read_only: bool = False
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as a person writes it.

    Attributes:
        name: as in `-o`; the flag has dashes for its underscores.
        parse: turns what was written into the value. Raises ValueError with what would be right.
        metavar: what stands for the value in help; empty for what is on or off.
        shown: the default as a person would write it.
        help: one sentence.
    """

    name: str
    parse: Callable[[str], object]
    metavar: str
    shown: str
    help: str

    @property
    def flag(self) -> str:
        """Return the name as a flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def switch(self) -> bool:
        """Say whether it is on or off, and needs no value to be on."""
        return not self.metavar

    @property
    def choices(self) -> tuple[str, ...]:
        """Return all values it can have, where these are few words."""
        return tuple(self.metavar.split("|")) if "|" in self.metavar else ()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("it needs a number of seconds") from None
    if not 0 <= value <= 86_400:
        raise ValueError("seconds are between 0 and 86400")
    return value


def _positive_seconds(text: str) -> float:
    value = _seconds(text)
    if value <= 0:
        raise ValueError("seconds are above 0")
    return value


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})(?:([KMGT])I?)?B?", text.upper())
    if match is None:
        raise ValueError("a size is a whole number of bytes, or one with K, M, G or T, such as 64M")
    return int(match[1]) * {None: 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}[match[2]]


def yes_or_no(text: str) -> bool:
    """Return what a switch says. Raises ValueError for what is neither."""
    if text.lower() in YES:
        return True
    if text.lower() in NO:
        return False
    raise ValueError("yes or no")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it needs a whole number") from None


def _number(text: str) -> int:
    value = _whole(text)
    if not 0 <= value < 2**32 - 1:
        raise ValueError("ids are numbers from 0")
    return value


def _umask(text: str) -> int:
    if re.fullmatch("[0-7]{1,4}", text) is None or int(text, 8) > 0o777:
        raise ValueError("a umask is octal, 0 to 777")
    return int(text, 8)


def _requests(text: str) -> int:
    value = _whole(text)
    if not 1 <= value <= 64:
        raise ValueError("between 1 and 64")
    return value


def _files(text: str) -> int:
    value = _whole(text)
    if not 1 <= value < 10**9:
        raise ValueError("a number of files is 1 at least")
    return value


def _some_size(text: str) -> int:
    value = _size(text)
    if not value:
        raise ValueError("it is a byte at least")
    return value


def _globs(text: str) -> tuple[str, ...]:
    globs = tuple(text.split(_BETWEEN))
    for glob in globs:
        if not glob.removeprefix("!") or "/" in glob:
            raise ValueError("globs of file names with a colon between, such as *.bak:!*.tmp")
    return globs


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


#: Every setting, in the order in which people read of them.
OPTIONS: Final = (
    Option(
        "write_back",
        yes_or_no,
        "",
        "no",
        "Let close return when the bytes are safe on this disk; upload in the background, for ever if need be.",
    ),
    Option("read_only", yes_or_no, "", "no", "Refuse every change; `ro` is the same."),
    Option("listing_ttl", _seconds, "SECONDS", "10", "Believe a listing this long."),
    Option(
        "purpose",
        _choice("auto", "file-extract", "image", "video", "batch"),
        "auto|file-extract|image|video|batch",
        "auto",
        "What uploads are for; auto goes by the type.",
    ),
    Option(
        "scope",
        _choice(ORGANISATION, PROJECT),
        f"{ORGANISATION}|{PROJECT}",
        ORGANISATION,
        "Whose files they are: the whole organisation's, or those of the key's project alone.",
    ),
    Option("sidecars", _choice("show", "hide"), "show|hide", "show", "NAME.content in listings; hidden ones open too."),
    Option(
        "content",
        _choice("body", "text"),
        "body|text",
        "body",
        "In NAME.content, the JSON body of the service, or the text in it alone.",
    ),
    Option(
        "temporary",
        _globs,
        "GLOBS",
        "none",
        "More names that stay on this machine, such as *.bak:*.wip; !*.tmp takes one off the usual list.",
    ),
    Option("junk", _globs, "GLOBS", "none", "More names that are refused; !GLOB takes one off the usual list."),
    Option("drain", _seconds, "SECONDS", "30", "How long the end of the mount waits for uploads."),
    Option("content_cache", _size, "SIZE", "64M", "Text kept in memory."),
    Option("text_cache", _size, "SIZE", "1G", "Text kept on disk."),
    Option("originals_cache", _size, "SIZE", "10G", "Own originals kept on disk."),
    Option("timeout", _positive_seconds, "SECONDS", "60", "Longest wait for a read request."),
    Option("upload_timeout", _positive_seconds, "SECONDS", "600", "Longest wait for one upload."),
    Option("requests", _requests, "N", "32", "Requests at once, at most."),
    Option("max_files", _files, "N", "1000", "Files that the account is believed to hold, until the service shows."),
    Option("max_total_bytes", _some_size, "SIZE", "10G", "The same of all their bytes."),
    Option("uid", _number, "N", "yours", "Owner that is shown."),
    Option("gid", _number, "N", "yours", "Group that is shown."),
    Option(
        "umask", _umask, "OCTAL", "077", "Permissions that are not shown; 022 with allow_other lets all others read."
    ),
    Option("allow_other", yes_or_no, "", "no", "Let other users in."),
    Option("control", _choice("owner", "all"), "owner|all", "owner", "Whom allow_other lets into .moonfs too."),
    Option("debug", yes_or_no, "", "no", "Log more."),
)

_BY_NAME: Final = {option.name: option for option in OPTIONS}


def parse_settings(options: Mapping[str, str], origins: Mapping[str, str] | None = None) -> Settings:
    """Turn names and what was written for them into `Settings`.

    Sizes take K, M or G (powers of 1024); `umask` is octal; lists have colons between.

    Args:
        options: name → text.
        origins: name → where it was written, for the sentence that says what is wrong; `-o NAME` where it is missing.

    Raises:
        UsageError: an unknown name, or an unusable value.
    """
    values: dict[str, object] = {}
    for name, text in options.items():
        where = (origins or {}).get(name, f"-o {name}")
        if name not in _BY_NAME:
            raise UsageError(f"Unknown setting {name!r} ({where}); {did_you_mean(name, _BY_NAME)}.")
        try:
            values[name] = _BY_NAME[name].parse(text)
        except ValueError as error:
            raise UsageError(f"Unusable value {text!r} of {name} ({where}): {error}.") from error
    return dataclasses.replace(Settings(), **values)  # type: ignore[arg-type]


def did_you_mean(name: str, known: Mapping[str, object]) -> str:
    """Return the end of a sentence about a name that is not known: what is like it, or else all there is."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f"did you mean {close[0]}?".rstrip("?") if close else f"known are {', '.join(sorted(known))}"
