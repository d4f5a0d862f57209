"""A reader that is taken over: what it tries is refused, whatever it says is judged, and all that came of it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from moonfs.server.extraction import priming, readable, seccomp
from tests.harness.programs import needs
from tests.server.conftest import ROOT, children, command, started

#: What says that somebody was refused; ENOSYS is what makes libraries do without.
REFUSED = {"EPERM", "EACCES", "ENOSYS"}
#: What needs no refusal by a wall: no limit can be raised, by whomever.
BY_THE_KERNEL = {"more memory": {"EPERM", "EINVAL"}}
BROKEN = {"error": {"message": "Failed to extract file: the reader broke down", "type": "server_error"}}


def examined(*under: str) -> list[str]:
    """Return what this machine lacks, or the place that `under` runs it in."""
    command = [*under, sys.executable, "-m", "moonfs.server.extraction.confinement"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


@pytest.fixture
def no_namespaces() -> tuple[str, ...]:
    """Return what runs a program where nobody gets a namespace, as in many a container."""
    needs("unshare", "setpriv")
    nobody = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all"
    within = ("unshare", "--user", "--map-root-user", "sh", "-c", f'{nobody} "$0" "$@"')
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespace can be made to take namespaces away in")
    return within


#: What Landlock keeps by itself; modes, owners and times of files it does not know.
FILES = (
    "read a key", "read a key by a link in /proc", "read a key by openat2", "list the home", "write into the home",
    "write over a key", "append to a key", "truncate a key", "remove a key", "rename a key",
    "symlink in its own home", "make a directory", "make a pipe with a name", "read the server's key",
    "list the server's files", "list other workers", "read the server's environment", "read the server's memory",
    "read the passwords", "list processes", "write over the document", "write into its own home", "write over the code",
    "write beside the code", "spawn a program",
)  # fmt: skip


def attacked(folder: Path, under: tuple[str, ...] = (), only: Sequence[str] = (), **options: object) -> dict[str, str]:
    """Return what came of each attempt of one reader, at a home with a key in it."""
    home = folder / "home" / ".ssh"
    home.mkdir(parents=True)
    key = home / "id_ed25519"
    key.write_text("secret")
    key.chmod(0o600)
    with started(folder / "data", {"light": {"workers": 1}, **options}, under) as server:
        where = {
            "key": str(key), "home": str(home), "data": str(server.data), "parent": server.process.pid,
            "socket": server.socket, "only": only,
        }  # fmt: skip
        lines = server.text("a.attack", json.dumps(where).encode()).strip().split("\n")
        assert server.text("b.threads", b"x") == "4 threads, True\n"
        if not options:
            left = [(path.name, path.read_text(), path.stat().st_mode & 0o777) for path in home.iterdir()]
            assert left == [("id_ed25519", "secret", 0o600)]
            (worker,) = (server.data / "workers").glob("worker-*")
            assert os.listdir(worker) == []
    return dict(line.rsplit(": ", 1) for line in lines)


def done(said: dict[str, str]) -> dict[str, str]:
    """Return the attempts that no wall has held up, with what came of them."""
    return {name: word for name, word in said.items() if word not in BY_THE_KERNEL.get(name, REFUSED)}


def test_what_a_reader_tries_that_is_taken_over_is_refused(tmp_path):
    if examined():
        pytest.skip(f"this kernel has no {' and no '.join(examined())}")
    said = attacked(tmp_path)
    assert len(said) > 100
    assert done(said) == {}


def test_it_is_refused_where_there_are_no_namespaces(tmp_path, no_namespaces):
    lacking = examined(*no_namespaces)
    if lacking != ["namespaces"]:
        pytest.skip(f"this kernel has no {' and no '.join(lacking)}")
    assert done(attacked(tmp_path, no_namespaces)) == {}


def test_landlock_alone_keeps_files_and_programs(tmp_path):
    """As on a machine that the filter does not know."""
    if "landlock" in examined():
        pytest.skip("this kernel has no Landlock")
    said = attacked(tmp_path, only=FILES, worker="only_landlock_worker")
    assert len(said) == len(FILES)
    assert done(said) == {}


def test_the_filter_alone_keeps_files_from_being_changed(tmp_path):
    """As on a kernel without Landlock; what can be read there is said in the README, in the log, by the doctor."""
    if "seccomp" in examined():
        pytest.skip("this machine has no filter of system calls")
    passed = done(attacked(tmp_path, worker="only_seccomp_worker"))
    reading = {name for name in passed if name.startswith(("read ", "list "))}
    assert set(passed) == reading


def test_a_child_that_holds_the_pipes_keeps_nobody_waiting(launch):
    """On a machine without walls; the child would live for a minute, in a session of its own."""
    server = launch(light={"workers": 1, "seconds": 2.0}, worker="loose_worker")
    assert server.text("a.environment", b"x").startswith("home")
    began = time.monotonic()
    answer = server.upload("a.holder", b"x")
    assert answer.status_code == 400, answer.text  # it took too long, and had no text by then
    assert time.monotonic() - began < 40
    assert left_of(server) == []
    assert server.text("a.environment", b"y").startswith("home")


def test_a_stop_leaves_no_child_behind(launch, until):
    server = launch(light={"workers": 1}, worker="loose_worker")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(answered, server, "a.holder")
        until(lambda: set(left_of(server)) & set(children(server.process.pid)), "a child has lost its parent")
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(60) == 0
        assert waiting.result() in (503, None)
    assert time.monotonic() - began < 40
    assert left_of(server) == []


def test_the_orphans_of_others_are_left_alone(launch, tmp_path, until):
    """A container's first process becomes the parent of all that is left alone there."""
    told = tmp_path / "pid"
    leave = f"until [ -e {tmp_path}/data/server.json ]; do sleep 0.1; done; sleep 300 & echo $! > {told}"
    script = f'({leave}) & exec "$0" "$@"'
    server = launch(under=("sh", "-c", script), light={"workers": 1})
    orphan = int(until(lambda: told.exists() and told.read_text(), "somebody else has left a child"))
    try:
        until(lambda: orphan in children(server.process.pid), "it has become the server's")
        for name in ("a.crash", "b.crash"):
            assert server.upload(name, b"x").json() == BROKEN
        assert command(orphan).startswith(b"sleep")
    finally:
        os.kill(orphan, signal.SIGKILL)


