"""The Files API on the wire: file objects, error bodies, limits, purposes. Standard library only.

Shared by the client (`api`) and the local server (`server`), so that both mean the same bytes. It does no
I/O and knows no HTTP library. Sources are the vendor's page and captures of live traffic; a line tagged
*LIVE* was seen in a real answer, *DOC* stands on the vendor's page.

**Threading:** constants and pure functions; what they say once in the log is remembered in a thread-safe memo.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from mmap import mmap
from typing import Any, Final

log = logging.getLogger(__name__)

#: DOC: "not exceeding 100MB"; the observed refusal starts above 100 * 1024**2 bytes.
MAX_FILE_BYTES: Final = 100 * 1024**2
#: DOC: "The total size of all uploaded files must not exceed 10GB"; of an organisation, and by default.
MAX_TOTAL_BYTES: Final = 10 * 1024**3
#: DOC: "a maximum of 1,000 files"; the newer page does not say so any more.
MAX_FILES: Final = 1000
#: Files of a list that are taken; five times what is documented.
MAX_LISTED: Final = 5 * MAX_FILES

FILE_EXTRACT: Final = "file-extract"
IMAGE: Final = "image"
VIDEO: Final = "video"
BATCH: Final = "batch"
PURPOSES: Final = (FILE_EXTRACT, IMAGE, VIDEO, BATCH)

STATUS_OK: Final = frozenset({"ok", "ready"})
STATUS_ERROR: Final = "error"
STATUS_WAITING: Final = frozenset({"created", "processing", "pending", "uploaded"})

#: Extensions the vendor's page lists for text extraction, lower case, with the dot (DOC, `.jpg` by "etc.").
EXTRACTABLE: Final = frozenset(
    (
        ".pdf .txt .csv .doc .docx .xls .xlsx .ppt .pptx .md .jpeg .jpg .png .bmp .gif .svg .svgz .webp .ico .xbm "
        ".dib .pjp .tif .pjpeg .avif .dot .apng .epub .tiff .jfif .html .json .mobi .log .go .h .c .cpp .cxx .cc "
        ".cs .java .js .css .jsp .php .py .py3 .asp .yaml .yml .ini .conf .ts .tsx"
    ).split()
)
#: Extensions uploaded as purpose `image` when no text is found in them (W11; DOC of the vision models).
IMAGE_EXTENSIONS: Final = frozenset(".png .apng .jpeg .jpg .jfif .pjp .pjpeg .webp .gif .bmp .dib .heic .heif".split())
#: Extensions uploaded as purpose `video` (W11). `.ts` is TypeScript on the vendor's page, so it is not here.
#: SRC: `.mkv`, as the vendor's own client has it.
VIDEO_EXTENSIONS: Final = frozenset(".mp4 .m4v .mkv .mpeg .mpg .mov .avi .flv .webm .wmv .3gp .3gpp".split())

# Error types of the error body (LIVE).
INVALID_REQUEST: Final = "invalid_request_error"
INVALID_AUTHENTICATION: Final = "invalid_authentication_error"
INCORRECT_API_KEY: Final = "incorrect_api_key_error"
PERMISSION_DENIED: Final = "permission_denied_error"
RESOURCE_NOT_FOUND: Final = "resource_not_found_error"
RATE_LIMIT_REACHED: Final = "rate_limit_reached_error"
ENGINE_OVERLOADED: Final = "engine_overloaded_error"
EXCEEDED_CURRENT_QUOTA: Final = "exceeded_current_quota_error"
#: DOC: what the content of an image, a video or a file with the status `error` is refused as.
FAILED_PRECONDITION: Final = "failed_precondition_error"
SERVER_ERROR: Final = "server_error"
SERVER_UNAVAILABLE: Final = "server_unavailable"

# Error messages, word for word (LIVE).
MSG_TOO_LARGE: Final = "File size is too large, max file size is 100MB, please confirm and re-upload the file"
MSG_EMPTY: Final = "File size is zero, please confirm and re-upload the file"
MSG_TOO_MANY: Final = (
    "The number of files you have uploaded exceeded the max file count {n}, please delete previous uploaded files"
)
#: DOC: the short form of it.
MSG_TOO_MANY_SHORT: Final = "Too many uploaded files"
MSG_TOTAL_TOO_LARGE: Final = (
    "The size of files you have uploaded exceeded the max file size, please delete previous uploaded files"
)
MSG_NO_TEXT: Final = "text extract error: 没有解析出内容"
MSG_UNSUPPORTED: Final = "text extract error: 不支持的文件类型"
MSG_PURPOSE: Final = "Invalid purpose: only {purposes} accepted"
MSG_AUTHENTICATION: Final = "Invalid Authentication"
MSG_NOT_FOUND: Final = "The requested resource was not found"

#: Header that names a request to the vendor's support (LIVE).
REQUEST_ID_HEADER: Final = "msh-request-id"
#: Header by which a client asks for the second format, and for the files of its key's project alone, and the value
#: that does so (DOC); without it a list is the organisation's.
VERSION_HEADER: Final = "kimi-api-version"
BETA: Final = "2026-09-01-beta"
#: Files on a page of a list, at most (DOC).
LARGEST_PAGE: Final = 1000

#: What new ids begin with; an id and its twin without it are one file, unless one list has both (DOC).
_ID_PREFIX: Final = "file_"

#: Characters of what a service may say of a file: four times the longest name that any disk keeps, and a paragraph.
_LONGEST_NAME: Final = 1024
_LONGEST_DETAILS: Final = 1000
_LONGEST_WORD: Final = 100

#: A size or a moment that is written as a string.
_DIGITS: Final = re.compile("[0-9]{1,20}")
#: Seconds: a later moment, of the year 5138, is none but the same in milliseconds or less.
_LATEST: Final = 10**11

#: A body of bytes; of a long one, which nobody holds in memory, a view of a file.
Body = bytes | mmap

#: Bytes of a long body that are looked at at a time.
_STEP: Final = 1024 * 1024
#: What may be in a string of JSON (RFC 8259), up to so many escapes. What could be matched in two ways is not, and no
#: match takes long: while there is one, no other thread runs. No group is possessive: before Python 3.11.5, one that
#: fails halfway, as at an escape that is cut, ends too late (CPython issue 106052).
_UNITS: Final = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+){0,16384}')
_HIGH: Final = re.compile(rb"\\u[dD][89abAB]")
_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
#: Bytes of an object within a long body; the text itself is a string.
_LONGEST_WITHIN: Final = 64 * 1024

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_valid_id(file_id: object) -> bool:
    """Say whether `file_id` may go into a URL or a path: `^[A-Za-z0-9][A-Za-z0-9._-]*$`, 128 characters at most."""
    return isinstance(file_id, str) and _ID.fullmatch(file_id) is not None


def bare(file_id: str) -> str:
    """Return what an id and its twin have in common.

    >>> bare("file_d5k2"), bare("d5k2")
    ('d5k2', 'd5k2')
    """
    return file_id.removeprefix(_ID_PREFIX) or file_id


def twin(file_id: str) -> str:
    """Return the other spelling of an id.

    >>> twin("file_d5k2"), twin("d5k2")
    ('d5k2', 'file_d5k2')
    """
    common = bare(file_id)
    return common if common != file_id else _ID_PREFIX + file_id


@dataclass(frozen=True, slots=True)
class FileObject:
    """One file of the account, as `GET /files` describes it.

    Attributes:
        id: opaque, validated by `is_valid_id`; inside of the drive the one spelling that `spellings` has chosen.
        bytes: size of the original, in bytes, >= 0.
        created_at: unix time, in seconds.
        filename: as uploaded, in its middle cut where it is over 1,024 characters; untrusted and not unique (N2, N3).
        purpose: one of `PURPOSES`, or what a newer service says.
        status: `ok` (LIVE), `ready` (DOC), `error`, `created`, …
        status_details: why, when status is `error`.
        listed_as: how the list spells the id, where that is not `id`.
        apart: whether the twin of its id is another file.
    """

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str = FILE_EXTRACT
    status: str = "ok"
    status_details: str = ""
    listed_as: str = ""
    apart: bool = False

    @property
    def spelt(self) -> str:
        """Its id as the list spells it: what requests, people and other programs use."""
        return self.listed_as or self.id

    @property
    def age(self) -> tuple[int, str, str]:
        """What tells the newer of two files (N3): the larger is the newer, however their ids are spelt."""
        return self.created_at, bare(self.id), self.spelt

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object in the key order of the live service (LIVE)."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "status_details": self.status_details,
        }

    @classmethod
    def from_wire(cls, data: object) -> FileObject:
        """Check one untrusted JSON object and return it as a `FileObject`.

        A size or a time that is a sane number written in another way is taken, with a line in the log.

        Raises:
            ValueError: not an object, an id unfit for a path, a size or time that is no sane number.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"a file object is a JSON object, not {type(data).__name__}")
        file_id = data.get("id")
        if not isinstance(file_id, str) or not is_valid_id(file_id):
            raise ValueError(f"unusable file id {file_id!r:.80}")
        filename = data.get("filename")
        if not isinstance(filename, str):
            raise ValueError(f"unusable filename of {file_id}")
        return cls(
            id=file_id,
            bytes=_sane_int(data.get("bytes"), "bytes", 2**50),
            created_at=_moment(data.get("created_at"), "created_at"),
            filename=_bounded(filename),
            # One string for all files that have it: a thousand of them are kept.
            purpose=sys.intern(_text(data.get("purpose"), _LONGEST_WORD) or FILE_EXTRACT),
            status=sys.intern(_text(data.get("status"), _LONGEST_WORD) or "ok"),
            status_details=_text(data.get("status_details"), _LONGEST_DETAILS),
        )

    @classmethod
    def from_metadata(cls, data: object) -> FileObject:
        """Check one untrusted JSON object of the second format (DOC), and return it as a `FileObject`.

        Raises:
            ValueError: as `from_wire`; a time that is not of RFC 3339.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"a file's metadata are a JSON object, not {type(data).__name__}")
        created_at = data.get("created_at")
        return cls.from_wire(
            {
                "id": data.get("id"),
                "bytes": data.get("size_bytes"),
                "created_at": _moment_in_words(created_at) if isinstance(created_at, str) else created_at,
                "filename": data.get("filename"),
                "purpose": data.get("purpose"),
                "status": data.get("extract_status"),
                "status_details": data.get("status_details"),
            }
        )


class Listed(list[FileObject]):
    """The files of one list, in its order, and what it proves of others.

    Attributes:
        horizon: unix time: each file of the account that is newer is in it. `EVERYTHING` for a whole list, `NOTHING`
            where it says nothing of what is not in it.
        pages: how many it came in.
    """

    def __init__(self, files: Iterable[FileObject] = (), *, horizon: float = -math.inf, pages: int = 1) -> None:
        super().__init__(files)
        self.horizon = horizon
        self.pages = pages


#: Horizons of a `Listed`.
EVERYTHING: Final = -math.inf
NOTHING: Final = math.inf


def is_text(body: Body) -> bool:
    """Say whether the body of `/content` is what the service answers for an extracted file: an object with `content`.

    LIVE: `{"content":"…","file_type":…}`. Half of one is no JSON, so whatever passes is whole.
    """
    if not isinstance(body, bytes):
        return _long_text(body) is not None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("content"), str)


def is_empty_text(body: Body) -> bool:
    """Say whether the body of `/content` has the form of one and no text in it: nothing but blanks."""
    return isinstance(body, bytes) and len(body) < _LONGEST_WITHIN and is_text(body) and not text_in(body).strip()


def text_in(body: bytes) -> bytes:
    """Return the text in the body of `/content` (LIVE), as UTF-8; a body of another form comes back as it is (R1)."""
    try:
        text = json.loads(body)["content"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return body
    return text.encode("utf-8", "replace") if isinstance(text, str) else body


def long_text_in(body: mmap) -> Iterator[bytes]:
    """Yield the text in a long body, piece by piece; a body of another form comes as it is."""
    found = _long_text(body)
    if found is None:
        yield from (body[at : at + _STEP] for at in range(0, len(body), _STEP))
        return
    at, end = found[0] + 1, found[1] - 1
    while at < end:
        stop = _boundary(body, at, min(at + _STEP, end))
        yield json.loads(b'"' + body[at:stop] + b'"').encode("utf-8", "replace")
        at = stop


def _boundary(body: mmap, at: int, stop: int) -> int:
    """Return the last place up to `stop` where no character and no escape is cut; there is one at `at`."""
    stop = _UNITS.match(body, at, stop).end()  # type: ignore[union-attr]
    while body[stop] & 0xC0 == 0x80:
        stop -= 1
    half = stop - 6  # of a pair of escapes, which are one character
    if half > at and _HIGH.match(body, half, stop) and _UNITS.match(body, at, half).end() == half:  # type: ignore[union-attr]
        return half
    return stop


def _long_text(body: mmap) -> tuple[int, int] | None:
    """Return where the string `content` is in a long body, quotes included; None where it is no such object."""
    decoder, found = codecs.getincrementaldecoder("utf-8")(), None
    try:
        for at in range(0, len(body), _STEP):
            decoder.decode(body[at : at + _STEP])
        decoder.decode(b"", final=True)
        at = _after(body, 0, b"{")
        while True:
            key_at, key_end = at, _string_end(body, at)
            if not 0 < key_end - key_at <= _LONGEST_WITHIN:
                return None
            at = start = _after(body, key_end, b":")
            if value := _string_end(body, at):
                at = value
            else:
                window = body[at : at + _LONGEST_WITHIN].decode("utf-8", "ignore")
                at += len(window[: json.JSONDecoder().raw_decode(window)[1]].encode())
            if json.loads(body[key_at:key_end]) == "content":
                found = (start, at) if value else None
            at = _SPACE.match(body, at).end()  # type: ignore[union-attr]
            if body[at : at + 1] == b"}":
                return found if _SPACE.match(body, at + 1).end() == len(body) else None  # type: ignore[union-attr]
            at = _after(body, at, b",")
    except (ValueError, RecursionError):
        return None


def _string_end(body: mmap, at: int) -> int:
    """Return where the string that begins at `at` ends; 0 where there is none, or it does not end."""
    if body[at : at + 1] != b'"':
        return 0
    stop = at + 1
    while stop > at:
        at = stop
        stop = _UNITS.match(body, at, min(at + _STEP, len(body))).end()  # type: ignore[union-attr]
    return stop + 1 if body[stop : stop + 1] == b'"' else 0


def _after(body: mmap, at: int, sign: bytes) -> int:
    """Return where it goes on after `sign` and the spaces around it. Raises ValueError where it is not there."""
    at = _SPACE.match(body, at).end()  # type: ignore[union-attr]
    if body[at : at + 1] != sign:
        raise ValueError(f"no {sign!r}")
    return _SPACE.match(body, at + 1).end()  # type: ignore[union-attr]


def error_body(message: str, error_type: str) -> dict[str, Any]:
    """Return the error body of the service: message first, no code (LIVE)."""
    return {"error": {"message": message, "type": error_type}}


def dump(value: object) -> bytes:
    """Encode as the service does: compact JSON, raw UTF-8, keys in the given order (LIVE).

    A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _sane_int(value: object, what: str, limit: int) -> int:
    """Return a whole number below `limit`, also one that is written as a string of digits or as `5.0`."""
    number = value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value)
        _tell(f"{what} as a string of digits")
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
        _tell(f"{what} as a number with a point")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < limit:
        raise ValueError(f"unusable {what} {value!r:.80}")
    return number


