"""How a drive ends: taken from its directory, and its daemon waited for, or named who holds it.

A drive lives as long as the kernel has it somewhere. Its directory may be free again while another mount namespace has
a copy of the mount, or a program has stayed in a mount that was detached (umount(2), mount_namespaces(7)). It calls
umount(8) and fusermount(1), and finds a drive without a mount by the lock of its account.

**Threading:** none of its own; called by the command line, and by the main thread of a daemon.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

from moonfs import daemons, holders, mountpoints, mounts
from moonfs.daemons import Daemon
from moonfs.errors import UsageError

#: Seconds for which a drive that is in use is tried again: `status --watch` and file managers look in for a moment.
_BUSY_SECONDS: Final = 1.5
#: Seconds in which umount(8) and fusermount(1) are done.
_LET_GO_SECONDS: Final = 10.0
#: Seconds after which a drive that the kernel still has is held: until then who passes by may let it go, such as a
#: namespace that was made for one command.
_HELD_SECONDS: Final = 3.0
#: Seconds after which a daemon that says nothing of itself is asked about in `/proc`.
_SILENT_SECONDS: Final = 5.0
#: Seconds in which a daemon that was told to end does.
_END_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive that is to end.

    Attributes:
        asked: the directory as it was named.
        point: its absolute path.
        device: as in `mounts.Mount`; empty where it is not known.
        mounted: whether it is mounted there, in this mount namespace.
        stale: whether its daemon has died.
        daemon: what serves it, None where that is not known.
    """

    asked: str
    point: str
    device: str
    mounted: bool
    stale: bool
    daemon: Daemon | None

    def status(self) -> dict[str, Any] | None:
        """Return what it says of itself, by the way that there is; None where it does not answer."""
        if self.mounted:
            with contextlib.suppress(UsageError):  # it hangs, or lets its owner in only
                return mountpoints.read_status(self.point)
        return None if self.daemon is None else self.daemon.status()


def find(asked: str, state: Path) -> Drive:
    """Return the drive on a directory, or the one that was mounted there and has not ended.

    Args:
        asked: any spelling of the directory.
        state: where this user's accounts have their state.

    Raises:
        UsageError: there is none.
    """
    point = mountpoints.absolute(asked)
    mounted = mountpoints.at(point)
    if mounted is not None and mounted.fstype == mountpoints.FSTYPE:
        stale = mountpoints.is_stale(point)
        daemon = None if stale else _behind(point, state)
        return Drive(asked, point, mounted.device, mounted=True, stale=stale, daemon=daemon)
    if (daemon := _on(point, state)) is not None:
        device = str((daemon.status() or {}).get("device", ""))
        return Drive(asked, point, device, mounted=False, stale=False, daemon=daemon)
    raise UsageError(f"No moonfs drive is mounted on {asked}; moonfs status lists the ones there are.")


def detached(state: Path, point: str = "") -> list[tuple[Daemon, dict[str, Any]]]:
    """Return the daemons of drives that are mounted nowhere here and have not ended, with what they say.

    With a `point`, only of drives that were mounted there.
    """
    devices = {mount.device for mount in mounts.table() if mount.fstype == mountpoints.FSTYPE}
    found = []
    for daemon in daemons.living(state):
        said = daemon.status() if point in ("", daemon.point) else None
        if said is not None and said.get("stage") != daemons.STARTING and said.get("device") not in devices:
            found.append((daemon, said))
    return found


def why(daemon: Daemon, said: dict[str, Any]) -> str:
    """Return in one sentence why the daemon of a drive that is not mounted here lives, and what to do."""
    if said.get("connected"):
        held = _mended(daemon, _holders(daemon, str(said.get("device", ""))))
        return f"The drive of {daemon.point} is not mounted here, yet it is held by {held}"
    return (
        f"{daemon.point} is unmounted, and its daemon (process {daemon.pid}) is finishing its uploads; wait for it "
        f"with: moonfs umount {quote(daemon.point)}"
    )


