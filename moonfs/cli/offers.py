"""What a shell's Tab key offers for the words of a command: directories, mounted drives, names on a drive.

It looks at the mount table, and at a drive for a moment only: whoever presses Tab waits for it.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import click
from click.shell_completion import CompletionItem

from moonfs import mountpoints
from moonfs.errors import UsageError

#: The type of an item whose value is a path or a file name, which the shells quote. `dir` and `file` are click's: the
#: shell looks by itself.
NAME: Final = "name"


def directories(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer directories."""
    return [CompletionItem(begun, type="dir")]


def drives(_context: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the mounted drives, spelled as the word was begun: from the home, the working directory or the root."""
    head = begun[: begun.rfind("/") + 1]
    above = os.path.realpath(os.path.expanduser(head) or os.curdir)
    found = []
    for point in mountpoints.ours():
        inner = os.path.relpath(point, above)
        if inner == os.curdir or inner.startswith(f"{os.pardir}/"):
            inner = "" if begun else point
        if inner and f"{head}{inner}".startswith(begun):
            found.append(CompletionItem(f"{head}{inner}", type=NAME))
    return found


def drives_and_files(context: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the mounted drives, and what is on one of them once its path is written."""
    found = drives(context, param, begun)
    return found or ([CompletionItem(begun, type="file")] if "/" in begun and mountpoints.holding(begun) else [])


def files_of(argument: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what offers the names on the drive that the command's `argument` names, once each."""

    def names(context: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        if "/" in begun:
            return [CompletionItem(begun, type="file")]
        point = context.params.get(argument)
        try:
            found = mountpoints.files(os.path.expanduser(point)) if isinstance(point, str) else []
        except UsageError:
            return []
        chosen = context.params.get(param.name or "") or ()
        return [CompletionItem(name, type=NAME) for name in found if name.startswith(begun) and name not in chosen]

    return names
