"""What can be learned of files whose maker is in doubt: ids that answers gave, hashes, and texts (W3).

A text that cannot be had is asked for again, and not for ever: where the service answers otherwise, it counts as none
after a while, so that every doubt has an end. `doubts` judges by it; nothing is decided here.

**Threading:** any thread may call anything; what sends a request is called without a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from moonfs.attributes import Attributes
from moonfs.errors import AuthenticationFailed, MoonfsError, NotReady, PassingFault, QuotaExceeded, RateLimited
from moonfs.numbering import Numbering
from moonfs.remote import Remote as Account
from moonfs.wire import FileObject

#: Seconds for which a text is asked for that the service cannot give, or that makes no sense, before it counts as none.
SENSELESS: Final = 4.0
#: The same for one that the service is still making, as long as it may take to answer an upload for that, and for one
#: that it refuses whoever asks, such as by a 429.
UNREADY: Final = 300.0
#: What says less of the file than of whoever asks, or of the moment.
_PASSING: Final = (AuthenticationFailed, NotReady, PassingFault, QuotaExceeded, RateLimited)


def pause(error: MoonfsError | OSError, failures: int, first: float) -> float:
    """Return the seconds to the next try after `failures` tries in a row, the first ones `first` seconds apart.

    They grow to four times that, so that what is in doubt is settled soon after the service answers again; where it
    answers, and refuses, to 32 times. What was not sent costs nothing.
    """
    if isinstance(error, MoonfsError) and error.unsent:
        return first
    longest = 5 if isinstance(error, _PASSING) else 2
    asked = error.retry_after if isinstance(error, MoonfsError) else None
    return max(min(asked or 0.0, first * 2.0**longest), first * 2.0 ** min(failures, longest))


class Proofs:
    """The proofs for one account."""

    def __init__(
        self, account: Account, attributes: Attributes, numbering: Numbering, wanted: Callable[[str], bool]
    ) -> None:
        """`wanted(name)` says whether an upload of ours is to have that name."""
        self._account = account
        self._numbering = numbering
        self.wanted = wanted
        self._attributes = attributes
        self._since: dict[tuple[str, float], float] = {}

    @property
    def numbers(self) -> bool:
        """Whether the service is known to number names that are taken."""
        return bool(self._numbering)

    def given(self, file_id: str) -> bool:
        """Say whether an answer gave this id to an upload of ours, or it was adopted."""
        return self._attributes.get(file_id).sha256 is not None

    def relist(self) -> Mapping[str, FileObject]:
        """Return the listing by a request sent now.

        Raises:
            MoonfsError: there is none: then no text that cannot be had speaks of its file.
        """
        try:
            return self._account.relist()
        except RateLimited:
            raise
        except MoonfsError:
            self._since.clear()
            raise

    def text(self, file: FileObject) -> bytes:
        """Return the text of a file, as UTF-8.

        Raises:
            MoonfsError: it cannot be had.
        """
        self._since.setdefault((file.id, SENSELESS), time.monotonic())
        text = self._account.plain_text(file)
        if self.is_sure(file):
            self._since.pop((file.id, SENSELESS), None)
            self._since.pop((file.id, UNREADY), None)
        return text

    def is_sure(self, file: FileObject) -> bool:
        """Say whether the text of a file came as the API gives one."""
        return self._account.is_sure(file)

    def bear(self, file: FileObject, error: MoonfsError) -> None:
        """Take in that the text of a file cannot be had, or makes no sense.

        Raises:
            MoonfsError: `error`: it is to be asked for again.
        """
        if error.unsent:
            raise error
        bound = UNREADY if isinstance(error, _PASSING) else SENSELESS
        if bound is UNREADY:
            self._since.pop((file.id, SENSELESS), None)  # nothing has said yet that there is none
        now = time.monotonic()
        if now - self._since.setdefault((file.id, bound), now) < bound:
            raise error

    def confirmed(self, sha256: str) -> frozenset[str]:
        """Return the ids that are known to hold the bytes of this hash."""
        return self._attributes.holders(sha256)
