"""Another machine for one command: a mount namespace in which files of this one are hidden, replaced or made.

    machine = Machine(tmp_path)
    machine.hide(library)
    done = machine.moonfs("mount", "--local", "m")

What is hidden is hidden for real: no program below sees it. Nothing of it outlives the command, drives included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from shlex import join, quote
from typing import Any

import pytest

from tests.harness.drive import ROOT, SECONDS
from tests.harness.namespaces import PUT_AWAY

#: The user and group of nobody on Debian.
NOBODY = 65534


class Machine:
    """What a command finds, built by lines of sh(1) that run before it in a mount namespace of its own.

    Attributes:
        home: HOME and working directory of what runs there.
        environ: what it is run with.
        lines: what builds it.
    """

    def __init__(self, home: Path) -> None:
        """`home` is made; without a way to make a mount namespace the test is skipped."""
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        # A socket's path holds 107 bytes, fewer than pytest's directories.
        self._short = tempfile.mkdtemp(prefix="mfs-")
        self.environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": self._short,
        }
        self.lines: list[str] = [PUT_AWAY] if os.geteuid() == 0 else []
        (home / "bin").mkdir(exist_ok=True)
        command = home / "bin" / "moonfs"
        command.write_text(f'#!/bin/sh\nexec {join([sys.executable, "-m", "moonfs"])} "$@"\n')
        command.chmod(0o755)
        self.environ["PATH"] = f"{command.parent}:{self.environ['PATH']}"
        # An ordinary user is root in a user namespace of theirs, if the kernel lets them. What runs in a namespace of
        # processes ends with the first of them.
        self._unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            self._unshare.append("--map-root-user")
        if not shutil.which("unshare") or subprocess.run([*self._unshare, "true"], check=False).returncode:
            pytest.skip("no mount namespace can be made here")

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._short, ignore_errors=True)

    def hide(self, path: Path | str) -> None:
        """Have an empty file without permissions in the place of a file."""
        self.lines.append(f"mount --bind /dev/null {quote(os.path.realpath(path))}")

    def replace(self, path: Path | str, by: Path | str) -> None:
        """Have another file or directory in the place of one."""
        self.lines.append(f"mount --bind {quote(str(by))} {quote(os.path.realpath(path))}")

    def etc(self, *lines: str) -> None:
        """Have an `/etc` of one's own, with what is in the real one, and run `lines` in it; only root may."""
        over = f"{self.home}/etc-over"
        self.lines += [
            f"mkdir -p {over} && mount -t tmpfs over {over} && mkdir {over}/upper {over}/work",
            f"mount -t overlay -o lowerdir=/etc,upperdir={over}/upper,workdir={over}/work over /etc",
            *(f"(cd /etc && {line})" for line in lines),
        ]

    def device(self, mode: str) -> None:
        """Have a /dev/fuse with these permissions, in octal; only root may."""
        made = f"{self.home}/dev"
        self.lines.append(
            f"mkdir -p {made} && mount -t tmpfs dev {made} && mknod -m {mode} {made}/fuse c 10 229 && "
            f"mount --bind {made}/fuse /dev/fuse"
        )

    def without_device(self) -> None:
        """Have no /dev/fuse."""
        made = quote(f"{self.home}/devices")
        self.lines.append(
            f"mkdir -p {made} && for each in null zero full random urandom tty; do touch {made}/$each && "
            f"mount --bind /dev/$each {made}/$each; done && mount --rbind {made} /dev"
        )

    def as_nobody(self) -> list[str]:
        """Have what is below run by an ordinary user, and return the command that does it; only root may.

        Python and the clone may be below a directory of mode 0700, such as /root.
        """
        if os.geteuid() != 0:
            pytest.skip("only root may become somebody else")
        for path in {Path(sys.base_prefix).resolve(), ROOT}:
            closed = next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)
            if closed is None:
                continue
            held = f"{self._short}/{path.name}.held"
            self.lines += [
                f"mkdir -p {quote(held)} && mount --bind {quote(str(path))} {quote(held)}",
                f"mount -t tmpfs -o mode=755 open {quote(str(closed))} && mkdir -p {quote(str(path))}",
                f"mount --bind {quote(held)} {quote(str(path))}",
            ]
        self.lines.append(f"chown {NOBODY}:{NOBODY} {quote(str(self.home))} {quote(self._short)}")
        for each in (self.home, *self.home.parents):
            if each.stat().st_uid == 0 and not each.stat().st_mode & 0o001:
                each.chmod(each.stat().st_mode | 0o011)
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def run(self, *command: str, timeout: float = SECONDS, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command there, and return what came of it."""
        script = "\n".join(["set -e", *self.lines, 'cd "$HOME"', 'exec "$@"'])
        return subprocess.run(
            [*self._unshare, "sh", "-c", script, "sh", *command],
            **{"env": self.environ, **options},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def moonfs(self, *arguments: str, before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `moonfs` there, behind the words of `before`."""
        return self.run(*(before or []), sys.executable, "-m", "moonfs", *arguments)

    def script(self, text: str, before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell script there, in which `moonfs` is a command; it ends at the first command that fails."""
        return self.run(*(before or []), "sh", "-ec", text)
