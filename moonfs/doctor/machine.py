"""What this machine has: FUSE, mount(8)'s helper, and the drives that are mounted.

**Threading:** called by one thread; drives are asked by other processes, since one that hangs would stop this one.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Final

import moonfs
from moonfs import mountpoints, packages, prerequisites
from moonfs.doctor.findings import Finding, State
from moonfs.errors import UsageError

_FUSE: Final = "/dev/fuse"
_LOAD: Final = "sudo modprobe fuse  # a container is started with --device /dev/fuse --cap-add SYS_ADMIN"
#: Where mount(8) looks for a command that it is to run: it drops PATH.
_PATH_OF_MOUNT: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def look(*, allow_other: bool, missing_library: str | None, etc: Path = Path("/etc")) -> Iterator[Finding]:
    """Look at the machine.

    Args:
        allow_other: whether other users are to be let in.
        missing_library: what loading libfuse has raised, or None.
        etc: where fuse.conf and fstab are.
    """
    system = os.uname()
    versions = f"moonfs {moonfs.__version__}, Python {sys.version.split()[0]}, {system.sysname} {system.release}"
    yield Finding("versions", State.OK, f"{versions} {system.machine}")
    yield _device()
    yield _library(missing_library)
    yield from _mounting()
    yield _others(allow_other, etc / "fuse.conf")
    yield from _fstab(etc / "fstab")
    yield from _drives()


def _device() -> Finding:
    try:
        fd = os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding(_FUSE, State.FAILED, "is missing: the kernel's module is not loaded", _LOAD)
    except PermissionError as error:
        if os.geteuid() == 0:
            return Finding(_FUSE, State.FAILED, f"cannot be opened, though by root: {error.strerror}", _LOAD)
        return Finding(_FUSE, State.FAILED, "may not be opened by you", f"sudo chmod 666 {_FUSE}")
    except OSError as error:
        return Finding(_FUSE, State.FAILED, f"cannot be opened: {error.strerror}", _LOAD)
    os.close(fd)
    return Finding(_FUSE, State.OK, "can be opened")


def _library(missing: str | None) -> Finding:
    if missing is not None:
        found, line = packages.libfuse(missing)
        return Finding("libfuse", State.FAILED, found, line)
    path = os.environ.get("FUSE_LIBRARY_PATH") or ctypes.util.find_library("fuse") or "libfuse.so.2"
    try:
        version = int(ctypes.CDLL(path).fuse_version())
    except (OSError, AttributeError):
        return Finding("libfuse", State.OK, f"{path} is loaded")
    return Finding("libfuse", State.OK, f"{path}, version {version // 10}.{version % 10}")


def _mounting() -> Iterator[Finding]:
    """Yield what mounts: the mount(2) of root, fusermount for everybody else."""
    if os.geteuid() == 0:
        if not prerequisites.may_mount():
            yield Finding(
                "mounting",
                State.FAILED,
                "root has no CAP_SYS_ADMIN here and cannot mount",
                "start the container with --cap-add SYS_ADMIN --device /dev/fuse "
                "(and --security-opt apparmor:unconfined where AppArmor is)",
            )
        else:
            yield Finding("mounting", State.OK, "root may mount")
        return
    found = shutil.which("fusermount")
    if found is None:
        yield Finding("fusermount", State.FAILED, "is missing", packages.fusermount())
        return
    status = os.stat(found)
    if status.st_uid != 0 or not status.st_mode & stat.S_ISUID:
        yield Finding("fusermount", State.FAILED, f"{found} is not setuid root", f"sudo chmod u+s {quote(found)}")
        return
    yield Finding("fusermount", State.OK, found)


def _others(wanted: bool, path: Path) -> Finding:
    about = "user_allow_other"
    if mountpoints.lets_others_in(path):
        return Finding(about, State.OK, "-o allow_other can be used" + ("" if os.geteuid() else " by root"))
    fix = f"echo user_allow_other | sudo tee -a {quote(str(path))}"
    if wanted:
        return Finding(about, State.FAILED, f"allow_other is asked for, and {path} does not allow it", fix)
    return Finding(about, State.NOTE, f"not in {path}: only needed for -o allow_other", fix)


def _fstab(path: Path) -> Iterator[Finding]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    ours = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = [
        fields[1]
        for fields in ours
        if len(fields) >= 3 and (fields[2] == mountpoints.FSTYPE or fields[0].startswith("moonfs#"))
    ]
    if not points:
        return
    if shutil.which("mount.fuse.moonfs", path="/sbin:/usr/sbin") or (
        shutil.which("mount.fuse", path="/sbin:/usr/sbin") and shutil.which("moonfs", path=_PATH_OF_MOUNT)
    ):
        yield Finding("fstab", State.OK, f"mount finds moonfs for {', '.join(points)}")
    elif not shutil.which("mount.fuse", path="/sbin:/usr/sbin"):
        yield Finding("fstab", State.FAILED, "/sbin/mount.fuse is missing", "sudo apt install fuse3")
    else:
        command = shutil.which("moonfs") or os.path.abspath(sys.argv[0])
        fix = f"sudo ln -s {quote(command)} /usr/local/bin/moonfs"
        yield Finding("fstab", State.FAILED, "mount does not find moonfs: it looks in /usr/local/bin", fix)


def _drives() -> Iterator[Finding]:
    mounted = mountpoints.ours()
    if not mounted:
        yield Finding("drives", State.OK, "none is mounted, and none is stale")
    lazily = "umount -l" if os.geteuid() == 0 else "fusermount -uz"
    for point in mounted:
        about = f"drive {point}"
        clear = f"moonfs umount {quote(point)}"
        if mountpoints.is_stale(point):
            yield Finding(about, State.FAILED, "is stale: its daemon has died", clear)
            continue
        try:
            status = mountpoints.read_status(point)
        except UsageError:
            yield Finding(
                about, State.FAILED, "does not answer", f"{clear}  # or, if that fails: {lazily} {quote(point)}"
            )
            continue
        failed = status.get("uploads", {}).get("failed", [])
        outage = status.get("traffic", {}).get("outage")
        if status.get("version") != moonfs.__version__:
            found = f"is served by moonfs {status.get('version')}, and this is {moonfs.__version__}"
            yield Finding(about, State.WARNING, found, f"{clear}  # then mount it again")
        elif failed:
            found = f"{len(failed)} not uploaded, such as {failed[0]['name']}: {failed[0]['error']}"
            yield Finding(about, State.WARNING, found, f"moonfs status {quote(point)}")
        elif outage:
            yield Finding(about, State.WARNING, f"the service has not answered: {outage.get('reason')}")
        else:
            yield Finding(about, State.OK, f"answers ({status.get('account')})")
