"""Whose a copy is (W3): what proves nothing is nobody's."""

from __future__ import annotations

import hashlib

import pytest

from moonfs import doubts
from moonfs import journal as journal_states
from moonfs.doubts import Verdict
from moonfs.journal import Intent
from moonfs.wire import FileObject

OURS = b"twenty bytes of ours"


class Evidence:
    """One text for every file."""

    def __init__(self, text: bytes, sure: bool) -> None:
        self._text = text
        self._sure = sure

    def given(self, file_id: str) -> bool:
        return False

    def text(self, file: FileObject) -> bytes:
        return self._text

    def is_sure(self, file: FileObject) -> bool:
        return self._sure

    def confirmed(self, sha256: str) -> frozenset[str]:
        return frozenset()


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
    file = FileObject(id="f", filename="a.txt", bytes=len(OURS), created_at=10)
    intent = Intent(
        spool="s",
        name="a.txt",
        state=journal_states.PENDING,
        purpose="auto",
        size=len(OURS),
        sha256=hashlib.sha256(OURS).hexdigest(),
        mtime_ns=0,
        inode=1,
    )
    assert doubts.judge(Evidence(text, sure), intent, file, {"f": file}) is verdict
