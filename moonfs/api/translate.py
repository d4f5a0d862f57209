"""The one place that turns HTTP statuses, error bodies and httpx exceptions into the tree of `errors`.

It decides what went wrong, by the table of `refusals` where the service has said so itself, and says it in one English
sentence (E1); it does not decide whether to try again.
Everything the service says is untrusted: bounded, without control characters, without the key.

**Threading:** pure functions.
"""

from __future__ import annotations

import re
import socket
import ssl
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from moonfs import errors, refusals
from moonfs.api.connection import NO_PROXY_THERE, SOMEBODY_ELSES
from moonfs.errors import MoonfsError
from moonfs.wire import FileObject

#: Characters of a service's message that are kept.
LONGEST_MESSAGE: Final = 500

Scrub = Callable[[str], str]


def status_error(
    operation: str, status: int, body: bytes, *, location: str | None = None, scrub: Scrub = str
) -> MoonfsError:
    """Return the exception for an answer that is no success.

    Args:
        operation: list, upload, retrieve, delete or content.
        status: the HTTP status, not 2xx.
        body: the first bytes of the body: JSON, an HTML page, empty or truncated.
        location: the Location header of a redirect.
        scrub: takes the key out of a text.

    Returns:
        With `status` and `service_message` filled. `foreign` where the body is no error object: then something
        between has answered, which decides nothing. `maybe_stored` for an upload that the service may have taken all
        the same (W3): any 5xx, a 408, which proxies send at any time, and whatever is foreign but a 413, by which the
        service's own proxy keeps a file from it.
    """
    kind, message = errors.parse_error_body(body)
    foreign = not (kind or message)
    said = clean(scrub(message)) if message else _page_title(body, scrub)
    cls, what = _classify_foreign(operation, status) if foreign else refusals.meaning(operation, status, kind, message)
    if 300 <= status < 400 and location:
        what = f"{what} (not to {clean(scrub(location), 200)})"
    reply = f"HTTP {status}: {errors.plain_english(said)}" if said else f"HTTP {status}"
    return cls(
        f"{what} ({reply})",
        status=status,
        service_message=said,
        maybe_stored=operation == "upload" and (status >= 500 or status == 408 or (foreign and status != 413)),
        foreign=foreign,
    )


def _classify_foreign(operation: str, status: int) -> tuple[type[MoonfsError], str]:
    """Return the class and the sentence for a status whose body is not the service's own; no refusal is believed.

    A 401 or 403 in somebody else's words says nothing of the key: a CDN sends such pages too.
    """
    if status in (408, 413, 429) or not 400 <= status < 500:
        return refusals.meaning(operation, status)
    if status == 404 and operation in ("list", "upload"):
        return errors.ForeignAnswer, refusals.NO_API
    what = "something between here and the service answered in its place, such as a proxy or a sign-in page"
    if status in (401, 403):
        return errors.ForeignAnswer, f"{what}: check the base URL and the network; of the key it says nothing"
    return errors.ForeignAnswer, what


def stored_failure(file: FileObject, request_id: str | None = None, *, scrub: Scrub = str) -> MoonfsError:
    """Return the exception for an upload that the service has stored as a failure (DOC: status `error`), as for a 400.

    `stored_as` is the id under which it keeps that, with a 200 as the answer.
    """
    said = clean(scrub(file.status_details))
    cls, what = refusals.of_stored(file.purpose, said)
    reply = errors.plain_english(said) or "the service does not say why"
    return cls(
        f"{what} (status error: {reply})",
        status=200,
        request_id=request_id,
        service_message=said,
        stored_as=file.id,
    )


def transport_error(exc: Exception, *, origin: str, maybe_stored: bool = False, proxy: str = "") -> MoonfsError:
    """Return the exception for a request without an answer, or with half of one; chain it with `from exc`.

    Args:
        exc: what httpx raised.
        origin: the base URL, for the sentence.
        maybe_stored: whether the service may have taken an upload all the same (W3).
        proxy: the variable that names the proxy on the way; empty for none.
    """
    cls, what = _proxy_failure(exc, origin, proxy) or _classify_exception(exc, origin)
    return cls(what, maybe_stored=maybe_stored)


