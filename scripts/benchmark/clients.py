"""The Files API without a drive: httpx as plainly as can be, the ideal, and the openai SDK, as most people use it.

**Threading:** one client is shared by all threads of a contestant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from openai import OpenAI

from scripts.benchmark.service import Service

T = TypeVar("T")


class Client(AbstractContextManager["Client"]):
    """What a contestant does with the account. Made before the clock runs: loading certificates takes a while."""

    def upload(self, path: Path) -> str:
        """Upload a file and return its id."""
        raise NotImplementedError

    def content(self, file_id: str) -> bytes:
        """Return the body of `/content`."""
        raise NotImplementedError

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        raise NotImplementedError


class Ideal(Client):
    """httpx, with one kept connection for each thread."""

    def __init__(self, service: Service, at_once: int) -> None:
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        headers = {"Authorization": f"Bearer {service.key}"}
        self._http = httpx.Client(base_url=service.base_url, headers=headers, limits=limits, timeout=600)

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, path: Path) -> str:
        with path.open("rb") as file:
            form = {"file": (path.name, file)}
            answer = self._http.post("files", files=form, data={"purpose": "file-extract"})
        return str(answer.raise_for_status().json()["id"])

    def content(self, file_id: str) -> bytes:
        return self._http.get(f"files/{file_id}/content").raise_for_status().content

    def delete(self, file_id: str) -> None:
        self._http.delete(f"files/{file_id}").raise_for_status()


class Sdk(Client):
    """The openai SDK as it comes."""

    def __init__(self, service: Service) -> None:
        self._sdk = OpenAI(base_url=service.base_url, api_key=service.key, timeout=600)

    def __exit__(self, *_: object) -> None:
        self._sdk.close()

    def upload(self, path: Path) -> str:
        purpose: Any = "file-extract"  # the SDK's type knows other services' purposes
        return self._sdk.files.create(file=path, purpose=purpose).id

    def content(self, file_id: str) -> bytes:
        return self._sdk.files.content(file_id).read()

    def delete(self, file_id: str) -> None:
        self._sdk.files.delete(file_id)


def each(call: Callable[[T], object], items: Iterable[T], at_once: int) -> None:
    """Call for every item, so many at once; in this thread when it is one."""
    if at_once == 1:
        for item in items:
            call(item)
        return
    with ThreadPoolExecutor(at_once) as threads:
        for _ in threads.map(call, items):
            pass
