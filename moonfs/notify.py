"""What the service manager is told of a drive's life: ready, stopping, how long it may take (sd_notify(3)).

A few datagrams to `$NOTIFY_SOCKET`; where there is none, nothing happens. Standard library only.

**Threading:** any thread may call; each message is one datagram.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """The service manager of this process, or nobody."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take the address out of `environ`, so that no child speaks for this process."""
        address = environ.pop(_VARIABLE, "")
        # "@" stands for the NUL that begins an abstract name (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """The drive is usable; `status` is a line for people. It is this process that serves it."""
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def stopping(self, status: str, seconds: float) -> None:
        """The end has begun and may take `seconds`; being killed before would be early."""
        self._send("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto("\n".join(lines).encode("utf-8", "surrogateescape"), self._address)
