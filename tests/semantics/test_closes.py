"""Whose close stores: the opener's, not that of each child it shares a descriptor with; the rest later (W1, W2)."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from moonfs import wire
from tests.conftest import MODES, Faulty
from tests.faults.server import FaultServer, answered, error, refused
from tests.harness.drive import Drive, hosted, wait_for_end, wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

NOTHING = "text extract error: 没有解析出内容"


#: mmap(2) itself: Python's keeps a descriptor of its own, which is closed after the last page is written.
MAPPED = """
import ctypes, os, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def mapped(file):
    return libc.mmap(None, 4096, 3, 1, file, 0)  # to read and write, shared
"""


def python(drive: Faulty, code: str) -> str:
    """Run Python with the path of `a.txt` as `path`; `mapped` maps a file and returns where."""
    return drive.drive.python(f"{MAPPED}path = {str(drive.drive / 'a.txt')!r}\n{textwrap.dedent(code)}")


def refusals(drive: Faulty) -> list[str]:
    return [file["name"] for file in drive.drive.status()["uploads"]["failed"]]


#: Each writes twenty lines to $F with many closes in between, and its opener is the last to close.
SHARED = {
    "for": "for i in $(seq 20); do echo $i; done > $F",
    "for and processes": "for i in $(seq 10); do echo $((2 * i - 1)); /bin/echo $((2 * i)); done > $F",
    "processes": "for i in $(seq 20); do /bin/echo $i; done > $F",
    "append": ": > $F; for i in $(seq 20); do /bin/echo $i; done >> $F",
    "exec": "exec 3> $F; for i in $(seq 20); do /bin/echo $i >&3; done; exec 3>&-",
    "subshells": "for i in $(seq 20); do (echo $i; /bin/true); done > $F",
    "background": "{ for i in $(seq 20); do /bin/echo $i & wait $!; done; } > $F",
    "xargs": "seq 20 | xargs -n 1 /bin/echo > $F",
    "find": "mkdir $(seq 20); find . -mindepth 1 -type d -exec basename {} \\; > $F; rmdir $(seq 20)",
    "tee": "seq 20 | { for i in $(seq 20); do read -r x; /bin/echo $x; done; } | tee $F > /dev/null",
}


#: A shell that redirects by itself and closes with every command (dash) is an opener that does.
ITS_OWN = ("dash", "exec")


@pytest.mark.parametrize("writer", SHARED)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_descriptor_that_is_shared_uploads_once(either: Faulty, shell: str, writer: str) -> None:
    """W1, W2: the exit of each child closes the file, and its opener has it open still: one upload, of all of it."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    either.drive.run(f"F=$DIR/a.txt {shell} -c '{SHARED[writer]}'")
    lines = sorted((either.drive / "a.txt").read_text().split(), key=int)
    assert lines == [str(number) for number in range(1, 21)]
    assert either.arrived() == {"a.txt": (either.drive / "a.txt").read_bytes()}
    if (shell, writer) != ITS_OWN:
        assert either.server.count("upload") == 1


