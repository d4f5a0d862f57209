"""Only a directory that the server made, or an empty one, is taken for its data; the rest is somebody's own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from moonfs.server.address import CLIENTS, SPAWN
from moonfs.server.directory import DataDirectory
from moonfs.server.embed import EmbedError, attach
from moonfs.server.marker import LAYOUT, MARKER, NotOurs, claim
from moonfs.server.store import Store

OWN = ("incoming/invoice.pdf", "workers/payroll.xls", "originals/photo.jpg", "contents/index.html", "notes.txt")


def fill(data: Path) -> dict[str, str]:
    """Put files of somebody's own where a server would have its."""
    for name in OWN:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    data.chmod(0o755)
    return {name: name for name in OWN}


def found(data: Path) -> dict[str, str]:
    """Return every file below `data` with what is in it."""
    return {
        str(path.relative_to(data)): path.read_bytes().decode("utf-8", "replace")
        for path in data.rglob("*")
        if path.is_file()
    }


def serve(data: Path) -> subprocess.CompletedProcess[str]:
    """Start a server on `data`, which is to refuse it."""
    command = [sys.executable, "-m", "moonfs.server", "--data", str(data), "--host", "127.0.0.1", "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_directory_of_ones_own_is_left_alone_by_a_server(tmp_path: Path) -> None:
    """`moonfs serve --data DIR` on files of one's own: one sentence, nothing deleted, added or closed."""
    data = tmp_path / "documents"
    before = fill(data)
    done = serve(data)
    assert done.returncode == 1
    assert done.stderr == (
        f"moonfs: {data} has files that the local Files API did not make, so it does not keep its own there: name an "
        "empty directory, or one that is not there yet (in --local DATA DIR, DATA is that one, DIR the drive)\n"
    )
    assert found(data) == before
    assert data.stat().st_mode & 0o777 == 0o755


def test_a_directory_of_ones_own_is_left_alone_by_a_client(tmp_path: Path) -> None:
    """The same for `mount --local DIR`, which makes locks before there is a server."""
    data = tmp_path / "documents"
    before = fill(data)
    with pytest.raises(EmbedError, match="did not make"):
        attach(data, tmp_path / "run", tmp_path / "log")
    assert found(data) == before
    assert data.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("left", ["", "lost+found", CLIENTS, SPAWN, ".new-abcd1234"])
def test_an_empty_directory_is_taken(tmp_path: Path, left: str) -> None:
    """Empty means: nothing of anybody's; `lost+found` and what a client that was killed early left is nobody's."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    if left == "lost+found":
        (data / left).mkdir()
    elif left:
        (data / left).write_text("")
    claim(data)
    assert (data / MARKER).read_text() == f"moonfs local Files API, layout {LAYOUT}\n"
    assert data.stat().st_mode & 0o777 == 0o700


def test_one_file_makes_a_directory_somebodys(tmp_path: Path) -> None:
    """A lock of ours beside it changes nothing, and neither does a database that is somebody else's."""
    data = tmp_path / "data"
    data.mkdir()
    (data / CLIENTS).write_text("")
    connection = sqlite3.connect(data / "files.sqlite")
    connection.execute("CREATE TABLE files (id, name)")
    connection.close()
    with pytest.raises(NotOurs):
        claim(data)
    assert sorted(os.listdir(data)) == [CLIENTS, "files.sqlite"]


def test_the_layout_of_before_is_recognised_and_marked(tmp_path: Path) -> None:
    """A directory of a version before has no marker, but our table; its files are there afterwards."""
    data = tmp_path / "data"
    opened = DataDirectory(data)
    Store(opened).close()
    opened.close()
    (data / MARKER).unlink()
    again = DataDirectory(data)
    again.close()
    assert (data / MARKER).is_file()


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    """What a newer moonfs has written is not touched."""
    data = tmp_path / "data"
    claim(data)
    (data / MARKER).write_text("moonfs local Files API, layout 99\n")
    with pytest.raises(NotOurs, match="newer moonfs"):
        claim(data)


def test_a_marker_of_something_else_is_refused(tmp_path: Path) -> None:
    """A file of that name with other words is somebody's own."""
    data = tmp_path / "data"
    data.mkdir()
    (data / MARKER).write_text("my notes about moonfs\n")
    with pytest.raises(NotOurs, match="no marker"):
        claim(data)
    assert (data / MARKER).read_text() == "my notes about moonfs\n"


def test_a_sweep_removes_what_has_a_name_of_ours(tmp_path: Path) -> None:
    """Leftovers of a killed server go at the start; what somebody put beside them stays."""
    data = tmp_path / "data"
    opened = DataDirectory(data)
    left = Path(opened.fresh())
    left.write_bytes(b"half an upload")
    home = Path(opened.workers) / "worker-abcd1234"
    home.mkdir()
    (home / "page.png").write_bytes(b"")
    orphan = Path(opened.originals) / "d3nq1h5uk5ng00a1b2c0"
    orphan.write_bytes(b"no row")
    opened.close()
    own = fill(data)
    again = DataDirectory(data)
    Store(again).close()
    again.close()
    assert not left.exists() and not home.exists() and not orphan.exists()
    assert own.items() <= found(data).items()


def test_a_directory_of_ones_own_below_accounts_is_left_alone(tmp_path: Path) -> None:
    """`--account NAME` looks at DATA/accounts/NAME as at DATA."""
    data = tmp_path / "data"
    claim(data)
    (data / "accounts" / "ann").mkdir(parents=True)
    (data / "accounts" / "ann" / "diary.txt").write_text("mine")
    done = serve(data)
    assert done.returncode == 1 and "did not make" in done.stderr
    assert (data / "accounts" / "ann" / "diary.txt").read_text() == "mine"
