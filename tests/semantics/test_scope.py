"""Whose files a drive shows: the organisation's, or with `scope=project` those of the key's project alone (N1)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moonfs.cli.words import WHOSE_FILES
from tests.conftest import MODES, Faulty, Pair, serving
from tests.faults.formats import ORGANISATION
from tests.faults.kinds import Kind
from tests.faults.server import FaultServer, Reply, Seen, answered, error
from tests.harness.account import Account
from tests.harness.drive import Drive, hosted, wait_until

pytestmark = pytest.mark.fuse

PROJECT = {"MOONFS_SCOPE": "project"}
BETA = Kind(beta=True)


@pytest.fixture(params=MODES)
def served_project(fuse: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """A drive of a project on `moonfs serve`, in write-through and in write-back."""
    with serving(tmp_path) as pair:
        pair.drive.environ |= PROJECT
        yield Pair(pair.drive.mount("listing_ttl=0", *MODES[request.param]), pair.account)


@pytest.fixture(params=MODES)
def strict_project(fuse: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """The same on a service that answers in the second format alone."""
    with of(tmp_path, BETA) as (drive, server), Account(server.base_url, server.key, kind=BETA) as account:
        yield Pair(drive.mount("listing_ttl=0", *MODES[request.param]), account)


def test_a_drive_of_a_project(strict_project: Pair) -> None:
    """N1, W1, W4, W8, A3, A4: put, list, read, overwrite, choose a purpose and delete, in the second format."""
    _use(strict_project.drive, strict_project.account)


def test_a_drive_of_a_project_of_the_local_files_api(served_project: Pair) -> None:
    """N1: the same on `moonfs serve`."""
    _use(served_project.drive, served_project.account)


def _use(drive: Drive, account: Account) -> None:
    drive.run('printf one > "$DIR/a.txt"')
    assert drive.command("sync", str(drive.point)).returncode == 0
    (first,) = account.files()
    assert (first["filename"], first["bytes"]) == ("a.txt", 3)
    assert sorted(os.listdir(drive.point)) == ["a.txt", "a.txt.content"]
    assert b'"content":"one"' in (drive / "a.txt.content").read_bytes()
    assert os.getxattr(drive / "a.txt", "user.moonfs.url") == f"ms://{first['id']}".encode()
    assert int((drive / "a.txt").stat().st_mtime) > 10**9
    drive.run('printf second > "$DIR/a.txt"')
    assert drive.command("sync", str(drive.point)).returncode == 0
    wait_until(lambda: [file["bytes"] for file in account.files()] == [6], "the old version is gone")
    assert b'"content":"second"' in (drive / "a.txt.content").read_bytes()
    os.setxattr(drive / "a.txt", "user.moonfs.purpose", b"batch")
    assert drive.command("sync", str(drive.point)).returncode == 0
    wait_until(lambda: [file["purpose"] for file in account.files()] == ["batch"], "it has the purpose, once")
    room = os.statvfs(drive.point)
    assert (room.f_files - room.f_ffree, (room.f_blocks - room.f_bfree) * room.f_frsize > 0) == (1, True)
    drive.run('rm "$DIR/a.txt"')
    assert drive.command("sync", str(drive.point)).returncode == 0
    assert account.files() == [] == os.listdir(drive.point)
    assert drive.errors() == []


@contextlib.contextmanager
def of(home: Path, kind: Kind = Kind()) -> Iterator[tuple[Drive, FaultServer]]:  # noqa: B008 - frozen
    """A drive, not mounted, on a service of some kind."""
    with FaultServer(kind=kind) as server, Drive(home, *hosted(server.base_url, server.key, kind)) as drive:
        yield drive, server


def test_each_scope_has_its_files(fuse: None, tmp_path: Path) -> None:
    """N1: the organisation's drive shows a colleague's file too, the project's does not, nor counts or deletes it."""
    with of(tmp_path) as (drive, server):
        server.add("ours.txt", b"ours")
        server.add("theirs.txt", b"theirs", scope=ORGANISATION)
        drive.mount()
        assert {"ours.txt", "theirs.txt"} <= set(os.listdir(drive.point))
        drive.umount()
        drive.environ |= PROJECT
        drive.mount()
        assert sorted(os.listdir(drive.point)) == ["ours.txt", "ours.txt.content"]
        room = os.statvfs(drive.point)
        assert room.f_files - room.f_ffree == 1
        drive.run('rm "$DIR"/*')
        assert server.names() == ["theirs.txt"]


def test_who_may_lose_files_is_told(fuse: None, tmp_path: Path, fresh: Callable[..., Pair]) -> None:
    """N1: of a drive of the organisation mount and status say so in one line; of other drives they say nothing."""
    with of(tmp_path / "hosted") as (drive, _server):
        done = drive.try_mount()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{WHOSE_FILES}\n")
        assert drive.command("status", str(drive.point)).stdout.count("whole organisation") == 1
        assert drive.status()["scope"] == "organisation"
        drive.umount()
        drive.environ |= PROJECT
        assert drive.try_mount().stderr == ""
        assert "organisation" not in drive.command("status", str(drive.point)).stdout
        assert drive.status()["scope"] == "project"
    local = fresh().drive
    assert "organisation" not in local.command("status", str(local.point)).stdout
    assert local.status()["scope"] is None
    local.umount()
    local.environ |= PROJECT
    assert local.try_mount().stderr == "", "an account of one person has no scopes, whatever is set for others"


