"""The wire: key order, raw UTF-8, and file objects that nobody may trust."""

from __future__ import annotations

import json
import mmap
import random
import tempfile
from typing import Any

import pytest

from moonfs import wire
from moonfs.wire import FileObject, dump, is_valid_id

GOOD = {
    "id": "cnbjfqh5ic7v8uu0n9e0",
    "object": "file",
    "bytes": 123,
    "created_at": 1_700_000_000,
    "filename": "福州商场.pdf",
    "purpose": "file-extract",
    "status": "ok",
    "status_details": "",
}


def test_a_file_object_in_the_order_of_the_service() -> None:
    """LIVE: id, object, bytes, created_at, filename, purpose, status, status_details; compact, raw UTF-8."""
    file = FileObject.from_wire(GOOD)
    assert (
        dump(file.to_wire())
        == (
            '{"id":"cnbjfqh5ic7v8uu0n9e0","object":"file","bytes":123,"created_at":1700000000,'
            '"filename":"福州商场.pdf","purpose":"file-extract","status":"ok","status_details":""}'
        ).encode()
    )
    assert FileObject.from_wire(file.to_wire()) == file


def test_an_error_body_in_the_order_of_the_service() -> None:
    """LIVE: message first, no code."""
    assert dump(wire.error_body("m", "t")) == b'{"error":{"message":"m","type":"t"}}'


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff", "\ud83d\ude00", "plain", "\0"], ids=ascii)
def test_dump_is_always_valid_utf_8(text: str) -> None:
    """A lone surrogate becomes U+FFFD; a pair becomes the character that it means."""
    shown = json.loads(dump({"filename": text}).decode())["filename"]
    assert shown == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("good", ["a", "0", "cnbjfqh5ic7v8uu0n9e0", "file_abc-DEF.1", "x" * 128])
def test_ids_that_are_fit_for_a_path(good: str) -> None:
    """`^[A-Za-z0-9][A-Za-z0-9._-]*$`, the `file_` prefix of newer pages too."""
    assert is_valid_id(good) and FileObject.from_wire({**GOOD, "id": good}).id == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a b",
        "a\n",
        "\na",
        "a?x=1",
        "a#",
        "a%2e",
        "-a",
        "_a",
        "é",
        "x" * 129,
        None,
        1,
        b"a",
    ],
    ids=ascii,
)
def test_ids_that_lead_elsewhere(bad: object) -> None:
    """N2: an id goes into URLs and paths: nothing of it may mean anything there."""
    assert not is_valid_id(bad)
    with pytest.raises(ValueError):
        FileObject.from_wire({**GOOD, "id": bad})


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": -1},
        {"bytes": 2**50},
        {"bytes": 1.5},
        {"bytes": "1 "},
        {"bytes": "-1"},
        {"bytes": "１"},
        {"bytes": "9" * 5000},
        {"bytes": float("nan")},
        {"bytes": True},
        {"bytes": None},
        {"created_at": -1},
        {"created_at": 10**20},
        {"created_at": -0.5},
        {"created_at": float("inf")},
        {"created_at": float("nan")},
        {"created_at": "2026-09-01"},
        {"created_at": 10**400},
        {"created_at": False},
        {"filename": None},
        {"filename": 7},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_objects_that_make_no_sense(change: dict[str, Any]) -> None:
    """Remote answers are untrusted: sane sizes, sane times, a name that is text."""
    with pytest.raises(ValueError):
        FileObject.from_wire({**GOOD, **change})


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"bytes": "123"}, "bytes", 123),
        ({"bytes": 123.0}, "bytes", 123),
        ({"created_at": 1_700_000_000.9}, "created_at", 1_700_000_000),
        ({"created_at": 1_700_000_000_999}, "created_at", 1_700_000_000),
        ({"created_at": 1.7e12}, "created_at", 1_700_000_000),
        ({"created_at": 1_700_000_000_999_999}, "created_at", 1_700_000_000),
        ({"created_at": 1_700_000_000_999_999_999}, "created_at", 1_700_000_000),
        ({"created_at": "1700000000"}, "created_at", 1_700_000_000),
        ({"created_at": 0}, "created_at", 0),
        ({"created_at": 10**11 - 1}, "created_at", 10**11 - 1),
    ],
    ids=repr,
)
def test_numbers_that_are_written_in_another_way(change: dict[str, Any], field: str, value: int) -> None:
    """N1: by their magnitude they are what they must be; always whole seconds, and whole bytes."""
    shown = getattr(FileObject.from_wire({**GOOD, **change}), field)
    assert shown == value and type(shown) is int


