"""Configuration: flags over environment over config.toml, shown with their origin; keys that never meet argv (X1)."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moonfs.cli.mounting import for_fstab
from tests.faults.server import FaultServer
from tests.harness.drive import Drive, end_server, wait_until, without_scope
from tests.harness.expect import fails
from tests.harness.namespaces import alone
from tests.harness.terminal import Terminal


@pytest.fixture
def drive(fuse: None, tmp_path: Path) -> Iterator[Drive]:
    """A drive whose account is in no flag and no variable."""
    with Drive(tmp_path / "home") as drive:
        yield drive


def config_file(drive: Drive, text: str) -> Path:
    path = drive.home / "config" / "moonfs" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def shown(drive: Drive, *arguments: str) -> dict[str, Any]:
    done = drive.command("config", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return dict(json.loads(done.stdout)["settings"])


def mounts(drive: Drive, *arguments: str) -> dict[str, Any]:
    """Mount and return the drive's status."""
    done = drive.command("mount", *arguments)
    assert (done.returncode, done.stdout, without_scope(done.stderr)) == (0, "", ""), done
    drive.pid = int(drive.status()["pid"])
    return drive.status()


@pytest.mark.fuse
@pytest.mark.parametrize("source", ["file", "command", "inline", "kept", "kept by prompt"])
def test_a_profile_is_mounted(drive: Drive, service: FaultServer, source: str) -> None:
    """`moonfs mount --profile work DIR`: address, key and settings of config.toml; the key is in no argument (X1)."""
    key = drive.home / "key"
    key.write_text(service.key + "\n")
    key.chmod(0o600)
    where = {
        "file": f'api_key_file = "{key}"',
        "command": f'api_key_command = "cat {key}"',
        "inline": f'api_key = "{service.key}"',
    }.get(source, "")
    config_file(drive, f'[profile.work]\nbase_url = "{service.base_url}"\nwrite_back = true\n{where}\n')
    if source == "kept":
        done = drive.command("key", "set", "--profile", "work", told=service.key + "\n")
        assert done.returncode == 0 and service.key not in done.stdout + done.stderr, done
    elif source == "kept by prompt":
        with Terminal(f"{drive.moonfs()} key set -p work; read end", drive) as terminal:
            terminal.shows("API key:")
            terminal.types(service.key)
            terminal.presses("Enter")
            terminal.shows("Kept in")
            assert service.key not in terminal.screen()
    service.add("theirs.txt", b"theirs")
    status = mounts(drive, "--profile", "work", str(drive.point))
    assert (status["account"], status["profile"], status["mode"]) == (service.base_url, "work", "write-back")
    assert os.listdir(drive.point) == ["theirs.txt", "theirs.txt.content"]
    argv = Path(f"/proc/{drive.pid}/cmdline").read_bytes()
    assert service.key.encode() not in argv + Path("/proc/self/mountinfo").read_bytes()
    assert service.key not in drive.log()


@pytest.mark.fuse
def test_a_profile_knows_its_directory(drive: Drive, service: FaultServer) -> None:
    """`directory` stands for DIR; MOONFS_PROFILE for --profile."""
    config_file(drive, f'[profile.work]\nbase_url = "{service.base_url}"\ndirectory = "{drive.point}"\n')
    drive.environ |= {"MOONFS_PROFILE": "work", "KIMI_API_KEY": service.key}
    assert mounts(drive)["profile"] == "work"


@pytest.mark.fuse
def test_the_local_profile(drive: Drive) -> None:
    """`--profile local` needs no config.toml."""
    data = Path(drive.environ["XDG_DATA_HOME"]) / "moonfs" / "local"
    try:
        assert mounts(drive, "-p", "local", str(drive.point))["backend"] == "local"
        drive.umount()
    finally:
        end_server(data)


@pytest.mark.fuse
def test_the_environment_goes_before_the_profile_and_says_so(drive: Drive, service: FaultServer) -> None:
    """Whoever asks for a profile's account and gets another key is told."""
    config_file(drive, f'[profile.work]\nbase_url = "{service.base_url}"\napi_key_command = "exit 9"\n')
    drive.environ["MOONSHOT_API_KEY"] = service.key
    done = drive.command("mount", "--profile", "work", str(drive.point))
    assert done.returncode == 0 and "MOONSHOT_API_KEY, which goes before" in done.stderr, done
    drive.pid = int(drive.status()["pid"])