def answered(server, name: str) -> int | None:
    """Return the status of an upload; None when the server was gone before it could be told."""
    try:
        return server.upload(name, b"x").status_code
    except httpx.TransportError:
        return None


def left_of(server) -> list[int]:
    """Return the pids of what is or was below a worker of this server; workers have sessions that they lead."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            pid = int(process.name) if process.name.isdigit() else 0
            if pid and os.readlink(process / "cwd").startswith(str(server.data / "workers" / "worker-")):
                is_worker = os.getsid(pid) == pid and pid in server.children()
                found += [] if is_worker else [pid]
    return found


def test_what_no_worker_says_ends_its_request(launch):
    server = launch(light={"workers": 1})
    for said in (
        b"nonsense\n",
        b"[]\n",
        b'{"verdict": "stored", "resident": 1}\n',
        b'{"verdict": "text"}\n',
        b'{"verdict": "text", "resident": "much"}\n',
        b'{"done": [], "total": {}}\n',
        b"x" * 1_000_000,
        b'"' + b"[" * 60_000 + b"\n",
    ):
        answer = server.upload("a.babble", said)
        assert (answer.status_code, answer.json()) == (500, BROKEN), said[:40]
        assert server.text("a.environment", said[:40]).startswith("home")


def test_a_reason_is_plain(launch):
    server = launch(light={"workers": 1})
    why = "\x1b[31m" + "long " * 1000
    said = {"verdict": "failed", "why": why, "resident": 0}
    message = server.upload("a.babble", json.dumps(said).encode() + b"\n").json()["error"]["message"]
    assert message.startswith("Failed to extract file: ?[31mlong ")
    assert len(message) < 300
    assert "\x1b" not in server.log()


def test_what_a_reader_prints_is_no_line_of_the_log(launch):
    """It is told beside its end, shortened, on one line."""
    server = launch(light={"workers": 1})
    server.upload("a.chatter", b"x")
    (line,) = [line for line in server.log().split("\n") if "ended in mid-job" in line]
    assert r"xxx | \x1b[31m2026-01-01 ERROR moonfs.server: all is lost" in line
    assert len(server.log()) < 10_000


def test_what_the_machine_lacks_is_said_at_the_start(launch, until):
    server = launch()
    until(lambda: "Readers of documents are" in server.log(), "it is said")
    assert bool(examined()) == ("not wholly confined" in server.log())


def test_each_wall_that_lacks_is_said(launch, until, no_namespaces):
    server = launch(under=no_namespaces)
    until(lambda: "without namespaces only the other walls keep" in server.log(), "it is said")


def test_bytecode_that_workers_cannot_write_is_written_beforehand(tmp_path, monkeypatch):
    """As after an installer that leaves it to the first import."""
    library = tmp_path / "openpyxl"
    library.mkdir()
    (library / "__init__.py").write_text("from openpyxl import inner")
    (library / "inner.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "openpyxl", raising=False)  # other tests have the real one
    asyncio.run(priming.prime(str(tmp_path)))
    written = sorted(path.name.partition(".")[0] for path in (library / "__pycache__").iterdir())
    assert written == ["__init__", "inner"]


@pytest.mark.parametrize(
    ("column", "header"),
    [(1, "x86_64-linux-gnu/asm/unistd_64.h"), (2, "asm-generic/unistd.h")],
)
def test_the_numbers_of_system_calls_are_those_of_linux(column, header):
    path = Path("/usr/include", header)
    if not path.exists():
        pytest.skip(f"no {path} here")
    found = re.findall(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())
    ours = seccomp.numbers(column)
    known = {name: int(number) for name, number in found if name in ours}
    assert len(known) > 150
    assert {name: ours[name] for name in known} == known


def judged(machine: int, column: int, number: int, *arguments: int, called_by: int | None = None) -> int:
    """Return what the filter says of a call, as the kernel would run it: 0 for allowed, or the errno."""
    own = 77
    memory = {0: number, 4: called_by or machine} | {16 + 8 * at: value for at, value in enumerate(arguments)}
    steps = list(seccomp._program(machine, column, own))
    at, loaded = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            loaded = memory.get(value, 0) & 0xFFFFFFFF
        elif code == 0x06:
            return 0 if value == 0x7FFF0000 else value & 0xFFFF
        else:
            is_so = {0x15: loaded == value, 0x25: loaded > value, 0x35: loaded >= value, 0x45: bool(loaded & value)}
            at += yes if is_so[code] else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_each_machine(machine):
    """Also of the one that this is not."""
    architecture, column = seccomp._MACHINES[machine]
    numbers = seccomp.numbers(column)

    def says(name: str, *arguments: int) -> int:
        return judged(architecture, column, numbers[name], *arguments)

    thread = 0x3D0F00
    assert says("clone", thread) == 0
    assert says("clone", 17) == says("clone", thread | 0x10000000) == errno.EPERM
    assert says("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == 0
    assert {says("openat", 0, 0, flag) for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC)} == {errno.EACCES}
    assert (says("kill", 77), says("kill", 1), says("tgkill", 77), says("tgkill", -1)) == (0, 1, 0, 1)
    assert (says("prctl", 15), says("prctl", 1), says("ioctl", 0, 0x5401), says("ioctl", 0, 0x5412)) == (0, 1, 0, 1)
    assert (says("fcntl", 0, 1), says("fcntl", 0, 8), says("prlimit64", 0), says("prlimit64", 1)) == (0, 1, 0, 1)
    assert says("socket") == says("connect") == errno.EACCES
    assert says("clone3") == says("io_uring_setup") == says("openat2") == errno.ENOSYS
    decided = ("clone", "open", "openat", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "prctl")
    plain = set(numbers) - {*decided, "prlimit64", "fcntl", "ioctl"}
    assert 0 not in {says(name) for name in plain}
    refused = {number for number in range(1000) if judged(architecture, column, number, 77) != 0}
    assert {number for number in refused if number < 451} <= set(numbers.values())
    assert set(range(451, 1000)) <= refused
    assert judged(architecture, column, 0x40000000) == judged(architecture, column, 60, called_by=3) == errno.EPERM


@pytest.mark.parametrize("version", range(1, 8))
def test_each_version_of_landlock(tmp_path, version):
    """What a kernel knows that has a newer one."""
    code = f"""
