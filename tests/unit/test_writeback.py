"""The uploader on a service made of one dictionary: retries only what is not there, and nothing is left open."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moonfs import errors, writeback
from moonfs import journal as states
from moonfs.errors import MoonfsError
from moonfs.journal import Intent, Journal
from moonfs.spool import Spool, SpoolFile
from moonfs.wire import FileObject
from moonfs.writeback import ATTEMPTS, Uploader
from tests.harness.rest import at_rest


class Service:
    """What `writeback.Service` asks for, in memory; `script` holds what the next uploads do."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.files: dict[str, FileObject] = {}
        self.texts: dict[str, bytes] = {}
        self.believed: dict[str, FileObject] | None = None
        self.script: list[Any] = []
        self.list_errors: list[MoonfsError] = []
        self.delete_errors: list[MoonfsError] = []
        self.sent: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.lists = 0
        self.told: list[tuple[Any, ...]] = []
        self.clock = 1000.0
        self.gate: threading.Event | None = None
        self.in_background: list[bool] = []
        self.lock = threading.Lock()
        self.own: set[str] = set()
        self.doubtful: list[Intent] = []
        self.left: list[str] = []
        self.silent = False
        self.buried: list[str] = []

    def add(self, name: str, data: bytes, purpose: str = "file-extract", created_at: int | None = None) -> FileObject:
        with self.lock:
            file_id = f"id{len(self.texts)}"
            made = int(self.clock) if created_at is None else created_at
            file = FileObject(id=file_id, bytes=len(data), created_at=made, filename=name, purpose=purpose)
            self.files[file_id], self.texts[file_id] = file, data
            return file

    def upload(
        self,
        spool: SpoolFile,
        filename: str,
        purpose: str,
        deadline: float,
        complete: Callable[[], None] = lambda: None,
    ) -> FileObject:
        assert deadline > 0
        self.sent.append((filename, purpose))
        with self.lock:
            step = self.script.pop(0) if self.script else None
        if self.gate is not None:
            assert self.gate.wait(60)
        if step == "early":  # taken, and listed, before it had been sent to the end
            self.add(filename, spool.read(10_000, 0), purpose)
            raise doubt()
        complete()
        if isinstance(step, MoonfsError) and step.stored_as:
            step.stored_as = self.fail(filename, spool.read(10_000, 0), purpose).id
        if isinstance(step, MoonfsError):
            raise step
        file = self.add(filename, spool.read(10_000, 0), purpose)
        if step == "lost":
            raise doubt()
        return file

    def fail(self, name: str, data: bytes, purpose: str = "file-extract") -> FileObject:
        """Store what could not be read."""
        file = replace(self.add(name, data, purpose), status="error")
        self.files[file.id] = file
        return file

    def bury(self, file_id: str) -> None:
        self.buried.append(file_id)
        self.journal.delete_later(file_id)

    @property
    def numbers(self) -> bool:
        return False

    def wanted(self, name: str) -> bool:
        return False

    def may_have_left(self, intent: Intent) -> bool:
        return False

    def crosses(self, intent: Intent) -> None:
        pass

    def hold(self) -> float:
        return 0.0

    def delete(self, file_id: str, *, background: bool = False) -> None:
        self.in_background.append(background)
        if self.delete_errors:
            raise self.delete_errors.pop(0)
        self.deleted.append(file_id)
        if self.files.pop(file_id, None) is None:
            raise errors.NotFound("gone")

    def known(self) -> Mapping[str, FileObject]:
        return dict(self.files if self.believed is None else self.believed)

    def relist(self) -> Mapping[str, FileObject]:
        self.lists += 1
        if self.list_errors:
            raise self.list_errors.pop(0)
        return dict(self.files)

    def given(self, file_id: str) -> bool:
        return file_id in self.own

    def text(self, file: FileObject) -> bytes:
        return b"" if self.silent else self.texts[file.id]

    def is_sure(self, file: FileObject) -> bool:
        return True

    def bear(self, file: FileObject, error: MoonfsError) -> None:
        return None

    def confirmed(self, sha256: str) -> frozenset[str]:
        return frozenset(each for each in self.own if hashlib.sha256(self.texts[each]).hexdigest() == sha256)

    def earlier(self, intent: Intent) -> list[Intent]:
        mine = (intent.name, intent.sha256, intent.purpose)
        return [old for old in self.doubtful if (old.name, old.sha256, old.purpose) == mine]

    def take_over(self, earlier: Iterable[Intent]) -> None:
        self.doubtful = [old for old in self.doubtful if old not in earlier]

    def leave(self, intent: Intent, copies: Iterable[FileObject]) -> None:
        self.left += [file.id for file in copies]

    def make_room(self, intent: Intent) -> frozenset[str]:
        return frozenset()

    def now(self) -> float:
        return self.clock

    def stored(self, intent: Intent, file: FileObject) -> frozenset[str]:
        self.told.append((intent.name, file.id))
        self.own.add(file.id)
        surplus = intent.replaces - {file.id}
        self.journal.stored(intent, file.id, surplus)
        return surplus


