"""The local Files API itself: its uploads against a bare handler's, its list, its memory, an OCR beside it.

It needs no drive and no latency. Every server is a process of its own, on the disk of the benchmark.

**Threading:** for the main thread; the client uses threads of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from moonfs.server.address import read_address, read_key
from scripts.benchmark.measure import MOONFS, Bound, Contestant, Job, Ratio, Sample
from scripts.benchmark.senders import Sender, ask_each, list_request, send_all, upload_request
from scripts.benchmark.shell import ROOT, Failed, end, memory, peak_from_now, settle
from scripts.benchmark.stage import Stage

_UPLOADS: Final = 1000
_BYTES: Final = 20_000
_CONNECTIONS: Final = 8
_LISTS: Final = 50
_LARGE: Final = 100 * 1024**2
_ALONE: Final = 300

BARE: Final = "bare uvicorn handler"
IDLE: Final = "without an OCR"

UPLOADED: Final = f"{_UPLOADS:,} uploads"
LISTED: Final = "a list of 1,000, median"
MORE: Final = "RSS of the server +"
LATENCY: Final = "a text upload, median"


@dataclass(frozen=True, slots=True)
class _Server:
    pid: int
    base_url: str
    key: str


@contextmanager
def _ours(stage: Stage, *, extraction: bool = False) -> Iterator[_Server]:
    """Run the local Files API, as people get it or without extraction, on an empty account."""
    module = ("moonfs", "serve", "--port", "0", "--data") if extraction else ("scripts.benchmark.counted",)
    with stage.lent() as directory:
        data = directory / "data"
        arguments = [*module, str(data)] if extraction else [*module, str(data), "0", "0"]
        with _process(arguments) as (pid, printed):
            address = read_address(data)
            if not printed or address is None or address.base_url is None:
                raise Failed("The Files API did not start.")
            yield _Server(pid, address.base_url, read_key(data))


@contextmanager
def _bare(stage: Stage) -> Iterator[_Server]:
    with stage.lent() as directory, _process(["scripts.benchmark.bare", str(directory)]) as (pid, printed):
        if not printed:
            raise Failed("The bare handler did not start.")
        yield _Server(pid, printed, "no key")


@contextmanager
def _process(arguments: list[str]) -> Iterator[tuple[int, str]]:
    """Run a module that prints a line once it listens; gives its pid and the line."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(
        command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
    finally:
        end(process)


def _requests(stage: Stage, count: int, key: str) -> list[bytes]:
    return [upload_request(name, text, key) for name, text in stage.texts(count, _BYTES).items()]


def upload_many(stage: Stage, contestant: str) -> Sample:
    """Upload a thousand files over eight connections."""
    with (_ours if contestant == MOONFS else _bare)(stage) as server:
        requests = _requests(stage, stage.scaled(_UPLOADS), server.key)
        settle()
        return {UPLOADED: send_all(server.base_url, requests, _CONNECTIONS)}


def list_many(stage: Stage) -> Sample:
    """List a thousand files, again and again, with one uploaded in between, as a list is kept until then."""
    with _ours(stage) as server:
        send_all(server.base_url, _requests(stage, stage.scaled(_UPLOADS) - 1, server.key), _CONNECTIONS)
        seconds = []
        with Sender(server.base_url) as sender:
            for request in _requests(stage, _LISTS, server.key):
                sender.ask(request)
                seconds.append(sender.ask(list_request(server.key)))
        return {LISTED: statistics.median(seconds)}


def stream_large(stage: Stage) -> Sample:
    """Weigh the server while 100 MB stream in."""
    with _ours(stage) as server, Sender(server.base_url) as sender:
        sender.ask(upload_request("warm.txt", b"w" * 2 * 1024**2, server.key))
        before = memory(server.pid)
        peak_from_now(server.pid)
        sender.ask(upload_request("large.txt", b"0123456789abcde\n" * (_LARGE // 16 - 1024), server.key))
        return {MORE: memory(server.pid, "VmHWM") - before}


def upload_beside_ocr(stage: Stage, picture: bytes, contestant: str) -> Sample:
    """Upload small texts, one after the other, while pictures are recognised, or while nothing is."""
    with _ours(stage, extraction=True) as server:
        if contestant == IDLE:
            return {LATENCY: statistics.median(ask_each(server.base_url, _requests(stage, _ALONE, server.key)))}
        with Sender(server.base_url) as sender:
            sender.ask(upload_request("warm.png", picture, server.key))  # the engine is loaded
        seconds: list[float] = []
        done = threading.Event()

        def recognise() -> None:
            try:
                with Sender(server.base_url) as sender:
                    for number in range(3):  # other bytes each time, as the same are recognised once
                        sender.ask(upload_request(f"{number}.png", picture + b"%d" % number, server.key))
            finally:
                done.set()

        busy = threading.Thread(target=recognise)
        busy.start()
        with Sender(server.base_url) as sender:
            for request in _requests(stage, 5000, server.key):
                if done.is_set():
                    break
                seconds.append(sender.ask(request))
        busy.join()
        return {LATENCY: statistics.median(seconds)}


def _uploads(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    return {MOONFS: partial(upload_many, stage, MOONFS), BARE: partial(upload_many, stage, BARE)}


def _list(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    return {MOONFS: partial(list_many, stage)}


def _stream(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    return {MOONFS: partial(stream_large, stage)}


def _beside(stage: Stage, stack: ExitStack) -> Mapping[str, Contestant]:
    picture = (Path(ROOT) / "tests/samples/note.png").read_bytes()
    return {
        MOONFS: partial(upload_beside_ocr, stage, picture, MOONFS),
        IDLE: partial(upload_beside_ocr, stage, picture, IDLE),
    }


SERVE_UPLOADS: Final = Job(
    name="serve-uploads",
    title=f"local server: {_UPLOADS:,} × 20 KB over {_CONNECTIONS} connections, without extraction",
    contestants=_uploads,
    ratios=(Ratio(UPLOADED, BARE, at_most=2.0),),
    far=False,
)
SERVE_LIST: Final = Job(
    name="serve-list",
    title="local server: list",
    contestants=_list,
    bounds=(Bound(LISTED, lambda _: 0.010),),
    far=False,
)
SERVE_STREAM: Final = Job(
    name="serve-stream",
    title="local server: 100 MB stream in",
    contestants=_stream,
    bounds=(Bound(MORE, lambda _: 8e6),),
    units={MORE: "B"},
    far=False,
)
SERVE_BESIDE: Final = Job(
    name="serve-beside",
    title="local server: a text upload while an OCR runs",
    contestants=_beside,
    ratios=(Ratio(LATENCY, IDLE, at_most=1.5),),
    far=False,
)
