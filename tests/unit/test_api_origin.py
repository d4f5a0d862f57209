"""Where the key may go, and where it never shows (X1)."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs.api import Client
from moonfs.api.origin import is_loopback
from moonfs.api.retry import Backoff, Retry
from moonfs.errors import MoonfsError, ProtocolError, Unreachable, UsageError
from moonfs.server.embed import health
from tests.faults.server import FaultServer, Reply, answered, error, redirect
from tests.harness.programs import needs

KEY = "sk-0123456789abcdefghij"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def somebody_elses(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A socket that another user serves, and what came to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user, and so somebody else")
    heard: list[bytes] = []
    path = tmp_path / "s"
    listening, told = os.pipe()
    pid = os.fork()
    if pid == 0:  # listen(2) notes who listens, so it takes a process of that user's
        try:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            os.setresuid(65534, 65534, 65534)
            listener.listen()
            os.write(told, b"1")
            connected, _ = listener.accept()
            os.write(told, connected.recv(1000) or b"0")
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(listening, 1) == b"1"
    yield path, heard
    heard.append(os.read(listening, 1000))
    os.close(listening)
    os.waitpid(pid, 0)
    assert heard == [b"0"], "nothing was sent"


def test_nothing_is_sent_to_a_socket_of_another_user(somebody_elses: tuple[Path, list[bytes]]) -> None:
    """X1: whoever took the place of the socket first gets neither the key nor a document."""
    with (
        Client("http://localhost/v1", KEY, socket=somebody_elses[0], retry=Retry(Backoff(attempts=1))) as client,
        pytest.raises(Unreachable, match="another user serves the socket"),
    ):
        client.list()


def test_no_embedded_server_of_another_user_is_asked(somebody_elses: tuple[Path, list[bytes]]) -> None:
    """The same for whoever attaches to the local Files API."""
    with pytest.raises(PermissionError, match="another user"):
        health(str(somebody_elses[0]))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.moonshot.ai/v1",
        "/v1",
        "https://",
        "https:///v1",
        "ftp://api.moonshot.ai/v1",
        "file:///etc/passwd",
        "https://user:secret@api.moonshot.ai/v1",
        "https://user@api.moonshot.ai/v1",
        "https://api.moonshot.ai/v1?key=1",
        "https://api.moonshot.ai/v1?",
        "https://api.moonshot.ai/v1#x",
        "http://api.moonshot.ai/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.evil.example/v1",
        "http://10.0.0.1/v1",
        "http://0.0.0.0/v1",
        "https://api.moonshot.ai:x/v1",
        "https://api.moon\nshot.ai/v1",
        "https://a b/v1",
    ],
)
def test_a_base_url_that_the_key_must_not_or_cannot_go_to_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        Client(url, KEY)
    assert "secret" not in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.moonshot.ai/v1", "https://api.moonshot.ai/v1"),
        (" https://api.moonshot.cn/v1/\n", "https://api.moonshot.cn/v1"),
        ("http://127.0.0.1:8787/v1", "http://127.0.0.1:8787/v1"),
        ("http://[::1]:8787/v1", "http://[::1]:8787/v1"),
        ("http://LOCALHOST/v1", "http://localhost/v1"),
    ],
)
def test_other_base_urls_are_kept(url: str, kept: str) -> None:
    with Client(url, KEY) as client:
        assert client.base_url == kept


def test_plain_http_may_name_any_host_over_a_unix_socket(tmp_path: Path) -> None:
    with Client("http://moonfs/v1", KEY, socket=tmp_path / "api.sock") as client:
        assert client.base_url == "http://moonfs/v1"


@pytest.mark.parametrize("path", ["", "/" + "x" * 107])
def test_a_socket_path_that_no_kernel_takes_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        Client("http://moonfs/v1", KEY, socket=path)


@pytest.mark.parametrize("key", ["", " \n", "sk-one two", "sk-\x00", "sk-one\nX: y", "sk-\x7f", "密钥", "sk-é"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as raised:
        Client("https://api.moonshot.ai/v1", key)
    assert "sk-" not in str(raised.value)


def test_a_pasted_line_end_is_no_part_of_the_key(server: FaultServer) -> None:
    with Client(server.base_url, f" {server.key}\r\n") as client:
        assert client.list() == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("example.com", False),
        ("127.0.0.1.nip.io", False),
        ("::", False),
    ],
)
def test_loopback_is_told_by_name_or_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_to_another_origin(server: FaultServer, status: int) -> None:
    with FaultServer() as other, Client(server.base_url, server.key) as client:
        server.script("list", redirect(f"{other.base_url}/files", status))
        with pytest.raises(ProtocolError, match=other.base_url):
            client.list()
        assert other.count() == 0
        assert server.count("list") == 1


def test_a_redirect_is_not_followed_to_the_same_origin_either(server: FaultServer) -> None:
    with Client(server.base_url, server.key) as client:
        server.script("list", redirect(f"{server.base_url}/files"))
        with pytest.raises(ProtocolError):
            client.list()
        assert server.count() == 1


def test_the_key_shows_in_no_repr_error_or_log(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Incorrect API key provided: {KEY}"
    server.script(
        "list",
        answered(error(401, echo)),
        answered(error(400, echo, **{"msh_request_id": f"id-{KEY}"})),
        answered(Reply(302, b"", {"Location": f"https://x.example/{KEY}"})),
        answered(Reply(200, KEY.encode())),
    )
    texts = []
    with Client(server.base_url, KEY, retry=Retry(sleep=lambda _: None)) as client:
        texts += [repr(client), str(client)]
        for _ in range(5):
            try:
                client.list()
            except MoonfsError as exc:
                texts += [repr(exc), *traceback.format_exception(exc), str(vars(exc))]
    assert server.count("list") == 5
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"  # it was sent, after all
    assert not [text for text in [*texts, caplog.text] if KEY in text]


def test_cookies_are_not_kept(server: FaultServer) -> None:
    with Client(server.base_url, server.key) as client:
        server.script("list", answered(Reply(200, b'{"data":[]}', {"Set-Cookie": "session=1; Path=/"})))
        client.list()
        client.list()
    assert "cookie" not in server.seen[1].headers


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_loopback_never_goes_through_a_proxy(server: FaultServer, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"{scheme}://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(server.base_url, server.key) as client:
        assert client.list() == []


def clear_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("proxy", ["gopher://user:secret@proxy.example", "http://user:secret@proxy:port"])
def test_a_proxy_setting_that_cannot_work_is_one_sentence(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    clear_proxies(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageError, match="HTTPS_PROXY") as raised:
        Client("https://api.moonshot.ai/v1", KEY)
    assert "secret" not in "".join(traceback.format_exception(raised.value)[-1:])


def test_a_hosted_origin_goes_through_the_proxy_which_never_sees_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear_proxies(monkeypatch)
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def proxy() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.extend(connection.recv(10_000))
                connection.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=proxy)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with (
            Client("https://api.moonshot.invalid/v1", KEY, retry=Retry(Backoff(attempts=1))) as client,
            pytest.raises(Unreachable, match="HTTPS_PROXY"),
        ):
            client.list()
        thread.join()
    assert heard.startswith(b"CONNECT api.moonshot.invalid:443 ")
    assert KEY.encode() not in heard


def test_an_untrusted_certificate_is_told_apart_and_not_tried_again(tmp_path: Path) -> None:
    needs("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    shaken: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                        shaken.append("trusted")
                    except OSError:
                        shaken.append("refused")

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}/v1"
        with Client(url, KEY) as client, pytest.raises(Unreachable, match="certificate") as raised:
            client.list()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert shaken == ["refused"]
    assert "SSL_CERT_FILE" in raised.value.message
