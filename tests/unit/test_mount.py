"""The life of a mount: what needs no kernel. The rest is shown by real mounts in tests/semantics/test_mount.py."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from moonfs import mount
from moonfs.config import Directories, hosted_account
from moonfs.errors import UsageError
from moonfs.settings import Settings

UNLIMITED = resource.RLIM_INFINITY


def request(tmp_path: Path, point: str = "/mnt/moon") -> mount.Request:
    return mount.Request(
        point=point,
        local=None,
        settings=Settings(),
        directories=Directories.from_environment({"HOME": str(tmp_path)}),
        hosted=hosted_account("https://api.moonshot.ai/v1", "sk-secret-0123456789"),
    )


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    """X1: a request holds the account; what is printed of it does not."""
    asked = request(tmp_path)
    assert "secret" not in f"{asked} {asked!r} {[asked]}" and "/mnt/moon" in repr(asked)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 2**20), (65_536, 2**20)),
        ((1024, UNLIMITED), (65_536, UNLIMITED)),
        ((65_536, 2**20), None),
        ((2**20, 2**20), None),
        ((4096, 4096), None),
        ((UNLIMITED, UNLIMITED), None),
    ],
)
@pytest.mark.parametrize("refused", [False, True])
def test_a_drive_may_have_many_files_open(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int] | None, refused: bool
) -> None:
    """Tenet 2: the soft limit of a login shell is no limit of the drive; a limit that stays is no failure."""
    given: list[tuple[int, int]] = []

    def setrlimit(_kind: int, limits: tuple[int, int]) -> None:
        given.append(limits)
        if refused:
            raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: before)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    mount._allow_many_descriptors()
    assert given == ([] if after is None else [after])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_place_that_cannot_be_one_is_a_sentence_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1: what the daemon says of a path that is no UTF-8 reaches whoever asked for the mount."""
    name = os.fsdecode(b"latin-\xe9")

    def build(_drive: object) -> None:
        raise UsageError(f"Cannot use {name}: choose another directory.")

    monkeypatch.setattr(mount, "check", lambda *_, **_options: str(tmp_path))
    monkeypatch.setattr(mount._Drive, "_build", build)
    with pytest.raises(UsageError, match=r"^Cannot use latin-\ufffd: choose another directory\.$"):
        mount.start(request(tmp_path))
