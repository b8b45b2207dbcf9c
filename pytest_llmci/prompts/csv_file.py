"""CSV prompt files: a header line, then one row a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..delimited import Line, read_lines
from ..errors import ConfigError
from .base import Row
from .json_file import parse_json
from .rows import CONTENT_KEYS, KEYS, LIST_KEYS
from .shapes import shape_of


def read_csv(text: str, file: str, columns: Mapping[str, str]) -> list[Row]:
    """Rows of a comma-separated file as RFC 4180 has it; an empty cell is an absent key.

    A cell of ``messages``, ``tags`` or ``checks`` that starts with ``[`` is a JSON list, any other is its one entry; one of
    ``variables`` or ``checks`` that starts with ``{`` is JSON, too.

    :raises ConfigError: naming the line, if quotes are unbalanced or the header makes no sense.
    """
    lines = read_lines(text, file)
    if not lines:
        return []
    header = _header(lines[0].cells, f"{file}, line {lines[0].number}", columns)
    return [_row(header, line, number, file) for number, line in enumerate(lines[1:], start=1)]


def read_table(text: str, file: str) -> list[dict[str, object]]:
    """The rows of any table as mappings of its header to texts.

    :raises ConfigError: naming the line.
    """
    lines = read_lines(text, file)
    header = _names(lines[0].cells, f"{file}, line {lines[0].number}") if lines else []
    for line in lines[1:]:
        _check_width(header, line, f"{file}, line {line.number}")
    return [dict(zip(header, line.cells, strict=True)) for line in lines[1:]]


def _header(cells: Sequence[str], where: str, columns: Mapping[str, str]) -> list[str]:
    names = _names(cells, where)
    if not (columns or set(CONTENT_KEYS) & set(names) or shape_of(names)):
        raise ConfigError(
            f"{where}: the header names no column 'prompt'; write column names divided by commas: {', '.join(KEYS)};"
            " or say which column it is: FILE+prompt=NAME."
        )
    return names


def _names(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: the column '{name}' stands twice in the header; remove one.")
    return names


def _row(header: Sequence[str], line: Line, number: int, file: str) -> Row:
    position = f"row {number} (line {line.number})"
    where = f"{file}, {position}"
    try:
        _check_width(header, line, where)
        filled = {name: cell for name, cell in zip(header, line.cells, strict=True) if cell}
        if "prompt" in header and not set(CONTENT_KEYS) & set(filled):
            filled["prompt"] = ""  # an empty prompt is a fault of its own
        return Row(position=position, value={name: _value(name, cell, where) for name, cell in filled.items()})
    except ConfigError as error:
        return Row(position=position, fault=error)


def _check_width(header: Sequence[str], line: Line, where: str) -> None:
    if len(line.cells) != len(header):
        raise ConfigError(
            f"{where}: {len(line.cells)} cells, but the header has {len(header)}; put a text that holds commas or quotes in"
            " quotes and double the quotes in it."
        )


def _value(name: str, cell: str, where: str) -> object:
    start = cell.lstrip()[:1]
    if (name in LIST_KEYS and start == "[") or (name in ("variables", "checks") and start in ("[", "{")):
        return parse_json(cell, f"{where}, key '{name}'")
    if name == "max_new_tokens" and cell.strip().isascii() and cell.strip().isdecimal() and len(cell) < 20:
        return int(cell)
    return cell
