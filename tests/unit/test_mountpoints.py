"""Mount points: the kernel's table read rightly, and one sentence for a place that cannot be one."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest

from moonfs import mountpoints, mounts
from moonfs.errors import UsageError
from moonfs.mountpoints import FSTYPE, absolute, at, ours, prepare
from moonfs.mounts import Mount, table

LINES = b"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid shared:5 - proc proc rw
98 22 0:50 / /home/me/moon rw,nosuid,nodev shared:77 master:3 - fuse.moonfs moonfs rw,user_id=1000
99 22 0:51 / /home/me/my\\040moon\\011tab\\134back\\012line\\043 rw - fuse.moonfs moonfs rw
100 22 0:52 / /mnt/\xe7\xa6\x8f\xe5\xb7\x9e rw - fuse.moonfs moonfs rw
101 22 0:53 / /mnt/latin-\xe9 rw - fuse.sshfs me@host:/ rw
102 98 0:54 / /home/me/moon rw - tmpfs tmpfs rw
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes bytes the kernel's mount table, as root sees it: with everybody's drives."""
    file = tmp_path / "mountinfo"

    def opened(path: object, *args: Any, **kwargs: Any) -> Any:
        return builtins.open(file if path == "/proc/self/mountinfo" else path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(mounts, "open", opened, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return file.write_bytes


def test_ours_are_this_users(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`moonfs status` without a directory: the drives of whoever asks; root sees everybody's."""
    kernel(LINES)
    for user, points in ((1000, ["/home/me/moon"]), (1001, []), (0, 3)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert (ours() if user else len(ours())) == points


def test_a_bind_mount_is_no_second_drive(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """L2: `moonfs umount` without a directory; root's own are those that root has mounted."""
    kernel(
        b"22 1 0:50 / /home/me/moon rw - fuse.moonfs moonfs rw,user_id=1000\n"
        b"23 1 0:50 / /srv/moon rw - fuse.moonfs moonfs rw,user_id=1000\n"
        b"24 1 0:51 / /root/moon rw - fuse.moonfs moonfs rw,user_id=0\n"
    )
    for user, seen, owned in ((1000, ["/home/me/moon"], None), (0, ["/home/me/moon", "/root/moon"], ["/root/moon"])):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert (ours(), mountpoints.own()) == (seen, owned or seen)


def test_the_table_is_read_as_the_kernel_writes_it(kernel: Any) -> None:
    """proc_pid_mountinfo(5): octal escapes, optional fields of any number, names that are no UTF-8."""
    kernel(LINES)
    assert table() == [
        Mount("/", "ext4", device="8:1"),
        Mount("/proc", "proc", device="0:21"),
        Mount("/home/me/moon", FSTYPE, 1000, device="0:50"),
        Mount("/home/me/my moon\ttab\\back\nline#", FSTYPE, device="0:51"),
        Mount("/mnt/福州", FSTYPE, device="0:52"),
        Mount("/mnt/latin-\udce9", "fuse.sshfs", device="0:53"),
        Mount("/home/me/moon", "tmpfs", device="0:54"),
    ]
    assert os.fsencode(table()[5].point) == b"/mnt/latin-\xe9"


def test_ours_and_the_topmost(kernel: Any) -> None:
    """`moonfs status` lists moonfs only; what is mounted over a drive hides it."""
    kernel(LINES)
    assert len(ours()) == 3
    assert at("/home/me/moon") == Mount("/home/me/moon", "tmpfs", device="0:54")
    assert at("/home/me/moon/") == at("/home/me/moon") and at("/home/me") is None


@pytest.mark.parametrize("name", ["全　角", "no\u00a0break", "car\rriage", "next\x85line"], ids=ascii)
def test_blanks_that_the_kernel_does_not_escape(kernel: Any, name: str) -> None:
    """L2: a drive on a directory with a full-width blank can be found, and any such mount ends no command."""
    kernel(f"22 1 0:50 / /mnt/{name} rw - fuse.moonfs moonfs rw\n".encode())
    assert ours() == [f"/mnt/{name}"]


def test_the_real_table_can_be_read() -> None:
    """This machine's own."""
    assert any(mount.point == "/proc" for mount in table())


def test_a_point_is_absolute_and_not_looked_into(tmp_path: Path) -> None:
    """A stale mount cannot be looked into: only its parents are resolved, and a link to it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(str(tmp_path / "link" / "x" / ".." / "y")) == str(tmp_path / "real" / "y")
    assert absolute(str(tmp_path / "link")) == str(tmp_path / "real")
    assert absolute("/") == "/" and absolute("x") == os.path.realpath("x")


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    """L1: `moonfs mount NEW` works, private from the start."""
    point = prepare(str(tmp_path / "a" / "b"))
    assert point == str(tmp_path / "a" / "b") and os.stat(point).st_mode & 0o777 == 0o700
    assert prepare(point) == point


@pytest.mark.parametrize("kind", ["file", "below a file", "full"])
def test_a_place_that_cannot_be_one(tmp_path: Path, kind: str) -> None:
    """L1: one sentence that says which and what to do; nothing is touched."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    point = {"file": "file", "below a file": "file/below", "full": "full"}[kind]
    with pytest.raises(UsageError, match="choose an empty"):
        prepare(str(tmp_path / point))
    assert (tmp_path / "full" / "thing").exists() and (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(("fstype", "what"), [(FSTYPE, "moonfs umount"), ("tmpfs", r"busy.*tmpfs")])
def test_a_place_where_something_is_mounted(kernel: Any, tmp_path: Path, fstype: str, what: str) -> None:
    """L1: a drive already, or somebody else's filesystem."""
    kernel(f"22 1 0:50 / {tmp_path} rw - {fstype} x rw\n".encode())
    with pytest.raises(UsageError, match=what):
        prepare(str(tmp_path))


def test_a_stale_mount_says_how_to_clear_it(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: "Transport endpoint is not connected" becomes what to do."""
    kernel(f"22 1 0:50 / {tmp_path} rw - {FSTYPE} x rw\n".encode())
    monkeypatch.setattr(mountpoints, "is_stale", lambda _point: True)
    with pytest.raises(UsageError, match=r"stale.*moonfs umount"):
        prepare(str(tmp_path))


@pytest.mark.parametrize("answer", [None, "", "no json", "[1]"])
def test_a_drive_that_says_nothing_sensible(tmp_path: Path, answer: str | None) -> None:
    """E2: a drive that does not answer is one sentence."""
    if answer is not None:
        (tmp_path / ".moonfs").mkdir()
        (tmp_path / ".moonfs" / "status.json").write_text(answer)
    with pytest.raises(UsageError, match="does not answer"):
        mountpoints.read_status(str(tmp_path))


def test_a_drive_that_answers(tmp_path: Path) -> None:
    """N5: what stands in status.json."""
    (tmp_path / ".moonfs").mkdir()
    (tmp_path / ".moonfs" / "status.json").write_text('{"pid": 7}')
    assert mountpoints.read_status(str(tmp_path)) == {"pid": 7}
