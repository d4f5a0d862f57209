"""The examples of the official page, unchanged but for base URL and key, against the local server over TCP.

It answers as of 2026-03 and as of 2026-09, and once as a service that gives its lists in pages to whoever asks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moonfs.server.address import read_key

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "tests" / "samples"
SERVE = """
import sys
from moonfs.server.behaviour import Behaviour
from moonfs.server.command import serve_command
switches = dict(word.split("=") for word in sys.argv[3:])
if "page_size" in switches:
    switches["page_size"] = int(switches["page_size"])
sys.exit(serve_command("127.0.0.1", 0, *sys.argv[1:3], behaviour=Behaviour.of(switches)))
"""


@pytest.fixture(scope="module")
def openai():
    """The SDK; it takes 0.6 s to load, which each worker would spend though one at most needs it."""
    return pytest.importorskip("openai")


@pytest.fixture(scope="module", params=["api=2026-03", "api=2026-09", "api=2026-09 page_size=2 status=processed"])
def switches(request):
    return request.param.split()


@pytest.fixture(scope="module")
def client(openai, switches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdk")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder / "data"), str(folder / "run"), *switches],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        base_url = process.stdout.readline().removeprefix("Serving the Files API at ").strip()
        with openai.OpenAI(api_key=read_key(folder / "data"), base_url=base_url, timeout=60) as made:
            yield made
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def test_upload_from_a_path_and_read_its_content(client, switches):
    file_object = client.files.create(file=SAMPLES / "welcome.pdf", purpose="file-extract")
    file_content = client.files.content(file_id=file_object.id).text
    assert (file_object.filename, file_object.bytes) == ("welcome.pdf", (SAMPLES / "welcome.pdf").stat().st_size)
    status = "ok" if "api=2026-03" in switches else "processed" if "status=processed" in switches else "ready"
    assert (file_object.object, file_object.purpose, file_object.status) == ("file", "file-extract", status)
    assert file_content.startswith('{"content":"Welcome to moonfs\\n')
    assert "欢迎使用月球文件盘" in file_content
    assert file_content.endswith('"file_type":"application/pdf","filename":"welcome.pdf","title":"","type":"file"}')


def test_list(client):
    names = {
        f"{number}.txt": client.files.create(file=(f"{number}.txt", b"x"), purpose="file-extract")
        for number in range(3)
    }
    file_list = client.files.list()
    for file in file_list.data:
        assert file.object == "file"
    assert {file.filename for file in file_list} >= set(names)


def test_iterating_the_list_ends(client):
    made = [client.files.create(file=("a.txt", b"x"), purpose="file-extract").id for _ in range(3)]
    seen = []
    for file in client.files.list():
        seen.append(file.id)
        assert len(seen) < 1000, "the pager does not end"
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))


def test_waiting_for_a_file_ends(openai, client, switches):
    """SRC: the SDK waits for `processed`, `error` or `deleted`, whatever the service calls what is done."""
    file_id = client.files.create(file=("b.txt", b"x"), purpose="file-extract").id
    if "status=processed" in switches:
        assert client.files.wait_for_processing(file_id).id == file_id
    else:
        with pytest.raises(RuntimeError, match="Giving up"):
            client.files.wait_for_processing(file_id, poll_interval=0.01, max_wait_seconds=0.05)


def test_delete(openai, client):
    file_id = client.files.create(file=("a.txt", b"x"), purpose="file-extract").id
    assert client.files.delete(file_id=file_id).deleted is True
    with pytest.raises(openai.NotFoundError, match="The requested resource was not found"):
        client.files.retrieve(file_id=file_id)


def test_retrieve(client):
    created = client.files.create(file=("福州.txt", "商场".encode()), purpose="file-extract")
    assert client.files.retrieve(file_id=created.id) == created


def test_upload_of_bytes_is_called_upload(client):
    assert client.files.create(file=b'{"custom_id": 1}\n', purpose="batch").filename == "upload"


def test_an_equal_name(client, switches):
    names = [client.files.create(file=("c.txt", b"x"), purpose="file-extract").filename for _ in range(2)]
    assert names == ["c.txt", "c.txt" if "api=2026-03" in switches else "c(1).txt"]


def test_the_multi_file_message_builder(client, tmp_path):
    (tmp_path / "upload_files.py").write_text("print('你好')\n", encoding="utf-8")

    def upload_files(files):
        messages = []
        for file in files:
            file_object = client.files.create(file=Path(file), purpose="file-extract")
            file_content = client.files.content(file_id=file_object.id).text
            messages.append({"role": "system", "content": file_content})
        return messages

    messages = upload_files([str(tmp_path / "upload_files.py"), str(SAMPLES / "note.png")])
    assert messages[0] == {
        "role": "system",
        "content": '{"content":"print(\'你好\')\\n","file_type":"text/plain","filename":"upload_files.py",'
        '"title":"","type":"file"}',
    }
    assert "这张图片里有文字" in messages[1]["content"]


def test_a_wrong_key(openai, client):
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError, match="Invalid Authentication"):
        stranger.files.list()


def test_what_cannot_be_extracted(openai, client, switches):
    broken = {"file": ("a.pdf", b"%PDF-1.7\n broken"), "purpose": "file-extract"}
    if "api=2026-03" in switches:
        with pytest.raises(openai.BadRequestError, match="没有解析出内容"):
            client.files.create(**broken)
        return
    stored = client.files.create(**broken)
    assert (stored.status, "没有解析出内容" in stored.status_details) == ("error", True)
    with pytest.raises(openai.BadRequestError, match="no extracted content"):
        client.files.content(file_id=stored.id)
