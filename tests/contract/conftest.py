"""The service that the contract is stated of: the local server always, the hosted one where there is a key for it.

With `MOONSHOT_TEST_API_KEY` set, every test also runs against `MOONSHOT_TEST_BASE_URL` (the international service by
default), slowly, as the lowest tier allows three requests a minute; what a test has uploaded there is deleted by its
id, and nothing else is touched. What could only be shown by filling an account is stated of the local server alone.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from moonfs.server.address import read_address, read_key
from tests.harness import forks

if TYPE_CHECKING:
    import openai

ROOT = Path(__file__).parent.parent.parent
LOCAL, HOSTED = "local", "hosted"
#: Seconds between two tries, when the hosted service has refused one for its rate, and how many there are.
PAUSE, TRIES = 20.0, 12


@dataclass
class Service:
    """One service, and an account of it.

    Attributes:
        base_url: ends with `/v1`.
        key: of the account.
        is_local: ours, of which more is known.
    """

    base_url: str
    key: str
    is_local: bool
    client: httpx.Client = field(init=False)
    uploaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = self.make_client(self.key)

    def make_client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=120)

    def sdk(self) -> openai.OpenAI:
        import openai  # 0.6 s, which each worker would spend though one at most needs it

        return openai.OpenAI(api_key=self.key, base_url=self.base_url, timeout=120, max_retries=5)

    def ask(self, method: str, path: str, **arguments: object) -> httpx.Response:
        """Send a request; one that the hosted service refuses for its rate, again."""
        for _ in range(TRIES):
            answer = self.client.request(method, path, **arguments)
            if answer.status_code != 429 or self.is_local:
                break
            time.sleep(PAUSE)
        return answer

    def upload(
        self, name: str | None, content: bytes, purpose: str | None = "file-extract", **more: object
    ) -> httpx.Response:
        form = {} if purpose is None else {"purpose": purpose}
        answer = self.ask("POST", "/files", files={"file": (name, content)}, data=form, **more)
        if answer.status_code == 200:
            self.uploaded.append(answer.json()["id"])
        return answer

    def clean_up(self) -> None:
        for file_id in self.uploaded:
            self.ask("DELETE", f"/files/{file_id}")
        self.uploaded.clear()


def start(data: Path, *switches: str) -> tuple[subprocess.Popen[bytes], Service]:
    """Start `moonfs serve` and return it when it listens."""
    command = ["-m", "moonfs", "serve", "--port", "0", "--data", str(data), *switches]
    environment = {**forks.environ(), "XDG_RUNTIME_DIR": str(data.parent)}
    process = forks.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    address = read_address(data)
    assert address is not None
    assert address.base_url is not None
    return process, Service(address.base_url, read_key(data), is_local=True)


def end(process: subprocess.Popen[bytes], service: Service) -> None:
    service.client.close()
    process.terminate()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="session")
def _services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    process, local = start(tmp_path_factory.mktemp("contract") / "data")
    services = {LOCAL: local}
    key = os.environ.get("MOONSHOT_TEST_API_KEY")
    if key:
        base = os.environ.get("MOONSHOT_TEST_BASE_URL", "https://api.moonshot.ai/v1")
        services[HOSTED] = Service(base, key, is_local=False)
    yield services
    for service in services.values():
        service.client.close()
    end(process, local)


@pytest.fixture(params=[LOCAL, *([HOSTED] if os.environ.get("MOONSHOT_TEST_API_KEY") else [])])
def service(request: pytest.FixtureRequest, _services: dict[str, Service]) -> Iterator[Service]:
    """Each service in turn."""
    chosen = _services[request.param]
    yield chosen
    chosen.clean_up()


@pytest.fixture
def ours(_services: dict[str, Service]) -> Iterator[Service]:
    """The local server alone, for what cannot be tried on an account that people use."""
    yield _services[LOCAL]
    _services[LOCAL].clean_up()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start local servers with switches."""
    started = []

    def begin(*switches: str) -> Service:
        started.append(start(tmp_path / f"{len(started)}" / "data", *switches))
        return started[-1][1]

    yield begin
    for process, service in started:
        end(process, service)
