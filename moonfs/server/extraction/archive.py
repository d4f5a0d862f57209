"""Zip-based documents: opened with caps, told apart by what is inside, their XML parsed with entities off.

The reader of `.docx`, `.xlsx`, `.pptx` and `.epub`, whatever the name says; the four do their own reading. An Office
file without any text of its own, such as scans pasted into Word, gives what is recognised in its pictures.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import importlib
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from typing import Final

from lxml import etree

from moonfs.server.extraction.document import Document, NoText, Output, Why

MAX_MEMBERS: Final = 20_000
#: Inflated bytes of one member and of all, as declared; `read` holds each member to what it declares.
MAX_MEMBER_BYTES: Final = 256 * 1024**2
MAX_TOTAL_BYTES: Final = 1024**3

_BY_PREFIX: Final = {"word/": "word", "xl/": "sheets", "ppt/": "slides", "META-INF/container.xml": "epub"}
_RELATIONSHIP: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


def read(document: Document, output: Output) -> None:
    """Read a zip-based document of any of the four kinds."""
    with Archive(document.path) as archive:
        module = importlib.import_module(f"moonfs.server.extraction.{archive.kind()}")
        read_archive: Callable[[Archive, Document, Output], None] = module.read
        read_archive(archive, document, output)
        if not output.has_text and archive.kind() != "epub":
            illustrations = importlib.import_module("moonfs.server.extraction.illustrations")
            illustrations.recognise_pictures(archive, document, output)


class Archive(zipfile.ZipFile):
    """A zip file that is no bomb and has no entities.

    Args:
        path: where it is.

    Raises:
        NoText: too many members, too many bytes, encrypted.
        zipfile.BadZipFile: no zip file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path
        members = self.infolist()
        total = sum(member.file_size for member in members)
        if any(member.flag_bits & 1 for member in members):
            raise NoText(Why.PASSWORD)
        if len(members) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
            raise NoText(Why.TOO_LARGE)
        if any(member.file_size > MAX_MEMBER_BYTES for member in members):
            raise NoText(Why.TOO_LARGE)

    def kind(self) -> str:
        """Return the module that reads it. Raises NoText for a zip that is no document."""
        for name in self.namelist():
            for prefix, module in _BY_PREFIX.items():
                if name.startswith(prefix):
                    return module
        # A book whose folder was packed with it, or that says what it is in other ways only.
        if self.has("mimetype") and b"epub" in self.read("mimetype"):
            return "epub"
        if any(name.endswith(("/META-INF/container.xml", ".opf")) for name in self.namelist()):
            return "epub"
        raise NoText(Why.UNSUPPORTED)

    def has(self, name: str) -> bool:
        """Say whether there is such a member."""
        return name in self.NameToInfo

    def xml(self, name: str) -> etree._Element:
        """Return the root of an XML member. Raises NoText for a document type, KeyError for no member."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=False)
        root = etree.fromstring(self.read(name), parser)
        if root.getroottree().docinfo.internalDTD is not None:
            raise NoText
        return root

    def related(self, part: str) -> Iterator[tuple[str, str]]:
        """Yield (last word of the type, part) of what `part` relates to; `""` is the document as a whole."""
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(relations):
            return
        for relation in self.xml(relations).iter(_RELATIONSHIP):
            if relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))
                yield relation.get("Type", "").rpartition("/")[2], target.lstrip("/")