def test_each_value_with_its_origin(drive: Drive) -> None:
    """`moonfs config` says what holds and where that was said; keys are never shown (X1)."""
    path = config_file(drive, "drain = 1\ntimeout = 1\n[profile.work]\ntimeout = 2\nlisting_ttl = 2\n")
    drive.environ |= {"MOONFS_LISTING_TTL": "3", "MOONSHOT_API_KEY": "sk-secret", "KIMI_BASE_URL": "https://k/v1"}
    found = shown(drive, "--profile", "work", "-o", "requests=4,umask=022", "--write-back")
    assert found["write_back"] == {"value": "yes", "origin": "--write-back"}
    assert found["requests"] == {"value": "4", "origin": "-o requests"}
    assert found["listing_ttl"] == {"value": "3", "origin": "MOONFS_LISTING_TTL"}
    assert found["timeout"] == {"value": "2", "origin": f"{path} [profile.work]"}
    assert found["drain"] == {"value": "1", "origin": f"{path}"}
    assert found["upload_timeout"] == {"value": "600", "origin": "default"}
    assert found["base_url"] == {"value": "https://k/v1", "origin": "KIMI_BASE_URL"}
    assert found["api_key"] == {"value": "set (not shown)", "origin": "MOONSHOT_API_KEY"}
    text = drive.command("config", "--profile", "work").stdout
    assert "sk-secret" not in text and f"config.toml  {path}\n" in text
    assert [line.split() for line in text.splitlines() if line.startswith("timeout")] == [
        ["timeout", "2", str(path), "[profile.work]"]
    ]


def test_a_misspelt_variable_is_told(drive: Drive) -> None:
    """What was meant, and nothing of what means something else; a password in an address is not shown."""
    drive.environ |= {"MOONFS_LISTNG_TTL": "3", "MOONFS_REQUIRE_FUSE": "1", "KIMI_BASE_URL": "https://me:word@k/v1"}
    done = drive.command("config")
    assert done.stderr == "The variable MOONFS_LISTNG_TTL says nothing to moonfs; did you mean MOONFS_LISTING_TTL?\n"
    assert "word@" not in done.stdout and "https://[password]@k/v1" in done.stdout


def test_the_example_can_be_used(drive: Drive) -> None:
    """`moonfs config --example > config.toml` changes nothing; each of its lines can be switched on."""
    example = drive.command("config", "--example").stdout
    path = config_file(drive, example)
    usual = shown(drive)
    assert {entry["origin"] for name, entry in usual.items() if name != "api_key"} == {"default"}
    lines = [line[2:] for line in example.splitlines() if " = " in line and line.startswith("# ") and "…" not in line]
    assert len(lines) > 15
    assert "drain = 30  # SECONDS" in lines and 'sidecars = "show"  # show|hide' in lines, "what a value is"
    for line in lines:
        path.write_text(line + "\n")
        done = drive.command("config")
        assert (done.returncode, done.stderr) == (0, ""), (line, done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--key", "sk-secret"),
        ("--key=sk-secret",),
        ("--api-key", "sk-secret"),
        ("--token=sk-secret",),
        ("-o", "key=sk-secret"),
        ("-o", "api_key=sk-secret"),
        ("-o", "listing_ttl=3,api-key=sk-secret"),
    ],
)
@pytest.mark.parametrize("command", ["mount", "config"])
def test_a_key_is_refused_from_argv(drive: Drive, command: str, arguments: tuple[str, ...]) -> None:
    """X1: with the reason, and without repeating it."""
    done = (
        drive.command(command, str(drive.point), *arguments)
        if command == "mount"
        else drive.command(command, *arguments)
    )
    assert done.returncode == 1 and "can be read by everybody" in done.stderr and "moonfs key set" in done.stderr, done
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--drain", "soon"), "--drain"),
        (("-o", "drain"), "-o drain needs a value: -o drain=SECONDS"),
        (("-o", "nonsense=1"), "Unknown option -o nonsense"),
        (("--profile", "nowhere"), "no profile 'nowhere'"),
        (("--config-file", "/nowhere.toml"), "no configuration /nowhere.toml"),
        (("-o", "temporary=!*.tpm"), "temporary=!*.tpm"),
    ],
)
@pytest.mark.fuse
def test_mistakes(drive: Drive, arguments: tuple[str, ...], said: str) -> None:
    """L1: one sentence, exit 1, nothing mounted."""
    drive.environ["MOONSHOT_API_KEY"] = "sk-none"
    done = drive.command("mount", str(drive.point), "--base-url", "http://127.0.0.1:9/v1", *arguments)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1, done
    assert not os.path.ismount(drive.point)


