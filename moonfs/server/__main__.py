"""`python -m moonfs.server`: the server as a child of a mount. People use `moonfs serve`.

**Threading:** the main thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from moonfs.server.behaviour import SWITCHES, Behaviour, Switch
from moonfs.server.command import start


def main() -> int:
    """Parse the arguments, serve, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m moonfs.server", description="Serve the local Files API.")
    parser.add_argument("--data", required=True, metavar="DIR", help="Data directory, made when it is not there.")
    parser.add_argument("--socket", metavar="PATH", help="Serve a UNIX socket here.")
    parser.add_argument("--host", help="Serve TCP on this address.")
    parser.add_argument("--port", type=int, default=0, help="TCP port (default: a free one).")
    parser.add_argument("--exit-with-clients", action="store_true", help="End when no client holds its lock.")
    parser.add_argument("--no-extraction", action="store_true", help="Store every file as text (benchmarks).")
    parser.add_argument(
        "--account", action="append", default=[], metavar="NAME", help="Serve one more account; it stays."
    )
    for switch in SWITCHES:
        parser.add_argument(switch.flag, **_options(switch))
    arguments = parser.parse_args()
    if arguments.socket is None and arguments.host is None:
        parser.error("say where to serve: --socket, --host or both")
    try:
        behaviour = Behaviour.of({switch.name: getattr(arguments, switch.name) for switch in SWITCHES})
    except ValueError as error:
        parser.error(str(error))
    return start(
        arguments.data,
        host=arguments.host,
        port=arguments.port,
        path=arguments.socket,
        exit_with_clients=arguments.exit_with_clients,
        extraction=not arguments.no_extraction,
        behaviour=behaviour,
        accounts=arguments.account,
    )


def _options(switch: Switch) -> dict[str, Any]:
    """Return what argparse has to know of a switch."""
    if switch.kind is bool:
        return {"action": "store_true", "help": switch.help}
    more = {"default": switch.default, "metavar": switch.metavar or None, "help": switch.help}
    if isinstance(switch.kind, tuple):
        return {**more, "choices": switch.kind}
    return {**more, "type": str if switch.kind is str else _number(switch)}


def _number(switch: Switch) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value: float = switch.kind(text)
        except ValueError:
            value = switch.low - 1
        if not switch.low <= value <= switch.high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {switch.low:,} to {switch.high:,}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
