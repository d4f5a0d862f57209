"""How a drive ends: what unmounts it, and one sentence where it does not."""

from __future__ import annotations

import builtins
import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moonfs import ending, mounts
from moonfs.errors import UsageError


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes bytes the kernel's mount table."""
    file = tmp_path / "mountinfo"

    def opened(path: object, *args: Any, **kwargs: Any) -> Any:
        return builtins.open(file if path == "/proc/self/mountinfo" else path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(mounts, "open", opened, raising=False)
    return file.write_bytes


@pytest.mark.parametrize(
    "name",
    [
        b"a b",
        "全　角".encode(),
        "no\u00a0break".encode(),
        b"car\rriage",
        "next\x85line".encode(),
        b"latin-\xe9",
        b"a\\b",
    ],
)
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (None, None),
        (b"umount: %s: target is busy.\n", "is in use"),
        (b"fusermount: failed to unmount %s: Device or resource busy\n", "is in use"),
        (b"a warning\nfusermount: entry for %s not found\n", "Cannot unmount .*not found$"),
        (b"", "it gave no reason"),
    ],
)
def test_any_drive_can_be_unmounted(
    kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes, said: bytes | None, shown: str | None
) -> None:
    """L2: whatever its path; what the tool says of such a path is shown, not choked on."""
    point = os.fsencode(tmp_path) + b"/busy-" + name
    os.mkdir(point)
    escaped = point.replace(b"\\", b"\\134").replace(b" ", b"\\040")
    kernel(b"22 1 0:50 / " + escaped + b" rw - fuse.moonfs moonfs rw\n")
    commands = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if command[0] in ("cat", "stat"):
            return subprocess.CompletedProcess(command, 1, b"", b"")
        commands.append(command)
        assert not options.get("text")
        return subprocess.CompletedProcess(command, 0 if said is None else 1, b"", (said or b"").replace(b"%s", point))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(ending, "_BUSY_SECONDS", 0.0)
    drive = ending.find(os.fsdecode(point), tmp_path / "state")
    assert drive.mounted and not drive.stale and drive.daemon is None
    with pytest.raises(UsageError, match=shown) if shown else contextlib.nullcontext():
        ending.unmount(drive, timeout=1)
    ((*_, given),) = commands
    assert os.fsencode(given) == point


def test_unmounting_what_is_no_drive(kernel: Any, tmp_path: Path) -> None:
    """L2: neither nothing nor somebody else's filesystem is ever unmounted."""
    for text in (b"", f"22 1 0:50 / {tmp_path} rw - tmpfs x rw\n".encode()):
        kernel(text)
        with pytest.raises(UsageError, match="No moonfs drive"):
            ending.find(str(tmp_path), tmp_path / "state")
