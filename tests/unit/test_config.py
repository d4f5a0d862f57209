"""What the environment and `-o` say: directories, keys, bases, sizes; and one sentence for what is wrong."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from moonfs.config import (
    DEFAULT_BASE_URL,
    Directories,
    close_to_others,
    exists,
    hosted_account,
    local_account,
    local_identity,
    make_private,
    make_roomy,
    matching,
)
from moonfs.errors import UsageError


def test_the_key_is_never_shown() -> None:
    """X1: neither by print nor in the directory's name."""
    account = hosted_account(DEFAULT_BASE_URL, "sk-secret-0123456789")
    assert "secret" not in f"{account} {account!r} {[account]} {account.identity} {account.label}"


def test_accounts_never_meet_on_disk() -> None:
    """L3: another key or another service is another directory; the same account is always the same."""
    accounts = [(DEFAULT_BASE_URL, "a"), (DEFAULT_BASE_URL, "b"), ("https://api.moonshot.cn/v1", "a")]
    identities = [hosted_account(*account).identity for account in accounts]
    assert len(set(identities)) == 3
    assert hosted_account(DEFAULT_BASE_URL + "/", "a").identity == identities[0]
    assert all(identity.isalnum() and len(identity) == 16 for identity in identities)


def test_the_local_account_is_its_directory(tmp_path: Path) -> None:
    """L3: the same data directory by whatever path is one account."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert local_identity(tmp_path / "link") == local_identity(tmp_path / "data") != local_identity(tmp_path)
    account = local_account(tmp_path / "data", "sk-x", "/run/s")
    assert account.socket == "/run/s" and account.identity == local_identity(tmp_path / "data")
    assert "sk-x" not in repr(account)


def test_directories_of_xdg(tmp_path: Path) -> None:
    """XDG: absolute variables count, relative and empty ones do not; HOME gives the rest."""
    environ = {
        "HOME": "/home/me",
        "XDG_DATA_HOME": "/data",
        "XDG_STATE_HOME": "relative",
        "XDG_CACHE_HOME": "",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    found = Directories.from_environment(environ)
    assert found.data == Path("/data/moonfs")
    assert found.state == Path("/home/me/.local/state/moonfs")
    assert found.cache == Path("/home/me/.cache/moonfs")
    assert found.runtime == tmp_path / "moonfs"


@pytest.mark.parametrize("runtime", ["", "relative", "/does/not/exist"])
def test_without_a_runtime_directory(runtime: str) -> None:
    """XDG: sockets go to a directory of this user's in /tmp, short enough for a socket path."""
    found = Directories.from_environment({"HOME": "/h", "XDG_RUNTIME_DIR": runtime}).runtime
    assert str(os.getuid()) in found.name and len(str(found)) < 80


def test_a_runtime_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X2: neither `sudo -E`'s nor one that somebody else has made in /tmp, or a link; then below the state."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    (tmp_path / "run").mkdir()
    usual = tmp_path / "tmp" / f"moonfs-{os.getuid()}"
    assert Directories.from_environment(environ).runtime == tmp_path / "run" / "moonfs"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert Directories.from_environment(environ).runtime == usual
    usual.mkdir()
    below = tmp_path / ".local/state/moonfs/run"
    assert Directories.from_environment(environ).runtime == below
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    environ["XDG_RUNTIME_DIR"] = ""
    assert Directories.from_environment(environ).runtime == usual
    usual.rmdir()
    usual.symlink_to(tmp_path / "run")
    assert Directories.from_environment(environ).runtime == below


def test_without_a_home() -> None:
    """XDG: the password entry's home, and never a relative directory."""
    for environ in ({}, {"HOME": ""}, {"HOME": "relative"}):
        assert Directories.from_environment(environ).state.is_absolute()


def test_private_directories(tmp_path: Path) -> None:
    """X2: 0700, whatever the umask and whatever it was before."""
    old = os.umask(0)
    try:
        made = make_private(tmp_path / "state")
    finally:
        os.umask(old)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o755)
    assert stat.S_IMODE(make_private(made).stat().st_mode) == 0o700


