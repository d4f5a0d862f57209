"""Pictures whose text is known: a row for each extension, each way to store pixels, each way a page may lie; SVG."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import Transpose

from tests.server.refused import refused
from tests.server.samples import NOTE, OUTLINED, SAMPLES, VERTICAL

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
    picture = note() if kind != "ICO" else note().crop((30, 215, 450, 412)).resize((256, 120), Image.Resampling.LANCZOS)
    answer = server.upload(f"note{extension}", stored(picture.convert("RGB").convert(mode), kind, **options))
    assert answer.status_code == 200, answer.text
    body = server.client.get(f"/files/{answer.json()['id']}/content").json()
    assert missing(body["content"], NOTE if kind != "ICO" else NOTE[2:3]) == []


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
    if mode.startswith("I;16"):
        picture = Image.frombytes(mode, note().size, bytes(value for value in note().tobytes() for _ in range(2)))
    elif mode == "LAB":  # lightness, and no colour
        picture = Image.merge("LAB", (note(), *(Image.new("L", note().size, 128) for _ in "ab")))
    else:
        picture = note().convert("RGB").convert(mode) if mode != "F" else note().convert("F")
    assert missing(server.text(f"{mode}.tif", stored(picture, "TIFF", **options))) == []


def planar_tiff() -> bytes:
    """Return a big-endian TIFF whose red, green and blue stand one after the other, which Pillow does not write."""
    width, height = note().size
    plane = note().tobytes()
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
    assert missing(server.text("planar.tif", planar_tiff())) == []


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
    deep = note().convert("I").point(lambda value: value * 257).convert("I;16")
    assert missing(server.text("deep.png", stored(deep, "PNG"))) == []


# ---- colours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("white", [True, False])
def test_letters_on_nothing(server, mode, white):
    letters = Image.new("RGB", note().size, "white" if white else "black").convert(mode)
    letters.putalpha(ImageOps.invert(note()))
    assert missing(server.text("letters.png", stored(letters, "PNG"))) == []


def test_a_palette_with_a_see_through_colour(server):
    palette = note().quantize(8)
    content = stored(palette, "PNG", transparency=palette.getpixel((0, 0)))
    assert missing(server.text("palette.png", content)) == []


@pytest.mark.parametrize(("dark", "light"), [("black", "white"), ((30, 30, 30), (170, 170, 170)), ("navy", "yellow")])
def test_light_letters_on_dark(server, dark, light):
    picture = Image.new("RGB", note().size, dark)
    picture.paste(light, mask=ImageOps.invert(note()))
    assert missing(server.text("dark.png", stored(picture, "PNG"))) == []


# ---- how a page lies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pictures(server, degrees):
    text = server.text("turned.png", stored(note().rotate(degrees, expand=True), "PNG"))
    assert missing(text) == []
    assert text.index(NOTE[0]) < text.index(NOTE[2])


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_camera_that_was_turned(server, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 6: Transpose.ROTATE_90, 8: Transpose.ROTATE_270}
    content = stored(note().transpose(how[orientation]), "JPEG", exif=exif)
    assert missing(server.text("camera.jpeg", content)) == []


@pytest.mark.parametrize("degrees", [-4, 3, 7])
def test_a_page_that_stands_askew_keeps_its_lines(server, degrees):
    lines = [
        (40, 40 + row * 50, f"line {row} of a page that was laid down carelessly on the glass") for row in range(8)
    ]
    page = drawn(lines, (980, 460)).rotate(degrees, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC)
    seen = server.text("askew.png", stored(page, "PNG")).split("\n")[:-1]
    assert [text[:16] for text in seen] == [text[:16] for _, _, text in lines]
    assert all(text.endswith("on the glass") for text in seen)


def test_chinese_from_top_to_bottom(server):
    assert server.text("vertical.png", (SAMPLES / "vertical.png").read_bytes()).split("\n")[:-1] == list(VERTICAL)


def test_two_columns_are_read_one_after_the_other(server):
    left = [f"left column, line number {row} of the text" for row in range(8)]
    right = [f"right column, line number {row} of the text" for row in range(8)]
    places = [(60, 20, "A headline that goes over the whole width of the page, from left to right")]
    places += [(60, 90 + row * 44, text) for row, text in enumerate(left)]
    places += [(660, 90 + row * 44, text) for row, text in enumerate(right)]
    text = server.text("columns.png", stored(drawn(places, (1260, 460)), "PNG"))
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
    rows = [f"row {number} of the page says {number * 37 + 10_000}" for number in range(100)]
    for number, text in enumerate(rows):
        draw.text((60, 30 + number * 115), text, fill=40, font=ImageFont.load_default(26))
    page.paste(note(), (90, 11_560))
    text = server.text("long.png", stored(page, "PNG"))
    assert [line for line in text.split("\n") if line.startswith("row")] == rows
    assert missing(text) == []


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
    ]
    text = server.text("large.png", stored(drawn(places, (3840, 2160), height=17), "PNG"))
    assert missing(text, [place[2] for place in places]) == []


def test_a_small_picture(server):
    assert "Price 42" in server.text("small.png", stored(drawn([(4, 2, "Price 42")], (80, 22), height=15), "PNG"))


def test_the_recogniser_stays_warm(launch):
    server = launch()
    assert missing(server.text("one.png", stored(note(), "PNG"))) == []
    workers = server.children()
    assert "Price 42" in server.text("two.png", stored(drawn([(20, 20, "Price 42")], (300, 80)), "PNG"))
    assert server.children() == workers != []


# ---- hostile --------------------------------------------------------------------------------------------------


def png_bomb(side: int) -> bytes:
    """Return a PNG of `side` x `side` black pixels, a few KB long."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = b"\0" * (side // 8 + 1)
    rows = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
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


