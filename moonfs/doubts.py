"""Whose copy is it? The rule for uploads that ended without an answer: identity by proof, never by resemblance (W3).

An attempt whose answer never came may have left a copy on the service. The list shows a name, a size and a time, which
another machine's file, or the next version of the same file, has too. So:

**Never a candidate** is an id that an answer gave to one of our uploads, an id in a list that was fetched before the
attempt's body was complete (`Intent.known`), and what was made outside of the attempt's time (`Intent.may_have_made`).
That time is the service's: the `Date` of its own answers, carried on by the monotonic clock; where it sends none, or
they contradict each other, time excludes nothing.

**Proof** is a text. A candidate is ours where its text is the bytes that were sent, as plain UTF-8 has it, or where it
is the text of an upload of the same bytes that an answer has confirmed. What has no text, or an empty one, proves
nothing, nor does what may have been cut on its way, is no text at all, or cannot be had: it is asked for again, for a
while. A text that is as long as its file is that file's bytes, and where they differ it is somebody else's: but where
they would not with other line ends, or in another character set, the service may have put it so, and it proves nothing.

A service that numbers names may have stored the copy under such a name: where the name was taken when the attempt
began, or by a later upload of ours, a file of a numbered one is a candidate as well. It needs the same proof.

**Adopted** is a proven candidate, as the version that was sent. Equal content is not authorship: of two machines that
copy one tree at once, one may adopt the other's file, and nothing is lost by it.

**Deleted** are ids that an answer gave us, ids that we adopted, and proven candidates of an upload that nobody wants
any more: never more than it had attempts without an answer, none where there are more candidates than that, and where
a newer version has taken the name, never the last copy of the name. `rm` of a version in doubt, of which there is one
candidate, is the one case in which content cannot decide who made it; the contract names it.

**Left** is the rest. It is shown, as `stem~ID.ext` where our version has the name, with a line in status; the bytes are
uploaded again. So is a file that the service has stored as a failure (status `error`): it has no text, and never will
have, so that nothing but the answer to its own upload can prove whose it is; and it is no version of anything.

This module judges; it fetches nothing itself and changes nothing. `writeback` asks it before an attempt is repeated,
`disowned` in the background.

**Threading:** pure functions but for `Evidence`, whose calls may send requests: hold no lock.
"""

from __future__ import annotations

import codecs
import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from moonfs import names, wire
from moonfs.errors import MoonfsError, NotFound, NotReady, ServiceError
from moonfs.journal import Intent
from moonfs.wire import FileObject

#: Line ends that a service may have put in the place of others: what stands there now, and what may have stood there.
_LINE_ENDS: Final = (("\n", "\n"), ("\n", "\r"), ("\n\n", "\r\n"), ("\n", "\r\n"))
#: Character sets that it may have read, and the mark at the beginning that it may have dropped.
_CHARSETS: Final = (
    ("utf-8", b""),
    ("utf-8", codecs.BOM_UTF8),
    ("utf-16-le", b""),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", b""),
    ("utf-16-be", codecs.BOM_UTF16_BE),
    ("cp1252", b""),
    ("latin-1", b""),
)


class Verdict(enum.Enum):
    """What is known of a candidate."""

    OURS = "ours"
    THEIRS = "theirs"
    UNKNOWN = "unknown"


class Evidence(Protocol):
    """What can be learned of files."""

    @property
    def numbers(self) -> bool:
        """Whether the service is known to number names that are taken (W4)."""

    def wanted(self, name: str) -> bool:
        """Whether an upload of ours is to have exactly this name: what has it is no numbered copy of another one."""

    def given(self, file_id: str) -> bool:
        """Whether an answer gave this id to an upload of ours, or it was adopted."""

    def text(self, file: FileObject) -> bytes:
        """The text of a file, as UTF-8; empty for none; raises MoonfsError."""

    def is_sure(self, file: FileObject) -> bool:
        """Whether its text came as the API gives one: a body that was cut is told by nothing else (R2)."""

    def bear(self, file: FileObject, error: MoonfsError) -> None:
        """Take in that its text cannot be had or makes no sense; raises `error` while it is to be asked for again."""

    def confirmed(self, sha256: str) -> frozenset[str]:
        """The ids that are known to hold the bytes of this hash."""


def candidates(evidence: Evidence, intent: Intent, present: Iterable[FileObject]) -> list[FileObject]:
    """Return those of `present` that an unanswered attempt of `intent` may have made, the newest first."""
    purposes = names.purposes(intent.name, intent.purpose)
    found = [
        file
        for file in present
        if intent.may_have_made(file, numbers=evidence.numbers)
        and file.purpose in purposes
        and not evidence.given(file.id)
        and (names.safe(file.filename) == intent.name or not evidence.wanted(file.filename))
    ]
    return sorted(found, key=lambda file: (file.created_at, file.id), reverse=True)


def is_failure(file: FileObject) -> bool:
    """Say whether the service has stored `file` as one that it could not read: no upload has arrived as that."""
    return file.status == wire.STATUS_ERROR


def judge(evidence: Evidence, intent: Intent, file: FileObject, present: Mapping[str, FileObject]) -> Verdict:
    """Say whose `file`, a candidate of `intent`, is.

    Raises:
        MoonfsError: its text cannot be had now.
    """
    text = _text(evidence, file)
    if not text or not intent.sha256:
        return Verdict.UNKNOWN
    if _digest(text) == intent.sha256:
        return Verdict.OURS
    if not evidence.is_sure(file):
        evidence.bear(file, ServiceError(f"The text of {file.filename} makes no sense yet."))
        return Verdict.UNKNOWN
    for other_id in sorted(evidence.confirmed(intent.sha256) & present.keys()):
        other = present[other_id]
        if other_id == file.id or other.purpose != file.purpose:
            continue
        if (confirmed := _text(evidence, other)) and evidence.is_sure(other):
            return Verdict.OURS if confirmed == text else Verdict.THEIRS
    if len(text) != file.bytes or any(_digest(other) == intent.sha256 for other in _otherwise(text)):
        return Verdict.UNKNOWN
    return Verdict.THEIRS


def _text(evidence: Evidence, file: FileObject) -> bytes:
    if file.purpose in (wire.IMAGE, wire.VIDEO) or is_failure(file):
        return b""
    if file.status in wire.STATUS_WAITING:
        evidence.bear(file, NotReady(f"The text of {file.filename} is not extracted yet."))
        return b""
    try:
        return evidence.text(file)
    except NotFound:
        return b""
    except MoonfsError as error:
        evidence.bear(file, error)
        return b""


def _otherwise(text: bytes) -> Iterator[bytes]:
    """Yield the bytes, as many as these, of which a service may have made `text` by putting it in order."""
    try:
        lines = text.decode()
    except UnicodeDecodeError:
        return
    for old, new in _LINE_ENDS:
        for charset, mark in _CHARSETS:
            try:
                data = mark + lines.replace(old, new).encode(charset)
            except UnicodeEncodeError:
                continue
            if len(data) == len(text):
                yield data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
