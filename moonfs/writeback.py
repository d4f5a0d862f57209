"""The uploader: carries journaled intents out, so that every version ends up on the service exactly once.

One mechanism for every dirty file: spool → journal → uploader. Write-through waits for `store` in the thread of the
writer (W1); write-back has `workers` call it (W2), and so does whatever an earlier run left.

One copy, and no loss (W3): when an attempt ends without an answer (time-out, reset, 5xx after the body), the fresh
listing is searched for what it may have made. What is proven to be these bytes is adopted (`doubts`); otherwise the
upload is repeated. What turns up afterwards is `disowned`'s.

It is given the calls it makes on the service and knows no names on the drive, no handles and no HTTP.

**Threading:** any thread may call anything. How many uploads run at once is not decided here but for the workers.
`close` ends the workers and every wait for a repeat.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Protocol

from moonfs import doubts, names
from moonfs import journal as journal_states
from moonfs.errors import (
    AuthenticationFailed,
    MoonfsError,
    Nature,
    NoText,
    NotFound,
    Overtaken,
    RateLimited,
    ServiceError,
    TimedOut,
    TooManyBytes,
    TooManyFiles,
    UnsupportedType,
    is_final,
)
from moonfs.journal import Intent, Journal
from moonfs.spool import SpoolFile
from moonfs.wire import FileObject
from moonfs.wording import count
from moonfs.workers import Workers

log = logging.getLogger(__name__)

#: Unanswered attempts of one `store`; the next one is the writer's, or a worker's after a pause.
ATTEMPTS: Final = 5
#: Seconds between the last close of many and their uploads in write-back: who goes on writing uploads once, and a copy
#: of many files is over before uploads take the processor. And how long such a copy puts its uploads off.
LINGER: Final = 0.05
LONGEST_LINGER: Final = 0.3
#: Uploads that do not wait for the last close of many: no more than may be under way at first anyway, so that the
#: service has answered, and the window is wide, once the others come.
EARLY: Final = 8
#: Uploads whose name gets a number though nothing is in its way, before that name has to do (W4).
TRIES: Final = 3
#: Searches for an unanswered attempt that are not sent because of an outage, before the doubt is left to a later try.
_KEPT_BACK: Final = 2
#: Searches that fail come as far apart as after this many failures, at the most: a doubt has an end soon after the
#: service answers again (W3).
_SLOWEST_LOOK: Final = 4
#: Tries in a row of a deletion that frees a name for the next purpose; then it is a matter of the background.
_CLEARINGS: Final = 3


class Service(doubts.Evidence, Protocol):
    """What the uploader needs of the rest of moonfs."""

    def upload(
        self, spool: SpoolFile, filename: str, purpose: str, deadline: float, complete: Callable[[], None]
    ) -> FileObject:
        """Send the bytes once; an error with `maybe_stored` leaves the outcome open.

        `complete()` is called when all of them are sent: no list that was fetched before has the copy.
        """

    def delete(self, file_id: str, *, background: bool = False) -> None:
        """Delete on the service and in the listing."""

    def known(self) -> Mapping[str, FileObject]:
        """The listing as it is believed now; no request."""

    def relist(self) -> Mapping[str, FileObject]:
        """The listing by a request sent now."""

    def earlier(self, intent: Intent) -> list[Intent]:
        """The uploads of the same bytes under this name that were given up in doubt."""

    def take_over(self, earlier: Iterable[Intent]) -> None:
        """Forget what `earlier` has returned: it is a matter of the newer upload from now on."""

    def leave(self, intent: Intent, copies: Iterable[FileObject]) -> None:
        """Have status tell of copies that may be ours, and that nothing proves to be."""

    def now(self) -> float:
        """Unix time by the service's clock, in seconds."""

    def hold(self) -> float:
        """Seconds for which background work had better not start; asked with a lock held, so it waits for nothing."""

    def learn(self, intent: Intent, file: FileObject) -> None:
        """Take in that the service numbers names: it stored `intent` as `file`, since that name was taken (W4)."""

    def unlearn(self, intent: Intent) -> None:
        """Take in that it keeps equal names: it has just stored `intent` beside another file of that name."""

    def numbered(self, intent: Intent, file: FileObject) -> None:
        """Take in that `file`, whose name has got a number, is a copy of ours: hidden, as it goes with the upload."""

    def in_the_way(self, intent: Intent, equal: frozenset[str]) -> Way:
        """What of the files `equal`, which have the name of `intent`, may go for it; may send requests."""

    def reserve(self, intent: Intent, ids: frozenset[str]) -> bool:
        """Keep the version of `ids` that comes back if `intent` is not stored; False where its bytes are not here.

        Raises Overtaken, or OSError: the local disk refuses.
        """

    def may_have_left(self, intent: Intent) -> bool:
        """Whether another upload of its name is under way, or was given up and may have left a copy."""

    def crosses(self, intent: Intent) -> None:
        """Take in that the copies of other attempts at its name may get a number, as `intent` is about to be sent."""

    def let_be(self, intent: Intent, ids: frozenset[str]) -> None:
        """Take in that `ids`, which `intent` was to replace, cannot be deleted: they are shown again."""

    def misname(self, intent: Intent, file: FileObject) -> None:
        """Have status tell that `file` is to be called as `intent` says, and is not."""

    def make_room(self, intent: Intent) -> frozenset[str]:
        """Give up the ids that others hold under the name of `intent`; return those to delete, which is journaled."""

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        """Record that `intent` is on the service; return what must be deleted now, which is journaled."""

    def bury(self, file_id: str) -> None:
        """Hide what an upload has made that is no good, and queue its deletion in the journal."""