def stored_failure(kind: type[MoonfsError] = errors.NoText) -> MoonfsError:
    """Return the refusal of what the service stores all the same, as the client raises it."""
    return kind("no", status=200, stored_as="yes")


def doubt() -> MoonfsError:
    return errors.Unreachable("broke off", maybe_stored=True)


def refusal(kind: type[MoonfsError] = errors.UnsupportedType, status: int = 400) -> MoonfsError:
    return kind("no", status=status)


class Desk:
    """An uploader over a real journal and spool."""

    def __init__(self, root: Path) -> None:
        (root / "spool").mkdir()
        self.journal, self.spool = Journal(root / "journal.db"), Spool(root / "spool")
        self.service = Service(self.journal)
        self.uploaders: list[Uploader] = []
        self.uploader = self.make()

    def make(self, **other: Any) -> Uploader:
        chosen = {"workers": 4, "deadline": 5.0, "backoff": lambda _attempt: 0.0, **other}
        uploader = Uploader(self.service, self.journal, **chosen)
        self.uploaders.append(uploader)
        return uploader

    def intent(self, name: str = "a.txt", data: bytes = b"text", **other: Any) -> tuple[Intent, SpoolFile]:
        file = self.spool.create()
        file.write(data, 0)
        chosen = {"state": states.UPLOADING, "purpose": "auto", "mtime_ns": 1, "inode": 1, **other}
        return Intent(spool=file.name, name=name, size=len(data), sha256=file.sha256(), **chosen), file

    def store(self, *args: Any, **other: Any) -> FileObject:
        return self.uploader.store(*self.intent(*args, **other))

    def settled(self, uploader: Uploader | None = None) -> None:
        """Wait until there is nothing to do in the background but what is due much later."""
        at_rest((uploader or self.uploader).workers)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    for uploader in desk.uploaders:
        uploader.close()
    desk.journal.close()


@pytest.mark.parametrize("error", [errors.NoText, errors.UnsupportedType])
def test_a_picture_without_text_is_uploaded_as_a_picture(desk: Desk, error: type[MoonfsError]) -> None:
    """W11: the service finds no text, or has none of that type: purpose image; it is one file in the end."""
    desk.service.script = [refusal(error)]
    assert desk.store("a.png").purpose == "image"
    assert desk.service.sent == [("a.png", "file-extract"), ("a.png", "image")] and len(desk.service.files) == 1


def test_a_stored_failure_goes_before_the_next_purpose(desk: Desk) -> None:
    """W1, W11: a picture without text that is stored as a failure: that is gone before the next upload, which may be
    numbered otherwise."""
    sent: list[list[str]] = []
    upload = desk.service.upload
    desk.service.upload = lambda *args: (sent.append([*desk.service.files]), upload(*args))[1]  # type: ignore[method-assign]
    desk.service.script = [stored_failure()]
    assert desk.store("a.png").purpose == "image"
    assert sent == [[], []] and desk.service.deleted == desk.service.buried == ["id0"]
    assert desk.journal.deletions() == desk.journal.intents() == [] and desk.service.left == []


