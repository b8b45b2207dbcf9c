"""JSON Lines prompt files: one row a line."""

from __future__ import annotations

from .base import Row
from .json_file import parse_json
from .txt_file import numbered_lines


def read_jsonl(text: str, file: str) -> list[Row]:
    """Rows of a JSON Lines file; blank lines are skipped.

    :raises ConfigError: naming the first line that is not valid JSON.
    """
    rows: list[Row] = []
    for number, line in numbered_lines(text):
        position = f"row {len(rows) + 1} (line {number})"
        rows.append(Row(position=position, value=parse_json(line, f"{file}, {position}")))
    return rows
