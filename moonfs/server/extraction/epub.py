"""Books (.epub): the chapters in the order of the spine, as visible text.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import posixpath
from typing import Final
from urllib.parse import unquote

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, NoText, Output
from moonfs.server.extraction.markup import visible_text

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a book. Raises NoText for one under DRM."""
    package = next((e.get("full-path") for e in archive.xml(_CONTAINER).iter("{*}rootfile")), None)
    if package is None:
        raise NoText
    folder = posixpath.dirname(package)
    root = archive.xml(package)
    hrefs = {e.get("id"): e.get("href", "") for e in root.iter("{*}item")}
    chapters = [_member(folder, hrefs.get(e.get("idref"), "")) for e in root.iter("{*}itemref")]
    if _encrypted(archive) & set(chapters):
        raise NoText
    for title in root.iter("{http://purl.org/dc/elements/1.1/}title"):
        output.line(title.text or "")
    for chapter in chapters:
        if archive.has(chapter):
            output.line(visible_text(archive.read(chapter)))
            output.add("\n")
        if document.is_late():
            output.cut("reading it took too long")


def _member(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _encrypted(archive: Archive) -> set[str]:
    """Return the members under encryption; of a free book these are fonts at most."""
    if not archive.has(_ENCRYPTION):
        return set()
    references = archive.xml(_ENCRYPTION).iter("{*}CipherReference")
    return {unquote(reference.get("URI", "")) for reference in references}
