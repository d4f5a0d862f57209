"""A process that has other processes begin to write files, and kills them: one for each line of JSON.

It is started by its path, before anything of a drive is open in whoever starts it: a process that is forked beside an
open file closes it too, which makes safe what has come by then (W1), and is no kill.

**Threading:** one thread, one victim at a time; it ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def write(path: str, data: bytes, opened: int) -> None:
    """Open, say so, write and close."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(opened, b".")
    os.write(fd, data)
    os.close(fd)


if __name__ == "__main__":
    for line in sys.stdin:
        path, text, seconds = json.loads(line)
        reading, writing = os.pipe()
        victim = os.fork()
        if victim == 0:
            try:
                write(path, text.encode(), writing)
            finally:
                os._exit(0)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        time.sleep(seconds)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        print(flush=True)
