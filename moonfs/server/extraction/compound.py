"""OLE compound files: what Office wrote before 2007, told apart by what is inside, opened within bounds.

The way into `.doc`, `.dot`, `.xls` and `.ppt`, whatever the name says; the readers do their own reading. An
Office file that is protected by a password is a compound file as well, its name ending in `x` or not.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

import olefile

from moonfs.server.extraction.document import Document, NoText, Output, Why

#: Bytes of one stream that are read: no more than a whole upload can hold.
MAX_STREAM_BYTES: Final = 128 * 1024**2

#: The stream that tells a format, and the module that reads it.
_BY_STREAM: Final = {
    "WordDocument": "word97",
    "PowerPoint Document": "slides97",
    "Workbook": "sheets97",
    "Book": "sheets97",
}


def read(document: Document, output: Output) -> None:
    """Read a compound file of any of the three kinds."""
    with Compound(document.path) as compound:
        module = importlib.import_module(f"moonfs.server.extraction.{compound.kind()}")
        read_compound: Callable[[Compound, Document, Output], None] = module.read
        read_compound(compound, document, output)


class Compound:
    """One compound file; a context manager.

    Args:
        path: where it is.

    Raises:
        OSError: it is damaged (what olefile raises has no errno).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = olefile.OleFileIO(path)

    def __enter__(self) -> Compound:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def kind(self) -> str:
        """Return the module that reads it. Raises NoText for one that nobody reads, or that a password protects."""
        if self.has("EncryptedPackage") or self.has("EncryptionInfo"):
            raise NoText(Why.PASSWORD)
        for name, module in _BY_STREAM.items():
            if self.has(name):
                return module
        raise NoText(Why.UNSUPPORTED)

    def has(self, name: str) -> bool:
        """Say whether there is a stream of this name at the top."""
        return bool(self._file.get_type(name) == olefile.STGTY_STREAM)

    def stream(self, name: str) -> bytes:
        """Return a whole stream. Raises NoText when there is none, or when it is too large to be true."""
        if not self.has(name):
            raise NoText
        if self._file.get_size(name) > MAX_STREAM_BYTES:
            raise NoText(Why.TOO_LARGE)
        with self._file.openstream(name) as stream:
            content: bytes = stream.read()
        return content
