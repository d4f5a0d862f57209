"""What `moonfs status` draws: every part of a drive's state, whole names, sentences that are never cut."""

from __future__ import annotations

import copy
import io
import time
import unicodedata
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import moonfs
from moonfs.cli.screen import screen

STATUS: dict[str, Any] = {
    "version": moonfs.__version__, "pid": 123, "mountpoint": "/mnt/moon", "backend": "hosted", "profile": "work",
    "account": "https://api.moonshot.ai/v1", "mode": "write-back", "purpose": "auto", "started": 1_000_000,
    "log": "/state/moonfs.log",
    "quota": {"files": 850, "max_files": 1000, "bytes": 10 * 1024**3, "max_bytes": 10 * 1024**3},
    "listing": {"files": 850, "requests": 3, "stale_because": None},
    "uploads": {
        "active": 3, "done": 1234, "pending": ["a.pdf", "b.pdf", "c.pdf", "d.pdf"], "pending_bytes": 9_000_000,
        "deletions": 2, "local": ["a.tmp"],
        "under_way": [
            {"name": "a.pdf", "size": 4_000_000, "sent": 1_000_000, "state": "sending", "seconds": 4.0},
            {"name": "b.pdf", "size": 1_000, "sent": 1_000, "state": "being read", "seconds": 7.0},
            {"name": "c.pdf", "size": 1_000, "sent": 0, "state": "waiting", "seconds": 1.0},
        ],
        "waiting": [{"name": "d.pdf", "error": "no connection to the service"}],
        "failed": [{"name": "blank.pdf", "error": "no text", "errno": "EINVAL", "next": "Delete it."}],
    },
    "traffic": {
        "outage": None, "under_way": 3, "waiting": 1, "at_once": 32, "per_minute": 3, "pause": 20.0, "refusals": 2,
    },
    "caches": {
        "content": {"bytes": 1024, "disk_bytes": 2048, "hits": 90, "disk_hits": 7, "misses": 3, "read_ahead": 1},
        "originals": {"files": 5, "bytes": 4096, "max_bytes": 1024**3},
    },
    "errors": [
        {"time": "2026-01-02T03:04:05Z", "operation": "open", "name": "x.txt", "message": "gone", "next": "Look."},
    ],
}  # fmt: skip


def drawn(
    status: dict[str, Any], server: dict[str, Any] | None = None, *, width: int = 80, colour: bool = False
) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, markup=False, emoji=False, highlight=False)
    console.print(screen(status, server, now=1_007_300))
    return out.getvalue()


def changed(**parts: Any) -> dict[str, Any]:
    status = copy.deepcopy(STATUS)
    for path, value in parts.items():
        *way, last = path.split("__")
        inner = status
        for step in way:
            inner = inner[step]
        inner[last] = value
    return status


