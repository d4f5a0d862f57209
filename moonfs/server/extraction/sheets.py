"""Spreadsheets (.xlsx): each sheet under its name, rows as lines, cells apart by tabs.

Values as they were last calculated; nothing is calculated here.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Final

from openpyxl import load_workbook

from moonfs.server.extraction.archive import Archive
from moonfs.server.extraction.document import Document, Output

MAX_CELLS: Final = 2_000_000
MAX_ROWS: Final = 1_048_576


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a spreadsheet."""
    stream = open(archive.path, "rb")  # noqa: SIM115 - a path would be judged by its name; the worker closes it
    book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
    cells = rows = 0
    for sheet in book.worksheets:
        lines = []
        output_name = f"## {sheet.title}\n"
        sheet.reset_dimensions()  # what a file says of its size need not be true
        for row in sheet.iter_rows(values_only=True):
            rows += 1
            cells += len(row)
            line = "\t".join(map(_text, row)).rstrip("\t")
            if line.strip():
                lines.append(line)
            if len(lines) >= 1000:
                output.add(output_name + "\n".join(lines) + "\n")
                lines, output_name = [], ""
            if cells > MAX_CELLS or rows > MAX_ROWS:
                output.add(output_name + "\n".join(lines) + "\n")
                output.cut(f"only the first {MAX_CELLS:,} cells are kept")
            if rows % 1000 == 0 and document.is_late():
                output.add(output_name + "\n".join(lines) + "\n")
                output.cut("reading it took too long")
        if lines:
            output.add(output_name + "\n".join(lines) + "\n")
        output.add("\n" if output.has_text else "")


def _text(value: object) -> str:
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
