"""The switches of `moonfs serve`: each answer that the service might give instead of ours."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import httpx
import pytest

from moonfs.server.address import read_address, read_key
from moonfs.server.behaviour import GROUPS, SWITCHES, Behaviour, Limits
from moonfs.server.dialect import DIALECTS, FACTS, LATEST
from moonfs.server.embed import EmbedError, attach
from tests.harness import forks
from tests.server.conftest import wait_until

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
NO_TEXT = "text extract error: 没有解析出内容"


def names(server) -> list[str]:
    return [file["filename"] for file in server.client.get("/files").json()["data"]]


def test_every_field_has_its_switch_and_its_default():
    own = {field.name for field in fields(Behaviour)} - {"limits", "dialect"} | {"api", *FACTS}
    own |= {f"max_{field.name}" for field in fields(Limits)}
    assert {switch.name for switch in SWITCHES} == own
    assert len(SWITCHES) == len(own)
    assert Behaviour.of({switch.name: switch.default for switch in SWITCHES}) == Behaviour()


def test_the_words_of_a_fact_are_in_the_order_of_time():
    """The help says so, instead of saying it of each."""
    for switch in SWITCHES:
        if switch.name in FACTS and isinstance(switch.kind, tuple):
            assert [getattr(dialect, switch.name) for dialect in DIALECTS.values()] == list(switch.kind[:2]), switch
    assert list(DIALECTS) == sorted(DIALECTS)
    assert list(DIALECTS)[-1] == LATEST


def test_lists_oldest_first(launch):
    server = launch(behaviour={"list_order": "oldest"})
    ids = [server.upload(f"{number}.txt", b"x").json()["id"] for number in range(3)]
    assert server.ids() == ids
    assert [file["id"] for file in server.client.get("/files", params={"after": ids[0]}).json()["data"]] == ids[1:]


def test_lists_in_no_order(launch):
    server = launch(behaviour={"list_order": "random"})
    for number in range(12):
        server.upload(f"{number}.txt", b"x")
    lists = [names(server) for _ in range(5)]
    assert all(sorted(each) == sorted(lists[0]) for each in lists)
    assert len(set(map(tuple, lists))) > 1
    assert server.client.get("/files", params={"after": server.ids()[0]}).json()["data"] == []


def test_a_strict_server_wants_a_purpose(launch):
    server = launch(behaviour={"strict_purpose": True})
    answer = server.upload("a.txt", b"x", None)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid purpose")
    assert server.upload("a.txt", b"x").status_code == 200


def test_the_type_of_a_content(launch):
    server = launch(behaviour={"content_type": "application/json"})
    file_id = server.upload("a.txt", b"x").json()["id"]
    assert server.client.get(f"/files/{file_id}/content").headers["content-type"] == "application/json"


@pytest.mark.parametrize("how", ["refuse", "empty", "original"])
def test_the_content_of_an_image(launch, how):
    server = launch(behaviour={"media_content": how})
    file_id = server.upload("a.png", PNG, "image").json()["id"]
    answer = server.client.get(f"/files/{file_id}/content")
    if how == "refuse":
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, NO_TEXT)
    elif how == "empty":
        assert answer.json() == {
            "content": "", "file_type": "image/png", "filename": "a.png", "title": "", "type": "file",
        }  # fmt: skip
    else:
        assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")


def test_the_status_of_a_full_account(launch):
    server = launch(behaviour={"quota_status": 413}, limits={"total_bytes": 10})
    answer = server.upload("a.txt", b"x" * 11)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"].startswith("The size of files you have uploaded exceeded")


def test_the_words_for_what_is_not_there(launch):
    server = launch(behaviour={"not_found_text": "No such file: 无此文件", "delete_again": "ok"})
    file_id = server.upload("a.txt", b"x").json()["id"]
    first, again = (server.client.delete(f"/files/{file_id}") for _ in range(2))
    assert (again.status_code, again.content) == (200, first.content)
    answer = server.client.get(f"/files/{file_id}")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "No such file: 无此文件")


def test_no_head_unless_switched_on(server):
    file_id = server.upload("a.txt", b"x").json()["id"]
    assert server.client.head(f"/files/{file_id}/content").status_code == 405
    answer = server.client.get(f"/files/{file_id}/content", headers={"Range": "bytes=0-3"})
    assert (answer.status_code, "etag" in answer.headers) == (200, False)


@pytest.mark.parametrize("size", [5, 300_000])
@pytest.mark.parametrize("text", [b"0123456789", b"01&3<56>8\xc3\xa9"], ids=["plain", "escaped"])
def test_parts_of_a_content(launch, size, text):
    """Short text is in a row, long text in a file; a part may lie anywhere across their ends, and within an escape."""
    server = launch(behaviour={"http_extras": True})
    url = f"/files/{server.upload('a.txt', text * (size // 5)).json()['id']}/content"
    whole = server.client.get(url)
    body, etag = whole.content, whole.headers["etag"]
    assert server.client.get(url, headers={"If-None-Match": etag}).status_code == 304
    head = server.client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(body)))
    end = len(body)
    for start, stop in (
        (0, 4),
        (17, 19),
        (end // 2, end // 2 + 100_000),
        (5, 30),
        (end - 40, end),
        (0, end),
        (8, 12),
        (end - 2, end),
    ):
        answer = server.client.get(url, headers={"Range": f"bytes={start}-{stop - 1}"})
        assert (answer.status_code, answer.content) == (206, body[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{min(stop, end) - 1}/{end}"
    assert server.client.get(url, headers={"Range": "bytes=-7"}).content == body[-7:]
    assert server.client.get(url, headers={"Range": "bytes=7-"}).content == body[7:]
    assert server.client.get(url, headers={"Range": f"bytes={end}-"}).status_code == 416
    assert server.client.get(url, headers={"Range": "lines=1-2"}).content == body


@pytest.mark.parametrize(
    ("rules", "sent", "kept"),
    [("base", "../../etc/a.txt", "a.txt"), ("base", "C:\\b\\a.txt", "a.txt"), ("refuse", "a b.txt", "a b.txt"),
     ("refuse", "../a.txt", None), ("refuse", "字" * 85 + ".txt", None)],
)  # fmt: skip
def test_rules_for_names(launch, rules, sent, kept):
    server = launch(behaviour={"filename_rules": rules})
    answer = server.upload(sent, b"x")
    if kept is None:
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert names(server) == []
    else:
        assert answer.json()["filename"] == kept


def test_ids_with_a_prefix_stay_in_order_and_in_reach(launch):
    server = launch()
    old = server.upload("old.txt", b"old").json()["id"]
    server.stop()
    server = launch(behaviour={"id_prefix": "file_"})
    new = [server.upload(f"{number}.txt", b"x").json()["id"] for number in range(2)]
    assert all(file_id.startswith("file_") and len(file_id) == 25 for file_id in new)
    assert server.ids() == [*new[::-1], old]
    assert server.client.get(f"/files/{old}/content").json()["content"] == "old"
    server.stop()
    server = launch()
    last = server.upload("last.txt", b"x").json()
    assert server.ids() == [last["id"], *new[::-1], old]
    assert abs(last["created_at"] - time.time()) < 60


def test_files_that_are_ready(launch):
    assert launch(behaviour={"status": "ready"}).upload("a.txt", b"x").json()["status"] == "ready"


def test_a_file_without_text_can_be_stored_as_an_error(launch):
    server = launch(behaviour={"on_extract_error": "store"}, light={"workers": 1})
    for name, content, why in (
        ("a.pdf", b"%PDF-1.7 broken", f"{NO_TEXT} (it is damaged or not what its name says)"),
        ("a.crash", b"x", "Failed to extract file: the reader broke down"),
    ):
        stored = server.upload(name, content).json()
        assert (stored["status"], stored["status_details"]) == ("error", why)
        answer = server.client.get(f"/files/{stored['id']}/content")
        assert answer.status_code == 500
        assert answer.json()["error"] == {"message": "extract task failed: failed", "type": "server_error"}
    assert server.upload("a.exe", b"x").status_code == 400
    server.stop()
    assert {file["status"] for file in launch().client.get("/files").json()["data"]} == {"error"}


def refused_for_now(answer, kind: str) -> bool:
    return (answer.status_code, answer.headers.get("retry-after"), answer.headers.get("x-retry-after")) == (
        429, "1", "1",
    ) and answer.json()["error"]["type"] == kind  # fmt: skip


def test_a_limit_of_requests_a_minute(launch):
    server = launch(behaviour={"rate_limit": 3})
    answers = [server.client.get("/files") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert refused_for_now(answers[3], "rate_limit_reached_error")


def test_limits_are_those_of_an_account(launch):
    """What one account has used up, another has not."""
    server = launch(behaviour={"rate_limit": 1}, accounts=["ann"])
    with server.make_client(read_key(server.data / "accounts" / "ann")) as ann:
        answers = [client.get("/files").status_code for client in (server.client, server.client, ann, ann)]
        assert answers == [200, 429, 200, 429]
        assert ann.get("http://local/healthz").status_code == 200  # with or without a key


def test_a_limit_of_uploads_a_minute(launch):
    server = launch(behaviour={"rate_limit": 2, "rate_limit_counts": "uploads"})
    assert [server.upload(f"{number}.txt", b"x").status_code for number in range(3)] == [200, 200, 429]
    assert len(server.ids()) == 2


def test_a_limit_of_requests_at_once(launch, tmp_path):
    server = launch(behaviour={"max_concurrency": 1, "latency": 0})
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda number: server.upload(f"{number}.txt", b"x" * 3_000_000), range(6)))
    codes = sorted({answer.status_code for answer in answers})
    assert codes in ([200, 429], [200])
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(refused_for_now(answer, "engine_overloaded_error") for answer in refused)
    assert refused, "none of six large uploads at once was refused"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--list-order", "sideways"], "'sideways'"),
        (["--id-prefix", "../"], "is no prefix"),
        (["--content-type", "text"], "is no media type"),
        (["--rate-limit", "-1"], "-1"),
        (["--number-suffix", "(n)"], "is no suffix of a name"),
        (["--number-suffix", "/{n}"], "is no suffix of a name"),
        (["--page-size", "5", "--pages", "ignore"], "needs --pages answer"),
        (["--page-size", "5", "--api", "2026-03"], "needs --pages answer"),
        (["--api", "2026-04"], "'2026-04'"),
        (["--not-found-text", "a\nb"], "cannot be printed"),
        (["--max-files", "0"], "0"),
        (["--latency", "nan"], "nan"),
        (["--quota-status", "x"], "'x' is n"),
    ],
)
@pytest.mark.parametrize("program", [["moonfs", "serve", "--port", "0"], ["moonfs.server", "--host", "127.0.0.1"]])
def test_a_bad_value_is_one_clear_sentence(tmp_path, program, arguments, said):
    command = ["-m", *program, "--data", str(tmp_path / "data"), *arguments]
    done = forks.run(command, env=forks.environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_all_switches_of_the_server_as_a_child(tmp_path):
    """`python -m moonfs.server` has every flag of `moonfs serve`."""
    helps = [
        subprocess.run([sys.executable, "-m", *program, "--help"], capture_output=True, text=True, check=True).stdout
        for program in (["moonfs", "serve"], ["moonfs.server"])
    ]
    assert all(switch.flag in text for text in helps for switch in SWITCHES)
    places = [helps[0].index(title) for title in GROUPS]
    assert places == sorted(places)
    data, socket = tmp_path / "data", tmp_path / "s"
    command = [sys.executable, "-m", "moonfs.server", "--data", str(data), "--socket", str(socket), "--account", "ann"]
    with subprocess.Popen([*command, "--id-prefix", "file_", "--status", "ready"], stderr=subprocess.DEVNULL) as child:
        wait_until(lambda: read_address(data) is not None, "it listens")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            headers = {"Authorization": f"Bearer {read_key(data / 'accounts' / 'ann')}"}
            answer = client.post("http://x/v1/files", files={"file": ("a.txt", b"x")}, headers=headers)
        child.terminate()
    assert (answer.json()["id"][:5], answer.json()["status"]) == ("file_", "ready")


def test_each_request_has_its_line_in_the_log(launch, until):
    """What was asked, without the id of anything, and how it ended."""
    server = launch()
    file_id = server.upload("secret-name.txt", b"text").json()["id"]
    answers = [server.client.get(f"/files/{file_id}"), server.client.delete("/files/nothing"), server.client.get("/no")]
    answers.append(server.client.get("/files", headers={"Authorization": "Bearer sk-wrong"}))
    until(lambda: server.log().count("moonfs.server.access") == 5, "the last line, written after its answer, is there")
    lines = [line for line in server.log().splitlines() if "moonfs.server.access" in line]
    said = [re.sub(r"\d+\.\d ms", "N ms", line.split("access:")[1]).split() for line in lines[-4:]]
    assert [(*words[:3], words[-1]) for words in said] == [
        ("GET", "/v1/files/{file_id}", "200", answers[0].headers["msh-request-id"]),
        ("DELETE", "/v1/files/{file_id}", "404", answers[1].headers["msh-request-id"]),
        ("GET", "-", "404", answers[2].headers["msh-request-id"]),
        ("GET", "-", "401", answers[3].headers["msh-request-id"]),
    ]
    assert f"{len(answers[0].content)} bytes" in lines[-4]
    assert not any(private in server.log() for private in (file_id, "secret", server.key, "sk-wrong"))


def test_a_server_that_mounts_share_logs_no_requests(tmp_path):
    """Its log is appended to for as long as the data lives, and a drive logs what matters itself."""
    with (
        attach(tmp_path / "data", tmp_path / "run", tmp_path / "log") as embedded,
        pytest.raises(EmbedError, match="404"),
    ):
        embedded.media("ms://nothing")
    assert "access" not in (tmp_path / "log").read_text()


def test_a_busy_server_is_still_found_by_mounts(launch, tmp_path):
    """A server that refuses for its rate is there all the same."""
    server = launch(behaviour={"rate_limit": 1})
    server.client.get("/files")
    assert server.client.get("/files").status_code == 429
    with attach(server.data, tmp_path / "run", tmp_path / "log") as found:
        assert found.pid == server.process.pid
