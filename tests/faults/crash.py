"""A drive that is killed: the process that `test_crash` starts, loads and ends with SIGKILL, over and over.

It runs the real `Filesystem` over the real client against a real local server, without a kernel, so that a kill
costs milliseconds. Each thing it does is announced before and confirmed after in a diary: what was confirmed must
survive. It dies at a chosen step (every write of the journal, every sync of a spool file, every request), or
whenever the test likes.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moonfs import disowned, writeback
from moonfs.api import Client, Timeouts
from moonfs.attributes import Attributes
from moonfs.config import Settings, make_private
from moonfs.errors import MoonfsError
from moonfs.filesystem import Filesystem
from moonfs.journal import Journal
from moonfs.originals import Originals
from moonfs.remote import Remote
from moonfs.spool import Spool, SpoolFile

#: Before and after each of these the process may die.
STEPS = (
    (Journal, "put"),
    (Journal, "stored"),
    (Journal, "forget"),
    (Journal, "delete_later"),
    (Journal, "deleted"),
    (SpoolFile, "sync"),
    (SpoolFile, "discard"),
    (Originals, "adopt"),
    (Attributes, "set"),
    (Remote, "upload"),
    (Remote, "delete"),
)
NAMES = tuple(f"n{number}.txt" for number in range(5))


def run(
    home: str, socket: str, key: str, diary: str, *, seed: int, write_back: bool, die_at: int, operations: int
) -> None:
    """Recover, tell what is there, do `operations` random things, drain if `die_at` is 0, and end.

    With `die_at` N > 0 the process kills itself at the Nth step.
    """
    say = functools.partial(_say, os.open(diary, os.O_WRONLY | os.O_APPEND))
    writeback.TWIN_CHECK = disowned.TWIN_CHECK = 0.1  # type: ignore[misc]
    if die_at:
        _die_at(die_at)
    chance = random.Random(seed)
    state = make_private(Path(home))
    client = Client("http://localhost/v1", key, socket=socket, timeouts=Timeouts(deadline=10))
    attributes = Attributes(state / "attributes.db")
    account = Remote(client, attributes, listing_ttl=1000, content_cache=1024**2)
    account.verify(10)
    filesystem = Filesystem(
        account,
        settings=Settings(write_back=write_back, upload_timeout=10, listing_ttl=1000),
        spool=Spool(make_private(state / "spool")),
        journal=Journal(state / "journal.db"),
        originals=Originals(make_private(state / "originals"), 2**30),
        attributes=attributes,
    )
    filesystem.recover()
    names = [name for name in filesystem.readdir("/") if not name.endswith(".content")]
    say("view", {name: read(filesystem, name) for name in names})
    for _ in range(operations):
        what = choose(chance, seed)
        say("begin", what)
        try:
            do(filesystem, what)
        except MoonfsError as error:
            say("failed", what, repr(error))
        else:
            say("done", what)
    if not die_at:
        say("drained", filesystem.drain(60))
        threading.Event().wait(0.5)  # late copies are looked for 0.1 s after the first look
        say("drained", filesystem.drain(60))
    filesystem.close()
    client.close()
    say("end")


def choose(chance: random.Random, seed: int) -> list[Any]:
    """Return a random thing to do: `["write", name, text]`, `["rename", old, new]` or `["unlink", name]`."""
    kind = chance.choices(("write", "rename", "unlink"), (6, 2, 2))[0]
    if kind == "write":
        return [kind, chance.choice(NAMES), f"{seed} {chance.randrange(10**12):012d}"]
    if kind == "rename":
        return [kind, *chance.sample(NAMES, 2)]
    return [kind, chance.choice(NAMES)]


def do(filesystem: Filesystem, what: list[Any]) -> None:
    """Do it as the kernel would ask for it."""
    if what[0] == "rename":
        filesystem.rename(f"/{what[1]}", f"/{what[2]}")
    elif what[0] == "unlink":
        filesystem.unlink(f"/{what[1]}", os.getpid)
    else:
        path = f"/{what[1]}"
        try:
            handle = filesystem.open(path, read=False, write=True, truncate=True).handle
        except MoonfsError:
            handle = filesystem.create(path, 0o644).handle
        try:
            filesystem.write(handle, what[2].encode(), 0)
            filesystem.flush(handle)
        finally:
            filesystem.release(handle)


def read(filesystem: Filesystem, name: str) -> str:
    """Return a file's bytes as text; what only the service has is marked."""
    try:
        handle = filesystem.open(f"/{name}", read=True, write=False).handle
    except MoonfsError:
        opened = filesystem.open(f"/{name}.content", read=True, write=False).handle
        text = filesystem.read(opened, 10**6, 0)
        filesystem.release(opened)
        return str(json.loads(text)["content"])
    data = filesystem.read(handle, 10**6, 0)
    filesystem.release(handle)
    return data.decode()


def _say(diary: int, *words: object) -> None:
    os.write(diary, json.dumps(words).encode() + b"\n")


def _die_at(step: int) -> None:
    count = 0
    lock = threading.Lock()

    def passed() -> None:
        nonlocal count
        with lock:
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            passed()
            result = function(*args, **kwargs)
            passed()
            return result

        return guarded

    for owner, name in STEPS:
        setattr(owner, name, guard(getattr(owner, name)))
