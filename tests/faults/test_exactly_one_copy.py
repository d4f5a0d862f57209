"""W3, held against a service that fails at every point of an upload: in the end one copy, or none and the right error.

The drive is the real `Filesystem` over the real client, in this process, without a kernel; the service is real HTTP
over a real socket, and of several kinds (`kinds`): each test meets all of them, by its cases. A crash is a copy of the
state directories at that moment, on which a new drive starts: what `kill -9` leaves. Waits between attempts take no
time here; everything else is as in a mount.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moonfs import errors, wire
from moonfs import journal as states
from moonfs.api import Client, Timeouts
from moonfs.api.retry import Retry
from moonfs.attributes import Attributes
from moonfs.config import make_private
from moonfs.errors import MoonfsError
from moonfs.filesystem import Filesystem
from moonfs.journal import Journal
from moonfs.originals import Originals
from moonfs.remote import Remote
from moonfs.settings import Settings
from moonfs.spool import Spool
from moonfs.texts import Texts
from tests.faults.kinds import YESTERDAY, Kind, unnumbered
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    broken_off,
    early,
    empty,
    error,
    failed_after,
    gzipped,
    page,
    rate_limited,
    refused,
    reset_mid_body,
    stalled,
    stalled_after,
    truncated,
)
from tests.harness import direct
from tests.harness.drive import wait_until
from tests.harness.house import in_thread
from tests.harness.rest import at_rest

pytestmark = pytest.mark.kinds(least=6)

V0, V1, V2 = b"version nought", b"version one", b"version two, longer"
BIG = bytes(range(32, 127)) * 10_000
BINARY = bytes(range(256)) * 4000


class Drive:
    """A filesystem over the service of a bench, with its state in `home`.

    `upload_read` is that of `Timeouts`; `learned`: it has met the service before, and knows whether it numbers names.
    """

    def __init__(
        self, server: FaultServer, home: Path, *, upload_read: float = 0.3, learned: bool = True, **settings: Any
    ) -> None:
        self.home = home
        chosen = Settings(**{"upload_timeout": 5.0, "listing_ttl": 1000.0, **settings})
        timeouts = Timeouts(connect=2, read=2, write=2, pool=2, upload_read=upload_read, deadline=5)
        self.client = Client(
            server.base_url,
            server.key,
            timeouts=timeouts,
            retry=Retry(sleep=lambda _: None, jitter=lambda: 0.0),
            **server.kind.client,
        )
        make_private(home)
        self.attributes = Attributes(home / "attributes.db")
        self.account = Remote(
            self.client,
            self.attributes,
            Texts(make_private(home / "texts"), chosen.text_cache),
            listing_ttl=chosen.listing_ttl,
            content_cache=chosen.content_cache,
        )
        self.account.verify(5)
        self.journal = Journal(home / "journal.db")
        if learned and server.kind.numbers:
            self.journal.learn("numbers", holds=True)
        self.fs = Filesystem(
            self.account,
            settings=chosen,
            spool=Spool(make_private(home / "spool")),
            journal=self.journal,
            originals=Originals(make_private(home / "originals"), 2**30),
            attributes=self.attributes,
        )
        self.uploader = self.fs._versions.uploader
        self.uploader.backoff = lambda _attempt: 0.0  # type: ignore[method-assign]
        self.fs.recover()

    def write(self, name: str, data: bytes) -> None:
        """Do what `cp` does: open (O_TRUNC) or create, write, close; the error of close is raised."""
        path = f"/{name}"
        try:
            handle = self.fs.open(path, read=False, write=True, truncate=True).handle
        except errors.NotFound:
            handle = self.fs.create(path, 0o644).handle
        try:
            self.fs.write(handle, data, 0)
            self.fs.flush(handle)
        finally:
            self.fs.release(handle)

    def read(self, name: str) -> bytes:
        handle = self.fs.open(f"/{name}", read=True, write=False).handle
        try:
            return direct.read(self.fs, handle)
        finally:
            self.fs.release(handle)

    def ls(self) -> list[str]:
        self.account.listing.expire()
        return [name for name in self.fs.readdir("/") if not name.endswith(".content")]

    def idle(self) -> None:
        """Wait until there is nothing to do in the background but what is due much later."""
        at_rest(self.uploader.workers)

    def kill(self) -> None:
        """End what a dead process would no longer do."""
        self.uploader._stopping.set()
        self.uploader.workers.close(timeout=0)
        self.client.close()

    def close(self) -> None:
        self.kill()
        self.fs.close()
        self.journal.close()
        self.attributes.close()


class Bench:
    """A service, and the drives that run on it one after another."""

    def __init__(self, server: FaultServer, root: Path) -> None:
        self.server, self.root = server, root
        self.drives: list[Drive] = []

    def start(self, **settings: Any) -> Drive:
        drive = Drive(self.server, self.root / f"home{len(self.drives)}", **settings)
        self.drives.append(drive)
        return drive

    def after_crash(self, **settings: Any) -> Drive:
        """Start over what the last drive has on disk at this moment, as after `kill -9`."""
        dead = self.drives[-1]
        shutil.copytree(dead.home, self.root / f"home{len(self.drives)}")
        dead.kill()
        return self.start(**settings)

    def copies(self, name: str = "a.txt") -> list[bytes]:
        """Return what the service has under a name; what has a number after it says so, since it is misnamed."""
        with self.server.lock:
            stored = [(file.filename, file.data) for file in self.server.files.values()]
        marks = {filename: f"misnamed {filename}: ".encode() for filename, _ in stored}
        return [
            (marks[filename] if filename != name else b"") + data
            for filename, data in stored
            if unnumbered(filename) == name
        ]

    def versions(self, name: str = "a.txt") -> list[bytes]:
        """Return what the service has of a file, whatever the number after its name, in the order of bytes."""
        with self.server.lock:
            return sorted(file.data for file in self.server.files.values() if unnumbered(file.filename) == name)


def keeps_names(bench: Bench) -> None:
    """Have the service number no names: there, nothing makes room for what nobody knows to be taken (W4)."""
    bench.server.kind = replace(bench.server.kind, numbers=False)


@contextmanager
def made_bench(home: Path, kind: Kind = YESTERDAY) -> Iterator[Bench]:
    """Make a bench, and end what it has started."""
    with FaultServer(kind=kind) as server:
        bench = Bench(server, home)
        yield bench
        server.ending.set()
        for drive in bench.drives:
            drive.close()


@pytest.fixture
def bench(tmp_path: Path, kind: Kind) -> Iterator[Bench]:
    with made_bench(tmp_path, kind) as bench:
        yield bench


#: What leaves it open whether the service has the file. It has it:
STORED: dict[str, Callable[[], Fault]] = {
    "connection dropped after storing": answer_lost,
    "connection reset after storing": answer_reset,
    "500 after storing": failed_after,
    "502 page after storing": lambda: failed_after(Reply(502, b"<html><title>502</title></html>")),
    "408 after storing": lambda: failed_after(error(408, "timeout")),
    "no answer after storing": stalled_after,
    "no body after the head": lambda: stalled_after(headers=True),
    "200 cut short": truncated,
    "200 broken off": broken_off,
    "200 gzipped and cut": lambda: gzipped(cut=5),
    "200 without a body": lambda: failed_after(Reply(200, b"")),
    "200 of a portal": lambda: failed_after(Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"})),
}
#: It has not:
NOT_STORED: dict[str, Callable[[], Fault]] = {
    "reset in mid-body": lambda: reset_mid_body(100),
    "no answer": stalled,
    "504 page": lambda: page(504),
    "502 page": lambda: page(502),
    "500 of the service": lambda: refused(500, "extract task failed: failed", "server_error"),
    "503 in mid-body": lambda: early(error(503, "busy", "server_unavailable"), after=100),
    "200 without a file": empty,
    "429": rate_limited,
}
#: What the service refuses; nobody may try again.
REFUSED: dict[str, tuple[Callable[[], Fault], type[MoonfsError]]] = {
    "413 page": (lambda: page(413), errors.FileTooLarge),
    "413 in mid-body": (lambda: early(Reply(413, b"<html>413</html>"), after=100), errors.FileTooLarge),
    "400 too large": (lambda: refused(400, wire.MSG_TOO_LARGE), errors.FileTooLarge),
    "400 type": (lambda: refused(400, wire.MSG_UNSUPPORTED), errors.UnsupportedType),
    "400 no text": (lambda: refused(400, wire.MSG_NO_TEXT), errors.NoText),
    "400 count": (lambda: refused(400, wire.MSG_TOO_MANY.format(n=1000)), errors.TooManyFiles),
    "401": (lambda: refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION), errors.AuthenticationFailed),
    "429 plan": (lambda: refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA), errors.QuotaExceeded),
}
DOUBT = {**STORED, **NOT_STORED}
#: Of these, those that only a time-out ends.
SILENT = {"no answer after storing", "no body after the head", "no answer"}


@pytest.mark.parametrize("fault", DOUBT)
def test_a_new_file_ends_as_one_copy(bench: Bench, fault: str) -> None:
    """W3, W1: `cp` succeeds, and there is exactly one copy with the right bytes."""
    # A time-out of its own may come before the service has stored what it was sent, which then is sent again.
    drive = bench.start(upload_read=2.0 if fault in SILENT else 60.0, upload_timeout=120.0)
    bench.server.script("upload", DOUBT[fault]())
    drive.write("a.txt", BIG)
    assert bench.copies() == [BIG] and drive.ls() == ["a.txt"] and drive.read("a.txt") == BIG
    assert bench.server.count("upload") == (1 if fault in STORED else 2)


@pytest.mark.parametrize("fault", DOUBT)
def test_an_overwrite_ends_as_one_copy(bench: Bench, fault: str) -> None:
    """W3, W4: the old version goes, exactly one new one stays, whatever became of the answer."""
    bench.server.add("a.txt", V0)
    drive = bench.start()
    bench.server.script("upload", DOUBT[fault]())
    drive.write("a.txt", V1)
    drive.idle()
    assert bench.copies() == [V1] and drive.ls() == ["a.txt"] and drive.read("a.txt") == V1


@pytest.mark.parametrize(
    "second", ["connection reset after storing", "500 of the service", "200 cut short", "504 page"]
)
@pytest.mark.parametrize("first", ["reset in mid-body", "504 page", "connection dropped after storing", "429"])
def test_one_failure_after_another(bench: Bench, first: str, second: str) -> None:
    """W3: two failures in a row, of the upload and of the listing that is to settle it."""
    drive = bench.start()
    bench.server.script("upload", DOUBT[first](), DOUBT[second]())
    bench.server.script("list", page(502), answer_lost(), truncated(30), rate_limited())
    with suppress(errors.ProtocolError):
        drive.write("a.txt", BIG)
    drive.idle()
    if not bench.copies():
        drive.write("a.txt", BIG)
    assert bench.copies() == [BIG]


@pytest.mark.parametrize("times", [1, 5, 12])
def test_a_patient_client_of_a_busy_service(bench: Bench, times: int) -> None:
    """W3: 429 takes nothing, however often it comes within the deadline."""
    drive = bench.start(upload_timeout=600.0, upload_read=60.0)
    bench.server.script("upload", *(rate_limited() for _ in range(times)))
    drive.write("a.txt", V1)
    assert bench.copies() == [V1] and bench.server.count("upload") == times + 1
    assert bench.server.count("list") == 1, "a 429 leaves no doubt, so nobody looks"


@pytest.mark.parametrize(
    ("fault", "old"),
    # W7: an overwrite at the limit of the count makes room and works; see below.
    [(fault, old) for fault in REFUSED for old in (False, True) if not (old and fault == "400 count")],
)
def test_a_refusal_leaves_what_there_was(bench: Bench, fault: str, old: bool) -> None:
    """W1, W4, errors: the right error at close, no second try; an old version is as it was, a new file stays here."""
    make, kind = REFUSED[fault]
    if old:
        bench.server.add("a.txt", V0)
    drive = bench.start()
    drive.uploader.backoff = lambda _attempt: 1000.0  # type: ignore[method-assign]
    bench.server.script("upload", make())
    with pytest.raises(kind) as caught:
        drive.write("a.txt", V1)
    assert type(caught.value) is kind and not caught.value.maybe_stored
    assert bench.copies() == ([V0] if old else []) and bench.server.count("upload") == 1
    kept = not old and kind is not errors.AuthenticationFailed  # of the file, not of the account
    assert drive.ls() == (["a.txt"] if old or kept else [])
    if kept:
        state, said = (drive.fs.xattrs("/a.txt")[f"user.moonfs.{key}"] for key in ("state", "error"))
        assert drive.read("a.txt") == V1 and state == b"failed" and said.decode() == str(caught.value)
        again = bench.after_crash()
        passing = issubclass(kind, errors.QuotaExceeded) or "page" in fault or fault == "413 in mid-body"
        assert again.read("a.txt") == V1 and (passing or bench.server.count("upload") == 1)
        at_rest(again.uploader.workers)  # where the account was full, there is room now; the proxy is gone
        again.fs.unlink("/a.txt", os.getpid)
        drive = again
    assert list((drive.home / "spool").iterdir()) == [] and drive.journal.intents() == []


def test_a_service_that_never_answers_gives_up_in_time(bench: Bench) -> None:
    """E2, W3: the deadline ends it with the time-out, though the service took the file: it is listed, once."""
    drive = bench.start(upload_timeout=0.5)
    bench.server.script("upload", *(stalled_after() for _ in range(9)))
    drive.uploader.backoff = lambda _attempt: 10.0  # type: ignore[method-assign]
    with suppress(MoonfsError):
        drive.write("a.txt", V1)
    assert bench.copies() == [V1]
    assert drive.ls() == ["a.txt"]


@pytest.mark.parametrize("again", [V1, V2], ids=["the same bytes", "other bytes"])
def test_trying_again_after_a_time_out(bench: Bench, again: bytes) -> None:
    """W3: the writer was told ETIMEDOUT and copies again: what the first attempt made is taken up or replaced."""
    drive = bench.start(upload_timeout=0.2)
    bench.server.script("upload", stalled_after())
    with pytest.raises(errors.TimedOut):
        drive.write("a.txt", V1)
    assert bench.copies() == [V1]
    drive.write("a.txt", again)
    drive.idle()
    wait_until(lambda: bench.copies() == [again], "what was in doubt is settled")  # within 10 s
    assert drive.ls() == ["a.txt"]


@pytest.mark.parametrize("again", [V1, V2], ids=["the same bytes", "other bytes"])
def test_trying_an_overwrite_again_after_a_time_out(bench: Bench, again: bytes) -> None:
    """W3, W4: after ETIMEDOUT and a second `cp` neither the first attempt nor the version before it is left."""
    bench.server.add("a.txt", V0)
    drive = bench.start(upload_timeout=0.2)
    bench.server.script("upload", stalled_after())
    with pytest.raises(errors.TimedOut):
        drive.write("a.txt", V1)
    drive.write("a.txt", again)
    drive.idle()
    wait_until(lambda: bench.copies() == [again], "what was in doubt is settled")  # within 10 s
    assert drive.ls() == ["a.txt"]


def test_trying_again_after_an_outage(bench: Bench) -> None:
    """W3: the answer was lost and then the service was away until the deadline; the next `cp` makes no second copy."""
    drive = bench.start(upload_timeout=0.3)
    bench.server.script("upload", answer_lost())
    bench.server.script("list", *(page(503) for _ in range(3000)))
    with pytest.raises(MoonfsError):
        drive.write("a.txt", V1)
    bench.server.unscript()
    drive.write("a.txt", V1)
    drive.idle()
    assert bench.copies() == [V1]


def without(*names: str) -> Fault:
    """Answer a list that lacks the files of these names: a service that is only eventually consistent."""

    def fault(turn: Turn) -> None:
        reply = turn.serve()
        listed = json.loads(reply.body)
        key = "data" if "data" in listed else "items"
        listed[key] = [entry for entry in listed[key] if entry["filename"] not in names]
        turn.send(Reply(200, json.dumps(listed).encode()))

    return fault


def test_a_copy_that_turns_up_late_is_deleted(bench: Bench) -> None:
    """W3: two looks did not show it, so it was sent again; then both are there, with one text: one goes."""
    drive = bench.start()
    bench.server.script("upload", answer_lost())
    bench.server.script("list", without("a.txt"), without("a.txt"))
    drive.write("a.txt", V1)
    drive.idle()
    assert bench.server.count("upload") == 2
    assert bench.copies() == [V1] and drive.ls() == ["a.txt"] and drive.read("a.txt") == V1


def test_two_late_copies_become_one(bench: Bench) -> None:
    """W3: both attempts arrived without an answer; the listing shows the two: exactly one stays."""
    drive = bench.start()
    bench.server.script("upload", answer_lost(), answer_lost())
    bench.server.script("list", without("a.txt"), without("a.txt"))
    drive.write("a.txt", V1)
    drive.idle()
    assert bench.copies() == [V1]


def test_a_video_that_turns_up_late_is_left(bench: Bench) -> None:
    """W3: it has no text, and this name, size and time another machine's may have as well: both stay, visible."""
    drive = bench.start()
    bench.server.script("upload", answer_lost())
    bench.server.script("list", without("a.mp4"), without("a.mp4"))
    drive.write("a.mp4", V1)
    drive.idle()
    misnamed = b"misnamed a(1).mp4: " if bench.server.kind.numbers else b""
    assert bench.copies("a.mp4") == [V1, misnamed + V1]
    assert len(drive.fs.summary()["uploads"]["misnamed"]) == bench.server.kind.numbers  # type: ignore[index,call-overload]


