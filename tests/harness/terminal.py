"""Programs that want a terminal: run in tmux, driven by keys, watched by what they show.

    with Terminal('nano "$DIR/a.txt"', drive) as terminal:
        terminal.shows("one", "Read 1 line")
        terminal.types("two ")
        terminal.shows("two one")
        terminal.presses("C-o")
        ...
        assert terminal.status() == 0

Nothing is typed before the screen shows that the program is ready for it, so no test sleeps.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.harness.drive import SECONDS, Drive, wait_until


class Terminal:
    """One program in a terminal of 120 by 40, with the environment of `Drive.shell`; a context manager."""

    def __init__(self, script: str, drive: Drive) -> None:
        """`script` is run by a POSIX shell, which stays beside the program to note its exit status."""
        # A socket's path holds 107 bytes, fewer than pytest's directories.
        self._home = Path(tempfile.mkdtemp(prefix="mfs-"))
        self._script = f"{script}\necho $? > {self._home}/status.new && mv {self._home}/status.new {self._home}/status"
        self._work = drive.work()
        self._environ = {**drive.shell_environ(), "TMPDIR": str(self._home)}

    def __enter__(self) -> Self:
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "sh", "-c", self._script)
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server", check=False)
        shutil.rmtree(self._home)

    def screen(self) -> str:
        """Return what is shown."""
        return self._tmux("capture-pane", "-p")

    def shows(self, *texts: str) -> None:
        """Return when all of these are shown."""
        self.until(lambda shown: all(text in shown for text in texts), f"shown: {texts}")

    def until(self, condition: Callable[[str], bool], what: str) -> None:
        """Return when the screen is as it should be."""
        shown = ""

        def there() -> bool:
            nonlocal shown
            shown = self.screen()
            return condition(shown)

        try:
            wait_until(there, what, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}, but:\n{shown}") from None

    def types(self, text: str) -> None:
        """Type `text`, every character for itself."""
        self._tmux("send-keys", "-l", text)

    def presses(self, *keys: str) -> None:
        """Press keys by their tmux names: `F5`, `C-o`, `Enter`."""
        self._tmux("send-keys", *keys)

    def sends(self, *steps: tuple[str, ...]) -> None:
        """Type and press what is said step by step, by one process: `("-l", "text")`, then `("Tab", "C-e")`."""
        self._tmux(*[word for step in steps for word in ("send-keys", *step, ";")][:-1])

    def status(self) -> int:
        """Return the program's exit status, when it has ended."""
        status = self._home / "status"
        wait_until(status.exists, "the program ends", SECONDS)
        return int(status.read_text())

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self._home / "tmux"), *arguments],
            env=self._environ,
            cwd=self._work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, done
        return done.stdout
