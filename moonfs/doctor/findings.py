"""What one look of the doctor has found.

**Threading:** immutable.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: This user's name, in a line for a shell; USER is not set everywhere, and sudo sets it anew.
ME: Final = '"$(id -un)"'


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"  # nothing is broken; worth knowing
    WARNING = "warning"  # works now, and something will not
    FAILED = "failed"  # what was asked for cannot work


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Attributes:
        about: what was looked at, in a word or two.
        state: how bad it is.
        found: what was seen.
        fix: the line of a shell that mends it, with what only a person can choose in capitals; empty where none does.
    """

    about: str
    state: State
    found: str
    fix: str = ""
