"""What a reader of prompt files is, and what it hands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One entry of a prompt set as its file holds it, not yet checked."""

    position: str
    """Where it stands in the file: ``row 3``, or ``row 3 (line 7)`` where lines mean something."""
    value: object
    """A text, or a mapping of the row's keys."""


class Reader(Protocol):
    """Splits the text of one file format into rows."""

    def __call__(self, text: str, file: str, /) -> list[Row]:
        """Read all rows.

        :param text: the whole file, byte order mark removed.
        :param file: its name, for messages.
        :raises ConfigError: in one line that names the file and the position, if the text is not of that format.
        """
