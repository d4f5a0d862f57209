"""Mounting: usable when the command returns, or one clear sentence and exit 1 (L1); one owner an account (L3)."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moonfs import mountpoints, prerequisites
from moonfs.errors import UsageError
from tests.conftest import Faulty, Pair
from tests.faults.server import FaultServer, page, refused, stalled
from tests.harness.drive import SECONDS, Drive, end_server, hosted, local, wait_for_end, wait_until
from tests.harness.gate import Gate

pytestmark = [pytest.mark.fuse, pytest.mark.started]


@pytest.fixture
def drive(fuse: None, tmp_path: Path) -> Iterator[Drive]:
    with Drive(tmp_path) as made:
        yield made


def refusal(drive: Drive, *options: str) -> str:
    """Try to mount; return the one sentence of the refusal, after which nothing is mounted and nothing runs."""
    done = drive.try_mount(*options)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("moonfs: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not drive.point.is_mount()
    return done.stderr.removeprefix("moonfs: ").strip()


def test_it_is_usable_when_the_command_returns(drive: Drive, service: FaultServer) -> None:
    """L1: `moonfs mount` returns when the drive is usable, and says nothing but whose files they are."""
    service.add("a.txt", b"theirs")
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.mount()
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    drive.umount()
    assert os.listdir(drive.point) == []


def test_a_wrong_key(drive: Drive, service: FaultServer) -> None:
    """L1: a wrong key is said before anything is mounted, with what to check; the key itself is not repeated."""
    drive.environ |= hosted(service.base_url, "sk-wrong-0123456789")[1]
    said = refusal(drive)
    assert "refused the API key" in said
    assert "MOONSHOT_API_KEY" in said
    assert "sk-wrong" not in said


def test_no_key(drive: Drive) -> None:
    """L1: no key: the variable's name, and that --local needs none."""
    said = refusal(drive)
    assert "MOONSHOT_API_KEY" in said
    assert "--local" in said
    assert not drive.point.exists(), "nothing was made"


def test_kimis_names_work_too(drive: Drive, service: FaultServer) -> None:
    """L1: `KIMI_API_KEY` and `KIMI_BASE_URL` where MOONSHOT's are not set."""
    drive.environ |= {"KIMI_BASE_URL": service.base_url, "KIMI_API_KEY": service.key}
    drive.mount()
    (drive / "a.txt").write_text("hello")
    assert service.names() == ["a.txt"]


def test_nobody_listens(drive: Drive) -> None:
    """L1: unreachable: says so, and where it tried."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        drive.environ |= hosted(base_url, "sk-whatever")[1]
        said = refusal(drive, "timeout=2")
    assert "no connection" in said
    assert base_url in said


def test_an_address_without_a_files_api(drive: Drive, service: FaultServer) -> None:
    """L1: a base URL that is not that of the API says what to check."""
    drive.environ |= hosted(service.base_url.removesuffix("/v1") + "/elsewhere", service.key)[1]
    assert "check the base URL" in refusal(drive)


@pytest.mark.parametrize("answer", ["page", "redirected", "500"])
def test_a_service_that_answers_nonsense(drive: Drive, service: FaultServer, answer: str) -> None:
    """L1: a login page of a network, a proxy's page, a broken service: one sentence too."""
    fault = {"page": page(200), "redirected": page(302), "500": refused(400, "no")}[answer]
    service.script("list", *[fault] * 10)
    drive.environ |= hosted(service.base_url, service.key)[1]
    assert refusal(drive)


def test_the_key_goes_over_tls_or_loopback_only(drive: Drive) -> None:
    """X1: http to another machine is refused before anything is sent."""
    drive.environ |= hosted("http://192.0.2.1/v1", "sk-whatever")[1]
    said = refusal(drive)
    assert "https" in said.lower()


