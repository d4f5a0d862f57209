"""Editors and the tools that save as editors do: one version in the end, and nothing of theirs left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import Faulty
from tests.harness.drive import wait_until

pytestmark = pytest.mark.fuse

#: Each replaces `one` by `two` in $F.
EDITS = {
    "sed -i": 'sed -i s/one/two/ "$F"',
    "sed -i with a backup": 'sed -i~ s/one/two/ "$F"; rm "$F~"',
    "perl -i": 'perl -i -pe s/one/two/ "$F"',
    "vim": 'vim -Nu NONE -es -R -c "set noro" -c "%s/one/two/" -c wq "$F" > /dev/null',
    "vim with a backup": 'vim -Nu NONE -es -c "set backup" -c "%s/one/two/" -c wq "$F" > /dev/null; rm -f "$F~"',
    "vim by renaming": 'vim -Nu NONE -es -c "set backupcopy=no" -c "%s/one/two/" -c wq "$F" > /dev/null',
    "patch": 'printf "%s\\n" "--- a.txt" "+++ a.txt" "@@ -1 +1 @@" -one "+two" | patch -s "$F"',
    "replace": "python3 -c 'import os, sys, tempfile\n"
    "d, f = tempfile.mkstemp(dir=os.path.dirname(sys.argv[1]))\n"
    'os.write(d, b"two\\n"); os.close(d); os.replace(f, sys.argv[1])\' "$F"',
    "replace, fsynced": "python3 -c 'import os, sys\n"
    'f = open(sys.argv[1] + ".tmp", "wb"); f.write(b"two\\n"); f.flush(); os.fsync(f.fileno()); f.close()\n'
    'os.replace(f.name, sys.argv[1])\' "$F"',
    "tempfile": "python3 -c 'import os, sys, tempfile\n"
    'with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(sys.argv[1]), delete=False) as f: f.write("two\\n")\n'
    'os.replace(f.name, sys.argv[1])\' "$F"',
    "git apply": "printf '%s\\n' '--- a/a.txt' '+++ b/a.txt' '@@ -1 +1 @@' -one +two > p.diff; "
    'cp p.diff .p; P="$PWD/.p"; cd "$DIR" && git apply "$P"',
    "gio save": 'printf "two\\n" | gio save "$F"',
}


@pytest.mark.parametrize(
    ("editor", "remount"),
    [(editor, False) for editor in EDITS] + [(editor, True) for editor in ("sed -i", "vim", "replace", "git apply")],
)
def test_an_edit(both: Faulty, faulty: Callable[..., Faulty], editor: str, remount: bool) -> None:
    """W4, W5, W9, N6: what was written here, in this mount or the last, can be edited; one version is left."""
    each = faulty() if remount else both
    each.drive.run('echo one > "$DIR/a.txt"')
    if remount:
        each.drive.remount()
    each.drive.run(f'F="$DIR/a.txt"; {EDITS[editor]}')
    assert (each.drive / "a.txt").read_text() == "two\n"
    wait_until(lambda: len(each.server.files) == 1, "one version is left")
    (stored,) = each.server.files.values()
    assert (stored.filename, stored.data) == ("a.txt", b"two\n")
    assert os.listdir(each.drive.point) == ["a.txt", "a.txt.content"]


def test_vim_on_a_new_file(both: Faulty) -> None:
    """N6: a new file is one upload; swap and test files never reach the service."""
    both.drive.run('vim -Nu NONE -es -c "normal ihello" -c wq "$DIR/new.md" > /dev/null')
    assert [(stored.filename, stored.data) for stored in both.server.files.values()] == [("new.md", b"hello\n")]
    assert os.listdir(both.drive.point) == ["new.md", "new.md.content"]


def test_vim_says_that_it_cannot_write(both: Faulty) -> None:
    """R5: the original of somebody else cannot be edited: vim gets no text in its place, and nothing is changed."""
    both.server.add("theirs.txt", b"one\n")
    both.drive.shell('vim -Nu NONE -es -c "%s/one/two/" -c wq "$DIR/theirs.txt" > /dev/null')
    assert [stored.data for stored in both.server.files.values()] == [b"one\n"]
    wait_until(lambda: os.listdir(both.drive.point) == ["theirs.txt", "theirs.txt.content"], "nothing is left behind")


@pytest.mark.skipif(not (shutil.which("nano") and shutil.which("tmux")), reason="nano or tmux is not installed")
def test_nano(both: Faulty) -> None:
    """W4: nano in a terminal: open, type, save, leave."""
    both.drive.run('echo one > "$DIR/a.txt"')
    socket = str(both.drive.home / "tmux")

    def tmux(*arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", socket, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    environ = {**os.environ, "TERM": "screen", "HOME": str(both.drive.home)}
    command = f"nano --ignorercfiles {both.drive.point}/a.txt"
    subprocess.run(["tmux", "-S", socket, "new-session", "-d", "-s", "t", command], env=environ, timeout=60, check=True)
    try:
        wait_until(lambda: "one" in tmux("capture-pane", "-p", "-t", "t"), "nano shows the file")
        tmux("send-keys", "-t", "t", "and two ")
        wait_until(lambda: "and two one" in tmux("capture-pane", "-p", "-t", "t"), "nano has the text")
        tmux("send-keys", "-t", "t", "C-o")
        wait_until(lambda: "Write" in tmux("capture-pane", "-p", "-t", "t"), "nano asks for the name")
        tmux("send-keys", "-t", "t", "Enter")
        wait_until(lambda: [each.data for each in both.server.files.values()] == [b"and two one\n"], "it is stored")
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, timeout=60, check=False)
    wait_until(lambda: os.listdir(both.drive.point) == ["a.txt", "a.txt.content"], "nothing is left behind")
