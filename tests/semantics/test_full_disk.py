"""A disk of this machine that is full holds up only what needs it, and for as long as it is full (W7).

State and spool are on a small tmpfs(5), which is filled from outside.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moonfs.errors import ServiceError
from tests.conftest import MODES
from tests.faults.server import FaultServer, refused
from tests.harness.direct import filesystem, write
from tests.harness.drive import Drive, hosted, wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

#: More than the journal carries, so that it has a file of its own in the spool.
LARGE = b"large " * 500_000


class Small:
    """A drive whose state is on a disk of 8 MB.

    Attributes:
        drive: not mounted yet; `server`: its service.
        write_back: how it is mounted.
    """

    def __init__(self, drive: Drive, server: FaultServer, mode: str) -> None:
        self.drive, self.server, self.write_back = drive, server, mode == "write-back"
        self.options = ("listing_ttl=0", "timeout=2", "upload_timeout=5", *MODES[mode])
        self.state = drive.home / "state"

    def __truediv__(self, name: str) -> Path:
        return self.drive / name

    def fill(self) -> None:
        """Leave not a byte on the disk; which is full all the more when some were freed beside it."""
        for _ in range(3):
            with (self.state / "filler").open("ab", buffering=0) as file:
                for count in (65536, 4096, 1):
                    try:
                        while True:
                            file.write(b"\0" * count)
                    except OSError as error:
                        assert error.errno == errno.ENOSPC

    def free(self) -> None:
        """Make room."""
        (self.state / "filler").unlink()

    def left(self) -> int:
        """Return the bytes that are free on the disk."""
        found = os.statvfs(self.state)
        return found.f_bavail * found.f_frsize

    def stored(self) -> dict[str, bytes]:
        with self.server.lock:
            return {file.filename: file.data for file in self.server.files.values()}

    def has(self, expected: dict[str, bytes]) -> None:
        """Wait until the service has exactly these."""
        wait_until(
            lambda: self.stored() == expected and len(self.server.files) == len(expected),
            f"the service has {sorted(expected)}",
        )

    def shows(self, *names: str) -> None:
        assert sorted(name for name in os.listdir(self.drive.point) if not name.endswith(".content")) == sorted(names)

    def again(self, *names: str) -> None:
        """Kill the drive, mount it anew, and check that it shows these; the disk has room by then."""
        self.drive.kill()
        self.drive.mount(*self.options)
        self.shows(*names)


@pytest.fixture(params=MODES)
def small(fuse: None, tmp_path: Path, service: FaultServer, request: pytest.FixtureRequest) -> Iterator[Small]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        state = drive.home / "state"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "small", str(state)], check=True)
        try:
            made = Small(drive, service, request.param)
            drive.mount(*made.options)
            yield made
        finally:
            drive.end()
            subprocess.run(["umount", "-l", str(state)], check=True)


#: Each makes an empty file.
CREATORS: dict[str, Callable[[Path], Any]] = {
    "touch": lambda path: subprocess.run(["touch", str(path)], check=False, capture_output=True).returncode,
    "redirection": lambda path: subprocess.run(["sh", "-c", ': > "$1"', "sh", str(path)], check=False).returncode,
}


def _made(path: Path) -> int:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return 1
    return 0


CREATORS["open"] = _made


def test_an_empty_file_is_refused_or_kept(small: Small) -> None:
    """W7, W6: never ok and then not there; and with room it is made, and outlasts a kill."""
    small.fill()
    for name, create in CREATORS.items():
        path = small / f"{name}.txt"
        assert bool(create(path)) != path.exists(), name
    there = os.listdir(small.drive.point)
    small.free()
    for name, create in CREATORS.items():
        assert create(small / f"with room {name}.txt") == 0
    small.again(*there, *(f"with room {name}.txt" for name in CREATORS))


def test_bytes_are_refused_or_kept(small: Small) -> None:
    """W7: whatever the size: a copy that succeeds is there, and one that fails leaves nothing."""
    small.fill()
    there = {}
    for count in (1, 4096, 65536, 300_000):
        path = small / f"{count}.txt"
        try:
            path.write_bytes(b"x" * count)
            there[path.name] = b"x" * count
        except OSError as error:
            assert error.errno == errno.ENOSPC
            wait_until(lambda path=path: not path.exists(), "it is gone")
    small.free()
    (small / "later.txt").write_bytes(LARGE)
    small.has({**there, "later.txt": LARGE})
    small.shows(*there, "later.txt")


def test_what_is_stored_is_removed_and_renamed(small: Small) -> None:
    """W7, W8, W9: neither needs anything of this disk."""
    for name in ("a.txt", "b.txt", "c.txt"):
        (small / name).write_bytes(name.encode())
    small.has({name: name.encode() for name in ("a.txt", "b.txt", "c.txt")})
    small.fill()
    os.unlink(small / "a.txt")
    os.rename(small / "b.txt", small / "d.txt")
    small.shows("c.txt", "d.txt")
    small.has({"c.txt": b"c.txt", "d.txt": b"b.txt"})
    os.rename(small / "d.txt", small / "c.txt")
    small.has({"c.txt": b"b.txt"})
    assert (small / "c.txt").read_bytes() == b"b.txt"
    small.free()
    small.again("c.txt")
    small.has({"c.txt": b"b.txt"})


def test_a_large_file_is_renamed_without_room(small: Small) -> None:
    """W7, W9: its bytes are here, and get another name where cache and state are one file system."""
    small.drive.end()
    small.drive.environ["XDG_CACHE_HOME"] = str(small.state / "cache")
    small.drive.mount(*small.options)
    (small / "a.txt").write_bytes(LARGE)
    small.has({"a.txt": LARGE})
    small.fill()
    os.rename(small / "a.txt", small / "b.txt")
    small.has({"b.txt": LARGE})
    assert (small / "b.txt").read_bytes() == LARGE
    small.free()
    small.again("b.txt")


def test_many_removals_and_renames(small: Small) -> None:
    """W7: for as long as it takes: what is set aside for the journal does not run out."""
    names = [f"{number:03}.txt" for number in range(24)]
    for name in names:
        (small / name).write_bytes(name.encode())
    small.has({name: name.encode() for name in names})
    small.fill()
    for name in names[:12]:
        os.unlink(small / name)
        small.fill()
    for name in names[12:]:
        os.rename(small / name, small / f"new {name}")
        small.fill()
    small.has({f"new {name}": name.encode() for name in names[12:]})
    small.free()
    small.again(*(f"new {name}" for name in names[12:]))


def test_a_removal_frees_the_spool(small: Small) -> None:
    """W7, W8: of what was never uploaded, at once, and it does not come back."""
    if not small.write_back:
        pytest.skip("in write-through nothing is pending")
    small.server.suspend()
    (small / "a.txt").write_bytes(LARGE)
    (small / "b.txt").write_bytes(b"small")
    small.fill()
    for name in ("a.txt", "b.txt"):
        os.unlink(small / name)
    assert small.left() > len(LARGE) // 2
    small.shows()
    small.server.resume()
    small.free()
    small.again()
    small.has({})


def test_what_was_acknowledged_is_uploaded(small: Small) -> None:
    """W7, W2: and gives its room back, while the disk is full."""
    if not small.write_back:
        pytest.skip("in write-through nothing is pending")
    small.server.suspend()
    bodies = {"a.txt": LARGE, **{f"{number}.txt": b"small %d" % number for number in range(10)}}
    for name, body in bodies.items():
        (small / name).write_bytes(body)
    small.fill()
    small.server.resume()
    small.has(bodies)
    wait_until(lambda: small.left() > len(LARGE) // 2, "the spool is given back")
    assert {name: (small / name).read_bytes() for name in bodies} == bodies
    small.free()
    small.again(*bodies)
    small.has(bodies)


def test_all_goes_on_by_itself(small: Small) -> None:
    """W7: no remount, no deed but making room."""
    small.fill()
    with fails(errno.ENOSPC):
        (small / "a.txt").write_bytes(LARGE)
    small.free()
    (small / "a.txt").write_bytes(LARGE)
    (small / "b.txt").touch()
    os.rename(small / "a.txt", small / "c.txt")
    small.has({"c.txt": LARGE})
    small.shows("b.txt", "c.txt")


@pytest.mark.parametrize("write_back", [False, True], ids=MODES)
def test_a_journal_that_takes_nothing_at_all(service: FaultServer, tmp_path: Path, write_back: bool) -> None:
    """W7, W8, W9: what cannot be recorded is done at the service at once, and refused only where that is away too.

    No disk that is full refuses what the journal has set aside, so here the journal does.
    """
    with filesystem(service, tmp_path, write_back=write_back, listing_ttl=0) as drive:
        for name in ("a.txt", "b.txt"):
            write(drive, f"/{name}", name.encode())
        wait_until(lambda: not drive.busy() and len(service.files) == 2, "both are stored")
        journal = drive._journal
        give_up, journal.give_up = journal.give_up, _refuses
        drive.unlink("/a.txt", os.getpid)
        assert service.names() == ["b.txt"] and drive.readdir("/") == ["b.txt", "b.txt.content"]
        service.script("delete", *[refused(503, "away", "server_error")] * 20)
        with pytest.raises(OSError if write_back else ServiceError):
            drive.unlink("/b.txt", os.getpid)
        assert service.names() == ["b.txt"] and drive.readdir("/") == ["b.txt", "b.txt.content"]
        service.unscript()
        put, journal.put = journal.put, _refuses
        drive.rename("/b.txt", "/c.txt")
        wait_until(lambda: service.names() == ["c.txt"], "it is renamed")
        assert drive.readdir("/") == ["c.txt", "c.txt.content"]
        journal.give_up, journal.put = give_up, put


def _refuses(*_arguments: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
