"""Mount points: which directories may become one, which ones are moonfs's, and what is asked of a drive there.

It reads the kernel's mount table; it knows no account, starts no drive and ends none.

**Threading:** none of its own; called by the command line.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Final

from moonfs.errors import UsageError
from moonfs.mounts import Mount, table
from moonfs.names import SIDECAR

FSTYPE: Final = "fuse.moonfs"
FUSE_CONF: Final = Path("/etc/fuse.conf")
_ANSWER_SECONDS: Final = 5.0
#: Seconds for a listing of the account, retries included.
_LIST_SECONDS: Final = 60.0
#: Seconds for the deletion of some files.
_DELETE_SECONDS: Final = 180.0
#: Drives that are named where one is to be chosen.
_FEW: Final = 5
#: Seconds for a listing that somebody waits for at a Tab key.
_GLANCE_SECONDS: Final = 2.0


def ours() -> list[str]:
    """Return the points of the moonfs mounts of this user, once each drive; for root, of everybody."""
    user = os.geteuid()
    first: dict[str, str] = {}
    for mount in table():
        if mount.fstype == FSTYPE and user in (0, mount.owner):
            first.setdefault(mount.device, mount.point)
    return list(first.values())


def own() -> list[str]:
    """Return the points of the moonfs mounts of this very user, once each drive; for root, of root."""
    user = os.geteuid()
    mine = {mount.point for mount in table() if mount.fstype == FSTYPE and mount.owner == user}
    return [point for point in ours() if point in mine]


def only(doing: str, otherwise: str = "", *, among: list[str] | None = None) -> str:
    """Return the point of the only drive that this user has mounted: what a command means that is given none.

    Args:
        doing: what the command does, as in "there is nothing to unmount".
        otherwise: what else there is where there are several, after "name one".
        among: the drives there are, where the mount table does not know all.

    Raises:
        UsageError: there is none, or there are several.
    """
    points = own() if among is None else among
    if not points:
        raise UsageError(f"You have no drive mounted; there is nothing to {doing}.")
    if len(points) > 1:
        few = ", ".join(map(quote, points[:_FEW])) + (", …" if len(points) > _FEW else "")
        raise UsageError(f"You have {len(points)} drives mounted: {few}; name one{otherwise}")
    return points[0]


def at(point: str) -> Mount | None:
    """Return what is mounted on exactly this path, the topmost, or None."""
    path = absolute(point)
    found = [mount for mount in table() if mount.point == path]
    return found[-1] if found else None


def absolute(point: str) -> str:
    """Return `point` with its parents resolved; a mount itself is not looked at, since it may be stale or hang."""
    path = os.path.abspath(point)
    if path == "/":
        return path
    resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if any(mount.point == resolved for mount in table()):
        return resolved
    return os.path.realpath(resolved) if os.path.islink(resolved) else resolved


def holding(path: str) -> tuple[str, str] | None:
    """Return the point of the drive that a path leads to, and the rest of the path; None where it leads to none.

    The drive itself is not looked at, since it may be stale or hang.
    """
    points = {mount.point for mount in table() if mount.fstype == FSTYPE}
    whole = Path(os.path.abspath(path))
    parts = (whole, *whole.parents)
    above = next((part for part in parts if str(part) in points), None)
    if above is not None:
        return str(above), str(whole.relative_to(above)) if whole != above else ""
    for part in parts:
        if os.path.islink(part) and (point := absolute(str(part))) in points:
            return point, str(whole.relative_to(part)) if whole != part else ""
    return None


def prepare(point: str) -> str:
    """Make sure that a drive can be mounted on `point`, made if it is missing, and return its absolute path.

    Raises:
        UsageError: busy, stale, not empty, not a directory, or not to be made.
    """
    path = absolute(point)
    mounted = at(path)
    try:
        if mounted is not None:
            if mounted.fstype == FSTYPE:
                if is_stale(path):
                    raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
                raise UsageError(
                    f"{point} is a mounted moonfs drive already; unmount it with: moonfs umount {quote(point)}"
                )
            os.stat(path)
            raise UsageError(
                f"{point} is busy: a {mounted.fstype} filesystem is mounted there; choose another directory."
            )
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.listdir(path):
            raise UsageError(f"{point} is not empty; choose an empty or a new directory to mount on.")
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"You may not write to {point}; choose a directory of your own to mount on.")
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{point} is not a directory; choose an empty or a new directory to mount on.") from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise UsageError(
                f"{point} is a stale mount, left by a daemon that died; clear it with: moonfs umount {quote(point)}"
            ) from None
        raise UsageError(f"Cannot mount on {point}: {error.strerror}; choose another directory.") from error
    return path


def lets_others_in(path: Path = FUSE_CONF) -> bool:
    """Say whether this user may mount with `allow_other` (fuse.conf(5))."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return os.geteuid() == 0 or any(line.strip() == "user_allow_other" for line in lines)