def test_a_stored_failure_is_a_refusal(desk: Desk) -> None:
    """W1, W4: nothing of it is left, hidden before it is deleted and journaled before that; the old version stays."""
    old = desk.service.add("a.pdf", b"old")
    desk.service.script = [stored_failure()]
    seen: list[list[str]] = []
    delete = desk.service.delete
    desk.service.delete = lambda i, background: (seen.append(desk.journal.deletions()), delete(i))[1]  # type: ignore[method-assign]
    with pytest.raises(errors.NoText):
        desk.store("a.pdf", replaces=frozenset({old.id}))
    assert list(desk.service.files) == [old.id] and seen == [["id1"]] and desk.journal.deletions() == []
    assert desk.service.buried == ["id1"] and desk.service.told == []


def test_the_name_is_free_before_the_next_purpose(desk: Desk) -> None:
    """W11: a deletion that fails is tried again; if it goes on failing, the next purpose waits for another time."""
    desk.service.script = [stored_failure()]
    desk.service.delete_errors = [errors.Unreachable("down"), errors.ServiceError("500")]
    assert desk.store("a.png").purpose == "image"
    desk.service.script = [stored_failure()]
    desk.service.delete_errors = [errors.Unreachable("down")] * 3
    with pytest.raises(errors.Unreachable):
        desk.store("b.png")
    assert [purpose for name, purpose in desk.service.sent if name == "b.png"] == ["file-extract"]
    desk.settled()
    assert [file.filename for file in desk.service.files.values()] == ["a.png"] and desk.journal.deletions() == []


@pytest.mark.parametrize("error", [errors.AuthenticationFailed("403"), errors.Rejected("400")])
def test_a_deletion_that_is_refused_for_good_holds_up_no_purpose(desk: Desk, error: MoonfsError) -> None:
    """W11: the picture arrives; the failure stays hidden and is queued."""
    desk.service.script = [stored_failure()]
    desk.service.delete_errors = [error] * 50
    assert desk.store("a.png").purpose == "image"
    assert desk.journal.deletions() == desk.service.buried == ["id0"]


def test_a_stored_failure_of_the_last_purpose_is_told_though_it_is_there_still(desk: Desk) -> None:
    """W1: the writer hears of the refusal; the deletion goes on in the background."""
    desk.service.script = [stored_failure()]
    desk.service.delete_errors = [errors.Unreachable("down")] * 4
    with pytest.raises(errors.NoText):
        desk.store("a.pdf")
    desk.settled()
    assert desk.service.files == {} and desk.journal.deletions() == []


def test_a_stored_failure_is_no_copy_of_an_upload_in_doubt(desk: Desk) -> None:
    """W3: one without an answer is left, with its line; the bytes are sent again, and what that answers counts."""

    def upload(spool: SpoolFile, name: str, purpose: str, *_args: Any) -> FileObject:
        desk.service.sent.append((name, purpose))
        failed = desk.service.fail(name, spool.read(10_000, 0), purpose)
        raise doubt() if len(desk.service.sent) == 1 else errors.NoText("no", status=200, stored_as=failed.id)

    desk.service.upload = upload  # type: ignore[method-assign]
    intent, spool = desk.intent("scan.pdf")
    with pytest.raises(errors.NoText):
        desk.uploader.store(intent, spool)
    assert list(desk.service.files) == ["id0"] and set(desk.service.left) == {"id0"} and desk.service.deleted == ["id1"]
    assert "id0" in intent.known, "it is shown: nothing will ever tell whose it is"


@pytest.mark.parametrize("error", [errors.NoText, errors.UnsupportedType])
def test_a_picture_that_is_refused_as_a_picture_too(desk: Desk, error: type[MoonfsError]) -> None:
    """W11: one attempt for each purpose, and the last one's answer is the writer's."""
    desk.service.script = [refusal(errors.NoText), refusal(error)]
    with pytest.raises(error):
        desk.store("a.png")
    assert [purpose for _, purpose in desk.service.sent] == ["file-extract", "image"] and desk.service.files == {}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("a.txt", errors.NoText),
        ("a.txt", errors.UnsupportedType),
        ("a.mp4", errors.UnsupportedType),
        ("a.png", errors.FileTooLarge),
        ("a.mp4", errors.NoText),
        ("a.png", errors.AuthenticationFailed),
        ("a.txt", errors.RateLimited),
        ("a.txt", errors.Unreachable),
    ],
)
def test_a_refusal_is_final(desk: Desk, name: str, error: type[MoonfsError]) -> None:
    """W1: what leaves no doubt is raised as it is, after one attempt and no look at the listing."""
    desk.service.script = [refusal(error)]
    with pytest.raises(error):
        desk.store(name)
    assert len(desk.service.sent) == 1 and desk.service.lists == 0 and desk.service.files == {}


