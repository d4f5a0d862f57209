"""Everything that can go wrong, as one tree. Standard library only; no errno, no HTTP library.

    MoonfsError                  the root: `except MoonfsError` catches all that moonfs raises on purpose
    ├── UsageError               a flag, a setting, a mount point: one sentence that says what to do
    ├── NotFound                 no such file; 404
    ├── AlreadyExists            the name is taken
    ├── AccessDenied             not allowed here
    │   ├── AuthenticationFailed     401, 403: bad or missing key
    │   ├── ReadOnly                 a sidecar, a status file, a name for desktop litter
    │   └── BytesNotHere             an original that only the service has, and the API never gives back
    ├── NotPermitted             mkdir, links, device nodes: the remote list is flat
    ├── NameTooLong              over 255 bytes
    ├── InvalidName              a name that cannot be kept (control characters, bytes that are no UTF-8)
    ├── Rejected                 400: the service does not want it
    │   ├── NoText                   nothing could be extracted
    │   └── UnsupportedType          file type refused by the service
    ├── NotSupported             an operation the API makes impossible (rename of bytes that are not here)
    ├── FileTooLarge             over 100 MB; 413
    ├── QuotaExceeded            1,000 files, 10 GB, or the account's plan
    ├── RateLimited              429 after the retry budget
    ├── NotReady                 text is not extracted yet
    ├── Overtaken                nobody wants this upload any more: its name or its bytes have changed
    ├── TimedOut                 no answer in time
    ├── Unreachable              no connection
    └── ServiceError             5xx after retries
        ├── ExtractionFailed         the stored file has status `error`
        └── ProtocolError            an answer that makes no sense

`operations` maps each of these to an errno (the table of SEMANTICS); a test fails for one that is left out.

**Threading:** exceptions are built and raised by one thread; shared instances are only read.
"""

from __future__ import annotations

import json
from typing import Final


class MoonfsError(Exception):
    """The root of the tree.

    Args:
        message: one sentence a person can act on; never holds a key.
        status: the HTTP status, where an answer came.
        request_id: the service's `msh-request-id`, where an answer came.
        service_message: what the service said, word for word (bounded).
        maybe_stored: True when it is open whether the service has carried the request out (W3).
        retry_after: seconds the service asked to wait, where it did.
        unsent: True when the request was kept back here and the service has heard nothing of it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        service_message: str | None = None,
        maybe_stored: bool = False,
        retry_after: float | None = None,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.service_message = service_message
        self.maybe_stored = maybe_stored
        self.retry_after = retry_after
        self.unsent = unsent


class UsageError(MoonfsError):
    """A flag, a setting or a mount point that cannot work; the message says what to do."""


class NotFound(MoonfsError):
    """No such file, here or on the service (404)."""


class AlreadyExists(MoonfsError):
    """The name is taken."""


class AccessDenied(MoonfsError):
    """Not allowed."""


class AuthenticationFailed(AccessDenied):
    """The service refused the key (401, 403)."""


class ReadOnly(AccessDenied):
    """Written to something that only shows: a sidecar, a status file, a refused name."""


class BytesNotHere(AccessDenied):
    """The original exists on the service only, and the API never gives originals back (R5, W5)."""


class NotPermitted(MoonfsError):
    """Directories, links and device nodes: the remote list is flat (N1)."""


class NameTooLong(MoonfsError):
    """A name over 255 bytes (N7)."""


class InvalidName(MoonfsError):
    """A name that the service could not keep as it is."""


class Rejected(MoonfsError):
    """The service refused the request (400)."""


class NoText(Rejected):
    """Nothing could be extracted."""


class UnsupportedType(Rejected):
    """The service refuses this file type."""


class NotSupported(MoonfsError):
    """The API makes this impossible (W9: renaming bytes that are not here)."""


class FileTooLarge(MoonfsError):
    """Over 100 MB (W7), or HTTP 413."""


class QuotaExceeded(MoonfsError):
    """1,000 files, 10 GB in all, or the account's plan; never retried."""


class RateLimited(MoonfsError):
    """429 and the retry budget is spent."""


class NotReady(MoonfsError):
    """The text is not extracted yet (R4)."""


class Overtaken(MoonfsError):
    """Nobody wants this upload any more: its file was renamed or deleted, or has newer bytes."""


class TimedOut(MoonfsError):
    """No answer within the time-out or the deadline."""


class Unreachable(MoonfsError):
    """No connection to the service."""


class ServiceError(MoonfsError):
    """5xx after retries."""


class ExtractionFailed(ServiceError):
    """The service stored the file and could not extract its text (R4)."""


class ProtocolError(ServiceError):
    """An answer that makes no sense."""


#: Refusals of the file itself: trying again changes nothing, only another name or other bytes do.
_FINAL: Final = (Rejected, FileTooLarge, InvalidName, NameTooLong)


def is_final(error: BaseException) -> bool:
    """Say whether the same upload fails whenever it is tried; anything else may succeed another time."""
    return isinstance(error, _FINAL)


def revive(kind: str, message: str) -> MoonfsError:
    """Return the error that was recorded by the name of its class and its message; an unknown name is `Rejected`."""
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, MoonfsError)):
        found = Rejected
    return found(message)


#: The service's Chinese messages (LIVE), in plain English (E1).
_TRANSLATIONS: Final = (
    ("没有解析出内容", "no text could be extracted from this file"),
    ("不支持的文件类型", "the service does not support this file type"),
)


def plain_english(service_message: str) -> str:
    """Return what the service said with its known Chinese phrases translated (E1)."""
    for chinese, english in _TRANSLATIONS:
        service_message = service_message.replace(chinese, english)
    return service_message


def parse_error_body(body: bytes) -> tuple[str, str]:
    """Return (type, message) of an untrusted error body; empty strings where it is no error object.

    Takes JSON, an HTML page from a proxy, an empty or a truncated body alike.
    """
    try:
        error = json.loads(body)["error"]
        kind, message = error.get("type"), error.get("message")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    return (kind if isinstance(kind, str) else "")[:200], (message if isinstance(message, str) else "")[:2000]
