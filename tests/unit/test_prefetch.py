"""Prefetch: each text once, polite to what passes, honest about what does not (A2)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from moonfs import errors
from moonfs.errors import MoonfsError
from moonfs.prefetch import Prefetch
from moonfs.wire import FileObject
from tests.harness.drive import wait_until


class Service:
    """Texts by id; `script` is what the next fetches raise, `gate` holds them back."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.asked: list[str] = []
        self.script: list[Exception | None] = []
        self.gate: threading.Semaphore | None = None
        self.lock = threading.Lock()

    def texts(self) -> dict[str, FileObject]:
        return {f"{name}.content": file for name, file in files(20)}

    def fetch(self, file: FileObject) -> None:
        with self.lock:
            self.asked.append(file.id)
            step = self.script.pop(0) if self.script else None
        if self.gate is not None:
            assert self.gate.acquire(timeout=60)
        if step is not None:
            raise step
        self.here.add(file.id)


def files(count: int, first: int = 0) -> list[tuple[str, FileObject]]:
    return [
        (f"{n}.txt", FileObject(id=f"i{n}", bytes=1, created_at=1, filename=f"{n}.txt")) for n in range(first, count)
    ]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def prefetch(service: Service) -> Iterator[Prefetch]:
    made = Prefetch(service.texts, service.here.__contains__, service.fetch, most=4, first_wait=0.01)
    yield made
    made.close()


def ended(prefetch: Prefetch) -> dict[str, Any]:
    wait_until(lambda: not prefetch.progress()["running"], "it ends", 20)
    return prefetch.progress()


def test_every_text_is_fetched_once(prefetch: Prefetch, service: Service) -> None:
    """A2: all of them, those that are here already not again."""
    service.here |= {"i3", "i4"}
    prefetch.start(files(50))
    progress = ended(prefetch)
    assert progress == {
        "running": False,
        "total": 50,
        "done": 50,
        "failures": 0,
        "failed": [],
        "reasons": [],
        "uploads": 0,
        "trouble": "",
        "stops": 0,
    }
    assert sorted(service.asked) == sorted(f"i{n}" for n in range(50) if n not in (3, 4))


def test_no_more_than_so_many_at_once(prefetch: Prefetch, service: Service) -> None:
    """A2: at most as many as were allowed."""
    service.gate = threading.Semaphore(0)
    prefetch.start(files(20))
    wait_until(lambda: len(service.asked) == 4, "four are under way")
    threading.Event().wait(0.05)
    assert len(service.asked) == 4
    service.gate.release(20)
    assert ended(prefetch)["done"] == 20


@pytest.mark.parametrize(
    "error",
    [errors.RateLimited("429"), errors.Unreachable("gone"), errors.TimedOut("slow"), errors.ServiceError("503")],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_waited_for(prefetch: Prefetch, service: Service, error: Exception) -> None:
    """A2: a rate limit or an outage costs no text."""
    service.script = [error] * 6
    prefetch.start(files(10))
    progress = ended(prefetch)
    assert (progress["done"], progress["failures"], progress["trouble"]) == (10, 0, "")


def test_it_says_what_it_waits_for(service: Service) -> None:
    """A2: the reason can be seen meanwhile."""
    service.script = [errors.Unreachable("there is no network")] * 4
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=1, first_wait=30)
    prefetch.start(files(3))
    wait_until(lambda: prefetch.progress()["trouble"], "the reason shows")
    assert prefetch.progress() | {"trouble": ""} == {
        "running": True, "total": 3, "done": 0, "failures": 0, "failed": [], "reasons": [], "uploads": 0,
        "trouble": "", "stops": 0,
    }  # fmt: skip
    prefetch.close()


