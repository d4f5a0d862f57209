"""SVG: words as they are written, letters that are outlines, pictures within; drawings made to do harm."""

from __future__ import annotations

import base64
import errno
import gzip
import os

import pytest
from PIL import Image

import moonfs.server.extraction.drawing as drawing_module
from moonfs.server.extraction import svg
from moonfs.server.extraction.document import Budget
from moonfs.server.extraction.extractor import OCR
from tests.documents.every import DRAWN, short_note
from tests.server.refused import refused
from tests.server.samples import NOTE, OUTLINED, SAMPLES
from tests.server.test_formats_pictures import CHINESE, ENGLISH, MIB, TOO_LARGE, drawn, missing, png_bomb, stored

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
    huge = outlined.replace(b"<svg ", b'<svg width="100000" height="2500" ')
    assert server.text("huge.svgz", gzip.compress(huge)).split("\n")[:-1] == list(OUTLINED)


SHORT = 'width="520" height="150"'


def data(picture: Image.Image, kind: str = "PNG") -> str:
    """Return the address of a picture that is part of a drawing."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stored(picture, kind)).decode()}"


def test_a_picture_within_an_svg(server):
    image = f'<image {SHORT} href="{data(short_note())}"/>'
    text = server.text("a.svg", f"<svg {SVG} {SHORT}>{image}<text>{ENGLISH}</text></svg>".encode())
    assert missing(text, [*DRAWN, ENGLISH]) == []


XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
SIZE = 'width="900" height="420"'
HERE = str(SAMPLES / "note.png")


def drawing(inside: str, head: str = "") -> str:
    """Return a drawing with an outline, so that it is drawn, and something more; no colour, so that OCR has no work."""
    return f'{head}<svg {SVG} {XLINK} {SIZE}><path d="M0 0h9v9z" fill="none"/>{inside}</svg>'


def embedded(inner: str) -> str:
    """Return a drawing within a drawing."""
    return f'<image {SIZE} href="data:image/svg+xml;base64,{base64.b64encode(drawing(inner).encode()).decode()}"/>'


#: Ways to name a picture that lies on the disk of the server.
OUTSIDE = {
    "plain": drawing(f'<image {SIZE} href="{HERE}"/>'),
    "old": drawing(f'<image {SIZE} xlink:href="{HERE}"/>'),
    "plain, beside one that is part of it": drawing(f'<image {SIZE} href="{HERE}" xlink:href="data:,"/>'),
    "old, beside one that is part of it": drawing(f'<image {SIZE} href="data:," xlink:href="{HERE}"/>'),
    "in the order of the other": drawing(f'<image {SIZE} xlink:href="data:image/png;base64," href="{HERE}"/>'),
    "entity": drawing(f'<image {SIZE} xlink:href="data:," href="&p;"/>', f'<!DOCTYPE svg [<!ENTITY p "{HERE}">]>'),
    "half an entity": drawing(f'<image {SIZE} href="&p;note.png"/>', f'<!DOCTYPE svg [<!ENTITY p "{SAMPLES}/">]>'),
    "address": drawing(f'<image {SIZE} href="file://{HERE}" xlink:href="data:,"/>'),
    "in the namespace of svg": drawing(f'<s:image {SIZE} href="{HERE}" xlink:href="data:," xmlns:s="{SVG[7:-1]}"/>'),
    "attribute of svg": drawing(f'<image {SIZE} s:href="{HERE}" href="data:," xmlns:s="{SVG[7:-1]}"/>'),
    "attribute of xml": drawing(f'<image {SIZE} xml:href="{HERE}" href="data:,"/>'),
    "no declared prefix": drawing(f'<image {SIZE} href="{HERE}" xlink:href="data:,"/>').replace(XLINK, ""),
    "pattern": drawing(
        f'<pattern id="p" {SIZE} patternUnits="userSpaceOnUse"><image {SIZE} href="{HERE}" xlink:href="data:,"/>'
        f'</pattern><rect {SIZE} fill="url(#p)"/>'
    ),
    "use": drawing(
        f'<defs><image id="i" {SIZE} href="{HERE}" xlink:href="data:,"/></defs><use href="#i"/><use href="{HERE}#i"/>'
    ),
    "symbol and mask": drawing(
        f'<mask id="m"><image {SIZE} href="{HERE}" xlink:href="data:,"/></mask><rect {SIZE} mask="url(#m)"/>'
        f'<symbol id="s"><image {SIZE} href="{HERE}" xlink:href="data:,"/></symbol><use href="#s"/>'
    ),
    "filter": drawing(
        f'<filter id="f" {SIZE} filterUnits="userSpaceOnUse"><feImage href="{HERE}" xlink:href="data:,"/></filter>'
        f'<rect {SIZE} filter="url(#f)"/>'
    ),
    "drawing within": drawing(embedded(f'<image {SIZE} href="{HERE}" xlink:href="data:,"/>')),
    "two drawings within": drawing(embedded(embedded(f'<image {SIZE} href="{HERE}" xlink:href="data:,"/>'))),
    "styles": drawing(
        f"<style>@import url({HERE}); image {{ href: url({HERE}); content: url({HERE}) }} rect {{ fill: url({HERE});"
        f' background: image-set("{HERE}" 1x); mask-image: u\\72l({HERE}) }}'
        f"@font-face {{ font-family: x; src: url({HERE}) }}</style>"
        f'<image {SIZE} style="href: {HERE}" href="data:,"/><rect {SIZE} style="fill: url({HERE})"/>'
    ),
    "instruction": f'<?xml-stylesheet type="text/css" href="{HERE}"?>{drawing("")}',
    "inclusion": drawing(f'<i:include href="{HERE}" parse="text" xmlns:i="http://www.w3.org/2001/XInclude"/>'),
    "base": drawing(f'<image {SIZE} href="note.png" xlink:href="data:,"/>').replace("<svg", f'<svg xml:base="{HERE}"'),
    "a malformed address of data": drawing(f'<image {SIZE} href="data:/../../../../../../../..{HERE}"/>'),
}


@pytest.mark.parametrize("way", OUTSIDE)
def test_a_picture_outside_of_an_svg_is_left_there(server, way):
    """It would be read from the server's disk."""
    answer = server.upload("a.svg", OUTSIDE[way].encode())
    seen = answer.text
    if answer.status_code == 200:
        seen = server.client.get(f"/files/{answer.json()['id']}/content").json()["content"]
    assert [words for words in NOTE if words in seen] == []


