"""Texts on disk: whole or not at all, bounded in bytes, the least recently used out first (R2)."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from moonfs import disk
from moonfs.texts import Texts


def read(texts: Texts, file_id: str) -> bytes | None:
    found = texts.open(file_id)
    if found is None:
        return None
    fd, size = found
    body = os.pread(fd, size + 1, 0)
    os.close(fd)
    return body


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


@pytest.mark.parametrize("text", [b"x", b"", b"x" * (3 << 20), "\u6708\u4eae\n".encode(), bytes(range(256))], ids=len)
def test_a_text_survives_a_run(tmp_path: Path, text: bytes) -> None:
    """R2: byte for byte, with its length known at once."""
    texts = Texts(tmp_path, 10**7)
    assert texts.put("id1", text)
    assert read(texts, "id1") == text
    again = Texts(tmp_path, 10**7)
    assert "id1" in again and again.sizes() == {"id1": len(text)} and again.used == len(text)
    assert read(again, "id1") == text


@pytest.mark.parametrize("file_id", ["0", "a.b-c_d.content", "d6q1v5kdrq1cdtvlq36g", "file_" + "x" * 123])
def test_any_id_names_a_file(tmp_path: Path, file_id: str) -> None:
    """N2: an id of the longest form, or one that looks like a file name, stays inside of the store."""
    texts = Texts(tmp_path, 100)
    assert texts.put(file_id, b"text")
    assert only_file(tmp_path).name.startswith(file_id)
    assert read(Texts(tmp_path, 100), file_id) == b"text"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b"T" + path.read_bytes()[1:]),
        lambda path: path.rename(path.with_name(path.name.replace("~4~", "~5~"))),
        lambda path: path.unlink(),
    ],
    ids=["cut", "empty", "longer", "one bit", "another length", "gone"],
)
@pytest.mark.parametrize("when", ["between runs", "before the index is used"])
def test_a_damaged_text_is_none(tmp_path: Path, damage: object, when: str) -> None:
    """R2, tenet 3: what is not whole is dropped, and is fetched again."""
    Texts(tmp_path, 100).put("id1", b"text")
    texts = Texts(tmp_path, 100)
    damage(only_file(tmp_path))  # type: ignore[operator]
    if when == "between runs":
        texts = Texts(tmp_path, 100)
    assert read(texts, "id1") is None
    assert "id1" not in texts and texts.used == 0
    assert texts.put("id1", b"text") and read(texts, "id1") == b"text"


def test_the_store_is_bounded_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    """R2: in bytes, by use."""
    texts = Texts(tmp_path, 100)
    for file_id in ("a", "b", "c"):
        assert texts.put(file_id, b"x" * 30)
    assert read(texts, "a")
    assert texts.put("d", b"x" * 40)
    assert list(texts.sizes()) == ["c", "a", "d"] and texts.used == 100
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 100
    assert not texts.put("huge", b"x" * 101) and len(texts.sizes()) == 3


def test_use_counts_across_runs(tmp_path: Path) -> None:
    """R2: the next run knows what was read last, not only what was fetched last; a smaller bound evicts at once."""
    texts = Texts(tmp_path, 100)
    for age, file_id in enumerate(("a", "b", "c")):
        texts.put(file_id, b"x" * 30)
        when = time.time() - 100 + age
        os.utime(next(tmp_path.glob(f"{file_id}~*")), (when, when))
    assert read(Texts(tmp_path, 100), "a")
    assert list(Texts(tmp_path, 60).sizes()) == ["c", "a"]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_crash_cut_off_is_removed(tmp_path: Path) -> None:
    """R2: a text under way has no id yet; nor is anything else in the directory taken for a text."""
    (tmp_path / ".part-01ab-0").write_bytes(b"half")
    (tmp_path / "notes").write_bytes(b"mine")
    texts = Texts(tmp_path, 100)
    assert texts.sizes() == {} and [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert texts.put("id1", b"text") and read(texts, "id1") == b"text"


def test_another_text_of_an_id_replaces_the_first(tmp_path: Path) -> None:
    """R2: one text an id, one file a text."""
    texts = Texts(tmp_path, 100)
    assert texts.put("id1", b"one") and texts.put("id1", b"three")
    assert read(texts, "id1") == b"three" and texts.used == 5
    assert only_file(tmp_path).name.startswith("id1~5~")


def test_an_open_text_outlives_its_eviction(tmp_path: Path) -> None:
    """R2: a descriptor keeps what it was opened on."""
    texts = Texts(tmp_path, 10)
    texts.put("a", b"text")
    fd, size = texts.open("a")  # type: ignore[misc]
    texts.put("b", b"x" * 10)
    texts.forget("a")
    assert "a" not in texts and os.pread(fd, size, 0) == b"text"
    os.close(fd)


def test_a_full_disk_keeps_nothing_half(tmp_path: Path) -> None:
    """R2: a text that the disk refuses is not here, nor is a part of it."""
    texts = Texts(tmp_path, 10**6)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert not texts.put("a", b"x" * 2000)
        assert texts.put("b", b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert texts.sizes() == {"b": 1000} and len(list(tmp_path.iterdir())) == 1


def test_a_text_is_not_lost_for_want_of_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: EMFILE says nothing of the text."""
    texts = Texts(tmp_path, 100)
    texts.put("a", b"text")

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert texts.open("a") is None
    assert read(texts, "a") == b"text"


