"""Whether the account can be used: config.toml, the key and its region, the clock, what still fits.

**Threading:** called by one thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from moonfs import keys, mountpoints, packages, profiles, wire
from moonfs.api import Client, Timeouts, proxies, trust
from moonfs.api.origin import is_loopback
from moonfs.config import Directories, local_identity
from moonfs.doctor import mending
from moonfs.doctor.findings import Finding, State
from moonfs.errors import (
    AuthenticationFailed,
    MoonfsError,
    NotFound,
    ProtocolError,
    RateLimited,
    TimedOut,
    Unreachable,
    UsageError,
)
from moonfs.profiles import Configuration
from moonfs.settings import ORGANISATION, PROJECT
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
    needed: bool = True,
) -> Iterator[Finding]:
    """Look at the account that would be mounted.

    Args:
        configuration: what was asked for.
        directories: where keys are kept.
        regions: addresses of one vendor; a key that one of them refuses is tried at the others.
        secret: told the key, as what is to be taken out of a report.
        needed: whether a key has to be there; where nothing but other accounts is used, none is missed.
    """
    where = str(configuration.file) if configuration.found else f"no {configuration.file}, nor is one needed"
    profile = f", profile {configuration.profile}" if configuration.profile else ""
    yield Finding("configuration", State.OK, f"{where}{profile}")
    if not configuration.hosted:
        yield local(configuration.local(directories) or Path())
        return
    origin = keys.origin(configuration, directories)
    if not origin and not needed:
        fix = f"moonfs key set{mending.profile(configuration)}"
        yield Finding("key", State.NOTE, "none; only needed for the hosted service", fix)
        return
    try:
        key = keys.find(configuration, directories)
    except UsageError as error:
        yield Finding("key", State.FAILED, str(error), mending.key(configuration, directories))
        return
    secret(key)
    yield Finding("key", State.OK, f"from {origin}")
    yield from _service(configuration, directories, key, regions)


def _service(
    configuration: Configuration, directories: Directories, key: str, regions: Sequence[str]
) -> Iterator[Finding]:
    base_url = configuration.base_url().rstrip("/")
    project = configuration.settings().scope == PROJECT
    about = f"service {base_url}"
    around = list(way(base_url))
    yield from around
    if any(each.state == State.FAILED for each in around):
        return
    try:
        files, offset, seconds = _ask(base_url, key, project=project)
    except AuthenticationFailed as error:
        others = [region for region in regions if region != base_url] if base_url in regions else []
        for other in others:
            try:
                files, offset, seconds = _ask(other, key, project=project)
            except MoonfsError:
                continue
            yield Finding(
                "region",
                State.FAILED,
                f"{base_url} refuses the key, and {other} takes it",
                mending.base_url(configuration, other),
            )
            yield from _numbers(files, offset)
            return
        tried = f", and so does {' and '.join(others)}" if others else ""
        fix = mending.another_key(configuration, directories)
        yield Finding("key", State.FAILED, f"{about} refuses it{tried}: {error}", fix)
        return
    except RateLimited as error:
        found = f"knows the key, and is asked too often: {error}"
        yield Finding(about, State.WARNING, found, "sleep 60; moonfs doctor")
        return
    except (Unreachable, TimedOut) as error:
        found, fix = mending.way(configuration, str(error))
        yield Finding(about, State.FAILED, found, fix)
        return
    except (NotFound, ProtocolError, UsageError) as error:
        found, fix = mending.address(configuration, str(error))
        if project and f"scope={ORGANISATION}" in str(error):
            found, fix = str(error), mending.scope(configuration)
        yield Finding(about, State.FAILED, found, fix)
        return
    except MoonfsError as error:
        yield Finding(about, State.FAILED, str(error), "sleep 60; moonfs doctor")
        return
    yield Finding(about, State.OK, f"takes the key and answers in {seconds * 1000:.0f} ms")
    yield from _numbers(files, offset)


def way(base_url: str) -> Iterator[Finding]:
    """Yield what the environment puts between here and a service, proxies and certificates; nothing for nothing."""
    try:
        url = urlsplit(base_url)
        if url.scheme == "https":
            trust.context()
        if is_loopback(url.hostname or ""):
            return
        found = proxies.find(base_url)
    except UsageError as error:
        named = "SSL_CERT_FILE" if "SSL_CERT_FILE" in str(error) else "SSL_CERT_DIR"
        yield Finding("certificates", State.FAILED, str(error), f"unset {named}")
        return
    except ValueError:
        return  # it is no address, which is told by whoever asks there
    if found.problem:
        yield Finding("proxy", State.FAILED, found.problem, found.mend)
    elif found.past:
        yield Finding("proxy", State.OK, f"{found.variable} names one, which {found.past!r} of NO_PROXY passes by")
    elif found.proxy is not None:
        yield Finding("proxy", State.OK, f"{found.shown}, from {found.variable}")
    for note in found.notes:
        yield Finding("proxy", State.NOTE, note)


def _ask(base_url: str, key: str, *, project: bool) -> tuple[list[FileObject], float | None, float]:
    """Return the files, the service's clock minus ours, and the seconds it took. Raises MoonfsError."""
    timeouts = Timeouts(connect=10, read=_SECONDS, write=_SECONDS, pool=_SECONDS, deadline=_SECONDS)
    client = Client(base_url, key, timeouts=timeouts, project=project)
    try:
        start = time.monotonic()
        files = client.list()
        return files, client.server_clock_offset, time.monotonic() - start
    finally:
        client.close()


