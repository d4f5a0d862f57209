"""The five calls and the file object, line by line of what is known of the service."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from moonfs.server.dialect import BETA
from tests.contract.conftest import BEFORE, BOTH, SINCE, api_of, end, start

NOT_FOUND = b'{"error":{"message":"The requested resource was not found","type":"resource_not_found_error"}}'
KEYS = ["id", "object", "bytes", "created_at", "filename", "purpose", "status", "status_details"]
METADATA = ["id", "filename", "mime_type", "size_bytes", "created_at", "purpose", "extract_status"]
#: The header that asks for the second format.
SECOND = {"headers": {"kimi-api-version": BETA}}


@pytest.mark.parametrize("switches", [(), ("--status", "processed"), ("--list-bounds", "show"), ("--pages", "answer")])
@BOTH
def test_of_which_time_a_service_is_can_be_told(local, api, switches):
    """DOC: by `has_more` in a list, and by a refusal of an unknown `kimi-api-version`; one alone decides nothing."""
    signs = local(*switches).signs()
    is_mixed = switches == ("--list-bounds", "show") and api == "2026-03"
    assert api_of(signs) == ("" if is_mixed else api)


@BEFORE
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


@SINCE
def test_a_file_has_a_type_and_is_ready(service):
    """DOC: `file_type`, whose place among the keys is unknown, and `status` is `ready`; the rest is as before."""
    before = int(time.time())
    answer = service.upload("福州商场.pdf", "商场\n".encode(), "batch")
    assert answer.status_code == 200
    stored = answer.json()
    assert set(stored) == {*KEYS, "file_type"}
    assert (stored["object"], stored["bytes"], stored["filename"]) == ("file", 7, "福州商场.pdf")
    assert (stored["purpose"], stored["status"], stored["status_details"]) == ("batch", "ready", "")
    assert before - 120 <= stored["created_at"] <= time.time() + 120
    if service.is_local:
        assert (list(stored), stored["file_type"]) == ([*KEYS, "file_type"], "text/plain")


@BEFORE
def test_an_id_is_an_xid_and_fit_for_a_path(service):
    """LIVE: 20 characters of [0-9a-v], the first 4 bytes being `created_at`; a newer page prints a prefix."""
    stored = service.upload("a.txt", b"x").json()
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", stored["id"])
    if service.is_local:
        assert re.fullmatch(r"[0-9a-v]{20}", stored["id"])
        digits = "".join(f"{'0123456789abcdefghijklmnopqrstuv'.index(c):05b}" for c in stored["id"])
        assert int(digits[:32], 2) == stored["created_at"]


@SINCE
def test_new_ids_have_a_prefix(service):
    """DOC: `file_`; what comes after it is no xid in the printed examples."""
    assert re.fullmatch(r"file_[A-Za-z0-9._-]+", service.upload("a.txt", b"x").json()["id"])


@SINCE
def test_old_ids_live_beside_new_ones(tmp_path):
    """DOC: in one list; each is spelled as it always was."""
    process, before = start(tmp_path / "data", api="2026-03")
    old = before.upload("old.txt", b"old").json()["id"]
    end(process, before)
    process, since = start(tmp_path / "data", api="2026-09")
    new = since.upload("new.txt", b"new").json()["id"]
    assert [file["id"] for file in since.ask("GET", "/files").json()["data"]] == [new, old]
    assert since.ask("GET", f"/files/{old}/content").json()["content"] == "old"
    end(process, since)


@BOTH
def test_an_upload_without_a_filename_is_called_upload(service):
    """LIVE."""
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    body += b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n{"custom_id": "1"}\n\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = service.ask("POST", "/files", content=body, headers=headers)
    service.uploaded += [answer.json()["id"]] if answer.status_code == 200 else []
    assert answer.json()["filename"] == "upload"


@BOTH
def test_a_missing_purpose_is_file_extract(service):
    """INF before, DOC since; unknown whether it still is: a strict service refuses it."""
    answer = service.upload("a.txt", b"x", None)
    if answer.status_code == 200 or service.is_local:
        assert answer.json()["purpose"] == "file-extract"
    else:
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@BEFORE
def test_names_are_not_unique(service):
    """LIVE."""
    first, second = (service.upload("same.txt", b"x").json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["filename"] == second["filename"] == "same.txt"


@SINCE
def test_an_equal_name_is_numbered(service):
    """DOC: it is stored with a sequence number; how that looks is unknown, and the answer's `filename` tells."""
    got = [service.upload("same name.txt", b"%d" % number).json() for number in range(3)]
    names = [stored["filename"] for stored in got]
    assert names[0] == "same name.txt" or not service.is_local  # which may hold one already
    assert len(set(names)) == len({stored["id"] for stored in got}) == 3
    for name in names[1:]:
        assert re.fullmatch(r"same name[\W_]*\d+[\W_]*\.txt[\W_\d]*", name), name
    listed = {file["id"]: file["filename"] for file in service.ask("GET", "/files").json()["data"]}
    assert [listed[stored["id"]] for stored in got] == names
    if service.is_local:
        assert names == ["same name.txt", "same name(1).txt", "same name(2).txt"]