def test_files_are_private(tmp_path: Path) -> None:
    """X2: 0600, whatever the umask."""
    old = os.umask(0)
    try:
        Texts(tmp_path, 100).put("a", b"text")
    finally:
        os.umask(old)
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_what_is_no_text_is_no_text(tmp_path: Path) -> None:
    """R2: a pipe or a link in the store, or a text of another length than its name has, is not even listed."""
    texts = Texts(tmp_path, 1000)
    assert texts.put("a", b"text")
    name = only_file(tmp_path).name
    os.mkfifo(tmp_path / name.replace("a~", "b~"))
    os.symlink(tmp_path / name, tmp_path / name.replace("a~", "c~"))
    (tmp_path / name.replace("a~", "d~")).write_bytes(b"longer text")
    again = Texts(tmp_path, 1000)
    assert again.sizes() == {"a": 4} and [path.name for path in tmp_path.iterdir()] == [name]


def test_two_runs_on_one_directory_spoil_nothing(tmp_path: Path) -> None:
    """R2: by mistake, say: a part of one is not the other's."""
    one, other = Texts(tmp_path, 1000), Texts(tmp_path, 1000)
    assert one.put("a", b"one") and other.put("b", b"other") and other.put("a", b"one")
    assert (read(one, "a"), read(other, "b"), read(other, "a")) == (b"one", b"other", b"one")


def test_a_disk_is_never_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: what the disk cannot spare is not kept; when others fill it, texts make room for them."""
    spare = 1000
    monkeypatch.setattr(disk, "spare", lambda _directory: spare)
    texts = Texts(tmp_path, 10**6)
    assert texts.put("a", b"a" * 400) and texts.put("b", b"b" * 500)
    assert not texts.put("too large", b"c" * 2000) and texts.used == 900
    spare = 100  # somebody else has written much
    assert texts.put("d", b"d" * 300) and list(texts.sizes()) == ["b", "d"]
    spare = -10_000
    assert not texts.put("e", b"") and list(texts.sizes()) == ["b", "d"]


def test_what_a_disk_can_spare(tmp_path: Path) -> None:
    """A twentieth of it is left to others, and no more than a gigabyte."""
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    assert 0 < free - disk.spare(tmp_path) <= min(status.f_blocks * status.f_frsize / 20 + 1, 2**30) + 2**28


def test_either_spelling_of_an_id(tmp_path: Path) -> None:
    """R2: a text that was kept under the other spelling is found, across runs too; of both, the file's own stays."""
    texts = Texts(tmp_path, 1000)
    for file_id in ("file_a", "file_b", "b", "c"):
        assert texts.put(file_id, file_id.encode())
    bare = str.removeprefix
    texts = Texts(tmp_path, 1000)
    texts.respell(lambda file_id: bare(file_id, "file_"))
    assert texts.sizes() == {"a": 6, "b": 1, "c": 1}
    assert texts.used == 8
    found = texts.open("a")
    assert found is not None and os.pread(found[0], 10, 0) == b"file_a"
    os.close(found[0])
    texts.forget("a")
    assert sorted(path.name[:2] for path in tmp_path.iterdir()) == ["b~", "c~"]
