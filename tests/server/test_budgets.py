"""How much work a document is worth: what is small or blank and claims to be large, and large scans that are real."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from moonfs.server.extraction import document, pdf, pictures, worker
from moonfs.server.extraction.document import Budget, Document, Full, NeedsOcr, NoText, Output
from moonfs.server.extraction.ocr import Recogniser
from tests.documents.packed import repeated
from tests.server.refused import refused
from tests.server.test_formats_pictures import drawn, png_bomb, stored

A4_AT_600 = (4960, 7016)
LONG = 900.0


def small_file_of_many_pages(page: Image.Image, count: int) -> bytes:
    """Return a TIFF all pages of which are the same bytes."""
    packed = zlib.compress(page.convert("1").tobytes(), 9)
    width, height = page.size
    made = bytearray(struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed)
    tags = [(256, width), (257, height), (258, 1), (259, 8), (262, 1), (273, 8), (277, 1), (278, height)]
    for number in range(count):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(packed))))
        following = len(made) + 2 + len(entries) + 4 if number < count - 1 else 0
        made += struct.pack("<H", len(tags) + 1) + entries + struct.pack("<I", following)
    return bytes(made)


def page_of_pdf(box: str, content: str = "0 0 m 9 9 l 5 0 l f", resources: str = "", more: bytes = b"") -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        + f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 4 0 R/Resources<<{resources}>>>>endobj\n".encode()
        + f"4 0 obj<</Length {len(content)}>>stream\n{content}\nendstream endobj\n".encode()
        + more
        + b"trailer<</Root 1 0 R>>"
    )


class Blind(Recogniser):
    """The recogniser without its engine, which would take a second: it counts what it would have looked at."""

    def __init__(self) -> None:
        self.looked_at: list[tuple[int, ...]] = []

    def _read(self, pixels, left, top):
        self.looked_at.append(pixels.shape[:2])
        return []


def read_here(path, extension: str, recognise) -> tuple[str, Output]:
    """Read pictures in this process."""
    stream = io.BytesIO()
    output = Output(stream)
    budget = Budget(path.stat().st_size)
    look = worker._recognising(recognise, budget, output)
    try:
        pictures.read(Document(str(path), extension, look, time.monotonic() + LONG, budget=budget), output)
    except Full:
        pass
    output.close()
    return stream.getvalue().decode(), output


# ---- what costs nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["white", "black", (200, 30, 40)])
def test_blank_tiles_are_not_looked_at(colour):
    blind, paid = Blind(), []
    picture = Image.new("RGB", (2600, 3000), colour)
    blind.text(picture, paid.append)
    assert blind.looked_at == []
    assert sum(paid) == 0
    ImageDraw.Draw(picture).text((300, 2400), "some words", fill=tuple(band ^ 24 for band in picture.getpixel((0, 0))))
    blind.text(picture, paid.append)
    assert 0 < len(blind.looked_at) <= 2
    assert sum(paid) == sum(height * width for height, width in blind.looked_at) < 4_000_000


def test_letters_of_any_colour_are_looked_at():
    """Those that differ in blue alone, too; and few ones on a large page."""
    pixels = numpy.full((1200, 1200, 3), 90, numpy.uint8)
    pixels[601:611, 601:640, 2] = 200
    blind = Blind()
    blind.text(Image.fromarray(pixels))
    assert len(blind.looked_at) >= 1


def test_a_blank_picture_of_81_megapixels(server):
    blank = b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0/'\xe3\xc9\x08\x07\xd0\xff\xfe\xf7\xbf\xff\x81\x88\xe8\x7f\0\0"
    assert Image.open(io.BytesIO(blank)).size == (9000, 9000)
    refused(server, "blank.webp", blank, "it holds no text")


def test_the_same_page_is_recognised_once(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(small_file_of_many_pages(drawn([(20, 20, "the same")], (400, 100)), 10_000))
    looks: list[tuple[int, int]] = []

    def recognise(picture, pay):
        looks.append(picture.size)
        return "the same"

    text, _ = read_here(path, ".tif", recognise)
    assert looks == [(400, 100)]
    assert text.count("the same") == pictures.MAX_PAGES
    assert "only the first 200 pages are kept" in text


# ---- what costs too much --------------------------------------------------------------------------------------


def test_a_small_file_of_many_large_pages_is_read_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "_UNPACKED", (10_000_000, 100))  # as it would take half a minute
    path = tmp_path / "a.tif"
    path.write_bytes(small_file_of_many_pages(Image.new("1", (1000, 1000), 1), 100))
    assert path.stat().st_size < 20_000
    pages = []

    def recognise(picture, pay):
        pages.append(picture.size)
        return "words"

    with pytest.raises(NoText):
        read_here(path, ".tif", recognise)
    assert len(pages) == 1  # ten more were unpacked, and are the same


def test_a_budget_is_of_pixels_and_grows_with_the_file():
    budget = Budget(1000)
    for _ in range(5):
        budget.unpack(100_000_000)
    with pytest.raises(NoText):
        budget.unpack(100_000_000)
    budget = Budget(1000)
    budget.recognise(24_000_000)
    budget.recognise(24_000_000)
    with pytest.raises(NoText):
        budget.recognise(24_000_000)
    budget = Budget(5_000_000)  # a hundred dense pages
    for _ in range(100):
        budget.unpack(35_000_000)
        budget.recognise(24_000_000)
    small = Budget(5_000_000, is_small=True)
    small.recognise(12_000_000)
    with pytest.raises(NeedsOcr):
        small.recognise(12_000_000)
    with pytest.raises(NeedsOcr):
        Budget(5_000_000, is_small=True).foresee(24_000_000)


def test_an_icon_with_a_bomb_in_it(server):
    bomb = png_bomb(30_000)
    head = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(bomb), 22)
    refused(server, "bomb.ico", head + bomb, "it unpacks to more than is read|it is damaged")


@pytest.mark.parametrize(
    "box", ["0 0 1000000000 1000000000", "0 0 1000000000 1", "0 0 1 1000000000", "0 0 1e9 200", "0 0 0.001 1e9",
            "-1e9 -1e9 1e9 1e9", "0 0 0 0"]
)  # fmt: skip
def test_a_page_of_any_size_is_drawn_in_a_picture_of_bounds(box):
    with pypdfium2.PdfDocument(page_of_pdf(box)) as opened:
        picture = pdf._picture(opened[0])
    assert picture.width * picture.height <= 13_000_000
    assert max(picture.size) <= 20_001


@pytest.mark.parametrize("side", [30_000, 60_000])
def test_a_picture_of_too_many_pixels_in_a_pdf(server, side):
    """It is left out; what is written beside it is kept."""
    packed = zlib.compress(repeated(bytes(side // 8 * 1000), side // 1000), 9)
    image = (
        f"6 0 obj<</Type/XObject/Subtype/Image/Width {side}/Height {side}/ColorSpace/DeviceGray/BitsPerComponent 1"
        f"/Filter[/FlateDecode/FlateDecode]/Length {len(packed)}>>stream\n"
    ).encode() + packed + b"\nendstream endobj\n"  # fmt: skip
    content = "BT /F1 20 Tf 60 700 Td (few words) Tj ET q 500 0 0 600 40 40 cm /I Do Q"
    resources = "/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>/XObject<</I 6 0 R>>"
    text = server.text("a.pdf", page_of_pdf("0 0 612 792", content, resources, image))
    assert text.startswith("few words")
    assert text.endswith("[The text is cut here: pictures of too many pixels are left out.]")


# ---- what is worth it -----------------------------------------------------------------------------------------


def patient(server, name: str, content: bytes) -> str:
    answer = server.client.post(
        "/files", files={"file": (name, content)}, data={"purpose": "file-extract"}, timeout=LONG
    )
    assert answer.status_code == 200, answer.text
    text = server.client.get(f"/files/{answer.json()['id']}/content").json()["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("kind", ["TIFF", "PDF"])
def test_a_page_of_a4_at_600_dpi(server, kind):
    page = Image.new("1", A4_AT_600, 1)
    draw = ImageDraw.Draw(page)
    lines = [f"line {number} of the scan says {number * 37 + 1000}" for number in range(6)]
    for number, line in enumerate(lines):
        top = 700 + 200 * number + 4300 * (number >= 3)  # above and below: between them, nothing is looked at
        draw.text((600, top), line, fill=0, font=ImageFont.load_default(80))
    made = (
        stored(page, "TIFF", compression="group4")
        if kind == "TIFF"
        else stored(page.convert("L"), kind, resolution=600)
    )
    text = patient(server, f"a.{kind.lower()}", made)
    assert [line for line in lines if line not in text] == []
    assert "cut here" not in text


def test_a_scan_of_a_hundred_pages(server):
    """Small ones, so that a slow machine is in time; each is another."""
    pages = [drawn([(16, 12, f"page {number * 13 + 1000}")], (170, 56)).convert("1") for number in range(100)]
    made = stored(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    text = patient(server, "a.tiff", made)
    missing = [number for number in range(100) if f"page {number * 13 + 1000}" not in text]
    assert len(missing) <= 2, text  # one letter or other may be misread
    assert "cut here" not in text
