"""The listing: one request for everybody, own changes laid over it, and an old one served when there is no new one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from moonfs import errors
from moonfs.listing import HOLD_OFF, KEPT_BACK_HOLD_OFF, RECENT, Listing
from moonfs.wire import EVERYTHING, NOTHING, FileObject, Listed


def file(file_id: str, size: int = 1, **other: Any) -> FileObject:
    return FileObject(id=file_id, bytes=size, created_at=1, filename=f"{file_id}.txt", **other)


class Service:
    """An account whose answers a test holds back: `gate` opens each request in turn."""

    def __init__(self, *ids: str) -> None:
        self.files = [file(name) for name in ids]
        self.requests = 0
        self.error: BaseException | None = None
        self.arrived = threading.Semaphore(0)
        self.gate: threading.Semaphore | None = None
        self.now = 100.0

    def list(self) -> list[FileObject]:
        self.requests += 1
        answer, error = list(self.files), self.error
        self.arrived.release()
        if self.gate is not None:
            assert self.gate.acquire(timeout=60)
        if error is not None:
            raise error
        return answer

    def listing(self, ttl: float = 10.0) -> Listing:
        return Listing(self.list, ttl, clock=lambda: self.now)


def ids(listing: Listing) -> set[str]:
    return set(listing.current().files)


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def test_a_listing_is_believed_for_its_ttl() -> None:
    """L4: changes made elsewhere show within the TTL, and not a request is sent before."""
    service = Service("a")
    listing = service.listing(ttl=10)
    assert ids(listing) == {"a"}
    service.files.append(file("b"))
    service.now += 9.99
    assert ids(listing) == {"a"} and service.requests == 1
    service.now += 0.02
    assert ids(listing) == {"a", "b"} and service.requests == 2


def test_a_ttl_of_nothing_asks_each_time() -> None:
    """L4: listing_ttl=0 means what it says."""
    service = Service("a")
    listing = service.listing(ttl=0)
    for _ in range(3):
        listing.current()
    assert service.requests == 3


def test_an_idle_listing_sends_nothing() -> None:
    """L4: peek and the snapshots that are held send no request."""
    service = Service("a")
    listing = service.listing()
    assert listing.peek().files == {} and service.requests == 0
    listing.current()
    service.now += 1000
    assert set(listing.peek().files) == {"a"} and service.requests == 1


def test_twenty_callers_share_one_request() -> None:
    """R2, L4: one request per refresh however many ask."""
    service = Service("a")
    service.gate = threading.Semaphore(0)
    listing = service.listing()
    barrier = threading.Barrier(20)

    def ask() -> set[str]:
        barrier.wait(60)
        return ids(listing)

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask) for _ in range(20)]
        assert service.arrived.acquire(timeout=60)
        service.gate.release()
        assert [result.result(60) for result in asked] == [{"a"}] * 20
    assert service.requests == 1


def test_waiting_callers_get_the_error_and_the_next_one_asks_again() -> None:
    """A failure ends everybody's wait; it is not kept."""
    service = Service("a")
    service.gate = threading.Semaphore(0)
    service.error = errors.AuthenticationFailed("no")
    listing = service.listing()
    first = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    second = in_thread(listing.current)
    service.error = None
    service.gate.release(2)
    with pytest.raises(errors.AuthenticationFailed):
        first.result(60)
    outcome = second.exception(10)
    assert outcome is None or isinstance(outcome, errors.AuthenticationFailed)
    assert ids(listing) == {"a"}


def test_an_own_upload_is_laid_over_an_answer_that_was_on_its_way() -> None:
    """L4: own changes show at once and stay, though the service counted before the upload ended."""
    service = Service("a")
    listing = service.listing()
    listing.current()
    service.now += 11
    service.gate = threading.Semaphore(0)
    late = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    assert service.arrived.acquire(timeout=60)
    listing.add(file("mine"))
    listing.remove("a")
    assert set(listing.peek().files) == {"mine"}
    service.gate.release()
    assert set(late.result(60).files) == {"mine"}
    assert set(listing.peek().files) == {"mine"}


