"""A file that is written in place while others have it open is one file for all of them (W12).

The kernel keeps one size for a path and appends there, so whoever asks must be told the same (fuse(4)). Each reader
here has opened the file before its writer did: what it held then is the version before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import SECONDS, wait_until
from tests.harness.expect import fails
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.fuse

LINES = [f"line {number:03}\n".encode() for number in range(20)]

#: What a program does to a file that it keeps open as `file` (at its start), for each line that it is given.
READERS = {
    "fstat": "os.fstat(file)",
    "stat by name": "os.stat(sys.argv[1])",
    "read at the end": "os.lseek(file, 0, os.SEEK_END); os.read(file, 100)",
    "read from the start": "os.pread(file, 1 << 20, 0)",
    "lseek": "os.lseek(file, 0, os.SEEK_END)",
    "mmap": "size = os.fstat(file).st_size; size and bytes(mmap.mmap(file, size, prot=mmap.PROT_READ))",
}


class Reader:
    """A process that opens a file and looks at it when it is told; a context manager.

    It answers with the file's size and bytes as it sees them by its descriptor.
    """

    def __init__(self, path: Path, look: str = READERS["fstat"]) -> None:
        code = (
            "import mmap, os, sys\n"
            "file = os.open(sys.argv[1], os.O_RDONLY)\n"
            "print('open', flush=True)\n"
            "for line in sys.stdin:\n"
            f"    {look}\n"
            "    if line == 'look\\n':\n"
            "        print('looked', flush=True)\n"
            "    else:\n"
            "        end = os.lseek(file, 0, os.SEEK_END)\n"
            "        print(end, os.pread(file, 1 << 20, 0).hex(), flush=True)\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._told()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()

    def look(self) -> None:
        """Have it look at the file."""
        assert self._ask("look") == "looked"

    def sees(self) -> bytes:
        """Return the bytes that it sees, as many as it is told there are."""
        size, _, body = self._ask("tell").partition(" ")
        found = bytes.fromhex(body)
        assert int(size) == len(found), (size, found)
        return found

    def _ask(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@contextlib.contextmanager
def following(drive: Faulty, command: str, name: str = "a.txt") -> Iterator[Callable[[], bytes]]:
    """Run a program that follows a file, and return what gives all that it has printed."""
    out = drive.drive.work() / "followed"
    with (
        out.open("wb") as file,
        subprocess.Popen(
            ["sh", "-c", f'exec {command} "$DIR/{name}"'], env=drive.drive.shell_environ(), stdout=file
        ) as process,
    ):
        try:
            yield out.read_bytes
        finally:
            process.terminate()


def opened(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | flags)


@pytest.fixture
def log(either: Faulty) -> Faulty:
    """A drive with a file that the service has, whose bytes are here."""
    (either.drive / "a.txt").write_bytes(b"first\n")
    either.arrived()
    return either


@pytest.mark.parametrize("look", READERS)
def test_a_reader_from_before_the_writer(log: Faulty, look: str) -> None:
    """W12, tenet 1: every line is there, for the writer, the reader and the service."""
    path = log.drive / "a.txt"
    with Reader(path, READERS[look]) as reader:
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            reader.look()
        expected = b"first\n" + b"".join(LINES)
        assert reader.sees() == expected
        os.close(file)
        assert reader.sees() == expected == path.read_bytes()
        assert log.arrived() == {"a.txt": expected}
        assert reader.sees() == expected
    log.holds({"a.txt": expected})


def test_tail_follows_an_appending_shell(log: Faulty) -> None:
    """W12: one open, append and close for each line, and `tail -f` prints each once; so does the service have them."""
    with following(log, "tail -n +1 -s 0.05 -f") as printed:
        wait_until(lambda: printed() == b"first\n", "tail has begun")
        expected = b"first\n"
        for line in LINES[:5]:
            log.drive.run(f'printf "{line.decode().strip()}\\n" >> "$DIR/a.txt"')
            expected += line
            wait_until(lambda expected=expected: printed() == expected, "tail prints the line")
    log.holds({"a.txt": expected})


def test_tail_follows_a_writer_that_goes_on(log: Faulty) -> None:
    """W12: the same with a file that stays open; and after `ftruncate(0)` nothing is NUL, and nothing is lost."""
    path = log.drive / "a.txt"
    with following(log, "tail -n +1 -s 0.05 -f") as printed:
        wait_until(lambda: printed() == b"first\n", "tail has begun")
        file = opened(path)
        for line in LINES[:5]:
            os.write(file, line)
            wait_until(lambda line=line: printed().endswith(line), "tail prints the line")
        os.ftruncate(file, 0)
        for line in LINES[5:10]:
            os.write(file, line)
            wait_until(lambda line=line: printed().endswith(line), "tail prints the line")
            assert os.fstat(file).st_size == path.stat().st_size == len(path.read_bytes())
        os.close(file)
        assert b"\0" not in printed()
    log.holds({"a.txt": b"".join(LINES[5:10])})


def test_less_follows(log: Faulty) -> None:
    """W12: a pager that was there before the writer shows what comes."""
    path = log.drive / "a.txt"
    with Terminal('less +F "$DIR/a.txt"', log.drive) as terminal:
        terminal.shows("first", "Waiting for data")
        file = opened(path)
        for line in LINES[:5]:
            os.write(file, line)
            terminal.shows(line.decode().strip())
        os.close(file)
        terminal.presses("C-c")
        terminal.shows("(END)")
        terminal.presses("q")
    log.holds({"a.txt": b"first\n" + b"".join(LINES[:5])})


@pytest.mark.parametrize("where", ["root", "purpose"])
def test_several_writers_append(log: Faulty, where: str) -> None:
    """W12, N5: no line of any is lost, whichever name each has opened it by, with a reader beside each."""
    names = ["a.txt", "a.txt" if where == "root" else ".moonfs/purpose/file-extract/a.txt"]
    code = (
        "import os, sys\n"
        "reader = os.open(sys.argv[1], os.O_RDONLY)\n"
        "file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        "for number in range(100):\n"
        "    os.write(file, f'{sys.argv[2]} {number:03}\\n'.encode()); os.fstat(reader); os.lseek(reader, 0, 2)\n"
    )
    with Reader(log.drive / "a.txt") as reader:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(log.drive / names[number % 2]), str(number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(4)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "open\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=SECONDS)
            assert process.returncode == 0
        body = (log.drive / "a.txt").read_bytes()
        assert sorted(body.splitlines()) == sorted(
            [b"first", *(f"{writer} {number:03}".encode() for writer in range(4) for number in range(100))]
        )
        assert reader.sees() == body
    log.holds({"a.txt": body})


def test_appends_by_two_names_in_turn(log: Faulty) -> None:
    """W12, N5: the kernel has a size for each name, and both are behind; what is read through either is right."""
    name, other = log.drive / "a.txt", log.drive / ".moonfs/purpose/file-extract/a.txt"
    one, two = opened(name), opened(other)
    expected = b"first\n"
    with Reader(name) as reader, Reader(other) as watcher:
        for line in LINES:
            for file in (one, two):
                os.write(file, line)
                expected += line
            assert reader.sees() == watcher.sees() == expected
        os.ftruncate(two, 0)
        os.write(one, b"anew\n")
        assert reader.sees() == watcher.sees() == b"anew\n"
        os.close(one)
        os.close(two)
    log.holds({"a.txt": b"anew\n"})


@pytest.mark.parametrize("way", ["truncate by name", "O_TRUNC", "pwrite", "mmap"])
def test_other_changes_in_place(log: Faulty, way: str) -> None:
    """W12: whoever has the file open sees each change that is made in place."""
    path = log.drive / "a.txt"
    expected = {"truncate by name": b"fir", "O_TRUNC": b"anew", "pwrite": b"fiRst\n", "mmap": b"fiRst\n"}[way]
    with Reader(path) as reader:
        assert reader.sees() == b"first\n"
        if way == "truncate by name":
            os.truncate(path, 3)
        elif way == "O_TRUNC":
            path.write_bytes(b"anew")
        elif way == "pwrite":
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), b"R", 2)
                assert reader.sees() == expected
        else:
            code = (
                "import mmap, sys\nwith open(sys.argv[1], 'r+b') as file:\n    mmap.mmap(file.fileno(), 0)[2:3] = b'R'"
            )
            log.drive.python(code, str(path))
            wait_until(lambda: reader.sees() == expected, "the page has arrived")
        assert reader.sees() == expected
        assert log.arrived() == {"a.txt": expected}
        assert reader.sees() == expected
    log.holds({"a.txt": expected})


def test_a_reader_that_maps_it_all_along(log: Faulty) -> None:
    """W12: a map of the page that is appended to, made before, shows what comes, and no other bytes."""
    code = (
        "import mmap, os, sys\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "there = mmap.mmap(file, 6, prot=mmap.PROT_READ)\n"
        "assert there[:] == b'first\\n'\n"
        "for number in range(20):\n"
        "    with open(sys.argv[1], 'ab', buffering=0) as writer:\n"
        "        writer.write(b'line %03d\\n' % number)\n"
        "        os.fstat(file), os.lseek(file, 0, 2)\n"
        "    assert there[:] == b'first\\n'\n"
        "size = os.fstat(file).st_size\n"
        "assert mmap.mmap(file, size, prot=mmap.PROT_READ)[:] == os.pread(file, 1 << 20, 0)\n"
    )
    log.drive.python(code, str(log.drive / "a.txt"))
    log.holds({"a.txt": b"first\n" + b"".join(LINES)})


def test_a_reader_stays_with_a_file_that_is_renamed(log: Faulty) -> None:
    """W12, W9: it is the same file under its new name, for whoever opened it under the old one."""
    path = log.drive / "b.txt"
    with Reader(log.drive / "a.txt") as reader:
        os.rename(log.drive / "a.txt", path)
        log.arrived()
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            reader.look()
        os.close(file)
        assert reader.sees() == b"first\n" + b"".join(LINES)
    log.holds({"b.txt": b"first\n" + b"".join(LINES)})


def test_a_version_that_was_renamed_over_is_another_file(log: Faulty) -> None:
    """W12: whoever holds the replaced version reads it to the end, and its size is nobody else's."""
    path = log.drive / "a.txt"
    with Reader(path, READERS["lseek"]) as reader:
        (log.drive / ".new").write_bytes(b"another, longer version\n")
        os.rename(log.drive / ".new", path)
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            assert reader.sees() == b"first\n"
        os.close(file)
        assert reader.sees() == b"first\n"
    log.holds({"a.txt": b"another, longer version\n" + b"".join(LINES)})


