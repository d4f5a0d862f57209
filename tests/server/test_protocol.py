"""What is no proper HTTP, comes too slowly, or lies about its length: a clean answer in our form, and no trace."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import socket
import subprocess
import time

import pytest

from moonfs.server import protocol
from moonfs.server.address import read_address

MIB = 1024**2
BOUNDARY = "----b0undary"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'.encode()
BODY = PART + f"text\r\n--{BOUNDARY}--\r\n".encode()


def head(server, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} /v1/files HTTP/1.1", "Host: x", f"Authorization: Bearer {server.key}"]
    lines += [f"Content-Type: multipart/form-data; boundary={BOUNDARY}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def connect(server) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server.socket)  # before the time-out: with one it is EAGAIN while the backlog is full (unix(7))
    connection.settimeout(60)
    return connection


def answer_to(server, *pieces: bytes) -> tuple[int, dict | None]:
    """Send bytes as they are; return the status and the JSON of the first answer."""
    with connect(server) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused while it comes in
            for piece in pieces:
                connection.sendall(piece)
        return first_answer(connection)


def first_answer(connection: socket.socket) -> tuple[int, dict | None]:
    """Read one whole answer; 0 when there is none."""
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            raw += piece
            top, separator, body = raw.partition(b"\r\n\r\n")
            length = int(top.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if separator else 0
            if separator and len(body) >= length:
                return int(raw.split()[1]), json.loads(body[:length])
    return (int(raw.split()[1]), None) if raw else (0, None)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


WRONG = {
    "no HTTP": lambda server: [b"hello there\r\n\r\n"],
    "TLS": lambda server: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)],
    "a head of 200 KB": lambda server: [head(server, "X: " + "x" * 200_000)],
    "ten thousand headers": lambda server: [head(server, *(f"X-{number}: {number}" for number in range(10_000)))],
    "a negative length": lambda server: [head(server, "Content-Length: -5"), BODY],
    "a length that is no number": lambda server: [head(server, "Content-Length: five"), BODY],
    "two lengths": lambda server: [head(server, f"Content-Length: {len(BODY)}", "Content-Length: 7"), BODY],
    "a chunk that is none": lambda server: [head(server, "Transfer-Encoding: chunked"), b"zz\r\n" + BODY],
    "an unknown coding (501)": lambda server: [head(server, "Transfer-Encoding: gzip"), BODY],
    "too short a length": lambda server: [head(server, f"Content-Length: {len(BODY) - 30}"), BODY],
    "no length": lambda server: [head(server)],
    "ten thousand parts": lambda server: [
        head(server, f"Content-Length: {len(PART + b'x' * 2) * 10_000}"), (PART + b"\r\n") * 10_000,
    ],
    "a part with a head of 100 KB": lambda server: [
        head(server, "Transfer-Encoding: chunked"),
        chunked(f"--{BOUNDARY}\r\nX: {'x' * 100_000}\r\n\r\n".encode()),
    ],
    "a part with a thousand heads": lambda server: [
        head(server, "Transfer-Encoding: chunked"),
        chunked(f"--{BOUNDARY}\r\n".encode() + b"X: x\r\n" * 20_000 + b"\r\n"),
    ],
    "a header twice": lambda server: [head(server, f"Authorization: Bearer {server.key}"), b""],
    "an old version": lambda server: [b"GET /v1/files HTTP/0.9\r\n\r\n"],
    "a path that is none": lambda server: [b"GET /v1/files\xff HTTP/1.1\r\nHost: x\r\n\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_in_the_form_of_the_api(server, what):
    before = server.ids()
    status, body = answer_to(server, *WRONG[what](server))
    assert 400 <= status < 500 or status == 501, (status, body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type"}
    assert server.ids() == before
    assert os.listdir(server.data / "incoming") == []


def test_a_head_that_is_too_long_has_its_own_status(server):
    assert answer_to(server, head(server, "X: " + "x" * 200_000))[0] == 431


def test_a_length_beyond_what_comes(server, until):
    with connect(server) as connection:
        connection.sendall(head(server, f"Content-Length: {len(BODY) + 1000}") + BODY)
    with connect(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked") + b"ffffffffff\r\n" + BODY)
    until(lambda: os.listdir(server.data / "incoming") == [], "nothing is left of them")
    assert "a.txt" not in [file["filename"] for file in server.client.get("/files").json()["data"][:1]]


@pytest.mark.parametrize("key", ["right", "wrong"])
def test_a_body_that_breaks_off_while_it_is_answered_leaves_no_traceback(launch, key):
    """The connection has its 400 then; whatever else would have been said to it is kept to ourselves."""
    server = launch()
    start = head(server, "Expect: 100-continue", "Transfer-Encoding: chunked")
    if key == "wrong":
        start = start.replace(server.key.encode(), b"sk-wrong")
    for body in (b"zz\r\n", b"5\r\nhello\r\nzz\r\n", b"%x\r\n%s\r\nzz\r\n" % (len(BODY), BODY)):
        assert answer_to(server, start + body)[0] == 400
    assert server.text("a.txt", b"still here") == "still here"
    assert "Traceback" not in server.log()
    assert "ASGI" not in server.log()
    assert os.listdir(server.data / "incoming") == []


WHOLE = f"Content-Length: {len(BODY)}"
HALVES = {
    "a whole upload": (lambda server: head(server, WHOLE) + BODY, 200),
    "a whole upload, the last on its connection": (lambda server: head(server, WHOLE, "Connection: close") + BODY, 200),
    "a list": (lambda server: head(server, method="GET"), 200),
    "two lists": (lambda server: head(server, method="GET") * 2, 200),
    "half a body": (lambda server: head(server, WHOLE) + BODY[:30], 400),
    "half a chunk": (lambda server: head(server, "Transfer-Encoding: chunked") + b"ff\r\nhello", 400),
    "no last chunk": (lambda server: head(server, "Transfer-Encoding: chunked") + chunked(BODY, end=b""), 400),
    "half a head": (lambda server: head(server, WHOLE)[:50], 400),
    "nothing": (lambda server: b"", 0),
}


@pytest.mark.parametrize("what", HALVES)
def test_a_client_that_closes_its_half_gets_its_answer(server, what):
    request, expected = HALVES[what]
    before = server.ids()
    with connect(server) as connection:
        connection.sendall(request(server))
        connection.shutdown(socket.SHUT_WR)
        status, body = first_answer(connection)
    assert status == expected
    if expected == 400:
        assert set(body["error"]) == {"message", "type"}
        assert server.ids() == before
    assert os.listdir(server.data / "incoming") == []


def test_all_that_came_is_answered_before_a_half_closed_connection_ends(server):
    with connect(server) as connection:
        connection.sendall(head(server, method="GET") + head(server, WHOLE) + BODY + b"GET /v1")
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"200", b"400"]


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n"])
def test_chunks_are_taken_however_they_are_cut(server, end):
    pieces = [BODY[at : at + 3] for at in range(0, len(BODY), 3)]
    status, body = answer_to(server, head(server, "Transfer-Encoding: chunked"), chunked(*pieces, end=end))
    assert (status, body["bytes"]) == (200, 4)


def test_a_client_that_sends_a_byte_at_a_time_is_served(server):
    raw = head(server, f"Content-Length: {len(BODY)}") + BODY
    status, body = answer_to(server, *(raw[at : at + 1] for at in range(len(raw))))
    assert (status, body["bytes"]) == (200, 4)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/files HT"])
def test_a_head_that_does_not_end_is_hung_up_on(launch, sent):
    server = launch(head_seconds=0.5)
    with connect(server) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        assert connection.recv(100) == b""
    assert time.monotonic() - began < 30


def test_a_second_head_that_does_not_end_is_hung_up_on(launch):
    server = launch(head_seconds=0.5)
    with connect(server) as connection:
        connection.sendall(head(server, method="GET") + b"GET /v1/fi")
        raw = b""
        while piece := connection.recv(65536):
            raw += piece
    assert raw.startswith(b"HTTP/1.1 200")


def test_patience_with_heads_is_none_with_requests(launch):
    """The wait for a head ends with it: neither a long upload nor a kept connection is cut."""
    server = launch(head_seconds=0.5)
    with connect(server) as connection:
        connection.sendall(head(server, f"Content-Length: {len(BODY)}"))
        time.sleep(1)
        connection.sendall(BODY)
        assert first_answer(connection)[0] == 200
        time.sleep(1)
        connection.sendall(head(server, method="GET"))
        assert first_answer(connection)[0] == 200


def test_a_body_that_does_not_go_on_is_refused(launch):
    server = launch(receive_seconds=0.5)
    status, body = answer_to(server, head(server, f"Content-Length: {len(BODY)}"), BODY[:40])
    assert (status, body["error"]["message"]) == (408, "The upload has stalled")
    assert os.listdir(server.data / "incoming") == []


def test_a_body_that_drips_is_refused(launch):
    """A byte now and then holds a place in the account no longer than none."""
    server = launch(receive_seconds=1)
    with connect(server) as connection:
        connection.sendall(head(server, f"Content-Length: {len(BODY)}") + BODY[:-40])
        for byte in BODY[-40:]:
            time.sleep(0.1)
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(bytes([byte]))
            if select.select([connection], [], [], 0)[0]:
                break
        assert first_answer(connection)[0] == 408


def test_uploads_that_hang_take_no_more_than_may_be_stored(launch):
    """What is on its way counts: 60 of them, and the disk holds no more than the account may."""
    server = launch(limits={"total_bytes": 8 * MIB})
    begun = head(server, f"Content-Length: {len(PART) + 5 * MIB}") + PART + b"x" * 3 * MIB
    with contextlib.ExitStack() as stack:
        for number in range(60):
            connection = stack.enter_context(connect(server))
            connection.sendall(begun)
            if number >= 2:  # the first two fit, and hang
                connection.sendall(b"x" * 2 * MIB)  # which the refusal waits for
                status, body = first_answer(connection)
                assert (status, "exceeded the max file size" in body["error"]["message"]) == (400, True)
        arrived = sum(entry.stat().st_size for entry in os.scandir(server.data / "incoming"))
        assert 4 * MIB < arrived <= 8 * MIB
        assert server.memory("VmHWM") < 200 * MIB
    assert server.text("a.txt", b"there is room again") == "there is room again"


def test_readers_that_never_read_are_hung_up_on(launch, until):
    """They cost little while they wait, and do not wait for ever; who reads slowly reads all of it."""
    server = launch(read_seconds=5)
    text = os.urandom(3 * MIB).hex().encode()
    file_id = server.upload("a.txt", text).json()["id"]
    request = head(server, method="GET").replace(b"/v1/files ", f"/v1/files/{file_id}/content ".encode())
    assert b"/content" in request
    before = server.memory("VmRSS")
    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(connect(server))
        slow.sendall(request)
        silent = [stack.enter_context(connect(server)) for _ in range(200)]
        for connection in silent:
            connection.sendall(request)
        received = 0
        began = time.monotonic()
        while time.monotonic() - began < 8:
            received += len(slow.recv(32 * 1024))
            time.sleep(0.2)
        # Of 6 MiB each. Python 3.14 keeps more for each connection than 3.11: 72 MiB for all of them, not 53.
        assert server.memory("VmRSS") - before < 100 * MIB

        def left() -> int:
            return len(os.listdir(f"/proc/{server.process.pid}/fd"))

        until(lambda: left() < 150, "those that do not read are hung up on")
        while received < len(text) and (piece := slow.recv(MIB)):
            received += len(piece)
        assert received > len(text)


def test_a_thousand_silent_connections_stand_in_nobodys_way(launch):
    """Though a shell allows each program 256 descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as stack:
        for _ in range(min(1000, soft - 200)):
            stack.enter_context(connect(server)).sendall(b"POST /v1/fi")
        began = time.monotonic()
        with connect(server) as last:  # which waits for its place in the queue, where httpx, with its time-out, cannot
            last.sendall(head(server, method="GET"))
            assert first_answer(last)[0] == 200
        assert server.text("a.txt", b"still here" * 20_000) == "still here" * 20_000
    assert time.monotonic() - began < protocol.HEAD_SECONDS / 2  # not only after they were hung up on