@pytest.mark.parametrize("value", ["", "Project", "team"])
def test_a_scope_that_is_none(fuse: None, tmp_path: Path, value: str) -> None:
    """L1: an empty variable is none, any other word is refused with those that there are."""
    with of(tmp_path) as (drive, _server):
        drive.environ |= {"MOONFS_SCOPE": value}
        done = drive.try_mount()
        if value:
            assert done.returncode == 1 and "one of organisation, project" in done.stderr
        else:
            assert drive.status()["scope"] == "organisation"


@pytest.mark.parametrize(
    "reply", [None, error(400, "Invalid Kimi-Api-Version: only '2027-01-01' is known")], ids=["ignores it", "refuses"]
)
def test_a_service_without_scopes(fuse: None, tmp_path: Path, reply: Reply | None) -> None:
    """L1, N1: a service that does not know the header: one sentence, and no drive."""
    with of(tmp_path) as (drive, server):
        drive.environ |= PROJECT
        if reply is None:  # it answers whatever the header says
            server.weather = _without_header
        else:
            server.script("list", answered(reply))
        done = drive.try_mount()
        assert done.returncode == 1 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and "mount it with scope=organisation" in done.stderr
        assert not drive.point.exists() and server.count() == 1


def _without_header(seen: Seen) -> None:
    seen.headers.pop("kimi-api-version", None)


def kept(drive: Drive, server: FaultServer) -> None:
    """Leave pending what the organisation's drive was told: an upload, an overwrite and a deletion."""
    server.suspend()
    drive.run('printf new > "$DIR/new.txt"; printf newer > "$DIR/over.txt"; rm "$DIR/theirs.txt"')
    drive.kill()
    server.resume()


def test_another_scope_goes_on_with_what_was_pending(fuse: None, tmp_path: Path) -> None:
    """N1, W2, W8: what was promised by a drive of the organisation is done by one of the project, deletions too."""
    with of(tmp_path) as (drive, server):
        for name in ("over.txt", "theirs.txt", "stays.txt"):
            server.add(name, name.encode(), scope=ORGANISATION)
        drive.mount("write_back")
        kept(drive, server)
        drive.environ |= PROJECT
        drive.mount("write_back")
        faulty = Faulty(drive, server, write_back=True)
        assert faulty.arrived() == {"new.txt": b"new", "over.txt": b"newer", "stays.txt": b"stays.txt"}
        assert "stays.txt" not in os.listdir(drive.point)
        deleted = [seen for seen in server.seen if seen.operation == "delete"]
        outside = [seen for seen in deleted if "kimi-api-version" not in seen.headers]
        assert len(outside) == 2, "by the view that they were promised in"


def test_a_service_that_knows_projects_alone(fuse: None, tmp_path: Path) -> None:
    """W8, N1: a deletion that a crash left, and that had been done, has an end where nothing else can be asked."""
    with of(tmp_path, BETA) as (drive, server):
        gone = server.add("gone.txt", b"gone")
        drive.mount("write_back")
        assert "gone.txt" in os.listdir(drive.point)
        server.suspend()
        os.unlink(drive / "gone.txt")
        drive.kill()
        with server.lock:
            del server.files[gone.id]
        server.resume()
        drive.mount("write_back")
        assert Faulty(drive, server, write_back=True).arrived() == {}


def test_what_is_kept_of_another_scope_stays(fuse: None, tmp_path: Path) -> None:
    """N1, R2, R5, A1: bytes, times and texts of files that the project does not list are there when they show again."""
    with of(tmp_path) as (drive, server):
        drive.mount("listing_ttl=0")
        (drive / "mine.txt").write_bytes(b"mine")
        os.utime(drive / "mine.txt", (1_000_000, 1_000_000))
        (drive / "mine.txt.content").read_bytes()
        before = os.stat(drive / "mine.txt").st_ino
        for stored in server.files.values():
            stored.scope = ORGANISATION
        drive.umount()
        drive.environ |= PROJECT
        drive.mount("listing_ttl=0")
        for _ in range(4):
            assert os.listdir(drive.point) == []
        drive.umount()
        del drive.environ["MOONFS_SCOPE"]
        drive.mount("listing_ttl=0")
        server.seen.clear()
        assert (drive / "mine.txt").read_bytes() == b"mine"
        status = os.stat(drive / "mine.txt")
        assert (status.st_mtime, status.st_ino) == (1_000_000, before)
        assert b"mine" in (drive / "mine.txt.content").read_bytes()
        assert server.count("content") == 0