@pytest.mark.parametrize("fault", STORED)
def test_bytes_that_are_no_text_end_as_one_copy(bench: Bench, fault: str) -> None:
    """W3: sent again, since nothing tells that they have arrived; then the text of the one proves the other."""
    drive = bench.start()
    bench.server.script("upload", STORED[fault]())
    drive.write("a.txt", BINARY)
    drive.idle()
    assert bench.copies() == [BINARY] and drive.ls() == ["a.txt"] and drive.read("a.txt") == BINARY
    assert bench.server.count("upload") == 2


def test_somebody_elses_file_is_not_ours(bench: Bench) -> None:
    """W3: same bytes, same moment, another name: it is not taken for our upload."""
    drive = bench.start()
    bench.server.script("upload", stalled())
    bench.server.add("b.txt", V1)
    drive.write("a.txt", V1)
    assert bench.copies("a.txt") == [V1] and bench.copies("b.txt") == [V1]


def test_an_older_namesake_is_not_ours(bench: Bench) -> None:
    """W3: a file of our name and size that was made elsewhere, long before our attempt, is not what we sent."""
    drive = bench.start()
    elder = bench.server.add("a.txt", V1, created_at=1_000_000_000)  # not in the drive's listing yet
    bench.server.script("upload", reset_mid_body(100))
    drive.write("a.txt", V1)
    assert bench.server.count("upload") == 2
    assert elder.id in bench.server.files and len(bench.versions()) == 2


