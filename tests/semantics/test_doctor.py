"""`moonfs doctor`: each thing that can keep a drive from working is found, with the line that mends it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moonfs import profiles
from moonfs.cli import main
from moonfs.config import Directories
from moonfs.doctor import Finding, State, account, bundle, machine, storage
from moonfs.profiles import Value
from tests.conftest import Faulty
from tests.faults.formats import ORGANISATION
from tests.faults.server import FaultServer, Reply, answered, refused
from tests.harness.drive import Drive, hosted
from tests.harness.namespaces import alone

KEY = "sk-secret-0123456789"


def of(findings: Iterator[Finding], about: str) -> Finding:
    """Return the one finding whose subject begins so."""
    return next(each for each in findings if each.about.startswith(about))


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories.from_environment({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})


def doctor(drive: Drive, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return how it went and what was found, apart from the drives of other tests."""
    done = drive.command("doctor", "--json", *arguments)
    assert done.stderr == "", done
    found = json.loads(done.stdout)
    assert done.returncode == any(each["state"] == "failed" for each in found)
    own = {
        each["about"]: each
        for each in found
        if each["about"] in (each["about"].removeprefix("drive "), f"drive {drive.point}")
    }
    return int(any(each["state"] == "failed" for each in own.values())), own


@pytest.mark.fuse
def test_nothing_is_in_the_way(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """All is well: exit 0; each thing that was looked at is named."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        code, found = doctor(drive)
        assert (code, {each["state"] for each in found.values()} - {"ok", "note", "warning"}) == (0, set()), found
        assert {"/dev/fuse", "libfuse", "user_allow_other", "disk", "key", "clock", "quota"} <= set(found)
        assert found["key"]["found"] == "from MOONSHOT_API_KEY"
        text = drive.command("doctor").stdout
        assert "ok       quota: 0 of 1,000 files" in text and service.key not in text
        assert {seen.operation for seen in service.seen} == {"list"}


@pytest.mark.fuse
def test_a_stale_mount_and_one_that_works(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A mount whose daemon died is told from one that answers; the line clears it."""
    drive = faulty().drive
    point = f"drive {drive.point}"
    assert doctor(drive)[1][point]["state"] == "ok"
    service.script("upload", refused(400, "没有解析出内容"))
    with pytest.raises(OSError):
        (drive / "blank.pdf").write_bytes(b"%PDF-")
    found = doctor(drive)[1][point]
    assert found["state"] == "warning" and "blank.pdf" in found["found"] and "moonfs status" in found["fix"]
    os.kill(drive.pid, 9)
    code, all_of_it = doctor(drive)
    found = all_of_it[point]
    assert (code, found["state"], found["fix"]) == (1, "failed", f"moonfs umount {drive.point}")
    assert drive.command(*found["fix"].split()[1:]).returncode == 0
    assert doctor(drive)[0] == 0


def test_no_key(tmp_path: Path) -> None:
    """What is missing, and both ways on; without FUSE too."""
    with Drive(tmp_path / "home") as drive:
        code, found = doctor(drive)
        assert code == 1 and "No API key" in found["key"]["found"] and "--local" in found["key"]["fix"]


def test_a_bad_configuration(tmp_path: Path) -> None:
    """A mistake in config.toml hides nothing else."""
    with Drive(tmp_path / "home") as drive:
        path = drive.home / "config" / "moonfs" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text("drian = 3\n")
        code, found = doctor(drive)
        assert code == 1 and "did you mean drain" in found["configuration"]["found"] and found["disk"]["state"] == "ok"


def test_the_local_files_api(fuse: None, tmp_path: Path) -> None:
    """`--local` asks for its extra instead of a key."""
    with Drive(tmp_path / "home") as drive:
        code, found = doctor(drive, "--local")
        assert code == 0 and found["local Files API"]["state"] == "ok" and "key" not in found
        assert "Landlock" in found["readers"]["found"]


def test_a_wall_that_lacks_around_readers(tmp_path: Path) -> None:
    """Where nobody gets a namespace, as in many a container, that is a note: all works, and other walls stand."""
    place = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all"
    within = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{place} "$0" "$@"']
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespace can be made to take namespaces away in")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.path.dirname(profiles.__file__) + "/..",
    }
    command = [*within, sys.executable, "-m", "moonfs", "doctor", "--local", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    (found,) = (each for each in json.loads(done.stdout) if each["about"] == "readers")
    assert found["state"] == "note"
    assert "without namespaces only the other walls keep" in found["found"]


# The account


def looked(service: str, directories: Directories, *regions: str) -> list[Finding]:
    told = {"base_url": Value(service, "--base-url"), "api_key": Value(KEY, "MOONSHOT_API_KEY")}
    return list(account.look(profiles.resolve(told, {}, directories), directories, regions=regions))


@pytest.fixture
def two() -> Iterator[tuple[FaultServer, FaultServer]]:
    """Two regions of one service; the second knows the key."""
    with FaultServer() as first, FaultServer() as second:
        second.key = KEY
        yield first, second


def test_the_other_region_takes_the_key(two: tuple[FaultServer, FaultServer], directories: Directories) -> None:
    """Both bases are tried, and the one that fits is named."""
    first, second = two
    found = looked(first.base_url, directories, first.base_url, second.base_url)
    region = of(iter(found), "region")
    assert region.state == State.FAILED and f"MOONSHOT_BASE_URL={second.base_url}" in region.fix
    assert of(iter(found), "quota").state == State.OK
    assert KEY not in repr(found)


def test_no_region_takes_the_key(two: tuple[FaultServer, FaultServer], directories: Directories) -> None:
    """A key that both refuse is a bad key."""
    first, second = two
    second.key = "sk-another"
    found = [
        each for each in looked(first.base_url, directories, first.base_url, second.base_url) if each.state == "failed"
    ]
    assert [each.about for each in found] == ["key"]
    assert second.base_url in found[0].found and "moonfs key set" in found[0].fix


def test_an_address_of_ones_own_is_the_only_one(two: tuple[FaultServer, FaultServer], directories: Directories) -> None:
    """X1: a key for another address goes to no region of the vendor."""
    first, second = two
    found = [each for each in looked(first.base_url, directories, second.base_url) if each.state == "failed"]
    assert [each.about for each in found] == ["key"] and "refuses it" in found[0].found
    assert second.seen == []


def test_a_network_that_is_dead(directories: Directories) -> None:
    """No connection is told from a bad key."""
    found = of(iter(looked("http://127.0.0.1:9/v1", directories)), "service")
    assert found.state == State.FAILED and "no connection" in found.found and "network" in found.found


def test_a_scope_that_the_service_does_not_know(service: FaultServer, directories: Directories) -> None:
    """N1: the setting is named, with the line that takes it back; where it is known, the project is counted."""
    service.key = KEY
    service.add("theirs.txt", b"x", scope=ORGANISATION)
    told = {
        "base_url": Value(service.base_url, "--base-url"),
        "api_key": Value(KEY, "MOONSHOT_API_KEY"),
        "scope": Value("project", "MOONFS_SCOPE"),
    }
    found = list(account.look(profiles.resolve(told, {}, directories), directories, regions=()))
    assert "0 of 1,000 files" in of(iter(found), "quota").found
    service.script("list", answered(Reply(200, b'{"object":"list","data":[]}')))
    (failed,) = (
        each
        for each in account.look(profiles.resolve(told, {}, directories), directories, regions=())
        if each.state == "failed"
    )
    assert "scope=organisation" in failed.found and failed.fix == "unset MOONFS_SCOPE"


@pytest.mark.parametrize(("files", "state"), [(899, "ok"), (900, "warning"), (1000, "warning"), (1200, "warning")])
def test_the_quota(service: FaultServer, directories: Directories, files: int, state: str) -> None:
    """W7: nearly full is told before it fails; that it is full, nobody but the service can say."""
    service.key = KEY
    for number in range(files):
        service.add(f"{number}.txt", b"x")
    assert of(iter(looked(service.base_url, directories)), "quota").state == state


# The machine


@pytest.mark.parametrize(
    ("conf", "uid", "wanted", "state"),
    [
        ("user_allow_other\n", 1000, True, "ok"),
        ("#user_allow_other\n", 1000, True, "failed"),
        ("#user_allow_other\n", 1000, False, "note"),
        (None, 1000, True, "failed"),
        (None, 0, True, "ok"),
    ],
)
def test_fuse_conf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: str | None, uid: int, wanted: bool, state: str
) -> None:
    """fuse.conf(5): others are let in by root, or where the file allows it."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if conf is not None:
        (tmp_path / "fuse.conf").write_text(conf)
    found = of(machine.look(allow_other=wanted, missing_library=None, etc=tmp_path), "user_allow_other")
    assert found.state == state and ("fuse.conf" in found.fix) is (state != "ok")


def test_libfuse_is_missing(tmp_path: Path) -> None:
    """What installs it, or where it is to be had."""
    found = of(machine.look(allow_other=False, missing_library="Unable to find libfuse", etc=tmp_path), "libfuse")
    assert found.state == State.FAILED and found.found.startswith("libfuse 2 is missing")
    assert "libfuse2" in found.fix + found.found


def test_fstab_needs_a_command_that_mount_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mount(8) drops PATH: what is only in a venv is not found."""
    fstab = tmp_path / "fstab"
    fstab.write_text("# moonfs#old /old fuse.moonfs\n/dev/sda1 / ext4\n")
    assert not [
        each for each in machine.look(allow_other=False, missing_library=None, etc=tmp_path) if each.about == "fstab"
    ]
    fstab.write_text("moonfs#work /mnt/work fuse.moonfs noauto 0 0\n")
    places = tmp_path / "bin"
    places.mkdir()
    monkeypatch.setattr(machine, "_PATH_OF_MOUNT", str(places))
    found = of(machine.look(allow_other=False, missing_library=None, etc=tmp_path), "fstab")
    assert found.state == State.FAILED and "ln -s" in found.fix
    (places / "moonfs").write_text("#!/bin/sh\n")
    (places / "moonfs").chmod(0o755)
    assert of(machine.look(allow_other=False, missing_library=None, etc=tmp_path), "fstab").state == State.OK