def test_one_line_for_each_way(caplog: pytest.LogCaptureFixture) -> None:
    """N1: however many files and lists there are."""
    wire._tell.cache_clear()
    for _ in range(10):
        FileObject.from_wire({**GOOD, "bytes": "5", "created_at": 1_700_000_000_000})
    assert sorted(record.getMessage() for record in caplog.records) == [
        "The service gives bytes as a string of digits; that is understood.",
        "The service gives created_at in milliseconds; that is understood.",
    ]


@pytest.mark.parametrize("data", [None, [], "file", 1, {}, [GOOD]], ids=repr)
def test_what_is_no_object(data: object) -> None:
    """Anything but a JSON object is a ValueError, never another exception."""
    with pytest.raises(ValueError):
        FileObject.from_wire(data)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"purpose": None}, "purpose", "file-extract"),
        ({"purpose": ""}, "purpose", "file-extract"),
        ({"purpose": "newer"}, "purpose", "newer"),
        ({"status": None}, "status", "ok"),
        ({"status": "ready"}, "status", "ready"),
        ({"status_details": 5}, "status_details", ""),
        ({"status_details": "x" * 20_000}, "status_details", "x" * 1000),
        ({"status": "x" * 20_000}, "status", "x" * 100),
        ({"purpose": "x" * 20_000}, "purpose", "x" * 100),
        ({"filename": ""}, "filename", ""),
        ({"filename": "a/b\0"}, "filename", "a/b\0"),
        ({"unknown": 1}, "bytes", 123),
    ],
    ids=repr,
)
def test_what_may_differ(change: dict[str, Any], field: str, value: object) -> None:
    """Accept what newer services may say; keep the filename as it is: `names` makes it safe."""
    shown = getattr(FileObject.from_wire({**GOOD, **change}), field)
    assert shown == value


def test_statuses_do_not_overlap() -> None:
    """R4: a file is readable, failed or waiting, never two of them."""
    assert not wire.STATUS_OK & wire.STATUS_WAITING and wire.STATUS_ERROR not in wire.STATUS_OK | wire.STATUS_WAITING


def test_extensions_are_as_the_code_asks_for_them() -> None:
    """W11: lower case with their dot; TypeScript is no video."""
    for table in (wire.EXTRACTABLE, wire.IMAGE_EXTENSIONS, wire.VIDEO_EXTENSIONS):
        assert all(extension.startswith(".") and extension == extension.lower() for extension in table)
    assert not wire.EXTRACTABLE & wire.VIDEO_EXTENSIONS and ".ts" in wire.EXTRACTABLE


def test_a_name_beyond_all_bounds_is_cut() -> None:
    """N2: it keeps its beginning and its extension, and is another for each other name."""
    one, other = (FileObject.from_wire({**GOOD, "filename": f"a{'x' * size}.pdf"}).filename for size in (2000, 2001))
    assert len(one) <= 1024 and one.startswith("axx") and one.endswith("x.pdf") and one != other


def _long(body: bytes) -> mmap.mmap:
    """Return a body as the client hands over a long one."""
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


