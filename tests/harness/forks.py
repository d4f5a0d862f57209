"""`python -m moonfs …` without waiting for its imports: forked from a process that has them already.

What a command and its daemon do is done by a process of their own, with their own mount, signals, descriptors and exit
status; saved are Python's start and the imports, which are most of the processor time of a short command. What it is
not: a start as people have it. A test of the start itself, of memory, or of what is imported when uses `subprocess`, or
the mark `started`; MOONFS_TEST_EXEC=1 has all of them start everything.

    done = forks.run(["-m", "moonfs", "status"], env=forks.environ(), cwd=home, capture_output=True, text=True)

A `Popen` here is subprocess.Popen but for how its process is made. It is forked only where that makes no difference:
for moonfs and its server, with ordinary options, and where the variables that Python and the C library read at their
start are `AT_START`. /proc/PID/cmdline is the command's, with NULs behind it; /proc/PID/environ is not.

**Threading:** any thread may start processes; the one that forks has no other thread than its first.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import re
import resource
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
#: What runs here, and nothing else: moonfs, its server, and that of the tests.
PROGRAMS: Final = (("-m", "moonfs"), ("-m", "moonfs.server"), (str(ROOT / "tests" / "server" / "launch.py"),))
#: What all of them import, sooner or later.
MODULES: Final = (
    "moonfs.cli moonfs.cli.screen moonfs.doctor moonfs.mount moonfs.server.command moonfs.server.serve "
    "moonfs.server.extraction.extractor rich.console rich.live rich.progress rich.table"
).split()
#: What is read when a process starts, and by nobody later; and what is there for all that is forked.
_READ_AT_START: Final = re.compile(r"PYTHON.*|LANG|LANGUAGE|LC_.*|LD_.*|TZ|MALLOC_.*|GLIBC_.*|FUSE_LIBRARY_PATH")
AT_START: Final = {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
#: Bytes for a command line: the server's own is that long.
_LINE: Final = 4096
_PID: Final = struct.Struct("i")


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run `python COMMAND` as subprocess.run does, without `check`."""
    told, timeout = options.pop("input", None), options.pop("timeout", None)
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if told is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(told, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Popen(subprocess.Popen[Any]):
    """A process that runs `python COMMAND`."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        """`options` are those of subprocess.Popen."""
        self._end: socket.socket | None = None
        self._environ = dict(options.get("env") or os.environ)
        self._server = _server() if _is_ordinary(command, self._environ, options) else None
        super().__init__([sys.executable, *command], **options)

    def _execute_child(self, *arguments: Any) -> None:
        if self._server is None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        cwd, pipes = arguments[5], arguments[10:16]  # the same from Python 3.9 to 3.14
        theirs = (pipes[0], pipes[3], pipes[5])
        try:
            self.pid, self._end = self._server.fork(
                list(map(os.fsdecode, arguments[0])),
                self._environ,
                os.fsdecode(cwd) if cwd is not None else os.getcwd(),
                [fd if fd >= 0 else number for number, fd in enumerate(theirs)],
            )
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._end is None:
            return super()._try_wait(flags)  # type: ignore[misc,no-any-return]
        if flags & os.WNOHANG and not select.select([self._end], [], [], 0)[0]:
            return 0, 0
        said = self._end.recv(_PID.size)
        self._end.close()
        return self.pid, _PID.unpack(said)[0] if said else signal.SIGKILL

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._end is None:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


def environ() -> dict[str, str]:
    """Return this process's environment for one that may be forked."""
    return {name: value for name, value in os.environ.items() if not _READ_AT_START.fullmatch(name)} | AT_START


def _is_ordinary(command: Sequence[str], environ: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    return (
        _may_fork
        and {name: value for name, value in environ.items() if _READ_AT_START.fullmatch(name)} == AT_START
        and any(tuple(command[: len(program)]) == program for program in PROGRAMS)
        and options.keys() <= {"env", "cwd", "stdin", "stdout", "stderr", "text", "errors", "encoding"}
        and sum(map(len, map(os.fsencode, command))) < _LINE // 2
    )


def may_fork(may: bool) -> None:
    """Say whether what is started from now on may be forked."""
    global _may_fork  # noqa: PLW0603
    _may_fork = may and not os.environ.get("MOONFS_TEST_EXEC")


_may_fork = not os.environ.get("MOONFS_TEST_EXEC")


class _Server:
    """The process that forks, as who asks it sees it."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._limits = _limits()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = [sys.executable, "-m", "tests.harness.forks", str(other.fileno()), " " * _LINE]
            self._process = subprocess.Popen(command, env=AT_START, pass_fds=[other.fileno()], cwd=ROOT)
        atexit.register(self.close)

    def can(self) -> bool:
        """Say whether what it forks has what it would have from this process."""
        return os.getpid() == self._pid and _limits() == self._limits

    def close(self) -> None:
        """End it; what it has forked stays."""
        if os.getpid() == self._pid:
            self._socket.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:  # a process that was forked beside has the socket too
                self._process.kill()
                self._process.wait()

    def fork(self, argv: list[str], environ: dict[str, str], cwd: str, fds: list[int]) -> tuple[int, socket.socket]:
        """Have `argv` run; return its process and where its status will come."""
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            request = json.dumps([argv, environ, cwd]).encode()
            ancillary = array.array("i", [other.fileno(), *fds])
            self._socket.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ancillary)])
        said = mine.recv(_PID.size)
        assert said, "the process that forks has ended"
        return _PID.unpack(said)[0], mine


_the_server: _Server | None = None
_lock = threading.Lock()


def _server() -> _Server | None:
    """Return who forks, started now if need be; None where what it forks would differ from what is started here."""
    global _the_server  # noqa: PLW0603
    with _lock:
        _the_server = _the_server or _Server()
    return _the_server if _the_server.can() else None


def _limits() -> tuple[tuple[int, int], ...]:
    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_NPROC)
    return tuple(map(resource.getrlimit, kinds))


# ---- the process that forks ----------------------------------------------------------------------------------------


def serve(requests: socket.socket) -> Callable[[], None] | None:
    """Fork for each request until nobody can make one; return what the fork is to do, in the fork."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is for the tests
    signal.set_wakeup_fd(writing)
    running: dict[int, socket.socket] = {}
    while True:
        ready = select.select([requests, reading], [], [])[0]
        if reading in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(reading, 4096)
            _reap(running)
        if requests in ready:
            message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 4)
            if not message:
                return None
            end = socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                argv, environ, cwd = json.loads(message)
                _become(argv, environ, cwd, fds[1:], {each.detach() for each in (requests, end, *running.values())})
                os.close(reading)
                os.close(writing)
                return partial(_run, argv[1:])
            for fd in fds[1:]:
                os.close(fd)
            running[pid] = end
            with contextlib.suppress(OSError):  # who asked has died
                end.send(_PID.pack(pid))


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as end, contextlib.suppress(OSError):
            end.send(_PID.pack(status))


def _become(argv: list[str], environ: dict[str, str], cwd: str, fds: list[int], others: set[int]) -> None:
    """Make this process what it would be after an exec of `argv`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in (*fds, *others):
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    _show(argv)
    sys.orig_argv[:] = argv
    sys.argv[:] = argv[2:] if argv[1] == "-m" else argv[1:]
    sys.path[0] = os.getcwd() if argv[1] == "-m" else os.path.dirname(argv[1])
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
        buffering = number == 2 or raw.isatty()
        new = io.TextIOWrapper(
            raw, old.encoding, old.errors, newline=None if number == 0 else "\n", line_buffering=buffering
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    gc.enable()


def _show(argv: list[str]) -> None:
    """Let /proc/PID/cmdline say `argv`, in the place of this process's own arguments (proc_pid_stat(5))."""
    with open("/proc/self/stat", encoding="utf-8") as file:
        start, end = map(int, file.read().rpartition(")")[2].split()[45:47])
    line = b"".join(os.fsencode(word) + b"\0" for word in argv)
    if start > 0 and len(line) < end - start:
        ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)


def _run(command: Sequence[str]) -> None:
    """Run what is called by this command line of Python."""
    if command[0] == "-m":
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


def _end_of(program: Callable[[], None]) -> int:
    """Run a program as the interpreter does, and return its exit status."""
    status = 0
    try:
        program()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return status


def main() -> None:
    """Fork until the tests have ended."""
    gc.disable()
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0 if program is None else _end_of(program) & 0xFF)


if __name__ == "__main__":
    main()