# Directories


def test_directories(directories: Directories) -> None:
    """Closed to others, ours, writable; what is not is told with the line that makes it so."""
    assert {each.state for each in storage.look(directories) if "directory" in each.about} == {"ok"}
    directories.state.mkdir(parents=True)
    directories.state.chmod(0o755)
    found = of(storage.look(directories), "state")
    assert (found.state, found.fix) == (State.WARNING, f"chmod 700 {directories.state}")
    directories.state.rmdir()
    directories.state.touch()
    assert of(storage.look(directories), "state").state == State.FAILED
    directories.state.unlink()
    if os.geteuid() == 0:
        directories.state.mkdir()
        os.chown(directories.state, 1234, 1234)
        assert "chown" in of(storage.look(directories), "state").fix


def test_a_disk_without_room(tmp_path: Path) -> None:
    """Free bytes and free inodes: a full disk is told before a write fails."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    script = f"""
        mount -t tmpfs -o size=1M none {tmp_path}
        {sys.executable} -m moonfs doctor --local --json
    """
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.path.dirname(profiles.__file__) + "/..",
    }
    done = subprocess.run(alone(script), env=environ, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [each["state"] for each in found if each["about"] == "disk"] == ["failed"], done


# The report


@pytest.mark.fuse
def test_a_report_without_secrets(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """X1: no key in it, whoever wrote it where; what helps is."""
    drive = faulty("debug").drive
    (drive / "paper.txt").write_text("text")
    log = next(drive.home.glob("state/moonfs/accounts/*/moonfs.log"))
    with open(log, "a") as stream:
        stream.write(
            f"said {service.key} and sk-other-9876543210 and https://me:word@proxy/ and Bearer abcdefgh12345\n"
        )
    drive.environ |= {"HTTPS_PROXY": "http://me:word@proxy:3128", "MOONFS_DRAIN": "7", "OTHER_TOKEN": "abc"}
    assert "report.txt" in drive.command("doctor", "--bundle", "report.txt").stderr
    path = drive.home / "report.txt"
    text = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    for secret in (service.key, "sk-other", "word@", "abcdefgh12345", "OTHER_TOKEN"):
        assert secret not in text, secret
    for part in (
        "==== moonfs doctor",
        "==== versions",
        "httpx ",
        "MOONFS_DRAIN=7",
        "HTTPS_PROXY is set",
        '"pid"',
        "moonfs.log",
    ):
        assert part in text, part
    assert str(drive.home) not in text
    again = drive.command("doctor", "--bundle", "report.txt")
    assert "is there already" in again.stderr
    assert drive.command("doctor", "--bundle", "-").stdout.startswith("==== moonfs doctor")


@pytest.mark.parametrize("source", ["api_key_command", "api_key_file"])
def test_a_report_without_the_key_in_use(faulty: Callable[..., Faulty], service: FaultServer, source: str) -> None:
    """X1: also one of no usual look, from a command or a file elsewhere; nor the command, which may hold a password."""
    drive = faulty().drive
    service.key = "Unusual.0123456789"
    (drive.home / "elsewhere").write_text(service.key)
    (drive.home / "elsewhere").chmod(0o600)
    value = str(drive.home / "elsewhere") if source == "api_key_file" else f"echo {service.key}; : opensesame"
    (drive.home / "config/moonfs").mkdir(parents=True, exist_ok=True)
    (drive.home / "config/moonfs/config.toml").write_text(f'base_url = "{service.base_url}"\n{source} = "{value}"\n')
    with open(next(drive.home.glob("state/moonfs/accounts/*/moonfs.log")), "a") as stream:
        stream.write(f"somebody said {service.key}\n")
    for name in ("MOONSHOT_API_KEY", "KIMI_API_KEY", "MOONSHOT_BASE_URL"):
        drive.environ.pop(name, None)
    text = drive.command("doctor", "--bundle", "-").stdout
    assert "takes the key" in text and "somebody said [key]" in text
    assert service.key not in text and "opensesame" not in text


def test_fixes_can_be_pasted(tmp_path: Path) -> None:
    """What comes with → is a line of a shell: paths are quoted, remarks are comments."""
    home = tmp_path / "o'dd $home (1)"
    state = Directories.from_environment({"HOME": str(home)}).state
    state.mkdir(parents=True)
    state.chmod(0o755)
    fix = of(storage.look(Directories.from_environment({"HOME": str(home)})), "state").fix
    subprocess.run(["sh", "-c", fix], check=True)
    assert state.stat().st_mode & 0o777 == 0o700
    for missing in (None, "Unable to find libfuse"):
        for found in machine.look(allow_other=True, missing_library=missing, etc=tmp_path):
            subprocess.run(["bash", "-n", "-c", found.fix], check=True)


def test_directories_where_one_may_not_look(tmp_path: Path) -> None:
    """A home that is closed to whoever asks is a finding."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    directories = Directories.from_environment({"HOME": str(tmp_path / "closed")})
    said = tmp_path / "said"
    child = os.fork()
    if child == 0:
        status = 2
        with contextlib.suppress(Exception), open(said, "w") as out:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            assert of(storage.look(directories), "state").state == State.FAILED
            assert "==== versions" in bundle.report([], {}, directories, {}, [])
            for name in ("CONFIG", "STATE"):
                os.environ[f"XDG_{name}_HOME"] = str(tmp_path / "closed")
            sys.stdout = sys.stderr = out
            for words in (["service", "list"], ["logs"]):
                sys.argv = ["moonfs", *words]
                try:
                    main()
                except SystemExit as end:
                    assert end.code == 1
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    lines = said.read_text().splitlines()
    assert [line.startswith(f"moonfs: Cannot use {tmp_path}/closed/") for line in lines] == [True, True], lines


def test_a_full_disk_leaves_no_halves(tmp_path: Path) -> None:
    """A report, a unit, a key that cannot be written is not there by half, in the way of the next try."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    script = f"""
        mount -t tmpfs -o size=64k none {tmp_path}
        mkdir -p {tmp_path}/.config/systemd/user {tmp_path}/.config/moonfs/keys
        cat /dev/zero > {tmp_path}/zeros
        cd {tmp_path}
        for command in "doctor --local --bundle r.txt" "service install --no-start --local m" "key set"; do
            echo sk-0123456789 | {sys.executable} -m moonfs $command
        done
        find . -type f
    """
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.path.dirname(profiles.__file__) + "/..",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(alone(script), env=environ, capture_output=True, text=True, check=False)
    assert done.stderr.count("No space left on device") == 4, done
    assert [line for line in done.stdout.splitlines() if line.startswith("./")] == ["./zeros"], done
