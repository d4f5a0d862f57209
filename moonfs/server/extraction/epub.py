"""Books (.epub): the title, then the chapters in the order of the spine, as visible text.

What the spine calls not linear comes after, then what only the table of contents leads to. A book without a spine is
read in the order of its manifest, one without a manifest in that of its names. A book that is nothing but pictures of
pages gives what is recognised in them. The package is read as loosely as the chapters: many are no good XML.

Encrypted fonts are no DRM, an encrypted chapter is.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import contextlib
import importlib
import posixpath
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeGuard
from urllib.parse import unquote

from moonfs.server.extraction.archive import DAMAGED, Archive
from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.markup import decode_page, visible_text
from moonfs.server.extraction.tags import Tag, Tags

#: Bytes of the package, of a table of contents, of what is said of encryption.
MAX_PACKAGE_BYTES: Final = 16 * 1024**2
#: Characters a chapter, on average, with which a book may still be one of pictures that say what they show.
_FEW: Final = 200

_PACKAGE_TYPE: Final = "application/oebps-package+xml"
#: How fonts are spoilt so that they serve in no other book (EPUB 3.3, OCF; Adobe's way before that).
_OBFUSCATIONS: Final = frozenset(("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#rc"))
#: Licences of Readium LCP and of Apple FairPlay; Adobe's is in `rights.xml`, a name that others may use.
_LICENCES: Final = ("META-INF/license.lcpl", "META-INF/sinf.xml")
_ADOBE: Final = b"ns.adobe.com/adept"
#: Items that stand in for one another: real books have two.
_MAX_FALLBACKS: Final = 8
_ALTERNATIVE: Final = re.compile(rb"""\balt\s*=\s*(?:"[^"]*"|'[^']*')""")
_DIGITS: Final = re.compile(r"(\d+)")


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a book. Raises NoText for one under DRM, NeedsOcr for one of pictures in a light worker."""
    members = _Members(archive)
    package = _package(members)
    chapters = list(dict.fromkeys(_chapters(members, package)))
    if _is_encrypted(members, chapters):
        raise NoText(Why.DRM)
    if not chapters:
        raise NoText
    for title in dict.fromkeys(package.titles):
        output.line(title)
    written = _read_chapters(members, chapters, document, output)
    if written > _FEW * len(chapters) or (written and _has_text(members, chapters)):
        return
    pictures = list(dict.fromkeys(_pictures(members, chapters)))
    if pictures:
        illustrations = importlib.import_module("moonfs.server.extraction.illustrations")  # libraries of pictures
        illustrations.recognise_pictures(archive, document, output, pictures)
    elif not written:
        raise NoText(Why.EMPTY)


# ---- members ---------------------------------------------------------------------------------------------------


class _Members:
    """The members of a book, found as books refer to them: by another case, with `%20`, from the folder of a page.

    Args:
        archive: the book.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, str | None] = {}
        for info in archive.infolist():
            for path in () if info.is_dir() else _spellings(info):
                self._by_path.setdefault(_folded(path), info.filename)
                name = _folded(posixpath.basename(path))
                other = self._by_name.get(name, info.filename)
                self._by_name[name] = info.filename if other == info.filename else None
        self.names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
        containers = [name for name in self.names if _folded(name).endswith("meta-inf/container.xml")]
        #: The folder that was packed in place of what is in it, or "".
        self.base = min(containers, key=len)[: -len("META-INF/container.xml")] if containers else ""

    def find(self, href: str, folder: str = "") -> str | None:
        """Return the member that `href` refers to from a page in `folder`, or None."""
        href = href.strip()
        if not href:
            return None
        for written in (href, href.partition("#")[0].partition("?")[0]):
            for path in dict.fromkeys((written, unquote(written))):
                for start in dict.fromkeys((folder, self.base.rstrip("/"), "")):
                    joined = posixpath.join("/", start, path.replace("\\", "/").lstrip("/"))
                    found = self._by_path.get(_folded(posixpath.normpath(joined).lstrip("/")))
                    if found:
                        return found
        if "://" in href:
            return None
        return self._by_name.get(_folded(posixpath.basename(unquote(href.partition("#")[0])))) or None

    def find_exactly(self, path: str) -> str | None:
        """Return the member at a path, but for its case, or None."""
        return self._by_path.get(_folded(self.base + path))

    def read(self, member: str) -> bytes:
        """Return the bytes of a member; raises one of DAMAGED."""
        return self._archive.read(member)

    def tags(self, member: str | None) -> Iterator[Tag | str]:
        """Yield the tags and texts of the package, or of what belongs to it; none of what is not there or damaged."""
        if member is None:
            return
        if self._archive.getinfo(member).file_size > MAX_PACKAGE_BYTES:
            raise NoText(Why.TOO_LARGE)
        yield from Tags(decode_page(self.read(member)))


