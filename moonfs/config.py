"""Where things live and what the environment says: XDG directories, keys, bases, the defaults of a mount.

Standard library only. It reads the environment and makes directories; it opens no connection and decides
nothing about files.

**Threading:** read once at start; `Settings` is immutable.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moonfs.errors import UsageError

#: The international service; the mainland's is https://api.moonshot.cn/v1 (same contract, other keys).
DEFAULT_BASE_URL: Final = "https://api.moonshot.ai/v1"
MIB: Final = 1024**2

#: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_TOPDIR_FL of linux/fs.h.
_GETFLAGS: Final = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_SETFLAGS: Final = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
_TOPDIR: Final = 0x00020000


@dataclass(frozen=True, slots=True)
class Settings:
    """How one mount behaves; every field has a `-o name=value` of the same name.

    Attributes:
        write_back: `close` returns when bytes and intent are on this disk, uploads follow in the background (W2).
        drain: seconds for which the end of a mount waits for uploads (L2); the rest stays in the journal.
        listing_ttl: seconds a listing is believed (L4).
        purpose: `auto` (W11) or one of `wire.PURPOSES`.
        sidecars: `show`, or `hide` to keep them out of listings (N1).
        content: `body` of `/content` in sidecars, or the `text` in it alone (R1).
        content_cache: bytes of text kept in memory (R2).
        text_cache: bytes of text kept on disk (R2).
        originals_cache: bytes of own originals kept on disk (R5).
        timeout: seconds a read request may take in all (E2).
        upload_timeout: seconds one upload may take in all, retries included (E2).
        requests: requests under way at once, at most; a reader may exceed it by a quarter.
        uid, gid: shown owner.
        umask: permission bits taken off what is shown.
        allow_other: let other users in (off by default, X2).
        debug: log every operation.
    """

    write_back: bool = False
    drain: float = 30.0
    listing_ttl: float = 10.0
    purpose: str = "auto"
    sidecars: str = "show"
    content: str = "body"
    content_cache: int = 64 * MIB
    text_cache: int = 1024 * MIB
    originals_cache: int = 10 * 1024 * MIB
    timeout: float = 60.0
    upload_timeout: float = 600.0
    requests: int = 32
    uid: int = -1
    gid: int = -1
    umask: int = 0
    allow_other: bool = False
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """One account of one service.

    Attributes:
        base_url: the origin and path of the API, without a trailing slash.
        key: the API key; never printed (X1).
        socket: path of a UNIX socket to connect to instead of the host of `base_url`.
        identity: what keeps two accounts apart on disk; two mounts of one account share it.
        label: what people see: the base URL, or the local data directory.
    """

    base_url: str
    key: str
    socket: str | None
    identity: str
    label: str

    def __repr__(self) -> str:
        return f"Account({self.label!r})"


def hosted_account(environ: Mapping[str, str]) -> Account:
    """Return the account that the environment names.

    `MOONSHOT_API_KEY`, else `KIMI_API_KEY`; `MOONSHOT_BASE_URL`, else `KIMI_BASE_URL`, else the international service.

    Raises:
        UsageError: no key.
    """
    key = _first(environ, "MOONSHOT_API_KEY", "KIMI_API_KEY")
    base_url = (_first(environ, "MOONSHOT_BASE_URL", "KIMI_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
    if not key:
        raise UsageError(
            "No API key: set MOONSHOT_API_KEY (or KIMI_API_KEY) to mount the hosted service, "
            "or add --local to mount the local Files API, which needs no account."
        )
    digest = hashlib.sha256(f"{base_url}\n{key}".encode("utf-8", "surrogateescape")).hexdigest()
    return Account(base_url=base_url, key=key, socket=None, identity=digest[:16], label=base_url)


def _first(environ: Mapping[str, str], *variables: str) -> str:
    """Return the first of these variables that is not blank; empty where all are."""
    return next((value for name in variables if (value := environ.get(name, "").strip())), "")


def local_identity(data: Path) -> str:
    """Return the identity of the local Files API that keeps its files in `data`."""
    return hashlib.sha256(f"local\n{data.resolve()}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def local_account(data: Path, key: str, socket: str) -> Account:
    """Return the account of the local Files API that keeps its files in `data` and listens on `socket`."""
    return Account(
        base_url="http://localhost/v1",
        key=key,
        socket=socket,
        identity=local_identity(data),
        label=f"local Files API in {data.resolve()}",
    )


@dataclass(frozen=True, slots=True)
class Directories:
    """The XDG base directories of this user, each with `moonfs` below it (XDG Base Directory Specification)."""

    data: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Directories:
        """Read `XDG_*_HOME` (absolute ones only, as the specification asks), else the defaults below HOME.

        Raises:
            UsageError: neither the variable nor HOME is set.
        """

        def base(variable: str, default: str) -> Path:
            value = environ.get(variable, "")
            if os.path.isabs(value):
                return Path(value) / "moonfs"
            home = environ.get("HOME") or ""
            if not os.path.isabs(home):
                try:
                    home = os.path.expanduser("~")
                except (KeyError, RuntimeError):  # pragma: no cover - a user without a passwd entry
                    home = ""
            if not os.path.isabs(home):
                raise UsageError(f"Set HOME or {variable} to an absolute path: moonfs keeps its state there.")
            return Path(home) / default / "moonfs"

        runtime = environ.get("XDG_RUNTIME_DIR", "")
        if os.path.isabs(runtime) and os.access(runtime, os.W_OK):
            sockets = Path(runtime) / "moonfs"
        else:
            sockets = Path(tempfile.gettempdir()) / f"moonfs-{os.getuid()}"
        return cls(
            data=base("XDG_DATA_HOME", ".local/share"),
            state=base("XDG_STATE_HOME", ".local/state"),
            cache=base("XDG_CACHE_HOME", ".cache"),
            runtime=sockets,
        )


def make_private(directory: Path) -> Path:
    """Create `directory` as 0700, with the parents that are missing, and return it (X2).

    Every directory that is made is 0700, as the XDG specification asks; of those that were there only
    `directory` itself becomes so, since the others may be somebody's own.

    Raises:
        UsageError: it cannot be made, or belongs to somebody else.
    """
    try:
        for part in (*reversed(directory.parents), directory):
            if part == directory or not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if status.st_uid != os.geteuid() or not directory.is_dir() or directory.is_symlink():
            raise UsageError(f"{directory} belongs to somebody else or is no directory; remove it, then try again.")
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise UsageError(f"Cannot use {directory}: {error.strerror}.") from error
    return directory


def make_roomy(directory: Path) -> Path:
    """Create `directory` as `make_private` does, for thousands of files that come and go; its parent is there.

    ext4 makes a file near its directory, and to find a free inode there it passes by each one that was freed in the
    past minutes, whoever freed it: 0.8 ms a file where thousands were. So a new directory begins in a part of the disk
    of its own, chosen by its first name, as ext4 does below a directory with the attribute T (chattr(1)). Elsewhere it
    is where it would be.

    Raises:
        UsageError: it cannot be made, or belongs to somebody else.
    """
    if not os.path.lexists(directory):
        first = directory.with_name(f".{secrets.token_hex(8)}")
        try:
            _let_spread(directory.parent)
            first.mkdir(mode=0o700)
            first.rename(directory)
        except OSError as error:
            raise UsageError(f"Cannot use {directory}: {error.strerror}.") from error
    return make_private(directory)


def _let_spread(parent: Path) -> None:
    """Set the attribute T of `parent`, where its filesystem has it: directories in it do not belong together."""
    flags = bytearray(struct.calcsize("l"))  # the ioctls are declared with a long and carry an int (ioctl_iflags(2))
    with contextlib.suppress(OSError):
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _GETFLAGS, flags)
            struct.pack_into("i", flags, 0, struct.unpack_from("i", flags)[0] | _TOPDIR)
            fcntl.ioctl(fd, _SETFLAGS, flags)
        finally:
            os.close(fd)


def parse_settings(options: Mapping[str, str | None]) -> Settings:
    """Turn the `name=value` pairs of `-o` into `Settings`.

    Sizes take K, M or G (powers of 1024); `umask` is octal.

    Raises:
        UsageError: an unknown name, a missing or an unusable value.
    """
    values: dict[str, object] = {}
    for name, text in options.items():
        try:
            values[name] = _PARSERS[name](text)
        except KeyError:
            known = ", ".join(sorted(_PARSERS))
            raise UsageError(f"Unknown option -o {name}; known are {known}.") from None
        except (TypeError, ValueError) as error:
            shown = name if text is None else f"{name}={text}"
            raise UsageError(f"Unusable option -o {shown}: {error}.") from error
    return Settings(**values)  # type: ignore[arg-type]


def _need(text: str | None) -> str:
    if not text:
        raise ValueError("it needs a value")
    return text


def _seconds(text: str | None) -> float:
    value = float(_need(text))
    if not 0 <= value <= 86_400:
        raise ValueError("seconds are between 0 and 86400")
    return value


def _positive_seconds(text: str | None) -> float:
    value = _seconds(text)
    if value <= 0:
        raise ValueError("seconds are above 0")
    return value


def _size(text: str | None) -> int:
    match = re.fullmatch(r"([0-9]{1,18})(?:([KMGT])I?)?B?", _need(text).upper())
    if match is None:
        raise ValueError("a size is a whole number of bytes, or one with K, M, G or T, such as 64M")
    return int(match[1]) * {None: 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}[match[2]]


def _flag(text: str | None) -> bool:
    if text is not None:
        raise ValueError("it takes no value")
    return True


def _whole(text: str | None) -> int:
    try:
        return int(_need(text))
    except ValueError:
        raise ValueError("it needs a whole number") from None


def _number(text: str | None) -> int:
    value = _whole(text)
    if not 0 <= value < 2**32 - 1:
        raise ValueError("ids are numbers from 0")
    return value


def _umask(text: str | None) -> int:
    value = int(_need(text), 8)
    if not 0 <= value <= 0o777:
        raise ValueError("a umask is octal, 0 to 777")
    return value


def _requests(text: str | None) -> int:
    value = _whole(text)
    if not 1 <= value <= 64:
        raise ValueError("between 1 and 64")
    return value


def _choice(*choices: str):  # type: ignore[no-untyped-def]
    def parse(text: str | None) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


_PARSERS = {
    "write_back": _flag,
    "drain": _seconds,
    "listing_ttl": _seconds,
    "purpose": _choice("auto", "file-extract", "image", "video", "batch"),
    "sidecars": _choice("show", "hide"),
    "content": _choice("body", "text"),
    "content_cache": _size,
    "text_cache": _size,
    "originals_cache": _size,
    "timeout": _positive_seconds,
    "upload_timeout": _positive_seconds,
    "requests": _requests,
    "uid": _number,
    "gid": _number,
    "umask": _umask,
    "allow_other": _flag,
    "debug": _flag,
}
