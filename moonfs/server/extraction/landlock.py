"""Landlock: from here on this process reads what it was told it may, and writes nothing that is not open (landlock(7)).

The kernel checks it at each path, whoever owns the file. What is open stays open. Where a file is, and how large, can
be asked all the same: Landlock, as yet, hides no names from whoever knows them.

**Threading:** called by the main thread of a worker, before any library could start a thread; threads inherit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from typing import Final

#: The numbers of its three calls, on all machines of today.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
#: How many rights to files each version of the interface knows: from 2 on moving between directories, from 3 on
#: truncation, from 5 on what is asked of devices.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_NOW: Final = 16
#: From version 4 on: to bind and to connect, over TCP. From 6 on: abstract UNIX sockets of others, signals to others.
_NETWORK: Final = 0b11
_SCOPES: Final = 0b11


def version(libc: ctypes.CDLL) -> int:
    """Return which version of the interface the kernel has; 0 for none, as before 5.13 or where it is off."""
    if sys.platform != "linux":
        return 0
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)))


def restrict(libc: ctypes.CDLL, readable: Iterable[str], listable: Iterable[str]) -> int:
    """Restrict this thread and all it starts, for good; needs `no_new_privs`.

    Args:
        libc: loaded with `use_errno`.
        readable: files, and directories with all that is below them, that may be read; those that are there.
        listable: directories whose names, and those below, may be listed.

    Returns:
        The version that holds, or 0 if the kernel restricts nothing.
    """
    known = version(libc)
    if not known:
        return 0
    attributes = struct.pack("Q", (1 << _FILE_RIGHTS.get(known, _FILE_RIGHTS_NOW)) - 1)
    attributes += struct.pack("Q", _NETWORK) if known >= 4 else b""
    attributes += struct.pack("Q", _SCOPES) if known >= 6 else b""
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    try:
        for path in readable:
            _allow(libc, rules, path, READ_FILE | READ_DIR)
        for path in listable:
            _allow(libc, rules, path, READ_DIR)
        return known if libc.syscall(_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Allow these rights below a path; nothing where it is not there or not to be seen."""
    with contextlib.suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= READ_FILE
            libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)
