"""Pictures whose text is known: a row for each extension, each way to store pixels, each way a page may lie."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import Transpose

from tests.documents.every import DRAWN, short_note
from tests.documents.packed import repeated
from tests.server.conftest import command
from tests.server.refused import refused
from tests.server.samples import NOTE, SAMPLES, VERTICAL

MIB = 1024**2
ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"
CORRUPT = "no text: picture .*it is damaged or not what its name says"
TOO_LARGE = "it unpacks to more than is read"


def note() -> Image.Image:
    with Image.open(SAMPLES / "note.png") as picture:
        return picture.convert("L")


def stored(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def drawn(lines: list[tuple[int, int, str]], size: tuple[int, int], height: int = 28) -> Image.Image:
    """Return English text, black on white, at (left, top)."""
    picture = Image.new("L", size, 255)
    draw = ImageDraw.Draw(picture)
    for left, top, text in lines:
        draw.text((left, top), text, fill=0, font=ImageFont.load_default(height))
    return picture


def missing(text: str, words=NOTE) -> list[str]:
    return [part for part in words if part not in text]


# ---- each format, each way to store pixels --------------------------------------------------------------------

FORMATS = {
    ".png": ("PNG", "RGB", {}), ".apng": ("PNG", "RGB", {}), ".jpg": ("JPEG", "L", {"quality": 80}),
    ".jpeg": ("JPEG", "RGB", {"progressive": True}), ".jfif": ("JPEG", "CMYK", {}), ".pjp": ("JPEG", "RGB", {}),
    ".pjpeg": ("JPEG", "RGB", {"progressive": True}), ".gif": ("GIF", "P", {}), ".webp": ("WEBP", "RGB", {}),
    ".bmp": ("BMP", "P", {}), ".dib": ("DIB", "RGB", {}), ".xbm": ("XBM", "1", {}), ".tif": ("TIFF", "CMYK", {}),
    ".tiff": ("TIFF", "L", {}), ".avif": ("AVIF", "RGB", {}), ".ico": ("ICO", "RGBA", {"sizes": [(256, 120)]}),
}  # fmt: skip


@pytest.mark.parametrize("extension", FORMATS)
def test_each_extension(server, extension):
    kind, mode, options = FORMATS[extension]
    picture = (
        short_note() if kind != "ICO" else note().crop((30, 215, 450, 412)).resize((256, 120), Image.Resampling.LANCZOS)
    )
    answer = server.upload(f"note{extension}", stored(picture.convert("RGB").convert(mode), kind, **options))
    assert answer.status_code == 200, answer.text
    body = server.client.get(f"/files/{answer.json()['id']}/content").json()
    assert missing(body["content"], DRAWN if kind != "ICO" else DRAWN[1:]) == []


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("1", {"compression": "group4"}), ("1", {"compression": "group3"}), ("L", {"compression": "tiff_lzw"}),
        ("RGB", {"compression": "jpeg"}), ("RGB", {"compression": "packbits"}), ("P", {"compression": "tiff_deflate"}),
        ("CMYK", {"compression": "tiff_lzw"}), ("LAB", {}), ("YCbCr", {}), ("F", {}), ("I;16", {}), ("I;16B", {}),
        ("LA", {}), ("RGB", {"compression": "zstd"}), ("L", {"big_tiff": True}),
    ],
)  # fmt: skip
def test_the_many_kinds_of_tiff(server, mode, options):
    note = short_note()
    if mode.startswith("I;16"):
        picture = Image.frombytes(mode, note.size, bytes(value for value in note.tobytes() for _ in range(2)))
    elif mode == "LAB":  # lightness, and no colour
        picture = Image.merge("LAB", (note, *(Image.new("L", note.size, 128) for _ in "ab")))
    else:
        picture = note.convert("RGB").convert(mode) if mode != "F" else note.convert("F")
    assert missing(server.text(f"{mode}.tif", stored(picture, "TIFF", **options)), DRAWN) == []


def planar_tiff() -> bytes:
    """Return a big-endian TIFF whose red, green and blue stand one after the other, which Pillow does not write."""
    width, height = short_note().size
    plane = short_note().tobytes()
    entries = [
        (256, 3, 1, width << 16), (257, 3, 1, height << 16), (258, 3, 3, 8), (259, 3, 1, 1 << 16),
        (262, 3, 1, 2 << 16), (273, 4, 3, 14), (277, 3, 1, 3 << 16), (278, 3, 1, height << 16), (279, 4, 3, 26),
        (284, 3, 1, 2 << 16),
    ]  # fmt: skip
    pixels = 38
    table = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHII", *entry) for entry in entries) + b"\0" * 4
    values = struct.pack(">HHH3I3I", 8, 8, 8, *(pixels + n * len(plane) for n in range(3)), *(len(plane),) * 3)
    return struct.pack(">2sHI", b"MM", 42, pixels + 3 * len(plane)) + values + plane * 3 + table


def test_a_planar_big_endian_tiff(server):
    assert missing(server.text("planar.tif", planar_tiff()), DRAWN) == []


def test_all_pages_of_a_tiff(server):
    first, second = note().crop((0, 0, 900, 230)), note().crop((0, 230, 900, 420))
    text = server.text("pages.tif", stored(first, "TIFF", save_all=True, append_images=[second]))
    assert missing(text) == []
    assert text.index(NOTE[0]) < text.index(NOTE[2])


def test_a_tiff_whose_second_page_is_damaged(server):
    pages = stored(note(), "TIFF", save_all=True, append_images=[note()], compression="tiff_lzw")
    text = server.text("damaged.tif", pages[: len(pages) * 3 // 4] + b"\xff" * (len(pages) // 4))
    assert missing(text) == []
    assert text.endswith("[The text is cut here: the rest of it is damaged.]")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_read_as_far_as_it_changes(server, kind):
    """The first picture stands a while, the second shares a line with it; no line is said twice."""
    first = drawn([(20, 20, "The title of all scenes"), (20, 100, "opening number 7411")], (500, 160)).convert("RGB")
    second = drawn([(20, 20, "The title of all scenes"), (20, 100, "closing words 9935")], (500, 160)).convert("RGB")
    frames = {"save_all": True, "append_images": [first] * 3 + [second] * 3, "duration": 100}
    text = server.text(f"animation.{kind.lower()}", stored(first, kind, **frames))
    assert text.split("\n")[:-1] == ["The title of all scenes", "opening number 7411", "closing words 9935"]


def test_the_largest_picture_of_an_icon(server):
    icon = drawn([(8, 8, "Icon 42")], (128, 48))
    text = server.text("a.ico", stored(icon.convert("RGBA"), "ICO", sizes=[(16, 6), (32, 12), (128, 48)]))
    assert "Icon 42" in text


def test_a_sixteen_bit_picture(server):
    deep = short_note().convert("I").point(lambda value: value * 257).convert("I;16")
    assert missing(server.text("deep.png", stored(deep, "PNG")), DRAWN) == []


# ---- colours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("white", [True, False])
def test_letters_on_nothing(server, mode, white):
    letters = Image.new("RGB", short_note().size, "white" if white else "black").convert(mode)
    letters.putalpha(ImageOps.invert(short_note()))
    assert missing(server.text("letters.png", stored(letters, "PNG")), DRAWN) == []


def test_a_palette_with_a_see_through_colour(server):
    palette = short_note().quantize(8)
    content = stored(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert missing(server.text("palette.png", content), DRAWN) == []


@pytest.mark.parametrize(("dark", "light"), [("black", "white"), ((30, 30, 30), (170, 170, 170)), ("navy", "yellow")])
def test_light_letters_on_dark(server, dark, light):
    picture = Image.new("RGB", short_note().size, dark)
    picture.paste(light, mask=ImageOps.invert(short_note()))
    assert missing(server.text("dark.png", stored(picture, "PNG")), DRAWN) == []


# ---- how a page lies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pictures(server, degrees):
    text = server.text("turned.png", stored(short_note().rotate(degrees, expand=True), "PNG"))
    assert missing(text, DRAWN) == []
    assert text.index(DRAWN[0]) < text.index(DRAWN[1])


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_camera_that_was_turned(server, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 6: Transpose.ROTATE_90, 8: Transpose.ROTATE_270}
    content = stored(short_note().transpose(how[orientation]), "JPEG", exif=exif)
    assert missing(server.text("camera.jpeg", content), DRAWN) == []


@pytest.mark.parametrize("degrees", [-4, 3, 7])
def test_a_page_that_stands_askew_keeps_its_lines(server, degrees):
    lines = [
        (40, 40 + row * 50, f"line {row} of a page that was laid down carelessly on the glass") for row in range(5)
    ]
    page = drawn(lines, (980, 310)).rotate(degrees, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC)
    seen = server.text("askew.png", stored(page, "PNG")).split("\n")[:-1]
    assert [text[:16] for text in seen] == [text[:16] for _, _, text in lines]
    assert all(text.endswith("on the glass") for text in seen)


def test_chinese_from_top_to_bottom(server):
    assert server.text("vertical.png", (SAMPLES / "vertical.png").read_bytes()).split("\n")[:-1] == list(VERTICAL)


def test_two_columns_are_read_one_after_the_other(server):
    left = [f"left column, line number {row} of the text" for row in range(5)]
    right = [f"right column, line number {row} of the text" for row in range(5)]
    places = [(60, 20, "A headline that goes over the whole width of the page, from left to right")]
    places += [(60, 90 + row * 44, text) for row, text in enumerate(left)]
    places += [(660, 90 + row * 44, text) for row, text in enumerate(right)]
    text = server.text("columns.png", stored(drawn(places, (1260, 330)), "PNG"))
    assert text.split("\n")[1:-1] == [*left, *right]


def test_the_cells_of_a_table_are_apart_by_tabs(server):
    rows = [["Item", "Unit price", "Sum"], ["Blue pens", "1.50", "18.00"], ["Paper", "4.20", "12.60"]]
    rows += [["Envelopes for letters", "0.12", "6.00"], ["Ink", "22.00", "44.00"]]
    places = [
        (40 + column * 330, 30 + row * 60, text) for row, cells in enumerate(rows) for column, text in enumerate(cells)
    ]
    text = server.text("table.png", stored(drawn(places, (960, 340)), "PNG"))
    assert text.split("\n")[:-1] == ["\t".join(cells) for cells in rows]


# ---- very long, wide, small, fine -----------------------------------------------------------------------------


def test_a_screenshot_of_a_whole_web_page(server):
    """Shrunk to what OCR looks at, its letters would be two pixels high."""
    page = Image.new("L", (1080, 12_000), 245)
    draw = ImageDraw.Draw(page)
    places = [*range(11, 16), *range(52, 57), *range(97, 100)]  # the first ones where it is cut; most of it is blank
    rows = [f"row {number} of the page says {number * 37 + 10_000}" for number in places]
    for number, text in zip(places, rows, strict=True):
        draw.text((60, 30 + number * 115), text, fill=40, font=ImageFont.load_default(26))
    page.paste(short_note(), (90, 11_560))
    text = server.text("long.png", stored(page, "PNG"))
    assert [line for line in text.split("\n") if line.startswith("row")] == rows
    assert missing(text, DRAWN) == []


def test_a_very_wide_picture(server):
    places = [
        (40 + column * 800, 20 + row * 60, f"price {column * 911 + row + 1234}")
        for column in range(10)
        for row in range(4)
    ]
    text = server.text("wide.png", stored(drawn(places, (8000, 270)), "PNG"))
    assert missing(text, [place[2] for place in places]) == []


def test_fine_print_on_a_large_screen(server):
    places = [
        (40 + column * 760, 30 + row * 84, f"item {column * 1000 + row + 20_000}")
        for column in range(5)
        for row in range(25)
        if (column == 0 and row < 8) or (column == 4 and row > 15)  # two corners: the rest is not looked at
    ]
    text = server.text("large.png", stored(drawn(places, (3840, 2160), height=17), "PNG"))
    assert missing(text, [place[2] for place in places]) == []


def test_a_small_picture(server):
    assert "Price 42" in server.text("small.png", stored(drawn([(4, 2, "Price 42")], (80, 22), height=15), "PNG"))


def test_the_recogniser_stays_warm(server):
    def recognisers() -> set[int]:
        return {pid for pid in server.children() if b"--ocr" in command(pid)}

    assert "Price 41" in server.text("one.png", stored(drawn([(20, 20, "Price 41")], (300, 80)), "PNG"))
    before = recognisers()
    assert "Price 42" in server.text("two.png", stored(drawn([(20, 20, "Price 42")], (300, 80)), "PNG"))
    assert set() != recognisers() <= before  # one that had had nothing to do for minutes may have ended meanwhile


# ---- hostile --------------------------------------------------------------------------------------------------


def png_bomb(side: int) -> bytes:
    """Return a PNG of `side` x `side` black pixels, a few KB long."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = repeated(b"\0" * (side // 8 + 1) * 1000, side // 1000)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("extension", [name for name in FORMATS if name not in {".apng", ".xbm"}])
def test_half_a_picture_is_a_damaged_one(server, extension):
    kind, mode, options = FORMATS[extension]
    picture = note().resize((256, 120)) if kind == "ICO" else note()
    whole = stored(picture.convert("RGB").convert(mode), kind, **options)
    refused(server, f"half{extension}", whole[: len(whole) // 2], CORRUPT)


def test_a_bitmap_of_text_that_ends_early(server):
    refused(server, "half.xbm", stored(note().convert("1"), "XBM")[:2000], CORRUPT)


def test_a_picture_of_too_many_pixels(server):
    refused(server, "bomb.png", png_bomb(50_000), TOO_LARGE)


def test_a_picture_without_letters(server):
    refused(server, "blank.png", stored(Image.new("RGB", (400, 300), "white"), "PNG"), "it holds no text")
