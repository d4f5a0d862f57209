"""Each line that `moonfs doctor` gives is run as it is printed, and what it is for works afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moonfs import profiles
from moonfs.config import Directories
from moonfs.doctor import Finding, State, account, drives, machine, mending, storage
from moonfs.profiles import Configuration, Value
from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import ROOT, SECONDS, Drive, end_server, wait_until
from tests.harness.namespaces import alone

#: Whose directories are looked at where root runs the tests: root may do everything, and needs no line.
NOBODY = 65534
KEY = "sk-secret-0123456789"


def by_about(findings: list[dict[str, str]], about: str) -> dict[str, str]:
    """Return the one finding whose subject begins so."""
    return next(each for each in findings if each["about"].startswith(about))


# Directories


def as_nobody(environ: dict[str, str]) -> list[dict[str, str]]:
    """Return what `storage.look` finds for another user with this environment; only root can be one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), os.fdopen(writing, "w") as out:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.environ.clear()
            os.environ.update(environ)
            tempfile.tempdir = None
            found = Directories.from_environment(os.environ)
            out.write(json.dumps([vars_of(each) for each in storage.look(found, found.data / "local")]))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = json.loads(answer.read() or "[]")
    os.waitpid(child, 0)
    assert found, "it did not end well"
    return list(found)


def vars_of(finding: Finding) -> dict[str, str]:
    return {"about": finding.about, "state": str(finding.state), "found": finding.found, "fix": finding.fix}


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of another user, in a directory with a short name that the user can get to."""
    with tempfile.TemporaryDirectory(prefix="mfs-") as above:
        os.chmod(above, 0o755)
        path = Path(above) / "home"
        path.mkdir()
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        yield path


def given(path: Path, mode: int = 0o755) -> Path:
    """Make a directory of that user, and its parents."""
    for part in (*reversed(path.parents), path):
        if not part.exists():
            part.mkdir()
            if os.geteuid() == 0:
                os.chown(part, NOBODY, NOBODY)
    path.chmod(mode)
    return path


def theirs(path: Path) -> None:
    """Give it to somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    os.chown(path, 0, 0, follow_symlinks=False)


def a_parent_of_root(home: Path) -> None:
    theirs(given(home / ".local"))


def a_parent_that_is_locked(home: Path) -> None:
    given(home / ".local", 0o500)


def a_parent_that_is_a_file(home: Path) -> None:
    (home / ".local").touch()


def a_link_to_nothing(home: Path) -> None:
    (given(home / ".local/state") / "moonfs").symlink_to(home / "disk" / "moonfs")
    given(home)
    if os.geteuid() == 0:
        os.chown(home / ".local/state/moonfs", NOBODY, NOBODY, follow_symlinks=False)


def a_link_of_root(home: Path) -> None:
    (given(home / ".local/state") / "moonfs").symlink_to(given(home / "disk", 0o700))
    theirs(home / ".local/state/moonfs")


def roots(home: Path) -> None:
    theirs(given(home / ".local/state/moonfs"))


def a_file(home: Path) -> None:
    (given(home / ".local/state") / "moonfs").touch()


def locked(home: Path) -> None:
    given(home / ".local/state/moonfs", 0o500)


def open_to_others(home: Path) -> None:
    given(home / ".local/state/moonfs", 0o775)


def a_closed_home(home: Path) -> None:
    theirs(home)
    home.chmod(0o700)


@pytest.mark.parametrize(
    "spoil",
    [
        a_parent_of_root,
        a_parent_that_is_locked,
        a_parent_that_is_a_file,
        a_link_to_nothing,
        a_link_of_root,
        roots,
        a_file,
        locked,
        open_to_others,
        a_closed_home,
    ],
)
def test_a_directory_is_mended(home: Path, spoil: Callable[[Path], None]) -> None:
    """X2: the state directory is usable and private after its line was run, whatever was wrong with it."""
    spoil(home)
    mended(home, "state", {})


def test_a_place_for_sockets_is_mended(home: Path) -> None:
    """X2: what somebody else has made in /tmp under our name is taken away, not taken over."""
    given(home / "run", 0o700)
    theirs(given(home / "run/moonfs"))
    (home / "run/moonfs/socket").touch()
    mended(home, "runtime", {"XDG_RUNTIME_DIR": str(home / "run")})
    assert not (home / "run/moonfs/socket").exists()


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_sockets_get_a_short_path(home: Path, variable: str) -> None:
    """A socket's path has 107 bytes."""
    mended(home, "sockets", {variable: str(given(home / ("x" * 100), 0o700))})


