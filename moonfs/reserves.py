"""The stored version of a name that had to go before the next one could have that name (W4).

A service that numbers equal names takes the next version under its exact name only once the one before is gone. So
that is kept here first: a spool file of its own, and a `RESERVED` row of the journal. It is given up when the next
version is stored, or its name is removed. Where that one is refused, or its close fails, it comes back: shown in its
place and on its way to the service, as any pending file is; or, where the refused version is kept (N7), behind it.

**Threading:** `hold` is called without a lock; everything else needs the filesystem's lock.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace

from moonfs import journal as journal_states
from moonfs.attributes import Attributes
from moonfs.disowned import Disowned
from moonfs.errors import Overtaken
from moonfs.journal import Intent, Journal
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace, inode_of
from moonfs.originals import Originals
from moonfs.remote import Remote as Account
from moonfs.spool import Spool, SpoolFile
from moonfs.wire import FileObject

log = logging.getLogger(__name__)


class Reserves:
    """What is kept of one account's names.

    Attributes:
        bring: has a file that came back brought to the service.
    """

    def __init__(
        self,
        *,
        account: Account,
        space: Namespace,
        spool: Spool,
        journal: Journal,
        attributes: Attributes,
        originals: Originals,
        disowned: Disowned,
        lock: threading.RLock,
    ) -> None:
        self._disowned = disowned
        self._account = account
        self._space = space
        self._spool = spool
        self._journal = journal
        self._attributes = attributes
        self._originals = originals
        self._lock = lock
        self._coming: set[LocalFile] = set()
        self.bring: Callable[[LocalFile], None] = lambda _local: None

    def hold(self, intent: Intent, ids: frozenset[str]) -> bool:
        """Keep the newest of the stored files `ids`, which have the name of `intent` and are to go for it.

        False where its bytes are not here (R5): then nothing is kept.

        Raises:
            Overtaken: nobody wants `intent` any more.
            OSError: the local disk refuses.
        """
        with self._lock:
            if intent.name in self._space.kept:
                return True  # by an earlier try
            known = self._account.known()
            files = [known[file_id] for file_id in ids if file_id in known and not self._space.is_doomed(file_id)]
        if not files:
            return not ids.intersection(known)  # what is gone already cannot be kept, and what is to go need not be
        newest = max(files, key=lambda file: (file.created_at, file.id))
        try:
            file = self._bytes_of(newest)
        except OSError as error:  # what was acknowledged is to be uploaded all the same (W7)
            log.warning("There is no room to keep %s, which is to make way: %s", newest.id, error.strerror)
            return False
        if file is None:
            return False
        try:
            data = file.small()
            if data is None:
                file.sync()
            row = self._row(newest, intent.name, file)
            if not self._journal.reserve(row, intent, data):
                raise Overtaken(f"{intent.name} has got another name or other bytes.")
        except BaseException:
            file.discard()
            raise
        log.info("Keeping %s, which makes way for its new version.", newest.id)
        with self._lock:
            if not intent.cancelled:
                self.take(row, file)
                return True
        # Its name went while this was recorded.
        self._journal.forget(row.spool)
        file.discard()
        raise Overtaken(f"{intent.name} is not wanted any more.")

    def take(self, row: Intent, file: SpoolFile) -> None:
        """Keep a version whose row the journal has; it shows where its name would show nothing without it."""
        local = LocalFile(self._spool, row.name, row.inode, row.mtime_ns, file=file, purpose=row.purpose)
        local.commit(file)
        local.sha256, local.replaces = row.sha256, row.replaces
        local.reserve, local.attempt = True, row
        local.oldest = 0  # who waits for a newer version waits for this one, should it have to come back
        file.rest()
        self._space.kept[row.name] = local
        if row.name not in self._space.local:
            self._space.put(local)

    def keeps(self, local: LocalFile) -> bool:
        """Say whether `local` is kept, and has not come back."""
        return self._space.kept.get(local.name) is local

    def has(self, name: str) -> bool:
        """Say whether the version before is kept of `name`."""
        return name in self._space.kept

    def back(self) -> list[str]:
        """Return the names under which the version before shows again, and is on its way to the service."""
        return sorted(
            local.name for local in self._space.local.values() if local.reserve and local.pending and not local.failed
        )

    def stored(self, name: str, by: LocalFile) -> LocalFile | None:
        """Give up what is kept of `name`, as `by` is stored; return it. The journal's row goes with that."""
        local = self._pop(name)
        if local is None or local is by:
            return None
        local.unlinked, local.replaces = True, frozenset()  # it has gone already
        return local

    def removed(self, name: str) -> None:
        """Give up what is kept of `name`, as that is gone; the journal's row goes with it."""
        local = self._pop(name)
        if local is None:
            return
        with local.lock:
            local.unlinked = True
            flying = local.lent is not None
            left = self._disowned.of_reserve(local, replaced=False)
        for each in left:
            self._journal.put(each)
            self._disowned.look_for(each, flying=flying)
        self._space.drop(local)
        if not flying and not local.handles:
            local.discard()

    def behind(self) -> list[LocalFile]:
        """Return the versions that are on their way back to the service behind what is shown."""
        kept = self._space.kept.items()
        return [
            local
            for name, local in kept
            if self._space.local.get(name) is not local and not (local.failed or self._is_on_its_way(name, local))
        ]

    def settle(self, name: str) -> LocalFile | None:
        """Let the version before come back, where no newer one is on its way; return it where it shows from now on."""
        kept = self._space.kept.get(name)
        if kept is None or self._is_on_its_way(name, kept):
            return None
        shown = self._space.local.get(name)
        if shown is None or shown is kept:
            return self._show(kept)
        if kept.lent is None:
            self._set_out(kept)  # behind what is shown
        return None

    def settle_all(self) -> None:
        """Let each version before come back whose name has no newer one on its way."""
        for name in list(self._space.kept):
            self.settle(name)

    def promised(self, row: Intent) -> Intent:
        """Return the row by which a version that was kept is promised to the service again."""
        others = [*self._space.local.values(), *self._space.staged.values()]
        # The journal tells files by these numbers, and what it was renamed to may be another file by now.
        taken = any(local.inode == row.inode and local.attempt is not row for local in others)
        return replace(
            row,
            state=journal_states.PENDING,
            acknowledged=self._journal.number(),
            inode=inode_of(row.spool) if taken else row.inode,
        )

    def _show(self, kept: LocalFile) -> LocalFile | None:
        """Have a version come back in the place of the one that failed; None where the local disk refuses."""
        row = kept.attempt
        assert row is not None
        promised = self.promised(row)
        try:
            self._journal.put(promised)
        except OSError as error:  # the next mount has it come back
            log.warning("Cannot record that the version before of %s is back: %s", kept.name, error.strerror)
            self._space.put(kept)
            self._set_out(kept)
            return None
        self._pop(kept.name)
        with kept.lock:
            kept.attempt, kept.inode = None, promised.inode
        log.warning("%s could not be stored: the version before is back, and goes to the service again.", kept.name)
        self._space.put(kept)
        self.bring(kept)
        return kept

    def _set_out(self, kept: LocalFile) -> None:
        """Have a version that is kept brought to the service, once: whoever does so tries again by himself."""
        if kept not in self._coming:
            self._coming.add(kept)
            self.bring(kept)

    def _pop(self, name: str) -> LocalFile | None:
        """Keep the version before of `name` no more; return it, if there was one."""
        kept = self._space.kept.pop(name, None)
        if kept is not None:
            self._coming.discard(kept)
        return kept

    def _is_on_its_way(self, name: str, kept: LocalFile) -> bool:
        """Say whether a newer version of `name` is being sent, or promised, or a writer is not done with it."""
        if self._disowned.is_being_removed(name):
            return True  # or gone; that is told soon
        others = [*self._space.local.values(), *self._space.staged.values()]
        for local in others:
            if local is kept:
                continue
            attempt = local.attempt if local.lent is not None else None
            if attempt is not None and attempt.name == name:
                return True
        shown = self._space.local.get(name)
        if shown is None or shown is kept or shown.refused_for_good:
            return False
        return not (shown.stays_local and shown.kept and shown.committed is None and not shown.writers)

    def _bytes_of(self, file: FileObject) -> SpoolFile | None:
        """Return a spool file with a stored file's bytes, verified; None where they are not here."""
        sha256 = self._attributes.get(file.id).sha256
        fd = None if sha256 is None else self._originals.open(sha256)
        if fd is None:
            return None
        try:
            return self._spool.take_hold(fd)
        finally:
            os.close(fd)

    def _row(self, file: FileObject, name: str, spool: SpoolFile) -> Intent:
        known = self._attributes.get(file.id)
        return Intent(
            spool=spool.name,
            name=name,
            state=journal_states.RESERVED,
            purpose=file.purpose,
            size=spool.size,
            sha256=known.sha256 or "",
            mtime_ns=file.created_at * 10**9 if known.mtime_ns is None else known.mtime_ns,
            inode=known.inode or inode_of(file.id),
            replaces=frozenset({file.id}),
        )
