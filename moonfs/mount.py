"""The life of one mount: attach or connect, verify the key, take the account's lock, mount, serve, end.

The daemon is made in Python before any thread exists, and FUSE then runs in its foreground: libfuse's own fork
would leave every thread behind. The parent waits at a pipe for one line, the drive's readiness or one sentence that
says what is wrong (L1).

**Threading:** everything here runs in the main thread, but `_Drive.status`, which any thread may call, and what the
door of the daemon calls in its own: `_told`, `_keep`, `_leave`.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import resource
import select
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final, NoReturn

import moonfs
from moonfs import (
    advice,
    config,
    daemons,
    disk,
    dispatch,
    ending,
    keys,
    locks,
    logfile,
    mountpoints,
    names,
    operations,
    packages,
    prerequisites,
    wording,
)
from moonfs.announcer import Announcer
from moonfs.api import Client, Timeouts
from moonfs.attributes import Attributes
from moonfs.config import Account, Directories, close_to_others, make_private, make_roomy
from moonfs.control import CLEAR
from moonfs.errorlog import ErrorLog
from moonfs.errors import AuthenticationFailed, MoonfsError, UsageError, plain_english
from moonfs.filesystem import Filesystem
from moonfs.journal import Journal
from moonfs.notify import Notifier
from moonfs.originals import Originals
from moonfs.remote import Remote
from moonfs.server.embed import EmbedError, attach
from moonfs.settings import PROJECT, Settings
from moonfs.spool import Spool
from moonfs.texts import Texts
from moonfs.traffic import Traffic

log = logging.getLogger(__name__)

#: Seconds in which the first listing must come (L1).
VERIFY_SECONDS: Final = 30.0
#: Failures that the status shows, out of so many of the last.
_SHOWN: Final = 5
_RECENT: Final = 50
#: What leaves a file that the service refuses, or asks for its text, by its operation and its errno.
_CLOSES: Final = frozenset({"flush", "fsync", "release", "upload", "open", "read"})
_REFUSALS: Final = frozenset({"ENOTSUP", "EINVAL"})
#: What the daemon says at the pipe: that it is usable, and what begins a line about what it waits for.
_READY: Final = "ready"
_STAGE: Final = b"\x01"
#: Seconds from the last upload to the end of the process, at most.
_LAST_SECONDS: Final = 20.0
#: Seconds between two looks whether the end is in a hurry by now.
_SLICE: Final = 0.2
#: Descriptors that one drive may have: each open file holds one, and login shells allow 1,024.
_DESCRIPTORS: Final = 65_536
#: The parameter of mallopt(3), from malloc.h.
_M_ARENA_MAX: Final = -8


@dataclass(frozen=True, slots=True)
class Request:
    """What to mount.

    Attributes:
        point: where.
        local: data directory of the embedded local Files API, or None for the hosted service.
        hosted: the account on the hosted service, where `local` is None.
        settings: how the drive behaves.
        directories: where its state goes.
        profile: the name it was asked for by; empty for none.
        flags: further options of mount(8) for the kernel, such as `noexec`.
    """

    point: str
    local: Path | None
    settings: Settings
    directories: Directories
    hosted: Account | None = None
    profile: str = ""
    flags: tuple[str, ...] = ()


def start(request: Request, waiting: Callable[[str], None] = lambda _text: None) -> str:
    """Mount in a daemon and return the mount point once the drive is usable (L1).

    Args:
        request: what to mount.
        waiting: told now and then what is being waited for.

    Raises:
        UsageError: it cannot be mounted; one sentence that says what to do.
    """
    point = check(request.point, request.local, allow_other=request.settings.allow_other)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _daemon(request, point, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as pipe:
            answer = _wait_for(pipe.fileno(), pid, waiting)
    except BaseException:  # Ctrl-C: whoever gives up does not find it mounted later
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        raise
    if answer == _READY:
        return point
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    raise UsageError(answer or "The daemon died at its start; moonfs logs shows what it wrote last.")


def run(request: Request, about: str = "") -> None:
    """Mount and serve in this process until the mount ends (`-f`); what is said `about` the drive is said at its start.

    Raises:
        UsageError: as `start`.
    """
    point = check(request.point, request.local, allow_other=request.settings.allow_other)
    _be_private()
    logfile.to_terminal(debug=request.settings.debug)
    notifier = Notifier(os.environ)
    with _errors_as_sentences(request, point), _Drive(request, point, notifier) as drive:
        ready = wording.printable(f"Mounted on {point}; end with Ctrl-C or: moonfs umount {quote(point)}")
        drive.serve(lambda: print(*filter(None, (ready, about)), sep="\n", flush=True))


def check(point: str, local: Path | None, *, allow_other: bool = False) -> str:
    """Make sure that a drive can be mounted on `point`, made if it is missing, and return its absolute path.

    Args:
        point: any spelling of it.
        local: data directory of the local Files API, or None.
        allow_other: whether other users are to be let in.

    Raises:
        UsageError: it cannot; one sentence that says what to do.
    """
    prerequisites.check(dispatch.MISSING, allow_other=allow_other)
    path = mountpoints.prepare(point)
    if local is not None and Path(path) in (local.resolve(), *local.resolve().parents):
        raise UsageError(f"{local} is inside of {point}; keep the files of the local Files API elsewhere.")
    return path


def _wait_for(pipe: int, pid: int, waiting: Callable[[str], None]) -> str:
    """Return the daemon's last line; empty when it died without a word. The ones before say what it waits for."""
    received, stage = b"", "Starting the drive"
    while True:
        ready, _, _ = select.select([pipe], [], [], 0.2)
        chunk = os.read(pipe, 65536) if ready else b""
        received += chunk
        while received.startswith(_STAGE) and b"\n" in received:
            line, _, received = received.partition(b"\n")
            stage = line.removeprefix(_STAGE).decode(errors="replace")
        if received.endswith(b"\n") or (ready and not chunk) or (not ready and os.waitpid(pid, os.WNOHANG)[0]):
            return received.decode(errors="replace").strip()
        waiting(stage)


