"""Texts of files that are on their way: listed, waited for, never the old one, never waited for in vain (N1, R4)."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer, refused
from tests.harness.drive import SECONDS, Drive, wait_for_end, wait_until
from tests.harness.expect import fails
from tests.harness.gate import Gate

pytestmark = pytest.mark.fuse

NO_TEXT = "text extract error: 没有解析出内容"
KEY = ("Invalid Authentication", "invalid_authentication_error")
PLAN = ("You exceeded your current token quota", "exceeded_current_quota_error")
#: Less than the wait for a text (R4): whoever is answered within did not wait.
AT_ONCE = 8.0


def text(path: Path) -> str:
    return str(json.loads(path.read_bytes())["content"])


def held(service: FaultServer, count: int = 1) -> list[Gate]:
    gates = [Gate() for _ in range(count)]
    service.script("upload", *[gate.before for gate in gates])
    return gates


def waiting(pool: ThreadPoolExecutor, path: Path) -> Future[str]:
    """Return the text that a reader in a thread waits for; it has had time to come to the wait."""
    reading = pool.submit(text, path)
    time.sleep(0.3)  # a reader that comes later finds the same
    assert not reading.done()
    return reading


def quick(call: Callable[[], object], code: int) -> None:
    """Expect an error at once."""
    began = time.monotonic()
    with fails(code):
        call()
    assert time.monotonic() - began < AT_ONCE


def test_the_text_of_a_pending_file_is_waited_for(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1, R4: listed and shown like any unread text; who opens it gets it when the upload has ended."""
    drive = faulty("write_back").drive
    (gate,) = held(service)
    drive.run('echo hello > plain; cp plain "$DIR/a.txt"')
    gate.wait()
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    before = os.stat(drive / "a.txt.content")
    assert (before.st_size, before.st_mode & 0o777) == (1, 0o400)
    assert os.getxattr(drive / "a.txt.content", "user.moonfs.state") == b"pending"
    assert os.listdir(drive / ".moonfs/purpose/file-extract") == ["a.txt", "a.txt.content"]
    assert os.listdir(drive / ".moonfs/by-id") == [] and os.listdir(drive / ".moonfs/purpose/image") == []
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(text, drive / where / "a.txt.content") for where in ("", ".moonfs/purpose/file-extract")]
        time.sleep(0.3)
        assert not any(reader.done() for reader in readers) and service.count("content") == 0
        gate.opened.set()
        assert [reader.result() for reader in readers] == ["hello\n", "hello\n"]
    after = os.stat(drive / "a.txt.content")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns) and after.st_size > 1
    assert drive.errors() == []


def test_a_search_over_copies_just_made_is_whole(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1, R3, R4: `grep -l` finds every one, in the order of the listing, with sidecars hidden or not."""
    drive = faulty("write_back", "requests=2").drive
    names = [f"{number:02}.txt" for number in range(40)]
    script = 'for n in $(seq -w 0 39); do echo "a needle $n" > "$DIR/$n.txt"; done; grep -l needle "$DIR"/*.content'
    assert drive.run(script).splitlines() == [f"{drive / name}.content" for name in names]
    assert service.names() == names


def test_hidden_ones_open_too(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: `sidecars=hide` lists none, and waits all the same."""
    drive = faulty("write_back", "sidecars=hide").drive
    (gate,) = held(service)
    (drive / "a.txt").write_text("hello")
    assert os.listdir(drive.point) == ["a.txt"]
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "a.txt.content")
        gate.opened.set()
        assert reader.result() == "hello"


@pytest.mark.parametrize("options", [(), ("write_back",)], ids=["write-through", "write-back"])
def test_after_an_overwrite_the_old_text_is_never_given(
    faulty: Callable[..., Faulty], service: FaultServer, options: tuple[str, ...]
) -> None:
    """R4, tenet 3: not though it was read before and is open still; whoever reads it reads it to its end."""
    drive = faulty("listing_ttl=0", *options).drive
    old, new = "old " * 50_000, "new " * 10
    (drive / "a.txt").write_text(old)
    with open(drive / "a.txt.content", "rb", buffering=0) as reading, ThreadPoolExecutor(2) as pool:
        body = reading.read(1000)
        inode = os.stat(drive / "a.txt.content").st_ino
        (gate,) = held(service)
        writer = pool.submit((drive / "a.txt").write_text, new)
        gate.wait()
        reader = waiting(pool, drive / "a.txt.content")
        assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
        assert os.stat(drive / "a.txt.content").st_ino == inode
        while chunk := reading.read(100_000):
            body += chunk
        assert json.loads(body)["content"] == old
        gate.opened.set()
        assert reader.result() == new and writer.result()
    assert text(drive / "a.txt.content") == new
    assert os.stat(drive / "a.txt.content").st_ino == inode


