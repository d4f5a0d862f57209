"""A seeded walk of three processes over twelve names, compared call by call with a reference and with the service.

What it is: walks (`walk`) on a real mount of a service of some kind that serves well, while uploads take their time.
What it is not: a test of races, kills or faults; one call is under way at a time, so that a seed repeats it, and
`--shrink` leaves of a failure what it needs.

    python -m tests.faults.model --mode write-back --kind numbers+pages --seed 7 --operations 431 --shrink

**Threading:** a walk has one thread; the service has its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.kinds import EVERY, YESTERDAY, Kind
from tests.faults.server import Fault, FaultServer, Seen, Turn
from tests.faults.walk import MODES, Operation, Walk, Wrong, draw
from tests.harness.drive import Drive, hosted


def slow(chance: random.Random) -> Callable[[Seen], Fault | None]:
    """Return a weather in which uploads and deletions take up to a tenth of a second."""

    def take_time(pause: float, turn: Turn) -> None:
        turn.read()
        turn.stall(pause)
        turn.send(turn.serve())

    def weather(seen: Seen) -> Fault | None:
        if seen.operation not in ("upload", "delete") or chance.random() < 0.5:
            return None
        return functools.partial(take_time, chance.choice((0.002, 0.01, 0.1)))

    return weather


@contextlib.contextmanager
def walking(mode: str, seed: str, home: Path, kind: Kind = YESTERDAY) -> Iterator[Walk]:
    """A walk on a drive of its own."""
    with FaultServer(kind=kind) as server, Drive(home, *hosted(server.base_url, server.key, kind)) as drive:
        if mode == "write-back":
            server.weather = slow(random.Random(seed))
        walk = Walk(drive, server, mode)
        try:
            yield walk
        finally:
            walk.end()


def walk_on(
    mode: str,
    seed: str,
    operations: int,
    home: Path,
    *,
    kind: Kind = YESTERDAY,
    log: list[Operation] | None = None,
    ends: Callable[[], bool] = lambda: False,
) -> Counter[str]:
    """Do so many operations, or until it `ends()`; return how often what was done. All of them are put in `log`.

    Raises:
        Wrong: with all that a person needs to repeat it.
    """
    chance = random.Random(f"{mode} {seed}")
    with walking(mode, seed, home, kind) as walk:
        number = 0
        try:
            while number < operations and not ends():
                number += 1
                operation = draw(chance, walk.reference, number)
                if log is not None:
                    log.append(operation)
                walk.do(operation)
            walk.do(Operation(0, "settle", number=number | 1))
        except Wrong as wrong:
            raise Wrong(
                f"{wrong}\nThe last operations of seed {seed} in {mode}:\n  " + "\n  ".join(walk.trace) + "\nRepeat: "
                f"python -m tests.faults.model --mode {mode} --kind {kind} --seed {seed} --operations {number} --shrink"
            ) from wrong
        return walk.done


class Shrinking:
    """What is left of a failure when everything is taken out that it does not need.

    A drive that a walk has passed on is swept and used again; one that has failed is not.

    Attributes:
        failure: what the last walk that failed said.
    """

    def __init__(self, mode: str, home: Path, kind: Kind = YESTERDAY) -> None:
        self.failure = ""
        self._kind = kind
        self._mode = mode
        self._home = home
        self._stack = contextlib.ExitStack()
        self._walk: Walk | None = None
        self._walks = 0

    def shrink(self, operations: Sequence[Operation]) -> list[Operation]:
        """Return what of the operations is needed for a failure, of any kind; nothing when all of them pass."""
        with self._stack:
            kept = [*operations]
            step = len(kept)
            if not self._fails(kept):
                return []
            before = 0
            while step > 1 or before != len(kept):
                step, before = (step + 1) // 2, len(kept)
                for start in range(len(kept) - step, -step, -step):
                    tried = kept[: max(start, 0)] + kept[start + step :]
                    if self._fails(tried):
                        kept = tried
            return kept

    def _fails(self, operations: Sequence[Operation]) -> bool:
        self._walks += 1
        try:
            if self._walk is None:
                home = self._home / str(self._walks)
                self._walk = self._stack.enter_context(walking(self._mode, "shrinking", home, self._kind))
            else:
                self._walk.sweep()
            for operation in [*operations, Operation(0, "settle")]:
                self._walk.do(operation)
        except Wrong as wrong:
            self.failure = str(wrong)
            self._walk = None
            self._stack.close()
            return True
        return False


def main() -> int:
    """Repeat a walk, and on request shrink what fails; 0 when nothing does."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mode", choices=MODES, default="write-through", help="how the drive writes")
    kinds = {str(kind): kind for kind in EVERY}
    parser.add_argument(
        "--kind", choices=kinds, default=str(YESTERDAY), metavar="KIND", help="of the service: kinds.py"
    )
    parser.add_argument("--seed", default="1", help="what the walk is drawn from (default: 1)")
    parser.add_argument("--operations", type=int, default=2000, metavar="N", help="how many (default: 2000)")
    parser.add_argument("--shrink", action="store_true", help="leave out what a failure does not need, and print it")
    chosen = parser.parse_args()
    log: list[Operation] = []
    with tempfile.TemporaryDirectory(prefix="moonfs-model-") as home:
        try:
            walk, kind = Path(home) / "walk", kinds[chosen.kind]
            done = walk_on(chosen.mode, chosen.seed, chosen.operations, walk, kind=kind, log=log)
        except Wrong as wrong:
            print(wrong)
            if chosen.shrink:
                shrinking = Shrinking(chosen.mode, Path(home), kind)
                kept = [*map(str, shrinking.shrink(log))]
                print("\n".join([f"What it needs: {shrinking.failure or 'more than its operations'}", *kept]))
            return 1
    print(f"{sum(done.values())} operations: {dict(done)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