class Held:
    """A fault that stores (or not), tells the test, and keeps the answer until the test lets go."""

    def __init__(self, *, store: bool) -> None:
        self.store = store
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, turn: Turn) -> None:
        if self.store:
            turn.serve()
        else:
            turn.read()
        self.reached.set()
        while not (self.go.wait(0.05) or turn.server.ending.is_set()):
            pass
        turn.hang_up()


def crash_during(bench: Bench, work: Callable[[], Any], held: Held) -> Drive:
    """Run `work` until the service holds its answer back, then go on as the next process."""
    writing = in_thread(work)
    assert held.reached.wait(60)
    drive = bench.after_crash()
    held.go.set()
    assert writing.exception(10) is not None, "a dead process acknowledges nothing"
    drive.idle()
    return drive


@pytest.mark.parametrize("store", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "overwrite"])
def test_a_crash_while_the_answer_is_awaited(bench: Bench, old: bool, store: bool) -> None:
    """W3, W4: nobody was told that it is safe; in the end there is one version: the new one or the old one."""
    if old:
        bench.server.add("a.txt", V0)
    drive = bench.start()
    held = Held(store=store)
    bench.server.script("upload", held)
    after = crash_during(bench, lambda: drive.write("a.txt", V1), held)
    expected = [V1] if store else [V0] if old else []
    assert bench.copies() == expected and after.ls() == ["a.txt"] * len(expected)
    left = [row for row in after.journal.intents() if row.state != states.CANCELLED]  # a late copy is looked for
    assert left == [] and after.journal.deletions() == []
    after.write("a.txt", V2)
    after.idle()
    assert bench.copies() == [V2] and after.ls() == ["a.txt"]


