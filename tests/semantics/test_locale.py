"""A locale that is not UTF-8: names on the drive are the kernel's bytes all the same, and everything can be printed.

Both the drive and the programs that write run in such a locale. Python itself speaks UTF-8 in C and POSIX (PEP 540).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import FaultServer, refused
from tests.harness.drive import Drive, end_server, hosted, local, wait_until

pytestmark = [pytest.mark.fuse, pytest.mark.started]

CHINESE = "计划.txt"
LATIN1 = "en_US.ISO-8859-1"


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the C library finds a locale of Latin-1 (LOCPATH, locale(7))."""
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"):
        pytest.skip("localedef is missing, so that no locale of Latin-1 can be made")
    done = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / LATIN1)], capture_output=True, check=False
    )
    if not (folder / LATIN1 / "LC_CTYPE").exists():  # without its sources localedef leaves an empty directory
        pytest.skip(f"no locale of Latin-1 can be made (Debian's package locales has its source): {done.stderr!r}")
    return {"LOCPATH": str(folder)}


@pytest.fixture(params=[LATIN1, "POSIX", "C"])
def tongue(request: pytest.FixtureRequest, locales: dict[str, str]) -> dict[str, str]:
    """What sets the locale."""
    return {**locales, "LC_ALL": request.param, "LANG": request.param}


@pytest.fixture
def latin1(locales: dict[str, str]) -> dict[str, str]:
    return {**locales, "LC_ALL": LATIN1, "LANG": LATIN1}


