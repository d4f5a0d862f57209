"""Which proxy and whose certificates: each variable is read for itself, on real sockets (X1, L1)."""

from __future__ import annotations

import importlib.util
import logging
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from moonfs.api import Client, Timeouts, proxies, trust
from moonfs.api.retry import Backoff, Retry
from moonfs.doctor import account
from moonfs.doctor.findings import State
from moonfs.errors import MoonfsError, TimedOut, Unreachable, UsageError
from tests.faults.server import FaultServer
from tests.harness.between import Authority, HttpProxy, SocksProxy, Tls

HOSTED = "https://api.service.test/v1"
#: What Clash writes for a shell, less its ports, and what others add to it.
NO_PROXY = "localhost,127.0.0.1,::1,[::1],10.0.0.0/8,fd00::/8,[fe80::]/10,192.168.*,.local,<local>"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.add("a.txt", b"one")
        yield running


@pytest.fixture
def service(server: FaultServer, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tls]:
    """TLS in front of the server, for any name, whose authority is believed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    port = urlsplit(server.base_url).port
    assert port is not None
    with Tls(port, authority, "api.service.test", "localhost", "127.0.0.1", "fd00::1") as front:
        yield front


@pytest.fixture
def listed(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Set variables, and return the names that a client lists; nothing is looked up past a proxy."""

    look_up = socket.getaddrinfo

    def unknown(host: object, *rest: Any, **more: Any) -> Any:
        if host in (b"api.service.test", "api.service.test"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    def call(base_url: str = HOSTED, **variables: str) -> list[str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with Client(base_url, server.key, retry=Retry(Backoff(attempts=1))) as client:
            return [file.filename for file in client.list()]

    return call


def test_what_clash_copies(listed: Callable[..., list[str]], service: Tls, caplog: pytest.LogCaptureFixture) -> None:
    """L1: SOCKS for all beside a good proxy for TLS, and exceptions of each kind: what is not needed does no harm."""
    caplog.set_level(logging.INFO)
    with HttpProxy(service.port) as proxy:
        variables = {"https_proxy": proxy.url, "http_proxy": proxy.url, "all_proxy": "socks5://127.0.0.1:9"}
        assert listed(**variables, NO_PROXY=NO_PROXY) == ["a.txt"]
        assert proxy.asked == ["api.service.test:443"]
        assert b"sk-fault" not in proxy.heard, "the key goes through a tunnel"
    assert f"Requests go through the proxy {proxy.url}, which https_proxy names." in caplog.text


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
def test_a_socks_proxy(listed: Callable[..., list[str]], service: Tls, scheme: str) -> None:
    """L1: for all or for TLS, as GNOME writes it too; the proxy looks the name up."""
    with SocksProxy(service.port) as proxy:
        url = proxy.url.replace("socks5", scheme)
        assert listed(ALL_PROXY=url) == listed(https_proxy=url) == ["a.txt"]
        assert proxy.asked == ["api.service.test:443"] * 2


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
def test_a_proxy_that_asks_for_a_name(
    listed: Callable[..., list[str]], service: Tls, kind: type[HttpProxy] | type[SocksProxy]
) -> None:
    """L1: they are in the address; where they are wrong, or not there, the sentence names the variable alone."""
    with kind(service.port, user="me:pass word") as proxy:
        right = proxy.url.replace(" ", "%20")
        assert listed(https_proxy=right) == ["a.txt"]
        for other in (right.replace("pass", "hunter2"), right.replace("me:pass%20word@", "")):
            with pytest.raises(Unreachable, match="the proxy that https_proxy names") as raised:
                listed(https_proxy=other)
            assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_a_proxy_that_leads_nowhere(listed: Callable[..., list[str]], service: Tls) -> None:
    """L1, E1: each way in which one fails is a sentence with the variable that names it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for variables, said in (
        ({"https_proxy": f"http://127.0.0.1:{port}"}, "no connection to the proxy that https_proxy names: check that"),
        ({"https_proxy": "", "ALL_PROXY": f"socks5://127.0.0.1:{port}"}, "the proxy that ALL_PROXY names: check that"),
    ):
        with pytest.raises(Unreachable, match=said):
            listed(**variables)
    with HttpProxy(service.port, refusal="502 Bad way") as proxy:
        with pytest.raises(Unreachable, match=r"https_proxy names did not connect to .*\(502 Bad way\)"):
            listed(https_proxy=proxy.url)
        with pytest.raises(Unreachable, match="does not speak TLS: write it with http://"):
            listed(https_proxy=proxy.url.replace("http:", "https:"))
        with pytest.raises(Unreachable, match="SOCKS 5"):
            listed(https_proxy=proxy.url.replace("http:", "socks5:"))
    with SocksProxy(service.port, answer=5) as proxy, pytest.raises(Unreachable, match="refused"):
        listed(https_proxy=proxy.url)
    with HttpProxy(port) as proxy, pytest.raises(Unreachable):  # its other end is away
        listed(https_proxy=proxy.url)


def test_a_proxy_that_says_nothing(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: the time-out for a connection holds for what a SOCKS proxy has to say, too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{silent.getsockname()[1]}")
        timeouts = Timeouts(connect=0.2, deadline=600.0)
        with (
            Client(HOSTED, server.key, timeouts=timeouts, retry=Retry(Backoff(attempts=1))) as client,
            pytest.raises(TimedOut),
        ):
            client.list()


def test_without_the_extra(listed: Callable[..., list[str]], service: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: SOCKS needs an extra: the error has the line that installs it; nobody else misses it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "socksio" else find_spec(name, *rest)
    )
    with pytest.raises(UsageError, match=r"all_proxy names a SOCKS proxy .*needs the extra `socks`.*\[socks\]"):
        listed(all_proxy="socks5://me:secret@127.0.0.1:9")
    with HttpProxy(service.port) as proxy:
        assert listed(https_proxy=proxy.url) == ["a.txt"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("gopher://me:secret@proxy.example", "begins with gopher://"),
        ("http://me:secret@proxy:port", "is no address of a proxy"),
        ("http://me:secret@proxy:99999", "is no address of a proxy"),
        ('"http://me:secret@proxy:1"', "stands in quotation marks"),
        ("“http://me:secret@proxy:1”", "stands in quotation marks"),
        ("socks4://me:secret@proxy:1", "SOCKS 4"),
        ("http://me:secret@:7890", "names no host"),
        ("pac+http://me:secret@proxy/x.pac", "begins with pac"),
        (f"socks5://me:{'secret' * 50}@proxy:1", "255 bytes"),
        ("secret ://", "is no address of one"),
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_what_cannot_be_used_is_named(
    listed: Callable[..., list[str]], server: FaultServer, service: Tls, variable: str, value: str, said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """L1: by the variable and why, without what is secret; and it harms nobody who does not need it."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UsageError) as raised:
        listed(**{variable: value})
    assert raised.value.message.startswith(f"{variable} ") and said in raised.value.message
    assert listed(server.base_url) == ["a.txt"], "on this machine"
    assert listed(f"https://localhost:{service.port}/v1") == ["a.txt"], "on this machine, by TLS"
    with pytest.raises(Unreachable, match="cannot be found"):
        listed(no_proxy="service.test")
    if "all" in variable.lower():
        with HttpProxy(service.port) as proxy:
            assert listed(https_proxy=proxy.url, no_proxy="") == ["a.txt"]
        assert f"{said.split(' ')[0]}" in caplog.text and f"{variable} " in caplog.text
    assert "secret" not in caplog.text + "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("entries", "covered"),
    [
        ("*", True),
        ("https://*", True),
        ("service.test", True),
        (".service.test", True),
        ("*.service.test", True),
        ("api.service.test", True),
        ("API.Service.TEST.", True),
        ("https://api.service.test", True),
        ("http://api.service.test", False),
        ("all://api.service.test/", True),
        ("api.service.test:443", True),
        ("api.service.test:8443", False),
        (".service.test:443", True),
        ("other.test service.test", True),
        ("other.test;service.test", True),
        ("api.*.test", True),
        ("vice.test", False),
        ("test.service.test", False),
        ("<local>", False),
        ("10.0.0.0/8,::1,[::1],fd00::/8", False),
        ("", False),
    ],
)
def test_exceptions_for_names(entries: str, covered: bool) -> None:
    """L1: a host with all below it, with a dot or without, with a port or without, a pattern, all."""
    way = proxies.find(HOSTED, {"https_proxy": "http://p:1", "no_proxy": entries})
    assert (way.proxy is None) is covered and not way.problem and not way.notes


@pytest.mark.parametrize(
    ("host", "entry", "covered"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.2.7", "192.0.2.9/24", True),
        ("192.0.2.7", "192.0.3.0/24", False),
        ("192.0.2.7", "192.0.2.7:443", True),
        ("192.0.2.7", "192.0.2.7:80", False),
        ("192.0.2.7", "192.0.*", True),
        ("192.0.2.7", "2.7", False),
        ("[2001:db8::7]", "2001:db8::7", True),
        ("[2001:db8::7]", "[2001:db8::7]", True),
        ("[2001:db8::7]", "[2001:0DB8:0::7]:443", True),
        ("[2001:db8::7]", "[2001:db8::7]:80", False),
        ("[2001:db8::7]", "2001:db8::/32", True),
        ("[2001:db8::7]", "[2001:db8::]/32", True),
        ("[2001:db8::7]", "[2001:db8::/32]", True),
        ("[2001:db8::7]", "fd00::/8", False),
        ("[2001:db8::7]", "192.0.2.0/24", False),
        ("[2001:db8::7]", "<local>", False),
        ("nas", "<local>", True),
        ("nas.lan", "<local>", False),
        ("文件.例子", "xn--fsqu00a.xn--fsq", False),
        ("文件.例子", "例子", True),
        ("xn--fsqu00a.xn--0zwm56d", "例子.测试", True),
    ],
)
def test_exceptions_for_addresses(host: str, entry: str, covered: bool) -> None:
    """L1: an address of either kind, in brackets or bare, and a network; a name is looked up by nobody."""
    way = proxies.find(f"https://{host}/v1", {"ALL_PROXY": "http://p:1", "NO_PROXY": f"x.test, {entry}"})
    assert way.past == (entry if covered else "") and not way.notes


@pytest.mark.parametrize("entry", ["300.0.0.0/8", "10.0.0.0/33", "a/b", "[::1", "fd00::/200", "a:b:c", '"a.test"', "@"])
def test_an_exception_that_means_nothing(entry: str) -> None:
    """L1: it is named, and the others count."""
    environ = {"https_proxy": "http://p:1", "no_proxy": f"{entry}, service.test"}
    way = proxies.find(HOSTED, environ)
    assert way.past == "service.test" and [entry in note and "no_proxy" in note for note in way.notes] == [True]
    assert proxies.find(HOSTED, {**environ, "no_proxy": entry}).shown == "http://p:1"


@pytest.mark.parametrize(
    ("environ", "variable", "shown"),
    [
        ({}, "", ""),
        ({"http_proxy": "http://p:1"}, "", ""),
        ({"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY", "http://p:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https_proxy", "http://a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, "", ""),
        ({"https_proxy": " ", "all_proxy": "http://b:1"}, "all_proxy", "http://b:1"),
        ({"ALL_PROXY": "socks5://me:word@[::1]:1080"}, "ALL_PROXY", "socks5://[::1]:1080"),
        ({"HTTPS_PROXY": "http://b:1", "all_proxy": "http://a:1"}, "HTTPS_PROXY", "http://b:1"),
    ],
)
def test_which_variable_counts(environ: dict[str, str], variable: str, shown: str) -> None:
    """L1: TLS before all, small letters before capitals, empty ones too; no password is shown."""
    way = proxies.find(HOSTED, environ)
    assert (way.variable, way.shown) == (variable, shown)


def test_an_authority_of_ones_own(
    server: FaultServer, service: Tls, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X1: `SSL_CERT_FILE` and `SSL_CERT_DIR` count for a service on this machine; without them it is not trusted."""

    def look(host: str, **variables: str) -> list[str]:
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with Client(f"https://{host}:{service.port}/v1", server.key, retry=Retry(Backoff(attempts=1))) as client:
            return [file.filename for file in client.list()]

    file, folder = str(authority.file), str(authority.directory())
    nowhere = f"{folder}/nowhere"
    for host in ("localhost", "127.0.0.1"):
        assert look(host, SSL_CERT_FILE=file) == look(host, SSL_CERT_DIR=folder) == ["a.txt"]
    assert look("localhost", SSL_CERT_DIR=f"{nowhere}:{folder}") == ["a.txt"]
    assert look("localhost", SSL_CERT_FILE=file, SSL_CERT_DIR=nowhere) == ["a.txt"]
    seen = len(server.seen)
    with pytest.raises(Unreachable, match=r"certificate .* is not trusted"):
        look("localhost")
    assert len(server.seen) == seen and service.asked[-1] == "refused", "the key was not sent"


def test_certificates_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> None:
    """X1, L1: the variable is named, and why; what speaks no TLS does without."""
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    for environ, said in (
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE names /nowhere.pem, which cannot be read: No such file"),
        ({"SSL_CERT_FILE": str(empty)}, "SSL_CERT_FILE names .* holds no certificate"),
        ({"SSL_CERT_DIR": "/nowhere"}, "SSL_CERT_DIR names /nowhere, which is no directory"),
    ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=said):
            Client(HOSTED, server.key)
        (finding,) = account.way(HOSTED)
        assert (finding.about, finding.state, finding.fix) == (
            "certificates",
            State.FAILED,
            f"unset {next(iter(environ))}",
        )
        with Client(server.base_url, server.key) as client:
            assert len(client.list()) == 1
        assert list(account.way(server.base_url)) == []
        monkeypatch.delenv(next(iter(environ)))
    assert trust.context({}).verify_mode is ssl.CERT_REQUIRED


def test_what_the_doctor_says_of_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: which one counts, which one cannot, and what else there is; nothing where nothing is set."""

    def told(**environ: str) -> list[tuple[str, str, str]]:
        for name in ("https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert all(each.about == "proxy" for each in account.way(HOSTED))
        return [(each.state, each.found, each.fix) for each in account.way(HOSTED)]

    assert told() == []
    assert told(https_proxy="http://me:word@p:1") == [("ok", "http://p:1, from https_proxy", "")]
    assert told(https_proxy="http://p:1", all_proxy="ftp://x", no_proxy="a/b") == [
        ("ok", "http://p:1, from https_proxy", ""),
        (
            "note",
            "all_proxy begins with ftp://: a proxy is an http://, https:// or socks5:// address, as "
            "http://127.0.0.1:7890; it is not needed, since https_proxy goes before it",
            "",
        ),
        ("note", "no_proxy has 'a/b', which means nothing here and is left out", ""),
    ]
    assert told(all_proxy="ftp://x", no_proxy=".test")[0][:2] == (
        "ok",
        "all_proxy names one, which '.test' of NO_PROXY passes by",
    )
    ((state, found, fix),) = told(all_proxy="ftp://x")
    assert state == "failed" and found.startswith("all_proxy begins with ftp://") and fix == "unset all_proxy"


def test_no_proxy_is_for_this_machine(server: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """X1: neither for loopback nor for a UNIX socket, whatever the variables say."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.setenv(name, "gopher://[x")
    with Client(server.base_url, server.key) as client:
        assert len(client.list()) == 1
    with FaultServer(socket=tmp_path / "s") as local, Client(local.base_url, local.key, socket=local.socket) as client:
        assert client.list() == []


def test_the_sentences_are_whole(listed: Callable[..., list[str]]) -> None:
    """E1: whatever a proxy is called, an error is one sentence without a line end."""
    for value in ("http://a\tb:1", "http://[::1:1", "://", "http://", "=", "\\"):
        with pytest.raises(MoonfsError) as raised:
            listed(https_proxy=value)
        assert "\n" not in str(raised.value) and str(raised.value)
