"""The FUSE adapter: one total table of errnos, and one boundary that nothing crosses without an errno."""

from __future__ import annotations

import errno
import importlib
import os
import stat
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from moonfs import errors, operations, places
from moonfs.announcer import Announcer
from moonfs.handles import Attr, Opened
from moonfs.operations import ERRNO, Operations, errno_of
from moonfs.room import Quota

#: The table "Errors" of the contract, word for word; an error of ours that stands in no row is unforeseen: EIO.
TABLE = {
    errors.MoonfsError: errno.EIO,
    errors.UsageError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.AlreadyExists: errno.EEXIST,
    errors.AccessDenied: errno.EACCES,
    errors.AuthenticationFailed: errno.EACCES,
    errors.ReadOnly: errno.EACCES,
    errors.Litter: errno.EACCES,
    errors.BytesNotHere: errno.EACCES,
    errors.OnlyLooked: errno.EACCES,
    errors.NotPermitted: errno.EPERM,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.InvalidName: errno.EINVAL,
    errors.Rejected: errno.EINVAL,
    errors.NoText: errno.EINVAL,
    errors.UnsupportedType: errno.ENOTSUP,
    errors.NotSupported: errno.ENOTSUP,
    errors.FileTooLarge: errno.EFBIG,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.TooManyFiles: errno.EDQUOT,
    errors.TooManyBytes: errno.EDQUOT,
    errors.RateLimited: errno.EAGAIN,
    errors.PassingFault: errno.EAGAIN,
    errors.NotReady: errno.EAGAIN,
    errors.OnItsWay: errno.EAGAIN,
    errors.Overtaken: errno.EAGAIN,
    errors.TimedOut: errno.ETIMEDOUT,
    errors.Unreachable: errno.EHOSTUNREACH,
    errors.ServiceError: errno.EIO,
    errors.ExtractionFailed: errno.EIO,
    errors.ProtocolError: errno.EIO,
    errors.ForeignAnswer: errno.EIO,
}


def _tree(root: type[errors.MoonfsError]) -> list[type[errors.MoonfsError]]:
    return [
        root,
        *(kind for child in root.__subclasses__() for kind in _tree(child) if kind.__module__ == root.__module__),
    ]


KINDS = _tree(errors.MoonfsError)


class Record:
    """An error log that remembers."""

    def __init__(self, problem: BaseException | None = None) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.problem = problem

    def record(self, *line: Any) -> bool:
        if self.problem is not None:
            raise self.problem
        self.lines.append(line)
        return True


class Stub:
    """A filesystem that does one thing whatever is asked: raise or answer; it remembers what was asked."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((name, args, kwargs))
            if isinstance(self.outcome, BaseException):
                raise self.outcome
            return self.outcome

        return method


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libfuse 2 nobody can be asked who calls."""
    if operations.MISSING is not None:
        monkeypatch.setattr(operations, "_thread", lambda: 0)


def adapter(outcome: Any = None, record: Record | None = None, **other: Any) -> Operations:
    quiet: dict[str, Any] = {"on_init": lambda: None, "on_destroy": lambda: None, "uid": 7, "gid": 8, "umask": 0o077}
    quiet["announcer"] = Announcer("/nowhere", list, able=False)
    return Operations(Stub(outcome), record or Record(), **{**quiet, **other})  # type: ignore[arg-type]


def fails_with(outcome: BaseException, operation: str = "chmod", *args: Any) -> int:
    with pytest.raises(OSError) as caught:
        adapter(outcome)(operation, *(args or ("/a.txt", 0)))
    assert isinstance(caught.value.errno, int) and caught.value.errno > 0
    return caught.value.errno


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_its_row(kind: type[errors.MoonfsError]) -> None:
    """Errors: a new error without an errno of its own fails here, and each row says what the contract says."""
    assert kind in ERRNO, f"{kind.__name__} has no errno in operations.ERRNO"
    assert kind in TABLE, f"{kind.__name__} has no row in this test's copy of the contract"
    assert ERRNO[kind] == TABLE[kind]
    assert fails_with(kind("what to do")) == TABLE[kind]