def test_an_own_upload_survives_a_service_that_lags_for_one_ttl() -> None:
    """L4: eventual consistency: an answer without the upload is not believed at once, and not for ever."""
    service = Service("a")
    listing = service.listing(ttl=10)
    listing.current()
    listing.add(file("mine"))
    service.now += 9
    assert "mine" in listing.refresh().files
    service.now += 11
    assert "mine" not in listing.refresh().files


def test_an_upload_that_was_listed_and_deleted_elsewhere_goes() -> None:
    """L4: once the service has shown it, the service's word counts."""
    service = Service()
    listing = service.listing()
    listing.current()
    listing.add(file("mine"))
    service.files = [file("mine")]
    assert "mine" in listing.refresh().files
    service.files = []
    assert "mine" not in listing.refresh().files


def test_a_deleted_file_never_comes_back() -> None:
    """L4, W8: ids are not used twice, so a tombstone is for good, whatever a lagging answer says."""
    service = Service("a", "b")
    listing = service.listing(ttl=0)
    listing.current()
    listing.remove("a")
    for _ in range(3):
        service.now += 100
        assert ids(listing) == {"b"}


def test_versions_and_sums_follow_every_change() -> None:
    """The names of the drive are made anew when, and only when, the version changed."""
    service = Service("a")
    listing = service.listing(ttl=0)
    first = listing.current()
    assert listing.current().version == first.version
    listing.add(file("b", size=41))
    second = listing.peek()
    assert second.version > first.version and second.total_bytes == 42
    listing.add(file("b", size=7))
    assert listing.peek().total_bytes == 8, "a newer state of the same file"
    listing.remove("b")
    assert listing.peek().version > second.version and listing.peek().total_bytes == 1
    third = listing.peek().version
    listing.remove("never there")
    assert listing.peek().version == third
    assert set(first.files) == {"a"}, "a snapshot is immutable"
    with pytest.raises(TypeError):
        first.files["x"] = file("x")  # type: ignore[index]


@pytest.mark.parametrize("kind", [errors.Unreachable, errors.TimedOut, errors.ServiceError, errors.RateLimited])
def test_without_a_service_the_last_listing_is_served_and_marked(kind: type[errors.MoonfsError]) -> None:
    """R6, E2: what is known stays listed; the outage is asked about once per hold-off, not per stat."""
    service = Service("a")
    listing = service.listing(ttl=1)
    listing.current()
    service.error = kind("down")
    service.now += 2
    stale = listing.current()
    assert set(stale.files) == {"a"} and isinstance(stale.stale_because, kind)
    for _ in range(50):
        listing.current()
    assert service.requests == 2
    service.now += HOLD_OFF + 0.1
    service.error = None
    assert listing.current().stale_because is None


def test_own_changes_show_during_an_outage() -> None:
    """L4, R6: a change over a stale listing shows, and the listing stays marked."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = errors.Unreachable("down")
    listing.current()
    listing.remove("a")
    assert listing.peek().files == {} and listing.peek().stale_because is not None


@pytest.mark.parametrize("kind", [errors.Unreachable, errors.AuthenticationFailed, errors.ProtocolError])
def test_without_a_first_listing_the_error_is_raised(kind: type[errors.MoonfsError]) -> None:
    """R6: an account that was never seen is not an empty one."""
    service = Service("a")
    service.error = kind("down")
    with pytest.raises(kind):
        service.listing().current()


def test_a_refused_key_is_never_hidden_by_an_old_listing() -> None:
    """Errors: 401 is EACCES, not an old answer."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = errors.AuthenticationFailed("no")
    with pytest.raises(errors.AuthenticationFailed):
        listing.current()


