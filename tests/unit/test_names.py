"""Names on the drive: hostile filenames, equal filenames, the 255-byte edge, and what a local name means."""

from __future__ import annotations

import itertools
import mimetypes
import os
import random
import re
import unicodedata
from collections.abc import Iterator

import pytest

from moonfs import names
from moonfs.errors import InvalidName, NameTooLong, UsageError
from moonfs.wire import FileObject

HOSTILE = [
    "",
    ".",
    "..",
    "...",
    "/",
    "//",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b.txt",
    "a\0b.pdf",
    "line\nfeed.txt",
    "esc\x1b[2J.txt",
    "bell\x07",
    "del\x7f.txt",
    "c1\x85.txt",
    "lone\ud800.txt",
    "\udcff\udcfe",
    "sep\u2028para\u2029.md",
    ".moonfs",
    ".moonfs/status.json",
    "x" * 256,
    "x" * 100_000,
    "x" * 251 + ".pdf",
    "x" * 252 + ".pdf",
    "x." + "y" * 300,
    "." + "y" * 300,
    "福" * 85,
    "福" * 86,
    "福" * 90 + ".pdf",
    "😀" * 64 + ".txt",
    "a" + "😀" * 64 + ".txt",
    "e\u0301" * 120 + ".txt",
    "/" * 300 + ".txt",
    "\ud800" * 300 + ".txt",
    "~" * 255,
    " ",
    "   trailing  ",
    "-rf",
]


def file(file_id: str, filename: str, created_at: int = 1, **other: object) -> FileObject:
    return FileObject(id=file_id, bytes=1, created_at=created_at, filename=filename, **other)  # type: ignore[arg-type]


def is_entry(name: str) -> bool:
    """Whether the kernel and a terminal can take `name` as one directory entry."""
    return (
        0 < len(name.encode()) <= 255
        and name not in (".", "..", ".moonfs")
        and "/" not in name
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
    )


@pytest.mark.parametrize("filename", HOSTILE, ids=lambda name: repr(name[:20]))
def test_any_filename_becomes_a_safe_entry(filename: str) -> None:
    """N2: nothing escapes the mount, and the safe form is a fixed point: one name, one meaning."""
    name = names.safe(filename)
    assert is_entry(name)
    assert names.safe(name) == name
    assert "/" not in os.path.normpath(os.path.join("/mnt", name)).removeprefix("/mnt/")


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.pdf", "a.pdf"),
        ("福州商场.pdf", "福州商场.pdf"),
        ("with space (1).txt", "with space (1).txt"),
        ("a/b.txt", "a_b.txt"),
        ("..", "_.."),
        (".", "_."),
        ("", "_"),
        (".moonfs", "_.moonfs"),
        ("tab\there.txt", "tab_here.txt"),
        ("lone\ud800.txt", "lone_.txt"),
        ("ひらがな.txt", "ひらがな.txt"),
    ],
)
def test_the_safe_form_is_readable(filename: str, name: str) -> None:
    """N2: what is harmless stays as it is; the rest becomes an underscore."""
    assert names.safe(filename) == name


