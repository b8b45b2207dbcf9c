"""CSV prompt files: a header line, then one row a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ..delimited import read_lines
from ..errors import ConfigError
from .base import Row
from .json_file import parse_json
from .rows import KEYS, LIST_KEYS


def read_csv(text: str, file: str) -> list[Row]:
    """Rows of a comma-separated file as RFC 4180 has it; an empty cell is an absent key.

    A cell of ``messages``, ``tags`` or ``checks`` that starts with ``[`` is a JSON list, any other is its one entry.

    :raises ConfigError: naming the line, if quotes are unbalanced or a line has more or fewer cells than the header.
    """
    lines = read_lines(text, file)
    if not lines:
        return []
    header = _header(lines[0].cells, f"{file}, line {lines[0].number}")
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], start=1):
        position = f"row {number} (line {line.number})"
        rows.append(Row(position=position, value=_row(header, line.cells, f"{file}, {position}")))
    return rows


def _header(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not {"prompt", "messages"} & set(names):
        raise ConfigError(
            f"{where}: the header names no column 'prompt'; write column names divided by commas: {', '.join(KEYS)}."
        )
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: the column '{name}' stands twice in the header; remove one.")
    return names


def _row(header: list[str], cells: list[str], where: str) -> dict[str, object]:
    if len(cells) != len(header):
        raise ConfigError(
            f"{where}: {len(cells)} cells, but the header has {len(header)}; put a text that holds commas or quotes in"
            " quotes and double the quotes in it."
        )
    filled = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    if "prompt" in header and "messages" not in filled:
        filled.setdefault("prompt", "")  # an empty prompt is a fault of its own
    return {name: _value(name, cell, where) for name, cell in filled.items()}


def _value(name: str, cell: str, where: str) -> object:
    if name in LIST_KEYS and cell.lstrip().startswith("["):
        return parse_json(cell, f"{where}, key '{name}'")
    if name == "max_new_tokens" and cell.strip().isascii() and cell.strip().isdecimal() and len(cell) < 20:
        return int(cell)
    return cell
