"""Two machines on one account, with a state and a cache each: what one does shows on the other (L4, N3, R2, W4)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moonfs.lingering import DRAIN, LINGER
from tests.conftest import MODES
from tests.faults.kinds import unnumbered
from tests.faults.server import FaultServer
from tests.harness.drive import Drive, hosted, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = [pytest.mark.fuse, pytest.mark.kinds]

#: The texts that a machine keeps, below its home.
TEXTS = "cache/moonfs/accounts/*/texts/*"

#: Seconds for which either machine believes a listing, and what may pass until the other one shows a change.
TTL = 0.5
#: Far more than the TTL, for a machine that has other work too.
SOON = 30.0


class Two:
    """Two machines, and the service they share.

    Attributes:
        server: the service; `line`: the other machine's way to it, which can be cut off alone.
        write_back: how both write.
    """

    def __init__(self, one: Drive, other: Drive, server: FaultServer, line: FaultServer, mode: str) -> None:
        self.one, self.other, self.server, self.line = one, other, server, line
        self.write_back = mode == "write-back"

    def shows(self, drive: Drive, *names: str) -> None:
        """Wait until a drive lists exactly these files."""
        expected = sorted(name + end for name in names for end in ("", ".content"))
        wait_until(lambda: os.listdir(drive.point) == expected, f"{drive.home.name} shows {expected}", SOON)

    def says_who_is_misnamed(self) -> None:
        """Wait until whoever stored a file that has a number says so in its status; no other is named."""
        expected = {name for name, _ in self.stored() if unnumbered(name) != name}

        def named() -> set[str]:
            uploads = [drive.status()["uploads"] for drive in (self.one, self.other)]
            return {each["name"] for drive in uploads for each in drive.get("misnamed", ())}

        wait_until(lambda: named() == expected, f"{expected} has a line in status", SOON)

    def at_rest(self) -> None:
        """Wait until neither has anything to bring to the service."""
        for drive in (self.one, self.other):
            wait_until(lambda drive=drive: not _left(drive), "nothing is pending")

    def twins(self) -> list[str]:
        """Return what either machine calls the two files of `a.txt`: by their numbers, or the older one by its id."""
        with self.server.lock:
            files = sorted(self.server.files.values(), key=lambda file: (file.created_at, file.id))
        older, newer = (file for file in files if unnumbered(file.filename) == "a.txt")
        if self.server.kind.numbers:
            return [older.filename, newer.filename]
        return [f"a~{older.id}.txt", "a.txt"]

    def stored(self) -> list[tuple[str, bytes]]:
        """Return name and bytes of what the service has, oldest first."""
        with self.server.lock:
            files = sorted(self.server.files.values(), key=lambda file: (file.created_at, file.id))
            return [(file.filename, file.data) for file in files]


def _left(drive: Drive) -> object:
    uploads = drive.status()["uploads"]
    return uploads["pending"] or uploads["deletions"] or uploads["active"]


@pytest.fixture(params=MODES)
def two(fuse: None, request: pytest.FixtureRequest, tmp_path: Path, service: FaultServer) -> Iterator[Two]:
    """Two mounts with separate homes, in either mode."""
    with service.line() as line, contextlib.ExitStack() as stack:
        drives = []
        for name, server in (("one", service), ("other", line)):
            drive = stack.enter_context(Drive(tmp_path / name, *hosted(server.base_url, server.key, server.kind)))
            drives.append(drive.mount(f"listing_ttl={TTL}", *MODES[request.param]))
        yield Two(*drives, service, line, request.param)


def text(drive: Drive, name: str) -> bytes:
    return (drive / f"{name}.content").read_bytes()


def shown(drive: Drive, name: str) -> bytes | None:
    """Return its text, or None in the moment in which the old one is gone, and the new one not listed here yet."""
    with contextlib.suppress(FileNotFoundError):
        return text(drive, name)
    return None


def test_what_one_makes_the_other_shows(two: Two) -> None:
    """L4, R5: a file that was made elsewhere shows within the TTL, with its text; its bytes are where it was made."""
    os.listdir(two.other.point)
    (two.one / "a.txt").write_bytes(b"one")
    two.shows(two.other, "a.txt")
    assert text(two.other, "a.txt") == text(two.one, "a.txt")
    assert os.stat(two.other / "a.txt").st_mode & 0o777 == 0o200
    with fails(errno.EACCES):
        (two.other / "a.txt").read_bytes()


def test_what_one_overwrites_the_other_shows(two: Two) -> None:
    """L4, R2, tenet 3: the new text, never the old one under the name, though the old one was cached and mapped."""
    (two.one / "a.txt").write_bytes(b"old " * 50_000)
    two.shows(two.other, "a.txt")
    old = text(two.other, "a.txt")
    (two.one / "a.txt").write_bytes(b"new " * 50_001)
    two.at_rest()
    new = wait_until(lambda: (body := shown(two.other, "a.txt")) != old and body, "the new text shows", SOON)
    assert new == text(two.one, "a.txt") and b"old" not in new and len(two.stored()) == 1
    assert os.stat(two.other / "a.txt.content").st_size == len(new)


def test_what_one_deletes_is_gone_on_the_other(two: Two) -> None:
    """L4, R2: the name turns ENOENT, and the copies of the text are dropped on both machines."""
    for name in ("a.txt", "b.txt"):
        (two.one / name).write_bytes(name.encode())
    two.shows(two.other, "a.txt", "b.txt")
    assert text(two.other, "a.txt") and text(two.one, "a.txt")
    (two.one / "a.txt").unlink()
    two.shows(two.other, "b.txt")
    for name in ("a.txt", "a.txt.content"):
        with fails(errno.ENOENT):
            os.stat(two.other / name)
    for drive in (two.one, two.other):
        wait_until(lambda drive=drive: os.listdir(drive.point) and not list(drive.home.glob(TEXTS)), "it is dropped")


def test_what_one_renames_the_other_shows(two: Two) -> None:
    """L4, W9: the new name, and not the old one."""
    (two.one / "a.txt").write_bytes(b"bytes")
    two.shows(two.other, "a.txt")
    os.rename(two.one / "a.txt", two.one / "b.txt")
    two.shows(two.other, "b.txt")
    assert text(two.other, "b.txt")
    with fails(errno.ENOTSUP):
        os.rename(two.other / "b.txt", two.other / "c.txt")
    two.shows(two.one, "b.txt")


def test_opening_what_is_deleted_elsewhere_refreshes(two: Two) -> None:
    """L4: a 404 under an opened name does not wait for the TTL: the name is gone with it."""
    two.one.remount("listing_ttl=600")
    two.server.add("a.txt", b"one")
    two.server.add("b.txt", b"two")
    (two.one / ".moonfs" / "refresh").write_text("\n")
    assert len(os.listdir(two.one.point)) == 4
    two.shows(two.other, "a.txt", "b.txt")
    (two.other / "a.txt").unlink()
    two.at_rest()
    assert (two.one / "a.txt.content").exists()
    with fails(errno.ENOENT):
        text(two.one, "a.txt")
    assert os.listdir(two.one.point) == ["b.txt", "b.txt.content"]


def test_both_make_one_name_at_once(two: Two) -> None:
    """N3, W4: both files stay; the newest has the bare name, the older one its id in it, the same on both machines.

    Where names are numbered, one of them has the bare name, the other one its number, and a line in status.
    """
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit((drive / "a.txt").write_bytes, drive.home.name.encode()) for drive in (two.one, two.other)
        ]:
            done.result()
    two.at_rest()
    assert sorted(data for _, data in two.stored()) == [b"one", b"other"]
    for drive in (two.one, two.other):
        two.shows(drive, *two.twins())
    two.says_who_is_misnamed()


@pytest.mark.parametrize("first", ["the first upload", "the second upload"])
def test_both_overwrite_one_file_at_once(two: Two, first: str) -> None:
    """N3, W4: neither acknowledged version is lost, whichever upload ends first; the old one is gone for good."""
    (two.one / "a.txt").write_bytes(b"old")
    two.at_rest()
    two.shows(two.other, "a.txt")
    os.listdir(two.one.point)
    gates = [Gate(), Gate()]
    for server, gate in zip((two.server, two.line), gates, strict=True):
        server.script("upload", gate.before)
    with ThreadPoolExecutor(2) as pool:
        writers = []
        for drive, gate in zip((two.one, two.other), gates, strict=True):
            writers.append(pool.submit((drive / "a.txt").write_bytes, drive.home.name.encode()))
            gate.wait()
        order = gates if first == "the first upload" else gates[::-1]
        order[0].opened.set()
        wait_until(lambda: len(two.stored()) == 2 or b"old" not in [data for _, data in two.stored()], "one is done")
        order[1].opened.set()
        for writer in writers:
            writer.result()
    two.at_rest()
    assert sorted((unnumbered(name), data) for name, data in two.stored()) == [("a.txt", b"one"), ("a.txt", b"other")]
    for drive in (two.one, two.other):
        two.shows(drive, *two.twins())
    two.says_who_is_misnamed()


def test_a_version_of_ones_own_goes_with_the_next(two: Two) -> None:
    """W4, N3: whatever others stored between; what only the other machine's upload covers stays, as a conflict copy."""
    two.one.remount("listing_ttl=600", *MODES["write-back" if two.write_back else "write-through"])
    two.other.remount("listing_ttl=600", *MODES["write-back" if two.write_back else "write-through"])
    for drive in (two.one, two.other):
        assert os.listdir(drive.point) == []
    (two.one / "a.txt").write_bytes(b"one 1")
    two.at_rest()
    (two.other / "a.txt").write_bytes(b"other 1")  # it has not seen the first
    two.at_rest()
    assert [data for _, data in two.stored()] == [b"one 1", b"other 1"]
    (two.one / ".moonfs" / "refresh").write_text("\n")
    two.shows(two.one, *two.twins())
    (two.one / "a.txt").write_bytes(b"one 2")  # over what the other one stored, which is shown
    two.at_rest()
    if two.server.kind.numbers:  # that one has a number, and is another file
        assert ("a.txt", b"one 2") in two.stored()
        assert sorted(data for _, data in two.stored()) == [b"one 2", b"other 1"]
        return
    assert [data for _, data in two.stored()] == [b"one 2"]
    (two.other / "a.txt").write_bytes(b"other 2")  # it has not seen that, and replaces its own
    two.at_rest()
    assert [data for _, data in two.stored()] == [b"one 2", b"other 2"], "nobody here has covered the first"


