"""Reading: texts byte for byte, one request a text, what cannot be read and why, and what stays readable (R1-R6)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moonfs import remote
from moonfs.errors import ExtractionFailed, NotReady
from moonfs.filesystem import Filesystem
from moonfs.operations import errno_of
from tests.conftest import Faulty, Pair
from tests.faults.server import Fault, FaultServer, Reply, Turn, answered, refused, truncated
from tests.harness.direct import filesystem
from tests.harness.drive import SECONDS
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse


@pytest.mark.parametrize(
    "text",
    [b"x", b"plain\r\nlines\n", "中文，带\t制表符 \U0001f311".encode(), b'\\ " / \x00 \x7f', b"x" * (4 << 20)],
    ids=["one byte", "lines", "unicode", "odd bytes", "4 MiB"],
)
def test_a_sidecar_is_the_body_byte_for_byte(both: Faulty, text: bytes) -> None:
    """R1: sidecars hold the body of `/content`, byte for byte."""
    body = json.dumps({"content": text.decode("latin-1"), "type": "file"}).encode()
    both.server.add("a.txt", b"whatever")
    both.server.script("content", answered(Reply(200, body, {"Content-Type": "text/plain; charset=utf-8"})))
    assert (both.drive / "a.txt.content").read_bytes() == body


def test_a_body_that_is_no_json_comes_as_it_is(both: Faulty) -> None:
    """R1: what a batch output file returns (JSONL), or anything else, is not touched."""
    both.server.add("out.jsonl", b"whatever", purpose="batch")
    body = b'{"id":1}\n{"id":2}\n\xff\xfe not even text'
    both.server.script("content", *[answered(Reply(200, body, {"Content-Type": "application/octet-stream"}))] * 2)
    assert (both.drive / "out.jsonl.content").read_bytes() == body


#: Bodies that are no text of an extracted file, though their lengths are right.
ODD = {
    "junk": b"\x00\xff\x17junk",
    "empty object": b"{}",
    "content is no string": b'{"content":null}',
    "plain": b"hello",
}


@pytest.mark.parametrize("case", list(ODD))
def test_a_body_of_another_form_counts_when_it_comes_twice(both: Faulty, case: str) -> None:
    """R2: it is asked for twice, shown if it is the same, and not kept; a text of the right form is kept as ever."""
    both.server.add("a.txt", b"whatever")
    both.server.script("content", *[answered(Reply(200, ODD[case]))] * 4)
    for asked in (2, 4):
        assert (both.drive / "a.txt.content").read_bytes() == ODD[case]
        assert both.server.count("content") == asked
    for _ in range(2):
        assert b"whatever" in (both.drive / "a.txt.content").read_bytes()
    assert both.server.count("content") == 5


def test_no_page_of_a_doubtful_body_is_kept(both: Faulty) -> None:
    """R2: not by the kernel either: the text that comes afterwards has the same length and the same id."""
    both.server.add("a.txt", b"whatever")
    both.server.add("b.txt", b"whatever")
    length = len((both.drive / "b.txt.content").read_bytes())
    both.server.script("content", *[answered(Reply(200, b"x" * length))] * 2)
    assert (both.drive / "a.txt.content").read_bytes() == b"x" * length
    text = (both.drive / "a.txt.content").read_bytes()
    assert len(text) == length and json.loads(text)["content"] == "whatever"


def test_a_text_that_is_cut_short_is_never_shown(both: Faulty) -> None:
    """R2: half of a text, with a length that fits, is EIO; the whole one is there afterwards."""
    both.server.add("a.txt", b"a text of some length")
    both.server.script("content", truncated(20))
    with fails(errno.EIO):
        (both.drive / "a.txt.content").read_bytes()
    assert "two different texts" in both.drive.errors()[-1]["message"]
    assert b"a text of some length" in (both.drive / "a.txt.content").read_bytes()


def test_a_text_without_a_length_is_whole_or_not_shown(both: Faulty) -> None:
    """R2: an answer that ends where its connection does may have been cut; JSON that is whole was not."""
    both.server.add("a.txt", b"a text of some length")

    def until_closed(keep: int | None) -> Fault:
        def fault(turn: Turn) -> None:
            reply = turn.serve()
            turn.send(Reply(200, reply.body[:keep], {"Content-Length": None, "Connection": "close"}))  # type: ignore[dict-item]
            turn.hang_up()

        return fault

    both.server.script("content", until_closed(30))
    with fails(errno.EIO):
        (both.drive / "a.txt.content").read_bytes()
    both.server.script("content", until_closed(None))
    assert b"a text of some length" in (both.drive / "a.txt.content").read_bytes()
    assert both.server.count("content") == 3


def test_a_page_is_never_shown(both: Faulty) -> None:
    """R2: an HTML page is EIO however often it comes, whatever it is said to be."""
    both.server.add("a.txt", b"whatever")
    body = b"<!DOCTYPE html><title>Sign in</title>"
    both.server.script("content", *[answered(Reply(200, body, {"Content-Type": "text/plain"}))] * 2)
    with fails(errno.EIO):
        (both.drive / "a.txt.content").read_bytes()


def test_the_text_is_what_the_service_extracted(pair: Pair) -> None:
    """R1: on the real local server the sidecar is what `GET /files/{id}/content` answers."""
    (pair.drive / "reading.md").write_text("# Mond\n\n月亮\n")
    body = (pair.drive / "reading.md.content").read_bytes()
    assert body == pair.account.content(pair.account.only("reading.md")["id"])
    assert json.loads(body)["content"] == "# Mond\n\n月亮\n"


def test_a_text_is_asked_for_once(both: Faulty) -> None:
    """R2: text is immutable per id: read twice it is asked for once."""
    both.server.add("a.txt", b"one")
    assert (both.drive / "a.txt.content").read_bytes() == (both.drive / "a.txt.content").read_bytes()
    assert both.server.count("content") == 1


def test_concurrent_readers_share_one_request(both: Faulty) -> None:
    """R2: concurrent readers share one request."""
    both.server.add("a.txt", b"one")
    gate = Gate()
    both.server.script("content", gate.before)
    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit((both.drive / "a.txt.content").read_bytes) for _ in range(6)]
        gate.wait()
        gate.opened.set()
        assert len({reader.result() for reader in readers}) == 1
    assert both.server.count("content") == 1


def test_extraction_that_failed(both: Faulty) -> None:
    """R4: `open` of its sidecar is EIO; the reason stands in the xattr and in `errors.ndjson`; no request."""
    both.server.add("bad.pdf", b"one", status="error", status_details="文件损坏 damaged xref")
    with fails(errno.EIO):
        (both.drive / "bad.pdf.content").read_bytes()
    assert os.getxattr(both.drive / "bad.pdf", "user.moonfs.status") == b"error"
    assert "damaged xref" in os.getxattr(both.drive / "bad.pdf", "user.moonfs.status_details").decode()
    assert "damaged xref" in os.getxattr(both.drive / "bad.pdf.content", "user.moonfs.status_details").decode()
    line = both.drive.errors()[-1]
    assert (line["operation"], line["name"], line["errno"]) == ("open", "bad.pdf.content", "EIO")
    assert "damaged xref" in line["message"]
    assert both.server.count("content") == 0


@pytest.mark.parametrize("status", ["created", "processing"])
def test_extraction_that_ends_while_one_waits(both: Faulty, status: str) -> None:
    """R4: not extracted yet: `open` waits, and reads the text when it is there."""
    stored = both.server.add("slow.pdf", b"text at last", status=status)
    looked = threading.Event()

    def finish() -> None:
        assert looked.wait(60)
        stored.status = "ok"

    both.server.script("retrieve", lambda turn: (turn.send(turn.serve()), looked.set())[0])
    helper = threading.Thread(target=finish)
    helper.start()
    text = (both.drive / "slow.pdf.content").read_bytes()
    helper.join()
    assert b"text at last" in text


def test_extraction_that_does_not_end(tmp_path: Path, service: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: a bounded wait, then EAGAIN; nothing is held up meanwhile."""
    monkeypatch.setattr(remote, "EXTRACTION_WAIT", 1.0)
    service.add("slow.pdf", b"one", status="processing")
    service.script("content", *[refused(400, "not yet", "failed_precondition_error")] * 5)
    waits = threading.Event()
    service.script("retrieve", lambda turn: (waits.set(), turn.send(turn.serve()))[1])
    with filesystem(service, tmp_path) as drive, ThreadPoolExecutor(1) as pool:
        reader = pool.submit(drive.open, "/slow.pdf.content", read=True, write=False)
        assert waits.wait(SECONDS)
        assert drive.getattr("/slow.pdf.content").size == 1
        with pytest.raises(NotReady) as refusal:
            reader.result()
    assert errno_of(refusal.value) == errno.EAGAIN
    assert service.count("content") == 1, "it was asked for in the end"