def test_everything_is_there_on_one_screen() -> None:
    """80 columns and 24 lines hold the state of a drive with one of each kind of trouble."""
    text = drawn(STATUS)
    words = " ".join(text.split())
    for part in (
        "/mnt/moon https://api.moonshot.ai/v1 (profile work)", "write-back, purpose auto; mounted for 2 h 1 min",
        "850 of 1,000 (85%)", "10.0 GB of 10.0 GB (100%)",
        "1,234 done, 4 to go (8.6 MB), 2 to delete, 1 only on this machine",
        "976.6 KB of 3.8 MB, 244.1 KB/s", "sent; its text is being read, 7 s", "waits for its turn",
        "Not uploaded", "blank.pdf: no text", "→ Delete it.", "Tried again", "d.pdf: no connection", "a.tmp",
        "open x.txt: gone", "→ Look.", "97% of 100 reads were here", "5 files", "3 a minute, paused for 20 s",
        "/state/moonfs.log",
    ):  # fmt: skip
        assert part in words, part
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize(
    "name", ["[red]bold[/red].txt", "福" * 85 + ".pdf", "a" * 251 + ".txt", ":smile: é\u0301.txt", "[/].txt"]
)
def test_names_are_text(name: str, width: int) -> None:
    """A name is no markup, and no name breaks the columns; where it matters it is there whole."""
    upload = {"name": name, "size": 10, "sent": 5, "state": "sending", "seconds": 0.1}
    failed = {"name": name, "error": "no text", "errno": "EINVAL", "next": "Delete it."}
    text = drawn(changed(uploads__under_way=[upload], uploads__failed=[failed]), width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    whole = "".join(unicodedata.normalize("NFC", "".join(line.strip() for line in text.splitlines())).split())
    assert "".join(unicodedata.normalize("NFC", name).split()) + ":notext" in whole


def test_an_outage_and_an_old_listing() -> None:
    """R6: since when, why, and that nothing has to be done."""
    text = drawn(changed(traffic__outage={"since": 1_000_000, "reason": "no connection"}))
    assert "has not answered since" in text and "no connection" in text and "go on by themselves" in text
    assert "The listing is old: 429" in drawn(changed(listing__stale_because="429"))


def test_what_the_server_is_reading() -> None:
    """The first picture starts the OCR; a scan tells its pages."""
    lane = {"running": [], "queued": 0}
    job = {"state": "starting", "seconds": 2.0, "done": 0, "total": 0}
    busy = {"running": [job, {**job, "state": "reading", "done": 2, "total": 5}], "queued": 4}
    text = " ".join(drawn(STATUS, {"extraction": {"light": lane, "ocr": busy}}).split())
    assert "pictures (OCR): starting for 2 s; pictures (OCR): reading for 2 s, part 2 of 5" in text
    assert "4 waiting" in text
    assert "nothing to read" in drawn(STATUS, {"extraction": {"light": lane}})


def test_many_of_a_kind_are_counted() -> None:
    """A drive with a thousand troubles still fits; none is kept silent."""
    failed = [{"name": f"{number}.pdf", "error": "no text", "errno": "EINVAL"} for number in range(1000)]
    text = drawn(changed(uploads__failed=failed, uploads__under_way=STATUS["uploads"]["under_way"] * 100))
    assert "… and 995 more" in text and "… and 295 more" in text and len(text.splitlines()) < 40


def test_what_may_be_a_copy_is_shown() -> None:
    """W3: a file that may have come from an upload without an answer is named, with what to do."""
    left = [{"name": "a~id.mp4", "error": "An upload ended without an answer.", "next": "Look at it."}]
    text = " ".join(drawn(changed(uploads__copies=left, uploads__doubts=["b.txt"])).split())
    assert "Perhaps copies a~id.mp4: An upload ended without an answer. → Look at it." in text and "1 in doubt" in text


def test_colours_say_how_full_it_is() -> None:
    """Red is full; without a terminal there is no colour at all."""
    assert "\x1b[" not in drawn(STATUS)
    assert "\x1b[31m" in drawn(STATUS, colour=True) and "\x1b[33m" in drawn(STATUS, colour=True)


@pytest.mark.parametrize("missing", ["quota", "uploads", "caches", "errors", "traffic", "listing", "log", "profile"])
def test_another_version(missing: str) -> None:
    """A daemon from before an update: what it is, what to do, and all that can be shown."""
    status = changed(version="0.0.9")
    del status[missing]
    text = " ".join(drawn(status).split())
    assert "served by moonfs 0.0.9" in text and "moonfs umount /mnt/moon" in text and "https://api" in text


def test_a_drive_that_does_not_answer() -> None:
    """The sentence says what to do."""
    assert drawn({"mountpoint": "/mnt", "problem": "It does not answer; clear it"}) == "It does not answer; clear it\n"


def test_no_line_is_padded() -> None:
    """What is piped somewhere ends where its words end, however wide the page."""
    assert max(len(line) - len(line.rstrip()) for line in drawn(STATUS, width=1000).splitlines()) < 40


def test_nothing_reaches_the_terminal_but_text() -> None:
    """Directories, reasons and names may hold escape sequences, which a terminal would obey; root sees everybody's."""
    evil = "a\x1b]0;owned\x07\x1b[31m"
    text = drawn(changed(mountpoint=evil, account=evil, profile=evil, log=evil, uploads__local=[evil]), width=300)
    assert "\x1b" not in text and "\x07" not in text and "a\\x1b]0;owned" in text
    assert "\x1b" not in drawn({"mountpoint": evil, "problem": f"The drive on {evil} does not answer"})


def test_the_same_advice_once_and_the_time_of_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five files that fail alike have one advice after them; people read their own clock; 1 is not several."""
    monkeypatch.setenv("TZ", "CST-8")
    time.tzset()
    try:
        failed = [
            {"name": f"{n}.rs", "error": "no such type", "errno": "ENOTSUP", "next": "Rename it."} for n in range(5)
        ]
        text = drawn(changed(uploads__failed=failed, caches__originals__files=1))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert text.count("→ Rename it.") == 1
    assert text.index("4.rs") < text.index("→ Rename it.") < text.index("Tried again")
    assert "2026-01-02 11:04:05 open x.txt: gone" in text
    assert "1 file, 4.0 KB" in text


def test_one_failure_is_shown_once() -> None:
    """E1: what fails at the write and again at the close is one line, in the words that people use."""
    failed = [
        {"time": f"2026-01-02T03:04:0{second}Z", "operation": operation, "name": "big.txt", "message": "too large"}
        for second, operation in enumerate(("write", "flush"))
    ]
    shown = drawn(changed(errors=failed), width=120)
    assert shown.count("big.txt: too large") == 1 and "close big.txt" in shown