def test_with_three_requests_a_minute(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W1: a loop of processes into one file is one request."""
    drive = faulty("listing_ttl=600")
    service.allow(3, 60)
    asked = service.count()
    drive.drive.run("for i in $(seq 20); do echo $i; /bin/date; done > $DIR/out.txt")
    assert service.count() == asked + 1 and service.names() == ["out.txt"]


#: Programs that share what they have opened with children and threads, and write one line with each.
PROGRAMS = {
    "subprocess": """
        with open(path, "wb") as file:
            for number in range(5): subprocess.run(["/bin/echo", str(number)], stdout=file, check=True)
        """,
    "fork": """
        file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        for number in range(5):
            if os.fork() == 0:
                os.write(file, b"%d\\n" % number)
                os._exit(0)
            os.wait()
        os.close(file)
        """,
    "grandchild": """
        file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        for number in range(5):
            if os.fork() == 0:
                if os.fork() == 0:
                    os.write(file, b"%d\\n" % number)
                    os._exit(0)
                os.wait()
                os._exit(0)
            os.wait()
        os.close(file)
        """,
    "children that have nothing to do with it": """
        with open(path, "wb", buffering=0) as file:
            for number in range(5):
                file.write(b"%d\\n" % number)
                subprocess.run(["/bin/true"], check=True, close_fds=False)
                subprocess.run(["/bin/true"], check=True, pass_fds=[file.fileno()])
        """,
    "opened by a thread that has ended": """
        files = []
        thread = threading.Thread(target=lambda: files.append(open(path, "wb")))
        thread.start()
        thread.join()
        for number in range(5): subprocess.run(["/bin/echo", str(number)], stdout=files[0], check=True)
        files[0].close()
        """,
    "closed by another thread": """
        file = open(path, "wb")
        for number in range(5): subprocess.run(["/bin/echo", str(number)], stdout=file, check=True)
        thread = threading.Thread(target=file.close)
        thread.start()
        thread.join()
        """,
    "killed": """
        if os.fork() == 0:
            file = open(path, "wb")
            for number in range(5): subprocess.run(["/bin/echo", str(number)], stdout=file, check=True)
            os.kill(os.getpid(), 9)
        os.wait()
        """,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_that_share_what_they_opened(either: Faulty, program: str) -> None:
    """W1, W2: whoever shares a descriptor uploads once, when the process that opened it closes it or ends."""
    python(either, PROGRAMS[program])
    assert either.arrived() == {"a.txt": b"0\n1\n2\n3\n4\n"}
    assert either.server.count("upload") == 1


def test_what_a_child_has_closed_is_uploaded_by_its_opener(both: Faulty) -> None:
    """W1: nothing is sent while the opener has it open; with its close the service has all of it."""
    with open(both.drive / "a.txt", "wb") as file:
        subprocess.run(["echo", "one"], stdout=file, check=True)
        assert both.server.count("upload") == 0
        assert (both.drive / "a.txt").read_bytes() == b"one\n"
        uploads = both.drive.status()["uploads"]
        assert (uploads["pending"], uploads["failed"]) == ([], [])
    assert both.server.names() == ["a.txt"] and both.server.count("upload") == 1


def test_a_child_may_store_with_fsync(both: Faulty) -> None:
    """W1: fsync stores, whoever calls it."""
    with open(both.drive / "a.txt", "wb") as file:
        subprocess.run(["dd", "if=/dev/zero", "bs=10", "count=1", "conv=fsync", "status=none"], stdout=file, check=True)
        assert [stored.data for stored in both.server.files.values()] == [bytes(10)]
    assert both.server.count("upload") == 1


def test_the_opener_has_closed_it(both: Faulty) -> None:
    """W1: from then on each close stores, and the service has it when the child has ended."""
    with (both.drive / "a.txt").open("wb") as file:
        child = subprocess.Popen(["sh", "-c", "read line; echo $line"], stdin=subprocess.PIPE, stdout=file)
    child.communicate(b"hello\n", 60)
    assert [stored.data for stored in both.server.files.values()] == [b"hello\n"]


def test_the_opener_has_it_open_for_reading_only(both: Faulty) -> None:
    """W1: a second descriptor of the opener that cannot write is none that will store."""
    path = both.drive / "a.txt"
    path.write_bytes(b"old")
    with path.open("rb"):
        file = path.open("ab")
        child = subprocess.Popen(["sh", "-c", "read line; echo new"], stdin=subprocess.PIPE, stdout=file)
        file.close()
        child.communicate(b"go\n", 60)
        assert [stored.data for stored in both.server.files.values()] == [b"oldnew\n"]


@pytest.mark.parametrize("reaped", [True, False])
def test_the_opener_is_gone(both: Faulty, reaped: bool) -> None:
    """W1: what a daemon has inherited it stores at each close, also while its opener is a zombie."""
    path = both.drive / "a.txt"
    code = f"""
        import os, signal, subprocess, sys, time
        if os.fork() != 0:
            if {reaped}: os.wait()
            signal.pause()
        file = os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY, 0o644)
        opener = os.getpid()
        if os.fork() != 0: os._exit(0)
        def gone():
            try:
                state = open(f"/proc/{{opener}}/stat").read().rpartition(")")[2].split()[0]
                return state == "Z" and not {reaped}
            except OSError:
                return True
        while not gone(): time.sleep(0.01)
        for number in range(2):
            subprocess.run(["/bin/echo", str(number)], stdout=file, check=True)
            print("closed", flush=True)
            sys.stdin.readline()
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as program:
        assert program.stdin is not None and program.stdout is not None
        try:
            for expected in (b"0\n", b"0\n1\n"):
                assert program.stdout.readline() == b"closed\n"
                assert [stored.data for stored in both.server.files.values()] == [expected]
                program.stdin.write(b"go on\n")
        finally:
            program.kill()


