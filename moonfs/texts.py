"""Texts on this disk, by id: bounded in bytes, least recently used out, whole or not at all (R2).

A file holds exactly the text; its name holds the id, the length and the SHA-256 of it. So a copy that a crash or a
full disk cut short, and one that the disk has spoilt, is found out when it is opened first, and fetched again.
Nothing is synced: what a power cut takes is only fetched again. It never fills its disk: when that gets full, texts
make room for whatever else is written there. It knows no names, no listing and no service.

**Threading:** one lock around the index; descriptors that `open` returned stay valid when the text is evicted.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from moonfs import disk
from moonfs.wire import Body

log = logging.getLogger(__name__)

#: What the name of a text on its way begins with; no id does.
_PART: Final = ".part-"
#: Between id, length and hash; in none of them.
_SEPARATOR: Final = "~"
_CHUNK: Final = 1024 * 1024
#: Bytes of a text, while none is known.
_USUAL_SIZE: Final = 64 * 1024


@dataclass(slots=True)
class _Entry:
    """One text: its name in the directory, its bytes, and whether this run has checked them."""

    name: str
    size: int
    checked: bool = False


class Texts:
    """The texts of one account on one machine's disk."""

    def __init__(self, directory: Path, capacity: int) -> None:
        """Index `directory`, which is this store's alone; `capacity` is in bytes."""
        self._directory = directory
        self._capacity = capacity
        self._lock = Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._used = 0
        # A directory that two runs share by mistake has no part of one that the other takes for its own.
        self._run = f"{secrets.token_hex(4)}-"
        self._numbers = itertools.count()
        for file_id, entry in _index(directory):
            self._take_in(file_id, entry)
        self._evict()

    def __contains__(self, file_id: str) -> bool:
        return file_id in self._entries

    @property
    def used(self) -> int:
        """Bytes on disk."""
        return self._used

    @property
    def fit(self) -> int:
        """How many more texts may come before the first of them is evicted by the others: half of what fits."""
        average = self._used // len(self._entries) if self._entries else _USUAL_SIZE
        return self._capacity // 2 // max(average, 1)

    def sizes(self) -> dict[str, int]:
        """Return the length of every text here, by id."""
        with self._lock:
            return {file_id: entry.size for file_id, entry in self._entries.items()}

    def open(self, file_id: str) -> tuple[int, int] | None:
        """Return (read-only descriptor, length) of a text; None when it is not here, or not whole any more.

        Length and hash are checked once per run. The descriptor is the caller's.
        """
        with self._lock:
            entry = self._entries.get(file_id)
            if entry is None:
                return None
            self._entries.move_to_end(file_id)
        try:
            fd = os.open(f"{self._directory}/{entry.name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._lose(file_id, entry)
            return None
        except OSError as error:  # no descriptor left, say: the text may be here all the same
            log.warning("Cannot open a text: %s", error)
            return None
        if entry.checked:
            return fd, entry.size
        try:
            whole = _holds(fd, entry)
        except OSError as error:
            log.warning("Cannot read a text: %s", error)
            whole = False
        if not whole:
            os.close(fd)
            log.warning("The text of %s on this disk is damaged and will be fetched again", file_id)
            self._lose(file_id, entry)
            return None
        entry.checked = True
        with suppress(OSError):  # a disk that is read-only or full must not stop a read
            os.utime(fd)  # used: the next run evicts others first
        return fd, entry.size

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._directory

    def put(self, file_id: str, text: Body) -> bool:
        """Keep a text; False when it is larger than the whole store or than what the disk can spare, or it refuses."""
        if len(text) > self._capacity or not self._make_room(len(text)):
            return False
        name = _SEPARATOR.join((file_id, str(len(text)), hashlib.sha256(text).hexdigest()))
        part = f"{self._directory}/{_PART}{self._run}{next(self._numbers)}"
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write(fd, text)
            finally:
                os.close(fd)
            os.rename(part, f"{self._directory}/{name}")
        except OSError as error:
            log.warning("Cannot keep a text on this disk: %s", error)
            with suppress(OSError):
                os.unlink(part)
            return False
        with self._lock:
            self._take_in(file_id, _Entry(name, len(text), checked=True))
            self._evict()
        return True

    def respell(self, key: Callable[[str], str]) -> None:
        """Have each text by `key(id)`, whatever spelling of its id it was kept by (`spellings`)."""
        with self._lock:
            for old in [each for each in self._entries if key(each) in self._entries and key(each) != each]:
                self._drop(old)
            self._entries = OrderedDict((key(old), entry) for old, entry in self._entries.items())

    def forget(self, file_id: str) -> None:
        """Drop a text, if it is here."""
        with self._lock:
            self._drop(file_id)

    def _lose(self, file_id: str, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(file_id) is entry:
                self._drop(file_id)

    def _take_in(self, file_id: str, entry: _Entry) -> None:
        old = self._entries.pop(file_id, None)
        if old is not None:
            self._used -= old.size
            if old.name != entry.name:
                self._unlink(old)
        self._entries[file_id] = entry
        self._used += entry.size

    def _make_room(self, size: int) -> bool:
        """Evict what has to go so that the disk can spare `size` bytes; say whether it can."""
        try:
            lacking = size - disk.spare(self._directory)
        except OSError as error:
            log.warning("Cannot keep a text on this disk: %s", error)
            return False
        with self._lock:
            if lacking > self._used:
                log.warning("No text is kept: the disk of %s is nearly full", self._directory)
                return False
            goal = self._used - lacking
            while self._entries and self._used > goal and lacking > 0:
                self._drop(next(iter(self._entries)))
        return True

    def _evict(self) -> None:
        while self._used > self._capacity:
            self._drop(next(iter(self._entries)))

    def _drop(self, file_id: str) -> None:
        entry = self._entries.pop(file_id, None)
        if entry is not None:
            self._used -= entry.size
            self._unlink(entry)

    def _unlink(self, entry: _Entry) -> None:
        try:
            os.unlink(f"{self._directory}/{entry.name}")
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("Cannot remove a text: %s", error)


def _index(directory: Path) -> Iterator[tuple[str, _Entry]]:
    """Yield (id, entry) of what an earlier run left, least recently used first; what was under way is removed."""
    found = []
    for each in os.scandir(directory):
        parts = each.name.split(_SEPARATOR)
        with suppress(OSError):
            if each.name.startswith(_PART):
                os.unlink(each.path)
            elif len(parts) == 3 and parts[1].isdecimal():
                status = each.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_size == int(parts[1]):
                    found.append((status.st_mtime_ns, parts[0], _Entry(each.name, status.st_size)))
                else:
                    os.unlink(each.path)  # cut short, say
    for _, file_id, entry in sorted(found, key=lambda item: item[0]):
        yield file_id, entry


def _holds(fd: int, entry: _Entry) -> bool:
    """Say whether the file behind `fd` is what its name says."""
    _, size, sha256 = entry.name.split(_SEPARATOR)
    if entry.size != int(size):
        return False
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return offset == entry.size and digest.hexdigest() == sha256


def _write(fd: int, text: Body) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(fd, left) :]
