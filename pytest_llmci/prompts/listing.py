"""The shape that YAML and JSON prompt files share: a list of rows, or a mapping with the list under ``prompts``."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError, UnknownNameError
from .base import Row


def listed_rows(data: object, file: str) -> list[Row]:
    """The rows of a parsed file.

    :raises ConfigError: if it has another shape.
    """
    if isinstance(data, Mapping):
        for key in data:
            if key != "prompts":
                raise UnknownNameError.build(file, "key", str(key), ["prompts"])
        data = data.get("prompts")
    if data is None:
        return []
    if not isinstance(data, list):
        raise ConfigError(f"{file}: expected a list of prompts, or the key 'prompts' with one.")
    return [Row(position=f"row {number}", value=value) for number, value in enumerate(data, 1)]
