"""The fault matrix: six uses of the service, forty ways in which an answer goes wrong, once or lasting, in both modes.

What it is: for each cell a drive of its own, in this process and without a kernel, on real HTTP, and a service of one
kind, which chance chooses. Something is done while the fault is there; then the fault is lifted. What it is not: a test
of the errno of each failure, which `tests/semantics` is, or of several faults at once, which `storms` is.

A cell is `.` where the call succeeded and `e` where it failed with an error of ours, and all is whole after it: the
bytes that were acknowledged are there once, a call that failed has left the old version or the new one, and what is
read is right or an error. A hole is a letter: **L**ost, **D**oubled, **M**isnamed, **R**esurrected or not deleted,
**W**rong bytes shown, **H**angs, e**X**ception that nobody foresaw, **N**o recovery when the fault is over.

**Threading:** cells run in a few threads, each with a service and a drive of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moonfs import errors, wire
from moonfs.errors import MoonfsError
from tests.faults.kinds import YESTERDAY, Kind
from tests.faults.server import (
    Fault,
    FaultServer,
    Reply,
    answer_lost,
    answer_reset,
    answered,
    broken_off,
    dripping,
    early,
    empty,
    endless,
    error,
    failed_after,
    giant,
    gzipped,
    page,
    rate_limited,
    redirect,
    refused,
    reset_mid_body,
    stalled,
    stalled_after,
    truncated,
)
from tests.faults.test_exactly_one_copy import Bench, Drive
from tests.harness.house import in_thread

MODES = ("write-through", "write-back")
ENDURING = ("once", "lasting")
#: Seconds after which a call counts as hanging; each is bounded by four.
PATIENCE = 60.0
#: Cells at once: nearly all of their time is waiting.
THREADS = 6
OLDER, OLD, NEW = b"the version before", b"the old version", b"the new version"
EMPTY_OBJECT = Reply(200, b"{}")


def unauthorized(status: int) -> Fault:
    return refused(status, wire.MSG_AUTHENTICATION, wire.INVALID_AUTHENTICATION)


#: What the service says in its own words, what others say in its place, and what becomes of connections.
FAULTS: dict[str, Callable[[], Fault]] = {
    "400 of the API": lambda: refused(400, "Invalid request"),
    "401 of the API": lambda: unauthorized(401),
    "403 of the API": lambda: refused(403, "Forbidden", wire.PERMISSION_DENIED),
    "404 of the API": lambda: refused(404, wire.MSG_NOT_FOUND, wire.RESOURCE_NOT_FOUND),
    "413 of the API": lambda: refused(413, wire.MSG_TOO_LARGE),
    "429 of the API": lambda: rate_limited("0"),
    "429 of the plan": lambda: refused(429, "suspended", wire.EXCEEDED_CURRENT_QUOTA),
    "500 of the API": lambda: refused(500, "extract task failed: failed", wire.SERVER_ERROR),
    "503 of the API": lambda: refused(503, "busy", wire.SERVER_UNAVAILABLE),
    **{f"{status} page": functools.partial(page, status) for status in (400, 403, 404, 408, 413, 429, 500, 502)},
    "500 when done": failed_after,
    "502 page when done": lambda: failed_after(Reply(502, b"<html>502</html>", {"Content-Type": "text/html"})),
    "404 page when done": lambda: failed_after(Reply(404, b"<html>404</html>", {"Content-Type": "text/html"})),
    "503 before the end of the body": lambda: early(error(503, "busy", wire.SERVER_UNAVAILABLE), after=50),
    "200 page of a portal": lambda: answered(Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"})),
    "200 {}": lambda: answered(EMPTY_OBJECT),
    "200 {} when done": lambda: failed_after(EMPTY_OBJECT),
    "200 without a body": empty,
    "200 with an error's body": lambda: answered(Reply(200, error(500, "failed").body)),
    "200 junk": lambda: answered(Reply(200, bytes(range(256)))),
    "200 cut to fit": truncated,
    "200 broken off": broken_off,
    "200 gzipped and cut": lambda: gzipped(cut=5),
    "200 of 64 MB": lambda: giant(64 * 2**20, packed=True),
    "307 elsewhere": lambda: redirect("http://127.0.0.2:9/v1/files"),
    "reset at once": lambda: reset_mid_body(0),
    "reset in mid-body": lambda: reset_mid_body(60),
    "reset when done": answer_reset,
    "closed when done": answer_lost,
    "no answer": stalled,
    "no answer when done": lambda: stalled_after(headers=True),
    "103 for ever": lambda: endless(b"", b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"),
    "an answer in drips": lambda: dripping(0.2, head=True),
}  # fmt: skip


#: What is in the cells, by use, fault, how long it lasts, mode, and kind of service.
Filled = dict[tuple[str, ...], str]


class Cell:
    """One use of the service while it fails, and after.

    Attributes:
        acknowledged: whether the call succeeded.
        begin, lift: have the fault begin and end.
    """

    def __init__(self, bench: Bench, write_back: bool, lasting: bool, begin: Callable[[], None]) -> None:
        self.bench = bench
        self.lasting = lasting
        self.write_back = write_back
        self.begin = begin
        self.lift = bench.server.unscript
        self.acknowledged = False

    def start(self) -> Drive:
        """Start a drive whose waits are short."""
        drive = self.bench.start(write_back=self.write_back, upload_timeout=2.0, timeout=2.0, listing_ttl=0.0)
        drive.uploader.backoff = lambda _attempt: 0.03  # type: ignore[method-assign]
        return drive

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Make the call; return what it returns, or None where it fails with an error of ours."""
        try:
            value = call()
        except (MoonfsError, OSError):
            return None
        self.acknowledged = True
        return value


