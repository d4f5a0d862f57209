"""The clauses of the contract, each run by the tests that it names: `scripts/promises [BEGINNING …]`.

They are read from the page itself, `tests/semantics/README.md`, so that what people read is what is run.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "tests" / "semantics" / "README.md"


@dataclass(frozen=True)
class Promise:
    """One clause: its number, its title, and the tests that show it, as `path::name` below the root."""

    number: str
    text: str
    tests: tuple[str, ...]


def promises() -> list[Promise]:
    """Return the clauses of the contract, in its order."""
    found = re.findall(r"^### ([A-Z][0-9]+) · ([^\n]*)\n(.*?)(?=^##|\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [Promise(number, title, _tests(body)) for number, title, body in found]


def _tests(body: str) -> tuple[str, ...]:
    shown = body.partition("\nShown by: ")[2]
    links = re.findall(r"\]\(([^)#]+)#([^)]+)\)", shown)
    return tuple(f"{(PAGE.parent / path).resolve().relative_to(ROOT)}::{name}" for path, name in links)


class Outcomes:
    """What came of each test, by `path::name`: a plugin of pytest."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one test; its parameters count together."""
        name = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed.add(name)
        elif report.skipped:
            self.skipped[name] = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else ""
        elif report.when == "call":
            self.passed.add(name)


def main(begins: list[str]) -> int:
    """Run the tests of the promises that begin so, all without any, and print each promise; return the exit status."""
    chosen = [each for each in promises() if not begins or each.number.startswith(tuple(begins))]
    if not chosen:
        print(f"No promise begins with {' or '.join(begins)}; see {PAGE.relative_to(ROOT)}.", file=sys.stderr)
        return 2
    outcomes = Outcomes()
    tests = sorted({str(ROOT / test) for each in chosen for test in each.tests})
    code = pytest.main(
        ["-q", "--no-header", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *tests], plugins=[outcomes]
    )
    print()
    for each in chosen:
        broken = [
            test
            for test in each.tests
            if test in outcomes.failed or test not in outcomes.passed | set(outcomes.skipped)
        ]
        skipped = [test for test in each.tests if test in outcomes.skipped and test not in outcomes.passed]
        state = "BROKEN" if broken else "not run" if skipped else "kept"
        print(f"{state:8} {each.number:4} {each.text}")
        for test in broken:
            print(f"              {test}")
        for test in skipped:
            print(f"              {test}: {outcomes.skipped[test]}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
