"""The fault server itself: that it serves, stores and fails as scripted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import (
    FaultServer,
    answer_lost,
    answer_reset,
    failed_after,
    rate_limited,
    reset_mid_body,
)

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nimage\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\\"b.txt"\r\n'
    b"\r\none\r\n\r\ntwo\r\n--b--\r\n"
)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(clock=lambda: 1_700_000_000) as running:
        yield running


def ask(
    server: FaultServer, method: str, path: str, body: bytes | None = None, key: str | None = None
) -> tuple[int, bytes]:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {
        "Authorization": f"Bearer {key or server.key}",
        "Content-Type": "multipart/form-data; boundary=b",
    }
    try:
        connection.request(method, "/v1" + path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_five_calls(server: FaultServer) -> None:
    status, body = ask(server, "POST", "/files", FORM)
    file = json.loads(body)
    assert status == 200
    assert " ".join(file) == "id object bytes created_at filename purpose status status_details"
    assert (file["bytes"], file["filename"], file["purpose"]) == (10, 'a"b.txt', "image")
    assert file["created_at"] == 1_700_000_000
    assert json.loads(ask(server, "GET", "/files")[1]) == {"object": "list", "data": [file]}
    assert json.loads(ask(server, "GET", f"/files/{file['id']}")[1]) == file
    assert json.loads(ask(server, "GET", f"/files/{file['id']}/content")[1])["content"] == "one\r\n\r\ntwo"
    assert json.loads(ask(server, "DELETE", f"/files/{file['id']}")[1])["deleted"] is True
    assert ask(server, "DELETE", f"/files/{file['id']}")[0] == 404
    assert ask(server, "GET", "/models")[0] == 404
    assert server.count() == 7
    assert server.count("delete") == 2
    assert server.names() == []


def test_a_wrong_key_is_refused(server: FaultServer) -> None:
    assert ask(server, "POST", "/files", FORM, key="sk-other")[0] == 401
    assert server.names() == []


def test_faults_are_used_up_in_their_order(server: FaultServer) -> None:
    server.script("list", rate_limited("7"), None, rate_limited())
    assert [ask(server, "GET", "/files")[0] for _ in range(4)] == [429, 200, 429, 200]


@pytest.mark.parametrize(
    ("fault", "stored"),
    [(answer_lost(), 1), (answer_reset(), 1), (failed_after(), 1), (reset_mid_body(10), 0)],
)
def test_what_is_stored_before_a_fault(server: FaultServer, fault: object, stored: int) -> None:
    server.script("upload", fault)  # type: ignore[arg-type]
    try:
        assert ask(server, "POST", "/files", FORM)[0] == 500
    except ConnectionError:
        pass
    assert len(server.files) == stored
    assert server.seen[0].body_bytes == (len(FORM) if stored else 10)


def test_a_reset_is_a_reset(server: FaultServer) -> None:
    server.script("list", answer_reset(), answer_lost())
    with pytest.raises(ConnectionResetError):
        ask(server, "GET", "/files")
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "GET", "/files")


def test_a_unix_socket_goes_away_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with FaultServer(socket=path):
        assert path.is_socket()
    assert not path.exists()


def test_a_service_that_is_away_and_comes_back(server: FaultServer) -> None:
    server.suspend()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "GET", "/files")
    server.resume()
    assert ask(server, "GET", "/files")[0] == 200


def test_a_black_hole(server: FaultServer) -> None:
    server.swallow()
    threading.Timer(0.1, server.answer).start()
    with pytest.raises(ConnectionError):
        ask(server, "GET", "/files")
    assert ask(server, "GET", "/files")[0] == 200


def test_a_rate_holds_for_any_stretch_of_time(server: FaultServer) -> None:
    server.allow(2, 0.5)
    assert [ask(server, "GET", "/files")[0] for _ in range(4)] == [200, 200, 429, 429]
    while ask(server, "GET", "/files")[0] == 429:
        time.sleep(0.01)
    taken = [seen.at for seen in server.seen if not seen.refused]
    assert len(taken) == 3 and taken[2] - taken[0] >= 0.5
