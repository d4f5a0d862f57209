"""Advice for files whose type is refused: by what they are, in one sentence, with a command that works."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator

import pytest

from moonfs import advice, errors, names


def zipped(*entries: str, body: str = "x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for entry in entries:
            file.writestr(entry, body)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.txt"))
    return buffer.getvalue()


OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
NOISE = bytes(range(256)) * 8
UNPACK = "Unpack it elsewhere and copy the files that are in it: the service takes no archives."
NO_SOUND = "Leave it out, or copy what is said in it as a text: the service takes no sound."


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("data.rs", b"fn main() {}\n", "Rename it, and it is uploaded: mv data.rs data.rs.txt"),
        ("Makefile", b"all:\n\tcc\n", "Rename it, and it is uploaded: mv Makefile Makefile.txt"),
        ("my notes.tex", b"\\begin", "Rename it, and it is uploaded: mv 'my notes.tex' 'my notes.tex.txt'"),
        ("it's.sql", b"select 1", "Rename it, and it is uploaded: mv 'it'\"'\"'s.sql' 'it'\"'\"'s.sql.txt'"),
        ("计划", "计划一".encode("gb18030"), "Rename it, and it is uploaded: mv '计划' '计划.txt'"),
        ("wide.rst", "wide".encode("utf-16"), "Rename it, and it is uploaded: mv wide.rst wide.rst.txt"),
        ("server.key", b"-----BEGIN PRIVATE KEY-----\n", "Rename it, and it is uploaded: mv server.key server.key.txt"),
        ("report", b"%PDF-1.7\n" + NOISE, "Rename it, and it is uploaded: mv report report.pdf"),
        ("scan.dat", b"\x89PNG\r\n\x1a\n" + NOISE, "Rename it, and it is uploaded: mv scan.dat scan.dat.png"),
        ("letter", zipped("[Content_Types].xml", "word/document.xml"), "mv letter letter.docx"),
        ("book", zipped("mimetype", body="application/epub+zip"), "mv book book.epub"),
        ("docs.tgz", gzip.compress(b"x", mtime=0), UNPACK),
        ("docs.tar", tarred(), UNPACK),
        ("docs.zip", zipped("a.txt"), UNPACK),
        ("docs", zipped("a.txt"), UNPACK),
        ("docs.7z", NOISE, UNPACK),
        ("song.mp3", b"ID3" + NOISE, NO_SOUND),
        ("song.mp3", b"\xff\xfb\x90\0" + NOISE, NO_SOUND),
        ("song", b"OggS\0" + NOISE, NO_SOUND),
        ("plan.odt", zipped("mimetype", body=OPEN_DOCUMENT + "text"), "Save it as .docx"),
        ("plan", zipped("mimetype", body=OPEN_DOCUMENT + "spreadsheet"), "Save it as .xlsx"),
        ("plan.odp", b"", "Save it as .pptx"),
        ("plan.rtf", b"{\\rtf1 plan}", "Save it as .docx"),
        ("book.xlsm", zipped("xl/workbook.xml"), "Save it as .xlsx"),
        ("plan.odt", b"no OpenDocument at all", "Save it as .docx"),
        ("song.mp3", b"no sound at all", NO_SOUND),
        ("docs.zip", b"no archive at all", UNPACK),
        ("photo.psd", b"8BPS\0\1" + NOISE, "Save it as .png"),
        ("film.mkv", b"\x1aE\xdf\xa3" + NOISE, "Save it as .mp4"),
        ("table.parquet", b"PAR1" + NOISE, "Save it as .csv"),
        ("a.out", b"\x7fELF" + NOISE, "Save what is in it as PDF or as text"),
        ("empty.x", b"", "Save what is in it as PDF or as text"),
    ],
)  # fmt: skip
def test_advice_is_by_what_the_file_is(name: str, head: bytes, said: str) -> None:
    """Errors: content goes before the name; a text is renamed, with its own name in the command."""
    step = advice.for_refused(head, name=name, wanted=name)
    assert said in step and re.fullmatch(r"[A-Z][^\n]+[^ ]", step), step


def test_a_rename_that_was_refused_goes_on_from_the_name_that_it_has() -> None:
    """W9: the file is still under its old name."""
    assert advice.for_refused(b"x", name="a.tmp", wanted="a.rs").endswith(": mv a.tmp a.rs.txt")


def test_what_is_not_kept_cannot_be_renamed() -> None:
    """W4: the version before shows again."""
    assert advice.for_refused(b"x", name="a b.rs", wanted="a b.rs", kept=False).endswith("takes: 'a b.rs.txt'")


def test_a_name_that_would_get_too_long() -> None:
    """N7: the command would fail."""
    name = "x" * names.MAX_BYTES
    assert "mv" not in advice.for_refused(b"x", name=name, wanted=name)


@pytest.fixture
def drive() -> Iterator[None]:
    """A drive that is mounted somewhere, until the test ends."""
    advice.mounted_on("/home/ann/my drive")
    yield
    advice.mounted_on("")


def test_the_command_works_from_anywhere(drive: None) -> None:
    """Errors: whoever has copied a file is where the file comes from."""
    step = advice.for_refused(b"x", name="a.rs", wanted="a.rs")
    assert step.endswith(": mv '/home/ann/my drive/a.rs' '/home/ann/my drive/a.rs.txt'")


def test_only_a_refused_type_depends_on_the_file() -> None:
    """Errors: every other error has one step for all files."""
    for error in (errors.NoText("x"), errors.QuotaExceeded("x"), OSError(28, "x")):
        advice.about(error, b"x", name="a.rs", wanted="a.rs")
        assert "a.rs" not in errors.next_step(error)
    refused = errors.UnsupportedType("x")
    assert errors.next_step(refused) == errors.NEXT_STEPS[errors.UnsupportedType]
    advice.about(refused, b"x", name="a.rs", wanted="a.rs")
    assert errors.next_step(refused).endswith("mv a.rs a.rs.txt")
