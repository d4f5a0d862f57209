"""What an extraction gives, line by line of what is known of the service."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from moonfs.server.dialect import BETA
from tests.contract.conftest import BEFORE, BOTH, SINCE

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
PNG = (SAMPLES / "note.png").read_bytes()


def content_of(service, *upload: object):
    return service.ask("GET", f"/files/{service.upload(*upload).json()['id']}/content")


@BOTH
def test_the_body_is_alphabetical_with_the_text_first(service):
    """LIVE: `content`, `file_type`, `filename`, `title`, `type`."""
    answer = content_of(service, "福州商场.pdf", (SAMPLES / "welcome.pdf").read_bytes())
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["content", "file_type", "filename", "title", "type"]
    assert (body["file_type"], body["filename"], body["type"]) == ("application/pdf", "福州商场.pdf", "file")
    assert body["title"] == ""
    assert "欢迎使用月球文件盘" in body["content"]


@BOTH
def test_the_body_is_compact_json_in_raw_utf_8(service):
    """LIVE: no `\\u` escapes."""
    answer = content_of(service, "a.txt", 'say "hi"\n世界\t\\'.encode())
    assert answer.content.decode() == (
        '{"content":"say \\"hi\\"\\n世界\\t\\\\","file_type":"text/plain","filename":"a.txt","title":"","type":"file"}'
    )


@BOTH
def test_signs_of_html_are_escapes(service):
    """LIVE (2024): `&`, `<` and `>` in `content` are `\\u0026`, `\\u003c`, `\\u003e`, which mean the same text."""
    answer = content_of(service, "a.html.txt", b"<b>R&D</b> \\u0026")
    assert rb"\u003cb\u003eR\u0026D\u003c/b\u003e \\u0026" in answer.content
    assert answer.json()["content"] == "<b>R&D</b> \\u0026"


@BOTH
def test_a_pdf_without_an_extension_is_read(service):
    """LIVE (2024): an upload named `upload`, being a PDF, was accepted."""
    answer = content_of(service, "upload", (SAMPLES / "welcome.pdf").read_bytes())
    assert (answer.status_code, answer.json()["file_type"]) == (200, "application/pdf")
    assert "欢迎使用月球文件盘" in answer.json()["content"]


@BOTH
@pytest.mark.parametrize("text", ["a\r\nb\n\n\tc  ", "商场\U0001f600\u2028", "  leading and trailing  "])
def test_plain_text_comes_back_exactly(service, text):
    """LIVE."""
    assert content_of(service, "a.txt", text.encode()).json()["content"] == text


@BOTH
def test_the_type_is_told_by_the_bytes(service):
    """LIVE: a `.txt` gave text/plain."""
    assert content_of(service, "a.md", b"# heading\n").json()["file_type"] == "text/plain"
    assert content_of(service, "a.png", PNG).json()["file_type"] == "image/png"


@BOTH
def test_a_presentation_is_a_zip_file(local):
    """LIVE: a `.pptx` gave application/zip."""
    import io

    from pptx import Presentation

    deck = Presentation()
    deck.slides.add_slide(deck.slide_layouts[0]).shapes.title.text = "text"
    stream = io.BytesIO()
    deck.save(stream)
    assert content_of(local(), "a.pptx", stream.getvalue()).json()["file_type"] == "application/zip"


@BOTH
def test_the_content_type_is_that_of_the_openapi(local):
    """DOC: text/plain, no capture; so it can be switched."""
    assert content_of(local(), "a.txt", b"x").headers["content-type"].startswith("text/plain")
    switched = local("--content-type", "application/json")
    assert content_of(switched, "a.txt", b"x").headers["content-type"] == "application/json"


@BOTH
def test_an_original_can_not_be_downloaded(service):
    """LIVE."""
    file_id = service.upload("welcome.pdf", (SAMPLES / "welcome.pdf").read_bytes()).json()["id"]
    for path in ("content", "original", "download"):
        assert b"%PDF" not in service.ask("GET", f"/files/{file_id}/{path}").content


@BOTH
def test_extraction_is_done_when_the_upload_answers(service):
    """LIVE: the content is there at once, and the status never says that it is on its way."""
    stored = service.upload("note.png", PNG).json()
    assert stored["status"] in ("ok", "ready")
    assert "note" in service.ask("GET", f"/files/{stored['id']}/content").json()["content"]


@BEFORE
def test_a_batch_file_gives_its_bytes(service):
    """LIVE of outputs: raw JSONL, not the body of an extraction."""
    lines = '{"custom_id":"1","名":"值"}\n'.encode()
    answer = content_of(service, "requests.jsonl", lines, "batch")
    assert answer.content == lines


@SINCE
def test_a_batch_file_gives_its_lines(service):
    """DOC: the upload, normalised, so that bytes may differ; here they do not."""
    lines = '{"custom_id": "1", "名": "值"}\n'.encode()
    answer = content_of(service, "requests.jsonl", lines, "batch")
    assert [json.loads(line) for line in answer.text.splitlines()] == [json.loads(lines)]
    assert answer.content == lines or not service.is_local


@SINCE
def test_what_cannot_be_parsed_is_stored(service):
    """DOC: the upload succeeds with `status: error`; it is listed, can be deleted, and its content is a 400."""
    answer = service.upload("broken.pdf", b"%PDF-1.7 broken")
    stored = answer.json()
    assert (answer.status_code, stored["status"]) == (200, "error")
    assert stored["status_details"]
    assert stored in service.ask("GET", "/files").json()["data"]
    refused = service.ask("GET", f"/files/{stored['id']}/content")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "failed_precondition_error")
    assert service.ask("DELETE", f"/files/{stored['id']}").status_code == 200
    if service.is_local:
        assert stored["status_details"].startswith(NO_TEXT)


@SINCE
def test_a_failure_in_the_second_format(service):
    """DOC: `extract_status`; INF: its word is that of the known format."""
    answer = service.upload("broken.pdf", b"%PDF-1.7 broken", headers={"kimi-api-version": BETA})
    assert (answer.status_code, answer.json()["extract_status"]) == (201, "error")


@SINCE
@pytest.mark.parametrize("purpose", ["image", "video"])
def test_a_picture_has_no_content(service, purpose):
    """DOC: 400 `failed_precondition_error`, of images and of videos."""
    film = boxed(b"isom", b"isom", b"iso2", b"avc1")
    answer = content_of(
        service, f"a.{'png' if purpose == 'image' else 'mp4'}", PNG if purpose == "image" else film, purpose
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "failed_precondition_error")


@BEFORE
def test_a_failed_extraction_has_a_status_and_no_content(local):
    """DOC: `status: error`, `status_details` says why, and 500 on the content (LIVE)."""
    service = local("--on-extract-error", "store")
    stored = service.upload("a.pdf", b"%PDF-1.7 broken").json()
    assert (stored["status"], stored["status_details"].startswith(NO_TEXT)) == ("error", True)
    answer = service.ask("GET", f"/files/{stored['id']}/content")
    assert (answer.status_code, answer.json()["error"]) == (
        500, {"message": "extract task failed: failed", "type": "server_error"},
    )  # fmt: skip


def boxed(brand: bytes, *compatible: bytes) -> bytes:
    """Return the beginning of an ISO base media file."""
    brands = brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + struct.pack(">I", 16) + b"mdat" + bytes(8)


def ebml(kind: bytes) -> bytes:
    """Return the beginning of an EBML file of this DocType."""
    fields = b"\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82"
    fields += bytes([0x80 | len(kind)]) + kind + b"\x42\x87\x81\x04\x42\x85\x81\x02"
    return b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(fields)]) + fields + b"\x18\x53\x80\x67\x01" + b"\xff" * 7


#: What the page lists, by its media type.
IMAGES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + bytes(40),
    "image/webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "image/gif": b"GIF89a" + bytes(40),
    "image/bmp": b"BM" + bytes(40),
    "image/heic": boxed(b"heic", b"mif1", b"heic"),
    "image/heif": boxed(b"mif1", b"mif1", b"heic"),
}
VIDEOS = {
    "video/mp4": boxed(b"isom", b"isom", b"iso2", b"avc1"),
    "video/quicktime": boxed(b"qt  "),
    "video/x-msvideo": b"RIFF\0\0\0\0AVI LIST",
    "video/mpeg": b"\0\0\1\xba" + bytes(40),
    "video/x-flv": b"FLV\1\5\0\0\0\x09",
    "video/webm": ebml(b"webm"),
    "video/x-ms-wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(40),
    "video/3gpp": boxed(b"3gp4"),
    "video/x-matroska": ebml(b"matroska"),
}
OTHER_FORMS = {"image/gif": b"GIF87a" + bytes(40), "video/mpeg": b"\0\0\1\xb3" + bytes(40),
               "video/3gpp": boxed(b"3gr6"), "video/quicktime": struct.pack(">I", 8) + b"wide" + bytes(40)}  # fmt: skip
NEITHER = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "text": b"text",
    "pdf": b"%PDF-1.7",
    "avif": boxed(b"avif"),
    "tiff": b"II*\0" + bytes(40),
    "m4a": boxed(b"M4A ", b"mp42", b"isom"),
}


@BOTH
@pytest.mark.parametrize(("kind", "content"), [*IMAGES.items(), *VIDEOS.items(), *OTHER_FORMS.items()], ids=str)
def test_pictures_and_films_are_taken_by_what_they_hold(ours, kind, content):
    """DOC: what the vision models take; SRC: mkv. Told by the bytes, under whatever name. `/ms/ID` gives them back."""
    purpose = kind.partition("/")[0]
    stored = ours.upload("no-extension", content, purpose).json()
    assert stored["purpose"] == purpose
    other = "video" if purpose == "image" else "image"
    assert ours.upload("a.mp4", content, other).status_code == 400
    answer = ours.ask("GET", f"{ours.base_url.removesuffix('/v1')}/ms/{stored['id']}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, kind)
    assert (answer.headers["content-length"], answer.headers["cache-control"]) == (str(len(content)), "no-store")


@BOTH
@pytest.mark.parametrize("purpose", ["image", "video"])
@pytest.mark.parametrize("kind", NEITHER)
def test_other_bytes_are_neither(ours, kind, purpose):
    """DOC: svg is refused; INF: so is what the page does not list."""
    answer = ours.upload("a.png", NEITHER[kind], purpose)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "text extract error: 不支持的文件类型")


@BEFORE
@pytest.mark.parametrize("how", ["refuse", "empty", "original"])
def test_the_content_of_a_picture_is_not_known(local, how):
    """Unknown: a refusal, no text, or the picture."""
    answer = content_of(local("--media-content", how), "note.png", PNG, "image")
    assert {"refuse": answer.status_code == 400, "empty": answer.text.startswith('{"content":""'),
            "original": answer.content == PNG}[how]  # fmt: skip


@BOTH
def test_a_reference_to_anything_else_is_dead(ours):
    """LIVE: originals of documents cannot be had, so `ms://ID` is for pictures and films only."""
    text, batch = ours.upload("a.txt", b"text").json()["id"], ours.upload("a.jsonl", b"{}", "batch").json()["id"]
    for file_id in (text, batch, "nothing"):
        assert ours.ask("GET", f"{ours.base_url.removesuffix('/v1')}/ms/{file_id}").status_code == 404
