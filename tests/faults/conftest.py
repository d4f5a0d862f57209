"""The service and the drives that most tests of uploads in doubt begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs import disowned
from tests.faults.kinds import Kind
from tests.faults.test_exactly_one_copy import Bench, made_bench


@pytest.fixture
def bench(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(disowned, "LOOKS", (0.1, 0.4, 0.8), raising=False)
    monkeypatch.setattr(disowned, "AGAIN", 0.05, raising=False)
    with made_bench(tmp_path, kind) as bench:
        yield bench
