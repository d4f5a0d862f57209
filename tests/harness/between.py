"""What may stand between a drive and its service, on loopback: TLS of an unknown authority, an HTTP proxy, a SOCKS one.

    authority = Authority(folder)                                  # authority.file is for SSL_CERT_FILE
    with FaultServer() as server, Tls(port, authority, "api.service.test") as service, \\
            HttpProxy(service.port) as proxy:
        environ = {"https_proxy": proxy.url, "SSL_CERT_FILE": str(authority.file)}
        ...
        assert proxy.asked == ["api.service.test:443"]

A proxy leads to one port, whatever it is asked for, so that a service may have any name.

**Threading:** a thread accepts, and one serves each connection; all of them end with the context.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.harness.programs import needs

_SECONDS = 30.0


class Authority:
    """A certificate authority that nobody knows.

    Attributes:
        file: its certificate, in PEM.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("An authority of the tests")
        self._certificate = self._sign(self._name, self._key.public_key(), ca=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._certificate))

    def directory(self) -> Path:
        """Return a directory in which OpenSSL finds the certificate, by the hash of its name (c_rehash(1))."""
        needs("openssl")
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(self.file)]
        hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        found = self._folder / "certificates"
        found.mkdir(exist_ok=True)
        (found / f"{hashed}.0").write_bytes(self.file.read_bytes())
        return found

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what serves under these names and addresses, with a certificate of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(names[0]), key.public_key(), names)
        path = self._folder / f"{names[0]}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + _pem(certificate))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(path)
        return made

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, names: tuple[str, ...] = (), *, ca: bool = False
    ) -> x509.Certificate:
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            # Without these Python 3.13 trusts nothing (VERIFY_X509_STRICT, RFC 5280).
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if ca:
            made = made.add_extension(_SIGNS, critical=True)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        return made.sign(self._key, hashes.SHA256())


#: What an authority's key is for.
_SIGNS = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class _Listener:
    """A port of loopback, each of whose connections `serve` leads on to `target`, a port too."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for ending in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                ending.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(_SECONDS)
            assert not thread.is_alive()

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        """Return the two who are to talk to each other from now on; None where the client has had its answer."""
        raise NotImplementedError

    def onward(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.target), _SECONDS)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=type(self).__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            client.settimeout(_SECONDS)
            self._run(self._lead, client)

    def _lead(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(client)
            self._open.add(client)
            stack.callback(self._open.discard, client)
            try:
                if (pair := self.meet(client)) is not None:
                    for end in pair:
                        stack.enter_context(end)
                        self._open.add(end)
                        stack.callback(self._open.discard, end)
                    _pass_on(*pair)
            except (OSError, ValueError):
                pass


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Give each of two what the other says, until one hangs up; one thread, since TLS stands no two."""
    while True:
        ready = [end for end in (one, other) if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in ready or select.select([one, other], [], [], _SECONDS)[0]:
            data = end.recv(65536)
            if not data:
                return
            (other if end is one else one).sendall(data)


class Tls(_Listener):
    """TLS in front of a service that has none.

    Attributes:
        asked: `trusted` for each handshake that came to an end, `refused` for each other.
    """

    def __init__(self, target: int, authority: Authority, *names: str) -> None:
        super().__init__(target)
        self._context = authority.context(*names)

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        self.asked.append("refused")
        secured = self._context.wrap_socket(client, server_side=True)
        self.asked[-1] = "trusted"
        return secured, self.onward()


class HttpProxy(_Listener):
    """A proxy of HTTP: CONNECT alone.

    Args:
        target: the port that it leads to.
        user: the name and password that it asks for, with a colon between.
        refusal: what it answers instead of leading on, such as `502 No way`.

    Attributes:
        url: what a variable says.
        asked: what it was asked for, as HOST:PORT.
        heard: all that it could read.
    """

    def __init__(self, target: int, *, user: str = "", refusal: str = "") -> None:
        super().__init__(target)
        self._user = user
        self._refusal = refusal
        self.heard = bytearray()
        self.url = f"http://{f'{user}@' if user else ''}127.0.0.1:{self.port}"

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                return None
            head += more
            if not head[:1].isalpha():  # TLS, or SOCKS
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return None
        self.heard += head
        method, target, _ = head.decode("latin-1").split(" ", 2)
        assert method == "CONNECT", method
        self.asked.append(target)
        basic = base64.b64encode(self._user.encode()).decode()
        refusal = self._refusal
        if self._user and f"Basic {basic}".encode() not in head:
            refusal = "407 Proxy Authentication Required"
        if refusal:
            client.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return None
        other = self.onward()
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, other


class SocksProxy(_Listener):
    """A proxy of SOCKS 5 (RFC 1928), with names and passwords (RFC 1929) or without.

    Attributes:
        url: what a variable says.
        asked: what it was asked for, as HOST:PORT; the names are looked up here.
    """

    def __init__(self, target: int, *, user: str = "", answer: int = 0) -> None:
        """`answer` is its reply to each request: 0 leads on."""
        super().__init__(target)
        self._user = user
        self._answer = answer
        self.url = f"socks5://{f'{user}@' if user else ''}127.0.0.1:{self.port}"

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        version, count = _exactly(client, 2)
        assert version == 5, version
        wanted = 2 if self._user else 0
        if wanted not in _exactly(client, count):
            client.sendall(b"\x05\xff")
            return None
        client.sendall(bytes((5, wanted)))
        if self._user:
            assert _exactly(client, 1) == b"\x01"
            name = _exactly(client, _exactly(client, 1)[0])
            word = _exactly(client, _exactly(client, 1)[0])
            right = b":".join((name, word)) == self._user.encode()
            client.sendall(bytes((1, not right)))
            if not right:
                return None
        _, command, _, kind = _exactly(client, 4)
        assert command == 1, command
        length = {1: 4, 4: 16}.get(kind) or _exactly(client, 1)[0]
        host = _exactly(client, length)
        shown = host.decode() if kind == 3 else str(ipaddress.ip_address(host))
        self.asked.append(f"{shown}:{int.from_bytes(_exactly(client, 2), 'big')}")
        other = None if self._answer else self.onward()
        client.sendall(bytes((5, self._answer, 0, 1, 127, 0, 0, 1, 0, 0)))
        return None if other is None else (client, other)


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise ConnectionResetError("the client hung up")
        data += more
    return data
