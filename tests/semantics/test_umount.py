"""`moonfs umount` of a drive that somebody keeps: another mount namespace, a program, a second mount of it.

Whoever holds a drive is a real process in a real namespace here: a shell that takes orders.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MODES, Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import SECONDS, Drive, wait_for_end, wait_until
from tests.harness.gate import Gate
from tests.harness.namespaces import IS_ROOT, alone, private

pytestmark = pytest.mark.fuse

KEY = ("Invalid Authentication", "invalid_authentication_error")


class Shell:
    """A shell that takes orders, in whatever it was started by."""

    def __init__(self, drive: Drive, *within: str, cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [*within, "sh"],
            env=drive.shell_environ(),
            cwd=cwd or drive.work(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        assert self.run("echo here") == "here\n"

    def run(self, script: str) -> str:
        """Run a script and return what it printed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{script}\necho end\n")
        self._process.stdin.flush()
        return "".join(iter(self._process.stdout.readline, "end\n"))

    def end(self) -> None:
        """End it, and whatever its namespace held."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def shells() -> Iterator[Callable[..., Shell]]:
    """Start shells: `shells(drive, "unshare", "-m")`; none outlives the test."""
    with contextlib.ExitStack() as stack:

        def start(drive: Drive, *within: str, cwd: Path | None = None) -> Shell:
            shell = Shell(drive, *within, cwd=cwd)
            stack.callback(shell.end)
            return shell

        yield start


def is_mounted(drive: Drive) -> bool:
    return f" {drive.point} " in Path("/proc/self/mountinfo").read_text()


def stored(service: FaultServer) -> dict[str, bytes]:
    with service.lock:
        assert len({each.filename for each in service.files.values()}) == len(service.files)
        return {each.filename: each.data for each in service.files.values()}


def holds(service: FaultServer, texts: dict[str, bytes]) -> bool:
    """Whether the service has these files and no other: until an old version is deleted, its name is there twice."""
    with service.lock:
        return sorted((each.filename, each.data) for each in service.files.values()) == sorted(texts.items())


def refusal(drive: Drive, *arguments: str) -> str:
    """Run `moonfs` with what it must refuse, and return its one sentence."""
    done = drive.command(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return done.stderr


def umounting(drive: Drive) -> subprocess.Popen[str]:
    """Begin to unmount a drive, and return when that waits for the only upload."""
    ending = subprocess.Popen(
        [sys.executable, "-m", "moonfs", "umount", str(drive.point)],
        env=drive.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ending.stderr is not None and "Waiting for 1 upload" in ending.stderr.readline()
    return ending


def line_that_mends(sentence: str) -> list[str]:
    """Return the arguments of the line that a sentence ends with."""
    found = re.search(r"with: moonfs (.*)$", sentence.strip())
    assert found is not None, sentence
    return shlex.split(found[1])


def test_a_drive_that_another_namespace_holds(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2: it is taken from here, and who holds it is named; there it works on, until the line that is told ends it."""
    drive = faulty().drive
    shell = shells(drive, *private(drive.point))
    began = time.monotonic()
    said = refusal(drive, "umount", str(drive.point))
    assert time.monotonic() - began < SECONDS / 2
    assert f"{shell.pid} sh (another mount namespace)" in said and "unmounted here" in said
    assert line_that_mends(said) == ["umount", "--lazy", str(drive.point)]
    assert not is_mounted(drive) and os.listdir(drive.point) == []
    assert shell.run('echo there > "$DIR/a.txt" && cat "$DIR/a.txt"') == "there\n"
    assert stored(service) == {"a.txt": b"there\n"}
    again = refusal(drive, "umount", str(drive.point))
    assert f"{shell.pid} sh" in again
    for arguments in (("status",), ("status", str(drive.point)), ("status", "--json", str(drive.point))):
        done = drive.command(*arguments)
        assert done.returncode == 0 and f"{shell.pid} sh (another mount namespace)" in done.stdout, done
    for point in (drive.point, drive.home / "elsewhere"):
        told = drive.command("mount", str(point))
        assert told.returncode == 1 and f"{shell.pid} sh" in told.stderr
    done = drive.command(*line_that_mends(told.stderr))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_for_end(drive.pid, seconds=0)
    assert "not connected" in shell.run('ls "$DIR"')
    drive.mount()
    assert (drive / "a.txt").read_text() == "there\n"