@pytest.mark.parametrize(
    "error",
    [
        errors.ExtractionFailed("no text"),
        errors.ProtocolError("odd"),
        errors.NotFound("gone"),
        errors.NotReady("later"),
        OSError("disk"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_wrong_with_one_text_is_named(prefetch: Prefetch, service: Service, error: Exception) -> None:
    """A2, E1: one bad text ends no other; its reason is told."""
    service.script = [error]
    prefetch.start(files(1))
    progress = ended(prefetch)
    assert (progress["total"], progress["done"], progress["failures"]) == (1, 0, 1)
    assert progress["failed"] == [{"name": "0.txt", "error": str(error), "next": errors.next_step(error)}]
    prefetch.start(files(10))
    assert ended(prefetch)["failures"] == 0


@pytest.mark.parametrize("error", [errors.AuthenticationFailed("401"), errors.QuotaExceeded("suspended")])
def test_what_no_text_can_be_had_with_ends_it(prefetch: Prefetch, service: Service, error: Exception) -> None:
    """A2: a refused key is not asked a thousand times, and the failures that are named are bounded."""
    service.script = [error] * 500
    prefetch.start(files(500))
    progress = ended(prefetch)
    assert (progress["done"], progress["failures"]) == (0, 500) and len(progress["failed"]) == 100
    assert len(service.asked) <= 4


def test_it_can_be_stopped_and_goes_on_where_it_was(prefetch: Prefetch, service: Service) -> None:
    """A2: resumable: what is here is not fetched again."""
    service.gate = threading.Semaphore(0)
    prefetch.start(files(20))
    wait_until(lambda: len(service.asked) == 4, "four are under way")
    prefetch.stop()
    service.gate.release(100)
    assert ended(prefetch)["total"] == 4
    prefetch.start(files(20))
    assert ended(prefetch)["done"] == 20
    assert sorted(service.asked) == sorted(f"i{n}" for n in range(20))


def test_a_stop_holds_for_what_waits(service: Service) -> None:
    """A2: what was to be tried again is not."""
    service.script = [errors.RateLimited("429")] * 100
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=2, first_wait=0.05)
    prefetch.start(files(5))
    wait_until(lambda: prefetch.progress()["trouble"], "it waits")
    prefetch.stop()
    assert ended(prefetch)["done"] == 0
    asked = len(service.asked)
    threading.Event().wait(0.3)
    assert len(service.asked) == asked
    prefetch.close()


def test_more_may_come_meanwhile(prefetch: Prefetch, service: Service) -> None:
    """A2: a second request joins the first; a name that is in it already counts once."""
    service.gate = threading.Semaphore(0)
    prefetch.start(files(6))
    wait_until(lambda: len(service.asked) == 4, "four are under way")
    prefetch.start(files(10, first=3))
    assert prefetch.progress()["total"] == 10
    service.gate.release(100)
    assert ended(prefetch)["done"] == 10 and len(service.asked) == 10


def test_a_start_does_not_wait_for_what_waits(service: Service) -> None:
    """A2: whoever asks again has it tried again at once."""
    service.script = [errors.Unreachable("gone")]
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=1, first_wait=1000)
    prefetch.start(files(1))
    wait_until(lambda: prefetch.progress()["trouble"], "it waits")
    prefetch.stop()
    prefetch.start(files(3))
    assert ended(prefetch)["done"] == 3
    prefetch.close()


def test_names_are_asked_for_by_line(prefetch: Prefetch, service: Service) -> None:
    """A2: by the name of a file or of its sidecar; what there is not is named, and the others come."""
    prefetch.ask(b"3.txt\n4.txt.content\n3.txt\nnone.txt\n\xff.txt")
    progress = ended(prefetch)
    assert sorted(service.asked) == ["i3", "i4"]
    assert (progress["total"], progress["done"], progress["failures"]) == (4, 2, 2)
    assert [failed["name"] for failed in progress["failed"]] == ["none.txt", "\udcff.txt"]
    assert json.loads(prefetch.report().decode(errors="replace"))["failures"] == 2


def test_a_name_that_there_is_not_counts_once(prefetch: Prefetch, service: Service) -> None:
    """A2: however often it is asked for; what comes next starts its count anew, and knows nothing of it."""
    prefetch.ask(b"nope\nnope\n")
    progress = ended(prefetch)
    assert (progress["total"], progress["failures"], len(progress["failed"])) == (1, 1, 1)
    service.gate = threading.Semaphore(0)
    prefetch.ask(b"1.txt\n2.txt\n")
    for _ in range(3):
        prefetch.ask(b"nope\n")
    assert prefetch.progress()["running"]
    service.gate.release(20)
    assert (ended(prefetch)["total"], prefetch.progress()["done"], prefetch.progress()["failures"]) == (3, 2, 1)


def test_everything_and_an_end_are_asked_for_by_what_is_no_name(prefetch: Prefetch, service: Service) -> None:
    """A2: `/all`, `/stop`; nothing asks for nothing."""
    prefetch.ask(b"")
    prefetch.ask(b"\n\n")
    assert prefetch.progress()["total"] == 0
    service.gate = threading.Semaphore(0)
    prefetch.ask(b"/all\n")
    wait_until(lambda: len(service.asked) == 4, "four are under way")
    prefetch.ask(b"/stop\n")
    service.gate.release(100)
    assert ended(prefetch)["total"] == 4
    prefetch.ask(b"/all\n5.txt\n")
    assert ended(prefetch)["done"] == 20 == len(service.asked)


def test_a_text_that_the_service_cannot_make_is_tried_a_few_times(prefetch: Prefetch, service: Service) -> None:
    """A2: a 500 speaks of one text; all others come first, and the prefetch ends."""
    bad = errors.ServiceError("server_error", status=500)
    real = service.fetch

    def fetch(file: FileObject) -> None:
        service.script = [bad] if file.id == "i0" else []
        real(file)

    prefetch = Prefetch(service.texts, service.here.__contains__, fetch, most=1, first_wait=0.01)
    prefetch.start(files(5))
    progress = ended(prefetch)
    assert (progress["done"], progress["failures"]) == (4, 1) and service.asked.count("i0") == 4
    assert service.asked.index("i4") < len(service.asked) - 3
    prefetch.close()


def test_large_texts_do_not_all_come_at_once(prefetch: Prefetch, service: Service) -> None:
    """A2: each text is in memory while it comes, so their files' lengths are bounded together; all come in the end."""
    large = [(name, replace(file, bytes=30 << 20)) for name, file in files(9)]
    service.gate = threading.Semaphore(0)
    prefetch.start(large)
    wait_until(lambda: len(service.asked) == 2, "two are under way")
    threading.Event().wait(0.05)
    assert len(service.asked) == 2
    service.gate.release(9)
    assert ended(prefetch)["done"] == 9


def test_waiting_is_as_long_as_the_service_asks(service: Service) -> None:
    """Errors: `retry_after` is a floor."""
    service.script = [errors.RateLimited("429", retry_after=1000.0)]
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=1, first_wait=0.001)
    prefetch.start(files(1))
    wait_until(lambda: prefetch.progress()["trouble"], "it waits")
    threading.Event().wait(0.1)
    assert len(service.asked) == 1
    prefetch.close()


