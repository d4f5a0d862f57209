"""Programs that a test needs beside Python; `scripts/setup.sh` installs them for `scripts/test`."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*programs: str) -> None:
    """Skip where one of these is not installed, or fail where nothing may be skipped."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        reason = f"not installed: {' '.join(missing)}"
        if os.environ.get("MOONFS_REQUIRE_FUSE"):
            pytest.fail(reason)
        pytest.skip(reason)
