"""Files under passing names, their minutes, and the stored copies that are held meanwhile (N6, W9)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from moonfs import errors, temporaries
from moonfs import journal as states
from tests.harness.drive import wait_until
from tests.harness.house import SELF, Drive, House, let_go, put_off
from tests.harness.rest import at_rest

both = pytest.mark.parametrize("write_back", [False, True], ids=["write-through", "write-back"])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes are over in a moment."""
    monkeypatch.setattr(temporaries, "PASSING_SECONDS", 0.05)


def settled(drive: Drive) -> None:
    """Wait until nothing is pending and nothing is looked at soon."""
    assert drive.fs.drain(10)
    at_rest(drive.uploader.workers)
    assert drive.fs.drain(10)


def later(house: House, **settings: Any) -> Drive:
    """Return the next run as it is ten minutes later."""
    again = house.next_run(start=False, **settings)
    for row in again.journal.intents():
        if row.closed:
            again.journal.put(replace(row, closed=row.closed - int(temporaries.PASSING_SECONDS * 10**9)))
    return again.start()


def failed(drive: Drive) -> list[str]:
    uploads: Any = drive.fs.summary()["uploads"]
    return [each["name"] for each in uploads["failed"]]


# Passing names


@both
@pytest.mark.parametrize("name", ["a.txt.AB12CD", "a.txt.lock", "5F3A1B20", "a.txt___jb_tmp___"])
def test_a_passing_name_is_uploaded_once_it_is_renamed(house: House, write_back: bool, name: str) -> None:
    """N6, W9: until then it is on this machine only, also after a kill."""
    drive = house.start(write_back=write_back)
    drive.write(name, b"one")
    assert not drive.fs.busy() and house.account.uploads == 0 and drive.fs.xattrs(f"/{name}") != {}
    assert drive.fs.xattrs(f"/{name}")["user.moonfs.state"] == b"local" and failed(drive) == []
    again = house.next_run(write_back=write_back)
    assert again.ls() == [name] and again.read(name) == b"one" and not again.fs.busy()
    again.fs.rename(f"/{name}", "/a.txt")
    settled(again)
    assert house.account.shown() == {"a.txt": b"one"} and house.account.uploads == 1 and again.spooled() == 0


@both
def test_what_a_person_may_have_meant_is_refused_at_its_close(house: House, write_back: bool) -> None:
    """N7: as before."""
    drive = house.start(write_back=write_back)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    try:
        drive.write("a.txt.bak", b"one")
    except errors.UnsupportedType:
        assert not write_back
    settled(drive)
    assert failed(drive) == ["a.txt.bak"] and house.account.uploads == 1


@both
@pytest.mark.usefixtures("hurried")
def test_after_its_minutes_it_is_uploaded_where_it_is_taken(house: House, write_back: bool) -> None:
    """N6: a program may have meant the name."""
    drive = house.start(write_back=write_back)
    drive.write("a.txt.lock", b"one")
    wait_until(lambda: house.account.files, "it is uploaded", 10)
    settled(drive)
    assert house.account.shown() == {"a.txt.lock": b"one"} and drive.journal.intents() == [] and drive.spooled() == 0


@both
@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", ["a.txt.lock", "5F3A1B20"])
def test_after_its_minutes_it_is_refused_where_it_is_not(house: House, write_back: bool, name: str) -> None:
    """N6, N7: it has failed, with a next step; a rename still mends it, also in the next run."""
    drive = house.start(write_back=write_back)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    drive.write(name, b"one")
    wait_until(lambda: failed(drive) == [name], "it is refused", 10)
    settled(drive)
    assert house.account.uploads == (name != "5F3A1B20"), "what is known to be refused is not sent"
    assert drive.fs.xattrs(f"/{name}")["user.moonfs.next"].endswith(f"mv {name} {name}.txt".encode())
    again = house.next_run(write_back=write_back)
    assert failed(again) == [name] and not again.fs.busy() and again.read(name) == b"one"
    house.account.script = []
    again.fs.rename(f"/{name}", "/a.txt")
    settled(again)
    assert house.account.shown() == {"a.txt": b"one"} and failed(again) == []