def lists(cell: Cell, drive: Drive) -> str:
    cell.bench.server.add("a.txt", OLD)
    cell.begin()
    shown = cell.attempt(drive.ls)
    cell.lift()
    if shown not in (None, [], ["a.txt"]):
        return "W"
    return "" if _recovers(lambda: drive.ls() == ["a.txt"]) else "N"


def uploads(cell: Cell, drive: Drive, old: bytes | None = None) -> str:
    cell.begin()
    cell.attempt(lambda: drive.write("a.txt", NEW))
    if cell.write_back:
        time.sleep(0.2)  # the fault meets what goes on in the background
    cell.lift()
    drive.idle()
    wanted = {NEW} if cell.acknowledged else {NEW, old}

    def hole() -> str:
        drive.account.listing.expire()
        copies = cell.bench.copies()
        if cell.bench.server.names() not in ([], ["a.txt"] * len(copies)):
            return "M"
        if len(copies) > 1:
            return "D"
        try:
            shown: bytes | None = drive.read("a.txt")
        except errors.NotFound:
            shown = None
        except MoonfsError:
            return "L"
        if shown not in wanted:
            return "L" if cell.acknowledged or old is not None else "R"
        refused_here = shown == NEW and drive.fs.xattrs("/a.txt").get("user.moonfs.state") == b"failed"
        return "" if refused_here or (copies == [] and shown is None) or copies == [shown] else "L"

    return hole() if _recovers(lambda: not hole()) is False else ""


def overwrites(cell: Cell, drive: Drive) -> str:
    drive.write("a.txt", OLDER)  # where names are numbered, the drive learns it by the next
    drive.write("a.txt", OLD)
    drive.idle()
    return uploads(cell, drive, OLD)


def deletes(cell: Cell, drive: Drive) -> str:
    cell.bench.server.add("a.txt", OLD)
    drive.ls()
    cell.begin()
    cell.attempt(lambda: drive.fs.unlink("/a.txt", lambda: 0))
    time.sleep(0.1)
    cell.lift()
    drive.idle()
    if cell.acknowledged:
        return "" if _recovers(lambda: drive.ls() == [] and not cell.bench.copies()) else "R"
    # What failed may have been done; drive and service must agree.
    return "" if _recovers(lambda: len(drive.ls()) == len(cell.bench.copies())) else "W"


def texts(cell: Cell, drive: Drive, **other: str) -> str:
    stored = cell.bench.server.add("a.txt", OLD, **other)
    drive.ls()
    cell.begin()
    shown = cell.attempt(lambda: drive.read("a.txt.content"))
    cell.lift()
    stored.status = "ok"
    if shown is not None and not _is_text(shown) and not (cell.lasting and _may_be_text(shown)):
        return "W"

    def reads() -> bool:
        drive.ls()
        with contextlib.suppress(MoonfsError):
            return _is_text(drive.read("a.txt.content"))
        return False

    return "" if _recovers(reads) else "N"


