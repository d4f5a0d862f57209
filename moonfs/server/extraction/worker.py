"""One worker: a job comes in as a line of JSON; text goes into a file that is open; progress and verdict out as lines.

Started by `lanes`, as `python -m`, never forked. It ends when its input ends. Whatever a reader raises is a
broken document; whatever ends this process is the server's to tell.

**Threading:** one thread, one job at a time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mimetypes
import os
import sys
import time
from collections.abc import Callable
from typing import IO, Any, Final

from moonfs.server.extraction.confinement import allow_cpu, confine, resident_bytes
from moonfs.server.extraction.document import Document, Full, NeedsOcr, NoText, Output, Why

#: Seconds between two reports of progress, at least.
_REPORT_SECONDS: Final = 0.2


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
) -> dict[str, str]:
    allow_cpu(job["cpu"])
    document = Document(job["path"], job["extension"], recognise, time.monotonic() + job["seconds"], report)
    try:
        os.ftruncate(target, 0)
        os.lseek(target, 0, os.SEEK_SET)
        with open(target, "wb", closefd=False) as stream:
            output = Output(stream)
            try:
                _reader(job["reader"])(document, output)
            except Full:
                pass
            output.close()
        return {"verdict": "text"} if output.has_text else {"verdict": "no text", "why": Why.EMPTY}
    except NeedsOcr:
        return {"verdict": "needs ocr"}
    except MemoryError:
        return {"verdict": "failed", "why": "it needs too much memory"}
    except NoText as error:
        return {"verdict": "no text", "why": error.why}
    except OSError as error:
        if error.filename is None and error.errno is None:  # Pillow says "broken picture" so
            return {"verdict": "no text", "why": Why.CORRUPT, "detail": type(error).__name__}
        return {"verdict": "failed", "why": error.strerror or type(error).__name__}
    except Exception as error:  # noqa: BLE001 - whatever a parser says of a document, it is broken
        return {"verdict": "no text", "why": Why.CORRUPT, "detail": type(error).__name__}


def _reader(name: str) -> Callable[[Document, Output], None]:
    module, _, function = name.partition(":")
    read: Callable[[Document, Output], None] = getattr(importlib.import_module(module), function)
    return read


if __name__ == "__main__":
    main()
