"""The bytecode of the readers and their libraries, which a confined worker cannot write: written beforehand, once.

Some installers leave it to the first import. Then a process without a document and without walls imports what readers
import, lest every worker compile it anew, which takes longer than most documents do.

**Threading:** `prime` runs in an event loop; the module, as a program, has one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Final

from moonfs.server.extraction.processes import Child

_SECONDS: Final = 300.0
#: Libraries of Python code that readers import; the largest, and what `ocr` imports late.
_LIBRARIES: Final = ("PIL", "numpy", "onnxruntime", "openpyxl", "pptx", "pypdfium2", "rapidocr")


async def prime(home: str) -> None:
    """Have the bytecode written if some is missing that can be written; `home` is an existing directory."""
    if not any(map(_lacks, _LIBRARIES)):
        return
    path = os.pathsep.join(filter(None, sys.path))
    environment = {"PATH": os.defpath, "HOME": home, "LANG": "C.UTF-8", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "moonfs.server.extraction.priming"]
    child = await Child.spawn(command, home=home, environment=environment)
    try:
        await asyncio.wait((child.exited,), timeout=_SECONDS)
    finally:
        await child.end()


def _lacks(library: str) -> bool:
    """Say whether a library has no bytecode yet, though it could have."""
    try:
        found = find_spec(library)
        source = None if found is None else found.origin
        if source is None or os.path.exists(cache_from_source(source)):
            return False
        return os.access(os.path.dirname(source), os.W_OK)
    except (ImportError, ValueError, NotImplementedError):
        return False


def main() -> None:
    """Import all readers, and what they import."""
    os.nice(19)
    here = Path(__file__).parent
    for name in (*_LIBRARIES, *(f"moonfs.server.extraction.{path.stem}" for path in sorted(here.glob("*.py")))):
        with contextlib.suppress(Exception):  # each reader says by itself what it lacks
            importlib.import_module(name)


if __name__ == "__main__":
    main()