@pytest.mark.parametrize("path", ["/proc/self/fd/0", "/dev/zero", "/proc/self/mem"])
def test_no_drawing_reads_what_has_no_end(server, path):
    refused(server, "a.svg", drawing(f'<image {SIZE} href="{path}" xlink:href="data:,"/>').encode(), "it holds no text")


def test_who_draws_can_open_no_file(monkeypatch):
    """Even if a name of a file came through: the kernel refuses to open it."""

    errors = []

    def opened(**given: str) -> bytes:
        try:
            os.open(HERE, os.O_RDONLY)
        except OSError as error:
            errors.append(error.errno)
        return b"no picture"

    monkeypatch.setattr(drawing_module.resvg_py, "svg_to_bytes", opened)
    with pytest.raises(OSError, match="cannot identify"):
        drawing_module.draw(svg.parse(drawing("").encode()), Budget(0))
    assert errors == [errno.EMFILE]
    with open(HERE, "rb") as stream:
        assert stream.read(4) == b"\x89PNG"


def test_pictures_of_all_kinds_within_an_svg(server):
    """Eight in one drawing, by either name of a reference; each says which one it is."""
    images, words = "", []
    for row, kind in enumerate(("JPEG", "WEBP", "GIF", "PNG")):
        for column, prefix in enumerate(("", "xlink:")):
            words.append(f"picture {1035 + 917 * len(words)}")
            picture = data(drawn([(20, 20, words[-1])], (300, 80)).convert("RGB"), kind)
            place = f'x="{column * 400}" y="{row * 100}" width="300" height="80"'
            images += f'<image {place} {prefix}href="{picture}"/>'
    assert missing(server.text("a.svg", drawing(images).encode()), words) == []


def test_a_picture_within_a_drawing_within_an_svg(server):
    inner = embedded(f'<image {SHORT} href="{data(short_note())}"/>')
    assert missing(server.text("a.svg", drawing(inner).encode()), DRAWN) == []


