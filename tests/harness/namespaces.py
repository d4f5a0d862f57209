"""Mount namespaces for tests: one that holds a drive, one that sees none.

A namespace takes a copy of every mount along, and holds the drives of all tests that run beside it: their umount would
name it and fail. So what enters one here puts the others away first, as far as it may.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

IS_ROOT = os.geteuid() == 0

#: Shell lines that put away the drives that are not `$KEPT`.
PUT_AWAY = """
    while read -r _ _ _ _ point _ rest; do
        point=$(printf %b "$point")
        case $rest in *"- fuse.moonfs "*) [ "$point" = "${KEPT-}" ] || umount -l "$point" || : ;; esac
    done < /proc/self/mountinfo
"""
_ENTER = ("unshare", "-m", "--propagation", "private", "sh", "-c")


def private(point: Path, *command: str) -> list[str]:
    """Return what runs `command` in a namespace that holds the drive on `point`: as root, or by a user namespace.

    What that user namespace has cannot be put away; where mounts are shared, the others go when they are unmounted. The
    drive would go, too, but for the directory around it, which is private and a mount of its own there.
    """
    if IS_ROOT:
        return [*_ENTER, f'KEPT={shlex.quote(str(point))}; {PUT_AWAY} exec "$@"', "-", *command]
    around = shlex.quote(str(point.parent))
    enter = ["unshare", "-Urm", "--propagation", "slave", "sh", "-c"]
    return [*enter, f'mount --rbind {around} {around} && mount --make-rprivate {around} && exec "$@"', "-", *command]


def alone(script: str) -> list[str]:
    """Return what runs a shell script where no drive is mounted; needs root."""
    check = '! grep -q " - fuse.moonfs " /proc/self/mountinfo || exit 99'  # never touch the drives of others
    return [*_ENTER, f'KEPT=; {PUT_AWAY} {check}; eval "$0"', script]
