"""How much room the account has: what the service holds, what is on its way there, what is believed to fit (A3, W7).

How many files and bytes an account may hold, the vendor's pages say, and they are not sure of it: it differs by
organisation. So a limit is what is *documented* (or what the settings say instead) until the service shows otherwise:
an account that holds more, or an upload beyond it that was taken, lift it to the next multiple. At the limit the
service is asked: of several uploads that would pass it one is sent, and the others wait for what comes of it. Only a
refusal of the service is one; from then on the drive refuses early, at `create` and `write`, until the account has
become smaller, and what is pending is tried again one by one.

It sends no request. What it knows lasts as long as the mount.

**Threading:** takes the filesystem's lock, which may be held already, but not for `passage` and `hold`: the lock of
the uploads at the limit comes before that one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moonfs import wire
from moonfs.errors import MoonfsError, QuotaExceeded, RateLimited, TooManyBytes, TooManyFiles
from moonfs.journal import Intent
from moonfs.listing import Listing
from moonfs.localfile import LocalFile
from moonfs.namespace import Namespace

#: Where a limit is known from.
DOCUMENTED: Final = "documented"
SET: Final = "set"
LEARNED: Final = "learned"
REFUSED: Final = "refused"
#: Seconds for which a refusal is believed where nothing shows that the account has become smaller: what others have
#: there need not be in its list.
BELIEVED: Final = 600.0
#: Seconds after a refusal at which something that is pending asks once more.
AGAIN: Final = 30.0
#: Seconds for which the others wait for the one that asks; it may be a long one.
PATIENCE: Final = 10.0
#: Seconds between two looks of something pending at whether there is room.
_LOOK: Final = 5.0
_SHORT_LOOK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Quota:
    """The account's room, in bytes and files."""

    total_bytes: int
    free_bytes: int
    total_files: int
    free_files: int