def test_directories_that_are_not_ours(tmp_path: Path) -> None:
    """X2: a file, a link to nothing or to a file, or a place that cannot be: one sentence that names it."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "toward").symlink_to(tmp_path / "file")
    for bad in ("file", "link", "toward", "file/below"):
        with pytest.raises(UsageError, match=bad.partition("/")[0]):
            make_private(tmp_path / bad)


def test_a_link_of_ones_own(tmp_path: Path) -> None:
    """X2: as good as the directory, which is closed; of somebody else neither link nor target is taken."""
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert make_private(tmp_path / "link") == tmp_path / "link"
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(tmp_path / "link", 1234, 1234, follow_symlinks=False)
        with pytest.raises(UsageError, match="belongs to somebody else"):
            make_private(tmp_path / "link")
        os.chown(tmp_path / "link", 0, 0, follow_symlinks=False)
        os.chown(tmp_path / "target", 1234, 1234)
        with pytest.raises(UsageError, match="belongs to somebody else"):
            make_private(tmp_path / "link")


def test_every_directory_is_closed(tmp_path: Path) -> None:
    """X2: those of this user that are there, whoever opened them; what is missing is not made, nor others' touched."""
    found = Directories.from_environment({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    for directory in (found.config, found.data, found.runtime):
        directory.mkdir(parents=True)
        directory.chmod(0o775)
    if os.geteuid() == 0:
        os.chown(found.runtime, 1234, 1234)
    close_to_others(found)
    closed = [found.config, found.data] if os.geteuid() == 0 else [found.config, found.data, found.runtime]
    assert {stat.S_IMODE(directory.stat().st_mode) for directory in closed} == {0o700}
    assert stat.S_IMODE(found.data.parent.stat().st_mode) & 0o055 == 0o055, "~/.local/share is not ours"
    assert not found.state.exists() and not found.cache.exists()
    if os.geteuid() == 0:
        assert stat.S_IMODE(found.runtime.stat().st_mode) == 0o775


def test_parents_are_private_too(tmp_path: Path) -> None:
    """X2: the docstring of `make_private` promises 0700 for the parents it makes."""
    old = os.umask(0o022)
    try:
        (tmp_path / "share").mkdir()
        make_private(tmp_path / "share" / "new" / "moonfs" / "accounts" / "0123")
    finally:
        os.umask(old)
    for made in ("new", "new/moonfs", "new/moonfs/accounts", "new/moonfs/accounts/0123"):
        assert stat.S_IMODE((tmp_path / "share" / made).stat().st_mode) == 0o700, made
    assert stat.S_IMODE((tmp_path / "share").stat().st_mode) == 0o755, "what is somebody's own stays as it is"


def test_a_relative_directory_can_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X2: `moonfs serve --data x` means one below the working directory."""
    monkeypatch.chdir(tmp_path)
    assert make_private(Path("a/b")) == Path("a/b") and stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_roomy_directories(tmp_path: Path) -> None:
    """X2: 0700 under the name that was asked for, with nothing beside it; one that is there stays what it is."""
    made = make_roomy(tmp_path / "texts")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700 and os.listdir(tmp_path) == ["texts"]
    (made / "file").touch()
    made.chmod(0o755)
    assert make_roomy(made) == made and os.listdir(made) == ["file"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for bad in ("link", "nowhere/below"):
        with pytest.raises(UsageError, match=bad.partition("/")[0]):
            make_roomy(tmp_path / bad)


def test_roomy_directories_lie_apart(tmp_path: Path) -> None:
    """R2, cold: on ext4 each begins where nobody else has deleted files; `make_private` puts them side by side."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(tmp_path)]
    filesystem = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if filesystem != "ext4" or os.statvfs(tmp_path).f_files < 2**22:
        pytest.skip("where a directory begins is known of ext4 only, and shows on a large disk only")
    close, apart = (
        sorted(make(tmp_path / f"{make.__name__}{i}").stat().st_ino for i in range(8))
        for make in (make_private, make_roomy)
    )
    # How far apart depends on what else is on the disk; a group of ext4 has 8,192 inodes as a rule.
    assert max(close[-1] - close[0], 2**13) < apart[-1] - apart[0]


def test_what_one_may_not_look_at_is_no_empty_place(tmp_path: Path) -> None:
    """Nor a file that is missing there; `Path` says so, by version: `exists` since Python 3.14, `glob` since 3.13."""
    assert not exists(tmp_path / "none") and not exists(tmp_path / "none" / "there")
    assert matching(tmp_path / "none", "*") == []
    closed = tmp_path / "closed"
    (closed / "within").mkdir(parents=True)
    (closed / "a.txt").touch()
    assert matching(closed, "*.txt") == [closed / "a.txt"] and exists(closed / "a.txt")
    closed.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            exists(closed / "a.txt")
        for folder in (closed, closed / "within"):
            with pytest.raises(PermissionError):
                matching(folder, "*")
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o700)
