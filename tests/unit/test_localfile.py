"""A file whose newest bytes are here: what an upload reads never changes, and what failed stays failed."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moonfs import spool as spools
from moonfs import wire
from moonfs.errors import BytesNotHere, FileTooLarge
from moonfs.localfile import NEVER, LocalFile
from moonfs.spool import Spool
from moonfs.wire import FileObject

BASE = FileObject(id="base1", bytes=10, created_at=1, filename="a.txt")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A spool whose bytes are all on disk, where they can be counted and the disk can refuse them."""
    monkeypatch.setattr(spools, "MEMORY_BYTES", 0)
    return Spool(tmp_path)


def fresh(spool: Spool, data: bytes = b"", name: str = "a.txt", **other: object) -> LocalFile:
    local = LocalFile(spool, name, 7, 1, file=spool.create(), **other)  # type: ignore[arg-type]
    if data:
        local.write(data, 0)
    return local


def over_base(spool: Spool, tmp_path: Path) -> LocalFile:
    """Return the version that follows a remote file whose original is here."""
    original = tmp_path / "original"
    original.write_bytes(b"0123456789")
    return LocalFile(spool, "a.txt", 7, 1, base=BASE, source=os.open(original, os.O_RDONLY))


def spooled(tmp_path: Path) -> int:
    return sum(path.name != "original" for path in tmp_path.iterdir())


def test_a_new_file_is_nothing_the_service_has(spool: Spool) -> None:
    """W1: it is not clean before its first upload, though nothing was written."""
    local = fresh(spool)
    assert not local.clean and local.stored == NEVER and local.size == 0 and local.stays_local
    local.discard()


def test_every_change_is_a_generation(spool: Spool) -> None:
    """W1: each generation of bytes is uploaded once; every write, cut and extension makes a new one."""
    local = fresh(spool)
    seen = [local.generation]
    for change in (lambda: local.write(b"abc", 0), lambda: local.truncate(1), lambda: local.truncate(0)):
        change()
        assert local.generation > seen[-1]
        seen.append(local.generation)
    local.discard()


def test_a_base_is_clean_until_it_is_changed(spool: Spool, tmp_path: Path) -> None:
    """W1: opening for writing and closing uploads nothing."""
    local = over_base(spool, tmp_path)
    assert local.clean and not local.hollow and local.size == 10 and local.replaces == {"base1"}
    assert local.read(4, 3) == b"3456"
    assert spooled(tmp_path) == 0, "the bytes are copied at the first write only"
    local.write(b"XY", 4)
    assert not local.clean and local.read(100, 0) == b"0123XY6789"
    local.discard()
    assert spooled(tmp_path) == 0


def test_an_original_is_never_written_to(spool: Spool, tmp_path: Path) -> None:
    """R5, tenet 3: the file begins as another name of it, and goes on with a copy."""
    local = over_base(spool, tmp_path)
    with local.lock:
        assert local.materialise().shared
    local.write(b"XX", 0)
    assert (tmp_path / "original").read_bytes() == b"0123456789" and spooled(tmp_path) == 1
    local.truncate(4)
    assert (tmp_path / "original").read_bytes() == b"0123456789" and local.read(10, 0) == b"XX23"
    local.discard()


def test_hollow_bytes_are_never_made_up(spool: Spool) -> None:
    """W5, tenet 3: reads, writes and cuts that need old bytes are refused; nothing has changed after."""
    local = LocalFile(spool, "a.txt", 7, 1, base=BASE)
    assert local.hollow and local.size == 10
    for need in (
        lambda: local.read(1, 0),
        lambda: local.write(b"x", 10),
        lambda: local.truncate(5),
        lambda: local.truncate(11),
        local.materialise,
    ):
        with pytest.raises(BytesNotHere):
            need()
    local.truncate(10)
    assert local.clean and local.hollow and local.refused is None
    local.discard()


def test_a_hollow_file_may_start_over(spool: Spool) -> None:
    """W5: truncate(0) works everywhere, and what it replaces is remembered."""
    local = LocalFile(spool, "a.txt", 7, 1, base=BASE)
    local.truncate(0)
    assert not local.hollow and local.size == 0 and not local.clean
    local.write(b"new", 0)
    assert local.read(10, 0) == b"new" and local.replaces == {"base1"}
    local.discard()


@pytest.mark.parametrize("change", ["write", "truncate", "cut"])
def test_an_upload_goes_on_with_the_bytes_it_started_with(spool: Spool, change: str, tmp_path: Path) -> None:
    """W1, tenet 3: copy on write while lent: what reaches the service is one generation, not a mixture."""
    local = fresh(spool, b"generation one")
    lent = local.materialise()
    local.lent = lent
    if change == "write":
        local.write(b"TWO", 11)
        expected = b"generation TWO"
    elif change == "truncate":
        local.truncate(0)
        expected = b""
    else:
        local.truncate(10)
        expected = b"generation"
    assert lent.read(100, 0) == b"generation one"
    assert local.read(100, 0) == expected and local.spool is not lent
    local.write(b"!", 0)
    assert lent.read(100, 0) == b"generation one" and spooled(tmp_path) == 2, "one copy, not one for each write"
    lent.discard()
    local.discard()