_FORMS = [
    b'{"content":"a","file_type":"text/plain"}',
    b' { "title" : "" , "content" : "a\\n\\u4e2d\\ud83d\\ude00\\\\" , "n":[1,{"a":"}"}], "x":null } \n',
    '{"content":"福州 😀 é"}'.encode(),
    b'{"content":"","content":"twice"}',
    b'{"content":"twice","content":1}',
    b'{"\\u0063ontent":"a name that is escaped"}',
    b'{"content":"lone \\ud800 and \\udc00\\ud83d"}',
    b'{"content":"\\\\ud83d\\\\\\\\ude00"}',
    b"{}", b"[]", b"null", b'"content"', b'{"content":1}', b'{"content":"a"', b'{"content":"a"}}', b'{"content":"a",}',
    b'{"content":"a"} x', b'{"content":"a\x01"}', b'{"content":"a\xff"}', b'{"content":"\\x"}', b'{"content":"\\u12"}',
    b'{"content" "a"}', b'{content:"a"}', b'{"other":{"content":"a"}}', b"plain text", b" ", b"{", b'{"a":tru}',
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("body", _FORMS, ids=repr)
def test_a_long_body_is_read_as_a_short_one(monkeypatch: pytest.MonkeyPatch, body: bytes, step: int) -> None:
    """R1, R2: piece by piece, wherever the pieces end."""
    monkeypatch.setattr(wire, "_STEP", max(step, 12))
    assert wire.is_text(_long(body)) == wire.is_text(body)
    assert b"".join(wire.long_text_in(_long(body))) == wire.text_in(body)


def test_a_long_body_of_nothing_but_escapes() -> None:
    """R1: of more than are looked at at once."""
    body = b'{"content":"' + b"\\ud83d\\ude00\\n" * 40_000 + b'"}'
    assert wire.is_text(_long(body)) and not wire.is_text(_long(body[:-2] + b'\\"}'))
    assert b"".join(wire.long_text_in(_long(body))) == wire.text_in(body)


def test_many_long_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: escapes, characters of each length and halves of pairs, cut at each place."""
    parts = ["a", "é", "中", "😀", "\\n", "\\\\", '\\"', "\\u4e2d", "\\ud83d\\ude00", "\\ud83d", "\\ude00", "ud83d"]
    chance = random.Random(1)
    for _ in range(2000):
        monkeypatch.setattr(wire, "_STEP", chance.randint(12, 40))
        body = ('{"content":"' + "".join(chance.choices(parts, k=chance.randint(0, 30))) + '","b":2}').encode()
        assert wire.is_text(_long(body)), body
        assert b"".join(wire.long_text_in(_long(body))) == wire.text_in(body), body


def metadata(**other: object) -> dict[str, object]:
    """Return a file as the second format describes it, changed by `other`."""
    return {
        "id": "file_d5k2",
        "filename": "a.pdf",
        "mime_type": "application/pdf",
        "size_bytes": 7,
        "created_at": "2026-09-01T08:00:00Z",
        "purpose": "file-extract",
        "extract_status": "ready",
    } | other


def test_the_second_format_is_the_same_file() -> None:
    """N1: whatever a list is asked for, one kind of file comes of it."""
    file = wire.FileObject.from_metadata(metadata(extract_status="error", status_details="why"))
    assert file == wire.FileObject("file_d5k2", 7, 1788249600, "a.pdf", "file-extract", "error", "why")
    assert wire.FileObject.from_metadata(metadata(extract_status=None, purpose=None)).status == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-01T08:00:00Z",
        "2026-09-01t08:00:00z",
        "2026-09-01T08:00:00.123456789Z",
        "2026-09-01T16:00:00+08:00",
        "2026-09-01T03:30:00.5-04:30",
        "2026-09-01 08:00:00Z",
        "2026-09-01T08:00:00",
    ],
)
def test_a_time_of_rfc_3339(text: str) -> None:
    """A1: in any of its spellings; one that does not say where is in UTC."""
    assert wire.FileObject.from_metadata(metadata(created_at=text)).created_at == 1788249600


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": "yesterday"},
        {"created_at": "2026-13-01T08:00:00Z"},
        {"created_at": "1960-01-01T00:00:00Z"},
        {"created_at": "9" * 1000},
        {"created_at": None},
        {"size_bytes": -1},
        {"size_bytes": None, "bytes": 7},
        {"id": "../x"},
        {"filename": 3},
    ],
)
def test_unusable_metadata(other: dict[str, object]) -> None:
    """N2: what makes no sense leaves out that file; a file object of the known format is none here."""
    with pytest.raises(ValueError, match="unusable"):
        wire.FileObject.from_metadata(metadata(**other))
    with pytest.raises(ValueError, match="JSON object"):
        wire.FileObject.from_metadata([])


def test_age_goes_by_time_then_id_however_it_is_spelt() -> None:
    """N3: the newer of equal names is the same one on each machine, whichever way a list spells its id."""
    one = wire.FileObject("d5k1", 1, 9, "a.txt")
    other = wire.FileObject("file_d5k2", 1, 9, "a.txt")
    assert one.age < other.age < wire.FileObject("file_d5k3", 1, 9, "a.txt").age
    assert wire.FileObject("file_d5k1", 1, 9, "a.txt").age < wire.FileObject("d5k2", 1, 9, "a.txt").age