@pytest.mark.parametrize("char", ["x", "é", "福", "😀"])
@pytest.mark.parametrize("extra", range(-2, 6))
def test_the_edge_of_255_bytes(char: str, extra: int) -> None:
    """N2: up to 255 bytes a name is untouched; above it is cut between characters and keeps its extension."""
    width = len(char.encode())
    stem = char * ((251 + extra) // width)
    filename = stem + "x" * (251 + extra - len(stem.encode())) + ".pdf"
    name = names.safe(filename)
    assert is_entry(name) and name.endswith(".pdf")
    assert (name == filename) == (len(filename.encode()) <= 255)


def test_long_names_that_differ_stay_different() -> None:
    """N2: two long names with one beginning do not become one file."""
    assert names.safe("x" * 300 + "a.pdf") != names.safe("x" * 300 + "b.pdf")


def test_what_the_service_could_not_read_gives_way() -> None:
    """N3: a stored failure has the bare name only where there is no version that can be read."""
    well, failed = file("i1", "a.pdf", 1), file("i2", "a.pdf", 2, status="error")
    assert names.assign([failed, well]) == {"a.pdf": well, "a~i2.pdf": failed}
    assert names.assign([failed]) == {"a.pdf": failed}


def test_the_newest_has_the_bare_name() -> None:
    """N3: by created_at, then id; every older one is stem~<id>.ext."""
    files = [file("a1", "r.pdf", 5), file("b2", "r.pdf", 7), file("c3", "r.pdf", 7), file("d4", "other", 9)]
    shown = {name: f.id for name, f in names.assign(files).items()}
    assert shown == {"r.pdf": "c3", "r~b2.pdf": "b2", "r~a1.pdf": "a1", "other": "d4"}


def hostile_account() -> list[FileObject]:
    filenames = [*HOSTILE, "r.pdf", "r.pdf", "r.pdf", "r~i0.pdf", "r~i1.pdf", "a/b.txt", "a_b.txt", "_..", "x" * 300]
    return [file(f"i{number}", filename, number % 4) for number, filename in enumerate(filenames)]


def test_names_follow_from_the_list_alone() -> None:
    """N3: whatever order the service answers in, every file has the same name, and just one."""
    files = hostile_account()
    expected = {f.id: name for name, f in names.assign(files).items()}
    assert len(expected) == len(files)
    assert all(is_entry(name) for name in expected.values())
    rng = random.Random(7)
    for _ in range(50):
        rng.shuffle(files)
        assert {f.id: name for name, f in names.assign(files).items()} == expected


def test_an_alias_that_a_real_file_bears_goes_on_until_it_is_free() -> None:
    """N3: a filename made to look like an alias takes its name, and hides nobody."""
    files = [file("new", "r.pdf", 9), file("old", "r.pdf", 1), file("trap", "r~old.pdf", 2)]
    shown = {name: f.id for name, f in names.assign(files).items()}
    assert shown["r.pdf"] == "new" and shown["r~old.pdf"] == "trap"
    assert set(shown.values()) == {"new", "old", "trap"}


def test_an_alias_at_the_limit_that_a_real_file_bears() -> None:
    """N2: no filename makes the drive hang; at 255 bytes an alias has no room to grow."""
    long = "x" * 251 + ".txt"
    files = [file("new", long, 9), file("old", long, 1), file("trap", names.alias(long, "old"), 2)]
    assert len(_within(3000, files)) == 3


@pytest.mark.parametrize("stem", ["r", "x" * 251, "福" * 83])
def test_a_crowd_that_bears_every_name_an_older_file_could_have(stem: str) -> None:
    """N2, N3: whoever knows the id cannot hide its file, nor make the look at the names long."""
    name = stem + ".txt"
    traps = [names.alias(name, "old")]
    for _ in range(20):
        bare, other = names.assign([file("new", name, 9), file("old", name, 1)], taken=traps)
        assert bare == name and other not in traps and is_entry(other)
        assert "~old~" in other and other.endswith(".txt")
        traps.append(other)
    account = [file("new", name, 9), file("old", name, 1), *(file(f"t{n}", trap) for n, trap in enumerate(traps))]
    expected = {f.id: name for name, f in _within(3000, account).items()}
    assert len(expected) == len(account)
    rng = random.Random(7)
    for _ in range(10):
        rng.shuffle(account)
        assert {f.id: name for name, f in names.assign(account).items()} == expected


def _within(steps: int, files: list[FileObject]) -> dict[str, FileObject]:
    """Run `assign`, ended with TimeoutError once it asks for the id of a file more than `steps` times."""
    count = itertools.count()

    class Counting(str):
        __slots__ = ()

        def __format__(self, spec: str) -> str:
            if next(count) > steps:
                raise TimeoutError
            return format(str(self), spec)

    return names.assign([file(Counting(f.id), f.filename, f.created_at) for f in files])


def test_names_in_use_here_count_as_given() -> None:
    """N3: while a newer version is written here, the remote file of that name is an older one."""
    assert list(names.assign([file("a1", "r.pdf")], taken={"r.pdf"})) == ["r~a1.pdf"]
    (shown,) = names.assign([file("a1", "r.pdf")], taken={"r.pdf", "r~a1.pdf"})
    assert re.fullmatch(r"r~a1~[0-9a-f]{8}\.pdf", shown)


@pytest.mark.parametrize("file_id", ["a", "x" * 20, "y" * 128])
@pytest.mark.parametrize("filename", ["x" * 255, "x" * 251 + ".pdf", "福" * 85, "福" * 83 + ".pdf", "a.pdf", ".env"])
def test_aliases_and_sidecars_fit(filename: str, file_id: str) -> None:
    """N1, N2: an alias and a sidecar have 255 bytes at most, the extension kept, whatever the id."""
    alias = names.alias(filename, file_id)
    assert is_entry(alias) and f"~{file_id}" in alias
    if filename.endswith(".pdf"):
        assert alias.endswith(".pdf")
    for name in (filename, alias):
        sidecar = names.sidecar(name, file_id)
        assert is_entry(sidecar) and sidecar.endswith(".content")


@pytest.mark.parametrize(("length", "whole"), [(246, True), (247, True), (248, False), (255, False)])
def test_the_sidecar_at_the_limit(length: int, whole: bool) -> None:
    """N1: NAME.content wherever it fits; beyond, the id keeps two long names apart."""
    name = "x" * (length - 4) + ".pdf"
    one, two = names.sidecar(name, "id1"), names.sidecar(name, "id2")
    assert (one == name + ".content") is whole
    assert (one == two) is whole


@pytest.mark.parametrize("name", ["a.pdf", "福" * 85, "x" * 255, "-", " ", "~", "a~b", "....", "résumé.txt"])
def test_what_can_be_kept_is_accepted(name: str) -> None:
    """N7: a name of at most 255 bytes of clean UTF-8."""
    names.check(name)


@pytest.mark.parametrize("name", ["x" * 256, "福" * 86, "\udce9" * 256])
def test_a_long_name_is_refused(name: str) -> None:
    """N7: bytes count, not characters."""
    with pytest.raises(NameTooLong):
        names.check(name)


@pytest.mark.parametrize("name", ["a\nb", "\x7f", "\udce9.txt", "a\u2028b", ".moonfs", "..", ""])
def test_a_name_that_would_change_is_refused(name: str) -> None:
    """Tenet 2: what the service or the listing would alter is refused early."""
    with pytest.raises(InvalidName):
        names.check(name)


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".a.txt.swp",
        "a.txt~",
        "#a.txt#",
        "~$report.docx",
        "4913",
        "x.tmp",
        "movie.mp4.part",
        "x.crdownload",
        "sedAbC123",
        "sedabcdef",
        "a.txt.oXy12Zw",
        "a.txt.oabcde1",
        "a.o1abcde",
    ],
)
def test_temporary_names_stay_here(name: str) -> None:
    """N6: the names that editors and copy tools write through."""
    assert names.is_temporary(name)


