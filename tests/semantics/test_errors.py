"""What each failure becomes: the errno table, the record of it (E1), and that nothing waits for it (E2)."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    answered,
    early,
    empty,
    error,
    failed_after,
    page,
    rate_limited,
    redirect,
    refused,
    stalled,
    truncated,
)
from tests.harness.drive import SECONDS, Drive, hosted, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

KEY = ("Invalid Authentication", "invalid_authentication_error")
PLAN = ("You exceeded your current token quota", "exceeded_current_quota_error")

#: What the service answers to an upload → what close says.
UPLOAD: dict[str, tuple[Fault, int]] = {
    "401": (refused(401, *KEY), errno.EACCES),
    "403": (refused(403, "no permission", "permission_denied_error"), errno.EACCES),
    "type refused": (refused(400, "text extract error: 不支持的文件类型"), errno.ENOTSUP),
    "no text": (refused(400, "text extract error: 没有解析出内容"), errno.EINVAL),
    "another 400": (refused(400, "Invalid purpose: only 'file-extract' accepted"), errno.EINVAL),
    "too large": (refused(400, "File size is too large, max file size is 100MB, please confirm"), errno.EFBIG),
    "413 page": (page(413), errno.EFBIG),
    "413 before the body": (early(error(413, "too large")), errno.EFBIG),
    "count": (
        refused(400, "The number of files you have uploaded exceeded the max file count 1000, please delete"),
        errno.EDQUOT,
    ),
    "total": (
        refused(400, "The size of files you have uploaded exceeded the max file size, please delete"),
        errno.EDQUOT,
    ),
    "count, in short": (refused(400, "Too many uploaded files"), errno.EDQUOT),
    "no balance": (refused(403, "Insufficient balance, please recharge", "permission_denied_error"), errno.EDQUOT),
    "no quota": (refused(403, "organization exceeded current quota", "exceeded_current_quota_error"), errno.EDQUOT),
    "plan": (refused(429, *PLAN), errno.EDQUOT),
    "418": (refused(418, "teapot"), errno.EINVAL),
}

#: What the service answers to a request for a text → what open says.
CONTENT: dict[str, tuple[Fault, int]] = {
    "401": (refused(401, *KEY), errno.EACCES),
    "403": (refused(403, "no permission", "permission_denied_error"), errno.EACCES),
    "404": (refused(404, "The requested resource was not found", "resource_not_found_error"), errno.ENOENT),
    "400": (refused(400, "no"), errno.EINVAL),
    "plan": (refused(429, *PLAN), errno.EDQUOT),
    "extraction failed": (refused(500, "extract task failed: failed", "server_error"), errno.EIO),
    "nothing": (empty(200), errno.EIO),
    "redirect": (redirect("https://elsewhere.example/"), errno.EIO),
    "bytes that are no gzip": (answered(Reply(200, b"plain", {"Content-Encoding": "gzip"})), errno.EIO),
}


@pytest.mark.parametrize("case", list(UPLOAD))
def test_an_upload_that_is_refused(both: Faulty, case: str) -> None:
    """Table: the errno of close; nothing is stored, one request is sent. What the file itself is refused for keeps it
    here, readable and marked, until it is removed or put right."""
    fault, code = UPLOAD[case]
    both.server.script("upload", fault)
    name = f"{case.replace(' ', '_')}.txt"
    with fails(code):
        (both.drive / name).write_text("hello")
    assert both.server.files == {}
    assert both.server.count("upload") == 1
    if case in ("401", "403"):  # the account's trouble
        assert os.listdir(both.drive.point) == []
        return
    text = f"{name}.content"
    assert os.listdir(both.drive.point) == [name, text] and (both.drive / name).read_text() == "hello"
    with fails(code):  # whoever looks for the text is told why there is none
        (both.drive / text).read_bytes()
    assert os.getxattr(both.drive / name, "user.moonfs.state") == b"failed"
    (failed,) = both.drive.status()["uploads"]["failed"]
    assert (failed["name"], failed["errno"]) == (name, errno.errorcode[code].replace("EOPNOTSUPP", "ENOTSUP"))
    os.rename(both.drive / name, both.drive / f"good {name}")
    assert [stored.data for stored in both.server.files.values()] == [b"hello"]


#: What is not the service's own answer, whatever its status says.
FOREIGN: dict[str, Fault] = {
    **{f"{status} page": page(status) for status in (400, 401, 403, 404, 409, 410, 422)},
    "empty 400": empty(400),
    "json of a gateway": answered(Reply(404, b'{"message":"no Route matched with those values"}')),
    "redirect": redirect("https://elsewhere.example/v1/files"),
}


@pytest.mark.parametrize("case", list(FOREIGN))
def test_an_upload_that_something_else_answers(both: Faulty, case: str) -> None:
    """W3: it decides nothing, and is got over."""
    (both.drive / "a.txt").write_text("before")
    both.server.script("upload", FOREIGN[case])
    (both.drive / "a.txt").write_text("hello")
    assert [stored.data for stored in both.server.files.values()] == [b"hello"]


@pytest.mark.parametrize("case", ["404 page", "empty 400", "redirect"])
def test_uploads_that_something_else_answers(both: Faulty, case: str) -> None:
    """W3: one such answer after the other is EIO in the end, with a line."""
    (both.drive / "a.txt").write_text("hello")
    both.server.script("upload", *[FOREIGN[case]] * 9)
    with fails(errno.EIO):
        (both.drive / "a.txt").write_text("another")
    line = both.drive.errors()[-1]
    assert (line["name"], line["errno"], line["operation"]) == ("a.txt", "EIO", "flush")
    assert [stored.data for stored in both.server.files.values()] == [b"hello"]
    assert (both.drive / "a.txt").read_text() == "hello"


def test_an_upload_that_was_stored_though_a_page_answers(both: Faulty) -> None:
    """W3: a 404 in HTML from a proxy, after the service has the file: one copy, and the close succeeds."""
    both.server.script("upload", failed_after(Reply(404, b"<html>", {"Content-Type": "text/html"})))
    (both.drive / "a.txt").write_text("hello")
    assert [stored.data for stored in both.server.files.values()] == [b"hello"]
    assert both.server.count("upload") == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413])
def test_what_was_acknowledged_outlasts_pages(faulty: Callable[..., Faulty], service: FaultServer, status: int) -> None:
    """W2, W3: in write-back no proxy's page gives up an upload: it is tried again, and arrives."""
    drive = faulty("write_back").drive
    service.script("upload", page(status), page(status))
    (drive / "a.txt").write_text("hello")
    wait_until(lambda: service.names() == ["a.txt"], "the upload arrives")
    wait_until(lambda: drive.status()["uploads"]["failed"] == [], "the drive hears of it")


