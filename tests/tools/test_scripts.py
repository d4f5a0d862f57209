"""The scripts' command lines: what they say, and what they refuse before anything is installed or mounted.

`scripts/test` runs `scripts/quickstart --check`, which is the test of the rest.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.machine import Machine

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / script, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def setup(commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands in a shell that knows the functions of `setup.sh`."""
    script = f'. "$0"\n{commands}'
    return subprocess.run(
        ["bash", "-c", script, SCRIPTS / "setup.sh"], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("script", ["quickstart", "check", "release", "test --in"])
def test_help_shows_the_usage(script: str) -> None:
    done = run(*script.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: scripts/{script}")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("quickstart", ["--chekc"]),
        ("quickstart", ["one", "two"]),
        ("quickstart", ["--check", "directory"]),
        ("check", ["--bogus"]),
        ("release", ["--uplaod"]),
        ("test", ["--in"]),
        ("test", ["--in", "../trixie"]),
        ("test", ["--in", "--user"]),
    ],
)
def test_misuse_is_one_sentence_and_exit_2(script: str, arguments: list[str]) -> None:
    done = run(script, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["plain", "two words", "-dash"])
def test_quickstart_mounts_over_nobodys_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("mine")
    done = run("quickstart", "--", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{name} is not empty" in done.stderr


def test_quickstart_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "moon").write_text("mine")
    done = run("quickstart", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "moon is a file" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_quickstart_looks_for_the_device_before_it_installs(tmp_path: Path, arguments: list[str]) -> None:
    """Not after two minutes of installing: nothing is made, fetched or asked for."""
    if missing := os.environ.get("MOONFS_NO_LIBFUSE"):
        pytest.skip(missing)  # that is said first
    clone = tmp_path / "clone"
    shutil.copytree(SCRIPTS, clone / "scripts", ignore=shutil.ignore_patterns("__pycache__", "benchmark"))
    with Machine(tmp_path / "home") as machine:
        machine.without_device()
        done = machine.run(str(clone / "scripts" / "quickstart"), *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert "/dev/fuse is missing: run 'sudo modprobe fuse'" in done.stderr
        assert [path.name for path in clone.iterdir()] == ["scripts"] and not (machine.home / "moon").exists()


@pytest.mark.parametrize(
    ("done_before", "says"),
    [
        ("git switch -q -c feature", "from main"),
        ("echo more >> moonfs/__init__.py", "not committed"),
        ("touch left-over.py", "not committed"),
        ("git tag v1.2.3", "v1.2.3 is there already"),
        ("rm -r .git", "is no clone"),
        ("echo > moonfs/__init__.py", "__version__"),
    ],
)
def test_a_release_is_refused_before_anything_is_built(tmp_path: Path, done_before: str, says: str) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__", "benchmark"))
    (tmp_path / "moonfs").mkdir()
    (tmp_path / "moonfs" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    begin = "git init -q -b main && git add . && git -c user.name=a -c user.email=a@b commit -q -m one"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nobody"), "LANG": "C.UTF-8"}
    subprocess.run(["sh", "-e", "-c", f"{begin}\n{done_before}"], cwd=tmp_path, env=environ, check=True)
    done = subprocess.run(
        [tmp_path / "scripts" / "release"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_scripts_are_executable() -> None:
    scripts = [path for path in SCRIPTS.iterdir() if path.suffix not in (".sh", ".py")]
    assert [path.name for path in scripts if not os.access(path, os.X_OK)] == []


def test_what_the_tests_need_is_installed_for_them() -> None:
    """Every program that a test asks for is one that `set_up dev drive` looks for, and the quickstart does not."""
    asked: set[str] = set()
    for path in Path(__file__).parents[1].rglob("*.py"):
        for call in re.findall(r"\bneeds\(([^)*]+)\)", path.read_text()):
            asked |= set(re.findall(r'"(\w+)"', call))
    assert asked
    missed = setup("can_run() { false; }; missing_programs dev").stdout
    assert asked <= {entry.split()[0] for entry in missed.splitlines()}
    assert not asked & {
        entry.split()[0] for entry in setup("can_run() { false; }; missing_programs local").stdout.splitlines()
    }


@pytest.mark.parametrize("there", ["gdk-pixbuf-thumbnailer", "glycin-thumbnailer"])
def test_one_of_two_programs_is_enough(there: str) -> None:
    """Debian testing has no gdk-pixbuf-thumbnailer any more."""
    missed = setup(f'can_run() {{ [ "$1" = {there} ]; }}; missing_programs dev').stdout
    assert "mc mc" in missed and "thumbnailer" not in missed


def test_some_tests_are_run_where_a_socket_has_room(tmp_path: Path) -> None:
    """unix(7): its path holds 107 bytes; `scripts/test FILE` makes directories as short as the whole run does."""
    (tmp_path / "test_it.py").write_text(
        "import socket\n"
        f"def test_{'x' * 40}(tmp_path):\n"
        "    with socket.socket(socket.AF_UNIX) as ear:\n"
        "        ear.bind(str(tmp_path / ('s' * 40)))\n"
    )
    done = run("test", "-q", str(tmp_path / "test_it.py"))
    assert done.returncode == 0, done


#: A system that has everything but libfuse 2.
LACKS = """
    can_run() { true; }
    missing_libraries() { echo "libfuse.so.2 libfuse2t64 libfuse2"; }
    missing_programs() { :; }
"""


@pytest.mark.parametrize(
    ("known", "missing", "says"),
    [("fuse3", "", "has no package of it"), ("fuse3 libfuse2", "libfuse.so.2", ""), ("", "libfuse.so.2", "")],
    ids=["no package has it", "a package has it", "apt has no list yet"],
)
def test_a_library_that_no_package_has_is_a_reason(known: str, missing: str, says: str) -> None:
    """Debian testing has no libfuse 2: nothing is installed in vain, and what needs no mount goes on."""
    knows = f'{LACKS}\napt_knows() {{ [[ " {known} " = *" $1 "* ]]; }}\n'
    found = setup(knows + 'look_around dev drive; echo "${missing[*]%% *}"')
    assert (found.stdout.strip(), found.returncode) == (missing, 0), found
    told = setup(knows + "no_libfuse")
    assert (says in told.stdout, bool(told.stdout)) == (True, bool(says)), told


def test_who_may_not_install_is_told_the_one_command() -> None:
    done = setup(
        'id() { echo 1000; }; sudo() { false; }; apt-get() { echo never; }; apt-cache() { echo "  Candidate: 1.0"; }\n'
        'python=python3 venv_python=python3 missing=("mc mc" "soffice libreoffice-writer-nogui"); install_packages'
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(
        "Please run: sudo apt-get install --no-install-recommends mc libreoffice-writer-nogui\n"
    )
