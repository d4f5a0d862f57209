"""What commands do with the streams they are given: closed ones, full disks, terminals that know no Unicode."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.drive import Drive, end_server, local

pytestmark = pytest.mark.fuse


def sh(drive: Drive, script: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in which `m` is moonfs, and `$D` the drive."""
    m = f'm() {{ {drive.moonfs()} "$@"; }}; D=$1; '
    return subprocess.run(
        ["bash", "-c", m + script, "-", str(drive.point)],
        env={**drive.environ, **environ},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_closed_streams(fuse: None, tmp_path: Path) -> None:
    """`>&-` of cron jobs and daemons: each command does its work, and the drive serves on.

    A descriptor below 3 that is free would be given to the pipe to the daemon, which puts /dev/null in its place.
    """
    with Drive(tmp_path / "home", *local(tmp_path / "files")) as drive:
        done = sh(drive, f"m mount --local {tmp_path}/files $D <&- >&- 2>&-; echo hello >$D/a.txt; cat $D/a.txt")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")
        drive.pid = int(drive.status()["pid"])
        for command in ("status", "status --json", "config", "logs", "refresh $D", "prefetch $D", "doctor --local"):
            assert sh(drive, f"m {command} <&- >&-").stderr == b"", command
        done = sh(drive, "m key set <&-")
        assert done.returncode == 1 and b"There is no key" in done.stderr, done
        assert sh(drive, "m umount $D <&- >&- 2>&-").returncode == 0
        drive.pid = 0
    end_server(tmp_path / "files")


@pytest.mark.parametrize("command", ["status", "config", "config --json", "logs", "status --watch $D", "manual"])
def test_output_that_cannot_be_written(fuse: None, tmp_path: Path, command: str) -> None:
    """A full disk under the output is one sentence and exit status 1; a reader that has gone is silence."""
    with Drive(tmp_path / "home", *local(tmp_path / "files")) as drive:
        drive.mount()
        done = sh(drive, f"m {command} >/dev/full")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done
        assert b"Cannot write the output: No space left on device" in done.stderr
        done = sh(drive, f"m {command} | head -0")
        assert (done.returncode, done.stderr) == (0, b"")
    end_server(tmp_path / "files")


def test_terminals_without_unicode(fuse: None, tmp_path: Path) -> None:
    """What cannot be shown is a question mark, and no traceback; a path that is no UTF-8 is printed as it is."""
    with Drive(tmp_path / "home", *local(tmp_path / "files")) as drive:
        drive.mount()
        for command in ("status $D", "config", "doctor --local"):
            done = sh(drive, f"m {command}", PYTHONIOENCODING="ascii")
            assert (done.returncode, done.stderr) == (0, b""), (command, done)
        name = tmp_path / "home" / "state"
        odd = name.with_name("st\udcff")
        name.rename(odd)
        drive.environ["XDG_STATE_HOME"] = str(odd)
        done = sh(drive, "m logs --path", PYTHONIOENCODING="utf-8:strict")
        assert b"/st\xff/moonfs/accounts/" in done.stdout, done
        odd.rename(name)
        drive.environ["XDG_STATE_HOME"] = str(name)
    end_server(tmp_path / "files")
