"""Names kept up to date: after any change what they are when all of them are assigned anew."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace

import pytest

from moonfs import journal, names, wire
from moonfs.journal import Intent
from moonfs.table import Table, has_text
from moonfs.wire import FileObject

LONG = "x" * 240
#: Filenames that are equal once they are safe, that look like aliases and sidecars of each other, and that are cut.
PLAIN = ("a.txt", "b.txt", "b/txt", "b_txt", "c", "a.txt.content", "a.txt.content.content", "c.content", "d.png")
MEETING = ("a~i1.txt", "a~i2.txt", "a~i1.txt.content", "c~i3", "a~i1~i2.txt", "a~i4.txt.content", "c~i3.x")
CUT = (f"{LONG}.pdf", f"{LONG}xxxx.pdf", f"{LONG}xxxxxxx.pdf", f"{LONG}~i5.content", f"{LONG}y.content")
#: Few names, so that nothing meets most of the time, and then does; aliases of `a` and `a.txt` may be equal.
FEW = ("a", "a.txt", "a.txt", "a~i1.txt", "b")
IDS = ["i1", "i2", "i1.txt", "i3", "i4.content", "i3.x", *(f"i{number}" for number in range(5, 12))]


def anew(
    listed: Mapping[str, FileObject], hidden: Set[str], attempts: Iterable[Intent], taken: Set[str]
) -> tuple[dict[str, FileObject], dict[str, FileObject]]:
    """Return files and sidecars by name, as N1 to N4 say."""
    attempts = list(attempts)
    visible = [
        file
        for file in listed.values()
        if file.id not in hidden and not any(attempt.may_have_made(file) for attempt in attempts)
    ]
    files = names.assign(visible, taken)
    texts = {names.sidecar(name, file.id): file for name, file in files.items() if has_text(file)}
    return files, {name: file for name, file in texts.items() if name not in files}


def intent(name: str, size: int, known: frozenset[str]) -> Intent:
    return Intent(
        spool=name, name=names.safe(name), state=journal.UPLOADING, purpose="auto", size=size, sha256="", mtime_ns=0,
        inode=9, started=3.0 + journal.CLOCK_SLACK, known=known,
    )  # fmt: skip


class Account:
    """What the names follow from, changing at random."""

    def __init__(self, seed: int, filenames: tuple[str, ...]) -> None:
        self.random = random.Random(seed)
        self.filenames = filenames
        self.ids = IDS[: 2 * len(set(filenames)) - 3]
        self.listed: dict[str, FileObject] = {}
        self.hidden: set[str] = set()
        self.attempts: list[Intent] = []
        self.taken: set[str] = set()

    def file(self, file_id: str) -> FileObject:
        purpose = self.random.choice((wire.FILE_EXTRACT, wire.FILE_EXTRACT, wire.IMAGE))
        created, name = self.random.randrange(6), self.random.choice(self.filenames)
        return FileObject(file_id, self.random.randrange(3), created, name, purpose)

    def change(self) -> None:
        what = self.random.randrange(8)
        if what < 2:
            file_id = self.random.choice(self.ids)
            self.listed = {**self.listed, file_id: self.file(file_id)}
        elif what < 4 and self.listed:
            self.listed = dict(self.listed)
            del self.listed[self.random.choice(list(self.listed))]
        elif what == 4:  # the same by another request, in another order
            files = [replace(file) for file in self.listed.values()]
            self.random.shuffle(files)
            self.listed = {file.id: file for file in files}
        elif what == 5:
            self.hidden = self.hidden ^ {self.random.choice(self.ids)}
        elif what == 6:
            name, known = self.random.choice(self.filenames), frozenset(self.random.sample(self.ids, 3))
            kept = [attempt for attempt in self.attempts if attempt.name != names.safe(name)]
            self.attempts = kept if len(kept) < len(self.attempts) else [*kept, intent(name, 1, known)]
        elif self.attempts and self.random.random() < 0.5:  # something is learned of an attempt
            self.random.choice(self.attempts).known |= {self.random.choice(self.ids)}
        else:
            self.taken = self.taken ^ {names.safe(self.random.choice(self.filenames))}


@pytest.mark.parametrize("filenames", [FEW, PLAIN, PLAIN + MEETING, PLAIN + CUT, PLAIN + MEETING + CUT], ids=len)
@pytest.mark.parametrize("seed", range(40))
def test_names_are_what_they_are_when_all_are_assigned_anew(filenames: tuple[str, ...], seed: int) -> None:
    """N1-N4: whatever has changed, and whatever was there before, the names follow from the state alone."""
    account, table = Account(seed, filenames), Table()
    for step in range(150):
        for _ in range(account.random.randrange(1, 4)):
            account.change()
        state = account.listed, account.hidden, account.attempts, account.taken
        table.update(*state)
        assert (table.files, table.sidecars) == anew(*state), step


class Work:
    """How often a name was made of another one: all that naming a file costs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        for made in ("alias", "sidecar"):
            monkeypatch.setattr(names, made, self.counted(getattr(names, made)))

    def counted(self, make: Callable[[str, str], str]) -> Callable[[str, str], str]:
        def call(name: str, file_id: str) -> str:
            self.done += 1
            return make(name, file_id)

        return call


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


