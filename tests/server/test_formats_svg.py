"""SVG: words as they are written, letters that are outlines, pictures within; drawings made to do harm."""

from __future__ import annotations

import base64
import gzip

import pytest

from tests.server.refused import refused
from tests.server.samples import NOTE, OUTLINED, SAMPLES
from tests.server.test_formats_pictures import CHINESE, ENGLISH, MIB, TOO_LARGE, missing

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
