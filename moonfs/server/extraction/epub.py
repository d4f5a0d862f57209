"""Books (.epub): the chapters in the order of the spine, as visible text; asides that it calls not linear come last.

A book without a spine is read in the order of its manifest.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import posixpath
from typing import Final
from urllib.parse import unquote

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, NoText, Output, Why
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
    items = list(root.iter("{*}item"))
    hrefs = {e.get("id"): e.get("href", "") for e in items}
    spine = sorted(root.iter("{*}itemref"), key=lambda e: e.get("linear") == "no")
    written = [hrefs.get(e.get("idref"), "") for e in spine]
    written = written or [e.get("href", "") for e in items if "html" in e.get("media-type", "")]
    names = {name.lower(): name for name in archive.namelist()}
    chapters = [names.get(_member(folder, href).lower(), "") for href in written]
    if _encrypted(archive) & set(chapters):
        raise NoText(Why.DRM)
    for title in root.iter("{http://purl.org/dc/elements/1.1/}title"):
        output.line(title.text or "")
    for chapter in chapters:
        if archive.has(chapter):
            output.line(visible_text(archive.read(chapter)))
            output.add("\n")
        if document.is_late():
            output.cut("reading it took too long")


def _member(folder: str, href: str) -> str:
    path = posixpath.normpath(posixpath.join("/", folder, unquote(href.partition("#")[0])))
    return path.lstrip("/")


def _encrypted(archive: Archive) -> set[str]:
    """Return the members under encryption; of a free book these are fonts at most."""
    if not archive.has(_ENCRYPTION):
        return set()
    references = archive.xml(_ENCRYPTION).iter("{*}CipherReference")
    return {unquote(reference.get("URI", "")) for reference in references}
