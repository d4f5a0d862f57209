"""Whose a copy is (W3): what proves nothing is nobody's."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from moonfs import doubts
from moonfs import journal as journal_states
from moonfs.doubts import Verdict
from moonfs.errors import (
    ExtractionFailed,
    ForeignAnswer,
    MoonfsError,
    NotFound,
    ProtocolError,
    Rejected,
    ServiceError,
    TimedOut,
)
from moonfs.journal import Intent
from moonfs.wire import FileObject

OURS = b"twenty bytes of ours"
FILE = FileObject(id="f", filename="a.txt", bytes=len(OURS), created_at=10)
INTENT = Intent(
    spool="s",
    name="a.txt",
    state=journal_states.PENDING,
    purpose="auto",
    size=len(OURS),
    sha256=hashlib.sha256(OURS).hexdigest(),
    mtime_ns=0,
    inode=1,
)


class Evidence:
    """One text for every file, but for one of the same bytes, `c`, that an answer has confirmed."""

    def __init__(self, text: bytes | MoonfsError, sure: bool, confirmed: bytes = b"") -> None:
        self._text = text
        self._sure = sure
        self._confirmed = confirmed
        self.senseless = 0

    def given(self, file_id: str) -> bool:
        return False

    def text(self, file: FileObject) -> bytes:
        if isinstance(self._text, MoonfsError):
            raise self._text
        return self._confirmed if file.id == "c" else self._text

    def is_sure(self, file: FileObject) -> bool:
        return self._sure

    def bear(self, file: FileObject, error: MoonfsError) -> None:
        self.senseless += 1
        if self.senseless < 3:
            raise error

    def confirmed(self, sha256: str) -> frozenset[str]:
        return frozenset({"c"} if self._confirmed else ())


@pytest.mark.parametrize(
    ("text", "sure", "verdict"),
    [
        (OURS, True, Verdict.OURS),
        (OURS, False, Verdict.OURS),
        (b"as long, of somebody", True, Verdict.THEIRS),
        (b'{"content": "twenty ', False, Verdict.UNKNOWN),
        (b"", True, Verdict.UNKNOWN),
    ],
)
def test_a_body_that_was_cut_says_nothing(text: bytes, sure: bool, verdict: Verdict) -> None:
    """W3, R2: a body that came twice alike, by chance as long as its file, makes nobody its owner."""
    evidence = Evidence(text, sure)
    if not (sure or text == OURS):
        for _ in range(2):
            with pytest.raises(ServiceError):
                doubts.judge(evidence, INTENT, FILE, {"f": FILE})
    assert doubts.judge(evidence, INTENT, FILE, {"f": FILE}) is verdict


@pytest.mark.parametrize(
    "error",
    [
        ExtractionFailed("the extraction failed"),
        ProtocolError("two different texts"),
        Rejected("not that one"),
        ServiceError("failed"),
        ForeignAnswer("a page"),
        TimedOut("too slow"),
    ],
)
def test_what_makes_no_sense_is_asked_for_again(error: MoonfsError) -> None:
    """W3: one bad answer tells nothing of a copy, which would stay, or come back, though it is ours; many say none."""
    evidence = Evidence(error, False)
    for _ in range(2):
        with pytest.raises(type(error)):
            doubts.judge(evidence, INTENT, FILE, {"f": FILE})
    assert doubts.judge(evidence, INTENT, FILE, {"f": FILE}) is Verdict.UNKNOWN


def test_what_is_gone_has_no_text() -> None:
    """W3: a file that is not there any more is asked for once."""
    assert doubts.judge(Evidence(NotFound("gone"), False), INTENT, FILE, {"f": FILE}) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (b"one\rtwo\r", b"one\ntwo\n"),
        (b"one\r\ntwo\r\n", b"one\n\ntwo\n\n"),
        ("\ufeff漢漢é".encode("utf-16-le"), "漢漢é".encode()),
        ("жук".encode("utf-16-be"), "жук".encode()),
        ("é\r\n".encode("cp1252"), "é\n".encode()),
        (b"one\ntwo\n", b"two\none\n"),
    ],
    ids=["CR", "CRLF, each to LF", "UTF-16 with its mark", "UTF-16", "an 8-bit set, CRLF", "no such thing"],
)
@pytest.mark.parametrize("confirmed", [True, False], ids=["the same bytes are confirmed", "nothing is confirmed"])
def test_a_text_that_the_service_has_put_in_order(ours: bytes, text: bytes, confirmed: bool) -> None:
    """W3: as long as its file, and other than the bytes: that alone makes it nobody else's."""
    assert len(ours) == len(text)
    intent = replace(INTENT, size=len(ours), sha256=hashlib.sha256(ours).hexdigest())
    file = replace(FILE, bytes=len(ours))
    evidence = Evidence(text, True, text if confirmed else b"")
    verdict = doubts.judge(evidence, intent, file, {"f": file, "c": replace(file, id="c")})
    alone = Verdict.THEIRS if ours.startswith(b"one\n") else Verdict.UNKNOWN
    assert verdict is (Verdict.OURS if confirmed else alone)
    other = Evidence(b"?" * len(text), True, text)
    assert doubts.judge(other, intent, file, {"f": file, "c": replace(file, id="c")}) is Verdict.THEIRS