def test_an_overwrite_that_is_not_closed_yet(faulty: Callable[..., Faulty]) -> None:
    """R4: from the first write on the text is that of the version to come, whoever asks; a close ends the wait."""
    drive = faulty("write_back").drive
    (drive / "a.txt").write_text("old")
    assert text(drive / "a.txt.content") == "old"
    with open(drive / "a.txt", "r+b", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        file.write(b"new")
        assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
        reader = waiting(pool, drive / "a.txt.content")
        file.close()
        assert reader.result() == "new"


def test_what_has_no_text_to_come(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: empty and temporary files, videos, what has another purpose, and what nobody has closed yet."""
    drive = faulty("write_back").drive
    held(service, 8)
    drive.run('cd "$DIR"; : > empty.txt; echo x > a.tmp; echo x > film.mp4; echo x > .hidden.txt')
    (drive / ".moonfs/purpose/image/p.png").write_text("x")
    (drive / ".moonfs/purpose/batch/b.jsonl").write_text("x")
    with open(drive / "new.txt", "wb", buffering=0) as file:
        file.write(b"begun")
        assert [name for name in os.listdir(drive.point) if name.endswith(".content")] == []
        for name in ("empty.txt", "a.tmp", "film.mp4", "p.png", "b.jsonl", "new.txt"):
            quick((drive / f"{name}.content").read_bytes, errno.ENOENT)
    service.ending.set()


def test_a_picture_without_words(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4, W10, W11: its text was listed, and turns out not to be: ENOENT, and deleting what was listed is no error."""
    drive = faulty("write_back").drive
    gate = Gate()

    def no_text(turn: object) -> None:
        gate.before(turn)  # type: ignore[arg-type]

    service.script("upload", refused(400, NO_TEXT), no_text)
    (drive / "p.png").write_text("x")
    gate.wait()
    assert os.listdir(drive.point) == ["p.png", "p.png.content"]
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "p.png.content")
        gate.opened.set()
        with fails(errno.ENOENT):
            reader.result()
    assert os.listdir(drive.point) == ["p.png"]
    drive.run('rm "$DIR/p.png" "$DIR/p.png.content"')
    wait_until(lambda: service.names() == [], "it is deleted")


@pytest.mark.parametrize("way", ["waited for", "opened later"])
def test_a_refused_upload(faulty: Callable[..., Faulty], service: FaultServer, way: str) -> None:
    """R4, E1: its errno, for who waits and for who comes later; new bytes of it are waited for again."""
    drive = faulty("write_back").drive
    gate = Gate()

    def refuse(turn: object) -> None:
        gate.arrived.set()
        gate.opened.wait(SECONDS)
        refused(400, NO_TEXT)(turn)  # type: ignore[arg-type]

    service.script("upload", refuse)
    (drive / "a.txt").write_text("hello")
    gate.wait()
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "a.txt.content") if way == "waited for" else None
        gate.opened.set()
        if reader is not None:
            with fails(errno.EINVAL):
                reader.result()
    wait_until(lambda: drive.status()["uploads"]["failed"], "the drive has heard of it")
    quick((drive / "a.txt.content").read_bytes, errno.EINVAL)
    assert any("no text could be extracted" in line["message"] for line in drive.errors())
    (drive / "a.txt").write_text("better")
    assert text(drive / "a.txt.content") == "better"


@pytest.mark.parametrize("options", [(), ("write_back",)], ids=["write-through", "write-back"])
def test_a_full_account(faulty: Callable[..., Faulty], service: FaultServer, options: tuple[str, ...]) -> None:
    """R4: what is kept and tried again later shows its text's name; who opens it is told why there is none."""
    drive = faulty(*options).drive
    service.script("upload", refused(429, *PLAN))
    with suppress(OSError):
        (drive / "a.txt").write_text("hello")
    wait_until(lambda: drive.status()["uploads"]["failed"], "it is refused")
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    quick((drive / "a.txt.content").read_bytes, errno.EDQUOT)
    drive.run('rm "$DIR"/*')
    assert os.listdir(drive.point) == []


