"""The FUSE adapter: resolves what the kernel asks, calls `filesystem`, shapes the reply. No policy.

It holds the one errno boundary: every dispatch of fusepy passes through `Operations.__call__`, which turns
whatever goes wrong into a positive errno by the table below. fusepy 3 needs that: an exception without an errno
would reach C as a garbage result.

**Threading:** libfuse calls from many threads, each with a fresh Python thread state, so nothing is thread-local.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import errno
import logging
import os
import stat
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, NoReturn

from moonfs import errors, names, places, wire
from moonfs.announcer import Announcer
from moonfs.dispatch import MISSING, Dispatch, pack
from moonfs.errorlog import ErrorLog
from moonfs.filesystem import Filesystem
from moonfs.handles import Attr, Opened
from moonfs.lookups import Lookups, in_unlink
from moonfs.openers import group_of

if MISSING is None:
    import fuse

log = logging.getLogger(__name__)

#: The table "Errors" of the contract, tests/semantics/README.md. The most derived class of an error decides; the root
#: is what was unforeseen.
ERRNO: Final[dict[type[errors.MoonfsError], int]] = {
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
    errors.NotReady: errno.EAGAIN,
    errors.OnItsWay: errno.EAGAIN,
    errors.Overtaken: errno.EAGAIN,
    errors.TimedOut: errno.ETIMEDOUT,
    errors.Unreachable: errno.EHOSTUNREACH,
    errors.ServiceError: errno.EIO,
    errors.PassingFault: errno.EAGAIN,
    errors.ExtractionFailed: errno.EIO,
    errors.ProtocolError: errno.EIO,
    errors.ForeignAnswer: errno.EIO,
    errors.UsageError: errno.EIO,
    errors.MoonfsError: errno.EIO,
}

#: What is no failure worth a line: shells and file managers ask all the time for names that are not there, and what
#: they may do with those that are; and they try names of their own on every directory.
_COMMON: Final = (errors.NotFound, errors.AlreadyExists, errors.Litter, errors.OnlyLooked)
_BLOCK: Final = 4096
#: What libfuse hands on as nanoseconds for UTIME_NOW and UTIME_OMIT of utimensat(2).
_UTIME_NOW: Final = 0x3FFFFFFF
_UTIME_OMIT: Final = 0x3FFFFFFE
_ENCODING: Final = "utf8-drive"
#: Programs whose main thread opens files to see of what type they are, without O_NOATIME, and reads in other threads:
#: Qt 5 opens a file before it looks at the name (qtbase/src/corelib/mimetypes/qmimedatabase.cpp).
_LOOKERS: Final = (b"dolphin\n",)
#: The inode number that a name has for the moment in which it is announced.
_ANNOUNCED: Final = 2**31


def _find_codec(name: str) -> codecs.CodecInfo | None:
    """Decode names that are no UTF-8 too, so that a look-up of one says ENOENT and a creation EINVAL."""
    if name.replace("_", "-") != _ENCODING:
        return None
    return codecs.CodecInfo(
        name=_ENCODING,
        encode=lambda text, _errors="strict": (text.encode("utf-8", "surrogateescape"), len(text)),
        decode=lambda data, _errors="strict": (bytes(data).decode("utf-8", "surrogateescape"), len(data)),
    )


codecs.register(_find_codec)


class Operations:
    """What fusepy calls. A method that fails raises; `__call__` answers."""

    # fusepy takes these for flags of struct fuse_operations.
    use_ns = True
    flag_utime_omit_ok = 1
    # Calls on open files come without a path: libfuse need not find one, so an unlinked file goes on working (W8)
    # and a name is not locked while its upload runs (E2).
    flag_nullpath_ok = 1
    flag_nopath = 1

    def __init__(
        self,
        filesystem: Filesystem,
        error_log: ErrorLog,
        *,
        uid: int,
        gid: int,
        umask: int,
        announcer: Announcer,
        on_init: Callable[[], None],
        on_destroy: Callable[[], None],
    ) -> None:
        """`uid`, `gid` and `umask` shape what `stat` shows; the callbacks run when the kernel starts and ends."""
        self._filesystem = filesystem
        self._error_log = error_log
        self._uid = uid
        self._gid = gid
        self._mask = 0o777 & ~umask
        self.on_init = on_init
        self._on_destroy = on_destroy
        self._lookups = Lookups(_thread)
        self._announcer = announcer
        self._running: int | None = None

    def _shown(self, attr: Attr) -> int:
        """Return the permission bits that are shown: what the owner may do, for everybody whom the umask leaves it."""
        owner = attr.mode >> 6 & 0o7
        spread = owner << 6 | (0 if attr.private else owner << 3 | owner)
        return spread & self._mask

    def __call__(self, operation: str, *args: Any) -> Any:
        """Run one operation; the errno boundary.

        Raises:
            OSError: with a positive errno, always, whatever went wrong.
        """
        if self._announcer.voice and self._announcer.voice == _thread():
            return self._announced(operation, *args)
        try:
            return getattr(self, operation)(*args)
        except errors.MoonfsError as error:
            code = self._code(operation, args, error)
        except OSError as error:
            # What the kernel does not know as an errno it takes for no answer at all.
            code = error.errno if isinstance(error.errno, int) and error.errno in errno.errorcode else errno.EIO
            if code == errno.EINVAL and operation == "rename":
                code = errno.EIO
            if code not in (errno.ENOENT, errno.ENODATA, errno.ENOTSUP, errno.ESTALE):
                log.warning("%s %s: %s", operation, self._name(args), error)
        except BaseException as error:
            log.exception("%s %s failed in an unforeseen way", operation, self._name(args))
            # Who is told EIO and looks for the cause should not find that nothing has failed.
            said = traceback.format_exception_only(error)[-1].strip()
            code = self._code(operation, args, errors.MoonfsError(f"moonfs failed in an unforeseen way: {said}"))
        raise OSError(code, os.strerror(code))

    def _announced(self, operation: str, path: str = "", *_: Any) -> Any:
        """Answer the process that tells who watches of a name; it never reaches a file (see `announcer`)."""
        name = path.removeprefix("/")
        if operation == "create":  # libfuse asks again by mknod
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if operation in ("mknod", "unlink"):
            (self._announcer.came if operation == "mknod" else self._announcer.went)(name)
            self._filesystem.announced()
            return 0
        if operation == "getattr" and not name:
            return self._stat(self._filesystem.getattr("/"))
        if operation == "getattr" and self._announcer.finds(name):
            # The node is that of whoever has it open: what is mapped must not be cut (mmap(2), SIGBUS).
            return self._stat(self._filesystem.seen(path) or Attr(0, time.time_ns(), 0o600, _ANNOUNCED))
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _code(self, operation: str, args: tuple[Any, ...], error: errors.MoonfsError) -> int:
        code = errno_of(error, operation)
        asked_here = error.status is None  # what the service says has its line, a 404 too (E1)
        if asked_here and (isinstance(error, _COMMON) or type(error) is errors.AccessDenied):  # access(2): just a look
            return code
        name, new = self._name(args), True
        try:
            new = self._error_log.record(operation, name, errno_name(error, operation), error)
        except BaseException:
            log.exception("The failure could not be recorded")
        if new:
            log.warning("%s %s: %s (%s) %s", operation, name, error, errno_name(error, operation), error.step)
        return code

    def _name(self, args: tuple[Any, ...]) -> str:
        """Return the name that a call is about: by its path, or by its handle where it has none."""
        try:
            if args and isinstance(args[0], str):
                return args[0].lstrip("/")
            return self._filesystem.name_of(int(args[-1].fh))
        except Exception:  # noqa: BLE001 - only for a line in the log
            return ""

    # Life cycle

    def init(self, _path: str) -> None:
        """Tell that the kernel has started; must not raise (fusepy would swallow it)."""
        try:
            self._running = _running()
            self.on_init()
        except Exception:
            log.exception("The start failed")

    def destroy(self, _path: str) -> None:
        """Tell that the mount is gone."""
        self._running = None
        try:
            self._on_destroy()
        except Exception:
            log.exception("The end failed")

    def _ended(self) -> bool:
        """Say whether libfuse has been told to end, upon which it waits for the requests under way."""
        return self._running is not None and bool(fuse._libfuse.fuse_exited(ctypes.c_void_p(self._running)))

    # Attributes

    def getattr(self, path: str, fi: Any = None) -> bytes:
        """stat(2), packed; without a handle it is a look-up, or follows one."""
        handle = int(fi.fh) if fi else None
        if handle is None and places.locate(path).is_named:  # a rename looks up the directories on its way too
            self._lookups.arrive(path)
            self._filesystem.looked_up(path, _deletes)
        return self._stat(self._filesystem.getattr(path, handle, _process))

    def access(self, path: str, mode: int) -> int:
        """access(2), by the bits that the owner has."""
        attr = self._filesystem.getattr(path, None, _process)
        if attr.directory and path == "/":
            return 0
        owner = self._shown(attr)
        if (mode & os.R_OK and not owner & stat.S_IRUSR) or (mode & os.W_OK and not owner & stat.S_IWUSR):
            raise errors.OnlyLooked(f"{path.lstrip('/')} does not allow that: its mode is {owner:03o}.")
        if mode & os.X_OK and not owner & stat.S_IXUSR:
            raise errors.OnlyLooked(f"{path.lstrip('/')} cannot be executed: nothing on the drive can.")
        return 0

    def opendir(self, path: str) -> int:
        """opendir(3); the number stands for the directory, since `readdir` is given no path."""
        place = places.locate(path)
        if place.name:
            raise errors.NotFound(f"No such directory: {path}")
        return places.DIRECTORIES.index(place.directory)

    def readdir(self, _path: str | None, handle: int) -> list[tuple[bytes, bytes]]:
        """readdir(3): names, as the kernel has them, each with its `stat`; a list, since a generator would raise
        outside of the boundary."""
        directory = places.DIRECTORIES[handle]
        parent = directory.rpartition("/")[0]
        around = [(b".", self._filesystem.getattr(f"/{directory}")), (b"..", self._filesystem.getattr(f"/{parent}"))]
        shown = self._filesystem.scan(f"/{directory}")
        if directory == places.ROOT:
            self._announcer.listed((name for name, _ in shown), _process())
        below = [(_listable(name), attr) for name, attr in shown]
        return [(name, self._stat(attr)) for name, attr in around + below if name is not None]

    def releasedir(self, _path: str | None, _handle: int) -> int:
        """closedir(3)."""
        return 0

    def chmod(self, path: str, _mode: int) -> int:
        """chmod(2): accepted, without effect (A4)."""
        self._filesystem.touch_attributes(path)
        return 0

    def chown(self, path: str, _uid: int, _gid: int) -> int:
        """chown(2): accepted, without effect (A4)."""
        self._filesystem.touch_attributes(path)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """utimensat(2); only the modification time is kept (A1)."""
        mtime: int | None = time.time_ns() if times is None else int(times[1])
        if mtime == _UTIME_NOW:
            mtime = time.time_ns()
        elif mtime == _UTIME_OMIT:
            mtime = None
        self._filesystem.utimens(path, mtime)
        return 0

    def statfs(self, _path: str) -> dict[str, int]:
        """statvfs(3): the account's quota (A3)."""
        quota = self._filesystem.quota()
        free = quota.free_bytes // _BLOCK
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": quota.total_bytes // _BLOCK,
            "f_bfree": free,
            "f_bavail": free,
            "f_files": quota.total_files,
            "f_ffree": quota.free_files,
            "f_favail": quota.free_files,
            "f_namemax": 255,
        }

    def getxattr(self, path: str, name: str) -> bytes | None:
        """getxattr(2), None where there is none; first of all the question that the kernel asks before every write."""
        if not name.startswith("user.moonfs."):
            return None
        return self._filesystem.xattrs(path).get(name)

    def listxattr(self, path: str) -> list[str]:
        """listxattr(2)."""
        return list(self._filesystem.xattrs(path))

    def setxattr(self, path: str, name: str, value: bytes, options: int, _position: int = 0) -> int:
        """setxattr(2): of the purpose, which uploads anew (A4); everything else only shows."""
        if name != "user.moonfs.purpose":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        if options & os.XATTR_CREATE:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        purpose = bytes(value).decode("ascii", "replace")
        if purpose not in wire.PURPOSES:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._filesystem.set_purpose(path, purpose)
        return 0

    def removexattr(self, _path: str, _name: str) -> int:
        """removexattr(2): not supported."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    # Files

    def open(self, path: str, fi: Any) -> int:
        """open(2) of an existing file."""
        access = fi.flags & os.O_ACCMODE
        try:
            opened = self._filesystem.open(
                path,
                read=access != os.O_WRONLY,
                write=access != os.O_RDONLY,
                truncate=bool(fi.flags & os.O_TRUNC),
                append=bool(fi.flags & os.O_APPEND),
                # So file managers open what they only want to know the type of, and indexers (open(2); GLib's
                # gio/glocalfileinfo.c, get_content_type). On EPERM they would open it again without the flag.
                looks=bool(fi.flags & os.O_NOATIME) or (path.endswith(names.SIDECAR) and _only_looks()),
                waits=not fi.flags & os.O_NONBLOCK,
                reader=_thread(),
                ended=self._ended,
            )
        except errors.NotFound:
            if self._filesystem.exists(path, _process):
                raise
            # The kernel opened by a name that it had seen before: on ESTALE it looks again, and creates if it may.
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None
        return self._opened(fi, opened)

    def create(self, path: str, mode: int, fi: Any) -> int:
        """open(2) with O_CREAT of a new file."""
        try:
            opened = self._opened(fi, self._filesystem.create(path, mode, fi.flags, creator=_thread()))
        except errors.AlreadyExists:
            # It has appeared since the kernel looked, which matters to O_EXCL only.
            if fi.flags & os.O_EXCL:
                raise
            opened = self.open(path, fi)
        self._announce(came=path)
        return opened

    def read(self, _path: str | None, buffer: memoryview, offset: int, fi: Any) -> int:
        """pread(2), into `buffer`; returns how much."""
        return self._filesystem.read(int(fi.fh), buffer, offset)

    def write(self, _path: str, data: bytes, offset: int, fi: Any) -> int:
        """pwrite(2); with O_APPEND at the end (open(2)), but for a page that was mapped, which has its place."""
        append = bool(fi.flags & os.O_APPEND) and not fi.writepage
        return self._filesystem.write(int(fi.fh), data, offset, _thread(), append=append)

    def truncate(self, path: str, length: int, fi: Any = None) -> int:
        """truncate(2) and ftruncate(2)."""
        self._filesystem.truncate(path, length, int(fi.fh) if fi else None, _thread())
        return 0

    def flush(self, _path: str, fi: Any) -> int:
        """Each close(2): its error reaches the caller."""
        self._filesystem.flush(int(fi.fh), _thread())
        return 0

    def fsync(self, _path: str, _datasync: int, fi: Any) -> int:
        """fsync(2) and fdatasync(2)."""
        self._filesystem.fsync(int(fi.fh))
        return 0

    def release(self, _path: str, fi: Any) -> int:
        """The last reference is gone; the caller hears nothing."""
        self._filesystem.release(int(fi.fh))
        return 0

    # Names

    def unlink(self, path: str) -> int:
        """unlink(2)."""
        self._filesystem.unlink(path, _process)
        self._announce(went=path)
        return 0

    def rename(self, old: str, new: str) -> int:
        """rename(2)."""
        with self._lookups.replacing(new):
            self._filesystem.rename(old, new)
        self._announce(went=old, came=new)
        return 0

    def mkdir(self, path: str, _mode: int) -> int:
        """mkdir(2): refused (N1)."""
        self._filesystem.make_directory(path)
        return 0

    def rmdir(self, path: str) -> int:
        """rmdir(2): there is nothing to remove."""
        attr = self._filesystem.getattr(path)
        code = errno.EPERM if attr.directory else errno.ENOTDIR
        raise OSError(code, os.strerror(code))

    def symlink(self, path: str, _target: str) -> int:
        """symlink(2): refused (N1)."""
        self._refuse_link(path)

    def link(self, path: str, _target: str) -> int:
        """link(2): refused (N1)."""
        self._refuse_link(path)

    def _refuse_link(self, path: str) -> NoReturn:
        if names.is_temporary(path.rpartition("/")[2]):
            # A program's own, such as the lock that Emacs makes for every file it changes; it goes on without.
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        raise errors.NotPermitted(f"Cannot make {path.lstrip('/')}: the service has no links; copy the file itself.")

    def mknod(self, path: str, _mode: int, _device: int) -> int:
        """mknod(2): refused (N1)."""
        raise errors.NotPermitted(f"Cannot make {path.lstrip('/')}: the service has regular files only.")

    # Shapes

    def _announce(self, *, went: str = "", came: str = "") -> None:
        """Note what the kernel tells who watches the root of a call that has succeeded."""
        if went.count("/") == 1:
            self._announcer.went(went[1:])
        if came.count("/") == 1:
            self._announcer.came(came[1:])

    @staticmethod
    def _opened(fi: Any, opened: Opened) -> int:
        fi.fh = opened.handle
        fi.keep_cache = opened.keep_cache
        fi.direct_io = opened.direct_io
        return 0

    def _stat(self, attr: Attr) -> bytes:
        return pack(
            mode=(stat.S_IFDIR if attr.directory else stat.S_IFREG) | self._shown(attr),
            inode=attr.inode,
            links=2 + attr.subdirectories if attr.directory else 1,
            uid=self._uid,
            gid=self._gid,
            size=attr.size,
            block=_BLOCK,
            mtime_ns=attr.mtime_ns,
            ctime_ns=attr.mtime_ns if attr.ctime_ns is None else attr.ctime_ns,
        )


def errno_of(error: errors.MoonfsError, operation: str = "") -> int:
    """Return the errno of an error: that of its most derived class in the table.

    From a rename EINVAL is not for refusals: `mv` words it as "cannot move to a subdirectory of itself" (rename(2)).
    """
    for kind in type(error).__mro__:
        code = ERRNO.get(kind)
        if code is not None:
            return errno.ENOTSUP if operation == "rename" and code == errno.EINVAL else code
    return errno.EIO


def errno_name(error: errors.MoonfsError, operation: str = "") -> str:
    """Return the name of an error's errno, such as `ENOTSUP`."""
    code = errno_of(error, operation)
    # ENOTSUP and EOPNOTSUPP are one number on Linux; the table says the former.
    return "ENOTSUP" if code == errno.ENOTSUP else errno.errorcode[code]


