"""`moonfs desktop`: programs of a desktop know what a text is, without a look into it; the offer is made once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Faulty
from tests.faults.server import FaultServer
from tests.harness.drive import Drive, hosted
from tests.harness.namespaces import IS_ROOT, alone
from tests.harness.programs import needs
from tests.harness.terminal import Terminal

OFFER = "For file managers to know what NAME.content is, run: moonfs desktop install"
TYPE = "application/x-moonfs-text"
_ATTRIBUTES = "standard::content-type,standard::icon"


@pytest.fixture(autouse=True)
def programs() -> None:
    needs("gio", "update-mime-database")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Drive]:
    """Somebody who has no drive yet."""
    with Drive(tmp_path / "home") as drive:
        yield drive


def known(drive: Drive, file: Path) -> str:
    """Return what GIO knows of a file: its type and icons."""
    where = shlex.quote(drive.environ["XDG_DATA_HOME"])
    return drive.run(f"XDG_DATA_HOME={where} gio info -a {_ATTRIBUTES} {shlex.quote(str(file))}")


@pytest.mark.fuse
def test_a_text_has_a_type_without_a_look_into_it(both: Faulty) -> None:
    """Tenet 4: an unread text is "unknown" before, and after it a text with an icon; nothing was fetched for either."""
    drive, text = both.drive, both.drive / "a.pdf.content"
    both.server.add("a.pdf", b"one")
    assert TYPE not in known(drive, text)

    done = drive.command("desktop", "install")
    target = drive.home / "data" / "mime" / "packages" / "moonfs.xml"
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"Installed {target}; a file manager that is open may have to be started anew.\n"
    assert f"standard::content-type: {TYPE}\n" in known(drive, text)
    assert "text-x-generic" in known(drive, text)
    assert drive.command("desktop", "install").returncode == 0

    done = drive.command("desktop", "remove")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Removed {target}\n", "")
    assert TYPE not in known(drive, text)
    done = drive.command("desktop", "remove")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"moonfs: {target} is not installed; there is nothing to remove.\n"
    assert {seen.operation for seen in both.server.seen} == {"list"}


def in_private_system(drive: Drive, script: str, *, mount: str = "", root: bool = True) -> tuple[int, str]:
    """Run a script where /usr/local/share is an empty one of its own; return its status and all that it has said."""
    needs("setpriv", "unshare")
    less = "" if root else "setpriv --bounding-set=-all --inh-caps=-all "
    inner = f"mount -t tmpfs {mount} tmpfs /usr/local/share && exec {less}sh -c {shlex.quote(script)}"
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner]
    if IS_ROOT:
        within = alone(shlex.join(within))
    done = drive.shell(f"umask 077; {shlex.join(within)} 2>&1")
    return done.returncode, done.stdout


def test_for_the_system(home: Drive) -> None:
    """`--system`: in /usr/local/share, readable to all whatever the umask; a removal tells where it is."""
    file = home.work() / "a.pdf.content"
    file.write_text("{}")
    moonfs, system = home.moonfs(), "/usr/local/share/mime"
    status, said = in_private_system(
        home,
        f"{moonfs} desktop install --system && gio info -a {_ATTRIBUTES} {file}; {moonfs} desktop remove;"
        f" stat -c '%a %n' {system} {system}/packages {system}/packages/moonfs.xml {system}/application/x-*.xml;"
        f" {moonfs} desktop remove --system; gio info -a {_ATTRIBUTES} {file}",
    )
    installed, rest = said.split("moonfs: ", 1)
    refused, _, removed = rest.partition(f"Removed {system}/packages/moonfs.xml\n")
    assert status == 0, said
    assert f"standard::content-type: {TYPE}\n" in installed
    assert f"it is in {system}/packages/moonfs.xml: moonfs desktop remove --system\n" in refused
    assert f"755 {system}\n755 {system}/packages\n644 {system}/packages/moonfs.xml\n644 {system}/app" in refused
    assert "standard::content-type" in removed
    assert TYPE not in removed


def test_only_root_installs_for_the_system(home: Drive) -> None:
    status, said = in_private_system(home, f"{home.moonfs()} desktop install --system", mount="-o mode=555", root=False)
    assert status == 1
    assert said.count("\n") == 1
    assert said.startswith("moonfs: Only root may change /usr/local/share/mime; run: sudo /"), said
    assert "desktop install --system, or leave out --system" in said


def test_without_the_program_one_sentence_says_how_to_get_it(home: Drive, tmp_path: Path) -> None:
    home.environ |= {"PATH": str(tmp_path)}
    done = home.command("desktop", "install")
    assert (done.returncode, done.stdout) == (1, "")
    install = f"{'sudo ' if os.geteuid() else ''}apt install shared-mime-info"
    assert done.stderr == f"moonfs: update-mime-database is missing; install it with: {install}\n"
    assert not (home.home / "data" / "mime").exists()


def test_a_database_that_cannot_be_made(home: Drive) -> None:
    """E1: what went wrong, where, and what to do; not a traceback."""
    (home.home / "data").write_text("no directory")
    done = home.command("desktop", "install")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"moonfs: Cannot change {home.home}/data")
    assert done.stderr.endswith("; mend that, then run this command again.\n")


@pytest.fixture
def newcomer(fuse: None, tmp_path: Path, service: FaultServer) -> Iterator[Drive]:
    """Somebody with an account, who has never mounted it."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        yield drive


def says(drive: Drive, script: str = "") -> str:
    """Mount on a terminal, unmount, and return what was said."""
    point = shlex.quote(str(drive.point))
    with Terminal(f"{drive.moonfs()} mount {point} {script}; echo the end; read end", drive) as terminal:
        terminal.shows("the end")
        said = terminal.screen()
    assert drive.command("umount", str(drive.point)).returncode == 0
    return said.replace("\n", " ").replace("  ", " ")


@pytest.mark.fuse
def test_mount_offers_it_once(newcomer: Drive) -> None:
    """A line, where a desktop runs, whatever tells of it; said once, as the state directory remembers."""
    offered = newcomer.home / "state" / "moonfs" / "desktop-offered"
    assert OFFER not in says(newcomer)
    for session in ("XDG_CURRENT_DESKTOP", "WAYLAND_DISPLAY", "DISPLAY"):
        newcomer.environ[session] = "GNOME"
        if session == "XDG_CURRENT_DESKTOP":
            assert OFFER not in says(newcomer, "2>&1 | cat")
        assert OFFER in says(newcomer), session
        assert offered.stat().st_mode & 0o777 == 0o600
        if session == "XDG_CURRENT_DESKTOP":
            assert OFFER not in says(newcomer)
        offered.unlink()
        del newcomer.environ[session]


@pytest.mark.fuse
def test_mount_offers_nothing_that_is_there(newcomer: Drive) -> None:
    newcomer.environ |= {"DISPLAY": ":0"}
    assert newcomer.command("desktop", "install").returncode == 0
    assert OFFER not in says(newcomer)
    assert newcomer.command("desktop", "remove").returncode == 0
    assert OFFER in says(newcomer)
