"""What a worker may use: so much memory, CPU and disk, no network, and no life without its server.

A document is hostile until read. The limits hold for the whole process; the CPU limit is renewed for each
job. Cutting the network off is best effort: it takes an unprivileged user namespace, which some kernels and
containers refuse; the readers themselves download nothing either way.

**Threading:** called by the main thread of a worker, before any library could start a thread.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
#: 100 MB of control characters are 600 MB as a JSON string; no file of a worker needs to be larger.
_MAX_FILE_BYTES: Final = 700 * 1024**2


def confine(memory_bytes: int, parent: int) -> bool:
    """Confine this process for good.

    Args:
        memory_bytes: address space it may use.
        parent: pid of the server; when it dies, so does this process.

    Returns:
        Whether the network could be cut off.
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
    return without_network


def allow_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of CPU before the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def resident_bytes() -> int:
    """Return how much memory this process holds, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()
