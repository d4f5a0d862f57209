"""Texts by id: a memory LRU over the store on disk, in which everybody who wants a text shares one request (R2).

Text is immutable per id, so nothing here expires; a body that may not be the text is given to whoever waits for it and
not kept. Small texts are kept in memory, up to a bound in bytes; larger ones are read from the disk, whose pages the
kernel keeps anyway. What the disk does not keep is in memory, or, where it is long, a file without a name, which ends
with its readers. It is given the function that fetches a text
and knows no names, no HTTP and no listing.

**Threading:** any thread may call anything; one of the concurrent callers for an id fetches, the others wait for it.
The lock is never held during a fetch nor while the disk is used.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cachetools import LRUCache

from moonfs.errors import MoonfsError
from moonfs.texts import Texts
from moonfs.traffic import Ticket, Urgency
from moonfs.wire import Body

#: Bytes up to which a text is kept in memory although the disk has it.
SMALL: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text, in memory or behind a descriptor.

    Attributes:
        size: its length in bytes.
        body: all of it, or None where `fd` has it.
        fd: a read-only descriptor that the receiver closes, or -1.
        sure: whether it is the same the next time; else nobody may keep it.
    """

    size: int
    body: Body | None
    fd: int = -1
    sure: bool = True


class Fetched(NamedTuple):
    """What a fetch brings.

    Attributes:
        body: the text.
        sure: whether it may be kept.
    """

    body: Body
    sure: bool = True


@dataclass(slots=True)
class _Flight:
    """One fetch under way.

    Attributes:
        ticket: its place among the requests.
        forgotten: the file was deleted meanwhile; its text is not kept.
    """

    ticket: Ticket
    done: Future[Fetched] = field(default_factory=Future)
    forgotten: bool = False


class Contents:
    """The texts of one account.

    Attributes:
        hits: reads answered from memory; `disk_hits`: from this disk; `misses`: by the service.
        fetched_ahead: texts that were fetched before anybody asked for them.
    """

    def __init__(
        self,
        fetch: Callable[[str, Ticket], Fetched],
        capacity: int,
        texts: Texts,
        hurry: Callable[[Ticket], None] = lambda _ticket: None,
    ) -> None:
        """Wire the parts.

        `fetch(id, ticket)` brings the body; `capacity` is in bytes of memory; `hurry(ticket)` says that somebody
        waits now for a request that nobody waited for.
        """
        self._fetch = fetch
        self._texts = texts
        self._hurry = hurry
        self._lock = threading.Lock()
        self._memory: LRUCache[str, Body] = LRUCache(maxsize=max(capacity, 1), getsizeof=len)
        self._flights: dict[str, _Flight] = {}
        self.hits = 0
        self.disk_hits = 0
        self.misses = 0
        self.fetched_ahead = 0

    def __contains__(self, file_id: str) -> bool:
        return file_id in self._memory or file_id in self._texts

    def open(self, file_id: str) -> Text:
        """Return the text of `file_id`, fetched if it is not here.

        Raises:
            MoonfsError: whatever the fetch raises; nothing is kept then.
            OSError: this disk has no room for a long one.
        """
        text = self._here(file_id)
        if text is not None:
            return text
        (body, sure), on_disk = self._get(file_id)
        if on_disk and len(body) > SMALL and (stored := self._texts.open(file_id)) is not None:
            return Text(stored[1], None, stored[0])
        return Text(len(body), body, sure=sure)

    def get(self, file_id: str) -> bytes:
        """Return the whole text of `file_id` in memory; otherwise as `open`."""
        text = self.open(file_id)
        return bytes(text.body) if text.body is not None else _read(text.fd, text.size)

    def ahead(self, file_id: str) -> None:
        """Fetch a text that nobody waits for yet, unless it is here or under way.

        Raises:
            MoonfsError: whatever the fetch raises.
        """
        with self._lock:
            if file_id in self or file_id in self._flights:
                return
            flight = self._flights[file_id] = _Flight(Ticket(Urgency.AHEAD))
        self._fly(file_id, flight)
        self.fetched_ahead += 1

    def on_disk(self) -> list[str]:
        """Return the ids of the texts on disk."""
        return list(self._texts.sizes())

    def respell(self, key: Callable[[str], str]) -> None:
        """Have each text on disk by `key(id)`; before the first of them is read."""
        self._texts.respell(key)

    @property
    def fit(self) -> int:
        """How many texts may be read ahead without one of them making room for another."""
        return self._texts.fit

    def forget(self, file_id: str) -> None:
        """Drop the text of a file that was deleted."""
        with self._lock:
            if (flight := self._flights.get(file_id)) is not None:
                flight.forgotten = True
            self._memory.pop(file_id, None)
        self._texts.forget(file_id)

    @property
    def used(self) -> int:
        """Bytes in memory."""
        return int(self._memory.currsize)

    @property
    def used_on_disk(self) -> int:
        """Bytes on disk."""
        return self._texts.used

    def _here(self, file_id: str) -> Text | None:
        with self._lock:
            body = self._memory.get(file_id)
        if body is not None:
            self.hits += 1
            return Text(len(body), body)
        stored = self._texts.open(file_id)
        if stored is None:
            return None
        self.disk_hits += 1
        fd, size = stored
        if size > SMALL:
            return Text(size, None, fd)
        body = _read(fd, size)
        if len(body) != size:  # cut short since it was checked
            self._texts.forget(file_id)
            return None
        with self._lock:
            self._remember(file_id, body)
        return Text(size, body)

    def _get(self, file_id: str) -> tuple[Fetched, bool]:
        """Return (text, whether the disk has it) by the fetch that is under way, or one of our own."""
        while True:
            with self._lock:
                flight = self._flights.get(file_id)
                if flight is None:
                    mine = self._flights[file_id] = _Flight(Ticket())
            if flight is None:
                self.misses += 1
                return self._fly(file_id, mine)
            ahead = flight.ticket.urgency is Urgency.AHEAD
            self._hurry(flight.ticket)
            try:
                return flight.done.result(), file_id in self._texts
            except MoonfsError:
                if not ahead:
                    raise
                # It may have given up where somebody who waits would not have.

    def _fly(self, file_id: str, flight: _Flight) -> tuple[Fetched, bool]:
        try:
            fetched = self._fetch(file_id, flight.ticket)
        except BaseException as error:
            with self._lock:
                del self._flights[file_id]
            flight.done.set_exception(error)
            raise
        body, sure = fetched
        on_disk = sure and not flight.forgotten and self._texts.put(file_id, body)
        with self._lock:
            del self._flights[file_id]
            if flight.forgotten or not sure:
                on_disk = False
            elif len(body) <= SMALL or not on_disk:
                self._remember(file_id, body)
        if flight.forgotten:
            self._texts.forget(file_id)
        flight.done.set_result(fetched)
        return fetched, on_disk

    def _remember(self, file_id: str, body: Body) -> None:
        if len(body) <= self._memory.maxsize:
            self._memory[file_id] = body


def _read(fd: int, size: int) -> bytes:
    """Return all that is behind `fd`, and close it."""
    try:
        parts = []
        offset = 0
        while offset < size and (chunk := os.pread(fd, size - offset, offset)):
            parts.append(chunk)
            offset += len(chunk)
        return b"".join(parts)
    finally:
        os.close(fd)