def _moment(value: object, what: str) -> int:
    """Return unix time in whole seconds, also of a number with a fraction, or of one that counts parts of seconds."""
    number = value
    if isinstance(value, float) and 0 <= value < _LATEST * 10**9:  # which no NaN is
        number = int(value)
        _tell(f"{what} as a number with a point")
    seconds = _sane_int(number, what, _LATEST * 10**9)
    for parts, name in ((10**9, "nanoseconds"), (10**6, "microseconds"), (10**3, "milliseconds")):
        if seconds >= _LATEST * (parts // 1000):
            _tell(f"{what} in {name}")
            return seconds // parts
    return seconds


@functools.lru_cache(maxsize=64)
def _tell(what: str) -> None:
    """Write one line of what a service does otherwise than it should, however often: a process has one mount."""
    log.warning("The service gives %s; that is understood.", what)


def _moment_in_words(text: str) -> int:
    """Return unix time, in whole seconds, of a time as RFC 3339 writes it. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text[:64].upper())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"unusable created_at {text!r:.80}") from None


def _text(value: object, longest: int) -> str:
    return value[:longest] if isinstance(value, str) else ""


def _bounded(filename: str) -> str:
    """Return a name of at most `_LONGEST_NAME` characters, with its extension, and another for each other name."""
    if len(filename) <= _LONGEST_NAME:
        return filename
    digest = hashlib.sha256(filename.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{filename[: _LONGEST_NAME - 200]}~{digest}~{filename[-100:]}"
