"""The marker ``llmci(...)``: what one test asks for beyond the session's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..engine.marker_values import MarkerValues
from ..settings import MOST_SAMPLES
from .fixtures import MARKER

if TYPE_CHECKING:
    import pytest

_KEYWORDS = {
    "models": "text or list of texts",
    "prompts": "text or list of texts",
    "rounds": "whole number",
    "max_rounds": "whole number",
    "warmup": "whole number",
    "max_new_tokens": "whole number",
    "seed": "whole number",
    "budgets": "text or list of texts",
    "checks": "check or list of checks",
    "samples": "whole number",
    "min_pass_rate": "number over 0 and up to 1",
    "temperature": "number from 0",
    "timed": "True or False",
    "load": "text",
}


NO_VALUES = MarkerValues()
_MARKS_OF_COLLECTING = frozenset({MARKER, "parametrize"})


def read_markers(marks: list[pytest.Mark]) -> MarkerValues:
    """Read the markers of one test, closest first.

    :raises ConfigError: on a positional argument, a misspelt keyword or a value of another kind.
    """
    marks = [mark for mark in marks if mark.args or mark.kwargs]
    if not marks:
        return NO_VALUES
    values: dict[str, Any] = {}
    budgets: list[str] = []
    for mark in marks:
        found = _read_one(mark.args, mark.kwargs)
        budgets += found.pop("budgets", ())
        values = {**found, **values}
    return MarkerValues(**values, budgets=tuple(dict.fromkeys(budgets)))


def own_marks(item: pytest.Item) -> list[pytest.Mark]:
    """The markers that stand on the test itself and not on its class or module."""
    return [mark for mark in item.own_markers if mark.name == MARKER]


def _read_one(args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, Any]:
    from ..errors import ConfigError, UnknownNameError

    if args:
        raise ConfigError(
            f"marker llmci: {args[0]!r} has no keyword; write llmci(rounds=5). Known: {', '.join(_KEYWORDS)}."
        )
    values: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name not in _KEYWORDS:
            raise UnknownNameError.build("marker llmci", "keyword", name, _KEYWORDS)
        read = _checks(value) if name == "checks" else _value(_KEYWORDS[name], value)
        if read is None or (name in ("models", "prompts", "budgets") and not read):
            raise ConfigError(f"marker llmci: {name}={value!r} must be {_KEYWORDS[name]}.")
        least = 0 if name in ("warmup", "seed") else 1
        if isinstance(read, int) and not isinstance(read, bool) and read < least:
            raise ConfigError(f"marker llmci: {name}={value!r} must be at least {least}.")
        if name == "samples" and isinstance(read, int) and read > MOST_SAMPLES:
            raise ConfigError(f"marker llmci: {name}={value!r} must be at most {MOST_SAMPLES:,}.")
        values[name] = read
    return values


def _checks(value: object) -> tuple[str, ...]:
    from ..check_texts import check_text

    found = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(check_text(each, "marker llmci: checks") for each in found)


def _value(kind: str, value: object) -> object:
    if kind == "True or False":
        return value if isinstance(value, bool) else None
    if kind == "text":
        return value if isinstance(value, str) and value.strip() else None
    if kind.startswith("number"):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        fits = 0 <= value < float("inf") if kind == "number from 0" else 0 < value <= 1
        return float(value) if fits else None
    if kind == "whole number":
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def has_other_marks(item: pytest.Item) -> bool:
    """Whether it has marks besides ours that do anything while it runs: skip, xfail, flaky, ..."""
    node: Any = item
    while node is not None:
        for mark in node.own_markers:
            if mark.name not in _MARKS_OF_COLLECTING:
                return True
        node = node.parent
    return False
