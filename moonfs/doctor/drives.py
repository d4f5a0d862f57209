"""The drives: those that are mounted, each asked for its files, and a directory where one is to be.

**Threading:** called by one thread; drives are asked by other processes, since one that hangs would stop this one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Final

import moonfs
from moonfs import mountpoints, mounts, wire
from moonfs.config import Directories
from moonfs.doctor import account, storage
from moonfs.doctor.findings import ME, Finding, State
from moonfs.errors import UsageError

#: Seconds for a listing, which may have to wait for its turn at an account of few requests.
_SECONDS: Final = 30.0
#: Seconds for what a drive answers by itself.
_GLANCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the lock of an account says of its last mount.

    Attributes:
        identity: the account's, see `config.Account`.
        point: where it was mounted.
        pid: the daemon, while it lives; else 0.
    """

    identity: str
    point: str
    pid: int


def remembered(directories: Directories) -> list[Remembered]:
    """Return the accounts that were mounted here, the last first."""
    found = []
    locks = []
    with contextlib.suppress(OSError):
        locks = list(directories.state.glob("accounts/*/lock"))
    for lock in locks:
        with contextlib.suppress(OSError, ValueError), open(lock, "rb") as stream:
            pid, _, point = stream.read(8192).decode("utf-8", "surrogateescape").removesuffix("\n").partition(" ")
            changed = os.fstat(stream.fileno()).st_mtime
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                alive = 0  # the kernel has dropped the lock of whoever had it
            except BlockingIOError:
                alive = int(pid)
            found.append((changed, Remembered(lock.parent.name, point, alive)))
    return [each for _, each in sorted(found, key=lambda entry: entry[0], reverse=True)]


def look(
    points: Iterable[str], last: Sequence[Remembered], listed: Container[str]
) -> Iterator[tuple[Finding, dict[str, Any] | None]]:
    """Look at mounted drives: each finding, with what the drive says of itself where it answers.

    What is wrong with a drive whose state is kept elsewhere, as of a program with a HOME of its own, is a warning.

    Args:
        points: where they are, as `mountpoints.ours` has them.
        last: says which daemon serves a drive.
        listed: those that are asked for their files, which may send a request.
    """
    known = {each.point for each in last}
    for point in points:
        worst = State.FAILED if point in known else State.WARNING
        about, clear = f"drive {point}", f"moonfs umount {quote(point)}"
        owner = next((mount.owner for mount in mounts.table() if mount.point == point), -1)
        if owner not in (-1, os.geteuid()) and _is_closed(point):
            fix = f"sudo -u '#{owner}' moonfs doctor {quote(point)}"
            yield Finding(about, State.NOTE, f"is user {owner}'s, and open to that user alone", fix), None
            continue
        if mountpoints.is_stale(point):
            yield Finding(about, worst, "is stale: its daemon has died", clear), None
            continue
        try:
            mountpoints.read_status(point)
            trouble = _trouble_of_listing(point) if point in listed else ""
            status = mountpoints.read_status(point)
        except UsageError:
            pid = next((each.pid for each in last if each.point == point), 0)
            # What is pending survives that (W2), and a daemon that hangs holds the account until it has ended.
            kill = f"kill -9 {pid}; " if pid else ""
            yield Finding(about, worst, "does not answer", f"{kill}{clear}  # then mount it again"), None
            continue
        found = _of_status(about, point, status, trouble)
        yield (replace(found, state=worst) if found.state == State.FAILED else found), status
        numbers = status.get("quota", {})
        full = account.quota(
            f"quota of {point}",
            numbers.get("files", 0),
            numbers.get("bytes", 0),
            quote(point),
            most_files=numbers.get("max_files", wire.MAX_FILES),
            most_bytes=numbers.get("max_bytes", wire.MAX_TOTAL_BYTES),
            refused="refused" in (numbers.get("files_by"), numbers.get("bytes_by")),
        )
        if full.state != State.OK:
            yield full, None


def _is_closed(point: str) -> bool:
    """Say whether a drive of another user lets this one in; one that hangs does not say so."""
    english = {**os.environ, "LC_ALL": "C"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = ["ls", "-d", os.path.join(point, ".moonfs")]
        done = subprocess.run(command, capture_output=True, timeout=_GLANCE_SECONDS, check=False, env=english)
        return done.stderr.strip().endswith(os.strerror(errno.EACCES).encode())
    return False


def _trouble_of_listing(point: str) -> str:
    """Have a drive list its files, and return why it cannot; empty where it can."""
    english = {**os.environ, "LC_ALL": "C"}
    command = ["ls", "-U", point]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, env=english)
    except subprocess.TimeoutExpired:
        return f"it has not listed its files within {_SECONDS:.0f} s"
    return "" if done.returncode == 0 else os.fsdecode(done.stderr).strip().rpartition(": ")[2]


def _of_status(about: str, point: str, status: dict[str, Any], trouble: str) -> Finding:
    again = f"moonfs umount {quote(point)}  # then mount it again"
    failed = status.get("uploads", {}).get("failed", [])
    outage = status.get("traffic", {}).get("outage")
    stale = status.get("listing", {}).get("stale_because")
    hosted = status.get("backend") == "hosted"
    if status.get("version") != moonfs.__version__:
        found = f"is served by moonfs {status.get('version')}, and this is {moonfs.__version__}"
        return Finding(about, State.WARNING, found, again)
    if trouble == os.strerror(errno.EACCES):  # the one reason for which a root that is ours does not list
        profile = f" -p {quote(status['profile'])}" if status.get("profile") else ""
        fix = f"moonfs key set{profile}; {again}"
        return Finding(about, State.FAILED, f"the service refuses the key that {point} was mounted with", fix)
    if outage or stale or trouble:
        reason = outage.get("reason") if outage else stale or trouble
        found = f"does not reach {'the service' if hosted else 'the local Files API'}: {reason}"
        return Finding(about, State.FAILED, found, "" if hosted else again)
    if failed:
        found = f"{len(failed)} not uploaded, such as {failed[0]['name']}: {failed[0]['error']}"
        fix = f"moonfs status {quote(point)}  # says for each what to do"
        return Finding(about, State.WARNING, found, fix)
    return Finding(about, State.OK, f"answers ({status.get('account')})")


def place(point: str) -> Finding:
    """Look at a directory where nothing of ours is mounted: whether a drive can be."""
    path = Path(mountpoints.absolute(point))
    about = f"directory {path}"
    below = f"moonfs mount {quote(str(path / 'moon'))}  # with the same flags"
    mounted = mountpoints.at(str(path))
    if mounted is not None:
        return Finding(about, State.FAILED, f"a {mounted.fstype} filesystem is mounted there", below)
    try:
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        obstacle = storage.usable(about, path, there)
        if obstacle is not None:
            return obstacle
        if there != path:
            return Finding(about, State.OK, "will be made, and a drive mounted on it")
        if os.listdir(path):
            return Finding(about, State.FAILED, "is not empty: a drive is mounted on an empty one", below)
    except OSError as error:
        return Finding(about, State.FAILED, f"cannot be used: {error.strerror}", f"sudo chown {ME} {quote(str(path))}")
    return Finding(about, State.OK, "is empty, and a drive can be mounted on it")