def test_what_was_under_way_at_a_stop_is_not_tried_again(service: Service) -> None:
    """A2: an end is an end, though the service has asked to come again."""
    service.gate = threading.Semaphore(0)
    service.script = [errors.RateLimited("429")] * 2
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=1, first_wait=0.01)
    prefetch.start(files(2))
    wait_until(lambda: service.asked, "one is under way")
    prefetch.stop()
    service.gate.release(10)
    assert ended(prefetch)["total"] == 0
    threading.Event().wait(0.1)
    assert len(service.asked) == 1 and prefetch.progress()["stops"] == 1
    prefetch.close()


class Uploads:
    """Files that are on their way, by their sidecars: None, or what came of them."""

    def __init__(self, *names: str) -> None:
        self.known: dict[str, FileObject | MoonfsError | None] = dict.fromkeys(names)

    def arrived(self, name: str) -> FileObject | None:
        found = self.known[name]
        if isinstance(found, MoonfsError):
            raise found
        return found


@pytest.fixture
def uploads() -> Uploads:
    return Uploads("new.txt.content", "newer.txt.content")


@pytest.fixture
def waiting(service: Service, uploads: Uploads) -> Iterator[Prefetch]:
    made = Prefetch(
        service.texts, service.here.__contains__, service.fetch,
        most=4, first_wait=0.01, writer_wait=1.0, awaited=lambda: uploads.known, arrived=uploads.arrived,
    )  # fmt: skip
    yield made
    made.close()


