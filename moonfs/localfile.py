"""A file whose newest bytes are here: being written, waiting, or kept on this machine only.

It holds the bytes (in the spool), counts their generations and knows which of them the service has. It does not
know how they get there, nor what other files exist.

**Threading:** `lock` guards everything that changes; it is held during local disk I/O, never during a request. The
attributes that `stat` shows may be read without it. Lock order: the filesystem's lock first, then this one.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Mapping
from typing import Final

from moonfs import names, wire
from moonfs.errors import BytesNotHere, FileTooLarge, MoonfsError, is_final
from moonfs.journal import Intent
from moonfs.spool import Spool, SpoolFile
from moonfs.wire import FileObject

#: `stored` of a file that the service has never had.
NEVER: Final = -1
_numbers: Final = itertools.count(1)


class LocalFile:
    """One name's newest version.

    Attributes:
        name: on the drive.
        inode: kept through overwrite and upload (A1).
        mtime_ns: nanoseconds since 1970.
        base: the remote file that this one takes the place of, if any.
        current: the remote file that has the generation `stored`, if any.
        replaces: ids that are hidden behind this file and deleted once its next version is confirmed (W4).
        purpose: what these bytes are to be uploaded as; empty where the mount says (W11, N5).
        generation: count of modifications; `stored` is the one that the service has, or `NEVER`.
        sha256: hash of the generation `stored`, or of what was just journaled.
        handles: open handles; writers: those that may write to it, and renames under way.
        spool: the bytes, once there are any of our own.
        committed: the spool file that the journal promises to upload, at the generation `acknowledged` (W2), as
            `promised`, which is a purpose; a write leaves it alone and goes on with a copy.
        oldest, newest: the numbers of the first promise that is not settled yet and of the last one; they grow over
            all files.
        refusal: why the service refuses `committed`, where it does.
        growing: the spool file that the journal promises as it is, though it is written to still: what one of several
            writers has closed, at the generation `grown`. As on any disk, a write goes on in it.
        told: the newest generation whose fate a close or an fsync has told.
        attempt: the last unfinished upload of `committed`, whose outcome may be open (W3).
        lent: the spool file that an upload is reading; a write leaves it alone and goes on with a copy.
        unlinked: its name is gone; its bytes end with the last handle (W8). `replaced`: another file has it.
        private: created as mkstemp(3) does (N6).
        passing: it stays here, but not for long: a program is about to rename it (N6).
        held: those of `replaces` that had another name when this file got its own, with that name (W9).
        closed: when its minutes began, in nanoseconds since 1970; 0 while none are counted (N6, W9).
        seal: hash of the bytes with which it got its name, until they change; empty where it is not known.
        kept: the bytes are acknowledged and may not be dropped with the last handle.
        refused: why the bytes here, from `broken_at` on, are not what was written (ENOSPC, EFBIG); nothing of them is
            uploaded.
        journaled: what the journal has of a file that stays local: name, purpose, generation, times, what it holds.
        failure: (generation, error) of an upload that the service refused.
        reserve: it is the version before one that could not be stored: kept for that case, or come back since (W4).
        trouble: why the last try to upload it in the background came to nothing.
    """

    def __init__(
        self,
        spool: Spool,
        name: str,
        inode: int,
        mtime_ns: int,
        *,
        file: SpoolFile | None = None,
        base: FileObject | None = None,
        source: int | None = None,
        private: bool = False,
        purpose: str = "",
    ) -> None:
        """Start with the bytes of `file` (new or recovered), or as the version that follows the remote `base`.

        `source` is a descriptor of the base's original if that is here; without it the file is hollow: its name
        and size are known, its bytes are not (W5).
        """
        self.lock = threading.Condition(threading.Lock())
        self.name = name
        self.inode = inode
        self.mtime_ns = mtime_ns
        self.base = base
        self.current = base
        self.replaces: frozenset[str] = frozenset() if base is None else frozenset({base.id})
        self.purpose = self.promised = purpose
        self.generation = 0
        self.stored = NEVER if base is None else 0
        self.sha256 = ""
        self.handles = self.writers = 0
        self.lent: SpoolFile | None = None
        self.committed: SpoolFile | None = None
        self.acknowledged = NEVER
        self.oldest = self.newest = 0
        self.refusal: MoonfsError | None = None
        self.growing: SpoolFile | None = None
        self.grown = NEVER
        self.told = 0
        self.attempt: Intent | None = None
        self.unlinked = self.replaced = False
        self.private = private
        self.passing = self.reserve = False
        self.held: Mapping[str, str] = {}
        self.closed = 0
        self.seal = ""
        self.kept = False
        self.refused: OSError | MoonfsError | None = None
        self.broken_at = 0
        self.failure: tuple[int, MoonfsError] | None = None
        self.trouble: Exception | None = None
        self.journaled: tuple[object, ...] | None = None
        self.spool = file
        self.hollow = file is None and source is None
        self._spool = spool
        self._source = source

    @property
    def size(self) -> int:
        """Length in bytes, as `stat` shows it."""
        if self.spool is not None:
            return self.spool.size
        return 0 if self.base is None else self.base.bytes

    @property
    def clean(self) -> bool:
        """Whether the service has exactly these bytes."""
        return self.stored == self.generation

    @property
    def pending(self) -> bool:
        """Whether these bytes are promised to reach the service and have not yet (W2)."""
        return self.committed is not None and self.committed is self.spool

    @property
    def failed(self) -> bool:
        """Whether the service has refused the bytes that are kept."""
        return self.refusal is not None

    @property
    def refused_for_good(self) -> bool:
        """Whether the service has refused the bytes that are kept, and would again."""
        return self.refusal is not None and is_final(self.refusal)

    @property
    def stays_local(self) -> bool:
        """Whether these bytes are for this machine only: empty, temporary or private (W6, N6)."""
        private = self.private and names.is_known_refused(self.name)
        return self.size == 0 or private or self.passing or names.is_temporary(self.name)

    def stays_as(self, name: str) -> bool:
        """Say whether it stays on this machine once it is renamed to `name` (W6, N6)."""
        if name == self.name:
            return self.size == 0 or self.passing or names.is_temporary(name)
        return self.size == 0 or names.stays_renamed(self.name, name)

    def settle_down(self) -> None:
        """Count no minutes any more: it is on its way to the service, or there; the lock must be held."""
        self.passing, self.closed, self.held, self.seal = False, 0, {}, ""

    def has_news(self) -> bool:
        """Say whether there is something for the service; the lock must be held.

        Raises:
            OSError, MoonfsError: what kept an earlier write, or an earlier upload of this generation, from being done.
        """
        if self.unlinked or self.clean or self.hollow:
            return False
        if self.refused is not None:
            raise self.refused
        if self.stays_local:
            return False
        if self.failure is not None and self.failure[0] == self.generation:
            raise self.failure[1]
        return True

    def commit(
        self,
        spool: SpoolFile,
        generation: int | None = None,
        purpose: str | None = None,
        refusal: MoonfsError | None = None,
    ) -> None:
        """Note that the bytes of `spool` are promised to last; the lock must be held.

        They are of `generation`, for `purpose`; left out, of the newest. `refusal` is what the service says of them.
        """
        self.number(afresh=self.failed or (self.committed is None and self.lent is None))
        self.committed, self.growing = spool, None
        self.refusal, self.reserve = refusal, False
        self.acknowledged = self.generation if generation is None else generation
        self.promised = self.purpose if purpose is None else purpose
        self.kept = True

    def number(self, *, afresh: bool) -> None:
        """Give the newest bytes their number; `afresh`: there are no older ones on their way."""
        self.newest = next(_numbers)
        if afresh:
            self.oldest = self.newest

    def read(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes from `offset`.

        Raises:
            BytesNotHere: only the service has them (R5).
        """
        with self.lock:
            if self.spool is not None:
                return self.spool.read(length, offset)
            if self._source is not None:
                return os.pread(self._source, length, offset)
            raise not_here(self.name)

    def descriptor(self) -> int:
        """Return a descriptor of the bytes, for who reads them on when they have become an original, or are one.

        Raises:
            BytesNotHere: only the service has them (R5).
            OSError: the local disk refuses.
        """
        with self.lock:
            if self.spool is not None:
                return os.open(self.spool.file(), os.O_RDONLY | os.O_CLOEXEC)
            if self._source is not None:
                return os.dup(self._source)
            raise not_here(self.name)

    def write(self, data: bytes, offset: int, purpose: str = "", *, append: bool = False) -> int:
        """Write `data` at `offset`, or at the end to `append`, for `purpose`; return its length.

        Raises:
            BytesNotHere: the bytes around it are on the service only (W5).
            FileTooLarge: it would pass 100 MB (W7).
            OSError: the local disk refuses.
        """
        with self.lock:
            if self.hollow:
                raise not_here(self.name)
            offset = self.size if append else offset
            if offset + len(data) > wire.MAX_FILE_BYTES:
                too_large = self._too_large()
                self._refuse(too_large, offset)
                raise too_large
            try:
                spool = self._writable()
            except OSError as error:
                self._refuse(error, offset)
                raise
            try:
                done = spool.write(data, offset)
            except OSError as error:
                # Part of it may be there: these are no longer the bytes that were stored.
                self._refuse(error, offset)
                self._changed(purpose)
                raise
            self._changed(purpose)
            return done

    def refuse(self, error: MoonfsError, offset: int) -> None:
        """Note that a write at `offset` was refused before it came here: these are not the bytes of its writer."""
        with self.lock:
            self._refuse(error, offset)

    def truncate(self, length: int, purpose: str = "") -> None:
        """Cut or extend to `length` bytes, for `purpose`; to 0 it works without the old bytes (W5).

        Raises:
            BytesNotHere, FileTooLarge, OSError: as `write`.
        """
        with self.lock:
            if length > wire.MAX_FILE_BYTES:
                raise self._too_large()
            if self.hollow and length:
                if length == self.size:
                    return
                raise not_here(self.name)
            if length == 0:
                self._start_over()
            else:
                self._writable().truncate(length)
            if length <= self.broken_at:
                self.refused = None  # what is left are the bytes of the writer
            self._changed(purpose)

    def materialise(self) -> SpoolFile:
        """Bring the bytes into the spool, if they are not there yet, and return it; the lock must be held.

        Raises:
            BytesNotHere, OSError: as `write`.
        """
        if self.spool is None:
            if self._source is None:
                raise not_here(self.name)
            self.spool = self._spool.take_hold(self._source)
            self._close_source()
        return self.spool

    def revert(self) -> None:
        """Go back to the bytes that were acknowledged."""
        with self.lock:
            self.refused = None
            if self.spool is self.committed:
                return
            if self.spool is not None:
                self.spool.discard()
            self.spool = self.committed
            # A number of its own: what the service said of the bytes in between is not said of these.
            self._changed(self.promised, self.mtime_ns)
            self.acknowledged = self.generation
            if self.refusal is not None:
                self.failure = (self.generation, self.refusal)

    def discard(self) -> None:
        """Delete the local bytes."""
        with self.lock:
            self._close_source()
            for file in {self.spool, self.committed, self.growing} - {None}:
                file.discard()  # type: ignore[union-attr]

    def rest(self) -> None:
        """Give the descriptors back; the bytes stay where they are."""
        with self.lock:
            self._close_source()
            for file in {self.spool, self.committed} - {None}:
                file.rest()  # type: ignore[union-attr]

    def materialise_alone(self) -> SpoolFile:
        """Bring the bytes into a spool file of their own, which neither an upload nor the originals have a share in.

        One that is shared goes with the next write (`_leave`), whatever the journal says of it; the lock must be held.

        Raises:
            BytesNotHere, OSError: as `write`.
        """
        spool = self.materialise()
        return self._fork(spool) if spool is self.lent or spool.shared else spool

    def share(self, spool: SpoolFile) -> SpoolFile:
        """Return another spool file of the bytes of `spool`, which is not written to any more; the lock is not needed.

        Raises:
            OSError: the local disk refuses.
        """
        return self._spool.share(spool)

    def _writable(self) -> SpoolFile:
        spool = self.materialise()
        # What is being uploaded, or was promised, stays as it is; the writer goes on with a copy.
        return self._fork(spool) if self._is_settled(spool) else spool

    def _is_settled(self, spool: SpoolFile) -> bool:
        return spool.shared or spool is self.lent or spool is self.committed

    def _fork(self, spool: SpoolFile) -> SpoolFile:
        fork = self._spool.create()
        try:
            spool.copy_to(fork)
        except OSError:
            fork.discard()
            raise
        self._leave(spool)
        self.spool = fork
        return fork

    def _leave(self, spool: SpoolFile | None) -> None:
        """Give up a spool file that nobody else has but, it may be, the originals."""
        if spool is not None and spool.shared and spool is not self.lent and spool is not self.committed:
            spool.discard()

    def _start_over(self) -> None:
        if self.spool is not None and not self._is_settled(self.spool):
            self.spool.truncate(0)
            return
        self._leave(self.spool)
        self.spool = self._spool.create()
        self.hollow = False
        self._close_source()

    def _refuse(self, error: OSError | MoonfsError, offset: int) -> None:
        self.broken_at = offset if self.refused is None else min(self.broken_at, offset)
        self.refused = error

    def _too_large(self) -> FileTooLarge:
        return FileTooLarge(f"{self.name} would be larger than 100 MB, the most the service takes; split it.")

    def _changed(self, purpose: str, mtime_ns: int | None = None) -> None:
        self.generation += 1
        self.seal = ""
        self.purpose = purpose
        self.mtime_ns = time.time_ns() if mtime_ns is None else mtime_ns

    def _close_source(self) -> None:
        if self._source is not None:
            os.close(self._source)
            self._source = None


def not_here(name: str) -> BytesNotHere:
    """Return the error for bytes that only the service has."""
    return BytesNotHere(
        f"The original bytes of {name} are not on this machine, and the API never gives originals back; "
        f"read {name}{names.SIDECAR} for its text."
    )