import ctypes, sys
from moonfs.server.extraction import landlock
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if landlock.version(libc) < {version}:
    sys.exit("older")
landlock.version = lambda _libc: {version}
print(landlock.restrict(libc, [{str(tmp_path / "open")!r}], []))
for path, mode in (("open/a", "r"), ("shut/a", "r"), ("open/a", "w"), ("open/new", "x")):
    try:
        open({str(tmp_path)!r} + "/" + path, mode).close()
        print("done")
    except PermissionError:
        print("refused")
"""
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("text")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if run.stderr == "older\n":
        pytest.skip("this kernel has an older one")
    assert run.stdout.split() == [str(version), "done", "refused", "refused", "refused"], run.stderr
    assert (tmp_path / "open" / "a").read_text() == "text"


def test_what_may_be_read_of_a_home_that_modules_are_searched_in(tmp_path, monkeypatch):
    """As where a container installs into the home: the modules, and no more than the names of all else."""
    for name in ("package/__init__.py", "single.py", ".ssh/id", "notes/a.txt", "data/workers/w/document"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    home = f"{tmp_path}/data/workers/w"
    for spared in (str(tmp_path), "/nonexistent"):
        read, listed = readable.readable(home, spared)
        assert {path for path in read if path.startswith(f"{tmp_path}/")} == {
            home, f"{tmp_path}/package", f"{tmp_path}/single.py",
        }  # fmt: skip
        assert str(tmp_path) in listed
        assert str(tmp_path) not in read
    assert not read & {"/", "/usr", "/etc", "/home", "/root", "/proc", "/tmp", os.path.expanduser("~")}
