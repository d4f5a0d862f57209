"""The life of a local file: written, made safe, given up, renamed, at rest.

`settle` is what a close means: in write-through the newest generation is on the service when it returns (W1), in
write-back its bytes and the intent are on disk (W2) and a worker brings it to the service. `flights` carries both,
`promises` makes both last. `end_use` puts the bytes where they belong when nobody has them open; `recover` takes up
what an earlier run left. It knows no paths and no handles.

**Threading:** any thread may call `settle` and `recover`; what says so needs the filesystem's lock, which is never
held during a request. Lock order: that lock, then `LocalFile.lock`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from moonfs import advice, names
from moonfs import journal as journal_states
from moonfs.attributes import Attributes
from moonfs.disowned import Disowned
from moonfs.errors import MoonfsError, Overtaken, UnsupportedType
from moonfs.flights import Flights, Report
from moonfs.journal import Intent, Journal
from moonfs.localfile import NEVER, LocalFile
from moonfs.namespace import Namespace
from moonfs.numbering import Numbering
from moonfs.originals import Originals
from moonfs.promises import Promises
from moonfs.proofs import Proofs
from moonfs.recovery import Recovery
from moonfs.remote import Remote as Account
from moonfs.reserves import Reserves
from moonfs.room import Room
from moonfs.settings import Settings
from moonfs.spool import CARRIED_BYTES, Spool, SpoolFile
from moonfs.temporaries import Temporaries
from moonfs.wire import FileObject
from moonfs.writeback import Uploader, Way

log = logging.getLogger(__name__)

#: Seconds after which the disk is asked again to keep a file.
_AGAIN: Final = 5.0


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
        report: Report,
        give_back: Callable[[LocalFile], None],
        succeed: Callable[[LocalFile, LocalFile | None, frozenset[str]], None],
    ) -> None:
        """`report(name, error)` is told what fails in the background; `give_back(local)` gives what is stored to who
        reads a file to which nobody writes any more; `succeed(local, over, stored)` gives `local` to who reads what had
        its name."""
        self._account = account
        self._space = space
        self._give_back = give_back
        self._succeed = succeed
        self._lock = lock
        self._settings = settings
        self._journal = journal
        self._report = report
        self._originals = originals
        self._attributes = attributes
        account.on_gone = self._forget
        service = _Service(self, account)
        self.uploader = Uploader(service, journal, workers=settings.requests, deadline=settings.upload_timeout)
        numbering = Numbering(journal)
        space.numbers = lambda: bool(numbering)
        proofs = Proofs(account, attributes, numbering, space.is_wanted)
        self._disowned = Disowned(
            account=account, space=space, journal=journal, proofs=proofs, uploader=self.uploader, lock=lock
        )
        self._disowned.revive = self._revive
        self.removing = self._disowned.removing
        self._reserves = Reserves(
            account=account,
            space=space,
            spool=spool,
            journal=journal,
            attributes=attributes,
            originals=originals,
            disowned=self._disowned,
            lock=lock,
        )
        self._disowned.on_removed, self._disowned.on_tried = self._reserves.removed, self._reserves.settle
        service.judge_by(proofs, self._disowned)
        service.name_by(numbering, self._reserves, journal)
        self._promises = Promises(journal, self._disowned, purpose=settings.purpose)
        self._temporaries = Temporaries(
            self._bring,
            lock,
            space=space,
            journal=journal,
            promises=self._promises,
            uploader=self.uploader,
            disowned=self._disowned,
        )
        self.flights = Flights(
            self,
            lock,
            account=account,
            space=space,
            room=room,
            journal=journal,
            originals=originals,
            attributes=attributes,
            uploader=self.uploader,
            disowned=self._disowned,
            promises=self._promises,
            temporaries=self._temporaries,
            reserves=self._reserves,
            report=report,
            patience=settings.upload_timeout,
        )
        self._recovery = Recovery(
            account=account,
            space=space,
            spool=spool,
            journal=journal,
            originals=originals,
            attributes=attributes,
            disowned=self._disowned,
            reserves=self._reserves,
        )
        self.prepare = self._promises.prepare
        self.remember_time = self._promises.remember_time
        self.make_room = self._temporaries.make_room
        self.stored = self.flights.stored

    def recover(self) -> None:
        """Take up what an earlier run left in the journal (W2, W4, W6); call once, before the first request.

        Raises:
            OSError: bytes that the journal promises cannot be read; nothing of them is given up.
        """
        with self._lock:
            recovered, deletions = self._recovery.run()
        # Nothing starts before everything is known; an upload may take over one that is in doubt.
        for intent, file in self._recovery.in_doubt:
            self._disowned.look_for(intent, file=file)
        self.uploader.delete_later(deletions)
        for local in recovered:
            if local.pending and not local.refused_for_good:
                self.flights.schedule(local)
        with self._lock:
            for local in recovered:
                if local.stays_local:
                    self._temporaries.hold_others(local)
                self._temporaries.watch(local)
            self._reserves.settle_all()

    def close(self) -> None:
        """End the workers and every wait; what is unfinished stays in the journal."""
        self.uploader.close()
        self.flights.close()

    def settle(self, local: LocalFile) -> None:
        """Make the newest generation as safe as the mount promises: on the service, or on this disk.

        Raises:
            MoonfsError: the service did not take it, or is known to refuse it (N7).
            OSError: the local disk refuses, or refused an earlier write.
        """
        if not self._settings.write_back:
            self.flights.store(local)
            return
        if self.promise(local):
            self.flights.schedule_promised(local)

    def promise(self, local: LocalFile) -> bool:
        """Promise that the newest generation reaches the service, now or after the next mount (W2); say if that is new.

        Raises:
            MoonfsError: the service is known to refuse it (N7).
            OSError: the local disk refuses, or refused an earlier write.
        """
        with local.lock:
            if not local.has_news() or local.acknowledged == local.generation:
                return False
            self._check_type(local)
            if not self._promises.let_go(local):
                self._promises.upload(local)
        return True

    def hold(self, local: LocalFile) -> None:
        """Promise the newest generation, while it is written to still, to be brought to the service at its end.

        Raises:
            UnsupportedType: the service is known to refuse it (N7); it is kept.
            OSError: the local disk refuses, or refused an earlier write.
        """
        with local.lock:
            if not local.has_news() or local.pending or (local.growing is not None and local.grown == local.generation):
                return
            self._check_type(local)
            self._promises.hold(local)

    def settle_later(self, local: LocalFile) -> None:
        """Bring the newest generation to the service in the background, since whoever writes it has gone (W1)."""
        with local.lock:
            growing = local.growing
            if growing is not None:
                local.refused = None  # whoever was told so is gone: what was promised before is in there
            try:
                if not local.has_news() or local.pending:
                    return
            except (MoonfsError, OSError):  # it was told
                return
            try:
                self._promises.upload(local)
            except OSError as problem:
                log.error("Cannot keep the last bytes of %s: %s", local.name, problem.strerror)
                lost = MoonfsError(
                    f"The last bytes of {local.name} could not be kept on this machine ({problem.strerror}), and are "
                    "not on the service; make room on its disk, then write the file once more."
                )
                self._report(local.name, lost)
                if growing is None:
                    return
                local.commit(growing)  # it has its row
        self.flights.schedule_promised(local)

    def _check_type(self, local: LocalFile) -> None:
        """Refuse at its close what the service is known to refuse (N7), and keep it; the file's lock must be held."""
        try:
            _check_extension(local.name)
        except UnsupportedType as error:
            spool = local.materialise()
            advice.about(error, spool.head(advice.HEAD), name=local.name, wanted=local.name)
            self._promises.keep_refused(local, spool, local.generation, error)
            local.failure = (local.generation, error)
            raise

    def _bring(self, local: LocalFile) -> None:
        """Promise a file that was here for its minutes to the service, or mark it as refused (N6, N7); lock held.

        Raises:
            OSError: the local disk refuses; it stays as it was.
        """
        refused: UnsupportedType | None = None
        with local.lock:
            before = (local.passing, local.private, local.closed)
            local.passing, local.private, local.closed = False, False, 0
            try:
                self._check_type(local)
                self._promises.upload(local)
            except UnsupportedType as error:
                refused = error
            except OSError:
                local.passing, local.private, local.closed = before
                raise
        if refused is None:
            self.flights.schedule_promised(local)
        else:
            self._report(local.name, refused)
        self.end_use(local)

    def keep_local(self, local: LocalFile, *, freed: str = "") -> None:
        """Keep a file that stays on this machine (W6), and had the name `freed`; the lock must be held.

        Raises:
            OSError: the local disk refuses.
        """
        self._temporaries.hold_others(local)
        self._promises.keep_local(local, freed=freed)
        self._reserves.settle(local.name)
        self._temporaries.watch(local)

    def closed(self, local: LocalFile) -> None:
        """Take in that a writer has closed a file; `end_use` is called next. The lock must be held."""
        self._temporaries.closed(local)

    def end_use(self, local: LocalFile) -> None:
        """Put a file's bytes where they belong once nobody writes to it; the lock must be held.

        Those who only read it have no part in what becomes of it.
        """
        if local.writers:
            return
        broken = local.committed is not None and local.committed is not local.spool
        broken = broken and (local.refused is not None or not local.stays_local)
        if broken and not local.unlinked and not local.clean:
            # Its writer was told that the newest bytes failed: what was acknowledged before shows again.
            local.revert()
        if local.lent is not None:
            return
        if local.handles and not local.unlinked and (local.clean or not (local.kept or local.stays_local)):
            self._give_back(local)
        if local.handles and (local.unlinked or local.clean):
            return
        if local.unlinked:
            local.discard()
        elif local.clean:
            self._space.drop(local)
            local.rest()
            if local.spool is not None:
                self._journal.forget(local.spool.name)
                self.flights.adopt(local, local.spool, local.sha256)
            self._come_back(local)
        elif local.stays_local and not local.hollow and (local.refused is None or local.kept):
            local.refused = None
            try:
                self.keep_local(local)
            except OSError as error:
                log.error("Cannot keep %s: %s", local.name, error.strerror)
                if not local.kept and local.size:  # its close has said so
                    self._space.drop(local)
                    local.discard()
                elif not local.kept:
                    self._keep_again(local, error)
            local.rest()
        elif local.committed is not None:
            local.refused = None  # by a write that changed nothing
            local.rest()
        elif not local.kept:
            # Its writer was told: the close failed. The version before it shows again.
            self._space.drop(local)
            if local.spool is not None:
                self._journal.forget(local.spool.name)
            self._come_back(local)
            if not local.handles:
                local.discard()
        elif local.journaled is not None and local.generation not in local.journaled and not local.private:
            self._empty_again(local)
        self._temporaries.watch(local)

    def _empty_again(self, local: LocalFile) -> None:
        """Go back to the empty file that was kept here (W6): its writer was told that the rest failed; lock held."""
        local.refused = None
        try:
            local.truncate(0, local.purpose)
            self.keep_local(local)
        except OSError as error:
            log.error("Cannot keep %s: %s", local.name, error.strerror)
        local.rest()
        self._come_back(local)

    def _come_back(self, local: LocalFile) -> None:
        """Have the version before come back, if it made way for `local`, which is shown no more (W4); lock held."""
        back = self._reserves.settle(local.name)
        if back is not None:
            self._succeed(back, local, frozenset())

    def _keep_again(self, local: LocalFile, error: OSError) -> None:
        """Try again to keep an empty file that is in memory only, though nobody was told so; the lock is held."""
        if local.trouble is None:
            lost = MoonfsError(
                f"{local.name} could not be kept on this machine ({error.strerror}), and is gone after an unmount; "
                "make room on its disk."
            )
            self._report(local.name, lost)
        local.trouble = error

        def again() -> None:
            with self._lock:
                if self._space.local.get(local.name) is local and not local.kept:
                    self.end_use(local)

        self.uploader.workers.submit(again, _AGAIN)

    def took(self, local: LocalFile, over: LocalFile | None, inherited: frozenset[str]) -> None:
        """Take in that a file has taken its name from the file `over` and the remote files `inherited`; lock held."""
        self._succeed(local, over, inherited)
        if over is not None and not self._reserves.keeps(over):
            self._supersede(over, inherited)

    def _supersede(self, local: LocalFile, inherited: frozenset[str]) -> None:
        """End a local file whose name another one took; its open handles go on with its bytes; lock held.

        `inherited` are the remote files that the other one answers for; what else it had stored must go.
        """
        try:
            local.replaced = True
            self.cancel(local, local.replaces - inherited)
        except OSError as error:
            # Of two rows with one name the later one counts, and that is recorded.
            log.warning("Cannot record that %s was replaced: %s", local.name, error.strerror)
            local.unlinked = True
        self.end_use(local)

    def cancel(self, local: LocalFile, delete: frozenset[str] = frozenset()) -> None:
        """Take its name from a local file, and delete `delete` in the background (W8); the lock must be held.

        Nothing of it is uploaded any more; what an upload under way or in doubt leaves is deleted.

        Raises:
            OSError: the local disk refuses; the file is what it was.
        """
        with local.lock:
            attempt, flying = local.attempt, local.lent is not None
            spools = {file.name for file in (local.spool, local.committed, local.growing) if file is not None}
            # Should this process end before the upload does, its copy is to be deleted at the next start.
            in_doubt = attempt is not None and (flying or attempt.unanswered)
            left = []
            if attempt is not None and attempt.left:
                spools.add(attempt.spool)  # what it may leave is looked for by another row already
            elif attempt is not None and in_doubt:
                left.append(self._disowned.left_of(attempt, flying=flying, replaced=local.replaced))
            try:
                self._journal.give_up(spools, left, delete, "" if local.replaced else local.name)
            except OSError:
                if left or delete or not self._is_freed(local):
                    raise
            local.unlinked, local.attempt = True, None
            if attempt is not None and in_doubt:
                attempt.cancelled = True
        self._space.doom(delete)
        self._space.changed()
        self.uploader.delete_later(delete)
        for intent in left:
            self._disowned.look_for(intent, flying=flying)
        if not local.replaced:
            self._disowned.removed(local.name)

    def removed(self, name: str) -> None:
        """Take in that `name` is gone, whatever had it (W8, W9)."""
        with self._lock:
            self._disowned.removed(name)

    def _is_freed(self, local: LocalFile) -> bool:
        """Free the bytes of a file whose row cannot be dropped yet; False where that would bring it back after a kill.

        A row without its bytes is nothing, unless it carries them.
        """
        files = [file for file in (local.spool, local.committed, local.growing) if file is not None]
        if local.handles or any(file.size <= CARRIED_BYTES for file in files):
            return False
        for file in files:
            file.discard()
            self._journal.forget(file.name)
        return True

    def unlink_later(self, local: LocalFile) -> None:
        """Delete a local file and what it replaces on the service, in the background (W8); the lock must be held."""
        self.cancel(local, local.replaces)
        self._space.drop(local)
        self.end_use(local)

    def delete_later(self, name: str, ids: frozenset[str]) -> None:
        """Hide the remote files `ids` now, by which `name` goes, and delete them in the background (W8); lock held."""
        self._journal.give_up((), delete=ids, freed=name)
        self._space.doom(ids)
        self.uploader.delete_later(ids)
        self._disowned.removed(name)

    def _revive(self, intent: Intent, file: SpoolFile) -> None:
        """Have a version whose close failed in doubt, and that may have arrived, brought to the service; lock held.

        Raises:
            OSError: the local disk refuses; nothing has changed.
        """
        promised = replace(intent, state=journal_states.PENDING, acknowledged=self._journal.number())
        data = file.small()
        if data is None:
            file.sync()
        self._journal.put(promised, data=data)
        local = self._recovery.local_of(promised, file)
        local.rest()
        self._space.put(local)
        self.flights.schedule(local)

    @property
    def doubts(self) -> list[str]:
        """The names of uploads whose outcome is not told yet and that nobody waits for; the lock must be held."""
        return self._disowned.open

    @property
    def back(self) -> list[str]:
        """The names whose version before shows again and is on its way, as a newer one was not stored; lock held."""
        return self._reserves.back()

    def misnamed(self) -> dict[str, str]:
        """Return the names that stored files were to have, by id, where the service has given them others (W4)."""
        return self._disowned.misnamed()

    def misname(self, intent: Intent, file: FileObject) -> None:
        """Take in that `file` keeps another name than `intent` says (W4)."""
        self._disowned.misname(intent.name, file)

    def copies(self) -> dict[str, str]:
        """Return the filenames, by id, of copies that may be ours and were left."""
        return self._disowned.copies()

    def bury(self, file_id: str) -> None:
        """Hide what an upload has made that is no good, and queue its deletion in the journal (W1)."""
        with self._lock:
            self._space.doom(frozenset({file_id}))
        self._journal.delete_later(file_id)

    def _forget(self, file_id: str) -> None:
        """Drop what is known and kept of a deleted file: a deleted document leaves no copy behind."""
        self._attributes.forget(file_id, self._originals.discard)

    def rename(
        self,
        local: LocalFile,
        name: str,
        purpose: str,
        over: LocalFile | None,
        replaced: Callable[[], frozenset[str]],
        *,
        patient: bool = False,
    ) -> None:
        """Give a file another name or purpose, in place of the local `over` and the remote files `replaced()` (W9, N5).

        In write-through what is for the service is uploaded under the new name first; whoever is `patient` waits for
        that as long as a close does.

        Raises:
            MoonfsError: the service did not take it, or is known to refuse it (N7); both files stay as they were.
            OSError: the local disk refuses, or refused an earlier write.
        """
        old = local.name
        here = self._settings.write_back or local.stays_as(name)
        if not here:
            try:
                self.flights.rename(local, name, purpose, replaced(), over, patient=patient)
            except Overtaken:
                if local.unlinked:
                    raise
                here = True
        if here:
            try:
                self._rename_here(local, name, purpose, replaced)
            except OSError as refusal:
                if patient or local.stays_as(name) or local.refused is not None:
                    raise
                # What this disk does not take is done on the service at once (W7).
                try:
                    self.flights.rename(local, name, purpose, replaced(), over, patient=patient)
                except MoonfsError:
                    raise refusal from None
        elif local.growing is not None:
            with local.lock:
                self._promises.hold(local)  # under its new name
        if old != name:
            self.removed(old)

    def _rename_here(self, local: LocalFile, name: str, purpose: str, replaced: Callable[[], frozenset[str]]) -> None:
        """Give a file another name without waiting for the service: one that stays here, or in write-back any (W9).

        `replaced()` returns the remote files that have the name, at the moment when it changes hands.

        Raises:
            UnsupportedType: a name that the service is known to refuse (N7).
            OSError: the local disk refuses, or refused an earlier write.
        """
        stays = local.stays_as(name)
        if not stays:
            self._check_target(local, name)
        self.prepare(local, alone=name == local.name)
        with self._lock:
            with local.lock:
                if local.refused is not None:
                    raise local.refused
                local.materialise()
                old = local.name
                before = _names_of(local)
                if name == old and local.lent is not None:
                    # An upload under way would store these bytes with their old purpose.
                    local.materialise_alone()
                    local.generation += 1
                local.purpose = purpose
                if not stays:
                    local.settle_down()
                else:
                    self._temporaries.hold(local, name, replaced(), self._space.local.get(name))
                if local.clean:
                    # Under its new name the service does not have it.
                    local.stored = NEVER
                local.failure, local.private = None, False  # what it was made for has come (N6)
                local.replaces = local.replaces | replaced()
            superseded = self._space.move(local, name)
            try:
                freed = old if old != name else ""
                if stays:
                    self.keep_local(local, freed=freed)
                else:
                    with local.lock:
                        self._promises.upload(local, freed=freed)
            except OSError:
                with local.lock:
                    for attribute, value in before.items():
                        setattr(local, attribute, value)
                self._space.move(local, old)
                if superseded is not None:
                    self._space.put(superseded)
                raise
            self.took(local, superseded, local.replaces)
            if freed:
                self._disowned.removed(freed)
        if not stays:
            self.flights.schedule_promised(local)

    @staticmethod
    def _check_target(local: LocalFile, name: str) -> None:
        """Refuse a name that the service is known to refuse (N7), with advice for these bytes."""
        try:
            _check_extension(name)
        except UnsupportedType as error:
            with local.lock, contextlib.suppress(OSError, MoonfsError):
                head = local.materialise().head(advice.HEAD)
                advice.about(error, head, name=local.name, wanted=name)
            raise

    @property
    def settled(self) -> int:
        """How many uploads have come to an end: the service has the bytes, or refuses them for good."""
        return self.flights.settled

    def unsettled(self) -> list[LocalFile]:
        """Return the files that are pending, or that somebody closes just now and waits for the upload; lock held."""
        shown = [local for local in self._space.local.values() if (local.committed or local.lent) and not local.failed]
        return shown + self._reserves.behind()

    def pending(self) -> list[LocalFile]:
        """Return the files that are acknowledged and not on the service yet, failed ones left out; lock held."""
        shown = [local for local in self._space.local.values() if local.committed is not None and not local.failed]
        return shown + self._reserves.behind()


