"""Lines on a page, and the order in which they are read."""

from __future__ import annotations

import math

from moonfs.server.extraction.layout import Line, arrange


def line(text: str, left: float, top: float, width: float | None = None, angle: float = 0.0) -> Line:
    return Line(text, 1.0, left, top, 10.0 * len(text) if width is None else width, 20.0, angle)


def test_rows_from_top_to_bottom_cells_from_left_to_right():
    cells = [line("d", 300, 62), line("a", 10, 10), line("c", 10, 60), line("b", 300, 14)]
    assert arrange(cells) == "a\tb\nc\td"


def test_a_line_found_in_two_pieces_is_one():
    assert arrange([line("in two", 10, 10), line("pieces", 76, 10)]) == "in two pieces"
    assert arrange([line("一行", 10, 10, 40), line("文字", 52, 10, 40)]) == "一行文字"


def test_columns_of_text_under_a_headline():
    lines = [line("headline", 10, 0, 900)]
    for row in range(5):
        lines += [line(f"left {row}", 10, 50 + row * 30, 400), line(f"right {row}", 510, 52 + row * 30, 395)]
    lines.append(line("footer", 10, 300, 900))
    words = arrange(lines).split("\n")
    assert words == ["headline", *(f"left {row}" for row in range(5)), *(f"right {row}" for row in range(5)), "footer"]


def test_three_columns():
    lines = [line(f"{column}{row}", column * 310, row * 30, 290) for row in range(5) for column in range(3)]
    assert arrange(lines).split("\n") == [f"{column}{row}" for column in range(3) for row in range(5)]


def test_cells_of_several_lengths_are_a_table():
    rows = [("pens", "1.50"), ("paper for letters", "4"), ("ink", "22.00"), ("envelopes", "0.12"), ("glue", "3")]
    cells = [
        line(cell, 10 + column * 400, row * 40) for row, pair in enumerate(rows) for column, cell in enumerate(pair)
    ]
    assert arrange(cells) == "\n".join("\t".join(pair) for pair in rows)


def test_a_page_that_stands_askew():
    angle = math.radians(6)
    lines = []
    for row in range(6):
        for column in range(2):
            x, y = 50 + column * 500 + 200, row * 40 + 10
            across = x * math.cos(angle) - y * math.sin(angle)
            down = x * math.sin(angle) + y * math.cos(angle)
            box = 400 * math.sin(angle) + 20
            lines.append(Line(f"{row}{column}", 1.0, across - 200, down - box / 2, 400.0, box, angle))
    assert arrange(lines[:2]) == "00\t01"
    assert set(arrange(lines).replace("\t", "\n").split("\n")) == {
        f"{row}{column}" for row in range(6) for column in range(2)
    }
    assert arrange([one for one in lines if one.text.endswith("0")]) == "\n".join(f"{row}0" for row in range(6))


def test_nothing():
    assert arrange([]) == ""