def test_refresh_is_sent_after_the_call() -> None:
    """W3: an answer that was on its way when `refresh` was called does not count; another request is sent."""
    service = Service("a")
    service.gate = threading.Semaphore(0)
    listing = service.listing()
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    fresh = in_thread(listing.refresh)
    service.files.append(file("arrived"))
    service.gate.release(2)
    assert "arrived" in fresh.result(60).files
    early.result(60)
    assert service.requests == 2


def test_refresh_after_a_failed_flight_asks_for_itself() -> None:
    """W3: somebody else's failure is not ours."""
    service = Service("a")
    service.gate = threading.Semaphore(0)
    service.error = errors.Unreachable("down")
    listing = service.listing()
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    fresh = in_thread(listing.refresh)
    service.error = None
    service.gate.release(2)
    assert isinstance(early.exception(10), errors.Unreachable)
    assert set(fresh.result(60).files) == {"a"}


def test_refresh_raises_where_current_would_serve_an_old_listing() -> None:
    """W3: matching needs the truth of now; a stale listing would make a second copy."""
    service = Service("a")
    listing = service.listing()
    listing.current()
    service.error = errors.Unreachable("down")
    with pytest.raises(errors.Unreachable):
        listing.refresh()


def test_expire_makes_the_next_call_ask() -> None:
    """W3: after an upload in doubt the next look asks the service."""
    service = Service("a")
    listing = service.listing(ttl=1000)
    listing.current()
    listing.expire()
    listing.current()
    assert service.requests == 2


def test_what_proved_the_key_is_a_listing() -> None:
    """L1: the answer that proved the key is the first listing."""
    service = Service()
    listing = service.listing()
    listing.take(lambda: [file("a")])
    assert ids(listing) == {"a"} and service.requests == 0


def test_expire_outlasts_a_request_that_was_on_its_way() -> None:
    """W3: the doubt arose after that request was sent, so its answer does not settle it."""
    service = Service("a")
    service.gate = threading.Semaphore(0)
    listing = service.listing(ttl=1000)
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    listing.expire()
    service.gate.release(2)
    early.result(60)
    listing.current()
    assert service.requests == 2


def test_an_upload_before_the_first_listing_is_not_the_whole_account() -> None:
    """R6: an account that was never seen is not one with a single file."""
    service = Service("a")
    listing = service.listing()
    listing.add(file("mine"))
    service.error = errors.Unreachable("down")
    with pytest.raises(errors.Unreachable):
        listing.current()
    assert listing.peek().files == {}
    service.error = None
    assert ids(listing) == {"a", "mine"}


@pytest.mark.parametrize("kind", [errors.NotFound, errors.Rejected])
def test_a_list_request_that_is_refused_does_not_empty_the_drive(kind: type[errors.MoonfsError]) -> None:
    """R6: a proxy's 404 says nothing about a file; what is cached stays listed, or the answer is EIO."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = kind("page not found", status=404)
    assert set(listing.current().files) == {"a"}
    assert isinstance(listing.peek().stale_because, errors.ProtocolError)
    for _ in range(50):
        listing.current()
    assert service.requests == 2


@pytest.mark.parametrize(
    "kind", [errors.NotFound, errors.Rejected, errors.UnsupportedType, errors.FileTooLarge, errors.MoonfsError]
)
@pytest.mark.parametrize("ask", ["current", "refresh"])
def test_a_list_request_that_is_refused_says_nothing_of_a_file(ask: str, kind: type[errors.MoonfsError]) -> None:
    """Errors: an answer that makes no sense is EIO, with the service's words; never ENOENT for a name that is."""
    service = Service("a")
    service.error = kind("page not found", status=404, request_id="r-1", service_message="words")
    with pytest.raises(errors.ProtocolError, match="page not found") as caught:
        getattr(service.listing(), ask)()
    assert (caught.value.status, caught.value.request_id, caught.value.service_message) == (404, "r-1", "words")


