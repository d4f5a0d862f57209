"""Workers that crash, hang, swallow or stand in the way: one request ends, no other notices."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moonfs import wire
from moonfs.server.address import read_key
from moonfs.server.extraction.extractor import LIGHT
from moonfs.server.extraction.rescue import rescue
from moonfs.server.extraction.turns import Turns
from tests.documents.every import EVERY
from tests.harness.programs import needs
from tests.server.conftest import started, wait_until
from tests.server.refused import refused

SAMPLES = Path(__file__).parent.parent / "samples"
FAILED = "Failed to extract file: "


def too_long(server, name: str) -> None:
    """Upload a document whose reader does not end: it is refused, as it would be the next time."""
    refused(server, name, b"x", "reading it takes too long")


def failed(answer, why: str) -> None:
    assert answer.status_code == 500
    assert answer.json() == {"error": {"message": FAILED + why, "type": "server_error"}}
    assert "/" not in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A server with one light worker, of an eighth of the memory that one has: for what ends no more than a request."""
    light = {"workers": 1, "memory_bytes": LIGHT.memory_bytes // 8}
    with started(tmp_path_factory.mktemp("alone") / "data", {"light": light}) as running:
        yield running


def pid_of(server) -> int:
    """Return the pid of the one light worker that is alive and idle."""
    server.text("a.environment", os.urandom(8).hex().encode())
    # One that was killed is the server's to bury.
    (pid,) = wait_until(lambda: found if len(found := server.children()) == 1 else [], "one worker is alive")
    return pid


class Gate:
    """A document whose reader waits until it is let through."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gates" / f"gate-{os.urandom(4).hex()}")
        os.mkfifo(self.path)
        self._handle = -1

    @property
    def document(self) -> bytes:
        return self.path.encode()

    def wait(self) -> None:
        """Return when the reader has come."""
        handle = os.open(self.path, os.O_WRONLY)  # as soon as somebody reads
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = handle

    def let_through(self, text: str = "through") -> None:
        os.write(self._handle, text.encode())
        os.close(self._handle)
        self._handle = -1

    def pass_through(self) -> None:
        self.wait()
        self.let_through()


def test_a_crash_ends_one_request(alone):
    failed(alone.upload("a.crash", b"x"), "the reader broke down")
    assert alone.text("a.environment", b"after a crash").startswith("home")
    assert os.listdir(alone.data / "incoming") == []


def test_a_hang_is_ended_by_the_wall_clock(launch):
    server = launch(light={"workers": 1, "seconds": 1.0})
    too_long(server, "a.hang")
    assert server.children() == []
    assert server.text("a.txt", b"still here") == "still here"


def test_a_spin_is_ended_by_the_cpu_clock(launch):
    server = launch(light={"workers": 1, "cpu_seconds": 0})  # till the end of the second that it is in
    too_long(server, "a.spin")


LATE = "\n\n[The text is cut here: reading it took too long.]"


def test_a_reader_that_never_looks_at_the_clock_gives_what_it_has_read(launch):
    server = launch(light={"workers": 1, "seconds": 4.0})
    assert server.text("a.dawdle", b"x") == f"the first line\n{LATE}"
    assert server.text("a.environment", b"y").startswith("home"), "who knows what state the old worker is in"


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_what_was_read_before_a_worker_was_killed_is_kept(launch, seconds):
    """By the wall clock; the CPU clock is that of `test_a_spin_is_ended_by_the_cpu_clock`."""
    server = launch(light={"workers": 1, "seconds": seconds, "cpu_seconds": 1})
    written = 'a line with "quotes", \\ and 汉字\n' * 1000
    if seconds == 1.0:
        assert server.text("a.stall", written.encode()) == written + LATE
    else:
        assert server.text("a.stall_spin", written.encode()) == written + LATE
    assert os.listdir(server.data / "incoming") == []


def test_what_was_read_before_something_broken_is_kept(alone):
    cut = "the first line\n\n\n[The text is cut here: {}.]"
    assert alone.text("a.stumble", b"x") == cut.format("the rest of it is damaged")
    assert alone.text("a.swallow_late", b"x") == cut.format("reading the rest of it needs too much memory")


def test_half_a_text_becomes_a_whole_one(tmp_path):
    """Wherever a worker was ended: in the midst of a character, of an escape, of nothing but escapes."""
    for text in ('a "b" \\ \\\\ c\n\1\x7f 汉字 😀\\', "\\" * 200, "x" + "\\" * 99 + "\1", "汉" * 100):
        whole = wire.dump(text)
        for length in range(len(whole)):
            path = tmp_path / "text"
            path.write_bytes(whole[:length])
            found = rescue(str(path), "why")
            kept = json.loads(path.read_bytes()) if found else ""
            shown, _, note = kept.partition("\n\n[The text is cut here: ")
            assert text.startswith(shown)
            assert not found or note == "why.]"
            assert len(wire.dump(shown)) >= length - 6


def test_of_nothing_nothing_is_made(tmp_path):
    assert not rescue(str(tmp_path / "missing"), "why")
    for content in (b"", b'"', b'" \\n\\t', b"no string"):
        path = tmp_path / "text"
        path.write_bytes(content)
        assert not rescue(str(path), "why")


def test_the_cpu_clock_starts_anew_with_each_job(launch):
    """A warm worker that has used more than one job may is not punished for its age."""
    server = launch(light={"workers": 1, "cpu_seconds": 1})
    used = [float(server.text("a.burn", b"%d" % number)) for number in range(3)]
    assert used == sorted(used), "it was not the same worker"
    assert used[-1] > 2  # seconds: more than the first one might have used


def test_memory_is_capped(alone):
    refused(alone, "a.swallow", b"x", "reading it needs too much memory")
    assert alone.text("a.environment", b"after it was full").startswith("home")


def test_what_a_library_prints_is_no_answer(alone):
    assert alone.text("a.print_much", b"x") == "printed"
    assert alone.text("b.environment", b"after much print").startswith("home")


def test_a_worker_that_dies_idle_costs_nobody_a_request(alone):
    pid = pid_of(alone)
    os.kill(alone.readers()[0], signal.SIGKILL)  # who keeps it may outlive it by a moment, not the other way round
    assert pid_of(alone) != pid


def test_a_warm_worker_is_used_again(alone):
    assert pid_of(alone) == pid_of(alone)


def test_an_idle_worker_ends_so_that_its_memory_returns(launch, until):
    server = launch(light={"workers": 1, "idle_seconds": 0.2})
    pid = pid_of(server)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the idle worker has ended")
    until(lambda: os.listdir(server.data / "workers") == [], "the server has tidied up after it")


def test_a_worker_that_holds_much_is_ended(launch):
    server = launch(light={"workers": 1, "resident_bytes": 1})
    server.text("a.environment", b"x")
    assert server.children() == []


def test_a_slow_extraction_delays_nobody(launch, tmp_path):
    """While one light worker and the OCR worker are busy, lists, text and other documents go on."""
    server = launch(light={"workers": 2}, worker="blind_worker")
    gates = {name: Gate(tmp_path) for name in ("a.wait_for_gate", "a.ocr_gate")}
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(server.upload, name, gate.document) for name, gate in gates.items()]
        for gate in gates.values():
            gate.wait()
        assert server.client.get("/files").json()["data"] == []
        assert server.text("a.txt", b"short") == "short"
        assert len(server.text("b.txt", b"long " * 100_000)) == 500_000
        assert len(server.ids()) == 2
        assert not any(upload.done() for upload in waiting)
        for gate in gates.values():
            gate.let_through()
        assert [upload.result().status_code for upload in waiting] == [200, 200]


def test_a_long_scan_does_not_stand_before_a_small_picture(launch, tmp_path):
    server = launch(worker="blind_worker")
    gate, again = Gate(tmp_path), Gate(tmp_path)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(server.upload, "a.large_gate", gate.document)]
        gate.wait()
        waiting.append(pool.submit(server.upload, "a.large_gate", again.document))
        assert server.text("a.png", (SAMPLES / "note.png").read_bytes()) == "a picture of 900 x 420\n"
        gate.let_through()
        again.wait()
        again.let_through()
        assert [upload.result().status_code for upload in waiting] == [200, 200]


def test_what_is_more_than_it_seemed_is_left_to_the_next_worker(launch):
    server = launch(ocr={"seconds": 3.0}, worker="blind_worker")

    def done(lane: str) -> int:
        return server.client.get("http://local/healthz").json()["extraction"][lane]["done"]

    assert server.text("a.unsure", b"x").startswith("read by pid")
    assert (done("light"), done("small ocr"), done("ocr")) == (1, 1, 1)
    assert server.text("a.ocr_dawdle", b"x") == "read in the end\n"
    assert (done("light"), done("small ocr"), done("ocr")) == (1, 2, 2)


def test_an_account_with_many_documents_stands_before_no_other(launch, tmp_path, until):
    server = launch(light={"workers": 1}, accounts=["ann"])
    gates = [Gate(tmp_path) for _ in range(4)]
    hers = Gate(tmp_path)

    def queued(count: int) -> bool:
        return bool(server.client.get("http://local/healthz").json()["extraction"]["light"]["queued"] == count)

    with server.make_client(read_key(server.data / "accounts" / "ann")) as ann, ThreadPoolExecutor() as pool:
        waiting = [pool.submit(server.upload, "a.wait_for_gate", gates[0].document)]
        gates[0].wait()
        waiting += [pool.submit(server.upload, "a.wait_for_gate", gate.document) for gate in gates[1:]]
        until(lambda: queued(3), "three of the first account wait")
        form = {"files": {"file": ("a.wait_for_gate", hers.document)}, "data": {"purpose": "file-extract"}}
        waiting.append(pool.submit(ann.post, "/files", **form))
        until(lambda: queued(4), "hers waits, too")
        gates[0].let_through()
        hers.wait()
        hers.let_through()
        list(pool.map(Gate.pass_through, gates[1:]))  # in whatever order they came in
        assert [upload.result().status_code for upload in waiting] == [200] * 5


def test_places_are_given_in_turn():
    async def places() -> list[str]:
        turns, order = Turns(2), []

        async def work(who: str) -> None:
            await turns.take(who)
            order.append(who)
            await asyncio.sleep(0)
            turns.give_back(who)

        await turns.take("a")
        await turns.take("a")
        tasks = [asyncio.create_task(work(who)) for who in "aaaabbc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        turns.give_back("a")
        turns.give_back("a")
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not turns.is_busy()
        await turns.take("a")
        await turns.take("a")
        gone, stays = (asyncio.create_task(turns.take(who)) for who in "ef")
        await asyncio.sleep(0)
        gone.cancel()  # the place is given before who waited for it has noticed
        turns.give_back("a")
        await asyncio.wait([gone, stays])
        assert (gone.cancelled(), stays.cancelled()) == (True, False)
        late = asyncio.create_task(turns.take("g"))
        await asyncio.sleep(0)
        turns.give_back("a")
        late.cancel()  # the place was given already
        await asyncio.wait([late])
        turns.give_back("f")
        assert not turns.is_busy()
        await turns.take("d")  # both places came back
        await turns.take("d")
        assert turns.is_busy()
        return order

    assert asyncio.run(places()) == ["b", "c", "a", "b", "a", "a"]


def test_the_same_bytes_at_once_are_read_once(launch, tmp_path, until):
    """A second reader would wait at the gate for ever: it is let through once."""
    server = launch(light={"workers": 4})
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as pool:
        uploads = [pool.submit(server.upload, "a.wait_for_gate", gate.document) for _ in range(3)]
        gate.wait()
        until(lambda: len(os.listdir(server.data / "incoming")) == 3, "three uploads are on their way")
        gate.let_through("read once")
        ids = [upload.result().json()["id"] for upload in uploads]
    for file_id in ids:
        assert server.client.get(f"/files/{file_id}/content").json()["content"] == "read once"
        server.client.delete(f"/files/{file_id}")
    assert len(set(ids)) == 3
    assert os.listdir(server.data / "incoming") == []


def test_what_is_read_and_what_waits_can_be_seen(launch, tmp_path, until):
    server = launch(light={"workers": 1})
    first, second = Gate(tmp_path), Gate(tmp_path)

    def lane():
        return server.client.get("http://local/healthz").json()["extraction"]["light"]

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(server.upload, "a.pages", first.document)]
        first.wait()
        waiting.append(pool.submit(server.upload, "a.wait_for_gate", second.document))
        until(lambda: lane()["queued"] == 1, "the second waits")
        (running,) = until(
            lambda: [job for job in lane()["running"] if job["total"]], "the first has told of its pages"
        )
        assert (running["done"], running["total"]) == (3, 10)
        first.let_through()
        second.wait()
        second.let_through()
        assert [upload.result().status_code for upload in waiting] == [200, 200]
    server.upload("a.crash", b"x")
    state = lane()
    assert (state["queued"], state["running"], state["done"], state["failed"]) == (0, [], 2, 1)
    assert "text: pages of" in server.log()
    assert "light: all workers are busy, 1 wait" in server.log()


def test_who_reads_along_with_a_crash_tries_for_itself(launch, tmp_path, until):
    server = launch(light={"workers": 1})
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.upload, "a.wait_for_gate", gate.document)
        gate.wait()
        second = pool.submit(server.upload, "a.wait_for_gate", gate.document)
        until(lambda: len(os.listdir(server.data / "incoming")) == 2, "both are on their way")
        os.kill(server.children()[0], signal.SIGSEGV)
        failed(first.result(), "the reader broke down")
        gate.wait()
        gate.let_through()
        assert second.result().status_code == 200


def test_a_stop_waits_for_no_extraction(launch, tmp_path, until):
    server = launch()
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(server.upload, "a.wait_for_gate", gate.document)
        gate.wait()
        (worker,), (reader,) = server.children(), server.readers()
        server.process.terminate()
        answer = waiting.result()
        assert server.process.wait(60) == 0
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_unavailable"
    assert not Path(f"/proc/{worker}").exists()
    # It was killed before; who buries it, the first process of its namespace or of the machine, takes its time.
    until(lambda: not Path(f"/proc/{reader}").exists(), "the reader has ended")
    assert not (server.data / "server.json").exists()
    assert os.listdir(server.data / "incoming") == []


def test_workers_die_with_a_server_that_is_killed(launch, tmp_path, until):
    server = launch()
    gate = Gate(tmp_path)
    thread = threading.Thread(target=pytest.raises, args=(Exception, server.upload, "a.wait_for_gate", gate.document))
    thread.start()
    gate.wait()
    (worker,), (reader,) = server.children(), server.readers()
    server.process.kill()
    server.process.wait()
    until(lambda: not is_running(worker) and not is_running(reader), "the worker has died")
    thread.join()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_has_a_home_of_its_own_and_none_of_the_servers_files(alone):
    pid_of(alone)
    text = alone.text("a.environment", b"x")
    home = text.split()[1]
    assert os.path.dirname(home) == str(alone.data / "workers")
    (reader,) = alone.readers()
    held = [os.readlink(each) for each in Path(f"/proc/{reader}/fd").iterdir()]
    assert len(held) > 3
    assert [path for path in held if path.startswith(str(alone.data)) and not path.startswith(f"{home}/")] == []
    assert [path for path in held if path.startswith("socket:")] == []


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK])
def test_a_worker_that_wants_a_socket_gets_none(alone, family):
    """The first line is refused on any machine, the second where the kernel can be told to."""
    assert alone.text("a.dial", str(int(family)).encode()).split("\n")[:-1] == [
        "python: a reader opens no socket",
        "libc: Permission denied",
    ]


#: The calls by which a process gets at a network, or at another process.
CALLS = "socket,socketpair,connect,bind,listen,accept,accept4,sendto,sendmsg,io_uring_setup"
TO_BE_READ = {
    "long.txt": b"long " * 100_000, "a.html": b"<p>text</p>", "a.json": b'["\\u4e2d"]' + b" " * 200_000,
    "a.svg": b"<svg><text>text</text></svg>", "outlined.svg": b'<svg><path d="M0 0h9v9z"/><text>text</text></svg>',
    "a.pdf": SAMPLES / "welcome.pdf", "a.png": EVERY[".png"][0](),
    "embedded.svg": b'<svg width="520" height="150"><image width="520" height="150" href="data:image/png;base64,'
    + base64.b64encode(EVERY[".png"][0]()) + b'"/></svg>',
}  # fmt: skip


@pytest.fixture
def traced(launch, tmp_path):
    """Start a server all of whose processes are traced; `calls()` are those that its workers make."""
    needs("strace")
    if subprocess.run(["strace", "-D", "-f", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        needs("permission-to-trace")
    record = tmp_path / "calls"
    # No --seccomp-bpf: what the workers' own filter refuses would not be seen.
    trace = f"trace={CALLS},execve,clone,clone3,fork,vfork"
    server = launch(under=["strace", "-D", "-ff", "-qq", "-s", "300", "-e", trace, "-o", str(record)])

    def calls() -> tuple[int, list[str]]:
        server.stop()
        records = {path.suffix[1:]: path.read_text().split("\n") for path in tmp_path.glob("calls.*")}
        workers = {pid for pid, lines in records.items() if "moonfs.server.extraction.worker" in lines[0]}
        # In namespaces of their own, workers name threads and children in another way than the records do. So all that
        # is not the server is theirs: its threads are named as they are.
        made = re.compile(r"(?:clone|clone3)\(.*CLONE_THREAD.* = (\d+)$")
        servers = [str(server.process.pid)]
        for pid in servers:  # it grows
            servers += [call[1] for line in records[pid] if (call := made.match(line)) and call[1] in records]
        pattern = re.compile(rf"(?:{CALLS.replace(',', '|')})\(")
        family = set(records) - set(servers)
        return len(workers), [line for pid in family for line in records[pid] if pattern.match(line)]

    return server, calls


def test_no_reader_of_any_lane_opens_a_socket(traced):
    server, calls = traced
    for name, content in TO_BE_READ.items():
        assert server.text(name, content if isinstance(content, bytes) else content.read_bytes())
    assert calls() == (3, [])


def test_a_socket_that_a_reader_wants_is_seen(traced):
    server, calls = traced
    server.text("a.dial", str(int(socket.AF_INET)).encode())
    workers, found = calls()
    assert workers == 1
    assert len(found) == 1
    assert found[0].startswith("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = -1 EACCES")
