"""What Office files draw with words in it: charts as tables, diagrams as lines, comments, and pictures of text.

Shared by `word`, `sheets` and `slides`; the parts of a package, by the kind of relation that leads to them.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from lxml import etree

from moonfs.server.extraction.archive import DAMAGED, Archive
from moonfs.server.extraction.document import Document, NeedsOcr, NoText, Output
from moonfs.server.extraction.pictures import OCR_PIXELS, open_picture, prepare

#: Pictures of one document that are recognised when it holds no other text.
MAX_PICTURES: Final = 200
#: Points of one series of a chart.
MAX_POINTS: Final = 10_000

_INDEX: Final = re.compile("[0-9]{1,9}")
_MEDIA: Final = ("word/media/", "xl/media/", "ppt/media/")
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")


def related_lines(archive: Archive, part: str, document: Document, output: Output) -> Iterator[str]:
    """Yield the lines of the charts, diagrams and comments that a part refers to; damaged ones are left out."""
    seen: set[str] = set()
    drawings = [part]
    while drawings:  # a drawing leads to charts, and a damaged one to itself
        here = drawings.pop(0)
        for kind, reader in _READERS.items():
            if kind == "comments" and part.startswith("word/"):  # of Word they have their place
                continue
            for target in archive.parts(here, kind):
                if target in seen:
                    continue
                seen.add(target)
                if document.is_late():
                    output.note_cut("reading it took too long")
                    return
                if kind == "drawing":  # of a sheet: boxes, and charts one step further
                    drawings.append(target)
                yield from _lines_of(archive, target, reader)


def _lines_of(archive: Archive, part: str, reader: Callable[[etree._Element], Iterable[str]]) -> list[str]:
    """Return the lines that `reader` finds in a part; of a damaged one none."""
    try:
        return list(reader(archive.xml(part)))
    except DAMAGED:
        archive.is_damaged = True
        return []


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
            with open_picture(io.BytesIO(archive.read(name))) as picture:
                document.budget.foresee(len(names) * min(picture.width * picture.height, OCR_PIXELS))
                prepared = prepare(picture, document.budget)
        except NeedsOcr:
            raise
        except NoText as error:
            output.note_cut(f"some of its pictures are left out, as {error.why}")
            continue
        except Exception:  # noqa: BLE001 - one that is broken takes no other with it, whatever is said of it
            output.note_cut("some of its pictures are damaged")
            continue
        assert document.recognise is not None
        output.line(document.recognise(prepared))


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
        if value is not None and _INDEX.fullmatch(index):
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


def _remarks(root: etree._Element) -> Iterator[str]:
    return (f"Comment: {line}" for line in _comments(root))


#: What reads the parts of each kind.
_READERS: Final[dict[str, Callable[[etree._Element], Iterable[str]]]] = {
    "chart": _chart,
    "diagramData": _diagram,
    "comments": _remarks,
    "drawing": _paragraphs,
}