def test_a_plan_that_is_used_up_hides_nothing() -> None:
    """R6: the account's quota ends requests, not the listing of what is there."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = errors.QuotaExceeded("plan")
    assert set(listing.current().files) == {"a"}


def test_a_refused_key_is_asked_about_once_per_hold_off() -> None:
    """E2, Errors: every stat is EACCES, and the service is not asked for each; it shows in the status."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = errors.AuthenticationFailed("no", status=401, service_message="Invalid Authentication")
    raised = []
    for _ in range(50):
        with pytest.raises(errors.AuthenticationFailed) as caught:
            listing.current()
        assert (caught.value.status, caught.value.service_message) == (401, "Invalid Authentication")
        raised.append(caught.value)
    assert service.requests == 2 and len(set(map(id, raised))) == 50, "each has a traceback of its own"
    assert isinstance(listing.peek().stale_because, errors.AuthenticationFailed)
    service.now += HOLD_OFF + 0.1
    service.error = None
    assert ids(listing) == {"a"} and listing.peek().stale_because is None


def test_a_refused_key_that_is_put_right_is_seen_by_refresh() -> None:
    """E2: any answer ends the hold-off."""
    service = Service("a")
    listing = service.listing(ttl=100)
    listing.current()
    listing.expire()
    service.error = errors.AuthenticationFailed("no")
    with pytest.raises(errors.AuthenticationFailed):
        listing.current()
    service.error = None
    listing.refresh()
    assert ids(listing) == {"a"} and service.requests == 3


@pytest.mark.parametrize("kind", [errors.Unreachable, errors.AuthenticationFailed])
def test_expire_ends_a_hold_off(kind: type[errors.MoonfsError]) -> None:
    """W3: the next look asks, also in the seconds after a failure."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.error = kind("no")
    for _ in range(2):
        try:
            listing.current()
        except errors.AuthenticationFailed:
            pass
    service.error = None
    listing.expire()
    assert listing.current().stale_because is None and service.requests == 3


@pytest.mark.parametrize("fails", [False, True])
def test_a_look_after_expire_does_not_take_the_answer_of_a_request_sent_before(fails: bool) -> None:
    """W3: it waits for the request that is on its way, then sends its own; those who came before have theirs."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    assert service.arrived.acquire(timeout=60)
    service.gate = threading.Semaphore(0)
    service.error = errors.Unreachable("down") if fails else None
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    service.files.append(file("arrived"))
    service.error = None
    listing.expire()
    late = in_thread(listing.current)
    service.gate.release(2)
    assert set(late.result(60).files) == {"a", "arrived"}
    early.result(60)
    assert service.requests == 3


def test_an_older_failure_does_not_hold_off_what_expired_since() -> None:
    """W3: the failure of a request that was sent before the doubt is no reason to believe the old listing."""
    service = Service("a")
    listing = service.listing(ttl=1000)
    listing.current()
    assert service.arrived.acquire(timeout=60)
    listing.expire()
    service.gate = threading.Semaphore(0)
    service.error = errors.Unreachable("down")
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    listing.expire()
    service.error = None
    service.gate.release(2)
    assert early.result(60).stale_because is not None
    assert listing.current().stale_because is None


def test_an_own_newer_state_is_laid_over_an_older_answer() -> None:
    """R4, L4: a file that was just retrieved as `ok` is not `processing` again by an answer sent before."""
    service = Service()
    service.files = [file("a", status="processing")]
    service.gate = threading.Semaphore(0)
    listing = service.listing()
    early = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60)
    listing.add(file("a", status="ok"))
    service.gate.release()
    early.result(60)
    assert listing.peek().files["a"].status == "ok"
    service.files = [file("a", status="error")]
    service.gate.release()
    assert listing.refresh().files["a"].status == "error", "an answer to a later request is the service's word"


