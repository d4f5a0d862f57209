"""What a reader has to read besides its document: Python and its libraries, the OCR models among them, and fonts.

Never a home as a whole, nor what the workers' own directory is in, though a module may be searched for there.

**Threading:** called by the main thread of a worker.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

import moonfs

#: Where the system keeps libraries, fonts and the zones of time, and what libraries ask of the machine.
_SYSTEM: Final = (
    "/lib /lib64 /usr/lib /usr/lib64 /usr/local/lib /nix/store /gnu/store /etc/ld.so.cache /etc/localtime"
    " /usr/share/zoneinfo /usr/share/fonts /usr/local/share/fonts /usr/share/X11/fonts"
    " /proc/cpuinfo /proc/meminfo /sys/devices/system/cpu /sys/devices/system/node /dev/null /dev/zero /dev/urandom"
).split()
_PACKAGE: Final = os.path.dirname(os.path.realpath(moonfs.__file__))


def readable(home: str, spared: str) -> tuple[set[str], set[str]]:
    """Return the paths that may be read with all that is below them, and directories that may only be listed.

    Args:
        home: the worker's own directory, where its document is; it may be read.
        spared: the home of who runs the server.
    """
    places = {os.path.realpath(place) for place in _code()}
    # Where our package lies in a clone, what is beside it is somebody's work, not libraries.
    beside = os.path.dirname(_PACKAGE)
    work = {beside} if os.path.exists(os.path.join(beside, "pyproject.toml")) else set()
    wide = {place for place in places if place in work or _is_wide(place, home, os.path.realpath(spared))}
    modules = {module for place in wide - work for module in _modules(place)}
    return {*_SYSTEM, _PACKAGE, home, *(places - wide), *modules}, wide


def _code() -> Iterator[str]:
    yield from filter(None, sys.path)
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield os.path.join(prefix, "lib")
        yield os.path.join(prefix, sys.platlibdir)
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            path = line.split(None, 5)[-1].strip()
            if path.startswith("/") and ".so" in path:
                yield from (path, os.path.dirname(path))  # more may be loaded from beside it


def _modules(place: str) -> Iterator[str]:
    """Yield what can be imported from a directory that holds other things too, and libraries that come with it."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            is_module = entry.name.endswith((".py", ".so", ".libs", ".dist-info"))
            if is_module or os.path.exists(os.path.join(entry.path, "__init__.py")):
                yield entry.path


def _is_wide(place: str, *homes: str) -> bool:
    """Say whether one of these directories is at or below a place."""
    return any(f"{home}/".startswith(f"{place.rstrip('/')}/") for home in homes)
