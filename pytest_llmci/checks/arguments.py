"""What checks do with the text after the colon, how they compare texts, and how they quote an output."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import ConfigError, UnknownNameError
from ..records import Json
from ..text import one_line
from .base import CheckInput

EXCERPT_CHARACTERS = 60
LARGEST_COUNT: Final = 10**9


def refuse_argument(argument: str, name: str) -> None:
    """For checks that take none.

    :raises ConfigError: if there is one.
    """
    if argument.strip() not in ("", "true"):  # {json: true}, as some write it in YAML
        raise ConfigError(f"'{name}' takes no argument; write it as '{name}'.")


def require_argument(argument: str, example: str) -> str:
    """For checks that need one.

    :param example: the check as it should be written.
    :raises ConfigError: if it is empty.
    """
    if not argument:
        raise ConfigError(f"an argument is missing; write it like '{example}'.")
    return argument


def read_json(text: str, example: str) -> Json:
    """An argument that is JSON.

    :raises ConfigError: if it is not.
    """
    try:
        found: Json = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the argument is not JSON ({error}); write it like '{example}'.") from error
    return found


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def read_options(argument: str, main: str, known: Iterable[str], example: str) -> Mapping[str, Json]:
    """What a check was given: a JSON object of its options, or the one that matters most alone.

    :param main: the option that a text alone stands for.
    :raises ConfigError: if the object is malformed or holds an option that the check does not know.
    """
    names = list(known)
    if not argument.strip().startswith("{"):
        return {main: argument} if argument.strip() else {}
    found = read_json(argument, example)
    assert isinstance(found, dict)
    for name in found:
        if name not in names:
            raise UnknownNameError.build("the argument", "option", name, names)
    return found


def read_texts(argument: str, example: str) -> tuple[str, ...]:
    """Several texts: a JSON list, or separated by commas.

    :raises ConfigError: if there is none, or one is empty.
    """
    text = require_argument(argument.strip(), example)
    if text.startswith("["):
        found = read_json(text, example)
        assert isinstance(found, list)
        items = [
            str(item) if isinstance(item, (str, int, float)) and not isinstance(item, bool) else "" for item in found
        ]
    else:
        items = [part.strip() for part in text.split(",")]
    if not items or not all(items):
        raise ConfigError(f"expected texts, none of them empty; write them like '{example}'.")
    return tuple(dict.fromkeys(items))


def read_count(argument: str, example: str, least: int = 1) -> int:
    """A whole number.

    :raises ConfigError: if it is none, or too small.
    """
    text = require_argument(argument.strip(), example)
    if not (text.isascii() and text.isdecimal() and least <= int(text[:12]) < LARGEST_COUNT):
        raise ConfigError(
            f"'{one_line(text)[:40]}' is not a count; write a whole number of at least {least}, like '{example}'."
        )
    return int(text)


def read_number(
    value: object, name: str, example: str, *, least: float = float("-inf"), most: float = float("inf")
) -> float:
    """A number given as one or as text.

    :param name: what it is, for the message.
    :raises ConfigError: if it is none, not finite or out of bounds.
    """
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not (least <= number <= most and abs(number) != float("inf")):
        bounds = (
            f" from {least:g} to {most:g}"
            if most < float("inf")
            else f" of at least {least:g}"
            if least > float("-inf")
            else ""
        )
        raise ConfigError(
            f"{name} must be a number{bounds}, found {one_line(str(value))[:40]!r}; write it like '{example}'."
        )
    return number


def read_flag(value: object, name: str, example: str) -> bool:
    """True or false.

    :raises ConfigError: if it is neither.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, found {value!r:.40}; write it like '{example}'.")
    return value


def read_text(value: object, name: str, example: str) -> str:
    """A text that is not empty.

    :raises ConfigError: if it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} must be a text that is not empty, found {value!r:.40}; write it like '{example}'.")
    return value


def composed(text: str) -> str:
    r"""The text as it is compared: a letter and its accents as one character (NFC), however they came.

    >>> composed("e\u0301") == "\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    r"""The text as it is compared where case does not count, by Unicode's full case folding.

    >>> folded("STRASSE") == folded("Stra\u00dfe")
    True
    """
    return text.lower() if text.isascii() else composed(composed(text).casefold())


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


def listed(texts: Iterable[str], most: int = 4) -> str:
    """Some of the texts in quotes, and how many more there are.

    >>> listed(["a", "b"])
    '"a", "b"'
    """
    shown = [excerpt(text, 24) for text in texts]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def cut_off(output: CheckInput) -> str:
    """The beginning of a message on an output whose end may be missing; empty where it is whole."""
    if output.finish_reason != "length":
        return ""
    return "the output was cut off at the token limit (raise max_new_tokens if it needs more); "
