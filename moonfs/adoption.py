"""Bytes that the service has become originals here: in which order, so that no crash loses both (R5).

The journal's row keeps bytes in the spool until it goes; so the original is made before that, and the name in the spool
goes after it, as does that of a version whose row goes too.

**Threading:** `outlast_the_journal` may be called from any thread; everything else needs the filesystem's lock.
"""

from __future__ import annotations

import logging

from moonfs.localfile import LocalFile
from moonfs.originals import Originals
from moonfs.spool import SpoolFile

log = logging.getLogger(__name__)


class Adoption:
    """The adoption of one account's bytes."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals
        #: What is to be adopted once the journal's change that drops its row is durable, by file; the newest change.
        self._recording: dict[LocalFile, list[tuple[SpoolFile, str]]] = {}

    @staticmethod
    def outlast_the_journal(local: LocalFile) -> None:
        """Make bytes durable that only the journal's row was sure to keep: the row goes, the original stays."""
        try:
            if local.lent is not None:
                local.lent.sync(name=False)  # which changes when it becomes an original
        except OSError as error:
            log.warning("The original of %s may not survive a power cut: %s", local.name, error.strerror)

    def share(self, spool: SpoolFile | None, sha256: str) -> None:
        """Make an original of bytes that stay in the spool for now."""
        try:
            if spool is not None and sha256 and self._originals.share(spool.file(), sha256, spool.size):
                spool.shared = True  # one that is a link already stays one
        except OSError as error:
            log.warning("Cannot keep an original: %s", error.strerror)

    def begin(self, local: LocalFile, older: SpoolFile | None) -> list[tuple[SpoolFile, str]]:
        """Say that a change which drops the row of `local` is on its way to the disk; return what `end` is given.

        With it goes the row of `older`, whose bytes nobody wants then.
        """
        waiting: list[tuple[SpoolFile, str]] = [] if older is None else [(older, "")]
        self._recording[local] = waiting
        return waiting

    def end(self, local: LocalFile, waiting: list[tuple[SpoolFile, str]]) -> None:
        """Say that the change is on the disk, or never will be: what has waited for it is adopted."""
        if self._recording.get(local) is waiting:
            del self._recording[local]
        for spool, sha256 in waiting:
            self._adopt(spool, sha256)

    def adopt(self, local: LocalFile, spool: SpoolFile, sha256: str) -> None:
        """Move bytes of `local` that the service has to the originals.

        They keep their place in the spool, too, until their row is gone for sure: a crash between the two would find a
        promise without its bytes, and cannot always tell that it was kept, nor what goes with it (W2, W4).
        """
        waiting = self._recording.get(local)
        if waiting is None or spool.held is not None:  # the row carries these
            self._adopt(spool, sha256)
            return
        if not spool.shared:
            try:
                self._originals.copy(spool.file(), sha256, spool.size)
            except OSError as error:
                log.warning("Cannot keep an original yet: %s", error.strerror)
        waiting.append((spool, sha256))

    def _adopt(self, spool: SpoolFile, sha256: str) -> None:
        """Move bytes to the originals, if they have a hash; a disk that refuses costs the original only.

        The room is given back.
        """
        try:
            held = spool.held
            if sha256 and held is None:
                spool.rest()
                self._originals.adopt(spool.file(), sha256, spool.size)
            elif sha256 and held is not None:
                self._originals.keep(held, sha256)
        except OSError as error:
            log.warning("Cannot keep an original: %s", error.strerror)
        spool.discard()
