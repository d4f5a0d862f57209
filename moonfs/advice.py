"""What a person can do with a file of a type that the service refuses, by what the file is.

It looks at the first bytes and at the name, and writes one sentence: a text is renamed, an archive is unpacked, a
document of another office suite is saved as one that is read. What can be done about everything else says
`errors.NEXT_STEPS`, by the error alone. It opens no file and asks nobody.

**Threading:** pure, but for the mount point, which is set once.
"""

from __future__ import annotations

import os
from shlex import quote
from typing import Final

from moonfs import names
from moonfs.errors import UnsupportedType

#: Bytes of a file's beginning that are enough to tell what it is.
HEAD: Final = 8192

#: What a file of these types can be saved as.
_SAVE_AS: Final = {
    extension: better
    for better, extensions in {
        ".docx": ".odt .ott .fodt .rtf .docm .dotx .dotm .sxw .pages .wps .wpt .wpd",
        ".xlsx": ".ods .ots .fods .xlsm .xlsb .xltx .xltm .sxc .numbers .et .ett",
        ".pptx": ".odp .otp .fodp .pptm .ppsx .ppsm .pps .potx .potm .sxi .dps .dpt",
        ".pdf": ".odg .otg .fodg .vsd .vsdx .pub .ps .eps .ai .xps .oxps .djvu .djv .dvi",
        ".epub": ".azw .azw3 .kfx .fb2 .lit",
        ".csv": ".parquet .feather .arrow .sqlite .sqlite3 .db .mdb .accdb .dbf .sav .dta .rds",
        ".png": ".psd .xcf .kra .tga .raw .cr2 .cr3 .nef .arw .dng .jp2 .jxl .pcx .ppm .pgm .pbm .icns .wmf .emf",
        ".mp4": ".mkv .ogv .mts .m2ts .vob .rm .rmvb .asf .f4v .divx",
    }.items()
    for extension in extensions.split()
}
#: Those of them that texts have too: PEM keys, PostScript, word lists.
_TEXTS_TOO: Final = frozenset(".key .db .ps .eps .ai .raw .lit .rds .et .dta .sav .wps".split())
_SOUND: Final = frozenset(
    ".mp3 .wav .flac .ogg .oga .opus .m4a .m4b .aac .ac3 .wma .aiff .aif .amr .mid .midi .ape .mka".split()
)
_ARCHIVES: Final = frozenset(
    ".zip .tar .gz .tgz .bz2 .tbz .tbz2 .xz .txz .zst .tzst .7z .rar .lz .lz4 .lzma .z .cab .iso .jar .war .whl .deb "
    ".rpm .apk .dmg .cpio .sit .ace .arj .br".split()
)
#: What a file is by its first bytes: what it is called where the service takes it, or one of the words below.
_ARCHIVE: Final = "archive"
_SOUNDS: Final = "sound"
_MAGIC: Final = (
    (0, b"%PDF-", ".pdf"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (0, b"II*\0", ".tiff"),
    (0, b"MM\0*", ".tiff"),
    (4, b"ftypheic", ".heic"),
    (4, b"ftypM4A", _SOUNDS),
    (4, b"ftypqt", ".mov"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"BZh", _ARCHIVE),
    (0, b"\xfd7zXZ\0", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"Rar!\x1a\x07", _ARCHIVE),
    (0, b"!<arch>\n", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
    (0, b"ID3", _SOUNDS),
    (0, b"fLaC", _SOUNDS),
    (0, b"OggS", _SOUNDS),
    (8, b"WAVE", _SOUNDS),
)
#: What is in a ZIP file near its beginning, and what the file is then.
_IN_ZIP: Final = (
    (b"application/epub+zip", ".epub"),
    (b"application/vnd.oasis.opendocument.text", ".odt"),
    (b"application/vnd.oasis.opendocument.spreadsheet", ".ods"),
    (b"application/vnd.oasis.opendocument.presentation", ".odp"),
    (b"word/", ".docx"),
    (b"xl/", ".xlsx"),
    (b"ppt/", ".pptx"),
)
#: Control characters that are in texts: backspace, tab, line feed, form feed, carriage return, escape.
_IN_TEXT: Final = frozenset((8, 9, 10, 12, 13, 27))
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")

_place = {"point": ""}


def mounted_on(point: str) -> None:
    """Let advice name files by their paths below `point`, so that a command in it can be run from anywhere.

    Called once, when a drive starts and before any thread does.
    """
    _place["point"] = point


def about(error: BaseException, head: bytes, *, name: str, wanted: str, kept: bool = True) -> None:
    """Give `error` the advice for the file that it is about, where what the file is makes a difference.

    Args:
        error: why the service does not take the file; of another kind it stays as it is.
        head: its first `HEAD` bytes.
        name: what it is called on the drive.
        wanted: the name that was refused: another one, where it was to be renamed.
        kept: whether it is on the drive; where it is not, there is nothing to rename.
    """
    if isinstance(error, UnsupportedType):
        error.step = for_refused(head, name=name, wanted=wanted, kept=kept)


def for_refused(head: bytes, *, name: str, wanted: str, kept: bool = True) -> str:
    """Return what to do with a file whose type is refused, in one sentence; the arguments are those of `about`."""
    extension = names.extension(wanted)
    found = kind(head)
    better = _SAVE_AS.get(extension, "") or _SAVE_AS.get(found, "")
    if better and not (found == ".txt" and extension in _TEXTS_TOO):
        return f"Save it as {better} in the program that it is made with, then copy that file."
    if found == _SOUNDS or extension in _SOUND:
        return "Leave it out, or copy what is said in it as a text: the service takes no sound."
    if found == _ARCHIVE or extension in _ARCHIVES:
        return "Unpack it elsewhere and copy the files that are in it: the service takes no archives."
    if not found or found == extension:
        return "Save what is in it as PDF or as text, then copy that: the service reads no files of this kind."
    target = wanted + found
    if len(os.fsencode(target)) > names.MAX_BYTES:
        return f"Give it a shorter name that ends in {found}: then the service takes it."
    if not kept:
        return f"Copy it under a name that the service takes: {quote(target)}"
    return f"Rename it, and it is uploaded: mv {_path(name)} {_path(target)}"


def kind(head: bytes) -> str:
    """Return what a file is by its first bytes: an extension, `archive`, `sound`, or nothing.

    >>> kind(b"%PDF-1.7"), kind(b"fn main() {}"), kind(bytes(9))
    ('.pdf', '.txt', '')
    """
    if head.startswith(b"PK\3\4"):
        return next((found for sign, found in _IN_ZIP if sign in head), _ARCHIVE)
    for offset, sign, found in _MAGIC:
        if head.startswith(sign, offset):
            return found
    return ".txt" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    """Say whether bytes look like text in any encoding: a UTF-16 mark, or no control characters."""
    return head.startswith(_WIDE) or (bool(head) and all(byte >= 32 or byte in _IN_TEXT for byte in head))


def _path(name: str) -> str:
    return quote(os.path.join(_place["point"], name))