def test_what_arrived_is_not_sent_again(desk: Desk) -> None:
    """W3: the fresh listing is matched before any retry."""
    desk.service.script = ["lost"]
    file = desk.store()
    assert list(desk.service.files) == [file.id] and len(desk.service.sent) == 1
    assert desk.service.told == [("a.txt", file.id)]


def test_what_did_not_arrive_is_sent_again(desk: Desk) -> None:
    """W3: only when two looks do not show it."""
    desk.service.script = [doubt(), doubt()]
    file = desk.store()
    assert list(desk.service.files) == [file.id] and len(desk.service.sent) == 3
    assert desk.service.lists >= 4


def test_a_repeat_waits_for_a_listing(desk: Desk) -> None:
    """W3: without a listing a repeat could make a second copy."""
    desk.service.script = ["lost"]
    desk.service.list_errors = [errors.Unreachable("down"), errors.ServiceError("500"), errors.RateLimited("429")]
    desk.store()
    assert len(desk.service.files) == 1 and len(desk.service.sent) == 1 and desk.service.lists == 4, (
        "three that failed, one that shows it"
    )


def test_without_a_listing_there_is_no_repeat(desk: Desk) -> None:
    """W3: nothing is sent again that was not looked for, though there is time for it and none for another look."""
    waits = iter([0.0, 60.0])
    hurried = desk.make(backoff=lambda _attempt: next(waits, 0.0))
    desk.service.script, desk.service.list_errors = ["lost"], [errors.ServiceError("503")] * 1000
    with pytest.raises(errors.Unreachable, match="broke off"):
        hurried.store(*desk.intent())
    assert len(desk.service.sent) == 1


@pytest.mark.parametrize(
    ("size", "name", "age"), [(5, "a.txt", 0), (4, "b.txt", 0), (4, "a.txt", 60)], ids=["size", "name", "age"]
)
def test_what_is_not_ours_is_not_taken(desk: Desk, size: int, name: str, age: int) -> None:
    """W3: another size, another name, or older than the attempt: not what we sent."""
    desk.service.believed = {}
    other = desk.service.add(name, b"x" * size, created_at=1000 - age)
    desk.service.script = [doubt()]
    file = desk.store()
    assert file.id != other.id and set(desk.service.files) == {other.id, file.id}


def test_what_was_known_before_is_not_ours(desk: Desk) -> None:
    """W3: a namesake of the same size that was listed before the attempt, even of this second."""
    other = desk.service.add("a.txt", b"EQAL", created_at=1000)
    desk.service.script = [doubt()]
    file = desk.store()
    assert file.id != other.id and set(desk.service.files) == {other.id, file.id}


def test_the_clock_of_the_service_counts(desk: Desk) -> None:
    """W3: created_at has whole seconds: a file of the same second, a little before `started`, is ours."""
    desk.service.clock = 2000.9
    desk.service.script = ["lost"]
    desk.store()
    assert len(desk.service.files) == 1 and len(desk.service.sent) == 1


def test_somebody_elses_bytes_are_not_adopted(desk: Desk) -> None:
    """W3, tenet 1: theirs has the name, the size and the time; its text is another: ours is sent again."""

    class Meddling(Service):
        def upload(self, *args: Any) -> FileObject:
            if not self.sent:
                self.add("a.txt", b"THEM")
            return super().upload(*args)

    desk.service.__class__ = Meddling
    desk.service.script = [doubt()]
    desk.store()
    assert sorted(desk.service.texts[name] for name in desk.service.files) == [b"THEM", b"text"]
    assert desk.service.left == [], "it is told apart"


def test_what_has_no_text_is_sent_again(desk: Desk) -> None:
    """W3: nothing proves whose the first copy is: it is left, and said so; the count of attempts stays."""
    desk.service.silent, desk.service.script = True, ["lost"]
    intent, spool = desk.intent()
    file = desk.uploader.store(intent, spool)
    assert len(desk.service.files) == 2 and set(desk.service.left) == desk.service.files.keys() - {file.id}
    assert intent.unanswered == 1 and not intent.adopted


