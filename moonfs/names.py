"""Names on the drive: from untrusted remote filenames to directory entries, and what a local name means.

Pure functions over `wire.FileObject`: no I/O, and no state but which names stay here (`choose`), so the same list
gives the same names on every machine (N3). It does not know which bytes are here, nor what is being written.

**Threading:** pure; the memo of `safe` is thread-safe.
"""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import functools
import hashlib
import mimetypes
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from moonfs import wire
from moonfs.errors import InvalidName, NameTooLong, UsageError
from moonfs.wire import FileObject

#: The longest file name Linux knows, in bytes of UTF-8 (limits.h, NAME_MAX).
MAX_BYTES: Final = 255
#: What a sidecar's name ends in (N1).
SIDECAR: Final = ".content"
#: The control directory; no file of the account may take its name (N5).
CONTROL: Final = ".moonfs"
#: The purpose that follows from a name (W11).
AUTO: Final = "auto"

#: One character of what mkstemp(3) fills in for its XXXXXX.
_RANDOM = "[A-Za-z0-9]"
#: Temporary names of editors and copy tools: kept on this machine until renamed (N6).
TEMPORARY: Final = (
    ".*",
    "*~",
    "#*#",
    "~$*",
    "4913",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.filepart",
    "*.crdownload",
    "*.download",
    "*.swp",
    "sed" + 6 * _RANDOM,  # sed -i; no dot, so that `sedan.txt` is a document
    # patch; a digit or a capital somewhere, so that `diary.october` is a document
    *(f"*.o{n * _RANDOM}[A-Z0-9]{(5 - n) * _RANDOM}" for n in range(6)),
)
#: What desktops leave behind everywhere; refused with EACCES (N6).
LITTER: Final = (
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    ".Trash*",
    "$RECYCLE.BIN",
    "System Volume Information",
    ".Spotlight-*",
    ".fseventsd",
    ".TemporaryItems",
    ".apdisk",
    ".directory",
)

#: Extensions of what people keep beside a file, under its name with more behind: no temporary names (N6). Beside these
#: are all that Python's own tables know.
_KEPT: Final = frozenset(
    ".content .gz .bz2 .xz .zst .zip .7z .asc .sig .gpg .map .j2 .orig .bak .erb .odt .ods .odp .rs .scss .sql "
    ".template .example".split()
)
#: Those of them that backups have, and the numbers that log files get; renamed to one, a file stays here (N6).
_BACKUPS: Final = frozenset((".orig", ".bak"))
_NUMBER: Final = re.compile(r".[0-9]{1,3}", re.DOTALL)
#: What a service adds to a name that is taken: a number, with separators and brackets around it (W4).
_COUNT: Final = re.compile(r"[ \-_.~#+,()\[\]{}<>（）【】［］0-9]*[0-9][ \-_.~#+,()\[\]{}<>（）【】［］0-9]*")
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f]{8}")

