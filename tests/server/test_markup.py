"""Pages as people and programs write them, good and bad: what a reader sees of them, and how soon."""

from __future__ import annotations

import pytest

from moonfs.server.extraction.extractor import LIGHT
from tests.server.conftest import started

ENGLISH, CHINESE = "The quick brown fox jumps.", "敏捷的棕色狐狸跳了起来。"

#: What a page holds, and the lines that are seen.
PAGES = {
    "paragraphs in cells": (
        "<table><tr><td><p>left</p></td><td><p>右边</p><p>again</p></td></tr><tr><td></td><td>b</table>after",
        ["left\t右边 again", "\tb", "after"],
    ),
    "cells without their ends": ("<table><tr><th>a<th>b<tr><td>c<td>d</table>", ["a\tb", "c\td"]),
    "cells that span": (
        "<table><tr><td rowspan=2>a<td colspan=2>b<td>c<tr><td>d<td>e<td>f</table>",
        ["a\tb\t\tc", "\td\te\tf"],
    ),
    "tables in tables": (
        "<table><tr><td><ul><li>one<li>two</ul></td><td><table><tr><td>x<td>y<tr><td>z</table>text</td></tr></table>",
        ["one", "two", "x\ty", "z", "text"],
    ),
    "a page laid out by a table": (
        f"<table><tr><td><h1>Head</h1><p>{ENGLISH}</p></td><td><p>{CHINESE}</p></td></tr></table>",
        ["Head", ENGLISH, CHINESE],
    ),
    "rows without their table": ("<tr><td>a</td><td>b</td></tr><p>c", ["a\tb", "c"]),
    "lists": ("<ul><li>one<ul><li>inner</ul><li>two</ul><dl><dt>t<dd>d</dl>", ["one", "inner", "two", "t", "d"]),
    "ends of lines": ("a<br>b<br/>c<hr>d<wbr>e", ["a", "b", "c", "de"]),
    "preformatted": (
        "<pre>  a\n\n\tb  c\n</pre><textarea> x\n  y</textarea>",
        ["  a", "", "\tb  c", " x", "  y"],
    ),
    "Chinese over several lines": (
        "<p>敏捷的\n   棕色<b>狐\n狸</b>跳了\nfox\njumps</p>",
        ["敏捷的棕色狐狸跳了 fox jumps"],
    ),
    "Chinese quotes over several lines": (
        "<p>他说：\n“你好。”\n她说——\n好。\n“Yes”\nof course</p>",
        ["他说：“你好。”她说——好。“Yes” of course"],
    ),
    "indents": ("<p>　　缩进　的段落</p><p>&nbsp;</p>", ["缩进　的段落"]),
    "entities": (
        "&lt;b&gt; &eacute;&#x4e2d;&#25991; &copy &amp;amp; AT&T &#9999999999999;",
        ["<b> é中文 © &amp; AT&T �"],
    ),
    "soft hyphens": ("co&shy;oper\u200bate", ["cooperate"]),
    "CDATA": ('<?xml version="1.0"?><p><![CDATA[a < b & c]]></p>', ["a < b & c"]),
    "CDATA in html": ("a<![CDATA[hidden]]>b", ["ab"]),
    "comments": ("a<!-- <p>hidden > -->b<!-->c<!--->d<![if !IE]>e<![endif]><?php hidden ?>f", ["abcdef"]),
    "a comment that never ends": ("a<!-- hidden <p>hidden", ["a"]),
    "scripts": (
        '<script>if (a < b) "</p>hidden"</script>a<script><!-- document.write("<script>hidden</script>hidden") -->'
        "</script>b<SCRIPT src=x />c<style>hidden</style>",
        ["abc"],
    ),
    "a script that never ends": ("<p>a<script>hidden<p>hidden", ["a"]),
    "a title that never ends": ("<title>a<p>b", ["a", "b"]),
    "empty elements of XHTML": ("<title/><script/><p/>a<div/>b<textarea/>c", ["a", "b", "c"]),
    "tags within attributes": ("<a title='x > y' href=\"a>b\">a</a><img src=x alt='<b>pic</b>'>", ["a <b>pic</b>"]),
    "a quote that never ends": ('<p>a<a href="x>b</a>c<p>d', ["abc", "d"]),
    "no tags at all": ("1 < 2 && 3 > 2 </ 4 <5", ["1 < 2 && 3 > 2 </ 4 <5"]),
    "a tag cut off": ('a<p>b<a href="x', ["a", "b"]),
    "fields": (
        "<select><option>one<option selected>two</select><button>Go</button><button>Stop</button>"
        "<input value=Text><input type=hidden value=no><input type=checkbox value=no>",
        ["one", "two", "Go Stop Text"],
    ),
    "hidden": (
        "<div hidden><div>no</div>no</div>a<p hidden>no<p>b<ul><li style='color: red; Display : NONE'>no<li>c</ul>"
        "<div><span style=visibility:hidden>no</div>d<template><p>no</template><dialog>no</dialog><dialog open>e"
        "</dialog><video>no</video><input hidden>f<p style='text-decoration: none'>g",
        ["a", "b", "c", "d", "e", "f", "g"],
    ),
    "a body that its script will show": ("<body style='visibility: hidden'><p>a", ["a"]),
    "frames": ("<frameset><frame src=x><noframes><p>a</noframes></frameset>", ["a"]),
    "drawings": (
        "<svg><style>.no{}</style><text x=1>one <tspan x=1 dy=2>two</tspan></text><text>three</text></svg>",
        ["one", "two", "three"],
    ),
    "formulas": (
        "<math><semantics><mrow><mi>E</mi><mo>=</mo><msup><mi>m</mi></msup></mrow>"
        "<annotation>no</annotation></semantics></math><table><tr><td>",
        ["E=m"],
    ),
    "fractions": (
        "<math><mfrac><mrow><mn>1</mn><mo>+</mo><mi>x</mi></mrow><mfrac><mn>2</mn><mi>y</mi></mfrac></mfrac></math>"
        "<math><mfrac><mn>3</mn><mspace/></math><p>a",
        ["1+x/2/y3/", "a"],
    ),
    "ruby": (
        "<p><ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rp>(</rp><rt>じ</rt><rp>)</rp></ruby>を<ruby>読<rt>よ</ruby>む<p>x",
        ["漢字を読む (かんじ よ)", "x"],
    ),
    "pictures": (
        "<img src=a.png alt='A picture 图'><img alt=''><img alt='a.png'><figure><img alt='a caption'>"
        "<figcaption>a caption</figcaption></figure>",
        ["A picture 图", "a caption"],
    ),
    "a document type with a subset": ('<!DOCTYPE html [<!ENTITY a "b>c">]><p>a', ["a"]),
    "Word": (
        "<p class=MsoNormal>a<o:p></o:p></p><![if !supportEmptyParas]>&nbsp;<![endif]><o:p>b</o:p> c",
        ["a", "\xa0b c"],
    ),
    "other prefixes": ("<h:html xmlns:h='http://www.w3.org/1999/xhtml'><h:p>a</h:p><h:p>b</h:p></h:html>", ["a", "b"]),
    "only pieces of formatting": ("<b>a </b> <i> b</i>c", ["a bc"]),
}


