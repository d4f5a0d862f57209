"""What the service's answers mean: file objects, lists, deletions, text; each checked before anyone sees it.

Remote answers are untrusted: ids must be fit for paths and URLs, sizes sane, counts bounded. Nothing is sent.

**Threading:** pure functions.
"""

from __future__ import annotations

import heapq
import json
import logging
from typing import Any, Final

from moonfs import wire
from moonfs.api import translate
from moonfs.api.exchange import Answer
from moonfs.errors import NotFound, ProtocolError
from moonfs.wire import Body, FileObject

log = logging.getLogger(__name__)

#: Values in the body of a list, by its commas: what can be read without a gigabyte of empty objects.
_MAX_VALUES: Final = 1_000_000
#: How an HTML page begins, whatever it is said to be.
_PAGES: Final = (b"<!doctype html", b"<html", b"<head")


def path_of(file_id: str) -> str:
    """Return the path of a file below the base URL.

    Raises:
        NotFound: an id that could lead elsewhere; no such file can exist.
    """
    if not wire.is_valid_id(file_id):
        raise NotFound("the service has no file of this id: it is no valid id")
    return f"/files/{file_id}"


def page_of(answer: Answer, *, project: bool) -> tuple[list[Any], str | None]:
    """Return the entries of a list, or of a page of one, and what the next page is asked for by; None for no more.

    Where there is more, and no token in the answer, that is its last id, or empty. `project`: in the second format.

    Raises:
        ProtocolError: no list, one beyond all reason, or one of the other format.
    """
    if bytes(answer.body).count(b",") > _MAX_VALUES:
        raise bad_answer(answer, "the service's list of files is beyond all reason")
    document = _object(answer)
    if project and "items" not in document and "data" in document:
        raise bad_answer(
            answer,
            "the service does not know scopes: it lists the files of the whole organisation; mount it with "
            "scope=organisation",
        )
    entries = document.get("items" if project else "data")
    if not isinstance(entries, list):
        raise bad_answer(answer, "the service's list of files holds no list")
    token, more = document.get("next_page_token"), document.get("has_more")
    if more is False or not (more or token):
        return entries, None
    last = entries[-1].get("id") if entries and isinstance(entries[-1], dict) else ""
    found = next((each for each in (token, document.get("last_id"), last) if each), "")
    return entries, str(found) if isinstance(found, str | int) else ""


def files_of(entries: list[Any], answer: Answer, *, project: bool = False) -> tuple[list[FileObject], int, int | None]:
    """Return the files of a list, in its order, how many entries are left out, and when the newest of these was made.

    Left out, with one warning for all, are entries that do not validate, and the oldest where there are more than
    `wire.MAX_LISTED`: of these the time is returned, None where there are none. A repeated id counts once.

    Raises:
        ProtocolError: no entry is usable; `answer` is that of the list.
    """
    parse = FileObject.from_metadata if project else FileObject.from_wire
    files: dict[str, FileObject] = {}
    unusable, first = 0, ""
    for entry in entries:
        try:
            file = parse(entry)
        except ValueError as exc:
            unusable, first = unusable + 1, first or translate.clean(str(exc), 200)
        else:
            files.setdefault(file.id, file)
    if unusable and not files and not any(_has_id(entry) for entry in entries):
        raise bad_answer(answer, f"no entry of the service's list is usable: {first}")
    if unusable:
        log.warning("left out %d unusable entries of the remote list, the first: %s", unusable, first)
    taken, newest = list(files.values()), None
    if len(taken) > wire.MAX_LISTED:
        log.warning("the remote list has %d files; the newest %d are taken", len(taken), wire.MAX_LISTED)
        oldest = heapq.nsmallest(len(taken) - wire.MAX_LISTED, taken, key=lambda file: file.age)
        newest = oldest[-1].created_at
        for file in oldest:
            del files[file.id]
        taken = list(files.values())
    return taken, len(entries) - len(taken), newest


def file_of(answer: Answer, *, project: bool = False) -> FileObject:
    """Return the one file that an upload or a retrieve describes; `project`: in the second format.

    Raises:
        ProtocolError: it describes none.
    """
    try:
        return (FileObject.from_metadata if project else FileObject.from_wire)(_object(answer))
    except ValueError as exc:
        raise bad_answer(answer, "the service's answer describes no file") from exc


def check_deleted(answer: Answer, file_id: str) -> None:
    """Accept `{"deleted":true,…}` and an empty 204; a captive portal's page deletes nothing.

    Raises:
        ProtocolError: anything else.
    """
    if answer.status != 204 and _object(answer).get("deleted") is not True:
        raise bad_answer(answer, f"the service did not delete {file_id}")


def text_of(answer: Answer, file_id: str) -> Body:
    """Return the body of `/content` as it is (R1).

    Text is kept for ever by its id (R2), so what a proxy may send with a 200 is refused.

    Raises:
        ProtocolError: an HTML page (extracted HTML comes as JSON), nothing at all, or an error object.
    """
    start = answer.body[:1000].lstrip().lower()
    page = start.startswith(_PAGES) or (answer.content_type == "text/html" and start[:1] == b"<")
    if not answer.body or page or _is_error(answer.body):
        raise bad_answer(answer, f"the service answered with no text for {file_id}")
    return answer.body


def bad_answer(answer: Answer, sentence: str) -> ProtocolError:
    """Return the error for an answer that makes no sense."""
    return ProtocolError(sentence, status=answer.status, request_id=answer.request_id)


def _has_id(entry: object) -> bool:
    """Say whether an entry of a list is about a file at all, whatever else of it makes no sense."""
    return isinstance(entry, dict) and wire.is_valid_id(entry.get("id"))


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = json.loads(bytes(answer.body))
    except (ValueError, RecursionError) as exc:
        raise bad_answer(answer, "the service's answer is no JSON") from exc
    if not isinstance(document, dict):
        raise bad_answer(answer, "the service's answer is no JSON object")
    return document


def _is_error(body: Body) -> bool:
    """Say whether a body that came with a 200 is an error object and nothing else.

    A batch result is JSON too and has a field `error`, among others.
    """
    if len(body) > 16 * 1024 or not bytes(body).lstrip().startswith(b'{"error"'):
        return False
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError):
        return False
    return document.keys() == {"error"} and isinstance(document["error"], dict) and "message" in document["error"]
