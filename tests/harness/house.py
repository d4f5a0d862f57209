"""A drive without kernel and network: the real filesystem over a client in memory, for what is decided above the wire.

drive = house.start(write_back=True)
drive.write("a.txt", b"bytes")
again = house.next_run()        # what a new process finds after `kill -9`
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

from moonfs import errors
from moonfs import journal as states
from moonfs.attributes import Attributes
from moonfs.config import make_private
from moonfs.errors import MoonfsError
from moonfs.filesystem import Filesystem
from moonfs.journal import Journal
from moonfs.originals import Originals
from moonfs.remote import Remote
from moonfs.settings import Settings
from moonfs.spool import Spool, SpoolFile
from moonfs.texts import Texts
from moonfs.traffic import Ticket
from moonfs.wire import FileObject, Listed
from tests.harness import direct
from tests.harness.rest import at_rest

SELF = os.getpid


def text_of(body: bytes) -> bytes:
    """Return what the account answers as the text of a file with these bytes."""
    return json.dumps({"content": body.decode("latin-1")}).encode()


class Account:
    """`api.Client` in memory. `gate` holds uploads back; `script` is what the next ones do."""

    server_clock_offset = 0.0
    left_out = 0
    unread = ""
    project = False

    @property
    def service_time(self) -> float:
        return time.time()

    def __init__(self) -> None:
        self.files: dict[str, FileObject] = {}
        self.bodies: dict[str, bytes] = {}
        self.script: list[MoonfsError | None] = []
        self.delete_error: MoonfsError | None = None
        self.content_error: MoonfsError | None = None
        self.gate: threading.Event | None = None
        self.arrived = threading.Semaphore(0)
        self.uploads = 0

    def add(self, name: str, data: bytes, created_at: int = 0, purpose: str = "file-extract") -> FileObject:
        file_id = f"id{len(self.bodies)}"
        made = created_at or 1000 + len(self.bodies)
        file = FileObject(id=file_id, bytes=len(data), created_at=made, filename=name, purpose=purpose)
        self.files[file_id], self.bodies[file_id] = file, data
        return file

    def list(self, *, deadline: float | None = None, ticket: Ticket | None = None) -> Listed:
        return Listed(self.files.values())

    def upload(
        self, source: BinaryIO, *, filename: str, size: int, purpose: str, deadline: float, **_: Any
    ) -> FileObject:
        self.uploads += 1
        self.arrived.release()
        step = self.script.pop(0) if self.script else None
        if self.gate is not None:
            assert self.gate.wait(60)
        if step is not None:
            raise step
        data = source.read()
        assert len(data) == size
        return self.add(filename, data, created_at=int(time.time()) + len(self.bodies), purpose=purpose)

    def retrieve(self, file_id: str) -> FileObject:
        if file_id not in self.files:
            raise errors.NotFound("gone", status=404)
        return self.files[file_id]

    def delete(self, file_id: str, *, deadline: float | None = None, ticket: Ticket | None = None) -> None:
        if self.delete_error is not None:
            raise self.delete_error
        if self.files.pop(file_id, None) is None:
            raise errors.NotFound("gone", status=404)

    def content(self, file_id: str, *, ticket: Ticket | None = None) -> bytes:
        if self.content_error is not None:
            raise self.content_error
        return text_of(self.bodies[file_id])

    def close(self) -> None:
        pass

    def shown(self) -> dict[str, bytes]:
        assert len({file.filename for file in self.files.values()}) == len(self.files), "two copies of one name"
        return {file.filename: self.bodies[file.id] for file in self.files.values()}


class Drive:
    """A filesystem over `account` with its state in `home`."""

    def __init__(self, account: Account, home: Path, **settings: Any) -> None:
        self.account, self.home = account, home
        chosen = Settings(**{"upload_timeout": 5.0, "listing_ttl": 0.0, **settings})
        make_private(home)
        self.attributes = Attributes(home / "attributes.db")
        texts = Texts(make_private(home / "texts"), 2**20)
        self.remote = Remote(account, self.attributes, texts, listing_ttl=chosen.listing_ttl, content_cache=2**20)  # type: ignore[arg-type]
        self.remote.verify(5)
        self.journal = Journal(home / "journal.db")
        self.spool = Spool(make_private(home / "spool"))
        self.fs = Filesystem(
            self.remote,
            settings=chosen,
            spool=self.spool,
            journal=self.journal,
            originals=Originals(make_private(home / "originals"), 2**20),
            attributes=self.attributes,
        )
        self.uploader = self.fs._versions.uploader
        self.uploader.backoff = lambda _attempt: 0.0  # type: ignore[method-assign]

    def start(self) -> Drive:
        self.fs.recover()
        return self

    def create(self, name: str, data: bytes = b"", mode: int = 0o644) -> int:
        handle = self.fs.create(f"/{name}", mode).handle
        if data:
            self.fs.write(handle, data, 0)
        return handle

    def end(self, handle: int) -> None:
        try:
            self.fs.flush(handle)
        finally:
            self.fs.release(handle)

    def write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        try:
            handle = self.fs.open(f"/{name}", read=False, write=True, truncate=True).handle
        except errors.NotFound:
            handle = self.fs.create(f"/{name}", mode).handle
        self.fs.write(handle, data, 0)
        self.end(handle)

    def read(self, name: str) -> bytes:
        handle = self.fs.open(f"/{name}", read=True, write=False).handle
        try:
            return direct.read(self.fs, handle)
        finally:
            self.fs.release(handle)

    def ls(self) -> list[str]:
        return [name for name in self.fs.readdir("/") if not name.endswith(".content")]

    def spooled(self) -> int:
        """Return how many spool files are on disk."""
        return len(list((self.home / "spool").iterdir()))

    def close(self) -> None:
        self.fs.close()
        self.journal.close()
        self.attributes.close()


class House:
    """One account, and the drives that run on it one after another."""

    def __init__(self, root: Path) -> None:
        self.root, self.account, self.drives = root, Account(), []

    def build(self, **settings: Any) -> Drive:
        drive = Drive(self.account, self.root / f"home{len(self.drives)}", **settings)
        self.drives.append(drive)
        return drive

    def start(self, **settings: Any) -> Drive:
        return self.build(**settings).start()

    def build_again(self, drive: Drive, **settings: Any) -> Drive:
        """Build the drive that a next process makes of the disk of `drive`, which is closed: links stay links."""
        self.drives.append(Drive(self.account, drive.home, **settings))
        return self.drives[-1]

    def next_run(self, *, start: bool = True, **settings: Any) -> Drive:
        """Build the drive that a next process makes of the disk as it is now."""
        home = self.root / f"home{len(self.drives)}"
        shutil.copytree(self.drives[-1].home, home, copy_function=_copy_what_is_there)
        return self.start(**settings) if start else self.build(**settings)


def _copy_what_is_there(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile, as it may before a kill
        shutil.copy2(source, target)


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as problem:
            result.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    return result


def put_off(house: House, drive: Drive, name: str = "a.txt", data: bytes = b"one") -> None:
    """Write a file and return once its upload is at the service, which keeps the answer until `let_go`."""
    house.account.gate = threading.Event()
    drive.write(name, data)
    assert house.account.arrived.acquire(timeout=60)


def let_go(house: House, drive: Drive) -> None:
    house.account.gate.set()  # type: ignore[union-attr]
    at_rest(drive.uploader.workers)


def record(drive: Drive, name: str, data: bytes, state: str, **other: Any) -> SpoolFile:
    """Write a row into the journal; what was started had no answer."""
    other.setdefault("unanswered", int("started" in other))
    file = drive.spool.create()
    file.write(data, 0)
    drive.journal.put(
        states.Intent(
            spool=file.name,
            name=name,
            state=state,
            purpose="auto",
            size=len(data),
            sha256=file.sha256(),
            mtime_ns=7,
            inode=9,
            **other,
        )
    )
    file.sync()
    file.rest()
    return file
