"""All that the server says it can be asked, asked in every way that schemathesis thinks of: no 5xx, no surprise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from moonfs.server import openapi
from moonfs.server.dialect import BETA, DIALECTS, FACTS
from tests.contract.conftest import Service, end, start


@contextlib.contextmanager
def serving(folder: Path, api: str) -> Iterator[Service]:
    """A server with some files: a text twice, a picture, and a document that holds none."""
    process, service = start(folder / "data", api=api)
    for content in (b"text", b"text", b"%PDF-1.7 broken"):
        service.upload("a.pdf", content)
    service.upload("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "image")
    yield service
    end(process, service)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("before"), "2026-03") as service:
        yield service


@pytest.fixture(scope="module")
def since(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("since"), "2026-09") as service:
        yield service


# A query parameter that is not described is passed over, not refused.
tolerant = SchemathesisConfig.from_dict({"generation": {"allow-extra-parameters": False}})
schemas = {
    api: schemathesis.openapi.from_dict(json.loads(openapi.document(dialect)), config=tolerant)
    for api, dialect in DIALECTS.items()
}
often = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def ask(case: schemathesis.Case, server: Service) -> None:
    """Schemathesis checks statuses, schemas, media types, methods, and that nothing is answered without the key."""
    origin = server.base_url.removesuffix("/v1")
    case.call_and_validate(
        base_url=origin,
        headers={"Authorization": f"Bearer {server.key}"},
        excluded_checks=[positive_data_acceptance],  # a form of the right shape may hold what has no text
    )


def no_request_breaks_the_server(api: str, operation: APIOperation) -> Callable[..., None]:
    """Make the test of one operation."""
    fixture = {"2026-03": "before", "2026-09": "since"}[api]

    @schemas[api].include(path=operation.path, method=operation.method).parametrize()
    @often
    def test(case: schemathesis.Case, request: pytest.FixtureRequest) -> None:
        ask(case, request.getfixturevalue(fixture))

    return test


# Schemathesis gives all tests of one function the same id, and of those a parallel run keeps one.
for _api, _schema in schemas.items():
    for _operation in _schema.get_all_operations():
        _test = no_request_breaks_the_server(_api, _operation.ok())
        globals()[f"test_no_request_breaks_the_server[{_api} {_operation.ok().label}]"] = _test


def test_real_ids_give_what_is_described(tmp_path: Path, api: str) -> None:
    """The ids that a tool makes up are of no file; those of the list are."""
    with serving(tmp_path, api) as server:
        described = server.client.get(server.base_url.removesuffix("/v1") + "/openapi.json").json()
        wanted = described["components"]["schemas"]
        assert set(server.ask("GET", "/files").json()) == set(wanted["List"]["required"])
        for file in server.ask("GET", "/files").json()["data"]:
            assert set(file) == set(wanted["File"]["required"])
            assert server.ask("GET", f"/files/{file['id']}").json() == file
            is_text = file["purpose"] == "file-extract" and file["status"] != "error"
            assert server.ask("GET", f"/files/{file['id']}/content").status_code == (200 if is_text else 400)
        if api == "2026-09":
            second = server.ask("GET", "/files", headers={"kimi-api-version": BETA}).json()
            assert set(second) == set(wanted["ListMetadata"]["required"])
            assert all(set(file) == set(wanted["FileMetadata"]["required"]) for file in second["items"])
        assert {"/v1/files", "/v1/files/{file_id}", "/v1/files/{file_id}/content", "/v1/models"} <= set(
            described["paths"]
        )


def test_each_fact_is_described_alone() -> None:
    """A switch that changes an answer changes the document."""
    before, since = DIALECTS.values()
    changed = {name: openapi.document(replace(before, **{name: getattr(since, name)})) for name in FACTS}
    told = {name for name, document in changed.items() if document != openapi.document(before)}
    assert told == {"list_bounds", "pages", "version_header", "file_type", "request_id", "filename_field"}
