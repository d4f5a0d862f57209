"""What Office files draw with words in it: charts as tables, diagrams as lines, comments, and pictures of text.

Shared by `word`, `sheets` and `slides`; the parts of a package, by the kind of relation that leads to them.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Final

from lxml import etree
from PIL import Image, UnidentifiedImageError

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, NeedsOcr, Output
from moonfs.server.extraction.pictures import prepare

#: Pictures of one document that are recognised when it holds no other text.
MAX_PICTURES: Final = 200
#: Points of one series of a chart.
MAX_POINTS: Final = 10_000

_MEDIA: Final = ("word/media/", "xl/media/", "ppt/media/")
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


def related_lines(archive: Archive, part: str) -> Iterator[str]:
    """Yield the lines of the charts, diagrams and comments that a part refers to."""
    for kind, target in archive.related(part):
        if not archive.has(target):
            continue
        if kind == "chart":
            yield from _chart(archive.xml(target))
        elif kind == "diagramData":
            yield from _diagram(archive.xml(target))
        elif kind == "comments" and not part.startswith("word/"):  # of Word they have their place
            yield from (f"Comment: {line}" for line in _comments(archive.xml(target)))
        elif kind == "drawing":  # of a sheet: boxes, and charts one step further
            yield from _paragraphs(archive.xml(target))
            yield from related_lines(archive, target)


def recognise_pictures(
    archive: Archive, document: Document, output: Output, names: Sequence[str] | None = None
) -> None:
    """Write the text in the pictures of a document that has no other. Raises NeedsOcr in a light worker.

    Args:
        archive: the document.
        document: the same.
        output: takes the text.
        names: the pictures in order; by default all those of an Office file.
    """
    if names is None:
        names = [name for name in archive.namelist() if name.startswith(_MEDIA) and name.lower().endswith(_PICTURES)]
    if names and document.recognise is None:
        raise NeedsOcr
    for number, name in enumerate(names):
        if number >= MAX_PICTURES or document.is_late():
            output.cut(f"only the first {number} pictures are read")
        document.report(number, len(names))
        try:
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                assert document.recognise is not None
                output.line(document.recognise(prepare(picture)))
        except (UnidentifiedImageError, OSError, ValueError):
            continue  # one that is broken takes no other with it


def _chart(root: etree._Element) -> Iterator[str]:
    """Yield the title, then a table: categories down, series across."""
    for title in root.iter("{*}title"):
        yield " ".join(_paragraphs(title))
    series = list(root.iter("{*}ser"))
    names = [" ".join(v.text or "" for v in _within(one, "tx", "v")) for one in series]
    categories = next((points for one in series if (points := _points(one, "cat") or _points(one, "xVal"))), {})
    values = [_points(one, "val") or _points(one, "yVal") for one in series]
    if any(names):
        yield "\t".join(("", *names))
    for index in sorted(set(categories).union(*values))[:MAX_POINTS]:
        yield "\t".join((categories.get(index, ""), *(each.get(index, "") for each in values)))


def _points(series: etree._Element, name: str) -> dict[int, str]:
    points = {}
    for point in _within(series, name, "pt"):
        value = point.find("{*}v")
        index = point.get("idx", "")
        if value is not None and index.isdigit():
            points[int(index)] = value.text or ""
    return points


def _within(series: etree._Element, name: str, wanted: str) -> Iterator[etree._Element]:
    for child in series.findall(f"{{*}}{name}"):
        yield from child.iter(f"{{*}}{wanted}")


def _diagram(root: etree._Element) -> Iterator[str]:
    for point in root.iter("{*}pt"):
        yield " ".join(_paragraphs(point))


def _comments(root: etree._Element) -> Iterator[str]:
    for comment in root.iter("{*}comment", "{*}cm"):
        reference = comment.get("ref")
        text = "".join(t.text or "" for t in comment.iter("{*}t", "{*}text"))
        yield f"{reference}: {text}" if reference else text


def _paragraphs(root: etree._Element) -> Iterator[str]:
    """Yield the paragraphs of DrawingML."""
    for paragraph in root.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}p"):
        yield "".join(t.text or "" for t in paragraph.iter("{http://schemas.openxmlformats.org/drawingml/2006/main}t"))
