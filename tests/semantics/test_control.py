"""The directory `.moonfs`: files by id and by purpose, the drive's own files (N5), seen by real tools."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import MODES, Faulty, Pair
from tests.faults.server import refused
from tests.harness.drive import Drive, wait_until
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

PURPOSES = ["file-extract", "image", "video", "batch"]


def of(both: Faulty, purpose: str) -> Path:
    return both.drive / ".moonfs" / "purpose" / purpose


def by_id(both: Faulty, name: str) -> Path:
    return both.drive / ".moonfs" / "by-id" / name


def stored(both: Faulty) -> dict[str, tuple[str, bytes]]:
    """Return what the service has, by name, once nothing is pending: purpose and bytes."""
    both.arrived()
    with both.server.lock:
        return {file.filename: (file.purpose, file.data) for file in both.server.files.values()}


# The directories


def test_what_is_in_it(both: Faulty) -> None:
    """N5: `ls`, `ls -l` and `find` go through all of it, though the root does not list it."""
    both.server.add("a.pdf", b"theirs")
    both.server.add("b.png", b"theirs", purpose="image")
    first, second = both.server.files
    assert both.drive.run('ls "$DIR"').split() == ["a.pdf", "a.pdf.content", "b.png"]
    assert both.drive.run('ls "$DIR/.moonfs"').split() == [
        "by-id",
        "clear",
        "errors.ndjson",
        "prefetch",
        "purpose",
        "refresh",
        "status.json",
        "tidy",
    ]
    found = both.drive.run('cd "$DIR/.moonfs" && find . | LC_ALL=C sort').split()
    assert found == [
        ".",
        "./by-id",
        f"./by-id/{first}",
        f"./by-id/{first}.content",
        f"./by-id/{second}",
        "./clear",
        "./errors.ndjson",
        "./prefetch",
        "./purpose",
        "./purpose/batch",
        "./purpose/file-extract",
        "./purpose/file-extract/a.pdf",
        "./purpose/file-extract/a.pdf.content",
        "./purpose/image",
        "./purpose/image/b.png",
        "./purpose/video",
        "./refresh",
        "./status.json",
        "./tidy",
    ]
    assert both.drive.run('cd "$DIR/.moonfs" && find . -type d | wc -l').split() == ["7"]
    assert "b.png" in both.drive.run('ls -l "$DIR/.moonfs/purpose/image"')


def test_its_directories_are_told_from_files_without_a_stat(both: Faulty) -> None:
    """N5: what lists a directory tells directories by their type, as file managers do."""
    kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(both.drive / ".moonfs")}
    assert [name for name, directory in sorted(kinds.items()) if directory] == ["by-id", "purpose"]
    assert all(entry.inode() for entry in os.scandir(both.drive / ".moonfs"))


def test_stat_of_its_directories(both: Faulty) -> None:
    """N5: links as many as subdirectories ask for, modes by whether one may write, inodes unique and stable."""
    control = both.drive / ".moonfs"
    directories = [control, control / "by-id", control / "purpose", *(of(both, each) for each in PURPOSES)]
    shown = [os.stat(each) for each in directories]
    assert [each.st_nlink for each in shown] == [4, 2, 6, 2, 2, 2, 2]
    assert [stat.filemode(each.st_mode) for each in shown] == [
        "dr-x------",
        "drwx------",
        "dr-x------",
        *["drwx------"] * 4,
    ]
    files = [os.stat(control / name) for name in ("status.json", "errors.ndjson", "refresh")]
    inodes = [each.st_ino for each in [os.stat(both.drive.point), *shown, *files]]
    assert len(set(inodes)) == len(inodes)
    assert [os.stat(each).st_ino for each in directories] == [each.st_ino for each in shown]


@pytest.mark.parametrize("path", [".moonfs/x", ".moonfs/by-id/x.txt", ".moonfs/purpose/x"])
def test_nothing_can_be_made_elsewhere(both: Faulty, path: str) -> None:
    """N5: a file only below a purpose; EACCES, and nothing arrives."""
    with fails(errno.EACCES):
        (both.drive / path).write_text("hello")
    assert both.server.count("upload") == 0


@pytest.mark.parametrize("path", [".moonfs/x", ".moonfs/by-id/x", ".moonfs/purpose/x", ".moonfs/purpose/image/x"])
def test_no_directories_in_it(both: Faulty, path: str) -> None:
    """N1, N5: mkdir is EPERM everywhere; what is not there is ENOENT."""
    with fails(errno.EPERM):
        (both.drive / path).mkdir()
    with fails(errno.ENOENT):
        os.stat(both.drive / path)
    with fails(errno.ENOENT):
        os.stat(both.drive / path / "below")


@pytest.mark.parametrize("path", [".moonfs/status.json", ".moonfs/refresh", ".moonfs/purpose", ".moonfs/by-id"])
def test_what_is_its_own_stays(both: Faulty, path: str) -> None:
    """N5: not to be deleted, moved or replaced."""
    (both.drive / "a.txt").write_text("mine")
    with fails(errno.EPERM):
        (os.rmdir if (both.drive / path).is_dir() else os.unlink)(both.drive / path)
    with fails(errno.EPERM):
        os.rename(both.drive / path, both.drive / "b.txt")
    with fails(errno.EISDIR if (both.drive / path).is_dir() else errno.EPERM):
        os.rename(both.drive / "a.txt", both.drive / path)
    with fails(errno.EPERM):
        os.rename(both.drive / "a.txt", by_id(both, "a.txt"))
    assert (both.drive / "a.txt").read_text() == "mine"


# By id


def test_by_id_is_the_same_file(either: Faulty) -> None:
    """N5, A1: bytes, size, time, mode and inode are those that it has under its name; so are its text's."""
    (either.drive / "a.txt").write_text("mine")
    either.arrived()
    os.utime(either.drive / "a.txt", (7, 7))
    (file_id,) = either.server.files
    for name, other in (("a.txt", file_id), ("a.txt.content", f"{file_id}.content")):
        assert (either.drive / name).read_bytes() == by_id(either, other).read_bytes()
        under_name, under_id = os.stat(either.drive / name), os.stat(by_id(either, other))
        for field in ("st_ino", "st_size", "st_mtime_ns", "st_mode", "st_nlink"):
            assert getattr(under_name, field) == getattr(under_id, field), field
    assert os.getxattr(by_id(either, file_id), "user.moonfs.url") == f"ms://{file_id}".encode()