def test_a_key_is_kept_closed(drive: Drive) -> None:
    """X1: 0600, replaced, removed; where it does not count, that is said."""
    done = drive.command("key", "set", told="sk-secret\n")
    path = drive.home / "config" / "moonfs" / "keys" / "default"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Kept in {path}\n", "")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, "sk-secret\n")
    assert shown(drive)["api_key"]["origin"] == str(path)
    drive.environ["KIMI_API_KEY"] = "sk-other"
    assert "not used while there is KIMI_API_KEY" in drive.command("key", "set", told="sk-secret\n").stderr
    assert drive.command("key", "remove").returncode == 0 and not path.exists()
    assert "no key" in drive.command("key", "remove").stderr
    empty = drive.command("key", "set", told="\n")
    assert empty.returncode == 1 and "no key" in empty.stderr


@pytest.mark.fuse
def test_a_key_in_the_keyring(drive: Drive, service: FaultServer) -> None:
    """X1: `moonfs key set --keyring`, then a profile that says so; the real library, with a keyring in a file."""
    drive.environ["PYTHON_KEYRING_BACKEND"] = "keyrings.alt.file.PlaintextKeyring"
    config_file(drive, f'[profile.work]\nbase_url = "{service.base_url}"\napi_key_keyring = true\n')
    done = drive.command("key", "set", "--keyring", "-p", "work", told=service.key + "\n")
    assert (done.returncode, done.stderr) == (0, "") and "api_key_keyring" in done.stdout
    assert mounts(drive, "-p", "work", str(drive.point))["profile"] == "work"
    drive.umount()
    drive.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    refused = drive.command("mount", "-p", "work", str(drive.point))
    assert refused.returncode == 1 and "keyring" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.fuse
def test_names_that_were_chosen(drive: Drive, service: FaultServer) -> None:
    """N6: more and fewer temporary names and junk, by config.toml and by -o."""
    drive.environ |= {"MOONSHOT_API_KEY": service.key, "MOONSHOT_BASE_URL": service.base_url}
    config_file(drive, 'temporary = ["*.wip.md", "!*.tmp"]\n')
    mounts(drive, str(drive.point), "-o", "junk=*.lnk:!desktop.ini,listing_ttl=0")
    (drive / "a.wip.md").write_text("mine")
    assert service.names() == []
    os.rename(drive / "a.wip.md", drive / "a.md")
    (drive / "desktop.ini").write_text("kept")
    assert sorted(service.names()) == ["a.md", "desktop.ini"]
    with fails(errno.EACCES):
        (drive / "a.lnk").write_text("junk")


@pytest.mark.fuse
def test_read_only(drive: Drive, service: FaultServer) -> None:
    """`-o ro` and `--read-only`: every change is refused by the kernel; reading goes on."""
    drive.environ |= {"MOONSHOT_API_KEY": service.key, "MOONSHOT_BASE_URL": service.base_url}
    service.add("a.txt", b"text")
    for option in (("-o", "ro"), ("--read-only",)):
        assert mounts(drive, str(drive.point), *option)["mode"] == "read-only"
        for change in (lambda: (drive / "b.txt").write_text("b"), lambda: os.unlink(drive / "a.txt")):
            with fails(errno.EROFS):
                change()
        assert b"text" in (drive / "a.txt.content").read_bytes()
        for command in ("refresh", "prefetch"):
            done = drive.command(command, str(drive.point))
            assert done.returncode == 1 and "is read-only and takes no orders" in done.stderr, done
        drive.umount()
    assert service.names() == ["a.txt"]


