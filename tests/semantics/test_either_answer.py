"""The drive on services that answer otherwise than ours does by itself, where nobody knows what the hosted one does."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Pair, serving
from tests.harness.expect import fails
from tests.semantics.test_purpose import picture

pytestmark = pytest.mark.fuse

#: Every answer of which there are two is the other one here, and the third one, where there are three.
OTHER = (
    *("--list-order", "oldest", "--strict-purpose", "--content-type", "application/json", "--media-content", "empty"),
    *("--not-found-text", "file not found", "--delete-again", "ok", "--http-extras", "--filename-rules", "base"),
    *("--id-prefix", "", "--status", "processed", "--on-extract-error", "store", "--content-refusal", "extract-error"),
    *("--list-bounds", "omit", "--file-type", "omit", "--request-id", "omit", "--version-header", "ignore"),
)
THIRD = (
    *("--list-order", "random", "--content-type", "application/octet-stream", "--media-content", "original"),
    *("--filename-rules", "refuse", "--id-prefix", "file-abc.", "--max-concurrency", "3", "--status", "ok"),
)
SERVICES = {"other": OTHER, "third": THIRD}


@pytest.fixture(scope="module", params=SERVICES)
def odd(fuse: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A drive on each of two services that answer otherwise."""
    with serving(tmp_path_factory.mktemp(request.param), *SERVICES[request.param]) as pair:
        pair.drive.mount("listing_ttl=0")
        yield pair


