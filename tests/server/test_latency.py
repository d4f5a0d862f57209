"""`moonfs serve --latency`: each request waits, and none holds another up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from moonfs.server.address import read_key

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
SECONDS = 0.5
AT_ONCE = 8


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that is far away."""
    data = tmp_path_factory.mktemp("far") / "data"
    command = [sys.executable, "-m", "moonfs", "serve", "--port", "0", "--data", str(data)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(
                [*command, "--latency", str(SECONDS * 1000)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(server.terminate)
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[-1]
        headers = {"Authorization": f"Bearer {read_key(data)}"}
        yield stack.enter_context(httpx.Client(base_url=base_url, headers=headers, timeout=60))


def test_each_request_waits(client: httpx.Client) -> None:
    begin = time.monotonic()
    uploaded = client.post("/files", files={"file": ("a.txt", b"hello")}, data={"purpose": "file-extract"})
    between = time.monotonic()
    listed = client.get("/files")
    end = time.monotonic()
    assert [file["id"] for file in listed.json()["data"]] == [uploaded.json()["id"]]
    assert between - begin >= SECONDS
    assert end - between >= SECONDS


@pytest.mark.alone  # time is measured
def test_requests_wait_side_by_side(client: httpx.Client) -> None:
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda _: client.get("/files"), range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - begin < AT_ONCE * SECONDS / 2


def test_a_wait_is_never_negative() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "moonfs", "serve", "--latency", "-1"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--latency" in done.stderr