def test_what_an_answer_gave_is_never_a_candidate(desk: Desk) -> None:
    """W3: the same bytes under the same name, stored by us a moment ago: not the copy of this attempt."""
    desk.service.believed = {}
    other = desk.service.add("a.txt", b"text")
    desk.service.own.add(other.id)
    desk.service.script = [doubt()]
    file = desk.store()
    assert file.id != other.id and len(desk.service.sent) == 2


def test_what_was_taken_before_the_body_was_complete_is_a_candidate(desk: Desk) -> None:
    """W3: a list that was fetched after the end of the attempt may have its copy, though its body never ended."""
    desk.service.script = ["early"]
    assert desk.store().id == "id0"
    assert len(desk.service.sent) == 1 and list(desk.service.files) == ["id0"]


def test_what_was_listed_before_the_body_was_complete_is_never_a_candidate(desk: Desk) -> None:
    """W3: a list that was had while the body was sent cannot have its copy."""

    class Slow(Service):
        def upload(self, *args: Any) -> FileObject:
            if not self.sent:
                self.add("a.txt", b"text")  # and the list is had meanwhile
            return super().upload(*args)

    desk.service.__class__ = Slow
    desk.service.script = [doubt()]
    desk.store()
    assert len(desk.service.files) == 2 and len(desk.service.sent) == 2


def test_what_came_long_after_is_never_a_candidate(desk: Desk) -> None:
    """W3: outside of the attempt's time, by the service's clock."""
    quick = desk.make(deadline=0.0)
    desk.service.script = [doubt()]
    intent, spool = desk.intent()
    with pytest.raises(errors.Unreachable):
        quick.store(intent, spool)
    desk.service.add("a.txt", b"text", created_at=1000 + int(states.DOUBT_SECONDS) + 1)
    desk.uploader.store(intent, spool)
    assert len(desk.service.files) == 2


def test_an_upload_that_nobody_wants_adopts_nothing(desk: Desk) -> None:
    """W3, W8: its name is gone, and what is there may be a newer version's copy, of the same bytes."""
    intent, spool = desk.intent()
    upload = desk.service.upload

    def lost(*args: Any) -> FileObject:
        upload(*args)
        intent.cancelled = True
        raise doubt()

    desk.service.upload = lost  # type: ignore[method-assign]
    with pytest.raises(errors.Overtaken):
        desk.uploader.store(intent, spool)
    assert desk.service.told == [] and intent.unanswered == 1 and desk.service.lists == 0


def test_an_overwrite_deletes_after_it_is_confirmed(desk: Desk) -> None:
    """W4: first the new version, then the old ids; the journal knows in between."""
    old = desk.service.add("a.txt", b"old")
    order: list[str] = []
    stored, delete = desk.journal.stored, desk.service.delete
    desk.journal.stored = lambda *a: (order.append("journal"), stored(*a))[1]  # type: ignore[method-assign]
    desk.service.delete = lambda i, background: (order.append("delete"), delete(i))[1]  # type: ignore[method-assign]
    file = desk.store(replaces=frozenset({old.id}))
    assert list(desk.service.files) == [file.id] and order == ["journal", "delete"]
    assert desk.journal.deletions() == [] and desk.journal.intents() == []


def test_a_refused_overwrite_deletes_nothing(desk: Desk) -> None:
    """W4: the old version stays when the new one is refused."""
    old = desk.service.add("a.txt", b"old")
    desk.service.script = [refusal()]
    with pytest.raises(errors.UnsupportedType):
        desk.store(replaces=frozenset({old.id}))
    assert list(desk.service.files) == [old.id] and desk.service.deleted == []


def test_a_deletion_that_fails_is_done_later(desk: Desk) -> None:
    """W4: the writer's success stands; the deletion is queued and repeated until it is done."""
    old = desk.service.add("a.txt", b"old")
    desk.service.delete_errors = [errors.Unreachable("down"), errors.ServiceError("500"), errors.RateLimited("429")]
    file = desk.store(replaces=frozenset({old.id}))
    desk.settled()
    assert list(desk.service.files) == [file.id] and desk.journal.deletions() == []


