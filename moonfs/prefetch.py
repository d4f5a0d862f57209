"""Prefetch: the texts of many files, fetched because somebody asked for all of them (A2, R3).

What is here is not fetched, so that one which was stopped goes on where it was. It is polite: its requests go last. It
waits out a rate limit and an outage, and for the uploads of files that are on their way; only what is wrong with one
text counts as failed, or a file that a program keeps open. It is asked in lines: names, or `/all`, or `/stop`, which no
file can be called. It is given the texts by name and what fetches one; it knows no HTTP and no terminal.

**Threading:** any thread may call anything; fetches run in threads of their own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from moonfs import names, wording
from moonfs.errors import (
    AuthenticationFailed,
    ExtractionFailed,
    MoonfsError,
    NotFound,
    OnItsWay,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    ServiceError,
    TimedOut,
    Unreachable,
    next_step,
)
from moonfs.wire import FileObject
from moonfs.workers import Workers

log = logging.getLogger(__name__)

#: What to ask for besides names: everything, or an end.
ALL: Final = "/all"
STOP: Final = "/stop"
#: What passes: the same text may be had later.
_PASSING: Final = (RateLimited, Unreachable, TimedOut, ServiceError)
#: What says something of one text, though it is one of those.
_OF_ONE_TEXT: Final = (ExtractionFailed, ProtocolError)
#: What no text can be had with.
_OF_ALL: Final = (AuthenticationFailed, QuotaExceeded)
#: Seconds until the next try after something that passes: the first wait, which doubles, and the longest.
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0
#: Tries of one text that the service answers with a 500, which speaks of that text.
_TRIES: Final = 4
#: Bytes of files whose texts may be on their way at once, beside one: a text is rarely longer than its file.
_BYTES_AT_ONCE: Final = 64 * 1024**2
#: Failures that are named.
_NAMED: Final = 100
#: Seconds between two looks at uploads that are waited for.
_LOOK: Final = 0.3
#: Seconds for which a writer is waited for: who has a log open may have it open for days.
_WRITER_WAIT: Final = 5.0


class Prefetch:
    """The prefetch of one mount: at most one at a time, to which more names may come."""

    def __init__(
        self,
        texts: Callable[[], Mapping[str, FileObject]],
        here: Callable[[str], bool],
        fetch: Callable[[FileObject], None],
        *,
        most: int,
        hold: Callable[[], float] = lambda: 0.0,
        first_wait: float = _FIRST_WAIT,
        writer_wait: float = _WRITER_WAIT,
        awaited: Callable[[], Collection[str]] = tuple,
        arrived: Callable[[str], FileObject | None] = lambda _name: None,
    ) -> None:
        """Wire the parts.

        `texts()` returns the file behind each sidecar by the sidecar's name; `here(id)` says whether a text is here;
        `fetch(file)` brings it here, at most `most` at once; `hold()` is for how many seconds none had better start.
        `awaited()` returns the sidecars of files that are on their way to the service, and `arrived(name)` the file
        behind one of these once it is there, or None; it raises NotFound where there is none, OnItsWay while a program
        has it open, or why it was refused.
        """
        self._texts = texts
        self._here = here
        self._fetch = fetch
        self._most = most
        self._first_wait = first_wait
        self._lock = threading.Lock()
        self._workers = Workers(most, hold)
        self._left: deque[tuple[str, FileObject]] = deque()
        self._names: set[str] = set()
        self._running = 0
        self._done = 0
        self._failures = 0
        self._failed: list[tuple[str, Exception]] = []
        self._trouble = ""
        self._stops = 0
        self._tries: dict[str, int] = {}
        self._bytes = 0
        self._awaited = awaited
        self._arrived = arrived
        self._writer_wait = writer_wait
        self._written: dict[str, float] = {}  # since when a program has been seen to have it open
        # The sidecars whose files are on their way; whether their names were asked for.
        self._uploads: dict[str, bool] = {}
        self._looking = False
        self._reasons: dict[str, tuple[int, Exception]] = {}

    def ask(self, request: bytes) -> None:
        """Do what the lines of `request` say: fetch the texts of these files, of all, or stop.

        A name is that of a file or of its sidecar, in UTF-8; one that there is not counts as failed.

        Raises:
            MoonfsError: the files are not known, and the service does not list them.
        """
        lines = [line for line in request.decode("utf-8", "surrogateescape").split("\n") if line]
        if STOP in lines:
            self.stop()
        wanted = [line for line in lines if line not in (ALL, STOP)]
        if not wanted and ALL not in lines:
            return
        texts, awaited = self._texts(), self._awaited()
        found = dict(texts) if ALL in lines else {}
        coming = dict.fromkeys(awaited if ALL in lines else (), False)
        missing = []
        for line in wanted:
            name = line if line in texts or line in awaited else line + names.SIDECAR
            if name in texts:
                found[name] = texts[name]
            elif name in awaited:
                coming[name] = True
            else:
                missing.append(line)
        self.start(sorted(found.items()), coming)
        for name in missing:
            self._fail_unasked(name)

    def start(self, files: Iterable[tuple[str, FileObject]], coming: Mapping[str, bool] | None = None) -> None:
        """Fetch the texts of `files`, given as (name on the drive, file); those that are under way already go on.

        Those of `coming` are fetched when their files are there; True for a name that was asked for by itself.
        """
        with self._lock:
            if not self._outstanding():
                self._names.clear()
                self._failed.clear()
                self._reasons.clear()
                self._tries.clear()
                self._done = self._failures = 0
                self._trouble = ""
            for name, file in files:
                if name not in self._names:
                    self._names.add(name)
                    self._left.append((name, file))
            for name, asked in (coming or {}).items():
                if name not in self._names or name in self._uploads:
                    self._names.add(name)
                    self._uploads[name] = asked or self._uploads.get(name, False)
            begins, self._looking = bool(self._uploads) and not self._looking, self._looking or bool(self._uploads)
        if begins:
            self._workers.submit(self._look)
        self._call_others()

    def stop(self) -> None:
        """Begin no more; what is under way ends as it would."""
        with self._lock:
            self._names -= {*(name for name, _ in self._left), *self._uploads}
            self._left.clear()
            self._uploads.clear()
            self._trouble = ""
            self._stops += 1

    def close(self) -> None:
        """Stop, and wait a little for what is under way."""
        self.stop()
        self._workers.close()

    def report(self) -> bytes:
        """Return `progress` as JSON, for whoever reads `.moonfs/prefetch`."""
        return wording.to_json(self.progress(), indent=2).encode() + b"\n"

    def progress(self) -> dict[str, object]:
        """Return how far it is, ready for JSON.

        `total`, `done` and `failures` count texts, those of the `uploads` that are waited for among them; `failed`
        names the first that failed with reason and next step, `reasons` counts them by next step; `trouble` is what it
        waits for to pass, if anything; `running` says whether it goes on, `stops` how often it was stopped.
        """
        with self._lock:
            return {
                "running": self._outstanding() > 0,
                "total": len(self._names),
                "done": self._done,
                "failures": self._failures,
                "failed": [
                    {"name": name, "error": str(error), "next": next_step(error)} for name, error in self._failed
                ],
                "reasons": [
                    {"count": count, "error": str(error), "next": step}
                    for step, (count, error) in sorted(self._reasons.items(), key=lambda item: -item[1][0])
                ],
                "uploads": len(self._uploads),
                "trouble": self._trouble,
                "stops": self._stops,
            }

    def _outstanding(self) -> int:
        return len(self._names) - self._done - self._failures

    def _run(self, attempt: int = 0) -> None:
        """Fetch one text after another until there is none left, or something has to pass first."""
        while True:
            with self._lock:
                if not self._left:
                    self._running -= 1
                    return
                if self._bytes and self._bytes + self._left[0][1].bytes > _BYTES_AT_ONCE:
                    self._running -= 1
                    return  # whoever ends goes on
                name, file = self._left.popleft()
                self._bytes += file.bytes
                stops = self._stops
            try:
                if not self._here(file.id):
                    self._fetch(file)
            except MoonfsError as error:
                if self._passes(name, error):
                    self._again(name, file, error, attempt, stopped=stops != self._stops)
                    return
                self._fail(name, error)
            except Exception as error:  # a text that cannot be kept must not end all the others
                log.exception("The text of %s cannot be fetched", name)
                self._fail(name, error)
            else:
                with self._lock:
                    self._done += 1
                    self._trouble = ""
                attempt = 0
            finally:
                with self._lock:
                    self._bytes -= file.bytes
            self._call_others()

    def _look(self) -> None:
        """Look which uploads have ended, and fetch those texts."""
        with self._lock:
            uploads = list(self._uploads.items())
            self._written = {name: since for name, since in self._written.items() if name in self._uploads}
        for name, asked in uploads:
            file: FileObject | None = None
            error: MoonfsError | None = None
            try:
                file = self._arrived(name)
            except NotFound as gone:  # deleted or renamed meanwhile, or a picture without words
                error = gone
            except OnItsWay as written:
                now = time.monotonic()
                if now < self._written.setdefault(name, now) + self._writer_wait:
                    continue
                error = written
            except MoonfsError as refusal:
                error = refusal
            else:
                self._written.pop(name, None)
            if file is None and error is None:
                continue
            with self._lock:
                if self._uploads.pop(name, None) is None:
                    continue  # stopped meanwhile
                if file is not None:
                    self._left.append((name, file))
                elif asked or not isinstance(error, NotFound):
                    self._note_failures([name], error or NotFound("There is no such file with a text."))
                else:
                    self._names.discard(name)
        self._call_others()
        with self._lock:
            self._looking = bool(self._uploads)
        if self._looking:
            self._workers.submit(self._look, _LOOK)

    def _call_others(self) -> None:
        """Have as many run as there is work for: new ones, and those that ended because too much was on its way."""
        with self._lock:
            more = min(self._most, len(self._left) + self._running) - self._running
            self._running += max(more, 0)
        for _ in range(more):
            self._workers.submit(self._run)

    def _passes(self, name: str, error: MoonfsError) -> bool:
        """Say whether the same text may be had later."""
        if not isinstance(error, _PASSING) or isinstance(error, _OF_ONE_TEXT):
            return False
        if not isinstance(error, ServiceError) or error.status != 500:
            return True
        with self._lock:
            self._tries[name] = self._tries.get(name, 0) + 1
            return self._tries[name] < _TRIES

    def _fail_unasked(self, name: str) -> None:
        with self._lock:
            if name in self._names:
                return  # counted already
            self._names.add(name)
        self._fail(name, NotFound("There is no such file with a text."))

    def _fail(self, name: str, error: Exception) -> None:
        with self._lock:
            failed = [name]
            if isinstance(error, _OF_ALL):
                failed += [other for other, _ in self._left]
                self._left.clear()
            self._note_failures(failed, error)

    def _note_failures(self, failed: list[str], error: Exception) -> None:
        self._failures += len(failed)
        self._failed += [(name, error) for name in failed[: _NAMED - len(self._failed)]]
        step = next_step(error)
        count, first = self._reasons.get(step, (0, error))
        self._reasons[step] = (count + len(failed), first)

    def _again(self, name: str, file: FileObject, error: MoonfsError, attempt: int, *, stopped: bool) -> None:
        """Put a text back and come again after a while."""
        with self._lock:
            if stopped:
                self._names.discard(name)
            else:
                self._trouble = str(error)
                self._left.append((name, file))  # the others first: it may be the text that is wrong
            self._running -= 1
        wait = min(self._first_wait * 2.0 ** min(attempt, 16), _LONGEST_WAIT)
        self._workers.submit(lambda: self._wake(attempt + 1), max(wait, error.retry_after or 0.0))

    def _wake(self, attempt: int) -> None:
        with self._lock:
            self._running += 1
        self._run(attempt)
