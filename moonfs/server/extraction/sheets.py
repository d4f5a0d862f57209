"""Spreadsheets (.xlsx): each sheet under its name, rows as lines, cells apart by tabs; comments and charts after them.

Values as they were last calculated; nothing is calculated here, and what never was shows its formula. `write_sheet` is
shared with `sheets97`.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import zip_longest
from typing import Any, Final

from openpyxl import load_workbook
from openpyxl.worksheet import _read_only as openpyxl_reader
from openpyxl.worksheet._reader import ROW_TAG, WorkSheetParser
from openpyxl.xml.constants import SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse
from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from moonfs.server.extraction.archive import DAMAGED, Archive
from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.illustrations import related_lines

MAX_CELLS: Final = 2_000_000
MAX_ROWS: Final = 1_048_576
_ROWS_AT_ONCE: Final = 1000
_CHUNK: Final = 1024**2
#: A formula without a value beside it.
_NO_VALUE: Final = re.compile(rb"(</f>|<f[^>]{0,40}/>)\s*(</c>|<v/>|<v></v>)")

_ROWS_TAG: Final = f"{{{SHEET_MAIN_NS}}}sheetData"
#: Characters of a cell, in Excel.
_LONGEST: Final = 32_767

#: What a cell may hold.
Value = str | int | float | bool | date | time | timedelta | None


def read(archive: Archive, document: Document, output: Output) -> None:
    """Read a spreadsheet. Raises NoText for one without a sheet that can be read."""
    try:
        book = _open(archive, data_only=True)
    except Exception:  # noqa: BLE001 - of styles that it takes offence at, there are many kinds
        _read_plainly(archive, document, output)
        return
    formulas = None
    for index, sheet in enumerate(book.worksheets):
        sheet.reset_dimensions()  # what a file says of its size need not be true
        part = sheet._worksheet_path  # there is no public way to the part of a sheet
        rows = sheet.iter_rows(values_only=True)
        if _lacks_values(archive, part):
            formulas = formulas or _open(archive, data_only=False)
            twin = formulas.worksheets[index]
            twin.reset_dimensions()
            rows = _filled(rows, twin.iter_rows(values_only=True))
        more = related_lines(archive, part, document, output)
        write_sheet(sheet.title, _readable(rows, archive), document, output, more)
    if archive.is_damaged and not output.has_text:
        raise NoText


def _readable(rows: Iterable[Sequence[Value]], archive: Archive) -> Iterator[Sequence[Value]]:
    """Yield the rows of a sheet as far as it is readable."""
    try:
        yield from rows
    except Exception:  # noqa: BLE001 - whatever is said of it, the sheet is broken from here on
        archive.is_damaged = True


class _Rows(WorkSheetParser):  # type: ignore[misc]
    """The rows of a sheet, and nothing that stands behind them; of a cell that makes no sense, its text if any."""

    _last = 0

    def parse(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for _, element in iterparse(self.source):
            if element.tag == ROW_TAG:
                yield self.parse_row(element)
                element.clear()
            elif element.tag == _ROWS_TAG:
                return

    def parse_row(self, row: Any) -> tuple[int, list[dict[str, Any]]]:
        try:
            number = int(row.get("r", self._last + 1))
        except ValueError:
            number = self._last + 1
        self._last = self.row_counter = number
        self.col_counter = 0
        return number, [cell for element in row if (cell := self._cell(element))]

    def _cell(self, element: Any) -> dict[str, Any] | None:
        for kind in ("", "str"):  # a number of too many digits is text
            if kind:
                element.set("t", kind)
            try:
                cell: dict[str, Any] = self.parse_cell(element)
            except (ValueError, LookupError, TypeError, ArithmeticError):
                continue
            if isinstance(cell["value"], str):
                cell["value"] = cell["value"][:_LONGEST]
            return cell
        return None


openpyxl_reader.WorkSheetParser = _Rows  # there is no public way to give it another


def _open(archive: Archive, *, data_only: bool) -> Any:
    """Return the workbook, with values or with the formulas that they come from."""
    stream = open(archive.path, "rb")  # noqa: SIM115 - a path would be judged by its name; the worker closes it
    return load_workbook(stream, read_only=True, data_only=data_only, keep_links=False)


def _lacks_values(archive: Archive, part: str) -> bool:
    """Say whether there are formulas that nothing has calculated yet: a program wrote them, not a person."""
    rest = b""
    with contextlib.suppress(*DAMAGED), archive.open(part) as stream:
        while chunk := stream.read(_CHUNK):
            if _NO_VALUE.search(rest + chunk):
                return True
            rest = chunk[-64:]
    return False


def _filled(rows: Iterable[Sequence[Value]], formulas: Iterable[Sequence[Value]]) -> Iterator[list[Value]]:
    for row, twin in zip_longest(rows, formulas, fillvalue=()):
        yield [formula if value is None else value for value, formula in zip_longest(row, twin)]


def _read_plainly(archive: Archive, document: Document, output: Output) -> None:
    """Read a spreadsheet that openpyxl cannot: by calamine, which does not care how cells look."""
    try:
        book = CalamineWorkbook.from_path(archive.path)
    except PasswordError as error:
        raise NoText(Why.PASSWORD) from error
    for name in book.sheet_names:
        try:
            rows = book.get_sheet_by_name(name).iter_rows()
        except CalamineError:
            archive.is_damaged = True
            continue
        write_sheet(name, rows, document, output)
    if archive.is_damaged and not output.has_text:
        raise NoText


def write_sheet(
    name: str, rows: Iterable[Sequence[Value]], document: Document, output: Output, more: Iterable[str] = ()
) -> None:
    """Write one sheet, with its name before it unless it is empty. Raises Full when it is too large or too late.

    Args:
        more: lines that stand after the rows: comments, charts.
    """
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
    lines.extend(line for line in more if line.strip())
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
