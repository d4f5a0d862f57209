"""The unit of a drive: names as systemd escapes them, words that come back whole."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from moonfs import service

POINTS = [
    "/",
    "/home/me/moon",
    "/mnt//a/",
    "/mnt/.hidden",
    "/a-b/c_d",
    "/mit leer/100%",
    "/文件/目录",
    "/a\\b",
    '/"q"',
    "/a$b",
    "/a\nExecStartPre=/bin/false",
    "/a\r\x1b\tb",
    "/ends\\",
]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/moon", "moonfs-home-me-moon.service"),
        ("/", "moonfs--.service"),
        ("/mnt/.a-b", r"moonfs-mnt-.a\x2db.service"),
        ("/.a", r"moonfs-\x2ea.service"),
    ],
)
def test_names(path: str, name: str) -> None:
    """systemd.unit(5): a path is escaped without its first slash."""
    assert service.unit_name(path) == name


@pytest.mark.parametrize("path", POINTS)
def test_names_are_those_of_systemd(path: str) -> None:
    """systemd-escape(1) is asked."""
    if shutil.which("systemd-escape") is None:
        pytest.skip("there is no systemd-escape")
    done = subprocess.run(["systemd-escape", "--path", "--", path], capture_output=True, text=True, check=True)
    assert service.escape_path(path) == done.stdout.strip()


@pytest.mark.parametrize("path", POINTS)
def test_a_unit_is_valid(path: str, tmp_path: Path) -> None:
    """systemd-analyze(1) finds nothing wrong, and reads the very words; a line break would start another setting."""
    text = service.unit(
        path, ["/bin/sh", "-m", "moonfs"], ["-o", "local=yes", "-o", "junk=*.$x:%h"], {"XDG_DATA_HOME": path}
    )
    commands = [line for line in text.splitlines() if line.startswith("Exec")]
    assert "%h" not in text.replace("%%h", "") and "$" not in "".join(commands).replace("$$", "")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "moonfs-a.service"
    unit.write_text(text)
    environ = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", POINTS)
def test_a_path_is_no_further_setting(path: str) -> None:
    """systemd.syntax(7): neither a line break nor a backslash at the end of a path makes another line of the unit."""
    usual = [line.partition("=")[0] for line in service.unit("/a", ["/m"], [], {}).splitlines()]
    lines = service.unit(path, ["/m"], [], {}).splitlines()
    assert [line.partition("=")[0] for line in lines] == usual
    assert not any(line.endswith("\\") for line in lines)
