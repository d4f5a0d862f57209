"""A disk that refuses is called what it is: full, without inodes, over a quota, read-only; and which one (W7, L1).

The disks are small ones of their own (tmpfs(5)), which really are full.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moonfs import disk
from tests.harness.machine import Machine

pytestmark = pytest.mark.fuse

STATE, CACHE, DATA, RUNTIME = ".local/state", ".cache", ".local/share", "run"

#: What fills a disk, what is said then, and a word of the line that mends it. {disk} is where it is mounted.
KINDS = {
    "full": ("cat /dev/zero >{disk}/filler 2>/dev/null || true", "is full; make room there", "df -h"),
    "inodes": (
        "n=0; while (: >{disk}/filler$n) 2>/dev/null; do n=$((n+1)); done",
        "has no inodes left; delete files there",
        "df -i",
    ),
    "read-only": ("mount -o remount,bind,ro {disk}", "is read-only; have it written to", "sudo mount -o remount,rw"),
}


@pytest.fixture
def machine(fuse: None, tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path / "home") as machine:
        machine.environ["XDG_RUNTIME_DIR"] += "/run"
        machine.lines.append('mkdir -p "$XDG_RUNTIME_DIR"')
        yield machine


def place(machine: Machine, what: str) -> str:
    """Return where a directory of the drive is."""
    return machine.environ["XDG_RUNTIME_DIR"] if what == RUNTIME else f"{machine.home}/{what}"


def small(machine: Machine, what: str) -> str:
    """Have a small disk in the place of a directory of the drive."""
    where = place(machine, what)
    machine.lines.append(f"mkdir -p '{where}' && mount -t tmpfs -o size=8m,nr_inodes=64,mode=700 small '{where}'")
    return where


#: A first life of the drive, after which all its databases are there.
BEFORE = "moonfs mount --local m; echo text >m/a.txt; cat m/a.txt.content >/dev/null; moonfs umount m; "
BEFORE += "while grep -qas 'moonfs[.]server' /proc/[0-9]*/cmdline; do sleep 0.1; done; "  # it removes files at its end


@pytest.mark.parametrize("before", ["", BEFORE], ids=["new", "used"])
@pytest.mark.parametrize(
    ("what", "kind"),
    [(STATE, "full"), (STATE, "inodes"), (STATE, "read-only"), (DATA, "full"), (DATA, "inodes"), (DATA, "read-only"),
     (RUNTIME, "inodes")],
)  # fmt: skip
def test_a_mount_says_which_disk_refuses(machine: Machine, what: str, kind: str, before: str) -> None:
    """L1: never that something is damaged and to be restored."""
    where = small(machine, what)
    fill, said, line = KINDS[kind]
    wait = f"for _ in $(seq 600); do {fill.format(disk=where)} && break; sleep 0.1; done 2>/dev/null"
    done = machine.script(f"{before}{wait}; moonfs mount --local m")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert said in done.stderr and line in done.stderr and where in done.stderr, done.stderr
    assert not any(word in done.stderr for word in ("damaged", "restore", "I/O error", "unable to open")), done.stderr


@pytest.mark.parametrize("kind", ["full", "inodes", "read-only"])
def test_a_drive_whose_caches_are_full_works(machine: Machine, kind: str) -> None:
    """W7: what is only kept for later need not be: files are written, texts are read."""
    where = small(machine, CACHE)
    done = machine.script(
        f"{BEFORE}{KINDS[kind][0].format(disk=where)}; moonfs mount --local m; echo new >m/b.txt; "
        "cat m/b.txt.content; moonfs umount m"
    )
    assert done.returncode == 0 and '"content":"new' in done.stdout and done.stderr == "", done


@pytest.mark.parametrize(
    ("what", "said"), [(STATE, "No space left on device"), (DATA, "Input/output error")], ids=["state", "data"]
)
@pytest.mark.parametrize("options", ["", "-o write_back"], ids=["write-through", "write-back"])
def test_a_disk_that_fills_while_a_drive_is_mounted(machine: Machine, what: str, said: str, options: str) -> None:
    """W7: of this machine's disk the writer is told; of the service's, status says what it has said."""
    where = small(machine, what)
    done = machine.script(
        f"moonfs mount --local m {options}; echo text >m/a.txt; "
        f"head -c 200000 /dev/urandom | base64 >big.txt; {KINDS['full'][0].format(disk=where)}; "
        "cp big.txt m/ || true; "
        "for _ in $(seq 600); do moonfs status m --json >said; grep -q 'no space left' said && break; "
        f"{'break;' if what == STATE else ''} sleep 0.1; done; moonfs logs m; cat said; rm '{where}/filler'; "
        "moonfs umount m --timeout 60"
    )
    if what == STATE or not options:
        assert f"'m/big.txt': {said}" in done.stderr, done
    if what == DATA:
        assert "no space left to store the file" in done.stdout, done
    assert "damaged" not in done.stdout, done


def test_serve_says_that_the_disk_is_full(machine: Machine) -> None:
    """The local Files API by itself, too."""
    where = small(machine, DATA)
    for kind, (fill, said, _) in KINDS.items():
        if kind != "read-only":
            done = machine.script(f"{BEFORE}{fill.format(disk=where)}; moonfs serve --port 0")
            assert done.returncode == 1 and said in done.stderr and "restore" not in done.stderr, done


def test_a_quota_of_ones_own(machine: Machine) -> None:
    """W7: EDQUOT, which root never meets: the words of a user's own quota (tmpfs(5), usrquota_block_hardlimit)."""
    nobody = machine.as_nobody()
    machine.device("666")
    where = f"{machine.home}/.local/state"
    machine.lines.append(
        f"mkdir -p '{where}' && "
        f"mount -t tmpfs -o size=50m,mode=777,usrquota,usrquota_block_hardlimit=4m small '{where}'"
    )
    tried = machine.run(*nobody, "true")
    if tried.returncode:
        pytest.skip(f"this kernel has no quota on tmpfs: {tried.stderr}")
    done = machine.script(
        f"mkdir -p .cache .local/share; {BEFORE}{KINDS['full'][0].format(disk=where)}; moonfs mount --local m", nobody
    )
    assert done.returncode == 1 and "has no room left in your quota" in done.stderr, done
    assert "quota -s" in done.stderr


