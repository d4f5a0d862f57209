"""Which line installs what is missing: a package of this system, an extra of moonfs where this moonfs runs.

It looks at what the system calls itself, what apt knows and where moonfs was installed; it installs nothing. The name
`moonfs` on a package index may be somebody else's: no line here takes moonfs itself from one.

**Threading:** pure questions to files and to apt; called by one thread.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Final

import moonfs
from moonfs.errors import UsageError

#: What other systems than Debian and its kin call libfuse 2 and fusermount, by the command that installs them.
_ELSEWHERE: Final = {
    "dnf": ("dnf install fuse-libs fuse", "dnf install fuse"),
    "pacman": ("pacman -S fuse2", "pacman -S fuse2"),
    "zypper": ("zypper install libfuse2 fuse", "zypper install fuse"),
    "apk": ("apk add fuse", "apk add fuse"),
}
#: The package of libfuse 2, the newest name first.
_LIBFUSE: Final = ("libfuse2t64", "libfuse2")
#: Seconds for apt to say what it knows.
_APT_SECONDS: Final = 20.0


def libfuse(problem: str, release: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Say what is wrong with libfuse 2, and which line installs it.

    Args:
        problem: what loading it has raised.
        release: os-release(5); by default that of this system.

    Returns:
        (sentence without its full stop, line of a shell). The line is empty where no package is to be had; the
        sentence then says what to do.
    """
    configured = os.environ.get("FUSE_LIBRARY_PATH")
    if configured:
        return f"FUSE_LIBRARY_PATH names {configured}, which cannot be loaded ({problem})", "unset FUSE_LIBRARY_PATH"
    found = "libfuse 2 is missing"
    if not re.search("Unable to find|No such file", problem):  # it is there: cut short, or of another architecture
        found = f"libfuse 2 cannot be loaded ({problem})"
    if not shutil.which("apt-get"):
        lines = [lines[0] for command, lines in _ELSEWHERE.items() if shutil.which(command)]
        return (found, _as_root(lines[0])) if lines else (f"{found}; install it as your system does that", "")
    release = _release() if release is None else release
    known = _known_to_apt(_LIBFUSE)
    package = next((name for name in _LIBFUSE if name in known), None) or _libfuse_of(release)
    if package is None:
        system = release.get("PRETTY_NAME", "this system")
        there = "works here too" if release.get("ID") == "debian" else "may work here too"
        return (
            f"{found}, and {system} has no package of it; add the suite trixie to apt's sources and install the "
            f"{_LIBFUSE[0]} of Debian 13, which {there}",
            "",
        )
    update = "" if known or _has_lists() else f"{_as_root('apt update')} && "
    return found, f"{update}{_as_root(f'apt install {package} fuse3')}"


def fusermount() -> str:
    """Return the line of a shell that installs fusermount(1)."""
    if shutil.which("apt-get"):
        return _as_root("apt install fuse3")
    lines = [lines[1] for command, lines in _ELSEWHERE.items() if shutil.which(command)]
    return _as_root(lines[0]) if lines else "install FUSE as your system does that"


def mime_database() -> str:
    """Return the line of a shell that installs update-mime-database(1)."""
    return _as_root("apt install shared-mime-info")


def missing(extra: str) -> list[str]:
    """Return the distributions of an extra of moonfs that are not installed, sorted."""
    from importlib import metadata  # noqa: PLC0415 - it brings email along, and most commands do without

    try:
        lines = metadata.requires("moonfs") or []
    except metadata.PackageNotFoundError:  # run out of its source
        return []
    lacking = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            name = re.split(r"[\s<>=!~\[(]", requirement.strip())[0]
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                lacking.append(name)
    return sorted(lacking)


def check_local() -> None:
    """Make sure that the local Files API is installed.

    Raises:
        UsageError: it is not; says the line that installs it.
    """
    lacking = missing("local")
    if lacking:
        raise UsageError(
            f"The local Files API needs the extra `local` ({lacking[0]} is missing); install it with: "
            f"{line_for('local')}"
        )


def line_for(extra: str, prefix: Path | None = None) -> str:
    """Return the line of a shell that installs an extra of this moonfs where it runs.

    pip takes what is installed already for `moonfs[EXTRA]` and adds what the extra needs: whether that came from a
    clone or from a wheel makes no difference, and the version keeps it from looking for another one.

    Args:
        extra: its name.
        prefix: where moonfs is installed; by default `sys.prefix`.
    """
    from importlib import metadata  # noqa: PLC0415

    prefix = prefix or Path(sys.prefix)
    try:
        what = quote(f"moonfs[{extra}]=={metadata.version('moonfs')}")
    except metadata.PackageNotFoundError:  # run out of its source
        what = quote(f"{Path(moonfs.__file__).resolve().parent.parent}[{extra}]")
    may_write = os.access(sysconfig.get_path("purelib"), os.W_OK)
    if (prefix / "pipx_metadata.json").exists():
        return f"{'pipx runpip' if may_write else 'sudo pipx runpip --global'} {quote(prefix.name)} install {what}"
    python = quote(sys.executable)
    is_venv = (prefix / "pyvenv.cfg").exists()
    sudo = "" if may_write or not is_venv else "sudo "
    if importlib.util.find_spec("pip") is None:  # as uv makes them
        return f"{sudo}uv pip install --python {python} {what}"
    managed = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists() and not is_venv
    return f"{sudo}{python} -m pip install {'--break-system-packages ' if managed else ''}{what}"


def _as_root(line: str) -> str:
    return line if os.geteuid() == 0 else f"sudo {line}"


def _release() -> Mapping[str, str]:
    import platform  # noqa: PLC0415 - it is large, and only needed here

    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _libfuse_of(release: Mapping[str, str]) -> str | None:
    """Return the package of libfuse 2 in a release of Debian or Ubuntu, None where there is none.

    It left Debian after 13; what is being made of it has no VERSION_ID (os-release(5)).
    """
    version = re.match(r"\d+", release.get("VERSION_ID", ""))
    number = int(version[0]) if version is not None else None
    if release.get("ID") == "debian":
        if number is None or number > 13:
            return None
        return _LIBFUSE[number < 13]
    if release.get("ID") == "ubuntu":
        return _LIBFUSE[number is not None and number < 24]
    return None if _has_lists() else _LIBFUSE[0]


def _has_lists() -> bool:
    """Say whether apt has been told what there is: a fresh container has no lists."""
    return any(Path("/var/lib/apt/lists").glob("*_Packages*"))


def _known_to_apt(packages: tuple[str, ...]) -> set[str]:
    """Return which of these packages apt could install."""
    try:
        done = subprocess.run(
            ["apt-cache", "policy", *packages],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_APT_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return set(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", done.stdout, re.MULTILINE))
