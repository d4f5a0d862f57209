"""The life of a local file's versions: written, in flight, stored; or kept on this machine.

`store` brings the newest generation to the service once (W1) and answers when it is there; `end_use` puts the
bytes where they belong when nobody has them open; `recover` takes up what an earlier run left. It knows no paths
and no handles.

**Threading:** any thread may call `store` and `recover`; what says so needs the filesystem's lock, which is never
held during a request. Lock order: that lock, then `LocalFile.lock`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from moonfs import journal as journal_states
from moonfs import names
from moonfs.attributes import Attributes
from moonfs.config import Settings
from moonfs.errors import FileTooLarge, MoonfsError, Rejected, TimedOut
from moonfs.journal import Intent, Journal
from moonfs.localfile import NEVER, LocalFile
from moonfs.namespace import Namespace
from moonfs.originals import Originals
from moonfs.remote import Remote as Account
from moonfs.room import Room
from moonfs.spool import Spool
from moonfs.wire import FileObject
from moonfs.writeback import Uploader, arrived

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """An upload under way."""

    local: LocalFile
    generation: int
    intent: Intent


class Versions:
    """The versions of one account's local files."""

    def __init__(
        self,
        account: Account,
        space: Namespace,
        room: Room,
        lock: threading.RLock,
        *,
        settings: Settings,
        spool: Spool,
        journal: Journal,
        originals: Originals,
        attributes: Attributes,
    ) -> None:
        self._account = account
        self._space = space
        self._room = room
        self._lock = lock
        self._settings = settings
        self._spool = spool
        self._journal = journal
        self._originals = originals
        self._attributes = attributes
        self._flights: dict[str, _Flight] = {}
        account.on_gone = self._forget
        self.uploader = Uploader(
            _Service(self, account), journal, uploads=settings.uploads, deadline=settings.upload_timeout
        )

    def recover(self) -> None:
        """Take up what an earlier run left in the journal (W4, W6); call once, before the first request."""
        resumed = []
        keep = set()
        deletions = self._journal.deletions()
        self._space.doom(frozenset(deletions))
        for intent in self._journal.intents():
            try:
                file = self._spool.reopen(intent.spool)
            except OSError as error:
                log.warning("The bytes of %s are gone (%s)", intent.name, error.strerror)
                self._journal.forget(intent.spool)
                continue
            if intent.state == journal_states.UPLOADING:
                if self._arrived(intent) or not intent.local_name:
                    # It is on the service, or its writer was never told that it is safe.
                    file.close()
                    self._journal.forget(intent.spool)
                    continue
                # A rename that was interrupted: the bytes are safe under the name they had.
                intent = replace(  # noqa: PLW2901
                    intent, name=intent.local_name, state=journal_states.LOCAL, replaces=frozenset()
                )
                self._journal.put(intent)
            local = LocalFile(self._spool, intent.name, intent.inode, intent.mtime_ns, file=file)
            local.replaces, local.kept, local.sha256 = intent.replaces, True, intent.sha256
            keep.add(intent.spool)
            if intent.state == journal_states.FAILED:
                local.failure = (local.generation, Rejected(intent.error))
            elif intent.state == journal_states.PENDING:
                local.lent = file
                self._flights[intent.spool] = _Flight(local, local.generation, intent)
                resumed.append((intent, file))
            self._space.put(local)
        self._spool.clean(keep)
        self._attributes.keep_only(set(self._account.known()) | set(deletions))
        self.uploader.resume(resumed, self._journal.deletions())

    def store(self, local: LocalFile, *, name: str | None = None, replaced: frozenset[str] = frozenset()) -> None:
        """Bring the newest generation to the service, under `name` if that is given (rename).

        Returns when it is there, or when there is nothing to do: stored already, unlinked, or staying local.
        """
        with local.lock:
            deadline = time.monotonic() + self._settings.upload_timeout
            while local.lent is not None:
                if not local.lock.wait(max(0.0, deadline - time.monotonic())):
                    raise TimedOut(f"An earlier upload of {local.name} has not ended yet.")
            if local.unlinked or (name is None and (local.clean or local.hollow)):
                return
            if local.refused is not None:
                raise local.refused
            if name is None:
                if local.stays_local:
                    return
                if local.failure is not None and local.failure[0] == local.generation:
                    raise local.failure[1]
            spool = local.materialise()
            local.lent = spool
            generation = local.generation
        intent = Intent(
            spool=spool.name,
            name=name or local.name,
            state=journal_states.UPLOADING,
            purpose=self._settings.purpose,
            size=spool.size,
            sha256="",
            mtime_ns=local.mtime_ns,
            inode=local.inode,
            replaces=local.replaces | replaced,
            local_name=local.name if local.kept else "",
        )
        flight = _Flight(local, generation, intent)
        try:
            intent.sha256 = spool.sha256()
            if (same := self._same_bytes(intent)) is not None:
                surplus = intent.replaces - {same.id}
                self._journal.stored(spool.name, surplus)
                self.finish(flight, same)
                for file_id in surplus:
                    self.uploader.delete_queued(file_id)
                return
            if not intent.replaces:
                self._room.check_one_more(beside=local)
            self._flights[spool.name] = flight
            self.uploader.store(intent, spool)
        except BaseException as error:
            self._store_failed(flight, error)
            raise

    def _same_bytes(self, intent: Intent) -> FileObject | None:
        """Return the file that has exactly these bytes under this name already (W4)."""
        files = self._account.known()
        for file_id in intent.replaces:
            file = files.get(file_id)
            if (
                file is not None
                and self._attributes.get(file_id).sha256 == intent.sha256
                and names.safe(file.filename) == intent.name
            ):
                return file
        return None

    def finish(self, flight: _Flight, file: FileObject) -> None:
        """Make `file` the stored version of what was in flight, in one step for every reader."""
        local, intent = flight.local, flight.intent
        self._attributes.set(file.id, mtime_ns=local.mtime_ns, inode=local.inode, sha256=intent.sha256 or None)
        with self._lock:
            self._space.doom(intent.replaces - {file.id})
            with local.lock:
                sent, local.lent = local.lent, None
                local.stored = flight.generation
                local.sha256 = intent.sha256
                local.base = local.current = file
                local.replaces = frozenset({file.id})
                local.failure = None
                local.kept = False
                local.lock.notify_all()
            if sent is not None and sent is not local.spool:
                sent.close()
                self._adopt(sent.path, intent.sha256, sent.size)
            if not local.unlinked and intent.name != local.name:
                superseded = self._space.move(local, intent.name)
                if superseded is not None:
                    self._supersede(superseded, intent.replaces | {file.id})
            self._space.changed()
            self._account.listing.add(file)
            self._flights.pop(intent.spool, None)
            if local.unlinked:
                self._delete_in_background(frozenset({file.id}))
            self.end_use(local)

    def _store_failed(self, flight: _Flight, error: BaseException) -> None:
        local, intent = flight.local, flight.intent
        kept = intent.state == journal_states.PENDING
        with self._lock:
            with local.lock:
                if not kept:
                    local.lent = None
                local.replaces = local.replaces if intent.replaces else frozenset()
                renaming = intent.name != local.name
                local.kept = kept or (renaming and local.kept)
                if isinstance(error, Rejected | FileTooLarge) and not renaming:
                    local.failure = (flight.generation, error)
                local.lock.notify_all()
            self._space.changed()
            if kept:
                # The old version had to make room: these bytes are the only ones left, so they go on trying.
                if intent.name != local.name and (superseded := self._space.move(local, intent.name)):
                    self._supersede(superseded, intent.replaces)
                self.uploader.store_later(intent, flight.local.lent or flight.local.materialise(), attempt=1)
            else:
                self._flights.pop(intent.spool, None)
                self._journal.forget(intent.spool)
                if local.kept:
                    local.journaled = None
                    with contextlib.suppress(OSError):
                        self.keep_local(local)
        if getattr(error, "maybe_stored", False):
            self._account.listing.expire()

    def _arrived(self, intent: Intent) -> bool:
        """Say whether an interrupted upload had arrived; if so, queue the deletion of what it replaced (W4)."""
        file = arrived(intent, self._account.known().values())
        if file is None:
            return False
        self._attributes.set(file.id, mtime_ns=intent.mtime_ns, inode=intent.inode, sha256=intent.sha256 or None)
        surplus = intent.replaces - {file.id}
        self._journal.stored(intent.spool, surplus)
        self._space.doom(surplus)
        return True

    def keep_local(self, local: LocalFile) -> None:
        """Journal a file that stays on this machine (W6); the lock must be held.

        Raises:
            OSError: the local disk refuses.
        """
        with local.lock:
            state = (local.name, local.generation, local.mtime_ns)
            if local.journaled == state:
                return
            spool = local.materialise()
            spool.sync()
            self._spool.sync_directory()
            self._journal.put(
                Intent(
                    spool=spool.name,
                    name=local.name,
                    state=journal_states.LOCAL,
                    purpose=self._settings.purpose,
                    size=spool.size,
                    sha256="",
                    mtime_ns=local.mtime_ns,
                    inode=local.inode,
                    replaces=local.replaces,
                )
            )
            local.kept = True
            local.journaled = state

    def end_use(self, local: LocalFile) -> None:
        """Put a file's bytes where they belong once nobody has it open; the lock must be held."""
        if local.handles or local.lent is not None:
            return
        if local.unlinked:
            if local.spool is not None:
                self._journal.forget(local.spool.name)
            local.discard()
        elif local.clean:
            self._space.drop(local)
            local.close()
            if local.spool is not None:
                self._journal.forget(local.spool.name)
                self._adopt(local.spool.path, local.sha256, local.spool.size)
        elif local.refused is None and local.stays_local and not local.hollow:
            try:
                self.keep_local(local)
            except OSError as error:
                log.error("Cannot keep %s: %s", local.name, error.strerror)
        elif not local.kept:
            # Its writer was told: the close failed. The version before it shows again.
            self._space.drop(local)
            if local.spool is not None:
                self._journal.forget(local.spool.name)
            local.discard()

    def _adopt(self, path: Path, sha256: str, size: int) -> None:
        try:
            self._originals.adopt(path, sha256, size)
        except OSError as error:
            log.warning("Cannot keep an original: %s", error.strerror)

    def _supersede(self, local: LocalFile, inherited: frozenset[str]) -> None:
        """End a local file whose name another one took; its open handles go on with its bytes; lock held.

        `inherited` are the remote files that the other one answers for; what else it had stored must go.
        """
        self.cancel(local)
        self._delete_in_background(local.replaces - inherited)
        self.end_use(local)

    def cancel(self, local: LocalFile) -> None:
        """Take its name from a local file: nothing of it is uploaded any more (W8); the lock must be held."""
        local.unlinked = True
        if local.spool is not None:
            self._journal.forget(local.spool.name)
        for flight in self._flights.values():
            if flight.local is local:
                flight.intent.cancelled = True
        self._space.changed()

    def _forget(self, file_id: str) -> None:
        """Drop what is known and kept of a deleted file: a deleted document leaves no copy behind."""
        sha256 = self._attributes.forget(file_id)
        if sha256 is not None:
            self._originals.discard(sha256)

    def _delete_in_background(self, ids: frozenset[str]) -> None:
        for file_id in ids:
            self._journal.delete_later(file_id)
        self._space.doom(ids)
        self.uploader.resume((), ids)

    def rename_locally(self, local: LocalFile, name: str, replaced: frozenset[str]) -> None:
        """Give a file that stays on this machine another name, over an existing one if need be (N6, W9).

        Raises:
            OSError: the local disk refuses.
        """
        with self._lock:
            with local.lock:
                local.materialise()
                if local.clean:
                    # Under its new name the service does not have it.
                    local.stored = NEVER
                local.replaces = local.replaces | replaced
            superseded = self._space.move(local, name)
            self.keep_local(local)
            if superseded is not None:
                self._supersede(superseded, local.replaces)

    def stored(self, intent: Intent, file: FileObject) -> None:
        """Take up that the service has `intent` as `file`."""
        flight = self._flights.get(intent.spool)
        if flight is None:
            self._account.listing.add(file)
        else:
            self.finish(flight, file)

    def failed(self, intent: Intent, error: MoonfsError) -> None:
        """Take up that the service refused an acknowledged `intent` for good."""
        flight = self._land(intent)
        if flight is not None:
            flight.local.failure = (flight.generation, error)

    def cancelled(self, intent: Intent) -> None:
        """Take up that `intent`, whose name is gone, is not tried again."""
        self._land(intent)

    def _land(self, intent: Intent) -> _Flight | None:
        """End a flight that did not arrive."""
        with self._lock:
            flight = self._flights.pop(intent.spool, None)
            if flight is not None:
                with flight.local.lock:
                    flight.local.lent = None
                    flight.local.lock.notify_all()
                self.end_use(flight.local)
        return flight


class _Service:
    """What the uploader sees of the drive."""

    def __init__(self, versions: Versions, account: Account) -> None:
        self._versions = versions
        self.upload = account.upload
        self.delete = account.delete
        self.known = account.known
        self.relist = account.relist
        self.same_text = account.same_text
        self.now = account.now

    def stored(self, intent: Intent, file: FileObject) -> None:
        """Take the uploader's success over, for a waiting writer or from the background."""
        self._versions.stored(intent, file)

    def failed(self, intent: Intent, error: MoonfsError) -> None:
        """Mark an acknowledged file that the service refuses; its bytes stay readable."""
        self._versions.failed(intent, error)

    def cancelled(self, intent: Intent) -> None:
        """End the flight of an intent that is not tried again."""
        self._versions.cancelled(intent)
