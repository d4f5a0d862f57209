"""Attributes: what stat, statfs and xattrs show (A1, A3, A4), and that looking costs nothing (tenet 4)."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer
from tests.harness.drive import Drive, hosted, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse


def test_a_file_of_somebody_else(both: Faulty) -> None:
    """A1: size = the API's `bytes`, mtime = `created_at`, mode 0200 where its bytes are not here."""
    both.server.add("a.txt", b"12345", created_at=1_700_000_000)
    status = os.stat(both.drive / "a.txt")
    assert (status.st_size, status.st_mtime, stat.S_IMODE(status.st_mode)) == (5, 1_700_000_000, 0o200)
    assert stat.S_ISREG(status.st_mode)
    assert status.st_nlink == 1


def test_a_file_of_ones_own(both: Faulty) -> None:
    """A1: mode 0600 where its bytes are here; the owner is the mounting user."""
    (both.drive / "a.txt").write_text("hello")
    status = os.stat(both.drive / "a.txt")
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (5, 0o600)
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


def test_a_sidecar(both: Faulty) -> None:
    """A1, A2: a sidecar is 0400, has its file's time, and the size 1 until its text was fetched."""
    both.server.add("a.txt", b"12345", created_at=1_700_000_000)
    status = os.stat(both.drive / "a.txt.content")
    assert (status.st_size, status.st_mtime, stat.S_IMODE(status.st_mode)) == (1, 1_700_000_000, 0o400)


def test_looking_fetches_nothing(both: Faulty) -> None:
    """A2, tenet 4: neither stat nor ls nor find nor du asks for a text; a listing is all that is sent."""
    for index in range(20):
        both.server.add(f"{index}.txt", b"text")
    both.drive.run('ls -la "$DIR"; stat "$DIR"/*; find "$DIR" -size +1M; du -a "$DIR"')
    assert {seen.operation for seen in both.server.seen} == {"list"}


def test_the_root_has_the_time_of_its_last_change(both: Faulty) -> None:
    """A1: whoever does it; KDE lists a folder anew only when its time has changed."""
    seen = [os.stat(both.drive.point).st_ctime_ns]

    def changed() -> None:
        os.listdir(both.drive.point)
        status = os.stat(both.drive.point)
        seen.append(status.st_ctime_ns)
        assert seen[-2] < seen[-1] <= status.st_mtime_ns
        assert os.stat(both.drive.point).st_ctime_ns == seen[-1]

    (both.drive / "a.txt").write_bytes(b"one")
    changed()
    os.unlink(both.drive / "a.txt")
    changed()
    file = both.server.add("b.txt", b"two")
    changed()
    with both.server.lock:
        del both.server.files[file.id]
    changed()


def test_the_time_of_the_root_moves_once_more(either: Faulty) -> None:
    """A1, W10: KDE looks at it when a rename is done, in seconds, and again each 5 s; a text that comes must show.

    The change time stays: by it, `tar` says of a directory that it "changed as we read it".
    """
    point = either.drive.point
    seen = [os.stat(point).st_ctime_ns]

    def moves() -> os.stat_result:
        either.arrived()
        done = os.stat(point)
        seen.append(done.st_ctime_ns)
        assert seen[-2] < seen[-1]
        if time.time() < done.st_ctime + 2:
            assert done.st_mtime_ns == done.st_ctime_ns
        wait_until(lambda: int(os.stat(point).st_mtime) > int(done.st_ctime), "the time has moved")
        moved = os.stat(point)
        assert moved.st_ctime_ns == done.st_ctime_ns
        return moved

    (either.drive / "a.txt").write_bytes(b"one")
    moves()
    os.rename(either.drive / "a.txt", either.drive / "b.txt")
    moves()
    os.unlink(either.drive / "b.txt.content")  # it comes back
    moves()
    os.unlink(either.drive / "b.txt")
    moved = moves()
    wait_until(lambda: time.time() > moved.st_mtime + 3, "as much time has gone by again")
    assert os.stat(point).st_mtime_ns == moved.st_mtime_ns


