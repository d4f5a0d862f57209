"""Where things live and what the environment says: XDG directories, accounts and what keeps them apart.

Standard library only. It reads the environment and makes directories; it opens no connection and decides
nothing about files.

**Threading:** read once at start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import secrets
import stat
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moonfs import disk
from moonfs.errors import UsageError

#: The international service; the mainland's is https://api.moonshot.cn/v1 (same contract, other keys).
DEFAULT_BASE_URL: Final = "https://api.moonshot.ai/v1"

#: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_TOPDIR_FL of linux/fs.h.
_GETFLAGS: Final = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_SETFLAGS: Final = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
_TOPDIR: Final = 0x00020000


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


def hosted_account(base_url: str, key: str) -> Account:
    """Return the account of `key` on the service at `base_url`; `api` checks both."""
    base_url = base_url.strip().rstrip("/")
    digest = hashlib.sha256(f"{base_url}\n{key}".encode("utf-8", "surrogateescape")).hexdigest()
    return Account(base_url=base_url, key=key, socket=None, identity=digest[:16], label=base_url)


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

    config: Path
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

        state = base("XDG_STATE_HOME", ".local/state")
        return cls(
            config=base("XDG_CONFIG_HOME", ".config"),
            data=base("XDG_DATA_HOME", ".local/share"),
            state=state,
            cache=base("XDG_CACHE_HOME", ".cache"),
            runtime=_runtime(environ.get("XDG_RUNTIME_DIR", ""), state),
        )


def _runtime(given: str, state: Path) -> Path:
    """Return where sockets go: a short path, in a directory that is this user's own.

    `given` may be somebody else's (`sudo -E`, `su`), and the place in /tmp too: anybody may make that, and root of a
    rootless container meets the one of the real root.
    """
    with contextlib.suppress(OSError):
        if os.path.isabs(given) and os.stat(given).st_uid == os.geteuid() and os.access(given, os.W_OK):
            return Path(given) / "moonfs"
    usual = Path(tempfile.gettempdir()) / f"moonfs-{os.getuid()}"
    try:
        status = usual.lstat()
    except FileNotFoundError:
        return usual
    except OSError:
        return state / "run"
    return usual if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() else state / "run"


def exists(path: Path) -> bool:
    """Say whether there is anything at `path`, also by a link.

    Since Python 3.14 `Path.exists` says no of what lies in a directory where one may not look.

    Raises:
        OSError: it cannot be known.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what matches in `folder`; nothing where there is no such directory.

    Raises:
        OSError: one may not look there, which `Path.glob` passes over, from Python 3.13 on in every case.
    """
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        return []
    return sorted(folder.glob(pattern))


def make_private(directory: Path) -> Path:
    """Create `directory` as 0700, with the parents that are missing, and return it (X2).

    Every directory that is made is 0700, as the XDG specification asks; of those that were there only
    `directory` itself becomes so, since the others may be somebody's own. A link of one's own to a directory of
    one's own is as good as the directory: the disk for large things is often another one.

    Raises:
        UsageError: it cannot be made, or it or the link to it belongs to somebody else.
    """
    try:
        for part in (*reversed(directory.parents), directory):
            if part == directory or not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
        status = directory.stat()
        owners = {status.st_uid, directory.lstat().st_uid}
        if owners != {os.geteuid()} or not stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{directory} belongs to somebody else or is no directory; remove it, then try again.")
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise _unusable(directory, error) from error
    return directory


def close_to_others(directories: Directories) -> None:
    """Make those of the directories 0700 that are there and this user's own (X2).

    Earlier versions, mkdir(1) and install(1) leave them open. What cannot be closed stays: not every drive needs each
    of them, and `moonfs doctor` names it.
    """
    for directory in dataclasses.astuple(directories):
        with contextlib.suppress(UsageError):
            if os.path.isdir(directory):
                make_private(directory)


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
            raise _unusable(directory, error) from error
    return make_private(directory)


def _unusable(directory: Path, error: OSError) -> UsageError:
    if disk.is_refusal(error):
        return UsageError(f"Cannot use {directory}: {disk.reason(error, directory)}")
    return UsageError(
        f"Cannot use {directory}: {error.strerror}; moonfs doctor looks at all directories that a drive needs."
    )


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
