"""The Files API that all contestants talk to: a process of its own on loopback, and what it has counted.

**Threading:** for the main thread; `fill` and `clear` use threads of their own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

import httpx

from moonfs.server.address import read_key
from scripts.benchmark.counted import HEADER
from scripts.benchmark.shell import ROOT, Failed, end

_AT_ONCE: Final = 8
_PAUSE: Final = 0.02


class Service:
    """The running service; a context manager.

    Attributes:
        base_url: where it serves.
        key: its API key.
    """

    def __init__(self, data: Path, latency: float, upload_latency: float) -> None:
        """Start it on `data`; seconds of latency for each request, and more for an upload."""
        command = [sys.executable, "-m", "scripts.benchmark.counted", str(data), str(latency), str(upload_latency)]
        # A Ctrl-C is for us: the drives still need the service when they end.
        self._process = subprocess.Popen(
            command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            end(self._process)
            raise Failed("The Files API did not start.")
        self.key = read_key(data)
        headers = {"Authorization": f"Bearer {self.key}", HEADER: "1"}
        self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        end(self._process)

    def asked(self, kind: str) -> int:
        """Return how many requests of this kind have come: upload, list, content, delete, other."""
        return int(self._counts()["asked"].get(kind, 0))

    def requests(self) -> int:
        """Return how many requests have come in all."""
        return int(sum(self._counts()["asked"].values()))

    def done(self, kind: str) -> int:
        """Return how many requests of this kind were answered with 200."""
        return int(self._counts()["done"].get(kind, 0))

    def wait_until_done(self, kind: str, count: int, seconds: float = 300.0) -> float:
        """Return the time (`time.monotonic`) at which the last request was done, once `count` of them are."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            counts = self._counts()
            if counts["done"].get(kind, 0) >= count:
                return float(counts["last"][kind])
            time.sleep(_PAUSE)
        raise Failed(f"{count} requests of the kind '{kind}' were not done within {seconds:.0f} s.")

    def files(self) -> list[dict[str, Any]]:
        """Return every file object."""
        return list(self._ok(self._http.get("files")).json()["data"])

    def clear(self) -> None:
        """Delete every file."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(lambda file: self._ok(self._http.delete(f"files/{file['id']}")), self.files()))

    def fill(self, texts: Mapping[str, bytes]) -> None:
        """Add a file for each name."""

        def upload(item: tuple[str, bytes]) -> None:
            self._ok(self._http.post("files", files={"file": item}, data={"purpose": "file-extract"}))

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(upload, texts.items()))

    def _counts(self) -> dict[str, Any]:
        origin = self.base_url.removesuffix("/v1")
        return dict(self._ok(self._http.get(f"{origin}/counts")).json())

    @staticmethod
    def _ok(answer: httpx.Response) -> httpx.Response:
        if answer.status_code != 200:
            raise Failed(f"The Files API answered {answer.status_code}: {answer.text}")
        return answer