def test_a_crash_before_the_old_version_is_deleted(bench: Bench) -> None:
    """W4: a crash between upload and deletion finishes the deletion later."""
    bench.server.add("a.txt", V0)
    drive = bench.start()
    held = Held(store=False)
    bench.server.script("delete", held, held)  # this run and the next one
    after = crash_during_success(bench, drive, held)
    assert bench.copies() == [V1] and after.ls() == ["a.txt"] and after.journal.deletions() == []


def crash_during_success(bench: Bench, drive: Drive, held: Held) -> Drive:
    writing = in_thread(lambda: drive.write("a.txt", V1))
    assert held.reached.wait(60)
    assert bench.versions() == sorted([V0, V1])
    after = bench.after_crash()
    assert after.ls() == ["a.txt"], "the old version is hidden from the start"
    held.go.set()
    with suppress(MoonfsError):
        writing.result(60)
    after.idle()
    return after


def test_a_deletion_that_fails_is_finished_in_the_background(bench: Bench) -> None:
    """W4, W8: `cp` succeeds; the old version is hidden at once and deleted when the service is well again."""
    bench.server.add("a.txt", V0)
    drive = bench.start()
    bench.server.script("delete", *(page(500) for _ in range(12)))
    # Where names are numbered, the new version waits for the deletion, and the close fails with it.
    with pytest.raises(errors.ServiceError) if bench.server.kind.numbers else nullcontext():
        drive.write("a.txt", V1)
    assert drive.ls() == ["a.txt"]
    drive.idle()
    assert bench.copies() == [V1] and drive.journal.deletions() == []


