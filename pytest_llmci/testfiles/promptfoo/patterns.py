"""Regular expressions of JavaScript in the syntax of Python's ``re``."""

from __future__ import annotations

import re
from typing import Final

from .report import NotTranslated

_ASCII: Final = frozenset("wWbBdD")
"""Classes that know ASCII only in JavaScript."""
_KNOWS_ASCII, _SPACE, _NO_SPACE, _SPACE_IN_CLASS = "\0a", "\0s", "\0S", "\0c"
"""Stand for what depends on whether the whole pattern gets the flag for ASCII."""
_SPACES: Final = r"\s\u00a0\u2028\u2029\u3000\ufeff"
_SAME: Final = frozenset("nrtfv0S")


def python_pattern(pattern: str) -> str:
    r"""The same pattern for Python.

    :raises NotTranslated: on what Python has no counterpart for, or another meaning.

    >>> python_pattern(r"^\d+$"), python_pattern("(?<year>[0-9]{4})-\\k<year>")
    ('(?a)^\\d+\\Z', '(?P<year>[0-9]{4})-(?P=year)')
    """
    if "\0" in pattern:
        raise NotTranslated("the pattern holds a NUL")
    out: list[str] = []
    inside = False
    position = 0
    while position < len(pattern):
        taken, text, inside = _next(pattern, position, inside)
        out.append(text)
        position += taken
    found = "".join(out)
    knows_ascii = _KNOWS_ASCII in found
    for mark, there, here in (
        (_KNOWS_ASCII, "", ""), (_SPACE, r"(?u:\s)", r"\s"), (_NO_SPACE, r"(?u:\S)", r"\S"), (_SPACE_IN_CLASS, _SPACES, r"\s"),
    ):  # fmt: skip
        found = found.replace(mark, there if knows_ascii else here)
    found = f"(?a){found}" if knows_ascii else found
    try:
        re.compile(found)
    except (re.error, OverflowError, RecursionError) as error:
        raise NotTranslated(f"the pattern is none that Python has: {error}") from error
    return found


def _next(pattern: str, position: int, inside: bool) -> tuple[int, str, bool]:
    """Characters that were read, what they become, and whether a class in brackets is open."""
    char, rest = pattern[position], pattern[position:]
    if char == "\\":
        return *_escape(rest, inside), inside
    if inside:
        # [[ and && would mean something else to Python one day
        return 1, {"[": r"\[", "&": r"\&", "~": r"\~", "|": r"\|"}.get(char, char), char != "]"
    if rest.startswith("[^]"):
        return 3, r"[\s\S]", False
    if rest.startswith("[]"):
        return 2, r"(?!)", False
    if char == "[":
        return (2, "[^", True) if rest.startswith("[^") else (1, "[", True)
    if char == "$":
        return 1, r"\Z", False
    if rest.startswith("(?<") and not rest.startswith(("(?<=", "(?<!")):
        return 3, "(?P<", False
    if rest.startswith("(?") and not rest.startswith(("(?:", "(?=", "(?!", "(?<")):
        raise NotTranslated(f"'{rest[:4]}' is read in other ways by JavaScript and Python")
    return 1, char, False


def _escape(rest: str, inside: bool) -> tuple[int, str]:
    name = rest[1:2]
    if not name:
        raise NotTranslated("the pattern ends in a backslash")
    if name in _ASCII and not (inside and name == "b"):
        if not inside:
            return 2, f"{_KNOWS_ASCII}\\{name}"
        classes = {"w": "A-Za-z0-9_", "d": "0-9"}
        if name not in classes:
            raise NotTranslated(f"\\{name} in brackets counts letters of all scripts in Python")
        return 2, classes[name]
    if name in "sS" and not inside:
        return 2, _SPACE if name == "s" else _NO_SPACE
    if name == "s":
        return 2, _SPACE_IN_CLASS
    if name == "k" and (found := re.match(r"\\k<(\w+)>", rest)) is not None:
        return len(found[0]), f"(?P={found[1]})"
    if name == "u" and (found := re.match(r"\\u[0-9a-fA-F]{4}", rest)) is not None:
        return len(found[0]), found[0]
    if name == "x" and (found := re.match(r"\\x[0-9a-fA-F]{2}", rest)) is not None:
        return len(found[0]), found[0]
    if name in _SAME or (name == "b" and inside) or (name.isdigit() and not inside):
        return 2, f"\\{name}"
    if name.isalnum():
        raise NotTranslated(f"\\{name} has no counterpart in Python")
    return 2, re.escape(name)
