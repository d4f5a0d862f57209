"""The account as the drive uses it: the client, the listing and the texts, kept in step with each other.

A deletion leaves the listing and the caches at once, an upload enters them at once (L4). It decides nothing about
names or handles.

**Threading:** any thread may call anything; the parts bring their own locks.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final, TypeVar

from moonfs import wire
from moonfs.api import Client
from moonfs.api.body import gathered
from moonfs.attributes import Attributes
from moonfs.contents import Contents, Fetched, Text
from moonfs.errors import (
    ExtractionFailed,
    ForeignAnswer,
    MoonfsError,
    NotFound,
    NotReady,
    ProtocolError,
    Rejected,
    ServiceError,
    is_final,
    plain_english,
)
from moonfs.journal import NO_DATE
from moonfs.listing import Listing
from moonfs.spellings import Spellings
from moonfs.spool import SpoolFile
from moonfs.texts import Texts
from moonfs.traffic import Ticket, Traffic, Urgency
from moonfs.wire import FileObject, Listed

T = TypeVar("T")

log = logging.getLogger(__name__)


#: Seconds for which an `open` waits for a text that is being extracted (R4).
EXTRACTION_WAIT: Final = 15.0
#: Seconds after which a file ought to have its text, whatever its status says: some services leave that as it was.
OVERDUE: Final = 600.0
#: Seconds until the text of a file that is said to be on its way is asked for once more, where there was none.
ASK_AGAIN: Final = 60.0
#: Files of which it is known when that was.
_IN_VAIN: Final = 4096
#: Seconds for one deletion, retries included.
DELETE_SECONDS: Final = 15.0
#: Seconds for a refresh of the listing, retries included; for each page beyond the first one more, up to the longest.
LIST_SECONDS: Final = 5.0
LONGEST_LIST_SECONDS: Final = 30.0
#: Seconds for which a refresh waits for its turn; the last listing will do (R6).
LIST_PATIENCE: Final = 0.5
#: Bytes of two long texts that are compared at a time.
_STEP: Final = 1024 * 1024


class Sending:
    """An upload under way, for those who watch.

    **Threading:** one thread writes, any may read: each field changes at once.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._sent = -1
        self._since = time.monotonic()

    def progress(self, sent: int) -> None:
        """Note how many bytes the latest attempt has handed over."""
        if sent == 0:
            self._since = time.monotonic()
        self._sent = sent
        if sent == self._size:
            self._since = time.monotonic()

    def shown(self) -> dict[str, object]:
        """Return it for `status.json`: `seconds` are those of its state (waiting, sending or being read)."""
        sent = self._sent
        state = "waiting" if sent < 0 else "sending" if sent < self._size else "being read"
        seconds = round(time.monotonic() - self._since, 1)
        return {"name": self._name, "size": self._size, "sent": max(0, sent), "state": state, "seconds": seconds}


