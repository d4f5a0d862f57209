"""Which line installs what is missing, on each system and wherever moonfs was installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import moonfs
from moonfs import packages
from moonfs.errors import UsageError

BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
TRIXIE = {"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)"}
FORKY = {"ID": "debian", "VERSION_CODENAME": "forky", "PRETTY_NAME": "Debian GNU/Linux forky/sid"}
JAMMY = {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "22.04"}
NOBLE = {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}
MINT = {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_ID": "22"}


@pytest.fixture(autouse=True)
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with apt, which has its lists and knows nothing, for an ordinary user."""
    there = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else there(name))
    monkeypatch.setattr(packages, "_known_to_apt", lambda _packages: set())
    monkeypatch.setattr(packages, "_has_lists", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("FUSE_LIBRARY_PATH", raising=False)


@pytest.mark.parametrize(
    ("release", "package"),
    [(BOOKWORM, "libfuse2"), (TRIXIE, "libfuse2t64"), (JAMMY, "libfuse2"), (NOBLE, "libfuse2t64")],
)
def test_what_a_system_calls_libfuse(release: dict[str, str], package: str) -> None:
    """Debian 13 and Ubuntu 24.04 have renamed it."""
    found, line = packages.libfuse("Unable to find libfuse", release)
    assert (found, line) == ("libfuse 2 is missing", f"sudo apt install {package} fuse3")


@pytest.mark.parametrize("release", [FORKY, {**TRIXIE, "VERSION_ID": "14"}, MINT, {}])
def test_a_system_without_libfuse(release: dict[str, str]) -> None:
    """Debian has dropped it after 13: one sentence that says so, and where it is to be had."""
    found, line = packages.libfuse("Unable to find libfuse", release)
    assert line == "" and "has no package of it" in found and "Debian 13" in found
    assert release.get("PRETTY_NAME", "this system") in found


@pytest.mark.parametrize("release", [BOOKWORM, FORKY, MINT, {}])
@pytest.mark.parametrize("package", ["libfuse2", "libfuse2t64"])
def test_apt_knows_better(monkeypatch: pytest.MonkeyPatch, release: dict[str, str], package: str) -> None:
    """What it can install counts, whatever the system is called."""
    monkeypatch.setattr(packages, "_known_to_apt", lambda _packages: {package})
    assert packages.libfuse("Unable to find libfuse", release)[1] == f"sudo apt install {package} fuse3"


def test_a_container_in_which_apt_has_no_lists_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are fetched first; root needs no sudo, which such a one lacks."""
    monkeypatch.setattr(packages, "_has_lists", lambda: False)
    assert packages.libfuse("Unable to find libfuse", TRIXIE)[1] == (
        "sudo apt update && sudo apt install libfuse2t64 fuse3"
    )
    assert packages.mime_database() == "sudo apt install shared-mime-info"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert packages.libfuse("Unable to find libfuse", TRIXIE)[1] == "apt update && apt install libfuse2t64 fuse3"
    assert packages.fusermount() == "apt install fuse3"
    assert packages.mime_database() == "apt install shared-mime-info"


@pytest.mark.parametrize(
    ("command", "line"),
    [("dnf", "sudo dnf install fuse-libs fuse"), ("pacman", "sudo pacman -S fuse2"), ("rpm-ostree", "")],
)
def test_systems_without_apt(monkeypatch: pytest.MonkeyPatch, command: str, line: str) -> None:
    """Others have other names for it; where it is not known which, a sentence has to do."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == command else None)
    found, said = packages.libfuse("Unable to find libfuse", {})
    assert said == line and found.startswith("libfuse 2 is missing") and ("install it" in found) is (not line)


def test_a_libfuse_that_cannot_be_loaded() -> None:
    """It is not missing, and is not said to be."""
    found, _ = packages.libfuse("/lib/libfuse.so.2: file too short", BOOKWORM)
    assert found == "libfuse 2 cannot be loaded (/lib/libfuse.so.2: file too short)"


def test_apt_is_asked_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints is understood; where there is no apt, it knows nothing."""
    monkeypatch.undo()
    known = packages._known_to_apt(("apt", "no-such-package-anywhere"))
    assert known == ({"apt"} if shutil.which("apt-get") else set())


# Extras


def prefix(path: Path, *files: str) -> Path:
    path.mkdir(parents=True)
    for file in files:
        (path / file).touch()
    return path


@pytest.fixture
def writable(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether this user may write where packages are installed: `{"yes": True}`."""
    may = {"yes": True}
    monkeypatch.setattr(os, "access", lambda _path, _mode: may["yes"])
    return may


WHAT = f"'moonfs[local]=={moonfs.__version__}'"


def test_the_line_for_a_venv_and_for_pipx(tmp_path: Path, writable: dict[str, bool]) -> None:
    """Never a plain `pipx install moonfs`: that name on an index is somebody else's."""
    assert importlib.metadata.version("moonfs") == moonfs.__version__
    venv = prefix(tmp_path / "venv", "pyvenv.cfg")
    pipx = prefix(tmp_path / "pipx" / "moonfs", "pyvenv.cfg", "pipx_metadata.json")
    assert packages.line_for("local", venv) == f"{sys.executable} -m pip install {WHAT}"
    assert packages.line_for("local", pipx) == f"pipx runpip moonfs install {WHAT}"
    writable["yes"] = False
    assert packages.line_for("local", venv) == f"sudo {sys.executable} -m pip install {WHAT}"
    assert packages.line_for("local", pipx) == f"sudo pipx runpip --global moonfs install {WHAT}"


def test_the_line_where_pip_is_missing_or_kept_out(
    tmp_path: Path, writable: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venv of uv has no pip; Debian's own Python wants to be told that one means it."""
    stdlib = prefix(tmp_path / "lib", "EXTERNALLY-MANAGED")
    monkeypatch.setattr(packages.sysconfig, "get_path", lambda _name: str(stdlib))
    assert packages.line_for("local", prefix(tmp_path / "usr")) == (
        f"{sys.executable} -m pip install --break-system-packages {WHAT}"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    venv = prefix(tmp_path / "venv", "pyvenv.cfg")
    assert packages.line_for("local", venv) == f"uv pip install --python {sys.executable} {WHAT}"


def test_the_line_of_a_source_that_is_not_installed(
    tmp_path: Path, writable: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of a clone, by PYTHONPATH: that clone is what is installed."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    root = Path(moonfs.__file__).resolve().parent.parent
    line = packages.line_for("local", prefix(tmp_path / "venv", "pyvenv.cfg"))
    assert line.startswith(f"{sys.executable} -m pip install ") and f"{root}[local]" in line


def test_the_line_of_this_python_is_carried_out() -> None:
    """pip finds moonfs there already, whatever the index says of that name, and all that the extra needs."""
    line = packages.line_for("local")
    if "pip install" not in line or line.startswith(("sudo", "pipx", "uv")):
        pytest.skip(f"this Python is installed otherwise: {line}")
    done = subprocess.run(
        ["sh", "-c", f"{line} --dry-run --no-index --disable-pip-version-check"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and "Would install" not in done.stdout, done


def test_what_the_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of it is named, with the line."""
    packages.check_local()
    there = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("starlette", "lxml"):
            raise importlib.metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert packages.missing("local") == ["lxml", "starlette"]
    with pytest.raises(UsageError, match=r"extra `local` \(lxml is missing\); install it with: .*moonfs\[local\]"):
        packages.check_local()
