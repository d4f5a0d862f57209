"""The kinds of service themselves: that few of them are enough, and that every test meets some of them."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import pytest

from tests.faults.kinds import EVERY, KINDS, PAIRWISE, YESTERDAY, Kind, chosen, in_turn, numbered, spread, unnumbered


def pairs(kinds: tuple[Kind, ...]) -> set[tuple[int, bool, int, bool]]:
    """Return which two facts meet in which way."""
    return {
        (one, facts[one], other, facts[other])
        for facts in map(astuple, kinds)
        for one, other in itertools.combinations(range(4), 2)
    }


def test_any_two_facts_meet_in_all_four_ways() -> None:
    assert len(PAIRWISE) <= 6
    assert pairs(PAIRWISE) == pairs(EVERY)
    assert len(pairs(EVERY)) == 6 * 4


def test_every_kind_is_one_of_sixteen_with_a_name_of_its_own() -> None:
    assert len({*EVERY}) == len({*map(str, EVERY)}) == 16
    assert {*KINDS} <= {*PAIRWISE} <= {*EVERY}
    assert [str(YESTERDAY), str(Kind(True, True, True, True))] == ["yesterday", "numbers+failures+pages+beta"]


@pytest.mark.parametrize("kinds", [PAIRWISE, EVERY], ids=["pairwise", "every"])
@pytest.mark.parametrize("cases", [1, 2, 3, 5, 24])
@pytest.mark.parametrize("least", [2, 6])
def test_a_test_meets_enough_kinds(kinds: tuple[Kind, ...], cases: int, least: int) -> None:
    """One that numbers among them, and one more; where its cases are few, in each of them."""
    for function in range(8):
        met = [spread(kinds, function, case, cases, least) for case in range(cases)]
        assert len({kind for case in met for kind in case}) >= min(least, len(kinds))
        assert any(kind.numbers for case in met for kind in case)
        if cases < 4:
            assert all(len({*case}) == len(case) >= 2 and any(kind.numbers for kind in case) for case in met)


@pytest.mark.parametrize("kinds", [PAIRWISE, EVERY], ids=["pairwise", "every"])
def test_a_file_of_tests_meets_every_kind(kinds: tuple[Kind, ...]) -> None:
    assert {kind for number in range(8) for kind in spread(kinds, number, 0, 1, 2)} == {*kinds}


def test_one_kind_is_all_there_is() -> None:
    assert spread((YESTERDAY,), 3, 1, 2, 6) == [YESTERDAY]


def test_kinds_take_turns() -> None:
    assert [kind.numbers for kind in in_turn(EVERY)] == [True, False] * 8


def test_a_number_is_the_first_that_is_free() -> None:
    assert numbered("r.txt", {"r(1).txt"}) == "r.txt"
    assert numbered("r.txt", {"r.txt", "r(2).txt"}) == "r(1).txt"
    assert numbered("a.tar.log", {"a.tar.log"}, "-{n}") == "a.tar-1.log"
    assert numbered(".env", {".env"}, "_{n}") == ".env_1"
    assert [unnumbered(name) for name in ("r.txt", "r(1).txt", "r(1)(2).txt", ".env(3)")] == ["r.txt"] * 3 + [".env"]


def test_kinds_are_chosen_by_a_word() -> None:
    assert (chosen(""), chosen("pairwise"), chosen("every:3")) == ((KINDS, 0), (PAIRWISE, 0), (EVERY, 3))
    assert chosen("numbers+pages") == ((Kind(numbers=True, pages=True),), 0)
    for wrong in ("everything", "every:soon"):
        with pytest.raises(ValueError, match=r"is none of|invalid literal"):
            chosen(wrong)
