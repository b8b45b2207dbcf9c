"""The ``variables`` of a row: lists of values, and every combination of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import ConfigError
from ..text import one_line
from .values import kind, text_of

MOST_PROMPTS: Final = 100_000
"""Of one row. More are a slip rather than a plan: a value too many multiplies them."""
Table = Callable[[str], list[dict[str, object]]]
"""Reads the rows of a file that ``variables`` names."""


def combinations(value: object, where: str, table: Table) -> list[dict[str, str]]:
    """Every combination of values, the last variable changing fastest.

    :param value: a mapping of names to a value or a list of values; a list of such mappings, for values that belong together;
        or the name of a file with a row a combination.
    :param where: file, row and key, for messages.
    :raises ConfigError: if it is none of these, or there are too many.

    >>> combinations({"a": [1, 2], "b": "x"}, "row 1", list)
    [{'a': '1', 'b': 'x'}, {'a': '2', 'b': 'x'}]
    """
    if isinstance(value, str):
        value = table(value)
    if isinstance(value, list):
        found = []
        for number, entry in enumerate(value, 1):
            found += _product(entry, f"{where}, entry {number}")
            _check_count(len(found), where)
        _check_names(found, where)
    else:
        found = _product(value, where)
    if not found:
        raise ConfigError(
            f"{where}: there is no value; write names with their values, such as {{city: [Paris, Rome]}}."
        )
    return found


def _product(value: object, where: str) -> list[dict[str, str]]:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where}: expected a mapping of names to values, such as {{city: [Paris, Rome]}}, found {kind(value)}."
        )
    columns = {_name(name, where): _values(each, f"{where}, '{one_line(str(name))}'") for name, each in value.items()}
    _check_count(math.prod(map(len, columns.values())), where)
    return [dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())]


def _name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ConfigError(
            f"{where}: '{one_line(str(name))[:40]}' is no name for a variable; use ASCII letters, digits and '_', a letter first."
        )
    return name


def _values(value: object, where: str) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise ConfigError(f"{where}: the list is empty; write at least one value.")
    found = [text_of(entry, where, "a text, a whole number, or a list of them") for entry in entries]
    if len(set(found)) < len(found):
        twin = next(text for text in found if found.count(text) > 1)
        raise ConfigError(f"{where}: '{one_line(twin)[:40]}' stands twice; remove one.")
    return found


def _check_count(count: int, where: str) -> None:
    if count > MOST_PROMPTS:
        raise ConfigError(
            f"{where}: {count:,} combinations, but a row may have {MOST_PROMPTS:,} at most; write fewer values, or mappings"
            " of those that belong together."
        )


def _check_names(found: list[dict[str, str]], where: str) -> None:
    for number, each in enumerate(found, 1):
        if each.keys() != found[0].keys():
            differing = sorted(each.keys() ^ found[0].keys())
            raise ConfigError(
                f"{where}: combination {number} and the first one have different names ({', '.join(differing)}); give each all of them."
            )


def check_placeholders(used: Mapping[str, str], given: Mapping[str, str] | None, where: str) -> list[ConfigError]:
    """Faults of placeholders without a variable, and of variables without a placeholder.

    :param used: name of a placeholder -> the key of the row that it stands in.
    :param given: the variables of a combination; None where the row has none.
    """
    known = given or {}
    hint = f"known are {', '.join(known)}" if known else "the row has no 'variables'"
    faults = [
        ConfigError(
            f"{where}: key '{key}': the placeholder {{{{{name}}}}} has no variable; {hint}. Two braces that the model is to see"
            " are written {{ '{{' }}."
        )
        for name, key in used.items()
        if name not in known
    ]
    unused = [name for name in known if name not in used]
    faults += [
        ConfigError(
            f"{where}: key 'variables': '{name}' is used by no placeholder; write {{{{{name}}}}} where it belongs, or remove it."
        )
        for name in unused
    ]
    return faults