def _spellings(info: zipfile.ZipInfo) -> Iterator[str]:
    """Yield a member's name, and what it was before it was taken for the code page of MS-DOS."""
    yield info.filename.replace("\\", "/")
    if not info.flag_bits & 0x800 and not info.filename.isascii():
        for encoding in ("utf-8", "gb18030"):
            try:
                yield info.filename.encode("cp437").decode(encoding).replace("\\", "/")
            except UnicodeError:
                continue


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


# ---- the package -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Item:
    """A line of the manifest."""

    href: str
    media_type: str
    fallback: str
    is_nav: bool


@dataclass(slots=True)
class _Package:
    """What the package says.

    Attributes:
        folder: what its references start from.
        items: the manifest by id.
        spine: (id, is linear) of the chapters.
        titles: of the book.
        toc: id of the table of contents of EPUB 2.
    """

    folder: str = ""
    items: dict[str, _Item] = field(default_factory=dict)
    spine: list[tuple[str, bool]] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    toc: str = ""


def _package(members: _Members) -> _Package:
    """Read the package of the first rendition that is there; of several each is the whole book."""
    roots: list[dict[str, str]] = []
    with contextlib.suppress(*DAMAGED):
        container = members.tags(members.find_exactly("META-INF/container.xml"))
        roots += [piece.attributes() for piece in container if _is(piece, "rootfile")]
    roots.sort(key=lambda root: root.get("media-type", _PACKAGE_TYPE) != _PACKAGE_TYPE)
    paths = [members.find(root.get("full-path", "")) for root in roots]
    paths += sorted(name for name in members.names if name.lower().endswith(".opf"))
    path = next((path for path in paths if path and not path.lower().endswith(".pdf")), None)
    package = _Package(posixpath.dirname(path or ""))
    with contextlib.suppress(*DAMAGED):  # what is known by then is enough for many books
        _read_package(members.tags(path), package)
    return package


def _read_package(pieces: Iterator[Tag | str], package: _Package) -> None:
    is_title = False
    for piece in pieces:
        if isinstance(piece, str):
            if is_title and piece.strip():
                package.titles.append(" ".join(piece.split()))
            continue
        is_title = _is(piece, "title")
        if _is(piece, "item"):
            item = piece.attributes()
            package.items.setdefault(
                item.get("id", ""),
                _Item(
                    item.get("href", ""),
                    item.get("media-type", "").lower(),
                    item.get("fallback", ""),
                    "nav" in item.get("properties", "").split(),
                ),
            )
        elif _is(piece, "itemref"):
            reference = piece.attributes()
            package.spine.append((reference.get("idref", ""), reference.get("linear", "").lower() != "no"))
        elif _is(piece, "spine"):
            package.toc = piece.attributes().get("toc", "")


def _is(piece: Tag | str, name: str) -> TypeGuard[Tag]:
    return isinstance(piece, Tag) and piece.name == name and not piece.is_end


def _chapters(members: _Members, package: _Package) -> Iterator[str]:
    """Yield the members to read, in order; some of them more than once."""
    spine = sorted(package.spine, key=lambda reference: not reference[1])
    found = [member for name, _ in spine if (member := _member(members, package, name))]
    if not found:
        pages = [item for item in package.items.values() if _is_page(item) and not item.is_nav]
        found = [member for item in pages if (member := members.find(item.href, package.folder))]
    if not found:
        names = [name for name in members.names if re.search(r"\.x?html?$", name, re.IGNORECASE)]
        found = sorted(names, key=lambda name: [int(n) if n.isdecimal() else n for n in _DIGITS.split(name)])
    yield from found
    yield from _in_contents(members, package)


