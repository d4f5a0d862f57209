"""What a worker may use: so much memory, CPU and disk, no network, and no life without its server.

A document is hostile until read. The limits hold for the whole process; the CPU limit is renewed for each
job. Of network there are three walls, as no one of them stands everywhere. A user namespace of its own has no
interfaces, where kernel and container allow one. A filter of system calls refuses every new socket, of UNIX too;
it knows two kinds of machines. An audit hook of Python's refuses sockets to Python code on any machine.

**Threading:** called by the main thread of a worker, before any library could start a thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any, Final

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
#: By machine: the number that the kernel knows it by, and those of the calls socket, socketpair and io_uring_setup,
#: which opens sockets too.
_CALLS: Final = {"x86_64": (0xC000003E, (41, 53, 425)), "aarch64": (0xC00000B7, (198, 199, 425))}
#: The first of the numbers by which x32 programs make the calls of x86_64.
_X32_CALLS: Final = 0x40000000
#: 100 MB of control characters are 600 MB as a JSON string; no file of a worker needs to be larger.
_MAX_FILE_BYTES: Final = 700 * 1024**2


def confine(memory_bytes: int, parent: int) -> bool:
    """Confine this process for good.

    Args:
        memory_bytes: address space it may use.
        parent: pid of the server; when it dies, so does this process.

    Returns:
        Whether the network is cut off for all code, not for Python's alone.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    without_network: bool = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after unshare, which clears it
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    sys.addaudithook(_refuse_sockets)
    return _filter_sockets(libc) or without_network


def _refuse_sockets(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in {"socket.__new__", "socket.connect", "socket.getaddrinfo"}:
        raise PermissionError(errno.EACCES, "a reader opens no socket")


def _filter_sockets(libc: ctypes.CDLL) -> bool:
    """Have the kernel refuse new sockets with EACCES, in this thread and all it starts; say whether it does."""
    machine, calls = _CALLS.get(platform.machine(), (0, ()))
    if sys.platform != "linux" or not calls or sys.maxsize < 2**32:
        return False
    refuse = [struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | errno.EACCES)]
    allow = [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)]
    # A program for the kernel's packet filter: load the machine (at 4) and the number of the call (at 0), compare,
    # jump over so many instructions if it is so and so many if not, return what is to be done.
    checks = [*((0x15, call) for call in calls), (0x35, _X32_CALLS)]
    program = [
        struct.pack("HBBI", 0x20, 0, 0, 4),
        struct.pack("HBBI", 0x15, 0, len(checks) + 2, machine),
        struct.pack("HBBI", 0x20, 0, 0, 0),
        *(struct.pack("HBBI", code, len(checks) - at, 0, value) for at, (code, value) in enumerate(checks)),
        *allow,
        *refuse,
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("HP", len(program), ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) == 0)


def allow_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of CPU before the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def resident_bytes() -> int:
    """Return how much memory this process holds, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()
