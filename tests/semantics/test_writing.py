"""Writing: the upload happens in close and fsync, or soon after; once for each generation (W1, W2, W4, W5)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from tests.conftest import MODES, Faulty, Pair
from tests.faults.server import FaultServer, refused
from tests.harness.expect import fails

pytestmark = pytest.mark.fuse

#: Each writes `hello\n` to $F, which is not there before.
WRITERS = {
    "cp": 'cp plain "$F"',
    "cp -p": 'cp -p plain "$F"',
    "cp -a": 'cp -a plain "$F"',
    "mv": 'cp plain other && mv other "$F"',
    "install": 'install -m 644 plain "$F"',
    "cat": 'cat plain > "$F"',
    "echo": 'echo hello > "$F"',
    "tee": 'tee "$F" < plain > /dev/null',
    "group": '{ printf hel; printf "lo\\n"; } > "$F"',
    "group and process": '{ printf hel; cat rest; } > "$F"',
    "group of processes": '{ /bin/printf hel; /bin/echo lo; } > "$F"',
    "subshell": '(printf hel; sh -c "echo lo") > "$F"',
    "dd": 'dd if=plain of="$F" status=none',
    "dd fsync": 'dd if=plain of="$F" conv=fsync status=none',
    "dd fdatasync": 'dd if=plain of="$F" conv=fdatasync status=none',
    "dd notrunc": 'dd if=plain of="$F" bs=1 conv=notrunc status=none',
    "rsync": 'rsync -a plain "$F"',
    "rsync inplace": 'rsync -a --inplace plain "$F"',
    "tar": 'cp plain "$N" && tar c "$N" | tar x -C "$DIR"',
    "sort": 'sort -o "$F" plain',
    "touch, then append": 'touch "$F" && cat plain >> "$F"',
    "truncate, then write": 'truncate -s 0 "$F" && cat plain > "$F"',
    "truncate, then append": 'truncate -s 0 "$F"; cat plain >> "$F"',
    "dup": 'exec 3> "$F" 4>&3; cat plain >&4; exec 3>&- 4>&-',
    "forks": 'exec 3> "$F"; cat plain >&3; (true) 3>&3; sh -c true 3>&3; exec 3>&-',
    "python": 'python3 -c \'import sys; open(sys.argv[1], "w").write("hello\\n")\' "$F"',
    "shutil": 'python3 -c \'import shutil, sys; shutil.copy2("plain", sys.argv[1])\' "$F"',
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whoever_writes_uploads_once(either: Faulty, writer: str) -> None:
    """W1, W2: each generation of bytes is sent once: an empty flush, a dup, a fork or a second close sends nothing."""
    either.drive.run(f'printf "hello\\n" > plain; echo lo > rest; N=a.txt; F="$DIR/$N"; {WRITERS[writer]}')
    assert (either.drive / "a.txt").read_bytes() == b"hello\n"
    either.holds({"a.txt": b"hello\n"}, uploads=1)
    assert either.server.count("delete") == 0


#: The same, with a close by the opener itself between the writes, after which the service must have what is there.
REPEATED = {
    "exec": 'exec 3> "$F"; printf hel >&3; echo lo >&3; exec 3>&-',
    "dup": 'exec 3> "$F" 4>&3; printf hel >&3; echo lo >&4; exec 3>&- 4>&-',
    "append": 'exec 3>> "$F"; printf hel >&3; echo lo >&3; exec 3>&-',
}


@pytest.mark.parametrize("writer", REPEATED)
def test_a_close_between_writes_stores_what_is_there(either: Faulty, writer: str) -> None:
    """W1, W2: two closes with new bytes before each are two generations; in the end there is one file, the newest."""
    either.drive.run(f'F="$DIR/a.txt"; {REPEATED[writer]}')
    either.holds({"a.txt": b"hello\n"}, uploads=2)


def test_success_means_that_the_service_has_it(both: Faulty) -> None:
    """W1: the upload happens in `close`: nothing is there before, all of it after."""
    descriptor = os.open(both.drive / "a.txt", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, b"hello")
    assert both.server.count("upload") == 0
    os.close(descriptor)
    assert both.server.names() == ["a.txt"]


def test_fsync_uploads_and_close_does_not_again(both: Faulty) -> None:
    """W1: fsync stores; a close without a write after it sends nothing; a write after it is the next generation."""
    with open(both.drive / "a.txt", "wb", buffering=0) as file:
        file.write(b"one")
        os.fsync(file)
        assert [stored.data for stored in both.server.files.values()] == [b"one"]
        os.fsync(file)
        os.fdatasync(file.fileno())
        assert both.server.count("upload") == 1
        file.write(b"two")
    assert [stored.data for stored in both.server.files.values()] == [b"onetwo"]
    assert both.server.count("upload") == 2


def test_each_close_of_a_duplicate(both: Faulty) -> None:
    """W1: a close of one of two descriptors uploads what is there; the last close, with nothing new, does not."""
    one = os.open(both.drive / "a.txt", os.O_WRONLY | os.O_CREAT, 0o644)
    two = os.dup(one)
    os.write(one, b"hello")
    os.close(one)
    assert both.server.count("upload") == 1
    os.close(two)
    assert both.server.count("upload") == 1


def test_a_child_that_inherits_it(both: Faulty) -> None:
    """W1: a forked child's exit flushes too, and uploads nothing when nothing was written since."""
    both.drive.python(
        "import os, sys\n"
        "f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)\n"
        "os.write(f, b'hello')\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os._exit(0)\n"
        "    os.wait()\n"
        "os.close(f)",
        str(both.drive / "a.txt"),
    )
    assert both.server.count("upload") == 1


