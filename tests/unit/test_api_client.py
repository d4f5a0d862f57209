"""The calls that read and delete, against a real server that fails on request."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from moonfs import errors, wire
from moonfs.api import Client, Timeouts, answers
from moonfs.api.retry import Backoff, Retry
from moonfs.errors import MoonfsError
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    Turn,
    answer_lost,
    answer_reset,
    answered,
    broken_off,
    dripping,
    empty,
    endless,
    error,
    failed_after,
    giant,
    gzipped,
    page,
    rate_limited,
    refused,
    stalled,
    stalled_after,
    truncated,
)

READS = ("list", "retrieve", "content")
EVERY = (*READS, "delete")


class Bench:
    """A server, a client whose waits between attempts take no time, and one stored file."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.slept: list[float] = []
        self.client = self.connect()
        self.file = server.add("a.txt", b"hello")

    def connect(self, **other: Any) -> Client:
        retry = Retry(sleep=self.slept.append, jitter=lambda: 0.5)
        return Client(self.server.base_url, self.server.key, socket=self.server.socket, retry=retry, **other)

    def call(self, operation: str, client: Client | None = None, **other: Any) -> object:
        client = client or self.client
        arguments = () if operation == "list" else (self.file.id,)
        return getattr(client, operation)(*arguments, **other)


@pytest.fixture(params=["tcp", "unix"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "api.sock" if request.param == "unix" else None
    with FaultServer(socket=path) as server:
        bench = Bench(server)
        with bench.client:
            yield bench


def test_the_calls_say_what_the_service_holds(bench: Bench) -> None:
    second = bench.server.add("福州商场.pdf", b"x" * 10, purpose="image", status="error", status_details="why")
    first, other = bench.client.list()
    assert (first.id, first.filename, first.bytes, first.purpose) == (
        bench.file.id,
        "a.txt",
        5,
        "file-extract",
    )
    assert (other.filename, other.status, other.status_details) == ("福州商场.pdf", "error", "why")
    assert other.created_at == second.created_at
    assert bench.client.retrieve(second.id) == other
    assert json.loads(bench.client.content(first.id))["content"] == "hello"
    assert bench.client.delete(first.id) is None
    assert bench.client.list() == [other]
    assert bench.server.seen[0].headers["accept-encoding"] == "gzip"


TRANSIENT: list[Callable[[], Fault]] = [
    rate_limited,
    lambda: rate_limited(None, "engine_overloaded_error"),
    lambda: page(504),
    lambda: refused(500, "", "server_error"),
    lambda: refused(503, "busy", "server_unavailable"),
    lambda: empty(502),
    answer_lost,
    answer_reset,
    lambda: broken_off(5),
    lambda: page(404),
    lambda: page(403),
    lambda: empty(400),
    lambda: refused(400, "missing required header Kimi-Api-Version"),
]


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("operation", EVERY)
def test_what_may_pass_is_tried_again(bench: Bench, operation: str, fault: Callable[[], Fault]) -> None:
    bench.server.script(operation, fault(), fault())
    bench.call(operation)
    assert bench.server.count(operation) == 3  # half of a 404 is no 404: a deletion is tried once more
    assert len(bench.slept) == 2
    assert bench.server.names() == ([] if operation == "delete" else ["a.txt"])


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refused(400, "no"), errors.Rejected),
        (refused(401, "Invalid Authentication", "invalid_authentication_error"), errors.AuthenticationFailed),
        (refused(403, "no", "permission_denied_error"), errors.AuthenticationFailed),
        (refused(404, "no", "resource_not_found_error"), errors.NotFound),
        (refused(429, "suspended", "exceeded_current_quota_error"), errors.QuotaExceeded),
        (answered(Reply(302, b"", {"Location": "https://x.example/"})), errors.ProtocolError),
    ],
)
@pytest.mark.parametrize("operation", EVERY)
def test_what_will_not_pass_is_asked_once(
    bench: Bench, operation: str, fault: Fault, expected: type[MoonfsError]
) -> None:
    bench.server.script(operation, fault)
    with pytest.raises(expected) as raised:
        bench.call(operation)
    assert type(raised.value) is expected
    assert raised.value.request_id
    assert bench.server.count(operation) == 1
    assert bench.slept == []


