"""Tables of divided text that people bring: rows with the line at which each begins, and faults named by it."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

from .errors import ConfigError


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