@dataclass(frozen=True, slots=True)
class Way:
    """What is in an upload's way: files of its name that go for it.

    Attributes:
        go: the ids that go and that nobody misses: deleted already, or copies of versions given up.
        replaced: the ids of the version that the upload replaces.
        unsure: it is not told yet whose the others are.
    """

    go: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    unsure: bool = False


def _not_told(intent: Intent) -> TimedOut:
    return TimedOut(f"It is not known yet which file on the service is called {intent.name}; try again in a moment.")


class _UntoldError(Exception):
    """Nobody says by now what has become of an upload."""


class Uploader:
    """The uploader of one account."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        *,
        workers: int,
        deadline: float,
        backoff: Callable[[int], float] = lambda attempt: min(60.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0),
    ) -> None:
        """Wire the parts.

        `workers` is how many requests the gate lets pass at once, `deadline` seconds for a `store`, `backoff(attempt)`
        seconds to a repeat.
        """
        self._service = service
        self._journal = journal
        self._deadline = deadline
        self.backoff = backoff
        # What is done before and after a request must not cost a place among the requests at once.
        self.workers = Workers(workers + workers // 4, self._hold)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._burst = self._last = float("-inf")
        self.active = 0
        self.uploaded = 0
        #: Told the name of each file that has arrived.
        self.on_arrival: Callable[[str], None] = lambda _name: None

    def promised(self) -> float:
        """Note that bytes were promised just now (W2), and return the seconds until their upload may begin.

        While promises follow one another, no more than `EARLY` uploads are begun, for `LONGEST_LINGER` at most.
        """
        now = time.monotonic()
        if now - self._last > LINGER:
            self._burst = now
        self._last = now
        return LINGER

    @property
    def patient(self) -> bool:
        """Whether a version may still be put off because its writer goes on."""
        return time.monotonic() < self._burst + LONGEST_LINGER

    def _hold(self) -> float:
        lull = min(self._last + LINGER, self._burst + LONGEST_LINGER) - time.monotonic()
        return max(lull if self.workers.running >= EARLY else 0.0, self._service.hold())

    def store(self, intent: Intent, spool: SpoolFile) -> FileObject:
        """Upload `intent`, delete what it replaces, and return the new file.

        `intent` is updated in place. When the old versions had to make room first (W7: a full account), they are
        gone and the intent is `PENDING`: its bytes must then be kept even if this raises.

        Raises:
            MoonfsError: refused, or not confirmed before the deadline.
        """
        limit = time.monotonic() + self._deadline
        with self._lock:
            self.active += 1
        try:
            file = self._take_up(intent) or self._numbered_before(intent) or self._try_purposes(intent, spool, limit)
            file = self._named(intent, spool, file, limit)
            try:
                surplus = self._service.stored(intent, file)
            except Overtaken:
                raise
            except BaseException:
                # It is on the service and not in the journal: the next try finds it there, or replaces it.
                intent.unanswered -= intent.adopted
                intent.replaces |= {file.id}
                raise
            with self._lock:
                self.uploaded += 1
        finally:
            with self._lock:
                self.active -= 1
        for file_id in surplus:
            self.delete_queued(file_id)
        return file

    def delete(self, file_id: str, *, background: bool = False) -> None:
        """Delete `file_id` on the service now (W8); a 404 counts as done.

        Raises:
            MoonfsError: it was not deleted.
        """
        with contextlib.suppress(NotFound):
            self._service.delete(file_id, background=background)
        self._journal.deleted(file_id)

    def delete_queued(self, file_id: str, attempt: int = 0) -> None:
        """Delete an id that stands in the journal; on failure once more later (W4)."""
        try:
            self.delete(file_id, background=True)
        except MoonfsError as error:
            log.log(logging.DEBUG if error.unsent else logging.WARNING, "Cannot delete %s yet: %s", file_id, error)
            tried = attempt if error.unsent else attempt + 1
            delay = max(self.backoff(attempt + 3), error.retry_after or 0.0)
            self.workers.submit(lambda: self.delete_queued(file_id, tried), delay)

    def delete_later(self, ids: Iterable[str]) -> None:
        """Delete `ids`, which stand in the journal, in the background until they are gone (W4, W8)."""
        for file_id in ids:
            self.workers.submit(functools.partial(self.delete_queued, file_id))

    def close(self) -> None:
        """End the workers and every wait; what is unfinished stays in the journal."""
        self._stopping.set()
        self.workers.close()

    # The steps of `store`.

    def _try_purposes(self, intent: Intent, spool: SpoolFile, limit: float) -> FileObject:
        if not (intent.started and intent.unanswered):
            intent.started = self._service.now()
            intent.known = self._listed(intent)
            intent.taken = False
        intent.taken = intent.taken or self._may_be_taken(intent)
        if intent.taken:
            self._service.crosses(intent)
        intent.ended = 0.0
        if intent.state not in (journal_states.PENDING, journal_states.RESERVED):
            intent.state = journal_states.UPLOADING
        if intent.cancelled:
            raise Overtaken(f"{intent.name} is not wanted any more.")
        if not self._journal.attempt(intent):
            raise Overtaken(f"{intent.name} has got another name or other bytes.")
        if self._service.numbers:
            self._free_name(intent)
        choices = names.purposes(intent.name, intent.purpose)
        for purpose in choices[:-1]:
            try:
                return self._make_room_for(intent, spool, purpose, limit)
            except (NoText, UnsupportedType) as error:
                if isinstance(error.__cause__, MoonfsError):  # what is stored as a failure has the name still
                    raise error.__cause__ from None
        return self._make_room_for(intent, spool, choices[-1], limit)

    def _make_room_for(self, intent: Intent, spool: SpoolFile, purpose: str, limit: float) -> FileObject:
        try:
            return self._put_once(intent, spool, purpose, limit)
        except (TooManyFiles, TooManyBytes):  # a suspended account is not helped by the old versions' room
            # Where names are numbered, what has the name goes once this version is there, or can come back (W4).
            stays = self._equal(intent) if self._service.numbers else frozenset()
            if not (intent.replaces | intent.borrowed) - stays:
                raise
            log.info("The account is full: %s makes room for its new version first.", intent.name)
        self._be_irreplaceable(intent, spool)
        borrowed = self._service.make_room(intent) if intent.borrowed - stays else frozenset()
        for file_id in (intent.replaces | borrowed) - stays:
            self.delete(file_id)
        intent.replaces &= stays
        intent.borrowed &= stays
        self._journal.attempt(intent)
        return self._put_once(intent, spool, purpose, limit)

    # Names (W4): on a service that numbers those that are taken.

    def _free_name(self, intent: Intent) -> None:
        """Have what has the name of `intent` go before it is sent, where no bytes can be lost by that.

        What the service does not delete for good is left in the way.
        """
        equal = self._equal(intent)
        if not equal:
            return
        way = self._service.in_the_way(intent, equal)
        refused = self._remove(intent, way.go)
        if way.replaced and self._service.reserve(intent, way.replaced):
            refused |= self._remove(intent, way.replaced)
        if not intent.unanswered:
            intent.taken = self._may_be_taken(intent)
        if not self._journal.attempt(intent):
            raise Overtaken(f"{intent.name} has got another name or other bytes.")

    def _named(self, intent: Intent, spool: SpoolFile, file: FileObject, limit: float) -> FileObject:
        """Return the file under its exact name, where `file` has got a number: what is in its way goes for it.

        Where a file of that name stays, it keeps the number. Where none is seen, it is sent again first, up to `TRIES`
        times in all: a list may be late, or not show what others have. Where it is not told in time whose the file of
        that name is, the copy with the number is for the next try.

        Raises:
            MoonfsError: as `store`; what was stored meanwhile is among `intent.numbered`.
        """
        taken = intent.taken
        first, refused, made_way, tries = file, frozenset[str](), False, 1
        while file.filename != intent.name and names.is_numbered(intent.name, file.filename):
            for ids in ("numbered", "replaces", "known"):
                setattr(intent, ids, getattr(intent, ids) | {file.id})
            # Before it counts as given: a copy that is, and that no row has, would be nobody's after a kill.
            if intent.cancelled or not self._journal.attempt(intent, flying=False):
                raise Overtaken(f"{intent.name} has got another name or other bytes.")  # with its end this copy goes
            self._service.numbered(intent, file)
            for looks in itertools.count(1):
                equal = frozenset(each.id for each in self._service.relist().values() if each.filename == intent.name)
                if equal or taken:
                    self._service.learn(intent, file)
                told, found = self._now_proven(intent)
                if found is not None:
                    return found
                way = self._service.in_the_way(intent, equal)
                free = (way.go | way.replaced) - refused
                if free or not equal or (told and not way.unsure):
                    break
                # What an upload of this name has made that is under way, or in doubt, may be told in a moment.
                if self._pause(looks, limit):
                    raise _not_told(intent)
                if intent.cancelled:
                    raise Overtaken(f"{intent.name} is not wanted any more.")
            if free:
                refused |= self._remove(intent, way.go - refused)
                if way.replaced - refused:
                    if not self._service.reserve(intent, way.replaced - refused):
                        self._be_irreplaceable(intent, spool, flying=False)
                    refused |= self._remove(intent, way.replaced - refused)
                made_way = True
            elif equal or tries >= TRIES:
                return self._keep_number(intent, first)
            elif self._pause(tries, limit):
                raise _not_told(intent)
            else:
                tries += 1
            try:
                file = self._send_again(intent, spool, file.purpose, limit)
            except MoonfsError as error:
                passing = not (is_final(error) or isinstance(error, TooManyFiles | TooManyBytes))
                if error.maybe_stored or made_way or (passing and intent.state != journal_states.UPLOADING):
                    raise
                log.warning("%s keeps the name %s: %s", intent.name, first.filename, error)
                return self._keep_number(intent, first)
        self._look_for_equals(intent, file)
        return file

    def _now_proven(self, intent: Intent) -> tuple[bool, FileObject | None]:
        """Look for an earlier attempt's copy once more, which the one that was confirmed just now may prove (W3).

        Return whether that could be told, and the copy if it has the exact name.
        """
        if not intent.unanswered or intent.adopted:
            return True, None
        try:
            found = self._match(intent)
        except MoonfsError as error:
            log.warning("Cannot see yet whether an earlier upload of %s had arrived: %s", intent.name, error)
            return False, None
        if found is None or found.filename == intent.name:
            return True, found
        intent.replaces |= {found.id}
        return True, None

    def _pause(self, attempt: int, limit: float) -> bool:
        """Wait before an upload under a name that is numbered for no reason; say whether there is no time for that."""
        wait = self.backoff(attempt)
        return time.monotonic() + wait > limit or self._stopping.wait(wait)

    def _send_again(self, intent: Intent, spool: SpoolFile, purpose: str, limit: float) -> FileObject:
        intent.ended, intent.taken = 0.0, True
        if intent.cancelled or not self._journal.attempt(intent):
            raise Overtaken(f"{intent.name} has got another name or other bytes.")
        return self._put_once(intent, spool, purpose, limit)

    def _numbered_before(self, intent: Intent) -> FileObject | None:
        """Return the copy with a number that an earlier try has stored, if it is there: it need not be sent again."""
        known = self._service.known()
        there = (known[each] for each in intent.numbered if each in known)
        return max(there, key=lambda file: file.age, default=None)

    def _keep_number(self, intent: Intent, file: FileObject) -> FileObject:
        """Let `file` keep the name that the service gave it, with a line in status; return it."""
        log.warning(
            "The service stores %s as %s, though nothing in its way could be replaced.", intent.name, file.filename
        )
        intent.numbered -= {file.id}
        intent.replaces -= {file.id}
        self._service.misname(intent, file)
        return file

    def _look_for_equals(self, intent: Intent, file: FileObject) -> None:
        """Unlearn that names are numbered, where a file that was just stored has the name of another one (W4)."""
        if not (self._service.numbers and intent.taken):
            return
        with contextlib.suppress(MoonfsError):  # another upload will tell
            present = self._service.relist()
            equal = [each for each in present.values() if each.filename == intent.name and each.id != file.id]
            if file.id in present and equal:
                self._service.unlearn(intent)

    def _remove(self, intent: Intent, ids: frozenset[str]) -> frozenset[str]:
        """Delete `ids`, which have the name of `intent`; return those that the service refuses to delete for good.

        Raises:
            MoonfsError: it is open whether one is deleted.
        """
        if intent.borrowed & ids:
            self._service.make_room(intent)
        refused = set()
        for file_id in ids:
            try:
                self.delete(file_id)
            except MoonfsError as error:
                # A 401 speaks of the key; a 403 of the file: only who stored it may delete it.
                forbidden = isinstance(error, AuthenticationFailed) and error.status == HTTPStatus.FORBIDDEN
                if not (is_final(error) or forbidden) or error.foreign:
                    raise
                log.warning("%s cannot be deleted, and keeps the name %s: %s", file_id, intent.name, error)
                refused.add(file_id)
        theirs = frozenset(file_id for file_id in refused if not self._service.given(file_id))
        intent.replaces -= ids - (refused - theirs)  # what is ours goes in the end, whatever is said now
        intent.borrowed -= ids
        if theirs:
            self._service.let_be(intent, theirs)
        return frozenset(refused)

    def _be_irreplaceable(self, intent: Intent, spool: SpoolFile, *, flying: bool = True) -> None:
        """Promise the bytes of `intent` before those go that it replaces.

        Raises:
            Overtaken: nobody wants it any more.
            OSError: the local disk refuses.
        """
        spool.sync()
        if intent.state != journal_states.RESERVED:
            intent.state = journal_states.PENDING
        if not self._journal.attempt(intent, flying=flying, synced=True):
            raise Overtaken(f"{intent.name} has got another name or other bytes.")

    def _may_be_taken(self, intent: Intent) -> bool:
        """Say whether the service may have a file of this name now: one that is known, or a copy in doubt."""
        return bool(self._equal(intent)) or intent.unanswered > 0 or self._service.may_have_left(intent)

    def _equal(self, intent: Intent) -> frozenset[str]:
        """Return the ids of what is known by now and has exactly the name of `intent`."""
        return frozenset(file.id for file in self._service.known().values() if file.filename == intent.name)

    def _put_once(self, intent: Intent, spool: SpoolFile, purpose: str, limit: float) -> FileObject:
        """Upload until it is confirmed, refused, or `limit` is reached; never twice while the first may be told."""
        for attempt in itertools.count():
            listed = [self._listed(intent)]
            intent.under_way = True
            try:
                file = self._service.upload(
                    spool,
                    intent.name,
                    purpose,
                    max(1.0, limit - time.monotonic()),
                    functools.partial(self._note, intent, listed),
                )
            except MoonfsError as error:
                if not error.maybe_stored:
                    intent.ended = self._service.now() if intent.unanswered else 0.0
                    intent.under_way = False
                    if error.stored_as:
                        raise error from self._clear_away(intent, error.stored_as, limit)
                    raise
                log.warning("The upload of %s ended without an answer: %s", intent.name, error)
                if not intent.unanswered:
                    # What was answered before left no copy, so what is known by now is none of this attempt's.
                    intent.known |= listed[-1]
                intent.ended = self._service.now()
                intent.under_way = False
                intent.unanswered += 1
                found = self._find(intent, attempt, limit, error)
                if found is None:
                    continue
                file = found
            if file.bytes != intent.size:
                # What is stored is not what was written: it may not take the place of anything.
                self._clear_away(intent, file.id, limit)
                raise ServiceError(
                    f"The service stored {file.bytes:,} of {count(intent.size, 'byte')} of {intent.name}; that copy is "
                    "gone, copy the file once more."
                )
            log.info("Uploaded %s: %s, for %s, as %s.", intent.name, count(file.bytes, "byte"), purpose, file.id)
            self.on_arrival(intent.name)
            return file
        raise AssertionError("unreachable")

    def _clear_away(self, intent: Intent, file_id: str, limit: float) -> MoonfsError | None:
        """Delete what an upload has left that is no good: a stored failure, a part of a file (W1).

        It is hidden at once, and gone on return: the next purpose needs its name (W11), which a service may number. So
        a deletion that fails is tried again; return why it has to be left to the background, where the name may be
        free another time. One that is refused for good is waited for by nobody.
        """
        intent.known |= {file_id}
        self._service.bury(file_id)
        for attempt in range(_CLEARINGS):
            try:
                self.delete(file_id)
                return None
            except MoonfsError as error:
                problem = error
            wait = self.backoff(attempt)
            if problem.nature is not Nature.PASSING or problem.unsent or time.monotonic() + wait > limit:
                break
            if self._stopping.wait(wait):
                break
        log.warning("Cannot delete %s, which an upload of %s has left, yet: %s", file_id, intent.name, problem)
        self.workers.submit(functools.partial(self.delete_queued, file_id), self.backoff(_CLEARINGS))
        return None if problem.nature in (Nature.FINAL, Nature.KEY) else problem

    def _find(self, intent: Intent, attempt: int, limit: float, error: MoonfsError) -> FileObject | None:
        """Return what an attempt that ended with `error`, without an answer, has stored; None to send it again.

        Raises:
            Overtaken: nobody wants it any more, so that what it left is not to be adopted.
            MoonfsError: `error`, where it is not to be sent again by now.
        """
        if intent.cancelled:
            raise Overtaken(f"{intent.name} is not wanted any more.", maybe_stored=True) from error
        self._journal.attempt(intent, flying=False)
        try:
            found = self._settle(intent, attempt, limit)
        except _UntoldError:
            raise error from None
        if found is not None:
            return found
        late = time.monotonic() + self.backoff(attempt) > limit
        if late or attempt + 1 >= ATTEMPTS or self._stopping.is_set():
            raise error
        intent.ended, intent.taken = 0.0, True  # by the copy; and a kill before the end of the next one leaves no end
        if intent.cancelled or not self._journal.attempt(intent):
            raise Overtaken(f"{intent.name} is not wanted any more.", maybe_stored=True) from error
        return None

    def _settle(self, intent: Intent, attempt: int, limit: float) -> FileObject | None:
        """Look for the outcome of an unanswered attempt, now and once more after a pause (W3).

        Returns None when both looks do not show it.

        Raises:
            _UntoldError: there is nobody to ask (E2), or the time is up; the doubt stays.
        """
        kept_back = failures = 0
        for pause in (0.0, self.backoff(attempt)):
            wait = pause
            while True:
                if time.monotonic() + wait > limit or self._stopping.wait(wait):
                    raise _UntoldError
                try:
                    found = self._match(intent)
                    break
                except MoonfsError as error:
                    # Without a listing a repeat could make a second copy: wait for one.
                    kept_back += error.unsent and not isinstance(error, RateLimited)
                    if kept_back >= _KEPT_BACK:
                        raise _UntoldError from error
                    log.warning("Cannot see yet whether %s arrived: %s", intent.name, error)
                    failures += 1
                    wait = self.backoff(min(attempt + failures, _SLOWEST_LOOK))
            if found is not None:
                return found
        return None

    def _match(self, intent: Intent) -> FileObject | None:
        """Return the newest file that is proven to be what an attempt of `intent` has sent; None for none.

        Raises:
            MoonfsError: there is no list now, or not the text of a candidate.
        """
        present = self._service.relist()
        if self._service.now() <= journal_states.NO_DATE:
            intent.forget_time()
        proven: list[FileObject] = []
        unproven: list[FileObject] = []
        for file in doubts.candidates(self._service, intent, present.values()):
            try:
                verdict = doubts.judge(self._service, intent, file, present)
            except MoonfsError:
                if not proven:
                    raise
                unproven.append(file)  # what has arrived waits for no other file's text
                continue
            if verdict is doubts.Verdict.OURS:
                proven.append(file)
            elif verdict is doubts.Verdict.UNKNOWN:
                unproven.append(file)
                if doubts.is_failure(file):
                    intent.known |= {file.id}  # nothing will ever tell whose it is
            else:
                intent.known |= {file.id}  # it is shown from now on
        if not proven:
            self._service.leave(intent, unproven)
            return None
        proven.sort(key=lambda file: file.filename != intent.name)  # what has a number is for who looks for more
        log.info("%s had arrived as %s.", intent.name, proven[0].id)
        if intent.unanswered <= 1:  # else `disowned` looks for what the other attempts have left
            self._service.leave(intent, proven[1:])
        intent.adopted = True
        return proven[0]

    def _take_up(self, intent: Intent) -> FileObject | None:
        """Take up what became of earlier attempts: of this intent, or of the same bytes by a writer that was failed.

        Raises:
            Overtaken: nobody wants it any more; nothing has changed.
            MoonfsError: it cannot be told now; nothing has changed.
        """
        intent.adopted = False
        earlier = self._service.earlier(intent)
        if not (earlier or intent.unanswered):
            return None
        attempts = [*earlier, intent] if intent.unanswered else earlier
        before = intent.known
        whole = replace(
            intent,
            known=frozenset.intersection(*(each.known for each in attempts)),
            started=min(each.started for each in attempts),
            ended=max(each.ended for each in attempts),
            unanswered=sum(each.unanswered for each in attempts),
        )
        found = self._match(whole)
        if intent.cancelled:  # what the earlier ones left is theirs to look for
            raise Overtaken(f"{intent.name} is not wanted any more.")
        whole.replaces = intent.replaces.union(*(each.replaces for each in earlier))
        # The rows of the earlier ones go once this one has what they know: a kill between the two forgets no attempt.
        if earlier and not self._journal.attempt(whole, flying=False):
            raise Overtaken(f"{intent.name} has got another name or other bytes.")
        # With what was stored meanwhile, which it has not made.
        intent.known = whole.known | (intent.known - before)
        intent.started, intent.ended = whole.started, whole.ended
        intent.unanswered, intent.adopted, intent.replaces = whole.unanswered, whole.adopted, whole.replaces
        self._service.take_over(earlier)
        return found

    def _note(self, intent: Intent, listed: list[frozenset[str]]) -> None:
        listed.append(self._listed(intent))

    def _listed(self, intent: Intent) -> frozenset[str]:
        """Return the ids of what is known by now and has the size of `intent` and its name, or a numbered one."""
        files = self._service.known().values()
        return frozenset(
            file.id
            for file in files
            if file.bytes == intent.size
            and (names.safe(file.filename) == intent.name or names.is_numbered(intent.name, file.filename))
        )
