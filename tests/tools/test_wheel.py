"""What people install: the wheel and the sdist, what is in them, and that they work where no source is near.

`pip install` and `pipx install` of the wheel, and the line that adds the extra `local` for a drive that reads pictures.
The packages come from the index that pip is configured for, or out of its cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import moonfs
from tests.harness.drive import ROOT, end_server
from tests.harness.programs import needs
from tests.server.samples import NOTE

#: Seconds for an installation of some 150 MB on a slow line.
MINUTES = 600.0
SAMPLES = ROOT / "tests" / "samples"
NAME = f"moonfs-{moonfs.__version__}"
#: What pip says of a network that is not there.
_NO_NETWORK = re.compile("NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError")
#: Where the wheel puts documents, below the prefix.
MANUAL = "share/man/man1/moonfs.1"
COMPLETIONS = {
    "bash": "share/bash-completion/completions/moonfs",
    "zsh": "share/zsh/site-functions/_moonfs",
    "fish": "share/fish/vendor_completions.d/moonfs.fish",
}


@dataclass
class Home:
    """A home without the source, in which programs run with nothing of whoever runs the tests but how pip downloads."""

    path: Path
    environ: dict[str, str]

    def try_run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environ, cwd=self.path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=MINUTES, check=False,
        )  # fmt: skip

    def run(self, *command: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.try_run(*command)
        assert done.returncode == status, done
        return done


@contextlib.contextmanager
def home_in(path: Path) -> Iterator[Home]:
    path.mkdir()
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    if "PIP_CACHE_DIR" not in pip:
        pip["PIP_CACHE_DIR"] = subprocess.check_output([sys.executable, "-m", "pip", "cache", "dir"], text=True).strip()
    programs = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != Path(sys.executable).parent
    )
    # A socket's path holds 107 bytes, fewer than pytest's directories.
    with tempfile.TemporaryDirectory(prefix="mfs-") as runtime:
        yield Home(
            path,
            {
                **pip, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COMPILE": "1",
                "PATH": programs, "HOME": str(path), "LANG": "C.UTF-8",
                "XDG_RUNTIME_DIR": runtime, "PIPX_HOME": f"{path}/pipx", "PIPX_BIN_DIR": f"{path}/bin",
                "PIPX_MAN_DIR": f"{path}/man",
            },
        )  # fmt: skip


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist, and the wheel that was built out of it."""
    folder = tmp_path_factory.mktemp("dist")
    with home_in(tmp_path_factory.mktemp("building") / "home") as home:
        done = home.try_run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    if (
        done.returncode != 0
        and _NO_NETWORK.search(done.stdout + done.stderr)
        and not os.environ.get("MOONFS_REQUIRE_FUSE")
    ):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done
    assert sorted(path.name for path in folder.iterdir()) == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a venv in which `pip install moonfs` was run, by a pip elsewhere, which needs no `ensurepip`."""
    with home_in(tmp_path_factory.mktemp("light") / "home") as home:
        home.run(sys.executable, "-m", "venv", "--without-pip", "venv")
        home.run(sys.executable, "-m", "pip", "--python", "venv/bin/python", "install", "--quiet", "pip", wheel)
        yield home


def sources() -> set[str]:
    """Return the files of the package."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "moonfs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_its_documents_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        modes = {info.external_attr >> 16 for info in archive.infolist()}
        metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
        licence = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    documents = {f"{NAME}.data/data/{place}" for place in (MANUAL, *COMPLETIONS.values())}
    assert names == sources() | {f"{NAME}.dist-info/{name}" for name in about} | documents
    assert "moonfs/py.typed" in names
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert all(stat.S_IMODE(mode) & 0o444 == 0o444 for mode in modes), "everybody may read what root installs"
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    extras = set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.MULTILINE))
    assert extras >= {"local", "keyring"}
    plain = re.findall(r"^Requires-Dist: ([a-z]+)[^;\n]*$", metadata, re.MULTILINE)
    assert set(plain) == {"fusepy", "httpx", "httpcore", "cachetools", "click", "rich"}


def test_the_sdist_holds_what_builds_and_tests_it(dist: Path) -> None:
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() <= names
    about = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert {name.partition("/")[0] for name in names} == about | {"moonfs", "scripts", "tests"}
    assert [name for name in names if name.endswith(".pyc") or ".venv" in name] == []