@pytest.mark.fuse
def test_fstab(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """A line `moonfs#work DIR fuse.moonfs OPTIONS` of fstab, by mount(8) itself, and `mount -t fuse.moonfs`."""
    if os.geteuid() != 0:
        pytest.skip("only root has a mount namespace of its own")
    with Drive(tmp_path / "home") as drive:
        service.add("a.txt", b"text")
        key = drive.home / "key"
        key.write_text(service.key)
        key.chmod(0o600)
        path = config_file(
            drive, f'[profile.work]\nbase_url = "{service.base_url}"\napi_key_file = "{key}"\nlisting_ttl = 0\n'
        )
        drive.point.mkdir()
        other = drive.home / "other"
        other.mkdir()
        fstab = drive.home / "fstab"
        fstab.write_text(
            f"moonfs#work {drive.point} fuse.moonfs "
            f"noauto,user,_netdev,x-systemd.automount,config={path},uid=1234,umask=022,allow_other 0 0\n"
        )
        moonfs = drive.home / "moonfs"
        exports = "\n".join(f"export {name}='{value}'" for name, value in drive.environ.items() if name != "PATH")
        moonfs.write_text(f'#!/bin/sh\n{exports}\nexec {drive.moonfs()} "$@"\n')
        moonfs.chmod(0o755)
        script = f"""
            set -ex
            mount -t tmpfs none /usr/local/bin     # seen by nobody else
            cp {moonfs} /usr/local/bin/moonfs
            mount -T {fstab} {drive.point}
            test "$(findmnt -no FSTYPE {drive.point})" = fuse.moonfs
            findmnt -no OPTIONS {drive.point} | grep noexec
            test "$(stat -c '%u %a' {drive.point}/a.txt.content)" = '1234 444'
            grep text {drive.point}/a.txt.content
            echo b > {drive.point}/b.txt
            ls {drive.point}
            umount {drive.point}
            mount -t fuse.moonfs moonfs#work {other} -o ro,config={path}
            ls {other} | grep b.txt.content
            if touch {other}/c.txt; then exit 1; fi
            umount {other}
            if mount -t fuse.moonfs moonfs#nowhere {other} -o config={path}; then exit 1; fi
        """
        done = subprocess.run(alone(script), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "There is no profile 'nowhere'" in done.stderr
        wait_until(lambda: sorted(service.names()) == ["a.txt", "b.txt"], "it is uploaded")


@pytest.mark.parametrize(
    "flag", ["--base-url", "--api-key-file", "--temporary", "--local", "--profile", "--config-file"]
)
def test_an_empty_flag_is_no_default(drive: Drive, flag: str) -> None:
    """L1: `--profile "$UNSET"` mounts no other account, `--api-key-file "$UNSET"` reads no file called yes."""
    done = drive.command("mount", flag, "", str(drive.point))
    assert done.returncode == 1 and f"{flag} was given an empty value" in done.stderr, done


@pytest.mark.parametrize("profile", ["mount", "moonfs", "none", "status"])
def test_profiles_that_are_called_as_something_else(drive: Drive, profile: str) -> None:
    """A profile may have the name of a command."""
    config_file(drive, f"[profile.{profile}]\ndrain = 7\n")
    assert shown(drive, "-p", profile)["drain"]["value"] == "7"


def test_the_first_field_of_fstab() -> None:
    """`moonfs#NAME` is a profile whatever it is called; a bare `none` is not."""
    for source, chosen in (("moonfs#none", ["--profile", "none"]), ("moonfs#mount", ["--profile", "mount"])):
        asked = for_fstab("moonfs", [source, "/mnt", "-o", "rw"], {"mount"})
        assert asked == ["mount", *chosen, "-o", "rw", "--", "/mnt"]
    for source in ("none", "", "moonfs", "moonfs#"):
        assert for_fstab("moonfs", [source, "/mnt", "-o", "rw"], {"mount"}) == ["mount", "-o", "rw", "--", "/mnt"]


def test_the_home_of_whoever_mounts_by_fstab(monkeypatch: pytest.MonkeyPatch) -> None:
    """`user` in fstab: mount.fuse(8) says /root to every user, whose own directories these are not."""
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("HOME", "/root")
    assert for_fstab("moonfs", ["status", "/mnt", "-o", "rw"], {"status"}) is None and os.environ["HOME"] == "/root"
    assert for_fstab("moonfs", ["moonfs#local", "/mnt", "-o", "rw"], {"status"})
    assert "HOME" not in os.environ


@pytest.mark.fuse
def test_which_directory_of_local_is_which(drive: Drive, tmp_path: Path) -> None:
    """`--local A B`: A is where files are kept: said where A holds something else, where B is of no use, in help."""
    papers, point = tmp_path / "papers", drive.point
    papers.mkdir()
    (papers / "mine.txt").write_text("mine")
    done = drive.command("mount", "--local", str(papers), str(papers))
    assert (
        done.returncode == 1 and f"In --local {papers} {papers} the first directory is where the local" in done.stderr
    )
    done = drive.command("mount", "--local", str(papers), str(point))
    assert done.returncode == 1 and "(in --local DATA DIR, DATA is that one, DIR the drive)" in done.stderr, done
    assert os.listdir(papers) == ["mine.txt"]
    help_text = " ".join(drive.command("mount", "--help").stdout.split())
    assert "In --local DATA DIR its files are kept in DATA" in help_text
