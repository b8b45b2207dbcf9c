"""Plain text prompt files: one prompt a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .base import Row


def read_txt(text: str, _file: str, _columns: Mapping[str, str]) -> list[Row]:
    """Each line is one prompt, blanks at its ends included; blank lines are skipped."""
    return [
        Row(position=f"row {row} (line {number})", value=line)
        for row, (number, line) in enumerate(numbered_lines(text), 1)
    ]


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their number from 1.

    Only LF and CRLF end a line: a prompt may hold form feeds, U+2028 and all else that ``str.splitlines`` splits at.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")