@pytest.mark.parametrize("within", ["unshare -Urm", "unshare --fork --pid"])
def test_namespaces_of_other_kinds(faulty: Callable[..., Faulty], shells: Callable[..., Shell], within: str) -> None:
    """L2: one of a rootless container, and one whose processes have other numbers inside."""
    drive = faulty().drive
    shell = shells(drive, *private(drive.point, *within.split()))
    assert f"{shell.pid} " in refusal(drive, "umount", str(drive.point))
    assert drive.command("umount", "--lazy", str(drive.point)).returncode == 0
    wait_for_end(drive.pid, seconds=0)


def test_a_drive_that_is_let_go(faulty: Callable[..., Faulty], shells: Callable[..., Shell]) -> None:
    """L2: once nobody holds it any more it ends by itself, and its account can be mounted."""
    drive = faulty().drive
    shell = shells(drive, *private(drive.point))
    refusal(drive, "umount", str(drive.point))
    shell.end()
    wait_for_end(drive.pid)
    assert "No moonfs drive" in refusal(drive, "umount", str(drive.point))
    drive.mount()


def test_what_is_pending_goes_first(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2: a drive that is held is drained like any other, and then taken from here."""
    drive = faulty("write_back").drive
    shells(drive, *private(drive.point))
    gate = Gate()
    service.script("upload", gate.before)
    (drive / "a.txt").write_text("hello")
    gate.wait()
    ending = umounting(drive)
    assert ending.poll() is None and is_mounted(drive)
    gate.opened.set()
    _, said = ending.communicate(timeout=SECONDS)
    assert ending.returncode == 1 and "held by" in said
    assert stored(service) == {"a.txt": b"hello"} and not is_mounted(drive)


def test_pending_where_it_is_not_mounted_any_more(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2: what was written elsewhere since then is waited for too, at the second try."""
    drive = faulty("write_back").drive
    shell = shells(drive, *private(drive.point))
    refusal(drive, "umount", str(drive.point))
    gate = Gate()
    service.script("upload", gate.before)
    shell.run('echo there > "$DIR/a.txt"')
    gate.wait()
    ending = umounting(drive)
    gate.opened.set()
    assert "held by" in ending.communicate(timeout=SECONDS)[1] and ending.returncode == 1
    assert stored(service) == {"a.txt": b"there\n"}


def test_lazily_with_uploads_pending(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2, W2: they are left to the next mount, at once, and said; it uploads each once."""
    drive = faulty("write_back").drive
    shells(drive, *private(drive.point))
    service.script("upload", *[refused(401, *KEY)] * 200)
    texts = {f"{number}.txt": b"%d" % number * 100_000 for number in range(3)}
    for name, text in texts.items():
        (drive / name).write_bytes(text)
    done = drive.command("umount", "--lazy", str(drive.point))
    assert done.returncode == 0 and "3 files are not uploaded yet" in done.stderr
    assert "Waiting" not in done.stderr
    wait_for_end(drive.pid, seconds=0)
    service.unscript("upload")
    drive.mount("write_back")
    assert {name: (drive / name).read_bytes() for name in texts} == texts
    wait_until(lambda: stored(service) == texts, "they are uploaded")


@pytest.mark.parametrize("mode", MODES)
def test_lazily_while_it_is_being_written(faulty: Callable[..., Faulty], service: FaultServer, mode: str) -> None:
    """L2: what was written and not closed yet is kept as a close would have kept it, and goes up after the next mount.

    An overwrite of what the service has, a file that is new, and one that stays here.
    """
    drive = faulty(*MODES[mode]).drive
    (drive / "old.txt").write_text("before")
    wait_until(lambda: stored(service) == {"old.txt": b"before"}, "it is there")
    code = (
        "import os, sys\n"
        "files = [open(f'{sys.argv[1]}/{name}', 'wb', 0) for name in ('old.txt', 'new.txt', 'kept.tmp')]\n"
        "for file, text in zip(files, (b'after', bytes(300_000), b'here')): file.write(text)\n"
        "print('written', flush=True)\nsys.stdin.read()\nos._exit(0)\n"
    )
    writer = subprocess.Popen(
        [*private(drive.point), sys.executable, "-c", code, str(drive.point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None and writer.stdout.readline() == "written\n"
    done = drive.command("umount", "--lazy", str(drive.point))
    writer.communicate()
    assert done.returncode == 0 and "2 files were being written" in done.stderr
    assert all(name in done.stderr for name in ("old.txt", "new.txt"))
    wait_for_end(drive.pid, seconds=0)
    assert stored(service) == {"old.txt": b"before"}
    drive.mount(*MODES[mode])
    expected = {"old.txt": b"after", "new.txt": bytes(300_000)}
    assert (drive / "kept.tmp").read_text() == "here"
    assert {name: (drive / name).read_bytes() for name in expected} == expected
    wait_until(lambda: holds(service, expected), "they are uploaded, and the old version is deleted")


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_lazily_while_a_close_waits(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell], moment: str, over: bool
) -> None:
    """L2, W3, W4: whoever waits in a close is told that it failed; in the end there is exactly one copy all the same.

    Of a new file, and of one that takes the place of another.
    """
    text = b"hello" * (10 if over else 100_000)  # in the journal's row, or in a spool file
    if over:
        service.add("a.txt", b"theirs")
    drive = faulty().drive
    shells(drive, *private(drive.point))
    gate = Gate()
    service.script("upload", getattr(gate, moment))
    (drive.work() / "a.txt").write_bytes(text)
    writer = subprocess.Popen(
        ["sh", "-c", 'exec cp a.txt "$DIR/a.txt"'],
        env=drive.shell_environ(),
        cwd=drive.work(),
        stderr=subprocess.DEVNULL,
    )
    gate.wait()
    done = drive.command("umount", "--lazy", str(drive.point))
    assert done.returncode == 0 and "1 file was being written" in done.stderr, done
    wait_for_end(drive.pid, seconds=0)
    gate.opened.set()
    assert writer.wait(SECONDS) != 0
    drive.mount()
    assert (drive / "a.txt").read_bytes() == text
    wait_until(lambda: not drive.status()["uploads"]["pending"], "nothing is pending")
    wait_until(lambda: [(file.filename, file.data) for file in service.files.values()] == [("a.txt", text)], "one copy")
    # Where the service had it already, that is found, and nothing is sent again.
    assert service.count("upload") <= (1 if moment == "after" else 2)


HOLDS = {
    "working directory": 'cd "$DIR"',
    "open: a.txt": 'exec 3< "$DIR/a.txt"',
    "another mount namespace": "true",
}


@pytest.mark.parametrize("how", ["working directory", "open: a.txt"])
def test_a_drive_in_use(faulty: Callable[..., Faulty], shells: Callable[..., Shell], how: str) -> None:
    """L2: who has something of it open is named, and the drive goes on; `--lazy` ends it."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    shell = shells(drive)
    shell.run(HOLDS[how])
    said = refusal(drive, "umount", str(drive.point))
    assert "in use" in said and f"{shell.pid} sh ({how})" in said
    assert (drive / "a.txt").read_text() == "hello"
    assert drive.command(*line_that_mends(said)).returncode == 0
    wait_for_end(drive.pid, seconds=0)
    assert not is_mounted(drive)
    drive.mount()


def test_from_within_the_drive(faulty: Callable[..., Faulty]) -> None:
    """L2: the command's own working directory holds nothing."""
    drive = faulty().drive
    command = [sys.executable, "-P", "-m", "moonfs", "umount", "."]
    done = subprocess.run(
        command, env=drive.environ, cwd=drive.point, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert not is_mounted(drive)
    drive.mount()


def test_a_mapped_file_is_a_use(faulty: Callable[..., Faulty]) -> None:
    """L2: a program that has closed what it still sees is named too."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    code = (
        "import ctypes, sys\n"
        "with open(sys.argv[1], 'rb') as file:\n"  # Python's own mmap keeps a descriptor
        "    assert ctypes.CDLL(None).mmap(None, ctypes.c_size_t(5), 1, 1, file.fileno(), ctypes.c_long(0)) != -1\n"
        "print('mapped', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(drive / "a.txt")],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None and program.stdout.readline() == "mapped\n"
        said = refusal(drive, "umount", str(drive.point))
        assert str(program.pid) in said and "(mapped: a.txt)" in said
        program.communicate()
    drive.umount()


@pytest.mark.parametrize("how", ["working directory", "open: a.txt"])
def test_a_drive_that_was_detached_by_hand(
    faulty: Callable[..., Faulty], shells: Callable[..., Shell], how: str
) -> None:
    """L2: after `umount -l` or `fusermount -uz` a program that has stayed in it keeps it; all commands name that."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    shell = shells(drive)
    shell.run(HOLDS[how])
    drive.run('umount -l "$DIR"' if IS_ROOT else 'fusermount -uz "$DIR"')
    for arguments in (("umount", str(drive.point)), ("mount", str(drive.point))):
        assert f"{shell.pid} sh ({how})" in refusal(drive, *arguments)
    assert f"{shell.pid} sh ({how})" in drive.command("status").stdout
    assert drive.command("umount", "--lazy", str(drive.point)).returncode == 0
    wait_for_end(drive.pid, seconds=0)
    drive.mount()


def test_another_drive_does_not_take_the_place(faulty: Callable[..., Faulty], shells: Callable[..., Shell]) -> None:
    """L2: while a drive lives on elsewhere its directory stays its own, also for another account.

    libfuse takes away what is mounted there when a signal ends it.
    """
    drive = faulty().drive
    shell = shells(drive, *private(drive.point))
    refusal(drive, "umount", str(drive.point))
    with FaultServer() as other:
        environ = drive.environ | {"MOONSHOT_BASE_URL": other.base_url, "MOONSHOT_API_KEY": other.key}
        done = drive.command("mount", str(drive.point), env=environ)
        assert done.returncode == 1 and f"{shell.pid} sh" in done.stderr
        assert drive.command("umount", "--lazy", str(drive.point)).returncode == 0
        assert drive.command("mount", str(drive.point), env=environ).returncode == 0
        pid = int(drive.status()["pid"])
        assert drive.command("umount", str(drive.point), env=environ).returncode == 0
        wait_for_end(pid)


@pytest.mark.skipif(not IS_ROOT, reason="needs root to make a bind mount")
def test_a_second_mount_of_it(faulty: Callable[..., Faulty]) -> None:
    """L2: a bind mount is named with the line that unmounts it, and each of the two may go first."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    other = drive.home / "bound"
    other.mkdir()
    try:
        for first, second in ((drive.point, other), (other, drive.point)):
            drive.run(f'mount --bind "$DIR" "{other}"')
            said = refusal(drive, "umount", str(first))
            assert line_that_mends(said) == ["umount", str(second)]
            assert (second / "a.txt").read_text() == "hello"
            done = drive.command(*line_that_mends(said))
            assert done.returncode == 0 or "another mount namespace" in done.stderr  # of a test beside this one
            wait_for_end(drive.pid)
            drive.mount()
    finally:
        subprocess.run(["umount", other], capture_output=True, check=False)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_stale_drive_in_use(faulty: Callable[..., Faulty], shells: Callable[..., Shell], lazy: bool) -> None:
    """L2: a shell that stands in what a dead daemon left is named; `--lazy` clears the mount all the same."""
    drive = faulty().drive
    shell = shells(drive, cwd=drive.point)
    wait_for_end(drive.pid, kill=True)
    if not lazy:
        assert f"{shell.pid} sh (working directory)" in refusal(drive, "umount", str(drive.point))
        shell.end()
    done = drive.command("umount", *["--lazy"] * lazy, str(drive.point))
    assert done.returncode == 0 and "stale" in done.stderr
    assert not is_mounted(drive)
    drive.mount()


def test_sigterm_ends_a_drive_that_is_held(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2: with the drain that it promises, whoever holds it."""
    drive = faulty("write_back").drive
    shell = shells(drive, *private(drive.point))
    refusal(drive, "umount", str(drive.point))
    gate = Gate()
    service.script("upload", gate.before)
    shell.run('echo there > "$DIR/a.txt"')
    gate.wait()
    os.kill(drive.pid, signal.SIGTERM)
    wait_until(lambda: "not connected" in shell.run('ls "$DIR"'), "the drive is gone there")
    assert drive.command("status").stdout.count("finishing its uploads") == 1
    assert f"moonfs umount {drive.point}" in refusal(drive, "mount", str(drive.point))
    with umounting(drive) as waiting:
        gate.opened.set()
        waiting.communicate(timeout=SECONDS)
        assert waiting.returncode == 0
    wait_for_end(drive.pid, seconds=0)
    assert stored(service) == {"a.txt": b"there\n"}


def test_the_end_of_a_drain_can_be_hurried(
    faulty: Callable[..., Faulty], service: FaultServer, shells: Callable[..., Shell]
) -> None:
    """L2: a daemon that is finishing its uploads leaves the rest to the next mount when it is told so."""
    drive = faulty("write_back", "drain=600").drive
    gate = Gate()
    service.script("upload", gate.before)
    (drive / "a.txt").write_text("hello")
    gate.wait()
    os.kill(drive.pid, signal.SIGTERM)
    wait_until(lambda: not is_mounted(drive), "it is unmounted")
    done = drive.command("umount", "--lazy", str(drive.point))
    assert done.returncode == 0 and "1 file is not uploaded yet" in done.stderr
    wait_for_end(drive.pid, seconds=0)
    gate.opened.set()
    drive.mount()
    wait_until(lambda: stored(service) == {"a.txt": b"hello"}, "it is uploaded once")


def test_a_daemon_without_a_socket(faulty: Callable[..., Faulty], shells: Callable[..., Shell]) -> None:
    """L2: one of an earlier version, or on a disk that has none: found by its lock, and ended by signals."""
    drive = faulty().drive
    shell = shells(drive, *private(drive.point))
    (socket,) = drive.home.glob("state/moonfs/accounts/*/socket")
    socket.unlink()
    assert f"{shell.pid} sh (another mount namespace)" in refusal(drive, "umount", str(drive.point))
    assert "by process" in refusal(drive, "mount", str(drive.point))
    assert drive.command("umount", "--lazy", str(drive.point)).returncode == 0
    wait_for_end(drive.pid, seconds=0)


def test_ctrl_c(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2: the drive is still mounted then, and that is said."""
    drive = faulty("write_back").drive
    gate = Gate()
    service.script("upload", gate.before)
    (drive / "a.txt").write_text("hello")
    gate.wait()
    ending = umounting(drive)
    ending.send_signal(signal.SIGINT)
    _, said = ending.communicate(timeout=SECONDS)
    assert ending.returncode == 130 and f"{drive.point} is still mounted" in said and "Traceback" not in said
    assert (drive / "a.txt").read_text() == "hello"
    gate.opened.set()


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to see no drive of other tests")
def test_other_commands_without_a_directory(faulty: Callable[..., Faulty], tmp_path: Path) -> None:
    """N5, A2: prefetch, refresh and logs mean the only drive there is, too; of several or none they say so."""
    drive = faulty().drive
    drive.umount()
    two = tmp_path / "home" / "second"
    m = drive.moonfs()
    script = f"""
        trap '{m} umount --all --lazy 2>/dev/null' EXIT
        {m} refresh; {m} prefetch
        mkdir {two}; {m} mount --local {tmp_path}/data {two} && {m} umount
        {m} mount {drive.point} && echo one > {drive.point}/a.txt
        {m} mount --local {tmp_path}/data {two} && {m} umount {two}
        {m} refresh && {m} prefetch && {m} logs | grep -c 'Uploaded a.txt'
        {m} mount --local {tmp_path}/data {two}
        {m} refresh; {m} prefetch
    """
    done = subprocess.run(alone(script), capture_output=True, text=True, timeout=2 * SECONDS, check=False, cwd=tmp_path)
    assert done.stdout == "1 file\n1 text here\n1\n", done
    said = [line for line in done.stderr.splitlines() if line.startswith("moonfs:")]
    assert said[:2] == [
        f"moonfs: You have no drive mounted; there is nothing to {what}." for what in ("refresh", "fetch")
    ]
    assert all("2 drives" in line and str(two) in line for line in said[2:]) and len(said) == 4, done


def test_who_unmounts_can_read_so_in_the_log(faulty: Callable[..., Faulty]) -> None:
    """L2: the log has a line for the end of a drive, as for its beginning."""
    drive = faulty().drive
    pid = drive.pid
    drive.umount()
    assert (
        drive.command("logs", str(drive.point))
        .stdout.splitlines()[-1]
        .endswith(f"{drive.point} is unmounted; process {pid} finishes what is pending and ends")
    )


def test_status_says_how_it_was_mounted(tmp_path: Path, fuse: None) -> None:
    """L1: of a directory where the local Files API was mounted, `moonfs status DIR` says the mount with --local."""
    drive = Drive(tmp_path, ["--local"])
    drive.mount()
    drive.umount()
    done = drive.command("status", str(drive.point))
    assert (done.returncode, done.stderr) == (
        1,
        f"moonfs: No moonfs drive is mounted on {drive.point}; mount one with: moonfs mount --local {drive.point}\n",
    )
    done = drive.command("status", str(tmp_path))
    assert done.stderr.endswith(f"mount one with: moonfs mount {tmp_path}\n")


@pytest.mark.parametrize(
    ("called", "meant"),
    [
        ("unmount", "umount"),
        ("help", "--help"),
        ("help mount", "mount --help"),
        ("help nothing", "--help"),
        ("version", "--version"),
        ("ls", "status"),
    ],
)
def test_a_word_that_is_no_command(tmp_path: Path, called: str, meant: str) -> None:
    """What people type for a command that has another name is answered with that name; exit 2."""
    done = Drive(tmp_path).command(*called.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"No such command '{called.split()[0]}'. It is: moonfs {meant}\n"), done


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("umount --timeout abc", "'abc' is not a number from 0 on."),
        ("sync --timeout=-1", "'-1' is not a number from 0 on."),
        ("sync --timeout nan", "'nan' is not a number from 0 on."),
        ("logs -n x", "'x' is not a whole number from 0 on."),
        ("serve --port 70000", "'70000' is not a whole number from 0 to 65535."),
        ("serve --latency x", "'x' is not a number from 0 to 60000."),
    ],
)
def test_a_number_that_is_none(tmp_path: Path, called: str, said: str) -> None:
    """Flags that take numbers refuse others in words that people use; exit 2."""
    done = Drive(tmp_path).command(*called.split())
    assert (done.returncode, done.stdout, done.stderr.endswith(f": {said}\n")) == (2, "", True), done


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to see no drive of other tests")
def test_without_a_directory(faulty: Callable[..., Faulty], tmp_path: Path) -> None:
    """L2: the only drive there is; of several none, and they are named; `--all` ends each, also a detached one."""
    drive = faulty().drive
    drive.umount()
    two = tmp_path / "home" / "second"
    m = drive.moonfs()
    script = f"""
        trap '{m} umount --all --lazy 2>/dev/null' EXIT
        {m} umount
        {m} mount {drive.point} && {m} umount && ! ls {drive.point}/.moonfs 2>/dev/null && echo one
        {m} mount {drive.point}; mkdir {two}; {m} mount --local {tmp_path}/data {two}
        {m} umount
        {m} umount {two} --all
        (cd {two} && exec sleep 1000) & holder=$!
        {m} umount --all
        {m} umount
        {m} umount --lazy && echo all
        kill $holder
        {m} umount --all
    """
    done = subprocess.run(alone(script), capture_output=True, text=True, timeout=2 * SECONDS, check=False, cwd=tmp_path)
    said = [line for line in done.stderr.splitlines() if line.startswith(("moonfs:", "Error:"))]
    assert done.stdout == "one\nall\n", done
    assert said[0] == said[-1] and "no drive mounted" in said[0]
    assert "2 drives" in said[1] and all(str(point) in said[1] for point in (drive.point, two))
    assert "not both" in said[2]
    assert [("in use" in line and str(two) in line) for line in said[3:-1]] == [True, True], said