@pytest.mark.parametrize("operation", EVERY)
def test_a_refusal_that_passes_is_tried_more_often(bench: Bench, operation: str) -> None:
    """Errors: one call in six is refused so (LIVE); one that goes on is EAGAIN after some seconds."""
    bench.server.script(operation, *[refused(400, "missing required header Kimi-Api-Version")] * 9)
    bench.call(operation)
    assert bench.server.count(operation) == 10 == Backoff().attempts_passing and sum(bench.slept) < 10
    bench.server.script("list", *[refused(400, "missing required header Kimi-Api-Version")] * 10)
    with pytest.raises(errors.PassingFault):
        bench.client.list()


def test_a_few_5xx_are_enough(bench: Bench) -> None:
    bench.server.script("list", *[page(502)] * 20)
    with pytest.raises(errors.ServiceError, match="502 Proxy Page"):
        bench.client.list()
    assert bench.server.count() == Backoff().attempts


def test_a_429_is_tried_as_long_as_the_deadline_allows(bench: Bench) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        bench.slept.append(seconds)
        now[0] += seconds

    retry = Retry(clock=lambda: now[0], sleep=sleep, jitter=lambda: 0.0)
    bench.server.script("list", *[rate_limited("3")] * 20)
    with (
        Client(bench.server.base_url, bench.server.key, socket=bench.server.socket, retry=retry) as client,
        pytest.raises(errors.RateLimited) as raised,
    ):
        client.list(deadline=60)
    assert bench.slept == [3, 3, 4, 8, 16]  # the next, 30 s, would pass the deadline
    assert bench.server.count() == 6
    assert (raised.value.status, raised.value.retry_after) == (429, 3.0)


def test_the_retry_header_with_the_longer_wait_counts(bench: Bench) -> None:
    bench.server.script("list", answered(error(429, "x", "y", retry_after="2", x_retry_after="7")))
    bench.client.list()
    assert bench.slept == [7.5]


def test_a_missing_file_is_no_deleted_file_at_the_first_attempt(bench: Bench) -> None:
    bench.client.delete(bench.file.id)
    with pytest.raises(errors.NotFound):
        bench.client.delete(bench.file.id)


@pytest.mark.parametrize(
    "body",
    [
        b'{"deleted":false,"id":"x","object":"file"}',
        b"{}",
        b"",
        b"<html>login</html>",
        b"[]",
        b'{"deleted":1}',
    ],
)
def test_only_deleted_true_is_deleted(bench: Bench, body: bytes) -> None:
    bench.server.script("delete", answered(Reply(200, body)))
    with pytest.raises(errors.ProtocolError):
        bench.client.delete(bench.file.id)
    bench.server.script("delete", answered(Reply(204, b"", {"Content-Length": None})))
    bench.client.delete(bench.file.id)


@pytest.mark.parametrize(
    "file_id", ["", ".", "..", "../files", "a/b", "a?b", "a#b", "a%2fb", "a b", "é", "a\n", "x" * 129, "-a"]
)
@pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
def test_an_id_that_could_lead_elsewhere_is_never_sent(bench: Bench, operation: str, file_id: str) -> None:
    with pytest.raises(errors.NotFound):
        getattr(bench.client, operation)(file_id)
    assert bench.server.count() == 0


BAD_BODIES = [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b"<html></html>", b"1" * 5000]


@pytest.mark.parametrize("body", [*BAD_BODIES, b"{}", b'{"data":null}', b'{"data":{}}'])
def test_a_list_that_is_none_is_refused(bench: Bench, body: bytes) -> None:
    bench.server.script("list", answered(Reply(200, body)))
    with pytest.raises(errors.ProtocolError) as raised:
        bench.client.list()
    assert raised.value.status == 200
    assert bench.server.count() == 1


