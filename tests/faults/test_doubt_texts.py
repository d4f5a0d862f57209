"""What the text of a copy proves, and when it proves nothing (W3): it is made still, cut, put in order, or not had.

The drive is that of `test_exactly_one_copy`, and the doubts are those of `test_doubt`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moonfs import proofs, wire
from tests.faults.server import Fault, Turn, answer_lost, page, rate_limited, refused, reset_mid_body, truncated
from tests.faults.test_exactly_one_copy import Bench
from tests.harness.doubt import ONE, SILENT, SIX, away, back, in_doubt, remove, settled, status
from tests.harness.drive import wait_until


@pytest.mark.parametrize("then", ["it is wanted", "rm"])
def test_what_the_service_reads_still_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """W3, R4: a copy whose text is being made has none yet: it is not asked for, and counts when it is there."""
    monkeypatch.setattr(proofs, "SENSELESS", 0.1)

    def fault(turn: Turn) -> None:
        turn.serve()
        for stored in bench.server.files.values():
            stored.status = "processing"
        turn.hang_up()

    drive = in_doubt(bench, fault, write_back=True)
    if then == "rm":
        remove(drive)
    bench.server.script("content", *[refused(400, "not extracted yet")] * 5000)
    bench.server.unscript("list")
    asked = bench.server.count("list")
    wait_until(lambda: bench.server.count("list") > asked + 3, "it is looked for")
    drive.uploader._stopping.wait(0.3)
    assert bench.server.count("content") == 0 and drive.fs.busy()
    bench.server.unscript("content")
    for stored in bench.server.files.values():
        stored.status = "ok"
    settled(drive)
    assert bench.copies() == ([] if then == "rm" else [ONE]) and bench.server.count("upload") == 1
    assert status(drive)["copies"] == []


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_what_has_no_text_is_sent_again_and_the_other_is_left(bench: Bench, write_back: bool) -> None:
    """W3: a video proves nothing: it is uploaded again, and the other copy stays, visible, with a line in status."""
    drive = bench.start(write_back=write_back)
    bench.server.script("upload", answer_lost())
    drive.write(SILENT, ONE)
    settled(drive)
    assert bench.copies(SILENT) == [ONE, ONE]
    with bench.server.lock:
        first, second = bench.server.files
    assert sorted(drive.ls()) == sorted([SILENT, f"a~{first}.mp4"])
    assert drive.fs.xattrs(f"/{SILENT}")["user.moonfs.id"].decode() == second
    (line,) = status(drive)["copies"]
    assert line["name"] == f"a~{first}.mp4" and line["next"]
    remove(drive, f"a~{first}.mp4")
    wait_until(lambda: bench.copies(SILENT) == [ONE], "it is deleted")
    assert status(drive)["copies"] == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a text that cannot be had be asked for again, however slow this machine is."""
    monkeypatch.setattr(proofs, "SENSELESS", 60.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("answer", [page(502), refused(500, "failed", "server_error"), rate_limited("0")])
def test_a_text_that_cannot_be_had_now_is_waited_for(bench: Bench, answer: Fault) -> None:
    """W3: a proxy's page, or a busy service, says nothing of whose the copy is: it is asked again, and adopted."""
    drive = bench.start(upload_timeout=60.0)
    bench.server.script("upload", answer_lost())
    bench.server.script("content", *[answer] * 7)
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE] and bench.server.count("upload") == 1 and status(drive)["copies"] == []


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("purpose", ["file-extract", "batch"])
@pytest.mark.parametrize(
    "answer",
    [refused(500, "extract task failed: failed", "server_error"), truncated(len(ONE)), truncated(12)],
    ids=["failed", "cut to the length of the file", "cut"],
)
def test_a_text_that_makes_no_sense_now_is_asked_for_again(bench: Bench, answer: Fault, purpose: str) -> None:
    """W3, W8: a bad answer does not make our copy somebody else's, or nobody's: what was removed does not come back."""
    drive = bench.start(write_back=True, purpose=purpose)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("upload", answer_lost())
    away(bench)
    drive.write("a.txt", ONE)
    wait_until(lambda: ONE in bench.copies(), "it has arrived")
    bench.server.script("content", *[answer] * 8)
    remove(drive)
    bench.server.unscript("list")
    settled(drive)
    assert bench.copies() == [] and drive.ls() == [] and status(drive)["copies"] == []


