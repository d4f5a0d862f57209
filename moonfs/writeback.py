"""The uploader: carries journaled intents out, so that every version ends up on the service exactly once.

One mechanism for every dirty file: spool → journal → uploader. `store` runs in the thread of the writer that waits
for it (write-through, W1); intents that are already acknowledged (`journal.PENDING`) and deletions that did not
get through are finished by one background thread, which sleeps while there is nothing to do (L4).

Exactly one copy (W3): when an attempt ends without an answer (time-out, reset, 5xx after the body), the fresh
listing is searched for a file with our name and size that was not there before the first attempt. Only if there
is none is the upload repeated; when an earlier attempt turns up after all, the surplus copy is deleted once its
text proves equal.

It is given the calls it makes on the service and knows no names on the drive, no handles and no HTTP.

**Threading:** any thread may call `store` and `delete`; at most `uploads` uploads run at once. `close` ends the
background thread and every wait for a retry.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from moonfs import journal as journal_states
from moonfs import names, wire
from moonfs.errors import MoonfsError, NoText, NotFound, QuotaExceeded, RateLimited, ServiceError, TimedOut, Unreachable
from moonfs.journal import Intent, Journal
from moonfs.spool import SpoolFile
from moonfs.wire import FileObject

log = logging.getLogger(__name__)

#: Seconds that a file's `created_at` may lie before the start of the attempt that made it (clock granularity).
CLOCK_SLACK: Final = 5.0
#: Seconds after which a repeated upload is checked once more for a late twin.
TWIN_CHECK: Final = 30.0


class Service(Protocol):
    """What the uploader needs of the rest of moonfs."""

    def upload(self, spool: SpoolFile, filename: str, purpose: str, deadline: float) -> FileObject:
        """Send the bytes once; an error with `maybe_stored` leaves the outcome open."""

    def delete(self, file_id: str) -> None:
        """Delete on the service and in the listing."""

    def known(self) -> Mapping[str, FileObject]:
        """The listing as it is believed now; no request."""

    def relist(self) -> Mapping[str, FileObject]:
        """The listing by a request sent now."""

    def same_text(self, one: FileObject, other: FileObject) -> bool:
        """Whether both have the same extracted text."""

    def now(self) -> float:
        """Unix time by the service's clock, in seconds."""

    def stored(self, intent: Intent, file: FileObject) -> None:
        """Told when an intent is on the service, before what it replaces is deleted."""

    def failed(self, intent: Intent, error: MoonfsError) -> None:
        """Told when an acknowledged intent was refused for good."""

    def cancelled(self, intent: Intent) -> None:
        """Told when a cancelled intent is not tried again."""


@dataclass(order=True)
class _Task:
    due: float
    number: int
    run: Callable[[], None]


def purposes(name: str, purpose: str) -> tuple[str, ...]:
    """Return the purposes to try for `name`, in order (W11)."""
    if purpose != "auto":
        return (purpose,)
    extension = names.extension(name)
    if extension in wire.VIDEO_EXTENSIONS:
        return (wire.VIDEO,)
    if extension in wire.IMAGE_EXTENSIONS:
        return (wire.FILE_EXTRACT, wire.IMAGE)
    return (wire.FILE_EXTRACT,)