def test_an_upload_that_a_stop_interrupts_is_refused_in_the_form_of_the_api(launch):
    server = launch()
    with connect(server) as upload, connect(server) as begun, connect(server) as silent:
        upload.sendall(head(server, WHOLE, "Expect: 100-continue"))
        assert upload.recv(100).startswith(b"HTTP/1.1 100")  # it is under way
        begun.sendall(b"POST /v1/fi")
        server.process.terminate()
        status, body = first_answer(upload)
        assert (status, body["error"]["type"]) == (503, "server_unavailable")
        assert [first_answer(other) for other in (begun, silent)] == [(0, None), (0, None)]
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.log()
    assert os.listdir(server.data / "incoming") == []


@pytest.fixture
def small_disk(tmp_path):
    """A data directory with room for 2 MB."""
    data = tmp_path / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(data)], capture_output=True, check=False
    )
    if mounted.returncode:
        reason = f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}"
        (pytest.fail if os.environ.get("MOONFS_REQUIRE_FUSE") and os.getuid() == 0 else pytest.skip)(reason)
    yield data
    subprocess.run(["umount", "-l", str(data)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_nothing_is_lost(launch):
    server = launch()
    kept = server.upload("kept.txt", b"kept " * 20_000)
    assert kept.status_code == 200
    for name, size in (("text.txt", 3_000_000), ("short.txt", 1_900_000)):
        answer = server.upload(name, b"x" * size)
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "The server has no space left to store the file"
    assert os.listdir(server.data / "incoming") == []
    assert server.text("small.txt", b"there is room for this") == "there is room for this"
    assert len(server.ids()) == 2
    file_id = kept.json()["id"]
    assert server.client.get(f"/files/{file_id}/content").json()["content"] == "kept " * 20_000
    assert server.client.delete(f"/files/{file_id}").status_code == 200


def test_no_answer_and_no_log_tells_of_paths_keys_or_tracebacks(launch):
    """Every kind of refusal there is, looked through for what is nobody's business."""
    light = {"workers": 1, "seconds": 2.0, "memory_bytes": 256 * 1024**2}
    server = launch(light=light, limits={"file_bytes": 100_000})
    answers = [
        server.upload(name, content, purpose).text
        for name, content, purpose in (
            ("a.txt", b"", "file-extract"), ("a.exe", b"x", "file-extract"), ("a.txt", b"x", "nothing"),
            ("a.pdf", b"%PDF-", "file-extract"), ("a.crash", b"x", "file-extract"), ("a.hang", b"x", "file-extract"),
            ("a.swallow", b"x", "file-extract"), ("a.txt", b"x" * 200_000, "file-extract"), ("a.png", b"x", "image"),
            ("secret-name.docx", b"PK\3\4", "file-extract"),
            ("secret-name.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "file-extract"),
        )
    ]  # fmt: skip
    answers += [server.client.get(path).text for path in ("/files/x", "/files/x/content", "/nowhere", "/files/../key")]
    answers += [str(answer_to(server, *WRONG[what](server))) for what in WRONG]
    with server.make_client("sk-wrong") as stranger:
        answers.append(stranger.get("/files").text)
    assert len(answers) == 33
    for text in (*answers, server.log()):
        for private in (str(server.data), server.key, "secret-name", "site-packages", ".py"):
            assert private not in text, text[:2000]
    assert not any("Traceback" in text for text in answers)


def _asked(port: int, host: str | None) -> tuple[int, bytes]:
    """Ask /healthz over TCP with a Host header of one's own."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        header = "" if host is None else f"Host: {host}\r\n"
        line.sendall(f"GET /healthz HTTP/1.1\r\n{header}Connection: close\r\n\r\n".encode())
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_a_rebound_name_is_refused(launch, until):
    """A page whose name leads to 127.0.0.1 is in a browser's eyes its own origin: its name in Host is 421."""
    server = launch(host="127.0.0.1", allowed_hosts=["files.example"])
    address = until(lambda: read_address(server.data), "it says where it is")
    port = int(address.base_url.rpartition(":")[2].partition("/")[0])
    ours = ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST.", "files.example")
    for host in ours:
        assert _asked(port, host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "localhost.evil.example"):
        status, body = _asked(port, host)
        assert status in (400, 421), host
        assert b"status" not in body
    assert server.client.get("/files").status_code == 200, "whoever has the socket may call it what he likes"
