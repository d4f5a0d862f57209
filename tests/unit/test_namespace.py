"""What a name means: local over remote over sidecar; ghosts, aliases, hidden ids; numbers that stay."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from moonfs import journal as states
from moonfs import names, namespace, wire
from moonfs.errors import NotFound
from moonfs.journal import Intent
from moonfs.listing import Snapshot
from moonfs.localfile import LocalFile
from moonfs.namespace import ANYBODY, Awaited, Namespace, Remote, Sidecar, inode_of, sidecar_inode
from moonfs.spool import Spool
from moonfs.table import Table, has_text
from moonfs.wire import FileObject


def file(file_id: str, filename: str, created_at: int = 1, **other: object) -> FileObject:
    return FileObject(id=file_id, bytes=5, created_at=created_at, filename=filename, **other)  # type: ignore[arg-type]


class Drive:
    """A namespace, and the listing that a test gives it."""

    def __init__(self, tmp_path: Path) -> None:
        self.space = Namespace()
        self.spool = Spool(tmp_path)
        self.snapshot = Snapshot(MappingProxyType({}), 0, 0)

    def remote(self, *files: FileObject) -> None:
        table = MappingProxyType({f.id: f for f in files})
        self.snapshot = Snapshot(table, self.snapshot.version + 1, sum(f.bytes for f in files))

    def local(self, name: str, base: FileObject | None = None) -> LocalFile:
        local = LocalFile(self.spool, name, 1, 1, base=base)
        self.space.put(local)
        return local

    def at(self, name: str) -> object:
        return self.space.resolve(self.snapshot, name)

    def gone(self, name: str) -> bool:
        try:
            self.at(name)
        except NotFound:
            return True
        return False

    def names(self, sidecars: bool = True) -> list[str]:
        return self.space.entries(self.snapshot, sidecars=sidecars)


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    return Drive(tmp_path)


def test_a_remote_file_and_its_sidecar(drive: Drive) -> None:
    """N1: every file under its name, and NAME.content beside it; `sidecars=hide` hides, and they still open."""
    a = file("i1", "a.pdf")
    drive.remote(a)
    assert drive.names() == ["a.pdf", "a.pdf.content"] and drive.names(sidecars=False) == ["a.pdf"]
    assert drive.at("a.pdf") == Remote("a.pdf", a)
    assert drive.at("a.pdf.content") == Sidecar("a.pdf.content", a)
    assert drive.gone("a.pdf.content.content") and drive.gone("b")


@pytest.mark.parametrize(("purpose", "text"), [(p, p not in (wire.IMAGE, wire.VIDEO)) for p in wire.PURPOSES])
def test_pictures_and_videos_have_no_sidecar(drive: Drive, purpose: str, text: bool) -> None:
    """R4: no sidecar for `image` and `video`."""
    picture = file("i1", "a.png", purpose=purpose)
    drive.remote(picture)
    assert has_text(picture) is text and drive.gone("a.png.content") is not text


def test_a_real_file_wins_over_a_sidecar(drive: Drive) -> None:
    """N4: `a.content` of the account is a file, not the text of `a`; its own text is `a.content.content`."""
    drive.remote(file("i1", "a"), file("i2", "a.content"))
    assert drive.at("a.content") == Remote("a.content", file("i2", "a.content"))
    assert drive.names() == ["a", "a.content", "a.content.content"]
    assert not drive.space.is_sidecar(drive.snapshot, "a.content")
    assert drive.space.is_sidecar(drive.snapshot, "a.content.content")


def test_a_local_file_hides_what_it_replaces(drive: Drive) -> None:
    """W4: until the new version is confirmed, one name shows once, and the old version nowhere."""
    base = file("i1", "a.txt")
    drive.remote(base, file("i2", "b.txt"))
    local = drive.local("a.txt", base)
    assert drive.at("a.txt") is local
    assert drive.at("a.txt.content") == Sidecar("a.txt.content", base), "opened for writing, not written yet"
    assert drive.space.is_sidecar(drive.snapshot, "a.txt.content") and "a.txt.content" in drive.names()
    local.truncate(0)
    assert drive.names(sidecars=False) == ["a.txt", "b.txt"] and drive.gone("a.txt.content")
    assert not drive.space.is_sidecar(drive.snapshot, "a.txt.content") and "a.txt.content" not in drive.names()
    local.discard()
    drive.space.drop(local)
    assert drive.at("a.txt") == Remote("a.txt", base)


def test_a_stored_file_that_is_still_open_has_its_text(drive: Drive) -> None:
    """N1, N4: `fsync`, then a look: the text of the new version is there; a real file of that name goes first."""
    local = drive.local("a.txt")
    assert drive.gone("a.txt.content")
    stored = file("i9", "a.txt")
    local.current, local.stored, local.replaces = stored, local.generation, frozenset({"i9"})
    drive.space.changed()
    drive.remote(stored)
    assert drive.at("a.txt.content") == Sidecar("a.txt.content", stored)
    local.unlinked = True
    assert drive.gone("a.txt.content")
    local.unlinked = False
    real = drive.local("a.txt.content")
    assert drive.at("a.txt.content") is real and not drive.space.is_sidecar(drive.snapshot, "a.txt.content")
    drive.space.drop(real)
    drive.remote(stored, file("i2", "a.txt.content"))
    assert drive.at("a.txt.content") == Remote("a.txt.content", file("i2", "a.txt.content"))


def test_a_local_file_leaves_other_versions_their_alias(drive: Drive) -> None:
    """N3: what is written here is the newest; a remote file of its name that it does not replace is older."""
    drive.local("a.txt")
    drive.remote(file("i1", "a.txt"))
    assert drive.names(sidecars=False) == ["a.txt", "a~i1.txt"]


def test_doomed_files_are_gone_for_good(drive: Drive) -> None:
    """W4, W8: what will be deleted is not shown, though the service still lists it."""
    drive.remote(file("i1", "a.txt", 1), file("i2", "a.txt", 2))
    drive.space.doom(frozenset({"i2"}))
    assert drive.at("a.txt") == Remote("a.txt", file("i1", "a.txt", 1))
    drive.remote(file("i2", "a.txt", 2))
    assert drive.names() == []


def attempt(name: str = "a.txt", **other: object) -> Intent:
    chosen: dict[str, object] = {"state": states.PENDING, "started": 100.0, **other}
    return Intent(spool="s", name=name, purpose="auto", size=5, sha256="", mtime_ns=1, inode=1, **chosen)  # type: ignore[arg-type]


def test_a_copy_in_flight_is_not_shown(drive: Drive) -> None:
    """W3, W4: what an upload has made and not yet confirmed is the local file, not a second one beside it."""
    local = drive.local("a.txt")
    local.attempt = attempt(known=frozenset({"i3"}), under_way=True)
    drive.space.changed()
    ours, elder, known = file("i1", "a.txt", 100), file("i2", "a.txt", 50), file("i3", "a.txt", 100)
    drive.remote(ours, elder, known, file("i4", "b.txt", 100))
    assert drive.names(sidecars=False) == ["a.txt", "a~i2.txt", "a~i3.txt", "b.txt"]
    assert drive.at("a.txt") is local and drive.gone("a~i1.txt") and drive.gone("a~i1.txt.content")
    local.attempt = None
    drive.space.changed()
    assert "a~i1.txt" in drive.names()


def test_a_copy_in_flight_is_not_shown_under_the_old_name(drive: Drive) -> None:
    """W9: renamed while it was sent: the name that is free again shows nothing of the copy under way."""
    local = drive.local("a.txt")
    local.attempt = attempt(under_way=True)
    drive.remote(file("i1", "a.txt", 100))
    drive.space.move(local, "b.txt")
    assert drive.names(sidecars=False) == ["b.txt"] and drive.gone("a.txt") and drive.gone("a.txt.content")


def test_what_nobody_wants_any_more_is_not_shown(drive: Drive) -> None:
    """W8: deleted in mid-upload: its copy is not shown before it is deleted; other files of its name are."""
    left = attempt(state=states.CANCELLED)
    drive.space.disowned["s"] = left
    drive.remote(file("i1", "a.txt", 100), file("i2", "a.txt", 50))
    assert drive.names(sidecars=False) == ["a.txt"] and drive.at("a.txt") == Remote("a.txt", file("i2", "a.txt", 50))
    left.known |= {"i1"}
    drive.space.changed()
    assert len(drive.names(sidecars=False)) == 2, "another upload has stored that one"
    del drive.space.disowned["s"]
    drive.space.changed()
    assert len(drive.names(sidecars=False)) == 2


def test_an_alias_stays_valid_when_the_newest_goes(drive: Drive) -> None:
    """W10: `rm *` over equal names was expanded before the first deletion."""
    old = file("i1", "a.txt", 1)
    drive.remote(old, file("i2", "a.txt", 2))
    assert drive.names(sidecars=False) == ["a.txt", "a~i1.txt"]
    drive.remote(old)
    assert drive.names(sidecars=False) == ["a.txt"]
    assert drive.at("a~i1.txt") == Remote("a~i1.txt", old)
    assert drive.at("a~i1.txt.content") == Sidecar("a~i1.txt.content", old)
    assert drive.gone("a~i2.txt") and drive.gone("b~i1.txt") and drive.gone("a~i1.txt.content.content")


def test_moving_takes_the_name_from_whoever_had_it(drive: Drive) -> None:
    """W9: rename over an existing local file answers who was there, and the old name is free."""
    one, two = drive.local("one"), drive.local("two")
    assert drive.space.move(one, "two") is two
    assert drive.at("two") is one and one.name == "two" and drive.gone("one")
    assert drive.space.move(one, "two") is None, "onto itself"
    drive.space.drop(two)
    assert drive.at("two") is one, "what has lost its name cannot take it along"


def test_what_is_hidden_follows_a_change_of_replaces(drive: Drive) -> None:
    """W9: a rename over a remote file hides it from the moment on."""
    drive.remote(file("i1", "a.txt"))
    local = drive.local("b.txt")
    assert len(drive.names(sidecars=False)) == 2
    local.replaces = frozenset({"i1"})
    drive.space.changed()
    assert drive.names(sidecars=False) == ["b.txt"]


def test_ghosts_are_seen_by_the_process_that_deleted(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """W10: `rm a a.content` ends without an error, for two minutes, and nobody else sees a thing."""
    now = [100.0]
    monkeypatch.setattr(namespace.time, "monotonic", lambda: now[0])
    assert not drive.space.has_ghosts
    drive.space.leave_ghost("a.content", 42)
    assert drive.space.has_ghosts
    assert drive.space.is_ghost("a.content", 42)
    assert not drive.space.is_ghost("a.content", 43) and not drive.space.is_ghost("b.content", 42)
    drive.space.bury_ghost("a.content")
    drive.space.bury_ghost("a.content")
    assert not drive.space.is_ghost("a.content", 42)
    drive.space.leave_ghost("a.content", 42)
    now[0] += namespace.GHOST_SECONDS + 1
    assert not drive.space.is_ghost("a.content", 42)


def test_ghosts_are_bounded(drive: Drive) -> None:
    """Memory: deleting a million files does not keep a million ghosts."""
    for number in range(5000):
        drive.space.leave_ghost(f"{number}", 1)
    assert len(drive.space._ghosts) <= 4096
    assert drive.space.is_ghost("4999", 1) and not drive.space.is_ghost("0", 1)


def test_the_table_is_made_once_for_each_version(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: a stat costs a look-up, not a thousand names."""
    made = []
    update = Table.update
    monkeypatch.setattr(Table, "update", lambda *args, **more: made.append(1) or update(*args, **more))
    drive.remote(*(file(f"i{number}", f"{number}.txt") for number in range(100)))
    for number in range(100):
        drive.at(f"{number}.txt")
    assert len(made) == 1
    drive.remote(file("x", "x"))
    drive.names()
    assert len(made) == 2


