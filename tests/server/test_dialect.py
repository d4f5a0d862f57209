"""What changed in September 2026, beyond the contract (tests/contract): mixtures, races, restarts, ends of pages."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from moonfs.server.dialect import BETA, EMBEDDED, FACTS
from moonfs.server.embed import attach

BETA_HEADER = {"kimi-api-version": BETA}
NO_TEXT = "text extract error: 没有解析出内容"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


@pytest.fixture
def today(launch):
    return launch(behaviour={"api": "2026-09"})


def names(server) -> list[str]:
    return sorted(file["filename"] for file in server.client.get("/files").json()["data"])


def post(server, form: list[tuple[str, object]], **more):
    return server.client.post("/files", files=form, **more)


def test_names_are_numbered_by_the_first_number_that_is_free(today):
    """Also after one has gone, and where the number was somebody's own name."""
    assert [today.upload("r.txt", b"x").json()["filename"] for _ in range(3)] == ["r.txt", "r(1).txt", "r(2).txt"]
    gone = next(file["id"] for file in today.client.get("/files").json()["data"] if file["filename"] == "r(1).txt")
    today.client.delete(f"/files/{gone}")
    assert today.upload("r.txt", b"x").json()["filename"] == "r(1).txt"
    assert today.upload("r(1).txt", b"x").json()["filename"] == "r(1)(1).txt"
    assert today.upload("R.txt", b"x").json()["filename"] == "R.txt"


@pytest.mark.parametrize(
    ("name", "numbered"),
    [("a.tar.log", "a.tar(1).log"), ("dir.d/b.txt", "dir.d/b(1).txt"), ("名.txt", "名(1).txt"),
     (".txt.md", ".txt(1).md")],
)  # fmt: skip
def test_a_number_goes_before_the_extension(today, name, numbered):
    assert [today.upload(name, b"x").json()["filename"] for _ in range(2)] == [name, numbered]


@pytest.mark.parametrize("name", ["upload", ".env"])
def test_a_name_without_an_extension_is_numbered_at_its_end(today, name):
    assert [today.upload(name, b"{}", "batch").json()["filename"] for _ in range(2)] == [name, f"{name}(1)"]


@pytest.mark.parametrize(("suffix", "numbered"), [("-{n}", "a-1.txt"), ("_{n}", "a_1.txt"), (" ({n})", "a (1).txt")])
def test_the_look_of_a_number_can_be_chosen(launch, suffix, numbered):
    server = launch(behaviour={"api": "2026-03", "duplicate_names": "number", "number_suffix": suffix})
    assert [server.upload("a.txt", b"x").json()["filename"] for _ in range(2)] == ["a.txt", numbered]


def test_uploads_at_once_get_different_names(today):
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: today.upload("a.txt", b"%d" % n * 100_000).json()["filename"], range(16)))
    assert sorted(got) == sorted(["a.txt", *(f"a({number}).txt" for number in range(1, 16))])


def test_an_upload_that_is_refused_takes_no_name(today):
    """Its name is that of the next."""
    assert today.upload("a.exe", b"x").status_code == 400
    assert today.upload("a.txt", b"").status_code == 400
    assert today.upload("a.txt", b"x").json()["filename"] == "a.txt"


def test_numbers_go_on_after_a_restart_and_beside_equal_names_from_before(launch):
    server = launch(behaviour={"api": "2026-09", "duplicate_names": "keep"})
    for _ in range(2):
        server.upload("a.txt", b"x")
    server.stop()
    server = launch(behaviour={"api": "2026-09"})
    assert server.upload("a.txt", b"x").json()["filename"] == "a(1).txt"
    assert Counter(names(server)) == {"a.txt": 2, "a(1).txt": 1}
    for file_id in server.ids():
        server.client.delete(f"/files/{file_id}")
    assert server.upload("a.txt", b"x").json()["filename"] == "a.txt"


def test_a_document_without_text_is_stored_under_a_number_too(today):
    """It takes its name like any other, is listed, and can be deleted."""
    today.upload("a.pdf", b"%PDF-1.7 broken")
    stored = today.upload("a.pdf", b"%PDF-1.7 broken").json()
    assert (stored["filename"], stored["status"], stored["file_type"]) == ("a(1).pdf", "error", "application/pdf")
    assert stored["status_details"].startswith(NO_TEXT)
    assert today.client.delete(f"/files/{stored['id']}").status_code == 200
    assert names(today) == ["a.pdf"]


