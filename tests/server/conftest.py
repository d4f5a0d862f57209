"""A real server process on a UNIX socket, and a real httpx client of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from moonfs.server.address import read_address, read_key
from moonfs.server.dialect import flags
from tests.harness import forks

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SECONDS = 60.0


@dataclass
class Server:
    """One server process and a client that holds its key."""

    process: subprocess.Popen[bytes]
    data: Path
    socket: str
    client: httpx.Client = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = read_key(self.data)
        self.client = self.make_client(self.key)

    def make_client(self, key: str) -> httpx.Client:
        return httpx.Client(
            base_url="http://local/v1",
            transport=httpx.HTTPTransport(uds=self.socket, verify=False),  # plain HTTP: no trust store is loaded
            headers={"Authorization": f"Bearer {key}"},
            timeout=SECONDS,
        )

    def upload(self, name: str, content: bytes | IO[bytes], purpose: str | None = "file-extract") -> httpx.Response:
        form = {} if purpose is None else {"purpose": purpose}
        return self.client.post("/files", files={"file": (name, content)}, data=form)

    def text(self, name: str, content: bytes) -> str:
        """Upload and return the extracted text."""
        answer = self.upload(name, content)
        assert answer.status_code == 200, answer.text
        text = self.client.get(f"/files/{answer.json()['id']}/content").json()["content"]
        assert isinstance(text, str)
        return text

    def log(self) -> str:
        """Return what the server has logged so far."""
        return self.data.with_name("server.log").read_text()

    def ids(self) -> list[str]:
        return [file["id"] for file in self.client.get("/files").json()["data"]]

    def memory(self, what: str) -> int:
        """Return `VmRSS` or `VmHWM` of the server, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what))

    def children(self) -> list[int]:
        """Return the pids of its workers: what it has started, which keeps the process that reads."""
        return [pid for pid in children(self.process.pid) if b"worker" in command(pid)]

    def readers(self) -> list[int]:
        """Return the pids of the processes that read: the last of each worker's."""
        return [next(iter(children(pid)), pid) for pid in self.children()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def children(pid: int) -> list[int]:
    """Return the children of a process, also those that its threads have started."""
    try:
        return [
            int(child)
            for task in os.listdir(f"/proc/{pid}/task")
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except OSError:
        return []


def command(pid: int) -> bytes:
    """Return the command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


Launch = Callable[..., Server]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of `condition`; the time-out is for a broken server only."""
    start = time.monotonic()
    while (waited := time.monotonic() - start) < SECONDS:
        value = condition()
        if value:
            return value
        time.sleep(max(0.01, min(waited / 10, 0.1)))  # looking costs the server time
    raise AssertionError(f"never: {what}")


@contextlib.contextmanager
def started(data: Path, options: dict[str, Any] | None = None, under: Sequence[str] = ()) -> Iterator[Server]:
    """Start a server; `under` a program that runs it in its own place, as `strace -D` does."""
    with tempfile.TemporaryDirectory(prefix="mfs-") as run:
        socket = f"{run}/s"
        if options is None:
            command = ["-m", "moonfs.server", "--data", str(data), "--socket", socket, *flags({"api": "2026-03"})]
        else:
            command = [str(HERE / "launch.py"), json.dumps({"data": str(data), "socket": socket, **options})]
        environment = forks.environ()
        with open(data.with_name("server.log"), "ab") as log:
            if under:
                process = subprocess.Popen([*under, sys.executable, *command], env=environment, stderr=log)
            else:
                process = forks.Popen(command, env=environment, stderr=log)

        def is_up() -> bool:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            address = read_address(data)
            return address is not None and address.pid == process.pid

        try:
            wait_until(is_up, "the server is up")
            server = Server(process, data, socket)
            try:
                yield server
            finally:
                server.client.close()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the whole session."""
    with started(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def server(shared: Server) -> Server:
    """The server as of 2026-03, shared by the tests that only upload and read; an account holds 1,000 files."""
    for file_id in shared.ids():
        shared.client.delete(f"/files/{file_id}").raise_for_status()
    return shared


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start servers of one's own: `launch(limits={...}, light={...})`; the same data directory each time."""
    with contextlib.ExitStack() as stack:

        def start(plain: bool = False, under: Sequence[str] = (), **options: Any) -> Server:
            return stack.enter_context(started(tmp_path / "data", None if plain else options, under))

        yield start


@pytest.fixture
def until() -> Callable[[Callable[[], Any], str], Any]:
    """Wait for a condition that is sure to come."""
    return wait_until