# ---- SVG ------------------------------------------------------------------------------------------------------

SVG = 'xmlns="http://www.w3.org/2000/svg"'
WORDS = (
    f'<svg {SVG}><style>.a{{}}</style><text x="1">{ENGLISH}<tspan>!</tspan></text><g><text>{CHINESE}</text></g></svg>'
)
ADOBE = f"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [
<!ENTITY ns_extend "http://ns.adobe.com/Extensibility/1.0/"><!ENTITY ns_svg "http://www.w3.org/2000/svg">]>
<svg xmlns:x="&ns_extend;" xmlns="&ns_svg;"><text>{ENGLISH}!</text><text>{CHINESE}</text></svg>"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svg", WORDS.encode()),
        ("a.svgz", gzip.compress(WORDS.encode())),
        ("packed.svg", gzip.compress(WORDS.encode())),
        ("not-packed.svgz", WORDS.encode()),
        ("utf-16.svg", f'<?xml version="1.0" encoding="UTF-16"?>{WORDS}'.encode("utf-16")),
        ("gbk.svg", f'<?xml version="1.0" encoding="GBK"?>{WORDS}'.encode("gbk")),
        ("wrongly-declared.svg", f'<?xml version="1.0" encoding="UTF-8"?>{WORDS}'.encode("gbk")),
        ("no-namespace.svg", WORDS.replace(SVG, "").encode()),
        ("undeclared-prefix.svg", WORDS.replace("<g>", '<g xlink:href="#a">').encode()),
        ("adobe.svg", ADOBE.encode()),
    ],
)
def test_the_words_of_an_svg(server, name, content):
    assert server.text(name, content).split("\n")[:-1] == [f"{ENGLISH}!", CHINESE]


