"""Readers that go wrong on purpose; imported by workers of a server under test."""

import ctypes
import importlib
import os
import signal
import socket
import stat
import time

from moonfs.server.extraction.document import Document, NeedsOcr, Output


def hang(document: Document, output: Output) -> None:
    """Sleep for ever, deaf to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def spin(document: Document, output: Output) -> None:
    """Use the CPU for ever."""
    while True:
        pass


def burn(document: Document, output: Output) -> None:
    """Use 0.7 s of CPU, then say how much this worker has used in all."""
    end = time.process_time() + 0.7
    while time.process_time() < end:
        pass
    output.add(f"{time.process_time()}")


def crash(document: Document, output: Output) -> None:
    """Die of a segmentation fault."""
    ctypes.string_at(0)


def swallow(document: Document, output: Output) -> None:
    """Take all the memory there is."""
    taken = []
    while True:
        taken.append(bytearray(64 * 1024**2))


def print_much(document: Document, output: Output) -> None:
    """Print what a careless library may print, then answer."""
    os.write(1, b'{"verdict": "text", "resident": 0}\n' * 100)
    output.add("printed")


def wait_for_gate(document: Document, output: Output) -> None:
    """Come to the FIFO that the document names, and read what somebody writes there."""
    with open(document.path, encoding="utf-8") as stream:
        gate = stream.read()
    with open(gate, encoding="utf-8") as stream:
        output.add(stream.read())


def environment(document: Document, output: Output) -> None:
    """Tell what a worker has: its home."""
    output.add(f"home {os.environ['HOME']}\n")


def pages(document: Document, output: Output) -> None:
    """Tell of three pages of ten, then wait at the gate."""
    document.report(3, 10)
    wait_for_gate(document, output)


def dial(document: Document, output: Output) -> None:
    """Try to open a socket of the family that the document names, as Python code and as any other does."""
    with open(document.path, encoding="utf-8") as stream:
        family = int(stream.read())
    try:
        socket.socket(family).close()
        output.add("python: opened\n")
    except PermissionError as error:
        output.add(f"python: {error.strerror}\n")
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.socket(family, 1, 0)
    output.add(f"libc: {os.strerror(ctypes.get_errno()) if number < 0 else 'opened'}\n")


def chatter(document: Document, output: Output) -> None:
    """Print what would look like another's line in a log, then end."""
    os.write(2, b"x" * 200_000 + b"\n\x1b[31m2026-01-01 ERROR moonfs.server: all is lost\n")
    os._exit(3)


def babble(document: Document, output: Output) -> None:
    """Answer, in the worker's place, what the document says."""
    with open(document.path, "rb") as stream:
        os.write(_answers(), stream.read())
    time.sleep(3600)


def holder(document: Document, output: Output) -> None:
    """Leave a child behind that has a session of its own and holds all pipes for a minute, then wait for ever."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    time.sleep(3600)


def _answers() -> int:
    """Return the descriptor that the worker answers by: a pipe that is neither its input nor its errors."""
    kinds = {each: os.fstat(each) for each in range(3, 64) if _is_open(each)}
    return next(each for each, status in kinds.items() if stat.S_ISFIFO(status.st_mode))


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


def dawdle(document: Document, output: Output) -> None:
    """Write a line, then do something for ever without a look at the clock."""
    output.line("the first line")
    while True:
        time.sleep(0.01)


def stall(document: Document, output: Output) -> None:
    """Write what the document says, as far as it is flushed, then hang where no signal comes through."""
    with open(document.path, encoding="utf-8") as stream:
        output.add(stream.read())
    output.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    while True:
        time.sleep(3600)


def stall_spin(document: Document, output: Output) -> None:
    """Write what the document says, then use the CPU for ever where no signal comes through."""
    with open(document.path, encoding="utf-8") as stream:
        output.add(stream.read())
    output.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    while True:
        pass


def stumble(document: Document, output: Output) -> None:
    """Write a line, then come upon something that is broken."""
    output.line("the first line")
    int("no number")


def swallow_late(document: Document, output: Output) -> None:
    """Write a line, then take all the memory there is."""
    output.line("the first line")
    swallow(document, output)


def unsure(document: Document, output: Output) -> None:
    """Write a line, then leave the rest to others for as long as it is read by those for small documents."""
    output.line(f"read by pid {os.getpid()}")
    document.budget.recognise(20_000_000)
    if document.recognise is None or document.budget.is_small:
        raise NeedsOcr


def large_gate(document: Document, output: Output) -> None:
    """Leave it to the workers for what is large, and wait at the gate there."""
    document.budget.foresee(20_000_000)
    wait_for_gate(document, output)


def ocr_dawdle(document: Document, output: Output) -> None:
    """Do something for ever where small documents are read; elsewhere, write a line."""
    while document.budget.is_small:
        time.sleep(0.01)
    output.line("read in the end")


def hasty_svg(document: Document, output: Output) -> None:
    """Read a drawing as any other, but give who draws it a second of CPU instead of twenty."""
    if document.recognise is not None:
        importlib.import_module("moonfs.server.extraction.drawing").__dict__["_CPU_SECONDS"] = 1
    importlib.import_module("moonfs.server.extraction.svg").read(document, output)