def test_who_opens_a_text_only_to_look(both: Faulty) -> None:
    """Tenet 4: with O_NOATIME, as file managers open to see of what type a file is, a text is read if it is here."""
    both.server.add("a.txt", b"text")
    failed = len(both.drive.errors())
    path = both.drive / "a.txt.content"
    with fails(errno.EACCES):
        os.open(path, os.O_RDONLY | os.O_NOATIME)
    assert both.server.count("content") == 0
    assert len(both.drive.errors()) == failed
    text = path.read_bytes()
    looked = os.open(path, os.O_RDONLY | os.O_NOATIME)
    assert os.read(looked, 2**20) == text
    os.close(looked)
    assert both.server.count("content") == 1


#: Opens a file as Dolphin does: by name in the main thread, then in another one.
DOLPHIN = """
import sys, threading
with open("/proc/self/comm", "w") as name:
    name.write("dolphin")
def read():
    with open(sys.argv[1]) as file:
        print(file.read())
try:
    read()
except PermissionError:
    print("refused")
thread = threading.Thread(target=read)
thread.start()
thread.join()
read()
"""


def test_dolphin_looks_in_its_main_thread(both: Faulty) -> None:
    """A2, tenet 4: with Qt 5 it opens files by names that it knows, which would fetch texts; it copies in threads."""
    both.server.add("a.txt", b"text")
    path = both.drive / "a.txt.content"
    said = both.drive.python(DOLPHIN, str(path))
    assert said == f"refused\n{path.read_text()}\n{path.read_text()}\n"
    assert both.server.count("content") == 1


def test_asking_what_may_be_done_is_no_failure(both: Faulty) -> None:
    """E1: file managers call access(2) for every name; its "no" is an answer, and would push out what has failed."""
    both.server.add("a.txt", b"text")
    failed = len(both.drive.errors())
    path = both.drive / "a.txt"
    assert [os.access(path, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)] == [True, False, True, False]
    assert len(both.drive.errors()) == failed


