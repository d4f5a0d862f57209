"""LibreOffice without a window: documents saved into the drive, converted there, and changed in place."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pypdf
import pytest

from tests.conftest import Faulty
from tests.harness.programs import needs

pytestmark = pytest.mark.fuse


def text_of_odt(body: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return archive.read("content.xml").decode()


#: What a document of each format says.
READERS: dict[str, Callable[[bytes], str]] = {
    "odt": text_of_odt,
    "docx": lambda body: "\n".join(each.text for each in docx.Document(io.BytesIO(body)).paragraphs),
    "pdf": lambda body: pypdf.PdfReader(io.BytesIO(body)).pages[0].extract_text(),
}


#: Opens a document, gives it another text, and saves it where it lies, as Ctrl+S does.
MACRO = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1" script:language="StarBasic">
Sub Save(path As String, text As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  document = StarDesktop.loadComponentFromURL(ConvertToURL(path), "_blank", 0, hidden())
  document.Text.setString(text)
  document.store()
  document.close(True)
  StarDesktop.terminate()
End Sub
</script:module>
"""


class Office:
    """LibreOffice with a profile and a directory for temporary files of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def run(self, each: Faulty, arguments: str) -> str:
        """Run it in the drive's shell, and return what it printed; its first start takes the longest."""
        done = each.drive.shell(
            f"TMPDIR={self._home} soffice -env:UserInstallation=file://{self._home}/user --headless {arguments}",
            timeout=90,
        )
        # It says so where there is no Java, which it does not need.
        complaints = [line for line in done.stderr.splitlines() if "javaldx" not in line]
        assert (done.returncode, complaints) == (0, []), done
        return done.stdout

    def convert(self, each: Faulty, source: str, folder: str, ending: str) -> None:
        """Convert a document; both paths in the shell's terms."""
        assert "convert " in self.run(each, f'--convert-to {ending} --outdir "{folder}" "{source}"')

    def save(self, each: Faulty, path: Path, text: str) -> None:
        """Open a document, make it say `text`, save it."""
        module = self._home / "user" / "user" / "basic" / "Standard" / "Module1.xba"
        if not module.exists():
            self.run(each, "--terminate_after_init")
        module.write_text(MACRO)
        self.run(each, f'\'macro:///Standard.Module1.Save("{path}","{text}")\'')


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    needs("soffice")
    return Office(tmp_path_factory.mktemp("libreoffice"))


def says(each: Faulty, text: str, *names: str) -> dict[str, bytes]:
    """Check what documents on the drive say, and return their bytes by name."""
    bodies = {name: (each.drive / name).read_bytes() for name in names}
    for name, body in bodies.items():
        assert text in READERS[name.rpartition(".")[2]](body)
    return bodies


def test_a_letter(either: Faulty, office: Office) -> None:
    """W1, W2, W4, W5, R5, N6: saved into the drive, converted there twice, changed in place, converted over a version.

    Each is one upload, and arrives once and whole; locks and temporary files never do. One story, since each of the
    five starts takes most of a second of processor time; in write-back none waits until the one before has arrived.
    """
    (either.drive.work() / "letter.txt").write_text("A letter about the Moon.\n")
    office.convert(either, "letter.txt", "$DIR", "odt")
    office.convert(either, "$DIR/letter.odt", "$DIR", "docx")
    office.convert(either, "$DIR/letter.docx", "$DIR", "pdf")
    first = says(either, "about the Moon", "letter.odt", "letter.docx", "letter.pdf")
    office.save(either, either.drive / "letter.docx", "A letter about Mars.")
    office.convert(either, "$DIR/letter.docx", "$DIR", "pdf")
    second = says(either, "about Mars", "letter.docx", "letter.pdf")
    either.holds({**first, **second}, uploads=5)