@SINCE
def test_an_equal_name_is_numbered_in_the_second_format_too(service):
    """DOC: in both formats."""
    first, second = (service.upload("same.txt", b"x", **more).json()["filename"] for more in ({}, SECOND))
    assert first != second


@SINCE
@pytest.mark.parametrize(("suffix", "name"), [("-{n}", "report-1.txt"), ("_{n}", "report_1.txt")])
def test_the_look_of_a_number_is_not_known(local, suffix, name):
    """Unknown: `report(1).txt`, `report-1.txt`, `report_1.txt`, …, so it can be switched."""
    service = local("--number-suffix", suffix)
    assert [service.upload("report.txt", b"x").json()["filename"] for _ in range(2)] == ["report.txt", name]


@SINCE
def test_equal_names_from_before_stay(tmp_path):
    """DOC: files of before may have them."""
    for api, names in (("2026-03", ["a.txt", "a.txt"]), ("2026-09", ["a(2).txt", "a(1).txt", "a.txt", "a.txt"])):
        process, service = start(tmp_path / "data", api=api)
        for _ in range(2):
            service.upload("a.txt", b"x")
        assert [file["filename"] for file in service.ask("GET", "/files").json()["data"]] == names
        end(process, service)


@SINCE
def test_a_field_may_name_the_file(service):
    """DOC: a form field `filename`; INF: it goes before the name of the part."""
    form = {"files": {"file": ("part.txt", b"x")}, "data": {"filename": "商场 field.txt"}}
    answer = service.ask("POST", "/files", **form)
    service.uploaded.append(answer.json()["id"])
    assert answer.json()["filename"] == "商场 field.txt"


@BEFORE
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


@SINCE
def test_the_list_has_ends(service):
    """DOC: `first_id`, `last_id` and `has_more`, newest first, complete without parameters."""
    stored = [service.upload(f"{number}.txt", b"x").json() for number in range(3)]
    body = service.ask("GET", "/files").json()
    assert list(body) == ["object", "data", "first_id", "last_id", "has_more"]
    ids = [file["id"] for file in body["data"]]
    assert (body["object"], body["has_more"]) == ("list", False)
    assert (body["first_id"], body["last_id"]) == (ids[0], ids[-1])
    ours = [file["id"] for file in stored]
    assert [file_id for file_id in ids if file_id in ours] == ours[::-1]
    moments = [file["created_at"] for file in body["data"]]
    assert moments == sorted(moments, reverse=True)


@SINCE
@pytest.mark.parametrize("more", [{}, SECOND], ids=["known", "second"])
def test_a_list_in_pages(service, more):
    """DOC: `page_size` and `page_token`; unknown: whether the known format has the token too, as it needs one."""
    ids = {service.upload(f"{number}.txt", b"x").json()["id"] for number in range(3)}
    seen: list[str] = []
    asked: dict[str, object] = {"page_size": 2 if service.is_local else 1000}
    while True:
        body = service.ask("GET", "/files", params=asked, **more).json()
        page = [file["id"] for file in body["items" if more else "data"]]
        assert len(page) <= asked["page_size"]
        seen += page
        token = body.get("next_page_token", "")
        assert more or body["has_more"] == bool(token)
        if not token:
            break
        asked["page_token"] = token
    assert ids <= set(seen)
    assert len(seen) == len(set(seen))


@SINCE
@pytest.mark.parametrize("asked", [{"page_size": 0}, {"page_size": 1001}, {"page_size": "x"}])
def test_a_page_has_1_to_1000_files(ours, asked):
    """DOC: 1 to 1,000; INF: anything else is refused."""
    answer = ours.ask("GET", "/files", params=asked)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@SINCE
def test_a_service_may_give_pages_unasked(local):
    """Unknown: a default size; then the first page is not all there is."""
    service = local("--page-size", "2")
    for number in range(3):
        service.upload(f"{number}.txt", b"x")
    body = service.ask("GET", "/files").json()
    assert (len(body["data"]), body["has_more"]) == (2, True)
    rest = service.ask("GET", "/files", params={"page_token": body["next_page_token"]}).json()
    assert (len(rest["data"]), rest["has_more"]) == (1, False)