@pytest.mark.parametrize("name", ["a.txt", "sed1234567", "49131", "a.tmpl", "tmp", "a~b.txt", "part.pdf"])
def test_real_names_go_to_the_service(name: str) -> None:
    """N6: nothing that a person would call a document is held back."""
    assert not names.is_temporary(name)


@pytest.mark.parametrize(
    "name",
    [
        "sedan.txt",
        "sed_1.csv",
        "seda.docx",
        "diary.october",
        "diary.octobre",
        "a.o1.2.3.4",
        "a.oXy12Z",
        "a.oXy12Zw1",
        "sed福福福福福福",
        "sedAbC12\n",
        "xsedAbC123",
    ],
)
def test_a_document_that_looks_like_a_temporary_name(name: str) -> None:
    """W1: `cp sedan.txt` says success, so the service must get it; sed -i makes sedXXXXXX of [A-Za-z0-9]."""
    assert not names.is_temporary(name)


#: What programs write to and then rename, by the program.
PASSING = {
    "GLib": "a.txt.AB12CD",
    "QSaveFile": "report.docx.kXyZab",
    "JetBrains": "notes.md___jb_tmp___",
    "JetBrains' backup": "notes.md___jb_old___",
    "git config": "app.ini.lock",
    "write-file-atomic": "package.json.3456789012",
    "ExifTool": "photo.jpg_exiftool_tmp",
    "ExifTool's backup": "photo.jpg_original",
    "qpdf": "scan.pdf.~qpdf-temp#",
    "Excel": "5F3A1B20",
    "Excel in lower case": "5f3a1b2c",
    "Excel in decimal digits": "12345678",
    "aria2": "film.mp4.aria2",
    "yt-dlp": "talk.mp4.ytdl",
    "yt-dlp's fragment": "talk.f137.mp4.part-Frag12",
    "qBittorrent": "film.mp4.!qB",
    "dpkg": "sshd.conf.dpkg-new",
    "rpm": "sshd.conf.rpmsave",
    "ucf": "sshd.conf.ucf-dist",
    ".new": "a.csv.new",
    ".old": "a.csv.old",
    ".save": "a.csv.save",
    "a UUID": "a.html.3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "a UUID behind a dash": "a.html-3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "macOS": "a.html.sb-1a2b3c4d-AbCdEf",
    "logrotate's dateext": "app.log-20240101",
    "a process number": "a.txt.1234",
    "SQLite": "a.txt-journal",
    "Chinese": "计划.txt.新",
    "two names": "a.txt.md.lock",
    "a name that itself has more": "a.txt.1.md.lock",
    "capitals": "A.TXT.LOCK",
    "a video": "a.mp4.tmp2",
}
#: What a person may have meant: it is refused at its close.
MEANT = [
    "data.tsv", "x.hpp", "page.mdx", "app.csproj", "book.xlsm", "a.rs", "Makefile", "Dockerfile.x", "a.xyz", "a",
    "a.txt.content", "a.txt.gz", "a.md.bz2", "a.md.xz", "a.csv.zst", "a.pdf.zip", "a.pdf.7z", "a.pdf.asc", "a.pdf.sig",
    "a.pdf.gpg", "a.js.map", "a.html.j2", "a.c.orig", "a.txt.bak", "a.html.erb", "a.doc.odt", "a.xls.ods", "a.ppt.odp",
    "a.c.rs", "a.css.scss", "a.csv.sql", "a.ini.template", "a.json.example", "a.txt.xml", "a.pdf.tar", "a.pdf.tar.gz",
    "a.txt.TSV", "a.txt.Z", "a.py.pyc", "a.txt.1", "a.log.12", "a.log.123", "a.txt-2", "a.txt_3", "a.pdf (1)",
    "a.txt copy", "a.txt - Kopie", "a.txt ", "20240101", "19991231", "31122024", "12312024", "5F3A1B2", "5F3A1B201",
    "5F3A1B2G", "a.txt.", "a.txtx.lock", "a.txt2.lock",
]  # fmt: skip