class Uploader:
    """The uploader of one account."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        *,
        uploads: int,
        deadline: float,
        backoff: Callable[[int], float] = lambda attempt: min(60.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0),
    ) -> None:
        """`deadline` is seconds for one `store`; `backoff(attempt)` is seconds before a repeat."""
        self._service = service
        self._journal = journal
        self._deadline = deadline
        self._backoff = backoff
        self._slots = threading.BoundedSemaphore(uploads)
        self._unsettled: dict[str, list[Intent]] = {}
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._tasks: list[_Task] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self.active = 0
        self.uploaded = 0

    def store(self, intent: Intent, spool: SpoolFile) -> FileObject:
        """Upload `intent`, delete what it replaces, and return the new file.

        `intent` is updated in place. When the old versions had to make room first (W7: 1,000 files), they are
        gone and the intent is `PENDING`: its bytes must then be kept even if this raises.

        Raises:
            MoonfsError: refused, or not confirmed before the deadline.
        """
        limit = time.monotonic() + self._deadline
        if not self._slots.acquire(timeout=self._deadline):
            raise TimedOut(f"{intent.name} waited {self._deadline:.0f} s for other uploads to end.")
        try:
            self.active += 1
            file = self._adopt_unsettled(intent) or self._try_purposes(intent, spool, limit)
            surplus = intent.replaces - {file.id}
            self._journal.stored(intent.spool, surplus)
            self.uploaded += 1
            self._service.stored(intent, file)
        finally:
            self.active -= 1
            self._slots.release()
        for file_id in surplus:
            self.delete_queued(file_id)
        return file

    def delete(self, file_id: str) -> None:
        """Delete `file_id` on the service now (W8); a 404 counts as done.

        Raises:
            MoonfsError: it was not deleted.
        """
        with contextlib.suppress(NotFound):
            self._service.delete(file_id)
        self._journal.deleted(file_id)

    def delete_queued(self, file_id: str, attempt: int = 0) -> None:
        """Delete an id that stands in the journal; on failure once more later (W4)."""
        try:
            self.delete(file_id)
        except MoonfsError as error:
            log.warning("Cannot delete %s yet: %s", file_id, error)
            self._later(self._backoff(attempt + 3), lambda: self.delete_queued(file_id, attempt + 1))

    def resume(self, intents: Iterable[tuple[Intent, SpoolFile]], deletions: Iterable[str]) -> None:
        """Finish in the background what an earlier run left (W2, W4)."""
        for file_id in deletions:
            self._later(0.0, lambda file_id=file_id: self.delete_queued(file_id))  # type: ignore[misc]
        for intent, spool in intents:
            self.store_later(intent, spool)

    def store_later(self, intent: Intent, spool: SpoolFile, attempt: int = 0) -> None:
        """Store `intent` in the background, retried until it is stored or refused."""

        def run() -> None:
            if intent.cancelled:
                self._service.cancelled(intent)
                return
            try:
                self.store(intent, spool)
            except (TimedOut, Unreachable, RateLimited) as error:
                log.warning("%s is not uploaded yet: %s", intent.name, error)
                self.store_later(intent, spool, attempt + 1)
            except MoonfsError as error:
                if error.status is not None and error.status >= 500:
                    self.store_later(intent, spool, attempt + 1)
                    return
                intent.state, intent.error = journal_states.FAILED, str(error)
                self._journal.put(intent)
                self._service.failed(intent, error)

        self._later(0.0 if attempt == 0 else self._backoff(attempt), run)

    @property
    def waiting(self) -> int:
        """How many background tasks are waiting or under way."""
        return len(self._tasks)

    def close(self) -> None:
        """Stop the background thread and every wait; what is unfinished stays in the journal."""
        self._stopping.set()
        with self._wake:
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    # The steps of `store`.

    def _try_purposes(self, intent: Intent, spool: SpoolFile, limit: float) -> FileObject:
        known = self._service.known()
        twins = _namesakes(intent, known.values())
        intent.started = intent.started or self._service.now()
        intent.known = intent.known | {file.id for file in twins}
        if intent.state != journal_states.PENDING:
            intent.state = journal_states.UPLOADING
        if intent.replaces or intent.local_name or intent.state == journal_states.PENDING:
            # A new file that nobody was told is safe needs no record: after a crash there is nothing to finish.
            self._journal.put(intent)
        choices = purposes(intent.name, intent.purpose)
        for purpose in choices[:-1]:
            with contextlib.suppress(NoText):
                return self._make_room_for(intent, spool, purpose, limit)
        return self._make_room_for(intent, spool, choices[-1], limit)

    def _make_room_for(self, intent: Intent, spool: SpoolFile, purpose: str, limit: float) -> FileObject:
        try:
            return self._put_once(intent, spool, purpose, limit)
        except QuotaExceeded as error:
            # Only a full account (400) can be helped by the old versions' room, a suspended one (429) cannot.
            if not intent.replaces or error.status != 400:
                raise
            log.info("The account is full: %s makes room for its new version first.", intent.name)
        spool.sync()
        intent.state = journal_states.PENDING
        self._journal.put(intent)
        for file_id in intent.replaces:
            self.delete(file_id)
        intent.replaces = frozenset()
        self._journal.put(intent)
        return self._put_once(intent, spool, purpose, limit)

    def _put_once(self, intent: Intent, spool: SpoolFile, purpose: str, limit: float) -> FileObject:
        """Upload until it is confirmed, refused, or `limit` is reached; never twice unless the first is not there."""
        for attempt in itertools.count():
            try:
                file = self._service.upload(spool, intent.name, purpose, max(1.0, limit - time.monotonic()))
            except MoonfsError as error:
                if not error.maybe_stored:
                    raise
                log.warning("The upload of %s ended without an answer: %s", intent.name, error)
                found = self._settle(intent, attempt, limit)
                if found is not None:
                    return found
                if time.monotonic() + self._backoff(attempt) > limit or self._stopping.is_set():
                    with self._wake:
                        self._unsettled.setdefault(intent.name, []).append(replace(intent))
                    raise
            else:
                if file.bytes != intent.size:
                    # What is stored is not what was written: it may not take the place of anything.
                    self._journal.delete_later(file.id)
                    self.delete_queued(file.id)
                    raise ServiceError(
                        f"The service stored {file.bytes} of {intent.size} bytes of {intent.name}; that copy is gone."
                    )
                if attempt:
                    self._drop_twins(intent, file)
                    self._later(TWIN_CHECK, lambda file=file: self._drop_twins(intent, file))  # type: ignore[misc]
                return file
        raise AssertionError("unreachable")

    def _settle(self, intent: Intent, attempt: int, limit: float) -> FileObject | None:
        """Look for the outcome of an unanswered attempt, now and once more after a pause (W3)."""
        for pause in (0.0, self._backoff(attempt)):
            if time.monotonic() + pause > limit or self._stopping.wait(pause):
                return None
            while True:
                try:
                    found = self._match(intent)
                    break
                except MoonfsError as error:
                    # Without a listing a repeat could make a second copy: wait for one.
                    log.warning("Cannot see yet whether %s arrived: %s", intent.name, error)
                    wait = self._backoff(attempt + 1)
                    if time.monotonic() + wait > limit or self._stopping.wait(wait):
                        raise
            if found is not None:
                log.info("%s had arrived as %s.", intent.name, found.id)
                return found
        return None

    def _match(self, intent: Intent) -> FileObject | None:
        return arrived(intent, self._service.relist().values())

    def _adopt_unsettled(self, intent: Intent) -> FileObject | None:
        """Take up what became of earlier attempts under this name that ended in an error for their writer."""
        with self._wake:
            earlier = self._unsettled.pop(intent.name, [])
        if not earlier:
            return None
        try:
            present = self._service.relist().values()
        except MoonfsError:
            with self._wake:
                self._unsettled.setdefault(intent.name, []).extend(earlier)
            raise
        for old in earlier:
            for file in _ours(old, present):
                if old.sha256 == intent.sha256 and file.id not in intent.replaces:
                    return file
                intent.replaces |= {file.id}
        return None

    def _drop_twins(self, intent: Intent, file: FileObject) -> None:
        """Delete copies that unanswered attempts left beside `file`, where the text proves them equal."""
        try:
            present = self._service.relist()
            for twin in list(_ours(intent, present.values())) if file.id in present else ():
                if twin.id != file.id and twin.purpose == file.purpose and self._service.same_text(twin, file):
                    log.info("Deleting %s, a second copy of %s.", twin.id, intent.name)
                    self._journal.delete_later(twin.id)
                    self.delete_queued(twin.id)
        except MoonfsError as error:
            log.warning("Cannot look for a second copy of %s: %s", intent.name, error)

    # The background thread.

    def _later(self, delay: float, run: Callable[[], None]) -> None:
        with self._wake:
            if self._stopping.is_set():
                return
            heapq.heappush(self._tasks, _Task(time.monotonic() + delay, next(self._numbers), run))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="moonfs-uploader", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def _work(self) -> None:
        while not self._stopping.is_set():
            with self._wake:
                if not self._tasks:
                    self._wake.wait()
                    continue
                delay = self._tasks[0].due - time.monotonic()
                if delay > 0:
                    self._wake.wait(delay)
                    continue
                task = self._tasks[0]
            try:
                task.run()
            except Exception:
                log.exception("A background task failed")
            with self._wake:
                self._tasks.remove(task)
                heapq.heapify(self._tasks)


def arrived(intent: Intent, files: Iterable[FileObject]) -> FileObject | None:
    """Return the newest of `files` that an unanswered attempt of `intent` may have made, or None (W3)."""
    return max(_ours(intent, files), key=lambda file: (file.created_at, file.id), default=None)


def _namesakes(intent: Intent, files: Iterable[FileObject]) -> list[FileObject]:
    return [file for file in files if file.bytes == intent.size and names.safe(file.filename) == intent.name]


def _ours(intent: Intent, files: Iterable[FileObject]) -> Iterator[FileObject]:
    """Yield the files that an unanswered attempt of `intent` may have made (W3)."""
    for file in _namesakes(intent, files):
        if file.id not in intent.known and file.created_at >= intent.started - CLOCK_SLACK:
            yield file
