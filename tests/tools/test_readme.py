"""The README, walked through from top to bottom in one shell: every command works, and prints what the README says.

A block `console` has commands after `$ ` (`> ` goes on) and what they print; `…` stands for anything in a line, a line
of it for any lines. A block `sh` has commands alone. A block that cannot be run here says `norun:` and why.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moonfs import mounts
from tests.conftest import serving
from tests.harness.drive import ROOT, Drive
from tests.harness.programs import needs
from tests.promises import promises

pytestmark = pytest.mark.fuse

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Parts the outputs of the commands.
_MARK = "\x1e"


@dataclass
class Step:
    """A command and what the README says it prints; None where it says nothing."""

    command: str
    prints: list[str] | None = None
    line: int = 0
    block: str = field(default="", repr=False)


def steps(text: str) -> list[Step]:
    """Return the commands of all blocks of a text, in order."""
    found: list[Step] = []
    for match in re.finditer(r"^```(console|sh)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if match[2].strip().startswith("norun: "):
            continue
        assert not match[2].strip(), f"unknown word in the fence: {match[2]}"
        line = text[: match.start(3)].count("\n") + 1
        if match[1] == "sh":
            found.append(Step(match[3], line=line))
            continue
        heredoc = ""
        for number, each in enumerate(match[3].splitlines(), line):
            if heredoc:
                found[-1].command += "\n" + each
                heredoc = "" if each == heredoc else heredoc
            elif each.startswith("$ "):
                found.append(Step(each[2:], [], number))
                begins = re.search(r"<<'(\w+)'", each)
                heredoc = begins[1] if begins is not None else ""
            elif each.startswith("> "):
                found[-1].command += "\n" + each[2:]
            else:
                prints = found[-1].prints
                assert prints is not None
                prints.append(each)
    return found


def fits(said: list[str], printed: str) -> bool:
    """Say whether what was printed is what the README says; a body of JSON has no line end."""
    pattern = ""
    for line in said:
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            # Columns may be wider than here.
            words = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
            pattern += r"[ \t]*" + "[^\n]*".join(words) + r"[ \t]*\n"
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n") is not None


@pytest.mark.parametrize(
    ("said", "printed", "fit"),
    [
        (["a"], "a\n", True),
        (["a"], "b\n", False),
        (["a"], "a\nb\n", False),
        (["a", "…"], "a\nb\nc\n", True),
        (["…", "c"], "a\nb\n", False),
        (["a…z"], "abcz\n", True),
        (["a…z"], "ab\nz\n", False),
        ([], "", True),
        ([], "a\n", False),
        (["a  b"], "a      b\n", True),
    ],
)
def test_what_fits(said: list[str], printed: str, fit: bool) -> None:
    """The test of the test: another word, a missing line and a line too many are seen."""
    assert fits(said, printed) is fit


def test_every_block_can_be_read() -> None:
    """A block of another kind would not be run; one without a kind is a picture or a file."""
    fences = re.findall(r"^```([^\n]*)$", README, re.MULTILINE)
    assert {fence.split(" ")[0] for fence in fences} <= {"", "console", "sh", "python", "text"}
    assert len(steps(README)) > 25
    assert all(len(fence.split("norun: ")[1]) > 10 for fence in fences if "norun" in fence)


def test_the_walk_through(fuse: None, tmp_path: Path) -> None:
    """Every command of the README, in order, in a clone with an empty HOME; the hosted service is `moonfs serve`."""
    needs("curl", "setfattr")
    clone, home = tmp_path / "clone", tmp_path / "home"
    for folder in (clone, home):
        folder.mkdir()
    # What a clone holds, with the environment that the scripts have set up already.
    for entry in (
        *(ROOT / name for name in ("LICENSE", "README.md", "moonfs", "scripts", "tests", "pyproject.toml")),
        ROOT / ".venv",
    ):
        (clone / entry.name).symlink_to(entry)
    walk = steps(README)
    script = "\n".join(
        f"printf '{_MARK}%s\\n' {number}\n{step.command}\nprintf '{_MARK}= %s\\n' $?"
        for number, step in enumerate(walk)
    )
    with serving(tmp_path / "hosted") as hosted, Drive(home) as drive:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "USER": "root",
            "XDG_RUNTIME_DIR": drive.environ["XDG_RUNTIME_DIR"],
            "MOONSHOT_BASE_URL": hosted.drive.environ["MOONSHOT_BASE_URL"],
        }
        (home / "script").write_text(script)
        try:
            done = subprocess.run(
                ["bash", str(home / "script")],
                cwd=clone,
                env=environ,
                input=hosted.drive.environ["MOONSHOT_API_KEY"] + "\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=110,
                check=False,
            )
        finally:
            left = [mount.point for mount in mounts.table() if tmp_path in Path(mount.point).parents]
            for point in left:
                subprocess.run(["fusermount", "-u", "-z", point], check=False)
    parts = re.split(rf"^{_MARK}(\d+)\n", done.stdout, flags=re.MULTILINE)[1:]
    seen = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    wrong = []
    for number, step in enumerate(walk):
        printed, _, status = seen.get(number, "").partition(f"{_MARK}= ")
        printed = re.sub(r"^Waiting for the daemon .*\n", "", printed, flags=re.MULTILINE)  # on a slow machine
        if status.strip() != "0" or (step.prints is not None and not fits(step.prints, printed)):
            wrong.append(f"README.md:{step.line}: {step.command}\n{printed}exit {status.strip() or '?'}")
    assert not wrong, "\n\n".join(wrong)
    assert not left, "nothing stays mounted"


def test_every_promise_names_its_tests() -> None:
    """The page of promises is whole: each clause is there once, and each test that is named exists and cites it."""
    numbers = [each.number for each in promises()]
    clauses = {"N": 8, "A": 4, "R": 6, "W": 12, "E": 2, "L": 4, "X": 2}
    assert numbers == [f"{letter}{number + 1}" for letter, count in clauses.items() for number in range(count)]
    trees: dict[str, ast.Module] = {}
    for each in promises():
        assert each.tests, each.number
        for test in each.tests:
            path, _, name = test.partition("::")
            if path not in trees:
                trees[path] = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            found = [node for node in trees[path].body if isinstance(node, ast.FunctionDef) and node.name == name]
            assert found, f"{each.number}: there is no {test}"
            cited = re.findall(r"\b[NARWELX][0-9]+\b", ast.get_docstring(found[0]) or "")
            assert each.number in cited, f"{test} does not cite {each.number}"


def test_the_page_of_promises_runs(fuse: None) -> None:
    """`scripts/promises A3` prints the promise as kept; what begins with nothing known is exit 2."""
    script = str(ROOT / "scripts" / "promises")
    done = subprocess.run([script, "A3"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and re.search(r"^kept +A3 +`df` shows the quota$", done.stdout, re.MULTILINE), done
    assert subprocess.run([script, "Q"], capture_output=True, timeout=100, check=False).returncode == 2