def test_opening_without_writing_uploads_nothing(both: Faulty) -> None:
    """W1: opening for writing, even with O_APPEND, and closing changes nothing."""
    (both.drive / "a.txt").write_text("hello")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT):
        os.close(os.open(both.drive / "a.txt", flags, 0o644))
    assert both.server.count("upload") == 1
    assert both.server.count("delete") == 0


def test_the_error_is_that_of_close(both: Faulty) -> None:
    """W1: failure is the errno of `close`; what is left here is not shown as if it were stored."""
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    descriptor = os.open(both.drive / "a.txt", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, b"hello")
    with fails(errno.EINVAL):
        os.close(descriptor)
    assert os.listdir(both.drive.point) == ["a.txt", "a.txt.content"]
    with fails(errno.EINVAL):  # it has no text, for that reason
        (both.drive / "a.txt.content").read_bytes()
    assert os.getxattr(both.drive / "a.txt", "user.moonfs.state") == b"failed"


def test_a_second_try_after_a_failure(both: Faulty) -> None:
    """W1: after a failed close the same `cp` works as soon as the service does."""
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    done = both.drive.shell('echo hello > plain; cp plain "$DIR/a.txt"')
    assert done.returncode == 1
    assert "Invalid argument" in done.stderr
    both.drive.run('cp plain "$DIR/a.txt"')
    assert both.server.names() == ["a.txt"]


def test_a_second_try_at_once(both: Faulty) -> None:
    """W1: the very next `echo >` works too, which does not look before it opens."""
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    done = both.drive.shell('tee "$DIR/again.txt" < /etc/hostname; tee "$DIR/again.txt" < /etc/hostname > /dev/null')
    assert "Invalid argument" in done.stderr
    assert done.returncode == 0, done.stderr
    assert both.server.names() == ["again.txt"]


def test_a_failed_overwrite_leaves_the_old_version(both: Faulty) -> None:
    """W4: when the new version is refused, the old one is there as it was, here and on the service."""
    (both.drive / "a.txt").write_text("old version")
    both.server.script("upload", refused(400, "text extract error: 没有解析出内容"))
    with fails(errno.EINVAL):
        (both.drive / "a.txt").write_text("new")
    assert (both.drive / "a.txt").read_text() == "old version"
    assert [stored.data for stored in both.server.files.values()] == [b"old version"]
    assert os.stat(both.drive / "a.txt").st_size == 11


def test_two_writers_at_once(both: Faulty) -> None:
    """W1: two handles on one name are one file, as on a disk; what is there in the end is what both wrote."""
    with open(both.drive / "a.txt", "wb", buffering=0) as one:
        one.write(b"one___")
        with open(both.drive / "a.txt", "r+b", buffering=0) as two:
            two.seek(3)
            two.write(b"two")
        one.seek(0)
        one.write(b"ONE")
    (stored,) = both.server.files.values()
    assert stored.data == b"ONEtwo"
    assert (both.drive / "a.txt").read_bytes() == b"ONEtwo"


def test_a_reader_of_what_is_being_written(both: Faulty) -> None:
    """L4: what one process has written another reads before it is closed."""
    with open(both.drive / "a.txt", "wb", buffering=0) as file:
        file.write(b"hello")
        assert (both.drive / "a.txt").read_bytes() == b"hello"
        assert os.stat(both.drive / "a.txt").st_size == 5
        file.write(b" again")
        assert (both.drive / "a.txt").read_bytes() == b"hello again"


def test_a_file_with_a_hole(both: Faulty) -> None:
    """W1: what was never written reads as zeros, here and on the service."""
    with open(both.drive / "a.bin", "wb", buffering=0) as file:
        file.seek(100_000)
        file.write(b"end")
    (stored,) = both.server.files.values()
    assert stored.data == bytes(100_000) + b"end"