class _Service:
    """What the uploader sees of the drive."""

    def __init__(self, versions: Versions, account: Account) -> None:
        self._versions = versions
        self.upload = account.upload
        self.delete = account.delete
        self.known = account.known
        self.now = account.now
        self.hold = account.traffic.hold

    def judge_by(self, proofs: Proofs, disowned: Disowned) -> None:
        """Take what is known of files from `proofs`, and of uploads in doubt from `disowned`."""
        self.given, self.confirmed, self.relist = proofs.given, proofs.confirmed, proofs.relist
        self.text, self.is_sure, self.bear, self.wanted = proofs.text, proofs.is_sure, proofs.bear, proofs.wanted
        self.earlier, self.take_over, self.leave = disowned.earlier, disowned.take_over, disowned.leave

    def name_by(self, numbering: Numbering, reserves: Reserves, journal: Journal) -> None:
        """Take what is known of names that are taken from these."""
        self._numbering, self._journal, self.reserve = numbering, journal, reserves.hold

    @property
    def numbers(self) -> bool:
        """Whether the service is known to number names that are taken."""
        return bool(self._numbering)

    def learn(self, intent: Intent, file: FileObject) -> None:
        """Take in that it does."""
        self._numbering.learn(intent.name, file.filename)

    def unlearn(self, intent: Intent) -> None:
        """Take in that it does not."""
        self._numbering.unlearn(intent.name)

    def numbered(self, intent: Intent, file: FileObject) -> None:
        """Take in that `file` has got a number, and goes with the upload."""
        self._versions.flights.numbered(intent, file)

    def crosses(self, intent: Intent) -> None:
        """Take in that other copies of its name may get a number."""
        self._versions.flights.crosses(intent)

    def let_be(self, intent: Intent, ids: frozenset[str]) -> None:
        """Take in that `ids` cannot be deleted."""
        self._versions.flights.let_be(intent, ids)

    def in_the_way(self, intent: Intent, equal: frozenset[str]) -> Way:
        """Return what may go for an upload of that name."""
        return self._versions.flights.in_the_way(intent, equal)

    def may_have_left(self, intent: Intent) -> bool:
        """Say whether another upload of that name may have made a file, or may make one yet."""
        return self._versions.flights.may_have_left(intent)

    def misname(self, intent: Intent, file: FileObject) -> None:
        """Have status tell of a name that the service has changed."""
        self._versions.misname(intent, file)

    def make_room(self, intent: Intent) -> frozenset[str]:
        """Give up what other files hold under the name of `intent`."""
        return self._versions.make_room(intent.name, intent.inode)

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        """Take the uploader's success over, for a waiting writer or from the background."""
        return self._versions.stored(intent, file)

    def bury(self, file_id: str) -> None:
        """Take over what an upload has made that is no good."""
        self._versions.bury(file_id)


def _names_of(local: LocalFile) -> dict[str, object]:
    """Return what of a file changes with its name."""
    attributes = ("stored", "failure", "private", "replaces", "purpose", "passing", "held", "closed", "seal")
    return {attribute: getattr(local, attribute) for attribute in attributes}


def _check_extension(name: str) -> None:
    if not names.extension(name):
        raise UnsupportedType(
            f"The service takes no files without an extension, such as {name}; give it one, like .txt."
        )