def test_a_deletion_that_a_page_answers_is_not_done(both: Faulty) -> None:
    """W8: a 404 in HTML is not the service's: the file is there, and shown."""
    both.server.add("a.txt", b"theirs")
    both.server.script("delete", *[page(404)] * 9)
    with fails(errno.EIO):
        (both.drive / "a.txt").unlink()
    assert both.server.names() == ["a.txt"] and "a.txt" in os.listdir(both.drive.point)
    both.server.unscript("delete")
    (both.drive / "a.txt").unlink()
    assert both.server.names() == [] and os.listdir(both.drive.point) == []


def test_a_deletion_in_the_background_outlasts_pages(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W8: in write-back it is tried until the service itself has answered."""
    service.add("a.txt", b"theirs")
    drive = faulty("write_back").drive
    service.script("delete", *[page(404)] * 7)
    (drive / "a.txt").unlink()
    assert os.listdir(drive.point) == []
    wait_until(lambda: service.names() == [], "the deletion is done")
    wait_until(lambda: drive.status()["uploads"]["deletions"] == 0, "nothing is left to do")


def test_a_404_of_the_service_has_its_line(both: Faulty) -> None:
    """E1: 404 on an upload and on a text are failures for a remote reason, and stand in the record."""
    gone = ("The requested resource was not found", "resource_not_found_error")
    both.server.script("upload", refused(404, *gone))
    with fails(errno.ENOENT):
        (both.drive / "b.txt").write_text("hello")
    line = both.drive.errors()[-1]
    assert (line["operation"], line["errno"], line["http_status"]) == ("flush", "ENOENT", 404)
    both.server.add("a.txt", b"theirs")
    both.server.script("content", refused(404, *gone))
    with fails(errno.ENOENT):
        (both.drive / "a.txt.content").read_bytes()
    line = both.drive.errors()[-1]
    assert (line["operation"], line["errno"], line["http_status"]) == ("open", "ENOENT", 404)


@pytest.mark.parametrize("case", list(CONTENT))
def test_a_text_that_cannot_be_had(both: Faulty, case: str) -> None:
    """Table: the errno of open, and a line that says why."""
    fault, code = CONTENT[case]
    both.server.add("a.txt", b"theirs")
    both.server.script("content", *[fault] * 6)
    with fails(code):
        (both.drive / "a.txt.content").read_bytes()
    line = both.drive.errors()[-1]
    assert (line["errno"], line["operation"]) == (errno.errorcode[code], "open")
    assert os.listdir(both.drive.point) == ["a.txt", "a.txt.content"], "the list has the file, whatever its text is"


def test_a_text_that_cannot_be_had_for_now(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Table: 429 with a pause beyond every patience: EAGAIN at once, for whatever else needs the service too; what is
    known stays listed and can be looked at."""
    service.add("a.txt", b"theirs")
    drive = faulty("listing_ttl=0").drive
    service.script("content", rate_limited("100"))
    with fails(errno.EAGAIN):
        (drive / "a.txt.content").read_bytes()
    assert (drive.errors()[-1]["errno"], drive.errors()[-1]["http_status"]) == ("EAGAIN", 429)
    with fails(errno.EAGAIN):
        (drive / "a.txt.content").read_bytes()
    with fails(errno.EAGAIN):
        (drive / "a.txt").unlink()
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"] and (drive / "a.txt").stat().st_size == 6
    assert service.count("content") == 1 and service.count("delete") == 0
    traffic = drive.status()["traffic"]
    assert traffic["pause"] > 60 and traffic["refusals"] == 1
    assert "paused for" in drive.command("status", str(drive.point)).stdout


def test_a_text_whose_file_was_deleted_elsewhere(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Table: 404 of a file that a new list does not have any more: ENOENT, and the file goes."""
    file = service.add("a.txt", b"theirs")
    drive = faulty("listing_ttl=1000").drive
    assert (drive / "a.txt.content").exists()
    with service.lock:
        del service.files[file.id]
    with fails(errno.ENOENT):
        (drive / "a.txt.content").read_bytes()
    assert os.listdir(drive.point) == []


def test_5xx_after_retries(both: Faulty) -> None:
    """Table: 5xx after retries: EIO; the next try starts anew."""
    both.server.add("a.txt", b"theirs")
    both.server.script("content", *[refused(503, "busy", "server_unavailable")] * 5)
    with fails(errno.EIO):
        (both.drive / "a.txt.content").read_bytes()
    assert both.server.count("content") > 1
    assert b"theirs" in (both.drive / "a.txt.content").read_bytes()


def test_a_passing_failure_is_not_seen(both: Faulty) -> None:
    """E2: one 5xx, one reset, one cut answer each are retried, and the reader sees nothing of it."""
    for index, fault in enumerate((page(502), lambda turn: turn.reset(), truncated())):
        both.server.add(f"{index}.txt", b"theirs")
        if index < 2:
            both.server.script("content", fault)
        assert b"theirs" in (both.drive / f"{index}.txt.content").read_bytes()


MISSING_HEADER = refused(400, "missing required header Kimi-Api-Version")


def test_a_refusal_that_passes_is_not_seen(both: Faulty) -> None:
    """Errors, W1: one call in six was refused so (LIVE): it is sent again; nothing is stored twice or looked for."""
    both.server.script("upload", MISSING_HEADER, MISSING_HEADER)
    both.server.script("list", MISSING_HEADER)
    both.server.script("content", MISSING_HEADER)
    both.server.script("delete", MISSING_HEADER)
    (both.drive / "a.txt").write_text("hello")
    assert "hello" in (both.drive / "a.txt.content").read_text()
    assert (both.server.count("upload"), len(both.server.files)) == (3, 1)
    (both.drive / "a.txt").unlink()
    assert both.server.files == {}


def test_a_refusal_that_passes_does_not_pass(both: Faulty) -> None:
    """Errors: where it goes on for seconds, EAGAIN; what was written is not kept as refused: it may be taken."""
    both.server.script("upload", *[MISSING_HEADER] * 10)
    with fails(errno.EAGAIN):
        (both.drive / "a.txt").write_text("hello")
    assert both.drive.status()["uploads"]["failed"] == [] and not (both.drive / "a.txt").exists()
    assert both.drive.errors()[-1]["next"].startswith("Try again in a minute")


def test_a_refusal_that_passes_is_never_final(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Errors, W2: in write-back it is tried again until it is over."""
    drive = faulty("write_back")
    service.script("upload", *[MISSING_HEADER] * 13)
    (drive.drive / "a.txt").write_text("hello")
    wait_until(lambda: service.names() == ["a.txt"], "it arrives")
    assert service.count("upload") == 14


def test_a_page_with_403_is_not_of_the_key(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Errors, W2, R6: a CDN's page is the network's: what is known stays listed, what is pending arrives after it."""
    service.add("theirs.txt", b"theirs")
    drive = faulty("write_back", "listing_ttl=0")
    service.weather = lambda _seen: page(403)
    (drive.drive / "a.txt").write_text("hello")
    assert "theirs.txt" in os.listdir(drive.drive.point)
    wait_until(lambda: service.count("upload") > 0, "it is tried")
    uploads = drive.drive.status()["uploads"]
    assert uploads["pending"] == ["a.txt"] and uploads["failed"] == []
    service.weather = lambda _seen: None
    wait_until(lambda: service.names() == ["a.txt", "theirs.txt"], "it arrives")


def test_a_time_out(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Table, E2: a service that takes the request and says nothing is ETIMEDOUT, in bounded time."""
    service.add("a.txt", b"theirs")
    drive = faulty("timeout=1", "listing_ttl=1000").drive
    service.script("content", *[stalled()] * 5)
    with fails(errno.ETIMEDOUT):
        (drive / "a.txt.content").read_bytes()


def test_an_upload_that_is_never_answered(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """Table, E2: `upload_timeout` bounds a close, retries included; nothing is stored twice."""
    drive = faulty("upload_timeout=2", "timeout=2").drive
    service.script("upload", *[stalled()] * 5)
    with fails(errno.ETIMEDOUT):
        (drive / "a.txt").write_text("hello")
    assert service.files == {}


def test_unreachable(fuse: None, tmp_path: Path) -> None:
    """Table, R6: nobody listens: EHOSTUNREACH for what would need the service; what is known stays listed."""
    with Drive(tmp_path) as drive:
        with FaultServer() as server:
            drive.environ |= hosted(server.base_url, server.key)[1]
            server.add("a.txt", b"theirs")
            drive.mount("timeout=2", "upload_timeout=2")
        assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
        with fails(errno.EHOSTUNREACH):
            (drive / "a.txt.content").read_bytes()
        with fails(errno.EHOSTUNREACH):
            (drive / "b.txt").write_text("hello")
        with fails(errno.EHOSTUNREACH):
            (drive / "a.txt").unlink()
        assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
        assert {line["errno"] for line in drive.errors()} == {"EHOSTUNREACH"}


def test_what_the_record_says(both: Faulty) -> None:
    """E1: time, operation, name, errno, HTTP status, request id, the service's message, and the same in English."""
    both.server.script("upload", refused(400, "text extract error: 不支持的文件类型"))
    with suppress(OSError):
        (both.drive / "a b.txt").write_text("hello")
    line = both.drive.errors()[-1]
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert (line["operation"], line["name"], line["errno"], line["http_status"]) == ("flush", "a b.txt", "ENOTSUP", 400)
    assert line["request_id"].startswith("request-")
    assert line["service_message"] == "text extract error: 不支持的文件类型"
    assert line["message"].isascii()
    assert "type" in line["message"]
    assert line["message"] in both.drive.command("status", str(both.drive.point), "--json").stdout


def test_the_record_is_for_failures(both: Faulty) -> None:
    """E1: what is no failure leaves no line: names that are not there, xattrs, a stat, a look, a program's own lock."""
    before = both.drive.errors()
    both.server.add("a.txt", b"theirs")
    both.drive.shell('ls "$DIR/nobody"; cat "$DIR/nobody"; test -e "$DIR/.hidden"; ls -la "$DIR"; touch "$DIR/a.txt"')
    for name in ("user.other", "security.capability"):
        with suppress(OSError):
            os.getxattr(both.drive / "a.txt", name)
    for make in (os.symlink, os.link):
        with fails(errno.EPERM):
            make(both.drive / "a.txt", both.drive / ".#a.txt")
    assert both.drive.errors() == before
    with fails(errno.EPERM):
        os.symlink("a.txt", both.drive / "b.txt")
    assert [each["name"] for each in both.drive.errors()[len(before) :]] == ["b.txt"]


def test_the_record_survives(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E1: the next mount still shows it, whatever the names in it."""
    drive = faulty().drive
    service.script("upload", refused(400, "text extract error: 没有解析出内容"))
    with suppress(OSError):
        (drive / '月亮 "quoted".txt').write_text("hello")
    drive.remount()
    assert [line["name"] for line in drive.errors()] == ['月亮 "quoted".txt']


def test_what_the_service_says_at_mount_and_umount(fuse: None, tmp_path: Path, service: FaultServer) -> None:
    """E1: its Chinese is translated there too; what is not known stays, marked as its own words."""
    said = refused(401, "鉴权失败，请检查 apikey 是否正确，请修改后重试", "invalid_authentication_error")
    unknown = refused(401, "月亮不在家", "invalid_authentication_error")
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        service.script("list", said)
        told = drive.try_mount().stderr
        assert "authentication failed, check that the API key is right, correct it, then try again" in told
        assert told.isascii()
        service.script("list", unknown)
        assert "月亮不在家 (the service's own words)" in drive.try_mount().stderr
        drive.mount("write_back")
        service.script("upload", *[said] * 20)
        (drive / "a.txt").write_text("hello")
        wait_until(lambda: drive.status()["uploads"]["waiting"], "it is refused")
        drive.pid = 0
        told = drive.command("umount", "--timeout", "0", str(drive.point)).stderr
        assert "The last try with a.txt" in told and "authentication failed" in told and "moonfs doctor" in told
        assert not any("\u4e00" <= char <= "\u9fff" for char in told)


@pytest.fixture
def stuck(both: Faulty) -> Iterator[Faulty]:
    """A drive with one upload that hangs, a file to look at and one to read."""
    both.server.add("theirs.txt", b"theirs")
    (both.drive / "mine.txt").write_text("mine")
    (both.drive / "theirs.txt.content").read_bytes()
    gate = Gate()
    both.server.script("upload", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((both.drive / "stuck.txt").write_text, "stuck")
        gate.wait()
        try:
            yield both
        finally:
            gate.opened.set()
            writer.result()


LOOKS = [
    'stat "$DIR/mine.txt"',
    'stat "$DIR/stuck.txt"',
    'stat "$DIR"',
    'ls -la "$DIR"',
    'ls "$DIR/nobody.txt" 2> /dev/null; true',
    'cat "$DIR/theirs.txt.content"',
    'cat "$DIR/mine.txt"',
    'cat "$DIR/stuck.txt"',
    'df "$DIR"',
    'echo hello > "$DIR/other.txt"',
    'rm "$DIR/theirs.txt"',
    'chmod 600 "$DIR/stuck.txt"',
    'cat "$DIR/.moonfs/status.json"',
    'mv "$DIR/mine.txt" "$DIR/moved.txt"',
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_stuck_upload_holds_up_nobody_else(stuck: Faulty, look: str) -> None:
    """E2: one stuck upload never blocks a stat, a listing, a read, a deletion, nor another upload."""
    stuck.drive.run(look, timeout=15)


def test_a_stuck_upload_can_be_deleted(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2, W8: nor the deletion of the very file that is stuck, and with it, in the kernel, every listing."""
    drive = faulty("upload_timeout=6").drive
    gate = Gate()
    service.script("upload", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit((drive / "stuck.txt").write_text, "stuck")
        gate.wait()
        change = subprocess.Popen(["rm", drive / "stuck.txt"])
        try:
            assert change.wait(3) == 0
            drive.run('ls "$DIR"', timeout=3)
        finally:
            gate.opened.set()
            change.wait(SECONDS)
            with suppress(OSError):
                writer.result()


def test_many_stuck_uploads(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2: more uploads hang than may be sent at once; looking still works, and in the end all arrive."""
    drive = faulty("requests=2").drive
    gates = [Gate() for _ in range(12)]
    service.script("upload", *[gate.before for gate in gates])
    # Writers of their own process: a fork of ours would inherit their descriptors, and wait at its exec to flush them.
    script = 'for i in 0 1 2 3 4 5 6 7 8 9 10 11; do echo $i > "$DIR/$i.txt" & done; wait'
    with subprocess.Popen(["sh", "-c", script], env={**os.environ, "DIR": str(drive.point)}) as writers:
        try:
            gates[0].wait()
            gates[1].wait()
            wait_until(lambda: len(os.listdir(drive.point)) == 12, "all are listed")
            assert service.count("upload") == 2
            drive.run('ls -l "$DIR"; stat "$DIR"/*; df "$DIR"', timeout=15)
        finally:
            for gate in gates:
                gate.opened.set()
        assert writers.wait(SECONDS) == 0
    assert len(service.files) == 12


def test_a_stuck_rename_holds_up_nobody(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2: an upload that begins with a rename (rsync, editors) blocks no listing either."""
    drive = faulty("upload_timeout=6").drive
    (drive / ".new").write_text("hello")
    gate = Gate()
    service.script("upload", gate.before)
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(os.rename, drive / ".new", drive / "a.txt")
        gate.wait()
        try:
            drive.run('ls "$DIR"', timeout=3)
        finally:
            gate.opened.set()
            with suppress(OSError):
                writer.result()


def test_a_listing_that_hangs_holds_up_no_read(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2: an open file is read and written while a listing hangs."""
    service.add("theirs.txt", b"theirs" * 50_000)
    drive = faulty("listing_ttl=0", "timeout=20").drive
    gate = Gate()
    with (
        open(drive / "theirs.txt.content", "rb", buffering=0) as text,
        open(drive / "m.tmp", "wb", buffering=0) as mine,
    ):
        service.script("list", gate.before)
        with ThreadPoolExecutor(2) as pool:
            looker = pool.submit(os.listdir, drive.point)
            gate.wait()
            reader = pool.submit(lambda: (text.read(100_000), mine.write(b"hello")))
            assert reader.result(SECONDS)[1] == 5
            gate.opened.set()
            looker.result()


def test_errors_of_shell_builtins(both: Faulty) -> None:
    """E1: an `echo >` that failed tells nobody; the record does."""
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    both.drive.shell('echo hello > "$DIR/silent.txt"')
    assert both.drive.errors()[-1]["name"] == "silent.txt"
    shown = json.loads(both.drive.command("status", str(both.drive.point), "--json").stdout)
    assert shown["errors"][-1]["name"] == "silent.txt"
