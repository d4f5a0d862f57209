"""The drive without a kernel: `Filesystem` on a service, in this process, for what a mount would take long to show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from moonfs.api import Client
from moonfs.attributes import Attributes
from moonfs.config import make_private
from moonfs.filesystem import Filesystem
from moonfs.journal import Journal
from moonfs.originals import Originals
from moonfs.remote import Remote
from moonfs.settings import Settings
from moonfs.spool import Spool
from moonfs.texts import Texts
from moonfs.traffic import Traffic
from tests.faults.server import FaultServer


@contextlib.contextmanager
def filesystem(server: FaultServer, home: Path, *, minute: float = 60.0, **settings: object) -> Iterator[Filesystem]:
    """Wire a filesystem as `mount` does, without a lock and a log; a minute of rates lasts `minute` seconds."""
    chosen = Settings(**settings)  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        traffic = Traffic(chosen.requests, minute=minute)
        client = Client(server.base_url, server.key, traffic=traffic, **server.kind.client)
        stack.callback(client.close)
        attributes = Attributes(home / "attributes.db")
        stack.callback(attributes.close)
        account = Remote(
            client,
            attributes,
            Texts(make_private(home / "texts"), chosen.text_cache),
            listing_ttl=chosen.listing_ttl,
            content_cache=chosen.content_cache,
            traffic=traffic,
        )
        account.verify(10)
        journal = Journal(home / "journal.db")
        stack.callback(journal.close)
        journal.respell(account.key)
        made = Filesystem(
            account,
            settings=chosen,
            spool=Spool(make_private(home / "spool")),
            journal=journal,
            originals=Originals(make_private(home / "originals"), chosen.originals_cache),
            attributes=attributes,
        )
        stack.callback(made.close)
        stack.callback(traffic.close)
        made.recover()
        yield made


def write(drive: Filesystem, path: str, body: bytes) -> None:
    """Create a file, write it and close it."""
    handle = drive.create(path, 0o644).handle
    try:
        if body:
            drive.write(handle, body, 0)
        drive.flush(handle)
    finally:
        drive.release(handle)


def read(drive: Filesystem, handle: int, length: int = 2**20, offset: int = 0) -> bytes:
    """Read from an open file."""
    buffer = bytearray(length)
    return bytes(buffer[: drive.read(handle, memoryview(buffer), offset)])
