"""The life of a local file's versions: written, acknowledged, in flight, stored; or kept on this machine.

`settle` is what a close means: in write-through the newest generation is on the service when it returns (W1), in
write-back its bytes and the intent are on disk (W2) and `workers` bring it to the service. Both go through `store`.
`end_use` puts the bytes where they belong when nobody has them open; `recover` takes up what an earlier run left.
It knows no paths and no handles.

**Threading:** any thread may call `settle`, `store` and `recover`; what says so needs the filesystem's lock, which is
never held during a request. Lock order: that lock, then `LocalFile.lock`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from moonfs import journal as journal_states
from moonfs import names
from moonfs.attributes import Attributes
from moonfs.config import Settings
from moonfs.disowned import Disowned
from moonfs.errors import (
    FileTooLarge,
    InvalidName,
    MoonfsError,
    NameTooLong,
    NotFound,
    Overtaken,
    RateLimited,
    Rejected,
    TimedOut,
    UnsupportedType,
)
from moonfs.journal import Intent, Journal
from moonfs.localfile import NEVER, LocalFile
from moonfs.namespace import Namespace
from moonfs.originals import Originals
from moonfs.recovery import Recovery
from moonfs.remote import Remote as Account
from moonfs.room import Room
from moonfs.spool import Spool, SpoolFile
from moonfs.wire import FileObject
from moonfs.writeback import Uploader

log = logging.getLogger(__name__)

#: Seconds between a close and its upload in write-back: who goes on writing uploads once, and a copy of many files is
#: over before the uploads of the first ones take the processor.
LINGER: Final = 0.2


@dataclass(slots=True)
class _Flight:
    """An upload under way.

    `moves` when its success gives the file the intent's name (write-through rename); `background`: in a worker.
    """

    local: LocalFile
    generation: int
    intent: Intent
    moves: bool = False
    background: bool = False
    over: LocalFile | None = None
    replaces: frozenset[str] = frozenset()


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
        self._disowned = Disowned(
            account=account, space=space, journal=journal, attributes=attributes, uploader=self.uploader, lock=lock
        )
        self._recovery = Recovery(
            account=account,
            space=space,
            spool=spool,
            journal=journal,
            originals=originals,
            attributes=attributes,
            uploader=self.uploader,
            disowned=self._disowned,
        )

    def recover(self) -> None:
        """Take up what an earlier run left in the journal (W2, W4, W6); call once, before the first request.

        Raises:
            OSError: bytes that the journal promises cannot be read; nothing of them is given up.
        """
        with self._lock:
            recovered, deletions = self._recovery.run()
        # Nothing starts before everything is known.
        self.uploader.delete_later(deletions)
        for local in recovered:
            if local.pending and not local.refused_for_good:
                self._schedule(local)
        for intent in list(self._space.disowned.values()):
            self._disowned.look_for(intent)

    # What a close means

    def settle(self, local: LocalFile) -> None:
        """Make the newest generation as safe as the mount promises: on the service, or on this disk.

        Raises:
            MoonfsError: the service did not take it, or is known to refuse it (N7).
            OSError: the local disk refuses, or refused an earlier write.
        """
        if self._settings.write_back:
            self._acknowledge(local)
        else:
            self.store(local)

    def _acknowledge(self, local: LocalFile) -> None:
        """Bring bytes and intent to this disk (W2)."""
        with local.lock:
            if not self._has_news(local) or local.acknowledged == local.generation:
                return
            self._check_type(local.name)
            self._promise(local)
        self._schedule(local, delay=LINGER)

    def _has_news(self, local: LocalFile) -> bool:
        """Whether there is something for the service; the file's lock must be held.

        Raises what kept an earlier write, or an earlier upload of the same generation, from being done.
        """
        if local.unlinked or local.clean or local.hollow:
            return False
        if local.refused is not None:
            raise local.refused
        if local.stays_local:
            return False
        if local.failure is not None and local.failure[0] == local.generation:
            raise local.failure[1]
        return True

    def _promise(self, local: LocalFile) -> None:
        """Make the bytes durable, then the intent; the file's lock must be held."""
        spool, older = local.materialise(), local.committed
        self._record(local, self._pending(local, spool), spool, older)
        local.committed, local.acknowledged, local.kept = spool, local.generation, True
        local.journaled = None

    def _record(self, local: LocalFile, intent: Intent, spool: SpoolFile, older: SpoolFile | None) -> None:
        """Make `spool` durable and journal `intent` for it, in place of what was committed before; file's lock held.

        Few bytes go into the journal's row, so that one fsync does for both; others are synced before it.
        """
        data = spool.small()
        if data is None:
            spool.sync()
        left = self._leave_attempt(local, intent.spool)
        instead_of = ""
        if older is not None and older.name != intent.spool:
            # An upload under way still needs its row, unless the name has changed since.
            flying = older is local.lent and local.attempt is not None and local.attempt.name == local.name
            instead_of = "" if flying else older.name
        self._journal.put(intent, *left, instead_of=instead_of, data=data)
        if older is not None and older.name != intent.spool and older is not local.lent:
            older.discard()

    def _leave_attempt(self, local: LocalFile, spool: str) -> list[Intent]:
        """Keep track of an upload under way or in doubt that the name or the bytes move on from; the lock is held.

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
        else:
            self.uploader.remember_doubt(attempt, local.name)
        left = replace(self._disowned.left_of(attempt), spool=f"{attempt.spool}.{secrets.token_hex(4)}", inode=0)
        self._disowned.look_for(left)
        return [left]

    def _pending(self, local: LocalFile, spool: SpoolFile) -> Intent:
        return Intent(
            spool=spool.name,
            name=local.name,
            state=journal_states.PENDING,
            purpose=self._settings.purpose,
            size=spool.size,
            sha256="",
            mtime_ns=local.mtime_ns,
            inode=local.inode,
            replaces=local.replaces,
            acknowledged=time.time_ns(),
            private=local.private,
        )

    def remember_time(self, local: LocalFile) -> None:
        """Journal a modification time that was set on bytes that are kept here (A1); the lock must be held."""
        with local.lock:
            journaled = local.journaled
            if local.pending and local.lent is None and local.committed is not None:
                self._journal.put(self._pending(local, local.committed))
        if journaled is not None and not local.handles:
            self.keep_local(local)

    # The way to the service

    def _schedule(self, local: LocalFile, attempt: int = 0, delay: float = 0.0) -> None:
        self.uploader.workers.submit(lambda: self._upload(local, attempt), delay)

    def _upload(self, local: LocalFile, attempt: int) -> None:
        """Bring an acknowledged version to the service, in a worker; on failure once more later (W2)."""
        with local.lock:
            if local.unlinked or local.committed is None or local.lent is not None or local.refused_for_good:
                return
        try:
            self.store(local, acknowledged=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was acknowledged is tried again (W2)
            if isinstance(error, MoonfsError) and not may_pass(error):
                return
            if isinstance(error, RateLimited):
                self.uploader.workers.slow_down()
            delay = max(self.uploader.backoff(attempt), getattr(error, "retry_after", None) or 0.0)
            log.warning("%s is not uploaded yet, next try in %.0f s: %s", local.name, delay, error)
            self._schedule(local, attempt + 1, delay)
        else:
            self.uploader.workers.speed_up()

    def store(
        self,
        local: LocalFile,
        *,
        acknowledged: bool = False,
        name: str | None = None,
        replaced: frozenset[str] = frozenset(),
        over: LocalFile | None = None,
    ) -> None:
        """Bring the newest generation (or the newest that was acknowledged) to the service.

        With `name` it is stored under that name and has it from then on (rename), in place of the remote files
        `replaced` and the local file `over`. Returns when it is there, or when
        there is nothing to do: stored already, unlinked, or staying local.

        Raises:
            MoonfsError: the service did not take it.
            OSError: the local disk refuses, or refused an earlier write.
        """
        with local.lock:
            deadline = time.monotonic() + self._settings.upload_timeout
            while local.lent is not None:
                if not local.lock.wait(max(0.0, deadline - time.monotonic())):
                    raise TimedOut(f"An earlier upload of {local.name} has not ended yet.")
            if acknowledged:
                if local.unlinked or local.committed is None:
                    return
                spool, generation = local.committed, local.acknowledged
            else:
                if name is None and not self._has_news(local):
                    return
                if local.refused is not None:
                    raise local.refused
                if local.unlinked:
                    raise NotFound(f"{local.name} was deleted.")
                spool, generation = local.materialise(), local.generation
            local.lent = spool
            if acknowledged:
                intent = local.attempt or self._pending(local, spool)
                intent.replaces = local.replaces
            else:
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
            local.attempt = intent
        flight = _Flight(
            local,
            generation,
            intent,
            moves=name is not None,
            background=acknowledged,
            over=over,
            replaces=intent.replaces,
        )
        try:
            intent.sha256 = intent.sha256 or spool.sha256()
            if (same := self._same_bytes(intent)) is not None:
                for file_id in self._finish(flight, same):
                    self.uploader.delete_queued(file_id)
                return
            if not intent.replaces and not acknowledged:
                self._room.check_one_more(beside=local)
            self._flights[spool.name] = flight
            self.uploader.store(intent, spool)
        except Overtaken as error:
            self._store_failed(flight, error)
            if acknowledged or local.unlinked:
                return
            raise
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
                and not self._space.is_doomed(file_id)
                and self._attributes.get(file_id).sha256 == intent.sha256
                and names.safe(file.filename) == intent.name
            ):
                return file
        return None

    def _finish(self, flight: _Flight, file: FileObject) -> frozenset[str]:
        """Make `file` the stored version of what was in flight, in one step for every reader and for the journal.

        Returns the ids to delete now; the journal has them.
        """
        local, intent = flight.local, flight.intent
        if flight.background:
            self._outlast_the_journal(flight)
        with self._lock:
            surplus = intent.replaces - {file.id}
            gone = not flight.moves and intent.name != local.name and local.stays_local
            if local.unlinked or gone:
                surplus |= {file.id}
            if flight.over is not None:
                # What it takes the place of may have been stored meanwhile.
                surplus |= flight.over.replaces - {file.id}
            self._flights.pop(intent.spool, None)
            self._space.doom(surplus)
            self._space.own(intent.name, file.id)
            with local.lock:
                self._attributes.set(file.id, mtime_ns=local.mtime_ns, inode=local.inode, sha256=intent.sha256 or None)
                sent, local.lent = local.lent, None
                local.replaces = (local.replaces - intent.replaces) | ({file.id} - surplus)
                local.attempt = None
                renamed = not flight.moves and intent.name != local.name
                older = ""
                if not renamed:
                    local.stored = flight.generation
                    local.sha256 = intent.sha256
                    local.base = local.current = file
                    local.failure = None
                    overtaken = local.committed if flight.generation >= local.acknowledged else None
                    if overtaken is not None:
                        local.committed = None
                        if overtaken is not sent:
                            older = overtaken.name
                            overtaken.discard()
                    local.kept = local.committed is not None
                # Its place among the journal's changes is fixed here; the disk is waited for without the locks.
                recorded = self._journal.stored(intent, file.id, surplus, older)
                local.lock.notify_all()
            if sent is not None and sent is not local.spool and sent is not local.committed:
                sent.rest()
                self._adopt(sent.path, intent.sha256, sent.size)
            if flight.moves and not local.unlinked and intent.name != local.name:
                superseded = self._space.move(local, intent.name)
                if superseded is not None:
                    self._supersede(superseded, intent.replaces | {file.id})
            self._space.changed()
            self._account.listing.add(file)
            if local.committed is not None and not local.unlinked:
                # It was renamed or overwritten while it was on its way.
                self._schedule(local)
            self.end_use(local)
        recorded.wait()
        return surplus

    @staticmethod
    def _outlast_the_journal(flight: _Flight) -> None:
        """Make bytes durable that only the journal's row was sure to keep: the row goes, the original stays (R5)."""
        try:
            if flight.local.lent is not None:
                flight.local.lent.sync()
        except OSError as error:
            log.warning("The original of %s may not survive a power cut: %s", flight.intent.name, error.strerror)

    def _store_failed(self, flight: _Flight, error: BaseException) -> None:
        """Leave everything as it was before the flight, but for what is acknowledged: that is tried again."""
        local, intent = flight.local, flight.intent
        lasting = isinstance(error, MoonfsError) and not may_pass(error)
        with self._lock:
            self._flights.pop(intent.spool, None)
            with local.lock:
                sent, local.lent = local.lent, None
                # Old versions may have had to make room; copies of earlier attempts may have turned up.
                local.replaces = (local.replaces - (flight.replaces - intent.replaces)) | (
                    intent.replaces - flight.replaces
                )
                if intent.state == journal_states.PENDING and local.committed is None and not local.unlinked:
                    # These bytes are the only ones left: from now on they are acknowledged.
                    local.committed, local.acknowledged, local.kept = sent, flight.generation, True
                promised = local.committed is not None and local.committed is sent
                renamed = not flight.moves and intent.name != local.name
                lasting = lasting and not renamed
                local.attempt = intent if promised and not renamed else None
                if isinstance(error, MoonfsError) and lasting and (promised or not flight.moves):
                    local.failure = (flight.generation, error)
                local.lock.notify_all()
            if not promised or local.unlinked:
                self._abandon(flight, sent)
            elif lasting:
                self._journal.put(replace(intent, state=journal_states.FAILED, error=str(error)))
            elif not flight.background or renamed:
                self._schedule(local, attempt=1, delay=self.uploader.backoff(1))
            if promised and flight.moves and (superseded := self._space.move(local, intent.name)):
                self._supersede(superseded, intent.replaces)
            if flight.background and not promised and local.committed is not None:
                self._schedule(local)
            self._space.changed()
            self.end_use(local)
        if getattr(error, "maybe_stored", False):
            self._account.listing.expire()

    def _abandon(self, flight: _Flight, sent: SpoolFile | None) -> None:
        """Forget a version that nobody counts on; if it may have arrived, its copy is looked for; lock held."""
        local, intent = flight.local, flight.intent
        if intent.unanswered and (local.unlinked or flight.background):
            intent.cancelled = True
            left = self._disowned.left_of(intent)
            self._journal.put(left)
            self._disowned.look_for(left)
        else:
            self._journal.forget(intent.spool)
        if sent is not None and sent is not local.spool:
            sent.discard()
        if local.kept and local.stays_local and not local.unlinked:
            local.journaled = None
            with contextlib.suppress(OSError):
                self.keep_local(local)

    def keep_local(self, local: LocalFile) -> None:
        """Journal a file that stays on this machine (W6); the lock must be held.

        Raises:
            OSError: the local disk refuses.
        """
        with local.lock:
            state = (local.name, local.generation, local.mtime_ns)
            if local.journaled == state:
                return
            spool, older = local.materialise(), local.committed
            intent = Intent(
                spool=spool.name,
                name=local.name,
                state=journal_states.LOCAL,
                purpose=self._settings.purpose,
                size=spool.size,
                sha256="",
                mtime_ns=local.mtime_ns,
                inode=local.inode,
                replaces=local.replaces,
                acknowledged=time.time_ns(),
                private=local.private,
            )
            self._record(local, intent, spool, older)
            local.committed = None
            local.kept = True
            local.journaled = state

    def end_use(self, local: LocalFile) -> None:
        """Put a file's bytes where they belong once nobody has it open; the lock must be held."""
        if local.handles:
            return
        broken = local.committed is not None and local.committed is not local.spool and not local.stays_local
        if broken and not local.unlinked and not local.clean:
            # Its writer was told that the newest bytes failed: what was acknowledged before shows again.
            local.revert()
        if local.lent is not None:
            return
        if local.unlinked:
            local.discard()
        elif local.clean:
            self._space.drop(local)
            local.rest()
            if local.spool is not None:
                self._journal.forget(local.spool.name)
                self._adopt(local.spool.path, local.sha256, local.spool.size)
        elif local.stays_local and not local.hollow and (local.refused is None or local.kept):
            local.refused = None
            try:
                self.keep_local(local)
            except OSError as error:
                log.error("Cannot keep %s: %s", local.name, error.strerror)
            local.rest()
        elif local.committed is not None:
            local.rest()
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
        self.cancel(local, local.replaces - inherited)
        self.end_use(local)

    def cancel(self, local: LocalFile, delete: frozenset[str] = frozenset()) -> None:
        """Take its name from a local file, and delete `delete` in the background (W8); the lock must be held.

        Nothing of it is uploaded any more; what an upload under way or in doubt leaves is deleted.
        """
        with local.lock:
            local.unlinked = True
            attempt, flying = local.attempt, local.lent is not None
            spools = {file.name for file in (local.spool, local.committed) if file is not None}
            local.attempt = None
        left = []
        if attempt is not None and (flying or attempt.unanswered):
            # Should this process end before the upload does, its copy is to be deleted at the next start.
            attempt.cancelled = True
            left.append(self._disowned.left_of(attempt))
        self._journal.give_up(spools, left, delete)
        self._space.doom(delete)
        self._space.changed()
        self.uploader.delete_later(delete)
        for intent in left:
            self._disowned.look_for(intent)

    def unlink_later(self, local: LocalFile) -> None:
        """Delete a local file and what it replaces on the service, in the background (W8); the lock must be held."""
        self.cancel(local, local.replaces)
        self._space.drop(local)
        self.end_use(local)

    def delete_later(self, ids: frozenset[str]) -> None:
        """Hide remote files now and delete them in the background (W8); the lock must be held."""
        self._journal.give_up((), delete=ids)
        self._space.doom(ids)
        self.uploader.delete_later(ids)

    def _forget(self, file_id: str) -> None:
        """Drop what is known and kept of a deleted file: a deleted document leaves no copy behind."""
        sha256 = self._attributes.forget(file_id)
        if sha256 is not None:
            self._originals.discard(sha256)

    def rename_here(self, local: LocalFile, name: str, replaced: Callable[[], frozenset[str]]) -> None:
        """Give a file another name without waiting for the service: one that stays here, or in write-back any (W9).

        `replaced()` returns the remote files that have the name, at the moment when it changes hands.

        Raises:
            UnsupportedType: a name that the service is known to refuse (N7).
            OSError: the local disk refuses, or refused an earlier write.
        """
        stays = local.size == 0 or local.local_name(name)
        if not stays:
            self._check_type(name)
        with self._lock:
            with local.lock:
                if local.refused is not None:
                    raise local.refused
                local.materialise()
                if local.clean:
                    # Under its new name the service does not have it.
                    local.stored = NEVER
                old = local.name
                if local.attempt is not None and local.attempt.unanswered:
                    self.uploader.remember_doubt(local.attempt, name)
                local.replaces = local.replaces | replaced()
            superseded = self._space.move(local, name)
            try:
                if stays:
                    self.keep_local(local)
                else:
                    with local.lock:
                        self._promise(local)
            except OSError:
                self._space.move(local, old)
                if superseded is not None:
                    self._space.put(superseded)
                raise
            if superseded is not None:
                self._supersede(superseded, local.replaces)
            if stays:
                # The bytes are safe here, and the name they had on the service is given up.
                self.delete_later(local.replaces)
                local.replaces = frozenset()
        if not stays:
            self._schedule(local)

    def pending(self) -> list[LocalFile]:
        """Return the files that are acknowledged and not on the service yet, failed ones left out; lock held."""
        return [
            local for local in self._space.local.values() if local.committed is not None and not local.refused_for_good
        ]

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        """Take up that the service has `intent` as `file`; return what must be deleted now."""
        return self._finish(self._flights[intent.spool], file)

    @staticmethod
    def _check_type(name: str) -> None:
        if not names.extension(name):
            raise UnsupportedType(
                f"The service takes no files without an extension, such as {name}; give it one, like .txt."
            )


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

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        """Take the uploader's success over, for a waiting writer or from the background."""
        return self._versions.stored(intent, file)


def may_pass(error: MoonfsError) -> bool:
    """Say whether what failed may succeed later without anybody changing the file: all but a refusal of the file."""
    return not isinstance(error, Rejected | FileTooLarge | InvalidName | NameTooLong)
