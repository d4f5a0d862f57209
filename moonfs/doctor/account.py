"""Whether the account can be used: config.toml, the key and its region, the clock, what still fits.

**Threading:** called by one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from moonfs import keys, packages, wire
from moonfs.api import Client, Timeouts
from moonfs.config import Directories
from moonfs.doctor.findings import Finding, State
from moonfs.errors import AuthenticationFailed, MoonfsError, RateLimited, TimedOut, Unreachable, UsageError
from moonfs.profiles import Configuration
from moonfs.wire import FileObject

#: The vendor's two regions: the same contract, other keys (official page).
REGIONS: Final = ("https://api.moonshot.ai/v1", "https://api.moonshot.cn/v1")
_SECONDS: Final = 15.0
#: Seconds that clocks may differ before times of files look odd; certificates stand more.
_CLOCK: Final = 60.0
#: The share of a limit from which it is told.
_NEAR: Final = 0.9


def look(
    configuration: Configuration,
    directories: Directories,
    *,
    regions: Sequence[str] = REGIONS,
    secret: Callable[[str], None] = lambda _key: None,
) -> Iterator[Finding]:
    """Look at the account that would be mounted.

    Args:
        configuration: what was asked for.
        directories: where keys are kept.
        regions: addresses of one vendor; a key that one of them refuses is tried at the others.
        secret: told the key, as what is to be taken out of a report.
    """
    where = str(configuration.file) if configuration.found else f"no {configuration.file}, nor is one needed"
    profile = f", profile {configuration.profile}" if configuration.profile else ""
    yield Finding("configuration", State.OK, f"{where}{profile}")
    if not configuration.hosted:
        yield from _local(configuration.local(directories) or Path())
        return
    try:
        key = keys.find(configuration, directories)
    except UsageError as error:
        yield Finding("key", State.FAILED, str(error), "moonfs key set  # or: moonfs mount --local DIR")
        return
    secret(key)
    yield Finding("key", State.OK, f"from {keys.origin(configuration, directories)}")
    yield from _service(configuration.base_url().rstrip("/"), key, regions)


def _service(base_url: str, key: str, regions: Sequence[str]) -> Iterator[Finding]:
    about = f"service {base_url}"
    try:
        files, offset, seconds = _ask(base_url, key)
    except AuthenticationFailed as error:
        others = [region for region in regions if region != base_url] if base_url in regions else []
        for other in others:
            try:
                files, offset, seconds = _ask(other, key)
            except MoonfsError:
                continue
            yield Finding(
                "region",
                State.FAILED,
                f"{base_url} refuses the key, and {other} takes it",
                f'export MOONSHOT_BASE_URL={other}  # or base_url = "{other}" in config.toml',
            )
            yield from _numbers(files, offset)
            return
        tried = f", and so does {' and '.join(others)}" if others else ""
        yield Finding("key", State.FAILED, f"{about} refuses it{tried}: {error}", "moonfs key set  # with a new key")
        return
    except RateLimited as error:
        yield Finding(about, State.WARNING, f"knows the key, and is asked too often: {error}", "wait a minute")
        return
    except (Unreachable, TimedOut) as error:
        yield Finding(about, State.FAILED, str(error), "check the network, HTTPS_PROXY and the base URL")
        return
    except MoonfsError as error:
        yield Finding(about, State.FAILED, str(error), "check the base URL; try again in a minute")
        return
    yield Finding(about, State.OK, f"takes the key and answers in {seconds * 1000:.0f} ms")
    yield from _numbers(files, offset)


def _ask(base_url: str, key: str) -> tuple[list[FileObject], float | None, float]:
    """Return the files, the service's clock minus ours, and the seconds it took. Raises MoonfsError."""
    timeouts = Timeouts(connect=10, read=_SECONDS, write=_SECONDS, pool=_SECONDS, deadline=_SECONDS)
    client = Client(base_url, key, timeouts=timeouts)
    try:
        start = time.monotonic()
        files = client.list()
        return files, client.server_clock_offset, time.monotonic() - start
    finally:
        client.close()


def _numbers(files: Sequence[FileObject], offset: float | None) -> Iterator[Finding]:
    if offset is not None and abs(offset) > _CLOCK:
        found = f"is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the service's"
        yield Finding("clock", State.WARNING, found, "sudo timedatectl set-ntp true")
    elif offset is not None:
        yield Finding("clock", State.OK, f"differs from the service's by {abs(offset):.0f} s")
    size = sum(file.bytes for file in files)
    found = (
        f"{len(files):,} of {wire.MAX_FILES:,} files, {size / 1024**3:.1f} of {wire.MAX_TOTAL_BYTES / 1024**3:.0f} GB"
    )
    full = max(len(files) / wire.MAX_FILES, size / wire.MAX_TOTAL_BYTES)
    if full >= 1:
        yield Finding("quota", State.FAILED, f"is used up: {found}", "delete files: an overwrite of one works still")
    elif full >= _NEAR:
        yield Finding("quota", State.WARNING, f"is nearly used up: {found}", "delete what is no longer needed")
    else:
        yield Finding("quota", State.OK, found)


def _local(data: Path) -> Iterator[Finding]:
    missing = packages.missing("local")
    if missing:
        yield Finding(
            "local Files API",
            State.FAILED,
            f"the extra `local` is not installed: {', '.join(missing)}",
            packages.line_for("local"),
        )
        return
    yield Finding("local Files API", State.OK, f"everything it needs is installed; its files are in {data}")
