"""Each row of the table from statuses, bodies and httpx exceptions to the tree of errors."""

from __future__ import annotations

import json
import socket
import ssl

import httpx
import pytest

from moonfs import errors, refusals, wire
from moonfs.api.translate import clean, scrubber, status_error, stored_failure, transport_error
from moonfs.errors import MoonfsError

INVALID = wire.INVALID_REQUEST
HTML = b"<html>\r\n<head><title>%s</title></head>\r\n<body>nginx</body></html>"


def body(message: str, kind: str = INVALID) -> bytes:
    return wire.dump(wire.error_body(message, kind))


ROWS = [
    (400, body(wire.MSG_TOO_LARGE), errors.FileTooLarge),
    (400, body(wire.MSG_TOO_MANY.format(n=1000)), errors.TooManyFiles),
    (400, body(wire.MSG_TOO_MANY_SHORT), errors.TooManyFiles),
    (400, body("上传的文件总数超限，请删除不用的早期的文件后重新上传"), errors.TooManyFiles),
    (400, body(wire.MSG_TOTAL_TOO_LARGE), errors.TooManyBytes),
    (403, body(wire.MSG_TOTAL_TOO_LARGE), errors.TooManyBytes),  # its status is inferred only
    (429, body(wire.MSG_TOTAL_TOO_LARGE), errors.TooManyBytes),
    (400, body("missing required header Kimi-Api-Version"), errors.PassingFault),
    (400, body(wire.MSG_NO_TEXT), errors.NoText),
    (400, body(wire.MSG_UNSUPPORTED), errors.UnsupportedType),
    (400, body(wire.MSG_EMPTY), errors.Rejected),
    (400, body("Invalid purpose: only 'file-extract' accepted"), errors.Rejected),
    (400, body("what", "of_a_new_kind"), errors.Rejected),
    (400, b"", errors.ForeignAnswer),
    (400, HTML % b"400 Bad Request", errors.ForeignAnswer),
    (401, body(wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION), errors.AuthenticationFailed),
    (401, b"", errors.ForeignAnswer),
    (403, HTML % b"Attention Required", errors.ForeignAnswer),
    (403, body("no", wire.PERMISSION_DENIED), errors.AuthenticationFailed),
    (403, body("organization exceeded current quota", wire.EXCEEDED_CURRENT_QUOTA), errors.QuotaExceeded),
    (403, body("Insufficient balance, please recharge", wire.PERMISSION_DENIED), errors.QuotaExceeded),
    (403, body("账户余额不足，已停用，请检查您的账户余额", wire.PERMISSION_DENIED), errors.QuotaExceeded),
    (429, body("is suspended due to insufficient balance, please recharge", "of_a_new_kind"), errors.QuotaExceeded),
    (402, body("pay", "of_a_new_kind"), errors.QuotaExceeded),
    (400, body("wrong", wire.INCORRECT_API_KEY), errors.AuthenticationFailed),
    (403, HTML % b"403 Forbidden", errors.ForeignAnswer),  # the network's, not the key's
    (404, body(wire.MSG_NOT_FOUND, wire.RESOURCE_NOT_FOUND), errors.NotFound),
    (404, HTML % b"404 Not Found", errors.ForeignAnswer),
    (405, b"", errors.ForeignAnswer),
    (409, HTML % b"409 Conflict", errors.ForeignAnswer),
    (413, body("too large", "request_too_large"), errors.FileTooLarge),
    (408, b"", errors.TimedOut),
    (413, HTML % b"413 Request Entity Too Large", errors.FileTooLarge),
    (429, body("slow down", wire.RATE_LIMIT_REACHED), errors.RateLimited),
    (429, body("overloaded", wire.ENGINE_OVERLOADED), errors.RateLimited),
    (429, b"", errors.RateLimited),
    (429, body("suspended", wire.EXCEEDED_CURRENT_QUOTA), errors.QuotaExceeded),
    (500, body("extract task failed: failed", wire.SERVER_ERROR), errors.ServiceError),
    (500, b"", errors.ServiceError),
    (502, HTML % b"502 Bad Gateway", errors.ServiceError),
    (503, body("busy", wire.SERVER_UNAVAILABLE), errors.ServiceError),
    (504, HTML % b"504 Gateway Time-out", errors.ServiceError),
    (500, body(wire.MSG_TOO_LARGE), errors.ServiceError),  # only a refusal is split by its message
    (302, b"", errors.ProtocolError),
    (304, b"", errors.ProtocolError),
]


