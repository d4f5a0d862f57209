"""Which walls this machine has for the readers of documents: a process is confined for nothing, and says what lacks.

Trying is the only way to know: kernels have what they do not allow, and containers allow what others do not.

**Threading:** `examine` blocks its caller; `examine_soon` runs in an event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from moonfs.server.extraction.processes import Child

_SECONDS: Final = 60.0
#: What a reader can do that a document has taken over, by the wall that lacks.
_WITHOUT: Final = {
    "landlock": "without Landlock (Linux 5.13) it can read this user's files",
    "seccomp": "without a filter of system calls (x86_64, aarch64) it can start processes and open sockets",
    "namespaces": "without namespaces only the other walls keep processes and the network from it",
}


def examine() -> tuple[str, ...]:
    """Return which walls lack, of those that `describe` knows; those that could not be tried lack."""
    try:
        done = subprocess.run(
            _command(), env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return tuple(_WITHOUT)
    return _lacking(done.stdout)


async def examine_soon(home: str) -> tuple[str, ...]:
    """Return what `examine` returns, without keeping the loop waiting; `home` is an existing directory."""
    child = await Child.spawn(_command(), home=home, environment=_environment())
    try:
        async with asyncio.timeout(_SECONDS):
            return _lacking(await child.answers.readline())
    except (TimeoutError, ValueError):
        return tuple(_WITHOUT)
    finally:
        await child.end()


def describe(lacking: Sequence[str]) -> str:
    """Return how readers are confined, as what follows `Readers of documents are`."""
    if not lacking:
        return "confined by Landlock, a filter of system calls, and namespaces"
    without = "; ".join(_WITHOUT[name] for name in lacking)
    return f"not wholly confined on this machine, should a document take one over: {without}"


def _lacking(answer: bytes) -> tuple[str, ...]:
    try:
        said = json.loads(answer)
        return tuple(wall for wall in _WITHOUT if wall in said)
    except (ValueError, TypeError):
        return tuple(_WITHOUT)


def _command() -> list[str]:
    return [sys.executable, "-P", "-m", "moonfs.server.extraction.confinement"]


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, sys.path))
    return {"PATH": os.defpath, "HOME": os.devnull, "LANG": "C.UTF-8", "PYTHONPATH": path}