def unmount(
    drive: Drive,
    *,
    timeout: float,
    hurry: bool = False,
    lazy: bool = False,
    waiting: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any] | None:
    """Unmount a drive here and wait until its daemon has ended (L2).

    Args:
        drive: see `find`.
        timeout: seconds to wait for the daemon.
        hurry: tell the daemon to leave what is pending to the next mount.
        lazy: end the daemon too where the drive is in use or held elsewhere; what is being written is kept first.
        waiting: told once what is being waited for.

    Returns:
        What a daemon that was told to end has kept; None for one that was not told, or did not say.

    Raises:
        UsageError: it is in use, something goes on holding it, or the daemon does not end in time.
    """
    if hurry and not lazy:
        _signal(drive.daemon, signal.SIGUSR2)
    if lazy:
        # A drive in use is taken away last: until then programs are told so, and do not write to what lies beneath.
        in_use = drive.mounted and not _detach(drive, patience=0.0)
        kept = None if drive.daemon is None else _end(drive.daemon, drive.asked, detach=not drive.mounted)
        if in_use and (mounted := mountpoints.at(drive.point)) is not None and mounted.device == drive.device:
            _detach(drive, lazily=True)
        return kept
    if drive.mounted and not _detach(drive):
        raise UsageError(_in_use(drive))
    if drive.daemon is not None:
        _wait(drive, drive.daemon, timeout, waiting)
    return None


def detach_own(point: str, device: str) -> None:
    """Take the drive of this process from its directory, if it is there in its mount namespace."""
    mounted = mountpoints.at(point)
    if mounted is not None and (mounted.fstype, mounted.device) == (mountpoints.FSTYPE, device):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _run(point, lazily=True)


def _behind(point: str, state: Path) -> Daemon | None:
    """Return the daemon of a drive that is mounted, None where it is not known."""
    try:
        said = mountpoints.read_status(point)
        pid, home, folder = int(said["pid"]), str(said["mountpoint"]), Path(str(said["log"])).parent
    except (UsageError, KeyError, TypeError, ValueError):
        return _on(point, state)
    # In another process namespace that number is somebody else's.
    return Daemon(pid, home, folder) if daemons.has_lock(pid, folder) else daemons.of(folder)


def _on(point: str, state: Path) -> Daemon | None:
    """Return the daemon that has mounted a drive on `point`: of this user, or, for root, of anybody."""
    for known in (daemons.living(state), daemons.others() if os.geteuid() == 0 else []):
        for daemon in known:
            if daemon.point == point:
                return daemon
    return None


def _detach(drive: Drive, *, patience: float | None = None, lazily: bool = False) -> bool:
    """Take a drive from its directory; False where it is in use for `patience` seconds, which `lazily` does not matter.

    Left out, these are enough for whoever only looks in.

    Raises:
        UsageError: it hangs, or it may not be unmounted.
    """
    given_up = time.monotonic() + (_BUSY_SECONDS if patience is None else patience)
    while True:
        try:
            done = _run(drive.point, lazily=lazily)
        except subprocess.TimeoutExpired:
            raise UsageError(
                f"The drive on {drive.asked} hangs and cannot be unmounted; take it away with: "
                f"{' '.join(_command(quote(drive.point), lazily=True))}"
            ) from None
        if done.returncode == 0:
            return True
        reason = os.fsdecode(done.stderr).strip().rpartition("\n")[2] or "it gave no reason"
        if not reason.rstrip(". ").endswith("busy"):
            if done.args[0] == "umount" and os.geteuid() != 0:
                raise UsageError(
                    f"fusermount cannot unmount {drive.asked} without /etc/mtab, nor can umount ({reason}); make it "
                    "with: sudo ln -s /proc/self/mounts /etc/mtab"
                )
            raise UsageError(f"Cannot unmount {drive.asked}: {reason}")
        if time.monotonic() >= given_up:
            return False
        time.sleep(0.05)


def _in_use(drive: Drive) -> str:
    """Return in one sentence who has something of a drive open here, and what to do."""
    held = holders.find(drive.device, besides=set() if drive.daemon is None else {drive.daemon.pid})
    points = tuple(point for point in held.points if point != drive.point)
    by = holders.Holders(held.processes, points, held.hidden, held.closed)
    return (
        f"{drive.asked} is in use by {by}; close that and try again, or stop the drive all the same with: "
        f"moonfs umount --lazy {quote(drive.asked)}"
    )


def _run(point: str, *, lazily: bool) -> subprocess.CompletedProcess[bytes]:
    """Unmount, and return how that ended.

    Raises:
        OSError: there is no such program.
        subprocess.TimeoutExpired: it hangs.
    """
    english = {**os.environ, "LC_ALL": "C"}
    command = _command(point, lazily=lazily)
    done = subprocess.run(command, capture_output=True, check=False, env=english, timeout=_LET_GO_SECONDS)
    if done.returncode != 0 and b"/etc/mtab" in done.stderr and command[0] != "umount":
        # Minimal systems have none. umount(8) reads the kernel's own table, and lets who has mounted a FUSE filesystem
        # unmount it.
        command = _umount(point, lazily=lazily)
        done = subprocess.run(command, capture_output=True, check=False, env=english, timeout=_LET_GO_SECONDS)
    return done


