"""Tables of divided text that people bring: rows with the line at which each begins, and faults named by it."""

from __future__ import annotations

import csv
import difflib
import io
import os
from pathlib import Path
from typing import Final, NamedTuple

from .errors import ConfigError

_MAGIC: Final = {b"PK": "an Excel workbook or archive", b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip archive"}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """One row of such a table."""

    number: int
    """Of the line in the file at which it begins, from 1."""
    cells: list[str]


def read_lines(text: str, where: str, delimiter: str = ",") -> list[Line]:
    r"""All rows as RFC 4180 has them, of any length; rows without anything in them are left out.

    :param where: names the file in a message.
    :raises ConfigError: naming the line, if quotes are unbalanced.

    >>> read_lines('a,b\n\n"1\n2",3\n', "x.csv")
    [Line(number=1, cells=['a', 'b']), Line(number=3, cells=['1\n2', '3'])]
    """
    lines: list[Line] = []
    before = csv.field_size_limit(len(text) + 1)  # of the whole process: set and put back within this call
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise ConfigError(f"{where}, line {start}: not valid CSV: {error}.") from error
            if cells is None:
                return lines
            if any(cell.strip() for cell in cells):
                lines.append(Line(start, cells))
    finally:
        csv.field_size_limit(before)


def read_table(path: Path, content: str) -> tuple[Line, list[Line]]:
    """The header of a CSV file and the rows below it, each as wide as the header; separated by ``,``, ``;``, tab or ``|``.

    :param content: what is expected below the header, such as ``a row a model``, for messages.
    :raises ConfigError: in one line, if the file cannot be read or is no such table.
    """
    where = str(path)
    rows = _rows(read_text(path, "export the table as CSV in UTF-8 and give that"), where)
    if not rows:
        raise ConfigError(f"{where} is empty; expected a CSV file with a header line and {content}.")
    header, *body = rows
    if not body:
        raise ConfigError(f"{where} has no rows below its header; expected {content}.")
    for row in body:
        if len(row.cells) != len(header.cells):
            raise ConfigError(
                f"{where}, line {row.number}: {len(row.cells)} cells, but the header has {len(header.cells)};"
                " put a text that holds the separator in quotes."
            )
    return header, body


def read_text(path: Path, remedy: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark.

    :param remedy: what to do where the file is an archive or a workbook.
    :raises ConfigError: in one line, if there is none, or it is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        near = difflib.get_close_matches(path.name, _names(path.parent), n=1)
        hint = f" Did you mean '{path.parent / near[0]}'?" if near and not path.is_dir() else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.{hint}") from error
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise ConfigError(f"{path} is {kind}; {remedy}.")
    try:
        return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {data[error.start]:#04x} at position {error.start} is no UTF-8; save the file as UTF-8, or convert it: iconv -f"
            f" WINDOWS-1252 -t UTF-8 {path.name} > new{path.suffix}."
        ) from error


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _rows(text: str, where: str) -> list[Line]:
    if "\0" in text:
        raise ConfigError(f"{where} holds zero bytes: it is no text; give a CSV file in UTF-8.")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t|", key=first.count)
    return read_lines(text, where, delimiter)