def promised(spool: Spool, data: bytes = b"acknowledged") -> LocalFile:
    """Return a file whose bytes the journal promises (W2)."""
    local = fresh(spool, data)
    local.committed, local.acknowledged, local.kept = local.materialise(), local.generation, True
    return local


@pytest.mark.parametrize("flying", [False, True], ids=["waiting", "under way"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.write(b"ACK", 0), b"ACKnowledged"),
        (lambda f: f.truncate(0), b""),
        (lambda f: f.truncate(3), b"ack"),
    ],
    ids=["write", "empty", "cut"],
)
def test_what_was_promised_is_never_written_to(
    spool: Spool, change: Callable[[LocalFile], object], expected: bytes, flying: bool, tmp_path: Path
) -> None:
    """W2, tenet 1: copy on write over acknowledged bytes; they stay whole until the next promise."""
    local = promised(spool)
    local.lent = local.committed if flying else None
    assert local.pending
    change(local)
    assert not local.pending and local.committed is not None and local.spool is not local.committed
    assert local.read(100, 0) == expected and local.committed.read(100, 0) == b"acknowledged"
    local.write(b"!", 0)
    assert local.committed.read(100, 0) == b"acknowledged" and spooled(tmp_path) == 2, "one copy for all writes"
    local.discard()
    assert spooled(tmp_path) == 0


def test_a_full_disk_takes_nothing_from_what_was_promised(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2, W7: the copy that a write would need cannot be made: the promise stands, half a copy does not stay."""
    local = promised(spool)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError):
        local.write(b"more", 0)
    monkeypatch.undo()
    assert local.committed is not None and local.committed.read(100, 0) == b"acknowledged"
    local.revert()
    assert local.pending and local.refused is None and local.read(100, 0) == b"acknowledged"
    local.discard()


def test_going_back_to_what_was_promised(spool: Spool, tmp_path: Path) -> None:
    """W2, tenet 3: a close that failed leaves the acknowledged bytes and nothing of the later ones."""
    local = promised(spool)
    then = local.generation
    local.write(b"never synced", 3)
    local.refused = FileTooLarge("x")
    for _ in range(2):
        local.revert()
        assert local.pending and local.generation == local.acknowledged > then and local.refused is None
        assert local.read(100, 0) == b"acknowledged" and local.size == 12 and spooled(tmp_path) == 1
    local.write(b"more", 12)
    assert local.generation > then and local.read(100, 0) == b"acknowledgedmore"
    local.discard()


def test_a_generation_is_never_used_twice(spool: Spool) -> None:
    """W1: what is known of one generation (stored, failed) must not hold for other bytes after `revert`."""
    local = promised(spool)
    local.write(b"one", 0)
    failed = local.generation
    local.revert()
    local.write(b"two", 0)
    assert local.generation != failed
    local.discard()


def test_resting_bytes_are_read_and_written_again(spool: Spool) -> None:
    """W6: a descriptor is given back between uses; nothing else shows that."""
    local = promised(spool)
    before = len(os.listdir("/proc/self/fd"))
    local.rest()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert local.read(100, 0) == b"acknowledged"
    local.rest()
    local.write(b"A", 0)
    assert local.read(3, 0) == b"Ack"
    local.discard()


def test_a_write_past_the_limit_is_refused_for_good(spool: Spool) -> None:
    """W7: EFBIG at that write; what is there is not what was written, so it stays refused until that is cut off."""
    local = fresh(spool)
    local.write(b"x", wire.MAX_FILE_BYTES - 1)
    assert local.size == wire.MAX_FILE_BYTES and local.refused is None
    with pytest.raises(FileTooLarge):
        local.write(b"y", wire.MAX_FILE_BYTES)
    assert isinstance(local.refused, FileTooLarge) and local.size == wire.MAX_FILE_BYTES
    local.write(b"z", 0)
    assert isinstance(local.refused, FileTooLarge)
    with pytest.raises(FileTooLarge):
        local.write(b"yy", wire.MAX_FILE_BYTES - 1)
    local.truncate(wire.MAX_FILE_BYTES)
    assert isinstance(local.refused, FileTooLarge)
    local.truncate(wire.MAX_FILE_BYTES - 1)
    assert local.refused is None
    with pytest.raises(FileTooLarge):
        local.write(b"y", wire.MAX_FILE_BYTES)
    local.truncate(0)
    assert local.refused is None
    local.discard()


@pytest.mark.parametrize(("offset", "length"), [(wire.MAX_FILE_BYTES, 1), (2**62, 1), (0, wire.MAX_FILE_BYTES + 1)])
def test_the_limit_counts_the_end_of_the_write(spool: Spool, offset: int, length: int) -> None:
    """W7: before a byte of it reaches the disk."""
    local = fresh(spool)
    with pytest.raises(FileTooLarge):
        local.write(bytes(length), offset)
    assert local.size == 0
    local.discard()


def test_an_extension_past_the_limit_changes_nothing(spool: Spool) -> None:
    """W7: ftruncate says EFBIG; the file is as it was, so it can still be stored."""
    local = fresh(spool, b"ok")
    with pytest.raises(FileTooLarge):
        local.truncate(wire.MAX_FILE_BYTES + 1)
    assert local.refused is None and local.read(9, 0) == b"ok"
    local.discard()


def full(*_args: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_refused_for_good(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W7: ENOSPC at the write; what is there is not uploaded."""
    local = fresh(spool, b"before")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError) as caught:
        local.write(b"after", 6)
    assert caught.value.errno == errno.ENOSPC and local.refused is caught.value
    local.discard()


