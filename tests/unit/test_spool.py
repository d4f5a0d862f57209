"""The spool: writers' bytes, whole and private."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

import pytest

from moonfs.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def test_a_spool_file_is_private(spool: Spool, tmp_path: Path) -> None:
    """X2: 0600 whatever the umask, and not inherited by programs that are started."""
    old = os.umask(0)
    try:
        file = spool.create()
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.path.parent == tmp_path and not os.get_inheritable(file._fd)
    file.rest()


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
    file.rest()
    other = os.open(os.devnull, os.O_RDONLY)
    file.rest()
    file.discard()
    file.discard()
    os.fstat(other)
    os.close(other)
    assert not file.path.exists()


def test_what_rests_goes_on_where_it_was(spool: Spool) -> None:
    """W6: thousands of files that stay here hold no descriptor; each use opens its own again."""
    file = spool.create()
    file.write(b"abc", 0)
    before = len(os.listdir("/proc/self/fd"))
    for use in (
        lambda: file.write(b"d", 3),
        lambda: file.truncate(4),
        file.sync,
        lambda: file.read(1, 0),
        lambda: file.copy_to(spool.create()),
    ):
        file.rest()
        use()
    file.rest()
    assert file.sha256() == hashlib.sha256(b"abcd").hexdigest() and file.size == 4
    assert len(os.listdir("/proc/self/fd")) == before, "less its own, more the copy's"


def test_a_descriptor_that_was_opened_again_is_not_inherited(spool: Spool) -> None:
    """X2: nor is the file made anew when it is gone: its bytes are."""
    file = spool.create()
    file.rest()
    file.write(b"x", 0)
    assert not os.get_inheritable(file._fd)
    file.rest()
    file.path.unlink()
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
    assert synced == [str(file.path), str(tmp_path), str(file.path)]
    file.discard()


def test_orphans_go_and_the_rest_stays(spool: Spool, tmp_path: Path) -> None:
    """What no journal row refers to is deleted at the start; nothing else is."""
    files = [spool.create() for _ in range(4)]
    for file in files:
        file.rest()
    assert spool.clean({files[0].name, files[2].name, "not there"}) == 2
    assert {path.name for path in tmp_path.iterdir()} == {files[0].name, files[2].name}


def test_a_full_disk_reaches_the_writer(spool: Spool) -> None:
    """W7: ENOSPC is the writer's errno."""
    file = spool.create()
    os.close(file._fd)
    file._fd = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        file.write(b"x", 0)
    assert caught.value.errno == 28
    file.discard()
