"""Uploads that were given up in doubt: what they have left on the service is looked for in the background (W3, W8).

An upload is given up when its file is deleted, renamed or overwritten while it is under way or in doubt, or when its
writer was told that it failed. The journal keeps a row until a copy that comes late must have come, so that a kill
forgets nothing: `CANCELLED` where nobody wants it any more, `DOUBTFUL` where it would be wanted if it had arrived. For
a few seconds what may be its copy is not shown; then it is told apart (`doubts`): deleted, taken up, or shown.

**Threading:** any thread may call anything that does not say otherwise; the filesystem's lock is taken where the names
change, and never held during a request.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from moonfs import doubts, names
from moonfs import journal as journal_states
from moonfs.doubts import Verdict
from moonfs.errors import MoonfsError
from moonfs.journal import Intent, Journal
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace
from moonfs.proofs import Proofs, pause
from moonfs.remote import Remote as Account
from moonfs.spool import SpoolFile
from moonfs.wire import FileObject
from moonfs.writeback import Uploader

log = logging.getLogger(__name__)

#: Seconds after the end of an upload at which what it may have left is looked for. With the second look the doubt is
#: settled, so that files of others show; the last one is for a copy that came late.
LOOKS: Final = (0.0, 5.0, 30.0)
#: Seconds to the next try where the service gives no list or no text, at first, or another version of the name is on
#: its way.
AGAIN: Final = 2.0


class Disowned:
    """The uploads in doubt of one account.

    Attributes:
        proofs: what can be learned of the files.
        revive: called, with the filesystem's lock, with a version that was in doubt and may have arrived, and its
            bytes: it is to be a file again. Raises OSError: the local disk refuses.
        wanted: the names that copies of ours were to have, by id, which the service has numbered (W4).
        on_removed: told each name that is gone, with the filesystem's lock.
        on_tried: told each name that was to be removed, once that is over, with the filesystem's lock.
    """

    def __init__(
        self,
        *,
        account: Account,
        space: Namespace,
        journal: Journal,
        proofs: Proofs,
        uploader: Uploader,
        lock: threading.RLock,
    ) -> None:
        self._account = account
        self._space = space
        self._journal = journal
        self.proofs = proofs
        self._uploader = uploader
        self._lock = lock
        self._watched: dict[str, Intent] = {}
        self._bytes: dict[str, SpoolFile] = {}
        self._flying: set[str] = set()
        self._seen: dict[str, set[str]] = {}
        self._next: dict[str, tuple[int, int]] = {}
        self._turns = itertools.count()
        self._copies: dict[str, str] = journal.copies()
        self._misnamed: dict[str, str] = journal.misnamed()
        self._failures: Counter[str] = Counter()
        self._removing: Counter[str] = Counter()
        self.revive: Callable[[Intent, SpoolFile], None] = lambda _intent, _file: None
        self.on_removed: Callable[[str], None] = lambda _name: None
        self.on_tried: Callable[[str], object] = lambda _name: None
        self.wanted: dict[str, str] = {}

    # What the uploader asks for

    def earlier(self, intent: Intent) -> list[Intent]:
        """Return the uploads of the same bytes, under the same name, that were given up in doubt and are over."""
        with self._lock:
            return [
                left
                for left in tuple(self._space.disowned.values())
                if (left.name, left.sha256, left.size, left.purpose)
                == (intent.name, intent.sha256, intent.size, intent.purpose)
                and left.spool not in self._flying
                and left.sha256
            ]

    def take_over(self, earlier: Iterable[Intent]) -> None:
        """Forget what `earlier` has returned: it is a matter of a newer upload from now on."""
        with self._lock:
            for left in earlier:
                self._forget(left.spool)

    def claim(self, intent: Intent, local: LocalFile) -> tuple[frozenset[str], bool]:
        """Return what earlier uploads of the name of `intent`, given up in doubt, are proven to have left.

        It goes with this upload of `local`, whose row says so from now on, or, should that be overtaken, with what that
        file hides; what cannot be judged now is none of it. The second value says whether there is such a thing, or one
        of these uploads is under way still.
        """
        claimed, unsure = set[str](), False
        with self._lock:
            watched = [
                left for left in self._watched.values() if left.name == intent.name and left.spool != intent.left
            ]
            earlier = [left for left in watched if left.spool not in self._flying and left.unanswered > 0]
            unsure = len(watched) > len(earlier)
        for left in earlier:
            present = self._account.known()
            suspects = doubts.candidates(self.proofs, left, present.values())
            verdicts, problem = self._judge(left, suspects, present)
            unsure = unsure or problem is not None
            ours = frozenset(file_id for file_id, verdict in verdicts.items() if verdict is Verdict.OURS)
            if not ours or len(ours) > left.unanswered:
                continue
            with self._lock:
                if intent.cancelled:
                    break
                # Before the record goes: whoever takes the name from now on takes this over, too.
                intent.replaces |= ours
                with local.lock:
                    local.replaces |= ours
                self._space.changed()
            if not self._journal.attempt(intent, flying=False):
                break
            with self._lock:
                if self._watched.get(left.spool) is not left:
                    continue
                left.known, left.unanswered = left.known | ours, left.unanswered - len(ours)
                self._told(ours)
                if left.unanswered:
                    self._journal.put(left)
                else:
                    self._forget(left.spool)
            claimed |= ours
        return frozenset(claimed), unsure

    def own(self, name: str, file_id: str) -> None:
        """Take in that `file_id` was stored under `name` on purpose: no upload that was given up has made it.

        As `Namespace.own`, for those whose copies are not hidden any more, too; the lock must be held.
        """
        for left in self._watched.values():
            if left.name == name or names.is_numbered(left.name, name):
                left.known |= {file_id}

    def records(self, name: str) -> list[Intent]:
        """Return the records of uploads of `name` that were given up; the lock must be held."""
        return [left for left in (*self._watched.values(), *self._space.disowned.values()) if left.name == name]

    def may_have_left(self, name: str) -> bool:
        """Say whether an upload of `name` that was given up may have left a copy, told or not."""
        return any(left.name == name for left in tuple(self._watched.values()))

    def is_in_doubt(self, name: str) -> bool:
        """Say whether it is not told yet what an upload of `name` that was given up has left; the lock is held."""
        return any(left.name == name for left in self._space.disowned.values())

    def leave(self, intent: Intent, copies: Iterable[FileObject]) -> None:
        """Have status tell of copies that may be ours, and that nothing proves to be."""
        with self._lock:
            self._space.changed()  # what was told apart shows
            left = {file.id: file.filename for file in copies if file.id not in self._copies}
            self._copies |= left
        if left:
            log.warning(
                "Nothing tells whether %s came from an upload of %s that ended without an answer; it stays.",
                ", ".join(sorted(left)),
                intent.name,
            )
            self._journal.leave(left)

    def copies(self) -> dict[str, str]:
        """Return the filenames, by id, of the copies that were left and are there still."""
        snapshot = self._account.listing.peek()
        present = snapshot.files
        with self._lock:
            if snapshot.version:
                self._told(
                    [
                        file_id
                        for file_id in self._copies
                        if (file_id not in present and self._account.sees_all) or self.proofs.given(file_id)
                    ]
                )
            return dict(self._copies)

    def misname(self, name: str, file: FileObject) -> None:
        """Have status tell that `file` was to have a name, and that the service gave it another one (W4)."""
        with self._lock:
            self._misnamed[file.id] = name
        self._journal.misname(file.id, name)

    def misnamed(self) -> dict[str, str]:
        """Return the names that stored files were to have, by id, where the service has given them others."""
        snapshot = self._account.listing.peek()
        with self._lock:
            if snapshot.version:
                gone = [file_id for file_id in self._misnamed if file_id not in snapshot.files]
                for file_id in gone:
                    del self._misnamed[file_id]
                if gone:
                    self._journal.forget_misnamed(gone)
            return {file_id: name for file_id, name in self._misnamed.items() if file_id in snapshot.files}

    # Giving up, and its end

    def left_of(self, attempt: Intent, *, flying: bool, replaced: bool) -> Intent:
        """Return the record of a copy that `attempt` makes or has made and that is to be deleted (W3, W8).

        `flying`: it is under way; `replaced`: a newer version has its name, rather than nothing.
        """
        before = self._watched.get(attempt.spool)
        known = attempt.known
        if before is not None:
            replaced = before.replaced  # what has happened to its name since
        return replace(
            attempt,
            state=journal_states.CANCELLED,
            known=known if before is None else known | before.known,
            unanswered=attempt.unanswered + flying,  # at most, as after a crash; `ended` tells
            replaced=replaced,
            replaces=frozenset(),  # but for what is `numbered`: should this process end before it goes
            held={},
            closed=0,
            cancelled=True,
            adopted=False,
        )

    def left_apart(self, attempt: Intent, *, flying: bool, replaced: bool) -> Intent:
        """Return the record as `left_of` does, under a key of its own: the row of the attempt has another use."""
        left = self.left_of(attempt, flying=flying, replaced=replaced)
        return replace(left, spool=f"{attempt.spool}.{secrets.token_hex(4)}", inode=0)

    def beside(self, intent: Intent, file: FileObject) -> list[Intent]:
        """Return the record of what attempts without an answer may have left beside `file`, as which it is stored."""
        attempts = intent.unanswered - intent.adopted
        if attempts <= 0 or intent.left:
            return []
        left = self.left_apart(replace(intent, unanswered=attempts, numbered=frozenset()), flying=False, replaced=True)
        return [replace(left, known=left.known | {file.id})]

    def of_reserve(self, kept: LocalFile, *, replaced: bool) -> list[Intent]:
        """Return the record of what attempts at a version before, which is given up, may have left (W4); lock held."""
        attempt, flying = kept.attempt, kept.lent is not None
        if attempt is None or not (flying or attempt.unanswered) or attempt.left:
            return []
        left = self.left_apart(attempt, flying=flying, replaced=replaced)
        attempt.cancelled, attempt.left = True, left.spool if flying else ""
        return [left]

    def older_of_ours(self, name: str, local: LocalFile) -> frozenset[str]:
        """Return the versions of `name` that this machine stored, though another machine's came between (W4).

        Also those that have kept a number. Not what another file than `local` takes the place of, or holds, unless that
        was refused; the lock must be held.
        """
        known = self._account.known()
        ours = frozenset(
            file.id for file in known.values() if names.safe(file.filename) == name and self.proofs.given(file.id)
        )
        ours |= {file_id for file_id, wanted in self._misnamed.items() if wanted == name and file_id in known}
        if ours:
            others = [*self._space.local.values(), *self._space.staged.values()]
            keep = (other for other in others if other is not local and not other.refused_for_good)
            ours = ours.difference(*(other.replaces for other in keep))
        return ours

    def name_of(self, file_id: str, shown: str) -> str:
        """Return the name that a stored file has, or had when it was `shown` so as one of several of its name."""
        if (wanted := self.wanted.get(file_id)) is not None:
            return wanted
        file = self._account.known().get(file_id)
        if file is None:
            return shown
        name = names.safe(file.filename)
        return shown if names.alias(name, file_id) == shown else name

    def has_newer(self, name: str, file_id: str) -> bool:
        """Say whether this machine has stored a version of `name` beside that which had it as `file_id`; lock held."""
        held = frozenset().union(*(local.held for local in self._space.local.values()))
        return any(
            names.safe(file.filename) == name
            and file.id not in held
            and file.id != file_id
            and self.proofs.given(file.id)
            and not self._space.is_doomed(file.id)
            for file in self._account.known().values()
        )

    def has_older(self, intent: Intent) -> bool:
        """Say whether what `intent` was to replace has its name, so that a version of it is there without it."""
        known = self._account.known()
        return any(
            file_id in known and names.safe(known[file_id].filename) == intent.name for file_id in intent.replaces
        )

    def hide(self, left: Intent) -> None:
        """Have what `left` may have made not shown, while its record is on its way to the journal; takes no lock."""
        self._space.disowned[left.spool] = left
        self._space.changed()

    def show(self, left: Intent) -> None:
        """Take `hide` back: the journal does not take the record."""
        self._space.disowned.pop(left.spool, None)
        self._space.changed()

    def look_for(self, left: Intent, *, flying: bool = False, file: SpoolFile | None = None) -> None:
        """Look for what `left`, which the journal has, may have made: now, or, if `flying`, once it has `ended`.

        `file` are the bytes of a `DOUBTFUL` one. It takes no lock: its caller may hold a file's.
        """
        if file is not None:
            self._bytes[left.spool] = file
        if flying:
            self._flying.add(left.spool)
        else:
            self._flying.discard(left.spool)
        self._watched[left.spool] = left
        self.hide(left)
        if not flying:
            self._later(left.spool, 0)

    def ended(self, spool: str, attempt: Intent, *, unanswered: int) -> None:
        """Take in that `attempt`, whose record is that of `spool`, is under way no longer; the lock must be held.

        `unanswered` is how many of its attempts were not answered.
        """
        self._flying.discard(spool)
        left = self._watched.get(spool)
        if left is None:
            return
        left.unanswered, left.started, left.known = unanswered, attempt.started, left.known | attempt.known
        if left.unanswered <= 0:
            self._forget(spool)
            return
        left.ended = self._account.now()
        self._journal.put(left)
        self._later(spool, 0)

    def removed(self, name: str) -> None:
        """Take in that `name` is gone (W8, W9): nothing that is in doubt comes back under it; the lock must be held."""
        self.on_removed(name)
        self._end_doubts(name)

    def _end_doubts(self, name: str) -> None:
        """Let nothing that is in doubt come back under `name`; the lock must be held."""
        for left in list(self._watched.values()):
            if left.name == name and (left.state == journal_states.DOUBTFUL or left.replaced):
                self._cancel(left, replaced=False)

    @contextlib.contextmanager
    def removing(self, name: str) -> Iterator[None]:
        """Have nothing that is in doubt come back under `name` while the service is asked to delete what has it.

        Nor should this process end before it has heard that it is deleted. What is kept of the name stays until then:
        the service may refuse.
        """
        with self._lock:
            self._removing[name] += 1
            with contextlib.suppress(OSError):  # what the local disk cannot take is no reason to keep it
                self._end_doubts(name)
        try:
            yield
        finally:
            with self._lock:
                self._removing[name] -= 1
                self.on_tried(name)

    def is_being_removed(self, name: str) -> bool:
        """Say whether the service is being asked to delete what has `name`; the lock must be held."""
        return self._removing[name] > 0

    @property
    def open(self) -> list[str]:
        """The names of the uploads that ended without an answer and are not told yet; the lock must be held."""
        # Of one that is under way still, that attempt is among the unanswered.
        left = tuple(self._space.disowned.values())
        return sorted({each.name for each in left if each.spool not in self._flying or each.unanswered > 1})

    # Looking

    def hurry(self, name: str) -> None:
        """Look at once for what earlier uploads of `name` have left: a newer version is there; the lock is held."""
        for left in tuple(self._watched.values()):
            if left.name == name and left.spool not in self._flying:
                self._later(left.spool, self._next.get(left.spool, (0, 0))[0], 0.0)

    def _later(self, spool: str, look: int, delay: float | None = None) -> None:
        """Look for what an upload has left in `delay` seconds, in place of when that was to be."""
        wait = LOOKS[look] - (LOOKS[look - 1] if look else 0.0) if delay is None else delay
        due = self._next[spool] = (look, next(self._turns))
        self._uploader.workers.submit(lambda: self._look(spool, look) if self._next.get(spool) == due else None, wait)

    def _look(self, spool: str, look: int) -> None:
        """Look for what an upload has left; with the last look it is over."""
        left = self._record(spool)
        if left is None:
            return
        file = self._bytes.get(spool)
        with self._lock:
            waits = self._waits(left)
        try:
            # While nothing can be done, nothing is asked for but what shows that a file is somebody else's.
            present = self._account.known() if waits else self.proofs.relist()
            if self._account.now() <= journal_states.NO_DATE:
                left.forget_time()
            suspects = doubts.candidates(self.proofs, left, present.values())
            if waits:
                seen = self._seen.setdefault(spool, set())
                suspects = [each for each in suspects if each.id not in seen]
            verdicts, problem = self._judge(left, suspects, present)
            whole = bool(suspects) and file is not None and file.sha256() == left.sha256
        except (MoonfsError, OSError) as error:
            self._cannot_see(left, look, error)
            return
        doomed: frozenset[str] = frozenset()
        with self._lock:
            left = self._record(spool)
            if left is None:
                return
            if waits:
                self._seen.setdefault(spool, set()).update(verdicts)
            self._show(left, (each for each, verdict in verdicts.items() if verdict is Verdict.THEIRS))
            self._show_failures(left, [each for each in suspects if each.id in verdicts and doubts.is_failure(each)])
            if problem is not None:
                self._cannot_see(left, look, problem)
                return
            self._failures.pop(spool, None)
            if waits or self._waits(left):
                self._later(spool, look, AGAIN)
                return
            # Looked at after the listing: what another upload of this name has stored since is `known` now.
            suspects = [file for file in doubts.candidates(self.proofs, left, suspects) if file.id in verdicts]
            try:
                if left.state != journal_states.DOUBTFUL or not self._decide(left, suspects, look, whole=whole):
                    doomed = self._sort(left, suspects, verdicts, present)
                    self._go_on(left, suspects, verdicts, look)
            except OSError as error:
                log.warning("What an upload of %s left has to wait: %s", left.name, error)
                self._later(spool, look, AGAIN)
                return
        for file_id in doomed:
            log.info("Deleting %s, which an interrupted upload of %s had left.", file_id, left.name)
            self._uploader.delete_queued(file_id)

    def _judge(
        self, left: Intent, suspects: list[FileObject], present: Mapping[str, FileObject]
    ) -> tuple[dict[str, Verdict], MoonfsError | None]:
        """Return whose `suspects` are, by id, and why that cannot be told of the others."""
        verdicts: dict[str, Verdict] = {}
        problem: MoonfsError | None = None
        for each in suspects:
            try:
                verdicts[each.id] = doubts.judge(self.proofs, left, each, present)
            except MoonfsError as error:
                problem = error
        return verdicts, problem

    def _cannot_see(self, left: Intent, look: int, error: MoonfsError | OSError) -> None:
        """Look again after a while, which grows while that goes on."""
        unsent = isinstance(error, MoonfsError) and error.unsent
        log.log(
            logging.DEBUG if unsent else logging.WARNING,
            "Cannot see yet whether an interrupted upload of %s left a copy: %s",
            left.name,
            error,
        )
        self._later(left.spool, look, pause(error, self._failures[left.spool], AGAIN))
        self._failures[left.spool] += not unsent

    def _waits(self, left: Intent) -> bool:
        """Say whether nothing can be done yet about what an upload has left; the lock must be held."""
        is_open = left.state == journal_states.DOUBTFUL and (
            left.name in self._space.local or self._removing[left.name] > 0
        )
        return is_open or left.spool in self._flying or self._is_on_its_way(left)

    def _show(self, left: Intent, theirs: Iterable[str]) -> None:
        """Let files show that are somebody else's, however long the rest takes; the lock must be held."""
        ids = frozenset(theirs)
        if ids:
            left.known |= ids
            self._space.changed()

    def _show_failures(self, left: Intent, failures: list[FileObject]) -> None:
        """Let stored failures show, with a line in status: nothing will tell whose they are; the lock must be held."""
        if failures:
            self._show(left, (file.id for file in failures))
            self.leave(left, failures)

    def _record(self, spool: str) -> Intent | None:
        """Return the record of an upload as the journal has it, with what was learned since; None once it is over."""
        found = next((row for row in self._journal.intents() if row.spool == spool), None)
        with self._lock:
            mine = self._watched.get(spool)
            if found is None or found.state not in (journal_states.CANCELLED, journal_states.DOUBTFUL):
                if found is None and mine is not None:
                    self._forget(spool)
                return None
            if self._account.now() <= journal_states.NO_DATE:
                found.forget_time()
            if mine is not None:
                found.known |= mine.known
                self._watched[spool] = found
                if spool in self._space.disowned:
                    self._space.disowned[spool] = found
            return found

    def _decide(self, left: Intent, suspects: list[FileObject], look: int, *, whole: bool) -> bool:
        """Take up a version whose close had failed, where it may have arrived; False where it is to be gone. Lock held.

        `whole`: its bytes are. Where nothing has happened to its name since, either version may stand.
        """
        hidden = frozenset().union(*(local.replaces for local in self._space.local.values()))
        present = self._account.known()
        stands = all(
            each in present and each not in hidden and not self._space.is_doomed(each) for each in left.replaces
        )
        file = self._bytes.get(left.spool)
        if stands and suspects and whole and file is not None:
            self.revive(left, file)
            del self._bytes[left.spool]
            self._watched.pop(left.spool, None)
            self._space.disowned.pop(left.spool, None)
            self._space.changed()
            return True
        if stands and not suspects and look == 0:
            self._later(left.spool, 1)
            return True
        self._cancel(left, replaced=self.has_older(left))
        return False

    def _cancel(self, left: Intent, *, replaced: bool) -> None:
        """Have what a version in doubt left deleted, and its bytes; the lock must be held."""
        gone = replace(left, state=journal_states.CANCELLED, replaced=replaced, replaces=frozenset())
        self._journal.put(gone, data=None)
        left.state, left.replaced, left.replaces = gone.state, gone.replaced, gone.replaces
        file = self._bytes.pop(left.spool, None)
        if file is not None:
            file.discard()

    def _sort(
        self,
        left: Intent,
        suspects: list[FileObject],
        verdicts: Mapping[str, Verdict],
        present: Mapping[str, FileObject],
    ) -> frozenset[str]:
        """Return which of `suspects` go, and note that in the journal; the lock must be held."""
        ours = [file.id for file in suspects if verdicts[file.id] is Verdict.OURS]
        if not ours or len(ours) > left.unanswered:
            return frozenset()
        doomed = frozenset(ours)
        if self.is_last(left, doomed, present):
            self.cover(left, doomed)
            return frozenset()
        left.unanswered -= len(doomed)
        left.known |= doomed
        self._journal.give_up((), [left], delete=doomed)
        self._space.doom(doomed)
        self._told(doomed)
        return doomed

    def is_last(self, left: Intent, ids: frozenset[str], present: Mapping[str, FileObject]) -> bool:
        """Say whether a newer version has the name of `left`, and the service no other copy of it than `ids`.

        A copy whose name has got a number is none of the name.
        """
        ids = frozenset(each for each in ids if each in present and names.safe(present[each].filename) == left.name)
        return (
            left.replaced
            and bool(ids)
            and not any(
                names.safe(file.filename) == left.name and file.id not in ids and not self._space.is_doomed(file.id)
                for file in present.values()
            )
        )

    def cover(self, left: Intent, ids: frozenset[str]) -> None:
        """Hide the last copies of a name behind the newer version, with which they go (W4); the lock must be held."""
        local = self._space.local.get(left.name)
        known = replace(left, known=left.known | ids, unanswered=left.unanswered - len(ids))
        if local is None or not self._journal.cover(local.inode, ids, known):
            return
        left.known, left.unanswered = known.known, known.unanswered
        with local.lock:
            local.replaces |= ids
        self._told(ids)
        self._space.changed()

    def _told(self, ids: Iterable[str]) -> None:
        """Forget that nothing was known of the copies `ids`."""
        known = [file_id for file_id in ids if self._copies.pop(file_id, None) is not None]
        if known:
            self._journal.forget_copies(known)

    def _go_on(self, left: Intent, suspects: list[FileObject], verdicts: Mapping[str, Verdict], look: int) -> None:
        """Have the next look, or let it rest: what is not ours for sure is shown; the lock must be held."""
        open_ones = [file for file in suspects if not (file.id in left.known or self._is_settled(file.id, verdicts))]
        if not left.unanswered or look == len(LOOKS) - 1:
            if left.unanswered:
                self.leave(left, open_ones)
            self._forget(left.spool)
            return
        if look:
            self.leave(left, open_ones)
            self._space.disowned.pop(left.spool, None)
            self._space.changed()
        self._later(left.spool, look + 1)

    def _is_settled(self, file_id: str, verdicts: Mapping[str, Verdict]) -> bool:
        return verdicts[file_id] is Verdict.THEIRS or self._space.is_doomed(file_id)

    def _forget(self, spool: str) -> None:
        self._journal.forget(spool)
        self._watched.pop(spool, None)
        self._space.disowned.pop(spool, None)
        self._flying.discard(spool)
        self._next.pop(spool, None)
        self._seen.pop(spool, None)
        self._failures.pop(spool, None)
        file = self._bytes.pop(spool, None)
        if file is not None:
            file.discard()
        self._space.changed()

    def _is_on_its_way(self, left: Intent) -> bool:
        """Say whether another version of its name may be on the service and not known yet; the lock must be held.

        It may be about to get the name: a rename that waits for its upload. What has been told already is known.
        """
        name = left.name
        local = self._space.local.get(name)
        # What is promised is on its way though a writer may just have cut the file.
        here = local is None or local.refused_for_good or (local.stays_local and local.committed is None)
        here = here or (local is not None and _came_back(local))
        if local is not None and not (here or local.clean):
            return True
        if any(other != left.spool and self._named(other, name) for other in tuple(self._flying)):
            return True
        others = (*self._space.local.values(), *self._space.staged.values())
        attempts = (other.attempt for other in others if other.lent is not None)
        return any(attempt is not None and attempt.name == name for attempt in attempts)

    def _named(self, spool: str, name: str) -> bool:
        left = self._watched.get(spool)
        return left is not None and left.name == name


def _came_back(local: LocalFile) -> bool:
    """Say whether it is the version before, which came back and waits for what is in doubt (W4)."""
    return local.reserve and local.pending and local.lent is None and not local.writers
