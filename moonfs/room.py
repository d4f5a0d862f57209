"""How much room the account has: what the service holds and what is on its way there (A3, W7).

It counts; it refuses where the service would refuse later. It sends no request.

**Threading:** takes the filesystem's lock, which may be held already.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from moonfs import wire
from moonfs.errors import QuotaExceeded
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace


@dataclass(frozen=True, slots=True)
class Quota:
    """The account's room, in bytes and files."""

    total_bytes: int
    free_bytes: int
    total_files: int
    free_files: int


class Room:
    """The room of one account."""

    def __init__(self, listing: Listing, space: Namespace, lock: threading.RLock) -> None:
        self._listing = listing
        self._space = space
        self._lock = lock
        # What was in use when it was last counted, and all that was asked for since; before that, too much.
        self._since_bytes, self._since_files = wire.MAX_TOTAL_BYTES, wire.MAX_FILES
        self._listed_bytes = self._listed_files = 0

    def used(self, *, beside: LocalFile | None = None) -> tuple[int, int]:
        """Return bytes and files in use by the listing as it is believed, without `beside`."""
        snapshot = self._listing.peek()
        total_bytes, total_files = snapshot.total_bytes, len(snapshot.files)
        with self._lock:
            for local in self._space.local.values():
                if local.clean or local.failed:
                    continue  # what the service has counts already; what it refused takes no room
                present = [snapshot.files[file_id] for file_id in local.replaces if file_id in snapshot.files]
                total_bytes -= sum(file.bytes for file in present)
                total_files -= len(present)
                if local is not beside and not local.stays_local:
                    total_bytes += local.size
                    total_files += 1
        return total_bytes, total_files

    def quota(self) -> Quota:
        """Return what `statfs` shows (A3)."""
        used_bytes, used_files = self.used()
        return Quota(
            total_bytes=wire.MAX_TOTAL_BYTES,
            free_bytes=max(0, wire.MAX_TOTAL_BYTES - used_bytes),
            total_files=wire.MAX_FILES,
            free_files=max(0, wire.MAX_FILES - used_files),
        )

    def check_growth(self, growth: int) -> None:
        """Refuse `growth` more bytes where the account has no room for them.

        Raises:
            QuotaExceeded: over 10 GB in all (W7).
        """
        if self._surely_fits(growth, 0):
            return
        if self._count()[0] + growth > wire.MAX_TOTAL_BYTES:
            raise QuotaExceeded("The account's 10 GB are full; delete files to make room.")
        self._surely_fits(growth, 0)  # counts from now on

    def check_one_more(self, *, beside: LocalFile | None = None) -> None:
        """Refuse one more file where there is no room for it; `beside` is that file, if it exists.

        Raises:
            QuotaExceeded: 1,000 files, or 10 GB in all (W7).
        """
        more_bytes = 0 if beside is None else beside.size
        if self._surely_fits(more_bytes, 1):
            return
        self._count()
        used_bytes, used_files = self.used(beside=beside)
        if used_files >= wire.MAX_FILES:
            raise QuotaExceeded(
                f"The account holds {wire.MAX_FILES} files, the most the service keeps; delete some to make room."
            )
        if used_bytes >= wire.MAX_TOTAL_BYTES:
            raise QuotaExceeded("The account's 10 GB are full; delete files to make room.")
        self._surely_fits(more_bytes, 1)  # counts from now on

    def _surely_fits(self, more_bytes: int, more_files: int) -> bool:
        """Say whether there is room even if nothing has become smaller since the last exact count.

        That looks at every local file, which is too much for each write of a copy of many files.
        """
        snapshot = self._listing.peek()
        with self._lock:
            self._since_bytes += more_bytes
            self._since_files += more_files
            most_bytes = self._since_bytes + max(0, snapshot.total_bytes - self._listed_bytes)
            most_files = self._since_files + max(0, len(snapshot.files) - self._listed_files)
            return most_bytes < wire.MAX_TOTAL_BYTES and most_files < wire.MAX_FILES

    def _count(self) -> tuple[int, int]:
        """Count exactly, and start from there."""
        snapshot = self._listing.peek()
        with self._lock:
            self._listed_bytes, self._listed_files = snapshot.total_bytes, len(snapshot.files)
            self._since_bytes, self._since_files = used = self.used()
        return used