@BOTH
def test_an_empty_account_lists_nothing(local, api):
    """DOC before; since then the ids of its ends are unknown."""
    more = b"" if api == "2026-03" else b',"first_id":"","last_id":"","has_more":false'
    assert local().ask("GET", "/files").content == b'{"object":"list","data":[]%s}' % more


@BOTH
def test_a_pager_that_goes_on_asking_comes_to_an_end(service):
    """SRC: the openai SDK reads a missing `has_more` as "ask again with `after`", and believes one that is there."""
    stored = service.upload("a.txt", b"x").json()["id"]
    seen: list[str] = []
    with service.sdk() as sdk:
        if service.is_local:
            seen.extend(file.id for file in sdk.files.list())
        else:  # a server that ignores `after` makes that endless
            seen.extend(file.id for file in sdk.files.list().data)
    assert stored in seen
    assert len(seen) == len(set(seen))


@BOTH
def test_retrieve_gives_the_same_object(service):
    """DOC."""
    answer = service.upload("a.txt", b"x")
    assert service.ask("GET", f"/files/{answer.json()['id']}").json() == answer.json()


@BOTH
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
        if service.is_local and service.api == "2026-03":
            assert again.content == NOT_FOUND
    assert file_id not in {file["id"] for file in service.ask("GET", "/files").json()["data"]}


@SINCE
def test_the_second_format(service):
    """DOC: 201 on upload, `items` with a token, 204 without a body on delete; RFC 3339 times."""
    before = time.time()
    answer = service.upload("福州商场.txt", "商场\n".encode(), **SECOND)
    assert answer.status_code == 201
    stored = answer.json()
    assert set(stored) == set(METADATA)
    assert (stored["filename"], stored["size_bytes"], stored["purpose"]) == ("福州商场.txt", 7, "file-extract")
    moment = datetime.fromisoformat(stored["created_at"])
    assert moment.tzinfo is not None
    assert before - 120 <= moment.timestamp() <= time.time() + 120
    assert stored["mime_type"].startswith("text/plain")
    assert service.ask("GET", f"/files/{stored['id']}", **SECOND).json() == stored
    body = service.ask("GET", "/files", **SECOND).json()
    assert set(body) == {"items", "next_page_token"}
    assert stored in body["items"] or body["next_page_token"]
    gone = service.ask("DELETE", f"/files/{stored['id']}", **SECOND)
    assert (gone.status_code, gone.content) == (204, b"")
    assert service.ask("GET", f"/files/{stored['id']}", **SECOND).status_code == 404
    if service.is_local:
        assert list(stored) == METADATA
        assert (stored["extract_status"], stored["created_at"][-1]) == ("ready", "Z")


@SINCE
@pytest.mark.parametrize("value", ["2026-09-01", "1"])
def test_any_other_version_is_refused(service, value):
    """DOC: 400; a service of before does not look at the header."""
    answer = service.ask("GET", "/files", headers={"kimi-api-version": value})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@BEFORE
def test_a_version_is_not_looked_at(service):
    """INF: it is a header as others, of which the service knew nothing."""
    plain = service.upload("a.txt", b"x").json()
    for value in (BETA, "1"):
        assert service.ask("GET", f"/files/{plain['id']}", headers={"kimi-api-version": value}).json() == plain


@BOTH
def test_the_models(ours):
    """DOC: the neighbour that clients ask first; here an empty list."""
    assert ours.ask("GET", "/models").content == b'{"object":"list","data":[]}'


@SINCE
def test_a_browser_is_answered(local):
    """LIVE, since 22 September: preflights are answered, the origin echoed. Here for those that are named alone."""
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    answer = local("--cors", "http://localhost:3000").client.options("/files", headers=headers)
    assert answer.is_success
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


@BOTH
def test_an_answer_names_its_request(service):
    """LIVE: `msh-request-id`."""
    names = {service.ask("GET", "/files").headers["msh-request-id"] for _ in range(2)}
    assert len(names) == 2


@BOTH
@pytest.mark.parametrize("status", ["ok", "ready", "processed"])
def test_the_status_of_a_file(local, status):
    """LIVE `ok`, DOC `ready`, SRC `processed`, which the openai SDK waits for: all have to be understood."""
    assert local("--status", status).upload("a.txt", b"x").json()["status"] == status


@BEFORE
def test_ids_may_have_a_prefix(local):
    """DOC: a newer page prints `file_`, of a service that may be of before in all else."""
    service = local("--id-prefix", "file_")
    file_id = service.upload("a.txt", b"x").json()["id"]
    assert re.fullmatch(r"file_[0-9a-v]{20}", file_id)
    assert service.ask("GET", f"/files/{file_id}/content").json()["content"] == "x"
