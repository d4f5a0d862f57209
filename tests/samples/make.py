"""Make the sample documents, English and Chinese.

`welcome.pdf` has a text layer, `note.png` is a picture, `vertical.png` is set in columns from right to left, and
`outlined.svg` is of nothing but outlines. They need a font with Chinese glyphs and fontTools, which is why the results
are shipped:
`apt-get install fonts-wqy-zenhei; pip install fonttools; python tests/samples/make.py`. The font's licence is
GPL 2 with an exception for documents that embed it.
"""

from __future__ import annotations

import argparse
import os
from typing import Final

from fontTools import subset
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTCollection
from PIL import Image, ImageDraw, ImageFont

FONT: Final = "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc"
HERE: Final = os.path.dirname(os.path.abspath(__file__))

WELCOME: Final = (
    ("Welcome to moonfs", 26),
    ("", 12),
    ("Every file of your account is a file in this folder.", 13),
    ("Copy a document in, and read its text beside it:", 13),
    ("cat welcome.pdf.content", 13),
    ("", 12),
    ("欢迎使用月球文件盘", 22),
    ("把文档拷贝进来，旁边就是它的文字内容。", 13),
    ("删除文件就是从账户里删除。", 13),
)
NOTE: Final = (
    ("A note to the reader", 44),
    ("This picture holds text, not letters.", 30),
    ("Optical recognition reads it: invoice 20417.", 30),
    ("这张图片里有文字", 44),
    ("光学识别可以读出中文和英文。", 34),
)
VERTICAL: Final = ("竖排的文字从右边读起", "每一行都从上往下走", "古书和报纸常常这样排")
OUTLINED: Final = ("Letters drawn as outlines", "轮廓画成的文字")


def make_note(path: str) -> None:
    """Draw `note.png`, grey on white, 900 x 420 pixels."""
    picture = Image.new("L", (900, 420), 255)
    draw = ImageDraw.Draw(picture)
    top = 30
    for text, size in NOTE:
        draw.text((50, top), text, font=ImageFont.truetype(FONT, size), fill=20)
        top += size + 34
    picture.quantize(16).save(path, optimize=True)


def make_vertical(path: str) -> None:
    """Draw `vertical.png`: columns of Chinese, grey on white."""
    size = 36
    picture = Image.new("L", (330, 480), 255)
    draw = ImageDraw.Draw(picture)
    for column, text in enumerate(VERTICAL):
        for row, character in enumerate(text):
            place = (240 - column * 90, 30 + row * 42)
            draw.text(place, character, font=ImageFont.truetype(FONT, size), fill=20)
    picture.quantize(16).save(path, optimize=True)


def make_outlined(path: str) -> None:
    """Write `outlined.svg`: each glyph is a path."""
    font = TTCollection(FONT).fonts[0]
    glyphs, names = font.getGlyphSet(), font.getBestCmap()
    units = font["head"].unitsPerEm
    paths, top = [], 1.5
    for text in OUTLINED:
        left = 1.0
        for character in text:
            glyph = glyphs[names[ord(character)]]
            pen = SVGPathPen(glyphs, ntos=lambda number: f"{number:.0f}")
            glyph.draw(pen)
            if pen.getCommands():
                place = f"translate({left * units:.0f} {top * units:.0f}) scale(1 -1)"
                paths.append(f'<path transform="{place}" d="{pen.getCommands()}"/>')
            left += glyph.width / units
        top += 1.7
    box = f"0 0 {16 * units} {4 * units}"
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">\n')
        stream.writelines(f"{line}\n" for line in (*paths, "</svg>"))


def make_welcome(path: str) -> None:
    """Write `welcome.pdf`: one A4 page, the font cut down to its characters, with a map back to Unicode."""
    characters = sorted({c for text, _ in WELCOME for c in text})
    font = TTCollection(FONT).fonts[0]
    options = subset.Options(drop_tables=["GSUB", "GPOS", "GDEF", "name", "OS/2", "post", "BASE", "vhea", "vmtx"])
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters))
    subsetter.subset(font)
    glyphs = {c: font.getGlyphID(font.getBestCmap()[ord(c)]) for c in characters}
    scale = 1000 / font["head"].unitsPerEm
    widths = {c: round(font["hmtx"][font.getBestCmap()[ord(c)]][0] * scale) for c in characters}
    name = os.path.join(HERE, ".font.ttf")
    font.save(name)
    with open(name, "rb") as stream:
        program = stream.read()
    os.unlink(name)

    lines, top = [], 760.0
    for text, size in WELCOME:
        if text:
            codes = "".join(f"{glyphs[c]:04X}" for c in text)
            lines.append(f"BT /F1 {size} Tf 72 {top:.0f} Td <{codes}> Tj ET")
        top -= size * 1.7
    unicode = "\n".join(f"<{glyphs[c]:04X}> <{c.encode('utf-16-be').hex().upper()}>" for c in characters)
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /U def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
        f"{len(characters)} beginbfchar\n{unicode}\nendbfchar endcmap end end"
    )
    width = " ".join(f"{glyphs[c]} [{widths[c]}]" for c in characters)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        _stream("\n".join(lines).encode()),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /AAAAAA+Zen /Encoding /Identity-H"
        b" /DescendantFonts [6 0 R] /ToUnicode 8 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /AAAAAA+Zen /CIDToGIDMap /Identity"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /FontDescriptor 7 0 R"
        + f" /DW 1000 /W [{width}] >>".encode(),
        b"<< /Type /FontDescriptor /FontName /AAAAAA+Zen /Flags 4"
        b" /FontBBox [-200 -300 1200 1000] /ItalicAngle 0"
        b" /Ascent 900 /Descent -200 /CapHeight 700 /StemV 80 /FontFile2 9 0 R >>",
        _stream(to_unicode.encode()),
        _stream(program, f" /Length1 {len(program)}"),
    ]
    with open(path, "wb") as stream:
        stream.write(_pdf(objects))


def _stream(content: bytes, more: str = "") -> bytes:
    return f"<< /Length {len(content)}{more} >>\nstream\n".encode() + content + b"\nendstream"


def _pdf(objects: list[bytes]) -> bytes:
    pdf, offsets = b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    count = len(objects) + 1
    end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R >>\n"
    return pdf + f"{end}startxref\n{len(pdf)}\n%%EOF\n".encode()


def main() -> None:
    """Make all, by default beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", default=HERE)
    directory = parser.parse_args().directory
    make_welcome(os.path.join(directory, "welcome.pdf"))
    make_note(os.path.join(directory, "note.png"))
    make_vertical(os.path.join(directory, "vertical.png"))
    make_outlined(os.path.join(directory, "outlined.svg"))


if __name__ == "__main__":
    main()