def test_a_refresh_that_was_kept_back_is_tried_again_soon() -> None:
    """R6, E2: it cost nothing, and the end of an outage shows soon; one that had somebody wait is tried again later."""
    service = Service("a")
    listing = service.listing(ttl=1)
    listing.current()
    service.error = errors.Unreachable("down", unsent=True)
    service.now += 2
    for _ in range(50):
        listing.current()
    assert service.requests == 2
    service.now += KEPT_BACK_HOLD_OFF + 0.01
    listing.current()
    assert service.requests == 3

    def slow() -> list[FileObject]:
        service.now += 0.3
        return service.list()

    listing._fetch = slow
    service.now += KEPT_BACK_HOLD_OFF + 0.01
    listing.current()
    service.now += 1.4
    listing.current()
    assert service.requests == 4
    service.now += 0.2
    service.error = None
    assert listing.current().stale_because is None


def test_what_a_probe_finds_is_the_listing() -> None:
    """R6: the answer that ended the outage is the fresh listing: it is not asked for once more."""
    service = Service("a")
    listing = service.listing(ttl=10)
    listing.current()
    service.error = errors.Unreachable("down")
    service.now += 11
    listing.current()
    listing.take(lambda: [file("a"), file("b")])
    assert ids(listing) == {"a", "b"} and listing.peek().stale_because is None and service.requests == 2


def test_an_older_answer_does_not_take_the_place_of_a_newer_one() -> None:
    """R6: a request that hung through an outage is answered after the probe's."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()
    service.gate = threading.Semaphore(0)
    hanging = in_thread(listing.current)
    assert service.arrived.acquire(timeout=60) and service.arrived.acquire(timeout=60)
    listing.take(lambda: [file("a"), file("b")])
    service.gate.release()
    hanging.result(60)
    assert set(listing.peek().files) == {"a", "b"}


def test_own_changes_during_a_probe_stay() -> None:
    """L4: its answer cannot know of them."""
    service = Service("a")
    listing = service.listing(ttl=0)
    listing.current()

    def answer() -> list[FileObject]:
        listing.add(file("mine"))
        listing.remove("a")
        return [file("a")]

    listing.take(answer)
    assert set(listing.peek().files) == {"mine"}


def test_a_listing_does_longer_where_requests_are_scarce() -> None:
    """L4, E2: an account with three requests a minute spends one on looking around, not all of them."""
    service, longer = Service("a"), 60.0
    listing = Listing(service.list, 10.0, clock=lambda: service.now, longer=lambda: longer)
    listing.current()
    service.now += 59
    listing.current()
    assert service.requests == 1
    service.now += 2
    longer = 0.0
    listing.current()
    service.now += 11
    listing.current()
    assert service.requests == 3


def test_what_others_changed_is_known_for_a_time() -> None:
    """L4: that an answer brought a file, or took one away; by the clock, from that answer on."""
    service = Service("old", "stays")
    listing = service.listing(ttl=0)
    listing.current()
    assert listing.replaced_since("old", "stays") == float("inf"), "what was there at first is no change"
    service.files = [file("stays"), file("new")]
    listing.current()
    service.now += 1.5
    assert listing.replaced_since("old", "new") == listing.replaced_since("old", "stays") == 1.5
    assert listing.replaced_since("stays", "new") == 1.5, "it came, and may be shown under the other's name"
    assert listing.replaced_since("new", "stays") == float("inf"), "it is still there, and so is the other"
    service.now += RECENT
    service.files.append(file("another"))
    listing.current()
    assert listing.replaced_since("old", "new") == float("inf")


@pytest.mark.parametrize("answered", ["before", "after"])
def test_what_was_changed_here_is_no_change_of_others(answered: str) -> None:
    """L4: whether an answer shows it before it is laid over the listing, or after."""
    service = Service("old")
    listing = service.listing(ttl=0)
    listing.current()
    service.files = [file("new")]
    if answered == "before":
        listing.current()
    listing.add(file("new"))
    listing.remove("old")
    listing.current()
    assert listing.replaced_since("old", "new") == listing.replaced_since("else", "new") == float("inf")


def test_what_two_answers_lack_is_gone() -> None:
    """R6: one answer that lacks files by the service's mistake costs nothing that is kept of them."""
    service = Service("a", "b", "c")
    gone: list[frozenset[str]] = []
    listing = Listing(service.list, 0.0, gone.append, clock=lambda: service.now)
    everything = service.files
    for files in (everything, [], everything, everything[:2], everything[1:2], everything[1:2]):
        service.files = files
        service.now += 1
        listing.current()
    assert gone == [{"c"}, {"a"}]


