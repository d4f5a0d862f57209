"""Which proxy stands before an address, by the environment: each variable is read for itself (X1).

`https_proxy` goes before `all_proxy`, and small letters go before capitals, as in other programs; what `no_proxy` says
goes before both. So a proxy that cannot be used harms nobody who does not need it: one that another variable goes
before, or that is passed by. Nothing is looked up, and nothing is sent. A proxy may have a password in it: no sentence
repeats more of it than its scheme, host and port.

**Threading:** pure functions of an environment.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from moonfs import packages
from moonfs.keys import QUOTES

#: What a proxy may be spoken to in. `socks` is what GNOME writes; httpcore has the proxy look the name up in any case.
_SPOKEN: Final = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5h", "socks": "socks5"}
_EXAMPLE: Final = "http://127.0.0.1:7890"
#: Bytes of a name or a password (RFC 1929).
_LONGEST_WORD: Final = 255
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: An entry of NO_PROXY that is a host or an address, and perhaps a port.
_HOST: Final = re.compile(r"(\[[^\[\]/]*\]|[^\[\]:/<>\"'@]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Way:
    """How requests get to one address.

    Attributes:
        variable: the one that names the proxy; empty where none stands before the address.
        proxy: its URL, with name and password; None where requests go past it, or it cannot be used.
        past: the entry of NO_PROXY by which it is passed by; empty otherwise.
        problem: why the proxy cannot be used, in a sentence without its full stop; empty where it can.
        mend: the line of a shell that mends that.
        notes: what else there is that cannot be used, and is not needed; sentences.
    """

    variable: str = ""
    proxy: httpx.URL | None = None
    past: str = ""
    problem: str = ""
    mend: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The proxy as a person may see it: without name and password."""
        return "" if self.proxy is None else _shown(self.proxy)


def find(base_url: str, environ: Mapping[str, str] | None = None) -> Way:
    """Return how requests get to `base_url`, by `environ`, or the environment of this process."""
    environ = os.environ if environ is None else environ
    url = httpx.URL(base_url)
    named = [found for name in (f"{url.scheme}_proxy", "all_proxy") if (found := _read(environ, name))[1]]
    if not named:
        return Way()
    (variable, value), others = named[0], named[1:]
    exceptions, entries = _read(environ, "no_proxy")
    past, unclear = _passed_by(entries, url)
    notes = tuple(f"{exceptions} has {entry!r:.60}, which means nothing here and is left out" for entry in unclear)
    proxy, problem, mend = _use(variable, value)
    if past:
        return Way(variable, None, past, notes=(*([f"{problem}; it is not needed"] if problem else []), *notes))
    for other, text in others:
        if unusable := _use(other, text)[1]:
            notes = (f"{unusable}; it is not needed, since {variable} goes before it", *notes)
    return Way(variable, proxy, problem=problem, mend=mend, notes=notes)


def _read(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the variable that counts, and what it says: in small letters, even where these are empty."""
    variable = name if name in environ else name.upper()
    return variable, environ.get(variable, "").strip()


def _use(variable: str, value: str) -> tuple[httpx.URL | None, str, str]:
    """Return (proxy, what keeps it from being used, the line that mends it)."""
    scheme = value.partition("://")[0].lower() if "://" in value else "http"
    unset = f"unset {variable}"
    if value[0] in QUOTES or value[-1] in QUOTES:
        return None, f"{variable} stands in quotation marks: write it without, as {_EXAMPLE}", unset
    if scheme in ("socks4", "socks4a"):
        return None, f"{variable} names a proxy of SOCKS 4, and moonfs speaks SOCKS 5: write socks5://HOST:PORT", unset
    if scheme not in _SPOKEN:
        what = f"begins with {scheme}://" if re.fullmatch("[a-z][a-z0-9+.-]{0,30}", scheme) else "is no address of one"
        return None, f"{variable} {what}: a proxy is an http://, https:// or socks5:// address, as {_EXAMPLE}", unset
    try:
        url = httpx.URL(value if "://" in value else f"http://{value}").copy_with(scheme=_SPOKEN[scheme])
        if not 0 < (url.port or 1) < 2**16:
            raise ValueError
    except (httpx.InvalidURL, ValueError):
        return None, f"{variable} is no address of a proxy, as {_EXAMPLE} is", unset
    if not url.host:
        return None, f"{variable} names no host of a proxy: write it as {_EXAMPLE}", unset
    if any(len(word.encode()) > _LONGEST_WORD for word in (url.username, url.password)):
        return (
            None,
            f"{variable} has a name or a password of more than {_LONGEST_WORD} bytes, which no proxy takes",
            unset,
        )
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        line = packages.line_for("socks")
        problem = f"{variable} names a SOCKS proxy ({_shown(url)}), which needs the extra `socks`; install it with: "
        return None, problem + line, line
    return url, "", ""


def _shown(url: httpx.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}"


def _passed_by(entries: str, url: httpx.URL) -> tuple[str, list[str]]:
    """Return the entry by which `url` needs no proxy, or nothing; and those that mean nothing here."""
    past, unclear = "", []
    for entry in re.split(r"[\s,;]+", entries):
        try:
            if entry and _covers(entry, url):
                past = past or entry
        except ValueError:
            unclear.append(entry)
    return past, unclear


def _covers(entry: str, url: httpx.URL) -> bool:
    """Say whether an entry of NO_PROXY is about `url`.

    It is a host with all that is below it (with a dot or `*.` before it or without), an address or a network of either
    kind, `[…]` round an IPv6 one or not, each but networks with a port or without; a pattern (`192.168.*`), `<local>`
    for a name without a dot, or `*`. A scheme before it (`https://…`) narrows it. Names are not looked up, so that no
    network covers a name.

    Raises:
        ValueError: it is none of these.
    """
    scheme, _, rest = entry.lower().rpartition("://")
    if scheme not in ("", "all", url.scheme):
        return False
    rest = rest.removesuffix("/")
    host = url.raw_host.decode("ascii").lower().strip("[]").rstrip(".")
    if rest in ("*", "<local>"):
        return rest == "*" or not ({".", ":"} & set(host))
    address = _address(host)
    if "/" in rest:
        network = ipaddress.ip_network(re.sub(r"[\[\]]", "", rest), strict=False)
        return address is not None and address in network
    if (same := _address(rest)) is not None:
        return address == same
    found = _HOST.fullmatch(rest)
    if found is None:
        raise ValueError(f"no host: {entry}")
    name, port = found[1], found[2]
    if port is not None and int(port) != (url.port or _DEFAULT_PORTS[url.scheme]):
        return False
    if (same := _address(name)) is not None:
        return address == same
    domain = name.removeprefix("*").lstrip(".").rstrip(".")
    if "[" in name or not domain:
        raise ValueError(f"no host: {entry}")
    if "*" in domain:
        return fnmatch.fnmatchcase(host, name)
    if address is not None:
        return False
    domain = httpx.URL(f"https://{domain}").raw_host.decode("ascii")
    return host == domain or host.endswith(f".{domain}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text[:1] == "[":
        if text[-1:] != "]":
            return None
        text = text[1:-1]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
