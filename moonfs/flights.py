"""Versions on their way to the service: what is sent, and what becomes of the file when it arrives or is refused.

Every version goes the same way (spool → journal → uploader): a writer that waits for it, an acknowledged version in
a worker, a rename under its new name. It knows no paths and no handles.

**Threading:** any thread may call. The filesystem's lock is never held during a request; lock order: that lock, then
`LocalFile.lock`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moonfs import advice, names
from moonfs import journal as journal_states
from moonfs.adoption import Adoption
from moonfs.attributes import Attributes
from moonfs.disowned import Disowned
from moonfs.doubts import is_failure
from moonfs.errors import (
    FileTooLarge,
    MoonfsError,
    NotFound,
    Overtaken,
    QuotaExceeded,
    TimedOut,
    TooManyBytes,
    TooManyFiles,
    is_final,
)
from moonfs.journal import Intent, Journal
from moonfs.localfile import NEVER, LocalFile
from moonfs.namespace import ANYBODY, Namespace
from moonfs.originals import Originals
from moonfs.promises import Promises
from moonfs.remote import Remote as Account
from moonfs.reserves import Reserves
from moonfs.room import Room
from moonfs.spool import SpoolFile
from moonfs.table import has_text
from moonfs.temporaries import Temporaries
from moonfs.wire import FileObject
from moonfs.writeback import LINGER, Uploader, Way

log = logging.getLogger(__name__)

#: Seconds for which a rename waits for its upload in write-through; the kernel locks the directory meanwhile (E2).
RENAME_SECONDS: Final = 2.0
#: Where the account is suspended only somebody's deed helps: the next try waits as after this many failures.
_PATIENT: Final = 20
#: Seconds after which a version that came back looks again whether what is in doubt under its name is told (W3, W4).
_AGAIN: Final = 1.0

Report = Callable[[str, MoonfsError], None]


class Life(Protocol):
    """What happens to a file besides its flights."""

    def end_use(self, local: LocalFile) -> None:
        """Put its bytes where they belong once nobody has it open; the filesystem's lock is held."""

    def took(self, local: LocalFile, over: LocalFile | None, inherited: frozenset[str]) -> None:
        """Take in that it has the name of `over`, and what that answers for; the filesystem's lock is held."""


@dataclass(slots=True)
class _Flight:
    """An upload under way.

    Attributes:
        replaces: what the intent replaced at the start.
        moves: its success gives the file the intent's name (a rename that waits).
        background: in a worker; nobody waits for its outcome.
        over: the local file whose name it takes.
        purpose: what it is uploaded as, empty where the mount says; for a version that is promised already, as that is.
        given_up: nobody wants it to start any more.
        before: the attempt, in doubt, at a version that was promised and that this one may overtake.
    """

    local: LocalFile
    generation: int = 0
    intent: Intent | None = None
    replaces: frozenset[str] = frozenset()
    moves: bool = False
    background: bool = False
    over: LocalFile | None = None
    purpose: str = ""
    given_up: bool = False
    before: Intent | None = None