def test_its_minutes_are_counted_over_runs(house: House) -> None:
    """N6: from the last close on, whoever is mounted; not before they are over."""
    drive = house.start()
    drive.write("a.txt.lock", b"one")
    (row,) = drive.journal.intents()
    assert row.state == states.LOCAL and abs(row.closed / 10**9 - time.time()) < 60
    again = house.next_run()
    at_rest(again.uploader.workers)
    assert house.account.uploads == 0 and [each.closed for each in again.journal.intents()] == [row.closed]
    last = later(house)
    wait_until(lambda: house.account.shown() == {"a.txt.lock": b"one"}, "it is uploaded", 10)
    settled(last)


def test_a_writer_begins_its_minutes_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """N6: they are counted from the last close; what is open is not uploaded; who only reads changes nothing."""
    monkeypatch.setattr(temporaries, "_LATER", 0)
    drive = house.start()
    drive.write("a.txt.lock", b"one")
    (first,) = drive.journal.intents()
    handle = drive.fs.open("/a.txt.lock", read=True, write=False).handle
    drive.end(handle)
    assert [each.closed for each in drive.journal.intents()] == [first.closed]
    handle = drive.fs.open("/a.txt.lock", read=False, write=True).handle
    monkeypatch.setattr(temporaries, "PASSING_SECONDS", 0.0)
    drive.fs._versions._temporaries.watch(drive.fs._space.local["a.txt.lock"])
    at_rest(drive.uploader.workers)
    assert house.account.uploads == 0
    monkeypatch.undo()
    monkeypatch.setattr(temporaries, "_LATER", 0)
    drive.end(handle)
    (second,) = drive.journal.intents()
    assert second.closed > first.closed and house.account.uploads == 0


@pytest.mark.usefixtures("hurried")
def test_an_empty_one_stays(house: House) -> None:
    """W6: the service has no empty files; with its first bytes it is one that passes."""
    drive = house.start()
    drive.end(drive.create("a.txt.lock"))
    at_rest(drive.uploader.workers)
    assert house.account.uploads == 0 and drive.ls() == ["a.txt.lock"] and failed(drive) == []
    drive.write("a.txt.lock", b"one")
    wait_until(lambda: house.account.files, "it is uploaded", 10)
    settled(drive)


@pytest.mark.usefixtures("hurried")
def test_what_mkstemp_made_goes_too(house: House) -> None:
    """N6: `a.txt.XXXXXX` of mode 0600 is a passing name; `tmpXXXXXX` stays for as long as it has that name."""
    drive = house.start()
    drive.write("a.txt.AB12CD", b"one", mode=0o600)
    drive.write("tmpab12cd", b"two", mode=0o600)
    wait_until(lambda: house.account.files, "it is uploaded", 10)
    settled(drive)
    assert house.account.shown() == {"a.txt.AB12CD": b"one"} and drive.ls() == ["a.txt.AB12CD", "tmpab12cd"]


@pytest.mark.parametrize("name", ["a.txt.lock", "5F3A1B20"])
def test_a_file_of_the_account_is_never_temporary(house: House, name: str) -> None:
    """N6: the rule is about names that are made here: what the service has is shown, and written like any other."""
    house.account.add(name, b"theirs")
    drive = house.start()
    assert drive.ls() == [name]
    drive.write(name, b"mine")
    assert house.account.shown() == {name: b"mine"} and not drive.fs.busy()


# What is held

DANCES: dict[str, tuple[str, Callable[[Drive], None]]] = {
    "mv a.txt a.txt~": ("a.txt~", lambda drive: drive.fs.rename("/a.txt", "/a.txt~")),
    "sed -i.bak": ("a.txt.bak", lambda drive: drive.fs.rename("/a.txt", "/a.txt.bak")),
    "logrotate": ("a.txt.1", lambda drive: drive.fs.rename("/a.txt", "/a.txt.1")),
    "exiftool": ("a.txt_original", lambda drive: drive.fs.rename("/a.txt", "/a.txt_original")),
}
dances = pytest.mark.parametrize("dance", DANCES)


def stored(house: House, write_back: bool, body: bytes = b"old") -> Drive:
    """Return a drive on which `a.txt` is stored."""
    drive = house.start(write_back=write_back)
    drive.write("a.txt", body)
    settled(drive)
    assert house.account.uploads == 1
    return drive


