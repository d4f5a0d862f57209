"""Flags over environment over config.toml: which value counts, where it comes from, and what a mistake is told."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from moonfs import profiles
from moonfs.config import DEFAULT_BASE_URL, Directories
from moonfs.errors import UsageError
from moonfs.profiles import Configuration, Value


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    found = Directories.from_environment({"HOME": str(tmp_path)})
    found.config.mkdir(parents=True)
    return found


def write(directories: Directories, text: str, mode: int = 0o600) -> Path:
    path = directories.config / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def resolve(
    directories: Directories, flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, **chosen: str
) -> Configuration:
    given = {name: Value(text, f"--{name}") for name, text in (flags or {}).items()}
    return profiles.resolve(given, environ or {}, directories, **chosen)


def test_the_layers(directories: Directories) -> None:
    """Flags over environment over the profile over the lines above it, value by value."""
    path = write(
        directories,
        "drain = 1\nlisting_ttl = 1\nrequests = 1\ntimeout = 1\n"
        "[profile.work]\ndrain = 2\nlisting_ttl = 2\nrequests = 2\n[profile.home]\ndrain = 9\n",
    )
    found = resolve(
        directories,
        {"drain": "4"},
        {"MOONFS_DRAIN": "3", "MOONFS_LISTING_TTL": "3", "MOONFS_PROFILE": "work"},
    )
    settings = found.settings()
    assert (settings.drain, settings.listing_ttl, settings.requests, settings.timeout) == (4, 3, 2, 1)
    assert [found.values[name].origin for name in ("drain", "listing_ttl", "requests", "timeout")] == [
        "--drain",
        "MOONFS_LISTING_TTL",
        f"{path} [profile.work]",
        f"{path}",
    ]
    assert found.profiles == ("home", "work")
    assert resolve(directories, profile="home", environ={"MOONFS_PROFILE": "work"}).text("drain") == "9"


def test_nothing_at_all(directories: Directories) -> None:
    """No file is needed: the hosted service, every setting as usual."""
    found = resolve(directories)
    assert (found.found, found.hosted, found.base_url(), dict(found.values)) == (False, True, DEFAULT_BASE_URL, {})
    assert found.settings() == profiles.Settings()


def test_values_of_toml(directories: Directories) -> None:
    """A value is written as TOML has it: switches, numbers, sizes, lists."""
    write(
        directories,
        'write_back = true\nread_only = false\ndrain = 1.5\ncontent_cache = "8M"\ntext_cache = 1024\n'
        'temporary = ["*.bak", "!*.tmp"]\njunk = "*.lnk"\numask = "077"\n',
    )
    settings = resolve(directories).settings()
    assert (settings.write_back, settings.read_only, settings.drain) == (True, False, 1.5)
    assert (settings.content_cache, settings.text_cache, settings.umask) == (8 * 1024**2, 1024, 0o077)
    assert (settings.temporary, settings.junk) == (("*.bak", "!*.tmp"), ("*.lnk",))


@pytest.mark.parametrize(
    ("environ", "key", "base"),
    [
        ({"MOONSHOT_API_KEY": "sk-m"}, "MOONSHOT_API_KEY", DEFAULT_BASE_URL),
        ({"KIMI_API_KEY": "sk-k"}, "KIMI_API_KEY", DEFAULT_BASE_URL),
        ({"MOONSHOT_API_KEY": "sk-m", "KIMI_API_KEY": "sk-k"}, "MOONSHOT_API_KEY", DEFAULT_BASE_URL),
        ({"MOONSHOT_API_KEY": " ", "KIMI_API_KEY": "sk-k"}, "KIMI_API_KEY", DEFAULT_BASE_URL),
        ({"KIMI_API_KEY": "k", "KIMI_BASE_URL": "https://api.moonshot.cn/v1"}, "KIMI_API_KEY", "https://api.moonshot.cn/v1"),
        ({"MOONSHOT_BASE_URL": "http://m/v1", "KIMI_BASE_URL": "http://k"}, "", "http://m/v1"),
        ({"MOONSHOT_BASE_URL": " ", "KIMI_BASE_URL": "http://k"}, "", "http://k"),
    ],
)  # fmt: skip
def test_key_and_base_of_the_environment(
    directories: Directories, environ: dict[str, str], key: str, base: str
) -> None:
    """X1: MOONSHOT_* before KIMI_*; a blank one counts as none."""
    found = resolve(directories, environ=environ)
    source = found.key_source()
    assert ("" if source is None else source[1].origin, found.base_url()) == (key, base)


def test_the_key_comes_from_one_layer(directories: Directories) -> None:
    """X1: where it is said is one setting: the highest layer that says it counts, in whatever way."""
    write(directories, 'api_key_command = "echo a"\n[profile.work]\napi_key_file = "/b"\n')
    assert resolve(directories).key_source() == ("api_key_command", resolve(directories).values["api_key_command"])
    assert (resolve(directories, profile="work").key_source() or ("",))[0] == "api_key_file"
    found = resolve(directories, profile="work", environ={"MOONSHOT_API_KEY": "sk-secret"})
    assert (found.key_source() or ("",))[0] == "api_key" and "[profile.work]" in found.overridden
    assert "secret" not in repr(found)
    found = resolve(directories, {"api_key_keyring": "x"}, {"MOONSHOT_API_KEY": "sk-secret"}, profile="work")
    assert (found.key_source() or ("",))[0] == "api_key_keyring" and not found.overridden


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("", None),
        ("local = false", None),
        ("local = true", "usual"),
        ('local = "yes"', "usual"),
        ('local = "/srv/files"', "/srv/files"),
        ('local = "~/files"', str(Path("~/files").expanduser())),
    ],
)
def test_local_or_hosted(directories: Directories, text: str, local: str | None) -> None:
    """`local` is a switch or a directory."""
    write(directories, text)
    found = resolve(directories)
    assert found.hosted is (local is None)
    if local is not None:
        assert found.local(directories) == (directories.data / "local" if local == "usual" else Path(local))
    assert resolve(directories, {"local": "no"}).hosted


def test_the_profile_local_is_always_there(directories: Directories) -> None:
    """`--profile local`, and `moonfs#local` in fstab, need no config.toml; a profile of that name goes before it."""
    assert not resolve(directories, profile="local").hosted
    write(directories, '[profile.local]\nlocal = "/srv/files"\n')
    assert resolve(directories, profile="local").local(directories) == Path("/srv/files")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listing_tl = 3", "did you mean listing_ttl"),
        ("[profile.work]\nnonsense = 3", r"'nonsense' in .*config\.toml \[profile\.work\]"),
        ("[profiles.work]\ndrain = 3", r"did you mean|tables such as"),
        ("[work]\ndrain = 3", r"profiles are tables such as \[profile\.work\]"),
        ("profile = 3", r"\[profile\.work\]"),
        ("[profile]\nwork = 3", r"\[profile\.work\]"),
        ("drain = \n", "line 1"),
        ("drain = [1]", "has to be text"),
        ("drain = true", "needs a value"),
        ('drain = "soon"', r"'soon' of drain .*config\.toml"),
        ("drain = -1", "between 0 and 86400"),
        ('purpose = ""', "not empty"),
        ("umask = 0o77", 'umask = "077"'),
        ("drain = 2000-01-01", "has to be text"),
        ('api_key_file = "a"\napi_key_command = "b"', "in two places"),
        ("[profile.other]\ndrain = -1", r"\[profile\.other\]"),
    ],
)
def test_a_mistake_is_one_sentence(directories: Directories, text: str, said: str) -> None:
    """L1: what is wrong, and in which table; also in a profile that is not used."""
    write(directories, text)
    with pytest.raises(UsageError, match=said) as caught:
        resolve(directories, profile="")
    assert "\n" not in str(caught.value).strip()


def test_a_profile_that_is_not_there(directories: Directories) -> None:
    """L1: the ones there are, or how to make it."""
    with pytest.raises(UsageError, match=r"not there; add a table \[profile\.work\]"):
        resolve(directories, profile="work")
    write(directories, "[profile.home]\n")
    with pytest.raises(UsageError, match=r"'work' in .*; it has home"):
        resolve(directories, profile="work")


def test_a_file_that_is_asked_for_is_there(directories: Directories, tmp_path: Path) -> None:
    """`--config-file` and MOONFS_CONFIG."""
    other = tmp_path / "other.toml"
    with pytest.raises(UsageError, match="no configuration"):
        resolve(directories, file=str(other))
    other.write_text("drain = 7\n")
    assert resolve(directories, file=str(other)).text("drain") == "7"
    assert resolve(directories, environ={"MOONFS_CONFIG": str(other)}).text("drain") == "7"
    other.write_bytes(b'purpose = "\xff"\n')
    with pytest.raises(UsageError, match="UTF-8"):
        resolve(directories, file=str(other))
    with pytest.raises(UsageError, match=r"Cannot read|no file"):
        resolve(directories, file=str(tmp_path))


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("drain = 1\n", 0o666, "written by others"),
        ('api_key = "sk-secret"\n', 0o640, "chmod 600"),
        ('[profile.work]\napi_key = "sk-secret"\n', 0o604, "chmod 600"),
        ('api_key_command = "echo"\n', 0o660, "chmod go-w"),
    ],
)
def test_a_file_that_is_open_to_others(directories: Directories, text: str, mode: int, said: str) -> None:
    """X1: who may write it chooses commands and where keys go; who may read it has the key in it."""
    write(directories, text, mode)
    with pytest.raises(UsageError, match=said) as caught:
        resolve(directories)
    assert "secret" not in str(caught.value)
    write(directories, text, 0o600)
    resolve(directories)


def test_somebody_elses_file(directories: Directories) -> None:
    """X1: another user's config.toml is not believed; root's is."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    path = write(directories, "drain = 1\n", 0o644)
    os.chown(path, 12345, 12345)
    with pytest.raises(UsageError, match="written by others"):
        resolve(directories)


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 20_000}",
        f"uid = {'9' * 5_000}",
        f"uid = 0x{'f' * 5_000}",
        'temporary = ["a:b"]',
        'base_url = ["https", "//x"]',
        f"# {'x' * 1024**2}",
    ],
    ids=["nested", "long number", "large number", "colon", "list", "huge"],
)
def test_odd_files_are_told_in_a_sentence(directories: Directories, text: str) -> None:
    """No traceback, no minute of reading, and no list that turns into something else."""
    path = write(directories, text)
    with pytest.raises(UsageError, match=str(path)):
        resolve(directories)