@pytest.mark.parametrize("way", ["write", "move", "stored and moved", "moved in the root"])
def test_a_version_that_is_replaced_by_its_other_name_goes_on(log: Faulty, way: str) -> None:
    """W12, N5: it is one name, seen from two sides: who has it open there sees one size, and the bytes of that."""
    path, other = log.drive / "a.txt", log.drive / ".moonfs/purpose/batch/a.txt"
    new = b"another, longer version\n"
    if way == "moved in the root":
        path, other = log.drive / ".moonfs/purpose/file-extract/a.txt", path
    with Reader(path) as reader:
        assert reader.sees() == b"first\n"
        if way == "write":
            other.write_bytes(new)
        else:
            (log.drive / "b.txt").write_bytes(new)
            if way == "stored and moved":
                log.arrived()
            os.rename(log.drive / "b.txt", other)
        assert reader.sees() == path.read_bytes() == new
        assert log.arrived() == {"a.txt": new}
        assert reader.sees() == new
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            reader.look()
        os.close(file)
        assert reader.sees() == new + b"".join(LINES)
    log.holds({"a.txt": new + b"".join(LINES)})


def test_whoever_writes_to_a_version_that_is_replaced_keeps_it(log: Faulty) -> None:
    """W12: a place in the old bytes is none in the new ones, so that what it writes on is in none but its own."""
    path, other = log.drive / "a.txt", log.drive / ".moonfs/purpose/batch/a.txt"
    file = os.open(path, os.O_RDWR)
    with Reader(path) as reader:
        os.write(file, b"FIRST")
        other.write_bytes(b"another, longer version\n")
        assert reader.sees() == b"another, longer version\n"
    os.pwrite(file, b"!", 5)
    assert path.read_bytes() == b"another, longer version\n"
    os.close(file)
    log.holds({"a.txt": b"another, longer version\n"})


