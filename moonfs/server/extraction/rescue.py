r"""What was read of a document before its reader had to be ended: the text so far becomes a whole JSON string.

A reader that is killed may leave half a character or half of an escape such as `\u00`; that is taken off.

**Threading:** blocks on the disk; for a thread.
"""

from __future__ import annotations

import json
import os
import re
from typing import Final

from moonfs import wire
from moonfs.server.extraction.document import CUT

#: Bytes at the beginning in which there is a word, if there is any.
_HEAD: Final = 1 << 20
_TAIL: Final = 64
_HALF_AN_ESCAPE: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)$")


def rescue(path: str, why: str) -> bool:
    """Make the text at `path` whole, ending with the reason; say whether there is any.

    Args:
        path: what the reader has written so far; it may be missing.
        why: what ended it.

    Raises:
        OSError: the disk.
    """
    try:
        stream = open(path, "r+b")  # noqa: SIM115 - it is closed below
    except FileNotFoundError:
        return False
    with stream:
        head = stream.read(_HEAD)
        if not head.startswith(b'"') or not json.loads(f'{_whole(head)}"').strip():
            return False
        size = stream.seek(0, os.SEEK_END)
        # An escape that begins before the tail cannot be told from one within: the run of backslashes is read whole.
        start = max(0, size - _TAIL)
        while start:
            stream.seek(start - 1)
            if stream.read(1) != b"\\":
                break
            start -= 1
        stream.seek(start)
        tail = stream.read()
        while start and tail[:1] and tail[0] & 0xC0 == 0x80:  # the rest of a character
            tail, start = tail[1:], start + 1
        kept = _whole(tail).encode()
        stream.seek(start)
        stream.truncate()
        stream.write(kept + wire.dump(CUT.format(why=why))[1:])
    return True


def _whole(written: bytes) -> str:
    """Return the beginning of a JSON string without the half of a character or an escape at its end."""
    text = written.decode("utf-8", "ignore")
    half = _HALF_AN_ESCAPE.search(text)
    return text[: half.start(1)] if half else text
