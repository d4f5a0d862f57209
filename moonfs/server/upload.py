"""The body of `POST /files`: a multipart form whose file goes to disk as it comes in, in constant memory.

Names are data here and nothing else: `../../etc/passwd` is a fine name, and no path is ever made of it.

**Threading:** one `read_form` for one request, in the event loop; only the disk writes leave for a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

from moonfs import wire
from moonfs.server import refusal
from moonfs.server.staged import Staged

#: LIVE: what the service calls an upload without a filename.
UNNAMED: Final = "upload"
#: Bytes that gather in memory before they go to disk.
FLUSH_BYTES: Final = 256 * 1024
_MAX_PARTS: Final = 100
_MAX_FIELD: Final = 1024
_MAX_HEADER: Final = 64 * 1024
#: The characters that a backslash quotes, as RFC 2045 lists them; before others it stands for itself.
_QUOTABLE: Final = frozenset('()<>@,;:\\"/[]?=')
#: What `name*=` may be written in; RFC 5987 has the first two, and no other codec is worth its surprises.
_CHARSETS: Final = frozenset(("utf-8", "iso-8859-1", "us-ascii", "gb18030", "gbk", "gb2312"))
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Form:
    """What came besides the bytes: the filename as sent, and the purpose (None where it was left out)."""

    filename: str
    purpose: str | None


async def read_form(
    content_type: str, body: AsyncIterator[bytes], staged: Staged, admit: Callable[[Staged], None]
) -> Form:
    """Read a whole form; its part `file` goes to `staged`.

    Args:
        content_type: the request's header.
        body: the chunks of the request.
        staged: takes the bytes of the file.
        admit: called with `staged`, often; refuses what has become too large.

    Raises:
        Refusal: no usable form, no file, or what `admit` says.
        OSError: the disk.
    """
    reader = _FormReader(staged)
    try:
        parser = MultipartParser(_boundary(content_type), reader.callbacks(), max_header_size=_MAX_HEADER)
        async for chunk in body:
            parser.write(chunk)
            admit(staged)
            if staged.pending >= FLUSH_BYTES:
                await asyncio.to_thread(staged.flush)
        parser.finalize()
    except FormParserError as error:
        raise refusal.bad_form("it cannot be parsed") from error
    return reader.form()


def disposition(value: str) -> dict[str, str]:
    """Return the parameters of a Content-Disposition: quoted, bare, or `name*=UTF-8''…` (which wins)."""
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, raw in _PARAMETER.findall(value):
        text = _unquote(raw[1:-1]) if raw.startswith('"') and len(raw) > 1 else raw.strip()
        if name.endswith("*"):
            charset, _, encoded = text.partition("'")
            charset = charset.lower() if charset.lower() in _CHARSETS else "utf-8"
            if decoded := unquote(encoded.partition("'")[2], charset, "replace"):
                extended[name[:-1].lower()] = decoded
        else:
            plain.setdefault(name.lower(), text)
    return plain | extended


class _FormReader:
    """Takes the parser's events: headers, then the bytes of each part."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._parts = 0
        self._header = b""
        self._value = b""
        self._part = ""
        self._disposition = ""
        self._fields: dict[str, bytearray] = {}
        self._filename: str | None = None
        self._is_file = False
        self._finished = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def form(self) -> Form:
        if not self._finished:
            raise refusal.bad_form("it ends too early")
        if self._filename is None:
            raise refusal.bad_form("it has no part named file")
        purpose = self._fields.get("purpose")
        return Form(self._filename, None if purpose is None else purpose.decode("utf-8", "replace"))

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise refusal.bad_form(f"it has more than {_MAX_PARTS} parts")
        self._part = self._disposition = ""
        self._is_file = False

    def _header_field(self, chunk: bytes, start: int, end: int) -> None:
        self._header += chunk[start:end]

    def _header_value(self, chunk: bytes, start: int, end: int) -> None:
        self._value += chunk[start:end]

    def _header_end(self) -> None:
        if self._header.strip().lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        parameters = disposition(self._disposition)
        self._part = parameters.get("name", "")
        if self._part == "file" and self._filename is None:
            purpose = self._fields.get("purpose")
            if purpose and purpose.decode("utf-8", "replace") not in wire.PURPOSES:
                raise refusal.purpose()
            self._is_file = True
            self._filename = parameters.get("filename") or UNNAMED

    def _data(self, chunk: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._staged.add(chunk[start:end])
        elif self._part == "purpose":
            field = self._fields.setdefault("purpose", bytearray())
            field += chunk[start:end]
            if len(field) > _MAX_FIELD:
                raise refusal.purpose()

    def _end(self) -> None:
        self._finished = True


def _boundary(content_type: str) -> str:
    kind, _, rest = content_type.partition(";")
    boundary = disposition(";" + rest).get("boundary", "")
    if kind.strip().lower() != "multipart/form-data" or not boundary or not boundary.isascii():
        raise refusal.bad_form("the Content-Type is not multipart/form-data with a boundary")
    return boundary


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: m[1] if m[1] in _QUOTABLE else m[0], text, flags=re.DOTALL)
