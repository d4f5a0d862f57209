"""What an extraction gives, line by line of what is known of the service."""

from __future__ import annotations

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"
NO_TEXT = "text extract error: 没有解析出内容"
PNG = (SAMPLES / "note.png").read_bytes()


def content_of(service, *upload: object):
    return service.ask("GET", f"/files/{service.upload(*upload).json()['id']}/content")


def test_the_body_is_alphabetical_with_the_text_first(service):
    """LIVE: `content`, `file_type`, `filename`, `title`, `type`."""
    answer = content_of(service, "福州商场.pdf", (SAMPLES / "welcome.pdf").read_bytes())
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["content", "file_type", "filename", "title", "type"]
    assert (body["file_type"], body["filename"], body["type"]) == ("application/pdf", "福州商场.pdf", "file")
    assert body["title"] == ""
    assert "欢迎使用月球文件盘" in body["content"]


def test_the_body_is_compact_json_in_raw_utf_8(service):
    """LIVE: no `\\u` escapes."""
    answer = content_of(service, "a.txt", 'say "hi"\n世界\t\\'.encode())
    assert answer.content.decode() == (
        '{"content":"say \\"hi\\"\\n世界\\t\\\\","file_type":"text/plain","filename":"a.txt","title":"","type":"file"}'
    )


@pytest.mark.parametrize("text", ["a\r\nb\n\n\tc  ", "商场\U0001f600\u2028", "  leading and trailing  "])
def test_plain_text_comes_back_exactly(service, text):
    """LIVE."""
    assert content_of(service, "a.txt", text.encode()).json()["content"] == text


def test_the_type_is_told_by_the_bytes(service):
    """LIVE: a `.txt` gave text/plain."""
    assert content_of(service, "a.md", b"# heading\n").json()["file_type"] == "text/plain"
    assert content_of(service, "a.png", PNG).json()["file_type"] == "image/png"


def test_a_presentation_is_a_zip_file(local):
    """LIVE: a `.pptx` gave application/zip."""
    import io

    from pptx import Presentation

    deck = Presentation()
    deck.slides.add_slide(deck.slide_layouts[0]).shapes.title.text = "text"
    stream = io.BytesIO()
    deck.save(stream)
    assert content_of(local(), "a.pptx", stream.getvalue()).json()["file_type"] == "application/zip"


def test_the_content_type_is_that_of_the_openapi(local):
    """DOC: text/plain, no capture; so it can be switched."""
    assert content_of(local(), "a.txt", b"x").headers["content-type"].startswith("text/plain")
    switched = local("--content-type", "application/json")
    assert content_of(switched, "a.txt", b"x").headers["content-type"] == "application/json"


def test_an_original_can_not_be_downloaded(service):
    """LIVE."""
    file_id = service.upload("welcome.pdf", (SAMPLES / "welcome.pdf").read_bytes()).json()["id"]
    for path in ("content", "original", "download"):
        assert b"%PDF" not in service.ask("GET", f"/files/{file_id}/{path}").content


def test_extraction_is_done_when_the_upload_answers(service):
    """LIVE: the content is there at once, and the status never says that it is on its way."""
    stored = service.upload("note.png", PNG).json()
    assert stored["status"] in ("ok", "ready")
    assert "note" in service.ask("GET", f"/files/{stored['id']}/content").json()["content"]


def test_a_batch_file_gives_its_bytes(service):
    """LIVE of outputs: raw JSONL, not the body of an extraction."""
    lines = '{"custom_id":"1","名":"值"}\n'.encode()
    answer = content_of(service, "requests.jsonl", lines, "batch")
    assert answer.content == lines


def test_a_failed_extraction_has_a_status_and_no_content(local):
    """DOC: `status: error`, `status_details` says why, and 500 on the content (LIVE)."""
    service = local("--on-extract-error", "store")
    stored = service.upload("a.pdf", b"%PDF-1.7 broken").json()
    assert (stored["status"], stored["status_details"].startswith(NO_TEXT)) == ("error", True)
    answer = service.ask("GET", f"/files/{stored['id']}/content")
    assert (answer.status_code, answer.json()["error"]) == (
        500, {"message": "extract task failed: failed", "type": "server_error"},
    )  # fmt: skip


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"
IMAGES = {
    "png": PNG, "jpeg": b"\xff\xd8\xff\xe0" + bytes(40), "webp": b"RIFF\0\0\0\0WEBPVP8 ", "gif": b"GIF89a" + bytes(40),
    "bmp": b"BM" + bytes(40), "heic": HEIC, "heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1",
}  # fmt: skip
VIDEOS = {
    "mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    "mov": b"\0\0\0\x14ftypqt  \0\0\2\0qt  ", "avi": b"RIFF\0\0\0\0AVI LIST",
    "mpeg": b"\0\0\1\xba" + bytes(40), "mpg": b"\0\0\1\xb3" + bytes(40), "flv": b"FLV\1\5\0\0\0\x09",
    "webm": b"\x1a\x45\xdf\xa3" + bytes(40), "wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(40),
    "3gp": b"\0\0\0\x18ftyp3gp4\0\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("purpose", "kind"), [("image", kind) for kind in IMAGES] + [("video", kind) for kind in VIDEOS]
)
def test_pictures_and_films_are_taken_by_what_they_hold(local, purpose, kind):
    """DOC: what the vision models take; told by the bytes, under whatever name."""
    service = local()
    content = (IMAGES if purpose == "image" else VIDEOS)[kind]
    assert service.upload("no-extension", content, purpose).json()["purpose"] == purpose
    other = "video" if purpose == "image" else "image"
    assert service.upload(f"a.{kind}", content, other).status_code == 400


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"text", b"%PDF-1.7"])
def test_other_bytes_are_no_pictures(local, content):
    """DOC: svg is refused."""
    answer = local().upload("a.png", content, "image")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("how", ["refuse", "empty", "original"])
def test_the_content_of_a_picture_is_not_known(local, how):
    """Unknown: a refusal, no text, or the picture."""
    answer = content_of(local("--media-content", how), "note.png", PNG, "image")
    assert {"refuse": answer.status_code == 400, "empty": answer.text.startswith('{"content":""'),
            "original": answer.content == PNG}[how]  # fmt: skip


def test_a_reference_to_a_picture_resolves(local):
    """DOC: `ms://ID` in a chat; here `GET /ms/ID` gives what a model would be shown."""
    service = local()
    file_id = service.upload("note.png", PNG, "image").json()["id"]
    origin = service.base_url.removesuffix("/v1")
    answer = service.ask("GET", f"{origin}/ms/{file_id}")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