def mended(home: Path, about: str, environ: dict[str, str]) -> None:
    """Check that a finding is bad, and no more after its line was run; what is one's own then may have to be closed."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **environ}
    found = by_about(as_nobody(environ), about)
    assert found["state"] in ("failed", "warning") and found["fix"], found
    after = run_as_nobody(found["fix"], environ)
    try:
        again = [each for each in as_nobody(after) if each["about"].startswith(about)]
        if again and again[0]["state"] == "warning":
            again = [
                each for each in as_nobody(run_as_nobody(again[0]["fix"], after)) if each["about"] == again[0]["about"]
            ]
        assert all(each["state"] == "ok" for each in again), (found, again)
    finally:
        for name in after:
            if name.startswith("XDG_") and after[name] not in environ.values():
                os.rmdir(after[name])


def run_as_nobody(line: str, environ: dict[str, str]) -> dict[str, str]:
    """Run a line in that user's shell, what sudo is for as root, and return the environment that it leaves."""
    script, user = f"{line}\nenv -0", {}
    if "sudo " in line and os.geteuid() == 0:
        script = 'sudo() { "$@"; }\nid() { echo nobody; }\n' + script
    elif os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY}
    done = subprocess.run(
        ["bash", "-ec", script], env=environ, cwd="/", capture_output=True, text=True, check=False, **user
    )  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, ""), (line, done)
    return dict(each.split("=", 1) for each in done.stdout.split("\0") if "=" in each)


