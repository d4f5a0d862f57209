"""A real drive for tests: mounted through the command line, served by a daemon of its own, ended whatever happens.

    with FaultServer() as server, Drive(home, *hosted(server.base_url, server.key)) as drive:
        drive.mount()
        (drive.point / "a.txt").write_text("hello")
        assert server.names() == ["a.txt"]

Every drive has a home of its own, so that no two tests share a spool, a cache or a log. The daemon is another
process: a test may block in a system call on the mount while the server in its own process answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from moonfs.cli.words import WHOSE_FILES
from moonfs.server.address import read_address
from tests.faults.kinds import YESTERDAY, Kind
from tests.harness import forks

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which something that should have come counts as hanging.
SECONDS = 60.0

#: Drives that are mounted now; what watches over a hanging test ends them.
LIVE: set[Drive] = set()


class Drive:
    """One mount point and the home it works from; a context manager that leaves neither mount nor process.

    Attributes:
        home: parent of everything the drive writes.
        point: where it is mounted.
        environ: what its commands are run with.
        pid: the daemon, while it is mounted.
    """

    def __init__(self, home: Path, arguments: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> None:
        """`arguments` of `moonfs mount` name the account, or `environ` does; see `local` and `hosted`."""
        self.home = home.resolve()
        self.point = self.home / "drive"
        # A socket's path holds 107 bytes, fewer than pytest's directories.
        self._runtime = tempfile.mkdtemp(prefix="mfs-")
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_RUNTIME_DIR": self._runtime,
            **(environ or {}),
        }
        self._arguments = arguments
        self.pid = 0
        home.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def point(self) -> Path:
        """Where it is mounted: always below `home`, since that is what is unmounted by force in the end."""
        return self._point

    @point.setter
    def point(self, path: Path) -> None:
        assert self.home in path.parents, f"{path} is not below {self.home}"
        self._point = path

    def __truediv__(self, name: str) -> Path:
        return self.point / name

    def command(
        self, *arguments: str, timeout: float = SECONDS, told: str = "", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `moonfs` with `arguments`, and `told` on its standard input, and return what came of it."""
        return forks.run(
            ["-m", "moonfs", *arguments],
            **{"env": self.environ, "cwd": self.home, **options},
            input=told,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # a locale may have another encoding
            timeout=timeout,
        )

    def moonfs(self) -> str:
        """Return what runs `moonfs` for this drive in a shell script."""
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        return shlex.join(["env", *environ, sys.executable, "-m", "moonfs"])

    def mount(self, *options: str) -> Self:
        """Mount, with `options` for `-o`."""
        done = self.try_mount(*options)
        assert (done.returncode, done.stdout, without_scope(done.stderr)) == (0, "", ""), done
        return self

    def try_mount(self, *options: str, **run: Any) -> subprocess.CompletedProcess[str]:
        """Mount, or learn why not."""
        LIVE.add(self)
        chosen = ["-o", ",".join(options)] if options else []
        done = self.command("mount", str(self.point), *self._arguments, *chosen, **run)
        if done.returncode == 0:
            self.pid = int(self.status()["pid"])
        return done

    def umount(self) -> None:
        """Unmount as a person does; returns when the daemon has ended."""
        done = self.command("umount", str(self.point))
        if "unmounted here" in done.stderr:  # a test beside this one made a mount namespace, which took a copy along
            wait_for_end(self.pid)
        else:
            assert done.returncode == 0, done
        self.pid = 0

    def remount(self, *options: str) -> None:
        """Unmount in good order, and mount again."""
        self.umount()
        self.mount(*options)

    def kill(self) -> None:
        """Kill the daemon as a power cut would, and clear the mount it leaves."""
        pid, self.pid = self.pid, 0
        wait_for_end(pid, kill=True)
        self._clear()

    def status(self) -> dict[str, Any]:
        """Return what the drive says of itself."""
        return dict(json.loads((self.point / ".moonfs" / "status.json").read_bytes()))

    def errors(self) -> list[dict[str, Any]]:
        """Return the lines of `errors.ndjson`."""
        return [json.loads(line) for line in (self.point / ".moonfs" / "errors.ndjson").read_text().splitlines()]

    def log(self) -> str:
        """Return what the daemon has logged."""
        return "".join(path.read_text() for path in self.home.glob("state/moonfs/accounts/*/*.log*"))

    def work(self) -> Path:
        """Return the directory beside the drive in which shell scripts run; it is their HOME too."""
        work = self.home / "work"
        work.mkdir(exist_ok=True)
        return work

    def shell_environ(self) -> dict[str, str]:
        """Return the environment of shell scripts: the drive as `$DIR`, and nothing of whoever runs the tests."""
        return {"PATH": self.environ["PATH"], "HOME": str(self.work()), "LANG": "C.UTF-8", "DIR": str(self.point)}

    def shell(self, script: str, *, timeout: float = SECONDS, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a POSIX shell script with the drive as `$DIR`, in the directory `work` beside it."""
        return subprocess.run(
            ["sh", "-c", script],
            env=self.shell_environ(),
            cwd=self.work(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def run(self, script: str, **options: Any) -> str:
        """Run a shell script that must succeed without complaint, and return what it printed."""
        done = self.shell(script, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def python(self, code: str, *arguments: str) -> str:
        """Run Python in a process of its own; for what holds the interpreter's lock while it waits (mmap)."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def end(self) -> None:
        """Unmount, if need be by force, and reap the daemon; harmless when it is not mounted."""
        pid, self.pid = self.pid, 0
        if self._is_mounted():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.command("umount", str(self.point), timeout=20)
        if pid:
            wait_for_end(pid, seconds=10)
        self._clear()
        LIVE.discard(self)
        shutil.rmtree(self._runtime, ignore_errors=True)

    def abort(self) -> None:
        """Kill the daemon from another thread, so that a test which hangs in the drive goes on, and fails."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._clear()

    def _is_mounted(self) -> bool:
        """Say whether a drive of ours is there: a moonfs mount below our own home, and nothing else ever."""
        if self.home not in self.point.parents:
            return False
        point = str(self.point).replace(" ", "\\040")  # proc_pid_mountinfo(5)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            return any(line.split()[4] == point and " - fuse.moonfs " in line for line in table)

    def _clear(self) -> None:
        while self._is_mounted():
            command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount", "-uz"]
            subprocess.run([*command, str(self.point)], capture_output=True, timeout=SECONDS, check=False)


def without_scope(said: str) -> str:
    """Return what a mount has said, without the line about a drive of the organisation (N1)."""
    return said.replace(f"{WHOSE_FILES}\n", "")


def local(data: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return arguments and environment of a mount of the embedded local Files API."""
    return ("--local", str(data)), {}


def hosted(base_url: str, key: str, kind: Kind = YESTERDAY) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return arguments and environment of a mount of a service elsewhere, of some kind."""
    return (), {"MOONSHOT_BASE_URL": base_url, "MOONSHOT_API_KEY": key, **kind.environ}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SECONDS, every: float = 0.01) -> Any:
    """Return the first true value of `condition`; the time-out is for a broken drive only.

    Looking costs the drive time, which it lacks on a slow machine: the longer it has taken, the less often.
    Who starts a process to look does so `every` so many seconds at most.
    """
    start = time.monotonic()
    while (waited := time.monotonic() - start) < seconds:
        value = condition()
        if value:
            return value
        time.sleep(max(every, min(waited / 10, 0.1)))
    raise AssertionError(f"never: {what}")


def wait_for_end(pid: int, *, seconds: float = SECONDS, kill: bool = False) -> None:
    """Return when the process has ended; it is killed when it does not, or at once."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not kill and select.select([descriptor], [], [], seconds)[0]:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], SECONDS)[0], f"process {pid} cannot be killed"
    finally:
        os.close(descriptor)


def end_server(data: Path) -> None:
    """Return when the server embedded by the mounts of `data` has ended, as it does after the last of them."""
    address = read_address(data)
    if address is not None:
        wait_for_end(address.pid, seconds=20)


def why_no_fuse() -> str | None:
    """Return what keeps this machine from mounting, or None."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is missing or may not be opened"
    try:
        import fuse  # noqa: F401
    except OSError as error:
        return f"libfuse 2 is missing ({error})"
    return None
