"""The spool: writers' bytes, whole and private."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

import pytest

from moonfs import spool as spools
from moonfs.spool import CARRIED_BYTES, Spool


@pytest.fixture(params=["in memory", "on disk"])
def spool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A spool that holds few bytes in memory, and one that has no memory for any."""
    if request.param == "on disk":
        monkeypatch.setattr(spools, "MEMORY_BYTES", 0)
    return Spool(tmp_path)


def test_a_spool_file_is_private(spool: Spool, tmp_path: Path) -> None:
    """X2: 0600 whatever the umask, and not inherited by programs that are started."""
    old = os.umask(0)
    try:
        file = spool.create()
        path = file.file()
        file.read(1, 0)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == tmp_path and not os.get_inheritable(file._fd)
    file.rest()


def test_few_bytes_stay_in_memory_until_they_are_needed(tmp_path: Path) -> None:
    """W2: a small file costs the disk nothing before its upload; then it is there whole, and read as before."""
    spool = Spool(tmp_path)
    file = spool.create()
    file.write(b"x" * CARRIED_BYTES, 0)
    assert list(tmp_path.iterdir()) == [] and file.small() == b"x" * CARRIED_BYTES
    assert file.file().read_bytes() == b"x" * CARRIED_BYTES == file.read(10**6, 0)
    assert spool._memory._left == spools.MEMORY_BYTES
    file.write(b"y", CARRIED_BYTES)
    assert file.small() is None and file.file().stat().st_size == CARRIED_BYTES + 1
    file.discard()


def test_memory_is_bounded_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X2, RSS: however many files are written, so many bytes of them are in memory; each way out gives them back."""
    monkeypatch.setattr(spools, "MEMORY_BYTES", 100)
    spool = Spool(tmp_path)
    files = [spool.create() for _ in range(6)]
    for file in files:
        file.write(b"x" * 30, 0)
    assert len(list(tmp_path.iterdir())) == 3 and all(file.read(99, 0) == b"x" * 30 for file in files)
    files[0].truncate(0)
    files[1].discard()
    files[2].sync()
    assert spool._memory._left == 100
    for file in files:
        file.discard()
    assert list(tmp_path.iterdir()) == [] and spool._memory._left == 100


def test_bytes_from_the_journal_take_the_place_of_others(spool: Spool, tmp_path: Path) -> None:
    """W2: after a power cut a spool file may be missing, short, or of the right length and wrong."""
    for left in (None, b"", b"WRONG", b"right"):
        if left is not None:
            (tmp_path / "name").write_bytes(left)
        spool.restore("name", b"right")
        assert (tmp_path / "name").read_bytes() == b"right"
        assert stat.S_IMODE((tmp_path / "name").stat().st_mode) & 0o077 == 0 or left is not None
        (tmp_path / "name").unlink()


def test_writes_anywhere_match_a_plain_buffer(spool: Spool) -> None:
    """Random writes, cuts and reads give what a byte array gives."""
    rng, model, file = random.Random(3), bytearray(), spool.create()
    for _ in range(300):
        offset, data = rng.randrange(5000), rng.randbytes(rng.randrange(200))
        if rng.random() < 0.1:
            file.truncate(offset)
            model = model[:offset] + bytes(max(0, offset - len(model)))
        else:
            assert file.write(data, offset) == len(data)
            if data:
                model += bytes(max(0, offset - len(model)))
                model[offset : offset + len(data)] = data
        assert file.size == max(len(model), file.size if not data else 0)
        assert file.read(7000, 0) == bytes(model)
    assert file.sha256() == hashlib.sha256(model).hexdigest()
    file.rest()


def test_short_writes_are_continued(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenet 1: pwrite may take less than it was given."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, bytes(data[:3]), offset))
    file = spool.create()
    assert file.write(b"0123456789", 5) == 10
    assert file.file().read_bytes() == bytes(5) + b"0123456789"
    assert file.read(100, 0) == bytes(5) + b"0123456789" and file.size == 15
    file.rest()


def test_copies_replace_what_was_there(spool: Spool) -> None:
    """A copy has exactly the source's bytes, also where the target was longer."""
    one, other = spool.create(), spool.create()
    one.write(b"x" * 3_000_000, 0)
    other.write(b"y" * 4_000_000, 0)
    one.copy_to(other)
    assert other.size == 3_000_000 and other.sha256() == one.sha256()
    one.rest()
    other.rest()