class Flights:
    """The flights of one account.

    Attributes:
        settled: how many versions have come to an end: the service has them, or refuses them for good.
    """

    def __init__(
        self,
        life: Life,
        lock: threading.RLock,
        *,
        account: Account,
        space: Namespace,
        room: Room,
        journal: Journal,
        originals: Originals,
        attributes: Attributes,
        uploader: Uploader,
        disowned: Disowned,
        promises: Promises,
        temporaries: Temporaries,
        reserves: Reserves,
        report: Report,
        patience: float,
    ) -> None:
        """`report(name, error)` is told what fails in the background; `patience` is in seconds, for one upload."""
        self._life = life
        self._lock = lock
        self._account = account
        self._space = space
        self._room = room
        self._journal = journal
        self._adoption = Adoption(originals)
        self.adopt = self._adoption.adopt
        self._attributes = attributes
        self._uploader = uploader
        self._disowned = disowned
        self._promises = promises
        self._temporaries = temporaries
        self._reserves = reserves
        reserves.bring = self.schedule
        self._report = report
        self._patience = patience
        self._under_way: dict[str, _Flight] = {}
        self._renames: list[threading.Thread] = []
        self.settled = 0

    def close(self, timeout: float = 5.0) -> None:
        """Wait up to `timeout` seconds for the renames under way; their promises are in the journal."""
        deadline = time.monotonic() + timeout
        for thread in self._renames:
            thread.join(max(0.0, deadline - time.monotonic()))

    # In the background

    def schedule(self, local: LocalFile, attempt: int = 0, delay: float = 0.0) -> None:
        """Bring the acknowledged version to the service in a worker, after `delay` seconds, until it is there (W2)."""
        self._uploader.workers.submit(lambda: self._carry(local, attempt), delay)

    def schedule_promised(self, local: LocalFile) -> None:
        """Bring what was promised just now to the service once its writer pauses, or has gone on for long (W2)."""
        generation = local.acknowledged
        self._uploader.workers.submit(lambda: self._carry_settled(local, generation), self._uploader.promised())

    def _carry_settled(self, local: LocalFile, generation: int) -> None:
        newest = local.acknowledged
        if newest != generation and self._uploader.patient:
            self._uploader.workers.submit(lambda: self._carry_settled(local, newest), LINGER)
            return
        self._carry(local, 0)

    def _carry(self, local: LocalFile, attempt: int) -> None:
        with local.lock:
            if local.unlinked or local.committed is None or local.lent is not None or local.refused_for_good:
                return
        if wait := self._room.hold(local):
            self.schedule(local, attempt, wait)
            return
        try:
            if local.reserve and not self._may_come_back(local):
                self.schedule(local, attempt, _AGAIN)
                return
            self._fly(_Flight(local, background=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, what was acknowledged is tried again (W2)
            self._carry_again(local, attempt, error)

    def _may_come_back(self, local: LocalFile) -> bool:
        """Say whether the version before may go to the service, which may have it still, or a newer one (W3, W4).

        Where it has it still, it may be about to delete it.

        Raises:
            MoonfsError: that cannot be told now.
        """
        self._account.relist()
        with self._lock:
            open_ones = any(self._account.listing.is_in_doubt(file_id) for file_id in local.replaces)
            return not (open_ones or self._disowned.is_in_doubt(local.name))

    def _carry_again(self, local: LocalFile, attempt: int, error: Exception) -> None:
        local.trouble = error
        unsent = isinstance(error, MoonfsError) and error.unsent and not _is_full(error)
        if isinstance(error, MoonfsError):
            if (attempt == 0 and not unsent) or is_final(error):
                self._report(local.name, error)
            if is_final(error):
                return
        delay = max(self._uploader.backoff(attempt), getattr(error, "retry_after", None) or 0.0)
        if unsent:  # no attempt at all: it is told in the status only
            log.debug("%s waits for its turn: %s", local.name, error)
            self.schedule(local, attempt, delay)
            return
        if _is_suspended(error):
            delay = max(delay, self._uploader.backoff(attempt + _PATIENT))
        log.warning("%s is not uploaded yet, next try in %.0f s: %s", local.name, delay, error)
        self.schedule(local, attempt + 1, delay)

    # With somebody waiting

    def store(self, local: LocalFile) -> None:
        """Bring the newest generation to the service; return when it is there, or when there is nothing to do (W1).

        Raises:
            MoonfsError: the service did not take it.
            OSError: the local disk refuses, or refused an earlier write.
        """
        self._fly(_Flight(local))

    def rename(
        self,
        local: LocalFile,
        name: str,
        purpose: str,
        replaced: frozenset[str],
        over: LocalFile | None,
        *,
        patient: bool = False,
    ) -> None:
        """Store the bytes under `name` as `purpose`, in place of the remote files `replaced` and the local `over` (W9).

        Waits for `RENAME_SECONDS`, or, if `patient`, until it is there. An upload that takes longer is promised on this
        disk and goes on in the background: a rename locks the whole directory, for everybody.

        Raises:
            MoonfsError: the service did not take it; both files stay as they were.
            OSError: the local disk refuses.
        """
        flight = _Flight(local, moves=True, over=over, purpose=purpose)
        if patient:
            self._fly(flight, name, replaced)
            return
        outcome: Future[None] = Future()

        def fly() -> None:
            try:
                self._fly(flight, name, replaced)
            except BaseException as error:  # noqa: BLE001 - it is whoever waits that must hear of it
                if flight.background and isinstance(error, Exception):
                    self._carry_again(local, 0, error)
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        thread = threading.Thread(target=fly, name="moonfs-rename", daemon=True)
        self._renames = [thread, *(other for other in self._renames if other.is_alive())]
        thread.start()
        wait([outcome], RENAME_SECONDS)
        if outcome.done() or not self._let_go(flight, name):
            outcome.result()

    def _let_go(self, flight: _Flight, name: str) -> bool:
        """Turn a rename under way into a promise, under its new name from now on; False when it cannot be."""
        local = flight.local
        with self._lock:
            with local.lock:
                intent, spool = flight.intent, local.lent
                if intent is None:  # it waits for an earlier upload of the same file
                    flight.given_up = True
                    local.lock.notify_all()
                    return False
                if spool is None or self._under_way.get(intent.spool) is not flight:
                    return False
                if local.unlinked or local.attempt is not intent or local.growing is not None:
                    return False
                older = local.committed
                intent.state, intent.acknowledged = journal_states.PENDING, self._journal.number()
                intent.local_name, intent.private, intent.held, intent.closed = "", False, {}, 0
                try:
                    data = spool.small()
                    if data is None:
                        spool.sync()
                    instead_of = "" if older is None or older is spool else older.name
                    known = replace(intent, unanswered=intent.unanswered + intent.under_way)
                    freed = local.name if local.name != name else ""
                    self._journal.put(known, instead_of=instead_of, freed=freed, data=data)
                except OSError as error:
                    log.warning("The rename to %s cannot be promised and has to wait: %s", name, error)
                    intent.state = journal_states.UPLOADING
                    return False
                if older is not None and older is not spool:
                    older.discard()
                local.purpose = flight.purpose
                local.commit(spool, flight.generation)
                local.journaled = local.failure = local.trouble = None
                local.private = False
                local.settle_down()
                if local.clean:
                    local.stored = NEVER  # under its new name, or for its new purpose, the service does not have it
                local.replaces |= intent.replaces
                flight.moves, flight.background, flight.replaces = False, True, intent.replaces
            superseded = self._space.move(local, name)
            self._life.took(local, superseded, intent.replaces)
            with contextlib.suppress(OSError):  # it is recorded already
                self._disowned.removed(freed)
            self._space.changed()
        return True

    # The way there

    def _fly(self, flight: _Flight, name: str = "", replaced: frozenset[str] = frozenset()) -> None:
        local = flight.local
        with local.lock:
            spool = self._board(flight, name, replaced)
            if spool is None:
                return
        intent = flight.intent
        assert intent is not None
        try:
            self._leave_before(flight)
            intent.sha256 = intent.sha256 or spool.sha256()
            with self._lock:
                intent.borrowed = self._space.held_under(intent.name, local)
                same = self._same_bytes(intent)
            if same is not None and self._take_back(flight, intent):
                return
            if not intent.replaces and not flight.background:
                self._room.check_one_more(beside=local)
            self._under_way[spool.name] = flight
            with self._room.passage(intent, waits=not flight.background):
                self._uploader.store(intent, spool)
        except Overtaken as error:
            self._failed(flight, intent, error)
            if flight.background or local.unlinked:
                return
            raise
        except BaseException as error:
            self._failed(flight, intent, error)
            raise

    def _board(self, flight: _Flight, name: str, replaced: frozenset[str]) -> SpoolFile | None:
        """Choose the version that flies, with its intent; None when there is none. The file's lock must be held."""
        local = flight.local
        deadline = time.monotonic() + self._patience
        while local.lent is not None:
            if flight.given_up:
                raise Overtaken(f"{local.name} is to be renamed without its upload.")
            if not local.lock.wait(max(0.0, deadline - time.monotonic())):
                raise TimedOut(
                    f"An earlier upload of {local.name} has not ended yet; try again when moonfs status shows none."
                )
        if flight.background:
            if local.unlinked or local.committed is None:
                return None
            spool, flight.generation = local.committed, local.acknowledged
            flight.purpose = local.promised
            flight.intent = local.attempt or self._promises.intent(local, spool, flight.purpose)
            flight.intent.replaces = local.replaces
        else:
            if not name and not local.has_news():
                return None
            if local.refused is not None:
                raise local.refused
            if local.unlinked:
                raise NotFound(f"{local.name} was deleted.")
            if local.growing is not None:
                # What a close has promised holds, whatever comes of this.
                self._promises.upload(local)
            spool, flight.generation = local.materialise(), local.generation
            local.number(afresh=local.committed is None)
            flight.purpose = flight.purpose if name else local.purpose
            flight.intent = replace(
                self._promises.intent(local, spool, flight.purpose),
                name=name or local.name,
                state=journal_states.UPLOADING,
                replaces=local.replaces | replaced,
                local_name=local.name if local.kept else "",
                acknowledged=0,
            )
        flight.replaces = flight.intent.replaces
        if local.attempt is not flight.intent:
            flight.before = local.attempt
        local.lent, local.attempt = spool, flight.intent
        return spool

    def _leave_before(self, flight: _Flight) -> None:
        """Keep track of what an upload in doubt has left that this flight may overtake (W3).

        Should this one fail, that one's bytes are sent again, and are told by this record.
        """
        before = flight.before
        if before is None or not before.unanswered or before.left:
            return
        with self._lock:
            left = self._disowned.left_apart(before, flying=False, replaced=not flight.local.unlinked)
            self._journal.put(left)
            self._disowned.look_for(left)

    def _same_bytes(self, intent: Intent) -> FileObject | None:
        """Return the file that has exactly these bytes under this name already, as was asked (W4); lock held.

        Not one that may be deleted already, or yet.
        """
        files = self._account.known()
        for file_id in intent.replaces | intent.borrowed:
            file = files.get(file_id)
            if (
                file is not None
                and not self._space.is_doomed(file_id)
                and not self._account.listing.is_in_doubt(file_id)
                and not is_failure(file)
                and self._attributes.get(file_id).sha256 == intent.sha256
                and names.safe(file.filename) == intent.name
                and intent.purpose in (names.AUTO, file.purpose)
            ):
                return file
        return None

    def _take_back(self, flight: _Flight, intent: Intent) -> bool:
        """Take up that the service has these bytes already; False when that copy was given up just now."""
        if flight.background:
            self._adoption.outlast_the_journal(flight.local)
        with self._lock:
            intent.borrowed = self._space.held_under(intent.name, flight.local)
            same = self._same_bytes(intent)
            if same is None:
                return False
            surplus = self._arrived(flight, intent, same)
        for file_id in surplus:
            self._uploader.delete_queued(file_id)
        return True

    # There

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        """Take up that the service has `intent` as `file`; return what must be deleted now."""
        return self._arrived(self._under_way[intent.spool], intent, file)

    def _arrived(self, flight: _Flight, intent: Intent, file: FileObject) -> frozenset[str]:
        """Make `file` the stored version of what was in flight, in one step for every reader and for the journal.

        Returns the ids to delete now; the journal has them.
        """
        local = flight.local
        if flight.background:
            self._adoption.outlast_the_journal(local)
        with self._lock:
            if intent.adopted and local.unlinked:
                # Nobody wants it, and it may be a newer version's copy, of the same bytes.
                raise Overtaken(f"{intent.name} is not wanted any more.", maybe_stored=True)
            here = flight.moves or intent.name == local.name
            holds = not here and not local.unlinked and local.stays_local
            surplus = self._surplus(flight, intent, file)
            self._settle(flight, intent, file)
            kept = self._show(local, intent, file, surplus)
            with local.lock:
                self._attributes.set(file.id, mtime_ns=local.mtime_ns, inode=local.inode, sha256=intent.sha256 or None)
                sent, local.lent = local.lent, None
                local.replaces = (local.replaces - intent.replaces - surplus) | ({file.id} - surplus)
                local.held = {} if here else {each: had for each, had in local.held.items() if each in local.replaces}
                if holds:
                    # It was renamed to a name that stays here while its bytes were on their way: as any stored version.
                    local.held, local.closed = {**local.held, file.id: intent.name}, time.time_ns()
                local.attempt = None
                older = self._is_stored(flight, intent, file, sent) if here else None
                # The original first: without its row nothing keeps the spool file through a kill (R5).
                self._adoption.share(sent, intent.sha256)
                # Its place among the journal's changes is fixed here; the disk is waited for without the locks.
                since = local.closed if holds else 0
                left = self._disowned.beside(intent, file)
                left += [] if kept is None else self._disowned.of_reserve(kept, replaced=True)
                freed = local.name if flight.moves and not (local.unlinked or local.name == intent.name) else ""
                row = "" if older is None else older.name
                recorded = self._journal.stored(intent, file.id, surplus, row, since, left=left, freed=freed)
                waiting = self._adoption.begin(local, None if older in (sent, local.spool) else older)
                local.lock.notify_all()
            if kept is not None and kept.committed is not None and self._space.local.get(kept.name) is not kept:
                waiting.append((kept.committed, ""))  # its row goes with this change
            if sent is not None and sent is not local.spool and sent is not local.committed:
                sent.rest()
                self.adopt(local, sent, intent.sha256)
            if flight.moves and not local.unlinked and intent.name != local.name:
                superseded = self._space.move(local, intent.name)
                self._life.took(local, superseded, intent.replaces | {file.id})
            self._answered(intent, left, freed)
            self._space.changed()
            self._go_on(local, holds=holds)
        try:
            recorded.wait()
        finally:
            with self._lock:
                self._adoption.end(local, waiting)
        return surplus

    def _show(self, local: LocalFile, intent: Intent, file: FileObject, surplus: frozenset[str]) -> LocalFile | None:
        """Show what `local` is stored as, and no more what goes with that; the lock is held.

        Return the version before, if it was kept for this name.
        """
        kept = self._reserves.stored(intent.name, local)
        refused = self._space.local.get(intent.name) if intent.state == journal_states.RESERVED else None
        if refused is not None:
            # What came back stands behind the refused version that is shown (W4), as the journal has it.
            with refused.lock:
                refused.replaces |= {file.id}
        self._space.own(intent.name, file.id)
        self._disowned.own(intent.name, file.id)
        self._space.doom(surplus)
        self._space.let_go(surplus | {file.id}, beside=local)
        # Before the next flight of this file can begin: what is known by then, that one has not made (W3).
        self._account.listing.add(file)
        return kept

    def _go_on(self, local: LocalFile, *, holds: bool) -> None:
        """Do what comes after a flight; `holds`: its file stays here, and holds what it has made. The lock is held."""
        if local.committed is not None and not local.unlinked:
            # It was renamed or overwritten while it was on its way.
            self.schedule(local)
        self._life.end_use(local)
        if holds:  # though somebody writes to it: what the next version has overtaken goes
            self._temporaries.watch(local)

    def _answered(self, intent: Intent, left: list[Intent], freed: str) -> None:
        """Take in that an upload got its id, and have what is `left` of its attempts looked for; the lock is held.

        The name `freed` is gone with it.
        """
        self._disowned.ended(intent.left or intent.spool, intent, unanswered=intent.unanswered - intent.adopted)
        self._disowned.hurry(intent.name)
        for one in left:
            self._disowned.look_for(one, flying=self._is_flying(one))
        with contextlib.suppress(OSError):  # it is recorded already
            self._disowned.removed(freed)

    def _surplus(self, flight: _Flight, intent: Intent, file: FileObject) -> frozenset[str]:
        """Return the ids that go now that the service has `file`; the lock must be held."""
        local, surplus = flight.local, intent.replaces
        if flight.moves or intent.name == local.name:
            # It may have been renamed over others and back to this name while it was on its way.
            surplus |= local.replaces
            if not local.unlinked:
                surplus |= self._space.held_under(intent.name, local) | self._disowned.older_of_ours(intent.name, local)
        if flight.over is not None:
            # What it takes the place of may have been stored meanwhile.
            surplus |= flight.over.replaces
        surplus = frozenset(each for each in surplus if not self._account.listing.is_removed(each)) - {file.id}
        return surplus | {file.id} if local.unlinked else surplus

    def _settle(self, flight: _Flight, intent: Intent, file: FileObject) -> None:
        """Note that a flight has come to its end; the lock is held."""
        self._under_way.pop(intent.spool, None)
        self.settled += 1
        local = flight.local
        if local.name == intent.name and not has_text(file) and self._space.awaits_text(local):
            # The name of its text was listed: whoever deletes all that was listed is to meet no error (W10).
            self._space.leave_ghost(intent.name + names.SIDECAR, ANYBODY)

    @staticmethod
    def _is_stored(flight: _Flight, intent: Intent, file: FileObject, sent: SpoolFile | None) -> SpoolFile | None:
        """Note that the service has this version; return the spool file of a row that goes with it."""
        local = flight.local
        local.stored = flight.generation
        local.sha256 = intent.sha256
        local.base = local.current = file
        if flight.moves:
            local.purpose = flight.purpose
        local.failure = local.trouble = None
        local.private = False
        local.settle_down()
        older = None
        if local.committed is not None and flight.generation >= local.acknowledged:
            older = None if local.committed is sent else local.committed
            local.committed = local.refusal = None
        local.oldest = local.newest  # should a newer one be promised
        local.kept = local.committed is not None or local.growing is not None
        if flight.moves and older is None:
            # Bytes that the service had already were not sent: their row still has the name that they had here, and
            # must not outlive what the rename is told.
            return sent
        return older

    # Not there

    def _failed(self, flight: _Flight, intent: Intent, error: BaseException) -> None:
        """Leave everything as it was before the flight, but for what is to be kept: that is tried again, or waits."""
        local = flight.local
        with self._lock:
            self._under_way.pop(intent.spool, None)
            self.settled += is_final(error)
            with local.lock:
                sent, local.lent = local.lent, None
                # Old versions may have had to make room; copies of earlier attempts may have turned up.
                local.replaces = (local.replaces - (flight.replaces - intent.replaces)) | (
                    intent.replaces - flight.replaces
                )
                local.held = {each: had for each, had in local.held.items() if each in local.replaces}
                irreplaceable = not flight.background and intent.state == journal_states.PENDING
                made_room = irreplaceable and not local.unlinked and local.committed in (None, sent)
                if made_room and sent is not None:
                    # These bytes are the only ones left: from now on they are acknowledged.
                    local.commit(sent, flight.generation, flight.purpose)
                renamed = not flight.moves and intent.name != local.name
                moved = flight.moves and made_room
                promised = local.committed is not None and local.committed is sent and not local.unlinked
                mine = promised and not renamed and (not flight.moves or moved)
                local.attempt = intent if mine else None
                refused = isinstance(error, MoonfsError) and (is_final(error) or _is_full(error) or _is_kept_off(error))
                if isinstance(error, MoonfsError) and refused and not renamed and (moved or not flight.moves):
                    if not promised and self._may_keep_refused(flight, intent):
                        promised = mine = self._keep_refused(flight, sent or local.materialise(), error)
                    # The bytes are the same where they have got a number of their own meanwhile (`revert`).
                    local.failure = (local.generation if sent is local.spool else flight.generation, error)
                    if promised:
                        local.refusal = error
                if sent is not None:
                    kept = promised or local.kept or flight.moves
                    advice.about(error, sent.head(advice.HEAD), name=local.name, wanted=intent.name, kept=kept)
                local.lock.notify_all()
            if moved:
                self._life.took(local, self._space.move(local, intent.name), intent.replaces)
            if not mine:  # before its row, or its record, goes
                self._drop_numbered(local, intent)
            self._what_is_left(flight, intent, sent, error, promised=promised, mine=mine)
            self._space.changed()
            self._life.end_use(local)
            self._reserves.settle(intent.name)
        if getattr(error, "maybe_stored", False):
            self._account.listing.expire()

    def _what_is_left(
        self,
        flight: _Flight,
        intent: Intent,
        sent: SpoolFile | None,
        error: BaseException,
        *,
        promised: bool,
        mine: bool,
    ) -> None:
        """Bring the journal and the queue in line with a failure; the filesystem's lock is held.

        `promised`: the bytes that flew are kept; `mine`: so they are under the intent's name, by its row.
        """
        local = flight.local
        final = isinstance(error, MoonfsError) and is_final(error)
        if promised and not mine and flight.moves:
            # A rename of bytes that are kept under their old name: that is what is recorded again.
            if intent.unanswered and not intent.left:
                self._leave_copy(flight, intent, instead_of="")
            self._keep_as_it_was(local)
        elif not promised:
            self._abandon(flight, intent, sent)
        elif mine and final and intent.state == journal_states.RESERVED:
            log.error("The version before of %s does not come back: %s", local.name, error)
        elif mine and final:
            said = journal_states.said(error) if isinstance(error, MoonfsError) else ""
            with contextlib.suppress(OSError):
                self._journal.put(replace(intent, state=journal_states.FAILED, error=said))
        elif not flight.background or not mine:
            self.schedule(local, attempt=1, delay=self._uploader.backoff(_PATIENT if _is_suspended(error) else 1))
        if not (intent.unanswered and not promised and intent.left == ""):
            self._disowned.ended(intent.left or intent.spool, intent, unanswered=intent.unanswered)
        if not promised and local.committed is not None:
            # An older version is promised still; its turn may have come and gone meanwhile.
            self.schedule(local)

    def _may_keep_refused(self, flight: _Flight, intent: Intent) -> bool:
        """Say whether what a waiting writer was refused takes nobody's place.

        An older version, on the service or promised to reach it, shows again (W4): it would go with the removal of
        the one that was refused.
        """
        local = flight.local
        promised = local.committed is not None and not local.failed
        replaces = intent.replaces or self._reserves.has(intent.name)
        return not (local.unlinked or replaces or promised) and flight.generation == local.generation

    def _keep_refused(self, flight: _Flight, sent: SpoolFile, error: MoonfsError) -> bool:
        """Keep a new file that was refused: no person may know of it yet, and it can be put right."""
        try:
            self._promises.keep_refused(flight.local, sent, flight.generation, error)
        except OSError as problem:
            log.warning("Cannot keep %s, which the service refuses: %s", flight.local.name, problem)
            return False
        return True

    def _drop_numbered(self, local: LocalFile, intent: Intent) -> None:
        """Delete the copies of a version that nobody counts on which have got a number; the lock is held (W4)."""
        ids = intent.numbered
        if not ids:
            return
        with local.lock:
            local.replaces -= ids
        with contextlib.suppress(OSError):  # then it is forgotten at a kill only
            self._journal.give_up((), delete=ids)
        self._space.doom(ids)
        self._uploader.delete_later(ids)

    # Names (W4): what the uploader asks where the service numbers those that are taken

    def numbered(self, intent: Intent, file: FileObject) -> None:
        """Take in that `file` is a copy of `intent` whose name has got a number: it goes with the upload."""
        flight = self._under_way[intent.spool]
        self._attributes.set(file.id, sha256=intent.sha256 or None)
        with self._lock:
            with flight.local.lock:
                flight.local.replaces |= {file.id}
            self._disowned.wanted[file.id] = intent.name
            self._space.changed()

    def let_be(self, intent: Intent, ids: frozenset[str]) -> None:
        """Take in that `ids`, which `intent` was to replace, cannot be deleted."""
        local = self._under_way[intent.spool].local
        with self._lock:
            with local.lock:
                local.replaces -= ids
            self._space.changed()

    def _is_flying(self, left: Intent) -> bool:
        """Say whether an attempt is under way whose record is `left`."""
        return any(
            flight.intent is not None and flight.intent.left == left.spool for flight in tuple(self._under_way.values())
        )

    def _is_under_way(self, intent: Intent) -> bool:
        """Say whether another upload of the name of `intent` is under way."""
        others = (flight.intent for flight in tuple(self._under_way.values()))
        return any(other is not None and other is not intent and other.name == intent.name for other in others)

    def may_have_left(self, intent: Intent) -> bool:
        """Say whether another upload of the name of `intent` is under way, or may have left a copy."""
        return self._is_under_way(intent) or self._disowned.may_have_left(intent.name)

    def crosses(self, intent: Intent) -> None:
        """Take in that the copies of other attempts at its name may get a number, as `intent` is about to be sent.

        The journal takes that in with the attempt.
        """
        with self._lock:
            others = [flight.intent for flight in self._under_way.values()]
            others += [local.attempt for local in (*self._space.local.values(), *self._space.kept.values())]
            others += self._disowned.records(intent.name)
            for other in others:
                if other is not None and other is not intent and other.name == intent.name:
                    other.taken = True
            self._space.changed()

    def in_the_way(self, intent: Intent, equal: frozenset[str]) -> Way:
        """Return what of the files `equal`, which have the name of `intent`, may go for it; may send requests."""
        flight = self._under_way[intent.spool]
        local = flight.local
        claimed, unsure = self._disowned.claim(intent, local)
        with self._lock:
            gone = frozenset(file_id for file_id in equal if self._space.is_doomed(file_id))
            gone |= self._space.renamed_away(beside=local)
            # What it holds itself of that name is shown no more, and need not come back (W9).
            gone |= {file_id for file_id, had in local.held.items() if had == intent.name}
            intent.borrowed |= self._space.held_under(intent.name, local)
            mine = intent.replaces | intent.borrowed | local.replaces
            if flight.moves or intent.name == local.name:
                mine |= self._disowned.older_of_ours(intent.name, local)
            over = self._space.local.get(intent.name) if flight.moves else None
            if over is not None:
                mine |= over.replaces  # somebody has written to what is renamed over
        # What others hold is whole here (W9): it need not come back.
        go = equal & (gone | claimed | intent.numbered | intent.borrowed)
        return Way(go, (equal & mine) - go, unsure or self._is_under_way(intent))

    def _keep_as_it_was(self, local: LocalFile) -> None:
        with local.lock:
            spool = local.committed
            if spool is None:
                return
            intent = self._promises.intent(local, spool, local.promised)
            if local.refusal is not None and local.refused_for_good:
                intent.state, intent.error = journal_states.FAILED, journal_states.said(local.refusal)
            with contextlib.suppress(OSError):  # else the next start takes the interrupted rename back
                self._journal.put(intent)
        self.schedule(local)

    def _abandon(self, flight: _Flight, intent: Intent, sent: SpoolFile | None) -> None:
        """Forget a version that nobody counts on; if it may have arrived, its copy is looked for; lock held.

        Its writer was told that it failed. If it has arrived all the same, it is to be whole: its bytes are kept until
        that is told (W3).
        """
        local = flight.local
        # Its row was that of the rename. What is promised has its own, though a writer may just have cut the file.
        stays = local.kept and local.committed is None and local.growing is None
        stays = stays and local.stays_local and not local.unlinked
        if intent.unanswered and not intent.left:
            wanted = not (local.unlinked or flight.background or flight.moves)
            if not (wanted and self._promises.keep_in_doubt(local, intent, sent)):
                self._leave_copy(flight, intent, instead_of="" if stays else intent.spool)
        elif not stays:
            self._journal.forget(intent.spool)
        if stays:
            local.journaled = None
            try:
                self._promises.keep_local(local)
            except OSError:
                return  # the next start takes the rename back, for which it needs these bytes
            if local.spool is None or local.spool.name != intent.spool:
                self._journal.forget(intent.spool)
        if sent is not None and sent is not local.spool:
            sent.discard()

    def _leave_copy(self, flight: _Flight, intent: Intent, *, instead_of: str) -> None:
        """Have the copy looked for that attempts may have left which nobody wants; the lock is held."""
        local = flight.local
        intent.cancelled = True
        replaced = self._disowned.has_older(intent) if flight.moves else local.replaced or not local.unlinked
        record = self._disowned.left_of if local.unlinked else self._disowned.left_apart
        left = record(intent, flying=False, replaced=replaced)
        self._journal.put(left, instead_of=instead_of, data=None)
        self._disowned.look_for(left)


def _is_kept_off(error: BaseException) -> bool:
    """Say whether a proxy lets no file of this size through: another proxy, or another day, may."""
    return isinstance(error, FileTooLarge) and error.foreign


def _is_full(error: BaseException) -> bool:
    """Say whether the account has no room, or is suspended: the same bytes may be taken another day."""
    return isinstance(error, QuotaExceeded)


def _is_suspended(error: BaseException) -> bool:
    """Say whether it is the account's plan; about its room `room` knows when to ask again."""
    return _is_full(error) and not isinstance(error, TooManyFiles | TooManyBytes)
