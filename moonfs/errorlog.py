"""The record of failures that people can read later: `errors.ndjson`, one JSON object a line (E1).

Every errno that is returned for a remote reason leaves one line: time with its offset, operation, name, errno, HTTP
status, request id, the service's message, the same in plain English, and what a person can do next. So does what the
drive refuses by itself, such as a rename of bytes that are not here, but not over and over: who goes through a whole
drive (`grep -r`, a file manager) is refused at every file. It holds no keys and is bounded; a person can clear it.

**Threading:** one lock around the file; any thread may record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

from moonfs import wording
from moonfs.errors import MoonfsError, is_refusal, next_step
from moonfs.names import SIDECAR

log = logging.getLogger(__name__)

#: Lines that are kept and shown.
KEPT: Final = 1000
_MAX_BYTES: Final = 4 * 1024**2
#: Files whose refusal by the drive is recorded, for one operation and reason, within so many seconds; each file once.
_REFUSALS: Final = 20
_SECONDS: Final = 60.0
#: What is over once a file of the name has arrived, and once its text can be had.
_WRITING: Final = frozenset({"create", "write", "truncate", "flush", "fsync", "release", "upload"})
_READING: Final = frozenset({"open", "read"})
#: The key of a line that is no failure: it names a file whose failures before it are over.
OVER: Final = "over"


class ErrorLog:
    """The failures of one account on one machine."""

    def __init__(self, path: Path) -> None:
        """Continue the file at `path` (0600)."""
        self._path = path
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._refused: dict[tuple[str, str], tuple[float, set[str]]] = {}  # since when, and which files
        self._taken = 0  # lines, ever: the number of the next one
        self._over: set[int] = set()  # the numbers of lines that are over
        self._named: set[str] = set()  # files that have lines
        try:
            # "\n" alone ends a line: JSON leaves U+2028 and its like in names as they are.
            lines = path.read_bytes().decode(errors="replace").split("\n")
            for line in lines:
                self._take(line)
        except FileNotFoundError:
            pass
        except OSError as problem:
            log.warning("Cannot read %s: %s", path, problem.strerror)

    def record(self, operation: str, name: str, errno_name: str, error: MoonfsError) -> bool:
        """Add one line; a full disk loses it from the file, never from `text`.

        Returns:
            False for a refusal of the drive's own that would only repeat what is recorded.
        """
        if is_refusal(error) and self._is_told(operation, name, error):
            return False
        line = wording.to_json(
            {
                "time": wording.stamp(),
                "operation": operation,
                "name": name,
                "errno": errno_name,
                "http_status": error.status,
                "request_id": error.request_id,
                "service_message": error.service_message,
                "message": str(error),
                "next": next_step(error),
            }
        )
        with self._lock:
            self._take(line)
            self._write(line)
        return True

    def over(self, name: str) -> None:
        """Note that a file has arrived, so that what of it failed before needs nothing more; the lines stay."""
        with self._lock:
            if name in self._named and self._end(name):
                self._write(json.dumps({OVER: name}, ensure_ascii=False).encode(errors="replace").decode())

    def _take(self, line: str) -> None:
        """Take over a line of the file; the lock is held, or nobody else is there yet."""
        record = _parsed(line)
        if isinstance(over := record.get(OVER), str):
            self._end(over)
        elif line:
            self._lines.append(line)
            self._taken += 1
            self._named.add(_file(record))

    def _end(self, name: str) -> bool:
        """Mark the failures of a file as over, and say whether there were any."""
        first = self._taken - len(self._lines)
        self._over = {number for number in self._over if number >= first}
        before = len(self._over)
        for number, line in enumerate(self._lines, first):
            record = _parsed(line)
            if _file(record) == name and record.get("operation") in _WRITING | _READING:
                self._over.add(number)
        self._named = {_file(_parsed(line)) for line in self._lines} - {name}
        return len(self._over) > before

    def _write(self, line: str) -> None:
        """Add a line to the file; the lock is held."""
        try:
            if self._path.exists() and self._path.stat().st_size > _MAX_BYTES:
                os.replace(self._path, self._path.with_suffix(".old.ndjson"))
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "r+b", buffering=0) as file:
                size = os.fstat(fd).st_size
                cut = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # by a crash or a full disk
                file.write(b"\n" * cut + line.encode() + b"\n")
        except OSError as problem:
            log.warning("Cannot write %s: %s", self._path, problem.strerror)

    def _is_told(self, operation: str, name: str, error: MoonfsError) -> bool:
        """Say whether a refusal is recorded already, of this file or of enough others; if not, it is from now on."""
        kind, now = (operation, type(error).__name__), time.monotonic()
        with self._lock:
            began, seen = self._refused.get(kind, (now, set()))
            if now - began > _SECONDS:
                began, seen = now, set()
            self._refused[kind] = began, seen
            if name in seen or len(seen) >= _REFUSALS:
                return True
            seen.add(name)
            return False

    def clear(self, keep: Container[str] = ()) -> int:
        """Forget all failures but the newest one of each file in `keep`, and return how many are left.

        Raises:
            OSError: the file cannot be written; then everything is as it was.
        """
        with self._lock:
            newest: dict[str, str] = {}
            for line in self._lines:
                name = _parsed(line).get("name")
                if isinstance(name, str) and name in keep:
                    newest.pop(name, None)
                    newest[name] = line
            if self._path.exists():
                new = self._path.with_name(f".{self._path.name}.new")
                fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write("".join(f"{line}\n" for line in newest.values()).encode())
                os.replace(new, self._path)
            self._path.with_suffix(".old.ndjson").unlink(missing_ok=True)
            self._lines.clear()
            self._lines.extend(newest.values())
            self._refused.clear()
            self._over.clear()
            self._named = set(newest)
            return len(newest)

    def text(self) -> bytes:
        """Return the kept lines."""
        with self._lock:
            return "".join(line + "\n" for line in self._lines).encode()

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the newest `count` records of what is not over, newest last."""
        with self._lock:
            first = self._taken - len(self._lines)
            lines = [line for number, line in enumerate(self._lines, first) if number not in self._over][-count:]
        return [record for record in map(_parsed, lines) if record]


def _parsed(line: str) -> dict[str, Any]:
    """Return the record in a line; an empty one where a full disk has cut it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _file(record: dict[str, Any]) -> str:
    """Return the name of the file that a record is about; of the file itself, where its text could not be read."""
    name = str(record.get("name", ""))
    return name.removesuffix(SIDECAR) if record.get("operation") in _READING else name