def test_by_id_in_the_order_of_ids(both: Faulty) -> None:
    """N5: `cat .moonfs/by-id/*.content` reads every text in the order of ids."""
    ids = [both.server.add(name, name.encode()).id for name in ("c.txt", "a.txt", "b.txt")]
    listed = list(os.scandir(by_id(both, "")))
    assert [entry.name for entry in listed] == [name for each in sorted(ids) for name in (each, f"{each}.content")]
    texts = both.drive.run('cat "$DIR"/.moonfs/by-id/*.content')
    assert [text for text in ("c.txt", "a.txt", "b.txt") if text in texts] == ["c.txt", "a.txt", "b.txt"]
    assert texts.index('"c.txt"') < texts.index('"a.txt"') < texts.index('"b.txt"')


def test_originals_by_id_are_here_or_not(both: Faulty) -> None:
    """R5: the API never gives an original back: EACCES, and no text in its place; R4: no text of a picture."""
    theirs = both.server.add("a.txt", b"theirs")
    picture = both.server.add("b.png", b"theirs", purpose="image")
    with fails(errno.EACCES):
        by_id(both, theirs.id).read_bytes()
    with fails(errno.ENOENT):
        by_id(both, f"{picture.id}.content").read_bytes()
    with fails(errno.ENOENT):
        os.stat(by_id(both, "nobody"))


