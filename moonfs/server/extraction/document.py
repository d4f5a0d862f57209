"""What a reader is given, what it writes to, and how it says that there is nothing to read.

The vocabulary between `worker` and the readers; it reads no format itself.

**Threading:** one document at a time, in the one thread of a worker.
"""

from __future__ import annotations

import contextlib
import re
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
_FLUSH_SECONDS: Final = 1.0


class Why(StrEnum):
    """Why a document gives no text: for the log, and for the details of a file that is stored without its text."""

    EMPTY = "it holds no text"
    PASSWORD = "it is protected by a password"  # noqa: S105 - a reason, no secret
    DRM = "its text is encrypted for one reader (DRM)"
    CORRUPT = "it is damaged or not what its name says"
    TOO_LARGE = "it unpacks to more than is read"
    UNSUPPORTED = "it is of a kind that is not read"
    MEMORY = "reading it needs too much memory"
    LATE = "reading it takes too long"


class NoText(Exception):
    """The observed 400: there is nothing that could be extracted.

    Args:
        why: which of the reasons.
    """

    def __init__(self, why: Why = Why.CORRUPT) -> None:
        super().__init__(why.value)
        self.why = why


class NeedsOcr(Exception):
    """There may be text in pictures, or more of it than this worker is for: to be read again by the next kind."""


class Full(Exception):
    """The output has taken all it takes; the worker catches it."""


class Late(BaseException):
    """The time is up, whatever a reader does: raised in the midst of it. No reader catches it, the worker does."""


#: Pixels that one document may have unpacked and recognised: so many however short its file is, which is a photograph
#: and more, and so many for each byte. A sheet of A4 at 600 dpi has 35 million, in 20 KB or more if it is no blank one;
#: blank ones are unpacked only.
_UNPACKED: Final = (500_000_000, 15_000)
_RECOGNISED: Final = (48_000_000, 3_000)
#: Of a document for the workers that read what is small: two pages, a photograph, a picture of a screen.
_FEW_UNPACKED: Final = 60_000_000
_FEW_RECOGNISED: Final = 13_000_000


class Budget:
    """How much work one document is worth, counted before it is done: in pixels, since a few bytes may be millions.

    Args:
        size: bytes of its file.
        is_small: it is read where small documents are: what is larger is left to other workers.
    """

    def __init__(self, size: int, *, is_small: bool = False) -> None:
        self._unpacked, self._recognised = (least + size * each for least, each in (_UNPACKED, _RECOGNISED))
        self.is_small = is_small
        self._few_unpacked, self._few_recognised = _FEW_UNPACKED, _FEW_RECOGNISED

    def foresee(self, pixels: int) -> None:
        """Tell how much there will be to recognise at most. Raises NeedsOcr when other workers should."""
        if self.is_small and pixels > self._few_recognised:
            raise NeedsOcr

    def unpack(self, pixels: int) -> None:
        """Pay for pixels that are to be unpacked. Raises NoText, or NeedsOcr."""
        self._unpacked -= pixels
        self._few_unpacked -= pixels
        self._judge(self._unpacked, self._few_unpacked)

    def recognise(self, pixels: int) -> None:
        """Pay for pixels that are to be recognised, which are not blank. Raises NoText, or NeedsOcr."""
        self._recognised -= pixels
        self._few_recognised -= pixels
        self._judge(self._recognised, self._few_recognised)

    def _judge(self, left: int, few_left: int) -> None:
        if left < 0:
            raise NoText(Why.TOO_LARGE)
        if self.is_small and few_left < 0:
            raise NeedsOcr

    @contextlib.contextmanager
    def cpu(self, seconds: int) -> Iterator[None]:
        """Have the kernel end this process when what is done here takes more seconds of CPU."""
        soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        end = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
        if soft == resource.RLIM_INFINITY or end < soft:
            resource.setrlimit(resource.RLIMIT_CPU, (end, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@dataclass(frozen=True, slots=True)
class Document:
    """The document to read.

    Attributes:
        path: where its bytes are; never tells anything about the name.
        extension: of the name, lower case with the dot.
        recognise: text of a picture; None in a light worker.
        deadline: `time.monotonic()` at which to stop and say so.
        report: told (parts done, parts in all) by readers that take long, such as pages under OCR.
        budget: how much work it is worth.
    """

    path: str
    extension: str
    recognise: Callable[[Image], str] | None
    deadline: float
    report: Callable[[int, int], None] = lambda _done, _total: None
    budget: Budget = field(default_factory=lambda: Budget(0))

    def head(self, size: int = 4096) -> bytes:
        """Return the first bytes."""
        with open(self.path, "rb") as stream:
            return stream.read(size)

    def is_late(self) -> bool:
        """Say whether it is time to stop. Raises NeedsOcr where other workers have more of it."""
        is_late = time.monotonic() >= self.deadline
        if is_late and self.budget.is_small:
            raise NeedsOcr
        return is_late


class Output:
    """The text so far, written as a JSON string, so that no process ever holds a long answer in memory.

    Args:
        stream: takes the string, in UTF-8, quotes included.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MAX_CHARACTERS
        self._why = ""
        self._flushed = time.monotonic()
        self.has_text = False
        #: It is in the midst of a character, and no time to be interrupted.
        self.is_writing = False
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

    def flush(self) -> None:
        """Have what is written outlive this process: before what may end it."""
        self._stream.flush()
        self._flushed = time.monotonic()

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
            self.is_writing = True
            self._stream.write(wire.dump(block)[1:-1])
            self.is_writing = False
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()
