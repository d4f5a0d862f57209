"""The commands that the drive was made for, on the local Files API: their bytes, their exit codes, their messages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import docx
import pytest

from tests.conftest import Pair
from tests.harness.drive import Drive

pytestmark = pytest.mark.fuse

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
NAMES = ["a.pdf", "b.docx", "c.png"]


def has_in_memory(pid: int) -> int:
    """Return the resident bytes of a process, the most it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pdf, a docx and a png, each with text."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copy(SAMPLES / "welcome.pdf", folder / "a.pdf")
    shutil.copy(SAMPLES / "note.png", folder / "c.png")
    document = docx.Document()
    document.add_paragraph("A letter about the Moon.")
    document.save(str(folder / "b.docx"))
    return folder


def copied_to(drive: Drive, documents: Path) -> None:
    """Copy the three documents to the drive, on which there is nothing else."""
    for path in drive.point.iterdir():
        path.unlink(missing_ok=True)
    shutil.copytree(documents, drive.work(), dirs_exist_ok=True)
    drive.run('cp a.pdf b.docx c.png "$DIR/"')


@pytest.fixture
def drive(pair: Pair, documents: Path) -> Drive:
    """The drive with the three documents on it, and nothing else; they stay where a test only reads."""
    work = pair.drive.work()
    shutil.rmtree(work)
    shutil.copytree(documents, work)
    files = {file["filename"]: file["bytes"] for file in pair.account.files()}
    if files != {path.name: path.stat().st_size for path in documents.iterdir()}:
        copied_to(pair.drive, documents)
    return pair.drive


def test_cp(pair: Pair, documents: Path) -> None:
    """`cp a.pdf b.docx c.png DIR/`: the service has the three; they and their texts are listed and read back."""
    drive = pair.drive
    copied_to(drive, documents)
    assert sorted(file["filename"] for file in pair.account.files()) == NAMES
    assert sorted(os.listdir(drive.point)) == sorted(NAMES + [f"{name}.content" for name in NAMES])
    for name in NAMES:
        assert (drive / name).read_bytes() == (documents / name).read_bytes()
        assert pair.account.only(name)["bytes"] == (documents / name).stat().st_size


@pytest.mark.parametrize(
    ("name", "text"), [("a.pdf", "欢迎使用月球文件盘"), ("b.docx", "about the Moon"), ("c.png", "invoice 20417")]
)
def test_cat_the_text(drive: Drive, pair: Pair, name: str, text: str) -> None:
    """`cat DIR/a.pdf.content`: the body that the service answers, byte for byte, with the document's text in it."""
    shown = drive.run(f'cat "$DIR/{name}.content"')
    assert shown.encode() == pair.account.content(pair.account.only(name)["id"])
    assert text in json.loads(shown)["content"]


def test_cat_an_original(drive: Drive, documents: Path) -> None:
    """`cat DIR/a.pdf` gives the bytes that were written here."""
    drive.run('cat "$DIR/a.pdf" | cmp - a.pdf')


def test_grep(drive: Drive) -> None:
    """`grep -l WORD DIR/*.content` names the documents with that word, and exits 1 when there is none."""
    assert drive.run('cd "$DIR"; grep -l Moon *.content') == "b.docx.content\n"
    assert drive.run('cd "$DIR"; grep -l 文件 *.content | sort') == "a.pdf.content\n"
    assert drive.shell('grep -l Jupiter "$DIR"/*.content').returncode == 1


def test_tar(drive: Drive) -> None:
    """`tar cf x.tar DIR`: every file and every text whole, exit 0."""
    drive.run('tar cf x.tar -C "$DIR/.." drive; mkdir out; tar xf x.tar -C out')
    for path in drive.point.iterdir():
        assert (drive.home / "work" / "out" / "drive" / path.name).read_bytes() == path.read_bytes()


def test_rsync_out_of_the_drive(drive: Drive) -> None:
    """`rsync -a DIR/ backup/`: every file and every text whole; a second run sends nothing."""
    drive.run('rsync -a "$DIR/" backup/')
    assert sorted(os.listdir(drive.home / "work" / "backup")) == sorted(os.listdir(drive.point))
    for path in drive.point.iterdir():
        assert (drive.home / "work" / "backup" / path.name).read_bytes() == path.read_bytes()
    assert drive.run('rsync -ai "$DIR/" backup/ | grep "^>" || true') == ""