def _command(point: str, *, lazily: bool) -> list[str]:
    """Return what unmounts."""
    return _umount(point, lazily=lazily) if os.geteuid() == 0 else ["fusermount", "-uz" if lazily else "-u", point]


def _umount(point: str, *, lazily: bool) -> list[str]:
    """Return the umount(8) for a drive; without -c it looks at the path first, and waits for one that hangs."""
    return ["umount", "-c", *["-l"] * lazily, point]


def _end(daemon: Daemon, asked: str, *, detach: bool) -> dict[str, Any] | None:
    """Have a daemon end now, and return what it has kept.

    Raises:
        UsageError: it does not.
    """
    kept = daemon.end(detach=detach) if daemon.status() is not None else None
    if kept is None:
        _signal(daemon, signal.SIGTERM)
    deadline, again = time.monotonic() + _END_SECONDS, 0.0
    while daemon.lives():
        if kept is None and time.monotonic() > again:
            # It wakes libfuse too, which misses a SIGTERM that comes just before it falls asleep.
            _signal(daemon, signal.SIGUSR2)
            again = time.monotonic() + 0.5
        if time.monotonic() > deadline:
            raise UsageError(
                f"The daemon of {asked} (process {daemon.pid}) does not end; what it has acknowledged is safe, "
                f"so end it with: kill -KILL {daemon.pid}"
            )
        time.sleep(0.02)
    return kept


def _signal(daemon: Daemon | None, number: signal.Signals) -> None:
    if daemon is not None and daemon.pid:
        with contextlib.suppress(OSError):
            os.kill(daemon.pid, number)


def _wait(drive: Drive, daemon: Daemon, timeout: float, waiting: Callable[[str], None]) -> None:
    """Wait until a daemon has ended whose drive is not mounted here any more.

    Raises:
        UsageError: something holds the drive, or the time is up.
    """
    began = time.monotonic()
    patience = _HELD_SECONDS if drive.mounted else 0.0
    looked, told, answers = began, False, True
    while daemon.lives():
        now = time.monotonic()
        if now - began > patience and now > looked:
            silent = now - began > _SILENT_SECONDS
            answers = _check_held(drive, daemon, silent=silent)
            looked = time.monotonic() + 0.5
            if silent and not told:
                waiting(f"Waiting for the daemon (process {daemon.pid}) to finish")
                told = True
        if now > began + timeout:
            why = f"{drive.asked} is unmounted, yet its daemon (process {daemon.pid})"
            if not answers:
                raise UsageError(f"{why} does not answer; end it with: moonfs umount --lazy {quote(drive.asked)}")
            raise UsageError(
                f"{why} is still finishing its uploads; moonfs logs -f {quote(drive.asked)} follows it, and the next "
                "mount goes on with what is left."
            )
        time.sleep(0.02)


def _check_held(drive: Drive, daemon: Daemon, *, silent: bool) -> bool:
    """Say whether a daemon answers.

    `silent`: it is time to look who has its drive though it does not say so itself.

    Raises:
        UsageError: the kernel still has the drive.
    """
    said = daemon.status()
    if said is not None and not said.get("connected"):
        return True
    if said is None and not silent:
        return False
    held = _holders(daemon, drive.device)
    if said is None and not (held.processes or held.points):
        return False
    raise UsageError(f"{drive.asked} is unmounted here, yet its drive is held by {_mended(daemon, held, drive.asked)}")


def _holders(daemon: Daemon, device: str) -> holders.Holders:
    """Return what holds a drive: its daemon too only if nothing else does, and that is where it is mounted."""
    if not device:
        return holders.Holders()
    held = holders.find(device, besides={daemon.pid})
    return held if held.processes or held.points else holders.find(device)


def _mended(daemon: Daemon, held: holders.Holders, asked: str = "") -> str:
    """Return the end of a sentence that says by whom a drive is held: who, and what mends that."""
    if held.points:
        return f"{held}; unmount that too, with: moonfs umount {quote(held.points[-1])}"
    return f"{held}; end that, or stop the drive with: moonfs umount --lazy {quote(asked or daemon.point)}"
