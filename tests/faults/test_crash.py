"""Tenet 1 under SIGKILL: what was acknowledged is there, once, with its bytes; what was deleted stays deleted.

Over 300 kills, at every step of the journal in turn and at random moments, in both modes, over a mixed load of
create, overwrite, rename and unlink. What was under way at a kill may have happened or not; nothing else may differ.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import crash

World = dict[str, str]
#: A clean process without threads, from which each life of the drive is forked in a moment.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.crash"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real local server on a UNIX socket: (socket, key)."""
    home = tmp_path_factory.mktemp("server")
    data, socket = home / "data", Path("/tmp") / f"moonfs-crash-{os.getpid()}.sock"
    command = [sys.executable, "-m", "moonfs.server", "--data", str(data), "--socket", str(socket)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (data / "server.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        yield str(socket), (data / "key").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


class Remote:
    """The account as the service has it."""

    def __init__(self, socket: str, key: str) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket),
            base_url="http://localhost/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )

    def clear(self) -> None:
        for file in self._list():
            self._http.delete(f"/files/{file['id']}").raise_for_status()

    def texts(self) -> list[tuple[str, str]]:
        """Return (name, text) of every file."""
        return sorted(
            (file["filename"], self._http.get(f"/files/{file['id']}/content").json()["content"])
            for file in self._list()
        )

    def close(self) -> None:
        self._http.close()

    def _list(self) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = self._http.get("/files").raise_for_status().json()["data"]
        return data


def after(world: World, what: list[Any]) -> World:
    """Return what a world becomes when `what` happens in it."""
    world = dict(world)
    if what[0] == "write":
        world[what[1]] = what[2]
    elif what[0] == "unlink":
        world.pop(what[1], None)
    elif what[1] in world:
        world[what[2]] = world.pop(what[1])
    return world


class Model:
    """The worlds that the drive may be in, by what it has acknowledged."""

    def __init__(self) -> None:
        self.worlds: list[World] = [{}]

    def take(self, events: list[list[Any]], context: str) -> None:
        """Follow one life of the drive; its last, unfinished thing may have happened or not."""
        begun: list[Any] | None = None
        for event in events:
            if event[0] == "view":
                self.see(event[1], context)
            elif event[0] == "begin":
                begun = event[1]
            elif event[0] == "done":
                self._happened(event[1])
                begun = None
            elif event[0] == "failed":
                assert event[2].startswith(("NotFound", "NotSupported")), f"{context}: {event}"
                begun = None
        if begun is not None:
            self.worlds = _distinct(self.worlds + [after(world, begun) for world in self.worlds])

    def see(self, view: World, context: str) -> None:
        """Check what the drive, or the service, shows."""
        assert view in self.worlds, f"{context}: shown {view}, possible {self.worlds}"

    def settle(self, view: World, context: str) -> None:
        """Check what is there when nothing is under way any more; only that is possible from now on."""
        self.see(view, context)
        self.worlds = [view]

    def _happened(self, what: list[Any]) -> None:
        able = [world for world in self.worlds if what[0] == "write" or what[1] in world]
        self.worlds = _distinct([after(world, what) for world in able])


def _distinct(worlds: list[World]) -> list[World]:
    return [world for number, world in enumerate(worlds) if world not in worlds[:number]]


def live(
    home: Path, server: tuple[str, str], *, kill_after: float | None = None, **how: Any
) -> tuple[list[list[Any]], bool]:
    """Run one life of the drive and return its events, and whether it was killed."""
    home.mkdir(exist_ok=True)
    diary = home.with_suffix(".events")
    diary.write_bytes(b"")
    process = FORKS.Process(target=crash.run, args=(str(home), *server, str(diary)), kwargs=how)
    process.start()
    process.join(120 if kill_after is None else kill_after)
    if process.exitcode is None:
        assert kill_after is not None, f"the drive hangs: {diary.read_text()}"
        process.kill()
        process.join(30)
    killed = process.exitcode == -signal.SIGKILL
    lines = diary.read_text().splitlines()
    assert killed or process.exitcode == 0, f"exit code {process.exitcode} after {lines[-3:]}"
    return [json.loads(line) for line in lines], killed


def leftovers(home: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the spool's files and the journal's rows."""
    with sqlite3.connect(home / "journal.db") as db:
        rows = db.execute("SELECT spool, name, state FROM intents").fetchall()
        rows += db.execute("SELECT id FROM deletions").fetchall()
    db.close()
    return sorted(entry.name for entry in (home / "spool").iterdir()), rows


@pytest.mark.parametrize("mode", ["write-through", "write-back"])
@pytest.mark.parametrize("when", ["every step", "random moments"])
def test_nothing_acknowledged_is_lost_or_undone(mode: str, when: str, server: tuple[str, str], tmp_path: Path) -> None:
    """W2, W3, W4, W8: 80 kills a case, a check of the service after every 8."""
    chance = random.Random(f"{mode} {when}")
    remote = Remote(*server)
    remote.clear()
    model = Model()
    kills = life = step = 0
    try:
        while kills < 80:
            life += 1
            how: dict[str, Any] = {"seed": life, "write_back": mode == "write-back", "operations": 12}
            context = f"{mode}, {when}, life {life}"
            if life % 9 == 0:
                events, _ = live(tmp_path / "state", server, die_at=0, **how)
                model.take(events, context)
                assert ["drained", True] in events, events[-3:]
                texts = remote.texts()
                assert len({name for name, _ in texts}) == len(texts), f"{context}: more than one copy: {texts}"
                model.settle(dict(texts), context)
                left = leftovers(tmp_path / "state")
                assert left == ([], []), f"{context}: left behind {left}"
                continue
            if when == "every step":
                step = step % 78 + 1
                events, killed = live(tmp_path / "state", server, die_at=step, **how)
            else:
                events, killed = live(
                    tmp_path / "state", server, die_at=10**9, kill_after=chance.uniform(0.02, 0.5), **how
                )
            kills += killed
            model.take(events, context)
            time.sleep(0.03)  # a request that was cut off may still be carried out
    finally:
        remote.close()
