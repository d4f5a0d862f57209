"""Texts by id: a memory LRU, bounded in bytes, in which concurrent readers share one request (R2).

Text is immutable per id, so nothing here expires. It is given the function that fetches a text and knows no
names, no HTTP and no listing.

**Threading:** any thread may call `get`; one of the concurrent callers for an id fetches, the others wait for it.
The lock is never held during a fetch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from cachetools import LRUCache


class Contents:
    """The texts of one account."""

    def __init__(self, fetch: Callable[[str], bytes], capacity: int) -> None:
        """`fetch(id)` returns the body of `/content`; `capacity` is in bytes."""
        self._fetch = fetch
        self._lock = threading.Lock()
        self._cache: LRUCache[str, bytes] = LRUCache(maxsize=max(capacity, 1), getsizeof=len)
        self._flights: dict[str, Future[bytes]] = {}
        self.hits = 0
        self.misses = 0

    def get(self, file_id: str) -> bytes:
        """Return the text of `file_id`, fetched if it is not cached.

        A text larger than the whole cache is returned and not kept.

        Raises:
            MoonfsError: whatever the fetch raises; nothing is cached then.
        """
        with self._lock:
            body = self._cache.get(file_id)
            if body is not None:
                self.hits += 1
                return body
            flight = self._flights.get(file_id)
            if flight is None:
                self.misses += 1
                mine: Future[bytes] = Future()
                self._flights[file_id] = mine
        if flight is not None:
            return flight.result()
        try:
            body = self._fetch(file_id)
        except BaseException as error:
            with self._lock:
                del self._flights[file_id]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._flights[file_id]
            if len(body) <= self._cache.maxsize:
                self._cache[file_id] = body
        mine.set_result(body)
        return body

    def forget(self, file_id: str) -> None:
        """Drop the text of a file that was deleted."""
        with self._lock:
            self._cache.pop(file_id, None)

    @property
    def used(self) -> int:
        """Bytes in memory."""
        return int(self._cache.currsize)
