"""The store by itself: ids, a disk that fills up, a database of the future."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from moonfs.server import store as store_module
from moonfs.server.accounts import Account, Accounts
from moonfs.server.app import make_app
from moonfs.server.behaviour import Behaviour, Limits
from moonfs.server.directory import DataDirectory, DirectoryError
from moonfs.server.extraction.extractor import NoExtraction
from moonfs.server.refusal import Refusal
from moonfs.server.staged import Extracted, Staged
from moonfs.server.store import Store
from moonfs.server.xid import XidSource, created_at


@pytest.fixture
def directory(tmp_path):
    opened = DataDirectory(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def store(directory):
    opened = Store(directory)
    yield opened
    opened.close()


LONG = b"long " * 20_000


def put(store: Store, content: bytes = b"bytes", name: str = "a.txt") -> str:
    with store.stage() as staged:
        staged.add(content)
        return store.commit(staged, name, "file-extract", Extracted("text/plain", b'"bytes"')).id


def test_ids_grow_within_a_second_over_restarts_and_when_the_clock_steps_back():
    source = XidSource()
    ids = [source.next(1_700_000_000.9) for _ in range(1000)]
    ids += [source.next(1_600_000_000), XidSource(after=ids[-1]).next(1_700_000_000)]
    assert ids[:1001] == sorted(set(ids[:1001]))
    assert ids[1001] > ids[999]
    assert {created_at(file_id) for file_id in ids} == {1_700_000_000}
    assert XidSource(after=ids[-1]).next(1_700_000_001) > ids[-1]


def test_a_row_that_cannot_be_written_takes_none_with_it(store, directory):
    """Uploads that come together share one transaction, but not one fate."""
    names = ["a.txt", "b\ud800.txt", "c.txt", "d.txt"]  # SQLite has no lone surrogates
    with ThreadPoolExecutor(4) as pool:
        with store._writing:
            waiting = [pool.submit(put, store, LONG, name) for name in names]
            while len(store._batch.rows) < len(names):
                pass
        errors = [upload.exception() for upload in waiting]
    assert [type(error) for error in errors] == [type(None), UnicodeEncodeError, type(None), type(None)]
    ids = {upload.result() for upload, error in zip(waiting, errors, strict=True) if error is None}
    put(store, LONG, "e.txt")
    assert ids < {file["id"] for file in json.loads(store.list_body())["data"]}
    store.close()
    again = Store(directory)
    assert ids < {file["id"] for file in json.loads(again.list_body())["data"]}
    again.close()
    assert len(os.listdir(directory.originals)) == 4


def left_behind(directory: DataDirectory) -> list[str]:
    return [name for part in ("originals", "contents", "incoming") for name in os.listdir(directory.join(part))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_is_a_clean_refusal(directory, store, monkeypatch, failing, code):
    """Each fsync of a commit in turn finds the disk full: of the original, the text, and both directories."""
    kept = put(store)
    before = sorted(left_behind(directory))
    calls = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(code, os.strerror(code))
        real(handle)

    literal = store.incoming()
    with open(literal, "wb") as stream:
        stream.write(b'"' + b"x" * 100_000 + b'"')
    monkeypatch.setattr(os, "fsync", fsync)
    with store.stage() as staged:
        staged.add(b"x" * 100_000)
        with pytest.raises(Refusal) as refused:
            store.commit(staged, "b.txt", "file-extract", Extracted("text/plain", literal))
    monkeypatch.undo()
    if os.path.exists(literal):
        os.unlink(literal)
    assert calls >= failing
    assert (refused.value.status, refused.value.error_type) == (500, "server_error")
    assert sorted(left_behind(directory)) == before
    assert list(store._files) == [kept]
    assert store.get(put(store, name="b.txt")).filename == "b.txt"  # the name is free again


def test_a_disk_that_fills_up_in_mid_upload_is_answered(directory, store, monkeypatch):
    def flush(_staged: Staged) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Staged, "flush", flush)

    async def upload() -> httpx.Response:
        accounts = Accounts([Account("", "key", store)])
        transport = httpx.ASGITransport(make_app(accounts, NoExtraction(""), Behaviour()))
        async with httpx.AsyncClient(transport=transport, headers={"Authorization": "Bearer key"}) as client:
            return await client.post("http://x/v1/files", files={"file": ("a.txt", b"x" * 5_000_000)})

    answer = asyncio.run(upload())
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["message"], error["type"]) == ("The server has no space left to store the file", "server_error")
    assert left_behind(directory) == []


def test_a_database_that_fails_leaves_no_file(directory, store):
    before = left_behind(directory)
    store._writer.execute("DROP TABLE files")
    with pytest.raises(sqlite3.OperationalError):
        put(store)
    assert left_behind(directory) == before


def test_a_row_without_its_original_is_dropped(directory):
    store = Store(directory)
    gone, kept = put(store, LONG), put(store, LONG)
    os.unlink(os.path.join(directory.originals, gone))
    store.close()
    store = Store(directory)
    with pytest.raises(Refusal):
        store.get(gone)
    assert store.get(kept).id == kept
    store.close()


def is_closed(directory):
    """Say whether this process has the database open no more, though what was raised still holds the store."""
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return os.path.realpath(directory.join("files.sqlite")) not in opened


def test_the_data_of_a_newer_moonfs_is_left_alone(directory, monkeypatch):
    monkeypatch.setattr(store_module, "_SCHEMA", 3)
    Store(directory).close()
    monkeypatch.undo()
    with pytest.raises(DirectoryError, match="newer moonfs") as refused:
        Store(directory)
    assert is_closed(directory), refused


def test_the_data_of_the_version_before_is_answered_as_of_today(directory):
    """Its tables are those of today; its rows have the status, the ids and the equal names of that time."""
    with sqlite3.connect(directory.join("files.sqlite")) as database:
        database.executescript(
            """
            CREATE TABLE files (
                id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL,
                status TEXT NOT NULL, status_details TEXT NOT NULL, sha256 BLOB NOT NULL, reader TEXT NOT NULL,
                file_type TEXT NOT NULL, title TEXT NOT NULL, literal BLOB, original BLOB
            ) WITHOUT ROWID;
            CREATE INDEX by_bytes ON files (sha256, reader);
            PRAGMA user_version = 2;
            """
        )
        for number, (status, details) in enumerate((("ok", ""), ("ready", ""), ("error", "why"))):
            row = (f"dc1blkjgo64qd2o0000{number}", 3, "a.txt", "file-extract", status, details, b"hash", "text/2")
            database.execute("INSERT INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                             (*row, "text/plain", "", b'"a & b"', b"old"))  # fmt: skip
    database.close()
    for api, status in (("2026-09", "ready"), ("2026-03", "ok")):
        store = Store(directory, Behaviour.of({"api": api}))
        old = [file for file in json.loads(store.list_body())["data"] if file["id"].startswith("dc1")]
        assert [file["status"] for file in old] == ["error", status, status]
        assert [file["filename"] for file in old] == ["a.txt"] * 3
        assert [file.get("file_type") for file in old] == [None if api == "2026-03" else "text/plain"] * 3
        new = store.get(put(store))
        assert (new.filename, new.id.startswith("file_")) == (
            ("a(1).txt", True) if api == "2026-09" else ("a.txt", False)
        )
        assert json.loads(store.list_body())["data"][0]["id"] == new.id
        store.close()


def test_the_data_of_an_earlier_moonfs_is_brought_up_to_date(directory):
    """Before, every original was a file."""
    file_id = "dc1blkjgo64qd2o00000"
    with sqlite3.connect(directory.join("files.sqlite")) as database:
        database.executescript(
            """
            CREATE TABLE files (
                id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL,
                status TEXT NOT NULL, status_details TEXT NOT NULL, sha256 BLOB NOT NULL, reader TEXT NOT NULL,
                file_type TEXT NOT NULL, title TEXT NOT NULL, literal BLOB
            ) WITHOUT ROWID;
            CREATE INDEX by_bytes ON files (sha256, reader);
            PRAGMA user_version = 1;
            """
        )
        row = (file_id, 3, "a.txt", "batch", "ok", "", b"hash", "text", "text/plain", "", b'"old"')
        database.execute("INSERT INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
    database.close()
    with open(os.path.join(directory.originals, file_id), "wb") as stream:
        stream.write(b"old")
    for _ in range(2):
        store = Store(directory)
        new = put(store, b"new")
        assert store.original(new) == b"new"
        assert store.original(file_id) == os.path.join(directory.originals, file_id)
        assert store.text(file_id).literal == b'"old"'
        store.close()


def test_uploads_that_come_together_are_written_together(store):
    statements: list[str] = []
    store._writer.set_trace_callback(statements.append)
    with ThreadPoolExecutor(6) as pool:
        with store._writing:
            uploads = [pool.submit(put, store, b"%d" % number) for number in range(6)]
            while len(store._batch.rows) < 6:
                assert not any(upload.done() for upload in uploads)
        ids = {upload.result() for upload in uploads}
    assert len(ids) == 6
    assert {store.original(file_id) for file_id in ids} == {b"%d" % number for number in range(6)}
    assert statements.count("COMMIT") == 1


def test_all_that_are_written_together_fail_together(directory, store):
    store._writer.execute("ALTER TABLE files RENAME TO away")
    with ThreadPoolExecutor(4) as pool:
        uploads = [pool.submit(put, store, LONG + b"%d" % number) for number in range(4)]
        assert all(isinstance(upload.exception(), sqlite3.OperationalError) for upload in uploads)
    assert left_behind(directory) == []
    store._writer.execute("ALTER TABLE away RENAME TO files")
    assert store.original(put(store, b"again")) == b"again"


def test_a_damaged_database_is_one_sentence(directory):
    with open(directory.join("files.sqlite"), "wb") as stream:
        stream.write(b"this is no database" * 1000)
    with pytest.raises(DirectoryError, match=r"cannot use .*files\.sqlite") as refused:
        Store(directory)
    assert is_closed(directory), refused


def test_limits_hold_for_commits_under_way(directory):
    """Two uploads that were both admitted do not both get the last place."""
    store = Store(directory, Behaviour(limits=Limits(files=1)))
    with store.stage() as one, store.stage() as two:
        for staged in (one, two):
            staged.add(b"x")
            store.admit(staged)
        store.commit(one, "a.txt", "file-extract", Extracted("text/plain", b'""'))
        with pytest.raises(Refusal, match="Too many uploaded files"):
            store.commit(two, "b.txt", "file-extract", Extracted("text/plain", b'""'))
    with pytest.raises(Refusal, match="Too many uploaded files"), store.stage():
        raise AssertionError("there is no place left")
    store.close()


def test_bytes_on_their_way_count(directory):
    """Uploads that are not stored yet take room from each other, once each; what is given up gives it back."""
    store = Store(directory, Behaviour(limits=Limits(total_bytes=100)))
    with store.stage() as one:
        with store.stage() as two:
            one.add(b"x" * 60)
            store.admit(one)
            store.admit(one)
            two.add(b"x" * 50)
            with pytest.raises(Refusal, match="exceeded the max file size"):
                store.admit(two)
        with store.stage() as three:
            three.add(b"x" * 40)
            store.admit(three)
            store.commit(three, "c.txt", "file-extract", Extracted("text/plain", b'""'))
        store.commit(one, "a.txt", "file-extract", Extracted("text/plain", b'""'))
    store.delete(store.get(min(store._files)).id)
    with store.stage() as four:
        four.add(b"x" * 40)
        store.admit(four)
    store.close()
