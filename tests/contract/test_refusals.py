"""Errors and limits, line by line of what is known of the service."""

from __future__ import annotations

import io

import pytest

from moonfs.server.behaviour import Limits
from tests.contract.conftest import BEFORE, BOTH, SINCE
from tests.documents.packed import repeated

MIB = 1024**2
INVALID = "invalid_request_error"
COUNT = "The number of files you have uploaded exceeded the max file count {}, please delete previous uploaded files"
SHORT = "Too many uploaded files"
TOTAL = "The size of files you have uploaded exceeded the max file size, please delete previous uploaded files"


def refused(service, answer, status: int, message: str, kind: str = INVALID) -> None:
    """The body is message and type in this order, without a code (LIVE); since, perhaps, with a request id (DOC)."""
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"] == message
    assert answer.json()["error"]["type"] == kind
    if service.is_local:
        more = f',"request_id":"{answer.headers["msh-request-id"]}"' if service.api == "2026-09" else ""
        assert answer.content == f'{{"error":{{"message":"{message}","type":"{kind}"{more}}}}}'.encode()


@SINCE
def test_an_error_may_tell_its_request(service):
    """DOC: `request_id` within `error`."""
    answer = service.ask("GET", "/files/cs0000000000000000000")
    assert set(answer.json()["error"]) <= {"message", "type", "request_id"}
    assert answer.json()["error"].get("request_id") or not service.is_local


@BOTH
def test_a_file_of_more_than_100_mb(service):
    """LIVE: 400, over 100 * 1024**2 bytes."""
    answer = service.upload("a.txt", io.BytesIO(b"x" * (100 * MIB + 1)))
    refused(
        service, answer, 400,
        "File size is too large, max file size is 100MB, please confirm and re-upload the file",
    )  # fmt: skip


@BOTH
def test_an_empty_file(service):
    """LIVE: empty files do not exist remotely."""
    refused(service, service.upload("a.txt", b""), 400, "File size is zero, please confirm and re-upload the file")


@BOTH
def test_too_many_files(local, api):
    """LIVE, with the number in force: 1,000 on the service; DOC since: it may read `Too many uploaded files`."""
    service = local("--max-files", "2")
    kept = [service.upload(f"{number}.txt", b"x").json()["id"] for number in range(2)]
    said = COUNT.format(2) if api == "2026-03" else SHORT
    refused(service, service.upload("c.txt", b"x"), 400, said)
    refused(service, service.upload("c.txt", b"x" * 5_000_000), 400, said)
    service.ask("DELETE", f"/files/{kept[0]}")
    assert service.upload("c.txt", b"x").status_code == 200


@BOTH
def test_a_thousand_files(local, api):
    """DOC: 1,000 files; the next is refused. Since, one page of the vendor's has the number still and another not."""
    service = local()
    for number in range(1000):
        assert service.upload(f"{number}.txt", b"%d" % number).status_code == 200
    refused(service, service.upload("last.txt", b"x"), 400, COUNT.format(1000) if api == "2026-03" else SHORT)
    assert len(service.ask("GET", "/files").json()["data"]) == 1000


@BOTH
@pytest.mark.parametrize("status", [400, 403])
def test_too_much_in_all(local, status):
    """LIVE: 10 GB on the service; INF: the status, so it can be switched."""
    service = local("--max-total-bytes", "100", "--quota-status", str(status))
    service.upload("a.txt", b"x" * 60)
    refused(service, service.upload("b.txt", b"x" * 41), status, TOTAL)
    assert service.upload("b.txt", b"x" * 40).status_code == 200


@BEFORE
@pytest.mark.parametrize("content", [b" \n\t ", b"%PDF-1.7 broken"])
def test_nothing_could_be_extracted(service, content):
    """LIVE: the upload itself is refused, and nothing is stored."""
    name = "a.pdf" if content.startswith(b"%") else "a.txt"
    before = {file["id"] for file in service.ask("GET", "/files").json()["data"]}
    refused(service, service.upload(name, content), 400, "text extract error: 没有解析出内容")
    assert {file["id"] for file in service.ask("GET", "/files").json()["data"]} <= before


@BOTH
@pytest.mark.parametrize("name", [".env", "Dockerfile.x", "README"])
def test_an_unsupported_type(service, name):
    """LIVE: by the name."""
    refused(service, service.upload(name, b"text"), 400, "text extract error: 不支持的文件类型")


@BOTH
def test_an_unknown_purpose(service):
    """LIVE: the text after "only" varies."""
    answer = service.upload("a.txt", b"x", "fine-tune")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, INVALID)
    assert answer.json()["error"]["message"].startswith("Invalid purpose: only 'file-extract'")