def test_by_id_cannot_be_written(either: Faulty) -> None:
    """N5: EACCES, whether its bytes are here or not."""
    (either.drive / "a.txt").write_text("mine")
    either.arrived()
    (file_id,) = either.server.files
    for name in (file_id, f"{file_id}.content"):
        for flags in (os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
            with fails(errno.EACCES):
                os.open(by_id(either, name), flags)
        with fails(errno.EACCES):
            os.truncate(by_id(either, name), 0)
    assert stored(either) == {"a.txt": ("file-extract", b"mine")}


def test_rm_by_id_deletes_one_of_equal_names(either: Faulty) -> None:
    """W8, N3: the older of two duplicates goes by its id; the newer one stays."""
    older, newer = (either.server.add("a.txt", data) for data in (b"older", b"newer"))
    either.drive.run(f'rm "$DIR/.moonfs/by-id/{older.id}"')
    wait_until(lambda: older.id not in either.server.files, "it is gone on the service")
    assert list(either.server.files) == [newer.id]
    assert os.listdir(either.drive.point) == ["a.txt", "a.txt.content"]
    assert os.listdir(by_id(either, "")) == [newer.id, f"{newer.id}.content"]


def test_rm_of_a_text_by_id_deletes_nothing(both: Faulty) -> None:
    """W10: a text is left alone; `rm *` over files and texts ends without an error."""
    for name in ("a.txt", "b.txt"):
        both.server.add(name, b"theirs")
    first = next(iter(both.server.files))
    both.drive.run(f'rm "$DIR/.moonfs/by-id/{first}.content"')
    assert len(both.server.files) == 2
    both.drive.run('rm "$DIR"/.moonfs/by-id/*')
    assert both.server.files == {}
    assert os.listdir(by_id(both, "")) == []


def test_an_open_file_can_be_deleted_by_its_id(either: Faulty) -> None:
    """W8: as under its name: whoever has it open goes on reading, and nothing of it is uploaded again."""
    with open(either.drive / "a.txt", "w+") as file:
        file.write("mine")
        file.flush()
        os.fsync(file)
        either.arrived()
        (file_id,) = either.server.files
        by_id(either, file_id).unlink()
        assert os.listdir(either.drive.point) == []
        file.seek(0)
        assert file.read() == "mine"
    wait_until(lambda: not either.server.files, "it is gone on the service")
    assert stored(either) == {}
    assert either.server.count("upload") == 1


# By purpose


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("how", ["cp", "cat", "mv", "rsync", "sed"])
def test_a_file_put_there_has_that_purpose(either: Faulty, purpose: str, how: str) -> None:
    """N5: whatever its name says (W11), and with whichever tool; it shows there, and in the root."""
    name = "a.mp4" if purpose != "video" else "a.txt"
    either.drive.run(
        {
            "cp": f'printf hello > {name}; cp {name} "$DIR/.moonfs/purpose/{purpose}/"',
            "cat": f'printf hello | cat > "$DIR/.moonfs/purpose/{purpose}/{name}"',
            "mv": f'printf hello > {name}; mv {name} "$DIR/.moonfs/purpose/{purpose}/{name}"',
            "rsync": f'printf hello > {name}; rsync -a {name} "$DIR/.moonfs/purpose/{purpose}/"',
            "sed": f'cd "$DIR/.moonfs/purpose/{purpose}" && printf hallo > {name} && sed -i s/a/e/ {name}',
        }[how]
    )
    assert stored(either) == {name: (purpose, b"hello")}
    shown = [name] if purpose in ("image", "video") else [name, f"{name}.content"]
    for each in PURPOSES:
        assert os.listdir(of(either, each)) == (shown if each == purpose else [])
    assert os.listdir(either.drive.point) == shown
    assert (of(either, purpose) / name).read_bytes() == (either.drive / name).read_bytes() == b"hello"
    assert os.stat(of(either, purpose) / name).st_ino == os.stat(either.drive / name).st_ino


def test_the_purpose_of_the_mount_does_not_matter(faulty: Callable[..., Faulty]) -> None:
    """N5: the directory goes before `-o purpose=`; the root does not."""
    both = faulty("purpose=image", "listing_ttl=0")
    (both.drive / "a.txt").write_text("one")
    (of(both, "batch") / "b.txt").write_text("two")
    assert stored(both) == {"a.txt": ("image", b"one"), "b.txt": ("batch", b"two")}


def test_a_purpose_is_refused_as_anywhere(both: Faulty) -> None:
    """N5, W1: a chosen purpose is the only one; `close` fails, and the file is kept and can be put right."""
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    with fails(errno.EINVAL):
        (of(both, "file-extract") / "a.png").write_bytes(b"picture")
    assert both.server.count("upload") == 1
    assert os.listdir(of(both, "file-extract")) == ["a.png", "a.png.content"]
    with fails(errno.EINVAL):
        (of(both, "file-extract") / "a.png.content").read_bytes()
    both.drive.run('mv "$DIR/.moonfs/purpose/file-extract/a.png" "$DIR/.moonfs/purpose/image/a.png"')
    assert stored(both) == {"a.png": ("image", b"picture")}


def test_an_overwrite_from_another_purpose(either: Faulty) -> None:
    """N5, W4: what has the name is replaced, whoever uploaded it and wherever its bytes are."""
    either.server.add("theirs.txt", b"theirs")
    (either.drive / "mine.txt").write_text("mine")
    for name in ("theirs.txt", "mine.txt"):
        either.drive.run(f'printf new > {name}; cp {name} "$DIR/.moonfs/purpose/batch/"')
    assert stored(either) == {"theirs.txt": ("batch", b"new"), "mine.txt": ("batch", b"new")}
    assert os.listdir(of(either, "file-extract")) == []
    assert (either.drive / "theirs.txt").read_text() == "new"


def test_a_copy_from_the_root_to_a_purpose(either: Faulty) -> None:
    """N5, tenet 1, W4: source and target are one name; the bytes are those of the source, uploaded once more."""
    (either.drive / "a.txt").write_text("mine")
    either.drive.run('cp "$DIR/a.txt" "$DIR/.moonfs/purpose/batch/"')
    assert stored(either) == {"a.txt": ("batch", b"mine")}
    either.drive.run('cp "$DIR/.moonfs/purpose/batch/a.txt" "$DIR/.moonfs/purpose/image/"')
    assert stored(either) == {"a.txt": ("image", b"mine")}


def test_the_same_bytes_for_the_same_purpose(both: Faulty) -> None:
    """W4: upload nothing again there; nor in the root, where no purpose is asked for."""
    for _ in range(2):
        (of(both, "batch") / "a.txt").write_text("mine")
    (both.drive / "a.txt").write_text("mine")
    assert stored(both) == {"a.txt": ("batch", b"mine")}
    assert both.server.count("upload") == 1
    (of(both, "file-extract") / "a.txt").write_text("mine")
    assert stored(both) == {"a.txt": ("file-extract", b"mine")}
    assert both.server.count("upload") == 2


def test_what_is_written_in_the_root_is_for_the_mount_to_say(either: Faulty) -> None:
    """N5, W11: other bytes through the root are no longer for the purpose that the old ones had."""
    (of(either, "batch") / "a.txt").write_text("one")
    assert stored(either) == {"a.txt": ("batch", b"one")}
    with open(either.drive / "a.txt", "a") as file:
        file.write(" two")
    assert stored(either) == {"a.txt": ("file-extract", b"one two")}
    with open(of(either, "file-extract") / "a.txt", "r+") as file:
        file.write("ONE")
    assert stored(either) == {"a.txt": ("file-extract", b"ONE two")}


def test_nothing_written_replaces_nothing(either: Faulty) -> None:
    """Tenet 1: `touch` and an empty redirection onto a name that another purpose has leave that file alone."""
    (either.drive / "a.txt").write_text("mine")
    either.arrived()
    either.drive.run('touch "$DIR/.moonfs/purpose/image/a.txt"; : > "$DIR/.moonfs/purpose/batch/a.txt"')
    assert (either.drive / "a.txt").read_text() == "mine"
    assert os.listdir(of(either, "image")) == os.listdir(of(either, "batch")) == []
    assert stored(either) == {"a.txt": ("file-extract", b"mine")}
    assert list(either.drive.home.glob("state/moonfs/accounts/*/spool/*")) == []


def test_what_has_the_name_keeps_it_until_the_bytes_are_safe(either: Faulty) -> None:
    """W4, W7: readers of the root see the old bytes meanwhile, and for good when the new ones are refused."""
    (either.drive / "a.txt").write_text("old")
    either.arrived()
    descriptor = os.open(of(either, "image") / "a.txt", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    os.write(descriptor, b"new")
    assert os.fstat(descriptor).st_size == os.stat(of(either, "image") / "a.txt").st_size == 3
    assert (of(either, "image") / "a.txt").read_text() == "new"
    assert (either.drive / "a.txt").read_text() == "old"
    assert os.listdir(either.drive.point) == ["a.txt", "a.txt.content"]
    with fails(errno.EFBIG):
        os.pwrite(descriptor, b"x", 100 * 1024**2)
    with fails(errno.EFBIG):
        os.close(descriptor)
    assert os.listdir(of(either, "image")) == []
    assert (either.drive / "a.txt").read_text() == "old"
    assert stored(either) == {"a.txt": ("file-extract", b"old")}


def test_a_refused_overwrite_leaves_the_old_one(both: Faulty) -> None:
    """W4, W1: `close` fails with the errno, and the file of that name is what it was; a second close sends nothing."""
    (both.drive / "a.txt").write_text("old")
    both.server.script("upload", refused(400, "text extract error: 不支持的文件类型"))
    descriptor = os.open(of(both, "image") / "a.txt", os.O_CREAT | os.O_WRONLY, 0o644)
    twin = os.dup(descriptor)
    os.write(descriptor, b"new")
    for each in (descriptor, twin):
        with fails(errno.ENOTSUP):
            os.close(each)
    assert both.server.count("upload") == 2
    assert (both.drive / "a.txt").read_text() == "old"
    assert stored(both) == {"a.txt": ("file-extract", b"old")}


def test_moving_between_root_and_purposes(either: Faulty) -> None:
    """N5, W9: an upload under the new purpose, then the old id goes; the bytes stay readable here."""
    (either.drive / "a.txt").write_text("mine")
    either.arrived()
    either.drive.run('mv "$DIR/a.txt" "$DIR/.moonfs/purpose/batch/a.txt"')
    assert stored(either) == {"a.txt": ("batch", b"mine")}
    either.drive.run('mv "$DIR/.moonfs/purpose/batch/a.txt" "$DIR/.moonfs/purpose/image/b.txt"')
    assert stored(either) == {"b.txt": ("image", b"mine")}
    either.drive.run('mv "$DIR/.moonfs/purpose/image/b.txt" "$DIR/c.txt"')
    assert stored(either) == {"c.txt": ("file-extract", b"mine")}
    assert (either.drive / "c.txt").read_text() == "mine"
    assert os.listdir(either.drive.point) == ["c.txt", "c.txt.content"]
    assert either.server.count("upload") <= 4


def test_a_rename_keeps_the_purpose(either: Faulty) -> None:
    """N5, W9: in the root a purpose that was chosen goes with the file; below `purpose` it is the directory's."""
    (of(either, "batch") / "a.txt").write_text("mine")
    either.arrived()
    either.drive.run('mv "$DIR/a.txt" "$DIR/b.txt"')
    assert stored(either) == {"b.txt": ("batch", b"mine")}
    either.drive.run('cd "$DIR/.moonfs/purpose/batch" && mv b.txt c.txt')
    assert stored(either) == {"c.txt": ("batch", b"mine")}


@pytest.mark.parametrize("over", ["b.txt", "b.txt.tmp"])
def test_a_rename_gives_a_purpose_to_no_writer(either: Faulty, over: str) -> None:
    """N5, W11: what who has it open in the root writes after a rename is for the mount to say, as before."""
    (of(either, "video") / "a.txt").write_text("one")
    either.arrived()
    with open(either.drive / "a.txt", "a") as writer, open(of(either, "batch") / "c.txt", "w") as other:
        os.rename(either.drive / "a.txt", either.drive / over)
        os.rename(either.drive / over, either.drive / "b.txt")
        other.write("other")
        other.flush()
        os.fsync(other.fileno())
        os.rename(either.drive / "c.txt", either.drive / "d.txt")
        writer.write(" two")
        other.write(" file")
    assert stored(either) == {"b.txt": ("file-extract", b"one two"), "d.txt": ("batch", b"other file")}


def test_what_is_not_here_cannot_be_moved(both: Faulty) -> None:
    """W9: ENOTSUP, and both sides are what they were."""
    both.server.add("a.txt", b"theirs")
    with fails(errno.ENOTSUP):
        os.rename(both.drive / "a.txt", of(both, "image") / "a.txt")
    assert stored(both) == {"a.txt": ("file-extract", b"theirs")}
    assert os.listdir(of(both, "image")) == []


def test_one_file_seen_from_two_sides_is_not_moved(both: Faulty) -> None:
    """rename(2): of two names of one file neither goes, and nothing is uploaded."""
    (both.drive / "a.txt").write_text("mine")
    os.rename(both.drive / "a.txt", of(both, "file-extract") / "a.txt")
    os.rename(of(both, "file-extract") / "a.txt", both.drive / "a.txt")
    assert stored(both) == {"a.txt": ("file-extract", b"mine")}
    assert both.server.count("upload") == 1


def test_temporary_names_stay_there(either: Faulty) -> None:
    """N6, W6: they are on this machine only, show in their directory, and keep its purpose when they get a name."""
    (of(either, "batch") / "a.part").write_text("mine")
    (of(either, "batch") / "b.txt").touch()
    assert os.listdir(of(either, "batch")) == ["a.part", "b.txt"]
    assert [os.listdir(of(either, each)) for each in ("file-extract", "image", "video")] == [[], [], []]
    assert either.server.count("upload") == 0
    os.rename(of(either, "batch") / "a.part", of(either, "batch") / "a.txt")
    (of(either, "batch") / "b.txt").write_text("more")
    assert stored(either) == {"a.txt": ("batch", b"mine"), "b.txt": ("batch", b"more")}


def test_a_file_that_moves_while_it_is_written(either: Faulty) -> None:
    """N5: what its writer goes on to write is for the purpose that it has been moved to."""
    with open(either.drive / "a.part", "w") as file:
        file.write("one ")
        file.flush()
        os.rename(either.drive / "a.part", of(either, "batch") / "a.txt")
        file.write("two")
    assert stored(either) == {"a.txt": ("batch", b"one two")}


def test_moves_and_others_at_once(either: Faulty) -> None:
    """W9: a rename looks up the directories on its way too, and nobody is told that those are stale."""

    def work(letter: str) -> None:
        for number in range(30):
            name = f"{letter}{number}.part"
            (either.drive / name).write_text(name)
            os.rename(either.drive / name, of(either, "batch") / name)
            (of(either, "image") / f"{name}~").write_text(name)
            assert (either.drive / name).read_text() == name

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, "abcd")) == [None] * 4
    assert len(os.listdir(of(either, "batch"))) == len(os.listdir(of(either, "image"))) == 120


