"""What a machine lacks: without libfuse every command runs, and what cannot be done is one sentence with its line."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from moonfs.cli import cli
from tests.harness.drive import why_no_fuse
from tests.harness.machine import Machine
from tests.harness.programs import needs


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path / "home") as machine:
        yield machine


@cache
def library() -> str | None:
    """Return where libfuse 2 is here, or None."""
    name = ctypes.util.find_library("fuse")
    if name is None:
        return None
    listed = subprocess.run(
        ["ldconfig", "-p"], capture_output=True, text=True, env={"PATH": "/sbin:/usr/sbin"}, check=True
    )
    return next(line.split("=> ")[1] for line in listed.stdout.splitlines() if line.strip().startswith(f"{name} "))


def without(machine: Machine) -> None:
    """Hide libfuse 2, also from what the loader remembers; where there is none, nothing need be hidden."""
    found = library()
    if found is not None:
        machine.hide(found)
        cache = machine.home / "ld.so.cache"
        machine.lines.append(f"PATH=/sbin:/usr/sbin:$PATH ldconfig -C '{cache}' 2>/dev/null")
        machine.replace("/etc/ld.so.cache", cache)


def cut_short(machine: Machine) -> None:
    """Have a libfuse 2 that the loader finds and cannot use."""
    found = library()
    if found is None:
        pytest.skip("libfuse 2 is missing, so that it cannot be damaged")
    machine.hide(found)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence with which a command has failed."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith("moonfs: ")
    return done.stderr.removeprefix("moonfs: ").rstrip("\n")


@pytest.mark.parametrize("lacking", [without, cut_short])
def test_every_command_runs_without_libfuse(machine: Machine, lacking: Callable[[Machine], None]) -> None:
    """L1: what mounts nothing needs no libfuse; nothing ends in a traceback."""
    lacking(machine)
    helps = " && ".join(f"moonfs {name} --help >/dev/null" for name in sorted(cli.commands))
    done = machine.script(f"moonfs --help >/dev/null && {helps}")
    assert (done.returncode, done.stderr) == (0, ""), done
    done = machine.script("moonfs status && moonfs config >/dev/null && moonfs completion bash >/dev/null")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "No moonfs drive is mounted" in sentence(machine.moonfs("umount", "m"))
    done = machine.script("(echo sk-1234567890 | moonfs key set) 2>&1 && moonfs config")
    assert done.returncode == 0 and "Kept in" in done.stdout, done


@pytest.mark.parametrize(
    ("lacking", "found"), [(without, "libfuse 2 is missing"), (cut_short, "libfuse 2 cannot be loaded")]
)
@pytest.mark.parametrize("arguments", [("--local", "m"), ("-f", "--local", "m"), ("m",)])
def test_mount_says_what_installs_libfuse(
    machine: Machine, lacking: Callable[[Machine], None], found: str, arguments: tuple[str, ...]
) -> None:
    """L1: one sentence, with the line of this system; nothing is made."""
    lacking(machine)
    machine.environ["MOONSHOT_API_KEY"] = "sk-1234567890"
    said = sentence(machine.moonfs("mount", *arguments))
    assert said.startswith(found)
    assert not (machine.home / "m").exists()
    if shutil.which("apt-get"):
        package = "libfuse2t64" if knows("libfuse2t64") else "libfuse2"
        assert f"apt install {package} fuse3" in said or ("has no package of it" in said and not knows(package))


@cache
def knows(package: str) -> bool:
    """Say whether apt could install a package here."""
    done = subprocess.run(
        ["apt-cache", "show", package], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False
    )
    return done.returncode == 0 and bool(done.stdout.strip())


def test_a_service_is_not_written_without_libfuse(machine: Machine) -> None:
    """Nor does a unit say it in a journal that nobody reads."""
    without(machine)
    said = sentence(machine.moonfs("service", "install", "--local", "m"))
    assert said.startswith("libfuse 2 is missing") and not list(machine.home.rglob("*.service"))
    done = machine.moonfs("service", "install", "--local", "m", "--print")
    assert done.returncode == 0 and "ExecStart=" in done.stdout, done


def test_doctor_says_what_installs_libfuse(machine: Machine) -> None:
    """It looks at all the rest too."""
    without(machine)
    done = machine.moonfs("doctor", "--local")
    assert (done.returncode, done.stderr) == (1, ""), done
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("failed   libfuse: libfuse 2 is missing"))
    assert "libfuse2" in lines[at] + lines[at + 1]
    assert any("local Files API: everything it needs" in line for line in lines)
    report = machine.moonfs("doctor", "--bundle", "-")
    assert report.returncode == 1 and "libfuse 2 is missing" in report.stdout, report


def test_the_local_files_api_runs_without_libfuse(machine: Machine) -> None:
    """`moonfs serve` mounts nothing."""
    needs("curl")
    without(machine)
    done = machine.script(
        "moonfs serve --port 0 --data files >serving & "
        "for _ in $(seq 600); do grep -q 'API key is in' serving && break; sleep 0.1; done; "
        'key="Authorization: Bearer $(cat files/key)"; '
        """curl -fsS -H "$key" "$(sed -n 's/^Serving.*at //p' serving)/files"; kill $!"""
    )
    assert '"object":"list"' in done.stdout, done


def test_another_libfuse_is_named(machine: Machine) -> None:
    """FUSE_LIBRARY_PATH, which fusepy takes, may name what is no libfuse 2."""
    machine.environ["FUSE_LIBRARY_PATH"] = "/nowhere/libfuse.so.2"
    said = sentence(machine.moonfs("mount", "--local", "m"))
    assert said.startswith("FUSE_LIBRARY_PATH names /nowhere/libfuse.so.2") and said.endswith("unset FUSE_LIBRARY_PATH")
    third = ctypes.util.find_library("fuse3")
    if third is not None:
        machine.environ["FUSE_LIBRARY_PATH"] = third
        assert "it is libfuse 3" in sentence(machine.moonfs("mount", "--local", "m"))


def test_a_machine_without_the_device(machine: Machine) -> None:
    """L1: neither the kernel's module nor the container's device."""
    if why_no_fuse() is not None and library() is None:
        pytest.skip("libfuse 2 is missing, which is said first")
    machine.without_device()
    assert "/dev/fuse is missing; load it with: modprobe fuse" in sentence(machine.moonfs("mount", "--local", "m"))


def test_a_device_that_root_may_not_open(machine: Machine) -> None:
    """L1: as in a container that was started without it: the kernel refuses, whoever asks."""
    if os.geteuid() != 0 or why_no_fuse() is not None:
        pytest.skip("for root, where drives can be mounted")
    machine.lines += ["mount --bind /dev/fuse /dev/fuse && mount -o remount,bind,nodev /dev/fuse"]
    said = sentence(machine.moonfs("mount", "--local", "m"))
    assert said.startswith("You may not open /dev/fuse, though you are root: a container is started with --device")


def test_root_that_may_not_mount(machine: Machine) -> None:
    """L1: as in a container without the capability."""
    if os.geteuid() != 0 or why_no_fuse() is not None:
        pytest.skip("for root, where drives can be mounted")
    said = sentence(machine.moonfs("mount", "--local", "m", before=["setpriv", "--bounding-set=-sys_admin"]))
    assert said.startswith("Root may not mount here") and "--cap-add SYS_ADMIN" in said


@pytest.fixture
def nobody(machine: Machine, fuse: None) -> list[str]:
    """The words that have an ordinary user run what comes behind them, on a machine where that user may mount."""
    words = machine.as_nobody()
    machine.device("666")
    return words


#: What a drive is mounted by, used, and unmounted, and what shows that nothing is left.
LIFE = """
moonfs mount --local m
echo text >m/a.txt
ls m
moonfs umount m
! grep " $HOME/m " /proc/self/mounts
"""


@pytest.mark.fuse
def test_an_ordinary_user_mounts(machine: Machine, nobody: list[str]) -> None:
    """L1, L2: through fusermount."""
    done = machine.script(LIFE, nobody)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.txt\na.txt.content\n", ""), done


@pytest.mark.fuse
def test_a_device_that_a_user_may_not_open(machine: Machine, nobody: list[str]) -> None:
    """L1: the line that opens it to everybody, as it usually is."""
    machine.device("600")
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert said == "You may not open /dev/fuse; allow it to everybody with: sudo chmod 666 /dev/fuse"


@pytest.mark.fuse
def test_fusermount_is_missing(machine: Machine, nobody: list[str]) -> None:
    """L1: the line that installs it."""
    found = shutil.which("fusermount")
    assert found is not None
    machine.hide(found)
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert said.startswith("fusermount is missing; install it with: ")
    if shutil.which("apt-get"):
        assert said.endswith("sudo apt install fuse3")
    doctor = machine.moonfs("doctor", "--local", before=nobody)
    assert "failed   fusermount: is missing" in doctor.stdout, doctor


@pytest.mark.fuse
def test_fusermount_is_not_setuid(machine: Machine, nobody: list[str], tmp_path: Path) -> None:
    """L1: as a copy of a system has it."""
    found = shutil.which("fusermount")
    assert found is not None
    plain = shutil.copyfile(found, tmp_path / "fusermount")
    plain.chmod(0o755)
    machine.replace(found, plain)
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert f"{found} may not mount" in said and said.endswith(f"sudo chmod u+s {found}")


@pytest.mark.fuse
def test_a_session_without_privileges(machine: Machine, nobody: list[str]) -> None:
    """L1: setuid means nothing there."""
    said = sentence(machine.moonfs("mount", "--local", "m", before=[*nobody, "--no-new-privs"]))
    assert "no_new_privs" in said and "NoNewPrivileges" in said


@pytest.mark.fuse
def test_as_many_drives_as_are_allowed(machine: Machine, nobody: list[str]) -> None:
    """L1: what fusermount says becomes what to do."""
    machine.etc("echo mount_max=0 >fuse.conf")
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert "as /etc/fuse.conf allows" in said and "echo mount_max=" in said


@pytest.mark.fuse
def test_a_machine_without_a_table_of_mounts(machine: Machine, nobody: list[str]) -> None:
    """L2: minimal systems have no /etc/mtab, without which fusermount unmounts nothing; then umount does."""
    machine.etc("rm mtab")
    done = machine.script(LIFE, nobody)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.txt\na.txt.content\n", ""), done


@pytest.mark.fuse
def test_ctrl_c_without_a_table_of_mounts(machine: Machine, nobody: list[str]) -> None:
    """L2: libfuse unmounts by fusermount when a signal ends it; where that cannot, no stale mount stays."""
    machine.etc("rm mtab")
    done = machine.script(
        "moonfs mount -f --local m >said 2>&1 & daemon=$!\n"
        "until grep -q 'end with Ctrl-C' said; do kill -0 $daemon || exit 9; sleep 0.1; done\n"
        # A background job of a shell does not hear SIGINT; SIGTERM goes the same way.
        'kill -TERM $daemon; wait $daemon; ! grep " $PWD/m " /proc/self/mountinfo && ls m && echo free',
        nobody,
    )
    assert (done.returncode, done.stdout) == (0, "free\n"), done


@pytest.mark.fuse
def test_a_machine_where_nothing_unmounts(machine: Machine, nobody: list[str], tmp_path: Path) -> None:
    """L2: neither fusermount nor umount can: the line that mends it does so, with the drive still there."""
    machine.etc("rm mtab")
    umount = shutil.which("umount")
    assert umount is not None
    plain = shutil.copyfile(umount, tmp_path / "umount")
    plain.chmod(0o755)
    machine.replace(umount, plain)
    said = sentence(machine.script("moonfs mount --local m && moonfs umount m", nobody))
    assert said.startswith("fusermount cannot unmount m without /etc/mtab, nor can umount (")
    assert said.endswith("sudo ln -s /proc/self/mounts /etc/mtab")


def denies(machine: Machine, reason: str) -> None:
    """Have a fusermount that says what the real one says where mount(2) fails; no test machine need have AppArmor."""
    found = shutil.which("fusermount")
    assert found is not None
    stand_in = machine.home / "bin" / "stand-in"
    stand_in.write_text(f"#!/bin/sh\necho 'fusermount3: mount failed: {reason}' >&2\nexit 1\n")
    stand_in.chmod(0o4755)
    machine.replace(found, stand_in)


@pytest.mark.fuse
def test_apparmor_keeps_drives_to_some_directories(machine: Machine, nobody: list[str]) -> None:
    """L1: what a user reads is where drives may be, and the lines that allow another place."""
    denies(machine, "Permission denied")
    machine.etc("mkdir -p apparmor.d && touch apparmor.d/fusermount3")
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert said.startswith("AppArmor lets fusermount mount only below your home, /mnt, /media and /tmp")
    assert "/etc/apparmor.d/local/fusermount3 && sudo apparmor_parser -r /etc/apparmor.d/fusermount3" in said
    rules = subprocess.check_output(["sh", "-c", said.rpartition("with: ")[2].partition(" | ")[0]], text=True)
    assert rules.splitlines() == [
        f'mount fstype=fuse.moonfs options=(nosuid,nodev) options in (ro,rw,noatime,noexec) -> "{machine.home}/m/",',
        f'umount "{machine.home}/m/",',
    ]


@pytest.mark.fuse
def test_a_refusal_that_is_not_known(machine: Machine, nobody: list[str]) -> None:
    """L1: the words of whoever refuses are in the sentence, and in the log."""
    denies(machine, "No such luck")
    said = sentence(machine.moonfs("mount", "--local", "m", before=nobody))
    assert "libfuse could not mount on " in said and ": mount failed: No such luck; moonfs doctor" in said
    (log,) = machine.home.glob(".local/state/moonfs/accounts/*/moonfs.log")
    assert "No such luck" in log.read_text()


@pytest.mark.fuse
@pytest.mark.parametrize(
    "made", ["mkdir -m 777 /tmp/moonfs-$U && chown 12345 /tmp/moonfs-$U", "ln -s / /tmp/moonfs-$U"]
)
def test_a_directory_in_tmp_that_is_not_ours(machine: Machine, nobody: list[str], made: str) -> None:
    """X2, L1: anybody may make /tmp/moonfs-UID first; the drive works, and its socket is where only we may write."""
    # The state in its place: a socket's path holds 107 bytes.
    machine.environ["XDG_STATE_HOME"] = machine.environ.pop("XDG_RUNTIME_DIR")
    own = machine.home / "tmp"
    machine.environ["TMPDIR"] = str(own)  # Python's name for /tmp
    machine.lines.append(
        f"mkdir -m 1777 '{own}' && (" + made.replace("/tmp/", f"'{own}'/").replace("$U", "65534") + ")"
    )
    done = machine.script(
        'moonfs mount --local m; echo text >m/a.txt; find "$XDG_STATE_HOME/moonfs/run" -type s; '
        "moonfs doctor --local || true; moonfs umount m",
        nobody,
    )
    assert done.returncode == 0 and done.stderr == "", done
    assert f"{machine.environ['XDG_STATE_HOME']}/moonfs/run/files-" in done.stdout
    assert "runtime directory: " in done.stdout and "failed   runtime directory" not in done.stdout, done


@pytest.mark.fuse
def test_a_rootless_namespace(machine: Machine, nobody: list[str]) -> None:
    """L1, L2: root there is an ordinary user outside, without XDG_RUNTIME_DIR; /tmp/moonfs-0 is the real root's."""
    # The state in its place: a socket's path holds 107 bytes.
    machine.environ["XDG_STATE_HOME"] = machine.environ.pop("XDG_RUNTIME_DIR")
    own = machine.home / "tmp"
    machine.environ["TMPDIR"] = str(own)
    machine.lines.append(f"mkdir -p '{own}/moonfs-0' && chmod 1777 '{own}' && chmod 700 '{own}/moonfs-0'")
    rootless = [*nobody, "unshare", "--map-root-user", "--mount"]
    tried = machine.run(*rootless, "true")
    if tried.returncode:
        pytest.skip(f"an ordinary user may make no namespace here: {tried.stderr}")
    done = machine.script(LIFE, rootless)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.txt\na.txt.content\n", ""), done


@pytest.mark.fuse
def test_a_user_namespace_without_one_of_mounts(machine: Machine, nobody: list[str]) -> None:
    """L1: its root may mount nothing; a sentence says what to add."""
    rootless = [*nobody, "unshare", "--map-root-user"]
    if machine.run(*rootless, "true").returncode:
        pytest.skip("an ordinary user may make no namespace here")
    said = sentence(machine.moonfs("mount", "--local", "m", before=rootless))
    assert "namespace" in said and said.endswith("unshare --map-root-user --mount"), said