class Remote:
    """One account.

    Attributes:
        traffic: the gate that every request passes.
        on_gone: called with the id of each file that turns out to be deleted.
        revive: called before it is looked whether the service is back; may start it again.
    """

    def __init__(
        self,
        client: Client,
        attributes: Attributes,
        texts: Texts,
        *,
        listing_ttl: float,
        content_cache: int,
        plain: bool = False,
        traffic: Traffic | None = None,
    ) -> None:
        """`listing_ttl` is in seconds, `content_cache` in bytes of memory; `traffic` is the gate that `client` passes.

        `plain`: sidecars hold the text alone, without the JSON around it (R1); `texts` and `attributes` are of such.
        """
        self._client = client
        self._pages = 1
        self._ids = Spellings(attributes.apart, attributes.note_apart, self._forget_mixed)
        self._plain = plain
        self._spill = texts.directory
        self.traffic = traffic or Traffic()
        self.traffic.probe = self._probe
        self._attributes = attributes
        # Where few requests are allowed, looking around takes one in three of them at the most.
        self.listing = Listing(
            self._list, listing_ttl, self._gone_elsewhere, longer=lambda: 3 * self.traffic.spacing * self._pages
        )
        self.contents = Contents(self._fetch, content_cache, texts, self.traffic.hurry)
        for file_id, size in texts.sizes().items():
            attributes.note_text(file_id, size)
        self._sending: list[Sending] = []
        self._lock = threading.Lock()
        self._in_vain: dict[str, float] = {}  # when a text was asked for that was not there, by id
        self._closing = threading.Event()
        self.on_gone: Callable[[str], None] = lambda _file_id: None
        self.revive: Callable[[], None] = lambda: None

    def upload(
        self, spool: SpoolFile, filename: str, purpose: str, deadline: float, complete: Callable[[], None]
    ) -> FileObject:
        """Send the bytes of `spool` once, within `deadline` seconds; `complete()` is called when all of them are sent.

        Raises:
            MoonfsError: with `maybe_stored` when the outcome is open (W3).
        """
        sending = Sending(filename, spool.size)

        def progress(sent: int) -> None:
            sending.progress(sent)
            if sent == spool.size:
                complete()

        with self._lock:
            self._sending.append(sending)
        try:
            with spool.source() as source:
                stored = self._client.upload(
                    source,
                    filename=filename,
                    size=spool.size,
                    purpose=purpose,
                    deadline=deadline,
                    progress=progress,
                )
            stored = self._ids.answered(stored)
            self._attributes.note_stored(stored.id)
            return stored
        finally:
            with self._lock:
                self._sending.remove(sending)

    def sending(self) -> list[Sending]:
        """Return the uploads under way, the oldest first."""
        with self._lock:
            return list(self._sending)

    def delete(self, file_id: str, *, background: bool = False) -> None:
        """Delete a file on the service, then here; in the background it gives way to whoever waits.

        Raises:
            NotFound: it was gone already; it is gone here too.
            MoonfsError: it is not known to be deleted.
        """
        try:
            # The kernel locks the directory meanwhile, so nobody could list it (E2).
            ticket = Ticket(Urgency.WRITER if background else Urgency.READER)
            self._asked(file_id, lambda spelt: self._delete(file_id, spelt, ticket))
        except NotFound:
            self._gone(file_id)
            raise
        except MoonfsError as error:
            if not (error.unsent or is_final(error)):
                self.listing.doubt(file_id)
            raise
        self._gone(file_id)

    @property
    def left_out(self) -> int:
        """How many entries of the service's list are not among the files of the listing."""
        return self._client.left_out

    @property
    def unread(self) -> str:
        """Why the service's list was not read to its end; empty where it was."""
        return self._client.unread

    @property
    def sees_all(self) -> bool:
        """Whether what the listing lacks is not on the service: it is whole, and of no project alone."""
        return not (self._client.project or self._client.unread or self._client.left_out)

    def key(self, file_id: str) -> str:
        """Return the id that a file has inside of the drive, however it was spelt when it was recorded."""
        return self._ids.key(file_id)

    def find(self, file_id: str) -> str:
        """Return the id that a file has inside of the drive, however a person spells it."""
        return self._ids.find(file_id)

    def known(self) -> Mapping[str, FileObject]:
        """Return the listing as it is believed now, without a request."""
        return self.listing.peek().files

    def relist(self) -> Mapping[str, FileObject]:
        """Return the listing by a request sent now."""
        return self.listing.refresh().files

    def plain_text(self, file: FileObject) -> bytes:
        """Return the text of a file alone, as UTF-8 (W3).

        Raises:
            MoonfsError: it could not be had.
        """
        body = self.contents.get(file.id)
        return body if self._plain else wire.text_in(body)

    def is_sure(self, file: FileObject) -> bool:
        """Say whether the text of `file`, fetched just now, is of the API's form: only such ones are kept (R2)."""
        return file.id in self.contents

    def now(self) -> float:
        """Return unix time by the service's clock, in seconds; `NO_DATE` where it does not tell."""
        now = self._client.service_time
        return NO_DATE if now is None else now

    def text(self, file: FileObject, ends: float | None = None) -> Text:
        """Return what the sidecar of `file` holds, waiting a bounded time for a running extraction (R4).

        A descriptor in it is the caller's to close. `ends` is when the wait is over, on the clock of `time.monotonic`;
        left out, after `EXTRACTION_WAIT`.

        Raises:
            ExtractionFailed: the service could not extract it.
            NotReady: not extracted yet.
            MoonfsError: it could not be had.
        """
        deadline = time.monotonic() + EXTRACTION_WAIT if ends is None else ends
        pause = 0.25
        while self._waits(file):
            if (text := self._in_spite(file, self.contents.open, waited=False)) is not None:
                return text
            if time.monotonic() + pause > deadline or self._closing.wait(pause):
                waited = pause > 0.25 and not self._closing.is_set()
                if (text := self._in_spite(file, self.contents.open, waited=waited)) is not None:
                    return text
                raise _not_ready(file)
            pause = min(pause * 2, 2.0)
            answer = self._asked(file.id, self._client.retrieve)
            file = replace(answer, id=file.id, listed_as=file.listed_as, apart=file.apart)
            if file.status not in wire.STATUS_WAITING:
                self.listing.add(file)
        _check_extracted(file)
        with self._looking_again(file.id):
            return self.contents.open(file.id)

    def ahead(self, file: FileObject) -> None:
        """Fetch the text of `file` before anybody waits for it, unless it is here or would not be kept.

        Raises:
            ExtractionFailed, NotReady, MoonfsError: as `text`, but nothing is waited for.
        """
        if self._waits(file):
            if self._in_spite(file, self._fetched_ahead, waited=False):
                return
            raise _not_ready(file)
        _check_extracted(file)
        if file.purpose != wire.FILE_EXTRACT:
            return
        with self._looking_again(file.id):
            self.contents.ahead(file.id)

    def _fetched_ahead(self, file_id: str) -> bool:
        self.contents.ahead(file_id)
        return True

    def _waits(self, file: FileObject) -> bool:
        """Say whether the text of `file` is on its way by its status, and not here all the same."""
        return file.status in wire.STATUS_WAITING and file.id not in self.contents

    def _in_spite(self, file: FileObject, fetch: Callable[[str], T], *, waited: bool) -> T | None:
        """Return what `fetch` brings of a file whose status says that it has no text yet; None where it is right (R4).

        Asked for where somebody has `waited` in vain, or the file is overdue, and then no more for `ASK_AGAIN` seconds.

        Raises:
            MoonfsError: the service says why there is none, or does not answer.
        """
        overdue = self._client.service_time is not None and self.now() - file.created_at > OVERDUE
        with self._lock:
            since = time.monotonic() - self._in_vain.get(file.id, float("-inf"))
        if not (waited or overdue) or since < ASK_AGAIN:
            return None
        try:
            with self._looking_again(file.id):
                return fetch(file.id)
        except ForeignAnswer:
            raise
        except (NotFound, Rejected, NotReady, ServiceError) as error:
            failed = isinstance(error, ExtractionFailed) and error.status != HTTPStatus.BAD_REQUEST  # else: not yet
            if failed or (isinstance(error, NotFound) and file.id not in self.known()):
                raise
            log.info("%s is said to be %s still, and has no text: %s", file.filename, file.status, error)
        with self._lock:
            self._in_vain[file.id] = time.monotonic()
            while len(self._in_vain) > _IN_VAIN:
                del self._in_vain[next(iter(self._in_vain))]
        return None

    def verify(self, deadline: float) -> None:
        """Make the first listing, which proves the key (L1).

        Raises:
            MoonfsError: the service refuses the key or does not answer within `deadline` seconds.
        """
        self.listing.take(lambda: self._read(deadline))
        self._attributes.respell(self.key)
        self.contents.respell(self.key)
        if self.sees_all:
            self.listing.miss(self.contents.on_disk())  # deleted while nothing was mounted

    def close(self) -> None:
        """Close the connections and end waits."""
        self._closing.set()
        self._client.close()

    def _list(self) -> Listed:
        if not self.listing.peek().version:
            return self._read(None)
        # With an old listing to fall back to, nobody waits long for a new one (E2, R6).
        return self._read(self._list_seconds, Ticket(patience=LIST_PATIENCE))

    @property
    def _list_seconds(self) -> float:
        return min(LIST_SECONDS + self._pages - 1, LONGEST_LIST_SECONDS)

    def _read(self, deadline: float | None, ticket: Ticket | None = None) -> Listed:
        """Read the service's list, with ids as they are inside of the drive.

        Where it comes in pages, one that is deleted meanwhile may push another off the page that is read next. So what
        is missing of the listing is looked for once more, before that is believed.
        """
        before = self.listing.peek().files.keys()
        files = self._ids.listed(self._client.list(deadline=deadline, ticket=ticket))
        self._pages = files.pages
        missing = before - {file.id for file in files}
        if files.pages == 1 or missing.isdisjoint(self.listing.peek().files):  # or it was deleted here
            return files
        again = self._ids.listed(self._client.list(deadline=deadline, ticket=ticket))
        found = {file.id for file in again}
        again += [file for file in files if file.id not in found]
        again.horizon = max(again.horizon, files.horizon)
        return again

    def _probe(self) -> None:
        """Look whether the service is back; the answer is the listing."""
        self.revive()
        self.listing.take(lambda: self._read(self._list_seconds, Ticket(probe=True)))

    def _asked(self, file_id: str, call: Callable[[str], T]) -> T:
        """Make a call with an id as the list spells it; where no list has had it, a 404 may mean another spelling.

        Raises:
            NotFound: there is no such file.
            MoonfsError: whatever the call raises.
        """
        spelt = self._ids.spelt(file_id)
        try:
            return call(spelt)
        except NotFound:
            if not self._ids.is_unsure(file_id):
                raise
            self.relist()
            if self._ids.spelt(file_id) == spelt:
                raise
        return call(self._ids.spelt(file_id))

    def _delete(self, file_id: str, spelt: str, ticket: Ticket) -> None:
        """Delete a file; of a project's drive also one outside of the project, whose deletion was promised before.

        What a list or an upload of this run has told is in the project. A service that refuses to be asked without one
        has nothing outside of it.
        """
        try:
            self._client.delete(spelt, deadline=DELETE_SECONDS, ticket=ticket)
        except NotFound as gone:
            if not self._client.project or self._ids.is_listed(file_id) or self._ids.is_unsure(file_id):
                raise
            try:
                self._client.delete(spelt, deadline=DELETE_SECONDS, ticket=ticket, anywhere=True)
            except Rejected:
                raise gone from None

    def _fetch(self, file_id: str, ticket: Ticket) -> Fetched:
        """Fetch a text. What has not the form of one counts only when it comes twice, and is not kept (R2).

        Raises:
            ProtocolError: no text, or another one at each time.
            MoonfsError: it could not be had.
        """

        def content(spelt: str) -> wire.Body:
            return self._client.content(spelt, ticket=ticket)

        body = self._asked(file_id, content)
        listed = self.listing.peek().files.get(file_id)
        if listed is not None and listed.status in wire.STATUS_WAITING and wire.is_empty_text(body):
            raise _not_ready(listed)
        sure = (listed is None or listed.purpose == wire.FILE_EXTRACT) and wire.is_text(body)
        if not sure and not _equal(self._asked(file_id, content), body):
            raise ProtocolError(f"The service gave two different texts for the file {file_id}; try again later.")
        if self._plain:
            body = wire.text_in(body) if isinstance(body, bytes) else gathered(wire.long_text_in(body), self._spill)
        self._attributes.note_text(file_id, len(body))
        return Fetched(body, sure)

    def _gone_elsewhere(self, ids: frozenset[str]) -> None:
        """Drop the texts of files that the listing has no longer: somebody else deleted them."""
        for file_id in ids:
            self.contents.forget(file_id)
        self._attributes.forget_texts(ids)

    def _forget_mixed(self, file_id: str) -> None:
        """Drop what may be of a twin that turns out to be another file; its bytes stay until they make room."""
        self.contents.forget(file_id)
        self._attributes.forget(file_id, lambda _sha256: None)

    @contextlib.contextmanager
    def _looking_again(self, file_id: str) -> Iterator[None]:
        """Act on a 404: was it deleted elsewhere since the listing was made? Only a new listing can tell (L4)."""
        try:
            yield
        except NotFound:
            if file_id not in self.relist():
                self._gone(file_id)
            raise

    def _gone(self, file_id: str) -> None:
        self.listing.remove(file_id)
        self.contents.forget(file_id)
        self.on_gone(file_id)


def _equal(one: wire.Body, other: wire.Body) -> bool:
    steps = range(0, len(one), _STEP)
    return len(one) == len(other) and all(one[at : at + _STEP] == other[at : at + _STEP] for at in steps)


def _not_ready(file: FileObject) -> NotReady:
    return NotReady(f"The text of {file.filename} is not extracted yet; try again in a moment.")


def _check_extracted(file: FileObject) -> None:
    if file.status == wire.STATUS_ERROR:
        reason = plain_english(file.status_details) or "the service does not say why"
        raise ExtractionFailed(
            f"The service could not extract the text of {file.filename}: {reason}",
            service_message=file.status_details or None,
        )
