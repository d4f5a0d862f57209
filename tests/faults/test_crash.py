"""Tenet 1 under SIGKILL: what was acknowledged is there, once, with its bytes; what was deleted stays deleted.

Real daemons on a real mount are killed, about 200 of them, at every step in turn and at random moments, in both modes,
while two writers create, overwrite, append, save, cut, rename and delete through the kernel. Some die with the power:
what they had not synced is gone too. `lives` says what must hold.

**Threading:** a trial runs one life at a time.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import load
from tests.faults.crash import Fate
from tests.faults.kills import longest_life, trial_in_storm
from tests.faults.lives import Mortal, Steps, Trial, local_server
from tests.faults.load import IN_TROUBLE
from tests.harness.account import Account

#: Deaths of one test in one mode: of those at every step it takes so many to see each step; scripts/torture goes on.
EVERY_STEP = 50
KILLS = 24
IN_TROUBLE_KILLS = 12


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A real local server, by its account."""
    with local_server(tmp_path_factory.mktemp("server") / "data") as found:
        yield found


@pytest.fixture
def trial(fuse: None, account: Account, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """Make a drive to be killed, on an empty account."""
    for file in account.files():
        account.delete(file["id"])
    with contextlib.ExitStack() as stack:

        def make(mode: str, seed: str, *, cuts: bool = False, patience: float = 20) -> Trial:
            drive = Mortal(tmp_path / "home", account, write_back=mode == "write-back", cuts=cuts, patience=patience)
            return Trial(stack.enter_context(drive), account, random.Random(f"{mode} {seed}"))

        yield make


both_modes = pytest.mark.parametrize("mode", ["write-through", "write-back"])


@both_modes
def test_killed_at_every_step(mode: str, trial: Callable[..., Trial]) -> None:
    """W2, W3, W4, W8: nothing acknowledged is lost or undone, whatever the daemon was about to do."""
    lives = trial(mode, "every step")
    steps = Steps(lives.chance)
    for _ in range(EVERY_STEP):
        lives.live(steps.next())
        steps.take(lives.drive.passed())
    lives.end()
    missed = [step for step, often in steps.passed.items() if often > EVERY_STEP / 4 and not steps.died[step]]
    assert not missed, f"no daemon died {missed}: {steps.died}"


@both_modes
def test_killed_at_random_moments(mode: str, trial: Callable[..., Trial]) -> None:
    """W2, W3, W4, W8: nothing acknowledged is lost or undone, whenever it is; every fourth dies while it recovers."""
    lives = trial(mode, "random moments")
    longest = 0.2
    for kill in range(KILLS):
        last = lives.chance.randrange(1, 20) if kill % 4 == 3 else 10**9
        lives.live(Fate(last=last), lives.chance.uniform(0, longest))
        if lives.often() < 8 * lives.life:  # on a slow machine a life takes longer
            longest = min(1.1 * longest, 3.0)
    lives.end()


@both_modes
def test_killed_while_the_service_fails(mode: str, trial: Callable[..., Trial]) -> None:
    """W2, W3, W4, W8: three requests in ten fail, half of them carried out: nothing acknowledged is lost or undone.

    What was deleted stays so, and there is no second copy.
    """
    lives = trial(mode, "errors", patience=1)
    lives.trouble(30)
    for kill in range(IN_TROUBLE_KILLS):
        last = lives.chance.randrange(1, 20) if kill % 4 == 3 else 10**9
        lives.live(Fate(last=last), lives.chance.uniform(0, 3))
    lives.drain()
    done = sum((writer.done for writer in lives.writers), Counter())
    assert mode == "write-back" or done[IN_TROUBLE] > lives.life / 8, f"little has failed: {done}"


@both_modes
def test_ended_lazily_at_random_moments(
    mode: str, trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L2, W2, W3, W4: nothing acknowledged is lost or undone, though programs are at work; nothing is sent twice."""
    # What comes in one write: of more a part may have come, which is kept as if its writer had been killed.
    monkeypatch.setattr(load, "SIZES", (20, 20, 20, 4000))
    monkeypatch.setattr(load.Writer, "cut_off", True)
    lives = trial(mode, "lazily")
    for _ in range(KILLS // 2):
        lives.live(Fate(last=10**9), lives.chance.uniform(0, 0.2), lazily=True)
    lives.end()


@both_modes
def test_power_cut(mode: str, trial: Callable[..., Trial]) -> None:
    """W1, W2, W6: what was acknowledged needs nothing that was not synced."""
    lives = trial(mode, "power cut", cuts=True)
    for _ in range(KILLS):
        lives.live(Fate(last=lives.chance.randrange(1, 200)))
        lives.drive.cut_power(lives.chance)
    lives.end()


@both_modes
def test_killed_in_a_storm(mode: str, fuse: None, tmp_path: Path) -> None:
    """W1, W2, W3, W4, W8: the same while three requests in ten fail, writers are killed too, and clocks step."""
    with trial_in_storm(mode, "storm", tmp_path / "home") as lives:
        longest = 0.2
        for _ in range(IN_TROUBLE_KILLS):
            lives.die(longest)
            longest = longest_life(lives, longest)
        lives.drain()
        assert lives.faults() > lives.life, "the weather was fine"
