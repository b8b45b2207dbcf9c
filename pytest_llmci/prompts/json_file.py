"""JSON prompt files, and the JSON values of other formats."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import ConfigError
from .base import Row
from .listing import listed_rows


def read_json(text: str, file: str, _columns: Mapping[str, str]) -> list[Row]:
    """Rows of a JSON document.

    :raises ConfigError: if it is not valid JSON or a key stands twice in one row.
    """
    return listed_rows(parse_json(text, file), file)


def parse_json(text: str, where: str) -> object:
    """One JSON value.

    :param where: file and position, for the message.
    :raises ConfigError: if it is not valid, or a key stands twice in one object.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise ConfigError(f"{where}: not valid JSON: {error.msg} at {position}.") from error
    except ValueError as error:
        raise ConfigError(f"{where}: not valid JSON: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not valid JSON: nested too deeply.") from error


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twin}' stands twice")
    return found
