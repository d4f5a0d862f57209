"""A list that comes in pages, read to its end, within bounds: a part of it is never taken for all.

A service gives its whole list unless it says that there is more (`has_more`, `next_page_token`; DOC). Then it is asked
anew, for the largest pages, and for one after the other. What keeps a list from its end is either an error, such as a
time-out, or it is told: `Listed.horizon` then says what the part that was read proves. That is where there are more
files than a drive shows, and where pages repeat, or say that there is more and not how to ask for it.

**Threading:** `Pages` may be used by any thread: what it learns is one attribute written at once.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

from moonfs import wire
from moonfs.api import answers
from moonfs.api.exchange import Answer
from moonfs.errors import Rejected
from moonfs.wire import Listed

log = logging.getLogger(__name__)

#: Pages of a list that are read: as many as a drive shows files, ten on each.
_MOST: Final = wire.MAX_LISTED // 10
#: Pages in a row that bring nothing new.
_MOST_IDLE: Final = 3
#: Bytes of a list's bodies: 3.3 KB for each of `wire.MAX_LISTED`.
_LIST_BYTES: Final = 16 * 1024**2
_LONGEST_TOKEN: Final = 4096

#: Why a list was not read to its end.
TOO_MANY: Final = f"it has more files than the {wire.MAX_LISTED:,} that a drive shows"
REPEATED: Final = "its pages repeat"
NO_WAY: Final = "it says that there is more, and not how to ask for that"
TOO_LONG: Final = f"it has more than {_MOST:,} pages"


class Pages:
    """How one service gives its lists.

    Attributes:
        left_out: entries of the latest list that are not among its files.
        unread: why the latest list was not read to its end; empty where it was.
    """

    def __init__(self, *, project: bool) -> None:
        """`project`: in the second format."""
        self._project = project
        self._size = 0
        self.left_out = 0
        self.unread = ""

    def read(self, ask: Callable[[str, int], Answer], took: Callable[[Answer], None] = lambda _answer: None) -> Listed:
        """Return the files of a list.

        `ask(path, limit)` gets one page of `limit` bytes at most; `took(answer)` is told of each that proves to be one.

        Raises:
            MoonfsError: a page cannot be had, or is none.
        """
        entries, first, pages, unread = self._entries(ask, took)
        files, self.left_out, newest = answers.files_of(entries, first, project=self._project)
        horizon = wire.EVERYTHING if newest is None else float(newest)
        if unread:
            times = [file.created_at for file in files]
            in_order = bool(times) and times == sorted(times, reverse=True)
            horizon = max(horizon, float(times[-1])) if in_order else wire.NOTHING
            if unread != self.unread:
                log.warning("The service's list of files was not read to its end: %s.", unread)
        self.unread = unread
        return Listed(files, horizon=horizon, pages=pages)

    def _entries(
        self, ask: Callable[[str, int], Answer], took: Callable[[Answer], None]
    ) -> tuple[list[Any], Answer, int, str]:
        """Return all entries, the answer that they begin with, how many pages there were, and why there is more."""
        left = _LIST_BYTES

        def page(size: int, token: str) -> tuple[Answer, list[Any], str | None]:
            nonlocal left
            asked = {"page_size": str(size) if size > 0 else "", "page_token": token}
            query = urllib.parse.urlencode({name: value for name, value in asked.items() if value})
            answer = ask(f"/files?{query}" if query else "/files", left)
            left -= len(answer.body)
            entries, following = answers.page_of(answer, project=self._project)
            took(answer)
            return answer, entries, following

        first, entries, token = page(self._size, "")
        if token is not None and not self._size:
            try:
                first, entries, token = page(wire.LARGEST_PAGE, "")
                self._size = wire.LARGEST_PAGE
            except Rejected as error:
                log.info("The service takes no page_size: %s", error)
                self._size = -1  # it has its own
        ids, asked, pages, idle = {_id(entry) for entry in entries}, {""}, 1, 0
        while token is not None:
            if len(ids) >= wire.MAX_LISTED:
                return entries, first, pages, TOO_MANY
            if not token or len(token) > _LONGEST_TOKEN:
                return entries, first, pages, NO_WAY
            if token in asked or idle >= _MOST_IDLE:
                return entries, first, pages, REPEATED
            if pages >= _MOST:
                return entries, first, pages, TOO_LONG
            asked.add(token)
            _, more, token = page(self._size, token)
            before = len(ids)
            ids.update(map(_id, more))
            idle = idle + 1 if len(ids) == before else 0
            entries, pages = entries + more, pages + 1
        return entries, first, pages, ""


def _id(entry: object) -> str:
    return str(entry.get("id")) if isinstance(entry, dict) else ""
