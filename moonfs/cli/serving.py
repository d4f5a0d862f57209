"""`moonfs serve`.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from moonfs import keys, packages
from moonfs.cli import offers
from moonfs.cli.numbers import Number, Whole
from moonfs.config import Directories, close_to_others, make_private
from moonfs.server import cors
from moonfs.server.behaviour import GROUPS, SWITCHES, Behaviour


class _Grouped(click.Command):
    """A command whose help shows the switches by what they are about."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list for what is about this machine, and one for each group."""
        titles = {switch.name: title for title, group in GROUPS.items() for switch in group}
        lists: dict[str, list[tuple[str, str]]] = {"Options": [], **{title: [] for title in GROUPS}}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                lists[titles.get(param.name or "", "Options")].append(record)
        for title, records in lists.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _switches(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of the local server's behaviour."""
    for switch in reversed(SWITCHES):
        high = None if switch.high == SWITCHES[-1].high else switch.high  # which nobody reaches
        kinds: dict[Any, Any] = {
            int: Whole(int(switch.low), None if high is None else int(high)),
            float: Number(switch.low, high),
            str: str,
        }
        if switch.kind is bool:
            option = click.option(switch.flag, is_flag=True, help=switch.help)
        else:
            kind = click.Choice(switch.kind) if isinstance(switch.kind, tuple) else kinds[switch.kind]
            shown = switch.default not in (None, "", 0)
            option = click.option(
                switch.flag, type=kind, default=switch.default, show_default=shown, metavar=switch.metavar or None,
                help=switch.help,
            )  # fmt: skip
        command = option(command)
    return command


@click.command(cls=_Grouped, short_help="Run the local Files API.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=Whole(0, 65535), default=8787, show_default=True, help="Port; 0 picks one.")
@click.option(
    "--data",
    metavar="DIR",
    default=None,
    shell_complete=offers.directories,
    help="Where the files are kept (default: moonfs/local in the XDG data directory).",
)
@click.option(
    "--account",
    "accounts",
    metavar="NAME",
    multiple=True,
    help="Serve one more account, with a key and files of its own; it stays.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    help="Answer requests for this host name too, as from a proxy or a container; on loopback only localhost and "
    "addresses are answered.",
)
@click.option(
    "--cors",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="Let pages of this origin, such as http://localhost:3000, read the answers; they need a key all the same.",
)
@_switches
def serve(
    *,
    host: str,
    port: int,
    data: str | None,
    accounts: tuple[str, ...],
    allowed_hosts: tuple[str, ...],
    origins: tuple[str, ...],
    **switches: Any,
) -> None:
    """Run the local Files API: the service's endpoints, text extraction and OCR on this machine.

    Any client of the hosted service works against it with its base URL and key; so does moonfs mount --local DIR.
    GET /healthz tells what it does, GET /openapi.json what it can be asked; GET /ms/ID gives the image or video that a
    chat refers to as ms://ID. A new key is made when its file was removed.

    It answers as the hosted service is documented today; --api 2026-03 makes it that of before, and one switch for each
    fact goes before --api. What nobody outside knows can be switched too, so that a program can be tried against either
    answer.
    """
    from moonfs.server.command import serve_command  # noqa: PLC0415

    packages.check_local()
    keys.leave_environment()
    directories = Directories.from_environment(os.environ)
    data = data or str(directories.data / "local")
    try:
        behaviour = Behaviour.of(switches)
        origins = tuple(cors.check(origin) for origin in origins)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    close_to_others(directories)
    runtime = str(make_private(directories.runtime))
    more = {"accounts": accounts, "allowed_hosts": allowed_hosts, "origins": origins}
    sys.exit(serve_command(host, port, data, runtime, behaviour=behaviour, **more))