@both
@dances
def test_the_stored_copy_stays_until_there_is_a_new_version(house: House, write_back: bool, dance: str) -> None:
    """W9: here only the temporary name shows; the account has the old bytes until it has the new ones."""
    name, rename = DANCES[dance]
    drive = stored(house, write_back)
    rename(drive)
    for each in (drive, house.next_run(write_back=write_back)):
        assert each.ls() == [name] and each.read(name) == b"old" and house.account.shown() == {"a.txt": b"old"}
        assert not [entry for entry in each.fs.readdir("/") if entry != name] and not each.fs.busy()
    again = house.drives[-1]
    again.write("a.txt", b"new")
    settled(again)
    assert house.account.shown() == {"a.txt": b"new"} and again.ls() == ["a.txt", name]
    assert again.read(name) == b"old" and again.read("a.txt") == b"new"
    last = house.next_run(write_back=write_back)
    assert last.ls() == ["a.txt", name] and house.account.shown() == {"a.txt": b"new"}
    last.fs.unlink(f"/{name}", SELF)
    settled(last)
    assert house.account.shown() == {"a.txt": b"new"} and last.ls() == ["a.txt"]


@both
@dances
def test_a_new_version_by_a_rename(house: House, write_back: bool, dance: str) -> None:
    """W9: as sed does it."""
    name, rename = DANCES[dance]
    drive = stored(house, write_back)
    drive.write("sedAb12Cd", b"new")
    rename(drive)
    drive.fs.rename("/sedAb12Cd", "/a.txt")
    settled(drive)
    assert house.account.shown() == {"a.txt": b"new"} and drive.ls() == ["a.txt", name]
    assert (drive.read("a.txt"), drive.read(name)) == (b"new", b"old") and drive.journal.deletions() == []


@both
@dances
@pytest.mark.parametrize("killed", [False, True])
def test_renamed_back_nothing_is_sent(house: House, write_back: bool, dance: str, killed: bool) -> None:
    """W9: the copy is shown again."""
    name, rename = DANCES[dance]
    drive = stored(house, write_back)
    rename(drive)
    drive = house.next_run(write_back=write_back) if killed else drive
    drive.fs.rename(f"/{name}", "/a.txt")
    settled(drive)
    assert house.account.uploads == 1 and house.account.shown() == {"a.txt": b"old"}
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"old" and drive.spooled() == 0
    last = house.next_run(write_back=write_back)
    settled(last)
    assert last.ls() == ["a.txt"] and last.journal.deletions() == [] and last.journal.intents() == []


def test_renamed_back_over_a_version_that_is_on_its_way(house: House) -> None:
    """W3, W9: what has arrived of that one goes, and takes nothing of this one along."""
    drive = stored(house, write_back=True)
    drive.fs.rename("/a.txt", "/a.txt~")
    put_off(house, drive, "a.txt", b"new")
    drive.fs.rename("/a.txt~", "/a.txt")
    let_go(house, drive)
    settled(drive)
    wait_until(lambda: len(house.account.files) == 1, "only one is left", 10)
    assert house.account.shown() == {"a.txt": b"old"} and drive.ls() == ["a.txt"] and drive.read("a.txt") == b"old"


def test_renamed_there_and_back_while_it_is_on_its_way(house: House) -> None:
    """W9, W12: who has it open reads on, and nothing is sent again."""
    drive = house.start(write_back=True)
    put_off(house, drive, "a.txt", b"old" * 30_000)
    handle = drive.fs.open("/a.txt", read=True, write=True, append=True).handle
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.fs.rename("/a.txt~", "/a.txt")
    let_go(house, drive)
    wait_until(lambda: drive.journal.intents() == [], "it is stored", 10)
    assert drive.fs.write(handle, b"new", 0, append=True) == 3
    drive.end(handle)
    settled(drive)
    assert house.account.shown() == {"a.txt": b"old" * 30_000 + b"new"} and drive.read("a.txt")[-3:] == b"new"