@pytest.mark.parametrize("what", PAGES)
def test_what_a_reader_sees(server, what):
    page, expected = PAGES[what]
    assert server.text("a.html", page.encode()).split("\n") == expected


JAPANESE, TAIWANESE = "これは文字コードを調べるための日本語の文書です。", "這是一份繁體中文的文件，用來測試編碼。"
ENCODINGS = {
    "gbk": CHINESE,
    "gb2312": CHINESE,
    "gb18030": f"{CHINESE}\U00020000",
    "big5": TAIWANESE,
    "shift_jis": JAPANESE,
    "euc-jp": JAPANESE,
    "iso-2022-jp": JAPANESE,
    "euc-kr": "안녕하세요 세계",
    "windows-1251": "Съешь же ещё этих мягких",
    "iso-8859-1": "Les élèves français",
    "utf-8": CHINESE,
}
DECLARED = {
    "meta": '<html><head><meta charset="{0}"></head><body><p>{1}',
    "http-equiv": '<meta content="text/html; charset={0}" http-equiv=content-type><p>{1}',
    "xml": "<?xml version='1.0' encoding='{0}'?><p>{1}",
    "after a comment": "<!-- <meta charset=koi8-r> --><meta charset='{0}'><p>{1}",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("how", DECLARED)
def test_encodings_that_are_declared(server, encoding, how):
    text = ENCODINGS[encoding]
    assert server.text("a.html", DECLARED[how].format(encoding, text).encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["gbk", "big5", "shift_jis", "iso-2022-jp", "utf-8", "utf-16"])
def test_encodings_that_are_not_declared(server, encoding):
    text = ENCODINGS.get(encoding, CHINESE)
    page = "".join(f"<p>{text}</p>\n" for _ in range(20))
    assert server.text("a.html", f"<html><body>{page}".encode(encoding)) == "\n".join([text] * 20)


def test_a_stray_nul_is_left_out(server):
    assert server.text("a.html", f"<html><body><p>{CHINESE[:3]}\0{CHINESE[3:]}{'<p></p>' * 20}".encode()) == CHINESE


@pytest.mark.parametrize(
    "page",
    [
        b"\xef\xbb\xbf<meta charset=gbk><p>%s" % CHINESE.encode(),
        f"\ufeff<meta charset=gbk><p>{CHINESE}".encode("utf-16-le"),
        b"<meta charset=utf-16><p>%s" % CHINESE.encode(),
        b"<meta charset=gbk><p>%s" % CHINESE.encode(),
        b"<meta charset=iso-8859-1><p>%s" % CHINESE.encode(),
        b"<meta charset=no-such-thing><p>%s" % CHINESE.encode(),
        b"<meta charset=utf-8><p>%s" % CHINESE.encode("gbk"),
        b"<meta charset=base64><p>%s" % CHINESE.encode(),
    ],
)
def test_encodings_that_are_declared_wrongly(server, page):
    assert server.text("a.html", page) == CHINESE


def test_one_broken_character_does_not_ruin_a_page(server):
    page = f"<meta charset=utf-8><p>{CHINESE * 20}</p>".encode()
    text = server.text("a.html", page[:-20] + b"\xff" + page[-20:])
    assert CHINESE * 18 in text


PATHOLOGICAL = [
    "<", "<a ", "</a ", "<!--", "<!", "<![", "<![CDATA[", "<?", "</", '<a b="', "<a b='c", "<a =", "&", "&#9",
    "<script>", "<script><!--", "<title>", "<textarea>", "<!DOCTYPE a [", "<table>", "<table><tr><td>x", "<td>",
    "<td rowspan=999 colspan=999>x", "<p hidden>", "<div hidden></p>", "<ruby>a<rt>b", "<svg><![CDATA[", "<pre> \n",
    "<b> ", "<li><ul>", "\t ",
]  # fmt: skip


@pytest.fixture(scope="module")
def hurried(tmp_path_factory):
    """A server whose readers have a quarter of the time that they have, for pages of a quarter of the length."""
    options = {"light": {"workers": 1, "seconds": LIGHT.seconds / 4}}
    with started(tmp_path_factory.mktemp("hurried") / "data", options) as running:
        yield running


@pytest.mark.parametrize("run", PATHOLOGICAL)
def test_runs_of_anything_are_read_in_time_that_grows_with_their_length(hurried, run):
    """A third of a second at most; a square of it would take minutes, of the quarter of one that there is."""
    text = hurried.text("a.html", f"<p>begin 开始</p>{run * (250_000 // len(run))}".encode())
    assert text.startswith("begin 开始")
    assert "[The text is cut here" not in text