def test_an_alias_is_found_by_its_id(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """W10, E2: among a thousand equal names, whatever else is in them, without a look at all of them."""
    made = []
    files = [file(f"i{number}.x", "月" * 78 + "~b.txt", number) for number in range(1000)]
    drive.remote(*files)
    aliases = [name for name in drive.names(sidecars=False) if "~i" in name]
    assert len(aliases) == 999 and all(len(name.encode()) <= names.MAX_BYTES for name in aliases)
    alias = names.alias
    monkeypatch.setattr(names, "alias", lambda *args: made.append(1) or alias(*args))
    newest = alias(files[-1].filename, files[-1].id)
    assert drive.at(newest) == Remote(newest, files[-1])
    assert drive.at(names.sidecar(newest, files[-1].id)) == Sidecar(names.sidecar(newest, files[-1].id), files[-1])
    assert drive.gone("a~b.txt") and drive.gone("a~i7.x.txt")
    assert len(made) <= 2 * 2, "for either spelling of its id, of the file and of its text"


def test_inode_numbers_are_the_same_everywhere() -> None:
    """A1: they follow from the id alone, differ, and fit what every tool can hold."""
    numbers = {make(f"id{index}") for index in range(5000) for make in (inode_of, sidecar_inode)}
    assert len(numbers) == 10_000
    assert all(2**32 <= number < 2**53 for number in numbers)
    assert inode_of("cnbjfqh5ic7v8uu0n9e0") == 7955703084694518, "a golden number: rsync and tar have seen it"


def test_a_purpose_shows_its_files_under_their_names(drive: Drive) -> None:
    """N5, N1, N3: the names of the root, sidecars too; what has another purpose is not there."""
    drive.remote(
        file("c1", "a.txt"), file("c2", "a.txt", 2, purpose="batch"), file("c3", "b.png", purpose="image"),
        file("c4", "new.xyz", purpose="a new one"),
    )  # fmt: skip
    shown = {purpose: drive.space.entries(drive.snapshot, sidecars=True, purpose=purpose) for purpose in wire.PURPOSES}
    assert shown == {
        "file-extract": ["a~c1.txt", "a~c1.txt.content"],
        "image": ["b.png"],
        "video": [],
        "batch": ["a.txt", "a.txt.content"],
    }
    for purpose in wire.PURPOSES:
        for name in ("a.txt", "a~c1.txt", "a.txt.content", "b.png"):
            if name in shown[purpose]:
                assert drive.space.resolve(drive.snapshot, name, purpose) == drive.at(name)
            else:
                with pytest.raises(NotFound):
                    drive.space.resolve(drive.snapshot, name, purpose)


def test_the_purpose_of_local_files(drive: Drive) -> None:
    """N5, W11, W6: the one that was chosen, else that of the mount; none for what stays here."""
    space = drive.space
    chosen, plain, video, empty = (drive.local(name) for name in ("a.png", "b.pdf", "c.mp4", "d.pdf"))
    for local in (chosen, plain, video):
        local.spool = drive.spool.create()
        local.spool.write(b"x", 0)
    chosen.purpose = "batch"
    assert [space.purpose_of(local) for local in (chosen, plain, video, empty)] == [
        "batch",
        "file-extract",
        "video",
        "",
    ]
    stored = drive.local("e.pdf", file("c1", "e.pdf", purpose="image"))
    assert space.purpose_of(stored) == "image"
    stored.truncate(0)
    assert space.purpose_of(stored) == ""


@pytest.mark.parametrize(
    ("filename", "purpose", "chosen"),
    [
        ("a.pdf", "file-extract", ""), ("a.pdf", "image", "image"), ("a.pdf", "batch", "batch"),
        ("a.png", "image", "image"), ("a.png", "file-extract", ""), ("a.mp4", "video", ""),
        ("a.mp4", "file-extract", "file-extract"), ("a.pdf", "a new one", ""),
    ],
)  # fmt: skip
def test_a_purpose_that_was_chosen(drive: Drive, filename: str, purpose: str, chosen: str) -> None:
    """N5, W11: or found by trying: the name leads to another one first. A purpose of tomorrow cannot be asked for."""
    assert drive.space.chosen_purpose(file("c1", filename, purpose=purpose)) == chosen


def test_a_staged_file_shows_in_its_directory_only(drive: Drive) -> None:
    """N5: until it is moved to the name, which another file has."""
    drive.remote(file("c1", "a.txt"))
    local = LocalFile(drive.spool, ".1234", 1, 1, file=drive.spool.create(), purpose="batch")
    drive.space.stage("batch", "a.txt", local)
    assert drive.space.staged_name(local) == "a.txt" and drive.names() == ["a.txt", "a.txt.content"]
    assert drive.space.entries(drive.snapshot, sidecars=True, purpose="batch") == ["a.txt"]
    assert drive.space.resolve(drive.snapshot, "a.txt", "batch") is local and isinstance(drive.at("a.txt"), Remote)
    with pytest.raises(NotFound):
        drive.space.resolve(drive.snapshot, "a.txt", "image")
    drive.space.move(local, "a.txt")
    assert drive.space.staged_name(local) is None and drive.at("a.txt") is local
    drive.space.stage("image", "a.txt", local)
    drive.space.drop(local)
    assert drive.space.staged == {}


def test_by_id_shows_what_the_listing_shows(drive: Drive) -> None:
    """N5, R4, W8: also what a local file hides; not what is deleted. An id may end like a text's name."""
    drive.remote(
        file("c3", "a.txt"), file("c1", "b.txt"), file("c2", "c.png", purpose="image"), file("c1.content", "d.txt")
    )
    drive.local("a.txt", drive.snapshot.files["c3"])
    space, snapshot = drive.space, drive.snapshot
    assert space.ids(snapshot, sidecars=True) == ["c1", "c1.content", "c1.content.content", "c2", "c3", "c3.content"]
    assert space.ids(snapshot, sidecars=False) == ["c1", "c1.content", "c2", "c3"]
    for name, kind, file_id in (
        ("c3", Remote, "c3"), ("c1.content", Remote, "c1.content"), ("c1.content.content", Sidecar, "c1.content"),
        ("c3.content", Sidecar, "c3"),
    ):  # fmt: skip
        found = space.by_id(snapshot, name)
        assert isinstance(found, kind) and found.file.id == file_id
    space.doom(frozenset({"c3"}))
    for name in ("c3", "c3.content", "c2.content", "c4", "b.txt"):
        with pytest.raises(NotFound):
            space.by_id(snapshot, name)


def test_the_holder_of_an_id(drive: Drive) -> None:
    """W8: the local file that has exactly the bytes of an id, and no longer when it was written to."""
    drive.remote(file("c1", "a.txt"))
    local = drive.local("a.txt", drive.snapshot.files["c1"])
    assert drive.space.holder("c1") is local and drive.space.holder("c2") is None
    local.truncate(0)
    assert drive.space.holder("c1") is None


def test_a_text_that_is_to_come(drive: Drive) -> None:
    """N1, N4: promised, or in the place of one that is stored; a real file of that name goes first."""
    local = drive.local("a.txt")
    local.truncate(0)
    local.truncate(5)
    assert drive.gone("a.txt.content"), "nobody has closed it yet"
    local.commit(local.materialise())
    assert drive.at("a.txt.content") == Awaited("a.txt.content", local)
    assert drive.names() == ["a.txt", "a.txt.content"] and drive.names(sidecars=False) == ["a.txt"]
    assert drive.space.is_sidecar(drive.snapshot, "a.txt.content")
    assert drive.space.resolve(drive.snapshot, "a.txt.content", "file-extract") == drive.at("a.txt.content")
    assert drive.space.entries(drive.snapshot, sidecars=True, purpose="image") == []
    drive.remote(file("i2", "a.txt.content"))
    assert isinstance(drive.at("a.txt.content"), Remote) and not drive.space.awaited(drive.snapshot)
    local.discard()


@pytest.mark.parametrize(
    ("name", "purpose", "comes"),
    [
        ("a.txt", "", True),
        ("a.png", "", True),
        ("a.mp4", "", False),
        ("a.tmp", "", False),
        ("a.txt", "image", False),
        ("a.txt", "batch", False),
        ("a.mp4", "file-extract", True),
    ],
)
def test_which_texts_are_to_come(drive: Drive, name: str, purpose: str, comes: bool) -> None:
    """N1, N6, W11: by what the file is to be uploaded as."""
    local = drive.local(name)
    local.truncate(0)
    local.truncate(5)
    local.purpose = purpose
    local.commit(local.materialise())
    assert drive.space.awaits_text(local) is comes
    local.truncate(0)
    assert not drive.space.awaits_text(local), "it is empty"
    local.discard()


def test_a_ghost_for_anybody(drive: Drive) -> None:
    """W10: it is nobody's in particular."""
    drive.space.leave_ghost("p.png.content", ANYBODY)
    assert drive.space.is_ghost("p.png.content", 1) and drive.space.is_ghost("p.png.content", 2)