def test_deleting_what_is_gone_is_done(desk: Desk) -> None:
    """W8: a 404 counts as done."""
    desk.journal.delete_later("gone")
    desk.uploader.delete("gone")
    assert desk.journal.deletions() == []


def test_at_the_limit_the_old_version_makes_room(desk: Desk) -> None:
    """W7: at 1,000 files an overwrite works; the intent is PENDING before the old bytes go."""
    old = desk.service.add("a.txt", b"old")
    desk.service.script = [refusal(errors.TooManyFiles)]
    seen: list[str] = []
    delete = desk.service.delete
    desk.service.delete = lambda i, background: (seen.extend(e.state for e in desk.journal.intents()), delete(i))[1]  # type: ignore[method-assign]
    file = desk.store(replaces=frozenset({old.id}))
    assert list(desk.service.files) == [file.id] and seen == [states.PENDING]
    assert desk.journal.intents() == []


@pytest.mark.parametrize(
    ("kind", "status", "old"),
    [(errors.TooManyFiles, 400, False), (errors.QuotaExceeded, 429, True), (errors.QuotaExceeded, 400, True)],
    ids=["new file", "suspended account", "no balance"],
)
def test_room_is_made_only_where_it_helps(desk: Desk, kind: type[MoonfsError], status: int, old: bool) -> None:
    """W7, tenet 1: a new file replaces nothing, and a suspended account takes nothing: no old byte goes."""
    elder = desk.service.add("a.txt", b"old")
    desk.service.script = [refusal(kind, status)]
    with pytest.raises(kind):
        desk.store(replaces=frozenset({elder.id}) if old else frozenset())
    assert list(desk.service.files) == [elder.id]


def test_an_attempt_in_doubt_is_adopted_by_the_next(desk: Desk) -> None:
    """W3: ETIMEDOUT, and the writer tries again: the same bytes are taken up, not sent."""
    quick = desk.make(deadline=0.0)
    desk.service.script = ["lost"]
    given_up, spool = desk.intent()
    with pytest.raises(errors.Unreachable):
        quick.store(given_up, spool)
    desk.service.doubtful.append(given_up)
    quick._deadline = 5.0
    file = quick.store(*desk.intent())
    assert list(desk.service.files) == [file.id] and len(desk.service.sent) == 1 and not desk.service.doubtful


def test_a_failing_listing_keeps_the_doubt(desk: Desk) -> None:
    """W3: the next attempt cannot see yet what became of the first; it waits for a listing, with an error."""
    quick = desk.make(deadline=0.0)
    desk.service.script = ["lost"]
    given_up, spool = desk.intent()
    with pytest.raises(errors.Unreachable):
        quick.store(given_up, spool)
    desk.service.doubtful.append(given_up)
    quick._deadline = 5.0
    desk.service.list_errors = [errors.TimedOut("slow")]
    with pytest.raises(errors.TimedOut):
        quick.store(*desk.intent())
    quick.store(*desk.intent())
    assert len(desk.service.files) == 1 and len(desk.service.sent) == 1


def outage() -> MoonfsError:
    return errors.Unreachable("gone", unsent=True)


def test_an_outage_ends_the_search_for_an_upload_in_doubt(desk: Desk) -> None:
    """E2, W3: nobody can say what became of it: the close fails with the upload's error, and nothing is repeated."""
    desk.service.script, desk.service.list_errors = ["lost"], [outage()] * 1000
    intent, spool = desk.intent()
    with pytest.raises(errors.Unreachable, match="broke off"):
        desk.uploader.store(intent, spool)
    assert len(desk.service.sent) == 1 and len(desk.service.list_errors) == 998
    desk.service.list_errors = []
    desk.uploader.store(intent, spool)
    assert len(desk.service.sent) == 1 and len(desk.service.files) == 1, "the doubt is remembered"


def test_a_probe_that_finds_the_service_saves_the_search(desk: Desk) -> None:
    """W3: one refusal may come while the breaker looks for the end of the outage."""
    desk.service.script, desk.service.list_errors = ["lost"], [outage()]
    assert desk.uploader.store(*desk.intent()).filename == "a.txt"
    assert len(desk.service.sent) == 1


