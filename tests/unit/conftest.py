"""What several of these suites start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house for drives; whatever a test holds back is let go in the end."""
    house = House(tmp_path)
    yield house
    if house.account.gate is not None:
        house.account.gate.set()
    for drive in house.drives:
        drive.close()
