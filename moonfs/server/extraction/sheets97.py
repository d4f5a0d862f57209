"""Spreadsheets before 2007 (.xls): each sheet under its name, rows as lines, cells apart by tabs; by xlrd.

Values as they were last calculated, written as `sheets` writes those of today's files.

**Threading:** one document at a time, in a worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import xlrd

from moonfs.server.extraction.compound import Compound
from moonfs.server.extraction.document import Document, NoText, Output, Why
from moonfs.server.extraction.sheets import Value, write_sheet

#: How xlrd says that a password is needed; it has no exception of its own for that.
_ENCRYPTED: Final = "encrypted"


def read(compound: Compound, document: Document, output: Output) -> None:
    """Read a spreadsheet. Raises NoText for one under a password."""
    # Unpacked by olefile: xlrd goes round for ever where the chain of a stream is a ring.
    _read(document, output, file_contents=compound.stream("Workbook" if compound.has("Workbook") else "Book"))


def read_file(document: Document, output: Output) -> None:
    """Read a spreadsheet that is the bare records of Excel 4 and before."""
    _read(document, output, filename=document.path)


def _read(document: Document, output: Output, **source: Any) -> None:
    try:
        book = xlrd.open_workbook(**source, logfile=io.StringIO(), on_demand=True, ragged_rows=True)
    except xlrd.XLRDError as error:
        raise NoText(Why.PASSWORD if _ENCRYPTED in str(error).lower() else Why.CORRUPT) from error
    damaged = 0
    for index, name in enumerate(book.sheet_names()):
        try:
            sheet = book.sheet_by_index(index)
        except Exception:  # noqa: BLE001 - whatever is said of one sheet, the others may be whole
            damaged += 1
            output.note_cut("some of its parts are damaged")
            continue
        write_sheet(name, _rows(sheet, book.datemode), document, output)
        book.unload_sheet(index)
    if damaged == book.nsheets:
        raise NoText


def _rows(sheet: xlrd.sheet.Sheet, datemode: int) -> Iterator[list[Value]]:
    for row in range(sheet.nrows):
        yield [_value(cell, datemode) for cell in sheet.row(row)]


def _value(cell: xlrd.sheet.Cell, datemode: int) -> Value:
    kind, value = cell.ctype, cell.value
    if kind == xlrd.XL_CELL_DATE:
        try:
            moment: datetime = xlrd.xldate_as_datetime(value, datemode)
        except (ValueError, OverflowError, xlrd.xldate.XLDateError):
            return float(value)
        return moment.time() if 0 <= value < 1 else moment
    if kind == xlrd.XL_CELL_BOOLEAN:
        return bool(value)
    if kind == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(value, "#ERROR"))
    if kind in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK):
        return None
    return float(value) if kind == xlrd.XL_CELL_NUMBER else str(value)
