"""The purpose of an upload (W11)."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable

import pytest

from tests.conftest import Faulty, Pair
from tests.faults.kinds import UNREADABLE
from tests.faults.server import Seen, refused
from tests.harness.drive import wait_until
from tests.harness.expect import fails

pytestmark = [pytest.mark.fuse, pytest.mark.kinds]

NO_TEXT = "text extract error: 没有解析出内容"


def picture(red: int) -> bytes:
    """Return a PNG of one colour, 64 × 64: a picture without text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([red, 90, 160]) * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def video() -> bytes:
    """Return the start of an MP4."""
    return struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom") + struct.pack(">I4s", 16, b"mdat") + b"\0" * 8


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.ts", "a.png", "a.unknown"])
def test_everything_else_is_file_extract(both: Faulty, name: str) -> None:
    """W11: purpose `auto` is `file-extract` at first, for pictures too."""
    (both.drive / name).write_text("text")
    assert [stored.purpose for stored in both.server.files.values()] == ["file-extract"]


@pytest.mark.parametrize("name", ["a.mp4", "A.MOV", "a.webm", "a.mkv", "a.avi", "a.mpg", "a.flv", "a.wmv", "a.3gp"])
def test_video_formats_are_video(both: Faulty, name: str) -> None:
    """W11: video formats as `video`, in one request; they have no sidecar."""
    (both.drive / name).write_bytes(b"video")
    assert [stored.purpose for stored in both.server.files.values()] == ["video"]
    assert both.server.count("upload") == 1
    assert os.listdir(both.drive.point) == [name]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.WEBP", "a.heic"])
def test_an_image_without_text_becomes_image(both: Faulty, name: str) -> None:
    """W11: an image that the service refuses because it finds no text is uploaded as `image`; `cp` sees no error."""
    both.server.script("upload", refused(400, NO_TEXT))
    (both.drive / name).write_bytes(b"picture")
    assert [stored.purpose for stored in both.server.files.values()] == ["image"]
    assert os.listdir(both.drive.point) == [name]
    assert os.getxattr(both.drive / name, "user.moonfs.url").startswith(b"ms://")


def test_a_document_without_text_is_refused(both: Faulty) -> None:
    """W11, table: it is for images only; anything else without text is EINVAL, after one request."""
    both.server.script("upload", refused(400, NO_TEXT))
    with fails(errno.EINVAL):
        (both.drive / "scan.pdf").write_bytes(b"%PDF")
    assert both.server.count("upload") == 1


def test_a_picture_that_holds_no_text(both: Faulty) -> None:
    """W11: refused, or stored as a failure and deleted again: it ends as one image under its exact name, each time."""
    for version in range(3):
        (both.drive / "a.png").write_bytes(UNREADABLE + bytes([version]))
        (stored,) = both.server.files.values()
        assert (stored.filename, stored.purpose) == ("a.png", "image") and stored.status != "error"
        assert stored.data == UNREADABLE + bytes([version])
    assert os.listdir(both.drive.point) == ["a.png"]


@pytest.mark.parametrize("before", [None, b"text"])
def test_a_document_that_holds_no_text(both: Faulty, before: bytes | None) -> None:
    """W11, W4: EINVAL, whether it is refused or stored as a failure; the service has what was there before, alone."""
    path, expected = both.drive / "a.pdf", [] if before is None else [("a.pdf", before)]
    if before is not None:
        path.write_bytes(before)
    with fails(errno.EINVAL):
        path.write_bytes(UNREADABLE)
    files = both.server.files
    wait_until(lambda: [(stored.filename, stored.data) for stored in list(files.values())] == expected, "it is back")
    assert path.read_bytes() == (before or UNREADABLE)


@pytest.mark.parametrize("purpose", ["file-extract", "image", "video", "batch"])
def test_a_chosen_purpose(faulty: Callable[..., Faulty], purpose: str) -> None:
    """W11: `purpose=` overrides, whatever the name is."""
    both = faulty(f"purpose={purpose}")
    for name in ("a.txt", "b.mp4", "c.png"):
        (both.drive / name).write_bytes(b"whatever")
    assert [stored.purpose for stored in both.server.files.values()] == [purpose] * 3


def test_pictures_and_videos_on_the_real_server(pair: Pair) -> None:
    """W11: on the local server a picture without text ends as `image`, one with text and its sidecar does not."""
    (pair.drive / "plain.png").write_bytes(picture(30))
    (pair.drive / "clip.mp4").write_bytes(video())
    assert pair.account.only("plain.png")["purpose"] == "image"
    assert pair.account.only("clip.mp4")["purpose"] == "video"
    assert not (pair.drive / "plain.png.content").exists()
    assert (pair.drive / "plain.png").read_bytes() == picture(30)


def test_one_copy_though_the_first_purpose_was_refused(both: Faulty) -> None:
    """W11, W1: two requests, one file."""
    both.server.script("upload", refused(400, NO_TEXT))
    (both.drive / "a.png").write_bytes(b"picture")
    uploads: list[Seen] = [seen for seen in both.server.seen if seen.operation == "upload"]
    assert (len(uploads), len(both.server.files)) == (2, 1)
