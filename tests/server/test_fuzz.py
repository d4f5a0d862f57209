"""Damaged documents of every format, the same ones each time; `fuzz` makes others for as long as one likes."""

from __future__ import annotations

import pytest

from tests.server import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_documents_are_read_or_refused(server, seed, tmp_path):
    quick = [extension for extension in fuzz.FORMATS if extension not in fuzz.PICTURES]
    findings = fuzz.run(server, seed, count=240, formats=quick, keep=tmp_path)
    assert findings.wrong == [], findings
    assert sum(findings.answers.values()) == 240
    assert {status for _, status in findings.answers} == {200, 400}


def test_damaged_pictures_are_read_or_refused(server, tmp_path):
    findings = fuzz.run(server, 3, count=24, formats=sorted(fuzz.PICTURES & set(fuzz.FORMATS)), keep=tmp_path)
    assert findings.wrong == [], findings
    assert sum(findings.answers.values()) == 24


def test_the_damage_is_the_same_for_the_same_seed():
    one, other = (fuzz.damaged(7, [".epub", ".svg", ".json"]) for _ in range(2))
    for _ in range(60):
        assert next(one) == next(other)