def test_rm_there_is_rm_of_the_file(either: Faulty) -> None:
    """N5, W8, W10: `rm -r` of what is there ends without an error and deletes those files only."""
    (either.drive / "a.txt").write_text("stays")
    (of(either, "batch") / "b.txt").write_text("goes")
    either.arrived()
    either.drive.run('rm "$DIR"/.moonfs/purpose/batch/*')
    assert stored(either) == {"a.txt": ("file-extract", b"stays")}
    assert os.listdir(either.drive.point) == ["a.txt", "a.txt.content"]
    with fails(errno.ENOENT):
        os.unlink(of(either, "image") / "a.txt")


def test_a_name_that_is_a_text(both: Faulty) -> None:
    """N4: EACCES there too, though the text's file has another purpose."""
    (both.drive / "a.txt").write_text("mine")
    with fails(errno.EACCES):
        (of(both, "image") / "a.txt.content").write_text("no")
    with fails(errno.EACCES):
        (of(both, "image") / ".DS_Store").write_text("no")
    with fails(errno.EACCES):
        (of(both, "image") / ".moonfs").write_text("no")
    assert both.server.count("upload") == 1


def test_duplicates_are_where_their_purposes_are(both: Faulty) -> None:
    """N3: under the names that they have in the root, the same everywhere."""
    older = both.server.add("a.txt", b"older", purpose="batch")
    both.server.add("a.txt", b"newer")
    assert os.listdir(of(both, "batch")) == [f"a~{older.id}.txt", f"a~{older.id}.txt.content"]
    assert os.listdir(of(both, "file-extract")) == ["a.txt", "a.txt.content"]