@pytest.mark.parametrize("fault", [None, *STORED])
def test_an_overwrite_in_a_full_account(bench: Bench, fault: str | None) -> None:
    """W7, W3: at 1,000 files the old version makes room first; exactly one copy, whatever becomes of the answer."""
    bench.server.add("a.txt", V0)
    drive = bench.start()
    bench.server.script("upload", refused(400, wire.MSG_TOO_MANY.format(n=1000)))
    if fault is not None:
        bench.server.script("upload", STORED[fault]())
    if bench.server.kind.numbers:  # the old bytes are not here: they stay until the new ones have proven to be taken
        with pytest.raises(errors.QuotaExceeded):
            drive.write("a.txt", V1)
        bench.server.unscript("upload")
    else:
        drive.write("a.txt", V1)
    drive.idle()
    expected = V0 if bench.server.kind.numbers else V1
    assert bench.copies() == [expected] and drive.ls() == ["a.txt"] and drive.journal.intents() == []


def test_a_crash_in_a_full_account_loses_no_byte(bench: Bench) -> None:
    """W7, tenet 1: once the old version has made room, the new bytes are the only ones: the next run uploads them."""
    keeps_names(bench)
    bench.server.add("a.txt", V0)
    drive = bench.start()
    held = Held(store=False)
    bench.server.script("upload", refused(400, wire.MSG_TOO_MANY.format(n=1000)), held)
    after = crash_during(bench, lambda: drive.write("a.txt", V1), held)
    assert bench.copies() == [V1] and after.ls() == ["a.txt"]
    assert all(row.state == states.CANCELLED for row in after.journal.intents()), "a late copy is looked for"