@pytest.fixture
def on(fuse: None, tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Make a drive on a service with these switches: `on("--rate-limit", "60")`."""
    with ExitStack() as stack:

        def make(*switches: str) -> Pair:
            pair = stack.enter_context(serving(tmp_path, *switches))
            pair.drive.mount("listing_ttl=0")
            return pair

        yield make


def test_write_read_overwrite_and_delete(odd: Pair) -> None:
    """W1, W4, W8, R1: a file goes there once, its text comes back byte for byte, and it goes away."""
    path = odd.drive / "福州 1.txt"
    path.write_text("first 一")
    sidecar = odd.drive / "福州 1.txt.content"
    assert sidecar.read_bytes() == odd.account.content(odd.account.only(path.name)["id"])
    assert json.loads(sidecar.read_bytes())["content"] == "first 一"
    path.write_text("second 二")
    assert json.loads(sidecar.read_bytes())["content"] == "second 二"
    assert odd.account.only(path.name)["bytes"] == len("second 二".encode())
    assert path.read_text() == "second 二"
    path.unlink()
    assert odd.account.named(path.name) == []
    assert path.name not in "".join(os.listdir(odd.drive.point))


def test_rename(odd: Pair) -> None:
    """W9: a stored file gets its new name."""
    (odd.drive / "before.txt").write_text("text")
    (odd.drive / "before.txt").rename(odd.drive / "after.txt")
    assert odd.account.named("before.txt") == []
    assert json.loads((odd.drive / "after.txt.content").read_bytes())["content"] == "text"
    assert odd.account.only("after.txt")


def test_of_equal_names_the_newest_is_bare(odd: Pair) -> None:
    """N3: in whatever order the service lists them."""
    ids = [odd.account.upload("same.txt", f"version {number}".encode())["id"] for number in range(3)]
    names = {f"same~{ids[0]}.txt": "version 0", f"same~{ids[1]}.txt": "version 1", "same.txt": "version 2"}
    for _ in range(3):
        assert {name for name in os.listdir(odd.drive.point) if "same" in name and "content" not in name} == set(names)
        for name, text in names.items():
            assert json.loads((odd.drive / f"{name}.content").read_bytes())["content"] == text


def test_many_at_once(odd: Pair) -> None:
    """R2, R3, N1: many files are listed once each, and all texts are read."""
    for number in range(30):
        odd.account.upload(f"many-{number:02}.txt", f"text {number}".encode())
    names = sorted(name for name in os.listdir(odd.drive.point) if name.startswith("many-"))
    assert names == [f"many-{number:02}.txt{end}" for number in range(30) for end in ("", ".content")]
    read = odd.drive.run("cat $DIR/many-*.txt.content")
    assert read.count('"content":"text ') == 30


def test_files_stay_over_a_remount(odd: Pair) -> None:
    """L3, A1, R5: after a remount all is as it was."""
    (odd.drive / "stays.txt").write_text("stays")
    before = os.stat(odd.drive / "stays.txt")
    odd.drive.remount("listing_ttl=0")
    after = os.stat(odd.drive / "stays.txt")
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert (odd.drive / "stays.txt").read_text() == "stays"


def test_deleted_elsewhere(odd: Pair) -> None:
    """W8: what somebody else has deleted is gone, and deleting it counts as done."""
    (odd.drive / "gone.txt").write_text("text")
    odd.account.delete(odd.account.only("gone.txt")["id"])
    with fails(errno.ENOENT):
        os.unlink(odd.drive / "gone.txt")
    assert "gone.txt" not in os.listdir(odd.drive.point)


def test_a_stored_failure_has_no_text_and_a_reason(on: Callable[..., Pair]) -> None:
    """R4, W1: a file that others left as failed is there; its sidecar is EIO, and the reason in attribute and log."""
    pair = on("--on-extract-error", "store")
    with fails(errno.EINVAL):
        (pair.drive / "mine.pdf").write_bytes(b"%PDF-1.7\n broken")
    assert pair.account.named("mine.pdf") == []
    assert pair.account.upload("broken.pdf", b"%PDF-1.7\n broken")["status"] == "error"
    assert os.getxattr(pair.drive / "broken.pdf", "user.moonfs.status") == b"error"
    assert "没有解析出内容".encode() in os.getxattr(pair.drive / "broken.pdf", "user.moonfs.status_details")
    with fails(errno.EIO):
        (pair.drive / "broken.pdf.content").read_bytes()
    assert any(line["errno"] == "EIO" and "broken.pdf" in line["name"] for line in pair.drive.errors())


@pytest.mark.parametrize("how", ["refuse", "empty", "original"])
def test_images_have_no_sidecar(on: Callable[..., Pair], how: str) -> None:
    """R4, W11: whatever their content would be."""
    pair = on("--media-content", how)
    (pair.drive / "plain.png").write_bytes(picture(90))
    assert pair.account.only("plain.png")["purpose"] == "image"
    assert os.listdir(pair.drive.point) == ["plain.png"]


@pytest.mark.parametrize("status", ["400", "403", "413", "429"])
def test_a_full_account_is_edquot(on: Callable[..., Pair], status: str) -> None:
    """W7, table: too much in all is EDQUOT, by its message and under whatever status."""
    pair = on("--max-total-bytes", "1000", "--quota-status", status)
    with fails(errno.EDQUOT):
        (pair.drive / "large.txt").write_bytes(b"x" * 1001)
    (pair.drive / "small.txt").write_bytes(b"x" * 1000)
    assert pair.account.only("small.txt")


def test_fewer_files_than_expected(on: Callable[..., Pair]) -> None:
    """W7, table: the count in force is the service's."""
    pair = on("--max-files", "2")
    for number in range(2):
        (pair.drive / f"{number}.txt").write_text("x")
    with fails(errno.EDQUOT):
        (pair.drive / "more.txt").write_text("x")


def test_one_request_at_a_time(on: Callable[..., Pair]) -> None:
    """E2: on an account that may do one thing at a time all is done, one after another, and nothing fails."""
    pair = on("--max-concurrency", "1", "--latency", "20")
    pair.drive.run("for n in 1 2 3; do echo text $n > $DIR/$n.txt & done; wait")
    read = pair.drive.run("for n in 1 2 3; do cat $DIR/$n.txt.content & done; wait")
    assert read.count('"content":"text ') == 3
    pair.drive.umount()
    assert sorted(file["filename"] for file in pair.account.files()) == ["1.txt", "2.txt", "3.txt"]


def test_uploads_alone_may_count(on: Callable[..., Pair]) -> None:
    """E2, table: an upload beyond the rate for longer than a close may wait is EAGAIN, and leaves nothing."""
    pair = on("--rate-limit", "2", "--rate-limit-counts", "uploads")
    for number in range(2):
        (pair.drive / f"{number}.txt").write_text("text")
    pair.drive.remount("listing_ttl=0", "upload_timeout=2")
    with fails(errno.EAGAIN):
        (pair.drive / "2.txt").write_text("text")
    assert sorted(file["filename"] for file in pair.account.files()) == ["0.txt", "1.txt"]