def test_pypi_would_take_both(dist: Path) -> None:
    """`twine check --strict`: metadata, and that the README can be shown."""
    done = subprocess.run(
        [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *dist.iterdir()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done


def test_pip_install_is_light_and_runs(light: Home) -> None:
    lists = "import importlib.metadata as about; print(*(each.name for each in about.distributions()))"
    installed = set(light.run("venv/bin/python", "-c", lists).stdout.lower().split())
    assert installed >= {"moonfs", "fusepy", "httpx", "click"}
    assert not installed & {"starlette", "uvicorn", "onnxruntime", "rapidocr", "numpy", "pillow", "lxml"}
    assert light.run("venv/bin/moonfs", "--version").stdout == f"moonfs {moonfs.__version__}\n"
    assert "prefetch" in light.run("venv/bin/moonfs", "--help").stdout
    where = light.run("venv/bin/python", "-c", "import moonfs; print(moonfs.__file__)").stdout.strip()
    assert Path(where).is_relative_to(light.path / "venv")
    assert light.run("venv/bin/moonfs", "status").stderr == ""


@pytest.mark.parametrize("command", [("serve",), ("mount", "--local", "moon")])
def test_without_the_extra_one_sentence_says_how_to_get_it(
    light: Home, command: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if command[0] == "mount":
        request.getfixturevalue("fuse")  # else that is what is missing first
    done = light.run("venv/bin/moonfs", *command, status=1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "needs the extra `local`" in done.stderr
    line = done.stderr.rstrip().rpartition("install it with: ")[2]
    python, _, rest = line.partition(" ")
    assert Path(python).parent == light.path / "venv" / "bin"
    assert rest == f"-m pip install 'moonfs[local]=={moonfs.__version__}'"


def test_pip_puts_the_documents_where_they_are_looked_for(light: Home) -> None:
    """Below a prefix on the PATH, man finds its page; the completions are those that the command prints."""
    needs("man")
    prefix = light.path / "venv"
    light.environ |= {"PATH": f"{prefix}/bin:{light.environ['PATH']}"}
    assert light.run("man", "-w", "moonfs").stdout == f"{prefix / MANUAL}\n"
    for shell, place in COMPLETIONS.items():
        assert (prefix / place).read_text() == light.run("moonfs", "completion", shell).stdout
    assert ".TH MOONFS 1" in (prefix / MANUAL).read_text()


@pytest.mark.fuse
def test_pipx_installs_a_drive_that_reads_pictures(fuse: None, wheel: Path, tmp_path: Path) -> None:
    """`pipx install WHEEL`, then the line that moonfs prints for its extra: mount, copy, text and OCR, umount, man."""
    needs("man")
    with home_in(tmp_path / "home") as home, contextlib.ExitStack() as stack:
        pipx = home.path / "tools" / "pipx"
        pipx.parent.mkdir()
        pipx.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipx "$@"\n')
        pipx.chmod(0o755)
        home.environ["PATH"] = f"{pipx.parent}:{home.environ['PATH']}"
        home.run("pipx", "install", wheel)
        program = home.path / "bin" / "moonfs"
        for name in ("welcome.pdf", "note.png"):
            shutil.copy(SAMPLES / name, home.path)
        stack.callback(end_server, home.path / ".local/share/moonfs/local")
        line = (
            home.run(program, "mount", "--local", "moon", status=1).stderr.rstrip().rpartition("install it with: ")[2]
        )
        assert line == f"pipx runpip moonfs install 'moonfs[local]=={moonfs.__version__}'"
        home.run("sh", "-c", line)
        home.run(program, "mount", "--local", "moon")
        try:
            home.run("cp", "welcome.pdf", "note.png", "moon/")
            assert "Welcome to moonfs" in home.run("cat", "moon/welcome.pdf.content").stdout
            assert NOTE[2] in home.run("cat", "moon/note.png.content").stdout
        finally:
            home.run(program, "umount", "moon")
        page = (home.path / "man" / "man1" / "moonfs.1").resolve()  # pipx makes links
        assert home.run("man", "-M", home.path / "man", "-w", "moonfs").stdout == f"{page}\n"
