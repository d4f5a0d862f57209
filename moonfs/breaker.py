"""Whether the service is there at all: a circuit breaker, so that a long outage answers at once (E2).

It opens when nothing was answered since the first failure of a series that lasts two seconds by now and holds three
failures, or a time-out. While it is open every request is refused with the error of that series. A probe finds the
end: one at the opening, since a single time-out may have been one file's trouble, and later ones only when somebody
asks (L4), at growing distances. Whoever asks while a probe is young waits a moment for what it finds.

It knows no queue and no rates; what a failure means is decided here by its kind alone.

**Threading:** any thread may call anything; the lock is never held while something is waited for or sent. A probe
runs in a daemon thread of its own, one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from moonfs.errors import ExtractionFailed, MoonfsError, ProtocolError, ServiceError, TimedOut, Unreachable

log = logging.getLogger(__name__)

#: Seconds that a series of failures must last, and how many it must hold when none is a time-out.
SERIES: Final = 2.0
FAILURES: Final = 3
#: Seconds from a probe that found nothing to the next one: at first, and at most; it doubles.
FIRST_COOL_OFF: Final = 0.5
LONGEST_COOL_OFF: Final = 10.0
#: Seconds for which a caller waits for a young probe.
PROBE_WAIT: Final = 0.3
#: Seconds after which background work asks again at the latest: others may have found the end.
LONGEST_HOLD: Final = 1.0
#: What a gateway says when nothing is behind it.
_GATEWAY: Final = (502, 503, 504)


@dataclass(slots=True)
class _Probe:
    ends: float
    done: threading.Event = field(default_factory=threading.Event)


def is_absence(operation: str, error: MoonfsError) -> bool:
    """Say whether `error` means that the service is not there, rather than that it refused something.

    A 500 for one file's text or upload speaks of that file. What was not sent says nothing.
    """
    if error.unsent or isinstance(error, ProtocolError | ExtractionFailed):
        return False
    if isinstance(error, Unreachable | TimedOut):
        return error.status is None
    if not isinstance(error, ServiceError):
        return False
    return error.status in _GATEWAY or (error.status == 500 and operation not in ("content", "upload"))


class Breaker:
    """The breaker of one account.

    Attributes:
        probe: asks the service for something small, past the breaker, and reports through it; raises what comes of it.
            None lets callers pass when it is time for one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self.probe: Callable[[], None] | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._began: float | None = None
        self._answered_at = float("-inf")
        self._failures = 0
        self._timed_out = False
        self._last: MoonfsError | None = None
        self._open = False
        self._cool_off = FIRST_COOL_OFF
        self._next_probe = 0.0
        self._probing: _Probe | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether requests are refused now."""
        return self._open

    def check(self) -> None:
        """Return when a request may be sent; a young probe is waited for.

        Raises:
            MoonfsError: the service is not there; of the kind of the last failure, with `unsent`.
        """
        if self._open and (error := self.outage()) is not None:
            raise error

    def outage(self) -> MoonfsError | None:
        """Return what keeps requests from being sent, or None; starts a probe that is due and waits for a young one."""
        with self._lock:
            if not self._open:
                return None
            if self.probe is None and self._clock() >= self._next_probe:
                self._open = False  # one more failure, and it is open again
                return None
            probe = self._probe_if_due()
            left = 0.0 if probe is None else probe.ends - self._clock()
        if probe is not None and left > 0:
            probe.done.wait(left)
        with self._lock:
            return self._refusal() if self._open else None

    def refusal(self) -> MoonfsError:
        """Return what a request is refused with now."""
        with self._lock:
            return self._refusal()

    def hold(self) -> float:
        """Return the seconds after which it is worth while to ask again; 0 when requests may be sent. Never waits."""
        with self._lock:
            if not self._open or self._closed:
                return 0.0
            if self._probe_if_due() is not None:
                return PROBE_WAIT
            if self.probe is None and self._clock() >= self._next_probe:
                return 0.0
            return min(LONGEST_HOLD, max(0.01, self._next_probe - self._clock()))

    def answered(self) -> None:
        """Note an answer, whatever it says: the service is there."""
        self._answered_at = self._clock()
        if self._began is None:
            return
        with self._lock:
            if self._open:
                log.warning("The service answers again, after %.0f s.", self._clock() - (self._began or 0.0))
            self._began = self._last = None
            self._failures, self._timed_out, self._open = 0, False, False
            self._cool_off = FIRST_COOL_OFF

    def failed(self, began: float, error: MoonfsError) -> bool:
        """Note a request that was sent at `began` and ended in `error`, an absence; say whether that opened it."""
        with self._lock:
            if self._closed:
                return False
            began = max(began, self._answered_at)  # others were answered while this one was not
            self._began = began if self._began is None else min(began, self._began)
            self._failures += 1
            self._timed_out = self._timed_out or isinstance(error, TimedOut)
            self._last = error
            lasts = self._clock() - self._began >= SERIES
            if self._open or not lasts or not (self._timed_out or self._failures >= FAILURES):
                return False
            self._open = True
            self._next_probe = self._clock()
            if self.probe is None:
                self._put_off()
            log.warning("The service does not answer; requests are refused at once until it does: %s", error)
            self._probe_if_due()
            return True

    def close(self) -> None:
        """Start no more probes."""
        with self._lock:
            self._closed = True

    def summary(self) -> dict[str, object] | None:
        """Return since when (unix time) there is no answer and why, or None."""
        with self._lock:
            if not self._open or self._began is None:
                return None
            return {"since": int(time.time() - (self._clock() - self._began)), "reason": str(self._last)}

    def _refusal(self) -> MoonfsError:
        if self._last is None or self._began is None:
            return Unreachable("the service does not answer", unsent=True)
        since = time.localtime(time.time() - (self._clock() - self._began))
        said = f"{self._last} (no answer since {time.strftime('%H:%M:%S', since)}, so this request was not sent)"
        return type(self._last)(said, unsent=True)

    def _put_off(self) -> None:
        self._next_probe = self._clock() + self._cool_off
        self._cool_off = min(LONGEST_COOL_OFF, 2 * self._cool_off)

    def _probe_if_due(self) -> _Probe | None:
        """Return the probe under way, started if it is time; the lock is held."""
        if self._probing is not None or self.probe is None or self._closed or self._clock() < self._next_probe:
            return self._probing
        probe = self._probing = _Probe(self._clock() + PROBE_WAIT)
        try:
            threading.Thread(target=self._run, args=(probe, self.probe), name="moonfs-probe", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            log.warning("Cannot look whether the service is back: %s", error)
            self._probing = None
            self._put_off()
        return self._probing

    def _run(self, probe: _Probe, look: Callable[[], None]) -> None:
        try:
            look()
        except MoonfsError as error:
            log.debug("The service is not back: %s", error)
        except Exception:
            log.exception("A probe failed")
        finally:
            with self._lock:
                self._probing = None
                if self._open:
                    self._put_off()
            probe.done.set()
