"""How a check is written: a text, ``name`` or ``name:argument``, which is what is stored; in YAML, JSON and Python also a mapping.

``{max_words: 40}`` is ``max_words:40``. An argument that is no text becomes compact JSON with sorted keys, so that one check
has one text. ``{not: CHECK}`` and ``{all_of: [CHECK, ...]}`` take checks in either form. A function is ``python:module:name``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Final

from .errors import ConfigError, described

OF_ONE: Final = frozenset({"not"})
"""Checks whose argument is a check."""
OF_SEVERAL: Final = frozenset({"all_of", "any_of"})
"""Checks whose argument is a list of checks."""
_FORMS: Final = "write 'name', 'name:argument' or one name with its argument, like {max_words: 40}"


def check_text(value: object, where: str) -> str:
    """The text of a check, whichever way it is written.

    :param value: a text, a mapping of one name to its argument, or a function that can be imported.
    :param where: the marker, option or file position, for messages.
    :raises ConfigError: in one line, if it is none of these. Whether such a check exists is seen when it is built.

    >>> check_text({"max_words": 40}, "row 1"), check_text({"not": {"contains": "x"}}, "row 1")
    ('max_words:40', 'not:contains:x')
    >>> check_text({"rouge_l": {"min": 0.5, "reference": "Paris"}}, "row 1")
    'rouge_l:{"min":0.5,"reference":"Paris"}'
    """
    if isinstance(value, str):
        if not value.strip():
            raise ConfigError(f"{where}: the check is empty; {_FORMS}.")
        return str(value)
    if isinstance(value, Mapping):
        return _of_mapping(value, where)
    if callable(value):
        return f"python:{function_name(value, where)}"
    raise ConfigError(f"{where}: expected a check, found {_kind(value)}; {_FORMS}.")


def simple_name(name: str) -> str:
    """A check's name in our spelling: ``Contains-Any`` is ``contains_any``."""
    return name.strip().replace("-", "_").lower()


def argument_text(argument: object, where: str) -> str:
    """The part of a check's text after the colon; empty where there is none.

    :raises ConfigError: if it holds what JSON cannot.
    """
    if argument is None:
        return ""
    if isinstance(argument, str):
        return str(argument)
    try:
        return json.dumps(argument, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: the argument of a check must be text, numbers, lists and mappings ({described(error)}); put a date in quotes."
        ) from error


def function_name(function: Callable[..., object], where: str) -> str:
    """``module:name`` of a function, under which it is found again.

    :raises ConfigError: if it is not: a lambda, a function inside a function, one of a script.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    found: object = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = getattr(found, part, None)
    if not module or module == "__main__" or found is not function:
        raise ConfigError(
            f"{where}: {name or type(function).__name__} cannot be found again by its name; define it at the top of a module,"
            " or hand it to output.passes() in the test's body."
        )
    return f"{module}:{name}"


def _of_mapping(value: Mapping[object, object], where: str) -> str:
    if len(value) != 1:
        raise ConfigError(f"{where}: expected a check, found a mapping of {len(value)} keys; {_FORMS}.")
    ((name, argument),) = value.items()
    if not isinstance(name, str) or not name.strip() or ":" in name:
        raise ConfigError(f"{where}: the name of a check must be text without ':', found {name!r:.40}; {_FORMS}.")
    if simple_name(name) in OF_ONE and argument is not None:
        text = check_text(argument, f"{where}: {name}")
    elif simple_name(name) in OF_SEVERAL and isinstance(argument, list | tuple):
        text = argument_text([check_text(each, f"{where}: {name}") for each in argument], where)
    else:
        text = argument_text(argument, f"{where}: {name}")
    return f"{name.strip()}:{text}" if text else name.strip()


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r:.30}"
    names = {"NoneType": "nothing", "list": "a list", "tuple": "a list", "date": "a date", "datetime": "a date"}
    return names.get(type(value).__name__, type(value).__name__)
