"""Originals that were written through this machine: content-addressed by SHA-256, bounded, least recently used out.

The API never gives an original back, so this store is the only place to read one from (R5). It holds complete,
immutable files named by their hash; it knows no ids and no names.

**Threading:** one lock around the index; descriptors that `open` returned stay valid when the file is evicted.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
#: What the name of a copy under way ends in.
_PART: Final = ".part"


class Originals:
    """The store of one account on one machine.

    Attributes:
        capacity: bytes on disk at the most.
    """

    def __init__(self, directory: Path, capacity: int) -> None:
        """Index `directory`; `capacity` is in bytes."""
        self._directory = directory
        self.capacity = capacity
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._verified: set[str] = set()
        self._used = 0
        entries = []
        for entry in os.scandir(directory):
            if entry.name.endswith(_PART) and len(entry.name) == 64 + len(_PART):
                _remove(entry.path)  # a copy that a crash cut off
            elif len(entry.name) == 64 and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                entries.append((status.st_mtime_ns, entry.name, status.st_size))
        for _, sha256, size in sorted(entries):
            self._sizes[sha256] = size
            self._used += size
        with self._lock:
            self._evict()

    def __contains__(self, sha256: str | None) -> bool:
        return sha256 in self._sizes

    @property
    def used(self) -> int:
        """Bytes on disk."""
        return self._used

    @property
    def count(self) -> int:
        """Originals on disk."""
        return len(self._sizes)

    def adopt(self, path: Path, sha256: str, size: int) -> None:
        """Move the file at `path`, whose hash and size were just computed, into the store.

        It replaces bytes of that hash which were not verified yet: they may be damaged. A file larger than the
        whole store is deleted instead.

        Raises:
            OSError: the local disk refuses.
        """
        with self._lock:
            if sha256 in self._verified or size > self.capacity:
                path.unlink(missing_ok=True)
                return
            try:
                os.replace(path, self._directory / sha256)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # State and cache are on different filesystems.
                self._copy(path, sha256)
            _remove(path)  # rename(2) does nothing where both names are one file, such as one that was shared
            _touch(self._directory / sha256)
            self._enter(sha256, size)

    def copy(self, path: Path, sha256: str, size: int) -> None:
        """Copy the file at `path`, which `adopt` is to move later, and whose hash and size were just computed.

        Raises:
            OSError: the local disk refuses.
        """
        with self._lock:
            if sha256 not in self._verified and size <= self.capacity:
                self._copy(path, sha256)
                self._enter(sha256, size)

    def keep(self, data: bytes, sha256: str) -> None:
        """Put bytes, whose hash was just computed, into the store; as `adopt`.

        Raises:
            OSError: the local disk refuses.
        """
        part = self._directory / f"{sha256}{_PART}"
        _remove(part)
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
            self.adopt(part, sha256, len(data))
        finally:
            _remove(part)

    def share(self, path: Path, sha256: str, size: int) -> bool:
        """Keep the bytes at `path`, whose hash and size were just computed, while the caller goes on using that name.

        They must not be written to any more. Returns False where that takes more than a link: `adopt` them later.
        """
        with self._lock:
            if sha256 in self._verified or size > self.capacity:
                return False
            target = self._directory / sha256
            try:
                _remove(target)
                os.link(path, target)
            except OSError as error:
                log.debug("An original cannot be linked: %s", error)
                self._forget(sha256)
                return False
            self._enter(sha256, size)
            return True

    def open(self, sha256: str) -> int | None:
        """Return a read-only descriptor of the original, or None when it is not (or no longer whole) here.

        The hash is verified once per run; damaged bytes are deleted and never returned (tenet 3).
        """
        path = self._directory / sha256
        with self._lock:
            if sha256 not in self._sizes:
                return None
            self._sizes.move_to_end(sha256)
            verified = sha256 in self._verified
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.discard(sha256)
            return None
        except OSError as error:  # no descriptor left, say: that is no reason to lose it
            log.warning("Cannot open an original: %s", error)
            return None
        try:
            whole = verified or _sha256(fd) == sha256
        except OSError as error:
            log.warning("Cannot read an original: %s", error)
            os.close(fd)
            return None
        if not whole:
            os.close(fd)
            with self._lock:
                replaced = sha256 in self._verified
                if not replaced:
                    self._drop(sha256)
            return self.open(sha256) if replaced else None
        with self._lock:
            if sha256 in self._sizes:
                self._verified.add(sha256)
        _touch(fd)
        return fd

    def discard(self, sha256: str) -> None:
        """Drop one original."""
        with self._lock:
            self._drop(sha256)

    def _copy(self, path: Path, sha256: str) -> None:
        part = self._directory / f"{sha256}{_PART}"
        _remove(part)
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            shutil.copyfile(path, part)
            os.replace(part, self._directory / sha256)
        except BaseException:
            _remove(part)
            raise

    def _enter(self, sha256: str, size: int) -> None:
        self._used += size - self._sizes.pop(sha256, 0)
        self._sizes[sha256] = size
        self._verified.add(sha256)
        self._evict()

    def _evict(self) -> None:
        while self._used > self.capacity and self._sizes:
            self._drop(next(iter(self._sizes)))

    def _drop(self, sha256: str) -> None:
        if self._forget(sha256):
            _remove(self._directory / sha256)

    def _forget(self, sha256: str) -> bool:
        size = self._sizes.pop(sha256, None)
        if size is None:
            return False
        self._used -= size
        self._verified.discard(sha256)
        return True


def _sha256(fd: int) -> str:
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _touch(file: int | Path) -> None:
    """Remember across mounts that it was used just now."""
    try:
        os.utime(file)
    except OSError:  # a read-only or full disk must not stop a read
        pass


def _remove(path: str | Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("Cannot remove %s: %s", path, error.strerror)
