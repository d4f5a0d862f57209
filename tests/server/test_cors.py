"""Pages of other origins: let in one by one, and with a key."""

from __future__ import annotations

import subprocess
import sys

import pytest

from moonfs.server import cors

APP = "app://obsidian.md"
PAGE = "http://localhost:3000"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,x-stainless-os"}  # fmt: skip


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    from tests.server.conftest import started

    with started(tmp_path_factory.mktemp("cors") / "data", {"origins": [PAGE, APP]}) as server:
        yield server


def leave(answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


def test_off_by_default(server):
    answer = server.client.get("/files", headers={"Origin": PAGE})
    assert (leave(answer), "vary" in answer.headers) == ({}, False)
    asked = server.client.options("/files", headers=PREFLIGHT)
    assert (asked.status_code, leave(asked)) == (405, {})


@pytest.mark.parametrize("origin", [PAGE, APP])
def test_a_page_may_read_the_answers(open_server, origin):
    """Refusals too, else nobody can tell them from a server that is not there."""
    file_id = open_server.upload("a.txt", b"x").json()["id"]
    answers = [open_server.client.get(path, headers={"Origin": origin})
               for path in ("/files", f"/files/{file_id}/content", "/files/none", "http://local/healthz")]  # fmt: skip
    answers.append(open_server.client.get("/files", headers={"Origin": origin, "Authorization": "Bearer wrong"}))
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 401]
    for answer in answers:
        assert leave(answer) == {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "msh-request-id, retry-after, x-retry-after, content-range, etag",
        }
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/files", "/files/some-id", "/files/some-id/content", "/models", "/nowhere"])
def test_a_browser_may_ask_first_without_a_key(open_server, path):
    """Fetch, "CORS-preflight fetch": it sends no Authorization, and names the headers to come."""
    request = open_server.client.build_request("OPTIONS", path, headers=PREFLIGHT)
    del request.headers["Authorization"]
    answer = open_server.client.send(request)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert "access-control-allow-private-network" not in answer.headers
    asked = open_server.client.options(path, headers={**PREFLIGHT, "Access-Control-Request-Private-Network": "true"})
    assert asked.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["http://localhost:3001", "https://localhost:3000", "null", "*", "http://evil.io",
                                    "http://localhost:3000.evil.example", "HTTP://LOCALHOST:3000", ""])  # fmt: skip
def test_nobody_else(open_server, origin):
    answer = open_server.client.get("/files", headers={"Origin": origin})
    assert (answer.status_code, leave(answer), answer.headers["vary"]) == (200, {}, "Origin")
    request = open_server.client.build_request("OPTIONS", "/files", headers={**PREFLIGHT, "Origin": origin})
    del request.headers["Authorization"]
    asked = open_server.client.send(request)
    assert (asked.status_code, leave(asked)) == (401, {})
    two = [("Origin", PAGE), ("Origin", origin), ("Authorization", f"Bearer {open_server.key}")]
    assert leave(open_server.client.get("/files", headers=two)) == {}


def test_leave_is_no_key(open_server):
    answer = open_server.client.get("/files", headers={"Origin": PAGE, "Authorization": "Bearer wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("origin", [PAGE, APP, "https://a.b-c.example", "http://[::1]:8080", "tauri://localhost"])
def test_what_is_an_origin(origin):
    assert cors.check(origin) == origin
    assert cors.check(f"{origin.upper()}/") == origin


@pytest.mark.parametrize(
    ("origin", "said"),
    [("*", "would let every page that you look at try keys here"), ("null", "is no origin"), ("", "is no origin"),
     ("localhost:3000", "is no origin"), ("http://a/b", "is no origin"), ("http://*.example.com", "is no origin"),
     ("http://a:b@c", "is no origin")],
)  # fmt: skip
def test_what_is_none_is_one_clear_sentence(tmp_path, origin, said):
    command = [
        sys.executable,
        "-m",
        "moonfs",
        "serve",
        "--port",
        "0",
        "--data",
        str(tmp_path / "data"),
        "--cors",
        origin,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()
