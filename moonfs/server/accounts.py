"""The accounts of one server: a key each, and files of their own that no other key reaches.

    DATA/key                    of the first account, whose files are in DATA itself
    DATA/accounts/NAME/key      of another; its files are there, laid out as those of the first

A key that was given away is replaced by removing its file before the server starts: a new one is made.

**Threading:** made and closed by the main thread; `find` reads what does not change.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from moonfs.server.address import ACCOUNTS, create_key, make_private
from moonfs.server.behaviour import Behaviour
from moonfs.server.directory import DataDirectory, DirectoryError
from moonfs.server.store import Store

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its name (empty for the first), its key, its files."""

    name: str
    key: str
    store: Store


class Accounts:
    """Those that one server serves.

    Args:
        accounts: at least one.
    """

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._accounts = tuple(accounts)
        self._expected = [(account.key.encode(), account) for account in accounts]

    def __len__(self) -> int:
        return len(self._accounts)

    def find(self, authorization: bytes) -> Account | None:
        """Return the account whose key an `Authorization` header carries; in a time that tells nothing of any key.

        RFC 9110, 11.1: the scheme, `Bearer`, is in any case.
        """
        scheme, _, key = authorization.partition(b" ")
        found = None
        for expected, account in self._expected:
            if hmac.compare_digest(key.lstrip(b" "), expected) and scheme.lower() == b"bearer":
                found = account
        return found


def open_accounts(directory: DataDirectory, names: Iterable[str], behaviour: Behaviour, stack: ExitStack) -> Accounts:
    """Open the first account, those that are there already, and those of `names`, made when they are not there.

    Args:
        directory: the locked data directory.
        stack: closes them.

    Raises:
        DirectoryError: a name is none, or files cannot be used.
    """
    parent = directory.join(ACCOUNTS)
    present = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
    present = [name for name in present if _NAME.fullmatch(name) and os.path.isdir(os.path.join(parent, name))]
    accounts = [_open("", directory, behaviour, stack)]
    for name in dict.fromkeys((*present, *names)):
        if not _NAME.fullmatch(name):
            raise DirectoryError(
                f"{name!r} is no name of an account: lower-case letters, digits and '-', 32 at most, "
                "beginning with a letter or a digit"
            )
        path = os.path.join(parent, name)
        make_private(parent)
        own = DataDirectory(path)
        stack.callback(own.close)
        accounts.append(_open(name, own, behaviour, stack))
    return Accounts(accounts)


def _open(name: str, directory: DataDirectory, behaviour: Behaviour, stack: ExitStack) -> Account:
    store = Store(directory, behaviour)
    stack.callback(store.close)
    return Account(name, create_key(directory.path), store)
