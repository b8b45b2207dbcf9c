"""JSON Lines prompt files: one row a line."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError
from .base import Row
from .json_file import parse_json
from .txt_file import numbered_lines


def read_jsonl(text: str, file: str, _columns: Mapping[str, str]) -> list[Row]:
    """Rows of a JSON Lines file; blank lines are skipped, and one that is not valid JSON is a row with a fault."""
    rows: list[Row] = []
    for number, line in numbered_lines(text):
        position = f"row {len(rows) + 1} (line {number})"
        try:
            rows.append(Row(position=position, value=parse_json(line, f"{file}, {position}")))
        except ConfigError as error:
            rows.append(Row(position=position, fault=error))
    return rows
