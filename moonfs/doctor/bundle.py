"""The report for others: findings, versions, settings, states and logs in one text, without secrets (X1).

Keys are taken out by their words and by their look; names of files stay, since they are often the cause.

**Threading:** called by one thread.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import moonfs
from moonfs import mountpoints, mounts, wording
from moonfs.config import Directories
from moonfs.doctor.findings import Finding
from moonfs.errors import UsageError

_LOG_LINES: Final = 200
_LOG_BYTES: Final = 256 * 1024
#: Variables whose values tell something and hold no secret; of others only the names are told.
_SHOWN: Final = ("XDG_", "MOONFS_", "LANG", "LC_", "HOME", "PATH", "MOONSHOT_BASE_URL", "KIMI_BASE_URL")
_TOLD: Final = ("MOONSHOT_", "KIMI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT")
#: What looks like a key, or like a password in a URL, whoever wrote it.
_SECRETS: Final = (
    (re.compile(r"\bsk-[A-Za-z0-9_-]{6,}"), "[key]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [key]"),
    (re.compile(r"(?i)(api_key|apikey|token|password|secret)(\"?\s*[=:]\s*\"?)[^\s\",]+"), r"\1\2[secret]"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/@\s:]+:[^/@\s]+@"), r"\1[password]@"),
)


def report(
    findings: Sequence[Finding],
    settings: Mapping[str, object],
    directories: Directories,
    environ: Mapping[str, str],
    secrets: Iterable[str],
) -> str:
    """Return the report.

    Args:
        findings: what the doctor has said.
        settings: the settings with their origins; no key among them.
        directories: where logs are.
        environ: the environment; only what holds no secret is shown.
        secrets: keys that are known, to be taken out wherever they stand.
    """
    found = [
        f"{each.state:8} {each.about}: {each.found}" + (f"\n         → {each.fix}" if each.fix else "")
        for each in findings
    ]
    parts = {
        "moonfs doctor": "\n".join([wording.stamp(), *found]),
        "versions": _versions(),
        "settings": wording.to_json(settings, indent=1),
        "environment": "\n".join(_environment(environ)),
        "mounts": "\n".join(f"{mount.point} {mount.fstype}" for mount in mounts.table() if "fuse" in mount.fstype),
        **_states(),
        **dict(_logs(directories)),
    }
    text = "".join(f"==== {title}\n{part.rstrip()}\n\n" for title, part in parts.items())
    return scrub(text, [*secrets, *_local_keys(directories)], home=environ.get("HOME", ""))


def scrub(text: str, secrets: Iterable[str], home: str = "") -> str:
    """Return a text without these secrets, without what looks like one, and with `~` for the home directory."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return re.sub(rf"{re.escape(home)}(?=[/\s:\"']|$)", "~", text) if len(home) > 1 else text


def _versions() -> str:
    lines = [f"moonfs {moonfs.__version__}", f"Python {platform.python_version()}", platform.platform()]
    try:
        needed = sorted(importlib.metadata.requires("moonfs") or [])
    except importlib.metadata.PackageNotFoundError:  # not installed, or where this user may not look
        needed = []
    for line in needed:
        name = re.split(r"[\s<>=!~;\[(]", line)[0]
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(dict.fromkeys(lines))


def _environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environ.items()):
        if "KEY" not in name and name.startswith(_SHOWN):
            yield f"{name}={value}"
        elif name.upper().startswith(_TOLD):
            yield f"{name} is set"


def _states() -> dict[str, str]:
    states = {}
    for point in mountpoints.ours():
        try:
            states[f"status of {point}"] = wording.to_json(mountpoints.read_status(point), indent=1)
        except UsageError as error:
            states[f"status of {point}"] = str(error)
    return states


def _logs(directories: Directories) -> Iterator[tuple[str, str]]:
    for account in sorted(inside(directories.state, "accounts/*")):
        for name in ("moonfs.log", "errors.ndjson", "server.log"):
            tail = _tail(account / name)
            if tail:
                yield f"{name} of account {account.name}", tail


def inside(folder: Path, pattern: str) -> list[Path]:
    """Return what is in a folder; nothing where one may not look, which is a finding of its own."""
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LOG_BYTES))
            return "\n".join(stream.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:])
    except OSError:
        return ""


def _local_keys(directories: Directories) -> Iterator[str]:
    """Yield the keys of the local Files API in its usual place."""
    data = directories.data / "local"
    for path in (data / "key", *inside(data, "accounts/*/key")):
        try:
            yield path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
