"""All that the server says it can be asked, asked in every way that schemathesis thinks of: no 5xx, no surprise."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from moonfs.server import openapi
from tests.contract.conftest import Service, end, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    process, service = start(tmp_path_factory.mktemp("openapi") / "data")
    for number in range(3):
        service.upload(f"{number}.txt", b"text")
    yield service
    end(process, service)


schema = schemathesis.openapi.from_dict(json.loads(openapi.document()))


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server(case: schemathesis.Case, server: Service) -> None:
    """Schemathesis checks statuses, schemas, media types, methods, and that nothing is answered without the key."""
    origin = server.base_url.removesuffix("/v1")
    case.call_and_validate(
        base_url=origin,
        headers={"Authorization": f"Bearer {server.key}"},
        excluded_checks=[positive_data_acceptance],  # a form of the right shape may hold what has no text
    )


def test_real_ids_give_what_is_described(server: Service) -> None:
    """The ids that a tool makes up are of no file; those of the list are."""
    described = server.client.get(server.base_url.removesuffix("/v1") + "/openapi.json").json()
    wanted = described["components"]["schemas"]["File"]
    for file in server.ask("GET", "/files").json()["data"]:
        assert set(file) == set(wanted["required"])
        assert server.ask("GET", f"/files/{file['id']}").json() == file
        assert server.ask("GET", f"/files/{file['id']}/content").status_code == (
            200 if file["purpose"] in ("file-extract", "batch") else 400
        )
    assert {"/v1/files", "/v1/files/{file_id}", "/v1/files/{file_id}/content"} <= set(described["paths"])
