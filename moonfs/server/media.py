"""Media types by the first bytes. Names are not asked: a `.txt` that is a PDF is a PDF.

It tells kinds of bytes apart; which of them have a reader is the matter of `extraction`.

**Threading:** constants and pure functions.
"""

from __future__ import annotations

from typing import Final

PNG: Final = "image/png"
PDF: Final = "application/pdf"
ZIP: Final = "application/zip"
OLE: Final = "application/x-ole-storage"
MOBI: Final = "application/x-mobipocket-ebook"
#: A sheet of Excel 2 to 4: records without a container.
BIFF: Final = "application/vnd.ms-excel"
GZIP: Final = "application/gzip"
RTF: Final = "text/rtf"
HTML: Final = "text/html"
SVG: Final = "image/svg+xml"
TEXT: Final = "text/plain"
UNKNOWN: Final = "application/octet-stream"

_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),  # with offsets of 64 bits
    (b"MM\0+", "image/tiff"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"%PDF-", PDF),
    (b"PK\3\4", ZIP),
    (b"PK\5\6", ZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"\x1f\x8b\x08", GZIP),
    (b"{\\rtf", RTF),
    (b"\x09\x04\x06\0", BIFF),
    (b"\x09\x02\x06\0", BIFF),
    (b"\x09\0\x04\0", BIFF),
    (b"FLV\1", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-wmv"),
    (b"\0\0\1\xba", "video/mpeg"),
    (b"\0\0\1\xb3", "video/mpeg"),
)
_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"M4A ", b"M4B ", b"F4A "), "audio/mp4"),
}
#: 3GPP TS 26.244: the brands of 3GP, and of 3GPP2, are these and a release or a profile.
_BRANDS_3GPP: Final = (b"3gp", b"3gr", b"3gs", b"3ge", b"3gg", b"3gh", b"3gm", b"3gt", b"3g2")
_ATOMS: Final = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip"))
#: DOC: what the vision models take; `image/svg+xml` is refused there.
_IMAGES: Final = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "bmp", "heic", "heif"))
#: DOC: mp4, mpeg and mpg, mov, avi, x-flv, webm, wmv, 3gpp. SRC: mkv, as the vendor's own client has it.
_VIDEOS: Final = frozenset(
    f"video/{kind}"
    for kind in ("mp4", "mpeg", "quicktime", "x-msvideo", "x-flv", "webm", "x-ms-wmv", "3gpp", "x-matroska")
)


def media_type(head: bytes) -> str:
    """Return the media type of bytes that begin with `head` (4 KiB are plenty)."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(head[8:12], UNKNOWN)
    if head[60:68] in (b"BOOKMOBI", b"TEXtREAd"):  # type and creator of a Palm database
        return MOBI
    if head.startswith((b"TPZ", b"CONT", b"\xeaDRMION")) and b"\0" in head:  # the Kindle's own: Topaz, KFX
        return MOBI
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"mif1", b"msf1") and b"avif" in head[16:64]:
            return "image/avif"
        return "video/3gpp" if brand.startswith(_BRANDS_3GPP) else _BRANDS.get(brand, "video/mp4")
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML; what is in it, its DocType says within its first element
        return "video/webm" if b"\x42\x82\x84webm" in head[:128] else "video/x-matroska"
    if head[4:8] in _ATOMS:
        return "video/quicktime"
    if head[:2] == b"BM" and len(head) >= 26 and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if head[:4] == b"\x28\0\0\0" and head[12:14] == b"\1\0":  # a bitmap without its file header: .dib
        return "image/bmp"
    if b"%PDF-" in head[:1024]:
        return PDF
    return _text_type(head)


def is_image(head: bytes) -> bool:
    """Say whether the bytes are a picture that the vision models take (DOC)."""
    return media_type(head) in _IMAGES


def is_video(head: bytes) -> bool:
    """Say whether the bytes are a video that the vision models take (DOC)."""
    return media_type(head) in _VIDEOS


def _text_type(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return HTML
    if start.startswith((b"<?xml", b"<!doctype svg", b"<svg")) and b"<svg" in start:
        return SVG
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" not in head:
        return TEXT
    return UNKNOWN