def _member(members: _Members, package: _Package, name: str) -> str | None:
    """Return the member that a reference of the spine means; of what is no page, the page that stands in for it."""
    item = package.items.get(name)
    if item is None:
        return members.find(name, package.folder) if name else None
    for _ in range(_MAX_FALLBACKS):  # they may be a ring
        if _is_page(item) or item.fallback not in package.items:
            break
        item = package.items[item.fallback]
    return members.find(item.href, package.folder)


def _is_page(item: _Item) -> bool:
    kind = item.media_type
    return any(word in kind for word in ("html", "svg", "dtbook", "oeb1-document")) or (
        not kind and re.search(r"\.x?html?$", item.href.partition("#")[0], re.IGNORECASE) is not None
    )


def _in_contents(members: _Members, package: _Package) -> Iterator[str]:
    """Yield the pages that the table of contents leads to."""
    tables = [item for name, item in package.items.items() if name == package.toc or "ncx" in item.media_type]
    tables += [item for item in package.items.values() if item.is_nav]
    pages = {members.find(item.href, package.folder) for item in package.items.values() if _is_page(item)}
    for path in dict.fromkeys(members.find(table.href, package.folder) for table in tables):
        with contextlib.suppress(*DAMAGED):  # the book can be read without
            for piece in members.tags(path):
                if path is not None and (_is(piece, "content") or _is(piece, "a")):
                    attributes = piece.attributes()
                    target = attributes.get("src") or attributes.get("href", "")
                    member = None if target.startswith("#") else members.find(target, posixpath.dirname(path))
                    if member is not None and member in pages:
                        yield member


# ---- text ------------------------------------------------------------------------------------------------------


def _read_chapters(members: _Members, chapters: list[str], document: Document, output: Output) -> int:
    """Write the chapters; return the number of characters written."""
    damaged = written = 0
    for number, chapter in enumerate(chapters, 1):
        try:
            raw = members.read(chapter)
            text = "" if _is_picture(raw) else visible_text(raw, title=False, is_late=document.is_late)
        except DAMAGED:
            damaged += 1
            continue
        written += len(text)
        if text:
            output.add(text + "\n\n")
        document.report(number, len(chapters))
        if document.is_late():
            output.cut("reading it took too long")
    if damaged == len(chapters) and damaged:
        raise NoText(Why.CORRUPT)
    if damaged:
        output.note_cut(f"{damaged} of its chapters are damaged")
    return written


def _has_text(members: _Members, chapters: Iterable[str]) -> bool:
    """Say whether there is any text but for what pictures are said to show."""
    return any(visible_text(_ALTERNATIVE.sub(b"", raw), title=False) for _, raw in _pages(members, chapters))


def _pages(members: _Members, chapters: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (chapter, its bytes) but for those that are damaged."""
    for chapter in chapters:
        with contextlib.suppress(*DAMAGED):
            yield chapter, members.read(chapter)


def _is_picture(raw: bytes) -> bool:
    return raw.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"))


def _pictures(members: _Members, chapters: Iterable[str]) -> Iterator[str]:
    """Yield the pictures that the pages show."""
    for chapter, raw in _pages(members, chapters):
        if _is_picture(raw):
            yield chapter
            continue
        for piece in Tags(decode_page(raw)):
            if _is(piece, "img") or _is(piece, "image"):
                attributes = piece.attributes()
                member = members.find(attributes.get("src") or attributes.get("href", ""), posixpath.dirname(chapter))
                if member:
                    yield member


# ---- encryption ------------------------------------------------------------------------------------------------


def _is_encrypted(members: _Members, chapters: list[str]) -> bool:
    """Say whether the text is for one reader only; of a free book fonts are encrypted at most."""
    if any(members.find_exactly(licence) for licence in _LICENCES):
        return True
    rights = members.find_exactly("META-INF/rights.xml")
    if rights and _ADOBE in members.read(rights):
        return True
    text = set(chapters)
    algorithm = ""
    for piece in members.tags(members.find_exactly("META-INF/encryption.xml")):
        if _is(piece, "encrypteddata"):
            algorithm = ""
        elif _is(piece, "encryptionmethod"):
            algorithm = algorithm or piece.attributes().get("algorithm", "").lower()
        elif _is(piece, "cipherreference"):
            is_text = members.find(piece.attributes().get("uri", "")) in text
            if is_text and algorithm not in _OBFUSCATIONS:
                return True
    return False
