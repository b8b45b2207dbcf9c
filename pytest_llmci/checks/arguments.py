"""What checks do with the text after the colon, and how they quote an output."""

from __future__ import annotations

from ..errors import ConfigError
from ..text import one_line
from .base import CheckInput

EXCERPT_CHARACTERS = 60


def refuse_argument(argument: str, name: str) -> None:
    """For checks that take none.

    :raises ConfigError: if there is one.
    """
    if argument.strip():
        raise ConfigError(f"'{name}' takes no argument; write it as '{name}'.")


def require_argument(argument: str, example: str) -> str:
    """For checks that need one.

    :param example: the check as it should be written.
    :raises ConfigError: if it is empty.
    """
    if not argument:
        raise ConfigError(f"an argument is missing; write it like '{example}'.")
    return argument


def excerpt(text: str, longest: int = EXCERPT_CHARACTERS) -> str:
    r"""The beginning of the text in quotes, on one line and without control characters.

    >>> excerpt("two\nlines\x07"), excerpt("  ")
    ('"two lines"', 'nothing')
    """
    # Sixteen times the room: white space and control sequences may shrink away, a megabyte need not be looked at.
    line = one_line(text[: 16 * longest])
    if not line:
        return "nothing" if not text.strip() else "nothing that can be shown"
    return f'"{line[:longest].rstrip()}..."' if len(line) > longest or len(text) > 16 * longest else f'"{line}"'


def cut_off(output: CheckInput) -> str:
    """The beginning of a message on an output whose end may be missing; empty where it is whole."""
    if output.finish_reason != "length":
        return ""
    return "the output was cut off at the token limit (raise max_new_tokens if it needs more); "
