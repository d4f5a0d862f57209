"""The processes of workers, seen by the server: started, listened to, and ended with all that has come of them.

A worker that is taken over may have children, in sessions of their own, that hold its pipes. So its end is its own end,
not that of its pipes; what it leaves behind becomes a child of the server (`adopt_orphans`) and is killed.

**Threading:** everything runs in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
#: Bytes of one line of an answer, at most.
_LONGEST: Final = 64 * 1024
#: Bytes that are kept of what a worker prints.
_WORDS: Final = 2000
#: Seconds for what a worker said last to be read after its end, and for one to end that was killed.
_LAST_WORDS: Final = 0.2
_END_SECONDS: Final = 5.0
_PAUSE: Final = 0.02

_log = logging.getLogger(__name__)


class _Family:
    """The children of this process: which are workers, and how what they leave behind is told from others' orphans."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.is_parent = False
        self.mark = f"MOONFS_WORKER_OF={secrets.token_hex(8)}"


_family = _Family()


def adopt_orphans() -> None:
    """Become the parent of what workers leave behind, and its end; for a process that waits for no other children.

    Orphans of other programs, as the first process of a container gets them, are left alone and buried.
    """
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        _family.is_parent = True


class Child:
    """One process with three pipes.

    Attributes:
        pid: its number, and that of its session.
        answers: what it says on its standard output; it ends soon after the process has ended.
        exited: its code, negative for a signal.
    """

    def __init__(self, process: subprocess.Popen[bytes], stdin: int) -> None:
        self.pid = process.pid
        self.answers = asyncio.StreamReader(_LONGEST)
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._process = process
        self._stdin = stdin
        self._words = _Words()
        self._pipes: list[asyncio.BaseTransport] = []
        self._rest: asyncio.Future[None] | None = None

    @classmethod
    async def spawn(
        cls, command: Sequence[str], *, home: str, environment: Mapping[str, str], keep: Iterable[int] = ()
    ) -> Child:
        """Start a program in a session of its own.

        Args:
            command: the program and its arguments.
            home: its working directory.
            environment: all of its environment.
            keep: descriptors that it gets, under the same numbers.
        """
        ours, theirs = [-1, -1, -1], [-1, -1, -1]
        try:
            theirs[0], ours[0] = os.pipe()
            ours[1], theirs[1] = os.pipe()
            ours[2], theirs[2] = os.pipe()
            process = subprocess.Popen(
                command, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], cwd=home,
                env={**environment, **dict([_family.mark.split("=")])}, start_new_session=True, pass_fds=tuple(keep),
            )  # fmt: skip
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        _family.known.add(process.pid)
        os.set_blocking(ours[0], False)
        child = cls(process, ours[0])
        child._watch()
        try:
            await child._listen(*ours[1:])
        except BaseException:
            child._kill()
            raise
        return child

    def tell(self, line: bytes) -> bool:
        """Send a line; say whether there is anybody to read it. Lines are short, and read before the next one."""
        try:
            return self._stdin >= 0 and os.write(self._stdin, line) == len(line)
        except OSError:
            return False

    def words(self) -> str:
        """Return what it printed last, on one line."""
        return self._words.text()

    async def end(self) -> None:
        """Kill it and all that came of it, and return when it has ended; a process that hangs is left to the kernel."""
        self._kill()
        done, _ = await asyncio.wait((self.exited,), timeout=_END_SECONDS)
        self._leave()
        if not done:
            _log.warning("process %d does not end though it was killed: it waits for a disk", self.pid)
        elif self._rest is not None:
            await self._rest

    def _kill(self) -> None:
        if self.exited.done():
            return
        found = [self.pid, *_descendants(self.pid)]
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _leave(self) -> None:
        """Close the pipes, whoever else holds them."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        for pipe in self._pipes:
            pipe.close()
        self.answers.feed_eof()

    async def _listen(self, answers: int, words: int) -> None:
        loop = asyncio.get_running_loop()
        pipes: tuple[tuple[int, asyncio.Protocol], ...] = (
            (answers, asyncio.StreamReaderProtocol(self.answers)),
            (words, self._words),
        )
        for handle, protocol in pipes:
            transport, _ = await loop.connect_read_pipe(partial(_same, protocol), os.fdopen(handle, "rb", 0))
            self._pipes.append(transport)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or before 5.3
            threading.Thread(target=self._wait, args=(loop,), name="worker", daemon=True).start()
            return
        loop.add_reader(handle, self._ended, handle)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(self._ended, -1)

    def _ended(self, handle: int) -> None:
        code = self._process.poll()
        if code is None:
            return
        if handle >= 0:
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)
        _family.known.discard(self.pid)
        self._rest = asyncio.ensure_future(_end_orphans())
        self.exited.set_result(code)
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._leave)


class _Words(asyncio.Protocol):
    """Keeps the end of what a worker prints; a reader chooses it, so no line of it may look like one of the log."""

    def __init__(self) -> None:
        self._last = b""

    def data_received(self, data: bytes) -> None:
        self._last = (self._last + data)[-_WORDS:]

    def text(self) -> str:
        lines = self._last.decode("utf-8", "replace").split("\n")
        return ascii(" | ".join(line.strip() for line in lines if line.strip()))[1:-1]


async def _end_orphans() -> None:
    """Kill what workers have left behind, until nothing is left or it is plain that something does not end."""
    deadline = asyncio.get_running_loop().time() + _END_SECONDS
    while _family.is_parent and asyncio.get_running_loop().time() < deadline:
        orphans = [pid for pid in _children(os.getpid()) if pid not in _family.known and _is_left(pid)]
        for pid in orphans:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        if not orphans:
            return
        await asyncio.sleep(_PAUSE)


def _is_left(pid: int) -> bool:
    """Say whether a child is what a worker has left behind, or has ended and waits to be buried."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as stream:
            if stream.read().rpartition(b")")[2].split()[0] == b"Z":
                return True
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return _family.mark.encode() in stream.read().split(b"\0")
    return False


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in found:  # it grows
        found += [each for each in _children(child) if each not in found]
    return found


def _children(pid: int) -> list[int]:
    """Return the children of a process, those that its threads have started too; none where that cannot be seen."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as stream:
                found += map(int, stream.read().split())
    return found


def _same(protocol: asyncio.Protocol) -> asyncio.Protocol:
    return protocol


def _close(handles: Iterable[int]) -> None:
    for handle in handles:
        if handle >= 0:
            os.close(handle)