@pytest.mark.parametrize(("status", "answer", "expected"), ROWS)
@pytest.mark.parametrize("operation", ["list", "upload", "retrieve", "delete", "content"])
def test_a_status_becomes_its_class(operation: str, status: int, answer: bytes, expected: type[MoonfsError]) -> None:
    error = status_error(operation, status, answer)
    if operation == "content" and b"extract task failed" in answer:
        expected = errors.ExtractionFailed
    assert type(error) is expected
    assert error.status == status
    assert str(status) in error.message
    assert "\n" not in error.message
    assert len(error.message) < 700
    # W3: a refusal in the service's own words is one; anything else leaves doubt.
    assert error.foreign is not answer.startswith(b'{"error"')
    in_doubt = status >= 500 or status == 408 or (error.foreign and status != 413)
    assert error.maybe_stored is (operation == "upload" and in_doubt)
    assert not (error.foreign and errors.is_final(error))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b'{"error":',
        body(wire.MSG_NO_TEXT)[:-5],
        b"[]",
        b'"x"',
        b"null",
        b'{"error":null}',
        b'{"error":{"message":7,"type":[]}}',
        b"\xff\xfe\0",
        b"<" * 60_000,
        b"[" * 60_000,
        b"<html>",
    ],
)
def test_no_body_is_too_odd(answer: bytes) -> None:
    assert type(status_error("upload", 400, answer)) is errors.ForeignAnswer
    assert type(status_error("upload", 500, answer)) is errors.ServiceError


def test_a_content_that_there_is_none_of() -> None:
    """R4: `failed_precondition_error` is that of one file's text, whatever the list says of it; of nothing else."""
    answer = body("The file has no extracted content: it is encrypted", wire.FAILED_PRECONDITION)
    error = status_error("content", 400, answer)
    assert type(error) is errors.ExtractionFailed and "it is encrypted" in error.message
    assert type(status_error("upload", 400, answer)) is errors.Rejected


def test_a_page_says_nothing_of_the_key() -> None:
    """Errors: a 403 whose body is HTML is the network's: nobody is sent to mend the key."""
    error = status_error("list", 403, HTML % b"403 Forbidden")
    assert "network" in error.message and "of the key it says nothing" in error.message


@pytest.mark.parametrize("operation", ["list", "upload", "content"])
def test_each_row_of_the_table(operation: str) -> None:
    """Errors: a row of the table of refusals becomes its error, whose nature is that of the part that it is in."""
    for nature, rows in refusals.TABLE.items():
        for row in rows:
            assert row.error.nature is nature and row.source in ("LIVE", "DOC", "INF") and (row.words or row.types)
            if row.operation in ("", operation):
                said = [body(f"Well: {part.capitalize()}!", "of_a_new_kind") for part in row.words]
                said += [body("well", kind) for kind in row.types]
                assert {type(status_error(operation, 400, each)) for each in said} == {row.error}, row
    assert list(refusals.rows()) == [row for rows in refusals.TABLE.values() for row in rows]


@pytest.mark.parametrize(
    ("purpose", "details", "expected", "part"),
    [
        (
            "file-extract",
            "text extract error: 没有解析出内容",
            errors.NoText,
            "no text could be extracted from this file",
        ),
        (
            "file-extract",
            "text extract error: 不支持的文件类型",
            errors.UnsupportedType,
            "does not support this file type",
        ),
        ("file-extract", "", errors.NoText, "the service does not say why"),
        ("file-extract", "the document is encrypted", errors.NoText, "the document is encrypted"),
        ("file-extract", "Too many uploaded files", errors.NoText, "could not extract"),
        ("image", "broken", errors.Rejected, "could not read this file (status error: broken)"),
        ("video", "text extract error: 不支持的文件类型", errors.UnsupportedType, "does not take files of this type"),
    ],
)
def test_a_stored_failure_is_a_refusal(purpose: str, details: str, expected: type[MoonfsError], part: str) -> None:
    """W1: by what `status_details` say, in English; what it is stored as is to be deleted."""
    file = wire.FileObject("i1", 3, 1, "a.pdf", purpose=purpose, status="error", status_details=details)
    error = stored_failure(file, "request 7")
    assert type(error) is expected and errors.is_final(error)
    assert part in error.message
    assert (error.status, error.request_id, error.service_message) == (200, "request 7", details)
    assert error.stored_as == "i1" and not error.maybe_stored