def retrieves(cell: Cell, drive: Drive) -> str:
    """The text of a file that is still being extracted, until shortly before the wait for it is over."""
    stop = in_thread(lambda: (time.sleep(1.0), _finish(cell.bench.server)))
    try:
        return texts(cell, drive, status="processing")
    finally:
        stop.result(PATIENCE)


#: What is done, by the endpoint that it needs.
USES: dict[str, tuple[str, Callable[..., str]]] = {
    "list": ("list", lists),
    "upload": ("upload", uploads),
    "overwrite": ("upload", overwrites),
    "retrieve": ("retrieve", retrieves),
    "content": ("content", texts),
    "delete": ("delete", deletes),
}


def fill(use: str, fault: str, enduring: str, mode: str, kind: Kind = YESTERDAY) -> str:
    """Return what is in a cell."""
    operation, work = USES[use]
    with tempfile.TemporaryDirectory(prefix="moonfs-matrix-") as home, FaultServer(kind=kind) as server:
        bench = Bench(server, Path(home))

        def begin() -> None:
            server.script(operation, *(FAULTS[fault]() for _ in range(1 if enduring == "once" else 3000)))
            if (operation, fault) == ("delete", "404 of the API"):
                server.files.clear()  # it is true: somebody else was quicker

        cell = Cell(bench, mode == "write-back", enduring == "lasting", begin)

        def run() -> str:
            return work(cell, cell.start()) or ("." if cell.acknowledged else "e")

        try:
            return in_thread(run).result(PATIENCE)
        except TimeoutError:
            return "H"
        except Exception:  # an exception of any kind is what is looked for
            return "X"
        finally:
            server.ending.set()
            for drive in bench.drives:
                with contextlib.suppress(Exception):
                    drive.close()


def fill_all(
    uses: tuple[str, ...] = tuple(USES),
    faults: tuple[str, ...] = tuple(FAULTS),
    kinds: Sequence[Kind] = (YESTERDAY,),
    seed: str = "1",
) -> Filled:
    """Return what is in the cells, each on one of `kinds`."""
    chance = random.Random(seed)
    cells = [
        (use, fault, how, mode, chance.choice(kinds))
        for use in uses for fault in faults for how in ENDURING for mode in MODES
    ]  # fmt: skip
    with ThreadPoolExecutor(THREADS) as pool:
        filled = pool.map(lambda cell: fill(*cell), cells)
        return {(*cell, str(kind)): letter for (*cell, kind), letter in zip(cells, filled, strict=True)}


def table(filled: Filled) -> str:
    """Return the cells as a table: in each the four of once and lasting, write-through and write-back."""
    shown = {cell[:4]: letter for cell, letter in filled.items()}
    uses = list(dict.fromkeys(use for use, *_ in filled))
    lines = [f"{'':34}" + "".join(f"{use:>11}" for use in uses)]
    for fault in dict.fromkeys(fault for _, fault, *_ in filled):
        four = ["".join(shown[use, fault, how, mode] for how in ENDURING for mode in MODES) for use in uses]
        lines.append(f"{fault:34}" + "".join(f"{cells:>11}" for cells in four))
    return "\n".join(lines)


def holes(filled: Filled) -> dict[str, str]:
    """Return the cells that show a fault of the drive, by what they are."""
    return {" · ".join(cell): letter for cell, letter in filled.items() if letter.isupper()}


def _is_text(shown: bytes) -> bool:
    try:
        return bool(json.loads(shown)["content"] == OLD.decode())
    except (ValueError, KeyError, TypeError):
        return False


def _may_be_text(shown: bytes) -> bool:
    """Say whether what comes twice may be shown, since nobody can tell: all but a page and an error (R2)."""
    return not shown.lstrip().startswith(b"<") and b'"error"' not in shown


def _finish(server: FaultServer) -> None:
    with server.lock:
        for stored in server.files.values():
            stored.status = "ok"


def _recovers(is_well: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Say whether all is well within so many seconds of the end of a fault."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(MoonfsError):
            if is_well():
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
