"""What a reader is given, what it writes to, and how it says that there is nothing to read.

The vocabulary between `worker` and the readers; it reads no format itself.

**Threading:** one document at a time, in the one thread of a worker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Final

from moonfs import wire

if TYPE_CHECKING:
    from PIL.Image import Image

#: Characters of text that are kept of a document; plain text is kept whole.
MAX_CHARACTERS: Final = 20_000_000
#: How a cut is told, as the last line of the text.
CUT: Final = "\n\n[The text is cut here: {why}.]"

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_BLOCK: Final = 1 << 20


class Why(StrEnum):
    """Why a document gives no text: for the log, and for the details of a file that is stored without its text."""

    EMPTY = "it holds no text"
    PASSWORD = "it is protected by a password"  # noqa: S105 - a reason, no secret
    DRM = "its text is encrypted for one reader (DRM)"
    CORRUPT = "it is damaged or not what its name says"
    TOO_LARGE = "it unpacks to more than is read"
    UNSUPPORTED = "it is of a kind that is not read"


class NoText(Exception):
    """The observed 400: there is nothing that could be extracted.

    Args:
        why: which of the reasons.
    """

    def __init__(self, why: Why = Why.CORRUPT) -> None:
        super().__init__(why.value)
        self.why = why


class NeedsOcr(Exception):
    """There may be text in pictures; to be read again by a worker with OCR."""


class Full(Exception):
    """The output has taken all it takes; the worker catches it."""


@dataclass(frozen=True, slots=True)
class Document:
    """The document to read.

    Attributes:
        path: where its bytes are; never tells anything about the name.
        extension: of the name, lower case with the dot.
        recognise: text of a picture; None in a light worker.
        deadline: `time.monotonic()` at which to stop and say so.
        report: told (parts done, parts in all) by readers that take long, such as pages under OCR.
    """

    path: str
    extension: str
    recognise: Callable[[Image], str] | None
    deadline: float
    report: Callable[[int, int], None] = lambda _done, _total: None

    def head(self, size: int = 4096) -> bytes:
        """Return the first bytes."""
        with open(self.path, "rb") as stream:
            return stream.read(size)

    def is_late(self) -> bool:
        """Say whether it is time to stop."""
        return time.monotonic() >= self.deadline


class Output:
    """The text so far, written as a JSON string, so that no process ever holds a long answer in memory.

    Args:
        stream: takes the string, in UTF-8, quotes included.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MAX_CHARACTERS
        self._why = ""
        self.has_text = False
        self._stream.write(b'"')

    def whole(self, text: str) -> None:
        """Write plain text, however long, exactly as it is."""
        self._write(text)

    def add(self, text: str) -> None:
        """Write the next piece of a document. Raises Full when it takes no more."""
        self._write(text[: self._left])
        self._left -= len(text)
        if self._left < 0:
            self.cut(f"only the first {MAX_CHARACTERS:,} characters are kept")

    def line(self, text: str) -> None:
        """Write one line, unless it is blank."""
        text = text.strip("\n")
        if text.strip():
            self.add(text + "\n")

    def note_cut(self, why: str) -> None:
        """Remember that something was left out; the text ends with the reason."""
        self._why = self._why or why

    def cut(self, why: str) -> None:
        """Leave out the rest. Raises Full."""
        self.note_cut(why)
        raise Full

    def close(self) -> None:
        """End the string."""
        if self._why and self.has_text:
            self._write(CUT.format(why=self._why))
        self._stream.write(b'"')

    def _write(self, text: str) -> None:
        if _SURROGATES.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK]
            self.has_text = self.has_text or not block.isspace()
            self._stream.write(wire.dump(block)[1:-1])
