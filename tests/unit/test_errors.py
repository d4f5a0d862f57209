"""The tree of errors: one root, carried facts, and error bodies of any shape."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from moonfs import errors, wire
from moonfs.errors import MoonfsError, parse_error_body, plain_english

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_root_and_all_its_facts(kind: type[MoonfsError]) -> None:
    """E1: each error is a MoonfsError, says why it exists, and carries status, request id and the service's words."""
    error = kind("what to do", status=400, request_id="r", service_message="s", maybe_stored=True, retry_after=2.0)
    assert isinstance(error, MoonfsError) and kind.__doc__
    assert (str(error), error.message, error.status, error.request_id) == ("what to do", "what to do", 400, "r")
    assert (error.service_message, error.maybe_stored, error.retry_after) == ("s", True, 2.0)
    assert kind("x").maybe_stored is False, "doubt is said, never assumed"


def test_the_drawing_is_the_tree() -> None:
    """The docstring draws the tree; a class that is missing there or hangs elsewhere fails."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([ │├└─]*)([A-Z]\w+)  ", line)
        if found:
            depth, name = len(found[1]), found[2]
            above = [(d, n) for d, n in above if d < depth]
            if above:
                drawn[name] = above[-1][1]
            above.append((depth, name))
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in KINDS if kind is not MoonfsError}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (wire.MSG_NO_TEXT, "text extract error: no text could be extracted from this file"),
        (wire.MSG_UNSUPPORTED, "text extract error: the service does not support this file type"),
        ("全く別の", "全く別の"),
        ("", ""),
    ],
)
def test_plain_english(said: str, shown: str) -> None:
    """E1: the service's known Chinese messages are translated, others stay as they are."""
    assert plain_english(said) == shown


@pytest.mark.parametrize("message", [value for name, value in vars(wire).items() if name.startswith("MSG_")])
def test_every_known_message_becomes_english(message: str) -> None:
    """E1: nothing that the service is known to say stays Chinese."""
    assert plain_english(message).isascii()


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (wire.dump(wire.error_body("m", "t")), "t", "m"),
        ('{"error":{"message":"不支持","type":"t"}}'.encode(), "t", "不支持"),
        (b'{"error":{"message":"m"}}', "", "m"),
        (b'{"error":{"message":1,"type":["t"]}}', "", ""),
        (b'{"error":"text"}', "", ""),
        (b'{"error":null}', "", ""),
        (b'{"error":[1]}', "", ""),
        (b"[]", "", ""),
        (b'"error"', "", ""),
        (b"1", "", ""),
        (b"null", "", ""),
        (b"", "", ""),
        (b"<html>504</html>", "", ""),
        (b'{"error":{"message":"m","ty', "", ""),
        (b"\xff\xfe\x00", "", ""),
        (b"\xef\xbb\xbf{}", "", ""),
        (b"[" * 100_000, "", ""),
        (b'{"error":' * 50_000, "", ""),
        (b"1" * 5000, "", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_error_bodies_of_any_shape(body: bytes, kind: str, message: str) -> None:
    """Error bodies are untrusted: JSON, HTML, empty, cut, deep or no text at all: never an exception."""
    assert parse_error_body(body) == (kind, message)


def test_error_bodies_are_bounded() -> None:
    """A message of a megabyte does not get into a log."""
    kind, message = parse_error_body(json.dumps({"error": {"message": "m" * 10**6, "type": "t" * 10**6}}).encode())
    assert len(kind) <= 200 and len(message) <= 2000
