"""How many columns a command may fill, found as pytest finds them for a session."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

from ..text import clipped

NO_TERMINAL: Final = 80
"""Columns where the output goes to a file or a pipe."""
UNLIMITED: Final = 1_000
"""For a table that needs more than that where nobody looks at it in a terminal."""
READABLE: Final = 100
"""Longer lines of text are hard to read."""
_LEAST: Final = 40
"""A terminal that says that it has fewer does not know."""


def columns(without: int = NO_TERMINAL) -> int:
    """Those of the terminal, or what ``COLUMNS`` says.

    :param without: where there is no terminal.
    """
    found = shutil.get_terminal_size((without, 24)).columns
    return found if found >= _LEAST else NO_TERMINAL


def text_columns() -> int:
    """Those that sentences may fill."""
    return min(columns(), READABLE)


def heading(text: str) -> str:
    """A line across what sentences may fill."""
    room = text_columns()
    return f"{' ' + clipped(text, room - 4) + ' ':=^{room}}"


def row(parts: Sequence[str]) -> str:
    """A row of a table whose columns have fixed widths, without those at its end that the terminal has no room for."""
    room, line = columns(), ""
    for part in parts:
        if len(line) + len(part.rstrip()) > room:
            break
        line += part
    return line.rstrip()
