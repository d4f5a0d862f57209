"""The states that accounts have on this machine: each says where its drive was mounted last, mounted or not.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from moonfs import mountpoints
from moonfs.config import Directories, local_identity, matching


@dataclass(frozen=True, slots=True)
class Kept:
    """The state that an account has here, whether it is mounted or not.

    Attributes:
        folder: where it is.
        point: where it was mounted last.
        since: when that was, in seconds of unix time.
    """

    folder: Path
    point: str
    since: float


def states(state: Path) -> list[Kept]:
    """Return the state of every account below this user's `state`, the one that was mounted last first."""
    found = []
    for lock in matching(state / "accounts", "*/lock"):
        with contextlib.suppress(OSError):
            _, _, point = lock.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").partition(" ")
            found.append(Kept(lock.parent, point or "an unknown directory", lock.stat().st_mtime))
    return sorted(found, key=lambda kept: kept.since, reverse=True)


def mounts_again(directories: Directories, directory: str) -> str:
    """Return the command that mounts on a directory what was mounted there last, or the hosted service."""
    point = mountpoints.absolute(directory)
    before = next((kept for kept in states(directories.state) if kept.point == point), None)
    if before is not None and before.folder.name == local_identity(directories.data / "local"):
        return f"moonfs mount --local {quote(directory)}"
    if before is not None and (before.folder / "server.log").exists():
        return f"moonfs mount --local DATA {quote(directory)}  # DATA: where its files are"
    return f"moonfs mount {quote(directory)}"
