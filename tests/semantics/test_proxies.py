"""Drives behind a proxy, and those that need none; whose certificates are believed (L1, X1)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.server import FaultServer
from tests.harness.between import Authority, HttpProxy, SocksProxy, Tls
from tests.harness.drive import Drive, end_server, hosted, local

pytestmark = pytest.mark.fuse

HOSTED = "https://api.service.test/v1"
#: What Clash and others write, in all its kinds, and what nobody can use.
NO_PROXY = "localhost,127.0.0.1,::1,[::1],10.0.0.0/8,fd00::/8,[fe80::]/10,.local,300.0.0.0/8"
JUNK = {"HTTP_PROXY": "gopher://x", "https_proxy": "pac+http://[x", "ALL_PROXY": "socks4://y:z", "no_proxy": "[::1,a/b"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secured(service: FaultServer, authority: Authority) -> Iterator[Tls]:
    """TLS in front of the service."""
    port = urlsplit(service.base_url).port
    assert port is not None
    with Tls(port, authority, "api.service.test", "localhost") as front:
        yield front


@pytest.fixture
def drive(fuse: None, tmp_path: Path) -> Iterator[Drive]:
    with Drive(tmp_path / "home") as made:
        yield made


@pytest.mark.parametrize("between", [HttpProxy, SocksProxy])
def test_a_drive_behind_a_proxy(
    drive: Drive, service: FaultServer, secured: Tls, authority: Authority, between: type[HttpProxy] | type[SocksProxy]
) -> None:
    """L1, X1: what Clash copies for a shell, or SOCKS alone: a drive as any other, through a tunnel of TLS."""
    with between(secured.port) as proxy:
        named = {"all_proxy": proxy.url}
        if isinstance(proxy, HttpProxy):
            named = {"https_proxy": proxy.url, "http_proxy": proxy.url, "all_proxy": "socks5://127.0.0.1:9"}
        drive.environ |= hosted(HOSTED, service.key)[1] | named
        drive.environ |= {"NO_PROXY": NO_PROXY, "SSL_CERT_FILE": str(authority.file)}
        drive.mount()
        (drive / "a.txt").write_text("through it")
        assert service.names() == ["a.txt"] and b"through it" in (drive / "a.txt.content").read_bytes()
        (drive / "a.txt").unlink()
        assert service.names() == []
        assert set(proxy.asked) == {"api.service.test:443"}
        assert f"Requests go through the proxy {proxy.url}" in drive.log()
        assert "NO_PROXY has '300.0.0.0/8', which means nothing here and is left out." in drive.log()
        said = drive.command("doctor").stdout
        assert f"{proxy.url}, from {next(iter(named))}" in said, said
        drive.umount()
        heard = bytes(getattr(proxy, "heard", b""))
        assert service.key.encode() not in heard and b"a.txt" not in heard


def test_variables_that_are_not_needed(drive: Drive, service: FaultServer, tmp_path: Path) -> None:
    """L1: a service on this machine, by loopback or a UNIX socket, needs none; one elsewhere says which is wrong."""
    drive.environ |= hosted(service.base_url, service.key)[1] | JUNK | {"SSL_CERT_FILE": "/nowhere"}
    drive.mount()
    assert os.listdir(drive.point) == []
    drive.umount()
    drive.environ |= hosted(HOSTED, service.key)[1] | {"SSL_CERT_FILE": ""}
    done = drive.try_mount()
    assert done.returncode == 1 and done.stderr.startswith("moonfs: https_proxy begins with pac"), done
    assert done.stderr.count("\n") == 1
    data = tmp_path / "files"
    with contextlib.ExitStack() as stack:
        stack.callback(end_server, data)
        embedded = stack.enter_context(Drive(tmp_path / "embedded", *local(data)))
        embedded.environ |= JUNK | {"SSL_CERT_DIR": "/nowhere"}
        embedded.mount()
        (embedded / "a.txt").write_text("one")
        assert b"one" in (embedded / "a.txt.content").read_bytes()


def test_tls_on_this_machine(drive: Drive, service: FaultServer, secured: Tls, authority: Authority) -> None:
    """X1: by an authority that `SSL_CERT_FILE` names; without it the key is not sent."""
    drive.environ |= hosted(f"https://localhost:{secured.port}/v1", service.key)[1]
    done = drive.try_mount("timeout=5")
    assert done.returncode == 1 and "certificate" in done.stderr and service.count() == 0, done
    drive.environ["SSL_CERT_FILE"] = str(authority.file)
    drive.mount()
    (drive / "a.txt").write_text("one")
    assert service.names() == ["a.txt"]
