"""One worker: a job comes in as a line of JSON; text goes into a file that is open; progress and verdict out as lines.

Started by `lanes`, as `python -m`, never forked. It ends when its input ends. Whatever a reader raises is a
broken document, of which is kept what was read by then; so it is when the time is up. Whatever ends this process is
the server's to tell.

**Threading:** one thread, one job at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import importlib
import json
import mimetypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from moonfs.server.extraction.confinement import allow_cpu, confine, resident_bytes
from moonfs.server.extraction.document import Budget, Document, Full, Late, NeedsOcr, NoText, Output, Why

if TYPE_CHECKING:
    from PIL.Image import Image

#: Seconds between two reports of progress, at least.
_REPORT_SECONDS: Final = 0.2
#: How much later than it was asked to a reader is made to stop; the server ends a worker at 1.25 times.
_GRACE: Final = 1.1
_AGAIN_SECONDS: Final = 0.5
#: What is wrong with this machine, not with a document.
_OURS: Final = frozenset(
    (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)


def main() -> None:
    """Serve jobs until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--output", type=int, required=True)
    parser.add_argument("--spared", required=True)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--ocr", action="store_true")
    arguments = parser.parse_args()
    # What a library prints must not become an answer.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    os.nice(arguments.nice)
    confined = confine(arguments.memory, arguments.parent, os.getcwd(), arguments.spared)
    sys.dont_write_bytecode = True  # it could not
    mimetypes.knownfiles.clear()  # it could not read them, and a document's parts do not depend on this machine's
    recognise = None
    if arguments.ocr:
        recognise = importlib.import_module("moonfs.server.extraction.ocr").Recogniser().text
    for line in sys.stdin.buffer:
        answers.write(b"taken\n")
        verdict = _serve(json.loads(line), arguments.output, recognise, _Progress(answers))
        _answer(answers, {**verdict, "resident": resident_bytes(confined.statm)})


class _Progress:
    """Tells the server how far a document is read, now and then."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_SECONDS
            _answer(self._answers, {"done": done, "total": total})


def _answer(answers: IO[bytes], value: dict[str, Any]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")


def _serve(
    job: dict[str, Any], target: int, recognise: Callable[..., str] | None, report: Callable[[int, int], None]
) -> dict[str, Any]:
    allow_cpu(job["cpu"])
    budget = Budget(os.path.getsize(job["path"]), is_small=job.get("small", False))
    ends = time.monotonic() + job["seconds"]
    try:
        os.ftruncate(target, 0)
        os.lseek(target, 0, os.SEEK_SET)
        with open(target, "wb", closefd=False) as stream:
            output = Output(stream)
            look = None if recognise is None else _recognising(recognise, budget, output)
            verdict = _read(job, Document(job["path"], job["extension"], look, ends, report, budget), output)
            output.close()
        return (
            {**verdict, "verdict": "text"} if output.has_text else {"why": Why.EMPTY, **verdict, "verdict": "no text"}
        )
    except NeedsOcr:
        return {"verdict": "needs ocr"}
    except NoText as error:
        return {"verdict": "no text", "why": error.why}
    except OSError as error:
        return {"verdict": "failed", "why": error.strerror or type(error).__name__}


def _read(job: dict[str, Any], document: Document, output: Output) -> dict[str, Any]:
    """Have a document read, and return what there is to say of it; whatever goes wrong, what was read is kept."""
    try:
        with _alarm(job["seconds"] * _GRACE, output):
            _reader(job["reader"])(document, output)
    except Full:
        return {}
    except Late:
        if document.budget.is_small:
            raise NeedsOcr from None
        output.note_cut("reading it took too long")
        return {"why": Why.LATE, "worn": True}  # who knows in the midst of what
    except NeedsOcr:
        raise
    except NoText as error:
        if error.why != Why.TOO_LARGE or not output.has_text:
            raise
        output.note_cut(f"the rest of it is left out, as {error.why}")
    except MemoryError:
        output.note_cut("reading the rest of it needs too much memory")
        return {"why": Why.MEMORY, "worn": True}
    except Exception as error:
        # Whatever a parser says of a document, it is broken; and where it makes one seek to before its beginning, the
        # kernel says so.
        if isinstance(error, OSError) and (error.errno in _OURS or error.filename == document.path):
            raise
        output.note_cut("the rest of it is damaged")
        return {"why": Why.CORRUPT, "detail": type(error).__name__}
    return {}


@contextlib.contextmanager
def _alarm(seconds: float, output: Output) -> Iterator[None]:
    """Raise Late in what is done here when the time is up, again and again should somebody have swallowed it."""
    is_over = False

    def ring(_number: int, _frame: object) -> None:
        if not is_over and not output.is_writing:
            raise Late

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)


def _recognising(recognise: Callable[..., str], budget: Budget, output: Output) -> Callable[[Image], str]:
    """Return what recognises the pictures of one document: within its budget, and none twice."""
    known: dict[bytes, str] = {}

    def text(picture: Image) -> str:
        output.flush()
        key = hashlib.sha256(b"%d %d " % picture.size + picture.tobytes()).digest()
        if key not in known:
            known[key] = recognise(picture, budget.recognise)
        return known[key]

    return text


def _reader(name: str) -> Callable[[Document, Output], None]:
    module, _, function = name.partition(":")
    read: Callable[[Document, Output], None] = getattr(importlib.import_module(module), function)
    return read


if __name__ == "__main__":
    main()