def test_a_journal_that_is_damaged_is_called_so(machine: Machine) -> None:
    """L1: it is told from a full disk, and named."""
    done = machine.script(
        f"{BEFORE}for each in .local/state/moonfs/accounts/*/journal.db; do rm -f $each-*; yes no database | "
        "head -c 20000 >$each; done; moonfs mount --local m"
    )
    assert done.returncode == 1 and "journal.db is damaged (file is not a database)" in done.stderr, done


@pytest.mark.parametrize("code", [*disk._OTHERS, errno.EBUSY, errno.EINVAL, errno.ENXIO, errno.ETXTBSY])
def test_every_errno_has_a_line_that_mends_it(tmp_path: Path, code: int) -> None:
    """Looking at a path mends nothing; the line can be pasted, whatever the path."""
    odd = tmp_path / "o'dd $(name) {disk}"
    odd.mkdir()
    said = disk.reason(OSError(code, os.strerror(code)), odd)
    assert "ls -ld" not in said and said.startswith((str(odd), f"the disk of {odd}"))
    subprocess.run(["bash", "-n", "-c", said.rpartition(": ")[2]], check=True)


#: How a path is closed to an ordinary user who has the directory `home`, as root.
CLOSED = {
    "mode": "install -d -o $ME home/files && chmod 0 home/files",
    "file": "install -m 0 -o $ME /dev/null home/files",
    "owner": "install -d home/files",
    "parent": "install -d -m 700 home/inner && mv home/inner home/files && install -d -m 777 home/files/in",
    "missing": "chmod 755 home && chown 0 home",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which makes what a user may not use")
@pytest.mark.parametrize("how", CLOSED)
def test_what_is_closed_is_opened_by_its_line(tmp_path: Path, how: str) -> None:
    """EACCES: the line opens what keeps this user out: a mode, an owner, a directory above, or that there is none."""
    user = 65534
    for above in (tmp_path, *tmp_path.parents[:-2]):
        above.chmod(0o755)
    script = f"ME={user}; install -d -o $ME home; {CLOSED[how]}"
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    path = tmp_path / "home" / "files" / ("in" if how == "parent" else "")

    def said() -> str:
        """Return what is said to this user, who makes a file there; forked, since the code may lie in root's home."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException), os.fdopen(writing, "w") as out:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                try:
                    file = path / "new" if path.is_dir() or not os.path.lexists(path) else path
                    os.close(os.open(file, os.O_CREAT | os.O_RDWR))
                except OSError:
                    out.write(disk.reason(PermissionError(13, "Permission denied"), str(path)))
                out.write(".")
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        assert text.endswith("."), "it did not end well"
        return text.removesuffix(".")

    first = said()
    assert first.startswith(f"{path} cannot be used (Permission denied); "), first
    line = first.strip().rpartition(": ")[2].removeprefix("sudo ")
    subprocess.run(["sh", "-c", line], check=True)
    assert said() == ""


def test_what_a_disk_says_by_itself(tmp_path: Path) -> None:
    """The line can be pasted, whatever the path."""
    odd = tmp_path / "o'dd $(name)"
    odd.mkdir()
    for code in disk._REFUSALS:
        said = disk.reason(OSError(code, os.strerror(code)), odd)
        line = said.rpartition(": ")[2]
        subprocess.run(["bash", "-n", "-c", line], check=True)
    assert "no room left in your quota" in disk.reason(OSError(errno.EDQUOT, "Disk quota exceeded"), odd)
    assert disk.where(OSError(errno.ENOSPC, "No space left on device"), [odd]) is None
    assert "no room left in your quota" in disk.reason(OSError(errno.EDQUOT, "Disk quota exceeded"), odd)
    assert disk.where(OSError(errno.ENOSPC, "No space left on device", str(odd)), []) == str(odd)