def test_the_order_of_an_svg(server):
    content = f"""<svg {SVG}><title>A drawing</title><desc>of this and that</desc>
      <text><tspan x="0" y="10">first line</tspan><tspan x="0" dy="1em">sec<tspan dx="1">on</tspan>d</tspan></text>
      <text x="0" y="50">left</text><text x="90" y="50">{CHINESE}</text><text x="0" y="70">below</text>
      <g display="none"><text>hidden</text></g><text style="fill: red; display: none">hidden</text>
      <switch><foreignObject><div xmlns="http://www.w3.org/1999/xhtml"><p>one <b>para</b>graph</p><p>another</p></div>
      </foreignObject><text>instead of it</text></switch></svg>"""
    assert server.text("order.svg", content.encode()).split("\n")[:-1] == [
        "A drawing", "of this and that", "first line", "second", f"left\t{CHINESE}", "below",
        "one paragraph", "another",
    ]  # fmt: skip


def test_letters_that_are_outlines(server):
    outlined = (SAMPLES / "outlined.svg").read_bytes()
    assert server.text("outlined.svg", outlined).split("\n")[:-1] == list(OUTLINED)
    huge = outlined.replace(b"<svg ", b'<svg width="100000" height="25000" ')
    assert server.text("huge.svgz", gzip.compress(huge)).split("\n")[:-1] == list(OUTLINED)


def test_a_picture_within_an_svg(server):
    data = base64.b64encode((SAMPLES / "note.png").read_bytes()).decode()
    image = f'<image width="900" height="420" href="data:image/png;base64,{data}"/>'
    text = server.text("a.svg", f'<svg {SVG} width="900" height="420">{image}<text>{ENGLISH}</text></svg>'.encode())
    assert missing(text, [*NOTE, ENGLISH]) == []


def test_a_picture_outside_of_an_svg_is_left_there(server):
    """It would be read from the server's disk."""
    image = f'<image width="900" height="420" href="{SAMPLES}/note.png"/>'
    drawing = f'<svg {SVG} width="900" height="420"><path d="M0 0h9v9z"/>{image}</svg>'
    refused(server, "a.svg", drawing.encode(), "no text: svg .*it holds no text")


LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10))
    + "]>"
)
PASSWD = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


def sized(width: str, height: str) -> bytes:
    return f'<svg {SVG} width="{width}" height="{height}"><path d="M0 0L9 9"/></svg>'.encode()


def uses(depth: int) -> str:
    """Return a drawing that repeats a repeated repetition: ten times as much at each step."""
    steps = "".join(f'<g id="u{n}">' + f'<use href="#u{n - 1}"/>' * 10 + "</g>" for n in range(1, depth + 1))
    return f'<svg {SVG}><g id="u0"><path d="M0 0h1v1z"/></g>{steps}</svg>'


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("laughs.svg", f"{LAUGHS}<svg {SVG}><text>&k;</text></svg>".encode(), "it is damaged"),
        ("laughs-in-an-attribute.svg", f"{LAUGHS}<svg {SVG}><text x='&k;'>text</text></svg>".encode(), "it is damaged"),
        ("outside.svg", f"{PASSWD}<svg {SVG}><text>&x;</text></svg>".encode(), "it holds no text"),
        ("uses.svg", uses(12).encode(), TOO_LARGE),
        ("truncated.svg", (SAMPLES / "outlined.svg").read_bytes()[:5000], "it is damaged"),
        ("no-svg.svg", b"<html><body>text</body></html>", "it is damaged"),
        ("not-gzip.svgz", b"\x1f\x8b\x08 no gzip", "it is damaged"),
        ("bomb.svgz", gzip.compress(b"<svg>" + b" " * 65 * MIB + b"</svg>"), TOO_LARGE),
        ("side.svg", sized("100000", "100000"), "it holds no text"),
        ("line.svg", sized("1e9", "1"), "it holds no text"),
        ("endless.svg", sized("1e999", "-1"), "it holds no text"),
    ],
)  # fmt: skip
def test_hostile_drawings(server, name, content, why):
    refused(server, name, content, f"no text: svg .*{why}")
