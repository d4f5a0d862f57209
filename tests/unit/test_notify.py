"""What the service manager hears: the messages of sd_notify(3), on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "n") if request.param == "path" else f"\0moonfs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield address.replace("\0", "@"), listening


def test_ready_and_stopping(ear: tuple[str, socket.socket]) -> None:
    """L1, L2: that it is usable, by which process; that it ends, and how long that may take."""
    address, listening = ear
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}, "no child speaks for it"
    notifier.ready("usable")
    assert listening.recv(4096).decode().splitlines() == ["READY=1", "STATUS=usable", f"MAINPID={os.getpid()}"]
    notifier.stopping("draining", 1.5)
    assert listening.recv(4096).decode().splitlines() == [
        "STOPPING=1",
        "STATUS=draining",
        "EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_nobody_listens(tmp_path: Path) -> None:
    """Without a manager, or with one that has gone, nothing happens."""
    Notifier({}).ready("usable")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("usable")
