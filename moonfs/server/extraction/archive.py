"""Zip-based documents: opened with caps, told apart by what is inside, their XML parsed with entities off.

The reader of `.docx`, `.xlsx`, `.pptx` and `.epub`, whatever the name says; the four do their own reading. An Office
file without any text of its own, such as scans pasted into Word, gives what is recognised in its pictures.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import importlib
import lzma
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from lxml import etree

from moonfs.server.extraction.document import Document, NoText, Output, Why

MAX_MEMBERS: Final = 20_000
#: Inflated bytes of one member and of all, as declared; `read` holds each member to what it declares.
MAX_MEMBER_BYTES: Final = 256 * 1024**2
MAX_TOTAL_BYTES: Final = 1024**3

#: What is raised of a member that is damaged, or is no XML where it should be. A hole in the file may even make who
#: reads it seek to before its beginning, which is an OSError.
DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, NoText, KeyError,
    ValueError, OSError, struct.error, etree.LxmlError,
)  # fmt: skip

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
        if archive.is_damaged:
            output.note_cut("some of its parts are damaged")


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
        #: Something could not be read and was left out.
        self.is_damaged = False
        self._known: dict[str, list[tuple[str, str, str]]] = {}
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

    def parts(self, part: str, *kinds: str) -> list[str]:
        """Return the parts of some kinds that `part` relates to and that are there, each once, if it is readable."""
        found: dict[str, None] = {}
        try:
            for _, kind, target in self._relations(part):
                if kind in kinds and self.has(target):
                    found[target] = None
        except DAMAGED:
            self.is_damaged = True
        return list(found)

    def targets(self, part: str) -> dict[str, str]:
        """Return what `part` relates to by the id of the relation. Raises one of DAMAGED."""
        return {relation: target for relation, _, target in self._relations(part)}

    def _relations(self, part: str) -> list[tuple[str, str, str]]:
        """Return (id, last word of the type, part) of what `part` relates to; `""` is the document as a whole."""
        if part not in self._known:
            self._known[part] = []  # of what is damaged it is said once
            self._known[part] = list(self._read_relations(part))
        return self._known[part]

    def _read_relations(self, part: str) -> Iterator[tuple[str, str, str]]:
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(relations):
            return
        for relation in self.xml(relations).iter(_RELATIONSHIP):
            if relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))
                kind = relation.get("Type", "").rpartition("/")[2]
                yield relation.get("Id", ""), kind, target.lstrip("/")


def name_of(element: etree._Element) -> str:
    """Return the name of an element of a part, without its namespace; empty for comments and entities."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