def test_the_table_has_no_stranger() -> None:
    """A row for a class that errors.py does not have would hide a typing mistake."""
    assert set(ERRNO) == set(KINDS)


def test_a_derived_error_takes_the_nearest_row() -> None:
    """Most derived first: what somebody derives later is answered like its parent, never with nothing."""

    class Later(errors.NoText):
        pass

    class Both(errors.TimedOut, errors.ServiceError):
        pass

    assert errno_of(Later("x")) == errno.EINVAL
    assert errno_of(Both("x")) == errno.ETIMEDOUT


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_refusal_of_a_rename_is_einval(kind: type[errors.MoonfsError]) -> None:
    """W9, errors: `mv` words it as "cannot move to a subdirectory of itself"; what is recorded is what is said."""
    record = Record()
    with pytest.raises(OSError) as caught:
        adapter(kind("no"), record)("rename", "/a", "/b")
    assert caught.value.errno == (errno.ENOTSUP if TABLE[kind] == errno.EINVAL else TABLE[kind])
    assert all(line[2] == "ENOTSUP" for line in record.lines if TABLE[kind] == errno.EINVAL)


def test_no_problem_of_the_disk_makes_a_rename_einval() -> None:
    """W9, errors: the same of this machine's disk."""
    assert fails_with(OSError(errno.EINVAL, "x"), "rename", "/a", "/b") == errno.EIO
    assert fails_with(OSError(errno.EINVAL, "x")) == errno.EINVAL


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (OSError("no errno at all"), errno.EIO),
        (OSError(0, "zero"), errno.EIO),
        (OSError(-5, "negative"), errno.EIO),
        (OSError(700, "no errno that the kernel knows"), errno.EIO),
        (OSError(10**30, "beyond a C integer"), errno.EIO),
        (OSError("a word", "x"), errno.EIO),
        (OSError([], "x"), errno.EIO),
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (TimeoutError("x"), errno.EIO),
        (ValueError("x"), errno.EIO),
        (KeyError("x"), errno.EIO),
        (RecursionError(), errno.EIO),
        (MemoryError(), errno.EIO),
        (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "x"), errno.EIO),
        (KeyboardInterrupt(), errno.EIO),
        (SystemExit(0), errno.EIO),
        (GeneratorExit(), errno.EIO),
        (httpx.ConnectError("x"), errno.EIO),
        (httpx.ReadTimeout("x"), errno.EIO),
        (httpx.InvalidURL("x"), errno.EIO),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_nothing_crosses_the_boundary_without_an_errno(problem: BaseException, code: int) -> None:
    """Errors: anything unforeseen is EIO with a positive errno; fusepy hands anything else to C as garbage."""
    assert fails_with(problem) == code


def test_an_operation_that_does_not_exist_is_an_errno_too() -> None:
    """fusepy asks by name; a name that is missing must not become an AttributeError in C."""
    assert fails_with(ValueError(), "no_such_operation") == errno.EIO


def test_a_remote_failure_leaves_a_line() -> None:
    """E1: operation, name and errno stand in the record; ENOENT and EEXIST are everyday and do not."""
    record = Record()
    refused = errors.UnsupportedType("no", status=400)
    with pytest.raises(OSError):
        adapter(refused, record)("flush", "/a.xyz", SimpleNamespace(fh=1))
    assert record.lines == [("flush", "a.xyz", "ENOTSUP", refused)]
    for everyday in (errors.NotFound("x"), errors.AlreadyExists("x")):
        with pytest.raises(OSError):
            adapter(everyday, record)("chmod", "/a", 0)
    assert len(record.lines) == 1


def test_an_unforeseen_failure_leaves_a_line_too() -> None:
    """E1: who is told EIO and looks for the cause does not find that nothing has failed."""
    record = Record()
    with pytest.raises(OSError):
        adapter(UnicodeEncodeError("latin-1", "计划", 0, 2, "no such letter"), record)(
            "create", "/计划.txt", 0, SimpleNamespace(flags=0)
        )
    ((operation, name, code, error),) = record.lines
    assert (operation, name, code) == ("create", "计划.txt", "EIO")
    assert "unforeseen way: UnicodeEncodeError: " in str(error)


