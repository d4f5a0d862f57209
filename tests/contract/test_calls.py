"""The five calls and the file object, line by line of what is known of the service."""

from __future__ import annotations

import re
import time

import pytest

NOT_FOUND = b'{"error":{"message":"The requested resource was not found","type":"resource_not_found_error"}}'
KEYS = ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "status_details"]


def test_an_upload_answers_200_with_the_file_object(service):
    """DOC; LIVE: compact JSON, raw UTF-8, and the keys in this order."""
    before = int(time.time())
    answer = service.upload("福州商场.txt", "商场\n".encode())
    assert answer.status_code == 200
    stored = answer.json()
    assert list(stored) == KEYS
    assert (stored["object"], stored["bytes"], stored["filename"]) == ("file", 7, "福州商场.txt")
    assert (stored["purpose"], stored["status_details"]) == ("file-extract", "")
    assert stored["status"] in ("ok", "ready")
    assert before - 120 <= stored["created_at"] <= time.time() + 120
    if service.is_local:
        assert answer.content == (
            f'{{"id":"{stored["id"]}","object":"file","bytes":7,"created_at":{stored["created_at"]},'
            '"filename":"福州商场.txt","purpose":"file-extract","status":"ok","status_details":""}'
        ).encode()  # fmt: skip


def test_an_id_is_an_xid_and_fit_for_a_path(service):
    """LIVE: 20 characters of [0-9a-v], the first 4 bytes being `created_at`; a newer page prints a prefix."""
    stored = service.upload("a.txt", b"x").json()
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", stored["id"])
    if service.is_local:
        assert re.fullmatch(r"[0-9a-v]{20}", stored["id"])
        digits = "".join(f"{'0123456789abcdefghijklmnopqrstuv'.index(c):05b}" for c in stored["id"])
        assert int(digits[:32], 2) == stored["created_at"]


def test_an_upload_without_a_filename_is_called_upload(service):
    """LIVE."""
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    body += b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n{"custom_id": "1"}\n\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = service.ask("POST", "/files", content=body, headers=headers)
    service.uploaded += [answer.json()["id"]] if answer.status_code == 200 else []
    assert answer.json()["filename"] == "upload"


def test_a_missing_purpose_is_file_extract(service):
    """INF, strong; unknown whether it still is: a strict service refuses it."""
    answer = service.upload("a.txt", b"x", None)
    if answer.status_code == 200 or service.is_local:
        assert answer.json()["purpose"] == "file-extract"
    else:
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_names_are_not_unique(service):
    """LIVE."""
    first, second = (service.upload("same.txt", b"x").json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["filename"] == second["filename"] == "same.txt"


def test_the_list_is_the_whole_account_and_nothing_else(service):
    """DOC: exactly `object` and `data`, no `has_more`, no pages."""
    stored = [service.upload(f"{number}.txt", b"x").json() for number in range(3)]
    answer = service.ask("GET", "/files")
    assert answer.status_code == 200
    assert list(answer.json()) == ["object", "data"]
    assert answer.json()["object"] == "list"
    listed = {file["id"]: file for file in answer.json()["data"]}
    assert [listed[file["id"]] for file in stored] == stored
    assert all(list(file) == KEYS for file in answer.json()["data"])
    assert b": " not in answer.content and b"\\u" not in answer.content


def test_an_empty_account_lists_nothing(local):
    """DOC."""
    assert local().ask("GET", "/files").content == b'{"object":"list","data":[]}'


def test_a_pager_that_goes_on_asking_comes_to_an_end(service):
    """SRC: the openai SDK reads a missing `has_more` as "ask again with `after`"."""
    stored = service.upload("a.txt", b"x").json()["id"]
    seen: list[str] = []
    with service.sdk() as sdk:
        if service.is_local:
            seen.extend(file.id for file in sdk.files.list())
        else:  # a server that ignores `after` makes that endless
            seen.extend(file.id for file in sdk.files.list().data)
    assert stored in seen
    assert len(seen) == len(set(seen))


def test_retrieve_gives_the_same_object(service):
    """DOC."""
    answer = service.upload("a.txt", b"x")
    assert service.ask("GET", f"/files/{answer.json()['id']}").json() == answer.json()


def test_delete_is_alphabetical_and_final(service):
    """LIVE; the answer to a second delete is unknown, and so are the words of each 404."""
    file_id = service.upload("a.txt", b"x").json()["id"]
    answer = service.ask("DELETE", f"/files/{file_id}")
    service.uploaded.clear()
    assert answer.status_code == 200
    assert answer.content == f'{{"deleted":true,"id":"{file_id}","object":"file"}}'.encode()
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/content")):
        again = service.ask(method, f"/files/{file_id}{path}")
        assert again.status_code == 404 or (method == "DELETE" and not service.is_local)
        if service.is_local:
            assert again.content == NOT_FOUND
    assert file_id not in {file["id"] for file in service.ask("GET", "/files").json()["data"]}


def test_an_answer_names_its_request(service):
    """LIVE: `msh-request-id`."""
    names = {service.ask("GET", "/files").headers["msh-request-id"] for _ in range(2)}
    assert len(names) == 2


@pytest.mark.parametrize("status", ["ok", "ready"])
def test_the_status_of_a_file(local, status):
    """LIVE `ok`, DOC `ready`: both have to be understood."""
    assert local("--status", status).upload("a.txt", b"x").json()["status"] == status


def test_ids_may_have_a_prefix(local):
    """DOC: a newer page prints `file_`."""
    service = local("--id-prefix", "file_")
    file_id = service.upload("a.txt", b"x").json()["id"]
    assert re.fullmatch(r"file_[0-9a-v]{20}", file_id)
    assert service.ask("GET", f"/files/{file_id}/content").json()["content"] == "x"
