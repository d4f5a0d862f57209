"""What a failing system call must say."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator


@contextlib.contextmanager
def fails(code: int) -> Iterator[None]:
    """Expect an OSError with exactly this errno."""
    try:
        yield
    except OSError as error:
        got = errno.errorcode.get(error.errno or 0, str(error))
        assert error.errno == code, f"{got} instead of {errno.errorcode[code]}"
    else:
        raise AssertionError(f"no error instead of {errno.errorcode[code]}")
