"""Where keys come from: the environment, files of mode 0600, commands, keyrings; none of it is ever shown (X1)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from moonfs import keys, profiles
from moonfs.api.origin import check_key
from moonfs.config import Directories
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, Value

KEY = "sk-secret-0123456789"


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories.from_environment({"HOME": str(tmp_path)})


def told(directories: Directories, **values: str) -> Configuration:
    return profiles.resolve({name: Value(text, f"--{name}") for name, text in values.items()}, {}, directories)


def key_file(tmp_path: Path, text: str = KEY + "\n", mode: int = 0o600) -> str:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_each_source(directories: Directories, tmp_path: Path) -> None:
    """X1: whatever pasting and printing leave round a key goes."""
    environ = {"MOONSHOT_API_KEY": f" {KEY}\n"}
    assert keys.find(profiles.resolve({}, environ, directories), directories) == KEY
    path = key_file(tmp_path, f"  {KEY} \nsecond line\n")
    assert keys.find(told(directories, api_key_file=path), directories) == KEY
    command = f"printf '%s\\nmore\\n' \"$(echo {KEY})\""
    assert keys.find(told(directories, api_key_command=command), directories) == KEY


@pytest.mark.parametrize("marks", ['""', "''", "“”", "‘’", "``", "«»", '"\n', "\n”"], ids=ascii)
def test_a_key_in_quotation_marks(directories: Directories, tmp_path: Path, marks: str) -> None:
    """X1: wherever it comes from, the error says where, and that it is the marks; it has nothing of the key."""
    quoted = f"{marks[0]}{KEY}{marks[1]}".strip()
    printed = tmp_path / "printed"
    printed.write_text(quoted)
    for where in (
        profiles.resolve({}, {"KIMI_API_KEY": quoted}, directories),
        told(directories, api_key_file=key_file(tmp_path, quoted)),
        told(directories, api_key_command=f"cat {printed}"),
    ):
        with pytest.raises(UsageError, match="stands in quotation marks; write it without them") as raised:
            keys.find(where, directories)
        assert KEY not in str(raised.value)
    with pytest.raises(UsageError, match="quotation marks"):
        keys.write_file(tmp_path / "kept", quoted)
    with pytest.raises(UsageError, match="quotation marks"):
        check_key(quoted)


def test_no_key_is_one_sentence(directories: Directories) -> None:
    """L1: what is missing and what to do, `--local` too."""
    with pytest.raises(UsageError, match=r"MOONSHOT_API_KEY .*--local.* with: moonfs key set$"):
        keys.find(told(directories), directories)
    assert keys.origin(told(directories), directories) == ""


def test_a_key_that_is_kept(directories: Directories) -> None:
    """X1: 0600 in a directory of 0700, in place of an earlier one; it counts where nothing else is said."""
    none = told(directories)
    path = keys.usual_file(none, directories)
    old = os.umask(0)
    try:
        keys.write_file(path, "sk-older")
        keys.write_file(path, f"{KEY}\n")
    finally:
        os.umask(old)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert os.listdir(path.parent) == ["default"]
    assert keys.find(none, directories) == KEY and keys.origin(none, directories) == str(path)
    with pytest.raises(UsageError, match="no key"):
        keys.write_file(path, " \n")
    assert keys.find(none, directories) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read(directories: Directories, tmp_path: Path, mode: int) -> None:
    """X1: refused, with the command that closes it."""
    with pytest.raises(UsageError, match="chmod 600") as caught:
        keys.find(told(directories, api_key_file=key_file(tmp_path, mode=mode)), directories)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", f"{KEY} {KEY}", "键", f"{KEY}\x07", "\xff\xfe", "k" * 4097])
def test_what_is_no_key(directories: Directories, tmp_path: Path, text: str) -> None:
    """X1: it is not sent anywhere, nor shown."""
    with pytest.raises(UsageError, match="key") as caught:
        keys.find(told(directories, api_key_file=key_file(tmp_path, text)), directories)
    assert KEY not in str(caught.value)


def test_an_empty_key_is_not_kept(tmp_path: Path) -> None:
    """What was to be done is said, not the command that has just been run."""
    with pytest.raises(UsageError, match="give it in one line") as caught:
        keys.write_file(tmp_path / "key", "\n")
    assert "moonfs key set" not in str(caught.value)
    assert not (tmp_path / "key").exists()


def test_files_that_cannot_be_read(directories: Directories, tmp_path: Path) -> None:
    """L1: named."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            keys.find(told(directories, api_key_file=str(path)), directories)