def test_a_mapped_page_that_is_written_after_the_close(either: Faulty) -> None:
    """W1: no close has seen it; it is stored when the last reference goes."""
    python(
        either,
        """
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        os.write(file, b"hello")
        pages = mapped(file)
        os.close(file)
        ctypes.memmove(pages, b"HELLO", 5)
        """,
    )
    wait_until(lambda: [stored.data for stored in either.server.files.values()] == [b"HELLO"], "the mapped page")
    either.drive.remount("listing_ttl=0", "upload_timeout=20", *(["write_back"] if either.write_back else []))
    assert either.arrived() == {"a.txt": b"HELLO"}


def test_a_mapped_page_of_a_child(both: Faulty) -> None:
    """W1: what a child writes to a mapped page is its opener's."""
    python(
        both,
        """
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        os.write(file, b"hello")
        pages = mapped(file)
        for number in range(3):
            if os.fork() == 0:
                ctypes.memmove(pages + number, b"X", 1)
                os._exit(0)
            os.wait()
        os.close(file)
        """,
    )
    wait_until(lambda: [stored.data for stored in both.server.files.values()] == [b"XXXlo"], "all of it")


def test_a_release_that_the_service_refuses(either: Faulty) -> None:
    """W1, E1, W1: nobody hears of it but status and record; the bytes are kept."""
    (either.drive / "a.txt").write_bytes(b"hello")
    either.arrived()
    either.server.script("upload", *[refused(400, NOTHING)] * 3)
    python(
        either,
        """
        file = os.open(path, os.O_RDWR)
        pages = mapped(file)
        os.close(file)
        ctypes.memmove(pages, b"HELLO", 5)
        """,
    )
    wait_until(lambda: refusals(either) == ["a.txt"], "the refusal")
    assert either.drive.status()["uploads"]["pending"] == []
    last = either.drive.errors()[-1]
    assert (last["operation"], last["name"], last["errno"]) == ("upload", "a.txt", "EINVAL")
    assert (either.drive / "a.txt").read_bytes() == b"HELLO"
    assert os.getxattr(either.drive / "a.txt", "user.moonfs.state") == b"failed"


def test_a_shell_that_does_not_look_at_its_close(either: Faulty) -> None:
    """E1, tenet 1: the exit of the child was told success, so the bytes are kept, and the refusal is in the status."""
    (either.drive / "a.txt").write_bytes(b"old")
    either.arrived()
    either.server.script("upload", *[refused(400, NOTHING)] * 3)
    either.drive.run("{ /bin/echo new; } > $DIR/a.txt")
    wait_until(lambda: refusals(either) == ["a.txt"], "the refusal")
    assert either.drive.errors()[-1]["name"] == "a.txt"
    assert (either.drive / "a.txt").read_bytes() == b"new\n"
    assert [stored.data for stored in either.server.files.values()] == [b"old"]
    either.server.unscript()
    (either.drive / "a.txt").write_bytes(b"newer")
    assert either.arrived() == {"a.txt": b"newer"}