def test_deletions_in_the_background_give_way(desk: Desk) -> None:
    """E2: somebody waits for a deletion in write-through, nobody for what an overwrite leaves."""
    for name in "ab":
        desk.service.add(name, b"x")
    desk.uploader.delete("id0")
    desk.journal.delete_later("id1")
    desk.uploader.delete_queued("id1")
    assert desk.service.in_background == [False, True]


@pytest.mark.parametrize("problem", [refusal(), doubt(), errors.TimedOut("x")], ids=lambda e: type(e).__name__)
def test_a_failure_is_over(desk: Desk, problem: MoonfsError) -> None:
    """N5: what failed is not under way any more."""
    uploader = desk.make(workers=1, deadline=0.02)
    for _ in range(3):
        desk.service.script = [problem] * 1000
        with pytest.raises(MoonfsError):
            uploader.store(*desk.intent())
    assert uploader.active == 0


def test_deletions_are_repeated_until_they_are_done(desk: Desk) -> None:
    """W4, W8: what the journal has queued is deleted in the background, through an outage, in whatever order."""
    for number in range(6):
        desk.service.add(f"{number}.txt", b"old")
        desk.journal.delete_later(f"id{number}")
    desk.service.delete_errors = [errors.Unreachable("down"), errors.ServiceError("500"), errors.RateLimited("429")] * 3
    desk.uploader.delete_later([*desk.journal.deletions(), "never there"])
    desk.settled()
    assert desk.service.files == {} and desk.journal.deletions() == []


@pytest.mark.parametrize("state", [states.PENDING, states.UPLOADING])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_cancelled_upload_is_not_tried_again(desk: Desk, state: str, recorded: bool) -> None:
    """W8: unlink cancels a pending upload: nothing is sent, and no row is made for a next run to take up."""
    intent, spool = desk.intent(state=state, replaces=frozenset({"old"}))
    if recorded:
        desk.journal.put(intent)
    intent.cancelled = True
    desk.journal.forget(intent.spool)
    with pytest.raises(errors.Overtaken):
        desk.uploader.store(intent, spool)
    assert desk.service.sent == [] and desk.service.told == [] and desk.journal.intents() == []


@pytest.mark.parametrize("change", ["gone", "renamed", "cancelled"])
def test_an_upload_that_was_overtaken_sends_nothing(desk: Desk, change: str) -> None:
    """W2, W9: the row is asked before the first byte is sent; what it says by then stands."""
    intent, spool = desk.intent(state=states.PENDING)
    other = {"renamed": {"name": "b.txt"}, "cancelled": {"state": states.CANCELLED}}.get(change)
    rows = [] if other is None else [replace(intent, **other)]  # type: ignore[arg-type]
    if rows:
        desk.journal.put(*rows)
    with pytest.raises(errors.Overtaken):
        desk.uploader.store(intent, spool)
    assert desk.service.sent == [] and desk.journal.intents() == rows


def test_an_attempt_is_recorded_before_it_is_sent(desk: Desk) -> None:
    """W3: after a crash the next run knows when the attempt began, and what was there before it."""
    elder = desk.service.add("a.txt", b"EQAL")
    intent, spool = desk.intent(state=states.PENDING)
    desk.journal.put(replace(intent))
    seen: list[Intent] = []
    upload = desk.service.upload
    desk.service.upload = lambda *a: (seen.extend(desk.journal.intents()), upload(*a))[1]  # type: ignore[method-assign]
    desk.uploader.store(intent, spool)
    (row,) = seen
    assert (row.state, row.started, row.known) == (states.PENDING, 1000.0, {elder.id})
    assert desk.journal.intents() == []


@pytest.mark.parametrize("state", [states.PENDING, states.UPLOADING])
def test_a_resumed_upload_that_had_arrived_is_not_sent_again(desk: Desk, state: str) -> None:
    """W3, W2: an earlier run had started it: the listing is matched before the next attempt."""
    arrived = desk.service.add("a.txt", b"text")
    intent, spool = desk.intent(state=state, started=999.0, unanswered=1)
    desk.journal.put(intent)
    assert desk.uploader.store(intent, spool).id == arrived.id
    assert list(desk.service.files) == [arrived.id] and desk.service.sent == [] and desk.journal.intents() == []