_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: What turns the direction of writing (Unicode's Bidi_Control), and what nobody sees and no script needs: ZERO WIDTH
#: SPACE, WORD JOINER, ZERO WIDTH NO-BREAK SPACE. Not U+200C and U+200D, without which Persian, Hindi and emoji change.
_UNSEEN: Final = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


def _pattern(usual: tuple[str, ...], chosen: Sequence[str] = ()) -> re.Pattern[str]:
    """Return what matches the usual globs and the chosen ones; `!GLOB` takes one of the usual ones off."""
    off = {glob[1:] for glob in chosen if glob.startswith("!")}
    globs = [glob for glob in (*usual, *chosen) if glob not in off and not glob.startswith("!")]
    return re.compile("|".join(f"(?:{fnmatch.translate(glob)})" for glob in globs) or r"(?!)")


_rules = {"temporary": _pattern(TEMPORARY), "junk": _pattern(LITTER)}


def choose(*, temporary: Sequence[str], junk: Sequence[str]) -> None:
    """Add globs to what is temporary and what is junk in this process, or take some off with `!GLOB` (N6).

    Called once, when a drive starts and before any thread does.

    Raises:
        UsageError: `!GLOB` of a glob that is not in the usual list.
    """
    for chosen, usual, setting in ((temporary, TEMPORARY, "temporary"), (junk, LITTER, "junk")):
        for glob in chosen:
            if glob.startswith("!") and glob[1:] not in usual:
                raise UsageError(f"{setting}={glob} takes nothing off: the usual list is {' '.join(usual)}")
        _rules[setting] = _pattern(usual, chosen)


def extension(name: str) -> str:
    """Return the extension of `name`, lower case and with its dot; empty where there is none."""
    return os.path.splitext(name)[1].lower()


def is_temporary(name: str) -> bool:
    """Say whether `name` stays on this machine until it is renamed (N6)."""
    return _rules["temporary"].match(name) is not None


def is_litter(name: str) -> bool:
    """Say whether `name` is a desktop's litter, which the drive refuses (N6)."""
    return _rules["junk"].match(name) is not None


def is_known_refused(name: str) -> bool:
    """Say whether the service is known to refuse `name` for its type: no extension at all (N6, N7)."""
    known = wire.EXTRACTABLE | wire.IMAGE_EXTENSIONS | wire.VIDEO_EXTENSIONS
    return extension(name) not in known


def base(name: str) -> str:
    """Return the longest name that the service takes and that `name` adds more to; empty where there is none.

    What is added begins with a character that is neither letter nor digit.

    >>> base("a.txt.lock"), base("data.tsv"), base("a.txt")
    ('a.txt', '', '')
    """
    for end in range(len(name) - 2, 0, -1):
        if not name[end].isalnum() and not is_known_refused(name[:end]):
            return name[:end]
    return ""


def is_passing(name: str) -> bool:
    """Say whether a file that is made under `name` is one that a program is about to rename (N6).

    Its type is refused, and it is a name that is taken with more behind (`a.txt.lock`), but not with what people keep
    beside a file (`a.txt.gz`, `a.txt.1`, `a.txt (copy)`); or eight hexadecimal digits, as Excel has them, but no date.
    """
    if not is_known_refused(name) or is_temporary(name):
        return False
    if _HEXADECIMAL.fullmatch(name):
        return not _is_date(name)
    stem = base(name)
    added = name[len(stem) :]
    return bool(stem) and not (added[0] == " " or _NUMBER.fullmatch(added) or extension(name) in _kept())


def is_backup(name: str, of: str) -> bool:
    """Say whether `name` is what a program renames the file `of` to before it writes a new one (N6).

    That is `of` with `.bak`, `.orig` or a number behind, or another such name of the same file: log files move on.
    """
    stem = base(name)
    added = name[len(stem) :]
    if not is_known_refused(name) or stem != (base(of) or of):
        return False
    return added in _BACKUPS or _NUMBER.fullmatch(added) is not None


def stays_renamed(old: str, new: str) -> bool:
    """Say whether a file called `old` stays on this machine when it is renamed to `new` (N6)."""
    return is_temporary(new) or is_passing(new) or is_backup(new, old)


def may_pass(name: str) -> bool:
    """Say whether a file that stays here as `name`, with its minutes counted, may do so for no longer than these."""
    return is_known_refused(name) and not is_temporary(name) and (is_passing(name) or bool(base(name)))


@functools.cache
def _kept() -> frozenset[str]:
    known = mimetypes.MimeTypes(())  # without the tables of this machine
    tables = (*known.types_map, known.suffix_map, known.encodings_map)
    return _KEPT.union(*({each.lower() for each in table} for table in tables))


def _is_date(digits: str) -> bool:
    """Say whether eight characters are a day as people write it, the year first or last."""
    for form in ("%Y%m%d", "%d%m%Y", "%m%d%Y"):
        with contextlib.suppress(ValueError):
            if 1000 <= datetime.datetime.strptime(digits, form).year < 3000:
                return True
    return False


def purposes(name: str, purpose: str) -> tuple[str, ...]:
    """Return the purposes to try for `name`, in order; `purpose` is what was chosen, or `AUTO` (W11)."""
    if purpose != AUTO:
        return (purpose,)
    if extension(name) in wire.VIDEO_EXTENSIONS:
        return (wire.VIDEO,)
    if extension(name) in wire.IMAGE_EXTENSIONS:
        return (wire.FILE_EXTRACT, wire.IMAGE)
    return (wire.FILE_EXTRACT,)


def is_numbered(name: str, stored: str) -> bool:
    """Say whether a service that numbers equal names has made `stored` of `name` (W4).

    That is `name` with separators, brackets and at least one digit added at its end or before a dot in it. What is
    changed in another way, such as cut, or put into another normal form, is not.

    >>> is_numbered("a.txt", "a(1).txt"), is_numbered("a.txt", "a.txt.2"), is_numbered("a.txt", "a1b.txt")
    (True, True, False)
    """
    more = len(stored) - len(name)
    if more <= 0:
        return False
    places = [*(at for at, char in enumerate(name) if char == "." and at), len(name)]
    return any(
        stored.startswith(name[:at]) and stored.endswith(name[at:]) and _COUNT.fullmatch(stored[at : at + more])
        for at in places
    )


def as_bytes(name: str) -> bytes:
    """Return a name as the kernel and the journal have it: in UTF-8 whatever the locale, other bytes as they are."""
    return name.encode("utf-8", "surrogateescape")


def of_bytes(name: bytes) -> str:
    """Return the name that `as_bytes` has made bytes of."""
    return name.decode("utf-8", "surrogateescape")


def check(name: str) -> None:
    """Refuse a name that cannot be kept as it is (N7, tenet 2).

    Raises:
        NameTooLong: over 255 bytes.
        InvalidName: control characters or others that N2 replaces, or bytes that are no UTF-8.
    """
    if len(as_bytes(name)) > MAX_BYTES:
        raise NameTooLong(f"The name {name[:40]}… is longer than {MAX_BYTES} bytes; shorten it.")
    if unseen := sorted(_UNSEEN & set(name)):
        which = ", ".join(f"U+{ord(char):04X}" for char in unseen)
        raise InvalidName(
            f"The drive cannot keep the name {name!r}: it has characters that nobody sees ({which}); rename it."
        )
    if safe(name) != name:
        raise InvalidName(
            f"The service cannot keep the name {name!r}: it has control characters or is no UTF-8; rename it."
        )


@functools.lru_cache(maxsize=4096)
def safe(filename: str) -> str:
    """Return the safe, readable form of an untrusted remote filename (N2).

    `/`, control characters, those that nobody sees or that turn the writing round, and lone surrogates become `_`;
    `.`, `..`, the empty name and the control directory's name get a leading `_`; a longer name is cut in its stem and
    gets 8 hex digits of its SHA-256, the extension kept. A name that is safe already comes back unchanged.
    """
    if not filename.isascii() or not filename.isprintable() or "/" in filename:
        filename = "".join(
            "_" if char == "/" or char in _UNSEEN or unicodedata.category(char) in _CONTROL_CATEGORIES else char
            for char in filename
        )
    if filename in ("", ".", "..", CONTROL):
        filename = "_" + filename
    if len(filename.encode()) > MAX_BYTES:
        digest = hashlib.sha256(filename.encode()).hexdigest()[:8]
        filename = _shorten(filename, f"~{digest}", MAX_BYTES)
    return filename


def alias(name: str, file_id: str) -> str:
    """Return `stem~<id>.ext`, the name of an older file where a newer one has `name` (N3)."""
    return _shorten(name, f"~{file_id}", MAX_BYTES)


def ids_in(name: str) -> Iterator[str]:
    """Yield what may be the id in `name`, were it an alias, or the sidecar's name of one.

    >>> list(ids_in("a~b~i1.txt.content"))
    ['b~i1', 'b~i1.txt', 'b~i1.txt.content', 'i1', 'i1.txt', 'i1.txt.content']
    """
    for mark in re.finditer("~", name):
        tail = name[mark.end() :]
        for dot in re.finditer(r"\.|$", tail):
            yield tail[: dot.start()]


def sidecar(name: str, file_id: str) -> str:
    """Return the sidecar's name of the file that is shown as `name` (N1); at most 255 bytes."""
    if len(name.encode()) + len(SIDECAR) > MAX_BYTES:
        name = _shorten(name, f"~{file_id}", MAX_BYTES - len(SIDECAR))
    return name + SIDECAR


def assign(files: Iterable[FileObject], taken: Collection[str] = ()) -> dict[str, FileObject]:
    """Give every file its name on the drive (N2, N3).

    The first of equal names by `rank`, which is the newest, has the bare name, every older one its `alias`, or
    `stem~<id>~<hash>.ext` where some filename is made to look like that. A name in `taken` (a newer file that
    is still being written here) counts as given.

    Returns:
        name → file, newest first within equal names.
    """
    names: dict[str, FileObject] = {}
    older: list[tuple[str, FileObject]] = []
    for file in sorted(files, key=rank, reverse=True):
        name = safe(file.filename)
        if name in names or name in taken:
            older.append((name, file))
        else:
            names[name] = file
    for name, file in older:
        full = alias(name, file.spelt)
        if full in names or full in taken:
            # These are all different, so one of them is free.
            spares = (_spare(name, file.spelt, count) for count in range(len(names) + len(taken) + 1))
            full = next(spare for spare in spares if spare not in names and spare not in taken)
        names[full] = file
    return names


def rank(file: FileObject) -> tuple[bool, int, str, str]:
    """Return what files of equal names are ordered by: the last has the bare name (N3).

    That is the newest, by `created_at`, then id; what the service has stored as a failure comes before all others: it
    is no version of anything, and takes the name of none that can be read.
    """
    return file.status != wire.STATUS_ERROR, *file.age


def _spare(name: str, file_id: str, count: int) -> str:
    """Return the name of an older file whose alias is taken; another one for each `count`, at the limit too."""
    digest = hashlib.sha256(f"{name}\0{file_id}".encode()).hexdigest()[:8]
    return _shorten(name, f"~{file_id}~{digest}" + (f"-{count}" if count else ""), MAX_BYTES)


def _shorten(name: str, tag: str, limit: int) -> str:
    """Return `name` with `tag` before its extension, the stem cut to fit `limit` bytes of UTF-8."""
    stem, ext = os.path.splitext(name)
    if len(ext.encode()) > 32:
        stem, ext = name, ""
    room = limit - len(ext.encode()) - len(tag.encode())
    return stem.encode()[: max(room, 0)].decode(errors="ignore") + tag + ext