def test_an_outage_when_the_opener_closes(both: Faulty) -> None:
    """Tenet 1: its close fails, and what a child's close was told is safe goes to the service later."""
    both.server.suspend()
    try:
        file = (both.drive / "a.txt").open("wb")
        subprocess.run(["echo", "hello"], stdout=file, check=True)
        with suppress(OSError):
            file.close()
        assert both.drive.status()["uploads"]["pending"] == ["a.txt"]
    finally:
        both.server.resume()
    wait_until(lambda: both.server.names() == ["a.txt"], "the upload")


def test_a_child_that_wrote_nothing_promises_nothing(both: Faulty) -> None:
    """W7, W4: a program that runs another while it writes, and then fails, leaves the old version."""
    path = both.drive / "a.bin"
    path.write_bytes(b"old")
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"new")
    subprocess.run(["true"], check=True, pass_fds=[descriptor])
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", wire.MAX_FILE_BYTES)
    with fails(errno.EFBIG):
        os.close(descriptor)
    wait_until(lambda: path.read_bytes() == b"old", "the old version")
    assert both.server.count("upload") == 1


def test_a_child_that_wrote_too_much(either: Faulty) -> None:
    """W7, tenet 1: what was promised before the write that failed arrives, with what was written before that one."""
    path = either.drive / "a.bin"
    file = path.open("wb", buffering=0)
    subprocess.run(["echo", "one"], stdout=file, check=True)
    file.write(b"two\n")
    with fails(errno.EFBIG):
        os.pwrite(file.fileno(), b"x", wire.MAX_FILE_BYTES)
    with fails(errno.EFBIG):
        file.close()
    wait_until(lambda: either.server.names() == ["a.bin"], "the upload")
    wait_until(lambda: either.drive.status()["uploads"]["pending"] == [], "its end")
    assert either.arrived() == {"a.bin": b"one\ntwo\n"}


def test_a_name_without_an_extension_is_refused_at_the_childs_close(either: Faulty) -> None:
    """N7: what is known to be refused is told to the child, since the shell would not look."""
    done = either.drive.shell("cat /etc/hostname > $DIR/Makefile")
    assert "Operation not supported" in done.stderr
    assert refusals(either) == ["Makefile"] and either.server.count("upload") == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [10, 200_000])
def test_a_killed_daemon_has_what_a_child_has_closed(
    faulty: Callable[..., Faulty], service: FaultServer, mode: str, size: int
) -> None:
    """W1, tenet 1: a close that was told success holds, though nothing of it was sent yet."""
    drive = faulty(*MODES[mode])
    file = (drive.drive / "a.bin").open("wb")
    for _ in range(3):
        subprocess.run(["head", "-c", str(size), "/dev/zero"], stdout=file, check=True)
    os.write(file.fileno(), b"more, which nobody has closed")
    assert service.count("upload") == 0
    drive.drive.kill()
    with suppress(OSError):
        file.close()
    drive.drive.mount(*MODES[mode])
    wait_until(lambda: service.names() == ["a.bin"], "the upload")
    assert [stored.data[: 3 * size] for stored in service.files.values()] == [bytes(3 * size)]
    wait_until(lambda: drive.drive.status()["uploads"]["pending"] == [], "its end")
    assert refusals(drive) == [] and service.count("upload") == 1


@pytest.mark.parametrize("mode", MODES)
def test_an_end_while_the_opener_has_it_open(faulty: Callable[..., Faulty], service: FaultServer, mode: str) -> None:
    """L2: SIGTERM drains what a child's close has promised, too."""
    drive = faulty(*MODES[mode])
    file = (drive.drive / "a.txt").open("wb")
    subprocess.run(["echo", "hello"], stdout=file, check=True)
    assert service.count("upload") == 0
    os.kill(drive.drive.pid, signal.SIGTERM)
    wait_for_end(drive.drive.pid)
    drive.drive.pid = 0
    with suppress(OSError):
        file.close()
    assert [stored.data for stored in service.files.values()] == [b"hello\n"]


