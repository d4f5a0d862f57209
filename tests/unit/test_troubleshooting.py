"""The section "Troubleshooting" of the README: what it quotes is what people see, and no errno is left out."""

from __future__ import annotations

import ast
import errno
import os
import re
from functools import cache
from pathlib import Path

import pytest

import moonfs
from moonfs.cli import cli
from moonfs.operations import ERRNO

PACKAGE = Path(moonfs.__file__).parent
README = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
_SECTION = re.search(r"^## Troubleshooting\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
assert _SECTION is not None
SECTION = _SECTION[1]
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in SECTION.splitlines()
    if line.startswith("|") and not line.startswith(("| message |", "|---"))
]
QUOTED = [quoted for row in ROWS for quoted in re.findall(r"`([^`]+)`", row[0])]
STRERRORS = {os.strerror(code) for code in errno.errorcode}


@cache
def said() -> list[str]:
    """Return every text in moonfs's sources but docstrings, `…` in the place of what is filled in."""
    found = []
    for source in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                found.append(node.value)
    return found


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_is_what_people_see(quoted: str) -> None:
    """A message of the system's, or one that stands in the sources: who searches for it finds its row."""
    assert quoted in STRERRORS or any(quoted in text for text in said()), f"nothing says {quoted!r}"


def test_a_message_that_nobody_says_is_seen() -> None:
    """The test of the test."""
    assert not any("No API key at all" in text for text in said()) and "No such message" not in STRERRORS
    assert len(QUOTED) > 30


@pytest.mark.parametrize("code", sorted(set(ERRNO.values())), ids=lambda code: errno.errorcode[code])
def test_every_errno_has_a_row(code: int) -> None:
    """Errors: whatever the drive answers with is explained, by the words that a program prints and by its name."""
    name = "ENOTSUP" if code == errno.ENOTSUP else errno.errorcode[code]
    assert any(f"`{os.strerror(code)}` ({name})" in row[0] for row in ROWS), (
        f"no row for {os.strerror(code)!r} ({name})"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:30] or row[1][:30])
def test_each_row_says_what_to_do(row: tuple[str, ...]) -> None:
    """Errors: what happened, and what to do; commands of ours that are named are there."""
    assert len(row) == 3 and row[1] and row[2], row
    for command in re.findall(r"`moonfs (\w+)", " ".join(row)):
        assert command in cli.commands, f"there is no moonfs {command}"
