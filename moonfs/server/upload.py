"""The body of `POST /files`: a multipart form whose file goes to disk as it comes in, in constant memory.

Names are data here and nothing else: `../../etc/passwd` is a fine name, and no path is ever made of it.

**Threading:** one `read_form` for one request, in the event loop; only the disk writes leave for a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from moonfs import wire
from moonfs.server import refusal
from moonfs.server.multipart import Headers, MalformedForm, Multipart
from moonfs.server.staged import Staged

#: LIVE: what the service calls an upload without a filename.
UNNAMED: Final = "upload"
#: Bytes that gather in memory before they go to disk.
FLUSH_BYTES: Final = 256 * 1024
_MAX_PARTS: Final = 100
#: Bytes of a field.
_MAX_PURPOSE: Final = 1024
_MAX_FILENAME: Final = 64 * 1024
#: The characters that a backslash quotes, as RFC 2045 lists them; before others it stands for itself.
_QUOTABLE: Final = frozenset('()<>@,;:\\"/[]?=')
#: What `name*=` may be written in; RFC 5987 has the first two, and no other codec is worth its surprises.
_CHARSETS: Final = frozenset(("utf-8", "iso-8859-1", "us-ascii", "gb18030", "gbk", "gb2312"))
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Form:
    """What came besides the bytes.

    Attributes:
        filename: of the part `file`, as sent.
        purpose: None where it was left out.
        field: a field `filename`; empty where there is none.
    """

    filename: str
    purpose: str | None
    field: str = ""


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
        parser = Multipart(_boundary(content_type), reader.begin, reader.take)
        async for chunk in body:
            parser.write(chunk)
            admit(staged)
            if staged.pending >= FLUSH_BYTES:
                await asyncio.to_thread(staged.flush)
        parser.finish()
    except MalformedForm as error:
        raise refusal.bad_form("it cannot be parsed") from error
    if not parser.is_finished:
        raise refusal.bad_form("it ends too early")
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
    """Takes the parts as they come: the file's bytes to the disk, the fields' into memory."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._parts = 0
        self._part = ""
        self._fields: dict[str, bytearray] = {}
        self._filename: str | None = None
        self._is_file = False

    def form(self) -> Form:
        if self._filename is None:
            raise refusal.bad_form("it has no part named file")
        return Form(self._filename, self._field("purpose"), self._field("filename") or "")

    def begin(self, headers: Headers) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise refusal.bad_form(f"it has more than {_MAX_PARTS} parts")
        described = [value for name, value in headers if name == "content-disposition"]
        parameters = disposition(described[-1].decode("utf-8", "replace") if described else "")
        self._part = parameters.get("name", "")
        self._is_file = self._part == "file" and self._filename is None
        if self._is_file:
            purpose = self._field("purpose")
            if purpose is not None and purpose not in wire.PURPOSES:
                raise refusal.purpose()
            self._filename = parameters.get("filename") or UNNAMED
        elif self._part in ("purpose", "filename"):
            self._fields.setdefault(self._part, bytearray())  # an empty one is not left out, and no piece of it comes

    def take(self, piece: bytes) -> None:
        if self._is_file:
            self._staged.add(piece)
        elif self._part in ("purpose", "filename"):
            field = self._fields[self._part]
            field += piece
            if self._part == "purpose" and len(field) > _MAX_PURPOSE:
                raise refusal.purpose()
            if len(field) > _MAX_FILENAME:
                raise refusal.bad_form("its filename is too long")

    def _field(self, name: str) -> str | None:
        field = self._fields.get(name)
        return None if field is None else field.decode("utf-8", "replace")


def _boundary(content_type: str) -> str:
    kind, _, rest = content_type.partition(";")
    boundary = disposition(";" + rest).get("boundary", "")
    if kind.strip().lower() != "multipart/form-data" or not boundary or not boundary.isascii():
        raise refusal.bad_form("the Content-Type is not multipart/form-data with a boundary")
    return boundary


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: m[1] if m[1] in _QUOTABLE else m[0], text, flags=re.DOTALL)
