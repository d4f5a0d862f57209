"""The fault server itself: that it serves, stores and fails as scripted, as each kind of service does."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import formats
from tests.faults.kinds import BETA, EVERY, NO_TEXT, UNREADABLE, YESTERDAY, Kind
from tests.faults.lives import local_server
from tests.faults.server import (
    FaultServer,
    answer_lost,
    answer_reset,
    failed_after,
    rate_limited,
    reset_mid_body,
)
from tests.harness.account import Account

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
    server: FaultServer,
    method: str,
    path: str,
    body: bytes | None = None,
    key: str | None = None,
    version: str | None = None,
) -> tuple[int, bytes]:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {
        "Authorization": f"Bearer {key or server.key}",
        "Content-Type": "multipart/form-data; boundary=b",
        **({} if version is None else {"kimi-api-version": version}),
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


def upload(server: FaultServer, name: str, data: bytes = b"x", purpose: str = "file-extract") -> tuple[int, Any]:
    """Upload in the format that the server's kind wants; return the status and the JSON of the answer."""
    form = (
        f'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    ).encode() + data
    version = BETA if server.kind.beta else None
    status, body = ask(server, "POST", "/files", form + b"\r\n--b--\r\n", version=version)
    return status, json.loads(body)


def of(kind: Kind, **options: Any) -> FaultServer:
    return FaultServer(clock=lambda: 1_700_000_000, kind=kind, **options)


@pytest.mark.parametrize("suffix", ["({n})", "-{n}", " ({n})"])
def test_equal_names_are_numbered(suffix: str) -> None:
    """The first number that is free; what is put there otherwise, as from before, keeps its name."""
    with of(Kind(numbers=True), suffix=suffix) as server:
        got = [upload(server, "a.tar.md")[1]["filename"] for _ in range(3)]
        assert got == ["a.tar.md", f"a.tar{suffix.format(n=1)}.md", f"a.tar{suffix.format(n=2)}.md"]
        server.files.pop(next(iter(server.files)))
        assert upload(server, "a.tar.md")[1]["filename"] == "a.tar.md"
        server.add("a.tar.md", b"from before")
        assert server.names().count("a.tar.md") == 2


def test_names_are_taken_that_nobody_sees() -> None:
    """By a file that is on no list, or by none at all, as where an index is late."""
    with of(Kind(numbers=True)) as server:
        theirs = server.add("a.txt", b"theirs", scope=formats.NOBODY)
        server.taken.add("b.txt")
        assert [upload(server, name)[1]["filename"] for name in ("a.txt", "b.txt")] == ["a(1).txt", "b(1).txt"]
        assert len(json.loads(ask(server, "GET", "/files")[1])["data"]) == 2
        assert [ask(server, method, f"/files/{theirs.id}")[0] for method in ("GET", "DELETE")] == [404, 404]


def test_a_document_without_text_is_refused_or_stored() -> None:
    """A picture is stored as an image all the same."""
    with of(YESTERDAY) as server:
        assert upload(server, "a.pdf", UNREADABLE) == (
            400,
            {"error": {"message": NO_TEXT, "type": "invalid_request_error"}},
        )
        assert upload(server, "a.png", UNREADABLE, "image")[1]["status"] == "ok"
        assert server.names() == ["a.png"]
    with of(Kind(stores_failures=True, numbers=True)) as server:
        upload(server, "a.pdf")
        status, told = upload(server, "a.pdf", UNREADABLE)
        assert (status, told["filename"], told["status"], told["status_details"]) == (200, "a(1).pdf", "error", NO_TEXT)
        assert told["id"].startswith("file_") and told["file_type"]
        for file_id in (told["id"], upload(server, "a.png", UNREADABLE, "image")[1]["id"]):
            status, body = ask(server, "GET", f"/files/{file_id}/content")
            assert (status, json.loads(body)["error"]["type"]) == (400, "failed_precondition_error")
        assert ask(server, "DELETE", f"/files/{told['id']}")[0] == 200


def pages(server: FaultServer, version: str | None = None, more: str = "") -> list[list[str]]:
    """Return the names of a list, page by page."""
    found, token = [], ""
    while True:
        body = json.loads(ask(server, "GET", f"/files?page_token={token}{more}", version=version)[1])
        found.append([file["filename"] for file in body["items" if version else "data"]])
        token = body.get("next_page_token", "")
        assert version or body["has_more"] == bool(token)
        if not token:
            return found


@pytest.mark.parametrize("version", [None, BETA], ids=["known", "second"])
def test_pages_make_up_the_list(version: str | None) -> None:
    """Newest first; of what goes between two pages nothing else is missed; nobody gets more than there are on one."""
    with of(Kind(pages=True)) as server:
        assert pages(server, version) == [[]]
        stored = [server.add(f"{number}.txt", b"x") for number in range(7)]
        assert pages(server, version) == [["6.txt", "5.txt", "4.txt"], ["3.txt", "2.txt", "1.txt"], ["0.txt"]]
        assert pages(server, version, "&page_size=1000") == pages(server, version)
        assert [len(page) for page in pages(server, version, "&page_size=2")] == [2, 2, 2, 1]
        body = json.loads(ask(server, "GET", "/files", version=version)[1])
        del server.files[stored[4].id]
        server.add("new.txt", b"x")
        body = json.loads(ask(server, "GET", f"/files?page_token={body['next_page_token']}", version=version)[1])
        assert [file["id"] for file in body["items" if version else "data"]] == [each.id for each in stored[3:0:-1]]
        for wrong in ("page_size=0", "page_size=x", "page_token=x"):
            assert ask(server, "GET", f"/files?{wrong}", version=version)[0] == 400


def test_the_second_format() -> None:
    """By the header, in one of any kind; a kind that speaks no other refuses who does not send it."""
    with of(Kind()) as server:
        status, body = ask(server, "POST", "/files", FORM, version=BETA)
        file = json.loads(body)
        assert status == 201
        assert " ".join(file) == "id filename mime_type size_bytes created_at purpose extract_status"
        assert (file["size_bytes"], file["created_at"], file["extract_status"]) == (10, "2023-11-14T22:13:20Z", "ok")
        assert json.loads(ask(server, "GET", "/files", version=BETA)[1]) == {"items": [file], "next_page_token": ""}
        assert json.loads(ask(server, "GET", f"/files/{file['id']}", version=BETA)[1]) == file
        assert json.loads(ask(server, "GET", f"/files/{file['id']}/content", version=BETA)[1])["content"]
        assert ask(server, "DELETE", f"/files/{file['id']}", version=BETA) == (204, b"")
        assert ask(server, "GET", "/files", version="2026-09-01")[0] == 400
    with of(Kind(beta=True)) as server:
        assert [ask(server, "GET", "/files", version=version)[0] for version in (None, BETA)] == [400, 200]


def test_whose_files_a_list_shows() -> None:
    """Without the header those of the organisation, with it those of the project."""
    with of(YESTERDAY) as server:
        server.add("ours.txt", b"x")
        theirs = server.add("theirs.txt", b"x", scope=formats.ORGANISATION)
        counts = [len(json.loads(ask(server, "GET", "/files")[1])["data"])]
        counts.append(len(json.loads(ask(server, "GET", "/files", version=BETA)[1])["items"]))
        assert counts == [2, 1]
        assert [ask(server, "GET", f"/files/{theirs.id}", version=version)[0] for version in (None, BETA)] == [200, 404]


@pytest.mark.parametrize("kind", [YESTERDAY, EVERY[-1]], ids=str)
def test_the_faulty_service_and_ours_are_of_the_same_kind(kind: Kind, tmp_path: Path) -> None:
    """What a drive meets of either is alike: names, pages, failures and formats."""

    def met(account: Account) -> Any:
        names = [account.upload(name, b"x")["filename"] for name in ("a.txt", "a.txt", "b.txt", "c.txt")]
        stored = account.files()
        prefix = {file["id"].startswith("file_") for file in stored}
        return names, [file["filename"] for file in stored], {file["status"] for file in stored}, prefix

    with of(kind) as server, Account(server.base_url, server.key, kind=kind) as account:
        faulty = met(account)
    with local_server(tmp_path / "data", kind) as account:
        ours = met(account)
    assert (faulty[0], sorted(faulty[1]), *faulty[2:]) == (ours[0], sorted(ours[1]), *ours[2:])
