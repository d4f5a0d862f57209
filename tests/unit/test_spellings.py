"""One id a file, however the service spells it: the rule alone, without a service."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from moonfs import spellings as module
from moonfs.spellings import Spellings
from moonfs.wire import FileObject, Listed, bare, twin


def file(file_id: str, **other: Any) -> FileObject:
    return FileObject(id=file_id, bytes=1, created_at=1, filename="a.txt", **other)


def listed(ids: Spellings, *spelt: str) -> list[tuple[str, str]]:
    """Return the ids inside of the drive, and how they are spelt, of a list that spells them so."""
    return [(each.id, each.spelt) for each in ids.listed(Listed(map(file, spelt)))]


@pytest.mark.parametrize("file_id", ["d5k2", "file_d5k2", "file_", "file", "file_file_d5k2"])
def test_twins(file_id: str) -> None:
    """N5: an id has a twin, with which it has something in common."""
    assert bare(file_id) and twin(file_id) != file_id
    assert bare(file_id) in (file_id, twin(file_id))


def test_a_list_alone_changes_nothing() -> None:
    """N5: where ids are spelt in one way, they are what the list says, and the very same objects."""
    ids, files = Spellings(), Listed([file("a"), file("file_b")], horizon=3.0, pages=2)
    told = ids.listed(files)
    assert all(one is other for one, other in zip(told, files, strict=True))
    assert (told.horizon, told.pages, ids.spelt("a"), ids.spelt("file_b")) == (3.0, 2, "a", "file_b")


def test_the_spelling_that_came_first_is_the_id() -> None:
    """N5: an answer and later lists may spell it otherwise; requests spell it as the latest list."""
    ids = Spellings()
    assert ids.answered(file("a")).id == "a"
    assert ids.is_unsure("a") and not ids.is_listed("a")
    assert listed(ids, "file_a") == [("a", "file_a")]
    assert not ids.is_unsure("a") and ids.is_listed("a")
    assert (ids.spelt("a"), ids.key("file_a"), ids.find("file_a")) == ("file_a", "a", "a")
    assert ids.answered(file("a")).spelt == "file_a"
    assert listed(ids, "a") == [("a", "a")]
    assert ids.spelt("a") == "a"


def test_what_only_a_question_has_named_is_not_remembered() -> None:
    """N5: an id that a person has made up is nobody's."""
    ids = Spellings()
    assert ids.find("file_a") == "file_a"
    assert listed(ids, "a") == [("a", "a")]


def test_both_in_one_list_are_two_files_for_ever() -> None:
    """N5: from then on each is meant by its own spelling, also where a list has one of them alone."""
    noted: list[Collection[str]] = []
    ids = Spellings((), noted.append)
    for each in ids.listed(Listed([file("a"), file("file_a"), file("b")])):
        assert (each.spelt, each.apart) == (each.id, each.id != "b")
    assert noted == [{"a"}]
    assert listed(ids, "file_a") == [("file_a", "file_a")]
    assert [ids.key("a"), ids.key("file_a"), ids.spelt("file_a")] == ["a", "file_a", "file_a"]
    assert ids.answered(file("a")).apart
    again = Spellings({"a"})
    assert [again.key("a"), again.key("file_a")] == ["a", "file_a"]
    assert listed(again, "file_a") == [("file_a", "file_a")] and len(noted) == 1


def test_what_may_be_of_both_is_forgotten() -> None:
    """R2, R5: what was kept of the one while the other was taken for it proves nothing of either."""
    mixed: list[str] = []
    ids = Spellings(mixed=mixed.append)
    ids.answered(file("a"))
    ids.answered(file("b"))
    ids.listed(Listed([file("file_a")]))
    ids.listed(Listed([file("a"), file("file_a"), file("b"), file("file_b")]))
    assert sorted(mixed) == ["a", "file_a"], "of b there was nothing to confuse"


def test_it_forgets_what_is_long_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """N5: memory is bounded; what is listed keeps its id."""
    monkeypatch.setattr(module, "_MANY", 10)
    ids = Spellings()
    ids.answered(file("kept"))
    for number in range(30):
        ids.answered(file(f"gone{number}"))
    assert listed(ids, "file_kept") == [("kept", "file_kept")]
    assert ids.find("file_gone1") == "file_gone1"
    assert listed(ids, "file_kept") == [("kept", "file_kept")]
