"""Drives for every suite that needs one: on the embedded local Files API, on `moonfs serve`, on a failing service."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moonfs.server.address import read_address, read_key
from moonfs.server.dialect import EMBEDDED, flags
from tests.faults.kinds import YESTERDAY, Kind, chosen, spread
from tests.faults.server import FaultServer
from tests.harness import forks
from tests.harness.account import Account
from tests.harness.drive import LIVE, Drive, end_server, hosted, local, wait_for_end, wait_until, why_no_fuse

#: Seconds after which the drives of a test are killed, so that it fails instead of hanging.
PATIENCE = 600.0
#: The two ways to write (W1, W2), with the options that choose them.
MODES: dict[str, tuple[str, ...]] = {"write-through": (), "write-back": ("write_back",)}

# A shell without job control has what it starts in the background ignore Ctrl-C (POSIX.1 sh, 2.11), and every program
# that a test starts and ends by Ctrl-C would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `scripts/torture`, and whoever looks for something, choose the kinds of service."""
    parser.addoption("--kinds", default="", metavar="KINDS", help="what `kinds` runs on: see chosen() in kinds.py")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is wrong with `--kinds` before anything is run."""
    try:
        chosen(config.getoption("--kinds"))
    except ValueError as error:
        raise pytest.UsageError(f"--kinds: {error}") from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test with the mark `kinds` for every kind of service; those that it runs on are kept below."""
    if "kind" in metafunc.fixturenames and metafunc.definition.get_closest_marker("kinds"):
        kinds, _ = chosen(metafunc.config.getoption("--kinds"))
        metafunc.parametrize("kind", kinds, ids=str, indirect=True, scope="module")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> Iterator[None]:
    """Keep of a test with the mark `kinds` what `spread` says: by its place in its file, whatever else is collected."""
    made = yield
    cases: dict[tuple[tuple[str, int], ...], list[pytest.Function]] = {}
    # By the values themselves: `callspec.indices` numbers those of an argument anew for each kind.
    for item in made if isinstance(made, list) else []:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "kind" in callspec.params and item.get_closest_marker("kinds"):
            values = tuple((each, id(value)) for each, value in callspec.params.items() if each != "kind")
            cases.setdefault(values, []).append(item)
    if not cases:
        return made
    kinds, turn = chosen(collector.config.getoption("--kinds"))
    number = [each for each in vars(collector.obj) if each.startswith("test_")].index(name) + turn
    kept: list[pytest.Function] = []
    for case, items in enumerate(cases.values()):
        least = items[0].get_closest_marker("kinds").kwargs.get("least", 2)
        met = spread(kinds, number, case, len(cases), least)
        kept += [item for item in items if item.callspec.params["kind"] in met]
    return kept


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among thousands of tests that all stay, now or later: half a second for each worker."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start moonfs as people do where a test asks for it, and the drives that it shares if they begin here."""
    forks.may_fork(item.get_closest_marker("started") is None)


@dataclass
class Pair:
    """A drive and its account as the service has it."""

    drive: Drive
    account: Account


@dataclass
class Faulty:
    """A drive on a service that fails on request, and what holds when a tool has ended.

    Attributes:
        write_back: whether `close` returns before the service has the bytes (W2).
    """

    drive: Drive
    server: FaultServer
    write_back: bool = False

    def arrived(self) -> dict[str, bytes]:
        """Return what the service has, by name, once nothing is pending; in write-through no upload ever is (W1)."""

        def uploads() -> dict[str, Any]:
            told: dict[str, Any] = self.drive.status()["uploads"]
            assert told["failed"] == []
            assert self.write_back or not told["pending"], told
            return told

        # An upload that is under way though nobody wants it any more is not pending.
        busy = ("pending", "deletions", "active") if self.write_back else ("deletions",)
        wait_until(lambda: not any(map(uploads().get, busy)), "nothing is pending")
        with self.server.lock:
            stored = [(file.filename, file.data) for file in self.server.files.values()]
        assert len(dict(stored)) == len(stored), f"more than one of a name: {sorted(name for name, _ in stored)}"
        return dict(stored)

    def holds(self, bodies: Mapping[str, bytes], *, uploads: int | None = None) -> None:
        """Check that drive and service hold these files with these bytes, once each, and nothing else at all.

        Args:
            bodies: what is expected, by name; all of it with text.
            uploads: how many there were since the drive was new: in write-through exactly so many. In write-back
                at most, since a version that the next one replaces before its turn has come is never sent.
        """
        assert self.arrived() == bodies
        assert os.listdir(self.drive.point) == sorted(name + end for name in bodies for end in ("", ".content"))
        assert {name: (self.drive / name).read_bytes() for name in bodies} == bodies
        assert {name: os.stat(self.drive / name).st_size for name in bodies} == {n: len(b) for n, b in bodies.items()}
        assert self.drive.status()["uploads"]["local"] == []
        assert [path.name for path in self.drive.home.glob("state/moonfs/accounts/*/spool/*")] == []
        if uploads is not None:
            least = len(bodies) if self.write_back else uploads
            most = uploads + self.server.kind.numbers  # one more tells the drive that names are numbered
            assert least <= self.server.count("upload") <= most, f"{self.server.count('upload')} uploads"

    def clear(self) -> None:
        """Make the drive and the service as new, with nothing counted."""
        for path in self.drive.point.iterdir():
            path.unlink(missing_ok=True)
        if self.write_back:
            self.arrived()
        with self.server.lock:
            self.server.files.clear()
            self.server.seen.clear()
        self.server.unscript()