def test_what_is_kept_of_files_that_are_not_there_is_missing() -> None:
    """R2: texts of files that were deleted while nothing was mounted go with the second answer that lacks them."""
    service = Service("a")
    gone: list[frozenset[str]] = []
    listing = Listing(service.list, 0.0, gone.append, clock=lambda: service.now)
    listing.current()
    listing.miss(["a", "b"])
    assert gone == []
    service.now += 1
    listing.current()
    assert gone == [{"b"}]


class Told:
    """A service whose answers say what they prove, and what the listing says is gone."""

    def __init__(self) -> None:
        self.answer = Listed()
        self.now = 100.0
        self.gone: list[frozenset[str]] = []
        self.listing = Listing(lambda: self.answer, 0, self.gone.append, clock=lambda: self.now)

    def shows(self, *files: FileObject, horizon: float = EVERYTHING) -> set[str]:
        self.answer = Listed(files, horizon=horizon)
        return set(self.listing.current().files)


def made(file_id: str, when: int) -> FileObject:
    return FileObject(id=file_id, bytes=1, created_at=when, filename=f"{file_id}.txt")


def test_a_part_of_a_list_hides_nothing() -> None:
    """N1: what a part says nothing of is there still; what it proves to be gone goes."""
    told = Told()
    old, mid, new = made("old", 1), made("mid", 5), made("new", 9)
    assert told.shows(old, mid, new) == {"old", "mid", "new"}
    assert told.shows(new, horizon=9) == {"old", "mid", "new"}
    assert told.shows(new, horizon=3) == {"old", "new"}
    assert told.shows(horizon=NOTHING) == {"old", "new"}
    assert told.gone == []
    assert told.shows(new) == {"new"}
    assert told.shows(new) == {"new"}
    assert told.gone == [frozenset({"old"})]
    assert told.listing.peek().total_bytes == 1


def test_a_part_of_a_list_forgets_nothing() -> None:
    """N1, R2: nothing is gone for good by parts that say nothing of it, however many come in a row."""
    told = Told()
    told.listing.take(lambda: Listed([made("new", 9)], horizon=5))
    told.listing.miss(["on disk"])
    for _ in range(3):
        told.shows(made("new", 9), horizon=5)
    assert told.gone == []
    told.shows(made("newer", 10), horizon=5)
    told.shows(made("newer", 10), horizon=NOTHING)
    assert told.gone == [], "the second answer says nothing of it"
    told.shows(made("newest", 11), horizon=5)
    told.shows(made("newest", 11), horizon=5)
    assert told.gone == [frozenset({"newer"})]


def test_own_changes_outlast_a_part() -> None:
    """L4: what was deleted or stored here is so, whatever a part of a list says nothing of."""
    told = Told()
    assert told.shows(made("a", 1), made("b", 2)) == {"a", "b"}
    told.listing.remove("a")
    told.listing.add(made("c", 3))
    assert told.shows(horizon=NOTHING) == {"b", "c"}


def test_a_part_is_filled_up_to_what_a_drive_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """N1: of what parts have told, the newest are shown; what is too old for that is not gone."""
    monkeypatch.setattr("moonfs.listing.MAX_LISTED", 3)
    told = Told()
    assert told.shows(made("a", 1), made("b", 2), made("c", 3)) == {"a", "b", "c"}
    for _ in range(3):
        assert told.shows(made("d", 4), made("c", 3), horizon=3) == {"b", "c", "d"}
    assert told.gone == []
