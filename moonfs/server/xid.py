"""File ids as the service makes them: xid, 20 characters of `[0-9a-v]` that begin with the unix time.

A prefix may stand before it, as in `file_…`. Not a general id library: it only makes ids, and reads the time out of
one it made.

**Threading:** `XidSource.next` may be called by any thread; `_lock` guards the last id.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_CHARACTERS: Final = 20
#: 12 bytes fill 20 characters of 5 bits but for the last 4 bits, which stay zero.
_PADDING_BITS: Final = 4
_COUNTER_BITS: Final = 24


class XidSource:
    """Makes ids that are unique and grow, within one second, over restarts and when the clock steps back.

    Args:
        after: the largest id given out so far, by `order`, or an empty string.
        prefix: stands before each.
    """

    def __init__(self, after: str = "", prefix: str = "") -> None:
        self._lock = threading.Lock()
        self._prefix = prefix
        self._machine = secrets.randbits(40)
        self._last = _decode(after) if after else 0

    def next(self, now: float | None = None) -> str:
        """Return a new id; `now` is the unix time in seconds, by default the clock's."""
        seconds = int(time.time() if now is None else now)
        fresh = (seconds << 64) | (self._machine << _COUNTER_BITS)
        with self._lock:
            self._last = max(fresh, self._last + 1)
            return self._prefix + _encode(self._last)


def order(file_id: str) -> str:
    """Return what ids are in order by, whatever stands before them: the newest is the largest."""
    return file_id[-_CHARACTERS:]


def is_id(name: str) -> bool:
    """Say whether `name` ends in an id of this form, whatever stands before it."""
    last = order(name)
    return len(last) == _CHARACTERS and set(last) <= set(_ALPHABET)


def created_at(xid: str) -> int:
    """Return the unix time, in seconds, that `xid` was made at."""
    return _decode(xid) >> 64


def _encode(number: int) -> str:
    number <<= _PADDING_BITS
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range((_CHARACTERS - 1) * 5, -1, -5))


def _decode(xid: str) -> int:
    number = 0
    for character in order(xid):
        number = (number << 5) | _ALPHABET.index(character)
    return number >> _PADDING_BITS
