"""Programs with windows: on a display and a session bus of their own, driven by keys, watched by what they open.

    with Desktop(drive) as desktop:
        desktop.start("thunar", str(drive.point))
        desktop.focused("drive - Thunar")
        desktop.presses("ctrl+a", "ctrl+c")
        wait_until(desktop.copied, "files are in the clipboard")

The display is Xvfb's and shows nowhere. Keys go to the window that has the focus, so none is pressed before that is
the one it is meant for; what the keys did is seen by the windows, by the clipboard or by the drive. No test sleeps.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageGrab

from tests.harness.drive import SECONDS, Drive, wait_until
from tests.harness.programs import needs

#: What a test needs beside the program that it drives.
PROGRAMS: Final = ("Xvfb", "dbus-daemon", "openbox", "xclip", "xdotool")
#: Seconds between two looks at the display: each is a process or two, and the program that is looked at has work to do.
_EVERY: Final = 0.05
#: What GTK file managers put into the clipboard for files that are copied: `copy`, then a URL a line. Those of KDE put
#: URLs there alone.
_COPIED: Final = "x-special/gnome-copied-files"
#: A session bus that starts nothing (dbus-daemon(1)); in braces its directory.
_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={}</listen>
  <policy context="default">
    <allow send_destination="*"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class Desktop:
    """A display with a window manager, and a session bus; a context manager that leaves no process.

    Attributes:
        environ: that of `Drive.shell`, with the display and the bus.
    """

    def __init__(
        self, drive: Drive, *, prefix: Sequence[str] = (), size: str = "1280x800", services: bool = True
    ) -> None:
        """Prepare it.

        `prefix` is put before each command but the display's; `size` is the screen's, in pixels; without `services` the
        bus starts none of those that are installed, such as indexers, which would write to the home for longer.
        """
        needs(*PROGRAMS)
        # A socket's path holds 107 bytes, fewer than pytest's directories.
        self._home = Path(tempfile.mkdtemp(prefix="mfs-"))
        self._work = drive.work()
        self._prefix = prefix
        self._size = size
        self._services = services
        self._ends = contextlib.ExitStack()
        self.environ = {
            **drive.shell_environ(),
            "TMPDIR": str(self._home),
            "XDG_RUNTIME_DIR": str(self._home),
            # What else a machine has installed would start here, look at its disks, and mount below XDG_RUNTIME_DIR.
            "GIO_USE_VFS": "local",
            "GIO_USE_VOLUME_MONITOR": "unix",
            "NO_AT_BRIDGE": "1",
            # GTK 4 draws with OpenGL, which a machine without a graphics card computes: most of the time of a window.
            "GSK_RENDERER": "cairo",
        }

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ends:
            self._ends = ends
            ends.callback(shutil.rmtree, self._home, ignore_errors=True)
            # Without -r, a key whose release comes late on a busy machine is repeated; without -noreset, the display
            # starts anew when its only client ends, and whoever comes just then is turned away.
            screen = ("-r", "-noreset", "-nolisten", "tcp", "-screen", "0", f"{self._size}x24")
            self.environ["DISPLAY"] = ":" + self._announced("Xvfb", *screen, "-displayfd", "{}")
            (self._home / "bus.conf").write_text(_BUS.format(self._home))
            session = "--session" if self._services else f"--config-file={self._home}/bus.conf"
            bus = (session, "--nofork", "--nopidfile", "--print-address={}")
            self.environ["DBUS_SESSION_BUS_ADDRESS"] = self._announced(*self._prefix, "dbus-daemon", *bus)
            self.start("openbox")
            self.until(lambda: self._asked("get_num_desktops") not in ("", "0"), "openbox manages the windows")
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def start(self, *command: str) -> None:
        """Start a program; it is ended with the desktop."""
        self._start(*self._prefix, *command)

    def _start(self, *command: str, descriptors: Sequence[int] = ()) -> None:
        with open(self._home / "log", "ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environ,
                cwd=self._work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
            )
        self._ends.callback(_end, process)

    def windows(self) -> dict[str, str]:
        """Return the titles of the windows that show, by their ids."""
        shown = self._asked("search", "--onlyvisible", "--name", ".").split()
        titles = self._answers(*(f"getwindowname {each}" for each in shown))
        if len(titles) != len(shown):  # one has just gone, and ended the answers
            titles = [self._asked("getwindowname", each) for each in shown]
        return dict(zip(shown, titles, strict=True))

    def focused(self, title: str) -> str:
        """Return the id of the window that gets the keys, when it is one of this title, a regular expression."""
        active = ""

        def there() -> bool:
            nonlocal active
            answers = self._answers("getactivewindow", "getwindowfocus", "getactivewindow getwindowname")
            if len(answers) != 3:
                return False
            active, has, named = answers
            return active == has and re.fullmatch(title, named) is not None

        self.until(there, f"the focus is on {title!r}")
        return active

    def answers(self, title: str, *keys: str) -> None:
        """Press keys in the window of this title when it has opened, and return when they have closed it."""
        window = self.focused(title)
        self.presses(*keys)
        self.until(lambda: window not in self.windows(), f"{title!r} is closed")

    def shows_only(self, *titles: str) -> None:
        """Return when the windows are these and no other: no question is open, and no complaint."""
        self.until(lambda: sorted(self.windows().values()) == sorted(titles), f"only {titles} show")

    def until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Return when `condition`, which looks at the display, holds; else say what shows instead."""
        try:
            wait_until(condition, what, seconds, _EVERY)
        except AssertionError as error:
            active = self._asked("getactivewindow", "getwindowname")
            raise AssertionError(f"{error}, but {self.windows()}, active {active!r}, log:\n{self._log()}") from None

    def focuses(self, title: str) -> None:
        """Bring a window to the front, and return when it has the focus."""
        for window, shown in self.windows().items():
            if shown == title:
                self._xdotool("windowactivate", window)
        self.focused(re.escape(title))

    def presses(self, *keys: str) -> None:
        """Press keys by their xdotool names: `F2`, `ctrl+a`, `Return`."""
        self._xdotool("key", *keys)

    def types(self, text: str) -> None:
        """Type ASCII text, every character for itself."""
        self._xdotool("type", text)

    def copied(self) -> list[Path]:
        """Return the files in the clipboard."""
        done = self._run("xclip", "-selection", "clipboard", "-out", "-target", _COPIED)
        first, *urls = done.stdout.rstrip("\0").splitlines() or [""]  # it fails when there are none
        if first != "copy":
            urls = self._run("xclip", "-selection", "clipboard", "-out", "-target", "text/uri-list").stdout.split()
        return [Path(unquote(urlsplit(url).path)) for url in urls]

    def tells(self, *command: str) -> str:
        """Return what a program prints, on this display and bus; nothing when it fails."""
        return self._run(*command).stdout.strip()

    def forgets(self) -> None:
        """Have no files in the clipboard."""
        done = self._run("xclip", "-selection", "clipboard", "-in", "/dev/null")
        assert done.returncode == 0, done

    def picture(self) -> Image.Image:
        """Return what the screen shows, when it has come to rest, without the black around."""
        last = ImageGrab.grab(xdisplay=self.environ["DISPLAY"])

        def same() -> bool:
            nonlocal last
            before, last = last, ImageGrab.grab(xdisplay=self.environ["DISPLAY"])
            return last.getbbox() is not None and last.tobytes() == before.tobytes()

        self.until(same, "the screen is at rest")
        return last.crop(last.getbbox())

    def _announced(self, *command: str) -> str:
        """Start a server that writes the one line where it is to be found to a descriptor; return that line."""
        readable, writable = os.pipe()
        with open(readable, encoding="ascii") as announcement:
            try:
                self._start(*(word.format(writable) for word in command), descriptors=[writable])
            finally:
                os.close(writable)
            line = announcement.readline().strip()
        assert line, (command, self._log())
        return line

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace")

    def _run(self, *command: str, told: str = "") -> subprocess.CompletedProcess[str]:
        # xclip stays behind to serve what it was given: a pipe to it would not end.
        with open(self._home / "out", "w+", encoding="utf-8") as out:
            done = subprocess.run(
                command,
                env=self.environ,
                input=told,
                stdout=out,
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            out.seek(0)
            done.stdout = out.read()
        return done

    def _asked(self, *arguments: str) -> str:
        """Return what xdotool answers; nothing when it fails, as for a window that has just gone."""
        return self.tells("xdotool", *arguments)

    def _answers(self, *questions: str) -> list[str]:
        """Return what one xdotool answers to several questions, a line each; less from where one fails."""
        return self._run("xdotool", "-", told="".join(f"{each}\n" for each in questions)).stdout.splitlines()

    def _xdotool(self, *arguments: str) -> None:
        done = self._run("xdotool", *arguments)
        assert done.returncode == 0, (done, self.windows())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS / 6)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