class NotMounted(RuntimeError):
    """libfuse did not mount, or ended with an error.

    Attributes:
        words: what it and fusermount have said; empty where they have said nothing.
    """

    def __init__(self, code: object, words: str) -> None:
        super().__init__(f"libfuse ended with {code}")
        self.words = words


def run(operations: Operations, mountpoint: str, **options: Any) -> None:
    """Mount and serve in this thread until the mount ends.

    Raises:
        NotMounted: libfuse could not mount.
    """
    said = _Said()
    operations.on_init = said.end_before(operations.on_init)
    try:
        Dispatch(operations, mountpoint, raw_fi=True, encoding=_ENCODING, foreground=True, **options)
    except RuntimeError as error:
        raise NotMounted(error, said.end()) from error
    finally:
        said.end()


class _Said:
    """What libfuse and fusermount say on standard error until the mount is there; it goes there in the end."""

    def __init__(self) -> None:
        self._words = ""
        self._kept = os.dup(2)
        self._memory = os.memfd_create("moonfs-said", os.MFD_CLOEXEC)
        os.dup2(self._memory, 2)

    def end_before(self, call: Callable[[], None]) -> Callable[[], None]:
        """Return `call` with the end of this before it."""

        def run() -> None:
            self.end()
            call()

        return run

    def end(self) -> str:
        """Give standard error back, and return what was said; harmless twice."""
        if self._kept >= 0:
            os.dup2(self._kept, 2)
            os.close(self._kept)
            self._kept = -1
            size = os.fstat(self._memory).st_size
            said = os.pread(self._memory, size, 0)
            os.close(self._memory)
            with contextlib.suppress(OSError):  # of a log on a full disk
                os.write(2, said)
            self._words = said.decode("utf-8", "replace")
        return self._words