def test_a_resumed_upload_waits_for_a_listing(desk: Desk) -> None:
    """W3: without one a repeat could make a second copy; the next try settles it."""
    desk.service.add("a.txt", b"text")
    intent, spool = desk.intent(state=states.PENDING, started=999.0, unanswered=1)
    desk.journal.put(intent)
    desk.service.list_errors = [errors.Unreachable("down")]
    with pytest.raises(errors.Unreachable):
        desk.uploader.store(intent, spool)
    assert desk.service.sent == []
    desk.uploader.store(intent, spool)
    assert desk.service.sent == [] and len(desk.service.files) == 1


def test_a_repeat_keeps_the_time_of_the_first_attempt(desk: Desk) -> None:
    """W3: a copy that the first attempt made before the second began is ours."""
    intent, spool = desk.intent(state=states.PENDING)
    desk.journal.put(intent)
    desk.service.script = [doubt()] * ATTEMPTS
    with pytest.raises(errors.Unreachable):
        desk.uploader.store(intent, spool)
    late = desk.service.add("a.txt", b"text")
    desk.service.clock += 100
    assert intent.started == 1000.0 and intent.unanswered == ATTEMPTS
    assert desk.uploader.store(intent, spool).id == late.id and list(desk.service.files) == [late.id]


def test_another_length_than_was_sent_replaces_nothing(desk: Desk) -> None:
    """Tenet 3, W4: what is stored is not what was written: that copy goes, the old version stays."""
    old = desk.service.add("a.txt", b"old")
    desk.service.upload = lambda spool, name, *_: desk.service.add(name, b"te")  # type: ignore[method-assign]
    with pytest.raises(errors.ServiceError, match="2 of 4 bytes"):
        desk.store(replaces=frozenset({old.id}))
    desk.settled()
    assert list(desk.service.files) == [old.id] and desk.service.told == []


def test_close_ends_the_waits(desk: Desk) -> None:
    """L2: a wait of an hour between attempts ends when the drive does."""
    uploader = desk.make(deadline=7200.0, backoff=lambda _attempt: 3600.0)
    desk.service.script = [doubt()]
    problems: list[BaseException] = []

    def write() -> None:
        try:
            uploader.store(*desk.intent())
        except MoonfsError as error:
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while not desk.service.lists:
        time.sleep(0.001)
    uploader.close()
    writer.join(5)
    assert not writer.is_alive() and isinstance(problems[0], errors.Unreachable)


def test_an_idle_uploader_has_no_thread(desk: Desk) -> None:
    """L4: nothing runs while there is nothing to do."""
    desk.store()
    assert desk.uploader.workers._threads == []


def test_a_journal_that_fails_ends_the_upload(desk: Desk) -> None:
    """W7: a full local disk is the writer's error, and the upload is not under way any more."""
    uploader = desk.make(workers=1)
    intent, spool = desk.intent(replaces=frozenset({"old"}))

    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    desk.journal.attempt = full  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError):
        uploader.store(intent, spool)
    assert uploader.active == 0


def test_few_uploads_are_begun_before_the_last_close(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: as many as the service takes at first are under way while promises follow one another, the rest after."""
    monkeypatch.setattr(writeback, "LINGER", 0.5)
    monkeypatch.setattr(writeback, "LONGEST_LINGER", 60.0)
    uploader = desk.make(workers=32)
    gate, begun = threading.Semaphore(0), threading.Semaphore(0)

    def upload() -> None:
        begun.release()
        assert gate.acquire(timeout=60)

    for _ in range(writeback.EARLY + 4):
        uploader.promised()
        uploader.workers.submit(upload)
    early = 0
    for _ in range(50):
        uploader.promised()
        early += begun.acquire(timeout=0.02)
    assert early == writeback.EARLY
    for _ in range(4):
        assert begun.acquire(timeout=60), "all of them when the last promise is long ago"
    gate.release(100)


def test_work_beside_the_requests_has_threads_of_its_own(desk: Desk) -> None:
    """As many requests may be under way as the gate lets pass, although each upload has other things to do too."""
    uploader = desk.make(workers=8)
    gate, begun = threading.Semaphore(0), threading.Semaphore(0)
    for _ in range(20):
        uploader.workers.submit(lambda: (begun.release(), gate.acquire(timeout=60))[0])
    for _ in range(10):
        assert begun.acquire(timeout=60)
    assert not begun.acquire(timeout=0.05)
    gate.release(100)
