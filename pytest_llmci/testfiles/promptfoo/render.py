"""Variables in texts, as promptfoo's nunjucks fills them in; anything beyond names is not translated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ...text import one_line
from .report import NotTranslated

_TAG: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_NAME: Final = re.compile(r"\{\{-?\s*([A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)\s*-?\}\}\Z")
DEEPEST: Final = 5
"""Variables that stand in variables."""


def render(text: str, values: Mapping[str, Any], missing: set[str] | None = None) -> str:
    """The text with each ``{{name}}`` replaced by its value; a name without a value becomes nothing, as there.

    :param missing: takes the names that have no value.
    :raises NotTranslated: on filters, loops, conditions, comments and names of the environment.

    >>> render("{{ a }} and {{b.c}}", {"a": 1, "b": {"c": "x"}})
    '1 and x'
    """
    for _ in range(DEEPEST):
        if "{{" not in text and "{%" not in text and "{#" not in text:
            return text
        filled = _TAG.sub(lambda found: _value(found[0], values, missing), text)
        if filled == text:
            return text
        text = filled
    raise NotTranslated("its variables name each other in a circle")


def as_text(value: Any) -> str:
    """A value as it stands in a text.

    >>> as_text(True), as_text(None), as_text(2.0), as_text([1, "a"])
    ('true', '', '2', '[1,"a"]')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return str(value)


def _value(tag: str, values: Mapping[str, Any], missing: set[str] | None) -> str:
    found = _NAME.match(tag)
    if found is None:
        what = (
            "a condition or loop"
            if tag.startswith("{%")
            else "a comment"
            if tag.startswith("{#")
            else "a filter or expression"
        )
        raise NotTranslated(f"{what} of nunjucks ({one_line(tag)[:60]}); only {{{{name}}}} is filled in")
    first, *rest = found[1].split(".")
    if first == "env" and "env" not in values:
        raise NotTranslated(f"a variable of the environment ({one_line(tag)})")
    if first not in values:
        if missing is not None:
            missing.add(first)
        return ""
    value = values[first]
    for part in rest:
        value = value.get(part) if isinstance(value, Mapping) else None
    return as_text(value)
