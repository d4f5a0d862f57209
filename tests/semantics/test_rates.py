"""A service that takes three requests a minute, as the hosted one does of its lowest tier. Its minute is a real one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer
from tests.harness.drive import wait_until
from tests.semantics.test_outage import at_once

pytestmark = pytest.mark.fuse


def test_three_requests_a_minute(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2, R6: `ls` and `stat` do not wait for what a reader waits for; the reader's turn comes."""
    for number in range(4):
        service.add(f"{number}.txt", b"theirs")
    drive = faulty("listing_ttl=1", "timeout=100").drive
    service.allow(3, 60)
    names = os.listdir(drive.point)
    with subprocess.Popen(["grep", "-r", "theirs", drive.point], stdout=subprocess.PIPE, text=True) as grep:
        try:
            wait_until(lambda: drive.status()["traffic"]["per_minute"] == 3, "the rate is learned")
            for _ in range(5):
                with at_once():
                    assert os.listdir(drive.point) == names
                for name in names:
                    with at_once():
                        os.stat(drive / name)
            assert "3 a minute" in drive.command("status", str(drive.point)).stdout
            assert grep.poll() is None
            refused = drive.status()["traffic"]["refusals"]
            taken = sum(not seen.refused for seen in service.seen)
            wait_until(lambda: sum(not seen.refused for seen in service.seen) > taken, "the next turn", 90)
            assert drive.status()["traffic"]["refusals"] == refused
        finally:
            grep.kill()
