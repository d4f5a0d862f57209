"""The Tab key in the real bash, zsh and fish, at a real terminal: what a word becomes, and what is offered."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import FaultServer
from tests.harness import forks
from tests.harness.drive import ROOT, SECONDS, Drive, hosted, wait_until
from tests.harness.programs import needs
from tests.harness.terminal import Terminal

pytestmark = pytest.mark.fuse

#: How each shell starts without anybody's settings, with the script that the command prints.
SHELLS = {
    "bash": "exec bash --noprofile --rcfile rc.bash -i",
    "zsh": "ZDOTDIR=$PWD/zdot exec zsh -i",
    "fish": "exec fish --no-config --init-command 'source rc.fish'",
}
NAMES = ["plan.txt", "two words & more.txt", "it's 5$.txt", "ratio=3:4.txt", "月.txt", "-dash.txt"]


#: Has a program run elsewhere: in braces Python, and the socket where it says with what.
PROGRAM = """#!{} -IS
import array, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
    asked.connect({!r})
    variables = [b"%s=%s" % each for each in os.environb.items()]
    words = [os.fsencode(word) for word in (os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:])]
    handed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    asked.sendmsg([b"\\0".join(words + variables)], [handed])
    os._exit(int(asked.recv(16)))
"""


@contextlib.contextmanager
def forking(program: Path, environ: dict[str, str]) -> Iterator[None]:
    """Make `moonfs`, as a program that shells start: it is forked (`forks`), since each Tab starts one."""
    folder = tempfile.mkdtemp(prefix="mfs-")  # a socket's path holds 107 bytes, fewer than pytest's directories
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def runs(asked: socket.socket) -> None:
        said, fds, _, _ = socket.recv_fds(asked, 1 << 18, 3)
        cwd, count, *words = map(os.fsdecode, said.split(b"\0"))
        variables = dict(each.split("=", 1) for each in words[int(count) :])
        with forks.Popen(
            ["-m", "moonfs", *words[: int(count)]],
            env={**variables, **forks.AT_START, **environ}, cwd=cwd, stdin=fds[0], stdout=fds[1], stderr=fds[2],
        ) as process:  # fmt: skip
            for fd in fds:
                os.close(fd)
            asked.send(b"%d" % process.wait())

    def serve() -> None:
        while True:
            asked, _ = listener.accept()
            with asked:
                if asked.recv(1, socket.MSG_PEEK) == b"":
                    return
                runs(asked)

    with listener, contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as last:
        listener.bind(f"{folder}/asked")
        listener.listen()
        thread = threading.Thread(target=serve, name="moonfs-program")
        thread.start()
        program.write_text(PROGRAM.format(sys.executable, f"{folder}/asked"))
        program.chmod(0o755)
        try:
            yield
        finally:
            last.connect(f"{folder}/asked")
            last.close()  # who asks for nothing ends it
            thread.join()
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def drive(fuse: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """A drive on `my moon` in the home of the shells, with names that they have to quote, and `moonfs` on the PATH."""
    home = tmp_path_factory.mktemp("completion")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FaultServer())
        drive = stack.enter_context(Drive(home, *hosted(server.base_url, server.key)))
        drive.environ["PATH"] = f"{home / 'bin'}:{drive.environ['PATH']}"
        (home / "bin").mkdir()
        stack.enter_context(forking(home / "bin" / "moonfs", {"XDG_CONFIG_HOME": f"{home}/config"}))
        work = drive.work()
        (work / "empty directory").mkdir()
        (work / "elsewhere.txt").touch()
        (work / "rc.bash").write_text(
            "PS1='$ '\nbind 'set bell-style none'\nbind 'set show-all-if-ambiguous on'\n"
            'eval "$(moonfs completion bash)"\n'
        )
        (work / "zdot").mkdir()
        (work / "zdot" / ".zshrc").write_text(
            "PS1='$ '\nunsetopt beep promptsp\nautoload -U compinit && compinit -u -D\n"
            'eval "$(moonfs completion zsh)"\n'
        )
        settings = home / "config" / "moonfs" / "config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("[profile.library]\nlocal = true\n")
        (work / "rc.fish").write_text('function fish_prompt; echo -n "\\$ "; end\nmoonfs completion fish | source\n')
        drive.point = work / "my moon"
        for name in NAMES:
            server.add(name, name.encode())
        yield drive.mount()


class Shell:
    """An interactive shell whose command lines are completed and then written down, word by word, instead of run."""

    def __init__(self, terminal: Terminal, drive: Drive) -> None:
        self.terminal = terminal
        self._record = drive.work() / "record"

    def becomes(self, typed: str) -> list[str]:
        """Return the words that `typed` and one Tab come to."""
        self._record.unlink(missing_ok=True)
        self.terminal.sends(
            ("-l", typed),
            ("Tab", "C-e"),
            ("-l", " > record.new && mv record.new record"),
            ("C-a",),
            ("-l", "command env printf '%s\\n' "),
            ("Enter",),
        )
        wait_until(self._record.exists, f"the words of {typed!r} in\n{self.terminal.screen()}", SECONDS / 6)
        return self._record.read_text().splitlines()

    def offers(self, typed: str, texts: list[str]) -> str:
        """Return what is shown below `typed` after a Tab, when all of `texts` are."""
        self.terminal.sends(("C-l",), ("-l", typed), ("Tab",))

        def below(shown: str) -> str:
            return shown.rpartition("$ moonfs")[0] or shown.partition("\n")[2]

        self.terminal.until(lambda shown: all(text in below(shown) for text in texts), f"{texts} offered")
        shown = below(self.terminal.screen())
        self.terminal.presses("C-e", "C-u")
        return shown


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, drive: Drive) -> Iterator[Shell]:
    needs("tmux", "zsh", "fish")
    with Terminal(SHELLS[request.param], drive) as terminal:
        terminal.until(lambda shown: shown.rstrip().endswith("$"), "a prompt")
        yield Shell(terminal, drive)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("moonfs moun", ["mount"]),
        ("moonfs mount --loc", ["mount", "--local"]),
        ("moonfs mount emp", ["mount", "empty directory/"]),
        ("moonfs doctor --listing", ["doctor", "--listing-ttl"]),
        ("moonfs doctor m", ["doctor", "my moon"]),
        ("moonfs prefetch m", ["prefetch", "my moon"]),
        ("moonfs prefetch {home}/my\\ moon/pl", ["prefetch", "{home}/my moon/plan.txt"]),
        ("moonfs serve --data emp", ["serve", "--data", "empty directory/"]),
        ("moonfs serve --data=emp", ["serve", "--data=empty directory/"]),
        ("moonfs mount --profile li", ["mount", "--profile", "library"]),
        ("moonfs mount -o umask=022,list", ["mount", "-o", "umask=022,listing_ttl="]),
        ("moonfs mount -o sidecars=h", ["mount", "-o", "sidecars=hide"]),
        ("moonfs mount --purpose im", ["mount", "--purpose", "image"]),
        ("moonfs serve --list-order ol", ["serve", "--list-order", "oldest"]),
        ("moonfs serve --list-order=ol", ["serve", "--list-order=oldest"]),
        ("moonfs umount my", ["umount", "my moon"]),
        ("moonfs umount ~/my", ["umount", "{home}/my moon"]),
        ("moonfs umount {home}/m", ["umount", "{home}/my moon"]),
        ("moonfs umount 'my", ["umount", "my moon"]),
        ('moonfs umount "my m', ["umount", "my moon"]),
        ("moonfs status ./m", ["status", "./my moon"]),
        ("moonfs logs m", ["logs", "my moon"]),
        ("moonfs prefetch my\\ moon pl", ["prefetch", "my moon", "plan.txt"]),
        ("moonfs prefetch ~/my\\ moon pl", ["prefetch", "{home}/my moon", "plan.txt"]),
        ("moonfs prefetch 'my moon' two", ["prefetch", "my moon", "two words & more.txt"]),
        ("moonfs prefetch 'my moon' \"it's", ["prefetch", "my moon", "it's 5$.txt"]),
        ("moonfs prefetch 'my moon' it", ["prefetch", "my moon", "it's 5$.txt"]),
        ("moonfs prefetch 'my moon' ra", ["prefetch", "my moon", "ratio=3:4.txt"]),
        ("moonfs prefetch 'my moon' ratio=", ["prefetch", "my moon", "ratio=3:4.txt"]),
        ("moonfs prefetch 'my moon' ratio=3:", ["prefetch", "my moon", "ratio=3:4.txt"]),
        ("moonfs prefetch 'my moon' 月", ["prefetch", "my moon", "月.txt"]),
        ("moonfs prefetch 'my moon' plan.txt pl", ["prefetch", "my moon", "plan.txt", "pl"]),
        ("moonfs prefetch 'my moon' my\\ moon/pl", ["prefetch", "my moon", "my moon/plan.txt"]),
    ],
)
def test_a_word_is_completed(shell: Shell, drive: Drive, typed: str, words: list[str]) -> None:
    """bash ends a drive with a slash, as every directory; zsh and fish those that they have looked for themselves."""
    home = str(drive.work())
    became = shell.becomes(typed.format(home=home))
    expected = ["moonfs", *(word.format(home=home) for word in words)]
    assert [word.removesuffix("/") for word in became] == [word.removesuffix("/") for word in expected]


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("moonfs ", ["mount", "umount", "refresh", "prefetch", "status", "key", "serve", "completion"], ["--help"]),
        ("moonfs prefetch 'my moon' ", ["plan.txt", "ratio=3:4.txt", "月.txt"], [".content", "elsewhere"]),
        ("moonfs serve --list-order ", ["newest", "oldest", "random"], ["elsewhere"]),
        ("moonfs serve --", ["--host", "--port", "--cors"], ["elsewhere"]),
    ],
)
def test_what_can_come_next_is_shown(shell: Shell, typed: str, offered: list[str], not_offered: list[str]) -> None:
    shown = shell.offers(typed, offered)
    assert not [text for text in not_offered if text in shown]


@pytest.mark.parametrize(
    ("shell", "place", "says"),
    [
        ("bash", "own/data/bash-completion/completions/moonfs", "bash-completion"),
        ("zsh", "own/data/zsh/site-functions/_moonfs", "fpath=("),
        ("fish", "own/config/fish/completions/moonfs.fish", "new shells complete moonfs"),
    ],
)
def test_install_writes_to_where_the_shell_looks(tmp_path: Path, shell: str, place: str, says: str) -> None:
    def moonfs(*arguments: str) -> str:
        own = {"XDG_DATA_HOME": f"{tmp_path}/own/data", "XDG_CONFIG_HOME": f"{tmp_path}/own/config", "PATH": ""}
        done = forks.run(
            ["-m", "moonfs", "completion", shell, *arguments],
            env={**forks.AT_START, **own}, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done
        return str(done.stdout)

    said = moonfs("--install")
    path = tmp_path / place
    assert said.startswith(f"{path} is written; ")
    assert says in said
    assert path.read_text() == moonfs()


def test_zsh_and_fish_find_what_was_installed(drive: Drive) -> None:
    """zsh by `fpath`, as the command says; fish by itself."""
    needs("zsh", "fish")
    environ = {**drive.shell_environ(), "XDG_DATA_HOME": f"{drive.home}/own", "XDG_CONFIG_HOME": f"{drive.home}/config"}

    def run(*command: str) -> str:
        return subprocess.run(
            command, env=environ, cwd=drive.work(), capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout

    line = run("moonfs", "completion", "zsh", "--install").partition("there: ")[2]
    zsh = f"{line}autoload -U compinit; compinit -u -D; print $_comps[moonfs]"
    assert run("zsh", "-f", "-c", zsh) == "_moonfs\n"
    run("moonfs", "completion", "fish", "--install")
    assert "umount" in run("fish", "-c", "complete --do-complete 'moonfs '").split()


def test_nothing_heavy_is_loaded_at_a_key_press() -> None:
    """A completion loads neither HTTP nor FUSE nor rich: it would take four times as long."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "moonfs"],
        env={"_MOONFS_COMPLETE": "bash_complete", "COMP_LINE": "moonfs umount /", "COMP_WORD": "/"},
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "moonfs.mountpoints" in loaded
    heavy = {"httpx", "fuse", "rich", "rich.console", "ssl", "asyncio", "sqlite3", "email.message", "moonfs.filesystem"}
    assert not loaded & heavy


def test_a_drive_loads_nothing_that_it_does_not_use() -> None:
    """httpx's own command line, and what that needs, stays away: a third of a drive's start, and 5 MB."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, moonfs.mount; print(*sys.modules)"],
        env={}, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "httpx" in loaded
    assert not loaded & {"rich", "pygments", "click", "asyncio", "importlib.metadata"}
