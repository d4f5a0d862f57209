"""Names: what the root shows, what untrusted filenames become, and which names the drive refuses (N1-N4, N7)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

import pytest

from tests.conftest import Faulty, Pair
from tests.faults.server import FaultServer, Reply, answered
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse


def listed(drive: Faulty) -> list[str]:
    return sorted(os.listdir(drive.drive.point))


def test_the_root_shows_every_file_and_its_text(both: Faulty) -> None:
    """N1: every file of the account under its own filename, whoever uploaded it, and a sidecar for each with text."""
    both.server.add("报告 (final).pdf", b"one")
    both.server.add("b.docx", b"two")
    assert listed(both) == ["b.docx", "b.docx.content", "报告 (final).pdf", "报告 (final).pdf.content"]


@pytest.mark.parametrize("purpose", ["image", "video"])
def test_pictures_and_videos_have_no_sidecar(both: Faulty, purpose: str) -> None:
    """R4: no sidecar for `image` and `video`."""
    both.server.add("a.bin", b"one", purpose=purpose)
    assert listed(both) == ["a.bin"]
    assert not (both.drive / "a.bin.content").exists()


def test_hidden_sidecars_open(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: `sidecars=hide` keeps them out of listings, though they open."""
    service.add("a.txt", b"one")
    drive = faulty("sidecars=hide").drive
    assert os.listdir(drive.point) == ["a.txt"]
    assert b"one" in (drive / "a.txt.content").read_bytes()


@pytest.mark.parametrize(
    "make",
    [
        os.mkdir,
        lambda path: os.symlink("target", path),
        os.mkfifo,
        lambda path: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3)),
    ],
    ids=["mkdir", "symlink", "fifo", "device"],
)
def test_the_list_is_flat(both: Faulty, make: Callable[[str], None]) -> None:
    """N1: `mkdir`, links and device nodes: EPERM, and nothing is sent."""
    with fails(errno.EPERM):
        make(str(both.drive / "new"))
    assert both.server.names() == []


def test_no_hard_links(both: Faulty) -> None:
    """N1: a hard link is EPERM, and its source stays as it was."""
    both.server.add("a.txt", b"one")
    with fails(errno.EPERM):
        os.link(both.drive / "a.txt", both.drive / "b.txt")
    assert both.server.names() == ["a.txt"]


HOSTILE = [
    ("../../etc/passwd", ".._.._etc_passwd"),
    ("/etc/passwd", "_etc_passwd"),
    ("..", "_.."),
    (".", "_."),
    ("", "_"),
    (".moonfs", "_.moonfs"),
    ("a/b.txt", "a_b.txt"),
    ("nul\0byte.txt", "nul_byte.txt"),
    ("line\nbreak.txt", "line_break.txt"),
    ("bell\x07.txt", "bell_.txt"),
    ("\x1b[31mred.txt", "_[31mred.txt"),
    ("c1\x85next.txt", "c1_next.txt"),
    ("invoice\u202efdp.exe", "invoice_fdp.exe"),
    ("\u2067a\u2069\u200f\u061c.txt", "_a___.txt"),
    ("\ufeffa\u200bb\u2060.txt", "_a_b_.txt"),
]


@pytest.mark.parametrize(("remote", "shown"), HOSTILE, ids=[repr(remote) for remote, _ in HOSTILE])
def test_a_hostile_filename_has_a_safe_readable_form(both: Faulty, remote: str, shown: str) -> None:
    """N2: it gets a safe form, which is listed, can be looked up, and opens its own text."""
    both.server.add(remote, b"text of it")
    names = [name for name in listed(both) if not name.endswith(".content")]
    assert names == [shown]
    assert os.stat(both.drive / shown).st_size == 10
    assert b"text of it" in (both.drive / f"{shown}.content").read_bytes()


