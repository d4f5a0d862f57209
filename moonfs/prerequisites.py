"""What a mount needs of this machine: libfuse 2, /dev/fuse, what may mount; what lacks is one sentence with its line.

It looks before a mount (`check`), and afterwards finds out of the words of libfuse and fusermount why there is none
(`explain`). It mounts nothing.

**Threading:** none of its own; called by the main thread.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path
from shlex import quote
from typing import Final

from moonfs import mountpoints, packages
from moonfs.errors import UsageError

#: What a container is started with, so that a drive can be mounted in it.
CONTAINER: Final = "--device /dev/fuse --cap-add SYS_ADMIN"
#: CAP_SYS_ADMIN of linux/capability.h, without which root cannot mount.
_SYS_ADMIN: Final = 21
#: AppArmor's profile of fusermount(1), in Ubuntu from 25.04 on, and what an administrator adds to it.
_PROFILE: Final = Path("/etc/apparmor.d/fusermount3")
_LOCAL: Final = "/etc/apparmor.d/local/fusermount3"


def check(missing_library: str | None, *, allow_other: bool = False) -> None:
    """Make sure that this machine can mount FUSE filesystems; with `allow_other`, for other users too.

    Args:
        missing_library: what loading libfuse has raised, or None.
        allow_other: whether other users are to be let in.

    Raises:
        UsageError: libfuse, `/dev/fuse` or fusermount is missing, or fuse.conf(5) does not let others in.
    """
    if missing_library is not None:
        found, line = packages.libfuse(missing_library)
        raise UsageError(f"{found}; mend that with: {line}" if line else f"{found}.")
    for lacking in (_device(), _mounter()):
        if lacking:
            raise UsageError(lacking)
    if allow_other and not mountpoints.lets_others_in():
        raise UsageError(
            f"{mountpoints.FUSE_CONF} does not let you use allow_other; leave that out, or allow it to everybody with: "
            f"echo user_allow_other | sudo tee -a {mountpoints.FUSE_CONF}"
        )


def may_mount() -> bool:
    """Say whether this process may call mount(2); where that is unknown, that it may."""
    return bool(_status("CapEff", 16, -1) >> _SYS_ADMIN & 1)


def gains_nothing() -> bool:
    """Say whether what this process runs gains no privileges, such as those of a setuid program (prctl(2))."""
    return _status("NoNewPrivs", 10, 0) == 1


def _device() -> str:
    """Say what keeps /dev/fuse from being opened; nothing when it can be."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"/dev/fuse is missing; load it with: modprobe fuse  # a container is started with {CONTAINER}"
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            if os.geteuid() == 0:
                return f"You may not open /dev/fuse, though you are root: a container is started with {CONTAINER}"
            if not os.access("/dev/fuse", os.R_OK | os.W_OK):
                return "You may not open /dev/fuse; allow it to everybody with: sudo chmod 666 /dev/fuse"
            return f"You may not open /dev/fuse: a container is started with {CONTAINER}"
        return f"/dev/fuse cannot be opened ({error.strerror}); load what is behind it with: modprobe fuse"
    return ""


def _mounter() -> str:
    """Say why neither this process nor fusermount may mount; nothing when one of them may."""
    if may_mount():
        return ""
    if os.geteuid() == 0:
        return f"Root may not mount here (it lacks CAP_SYS_ADMIN): a container is started with {CONTAINER}"
    found = shutil.which("fusermount")
    if found is None:
        return f"fusermount is missing; install it with: {packages.fusermount()}"
    status = os.stat(found)
    if status.st_uid != 0 or not status.st_mode & stat.S_ISUID:
        return f"{found} may not mount, since it is not setuid root; make it so with: sudo chmod u+s {quote(found)}"
    if gains_nothing():
        return (
            f"{found} may not mount, since this session may gain no privileges (no_new_privs): a container is started "
            "without --security-opt no-new-privileges, a service without NoNewPrivileges=yes"
        )
    return ""


def explain(point: str, words: str) -> str:
    """Return the sentence for a mount that was refused.

    Args:
        point: where.
        words: what libfuse and fusermount have said, lines of it.
    """
    said = [line.strip() for line in words.splitlines() if line.strip()]
    last = re.sub(r"^fuse(rmount3?)?: ", "", said[-1]) if said else ""
    found = re.search(r"mount failed: (.*)", words)
    if found and found[1].startswith("Permission denied") and _PROFILE.exists():
        rules = (
            f'mount fstype=fuse.moonfs options=(nosuid,nodev) options in (ro,rw,noatime,noexec) -> "{point}/",',
            f'umount "{point}/",',
        )
        return (
            f"AppArmor lets fusermount mount only below your home, /mnt, /media and /tmp, not on {point}; choose a "
            f"directory there, or allow this one with: printf '%s\\n' {' '.join(map(quote, rules))} | "
            f"sudo tee -a {_LOCAL} && sudo apparmor_parser -r {_PROFILE}"
        )
    if found and os.geteuid() == 0 and _is_namespace():
        return (
            f"Root of a user namespace mounts in a mount namespace of its own only, and so not on {point}; begin both "
            "with: unshare --map-root-user --mount"
        )
    most = re.search(r"mount_max=\S+", words)
    if most:
        return (
            f"This user has as many FUSE filesystems mounted as {mountpoints.FUSE_CONF} allows; unmount one, or allow "
            f"more with: echo mount_max=10000 | sudo tee -a {mountpoints.FUSE_CONF}"
        )
    if "mounting over filesystem type" in words:
        return (
            f"fusermount mounts on no directory of this filesystem, and so not on {point}; choose one on another disk."
        )
    why = f": {last}" if last else ""
    return (
        f"libfuse could not mount on {point}{why}; moonfs doctor looks for the cause, and the log is shown by: "
        f"moonfs logs {quote(point)}"
    )


def _is_namespace() -> bool:
    """Say whether this is a user namespace, and not the machine's own (user_namespaces(7))."""
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def _status(field: str, base: int, unknown: int) -> int:
    """Return a number of proc_pid_status(5)."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return unknown
    found = re.search(rf"^{field}:\s*([0-9a-f]+)", text, re.MULTILINE)
    return unknown if found is None else int(found[1], base)
