"""Pictures: made upright, opaque and RGB, then recognised; all pages of a TIFF, of animations what they show anew.

A truncated picture is a damaged one: what is missing may be what matters. When only later pages or frames are
damaged, the text of the first is kept and ends with a note.

**Threading:** one document at a time, in a worker with OCR.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from typing import IO, Final

from PIL import Image, ImageChops, ImageOps, ImageStat

from moonfs.server.extraction.document import Budget, Document, NeedsOcr, NoText, Output, Why

#: Pixels a picture may have: 100 megapixels are 300 MB as RGB.
MAX_PIXELS: Final = 100_000_000
#: Pages of a TIFF; frames of an animation that are looked at, and that are recognised.
MAX_PAGES: Final = 200
_MAX_FRAMES: Final = 600
_MAX_SCENES: Final = 12
#: Pixels that are recognised at most: a photograph of 24 megapixels, or a web page of 1080 x 22,000.
OCR_PIXELS: Final = 24_000_000
#: Two frames show the same when fewer of so many pixels differ.
_LOOK: Final = 320
_SAME: Final = 0.002
FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "ICO", "XBM", "TIFF", "AVIF")
#: A JPEG larger than this is decoded at a fraction of its size.
_DRAFT: Final = (4000, 4000)
#: What Pillow says of damaged pictures.
DAMAGED: Final = (OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, struct.error)

#: Ours is checked below, before anything is decoded; this one is for pictures within pictures, as in icons: they are
#: refused from twice as many on.
Image.MAX_IMAGE_PIXELS = 2 * MAX_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read(document: Document, output: Output) -> None:
    """Read the text in a picture."""
    if document.recognise is None:
        raise NeedsOcr
    with open_picture(document.path) as picture:
        frames = _count(picture)
        if frames == 1 or picture.format == "TIFF":
            picture.draft("RGB", _DRAFT)
            document.budget.foresee(frames * min(picture.width * picture.height, OCR_PIXELS))
        if frames == 1:
            output.line(document.recognise(prepare(picture, document.budget)))
        elif picture.format == "TIFF":
            _read_pages(picture, frames, document, output)
        else:
            _read_animation(picture, frames, document, output)


def open_picture(source: str | IO[bytes]) -> Image.Image:
    """Return a picture, not unpacked yet. Raises NoText for one of far too many pixels, or one of DAMAGED."""
    try:
        return Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise NoText(Why.TOO_LARGE) from error


def prepare(picture: Image.Image, budget: Budget) -> Image.Image:
    """Return the picture as OCR wants it. Raises NoText when it has too many pixels, or all so far have."""
    picture.draft("RGB", _DRAFT)
    if picture.width * picture.height > MAX_PIXELS:
        raise NoText(Why.TOO_LARGE)
    budget.unpack(picture.width * picture.height)
    try:
        picture.load()
    except Image.DecompressionBombError as error:
        raise NoText(Why.TOO_LARGE) from error
    if picture.width * picture.height > MAX_PIXELS:  # now that it is unpacked it may be another
        raise NoText(Why.TOO_LARGE)
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        upright = _on_background(upright.convert("RGBA"))
    elif upright.mode.startswith("I") or upright.mode == "F":
        upright = _to_grey(upright)
    upright = upright.convert("L" if upright.mode in ("1", "L") else "RGB")
    pixels = upright.width * upright.height
    if pixels > OCR_PIXELS:
        scale = (OCR_PIXELS / pixels) ** 0.5
        upright = upright.resize((int(upright.width * scale) or 1, int(upright.height * scale) or 1), reducing_gap=2.0)
    return upright.convert("RGB")


def _count(picture: Image.Image) -> int:
    """Return how many pages or frames there are, one more if there are too many or the rest is damaged."""
    if picture.format == "MPO":  # the others are the same one, for other screens and eyes
        return 1
    if picture.format == "TIFF":  # one by one, as a file may have any number of them
        return _count_pages(picture)
    try:
        return int(getattr(picture, "n_frames", 1))
    except DAMAGED:
        return 2


def _count_pages(picture: Image.Image) -> int:
    try:
        for page in range(1, MAX_PAGES + 1):
            try:
                picture.seek(page)
            except EOFError:
                return page
            except DAMAGED:
                return page + 1
        return MAX_PAGES + 1
    finally:
        picture.seek(0)


def _read_pages(picture: Image.Image, pages: int, document: Document, output: Output) -> None:
    assert document.recognise is not None
    for page, image in _frames(picture, min(pages, MAX_PAGES), document, output):
        if document.is_late():
            output.cut(f"only the first {page} pages are kept")
        output.line(document.recognise(image))
        document.report(page + 1, pages)
    if pages > MAX_PAGES:
        output.cut(f"only the first {MAX_PAGES} pages are kept")


def _read_animation(picture: Image.Image, frames: int, document: Document, output: Output) -> None:
    """Recognise each frame that differs from the one recognised last; say no line twice."""
    assert document.recognise is not None
    said: set[str] = set()
    last: Image.Image | None = None
    scenes = 0
    for frame, image in _frames(picture, min(frames, _MAX_FRAMES), document, output):
        if scenes and document.is_late():
            output.cut("reading all its pictures took too long")
        look = image.convert("L").resize((_LOOK, _LOOK), Image.Resampling.BOX)
        if last is not None and _is_same(look, last):
            continue
        if scenes == _MAX_SCENES:
            output.cut(f"of its pictures only the first {scenes} are kept")
        last, scenes = look, scenes + 1
        for line in document.recognise(image).split("\n"):
            if line not in said:
                output.line(line)
            said.add(line)
        document.report(frame + 1, frames)


def _frames(picture: Image.Image, frames: int, document: Document, output: Output) -> Iterator[tuple[int, Image.Image]]:
    """Yield (number, prepared frame), until one is damaged."""
    for frame in range(frames):
        try:
            picture.seek(frame)
            image = prepare(picture, document.budget)
        except DAMAGED:
            if frame == 0:
                raise
            output.note_cut("the rest of it is damaged")
            return
        yield frame, image


def _is_same(one: Image.Image, other: Image.Image) -> bool:
    differing = ImageChops.difference(one, other).point(lambda value: 255 if value > 40 else 0)
    return ImageStat.Stat(differing).mean[0] < 255 * _SAME


def _on_background(picture: Image.Image) -> Image.Image:
    """Put a see-through picture on black or white, whichever its visible part stands out from."""
    alpha = picture.getchannel("A")
    mask = alpha.point(lambda value: 255 if value > 127 else 0)
    statistics = ImageStat.Stat(picture.convert("L"), mask)
    is_bright = bool(statistics.count[0]) and statistics.mean[0] > 140
    background = Image.new("RGBA", picture.size, (0, 0, 0, 255) if is_bright else (255, 255, 255, 255))
    background.alpha_composite(picture)
    return background


def _to_grey(picture: Image.Image) -> Image.Image:
    """Bring 16 and 32 bits a pixel down to 8."""
    wide = picture.convert("I").convert("F") if picture.mode.startswith("I") else picture
    low, high = wide.getextrema()
    assert isinstance(low, float)
    assert isinstance(high, float)
    return wide.point(lambda value: (value - low) * (255 / max(high - low, 1.0))).convert("L")
