"""The shape that YAML and JSON prompt files share: a list of rows, or a mapping with the list under ``prompts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import ConfigError, UnknownNameError
from .base import Row
from .rows import DEFAULT_KEYS
from .values import kind

SET_KEYS: Final = ("prompts", "generate", "defaults")
"""What a file may hold that is no list."""


def listed_rows(data: object, file: str) -> list[Row]:
    """The rows of a parsed file.

    :raises ConfigError: if it has another shape.
    """
    if not isinstance(data, Mapping):
        return _rows(data, file)
    for key in data:
        if key not in SET_KEYS:
            raise UnknownNameError.build(file, "key", str(key), SET_KEYS)
    defaults = _defaults(data.get("defaults"), file)
    return [
        *_rows(data.get("prompts"), file, defaults),
        *_rows(data.get("generate"), file, defaults, generated=True),
    ]


def _rows(
    data: object, file: str, defaults: Mapping[str, object] | None = None, *, generated: bool = False
) -> list[Row]:
    key, what = ("generate", "entry") if generated else ("prompts", "row")
    if data is None:
        return []
    if not isinstance(data, list):
        expected = (
            "the key 'generate' with a list of entries"
            if generated
            else "a list of prompts, or the key 'prompts' with one"
        )
        raise ConfigError(f"{file}: expected {expected}.")
    where = f"{key}, {what}" if generated else what
    return [
        Row(position=f"{where} {number}", value=value, defaults=defaults or {}, generated=generated)
        for number, value in enumerate(data, 1)
    ]


def _defaults(value: object, file: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{file}, defaults: expected a mapping with keys such as 'system', found {kind(value)}.")
    for key in value:
        if key not in DEFAULT_KEYS:
            raise UnknownNameError.build(f"{file}, defaults", "key", str(key), DEFAULT_KEYS)
    return {key: each for key, each in value.items() if each is not None}
