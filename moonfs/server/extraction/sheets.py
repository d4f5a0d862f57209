"""Spreadsheets (.xlsx): each sheet under its name, rows as lines, cells apart by tabs.

Values as they were last calculated; nothing is calculated here. `write_sheet` is shared with `sheets97`.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import Final

from openpyxl import load_workbook

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, Output

MAX_CELLS: Final = 2_000_000
MAX_ROWS: Final = 1_048_576
_ROWS_AT_ONCE: Final = 1000

#: What a cell may hold.
Value = str | int | float | bool | date | time | None


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a spreadsheet."""
    stream = open(archive.path, "rb")  # noqa: SIM115 - a path would be judged by its name; the worker closes it
    book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its size need not be true
        write_sheet(sheet.title, sheet.iter_rows(values_only=True), document, output)


def write_sheet(name: str, rows: Iterable[Sequence[Value]], document: Document, output: Output) -> None:
    """Write one sheet, with its name before it unless it is empty. Raises Full when it is too large or too late."""
    lines: list[str] = []
    heading = f"## {name}\n"

    def write() -> None:
        nonlocal heading
        if lines:
            output.add(heading + "\n".join(lines) + "\n")
            heading = ""
            lines.clear()

    cells = 0
    for number, row in enumerate(rows, 1):
        cells += len(row)
        line = "\t".join(map(_text, row)).rstrip("\t")
        if line.strip():
            lines.append(line)
        if cells > MAX_CELLS or number > MAX_ROWS:
            write()
            output.cut(f"only the first {MAX_CELLS:,} cells are kept")
        if number % _ROWS_AT_ONCE == 0:
            write()
            if document.is_late():
                output.cut("reading it took too long")
    write()
    output.add("" if heading else "\n")


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(" ") if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value).replace("\t", " ").replace("\r", "").replace("\n", " ")
