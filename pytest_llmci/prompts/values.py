"""Single values of a prompt file: what they are, and whether they may stand where they do."""

from __future__ import annotations

from ..errors import ConfigError


def wrong_type(key: str, expected: str, found: object, where: str) -> ConfigError:
    """What is said where a value is of another kind than its key wants."""
    return ConfigError(f"{where}: key '{key}': expected {expected}, found {kind(found)}.")


def kind(value: object) -> str:
    """A value as people call it.

    >>> kind(True), kind([]), kind(None)
    ('the truth value true', 'a list', 'nothing')
    """
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r:.30}"
    if isinstance(value, str):
        return "an empty text" if not value.strip() else "a text"
    names = {"NoneType": "nothing", "list": "a list", "dict": "a mapping", "date": "a date", "datetime": "a date"}
    return names.get(type(value).__name__, type(value).__name__)


def checked_text(text: str, where: str, key: str) -> str:
    """The text, if a file can store it.

    :raises ConfigError: naming the character that cannot be.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ConfigError(
            f"{where}: key '{key}' holds half of a surrogate pair ({half}) at character {error.start + 1}, which no"
            " file can store; write the whole character."
        ) from None
    return text


def text_of(value: object, where: str, expected: str) -> str:
    """A value for a placeholder. Only whole numbers need no quotes: of ``1.10`` a reader keeps 1.1, and ``no`` is a truth value.

    :raises ConfigError: if it is something else.
    """
    if isinstance(value, str):
        return checked_text(value, where, "variables")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    quotes = "; put it in quotes" if isinstance(value, bool | float) else ""
    raise ConfigError(f"{where}: expected {expected}{quotes}, found {kind(value)}.")
