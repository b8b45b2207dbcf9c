"""Files of benchmarks as rows, with whatever is wrong named by file and row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from ..delimited import read_lines
from ..errors import ConfigError
from .base import Doc

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_text(path: Path) -> str:
    """The text of a file.

    :raises ConfigError: if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from error


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Rows of JSON Lines, or of a file that is one JSON array of them, each with its place.

    :raises ConfigError: naming file and row.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{path.name}: not valid JSON: {error}.") from error
        for number, row in enumerate(rows, 1):
            yield _mapping(row, f"{path.name}, row {number}")
        return
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a text may hold U+2028
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{where}: not valid JSON: {error}.") from error
        yield _mapping(row, where)


def _mapping(row: object, where: str) -> tuple[str, Mapping[str, object]]:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: expected an object with the keys of a question, found {_kind(row)}.")
    return where, row


def csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows of a CSV file, each with its place.

    :raises ConfigError: naming file and line.
    """
    for line in read_lines(read_text(path), path.name):
        yield f"{path.name}, line {line.number}", line.cells


def text_of(row: Mapping[str, object], key: str, where: str) -> str:
    """A text that a row must hold.

    :raises ConfigError: if it holds none, or an empty one.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if key not in row else f"should be a text, found {_kind(value)}"
        raise ConfigError(f"{where}: '{key}' {found}.")
    return value


def texts_of(
    row: Mapping[str, object], key: str, where: str, *, least: int = 2, may_be_empty: bool = False
) -> tuple[str, ...]:
    """A list of texts that a row must hold.

    :param may_be_empty: whether a text of it may be; one of TruthfulQA's wrong answers is.
    :raises ConfigError: if it holds none, too few, or one is empty.
    """
    value = row.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        found = "is missing" if key not in row else f"should be a list of texts, found {_kind(value)}"
        raise ConfigError(f"{where}: '{key}' {found}.")
    for number, text in enumerate(value, 1):
        if not isinstance(text, str) or not (text.strip() or may_be_empty):
            raise ConfigError(f"{where}: entry {number} of '{key}' should be a text, found {_kind(text)}.")
    if len(value) < least:
        raise ConfigError(f"{where}: '{key}' holds {len(value)}; a question needs at least {least} to choose from.")
    return tuple(value)


def place_of(row: Mapping[str, object], key: str, count: int, where: str) -> int:
    """A place in the list of choices, from 0, as a number or its text.

    :raises ConfigError: if it is none of ``count`` choices.
    """
    value = row.get(key)
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.lstrip("-").isdigit():
        text = int(text)
    if key not in row or not isinstance(text, int) or isinstance(text, bool):
        found = "is missing" if key not in row else f"should be a whole number, found {_kind(value)}"
        raise ConfigError(f"{where}: '{key}' {found}.")
    if not 0 <= text < count:
        raise ConfigError(f"{where}: '{key}' is {text}, and the {count} choices have the numbers 0 to {count - 1}.")
    return text


def place_of_label(label: object, labels: Sequence[str], key: str, where: str) -> int:
    """The place of a label among those of the choices; ``1`` to ``5`` also stand for ``A`` to ``E``.

    :raises ConfigError: if it is none of them.
    """
    text = str(label).strip()
    if text in labels:
        return labels.index(text)
    raise ConfigError(f"{where}: '{key}' is '{text}', and the choices are called {', '.join(labels)}.")


def refuse_empty(docs: Sequence[Doc], path: Path) -> None:
    """:raises ConfigError: if a file holds no question."""
    if not docs:
        raise ConfigError(f"{path}: holds no question.")


def unknown_shape(row: Mapping[str, object], expected: str, where: str) -> NoReturn:
    """:raises ConfigError: that names the keys that were found and those that were expected."""
    found = ", ".join(map(str, list(row)[:8])) or "nothing"
    raise ConfigError(f"{where}: found the keys {found}; expected {expected}.")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"the text '{value[:40]}'" if value.strip() else "an empty text"
    if isinstance(value, bool | int | float):
        return f"{value!r:.40}"
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, type(value).__name__)
