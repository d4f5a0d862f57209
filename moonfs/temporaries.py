"""Files that are here under a temporary name for some minutes, and the stored copies that such files hold (N6, W9).

A program that saves a file writes it under a passing name, or renames the stored version to one, and is done in a
moment. Where it is not, a passing file goes to the service `PASSING_SECONDS` after its last close; and until then a
stored version that was renamed away keeps its place there, for whoever has no other: it is `held`, not shown, and goes
once there is a new version under its name, the file that holds it is removed, or its time is up and that file is whole.

**Threading:** any thread may call; what says so needs the filesystem's lock, which is never held while bytes are read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from moonfs import names
from moonfs.disowned import Disowned
from moonfs.journal import Journal
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.promises import Promises
from moonfs.writeback import Uploader

log = logging.getLogger(__name__)

#: Seconds for which a passing file stays here after its last close, and a stored copy after its file was renamed.
PASSING_SECONDS: Final = 600.0
#: Seconds after which it is tried again where the local disk refuses.
_AGAIN: Final = 60.0
#: Nanoseconds by which a close has to be later than the one before to be recorded.
_LATER: Final = 10**9


class Temporaries:
    """The passing files of one account on one machine, and what is held."""

    def __init__(
        self,
        bring: Callable[[LocalFile], None],
        lock: threading.RLock,
        *,
        space: Namespace,
        journal: Journal,
        promises: Promises,
        uploader: Uploader,
        disowned: Disowned,
    ) -> None:
        """`bring(local)`, with `lock` held, has a passing file uploaded, or marks it as refused; it raises OSError."""
        self._bring = bring
        self._lock = lock
        self._space = space
        self._journal = journal
        self._promises = promises
        self._uploader = uploader
        self._disowned = disowned
        self._watched: dict[LocalFile, float] = {}
        self._next = float("inf")

    @staticmethod
    def closed(local: LocalFile) -> None:
        """Begin its minutes anew, where they are counted: a writer has closed it; the lock must be held."""
        now = time.time_ns()
        if local.closed and abs(now - local.closed) > _LATER:
            local.closed = now

    def hold(self, local: LocalFile, name: str, replaced: frozenset[str], over: LocalFile | None) -> None:
        """Have a file that is to stay here as `name` hold what it replaces, for some minutes (W9); both locks held.

        `replaced` are the stored files that have `name` now, which the local file `over` may hold or replace.
        """
        before = {} if over is None or over is local else over.held
        theirs = {each: self._disowned.name_of(each, name) for each in replaced}
        mine = {each: self._disowned.name_of(each, local.name) for each in local.replaces}
        local.held = {**theirs, **before, **mine, **local.held}
        if local.clean:
            local.seal = local.sha256
        if name != local.name:
            local.passing = not names.is_temporary(name) and names.stays_renamed(local.name, name)
        local.closed = time.time_ns() if local.held or local.passing else 0

    def hold_others(self, local: LocalFile) -> None:
        """Have a file that stays here hold what it replaces of other names, that it had on its way (W9); lock held."""
        had = {each: self._disowned.name_of(each, local.name) for each in local.replaces - local.held.keys()}
        others = {each: name for each, name in had.items() if name != local.name}
        if others:
            local.held, local.closed = {**others, **local.held}, local.closed or time.time_ns()

    def watch(self, local: LocalFile) -> None:
        """Let go what is not to be held, and look at a file again when its minutes are over, if any are counted.

        The lock must be held.
        """
        self._let_go_older(local)
        if local.closed and not local.unlinked:
            self._look_at(local, _left(local))

    def let_go(self, ids: frozenset[str]) -> None:
        """Delete stored copies that files hold in the background; the lock must be held.

        Raises:
            OSError: the local disk refuses; they are held still.
        """
        self._journal.let_go(ids)
        self._space.let_go(ids)
        self._space.doom(ids)
        self._uploader.delete_later(ids)

    def _let_go_older(self, local: LocalFile) -> None:
        """Let go what a file holds though there is a newer version under its name by now; the lock must be held."""
        ids = frozenset(each for each, name in local.held.items() if self._disowned.has_newer(name, each))
        if ids and not local.unlinked:
            try:
                self.let_go(ids)
            except OSError as error:
                log.warning("What %s holds stays for now: %s", local.name, error.strerror)

    def make_room(self, name: str, inode: int) -> frozenset[str]:
        """Give up what is held under `name` by others than the file `inode`, and return the ids.

        Raises:
            OSError: the local disk refuses; it is held still.
        """
        with self._lock:
            mine = next((local for local in self._space.local.values() if local.inode == inode), None)
            ids = self._space.held_under(name, mine)
            if ids:
                self.let_go(ids)
        return ids

    def _look_at(self, local: LocalFile, seconds: float) -> None:
        """Look at a file in so many seconds; one task looks at all."""
        due = time.monotonic() + seconds
        self._watched[local] = due
        if due < self._next:
            self._next = due
            self._uploader.workers.submit(self._look, seconds)

    def _look(self) -> None:
        with self._lock:
            now = time.monotonic()
            over = [local for local, due in self._watched.items() if due <= now]
            for local in over:
                del self._watched[local]
            self._next = min(self._watched.values(), default=float("inf"))
            if self._watched:
                self._uploader.workers.submit(self._look, self._next - now)
        for local in over:
            self._look_closely(local)

    def _look_closely(self, local: LocalFile) -> None:
        with self._lock:
            if not self._is_over(local):
                if _left(local) > 0:  # else whoever is done with it has it watched
                    self.watch(local)
                return
        try:
            whole = not local.held or self._is_whole(local)
            self._promises.prepare(local)
            with self._lock:
                if self._is_over(local):
                    self._end(local, whole=whole)
                elif _left(local) > 0:
                    self.watch(local)
        except OSError as error:
            log.warning("%s stays here for now: %s", local.name, error)
            with self._lock:
                self._look_at(local, _AGAIN)

    def _is_over(self, local: LocalFile) -> bool:
        here = self._space.local.get(local.name) is local and not local.unlinked
        return here and bool(local.closed) and not local.writers and local.lent is None and _left(local) <= 0

    def _is_whole(self, local: LocalFile) -> bool:
        """Say whether the bytes that take the place of what is held can be read, and are those that were renamed."""
        with local.lock:
            spool, seal = local.materialise(), local.seal
        return spool.sha256() == seal or not seal

    def _end(self, local: LocalFile, *, whole: bool) -> None:
        """End the minutes of a file; the lock must be held."""
        ids = frozenset(local.held)
        if not whole:
            log.error("%s is damaged on this disk, so the service keeps the version before it.", local.name)
            return
        if local.passing and local.size:
            log.info("%s was not renamed for %.0f minutes.", local.name, PASSING_SECONDS / 60)
            self._bring(local)
        if ids:
            try:
                self.let_go(ids)
            except OSError:
                local.closed = local.closed or 1  # over, and to be looked at again
                raise
        if local.stays_local and not local.passing:
            local.closed, local.seal = 0, ""
            self._promises.keep_local(local)
            local.rest()


def _left(local: LocalFile) -> float:
    """Return how many of its seconds are left; never more than all, whatever the clock was set to meanwhile."""
    return min(PASSING_SECONDS, local.closed / 10**9 + PASSING_SECONDS - time.time())
