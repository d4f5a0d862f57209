"""Whose turn it is: how urgent a request to the service is.

**Threading:** the urgency of a ticket may rise at any time.
"""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """Who waits for a request; the lowest goes first."""

    READER = 0
    WRITER = 1
    AHEAD = 2


class Ticket:
    """One call's place among the requests."""

    def __init__(self, urgency: Urgency = Urgency.READER) -> None:
        self.urgency = urgency
