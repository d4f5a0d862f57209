"""What the service's refusals mean: one table of its words, and what is left is told by the HTTP status.

A row says by which words or error type a refusal is known, where these are known from (the tags of `wire`; INF:
inferred), which error it becomes, and, by the part of the table that it is in, what that says of the next try. Retries
and what fails for good follow from there (`errors.Nature`); nothing else looks at the service's words.

It reads no HTTP and decides nothing about a body that is not the service's own, which `api.translate` does first.

**Threading:** constants and pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from moonfs import errors, wire
from moonfs.errors import MoonfsError, Nature

_ROOM: Final = "delete some"


@dataclass(frozen=True, slots=True)
class Row:
    """One refusal.

    Attributes:
        source: where it is known from: LIVE, DOC or INF.
        error: what it becomes.
        what: what happened, in a sentence.
        words: parts of its message in lower case; one of them is in it.
        types: error types; its type is one of them. Of `words` and `types` one is enough.
        operation: the one call that it is an answer to; empty for all.
    """

    source: str
    error: type[MoonfsError]
    what: str
    words: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    operation: str = ""

    def fits(self, operation: str, kind: str, message: str) -> bool:
        """Say whether it is this refusal; `message` is in lower case."""
        if self.operation not in ("", operation):
            return False
        return kind in self.types or any(part in message for part in self.words)


#: Refusals by their words, whatever their exact status is between 400 and 499: that of the total size is only inferred,
#: and an empty balance is a 403 or a 429. The first that fits counts.
TABLE: Final[Mapping[Nature, tuple[Row, ...]]] = {
    Nature.PASSING: (
        Row(
            "LIVE",  # about one call in six on 2 September 2026; for files INF
            errors.PassingFault,
            "the service refused the request for a header that it needs at some moments only",
            words=("missing required header",),
        ),
    ),
    Nature.QUOTA: (
        Row(
            "LIVE",
            errors.TooManyFiles,
            f"the account holds as many files as it may: {_ROOM}",
            words=("exceeded the max file count",),
        ),
        Row(
            "DOC",
            errors.TooManyFiles,
            f"the account holds as many files as it may: {_ROOM}",
            words=("too many uploaded files", "上传的文件总数超限"),
        ),
        Row(
            "LIVE",
            errors.TooManyBytes,
            f"the account's files are too large together: {_ROOM}",
            words=("files you have uploaded exceeded",),
        ),
        Row(
            "LIVE",  # with 429, and with 403 (github.com/MoonshotAI/Kimi-K2/issues/5)
            errors.QuotaExceeded,
            "the account's plan is used up or suspended: see the vendor's console",
            types=(wire.EXCEEDED_CURRENT_QUOTA,),
            words=("exceeded current quota", "exceeded your current quota"),
        ),
        Row(
            "LIVE",  # DOC: 403
            errors.QuotaExceeded,
            "the account's balance is used up: see the vendor's console",
            words=("insufficient balance", "insufficient account balance", "账户余额不足", "账户额度不足"),
        ),
    ),
    Nature.KEY: (
        Row(
            "LIVE",
            errors.AuthenticationFailed,
            "the service refused the key: check it, and that it is of this region",
            types=(wire.INVALID_AUTHENTICATION, wire.INCORRECT_API_KEY),
        ),
    ),
    Nature.OPEN: (
        Row(
            "DOC",
            errors.ExtractionFailed,
            "the service has no text of this file",
            types=(wire.FAILED_PRECONDITION,),
            operation="content",
        ),
    ),
    Nature.FINAL: (
        Row(
            "LIVE",
            errors.FileTooLarge,
            "the file is over the service's limit of 100 MB",
            words=("file size is too large", "上传的文件大小超过了限制"),
        ),
        Row("LIVE", errors.NoText, "the service found no text in this file", words=("没有解析出内容",)),
        Row(
            "LIVE",
            errors.UnsupportedType,
            "the service does not take files of this type",
            words=("不支持的文件类型",),
        ),
        Row(
            "LIVE",
            errors.Rejected,
            "the service takes no empty files",
            words=("file size is zero", "上传的文件大小为 0"),
        ),
    ),
}
#: What a 5xx says of one file's text, and not of the service (LIVE).
FAILED_EXTRACTION: Final = Row(
    "LIVE",
    errors.ExtractionFailed,
    "the service could not extract the text of this file",
    words=("failed to extract", "extract task failed"),
    operation="content",
)
#: What is not in the table, by its status.
BY_STATUS: Final[Mapping[int, tuple[type[MoonfsError], str]]] = {
    401: (errors.AuthenticationFailed, "the service refused the key: check it, and that it is of this region"),
    402: (errors.QuotaExceeded, "the service wants to be paid: see the vendor's console"),
    403: (errors.AuthenticationFailed, "the service refused the key: check it, and that it is of this region"),
    404: (errors.NotFound, "the service has no such file"),
    408: (errors.TimedOut, "the service waited too long for the request"),
    413: (errors.FileTooLarge, "the file is too large for the service"),
    429: (errors.RateLimited, "the service takes no more requests for now: try again in a minute"),
}
#: A 404 to a call that names no file (`list`, `upload`).
NO_API: Final = "there is no Files API at this address: check the base URL"


def rows() -> Iterator[Row]:
    """Yield the rows of the table in the order in which they count."""
    for part in TABLE.values():
        yield from part


def meaning(operation: str, status: int, kind: str = "", message: str = "") -> tuple[type[MoonfsError], str]:
    """Return the error that an answer becomes, and what happened in a sentence.

    Args:
        operation: list, upload, retrieve, delete or content.
        status: the HTTP status, not 2xx.
        kind: the type of its error body; empty where it has none.
        message: the message of that.
    """
    said = message.lower()
    if 400 <= status < 500:
        for row in rows():
            if row.fits(operation, kind, said):
                return row.error, row.what
        if status == 404 and operation in ("list", "upload"):
            return errors.NotFound, NO_API
        return BY_STATUS.get(status, (errors.Rejected, "the service refused the request"))
    if status >= 500:
        if FAILED_EXTRACTION.fits(operation, kind, said):
            return FAILED_EXTRACTION.error, FAILED_EXTRACTION.what
        return errors.ServiceError, "the service failed: try again later"
    if 300 <= status < 400:
        return errors.ProtocolError, "the service redirects, and the key goes to the configured address only"
    return errors.ProtocolError, "the service answered with a status that makes no sense here"


def of_stored(purpose: str, details: str) -> tuple[type[MoonfsError], str]:
    """Return the error that a file becomes which the service has stored as a failure (W1), as `meaning` does.

    Args:
        purpose: what it was uploaded for.
        details: its `status_details`; empty where the service does not say why.
    """
    for row in TABLE[Nature.FINAL]:
        if row.fits("upload", "", details.lower()):
            return row.error, row.what
    if purpose == wire.FILE_EXTRACT:
        return errors.NoText, "the service could not extract the text of this file"
    return errors.Rejected, "the service could not read this file"
