"""The size of a generated file: exact for every tool, straight after `ls -l` has shown the placeholder (A2)."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer

pytestmark = pytest.mark.fuse

_numbers = itertools.count(1)
#: More than one read of 128 KiB, no multiple of a page, and lines to sort and grep.
TEXT = "".join(f"line {index * 7919 % 10007} of the text\n" for index in range(25_000))

#: Each writes the sidecar $F to the file `out`.
COPIES = {
    "cat": 'cat "$F" > out',
    "cat >>": 'rm -f out; cat "$F" >> out',
    "cp": 'cp "$F" out',
    "cp -a": 'rm -f out; cp -a "$F" out',
    "cp --sparse": 'cp --sparse=always "$F" out',
    "cp --reflink": 'cp --reflink=auto "$F" out',
    "dd": 'dd if="$F" of=out bs=64k status=none',
    "dd bs=1M": 'dd if="$F" of=out bs=1M status=none',
    "head": 'head -c 100000000 "$F" > out',
    "tail": 'tail -c +1 "$F" > out',
    "tee": 'tee out < "$F" > /dev/null',
    "tar": 'tar cf x.tar -C "$DIR" "$N" && rm -f "$N" && tar xf x.tar && mv -f "$N" out',
    "rsync": 'rm -f out; rsync -a "$F" out',
    "rsync --inplace": 'rm -f out; rsync -a --inplace "$F" out',
    "install": 'install -m 600 "$F" out',
    "zip": 'rm -f x.zip; zip -qj x.zip "$F" && unzip -p x.zip > out',
    "gzip": 'gzip -c "$F" | gzip -dc > out',
    "split": 'rm -f part.*; split -b 100000 "$F" part. && cat part.* > out',
    "sed": 'sed -n p "$F" > out',
    "perl": 'perl -ne print "$F" > out',
    "mv": 'rm -f out; cp -p "$F" .copy && mv .copy out',
    "gio": 'rm -f out; gio copy "$F" out',
    "git": 'rm -rf r; git init -q r; h=$(git -C r hash-object -w "$F") && git -C r cat-file blob "$h" > out',
    "vim": 'vim -Nu NONE -n -es -R -c "set nofixeol" -c "w! out" -c q "$F" > /dev/null',
}

#: The same in Python; `source` and `target` are file objects, unbuffered.
PYTHON = {
    "read": "target.write(source.read())",
    "read in pieces": "while piece := source.read(100_001): target.write(piece)",
    "pread": "target.write(os.pread(source.fileno(), 10_000_000, 0))",
    "shutil": "shutil.copyfile(source.name, target.name)",
    "copyfileobj": "shutil.copyfileobj(source, target)",
    "mmap": "target.write(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))",
    "private mmap": "target.write(mmap.mmap(source.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))",
    "seek to the end": "size = source.seek(0, 2); source.seek(0); target.write(source.read(size))",
    "sendfile after fstat": "while os.sendfile(target.fileno(), source.fileno(), None, 1 << 20): pass",
}

#: Each prints something that must be the same for the sidecar as for a plain file of its bytes.
LOOKS = {
    "awk": "awk 1",
    "wc": "wc -c -l <",
    "grep": "grep -c 'line 7919 '",
    "grep -o": "grep -o 'line 991[0-9] of'",
    "md5sum": "md5sum <",
    "sha256sum": "sha256sum <",
    "cksum": "cksum <",
    "sort": "sort",
    "tail": "tail -c 1000",
    "tail lines": "tail -n 3",
    "head": "head -n 3",
    "cmp": 'cmp - "$F" <',
    "od": "od -An -tx1 -j 570000 -N 64",
    "less": "LESSOPEN= less -E",
    "strings": "tr -d '\\n' <",
}


def fresh_text(drive: Faulty) -> tuple[str, bytes]:
    """Store a file that no test has read; return its sidecar's name and bytes, after `ls -l` has shown it."""
    name = f"text {next(_numbers)}.txt"
    stored = drive.server.add(name, TEXT.encode())
    body = json.dumps(
        {"content": TEXT, "file_type": "text/plain", "filename": name, "title": "", "type": "file"},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    sidecar = f"{name}.content"
    shown = drive.drive.run('ls -l "$DIR"')
    (line,) = (line for line in shown.splitlines() if line.endswith(sidecar))
    assert line.split()[4] == "1", line
    assert stored.id
    return sidecar, body


@pytest.mark.parametrize("tool", COPIES)
def test_a_copy_is_exact(both: Faulty, tool: str) -> None:
    """A2: after `open` every stat and read is exact, for whatever tool copies it."""
    sidecar, body = fresh_text(both)
    both.drive.run(f'N="{sidecar}"; F="$DIR/$N"; rm -f out; {COPIES[tool]}')
    assert (both.drive.home / "work" / "out").read_bytes() == body
    assert os.stat(both.drive / sidecar).st_size == len(body)
    assert both.server.count("content") == 1


@pytest.mark.parametrize("way", PYTHON)
def test_a_copy_in_python_is_exact(both: Faulty, way: str) -> None:
    """A2: and for Python, whatever it reads with."""
    sidecar, body = fresh_text(both)
    out = both.drive.home / "out"
    both.drive.python(
        "import mmap, os, shutil, sys\n"
        "source, target = open(sys.argv[1], 'rb', buffering=0), open(sys.argv[2], 'wb', buffering=0)\n" + PYTHON[way],
        str(both.drive / sidecar),
        str(out),
    )
    assert out.read_bytes() == body


@pytest.mark.xfail(strict=True, reason="splice and sendfile trust the placeholder until something asks for the size")
def test_sendfile_without_a_look_at_the_size(both: Faulty) -> None:
    """A2: what copies with sendfile(2) and never asks for the size (busybox cat) reads all of it too."""
    sidecar, body = fresh_text(both)
    out = both.drive.home / "out"
    both.drive.python(
        "import os, sys\n"
        "source = os.open(sys.argv[1], os.O_RDONLY)\n"
        "target = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)\n"
        "while os.sendfile(target, source, None, 1 << 20): pass",
        str(both.drive / sidecar),
        str(out),
    )
    assert out.read_bytes() == body


@pytest.mark.parametrize("tool", LOOKS)
def test_a_look_is_exact(both: Faulty, tool: str) -> None:
    """A2: what reads without copying sees the same as in a plain file."""
    sidecar, body = fresh_text(both)
    work = both.drive.home / "work"
    (work / "plain").write_bytes(body)
    command = LOOKS[tool]
    plain = both.drive.run(f'F=plain; {command} "$F"')
    shown = both.drive.run(f'F="$DIR/{sidecar}"; {command} "$F"')
    assert shown.replace(f"{both.drive.point}/{sidecar}", "plain") == plain
    assert plain or tool == "cmp"


def test_fstat_is_exact_once_it_is_open(both: Faulty) -> None:
    """A2: the placeholder is gone as soon as the file is open, before the first read."""
    sidecar, body = fresh_text(both)
    with open(both.drive / sidecar, "rb") as file:
        assert os.fstat(file.fileno()).st_size == len(body)
        assert file.seek(0, os.SEEK_END) == len(body)


def test_two_readers_at_once(both: Faulty) -> None:
    """A2, R2: two that read at the same time both see all of it, for one request."""
    sidecar, body = fresh_text(both)
    sizes = both.drive.run(f'F="$DIR/{sidecar}"; wc -c < "$F" & wc -c < "$F" & wc -c < "$F" & wait').split()
    assert sizes == [str(len(body))] * 3
    assert both.server.count("content") == 1


def test_a_known_length_is_remembered(faulty: Callable[..., Faulty], service: FaultServer) -> None:
    """A2: once known, a length is remembered across mounts."""
    service.add("a.txt", b"hello")
    drive = faulty().drive
    size = len((drive / "a.txt.content").read_bytes())
    drive.remount()
    asked = service.count("content")
    assert os.stat(drive / "a.txt.content").st_size == size > 1
    assert service.count("content") == asked


@pytest.mark.parametrize("other", [10, 60_000, 90_000], ids=["shorter", "of the same length", "longer"])
def test_another_text_under_the_same_name(both: Faulty, other: int) -> None:
    """A2, R2: when the file behind a name is another one, no byte of the old text is left in the page cache."""
    first = both.server.add("a.txt", b"first " * 60_000)
    assert b"first" in (both.drive / "a.txt.content").read_bytes()
    del both.server.files[first.id]
    both.server.add("a.txt", b"other " * other, created_at=first.created_at)
    for _ in range(2):
        text = (both.drive / "a.txt.content").read_bytes()
        assert json.loads(text)["content"] == "other " * other