def _numbers(files: Sequence[FileObject], offset: float | None) -> Iterator[Finding]:
    if offset is not None and abs(offset) > _CLOCK:
        found = f"is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the service's"
        yield Finding("clock", State.WARNING, found, mending.clock(offset))
    elif offset is not None:
        yield Finding("clock", State.OK, f"differs from the service's by {abs(offset):.0f} s")
    yield quota("quota", len(files), sum(file.bytes for file in files), "DIR")


def quota(
    about: str,
    files: int,
    size: int,
    point: str,
    *,
    most_files: int = wire.MAX_FILES,
    most_bytes: int = wire.MAX_TOTAL_BYTES,
    refused: bool = False,
) -> Finding:
    """Return how full an account is.

    Args:
        about: what the finding is about.
        files: how many there are.
        size: their bytes.
        point: where it is mounted, as a word of a shell.
        most_files, most_bytes: what is believed to fit; left out, what is documented.
        refused: the service takes no more; only it knows that.
    """
    found = f"{files:,} of {most_files:,} files, {size / 1024**3:.1f} of {most_bytes / 1024**3:.0f} GB"
    full = max(files / most_files, size / most_bytes)
    fix = f"ls -ltr {point} | head -n 30  # the oldest first: rm what you need no more"
    if refused:
        return Finding(about, State.FAILED, f"is used up, and the service takes no more: {found}", fix)
    if full >= 1:
        return Finding(about, State.WARNING, f"is used up, if what is documented holds for it: {found}", fix)
    if full >= _NEAR:
        return Finding(about, State.WARNING, f"is nearly used up: {found}", fix)
    return Finding(about, State.OK, found)


def local(data: Path) -> Finding:
    """Return whether the local Files API that keeps its files in `data` can be started."""
    missing = packages.missing("local")
    if missing:
        return Finding(
            "local Files API",
            State.FAILED,
            f"the extra `local` is not installed: {', '.join(missing)}",
            packages.line_for("local"),
        )
    return Finding("local Files API", State.OK, f"everything it needs is installed; its files are in {data}")


def readers(found: str, lacks: bool) -> Finding:
    """Return how the local Files API confines what reads documents; a lack keeps nothing from working."""
    return Finding("readers", State.NOTE if lacks else State.OK, found)


def usual_at(
    point: str,
    configuration: Configuration,
    directories: Directories,
    identity: str,
    of: Callable[[str], Configuration],
) -> Configuration:
    """Return what would be mounted on a directory where nobody says what: as last time, or as a profile says.

    Args:
        point: the directory, as `mountpoints.absolute` has it.
        configuration: what holds if neither says anything.
        directories: where the local Files API keeps its files by default.
        identity: the account that was mounted there last; empty for none.
        of: returns what holds for a profile. Raises UsageError.
    """
    for name in (profiles.LOCAL, *configuration.profiles):
        with contextlib.suppress(UsageError):
            other = of(name)
            named = other.text("directory")
            if named and mountpoints.absolute(os.path.expanduser(named)) == point:
                return other
            data = None if other.hosted else other.local(directories)
            if data is not None and local_identity(data) == identity:
                return other
    return configuration
