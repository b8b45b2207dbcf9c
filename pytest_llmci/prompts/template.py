"""Texts with placeholders: ``{{name}}``, as jinja and promptfoo write them, and nothing else of those languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError
from ..text import one_line

_PLACEHOLDER: Final = re.compile(
    r"""\{\{\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|'(?P<one>[^']*)'|"(?P<two>[^"]*)")\s*\}\}"""
)
_STATEMENT: Final = re.compile(
    r"\{%-?\s*(?:if|elif|else|endif|for|endfor|set|include|import|from|macro|raw|block|extends|call|filter|with)\b"
)
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Template:
    """A text that was taken apart."""

    parts: tuple[str, ...]
    """Text and names of placeholders in turn, a text first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the placeholders, each once."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with a value in each place; what a value holds is not looked at again."""
        return "".join(values[part] if number % 2 else part for number, part in enumerate(self.parts))


def parse_template(text: str, where: str) -> Template:
    """Take a text apart.

    :param where: file, row and key, for messages.
    :raises ConfigError: if it holds what looks like a placeholder and is none.

    >>> parse_template("Translate {{ text }} to {{language}}.", "x").names
    ('text', 'language')
    >>> parse_template("Write {{ '{{' }}name}}.", "x").filled({})
    'Write {{name}}.'
    """
    parts, end = [""], 0
    for found in _PLACEHOLDER.finditer(text):
        parts[-1] += _plain(text, end, found.start(), where)
        end = found.end()
        if found["name"]:
            parts += [found["name"], ""]
        else:
            parts[-1] += found["one"] or found["two"] or ""
    parts[-1] += _plain(text, end, len(text), where)
    return Template(tuple(parts))


def _plain(text: str, start: int, end: int, where: str) -> str:
    piece = text[start:end]
    if "{" not in piece:
        return piece
    if (at := piece.find("{{")) >= 0:
        raise ConfigError(
            f"{where}: '{_excerpt(text, start + at)}' is no placeholder; write {{{{name}}}} with a plain name, and {{{{ '{{{{' }}}} for"
            " two braces that the model is to see."
        )
    if statement := _STATEMENT.search(piece):
        raise ConfigError(
            f"{where}: '{_excerpt(text, start + statement.start())}': a template has placeholders such as {{{{name}}}} alone, no"
            " statements; write two rows, or {{ '{%' }} for what the model is to see."
        )
    return piece


def _excerpt(text: str, start: int) -> str:
    end = min((place + 2 for mark in ("}}", "%}") if (place := text.find(mark, start)) >= 0), default=len(text))
    shown = one_line(text[start:end])
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