@both
@dances
def test_removed_before_there_is_a_new_version(house: House, write_back: bool, dance: str) -> None:
    """W8, W9: with the temporary file its copy goes."""
    name, rename = DANCES[dance]
    drive = stored(house, write_back)
    rename(drive)
    drive.fs.unlink(f"/{name}", SELF)
    settled(drive)
    assert house.account.files == {} and drive.ls() == [] and drive.journal.intents() == []


@both
def test_after_its_minutes_the_list_keeps_the_file_here(house: House, write_back: bool) -> None:
    """W9, N6: `a.txt~` stays on this machine; the copy goes once its bytes are here for sure."""
    drive = stored(house, write_back)
    drive.fs.rename("/a.txt", "/a.txt~")
    again = later(house, write_back=write_back)
    wait_until(lambda: not house.account.files, "the copy goes", 10)
    settled(again)
    assert again.ls() == ["a.txt~"] and again.read("a.txt~") == b"old" and failed(again) == []
    (row,) = again.journal.intents()
    assert (row.state, row.closed, row.held, row.replaces) == (states.LOCAL, 0, {}, frozenset())


@both
def test_after_its_minutes_a_backup_is_told(house: House, write_back: bool) -> None:
    """W9, N7: `a.txt.bak` is one that is refused; its bytes stay readable here."""
    drive = stored(house, write_back)
    drive.fs.rename("/a.txt", "/a.txt.bak")
    house.account.script = [errors.UnsupportedType("no", status=400)]
    again = later(house, write_back=write_back)
    wait_until(lambda: failed(again) == ["a.txt.bak"] and not house.account.files, "it is refused", 10)
    settled(again)
    assert again.read("a.txt.bak") == b"old" and house.account.files == {}
    last = house.next_run(write_back=write_back)
    settled(last)
    assert failed(last) == ["a.txt.bak"] and last.ls() == ["a.txt.bak"] and last.journal.deletions() == []


def test_what_is_damaged_here_is_not_deleted_there(house: House) -> None:
    """Tenet 1, W9: the minutes are over, and the bytes are not those that were renamed."""
    drive = stored(house, write_back=False, body=b"x" * 100_000)
    drive.fs.rename("/a.txt", "/a.txt~")
    again = house.next_run(start=False)
    (row,) = again.journal.intents()
    again.journal.put(replace(row, closed=1))
    (again.home / "spool" / row.spool).write_bytes(b"y" * 100_000)
    again.start()
    at_rest(again.uploader.workers)
    assert house.account.shown() == {"a.txt": b"x" * 100_000} and again.journal.deletions() == []
    (row,) = again.journal.intents()
    assert row.held == dict.fromkeys(house.account.files, "a.txt")


def test_a_temporary_file_that_is_written_since_counts_as_it_is(house: House) -> None:
    """W9: its new bytes are what was promised last."""
    drive = stored(house, write_back=False)
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.write("a.txt~", b"other")
    assert house.account.shown() == {"a.txt": b"old"}
    again = later(house)
    wait_until(lambda: not house.account.files, "the copy goes", 10)
    assert again.read("a.txt~") == b"other"


@both
def test_the_same_bytes_once_more(house: House, write_back: bool) -> None:
    """W4, W9: `mv a.txt a.txt~`, and the same version written again: nothing is sent, and it is no longer held."""
    drive = stored(house, write_back)
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.write("a.txt", b"old")
    settled(drive)
    assert house.account.uploads == 1 and drive.ls() == ["a.txt", "a.txt~"]
    again = house.next_run(write_back=write_back)
    assert again.ls() == ["a.txt", "a.txt~"] and again.read("a.txt") == b"old"
    again.fs.unlink("/a.txt~", SELF)
    settled(again)
    assert house.account.shown() == {"a.txt": b"old"} and again.ls() == ["a.txt"]


@both
def test_an_overwrite_at_the_limit_makes_room(house: House, write_back: bool) -> None:
    """W7, W9: the copy that is held counts; where the account is full, it goes first, as any old version does."""
    drive = stored(house, write_back)
    drive.fs.rename("/a.txt", "/a.txt.bak")
    house.account.script = [errors.TooManyFiles("full", status=400)]
    drive.write("a.txt", b"new")
    settled(drive)
    assert house.account.shown() == {"a.txt": b"new"} and drive.ls() == ["a.txt", "a.txt.bak"]
    assert drive.journal.deletions() == [] and drive.read("a.txt.bak") == b"old"


