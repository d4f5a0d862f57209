"""Read-ahead: whoever reads texts one after another finds the next ones here already (R3).

A reader that opens the text that follows the one before, in the order of the listing, starts a window of two; each
further step doubles it, up to as many requests as may be under way at once. What is here is never fetched, and a
reader that goes elsewhere ends its window. It is given the texts of a listing and what fetches one; it knows no HTTP,
no paths and no handles.

Every reader is followed by itself, by its thread. A loop of a shell (`for f in *; do cat "$f"; done`) is a new reader
at each step: one that nobody follows yet goes on where another one would have.

**Threading:** `opened` may be called from any thread and never waits for a fetch; fetches run in threads of their own.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from moonfs.errors import ExtractionFailed, MoonfsError, NotFound, ProtocolError
from moonfs.workers import Workers

log = logging.getLogger(__name__)

#: Readers that are followed at once.
_READERS: Final = 16
#: Texts that the second step in a row asks for; each further step doubles it.
_FIRST_WINDOW: Final = 2
#: Bytes of the files in a window, beside its first: each of the texts is in memory while it comes.
_WINDOW_BYTES: Final = 64 * 1024**2
#: What says something of one text only. Anything else holds for all: a 429, an outage.
_OF_ONE_TEXT: Final = (ExtractionFailed, NotFound, ProtocolError)


class Listed(NamedTuple):
    """One text of a listing.

    Attributes:
        name: of the sidecar.
        type: the extension of the file whose text it is.
        file_id: its id.
        bytes: the length of the file, which its text is rarely longer than.
    """

    name: str
    type: str
    file_id: str
    bytes: int = 0


class Source(Protocol):
    """What has the texts: `contents.Contents`."""

    def __contains__(self, file_id: str) -> bool:
        """Say whether the text is here."""

    def ahead(self, file_id: str) -> None:
        """Fetch it before anybody waits for it."""


def _collated(name: str) -> str:
    """Return about what a shell sorts by where people speak a language: letters and digits, capitals as small ones."""
    return "".join(filter(str.isalnum, name.casefold()))


#: The ways in which a reader may come by. `find`, `grep -r` and a `*` of the C locale go by code point; a `*` of any
#: other locale does not; `*.pdf.content` goes by the files of one type; and `.moonfs/by-id` by their ids (N5).
_SORTS: Final[tuple[Callable[[Listed], tuple[str, ...]], ...]] = (
    lambda text: (text.name,),
    lambda text: (_collated(text.name), text.name),
    lambda text: (text.type, text.name),
    lambda text: (text.type, _collated(text.name), text.name),
    lambda text: (text.file_id,),
)
_BY_TYPE: Final = (False, False, True, True, False)


class _Order:
    """The texts in one order."""

    def __init__(self, texts: Sequence[Listed], kind: int) -> None:
        self._texts = sorted(texts, key=_SORTS[kind])
        self._place = {text.file_id: place for place, text in enumerate(self._texts)}
        self._by_type = _BY_TYPE[kind]

    def after(self, file_id: str, count: int) -> list[str]:
        """Return the next `count` ids, fewer at the end, and where files are large."""
        place = self._place.get(file_id)
        if place is None:
            return []
        kind, length = self._texts[place].type, 0
        ids: list[str] = []
        for text in self._texts[place + 1 : place + 1 + count]:
            length += text.bytes
            if (self._by_type and text.type != kind) or (ids and length > _WINDOW_BYTES):
                break
            ids.append(text.file_id)
        return ids


class Orders:
    """The texts of one listing, in each order in which a reader may come by; each is made when it is first asked for.

    It is made and used under `ReadAhead`'s lock.
    """

    def __init__(self, texts: Sequence[Listed]) -> None:
        """`texts` are those that can be read, in any order."""
        self._texts = texts
        self._orders: dict[int, _Order] = {}

    def after(self, kind: int, file_id: str, count: int) -> list[str]:
        """Return the `count` ids that follow in the order of number `kind`."""
        if kind not in self._orders:
            self._orders[kind] = _Order(self._texts, kind)
        return self._orders[kind].after(file_id, count)

    def kind_of_step(self, file_id: str, following: str) -> int | None:
        """Return the number of the first order in which one follows the other."""
        return next((kind for kind in range(len(_SORTS)) if self.after(kind, file_id, 1) == [following]), None)


@dataclass(slots=True)
class _Stream:
    """One reader's way.

    Attributes:
        last: the id that it opened last.
        kind: the order it follows; None before the second step.
        window: texts that it is to find here, after the last one.
        covered: how many texts after the last one are here or were asked for.
        over: it has gone elsewhere; what it has not begun is not fetched any more.
    """

    last: str
    kind: int | None = None
    window: int = 0
    covered: int = 0
    over: bool = False


class ReadAhead:
    """The read-ahead of one mount."""

    def __init__(
        self,
        source: Source,
        orders: Callable[[], Orders],
        *,
        most: int,
        at_once: Callable[[], int],
        limited: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wire the parts.

        `orders()` returns the texts of the listing as it is now, quickly and without a request; `at_once()` is how
        many requests may be under way now, `most` how many ever; while `limited()` nothing is read ahead.
        """
        self._source = source
        self._orders = orders
        self._at_once = at_once
        self._limited = limited
        self._lock = threading.Lock()
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._workers = Workers(most)

    def opened(self, reader: int, file_id: str) -> None:
        """Note that the thread `reader` opens the text of `file_id`, and have what follows fetched."""
        with self._lock:
            stream = self._streams.get(reader)
            if stream is not None and stream.last == file_id:
                return
            orders = self._orders()
            stream = self._step(orders, reader, file_id)
            wanted = [] if self._limited() else self._wanted(orders, stream)
            if not wanted:
                return
        for each in wanted:
            self._workers.submit(lambda file_id=each: self._fetch(stream, file_id))  # type: ignore[misc]

    def close(self) -> None:
        """Fetch nothing more."""
        self._stop()
        self._workers.close()

    def _step(self, orders: Orders, reader: int, file_id: str) -> _Stream:
        """Return the stream that this step goes on with: the reader's own, one that nobody is on, or a new one."""
        stream = self._streams.pop(reader, None)
        if stream is not None and not self._goes_on(orders, stream, file_id):
            stream.over = True
            stream = None
        elif stream is None:
            for other, candidate in reversed(self._streams.items()):
                if self._goes_on(orders, candidate, file_id):
                    stream = self._streams.pop(other)
                    break
        if stream is None:
            stream = _Stream(file_id)
        stream.last = file_id
        self._streams[reader] = stream
        if len(self._streams) > _READERS:
            self._streams.popitem(last=False)[1].over = True
        return stream

    def _goes_on(self, orders: Orders, stream: _Stream, file_id: str) -> bool:
        """Say whether `file_id` is the next step of `stream`, which then has a wider window."""
        if stream.kind is None or orders.after(stream.kind, stream.last, 1) != [file_id]:
            kind = orders.kind_of_step(stream.last, file_id)
            if kind is None:
                return False
            stream.kind, stream.covered = kind, 1
        stream.covered = max(0, stream.covered - 1)
        stream.window = min(max(_FIRST_WINDOW, 2 * stream.window), self._at_once())
        return True

    def _wanted(self, orders: Orders, stream: _Stream) -> list[str]:
        """Return what the window has and nobody has asked for yet."""
        if stream.kind is None:
            return []
        following = orders.after(stream.kind, stream.last, stream.window)
        wanted = [each for each in following[stream.covered :] if each not in self._source]
        stream.covered = max(stream.covered, len(following))
        return wanted

    def _fetch(self, stream: _Stream, file_id: str) -> None:
        if stream.over or self._limited():
            return
        try:
            self._source.ahead(file_id)
        except _OF_ONE_TEXT as error:
            log.debug("Not read ahead: %s", error)  # who opens it is told why
        except (MoonfsError, OSError) as error:  # of a disk that is full
            log.info("Reading ahead ends: %s", error)
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            for stream in self._streams.values():
                stream.over = True
            self._streams.clear()
