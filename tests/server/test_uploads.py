"""What comes in with an upload: names, forms, sizes; and what is left when it ends in the middle."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

import httpx
import pytest

from moonfs.server.address import read_address
from tests.harness.programs import needs
from tests.server.conftest import Server

MIB = 1024**2
TOO_LARGE = "File size is too large, max file size is 100MB, please confirm and re-upload the file"
NOT_FOUND = b'{"error":{"message":"The requested resource was not found","type":"resource_not_found_error"}}'
BOUNDARY = "----b0undary"


def form(disposition: bytes, content: bytes = b"text") -> dict:
    """Return the arguments of a request whose file part has exactly this Content-Disposition."""
    body = b"--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n--%s--\r\n" % (
        BOUNDARY.encode(),
        disposition,
        content,
        BOUNDARY.encode(),
    )
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}}


def raw_head(server, length: int, more: str = "") -> bytes:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n{more}"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'.encode()


def connect(server) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(server.socket)
    return connection


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        (rb'filename="a\"b.txt"', 'a"b.txt'),
        (rb'filename="a\\b.txt"', "a\\b.txt"),
        (rb'filename="C:\dir\a.txt"', "C:\\dir\\a.txt"),
        (b'filename="a;b=c.txt"', "a;b=c.txt"),
        (b"filename=bare.txt", "bare.txt"),
        (b'filename="a%22b.txt"', "a%22b.txt"),
        ('filename="福州 商场 é.txt"'.encode(), "福州 商场 é.txt"),
        (b"filename*=UTF-8''%E7%A6%8F%20%22.txt", '福 ".txt'),
        (b"filename=\"fallback.txt\"; filename*=UTF-8''%E7%A6%8F.txt", "福.txt"),
        (b"filename*=gbk''%B8%A3.txt", "福.txt"),
        (b"filename*=unicode_escape''%5Cud800.txt", "\\ud800.txt"),
        (b"filename*=no-such-charset''%41.txt", "A.txt"),
        (b'filename="plain.txt"; filename*=nonsense', "plain.txt"),
        (b'filename="../../etc/passwd.txt"', "../../etc/passwd.txt"),
        (b'filename="/etc/cron.d/x.txt"', "/etc/cron.d/x.txt"),
        (b'filename="' + b"n" * 10_000 + b'.txt"', "n" * 10_000 + ".txt"),
        (b'filename="\xff\xfe.txt"', "\ufffd\ufffd.txt"),
    ],
)
def test_names_are_kept_as_they_are(server, parameter, name):
    answer = server.client.post("/files", **form(b'form-data; name="file"; ' + parameter))
    assert answer.status_code == 200, answer.text
    assert answer.json()["filename"] == name
    assert server.client.get(f"/files/{answer.json()['id']}/content").json()["filename"] == name
    assert set(os.listdir(server.data / "originals")) <= set(server.ids())


@pytest.mark.parametrize("disposition", [b'form-data; name="file"', b'form-data; name="file"; filename=""'])
def test_an_upload_without_a_name_is_called_upload(server, disposition):
    answer = server.client.post("/files", **form(disposition))
    assert answer.json()["error"]["message"] == "text extract error: 不支持的文件类型"
    body = form(disposition)
    body["content"] = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode() + body["content"]
    )
    assert server.client.post("/files", **body).json()["filename"] == "upload"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        (f"multipart/form-data; boundary={BOUNDARY}", b""),
        (f"multipart/form-data; boundary={BOUNDARY}", PART + b"cut off"),
        (f"multipart/form-data; boundary={BOUNDARY}", b"no form at all"),
        (f"multipart/form-data; boundary={BOUNDARY}", PART.replace(b'"file"', b'"x"') + f"\r\n--{BOUNDARY}--".encode()),
        (f"multipart/form-data; boundary={BOUNDARY}", (PART + b"\r\n") * 101 + f"--{BOUNDARY}--".encode()),
        (f"multipart/form-data; boundary={'b' * 5000}", b"x"),
        ("multipart/form-data; boundary*=utf-8''%E4%B8%AD", b"x"),
        ("multipart/form-data; boundary=\xe4", b"x"),
    ],
)  # fmt: skip
def test_a_bad_form_is_refused(server, content_type, body):
    before = server.ids()
    answer = server.client.post("/files", content=body, headers={"Content-Type": content_type.encode("latin-1")})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["message"].startswith("Invalid multipart form: ")
    assert server.ids() == before
    assert os.listdir(server.data / "incoming") == []


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("preamble", [b"", b"This is a form.%s", b"%s%s"], ids=["none", "a line", "empty lines"])
def test_a_form_as_other_clients_write_it(server, end, preamble):
    """RFC 2046, 5.1.1: what comes before the first boundary is for readers that do not know forms."""
    preamble = preamble.replace(b"%s", end)
    lines = [f"--{BOUNDARY}".encode(), b'Content-Disposition: form-data; name="purpose"', b"", b"batch",
             f"--{BOUNDARY}".encode(), b'content-disposition:form-data; name=file; filename="a.jsonl"',
             b"Content-Type: text/plain", b"", b"one\r\ntwo\n", f"--{BOUNDARY}--".encode(), b"epilogue"]  # fmt: skip
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    stored = server.client.post("/files", content=preamble + end.join(lines), headers=headers).json()
    assert (stored["filename"], stored["purpose"], stored["bytes"]) == ("a.jsonl", "batch", 9)
    assert server.client.get(f"/files/{stored['id']}/content").content == b"one\r\ntwo\n"


def test_100_mib_and_one_byte_more(launch):
    """The real limit; the memory of the server stays flat while 100 MiB stream in and out."""
    server = launch()
    warm = server.upload("warm.txt", b"x" * 2 * MIB).json()["id"]
    before = server.memory("VmRSS")
    text = (b"0123456789abcde\n" * 65536) * 100
    assert len(text) == 100 * MIB
    answer = server.upload("large.txt", io.BytesIO(text))
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == 100 * MIB
    with server.client.stream("GET", f"/files/{answer.json()['id']}/content") as content:
        received = sum(len(chunk) for chunk in content.iter_bytes())
    assert received > 100 * MIB
    assert server.memory("VmHWM") - before < 32 * MIB
    refusal = server.upload("large.txt", io.BytesIO(text + b"x"))
    assert refusal.status_code == 400
    assert refusal.json()["error"]["message"] == TOO_LARGE
    refusal = server.upload("larger.txt", io.BytesIO(text + b"x" * 20 * MIB))
    assert refusal.json()["error"]["message"] == TOO_LARGE
    assert server.memory("VmHWM") - before < 32 * MIB
    assert server.ids() == [answer.json()["id"], warm]
    assert os.listdir(server.data / "incoming") == []


def test_a_chunked_body_that_becomes_too_large(launch):
    server = launch(limits={"file_bytes": 3 * MIB})

    def body():
        yield PART
        for _ in range(64):
            yield b"x" * MIB
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = server.client.post("/files", content=body(), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("File size is too large")
    assert os.listdir(server.data / "incoming") == []


@pytest.mark.parametrize("start", [PART.replace(b'"file"', b'"other"'), b"before the first part"])
def test_a_form_without_an_end_is_refused_in_time(launch, start):
    """What is not the file is thrown away as it comes, but not for ever."""
    server = launch(limits={"file_bytes": 2 * MIB})
    sent = 0

    def body():
        nonlocal sent
        yield start
        for _ in range(1000):
            sent += MIB
            yield b"\0" * MIB

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = server.client.post("/files", content=body(), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid multipart form: ")
    assert sent < 1000 * MIB
    assert os.listdir(server.data / "incoming") == []


def test_curl_reads_the_refusal_of_a_file_that_is_too_large(launch, tmp_path):
    needs("curl")
    server = launch(limits={"file_bytes": MIB})
    large = tmp_path / "large.txt"
    large.write_bytes(b"x" * 40 * MIB)
    for header in ("Expect:", "Expect: 100-continue"):
        command = ["curl", "-sS", "--unix-socket", server.socket, "-w", "%{http_code}", "-H", header]
        command += ["-H", f"Authorization: Bearer {server.key}", "-F", f"file=@{large}", "http://x/v1/files"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("400")
        assert "File size is too large" in done.stdout


def test_a_refusal_is_read_over_tcp_too(launch):
    """A connection that is closed on unread bytes is reset, and the answer with it; so the rest is read first."""
    server = launch(limits={"file_bytes": MIB}, host="127.0.0.1")
    port = int(read_address(server.data).base_url.rpartition(":")[2].removesuffix("/v1"))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(raw_head(server, 30 * MIB + len(PART)) + PART + b"x" * 30 * MIB)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx.Client(headers=headers, timeout=60) as client:
        for key in (server.key, "sk-wrong"):
            client.headers["Authorization"] = f"Bearer {key}"
            large = io.BytesIO(b"x" * 30 * MIB)
            answer = client.post(f"http://127.0.0.1:{port}/v1/files", files={"file": ("a.txt", large)})
            assert answer.status_code == (400 if key == server.key else 401)
            assert "error" in answer.json()


def test_a_client_that_waits_for_leave_sends_nothing_of_a_refused_file(launch):
    server = launch(limits={"file_bytes": MIB})
    with connect(server) as connection:
        connection.sendall(raw_head(server, 50 * MIB, "Expect: 100-continue\r\n"))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_client_that_goes_away_leaves_nothing(launch, until):
    server = launch()
    with connect(server) as connection:
        connection.sendall(raw_head(server, 50 * MIB) + PART + b"x" * 5 * MIB)
        until(lambda: os.listdir(server.data / "incoming"), "the upload has begun")
    until(lambda: not os.listdir(server.data / "incoming"), "the upload is cleaned away")
    assert server.ids() == []
    assert server.upload("a.txt", b"a").status_code == 200


def test_a_kill_in_mid_upload_leaves_no_half_file(launch, until):
    server = launch()
    kept = server.upload("kept.txt", b"kept " * 100_000).json()
    text = server.client.get(f"/files/{kept['id']}/content").content
    with connect(server) as connection:
        connection.sendall(raw_head(server, 50 * MIB) + PART + b"x" * 5 * MIB)
        until(lambda: os.listdir(server.data / "incoming"), "the upload has begun")
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert os.listdir(server.data / "incoming") != []
    (server.data / "originals" / "dc1blkjgo64qd2o00000").write_bytes(b"an original without its row")
    server = launch()
    assert server.client.get("/files").json()["data"] == [kept]
    assert server.client.get(f"/files/{kept['id']}/content").content == text
    assert os.listdir(server.data / "incoming") == []
    assert os.listdir(server.data / "originals") == [kept["id"]]


@dataclass
class Uploader:
    """Uploads texts, and deletes each fourth again, until its server is killed.

    Attributes:
        begun: contents by filename.
        kept: contents by id, of uploads that were answered with 200.
        gone: ids whose deletion was answered with 200.
    """

    server: Server
    name: str
    begun: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def run(self) -> None:
        sizes = itertools.cycle((10, 30_000, 200_000, 2_500_000))  # in a row; text in a row; in files; several flushes
        with contextlib.suppress(httpx.HTTPError), self.server.make_client(self.server.key) as client:
            for number, size in enumerate(sizes):
                filename, text = f"{self.name}-{number}.txt", f"{self.name} {number} "
                self.begun[filename] = content = (text * (size // len(text) + 1)).encode()
                answer = client.post("/files", files={"file": (filename, content)}).raise_for_status()
                file_id = answer.json()["id"]
                self.kept[file_id] = content
                if number % 5 == 4:
                    del self.kept[file_id]
                    client.delete(f"/files/{file_id}").raise_for_status()
                    self.gone.add(file_id)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # httpcore's, when it cannot connect
def test_kills_lose_nothing_that_was_answered(launch, until):
    """Over many kills: what was answered with 200 is so; of all else, a file is there whole or not at all."""
    kept: dict[str, bytes] = {}
    server = launch(light={"workers": 1})
    for kill in range(8):
        uploaders = [Uploader(server, f"{kill}-{number}") for number in range(4)]
        threads = [threading.Thread(target=uploader.run) for uploader in uploaders]
        for thread in threads:
            thread.start()
        until(lambda many=kill, some=uploaders: sum(len(each.begun) for each in some) > 5 + 3 * many, "some have begun")
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        for thread in threads:
            thread.join()
        server = launch(light={"workers": 1})
        listed = {file["id"]: file for file in server.client.get("/files").json()["data"]}
        begun: dict[str, bytes] = {}
        before = set() if kill == 7 else set(kept)  # what had been looked at; in the end, all is once more
        for uploader in uploaders:
            kept |= uploader.kept
            begun |= uploader.begun
            assert not uploader.gone & listed.keys()
        assert kept.keys() <= listed.keys()
        kept |= {file_id: begun[listed[file_id]["filename"]] for file_id in listed.keys() - kept.keys()}
        for file_id, content in kept.items():
            assert listed[file_id]["bytes"] == len(content)
            if file_id in before:
                continue
            apart = server.data / "originals" / file_id
            assert apart.exists() == (len(content) > 64 * 1024)
            assert not apart.exists() or apart.read_bytes() == content
            assert server.client.get(f"/files/{file_id}/content").json()["content"] == content.decode()
        assert os.listdir(server.data / "incoming") == []
        assert set(os.listdir(server.data / "originals")) <= listed.keys()
        assert set(os.listdir(server.data / "contents")) <= listed.keys()
    gc.collect()


def test_data_is_private(server):
    server.upload("a.txt", b"a" * 200_000)
    for folder, folders, files in os.walk(server.data):
        assert os.stat(folder).st_mode & 0o077 == 0, folder
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0, name
        del folders
    assert os.stat(server.socket).st_mode & 0o777 == 0o600


def test_a_long_text_is_shared_and_outlives_its_first_upload(server):
    content = b"the same bytes " * 20_000
    first, second = (server.upload(name, content).json()["id"] for name in ("a.log", "b.log"))
    contents = server.data / "contents"
    assert os.stat(contents / first).st_ino == os.stat(contents / second).st_ino
    server.client.delete(f"/files/{first}")
    answer = server.client.get(f"/files/{second}/content").json()
    assert (answer["content"], answer["filename"]) == (content.decode(), "b.log")


def test_idle_connections_outlive_the_clients_pool(server):
    """uvicorn's 5 s meet httpx's 5 s: whoever drops first decides between a clean request and an error."""
    with connect(server) as connection, connection.makefile("rb") as stream:
        for pause in (5.5, 0):
            request = f"GET /v1/files/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n\r\n"
            connection.sendall(request.encode())
            assert stream.readline() == b"HTTP/1.1 404 Not Found\r\n"
            while not stream.readline().startswith(b"msh-request-id"):
                pass
            assert stream.read(2) == b"\r\n"
            assert len(stream.read(len(NOT_FOUND))) == len(NOT_FOUND)
            time.sleep(pause)
