"""Several keys are several accounts, and none sees another's files; what is open to all tells nothing of anybody."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from moonfs.server.address import read_key
from moonfs.server.embed import EmbedError, attach
from tests.harness import forks


def client_of(server, name: str):
    return server.make_client(read_key(server.data / "accounts" / name))


def upload(client, name: str, content: bytes = b"text", purpose: str = "file-extract"):
    return client.post("/files", files={"file": (name, content)}, data={"purpose": purpose})


def test_accounts_have_files_of_their_own(launch):
    server = launch(accounts=["ann", "bob"], limits={"files": 1})
    mine = server.upload("mine.txt", b"mine").json()["id"]
    with client_of(server, "ann") as ann, client_of(server, "bob") as bob:
        theirs = upload(ann, "hers.txt", b"hers").json()["id"]
        assert [file["id"] for file in ann.get("/files").json()["data"]] == [theirs]
        assert bob.get("/files").json()["data"] == []
        for stranger, file_id in ((bob, theirs), (bob, mine), (ann, mine), (server.client, theirs)):
            for answer in (
                stranger.get(f"/files/{file_id}"), stranger.get(f"/files/{file_id}/content"),
                stranger.delete(f"/files/{file_id}"),
            ):  # fmt: skip
                assert answer.status_code == 404
        assert ann.get(f"/files/{theirs}/content").json()["content"] == "hers"
        assert upload(ann, "more.txt").status_code == 400  # her limit, not theirs
        assert upload(bob, "his.txt").status_code == 200


def test_accounts_stay_without_being_named_again(launch):
    server = launch(accounts=["ann"])
    key = read_key(server.data / "accounts" / "ann")
    with client_of(server, "ann") as ann:
        kept = upload(ann, "a.txt").json()
    server.stop()
    (server.data / "accounts" / ".DS_Store").write_bytes(b"no account")
    (server.data / "accounts" / "Lost+Found").mkdir()
    server = launch()
    assert read_key(server.data / "accounts" / "ann") == key
    with client_of(server, "ann") as ann:
        assert ann.get("/files").json()["data"] == [kept]
    assert server.client.get("http://local/healthz").json()["accounts"] == 2


def test_keys_are_private_and_a_removed_one_is_replaced(launch):
    server = launch(accounts=["ann"])
    paths = [server.data / "key", server.data / "accounts" / "ann" / "key"]
    keys = {read_key(path.parent) for path in paths}
    assert len(keys) == 2
    assert all(len(key) > 40 for key in keys)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (*paths, *(path.parent for path in paths))] == [
        0o600, 0o600, 0o700, 0o700,
    ]  # fmt: skip
    old = server.key
    server.stop()
    os.unlink(paths[0])
    server = launch()
    assert server.key != old
    with server.make_client(old) as stranger:
        assert stranger.get("/files").status_code == 401


@pytest.mark.parametrize("name", ["../x", "A", "", "x" * 33, "a/b"])
def test_a_name_that_is_none_is_one_sentence(tmp_path, name):
    data = tmp_path / "data"
    command = ["-m", "moonfs", "serve", "--port", "0", "--data", str(data), "--account", name]
    done = forks.run(command, env=forks.environ(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is no name of an account" in done.stderr
    assert not (data / "accounts").exists()


def test_serve_says_where_each_key_is(tmp_path):
    data = tmp_path / "data"
    command = [sys.executable, "-m", "moonfs", "serve", "--port", "0", "--data", str(data), "--account", "ann"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        printed = [process.stdout.readline() for _ in range(3)]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert printed[1:] == [f"The API key is in {data}/key\n", f"The API key of ann is in {data}/accounts/ann/key\n"]
    assert read_key(data) not in "".join(printed)


def test_media_are_resolved_by_reference(launch):
    server = launch(accounts=["ann"])
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
    image = server.upload("a.png", png, "image").json()["id"]
    text = server.upload("a.txt", b"text").json()["id"]
    answer = server.client.get(f"http://local/ms/{image}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, png, "image/png")
    for file_id in (text, "nothing", "..%2Fkey"):
        assert server.client.get(f"http://local/ms/{file_id}").status_code == 404
    with client_of(server, "ann") as ann:
        assert ann.get(f"http://local/ms/{image}").status_code == 404
    with server.make_client("sk-wrong") as stranger:
        assert stranger.get(f"http://local/ms/{image}").status_code == 401


def test_health_needs_no_key_and_tells_nothing_private(launch):
    server = launch()
    file_id = server.upload("secret-name.txt", b"secret text").json()["id"]
    with server.make_client("sk-wrong") as anybody:
        answer = anybody.get("http://local/healthz")
        assert answer.status_code == 200
        assert anybody.get("http://local/openapi.json").json()["openapi"].startswith("3.")
        assert anybody.head("http://local/healthz").status_code == 200
    state = answer.json()
    assert (state["status"], state["accounts"]) == ("ok", 1)
    assert set(state["extraction"]) == {"text", "light", "small ocr", "ocr"}
    for private in (server.key, file_id, "secret", str(server.data)):
        assert private not in answer.text


def test_media_are_resolved_for_those_who_embed_the_server(launch, tmp_path):
    server = launch()
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000
    image, text = server.upload("a.png", png, "image").json()["id"], server.upload("a.txt", b"text").json()["id"]
    with attach(server.data, tmp_path / "run", tmp_path / "log") as embedded:
        assert embedded.media(f"ms://{image}") == (png, "image/png")
        for reference in (f"ms://{text}", "ms://nothing", "ms://../key", "ms://", image, "https://example.com/a.png"):
            with pytest.raises(EmbedError, match="refer"):
                embedded.media(reference)
