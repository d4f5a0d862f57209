"""`python -m moonfs.server`: the server as a child of a mount. People use `moonfs serve`.

**Threading:** the main thread.
"""

from __future__ import annotations

import argparse
import sys

from moonfs.server.command import start


def main() -> int:
    """Parse the arguments, serve, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m moonfs.server", description="Serve the local Files API.")
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory, made when it is not there")
    parser.add_argument("--socket", metavar="PATH", help="serve a UNIX socket here")
    parser.add_argument("--host", help="serve TCP on this address")
    parser.add_argument("--port", type=int, default=0, help="TCP port (default: a free one)")
    parser.add_argument("--exit-with-clients", action="store_true", help="end when no client holds its lock")
    parser.add_argument("--no-extraction", action="store_true", help="store every file as text (benchmarks)")
    arguments = parser.parse_args()
    if arguments.socket is None and arguments.host is None:
        parser.error("say where to serve: --socket, --host or both")
    return start(
        arguments.data,
        host=arguments.host,
        port=arguments.port,
        path=arguments.socket,
        exit_with_clients=arguments.exit_with_clients,
        extraction=not arguments.no_extraction,
    )


if __name__ == "__main__":
    sys.exit(main())
