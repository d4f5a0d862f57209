"""Where a drive writes what it does: its log of 0600, and with `-f` the terminal.

**Threading:** set up by the main thread before any other; logging has locks of its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Any

from moonfs import wording


def to_terminal(*, debug: bool) -> None:
    """Log to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s"))
    _quiet_libraries()


def to_file(path: Path, *, debug: bool, alone: bool) -> None:
    """Log to `path` (0600, 2 × 1 MiB); `alone`, send there too what libfuse and Python print."""
    for made in (path, path.with_name(f"{path.name}.1")):  # earlier versions left the second one open to others
        with contextlib.suppress(FileNotFoundError):
            made.chmod(0o600)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    handler = _Rotating(path, maxBytes=1024**2, backupCount=1, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if not alone:
        logging.getLogger().addHandler(handler)
        return
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.INFO, force=True)
    _quiet_libraries()
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


class _Rotating(logging.handlers.RotatingFileHandler):
    """Puts the file aside when it is full, of whosever words: since Python 3.13 the handler counts its own alone."""

    def _open(self) -> io.TextIOWrapper:
        """Open the next one, as the first: for the owner only, whatever the umask (X2)."""
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_for_the_owner)

    def shouldRollover(self, record: logging.LogRecord) -> int:  # noqa: N802 - logging's name
        if self.stream is None:  # it could not be opened again
            self.stream = self._open()
        size = os.fstat(self.stream.fileno()).st_size
        return size > 0 and size + len(self.format(record)) >= self.maxBytes


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class _Printable(logging.Formatter):
    """One line a message, whatever names of files are in it, and no command to a terminal, in tracebacks neither."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = wording.printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(map(wording.printable, super().formatException(ei).split("\n")))


class _Lines(_Printable):
    """With its time and offset, as in every file."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return wording.stamp(record.created, fine=True)


def _quiet_libraries() -> None:
    for name in ("httpx", "httpcore", "fuse"):
        logging.getLogger(name).setLevel(logging.WARNING)
