"""A multipart body (RFC 2046, RFC 7578) as it comes in, piece by piece, in constant memory.

As tolerant as Go's reader of forms, which the service seems to be written with: there may be a preamble before the
first boundary and an epilogue after the last, and a form whose first boundary line ends in a bare LF has bare LFs
throughout. Lines of headers may end either way. What follows a boundary on its line, other than spaces, makes it no
boundary but data. It knows no fields and no files (`upload` does).

**Threading:** a `Multipart` belongs to one request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

#: Bytes that may come before the first boundary.
MAX_PREAMBLE: Final = 64 * 1024
#: Bytes of the headers of one part.
MAX_HEADERS: Final = 64 * 1024
#: Spaces after a boundary ("transport padding"), at most.
_MAX_PADDING: Final = 1024
#: RFC 9110, 5.6.2: what a header is called.
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: What makes a boundary of what looks like one: the mark of the last one, or nothing but spaces.
_AFTER: Final = re.compile(rb"(--)(?=[ \t\r\n])|[ \t]*+\r?\n")

Headers = list[tuple[str, bytes]]


class MalformedForm(ValueError):
    """It is no multipart body."""


class _At(Enum):
    PREAMBLE = 1
    HEADERS = 2
    DATA = 3
    EPILOGUE = 4


class Multipart:
    """Takes the pieces of a body, and tells what is in it.

    Args:
        boundary: of the request's header; ASCII, not empty.
        on_part: called with the headers of each part, names in lower case.
        on_data: called with the bytes of that part, piece by piece.
    """

    def __init__(self, boundary: str, on_part: Callable[[Headers], None], on_data: Callable[[bytes], None]) -> None:
        self._dashes = b"--" + boundary.encode("ascii")
        self._delimiter = b"\r\n" + self._dashes
        self._on_part, self._on_data = on_part, on_data
        self._at = _At.PREAMBLE
        self._is_fresh = False
        self._waiting = bytearray()

    @property
    def is_finished(self) -> bool:
        """Whether the last boundary has come."""
        return self._at is _At.EPILOGUE

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises MalformedForm."""
        self._waiting += chunk
        steps = {
            _At.PREAMBLE: self._preamble,
            _At.HEADERS: self._headers,
            _At.DATA: self._data,
            _At.EPILOGUE: self._epilogue,
        }
        while steps[self._at]():
            pass

    def finish(self) -> None:
        """Take the end of the body, which may come right after the last boundary."""
        last = b"--"
        if self._at is _At.DATA and self._waiting in (self._delimiter + last, self._dashes + last):
            if self._waiting.startswith(self._delimiter) or self._is_fresh:
                self._at = _At.EPILOGUE
        elif self._at is _At.PREAMBLE and self._waiting == self._dashes + last:
            self._at = _At.EPILOGUE

    def _preamble(self) -> bool:
        """Look for the first boundary, at the beginning of a line; say whether to go on."""
        at = -1
        while (at := self._waiting.find(self._dashes, at + 1)) >= 0:
            if at > MAX_PREAMBLE:
                raise MalformedForm("no boundary for too long")
            if at and self._waiting[at - 1 : at] != b"\n":
                continue
            end = self._line_after(at + len(self._dashes))
            if end is None:
                return False
            if end:
                if self._waiting[end - 2 : end] != b"\r\n":
                    self._delimiter = b"\n" + self._dashes
                del self._waiting[:end]
                return True
        if len(self._waiting) > MAX_PREAMBLE + len(self._dashes) + _MAX_PADDING:
            raise MalformedForm("no boundary for too long")
        return False

    def _headers(self) -> bool:
        """Take the headers of a part once all of them are there."""
        block = bytes(self._waiting[: MAX_HEADERS + 1])
        headers: Headers = []
        at = 0
        while (end := block.find(b"\n", at)) >= 0:
            line = block[at:end].removesuffix(b"\r")
            at = end + 1
            if not line:
                del self._waiting[:at]
                self._at, self._is_fresh = _At.DATA, True
                self._on_part(headers)
                return True
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name):
                raise MalformedForm("a line that is no header")
            headers.append((name.decode("ascii").lower(), value.strip()))
        if len(block) > MAX_HEADERS:
            raise MalformedForm("too long headers")
        return False

    def _data(self) -> bool:
        """Hand on what is surely data; say whether a boundary has ended the part."""
        begin = 0
        if self._is_fresh:  # a part without a byte may end right after its headers
            if len(self._waiting) < len(self._dashes):
                if self._dashes.startswith(self._waiting):
                    return False
            elif self._waiting.startswith(self._dashes):
                end = self._line_after(len(self._dashes))
                if end is None:
                    return False
                if end:
                    del self._waiting[:end]
                    return True
            self._is_fresh = False
        while True:
            at = self._waiting.find(self._delimiter, begin)
            if at < 0:
                self._hand_on(max(begin, len(self._waiting) - len(self._delimiter) + 1))
                return False
            end = self._line_after(at + len(self._delimiter))
            if end is None:
                self._hand_on(at)
                return False
            if end:
                self._hand_on(at)
                del self._waiting[: end - at]
                return True
            begin = at + 1

    def _epilogue(self) -> bool:
        """Throw away what comes after the last boundary."""
        self._waiting.clear()
        return False

    def _hand_on(self, size: int) -> None:
        if size > 0:
            self._on_data(bytes(self._waiting[:size]))
            del self._waiting[:size]

    def _line_after(self, at: int) -> int | None:
        """Return where the line of a boundary that ends at `at` ends; 0 where it is none, None where more must come.

        What comes next is known then: headers, or nothing.
        """
        found = _AFTER.match(self._waiting, at)
        if found is not None:
            self._at = _At.EPILOGUE if found[1] else _At.HEADERS
            return found.end()
        rest = bytes(self._waiting[at : at + _MAX_PADDING])
        if rest in (b"-", b"--"):
            return None
        if rest.isspace() and len(rest) == _MAX_PADDING:
            raise MalformedForm("a boundary without an end")
        return None if rest.lstrip(b" \t") in (b"", b"\r") else 0