def test_a_crash_in_a_full_account_makes_no_second_copy(bench: Bench) -> None:
    """W3: that attempt had arrived: the next run finds it and uploads nothing."""
    keeps_names(bench)
    bench.server.add("a.txt", V0)
    drive = bench.start()
    held = Held(store=True)
    bench.server.script("upload", refused(400, wire.MSG_TOO_MANY.format(n=1000)), held)
    crash_during(bench, lambda: drive.write("a.txt", V1), held)
    assert bench.copies() == [V1]


def test_an_outage_in_a_full_account_is_waited_out(bench: Bench) -> None:
    """W7: close fails with the error, the bytes stay and reach the service by themselves, once."""
    keeps_names(bench)
    bench.server.add("a.txt", V0)
    drive = bench.start(upload_timeout=0.3)
    bench.server.script("upload", refused(400, wire.MSG_TOO_MANY.format(n=1000)), *(stalled() for _ in range(2)))
    drive.uploader.backoff = lambda attempt: 0.0 if attempt > 1 else 0.1  # type: ignore[method-assign]
    with pytest.raises(errors.TimedOut):
        drive.write("a.txt", V1)
    assert drive.read("a.txt") == V1 and drive.ls() == ["a.txt"]
    drive.idle()
    assert bench.copies() == [V1] and drive.read("a.txt") == V1


