"""What stays on this machine: empty files and temporary names; they are listed and survive (W6, N6)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from moonfs import wire
from tests.conftest import Faulty
from tests.faults.server import refused
from tests.harness.drive import wait_until

pytestmark = pytest.mark.fuse

TEMPORARY = [
    ".hidden", ".a.txt.swp", ".a.txt.Xy12Za", ".goutputstream-ABCDEF", "a.txt~", "#a.txt#", "~$a.docx", "4913",
    "a.tmp", "a.pdf.part", "a.pdf.crdownload", "sedAb12Cd", "a.txt.oAb12Cd",
]  # fmt: skip


@pytest.mark.parametrize("name", TEMPORARY)
def test_a_temporary_name_is_not_uploaded(both: Faulty, name: str) -> None:
    """N6: it lives on this machine only, is listed, and reads back."""
    (both.drive / name).write_text("temporary")
    assert name in os.listdir(both.drive.point)
    assert (both.drive / name).read_text() == "temporary"
    assert os.stat(both.drive / name).st_size == 9
    assert not (both.drive / f"{name}.content").exists()
    with open(both.drive / name, "ab") as file:
        os.fsync(file)
    assert both.server.count("upload") == 0
    wait_until(lambda: name in both.drive.status()["uploads"]["local"], "status names it")


@pytest.mark.parametrize("name", ["tmpab12cd34", "no extension"])
def test_private_files_of_a_type_that_is_refused(both: Faulty, name: str) -> None:
    """N6: a name whose type the service refuses stays local when it is made as `mkstemp` makes it."""
    descriptor = os.open(both.drive / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, b"private")
    os.close(descriptor)
    assert both.server.count("upload") == 0
    assert (both.drive / name).read_bytes() == b"private"


@pytest.mark.parametrize("make", [
    'perl -MFile::Temp=tempfile -e \'($f, $n) = tempfile("tmpXXXXXXXX", DIR => $ENV{DIR}); print $f "new"; close $f\'',
    'python3 -c "import os, tempfile; f = tempfile.mkstemp(dir=os.environ[\'DIR\']); os.write(f[0], b\'new\')"',
    'printf new > "$(mktemp "$DIR/tmpXXXXXXXX")"',
], ids=["perl", "python", "mktemp"])  # fmt: skip
def test_the_temporary_files_of_programs(both: Faulty, make: str) -> None:
    """N6: what mkstemp of C, Perl and Python makes in the drive stays on this machine."""
    both.drive.run(make)
    assert both.server.count("upload") == 0
    assert [(both.drive / name).read_bytes() for name in os.listdir(both.drive.point)] == [b"new"]


@pytest.mark.parametrize("copy", [
    "umask 077; cp Makefile.am $DIR/",
    "chmod 600 Makefile.am; cp Makefile.am $DIR/",
    "chmod 600 Makefile.am; cp -p Makefile.am $DIR/",
    "chmod 600 Makefile.am; mv Makefile.am $DIR/",
    "install -m 600 Makefile.am $DIR/",
    "umask 077; dd if=Makefile.am of=$DIR/Makefile.am status=none",
    "umask 077; cat Makefile.am | tee $DIR/Makefile.am > /dev/null",
    "chmod 600 Makefile.am; tar -cf a.tar Makefile.am; cd $DIR; tar -xf $OLDPWD/a.tar",
], ids=lambda copy: copy.replace("Makefile.am ", ""))  # fmt: skip
def test_a_copy_of_mode_0600_does_not_stay_in_silence(both: Faulty, copy: str) -> None:
    """N6, N7: `cp` and its like say what the service refuses, whatever the mode; or it arrives."""
    both.server.script("upload", refused(400, wire.MSG_UNSUPPORTED))
    (both.drive.work() / "Makefile.am").write_text("all:\n")
    done = both.drive.shell(copy)
    assert "not supported" in done.stderr, done
    assert done.returncode != 0
    assert [each["name"] for each in both.drive.status()["uploads"]["failed"]] == ["Makefile.am"]
    assert both.drive.status()["uploads"]["local"] == []


def test_a_private_file_of_a_type_that_is_taken(both: Faulty) -> None:
    """N6: a real name is uploaded whatever its mode."""
    descriptor = os.open(both.drive / "secret.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, b"private")
    os.close(descriptor)
    assert both.server.names() == ["secret.txt"]


def test_an_empty_file_stays_local(both: Faulty) -> None:
    """W6: empty files stay local and are listed; the first bytes upload them."""
    both.drive.run('touch "$DIR/a.txt"; : > "$DIR/b.txt"; cp /dev/null "$DIR/c.txt"')
    assert os.listdir(both.drive.point) == ["a.txt", "b.txt", "c.txt"]
    assert both.server.count("upload") == 0
    (both.drive / "a.txt").write_text("hello")
    assert both.server.names() == ["a.txt"]
    assert both.server.count("upload") == 1


def test_an_overwrite_with_nothing(both: Faulty) -> None:
    """W6: a file that was emptied reads empty here; it is what a machine without the drive sees that is left open."""
    (both.drive / "a.txt").write_text("hello")
    both.drive.run(': > "$DIR/a.txt"')
    assert os.stat(both.drive / "a.txt").st_size == 0
    assert (both.drive / "a.txt").read_bytes() == b""
    (both.drive / "a.txt").write_text("again")
    wait_until(lambda: len(both.server.files) == 1, "one version is left", 10)
    assert [stored.data for stored in both.server.files.values()] == [b"again"]


@pytest.mark.parametrize("end", ["remount", "kill"])
def test_they_survive(faulty: Callable[..., Faulty], end: str) -> None:
    """W6: empty files and temporary names survive a remount and a killed daemon, with their inodes."""
    drive = faulty().drive
    (drive / "empty.txt").touch()
    (drive / ".begun.swp").write_text("begun")
    (drive / "tmp12345678").touch(mode=0o600)
    before = {name: os.stat(drive / name) for name in os.listdir(drive.point)}
    assert len(before) == 3
    if end == "kill":
        drive.kill()
        drive.mount()
    else:
        drive.remount()
    after = {name: os.stat(drive / name) for name in os.listdir(drive.point)}
    assert {name: (each.st_size, each.st_mtime_ns, each.st_ino) for name, each in after.items()} == {
        name: (each.st_size, each.st_mtime_ns, each.st_ino) for name, each in before.items()
    }
    assert (drive / ".begun.swp").read_text() == "begun"


def test_their_times_survive(faulty: Callable[..., Faulty]) -> None:
    """A1, W6: what `utimens` sets on them is kept across mounts too."""
    drive = faulty().drive
    (drive / "empty.txt").touch()
    os.utime(drive / "empty.txt", ns=(1, 1_234_567_890_123_456_789))
    drive.remount()
    assert os.stat(drive / "empty.txt").st_mtime_ns == 1_234_567_890_123_456_789


def test_they_are_really_gone_when_deleted(faulty: Callable[..., Faulty]) -> None:
    """W6, W8: what was deleted does not come back with the next mount, and leaves no bytes in the spool."""
    drive = faulty().drive
    (drive / "empty.txt").touch()
    (drive / ".begun.swp").write_text("begun")
    drive.remount()
    drive.run('rm "$DIR/empty.txt" "$DIR/.begun.swp"')
    drive.remount()
    assert os.listdir(drive.point) == []
    assert not list(drive.home.glob("state/moonfs/accounts/*/spool/*"))


def test_a_local_file_of_the_next_mount_can_be_uploaded(faulty: Callable[..., Faulty]) -> None:
    """W6: an empty file of an earlier mount is written, a temporary one renamed: both arrive."""
    both = faulty()
    (both.drive / "a.txt").touch()
    (both.drive / "b.tmp").write_text("hello")
    both.drive.remount()
    both.drive.run('echo one > "$DIR/a.txt"; mv "$DIR/b.tmp" "$DIR/b.txt"')
    assert both.server.names() == ["a.txt", "b.txt"]
    both.drive.remount()
    assert (both.drive / "b.txt").read_text() == "hello"
