"""The service that the contract is stated of: the local server always, the hosted one where there is a key for it.

Each test says by a mark which `--api` it belongs to: `BEFORE` (2026-03), `SINCE` (2026-09) or `BOTH`. It runs on a
local server of each. With `MOONSHOT_TEST_API_KEY` set, it also runs against `MOONSHOT_TEST_BASE_URL` (the international
service by default) where that is of this time, which two requests find out and the last lines of the run say. That is
slow, as the lowest tier allows three requests a minute; what a test has uploaded there is deleted by its id, and no
other file is touched. What could only be shown by filling an account is stated of the local server alone.
"""

from __future__ import annotations

import contextlib
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
from moonfs.server.dialect import DIALECTS
from tests.harness import forks

if TYPE_CHECKING:
    import openai

ROOT = Path(__file__).parent.parent.parent
HOSTED = "hosted"
BEFORE, SINCE = (pytest.mark.api(api) for api in DIALECTS)
BOTH = pytest.mark.api(*DIALECTS)
#: Seconds between two tries, when the hosted service has refused one for its rate, and how many there are.
PAUSE, TRIES = 20.0, 12


@dataclass
class Service:
    """One service, and an account of it.

    Attributes:
        base_url: ends with `/v1`.
        key: of the account.
        is_local: ours, of which more is known.
        api: of which time it is, by the names of `--api`; empty where its answers are of both.
    """

    base_url: str
    key: str
    is_local: bool
    api: str
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
        if answer.is_success:
            self.uploaded.append(answer.json()["id"])
        return answer

    def signs(self) -> dict[str, bool]:
        """Find out what tells the times apart, without a change to the account."""
        body = self.ask("GET", "/files").json()
        refused = self.ask("GET", "/files", headers={"kimi-api-version": "1999-01-01"}).status_code == 400
        return {"its list tells has_more": "has_more" in body, "it looks at kimi-api-version": refused}

    def clean_up(self) -> None:
        for file_id in self.uploaded:
            self.ask("DELETE", f"/files/{file_id}")
        self.uploaded.clear()


def api_of(signs: dict[str, bool]) -> str:
    """Return of which time a service with such signs is; empty where they are of both."""
    before, since = DIALECTS
    return {(): before, tuple(signs): since}.get(tuple(sign for sign, is_so in signs.items() if is_so), "")


def start(data: Path, *switches: str, api: str = "2026-09") -> tuple[subprocess.Popen[bytes], Service]:
    """Start `moonfs serve` and return it when it listens."""
    command = ["-m", "moonfs", "serve", "--port", "0", "--data", str(data), "--api", api, *switches]
    environment = {**forks.environ(), "XDG_RUNTIME_DIR": str(data.parent)}
    process = forks.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    address = read_address(data)
    assert address is not None
    assert address.base_url is not None
    return process, Service(address.base_url, read_key(data), is_local=True, api=api)


def end(process: subprocess.Popen[bytes], service: Service) -> None:
    service.client.close()
    process.terminate()
    process.wait(60)
    process.stdout.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every `api` that it belongs to, and on the hosted service where it may."""
    if "api" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("api")
        has_key = "service" in metafunc.fixturenames and os.environ.get("MOONSHOT_TEST_API_KEY")
        metafunc.parametrize("api", [*(mark.args if mark else DIALECTS), *([HOSTED] if has_key else [])])


#: What was found out of the hosted service, for the last lines of the run.
_found: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of which time the hosted service is."""
    for line in _found:
        terminalreporter.write_line(line)


def _hosted(key: str) -> Service:
    base = os.environ.get("MOONSHOT_TEST_BASE_URL", "https://api.moonshot.ai/v1")
    service = Service(base, key, is_local=False, api="")
    signs = service.signs()
    service.api = api_of(signs)
    said = "; ".join(f"{sign}: {'yes' if is_so else 'no'}" for sign, is_so in signs.items())
    _found.append(f"The hosted service at {base} is as of {service.api or 'neither time alone'} ({said}).")
    return service


@pytest.fixture(scope="session")
def _services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Service]]:
    """Each service, started or asked when it is first wanted."""
    services: dict[str, Service] = {}
    with contextlib.ExitStack() as stack:

        def get(api: str) -> Service:
            if api not in services and api == HOSTED:
                services[api] = _hosted(os.environ["MOONSHOT_TEST_API_KEY"])
                stack.callback(services[api].client.close)
            elif api not in services:
                process, services[api] = start(tmp_path_factory.mktemp("contract") / "data", api=api)
                stack.callback(end, process, services[api])
            return services[api]

        yield get


@pytest.fixture
def service(request: pytest.FixtureRequest, api: str, _services: Callable[[str], Service]) -> Iterator[Service]:
    """Each service in turn."""
    chosen = _services(api)
    mark = request.node.get_closest_marker("api")
    if mark and chosen.api and chosen.api not in mark.args:
        pytest.skip(f"the hosted service is as of {chosen.api}")
    yield chosen
    chosen.clean_up()


@pytest.fixture
def ours(api: str, _services: Callable[[str], Service]) -> Iterator[Service]:
    """The local server alone, for what cannot be tried on an account that people use."""
    yield _services(api)
    _services(api).clean_up()


@pytest.fixture
def local(api: str, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start local servers with switches."""
    started = []

    def begin(*switches: str) -> Service:
        started.append(start(tmp_path / f"{len(started)}" / "data", *switches, api=api))
        return started[-1][1]

    yield begin
    for process, service in started:
        end(process, service)