def test_chinese_is_translated_and_kept_beside_it() -> None:
    error = status_error("upload", 400, body(wire.MSG_NO_TEXT))
    assert error.service_message == wire.MSG_NO_TEXT
    assert "no text could be extracted" in error.message
    assert "没有" not in error.message


def test_an_html_page_is_told_by_its_title() -> None:
    error = status_error("upload", 413, HTML % b"413 Request Entity Too Large")
    assert error.service_message == "413 Request Entity Too Large"
    assert status_error("list", 502, b"<h1>Bad\n<b>Gateway</b></h1>").service_message == "Bad Gateway"


def test_what_the_service_says_is_bounded_and_has_no_control_characters() -> None:
    said = "a\nb\x1b[31mc\u202ed\ud800 " + "x" * 5000
    error = status_error("list", 400, json.dumps({"error": {"message": said, "type": "t"}}).encode())
    assert error.service_message is not None
    assert error.service_message.startswith("a b [31mc d x")
    assert len(error.service_message) == 500
    error.message.encode()


def test_a_key_that_the_service_repeats_is_taken_out() -> None:
    key = "sk-0123456789"
    answers = [body(f"Incorrect API key provided: {key}"), b"<title>%s</title>" % key.encode()]
    for answer in answers:
        error = status_error("list", 401, answer, scrub=scrubber(key))
        assert key not in f"{error.message} {error.service_message}"
        assert "[key]" in error.message
    moved = status_error("list", 302, b"", location=f"https://x/?k={key}", scrub=scrubber(key))
    assert key not in moved.message


def test_a_redirect_is_named() -> None:
    assert "https://other.example/v1" in status_error("list", 301, b"", location="https://other.example/v1").message


def test_a_wrong_address_is_told_from_a_missing_file() -> None:
    assert "base URL" in status_error("list", 404, b"").message
    gone = body(wire.MSG_NOT_FOUND, wire.RESOURCE_NOT_FOUND)
    assert "base URL" in status_error("list", 404, gone).message
    assert "no such file" in status_error("retrieve", 404, gone).message


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("exc", "expected", "part"),
    [
        (httpx.ConnectTimeout("x"), errors.TimedOut, "no connection"),
        (httpx.ReadTimeout("x"), errors.TimedOut, "no answer"),
        (httpx.WriteTimeout("x"), errors.TimedOut, "took no more"),
        (httpx.PoolTimeout("x"), errors.TimedOut, "too many requests at once"),
        (httpx.ConnectError("x"), errors.Unreachable, "service runs"),
        (chained(httpx.ConnectError("x"), socket.gaierror(-2, "y")), errors.Unreachable, "cannot be found"),
        (chained(httpx.ConnectError("x"), ssl.SSLCertVerificationError()), errors.Unreachable, "certificate"),
        (httpx.ProxyError("x"), errors.Unreachable, "HTTPS_PROXY"),
        (httpx.ReadError("x"), errors.Unreachable, "broke off"),
        (httpx.WriteError("x"), errors.Unreachable, "broke off"),
        (httpx.CloseError("x"), errors.Unreachable, "broke off"),
        (httpx.RemoteProtocolError("x"), errors.Unreachable, "broke off"),
        (httpx.LocalProtocolError("x"), errors.ProtocolError, "no valid request"),
        (httpx.UnsupportedProtocol("x"), errors.ProtocolError, "no valid request"),
        (httpx.InvalidURL("x"), errors.ProtocolError, "no valid request"),
        (httpx.DecodingError("x"), errors.ServiceError, "DecodingError"),
        (httpx.StreamClosed(), errors.ServiceError, "StreamClosed"),
    ],
)
@pytest.mark.parametrize("doubtful", [True, False])
def test_an_exception_of_httpx_becomes_its_class(
    exc: Exception, expected: type[MoonfsError], part: str, doubtful: bool
) -> None:
    error = transport_error(exc, origin="https://api.example/v1", maybe_stored=doubtful)
    assert type(error) is expected
    assert part in error.message
    assert error.maybe_stored is doubtful
    assert error.status is None


def test_every_exception_of_httpx_is_covered() -> None:
    def tree(cls: type) -> set[type]:
        return {cls}.union(*(tree(sub) for sub in cls.__subclasses__()))

    for cls in tree(httpx.HTTPError) - {httpx.HTTPStatusError}:
        assert isinstance(transport_error(cls("x"), origin="o"), MoonfsError)


def test_clean_keeps_one_line_of_readable_text() -> None:
    assert clean("  福州\t商场\r\n.pdf\0 ") == "福州 商场 .pdf"
    assert clean("x" * 10**6, 10) == "x" * 10