def test_a_read_only_disk(tmp_path: Path) -> None:
    """No mode mends it: another place does."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    (tmp_path / ".local").mkdir()
    look = f"{shlex.quote(sys.executable)} -m moonfs doctor --local --json"
    script = f"""
        mount -t tmpfs -o ro none {tmp_path}/.local
        {look}; echo ,
        export XDG_DATA_HOME="$(mktemp -d)"
        export XDG_STATE_HOME="$(mktemp -d)"
        {look}
        rmdir "$XDG_DATA_HOME" "$XDG_STATE_HOME"
    """
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(alone(script), env=environ, capture_output=True, text=True, check=False)
    before, after = json.loads(f"[{done.stdout}]")
    for about in ("state", "data"):
        found = by_about(before, about)
        assert found["state"] == "failed" and f"export XDG_{about.upper()}_HOME=" in found["fix"]
        assert by_about(after, about)["state"] == "ok"
    assert by_about(before, "cache")["state"] == "ok"


def test_room_is_shown(tmp_path: Path) -> None:
    """The line for a full disk names what takes the room on that disk, the largest last."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    script = f"""
        mount -t tmpfs -o size=1M none {tmp_path}
        head -c 300000 /dev/zero > {tmp_path}/large
        {shlex.quote(sys.executable)} -m moonfs doctor --local --json
    """
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "home").mkdir()
    with_fix = script.rstrip() + ' | sed -n \'s/^ *"fix": "\\(du .*\\)"/\\1/p\' | sh'
    done = subprocess.run(alone(with_fix), env=environ, capture_output=True, text=True, check=False)
    assert re.search(rf"^29\dK\t{tmp_path}/large$", done.stdout, re.MULTILINE), done


# Settings and keys


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., list[dict[str, str]]]]:
    """Run a line of the doctor in a shell, and `moonfs doctor` there afterwards; return what that finds.

    `moonfs` is on the PATH, and the editor is sed, which replaces one text by another.
    """
    with Drive(tmp_path / "home") as drive:
        places = tmp_path / "bin"
        places.mkdir()
        (places / "moonfs").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m moonfs "$@"\n')
        (places / "edit").write_text('#!/bin/sh\nexec sed -i "$EDIT" "$1"\n')
        for script in places.iterdir():
            script.chmod(0o755)
        environ = {**drive.environ, "PATH": f"{places}:{os.environ['PATH']}", "EDITOR": "edit"}

        def run(line: str = "", *flags: str, told: str = "", **more: str) -> list[dict[str, str]]:
            command = f"{line}\nexec moonfs doctor --json {shlex.join(flags)}"
            done = subprocess.run(
                ["sh", "-ec", command], env=environ | more, cwd=drive.home, input=told, capture_output=True, text=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            return list(json.loads(done.stdout[done.stdout.index("[\n") :]))

        run.__dict__["config"] = drive.home / "config" / "moonfs"
        run.__dict__["config"].mkdir(parents=True, mode=0o700)
        yield run


Shell = Callable[..., list[dict[str, str]]]


def of_shell(shell: Shell) -> Path:
    """Return the directory of config.toml."""
    return Path(shell.__dict__["config"])


@pytest.mark.parametrize(
    ("name", "text"),
    [("MOONFS_DRAIN", "soon"), ("MOONFS_PROFILE", "nosuch"), ("MOONFS_CONFIG", "missing.toml")],
)
def test_a_variable_is_mended(shell: Shell, name: str, text: str) -> None:
    """The one that is wrong is unset; a configuration that is not there is begun."""
    found = by_about(shell("", **{name: text}), "configuration")
    assert found["state"] == "failed", found
    assert name == "MOONFS_CONFIG" or found["fix"] == f"unset {name}"
    assert by_about(shell(found["fix"], **{name: text}), "configuration")["state"] == "ok"


@pytest.mark.parametrize(
    ("text", "mode", "edit"),
    [("drian = 3\n", 0o600, "s/drian/drain/"), ("", 0o666, ""), ('api_key = "sk-012345"\n', 0o644, "")],
)
def test_config_toml_is_mended(shell: Shell, text: str, mode: int, edit: str) -> None:
    """A mistake opens the editor, a mode is set right."""
    path = of_shell(shell) / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    found = by_about(shell(), "configuration")
    assert found["state"] == "failed" and (found["fix"].startswith('"${EDITOR') if edit else "chmod" in found["fix"])
    assert by_about(shell(found["fix"], EDIT=edit), "configuration")["state"] == "ok"


def test_a_flag_that_is_wrong_has_no_line(shell: Shell) -> None:
    """It is in the command itself, which is not ours to write."""
    found = by_about(shell("", "--profile", "nosuch"), "configuration")
    assert (found["state"], found["fix"]) == ("failed", "")


@pytest.mark.parametrize("where", ["nowhere", "file", "config", "variable", "named file", "open file", "open named"])
def test_a_key_is_mended(shell: Shell, where: str, service: FaultServer) -> None:
    """X1: a key is put where the one that counts was, or where it should be; none of them was good."""
    config, more = of_shell(shell), {"MOONSHOT_BASE_URL": service.base_url}
    service.key = KEY
    bad, named = "sk-bad-0123456789", config / "named"
    open_one = where.startswith("open")
    if where in ("file", "open file"):
        (config / "keys").mkdir()
        (config / "keys" / "default").write_text(KEY if open_one else bad)
        (config / "keys" / "default").chmod(0o644 if open_one else 0o600)
    elif where == "config":
        (config / "config.toml").write_text(f'api_key = "{bad}"\n')
        (config / "config.toml").chmod(0o600)
    elif where == "variable":
        more |= {"KIMI_API_KEY": bad, "MOONSHOT_API_KEY": bad}
    elif "named" in where:
        (config / "config.toml").write_text(f'api_key_file = "{named}"\n')
        if open_one:
            named.write_text(KEY)
            named.chmod(0o644)
    found = [each for each in shell("", **more) if each["about"] == "key"][-1]
    assert found["state"] == "failed" and found["fix"], found
    again = shell(found["fix"], told=f"{KEY}\n", EDIT=f"s/{bad}/{KEY}/", **more)
    assert {each["state"] for each in again if each["about"].startswith(("key", "service"))} == {"ok"}, (found, again)


def test_an_address_is_mended(shell: Shell, service: FaultServer) -> None:
    """What is wrong with an address is put right where it was written."""
    path = of_shell(shell) / "config.toml"
    service.key = KEY
    for wrong in ("http://127.0.0.1:9/v1", f"{service.base_url}/nowhere"):
        path.write_text(f'base_url = "{wrong}"\n')
        found = by_about(shell("", MOONSHOT_API_KEY=KEY), "service")
        assert found["state"] == "failed" and found["fix"].startswith('"${EDITOR'), found
        edit = f"s|{wrong}|{service.base_url}|"
        assert by_about(shell(found["fix"], MOONSHOT_API_KEY=KEY, EDIT=edit), "service")["state"] == "ok"
    wrong = f"{service.base_url}/nowhere"
    found = by_about(shell("", MOONSHOT_API_KEY=KEY, MOONSHOT_BASE_URL=wrong), "service")
    assert found["fix"].startswith("unset MOONSHOT_BASE_URL")
    found = by_about(shell("", "--base-url", wrong, MOONSHOT_API_KEY=KEY), "service")
    assert "--base-url says which address" in found["found"] and found["fix"] == ""


def configured(**values: str) -> Configuration:
    told = {name: Value(text, f"MOONSHOT_{name.upper()}") for name, text in values.items()}
    return profiles.resolve(told, {}, Directories.from_environment({"HOME": "/nowhere"}))


def test_a_way_round_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy is to blame where there is a way past it; where there is none, only a network helps."""

    class Connection:
        def close(self) -> None: ...

    monkeypatch.setenv("HTTPS_PROXY", "http://me:word@proxy:3128")
    monkeypatch.setattr(mending.socket, "create_connection", lambda *_: Connection())
    found, fix = mending.way(configured(), "no answer")
    assert "past the proxy there is a way to api.moonshot.ai" in found and fix == "unset HTTPS_PROXY"
    monkeypatch.delenv("HTTPS_PROXY")
    assert mending.way(configured(), "no answer")[1] == "sleep 60; moonfs doctor"

    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(mending.socket, "create_connection", unreachable)
    found, fix = mending.way(configured(), "no answer")
    assert "connect it to a network" in found and fix == ""
    monkeypatch.setenv("all_proxy", "http://me:word@proxy:3128")
    said = "no connection to the proxy that all_proxy names: check that it runs"
    assert mending.way(configured(), said) == (said, ""), "this network may have no way but the proxy"
    monkeypatch.delenv("all_proxy")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert mending.way(configured(), "the certificate of x is not trusted")[1] == "unset SSL_CERT_FILE"