#: Why the text of a file cannot be had, though the service lists its files.
NO_TEXT: dict[str, Callable[[], Fault]] = {
    "extraction failed": lambda: refused(500, "extract task failed: failed", "server_error"),
    "500": lambda: refused(500, "failed", "server_error"),
    "502 page": lambda: page(502),
    "403 page": lambda: page(403),
    "429": lambda: rate_limited("0"),
    "401": lambda: refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION),
    "hang-up": lambda: Turn.hang_up,
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a text that cannot be had count as none soon."""
    monkeypatch.setattr(proofs, "SENSELESS", 0.2)
    monkeypatch.setattr(proofs, "UNREADY", 0.4)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("why", NO_TEXT)
def test_a_text_that_never_makes_sense_proves_nothing(bench: Bench, why: str) -> None:
    """W3: after some seconds it counts as none: the copy stays, and has its line; every doubt has an end."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    bench.server.script("content", *[NO_TEXT[why]() for _ in range(5000)])
    remove(drive)
    bench.server.unscript("list")
    settled(drive)
    assert bench.copies() == [ONE] and drive.ls() == ["a.txt"] and len(status(drive)["copies"]) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
@pytest.mark.parametrize("why", ["500", "502 page", "429"])
def test_what_has_no_text_for_good_is_sent_again(bench: Bench, why: str, write_back: bool) -> None:
    """W3: a text that cannot be had proves nothing: uploaded again, and the other copy stays, with its line."""
    drive = bench.start(write_back=write_back, upload_timeout=60.0)
    drive.uploader.backoff = lambda _attempt: 0.05  # type: ignore[method-assign]
    bench.server.script("content", *[NO_TEXT[why]() for _ in range(5000)])
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", ONE)
    settled(drive)
    assert bench.copies() == [ONE, ONE] and len(drive.ls()) == 2 and len(status(drive)["copies"]) == 1


def in_order(data: bytes) -> str:
    """Return a text with line ends of one kind."""
    return data.decode().replace("\r", "\n")


@pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])
def test_what_the_service_puts_in_order_is_sent_again(bench: Bench, write_back: bool) -> None:
    """W3: a text that differs by its line ends only is no proof, until one of the same bytes is confirmed: one copy."""
    bench.server.read = in_order
    drive = bench.start(write_back=write_back)
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", b"one\rtwo\r")
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and bench.server.count("upload") == 2
    assert drive.ls() == ["a.txt"] and status(drive)["copies"] == []


def test_rm_of_what_the_service_puts_in_order(bench: Bench) -> None:
    """W3, W8: it stays, and status says so: it may be another machine's, with other line ends."""
    bench.server.read = in_order
    drive = in_doubt(bench, answer_lost(), write_back=True, data=b"one\rtwo\r")
    remove(drive)
    back(bench)
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and len(status(drive)["copies"]) == 1


def test_what_the_service_puts_in_order_is_adopted(bench: Bench) -> None:
    """W3: its text is that of an upload of the same bytes that an answer has confirmed."""
    bench.server.read = in_order
    drive = bench.start()
    drive.write("b.txt", b"one\rtwo\r")
    bench.server.script("upload", answer_lost())
    drive.write("a.txt", b"one\rtwo\r")
    settled(drive)
    assert bench.copies() == [b"one\rtwo\r"] and bench.server.count("upload") == 2


def test_whoever_is_refused_asks_less_and_less(bench: Bench) -> None:
    """W3: a list that is refused for good is asked for at growing distances, not in a loop."""
    drive = in_doubt(bench, answer_lost(), write_back=True)
    drive.uploader.backoff = lambda _attempt: 3600.0  # type: ignore[method-assign]
    remove(drive)
    bench.server.unscript("list")
    refusal = refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION)
    bench.server.script("list", *[refusal] * 5000)
    asked = bench.server.count("list")
    drive.uploader._stopping.wait(3.0)  # sixty times the first pause
    assert bench.server.count("list") <= asked + 15
    back(bench)
    settled(drive)
    assert bench.copies() == []


def test_a_video_of_somebody_else_outlives_rm(bench: Bench) -> None:
    """W3, W8: nothing proves that what has this name and size is ours: it stays, and is shown."""
    drive = in_doubt(bench, reset_mid_body(50), write_back=True, name=SILENT)
    remove(drive, SILENT)
    bench.server.add(SILENT, SIX)
    back(bench)
    settled(drive)
    assert bench.copies(SILENT) == [SIX] and drive.ls() == [SILENT]
