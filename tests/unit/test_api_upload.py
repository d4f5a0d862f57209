"""Uploads: the body on the wire, constant memory, and what may be sent twice (W3)."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from moonfs import errors, wire
from moonfs.api import Client, Timeouts
from moonfs.api.multipart import CHUNK_BYTES, FormBody
from moonfs.api.retry import Retry
from moonfs.errors import MoonfsError
from moonfs.wire import FileObject
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    answered,
    broken_off,
    early,
    empty,
    error,
    failed_after,
    page,
    parse_form,
    rate_limited,
    redirect,
    refused,
    reset_mid_body,
    stalled,
    stalled_after,
    truncated,
)

DATA = os.urandom(3 * CHUNK_BYTES + 17)


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultServer]:
    with FaultServer(socket=tmp_path / "api.sock" if request.param == "unix" else None) as running:
        yield running


@pytest.fixture
def client(server: FaultServer) -> Iterator[Client]:
    timeouts = Timeouts(write=0.3, upload_read=0.3)
    retry = Retry(sleep=lambda _: None)
    with Client(server.base_url, server.key, socket=server.socket, retry=retry, timeouts=timeouts) as running:
        yield running


def upload(client: Client, data: bytes = DATA, *, filename: str = "a.txt") -> FileObject:
    return client.upload(io.BytesIO(data), filename=filename, size=len(data), purpose=wire.FILE_EXTRACT)


@pytest.mark.parametrize(
    "filename",
    [
        "a.txt",
        "福州商场.pdf",
        'say "hi".txt',
        "back\\slash.txt",
        '\\"',
        "a;b=c, d.txt",
        "%22.txt",
        " x ",
        "é\u202e🙂",
    ],
)
def test_names_and_bytes_arrive_as_they_are(server: FaultServer, client: Client, filename: str) -> None:
    file = upload(client, filename=filename)
    stored = server.files[file.id]
    assert (stored.filename, stored.data, stored.purpose) == (filename, DATA, "file-extract")
    assert (file.filename, file.bytes) == (filename, len(DATA))


@pytest.mark.parametrize("filename", ["", "a\nb", "a\r\n\r\nb", "a\0b", "\x1b[31m", "a\x7f", "\x85", "a\ud800"])
def test_a_name_that_could_break_the_body_is_refused(server: FaultServer, client: Client, filename: str) -> None:
    with pytest.raises(errors.InvalidName):
        upload(client, filename=filename)
    assert server.count() == 0


@pytest.mark.parametrize("purpose", ["", 'x"\r\n', "a b", "é"])
def test_a_purpose_that_could_break_the_body_is_refused(client: Client, purpose: str) -> None:
    with pytest.raises(errors.UsageError):
        client.upload(io.BytesIO(b"x"), filename="a.txt", size=1, purpose=purpose)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_the_length_is_exact(size: int) -> None:
    form = FormBody(io.BytesIO(DATA[:size]), filename="福.txt", size=size, purpose="image")
    for _attempt in range(2):
        body = b"".join(form.chunks())
        assert form.headers["Content-Length"] == str(len(body))
        fields = parse_form(form.headers["Content-Type"], body)
        assert fields == {"purpose": ("", b"image"), "file": ("福.txt", DATA[:size])}


def test_started_and_finished_tell_how_far_an_attempt_came() -> None:
    form = FormBody(io.BytesIO(DATA), filename="a", size=len(DATA), purpose="image")
    assert (form.started, form.finished) == (False, False)
    chunks = form.chunks()
    next(chunks)
    assert (form.started, form.finished) == (True, False)
    list(chunks)
    assert (form.started, form.finished) == (True, True)


def opened(data: bytes, mode: str = "w+b") -> BinaryIO:
    file = tempfile.TemporaryFile(mode)  # noqa: SIM115
    file.write(data[:-5])
    file.write(data[-5:])  # stays in the buffer
    return file  # type: ignore[return-value]


def test_a_file_is_read_from_its_start_and_its_position_stays(server: FaultServer, client: Client) -> None:
    with opened(DATA) as source:  # still buffered in part, position at the end
        server.script("upload", rate_limited())
        client.upload(source, filename="a.txt", size=len(DATA), purpose="file-extract")
        assert source.tell() == len(DATA)
    (stored,) = server.files.values()
    assert stored.data == DATA


@pytest.mark.parametrize("wrong", [-1, 1])
@pytest.mark.parametrize("make", [io.BytesIO, opened])
def test_another_size_than_announced_is_not_sent(server: FaultServer, client: Client, make: type, wrong: int) -> None:
    with make(DATA) as source, pytest.raises(MoonfsError, match="changed") as raised:
        client.upload(source, filename="a.txt", size=len(DATA) + wrong, purpose="file-extract")
    assert raised.value.maybe_stored is False
    assert server.count() == 0


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_meanwhile_is_not_stored(server: FaultServer, client: Client, change: int) -> None:
    source = io.BytesIO(DATA)
    read = source.read

    def changing(count: int = -1) -> bytes:
        if change < 0:
            source.truncate(len(DATA) - 1)
        elif source.getbuffer().nbytes == len(DATA):
            at = source.tell()
            source.seek(0, os.SEEK_END)
            source.write(b"x")
            source.seek(at)
        return read(count)

    source.read = changing  # type: ignore[method-assign]
    with pytest.raises(MoonfsError, match="changed"):
        client.upload(source, filename="a.txt", size=len(DATA), purpose="file-extract")
    assert server.names() == []


def test_a_closed_source_is_one_sentence(server: FaultServer, client: Client) -> None:
    source = io.BytesIO(DATA)
    source.close()
    with pytest.raises(MoonfsError, match="cannot be read"):
        client.upload(source, filename="a.txt", size=len(DATA), purpose="file-extract")


NOT_TAKEN = [rate_limited(), rate_limited(None, "engine_overloaded_error"), early(error(429, "x", "y"))]


@pytest.mark.parametrize("fault", NOT_TAKEN)
def test_what_was_certainly_not_taken_is_sent_again(server: FaultServer, client: Client, fault: Fault) -> None:
    server.script("upload", fault, fault)
    file = upload(client)
    assert server.count() == 3
    assert list(server.files) == [file.id]
    assert server.files[file.id].data == DATA


IN_DOUBT = [
    (answer_lost(), errors.Unreachable, 1),
    (answer_reset(), errors.Unreachable, 1),
    (reset_mid_body(), errors.Unreachable, 0),
    (broken_off(), errors.Unreachable, 1),
    (stalled(), errors.TimedOut, 0),
    (stalled_after(), errors.TimedOut, 1),
    (stalled_after(headers=True), errors.TimedOut, 1),
    (failed_after(), errors.ServiceError, 1),
    (failed_after(error(503, "busy", "server_unavailable")), errors.ServiceError, 1),
    (page(504), errors.ServiceError, 0),
    (answered(Reply(408)), errors.TimedOut, 0),
    (page(400), errors.ForeignAnswer, 0),
    (page(403), errors.ForeignAnswer, 0),
    (page(404), errors.ForeignAnswer, 0),
    (failed_after(Reply(409, b"<html>")), errors.ForeignAnswer, 1),
    (page(429), errors.RateLimited, 0),
    (redirect("https://x.example/"), errors.ProtocolError, 0),
    (empty(200), errors.ProtocolError, 0),
    (truncated(), errors.ProtocolError, 1),
    (answered(Reply(200, b"{}")), errors.ProtocolError, 0),
    (answered(Reply(200, b"x", {"Content-Encoding": "gzip"})), errors.ProtocolError, 0),
]


@pytest.mark.parametrize(("fault", "expected", "stored"), IN_DOUBT)
def test_what_is_in_doubt_is_not_sent_again(
    server: FaultServer, client: Client, fault: Fault, expected: type[MoonfsError], stored: int
) -> None:
    """W3: the caller matches the remote list first."""
    server.script("upload", fault)
    with pytest.raises(expected) as raised:
        upload(client, os.urandom(3_000_000))
    assert type(raised.value) is expected
    assert raised.value.maybe_stored is True
    assert server.count("upload") == 1
    assert len(server.files) == stored


def test_a_refusal_that_passes_is_sent_again(server: FaultServer, client: Client) -> None:
    """Errors, W3: it has stored nothing for certain, so no list is looked at."""
    server.script("upload", *[refused(400, "missing required header Kimi-Api-Version")] * 3)
    upload(client)
    assert (server.count("upload"), server.count("list"), len(server.files)) == (4, 0, 1)


def test_a_stored_failure_is_raised_with_its_id(server: FaultServer, client: Client) -> None:
    """W1: a 200 whose file has the status `error` is a refusal; it says what is to be deleted."""

    def fails(turn: Turn) -> None:
        turn.serve()
        (stored,) = turn.server.files.values()
        stored.status, stored.status_details = "error", wire.MSG_NO_TEXT
        turn.send(Reply(200, wire.dump(stored.to_wire())))

    server.script("upload", fails)
    with pytest.raises(errors.NoText, match="no text could be extracted") as raised:
        upload(client)
    assert [raised.value.stored_as] == list(server.files) and raised.value.request_id
    assert raised.value.maybe_stored is False and server.count() == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refused(400, wire.MSG_TOO_LARGE), errors.FileTooLarge),
        (refused(400, wire.MSG_NO_TEXT), errors.NoText),
        (refused(400, wire.MSG_UNSUPPORTED), errors.UnsupportedType),
        (refused(400, wire.MSG_TOO_MANY.format(n=1000)), errors.TooManyFiles),
        (refused(400, wire.MSG_TOO_MANY_SHORT), errors.TooManyFiles),
        (refused(401, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION), errors.AuthenticationFailed),
        (refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA), errors.QuotaExceeded),
        (page(413), errors.FileTooLarge),
    ],
)
def test_a_refusal_is_final_and_leaves_no_doubt(
    server: FaultServer, client: Client, fault: Fault, expected: type[MoonfsError]
) -> None:
    server.script("upload", fault)
    with pytest.raises(expected) as raised:
        upload(client)
    assert type(raised.value) is expected
    assert raised.value.maybe_stored is False
    assert server.count() == 1


@pytest.mark.parametrize("after", [0, 100_000])
@pytest.mark.parametrize("round_", range(5))
def test_a_refusal_before_the_end_of_the_body_is_heard(
    server: FaultServer, client: Client, after: int, round_: int
) -> None:
    """The server hangs up with megabytes unread: its answer counts, not the broken pipe behind it."""
    server.script("upload", early(error(413, wire.MSG_TOO_LARGE), after=after))
    with pytest.raises(errors.FileTooLarge) as raised:
        upload(client, bytes(20_000_000))
    assert raised.value.maybe_stored is False
    assert server.seen[0].body_bytes < 20_000_000


def test_a_page_before_the_end_of_the_body_leaves_no_doubt(server: FaultServer, client: Client) -> None:
    """W3: a proxy that refuses before it has the whole body has handed nothing on."""
    server.script("upload", early(Reply(403, b"<html>", {"Content-Type": "text/html"})))
    with pytest.raises(errors.ForeignAnswer) as raised:
        upload(client, bytes(20_000_000))
    assert raised.value.foreign and raised.value.maybe_stored is False


def test_a_confirmation_before_the_end_of_the_body_confirms_nothing(server: FaultServer, client: Client) -> None:
    size = 20_000_000
    confirmed = wire.dump(FileObject("abc", size, 1, "a.txt").to_wire())
    server.script("upload", early(Reply(200, confirmed)))
    with pytest.raises(errors.ProtocolError, match="not yet received") as raised:
        upload(client, bytes(size))
    assert raised.value.maybe_stored is True


def test_a_service_that_takes_no_more_bytes_is_a_time_out(server: FaultServer, client: Client) -> None:
    server.script("upload", Turn.stall)
    with pytest.raises(errors.TimedOut, match="took no more") as raised:
        upload(client, bytes(20_000_000))
    assert raised.value.maybe_stored is True


def test_the_deadline_ends_an_upload_that_moves_but_slowly(server: FaultServer) -> None:
    def sip(turn: Turn) -> None:
        for _ in range(1000):
            turn.read(10_000)
            turn.stall(0.05)

    server.script("upload", sip)
    began = time.monotonic()
    with (
        Client(server.base_url, server.key, socket=server.socket) as client,
        pytest.raises(errors.TimedOut) as raised,
    ):
        client.upload(io.BytesIO(bytes(50_000_000)), filename="a", size=50_000_000, purpose="image", deadline=0.5)
    assert time.monotonic() - began < 30
    assert raised.value.maybe_stored is True


def test_time_spent_on_the_body_is_not_given_to_the_answer_again(server: FaultServer) -> None:
    def late(turn: Turn) -> None:
        turn.stall(2.5)
        turn.read()
        turn.stall()

    server.script("upload", late)
    size = 20_000_000
    began = time.monotonic()
    with (
        Client(server.base_url, server.key, socket=server.socket) as client,
        pytest.raises(errors.TimedOut),
    ):
        client.upload(io.BytesIO(bytes(size)), filename="a", size=size, purpose="image", deadline=3.0)
    assert time.monotonic() - began < 5.0  # else it takes 5.5


def test_nobody_there_leaves_no_doubt_and_is_tried_again(tmp_path: Path) -> None:
    slept: list[float] = []
    retry = Retry(sleep=slept.append)
    with (
        Client("http://x/v1", "sk-1", socket=tmp_path / "none.sock", retry=retry) as client,
        pytest.raises(errors.Unreachable) as raised,
    ):
        upload(client)
    assert raised.value.maybe_stored is False
    assert len(slept) == 4


def test_a_refused_connection_leaves_no_doubt() -> None:
    retry = Retry(sleep=lambda _: None)
    with (
        Client("http://127.0.0.1:1/v1", "sk-1", retry=retry) as client,
        pytest.raises(errors.Unreachable, match="no connection") as raised,
    ):
        upload(client)
    assert raised.value.maybe_stored is False


def test_a_later_attempt_without_connection_is_not_in_doubt_for_an_earlier_one(tmp_path: Path) -> None:
    """A 429 sends the whole body; that the next attempt then finds nobody leaves no doubt about either."""
    path = tmp_path / "api.sock"
    with FaultServer(socket=path) as server:

        def vanish(_seconds: float) -> None:
            path.unlink(missing_ok=True)

        def limited(turn: Turn) -> None:
            turn.read()
            turn.send(error(429, "slow down", "rate_limit_reached_error", Connection="close"))
            turn.hang_up()

        server.script("upload", limited)
        with (
            Client(server.base_url, server.key, socket=path, retry=Retry(sleep=vanish)) as client,
            pytest.raises(errors.Unreachable) as raised,
        ):
            upload(client)
    assert raised.value.maybe_stored is False


def test_a_count_of_bytes_that_differs_is_warned_of(
    server: FaultServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    other = server.add("a.txt", b"xy").to_wire()
    server.script("upload", answered(Reply(200, wire.dump(other))))
    assert upload(client).bytes == 2
    assert "counts 2 bytes" in caplog.text


def test_the_default_deadline_grows_with_the_size() -> None:
    assert Timeouts().for_upload(0) == 600
    assert Timeouts().for_upload(wire.MAX_FILE_BYTES) == 600 + 1600


PROGRAM = """
import resource, sys
from moonfs.api import Client
url, key, path = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with Client(url, key) as client, open(path, "rb") as large, open("/dev/null", "rb") as none:
    client.list()
    before = peak()
    client.upload(large, filename="large.bin", size=100 * 1024**2, purpose="file-extract")
    print(peak() - before)
"""


def test_a_hundred_megabytes_pass_in_constant_memory(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    block = os.urandom(1024**2)
    with large.open("wb") as file:
        for _ in range(100):
            file.write(block)
    with FaultServer() as server:
        command = [sys.executable, "-c", PROGRAM, server.base_url, server.key, str(large)]
        root = str(Path(__file__).parents[2])
        run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=root)
        assert run.returncode == 0, run.stderr
        (stored,) = server.files.values()
        assert hashlib.sha256(stored.data).digest() == hashlib.sha256(block * 100).digest()
    assert int(run.stdout) < 8, f"the peak rose by {run.stdout.strip()} MiB"


def test_all_is_handed_over_before_the_body_is_complete() -> None:
    """W3: what is listed when the last of the bytes has been told of cannot be what this attempt makes."""
    steps: list[object] = []
    form = FormBody(io.BytesIO(b"hello"), filename="a.txt", size=5, purpose="file-extract", progress=steps.append)
    for chunk in form.chunks():
        steps.append(chunk)
    assert steps[-2] == 5 and bytes(steps[-1]).endswith(b"--\r\n")  # type: ignore[call-overload]