@pytest.mark.parametrize("mode", MODES)
def test_a_purpose_survives_a_kill(faulty: Callable[..., Faulty], mode: str) -> None:
    """N5, W2, W6: what was acknowledged is uploaded with its purpose by the next mount, if it was not yet."""
    both = faulty("listing_ttl=0", *MODES[mode])
    unreachable = [refused(503, "busy", "server_unavailable")] * 200
    if both.write_back:
        both.server.script("upload", *unreachable)
        (of(both, "batch") / "a.txt").write_text("pending")
        (of(both, "image") / "c.txt").write_text("pending")
    (of(both, "batch") / "b.part").write_text("local")
    both.drive.kill()
    both.server.unscript()
    both.drive.mount("listing_ttl=0", *MODES[mode])
    assert "b.part" in os.listdir(of(both, "batch"))
    os.rename(of(both, "batch") / "b.part", both.drive / "b.part")
    os.rename(both.drive / "b.part", of(both, "batch") / "b.txt")
    expected = {"b.txt": ("batch", b"local")}
    if both.write_back:
        expected |= {"a.txt": ("batch", b"pending"), "c.txt": ("image", b"pending")}
    assert stored(both) == expected


def test_a_move_in_write_back_survives_a_kill(faulty: Callable[..., Faulty]) -> None:
    """N5, W2, W9: a move that was acknowledged is carried out by the next mount; there is one copy."""
    both = faulty("listing_ttl=0", "write_back")
    (both.drive / "a.txt").write_text("mine")
    assert stored(both) == {"a.txt": ("file-extract", b"mine")}
    both.server.script("upload", *[refused(503, "busy", "server_unavailable")] * 200)
    os.rename(both.drive / "a.txt", of(both, "batch") / "a.txt")
    assert os.listdir(of(both, "batch")) == ["a.txt"]
    both.drive.kill()
    both.server.unscript()
    both.drive.mount("listing_ttl=0", "write_back")
    assert stored(both) == {"a.txt": ("batch", b"mine")}
    assert (both.drive / "a.txt").read_text() == "mine"


