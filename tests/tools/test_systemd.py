"""`moonfs service`, with a real systemd of its own: in a mount and a process namespace, so that nobody else sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.server import FaultServer
from tests.harness.drive import Drive, wait_until
from tests.harness.programs import needs

#: Its namespace starts with a copy of every mount there is, and a drive lives as long as a copy of its mount does.
pytestmark = [pytest.mark.fuse, pytest.mark.alone]

#: A systemd of the user, as it is after login, then what the test does.
LOGIN = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"    # systemd runs for users only where it runs for the system
chmod 700 "$XDG_RUNTIME_DIR"
systemd=$(ls /lib/systemd/systemd /usr/lib/systemd/systemd 2>/dev/null | head -n 1)
"$systemd" --user --log-target=console --unit=basic.target > "$HOME/systemd.log" 2>&1 &
manager=$!
for _ in $(seq 100); do [ -S "$XDG_RUNTIME_DIR/systemd/private" ] && break; sleep 0.1; done
set -x
"""


def test_a_drive_that_is_mounted_at_login(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """L1, L2: the unit is ready when the drive is, comes back after a crash, and ends with its uploads done."""
    needs("systemctl", "unshare")
    if os.geteuid() != 0:
        pytest.skip("only root makes namespaces")
    service.add("theirs.txt", b"theirs")
    with Drive(tmp_path / "home") as drive:
        drive.point.mkdir()
        environ = {
            **drive.environ,
            "XDG_RUNTIME_DIR": "/run/user/moonfs",
            "HOME": str(drive.home),
            "MOONSHOT_BASE_URL": service.base_url,
            "KEY": service.key,
            "DIR": str(drive.point),
            "MOONFS": f"{sys.executable} -m moonfs",
        }
        script = f"""{LOGIN}
            if MOONSHOT_API_KEY=$KEY $MOONFS service install "$DIR"; then exit 1; fi
            set +x; echo "$KEY" | $MOONFS key set; set -x
            $MOONFS service install "$DIR" --write-back -o drain=5
            ls "$DIR" | grep theirs.txt.content
            $MOONFS service list | grep "on $DIR: active"
            systemctl --user status "$($MOONFS service list | sed 's/.*(\\(.*\\))/\\1/')" | grep Status: | grep "$DIR"
            echo one > "$DIR/a.txt"
            kill -KILL "$(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' "$DIR/.moonfs/status.json")"
            for _ in $(seq 200); do $MOONFS service list | grep ': active' && break; sleep 0.5; done
            echo two > "$DIR/b.txt"
            $MOONFS service remove "$DIR"
            if mountpoint "$DIR"; then exit 1; fi
            $MOONFS service list | grep None
            kill $manager
        """
        run = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
        done = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=100, check=False)
        log = (drive.home / "systemd.log").read_text()
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log}"
        assert "does not see the MOONSHOT_API_KEY of this shell" in done.stderr
        wait_until(lambda: sorted(service.names()) == ["a.txt", "b.txt", "theirs.txt"], "everything is uploaded")
        units = list((drive.home / "config" / "systemd" / "user").rglob("*"))
        assert [unit for unit in units if unit.is_file()] == []
        assert service.key not in log + done.stdout
