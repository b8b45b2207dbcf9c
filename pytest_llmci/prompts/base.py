"""What a reader of prompt files is, and what it hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One entry of a prompt set as its file holds it, not yet checked."""

    position: str
    """Where it stands in the file: ``row 3``, or ``row 3 (line 7)`` where lines mean something."""
    value: object = None
    """A text, or a mapping of the row's keys."""
    fault: ConfigError | None = None
    """Why it could not even be read; the rows after it are read all the same."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """What holds where the row says nothing."""
    generated: bool = False
    """Whether it is an entry of ``generate``, which may ask for lengths and seeds."""


class Reader(Protocol):
    """Splits the text of one file format into rows."""

    def __call__(self, text: str, file: str, columns: Mapping[str, str], /) -> list[Row]:
        """Read all rows.

        :param text: the whole file, byte order mark removed.
        :param file: its name, for messages.
        :param columns: key of a row -> the name that the file has for it, as the user said; for formats with a header.
        :raises ConfigError: in one line that names the file and the position, if the text is not of that format.
        """