def test_entries_that_do_not_validate_are_left_out(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    good = bench.file.to_wire()
    bad = [
        None,
        7,
        {},
        {**good, "id": "../../etc/passwd\n\x1b[31m"},
        {**good, "id": 7},
        {**good, "bytes": -1},
        {**good, "bytes": 10**30},
        {**good, "created_at": "now"},
        {**good, "filename": None},
    ]
    body = json.dumps({"object": "list", "data": [*bad, good, {**good, "filename": "again"}]}).encode()
    bench.server.script("list", answered(Reply(200, body)))
    with caplog.at_level(logging.WARNING, "moonfs.api"):
        assert [file.filename for file in bench.client.list()] == ["a.txt"]
    (record,) = caplog.records
    assert "left out 9 unusable entries" in record.getMessage()
    assert "\x1b" not in record.getMessage()


def test_a_list_beyond_reason_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MAX_VALUES", 3)
    bench.server.script("list", answered(Reply(200, b'{"data":[{},{},{},{},{}]}')))
    with pytest.raises(errors.ProtocolError, match="beyond all reason"):
        bench.client.list()


def test_of_too_many_files_the_newest_are_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_LISTED", 3)
    for number in (5, 1, 4, 2, 3):
        bench.server.add(f"{number}.txt", b"x", created_at=number)
    assert [file.filename for file in bench.client.list()] == ["a.txt", "5.txt", "4.txt"]
    assert bench.client.left_out == 3
    bench.server.files.clear()
    assert (bench.client.list(), bench.client.left_out) == ([], 0)


def test_a_list_that_goes_on_without_a_way_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """N1: what says that there is more, and not how to ask for it, is no whole list, and the client says so."""
    bench.server.script("list", *2 * [answered(Reply(200, b'{"data":[],"has_more":true}'))])
    bench.client._pages._size = -1
    listed = bench.client.list()
    assert (listed, listed.horizon) == ([], wire.NOTHING)
    assert "not how to ask" in bench.client.unread and "not read to its end" in caplog.text
    bench.server.unscript()
    assert (len(bench.client.list()), bench.client.unread) == (1, "")


def test_without_a_project_no_version_is_asked_for(bench: Bench) -> None:
    """N1: the organisation's files are listed by requests without the header; a project's by ones that all have it."""
    with bench.connect(project=True) as project:
        for call in ("upload", *EVERY):
            for client in (bench.client, project):
                with contextlib.suppress(MoonfsError):
                    if call == "upload":
                        client.upload(io.BytesIO(b"x"), filename="b.txt", size=1, purpose="file-extract")
                    else:
                        bench.call(call, client)
            without, with_it = bench.server.seen[-2:]
            assert (without.operation, with_it.operation) == (call, call)
            assert "kimi-api-version" not in without.headers
            assert with_it.headers["kimi-api-version"] == "2026-09-01-beta"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200, b'{"object":"list","data":[]}'), "does not know scopes"),
        (error(400, "Invalid Kimi-Api-Version: only '2027' is known"), "does not take scope=project"),
    ],
)
def test_a_service_without_scopes_says_so(bench: Bench, reply: Reply, said: str) -> None:
    """L1, N1: one sentence, which names the setting that works."""
    bench.server.script("list", answered(reply))
    with (
        bench.connect(project=True) as client,
        pytest.raises(errors.ProtocolError, match=f"{said}.*scope=organisation"),
    ):
        client.list()
    assert bench.server.count("list") == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("operation", EVERY)
def test_a_giant_body_is_not_read(bench: Bench, operation: str, packed: bool) -> None:
    bench.server.script(operation, giant(80 * 1024**2, packed=packed))
    with pytest.raises(errors.ProtocolError, match="longer than"):
        bench.call(operation, **({"limit": 1000} if operation == "content" else {}))
    assert bench.server.count(operation) == 1


def test_a_giant_error_is_read_in_part(bench: Bench) -> None:
    sent = [0]
    over = threading.Event()

    def flood(turn: Turn) -> None:
        try:
            turn.connection.sendall(turn.head(Reply(400, b"", {"Content-Length": str(10**9)})))
            turn.connection.sendall(error(400, "no").body)
            for _ in range(10**9 >> 16):
                turn.connection.sendall(b" " * (1 << 16))
                sent[0] += 1 << 16
        finally:
            over.set()

    bench.server.script("list", flood)
    with pytest.raises(errors.Rejected):
        bench.client.list()
    assert over.wait(60)
    assert sent[0] < 20_000_000  # what the kernel's buffers take


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_file_object_that_is_none_is_refused(bench: Bench, body: bytes) -> None:
    bench.server.script("retrieve", answered(Reply(200, body)))
    with pytest.raises(errors.ProtocolError):
        bench.client.retrieve(bench.file.id)


def test_another_file_than_the_one_asked_for_is_refused(bench: Bench) -> None:
    other = bench.server.add("b.txt", b"x").to_wire()
    bench.server.script("retrieve", answered(Reply(200, json.dumps(other).encode())))
    with pytest.raises(errors.ProtocolError, match="another file"):
        bench.client.retrieve(bench.file.id)