def test_a_version_that_another_machine_replaced_is_another_file(log: Faulty) -> None:
    """W12, L4: its readers keep it, and do not disturb who appends to the new one; nor do they hide that."""
    theirs = b"another machine has written this, and it is longer\n"
    path = log.drive / "a.txt"
    with Reader(path) as reader:
        with path.open("ab", buffering=0) as file:
            file.write(b"mine\n")
        log.arrived()
        assert reader.sees() == b"first\nmine\n"
        (old,) = log.server.files
        log.server.add("a.txt", theirs)
        del log.server.files[old]
        wait_until(lambda: path.stat().st_size == len(theirs), "the other version shows though the first is open")
        assert reader.sees() == b"first\nmine\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
        for line in LINES:
            os.write(file, line)
            assert reader.sees() == b"first\nmine\n"
        os.close(file)
    log.holds({"a.txt": b"".join(LINES)})


def test_sidecars_keep_the_old_text(log: Faulty) -> None:
    """W12, R4: a text is another file than the one it belongs to: whoever reads the old one reads it to its end."""
    path = log.drive / "a.txt"
    with Reader(log.drive / "a.txt.content") as reader:
        old = reader.sees()
        with Reader(path) as other, path.open("ab", buffering=0) as file:
            file.write(b"more\n")
            other.look()
        assert reader.sees() == old
    log.holds({"a.txt": b"first\nmore\n"})


