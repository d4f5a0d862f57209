"""Numbers and moments in words: one of them, several, and whose clock it is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from moonfs.cli.progress import _to_go
from moonfs.cli.words import by_advice, plain
from moonfs.wording import count, shown, stamp


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A time zone: none, whole hours before UTC, and half an hour behind it."""
    monkeypatch.setenv("TZ", {"UTC": "UTC0", "Asia/Shanghai": "CST-8", "America/St_Johns": "NST3:30"}[request.param])
    time.tzset()
    yield str(request.param)
    monkeypatch.undo()
    time.tzset()


def test_one_or_several() -> None:
    assert [count(number, "file") for number in (0, 1, 2, 1200)] == ["0 files", "1 file", "2 files", "1,200 files"]
    assert (_to_go(1, 1), _to_go(2, 10)) == ("1 of 1 file to go", "2 of 10 files to go")


def test_a_moment_for_a_file_has_its_offset(zone: str) -> None:
    """E1: a file is read elsewhere and later; RFC 3339 says which clock it was."""
    expected = {"UTC": "00:00:00+00:00", "Asia/Shanghai": "08:00:00+08:00", "America/St_Johns": "20:30:00-03:30"}
    assert stamp(1_767_225_600) == f"{'2025-12-31' if zone == 'America/St_Johns' else '2026-01-01'}T{expected[zone]}"
    assert stamp(1_767_225_600.25, fine=True)[19:23] == ".250"
    assert abs(time.time() - time.mktime(time.strptime(stamp()[:19], "%Y-%m-%dT%H:%M:%S"))) < 60


def test_people_read_their_own_clock(zone: str) -> None:
    """Whatever wrote it, wherever; an earlier version wrote UTC with a Z."""
    local = {
        "UTC": "2026-01-01 00:00:00",
        "Asia/Shanghai": "2026-01-01 08:00:00",
        "America/St_Johns": "2025-12-31 20:30:00",
    }
    for written in ("2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00+0000"):
        assert shown(written) == local[zone]
    assert shown("2026-01-01T00:00:00.250+00:00") == f"{local[zone]}.250"
    assert shown("Traceback") == "Traceback" and shown("2026-01-01") == "2026-01-01" and shown("") == ""


def test_the_same_advice_is_said_once() -> None:
    entries = [("a", "Wait."), ("b", "Look."), ("c", "Wait.")]
    assert by_advice(entries) == [(["a", "c"], "Wait."), (["b"], "Look.")]


def test_signs_of_a_typewriter() -> None:
    assert plain("[NAME]… → mount — or not é") == "[NAME]... -> mount -- or not \\xe9"