@pytest.mark.parametrize("name", ["", "../../x", "a/b", ".hidden", "-p", "a\\nb", "键" * 34, "a" * 101])
def test_names_that_no_profile_can_have(directories: Directories, name: str) -> None:
    """X1: a name is that of the file with the key; it leads to no other directory."""
    write(directories, f'[profile."{name}"]\ndrain = 1\n')
    with pytest.raises(UsageError, match="cannot be the name of a profile"):
        resolve(directories)


def test_a_name_that_is_asked_for_leads_nowhere(directories: Directories) -> None:
    """Also where no table has it; a name of other alphabets is fine."""
    with pytest.raises(UsageError, match="cannot be the name"):
        resolve(directories, profile="../x")
    write(directories, '[profile."工作 work"]\ndrain = 1\n')
    assert resolve(directories, profile="工作 work").text("drain") == "1"


def test_a_fifo_is_not_waited_for(directories: Directories) -> None:
    """Nobody may ever write to it."""
    os.mkfifo(directories.config / "config.toml", 0o600)
    with pytest.raises(UsageError, match="is no file"):
        resolve(directories)


def test_commands_in_messages_can_be_pasted(directories: Directories, tmp_path: Path) -> None:
    """Paths in them are quoted for a shell."""
    odd = tmp_path / "my $HOME's.toml"
    odd.write_text('api_key = "sk-secret"\n')
    odd.chmod(0o644)
    with pytest.raises(UsageError) as caught:
        resolve(directories, file=str(odd))
    command = str(caught.value).partition("close it with: ")[2]
    assert shlex.split(command) == ["chmod", "600", str(odd)]


def test_relative_paths_begin_at_the_file(
    directories: Directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files and key from a shell, a service and fstab, whose working directories differ."""
    path = write(directories, 'local = "files"\napi_key_file = "~/k"\ndirectory = "/m"\n[profile.a]\nlocal = "On"\n')
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    found = resolve(directories)
    assert found.local(directories) == path.parent / "files"
    assert (found.text("api_key_file"), found.text("directory")) == ("/home/me/k", "/m")
    assert resolve(directories, profile="a").local(directories) == directories.data / "local"
    assert resolve(directories, {"local": "files"}).local(directories) == tmp_path / "files"
