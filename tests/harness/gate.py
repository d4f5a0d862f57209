"""Faults that stop a request until the test lets it go on: the moments at which things are pulled apart."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.faults.server import Turn
from tests.harness.drive import SECONDS


class Gate:
    """Holds one request. `before` stops it before the service does anything, `after` when only the answer is left.

    Attributes:
        arrived: set when the request stands at the gate.
        opened: set by the test.
    """

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def before(self, turn: Turn) -> None:
        """Read the request, wait, then serve it."""
        turn.read()
        self._pass(turn)
        turn.send(turn.serve())

    def refusing(self, refusal: Callable[[Turn], None]) -> Callable[[Turn], None]:
        """Read the request, wait, then refuse it."""

        def fault(turn: Turn) -> None:
            turn.read()
            self._pass(turn)
            refusal(turn)

        return fault

    def after(self, turn: Turn) -> None:
        """Serve the request, wait, then answer."""
        reply = turn.serve()
        self._pass(turn)
        turn.send(reply)

    def wait(self) -> None:
        """Return when the request stands at the gate."""
        assert self.arrived.wait(SECONDS), "no request came"

    def _pass(self, turn: Turn) -> None:
        self.arrived.set()
        while not self.opened.wait(0.05) and not turn.server.ending.is_set():
            pass