def test_bytes_are_found_again_by_name(spool: Spool) -> None:
    """W6: the journal refers to a spool file by name; a new run has its bytes."""
    file = spool.create()
    file.write(b"kept", 0)
    file.sync()
    file.rest()
    again = spool.reopen(file.name)
    assert again.size == 4 and again.read(10, 0) == b"kept"
    again.write(b"more", 4)
    assert again.read(10, 0) == b"keptmore"
    again.discard()
    with pytest.raises(FileNotFoundError):
        spool.reopen(file.name)


def test_rest_and_discard_repeat_harmlessly(spool: Spool) -> None:
    """A descriptor is never closed twice: its number may be somebody else's by then."""
    file = spool.create()
    path = file.file()
    file.rest()
    other = os.open(os.devnull, os.O_RDONLY)
    file.rest()
    file.discard()
    file.discard()
    os.fstat(other)
    os.close(other)
    assert not path.exists()


def test_what_rests_goes_on_where_it_was(spool: Spool) -> None:
    """W6: thousands of files that stay here hold no descriptor; each use opens its own again."""
    file, other = spool.create(), spool.create()
    other.file()
    other.read(1, 0)
    file.write(b"abc", 0)
    file.file()
    file.read(1, 0)
    before = len(os.listdir("/proc/self/fd"))
    for use in (
        lambda: file.write(b"d", 3),
        lambda: file.truncate(4),
        file.sync,
        lambda: file.read(1, 0),
        lambda: file.copy_to(other),
    ):
        file.rest()
        use()
    file.rest()
    assert file.sha256() == hashlib.sha256(b"abcd").hexdigest() and file.size == 4
    assert len(os.listdir("/proc/self/fd")) == before - 1, "less its own"


def test_a_descriptor_that_was_opened_again_is_not_inherited(spool: Spool) -> None:
    """X2: nor is the file made anew when it is gone: its bytes are."""
    file = spool.create()
    path = file.file()
    file.rest()
    file.write(b"x", 0)
    assert not os.get_inheritable(file._fd)
    file.rest()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.read(1, 0)


def test_the_name_is_made_durable_once(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: fsync of a new file's bytes does not keep its name through a power loss; the directory's does."""
    synced: list[str] = []
    whole = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), whole(fd))[1])
    file = spool.create()
    for _ in range(2):
        file.sync()
    assert synced == [str(file.file()), str(tmp_path), str(file.file())]
    file.discard()


def test_orphans_go_and_the_rest_stays(spool: Spool, tmp_path: Path) -> None:
    """What no journal row refers to is deleted at the start; nothing else is."""
    files = [spool.create() for _ in range(4)]
    for file in files:
        file.file()
        file.rest()
    assert spool.clean({files[0].name, files[2].name, "not there"}) == 2
    assert {path.name for path in tmp_path.iterdir()} == {files[0].name, files[2].name}


def test_a_full_disk_reaches_the_writer(spool: Spool) -> None:
    """W7: ENOSPC is the writer's errno."""
    file = spool.create()
    file.file()
    file.read(1, 0)
    os.close(file._fd)
    file._fd = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        file.write(b"x", 0)
    assert caught.value.errno == 28
    file.discard()


@pytest.mark.parametrize("named", [True, False], ids=["by a link", "by a copy"])
def test_what_is_open_is_taken_hold_of(spool: Spool, tmp_path: Path, named: bool) -> None:
    """W9: it costs a link, and a copy where the file has lost its name; it outlives the file either way."""
    original = tmp_path / "original"
    original.write_bytes(b"x" * 100_000)
    fd = os.open(original, os.O_RDONLY)
    try:
        if not named:
            original.unlink()
        file = spool.take_hold(fd)
        assert (os.stat(file.file()).st_ino == os.fstat(fd).st_ino) == file.shared == named
    finally:
        os.close(fd)
    original.unlink(missing_ok=True)
    assert file.read(10**6, 0) == b"x" * 100_000 and file.size == 100_000
    file.discard()
    assert list(tmp_path.iterdir()) == []
