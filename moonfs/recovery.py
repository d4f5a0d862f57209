"""What an earlier run left in the journal, taken up at the start of the next (W2, W4, W6, W8).

Every row is in one of the states of `journal`, and the fresh listing says which uploads had arrived. It sends no
request and starts nothing.

**Threading:** called once, with the filesystem's lock, before the first request.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

from moonfs import advice, doubts, names
from moonfs import journal as journal_states
from moonfs.attributes import Attributes
from moonfs.disowned import Disowned
from moonfs.journal import Intent, Journal, failure_of
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.originals import Originals
from moonfs.remote import Remote as Account
from moonfs.reserves import Reserves
from moonfs.spool import Spool, SpoolFile
from moonfs.wire import FileObject

log = logging.getLogger(__name__)


class Recovery:
    """The recovery of one account."""

    def __init__(
        self,
        *,
        account: Account,
        space: Namespace,
        spool: Spool,
        journal: Journal,
        originals: Originals,
        attributes: Attributes,
        disowned: Disowned,
        reserves: Reserves,
    ) -> None:
        self._account = account
        self._space = space
        self._spool = spool
        self._journal = journal
        self._originals = originals
        self._attributes = attributes
        self._disowned = disowned
        self._reserves = reserves
        self._live: list[Intent] = []
        self._older: dict[str, bytes] = {}
        #: The uploads in doubt that nobody waits for, with the bytes of those that may be wanted.
        self.in_doubt: list[tuple[Intent, SpoolFile | None]] = []

    def run(self) -> tuple[list[LocalFile], list[str]]:
        """Return the local files, which are shown from now on, and the ids still to delete.

        Raises:
            OSError: bytes that the journal promises cannot be read; nothing of them is given up.
        """
        self._space.doom(frozenset(self._journal.deletions()))
        intents = self._journal.intents()
        uploading = {intent.spool: intent for intent in intents if intent.state == journal_states.UPLOADING}
        for spool, data in self._journal.carried():
            if spool in uploading and self._has_newer(uploading[spool], data):
                self._older[spool] = data
            else:
                self._spool.restore(spool, data)
        self._spool.clean({intent.spool for intent in intents})
        given_up = (journal_states.CANCELLED, journal_states.DOUBTFUL)
        intents = [intent for intent in intents if intent.state != journal_states.RESERVED]
        live = [intent for intent in intents if intent.state not in given_up]
        self._live = live
        newest = {intent.inode: intent for intent in sorted(live, key=lambda intent: intent.acknowledged)}
        for intent in intents:
            if intent.state in given_up:
                self._recover_in_doubt(intent)
            elif newest[intent.inode] is not intent:
                self._recover_older(intent, newest[intent.inode])
        recovered = []
        for intent in self._recover_names(self._recover_uploads(list(newest.values()))):
            local = self._recover_newest(intent)
            if local is not None:
                local.rest()
                self._space.put(local)
                recovered.append(local)
        recovered += self._recover_reserves()
        self.in_doubt = [each for each in self.in_doubt if not self._is_told(each[0])]
        deletions = self._journal.deletions()
        self._space.doom(frozenset(deletions))
        left = self._journal.intents()
        self._spool.clean({intent.spool for intent in left if intent.state != journal_states.CANCELLED})
        if self._account.sees_all:
            self._attributes.keep_only({*self._account.known(), *deletions})
        return recovered, deletions

    def _is_what_was_sent(self, intent: Intent, file: SpoolFile) -> bool:
        return intent.spool not in self._older and file.sha256() == intent.sha256

    def _has_newer(self, intent: Intent, data: bytes) -> bool:
        """Say whether a spool file holds what was sent, whole, and the row `data` from before that was written."""
        if not intent.sha256 or hashlib.sha256(data).hexdigest() == intent.sha256:
            return False
        file = self._reopen(intent)
        if file is None:
            return False
        file.rest()
        return file.sha256() == intent.sha256

    def _recover_reserves(self) -> list[LocalFile]:
        """Take up the versions that were kept, where the uploads are settled by now; return those that are back."""
        kept = [intent for intent in self._journal.intents() if intent.state == journal_states.RESERVED]
        return [local for intent in kept if (local := self._recover_reserve(intent)) is not None]

    def _recover_reserve(self, intent: Intent) -> LocalFile | None:
        """Keep the version before of a name, where a newer one is on its way still (W4); else have it back.

        Return it if it is back, though the service may have it yet: its deletion may have been sent.
        """
        for file_id in intent.replaces:
            self._account.listing.doubt(file_id)
        newer = self._space.local.get(intent.name)
        file = self._reopen(intent)
        if file is None:
            self._journal.forget(intent.spool)
            return None
        if newer is not None:
            self._reserves.take(intent, file)
            return None
        promised = self._reserves.promised(intent)
        self._journal.put(promised)
        local = self.local_of(promised, file)
        local.reserve = True
        local.rest()
        self._space.put(local)
        return local

    def _drop_numbered(self, intent: Intent) -> None:
        """Have the copies deleted which an upload that is given up has stored with a number in their names (W4)."""
        if intent.numbered:
            self._journal.give_up((), delete=intent.numbered)
            self._space.doom(intent.numbered)

    def _recover_in_doubt(self, intent: Intent) -> None:
        """Hide what an upload may have left that was given up; whose it is, is told later (W3, W8).

        What an answer has told has got a number, and goes (W4): a kill came before that.
        """
        self._drop_numbered(intent)
        file = self._reopen(intent) if intent.state == journal_states.DOUBTFUL else None
        if file is not None:
            file.rest()
        self._space.disowned[intent.spool] = intent
        self.in_doubt.append((intent, file))

    def _is_told(self, intent: Intent) -> bool:
        """Say whether answers have told all of an upload that nobody wants any more; have what they gave deleted (W3).

        A kill came before the journal had such an answer; the ids of other uploads of this name are `known` by now.
        What has a number in its name is told by the row, or by its text.
        """
        if intent.state != journal_states.CANCELLED or not intent.sha256:
            return False
        given = frozenset(
            file.id
            for file in self._account.known().values()
            if intent.may_have_made(file)
            and not self._space.is_doomed(file.id)
            and self._attributes.get(file.id).sha256 == intent.sha256
        )
        if not given or len(given) > intent.unanswered:
            return False
        if self._disowned.is_last(intent, given, self._account.known()):
            self._disowned.cover(intent, given)
            return False
        intent.known |= given
        intent.unanswered -= len(given)
        is_over = not intent.unanswered
        self._journal.give_up([intent.spool] if is_over else [], [] if is_over else [intent], delete=given)
        self._space.doom(given)
        if is_over:
            del self._space.disowned[intent.spool]
        return is_over

    def _leave(self, intent: Intent, *, replaced: bool, apart: bool = False) -> Intent:
        """Return the record of what an attempt may have left, under another key if need be; hide that from now on."""
        record = self._disowned.left_apart if apart else self._disowned.left_of
        left = replace(record(intent, flying=False, replaced=replaced), inode=0)
        self._recover_in_doubt(left)
        return left

    def _may_have_arrived(self, intent: Intent) -> list[FileObject]:
        """Return what the list has that an attempt of `intent` may have made (W3); stored failures are no version."""
        present = [file for file in self._account.known().values() if not doubts.is_failure(file)]
        return doubts.candidates(self._disowned.proofs, intent, present) if intent.started else []

    def _recover_uploads(self, intents: list[Intent]) -> list[Intent]:
        """Settle the uploads whose outcome nobody was told; return the intents that are left.

        One that had arrived is finished, and so is the rename that it was part of. One that may have arrived goes on
        as if it had been promised: it is adopted when its text has told. Every other one is undone: its bytes are safe
        under the name that they had, or its writer was never told that they are.

        Raises:
            OSError: bytes that the journal promises cannot be read.
        """
        left = {intent.spool: intent for intent in intents if intent.state != journal_states.UPLOADING}
        for intent in intents:
            if intent.state != journal_states.UPLOADING:
                continue
            file = self._reopen(intent)
            over = next((other for other in left.values() if other.name == intent.name), None)
            if intent.started and self._has_arrived(intent, file, over):
                if over is not None:
                    del left[over.spool]
                self._free(intent)
            elif file is not None and self._may_have_arrived(intent) and self._is_what_was_sent(intent, file):
                left[intent.spool] = self._promise(intent, file)
                self._free(intent)
            elif file is None or not intent.local_name:
                self._give_up(intent)
            else:
                left[intent.spool] = self._undo(intent, file)
            if file is not None:
                file.rest()
        return list(left.values())

    def _free(self, intent: Intent) -> None:
        """Let nothing that is in doubt come back under the names that a finished rename has given up (W9)."""
        known = self._account.known()
        freed = {names.safe(known[i].filename) for i in intent.replaces.difference(intent.held) if i in known}
        freed = {*freed, intent.local_name} - {intent.name}
        for place, (left, _) in enumerate(self.in_doubt):
            if left.name in freed and (left.replaced or left.state == journal_states.DOUBTFUL):
                left.state, left.replaced, left.replaces = journal_states.CANCELLED, False, frozenset()
                self._journal.put(left, data=None)
                self.in_doubt[place] = (left, None)

    def _promise(self, intent: Intent, file: SpoolFile) -> Intent:
        """Promise the bytes of an upload that may have arrived: either version may stand, and these are whole."""
        promised = replace(
            intent,
            state=journal_states.PENDING,
            acknowledged=self._journal.number(),
            local_name="",
            private=False,
            held={},
            closed=0,
        )
        data = file.small()
        if data is None:
            file.sync()
        self._journal.put(promised, data=data)
        return promised

    def _give_up(self, intent: Intent) -> None:
        """Forget an upload that nobody was told of; a copy of it that comes late takes nobody's place (W3)."""
        self._drop_numbered(intent)
        if intent.started:
            self._journal.put(self._leave(intent, replaced=self._disowned.has_older(intent)), data=None)
        else:
            self._journal.forget(intent.spool)

    def _undo(self, intent: Intent, file: SpoolFile) -> Intent:
        """Give the bytes of an upload that has not arrived back the name that they had on this machine.

        Those are what the row carries, where it carries any: what was written since, nobody was told to last.
        """
        self._drop_numbered(intent)
        size = file.size
        if (older := self._older.get(intent.spool)) is not None:
            self._spool.restore(intent.spool, older)
            size = len(older)
        known = self._account.known()
        before = {i for i in intent.replaces if i in known and names.safe(known[i].filename) == intent.local_name}
        stays = names.is_temporary(intent.local_name) or not size or intent.private or bool(intent.closed)
        undone = replace(
            intent,
            name=intent.local_name,
            state=journal_states.LOCAL if stays else journal_states.PENDING,
            size=size,
            sha256="",
            replaces=frozenset(before).union(intent.held),
            started=0.0,
            taken=False,
            numbered=frozenset(),
            unanswered=0,
            ended=0.0,
        )
        left = []
        if intent.started:
            left.append(self._leave(intent, replaced=self._disowned.has_older(intent), apart=True))
        self._journal.put(undone, *left)
        return undone

    def _reopen(self, intent: Intent) -> SpoolFile | None:
        """Return the bytes of an intent, or None when they are gone."""
        try:
            return self._spool.reopen(intent.spool)
        except FileNotFoundError:
            return None

    def _recover_names(self, intents: list[Intent]) -> list[Intent]:
        """Finish renames over another file: of two that have one name, the later one has taken the other's place."""
        latest: dict[str, Intent] = {}
        for intent in sorted(intents, key=lambda intent: intent.acknowledged):
            taken = latest.get(intent.name)
            if taken is not None:
                intent.replaces |= taken.replaces
                if intent.state == journal_states.LOCAL:
                    intent.held = {**taken.held, **intent.held}
                left = [self._leave(taken, replaced=True)] if taken.started else []
                self._journal.give_up([taken.spool], [intent, *left])
            latest[intent.name] = intent
        return list(latest.values())

    def _recover_older(self, intent: Intent, newest: Intent) -> None:
        """Drop a version that a newer one has overtaken; if it had arrived, the newer one replaces it."""
        newest.replaces |= intent.replaces
        if newest.state == journal_states.LOCAL:
            newest.held = {**intent.held, **newest.held}
        left = []
        if intent.started:
            left.append(self._leave(intent, replaced=intent.name == newest.name, apart=True))
        self._journal.put(newest, *left, instead_of=intent.spool)

    def _recover_newest(self, intent: Intent) -> LocalFile | None:
        """Return the file of a journal entry, or None when nothing of it is left to do here.

        Raises:
            OSError: its bytes cannot be read.
        """
        file = self._reopen(intent)
        if intent.started and intent.state != journal_states.LOCAL and self._has_arrived(intent, file):
            return None
        if file is None:
            log.warning("The bytes of %s are gone", intent.name)
            self._journal.forget(intent.spool)
            return None
        return self.local_of(intent, file)

    def local_of(self, intent: Intent, file: SpoolFile) -> LocalFile:
        """Return the file whose bytes are in `file`, as the journal has it."""
        local = LocalFile(
            self._spool,
            intent.name,
            intent.inode,
            intent.mtime_ns,
            file=file,
            private=intent.private,
            purpose="" if intent.purpose == names.AUTO else intent.purpose,
        )
        if intent.held and intent.state != journal_states.LOCAL:
            # Its minutes were over, and what it holds was about to go.
            self._journal.let_go(intent.held.keys())
            intent.replaces -= intent.held.keys()
            self._space.doom(frozenset(intent.held))
            intent.held = {}
        local.replaces, local.kept, local.sha256 = intent.replaces, True, intent.sha256
        if intent.state == journal_states.LOCAL:
            self._part(file)
            local.held = {each: had for each, had in intent.held.items() if not self._space.is_doomed(each)}
            local.closed, local.seal = intent.closed, intent.sha256
            local.passing = bool(intent.closed) and names.may_pass(intent.name)
        if intent.state == journal_states.PENDING:
            if not intent.started:
                intent.size = file.size  # it may have been written to after the promise
            local.committed, local.acknowledged, local.attempt = file, local.generation, intent
        elif intent.state == journal_states.FAILED:
            local.committed, local.acknowledged = file, local.generation
            failure = failure_of(intent)
            advice.about(failure, file.head(advice.HEAD), name=intent.name, wanted=intent.name)
            local.refusal = failure
            local.failure = (local.generation, failure)
        return local

    @staticmethod
    def _part(file: SpoolFile) -> None:
        """Have a file that stays here share its bytes with nothing: a write goes on in it, and its row stays."""
        try:
            file.part()
        except OSError as error:  # then the next write makes a copy
            log.warning("What is kept on this machine shares its bytes for now: %s", error.strerror)

    def _has_arrived(self, intent: Intent, file: SpoolFile | None, over: Intent | None = None) -> bool:
        """Say whether an interrupted upload is known to have arrived: an answer gave it its id (W3).

        If so, finish it: attributes, original, deletions (W4). Without `file` its bytes are an original already: the
        row was to go next. `over` is the file whose name it has taken.
        """
        sure = [
            file
            for file in self._account.known().values()
            if intent.may_have_made(file)
            and not self._space.is_doomed(file.id)
            and intent.sha256
            and self._attributes.get(file.id).sha256 == intent.sha256
        ]
        if not sure:
            return False
        stored = max(sure, key=lambda file: (file.created_at, file.id))
        self._attributes.set(stored.id, mtime_ns=intent.mtime_ns, inode=intent.inode, sha256=intent.sha256 or None)
        others = [other for other in self._live if other.inode != intent.inode]
        held = {each for other in others for each, had in other.held.items() if had == intent.name}
        surplus = (intent.replaces | held) - {stored.id}
        older = ""
        if over is not None:
            surplus |= over.replaces - {stored.id}
            older = self._take_over(over)
        self._journal.stored(intent, stored.id, surplus, older).wait()
        self._space.own(intent.name, stored.id)
        self._space.doom(surplus)
        self._let_go(surplus | {stored.id}, others)
        if file is not None:
            file.rest()
        if file is not None and intent.sha256:
            self._adopt(file, intent.sha256)
        return True

    def _let_go(self, ids: frozenset[str], others: list[Intent]) -> None:
        """Let none of the other files hold `ids` any more, as in the journal (W9)."""
        self._space.let_go(ids)
        for other in others:
            if not ids.isdisjoint(other.held):
                other.held = {each: had for each, had in other.held.items() if each not in ids}
                other.replaces -= ids

    def _take_over(self, over: Intent) -> str:
        """Return the row that goes with a name that was taken; an upload in doubt leaves one, by which it is found."""
        if not over.started:
            return over.spool
        self._journal.put(self._leave(over, replaced=True), data=None)
        return ""

    def _adopt(self, file: SpoolFile, sha256: str) -> None:
        """Move bytes to the originals that may not have survived a power cut whole."""
        try:
            if file.sha256() == sha256:
                self._originals.adopt(file.file(), sha256, file.size)
            else:
                file.discard()
        except OSError as error:
            log.warning("Cannot keep an original: %s", error.strerror)
