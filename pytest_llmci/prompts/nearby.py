"""Files that a row of a prompt file names; a relative path starts at the folder of that file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from ..text import one_line
from .values import kind

TABLES: Final = (".csv", ".json", ".jsonl", ".yaml", ".yml")
"""Endings of files with a row for each combination of variables."""


class Nearby:
    """Reads them, each once."""

    def __init__(self, folder: Path | None) -> None:
        """:param folder: of the file with the rows; None: it is a packaged set, whose rows name no files."""
        self._folder = folder
        self._read = lru_cache(maxsize=None)(self._whole)

    def text(self, name: str) -> str:
        """A text file without the line feed at its end, which editors add.

        :raises ConfigError: if it cannot be read.
        """
        return self._read(name).removesuffix("\n").removesuffix("\r")

    def table(self, name: str) -> list[dict[str, object]]:
        """The rows of a table: a CSV file with a header, or a list of mappings.

        :raises ConfigError: if it cannot be read.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in TABLES:
            raise ConfigError(
                f"'{one_line(name)[:60]}' is neither a mapping of names to values nor a file of combinations: {', '.join(TABLES)}."
            )
        rows = _rows_of(self._read(name), name, suffix)
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise ConfigError(f"{name}, row {number}: expected a mapping of names to values, found {kind(row)}.")
        return rows

    def _whole(self, name: str) -> str:
        path = (self._folder or Path()) / Path(name).expanduser()
        try:
            return decoded(path.read_bytes(), name)
        except (OSError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            raise ConfigError(f"cannot read '{one_line(name)}' in '{path.parent}': {why}.") from error


def _rows_of(text: str, name: str, suffix: str) -> list[dict[str, object]]:
    from .csv_file import read_table
    from .json_file import parse_json
    from .txt_file import numbered_lines
    from .yaml_file import parse_yaml

    if suffix == ".csv":
        return read_table(text, name)
    if suffix == ".jsonl":
        data: object = [parse_json(line, f"{name}, line {number}") for number, line in numbered_lines(text)]
    else:
        data = parse_json(text, name) if suffix == ".json" else parse_yaml(text, name)
    if not isinstance(data, list):
        raise ConfigError(f"{name}: expected a list of mappings of names to values, found {kind(data)}.")
    return data


def decoded(content: bytes, file: str) -> str:
    """The text of a file, byte order mark removed.

    :raises ConfigError: naming the line that is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}, line {line}: not valid UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8."
        ) from error
