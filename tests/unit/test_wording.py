"""Numbers and moments in words: one of them, several, and whose clock it is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs.cli.progress import _to_go
from moonfs.cli.words import by_advice, plain
from moonfs.wording import count, printable, shown, stamp, to_json


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


@pytest.mark.parametrize(
    "text", ["a\x1b]0;b\x07", "\x9b31m", "\x7f", "a\u202eb", "a\r\nb", "\ud800", "\U000e0001", "福 é 😀\t"]
)
def test_nothing_that_is_printed_is_a_command(text: str) -> None:
    """What a terminal would obey is shown by its number, and what is read back from JSON is what it was."""
    assert printable(text).replace("\t", "").isprintable()
    shown = to_json({"name": text}, indent=1)
    assert shown.replace("\n", "").isprintable() and json.loads(shown) == {"name": text}
    assert json.loads(to_json(text, plain=True)) == text and to_json(text, plain=True).isascii()
    assert "福" not in text or "福 é 😀" in shown


def test_commands_print_sentences_in_one_way() -> None:
    """By `words.say`: `click.echo` is for whole pages and for what programs read."""
    page = re.compile(r"nl=False|to_json\(|echo\(path\)|_example\(\)|format_message\(\)|printable\(")
    found = []
    for path in sorted(Path(__file__).parents[2].joinpath("moonfs", "cli").glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{path.name}: {line.strip()}" for line in lines if "click.echo(" in line and not page.search(line)]
    assert found == []