def _daemon(request: Request, point: str, pipe: int) -> NoReturn:
    """Become a daemon, serve, and end the process."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        _be_private()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)

        def stage(text: str) -> None:
            if pipe >= 0:
                os.write(pipe, _STAGE + text.encode(errors="surrogateescape") + b"\n")

        def answer(text: str) -> None:
            nonlocal pipe
            if pipe >= 0:
                os.write(pipe, " ".join(text.split()).encode(errors="surrogateescape") + b"\n")
                os.close(pipe)
                pipe = -1

        try:
            notifier = Notifier(os.environ)
            with (
                _errors_as_sentences(request, point),
                _Drive(request, point, notifier, stage=stage, daemon=True) as drive,
            ):
                drive.serve(lambda: answer(_READY))
            code = 0
        except UsageError as error:
            log.error("%s", error)
            answer(str(error))
        except BaseException as error:
            log.exception("The daemon failed")
            what = traceback.format_exception_only(error)[-1].strip()
            answer(f"The drive could not start ({what}); its log says more: moonfs logs {quote(point)}")
    finally:
        logging.shutdown()
        os._exit(code)


@contextlib.contextmanager
def _errors_as_sentences(request: Request, point: str) -> Iterator[None]:
    """Turn what can go wrong at the start into one sentence (L1)."""
    try:
        yield
    except UsageError:
        raise
    except AuthenticationFailed as error:
        said = plain_english(error.service_message or "") or "no reason given"
        raise UsageError(
            f"The service refused the API key (HTTP {error.status}: {said}): "
            "check MOONSHOT_API_KEY, or where `moonfs config` says the key is, and that it is of the region that the "
            "base URL names (https://api.moonshot.ai/v1 or https://api.moonshot.cn/v1); moonfs doctor tries both."
        ) from error
    except (MoonfsError, EmbedError) as error:
        raise UsageError(str(error)) from error
    except sqlite3.Error as error:
        raise UsageError(f"The state of this account on this machine cannot be used: {error}") from error
    except operations.NotMounted as error:
        raise UsageError(prerequisites.explain(point, error.words)) from error
    except OSError as error:
        place = disk.where(error, _written(request))
        if place is not None and disk.is_refusal(error):
            raise UsageError(f"Cannot mount on {point}: {disk.reason(error, place)}") from error
        where = f" ({error.filename})" if error.filename else ""
        raise UsageError(
            f"Cannot mount on {point}: {error.strerror or error}{where}; moonfs doctor looks for the cause."
        ) from error


def _written(request: Request) -> list[Path]:
    """Return the directories that a drive writes to."""
    directories = request.directories
    return [directories.state, directories.cache, *([request.local] if request.local else []), directories.runtime]


class _Drive:
    """Everything that one mount owns; a context manager that gives it back in reverse order."""

    def __init__(
        self,
        request: Request,
        point: str,
        notifier: Notifier,
        *,
        stage: Callable[[str], None] = lambda _text: None,
        daemon: bool = False,
    ) -> None:
        self._request = request
        self._point = point
        self._notifier = notifier
        self._stage = stage
        self._daemon = daemon
        self._stack = contextlib.ExitStack()
        self._started = time.time()
        self._hurry = False
        self._stage_of_life = daemons.STARTING
        self._device = ""

    def __enter__(self) -> _Drive:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        _share_memory()
        _allow_many_descriptors()
        request, settings = self._request, self._request.settings
        names.choose(temporary=settings.temporary, junk=settings.junk)
        advice.mounted_on(self._point)
        hosted = request.hosted
        identity = hosted.identity if hosted is not None else config.local_identity(request.local or Path())
        close_to_others(request.directories)
        state = make_private(make_private(make_private(request.directories.state) / "accounts") / identity)
        cache = make_private(make_private(make_private(request.directories.cache) / "accounts") / identity)
        self._log_path = state / "moonfs.log"
        logfile.to_file(self._log_path, debug=settings.debug, alone=self._daemon)
        self._stack.callback(os.close, locks.lock_account(state / "lock", self._point))
        door = daemons.Door(state, status=self._told, keep=self._keep, leave=self._leave)
        self._stack.callback(door.close)
        self._account = hosted or self._embed(state)
        traffic = Traffic(settings.requests)
        plain = settings.content == "text"
        texts = make_roomy(cache / ("texts-plain" if plain else "texts"))
        client = Client(
            self._account.base_url,
            self._account.key,
            socket=self._account.socket,
            timeouts=_timeouts(settings),
            # As many as the gate lets pass: readers exceed the limit by a quarter, and a probe by one.
            max_connections=settings.requests + settings.requests // 4 + 1,
            traffic=traffic,
            spill=texts,
            project=hosted is not None and settings.scope == PROJECT,  # a local account is one person's
        )
        self._stack.callback(client.close)
        attributes = Attributes(state / "attributes.db", plain=plain)
        self._stack.callback(attributes.close)
        remote = Remote(
            client,
            attributes,
            Texts(texts, settings.text_cache),
            listing_ttl=settings.listing_ttl,
            content_cache=settings.content_cache,
            plain=plain,
            traffic=traffic,
        )
        if request.local is not None:
            remote.revive = lambda: self._revive(state)
        self._stage(f"Asking {self._account.label} for its files")
        remote.verify(min(VERIFY_SECONDS, settings.timeout))
        journal = Journal(state / "journal.db")
        self._stack.callback(journal.close)
        journal.respell(remote.key)
        self._error_log = ErrorLog(state / "errors.ndjson")
        self._filesystem = Filesystem(
            remote,
            settings=settings,
            spool=Spool(make_roomy(state / "spool")),
            journal=journal,
            originals=Originals(make_roomy(cache / "originals"), settings.originals_cache),
            attributes=attributes,
            control={"status.json": self.status, "errors.ndjson": self._error_log.text, CLEAR: lambda: b""},
            switches={CLEAR: lambda _written: self._clear_errors()},
            report=self._report,
            arrived=self._error_log.over,
            errno_name=operations.errno_name,
        )
        self._stack.callback(self._filesystem.close)
        self._stack.callback(traffic.close)  # first, so that no worker waits for its turn any more
        self._stack.callback(self._drain)
        self._filesystem.recover()

    def _report(self, name: str, error: MoonfsError) -> None:
        """Record an upload that failed with nobody waiting for it (E1)."""
        self._error_log.record("upload", name, operations.errno_name(error), error)

    def _clear_errors(self) -> None:
        """Forget the failures that are over, as `moonfs logs --clear` asks."""
        uploads: Any = self._filesystem.summary()["uploads"]
        self._error_log.clear({each["name"] for each in (*uploads["failed"], *uploads["waiting"])})

    def _embed(self, state: Path) -> Account:
        assert self._request.local is not None
        self._stage("Starting the local Files API")
        runtime = make_private(self._request.directories.runtime)
        try:
            server = attach(self._request.local, runtime, state / "server.log")
        except EmbedError:
            packages.check_local()
            raise
        self._stack.callback(server.close)
        return config.local_account(self._request.local, server.key, server.socket)

    def _revive(self, state: Path) -> None:
        """Start the local Files API again if it has died; called in a thread, when it does not answer (R6)."""
        assert self._request.local is not None
        try:
            # Our lock on its clients is held still; the socket has the same name.
            attach(self._request.local, self._request.directories.runtime, state / "server.log").close()
        except (EmbedError, OSError) as error:
            log.warning("The local Files API cannot be started again: %s", error)

    def _drain(self) -> None:
        """Give pending uploads a bounded time at the end (L2); the rest stays in the journal."""
        seconds = 0.0 if self._hurry else self._request.settings.drain
        self._notifier.stopping(f"Finishing the uploads of {self._point}", seconds + _LAST_SECONDS)
        deadline = time.monotonic() + seconds
        while not (done := self._filesystem.drain(min(_SLICE, deadline - time.monotonic()))):
            if self._hurry or time.monotonic() >= deadline:
                break
        if not done:
            log.warning("Not everything is uploaded yet; the next mount of this account goes on with it")

    def _keep(self) -> dict[str, Any]:
        """Keep on this disk what is being written, before the end that `moonfs umount --lazy` asks for (L2)."""
        self._hurry = True
        if self._stage_of_life != daemons.SERVING:
            return {"kept": [], "lost": []}
        kept, lost = self._filesystem.promise()
        log.info("Told to end; of what is being written, kept: %d, lost: %d", len(kept), len(lost))
        return {"kept": kept, "lost": lost}

    def _leave(self, *, detach: bool) -> None:
        """End this process at once, whoever holds the drive: the kernel drops it with the last descriptor of /dev/fuse.

        It ends as by a kill, from which nothing that was acknowledged suffers (W2): libfuse would take away whatever is
        mounted at the point by now, and first wait for whoever waits for the service. `detach`: where it is mounted in
        this mount namespace.
        """
        if self._stage_of_life == daemons.ENDING:  # which `_hurry` brings about
            return
        if detach and self._stage_of_life == daemons.SERVING:
            ending.detach_own(self._point, self._device)
        logging.shutdown()
        os._exit(0 if self._stage_of_life == daemons.SERVING else 1)

    def serve(self, ready: Callable[[], None]) -> None:
        """Mount, call `ready` when the kernel has started, and return when the mount has ended."""
        settings = self._request.settings
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # `moonfs umount` has waited long enough already: Python runs this as soon as FUSE has returned.
        signal.signal(signal.SIGUSR2, lambda *_: setattr(self, "_hurry", True))

        place = locks.claim(self._point, self._request.directories.state)
        self._stack.callback(place.close)

        def started() -> None:
            place.close()
            mounted = mountpoints.at(self._point)
            self._device = "" if mounted is None else mounted.device
            self._stage_of_life = daemons.SERVING
            log.info(
                "moonfs %s serves %s on %s: %s, process %d",
                *(moonfs.__version__, self._account.label, self._point, _mode(settings), os.getpid()),
            )
            ready()
            self._notifier.ready(f"{self._account.label} on {self._point}")

        announcer = Announcer(self._point, self._filesystem.known, able=not settings.read_only)
        self._stack.callback(announcer.close)
        adapter = operations.Operations(
            self._filesystem,
            self._error_log,
            uid=os.getuid() if settings.uid < 0 else settings.uid,
            gid=os.getgid() if settings.gid < 0 else settings.gid,
            umask=settings.umask,
            announcer=announcer,
            on_init=started,
            on_destroy=lambda: None,
        )
        options: dict[str, object] = {
            "fsname": "moonfs",
            "subtype": "moonfs",
            "big_writes": True,
            "hard_remove": True,
            "atomic_o_trunc": True,
            "use_ino": True,
            "attr_timeout": 0,
            "entry_timeout": 0,  # each use of a name is a look-up that we see: see `lookups`
            "negative_timeout": 0,
        }
        if settings.allow_other:
            options |= {"allow_other": True, "default_permissions": True}
        if settings.read_only:
            options["ro"] = True
        options |= dict.fromkeys(self._request.flags, True)
        try:
            operations.run(adapter, self._point, **options)
            # A signal has libfuse call fusermount, which without /etc/mtab refuses and leaves a stale mount.
            ending.detach_own(self._point, self._device)
            log.info("%s is unmounted; process %d finishes what is pending and ends", self._point, os.getpid())
        finally:
            self._stage_of_life = daemons.ENDING

    def status(self) -> bytes:
        """Return `status.json` (N5); sends no request."""
        return wording.to_json(self._status(), indent=2).encode() + b"\n"

    def _told(self) -> dict[str, Any]:
        """Return what is told beside the mount: as much of the status as there is at this moment, and of the kernel."""
        told: dict[str, Any] = {"pid": os.getpid(), "mountpoint": self._point}
        if self._stage_of_life != daemons.STARTING:
            with contextlib.suppress(MoonfsError, OSError, sqlite3.Error):  # the end has begun
                told = self._status()
        connected = daemons.is_connected()
        return told | {"stage": self._stage_of_life, "connected": connected, "device": self._device}

    def _status(self) -> dict[str, Any]:
        return {
            "version": moonfs.__version__,
            "pid": os.getpid(),
            "mountpoint": self._point,
            "backend": "hosted" if self._request.local is None else "local",
            "data": None if self._request.local is None else str(self._request.local.resolve()),
            "profile": self._request.profile,
            "account": self._account.label,
            "server_socket": self._account.socket,
            "mode": _mode(self._request.settings),
            "scope": self._request.settings.scope if self._request.local is None else None,
            "purpose": self._request.settings.purpose,
            "started": int(self._started),
            "log": str(self._log_path),
            **self._filesystem.summary(),
            "errors": [each for each in self._error_log.last(_RECENT) if not self._is_over(each)][-_SHOWN:],
        }

    def _is_over(self, failure: Mapping[str, Any]) -> bool:
        """Say whether a file was refused that has been renamed or deleted since: what was to be done is done (W9)."""
        refused = failure.get("operation") in _CLOSES and failure.get("errno") in _REFUSALS
        name = str(failure.get("name"))
        return refused and "/" not in name and not self._filesystem.has(name)


def _mode(settings: Settings) -> str:
    if settings.read_only:
        return "read-only"
    return "write-back" if settings.write_back else "write-through"


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect=min(10.0, settings.timeout),
        read=settings.timeout,
        write=settings.timeout,
        pool=settings.timeout,
        upload_read=min(300.0, settings.upload_timeout),
        deadline=settings.timeout,
    )


def _be_private() -> None:
    """Leave others nothing of what this process makes, and the environment no key (X1, X2)."""
    os.umask(0o077)
    keys.leave_environment()


def _share_memory() -> None:
    """Let threads take memory from one place, where the C library would give each its own and keep it (mallopt(3)).

    Python allocates under its lock anyway.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):  # not glibc
        pass


def _allow_many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("No more than %d files can be open: %s", soft, error)
