"""What a worker may use: so much memory and CPU, its document, the code that reads it; no life without its server.

A document is hostile until read, and so is its reader then. No wall stands on every machine, so there are several, each
put up where the kernel has it, and what lacks is told:

    namespaces   of its own, of users, processes, networks: nobody to signal, no interfaces. They need a process that
                 stays outside and ends with it: the keeper, which waits, and ends as the worker did
    Landlock     files: only the document and the code can be read, nothing can be written but what is open already
    seccomp      calls that readers never need: sockets, programs, processes, the machine, opening files for writing
    no rights    no capability is left, not of root's, and none can be gained
    Python       an audit hook refuses sockets to Python code, on any machine

The limits hold for the whole process; the CPU limit is renewed for each job. `python -m` of this puts them up for
nothing and prints, as JSON, what this machine lacks.

**Threading:** called by the main thread of a worker, before any library could start a thread.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import struct
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from moonfs.server.extraction import landlock, seccomp
from moonfs.server.extraction.readable import readable

_WALLS: Final = ("landlock", "seccomp", "namespaces")
_CLONE_NEWUSER: Final = 0x10000000
#: Of processes, networks, and what System V shares between processes.
_CLONE_NEW: Final = 0x20000000 | 0x40000000 | 0x08000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
#: _LINUX_CAPABILITY_VERSION_3, which takes 64 bits of each of three sets.
_CAPABILITIES_3: Final = 0x20080522
#: 100 MB of control characters are 600 MB as a JSON string; no file of a worker needs to be larger.
_MAX_FILE_BYTES: Final = 700 * 1024**2
#: With which code the first process of a namespace ends at SIGXCPU, which is not deadly to it: `_exit` gets the number.
_OUT_OF_CPU: Final = int(signal.SIGXCPU)


@dataclass(frozen=True, slots=True)
class Confined:
    """What has come of it.

    Attributes:
        lacking: the walls that this machine lacks, of landlock, seccomp and namespaces.
        statm: a descriptor of `/proc/self/statm`; -1 where there is none.
    """

    lacking: tuple[str, ...]
    statm: int


def confine(memory_bytes: int, parent: int, home: str, spared: str) -> Confined:
    """Confine this process for good. Where it gets namespaces, a child of this process returns, which goes on as it.

    Args:
        memory_bytes: address space it may use.
        parent: pid of the server; when it dies, so does this process.
        home: the directory that it may read, its document in it.
        spared: the home of the server's user, which is not readable for its being searched for modules.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux":  # the limits are POSIX
        _limit(memory_bytes)
        sys.addaudithook(_refuse_sockets)
        return Confined(_WALLS, -1)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    has_namespaces = _unshare(libc)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after unshare, which clears it
    if os.getppid() != parent:
        os._exit(1)
    if has_namespaces:
        _move_in(libc)
    _limit(memory_bytes)
    statm = _open_statm()
    landlocked = landlock.restrict(libc, *readable(home, spared))
    _drop_capabilities(libc)
    sys.addaudithook(_refuse_sockets)
    filtered = seccomp.install(libc)
    stand = zip(_WALLS, (landlocked > 0, filtered, has_namespaces), strict=True)
    return Confined(tuple(wall for wall, stands in stand if not stands), statm)


def allow_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of CPU before the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def resident_bytes(statm: int) -> int:
    """Return how much memory this process holds, in bytes; `statm` is of `Confined`."""
    return int(os.pread(statm, 200, 0).split()[1]) * resource.getpagesize() if statm >= 0 else 0


def _unshare(libc: ctypes.CDLL) -> bool:
    """Give the children of this process namespaces of their own; say whether they get them."""
    kinds = (_CLONE_NEW, _CLONE_NEW | _CLONE_NEWUSER) if os.geteuid() == 0 else (_CLONE_NEW | _CLONE_NEWUSER,)
    return any(libc.unshare(kind) == 0 for kind in kinds)


def _move_in(libc: ctypes.CDLL) -> None:
    """Go on in a child, the first process of the namespace; this process waits for it and ends as it does."""
    watched, held = os.pipe()  # at its end where this process ends, whom the child cannot name
    child = os.fork()
    if child:
        _keep(child, held)
    os.close(held)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([watched], [], [], 0)[0]:
        os._exit(1)
    os.close(watched)
    # Of a first process, the kernel ignores what has no handler; this one is C's, for Python's waits for a reader in C.
    libc.signal(signal.SIGXCPU, ctypes.cast(libc._exit, ctypes.c_void_p))


def _keep(child: int, held: int) -> NoReturn:
    """Wait for a process, then end by the same signal or with the same code; never return."""
    # Who waits for the end of its output is not to wait for this process.
    os.closerange(0, held)
    os.closerange(held + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    number = signal.SIGXCPU if code == _OUT_OF_CPU else -code
    if number > 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(code & 0xFF)


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _open_statm() -> int:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up every capability: those of root, and those over a user namespace that was made here (capset(2))."""
    libc.capset(struct.pack("Ii", _CAPABILITIES_3, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0))


def _refuse_sockets(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in {"socket.__new__", "socket.connect", "socket.getaddrinfo"}:
        raise PermissionError(errno.EACCES, "a reader opens no socket")


if __name__ == "__main__":
    print(json.dumps(confine(1 << 30, os.getppid(), os.devnull, os.devnull).lacking))
