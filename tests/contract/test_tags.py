"""Every line of the contract says where it is known from, and which `--api` it belongs to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: DOC the vendor's page, LIVE a published answer, SRC a client's source, INF inferred; or nobody knows.
TAG = re.compile(r"\b(DOC|LIVE|SRC|INF)\b|\b[Uu]nknown\b")


@pytest.mark.parametrize("module", ["test_calls.py", "test_contents.py", "test_refusals.py"])
def test_each_test_has_its_tag(module: str) -> None:
    tree = ast.parse((HERE / module).read_text(encoding="utf-8"))
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert tests
    assert [test.name for test in tests if not TAG.search(ast.get_docstring(test) or "")] == []
    assert [test.name for test in tests if len(marks(test)) != 1] == []


def marks(test: ast.FunctionDef) -> set[str]:
    """Return of which time a test says that it is."""
    return {mark.id for mark in test.decorator_list if isinstance(mark, ast.Name)} & {"BEFORE", "SINCE", "BOTH"}
