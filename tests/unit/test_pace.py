"""How much the service takes: the window, the budget of a minute, the pauses. Time is a number here."""

from __future__ import annotations

from moonfs.pace import FIRST_PAUSE, LONGEST_PAUSE, LOWEST_TIER, MEMORY, Pace, Run, Urgency


class Account:
    """A pace and the service it paces: `rate` requests in any minute, `at_once` at once."""

    def __init__(self, most: int = 32, first: int = 8) -> None:
        self.pace = Pace(most, first, 60.0)
        self.now = 1000.0

    def runs(self, count: int) -> list[Run]:
        return [self.pace.start() for _ in range(count)]

    def answer(self, *runs: Run, others_wait: bool = False) -> None:
        for run in runs:
            self.pace.answered(run, self.now, others_wait=others_wait)

    def refuse(self, *runs: Run, retry_after: float = 0.0) -> None:
        for run in runs:
            self.pace.refused(run, self.now, retry_after)

    def wait(self, urgency: Urgency = Urgency.READER, ahead: int = 0) -> float:
        return self.pace.wait(urgency, ahead, self.now)

    def learn(self, rate: int) -> None:
        """Have `rate` requests answered within a second, and two refused that are alone."""
        for _ in range(rate):
            self.answer(*self.runs(1))
        for _ in range(2):
            self.refuse(*self.runs(1))
            self.now += self.wait()
        assert self.pace.per_minute == rate


def test_the_window_grows_with_each_round_that_fills_it() -> None:
    """Errors: from 8 at once to 32 in one round, and no further."""
    account = Account()
    for expected in (8, 32, 32):
        assert account.pace.limit == expected
        account.answer(*account.runs(account.pace.limit), others_wait=True)


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """Two requests at a time say nothing about eight."""
    account = Account()
    for _ in range(50):
        account.answer(*account.runs(2))
    assert account.pace.limit == 8


def test_a_refusal_halves_once_for_all_that_were_under_way() -> None:
    """Eight refused together are one word of the service; the next one is another; never below one."""
    account = Account()
    account.refuse(*account.runs(8))
    assert account.pace.limit == 4 and account.pace.refusals == 8
    late, other = account.runs(2)
    account.refuse(late)
    assert account.pace.limit == 2
    account.refuse(other)
    assert account.pace.limit == 2
    for _ in range(5):
        account.refuse(*account.runs(2))
    assert account.pace.limit == 1


def test_after_a_refusal_it_grows_by_one_a_round() -> None:
    """AIMD: what was too much is not tried again at once."""
    account = Account()
    account.refuse(*account.runs(8))
    for expected in (4, 5, 6, 7):
        assert account.pace.limit == expected
        account.answer(*account.runs(account.pace.limit), others_wait=True)


def test_a_reader_exceeds_the_window_by_a_quarter() -> None:
    """E2, R3: it never waits behind uploads or read-ahead; with one at once there is no quarter."""
    account = Account()
    account.runs(8)
    assert not account.pace.has_room(Urgency.WRITER) and not account.pace.has_room(Urgency.AHEAD)
    account.runs(1)
    assert account.pace.has_room(Urgency.READER)
    account.runs(1)
    assert not account.pace.has_room(Urgency.READER)
    narrow = Account(most=1)
    assert narrow.pace.has_room(Urgency.AHEAD)
    narrow.runs(1)
    assert not narrow.pace.has_room(Urgency.READER)


def test_pauses_double_until_something_is_answered() -> None:
    """`retry-after: 1` is too short for the lowest tier; what the service asks for is the least."""
    account = Account()
    for expected in (1, 2, 4, 8, 16, 30, 30):
        account.refuse(*account.runs(1), retry_after=1.0)
        assert account.wait() == expected
        account.now += expected
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (1, 30)
    account.answer(*account.runs(1))
    account.refuse(*account.runs(1), retry_after=7.0)
    assert account.wait() == 7


def test_an_answer_to_an_older_request_ends_no_doubling() -> None:
    """Two of eight at once were answered: that says nothing about later ones."""
    account = Account()
    runs = account.runs(8)
    account.refuse(*runs[2:])
    account.answer(*runs[:2])
    account.now += account.wait()
    account.refuse(*account.runs(1))
    assert account.wait() == 2