def test_purposes_on_the_real_server(pair: Pair, tmp_path: Path) -> None:
    """N5: the local server has what was asked for, text or none, and a text reads the same from every side."""
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    shutil.copy(tmp_path / "table.csv", pair.drive / ".moonfs" / "purpose" / "file-extract")
    shutil.copy(tmp_path / "table.csv", pair.drive / ".moonfs" / "purpose" / "batch" / "table2.csv")
    stored = pair.account.only("table.csv")
    assert stored["purpose"] == "file-extract"
    assert pair.account.only("table2.csv")["purpose"] == "batch"
    text = pair.account.content(stored["id"])
    control = pair.drive / ".moonfs"
    assert (control / "by-id" / f"{stored['id']}.content").read_bytes() == text
    assert (control / "purpose" / "file-extract" / "table.csv.content").read_bytes() == text


# The drive's own files


@pytest.mark.parametrize(
    "how",
    ['echo > "$DIR/.moonfs/refresh"', 'touch "$DIR/.moonfs/refresh"', 'echo 1 >> "$DIR/.moonfs/refresh"'],
)
def test_refresh_drops_the_listing(faulty: Callable[..., Faulty], how: str) -> None:
    """N5, L4: the next look asks the service; until then nothing does."""
    both = faulty("listing_ttl=1000")
    both.server.add("a.txt", b"theirs")
    assert os.listdir(both.drive.point) == []
    before = both.server.count("list")
    both.drive.run(how)
    assert both.server.count("list") == before
    assert os.listdir(both.drive.point) == ["a.txt", "a.txt.content"]
    os.listdir(of(both, "file-extract"))
    assert both.server.count("list") == before + 1
    assert (both.drive / ".moonfs" / "refresh").read_bytes() == b""
    assert stat.filemode(os.stat(both.drive / ".moonfs" / "refresh").st_mode) == "-rw-------"