def test_by_id_is_that_version(log: Faulty) -> None:
    """W12, N5: an id names a version, which nobody writes to."""
    (file_id,) = log.server.files
    path = log.drive / "a.txt"
    with Reader(log.drive / f".moonfs/by-id/{file_id}") as reader, path.open("ab", buffering=0) as file:
        for line in LINES:
            file.write(line)
            assert reader.sees() == b"first\n"
    log.holds({"a.txt": b"first\n" + b"".join(LINES)})


def test_a_failed_close_shows_the_version_before_to_its_readers_too(shared: Faulty) -> None:
    """W12, W4: whoever reads does not keep alive what its writer was told is not stored."""
    shared.clear()
    path = shared.drive / "a.txt"
    path.write_bytes(b"first\n")
    with Reader(path) as reader, contextlib.ExitStack() as late:
        file = opened(path)
        os.write(file, b"lost\n")
        assert reader.sees() == b"first\nlost\n"
        other = late.enter_context(Reader(path))
        shared.server.script("upload", *[refused(400, "no")] * 4)
        with fails(errno.EINVAL):
            os.close(file)
        shared.server.unscript()
        wait_until(lambda: path.read_bytes() == b"first\n", "the version before shows")
        assert reader.sees() == other.sees() == b"first\n"
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            reader.look()
            other.look()
        os.close(file)
    shared.holds({"a.txt": b"first\n" + b"".join(LINES)})


def test_a_remount_has_every_line(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W12: what was appended beside a reader is what the next mount shows, by its hash."""
    drive = faulty()
    path = drive.drive / "a.txt"
    path.write_bytes(b"first\n")
    with Reader(path) as reader:
        file = opened(path)
        for line in LINES:
            os.write(file, line)
            reader.look()
        os.close(file)
    drive.drive.remount()
    drive.holds({"a.txt": b"first\n" + b"".join(LINES)})
