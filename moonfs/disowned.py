"""Uploads that nobody wants any more: what they may leave on the service is hidden, looked for and deleted.

An upload is disowned when its file is deleted, renamed or overwritten while it is under way or in doubt (W3, W8).
The journal keeps a `CANCELLED` row until a copy that comes late must have come, so that a kill forgets nothing.

**Threading:** any thread may call anything; the filesystem's lock is taken where the names change, and never held
during a request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import replace

from moonfs import journal as journal_states
from moonfs.attributes import Attributes
from moonfs.errors import MoonfsError
from moonfs.journal import Intent, Journal
from moonfs.namespace import Namespace
from moonfs.remote import Remote as Account
from moonfs.wire import FileObject
from moonfs.writeback import TWIN_CHECK, Uploader, copies_of

log = logging.getLogger(__name__)


class Disowned:
    """The disowned uploads of one account."""

    def __init__(
        self,
        *,
        account: Account,
        space: Namespace,
        journal: Journal,
        attributes: Attributes,
        uploader: Uploader,
        lock: threading.RLock,
    ) -> None:
        self._account = account
        self._space = space
        self._journal = journal
        self._attributes = attributes
        self._uploader = uploader
        self._lock = lock

    def copies(self, intent: Intent, present: Iterable[FileObject]) -> frozenset[str]:
        """Return the ids that a disowned upload may have left: not those that are known to hold other bytes."""
        return frozenset(
            copy.id
            for copy in copies_of(intent, present)
            if self._attributes.get(copy.id).sha256 in (None, intent.sha256)
        )

    def left_of(self, attempt: Intent) -> Intent:
        """Return the record of a copy that `attempt` makes or has made and that is to be deleted (W3, W8)."""
        return replace(
            attempt,
            state=journal_states.CANCELLED,
            started=attempt.started or self._account.now(),
            known=attempt.known if attempt.started else frozenset(self._account.known()),
            replaces=frozenset(),
            held={},
            closed=0,
        )

    def look_for(self, left: Intent) -> None:
        self._space.disowned[left.spool] = left
        self._space.changed()
        self._uploader.workers.submit(lambda: self._delete(left.spool, last=False), TWIN_CHECK / 3)

    def _is_on_its_way(self, name: str) -> bool:
        """Say whether another version of `name` may be on the service and not known yet; the lock must be held.

        It may be about to get the name: a rename that waits for its upload. What has been told already is known.
        """
        local = self._space.local.get(name)
        if local is not None and not (local.clean or local.stays_local or local.refused_for_good):
            return True
        others = (*self._space.local.values(), *self._space.staged.values())
        attempts = (other.attempt for other in others if other.lent is not None)
        return any(attempt is not None and attempt.name == name for attempt in attempts)

    def _delete(self, spool: str, *, last: bool) -> None:
        """Delete the copies that a disowned attempt made; once now, once when a late one must have arrived."""
        try:
            present = list(self._account.relist().values())
        except MoonfsError as error:
            log.warning("Cannot see whether an interrupted upload left a copy: %s", error)
            self._uploader.workers.submit(lambda: self._delete(spool, last=last), TWIN_CHECK)
            return
        with self._lock:
            # Looked at after the listing: what another upload of this name has stored since is `known` now.
            found = [intent for intent in self._journal.intents() if intent.spool == spool]
            if not found or found[0].state != journal_states.CANCELLED:
                return
            if self._is_on_its_way(found[0].name):
                self._uploader.workers.submit(lambda: self._delete(spool, last=last), TWIN_CHECK / 3)
                return
            copies = self.copies(found[0], present)
            self._journal.give_up([spool] if last else [], delete=copies)
            self._space.doom(copies)
            if last:
                self._space.disowned.pop(spool, None)
        for file_id in copies:
            log.info("Deleting %s, which an interrupted upload of %s had left.", file_id, found[0].name)
            self._uploader.delete_queued(file_id)
        if not last:
            self._uploader.workers.submit(lambda: self._delete(spool, last=True), TWIN_CHECK)