def test_a_full_disk_while_copying_leaves_no_part(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W7: neither the first write over an original nor a copy on write leaves half a copy behind."""
    local = over_base(spool, tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError):
        local.write(b"x", 0)
    sizes = {path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {10} and local.read(3, 0) == b"012"
    local.discard()
    assert spooled(tmp_path) == 0
    monkeypatch.undo()
    other = fresh(spool, b"bytes")
    other.lent = other.materialise()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError):
        other.write(b"x", 0)
    assert spooled(tmp_path) == 1 and other.lent.read(9, 0) == b"bytes"
    other.discard()


def test_the_real_limit_of_a_real_disk(tmp_path: Path) -> None:
    """W7: a short write and then the error, as a full disk makes them; here by RLIMIT_FSIZE in another process."""
    program = textwrap.dedent(
        f"""
        import errno, pathlib, resource, signal
        from moonfs.localfile import LocalFile
        from moonfs import spool as spools
        spools.MEMORY_BYTES = 0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        spool = spools.Spool(pathlib.Path({str(tmp_path)!r}))
        local = LocalFile(spool, "a.txt", 1, 1, file=spool.create())
        local.write(b"x" * 4000, 0)
        try:
            local.write(b"y" * 4000, 4000)
        except OSError as error:
            assert error.errno == errno.EFBIG and local.refused is error
            print("refused", local.generation)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.startswith("refused"), done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


def test_a_write_that_fails_half_way_is_a_change(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenet 3: after fsync and a short write that ends in ENOSPC the bytes here are not those of the service."""
    local = fresh(spool, b"stored")
    local.stored = local.generation
    whole, calls = os.pwrite, []

    def half(fd: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        return whole(fd, bytes(data[:2]), offset) if len(calls) == 1 else full()

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError):
        local.write(b"more", 6)
    damaged = local.read(100, 0) != b"stored"
    local.discard()
    assert not (damaged and local.clean)


@pytest.mark.parametrize(
    ("name", "data", "private", "stays"),
    [
        ("a.txt", b"x", False, False),
        ("a.txt", b"", False, True),
        (".hidden", b"x", False, True),
        ("a.txt~", b"x", False, True),
        ("tmpab12cd", b"x", True, True),
        ("tmpab12cd", b"x", False, False),
        ("a.pdf", b"x", True, False),
    ],
)
def test_what_stays_on_this_machine(spool: Spool, name: str, data: bytes, private: bool, stays: bool) -> None:
    """W6, N6: empty, temporary, or private and of a type that the service refuses."""
    local = fresh(spool, data, name, private=private)
    assert local.stays_local is stays
    local.discard()


def test_no_descriptor_is_left(spool: Spool, tmp_path: Path) -> None:
    """Every way through a local file's life gives its descriptors back."""
    before = set(os.listdir("/proc/self/fd"))
    for change in (lambda _: None, lambda f: f.write(b"x", 0), lambda f: f.truncate(0), lambda f: f.truncate(3)):
        for end in ("discard", "rest"):
            local = over_base(spool, tmp_path)
            change(local)
            getattr(local, end)()
            getattr(local, end)()
    assert set(os.listdir("/proc/self/fd")) == before


def test_writers_do_not_lose_each_others_bytes(spool: Spool) -> None:
    """Two descriptors of one file: each write counts, and the generation says how many there were."""
    local = fresh(spool)
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait(60)
        for turn in range(100):
            local.write(bytes([number]), number * 100 + turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert local.read(1000, 0) == b"".join(bytes([number]) * 100 for number in range(4))
    assert local.generation == 400
    local.discard()