def test_an_umount_right_after_a_release(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L2: what is uploaded at the release is waited for."""
    drive = faulty()
    (drive.drive / "a.txt").write_bytes(b"hello")
    service.script("upload", answered(error(503, "busy", "server_error")))
    python(
        drive,
        """
        file = os.open(path, os.O_RDWR)
        pages = mapped(file)
        os.close(file)
        ctypes.memmove(pages, b"HELLO", 5)
        """,
    )
    drive.drive.umount()
    assert [stored.data for stored in service.files.values()] == [b"HELLO"]


def test_it_is_renamed_and_removed_while_it_is_shared(either: Faulty) -> None:
    """W9, W8: the name moves with what was promised; what is unlinked discards it."""
    with (either.drive / "a.txt").open("wb") as file:
        subprocess.run(["echo", "one"], stdout=file, check=True)
        os.rename(either.drive / "a.txt", either.drive / "b.txt")
        subprocess.run(["echo", "two"], stdout=file, check=True)
    assert either.arrived() == {"b.txt": b"one\ntwo\n"}
    with (either.drive / "c.txt").open("wb") as file:
        subprocess.run(["echo", "one"], stdout=file, check=True)
        os.unlink(either.drive / "c.txt")
        subprocess.run(["echo", "two"], stdout=file, check=True)
    assert either.arrived() == {"b.txt": b"one\ntwo\n"}


def test_it_is_emptied_while_it_is_shared(either: Faulty) -> None:
    """W6: what a child has closed and its opener has cut to nothing is an empty file, which is local."""
    with (either.drive / "a.txt").open("wb", buffering=0) as file:
        subprocess.run(["echo", "one"], stdout=file, check=True)
        file.truncate(0)
    wait_until(lambda: either.drive.status()["uploads"]["local"] == ["a.txt"], "it is local")
    assert either.server.count("upload") == 0 and (either.drive / "a.txt").read_bytes() == b""


@pytest.fixture
def root() -> None:
    """Skip without root."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a process namespace or a loop device")


LOOP = "for i in $(seq 3); do /bin/echo $i; done > $DIR/a.txt"


def test_a_writer_in_a_process_namespace_of_its_own(both: Faulty, root: None) -> None:
    """W1: whom the daemon sees it knows, by whatever number they go among themselves."""
    both.drive.run(f"unshare --pid --fork sh -c '{LOOP}'")
    assert [stored.data for stored in both.server.files.values()] == [b"1\n2\n3\n"]
    assert both.server.count("upload") == 1


def test_a_writer_whom_the_daemon_does_not_see(tmp_path: Path, fuse: None, root: None, service: FaultServer) -> None:
    """W1: who closes has no number there, and /proc counts others by those that there are: each close stores."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        drive.point.mkdir()
        moonfs = [sys.executable, "-m", "moonfs", "mount", "--foreground", str(drive.point)]
        command = ["unshare", "--pid", "--fork", "--kill-child", *moonfs]
        with subprocess.Popen(command, env=drive.environ, stderr=subprocess.DEVNULL) as daemon:
            try:
                wait_until(drive._is_mounted, "the mount")
                drive.run(LOOP)
                assert [stored.data for stored in service.files.values()] == [b"1\n2\n3\n"]
                assert service.count("upload") == 3
            finally:
                drive.shell("umount $DIR")
                daemon.wait(60)


def test_a_loop_device(both: Faulty, root: None) -> None:
    """W1: what the kernel writes for a loop device arrives, at its sync or when it lets go of the file."""
    path = both.drive / "disk.bin"
    path.write_bytes(bytes(65536))
    made = both.drive.shell(f"losetup --find --show {path}")
    if made.returncode:
        pytest.skip(f"no loop device can be had: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        both.drive.run(f"printf hello | dd of={device} conv=notrunc status=none")
    finally:
        both.drive.run(f"losetup --detach {device}")
    expected = b"hello" + bytes(65531)
    wait_until(lambda: [stored.data for stored in both.server.files.values()] == [expected], "its bytes")