def test_who_does_not_wait(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4, N4: O_NONBLOCK is answered at once, who only looks (O_NOATIME) too; writing is refused."""
    drive = faulty("write_back").drive
    held(service)
    (drive / "a.txt").write_text("hello")
    path = drive / "a.txt.content"
    for flags, code in (
        (os.O_NONBLOCK, errno.EAGAIN),
        (os.O_NOATIME, errno.EACCES),
        (os.O_WRONLY, errno.EACCES),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, errno.EACCES),
    ):
        quick(lambda flags=flags: os.open(path, flags), code)  # type: ignore[misc]
    with fails(errno.EACCES):
        os.rename(path, drive / "b.txt")
    assert "not there yet" in drive.errors()[0]["message"]
    service.ending.set()


def test_a_known_outage(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4, E2: nobody waits in it; the wait that was under way when it began ends too."""
    drive = faulty("write_back", "timeout=2").drive
    service.suspend()
    (drive / "a.txt").write_text("hello")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit((drive / "a.txt.content").read_bytes)
        wait_until(lambda: drive.status()["traffic"]["outage"], "it is noticed")
        with fails(errno.EAGAIN):
            first.result()
    (told,) = [line["message"] for line in drive.errors() if line["name"] == "a.txt.content"]
    assert "no connection" in told and "no answer since" in told
    quick((drive / "a.txt.content").read_bytes, errno.EAGAIN)
    service.resume()
    wait_until(lambda: service.names() == ["a.txt"], "it is uploaded")
    assert text(drive / "a.txt.content") == "hello"


def test_many_pending_files_cost_one_wait(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4: when it has run out and nothing has come through since, the next ones are answered at once; then not."""
    drive = faulty("write_back", "requests=1").drive
    gates = held(service, 1)
    for number in range(100):
        (drive / f"{number:02}.txt").write_text("needle")
    gates[0].wait()
    began = time.monotonic()
    done = drive.shell('grep -l needle "$DIR"/*.content', timeout=100)
    took = time.monotonic() - began
    assert done.returncode == 2 and done.stderr.count("Resource temporarily unavailable") == 100, done
    assert 14 < took < 60, took
    assert "its upload takes long" in drive.errors()[-1]["message"]
    gates[0].opened.set()
    wait_until(lambda: len(service.names()) == 100, "all are uploaded")
    assert len(drive.run('grep -l needle "$DIR"/*.content').splitlines()) == 100


def test_delete_all_of_pending_files(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """W10: in any order, without an error; the name of a text deletes nothing by itself."""
    drive = faulty("write_back").drive
    gates = held(service, 8)
    drive.run('cd "$DIR"; echo x > a.txt; echo x > b.txt; rm *.content')
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content", "b.txt", "b.txt.content"]
    drive.run('rm "$DIR"/*')
    assert os.listdir(drive.point) == []
    drive.run('cd "$DIR"; echo x > c.txt; echo x > d.txt; rm c.txt.content c.txt; find . -type f -delete')
    assert os.listdir(drive.point) == []
    for gate in gates:
        gate.opened.set()
    wait_until(lambda: not drive.status()["uploads"]["active"] and service.names() == [], "what arrived is deleted")


def test_who_deletes_the_name_that_is_waited_for(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """E2, W10: does not wait for that, nor does everybody else for the directory; and it deletes nothing."""
    if os.geteuid() != 0:
        pytest.skip("the daemon may not look at other programs' system calls")
    drive = faulty("write_back").drive
    (gate,) = held(service)
    (drive / "a.txt").write_text("hello")
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "a.txt.content")
        began = time.monotonic()
        drive.run('rm "$DIR/a.txt.content"; ls "$DIR"')
        with fails(errno.EAGAIN):
            reader.result()
        assert time.monotonic() - began < AT_ONCE
    gate.opened.set()
    assert text(drive / "a.txt.content") == "hello"


@pytest.mark.parametrize("how", ["deleted", "renamed", "emptied"])
def test_a_file_that_goes_ends_the_wait(faulty: Callable[..., Faulty], service: FaultServer, how: str) -> None:
    """R4: ENOENT at once; under its new name its text is waited for."""
    drive = faulty("write_back").drive
    (gate,) = held(service)
    (drive / "a.txt").write_text("hello")
    gate.wait()
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "a.txt.content")
        began = time.monotonic()
        if how == "deleted":
            (drive / "a.txt").unlink()
        elif how == "renamed":
            os.rename(drive / "a.txt", drive / "b.txt")
        else:
            os.truncate(drive / "a.txt", 0)
        with fails(errno.ENOENT):
            reader.result()
        assert time.monotonic() - began < AT_ONCE
        gate.opened.set()
        if how == "renamed":
            assert text(drive / "b.txt.content") == "hello"


def test_a_rename_that_goes_on_in_the_background(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4, W9: in write-through too the text under the new name is waited for."""
    drive = faulty().drive
    (drive / "a.txt").write_text("hello")
    (gate,) = held(service)
    os.rename(drive / "a.txt", drive / "b.txt")
    assert os.listdir(drive.point) == ["b.txt", "b.txt.content"]
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "b.txt.content")
        gate.opened.set()
        assert reader.result() == "hello"


def test_the_end_of_the_drive_ends_the_wait(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """R4, L2: who waits is told, and does not hold up the daemon."""
    drive = faulty("write_back", "drain=0").drive
    held(service)
    (drive / "a.txt").write_text("hello")
    with ThreadPoolExecutor(1) as pool:
        reader = waiting(pool, drive / "a.txt.content")
        began = time.monotonic()
        os.kill(drive.pid, signal.SIGTERM)
        with pytest.raises(OSError):
            reader.result()
        assert time.monotonic() - began < AT_ONCE
    service.ending.set()
    wait_for_end(drive.pid)
    service.ending.clear()


def test_pending_files_after_a_kill(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1, W2: what the next mount takes up has a text to come, and keeps its number."""
    drive: Drive = faulty("write_back").drive
    service.script("upload", *[refused(401, *KEY)] * 50)
    (drive / "a.txt").write_text("hello")
    inode = os.stat(drive / "a.txt.content").st_ino
    drive.kill()
    service.unscript("upload")
    (gate,) = held(service)
    drive.mount("write_back")
    assert os.listdir(drive.point) == ["a.txt", "a.txt.content"]
    assert os.stat(drive / "a.txt.content").st_ino == inode
    gate.opened.set()
    assert text(drive / "a.txt.content") == "hello"
