"""Editors and the tools that save as editors do: one version in the end, and nothing of theirs left behind."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import MODES, Faulty
from tests.harness.programs import needs
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.fuse

#: vim without a terminal. In /tmp, where a test's drive is, it saves more simply than elsewhere unless it is told.
VIM = 'vim > /dev/null -Nu NONE --cmd "set backupskip=" -es'
#: Each replaces `one` by `two` in $F.
EDITS = {
    "sed -i": 'sed -i s/one/two/ "$F"',
    "sed -i with a backup": 'sed -i~ s/one/two/ "$F"; rm "$F~"',
    "perl -i": 'perl -i -pe s/one/two/ "$F"',
    "vim": f'{VIM} -R -c "set noro" -c "%s/one/two/" -c wq "$F"',
    "vim with a backup": f'{VIM} -c "set backup" -c "%s/one/two/" -c wq "$F"; rm "$F~"',
    "vim by renaming": f'{VIM} -c "set backupcopy=no" -c "%s/one/two/" -c wq "$F"',
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
    '(P="$PWD/p.diff"; cd "$DIR" && git apply "$P")',
    "gio save": 'printf "two\\n" | gio save "$F"',
}


@pytest.mark.parametrize("editor", EDITS)
def test_an_edit(either: Faulty, editor: str) -> None:
    """W1, W4, W5, N6: what was written here can be edited, for one upload; one version is left, and it is read."""
    shown = either.drive.run(f'F="$DIR/a.txt"; echo one > "$F"; {EDITS[editor]}; cat "$F"')
    assert shown == "two\n"
    either.holds({"a.txt": b"two\n"}, uploads=2)


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_in_the_next_mount(faulty: Callable[..., Faulty], mode: str) -> None:
    """W4, W5: the same for what the last mount wrote."""
    each = faulty(*MODES[mode])
    for editor in ("sed -i", "vim", "replace", "git apply"):
        each.clear()
        each.drive.run('echo one > "$DIR/a.txt"')
        each.drive.remount(*MODES[mode])
        each.drive.run(f'F="$DIR/a.txt"; {EDITS[editor]}')
        each.holds({"a.txt": b"two\n"}, uploads=2)


def test_vim_on_a_new_file(either: Faulty) -> None:
    """W1, N6: its fsync and its close are one upload; swap and test files never reach the service."""
    either.drive.run(f'{VIM} -c "normal ihello" -c wq "$DIR/new.md"')
    either.holds({"new.md": b"hello\n"}, uploads=1)


def test_vim_says_that_it_cannot_write(either: Faulty) -> None:
    """R5: the original of somebody else cannot be edited: vim gets no text in its place, and nothing is changed."""
    either.server.add("theirs.txt", b"one\n")
    done = either.drive.shell(f'{VIM} -c "%s/one/two/" -c wq "$DIR/theirs.txt"')
    assert done.returncode == 1
    assert either.arrived() == {"theirs.txt": b"one\n"}
    assert either.server.count("upload") == 0
    assert os.listdir(either.drive.point) == ["theirs.txt", "theirs.txt.content"]


def test_vim_in_a_terminal(either: Faulty) -> None:
    """W1, W4, N6: `:w` and `:wq` are one version each; while it is open its swap file is here, and only here."""
    needs("vim", "tmux")
    either.drive.run('echo one > "$DIR/a.txt"')
    with Terminal('vim -Nu NONE -i NONE --cmd "set backupskip=" "$DIR/a.txt"', either.drive) as terminal:
        terminal.shows("one", '"', "1L, 4B")
        terminal.types("itwo ")
        terminal.shows("two one", "-- INSERT --")
        assert (either.drive / ".a.txt.swp").exists()
        terminal.presses("Escape", ":", "w", "Enter")
        terminal.shows("1L, 8B written")
        assert (either.drive / "a.txt").read_text() == "two one\n"
        assert either.arrived() == {"a.txt": b"two one\n"}
        terminal.types("ithree ")
        terminal.shows("twothree  one")
        terminal.presses("Escape", ":", "w", "q", "Enter")
        assert terminal.status() == 0
    either.holds({"a.txt": b"twothree  one\n"}, uploads=3)


def test_nano(either: Faulty) -> None:
    """W1, W4: nano in a terminal: open, type, save, leave."""
    needs("nano", "tmux")
    either.drive.run('echo one > "$DIR/a.txt"')
    with Terminal('nano --ignorercfiles "$DIR/a.txt"', either.drive) as terminal:
        terminal.shows("one", "Read 1 line")
        terminal.types("and two ")
        terminal.shows("and two one", "Modified")
        terminal.presses("C-o")
        # "File Name to Write" before nano 8, "Write to File" since; the help below says "Write Out".
        terminal.until(lambda shown: "to Write: " in shown or "Write to File: " in shown, "it asks for the name")
        terminal.presses("Enter")
        terminal.shows("Wrote 1 line")
        either.holds({"a.txt": b"and two one\n"}, uploads=2)
        terminal.presses("C-x")
        assert terminal.status() == 0
    either.holds({"a.txt": b"and two one\n"}, uploads=2)
