"""The kinds of service that a drive meets, and which tests meet which kind.

Four facts of September 2026 hold of a service or not, and each may hold without the others: equal names are numbered;
a document without text is stored, with the status `error`; a list comes in pages; files are asked for in the second
format, by a header. That makes sixteen kinds. `PAIRWISE` are six of them in which any two facts meet in all four ways:
what takes two facts to go wrong is found in these. The first is the service of yesterday, the last that of today.

A fact brings along what came with it: who stores failures has ids that begin with `file_`, calls what is well `ready`,
and refuses a content by `failed_precondition_error`.

What runs on what:

    test_exactly_one_copy                                 every test on all of `KINDS`, with a share of it on each
    test_crash                                            every test on two of `KINDS`, one of which numbers, with a
                                                          share of its lives on each; the file on all of them
    semantics: test_overwrite, test_rename, test_purpose, every test on two of `KINDS` at least, one of which numbers;
    test_machines, and of test_temporary what overwrites  every file of tests on all of them
    scripts/torture                                       all of that, and its own walks and kills, on all sixteen

**Threading:** frozen values and pure functions.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Container, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

#: DOC: the value of the header `kimi-api-version` that asks for the second format.
BETA: Final = "2026-09-01-beta"
#: Files on a page, so that a handful makes several.
PAGE: Final = 3
#: What a document begins with that no text can be made of.
UNREADABLE: Final = b"%no text in it%"
NO_TEXT: Final = "text extract error: 没有解析出内容"


@dataclass(frozen=True)
class Kind:
    """What holds of a service.

    Attributes:
        numbers: an equal name is stored with a number (fact 1).
        stores_failures: a document without text is stored, with the status `error` (fact 6).
        pages: a list comes in pages of `PAGE` (fact 4).
        beta: it is asked in the second format, and in no other (fact 2); a drive does so with `scope = project`.
    """

    numbers: bool = False
    stores_failures: bool = False
    pages: bool = False
    beta: bool = False

    def __str__(self) -> str:
        words = zip(("numbers", "failures", "pages", "beta"), astuple(self), strict=True)
        return "+".join(word for word, holds in words if holds) or "yesterday"

    @property
    def environ(self) -> dict[str, str]:
        """What a drive on it needs in its environment."""
        return {"MOONFS_SCOPE": "project"} if self.beta else {}

    @property
    def settings(self) -> dict[str, Any]:
        """What `Settings` has for a drive on it."""
        return {"scope": "project"} if self.beta else {}

    @property
    def client(self) -> dict[str, Any]:
        """What `api.Client` is made with for it."""
        return {"project": True} if self.beta else {}

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends that uses no drive."""
        return {"kimi-api-version": BETA} if self.beta else {}

    @property
    def switches(self) -> dict[str, Any]:
        """What makes `moonfs serve` of this kind, besides what the server of `--local` is told (`dialect.flags`)."""
        return {
            "duplicate_names": "number" if self.numbers else "keep",
            "on_extract_error": "store" if self.stores_failures else "refuse",
            "content_refusal": "failed-precondition" if self.stores_failures else "extract-error",
            "id_prefix": "file_" if self.stores_failures else "",
            "status": "ready" if self.stores_failures else "ok",
            "page_size": PAGE if self.pages else 0,
        }


#: The service of yesterday.
YESTERDAY: Final = Kind()
EVERY: Final = tuple(Kind(*facts) for facts in itertools.product((False, True), repeat=4))
#: In the order of `spread`: one that numbers, one that does not, as far as that goes.
PAIRWISE: Final = (
    Kind(numbers=True, stores_failures=True, pages=True),
    YESTERDAY,
    Kind(numbers=True, pages=True, beta=True),
    Kind(stores_failures=True, pages=True, beta=True),
    Kind(numbers=True, stores_failures=True, beta=True),
    Kind(numbers=True, stores_failures=True),
)
#: Those that the tests run on.
KINDS: tuple[Kind, ...] = PAIRWISE


def chosen(text: str) -> tuple[tuple[Kind, ...], int]:
    """Return the kinds that `--kinds` chooses, and by how many places `spread` is to begin later.

    Args:
        text: `pairwise`; `every`, or `every:3` to have the tests meet others of them, in eight rounds all; or a name.

    Raises:
        ValueError: it is nothing of that.
    """
    word, _, turn = text.partition(":")
    named = {"": KINDS, "pairwise": PAIRWISE, "every": EVERY, **{str(kind): (kind,) for kind in EVERY}}
    if word not in named:
        raise ValueError(f"{word!r} is none of {', '.join(filter(None, named))}")
    return named[word], int(turn or 0)


def numbered(name: str, taken: Container[str], suffix: str = "({n})") -> str:
    """Return `name`, or, where that is `taken`, the first with a number before its extension that is not."""
    stem, extension = os.path.splitext(name)
    names = (f"{stem}{suffix.format(n=number)}{extension}" for number in itertools.count(1))
    return name if name not in taken else next(each for each in names if each not in taken)


def unnumbered(name: str) -> str:
    """Return a name without the numbers that `numbered` gives, by the suffix that it has where nobody chooses one."""
    stem, extension = os.path.splitext(name)
    return re.sub(r"(\(\d+\))+$", "", stem) + extension


def in_turn(kinds: Sequence[Kind]) -> list[Kind]:
    """Return `kinds` so that those that number and those that do not take turns, as far as that goes."""
    ways = [[kind for kind in kinds if kind.numbers is numbers] for numbers in (True, False)]
    return [kind for both in itertools.zip_longest(*ways) for kind in both if kind is not None]


def spread(kinds: Sequence[Kind], function: int, case: int, cases: int, least: int) -> list[Kind]:
    """Return the kinds that a case of a test runs on: of one that has few cases, each runs on two or more.

    Args:
        kinds: all that there are, taken in turn.
        function: the number of the test in its file, so that the next one begins with others.
        case: the number of the case of that test, below `cases`.
        least: kinds that the test is to meet in all.
    """
    order = in_turn(kinds)
    often = min(len(order), max(-(-least // cases), 2 if cases < 4 else 1))
    start = 2 * function + case * often
    return [order[(start + number) % len(order)] for number in range(often)]
