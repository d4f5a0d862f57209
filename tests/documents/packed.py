"""What unpacks to far more than it is, made in a moment: zlib's stream of a repetition, of which one part is packed.

It is no bomb by itself: the tests that need one put it into a PNG, a PDF, a zip.
"""

from __future__ import annotations

import struct
import zlib

_ADLER = 65521


def repeated(part: bytes, times: int) -> bytes:
    """Return the zlib stream of `part * times`; after a full flush, the same bytes are packed to the same bytes."""
    packer = zlib.compressobj(9)
    first, again = (packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    end = packer.flush()[:-4]
    of_part = zlib.adler32(part)
    low, high = 1, 0
    for _ in range(times):  # as RFC 1950 defines it: sums of the bytes, and sums of the sums
        high = (high + (of_part >> 16) + len(part) * (low - 1)) % _ADLER
        low = (low + (of_part & 0xFFFF) - 1) % _ADLER
    return first + again * (times - 1) + end + struct.pack(">HH", high, low)