@pytest.mark.parametrize(
    "problem", [ValueError("x"), OSError(errno.ENOSPC, "x"), UnicodeError("x"), SystemExit(0)], ids=repr
)
def test_an_error_log_that_fails_costs_no_errno(problem: Exception) -> None:
    """Errors: the one boundary answers with the file's errno even when the line about it cannot be written."""
    with pytest.raises(OSError) as caught:
        adapter(errors.FileTooLarge("x"), Record(problem))(
            "write", "/a", b"", 0, SimpleNamespace(fh=1, flags=0, writepage=0)
        )
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize(
    ("operation", "args"),
    [
        ("mkdir", ("/d", 0o755)),
        ("symlink", ("/l", "target")),
        ("link", ("/l", "target")),
        ("mknod", ("/p", 0o600, 0)),
    ],
)
def test_the_drive_is_flat(operation: str, args: tuple[Any, ...]) -> None:
    """N1: mkdir, links and device nodes are EPERM."""
    assert fails_with(errors.NotPermitted("flat"), operation, *args) == errno.EPERM


@pytest.mark.parametrize(("directory", "code"), [(True, errno.EPERM), (False, errno.ENOTDIR)])
def test_rmdir_says_what_is_wrong(directory: bool, code: int) -> None:
    """There is nothing to remove: a directory is EPERM, a file ENOTDIR."""
    with pytest.raises(OSError) as caught:
        adapter(Attr(0, 0, 0o700, 1, directory=directory))("rmdir", "/a")
    assert caught.value.errno == code


#: Whether there is a `stat` as C has it.
with_libfuse = pytest.mark.skipif(operations.MISSING is not None, reason=f"libfuse 2 is missing: {operations.MISSING}")


def unpacked(packed: bytes) -> Any:
    """Return what `stat` shows by its fields."""
    fuse = importlib.import_module("fuse")
    return fuse.c_stat.from_buffer_copy(packed)


@with_libfuse
def test_stat_shows_owner_kind_and_mask() -> None:
    """A1: the mounting user's ids, the kind of file, the bits that the mount's umask leaves."""
    shown = unpacked(adapter(Attr(513, 5, 0o600, 42), umask=0o277)("getattr", "/a", None))
    assert (shown.st_uid, shown.st_gid, shown.st_ino, shown.st_nlink) == (7, 8, 42, 1)
    assert shown.st_mode == stat.S_IFREG | 0o400
    assert (shown.st_size, shown.st_blocks, shown.st_mtimespec.tv_nsec) == (513, 2, 5)
    root = unpacked(adapter(Attr(0, 5, 0o700, 1, directory=True))("getattr", "/", None))
    assert root.st_mode == stat.S_IFDIR | 0o700 and root.st_nlink == 2