def test_an_absurd_pause_is_bounded() -> None:
    """A day is no answer that a drive could act on."""
    account = Account()
    account.refuse(*account.runs(1), retry_after=86_400.0)
    assert account.wait() == MEMORY


def test_one_refusal_is_no_rate() -> None:
    """An overloaded engine says 429 too; only a second one after the pause speaks of a minute."""
    account = Account()
    for _ in range(20):
        account.answer(*account.runs(1))
    account.refuse(*account.runs(1))
    assert account.pace.per_minute is None
    account.now += account.wait()
    account.refuse(*account.runs(1))
    assert account.pace.per_minute == 20


def test_refusals_of_many_at_once_are_no_rate() -> None:
    """Then it is the window that was too wide."""
    account = Account()
    for _ in range(20):
        account.answer(*account.runs(1))
    for _ in range(3):
        account.refuse(*account.runs(2))
        account.now += account.wait()
    assert account.pace.per_minute is None and account.pace.limit == 1


def test_less_than_the_lowest_tier_is_somebody_elses_rate() -> None:
    """Three a minute is the least the service sells: whoever is refused after two shares the account."""
    account = Account()
    account.answer(*account.runs(2))
    for _ in range(4):
        account.refuse(*account.runs(1))
        account.now += account.wait()
    assert account.pace.per_minute is None and LOWEST_TIER == 3


def test_three_a_minute() -> None:
    """Learned, it is used up at once and exactly: never more than three in any sixty seconds."""
    account = Account()
    account.learn(3)
    started: list[float] = [1000.0] * 3
    for _ in range(9):
        account.now += account.wait()
        started.append(account.now)
        run = account.pace.start()
        account.now += 0.5
        account.answer(run)
    assert all(later - earlier >= 60 for earlier, later in zip(started, started[3:], strict=False))
    assert account.now < 1000 + 3 * 60 + 10


def test_what_is_under_way_counts() -> None:
    """Three that have not been answered yet are three."""
    account = Account()
    account.learn(3)
    account.now += 100
    account.runs(3)
    assert account.wait() == 60


def test_who_is_ahead_counts() -> None:
    """The seventh in the queue of three a minute has two minutes to go."""
    account = Account()
    account.learn(3)
    account.now = 1060.0
    assert [account.wait(ahead=ahead) for ahead in (0, 2, 3, 5, 6)] == [0, 0, 60, 60, 120]


def test_writers_and_read_ahead_leave_something_to_readers() -> None:
    """E2, R3: with three a minute a reader has one of them; of twenty, uploads leave five, and read-ahead ten."""
    for rate, for_writers, for_ahead in ((3, 2, 2), (20, 15, 10), (1_000, 750, 500)):
        account = Account(most=64)
        account.learn(rate)
        account.now += 100
        taken = {}
        for urgency in (Urgency.AHEAD, Urgency.WRITER, Urgency.READER):
            while account.wait(urgency) == 0:
                account.answer(*account.runs(1))
            taken[urgency] = len(account.pace._answers)
        assert taken == {Urgency.AHEAD: for_ahead, Urgency.WRITER: for_writers, Urgency.READER: rate}


def test_what_was_learned_only_shrinks_until_it_is_forgotten() -> None:
    """A busy minute of a slow account must not raise it; five minutes without a 429 wipe the slate."""
    account = Account()
    account.learn(10)
    account.now += 61
    for _ in range(4):
        account.answer(*account.runs(1))
    for _ in range(2):
        account.refuse(*account.runs(1))
        account.now += account.pace.pause(account.now)
    assert account.pace.per_minute == 4
    account.now += 61
    for _ in range(9):
        account.answer(*account.runs(1))
    for _ in range(2):
        account.refuse(*account.runs(1))
        account.now += account.pace.pause(account.now)
    assert account.pace.per_minute == 4
    account.now += MEMORY + 1
    assert account.wait() == 0
    assert account.pace.per_minute is None
    limit = account.pace.limit
    account.answer(*account.runs(limit), others_wait=True)
    assert account.pace.limit == 4 * limit, "and the window grows as at first"


def test_what_ends_without_a_word_says_nothing() -> None:
    """A broken connection is neither an answer nor a refusal."""
    account = Account()
    for run in account.runs(8):
        account.pace.ended(run)
    assert account.pace.under_way == 0 and account.pace.limit == 8 and not account.pace._answers