def test_looking_at_ids_and_purposes_is_looking_at_the_root(faulty: Callable[..., Faulty]) -> None:
    """N5, L4: an expired listing is refreshed for them; the drive's own files never ask."""
    both = faulty("listing_ttl=1000")
    theirs = both.server.add("a.txt", b"theirs")
    both.drive.run('touch "$DIR/.moonfs/refresh"; cat "$DIR/.moonfs/status.json" "$DIR/.moonfs/errors.ndjson"')
    before = both.server.count()
    both.drive.run('ls "$DIR/.moonfs" "$DIR/.moonfs/purpose"; stat "$DIR/.moonfs/by-id"')
    assert both.server.count() == before
    assert os.listdir(by_id(both, "")) == [theirs.id, f"{theirs.id}.content"]
    assert both.server.count() == before + 1


def test_the_command_refresh(faulty: Callable[..., Faulty]) -> None:
    """N5: `moonfs refresh DIR` says how many files there are, after a look that asked the service."""
    both = faulty("listing_ttl=1000")
    for name in ("a.txt", "b.txt"):
        both.server.add(name, b"theirs")
    done = both.drive.command("refresh", str(both.drive.point))
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 files\n", "")
    (both.drive / "a.txt").unlink()
    assert both.drive.command("refresh", str(both.drive.point)).stdout == "1 file\n"