@pytest.fixture
def service() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def sh(drive: Drive, script: str, environ: dict[str, str]) -> bytes:
    """Return what a shell script prints that must succeed without complaint; `m` is moonfs, `$D` the drive."""
    done = subprocess.run(
        ["sh", "-ec", f'm() {{ {drive.moonfs()} "$@"; }}\nD={drive.point}\n{script}'],
        env={"PATH": drive.environ["PATH"], **environ},
        cwd=drive.work(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


@pytest.mark.parametrize("options", [(), ("write_back",)], ids=["write-through", "write-back"])
def test_a_chinese_name(
    fuse: None, tmp_path: Path, service: FaultServer, tongue: dict[str, str], options: tuple[str, ...]
) -> None:
    """N1, N2, W1, W2: written, overwritten, renamed, read and deleted as in any other locale."""
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        drive.environ |= tongue
        drive.mount("listing_ttl=0", *options)
        sh(drive, f"echo one >{CHINESE}; cp {CHINESE} $D/; echo two >>{CHINESE}; cp {CHINESE} $D/", tongue)
        sh(drive, f"mv $D/{CHINESE} $D/新.txt; cat $D/新.txt; cp $D/新.txt $D/Ü.txt; rm $D/新.txt", tongue)
        wait_until(lambda: service.names() == ["Ü.txt"], "the service has what was written")
        assert sh(drive, "cat $D/Ü.txt", tongue) == b"one\ntwo\n"
        assert sh(drive, "ls $D", tongue) == "Ü.txt\nÜ.txt.content\n".encode()
        drive.remount("listing_ttl=0", *options)
        assert os.listdir(drive.point) == ["Ü.txt", "Ü.txt.content"]
        assert drive.errors() == [] and "Traceback" not in drive.log() and " ERROR " not in drive.log()


def test_what_is_pending_is_known_in_another_locale(
    fuse: None, tmp_path: Path, service: FaultServer, latin1: dict[str, str]
) -> None:
    """W2: a drive of Latin-1 that was killed goes on in UTF-8, with an account below a path that is not ASCII."""
    with Drive(tmp_path / "Bücher", *hosted(service.base_url, service.key)) as drive:
        utf8 = dict(drive.environ)
        drive.environ |= latin1
        drive.mount("write_back", "drain=0")
        service.script("upload", *[refused(500, "broken")] * 1000)
        sh(drive, f"echo one >$D/{CHINESE}", latin1)
        drive.kill()
        service.unscript()
        drive.environ = utf8
        drive.mount("write_back")
        wait_until(lambda: service.names() == [CHINESE], "the service has it")
        assert (drive / CHINESE).read_text() == "one\n"


def test_what_commands_print(fuse: None, tmp_path: Path, service: FaultServer, latin1: dict[str, str]) -> None:
    """Whatever the names: no traceback, question marks for what Latin-1 lacks, and JSON that is complete."""
    with Drive(tmp_path / "Bücher", *hosted(service.base_url, service.key)) as drive:
        drive.environ |= latin1
        service.add(CHINESE, b"text")
        drive.mount("listing_ttl=0")
        service.script("upload", refused(400, "没有解析出内容"))
        with pytest.raises(OSError):
            (drive / "图.pdf").write_bytes(b"%PDF-")
        said = sh(drive, "m status $D 2>&1", latin1).decode("latin-1")
        assert "?.pdf" in said and "Bücher" in said and "no text could be extracted" in said
        found = json.loads(sh(drive, "m status $D --json", latin1))
        assert [each["name"] for each in found["uploads"]["failed"]] == ["图.pdf"]
        assert found["mountpoint"] == str(drive.point)
        assert b"?.pdf" in sh(drive, "m logs --errors $D 2>&1", latin1)
        assert b"1 text here" in sh(drive, f"m prefetch $D {CHINESE}", latin1)
        for command in ("logs $D", "config", "--help", "mount --help", "refresh $D", "logs --path"):
            sh(drive, f"m {command}", latin1)
        assert b"->" in sh(drive, "(m doctor 2>&1 || true)", latin1)
        done = drive.command("mount", str(drive.home), encoding="latin-1")
        assert (done.returncode, done.stdout) == (1, "") and "Bücher is not empty" in done.stderr, done


def test_the_tab_key_is_given_names_as_they_are(
    fuse: None, tmp_path: Path, service: FaultServer, latin1: dict[str, str]
) -> None:
    """A question mark would not be the name of the file."""
    service.add(CHINESE, b"text")
    with Drive(tmp_path / "home", *hosted(service.base_url, service.key)) as drive:
        drive.environ |= latin1
        drive.mount("listing_ttl=0")
        asked = f'COMP_LINE="moonfs prefetch $D " COMP_WORD="" _MOONFS_COMPLETE=bash_complete {drive.moonfs()}'
        assert CHINESE.encode() in sh(drive, asked, latin1)


def test_a_local_drive_in_a_chinese_directory(fuse: None, tmp_path: Path, latin1: dict[str, str]) -> None:
    """The local Files API too, with its workers: paths out of config.toml are UTF-8."""
    home = tmp_path / "home"
    data = home / "资料"
    with Drive(home) as drive:
        (home / "config" / "moonfs").mkdir(parents=True)
        (home / "config" / "moonfs" / "config.toml").write_text(f'local = "{data}"\n', encoding="utf-8")
        drive.environ |= latin1
        drive.mount()
        sh(drive, f"echo 计划 >{CHINESE}; cp {CHINESE} $D/", latin1)
        assert "计划" in json.loads(sh(drive, f"cat $D/{CHINESE}.content", latin1))["content"]
        assert str(data) in sh(drive, "m status $D --json", latin1).decode("unicode-escape")
    end_server(data)


def test_the_same_account_in_every_locale(fuse: None, tmp_path: Path, latin1: dict[str, str]) -> None:
    """L3: what a directory is called does not depend on the locale."""
    home = tmp_path / "home"
    data = home / "Bücher"
    with Drive(home, *local(data)) as drive:
        utf8 = dict(drive.environ)
        for environ in (utf8, {**utf8, **latin1}):
            drive.environ = environ
            drive.mount()
            drive.umount()
        assert len(list(home.glob("state/moonfs/accounts/*"))) == 1
    end_server(data)
