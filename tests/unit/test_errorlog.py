"""The record of failures: one JSON object a line, in both languages, bounded, and never a failure itself."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from moonfs import errorlog
from moonfs.errorlog import KEPT, ErrorLog
from moonfs.errors import BytesNotHere, MoonfsError, NotSupported, OnItsWay, Rejected, UnsupportedType, next_step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "errors.ndjson"


def refused(message: str = "the service does not take files of this type (HTTP 400: …)") -> MoonfsError:
    return UnsupportedType(
        message, status=400, request_id="r-1", service_message="text extract error: 不支持的文件类型"
    )


def test_a_line_says_what_happened(path: Path) -> None:
    """E1: time, operation, name, errno, HTTP status, request id, the service's words, plain English, what to do."""
    log = ErrorLog(path)
    log.record("flush", "福州.xyz", "ENOTSUP", refused())
    (line,) = path.read_text().splitlines()
    shown = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", shown.pop("time"))
    assert shown == {
        "operation": "flush",
        "name": "福州.xyz",
        "errno": "ENOTSUP",
        "http_status": 400,
        "request_id": "r-1",
        "service_message": "text extract error: 不支持的文件类型",
        "message": "the service does not take files of this type (HTTP 400: …)",
        "next": next_step(refused()),
    }
    assert log.text() == path.read_bytes() and log.last(5)[0]["name"] == "福州.xyz"


def test_the_record_is_private(path: Path) -> None:
    """X2: it holds names of people's files."""
    old = os.umask(0)
    try:
        ErrorLog(path).record("open", "a", "EIO", refused())
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_goes_on_after_a_remount(path: Path) -> None:
    """E1: `moonfs status` shows the last, also those of the run before."""
    ErrorLog(path).record("open", "first", "EIO", refused())
    log = ErrorLog(path)
    log.record("open", "second", "EIO", refused())
    assert [line["name"] for line in log.last(9)] == ["first", "second"]
    assert [line["name"] for line in log.last(1)] == ["second"]


@pytest.mark.parametrize(
    "name", ["a\nb", "lone\udce9", "\ud800", 'quote"', "\0", "x" * 5000, "\u2028", "\x85"], ids=ascii
)
def test_any_name_is_one_line(path: Path, name: str) -> None:
    """E1: names are untrusted; a line stays one line of valid UTF-8."""
    log = ErrorLog(path)
    log.record("open", name, "EIO", refused())
    assert path.read_bytes().count(b"\n") == 1 and log.text().decode()
    assert len(log.last(1)) == 1


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\u2029b"], ids=ascii)
def test_any_name_is_one_line_after_a_remount(path: Path, name: str) -> None:
    """E1: the record of such a name is still there in the next run."""
    ErrorLog(path).record("open", name, "EIO", refused())
    assert [line["name"] for line in ErrorLog(path).last(9)] == [name]


def test_a_line_that_a_crash_cut_off_costs_only_itself(path: Path) -> None:
    """E1: what is recorded after it can be read."""
    path.write_text('{"operation": "op')
    ErrorLog(path).record("open", "later", "EIO", refused())
    assert [line["name"] for line in ErrorLog(path).last(9)] == ["later"]


def test_a_line_that_a_full_disk_cut_off_costs_only_itself(path: Path) -> None:
    """E1: also while the drive runs; in the middle of a character too."""
    log = ErrorLog(path)
    for name in ("first", "福州"):
        log.record("open", name, "EIO", refused())
    data = path.read_bytes()
    path.write_bytes(data[: data.index("州".encode()) + 1])
    log.record("open", "later", "EIO", refused())
    assert path.read_bytes().count(b"\n") == 3 and path.read_bytes().endswith(b"\n")
    assert [line["name"] for line in ErrorLog(path).last(9)] == ["first", "later"]
    assert [line["name"] for line in log.last(9)] == ["first", "福州", "later"]


def test_memory_and_disk_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: an outage of a week fills neither."""
    monkeypatch.setattr(errorlog, "_MAX_BYTES", 10_000)
    log = ErrorLog(path)
    for number in range(KEPT + 50):
        log.record("open", f"{number}", "EIO", refused())
    assert len(log.last(10**6)) == KEPT and log.last(1)[0]["name"] == str(KEPT + 49)
    assert sum(part.stat().st_size for part in path.parent.iterdir()) < 25_000


def test_what_the_drive_refuses_by_itself_is_recorded_once(path: Path) -> None:
    """E1: who was refused once finds out why; a program that tries again, and again, fills nothing."""
    log = ErrorLog(path)
    assert log.record("open", "a.pdf", "EACCES", BytesNotHere("not here"))
    for _ in range(3):
        assert not log.record("open", "a.pdf", "EACCES", BytesNotHere("not here"))
    assert log.record("open", "b.pdf", "EACCES", BytesNotHere("not here")), "another file is news"
    assert log.record("rename", "a.pdf", "ENOTSUP", NotSupported("no rename")), "and so is another operation"
    assert [(line["operation"], line["name"]) for line in log.last(9)] == [
        ("open", "a.pdf"),
        ("open", "b.pdf"),
        ("rename", "a.pdf"),
    ]


@pytest.mark.parametrize(
    "error",
    [BytesNotHere("not here"), OnItsWay("not there yet"), Rejected("said before", status=400, unsent=True)],
    ids=lambda error: type(error).__name__,
)
def test_who_goes_through_a_whole_drive_does_not_push_out_what_failed(path: Path, error: MoonfsError) -> None:
    """E1: `grep -r` is refused at a thousand originals, or texts; what the service refused before is still there."""
    log = ErrorLog(path)
    log.record("flush", "mine.xyz", "ENOTSUP", refused())
    for number in range(KEPT + 1):
        log.record("open", f"{number}.pdf", "EACCES", error)
    assert log.last(10**6)[0]["name"] == "mine.xyz" and len(log.last(10**6)) == 1 + errorlog._REFUSALS


def test_a_refusal_is_news_again_after_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: tomorrow's refusal is recorded too."""
    log = ErrorLog(path)
    clock = [0.0]
    monkeypatch.setattr("moonfs.errorlog.time.monotonic", lambda: clock[0])
    assert log.record("open", "a.pdf", "EACCES", BytesNotHere("not here"))
    clock[0] = errorlog._SECONDS + 1
    assert log.record("open", "a.pdf", "EACCES", BytesNotHere("not here"))