def test_what_scripts_need_stays(both: Faulty) -> None:
    """N2: U+200C and U+200D are letters' own: Persian, Hindi, emoji; they can be written here too."""
    names = ["می\u200cخواهم.txt", "क्\u200dष.txt", "👨\u200d👩\u200d👧.txt", "عربى.txt"]
    for name in names[:2]:
        both.server.add(name, b"theirs")
    for name in names[2:]:
        (both.drive / name).write_text("ours")
    assert [name for name in listed(both) if not name.endswith(".content")] == sorted(names)
    assert both.server.names() == sorted(names)


def test_two_filenames_that_get_one_form(both: Faulty) -> None:
    """N2, N3: neither hides the other: the newest has the form, the older one its id in it."""
    older = both.server.add("a\u200bb.txt", b"1", created_at=1_700_000_000)
    both.server.add("a_b.txt", b"22", created_at=1_700_000_001)
    files = [name for name in listed(both) if not name.endswith(".content")]
    assert files == ["a_b.txt", f"a_b~{older.id}.txt"]
    assert [os.stat(both.drive / name).st_size for name in files] == [2, 1]


def test_sizes_and_times_that_are_written_in_another_way(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: milliseconds, numbers with a point and strings of digits are understood, with one line of each in the log."""
    good = service.add("a.txt", b"1234").to_wire()
    other = [
        {"created_at": 1_700_000_000_123}, {"created_at": 1_700_000_000.75}, {"created_at": 1.7e12}, {"bytes": "4"},
        {"bytes": 4.0, "created_at": "1700000000"},
    ]  # fmt: skip
    worse = [{"created_at": None}, {"bytes": "four"}, {"bytes": -1}]
    entries = [{**good, "created_at": 1_700_000_000, "id": f"i{n}", "filename": f"{n}.txt", **each}
               for n, each in enumerate([*other, *worse])]  # fmt: skip
    body = json.dumps({"object": "list", "data": entries}).encode()
    service.weather = lambda seen: answered(Reply(200, body)) if seen.operation == "list" else None
    drive = faulty("listing_ttl=0").drive
    for _ in range(3):
        assert sorted(os.listdir(drive.point))[::2] == [f"{n}.txt" for n in range(len(other))]
    for n in range(len(other)):
        shown = os.stat(drive / f"{n}.txt")
        assert (int(shown.st_mtime), shown.st_size) == (1_700_000_000, 4)
    assert f'"left_out": {len(worse)}' in json.dumps(drive.status())
    kinds = ("created_at in milliseconds", "created_at as a number with", "bytes as a string", "bytes as a number")
    assert [drive.log().count(f"The service gives {kind}") for kind in kinds] == [1] * 4


def test_an_account_of_entries_that_make_no_sense(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N1: they are left out and counted, and the drive is there, and takes files."""
    entry = {**service.add("a.txt", b"1234").to_wire(), "created_at": "yesterday"}
    body = json.dumps({"object": "list", "data": [entry]}).encode()
    service.script("list", answered(Reply(200, body)))
    drive = faulty("listing_ttl=1000").drive
    assert os.listdir(drive.point) == [] and '"left_out": 1' in json.dumps(drive.status())
    (drive / "b.txt").write_text("two")
    assert sorted(os.listdir(drive.point)) == ["b.txt", "b.txt.content"]


def test_a_filename_that_is_no_unicode_has_a_safe_form(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """N2: a lone surrogate, which JSON can hold and UTF-8 cannot, has a safe form too."""
    service.add("lone\udc80.txt", b"text of it")
    listing = json.dumps({"object": "list", "data": [stored.to_wire() for stored in service.files.values()]}).encode()
    service.script("list", answered(Reply(200, listing)))
    drive = faulty("listing_ttl=1000").drive
    assert sorted(os.listdir(drive.point)) == ["lone_.txt", "lone_.txt.content"]
    assert b"text of it" in (drive / "lone_.txt.content").read_bytes()


def test_a_long_filename_is_cut_and_keeps_its_extension(both: Faulty) -> None:
    """N2: over 255 bytes it is cut at a character, deterministically; two that differ late stay two."""
    both.server.add("月" * 300 + "1.pdf", b"one")
    both.server.add("月" * 300 + "2.pdf", b"two!")
    names = listed(both)
    assert len(names) == 4
    assert all(len(name.encode()) <= 255 for name in names)
    files = [name for name in names if name.endswith(".pdf")]
    assert len(files) == 2
    assert sorted(os.stat(both.drive / name).st_size for name in files) == [3, 4]
    assert listed(both) == names


def test_a_filename_of_255_bytes_has_its_sidecar_too(both: Faulty) -> None:
    """N1, N2: the longest name there is still has a text, under a name that fits."""
    name = "x" * 251 + ".txt"
    both.server.add(name, b"the text")
    (sidecar,) = set(listed(both)) - {name}
    assert len(sidecar) <= 255
    assert sidecar.endswith(".content")
    assert b"the text" in (both.drive / sidecar).read_bytes()


def test_equal_filenames_newest_first(both: Faulty) -> None:
    """N3: the newest by `created_at`, then id, has the bare name; every older one is `stem~<id>.ext`."""
    oldest = both.server.add("a.txt", b"1", created_at=1_700_000_000)
    lower = both.server.add("a.txt", b"22", created_at=1_700_000_100)
    higher = both.server.add("a.txt", b"333", created_at=1_700_000_100)
    assert lower.id < higher.id
    files = [name for name in listed(both) if not name.endswith(".content")]
    assert files == sorted(["a.txt", f"a~{lower.id}.txt", f"a~{oldest.id}.txt"])
    assert [os.stat(both.drive / name).st_size for name in ("a.txt", f"a~{lower.id}.txt")] == [3, 2]
    assert b'"1"' in (both.drive / f"a~{oldest.id}.txt.content").read_bytes()


def test_the_order_of_the_list_does_not_matter(both: Faulty) -> None:
    """N3: the names follow from the files alone, in whatever order the service lists them."""
    for index in range(4):
        both.server.add("a.txt", b"x" * index, created_at=1_700_000_000 + index % 2)
    before = listed(both)
    with both.server.lock:
        both.server.files = dict(reversed(both.server.files.items()))
    both.server.add("b.txt", b"makes a difference")
    assert [name for name in listed(both) if not name.startswith("b.")] == before


def test_a_name_that_looks_like_an_alias_stays_a_file_of_its_own(both: Faulty) -> None:
    """N2, N3: a filename made to collide with an alias hides nobody's file."""
    older = both.server.add("a.txt", b"1", created_at=1_700_000_000)
    both.server.add("a.txt", b"22", created_at=1_700_000_001)
    both.server.add(f"a~{older.id}.txt", b"333", created_at=1_700_000_002)
    files = [name for name in listed(both) if not name.endswith(".content")]
    assert len(files) == 3
    assert sorted(os.stat(both.drive / name).st_size for name in files) == [1, 2, 3]


def test_a_real_file_wins_over_a_sidecar(both: Faulty) -> None:
    """N4: a real remote file wins over a sidecar of the same name."""
    both.server.add("a.txt", b"one")
    both.server.add("a.txt.content", b"a real file of this name")
    assert listed(both) == ["a.txt", "a.txt.content", "a.txt.content.content"]
    assert os.stat(both.drive / "a.txt.content").st_size == 24
    with fails(errno.EACCES):
        (both.drive / "a.txt.content").read_bytes()


@pytest.mark.parametrize("flags", [os.O_CREAT | os.O_WRONLY, os.O_CREAT | os.O_EXCL | os.O_WRONLY, os.O_RDWR])
def test_a_sidecar_cannot_be_written(both: Faulty, flags: int) -> None:
    """N4: creating a name that is a sidecar, and writing to one: EACCES (EEXIST where the caller wants it new)."""
    both.server.add("a.txt", b"one")
    with fails(errno.EEXIST if flags & os.O_EXCL else errno.EACCES):
        os.close(os.open(both.drive / "a.txt.content", flags))
    assert both.server.names() == ["a.txt"]


def test_nothing_is_renamed_onto_a_sidecar(both: Faulty) -> None:
    """N4: renaming a file to the name of a sidecar is EACCES, and both stay."""
    both.server.add("a.txt", b"one")
    (both.drive / "b.txt").write_text("two")
    with fails(errno.EACCES):
        os.rename(both.drive / "b.txt", both.drive / "a.txt.content")
    assert both.server.names() == ["a.txt", "b.txt"]
    assert (both.drive / "b.txt").read_text() == "two"


def test_the_control_directory_is_there_though_not_listed(both: Faulty) -> None:
    """N5: `.moonfs/` exists though readdir does not list it; its status never touches the network."""
    assert ".moonfs" not in listed(both)
    before = both.server.count()
    assert both.drive.status()["mountpoint"] == str(both.drive.point)
    assert both.drive.errors() is not None
    assert both.server.count() == before


@pytest.mark.parametrize("name", ["x" * 256, "月" * 86], ids=["ascii", "utf-8"])
def test_a_name_over_255_bytes_is_refused(both: Faulty, name: str) -> None:
    """N7: ENAMETOOLONG for a creation, and for a rename."""
    with fails(errno.ENAMETOOLONG):
        (both.drive / name).touch()
    (both.drive / "a.txt").write_text("one")
    with fails(errno.ENAMETOOLONG):
        os.rename(both.drive / "a.txt", both.drive / name)
    assert both.server.names() == ["a.txt"]


def test_a_name_of_255_bytes_is_kept(both: Faulty) -> None:
    """N7: 255 bytes are allowed."""
    name = "月" * 83 + "ab.txt"
    assert len(name.encode()) == 255
    (both.drive / name).write_text("one")
    assert both.server.names() == [name]
    assert os.stat(both.drive / name).st_size == 3


@pytest.mark.parametrize(
    "name",
    [b"tab\there.txt", b"new\nline.txt", b"bad\xff.txt", "a\u202eb.txt".encode(), "\ufeffa.txt".encode()],
)
def test_a_name_that_the_service_cannot_keep_is_refused(both: Faulty, name: bytes) -> None:
    """N7, tenet 2: what N2 would replace is refused at `create`, and by a rename, not kept under another name."""
    with fails(errno.EINVAL):
        os.close(os.open(os.path.join(os.fsencode(both.drive.point), name), os.O_CREAT | os.O_WRONLY))
    assert both.server.count("upload") == 0
    (both.drive / "a.txt").write_text("one")
    with fails(errno.ENOTSUP):
        os.rename(both.drive / "a.txt", os.path.join(os.fsencode(both.drive.point), name))
    assert both.server.names() == ["a.txt"]


@pytest.mark.parametrize("name", [".DS_Store", "._a.pdf", "Thumbs.db", "desktop.ini", ".Trash-1000", ".Trash"])
def test_litter_is_refused(both: Faulty, name: str) -> None:
    """N6: desktop litter: EACCES, as a file and as a directory."""
    for make in (lambda path: path.touch(), lambda path: path.mkdir()):
        with fails(errno.EACCES):
            make(both.drive / name)
    assert both.server.count("upload") == 0


def test_the_service_refusing_a_type_is_seen_at_close(pair: Pair) -> None:
    """N7: creation of anything the service refuses is refused at `close`; what is kept of it is marked."""
    descriptor = os.open(pair.drive / "Dockerfile.x", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(descriptor, b"FROM scratch\n")
    with fails(errno.ENOTSUP):
        os.close(descriptor)
    assert pair.account.named("Dockerfile.x") == []
    assert os.getxattr(pair.drive / "Dockerfile.x", "user.moonfs.state") == b"failed"
    (pair.drive / "Dockerfile.x").unlink()
    assert not (pair.drive / "Dockerfile.x").exists()