def test_a_file_in_the_place_of_the_directory(drive: Drive, service: FaultServer) -> None:
    """L1: the mount point is a file."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.point.write_text("a file")
    assert "not a directory" in refusal(drive)
    assert drive.point.read_text() == "a file"


def test_a_directory_that_is_not_empty(drive: Drive, service: FaultServer) -> None:
    """L1: nothing is hidden by mistake."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.point.mkdir()
    (drive.point / "thesis.txt").write_text("mine")
    assert "not empty" in refusal(drive)


def test_a_directory_that_is_not_there_is_made(drive: Drive, service: FaultServer) -> None:
    """L1: a missing directory is made."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.point = drive.home / "one" / "two"
    drive.mount()
    assert drive.point.is_mount()
    drive.umount()
    assert drive.point.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made(drive: Drive, service: FaultServer) -> None:
    """L1: below a file there are no directories."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    (drive.home / "file").write_text("")
    drive.point = drive.home / "file" / "below"
    assert "directory" in refusal(drive)


def test_a_busy_directory(both: Faulty) -> None:
    """L1: a drive is mounted there already: says so, and how to unmount it; the drive goes on."""
    done = both.drive.command("mount", str(both.drive.point))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "moonfs umount" in done.stderr
    assert both.drive.status()["pid"] == both.drive.pid


def test_another_filesystem_in_the_way(drive: Drive, service: FaultServer) -> None:
    """L1: so is any other filesystem's mount point."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount another filesystem")
    drive.environ |= hosted(service.base_url, service.key)[1]
    other = drive.home / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", other], check=True)
    try:
        done = drive.command("mount", str(other))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "busy" in done.stderr
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_stale_directory(drive: Drive, service: FaultServer) -> None:
    """L1: left by a daemon that died: says so and how to clear it; that clears it, and the next mount works."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.mount()
    pid, drive.pid = drive.pid, 0
    wait_for_end(pid, kill=True)
    done = drive.command("mount", str(drive.point))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "stale" in done.stderr
    assert "moonfs umount" in done.stderr
    done = drive.command("umount", str(drive.point))
    assert (done.returncode, "the next mount" in done.stderr) == (0, False), done
    drive.mount()


