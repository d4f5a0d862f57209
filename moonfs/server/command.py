"""`moonfs serve` and `python -m moonfs.server`: starts a server, or says in one sentence why it cannot.

Everything that needs the extra `local` is imported here and only when a server is started, so that a mount of
the hosted service works without it.

**Threading:** the main thread.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from moonfs import disk
from moonfs.server.address import ACCOUNTS, KEY, Address, is_loopback, make_private, make_runtime, socket_path
from moonfs.server.behaviour import Behaviour


def serve_command(
    host: str,
    port: int,
    data: str | os.PathLike[str],
    runtime_dir: str | None = None,
    *,
    behaviour: Behaviour | None = None,
    accounts: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> int:
    """Serve TCP, and a UNIX socket for mounts of this machine, until stopped; returns the exit code.

    Args:
        host: address to bind; a warning is printed for one that others can reach.
        port: TCP port; 0 takes a free one.
        data: the data directory.
        runtime_dir: where the socket goes; by default `$XDG_RUNTIME_DIR/moonfs`, or a private one in `/tmp`.
        behaviour: how it answers.
        accounts: names of further accounts, made when they are not there.
        allowed_hosts: names that a proxy or a container reaches a server on loopback by, besides `localhost`.
        origins: whose pages may read the answers, as `cors.check` returns them.
    """

    def on_ready(address: Address) -> None:
        directory = os.path.abspath(data)
        print(f"Serving the Files API at {address.base_url}")
        print(f"The API key is in {os.path.join(directory, KEY)}", flush=True)
        for name in accounts:
            print(f"The API key of {name} is in {os.path.join(directory, ACCOUNTS, name, KEY)}", flush=True)

    if not is_loopback(host):
        print(
            f"Warning: {host} can be reached from other machines, and the key and all files travel"
            " unencrypted (there is no TLS).",
            file=sys.stderr,
        )
    directory = runtime_dir or _runtime_dir()
    try:
        make_runtime(directory)
    except OSError as error:
        return _fail(f"the socket cannot be made: {disk.reason(error, directory)}")
    path = socket_path(data, directory)
    return start(
        data, host=host, port=port, path=path, on_ready=on_ready, behaviour=behaviour, accounts=accounts,
        allowed_hosts=allowed_hosts, origins=origins,
    )  # fmt: skip


def start(
    data: str | os.PathLike[str],
    *,
    host: str | None = None,
    port: int | None = None,
    path: str | None = None,
    on_ready: Callable[[Address], None] | None = None,
    exit_with_clients: bool = False,
    extraction: bool = True,
    behaviour: Behaviour | None = None,
    accounts: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> int:
    """Run a server to its end; returns the exit code, 1 after one sentence on stderr when it cannot."""
    # At a terminal the time is that of whoever reads it; in the log of a server that outlives them it has its offset.
    datefmt = "%Y-%m-%dT%H:%M:%S%z" if exit_with_clients else None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt=datefmt)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if exit_with_clients:  # its log is appended to for ever, and its only clients keep logs of their own
        logging.getLogger("moonfs.server.access").setLevel(logging.WARNING)
    try:
        from moonfs.server.directory import DirectoryError  # noqa: PLC0415 - optional dependencies
        from moonfs.server.extraction.extractor import Extraction, NoExtraction  # noqa: PLC0415
        from moonfs.server.serve import ServeError, run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _fail(
            f"the local Files API needs the extra `local` ({error.name} is missing); moonfs doctor --local says the "
            "line that installs it"
        )
    try:
        if path is not None:
            make_private(os.path.dirname(os.path.abspath(path)))
        run(
            data,
            host=host,
            port=port,
            socket_path=path,
            on_ready=on_ready,
            exit_with_clients=exit_with_clients,
            make_extractor=Extraction if extraction else NoExtraction,
            behaviour=behaviour,
            accounts=accounts,
            allowed_hosts=allowed_hosts,
            origins=origins,
        )
    except (DirectoryError, ServeError) as error:
        return _fail(str(error))
    except OSError as error:
        place = disk.where(error, (data, os.path.dirname(os.path.abspath(path or data))))
        if place is not None:
            return _fail(f"the server cannot go on: {disk.reason(error, place)}")
        return _fail(f"the server cannot go on: {error.strerror or error}")
    return 0


def _fail(sentence: str) -> int:
    print(f"moonfs: {sentence}", file=sys.stderr, flush=True)
    return 1


def _runtime_dir() -> str:
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.path.isdir(base):
        return os.path.join(base, "moonfs")
    return os.path.join(tempfile.gettempdir(), f"moonfs-{os.getuid()}")
