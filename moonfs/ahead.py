"""Texts that are fetched before somebody opens them: the next ones of a reader (R3), and all that were asked for (A2).

It says which texts there are, and of which file each is; how they are fetched is known to `readahead` and `prefetch`.

**Threading:** any thread may call anything, without the filesystem's lock.
"""

from __future__ import annotations

import threading

from moonfs.awaiting import refusal, writer
from moonfs.errors import NotFound
from moonfs.localfile import LocalFile
from moonfs.namespace import Awaited, Namespace, Sidecar
from moonfs.prefetch import Prefetch
from moonfs.readahead import Orders, ReadAhead
from moonfs.remote import Remote as Account
from moonfs.wire import FileObject


class Ahead:
    """What is fetched ahead on one mount."""

    def __init__(self, account: Account, space: Namespace, lock: threading.RLock, *, most: int) -> None:
        """`lock` is the filesystem's, which guards `space`; `most` requests are under way at once."""
        self._account = account
        self._space = space
        self._lock = lock
        self._readahead = ReadAhead(
            account.contents,
            self._in_order,
            most=most,
            at_once=lambda: min(account.traffic.limit, account.contents.fit),
            limited=lambda: account.traffic.limited,
        )
        self._prefetch = Prefetch(
            self._by_name,
            account.contents.__contains__,
            account.ahead,
            most=most,
            hold=account.traffic.hold,
            awaited=self._awaited,
            arrived=self._arrived,
        )
        self.opened = self._readahead.opened
        self.ask = self._prefetch.ask
        self.report = self._prefetch.report

    def close(self) -> None:
        """Fetch no more."""
        self._readahead.close()
        self._prefetch.close()

    def _by_name(self) -> dict[str, FileObject]:
        self._account.listing.current()
        with self._lock:
            return self._space.texts(self._account.listing.peek())

    def _awaited(self) -> dict[str, LocalFile]:
        with self._lock:
            return self._space.awaited(self._account.listing.peek())

    def _arrived(self, sidecar: str) -> FileObject | None:
        """Return the file whose text `sidecar` shows, or None while that is to come.

        Raises:
            NotFound: there is none.
            OnItsWay: a program has it open, so nothing is on its way yet.
            MoonfsError: the service has refused the file.
        """
        with self._lock:
            entry = self._space.resolve(self._account.listing.peek(), sidecar)
            refused = (refusal(entry.local) or writer(entry.local)) if isinstance(entry, Awaited) else None
        if refused is not None:
            raise refused
        if isinstance(entry, Awaited):
            return None
        if not isinstance(entry, Sidecar):
            raise NotFound("There is no such file with a text.")
        return entry.file

    def _in_order(self) -> Orders:
        with self._lock:
            return self._space.orders(self._account.listing.peek())