@pytest.mark.parametrize("name", PASSING.values(), ids=PASSING)
def test_a_name_that_a_program_is_about_to_give_up(name: str) -> None:
    """N6: a name that is taken with more behind, or eight hexadecimal digits."""
    assert names.is_passing(name) and names.is_known_refused(name) and not names.is_temporary(name)


@pytest.mark.parametrize("name", MEANT)
def test_a_name_that_a_person_may_have_meant(name: str) -> None:
    """N6, N7: what only begins like a name that is taken, or has behind it what people keep beside a file."""
    assert not names.is_passing(name)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.md", "a.part.pdf", "A.PNG", "a.mp4", "a.txt~", "a.txt.tmp", ".a.txt"])
def test_the_rule_is_about_neither_documents_nor_the_list(name: str) -> None:
    """N6, W11: what is taken is uploaded; what the list has stays here for as long as it has that name."""
    assert not names.is_passing(name)


@pytest.mark.parametrize(
    ("old", "new", "stays"),
    [
        ("a.txt", "a.txt~", True),
        ("a.txt", "a.txt.bak", True),
        ("a.txt", "a.txt.orig", True),
        ("a.txt", "a.txt.old", True),
        ("app.log", "app.log.1", True),
        ("app.log.1", "app.log.2", True),
        ("app.log", "app.log-20240101", True),
        ("photo.jpg", "photo.jpg_original", True),
        ("a.txt", "b.txt.bak", False),
        ("a.txt", "a.bak", False),
        ("a.txt", "a.txt.gz", False),
        ("a.txt", "a.txt (1)", False),
        ("a.txt", "a.rs", False),
        ("a.txt", "Makefile", False),
        ("a.tmp", "a.txt.bak", False),
        ("a.txt", "b.txt", False),
        ("a.txt.bak", "a.txt", False),
    ],
)
def test_what_stays_here_under_a_new_name(old: str, new: str, stays: bool) -> None:
    """N6, W9: a backup of a file under its own name is one, though a file made under that name is not."""
    assert names.stays_renamed(old, new) is stays


