"""Assertions on outputs, by name: the table that users' ``checks=["json", "max_words:120"]`` are looked up in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from ..errors import FOREIGN_ERRORS, ConfigError, described
from ..registry import Registry
from ..text import one_line
from .base import Check

DEFAULT_CHECK: Final = "valid"
"""What every output must pass unless the user says otherwise."""

CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "valid": ("pytest_llmci.checks.valid:Valid", "text, not only special tokens, no endless repetition"),
    "non_empty": ("pytest_llmci.checks.non_empty:NonEmpty", "something that can be seen"),
    "special_tokens": ("pytest_llmci.checks.special_tokens:SpecialTokens", "more than end-of-text and padding tokens"),
    "repetition": ("pytest_llmci.checks.repetition:Repetition", "no endless repetition"),
    "json": ("pytest_llmci.checks.json:IsJson", "the whole output is JSON"),
    "contains": ("pytest_llmci.checks.contains:Contains", "contains:TEXT, case distinguished"),
    "regex": ("pytest_llmci.checks.pattern:Regex", "regex:PATTERN matches somewhere"),
    "max_words": ("pytest_llmci.checks.max_words:MaxWords", "max_words:N, at most N words"),
}
"""Name -> target and one line for people."""


def register(registry: Registry) -> None:
    """Add the built-in checks."""
    for name, (target, summary) in CHECKS.items():
        registry.add("check", name, target, summary=summary)


def parse_check(text: str, registry: Registry, where: str) -> Check:
    """Build the check that ``name`` or ``name:argument`` names.

    :param text: as the user wrote it; white space in the argument counts, as in ``contains: and ``.
    :param where: the marker, option or file position, for messages.
    :raises ConfigError: in one line, if no check is called so, its argument cannot be read, or it raises when it is built.
    :raises MissingExtraError: if it needs a package that is not installed.
    """
    name, _, argument = text.partition(":")
    factory = registry.load("check", name.strip(), f"{where}: check '{one_line(text)}'")
    if not callable(factory):
        raise ConfigError(f"{where}: check '{name}' is registered as something that cannot be called.")
    try:
        return cast(Check, factory(argument))
    except ConfigError as error:
        raise ConfigError(f"{where}: check '{one_line(text)}': {error}") from error
    except FOREIGN_ERRORS as error:
        raise ConfigError(f"{where}: check '{one_line(text)}' cannot be built: {described(error)}") from error
