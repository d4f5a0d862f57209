"""`scripts/torture` itself: what it says, counts and leaves out. Its parts have tests of their own, or run here once.

**Threading:** the parts'.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import machines, matrix, storms, torture
from tests.faults.kinds import Kind
from tests.faults.torture import PARTS, Report, Task
from tests.harness.drive import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.torture", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_help_names_every_part() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: scripts/torture [--minutes N] [--only PART] [--kind KIND] [--seed S]")
    assert [name for name in PARTS if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "soon"], ["--only", "everything"], ["fast"]])
def test_a_misuse(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_what_is_not_there_is_skipped_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tests.server.fuzz", None)
    assert torture.run(Task("fuzz", "", "1", 1.0)).line() == "skipped: tests/server/fuzz.py is not there"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", "skipped: pip-audit gives no answer, but says 'No module'"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}',
         "skipped: pip-audit reaches the advisories of none of 1 packages"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}',
         "1 packages; 0 lost, 0 doubled, 0 misnamed, 0 resurrected"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1"}]}]}',
         "1 packages; 0 lost, 0 doubled, 0 misnamed, 0 resurrected, 1 other"),
    ],
)  # fmt: skip
def test_advisories(said: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 1, said, "No module")
    monkeypatch.setattr(torture.subprocess, "run", lambda *_args, **_options: answer)
    assert torture.run_audit(Task("audit", "", "1", 1.0), Path()).line() == line


def test_the_line_of_a_part() -> None:
    report = Report(
        Counter(kills=1503),
        ["lost: a and b\nRepeat: …", "life 7: doubled: c", "life 8 on numbers: misnamed: d", "the drive hangs"],
    )
    assert report.line() == "1,503 kills; 1 lost, 1 doubled, 1 misnamed, 0 resurrected, 1 other"


def test_a_part_that_breaks_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "model", torture.Part(lambda *_: 1 // 0, 1))  # type: ignore[arg-type, return-value]
    report = torture.run(Task("model", "", "1", 1.0))
    assert len(report.found) == 1 and "ZeroDivisionError" in report.found[0]


@pytest.mark.parametrize("kill", [False, True], ids=["refused", "killed"])
def test_a_failed_removal_after_a_failed_rename(kill: bool) -> None:
    """The instrument itself: a rename that failed leaves its bytes under either name, until one is removed (W8, W9)."""
    promises = storms.Doubts()
    promises.begin({"a": b"1"})
    promises.end()
    promises.begin({"a": None, "b": b"1"})
    promises.doubt()
    assert "lost" in promises.check({}) and not promises.check({"b": b"1"}) and not promises.check({"a": b"1"})
    promises.begin({"a": None})
    if kill:
        assert promises.check({}) == ""
        promises.settle({"a": b"1"}, set())
    else:
        promises.doubt()
    assert promises.check({}) == ""


def test_some_cells_of_the_matrix(kinds: tuple[Kind, ...]) -> None:
    """W3, W8, R2: no holes where an answer is lost or comes from somebody else; and forty faults there are."""
    filled = matrix.fill_all(faults=("closed when done", "404 page"), kinds=kinds)
    assert len(filled) == 6 * 2 * 2 * 2 and matrix.holes(filled) == {}, matrix.table(filled)
    assert len(matrix.FAULTS) == 40


def test_a_hole_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument itself: a second copy, and text that is not the file's."""
    monkeypatch.setitem(matrix.FAULTS, "twice", lambda: lambda turn: (turn.serve(), turn.send(turn.serve())))
    assert set(matrix.fill_all(("upload",), ("twice",)).values()) == {"D"}
    wrong = matrix.Reply(200, b'{"content": "somebody else\'s"}')
    monkeypatch.setitem(matrix.FAULTS, "wrong", lambda: matrix.answered(wrong))
    assert matrix.fill("content", "wrong", "once", "write-through") == "W"


def test_two_machines_for_a_moment(fuse: None, tmp_path: Path) -> None:
    """Tenet 1: what nobody can have seen before he wrote over it is there."""
    outcome = machines.overwrite("write-back", "1", 2.0, tmp_path)
    assert outcome.versions > 10
    assert outcome.lost == [] and outcome.unlike == []