@pytest.mark.parametrize("status", ["created", "uploaded", "processing"])
def test_a_status_that_never_changes(
    tmp_path: Path, service: FaultServer, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """R4: after the wait the content is asked for in spite of it, and a text that comes counts; it is kept (R2)."""
    monkeypatch.setattr(remote, "EXTRACTION_WAIT", 1.0)
    service.add("stuck.pdf", b"text of it", status=status)
    with filesystem(service, tmp_path) as drive:
        for _ in range(2):
            assert b"text of it" in text_of(drive, "/stuck.pdf.content")
        asked = service.count("retrieve")
        assert b"text of it" in text_of(drive, "/stuck.pdf.content")
    assert service.count("content") == 1 and service.count("retrieve") == asked > 0


def test_a_status_of_long_ago(both: Faulty) -> None:
    """R4: ten minutes after a file was made nobody waits for its status: the content is asked for at once."""
    for number in range(3):
        both.server.add(f"{number}.pdf", b"text of it", status="uploaded", created_at=1_700_000_000)
    began = time.monotonic()
    done = both.drive.run('grep -l "text of it" "$DIR"/*.content | wc -l')
    assert done.strip() == "3" and time.monotonic() - began < remote.EXTRACTION_WAIT
    assert both.server.count("retrieve") == 0


def test_a_text_that_is_not_there_in_the_end(
    tmp_path: Path, service: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R4, R2: an empty one counts for none while it is being made, and is not asked for again within a minute."""
    monkeypatch.setattr(remote, "EXTRACTION_WAIT", 0.6)
    stored = service.add("slow.pdf", b"text at last", status="processing")
    read, service.read = service.read, lambda _data: ""
    with filesystem(service, tmp_path) as drive:
        for wait in (False, True, True):  # O_NONBLOCK, and two who wait
            with pytest.raises(NotReady):
                drive.open("/slow.pdf.content", read=True, write=False, waits=wait)
            assert service.count("content") == wait
        service.read, stored.status = read, "ready"
        assert b"text at last" in text_of(drive, "/slow.pdf.content")


def test_a_failure_in_the_end(tmp_path: Path, service: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: what the service says of the extraction then is its word, and EIO."""
    monkeypatch.setattr(remote, "EXTRACTION_WAIT", 0.6)
    service.add("slow.pdf", b"one", status="processing")
    service.script("content", refused(500, "extract task failed: damaged", "server_error"))
    with filesystem(service, tmp_path) as drive, pytest.raises(ExtractionFailed, match="damaged"):
        drive.open("/slow.pdf.content", read=True, write=False)


def text_of(drive: Filesystem, path: str) -> bytes:
    opened = drive.open(path, read=True, write=False)
    buffer = bytearray(1000)
    count = drive.read(opened.handle, memoryview(buffer), 0)
    drive.release(opened.handle)
    return bytes(buffer[:count])


def test_a_text_that_is_refused(both: Faulty) -> None:
    """R4: a 500 on content that says `extract task failed` is EIO, and the service's words stand in the log."""
    both.server.add("a.pdf", b"one")
    both.server.script("content", *[refused(500, "extract task failed: failed", "server_error")] * 5)
    with fails(errno.EIO):
        (both.drive / "a.pdf.content").read_bytes()
    assert both.drive.errors()[-1]["service_message"] == "extract task failed: failed"


def test_a_failed_text_is_asked_for_again(both: Faulty) -> None:
    """R2: only texts are remembered, never failures."""
    both.server.add("a.pdf", b"one")
    both.server.script("content", refused(403, "no", "permission_denied_error"))
    with fails(errno.EACCES):
        (both.drive / "a.pdf.content").read_bytes()
    assert b"one" in (both.drive / "a.pdf.content").read_bytes()


def test_a_file_that_was_deleted_elsewhere_meanwhile(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Table: 404 is ENOENT, and the drive shows the file no longer."""
    stored = service.add("a.txt", b"one")
    drive = faulty("listing_ttl=1000").drive
    del service.files[stored.id]
    with fails(errno.ENOENT):
        (drive / "a.txt.content").read_bytes()
    assert os.listdir(drive.point) == []


def test_own_bytes_are_read_back(both: Faulty) -> None:
    """R5: bytes that were written through this machine can be read here, with no request."""
    body = os.urandom(300_000)
    (both.drive / "a.bin").write_bytes(body)
    asked = both.server.count("content"), both.server.count("retrieve")
    assert (both.drive / "a.bin").read_bytes() == body
    assert (both.server.count("content"), both.server.count("retrieve")) == asked


def test_own_bytes_are_read_back_after_a_remount(faulty: Callable[..., Faulty]) -> None:
    """R5: and by the next mount."""
    drive = faulty().drive
    body = os.urandom(300_000)
    (drive / "a.bin").write_bytes(body)
    drive.remount()
    assert (drive / "a.bin").read_bytes() == body


def test_damaged_bytes_are_never_shown(faulty: Callable[..., Faulty]) -> None:
    """R5, tenet 3: read back they are verified by hash; a damaged copy is EACCES, as if it were not here."""
    drive = faulty().drive
    (drive / "a.bin").write_bytes(b"x" * 10_000)
    drive.umount()
    (original,) = (path for path in drive.home.rglob("originals/*") if path.is_file())
    original.write_bytes(b"y" * 10_000)
    drive.mount()
    with fails(errno.EACCES):
        (drive / "a.bin").read_bytes()


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "read and write"])
def test_originals_of_others_cannot_be_had(both: Faulty, flags: int) -> None:
    """R5: EACCES, never text in their place; the reason tells what to read instead."""
    both.server.add("theirs.pdf", b"%PDF")
    with fails(errno.EACCES):
        os.close(os.open(both.drive / "theirs.pdf", flags))
    assert "theirs.pdf.content" in both.drive.errors()[-1]["message"]
    assert both.server.count("content") == 0


def test_what_is_cached_stays_readable(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R6: when the service is unreachable, what is cached stays readable and listed."""
    service.add("theirs.txt", b"theirs")
    drive = faulty("listing_ttl=0", "timeout=3").drive
    (drive / "mine.txt").write_text("mine")
    text = (drive / "theirs.txt.content").read_bytes()
    service.script("list", *[lambda turn: turn.reset()] * 50)
    service.script("content", *[lambda turn: turn.reset()] * 50)
    assert len(os.listdir(drive.point)) == 4
    assert (drive / "theirs.txt.content").read_bytes() == text
    assert (drive / "mine.txt").read_text() == "mine"
    assert drive.status()["listing"]["stale_because"]


def test_an_original_is_read_once(both: Faulty) -> None:
    """R2, R5, tenet 3: its pages stay with the kernel while its id is behind the name, and not a moment longer."""
    path, body = both.drive / "a.txt", os.urandom(300_000)
    path.write_bytes(body)
    for _ in range(2):  # what the writer left in the page cache is not relied upon
        assert path.read_bytes() == body
    stored = next((both.drive.home / "cache").rglob(hashlib.sha256(body).hexdigest()))
    stored.write_bytes(bytes(len(body)))
    assert path.read_bytes() == body, "from the page cache"
    for other in (body[:100_000], body[::-1]):
        path.write_bytes(other)
        for _ in range(2):
            assert path.read_bytes() == other
    moved = both.drive / "b.txt"
    os.rename(path, moved)
    path.write_bytes(body[:5])
    for _ in range(2):
        assert (moved.read_bytes(), path.read_bytes()) == (body[::-1], body[:5])


def test_a_reader_of_the_old_text_spoils_no_reader_of_the_new(both: Faulty) -> None:
    """Tenet 3, R2, W12: both have one path, and so one page cache; each reads its own text, and the file as it is."""
    old, new = ("".join(f"{word} {line}\n" for line in range(20_000)) for word in ("old", "new"))
    path, text = both.drive / "a.txt", both.drive / "a.txt.content"
    path.write_text(old)
    with text.open("rb", buffering=0) as old_text, path.open("rb", buffering=0) as old_bytes:
        old_text.read(10), old_bytes.read(10)
        path.write_text(new)
        with text.open("rb", buffering=0) as new_text, path.open("rb", buffering=0) as new_bytes:
            new_text.read(10), new_bytes.read(10)
            assert b"new" not in old_text.readall() and b"old" not in old_bytes.readall()
            assert b"old" not in new_text.readall() and b"old" not in new_bytes.readall()
    for _ in range(2):
        assert b"old" not in text.read_bytes() and path.read_text() == new
