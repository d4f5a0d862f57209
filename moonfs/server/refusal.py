"""The refusals of the Files API: one exception that knows status, type and message, and their table.

Statuses and messages are those of live traffic (LIVE in `moonfs.wire`); those that are ours say so.

**Threading:** exceptions are built and raised by one task; the rest are constants.
"""

from __future__ import annotations

from typing import Any, Final

from moonfs import wire

_FAILED: Final = "Failed to extract file: "


class Refusal(Exception):
    """An answer other than 200.

    Args:
        status: HTTP status.
        message: what the client reads; never holds a path, a key or a traceback.
        error_type: `type` of the error body.
        why: more than the service says; for the log and for `status_details`, never for the body.
    """

    def __init__(self, status: int, message: str, error_type: str = wire.INVALID_REQUEST, why: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type
        self.why = why

    def body(self, request_id: str = "") -> dict[str, Any]:
        """Return the error body, as the service words it; with a request id, it tells that last (DOC)."""
        body = wire.error_body(self.message, self.error_type)
        if request_id:
            body["error"]["request_id"] = request_id
        return body


def too_large(max_file_bytes: int) -> Refusal:
    """Over the size of one file; the message names the limit in force, 100MB on the service (LIVE)."""
    if max_file_bytes == wire.MAX_FILE_BYTES:
        return Refusal(400, wire.MSG_TOO_LARGE)
    return Refusal(400, wire.MSG_TOO_LARGE.replace("100MB", f"{max_file_bytes}B"))


def empty() -> Refusal:
    """An upload of no bytes (LIVE)."""
    return Refusal(400, wire.MSG_EMPTY)


def too_many(max_files: int, text: str = "long") -> Refusal:
    """The account is full by count (`long`: LIVE; `short`: DOC)."""
    return Refusal(400, wire.MSG_TOO_MANY_SHORT if text == "short" else wire.MSG_TOO_MANY.format(n=max_files))


def total_too_large(status: int = 400) -> Refusal:
    """The account is full by bytes (LIVE; the status is inferred)."""
    return Refusal(status, wire.MSG_TOTAL_TOO_LARGE)


def no_text(why: str = "") -> Refusal:
    """Nothing could be extracted (LIVE): no text, broken, encrypted, which `why` tells apart."""
    return Refusal(400, wire.MSG_NO_TEXT, why=why)


def unsupported() -> Refusal:
    """A file type the service does not read (LIVE)."""
    return Refusal(400, wire.MSG_UNSUPPORTED)


def purpose() -> Refusal:
    """A purpose the API does not know (LIVE; the text after "only" varies)."""
    return Refusal(400, wire.MSG_PURPOSE.format(purposes=f"'{wire.FILE_EXTRACT}'"))


def unauthenticated() -> Refusal:
    """No key, or a wrong one (LIVE)."""
    return Refusal(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION)


def not_found() -> Refusal:
    """A dead id, or a route that is not there (LIVE)."""
    return Refusal(404, wire.MSG_NOT_FOUND, wire.RESOURCE_NOT_FOUND)


def method() -> Refusal:
    """A method that the route does not have (ours)."""
    return Refusal(405, "The method is not allowed for this resource")


def misdirected() -> Refusal:
    """The Host header names another machine than this server is reached by (ours; RFC 9110, 15.5.20)."""
    return Refusal(421, "This server is not for that host name: start it with --allowed-host NAME to allow one")


def rate_limited(per_minute: int) -> Refusal:
    """More requests a minute than the account may send (the type is LIVE)."""
    limit = f"{per_minute} request{'' if per_minute == 1 else 's'} a minute"
    return Refusal(429, f"The account has reached its limit of {limit}, please try again later",
                   wire.RATE_LIMIT_REACHED)  # fmt: skip


def overloaded() -> Refusal:
    """More requests at once than the account may have under way (the type is LIVE)."""
    return Refusal(429, "The engine is currently overloaded, please try again later", wire.ENGINE_OVERLOADED)


def filename() -> Refusal:
    """A name that a strict server would refuse (ours)."""
    return Refusal(400, "Invalid filename: no slashes, no control characters, at most 255 bytes")


def no_such_range() -> Refusal:
    """A range beyond the content (RFC 9110)."""
    return Refusal(416, "The range is not within the content")


def no_content() -> Refusal:
    """The content of a file whose extraction has failed (LIVE)."""
    return Refusal(500, "extract task failed: failed", wire.SERVER_ERROR)


def no_such_content(why: str) -> Refusal:
    """The content of a file that has none, as of 2026-09 (the type is DOC, the message ours)."""
    return Refusal(400, f"The file has no extracted content: {why}", wire.FAILED_PRECONDITION)


def api_version(known: str) -> Refusal:
    """A value of `kimi-api-version` that is not known (the status is DOC, the message ours)."""
    return Refusal(400, f"Invalid Kimi-Api-Version: only '{known}' is known")


def page(what: str) -> Refusal:
    """A page of a list that there is none of (ours)."""
    return Refusal(400, f"Invalid {what}")


def bad_request(status: int) -> Refusal:
    """What is no HTTP request (ours)."""
    why = "its head is too long" if status == 431 else "it is no valid HTTP"
    return Refusal(status, f"The request cannot be read: {why}")


def extraction_failed(why: str) -> Refusal:
    """The extraction itself broke down: a crash, a time-out (LIVE: `Failed to extract file: …`)."""
    return Refusal(500, f"{_FAILED}{why}", wire.SERVER_ERROR)


def is_of_document(error: Refusal) -> bool:
    """Say whether it is the document that could not be read, not its name or the server."""
    return error.message == wire.MSG_NO_TEXT or error.message.startswith(_FAILED)


def bad_form(why: str) -> Refusal:
    """A body that is no usable multipart form (ours)."""
    return Refusal(400, f"Invalid multipart form: {why}")


def disk_full() -> Refusal:
    """The disk of the server is full (ours)."""
    return Refusal(500, "The server has no space left to store the file", wire.SERVER_ERROR)


def internal() -> Refusal:
    """A fault of the server (ours); its log says more."""
    return Refusal(500, "The server had an internal error", wire.SERVER_ERROR)


def stopping() -> Refusal:
    """The server is being stopped (the type is LIVE, the message ours)."""
    return Refusal(503, "The server is shutting down, please try again later", wire.SERVER_UNAVAILABLE)