@BOTH
@pytest.mark.parametrize("is_last", [False, True])
def test_an_empty_purpose(local, is_last):
    """Unknown: DOC says that it may be left out, and an empty one is not left out."""
    parts = [("purpose", (None, b"")), ("file", ("a.txt", b"x"))]
    answer = local().ask("POST", "/files", files=parts[::-1] if is_last else parts)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, INVALID)
    assert answer.json()["error"]["message"].startswith("Invalid purpose")


@BOTH
def test_a_missing_purpose_may_be_refused(local):
    """Unknown: a strict service."""
    answer = local("--strict-purpose").upload("a.txt", b"x", None)
    assert answer.json()["error"]["message"].startswith("Invalid purpose")


@BOTH
def test_a_bad_key(service):
    """LIVE: 401; the type is one of two."""
    with service.make_client("sk-wrong") as stranger:
        answer = stranger.get("/files")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] in ("invalid_authentication_error", "incorrect_api_key_error")
    if service.is_local:
        refused(service, answer, 401, "Invalid Authentication", "invalid_authentication_error")


@BOTH
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "{key}", "Basic {key}", "Bearer {key}x", "Bearer x{key}", "Bearer schlüssel"],
)
def test_what_is_no_key(service, header):
    """LIVE: 401."""
    sent = {} if header is None else {"Authorization": header.format(key=service.key).encode()}
    request = service.client.build_request("GET", "/files", headers=sent)
    if header is None:
        del request.headers["Authorization"]
    answer = service.client.send(request)
    assert answer.status_code == 401
    if service.is_local:
        refused(service, answer, 401, "Invalid Authentication", "invalid_authentication_error")


@BOTH
def test_the_limits_are_those_of_the_service():
    """DOC: 1,000 files, 100 MB a file, 10 GB in all."""
    assert Limits() == Limits(files=1000, file_bytes=100 * MIB, total_bytes=10 * 1024 * MIB)


@BOTH
def test_a_key_opens_one_account_only(local, tmp_path):
    """DOC: separate keys, separate data."""
    from moonfs.server.address import read_key

    service = local("--account", "other")
    file_id = service.upload("a.txt", b"x").json()["id"]
    with service.make_client(read_key(tmp_path / "0" / "data" / "accounts" / "other")) as other:
        assert other.get("/files").json()["data"] == []
        assert other.get(f"/files/{file_id}").status_code == 404


@BOTH
def test_a_dead_id(service):
    """LIVE: 404."""
    answer = service.ask("GET", "/files/cs0000000000000000000")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "resource_not_found_error")
    if service.is_local:
        refused(service, answer, 404, "The requested resource was not found", "resource_not_found_error")


@BOTH
@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_a_key_in_any_case_of_its_scheme(ours, scheme):
    """INF: RFC 9110 has it so, and so has every framework."""
    assert ours.ask("GET", "/files", headers={"Authorization": f"{scheme} {ours.key}"}).status_code == 200


@BOTH
@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_a_form_with_a_preamble_or_bare_line_feeds(ours, end):
    """INF: what Go's reader of forms takes, the service does."""
    part = b'Content-Disposition: form-data; name="file"; filename="a.txt"'
    body = end.join((b"preamble", b"--b", part, b"", b"text", b"--b--", b""))
    answer = ours.ask("POST", "/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    ours.uploaded.append(answer.json()["id"])
    assert (answer.json()["filename"], answer.json()["bytes"]) == ("a.txt", 4)


@BOTH
@pytest.mark.parametrize(
    ("switches", "kind"),
    [(("--rate-limit", "2"), "rate_limit_reached_error"), (("--max-concurrency", "1"), "engine_overloaded_error")],
)
def test_too_many_requests(local, switches, kind):
    """LIVE: 429 with both headers; whether file calls count is unknown, so it can be switched."""
    from concurrent.futures import ThreadPoolExecutor

    service = local(*switches)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: service.upload(f"{n}.txt", b"x" * 3_000_000), range(8)))
    late = [answer for answer in answers if answer.status_code == 429]
    assert late
    for answer in late:
        assert answer.json()["error"]["type"] == kind
        assert (answer.headers["retry-after"], answer.headers["x-retry-after"]) == ("1", "1")


@BEFORE
def test_an_extraction_that_breaks_down_is_a_500(local):
    """LIVE: `Failed to extract file: …`."""
    import zlib

    packed = zlib.compress(repeated(b"0 0 m " * (MIB // 6), 100), 9)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents [" + b"4 0 R " * 30 + b"] >>"
    stream = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(packed), packed)
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page, stream]
    body = b"%PDF-1.7\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, text) for n, text in enumerate(objects, 1))
    answer = local().upload("bomb.pdf", body + b"trailer << /Root 1 0 R /Size 5 >>\n")
    assert answer.status_code in (400, 500)
    if answer.status_code == 500:
        assert answer.json()["error"]["type"] == "server_error"
        assert answer.json()["error"]["message"].startswith("Failed to extract file: ")