@pytest.mark.parametrize(
    "body",
    [
        b'{"content":"\\u0000","type":"file"}\r\n\n ',
        b'{"error":{"code":1},"id":"batch_1"}\n{"error":null}\n',  # JSONL of a batch
        b'{"error":null}',
        b"\x00\xff\xfe raw",
        b"\xef\xbb\xbf{}",
    ],
)
def test_text_comes_byte_for_byte(bench: Bench, body: bytes) -> None:
    """R1."""
    bench.server.script("content", answered(Reply(200, body, {"Content-Type": "text/plain; charset=gbk"})))
    assert bench.client.content(bench.file.id) == body


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b""),
        Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html; charset=utf-8"}),
        Reply(200, b"\r\n<!DOCTYPE html><title>sign in</title>", {"Content-Type": "text/plain"}),
        error(200, "server busy", "server_error"),
        Reply(206, b"part"),
        Reply(204, b"", {"Content-Length": None}),
    ],
)
def test_what_is_no_text_is_not_taken_for_text(bench: Bench, reply: Reply) -> None:
    """R2 keeps text for ever, so a proxy's 200 must not become it."""
    bench.server.script("content", answered(reply))
    with pytest.raises(errors.ProtocolError):
        bench.client.content(bench.file.id)


def test_gzip_is_undone_and_half_of_it_refused(bench: Bench) -> None:
    plain = bench.client.content(bench.file.id)
    bench.server.script("content", gzipped(), gzipped(cut=8))
    assert bench.client.content(bench.file.id) == plain
    with pytest.raises(errors.ProtocolError, match="breaks off"):
        bench.client.content(bench.file.id)


def test_failed_extraction_is_told_apart_and_not_repeated(bench: Bench) -> None:
    bench.server.script("content", failed_after(error(500, "Failed to extract file: x", "server_error")))
    with pytest.raises(errors.ExtractionFailed):
        bench.client.content(bench.file.id)
    assert bench.server.count() == 1


def test_a_truncated_answer_is_refused(bench: Bench) -> None:
    bench.server.script("list", truncated(10))
    with pytest.raises(errors.ProtocolError):
        bench.client.list()


@pytest.mark.parametrize("fault", [stalled(), stalled_after(), stalled_after(headers=True)])
@pytest.mark.parametrize("operation", READS)
def test_a_stall_ends_with_its_time_out_and_is_tried_again(bench: Bench, operation: str, fault: Fault) -> None:
    """E2."""
    bench.server.script(operation, fault)
    with bench.connect(timeouts=Timeouts(read=0.1)) as client:
        bench.call(operation, client)
    assert bench.server.count(operation) >= 2  # on a slow machine the second one takes a tenth of a second too


_CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Answers that drip below and beside the body.
DRIPS: dict[str, Fault] = {
    "body": dripping(0.02),
    "status and headers": dripping(0.02, head=True),
    "a header": endless(b"HTTP/1.1 200 X\r\nX-Long: ", b"x"),
    "headers": endless(b"HTTP/1.1 200 X\r\n", b"X: y\r\n"),
    "hints": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "an extension of a chunk": endless(_CHUNKED + b"5;", b"a"),
    "chunks": endless(_CHUNKED, b"1\r\n \r\n"),
    "a trailer": endless(_CHUNKED + b"2\r\n{}\r\n0\r\nX-Long: ", b"x"),
}


@pytest.mark.parametrize("fault", [stalled(), stalled_after(headers=True), *DRIPS.values()])
@pytest.mark.parametrize("operation", ["list", "upload", "content"])
def test_the_deadline_ends_a_call_whatever_the_time_outs(bench: Bench, operation: str, fault: Fault) -> None:
    """E2: the default read time-out is a minute, and each dripped byte begins it anew; one clock ends the call."""
    bench.server.script(operation, fault)
    began = time.monotonic()
    with pytest.raises(errors.TimedOut):
        if operation == "upload":
            bench.client.upload(io.BytesIO(b"x"), filename="b.txt", size=1, purpose="file-extract", deadline=0.3)
        elif operation == "content":
            bench.client.content(bench.file.id, deadline=0.3)
        else:
            bench.client.list(deadline=0.3)
    assert time.monotonic() - began < 20
    assert bench.server.count() == 1


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    slept: list[float] = []
    client = Client("http://x/v1", "sk-1", socket=tmp_path / "none.sock", retry=Retry(sleep=slept.append))
    with client, pytest.raises(errors.Unreachable, match="no socket"):
        client.list()
    assert len(slept) == Backoff().attempts - 1


