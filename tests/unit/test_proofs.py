"""How long a text that cannot be had is asked for (W3)."""

from __future__ import annotations

from typing import Any

import pytest

from moonfs import proofs
from moonfs.errors import MoonfsError, NotReady, RateLimited, ServiceError
from moonfs.proofs import SENSELESS, UNREADY, Proofs
from moonfs.wire import FileObject

FILE = FileObject(id="f", filename="a.txt", bytes=20, created_at=10)


class Asked:
    """An account whose texts cannot be had, and a clock; `ask` returns where a text counts as none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(proofs.time, "monotonic", lambda: self.now)
        account: Any = self
        self._proofs = Proofs(account, account, account, lambda _name: False)

    def plain_text(self, file: FileObject) -> bytes:
        raise self._error

    def ask(self, when: float, error: MoonfsError) -> None:
        self.now, self._error = when, error
        with pytest.raises(type(error)):
            self._proofs.text(FILE)
        self._proofs.bear(FILE, error)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.mark.parametrize("passing", [NotReady("not yet"), RateLimited("too many", status=429)], ids=["made", "refused"])
def test_one_failure_after_a_long_wait_is_one(asked: Asked, passing: MoonfsError) -> None:
    """W3: while it is being made nothing says that there is none; the seconds begin with the first senseless answer."""
    broken = ServiceError("broken", status=500)
    for when in (0.0, 5.0, 10.0):
        with pytest.raises(type(passing)):
            asked.ask(when, passing)
    with pytest.raises(ServiceError):
        asked.ask(12.0, broken)
    asked.ask(12.0 + SENSELESS, broken)


def test_each_doubt_has_an_end(asked: Asked) -> None:
    """W3: also where the two take turns."""
    when = 0.0
    while when < UNREADY:
        with pytest.raises(NotReady):
            asked.ask(when, NotReady("not yet"))
        with pytest.raises(ServiceError):
            asked.ask(when + 1, ServiceError("broken", status=500))
        when += 2
    asked.ask(when, NotReady("not yet"))
