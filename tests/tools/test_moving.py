"""Moving files about on the drive, with what people move with; writers that wait, and that do not."""

from __future__ import annotations

import pytest

from tests.conftest import Faulty

pytestmark = pytest.mark.fuse

#: Each moves a.txt (`one`), with b.txt (`two`) and c.txt (`three`) on the drive; what is there then; uploads for it.
MOVES = {
    "mv": ('mv "$DIR/a.txt" "$DIR/d.txt"', {"b.txt": "two", "c.txt": "three", "d.txt": "one"}, 1),
    "mv -f": ('mv -f "$DIR/a.txt" "$DIR/b.txt"', {"b.txt": "one", "c.txt": "three"}, 1),
    "mv -f there and back": (
        'mv -f "$DIR/a.txt" "$DIR/b.txt"; mv -f "$DIR/b.txt" "$DIR/a.txt"',
        {"a.txt": "one", "c.txt": "three"},
        2,
    ),
    "mv -n": ('mv -n "$DIR/a.txt" "$DIR/b.txt"', {"a.txt": "one", "b.txt": "two", "c.txt": "three"}, 0),
    "swap": (
        'cd "$DIR"; mv a.txt .x; mv b.txt a.txt; mv .x b.txt',
        {"a.txt": "two", "b.txt": "one", "c.txt": "three"},
        2,
    ),
    "a new version over it": ('echo four > "$DIR/d.txt"; mv -f "$DIR/d.txt" "$DIR/c.txt"', None, 2),
    "gio move": ('gio move "$DIR/a.txt" "$DIR/b.txt"', {"b.txt": "one", "c.txt": "three"}, 1),
}


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "at once"])
@pytest.mark.parametrize("move", MOVES)
def test_between_names(either: Faulty, move: str, settled: bool) -> None:
    """W9: a name moves with its bytes, onto an existing one too; also before what is there has been uploaded (W2)."""
    script, after, uploads = MOVES[move]
    either.drive.run('cd "$DIR"; echo one > a.txt; echo two > b.txt; echo three > c.txt')
    if settled:
        either.arrived()
    either.drive.run(script)
    texts = after or {"a.txt": "one", "b.txt": "two", "c.txt": "four"}
    either.holds({name: f"{text}\n".encode() for name, text in texts.items()}, uploads=3 + uploads)