CHANGES = {
    'printf more >> "$F"': b"0123456789more",
    'truncate -s 4 "$F"': b"0123",
    'truncate -s 12 "$F"': b"0123456789\0\0",
    'printf AB | dd of="$F" bs=1 seek=3 conv=notrunc status=none': b"012AB56789",
    'printf AB | dd of="$F" bs=1 seek=3 status=none': b"012AB",
    'printf new > "$F"': b"new",
    'printf AB 1<> "$F"': b"AB23456789",
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_where_the_old_bytes_are_here(either: Faulty, change: str) -> None:
    """W5: partial writes and appends work where the old bytes are here; one upload each."""
    either.drive.run('printf 0123456789 > "$DIR/a.txt"')
    either.drive.run(f'F="$DIR/a.txt"; {change}')
    assert (either.drive / "a.txt").read_bytes() == CHANGES[change]
    either.holds({"a.txt": CHANGES[change]}, uploads=2)


@pytest.mark.parametrize("mode", MODES)
def test_changes_in_the_next_mount(faulty: Callable[..., Faulty], mode: str) -> None:
    """W5: in the next mount too; one upload each."""
    each = faulty("listing_ttl=0", *MODES[mode])
    names = {change: f"{number}.txt" for number, change in enumerate(CHANGES)}
    for name in names.values():
        each.drive.run(f'printf 0123456789 > "$DIR/{name}"')
    each.drive.remount("listing_ttl=0", *MODES[mode])
    for change, name in names.items():
        each.drive.run(f'F="$DIR/{name}"; {change}')
        assert (each.drive / name).read_bytes() == CHANGES[change], change
    each.holds({names[change]: result for change, result in CHANGES.items()}, uploads=2 * len(CHANGES))


@pytest.mark.parametrize(
    "change", ['echo more >> "$F"', 'truncate -s 4 "$F"', 'printf AB | dd of="$F" bs=1 seek=3 conv=notrunc status=none']
)
def test_changes_that_need_bytes_which_are_not_here(both: Faulty, change: str) -> None:
    """W5: the open or first write that would need the old bytes is EACCES; the file stays as it was."""
    both.server.add("a.txt", b"0123456789")
    done = both.drive.shell(f'F="$DIR/a.txt"; echo AB > plain; {change}')
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
    assert [stored.data for stored in both.server.files.values()] == [b"0123456789"]
    assert (os.stat(both.drive / "a.txt").st_size, both.server.count("upload")) == (10, 0)


@pytest.mark.parametrize("change", ['printf new > "$F"', 'truncate -s 0 "$F"; printf new >> "$F"', 'cp plain "$F"'])
def test_a_file_of_others_can_be_overwritten(both: Faulty, change: str) -> None:
    """W5: `O_TRUNC`, or `truncate(0)` after open, works everywhere; the old id goes."""
    old = both.server.add("a.txt", b"0123456789")
    both.drive.run(f'printf new > plain; F="$DIR/a.txt"; {change}')
    (stored,) = both.server.files.values()
    assert (stored.data, stored.id != old.id) == (b"new", True)
    assert both.server.count("upload") == 1


def test_truncate_after_open(both: Faulty) -> None:
    """W5: as vim does it: open for writing, truncate the path to 0, write."""
    both.server.add("a.txt", b"0123456789")
    descriptor = os.open(both.drive / "a.txt", os.O_WRONLY)
    os.truncate(both.drive / "a.txt", 0)
    os.write(descriptor, b"new")
    os.close(descriptor)
    (stored,) = both.server.files.values()
    assert stored.data == b"new"


@pytest.mark.parametrize(
    "name", ["a.txt", 'with "quotes" and \' and back\\slash.txt', "月亮 %41.txt", "a;b=c, d.txt", "-dash.txt"]
)
def test_names_arrive_as_they_are(pair: Pair, name: str) -> None:
    """N1: an own file has the same name on the service as on the drive, whatever is in it."""
    (pair.drive / name).write_text("hello")
    assert pair.account.only(name)["bytes"] == 5
    assert name in os.listdir(pair.drive.point)
    (pair.drive / name).unlink()
    assert pair.account.named(name) == []


def test_every_backend_stores_reads_and_deletes(pair: Pair, served: Pair) -> None:
    """W1, R1, W8: the same on the embedded server and, as with the hosted service, over HTTP with a key."""
    for each in (pair, served):
        (each.drive / "backend.txt").write_text("hello")
        file = each.account.only("backend.txt")
        assert (file["bytes"], file["purpose"]) == (5, "file-extract")
        assert (each.drive / "backend.txt.content").read_bytes() == each.account.content(file["id"])
        (each.drive / "backend.txt").unlink()
        assert each.account.named("backend.txt") == []


def test_others_changes_show_after_the_listing_time(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L4: own changes show at once though the listing is believed for long; others' only when its time is up."""
    drive = faulty("listing_ttl=1000").drive
    (drive / "mine.txt").write_text("mine")
    assert os.listdir(drive.point) == ["mine.txt", "mine.txt.content"]
    listings = service.count("list")
    service.add("theirs.txt", b"theirs")
    (drive / "mine.txt").unlink()
    assert os.listdir(drive.point) == []
    assert service.count("list") == listings


def test_looking_at_once_costs_one_listing(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """L4: within the listing's time the whole drive is looked at without a request."""
    for index in range(50):
        service.add(f"{index}.txt", b"x")
    drive = faulty("listing_ttl=1000").drive
    before = service.count()
    drive.run('ls -l "$DIR"; ls -l "$DIR"; find "$DIR"; df "$DIR"')
    assert service.count() == before
