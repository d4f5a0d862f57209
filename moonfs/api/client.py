"""The five calls of the Files API, each within one deadline, repeated where that is safe.

It keeps nothing between calls but connections, and how the service gives lists (`pages`); it speaks one of the
service's two formats for all its life. It does not judge answers (`answers`) and does not match the remote list after
an upload in doubt: its caller does (W3). With a gate (`traffic`) each attempt passes through it, and the
gate does the waiting after a 429, so that whoever is more urgent goes first.

**Threading:** a `Client` is shared by all threads; `close` may be called from any of them and ends the waits
between the attempts of the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

from moonfs import wire
from moonfs.api import answers, origin, translate
from moonfs.api.exchange import Answer, Exchange, OnResponse, Timeouts, closed
from moonfs.api.multipart import FormBody
from moonfs.api.pages import Pages
from moonfs.api.retry import Retry, run
from moonfs.errors import (
    ForeignAnswer,
    MoonfsError,
    Nature,
    NotFound,
    ProtocolError,
    RateLimited,
    Rejected,
    Unreachable,
)
from moonfs.traffic import Ticket, Traffic, Urgency
from moonfs.wire import STATUS_ERROR, Body, FileObject, Listed

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Bytes of the body that describes one file; a local server keeps names of 64 KB, and JSON may escape each byte.
_OBJECT_BYTES: Final = 512 * 1024
#: Bytes of a file's text.
_CONTENT_BYTES: Final = 512 * 1024**2


class Client:
    """The Files API of one account.

    Attributes:
        base_url: where the requests go, without a slash at its end.
        project: whether it lists the files of the key's project alone, in the second format.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        socket: str | os.PathLike[str] | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        max_connections: int = 40,
        on_response: OnResponse | None = None,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        traffic: Traffic | None = None,
        spill: Path | None = None,
        project: bool = False,
    ) -> None:
        """Set up; nothing is sent yet.

        Args:
            base_url: such as `https://api.moonshot.ai/v1`.
            key: the API key; sent to that origin only, never shown (X1).
            socket: path of a UNIX socket to connect to instead of the URL's host.
            timeouts: how long to wait, in seconds.
            max_connections: connections at a time: as many as the gate lets pass, 32 and a quarter.
            on_response: called with (operation, status, request id) for each answer, in the calling thread.
            retry: the schedule of retries with its clock and chance.
            traffic: the gate; None sends everything at once.
            spill: a directory for long texts while they are read; without it they are held in memory.
            project: ask for the files of the key's project alone, in the second format (DOC); else for all.

        Raises:
            UsageError: the base URL, key, socket path, proxy or certificates cannot work; says which and why.
        """
        key = origin.check_key(key)
        self.base_url = origin.check_base_url(base_url, socket=socket is not None)
        self._timeouts = timeouts
        self._retry = retry
        self._traffic = traffic
        self._spill = spill
        self._closed = threading.Event()
        self.project = project
        self._pages = Pages(project=project)
        self._socket = None if socket is None else os.fspath(socket)
        way = origin.way_to(self.base_url, socket=socket is not None)
        self._http = origin.connect(self.base_url, key, socket=socket, max_connections=max_connections, way=way)
        self._scrub = translate.scrubber(key)
        self._exchange = Exchange(
            self._http,
            self.base_url,
            timeouts=timeouts,
            scrub=self._scrub,
            clock=retry.clock,
            on_response=on_response,
            proxy=way.variable if way.proxy is not None else "",
            version=wire.BETA if project else "",
        )

    def list(self, *, deadline: float | None = None, ticket: Ticket | None = None) -> Listed:
        """Return every file of the account, or of the project, in the service's order (unknown).

        An entry that does not validate is left out with a warning, as are the oldest beyond `wire.MAX_LISTED`; a
        repeated id counts once. `left_out` says how many they are, `unread` why there are more that nobody has counted.

        Args:
            deadline: seconds for the call with its pages and its retries.
            ticket: how urgent it is; of a reader without it, as for all calls but uploads.

        Raises:
            MoonfsError: no list could be had.
        """
        ends, answered = self._ends(deadline), False

        def ask(path: str, limit: int) -> Answer:
            nonlocal answered
            answer = self._read("list", path, limit, ends - self._retry.clock(), ticket)
            answered = True
            return answer

        try:
            return self._pages.read(ask, self._exchange.take_time)
        except Rejected as error:
            if answered or not self.project:
                raise
            raise ProtocolError(
                f"the service does not take scope=project: mount it with scope=organisation ({error})",
                status=error.status,
                request_id=error.request_id,
                service_message=error.service_message,
            ) from error

    @property
    def left_out(self) -> int:
        """Entries of the latest list that are not among its files."""
        return self._pages.left_out

    @property
    def unread(self) -> str:
        """Why the latest list was not read to its end; empty where it was."""
        return self._pages.unread

    def upload(
        self,
        source: BinaryIO,
        *,
        filename: str,
        size: int,
        purpose: str,
        deadline: float | None = None,
        ticket: Ticket | None = None,
        progress: Callable[[int], None] = lambda _sent: None,
    ) -> FileObject:
        """Store a file and return it as the service describes it.

        Tried again only when the service has certainly not taken it: no connection, no free connection, 429, a refusal
        that passes. Anything in doubt is raised with `maybe_stored=True`: match the list before another try (W3). What
        the service has stored as a failure is raised as its refusal, with the id in `stored_as`: it is to be deleted.

        Args:
            source: a plain file or an `io.BytesIO`, sent from its first byte in constant memory; a file's
                position stays where it is.
            filename: raw, as the list will show it.
            size: bytes in `source`.
            purpose: one of `wire.PURPOSES`.
            deadline: seconds for the call with its retries.
            ticket: how urgent it is; of a writer without it.
            progress: told how many bytes the latest attempt has handed over, in this thread.

        Raises:
            InvalidName: control characters in `filename`.
            MoonfsError: `source` does not hold `size` bytes, or the service did not confirm the upload.
        """
        form = FormBody(source, filename=filename, size=size, purpose=purpose, progress=progress)
        seconds = self._timeouts.for_upload(size) if deadline is None else deadline
        ends = self._retry.clock() + seconds
        ticket = ticket or Ticket(Urgency.WRITER)

        def attempt(_failures: int) -> FileObject:
            with self._permit(ticket, "upload", ends):
                form.started = False
                answer = self._exchange.once("upload", "POST", "/files", ends=ends, limit=_OBJECT_BYTES, form=form)
                try:
                    file = answers.file_of(answer, project=self.project)
                    self._exchange.take_time(answer)
                except ProtocolError as error:
                    error.maybe_stored = True
                    raise
                if file.status == STATUS_ERROR:
                    raise translate.stored_failure(file, answer.request_id, scrub=self._scrub)
                return file

        file = self._run(attempt, ends, ticket, _not_taken)
        if file.bytes != size:
            log.warning("%s: the service counts %d bytes of the %d uploaded", file.id, file.bytes, size)
        return file

    def retrieve(self, file_id: str, *, deadline: float | None = None, ticket: Ticket | None = None) -> FileObject:
        """Return one file's description.

        Raises:
            NotFound: no such file, or an id that cannot be one.
            MoonfsError: it could not be had.
        """
        answer = self._read("retrieve", answers.path_of(file_id), _OBJECT_BYTES, deadline, ticket)
        file = answers.file_of(answer, project=self.project)
        self._exchange.take_time(answer)
        if wire.bare(file.id) != wire.bare(file_id):
            raise answers.bad_answer(answer, f"the service answered for another file than {file_id}")
        return file

    def delete(
        self, file_id: str, *, deadline: float | None = None, ticket: Ticket | None = None, anywhere: bool = False
    ) -> None:
        """Delete one file. A 404 after an attempt that failed counts as done.

        Args:
            file_id: as listed.
            deadline: seconds for the call with its retries.
            ticket: how urgent it is.
            anywhere: also outside of the project.

        Raises:
            NotFound: no such file, or an id that cannot be one.
            ProtocolError: the service answered, yet not that the file is deleted.
            MoonfsError: it is not known to be deleted.
        """
        path = answers.path_of(file_id)
        ends = self._ends(deadline)
        ticket = ticket or Ticket()

        def attempt(failures: int) -> None:
            try:
                with self._permit(ticket, "delete", ends):
                    answer = self._exchange.once(
                        "delete", "DELETE", path, ends=ends, limit=_OBJECT_BYTES, plain=anywhere
                    )
                    answers.check_deleted(answer, file_id)
                    self._exchange.take_time(answer)
            except NotFound:
                if not failures:
                    raise

        self._run(attempt, ends, ticket, _repeatable)

    def content(
        self,
        file_id: str,
        *,
        limit: int = _CONTENT_BYTES,
        deadline: float | None = None,
        ticket: Ticket | None = None,
    ) -> Body:
        """Return the extracted text of one file: the body of `/content`, byte for byte (R1).

        Args:
            file_id: as listed.
            limit: the most bytes to accept.
            deadline: seconds for the call with its retries.
            ticket: how urgent it is. While it is ahead of any reader a 429 is not tried again (R3); `Traffic.hurry`
                makes it a reader's.

        Raises:
            NotFound: no such file, or an id that cannot be one.
            ExtractionFailed: the service has no text for it.
            ProtocolError: an answer that is no text, or over `limit`.
            MoonfsError: it could not be had.
            OSError: this disk has no room for a long one.
        """
        path = answers.path_of(file_id) + "/content"
        answer = self._read("content", path, limit, deadline, ticket)
        return answers.text_of(answer, file_id)

    @property
    def server_clock_offset(self) -> float | None:
        """The service's clock minus this machine's, in seconds, by its latest answer; None before the first.

        Date headers count whole seconds and travel: it is right within a second or two.
        """
        return self._exchange.clock_offset

    @property
    def service_time(self) -> float | None:
        """Unix time by the service's clock, in seconds, whatever this machine's is set to; None where it is not told.

        That is where it sends no Date, or where its answers have contradicted each other. It is right within a second
        or two, as above, though the machine slept meanwhile.
        """
        return self._exchange.service_time

    def close(self) -> None:
        """Close all connections; calls that wait between attempts raise their last error, later ones fail."""
        self._closed.set()
        if self._traffic is not None:
            self._traffic.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def _read(self, operation: str, path: str, limit: int, deadline: float | None, ticket: Ticket | None) -> Answer:
        """GET `path`, as often as it takes, and return the answer, whose status is 200."""
        ends = self._ends(deadline)
        ticket = ticket or Ticket()
        spill = self._spill if operation == "content" else None  # of all others a long body is no good one

        def attempt(_failures: int) -> Answer:
            with self._permit(ticket, operation, ends):
                answer = self._exchange.once(operation, "GET", path, ends=ends, limit=limit, spill=spill)
                if answer.status != 200:
                    raise answers.bad_answer(answer, f"HTTP {answer.status} is no answer to {operation}")
                return answer

        return self._run(attempt, ends, ticket, _repeatable)

    def _run(self, attempt: Callable[[int], T], ends: float, ticket: Ticket, safe: Callable[[MoonfsError], bool]) -> T:
        def retryable(error: MoonfsError) -> bool:
            return safe(error) and not error.unsent and (self._traffic is None or self._is_worth_it(error, ticket))

        gated = self._traffic is not None
        return run(attempt, ends=ends, retryable=retryable, retry=self._retry, sleep=self._sleep, gated=gated)

    def _is_worth_it(self, error: MoonfsError, ticket: Ticket) -> bool:
        if ticket.probe or (isinstance(error, RateLimited) and ticket.urgency == Urgency.AHEAD):
            return False
        assert self._traffic is not None
        return self._traffic.outage() is None

    @contextlib.contextmanager
    def _permit(self, ticket: Ticket, operation: str, ends: float) -> Iterator[None]:
        """Let one attempt through the gate, and none once the client is closed."""
        if self._closed.is_set():
            raise closed()
        gate = contextlib.nullcontext()
        with gate if self._traffic is None else self._traffic.permit(ticket, ends=ends, operation=operation):
            self._check_socket()
            yield

    def _ends(self, deadline: float | None) -> float:
        return self._retry.clock() + (self._timeouts.deadline if deadline is None else deadline)

    def _sleep(self, seconds: float) -> None:
        if self._retry.sleep is not None:
            self._retry.sleep(seconds)
        else:
            self._closed.wait(seconds)

    def _check_socket(self) -> None:
        if self._socket is not None and not os.path.exists(self._socket):
            raise Unreachable(
                f"the local Files API is not running (no socket {self._socket}): unmount the drive and mount it again"
            )


def _not_taken(error: MoonfsError) -> bool:
    """Say whether an upload may be sent again without a look at the list (W3)."""
    passing = error.nature is Nature.PASSING and not isinstance(error, ForeignAnswer)
    return passing and not error.maybe_stored and not translate.is_untrusted(error)


def _repeatable(error: MoonfsError) -> bool:
    """Say whether a call that changes nothing, or deletes, may be sent again."""
    return error.nature is Nature.PASSING and not translate.is_untrusted(error)