def test_a_version_that_arrives_after_its_rename_is_held(house: House) -> None:
    """W9: `mv a.txt a.txt~` while it is on its way: it is as if it had been stored before."""
    drive = house.start(write_back=True)
    put_off(house, drive, "a.txt", b"old")
    drive.fs.rename("/a.txt", "/a.txt~")
    let_go(house, drive)
    settled(drive)
    for each in (drive, house.next_run(write_back=True)):
        assert house.account.shown() == {"a.txt": b"old"} and each.ls() == ["a.txt~"]
    again = house.drives[-1]
    again.write("a.txt", b"new")
    settled(again)
    assert house.account.shown() == {"a.txt": b"new"} and again.ls() == ["a.txt", "a.txt~"]


def test_two_saves_before_the_first_has_arrived(house: House) -> None:
    """W9: the second backup takes the first one's place, and what that holds."""
    drive = stored(house, write_back=True, body=b"one")
    drive.fs.rename("/a.txt", "/a.txt~")
    put_off(house, drive, "a.txt", b"two")
    drive.fs.rename("/a.txt", "/a.txt~")
    assert house.account.shown() == {"a.txt": b"one"} and drive.ls() == ["a.txt~"]
    let_go(house, drive)
    drive.write("a.txt", b"three")
    settled(drive)
    wait_until(lambda: len(house.account.files) == 1, "only one is left", 10)
    assert house.account.shown() == {"a.txt": b"three"} and drive.read("a.txt~") == b"two"


def emptied(drive: Drive) -> None:
    """Leave `b.txt` without bytes, as `: > b.txt` does."""
    drive.end(drive.fs.open("/b.txt", read=False, write=True, truncate=True).handle)


#: How what `b.txt` has comes to stay here.
STAYS: dict[str, Callable[[Drive], None]] = {
    "mv b.txt b.txt~": lambda drive: drive.fs.rename("/b.txt", "/b.txt~"),
    ": > b.txt": emptied,
    ": > b.txt; sync b.txt while somebody writes": lambda drive: drive.fs.fsync(
        drive.fs.open("/b.txt", read=False, write=True, truncate=True).handle
    ),
    "mv b.txt b.txt~ while somebody writes": lambda drive: (
        drive.fs.open("/b.txt", read=True, write=True, append=True),
        drive.fs.rename("/b.txt", "/b.txt~"),
    )[1],
}


@pytest.mark.parametrize("stays", STAYS)
@pytest.mark.parametrize("first", [False, True], ids=["the new version then", "the new version first"])
def test_a_copy_is_held_under_the_name_that_it_has(house: House, stays: str, first: bool) -> None:
    """W9, W4: `mv a.txt b.txt`, and that stays here before it is sent: the copy goes with the next `a.txt`."""
    drive = stored(house, write_back=True)
    drive.uploader.promised = lambda: 3600.0  # type: ignore[method-assign]
    drive.fs.rename("/a.txt", "/b.txt")
    del drive.uploader.promised
    if not first:
        STAYS[stays](drive)
        (row,) = drive.journal.intents()
        assert row.held == dict.fromkeys(house.account.files, "a.txt")
    drive.write("a.txt", b"new")
    wait_until(lambda: house.account.uploads == 2, "it is uploaded", 10)
    at_rest(drive.uploader.workers)
    if first:
        STAYS[stays](drive)
    wait_until(lambda: len(house.account.files) == 1, "the copy goes", 10)
    assert house.account.shown() == {"a.txt": b"new"}
    assert house.next_run(write_back=True).ls() == drive.ls()
    assert house.account.shown() == {"a.txt": b"new"}