def _proxy_failure(exc: Exception, origin: str, proxy: str) -> tuple[type[MoonfsError], str] | None:
    """Return the class and the sentence where the proxy is to blame, or what is behind it; None where neither is."""
    named = proxy or "HTTPS_PROXY"
    if NO_PROXY_THERE in str(exc):
        if isinstance(exc, httpx.ConnectTimeout):
            return errors.TimedOut, f"no connection to the proxy that {named} names in time: check that it runs"
        if any(isinstance(cause, socket.gaierror) for cause in causes(exc)):
            return errors.Unreachable, f"the address of the proxy that {named} names cannot be found: check {named}"
        return (
            errors.Unreachable,
            f"no connection to the proxy that {named} names: check that it runs, or unset {named}",
        )
    if isinstance(exc, httpx.ProxyError):
        said = clean(str(exc), 100)
        if said.startswith("407") or "username" in said.lower():
            what = f"the proxy that {named} names asks for another name and password ({said})"
            return errors.Unreachable, f"{what}: write them into it, as http://NAME:PASSWORD@HOST:PORT"
        return errors.Unreachable, f"the proxy that {named} names did not connect to {origin} ({said}): check the proxy"
    if proxy and isinstance(exc, httpx.ConnectError) and not is_untrusted(exc):
        if any(isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER" for cause in causes(exc)):
            what = f"the proxy that {named} names does not speak TLS"
            return errors.Unreachable, f"{what}: write it with http:// in the place of https://"
        what = f"no connection to {origin} through the proxy that {named} names"
        return errors.Unreachable, f"{what}: check the network behind the proxy"
    return None


def _classify_exception(exc: Exception, origin: str) -> tuple[type[MoonfsError], str]:
    if is_untrusted(exc):
        return errors.Unreachable, (
            f"the certificate of {origin} is not trusted, so the key was not sent: check the clock here, "
            "its CA certificates (SSL_CERT_FILE) and whether a proxy sits between"
        )
    if isinstance(exc, httpx.ConnectTimeout):
        return errors.TimedOut, f"no connection to {origin} in time: check the network"
    if isinstance(exc, httpx.PoolTimeout):
        return errors.TimedOut, "too many requests at once: none of the connections became free in time"
    if isinstance(exc, httpx.WriteTimeout):
        return errors.TimedOut, f"{origin} took no more of the upload in time"
    if isinstance(exc, httpx.TimeoutException):
        return errors.TimedOut, f"no answer from {origin} in time"
    if isinstance(exc, httpx.ConnectError):
        if SOMEBODY_ELSES in str(exc):
            return errors.Unreachable, (
                "another user serves the socket of the local Files API, so the key was not sent: "
                "set XDG_RUNTIME_DIR to a directory of your own"
            )
        if any(isinstance(cause, socket.gaierror) for cause in causes(exc)):
            return (
                errors.Unreachable,
                f"the address of {origin} cannot be found: check the network and the base URL",
            )
        return errors.Unreachable, f"no connection to {origin}: check the network, and that the service runs"
    if isinstance(exc, httpx.NetworkError | httpx.RemoteProtocolError):
        return errors.Unreachable, f"the connection to {origin} broke off"
    if isinstance(exc, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return errors.ProtocolError, f"no valid request to {origin} could be made"
    return errors.ServiceError, f"the request to {origin} failed ({type(exc).__name__})"


def is_untrusted(exc: BaseException) -> bool:
    """Say whether a certificate that is not trusted lies behind `exc`: trying again does not help."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(exc))


def causes(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield `exc` and all that it was raised from."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def clean(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return untrusted text fit for a log line: one line, no control or invisible characters, bounded."""
    text = text[: limit * 4]
    shown = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join(shown.split())[:limit]


def scrubber(key: str) -> Scrub:
    """Return a function that takes `key` out of a text, should the service repeat it (X1)."""
    return lambda text: text.replace(key, "[key]")


def _page_title(body: bytes, scrub: Scrub) -> str:
    """Return what a proxy's HTML page says in a line; "" for anything else."""
    page = body[:2000].decode("utf-8", "replace")
    if page.lstrip()[:1] != "<":
        return ""
    title = re.search(r"<title[^<>]{0,100}>([^<]{1,300})", page, re.IGNORECASE)
    return clean(scrub(title.group(1) if title else re.sub(r"<[^<>]*>", " ", page)), 200)