def test_commands_that_fail(directories: Directories, capfd: pytest.CaptureFixture[str]) -> None:
    """L1: its own words reach the terminal, and its exit status is told."""
    with pytest.raises(UsageError, match="exit status 3"):
        keys.find(told(directories, api_key_command="echo locked >&2; exit 3"), directories)
    assert capfd.readouterr().err == "locked\n"
    with pytest.raises(UsageError, match="no key"):
        keys.find(told(directories, api_key_command="true"), directories)


def test_the_keyring(directories: Directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X1: the real library with a keyring in a file."""
    import keyring
    from keyrings.alt.file import PlaintextKeyring

    ring = PlaintextKeyring()
    ring.file_path = str(tmp_path / "ring")
    before = keyring.get_keyring()
    keyring.set_keyring(ring)
    try:
        with pytest.raises(UsageError, match="moonfs key set --keyring"):
            keys.find(told(directories, api_key_keyring="yes"), directories)
        keys.store_in_keyring("default", KEY)
        keys.store_in_keyring("other", "sk-other")
        assert keys.find(told(directories, api_key_keyring="yes"), directories) == KEY
        assert keys.find(told(directories, api_key_keyring="other"), directories) == "sk-other"
    finally:
        keyring.set_keyring(before)


def test_without_the_extra(directories: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: one sentence with the command."""
    import sys

    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match=r"moonfs\[keyring\]"):
        keys.find(told(directories, api_key_keyring="yes"), directories)


def test_a_command_that_prints_without_end(directories: Directories) -> None:
    """L1: it is ended, and not read until memory is full."""
    with pytest.raises(UsageError, match="far more than a key"):
        keys.find(told(directories, api_key_command="exec yes"), directories)


def test_a_command_that_is_killed(directories: Directories) -> None:
    """L1: no exit status is below 0."""
    with pytest.raises(UsageError, match="signal 9"):
        keys.find(told(directories, api_key_command="kill -9 $$"), directories)


def test_a_command_that_hangs(directories: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: with its output open or closed; it is ended."""
    monkeypatch.setattr(keys, "_COMMAND_SECONDS", 0.2)
    for command in ("exec sleep 60", "exec sleep 60 >&-"):
        with pytest.raises(UsageError, match="did not end"):
            keys.find(told(directories, api_key_command=command), directories)


def test_a_fifo_is_not_waited_for(directories: Directories, tmp_path: Path) -> None:
    """L1: nobody may ever write to it."""
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(UsageError, match="no regular file"):
        keys.find(told(directories, api_key_file=str(tmp_path / "key")), directories)


def test_a_command_is_not_shown(directories: Directories) -> None:
    """X1: it may hold a password; `moonfs config` and reports say where it stands."""
    assert keys.origin(told(directories, api_key_command="fetch --password abc"), directories) == (
        "api_key_command (--api_key_command)"
    )


@pytest.mark.parametrize("text", ["no", "false", "0", "off"])
def test_no_keyring(directories: Directories, text: str) -> None:
    """`api_key_keyring = false` is no name in it, takes a `true` of a lower layer back, and is beside other sources."""
    assert told(directories, api_key_keyring=text).key_source() is None
    (directories.config / "config.toml").parent.mkdir(parents=True)
    (directories.config / "config.toml").write_text("api_key_keyring = true\n")
    assert told(directories, api_key_keyring=text).key_source() is None
    assert told(directories, api_key_keyring=text, api_key_file="f").key_source() == (
        "api_key_file",
        Value("f", "--api_key_file"),
    )


@pytest.mark.parametrize("text", ["yes", "true", "1", "on"])
def test_a_keyring_by_each_yes(directories: Directories, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """MOONFS_API_KEY_KEYRING=true is the profile's own name in it, as in config.toml."""
    monkeypatch.setattr(keys, "_from_keyring", lambda name: name)
    assert keys.find(told(directories, api_key_keyring=text), directories) == "default"
