"""Who watches is told of names by a process, and nobody is told anything where nobody watches."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from moonfs import announcer
from moonfs.announcer import Announcer, Watch
from tests.harness.drive import wait_until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SETTLE", "_TICK", "_BEGUN", "_PAUSE"):
        monkeypatch.setattr(announcer, name, 0.001)


def test_where_nobody_watches_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """L4: no name is compared and no process started; without a listing or a change, nobody even looks."""
    looked = threading.Semaphore(0)
    monkeypatch.setattr(announcer, "find_watches", lambda _point: looked.release() or [])
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    quiet = Announcer("/nowhere", lambda: pytest.fail("the names were asked for"))
    assert quiet._thread is None
    for note in (lambda: quiet.listed(["a"], 1), lambda: quiet.came("b"), lambda: quiet.went("a")):
        note()
        assert looked.acquire(timeout=60)
    assert not looked.acquire(timeout=0.05)
    quiet.close()
    assert quiet._thread is not None
    wait_until(lambda: not quiet._thread.is_alive(), "the thread has ended")  # type: ignore[union-attr]


def test_what_cannot_be_told_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """E1: a directory that is no drive does not know who tells; then nobody tells any more, and the log says so."""
    names = {"kept"}
    monkeypatch.setattr(announcer, "find_watches", lambda _point: [Watch(0, "/proc/self/fdinfo/0", "pos:")])
    asked: list[Any] = []
    lost = Announcer(str(tmp_path), lambda: asked.append(0) or {*names, f"{len(asked)}.txt"})
    lost.listed(names, 1)
    wait_until(lambda: not lost._able, "it has given up")
    assert "cannot be told" in caplog.text
    assert list(tmp_path.iterdir()) == []
    lost.close()


@pytest.mark.parametrize("moment", ["first look", "second look"])
def test_what_the_kernel_tells_meanwhile_is_not_taken_back(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """L4: a file that is made, or goes, while the names are looked at has its event from the kernel, and no other."""
    names, said = {"kept", "goes"}, []

    def look() -> set[str]:
        seen = set(names)
        if moments.pop(0):
            names.add("made")
            busy.came("made")
            names.discard("goes")
            busy.went("goes")
        return seen

    busy = Announcer("/nowhere", look, able=False)

    def tell(lines: list[bytes]) -> bool:
        said.extend(lines)
        return True

    monkeypatch.setattr(busy, "_tell", tell)
    busy.listed([], 1)
    busy._told = set(names)
    names.add("a text")
    moments = [moment == "first look", moment == "second look", False, False]
    busy._compare()
    busy._compare()
    assert said == [b"+a text"]


def test_what_the_kernel_tells_while_the_voice_speaks_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """L4: a name that is taken anew before it is told of as gone, and one that comes and goes, are left alone."""
    names = {"back", "lasts"}
    busy = Announcer("/nowhere", lambda: names, able=False)
    busy.listed([], 1)
    busy._told = {"back", "gone", "lasts"}
    names.discard("back")
    names.add("brief")
    found: dict[str, bool] = {}

    def tell(_lines: list[bytes]) -> bool:
        busy.came("back")
        busy.came("brief")
        busy.went("brief")
        found.update({name: busy.finds(name) for name in ("back", "gone", "brief", "lasts")})
        return True

    monkeypatch.setattr(busy, "_tell", tell)
    busy._compare()
    # What is found is removed where it has gone, and not made where it has come.
    assert found == {"back": False, "gone": True, "brief": True, "lasts": True}


def test_who_begins_to_watch_knows_what_it_has_listed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """L4: what it lists later it may not have shown; who has listed nothing in the end is not waited for."""
    late = Announcer("/nowhere", lambda: [])
    monkeypatch.setattr(late, "_poke", lambda: None)
    for process in range(2**23, 2**23 + 100):  # above any pid_max, so all of them have ended
        late.listed(["old"], process)
    late.listed(["old", "goes", "new"], 1)
    late.listed(["old", "goes", "new", "newer"], 1)
    late.went("goes")
    window, other = Watch(1, "", ""), Watch(2, "", "")
    assert not late._meet([window, other], all_of_them=True)
    assert not late._meet([other], all_of_them=False)
    assert late._told == {"old"}
    assert late._meet([window, other], all_of_them=False)
    assert late._told == {"old", "new"}


@pytest.mark.parametrize("listed", [1, 2, None])
def test_a_window_that_opens_is_given_time(monkeypatch: pytest.MonkeyPatch, listed: int | None) -> None:
    """L4: a program begins to watch before it lists; who never lists the root itself is told all the same."""
    slow = Announcer("/nowhere", lambda: [])
    monkeypatch.setattr(announcer, "find_watches", lambda _point: [Watch(1, "/proc/self/fdinfo/0", "pos:")])
    done: list[str] = []
    monkeypatch.setattr(slow, "_meet", lambda _watches, **_more: done.append("met") or len(done) == listed)
    monkeypatch.setattr(slow, "_compare", lambda: done.append("told") or slow._closing.set())
    slow._attend()
    assert done == ["met"] * (listed or announcer._OPENING) + ["told"]


def test_a_name_that_cannot_be_said_is_left_out() -> None:
    """N2: as no listing shows it; it keeps no other from being told."""
    said = announcer._lines(b"+", ["b", "\ud800", "\udce9.txt", "a/b", "a\0b", "\u798f"])
    assert said == [b"+b", "+\u798f".encode(), b"+\xe9.txt"]


def test_a_mount_is_not_asked_for_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: a process that waits for its own drive when it is killed never ends, and the drive hangs for everybody."""

    def asked(path: str) -> os.stat_result:
        raise AssertionError(f"{path} was asked")

    monkeypatch.setattr(os, "stat", asked)
    major, _, inode = announcer._identity("/proc")
    assert (major, inode) == (0, 1)


def test_a_mount_whose_path_has_a_space_is_not_asked_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: the mount table has such signs as octal numbers."""
    table = "41 29 0:51 / /home/u/My\\040drive\\134\u00fc rw - fuse.moonfs moonfs rw\n".encode()

    def opened(path: str, _mode: str) -> io.BytesIO:
        assert path == "/proc/self/mountinfo"
        return io.BytesIO(table)

    monkeypatch.setattr("builtins.open", opened)
    assert announcer._identity("/home/u/My drive\\\u00fc") == (0, 51, 1)
