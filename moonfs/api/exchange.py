"""One request and its answer: time-outs within the deadline of the call, a bounded body, one exception tree.

It tries once and does not judge what the answer means; `client` does both. httpx's time-outs hold for each
wait; `connection` ends them all with the call, below the HTTP parser (E2).

**Threading:** one `Exchange` is shared by all threads; what changes is one attribute written at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from moonfs import wire
from moonfs.api import body as bodies
from moonfs.api import connection, retry, translate
from moonfs.api.clock import ServiceClock, since_boot
from moonfs.api.multipart import FormBody
from moonfs.errors import MoonfsError, ProtocolError, TimedOut, Unreachable

log = logging.getLogger(__name__)

#: Called with (operation, status, request id) for each answer, from the thread of the call; must not raise.
OnResponse = Callable[[str, int, str | None], None]

#: Bytes of an error's body that are looked at.
_ERROR_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait; all in seconds (E2).

    Attributes:
        connect: for the TCP and the TLS handshake, each.
        read: for each next piece of an answer.
        write: for the service to take each next piece of a request.
        pool: for one of the pool's connections to become free.
        upload_read: for the answer to an upload, which comes when the text is extracted (LIVE: 3 s at worst
            for small files, while a scan of 100 MB may take minutes).
        deadline: for a whole call with its retries, uploads excepted. Two full read time-outs fit in.
        upload_deadline: for a whole upload with its retries, besides the time its bytes take.
        slowest_uplink: bytes a second; an upload's deadline grows by its size divided by this, so that 100 MB
            over a line of 1 Mbit/s end rather than fail for ever.
    """

    connect: float = 10.0
    read: float = 60.0
    write: float = 60.0
    pool: float = 30.0
    upload_read: float = 300.0
    deadline: float = 120.0
    upload_deadline: float = 600.0
    slowest_uplink: float = 64 * 1024

    def for_upload(self, size: int) -> float:
        """Return the default deadline of an upload of `size` bytes, in seconds."""
        return self.upload_deadline + size / self.slowest_uplink


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered.

    Attributes:
        status: the HTTP status, 2xx.
        body: decoded and whole; see `body`.
        content_type: the media type, lower case, without parameters; "" for none.
        request_id: `msh-request-id`, cleaned.
        date: its `Date`; None for none, and for an answer that a cache has kept.
        sent: when the request began, by `clock.since_boot`.
    """

    status: int
    body: wire.Body
    content_type: str
    request_id: str | None
    date: str | None = None
    sent: float = 0.0


class Exchange:
    """Sends single requests to one origin.

    Attributes:
        clock_offset: the service's clock minus ours, in seconds, by the latest Date header; None until seen.
        service_time: unix time by that header, carried on by a clock that nobody sets and that counts sleep; None until
            seen, and once two answers have contradicted each other.
    """

    def __init__(
        self,
        http: httpx.Client,
        base_url: str,
        *,
        timeouts: Timeouts,
        scrub: translate.Scrub,
        clock: Callable[[], float],
        on_response: OnResponse | None,
        proxy: str = "",
        version: str = "",
    ) -> None:
        """Wire the parts; `proxy` is the variable that names the proxy on the way, for its sentences.

        `version` is asked for with each request; empty for none.
        """
        self._http = http
        self._proxy = proxy
        self._version = {wire.VERSION_HEADER: version} if version else {}
        self._base_url = base_url
        self._timeouts = timeouts
        self._scrub = scrub
        self._clock = clock
        self._on_response = on_response
        self._service_clock = ServiceClock()

    def once(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        ends: float,
        limit: int,
        form: FormBody | None = None,
        spill: Path | None = None,
        plain: bool = False,
    ) -> Answer:
        """Send one request and return its 2xx answer.

        Args:
            operation: list, upload, retrieve, delete or content.
            method: GET, POST or DELETE.
            path: below the base URL, with validated ids only.
            ends: the deadline, on the clock this was built with.
            limit: the most bytes of a decoded body.
            form: the body of an upload.
            spill: the directory for a long body.
            plain: without the version.

        Raises:
            OSError: the disk has no room for a long body.
            MoonfsError: anything but a whole 2xx answer. For an upload `maybe_stored` is set when the service
                may have taken it (W3): a byte of the body was sent and no refusal came back.
        """
        try:
            with connection.until(ends, self._clock):
                return self._send(operation, method, path, ends=ends, limit=limit, form=form, spill=spill, plain=plain)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            doubtful = form is not None and form.started
            raise translate.transport_error(
                exc, origin=self._base_url, maybe_stored=doubtful, proxy=self._proxy
            ) from exc
        except RuntimeError as exc:
            if not self._http.is_closed:
                raise
            raise closed() from exc
        except bodies.BadBodyError as exc:
            raise ProtocolError(f"the answer cannot be read: {exc}", status=200, maybe_stored=form is not None) from exc

    def _send(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        ends: float,
        limit: int,
        form: FormBody | None,
        spill: Path | None,
        plain: bool,
    ) -> Answer:
        sent = since_boot()
        more = ({} if form is None else form.headers) | ({} if plain else self._version)
        with self._http.stream(
            method,
            self._base_url + path,
            content=None if form is None else self._until(form.chunks(), ends, maybe_stored=True),
            headers=more,
            extensions={"timeout": self._limits(ends, upload=form is not None)},
        ) as response:
            headers = response.headers
            request_id = translate.clean(self._scrub(headers.get(wire.REQUEST_ID_HEADER, "")), 100) or None
            date = None if "age" in headers else headers.get("date")  # a cache's answer was made some time ago
            if self._on_response is not None:
                self._on_response(operation, response.status_code, request_id)
            encoding = headers.get("content-encoding", "")
            if not 200 <= response.status_code < 300:
                error = self._refusal(operation, response, request_id, ends)
                if not error.foreign:
                    self._service_clock.see(date, sent)
                if error.foreign and form is not None and not form.finished:
                    error.maybe_stored = False  # nobody behind the one that answered can have had the whole body
                raise error
            chunks = self._until(response.iter_raw(), ends, maybe_stored=form is not None)
            body = bodies.read_bounded(chunks, encoding=encoding, limit=limit, spill=spill)
            if form is not None and not form.finished:
                raise ProtocolError(
                    "the service accepted an upload that it had not yet received",
                    status=response.status_code,
                    request_id=request_id,
                    maybe_stored=True,
                )
            content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            return Answer(response.status_code, body, content_type, request_id, date, sent)

    def _refusal(self, operation: str, response: httpx.Response, request_id: str | None, ends: float) -> MoonfsError:
        """Return the error of an answer that is not 2xx; its status counts even where its body breaks off."""
        headers = response.headers
        parts: list[bytes] = []
        try:
            for chunk in self._until(response.iter_raw(), ends, maybe_stored=False):
                parts.append(chunk)
                if sum(map(len, parts)) >= _ERROR_BYTES:
                    break
        except (httpx.HTTPError, httpx.StreamError, TimedOut) as exc:
            log.debug("the body of an error broke off: %s", type(exc).__name__)
        body = bodies.read_start(parts, encoding=headers.get("content-encoding", ""), limit=_ERROR_BYTES)
        error = translate.status_error(
            operation, response.status_code, body, location=headers.get("location"), scrub=self._scrub
        )
        error.request_id = request_id
        now = time.time() + (self.clock_offset or 0.0)
        asked = [retry.parse_retry_after(headers.get(name), now) for name in ("retry-after", "x-retry-after")]
        error.retry_after = max((seconds for seconds in asked if seconds is not None), default=None)
        return error

    def _limits(self, ends: float, *, upload: bool) -> dict[str, float]:
        """Return httpx's time-outs; `connection` cuts all but that for a free connection, which waits on no socket."""
        return {
            "connect": self._timeouts.connect,
            "read": self._timeouts.upload_read if upload else self._timeouts.read,
            "write": self._timeouts.write,
            "pool": min(self._timeouts.pool, max(ends - self._clock(), 0.001)),
        }

    def _until(self, chunks: Any, ends: float, *, maybe_stored: bool) -> Any:
        """Yield `chunks` until the deadline.

        Raises:
            TimedOut: it has passed.
        """
        for chunk in chunks:
            if self._clock() >= ends:
                raise TimedOut(
                    f"{self._base_url} was too slow: the time for this call is over",
                    maybe_stored=maybe_stored,
                )
            yield chunk

    def take_time(self, answer: Answer) -> None:
        """Take the time from an answer that has proved to be the service's own."""
        self._service_clock.see(answer.date, answer.sent)

    @property
    def service_time(self) -> float | None:
        return self._service_clock.time if self._service_clock.is_sure else None

    @property
    def clock_offset(self) -> float | None:
        now = self._service_clock.time
        return None if now is None else now - time.time()


def closed() -> Unreachable:
    """Return what a request ends with that our own `close` forestalled; it says nothing of the service."""
    return Unreachable("the connection to the service was closed by this program", unsent=True)