def test_the_next_version_after_a_rename_that_was_refused(house: House) -> None:
    """W4, N7: the copy under the old name goes with it; the bytes are here, and a rename mends it."""
    drive = stored(house, write_back=True)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    drive.fs.rename("/a.txt", "/a.bin")
    wait_until(lambda: failed(drive) == ["a.bin"], "it is refused", 10)
    assert house.account.shown() == {"a.txt": b"old"} and drive.ls() == ["a.bin"]
    drive.write("a.txt", b"new")
    settled(drive)
    wait_until(lambda: len(house.account.files) == 1, "the copy goes", 10)
    for each in (drive, house.next_run(write_back=True)):
        assert house.account.shown() == {"a.txt": b"new"} and each.ls() == ["a.bin", "a.txt"]
        assert each.read("a.bin") == b"old" and failed(each) == ["a.bin"]
    last = house.drives[-1]
    last.fs.rename("/a.bin", "/b.txt")
    settled(last)
    assert house.account.shown() == {"a.txt": b"new", "b.txt": b"old"} and last.journal.deletions() == []


@pytest.mark.parametrize("written", [False, True])
def test_a_version_that_arrives_after_the_next_one_goes(house: House, written: bool) -> None:
    """W9, W4: `mv a.txt a.txt~` while it is on its way, and the next version overtakes it."""
    drive = house.start(write_back=True)
    put_off(house, drive, "a.txt", b"old")
    gate, house.account.gate = house.account.gate, None
    if written:
        drive.fs.open("/a.txt", read=True, write=True, append=True)
    drive.fs.rename("/a.txt", "/a.txt~")
    drive.write("a.txt", b"new")
    wait_until(lambda: house.account.shown() == {"a.txt": b"new"}, "it is uploaded", 10)
    assert gate is not None
    gate.set()
    wait_until(lambda: len(house.account.bodies) == 2, "it arrives", 10)
    wait_until(lambda: len(house.account.files) == 1, "the older one goes", 10)
    assert house.account.shown() == {"a.txt": b"new"} and drive.ls() == ["a.txt", "a.txt~"]
    assert drive.read("a.txt~") == b"old" and drive.read("a.txt") == b"new"


def test_a_rename_on_the_disk_that_refuses_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenet 2: both names are what they were."""
    drive = stored(house, write_back=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drive.journal, "put", full)
    with pytest.raises(OSError, match="No space"):
        drive.fs.rename("/a.txt", "/a.txt.bak")
    monkeypatch.undo()
    assert drive.ls() == ["a.txt"] and drive.read("a.txt") == b"old" and house.account.shown() == {"a.txt": b"old"}


@both
def test_killed_between_the_end_of_the_minutes_and_the_deletion(house: House, write_back: bool) -> None:
    """W9, W4: the promise is recorded, then what it holds goes, also in the next run: one copy of a name is left."""
    drive = stored(house, write_back)
    drive.fs.rename("/a.txt", "/a.txt.bak")
    again = house.next_run(start=False, write_back=write_back)
    (row,) = again.journal.intents()
    again.journal.put(replace(row, state=states.PENDING, closed=0))
    house.account.script = [errors.UnsupportedType("no", status=400)]
    again.start()
    settled(again)
    assert failed(again) == ["a.txt.bak"] and house.account.files == {} and again.read("a.txt.bak") == b"old"
    (row,) = again.journal.intents()
    assert (row.held, row.replaces) == ({}, frozenset())


@pytest.mark.parametrize(("step", "name"), [("let_go", "a.txt~"), ("let_go", "a.txt.bak"), ("put", "a.txt.bak")])
def test_a_disk_that_refuses_at_the_end_of_the_minutes(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, name: str
) -> None:
    """Tenet 1: nothing is deleted that is not recorded, and it is tried again."""
    monkeypatch.setattr(temporaries, "_AGAIN", 0.05)
    drive = stored(house, write_back=False)
    drive.fs.rename("/a.txt", f"/{name}")
    again = house.next_run(start=False)
    (row,) = again.journal.intents()
    again.journal.put(replace(row, closed=1))
    real, tries = getattr(again.journal, step), []

    def full(*args: Any, **other: Any) -> Any:
        tries.append(args)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        return real(*args, **other)

    monkeypatch.setattr(again.journal, step, full)
    house.account.script = [errors.UnsupportedType("no", status=400)]
    again.start()
    wait_until(lambda: not house.account.files, "the copy goes", 10)
    assert len(tries) >= 3 and again.read(name) == b"old"
    settled(again)