def test_a_stale_directory_with_uploads_to_go(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L1, W2: who clears it is told that the next mount goes on with what was not uploaded yet; and it does."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.before)
    for name in ("a.txt", "b.txt"):
        (drive / name).write_text(name)
    pid, drive.pid = drive.pid, 0
    wait_for_end(pid, kill=True)
    gate.opened.set()
    done = drive.command("umount", str(drive.point))
    assert done.returncode == 0 and done.stderr.endswith(
        "is cleared. 2 files were not uploaded yet; the next mount goes on with that.\n"
    ), done
    drive.mount()
    wait_until(lambda: service.names() == ["a.txt", "b.txt"], "both are there")


def test_the_same_account_twice(both: Faulty) -> None:
    """L3: one mount owns an account on a machine: a second one says which has it."""
    done = both.drive.command("mount", str(both.drive.home / "second"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(both.drive.point) in done.stderr


def test_a_mount_that_fails_leaves_no_directory(both: Faulty) -> None:
    """L1: what was made for the drive goes again, the directories above it too; one that was there stays."""
    (both.drive.home / "there").mkdir()
    for point, made in (("there", ""), ("there/in/second", "there/in"), ("new/in/second", "new")):
        done = both.drive.command("mount", str(both.drive.home / point))
        assert (done.returncode, "mounted already" in done.stderr) == (1, True), done
        assert not made or not (both.drive.home / made).exists(), point
    assert (both.drive.home / "there").is_dir()


def test_two_accounts_at_once(faulty: Callable[..., Faulty], service: FaultServer, tmp_path: Path) -> None:
    """L3: accounts never see each other's names, texts or bytes."""
    one = faulty().drive
    with FaultServer() as other_service, Drive(tmp_path / "home") as other:
        other.point = tmp_path / "home" / "other"
        other.environ |= hosted(other_service.base_url, other_service.key)[1]
        other.mount()
        (one / "a.txt").write_text("one")
        assert os.listdir(other.point) == []
        (other / "a.txt").write_text("other")
        assert ((one / "a.txt").read_text(), (other / "a.txt").read_text()) == ("one", "other")
        other.umount()
    assert service.names() == ["a.txt"]


@pytest.mark.parametrize("options", ["nonsense", "timeout=", "timeout=-1", "purpose=cat", "requests=0", "umask=9"])
def test_an_option_that_makes_no_sense(drive: Drive, options: str) -> None:
    """L1: says which option, before anything else is looked at."""
    assert options.partition("=")[0] in refusal(drive, options)


@pytest.mark.parametrize("arguments", [(), ("--local",)])
def test_no_directory(drive: Drive, arguments: tuple[str, ...]) -> None:
    """L1: no mount point given: an example."""
    done = drive.command("mount", *arguments)
    assert done.returncode != 0
    assert "moonfs mount" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_never_answers(drive: Drive, service: FaultServer) -> None:
    """L1, E2: the mount gives up in bounded time."""
    service.script("list", *[stalled()] * 10)
    drive.environ |= hosted(service.base_url, service.key)[1]
    assert refusal(drive, "timeout=2")


def test_in_the_foreground(drive: Drive, service: FaultServer) -> None:
    """L1: `-f` stays in the foreground, says when it is mounted, and ends with an unmount."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    command = [sys.executable, "-m", "moonfs", "mount", "-f", str(drive.point)]
    with subprocess.Popen(
        command, env=drive.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        assert str(drive.point) in done.stdout.readline()
        drive.pid = done.pid
        assert drive.status()["pid"] == done.pid
        (drive / "a.txt").write_text("hello")
        drive.umount()
        assert done.wait(SECONDS) == 0


def test_umount_of_what_is_not_mounted(drive: Drive) -> None:
    """L2: one sentence, exit 1."""
    done = drive.command("umount", str(drive.home))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_umount_of_a_drive_in_use(both: Faulty) -> None:
    """L2: says that it is in use and how to see by whom; the drive goes on."""
    both.server.add("a.txt", b"theirs")
    with open(both.drive / "a.txt.content", "rb"):
        done = both.drive.command("umount", str(both.drive.point))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "in use" in done.stderr
    assert os.listdir(both.drive.point)


def test_an_idle_drive_sends_nothing(both: Faulty) -> None:
    """L4: between a look and the next nothing is sent, though the listing's time is long over."""
    os.listdir(both.drive.point)
    before = both.server.count()
    both.drive.status()
    assert not _arrives(both.server, before)


def _arrives(server: FaultServer, before: int) -> bool:
    return server.ending.wait(1.5) or server.count() != before


def test_the_local_server_ends_with_its_last_mount(fuse: None, tmp_path: Path) -> None:
    """L2: after the unmount no process is left; the files are there in the next mount."""
    with Drive(tmp_path, *local(tmp_path / "files")) as drive:
        drive.mount()
        (drive / "a.txt").write_text("hello")
        drive.umount()
        end_server(tmp_path / "files")
        drive.mount()
        assert (drive / "a.txt").read_text() == "hello"
        assert b"hello" in (drive / "a.txt.content").read_bytes()
    end_server(tmp_path / "files")


def test_status_names_the_drive(pair: Pair) -> None:
    """L1: `moonfs status` shows the drive for people, and `--json` for scripts; neither needs the directory."""
    for arguments in ((), (str(pair.drive.point),)):
        done = pair.drive.command("status", *arguments)
        assert done.returncode == 0
        assert str(pair.drive.point) in done.stdout.replace("\n", "")
    assert '"backend": "local"' in pair.drive.command("status", "--json").stdout


def test_a_mount_that_is_given_up(drive: Drive, service: FaultServer) -> None:
    """L1: after Ctrl-C nothing goes on in the background to be mounted later, and the account is free."""
    gate = Gate()
    service.script("list", gate.before)
    drive.environ |= hosted(service.base_url, service.key)[1]
    command = [sys.executable, "-m", "moonfs", "mount", str(drive.point)]
    with subprocess.Popen(command, env=drive.environ, stderr=subprocess.PIPE) as mounting:
        gate.wait()
        (lock,) = drive.home.glob("state/moonfs/accounts/*/lock")
        daemon = int(lock.read_text().partition(" ")[0])
        mounting.send_signal(signal.SIGINT)
        assert mounting.wait(SECONDS) == 130
    assert not Path(f"/proc/{daemon}").exists() and not drive.point.is_mount()
    gate.opened.set()
    drive.mount()


def test_others_who_may_not_be_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: allow_other of an ordinary user without user_allow_other in fuse.conf(5): what is missing, and the line."""
    conf = tmp_path / "fuse.conf"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoints, "FUSE_CONF", conf)
    monkeypatch.setattr(mountpoints.lets_others_in, "__defaults__", (conf,))
    with pytest.raises(UsageError, match="echo user_allow_other") as caught:
        prerequisites.check(None, allow_other=True)
    command = str(caught.value).rpartition("with: ")[2].replace("sudo ", "")
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    prerequisites.check(None, allow_other=True)


def test_a_drive_that_hangs(drive: Drive, service: FaultServer) -> None:
    """E2: whoever asks for it is answered in bounded time, and it can be unmounted; nothing of ours waits for it."""
    drive.environ |= hosted(service.base_url, service.key)[1]
    drive.mount()
    code = (
        "import os, sys, time\nfrom moonfs import config, daemons, ending, errors, mountpoints\npoint = sys.argv[1]\n"
        "mountpoints._ANSWER_SECONDS = daemons._ANSWER_SECONDS = 0.5\n"
        "state = config.Directories.from_environment(os.environ).state\n"
        "assert mountpoints.at(point).fstype == mountpoints.FSTYPE and not mountpoints.is_stale(point)\n"
        "for look in (mountpoints.prepare, mountpoints.read_status, mountpoints.refresh):\n"
        "    try: look(point)\n"
        "    except errors.UsageError as error: print(error)\n"
        "drive = ending.find(point, state)\n"
        # On a slow machine what looked at it, and still waits in there, has it in use for a while.
        "for _ in range(30):\n"
        "    try: ending.unmount(drive, timeout=4)\n"
        "    except errors.UsageError as error:\n"
        "        if 'in use' in str(error): time.sleep(0.2); continue\n"
        "        print(error)\n"
        "    break\n"
        "print(drive.daemon.pid, mountpoints.at(point))\n"
    )
    os.kill(drive.pid, signal.SIGSTOP)
    try:
        command = [sys.executable, "-c", code, str(drive.point)]
        done = subprocess.run(command, env=drive.environ, capture_output=True, text=True, timeout=100, check=False)
    finally:
        os.kill(drive.pid, signal.SIGCONT)
    said = done.stdout.splitlines()
    assert ["mounted" in said[0], *("does not answer" in line for line in said[1:3])] == [True] * 3, done
    assert "does not answer" in said[3] and said[4:] == [f"{drive.pid} None"], done
    wait_for_end(drive.pid)


def test_two_drives_for_one_directory(drive: Drive, service: FaultServer, tmp_path: Path) -> None:
    """L1: whoever comes later is refused, also where both have found it empty; neither hides the other."""
    gate = Gate()
    service.script("list", gate.before)
    with FaultServer() as other, Drive(tmp_path / "second", *hosted(other.base_url, other.key)) as second:
        first_environ = {**drive.environ, **hosted(service.base_url, service.key)[1]}
        command = [sys.executable, "-m", "moonfs", "mount", str(second.point)]
        with subprocess.Popen(command, env=first_environ, stderr=subprocess.PIPE, text=True) as mounting:
            gate.wait()
            second.mount()
            gate.opened.set()
            _, said = mounting.communicate(timeout=SECONDS)
        assert mounting.returncode == 1 and f"Another drive is mounted on {second.point}" in said
        assert second.status()["account"] == other.base_url
        second.umount()
        held = os.open(second.point, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)  # as a drive that is about to be mounted
            assert "at the same time" in refusal(second)
        finally:
            os.close(held)
