"""Bars of what takes long: what is said beside them does not push them off the line."""

from __future__ import annotations

import io

from rich.console import Console

from moonfs.cli.progress import bar_of_texts


def test_a_long_trouble_leaves_the_bar_of_texts() -> None:
    """It is a line of its own, cut where the terminal ends."""
    bar = bar_of_texts()
    task = bar.add_task("", total=40)
    bar.update(task, completed=7, description="the service takes no more requests for now: " * 5)
    console = Console(file=io.StringIO(), width=80)
    console.print(bar.get_renderable())
    assert isinstance(console.file, io.StringIO)
    first, second, *rest = console.file.getvalue().splitlines()
    assert "━" in first and "7/40 texts" in first
    assert second.startswith("the service takes") and second.endswith("…") and not rest
    bar.update(task, description="")
    console.file.truncate(0)
    console.print(bar.get_renderable())
    assert "the service" not in console.file.getvalue()
