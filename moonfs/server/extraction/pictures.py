"""Pictures: made upright, opaque and RGB, then recognised; all pages of a TIFF, else the first frame.

**Threading:** one document at a time, in a worker with OCR.
"""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageOps, ImageStat

from moonfs.server.extraction.document import Document, NeedsOcr, NoText, Output

#: Pixels a picture may have: 100 megapixels are 300 MB as RGB.
MAX_PIXELS: Final = 100_000_000
MAX_FRAMES: Final = 200
_MAX_SIDE: Final = 4000
_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "ICO", "XBM", "TIFF", "AVIF", "MPO")

Image.MAX_IMAGE_PIXELS = None  # ours is checked below, before anything is decoded


def read(document: Document, output: Output) -> None:
    """Read the text in a picture."""
    if document.recognise is None:
        raise NeedsOcr
    with Image.open(document.path, formats=_FORMATS) as picture:
        frames = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        for frame in range(frames):
            if frame >= MAX_FRAMES or document.is_late():
                output.cut(f"only the first {frame} pages are kept")
            if frames > 1:
                picture.seek(frame)
            output.line(document.recognise(prepare(picture)))


def prepare(picture: Image.Image) -> Image.Image:
    """Return the picture as OCR wants it. Raises NoText when it has too many pixels."""
    picture.draft("RGB", (_MAX_SIDE, _MAX_SIDE))  # a large JPEG is decoded at a fraction of its size
    if picture.width * picture.height > MAX_PIXELS:
        raise NoText
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        upright = _on_background(upright.convert("RGBA"))
    elif upright.mode.startswith("I") or upright.mode == "F":
        upright = _to_grey(upright)
    upright = upright.convert("RGB")
    upright.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return upright


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
    wide = picture.convert("F")
    low, high = wide.getextrema()
    assert isinstance(low, float)
    assert isinstance(high, float)
    return wide.point(lambda value: (value - low) * (255 / max(high - low, 1.0))).convert("L")