def test_owner_and_modes_can_be_chosen(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A1: `uid=,gid=,umask=` shape what is shown."""
    service.add("a.txt", b"12345")
    drive = faulty("uid=1234", "gid=4321", "umask=0027").drive
    (drive / "b.txt").write_text("mine")
    shown = {name: os.stat(drive / name) for name in ("", "a.txt", "a.txt.content", "b.txt")}
    assert {(status.st_uid, status.st_gid) for status in shown.values()} == {(1234, 4321)}
    modes = [stat.filemode(status.st_mode) for status in shown.values()]
    assert modes == ["drwxr-x---", "--w-------", "-r--r-----", "-rw-r-----"]


def test_others_are_let_in(fuse: None, service: FaultServer) -> None:
    """X2, A1: with `allow_other` and a umask another user reads what it leaves them, and writes nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    service.add("a.txt", b"12345")
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as home, Drive(Path(home), *hosted(service.base_url, service.key)) as drive:
        drive.home.chmod(0o711)
        drive.mount("allow_other", "umask=022")
        read = subprocess.run([*other, "cat", drive / "a.txt.content"], capture_output=True, check=False)
        assert (read.returncode, b"12345" in read.stdout) == (0, True), read
        write = subprocess.run([*other, "touch", drive / "b.txt"], capture_output=True, text=True, check=False)
        assert "Permission denied" in write.stderr
        for name in (".moonfs", ".moonfs/status.json", ".moonfs/errors.ndjson", ".moonfs/by-id", ".moonfs/refresh"):
            look = subprocess.run([*other, "head", "-c1", drive / name], capture_output=True, text=True, check=False)
            assert "Permission denied" in look.stderr, name
        assert drive.status()["quota"]["files"] == 1
        with open(drive / ".moonfs" / "status.json", "rb") as status:
            assert stat.filemode(os.fstat(status.fileno()).st_mode) == "-r--------"
        drive.remount("allow_other", "umask=022", "control=all")
        assert subprocess.run([*other, "cat", drive / ".moonfs/status.json"], capture_output=True, check=True).stdout
        drive.remount("allow_other")
        for mode in ("allow_other", ""):
            assert subprocess.run([*other, "ls", drive.point], capture_output=True, check=False).returncode != 0, mode
            drive.remount()


def test_the_time_does_not_move_when_the_upload_ends(both: Faulty) -> None:
    """A1: the time that the writer saw before close is the time after it, or editors warn."""
    with open(both.drive / "a.txt", "wb", buffering=0) as file:
        file.write(b"hello")
        before = os.fstat(file.fileno())
    after = os.stat(both.drive / "a.txt")
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert both.server.count("upload") == 1


def test_times_and_numbers_survive_a_remount(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A1: what `utimens` set is kept across mounts, to the nanosecond; so are inode numbers, of everybody's files."""
    service.add("theirs.txt", b"theirs")
    drive = faulty().drive
    (drive / "mine.txt").write_text("mine")
    names = ["mine.txt", "mine.txt.content", "theirs.txt", "theirs.txt.content"]
    os.utime(drive / "mine.txt", ns=(1, 1_234_567_890_123_456_789))
    os.utime(drive / "theirs.txt", ns=(1, 1_234_567_890_987_654_321))
    before = {name: (os.stat(drive / name).st_mtime_ns, os.stat(drive / name).st_ino) for name in names}
    assert before["mine.txt"][0] == 1_234_567_890_123_456_789
    assert before["theirs.txt"][0] == 1_234_567_890_987_654_321
    assert len({inode for _, inode in before.values()}) == 4
    drive.remount()
    assert {name: (os.stat(drive / name).st_mtime_ns, os.stat(drive / name).st_ino) for name in names} == before


def test_an_overwrite_keeps_the_inode(both: Faulty) -> None:
    """A1: inode numbers survive the upload of a new version, though the id is another."""
    (both.drive / "a.txt").write_text("one")
    before = os.stat(both.drive / "a.txt").st_ino
    (first,) = both.server.files
    (both.drive / "a.txt").write_text("two!")
    assert os.stat(both.drive / "a.txt").st_ino == before
    assert first not in both.server.files


def test_readdir_and_stat_agree_on_the_inode(both: Faulty) -> None:
    """A1: `use_ino`; what stat says is what fstat says."""
    (both.drive / "a.txt").write_text("one")
    with open(both.drive / "a.txt", "rb") as file:
        assert os.fstat(file.fileno()).st_ino == os.stat(both.drive / "a.txt").st_ino


@pytest.mark.parametrize("directory", ["", ".moonfs"])
def test_a_listing_has_the_inode_numbers_of_stat(both: Faulty, directory: str) -> None:
    """A1, readdir(3): `ls -i` and `find -inum` find what `stat` shows, for local, remote and control files alike."""
    both.server.add("b.txt", b"12345")
    (both.drive / "a.txt").write_text("one")
    (both.drive / "kept.tmp").write_text("here")
    listed = {entry.name: entry.inode() for entry in os.scandir(both.drive / directory)}
    shown = {name: os.stat(both.drive / directory / name).st_ino for name in listed}
    assert listed == shown and (directory or {"a.txt", "b.txt", "kept.tmp", "a.txt.content"} <= set(listed))


def test_utime_now_and_omit(both: Faulty) -> None:
    """A4: `touch -a` leaves the modification time alone, `touch` moves it to now; neither uploads anything."""
    both.server.add("a.txt", b"12345", created_at=1_700_000_000)
    both.drive.run('touch -a "$DIR/a.txt"')
    assert os.stat(both.drive / "a.txt").st_mtime == 1_700_000_000
    both.drive.run('touch "$DIR/a.txt"')
    assert abs(os.stat(both.drive / "a.txt").st_mtime - os.stat("/proc/self").st_mtime) < 3600
    assert both.server.count("upload") == 0


@pytest.mark.parametrize("name", ["", "mine.txt", "theirs.txt", "theirs.txt.content"])
def test_chmod_chown_and_utimens_succeed(both: Faulty, name: str) -> None:
    """A4: on files, on sidecars and on `/` too; nothing is sent for them."""
    both.server.add("theirs.txt", b"theirs")
    (both.drive / "mine.txt").write_text("mine")
    os.stat(both.drive / name)
    sent = both.server.count("upload"), both.server.count("delete"), both.server.count("content")
    path = both.drive / name
    os.chmod(path, 0o644)
    os.chown(path, os.getuid(), os.getgid())
    os.utime(path)
    os.utime(path, (1, 2))
    assert (both.server.count("upload"), both.server.count("delete"), both.server.count("content")) == sent


def test_chmod_of_what_is_not_there(both: Faulty) -> None:
    """A4: they do not succeed on a name that is nobody's."""
    for change in (lambda path: os.chmod(path, 0o644), lambda path: os.chown(path, 0, 0), os.utime):
        with fails(errno.ENOENT):
            change(both.drive / "nobody.txt")


def test_statfs_is_the_quota(both: Faulty) -> None:
    """A3: 10 GB, 1,000 files, and what is left, own uploads and those of others counted."""
    both.server.add("theirs.bin", b"x" * 3 * 2**20)
    (both.drive / "mine.txt").write_bytes(b"x" * 2**20)
    quota = os.statvfs(both.drive.point)
    assert quota.f_blocks * quota.f_frsize == 10 * 2**30
    assert quota.f_bavail * quota.f_frsize == 10 * 2**30 - 4 * 2**20
    assert (quota.f_files, quota.f_favail) == (1000, 998)
    (both.drive / "mine.txt").unlink()
    quota = os.statvfs(both.drive.point)
    assert quota.f_bavail * quota.f_frsize == 10 * 2**30 - 3 * 2**20
    assert quota.f_ffree == 999


def test_df_prints_the_quota(both: Faulty) -> None:
    """A3: `df -h` and `df -i` are right."""
    both.server.add("theirs.txt", b"x")
    assert both.drive.run('df -B1G --output=fstype,size "$DIR" | tail -1').split() == ["fuse.moonfs", "10"]
    assert both.drive.run('df --output=itotal,iused,iavail "$DIR" | tail -1').split() == ["1000", "1", "999"]


def test_xattrs_say_what_the_service_says(both: Faulty) -> None:
    """A4: `user.moonfs.*` names the id, the URL for a chat, purpose, status and state."""
    stored = both.server.add("a.png", b"12345", purpose="image", status="ok")
    path = both.drive / "a.png"
    shown = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    assert shown["user.moonfs.id"] == stored.id.encode()
    assert shown["user.moonfs.url"] == f"ms://{stored.id}".encode()
    assert shown["user.moonfs.purpose"] == b"image"
    assert shown["user.moonfs.status"] == b"ok"
    assert shown["user.moonfs.state"] == b"stored"


def test_xattrs_of_ones_own(both: Faulty) -> None:
    """A4: the hash of what was written here is known, and still after the file is closed."""
    (both.drive / "a.txt").write_bytes(b"hello")
    path = both.drive / "a.txt"
    sha256 = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert os.getxattr(path, "user.moonfs.sha256") == sha256
    assert os.getxattr(path, "user.moonfs.id").decode() in both.server.files


def test_xattrs_that_are_not_there(both: Faulty) -> None:
    """A4: an attribute of another name is ENODATA, of another file ENOENT; writing one is ENOTSUP."""
    both.server.add("a.txt", b"12345")
    for name in ("user.other", "user.moonfs.nothing", "security.capability", "system.posix_acl_access"):
        with fails(errno.ENODATA):
            os.getxattr(both.drive / "a.txt", name)
    with fails(errno.ENOENT):
        os.getxattr(both.drive / "nobody.txt", "user.moonfs.id")
    with fails(errno.ENOTSUP):
        os.setxattr(both.drive / "a.txt", "user.other", b"1")


@pytest.mark.parametrize("where", ["", ".moonfs/purpose/file-extract/"])
def test_a_purpose_that_is_set(either: Faulty, where: str) -> None:
    """A4: `setfattr -n user.moonfs.purpose -v image` uploads anew under that purpose, then the old id goes."""
    (either.drive / "a.png").write_bytes(b"picture")
    old = set(either.arrived() and either.server.files)
    os.setxattr(either.drive / f"{where}a.png", "user.moonfs.purpose", b"image")
    assert either.arrived() == {"a.png": b"picture"}
    (file,) = either.server.files.values()
    assert (file.purpose, {file.id} & old, either.server.count("upload")) == ("image", set(), 2)
    assert os.getxattr(either.drive / "a.png", "user.moonfs.purpose") == b"image"
    os.setxattr(either.drive / "a.png", "user.moonfs.purpose", b"image")
    either.arrived()
    assert either.server.count("upload") == 2, "it has that purpose already"
    assert (either.drive / "a.png").read_bytes() == b"picture"


def test_a_purpose_for_what_is_being_written(either: Faulty) -> None:
    """A4, W1: set before the close it costs no further upload."""
    with open(either.drive / "a.png", "wb") as file:
        file.write(b"picture")
        file.flush()
        os.setxattr(file.fileno(), "user.moonfs.purpose", b"image")
        file.write(b" and more")
    assert either.arrived() == {"a.png": b"picture and more"}
    (stored,) = either.server.files.values()
    assert (stored.purpose, either.server.count("upload")) == ("image", 1)


def test_a_purpose_for_what_waits_while_somebody_reads_it(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A4, W2: whoever has it open for reading does not keep what is promised already at its old purpose."""
    both = faulty("write_back", "listing_ttl=0")
    gate = Gate()
    service.script("upload", gate.before)
    (both.drive / "a.png").write_bytes(b"picture")
    gate.wait()
    with open(both.drive / "a.png", "rb") as reader:
        os.setxattr(both.drive / "a.png", "user.moonfs.purpose", b"image")
        gate.opened.set()
        wait_until(lambda: [file.purpose for file in service.files.values()] == ["image"], "it has its purpose")
        assert reader.read() == b"picture"
    wait_until(lambda: not both.drive.status()["uploads"]["pending"], "nothing is pending")
    assert service.names() == ["a.png"]


def test_cp_with_all_attributes(either: Faulty) -> None:
    """A4, W1: `cp -a` on the drive copies the purpose too, for one upload, and complains about nothing."""
    (either.drive / "a.png").write_bytes(b"picture")
    os.setxattr(either.drive / "a.png", "user.moonfs.purpose", b"image")
    either.arrived()
    before = either.server.count("upload")
    either.drive.run('cp -a "$DIR/a.png" "$DIR/b.png"')
    assert either.arrived() == {"a.png": b"picture", "b.png": b"picture"}
    assert either.server.count("upload") == before + 1


def test_purposes_that_cannot_be_set(both: Faulty) -> None:
    """A4, W9: no such purpose: EINVAL; bytes that are not here: ENOTSUP; a text: EACCES; all stays as it was."""
    both.server.add("theirs.txt", b"12345")
    for name, value, code in (
        ("theirs.txt", b"other", errno.EINVAL),
        ("theirs.txt", b"\xff", errno.EINVAL),
        ("theirs.txt", b"batch", errno.ENOTSUP),
        ("theirs.txt.content", b"batch", errno.EACCES),
        (".moonfs/status.json", b"batch", errno.EPERM),
    ):
        with fails(code):
            os.setxattr(both.drive / name, "user.moonfs.purpose", value)
    with fails(errno.ENOTSUP):
        os.setxattr(both.drive / "theirs.txt", "user.moonfs.id", b"1")
    assert both.server.count("upload") == 0 and both.server.names() == ["theirs.txt"]


def test_xattrs_cost_no_request(both: Faulty) -> None:
    """Tenet 4: a file manager that asks for every attribute downloads nothing."""
    both.server.add("a.txt", b"12345")
    for name in ("a.txt", "a.txt.content"):
        for key in os.listxattr(both.drive / name):
            os.getxattr(both.drive / name, key)
    assert {seen.operation for seen in both.server.seen} == {"list"}
