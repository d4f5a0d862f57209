"""In which order the commands are shown: as people need them, not by the alphabet.

`--help`, the Tab key and the man page ask here. A command that `KINDS` does not name is shown with the last of them.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

#: What commands are for, and which these are, what is needed first at the top.
KINDS: Final = (
    ("Every day", ("mount", "umount", "status", "sync", "prefetch", "refresh")),
    ("Setting up", ("key", "config", "service", "desktop", "completion")),
    ("Trouble", ("doctor", "logs", "tidy")),
    ("More", ("serve", "manual")),
)


#: What people call what moonfs calls otherwise.
MEANT: Final = {
    "unmount": "umount",
    "eject": "umount",
    "list": "status",
    "ls": "status",
    "info": "status",
    "version": "--version",
    "man": "manual",
    "login": "key set",
}


class InOrder(click.Group):
    """A group whose commands are shown in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(self.commands)


class ByKind(InOrder):
    """The group of all commands, shown by what they are for."""

    def kinds(self) -> Iterator[tuple[str, list[click.Command]]]:
        """Yield each kind that has commands, with those of them that are shown."""
        named = {name for _, names in KINDS for name in names}
        others = [name for name in self.commands if name not in named]
        for title, names in KINDS:
            all_of_it = [*names, *(others if title == KINDS[-1][0] else [])]
            found = [self.commands[name] for name in all_of_it if name in self.commands]
            if shown := [command for command in found if not command.hidden]:
                yield title, shown

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [str(command.name) for _, commands in self.kinds() for command in commands]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; for one that is none, say what is meant.

        Raises:
            click.UsageError: there is no such command.
        """
        word = args[0] if args else ""
        if word not in self.commands:
            if word == "help":
                about = f"{args[1]} " if len(args) > 1 and args[1] in self.commands else ""
                ctx.fail(f"No such command 'help'. It is: moonfs {about}--help")
            if word in MEANT:
                ctx.fail(f"No such command {word!r}. It is: moonfs {MEANT[word]}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list for each kind; all of them with the same columns."""
        wide = max(map(len, self.list_commands(ctx)), default=0)
        for title, commands in self.kinds():
            with formatter.section(title):
                formatter.write_dl([(str(each.name).ljust(wide), each.get_short_help_str(90)) for each in commands])
