"""Read-ahead: in order only, in a window that doubles, never what is here, not past a 429 (R3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from moonfs import errors
from moonfs.readahead import Listed, Orders, ReadAhead
from tests.harness.rest import at_rest


class Library:
    """Texts that are fetched when they are asked for; `gate` holds fetches back."""

    def __init__(self, names: Sequence[str]) -> None:
        self.listed = [Listed(name, name.split(".")[1], f"id of {name}") for name in names]
        self.here: set[str] = set()
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate: threading.Semaphore | None = None
        self.limited = False
        self.at_once = 32
        self.orders = Orders(self.listed)
        self.ahead_of = ReadAhead(
            self, lambda: self.orders, most=4, at_once=lambda: self.at_once, limited=lambda: self.limited
        )

    def __contains__(self, file_id: str) -> bool:
        return file_id in self.here

    def ahead(self, file_id: str) -> None:
        self.asked.append(file_id.removeprefix("id of "))
        if self.gate is not None:
            assert self.gate.acquire(timeout=60)
        if self.error is not None:
            raise self.error
        self.here.add(file_id)

    def read(self, *names: str, reader: int = 1) -> list[str]:
        """Open texts one after another; return what was fetched meanwhile, in the order of the listing."""
        self.asked.clear()
        for name in names:
            self.ahead_of.opened(reader, f"id of {name}")
            self.here.add(f"id of {name}")
            if self.gate is None:
                at_rest(self.ahead_of._workers)
        return sorted(self.asked)


NUMBERED = [f"{number:03}.txt.content" for number in range(200)]


@pytest.fixture
def library() -> Iterator[Library]:
    made = Library(NUMBERED)
    yield made
    made.ahead_of.close()


def test_the_window_doubles_up_to_the_requests_at_once(library: Library) -> None:
    """R3: nothing at the first, then 2, 4, 8 … ahead, at most as many as may be under way at once."""
    reached = []
    for step in range(8):
        library.read(NUMBERED[step])
        reached.append(len(library.here) - step - 1)
    assert reached == [0, 2, 4, 8, 16, 32, 32, 32]
    library.at_once = 8
    library.read(NUMBERED[8])
    assert len(library.here) - 9 == 31, "what the smaller window has is here already"


def test_a_reader_of_everything_waits_for_the_first_two_only(library: Library) -> None:
    """R3: each text is asked for once, and by whoever reads it only at the start."""
    everything = library.read(*NUMBERED)
    assert everything == NUMBERED[2:]


def test_the_end_of_the_listing_is_no_step(library: Library) -> None:
    """R3: there is nothing after the last one."""
    assert library.read(*NUMBERED[-2:]) == []


@pytest.mark.parametrize("order", [[0, 2, 1], [5, 3, 9, 7], [7, 6, 5, 4, 3], [0, 0, 0, 0], [100, 50, 150]], ids=str)
def test_reading_in_no_order_fetches_nothing(library: Library, order: list[int]) -> None:
    """R3, tenet 4: nothing else prefetches."""
    assert library.read(*[NUMBERED[number] for number in order]) == []


def test_a_broken_pattern_starts_anew(library: Library) -> None:
    """R3: the window is dropped, and grows again from two."""
    assert len(library.read(*NUMBERED[:5])) == 19
    assert library.read(NUMBERED[150]) == []
    assert library.read(NUMBERED[151]) == NUMBERED[152:154]


def test_what_has_not_begun_is_dropped_when_the_pattern_breaks(library: Library) -> None:
    """R3: a reader that goes elsewhere leaves no queue of texts that nobody wants."""
    library.gate = threading.Semaphore(0)
    library.read(*NUMBERED[:6])
    while len(library.asked) < 4:
        pass
    library.ahead_of.opened(1, f"id of {NUMBERED[150]}")
    library.gate.release(100)
    at_rest(library.ahead_of._workers)
    assert len(library.asked) == 4, "the four that were under way"


def test_what_is_here_is_not_fetched(library: Library) -> None:
    """R3: never what is cached."""
    library.here |= {f"id of {name}" for name in NUMBERED[3:6]}
    assert library.read(*NUMBERED[:3]) == [NUMBERED[2], NUMBERED[6]]


def test_readers_are_followed_each_by_itself(library: Library) -> None:
    """R3: two readers at different places, taking turns, break no pattern."""
    for step in range(5):
        library.read(NUMBERED[step], reader=1)
        library.read(NUMBERED[100 + step], reader=2)
    assert {f"id of {name}" for name in NUMBERED[:20] + NUMBERED[100:120]} <= library.here


def test_a_loop_of_processes_is_one_reader(library: Library) -> None:
    """R3: `for f in *; do cat "$f"; done` is a new process for each text."""
    for step in range(5):
        library.read(NUMBERED[step], reader=1000 + step)
    assert len(library.here) == 4 + 16 + 1


def test_another_reader_elsewhere_does_not_end_a_window(library: Library) -> None:
    """R3: by itself."""
    library.read(*NUMBERED[:3], reader=1)
    library.read(NUMBERED[150], reader=2)
    assert len(library.read(NUMBERED[3], reader=1)) == 5


@pytest.mark.parametrize(
    "names",
    [
        ["a.txt.content", "B.txt.content", "c.txt.content", "D.txt.content"],
        ["a-b.txt.content", "ac.txt.content", "a_d.txt.content", "ae.txt.content"],
        ["\u00e9a.txt.content", "\u00c9b.txt.content", "\u00e9c.txt.content", "\u00c9d.txt.content"],
    ],
    ids=["capitals", "punctuation", "accents"],
)
def test_the_order_of_a_shell_in_a_language_counts_too(names: list[str]) -> None:
    """R3: outside of the C locale `*` is sorted by letters, not by code points."""
    library = Library([*NUMBERED, *names])
    assert library.read(*names[:2]) == sorted(names[2:])
    library.ahead_of.close()


def test_files_of_one_type_are_an_order(library: Library) -> None:
    """R3: `cat *.pdf.content` leaves out what is between."""
    names = [f"{number:03}.{kind}.content" for number in range(20) for kind in ("pdf", "png")]
    mixed = Library(names)
    assert mixed.read("000.pdf.content", "001.pdf.content") == ["002.pdf.content", "003.pdf.content"]
    assert mixed.read("018.pdf.content", "019.pdf.content") == [], "not on into the next type"
    mixed.ahead_of.close()


def test_the_order_of_ids_counts_too(library: Library) -> None:
    """R3, N5: who reads `.moonfs/by-id/*.content` goes by the ids, which no order of the names follows."""
    names = [f"{(number * 37) % 101:03}.txt.content" for number in range(100)]
    library.listed = [Listed(name, "txt", f"id of {number:03}") for number, name in enumerate(names)]
    library.orders = Orders(library.listed)
    assert library.read("010", "011", "012") == ["012", "013", "014", "015", "016"]


def test_a_listing_that_changes_is_followed(library: Library) -> None:
    """R3: a file that comes or goes between two steps does not matter; one that is unknown begins anew."""
    library.read(*NUMBERED[:3])
    library.orders = Orders([text for text in library.listed if text.name not in NUMBERED[40:]])
    assert NUMBERED[39] not in library.read(NUMBERED[3]) and NUMBERED[11] in library.asked
    library.orders = Orders([])
    assert library.read(NUMBERED[4], NUMBERED[5]) == []


@pytest.mark.parametrize("error", [errors.RateLimited("429"), errors.Unreachable("gone"), errors.TimedOut("slow")])
def test_it_stops_at_a_429_and_at_an_outage(library: Library, error: Exception) -> None:
    """R3: what holds for all texts ends the window; it begins anew, with two."""
    library.read(*NUMBERED[:2])
    library.error = error
    assert 1 <= len(library.read(NUMBERED[2])) <= 2
    library.error = None
    assert library.read(NUMBERED[3]) == [] and len(library.read(NUMBERED[4])) == 2


@pytest.mark.parametrize("error", [errors.NotFound("gone"), errors.ExtractionFailed("no"), errors.ProtocolError("?")])
def test_one_bad_text_does_not_stop_it(library: Library, error: Exception) -> None:
    """R3: what says something of one text only."""
    library.read(*NUMBERED[:2])
    library.error = error
    library.read(NUMBERED[2])
    library.error = None
    assert len(library.read(NUMBERED[3])) == 5


def test_nothing_is_read_ahead_while_the_rate_is_limited(library: Library) -> None:
    """R3: what little may be asked for is the readers'."""
    library.limited = True
    assert library.read(*NUMBERED[:6]) == []
    library.limited = False
    assert library.read(NUMBERED[6]) != []


def test_after_the_end_nothing_is_fetched(library: Library) -> None:
    """R3: an unmounted drive asks for nothing."""
    library.ahead_of.close()
    assert library.read(*NUMBERED[:5]) == []


def test_a_window_of_large_texts_is_bounded_in_bytes() -> None:
    """R3: each text is in memory while it comes; one is always allowed."""
    library = Library([])
    library.listed = [Listed(name, "txt", f"id of {name}", 40 << 20) for name in NUMBERED[:20]]
    library.orders = Orders(library.listed)
    library.read(*NUMBERED[:6])
    assert library.here == {f"id of {name}" for name in NUMBERED[:7]}
    library.ahead_of.close()


def test_what_waits_when_a_429_comes_is_not_fetched(library: Library) -> None:
    """R3: nor what was planned before."""
    library.gate = threading.Semaphore(0)
    library.read(*NUMBERED[:5])
    while len(library.asked) < 4:
        pass
    library.limited = True
    library.gate.release(100)
    at_rest(library.ahead_of._workers)
    assert len(library.asked) == 4