class Limit:
    """What is believed of one limit.

    Attributes:
        most: what is believed to fit.
    """

    def __init__(self, most: int, usual: int, clock: Callable[[], float]) -> None:
        """`most` is what the settings say, `usual` what is documented."""
        self.most = most
        self._step = most
        self._origin = DOCUMENTED if most == usual else SET
        self._clock = clock
        self._held_then: int | None = None
        self._refused_at = 0.0

    @property
    def origin(self) -> str:
        """Where it is known from."""
        return self._origin if self._held_then is None else REFUSED

    @property
    def is_refused(self) -> bool:
        """Whether the service has refused more, and nothing has shown since that it would not now."""
        return self._held_then is not None

    @property
    def is_due(self) -> bool:
        """Whether something that is pending may ask once more."""
        return self._clock() - self._refused_at >= AGAIN

    def see(self, held: int) -> None:
        """Take in how much the account holds."""
        if self._held_then is not None:
            if held < self._held_then or self._clock() - self._refused_at >= BELIEVED:
                self._held_then = None
            else:
                self._held_then, self.most = held, max(self.most, held)
        if self._held_then is None and held > self.most:
            self.most = -(-held // self._step) * self._step
            self._origin = LEARNED

    def refuse(self, held: int, more: int) -> None:
        """Take in that the service has refused `more` while the account held `held`."""
        self._held_then, self._refused_at = held, self._clock()
        self._origin = LEARNED
        if not held <= self.most < held + more:
            self.most = held + more - 1


class Room:
    """The room of one account.

    Attributes:
        files, bytes: its limits.
    """

    def __init__(
        self,
        listing: Listing,
        space: Namespace,
        lock: threading.RLock,
        *,
        max_files: int = wire.MAX_FILES,
        max_bytes: int = wire.MAX_TOTAL_BYTES,
        left_out: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_files` and `max_bytes` are what the settings say; `left_out()` is how many files the listing lacks."""
        self._listing = listing
        self._space = space
        self._lock = lock
        self._left_out = left_out
        self._clock = clock
        self.files = Limit(max_files, wire.MAX_FILES, clock)
        self.bytes = Limit(max_bytes, wire.MAX_TOTAL_BYTES, clock)
        # What was in use when it was last counted, and all that was asked for since; None before that.
        self._since: tuple[int, int] | None = None
        self._listed_bytes = self._listed_files = 0
        self._gate = threading.Condition()
        self._flying_bytes = self._flying_files = 0
        self._asking = 0
        self._asked_at = 0.0

    def used(self, *, beside: LocalFile | None = None) -> tuple[int, int]:
        """Return bytes and files in use by the listing as it is believed, without `beside`."""
        snapshot = self._listing.peek()
        total_bytes, total_files = self._held()
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
        self._see()
        used_bytes, used_files = self.used()
        return Quota(
            total_bytes=self.bytes.most,
            free_bytes=max(0, self.bytes.most - used_bytes),
            total_files=self.files.most,
            free_files=max(0, self.files.most - used_files),
        )

    # What a program is told early

    def check_growth(self, growth: int) -> None:
        """Refuse `growth` more bytes where the service has refused as many.

        Raises:
            TooManyBytes: it has (W7).
        """
        self._see()
        if not self.bytes.is_refused or self._surely_fits(growth, 0):
            return
        if self._count()[0] + growth > self.bytes.most:
            raise self._refusal(self.bytes)
        self._surely_fits(growth, 0)  # counts from now on

    def check_one_more(self, *, beside: LocalFile | None = None) -> None:
        """Refuse one more file where the service has refused one; `beside` is that file, if it exists.

        Raises:
            QuotaExceeded: it has, for the count or for the bytes (W7).
        """
        self._see()
        more_bytes = 0 if beside is None else beside.size
        if not (self.files.is_refused or self.bytes.is_refused) or self._surely_fits(more_bytes, 1):
            return
        self._count()
        used_bytes, used_files = self.used(beside=beside)
        if self.files.is_refused and used_files >= self.files.most:
            raise self._refusal(self.files)
        if self.bytes.is_refused and used_bytes >= self.bytes.most:
            raise self._refusal(self.bytes)
        self._surely_fits(more_bytes, 1)  # counts from now on

    # What an upload meets

    @contextlib.contextmanager
    def passage(self, intent: Intent, *, waits: bool) -> Iterator[None]:
        """Let an upload go, and learn from what comes of it; call it without a lock.

        At the limit one upload asks the service. Who `waits` waits for the outcome, though not for long: it may be a
        large file. What takes the place of something passes: it can make room for itself. So does what may be on the
        service already (W3): that is looked at first.

        Raises:
            QuotaExceeded: the service has refused the like already, so it is not asked.
            RateLimited: another upload asks just now; not who waits.
        """
        adds = not (intent.replaces or intent.borrowed or intent.unanswered)
        asks = self._admit(intent.size, waits=waits) if adds else False
        try:
            yield
        except QuotaExceeded as error:
            if not error.unsent:
                self._learn(intent, error)
            raise
        finally:
            with self._gate:
                self._asking -= asks
                if adds:
                    self._flying_files, self._flying_bytes = self._flying_files - 1, self._flying_bytes - intent.size
                self._gate.notify_all()

    def hold(self, local: LocalFile) -> float:
        """Return the seconds for which the upload of something pending had better wait; 0 for none.

        That is while another one asks, and while what the service has refused stands: of that it was told.
        """
        attempt = local.attempt
        in_doubt = attempt is not None and attempt.unanswered > 0
        if local.replaces or in_doubt or not self.passes_limit(local.size):
            return 0.0
        with self._gate:
            if self._is_asking():
                return _SHORT_LOOK
        refused = self._refused(local.size)
        return _LOOK if refused is not None and local.failed and not refused.is_due else 0.0

    def passes_limit(self, size: int) -> bool:
        """Say whether one more file of `size` bytes passes what is believed to fit, with all that is under way."""
        self._see()
        held_bytes, held_files = self._held()
        with self._gate:
            most_files, most_bytes = held_files + self._flying_files + 1, held_bytes + self._flying_bytes + size
        return most_files > self.files.most or most_bytes > self.bytes.most

    def _admit(self, size: int, *, waits: bool) -> bool:
        """Note one more upload under way, once it may go; say whether it is the one that asks."""
        with self._gate:
            while True:
                asks = self.passes_limit(size)
                refused = self._refused(size) if asks else None
                if refused is not None and (waits or not refused.is_due):
                    raise self._refusal(refused)
                if not (asks and self._is_asking()):
                    break
                if not waits:
                    raise RateLimited(
                        "another upload asks just now whether the account takes more",
                        retry_after=_SHORT_LOOK,
                        unsent=True,
                    )
                self._gate.wait(PATIENCE)
            self._flying_files, self._flying_bytes = self._flying_files + 1, self._flying_bytes + size
            if asks:
                self._asking, self._asked_at = self._asking + 1, self._clock()
            return asks

    def _is_asking(self) -> bool:
        return self._asking > 0 and self._clock() - self._asked_at < PATIENCE

    def _refused(self, size: int) -> Limit | None:
        """Return the limit beyond which the service has refused what one more file of `size` bytes would take."""
        held_bytes, held_files = self._held()
        if self.files.is_refused and held_files + 1 > self.files.most:
            return self.files
        if self.bytes.is_refused and held_bytes + size > self.bytes.most:
            return self.bytes
        return None

    def _learn(self, intent: Intent, error: QuotaExceeded) -> None:
        """Take in a refusal; where the account has nothing to be deleted, the room is somebody else's matter."""
        held_bytes, held_files = self._held()
        if not held_files:
            return
        with self._lock:
            if isinstance(error, TooManyFiles) and (intent.purpose != wire.BATCH or held_files >= self.files.most):
                self.files.refuse(held_files, 1)  # of batches there may be fewer than of files (DOC)
            elif isinstance(error, TooManyBytes):
                self.bytes.refuse(held_bytes, max(intent.size, 1))
            self._since = None

    def _refusal(self, limit: Limit) -> MoonfsError:
        if limit is self.files:
            return TooManyFiles(
                f"The account holds {limit.most:,} files, and the service takes no more; delete some to make room.",
                unsent=True,
            )
        return TooManyBytes(
            f"The account's {limit.most / 1024**3:.1f} GB are full, says the service; delete files to make room.",
            unsent=True,
        )

    # Counting

    def _held(self) -> tuple[int, int]:
        """Return bytes and files that the account holds, by the listing as it is believed."""
        snapshot = self._listing.peek()
        return snapshot.total_bytes, len(snapshot.files) + self._left_out()

    def _see(self) -> None:
        held_bytes, held_files = self._held()
        with self._lock:
            self.files.see(held_files)
            self.bytes.see(held_bytes)

    def _surely_fits(self, more_bytes: int, more_files: int) -> bool:
        """Say whether there is room even if nothing has become smaller since the last exact count.

        That looks at every local file, which is too much for each write of a copy of many files.
        """
        held_bytes, held_files = self._held()
        with self._lock:
            if self._since is None:
                return False
            since_bytes, since_files = self._since[0] + more_bytes, self._since[1] + more_files
            self._since = since_bytes, since_files
            most_bytes = since_bytes + max(0, held_bytes - self._listed_bytes)
            most_files = since_files + max(0, held_files - self._listed_files)
            return most_bytes < self.bytes.most and most_files < self.files.most

    def _count(self) -> tuple[int, int]:
        """Count exactly, and start from there."""
        with self._lock:
            self._listed_bytes, self._listed_files = self._held()
            self._since = used = self.used()
        return used