def read_status(point: str) -> dict[str, Any]:
    """Return what the drive on `point` says of itself.

    Read by another process, so that a drive that hangs costs a bounded time.

    Raises:
        UsageError: it does not answer; says what to do.
    """
    return _read(point, "status.json")


def prefetch(point: str, *lines: str) -> None:
    """Ask the drive on `point` for the texts of these files, `/all` of them, or to `/stop` (A2).

    Raises:
        UsageError: no moonfs drive is mounted there, it does not answer, or it cannot list its files.
    """
    path = os.path.join(_writable(point, "cat DIR/*.content >/dev/null reads them all"), ".moonfs", "prefetch")
    request = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    try:
        command = ["dd", f"of={path}", "bs=1M", "iflag=fullblock", "conv=notrunc", "status=none"]
        done = subprocess.run(command, input=request, capture_output=True, timeout=_LIST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _no_answer(point) from None
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().rpartition(": ")[2]
        raise UsageError(
            f"The drive on {point} cannot fetch texts now ({why}); moonfs status {quote(point)} says more."
        )


def read_prefetch(point: str) -> dict[str, Any]:
    """Return how far the prefetch of the drive on `point` is: see `prefetch.Prefetch.progress`.

    Raises:
        UsageError: no moonfs drive is mounted there, or it does not answer; says what to do.
    """
    return _read(_drive(point), "prefetch")


def _read(point: str, name: str) -> dict[str, Any]:
    path = os.path.join(point, ".moonfs", name)
    try:
        done = subprocess.run(["cat", path], capture_output=True, timeout=_ANSWER_SECONDS, check=False)
        if done.returncode == 0:
            found = json.loads(done.stdout)
            if isinstance(found, dict):
                return found
    except (subprocess.TimeoutExpired, ValueError):
        pass
    raise _no_answer(point)


def _no_answer(point: str) -> UsageError:
    return UsageError(
        f"The drive on {point} does not answer; if its daemon died, clear it with: moonfs umount {quote(point)}"
    )


def refresh(point: str) -> int:
    """Have the drive on `point` ask the service for its files now (L4, N5), and return how many there are.

    Raises:
        UsageError: no moonfs drive is mounted there, it does not answer, or the service does not.
    """
    path = _writable(point, "it lists its files anew by itself, after the seconds of listing_ttl")
    # By other processes, as in `read_status`.
    drop, look = ["touch", os.path.join(path, ".moonfs", "refresh")], ["ls", "-U", path]
    try:
        for command, seconds in ((drop, _ANSWER_SECONDS), (look, _LIST_SECONDS)):
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
            if done.returncode != 0:
                break
    except subprocess.TimeoutExpired:
        pass
    else:
        listing = read_status(path)["listing"]
        if listing["stale_because"]:
            raise UsageError(f"The files could not be listed anew: {listing['stale_because']}")
        if done.returncode == 0:
            return int(listing["files"])
    raise _no_answer(point)


def clear_errors(point: str) -> None:
    """Have the drive on `point` forget the failures that are over (E1).

    Raises:
        UsageError: no moonfs drive is mounted there, it does not answer, or it is of a version that cannot do it.
    """
    path = _writable(point, f"unmount it, then clear them: moonfs logs --clear {quote(point)}")
    try:
        # Without `nocreat` a drive of an earlier version would be asked for a new file.
        command = ["dd", f"of={os.path.join(path, '.moonfs', 'clear')}", "conv=notrunc,nocreat", "status=none"]
        done = subprocess.run(command, input=b"\n", capture_output=True, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _no_answer(point) from None
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().rpartition(": ")[2]
        raise UsageError(
            f"The drive on {point} did not clear its failures ({why}); "
            f"moonfs doctor {quote(point)} looks for the cause."
        )


def read_tidy(point: str) -> dict[str, Any]:
    """Return the conflict copies on `point` that this machine has stored: see `conflicts.Conflicts.report`.

    Raises:
        UsageError: no moonfs drive is mounted there, or it does not answer; says what to do.
    """
    return _read(_drive(point), "tidy")


def tidy(point: str, ids: Sequence[str]) -> list[str]:
    """Have the drive on `point` delete those of its own conflict copies whose ids these are; return which it has.

    Raises:
        UsageError: the drive takes no orders or does not answer, or the service does not.
    """
    path = os.path.join(_writable(point, "delete them with rm on another machine"), ".moonfs", "tidy")
    try:
        command = ["dd", f"of={path}", "conv=notrunc,nocreat", "status=none"]
        request = "".join(f"{each}\n" for each in ids).encode()
        done = subprocess.run(command, input=request, capture_output=True, timeout=_DELETE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _no_answer(point) from None
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().rpartition(": ")[2]
        raise UsageError(f"Not all could be deleted ({why}); moonfs logs --errors {quote(point)} says more.")
    return list(read_tidy(point)["deleted"])


def files(point: str) -> list[str]:
    """Return the names of the account's files on `point`, sorted and without their sidecars, if it lists them at once.

    Raises:
        UsageError: no moonfs drive is mounted there, or it does not answer within two seconds.
    """
    path = _drive(point)
    try:
        done = subprocess.run(["ls", "-U", path], capture_output=True, timeout=_GLANCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _no_answer(point) from None
    if done.returncode != 0:
        raise _no_answer(point)
    found = set(os.fsdecode(done.stdout).split("\n")) - {""}
    return sorted(name for name in found if not name.endswith(SIDECAR) or name.removesuffix(SIDECAR) not in found)


def is_stale(point: str) -> bool:
    """Say whether a moonfs drive is mounted on `point` whose daemon has died; one that hangs has not.

    Another process looks, so that a drive that hangs costs a bounded time.
    """
    mounted = at(point)
    if mounted is None or mounted.fstype != FSTYPE:
        return False
    command, english = ["stat", "--", mounted.point], {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ANSWER_SECONDS, check=False, env=english)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode != 0 and done.stderr.strip().endswith(os.strerror(errno.ENOTCONN).encode())


def _drive(point: str) -> str:
    """Return the absolute path of a mounted drive.

    Raises:
        UsageError: there is none.
    """
    path = absolute(point)
    mounted = at(path)
    if mounted is None or mounted.fstype != FSTYPE:
        raise UsageError(f"No moonfs drive is mounted on {point}; moonfs status lists the ones there are.")
    return path


def _writable(point: str, instead: str) -> str:
    """Return the absolute path of a drive that takes orders: they are written to a file of it.

    Raises:
        UsageError: there is none, or it is read-only; `instead` says what does the same then.
    """
    path = _drive(point)
    mounted = at(path)
    if mounted is not None and mounted.read_only:
        raise UsageError(f"The drive on {point} is read-only and takes no orders; {instead}.")
    return path
