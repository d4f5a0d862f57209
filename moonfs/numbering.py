"""Does the service number equal names? It tells by its answers, and the account remembers it (W4).

A service that numbers stores an upload whose name is taken under another one, such as `report(1).pdf`; one that does
not keeps files of equal names. Nothing but an answer says which one it is: the name that was sent, and the one that
came back, while a file of that name was there.

**Threading:** any thread may call anything.
"""

from __future__ import annotations

import logging
from typing import Final

from moonfs.journal import Journal

log = logging.getLogger(__name__)

_FACT: Final = "numbers"


class Numbering:
    """What is known of one account's service."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known = journal.knows(_FACT)

    def __bool__(self) -> bool:
        return self._known

    def learn(self, name: str, stored: str) -> None:
        """Take in that `name` was stored as `stored`, as another file had that name."""
        if not self._known:
            log.info("The service numbers names that are taken: it stored %s as %s.", name, stored)
            self._known = True
            self._journal.learn(_FACT, holds=True)

    def unlearn(self, name: str) -> None:
        """Take in that the service has two files called `name`, one of which it has just stored."""
        if self._known:
            log.info("The service keeps equal names: it has two files called %s.", name)
            self._known = False
            self._journal.learn(_FACT, holds=False)
