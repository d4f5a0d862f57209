"""Tenet 1 under SIGKILL: what was acknowledged is there, once, with its bytes; what was deleted stays deleted.

Real daemons on a real mount are killed, about 200 of them, at every step in turn and at random moments, in both modes,
while two writers create, overwrite, append, save, cut, rename and delete through the kernel. Some die with the power:
what they had not synced is gone too. Each test has its lives on two kinds of service, one of which numbers names, a
share on each; all of the tests together meet all kinds (`kinds`). `lives` says what must hold.

**Threading:** a trial runs one life at a time.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import load
from tests.faults.crash import Fate
from tests.faults.kills import StormTrial, longest_life, trial_in_storm
from tests.faults.kinds import Kind, chosen, spread
from tests.faults.lives import Mortal, Steps, Trial, check_worth, local_server
from tests.harness.account import Account

MODES = ("write-through", "write-back")
#: Deaths of one test in one mode: of those at every step it takes so many to see each step; scripts/torture goes on.
EVERY_STEP = 66
KILLS = 24
IN_TROUBLE_KILLS = 12


class Lives:
    """The lives of a test: of each kind of service in turn a drive, with its share of them.

    Attributes:
        trials: the drives that have lived.
    """

    def __init__(self, kinds: Sequence[Kind], trial: Callable[..., contextlib.AbstractContextManager[Trial]]) -> None:
        self.trials: list[Trial] = []
        self._kinds = kinds
        self._trial = trial
        self._stack = contextlib.ExitStack()

    def __call__(self, often: int, *arguments: Any, **options: Any) -> Iterator[tuple[int, Trial]]:
        """Give the number of the next life and whose it is, so many times at least; each drive is drained in the end.

        The rest is what a drive is made with.
        """
        number = 0
        for kind in self._kinds:
            trial = self._stack.enter_context(self._trial(kind, *arguments, **options))
            self.trials.append(trial)
            for _ in range(-(-often // len(self._kinds))):
                yield number, trial
                number += 1
            trial.drain()
            self.close()

    def close(self) -> None:
        """End the drive that lives."""
        self._stack.close()

    def done(self) -> Counter[str]:
        """Return how often all writers have done what."""
        return sum((writer.done for trial in self.trials for writer in trial.writers), Counter())


@pytest.fixture(scope="module")
def account_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kind], Account]]:
    """Start real local servers, one of a kind, by their accounts."""
    with contextlib.ExitStack() as stack:
        found: dict[Kind, Account] = {}

        def of(kind: Kind) -> Account:
            if kind not in found:
                found[kind] = stack.enter_context(local_server(tmp_path_factory.mktemp("server") / "data", kind))
            return found[kind]

        yield of


@pytest.fixture
def met(request: pytest.FixtureRequest) -> list[Kind]:
    """The kinds of service that a test lives on, by its place in this file and its mode: as with the mark `kinds`."""
    kinds, turn = chosen(request.config.getoption("--kinds"))
    tests = [name for name in vars(request.module) if name.startswith("test_")]
    function = tests.index(request.node.originalname) + turn
    return spread(kinds, function, MODES.index(request.node.callspec.params["mode"]), len(MODES), 2)


@pytest.fixture
def lives(fuse: None, met: list[Kind], account_of: Callable[[Kind], Account], tmp_path: Path) -> Iterator[Lives]:
    """Make drives to be killed, on empty accounts: `lives(50, mode, seed)`."""

    @contextlib.contextmanager
    def trial(kind: Kind, mode: str, seed: str, *, cuts: bool = False, patience: float = 20) -> Iterator[Trial]:
        account = account_of(kind)
        for file in account.files():
            account.delete(file["id"])
        write_back = mode == "write-back"
        with Mortal(tmp_path / str(kind), account, write_back=write_back, cuts=cuts, patience=patience) as drive:
            yield Trial(drive, account, random.Random(f"{mode} {seed} {kind}"))

    with contextlib.closing(Lives(met, trial)) as made:
        yield made


both_modes = pytest.mark.parametrize("mode", MODES)


@both_modes
def test_killed_at_every_step(mode: str, lives: Lives) -> None:
    """W2, W3, W4, W8: nothing acknowledged is lost or undone, whatever the daemon was about to do."""
    steps = Steps(random.Random(mode))
    for _, trial in lives(EVERY_STEP, mode, "every step"):
        trial.live(steps.next())
        steps.take(trial.drive.passed())
    check_worth(lives.trials)
    missed = [step for step, often in steps.passed.items() if often > EVERY_STEP / 4 and not steps.died[step]]
    assert not missed, f"no daemon died {missed}: {steps.died}"


@both_modes
def test_killed_at_random_moments(mode: str, lives: Lives) -> None:
    """W2, W3, W4, W8: nothing acknowledged is lost or undone, whenever it is; every fourth dies while it recovers."""
    longest = 0.2
    for kill, trial in lives(KILLS, mode, "random moments"):
        last = trial.chance.randrange(1, 20) if kill % 4 == 3 else 10**9
        trial.live(Fate(last=last), trial.chance.uniform(0, longest))
        if trial.often() < 8 * trial.life:  # on a slow machine a life takes longer
            longest = min(1.1 * longest, 3.0)
    check_worth(lives.trials)


@both_modes
def test_killed_while_the_service_fails(mode: str, lives: Lives) -> None:
    """W2, W3, W4, W8: three requests in ten fail, half of them carried out: nothing acknowledged is lost or undone.

    What was deleted stays so, and there is no second copy.
    """
    for kill, trial in lives(IN_TROUBLE_KILLS, mode, "errors", patience=1):
        trial.trouble(30)
        last = trial.chance.randrange(1, 20) if kill % 4 == 3 else 10**9
        trial.live(Fate(last=last), trial.chance.uniform(0, 3))
    # How often that kept a writer from something is chance, and less on a slow machine: nothing is asked of it.
    assert lives.done()


@both_modes
def test_ended_lazily_at_random_moments(mode: str, lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    """L2, W2, W3, W4: nothing acknowledged is lost or undone, though programs are at work; nothing is sent twice."""
    # What comes in one write: of more a part may have come, which is kept as if its writer had been killed.
    monkeypatch.setattr(load, "SIZES", (20, 20, 20, 4000))
    monkeypatch.setattr(load.Writer, "cut_off", True)
    for _, trial in lives(KILLS // 2, mode, "lazily"):
        trial.live(Fate(last=10**9), trial.chance.uniform(0, 0.2), lazily=True)
    check_worth(lives.trials)


@both_modes
def test_power_cut(mode: str, lives: Lives) -> None:
    """W1, W2, W6: what was acknowledged needs nothing that was not synced."""
    for _, trial in lives(KILLS, mode, "power cut", cuts=True):
        trial.live(Fate(last=trial.chance.randrange(1, 200)))
        trial.drive.cut_power(trial.chance)
    check_worth(lives.trials)


@both_modes
def test_killed_in_a_storm(mode: str, fuse: None, met: list[Kind], tmp_path: Path) -> None:
    """W1, W2, W3, W4, W8: the same while three requests in ten fail, writers are killed too, and clocks step."""
    longest = 0.2
    with contextlib.closing(
        Lives(met, lambda kind: trial_in_storm(mode, f"storm {kind}", tmp_path / str(kind), kind))
    ) as lives:
        for _, trial in lives(IN_TROUBLE_KILLS):
            assert isinstance(trial, StormTrial)
            trial.die(longest)
            longest = longest_life(trial, longest)
        faults = sum(trial.faults() for trial in lives.trials if isinstance(trial, StormTrial))
        assert faults > IN_TROUBLE_KILLS, "the weather was fine"