def test_rm_everything(drive: Drive, pair: Pair) -> None:
    """`rm DIR/*` ends without a word and exit 0; the account is empty."""
    assert drive.run('rm "$DIR"/*') == ""
    assert pair.account.files() == []
    assert os.listdir(drive.point) == []


def test_find_delete(drive: Drive, pair: Pair) -> None:
    """`find DIR -type f -delete`: the same."""
    assert drive.run('find "$DIR" -type f -delete') == ""
    assert pair.account.files() == []
    assert os.listdir(drive.point) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ('cp big.bin "$DIR/"', "cp: error writing '{drive}/big.bin': File too large\n"),
        ('cat big.bin > "$DIR/big.bin"', "cat: write error: File too large\n"),
        ('dd if=big.bin of="$DIR/big.bin" bs=1M status=none', "dd: error writing '{drive}/big.bin': File too large\n"),
    ],
)
def test_101_mb(drive: Drive, pair: Pair, command: str, message: str) -> None:
    """A 101 MB file: "File too large", exit 1, nothing uploaded, nothing left behind."""
    done = drive.shell(f"head -c 101M /dev/zero > big.bin; {command}")
    assert done.returncode == 1
    assert done.stderr.splitlines(keepends=True)[0] == message.format(drive=drive.point)
    assert pair.account.named("big.bin") == []
    assert not (drive / "big.bin").exists()


def test_the_1001st_file(fresh: Callable[..., Pair]) -> None:
    """W7: the 1,001st file: "Disk quota exceeded", exit 1, word for word: from the service, then from the drive."""
    pair = fresh("listing_ttl=1000")
    for index in range(1000):
        pair.account.upload(f"{index}.txt", b"x")
    pair.drive.remount()
    assert len(os.listdir(pair.drive.point)) == 2000
    done = pair.drive.shell('echo hello > a.txt; cp a.txt "$DIR/"')
    assert done.returncode == 1
    assert done.stderr == f"cp: failed to close '{pair.drive.point}/a.txt': Disk quota exceeded\n"
    done = pair.drive.shell('cp a.txt "$DIR/b.txt"')
    assert done.returncode == 1
    assert done.stderr == f"cp: cannot create regular file '{pair.drive.point}/b.txt': Disk quota exceeded\n"
    pair.drive.run('cp a.txt "$DIR/7.txt"; cat "$DIR/7.txt" | cmp - a.txt; rm "$DIR/8.txt"; cp a.txt "$DIR/"')
    assert len(pair.account.files()) == 1000
    assert pair.account.only("7.txt")["bytes"] == 6


def test_a_wrong_key(served: Pair, tmp_path: Path) -> None:
    """With a wrong key `moonfs mount` says so and exits 1."""
    with Drive(tmp_path) as drive:
        drive.environ |= {"MOONSHOT_BASE_URL": served.account.base_url, "MOONSHOT_API_KEY": "sk-wrong"}
        done = drive.try_mount()
    assert done.returncode == 1
    assert done.stderr.startswith("moonfs: The service refused the API key")


def test_memory_of_a_100_mb_upload(fresh: Callable[..., Pair]) -> None:
    """A 100 MB upload through the drive, and reading it back, raise the daemon's memory by less than 32 MiB."""
    drive = fresh().drive
    drive.run('echo warm > "$DIR/warm.txt"; cat "$DIR/warm.txt.content"')
    before = has_in_memory(drive.pid)
    drive.run('truncate -s 100M big.mp4; printf "\\0\\0\\0\\30ftypisom" | dd of=big.mp4 conv=notrunc status=none')
    drive.run('cp --sparse=never big.mp4 "$DIR/"; cmp big.mp4 "$DIR/big.mp4"')
    assert os.stat(drive / "big.mp4").st_size == 100 * 2**20
    assert has_in_memory(drive.pid) - before < 32 * 2**20