def test_what_is_shown_by_filters_masks_and_styles(server):
    """Letters as outlines, with a shadow, cut out by a mask, coloured by a style sheet."""
    outlined = (SAMPLES / "outlined.svg").read_text(encoding="utf-8")
    head, _, shapes = outlined.partition(">")
    inside = shapes.rpartition("</svg>")[0]
    shadow = '<filter id="s"><feDropShadow dx="2" dy="2" stdDeviation="3"/></filter>'
    style = "<style>.a { fill: #123; filter: url(#s); opacity: .9 } @media print { .a { fill: none } }</style>"
    made = f'{head}>{style}{shadow}<g class="a" filter="url(#s)" style="opacity:.9; filter:url(#s)">{inside}</g></svg>'
    assert server.text("a.svg", made.encode()).split("\n")[:-1] == list(OUTLINED)


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


def worked(filters: str) -> str:
    """Return a drawing that goes through filters, which would take many minutes."""
    return (
        f'<svg {SVG} width="1500" height="1900"><filter id="f" x="0" y="0" width="1" height="1">{filters}</filter>'
        '<g filter="url(#f)"><path d="M0 0h1500v1900z"/></g></svg>'
    )


def chain(length: int) -> str:
    """Return a drawing in which each `use` uses the next one."""
    links = "".join(f'<use id="u{n}" href="#u{n + 1}"/>' for n in range(length))
    return f'<svg {SVG}>{links}<path id="u{length}" d="M0 0h1v1z"/></svg>'


def within(picture: bytes) -> str:
    return drawing(f'<image {SIZE} href="data:image/png;base64,{base64.b64encode(picture).decode()}"/>')


def nested(tag: str, how: str) -> str:
    """Return a drawing whose patterns, masks or the like repeat one another: ten times as much at each step."""
    steps = "".join(
        f'<{tag} id="u{n}">' + f'<rect width="9" height="9" {how.format(n - 1)}/>' * 10 + f"</{tag}>"
        for n in range(1, 9)
    )
    last = f'<rect width="9" height="9" {how.format(8)}/>'
    return f'<svg {SVG}><{tag} id="u0"><path d="M0 0h1v1z"/></{tag}>{steps}{last}</svg>'


def test_words_beside_a_drawing_that_takes_for_ever_are_kept(launch):
    """By who draws it; with a second of CPU instead of twenty. Nobody tries again, as it would be so each time."""
    assert OCR.cpu_seconds > drawing_module._CPU_SECONDS
    server = launch()
    layer = '<g opacity=".5" style="mix-blend-mode: multiply">' + '<path d="M0 0h3000v4000z"/>' * 2 + "</g>"
    image = '<image width="9" height="9" href="data:,"/>'
    made = f'<svg {SVG} width="3000" height="4000"><text>some words</text>{image}{layer * 4000}</svg>'
    text = server.text("a.hasty_svg", made.encode())
    assert text == "some words\n\n\n[The text is cut here: reading it took too long.]"
    lanes = server.client.get("http://local/healthz").json()["extraction"]
    assert [(lane, lanes[lane]["failed"], lanes[lane]["alive"]) for lane in ("small ocr", "ocr")] == [
        ("small ocr", 1, 0), ("ocr", 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("noise.svg", worked('<feTurbulence numOctaves="9999" baseFrequency=".7"/>' * 9).encode(), "it holds no text"),
        ("growth.svg", worked('<feMorphology radius="900"/>' * 9).encode(), "it holds no text"),
        ("masks.svg", nested("mask", 'mask="url(#u{})"').encode(), TOO_LARGE),
        ("patterns.svg", nested("pattern", 'style="fill: url(#u{})"').encode(), TOO_LARGE),
        ("clips.svg", nested("clipPath", "clip-path='url(#u{})'").encode(), TOO_LARGE),
        ("markers.svg", nested("marker", 'marker-mid="url( &quot;#u{}&quot; )"').encode(), TOO_LARGE),
        ("chain.svg", chain(20_000).encode(), TOO_LARGE),
        ("bomb-within.svg", within(png_bomb(50_000)).encode(), "it holds no text"),
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