def test_every_fact_can_be_had_alone(launch):
    """Each switch goes before `api`, in either direction."""
    server = launch(behaviour={"api": "2026-09", **{"status": "processed", "id_prefix": "", "file_type": "omit"}})
    stored = server.upload("a.txt", b"x").json()
    assert (stored["status"], len(stored["id"]), "file_type" in stored) == ("processed", 20, False)
    assert "first_id" in server.client.get("/files").json()
    server.stop()
    server = launch(behaviour={"api": "2026-03", "request_id": "show", "list_bounds": "show"})
    answer = server.client.get("/files/nothing")
    assert answer.json()["error"]["request_id"] == answer.headers["msh-request-id"]
    assert server.client.get("/files").json()["first_id"] == stored["id"]
    assert server.client.get("/files", headers={"kimi-api-version": "nonsense"}).status_code == 200


def test_the_two_formats_tell_the_same(today):
    stored = today.upload("a.txt", b"text").json()
    answer = today.client.get(f"/files/{stored['id']}", headers=BETA_HEADER)
    assert list(answer.json()) == [
        "id", "filename", "mime_type", "size_bytes", "created_at", "purpose", "extract_status",
    ]  # fmt: skip
    moment = datetime.fromisoformat(answer.json()["created_at"])
    assert (moment.tzinfo, int(moment.timestamp())) == (UTC, stored["created_at"])
    assert answer.json()["created_at"].endswith("Z")
    assert today.client.get("/files", headers=BETA_HEADER).json() == {
        "items": [answer.json()], "next_page_token": "",
    }  # fmt: skip
    whole = today.client.get(f"/files/{stored['id']}/content")
    assert today.client.get(f"/files/{stored['id']}/content", headers=BETA_HEADER).content == whole.content
    gone = today.client.delete(f"/files/{stored['id']}", headers=BETA_HEADER)
    assert (gone.status_code, gone.content, gone.headers.get("content-length")) == (204, b"", None)
    again = today.client.delete(f"/files/{stored['id']}", headers=BETA_HEADER)
    assert (again.status_code, again.json()["error"]["type"]) == (404, "resource_not_found_error")


def test_an_upload_in_the_second_format(today):
    answer = post(today, [("file", ("a.txt", b"x"))], headers=BETA_HEADER)
    assert (answer.status_code, answer.json()["extract_status"], answer.json()["purpose"]) == (
        201, "ready", "file-extract",
    )  # fmt: skip
    refused = post(today, [("file", ("a.exe", b"x"))], headers=BETA_HEADER)
    assert refused.status_code == 400


