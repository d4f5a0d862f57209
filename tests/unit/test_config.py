"""What the environment and `-o` say: directories, keys, bases, sizes; and one sentence for what is wrong."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from moonfs.config import (
    DEFAULT_BASE_URL,
    Directories,
    Settings,
    hosted_account,
    local_account,
    local_identity,
    make_private,
    make_roomy,
    parse_settings,
)
from moonfs.errors import UsageError


@pytest.mark.parametrize(
    ("environ", "key", "base"),
    [
        ({"MOONSHOT_API_KEY": "sk-m"}, "sk-m", DEFAULT_BASE_URL),
        ({"KIMI_API_KEY": "sk-k"}, "sk-k", DEFAULT_BASE_URL),
        ({"MOONSHOT_API_KEY": "sk-m", "KIMI_API_KEY": "sk-k"}, "sk-m", DEFAULT_BASE_URL),
        ({"MOONSHOT_API_KEY": "", "KIMI_API_KEY": "sk-k"}, "sk-k", DEFAULT_BASE_URL),
        ({"MOONSHOT_API_KEY": " sk-m\n"}, "sk-m", DEFAULT_BASE_URL),
        ({"KIMI_API_KEY": "k", "KIMI_BASE_URL": "https://api.moonshot.cn/v1/"}, "k", "https://api.moonshot.cn/v1"),
        (
            {"MOONSHOT_API_KEY": "k", "MOONSHOT_BASE_URL": "http://m/v1", "KIMI_BASE_URL": "http://k"},
            "k",
            "http://m/v1",
        ),
        ({"MOONSHOT_API_KEY": "k", "MOONSHOT_BASE_URL": "", "KIMI_BASE_URL": "http://k/v1//"}, "k", "http://k/v1"),
    ],
)
def test_key_and_base_of_the_environment(environ: dict[str, str], key: str, base: str) -> None:
    """X1: MOONSHOT_* before KIMI_*; an empty one counts as none; what pasting leaves round it goes."""
    account = hosted_account(environ)
    assert (account.key, account.base_url, account.label, account.socket) == (key, base, base, None)


@pytest.mark.parametrize("environ", [{}, {"MOONSHOT_API_KEY": ""}, {"MOONSHOT_API_KEY": " \n"}])
def test_no_key_is_one_sentence(environ: dict[str, str]) -> None:
    """L1: what is missing and what to do, `--local` too."""
    with pytest.raises(UsageError, match=r"MOONSHOT_API_KEY.*--local"):
        hosted_account(environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"MOONSHOT_API_KEY": " ", "KIMI_API_KEY": "sk-k"},
        {"KIMI_API_KEY": "sk-k", "MOONSHOT_BASE_URL": " ", "KIMI_BASE_URL": DEFAULT_BASE_URL},
    ],
)
def test_a_blank_variable_counts_as_none(environ: dict[str, str]) -> None:
    """X1: `export MOONSHOT_API_KEY=" "` is no key."""
    account = hosted_account(environ)
    assert (account.key, account.base_url) == ("sk-k", DEFAULT_BASE_URL)


def test_the_key_is_never_shown() -> None:
    """X1: neither by print nor in the directory's name."""
    account = hosted_account({"MOONSHOT_API_KEY": "sk-secret-0123456789"})
    assert "secret" not in f"{account} {account!r} {[account]} {account.identity} {account.label}"


def test_accounts_never_meet_on_disk() -> None:
    """L3: another key or another service is another directory; the same account is always the same."""
    environs = [
        {"MOONSHOT_API_KEY": "a"},
        {"MOONSHOT_API_KEY": "b"},
        {"MOONSHOT_API_KEY": "a", "MOONSHOT_BASE_URL": "https://api.moonshot.cn/v1"},
    ]
    identities = [hosted_account(environ).identity for environ in environs]
    assert len(set(identities)) == 3
    assert hosted_account({"KIMI_API_KEY": "a", "KIMI_BASE_URL": DEFAULT_BASE_URL + "/"}).identity == identities[0]
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
    """X2: a file, a symbolic link, or a place that cannot be: one sentence that names it."""
    (tmp_path / "file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for bad in ("file", "link", "file/below"):
        with pytest.raises(UsageError, match=bad.partition("/")[0]):
            make_private(tmp_path / bad)


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
    assert close[-1] - close[0] < 2**18 < apart[-1] - apart[0]


def test_no_option_is_the_default() -> None:
    """Every field has a default."""
    assert parse_settings({}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("listing_ttl", "0", 0.0),
        ("listing_ttl", "2.5", 2.5),
        ("timeout", "1e2", 100.0),
        ("upload_timeout", "86400", 86400.0),
        ("content_cache", "0", 0),
        ("content_cache", "64M", 64 * 1024**2),
        ("content_cache", "64mb", 64 * 1024**2),
        ("originals_cache", "10G", 10 * 1024**3),
        ("originals_cache", "1GiB", 1024**3),
        ("originals_cache", "123", 123),
        ("originals_cache", "123B", 123),
        ("originals_cache", "5k", 5 * 1024),
        ("originals_cache", "5Ki", 5 * 1024),
        ("originals_cache", "2T", 2 * 1024**4),
        ("requests", "1", 1),
        ("requests", "64", 64),
        ("uid", "0", 0),
        ("gid", "1000", 1000),
        ("umask", "077", 0o077),
        ("umask", "22", 0o22),
        ("purpose", "batch", "batch"),
        ("sidecars", "hide", "hide"),
        ("allow_other", None, True),
        ("debug", None, True),
    ],
)
def test_options(name: str, text: str | None, value: object) -> None:
    """Each `-o name=value`."""
    assert getattr(parse_settings({name: text}), name) == value


def test_every_field_is_an_option() -> None:
    """`Settings` says so: every field has a `-o` of the same name."""
    for field in fields(Settings):
        with pytest.raises(UsageError, match=field.name):
            parse_settings({field.name: "certainly unusable"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nonsense", None),
        ("nonsense", "1"),
        ("", "1"),
        ("Timeout", "1"),
        ("timeout", None),
        ("timeout", ""),
        ("timeout", "0"),
        ("timeout", "-1"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("timeout", "1s"),
        ("listing_ttl", "86401"),
        ("content_cache", "-1"),
        ("content_cache", "M"),
        ("content_cache", "1.5G"),
        ("content_cache", "0x10"),
        ("requests", "0"),
        ("requests", "65"),
        ("requests", "1.0"),
        ("uid", "-1"),
        ("uid", "root"),
        ("uid", str(2**32 - 1)),
        ("umask", "8"),
        ("umask", "1777"),
        ("umask", "-1"),
        ("purpose", "Image"),
        ("purpose", None),
        ("sidecars", ""),
        ("allow_other", "yes"),
        ("debug", ""),
    ],
)
def test_bad_options_are_one_sentence(name: str, text: str | None) -> None:
    """L1: what is wrong is named, and nothing else happens."""
    with pytest.raises(UsageError) as caught:
        parse_settings({name: text})
    assert f"-o {name}" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["10MG", "10KKK", "5I", "5IB", "1_0", "٣", "٣M", "+5", " 5", "5 ", "5\n", "5BB", "BK", "9" * 5000]
)
def test_sizes_that_nobody_means(text: str) -> None:
    """L1: 10MG is a typing mistake, not 10 GB."""
    with pytest.raises(UsageError):
        parse_settings({"content_cache": text})