@pytest.mark.parametrize(
    ("mode", "asked", "allowed"),
    [(0o200, os.R_OK, False), (0o200, os.W_OK, True), (0o400, os.W_OK, False), (0o600, os.X_OK, False)],
)
def test_access_tells_the_truth(mode: int, asked: int, allowed: bool) -> None:
    """A1: what the bits do not allow is EACCES before anything is opened."""
    check = adapter(Attr(0, 0, mode, 9))
    if allowed:
        assert check("access", "/a", asked) == 0
    else:
        with pytest.raises(OSError) as caught:
            check("access", "/a", asked)
        assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (os.O_RDONLY, {"read"}),
        (os.O_RDONLY | os.O_NOATIME, {"read", "looks"}),
        (os.O_RDONLY | os.O_NONBLOCK, {"read", "does not wait"}),
        (os.O_WRONLY | os.O_TRUNC, {"write", "truncate"}),
        (os.O_RDWR | os.O_APPEND, {"read", "write", "append"}),
    ],
)
def test_open_reads_the_flags(flags: int, expected: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """W5, R3, R4: what is asked, by flags and by whom, reaches the filesystem; handle and cache bits the kernel."""
    monkeypatch.setattr(operations, "_thread", lambda: 4711)
    target = adapter(Opened(77, keep_cache=True, direct_io=True))
    fi = SimpleNamespace(flags=flags, fh=0, keep_cache=False, direct_io=False)
    assert target("open", "/a", fi) == 0
    asked: dict[str, int] = {name: name in expected for name in ("read", "write", "truncate", "append", "looks")}
    more = {"waits": "does not wait" not in expected, "reader": 4711, "ended": target._ended}
    assert target._filesystem.asked == [("open", ("/a",), {**asked, **more})]  # type: ignore[attr-defined]
    assert (fi.fh, fi.keep_cache, fi.direct_io) == (77, True, True)


@pytest.mark.parametrize(
    ("times", "kept"),
    [((1, 2_000_000_000), 2_000_000_000), ((1, 0x3FFFFFFE), None), ((1, -1), -1)],
)
def test_utimens_keeps_the_modification_time(times: tuple[int, int], kept: int | None) -> None:
    """A4: nanoseconds pass through, UTIME_OMIT changes nothing."""
    target = adapter()
    target("utimens", "/a", times)
    assert target._filesystem.asked == [("utimens", ("/a", kept), {})]  # type: ignore[attr-defined]


@pytest.mark.parametrize("times", [None, (0, 0x3FFFFFFF)])
def test_utimens_now_is_now(times: tuple[int, int] | None) -> None:
    """A4: `touch` without a time, however the kernel words it, never becomes the year 2004."""
    target = adapter()
    target("utimens", "/a", times)
    assert target._filesystem.asked[0][1][1] > 1_600_000_000 * 10**9  # type: ignore[attr-defined]


def test_statfs_is_the_quota() -> None:
    """A3: 10 GB, 1,000 files, and what is left, in the units that `df` multiplies again."""
    shown = adapter(Quota(total_bytes=10 * 2**30, free_bytes=4097, total_files=1000, free_files=3))("statfs", "/")
    assert shown["f_blocks"] * shown["f_frsize"] == 10 * 2**30
    assert (shown["f_bavail"], shown["f_bfree"]) == (1, 1)
    assert (shown["f_files"], shown["f_ffree"], shown["f_favail"], shown["f_namemax"]) == (1000, 3, 3, 255)


def test_foreign_xattrs_never_reach_the_filesystem() -> None:
    """A4: the kernel asks for security.capability before every write; that costs nothing, and there is none."""
    target = adapter(AssertionError("asked"))
    assert target("getxattr", "/a", "security.capability") is None
    assert target._filesystem.asked == []  # type: ignore[attr-defined]


def test_there_are_no_unknown_xattrs_of_ours() -> None:
    """A4: an xattr that a file has comes as bytes."""
    target = adapter({"user.moonfs.id": b"c1"})
    assert target("getxattr", "/a", "user.moonfs.id") == b"c1"
    assert target("listxattr", "/a") == ["user.moonfs.id"]
    assert target("getxattr", "/a", "user.moonfs.sha256") is None


def test_start_and_end_never_raise() -> None:
    """L1: fusepy would swallow it; the callbacks' failures go to the log."""

    def broken() -> None:
        raise ValueError("x")

    target = adapter(on_init=broken, on_destroy=broken)
    assert target("init", "/") is None
    assert target("destroy", "/") is None


@pytest.mark.parametrize("name", [b"plain.txt", "福州.pdf".encode(), b"latin-\xe9.txt", b"\xff\xfe"])
def test_names_survive_the_codec(name: bytes) -> None:
    """N7: a name that is no UTF-8 reaches the drive, which can refuse it with an errno."""
    text = name.decode(operations._ENCODING)
    assert text.encode(operations._ENCODING) == name


def listed(*names: str) -> list[tuple[bytes, int, int]]:
    """Return name, kind and inode number of what a directory with `names`, numbered from 10, shows."""
    target = adapter(Attr(0, 0, 0o700, 2, directory=True))
    target._filesystem.scan = lambda _: [(name, Attr(1, 0, 0o600, 10 + i)) for i, name in enumerate(names)]  # type: ignore[method-assign]
    shown = target("readdir", None, 0)
    assert isinstance(shown, list), "a generator would raise outside of the boundary"
    return [(name, unpacked(packed).st_mode >> 12, unpacked(packed).st_ino) for name, packed in shown]


@with_libfuse
def test_readdir_says_what_each_name_is() -> None:
    """A1: kind and inode number of each, which spares grep and find a stat."""
    assert listed("a", "b") == [(b".", 4, 2), (b"..", 4, 2), (b"a", 8, 10), (b"b", 8, 11)]


@with_libfuse
def test_every_directory_has_a_handle_of_its_own() -> None:
    """N5: `readdir` is given a number, and no path; what is no directory is ENOENT."""
    target = adapter(Attr(0, 0, 0o700, 2, directory=True))
    scanned: list[str] = []
    target._filesystem.scan = lambda path: scanned.append(path) or []  # type: ignore[method-assign,func-returns-value]
    paths = [f"/{directory}" for directory in places.DIRECTORIES]
    for path in paths:
        target("readdir", None, target("opendir", path))
    assert scanned == paths
    around = [asked[1][0] for asked in target._filesystem.asked]  # type: ignore[attr-defined]
    assert around[:8] == ["/", "/", "/.moonfs", "/", "/.moonfs/by-id", "/.moonfs", "/.moonfs/purpose", "/.moonfs"]
    for path in ("/a", "/.moonfs/x", "/a/b"):
        with pytest.raises(OSError) as caught:
            target("opendir", path)
        assert caught.value.errno == errno.ENOENT


@with_libfuse
@pytest.mark.parametrize("name", ["\ud800.txt", "a/b", "a\0b", "", "x" * 256, "福" * 86], ids=ascii)
def test_a_name_that_cannot_be_listed_hides_no_other(name: str) -> None:
    """N2: the kernel takes no listing with a `/` in it, and what cannot be encoded cannot be listed."""
    good = ["a", "\udce9.txt", "福.txt", "x" * 255]
    shown = [name for name, _, _ in listed(*good[:2], name, *good[2:])]
    assert shown == [b".", b"..", *(one.encode(operations._ENCODING) for one in good)]


@with_libfuse
def test_who_tells_of_names_reaches_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """W8: its mknod(2) and unlink(2) change what watchers have been told, and nothing else; nobody else's do that."""
    announcer = Announcer("/nowhere", list, able=False)
    target = adapter(Attr(0, 0, 0o700, 2, directory=True), announcer=announcer)
    announcer._told = {"old"}
    announcer.voice, caller = 5, 5
    monkeypatch.setattr(operations, "_thread", lambda: caller)

    def refused(operation: str, *args: Any) -> int:
        with pytest.raises(OSError) as caught:
            target(operation, *args)
        return int(caught.value.errno or 0)

    assert refused("getattr", "/new") == errno.ENOENT
    assert refused("create", "/new", 0o600, SimpleNamespace()) == errno.ENOSYS
    assert target("mknod", "/new", 0o600, 0) == 0
    assert target("getattr", "/new") and target("getattr", "/old")
    announcer._gone = {"old"}
    assert target("unlink", "/old") == 0
    assert refused("getattr", "/old") == errno.ENOENT
    for operation, args in (("rename", ("/new", "/b")), ("open", ("/new", None)), ("truncate", ("/new", 0))):
        assert refused(operation, *args) == errno.ENOENT
    assert {asked[0] for asked in target._filesystem.asked} == {"announced", "seen"}  # type: ignore[attr-defined]

    target._filesystem.asked.clear()  # type: ignore[attr-defined]
    caller = 6
    target("unlink", "/new")
    assert [asked[0] for asked in target._filesystem.asked] == ["unlink"]  # type: ignore[attr-defined]
    assert not announcer._told
