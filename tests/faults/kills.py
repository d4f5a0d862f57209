"""Kills in a storm: `kill -9` of daemons and writers while three requests in ten fail, for many lives of one drive.

What it is: `lives` on a service that fails (`storms`), with clocks that step now and then. Every few lives the weather
is calm, and the account must be what was promised, with one copy of each. What it is not: a power cut, or the steps of
a daemon in turn, which are in `test_crash`.

**Threading:** as `lives`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from tests.faults.crash import Fate
from tests.faults.kinds import YESTERDAY, Kind
from tests.faults.lives import LIVES, Mortal, Trial
from tests.faults.load import is_dead
from tests.faults.server import OPERATIONS, FaultServer
from tests.faults.storms import Storm, StormyWriter, shown_in_storm
from tests.harness.account import Account

#: Seconds by which the clock of a daemon may be wrong, in turn.
CLOCKS = ((0, -60), (0, 60), (0, -3600), (0, 3600), (0, -86_400), (0, 86_400))


class StormTrial(Trial):
    """A drive and its writers through many lives in a storm."""

    writers: list[StormyWriter]

    def __init__(self, drive: Mortal, account: Account, chance: random.Random, storm: Storm) -> None:
        super().__init__(drive, account, chance, StormyWriter)
        self._storm = storm

    def die(self, longest: float) -> None:
        """Live for up to so many seconds; every fourth life ends while it recovers."""
        self._storm.calm = {"list"}  # until it is mounted
        last = self.chance.randrange(1, 20) if self.chance.random() < 0.25 else 10**9
        clock = self.chance.choice(CLOCKS) if self.chance.random() < 0.2 else ()
        self.live(Fate(last=last), self.chance.uniform(0, longest), clock=clock)

    def look(self) -> bool:
        try:
            shown = self.drive.outcome(self.drive.apart(shown_in_storm, self.drive.point))
        except OSError as failure:
            if is_dead(failure, self.drive.point):
                return False
            raise AssertionError(self.tell(repr(failure))) from failure
        except AssertionError as failure:
            raise AssertionError(self.tell(str(failure))) from failure
        for writer in self.writers:
            wrong = writer.check(shown, set())
            assert not wrong, self.tell(wrong)
        if self._storm.calm == {"list"}:
            self._storm.calm = set()
        return True

    def drain(self) -> None:
        self._storm.calm = {*OPERATIONS}
        super().drain()

    def faults(self) -> int:
        """Return how many requests have failed."""
        return sum(self._storm.faults.values())


@contextlib.contextmanager
def trial_in_storm(mode: str, seed: str, home: Path, kind: Kind = YESTERDAY) -> Iterator[StormTrial]:
    """A new drive on a new service of some kind with bad weather."""
    chance = random.Random(f"{mode} {seed}")
    with FaultServer(kind=kind) as server, contextlib.ExitStack() as stack:
        storm = server.weather = Storm(random.Random(chance.random()))
        account = stack.enter_context(Account(server.base_url, server.key, kind=kind))
        drive = Mortal(home, account, write_back=mode == "write-back", storm=server)
        trial = StormTrial(stack.enter_context(drive), account, chance, storm)
        for writer in trial.writers:
            stack.callback(writer.close)
        yield trial


def longest_life(trial: Trial, longest: float) -> float:
    """Return how long the next life may last, so that enough is done in each on a slow machine, too."""
    return min(1.1 * longest, 3.0) if trial.often() < LIVES * trial.life else longest