def _running() -> int | None:
    """Return libfuse's own handle of this mount (fuse.h, struct fuse)."""
    context = fuse._libfuse.fuse_get_context()
    return context.contents.fuse if context else None


def _thread() -> int:
    """Return the id of the asking thread; 0 where it is in another process namespace."""
    return int(fuse.fuse_get_context()[2])


def _deletes() -> bool:
    """Say whether the asking thread looks a name up to delete it."""
    return in_unlink(_thread())


def _process() -> int:
    """Return the thread-group id of the asking process: FUSE hands on a thread's id."""
    thread = _thread()
    return group_of(thread) or thread


def _only_looks() -> bool:
    """Say whether the asking thread opens files to see what they are, rather than to read them (proc_pid_comm(5))."""
    try:
        with open(f"/proc/{_thread()}/comm", "rb") as file:
            return file.read() in _LOOKERS and _process() == _thread()
    except OSError:
        return False


def _listable(name: str) -> bytes | None:
    """Return `name` for the kernel; None for one that would end the listing of all the others."""
    try:
        encoded = name.encode(_ENCODING)
    except UnicodeError:
        encoded = b""
    if 0 < len(encoded) <= names.MAX_BYTES and b"/" not in encoded and b"\0" not in encoded:
        return encoded
    log.error("The name %a cannot be listed", name)
    return None