@pytest.mark.parametrize("value", ["2026-09-01", "2026-09-01-beta2", "", "1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("DELETE", "/{id}"), ("GET", "/{id}/content")],
)  # fmt: skip
def test_an_unknown_version_is_refused_everywhere(launch_once, value, method, path):
    server, file_id = launch_once
    form = {"files": {"file": ("b.txt", b"x")}} if method == "POST" else {}
    answer = server.client.request(
        method, "/files" + path.format(id=file_id), headers={"kimi-api-version": value}, **form
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert server.ids() == [file_id]


@pytest.fixture(scope="module")
def launch_once(tmp_path_factory):
    from tests.server.conftest import started

    with started(tmp_path_factory.mktemp("once") / "data", {"behaviour": {"api": "2026-09"}}) as server:
        yield server, server.upload("a.txt", b"x").json()["id"]


def pages(server, size: int | None, headers: dict[str, str] | None = None) -> list[list[str]]:
    """Return the ids of a list, page by page."""
    found, token = [], ""
    while True:
        asked = {"page_size": size} if size else {}
        body = server.client.get(
            "/files", params={**asked, "page_token": token} if token else asked, headers=headers
        ).json()
        files = body["items" if headers else "data"]
        found.append([file["id"] for file in files])
        if not headers:
            assert (body["first_id"], body["last_id"]) == ((files[0]["id"], files[-1]["id"]) if files else ("", ""))
            assert body["has_more"] == ("next_page_token" in body)
        token = body.get("next_page_token", "")
        if not token:
            return found


@pytest.mark.parametrize("order", ["newest", "oldest", "random"])
@pytest.mark.parametrize("headers", [None, BETA_HEADER], ids=["known", "second"])
def test_pages_make_up_the_list(launch, order, headers):
    server = launch(behaviour={"api": "2026-09", "list_order": order})
    ids = [server.upload(f"{number}.txt", b"x").json()["id"] for number in range(7)]
    for size, lengths in ((1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (1000, [7]), (None, [7])):
        found = pages(server, size, headers)
        assert [len(page) for page in found] == lengths
        flat = [file_id for page in found for file_id in page]
        assert sorted(flat) == sorted(ids)
        if order != "random":
            assert flat == (ids if order == "oldest" else ids[::-1])


def test_a_service_may_give_pages_unasked(launch):
    """Then who reads the first page alone takes it for all."""
    server = launch(behaviour={"api": "2026-09", "page_size": 2})
    ids = [server.upload(f"{number}.txt", b"x").json()["id"] for number in range(5)]
    assert pages(server, None) == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert server.client.get("/files", params={"after": ids[3]}).json()["data"][0]["id"] == ids[2]


def test_what_comes_and_goes_between_two_pages(launch):
    """The next page begins where the last has ended, though its last file is gone."""
    server = launch(behaviour={"api": "2026-09"})
    ids = [server.upload(f"{number}.txt", b"x").json()["id"] for number in range(5)][::-1]
    first = server.client.get("/files", params={"page_size": 2}).json()
    server.client.delete(f"/files/{ids[1]}")
    server.upload("new.txt", b"x")
    second = server.client.get("/files", params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [file["id"] for file in second["data"]] == ids[2:4]


@pytest.mark.parametrize(
    "asked", [{"page_size": "0"}, {"page_size": "1001"}, {"page_size": "-1"}, {"page_size": "x"}, {"page_size": ""},
              {"page_size": "١"}, {"page_size": "9" * 5000}, {"page_token": "x"}, {"page_token": "../" * 9}],
)  # fmt: skip
def test_pages_that_are_none(launch_once, asked):
    answer = launch_once[0].client.get("/files", params=asked)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_field_names_the_file(launch):
    server = launch(behaviour={"api": "2026-09"})
    name = ("filename", (None, "真名.txt".encode()))
    for form in ([name, ("file", ("a.txt", b"1"))], [("file", ("a.exe", b"2")), name]):
        assert post(server, form).json()["filename"].startswith("真名")
    assert post(server, [("filename", (None, b"")), ("file", ("a.txt", b"1"))]).json()["filename"] == "a.txt"
    assert post(server, [("filename", (None, b"n" * 70_000)), ("file", ("a.txt", b"1"))]).status_code == 400
    server.stop()
    server = launch(behaviour={"api": "2026-03"})
    assert post(server, [name, ("file", ("a.txt", b"1"))]).json()["filename"] == "a.txt"


def test_refused_contents(today):
    """Of type `failed_precondition_error`, for pictures and for what could not be read."""
    for stored in (today.upload("a.png", PNG, "image").json(), today.upload("a.pdf", b"%PDF broken").json()):
        answer = today.client.get(f"/files/{stored['id']}/content")
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "failed_precondition_error")


def test_the_embedded_server_keeps_equal_names(tmp_path):
    """`--local` is of today, but for what its drive is spared."""
    assert EMBEDDED["duplicate_names"] == "keep"
    assert set(EMBEDDED) <= {"api", *FACTS}
    with attach(tmp_path / "data", tmp_path / "run", tmp_path / "log") as embedded:
        import httpx

        with httpx.Client(
            base_url="http://x/v1", transport=httpx.HTTPTransport(uds=embedded.socket),
            headers={"Authorization": f"Bearer {embedded.key}"},
        ) as client:  # fmt: skip
            for _ in range(2):
                client.post("/files", files={"file": ("a.txt", b"x")})
            listed = client.get("/files").json()
    assert [file["filename"] for file in listed["data"]] == ["a.txt", "a.txt"]
    assert listed["has_more"] is False
    assert json.dumps(listed).count("file_") > 3
