"""What this machine has: FUSE, and mount(8)'s helper.

**Threading:** called by one thread.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Final

import moonfs
from moonfs import mountpoints
from moonfs.doctor.findings import Finding, State

_FUSE: Final = "/dev/fuse"
_LOAD: Final = "sudo modprobe fuse"
#: What a container has to be started with; podman takes the same.
_CONTAINER: Final = (
    "docker run --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined IMAGE  # a new container"
)
#: CAP_SYS_ADMIN of linux/capability.h, without which root cannot mount.
_SYS_ADMIN: Final = 21
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


def _device() -> Finding:
    fix = _CONTAINER if _in_container() else _LOAD
    try:
        fd = os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding(_FUSE, State.FAILED, "is missing: the kernel's module is not loaded, or not let in here", fix)
    except PermissionError as error:
        if error.errno == errno.EPERM:  # that is what a cgroup says; modes say EACCES
            return Finding(_FUSE, State.FAILED, "may not be opened by anybody in here", _CONTAINER)
        return Finding(_FUSE, State.FAILED, "may not be opened by you", f"sudo chmod 666 {_FUSE}")
    except OSError as error:
        return Finding(_FUSE, State.FAILED, f"cannot be opened: {error.strerror}", fix)
    os.close(fd)
    return Finding(_FUSE, State.OK, "can be opened")


def _in_container() -> bool:
    """Say whether this is the inside of a container: docker, podman and systemd-nspawn each leave a file."""
    return any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")))


def _library(missing: str | None) -> Finding:
    if missing is not None:
        return Finding(
            "libfuse",
            State.FAILED,
            f"libfuse 2 cannot be loaded: {missing}",
            "sudo apt install libfuse2  # libfuse2t64 on Debian 13 and Ubuntu 24.04",
        )
    path = os.environ.get("FUSE_LIBRARY_PATH") or ctypes.util.find_library("fuse") or "libfuse.so.2"
    try:
        version = int(ctypes.CDLL(path).fuse_version())
    except (OSError, AttributeError):
        return Finding("libfuse", State.OK, f"{path} is loaded")
    return Finding("libfuse", State.OK, f"{path}, version {version // 10}.{version % 10}")


def _mounting() -> Iterator[Finding]:
    """Yield what mounts: the mount(2) of root, fusermount for everybody else."""
    if os.geteuid() == 0:
        able = _of_this_process("CapEff", 16) >> _SYS_ADMIN & 1
        if not able:
            yield Finding(
                "mounting",
                State.FAILED,
                "root has no CAP_SYS_ADMIN here and cannot mount",
                _CONTAINER if _in_container() else "sudo -s  # as the root of this machine, outside of namespaces",
            )
        else:
            yield Finding("mounting", State.OK, "root may mount")
        return
    found = shutil.which("fusermount")
    if found is None:
        yield Finding("fusermount", State.FAILED, "is missing", "sudo apt install fuse3")
        return
    status = os.stat(found)
    if status.st_uid != 0 or not status.st_mode & stat.S_ISUID:
        yield Finding("fusermount", State.FAILED, f"{found} is not setuid root", f"sudo chmod u+s {quote(found)}")
        return
    if os.statvfs(found).f_flag & os.ST_NOSUID or _of_this_process("NoNewPrivs", 10) == 1:
        found += " gets no rights here, for programs may gain none (no_new_privs, nosuid)"
        fix = _CONTAINER if _in_container() else "systemd-run --user --pty moonfs mount DIR"
        yield Finding("fusermount", State.FAILED, found, fix)
        return
    yield Finding("fusermount", State.OK, found)


def _of_this_process(name: str, base: int) -> int:
    """Return a number of proc_pid_status(5), or -1 where there is none: nothing is known against it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(re.search(rf"^{name}:\s*([0-9a-f]+)", status, re.MULTILINE)[1], base)  # type: ignore[index]
    except (OSError, TypeError, ValueError):
        return -1


def _others(wanted: bool, path: Path) -> Finding:
    about = "user_allow_other"
    if mountpoints.lets_others_in(path):
        return Finding(about, State.OK, "-o allow_other can be used" + ("" if os.geteuid() else " by root"))
    # The last line of the file may lack its end.
    fix = f"printf '\\nuser_allow_other\\n' | sudo tee -a {quote(str(path))}"
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
        beside = os.path.join(os.path.dirname(sys.executable), "moonfs")
        command = shutil.which("moonfs") or (beside if os.path.exists(beside) else os.path.abspath(sys.argv[0]))
        fix = f"sudo ln -sfn {quote(command)} /usr/local/bin/moonfs"
        yield Finding("fstab", State.FAILED, "mount does not find moonfs: it looks in /usr/local/bin", fix)