def test_the_rule_does_not_depend_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """N6: Python's tables as they are built in, whatever /etc/mime.types has."""
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".lock", "application/x-lock")
    monkeypatch.setitem(mimetypes._db.types_map[1], ".lock", "application/x-lock")  # type: ignore[attr-defined]
    assert mimetypes.guess_type("a.lock")[0] == "application/x-lock"
    names._kept.cache_clear()
    assert names.is_passing("a.txt.lock")


@pytest.mark.parametrize(
    ("name", "litter"),
    [
        (".DS_Store", True),
        ("._photo.png", True),
        ("Thumbs.db", True),
        ("desktop.ini", True),
        (".Trash-1000", True),
        ("thumbs.txt", False),
        ("desktop.ini.txt", False),
        (".env", False),
        ("xThumbs.db", False),
    ],
)
def test_litter_is_known(name: str, litter: bool) -> None:
    """N6: desktop litter is refused, by its whole name."""
    assert names.is_litter(name) is litter


@pytest.mark.parametrize(
    ("name", "refused"),
    [("tmpab12", True), ("Dockerfile", True), ("a.xyz", True), (".env", True), ("A.PDF", False), ("b.heic", False)],
)
def test_types_that_the_service_refuses(name: str, refused: bool) -> None:
    """N6, N7: by extension, in either case; none at all is refused."""
    assert names.is_known_refused(name) is refused


@pytest.mark.parametrize(
    ("name", "purpose", "expected"),
    [
        ("a.pdf", "auto", ("file-extract",)),
        ("a.unknown", "auto", ("file-extract",)),
        ("noext", "auto", ("file-extract",)),
        ("A.PNG", "auto", ("file-extract", "image")),
        ("a.heic", "auto", ("file-extract", "image")),
        ("a.mp4", "auto", ("video",)),
        ("a.MOV", "auto", ("video",)),
        ("a.ts", "auto", ("file-extract",)),
        ("a.svg", "auto", ("file-extract",)),
        ("a.mp4", "batch", ("batch",)),
        ("a.png", "image", ("image",)),
    ],
)
def test_purposes(name: str, purpose: str, expected: tuple[str, ...]) -> None:
    """W11: `auto` by extension, in either case; a chosen purpose is the only one."""
    assert names.purposes(name, purpose) == expected


@pytest.fixture
def rules() -> Iterator[None]:
    """What is temporary and what is junk is as usual again afterwards."""
    yield
    names.choose(temporary=(), junk=())


def test_more_names_stay_here(rules: None) -> None:
    """N6: what is temporary and what is junk can be chosen: more of it, and less."""
    assert not names.is_temporary("a.bak") and names.is_temporary("a.tmp") and not names.is_litter("a.lnk")
    names.choose(temporary=("*.bak", "!*.tmp"), junk=("*.lnk", "!._*"))
    assert names.is_temporary("a.bak") and not names.is_temporary("a.tmp") and names.is_temporary("a.part")
    assert names.is_litter("a.lnk") and not names.is_litter("._a") and names.is_litter(".DS_Store")
    names.choose(temporary=(), junk=())
    assert not names.is_temporary("a.bak") and names.is_temporary("a.tmp") and not names.is_litter("a.lnk")


def test_everything_can_be_taken_off(rules: None) -> None:
    """N6: a list without a glob matches nothing, not everything."""
    names.choose(temporary=[f"!{glob}" for glob in names.TEMPORARY], junk=[f"!{glob}" for glob in names.LITTER])
    assert not names.is_temporary(".a~") and not names.is_litter("") and not names.is_litter(".DS_Store")


def test_what_is_not_usual_cannot_be_taken_off(rules: None) -> None:
    """L1: a typing mistake is told, with the list."""
    with pytest.raises(UsageError, match=r"temporary=!\*\.tpm .*\*\.tmp"):
        names.choose(temporary=["!*.tpm"], junk=[])