def test_what_the_service_refuses_is_recorded_every_time(path: Path) -> None:
    """E1: every errno for a remote reason leaves a line, also the same one again."""
    log = ErrorLog(path)
    assert all(log.record("flush", "a.xyz", "ENOTSUP", refused()) for _ in range(30))
    assert len(log.last(99)) == 30


def test_a_disk_that_refuses_is_no_failure(path: Path) -> None:
    """E1: the line is shown all the same, and the operation's errno is not replaced."""
    log = ErrorLog(path)
    path.mkdir()
    log.record("open", "a", "EIO", refused())
    assert log.last(1)[0]["name"] == "a"
    assert ErrorLog(path).last(1) == [], "nor does it keep the drive from mounting"


def test_garbage_in_the_file_is_passed_over(path: Path) -> None:
    """A damaged file does not keep the drive from mounting."""
    path.write_bytes(b"\xff\xfe not json\n[1, 2\n[3]\n4\n\n" + b"[" * 100_000 + b"\n")
    log = ErrorLog(path)
    assert log.last(9) == [] and log.text().decode()


def test_many_threads_write_whole_lines(path: Path) -> None:
    """The kernel's requests fail in many threads at once."""
    log = ErrorLog(path)
    threads = [
        threading.Thread(target=lambda n=number: [log.record("open", f"{n}", "EIO", refused()) for _ in range(20)])
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 100


def test_what_is_over_can_be_cleared(path: Path) -> None:
    """E1: of files that still fail the newest line stays, in the order it had; the next failure is recorded again."""
    log = ErrorLog(path)
    for name, message in (("a", "first"), ("b", "x"), ("a", "second"), ("c", "y")):
        log.record("upload", name, "EIO", MoonfsError(message))
    path.with_suffix(".old.ndjson").write_text("{}\n")
    assert log.clear({"a", "c", "gone"}) == 2
    assert [(line["name"], line["message"]) for line in log.last(9)] == [("a", "second"), ("c", "y")]
    assert path.read_bytes() == log.text() and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name], "neither the older file nor half of a new one"
    log.record("upload", "b", "EIO", MoonfsError("again"))
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["a", "c", "b"]
    assert ErrorLog(path).clear() == 0 and path.read_bytes() == b""


def test_clearing_nothing_makes_nothing(path: Path) -> None:
    """A drive that never failed has no record, and keeps none."""
    assert ErrorLog(path).clear() == 0 and not path.exists()


def test_a_refusal_is_told_anew_after_it_was_cleared(path: Path) -> None:
    """Refusals of one file are recorded once; forgotten, they are recorded once more."""
    log = ErrorLog(path)
    assert log.record("open", "a", "EACCES", BytesNotHere("x")) and not log.record(
        "open", "a", "EACCES", BytesNotHere("x")
    )
    log.clear()
    assert log.record("open", "a", "EACCES", BytesNotHere("x"))


def test_what_has_arrived_is_over(path: Path) -> None:
    """E1: what failed of a file before it arrived is shown no more, at the next mount neither; the lines stay."""
    log = ErrorLog(path)
    for operation, name in (
        ("write", "a.rs"), ("flush", "a.rs"), ("open", "a.rs.content"), ("rename", "a.rs"), ("flush", "b.rs"),
    ):  # fmt: skip
        log.record(operation, name, "ENOTSUP", refused())
    log.over("a.rs")
    log.over("nobody.txt")
    written = path.read_bytes()
    log.over("a.rs")
    assert path.read_bytes() == written, "it was over already"
    for each in (log, ErrorLog(path)):
        assert [(line["operation"], line["name"]) for line in each.last(9)] == [("rename", "a.rs"), ("flush", "b.rs")]
        assert len(each.text().splitlines()) == 5 and b"over" not in each.text()
    log.record("flush", "a.rs", "ENOTSUP", refused())
    for each in (log, ErrorLog(path)):
        assert [line["name"] for line in each.last(9)] == ["a.rs", "b.rs", "a.rs"]
    assert log.clear({"a.rs"}) == 1
    assert [line["operation"] for line in ErrorLog(path).last(9)] == ["flush"]
