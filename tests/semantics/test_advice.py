"""What to do with a file of a type that the service refuses: said where the failure is shown, and it works (E1)."""

from __future__ import annotations

import os
import shlex
import tarfile
import zipfile
from collections.abc import Callable, Iterator

import pytest

from moonfs import wire
from tests.conftest import Faulty, Pair
from tests.faults.server import refused
from tests.harness.drive import Drive, wait_until

pytestmark = pytest.mark.fuse


@pytest.fixture(params=["write-through", "write-back"])
def alone(request: pytest.FixtureRequest, fresh: Callable[..., Pair]) -> Iterator[Pair]:
    """A drive on a local Files API of its own, in both modes: a service that refuses."""
    yield fresh("listing_ttl=0", *(("write_back",) if request.param == "write-back" else ()))


def copied(drive: Drive, name: str) -> str:
    """Copy a file that is refused, and return the advice that its status has."""
    done = drive.shell(f'cp -- {shlex.quote(name)} "$DIR/"')
    assert done.returncode == 0 or "not supported" in done.stderr, done

    def failed() -> str:
        return next((str(each["next"]) for each in drive.status()["uploads"]["failed"] if each["name"] == name), "")

    return str(wait_until(failed, f"{name} is refused"))


@pytest.mark.parametrize(
    ("name", "body"),
    [("data.rs", b"fn main() {}\n"), ("Makefile", b"all:\n"), ("it's $1.tex", b"\\begin"), ("-v", b"a text")],
)
def test_following_it_uploads_a_text(alone: Pair, name: str, body: bytes) -> None:
    """E1, N7: the advice has the file's own name in it, is a command that works from anywhere, and helps."""
    work = alone.drive.work()
    (work / name).write_bytes(body)
    step = copied(alone.drive, name)
    command = step.partition(": ")[2]
    assert shlex.split(command) == ["mv", str(alone.drive / name), str(alone.drive / f"{name}.txt")]
    done = alone.drive.shell(command)
    assert (done.returncode, done.stderr) == (0, ""), done
    wait_until(lambda: alone.account.named(f"{name}.txt"), "it is uploaded")
    assert (work / name).read_bytes() == body, "the file that was copied is left alone"
    assert alone.drive.status()["uploads"]["failed"] == []


def test_everything_that_shows_a_failure_says_it(alone: Pair) -> None:
    """E1, A4: status, errors.ndjson, the attribute, the log and `moonfs logs --errors` say the same of each file."""
    work = alone.drive.work()
    with tarfile.open(work / "docs.tgz", "w:gz") as file:
        file.addfile(tarfile.TarInfo("a.txt"))
    (work / "song.mp3").write_bytes(b"ID3\4\0" + bytes(100))
    with zipfile.ZipFile(work / "plan.odt", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
    (work / "main.rs").write_text("fn main() {}\n")
    for name, said in {
        "docs.tgz": "Unpack it elsewhere",
        "song.mp3": "takes no sound",
        "plan.odt": "Save it as .docx",
        "main.rs": f"mv {alone.drive.point}/main.rs {alone.drive.point}/main.rs.txt",
    }.items():
        step = copied(alone.drive, name)
        assert said in step
        assert os.getxattr(alone.drive / name, "user.moonfs.next").decode() == step
        assert {line["next"] for line in alone.drive.errors() if line["name"] == name} == {step}
        assert f"→ {step}" in alone.drive.command("logs", "--errors").stdout
        assert f"→ {step}" in alone.drive.command("status", str(alone.drive.point)).stdout
    before = {each["name"]: each["next"] for each in alone.drive.status()["uploads"]["failed"]}
    assert len(before) == 4
    alone.drive.remount("listing_ttl=0")
    assert {each["name"]: each["next"] for each in alone.drive.status()["uploads"]["failed"]} == before


def test_a_rename_that_is_refused_says_it_too(both: Faulty) -> None:
    """W9, E1: the file has its old name still, and the command begins with that."""
    (both.drive / "a.tmp").write_text("a text")
    both.server.script("upload", refused(400, wire.MSG_UNSUPPORTED))
    done = both.drive.shell('mv "$DIR/a.tmp" "$DIR/Makefile"')
    assert "Operation not supported" in done.stderr
    step = both.drive.errors()[-1]["next"]
    assert step.endswith(f"mv {both.drive.point}/a.tmp {both.drive.point}/Makefile.txt")
    both.drive.run(step.partition(": ")[2])
    assert both.server.names() == ["Makefile.txt"]