@pytest.fixture(scope="session")
def fuse() -> None:
    """Skip without FUSE, or fail where it is required; where no package has libfuse 2, it cannot be."""
    reason = os.environ.get("MOONFS_NO_LIBFUSE") or why_no_fuse()
    if reason:
        if os.environ.get("MOONFS_REQUIRE_FUSE") and not os.environ.get("MOONFS_NO_LIBFUSE"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def never_hangs() -> Iterator[None]:
    """End the drives of a test that hangs; a system call on a drive cannot be interrupted otherwise."""

    def abort() -> None:
        for drive in list(LIVE):
            drive.abort()

    timer = threading.Timer(PATIENCE, abort)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.fixture(scope="session")
def pair(fuse: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One drive on the embedded local Files API for the whole session; tests take names of their own."""
    home = tmp_path_factory.mktemp("pair")
    data = home / "files"
    with contextlib.ExitStack() as stack:
        stack.callback(end_server, data)
        drive = stack.enter_context(Drive(home, *local(data))).mount("listing_ttl=0")
        yield Pair(drive, stack.enter_context(local_account(data)))


@pytest.fixture
def fresh(fuse: None, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Make a drive on an embedded local Files API of one's own: `fresh("listing_ttl=0")`."""
    with contextlib.ExitStack() as stack:

        def make(*options: str) -> Pair:
            data = tmp_path / "files"
            stack.callback(end_server, data)
            drive = stack.enter_context(Drive(tmp_path, *local(data))).mount(*options)
            return Pair(drive, stack.enter_context(local_account(data)))

        yield make


@contextlib.contextmanager
def serving(home: Path, *switches: str, kind: Kind | None = None) -> Iterator[Pair]:
    """A drive on `moonfs serve`, to be mounted as one of the hosted service; as `--local` starts it, or of a `kind`."""
    data = home / "files"
    told = flags(EMBEDDED | (kind.switches if kind else {}))
    kind = kind or YESTERDAY
    with Drive(home) as drive, contextlib.ExitStack() as stack:
        command = ["-m", "moonfs", "serve", "--port", "0", "--data", str(data), *told, *switches]
        server = stack.enter_context(
            forks.Popen(command, env=drive.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        stack.callback(lambda: wait_for_end(server.pid))
        stack.callback(server.terminate)
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[-1]
        account = stack.enter_context(Account(base_url, read_key(data), kind=kind))
        drive.environ |= hosted(base_url, account.key, kind)[1]
        stack.callback(drive.end)
        yield Pair(drive, account)


@pytest.fixture(scope="session")
def served(fuse: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One drive on `moonfs serve`, mounted as the hosted service is, for the whole session."""
    with serving(tmp_path_factory.mktemp("served")) as pair:
        pair.drive.mount("listing_ttl=0")
        yield pair


@pytest.fixture(scope="session")
def kinds(request: pytest.FixtureRequest) -> tuple[Kind, ...]:
    """All kinds of service that tests run on, for a test that goes through them by itself."""
    return chosen(request.config.getoption("--kinds"))[0]


@pytest.fixture(scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of service; of tests without the mark `kinds`, that of yesterday."""
    return getattr(request, "param", YESTERDAY)


@pytest.fixture
def service(kind: Kind) -> Iterator[FaultServer]:
    """A service that fails on request."""
    with FaultServer(kind=kind) as server:
        yield server


@pytest.fixture
def faulty(fuse: None, tmp_path: Path, service: FaultServer) -> Iterator[Callable[..., Faulty]]:
    """Make a drive on `service`: `faulty("timeout=2")`; what the test stored before is there at once."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key, service.kind)) as drive:
        yield lambda *options: Faulty(drive.mount(*options), service, "write_back" in options)


@pytest.fixture(scope="module")
def shared(fuse: None, kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """One drive on a failing service for a whole module, believing no listing."""
    home = tmp_path_factory.mktemp("shared")
    with FaultServer(kind=kind) as server, Drive(home, *hosted(server.base_url, server.key, kind)) as drive:
        yield Faulty(drive.mount("listing_ttl=0", "upload_timeout=20"), server)


@pytest.fixture
def both(shared: Faulty) -> Faulty:
    """The module's drive and service, without files and with nothing counted."""
    shared.clear()
    return shared


@pytest.fixture(scope="module", params=MODES)
def moded(
    fuse: None, kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faulty]:
    """Two drives like `shared`, one after the other: write-through and write-back."""
    home = tmp_path_factory.mktemp(request.param)
    with FaultServer(kind=kind) as server, Drive(home, *hosted(server.base_url, server.key, kind)) as drive:
        yield Faulty(
            drive.mount("listing_ttl=0", "upload_timeout=20", *MODES[request.param]), server, bool(MODES[request.param])
        )


@pytest.fixture
def either(moded: Faulty) -> Faulty:
    """The module's drive in write-through, and again in write-back, without files and with nothing counted."""
    moded.clear()
    return moded


def local_account(data: Path) -> Account:
    """Return the account of the local Files API that runs on `data`."""
    address = read_address(data)
    assert address is not None
    return Account("http://localhost/v1", read_key(data), address.socket)