def test_only_what_has_changed_is_named(work: Work) -> None:
    """Of a thousand files one deletion is one file's work."""
    listed = {f"i{number}": FileObject(f"i{number}", 1, number, f"{number}.txt") for number in range(1000)}
    table = Table()
    table.update(listed, frozenset(), [], frozenset())
    work.done = 0
    table.update(listed, {"i7"}, [], frozenset())
    less = {file_id: file for file_id, file in listed.items() if file_id != "i8"}
    table.update(less, {"i7"}, [], frozenset())
    table.update({**less, "i8": replace(listed["i8"], filename="9.txt")}, {"i7"}, [], {"10.txt"})
    assert work.done <= 12 and len(table.files) == 999 and table.files["9~i8.txt"].id == "i8"


@pytest.mark.parametrize(
    "filename",
    ["a{}.pdf", "a.pdf", "old~a{}.pdf", "old~a.pdf", "月" * 83 + "{}.pdf", "月" * 83 + "a.pdf"],
    ids=["different", "equal", "different with ~", "equal with ~", "different and long", "equal and long"],
)
@pytest.mark.parametrize("first", ["oldest", "newest"])
def test_a_thousand_equal_names_go_one_by_one(work: Work, filename: str, first: str) -> None:
    """N3: in the time of a thousand different ones, whatever they are called, hidden and then gone."""
    listed = {f"i{n:04}": FileObject(f"i{n:04}", 1, n, filename.format(n)) for n in range(1000)}
    table, hidden, left = Table(), frozenset[str](), dict(listed)
    table.update(left, hidden, [], frozenset())
    work.done = 0
    for file_id in sorted(listed, reverse=first == "newest"):
        hidden |= {file_id}
        table.update(left, hidden, [], frozenset())
        left = {other: file for other, file in left.items() if other != file_id}
        table.update(left, hidden, [], frozenset())
    assert table.files == table.sidecars == table.named == {}
    assert work.done <= 6 * len(listed), "each deletion names that file and two others at the most"


@pytest.mark.parametrize(
    "files",
    [
        [("i1.txt", 1, "a"), ("i2", 2, "a"), ("i1", 1, "a.txt"), ("i3", 2, "a.txt")],
        [("i5", 1, "x" * 250), ("i5.content", 1, "x" * 244), ("i2", 2, "x" * 244)],
    ],
    ids=["an alias that two files have", "an alias that is a sidecar's name"],
)
def test_names_that_meet_by_their_ids(files: list[tuple[str, int, str]]) -> None:
    """N3, N4: whoever is second gets the name when the first one's goes."""
    listed = {file_id: FileObject(file_id, 1, created, name) for file_id, created, name in files}
    for gone in listed:
        table = Table()
        for now in (listed, {file_id: file for file_id, file in listed.items() if file_id != gone}, listed):
            table.update(now, frozenset(), [], frozenset())
            assert (table.files, table.sidecars) == anew(now, frozenset(), [], frozenset())