@pytest.mark.parametrize("offset", [90.4, -3600.0])
def test_the_clock_is_set(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By systemd where it runs, else by the difference that was seen."""
    monkeypatch.setattr(mending.os.path, "isdir", lambda _path: False)
    line = mending.clock(offset).replace("sudo date -s", "date +%s; echo")
    now, then = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert abs(int(then.removeprefix("@")) - int(now) - round(offset)) <= 5
    monkeypatch.setattr(mending.os.path, "isdir", lambda _path: True)
    monkeypatch.setattr(mending.shutil, "which", lambda _name: "/usr/bin/timedatectl")
    assert mending.clock(offset) == "sudo timedatectl set-ntp true"


# The machine


def test_others_are_let_in_by_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fuse.conf(5), also one whose last line has no end."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "fuse.conf").write_text("#user_allow_other")
    for state in ("failed", "ok"):
        findings = machine.look(allow_other=True, missing_library=None, etc=tmp_path)
        found = next(each for each in findings if each.about == "user_allow_other")
        assert found.state == state
        line = found.fix.replace("sudo ", "")
        subprocess.run(["sh", "-c", line], stdout=subprocess.DEVNULL, check=True)


def test_fstab_finds_what_the_line_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads nowhere is replaced."""
    places = tmp_path / "usr" / "local" / "bin"
    places.mkdir(parents=True)
    (places / "moonfs").symlink_to(tmp_path / "gone")
    (tmp_path / "fstab").write_text("moonfs#work /mnt/work fuse.moonfs noauto 0 0\n")
    monkeypatch.setattr(machine, "_PATH_OF_MOUNT", str(places))
    for state in ("failed", "ok"):
        findings = machine.look(allow_other=False, missing_library=None, etc=tmp_path)
        found = next(each for each in findings if each.about == "fstab")
        assert found.state == state, found
        line = found.fix.replace("sudo ", "").replace("/usr/local/bin", str(places))
        subprocess.run(["sh", "-c", line], check=True)


def test_programs_that_may_gain_no_rights(tmp_path: Path) -> None:
    """fusermount is of no use under no_new_privs (PR_SET_NO_NEW_PRIVS, 38), as some services and containers have it."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
            os.setuid(NOBODY)
            findings = list(machine.look(allow_other=False, missing_library=None, etc=tmp_path))
            (found,) = (each for each in findings if each.about == "fusermount")
            code = 0 if found.state == State.FAILED and "no_new_privs" in found.found and found.fix else 3
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Drives


def of_drive(drive: Drive, *arguments: str) -> dict[str, str]:
    """Return what the doctor says of this drive."""
    return by_about(json.loads(drive.command("doctor", "--json", *arguments).stdout), f"drive {drive.point}")


@pytest.mark.fuse
def test_a_drive_that_hangs_is_mended(faulty: Callable[..., Faulty]) -> None:
    """Its daemon is named by the account's lock, killed, and the mount cleared; the next mount is as good as ever."""
    drive = faulty().drive
    (drive / "a.txt").write_text("a")
    os.kill(drive.pid, signal.SIGSTOP)
    found = of_drive(drive)
    assert found["state"] == "failed" and found["fix"].startswith(f"kill -9 {drive.pid}; moonfs umount"), found
    drive.pid = 0
    line = found["fix"].replace("moonfs ", f"{drive.moonfs()} ")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done
    drive.mount()
    assert of_drive(drive)["state"] == "ok" and (drive / "a.txt").read_text() == "a"


@pytest.mark.fuse
def test_a_drive_whose_key_is_refused(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A key that was good when it was mounted: it is seen, though nobody has used the drive since."""
    drive = faulty("listing_ttl=0").drive
    assert of_drive(drive)["state"] == "ok"
    service.key = "sk-another-0123456789"
    found = of_drive(drive, str(drive.point))
    assert found["state"] == "failed" and "refuses the key" in found["found"], found
    assert found["fix"] == f"moonfs key set; moonfs umount {drive.point}  # then mount it again"


@pytest.mark.fuse
def test_a_drive_without_its_service(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R6: what is known is shown still, and the doctor says that the service is not there."""
    drive = faulty("listing_ttl=0", "timeout=2").drive
    service.suspend()
    found = wait_until(lambda: of_drive(drive) if of_drive(drive)["state"] == "failed" else None, "it is noticed")
    assert "does not reach the service: no connection" in found["found"], found
    service.resume()
    wait_until(lambda: of_drive(drive)["state"] == "ok", "it is back")


@pytest.mark.fuse
def test_a_drive_that_is_nearly_full(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """The line shows its oldest files."""
    for number in range(901):
        service.add(f"{number:03}.txt", b"x", created_at=1_700_000_000 + number)
    drive = faulty().drive
    found = json.loads(drive.command("doctor", "--json", str(drive.point)).stdout)
    full = by_about(found, f"quota of {drive.point}")
    assert full["state"] == "warning" and "901 of 1,000" in full["found"]
    done = subprocess.run(["bash", "-c", full["fix"]], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert "000.txt" in done.stdout and "900.txt" not in done.stdout, done


# What this person uses


@pytest.mark.fuse
def test_whoever_uses_the_local_api_only(fuse: None, tmp_path: Path) -> None:
    """Green right after the quickstart: no key is missed, mounted or not, named or not; asked for, it is."""
    with Drive(tmp_path / "home", ("--local",)) as drive:
        drive.mount()

        def failed(*arguments: str) -> list[str]:
            found = json.loads(drive.command("doctor", "--json", *arguments).stdout)
            ours = [
                each for each in found if not each["about"].startswith("drive ") or str(drive.home) in each["about"]
            ]
            return [each["about"] for each in ours if each["state"] == "failed"]

        for _ in range(2):
            assert failed() == [] and failed(str(drive.point)) == [] and failed("--local", str(drive.point)) == []
            assert failed("--hosted") == ["key"]
            if drive.pid:
                text = drive.command("doctor").stdout
                assert "note     key: none; only needed for the hosted service" in text
                assert f"ok       drive {drive.point}: answers (local Files API in" in text
                drive.umount()
        assert failed(str(drive.home / "another")) == ["key"], "that would be the hosted service"
    end_server(tmp_path / "home" / "data" / "moonfs" / "local")


@pytest.mark.fuse
def test_a_key_of_another_shell(faulty: Callable[..., Faulty]) -> None:
    """A drive of the hosted service goes on with the key it was mounted with: none is missed in this shell."""
    drive = faulty().drive
    del drive.environ["MOONSHOT_API_KEY"], drive.environ["MOONSHOT_BASE_URL"]
    for arguments in ((), (str(drive.point),)):
        found = json.loads(drive.command("doctor", "--json", *arguments).stdout)
        assert by_about(found, f"drive {drive.point}")["state"] == "ok"
        assert {each["state"] for each in found if each["about"] == "key"} == (set() if arguments else {"note"})


def test_a_line_calls_moonfs_as_it_was_called(tmp_path: Path) -> None:
    """In a clone, where the shell does not find it by its name, a line with the name alone would mend nothing."""
    program = tmp_path / "clone" / "moonfs"
    program.parent.mkdir()
    start = "import sys; sys.argv[:] = sys.argv[1:]; import moonfs.cli; moonfs.cli.main()"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{start}" "$0" "$@"\n')
    program.chmod(0o755)
    with Drive(tmp_path / "home") as drive:
        for called, path, fix in (
            ("clone/moonfs", "", "clone/moonfs key set  # or: clone/moonfs mount --local DIR"),
            (str(program), f":{program.parent}", "moonfs key set  # or: moonfs mount --local DIR"),
        ):
            environ = drive.environ | {"PATH": "/usr/bin:/bin" + path}
            done = subprocess.run(
                [called, "doctor", "--json"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert by_about(json.loads(done.stdout), "key")["fix"] == fix


def test_nothing_is_used_yet(tmp_path: Path) -> None:
    """Then it is the hosted service that `moonfs mount DIR` means, and its key is missing."""
    with Drive(tmp_path / "home") as drive:
        found = by_about(json.loads(drive.command("doctor", "--json").stdout), "key")
        assert found["state"] == "failed" and found["fix"].startswith("moonfs key set")


def test_a_directory_for_a_drive(tmp_path: Path) -> None:
    """DIR where nothing is mounted: whether a drive can be."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    assert drives.place(str(tmp_path / "empty")).state == State.OK
    assert drives.place(str(tmp_path / "new" / "er")).state == State.OK
    full = drives.place(str(tmp_path / "full"))
    assert full.state == State.FAILED and full.fix.startswith(f"moonfs mount {tmp_path}/full/moon ")
    assert drives.place(str(tmp_path / "full" / "moon")).state == State.OK
    file = drives.place(str(tmp_path / "full" / "file"))
    assert file.state == State.FAILED
    subprocess.run(["sh", "-c", file.fix], check=True)
    assert drives.place(str(tmp_path / "full" / "file")).state == State.OK
    other = drives.place("/proc")
    assert other.state == State.FAILED and "a proc filesystem is mounted there" in other.found


def test_a_directory_that_a_profile_names(shell: Shell, tmp_path: Path) -> None:
    """DIR says which profile is meant, if a profile says so."""
    (of_shell(shell) / "config.toml").write_text(
        f'[profile.papers]\nlocal = "{tmp_path}/data"\ndirectory = "{tmp_path}/papers"\n'
    )
    found = shell("", f"{tmp_path}/papers")
    assert "profile papers" in by_about(found, "configuration")["found"]
    assert f"its files are in {tmp_path}/data" in by_about(found, "local Files API")["found"]
    # Debian testing has no libfuse 2.
    of_this = [each for each in found if not each["about"].startswith(("drive ", "libfuse"))]
    assert {each["state"] for each in of_this} <= {"ok", "note", "warning"}


def test_no_colour(tmp_path: Path) -> None:
    """no-color.org: on a terminal there are colours, unless NO_COLOR is set and not empty."""

    def printed(**more: str) -> bytes:
        master, slave = os.openpty()
        with Drive(tmp_path / "home") as drive, subprocess.Popen(
            [sys.executable, "-m", "moonfs", "doctor"], env={**drive.environ, "TERM": "xterm", **more},
            stdin=slave, stdout=slave, stderr=slave,
        ):  # fmt: skip
            os.close(slave)
            said = b""
            with contextlib.suppress(OSError):  # EIO: the last program has closed it
                while part := os.read(master, 65536):
                    said += part
            os.close(master)
            return said

    assert b"\x1b[" in printed() and b"\x1b[" in printed(NO_COLOR="")
    assert b"\x1b[" not in printed(NO_COLOR="1")


def test_a_line_for_every_failure(two_services: tuple[FaultServer, FaultServer], tmp_path: Path) -> None:
    """A region that is the wrong one is put right where the address was said."""
    first, second = two_services
    directories = Directories.from_environment({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    config = directories.config / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'base_url = "{first.base_url}"\n')
    configuration = profiles.resolve({}, {"MOONSHOT_API_KEY": KEY}, directories)
    found = list(account.look(configuration, directories, regions=(first.base_url, second.base_url)))
    region = next(each for each in found if each.about == "region")
    assert region.fix == f'"${{EDITOR:-nano}}" {config}  # base_url = "{second.base_url}"'


@pytest.fixture
def two_services() -> Iterator[tuple[FaultServer, FaultServer]]:
    """Two regions of one service; the second knows the key."""
    with FaultServer() as first, FaultServer() as second:
        second.key = KEY
        first.script("list", refused(401, "Invalid Authentication", "invalid_authentication_error"))
        yield first, second
