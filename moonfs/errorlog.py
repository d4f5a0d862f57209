"""The record of failures that people can read later: `errors.ndjson`, one JSON object a line (E1).

Every errno that is returned for a remote reason leaves one line: time, operation, name, errno, HTTP status,
request id, the service's message, and the same in plain English. It holds no keys and is bounded.

**Threading:** one lock around the file; any thread may record.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from moonfs.errors import MoonfsError, plain_english

log = logging.getLogger(__name__)

#: Lines that are kept and shown.
KEPT: Final = 1000
_MAX_BYTES: Final = 4 * 1024**2


class ErrorLog:
    """The failures of one account on one machine."""

    def __init__(self, path: Path) -> None:
        """Continue the file at `path` (0600)."""
        self._path = path
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT)
        try:
            self._lines.extend(path.read_text(encoding="utf-8", errors="replace").splitlines())
        except FileNotFoundError:
            pass

    def record(self, operation: str, name: str, errno_name: str, error: MoonfsError) -> None:
        """Add one line; a full disk loses it from the file, never from `text`."""
        line = (
            json.dumps(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "operation": operation,
                    "name": name,
                    "errno": errno_name,
                    "http_status": error.status,
                    "request_id": error.request_id,
                    "service_message": error.service_message,
                    "message": plain_english(str(error)),
                },
                ensure_ascii=False,
            )
            .encode(errors="replace")
            .decode()
        )
        with self._lock:
            self._lines.append(line)
            try:
                if self._path.exists() and self._path.stat().st_size > _MAX_BYTES:
                    os.replace(self._path, self._path.with_suffix(".old.ndjson"))
                fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "w", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as problem:
                log.warning("Cannot write %s: %s", self._path, problem.strerror)

    def text(self) -> bytes:
        """Return the kept lines."""
        with self._lock:
            return "".join(line + "\n" for line in self._lines).encode()

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the newest `count` records, newest last."""
        with self._lock:
            lines = list(self._lines)[-count:]
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:  # a line cut by a full disk
                continue
        return records
