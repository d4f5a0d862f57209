"""What is promised to last: a file's bytes and what is to become of them, made durable on this disk.

A promise is one row of the journal, with the bytes in it or in a synced spool file before it. A promise that is
replaced by a newer one, of other bytes or under another name, goes in the same step.

**Threading:** any thread may call; the file's lock is taken here unless it says that it must be held.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from moonfs import journal as journal_states
from moonfs.disowned import Disowned
from moonfs.errors import MoonfsError, is_final
from moonfs.journal import Intent, Journal
from moonfs.localfile import LocalFile
from moonfs.spool import CARRIED_BYTES, SpoolFile

log = logging.getLogger(__name__)


class Promises:
    """The promises of one account on one machine."""

    def __init__(self, journal: Journal, disowned: Disowned, *, purpose: str) -> None:
        self._journal = journal
        self._disowned = disowned
        self._purpose = purpose

    def upload(self, local: LocalFile, *, freed: str = "") -> None:
        """Promise that the newest bytes reach the service (W2); the file's lock must be held.

        `freed` is the name that it had until now.

        Raises:
            OSError: the local disk refuses; nothing is promised then.
        """
        spool = local.materialise()
        self._record(local, self.intent(local, spool), spool, freed)
        local.commit(spool)
        local.journaled = None

    def let_go(self, local: LocalFile) -> bool:
        """Promise the bytes that somebody waits for, while they are sent; False where none of these are under way.

        What becomes of the attempt stays known to the next mount, which sends nothing twice (W3). The file's lock must
        be held.

        Raises:
            OSError: the local disk refuses; nothing is promised then.
        """
        attempt, spool = local.attempt, local.lent
        if attempt is None or spool is None or spool is not local.spool or attempt.name != local.name:
            return False
        before = attempt.state
        if before != journal_states.UPLOADING:
            return False
        attempt.state, attempt.acknowledged, attempt.local_name = journal_states.PENDING, self._journal.number(), ""
        try:
            data = spool.small()
            if data is None:
                spool.sync()
            older = local.committed or local.growing
            older = None if older is spool else older
            known = replace(attempt, unanswered=attempt.unanswered + attempt.under_way)
            self._journal.put(known, instead_of="" if older is None else older.name, data=data)
        except OSError:
            attempt.state = before
            raise
        if older is not None:
            older.discard()
        local.commit(spool)
        local.journaled = None
        return True

    def hold(self, local: LocalFile) -> None:
        """Promise the newest bytes while they are written to still: the promise grows with them; lock must be held.

        As on any disk, a kill leaves what was promised, with what was written since or without it.

        Raises:
            OSError: the local disk refuses; what was promised before is still.
        """
        spool = local.materialise_alone()
        self._record(local, self.intent(local, spool), spool)
        local.committed = local.refusal = local.journaled = None
        local.growing, local.grown, local.kept = spool, local.generation, True

    def keep_refused(self, local: LocalFile, spool: SpoolFile, generation: int, error: MoonfsError) -> None:
        """Keep bytes that the service refuses, so that they can be read and put right; the file's lock must be held.

        Raises:
            OSError: the local disk refuses; nothing is kept then.
        """
        state = journal_states.FAILED if is_final(error) else journal_states.PENDING
        intent = replace(self.intent(local, spool), state=state, error=journal_states.said(error))
        self._record(local, intent, spool)
        local.commit(spool, generation, refusal=error)
        local.journaled = None

    def keep_in_doubt(self, local: LocalFile, intent: Intent, sent: SpoolFile | None) -> bool:
        """Keep the bytes `sent` of a version whose close failed, and that may have arrived all the same (W3).

        They are looked for from now on. False where they cannot be kept. The filesystem's lock must be held.
        """
        if sent is None:
            return False
        try:
            file = local.share(sent)
            left = replace(
                intent,
                spool=file.name,
                state=journal_states.DOUBTFUL,
                inode=local.inode,
                mtime_ns=local.mtime_ns,
                local_name="",
                held={},
                closed=0,
                replaces=intent.replaces - intent.numbered,
            )
            self._journal.put(left, instead_of=intent.spool, data=file.small())
        except OSError as error:
            log.warning("Cannot keep the bytes of %s, whose upload is in doubt: %s", local.name, error)
            return False
        self._disowned.look_for(left, file=file)
        return True

    @staticmethod
    def prepare(local: LocalFile, *, alone: bool = False) -> None:
        """Do the long part of a promise before the filesystem's lock is taken for it: large bytes go to disk (E2).

        `alone`: into a spool file that no upload reads.

        Raises:
            OSError: the local disk refuses.
        """
        with local.lock:
            if local.hollow:
                return
            spool = local.materialise_alone() if alone else local.materialise()
            if spool.size > CARRIED_BYTES:
                spool.sync()

    def keep_local(self, local: LocalFile, *, freed: str = "") -> None:
        """Keep a file that stays on this machine (W6), and had the name `freed`; the filesystem's lock must be held.

        Raises:
            OSError: the local disk refuses.
        """
        with local.lock:
            if local.passing and not local.closed:
                local.closed = time.time_ns()
            state = (
                *(local.name, local.purpose, local.generation, local.mtime_ns, local.closed),
                tuple(sorted(local.held.items())),
            )
            if local.journaled == state:
                local.kept = True
                return
            # An upload that is under way, under another name, moves its bytes to the originals when it ends.
            spool = local.materialise_alone()
            intent = replace(
                self.intent(local, spool), state=journal_states.LOCAL, purpose=local.purpose, sha256=local.seal
            )
            self._record(local, intent, spool, freed)
            local.committed = local.growing = local.refusal = None
            local.kept = True
            local.journaled = state

    def remember_time(self, local: LocalFile) -> None:
        """Record a modification time that was set on bytes that are kept here (A1); the filesystem's lock is held."""
        with local.lock:
            kept_here = local.journaled is not None and not local.writers
            spool = local.committed
            if spool is not None and spool is local.spool and local.lent is None and not local.refused_for_good:
                # An attempt whose outcome is open stays known (W3).
                intent = local.attempt or self.intent(local, spool)
                intent.mtime_ns = local.mtime_ns
                self._journal.put(intent)
        if kept_here:
            self.keep_local(local)

    def intent(self, local: LocalFile, spool: SpoolFile, purpose: str | None = None) -> Intent:
        """Return the intent to upload the bytes of `spool` as `local` is named now; the file's lock must be held.

        They are for `purpose`, left out, for that of the newest bytes; empty means the mount's (W11).
        """
        return Intent(
            spool=spool.name,
            name=local.name,
            state=journal_states.PENDING,
            purpose=(local.purpose if purpose is None else purpose) or self._purpose,
            size=spool.size,
            sha256="",
            mtime_ns=local.mtime_ns,
            inode=local.inode,
            replaces=local.replaces,
            acknowledged=self._journal.number(),
            private=local.private,
            held=dict(local.held),
            closed=local.closed,
        )

    def _record(self, local: LocalFile, intent: Intent, spool: SpoolFile, freed: str = "") -> None:
        """Make `spool` durable and journal `intent` for it, in place of what was promised before, in one step.

        The name `freed` goes with it. Few bytes go into the journal's row, so that one fsync does for both; others are
        synced before it.
        """
        older = local.committed or local.growing
        data = spool.small()
        if data is None:
            spool.sync()
        attempt = local.attempt
        cancelled = attempt is not None and attempt.cancelled
        left = self._leave_attempt(local, intent.spool)
        instead_of = ""
        if older is not None and older.name != intent.spool:
            # An upload under way still needs its row, unless the name has changed since.
            needed = older is local.lent and local.attempt is not None and local.attempt.name == local.name
            instead_of = "" if needed else older.name
        for each in left:
            self._disowned.hide(each)
        try:
            self._journal.put(intent, *left, instead_of=instead_of, freed=freed, data=data)
        except OSError:
            local.attempt = attempt
            for each in left:
                self._disowned.show(each)
            if attempt is not None:
                attempt.cancelled = cancelled
                attempt.left = "" if left else attempt.left
            raise
        for each in left:
            self._disowned.look_for(each, flying=local.lent is not None)
        if older is not None and older.name != intent.spool and older is not local.lent:
            older.discard()

    def _leave_attempt(self, local: LocalFile, spool: str) -> list[Intent]:
        """Keep track of an upload under way or in doubt that the name or the bytes move on from.

        What it leaves on the service is deleted (W3): the next upload replaces it, and after a crash the journal
        still knows of it by the intents returned, to be recorded in one step with what comes after.
        """
        attempt, local.attempt = local.attempt, None
        flying = local.lent is not None
        if attempt is None or not (flying or attempt.unanswered):
            return []
        if flying:
            local.attempt = attempt
            if attempt.name == local.name and local.lent is not None and local.lent.name != spool:
                return []  # its own row stays, beside the newer one
            attempt.cancelled = attempt.name != local.name
            if attempt.left:
                return []  # it was left before, and is under way still
        left = self._disowned.left_apart(attempt, flying=flying, replaced=attempt.name == local.name)
        if flying:
            attempt.left = left.spool
        return [left]
