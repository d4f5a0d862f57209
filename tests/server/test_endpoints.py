"""The five endpoints beyond the contract (tests/contract): routes, ids, forms, keys, what survives a restart."""

from __future__ import annotations

import httpx
import pytest

TOO_LARGE = "File size is too large, max file size is 100MB, please confirm and re-upload the file"
EMPTY = "File size is zero, please confirm and re-upload the file"
NO_TEXT = "text extract error: 没有解析出内容"
UNSUPPORTED = "text extract error: 不支持的文件类型"
NOT_FOUND = b'{"error":{"message":"The requested resource was not found","type":"resource_not_found_error"}}'


def refused(answer: httpx.Response, status: int, message: str, kind: str = "invalid_request_error") -> None:
    assert answer.status_code == status
    assert answer.content == f'{{"error":{{"message":"{message}","type":"{kind}"}}}}'.encode()


def test_list_is_the_whole_account_newest_first(launch):
    server = launch()
    assert server.client.get("/files").content == b'{"object":"list","data":[]}'
    objects = [server.upload(f"{n}.txt", b"x").json() for n in range(5)]
    assert server.client.get("/files").json() == {"object": "list", "data": objects[::-1]}
    ids = [file["id"] for file in objects]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_a_pager_that_asks_on_comes_to_an_end(server):
    server.upload("a.txt", b"a")
    ids = server.ids()
    rest = server.client.get("/files", params={"after": ids[0]}).json()["data"]
    assert [file["id"] for file in rest] == ids[1:]
    assert server.client.get("/files", params={"after": ids[-1]}).content == b'{"object":"list","data":[]}'


@pytest.mark.parametrize("name", [".env", "Dockerfile.x", "README", "a.", "archive.zip", "dir.txt/name", "a.exe"])
def test_unsupported_names(server, name):
    refused(server.upload(name, b"text"), 400, UNSUPPORTED)


def test_empty_file(server):
    refused(server.upload("a.txt", b""), 400, EMPTY)
    refused(server.upload("a.png", b"", "image"), 400, EMPTY)


@pytest.mark.parametrize("content", [b" \n\t ", b"\x00\x01\x02\x03" * 50])
def test_a_file_without_text(server, content):
    refused(server.upload("a.txt", content), 400, NO_TEXT)


def test_purposes(server):
    assert server.upload("a.txt", b"a", None).json()["purpose"] == "file-extract"
    for wrong in ("fine-tune", "assistants", "x" * 5000):
        refused(server.upload("a.txt", b"a", wrong), 400, "Invalid purpose: only 'file-extract' accepted")


def test_purpose_after_the_file(server):
    form = [("file", ("a.txt", b"a")), ("purpose", (None, b"fine-tune"))]
    refused(server.client.post("/files", files=form), 400, "Invalid purpose: only 'file-extract' accepted")
    form = [("file", ("a.jsonl", b"{}\n")), ("purpose", (None, b"batch"))]
    assert server.client.post("/files", files=form).json()["purpose"] == "batch"


def test_batch_gives_the_raw_bytes(server):
    lines = b'{"a": 1}\r\n\xff{"b":2}\n' * 50_000
    answer = server.upload("out.jsonl", lines, "batch")
    assert server.client.get(f"/files/{answer.json()['id']}/content").content == lines


def test_authentication(server):
    message = "Invalid Authentication"
    with server.make_client("sk-wrong") as stranger:
        refused(stranger.get("/files"), 401, message, "invalid_authentication_error")
        refused(stranger.get("/nowhere"), 401, message, "invalid_authentication_error")
        upload = stranger.post("/files", files={"file": ("a.txt", b"x" * 5_000_000)})
        refused(upload, 401, message, "invalid_authentication_error")
        for header in ("", server.key, f"Basic {server.key}", f"Bearer {server.key}x", "Bearer schlüssel"):
            answer = stranger.get("/files", headers={"Authorization": header.encode()})
            refused(answer, 401, message, "invalid_authentication_error")
    assert server.key not in server.client.get("/files").text


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "bEaReR  {}"])
def test_the_scheme_of_a_key_is_in_any_case(server, form):
    """RFC 9110, 11.1."""
    assert server.client.get("/files", headers={"Authorization": form.format(server.key)}).status_code == 200
    for wrong in (
        form.format(server.key.upper()),
        form.format(server.key).replace(" ", ""),
        "Bearer " * 2 + server.key,
    ):
        assert server.client.get("/files", headers={"Authorization": wrong}).status_code == 401


def test_there_are_no_models(server):
    answer = server.client.get("/models")
    assert (answer.status_code, answer.content) == (200, b'{"object":"list","data":[]}')
    assert server.client.get("/models", headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize("size", [1, 60_000, 500_000], ids=["short", "in a row", "in a file"])
def test_signs_of_html_go_out_as_escapes(server, size):
    """As Go's encoder writes them; the JSON means the same text, and what is escaped already is not so twice."""
    text = ('<a href="x?y&z">\\u0026 福</a>' * size)[:size] + "&<>"
    file_id = server.upload("a&b.txt", text.encode()).json()["id"]
    answer = server.client.get(f"/files/{file_id}/content")
    assert answer.json()["content"] == text
    assert answer.headers["content-length"] == str(len(answer.content))
    body = answer.content.partition(b',"file_type"')[0]
    assert not set(body) & set(b"&<>")
    assert body.endswith(b'\\u0026\\u003c\\u003e"')
    assert server.client.get("/files").content.count(b"a&b.txt") >= 1


def test_every_answer_names_its_request(server):
    seen = set()
    for answer in (
        server.client.get("/files"),
        server.client.get("/nowhere"),
        server.client.get("/files", headers={"Authorization": ""}),
        server.upload("a.exe", b"x"),
    ):
        seen.add(answer.headers["msh-request-id"])
    assert len(seen) == 4


def test_unknown_routes_and_methods_answer_in_the_same_form(server):
    for path in ("/", "/file", "/files/", "/files/x/y", "/chat/completions"):
        answer = server.client.get(path)
        assert (answer.status_code, answer.content) == (404, NOT_FOUND), path
    for method, path in (("PUT", "/files"), ("DELETE", "/files"), ("POST", "/files/x"), ("PATCH", "/files/x")):
        answer = server.client.request(method, path)
        refused(answer, 405, "The method is not allowed for this resource")
        assert answer.headers["allow"] == ("GET, POST" if path == "/files" else "DELETE, GET")


@pytest.mark.parametrize("file_id", ["..%2F..%2Fkey", "..", "%00", "x" * 5000, "é"])
def test_strange_ids_are_not_found(server, file_id):
    for answer in (server.client.get(f"/files/{file_id}"), server.client.delete(f"/files/{file_id}/")):
        assert answer.status_code == 404


def test_the_limits_survive_a_restart(launch):
    server = launch(limits={"files": 1})
    kept = server.upload("a.txt", b"a").json()
    assert server.stop() == 0
    server = launch(limits={"files": 1})
    assert server.client.get("/files").json()["data"] == [kept]
    assert server.upload("b.txt", b"b").status_code == 400