@pytest.mark.parametrize("store", [True, False], ids=["stored", "not stored"])
def test_a_crash_during_the_rename_of_a_file_that_was_safe_here(bench: Bench, store: bool) -> None:
    """Tenet 1, W6, W9: `a.txt.part` was closed and kept; a crash while it becomes `a.txt` loses neither."""
    drive = bench.start()
    drive.write("a.txt.part", V1)
    held = Held(store=store)
    bench.server.script("upload", held)
    after = crash_during(bench, lambda: drive.fs.rename("/a.txt.part", "/a.txt"), held)
    shown = after.ls()
    assert shown == (["a.txt"] if store else ["a.txt.part"])
    assert bench.copies() == ([V1] if store else [])
    assert store or after.read("a.txt.part") == V1


def test_a_crash_after_an_upload_keeps_the_original(bench: Bench) -> None:
    """R5: bytes that were written through this machine can be read back here, after a crash too."""
    bench.server.add("a.txt", V0)
    drive = bench.start()
    held = Held(store=True)
    bench.server.script("upload", held)
    after = crash_during(bench, lambda: drive.write("a.txt", V1), held)
    assert bench.copies() == [V1] and after.read("a.txt") == V1


@pytest.mark.parametrize("fault", DOUBT)
def test_a_rename_ends_as_one_copy(bench: Bench, fault: str) -> None:
    """W3, W9: upload under the new name, then the old one goes; one copy under one name."""
    drive = bench.start()
    drive.write("old.txt", V1)
    bench.server.script("upload", DOUBT[fault]())
    drive.fs.rename("/old.txt", "/a.txt")
    drive.idle()
    assert bench.server.names() == ["a.txt"] and bench.copies() == [V1]
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == V1


def test_close_after_fsync_after_dup_uploads_once(bench: Bench) -> None:
    """W1: each generation once, in doubt or not."""
    drive = bench.start()
    handle = drive.fs.create("/a.txt", 0o644).handle
    drive.fs.write(handle, V1, 0)
    bench.server.script("upload", answer_lost())
    drive.fs.fsync(handle)
    for _ in range(3):
        drive.fs.flush(handle)
    drive.fs.release(handle)
    assert bench.server.count("upload") == 1 and bench.copies() == [V1]


def test_many_writers_in_bad_weather(bench: Bench) -> None:
    """W3: twelve files at once, every other answer lost, and each is there once."""
    drive = bench.start(upload_timeout=15.0)
    weather = [answer_lost(), None, failed_after(), None, answer_reset(), None, truncated(), None]
    bench.server.script("upload", *weather, *weather)
    bodies = {f"f{number}.txt": f"body {number:03}".encode() for number in range(12)}
    writers = [in_thread(lambda n=name, b=body: drive.write(n, b)) for name, body in bodies.items()]
    for writer in writers:
        writer.result(60)
    assert {name: bench.copies(name) for name in bodies} == {name: [body] for name, body in bodies.items()}