def test_uploads_are_waited_for(waiting: Prefetch, service: Service, uploads: Uploads) -> None:
    """A2, R4: what is there is fetched meanwhile, and the others when they are."""
    waiting.ask(b"/all\n")
    waiting.ask(b"/all\n")  # a second one waits for the same
    wait_until(lambda: waiting.progress()["done"] == 20, "all the others are here")
    assert (waiting.progress()["running"], waiting.progress()["uploads"]) == (True, 2)
    uploads.known["new.txt.content"] = FileObject(id="n1", bytes=1, created_at=1, filename="new.txt")
    wait_until(lambda: waiting.progress()["done"] == 21, "the first has arrived")
    uploads.known["newer.txt.content"] = FileObject(id="n2", bytes=1, created_at=1, filename="newer.txt")
    assert (ended(waiting)["done"], ended(waiting)["total"]) == (22, 22)
    assert sorted(service.asked)[-2:] == ["n1", "n2"]


@pytest.mark.parametrize("asked", [b"/all\n", b"new.txt\nnewer.txt.content\n"], ids=["all", "named"])
def test_what_comes_of_uploads(waiting: Prefetch, uploads: Uploads, asked: bytes) -> None:
    """A2: a refusal is a failure of that one alone, a full account's too; what has gone is one only if it was named."""
    waiting.ask(asked)
    uploads.known["new.txt.content"] = errors.QuotaExceeded("full")
    uploads.known["newer.txt.content"] = errors.NotFound("gone")
    progress = ended(waiting)
    assert progress["failures"] == (1 if asked == b"/all\n" else 2)
    assert progress["done"] == (20 if asked == b"/all\n" else 0)
    assert {reason["count"] for reason in progress["reasons"]} == {1}


def test_a_writer_is_waited_for_a_while(waiting: Prefetch, uploads: Uploads) -> None:
    """A2: one may be done soon, and another never."""
    uploads.known["new.txt.content"] = uploads.known["newer.txt.content"] = errors.OnItsWay("it is open")
    waiting.ask(b"/all\n")
    uploads.known["newer.txt.content"] = None  # it was closed
    assert waiting.progress()["failures"] == 0
    wait_until(lambda: waiting.progress()["failures"] == 1, "the other one is given up")
    uploads.known["newer.txt.content"] = FileObject(id="n2", bytes=1, created_at=1, filename="newer.txt")
    assert (ended(waiting)["done"], ended(waiting)["total"]) == (21, 22)


def test_a_stop_ends_the_wait_for_uploads(waiting: Prefetch) -> None:
    """A2: nothing is left to do then."""
    waiting.ask(b"new.txt\n")
    assert waiting.progress()["running"]
    waiting.ask(b"/stop\n")
    assert ended(waiting)["total"] == 0


def test_failures_are_counted_by_kind(service: Service) -> None:
    """A2: all of them, though only the first are named; the most frequent first."""
    missing = "".join(f"none{number}\n" for number in range(150)).encode()
    prefetch = Prefetch(service.texts, service.here.__contains__, service.fetch, most=1)
    service.script = [errors.ExtractionFailed("no text")]
    prefetch.ask(missing + b"1.txt\n")
    progress = ended(prefetch)
    prefetch.close()
    assert [reason["count"] for reason in progress["reasons"]] == [150, 1] and len(progress["failed"]) == 100
