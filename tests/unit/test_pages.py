"""Lists that come in pages: read to their end in either format, within bounds, and never a part taken for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from moonfs import errors, wire
from moonfs.api import pages as module
from moonfs.api.exchange import Answer
from moonfs.api.pages import Pages


def entry(number: int, *, project: bool = False) -> dict[str, Any]:
    """Return the file with this number, made in that second."""
    if project:
        return {
            "id": f"id{number:06}",
            "filename": f"{number}.txt",
            "mime_type": "text/plain",
            "size_bytes": number,
            "created_at": f"1970-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            "purpose": "file-extract",
            "extract_status": "ready",
        }
    return {"id": f"id{number:06}", "bytes": number, "created_at": number, "filename": f"{number}.txt"}


class Service:
    """Gives `numbers` in pages of `size`, however many are asked for; `between` happens after each page.

    Attributes:
        asked: the paths.
    """

    def __init__(self, numbers: range | list[int], *, size: int = 0, most: int = 1000, project: bool = False) -> None:
        self.numbers = list(numbers)
        self.size = size
        self.most = most
        self.project = project
        self.asked: list[str] = []
        self.between: Callable[[], None] = lambda: None
        self.by_place = False
        self.tells_token = True
        self.pages = Pages(project=project)

    def read(self) -> wire.Listed:
        return self.pages.read(self.ask)

    def numbers_read(self) -> list[int]:
        return [int(file.id.removeprefix("id")) for file in self.read()]

    def ask(self, path: str, limit: int) -> Answer:
        self.asked.append(path)
        query = parse_qs(urlsplit(path).query)
        size = min(int(query.get("page_size", [self.size])[0]) or 10**9, self.most)
        token = query.get("page_token", [""])[0]
        left = self.numbers
        if token and self.by_place:
            left = left[int(token) :]
        elif token:
            left = [number for number in left if number < int(token.removeprefix("id"))]
        page = left[:size]
        more = len(left) > len(page)
        place = int(token or 0) + len(page) if self.by_place else f"id{page[-1]:06}" if page else ""
        found = [entry(number, project=self.project) for number in page]
        if self.project:
            body: dict[str, Any] = {"items": found, "next_page_token": str(place) if more else ""}
        else:
            body = {"object": "list", "data": found, "has_more": more, "last_id": f"id{page[-1]:06}" if page else ""}
            if more and self.tells_token:
                body["next_page_token"] = str(place)
        self.between()
        return answer(body)


def answer(body: object) -> Answer:
    return Answer(200, json.dumps(body).encode(), "application/json", None)


@pytest.fixture(params=[False, True], ids=["known", "second"])
def project(request: pytest.FixtureRequest) -> bool:
    """Whether it is the second format."""
    return bool(request.param)


def test_a_whole_list_is_asked_for_once(project: bool) -> None:
    """N1: without a word of more there is one request, and it has no parameters."""
    service = Service(range(9, -1, -1), project=project)
    listed = service.read()
    assert service.asked == ["/files"]
    assert (len(listed), listed.horizon, listed.pages, service.pages.unread) == (10, wire.EVERYTHING, 1, "")


def test_a_list_that_goes_on_is_read_to_its_end(project: bool) -> None:
    """N1: it is asked for anew in the largest pages, the next time at once, and nothing of it is missing."""
    service = Service(range(2499, -1, -1), size=20, project=project)
    listed = service.read()
    assert [file.bytes for file in listed] == service.numbers
    assert (listed.horizon, listed.pages, service.pages.unread) == (wire.EVERYTHING, 3, "")
    assert [path.partition("&")[0] for path in service.asked] == ["/files", *3 * ["/files?page_size=1000"]]
    assert all("page_token=id" in path for path in service.asked[2:])
    service.asked.clear()
    service.read()
    assert len(service.asked) == 3
    service.numbers = service.numbers[:5]
    assert service.numbers_read() == [2499, 2498, 2497, 2496, 2495]


def test_pages_smaller_than_asked_for(project: bool) -> None:
    """N1: a service that gives no more than so many a page is read to its end too."""
    service = Service(range(399, -1, -1), size=7, most=7, project=project)
    assert service.numbers_read() == service.numbers


def test_a_list_without_tokens_goes_on_after_its_last_id() -> None:
    """N1: the known format is not printed with a token."""
    service = Service(range(49, -1, -1), size=10, most=10)
    service.tells_token = False
    assert service.numbers_read() == service.numbers


def test_a_service_that_takes_no_page_size() -> None:
    """N1: then its own pages do, at once and from then on."""
    service = Service(range(49, -1, -1), size=10)
    ask = service.ask

    def picky(path: str, limit: int) -> Answer:
        if "page_size" in path:
            service.asked.append(path)
            raise errors.Rejected("no page_size", status=400)
        return ask(path, limit)

    assert len(service.pages.read(picky)) == 50
    assert service.asked[:3] == ["/files", "/files?page_size=1000", "/files?page_token=id000040"]
    service.asked.clear()
    assert len(service.pages.read(picky)) == 50
    assert not any("page_size" in path for path in service.asked)


def test_an_upload_between_pages_doubles_nothing(project: bool) -> None:
    """N1: what is pushed onto the next page counts once, and all that was there is."""
    service = Service(range(99, -1, -1), size=10, most=10, project=project)
    service.by_place = True
    fresh = iter(range(100, 200))
    service.between = lambda: service.numbers.insert(0, next(fresh))
    found = service.numbers_read()
    assert len(set(found)) == len(found) and set(range(100)) <= set(found)


@pytest.mark.parametrize("said", [{"has_more": True}, {"has_more": True, "next_page_token": None, "last_id": ""}])
def test_more_without_a_way_is_told(said: dict[str, object]) -> None:
    """N1: what cannot be asked for is no reason to take a part for all."""
    pages = Pages(project=False)
    listed = pages.read(lambda _path, _limit: answer({"data": [], **said}))
    assert (list(listed), listed.horizon) == ([], wire.NOTHING)
    assert pages.unread == module.NO_WAY


def test_pages_that_repeat_have_an_end(project: bool) -> None:
    """N1: a service that says more for ever, and gives the same, is asked a few times and told of."""
    service = Service(range(9, -1, -1), project=project)
    whole = service.ask
    asked = []

    def again(path: str, limit: int) -> Answer:
        asked.append(path)
        body = json.loads(bytes(whole("/files", limit).body))
        return answer({**body, "has_more": True, "next_page_token": "again"})

    listed = service.pages.read(again)
    assert (len(listed), listed.horizon, service.pages.unread) == (10, 0.0, module.REPEATED)
    assert len(asked) == 3


def test_tokens_that_never_end(project: bool) -> None:
    """N1: nor does a new token on each page make a list that never ends."""
    count = iter(range(10**6))
    kind = "items" if project else "data"
    pages = Pages(project=project)
    listed = pages.read(lambda _path, _limit: answer({kind: [], "next_page_token": f"t{next(count)}"}))
    assert (list(listed), pages.unread) == ([], module.REPEATED)
    assert next(count) < 10


def test_an_empty_page_is_not_the_end(project: bool) -> None:
    """N1: a page without files that has a token is only that."""
    kind = "items" if project else "data"
    bodies = [
        {kind: [entry(9, project=project)], "next_page_token": "a"},
        {kind: [entry(9, project=project)], "next_page_token": "a"},
        {kind: [], "next_page_token": "b"},
        {kind: [entry(8, project=project)], "next_page_token": ""},
    ]
    pages = Pages(project=project)
    listed = pages.read(lambda _path, _limit: answer(bodies.pop(0)))
    assert ([file.bytes for file in listed], listed.horizon, pages.unread) == ([9, 8], wire.EVERYTHING, "")


def test_more_files_than_a_drive_shows(project: bool) -> None:
    """N1: no more than 5,000 are read; the list proves nothing of what is older than these."""
    service = Service(range(8999, -1, -1), size=1000, project=project)
    listed = service.read()
    assert [file.bytes for file in listed] == list(range(8999, 3999, -1))
    assert (listed.horizon, service.pages.unread) == (4000.0, module.TOO_MANY)
    assert len(service.asked) == 6


def test_a_part_in_no_order_proves_nothing() -> None:
    """N1: of a list that is not the newest first, what is missing in a part may be anywhere."""
    service = Service(range(8999, -1, -1), size=1000)
    service.by_place = True
    service.numbers = [*range(3000), *range(8999, 2999, -1)]
    assert service.read().horizon == wire.NOTHING


def test_more_pages_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """N1: the number of pages is bounded too."""
    monkeypatch.setattr(module, "_MOST", 5)
    service = Service(range(99, -1, -1), size=10, most=10)
    listed = service.read()
    assert ([file.bytes for file in listed], service.pages.unread) == (list(range(99, 49, -1)), module.TOO_LONG)
    assert listed.horizon == 50.0


def test_all_pages_share_one_bound_in_bytes() -> None:
    """E2: a list of long pages is no longer in memory than one of a single page."""
    service = Service(range(99, -1, -1), size=10, most=10)
    limits = []

    def ask(path: str, limit: int) -> Answer:
        limits.append(limit)
        return service.ask(path, limit)

    service.pages.read(ask)
    assert limits[0] == 16 * 1024**2 and limits == sorted(limits, reverse=True) and len(set(limits)) == len(limits)


@pytest.mark.parametrize("broken", [errors.TimedOut("slow"), errors.Unreachable("gone")])
def test_a_page_that_cannot_be_had_is_an_error(broken: errors.MoonfsError) -> None:
    """R6: half of a list is none: the last one that was whole goes on."""
    service = Service(range(49, -1, -1), size=10, most=10)

    def ask(path: str, limit: int) -> Answer:
        if "id000030" in path:
            raise broken
        return service.ask(path, limit)

    with pytest.raises(type(broken)):
        service.pages.read(ask)


@pytest.mark.parametrize("body", [{"data": 3}, {}, [], {"data": [], "items": 4}])
def test_a_page_that_is_none_is_an_error(body: object, project: bool) -> None:
    """R6: nor is a list whose third page is nonsense."""
    service = Service(range(49, -1, -1), size=10, most=10, project=project)

    def ask(path: str, limit: int) -> Answer:
        return service.ask(path, limit) if "id000030" not in path else answer(body)

    if body == {"data": [], "items": 4} and not project:
        return  # that one has a list
    with pytest.raises(errors.ProtocolError):
        service.pages.read(ask)


def test_a_page_of_unusable_entries_is_left_out() -> None:
    """N1: as in a list of one page, what does not validate is left out and counted."""
    bodies = [
        {"data": [entry(9)], "next_page_token": "a"},
        {"data": [entry(9)], "next_page_token": "a"},
        {"data": [{"id": "../x"}, 7], "has_more": False},
    ]
    pages = Pages(project=False)
    assert len(pages.read(lambda _path, _limit: answer(bodies.pop(0)))) == 1
    assert (pages.left_out, pages.unread) == (2, "")