def test_the_command_refresh_says_what_is_wrong(faulty: Callable[..., Faulty], tmp_path: Path) -> None:
    """N5, R6: no drive there, and a service that does not answer: one sentence, exit 1."""
    both = faulty("listing_ttl=1000", "timeout=2")
    done = both.drive.command("refresh", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"moonfs: No moonfs drive is mounted on {tmp_path}; moonfs status lists the ones there are.\n"
    both.server.script("list", *[refused(503, "busy", "server_unavailable")] * 200)
    done = both.drive.command("refresh", str(both.drive.point))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("moonfs: The files could not be listed anew: ")
    assert done.stderr.count("\n") == 1


def test_the_command_refresh_with_a_key_that_is_refused(faulty: Callable[..., Faulty]) -> None:
    """N5, X1: though the last listing could still be shown: what is wrong with the key, exit 1."""
    both = faulty("listing_ttl=1000")
    both.server.script("list", *[refused(401, "Invalid Authentication", "invalid_authentication_error")] * 9)
    done = both.drive.command("refresh", str(both.drive.point))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("moonfs: The files could not be listed anew: ")
    assert "key" in done.stderr


def test_status_tells_what_a_person_wants(faulty: Callable[..., Faulty]) -> None:
    """N5: account, backend, quota, queue, caches with hits and misses, last errors; all of it without a request."""
    both = faulty("listing_ttl=1000")
    (both.drive / "a.txt").write_text("mine")
    for _ in range(2):
        (both.drive / "a.txt").read_bytes()
        (both.drive / "a.txt.content").read_bytes()
    both.server.add("b.txt", b"theirs")
    (both.drive / ".moonfs" / "refresh").touch()
    with fails(errno.EACCES):
        (both.drive / "b.txt").read_bytes()
    before = both.server.count()
    status = both.drive.status()
    assert both.server.count() == before
    assert (status["backend"], status["account"]) == ("hosted", both.server.base_url)
    assert (status["mode"], status["purpose"]) == ("write-through", "auto")
    assert status["quota"] == {
        "files": 2,
        "max_files": 1000,
        "free_files": 998,
        "bytes": 10,
        "max_bytes": 10 * 1024**3,
        "free_bytes": 10 * 1024**3 - 10,
        "files_by": "documented",
        "bytes_by": "documented",
    }
    assert (status["uploads"]["done"], status["uploads"]["pending"]) == (1, [])
    assert status["caches"]["content"]["misses"] == 1
    assert status["caches"]["content"]["hits"] >= 1
    assert status["caches"]["originals"] == {"files": 1, "bytes": 4, "max_bytes": 10 * 1024**3}
    assert status["errors"][-1]["name"] == "b.txt"


def test_the_sdk_sees_the_purpose(faulty: Callable[..., Faulty]) -> None:
    """N5: the openai SDK lists the file under the purpose that the directory gave it."""
    openai = pytest.importorskip("openai")
    both = faulty()
    (of(both, "batch") / "requests.jsonl").write_text('{"custom_id": "1"}\n')
    with openai.OpenAI(api_key=both.server.key, base_url=both.server.base_url, timeout=60) as client:
        (file,) = client.files.list().data
    assert (file.filename, file.purpose) == ("requests.jsonl", "batch")


def test_hidden_texts_stay_hidden(faulty: Callable[..., Faulty]) -> None:
    """N1: `sidecars=hide` keeps texts out of these listings too, though they open."""
    both = faulty("sidecars=hide", "listing_ttl=0")
    theirs = both.server.add("a.txt", b"theirs")
    assert os.listdir(by_id(both, "")) == [theirs.id]
    assert os.listdir(of(both, "file-extract")) == ["a.txt"]
    assert b"theirs" in by_id(both, f"{theirs.id}.content").read_bytes()


def test_umask_and_owner_hold_there(faulty: Callable[..., Faulty]) -> None:
    """A1: `uid`, `gid` and `umask` shape what is shown of it as of the root."""
    drive: Drive = faulty("uid=7", "gid=8", "umask=277").drive
    shown = os.stat(drive / ".moonfs" / "purpose" / "image")
    assert (shown.st_uid, shown.st_gid, stat.filemode(shown.st_mode)) == (7, 8, "dr-x------")