def test_one_deletes_what_the_other_overwrites(two: Two) -> None:
    """W4, W8: the version that was written meanwhile is acknowledged and stays; the old one is gone."""
    (two.one / "a.txt").write_bytes(b"old")
    two.at_rest()
    two.shows(two.other, "a.txt")
    gate = Gate()
    two.line.script("upload", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((two.other / "a.txt").write_bytes, b"new")
        gate.wait()
        (two.one / "a.txt").unlink()
        wait_until(lambda: not two.stored(), "the old one is deleted")
        gate.opened.set()
        writer.result()
    two.at_rest()
    assert two.stored() == [("a.txt", b"new")]
    two.shows(two.one, "a.txt")


def test_both_delete_one_file(two: Two) -> None:
    """W8: a 404 counts as done, on whichever machine it comes."""
    (two.one / "a.txt").write_bytes(b"old")
    two.at_rest()
    two.shows(two.other, "a.txt")
    for drive in (two.one, two.other):
        with contextlib.suppress(FileNotFoundError):
            (drive / "a.txt").unlink()
    two.at_rest()
    assert two.stored() == []
    for drive in (two.one, two.other):
        two.shows(drive)
        assert drive.status()["uploads"]["failed"] == []


#: Bytes of one version after another: the next one is longer or shorter, by pages or by a byte.
SIZES = (20_000, 35_000, 3_000, 60_000, 20_001, 50)


def test_a_reader_meets_no_third_state(two: Two) -> None:
    """L4, tenet 3: while one overwrites again and again, the other reads whole texts of versions that were written."""
    versions = [f"{number} ".encode() * size for number, size in enumerate(SIZES)]
    (two.one / "a.txt").write_bytes(versions[0])
    two.at_rest()
    two.shows(two.other, "a.txt")
    seen: set[bytes] = set()
    over = threading.Event()

    def again(look: Callable[[], object]) -> None:
        while not over.is_set():
            with contextlib.suppress(FileNotFoundError):  # the old one is gone, and the new one not listed here yet
                look()
            over.wait(0.01)  # else little is left of a processor to whoever overwrites

    with ThreadPoolExecutor(3) as pool:
        looks = [lambda: seen.add(text(two.other, "a.txt")), lambda: os.stat(two.other / "a.txt.content")]
        running = [pool.submit(again, looks[number % 2]) for number in range(3)]  # two read
        try:
            for version in versions[1:]:
                (two.one / "a.txt").write_bytes(version)
                two.at_rest()
                expected = text(two.one, "a.txt")
                wait_until(lambda expected=expected: shown(two.other, "a.txt") == expected, "it shows", SOON)
        finally:
            over.set()
        for one in running:
            one.result()
    wrong = [(len(body), body[:30], body[-30:]) for body in seen if content(body) not in versions]
    assert not wrong
    assert len(seen) > 1


#: Opens a text, maps it and reads its start; reads on when told, until told to end.
READER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
start = os.read(fd, 10)
print("ready", flush=True)
sys.stdin.readline()
rest = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
print((start + rest).hex(), mapped[:].hex(), flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def reader(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a program that is in the middle of a text: mapped, and its first bytes read."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdin is not None and program.stdout is not None
        try:
            assert program.stdout.readline() == "ready\n"
            yield program
        finally:
            program.stdin.close()


def test_whoever_is_in_the_middle_of_a_text_reads_it_to_the_end(two: Two) -> None:
    """L4, tenet 3: whoever looks at the path meanwhile; a little later it shows the new version to all who open it."""
    versions = itertools.cycle([b"long " * 40_000, b"short"])
    (two.one / "a.txt").write_bytes(next(versions))
    two.at_rest()
    two.shows(two.other, "a.txt")
    old = text(two.other, "a.txt")
    ids = two.other / ".moonfs" / "by-id"
    for _ in range(10):
        with reader(two.other / "a.txt.content") as program:
            assert program.stdin is not None and program.stdout is not None
            known = os.listdir(ids)
            (two.one / "a.txt").write_bytes(next(versions))
            two.at_rest()
            began = time.monotonic()
            while os.listdir(ids) == known:
                began = time.monotonic()
            sizes = {os.stat(two.other / "a.txt.content").st_size for _ in range(3)}
            others = text(two.other, "a.txt")
            program.stdin.write("\n")
            program.stdin.flush()
            read = [bytes.fromhex(each) for each in program.stdout.readline().split()]
            in_time = time.monotonic() - began < LINGER - DRAIN
            if in_time:
                assert read == [old, old] and others == old and sizes == {len(old)}
            new = text(two.one, "a.txt")
            wait_until(lambda new=new: shown(two.other, "a.txt") == new, "the new one shows", SOON)
            assert os.stat(two.other / "a.txt.content").st_size == len(new)
        if in_time and len(new) > len(old):
            return
        old = new
    raise AssertionError("this machine is too busy to read a text in the time in which it stays")


def content(body: bytes) -> bytes | None:
    """Return the text in a body, or None where that is not whole."""
    try:
        return str(json.loads(body)["content"]).encode()
    except ValueError:
        return None


def cut_off(two: Two) -> None:
    """Take the service from the other machine, and have that find it out by a text that it has not read."""
    two.line.suspend()
    while two.other.status()["traffic"]["outage"] is None:
        with contextlib.suppress(OSError):
            text(two.other, "unread.txt")


def agree(two: Two, *names: str) -> None:
    """Wait until both machines show exactly these files, and the same texts."""
    for drive in (two.one, two.other):
        two.shows(drive, *names)
        fresh = lambda drive=drive: os.listdir(drive.point) and not drive.status()["listing"]["stale_because"]  # noqa: E731
        wait_until(fresh, "its listing is fresh", SOON)
        assert drive.status()["uploads"]["failed"] == []
    for name in names:
        wait_until(lambda name=name: text(two.one, name) == text(two.other, name), f"{name} is the same", SOON)


def test_one_machine_is_cut_off(two: Two) -> None:
    """R6, R5, L4, E2: it lists and reads what it knows, and says that this is old; afterwards both agree again."""
    for name in ("deleted.txt", "overwritten.txt", "unread.txt"):
        (two.one / name).write_bytes(name.encode())
        two.at_rest()  # one after the other: in the order of their ids nothing is to be read ahead either (R3)
    (two.other / "own.txt").write_bytes(b"own")
    two.at_rest()
    names = ("deleted.txt", "overwritten.txt", "own.txt", "unread.txt")
    two.shows(two.other, *names)
    texts = {name: text(two.other, name) for name in names[2::-1]}  # backwards: nothing is read ahead (R3)
    cut_off(two)
    (two.one / "deleted.txt").unlink()
    (two.one / "overwritten.txt").write_bytes(b"new")
    (two.one / "made.txt").write_bytes(b"made")
    two.shows(two.other, *names)
    assert {name: text(two.other, name) for name in texts} == texts
    assert (two.other / "own.txt").read_bytes() == b"own"
    with fails(errno.EHOSTUNREACH):
        text(two.other, "unread.txt")
    status = two.other.status()
    assert status["listing"]["stale_because"] and status["traffic"]["outage"]
    two.line.resume()
    agree(two, "made.txt", "overwritten.txt", "own.txt", "unread.txt")
    assert b"new" in text(two.other, "overwritten.txt") and two.other.status()["traffic"]["outage"] is None


@pytest.mark.parametrize("meanwhile", ["overwritten", "deleted"])
def test_an_overwrite_by_a_machine_that_is_cut_off(two: Two, meanwhile: str) -> None:
    """W1, W2, W4, N3: refused, or brought to the service afterwards beside what was done there meanwhile."""
    for name in ("a.txt", "unread.txt"):
        (two.one / name).write_bytes(b"old")
    two.at_rest()
    two.shows(two.other, "a.txt", "unread.txt")
    old = text(two.other, "a.txt")
    cut_off(two)
    if two.write_back:
        (two.other / "a.txt").write_bytes(b"written in the outage")
        assert (two.other / "a.txt").read_bytes() == b"written in the outage"
        assert two.other.status()["uploads"]["pending"] == ["a.txt"]
    else:
        with fails(errno.EHOSTUNREACH):
            (two.other / "a.txt").write_bytes(b"written in the outage")
        assert text(two.other, "a.txt") == old
    if meanwhile == "overwritten":
        (two.one / "a.txt").write_bytes(b"written meanwhile")
    else:
        (two.one / "a.txt").unlink()
    wait_until(lambda: ("a.txt", b"old") not in two.stored(), "it is done")
    kept = [file.id for file in list(two.server.files.values()) if file.data == b"written meanwhile"]
    two.line.resume()
    two.at_rest()
    expected = [b"written meanwhile"] * (meanwhile == "overwritten")
    names = ["a.txt"] if expected else []
    if two.write_back:
        names = ["a.txt"]
        expected.append(b"written in the outage")
    assert [data for name, data in two.stored() if unnumbered(name) == "a.txt"] == expected
    if len(expected) == 2:
        names = two.twins()
    agree(two, *names, "unread.txt")
    if two.write_back and not (two.server.kind.numbers and kept):  # there, it is the one with the number
        assert b"written in the outage" in text(two.one, "a.txt")