def test_thirty_two_threads_share_one_client(bench: Bench) -> None:
    ports: set[object] = set()
    together = threading.Barrier(32, timeout=20)

    def fault(turn: Turn) -> None:
        together.wait()
        ports.add(id(turn.connection))
        turn.send(turn.serve())

    bench.server.script("retrieve", *[fault] * 32)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: bench.client.retrieve(bench.file.id).id, range(32)))
        assert found == [bench.file.id] * 32
        assert len(ports) == 32
        assert len(list(pool.map(lambda _: bench.client.retrieve(bench.file.id).id, range(300)))) == 300


def test_connections_are_kept(bench: Bench) -> None:
    connections = []
    bench.server.script("list", *[lambda turn: (connections.append(turn.connection), turn.send(turn.serve()))[1]] * 3)
    for _ in range(3):
        bench.client.list()
    assert len(set(map(id, connections))) == 1


def test_a_full_pool_is_a_time_out(bench: Bench) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(turn: Turn) -> None:
        entered.set()
        leave.wait(10)
        turn.send(turn.serve())

    bench.server.script("retrieve", hold)
    with (
        bench.connect(max_connections=1, timeouts=Timeouts(pool=0.05)) as client,
        ThreadPoolExecutor() as pool,
    ):
        held = pool.submit(bench.call, "retrieve", client)
        assert entered.wait(60)
        with pytest.raises(errors.TimedOut, match="too many requests at once"):
            client.list(deadline=0.2)
        leave.set()
        assert held.result(60)
    assert bench.server.count("list") == 0


def test_closing_ends_the_waits_between_attempts(bench: Bench) -> None:
    bench.server.script("list", rate_limited("1000"))
    waiting = threading.Event()
    retry = Retry(jitter=lambda: waiting.set() or 0.0)  # asked for once a wait is to begin
    client = Client(bench.server.base_url, bench.server.key, socket=bench.server.socket, retry=retry)
    raised: list[Exception] = []

    def call() -> None:
        try:
            client.list(deadline=10_000)
        except MoonfsError as exc:
            raised.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert waiting.wait(60)
    client.close()
    thread.join(60)
    assert not thread.is_alive()
    assert type(raised[0]) is errors.Unreachable
    assert bench.server.count() == 1
    with pytest.raises(errors.Unreachable, match="closed"):
        client.list()
    client.close()


def test_closing_in_the_middle_of_a_call_is_one_of_our_errors(bench: Bench) -> None:
    entered = threading.Event()

    def hold(turn: Turn) -> None:
        entered.set()
        turn.stall()

    bench.server.script("list", hold)
    client = bench.connect(timeouts=Timeouts(read=2))
    with ThreadPoolExecutor() as pool:
        held = pool.submit(client.list)
        assert entered.wait(60)
        client.close()
        bench.server.ending.set()
        with pytest.raises(errors.Unreachable):
            held.result(60)


def test_each_answer_is_observed(bench: Bench) -> None:
    seen: list[tuple[str, int, str | None]] = []
    bench.server.script("list", rate_limited())
    with bench.connect(on_response=lambda *what: seen.append(what)) as client:
        client.list()
        client.content(bench.file.id)
    assert [what[:2] for what in seen] == [("list", 429), ("list", 200), ("content", 200)]
    assert all(what[2] and what[2].startswith("request-") for what in seen)


def test_the_clock_of_the_service_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """W3: else the first upload afterwards, whose answer is lost, would not know its own copy by its time."""
    now = {time.CLOCK_BOOTTIME: 50.0}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: now[clock])
    with FaultServer(clock=lambda: 1_000_000.0) as server, Client(server.base_url, server.key) as client:
        assert client.service_time is None
        client.list()
        now[time.CLOCK_BOOTTIME] += 3600
        assert client.service_time == 1_003_600


def test_the_clock_of_the_service_is_known_after_the_first_answer() -> None:
    with (
        FaultServer(clock=lambda: time.time() + 5000) as server,
        Client(server.base_url, server.key) as client,
    ):
        assert client.server_clock_offset is None
        client.list()
        assert client.server_clock_offset == pytest.approx(5000, abs=2)
        server.script("list", answered(Reply(200, b'{"data":[]}', {"Date": "yesterday"})))
        client.list()
        assert client.server_clock_offset == pytest.approx(5000, abs=2)
